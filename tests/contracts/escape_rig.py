"""A frozen rollup in process: any state as its genesis, all L1 contracts around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

from eth_utils import keccak

from deltaroll.node.escape import compute_escape_witness
from deltaroll.protocol.leaf import encode_globals
from deltaroll.protocol.state import (
    EMPTY_GLOBALS,
    State,
    compute_state_root,
    reset_meter,
    set_account,
    set_market,
    touch_market,
)
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    MarketId,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
)
from deltaroll.protocol.witness import encode_witness
from tests.adversary.catalogue_rig import (
    ALICE,
    CLAIM_WINDOW,
    FREEZE_DELAY,
    L1,
    ORACLE_DELAY,
    RIVAL,
    SEQUENCER,
    START,
    At,
    Revert,
    chunk,
)
from tests.contracts.reference import Header, Message
from tests.protocol.scenes import make_underlying
from tests.protocol.strategies import COMMITTEE, GRID, default_params

__all__ = ["CLAIM_WINDOW", "FREEZE_DELAY", "ORACLE_DELAY", "START", "Revert"]

UNDERLYING = MarketId(10)
Refund = tuple[int, str, int, str, int, int]
"""Arguments of `refundDeposit`."""


class Holding(NamedTuple):
    """An account in short."""

    owner: str
    cash: int
    positions: tuple[tuple[int, int, int], ...] = ()
    """Series, size, snapshot."""


class Market(NamedTuple):
    """A series in short."""

    mark: int
    carry_long: int = 0
    carry_short: int = 0
    status: SeriesStatus = SeriesStatus.ACTIVE
    open_interest: int = 1
    risk: int = 3


def to_bytes(address: str) -> Address:
    """An address as the protocol has it."""
    return Address(bytes.fromhex(address[2:]))


def make_series(market: Market) -> Series:
    """A perpetual's leaf."""
    return Series(
        kind=SeriesKind.PERPETUAL,
        status=market.status,
        underlying=UNDERLYING,
        expiry=MarketId(0),
        strike=0,
        mark=market.mark,
        mark_index=market.mark,
        marked_at=Timestamp(START - 60),
        carry_long=market.carry_long,
        carry_short=market.carry_short,
        accrued_at=Timestamp(START - 60),
        funding_remainder=0,
        open_interest=market.open_interest,
        risk=tuple(range(market.risk)),
    )


def make_account(holding: Holding) -> Account:
    """An account's leaf."""
    positions = tuple(
        Position(MarketId(series), size, snapshot)
        for series, size, snapshot in sorted(holding.positions)
    )
    owner = to_bytes(holding.owner)
    return Account(owner, ZERO_ADDRESS, Timestamp(0), 1, holding.cash, 0, Timestamp(0), positions)


def make_state(
    accounts: Mapping[int, Holding],
    markets: Mapping[int, Market] | None = None,
    *,
    backing: int | None = None,
    observed_at: int = START,
    **changes: Any,
) -> State:
    """A state with these leaves; what it holds is `backing`, or else the sum of all cash."""
    state = State()
    params = default_params(Random(1), COMMITTEE, GRID)
    set_market(state, UNDERLYING, make_underlying(params, Timestamp(observed_at)))
    for market_id, market in (markets or {}).items():
        set_market(state, MarketId(market_id), make_series(market))
    for account_id, holding in accounts.items():
        set_account(state, AccountId(account_id), make_account(holding))
    if backing is None:
        backing = max(0, sum(holding.cash for holding in accounts.values()))
    withdrawn = changes.pop("withdrawn", 0)
    state.globals = replace(
        EMPTY_GLOBALS,
        deposited=backing + withdrawn,
        withdrawn=withdrawn,
        account_count=len(accounts),
        **changes,
    )
    compute_state_root(state)
    return state


def reprice(state: State, **changes: Any) -> State:
    """The same state with another underlying."""
    other = state.copy_before(0)
    leaf = other.markets[UNDERLYING]
    assert isinstance(leaf, Underlying)
    set_market(other, UNDERLYING, replace(leaf, **changes))
    compute_state_root(other)
    return other


def open_markets(state: State, *markets: int) -> bytes:
    """The witness of some markets."""
    compute_state_root(state)
    reset_meter(state)
    for market in markets:
        touch_market(state, MarketId(market))
    return encode_witness(state, state.meter)


class Exodus(L1):
    """A rollup whose genesis is a state, and everything that users then do."""

    def __init__(self, state: State, token: str = "MockUSDC", held: int | None = None) -> None:
        super().__init__(token, compute_state_root(state))
        self.state = state
        self.last = self.genesis
        self.backing = state.globals.deposited - state.globals.withdrawn
        self.send(
            ALICE, self.token, "mint", self.vault.address, self.backing if held is None else held
        )

    @property
    def hatch(self) -> At:
        return self.escape_hatch

    def ask(self, name: str, *arguments: Any) -> Any:
        """Read the escape hatch."""
        return self.send(RIVAL, self.hatch, name, *arguments)

    def refuses(self, name: str, *arguments: Any, sender: str = RIVAL) -> str:
        """Why the escape hatch refuses a call; "" when it does not."""
        return self.refusal(sender, self.hatch, name, *arguments)

    # Steps

    def adopt(self, state: State, queue_end: int | None = None, sender: str = SEQUENCER) -> Header:
        """Post a batch whose post root is a state's."""
        end = self.last.queue_end if queue_end is None else queue_end
        queue_hash = self.queue_hash(end - 1) if end else bytes(32)
        chunks = [chunk(compute_state_root(state))]
        self.last = self.post(self.last, chunks, end, queue_hash, sender=sender)
        self.state = state
        return self.last

    def wait(self) -> Message:
        """Queue a message and let it become too old, the head with it."""
        message = self.enqueue()
        self.set_time(max(message.time, self.last.l1_time) + FREEZE_DELAY + 1)
        return message

    def freeze_behind(self, refund: Refund) -> None:
        """Freeze because a deposit waits."""
        self.set_time(max(refund[2], self.last.l1_time) + FREEZE_DELAY + 1)
        self.send(RIVAL, self.hatch, "freeze", tuple(self.last), self.message_of(refund))

    @staticmethod
    def message_of(refund: Refund) -> tuple[int, str, int, bytes]:
        """The message of a deposit."""
        _, sender, time, owner, account, amount = refund
        body = bytes.fromhex(owner[2:]) + account.to_bytes(4, "big") + amount.to_bytes(16, "big")
        return (1, sender, time, keccak(body))

    def freeze(self) -> None:
        """Freeze because nobody proposes."""
        message = self.wait()
        self.send(RIVAL, self.hatch, "freeze", tuple(self.last), tuple(message))

    def open(self) -> None:
        """Freeze, let the last batch settle, fix the final state."""
        if not self.send(RIVAL, self.inbox, "isFrozen"):
            self.freeze()
        self.send(RIVAL, self.hatch, "open", tuple(self.last), self.globals)

    @property
    def globals(self) -> bytes:
        return encode_globals(self.state.globals)

    def witness(self, *accounts: int) -> bytes:
        return compute_escape_witness(self.state, [AccountId(each) for each in accounts])

    def escape(self, *accounts: int) -> None:
        self.send(RIVAL, self.hatch, "escape", self.witness(*accounts))

    def close(self) -> None:
        """Let the window pass."""
        self.set_time(int(self.ask("closesAt")) + 1)

    def claims(self, accounts: Iterable[int]) -> dict[int, tuple[str, int]]:
        """What is registered: owner and amount."""
        return {each: tuple(self.ask("claimOf", each)) for each in accounts}  # type: ignore[misc]

    def deposit(self, owner: str, account: int, amount: int) -> Refund:
        """Deposit; return the arguments of `refundDeposit`."""
        index = int(self.send(ALICE, self.bridge, "queueCount"))
        self.send(ALICE, self.bridge, "deposit", owner, account, amount)
        return (index, ALICE, self.time, owner, account, amount)


def sighting(header: Header, witness: bytes) -> tuple[Any, ...]:
    """A `Sighting`."""
    return (tuple(header), witness)
