"""The markets that a venue starts with, as Configure bodies, tried out on an empty rollup."""

import struct
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Literal

import msgspec

from deltaroll import presets
from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.units import L1Address, Quantity
from deltaroll.protocol.configure import (
    encode_configure_committee,
    encode_configure_expiry,
    encode_configure_grid,
    encode_configure_series,
    encode_configure_underlying,
    process_configure,
)
from deltaroll.protocol.constants import MARKET_DEPTH, MAX_SIGNERS
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.state import Meter, State, limit_message
from deltaroll.protocol.types import (
    Address,
    Committee,
    Grid,
    MarketId,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    UnderlyingParams,
)

GRIDS: dict[str, Grid] = {
    "PMRM_2": presets.PMRM_2,
    "DERIBIT": presets.DERIBIT,
    "SPAN_16": presets.SPAN_16,
}
KINDS = {
    "perpetual": SeriesKind.PERPETUAL,
    "call": SeriesKind.CALL,
    "put": SeriesKind.PUT,
}
STATUSES = {"active": SeriesStatus.ACTIVE, "inactive": SeriesStatus.INACTIVE}
OWN_FIELDS = frozenset(("committee", "grid", "tick"))
"""Parameters that an underlying's entry has fields of its own for."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes one Configure message."""

    id: int

    def encode(self, where: str) -> bytes:
        """Return the body.

        Raises
        ------
        DeploymentError
            Names field, value and rule; `where` is the entry's place in the file.
        ValueError, OverflowError, struct.error
            When a number does not fit.
        """
        raise NotImplementedError(where)


class CommitteeEntry(Entry, frozen=True):
    """An oracle committee."""

    threshold: int
    members: tuple[L1Address, ...]
    """In any order."""

    def encode(self, where: str) -> bytes:
        """Return the body; no half of a committee may sign against the other."""
        size = len(self.members)
        if not 1 <= size <= MAX_SIGNERS:
            raise DeploymentError(f"{where}.members: {size} of them; 1 to {MAX_SIGNERS} can be")
        if len(set(self.members)) != size:
            raise DeploymentError(f"{where}.members: one is named twice")
        if not size < 2 * self.threshold <= 2 * size:
            raise DeploymentError(
                f"{where}.threshold: {self.threshold} of {size}; more than half of them, and no "
                "more than there are"
            )
        signers = tuple(sorted(Address(bytes.fromhex(each[2:])) for each in self.members))
        return encode_configure_committee(MarketId(self.id), Committee(self.threshold, signers))


class GridEntry(Entry, frozen=True):
    """A risk grid, by the name of its preset."""

    preset: Literal["PMRM_2", "DERIBIT", "SPAN_16"]

    def encode(self, where: str) -> bytes:
        """Return the body."""
        return encode_configure_grid(MarketId(self.id), GRIDS[self.preset])


class UnderlyingEntry(Entry, frozen=True):
    """An underlying; what `params` leaves out is as in `presets.make_params`."""

    committee: int
    grid: int
    tick: Quantity
    params: dict[str, Quantity] = {}

    def encode(self, where: str) -> bytes:
        """Return the body."""
        params = presets.make_params(MarketId(self.committee), MarketId(self.grid), self.tick)
        known = {field.name for field in fields(UnderlyingParams)} - OWN_FIELDS
        for name in self.params:
            if name not in known:
                raise DeploymentError(f"{where}.params: no parameter {name}")
        changed: UnderlyingParams = replace(params, **self.params)  # type: ignore[arg-type]
        return encode_configure_underlying(MarketId(self.id), changed)


class ExpiryEntry(Entry, frozen=True):
    """An expiry."""

    underlying: int
    time: int
    """Unix seconds; 0 holds the premium of perpetuals."""

    def encode(self, where: str) -> bytes:
        """Return the body."""
        return encode_configure_expiry(
            MarketId(self.id), MarketId(self.underlying), Timestamp(self.time)
        )


class SeriesEntry(Entry, frozen=True):
    """A series."""

    underlying: int
    kind: Literal["perpetual", "call", "put"]
    status: Literal["active", "inactive"] = "active"
    expiry: int = 0
    strike: Quantity = Quantity(0)
    """Per lot."""

    def encode(self, where: str) -> bytes:
        """Return the body."""
        return encode_configure_series(
            MarketId(self.id),
            KINDS[self.kind],
            STATUSES[self.status],
            MarketId(self.underlying),
            MarketId(self.expiry),
            self.strike,
        )


class Markets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything listed at the start, in the order of the messages."""

    committees: tuple[CommitteeEntry, ...] = ()
    grids: tuple[GridEntry, ...] = ()
    underlyings: tuple[UnderlyingEntry, ...] = ()
    expiries: tuple[ExpiryEntry, ...] = ()
    series: tuple[SeriesEntry, ...] = ()


def list_bodies(markets: Markets) -> list[tuple[str, bytes]]:
    """Return the Configure body of every entry, each with its place in the file.

    Raises
    ------
    DeploymentError
        Names entry, value and rule.
    """
    named = []
    for group in Markets.__struct_fields__:
        for place, entry in enumerate(getattr(markets, group)):
            where = f"markets.{group}[{place}]"
            if not 0 < entry.id < 1 << MARKET_DEPTH:
                raise DeploymentError(
                    f"{where}.id: {entry.id} is not in 1 to {(1 << MARKET_DEPTH) - 1}"
                )
            try:
                named.append((where, entry.encode(where)))
            except (ValueError, OverflowError, struct.error) as problem:
                raise DeploymentError(f"{where}: a number does not fit: {problem}") from problem
    return named


def try_bodies(named: Sequence[tuple[str, bytes]], now: int) -> None:
    """Apply Configure bodies to an empty rollup, as the first batch will.

    Raises
    ------
    DeploymentError
        When one of them would be a no-op.
    """
    state = State()
    state.globals = replace(state.globals, clock=Timestamp(now))
    for where, body in named:
        # Each may be a chunk of its own.
        state.meter = Meter()
        limit_message(state)
        try:
            process_configure(state, body)
        except TransitionFault as problem:
            raise DeploymentError(f"{where}: the rollup would skip it: {problem}") from None
