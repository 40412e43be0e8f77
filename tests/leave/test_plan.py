"""Plans from made-up situations: which way, which steps, which times, at which cost."""

from dataclasses import replace

import pytest

from deltaroll.leave.decide import Wishes, check_same, decide
from deltaroll.leave.leaver import LeaveError
from deltaroll.leave.memory import Decision, Memory, RecordError, to_records
from deltaroll.leave.moves import ENDS, TABLE, Action, Place, Route
from deltaroll.leave.plan import Ask, Plan, is_wait, list_routes, make_plan
from deltaroll.leave.situation import (
    Asked,
    Delayed,
    Hatch,
    Holding,
    OpenExit,
    Owned,
    Situation,
    Terms,
)
from deltaroll.leave.words import describe_holdings, describe_plan, describe_span, describe_time
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import AccountId, Address, MarketId, MessageKind, Timestamp

HOUR, DAY = 3_600, 86_400
NOW = Timestamp(1_800_000_000)
TERMS = Terms(7 * DAY, 12 * HOUR, 12 * HOUR, 7 * DAY, 30 * DAY, 10**18, DAY)
OWNER = Address(b"\x07" * 20)
ONE, TWO = AccountId(1), AccountId(2)
UNIT = 10**6
CASH = Owned(ONE, 0, 100 * UNIT, 100 * UNIT, 100 * UNIT, Fault.NONE, 100 * UNIT, False)
ALL = (Ask(ONE, None),)
BASE = Situation(
    owner=OWNER,
    now=NOW,
    base_fee=10**9,
    terms=TERMS,
    head_time=Timestamp(NOW - 60),
    interval=120,
    has_sequencer=True,
    waiting_since=None,
    has_fraud=False,
    outflow_room=10**30,
    hatch=Hatch(final_at=Timestamp(NOW + 6 * DAY)),
    accounts=(CASH,),
)
SILENT = replace(
    BASE,
    head_time=Timestamp(NOW - DAY),
    waiting_since=Timestamp(NOW - 20 * HOUR),
    hatch=Hatch(freezable_at=Timestamp(NOW + 6 * DAY), final_at=Timestamp(NOW + 6 * DAY)),
)


def ask_message(kind: MessageKind, **changes: object) -> Asked:
    asked = Asked(9, kind, ONE, 0, MarketId(0), Timestamp(NOW - HOUR), False)
    return replace(asked, **changes)  # type: ignore[arg-type]


def list_steps(plan: Plan) -> list[tuple[Action, int]]:
    return [(step.action, step.at - NOW) for step in plan.steps]


def test_table__every_place__leads_to_an_end_and_names_what_costs():
    for place in Place:
        seen = set()
        while place not in ENDS:
            assert place not in seen
            seen.add(place)
            move = TABLE[place]
            free = is_wait(move.action) or move.action == Action.SIGN
            assert (move.gas == 0) == free
            place = move.then


def test_plan__nothing_asked_yet__each_route_with_its_times():
    forced = make_plan(BASE, ALL, Route.FORCED)
    assert list_steps(forced) == [
        (Action.FORCE_EXIT, 0),
        (Action.AWAIT_SERVICE, 12 * HOUR),
        (Action.AWAIT_SETTLEMENT, 12 * HOUR + 7 * DAY + 1),
        (Action.CLAIM, 12 * HOUR + 7 * DAY + 1),
    ]
    normal = make_plan(BASE, ALL, Route.NORMAL)
    assert list_steps(normal) == [
        (Action.SIGN, 0),
        (Action.AWAIT_SERVICE, 120),
        (Action.AWAIT_SETTLEMENT, 120 + 7 * DAY + 1),
        (Action.CLAIM, 120 + 7 * DAY + 1),
    ]
    escape = make_plan(SILENT, (), Route.ESCAPE)
    assert list_steps(escape) == [
        (Action.AWAIT_FREEZE, 6 * DAY),
        (Action.FREEZE, 6 * DAY),
        (Action.AWAIT_FINAL, 6 * DAY + 1),
        (Action.OPEN_HATCH, 6 * DAY + 1),
        (Action.ESCAPE, 6 * DAY + 1),
        (Action.AWAIT_WINDOW, 36 * DAY + 2),
        (Action.TAKE, 36 * DAY + 2),
    ]
    assert forced.amount == normal.amount == escape.amount == 100 * UNIT


@pytest.mark.parametrize(
    ("situation", "has_channel", "routes"),
    [
        (BASE, True, [Route.NORMAL, Route.FORCED]),
        (BASE, False, [Route.FORCED]),
        (replace(BASE, interval=DAY), True, [Route.FORCED, Route.NORMAL]),
        (SILENT, True, [Route.FORCED, Route.ESCAPE]),
        (replace(BASE, has_sequencer=False), True, [Route.FORCED, Route.ESCAPE]),
        # A quiet venue without work is not dead.
        (replace(BASE, head_time=Timestamp(NOW - DAY)), True, [Route.NORMAL, Route.FORCED]),
        (replace(SILENT, hatch=Hatch(can_freeze=True)), True, [Route.ESCAPE]),
        (replace(BASE, hatch=Hatch(is_frozen=True)), True, [Route.ESCAPE]),
    ],
)
def test_routes__open_ones__fastest_first(situation, has_channel, routes):
    assert list_routes(situation, has_channel) == routes


def test_plan__on_every_place_of_the_way__goes_on_from_there():
    waiting = replace(BASE, asked=(ask_message(MessageKind.FORCE_EXIT, amount=UNIT),))
    assert list_steps(make_plan(waiting, ALL, Route.FORCED))[0] == (
        Action.AWAIT_SERVICE,
        11 * HOUR,
    )
    honoured = ask_message(MessageKind.FORCE_EXIT, is_served=True, exit_index=3)
    posted = OpenExit(3, 5 * UNIT, 8, Timestamp(NOW + DAY))
    there = replace(BASE, asked=(honoured,), exits=(posted,))
    assert list_steps(make_plan(there, ALL, Route.FORCED)) == [
        (Action.AWAIT_SETTLEMENT, DAY),
        (Action.CLAIM, DAY),
    ]
    settled = replace(posted, settles_at=NOW)
    plan = make_plan(replace(there, exits=(settled,)), ALL, Route.FORCED)
    assert list_steps(plan) == [(Action.CLAIM, 0)]
    assert plan.find_ready(NOW) == plan.steps[0]
    paid = make_plan(replace(there, exits=()), ALL, Route.FORCED)
    assert (paid.steps, paid.find_next()) == ((), None)


def test_plan__more_than_the_vault_pays_at_once__one_more_wait_and_transaction():
    exits = (OpenExit(3, 50 * UNIT, 8, NOW),)
    limited = replace(BASE, exits=exits, outflow_room=10 * UNIT)
    assert list_steps(make_plan(limited, (), Route.FORCED)) == [
        (Action.CLAIM, 0),
        (Action.AWAIT_PAYMENT, DAY),
        (Action.PAY_DELAYED, DAY),
    ]
    delayed = replace(BASE, delayed=(Delayed(3, 50 * UNIT, Timestamp(NOW + HOUR)),))
    assert list_steps(make_plan(delayed, (), Route.FORCED)) == [
        (Action.AWAIT_PAYMENT, HOUR),
        (Action.PAY_DELAYED, HOUR),
    ]
    due = replace(BASE, delayed=(Delayed(3, 50 * UNIT, NOW),))
    assert list_steps(make_plan(due, (), Route.FORCED)) == [(Action.PAY_DELAYED, 0)]


def test_plan__request_passed_over__asked_again_only_when_it_would_be_honoured():
    skipped = ask_message(MessageKind.FORCE_EXIT, is_served=True, outcome=Fault.HALTED)
    halted = replace(CASH, free=0, refusal=Fault.HALTED)
    stuck = make_plan(replace(BASE, asked=(skipped,), accounts=(halted,)), ALL, Route.FORCED)
    assert stuck.steps == ()
    assert [(blocked.account, blocked.reason) for blocked in stuck.blocked] == [(ONE, Fault.HALTED)]
    again = make_plan(replace(BASE, asked=(skipped,)), ALL, Route.FORCED)
    assert again.steps[0].action == Action.FORCE_EXIT


def test_plan__positions__closed_before_and_only_what_the_fund_takes():
    held = (
        Holding(MarketId(4), 3, Fault.NONE, 2 * UNIT),
        Holding(MarketId(5), -1, Fault.INSURANCE, 0),
    )
    owned = replace(CASH, free=40 * UNIT, closed=90 * UNIT, holdings=held, has_orders=True)
    situation = replace(BASE, accounts=(owned,))
    assert make_plan(situation, ALL, Route.FORCED).amount == 40 * UNIT
    plan = make_plan(situation, (Ask(ONE, None, closes=True),), Route.FORCED)
    assert [(step.action, step.item.market) for step in plan.steps][:3] == [
        (Action.CANCEL_ALL, 0),
        (Action.FORCE_CLOSE, 4),
        (Action.FORCE_EXIT, 0),
    ]
    assert plan.amount == 90 * UNIT
    text = "\n".join([*describe_holdings(situation), *describe_plan(plan, situation)])
    assert "closing it by force costs 2.000000" in text
    assert "the insurance fund cannot take its positions over" in text


def test_plan__frozen__shared_steps_once_and_deposits_back():
    deposit = ask_message(MessageKind.DEPOSIT, amount=7 * UNIT)
    frozen = replace(
        BASE,
        hatch=Hatch(is_frozen=True, final_at=Timestamp(NOW - 1)),
        accounts=(CASH, replace(CASH, account=TWO)),
        asked=(deposit,),
    )
    actions = [step.action for step in make_plan(frozen, (), Route.ESCAPE).steps]
    assert actions.count(Action.OPEN_HATCH) == 1
    assert actions.count(Action.ESCAPE) == 2
    assert actions.count(Action.REFUND) == 1
    opened = Hatch(True, False, None, NOW, True, Timestamp(NOW + DAY))
    registered = replace(CASH, claim=100 * UNIT, is_registered=True, payout=60 * UNIT)
    later = replace(BASE, hatch=opened, accounts=(registered,))
    plan = make_plan(later, (), Route.ESCAPE)
    assert list_steps(plan) == [(Action.AWAIT_WINDOW, DAY + 1), (Action.TAKE, DAY + 1)]
    assert plan.amount == 60 * UNIT
    over = replace(later, hatch=replace(opened, closes_at=Timestamp(NOW - 1)))
    assert list_steps(make_plan(over, (), Route.ESCAPE)) == [(Action.TAKE, 0)]
    paid = replace(over, accounts=(replace(registered, claim=0),))
    assert make_plan(paid, (), Route.ESCAPE).steps == ()


class Gateway:
    """As much as a decision asks for."""

    class provider:  # noqa: N801
        chain_id = 5

    class contracts:  # noqa: N801
        class bridge:  # noqa: N801
            address = "0xBridge"


def make_decision(wishes: Wishes, situation: Situation = BASE, queue: int = 20) -> Decision:
    routes = list_routes(situation, False)
    return decide(situation, wishes, routes, Gateway(), queue)  # type: ignore[arg-type]


def test_decide__amount_over_several_accounts__first_ones_first():
    two = replace(BASE, accounts=(CASH, replace(CASH, account=TWO, nonce=4)))
    decision = make_decision(Wishes(amount=130 * UNIT), two)
    assert decision.to_asks() == (
        Ask(ONE, 100 * UNIT, nonce=1),
        Ask(TWO, 30 * UNIT, nonce=5),
    )
    assert make_decision(Wishes(accounts=(2,)), two).to_asks() == (Ask(TWO, None, nonce=5),)
    assert make_decision(Wishes(only_claims=True), two).to_asks() == ()
    for wishes, complaint in (
        (Wishes(amount=201 * UNIT), "1000000 more than are free"),
        (Wishes(accounts=(3,)), "account 3 is not of 0x0707"),
        (Wishes(route=Route.ESCAPE), "escape is not open now, only forced"),
    ):
        with pytest.raises(LeaveError, match=complaint):
            make_decision(wishes, two)


def test_decide__request_waits_already__is_part_of_the_decision():
    waiting = ask_message(MessageKind.FORCE_EXIT, index=12)
    assert make_decision(Wishes(), replace(BASE, asked=(waiting,))).queue_from == 12
    assert make_decision(Wishes()).queue_from == 20


def test_memory__written_read_forgotten__and_damage_is_named(tmp_path):
    memory = Memory(tmp_path / "deep" / "exit.json")
    assert memory.read(5, "0xBridge", "0x07") is None
    decision = replace_owner(make_decision(Wishes(amount=5 * UNIT)))
    memory.write(decision)
    assert memory.read(5, "0xBridge", "0x07") == decision
    for other in ((6, "0xBridge", "0x07"), (5, "0xOther", "0x07"), (5, "0xBridge", "0x08")):
        with pytest.raises(RecordError, match="is of 0x07 at 0xBridge on chain 5"):
            memory.read(*other)
    check_same(decision, Wishes(), memory.path)
    check_same(decision, Wishes(amount=5 * UNIT, accounts=(1,)), memory.path)
    for wishes in (Wishes(amount=6 * UNIT), Wishes(accounts=(2,)), Wishes(closes=True)):
        with pytest.raises(LeaveError, match="another exit is under way"):
            check_same(decision, wishes, memory.path)
    memory.path.write_bytes(memory.path.read_bytes()[:-9])
    with pytest.raises(RecordError, match="state: "):
        memory.read(5, "0xBridge", "0x07")
    memory.forget()
    memory.forget()
    assert memory.read(5, "0xBridge", "0x07") is None


def replace_owner(decision: Decision) -> Decision:
    return Decision(5, "0xBridge", "0x07", decision.route, 20, to_records(decision.to_asks()))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 min"),
        (3_599, "59 min"),
        (HOUR, "1 h"),
        (DAY + 60, "1 d"),
        (7 * DAY + HOUR, "7 d 1 h"),
    ],
)
def test_words__times__are_short(seconds, text):
    assert describe_span(seconds) == text
    assert describe_time(NOW) == "2027-01-15 08:00 UTC"
