"""Signed receipts: what the sequencer answers for. The soft stage `accepted` means one of these.

EIP-712, under the rollup's own domain: a wallet or a contract can check one, long after and without
asking anybody. What is committed together is signed together: a receipt is a leaf of a Merkle tree
whose root is signed (pairs are hashed in ascending order, as OpenZeppelin's MerkleProof does).
"""

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import msgspec
from coincurve import PrivateKey

from deltaroll.engine.matching import Execution, OrderStatus, Reason, RejectReason
from deltaroll.node.log import StoreError
from deltaroll.protocol.eip712 import compute_digest
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.recovery import recover_signer
from deltaroll.protocol.types import Address

RECEIPT_TYPE = (
    "Receipt(bytes32 subject,uint32 account,uint64 sequence,uint40 clock,uint8 outcome,"
    "uint32 filled,uint16 reason)"
)
GROUP_TYPE = "Receipts(bytes32 root)"
CANCEL_TYPE = "Cancel(uint32 account,uint16 slot,uint32 nonce)"
CANCEL_ALL_TYPE = "CancelAll(uint32 account,uint16 market)"
_RECEIPT_HASH = keccak(RECEIPT_TYPE.encode())
_GROUP_HASH = keccak(GROUP_TYPE.encode())
_CANCEL_HASH = keccak(CANCEL_TYPE.encode())
_CANCEL_ALL_HASH = keccak(CANCEL_ALL_TYPE.encode())
REJECT_REASONS = {reason: 1_000 + place for place, reason in enumerate(RejectReason)}
"""Numbers of the reasons that are no faults of the protocol."""


class Outcome(IntEnum):
    """What became of a request when it was accepted."""

    DONE = 0
    """An action or a cancellation."""
    RESTING = 1
    PARTIALLY_FILLED = 2
    FILLED = 3
    CANCELLED = 4
    REJECTED = 5
    HELD = 6
    """It waits for its trigger."""


OUTCOMES = {
    OrderStatus.RESTING: Outcome.RESTING,
    OrderStatus.PARTIALLY_FILLED: Outcome.PARTIALLY_FILLED,
    OrderStatus.FILLED: Outcome.FILLED,
    OrderStatus.CANCELLED: Outcome.CANCELLED,
    OrderStatus.REJECTED: Outcome.REJECTED,
}


class SignedReceipt(msgspec.Struct, frozen=True, array_like=True):
    """A receipt with the sequencer's signature; without one until its commit."""

    subject: bytes
    """EIP-712 struct hash of the order, action or cancellation."""
    account: int
    sequence: int
    """Place in the log."""
    clock: int
    """Of the log, seconds since 1970."""
    outcome: int
    filled: int
    """Lots, at once."""
    reason: int
    """Number of a fault, or from 1000 on of a reason of the matching engine; 0: none."""
    branch: list[bytes] = []
    """Siblings from this receipt up to the root that is signed."""
    signature: bytes = b""
    """Of all receipts of a commit together."""


@dataclass(frozen=True, slots=True)
class ReceiptKey:
    """The sequencer's key for receipts."""

    key: PrivateKey
    address: Address


def make_receipt_key(secret: bytes) -> ReceiptKey:
    """Return the key of a 32-byte secret; ValueError when it is none."""
    key = PrivateKey(secret)
    return ReceiptKey(key, Address(keccak(key.public_key.format(compressed=False)[1:])[12:]))


def load_receipt_key(path: Path) -> ReceiptKey:
    """Return the key in a file that only its owner may read; a new one is made where there is none.

    Raises
    ------
    StoreError
        When the file is there and is no key.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
    try:
        return make_receipt_key(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except (OSError, ValueError) as problem:
        raise StoreError(f"receipt key: {path} is no key: {problem}") from problem


def get_reason_number(reason: Reason | None) -> int:
    """Return the number that stands for a reason."""
    if reason is None:
        return 0
    return int(reason) if isinstance(reason, Fault) else REJECT_REASONS[reason]


def hash_receipt(receipt: SignedReceipt) -> bytes:
    """Return the struct hash of a receipt."""
    return keccak(
        b"".join(
            (
                _RECEIPT_HASH,
                receipt.subject,
                receipt.account.to_bytes(32, "big"),
                receipt.sequence.to_bytes(32, "big"),
                receipt.clock.to_bytes(32, "big"),
                receipt.outcome.to_bytes(32, "big"),
                receipt.filled.to_bytes(32, "big"),
                receipt.reason.to_bytes(32, "big"),
            )
        )
    )


def hash_cancel(account: int, slot: int, nonce: int) -> bytes:
    """Return what a receipt of a cancelled order is about."""
    words = b"".join(value.to_bytes(32, "big") for value in (account, slot, nonce))
    return keccak(_CANCEL_HASH + words)


def hash_cancel_all(account: int, market: int) -> bytes:
    """Return what a receipt of a mass cancellation is about; market 0: all of them."""
    return keccak(_CANCEL_ALL_HASH + account.to_bytes(32, "big") + market.to_bytes(32, "big"))


def make_receipt(
    subject: bytes,
    account: int,
    sequence: int,
    clock: int,
    outcome: Outcome,
    execution: Execution | None,
) -> SignedReceipt:
    """Return the receipt of an entry, not signed yet."""
    filled = 0 if execution is None else execution.filled
    reason = None if execution is None else execution.reason
    number = get_reason_number(reason)
    return SignedReceipt(subject, account, sequence, clock, int(outcome), filled, number)


def hash_sorted(left: bytes, right: bytes) -> bytes:
    """Return the hash of two nodes, whichever comes first."""
    return keccak(left + right if left < right else right + left)


def compute_branches(leaves: Sequence[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """Return the root over leaves and each leaf's siblings from the bottom up. A node without a
    sibling moves up as it is."""
    branches: list[list[bytes]] = [[] for _ in leaves]
    level = list(leaves)
    width = 1
    while len(level) > 1:
        for place, branch in enumerate(branches):
            sibling = place // width ^ 1
            if sibling < len(level):
                branch.append(level[sibling])
        level = [
            hash_sorted(level[place], level[place + 1]) if place + 1 < len(level) else level[place]
            for place in range(0, len(level), 2)
        ]
        width *= 2
    return level[0], branches


def compute_group_digest(domain: bytes, root: bytes) -> bytes:
    """Return what is signed for all receipts of a commit."""
    return compute_digest(domain, keccak(_GROUP_HASH + root))


def sign_receipts(
    key: ReceiptKey, domain: bytes, receipts: Sequence[SignedReceipt]
) -> list[SignedReceipt]:
    """Sign the receipts of one commit: one signature for all, a branch for each."""
    root, branches = compute_branches([hash_receipt(receipt) for receipt in receipts])
    raw = key.key.sign_recoverable(compute_group_digest(domain, root), hasher=None)
    # Low s always, as libsecp256k1 signs; the parity goes into its top bit (EIP-2098).
    signature = raw[:32] + bytes((raw[32] | raw[64] << 7,)) + raw[33:64]
    return [
        SignedReceipt(
            receipt.subject,
            receipt.account,
            receipt.sequence,
            receipt.clock,
            receipt.outcome,
            receipt.filled,
            receipt.reason,
            branch,
            signature,
        )
        for receipt, branch in zip(receipts, branches, strict=True)
    ]


def recover_receipt_signer(domain: bytes, receipt: SignedReceipt) -> Address:
    """Return the address that has signed a receipt; zero when nobody has."""
    node = hash_receipt(receipt)
    for sibling in receipt.branch:
        node = hash_sorted(node, sibling)
    return recover_signer(compute_group_digest(domain, node), receipt.signature)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SignedReceipt)


def encode_receipt(receipt: SignedReceipt) -> bytes:
    """Return a receipt as it is stored."""
    return _encoder.encode(receipt)


def decode_receipt(encoding: bytes) -> SignedReceipt:
    """Return a stored receipt."""
    return _decoder.decode(encoding)
