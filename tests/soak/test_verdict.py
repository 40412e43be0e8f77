"""What a soak lets pass and what it does not."""

from dataclasses import replace

import pytest

from tests.soak.verdict import (
    MAX_UNPOSTED,
    End,
    Sample,
    Traffic,
    compute_slope,
    compute_slopes,
    find_problems,
)

KINDS = ("gtc", "ioc")
END = End(
    roots={"sequencer": "aa", "follower_1": "aa", "follower_2": "aa"},
    batches=9,
    left=0,
    codes={"sequencer": 0, "follower_1": 0},
    frauds=0,
)


def make_samples(growth: float = 0.0, minutes: float = 30.0, count: int = 100) -> list[Sample]:
    """Of a process that begins by growing much, then by `growth` MiB a minute."""
    found = []
    for place in range(count):
        at = place * minutes / count
        memory = 100 + 20 * min(at, minutes / 4) + growth * at
        found.append(Sample(at * 60, {"sequencer": memory}, 2.0, 1, 1))
    return found


def make_traffic() -> Traffic:
    return Traffic(done=dict.fromkeys(KINDS, 1), refused={"margin": 3})


def test_find_problems__good_run__none():
    assert find_problems(30, make_samples(), make_traffic(), END, KINDS) == []


@pytest.mark.parametrize(("growth", "is_leak"), [(0.5, False), (1.5, True), (20.0, True)])
def test_find_problems__growth_of_half_an_hour__more_than_noise_is_a_leak(growth, is_leak):
    found = find_problems(30, make_samples(growth), make_traffic(), END, KINDS)
    assert bool(found) is is_leak
    assert all("sequencer grows" in problem for problem in found)


def test_find_problems__early_growth__is_warming_up():
    assert compute_slopes(make_samples())["sequencer"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"roots": {"sequencer": "aa", "follower_1": "bb"}}, "roots differ"),
        ({"left": 2.0}, "2 chunks were never posted"),
        ({"batches": 1}, "1 batches"),
        ({"codes": {"follower_1": -9}}, "follower_1 ended with -9"),
        ({"frauds": 1.0}, "fraudulent"),
        ({"alarms": ("funds_low",)}, "alarm: funds_low"),
    ],
)
def test_find_problems__bad_end__is_named(change, complaint):
    (problem,) = find_problems(30, make_samples(), make_traffic(), replace(END, **change), KINDS)
    assert complaint in problem


@pytest.mark.parametrize("age", [MAX_UNPOSTED + 1, float("inf"), float("nan")])
def test_find_problems__chunk_that_waits__is_named(age):
    samples = make_samples()
    samples[3] = replace(samples[3], unposted_age=age)
    (problem,) = find_problems(30, samples, make_traffic(), END, KINDS)
    assert "a chunk waited" in problem


def test_find_problems__clients_saw_something__is_named():
    traffic = make_traffic()
    traffic.refuse("unavailable")
    traffic.broken.append("book.3 is crossed")
    del traffic.done["ioc"]
    found = find_problems(30, make_samples(), traffic, END, KINDS)
    assert found == ["1 answers of 500 or above", "book.3 is crossed", "never done: ioc"]


def test_find_problems__too_short__is_no_pass():
    assert find_problems(1, make_samples(count=3), make_traffic(), END, KINDS) == ["only 3 samples"]


def test_find_problems__nobody_looked_towards_the_end__is_no_pass():
    found = find_problems(30, make_samples()[:60], make_traffic(), END, KINDS)
    assert found == ["nobody has looked for the last 738 s"]


def test_compute_slope__line__its_slope():
    assert compute_slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert compute_slope([(4, 7)]) == 0
