"""The WebSocket endpoint: who may connect, and in which format."""

from collections import Counter
from typing import Any

from deltaroll.node.api.connection import Connection, Receive, Send
from deltaroll.node.api.context import Context
from deltaroll.node.api.encoding import Format, encode_json
from deltaroll.node.api.messages import Failed, Problem
from deltaroll.node.api.transport import PIPE


class WebSocketEndpoint:
    """The ASGI application of /v1/ws."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.connections: set[Connection] = set()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one client."""
        context: Context = scope["app"].state.context
        address = scope["client"][0] if scope.get("client") else "local"
        await receive()
        problem = self._find_problem(context, address)
        if problem is not None:
            await refuse(send, problem)
            return
        offered = scope.get("subprotocols", [])
        chosen = next((name for name in offered if name in set(Format)), None)
        if offered and chosen is None:
            known = ", ".join(Format)
            await refuse(send, Problem("bad_subprotocol", f"subprotocol: none of {known}"))
            return
        form = Format.JSON if chosen is None else Format(chosen)
        connection = Connection(context, form, address, scope["state"][PIPE])
        self._counts[address] += 1
        self.connections.add(connection)
        try:
            await send({"type": "websocket.accept", "subprotocol": chosen})
            await connection.serve(receive, send)
        finally:
            self.connections.discard(connection)
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def _find_problem(self, context: Context, address: str) -> Problem | None:
        limits = context.limits
        if len(self.connections) >= limits.connections:
            return Problem("rate_limited", f"server: {limits.connections} clients are connected")
        if self._counts[address] >= limits.connections_per_address:
            most = limits.connections_per_address
            return Problem("rate_limited", f"address: {most} connections are open already")
        wait = context.addresses.take(address, 1.0)
        if wait:
            return Problem("rate_limited", "address: too many requests", retry_after=wait)
        return None


async def refuse(send: Send, problem: Problem) -> None:
    """Answer a handshake with an error."""
    status = 429 if problem.code == "rate_limited" else 400
    headers = [(b"content-type", b"application/json")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": encode_json(Failed(problem))})
