"""A client of the API for load: many requests under way, channels checked as they come."""

import asyncio
import time
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from deltaroll.node.api.encoding import Format
from deltaroll.node.api.sessions import hash_session
from deltaroll.protocol.eip712 import compute_digest
from deltaroll.sdk.signing import Signer
from tests.soak.verdict import Traffic

SESSION_LIFE = 6 * 3_600


class Books:
    """Follows channels: nothing may be missing, no book crossed."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._last: dict[str, int] = {}
        self._books: dict[str, tuple[dict[int, int], dict[int, int]]] = {}

    def take(self, message: dict[str, Any]) -> None:
        """Check a message."""
        channel, kind = message["channel"], message["kind"]
        if kind == "closed":
            self._traffic.broken.append(f"{channel} was closed: {message['data']}")
            return
        if kind == "margin" or channel.startswith("ticker."):
            return
        if kind == "delta" and message["previous"] != self._last.get(channel):
            number = message["sequence"]
            self._traffic.broken.append(f"{channel}: a message before {number} is lost")
        self._last[channel] = message["sequence"]
        if channel.startswith("book."):
            self._take_book(channel, kind, message["data"])

    def _take_book(self, channel: str, kind: str, data: dict[str, Any]) -> None:
        if kind != "delta":
            self._books[channel] = ({}, {})
        bids, asks = self._books[channel]
        for side, levels in ((bids, data["bids"]), (asks, data["asks"])):
            for price, lots in levels:
                if lots:
                    side[price] = lots
                else:
                    side.pop(price, None)
        if bids and asks and max(bids) >= min(asks):
            self._traffic.broken.append(f"{channel} is crossed")

    def forget(self, channel: str) -> int | None:
        """Return the last sequence number of a channel, to resume from."""
        return self._last.get(channel)


class Client:
    """One WebSocket."""

    def __init__(self, socket: ClientConnection, domain: bytes, traffic: Traffic) -> None:
        self._socket = socket
        self._domain = domain
        self._traffic = traffic
        self._next = 0
        self._open: dict[int, tuple[asyncio.Future[dict[str, Any]], float]] = {}
        self.books = Books(traffic)
        self.is_closing = False
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int, domain: bytes, traffic: Traffic) -> "Client":
        """Connect."""
        url = f"ws://127.0.0.1:{port}/v1/ws"
        names = [Subprotocol(Format.MSGPACK)]
        socket = await connect(url, subprotocols=names, compression=None, max_size=None)
        return cls(socket, domain, traffic)

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Return the answer."""
        self._next += 1
        number = self._next
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._open[number] = (future, time.perf_counter())
        await self._socket.send(msgspec.msgpack.encode({"op": op, "id": number, **fields}))
        return await asyncio.wait_for(future, 30)

    async def do(self, what: str, op: str, /, **fields: Any) -> dict[str, Any] | None:
        """Ask and count; return the result, None when it was refused."""
        answer = await self.ask(op, **fields)
        error = answer.get("error")
        if error is not None:
            self._traffic.refuse(error["code"])
            return None
        result: dict[str, Any] = answer["result"]
        if isinstance(result, dict) and result.get("status") == "rejected":
            self._traffic.refuse(result["reason"].lower())
            return result
        self._traffic.count(what)
        return result

    async def login(self, account: int, signer: Signer, clock: int) -> None:
        """Open a session."""
        expiry = clock + SESSION_LIFE
        digest = compute_digest(self._domain, hash_session(account, signer.address, expiry, 1))
        done = await self.do(
            "auth",
            "auth",
            account=account,
            key="0x" + signer.address.hex(),
            expiry=expiry,
            nonce=1,
            signature="0x" + signer.sign(digest).hex(),
        )
        if done is None:
            self._traffic.broken.append(f"account {account} could not log in")

    async def close(self) -> None:
        """Hang up."""
        self.is_closing = True
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        try:
            async for data in self._socket:
                assert isinstance(data, bytes)
                message = msgspec.msgpack.decode(data)
                if "channel" in message:
                    self.books.take(message)
                    continue
                future, sent = self._open.pop(message["id"])
                self._traffic.latencies.append(time.perf_counter() - sent)
                if not future.done():
                    future.set_result(message)
        except ConnectionClosed:
            pass
        if not self.is_closing:
            self._traffic.broken.append("a connection was lost")
