"""Speed and bytes, each against a peer or a physical limit measured in the same run.

`python -m benchmarks.run` prints a table and writes `build/bench.json`: name -> value, unit, peer,
ratio.
"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.flow import DOMAIN, create_flow, iterate_days
from benchmarks.margin import margin_cases_matched
from benchmarks.pricing import measure_pricing
from benchmarks.recover import recover_all
from benchmarks.restart import measure_restart
from benchmarks.revaluation import measure_revaluation
from benchmarks.ws import PACE, get_percentile, measure_latencies, measure_load
from deltaroll.demo.measure import measure_chunks
from deltaroll.logs import configure_logs
from deltaroll.node.store import Store
from deltaroll.protocol.signatures import compute_bad_signature
from deltaroll.protocol.state import State, compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import Context, Fill, Timestamp, Transfer

OUTPUT = Path("build") / "bench.json"
ROUNDS = 3
OP_TRANSFER_BYTES = 12
"""Hubble: a transfer, signature apart (contracts/libs/Tx.sol)."""
DERIVE_CDF_ERROR = 4.2e-17
"""Of FixedPointMathLib.stdNormalCDF (lyra-utils), the most accurate known, measured with mpmath."""
DERIVE_PRICE_ERROR = 6.8e-13
"""Of Derive's BlackScholes in DeFiMath's table, at 13,404 gas."""
DEGATE_TRADE_BYTES = 25
"""DeGate: 400 gas a trade at 16 gas a byte (degatedev/protocols, DESIGN.md)."""


class Figure(NamedTuple):
    """One measured value; the ratio is value over peer, in the peer's unit."""

    value: float
    unit: str
    peer: str
    ratio: float


class Round(NamedTuple):
    """One run of the whole flow, CPU seconds."""

    orders: int
    fills: int
    sequencer: float
    recover: float
    chunks: list[bytes]
    signatures: list[bytes]
    messages: State


def run_flow(folder: Path) -> Round:
    """Run the demo's flow once: admit, verify, match, apply, log; a flush per day's orders."""
    flow = create_flow(folder / "bench.sqlite")
    sequencer = flow.sequencer
    orders = fills = 0
    spent = recover = 0.0
    for day in iterate_days(flow):
        recover += recover_all(day)
        started = time.process_time()
        for signed in day:
            receipt = sequencer.submit_order(
                signed.account, signed.slot, signed.order, signed.signature
            )
            assert receipt.execution is not None
            fills += len(receipt.execution.fills)
        sequencer.flush()
        spent += time.process_time() - started
        orders += len(day)
    sequencer.seal()
    sequencer.flush()
    chunks, signatures = read_chunks(sequencer.store)
    state = sequencer.state
    sequencer.store.close()
    return Round(orders, fills, spent, recover, chunks, signatures, state)


def read_chunks(store: Store) -> tuple[list[bytes], list[bytes]]:
    """Return data and signatures of every sealed chunk."""
    chunks: list[bytes] = []
    signatures: list[bytes] = []
    while (chunk := store.get_chunk(len(chunks))) is not None:
        chunks.append(chunk.data)
        signatures.append(chunk.signatures)
    return chunks, signatures


def derive(done: Round) -> float:
    """Return CPU seconds to re-derive the whole flow as a follower: signatures, transition,
    roots.
    """
    state = State()
    state.messages = done.messages.messages
    started = time.process_time()
    for data, signatures in zip(done.chunks, done.signatures, strict=True):
        clock = Timestamp(int.from_bytes(data[:5], "big"))
        context = Context(DOMAIN, clock, len(state.messages), 0, 0, False, False)
        if compute_bad_signature(state, data, signatures, DOMAIN) is not None:
            raise AssertionError("the flow has a bad signature")
        process_chunk(state, data, context)
        compute_state_root(state)
    spent = time.process_time() - started
    if compute_state_root(state) != compute_state_root(done.messages):
        raise AssertionError("the derived state differs from the sequencer's")
    return spent


def measure() -> dict[str, Figure]:
    """Return all figures; of repeated rounds the one with the least disturbance counts."""
    rounds: list[Round] = []
    for _ in range(ROUNDS):
        with TemporaryDirectory() as folder:
            rounds.append(run_flow(Path(folder)))
    best = min(rounds, key=lambda done: done.sequencer / done.recover)
    usage = measure_chunks(best.chunks)
    fill_bytes = float(usage.bytes_each(Fill))
    transfer_bytes = float(usage.bytes_each(Transfer))
    derived = derive(best)
    per_order = best.sequencer / best.orders
    recover = best.recover / best.orders
    return {
        "bytes_per_fill": Figure(
            fill_bytes,
            "bytes",
            f"DeGate trade, {DEGATE_TRADE_BYTES}",
            fill_bytes / DEGATE_TRADE_BYTES,
        ),
        "bytes_per_transfer": Figure(
            transfer_bytes,
            "bytes",
            f"Hubble transfer, {OP_TRANSFER_BYTES}",
            transfer_bytes / OP_TRANSFER_BYTES,
        ),
        "cpu_per_order_over_recover": Figure(
            per_order * 1e6,
            "us",
            f"libsecp256k1 recovery, {recover * 1e6:.1f} us",
            per_order / recover,
        ),
        "orders_per_cpu_second": Figure(
            1 / per_order, "orders/s", "libsecp256k1 recoveries/s", recover / per_order
        ),
        "derive_cpu_per_fill_over_recover": Figure(
            derived / best.fills * 1e6,
            "us",
            f"libsecp256k1 recovery, {recover * 1e6:.1f} us",
            derived / best.fills / recover,
        ),
    }


def measure_options() -> dict[str, Figure]:
    """Return the figures of pricing and margin: errors against exact references, times against
    float64 on the same core.
    """
    pricing = measure_pricing()
    revaluation = measure_revaluation()
    return {
        "cdf_max_error": Figure(
            pricing["cdf_max_error"],
            "absolute",
            f"Derive, {DERIVE_CDF_ERROR}",
            pricing["cdf_max_error"] / DERIVE_CDF_ERROR,
        ),
        "price_max_error": Figure(
            pricing["price_max_error"],
            "of the forward",
            f"Derive, {DERIVE_PRICE_ERROR}",
            pricing["price_max_error"] / DERIVE_PRICE_ERROR,
        ),
        "numpy_ns_per_pair": Figure(
            pricing["pair_ns"],
            "ns",
            f"float64, {pricing['float_pair_ns']:.0f} ns",
            pricing["pair_over_float"],
        ),
        "remark_500_series": Figure(
            revaluation["remark_ms"],
            "ms",
            f"the protocol one by one, {revaluation['remark_protocol_ms']:.0f} ms",
            revaluation["remark_ms"] / revaluation["remark_protocol_ms"],
        ),
        "revaluation_over_matmul": Figure(
            revaluation["revaluation_over_matmul"],
            "ratio",
            "numpy float64 matmul of the same shape",
            revaluation["revaluation_over_matmul"],
        ),
        "margin_cases_matched": Figure(
            margin_cases_matched(), "of the cases", "Derive's own, ../shared", 1.0
        ),
    }


def measure_websocket() -> dict[str, Figure]:
    """Return the figures of orders through the API: as fast as it goes, and at a steady pace."""
    load = measure_load()
    recover = load.recover / load.orders
    rate = load.orders / load.seconds
    latencies = measure_latencies()
    percentiles = {
        f"ws_latency_p{part}_ms": get_percentile(latencies, part / 100) * 1e3 for part in (50, 99)
    }
    return {
        "ws_orders_per_second": Figure(
            rate, "orders/s", "libsecp256k1 recoveries/s of one core", rate * recover
        ),
        "ws_accepted_per_second": Figure(
            load.accepted / load.seconds, "orders/s", "orders sent", load.accepted / load.orders
        ),
        "ws_cpu_per_order_over_recover": Figure(
            load.per_order_over_recover,
            "recoveries",
            f"libsecp256k1 recovery, {recover * 1e6:.1f} us",
            load.per_order_over_recover,
        ),
        **{
            name: Figure(value, "ms", f"a commit at {PACE} orders/s", 1.0)
            for name, value in percentiles.items()
        },
    }


def measure_restarts() -> dict[str, Figure]:
    """Return what a restart takes after a long time, at the worst moment."""
    restart = measure_restart()
    share = restart.orders / 100_000
    return {
        "restart_seconds_per_100k_orders": Figure(
            restart.snapshot / share,
            "s",
            f"replay of the whole log, {restart.whole / share:.1f} s",
            restart.snapshot / restart.whole,
        )
    }


def main() -> None:
    """Measure, print, write."""
    configure_logs("error")
    figures = measure() | measure_options() | measure_websocket() | measure_restarts()
    table = Table(title="Benchmarks")
    for column in ("name", "value", "unit", "peer", "ratio"):
        table.add_column(column, justify="right" if column in ("value", "ratio") else "left")
    for name, figure in figures.items():
        shown = f"{figure.value:,.2f}" if figure.value >= 0.01 else f"{figure.value:.1e}"
        table.add_row(name, shown, figure.unit, figure.peer, f"{figure.ratio:.2f}")
    Console(width=110, highlight=False).print(table)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(
        json.dumps({name: figure._asdict() for name, figure in figures.items()}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
