"""Channels: what is remembered of each, who listens, and how a listener catches up.

All of this lives on the event loop. Every log entry gives at most one message of a channel, so a
book is never seen half changed.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from deltaroll.node.api.encoding import Format, encode
from deltaroll.node.api.messages import ChannelMessage, MessageKind


class Message:
    """A message, encoded once for all who speak the same."""

    __slots__ = ("_encoded", "body")

    def __init__(self, body: ChannelMessage) -> None:
        self.body = body
        self._encoded: dict[Format, bytes] = {}

    def encode(self, form: Format) -> bytes:
        """Return its bytes."""
        encoded = self._encoded.get(form)
        if encoded is None:
            encoded = self._encoded[form] = encode(self.body, form)
        return encoded


class Subscriber(Protocol):
    """Who listens: it never waits."""

    form: Format

    def push(self, data: bytes) -> None:
        """Queue a message."""

    def push_latest(self, channel: str, data: bytes) -> None:
        """Queue a message in place of the one of this channel that still waits."""

    def forget(self, channel: str) -> None:
        """Note that the subscription is over."""


@dataclass(slots=True)
class Channel:
    """One channel."""

    name: str
    base: int
    """Sequence number up to which nothing is remembered."""
    is_latest_only: bool = False
    """A message replaces the one before: who is slow loses nothing that matters."""
    ring: deque[Message] = field(default_factory=deque)
    subscribers: set[Any] = field(default_factory=set)
    idle: int = 0
    """Seconds without a listener."""

    @property
    def last(self) -> int:
        """Sequence number of the newest message."""
        return self.ring[-1].body.sequence if self.ring else self.base

    def publish(self, sequence: int, data: Any, capacity: int) -> None:
        """Send a message to all who listen, and remember it."""
        body = ChannelMessage(self.name, MessageKind.DELTA, sequence, self.last, data)
        message = Message(body)
        ring = self.ring
        if len(ring) >= capacity:
            self.base = ring.popleft().body.sequence
        ring.append(message)
        self.send(message)

    def send(self, message: Message) -> None:
        """Send a message to all who listen."""
        for subscriber in tuple(self.subscribers):
            encoded = message.encode(subscriber.form)
            if self.is_latest_only:
                subscriber.push_latest(self.name, encoded)
            else:
                subscriber.push(encoded)

    def attach(self, subscriber: Subscriber, sequence: int, data: Any, after: int | None) -> None:
        """Let somebody listen from now on.

        Parameters
        ----------
        sequence
            Of the log, when `data` was taken.
        data
            The snapshot.
        after
            The last message that the subscriber has seen; None: it is new.
        """
        kind = MessageKind.SNAPSHOT
        if after is not None:
            if self.base <= after <= self.last and not self.is_latest_only:
                self._send_from(subscriber, after)
                self.subscribers.add(subscriber)
                return
            kind = MessageKind.RESYNC
        reached = self.base
        for message in self.ring:
            if message.body.sequence > sequence:
                break
            reached = message.body.sequence
        body = ChannelMessage(self.name, kind, reached, reached, data)
        subscriber.push(encode(body, subscriber.form))
        self._send_from(subscriber, reached)
        self.subscribers.add(subscriber)

    def _send_from(self, subscriber: Subscriber, after: int) -> None:
        for message in self.ring:
            if message.body.sequence > after:
                subscriber.push(message.encode(subscriber.form))

    def close(self, subscriber: Subscriber) -> None:
        """Send nothing more."""
        self.subscribers.discard(subscriber)
