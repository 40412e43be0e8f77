"""What clients must not do, and that it harms nobody else: no stall, no 5xx, no lost answer."""

import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from deltaroll.node.api import bridge, endpoints, jobs, transport
from deltaroll.node.api.encoding import Format, encode
from deltaroll.node.api.limits import Buckets, Limits, Rate
from deltaroll.node.store import StoreError
from tests.api.support import ADA, BLAISE, Server, serve, to_fields
from tests.node.support import INDEX, PERP, PRICE, STRANGER, TICK, Venue, make_order, make_signer

STALL = 0.1
"""Seconds for which nobody may be kept waiting by somebody else."""
ENOUGH = 20
"""Answers of a probe."""
OUTLIERS = 2
"""Answers of a probe that may be late because the machine was busy with something else."""


@contextmanager
def probe(server: Server) -> Iterator[list[float]]:
    """Somebody else: asks for the margin all the time; how long each answer took."""
    latencies: list[float] = []
    done, begun = Event(), Event()

    def run() -> None:
        with server.connect() as client:
            client.login(BLAISE)
            while not done.is_set():
                started = time.perf_counter()
                client.do("query", query={"type": "margin", "account": BLAISE})
                latencies.append(time.perf_counter() - started)
                begun.set()
                done.wait(0.005)

    thread = Thread(target=run)
    thread.start()
    assert begun.wait(20)
    try:
        yield latencies
    finally:
        done.set()
        thread.join()


def check_no_stall(quiet: list[float], busy: list[float]) -> None:
    """What the machine does to a quiet server is not the abuser's doing."""
    assert len(busy) > OUTLIERS
    assert sorted(busy)[-1 - OUTLIERS] < STALL + max(quiet)


def measure_quiet(server: Server) -> list[float]:
    with probe(server) as latencies:
        time_is_up = Event()
        time_is_up.wait(0.3)
    return latencies


JUNK = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"op":"order"}',
    b'{"op":"nothing","id":3}',
    b'{"op":"ping","id":-1}',
    b'{"op":"ping","id":1e400}',
    b'{"op":"ping","id":99999999999999999999999}',
    b'{"op":"ping","id":1,"more":2}',
    b'{"op":"subscribe","id":1,"channel":"book.' + b"9" * 500 + b'"}',
    b'{"op":"subscribe","id":1,"channel":"book.10","after":-1}',
    b'{"op":"batch","id":1,"items":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    b'{"op":"ping","id":1,"x":"\\ud800"}',
]


@pytest.mark.parametrize("form", Format)
def test_frame__junk__is_answered_and_the_connection_goes_on(server, form):
    dice = random.Random(3)
    with server.connect(form) as client:
        junk = [*JUNK, *(dice.randbytes(dice.randrange(1, 60)) for _ in range(50))]
        for data in junk:
            if form is Format.JSON:
                client.socket.send(data.decode("latin-1"))
            else:
                client.socket.send(data)
            answer = client.receive()
            assert answer["error"]["code"] != "unavailable", data
            assert len(json.dumps(answer)) < 1_000
        assert client.do("ping")["clock"] > 0


def test_frame__bad_values__name_field_and_value(server):
    with server.connect() as client:
        order = to_fields(ADA, 0, make_order())
        assert client.refused("order", **(order | {"size": 0}))["rule"].endswith("`$.size`")
        error = client.refused("order", **(order | {"account": 99}))
        assert (error["code"], error["field"], error["value"]) == ("unknown_account", "account", 99)


def test_frame__too_long__connection_is_closed_with_the_reason(server):
    with server.connect() as client, server.connect() as other:
        client.socket.send("x" * 70_000)
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd.code == 1009
        assert other.do("ping")


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x05hello",  # not masked
        b"\x83\x80\x00\x00\x00\x00",  # an opcode that is none
        b"\x81\xff" + b"\xff" * 12,  # 2^64 bytes
        b"\xff" * 64,
        b"\x81\x82\x00\x00\x00\x00\xff\xfe",  # not UTF-8
    ],
)
def test_frame__not_websocket__only_its_sender_is_closed(server, data):
    with server.connect() as other, socket.create_connection(("127.0.0.1", server.api.port)) as raw:
        shake_hands(raw)
        raw.sendall(data)
        raw.settimeout(5)
        while raw.recv(4_096):
            pass
        assert other.do("ping")


@pytest.mark.parametrize(
    "request_text",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/status HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /v1/%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_http__malformed__no_5xx(server, request_text):
    with socket.create_connection(("127.0.0.1", server.api.port)) as raw:
        raw.settimeout(5)
        raw.sendall(request_text)
        raw.shutdown(socket.SHUT_WR)
        answer = b""
        while part := raw.recv(4_096):
            answer += part
        assert not answer or answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 2"), answer


def shake_hands(raw: socket.socket) -> None:
    raw.sendall(
        b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    received = b""
    while b"\r\n\r\n" not in received:
        received += raw.recv(4_096)
    assert received.startswith(b"HTTP/1.1 101"), received


def test_slow_reader__is_dropped__others_hear_everything():
    """
    | who    | does                                        | outcome                    |
    | slow   | subscribes, asks for much, reads nothing    | dropped                    |
    | ada    | quotes                                      | answered, in time          |
    | fast   | reads                                       | every delta, without a gap |
    """
    limits = Limits(queue_messages=50, send_buffer=8_192)
    with serve(limits=limits) as server, server.connect() as ada, server.connect() as fast:
        quiet = measure_quiet(server)
        with socket.create_connection(("127.0.0.1", server.api.port)) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            shake_hands(raw)
            reached = fast.subscribe(f"book.{PERP}")["sequence"]
            with probe(server) as busy:
                send_unread(raw, {"op": "subscribe", "channel": f"book.{PERP}"})
                for _ in range(300):
                    send_unread(raw, {"op": "query", "query": {"type": "market", "market": INDEX}})
                for turn in range(5):
                    items = [
                        {"op": "order", **to_fields(ADA, slot, make_quote(slot, turn))}
                        for slot in range(50)
                    ]
                    ada.do("batch", items=items)
            for _ in range(250):
                delta = fast.next(f"book.{PERP}")
                assert delta["previous"] == reached
                reached = delta["sequence"]
            raw.settimeout(10)
            drain(raw)
        check_no_stall(quiet, busy)


def send_unread(raw: socket.socket, request: object) -> None:
    """Send a request whose answer nobody will read, masked with zeros."""
    body = json.dumps(request).encode()
    raw.sendall(bytes((0x81, 0x80 | len(body), 0, 0, 0, 0)) + body)


def make_quote(slot: int, turn: int):
    return make_order(PRICE - (slot * 7 + turn % 5 + 1) * TICK, nonce=turn + 1)


def drain(raw: socket.socket) -> None:
    """Read until the server has hung up."""
    try:
        while raw.recv(65_536):
            pass
    except ConnectionError:
        return


def test_flood__one_client_sends_without_end__is_held_back_and_nobody_else():
    # Slow to fill again: a slow machine takes its time between two frames.
    limits = Limits(address=Rate(500, 5))
    with serve(limits=limits) as server, server.connect() as client:
        frames = [json.dumps({"op": "ping", "id": number}) for number in range(3_000)]
        sender = Thread(target=lambda: [client.socket.send(frame) for frame in frames])
        sender.start()
        answers = 0
        refused = []
        while len(refused) < 5:
            answer = client.receive()
            answers += 1
            if "error" in answer:
                refused.append(answer["error"])
        assert answers > 500
        assert {error["code"] for error in refused} == {"rate_limited"}
        assert all(error["retry_after"] > 0 for error in refused)
        client.socket.close_timeout = 0.1
        client.socket.close()
        sender.join()


def test_flood__of_bad_signatures__costs_the_address():
    with serve(limits=Limits(address=Rate(60, 1))) as server, server.connect() as client:
        codes = [
            client.refused("order", **to_fields(ADA, 0, make_order(), signer=STRANGER))["code"]
            for _ in range(11)
        ]
        assert codes[0] == "bad_signature"
        assert codes[-1] == "rate_limited"


@pytest.mark.parametrize("is_rest", [False, True])
def test_batch__of_bad_signatures__costs_the_address_each_of_them(is_rest):
    with serve(limits=Limits(address=Rate(100, 0.001))) as server, server.connect() as client:
        forged = to_fields(ADA, 0, make_order(), signer=STRANGER)
        items = [{"op": "order", **forged} for _ in range(20)]
        if is_rest:
            url = f"http://127.0.0.1:{server.api.port}/v1/orders/batch"
            body = json.dumps({"items": items}).encode()
            with urlopen(Request(url, body, method="POST"), timeout=10) as answer:
                answers = json.load(answer)
        else:
            answers = client.do("batch", items=items)
        assert {answer["error"]["code"] for answer in answers} == {"bad_signature"}
        assert client.refused("ping")["code"] == "rate_limited"


def test_account_limit__orders_beyond_it__wait_and_cancels_go_on():
    with serve(limits=Limits(account=Rate(5, 0.001))) as server, server.connect() as client:
        client.login(ADA)
        for slot in range(4):
            client.place(ADA, slot, make_order(PRICE - TICK))
        for slot in range(4):
            client.do("cancel", account=ADA, slot=slot)
        error = client.refused("order", **to_fields(ADA, 9, make_order()))
        assert error["code"] == "rate_limited"
        assert error["retry_after"] > 0
        assert client.place(BLAISE, 0, make_order())["status"] == "resting"


def test_storm__more_connections_than_allowed__are_turned_away_with_429():
    limits = Limits(connections=8, connections_per_address=8, address=Rate(1e6, 1e6))
    with serve(limits=limits) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(8)]
        for _ in range(50):
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://127.0.0.1:{server.api.port}/v1/ws")
            assert refused.value.response.status_code == 429
        assert all(client.do("ping") for client in clients)


def test_storm__sockets_that_say_nothing__are_turned_away_and_leave_room(monkeypatch):
    """
    | who   | does                                   | outcome                          |
    | crowd | opens sockets, says nothing            | beyond twice the limit: closed   |
    | other | is connected                           | answered                         |
    | crowd | goes on saying nothing                 | closed; there is room again      |
    """
    monkeypatch.setattr(transport, "REQUEST_SECONDS", 0.3)
    with serve(limits=Limits(connections=5)) as server, ExitStack() as stack:
        other = stack.enter_context(server.connect())
        address = "127.0.0.1", server.api.port
        crowd = [stack.enter_context(socket.create_connection(address, 5)) for _ in range(30)]
        assert other.do("ping")
        for quiet in crowd:
            with suppress(ConnectionError):
                assert quiet.recv(1) == b""
        assert server.connect().do("ping")


def test_connect__unknown_subprotocol__is_refused(server):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{server.api.port}/v1/ws", subprotocols=["soap"])
    assert refused.value.response.status_code == 400


def test_heartbeat__client_that_answers_no_ping__is_disconnected():
    limits = Limits(ping_interval=0.1, ping_timeout=0.2)
    with (
        serve(limits=limits) as server,
        server.connect() as other,
        socket.create_connection(("127.0.0.1", server.api.port)) as raw,
    ):
        shake_hands(raw)
        raw.settimeout(5)
        received = b""
        while part := raw.recv(4_096):
            received += part
        assert received[0] == 0x89
        assert other.do("ping")


def test_heavy_question__of_every_account__keeps_nobody_waiting():
    """A thousand accounts with positions are looked at a few at a time."""

    def fill(venue: Venue) -> Venue:
        venue.open()
        for number in range(1_000):
            venue.deposit(make_signer(f"crowd {number}").address, 0, 10**6)
        crowd = range(len(venue.state.accounts) - 999, len(venue.state.accounts) + 1)
        signer_of = {account: make_signer(f"crowd {n}") for n, account in enumerate(crowd)}
        for account in crowd:
            venue.submit(account, 0, make_order(is_buy=account % 2 == 0), signer_of[account])
        return venue

    with serve(fill, Limits(address=Rate(1e6, 1e6))) as server, server.connect() as client:
        quiet = measure_quiet(server)
        with probe(server) as busy:
            while len(busy) < ENOUGH:
                asked = [client.send("query", query={"type": "distressed"}) for _ in range(8)]
                for request in asked:
                    assert client.wait(request)["result"]["accounts"] == []
        check_no_stall(quiet, busy)


@pytest.mark.parametrize(
    "name", [f"book.0{PERP}", f"account.0{ADA}", f"ticker.000{PERP}", f"book.{PERP}\n"]
)
def test_subscription__by_another_spelling__is_refused(server, name):
    """It would be another name of the channel, under which nothing is ever told."""
    with server.connect() as client:
        client.login(ADA)
        assert client.refused("subscribe", channel=name)["code"] == "bad_request"
        assert client.do("subscribe", channel=f"book.{PERP}")


def test_long_questions__too_many__are_refused_by_rate_and_not_as_a_failure(server, monkeypatch):
    monkeypatch.setattr(bridge, "MAX_SLICED", 1)
    with server.connect() as client:
        release = Event()
        blocked = server.thread.start(lambda _: release.wait(10))
        asked = [client.send("query", query={"type": "distressed"}) for _ in range(3)]
        client.do("ping")
        release.set()
        blocked.result()
        answers = [client.wait(request) for request in asked]
        assert answers[0]["result"]["accounts"] == []
        refused = [answer["error"] for answer in answers[1:] if "error" in answer]
        assert refused
        assert {error["code"] for error in refused} == {"rate_limited"}
        assert {error["retry_after"] for error in refused} == {bridge.BUSY_SECONDS}


def test_flood__of_questions__others_have_their_turn():
    """Hundreds of questions of one client wait behind one another, not before somebody else's."""
    limits = Limits(address=Rate(1e6, 1e6))
    with serve(Venue.open_options, limits) as server, server.connect() as client:
        client.login(ADA)
        quiet = measure_quiet(server)
        with probe(server) as busy:
            while len(busy) < ENOUGH:
                asked = [
                    client.send("query", query={"type": "margin", "account": ADA})
                    for _ in range(300)
                ]
                for request in asked:
                    client.wait(request)
        check_no_stall(quiet, busy)


def test_question__that_fails_by_a_mistake_of_ours__stops_nobody(server, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a mistake")

    with server.connect() as client:
        monkeypatch.setattr(endpoints, "compute_ticker", fail)
        monkeypatch.setattr(jobs, "compute_ticker", fail)
        error = client.refused("subscribe", channel=f"ticker.{PERP}")
        assert error == {"code": "unavailable", "rule": "the node has a problem of its own"}
        for path in (f"/v1/tickers/{PERP}", "/v1/tickers"):
            with pytest.raises(HTTPError) as failed:
                urlopen(f"http://127.0.0.1:{server.api.port}{path}", timeout=10)
            assert failed.value.code == 503
        assert client.place(ADA, 0, make_order())["status"] == "resting"


def test_order__sequencer_has_failed__everybody_is_told(server):
    def fail(_: object) -> None:
        raise ZeroDivisionError("a mistake")

    with server.connect() as client:
        with pytest.raises(StoreError):
            server.thread.call(fail)
        for _ in range(2):
            error = client.refused("order", **to_fields(ADA, 0, make_order()))
            assert error["code"] == "unavailable"
            assert "stopped by ZeroDivisionError" in error["rule"]


def test_too_many_requests_under_way__are_refused():
    with serve(limits=Limits(in_flight=3)) as server, server.connect() as client:
        release = Event()
        blocked = server.thread.start(lambda _: release.wait(10))
        asked = [client.send("query", query={"type": "market", "market": PERP}) for _ in range(5)]
        late = [client.wait(request)["error"]["code"] for request in asked[3:]]
        release.set()
        blocked.result()
        assert late == ["rate_limited"] * 2
        assert all("result" in client.wait(request) for request in asked[:3])


def test_buckets__time_passes__fill_up_to_their_size():
    buckets = Buckets(Rate(10, 2))
    assert buckets.take("a", 10, now=0.0) == 0
    assert buckets.take("a", 4, now=1.0) == pytest.approx(1.0)
    assert buckets.take("a", 4, now=2.0) == 0
    assert buckets.take("a", 50, now=100.0) == 0
    assert buckets.take("a", 1, now=100.0) == pytest.approx(20.5)
    assert buckets.take("b", 1, now=100.0) == 0


def test_buckets__more_keys_than_room__oldest_is_forgotten():
    buckets = Buckets(Rate(1, 0.001), capacity=2)
    for key in "abc":
        assert buckets.take(key, 1, now=0.0) == 0
    assert buckets.take("a", 1, now=0.0) == 0
    assert buckets.take("c", 1, now=0.0) > 0


def test_encode__integer_beyond_64_bits__is_text_in_messagepack():
    value = {"cash": 2**70, "small": [1, -(2**63)]}
    assert msgspec.msgpack.decode(encode(value, Format.MSGPACK)) == {
        "cash": str(2**70),
        "small": [1, -(2**63)],
    }
    assert msgspec.json.decode(encode(value, Format.JSON)) == value
