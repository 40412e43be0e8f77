"""Nobody but the bridge moves money out; much of it at once waits, and none is ever stuck."""

import pytest
from ape import project
from eth_utils import keccak

from tests.contracts.support import (
    LIMIT,
    NO_LIMIT,
    SUCCESS,
    ZERO_ADDRESS,
    Revert,
    advance,
    deployment_outcome,
    now,
    outcome,
    set_time,
)

FUNDS = 1_000_000
ROOM = 200_000
PERIOD = DELAY = 86_400
SILENT = 2**256 - 1


@pytest.fixture
def pay_into(deployer, governor, prover):
    """Deploy a vault for a token and fund it; the governor stands for the bridge."""

    def pay_into(token, limit=LIMIT):
        vault = deployer.deploy(project.MarginVault, token, governor, prover, limit)
        token.mint(vault, FUNDS, sender=deployer)
        return vault

    return pay_into


@pytest.fixture
def limited(pay_into, token):
    return pay_into(token)


# Who


def test_release__by_anyone_else__reverts(vault, inbox, prover, alice, deployer, governor):
    for caller in (alice, deployer, governor, inbox, prover, vault):
        expected = Revert("MarginVault_NotBridge", caller)
        assert outcome(vault.release, 0, caller, 0, sender=caller) == expected


def test_release_frozen__by_anyone_else__reverts(vault, inbox, bridge, alice, deployer):
    for caller in (alice, deployer, bridge, inbox, vault):
        expected = Revert("MarginVault_NotEscapeHatch", caller)
        assert outcome(vault.releaseFrozen, caller, 0, sender=caller) == expected


def test_release_frozen__everything__is_paid_at_once(limited, prover, alice):
    assert outcome(limited.releaseFrozen, alice, FUNDS, sender=prover) is SUCCESS
    expected = Revert("ERC20InsufficientBalance", limited, FUNDS, FUNDS + 1)
    assert outcome(limited.releaseFrozen, alice, FUNDS + 1, sender=prover) == expected


# The limiter


def test_release__up_to_the_bound__is_paid_at_once(limited, token, alice, bob, governor):
    before = token.balanceOf(bob)
    assert limited.outflowRoom() == ROOM
    limited.release(7, bob, ROOM, sender=governor)
    assert token.balanceOf(bob) == before + ROOM
    assert tuple(limited.delayedOf(7)) == (ZERO_ADDRESS, 0, 0)
    assert limited.outflowRoom() < 10


def test_release__beyond_the_bound__waits_and_takes_no_room(limited, token, bob, governor):
    before = token.balanceOf(bob)
    receipt = limited.release(7, bob, ROOM + 1, sender=governor)
    (event,) = receipt.decode_logs(limited.ReleaseDelayed)
    due = receipt.timestamp + DELAY
    assert (event.exitIndex, event.to, event.amount, event.payableAt) == (7, bob, ROOM + 1, due)
    assert tuple(limited.delayedOf(7)) == (bob, due, ROOM + 1)
    assert token.balanceOf(bob) == before
    assert limited.outflowRoom() == ROOM


def test_release__split__gets_no_more_through(limited, bob, governor):
    """The bound is on the sum: what has left counts as still here until it has drained."""
    for index in range(4):
        limited.release(index, bob, ROOM // 4, sender=governor)
    # A second after each other.
    room = limited.outflowRoom()
    assert room <= 4 * ROOM // PERIOD + 4
    limited.release(9, bob, ROOM // 4, sender=governor)
    assert limited.delayedOf(9).amount == ROOM // 4


@pytest.mark.parametrize(
    ("elapsed", "room"),
    [
        # The bucket holds 200,000, the vault 800,000; a fifth of both drains in a period.
        (PERIOD // 4, 190_000 - 150_000),
        (PERIOD // 2, 180_000 - 100_000),
        (PERIOD, 160_000),
        (30 * PERIOD, 160_000),
    ],
)
def test_room__after_an_outflow__comes_back_in_a_period(limited, bob, governor, elapsed, room):
    receipt = limited.release(7, bob, ROOM, sender=governor)
    set_time(receipt.timestamp + elapsed)
    assert limited.outflowRoom() == room


def test_room__money_sent_to_the_vault__raises_it_by_its_share_only(limited, token, deployer):
    token.mint(limited, FUNDS, sender=deployer)
    assert limited.outflowRoom() == 2 * ROOM


def test_release__of_nothing__is_paid_even_when_full(limited, bob, governor):
    limited.release(7, bob, ROOM, sender=governor)
    receipt = limited.release(8, bob, 0, sender=governor)
    assert not receipt.decode_logs(limited.ReleaseDelayed)


def test_release__limiter_switched_off__pays_all_there_is(pay_into, token, bob, governor):
    vault = pay_into(token, NO_LIMIT)
    assert vault.outflowRoom() == 2**256 - 1
    expected = Revert("ERC20InsufficientBalance", vault, FUNDS, FUNDS + 1)
    assert outcome(vault.release, 7, bob, FUNDS + 1, sender=governor) == expected
    vault.release(7, bob, FUNDS, sender=governor)
    assert token.balanceOf(vault) == 0
    expected = Revert("ERC20InsufficientBalance", vault, 0, 1)
    assert outcome(vault.release, 8, bob, 1, sender=governor) == expected


# What waits


def test_pay_delayed__too_early__reverts(limited, bob, governor, rival):
    receipt = limited.release(7, bob, FUNDS, sender=governor)
    due = receipt.timestamp + DELAY
    set_time(due - 2)
    # A simulated call is in the last block's second.
    assert now() == due - 2
    expected = Revert("MarginVault_NotYetPayable", 7, due)
    assert outcome(limited.payDelayed, 7, sender=rival) == expected
    assert outcome(limited.payDelayedTo, 7, rival, sender=bob) == expected
    set_time(due)
    assert outcome(limited.payDelayed, 7, sender=rival) is SUCCESS


def test_pay_delayed__by_anyone__pays_recipient_once(limited, token, bob, governor, rival):
    before = token.balanceOf(bob)
    limited.release(7, bob, ROOM + 1, sender=governor)
    advance(DELAY)
    receipt = limited.payDelayed(7, sender=rival)
    (event,) = receipt.decode_logs(limited.DelayedPaid)
    assert (event.exitIndex, event.to, event.amount) == (7, bob, ROOM + 1)
    assert token.balanceOf(bob) == before + ROOM + 1
    expected = Revert("MarginVault_NothingDelayed", 7)
    assert outcome(limited.payDelayed, 7, sender=rival) == expected
    assert outcome(limited.payDelayed, 8, sender=rival) == Revert("MarginVault_NothingDelayed", 8)


def test_pay_delayed__bucket_full__is_paid_all_the_same(limited, token, alice, bob, governor):
    """Who fills the bucket before others delays them once, and never again."""
    limited.release(1, bob, ROOM + 1, sender=governor)
    advance(DELAY)
    limited.release(2, alice, 150_000, sender=governor)
    limited.release(3, alice, FUNDS // 2, sender=governor)
    room = limited.outflowRoom()
    limited.payDelayed(1, sender=alice)
    assert limited.delayedOf(1).amount == 0
    assert limited.delayedOf(3).amount == FUNDS // 2
    # Less is left in the vault, so there is less room; the payment itself took none.
    assert room - ROOM // 4 < limited.outflowRoom() < room
    assert token.balanceOf(limited) == FUNDS - ROOM - 1 - 150_000


def test_pay_delayed__more_than_there_is__waits_for_money_and_stops_nobody(
    limited, token, alice, bob, governor, deployer
):
    limited.release(1, bob, FUNDS + 1, sender=governor)
    limited.release(2, alice, ROOM + 1, sender=governor)
    advance(DELAY)
    expected = Revert("ERC20InsufficientBalance", limited, FUNDS, FUNDS + 1)
    assert outcome(limited.payDelayed, 1, sender=bob) == expected
    limited.payDelayed(2, sender=alice)
    token.mint(limited, ROOM + 2, sender=deployer)
    limited.payDelayed(1, sender=bob)
    assert token.balanceOf(limited) == 0


def test_pay_delayed__recipient_refused__can_be_repeated_and_stops_nobody(
    pay_into, deployer, alice, bob, governor
):
    token = deployer.deploy(project.OddToken, 18)
    vault = pay_into(token)
    vault.release(1, bob, ROOM + 1, sender=governor)
    vault.release(2, alice, ROOM + 1, sender=governor)
    advance(DELAY)
    token.refuse(bob, True, sender=alice)
    expected = Revert("OddToken_Refused", bob)
    assert outcome(vault.payDelayed, 1, sender=bob) == expected
    vault.payDelayed(2, sender=bob)
    assert vault.delayedOf(1).amount == ROOM + 1
    token.refuse(bob, False, sender=alice)
    vault.payDelayed(1, sender=alice)
    assert token.balanceOf(bob) == token.balanceOf(alice) == ROOM + 1


def test_pay_delayed_to__refused_recipient__has_it_sent_elsewhere(
    pay_into, deployer, alice, bob, governor
):
    token = deployer.deploy(project.OddToken, 18)
    vault = pay_into(token)
    vault.release(1, bob, ROOM + 1, sender=governor)
    advance(DELAY)
    token.refuse(bob, True, sender=alice)
    for caller in (alice, governor, deployer):
        expected = Revert("MarginVault_NotRecipient", caller)
        assert outcome(vault.payDelayedTo, 1, caller, sender=caller) == expected
    expected = Revert("MarginVault_InvalidAddress", ZERO_ADDRESS)
    assert outcome(vault.payDelayedTo, 1, ZERO_ADDRESS, sender=bob) == expected
    receipt = vault.payDelayedTo(1, alice, sender=bob)
    (event,) = receipt.decode_logs(vault.DelayedPaid)
    assert (event.to, event.amount) == (alice, ROOM + 1)
    assert token.balanceOf(alice) == ROOM + 1
    expected = Revert("MarginVault_NotRecipient", bob)
    assert outcome(vault.payDelayedTo, 1, alice, sender=bob) == expected


def test_pay_delayed__reentered_by_token__pays_once(pay_into, deployer, alice, bob, governor):
    token = deployer.deploy(project.ReentrantToken)
    vault = pay_into(token)
    vault.release(1, bob, ROOM + 1, sender=governor)
    advance(DELAY)
    token.arm(vault, vault.payDelayed.encode_input(1), sender=alice)
    vault.payDelayed(1, sender=alice)
    assert token.balanceOf(bob) == ROOM + 1
    assert not token.reentered()
    assert token.result()[:4] == keccak(text="MarginVault_NothingDelayed(uint32)")[:4]


# Construction


def test_constructor__token_without_code__reverts(bridge, alice):
    arguments = (alice, bridge, bridge, LIMIT)
    result = deployment_outcome(project.MarginVault, *arguments, sender=alice)
    assert result == Revert("MarginVault_InvalidAddress", alice)


def test_constructor__zero_address__reverts(token, alice):
    for arguments in ((ZERO_ADDRESS, alice), (alice, ZERO_ADDRESS)):
        result = deployment_outcome(project.MarginVault, token, *arguments, LIMIT, sender=alice)
        assert result == Revert("MarginVault_InvalidAddress", ZERO_ADDRESS)


@pytest.mark.parametrize(
    ("limit", "is_good"),
    [
        ((10_000, 3_600, 3_600), True),
        ((1_000_000, 30 * 86_400, 7 * 86_400), True),
        ((0, 86_400, 86_400), False),
        ((9_999, 86_400, 86_400), False),
        ((1_000_001, 86_400, 86_400), False),
        ((200_000, 3_599, 86_400), False),
        ((200_000, 30 * 86_400 + 1, 86_400), False),
        ((200_000, 86_400, 3_599), False),
        ((200_000, 86_400, 7 * 86_400 + 1), False),
        ((200_000, 86_400, 2**64 - 1), False),
    ],
    ids=str,
)
def test_constructor__limit__has_bounds(token, bridge, alice, limit, is_good):
    arguments = (token, bridge, bridge, limit)
    result = deployment_outcome(project.MarginVault, *arguments, sender=alice)
    assert result == (SUCCESS if is_good else Revert("MarginVault_InvalidLimit"))


def _odd(deployer, decimals, *, silent=False):
    token = deployer.deploy(project.OddToken, decimals)
    if silent:
        token.silence(sender=deployer)
    return token


def _switched(deployer, mode):
    token = deployer.deploy(project.SwitchToken)
    token.setMode(mode, sender=deployer)
    return token


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda who: _odd(who, 1), None),
        (lambda who: _odd(who, 18), None),
        (lambda who: _odd(who, 0), ("MarginVault_UnsupportedDecimals", 0)),
        (lambda who: _odd(who, 19), ("MarginVault_UnsupportedDecimals", 19)),
        (lambda who: _odd(who, 256 + 6), ("MarginVault_UnsupportedDecimals", 262)),
        (lambda who: _odd(who, SILENT), ("MarginVault_UnsupportedDecimals", 0)),
        (lambda who: who.deploy(project.Caller), ("MarginVault_UnsupportedDecimals", 0)),
        (lambda who: _odd(who, 6, silent=True), ("MarginVault_UnsupportedToken",)),
        (lambda who: _switched(who, 1), ("MarginVault_UnsupportedToken",)),
        (lambda who: _switched(who, 2), ("MarginVault_UnsupportedToken",)),
        (lambda who: _switched(who, 3), ("MarginVault_UnsupportedToken",)),
        # Without a return value: as good as any. A fee shows at the first deposit.
        (lambda who: _switched(who, 4), None),
        (lambda who: who.deploy(project.FeeToken), None),
        (lambda who: who.deploy(project.DaiLikeToken), None),
    ],
    ids=[
        "1 decimal",
        "18 decimals",
        "0 decimals",
        "19 decimals",
        "262 decimals",
        "no decimals",
        "no token",
        "no balances",
        "paused",
        "reverting",
        "returning false",
        "returning nothing",
        "with fee",
        "like DAI",
    ],
)
def test_constructor__odd_token__is_refused(bridge, deployer, make, error):
    token = make(deployer)
    arguments = (token, bridge, bridge, LIMIT)
    result = deployment_outcome(project.MarginVault, *arguments, sender=deployer)
    if error is None:
        assert result is SUCCESS
    else:
        assert result == Revert(error[0], *(error[1:] or (token,)))
