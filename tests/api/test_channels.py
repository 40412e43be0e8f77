"""Channels: snapshot, then deltas without a gap; resuming; what is refused."""

import random

import pytest

from deltaroll.node.api.data import BatchData
from deltaroll.node.api.limits import Limits
from tests.api.support import ADA, BLAISE, serve
from tests.node.support import (
    GENESIS,
    INDEX,
    OPTIONS,
    PERP,
    PRICE,
    TICK,
    Venue,
    make_order,
)


def trade(client, slot, nonce):
    client.place(ADA, slot, make_order(nonce=nonce))
    client.place(BLAISE, slot, make_order(nonce=nonce, is_buy=False))


@pytest.mark.parametrize(
    "channel",
    [
        "book.9999",
        "book.3",
        "trades.1",
        "index.10",
        "ticker.3",
        "nothing",
        "book",
        "account",
        "batches.1",
    ],
)
def test_subscribe__channel_that_is_none__is_an_error(server, channel):
    with server.connect() as client:
        assert client.refused("subscribe", channel=channel)["code"] in ("unknown", "unknown_market")


def test_subscribe__twice__is_an_error(server):
    with server.connect() as client:
        client.subscribe(f"book.{PERP}")
        assert client.refused("subscribe", channel=f"book.{PERP}")["code"] == "bad_channel"
        client.do("unsubscribe", channel=f"book.{PERP}")
        assert client.refused("unsubscribe", channel=f"book.{PERP}")["code"] == "bad_channel"
        client.subscribe(f"book.{PERP}")


def test_book__many_orders__deltas_add_up_and_never_cross(server):
    dice = random.Random(1)
    with server.connect() as client, server.connect() as late:
        book = client.subscribe(f"book.{PERP}")
        sides = {name: dict(book["data"][name]) for name in ("bids", "asks")}
        reached = book["sequence"]
        for nonce in range(1, 80):
            account = dice.choice((ADA, BLAISE))
            order = make_order(
                PRICE + dice.randint(-5, 5) * TICK,
                dice.randint(1, 5),
                is_buy=dice.random() < 0.5,
                nonce=nonce,
            )
            client.place(account, dice.randrange(6), order)
        last = late.subscribe(f"book.{PERP}")
        while reached < last["sequence"]:
            delta = client.next(f"book.{PERP}")
            assert delta["previous"] == reached
            reached = delta["sequence"]
            for name in sides:
                for price, lots in delta["data"][name]:
                    if lots:
                        sides[name][price] = lots
                    else:
                        del sides[name][price]
            if sides["bids"] and sides["asks"]:
                assert max(sides["bids"]) < min(sides["asks"])
        assert sides == {name: dict(last["data"][name]) for name in sides}


def test_resume__from_the_last_message_seen__only_what_came_since(server):
    with server.connect() as first:
        first.subscribe(f"trades.{PERP}")
        trade(first, 0, 1)
        seen = first.next(f"trades.{PERP}")
        trade(first, 0, 2)
        missed = first.next(f"trades.{PERP}")
    with server.connect() as second:
        again = second.subscribe(f"trades.{PERP}", after=seen["sequence"])
        assert again == missed
        trade(second, 0, 3)
        assert second.next(f"trades.{PERP}")["previous"] == missed["sequence"]


@pytest.mark.parametrize("after", [0, 10**6])
def test_resume__from_what_is_not_remembered__says_so(after):
    with serve(limits=Limits(ring=3)) as server, server.connect() as client:
        client.subscribe(f"trades.{PERP}")
        for nonce in range(1, 6):
            trade(client, 0, nonce)
        with server.connect() as late:
            message = late.subscribe(f"trades.{PERP}", after=after)
            assert message["kind"] == "resync"
            assert len(message["data"]["trades"]) == 5


def test_ticker__option_whose_mark_moves__latest_prices_and_greeks():
    limits = Limits(ticker_seconds=0.01)
    with serve(Venue.open_options, limits) as server, server.connect() as client:
        market = OPTIONS[0]
        first = client.subscribe(f"ticker.{market}")
        assert first["data"]["kind"] == "call"
        assert first["data"]["best_bid"] is None
        price = first["data"]["mark"] // TICK * TICK or TICK
        expiry = first["data"]["expiry"]
        done = client.place(ADA, 0, make_order(price, market=market, expiry=expiry - 1))
        assert done["status"] == "resting", done
        second = client.next(f"ticker.{market}")
        assert second["data"]["best_bid"] == price
        assert second["data"]["mark"] > 0
        assert 0 < int(second["data"]["delta"]) <= 2**48
        assert int(second["data"]["vega"]) > 0


def test_index__observation__is_told(server):
    with server.connect() as client:
        assert client.subscribe(f"index.{INDEX}")["data"]["index"] == PRICE
        server.call(
            lambda venue: (venue.sequencer.set_clock(GENESIS + 1), venue.observe(PRICE + 5))
        )
        told = client.next(f"index.{INDEX}")["data"]
        assert (told["index"], told["observed_at"]) == (PRICE + 5, GENESIS + 1)


def test_account__trade__margin_follows_with_the_scenario_that_binds():
    limits = Limits(ticker_seconds=0.01, margin_seconds=0.02)
    with serve(limits=limits) as server, server.connect() as client:
        client.login(ADA)
        snapshot = client.subscribe(f"account.{ADA}")["data"]
        assert snapshot["leaf"]["positions"] == []
        trade(client, 0, 1)
        books = []
        # One may have been on its way before the trade: it has none.
        while not books:
            message = client.next(f"account.{ADA}")
            books = message["data"]["margin"]["books"] if message["kind"] == "margin" else []
        (book,) = books
        assert book["perpetual_lots"] == 1
        assert book["binding"]["spot_shock"] < 0
        assert sum(book[part]["initial"] for part in ("of_loss", "of_perpetuals")) > 0


def test_batches__posted_then_final_then_removed__is_told(server):
    """
    | L1                        | message            |
    | batch 1                   | posted             |
    | batch 1 final, 2 posted   | both               |
    | batch 2 removed           | removed            |
    """
    one = BatchData(1, "0x01", "posted", 1, 5, 100)
    final = BatchData(1, "0x01", "final", 1, 5, 100)
    two = BatchData(2, "0x02", "posted", 1, 6, 112)
    with server.connect() as client:
        assert client.subscribe("batches")["data"]["batches"] == []
        server.api.publish_batches([one], 1)
        assert get_stages(client.next("batches")) == [(1, "posted")]
        server.api.publish_batches([one], 1)
        server.api.publish_batches([final, two], 1)
        assert get_stages(client.next("batches")) == [(2, "posted"), (1, "final")]
        server.api.publish_batches([final], 1)
        assert get_stages(client.next("batches")) == [(2, "removed")]


def get_stages(message):
    return [(batch["index"], batch["stage"]) for batch in message["data"]["batches"]]
