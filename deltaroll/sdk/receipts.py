"""Checks receipts without asking anybody: from the answer and the sequencer's address alone."""

from collections.abc import Mapping
from typing import Any

import msgspec

from deltaroll.node.receipts import SignedReceipt, recover_receipt_signer
from deltaroll.protocol.eip712 import compute_digest
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.recovery import recover_signer
from deltaroll.protocol.types import Address
from deltaroll.sdk.signing import to_document

RECEIPT_KEY_TYPE = "ReceiptKey(address key)"
"""By this a proposer says which key signs receipts for it."""


class ReceiptError(Exception):
    """A receipt that proves nothing."""


class _Body(msgspec.Struct, frozen=True):
    subject: str
    account: int
    sequence: int
    clock: int
    outcome: int
    filled: int
    reason: int
    branch: list[str]
    signature: str


def verify_receipt(
    domain: bytes, address: bytes, subject: bytes, body: Mapping[str, Any]
) -> SignedReceipt:
    """Return a receipt that the key at `address` has signed.

    Parameters
    ----------
    domain
        EIP-712 domain separator of the rollup.
    subject
        Struct hash of the order, action or cancellation that it has to be about.
    body
        As the API answers it.

    Raises
    ------
    ReceiptError
        When it is malformed, about something else, or not signed by that key.
    """
    try:
        found = msgspec.convert(body, _Body)
        receipt = SignedReceipt(
            _from_hex(found.subject),
            found.account,
            found.sequence,
            found.clock,
            found.outcome,
            found.filled,
            found.reason,
            [_from_hex(sibling) for sibling in found.branch],
            _from_hex(found.signature),
        )
        signer = recover_receipt_signer(domain, receipt)
    except (msgspec.ValidationError, ValueError, OverflowError) as problem:
        raise ReceiptError(f"receipt: {problem}") from None
    if receipt.subject != subject:
        raise ReceiptError(f"receipt: subject is {found.subject}, not 0x{subject.hex()}")
    if signer != address:
        raise ReceiptError(f"receipt: signed by 0x{signer.hex()}, not 0x{address.hex()}")
    return receipt


def hash_receipt_key(key: Address) -> bytes:
    """Return the struct hash by which a proposer names its receipt key."""
    return keccak(keccak(RECEIPT_KEY_TYPE.encode()) + bytes(12) + key)


def recover_proposer(domain: bytes, key: Address, signature: bytes) -> Address:
    """Return the proposer that has named a receipt key; zero when nobody has. Whether it has a bond
    is for L1 to say."""
    return recover_signer(compute_digest(domain, hash_receipt_key(key)), signature)


def to_receipt_key_document(chain_id: int, inbox: str, key: Address) -> dict[str, Any]:
    """Return the EIP-712 document that names a receipt key."""
    message = {"key": "0x" + key.hex()}
    return to_document(chain_id, inbox, "ReceiptKey", RECEIPT_KEY_TYPE, message)


def _from_hex(text: str) -> bytes:
    if not text.startswith("0x"):
        raise ValueError(f"{text[:20]!r} does not start with 0x")
    return bytes.fromhex(text[2:])
