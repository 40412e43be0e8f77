"""Margin of a whole venue, against float64 matrix multiplication of the same shape.

`python -m benchmarks.revaluation` prints the figures as JSON. They are CPU seconds of one core:
`measure_revaluation` runs it in a process of its own whose matrix library has one thread.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from random import Random
from typing import TypedDict

import numpy as np

from benchmarks.books import add_account, build_board, find_series, make_sizes
from deltaroll.engine.board import compute_quotes
from deltaroll.engine.revaluation import compute_valuation, create_sheet
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.mark import process_mark
from deltaroll.protocol.risk import Quote
from deltaroll.protocol.state import Meter, State, reset_meter
from deltaroll.protocol.types import Mark, MarketId, Series, SeriesKind

ACCOUNTS = 10_000
EXPIRIES = 8
STRIKES = 31
PERPETUALS = 4
"""500 series with the options."""
LOTS = 1_000
ROUNDS = 7
CHECKED = 200
"""Accounts that are compared with the protocol."""
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


class Figures(TypedDict):
    """What `measure_revaluation` returns. Times are CPU milliseconds, the least of some rounds."""

    revaluation_ms: float
    """Equity, maintenance and initial margin of all accounts at new marks."""
    matmul_ms: float
    """numpy float64: accounts x series times series x scenarios."""
    revaluation_over_matmul: float
    protocol_ms: float
    """The same by `margin.compute_margin`, scaled up from a sample."""
    remark_ms: float
    """Marks and risk vectors of all series, from the leaves of index and surfaces."""
    remark_protocol_ms: float
    """The same by `mark.process_mark`."""


def time_least(work: Callable[[], object]) -> float:
    """Return the CPU seconds of the quickest round."""
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return min(spent)


def build_venue() -> State:
    """Return a board of 500 marked series with 10,000 accounts of up to 64 positions."""
    rng = Random(1)
    state = build_board(expiries=EXPIRIES, strikes=STRIKES, perpetuals=PERPETUALS)
    markets = find_series(state)
    for number in range(1, ACCOUNTS + 1):
        add_account(state, number, 10**12, make_sizes(rng, markets, LOTS))
    return state


def mark_all(state: State) -> dict[MarketId, Quote]:
    """Mark every series by the protocol; return marks and risk vectors."""
    quotes = {}
    for market in find_series(state):
        reset_meter(state)
        series = state.markets[market]
        assert isinstance(series, Series)
        if series.kind != SeriesKind.PUT:
            process_mark(state, Mark(market, 2 if series.kind == SeriesKind.CALL else 1))
    for market in find_series(state):
        series = state.markets[market]
        assert isinstance(series, Series)
        quotes[market] = Quote(series.mark, series.risk)
    return quotes


def measure() -> Figures:
    """Measure in this process."""
    state = build_venue()
    sheet = create_sheet(state)
    valuation = compute_valuation(state, sheet)
    if valuation.margins or valuation.faults:
        raise AssertionError("an account was not calculated in bulk")
    rows = range(0, ACCOUNTS, ACCOUNTS // CHECKED)
    started = time.process_time()
    for row in rows:
        state.meter = Meter()
        account = state.accounts[valuation.accounts[row]]
        if compute_margin(state, account, state.globals.clock) != valuation.get_margin(row):
            raise AssertionError("the margin in bulk is not the protocol's")
    protocol = (time.process_time() - started) * ACCOUNTS / len(rows)
    rng = np.random.default_rng(1)
    sizes = sheet.sizes.copy()
    risk = rng.integers(-(1 << 30), 1 << 30, (len(sheet.series), 33)).astype(np.float64)
    matmul = time_least(lambda: sizes @ risk)
    spent = time_least(lambda: compute_valuation(state, sheet))
    if compute_quotes(state) != mark_all(state):
        raise AssertionError("the board in bulk is not the protocol's")
    remark = time_least(lambda: compute_quotes(state))
    started = time.process_time()
    mark_all(state)
    remark_protocol = time.process_time() - started
    return Figures(
        revaluation_ms=spent * 1e3,
        matmul_ms=matmul * 1e3,
        revaluation_over_matmul=spent / matmul,
        protocol_ms=protocol * 1e3,
        remark_ms=remark * 1e3,
        remark_protocol_ms=remark_protocol * 1e3,
    )


def measure_revaluation() -> Figures:
    """Return the figures, measured on one core."""
    environment = os.environ | dict.fromkeys(THREADS, "1")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.revaluation"],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: Figures = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
