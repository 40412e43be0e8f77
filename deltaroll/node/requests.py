"""Requests to a sequencer as JSON lines, and its answers: the thinnest interface that is typed.

A line is one request. A line that is none of them is answered with an error that names what is
wrong, and nothing has changed.
"""

from typing import Annotated

import msgspec

from deltaroll.node.sequencer import Receipt, RejectedError, Sequencer
from deltaroll.protocol.types import (
    AccountId,
    Address,
    MarketId,
    Observation,
    Order,
    SetTradingKey,
    SlotId,
    TimeInForce,
    Timestamp,
    Transfer,
    Withdraw,
)

Unsigned = Annotated[int, msgspec.Meta(ge=0)]
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


Request = OrderRequest | TransferRequest | WithdrawRequest | KeyRequest | ObserveRequest


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a request."""

    sequence: int | None = None
    status: str | None = None
    filled: int = 0
    error: str | None = None


_decoder = msgspec.json.Decoder(Request)


def decode_request(line: bytes | str) -> Request:
    """Return the request of a line.

    Raises
    ------
    RejectedError
        When the line is malformed, truncated, or has a field that is missing, unknown or of a wrong
        type.
    """
    try:
        request: Request = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise RejectedError(f"request: {problem}") from None
    return request


def handle_request(sequencer: Sequencer, request: Request) -> Receipt:
    """Pass a request to the sequencer; RejectedError when it is refused."""
    match request:
        case OrderRequest():
            order = Order(
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
            return sequencer.submit_order(
                AccountId(request.account),
                SlotId(request.slot),
                order,
                _from_hex(request.signature),
            )
        case TransferRequest():
            transfer = Transfer(
                AccountId(request.sender),
                AccountId(request.recipient),
                request.amount,
                request.nonce,
            )
            return sequencer.submit_action(transfer, _from_hex(request.signature))
        case WithdrawRequest():
            withdraw = Withdraw(
                AccountId(request.account),
                Address(_from_hex(request.recipient)),
                request.amount,
                request.nonce,
            )
            return sequencer.submit_action(withdraw, _from_hex(request.signature))
        case KeyRequest():
            change = SetTradingKey(
                AccountId(request.account),
                Address(_from_hex(request.key)),
                Timestamp(request.expiry),
                request.nonce,
            )
            return sequencer.submit_action(change, _from_hex(request.signature))
        case ObserveRequest():
            observations = tuple(
                Observation(entry.signer, entry.price, Timestamp(entry.time))
                for entry in request.prices
            )
            signatures = tuple(_from_hex(entry.signature) for entry in request.prices)
            return sequencer.observe(MarketId(request.market), observations, signatures)


def answer_line(sequencer: Sequencer, line: bytes | str) -> bytes:
    """Handle one line and return the answer's; it is durable before this returns."""
    try:
        receipt = handle_request(sequencer, decode_request(line))
    except RejectedError as refusal:
        return msgspec.json.encode(Answer(error=str(refusal)))
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
