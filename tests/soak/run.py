"""Runs a soak, prints what it has shown, writes `build/soak.json`, fails when anything is wrong."""

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from threading import Event, Thread
from typing import Any

from rich.console import Console
from rich.table import Table

from deltaroll.logs import configure_logs
from deltaroll.status import NodeError
from tests.soak.load import KINDS, Load
from tests.soak.rig import Rig, open_rig
from tests.soak.verdict import (
    End,
    Sample,
    Traffic,
    compute_allowance,
    compute_slopes,
    find_problems,
)

OUTPUT = Path("build") / "soak.json"
SAMPLE_SECONDS = 3.0


class Sampler:
    """Looks at all processes now and then."""

    def __init__(self, rig: Rig) -> None:
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        self._rig = rig
        self._stop = Event()
        self._started = time.monotonic()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            try:
                self.samples.append(self._rig.sample(time.monotonic() - self._started))
            except (NodeError, KeyError, ValueError) as problem:
                self.problems.append(f"a process did not tell its metrics: {problem!r}")


def soak(folder: Path, minutes: float, seed: int) -> tuple[list[Sample], Traffic, End, list[str]]:
    """Run everything."""
    with open_rig(folder) as rig:
        load = Load(rig.shell, rig.api, seed)
        sampler = Sampler(rig)
        try:
            asyncio.run(load.run(minutes * 60))
        finally:
            sampler.stop()
        rig.drain()
        roots = rig.collect_roots()
        metrics = rig.sequencer.read_metrics()
        frauds = metrics["deltaroll_fraud"]
        alarms = tuple(
            name for name, value in metrics.items() if name.startswith("deltaroll_alarm") and value
        )
        unavailable = sum(
            value
            for name, value in metrics.items()
            if name.startswith("deltaroll_api_requests_total") and "unavailable" in name
        )
        load.traffic.unavailable += int(unavailable)
        codes = rig.stop()
        rig.post_rest()
        of_log, of_l1 = rig.replay()
        if of_log != of_l1:
            sampler.problems.append(f"the log replays to {of_log}, L1 to {of_l1}")
        end = End(
            roots=roots,
            batches=int(metrics["deltaroll_batch{stage=posted}"]),
            left=metrics["deltaroll_unposted_chunks"],
            codes=codes,
            frauds=frauds,
            alarms=alarms,
        )
        return sampler.samples, load.traffic, end, sampler.problems


def summarise(
    minutes: float, samples: Sequence[Sample], traffic: Traffic, end: End, problems: Sequence[str]
) -> dict[str, Any]:
    """Return all figures of a run."""
    slopes = compute_slopes(samples) if samples else {}
    latencies = sorted(traffic.latencies)
    memory = {
        name: {
            "first_mib": round(samples[0].memory[name], 1),
            "last_mib": round(samples[-1].memory[name], 1),
            "slope_mib_per_minute": round(slope, 3),
        }
        for name, slope in slopes.items()
    }
    seconds = minutes * 60
    return {
        "minutes": minutes,
        "passed": not problems,
        "problems": list(problems),
        "slope_allowed": round(compute_allowance(minutes), 3),
        "memory": memory,
        "unposted_age_max_s": round(max((one.unposted_age for one in samples), default=0.0), 1),
        "follower_lag_max_batches": max((one.follower_lag for one in samples), default=0.0),
        "batches": end.batches,
        "requests": sum(traffic.done.values()) + sum(traffic.refused.values()),
        "requests_per_second": round(sum(traffic.done.values()) / seconds, 1),
        "latency_p50_ms": round(pick(latencies, 0.5) * 1e3, 1),
        "latency_p99_ms": round(pick(latencies, 0.99) * 1e3, 1),
        "answers_500": traffic.unavailable,
        "done": dict(sorted(traffic.done.items())),
        "refused": dict(sorted(traffic.refused.items())),
        "roots": end.roots,
        "samples": [
            {"at": round(one.at), "memory": {k: round(v, 1) for k, v in one.memory.items()}}
            for one in samples
        ],
    }


def pick(values: Sequence[float], part: float) -> float:
    """Return the value below which `part` of all are; 0 of none."""
    return values[min(len(values) - 1, int(part * len(values)))] if values else 0.0


def show(figures: dict[str, Any], console: Console) -> None:
    """Print a table."""
    table = Table("process", "MiB at first", "at last", "MiB a minute", "allowed", box=None)
    for name, row in figures["memory"].items():
        table.add_row(
            name,
            f"{row['first_mib']:.1f}",
            f"{row['last_mib']:.1f}",
            f"{row['slope_mib_per_minute']:+.2f}",
            f"{figures['slope_allowed']:.2f}",
        )
    console.print(table)
    for name in (
        *("requests", "requests_per_second", "latency_p50_ms", "latency_p99_ms", "batches"),
        *("unposted_age_max_s", "follower_lag_max_batches", "answers_500"),
    ):
        console.print(f"{name:26s} {figures[name]}")
    console.print(f"{'roots':26s} {len(set(figures['roots'].values()))} distinct")
    for problem in figures["problems"]:
        console.print(f"WRONG  {problem}", markup=False)
    console.print("passed" if figures["passed"] else "FAILED")


def main() -> None:
    """Run, print, write, and fail if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="Keep logs and database.")
    options = parser.parse_args()
    folder = Path(mkdtemp(prefix="soak-"))
    console = Console(width=110, highlight=False)
    configure_logs("error")
    console.print(f"{options.minutes:g} minutes of mixed load; logs in {folder}")
    samples, traffic, end, problems = soak(folder, options.minutes, options.seed)
    problems += find_problems(options.minutes, samples, traffic, end, KINDS)
    figures = summarise(options.minutes, samples, traffic, end, problems)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures, console)
    if problems:
        console.print(f"logs: {folder}")
        sys.exit(1)
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
