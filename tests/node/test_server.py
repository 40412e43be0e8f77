"""Lines over real sockets: many clients, none of whom can hold up another."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from deltaroll.node import server as module
from deltaroll.node.machine import Machine
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.server import MAX_LINE, LineServer, SequencerThread
from deltaroll.node.store import Store, StoreError
from deltaroll.protocol.types import AccountId, Transfer
from tests.node.support import (
    DOMAIN,
    GENESIS,
    OWNERS,
    Recorder,
    Venue,
    compute_fingerprint,
    restart,
)

QUESTION = b'{"type": "account", "account": 1}\n'


@pytest.fixture
def path(new_path) -> Path:
    """A store with a venue in it."""
    path: Path = new_path()
    venue = Venue(Recorder(path)).open()
    venue.sequencer.flush()
    venue.store.close()
    return path


@pytest.fixture
def thread(path) -> Iterator[SequencerThread]:
    thread = SequencerThread(lambda: Sequencer(Store(path, DOMAIN), DOMAIN))
    yield thread
    thread.close()


@pytest.fixture
def server(thread) -> Iterator[LineServer]:
    server = LineServer(thread, 0)
    yield server
    server.close()


@contextmanager
def connect(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        yield connection


def read_line(connection: socket.socket) -> bytes:
    """One line, or what came before the other side hung up."""
    received = b""
    while not received.endswith(b"\n") and (data := connection.recv(1)):
        received += data
    return received


def ask(connection: socket.socket, line: bytes = QUESTION) -> dict[str, Any]:
    connection.sendall(line)
    answer = json.loads(read_line(connection))
    assert isinstance(answer, dict)
    return answer


def write_transfer(sender: int, recipient: int, nonce: int, amount: int = 1) -> bytes:
    transfer = Transfer(AccountId(sender), AccountId(recipient), amount, nonce)
    signature = "0x" + OWNERS[AccountId(sender)].sign_action(DOMAIN, transfer).hex()
    fields = {"sender": sender, "recipient": recipient, "amount": amount, "nonce": nonce}
    return json.dumps({"type": "transfer", **fields, "signature": signature}).encode() + b"\n"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_server__request__is_answered_and_durable(path, server):
    with connect(server.port) as client:
        answer = ask(client, write_transfer(1, 2, 1))
        assert answer["status"] == "done"
        # Seen by a second connection to the file, while the sequencer runs.
        rows = dict(Store(path, DOMAIN).iterate_entries())
        assert answer["sequence"] == max(rows)
        assert ask(client)["nonce"] == 1


def test_server__wrong_line__is_answered_and_the_client_stays(server):
    with connect(server.port) as client:
        assert ask(client, b"\xff\n")["error"].startswith("request: ")
        assert ask(client, b"\n\r\n" + QUESTION)["account"] == 1


def test_server__several_lines_in_one_packet__are_answered_in_order(server):
    with connect(server.port) as client:
        client.sendall(b"".join(write_transfer(1, 2, nonce) for nonce in range(1, 21)))
        sequences = [json.loads(read_line(client))["sequence"] for _ in range(20)]
    assert sequences == list(range(sequences[0], sequences[0] + 20))


def test_server__line_in_many_packets__is_one_request(server):
    with connect(server.port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(QUESTION) - 1):
            client.sendall(QUESTION[place : place + 1])
        assert ask(client, b"\n")["account"] == 1


def test_server__many_clients__each_gets_its_own_answers(path, server, thread):
    def trade(sender: int) -> list[int]:
        with connect(server.port) as client:
            answers = [ask(client, write_transfer(sender, 5, nonce)) for nonce in range(1, 31)]
            assert ask(client, b'{"type": "account", "account": %d}\n' % sender)["nonce"] == 30
        return [answer["sequence"] for answer in answers]

    with ThreadPoolExecutor(4) as pool:
        sequences = sorted(chain.from_iterable(pool.map(trade, range(1, 5))))
    assert sequences == list(range(sequences[0], sequences[0] + 120))
    fingerprint = thread.call(compute_fingerprint)
    assert compute_fingerprint(restart(path).sequencer) == fingerprint


def test_server__client_that_says_half_a_line__keeps_nobody_waiting(server):
    with connect(server.port) as slow, connect(server.port) as other:
        slow.sendall(b'{"type": "acc')
        assert ask(other)["account"] == 1
        assert ask(slow, b'ount", "account": 2}\n')["account"] == 2


def test_server__client_that_never_reads__is_dropped_and_keeps_nobody_waiting(server, monkeypatch):
    monkeypatch.setattr(module, "SEND_SECONDS", 0.2)
    flood = QUESTION * 4_000
    with socket.socket() as deaf, connect(server.port) as other:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.settimeout(10)
        deaf.connect(("127.0.0.1", server.port))

        def pour() -> None:
            try:
                while True:
                    deaf.sendall(flood)
            except OSError:
                return

        pouring = Thread(target=pour)
        pouring.start()
        for _ in range(50):
            assert ask(other)["account"] == 1
        pouring.join(10)
        assert not pouring.is_alive()
        assert ask(other)["account"] == 1


def test_server__client_that_vanishes__keeps_nobody_waiting(server):
    for line in (b"", b'{"type', QUESTION, QUESTION * 100):
        with connect(server.port) as client:
            client.sendall(line)
            # Reset instead of a clean end.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    with connect(server.port) as other:
        assert ask(other)["account"] == 1


@pytest.mark.parametrize("has_end", [False, True])
def test_server__line_too_long__is_refused_and_hung_up_on(server, has_end):
    with connect(server.port) as client:
        line = b" " * (MAX_LINE + 1)
        answer = ask(client, line + b"\n" if has_end else line)
        assert answer == {"error": f"request: the line is longer than {MAX_LINE} bytes"}
        assert client.recv(1) == b""


def test_server__longest_line__is_answered(server):
    with connect(server.port) as client:
        line = QUESTION.strip()
        assert ask(client, line + b" " * (MAX_LINE - len(line)) + b"\n")["account"] == 1


def test_server__silence__is_hung_up_on(server, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    with connect(server.port) as client:
        assert client.recv(1) == b""


def test_server__byte_now_and_then__does_not_count_as_talk(server, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.3)

    def is_hung_up_on() -> bool:
        try:
            client.sendall(b" ")
        except OSError:
            return True
        time.sleep(0.02)
        return False

    with connect(server.port) as client:
        wait_for(is_hung_up_on)


def test_server__too_many_clients__says_so_until_one_leaves(server, monkeypatch):
    monkeypatch.setattr(module, "MAX_CLIENTS", 2)
    with connect(server.port) as first, connect(server.port) as second:
        assert ask(first)["account"] == ask(second)["account"] == 1
        with connect(server.port) as third:
            assert read_line(third) == b'{"error":"server: 2 clients are connected already"}\n'
            assert third.recv(1) == b""
        second.close()

        def is_admitted() -> bool:
            with connect(server.port) as fourth:
                return "account" in ask(fourth)

        wait_for(is_admitted)


def test_server__port_in_use__is_an_error(thread, server):
    with pytest.raises(OSError, match="in use"):
        LineServer(thread, server.port)


def test_server__address__is_the_loopback_interface_only(server):
    assert server._server.server_address == ("127.0.0.1", server.port)


def test_close__request_under_way__is_answered_first(path):
    thread = SequencerThread(lambda: Sequencer(Store(path, DOMAIN), DOMAIN))
    server = LineServer(thread, 0)
    busy, go_on = Event(), Event()

    def block(_: Sequencer) -> None:
        busy.set()
        go_on.wait(10)

    with (
        connect(server.port) as client,
        connect(server.port) as idle,
        ThreadPoolExecutor(2) as pool,
    ):
        pool.submit(thread.call, block)
        busy.wait(10)
        client.sendall(write_transfer(1, 2, 1) + QUESTION * 50)
        wait_for(lambda: thread._executor._work_queue.qsize() == 1)
        closing = pool.submit(server.close)
        assert idle.recv(1) == b""
        assert not closing.done()
        go_on.set()
        assert json.loads(read_line(client))["status"] == "done"
        closing.result(10)
        # What it had not begun with is not begun with any more.
        assert client.recv(1) == b""
    with pytest.raises(OSError, match="refused"), connect(server.port):
        pass
    thread.close()
    assert restart(path).state.accounts[AccountId(1)].nonce == 1


def test_close__nothing_flushed__is_flushed(path):
    thread = SequencerThread(lambda: Sequencer(Store(path, DOMAIN), DOMAIN))
    thread.call(lambda sequencer: sequencer.set_clock(GENESIS + 100))
    thread.close()
    assert restart(path).sequencer.clock == GENESIS + 100
    with pytest.raises(StoreError, match="stopped"):
        thread.call(lambda sequencer: sequencer.clock)
    assert b"stopped" in thread.answer(QUESTION)


def test_call__from_many_threads__is_one_after_the_other(thread):
    inside: list[int] = []

    def enter(_: Sequencer) -> int:
        inside.append(1)
        time.sleep(0.001)
        assert len(inside) == 1
        return inside.pop()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: thread.call(enter), range(100))) == 100


def test_call__store_of_another_rollup__is_an_error_and_leaves_no_thread(path):
    with pytest.raises(StoreError, match="another rollup"):
        SequencerThread(lambda: Sequencer(Store(path, b"x" * 32), b"x" * 32))


def test_call__failure__stops_everything_and_is_not_replayed(path, monkeypatch):
    """An entry in the log whose effect is not known must not come back."""
    thread = SequencerThread(lambda: Sequencer(Store(path, DOMAIN), DOMAIN))
    server = LineServer(thread, 0)
    with connect(server.port) as client:
        before = ask(client, write_transfer(1, 2, 1))["sequence"]
        monkeypatch.setattr(Machine, "apply", lambda *_: 1 // 0)
        answer = ask(client, write_transfer(1, 2, 2))
        assert "ZeroDivisionError" in answer["error"]
        assert answer["error"].startswith("sequencer: stopped by ")
        monkeypatch.undo()
        assert ask(client)["error"].startswith("sequencer: stopped by ")
    with pytest.raises(StoreError, match="ZeroDivisionError"):
        thread.call(lambda sequencer: sequencer.clock)
    server.close()
    thread.close()
    venue = restart(path)
    assert venue.store.next_sequence == before + 1
    assert venue.state.accounts[AccountId(1)].nonce == 1
