"""The outflow limiter against its model, and what it promises, over any run of events."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.adversary.catalogue_rig import ALICE, BOB, GOVERNOR, At, Chain

PPM = 1_000_000
FUNDS = 10**12
HATCH = "0x" + "ec" * 20


class Model:
    """The vault as docs/protocol.md has it."""

    def __init__(self, limit: tuple[int, int, int], time: int) -> None:
        self.ppm, self.period, self.delay = limit
        self.held, self.level, self.time = FUNDS, 0, time
        self.delayed: dict[int, tuple[int, int]] = {}

    def room(self, time: int) -> tuple[int, int]:
        base = self.held + self.level
        level = max(self.level - base * self.ppm * (time - self.time) // (self.period * PPM), 0)
        capacity = (self.held + level) * self.ppm // PPM
        return level, max(capacity - level, 0)

    def release(self, index: int, amount: int, time: int) -> bool:
        level, room = self.room(time)
        if amount > room:
            self.delayed[index] = (amount, time + self.delay)
            return False
        self.held -= amount
        self.level, self.time = level + amount, time
        return True


limits = st.tuples(
    st.integers(10_000, PPM - 1), st.integers(3_600, 30 * 86_400), st.integers(3_600, 7 * 86_400)
)
waits = st.one_of(st.just(0), st.integers(1, 7_200), st.integers(1, 40 * 86_400))
shares = st.one_of(st.integers(0, PPM), st.integers(0, 50_000))
events = st.lists(
    st.tuples(waits, st.sampled_from(["release", "release", "release", "pay in", "pay"]), shares),
    min_size=1,
    max_size=25,
)


@pytest.fixture(scope="module")
def chain():
    chain = Chain()
    return chain, chain.deploy("MockUSDC")


@settings(deadline=None, max_examples=40)
@given(limits, events)
def test_limiter__any_run_of_events__is_its_model_and_keeps_its_bound(chain, limit, moves):
    l1, token = chain
    with l1.fork():
        vault = l1.deploy("MarginVault", token.address, GOVERNOR, HATCH, limit)
        l1.send(ALICE, token, "mint", vault.address, FUNDS)
        model = Model(limit, l1.time)
        paid: list[tuple[int, int]] = []
        bases: list[tuple[int, int]] = [(l1.time, FUNDS)]
        for index, (wait, move, share) in enumerate(moves):
            l1.pass_time(wait)
            assert l1.send(BOB, vault, "outflowRoom") == model.room(l1.time)[1]
            bases.append((l1.time, model.held + model.level))
            if move == "release":
                # The edge of the room, now and then.
                amount = model.room(l1.time)[1] + share % 3 - 1 if share % 5 == 0 else None
                amount = max(model.held * share // PPM if amount is None else amount, 0)
                l1.send(GOVERNOR, vault, "release", index, BOB, amount)
                if model.release(index, amount, l1.time):
                    paid.append((l1.time, amount))
            elif move == "pay in":
                l1.send(ALICE, token, "mint", vault.address, FUNDS * share // PPM)
                model.held += FUNDS * share // PPM
            elif model.delayed:
                pay(l1, vault, model)
            bases.append((l1.time, model.held + model.level))
            assert l1.send(BOB, token, "balanceOf", vault.address) == model.held
        check_bound(limit, paid, bases)
        settle_all(l1, vault, model, token)


def pay(l1: Chain, vault: At, model: Model) -> None:
    """Have the oldest delayed release paid, or see why not."""
    index, (amount, payable_at) = next(iter(model.delayed.items()))
    refusal = l1.refusal(BOB, vault, "payDelayed", index)
    if l1.time < payable_at:
        assert refusal == "MarginVault_NotYetPayable"
    elif amount > model.held:
        assert refusal == "ERC20InsufficientBalance"
    else:
        l1.send(BOB, vault, "payDelayed", index)
        model.held -= amount
        del model.delayed[index]


def check_bound(
    limit: tuple[int, int, int], paid: list[tuple[int, int]], bases: list[tuple[int, int]]
) -> None:
    """In every stretch of time: at most the largest capacity, and as much again each period."""
    ppm, period, _ = limit
    for first in range(len(paid)):
        total = 0
        for last in range(first, len(paid)):
            total += paid[last][1]
            start, end = paid[first][0], paid[last][0]
            largest = max(base for time, base in bases if start <= time <= end)
            assert total <= Fraction(largest * ppm, PPM) * (1 + Fraction(end - start, period))


def settle_all(l1: Chain, vault: At, model: Model, token: At) -> None:
    """Whatever has happened: once the delay is over, all that is covered is paid."""
    l1.pass_time(model.delay)
    for index, (amount, _) in sorted(model.delayed.items(), key=lambda item: item[1]):
        if amount <= model.held:
            l1.send(ALICE, vault, "payDelayed", index)
            model.held -= amount
    assert l1.send(BOB, token, "balanceOf", vault.address) == model.held
