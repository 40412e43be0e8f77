"""Every example is run as it is printed, against a real L1 and a real node."""

import asyncio
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from deltaroll.demo.venue import INDEX, PERPETUAL
from deltaroll.l1.types import Stage
from deltaroll.sdk.aio import AsyncClient
from deltaroll.sdk.client import Client
from deltaroll.sdk.reader import Reader
from deltaroll.sdk.signing import Signer
from tests.examples.live import (
    EXAMPLES,
    FUNDS,
    MAKER,
    PRICE,
    ROOT,
    TAKER,
    LiveVenue,
    finish,
    to_hex,
)
from tests.node.support import make_signer
from tests.sdk.support import QUICK

BLOCK = re.compile(r"```python\n(.*?)```\n\n```\n(.*?)```", re.DOTALL)
DEPOSIT, WITHDRAWN = 10_000 * 10**6, 9_000 * 10**6
WINDOW = 7 * 86_400
SECONDS = 25.0


def read_first_order() -> tuple[str, str]:
    """The code in the README, and what it says that it prints."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## A first order") :]
    found = BLOCK.search(section)
    assert found is not None
    return found[1], found[2]


def test_readme__first_order__does_what_is_printed(live: LiveVenue):
    code, printed = read_first_order()
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    # The price that the page for traders begins with.
    live.thread.call(lambda sequencer: sequencer.set_clock(sequencer.clock + 1))
    options = ("--api", live.url, "--registry", live.registry, "--market", INDEX)
    price = ("--price", "6000.00", "--once")
    finish(live.run(TAKER, "python", EXAMPLES / "oracle.py", *options, *price))
    assert live.thread.call(lambda sequencer: sequencer.state.markets[INDEX].index) == PRICE
    path = live.folder / "first_order.py"
    path.write_text(code)
    said = finish(live.run(TAKER, "python", path))
    # Only the signature is another one each time.
    shape = re.escape(printed.strip()).replace("…", "[0-9a-f]+")
    assert re.fullmatch(shape, said.strip()), said
    page = (ROOT / "docs" / "trade" / "first-order.md").read_text()
    assert code in page


@contextmanager
def quoting(live: LiveVenue) -> Iterator[None]:
    """The market maker, for as long as the block lasts."""
    path = live.folder / "maker.key"
    path.write_text(to_hex(MAKER._key.secret) + "\n")
    options = ("--api", live.url, "--registry", live.registry, "--key-file", path)
    script = EXAMPLES / "market_maker.py"
    with live.run(MAKER, "python", script, *options, "--underlying", INDEX) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=SECONDS)
            assert "KeyboardInterrupt" in err, err


def test_market_maker__index_moves__quotes_move_and_go_when_it_stops(live: LiveVenue):
    """
    | who    | does                           | outcome                                     |
    | maker  | quotes                         | 0.2 % from the mark on both sides           |
    | oracle | 1 % up                         | so are the quotes, in one step each         |
    | taker  | buys 3, within a limit         | filled by the maker                         |
    | maker  | is interrupted                 | no quote is left, the switch is off         |
    """

    async def watch() -> None:
        async with Reader(live.url, live.rollup, patience=QUICK) as reader:
            book = await reader.book(PERPETUAL)
            away = PRICE // 500
            view = await book.wait()
            with quoting(live):
                while len(view.bids) + len(view.asks) < 2:
                    view = await book.wait(view.sequence)
                assert view.bids == ((PRICE - away, 10),)
                assert view.asks == ((PRICE + away, 10),)
                higher = PRICE * 101 // 100
                await asyncio.to_thread(live.tick, higher)
                away = higher // 500
                while view.best_bid != higher - away or view.best_ask != higher + away:
                    view = await book.wait(view.sequence)
                    # A replacement is one step: never two quotes of a side.
                    assert len(view.bids) <= 1
                    assert len(view.asks) <= 1
                key = live.folder / "taker.key"
                key.write_text(to_hex(TAKER._key.secret))
                options = ("--api", live.url, "--registry", live.registry, "--key-file", key)
                order = ("--market", PERPETUAL, "--buy", "--size", 3, "--limit", "6100.00")
                script = EXAMPLES / "taker.py"
                taking = live.run(TAKER, "python", script, *options, *order)
                said = await asyncio.to_thread(finish, taking)
                assert "bought 3 of 3 lots: filled" in said
                assert "3 at 6,072.120000" in said
            while view.bids or view.asks:
                view = await book.wait(view.sequence)

    asyncio.run(watch())
    live.tick(PRICE)
    options = {"patience": QUICK}
    with Client(live.url, live.rollup, MAKER, **options) as maker:
        assert maker.get_account().dead_man is None
        assert maker.leaf.positions == ((PERPETUAL, -3),)
        maker.buy(PERPETUAL, PRICE, 3)
        with Client(live.url, live.rollup, TAKER, **options) as taker:
            taker.sell(PERPETUAL, PRICE, 3, time_in_force="ioc").done()
            assert taker.leaf.positions == ()


def test_javascript__ethers_and_viem__deposit_trade_stream_and_exit(live: LiveVenue):
    """
    | who          | does                                        | seen                   |
    | ethers, viem | deposit on L1, trade with the maker, follow | receipts, fills        |
    | python       | proves its account against L1               | its owner, on L1       |
    | all          | sign withdrawals                            | in a batch             |
    | L1           | a week passes                               | settled                |
    | ethers, viem | claim                                       | the money is theirs    |
    """
    users = {name: make_signer(f"{name} user") for name in ("ethers", "viem")}
    for key in users.values():
        live.endow(key)
    # Ape has set the chain back, and its time; the committee's has gone on.
    live.advance(60)
    with live.open_for_business(), quoting(live):
        processes = {
            name: live.run(key, "node", EXAMPLES / f"{name}.mjs") for name, key in users.items()
        }
        alarm = Timer(SECONDS, lambda: [process.kill() for process in processes.values()])
        alarm.start()
        try:
            said = {
                name: read_until(process, "withdrawal signed")
                for name, process in processes.items()
            }
            prove(live)
            wait_for_exits(live, users)
            live.advance(WINDOW + 1)
            said = {name: said[name] + finish(processes[name]) for name in said}
        finally:
            alarm.cancel()
            for process in processes.values():
                process.kill()
        problems = {name: process.returncode for name, process in processes.items()}
        assert set(problems.values()) == {0}
    for name, key in users.items():
        assert f"claimed {WITHDRAWN}" in said[name], said
        assert "streamed 2 fills" in said[name], said
        assert live.token.balanceOf(to_hex(key.address)) == FUNDS - DEPOSIT + WITHDRAWN
    assert "bought 2 of 4" in said["ethers"]
    assert "cancel: done" in said["viem"]


def read_until(process: subprocess.Popen[str], mark: str) -> str:
    """What a client says up to a line that holds `mark`."""
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if mark in line:
            return said
    raise AssertionError((said, process.communicate()))


def prove(live: LiveVenue) -> None:
    """The Python client holds what the node says against L1, and asks L1 how final it is."""

    async def run() -> None:
        async with AsyncClient(
            live.url, live.rollup, live.deployer, account=1, l1=live.provider, patience=QUICK
        ) as client:
            assert client.receipt_key is not None
            proven = await client.prove_account(1)
            assert proven.account is not None
            assert to_hex(proven.account.owner) == str(live.deployer.address).lower()
            assert proven.stage in (Stage.POSTED, Stage.SAFE, Stage.FINAL)
            assert proven.header.index >= 1

    asyncio.run(run())


def wait_for_exits(live: LiveVenue, users: dict[str, Signer]) -> None:
    """Until a batch on L1 has the withdrawals of all."""

    async def run() -> None:
        async with Reader(live.url, live.rollup, patience=QUICK) as reader:
            batches = await reader.stream("batches")
            async for _ in batches:
                found = [await reader.get_exits(to_hex(key.address)) for key in users.values()]
                if all(found):
                    assert all(exit_.proof is None for exits in found for exit_ in exits)
                    return

    asyncio.run(run())
