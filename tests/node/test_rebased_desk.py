"""What L1 undoes of orders comes out again, and whoever listens ends with what is there."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from deltaroll.node.admission import Receipt, Terms, Trigger
from deltaroll.node.events import (
    AccountChange,
    BookChange,
    OrderState,
    OrderUpdate,
    Rebased,
    Step,
)
from deltaroll.node.recovery import Obstacle
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from deltaroll.protocol.types import AccountId, MessageKind, Order, SlotId, Transfer
from tests.node.desk_streams import ALIVE, ENDS, compute_desk, play
from tests.node.support import CASH, DOMAIN, INDEX, OTHER_INDEX, OWNERS, PRICE, make_order
from tests.node.test_batcher import ADA, BLAISE, Desk
from tests.node.test_recovery import CARL, deposit, finish, open_desk, recover

DEAD = ENDS | {OrderState.REVERTED}


@dataclass
class Tail:
    """Follows the steps and believes what they say last."""

    sequence: int = -1
    orders: dict[tuple[int, int, int], OrderUpdate] = field(default_factory=dict)
    books: dict[tuple[int, bool, int], int] = field(default_factory=dict)
    cash: dict[int, int] = field(default_factory=dict)
    rebased: list[int] = field(default_factory=list)
    since: dict[tuple[int, int, int], int] = field(default_factory=dict)
    """Step in which each order was first told of."""
    undone: set[tuple[int, int, int]] = field(default_factory=set)
    """Orders of steps that do not hold, until they are told of again."""

    def __call__(self, steps: Sequence[Step]) -> None:
        for step in steps:
            assert step.sequence > self.sequence
            self.sequence = step.sequence
            for event in step.events:
                self.take(event)

    def take(self, event: object) -> None:
        match event:
            case OrderUpdate():
                key = event.account, event.slot, event.nonce
                before = self.orders.get(key)
                is_known = before is not None and key not in self.undone
                waits = is_known and before.state in {*ALIVE, OrderState.HELD}
                if event.state == OrderState.REJECTED and waits:
                    # Another one with a nonce that is used.
                    return
                if not is_known:
                    self.since[key] = self.sequence
                self.undone.discard(key)
                self.orders[key] = event
            case BookChange():
                for is_bid, levels in ((True, event.bids), (False, event.asks)):
                    for price, lots in levels:
                        self.books[event.market, is_bid, price] = lots
            case AccountChange():
                self.cash[event.account] = event.cash
            case Rebased():
                self.rebased.append(event.first)
                self.undone |= {key for key, since in self.since.items() if since >= event.first}

    def check(self, sequencer: Sequencer) -> None:
        """What was told is what is there, and every other order has ended."""
        sequencer.flush()
        alive = {
            (resting.account, resting.slot, resting.order.nonce): resting.remaining
            for resting in sequencer.engine.get_orders()
        }
        orders = self.orders
        assert alive == {key: one.remaining for key, one in orders.items() if one.state in ALIVE}
        held = {
            (one.entry.order.account, one.entry.order.slot, one.entry.order.nonce)
            for one in sequencer.desk.triggers.get_all()
        }
        assert held == {key for key, one in orders.items() if one.state == OrderState.HELD}
        assert all(
            one.state in DEAD for key, one in orders.items() if key not in alive and key not in held
        )
        there: dict[tuple[int, bool, int], int] = {}
        for resting in sequencer.engine.get_orders():
            level = resting.order.market, resting.order.is_buy, resting.order.price
            there[level] = there.get(level, 0) + resting.remaining
        assert {level: lots for level, lots in self.books.items() if lots} == there
        cash = {key: account.cash for key, account in sequencer.state.accounts.items()}
        assert self.cash.items() <= cash.items()


def open_told(path: object) -> tuple[Desk, Tail]:
    desk = open_desk(path)
    desk.venue.observe(PRICE, index=OTHER_INDEX)
    tail = Tail()
    desk.sequencer.listen(tail)
    return desk, tail


def submit(desk: Desk, account: AccountId, slot: int, order: Order, terms: Terms) -> Receipt:
    signature = OWNERS[account].sign_order(DOMAIN, account, SlotId(slot), order)
    return desk.sequencer.submit_order(account, SlotId(slot), order, signature, terms)


def ask_for_everything(desk: Desk) -> None:
    """Orders with names and triggers, quotes, switches; a fill, a cancellation, a stop that fires.

    | who | what |
    |---|---|
    | Ada | protection, a quote by name, a dead-man switch, a stop that waits |
    | Blaise | takes half of the quote; a stop that has fired by the end |
    | Carl | an order that is cancelled |
    """
    sequencer, expiry = desk.sequencer, desk.sequencer.clock + 3_600
    sequencer.protect(ADA, INDEX, 60, 50, 0)
    submit(desk, ADA, 0, make_order(PRICE, 8, expiry=expiry), Terms("quote", is_quote=True))
    sequencer.set_dead_man(ADA, 86_000)
    low = Trigger(is_index=True, is_above=False, level=PRICE // 2)
    submit(desk, ADA, 1, make_order(PRICE - 900, 2, expiry=expiry), Terms("stop", trigger=low))
    submit(desk, BLAISE, 0, make_order(PRICE, 4, is_buy=False, expiry=expiry), Terms("take"))
    met = Trigger(is_index=True, is_above=True, level=1)
    submit(desk, BLAISE, 1, make_order(PRICE, 1, is_buy=False, expiry=expiry), Terms(trigger=met))
    submit(desk, CARL, 0, make_order(PRICE - 500, 3, expiry=expiry), Terms("gone"))
    sequencer.cancel_named(CARL, "gone")


def describe(sequencer: Sequencer) -> tuple[object, ...]:
    """All of the desk but places in the log and times."""
    desk = sequencer.desk
    return (
        [
            (one.account, one.slot, one.order, one.remaining, one.client_id, one.is_quote)
            for one in sequencer.engine.get_orders()
        ],
        {
            account: [(name, one.content, one.nonce, one.execution) for name, one in names.items()]
            for account, names in desk.ids.get_all().items()
        },
        [one.entry for one in desk.triggers.get_all()],
        desk.dead_men.get_all(),
        desk.protections.get_all(),
    )


def check_again(desk: Desk, tail: Tail) -> None:
    """A restart gives the same desk; whoever listens to it from the beginning ends alike."""
    tail.check(desk.sequencer)
    late = Tail()
    again = Sequencer(Store(desk.path, DOMAIN), DOMAIN, listener=late)
    assert compute_desk(again) == compute_desk(desk.sequencer)
    late.check(again)
    # One may undo those before it.
    assert late.rebased == tail.rebased[len(tail.rebased) - len(late.rebased) :] != []


def test_rebase__deposit_reorganised_away__orders_names_triggers_and_switches_are_back(new_path):
    desk, tail = open_told(new_path())
    deposit(desk, CARL, CASH)
    desk.sync()
    ask_for_everything(desk)
    before = describe(desk.sequencer)
    assert before[0][0][3] == 3, "five of eight lots are filled"
    desk.venue.act(Transfer(CARL, ADA, 2 * CASH, desk.venue.state.accounts[CARL].nonce + 1))
    desk.seal()
    tail.check(desk.sequencer)
    desk.l1.reorganise(1)
    report = recover(desk)
    assert report is not None
    assert report.obstacle == Obstacle.LOST_MESSAGE
    assert [type(one.entry).__name__ for one in report.reverted] == ["TransferEntry"]
    assert describe(desk.sequencer) == before
    assert tail.cash[CARL] == CASH
    assert len(tail.rebased) == 1
    check_again(desk, tail)
    finish(desk)


def test_rebase__a_day_later__what_has_expired_is_told_as_reverted(new_path):
    desk, tail = open_told(new_path())
    ask_for_everything(desk)
    desk.seal()
    desk.l1.mine(6 * MAX_CLOCK_LAG)
    report = recover(desk)
    assert report is not None
    assert report.obstacle == Obstacle.STALE_CHUNK
    told = {key[:2]: one for key, one in tail.orders.items()}
    # The last two fired and were cancelled: the one was never matched, the other had its end.
    for key in ((ADA, 0), (ADA, 1), (BLAISE, 0), (BLAISE, 1), (CARL, 0)):
        assert told[key].state == OrderState.REVERTED, key
        assert told[key].reason.startswith("expiry: ")
    assert desk.sequencer.engine.get_orders() == []
    check_again(desk, tail)
    finish(desk)


def test_rebase__others_have_posted__book_and_held_orders_are_told_as_they_are(new_path):
    """
    | who | does | outcome |
    |---|---|---|
    | Ada | bids 3, holds a stop | |
    | Carl | bids, holds a stop | |
    | Blaise | sells 1 | Ada's bid has 2 left |
    | others | have posted that Carl cancels everything through L1 | his orders are refused now |
    | the committee | reports a higher price | Ada's stop fires |
    """
    desk, tail = open_told(new_path())
    stop = Terms(trigger=Trigger(is_index=True, is_above=True, level=PRICE + 50))
    submit(desk, ADA, 0, make_order(PRICE, 3), Terms())
    submit(desk, ADA, 1, make_order(PRICE - 100, 1), stop)
    submit(desk, CARL, 0, make_order(PRICE - 100, 1), Terms())
    submit(desk, CARL, 1, make_order(PRICE - 100, 1), stop)
    submit(desk, BLAISE, 0, make_order(PRICE, 1, is_buy=False), Terms())
    desk.seal()
    desk.l1.enqueue(MessageKind.CANCEL_ALL, OWNERS[CARL].address, CARL.to_bytes(4, "big"))
    other = Desk(new_path(), desk.l1)
    assert recover(other) is not None
    other.sync()
    other.post_all()
    report = recover(desk)
    assert report is not None
    assert report.obstacle == Obstacle.FOREIGN_BATCH
    assert [one.reason for one in report.reverted] == [
        "REJECTED instead of RESTING",
        "REJECTED instead of HELD",
    ]
    told = {key[:2]: (one.state, one.remaining, one.reason) for key, one in tail.orders.items()}
    assert told[CARL, 0] == told[CARL, 1] == (OrderState.REJECTED, 1, "ORDER_EPOCH")
    assert told[ADA, 0] == (OrderState.PARTIALLY_FILLED, 2, "")
    assert told[ADA, 1] == (OrderState.HELD, 1, "")
    check_again(desk, tail)
    desk.l1.mine()
    desk.sync()
    desk.venue.observe(PRICE + 60)
    tail.check(desk.sequencer)
    assert desk.sequencer.engine.find(ADA, SlotId(1)) is not None
    finish(desk)


def trade_at_random(desk: Desk, dice: random.Random) -> None:
    """Anything the desk takes, and a deposit that L1 may take back, with things after it."""
    for _ in range(40):
        play(desk.venue, dice)
        if dice.random() < 0.1:
            desk.seal()
    deposit(desk, CARL, 1 + dice.randrange(9))
    desk.sync()
    for _ in range(10):
        play(desk.venue, dice)
    desk.seal()


def lose(desk: Desk, is_reorganised: bool) -> None:
    """L1 takes a block back, or takes nothing for too long."""
    if is_reorganised:
        desk.l1.reorganise(1)
    else:
        desk.l1.mine(MAX_CLOCK_LAG)
    assert recover(desk) is not None
    if not is_reorganised:
        desk.venue.observe(PRICE)
        desk.venue.observe(PRICE, index=OTHER_INDEX)


@pytest.mark.parametrize("seed", range(8))
def test_rebase__anything_the_desk_takes__listeners_and_restarts_agree(new_path, seed):
    dice = random.Random(seed)
    desk, tail = open_told(new_path())
    deposit(desk, CARL, CASH)
    desk.sync()
    for _ in range(4):
        trade_at_random(desk, dice)
        tail.check(desk.sequencer)
        lose(desk, is_reorganised=dice.random() < 0.7)
        check_again(desk, tail)
    assert tail.rebased
    desk.store.close()
