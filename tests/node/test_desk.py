"""The order desk: client ids, triggers, switches, and what everybody is told."""

import random

import msgspec
import pytest

from deltaroll.engine.matching import OrderStatus, RejectReason, SelfTradePolicy
from deltaroll.node.admission import RejectedError, Terms, Trigger
from deltaroll.node.events import CancelReason, OrderState, OrderUpdate, Protection
from deltaroll.node.receipts import (
    Outcome,
    compute_branches,
    make_receipt_key,
    recover_receipt_signer,
)
from deltaroll.protocol.eip712 import hash_order
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import AccountId, SlotId, TimeInForce
from tests.node.desk_streams import Auditor, compute_desk, play
from tests.node.support import (
    DOMAIN,
    GENESIS,
    INDEX,
    OWNERS,
    PRICE,
    TICK,
    Recorder,
    Venue,
    crash,
    make_order,
    restart,
)

ADA, BLAISE, CARL, DANIEL, ADA_TOO = map(AccountId, range(1, 6))
KEY = make_receipt_key(keccak(b"deltaroll test receipt key"))


@pytest.fixture
def venue():
    venue = Venue().open()
    venue.auditor = Auditor()
    venue.sequencer.listen(venue.auditor)
    return venue


def submit(venue, account, slot, order, **terms):
    signature = OWNERS[account].sign_order(DOMAIN, account, SlotId(slot), order)
    return venue.sequencer.submit_order(account, SlotId(slot), order, signature, Terms(**terms))


def get_updates(venue, account):
    """What an account's orders have come to: (slot, state, reason)."""
    venue.sequencer.flush()
    return [
        (event.slot, event.state, event.reason)
        for step in venue.auditor.steps
        for event in step.events
        if isinstance(event, OrderUpdate) and event.account == account
    ]


def test_client_id__same_order_again__same_outcome_and_no_entry(venue):
    order = make_order()
    first = submit(venue, ADA, 0, order, client_id="one")
    entries = venue.store.next_sequence
    again = submit(venue, ADA, 0, order, client_id="one")
    assert (again.sequence, again.outcome) == (first.sequence, Outcome.RESTING)
    assert venue.store.next_sequence == entries


def test_client_id__same_order_after_its_expiry__still_answered(venue):
    order = make_order(expiry=GENESIS + 5)
    first = submit(venue, ADA, 0, order, client_id="one")
    venue.sequencer.set_clock(GENESIS + 6)
    assert submit(venue, ADA, 0, order, client_id="one").sequence == first.sequence


@pytest.mark.parametrize(
    "change",
    [{"client_id": "one", "is_quote": False, "self_trade": SelfTradePolicy.CANCEL_BOTH}, None],
)
def test_client_id__other_content__is_refused(venue, change):
    submit(venue, ADA, 0, make_order(), client_id="one")
    order = make_order() if change else make_order(size=2, nonce=2)
    with pytest.raises(RejectedError, match="client_id: 'one' is the name of another order"):
        submit(venue, ADA, 0, order, **(change or {"client_id": "one"}))


@pytest.mark.parametrize("name", ["a b", "x" * 37, "é", "a\n"])
def test_client_id__not_a_name__is_refused(venue, name):
    with pytest.raises(RejectedError, match="client_id"):
        submit(venue, ADA, 0, make_order(), client_id=name)


def test_cancel_named__order_that_is_gone__is_refused(venue):
    submit(venue, ADA, 0, make_order(), client_id="one")
    venue.sequencer.cancel_named(ADA, "one")
    with pytest.raises(RejectedError, match="no order 'one'"):
        venue.sequencer.cancel_named(ADA, "one")
    assert get_updates(venue, ADA)[-1] == (0, OrderState.CANCELLED, CancelReason.REQUESTED)


def test_replaces__order_is_not_the_one_named__is_refused(venue):
    submit(venue, ADA, 0, make_order())
    with pytest.raises(RejectedError, match="replaces: slot 0 holds the order with nonce 1"):
        submit(venue, ADA, 0, make_order(nonce=3), replaces=2)
    submit(venue, ADA, 0, make_order(PRICE - TICK, nonce=3), replaces=1)
    assert get_updates(venue, ADA)[1:] == [
        (0, OrderState.CANCELLED, CancelReason.REPLACED),
        (0, OrderState.RESTING, ""),
    ]


@pytest.mark.parametrize(
    ("is_buy", "is_above", "price"),
    [(False, False, PRICE - 100), (True, True, PRICE + 100), (True, False, PRICE - 100)],
)
@pytest.mark.parametrize("is_index", [True, False])
def test_trigger__price_crosses_the_level__order_is_matched(
    venue, is_buy, is_above, price, is_index
):
    """
    | who    | does                                   | outcome          |
    | ada    | stop, level 100 away                   | held             |
    | oracle | 99 away                                | still held       |
    | oracle | 100 away                               | triggered, rests |
    """
    trigger = Trigger(is_index, is_above, price)
    order = make_order(price // TICK * TICK, is_buy=is_buy)
    receipt = submit(venue, ADA, 0, order, trigger=trigger)
    assert receipt.outcome == Outcome.HELD
    step = 1 if price < PRICE else -1
    venue.sequencer.set_clock(GENESIS + 1)
    venue.observe(price + step)
    assert venue.sequencer.desk.triggers.find(ADA, SlotId(0)) is not None
    venue.sequencer.set_clock(GENESIS + 2)
    venue.observe(price)
    states = [state for _, state, _ in get_updates(venue, ADA)]
    assert states == [OrderState.HELD, OrderState.TRIGGERED, OrderState.RESTING]


def test_trigger__met_already__is_matched_at_once(venue):
    submit(venue, ADA, 0, make_order(), trigger=Trigger(True, True, PRICE))
    assert venue.sequencer.engine.find(ADA, SlotId(0)) is not None


def test_trigger__order_expires_first__never_matched(venue):
    order = make_order(expiry=GENESIS + 5)
    submit(venue, ADA, 0, order, trigger=Trigger(True, True, PRICE + 100))
    venue.sequencer.set_clock(GENESIS + 6)
    venue.observe(PRICE + 200)
    assert [state for _, state, _ in get_updates(venue, ADA)] == [
        OrderState.HELD,
        OrderState.EXPIRED,
    ]


def test_trigger__same_order_sent_without_it__is_rejected(venue):
    """Whoever gets hold of the signature cannot have the order matched early."""
    order = make_order()
    submit(venue, ADA, 0, order, trigger=Trigger(True, True, PRICE + 100))
    assert submit(venue, ADA, 0, order).execution.reason == Fault.ORDER_NONCE


def test_trigger__newer_order_in_its_slot__replaces_it(venue):
    submit(venue, ADA, 0, make_order(), trigger=Trigger(True, True, PRICE + 100))
    submit(venue, ADA, 0, make_order(nonce=2))
    assert get_updates(venue, ADA)[1:] == [
        (0, OrderState.CANCELLED, CancelReason.REPLACED),
        (0, OrderState.RESTING, ""),
    ]


def test_trigger__key_is_changed__order_is_dropped(venue):
    venue.set_key(ADA, OWNERS[CARL].address, GENESIS + 1_000)
    order = make_order()
    signature = OWNERS[CARL].sign_order(DOMAIN, ADA, SlotId(0), order)
    terms = Terms(trigger=Trigger(True, True, PRICE + 100))
    venue.sequencer.submit_order(ADA, SlotId(0), order, signature, terms)
    venue.set_key(ADA, OWNERS[BLAISE].address, GENESIS + 1_000)
    assert get_updates(venue, ADA)[-1] == (0, OrderState.CANCELLED, CancelReason.STALE)


def test_dead_man__no_heartbeat__everything_is_cancelled(venue):
    """
    | time | ada                        | outcome                      |
    | 0    | two orders, switch of 10 s |                              |
    | 10   | heartbeat                  | nothing                      |
    | 21   |                            | both cancelled, once for all |
    """
    sequencer = venue.sequencer
    submit(venue, ADA, 0, make_order())
    submit(venue, ADA, 1, make_order(), trigger=Trigger(True, True, PRICE + 100))
    sequencer.set_dead_man(ADA, 10)
    sequencer.set_clock(GENESIS + 10)
    sequencer.set_dead_man(ADA, 10)
    sequencer.set_clock(GENESIS + 20)
    assert len(sequencer.engine) == 1
    sequencer.set_clock(GENESIS + 21)
    assert get_updates(venue, ADA)[2:] == [
        (0, OrderState.CANCELLED, CancelReason.DEAD_MAN),
        (1, OrderState.CANCELLED, CancelReason.DEAD_MAN),
    ]
    submit(venue, ADA, 0, make_order(nonce=2))
    sequencer.set_clock(GENESIS + 100)
    assert len(sequencer.engine) == 1


@pytest.mark.parametrize(
    ("policy", "ends", "rests"),
    [
        (SelfTradePolicy.CANCEL_MAKER, OrderStatus.RESTING, [ADA_TOO]),
        (SelfTradePolicy.CANCEL_TAKER, OrderStatus.CANCELLED, [ADA]),
        (SelfTradePolicy.CANCEL_BOTH, OrderStatus.CANCELLED, []),
        (None, OrderStatus.RESTING, [ADA_TOO]),
    ],
)
def test_self_trade__each_policy__cancels_what_it_says(venue, policy, ends, rests):
    submit(venue, ADA, 0, make_order())
    receipt = submit(venue, ADA_TOO, 0, make_order(is_buy=False), self_trade=policy)
    assert receipt.execution.status == ends
    assert [resting.account for resting in venue.sequencer.engine.get_orders()] == rests


def test_protection__sweep_over_many_quotes__stops_at_the_limit(venue):
    """
    | who    | does                                    | outcome                         |
    | ada    | protection: 2 fills; quotes 5, order 1  |                                 |
    | blaise | sells 6                                 | two quotes fill, then the order |
    | ada    | quotes again                            | rejected until resumed          |
    """
    sequencer = venue.sequencer
    sequencer.protect(ADA, INDEX, 60, 0, 2)
    for slot in range(5):
        submit(venue, ADA, slot, make_order(PRICE - slot * TICK), is_quote=True)
    submit(venue, ADA, 9, make_order(PRICE - 5 * TICK))
    sold = submit(
        venue,
        BLAISE,
        0,
        make_order(PRICE - 9 * TICK, 6, is_buy=False, time_in_force=TimeInForce.IOC),
    )
    assert sold.execution.filled == 3
    assert len(sequencer.engine) == 0
    protected = [update for update in get_updates(venue, ADA) if update[2] == "protected"]
    assert [slot for slot, _, _ in protected] == [2, 3, 4]
    frozen = submit(venue, ADA, 0, make_order(nonce=2), is_quote=True)
    assert frozen.execution.reason == RejectReason.PROTECTED
    assert submit(venue, ADA, 9, make_order(nonce=2)).outcome == Outcome.RESTING
    sequencer.resume(ADA, INDEX)
    assert submit(venue, ADA, 0, make_order(nonce=3), is_quote=True).outcome == Outcome.RESTING
    sequencer.flush()
    told = [
        event.is_frozen
        for step in venue.auditor.steps
        for event in step.events
        if isinstance(event, Protection)
    ]
    assert told == [True, False]


def test_protection__fills_outside_the_window__do_not_count(venue):
    sequencer = venue.sequencer
    sequencer.protect(ADA, INDEX, 10, 2, 0)
    for turn in range(3):
        sequencer.set_clock(GENESIS + 20 * turn + 1)
        venue.observe(PRICE)
        submit(venue, ADA, 0, make_order(nonce=turn + 1), is_quote=True)
        sold = submit(venue, BLAISE, 0, make_order(nonce=turn + 1, is_buy=False))
        assert sold.outcome == Outcome.FILLED
    assert not sequencer.desk.protections.find(ADA, INDEX).is_frozen


def test_protection__fill_or_kill_that_is_killed__does_not_trip(venue):
    venue.sequencer.protect(ADA, INDEX, 60, 0, 1)
    for slot in range(2):
        submit(venue, ADA, slot, make_order(PRICE - slot * TICK), is_quote=True)
    order = make_order(PRICE - TICK, 2, is_buy=False, time_in_force=TimeInForce.FOK)
    assert submit(venue, BLAISE, 0, order).outcome == Outcome.REJECTED
    assert len(venue.sequencer.engine) == 2
    assert not venue.sequencer.desk.protections.find(ADA, INDEX).is_frozen


def test_quote__without_protection__is_refused(venue):
    with pytest.raises(RejectedError, match="is_quote: account 1 has no protection"):
        submit(venue, ADA, 0, make_order(), is_quote=True)


@pytest.mark.parametrize("seed", range(2))
def test_desk__random_stream__steps_tell_everything_and_a_restart_repeats_it(new_path, seed):
    dice = random.Random(seed)
    path = new_path()
    auditor = Auditor()
    venue = Venue(Recorder(path)).open()
    venue.sequencer.receipt_key = KEY
    venue.sequencer.listen(auditor)
    for turn in range(800):
        play(venue, dice)
        if dice.random() < 0.2:
            venue.sequencer.flush()
            auditor.check(venue.sequencer)
        if turn % 200 == 199:
            venue.sequencer.flush()
            before = compute_desk(venue.sequencer)
            crash(venue)
            venue = restart(path)
            assert compute_desk(venue.sequencer) == before
            venue.sequencer.receipt_key = KEY
            venue.sequencer.listen(auditor)
    updates = [
        event for step in auditor.steps for event in step.events if isinstance(event, OrderUpdate)
    ]
    # Only a rebase reverts.
    assert {update.state for update in updates} == {*OrderState} - {OrderState.REVERTED}
    reasons = {"requested", "replaced", "dead_man", "protected", "SELF_TRADE", "no_liquidity"}
    assert {update.reason for update in updates} >= reasons


def test_listener__log_replayed__same_steps(new_path):
    path, dice = new_path(), random.Random(9)
    first, second = Auditor(), Auditor()
    venue = Venue(Recorder(path))
    venue.sequencer.listen(first)
    venue.open()
    for _ in range(200):
        play(venue, dice)
    venue.sequencer.flush()
    crash(venue)
    reopened = type(venue.sequencer)(Recorder(path), DOMAIN, listener=second)
    assert second.steps == first.steps
    second.check(reopened)


def test_listener__entry_not_durable__nothing_is_told(venue):
    submit(venue, ADA, 0, make_order())
    assert not venue.auditor.steps
    venue.sequencer.flush()
    assert venue.auditor.steps


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 33])
def test_receipts__of_one_commit__each_proves_itself(new_path, count):
    path = new_path()
    venue = Venue(Recorder(path)).open()
    venue.sequencer.receipt_key = KEY
    orders = [make_order(size=slot + 1) for slot in range(count)]
    receipts = [submit(venue, ADA, slot, order) for slot, order in enumerate(orders)]
    assert venue.sequencer.find_receipt(receipts[0].sequence) is None
    venue.sequencer.flush()
    crash(venue)
    venue = restart(path)
    for slot, (order, receipt) in enumerate(zip(orders, receipts, strict=True)):
        signed = venue.sequencer.find_receipt(receipt.sequence)
        assert signed.subject == hash_order(ADA, SlotId(slot), order)
        assert (signed.account, signed.outcome) == (ADA, Outcome.RESTING)
        assert recover_receipt_signer(DOMAIN, signed) == KEY.address


def test_receipt__any_field_changed__does_not_prove_itself(venue):
    venue.sequencer.receipt_key = KEY
    receipts = [submit(venue, ADA, slot, make_order()) for slot in range(3)]
    venue.sequencer.flush()
    signed = venue.sequencer.find_receipt(receipts[1].sequence)
    for name in ("account", "sequence", "clock", "outcome", "filled", "reason"):
        forged = msgspec.structs.replace(signed, **{name: getattr(signed, name) + 1})
        assert recover_receipt_signer(DOMAIN, forged) != KEY.address
    forged = msgspec.structs.replace(signed, subject=bytes(32))
    assert recover_receipt_signer(DOMAIN, forged) != KEY.address


def test_compute_branches__order_of_a_pair__does_not_matter():
    left, right = keccak(b"left"), keccak(b"right")
    root, branches = compute_branches([left, right])
    assert compute_branches([right, left]) == (root, branches[::-1])


def test_receipts__cancel_and_trigger__have_their_own(venue):
    venue.sequencer.receipt_key = KEY
    submit(venue, ADA, 0, make_order(), trigger=Trigger(True, True, PRICE + 100))
    venue.sequencer.set_clock(GENESIS + 1)
    venue.observe(PRICE + 100)
    cancelled = venue.sequencer.cancel(ADA, SlotId(0))
    venue.sequencer.flush()
    outcomes = [
        venue.sequencer.find_receipt(sequence).outcome
        for sequence in range(venue.store.next_sequence)
        if venue.sequencer.find_receipt(sequence) is not None
    ]
    assert outcomes == [Outcome.HELD, Outcome.RESTING, Outcome.DONE]
    assert venue.sequencer.find_receipt(cancelled.sequence).account == ADA
