"""Makes a case on which both implementations differ as small as it gets.

Transactions go first, then everything of the state that the difference does not need, then values.
A smaller case counts only while the implementations differ in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from deltaroll.protocol.codec import decode_header, decode_transaction, encode_chunk
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.state import (
    State,
    compute_state_root,
    set_account,
    set_market,
    set_slot,
)
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Context,
    Exit,
    Globals,
    MarketId,
    MarketLeaf,
    Message,
    Position,
    Queue,
    Slot,
    SlotId,
    Timestamp,
    Transaction,
)
from tests.protocol.strategies import Case
from tests.protocol.verifiers import OTHER_ROOT, DisagreementError, RevertError, Tally, compare
from tests.vectors.format import write_vector

TRIES = 3_000
"""Smaller cases that are tried for one; a second takes some hundreds."""
ROOTS = ("accounts_root", "markets_root", "exits_root")

T = TypeVar("T")


# What is wrong with a case


@dataclass(frozen=True, slots=True)
class Trouble:
    """How the implementations differ on a case."""

    label: str
    """The same for cases that differ in the same way."""
    detail: str


def find_trouble(case: Case, tally: Tally) -> Trouble | None:
    """Compare both implementations on a case; None when they agree."""
    try:
        compare(case, tally)
    except DisagreementError as problem:
        cause = problem.__cause__
        if isinstance(cause, RevertError):
            label = str(problem).partition(" reverts")[0]
            return Trouble(f"{label} reverts {cause.data[:4].hex()}", str(problem))
        return Trouble(str(problem), str(problem))
    except Exception as problem:  # noqa: BLE001 (whatever is no fault is what is looked for)
        label = f"Python raises {type(problem).__name__}"
        return Trouble(label, f"{label}: {problem}")
    return None


# A case in parts


@dataclass(frozen=True, slots=True)
class Step:
    """A transaction, and the queue message that it consumes."""

    transaction: Transaction
    message: Message | None


@dataclass(frozen=True, slots=True)
class Specimen:
    """A case in parts that can be left out."""

    globals: Globals
    accounts: dict[AccountId, Account]
    slots: dict[tuple[AccountId, SlotId], Slot]
    markets: dict[MarketId, MarketLeaf]
    exits: tuple[Exit, ...]
    clock: Timestamp
    steps: tuple[Step, ...]
    raw: bytes | None
    """Data that no transactions encode; `steps` then only has the messages."""
    spare: int
    """Messages that the header's range has past those of the steps; negative: too few."""
    context: Context
    queue_before: bytes


def decode_some(data: bytes) -> tuple[Timestamp, list[Transaction]]:
    """Return a chunk's clock and the transactions before anything that does not decode."""
    transactions: list[Transaction] = []
    clock = Timestamp(0)
    try:
        decoder = decode_header(data)
        clock = decoder.clock
        while (transaction := decode_transaction(decoder)) is not None:
            transactions.append(transaction)
    except TransitionFault:
        pass
    return clock, transactions


def take_apart(case: Case) -> Specimen:
    """Return the parts of a case."""
    state = case.state
    clock, transactions = decode_some(case.data)
    index = state.globals.queue_index
    steps = []
    for transaction in transactions:
        message = None
        if isinstance(transaction, Queue):
            message = state.messages.get(index)
            index += 1
        steps.append(Step(transaction, message))
    is_encoded = encode_chunk(clock, transactions) == case.data
    return Specimen(
        globals=state.globals,
        accounts=dict(state.accounts),
        slots={
            (account, slot): leaf
            for account, slots in state.slots.items()
            for slot, leaf in slots.items()
        },
        markets=dict(state.markets),
        exits=tuple(state.exits),
        clock=clock,
        steps=tuple(steps),
        raw=None if is_encoded else case.data,
        spare=case.context.queue_end - index,
        context=case.context,
        queue_before=case.queue_before,
    )


def put_together(specimen: Specimen) -> Case:
    """Return the case of parts; ValueError when a chunk cannot hold such transactions."""
    state = State()
    for account_id, account in specimen.accounts.items():
        set_account(state, account_id, account)
    for (account_id, slot_id), slot in specimen.slots.items():
        if account_id in specimen.accounts:
            set_slot(state, account_id, slot_id, slot)
    for market_id, leaf in specimen.markets.items():
        set_market(state, market_id, leaf)
    state.exits.extend(specimen.exits)
    state._dirty_exits.update(range(len(specimen.exits)))
    state.globals = specimen.globals
    compute_state_root(state)
    first = index = state.globals.queue_index
    for step in specimen.steps:
        if isinstance(step.transaction, Queue):
            if step.message is not None:
                state.messages[index] = step.message
            index += 1
    data = specimen.raw
    if data is None:
        data = encode_chunk(specimen.clock, [step.transaction for step in specimen.steps])
    return Case(
        state,
        data,
        replace(specimen.context, queue_end=max(0, index + specimen.spare)),
        max(1, len(specimen.steps)),
        specimen.queue_before if first else bytes(32),
    )


# Leaving out


def leave_out(items: tuple[T, ...], holds: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """Return items without those that `holds` does not need: all, halves, quarters, each alone,
    until none can go.
    """
    if not items or holds(()):
        return ()
    size = (len(items) + 1) // 2
    while True:
        at, before = 0, len(items)
        while at < len(items):
            fewer = items[:at] + items[at + size :]
            if holds(fewer):
                items = fewer
            else:
                at += size
        if size > 1:
            size //= 2
        elif len(items) == before:
            return items


class Shrinker:
    """One case on its way to a small one."""

    def __init__(self, case: Case, trouble: Trouble) -> None:
        self.specimen = take_apart(case)
        self.trouble = trouble
        self.tries = 0

    def try_smaller(self, **changes: Any) -> bool:
        """Take changed parts if the implementations still differ in the same way."""
        if self.tries >= TRIES:
            return False
        self.tries += 1
        specimen = replace(self.specimen, **changes)
        try:
            case = put_together(specimen)
        except (ValueError, OverflowError):
            return False
        trouble = find_trouble(case, Tally())
        if trouble is None or trouble.label != self.trouble.label:
            return False
        self.specimen, self.trouble = specimen, trouble
        return True

    def drop_bytes(self) -> None:
        """Prefer transactions to bytes that do not decode; else shorten the bytes."""
        if self.specimen.raw is None or self.try_smaller(raw=None):
            return
        leave_out(tuple(self.specimen.raw), lambda rest: self.try_smaller(raw=bytes(rest)))

    def drop_steps(self) -> None:
        """Leave out transactions, with the messages that they consume."""
        if self.specimen.raw is None:
            leave_out(self.specimen.steps, lambda rest: self.try_smaller(steps=rest))

    def drop_untouched(self) -> None:
        """Leave out at once what the chunk does not touch."""
        case = put_together(self.specimen)
        # Fills the meter; how it ends is known already.
        find_trouble(case, Tally())
        meter = case.state.meter
        self.try_smaller(
            accounts={
                key: leaf for key, leaf in self.specimen.accounts.items() if key in meter.accounts
            },
            slots={key: leaf for key, leaf in self.specimen.slots.items() if key in meter.slots},
            markets={
                key: leaf for key, leaf in self.specimen.markets.items() if key in meter.markets
            },
        )

    def drop_leaves(self) -> None:
        """Leave out exits, accounts, order slots, positions, markets."""
        empty = replace(self.specimen.globals, exit_count=0)
        if self.specimen.exits:
            self.try_smaller(exits=(), globals=empty)
        for part in ("accounts", "slots", "markets"):
            leaves = getattr(self.specimen, part)

            def holds(
                rest: Iterable[Any], part: str = part, leaves: dict[Any, Any] = leaves
            ) -> bool:
                return self.try_smaller(**{part: {key: leaves[key] for key in rest}})

            leave_out(tuple(leaves), holds)
        for account_id, account in self.specimen.accounts.items():

            def only(rest: tuple[Position, ...], key: AccountId = account_id) -> bool:
                return self._set_account(key, {"positions": rest})

            leave_out(account.positions, only)

    def simplify(self) -> None:
        """Set values to zero where it makes no difference."""
        for name in zeros(self.specimen.globals):
            if name not in (*ROOTS, "clock"):
                self.try_smaller(globals=change(self.specimen.globals, {name: 0}))
        for key in self.specimen.accounts:
            for name in zeros(self.specimen.accounts[key]):
                self._set_account(key, {name: 0})
        context = self.specimen.context
        for changes in (
            {"is_first": False},
            {"is_last": False},
            {"previous_base_fee": 0, "previous_blob_fee": 0},
            {"l1_time": self.specimen.clock},
        ):
            if any(getattr(context, name) != value for name, value in changes.items()):
                self.try_smaller(context=replace(self.specimen.context, **changes))
        for at in range(len(self.specimen.steps)):
            for name in zeros(self.specimen.steps[at].transaction):
                for value in (0, 1):
                    if self._set_transaction(at, name, value):
                        break

    def _set_account(self, key: AccountId, changes: dict[str, Any]) -> bool:
        account = change(self.specimen.accounts[key], changes)
        return self.try_smaller(accounts={**self.specimen.accounts, key: account})

    def _set_transaction(self, at: int, name: str, value: int) -> bool:
        steps = list(self.specimen.steps)
        step = steps[at]
        if getattr(step.transaction, name) == value:
            return True
        transaction = change(step.transaction, {name: value})
        steps[at] = Step(transaction, step.message)
        return self.try_smaller(steps=tuple(steps))


def change(leaf: T, changes: dict[str, Any]) -> T:
    """Return a value with fields changed that are only known by name."""
    changed: T = replace(leaf, **changes)  # type: ignore[type-var]
    return changed


def zeros(leaf: Any) -> Iterator[str]:
    """Names of a value's numbers that are not zero."""
    for entry in fields(leaf):
        value = getattr(leaf, entry.name)
        # A flag is no number here, nor is an enumeration.
        if type(value) is int and value != 0:
            yield entry.name


def shrink(case: Case, trouble: Trouble) -> tuple[Case, Trouble]:
    """Return a smaller case on which the implementations differ in the same way as on `case`."""
    shrinker = Shrinker(case, trouble)
    if not shrinker.try_smaller():
        # What differs is not in the parts: the case as it is says more than none.
        return case, trouble
    shrinker.drop_bytes()
    shrinker.drop_steps()
    shrinker.drop_untouched()
    shrinker.drop_leaves()
    shrinker.simplify()
    # With simpler values, more of the rest may go.
    shrinker.drop_steps()
    shrinker.drop_leaves()
    return put_together(shrinker.specimen), shrinker.trouble


def write_case(case: Case, trouble: Trouble, folder: Path) -> None:
    """Write a case as a vector, with Python's verdict."""
    is_about_root = trouble.label.startswith("wrong post root")
    write_vector(case, folder, OTHER_ROOT if is_about_root else None)
