"""Channels that are followed across reconnects: resumed where possible, begun again where not."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from deltaroll.node.api.data import AccountDelta
from deltaroll.node.api.documents import CHANNELS
from deltaroll.node.api.messages import ChannelMessage, MessageKind, Problem
from deltaroll.sdk.errors import (
    RefusedError,
    SdkError,
    SlowReaderError,
    UnauthorisedError,
    UnreachableError,
    to_error,
)
from deltaroll.sdk.link import PASSING, Frame, Keeping, Link

MAX_WAITING = 10_000
"""Messages of a stream that wait for its reader."""
BEGINNINGS = (MessageKind.SNAPSHOT, MessageKind.RESYNC)
_decoders = {
    name.partition(".")[0]: msgspec.json.Decoder(kinds[0]).decode
    for name, (_, kinds) in CHANNELS.items()
}
"""Of what a channel's snapshot holds; but for an account's, a delta holds the same."""
_decode_delta = msgspec.json.Decoder(AccountDelta).decode
_decode_problem = msgspec.json.Decoder(Problem).decode

Listener = Callable[[ChannelMessage | SdkError], None]
"""Takes each message in order, or the error that has ended the channel. It must not raise."""


def decode_message(frame: Frame) -> ChannelMessage:
    """Return a channel's message with typed data."""
    assert frame.channel is not None
    assert frame.kind is not None
    name = frame.channel.partition(".")[0]
    data: Any
    if frame.kind is MessageKind.CLOSED:
        data = _decode_problem(frame.data)
    elif name == "account" and frame.kind not in BEGINNINGS:
        data = _decode_delta(frame.data)
    else:
        data = _decoders[name](frame.data)
    return ChannelMessage(frame.channel, frame.kind, frame.sequence, frame.previous, data)


class Subscription:
    """A channel that somebody here listens to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.listeners: list[Listener] = []
        self.last: int | None = None
        """Sequence number of the last message; None: there was none, or it is not to be resumed."""
        self.is_live = False
        """False: messages before the next snapshot belong to what is not followed any more."""
        self.connection = 0
        """Number of the connection on which it is subscribed; 0: none."""
        self.gaps = 0
        """How often messages were missing."""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.turn = asyncio.Lock()
        """Of who subscribes: two at a time would refuse each other."""

    @property
    def is_latest_only(self) -> bool:
        """Whether only the newest message counts: some are left out on purpose."""
        return self.name.startswith("ticker.")


class Channels:
    """All channels of a client."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._held: dict[str, Subscription] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, name: str, listener: Listener) -> Subscription:
        """Follow a channel. Its first message is a snapshot; who listens already gets that, too.

        Raises
        ------
        RefusedError
            When there is no such channel for this client.
        """
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = Subscription(name)
            held.listeners.append(listener)
            self._spawn(self._begin(held))
        else:
            held.listeners.append(listener)
            self.restart(held)
        try:
            await asyncio.shield(held.opened)
        except BaseException:
            self.leave(name, listener)
            raise
        return held

    def leave(self, name: str, listener: Listener) -> None:
        """Stop listening; the channel ends with its last listener."""
        held = self._held.get(name)
        if held is None or listener not in held.listeners:
            return
        held.listeners.remove(listener)
        if not held.listeners:
            del self._held[name]
            self._spawn(self._quietly("unsubscribe", name))

    async def resume(self) -> None:
        """Subscribe again on a new connection, from the last messages seen.

        Raises
        ------
        UnreachableError
            When that connection is lost, too.
        """
        for held in list(self._held.values()):
            async with held.turn:
                if held.connection != self._link.connections:
                    await self._subscribe(held)

    def suspend(self) -> None:
        """Note that the connection is lost."""
        for held in self._held.values():
            held.is_live = False

    def take(self, frame: Frame) -> None:
        """Take a message from the node."""
        held = self._held.get(frame.channel or "")
        if held is None:
            return
        message = decode_message(frame)
        if message.kind is MessageKind.CLOSED:
            held.is_live = False
            if message.data.code == "unauthorised":
                # The session has run out: another connection begins with a new one.
                self._link.drop()
            else:
                self._end(held, to_error(message.data))
        elif message.kind in BEGINNINGS:
            held.is_live = True
            held.last = message.sequence
            self._tell(held, message)
            if not held.opened.done():
                held.opened.set_result(None)
        elif not held.is_live:
            return
        elif message.kind is MessageKind.MARGIN:
            self._tell(held, message)
        elif message.previous != held.last and not held.is_latest_only:
            held.gaps += 1
            self.restart(held)
        else:
            held.last = message.sequence
            self._tell(held, message)

    def restart(self, held: Subscription) -> None:
        """Ask for a snapshot; nothing before it counts."""
        held.is_live = False
        held.last = None
        self._spawn(self._begin_again(held))

    def close(self, problem: SdkError) -> None:
        """Tell everybody that it is over."""
        for task in self._tasks:
            task.cancel()
        for held in list(self._held.values()):
            self._end(held, problem)

    def _tell(self, held: Subscription, message: ChannelMessage | SdkError) -> None:
        for listener in tuple(held.listeners):
            listener(message)

    def _end(self, held: Subscription, problem: SdkError) -> None:
        self._held.pop(held.name, None)
        if held.opened.done():
            self._tell(held, problem)
        else:
            held.opened.set_exception(problem)
            held.opened.exception()

    async def _begin(self, held: Subscription) -> None:
        async with held.turn:
            await self._subscribe(held)

    async def _begin_again(self, held: Subscription) -> None:
        async with held.turn:
            await self._quietly("unsubscribe", held.name)
            if self._held.get(held.name) is held:
                # A turn before this one may have set what it was resumed from.
                held.is_live, held.last = False, None
                await self._subscribe(held)

    async def _subscribe(self, held: Subscription) -> None:
        fields: dict[str, Any] = {"channel": held.name}
        if held.last is not None and not held.is_latest_only:
            fields["after"] = held.last
            # Nothing of it comes on this connection before it is asked for.
            held.is_live = True
        held.connection = self._link.connections
        try:
            await self._link.ask("subscribe", fields, Keeping.HERE)
        except UnreachableError:
            held.connection = 0
            raise
        except PASSING:
            # A channel that is not followed does no good: begin with another connection.
            self._link.drop()
            raise
        except RefusedError as problem:
            if isinstance(problem, UnauthorisedError) and held.opened.done():
                raise
            if self._held.get(held.name) is held:
                self._end(held, problem)

    async def _quietly(self, op: str, name: str) -> None:
        try:
            await self._link.ask(op, {"channel": name}, Keeping.HERE)
        except RefusedError:
            # It is not subscribed on this connection.
            return

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # With the connection it is lost, and made up for on the next one.
            task.exception()


class Stream(AsyncIterator[ChannelMessage]):
    """A channel's messages, one after the other: `async for message in stream`."""

    def __init__(self, channels: Channels, name: str) -> None:
        self.name = name
        self._channels = channels
        self._waiting: deque[ChannelMessage] = deque()
        self._wake = asyncio.Event()
        self._problem: SdkError | None = None
        self._is_closed = False

    async def open(self) -> "Stream":
        """Subscribe; raises like `Channels.listen`."""
        await self._channels.listen(self.name, self._take)
        return self

    async def __anext__(self) -> ChannelMessage:
        """Return the next message.

        Raises
        ------
        SlowReaderError
            When too many have piled up.
        SdkError
            What else has ended the channel.
        """
        while not self._waiting:
            if self._problem is not None:
                raise self._problem
            if self._is_closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()

    def close(self) -> None:
        """Unsubscribe; what waits can still be read."""
        self._is_closed = True
        self._channels.leave(self.name, self._take)
        self._wake.set()

    def _take(self, message: ChannelMessage | SdkError) -> None:
        if isinstance(message, SdkError):
            self._problem = message
        elif len(self._waiting) >= MAX_WAITING:
            self._waiting.clear()
            self._problem = SlowReaderError(f"{self.name}: {MAX_WAITING} messages have piled up")
            self._channels.leave(self.name, self._take)
        else:
            self._waiting.append(message)
        self._wake.set()
