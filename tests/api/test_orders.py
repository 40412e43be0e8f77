"""Orders through a real WebSocket into a real sequencer."""

import pytest

from deltaroll.node.api.encoding import Format
from deltaroll.protocol.eip712 import hash_order
from deltaroll.protocol.types import SlotId, Transfer
from deltaroll.sdk.signing import hash_action
from tests.api.support import ADA, BLAISE, check_receipt, make_session, serve, to_fields
from tests.node.support import (
    DOMAIN,
    GENESIS,
    INDEX,
    KEYS,
    OWNERS,
    PERP,
    PRICE,
    STRANGER,
    make_order,
)


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


def test_batch__one_item_bad__the_others_are_done(server):
    with server.connect() as client:
        client.login(ADA)
        good = to_fields(ADA, 0, make_order())
        bad = to_fields(ADA, 1, make_order(), signer=STRANGER)
        rejected = to_fields(ADA, 2, make_order(PRICE + 1))
        items = [
            {"op": "order", **good},
            {"op": "order", **bad},
            {"op": "order", **rejected},
            {"op": "cancel", "account": ADA, "slot": 0},
            {"op": "cancel", "account": ADA, "slot": 0},
            {"op": "cancel", "account": BLAISE, "slot": 0},
        ]
        answers = client.do("batch", items=items)
        assert [answer["result"]["status"] for answer in answers if "result" in answer] == [
            "resting",
            "rejected",
            "done",
        ]
        assert answers[2]["result"]["reason"] == "TICK"
        assert [answer["error"]["code"] for answer in answers if "error" in answer] == [
            "bad_signature",
            "unknown",
            "unauthorised",
        ]
        for answer, fields in ((answers[0], good), (answers[3], None)):
            receipt = answer["result"]["receipt"]
            subject = bytes.fromhex(receipt["subject"][2:])
            if fields is not None:
                assert subject == hash_order(ADA, SlotId(0), make_order())
            check_receipt(receipt, subject)


@pytest.mark.parametrize("count", [0, 51])
def test_batch__too_few_or_too_many_items__is_refused(server, count):
    with server.connect() as client:
        items = [{"op": "cancel", "account": ADA, "slot": 0}] * count
        assert client.refused("batch", items=items)["code"] == "bad_request"


def test_order__same_client_id__same_answer_and_receipt(server):
    with server.connect() as client:
        first = client.place(ADA, 0, make_order(), client_id="mine")
        assert client.place(ADA, 0, make_order(), client_id="mine") == first
        error = client.refused("order", **to_fields(ADA, 0, make_order(nonce=2), client_id="mine"))
        assert (error["code"], error["field"], error["value"]) == (
            "bad_client_id",
            "client_id",
            "mine",
        )
        client.login(ADA)
        assert client.do("cancel", account=ADA, client_id="mine")["status"] == "done"


def test_order__market_without_immediacy__is_refused(server):
    with server.connect() as client:
        error = client.refused("order", **to_fields(ADA, 0, make_order(), kind="market"))
        assert error["code"] == "bad_time_in_force"


def test_order__stop_is_triggered__owner_is_told(server):
    """
    | who    | does                       | ada is told                |
    | ada    | sells if the mark is below | held                       |
    | oracle | the price falls            | triggered, then it rests   |
    """
    with server.connect() as client:
        client.login(ADA)
        client.subscribe(f"account.{ADA}")
        stop = {"kind": "stop", "level": PRICE - 50}
        order = make_order(PRICE - 100, is_buy=False)
        held = client.place(ADA, 0, order, trigger=stop)
        assert held["status"] == "held"
        first = client.next(f"account.{ADA}")["data"]["events"]
        assert [event["state"] for event in first] == ["held"]
        server.call(
            lambda venue: (venue.sequencer.set_clock(GENESIS + 1), venue.observe(PRICE - 50))
        )
        second = client.next(f"account.{ADA}")["data"]["events"]
        assert [event["state"] for event in second] == ["triggered", "resting"]


def test_order__signature_of_a_stranger__is_refused_and_leaves_nothing(server):
    with server.connect() as client:
        before = server.call(lambda venue: venue.store.next_sequence)
        error = client.refused("order", **to_fields(ADA, 0, make_order(), signer=STRANGER))
        assert error["code"] == "bad_signature"
        assert server.call(lambda venue: venue.store.next_sequence) == before


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("cancel", {"slot": 0}),
        ("cancel_all", {}),
        ("dead_man", {"seconds": 5}),
        ("protect", {"underlying": INDEX, "seconds": 5, "lots": 1}),
        ("resume", {"underlying": INDEX}),
        ("query", {"query": {"type": "margin", "account": ADA}}),
        ("subscribe", {"channel": f"account.{ADA}"}),
    ],
)
def test_private__without_a_session__is_refused(server, op, fields):
    if op not in ("query", "subscribe"):
        fields = fields | {"account": ADA}
    with server.connect() as client:
        assert client.refused(op, **fields)["code"] == "unauthorised"
        client.login(BLAISE)
        assert client.refused(op, **fields)["code"] == "unauthorised"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"expiry": GENESIS - 1}, "bad_expiry"),
        ({"expiry": GENESIS + 8 * 86_400}, "bad_expiry"),
        ({"nonce": 2}, "bad_signature"),
        ({"account": BLAISE}, "bad_signature"),
        ({"key": "0x" + "00" * 20}, "bad_signature"),
        ({"account": 99}, "unknown_account"),
    ],
)
def test_auth__not_what_was_signed__is_refused(server, change, code):
    with server.connect() as client:
        assert client.refused("auth", **(make_session(ADA) | change))["code"] == code


def test_session__trading_key_is_taken_away__channel_is_closed(server):
    with server.connect() as client:
        server.call(lambda venue: venue.set_key(ADA, KEYS[ADA].address, GENESIS + 10_000))
        client.login(ADA, signer=KEYS[ADA])
        client.subscribe(f"account.{ADA}")
        server.call(lambda venue: venue.set_key(ADA, KEYS[BLAISE].address, GENESIS + 10_000))
        while (message := client.next(f"account.{ADA}"))["kind"] != "closed":
            assert message["kind"] in ("delta", "margin")
        assert message["data"]["code"] == "unauthorised"
        assert client.refused("cancel_all", account=ADA)["code"] == "unauthorised"


def test_switches__set_over_the_api__do_what_they_say(server):
    """
    | ada                                  | outcome                     |
    | protection, one quote; blaise hits   | frozen, said in the channel |
    | resume; switch of 5 s, 6 s pass      | everything is cancelled     |
    """
    with server.connect() as client:
        client.login(ADA)
        client.subscribe(f"account.{ADA}")
        client.do("protect", account=ADA, underlying=INDEX, seconds=60, fills=1)
        client.place(ADA, 0, make_order(), is_quote=True)
        client.place(BLAISE, 0, make_order(is_buy=False))
        told = [client.next(f"account.{ADA}")["data"]["events"] for _ in range(2)]
        assert told[1][-2]["type"] == "protection"
        assert client.place(ADA, 0, make_order(nonce=2), is_quote=True)["reason"] == "protected"
        client.do("resume", account=ADA, underlying=INDEX)
        client.place(ADA, 0, make_order(nonce=3), is_quote=True)
        client.do("dead_man", account=ADA, seconds=5)
        server.call(lambda venue: venue.sequencer.set_clock(GENESIS + 6))
        assert client.do("cancel_all", account=ADA)["status"] == "done"
        snapshot = server.call(lambda venue: len(venue.sequencer.engine))
        assert snapshot == 0


def test_replace__order_filled_meanwhile__is_refused(server):
    with server.connect() as client:
        client.place(ADA, 0, make_order())
        client.place(BLAISE, 0, make_order(is_buy=False))
        error = client.refused("order", **to_fields(ADA, 0, make_order(nonce=2), replaces=1))
        assert (error["code"], error["field"], error["value"]) == ("order_nonce", "replaces", 1)


def test_submit__transfer__is_done_with_a_receipt(server):
    with server.connect() as client:
        transfer = Transfer(ADA, BLAISE, 5, 1)
        signature = OWNERS[ADA].sign_action(DOMAIN, transfer)
        request = {
            "type": "transfer",
            "sender": ADA,
            "recipient": BLAISE,
            "amount": 5,
            "nonce": 1,
            "signature": "0x" + signature.hex(),
        }
        done = client.do("submit", request=request)
        assert done["status"] == "done"
        check_receipt(done["receipt"], hash_action(transfer))
