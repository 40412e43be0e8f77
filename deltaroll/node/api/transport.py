"""The sockets under the API: how many may be open, and for how long without saying anything."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from struct import pack

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from deltaroll.node.api.limits import Limits

log = structlog.get_logger(__name__)

PIPE = "deltaroll.pipe"
"""Name of a connection's `Pipe` in its scope."""
TEXT, BINARY = 0x81, 0x82
"""First byte of a frame that is a whole message."""
REQUEST_SECONDS = 10.0
"""For the head of a request, from its first byte or from connecting."""
SPARE = 2
"""Sockets per connection that the API allows: some are only being refused."""


def make_head(first: int, length: int) -> bytes:
    """Return what stands before a server's frame (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return pack("!BBH", first, 126, length)
    return pack("!BBQ", first, 127, length)


class Pipe:
    """What a client is sent through: many messages at a time, unlike ASGI's one."""

    def __init__(self, protocol: WebSocketsSansIOProtocol) -> None:
        self._protocol = protocol
        self.abort = protocol.transport.abort
        """Hangs up at once, whatever still waits to be sent."""

    async def wait(self) -> None:
        """Wait until the client has taken enough; ConnectionError when it is gone."""
        protocol = self._protocol
        await protocol.writable.wait()
        if protocol.disconnected or protocol.close_sent or protocol.transport.is_closing():
            raise ConnectionError("the client is gone")

    def write(self, messages: Sequence[bytes], is_text: bool) -> None:
        """Send messages, one frame each."""
        first = TEXT if is_text else BINARY
        parts: list[bytes] = []
        for message in messages:
            parts.append(make_head(first, len(message)))
            parts.append(message)
        self._protocol.transport.write(b"".join(parts))


class Doorkeeper:
    """Counts open sockets."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._counts: Counter[str] = Counter()
        self._total = 0

    def enter(self, address: str) -> bool:
        """Count a socket; return whether there is room for it."""
        self._total += 1
        self._counts[address] += 1
        limits = self._limits
        return (
            self._total <= SPARE * limits.connections
            and self._counts[address] <= SPARE * limits.connections_per_address
        )

    def leave(self, address: str) -> None:
        """Count a socket no more."""
        self._total -= 1
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]


def make_protocols(
    limits: Limits,
) -> tuple[type[asyncio.Protocol], type[asyncio.Protocol]]:
    """Return uvicorn's protocols, HTTP and WebSocket, with one doorkeeper for both."""
    doorkeeper = Doorkeeper(limits)

    class Http(H11Protocol):
        """HTTP that does not wait for ever."""

        _deadline: asyncio.TimerHandle | None = None
        _address = ""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Let somebody in, or not."""
            super().connection_made(transport)
            self._address = self.client[0] if self.client else ""
            if doorkeeper.enter(self._address):
                self._arm()
            else:
                log.warning("socket_turned_away", address=self._address)
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            """Count one less."""
            self._disarm()
            doorkeeper.leave(self._address)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            """Take bytes; the head of a request has to be complete in time."""
            if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
                self._arm()
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:
                self._disarm()

        def handle_websocket_upgrade(self, event: object) -> None:
            """Hand the socket over; it is counted still."""
            self._disarm()
            super().handle_websocket_upgrade(event)  # type: ignore[arg-type]

        def _arm(self) -> None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    class Socket(WebSocketsSansIOProtocol):
        """WebSocket, with a pipe of our own."""

        def connection_lost(self, exc: Exception | None) -> None:
            """Count one less."""
            doorkeeper.leave(self.client[0] if self.client else "")
            super().connection_lost(exc)

        async def run_asgi(self) -> None:
            """Run the application."""
            self.scope["state"][PIPE] = Pipe(self)
            await super().run_asgi()

    return Http, Socket
