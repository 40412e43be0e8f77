"""Quotes every series of an underlying on both sides, moves with its index, dies safely.

    python examples/market_maker.py --api http://127.0.0.1:8080 \
        --registry data/deployments/1337.json --key-file maker.key --underlying 3

Every second message of this kind of program is a replacement: the old quote goes and the new one
comes in one step of the log, so there is never twice the size in the book. When the program or its
connection dies, the dead-man switch takes everything off the book.
"""

import argparse
import asyncio
from dataclasses import dataclass
from pathlib import Path

from deltaroll.node.api.data import Ticker
from deltaroll.sdk.aio import AsyncClient
from deltaroll.sdk.drafts import Draft
from deltaroll.sdk.errors import RefusedError
from deltaroll.sdk.orders import Order
from deltaroll.sdk.rollup import Rollup

PPM = 1_000_000


@dataclass(frozen=True)
class Settings:
    """How to quote."""

    underlying: int
    tick: int
    """Collateral units; limits are multiples of it."""
    spread: int = 2_000
    """From the mark to each quote, parts per million of the index."""
    size: int = 10
    """Lots on each side."""
    most: int = 50
    """Lots held, long or short, beyond which that side is not quoted any more."""
    seconds: int = 30
    """Of L1 time without a heartbeat after which all quotes go."""


class MarketMaker:
    """Two quotes for each series."""

    def __init__(self, client: AsyncClient, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self.quotes: dict[tuple[int, bool], Order] = {}
        self.index = 0

    async def run(self) -> None:
        """Quote until cancelled."""
        await self.client.cancel_all()
        prices = await self.client.stream(f"index.{self.settings.underlying}")
        try:
            async with self.client.dead_man(self.settings.seconds):
                # The first message is the index as it is; every other one says that it has moved.
                async for message in prices:
                    await self.requote(message.data.index)
        finally:
            prices.close()
            await self.client.cancel_all()
            # The switch is on still, in case that did not get through; now there is nothing left.
            await self.client.heartbeat(0)

    async def requote(self, index: int) -> None:
        """Move all quotes to where the marks are now."""
        rises, self.index = index > self.index, index
        tickers = await self.client.get_tickers(self.settings.underlying)
        wanted = [
            draft
            for ticker in tickers
            if ticker.status == "active" and ticker.mark
            for draft in self.compute_quotes(ticker)
        ]
        # Where the market goes, the quote in its way goes first: the other one would meet it.
        wanted.sort(key=lambda draft: draft.is_buy == rises)
        async with asyncio.TaskGroup() as group:
            for draft in wanted:
                group.create_task(self.quote(draft))
        keys = {(draft.market, draft.is_buy) for draft in wanted}
        for key in self.quotes.keys() - keys:
            await self.quotes.pop(key).cancel()

    def compute_quotes(self, ticker: Ticker) -> list[Draft]:
        """Return the quotes of a series: around its mark, skewed by nothing but a limit."""
        settings, tick = self.settings, self.settings.tick
        away = ticker.index * settings.spread // PPM
        held = dict(self.client.leaf.positions).get(ticker.market, 0)
        bid = (ticker.mark - away) // tick * tick
        ask = -(-(ticker.mark + away) // tick) * tick
        # An order of an option must not outlive it.
        expiry = ticker.expiry - 1 if ticker.expiry else None
        quotes = []
        if bid > 0 and held < settings.most:
            quotes.append(Draft(ticker.market, True, bid, settings.size, expiry=expiry))
        if held > -settings.most:
            quotes.append(Draft(ticker.market, False, ask, settings.size, expiry=expiry))
        return quotes

    async def quote(self, draft: Draft) -> None:
        """Place a quote, or move the one that is there."""
        key = (draft.market, draft.is_buy)
        old = self.quotes.get(key)
        try:
            if old is None or old.is_done:
                self.quotes[key] = await self.client.place(draft)
            elif (old.terms.price, old.remaining) != (draft.price, draft.size):
                self.quotes[key] = await self.client.replace(
                    old, draft.price, draft.size, expiry=draft.expiry
                )
        except RefusedError as refusal:
            # Filled just now, or too much asked: the next price brings another look.
            print(f"{key}: {refusal.code}: {refusal.rule}")


async def main() -> None:
    """Read the command line and quote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", required=True)
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--account", type=int)
    parser.add_argument("--underlying", type=int, required=True)
    given = parser.parse_args()
    key = given.key_file.read_text().strip()
    rollup = Rollup.read(given.registry)
    async with AsyncClient(given.api, rollup, key, account=given.account) as client:
        leaf = await client.get_market(given.underlying)
        settings = Settings(given.underlying, leaf.fields["params"]["tick"])
        await MarketMaker(client, settings).run()


if __name__ == "__main__":
    asyncio.run(main())
