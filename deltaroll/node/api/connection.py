"""One WebSocket client: reads requests, writes answers and channels, never makes others wait."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

import msgspec
import structlog

from deltaroll.node.admission import RejectedError
from deltaroll.node.api.context import Context
from deltaroll.node.api.encoding import Format, encode
from deltaroll.node.api.errors import RateLimitedError, get_status, to_problem
from deltaroll.node.api.jobs import AuthJob, OpJob, SubscribeJob
from deltaroll.node.api.messages import (
    Answer,
    AuthOp,
    BatchOp,
    CancelAllOp,
    CancelOp,
    ChannelMessage,
    DeadManOp,
    MessageKind,
    Op,
    PingOp,
    Problem,
    QueryOp,
    SessionFields,
    SubscribeOp,
    UnsubscribeOp,
)
from deltaroll.node.api.transport import Pipe
from deltaroll.node.metrics import Outcome, Protocol, to_outcome
from deltaroll.node.queries import DistressedQuery

log = structlog.get_logger(__name__)

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

POLICY_VIOLATION = 1008
MAX_SESSIONS = 64
"""Accounts that one connection may speak for."""
MAX_PAUSE = 1.0
"""Seconds for which nothing more is read from who asks too much."""
CLOSE_SECONDS = 2.0
MAX_WRITE = 64
"""Messages that are written at a time."""


class _Id(msgspec.Struct):
    id: int = 0


_decode_json = msgspec.json.Decoder(Op).decode
_decode_msgpack = msgspec.msgpack.Decoder(Op).decode
_id_json = msgspec.json.Decoder(_Id).decode
_id_msgpack = msgspec.msgpack.Decoder(_Id).decode


class Connection:
    """A client. Everything here runs on the event loop."""

    def __init__(self, context: Context, form: Format, address: str, pipe: Pipe) -> None:
        self.form = form
        self.in_flight = 0
        self.sessions: dict[int, SessionFields] = {}
        self.subscriptions: set[str] = set()
        self.address = address
        self._context = context
        self._pipe = pipe
        self._is_text = form is Format.JSON
        self._outgoing: deque[bytes] = deque()
        self._bytes = 0
        self._latest: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self._closing: str | None = None

    async def serve(self, receive: Receive, send: Send) -> None:
        """Read until the client is gone."""
        writer = asyncio.create_task(self._write(send))
        try:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive" or self._closing is not None:
                    return
                data = message.get("bytes")
                wait = self._handle(message["text"].encode() if data is None else data)
                if wait:
                    # Who asks too much is not even read for a while.
                    await asyncio.sleep(min(wait, MAX_PAUSE))
        finally:
            self._leave()
            writer.cancel()

    def push(self, data: bytes) -> None:
        """Queue a message; a client that does not keep up is dropped."""
        if self._closing is not None:
            return
        self._outgoing.append(data)
        self._bytes += len(data)
        limits = self._context.limits
        if len(self._outgoing) > limits.queue_messages or self._bytes > limits.queue_bytes:
            self._context.metrics.dropped.inc()
            self.drop("too slow: messages have piled up")
            return
        if not self._wake.is_set():
            self._wake.set()

    def push_latest(self, channel: str, data: bytes) -> None:
        """Queue a message in place of the channel's last one."""
        if self._closing is None:
            self._latest[channel] = data
            self._wake.set()

    def forget(self, channel: str) -> None:
        """Note that a subscription is over."""
        self.subscriptions.discard(channel)

    def answer(self, request_id: int, result: Any) -> None:
        """Answer a request with a result, or with the exception that came instead."""
        self.in_flight -= 1
        self._context.metrics.count(Protocol.WEBSOCKET, Outcome.OK)
        self.push(encode(Answer(request_id, result), self.form))

    def refuse(self, request_id: int, error: Exception, request: object = None) -> None:
        """Answer that nothing was done."""
        self.in_flight -= 1
        problem = to_problem(error, request)
        self._context.metrics.count(Protocol.WEBSOCKET, to_outcome(get_status(problem)))
        if problem.code == "bad_signature":
            self.charge_forged(1)
        self.push(encode(Answer(request_id, error=problem), self.form))

    def charge_forged(self, count: int) -> None:
        """Have the address pay for bad signatures: recovering one is dear."""
        if count:
            cost = count * self._context.limits.refused_cost
            self._context.addresses.charge(self.address, cost)

    def end_subscription(self, channel: str, problem: Problem) -> None:
        """Tell that a channel is over."""
        held = self._context.hub.find_channel(channel)
        self.subscriptions.discard(channel)
        if held is not None:
            held.close(self)
            body = ChannelMessage(channel, MessageKind.CLOSED, held.last, held.last, problem)
            self.push(encode(body, self.form))

    def drop(self, reason: str) -> None:
        """Hang up."""
        if self._closing is None:
            self._closing = reason
            self._outgoing.clear()
            self._latest.clear()
            log.info("client_dropped", address=self.address, reason=reason)
            self._wake.set()
            # A client that does not read does not see a close frame either.
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._pipe.abort)

    def _leave(self) -> None:
        self._context.hub.leave(self, self.subscriptions)
        self.subscriptions.clear()
        if self._closing is None:
            self._closing = "gone"

    def _handle(self, data: bytes) -> float:
        """Take one frame; return for how many seconds to read no more."""
        limits = self._context.limits
        self.in_flight += 1
        try:
            op = _decode_json(data) if self._is_text else _decode_msgpack(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as problem:
            self.refuse(self._find_id(data), RejectedError(f"request: {problem}"))
            return self._context.addresses.take(self.address, 1.0)
        wait = self._context.addresses.take(self.address, self._get_cost(op))
        if wait:
            self.refuse(op.id, RateLimitedError("address", wait))
            return wait
        if self.in_flight > limits.in_flight:
            self.refuse(op.id, RateLimitedError("connection", 0.1))
            return 0.1
        match op:
            case PingOp():
                self.answer(op.id, {"clock": self._context.hub.clock})
            case SubscribeOp():
                self._subscribe(op)
            case UnsubscribeOp():
                self._unsubscribe(op)
            case AuthOp():
                self._authenticate(op)
            case _:
                self._context.bridge.submit(OpJob(self, self._context.service, op), self)
        return 0.0

    def _get_cost(self, op: Op) -> float:
        limits = self._context.limits
        match op:
            case BatchOp():
                return float(len(op.items))
            case CancelOp() | CancelAllOp() | DeadManOp():
                return limits.cancel_cost
            case QueryOp():
                is_heavy = isinstance(op.query, DistressedQuery)
                return limits.heavy_cost if is_heavy else limits.query_cost
            case SubscribeOp():
                return limits.query_cost
            case _:
                return 1.0

    def _find_id(self, data: bytes) -> int:
        try:
            return (_id_json if self._is_text else _id_msgpack)(data).id
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
            return 0

    def _authenticate(self, op: AuthOp) -> None:
        if len(self.sessions) >= MAX_SESSIONS and op.account not in self.sessions:
            self.refuse(op.id, RejectedError(f"account: more than {MAX_SESSIONS} sessions"))
            return
        session = SessionFields(op.account, op.key, op.expiry, op.nonce, op.signature)
        self._context.bridge.submit(AuthJob(self, self._context.service, op.id, session), self)

    def _subscribe(self, op: SubscribeOp) -> None:
        if op.channel in self.subscriptions:
            self.refuse(op.id, RejectedError(f"channel: {op.channel} is subscribed already"), op)
            return
        most = self._context.limits.subscriptions
        if len(self.subscriptions) >= most:
            self.refuse(op.id, RejectedError(f"channel: more than {most} subscriptions"), op)
            return
        # Noted at once: a second request for it must not attach twice.
        self.subscriptions.add(op.channel)
        self._context.bridge.submit(SubscribeJob(self, self._context, op), self)

    def _unsubscribe(self, op: UnsubscribeOp) -> None:
        if op.channel not in self.subscriptions:
            self.refuse(op.id, RejectedError(f"channel: {op.channel} is not subscribed"), op)
            return
        self.subscriptions.discard(op.channel)
        self._context.hub.leave(self, (op.channel,))
        self._latest.pop(op.channel, None)
        self.answer(op.id, {"channel": op.channel})

    async def _write(self, send: Send) -> None:
        outgoing, latest, pipe = self._outgoing, self._latest, self._pipe
        try:
            while self._closing is None:
                while outgoing or latest:
                    await pipe.wait()
                    messages = [outgoing.popleft() for _ in range(min(len(outgoing), MAX_WRITE))]
                    self._bytes -= sum(map(len, messages))
                    ready = list(islice(latest, MAX_WRITE - len(messages)))
                    messages.extend(latest.pop(channel) for channel in ready)
                    pipe.write(messages, self._is_text)
                self._wake.clear()
                await self._wake.wait()
            reason = self._closing
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})
        except OSError:
            # The client is gone; the reader finds out, too.
            self._closing = self._closing or "gone"
