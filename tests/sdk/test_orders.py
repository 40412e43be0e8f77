"""What an account's channel and the answers tell of orders, in any order that they can come in."""

import asyncio

import pytest

from deltaroll.node.api.data import AccountData, AccountDelta, AccountSnapshot, Fill, SlotData
from deltaroll.node.api.messages import Accepted, ChannelMessage, MessageKind, Status
from deltaroll.node.events import OrderState, OrderUpdate, Rebased
from deltaroll.sdk.errors import ClosedError
from deltaroll.sdk.orders import NOT_TOLD, Order, Orders, Terms
from deltaroll.sdk.slots import Slots

LEAF = AccountData("0", 0, 0, 0, ())
SIZE = 4


class Account:
    """An account's orders without a venue."""

    def __init__(self) -> None:
        self.slots = Slots()
        self.doubts = 0
        self.orders = Orders(None, self.slots, self.doubt)

    def doubt(self) -> None:
        self.doubts += 1

    def place(self) -> Order:
        slot, nonce = self.slots.take()
        order = Order(None, Terms(slot, nonce, "x", 1, True, 5, SIZE, 9))
        self.orders.add(order)
        return order

    def tell(self, sequence: int, *events: object) -> None:
        message = ChannelMessage("account.1", MessageKind.DELTA, sequence, 0, AccountDelta(events))
        self.orders.take(message)

    def show(self, sequence: int) -> None:
        """A snapshot without orders."""
        snapshot = AccountSnapshot(1, LEAF, (), (), None, None)
        self.orders.take(ChannelMessage("account.1", MessageKind.RESYNC, sequence, 0, snapshot))


def make_update(order: Order, state: OrderState, remaining: int = SIZE, reason: str = ""):
    terms = order.terms
    return OrderUpdate(1, *order.key, "x", 1, True, 5, terms.size, remaining, state, reason)


def make_fill(order: Order, lots: int) -> Fill:
    return Fill(1, *order.key, "x", 1, True, 5, lots, True)


def run(work) -> None:
    asyncio.run(work())


def test_order__undone_by_l1__is_alive_again_and_ends_anew():
    """
    | sequence | told                        | order                              |
    | 10       | accepted                    | rests                              |
    | 12       | filled                      | done                               |
    | 20       | rebased from 11 on; rests   | alive, no fills, its slot is taken |
    | 21       | half filled, again          |                                    |
    | 22       | could not be placed again   | reverted                           |
    """

    async def work():
        account = Account()
        order = account.place()
        account.orders.answer(order, Accepted(10, 0, Status.RESTING))
        account.tell(12, make_fill(order, SIZE), make_update(order, OrderState.FILLED, 0))
        assert await order.done() is OrderState.FILLED
        assert account.slots.in_use == 0
        account.tell(20, Rebased(11), make_update(order, OrderState.RESTING))
        assert (order.state, order.filled, order.fills) == (OrderState.RESTING, 0, [])
        assert account.orders.alive == [order]
        assert account.slots.in_use == 1
        waiting = asyncio.create_task(order.done())
        account.tell(21, make_fill(order, 2), make_update(order, OrderState.PARTIALLY_FILLED, 2))
        account.tell(22, make_update(order, OrderState.REVERTED, 4, "MARGIN"))
        assert await waiting is OrderState.REVERTED
        assert (order.reason, account.slots.in_use) == ("MARGIN", 0)

    run(work)


def test_answer__after_what_came_later__changes_nothing():
    async def work():
        account = Account()
        order = account.place()
        account.tell(10, make_update(order, OrderState.RESTING))
        account.tell(11, make_update(order, OrderState.CANCELLED, SIZE, "requested"))
        account.orders.answer(order, Accepted(10, 0, Status.RESTING))
        assert (order.state, order.reason) == (OrderState.CANCELLED, "requested")
        assert order.accepted is not None
        assert account.slots.in_use == 0

    run(work)


@pytest.mark.parametrize(
    ("slot", "state", "filled"),
    [
        (SlotData(0, 1, 1, SIZE), OrderState.FILLED, SIZE),
        (SlotData(0, 1, 1, 3), OrderState.CANCELLED, 3),
        (SlotData(0, 1, 0, 0), OrderState.CANCELLED, 0),
        (SlotData(0, 5, 4, 2), OrderState.CANCELLED, 0),
        (None, OrderState.REVERTED, 0),
    ],
)
def test_snapshot__without_an_order__its_slot_says_how_it_ended(slot, state, filled):
    async def work():
        account = Account()
        order = account.place()
        account.orders.answer(order, Accepted(10, 0, Status.RESTING))
        account.show(30)
        assert account.doubts == 1
        assert order.state is OrderState.RESTING
        account.orders.settle({} if slot is None else {0: slot})
        assert await order.done() is state
        assert order.filled == filled
        assert order.reason == ("" if state is OrderState.FILLED else NOT_TOLD)
        assert account.orders.missing == set()
        assert account.slots.in_use == 0

    run(work)


def test_snapshot__older_than_an_order__says_nothing_of_it():
    async def work():
        account = Account()
        early, late = account.place(), account.place()
        account.orders.answer(early, Accepted(31, 0, Status.RESTING))
        account.show(30)
        account.orders.answer(late, Accepted(32, 0, Status.RESTING))
        assert account.doubts == 0
        # One that is answered only now, and was accepted before the snapshot, is not in it: gone.
        lost = account.place()
        account.orders.answer(lost, Accepted(29, 0, Status.RESTING))
        assert account.doubts == 1
        assert account.orders.missing == {lost.key}

    run(work)


@pytest.mark.parametrize("state", [OrderState.RESTING, OrderState.PARTIALLY_FILLED])
def test_rejection__of_a_copy_of_what_rests__is_not_the_orders(state):
    async def work():
        account = Account()
        order = account.place()
        account.tell(10, make_update(order, state, 2))
        account.tell(11, make_update(order, OrderState.REJECTED, SIZE, "ORDER_NONCE"))
        assert (order.state, order.remaining) == (state, 2)

    run(work)


def test_close__orders_alive__whoever_waits_is_told():
    async def work():
        account = Account()
        order = account.place()
        waiting = asyncio.create_task(order.done())
        await asyncio.sleep(0)
        account.orders.close(ClosedError("closed"))
        with pytest.raises(ClosedError):
            await waiting

    run(work)
