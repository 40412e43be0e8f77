"""Traders that keep a sequencer busy and remember every word that it said."""

import random
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from websockets.exceptions import ConnectionClosed

from deltaroll.protocol.types import AccountId, Order, SlotId, TimeInForce
from tests.api.support import Client, make_session, to_fields
from tests.node.support import GENESIS, OWNERS, PERP, PRICE, TICK, TWIN, make_order

WINDOW = 24
"""Requests of one trader that wait for an answer at a time."""
SLOTS = 6
LIFE = 500_000
"""Seconds of sessions and orders: longer than all of it."""


@dataclass
class Asked:
    """An order that a trader has sent, and what it heard."""

    client_id: str
    slot: SlotId
    order: Order
    fields: dict[str, Any]
    answer: dict[str, Any] | None = None
    refusal: dict[str, Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody knows what became of it."""
        return self.answer is None and self.refusal is None


@dataclass
class Trader:
    """One account. It numbers its orders from the beginning, whatever happens to the sequencer."""

    account: AccountId
    dice: random.Random
    asked: dict[str, Asked] = field(default_factory=dict)
    cancels: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Slot and answer of cancellations that were acknowledged."""
    nonces: dict[int, int] = field(default_factory=dict)
    problem: BaseException | None = None
    resent: int = 0
    answers: int = 0
    refused: int = 0
    """Answers that the sequencer has stopped."""

    def start(self, port: int) -> Thread:
        """Trade until the sequencer is gone."""
        thread = Thread(target=self._run, args=(port,))
        thread.start()
        return thread

    def _run(self, port: int) -> None:
        try:
            self.trade(port)
        except (ConnectionClosed, OSError, EOFError):
            # It was killed.
            return
        except BaseException as problem:  # noqa: BLE001 (whoever waits for this thread raises it)
            self.problem = problem

    def trade(self, port: int) -> None:
        """Ask again for what was never answered, then for ever more."""
        with Client(port) as client:
            client.do("auth", **make_session(self.account, LIFE))
            waiting: dict[int, Asked | int] = {}
            for asked in [one for one in self.asked.values() if one.is_open]:
                waiting[client.send("order", **asked.fields)] = asked
                self.resent += 1
            while True:
                while len(waiting) < WINDOW:
                    number, request = self._ask(client)
                    waiting[number] = request
                message = client.receive()
                self._hear(waiting.pop(message["id"]), message)

    def _ask(self, client: Client) -> tuple[int, Asked | int]:
        slot = SlotId(self.dice.randrange(SLOTS))
        if self.dice.random() < 0.05:
            return client.send("cancel", account=self.account, slot=slot), slot
        asked = self._make_order(slot)
        # It is remembered before it is sent: it may arrive whatever happens here.
        self.asked[asked.client_id] = asked
        return client.send("order", **asked.fields), asked

    def _make_order(self, slot: SlotId) -> Asked:
        dice = self.dice
        nonce = self.nonces[slot] = self.nonces.get(slot, 0) + 1
        order = make_order(
            PRICE + dice.randint(-4, 4) * TICK,
            dice.randint(1, 4),
            is_buy=dice.random() < 0.5,
            market=dice.choice((PERP, PERP, TWIN)),
            nonce=nonce,
            expiry=GENESIS + LIFE,
            time_in_force=dice.choice((*[TimeInForce.GTC] * 3, TimeInForce.IOC, TimeInForce.FOK)),
        )
        client_id = f"{self.account}-{len(self.asked)}"
        terms: dict[str, Any] = {"client_id": client_id}
        if dice.random() < 0.05:
            level = PRICE + dice.randint(-3, 3) * TICK
            terms["trigger"] = {"kind": "stop", "level": level, "source": "index"}
        fields = to_fields(self.account, slot, order, OWNERS[self.account], **terms)
        return Asked(client_id, slot, order, fields)

    def _hear(self, request: Asked | int, message: dict[str, Any]) -> None:
        self.answers += 1
        self.refused += "sequencer: stopped" in str(message.get("error"))
        if isinstance(request, Asked):
            request.answer = message.get("result")
            request.refusal = message.get("error")
        elif "result" in message:
            self.cancels.append((request, message["result"]))
