"""Forced transactions: any transaction of L2 as a message of the L1 queue."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from deltaroll.leave.outcomes import find_refusal, make_context
from deltaroll.node.admission import RejectedError
from deltaroll.node.follower import Follower
from deltaroll.node.requests import (
    DistressRequest,
    FundRequest,
    KeyRequest,
    LiquidateRequest,
    MarkRequest,
    ObserveRequest,
    OrderRequest,
    SocialiseRequest,
    SurfaceRequest,
    SweepRequest,
    TransferRequest,
    WithdrawRequest,
    decode_request,
    to_action,
    to_observe,
    to_order,
    to_surface,
)
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.recovery import SIGNATURE_BYTES
from deltaroll.protocol.types import (
    AccountId,
    Address,
    Distress,
    Fill,
    Fund,
    Mark,
    MarketId,
    Message,
    MessageKind,
    SlotId,
    Socialise,
    Sweep,
    Timestamp,
    Transaction,
)
from deltaroll.sdk.signing import Action

MAX_BODY = 1_024
"""Bytes of a message."""
SIGNED = ("transfer", "withdraw", "trading_key", "liquidate")
"""Requests that the owner of an account signs."""
UNSIGNED = "0x" + bytes(SIGNATURE_BYTES).hex()


class ForceError(Exception):
    """A request that cannot be forced."""


class ActionSigner(Protocol):
    """Who signs what has no signature yet."""

    def sign_action(self, action: Action) -> bytes:
        """Return the 64-byte signature."""


def read_forced(
    lines: Sequence[bytes], signer: ActionSigner
) -> tuple[Transaction, tuple[bytes, ...]]:
    """Return the transaction of a request, signed, or the fill of two orders, the maker's first.

    Raises
    ------
    ForceError
        When it is no request, or one that is not a transaction.
    """
    try:
        requests = [decode_request(_complete(line)) for line in lines if line.strip()]
    except RejectedError as problem:
        raise ForceError(f"--request: {problem}") from problem
    match requests:
        case [OrderRequest() as maker, OrderRequest() as taker]:
            return _cross(maker, taker)
        case [OrderRequest()]:
            raise ForceError(
                "--request: an order alone is no transaction: give two that cross, maker first"
            )
        case [request]:
            return _convert(request, signer)
        case _:
            raise ForceError(f"--request: {len(requests)} requests instead of one")


def _complete(line: bytes) -> bytes:
    """Return a line with a place for the signature."""
    try:
        fields: Any = msgspec.json.decode(line)
    except msgspec.DecodeError as problem:
        raise ForceError(f"--request: {problem}") from problem
    if isinstance(fields, dict) and fields.get("type") in SIGNED and "signature" not in fields:
        return msgspec.json.encode({**fields, "signature": UNSIGNED})
    return line


def _cross(maker: OrderRequest, taker: OrderRequest) -> tuple[Fill, tuple[bytes, ...]]:
    if maker.market != taker.market or maker.is_buy == taker.is_buy:
        raise ForceError("--request: the two orders are not opposite sides of one market")
    fill = Fill(
        MarketId(maker.market),
        AccountId(maker.account),
        AccountId(taker.account),
        SlotId(maker.slot),
        SlotId(taker.slot),
        maker.is_buy,
        min(maker.size, taker.size),
        to_order(maker),
        to_order(taker),
    )
    return fill, (_from_hex(maker.signature), _from_hex(taker.signature))


def _convert(request: object, signer: ActionSigner) -> tuple[Transaction, tuple[bytes, ...]]:
    match request:
        case TransferRequest() | WithdrawRequest() | KeyRequest() | LiquidateRequest():
            action = to_action(request)
            if request.signature == UNSIGNED:
                return action, (signer.sign_action(action),)
            return action, (_from_hex(request.signature),)
        case ObserveRequest():
            return to_observe(request)
        case SurfaceRequest():
            return to_surface(request)
        case MarkRequest():
            return Mark(MarketId(request.market), request.count), ()
        case FundRequest():
            return Fund(MarketId(request.market)), ()
        case SweepRequest():
            return Sweep(AccountId(request.account)), ()
        case DistressRequest():
            return Distress(AccountId(request.account)), ()
        case SocialiseRequest():
            return Socialise(AccountId(request.account)), ()
        case _:
            raise ForceError("--request: a question, no transaction")


def encode_forced(
    transaction: Transaction, signatures: tuple[bytes, ...], clock: Timestamp
) -> bytes:
    """Return the body of a forced transaction.

    Parameters
    ----------
    clock
        What expiries and ages are measured from: not before any observation, not after any expiry.

    Raises
    ------
    ForceError
        When a value does not fit the codec, or the whole a message.
    """
    try:
        data = encode_chunk(clock, [transaction])
    except ValueError as problem:
        raise ForceError(f"--request: {problem}") from problem
    body = len(data).to_bytes(2, "big") + data + b"".join(signatures)
    if len(body) > MAX_BODY:
        raise ForceError(f"--request: {len(body)} bytes, a message has at most {MAX_BODY}")
    return body


def forecast_forced(follower: Follower, sender: Address, body: bytes) -> Fault:
    """Return why a forced transaction would be passed over if it were served now; NONE when it
    would not. The follower must have been polled.
    """
    assert follower.head is not None
    now = Timestamp(follower.head.time)
    context = make_context(follower.gateway.domain, now)
    return find_refusal(follower.state, Message(MessageKind.FORCED, sender, now, body), context)


def _from_hex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
