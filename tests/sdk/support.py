"""A venue on loopback for the clients, and a wire between them that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deltaroll.node.api.server import ApiServer
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.server import SequencerThread
from deltaroll.node.store import Store
from deltaroll.protocol.types import AccountId
from deltaroll.sdk.aio import AsyncClient
from deltaroll.sdk.link import Patience
from deltaroll.sdk.rollup import Rollup
from tests.api.support import RECEIPT_KEY, SECONDS, Server
from tests.node.support import DOMAIN, OWNERS, Venue

ROLLUP = Rollup(1337, "0x" + "11" * 20)
"""Of the test venues' domain."""
QUICK = Patience(answer=SECONDS, first_retry=0.005, last_retry=0.05)
CHUNK = 1 << 16


class Wire:
    """Passes bytes on between clients and a node, until it is told to cut.

    `rule` sees every piece that passes, with its direction, and says whether the connection is cut
    before the piece (False), after it (True), or not at all (None).
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server: asyncio.Server | None = None
        self.rule: Callable[[str, bytes], bool | None] = lambda *_: None
        self.cuts = 0
        self.is_silent = False
        """Nothing passes, and nobody is told."""
        self.knocked = asyncio.Event()
        """Somebody has connected."""
        self._connections: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._serve, sock=self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._serving)

    def cut(self) -> None:
        """Cut all connections."""
        for writer in self._connections:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.knocked.set()
        there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._connections |= {writer, back}
        passing = [
            asyncio.create_task(self._pass("up", reader, back)),
            asyncio.create_task(self._pass("down", there, writer)),
        ]
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        for task in passing:
            task.cancel()
        for end in (writer, back):
            end.transport.abort()
        self._connections -= {writer, back}
        self._serving.discard(task)

    async def _pass(
        self, way: str, source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(CHUNK):
                if self.is_silent:
                    continue
                verdict = self.rule(way, piece)
                if verdict is not False:
                    target.write(piece)
                    await target.drain()
                if verdict is not None:
                    self.cuts += 1
                    return


class StoredServer:
    """A venue whose log is a file, behind an API on one port."""

    def __init__(self, path: Path, port: int) -> None:
        is_new = not path.exists()

        def open_sequencer() -> Sequencer:
            venue = Venue(Store(path, DOMAIN))
            venue.sequencer.receipt_key = RECEIPT_KEY
            return (venue.open() if is_new else venue).sequencer

        self.thread = SequencerThread(open_sequencer)
        self.api = ApiServer(self.thread, port)
        self.url = f"http://127.0.0.1:{self.api.port}"

    def close(self) -> None:
        self.api.close()
        self.thread.close()


def make_client(
    target: Server | StoredServer | Wire, account: AccountId, **options: Any
) -> AsyncClient:
    """A client of an account's owner. A wire has to be there when the client is opened."""
    given: dict[str, Any] = {"account": account, "patience": QUICK}
    return AsyncClient(target.url, ROLLUP, OWNERS[account], **(given | options))
