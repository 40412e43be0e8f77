"""The sequencer's line server: many clients on the loopback interface, one thread that sequences.

One thread owns the sequencer and its store; everything that reads or changes them runs there, one
thing after the other. Every client has a thread of its own that only reads a line, waits for its
answer and writes it, so a client that is slow or dead keeps nobody waiting but itself. Each client
has at most one request under way: nothing piles up.
"""

import socket
import socketserver
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeVar

import msgspec
import structlog

from deltaroll.node.requests import Answer, answer_line
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import StoreError

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
HOST = "127.0.0.1"
"""Requests that nobody signs are served to whoever connects: only this machine may."""
MAX_LINE = 16_384
"""Bytes of a request, a line's end apart; the longest that means something has a third of that."""
MAX_CLIENTS = 64
IDLE_SECONDS = 600.0
"""A client that says nothing for this long is disconnected."""
SEND_SECONDS = 5.0
"""So is one that does not take its answer within this."""
RECEIVE_BYTES = 4_096


class SequencerThread:
    """A sequencer and the one thread that may touch it.

    An error there that is not a refusal leaves a state that its log may not explain: nothing is
    answered or posted from it any more. A restart replays the log.
    """

    def __init__(self, open_sequencer: Callable[[], Sequencer]) -> None:
        """Open the sequencer on its thread; raises what `open_sequencer` raises."""
        self._executor = ThreadPoolExecutor(1, "sequencer")
        self._failure: BaseException | None = None
        try:
            self._sequencer = self._executor.submit(open_sequencer).result()
        except BaseException:
            self._executor.shutdown()
            raise

    @property
    def problem(self) -> str | None:
        """Why nothing is sequenced any more; None while it is."""
        failure = self._failure
        return None if failure is None else f"the sequencer has stopped: {type(failure).__name__}"

    def call(self, function: Callable[[Sequencer], Result]) -> Result:
        """Run a function on the sequencer's thread and return its result.

        Raises
        ------
        StoreError
            When this or an earlier call failed.
        """
        return self.start(function).result()

    def start(self, function: Callable[[Sequencer], Result]) -> Future[Result]:
        """Have a function run on the sequencer's thread; do not wait.

        Raises
        ------
        StoreError
            When the thread has ended.
        """
        try:
            return self._executor.submit(self._run, function)
        except RuntimeError as problem:
            raise StoreError("sequencer: stopped") from problem

    def answer(self, line: bytes) -> bytes:
        """Return the answer to a line; it is durable."""
        try:
            return self.call(lambda sequencer: answer_line(sequencer, line))
        except StoreError as problem:
            return encode_refusal(str(problem))

    def close(self) -> None:
        """Flush, close the store and end the thread.

        After a failure nothing is flushed: what was not acknowledged is not to be replayed.
        """
        try:
            self._executor.submit(self._close).result()
        finally:
            self._executor.shutdown()

    def _run(self, function: Callable[[Sequencer], Result]) -> Result:
        if self._failure is None:
            try:
                return function(self._sequencer)
            except Exception as problem:  # noqa: BLE001 (whatever it is, the sequencer has to stop)
                self._failure = problem
                log.error("sequencer_failed", error=repr(problem))
        raise StoreError(f"sequencer: stopped by {self._failure!r}") from self._failure

    def _close(self) -> None:
        if self._failure is None:
            self._sequencer.close()


class LineServer:
    """Answers lines on a loopback port until it is closed."""

    def __init__(self, thread: SequencerThread, port: int) -> None:
        """Listen on a port; 0 takes a free one. OSError when it is not to be had."""
        self._server = _Server(thread, port)
        self.port: int = self._server.server_address[1]
        self._accepting = Thread(target=self._server.serve_forever, args=(0.05,), name="accept")
        self._accepting.start()

    def close(self) -> None:
        """Accept nobody any more, answer the requests that are under way, hang up."""
        self._server.shutdown()
        self._accepting.join()
        self._server.stop_reading()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = MAX_CLIENTS

    def __init__(self, thread: SequencerThread, port: int) -> None:
        self.thread = thread
        self.is_closing = False
        self._lock = Lock()
        self._clients: set[socket.socket] = set()
        super().__init__((HOST, port), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take a client in, unless there are too many."""
        with self._lock:
            if len(self._clients) < MAX_CLIENTS:
                self._clients.add(request)
                return True
        log.warning("client_turned_away", clients=MAX_CLIENTS)
        with suppress(OSError):
            # A new connection's buffer has room for this: it does not wait.
            refusal = encode_refusal(f"server: {MAX_CLIENTS} clients are connected already")
            request.sendall(refusal + b"\n")
        return False

    def shutdown_request(self, request: Any) -> None:
        """Forget a client and hang up."""
        with self._lock:
            self._clients.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a client's thread did not expect; the others go on."""
        log.error("client_failed", error=repr(sys.exc_info()[1]))

    def stop_reading(self) -> None:
        """Wake the threads that wait for a line; those that wait for an answer still write it."""
        self.is_closing = True
        with self._lock:
            for client in self._clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RD)


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        """Answer lines until the client or the server hangs up."""
        with suppress(OSError):
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for line in self._iterate_lines():
                if line.strip():
                    self._send(self.server.thread.answer(line))

    def _iterate_lines(self) -> Iterator[bytes]:
        """Yield lines; the deadline is one of a whole line, so that one byte now and then is not
        enough to stay.
        """
        received = b""
        deadline = monotonic() + IDLE_SECONDS
        while not self.server.is_closing:
            line, end, rest = received.partition(b"\n")
            if len(line) > MAX_LINE:
                self._send(encode_refusal(f"request: the line is longer than {MAX_LINE} bytes"))
                return
            if end:
                yield line
                received = rest
                deadline = monotonic() + IDLE_SECONDS
                continue
            self.request.settimeout(max(0.001, deadline - monotonic()))
            data = self.request.recv(RECEIVE_BYTES)
            if not data:
                return
            received += data

    def _send(self, answer: bytes) -> None:
        self.request.settimeout(SEND_SECONDS)
        self.request.sendall(answer + b"\n")


def encode_refusal(text: str) -> bytes:
    """Return the answer that says what is wrong."""
    return msgspec.json.encode(Answer(error=text))
