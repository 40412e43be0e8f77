"""What governance proposes: entries of a file as Configure bodies, and bodies in plain words."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Annotated, Literal, TypeAlias

import msgspec

from deltaroll import presets
from deltaroll.protocol.configure import (
    CLOSING_TAG,
    HEAD_BYTES,
    encode_configure_committee,
    encode_configure_expiry,
    encode_configure_grid,
    encode_configure_series,
    encode_configure_underlying,
    validate_params,
)
from deltaroll.protocol.constants import MAX_PRICE, MAX_SIGNERS
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.leaf import (
    COMMITTEE_TAG,
    EXPIRY_TAG,
    GRID_TAG,
    PARAMS_BYTES,
    SERIES_TAG,
    UNDERLYING_TAG,
    decode_params,
)
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

ParamsReader: TypeAlias = Callable[[MarketId], bytes]
"""Gives the encoded parameters that the timelock sent last for an underlying; empty: none."""
Id: TypeAlias = Annotated[int, msgspec.Meta(ge=1, lt=1 << 16)]
OptionalId: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]
L1Address: TypeAlias = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{40}$")]
GRIDS: dict[str, Grid] = {
    "PMRM_2": presets.PMRM_2,
    "DERIBIT": presets.DERIBIT,
    "SPAN_16": presets.SPAN_16,
}
PARAMETERS = tuple(field.name for field in fields(UnderlyingParams))
SIGNED = frozenset(("maker_fee", "option_maker_fee"))


class ProposalError(Exception):
    """A proposal makes no sense: names entry, field, value and rule."""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What becomes one Configure message."""

    id: Id

    def encode(self, read: ParamsReader) -> bytes:
        """Return the body."""
        raise NotImplementedError


class UnderlyingChange(Change, frozen=True, tag="underlying"):
    """Parameters of an underlying by name; those left out stay as the timelock sent them last."""

    params: dict[str, int]

    def encode(self, read: ParamsReader) -> bytes:
        """Return the body.

        Raises
        ------
        ProposalError
            For an unknown name, a value out of bounds, or a first listing that is not complete.
        """
        where = f"underlying {self.id}"
        for name, value in self.params.items():
            if name not in PARAMETERS:
                raise ProposalError(f"{where}: no parameter {name}")
            if value < 0 and name not in SIGNED:
                raise ProposalError(f"{where}: {name}: {value} is below 0")
        encoded = read(MarketId(self.id))
        missing = [name for name in PARAMETERS if name not in self.params]
        if not encoded and missing:
            raise ProposalError(
                f"{where} is not listed yet: every parameter is needed; missing: "
                + ", ".join(missing)
            )
        base = decode_params(encoded or bytes(PARAMS_BYTES))
        # mypy cannot see that every name is a field's.
        params = replace(base, **self.params)  # type: ignore[arg-type]
        try:
            validate_params(params)
            return encode_configure_underlying(MarketId(self.id), params)
        except TransitionFault:
            raise ProposalError(
                f"{where}: a parameter is out of the bounds of docs/protocol.md, section 3"
            ) from None


class CommitteeChange(Change, frozen=True, tag="committee"):
    """An oracle committee, all of it."""

    threshold: int
    members: tuple[L1Address, ...]

    def encode(self, read: ParamsReader) -> bytes:
        """Return the body; ProposalError for members or a threshold that cannot be."""
        signers = sorted({Address(bytes.fromhex(member[2:])) for member in self.members})
        where = f"committee {self.id}"
        if len(signers) != len(self.members):
            raise ProposalError(f"{where}: members: one is named twice")
        if not 1 <= self.threshold <= len(signers) <= MAX_SIGNERS:
            raise ProposalError(
                f"{where}: threshold: {self.threshold} of {len(signers)} members; "
                f"1 to the number of members, and no more than {MAX_SIGNERS} of them"
            )
        committee = Committee(self.threshold, tuple(signers))
        return encode_configure_committee(MarketId(self.id), committee)


class GridChange(Change, frozen=True, tag="grid"):
    """A new risk grid, by the name of its preset."""

    preset: Literal["PMRM_2", "DERIBIT", "SPAN_16"]

    def encode(self, read: ParamsReader) -> bytes:
        """Return the body."""
        return encode_configure_grid(MarketId(self.id), GRIDS[self.preset])


class ExpiryChange(Change, frozen=True, tag="expiry"):
    """A new expiry."""

    underlying: Id
    time: Annotated[int, msgspec.Meta(ge=0, lt=1 << 40)]
    """Unix seconds; 0 holds the premium of perpetuals."""

    def encode(self, read: ParamsReader) -> bytes:
        """Return the body."""
        underlying = MarketId(self.underlying)
        return encode_configure_expiry(MarketId(self.id), underlying, Timestamp(self.time))


class SeriesChange(Change, frozen=True, tag="series"):
    """A new series, or another status for one that is listed with these very terms."""

    kind: Literal["perpetual", "call", "put"]
    status: Literal["active", "inactive", "closing"]
    underlying: Id
    expiry: OptionalId = 0
    strike: Annotated[int, msgspec.Meta(ge=0, le=MAX_PRICE)] = 0
    """Per lot."""

    def encode(self, read: ParamsReader) -> bytes:
        """Return the body."""
        return encode_configure_series(
            MarketId(self.id),
            SeriesKind[self.kind.upper()],
            SeriesStatus[self.status.upper()],
            MarketId(self.underlying),
            MarketId(self.expiry),
            self.strike,
        )


AnyChange: TypeAlias = UnderlyingChange | CommitteeChange | GridChange | ExpiryChange | SeriesChange


def encode_proposal(text: bytes, read: ParamsReader) -> list[bytes]:
    """Return the Configure bodies of a YAML or JSON list of changes, in its order.

    A later change of an underlying builds on an earlier one.

    Raises
    ------
    ProposalError
    """
    try:
        changes = msgspec.yaml.decode(text, type=list[AnyChange])
    except msgspec.DecodeError as problem:
        raise ProposalError(f"proposal: {problem}") from problem
    if not changes:
        raise ProposalError("proposal: no change in it")
    known: dict[MarketId, bytes] = {}
    bodies = []
    for change in changes:
        body = change.encode(lambda market: known[market] if market in known else read(market))
        if isinstance(change, UnderlyingChange):
            known[MarketId(change.id)] = body[HEAD_BYTES:]
        bodies.append(body)
    return bodies


def describe_body(body: bytes, read: ParamsReader) -> str:
    """Return what a Configure body does, in plain words, beside what the timelock sent last."""
    if len(body) < HEAD_BYTES:
        return "nothing: too short for a Configure body"
    tag, market, rest = body[0], MarketId(int.from_bytes(body[1:3], "big")), body[HEAD_BYTES:]
    match tag:
        case _ if tag == UNDERLYING_TAG and len(rest) == PARAMS_BYTES:
            return describe_params(market, rest, read(market))
        case _ if tag == COMMITTEE_TAG and len(rest) >= 2:
            members = (rest[at : at + 20] for at in range(2, len(rest), 20))
            named = ", ".join("0x" + member.hex() for member in members)
            return f"committee {market}: any {rest[0]} of these sign prices: {named}"
        case _ if tag == GRID_TAG and rest:
            return f"new risk grid {market} of {rest[0]} scenarios"
        case _ if tag == EXPIRY_TAG and len(rest) == 7:
            underlying, time = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:], "big")
            return f"new expiry {market} of underlying {underlying}, time {time}"
        case _ if tag == SERIES_TAG and len(rest) == 14 and rest[0] <= max(SeriesKind):
            kind = SeriesKind(rest[0]).name.lower()
            status = describe_status(rest[1])
            underlying, strike = int.from_bytes(rest[2:4], "big"), int.from_bytes(rest[6:], "big")
            terms = f" strike {strike}" if strike else ""
            return f"series {market} ({kind} of underlying {underlying}{terms}): {status}"
        case _ if tag == CLOSING_TAG and len(rest) == 2:
            return f"series {market} to {market + rest[1] - 1}: {describe_status(rest[0])}"
    return f"nothing that the rollup knows: 0x{body.hex()}"


def describe_status(status: int) -> str:
    """Return what a status means for who trades."""
    words = {
        SeriesStatus.INACTIVE: "does not trade",
        SeriesStatus.ACTIVE: "trades",
        SeriesStatus.CLOSING: "positions can only be reduced",
    }
    return words.get(SeriesStatus(status), "a status that cannot be set") if status < 4 else "?"


def describe_params(market: MarketId, encoded: bytes, before: bytes) -> str:
    """Return which parameters change."""
    after = decode_params(encoded)
    if not before:
        listed = ", ".join(f"{name} {getattr(after, name)}" for name in PARAMETERS)
        return f"new underlying {market}: {listed}"
    base = decode_params(before)
    changed = [
        f"{name} {getattr(base, name)} -> {getattr(after, name)}"
        for name in PARAMETERS
        if getattr(base, name) != getattr(after, name)
    ]
    return f"underlying {market}: " + (", ".join(changed) or "nothing changes")
