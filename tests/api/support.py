"""A venue behind a real API server on loopback, and a client that speaks raw WebSocket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from websockets.sync.client import ClientConnection, connect

from deltaroll.node.api.encoding import Format
from deltaroll.node.api.limits import Limits
from deltaroll.node.api.server import ApiServer
from deltaroll.node.api.sessions import hash_session
from deltaroll.node.readmodel.database import get_default_url
from deltaroll.node.readmodel.historian import Historian
from deltaroll.node.readmodel.projector import Projector
from deltaroll.node.readmodel.reader import Reader
from deltaroll.node.receipts import make_receipt_key
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.server import SequencerThread
from deltaroll.node.store import MEMORY
from deltaroll.protocol.eip712 import compute_digest
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import AccountId, Order, SlotId, TimeInForce
from deltaroll.sdk.receipts import verify_receipt
from deltaroll.sdk.signing import Signer
from tests.node.support import DOMAIN, GENESIS, OWNERS, Recorder, Venue

RECEIPT_KEY = make_receipt_key(keccak(b"deltaroll test receipt key"))
ADA, BLAISE, CARL = AccountId(1), AccountId(2), AccountId(3)
SECONDS = 30.0
"""Until a test gives up waiting."""
NAMES = {TimeInForce.GTC: "gtc", TimeInForce.IOC: "ioc", TimeInForce.FOK: "fok"}


class Server:
    """A venue with an API."""

    def __init__(
        self, start: Callable[[Venue], Venue], limits: Limits | None, folder: Path | None = None
    ) -> None:
        """`folder`: where a log and a history are kept; None: there is no history."""
        path = MEMORY if folder is None else folder / "log.sqlite"
        self.projector: Projector | None = None
        self.reader: Reader | None = None
        if folder is not None:
            url = get_default_url(folder / "log.sqlite")
            spill = folder / "spill"
            log = folder / "log.sqlite"
            self.projector = Projector(lambda: Historian(url, DOMAIN, log), spill)
            self.reader = Reader(url)

        def open_sequencer() -> Sequencer:
            listener = None if self.projector is None else self.projector.listen
            self.venue = start(Venue(Recorder(path), listener=listener))
            self.venue.sequencer.receipt_key = RECEIPT_KEY
            return self.venue.sequencer

        self.thread = SequencerThread(open_sequencer)
        self.api = ApiServer(self.thread, limits=limits, history=self.reader)
        self.url = f"http://127.0.0.1:{self.api.port}"

    def call(self, function: Callable[[Venue], Any]) -> Any:
        """Do something to the venue, as L1 or the oracle would."""

        def run(sequencer: Sequencer) -> Any:
            result = function(self.venue)
            sequencer.flush()
            return result

        return self.thread.call(run)

    def observe(self, price: int) -> None:
        """A second later the oracle sees a price."""

        def run(venue: Venue) -> None:
            venue.sequencer.set_clock(venue.sequencer.clock + 1)
            venue.observe(price)

        self.call(run)

    def connect(self, form: Format = Format.JSON) -> Client:
        return Client(self.api.port, form)

    def close(self) -> None:
        self.api.close()
        self.thread.close()
        if self.projector is not None and self.reader is not None:
            self.projector.close()
            self.reader.close()


@contextmanager
def serve(
    start: Callable[[Venue], Venue] = Venue.open,
    limits: Limits | None = None,
    folder: Path | None = None,
) -> Iterator[Server]:
    server = Server(start, limits, folder)
    try:
        yield server
    finally:
        server.close()


class Client:
    """Sends requests; keeps answers and channel messages apart."""

    def __init__(self, port: int, form: Format = Format.JSON) -> None:
        self.form = form
        self.socket: ClientConnection = connect(
            f"ws://127.0.0.1:{port}/v1/ws", subprotocols=[form], compression=None, max_size=None
        )
        self.messages: list[dict[str, Any]] = []
        self._next = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, op: str, **fields: Any) -> int:
        self._next += 1
        body = {"op": op, "id": self._next, **fields}
        if self.form is Format.JSON:
            self.socket.send(json.dumps(body))
        else:
            self.socket.send(msgspec.msgpack.encode(body))
        return self._next

    def receive(self) -> dict[str, Any]:
        data = self.socket.recv(SECONDS)
        if isinstance(data, str):
            return json.loads(data)
        return msgspec.msgpack.decode(data)

    def wait(self, request: int) -> dict[str, Any]:
        """The answer to a request; whatever else comes meanwhile is kept."""
        for place, message in enumerate(self.messages):
            if message.get("id") == request:
                return self.messages.pop(place)
        while (message := self.receive()).get("id") != request:
            self.messages.append(message)
        return message

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return self.wait(self.send(op, **fields))

    def do(self, op: str, **fields: Any) -> Any:
        """The result of a request that is not refused."""
        answer = self.ask(op, **fields)
        assert "error" not in answer, answer
        return answer["result"]

    def refused(self, op: str, **fields: Any) -> dict[str, Any]:
        """The error of a request that is refused."""
        answer = self.ask(op, **fields)
        assert "error" in answer, answer
        return answer["error"]

    def next(self, channel: str) -> dict[str, Any]:
        """The next message of a channel."""
        for place, message in enumerate(self.messages):
            if message.get("channel") == channel:
                return self.messages.pop(place)
        while (message := self.receive()).get("channel") != channel:
            self.messages.append(message)
        return message

    def subscribe(self, channel: str, **fields: Any) -> dict[str, Any]:
        """Subscribe and return the first message."""
        self.do("subscribe", channel=channel, **fields)
        return self.next(channel)

    def login(self, account: AccountId, life: int = 3_600, signer: Signer | None = None) -> None:
        self.do("auth", **make_session(account, life, signer))

    def place(self, account: AccountId, slot: int, order: Order, **terms: Any) -> dict[str, Any]:
        return self.do("order", **to_fields(account, slot, order, **terms))


def make_session(
    account: AccountId, life: int = 3_600, signer: Signer | None = None, nonce: int = 1
) -> dict[str, Any]:
    signer = OWNERS[account] if signer is None else signer
    expiry = GENESIS + life
    struct_hash = hash_session(account, signer.address, expiry, nonce)
    return {
        "account": account,
        "key": "0x" + signer.address.hex(),
        "expiry": expiry,
        "nonce": nonce,
        "signature": "0x" + signer.sign(compute_digest(DOMAIN, struct_hash)).hex(),
    }


def to_fields(
    account: AccountId, slot: int, order: Order, signer: Signer | None = None, **terms: Any
) -> dict[str, Any]:
    """An order as it is sent."""
    signer = OWNERS[account] if signer is None else signer
    signature = signer.sign_order(DOMAIN, account, SlotId(slot), order)
    return {
        "account": account,
        "slot": slot,
        "market": order.market,
        "is_buy": order.is_buy,
        "price": order.price,
        "size": order.size,
        "nonce": order.nonce,
        "epoch": order.epoch,
        "expiry": order.expiry,
        "time_in_force": NAMES[order.time_in_force],
        "post_only": order.post_only,
        "reduce_only": order.reduce_only,
        "signature": "0x" + signature.hex(),
        **terms,
    }


def check_receipt(body: dict[str, Any], subject: bytes, key: str | None = None) -> None:
    """Checked offline: from the answer alone and the sequencer's address."""
    signer = RECEIPT_KEY.address if key is None else bytes.fromhex(key[2:])
    verify_receipt(DOMAIN, signer, subject, body)
