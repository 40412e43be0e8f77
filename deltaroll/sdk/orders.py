"""Orders from the first answer to their end, whatever happens to the connection meanwhile.

An order is named for good by account, slot and nonce. Its state comes from two sides, the answer to
the request and the account's channel; the later one in the log counts.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from deltaroll.node.api.data import (
    AccountData,
    AccountDelta,
    AccountSnapshot,
    Fill,
    OpenOrder,
    SlotData,
)
from deltaroll.node.api.messages import Accepted, ChannelMessage
from deltaroll.node.events import OrderState, OrderUpdate, Rebased
from deltaroll.protocol.fault import Fault
from deltaroll.sdk.errors import SdkError
from deltaroll.sdk.link import Pending
from deltaroll.sdk.slots import Slots

if TYPE_CHECKING:
    from deltaroll.sdk.aio import AsyncClient

ENDS = frozenset(
    {
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.EXPIRED,
        OrderState.REJECTED,
        OrderState.REVERTED,
    }
)
IN_BOOK = frozenset({OrderState.RESTING, OrderState.PARTIALLY_FILLED})
REMEMBERED = 4_096
"""Orders that have ended and are still known, in case L1 undoes their end."""
NOT_TOLD = "not_told"
"""Reason of an order that ended while nobody here listened, as far as the venue remembers."""

Key = tuple[int, int]
"""Slot and nonce."""


class Terms(msgspec.Struct, frozen=True):
    """What an order says for good."""

    slot: int
    nonce: int
    client_id: str
    market: int
    is_buy: bool
    price: int
    """Limit, collateral units per lot."""
    size: int
    """Lots."""
    expiry: int
    post_only: bool = False
    reduce_only: bool = False
    is_quote: bool = False


class Order:
    """An order that is followed to its end."""

    def __init__(self, client: AsyncClient, terms: Terms, subject: bytes | None = None) -> None:
        self.terms = terms
        self.subject = subject
        """EIP-712 struct hash; None: another run of the client has placed it."""
        self.state: OrderState | None = None
        """None: sent, and not answered yet."""
        self.remaining = terms.size
        """Lots that may still trade, or never did."""
        self.reason = ""
        """Why it was cancelled, rejected or reverted."""
        self.fills: list[tuple[int, Fill]] = []
        """(Sequence number, fill) as they were told; not those of a gap."""
        self.accepted: Accepted | None = None
        """The venue's first answer, its receipt checked."""
        self.sequence = 0
        """Of the log, as of when the state is known."""
        self.pending: Pending | None = None
        """The request that places it; None: another run of the client has."""
        self._client = client
        self._ended: asyncio.Future[OrderState] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        side = "buy" if self.terms.is_buy else "sell"
        state = "sent" if self.state is None else self.state.value
        return (
            f"<Order {side} {self.terms.size} of {self.terms.market} at {self.terms.price}: "
            f"{state}, {self.filled} filled>"
        )

    @property
    def key(self) -> Key:
        """What names it within its account."""
        return self.terms.slot, self.terms.nonce

    @property
    def filled(self) -> int:
        """Lots that have traded."""
        return self.terms.size - self.remaining

    @property
    def is_done(self) -> bool:
        """Whether it has come to an end."""
        return self.state in ENDS

    async def done(self) -> OrderState:
        """Wait for the end: filled, cancelled, expired, rejected or reverted.

        It is the sequencer's word, as every answer; until a batch with it is final on L1 it can be
        undone (docs/trade/orders.md).

        Raises
        ------
        RefusedError
            When the venue has refused it: it has no state, and never will.
        ClosedError
            When the client was closed before.
        """
        return await asyncio.shield(self._ended)

    async def cancel(self) -> OrderState:
        """Cancel it, and return how it ended: it may have been filled before."""
        return await self._client.cancel(self)

    def _end(self, result: OrderState | SdkError) -> None:
        """Wake whoever waits for the end."""
        if self._ended.done():
            return
        if isinstance(result, SdkError):
            self._ended.set_exception(result)
            self._ended.exception()
        else:
            self._ended.set_result(result)

    def _reopen(self) -> None:
        """Go on after an end that was undone."""
        if self._ended.done():
            self._ended = asyncio.get_running_loop().create_future()


class Orders:
    """An account's orders as its channel and the answers tell of them."""

    def __init__(self, client: AsyncClient, slots: Slots, on_doubt: Callable[[], None]) -> None:
        """`on_doubt`: there are orders whose end nobody has told; `settle` wants to be called."""
        self._client = client
        self._slots = slots
        self._on_doubt = on_doubt
        self._alive: dict[Key, Order] = {}
        self._ended: OrderedDict[Key, Order] = OrderedDict()
        self._covered = -1
        """Sequence number of the last snapshot: orders accepted up to it were in it, or had
        ended."""
        self.leaf: AccountData | None = None
        """The account's leaf."""
        self._actions: dict[int, int] = {}
        """Nonces of the account's last actions -> sequence numbers."""
        self._acted = asyncio.Event()
        self.missing: set[Key] = set()

    @property
    def alive(self) -> list[Order]:
        """Orders that have not ended, also those that are not answered yet."""
        return list(self._alive.values())

    def find(self, key: Key) -> Order | None:
        """Return an order that is alive or has ended lately."""
        return self._alive.get(key) or self._ended.get(key)

    def add(self, order: Order) -> None:
        """Follow an order that is about to be sent; its slot is taken already."""
        self._alive[order.key] = order

    def refuse(self, order: Order, problem: SdkError) -> None:
        """Take an order out that the venue has not taken."""
        if order.state is None and self._alive.pop(order.key, None) is not None:
            self._slots.release(order.terms.slot)
            order._end(problem)

    def answer(self, order: Order, accepted: Accepted) -> None:
        """Take the answer to an order."""
        order.accepted = accepted
        if order.state is not None and order.sequence >= accepted.sequence:
            return
        state = OrderState(accepted.status.value)
        if is_copy(order, state, accepted.reason):
            if order.state is None:
                self._doubt(order.key)
            return
        remaining = order.terms.size - accepted.filled
        self._set(order, accepted.sequence, state, remaining, accepted.reason)
        if not order.is_done and accepted.sequence <= self._covered:
            # It is not what it was when it was accepted, or the snapshot would have had it.
            self._doubt(order.key)

    def take(self, message: ChannelMessage) -> None:
        """Take a message of the account's channel."""
        data = message.data
        if isinstance(data, AccountSnapshot):
            self._take_snapshot(message.sequence, data)
        elif isinstance(data, AccountDelta):
            for event in data.events:
                match event:
                    case OrderUpdate():
                        self._update(message.sequence, event)
                    case Fill():
                        order = self.find((event.slot, event.nonce))
                        if order is not None:
                            order.fills.append((message.sequence, event))
                    case AccountData():
                        self._take_leaf(message.sequence, event)
                    case Rebased():
                        self._rebase(event.first)

    async def wait_for_action(self, nonce: int) -> int:
        """Return the sequence number of the account's action with a nonce, once it is told."""
        while nonce not in self._actions:
            self._acted.clear()
            await self._acted.wait()
        return self._actions[nonce]

    def settle(self, slots: dict[int, SlotData]) -> None:
        """Say how orders have ended that are gone without a word, by what their slots hold."""
        missing, self.missing = self.missing, set()
        for key in missing:
            order = self._alive.get(key)
            if order is None:
                continue
            slot = slots.get(order.terms.slot)
            remaining = order.remaining
            if slot is not None and slot.filled_nonce == order.terms.nonce:
                remaining = order.terms.size - slot.filled
            if slot is None or slot.nonce < order.terms.nonce:
                # The venue has never had it.
                self._set(order, order.sequence, OrderState.REVERTED, remaining, NOT_TOLD)
            elif remaining == 0:
                self._set(order, order.sequence, OrderState.FILLED, 0, "")
            else:
                self._set(order, order.sequence, OrderState.CANCELLED, remaining, NOT_TOLD)

    def close(self, problem: SdkError) -> None:
        """Tell whoever waits that nothing more will be heard."""
        for order in self._alive.values():
            order._end(problem)

    def _take_snapshot(self, sequence: int, snapshot: AccountSnapshot) -> None:
        self._covered = sequence
        self.leaf = snapshot.leaf
        found = {(order.slot, order.nonce): order for order in snapshot.orders}
        for key, shown in found.items():
            order = self.find(key)
            if order is None:
                order = self._adopt(shown)
            self._set(order, sequence, OrderState(shown.state), shown.remaining, "")
        for key, order in list(self._alive.items()):
            if key not in found and order.state is not None and order.sequence <= sequence:
                self._doubt(key)

    def _take_leaf(self, sequence: int, leaf: AccountData) -> None:
        if self.leaf is not None and leaf.nonce != self.leaf.nonce:
            self._actions[leaf.nonce] = sequence
            if len(self._actions) > REMEMBERED:
                del self._actions[next(iter(self._actions))]
            self._acted.set()
        self.leaf = leaf

    def _adopt(self, shown: OpenOrder | OrderUpdate) -> Order:
        """Follow an order that another run of the client, or another client, has placed."""
        terms = Terms(
            shown.slot,
            shown.nonce,
            shown.client_id,
            shown.market,
            shown.is_buy,
            shown.price,
            shown.size,
            shown.expiry if isinstance(shown, OpenOrder) else 0,
        )
        order = Order(self._client, terms)
        self._slots.note(shown.slot, shown.nonce)
        self._slots.hold(shown.slot)
        self._alive[order.key] = order
        return order

    def _update(self, sequence: int, event: OrderUpdate) -> None:
        order = self.find((event.slot, event.nonce))
        if order is None:
            self._slots.note(event.slot, event.nonce)
            if event.state in ENDS:
                return
            order = self._adopt(event)
        if sequence < order.sequence or is_copy(order, event.state, event.reason):
            return
        self._set(order, sequence, event.state, event.remaining, event.reason)

    def _set(
        self, order: Order, sequence: int, state: OrderState, remaining: int, reason: str
    ) -> None:
        was_done = order.is_done
        order.state, order.remaining, order.reason = state, remaining, reason
        order.sequence = max(order.sequence, sequence)
        key = order.key
        if order.is_done:
            self.missing.discard(key)
            if not was_done:
                self._alive.pop(key, None)
                self._slots.release(order.terms.slot)
                self._ended[key] = order
                if len(self._ended) > REMEMBERED:
                    self._ended.popitem(last=False)
            order._end(state)
        elif was_done:
            # L1 has undone its end.
            self._ended.pop(key, None)
            self._alive[key] = order
            self._slots.hold(order.terms.slot)
            order._reopen()

    def _rebase(self, first: int) -> None:
        for order in (*self._alive.values(), *self._ended.values()):
            order.fills = [entry for entry in order.fills if entry[0] < first]

    def _doubt(self, key: Key) -> None:
        self.missing.add(key)
        self._on_doubt()


def is_copy(order: Order, state: OrderState, reason: str) -> bool:
    """Return whether a rejection is of a copy, not of the order itself: that one is, or was, in the
    book; or it was sent twice, and the venue, which has forgotten its client id, has found its
    nonce used."""
    if state is not OrderState.REJECTED:
        return False
    if order.state is None:
        is_repeated = order.pending is not None and order.pending.is_repeated
        return is_repeated and reason == Fault.ORDER_NONCE.name
    return order.state not in (OrderState.HELD, OrderState.TRIGGERED)
