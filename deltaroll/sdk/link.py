"""One WebSocket that is always there, or on its way back.

Requests wait while the connection is down. What had been sent when it went down is sent again,
the very same bytes in the same order, unless it may be done once only: then its sender is told that
nobody knows.
"""

import asyncio
import logging
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

import aiohttp
import msgspec

from deltaroll.node.api.encoding import Format
from deltaroll.node.api.messages import MessageKind, Problem
from deltaroll.sdk.errors import (
    ClosedError,
    OutcomeUnknownError,
    RateLimitedError,
    SdkError,
    UnavailableError,
    UnreachableError,
    to_error,
)

log = logging.getLogger(__name__)

WINDOW = 500
"""Requests that are under way at a time; the node takes 1,000."""
MAX_FRAME = 1 << 26
"""Bytes of a message from the node: snapshots are long."""


PASSING = (UnreachableError, OutcomeUnknownError, RateLimitedError, UnavailableError)
"""What another connection may help against."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How a client waits, in seconds."""

    answer: float = 30.0
    """For the answer to a request, reconnects included."""
    connect: float = 10.0
    """For a connection to come up."""
    heartbeat: float = 15.0
    """Between two pings; a node that answers none within half of it is gone."""
    first_retry: float = 0.1
    """After a lost connection; twice as long after each failure, up to `last_retry`."""
    last_retry: float = 20.0

    def compute_delay(self, failures: int, chance: float) -> float:
        """Return how long to wait: `chance` of 0..1 takes up to half of it off, so that clients
        that were cut off together do not come back together."""
        longest = min(self.last_retry, self.first_retry * 2.0 ** min(failures, 32))
        return longest * (1 - chance / 2)


class Keeping(Enum):
    """What happens to a request when the connection is lost before its answer."""

    AGAIN = "again"
    """It is sent again: doing it twice is the same as once."""
    ONCE = "once"
    """Its sender is told that the outcome is unknown, if it had been sent."""
    HERE = "here"
    """It belongs to this connection and ends with it."""


class Frame(msgspec.Struct):
    """A message from the node: an answer, or one of a channel."""

    id: int | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: Problem | None = None
    channel: str | None = None
    kind: MessageKind | None = None
    sequence: int = 0
    previous: int = 0
    data: msgspec.Raw = msgspec.Raw()


class Pending:
    """A request without an answer."""

    __slots__ = ("future", "is_repeated", "is_sent", "keeping", "number", "payload")

    def __init__(self, number: int, payload: str, keeping: Keeping) -> None:
        self.number = number
        self.payload = payload
        self.keeping = keeping
        self.future: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self.is_sent = False
        self.is_repeated = False
        """It has been sent more than once: an answer may tell of the first time."""


_decode = msgspec.json.Decoder(Frame).decode


class Link:
    """Requests, answers and channel messages of one client; on one event loop."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        on_open: Callable[[], Awaitable[None]],
        on_message: Callable[[Frame], None],
        on_lost: Callable[[], None],
        patience: Patience,
    ) -> None:
        """`on_open` is awaited on each new connection, before anything else is sent on it."""
        self._session = session
        self._url = url
        self._on_open = on_open
        self._on_message = on_message
        self._on_lost = on_lost
        self._patience = patience
        self._pending: OrderedDict[int, Pending] = OrderedDict()
        self._waiting: deque[Pending] = deque()
        """Those that have not been sent."""
        self._outgoing: deque[str] = deque()
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()
        self._next = 0
        self._under_way = 0
        self._is_open = False
        self._is_connected = False
        self._failure: SdkError | None = None
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connections = 0
        """How many there have been."""

    @property
    def is_open(self) -> bool:
        """Whether there is a connection now."""
        return self._is_open

    async def open(self) -> None:
        """Connect; try again until there is an answer.

        Raises
        ------
        UnreachableError
            When none comes in time.
        SdkError
            What `on_open` raises that another attempt would not help.
        """
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._on_end)
        try:
            await asyncio.wait_for(asyncio.shield(self._opened), self._patience.answer)
        except TimeoutError:
            raise UnreachableError(f"{self._url} does not answer") from None

    async def close(self) -> None:
        """Hang up; whoever still waits is told."""
        self._closed.set()
        if self._failure is None:
            self._failure = ClosedError("the client is closed")
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._fail(self._failure)

    def drop(self) -> None:
        """Begin a new connection."""
        self._is_open = self._is_connected = False
        self._wake.set()

    def send(self, op: str, fields: dict[str, Any], keeping: Keeping = Keeping.AGAIN) -> Pending:
        """Send a request, now or as soon as there is a connection.

        Raises
        ------
        ClosedError
            When the client is closed, or whatever has ended it.
        """
        if self._failure is not None:
            raise self._failure
        self._next += 1
        payload = msgspec.json.encode({"op": op, "id": self._next, **fields}).decode()
        pending = self._pending[self._next] = Pending(self._next, payload, keeping)
        # Who gives up waiting leaves an exception that nobody asks for.
        pending.future.add_done_callback(_look)
        if keeping is Keeping.HERE:
            if self._is_connected:
                pending.is_sent = True
                self._write(payload)
            else:
                del self._pending[self._next]
                pending.future.set_exception(UnreachableError("the connection is lost"))
        else:
            self._waiting.append(pending)
            self._pump()
        return pending

    async def wait(self, pending: Pending) -> msgspec.Raw:
        """Return the result of a request.

        Raises
        ------
        RefusedError
        OutcomeUnknownError
            When there is no answer in time, or there can be none any more.
        """
        try:
            future = asyncio.shield(pending.future)
            return await asyncio.wait_for(future, self._patience.answer)
        except TimeoutError:
            raise OutcomeUnknownError(f"no answer within {self._patience.answer:g} s") from None

    async def ask(
        self, op: str, fields: dict[str, Any], keeping: Keeping = Keeping.AGAIN
    ) -> msgspec.Raw:
        """Send a request and return its result; raises like `send` and `wait`.

        Who gives up waiting is not to be surprised by it later: it is not sent any more.
        """
        pending = self.send(op, fields, keeping)
        try:
            return await self.wait(pending)
        except (OutcomeUnknownError, asyncio.CancelledError):
            self._withdraw(pending)
            raise

    def _withdraw(self, pending: Pending) -> None:
        if pending.is_sent:
            if pending.keeping is Keeping.AGAIN:
                pending.keeping = Keeping.ONCE
        elif self._pending.pop(pending.number, None) is not None and pending in self._waiting:
            self._waiting.remove(pending)

    def _pump(self) -> None:
        """Send what waits, as far as there is room."""
        while self._is_open and self._waiting and self._under_way < WINDOW:
            pending = self._waiting.popleft()
            pending.is_sent = True
            self._under_way += 1
            self._write(pending.payload)

    def _write(self, payload: str) -> None:
        self._outgoing.append(payload)
        self._wake.set()

    async def _run(self) -> None:
        failures = 0
        patience = self._patience
        while not self._closed.is_set():
            try:
                async with asyncio.timeout(patience.connect):
                    socket = await self._session.ws_connect(
                        self._url,
                        protocols=(Format.JSON,),
                        heartbeat=patience.heartbeat,
                        max_msg_size=MAX_FRAME,
                    )
                async with socket:
                    self.connections += 1
                    if await self._serve(socket):
                        failures = 0
            except (aiohttp.ClientError, OSError, TimeoutError) as problem:
                log.info("connection to %s failed: %r", self._url, problem)
            except SdkError as problem:
                self._failure = problem
                self._fail(problem)
                return
            finally:
                self._lose()
            delay = patience.compute_delay(failures, random.random())
            failures += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), delay)

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Use a connection until it is gone; return whether it came to be open."""
        self._is_connected = True
        writing = asyncio.create_task(self._write_all(socket))
        opening = asyncio.create_task(self._begin())
        reading = asyncio.create_task(self._read_all(socket))
        tasks = (writing, opening, reading)
        try:
            await asyncio.wait((writing, reading, opening), return_when=asyncio.FIRST_COMPLETED)
            if opening.done() and opening.exception() is None:
                await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
            return opening.done() and not opening.cancelled() and opening.exception() is None
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception) and not isinstance(result, PASSING):
                    raise result

    async def _begin(self) -> None:
        await self._on_open()
        self._is_open = True
        log.debug("connected to %s, %d requests wait", self._url, len(self._pending))
        if not self._opened.done():
            self._opened.set_result(None)
        self._pump()

    async def _read_all(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            try:
                frame = _decode(message.data)
            except msgspec.DecodeError as problem:
                raise UnreachableError(f"a message of another form: {problem}") from None
            if frame.channel is not None:
                self._on_message(frame)
            elif frame.id is not None and not self._answer(frame.id, frame):
                return

    def _answer(self, number: int, frame: Frame) -> bool:
        """Pass an answer on; return whether the connection is of any use still."""
        pending = self._pending.get(number)
        if pending is None:
            return True
        problem = frame.error
        if (
            problem is not None
            and problem.code == "unavailable"
            and pending.keeping is not Keeping.HERE
        ):
            # The node was stopped in the middle of it: what it has done, its log says when it is up
            # again.
            return False
        if (
            problem is not None
            and problem.code == "rate_limited"
            and pending.is_repeated
            and pending.keeping is Keeping.AGAIN
        ):
            # This copy is refused; the one that was sent before may have been done.
            self._under_way -= 1
            pending.is_sent = False
            delay = problem.retry_after or self._patience.first_retry
            asyncio.get_running_loop().call_later(delay, self._send_again, pending)
            self._pump()
            return True
        del self._pending[number]
        if pending.keeping is not Keeping.HERE:
            self._under_way -= 1
        if not pending.future.done():
            if problem is None:
                pending.future.set_result(frame.result)
            else:
                pending.future.set_exception(to_error(problem))
        self._pump()
        return True

    def _send_again(self, pending: Pending) -> None:
        """Send what was refused a while ago, if somebody waits for it still."""
        if pending.number in self._pending:
            self._waiting.appendleft(pending)
            self._pump()

    async def _write_all(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while self._is_connected:
            while self._outgoing:
                await socket.send_str(self._outgoing.popleft())
            self._wake.clear()
            await self._wake.wait()

    def _lose(self) -> None:
        """Sort out what was under way."""
        self._is_open = self._is_connected = False
        self._under_way = 0
        self._outgoing.clear()
        again: list[Pending] = []
        for number, pending in list(self._pending.items()):
            if not pending.is_sent:
                continue
            if pending.keeping is Keeping.AGAIN:
                pending.is_sent = False
                pending.is_repeated = True
                again.append(pending)
                continue
            del self._pending[number]
            if pending.future.done():
                continue
            if pending.keeping is Keeping.HERE:
                pending.future.set_exception(UnreachableError("the connection is lost"))
            else:
                pending.future.set_exception(
                    OutcomeUnknownError("the connection was lost before the answer")
                )
        self._waiting.extendleft(reversed(again))
        self._on_lost()

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        """Tell everybody of an error that nobody has thought of, rather than let them wait."""
        if task.cancelled():
            if self._failure is None:
                # The loop is being shut down: who cleans up meanwhile is not to wait for answers.
                self._failure = ClosedError("the client's loop is ending")
                self._fail(self._failure)
            return
        problem = task.exception()
        if problem is not None:
            log.error("the client has failed: %r", problem)
            self._failure = UnreachableError(f"the client has failed: {problem!r}")
            self._fail(self._failure)

    def _fail(self, problem: SdkError) -> None:
        if not self._opened.done():
            self._opened.set_exception(problem)
            _look(self._opened)
        for pending in self._pending.values():
            if not pending.future.done():
                pending.future.set_exception(problem)
        self._pending.clear()
        self._waiting.clear()


def _look(future: "asyncio.Future[Any]") -> None:
    """Look at an exception that maybe nobody waits for."""
    if not future.cancelled():
        future.exception()
