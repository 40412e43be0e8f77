"""How much a young deployment takes: an immutable schedule that grows by itself and ends."""

import pytest
from ape import project

from tests.contracts.support import (
    LIMIT,
    SUCCESS,
    Revert,
    advance,
    deployment_outcome,
    now,
    outcome,
    set_time,
)

FIRST, DAILY, DAYS = 1_000, 100, 10
DAY = 86_400


@pytest.fixture
def young(deploy, token, alice):
    """A rollup that takes 1,000 units at first and 100 more each day for ten days."""
    rollup = deploy(token, cap=(FIRST, DAILY, now(), now() + DAYS * DAY))
    token.approve(rollup.bridge, 10**9, sender=alice)
    return rollup


def deposit(rollup, alice, amount):
    return outcome(rollup.bridge.deposit, alice, 0, amount, sender=alice)


def test_deposit__up_to_the_cap__is_accepted(young, alice):
    assert deposit(young, alice, FIRST) is SUCCESS
    assert deposit(young, alice, FIRST + 1) == Revert("Bridge_DepositCap", FIRST, FIRST + 1)
    young.bridge.deposit(alice, 0, FIRST - 1, sender=alice)
    assert deposit(young, alice, 1) is SUCCESS
    assert deposit(young, alice, 2) == Revert("Bridge_DepositCap", FIRST, FIRST + 1)


def test_deposit__as_the_days_pass__more_is_accepted(young, alice):
    start = young.bridge.capStart()
    set_time(start + DAY // 2 - 1)
    assert young.bridge.depositCap() == FIRST + DAILY // 2 - 1
    set_time(start + 3 * DAY)
    assert young.bridge.depositCap() == FIRST + 3 * DAILY
    assert deposit(young, alice, FIRST + 3 * DAILY) is SUCCESS


def test_deposit__after_the_end__has_no_cap(young, alice):
    end = young.bridge.capEnd()
    set_time(end - 1)
    assert deposit(young, alice, 10**9) != SUCCESS
    set_time(end)
    assert young.bridge.depositCap() == 2**256 - 1
    assert deposit(young, alice, 10**9) is SUCCESS


def test_deposit__money_sent_past_the_bridge__counts(young, token, alice):
    """It costs whoever sends it what it takes of the room."""
    token.transfer(young.vault, FIRST, sender=alice)
    assert deposit(young, alice, 1) == Revert("Bridge_DepositCap", FIRST, FIRST + 1)
    advance(DAY)
    assert deposit(young, alice, 1) is SUCCESS


def test_requests__at_the_cap__are_taken(young, token, alice):
    token.transfer(young.vault, 2 * FIRST, sender=alice)
    assert outcome(young.bridge.forceExit, 1, 1, sender=alice) is SUCCESS


def test_deposit__no_cap__is_never_asked(bridge):
    assert bridge.depositCap() == 2**256 - 1
    assert (bridge.capAtStart(), bridge.capPerDay()) == (0, 0)
    assert (bridge.capStart(), bridge.capEnd()) == (0, 0)


@pytest.mark.parametrize(
    ("cap", "is_good"),
    [
        ((0, 0, 0, 0), True),
        ((1, 0, 50, 100), True),
        ((2**128 - 1, 2**128 - 1, 50, 50 + 730 * DAY), True),
        ((1, 0, 50, 0), False),
        ((0, 1, 0, 0), False),
        ((0, 1, 50, 100), False),
        ((1, 0, 0, 100), False),
        ((0, 0, 50, 0), False),
        ((1, 0, 50, 50), False),
        ((1, 0, 50, 50 + 730 * DAY + 1), False),
        ((1, 0, 50, 2**64 - 1), False),
    ],
    ids=[
        "none",
        "flat",
        "largest",
        "no end",
        "growth without end",
        "nothing at first",
        "no start",
        "a start alone",
        "over already",
        "too long",
        "for ever",
    ],
)
def test_constructor__cap__is_a_schedule_or_nothing(
    token, inbox, governor, deployer, create_at, cap, is_good
):
    vault = deployer.deploy(project.MarginVault, token, create_at(deployer, 1), deployer, LIMIT)
    arguments = (vault, inbox, governor, cap)
    result = deployment_outcome(project.Bridge, *arguments, sender=deployer)
    assert result == (SUCCESS if is_good else Revert("Bridge_InvalidCap"))
