"""The pages for traders say what the code does: their figures and tables are computed anew here."""

import re
from pathlib import Path

import pytest

from deltaroll.node.queries import MarginAnswer, MarginQuery, compute_margin_answer
from deltaroll.protocol.types import AccountId, Kind, MarketId, SeriesKind
from tests.node.support import GENESIS, OPTIONS, PERP, PLACES, PRICE, TICK, Venue, make_order
from tools import sdk_page

PAGES = Path(__file__).resolve().parents[2] / "docs" / "trade"
TRADER, OTHER = AccountId(1), AccountId(2)
LOTS = 100
TABLE = re.compile(r"<!-- table: margin -->\n(.*?)<!-- end -->", re.DOTALL)


class Example:
    """The account of docs/trade/margin.md: what it does, and what it then needs."""

    def __init__(self) -> None:
        self.venue = Venue().open_options(cash=5_000_000)
        self.state = self.venue.state
        self.rows: list[tuple[str, MarginAnswer]] = []
        self.venue.sequencer.poke(Kind.MARK, PLACES[0] + 1, 6)
        self.orders = 0

    def find(self, kind: SeriesKind, strike: int) -> MarketId:
        leaves = ((market, self.state.markets[market]) for market in OPTIONS)
        return next(market for market, leaf in leaves if (leaf.kind, leaf.strike) == (kind, strike))

    def trade(self, market: MarketId, is_buy: bool) -> int:
        """At the mark, rounded to the tick; returns the price."""
        series = self.state.markets[market]
        price = max(TICK, series.mark // TICK * TICK)
        expiry = self.state.markets[series.expiry].time - 1 if series.expiry else GENESIS + 10**6
        self.orders += 1
        for account, side in ((OTHER, not is_buy), (TRADER, is_buy)):
            order = make_order(price, LOTS, is_buy=side, market=market, expiry=expiry)
            execution = self.venue.submit(account, self.orders, order)
        assert execution.filled == LOTS
        return price

    def note(self, what: str) -> None:
        self.rows.append((what, compute_margin_answer(self.state, MarginQuery(TRADER))))

    def play(self) -> list[tuple[str, MarginAnswer]]:
        self.note("deposits 5,000,000")
        price = self.trade(PERP, True)
        self.note(f"buys {LOTS} perpetuals at {price:,}")
        price = self.trade(self.find(SeriesKind.PUT, 50_000), True)
        self.note(f"buys {LOTS} puts, strike 50,000, at {price:,}")
        price = self.trade(self.find(SeriesKind.CALL, 52_000), False)
        self.note(f"sells {LOTS} calls, strike 52,000, at {price:,}")
        self.venue.sequencer.set_clock(self.venue.sequencer.clock + 1)
        self.venue.observe(48_500)
        self.note("the index falls to 48,500")
        return self.rows


def write_rows(rows: list[tuple[str, MarginAnswer]]) -> str:
    head = "what happens", "equity", "loss", "binding move", "maintenance", "initial", "free"
    lines = [head, tuple("---" for _ in head)]
    for what, margin in rows:
        loss, move = 0, "none"
        for book in margin.books:
            loss, move = book.loss, "a forward alone"
            if book.binding is not None:
                vol = {-1: "down", 0: "unmoved", 1: "up"}[book.binding.vol_shock]
                move = f"{book.binding.spot_shock / 10_000:+g} %, volatility {vol}"
        numbers = margin.equity, loss
        free = margin.equity - margin.initial
        after = margin.maintenance, margin.initial, free
        lines.append((what, *(f"{n:,}" for n in numbers), move, *(f"{n:,}" for n in after)))
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


@pytest.fixture(scope="module")
def rows():
    return Example().play()


def test_margin_page__worked_example__is_what_the_protocol_computes(rows):
    found = TABLE.search((PAGES / "margin.md").read_text())
    assert found is not None
    assert found[1] == write_rows(rows)


def test_margin_page__sums_in_the_text__are_those_of_the_table(rows):
    text = (PAGES / "margin.md").read_text()
    _, long, hedged, short, _ = (margin.books[0] if margin.books else None for _, margin in rows)
    assert (long.loss, long.of_perpetuals.maintenance) == (PRICE * LOTS * 18 // 100, 150_000)
    for part in (long, hedged, short):
        assert part.of_loss.maintenance == -(-part.loss * 8 // 10)
        assert part.of_loss.initial == part.loss
        assert f"{part.loss:,}" in text
    for number in (long.of_loss.maintenance, long.of_perpetuals.maintenance):
        assert f"{number:,}" in text
    for number in (long.of_perpetuals.initial, short.of_naked_options.maintenance):
        assert f"{number:,}" in text
    assert f"{short.of_naked_options.initial:,}" in text


def test_sdk_page__reference__is_that_of_the_docstrings():
    page = sdk_page.PAGE.read_text(encoding="utf-8")
    assert sdk_page.fill(page) == page
