"""Connections that are cut in the middle of orders: none is doubled, none is lost."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from deltaroll.node import client_ids
from deltaroll.node.api.limits import Limits
from deltaroll.node.api.messages import Problem, Status
from deltaroll.node.events import OrderState, OrderUpdate, Step
from deltaroll.node.log import StoreError
from deltaroll.sdk.aio import AsyncClient
from deltaroll.sdk.drafts import Draft
from deltaroll.sdk.errors import OutcomeUnknownError, UnreachableError
from deltaroll.sdk.link import Frame
from deltaroll.sdk.orders import ENDS, NOT_TOLD, Order
from tests.api.support import ADA, BLAISE, Server, serve
from tests.node.support import OWNERS, PERP, PRICE, TICK, Venue
from tests.sdk.support import QUICK, ROLLUP, StoredServer, Wire, make_client

TASKS, ROUNDS = 6, 8


@pytest.fixture
def server():
    with serve() as found:
        yield found


def listen(server: Server) -> list[Step]:
    """What the venue does from now on."""
    steps: list[Step] = []

    def run(venue: Venue) -> None:
        tell = venue.sequencer._listener
        assert tell is not None

        def listener(fresh: Sequence[Step]) -> None:
            steps.extend(fresh)
            tell(fresh)

        venue.sequencer.listen(listener)

    server.call(run)
    return steps


def find_updates(steps: list[Step], account: int) -> list[OrderUpdate]:
    return [
        event
        for step in steps
        for event in step.events
        if isinstance(event, OrderUpdate) and event.account == account
    ]


@pytest.mark.parametrize("seed", range(4))
def test_orders__connection_cut_at_random__each_is_placed_once_and_known(server, seed):
    """
    | who    | does                                                        |
    | blaise | sells a lot of lots at one price                            |
    | ada    | six tasks: rest, take, replace, cancel, batches           |
    | wire   | cuts before or after a piece of traffic, one time in eight  |
    """
    dice = random.Random(seed)
    steps = listen(server)

    async def trade(ada, orders: list[Order]) -> None:
        for _ in range(ROUNDS):
            resting = await ada.buy(PERP, PRICE - TICK * dice.randint(1, 50), 2)
            orders.append(resting)
            orders.append(await ada.buy(PERP, PRICE, 1, time_in_force="ioc"))
            chance = dice.random()
            if chance < 0.3:
                await resting.cancel()
            elif chance < 0.6:
                orders.append(await ada.replace(resting, PRICE - TICK * 60, 3))
            elif chance < 0.8:
                drafts = [Draft(PERP, True, PRICE - TICK * 70, 1) for _ in range(3)]
                placed = await ada.place_all(drafts)
                assert all(isinstance(order, Order) for order in placed)
                orders.extend(placed)

    async def run() -> None:
        async with make_client(server, BLAISE) as blaise, Wire(server.api.port) as wire:
            await blaise.sell(PERP, PRICE, TASKS * ROUNDS)
            async with make_client(wire, ADA) as ada:
                wire.rule = lambda *_: None if dice.random() > 1 / 8 else dice.choice((False, True))
                orders: list[Order] = []
                async with asyncio.TaskGroup() as group:
                    for _ in range(TASKS):
                        group.create_task(trade(ada, orders))
                wire.rule = lambda *_: None
                assert wire.cuts > 3
                await check(ada, orders)

    async def check(ada, orders: list[Order]) -> None:
        # As many as were asked for, each accepted once under its own name.
        first = Counter(
            (update.slot, update.nonce, update.client_id)
            for update in find_updates(steps, ADA)
            if update.state in (OrderState.RESTING, OrderState.FILLED)
            or (update.state is OrderState.CANCELLED and update.reason == "no_liquidity")
        )
        asked = [(*order.key, order.terms.client_id) for order in orders]
        assert len(set(asked)) == len(asked) == len({name for *_, name in asked})
        assert set(first) == set(asked)
        assert not [
            update for update in find_updates(steps, ADA) if update.state is OrderState.REJECTED
        ]
        # What the client has as alive is what the venue has, to the lot.
        await ada.cancel_all(PERP + 1)
        snapshot = await ada.get_account()
        there = {(order.slot, order.nonce): order.remaining for order in snapshot.orders}
        for order in orders:
            if order.key not in there:
                await order.done()
        assert {order.key: order.remaining for order in ada.orders} == there
        held = dict(snapshot.leaf.positions).get(PERP, 0)
        assert sum(order.filled for order in orders) == held == TASKS * ROUNDS
        assert all(order.state in ENDS for order in orders if order.key not in there)
        assert all(
            order.accepted is not None and order.accepted.receipt is not None for order in orders
        )
        assert ada._slots.in_use == len(there)

    asyncio.run(run())


@pytest.mark.parametrize("seed", [1, 2])
def test_transfers__connection_cut_at_random__each_is_done_once(server, seed):
    """A transfer has no name under which it could be asked for: its nonce and its receipt tell."""
    dice = random.Random(seed)
    amount, count = 1_000, 12

    async def run() -> None:
        async with Wire(server.api.port) as wire, make_client(wire, ADA) as ada:
            before = int(ada.leaf.cash)
            wire.rule = lambda *_: None if dice.random() > 1 / 7 else dice.choice((False, True))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ada.transfer(BLAISE, amount)) for _ in range(count)]
            wire.rule = lambda *_: None
            answers = [task.result() for task in tasks]
            assert len({answer.sequence for answer in answers}) == count
            assert all(answer.receipt is not None for answer in answers)
            assert wire.cuts
            leaf = (await ada.get_account()).leaf
            assert (int(leaf.cash), leaf.nonce) == (before - count * amount, count)

    asyncio.run(run())


class Gate:
    """Cuts once, when something passes."""

    def __init__(self, wire: Wire, way: str, goes_through: bool) -> None:
        self.cut = asyncio.Event()
        self._wire, self._way, self._goes_through = wire, way, goes_through
        wire.rule = self

    def __call__(self, way: str, _: bytes) -> bool | None:
        if self.cut.is_set():
            # Nobody comes back before the test says so.
            return False
        if way != self._way:
            return None
        self.cut.set()
        return self._goes_through

    def open(self) -> None:
        self._wire.rule = lambda *_: None


def test_order__answer_lost_and_its_id_forgotten__is_found_to_rest(monkeypatch):
    """
    | who   | does                                          | then                        |
    | ada   | bids                                          | the answer is lost          |
    | ada 2 | other orders, until the venue forgets the id  |                             |
    | ada   | sends the bid again                           | its nonce is used: by itself |
    """
    monkeypatch.setattr(client_ids, "MAX_REMEMBERED", 3)

    async def run(server: Server) -> None:
        other = make_client(server, ADA, slots=range(100, 200))
        wire = Wire(server.api.port)
        async with other, wire, make_client(wire, ADA, slots=range(10)) as ada:
            gate = Gate(wire, "down", goes_through=False)
            placing = asyncio.create_task(ada.buy(PERP, PRICE, 2))
            await gate.cut.wait()
            for place in range(5):
                await other.buy(PERP, PRICE - TICK * (place + 1), 1)
            gate.open()
            order = await placing
            assert (order.state, order.remaining) == (OrderState.RESTING, 2)
            assert await order.cancel() is OrderState.CANCELLED
            assert order.reason == "requested"
            assert ada._slots.in_use == 0
            assert len(other.orders) == 5

    with serve() as server:
        asyncio.run(run(server))


def test_order__answer_lost_and_its_copy_refused_by_rate__is_asked_for_again(server):
    """
    | who   | does                  | then                                              |
    | ada   | bids                  | the answer is lost                                |
    | ada   | sends the bid again   | too many requests: says nothing of the first one  |
    | ada   | and again             | the first answer, with its receipt                |
    """

    async def run() -> None:
        wire = Wire(server.api.port)
        async with wire, make_client(wire, ADA) as ada:
            link = ada._link
            take, refused = link._answer, []

            def answer(number: int, frame: Frame) -> bool:
                pending = link._pending.get(number)
                if pending is not None and pending.is_repeated and len(refused) < 2:
                    refused.append(number)
                    frame = Frame(number, error=Problem("rate_limited", "", retry_after=0.01))
                return take(number, frame)

            link._answer = answer
            gate = Gate(wire, "down", goes_through=False)
            placing = asyncio.create_task(ada.buy(PERP, PRICE, 2))
            await gate.cut.wait()
            gate.open()
            order = await placing
            assert len(refused) == 2
            assert order.state is OrderState.RESTING
            assert order.accepted is not None
            assert [open_.nonce for open_ in await ada.get_orders()] == [order.terms.nonce]
            assert (ada._slots.in_use, link._under_way) == (1, 0)

    asyncio.run(run())


def test_orders__end_while_cut_off_for_long__are_known_to_have_ended():
    """
    | who    | does                                    | ada is told, afterwards            |
    | ada    | rests three bids, is cut off            |                                    |
    | blaise | fills one, half of another              |                                    |
    | ada 2  | cancels the half                        |                                    |
    | market | more than the node remembers            | a snapshot: what is gone has ended |
    """

    async def run(server: Server) -> None:
        async with (
            make_client(server, BLAISE) as blaise,
            make_client(server, ADA, slots=range(100, 200)) as other,
            Wire(server.api.port) as wire,
            make_client(wire, ADA, slots=range(10)) as ada,
        ):
            whole = await ada.buy(PERP, PRICE, 2)
            half = await ada.buy(PERP, PRICE - TICK, 4)
            rests = await ada.buy(PERP, PRICE - 2 * TICK, 1)
            wire.rule = lambda *_: False
            wire.cut()
            await blaise.sell(PERP, PRICE - TICK, 4)
            (seen,) = (order for order in other.orders if order.key == half.key)
            assert await seen.cancel() is OrderState.CANCELLED
            for _ in range(6):
                await (await other.buy(PERP, PRICE - 9 * TICK, 1)).cancel()
            wire.rule = lambda *_: None
            assert await whole.done() is OrderState.FILLED
            assert await half.done() is OrderState.CANCELLED
            assert (half.filled, half.reason) == (2, NOT_TOLD)
            assert ada.orders == [rests]
            assert ada._slots.in_use == 1

    with serve(limits=Limits(ring=2)) as server:
        asyncio.run(run(server))


def test_client__second_run__goes_on_with_nonces_and_orders(server):
    async def run() -> None:
        async with make_client(server, ADA) as ada:
            for place in range(3):
                await ada.buy(PERP, PRICE - TICK * place, 1)
            await (await ada.buy(PERP, PRICE - 9 * TICK, 1)).cancel()
        async with make_client(server, ADA) as ada:
            assert [order.key for order in ada.orders] == [(0, 1), (1, 1), (2, 1)]
            order = await ada.buy(PERP, PRICE - 9 * TICK, 1)
            assert (order.key, order.state) == ((3, 2), OrderState.RESTING)
            for old in ada.orders:
                assert await old.cancel() is OrderState.CANCELLED
            assert (await ada.buy(PERP, PRICE, 1)).key == (0, 2)

    asyncio.run(run())


def test_client__node_restarts__goes_on(tmp_path):
    """What was acknowledged is there, the rest is sent again."""

    async def run(path: Path) -> None:
        first = StoredServer(path, 0)
        port = first.api.port
        try:
            async with make_client(first, ADA) as ada:
                book = await ada.book(PERP)
                order = await ada.buy(PERP, PRICE, 1)
                await asyncio.to_thread(first.close)
                placing = asyncio.create_task(ada.buy(PERP, PRICE - TICK, 1))
                first = await asyncio.to_thread(StoredServer, path, port)
                second = await placing
                assert second.state is OrderState.RESTING
                view = await book.wait(order.sequence)
                assert view.bids == ((PRICE, 1), (PRICE - TICK, 1))
                assert await order.cancel() is OrderState.CANCELLED
                assert ada.orders == [second]
        finally:
            first.close()

    asyncio.run(run(tmp_path / "log.sqlite"))


def test_client__venue_is_silent__gives_up_in_time(server):
    """A request that nobody answers ends for its sender; the order is followed still."""

    async def run() -> None:
        async with Wire(server.api.port) as wire:
            patience = replace(QUICK, answer=0.3)
            async with make_client(wire, ADA, patience=patience) as ada:
                wire.rule = lambda *_: False
                with pytest.raises(OutcomeUnknownError, match=r"no answer within 0\.3 s"):
                    await ada.buy(PERP, PRICE, 1)
                (order,) = ada.orders
                assert order.state is None
                wire.rule = lambda *_: None
                assert await order.cancel() is OrderState.CANCELLED
                assert order.accepted.status is Status.RESTING

    asyncio.run(run())


def test_heartbeat__nobody_answers_in_time__is_not_sent_later(server):
    """What its sender has given up must not take effect when the line is back."""

    async def run() -> None:
        wire = Wire(server.api.port)
        patience = replace(QUICK, answer=0.3)
        async with wire, make_client(wire, ADA, patience=patience) as ada:
            wire.rule = lambda *_: False
            wire.cut()
            with pytest.raises(OutcomeUnknownError):
                await ada.heartbeat(60)
            given_up = asyncio.create_task(ada.cancel_all())
            await asyncio.sleep(0)
            given_up.cancel()
            wire.rule = lambda *_: None
            order = await ada.buy(PERP, PRICE, 1)
            assert (await ada.get_account()).dead_man is None
            assert order.state is OrderState.RESTING

    asyncio.run(run())


def test_order__line_is_dead_without_a_word__heartbeat_notices(server):
    """Nothing is closed, nothing passes: pings without an answer say that it is over."""

    async def run() -> None:
        wire = Wire(server.api.port)
        patience = replace(QUICK, heartbeat=0.1, connect=0.2)
        async with wire, make_client(wire, ADA, patience=patience) as ada:
            wire.knocked.clear()
            wire.is_silent = True
            placing = asyncio.create_task(ada.buy(PERP, PRICE, 1))
            await wire.knocked.wait()
            wire.is_silent = False
            assert (await placing).state is OrderState.RESTING
            assert ada._link.connections > 1

    asyncio.run(run())


def test_order__sequencer_has_stopped__is_not_known_to_be_refused():
    """A node whose sequencer fails says `unavailable`: what became of an order, its log says."""

    async def run(server: Server) -> None:
        async with make_client(server, ADA, patience=replace(QUICK, answer=0.3)) as ada:
            with pytest.raises(StoreError, match="stopped by"):
                await asyncio.to_thread(server.thread.call, lambda _: 1 // 0)
            with pytest.raises(OutcomeUnknownError):
                await ada.buy(PERP, PRICE, 1)
            (order,) = ada.orders
            assert order.state is None
            assert ada._slots.in_use == 1

    with serve() as server:
        asyncio.run(run(server))


def test_open__nobody_there__says_so():
    async def run() -> None:
        patience = replace(QUICK, answer=0.2)
        client = AsyncClient("http://127.0.0.1:9", ROLLUP, OWNERS[ADA], patience=patience)
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
            await client.open()

    asyncio.run(run())
