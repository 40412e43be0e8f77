"""A receipt is believed only as it was signed."""

import pytest

from deltaroll.node.receipts import Outcome, make_receipt, make_receipt_key, sign_receipts
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import Address
from deltaroll.sdk.receipts import (
    ReceiptError,
    hash_receipt_key,
    recover_proposer,
    to_receipt_key_document,
    verify_receipt,
)

DOMAIN = keccak(b"domain")
KEY = make_receipt_key(keccak(b"key"))
SUBJECT = keccak(b"order")


def make_body():
    receipts = [
        make_receipt(
            SUBJECT if place == 2 else keccak(b"other"), place, 7, 8, Outcome.RESTING, None
        )
        for place in range(5)
    ]
    signed = sign_receipts(KEY, DOMAIN, receipts)[2]
    return {
        "subject": "0x" + signed.subject.hex(),
        "account": signed.account,
        "sequence": signed.sequence,
        "clock": signed.clock,
        "outcome": signed.outcome,
        "filled": signed.filled,
        "reason": signed.reason,
        "branch": ["0x" + sibling.hex() for sibling in signed.branch],
        "signature": "0x" + signed.signature.hex(),
    }


def test_verify_receipt__as_signed__is_returned():
    receipt = verify_receipt(DOMAIN, KEY.address, SUBJECT, make_body())
    assert (receipt.account, receipt.sequence, receipt.outcome) == (2, 7, Outcome.RESTING)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subject", "0x" + "11" * 32),
        ("account", 3),
        ("account", "2"),
        ("account", -1),
        ("account", 2**300),
        ("sequence", 8),
        ("clock", 9),
        ("outcome", 3),
        ("filled", 1),
        ("reason", 13),
        ("branch", []),
        ("branch", ["0x" + "11" * 32] * 3),
        ("branch", ["zz"]),
        ("signature", "0x" + "11" * 64),
        ("signature", "0x"),
        ("signature", "11"),
        ("signature", None),
    ],
)
def test_verify_receipt__anything_else__is_not_believed(name, value):
    with pytest.raises(ReceiptError, match="receipt: "):
        verify_receipt(DOMAIN, KEY.address, SUBJECT, make_body() | {name: value})


def test_verify_receipt__another_domain_key_or_subject__is_not_believed():
    body = make_body()
    with pytest.raises(ReceiptError, match="signed by"):
        verify_receipt(keccak(b"elsewhere"), KEY.address, SUBJECT, body)
    with pytest.raises(ReceiptError, match="signed by"):
        verify_receipt(DOMAIN, Address(bytes(20)), SUBJECT, body)
    with pytest.raises(ReceiptError, match="subject is"):
        verify_receipt(DOMAIN, KEY.address, keccak(b"x"), body)


def test_recover_proposer__signature_of_another_key__is_nobodys():
    assert recover_proposer(DOMAIN, KEY.address, bytes(64)) == Address(bytes(20))
    assert hash_receipt_key(KEY.address) != hash_receipt_key(Address(bytes(20)))
    document = to_receipt_key_document(1, "0x" + "11" * 20, KEY.address)
    assert document["message"] == {"key": "0x" + KEY.address.hex()}
