"""What a soak has to show. Pure: figures in, problems out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_SLOPE = 0.5
"""MiB a minute that a process may grow over the second half, beside what is in proportion to the
run's own length: see `compute_allowance`."""
NOISE = 6.0
"""MiB by which an allocator's arenas come and go."""
MAX_UNPOSTED = 30.0
"""Seconds that a sealed chunk may wait, at an L1 block a second and a look every two."""
MIN_SAMPLES = 8
MAX_UNSEEN = 30.0
"""Seconds at the end of a run that nobody may have looked."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at all processes."""

    at: float
    """Seconds since the load began."""
    memory: dict[str, float]
    """MiB by process."""
    unposted_age: float
    unposted_chunks: float
    follower_lag: float
    """Batches, of the one that lags most."""


@dataclass(slots=True)
class Traffic:
    """What clients have seen."""

    done: dict[str, int] = field(default_factory=dict)
    """By kind of operation: accepted."""
    refused: dict[str, int] = field(default_factory=dict)
    """By error code."""
    unavailable: int = 0
    """Answers of 500 and above, and `unavailable` over the WebSocket."""
    broken: list[str] = field(default_factory=list)
    """What a client must never see: gaps, crossed books, connections lost."""
    latencies: list[float] = field(default_factory=list)

    def count(self, kind: str) -> None:
        """Note something that was accepted."""
        self.done[kind] = self.done.get(kind, 0) + 1

    def refuse(self, code: str) -> None:
        """Note something that was refused."""
        self.refused[code] = self.refused.get(code, 0) + 1
        self.unavailable += code == "unavailable"


@dataclass(frozen=True, slots=True)
class End:
    """How the processes ended."""

    roots: dict[str, str]
    """State root by who derived it."""
    batches: int
    left: float
    """Chunks that were never posted."""
    codes: dict[str, int]
    """Exit code by process."""
    frauds: float
    alarms: tuple[str, ...] = ()


def compute_slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the least-squares slope of (minutes, MiB); 0 for a single point."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def compute_slopes(samples: Sequence[Sample]) -> dict[str, float]:
    """Return MiB a minute by process, over the second half."""
    late = samples[len(samples) // 2 :]
    return {
        name: compute_slope([(one.at / 60, one.memory[name]) for one in late])
        for name in samples[-1].memory
    }


def compute_allowance(minutes: float) -> float:
    """Return the MiB a minute that are no leak: in a short run noise is most of what is seen."""
    return MAX_SLOPE + NOISE / (minutes / 2)


def find_problems(
    minutes: float, samples: Sequence[Sample], traffic: Traffic, end: End, expected: Sequence[str]
) -> list[str]:
    """Return what is wrong with a run; nothing, when it has passed.

    Parameters
    ----------
    expected
        Kinds of operation, each of which must have gone through.
    """
    problems = []
    if len(samples) < MIN_SAMPLES:
        problems.append(f"only {len(samples)} samples")
        return problems
    unseen = minutes * 60 - samples[-1].at
    if unseen > MAX_UNSEEN:
        problems.append(f"nobody has looked for the last {unseen:.0f} s")
    allowed = compute_allowance(minutes)
    for name, slope in compute_slopes(samples).items():
        if slope > allowed:
            problems.append(f"{name} grows by {slope:.2f} MiB a minute, {allowed:.2f} allowed")
    late = [one.unposted_age for one in samples if not one.unposted_age <= MAX_UNPOSTED]
    if late:
        problems.append(f"a chunk waited for {late[0]:.0f} s, {MAX_UNPOSTED:.0f} allowed")
    if end.left:
        problems.append(f"{end.left:.0f} chunks were never posted")
    if len(set(end.roots.values())) != 1:
        problems.append(f"roots differ: {end.roots}")
    if end.batches < 2:
        problems.append(f"{end.batches} batches")
    if end.frauds:
        problems.append("a batch of ours was called fraudulent")
    if traffic.unavailable:
        problems.append(f"{traffic.unavailable} answers of 500 or above")
    problems += traffic.broken
    problems += [f"never done: {kind}" for kind in expected if not traffic.done.get(kind)]
    problems += [f"{name} ended with {code}" for name, code in end.codes.items() if code != 0]
    problems += [f"alarm: {alarm}" for alarm in end.alarms]
    return problems
