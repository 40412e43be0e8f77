"""Orders through the WebSocket: a real server, and traders in a process of their own.

The server's CPU is all of its process: frames, decoding, signatures, matching, log, receipts,
answers and what subscribers are told.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec

from benchmarks.flow import DOMAIN, START, Flow, create_flow
from benchmarks.recover import recover_all
from deltaroll.demo.actors import SignedOrder, Trader, make_key, make_orders, observe
from deltaroll.demo.venue import INDEX, MAKERS, PERPETUAL, TRADERS, make_dice
from deltaroll.node.api.limits import Limits, Rate
from deltaroll.node.api.server import ApiServer
from deltaroll.node.receipts import make_receipt_key
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.server import SequencerThread
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import AccountId, TimeInForce, Timestamp

ROUNDS = 3
ORDERS = 6_000
PRICE = 60_000 * 10**2
WINDOW = 32
"""Orders of one trader that wait for an answer at a time."""
PACE = 200
"""Orders a second when it is latency that is measured."""
PACED_ORDERS = 1_000
NAMES = {TimeInForce.GTC: "gtc", TimeInForce.IOC: "ioc", TimeInForce.FOK: "fok"}
UNLIMITED = Limits(account=Rate(1e9, 1e9), address=Rate(1e9, 1e9))


class Load(NamedTuple):
    """One run."""

    orders: int
    accepted: int
    """Those that were not rejected by a rule."""
    seconds: float
    cpu: float
    """Of the server's process."""
    recover: float
    """Of libsecp256k1 recovery alone, for the same signatures."""
    latencies: list[float]
    """Seconds from an order's frame to its answer, sorted."""

    @property
    def per_order_over_recover(self) -> float:
        """CPU of an order in recoveries."""
        return self.cpu / self.recover


def sign_orders(count: int) -> list[SignedOrder]:
    """Return what makers and takers sign at one price, in rounds."""
    dice = make_dice(7)
    traders = [
        Trader(name, AccountId(index), make_key(name), DOMAIN)
        for index, name in enumerate(TRADERS, 1)
    ]
    clock = Timestamp(START + 60)
    orders: list[SignedOrder] = []
    while len(orders) < count:
        drift = 1 if len(orders) % 2 else -1
        orders += make_orders(traders, MAKERS, PERPETUAL, PRICE, drift, clock, dice)
    return orders[:count]


def encode_frame(number: int, signed: SignedOrder) -> bytes:
    """Return an order as a trader sends it."""
    order = signed.order
    return msgspec.msgpack.encode(
        {
            "op": "order",
            "id": number,
            "account": signed.account,
            "slot": signed.slot,
            "market": order.market,
            "is_buy": order.is_buy,
            "price": order.price,
            "size": order.size,
            "nonce": order.nonce,
            "expiry": order.expiry,
            "signature": "0x" + signed.signature.hex(),
            "time_in_force": NAMES[order.time_in_force],
        }
    )


def run_load(folder: Path, orders: list[SignedOrder], pace: int = 0) -> Load:
    """Serve one process of traders; return what it took.

    Parameters
    ----------
    pace
        Orders a second; 0: as many as the window lets through.
    """
    recover = recover_all(orders)
    frames = folder / "frames.msgpack"
    by_trader: dict[int, list[bytes]] = {}
    for number, signed in enumerate(orders):
        by_trader.setdefault(signed.account, []).append(encode_frame(number, signed))
    frames.write_bytes(msgspec.msgpack.encode(list(by_trader.values())))

    def open_sequencer() -> Sequencer:
        flow: Flow = create_flow(folder / "bench.sqlite")
        flow.sequencer.receipt_key = make_receipt_key(keccak(b"deltaroll bench"))
        flow.sequencer.set_clock(START + 60)
        clock = flow.sequencer.clock
        prices = observe(flow.committee, DOMAIN, INDEX, PRICE, clock, make_dice(1))
        flow.sequencer.observe(INDEX, *prices)
        flow.sequencer.flush()
        return flow.sequencer

    thread = SequencerThread(open_sequencer)
    api = ApiServer(thread, limits=UNLIMITED)
    command = [sys.executable, "-m", "benchmarks.ws_client", str(api.port), str(frames)]
    client = subprocess.Popen(
        [*command, str(WINDOW), str(PERPETUAL), str(pace)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        client.stdout.readline()
        started = time.process_time()
        client.stdin.write("go\n")
        client.stdin.flush()
        result: dict[str, Any] = json.loads(client.stdout.readline())
        cpu = time.process_time() - started
    finally:
        client.stdin.close()
        client.wait()
        api.close()
        thread.close()
    return Load(
        len(orders), result["accepted"], result["seconds"], cpu, recover, result["latencies"]
    )


def measure_load() -> Load:
    """Return the run with the least disturbance."""
    orders = sign_orders(ORDERS)
    runs = []
    for _ in range(ROUNDS):
        with TemporaryDirectory() as folder:
            runs.append(run_load(Path(folder), orders))
    return min(runs, key=lambda run: run.per_order_over_recover)


def measure_latencies() -> list[float]:
    """Return the latencies of orders that come at a steady pace, sorted."""
    with TemporaryDirectory() as folder:
        return run_load(Path(folder), sign_orders(PACED_ORDERS), PACE).latencies


def get_percentile(sorted_values: list[float], part: float) -> float:
    """Return the value below which `part` of all are."""
    return sorted_values[min(len(sorted_values) - 1, int(part * len(sorted_values)))]


def main() -> None:
    """Measure and print."""
    load, latencies = measure_load(), measure_latencies()
    print(
        f"{load.orders / load.seconds:,.0f} orders/s, {load.accepted / load.seconds:,.0f} "
        f"accepted/s, {load.cpu / load.orders * 1e6:.0f} us CPU an order, "
        f"{load.per_order_over_recover:.2f} recoveries "
        f"({load.recover / load.orders * 1e6:.1f} us each), "
        f"at {PACE} orders/s p50 {get_percentile(latencies, 0.5) * 1e3:.1f} ms, "
        f"p99 {get_percentile(latencies, 0.99) * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    main()
