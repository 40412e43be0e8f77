"""Orders through a real WebSocket into a real sequencer."""

import pytest

from deltaroll.node.api.encoding import Format
from deltaroll.node.receipts import SignedReceipt, recover_receipt_signer
from deltaroll.protocol.eip712 import hash_order
from deltaroll.protocol.types import SlotId
from tests.api.support import ADA, BLAISE, RECEIPT_KEY, serve
from tests.node.support import DOMAIN, PERP, PRICE, make_order


@pytest.fixture(scope="module")
def server():
    with serve() as found:
        yield found


@pytest.mark.parametrize("form", Format)
def test_order__over_websocket__receipt_and_book(form):
    """
    | who    | does                | outcome                                  |
    | ada    | bids 3              | resting, receipt; the book shows 3       |
    | blaise | sells 1, immediate  | filled; the book shows 2; both see it    |
    """
    with serve() as server, server.connect(form) as ada, server.connect(form) as blaise:
        snapshot = ada.subscribe(f"book.{PERP}")
        assert snapshot["kind"] == "snapshot"
        assert snapshot["data"] == {"bids": [], "asks": []}
        ada.login(ADA)
        ada.subscribe(f"account.{ADA}")
        bid = make_order(size=3)
        accepted = ada.place(ADA, 0, bid)
        assert (accepted["status"], accepted["filled"]) == ("resting", 0)
        check_receipt(accepted["receipt"], hash_order(ADA, SlotId(0), bid))
        first = ada.next(f"book.{PERP}")
        assert first["data"] == {"bids": [[PRICE, 3]], "asks": []}
        assert first["previous"] == snapshot["sequence"]
        assert first["sequence"] == accepted["sequence"]
        sold = blaise.place(BLAISE, 0, make_order(is_buy=False), kind="limit")
        assert (sold["status"], sold["filled"]) == ("filled", 1)
        second = ada.next(f"book.{PERP}")
        assert second["data"] == {"bids": [[PRICE, 2]], "asks": []}
        assert second["previous"] == first["sequence"]
        placed = ada.next(f"account.{ADA}")["data"]["events"]
        assert [(event["type"], event["state"]) for event in placed] == [("order", "resting")]
        filled = ada.next(f"account.{ADA}")["data"]["events"]
        assert [event["type"] for event in filled] == ["fill", "order", "account"]
        assert filled[0]["is_maker"]
        assert filled[0]["lots"] == 1
        assert filled[1]["state"] == "partially_filled"


def check_receipt(body, subject):
    """Checked offline: from the answer alone and the sequencer's address."""
    assert body["subject"] == "0x" + subject.hex()
    receipt = SignedReceipt(
        subject,
        body["account"],
        body["sequence"],
        body["clock"],
        body["outcome"],
        body["filled"],
        body["reason"],
        [bytes.fromhex(sibling[2:]) for sibling in body["branch"]],
        bytes.fromhex(body["signature"][2:]),
    )
    assert recover_receipt_signer(DOMAIN, receipt) == RECEIPT_KEY.address
