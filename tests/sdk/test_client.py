"""Both clients against a real sequencer: what traders do, and what they are told."""

import asyncio
import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from eth_account import Account as EthAccount

from deltaroll.node.api.limits import Limits, Rate
from deltaroll.node.api.messages import MessageKind
from deltaroll.node.events import OrderState
from deltaroll.sdk import channels
from deltaroll.sdk.aio import AsyncClient
from deltaroll.sdk.client import Client
from deltaroll.sdk.drafts import TriggerTerms
from deltaroll.sdk.errors import (
    ClosedError,
    NoSlotError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    RefusedError,
    SlowReaderError,
    UnauthorisedError,
    WrongVenueError,
)
from deltaroll.sdk.link import Frame, Patience
from deltaroll.sdk.reader import Reader
from deltaroll.sdk.rollup import Rollup
from tests.api.support import ADA, BLAISE, SECONDS, serve
from tests.node.support import CASH, GENESIS, INDEX, KEYS, OWNERS, PERP, PRICE, STRANGER, TICK
from tests.sdk.support import QUICK, ROLLUP, make_client


@pytest.fixture
def server():
    with serve() as found:
        yield found


@pytest.fixture(scope="module")
def shared():
    """For tests that leave nothing behind."""
    with serve() as found:
        yield found


def open_client(server, account=ADA, **options):
    given = {"account": account, "patience": QUICK}
    return Client(server.url, ROLLUP, OWNERS[account], **(given | options))


def test_client__many_threads__every_order_has_a_slot_and_an_end(server):
    """Eight threads share one client: orders rest, are replaced, cancelled, matched."""

    def trade(client, place):
        ends = []
        for step in range(6):
            order = client.buy(PERP, PRICE - TICK * (place * 6 + step + 1), 1)
            if step % 2:
                order = client.replace(order, size=2)
            ends.append((order.terms.slot, order.terms.nonce, order.cancel()))
        return ends

    with open_client(server) as client, ThreadPoolExecutor(8) as pool:
        traded = pool.map(lambda place: trade(client, place), range(8))
        found = [end for ends in traded for end in ends]
        assert len({(slot, nonce) for slot, nonce, _ in found}) == 48
        assert {end for *_, end in found} == {OrderState.CANCELLED}
        assert client.orders == []
        assert client.get_account().orders == ()


def test_client__two_traders__fills_positions_margin_and_streams(server):
    with open_client(server) as ada, open_client(server, BLAISE) as blaise:
        trades, book = ada.stream(f"trades.{PERP}"), ada.book(PERP)
        assert trades.next(SECONDS).data.trades == ()
        bid = ada.buy(PERP, PRICE, 3, client_id="mine")
        assert (bid.state, bid.terms.client_id) == (OrderState.RESTING, "mine")
        assert book.wait(bid.order.sequence - 1).best_bid == PRICE
        ask = blaise.sell(PERP, PRICE, 2, time_in_force="ioc")
        assert ask.done(SECONDS) is OrderState.FILLED
        (trade,) = trades.next(SECONDS).data.trades
        assert (trade.price, trade.lots, trade.taker_is_buy) == (PRICE, 2, False)
        assert bid.cancel() is OrderState.CANCELLED
        assert (bid.filled, bid.reason) == (2, "requested")
        assert [(fill.lots, fill.is_maker) for _, fill in bid.order.fills] == [(2, True)]
        assert ada.leaf.positions == ((PERP, 2),)
        assert ada.get_margin().initial > 0
        assert ada.get_ticker(PERP).last_price == PRICE
        assert ada.get_index(INDEX).index == PRICE
        assert book.view.bids == ()
        trades.close()
        book.close()


def test_client__does_all_that_the_asynchronous_one_does():
    words = {
        name
        for name, _ in inspect.getmembers(AsyncClient, inspect.isfunction)
        if not name.startswith("_") and name != "check_receipt"
    }
    assert words <= set(dir(Client))


def test_client__dead_man__is_off_after_the_block(server):
    with open_client(server) as client:
        with client.dead_man(10):
            assert client.get_account().dead_man == GENESIS + 10
        assert client.get_account().dead_man is None
        assert client.get_orders() == []
        assert client.get_book(PERP).bids == client.get_trades(PERP).trades == ()
        assert client.get_market(PERP).leaf == "series"
        assert client.ping() == client.clock == GENESIS
        assert client.find_accounts("0x" + OWNERS[BLAISE].address.hex()) == (2,)
        receipt = client.buy(PERP, PRICE, 1).accepted.receipt
        assert client.get_receipt(receipt.sequence) == receipt


def test_client__its_loop_ends__requests_do_not_wait(shared):
    """`asyncio.run` cancels every task when it is interrupted, the connection's among them."""

    async def work():
        async with make_client(shared, ADA, patience=Patience(answer=60.0)) as client:
            client._link._task.cancel()
            waiting = asyncio.create_task(client.heartbeat(0))
            with pytest.raises(ClosedError, match="loop is ending"):
                await asyncio.wait_for(waiting, SECONDS)
            with pytest.raises(ClosedError):
                await client.cancel_all()

    run(work)


def test_import__of_the_clients__leaves_interrupts_alone():
    """Ape takes SIGINT for itself: then `asyncio.run` does not let a program clean up."""
    code = (
        "import signal, sys\n"
        "import deltaroll.sdk.aio, deltaroll.sdk.client, deltaroll.sdk.rollup\n"
        "assert 'ape' not in sys.modules\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_client__closed__says_so(shared):
    client = open_client(shared)
    with client:
        pass
    with pytest.raises(ClosedError):
        client.get_status()


def test_order__never_done__wait_ends(server):
    with open_client(server) as client:
        order = client.buy(PERP, PRICE, 1)
        with pytest.raises(OutcomeUnknownError, match=r"not done within 0\.05 s"):
            order.done(0.05)
        assert order.cancel() is OrderState.CANCELLED


def run(work):
    return asyncio.run(work())


def test_key__delegated__trades_but_does_not_withdraw(server):
    """The owner names a trading key; the key trades, quotes and cancels, and moves no money."""

    async def work():
        async with make_client(server, ADA) as owner:
            await owner.set_trading_key("0x" + KEYS[ADA].address.hex(), GENESIS + 10**6)
        async with make_client(server, ADA) as owner:
            trader = EthAccount.from_key(KEYS[ADA]._key.secret)
            async with AsyncClient(server.url, ROLLUP, trader, account=ADA, patience=QUICK) as bot:
                order = await bot.buy(PERP, PRICE, 1)
                assert order.state is OrderState.RESTING
                assert await order.cancel() is OrderState.CANCELLED
                with pytest.raises(RefusedError) as caught:
                    await bot.withdraw("1")
                assert caught.value.code == "bad_signature"
                assert (await owner.withdraw("1")).status == "done"

    run(work)


def test_key__of_a_stranger__is_refused_at_once(shared):
    async def work():
        client = AsyncClient(shared.url, ROLLUP, OWNERS[ADA], account=BLAISE, patience=QUICK)
        with pytest.raises(UnauthorisedError, match="may not trade for account 2"):
            await client.open()

    run(work)


def test_key__without_an_account__is_told_when_it_has_one(server):
    """A deposit comes over from L1 while the client waits."""

    async def work():
        client = AsyncClient(server.url, ROLLUP, STRANGER, patience=QUICK)
        async with client:
            assert client.account is None
            with pytest.raises(ValueError, match="account: none of this key is known"):
                await client.buy(PERP, PRICE, 1)
            waiting = asyncio.create_task(client.wait_for_account(0.01))
            await asyncio.to_thread(
                server.call, lambda venue: venue.deposit(STRANGER.address, 0, CASH)
            )
            assert await waiting == client.account == 6
            assert int(client.leaf.cash) == CASH
            assert (await client.buy(PERP, PRICE, 1)).state is OrderState.RESTING

    run(work)


def test_refusal__carries_code_field_value_and_rule(shared):
    async def work():
        async with make_client(shared, ADA) as client:
            with pytest.raises(RefusedError) as caught:
                await client.buy(PERP, PRICE, 1, kind="market")
            problem = caught.value
            assert (problem.code, problem.field) == ("bad_time_in_force", "time_in_force")
            assert problem.rule == str(problem) == "time_in_force: a market order is ioc or fok"
            with pytest.raises(NotFoundError, match="no series 77"):
                await client.get_ticker(77)
            with pytest.raises(NotFoundError, match=r"no channel book\.77"):
                await client.book(77)
            rejected = await client.buy(PERP, PRICE + 1, 1)
            assert (rejected.state, rejected.reason) == (OrderState.REJECTED, "TICK")
            assert await rejected.done() is OrderState.REJECTED
            assert client.orders == []

    run(work)


def test_rate_limit__says_when(server):
    with serve(limits=Limits(account=Rate(2, 0.01))) as limited:

        async def work():
            async with make_client(limited, ADA) as client:
                await client.buy(PERP, PRICE, 1)
                await client.buy(PERP, PRICE, 1)
                with pytest.raises(RateLimitedError) as caught:
                    await client.buy(PERP, PRICE, 1)
                assert caught.value.retry_after > 1
                assert len(client.orders) == 2

        run(work)


def test_slots__all_in_use__is_an_error_and_ends_with_an_order(shared):
    async def work():
        async with make_client(shared, ADA, slots=(7, 8)) as client:
            first = await client.buy(PERP, PRICE, 1)
            await client.buy(PERP, PRICE, 1)
            with pytest.raises(NoSlotError, match="slots: all 2 are in use"):
                await client.buy(PERP, PRICE, 1)
            await first.cancel()
            assert (await client.buy(PERP, PRICE, 1)).terms.slot == 7
            await client.cancel_all()

    run(work)


def test_stop__waits_then_trades__its_owner_knows(server):
    async def work():
        async with make_client(server, ADA) as client:
            stop = TriggerTerms("stop", PRICE - 50)
            order = await client.sell(PERP, PRICE - 100, 1, trigger=stop)
            assert order.state is OrderState.HELD
            told = await client.stream(f"account.{ADA}")
            server.observe(PRICE - 50)
            async for _ in told:
                if order.state is not OrderState.HELD:
                    break
            assert order.state is OrderState.RESTING
            assert await order.cancel() is OrderState.CANCELLED

    run(work)


def test_dead_man__block_ends__switch_is_off(server):
    async def work():
        async with make_client(server, ADA) as client:
            order = await client.buy(PERP, PRICE, 1)
            async with client.dead_man(10):
                assert (await client.get_account()).dead_man == GENESIS + 10
            assert (await client.get_account()).dead_man is None
            await client.heartbeat(10)
            server.call(lambda venue: venue.sequencer.set_clock(GENESIS + 11))
            assert await order.done() is OrderState.CANCELLED
            assert order.reason == "dead_man"

    run(work)


@pytest.mark.parametrize("is_sync", [False, True])
def test_dead_man__exception_ends_the_block__switch_stays_on(server, is_sync):
    class CrashError(Exception):
        pass

    async def work():
        async with make_client(server, ADA) as client:
            with pytest.raises(CrashError):
                async with client.dead_man(10):
                    raise CrashError
            assert (await client.get_account()).dead_man == GENESIS + 10
            with pytest.raises(ValueError, match="seconds: 0 is below 1"):
                async with client.dead_man(0):
                    pass

    if not is_sync:
        run(work)
        return
    with open_client(server) as client:
        for death in (CrashError, KeyboardInterrupt, StopIteration):
            with pytest.raises(death), client.dead_man(10):
                raise death
            assert client.get_account().dead_man == GENESIS + 10
        with client.dead_man(10):
            pass
        assert client.get_account().dead_man is None


def test_session__runs_out__another_one_takes_its_place(server):
    """L1's clock passes the session's end: the channel is followed on, orders can be cancelled."""

    async def work():
        async with make_client(server, ADA) as client:
            order = await client.buy(PERP, PRICE, 1, life=30 * 86_400)
            before = client._session
            server.call(lambda venue: venue.sequencer.set_clock(before.expiry + 1))
            assert await order.cancel() is OrderState.CANCELLED
            assert client._session.expiry > before.expiry

    run(work)


def test_venue__signs_for_another_rollup__is_refused(shared):
    async def work():
        client = Reader(shared.url, Rollup(1, ROLLUP.inbox), patience=QUICK)
        with pytest.raises(WrongVenueError, match="domain: the node signs for 0x"):
            await client.open()

    run(work)


def test_streams__many_at_once_of_one_channel__each_has_the_snapshot(shared):
    """Whoever comes later makes the channel begin again; none of them ends the others'."""

    async def work():
        async with make_client(shared, ADA) as client:
            first = await client.stream(f"trades.{PERP}")
            late = await asyncio.gather(*(client.stream(f"trades.{PERP}") for _ in range(5)))
            for stream in (first, *late):
                message = await asyncio.wait_for(anext(stream), SECONDS)
                assert message.kind is MessageKind.SNAPSHOT
            await client.ping()
            assert all(stream._problem is None for stream in (first, *late))

    run(work)


def test_book__message_lost__begins_again_and_is_never_crossed(server):
    """The node's messages are dropped one time in three between the socket and the book."""

    async def work():
        async with make_client(server, ADA) as ada, make_client(server, BLAISE) as blaise:
            book = await ada.book(PERP)
            seen = []
            book.on_change = seen.append
            take, count = ada._channels.take, 0

            def lossy(frame):
                nonlocal count
                count += frame.channel == f"book.{PERP}"
                if frame.channel != f"book.{PERP}" or count % 3:
                    take(frame)

            ada._channels.take = lossy
            for step in range(30):
                # The market walks: what was bid is offered later.
                price = PRICE + TICK * (step % 7 - 3)
                bid = await ada.buy(PERP, price - TICK, 2)
                ask = await blaise.sell(PERP, price, 2)
                await bid.cancel()
                await ask.cancel()
            ada._channels.take = take
            final = await blaise.sell(PERP, PRICE, 1)
            view = await book.wait(final.sequence - 1)
            assert (view.bids, view.asks) == ((), ((PRICE, 1),))
            assert book.restarts > 3
            for view in seen:
                if view.bids and view.asks:
                    assert view.best_bid < view.best_ask
            assert [view.sequence for view in seen] == sorted(view.sequence for view in seen)

    run(work)


def test_book__crossed_by_the_venue__is_not_readable(shared):
    """A node that says what cannot be is asked again, not believed."""

    async def work():
        async with make_client(shared, ADA) as client:
            book = await client.book(PERP)
            last = client._channels._held[f"book.{PERP}"].last
            wrong = {"bids": [[PRICE, 1]], "asks": [[PRICE, 1]]}
            frame = {"channel": f"book.{PERP}", "kind": "delta", "sequence": last + 1}
            client._channels.take(make_frame(frame | {"previous": last, "data": wrong}))
            with pytest.raises(LookupError, match="waiting for a snapshot"):
                _ = book.view
            assert (await book.wait()).bids == ()

    run(work)


def make_frame(fields):
    return msgspec.json.decode(msgspec.json.encode(fields), type=Frame)


def test_stream__reader_too_slow__ends_with_an_error(server, monkeypatch):
    monkeypatch.setattr(channels, "MAX_WAITING", 3)

    async def work():
        async with make_client(server, ADA) as client:
            stream = await client.stream(f"account.{ADA}")
            for _ in range(3):
                await (await client.buy(PERP, PRICE, 1)).cancel()
            with pytest.raises(SlowReaderError, match="3 messages have piled up"):
                async for _ in stream:
                    pass
            # Others are served on.
            assert await (await client.buy(PERP, PRICE, 1)).cancel() is OrderState.CANCELLED

    run(work)
