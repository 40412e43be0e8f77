"""Requests to a sequencer as JSON lines, and its answers: the thinnest interface that is typed.

A line is one request or one query (`queries.py`). A line that is none of them is answered with an
error that names what is wrong, and nothing has changed.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from deltaroll.node.admission import Receipt, RejectedError, to_poke, validate_range
from deltaroll.node.entries import PokeEntry
from deltaroll.node.queries import Query, Unsigned, answer_query, validate_allowed
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.upkeep import get_expiry_leaf, is_mark_due
from deltaroll.protocol.codec import COUNT_BITS
from deltaroll.protocol.constants import ACCOUNT_DEPTH, MARKET_DEPTH, MAX_SIGNERS
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import State
from deltaroll.protocol.types import (
    AccountId,
    Address,
    Kind,
    Liquidate,
    MarketId,
    Observation,
    Observe,
    Order,
    Series,
    SeriesKind,
    SetTradingKey,
    SlotId,
    Surface,
    TimeInForce,
    Timestamp,
    Transfer,
    Underlying,
    Withdraw,
)

Hex = Annotated[str, msgspec.Meta(pattern="^0x([0-9a-fA-F]{2})*$")]
HexAddress = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{40}$")]


class OrderRequest(msgspec.Struct, frozen=True, tag="order", forbid_unknown_fields=True):
    """A signed order."""

    account: Unsigned
    slot: Unsigned
    market: Unsigned
    is_buy: bool
    price: Unsigned
    size: Unsigned
    nonce: Unsigned
    expiry: Unsigned
    signature: Hex
    epoch: Unsigned = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = False


class TransferRequest(msgspec.Struct, frozen=True, tag="transfer", forbid_unknown_fields=True):
    """A signed transfer."""

    sender: Unsigned
    recipient: Unsigned
    amount: Unsigned
    nonce: Unsigned
    signature: Hex


class WithdrawRequest(msgspec.Struct, frozen=True, tag="withdraw", forbid_unknown_fields=True):
    """A signed withdrawal."""

    account: Unsigned
    recipient: HexAddress
    amount: Unsigned
    nonce: Unsigned
    signature: Hex


class KeyRequest(msgspec.Struct, frozen=True, tag="trading_key", forbid_unknown_fields=True):
    """A signed change of trading key."""

    account: Unsigned
    key: HexAddress
    expiry: Unsigned
    nonce: Unsigned
    signature: Hex


class ObservedPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One committee member's signed price."""

    signer: Unsigned
    price: Unsigned
    time: Unsigned
    signature: Hex


class ObserveRequest(msgspec.Struct, frozen=True, tag="observe", forbid_unknown_fields=True):
    """Signed prices of one underlying."""

    market: Unsigned
    prices: list[ObservedPrice]


class MemberSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One committee member's signature of what others signed too."""

    signer: Unsigned
    signature: Hex


class SurfaceRequest(msgspec.Struct, frozen=True, tag="surface", forbid_unknown_fields=True):
    """A signed volatility surface of an expiry; fractions are Q48."""

    market: Unsigned
    ratio: Unsigned
    rate: int
    a: int
    b: int
    rho: int
    m: int
    sigma: int
    time: Unsigned
    signatures: list[MemberSignature]


class LiquidateRequest(msgspec.Struct, frozen=True, tag="liquidate", forbid_unknown_fields=True):
    """A signed bid for a share of an account in distress."""

    account: Unsigned
    target: Unsigned
    share: Unsigned
    reward: Unsigned
    nonce: Unsigned
    signature: Hex


class MarkRequest(msgspec.Struct, frozen=True, tag="mark", forbid_unknown_fields=True):
    """Mark a series and those with the ids that follow; nobody signs this or the four below."""

    market: Unsigned
    count: Unsigned = 1


class FundRequest(msgspec.Struct, frozen=True, tag="fund", forbid_unknown_fields=True):
    """Accrue a perpetual's funding."""

    market: Unsigned


class SweepRequest(msgspec.Struct, frozen=True, tag="sweep", forbid_unknown_fields=True):
    """Turn an account's settled positions into cash."""

    account: Unsigned


class DistressRequest(msgspec.Struct, frozen=True, tag="distress", forbid_unknown_fields=True):
    """Start an account's auction, or end it."""

    account: Unsigned


class SocialiseRequest(msgspec.Struct, frozen=True, tag="socialise", forbid_unknown_fields=True):
    """Spread an insolvent account's loss."""

    account: Unsigned


Poke = MarkRequest | FundRequest | SweepRequest | DistressRequest | SocialiseRequest
Request = (
    OrderRequest
    | TransferRequest
    | WithdrawRequest
    | KeyRequest
    | ObserveRequest
    | SurfaceRequest
    | LiquidateRequest
    | Poke
)


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a request."""

    sequence: int | None = None
    status: str | None = None
    filled: int = 0
    error: str | None = None
    fault: str | None = None
    """Name of the rule that was broken, where the protocol has one."""


_decoder = msgspec.json.Decoder(Request | Query)


def decode_request(line: bytes | str) -> Request | Query:
    """Return the request or query of a line.

    Raises
    ------
    RejectedError
        When the line is malformed, truncated, or has a field that is missing, unknown or of a wrong
        type.
    """
    try:
        request: Request | Query = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise RejectedError(f"request: {problem}") from None
    return request


def handle_request(sequencer: Sequencer, request: Request) -> Receipt:
    """Pass a request to the sequencer; RejectedError when it is refused."""
    match request:
        case OrderRequest():
            return sequencer.submit_order(
                AccountId(request.account),
                SlotId(request.slot),
                to_order(request),
                _from_hex(request.signature),
            )
        case TransferRequest() | WithdrawRequest() | KeyRequest() | LiquidateRequest():
            action = to_action(request)
            signature = _from_hex(request.signature)
            if isinstance(action, Liquidate):
                return sequencer.liquidate(action, signature)
            return sequencer.submit_action(action, signature)
        case ObserveRequest():
            observe, signatures = to_observe(request)
            return sequencer.observe(observe.market, observe.observations, signatures)
        case SurfaceRequest():
            return sequencer.surface(*to_surface(request))
        case MarkRequest():
            validate_mark_due(sequencer.state, request)
            return poke(sequencer, Kind.MARK, request.market, request.count)
        case FundRequest():
            validate_fund_due(sequencer.state, request)
            return poke(sequencer, Kind.FUND, request.market)
        case SweepRequest():
            validate_range("account", request.account, 0, ACCOUNT_DEPTH)
            return poke(sequencer, Kind.SWEEP, request.account)
        case DistressRequest():
            validate_range("account", request.account, 0, ACCOUNT_DEPTH)
            return poke(sequencer, Kind.DISTRESS, request.account)
        case SocialiseRequest():
            validate_range("account", request.account, 0, ACCOUNT_DEPTH)
            return poke(sequencer, Kind.SOCIALISE, request.account)


def to_order(request: OrderRequest) -> Order:
    """Return the order of a request."""
    return Order(
        MarketId(request.market),
        request.is_buy,
        request.price,
        request.size,
        request.nonce,
        request.epoch,
        Timestamp(request.expiry),
        request.time_in_force,
        request.post_only,
        request.reduce_only,
    )


def to_action(
    request: TransferRequest | WithdrawRequest | KeyRequest | LiquidateRequest,
) -> Transfer | Withdraw | SetTradingKey | Liquidate:
    """Return what an account signs with a request."""
    match request:
        case TransferRequest():
            return Transfer(
                AccountId(request.sender),
                AccountId(request.recipient),
                request.amount,
                request.nonce,
            )
        case WithdrawRequest():
            return Withdraw(
                AccountId(request.account),
                Address(_from_hex(request.recipient)),
                request.amount,
                request.nonce,
            )
        case KeyRequest():
            return SetTradingKey(
                AccountId(request.account),
                Address(_from_hex(request.key)),
                Timestamp(request.expiry),
                request.nonce,
            )
        case LiquidateRequest():
            return Liquidate(
                AccountId(request.account),
                AccountId(request.target),
                request.share,
                request.reward,
                request.nonce,
            )


def to_observe(request: ObserveRequest) -> tuple[Observe, tuple[bytes, ...]]:
    """Return the prices of a request, and their signatures."""
    observations = tuple(
        Observation(entry.signer, entry.price, Timestamp(entry.time)) for entry in request.prices
    )
    signatures = tuple(_from_hex(entry.signature) for entry in request.prices)
    return Observe(MarketId(request.market), observations), signatures


def to_surface(request: SurfaceRequest) -> tuple[Surface, tuple[bytes, ...]]:
    """Return the surface of a request, and its signatures.

    Raises
    ------
    RejectedError
        When the members do not ascend.
    """
    surface = Surface(
        MarketId(request.market),
        compute_bitmap([entry.signer for entry in request.signatures]),
        request.ratio,
        request.rate,
        request.a,
        request.b,
        request.rho,
        request.m,
        request.sigma,
        Timestamp(request.time),
    )
    return surface, tuple(_from_hex(entry.signature) for entry in request.signatures)


def poke(sequencer: Sequencer, kind: Kind, subject: int, detail: int = 0) -> Receipt:
    """Ask for what nobody signs. What the protocol would refuse leaves no trace in the log: it
    would grow for nothing, and for nobody's money.

    Raises
    ------
    RejectedError
    """
    validate_allowed(sequencer.state, to_poke(PokeEntry(kind, subject, detail)))
    return sequencer.poke(kind, subject, detail)


def compute_bitmap(signers: Sequence[int]) -> int:
    """Return the bitmap of committee members.

    Raises
    ------
    RejectedError
        When they do not ascend, or there is no such place in a committee.
    """
    previous = -1
    bitmap = 0
    for signer in signers:
        if not previous < signer < MAX_SIGNERS:
            raise RejectedError(
                f"signer: {signer} after {previous}: members ascend, below {MAX_SIGNERS}",
                Fault.UNKNOWN_SIGNER,
            )
        previous = signer
        bitmap |= 1 << signer
    return bitmap


def validate_mark_due(state: State, request: MarkRequest) -> None:
    """Check that a Mark renews something: the protocol takes one at any time, but its bytes on L1
    are not free.

    Raises
    ------
    RejectedError
    """
    validate_range("market", request.market, 1, MARKET_DEPTH)
    validate_range("count", request.count, 1, COUNT_BITS)
    for market in range(request.market, request.market + request.count):
        series = state.markets.get(MarketId(market))
        if not isinstance(series, Series):
            raise RejectedError(f"market: no series {market}", Fault.UNKNOWN_MARKET)
        underlying = state.markets.get(series.underlying)
        if isinstance(underlying, Underlying) and is_mark_due(
            series, underlying, get_expiry_leaf(state, series), state.globals.clock
        ):
            return
    raise RejectedError(f"market: no mark is due from {request.market} on", Fault.NOT_DUE)


def validate_fund_due(state: State, request: FundRequest) -> None:
    """Check that time has passed since a perpetual's funding was accrued, for the same reason.

    Raises
    ------
    RejectedError
    """
    validate_range("market", request.market, 1, MARKET_DEPTH)
    series = state.markets.get(MarketId(request.market))
    if not isinstance(series, Series):
        raise RejectedError(f"market: no series {request.market}", Fault.UNKNOWN_MARKET)
    if series.kind == SeriesKind.PERPETUAL and series.accrued_at >= state.globals.clock:
        raise RejectedError(f"market: funding of {request.market} is up to date", Fault.NOT_DUE)


def answer_line(sequencer: Sequencer, line: bytes | str) -> bytes:
    """Handle one line and return the answer's; it is durable before this returns."""
    try:
        request = decode_request(line)
        if isinstance(request, Query):
            answer = answer_query(sequencer.state, request)
            # What it tells may be newer than what is durable.
            sequencer.flush()
            return msgspec.json.encode(answer)
        receipt = handle_request(sequencer, request)
    except RejectedError as refusal:
        fault = None if refusal.fault is None else refusal.fault.name
        return msgspec.json.encode(Answer(error=str(refusal), fault=fault))
    sequencer.flush()
    execution = receipt.execution
    if execution is None:
        return msgspec.json.encode(Answer(receipt.sequence, "done"))
    reason = execution.reason
    return msgspec.json.encode(
        Answer(
            receipt.sequence,
            execution.status.value,
            execution.filled,
            None if reason is None else getattr(reason, "name", str(reason)),
        )
    )


def _from_hex(text: str) -> bytes:
    return bytes.fromhex(text[2:])
