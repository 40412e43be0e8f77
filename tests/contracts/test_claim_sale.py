"""Claims change hands, settled or not; nobody ever gets another's exit, nor pays for nothing."""

import pytest
from ape import project
from eth_utils import keccak

from tests.contracts.reference import Exit
from tests.contracts.support import (
    CHALLENGE_WINDOW,
    SUCCESS,
    ZERO_ADDRESS,
    Revert,
    advance,
    chunk,
    now,
    outcome,
    post,
    remove,
    set_time,
)
from tests.contracts.test_claim_exit import AMOUNT, World, open_world

PRICE = 900
LATER = 2**63
NO_OFFER = (ZERO_ADDRESS, 0, 0)


@pytest.fixture
def world(rollup, alice, bob, sequencer):
    """Exits of Alice (0, 3) and Bob (1, 2), posted and not settled."""
    return open_world(rollup, [alice, bob, bob, alice], alice, sequencer)


@pytest.fixture
def buyer(token, bridge, rival):
    token.mint(rival, 10 * PRICE, sender=rival)
    token.approve(bridge, 10 * PRICE, sender=rival)
    return rival


def settle(world):
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)


# transferClaim


def test_transfer__before_settlement__new_owner_is_paid(world, bridge, token, alice, rival):
    exit_ = world.exits[0]
    assert bridge.ownerOfClaim(exit_) == alice
    receipt = bridge.transferClaim(exit_, rival, sender=alice)
    (event,) = receipt.decode_logs(bridge.ClaimTransferred)
    assert (event.exitIndex, event["from"], event.to) == (0, alice, rival)
    assert (event.recipient, event.amount) == (alice, AMOUNT)
    assert bridge.ownerOfClaim(exit_) == rival
    assert not bridge.isClaimed(0)
    settle(world)
    before, others = token.balanceOf(rival), token.balanceOf(alice)
    receipt = bridge.claimExit(*world.claim(0), sender=alice)
    (event,) = receipt.decode_logs(bridge.ExitClaimed)
    assert (event.exitIndex, event.recipient, event.amount) == (0, rival, AMOUNT)
    assert token.balanceOf(rival) == before + AMOUNT
    assert token.balanceOf(alice) == others
    assert bridge.isClaimed(0)
    assert not bridge.isClaimed(1)


def test_transfer__on_and_back__follows_the_owner(world, bridge, token, alice, bob, rival):
    exit_ = world.exits[0]
    for giver, taker in [(alice, bob), (bob, rival), (rival, alice), (alice, alice)]:
        bridge.transferClaim(exit_, taker, sender=giver)
        assert bridge.ownerOfClaim(exit_) == taker
    settle(world)
    before = token.balanceOf(alice)
    bridge.claimExit(*world.claim(0), sender=bob)
    assert token.balanceOf(alice) == before + AMOUNT


def test_transfer__not_the_owner__reverts(world, bridge, alice, bob, rival, deployer, governor):
    exit_ = world.exits[0]
    for caller in (bob, rival, deployer, governor):
        expected = Revert("Bridge_NotClaimOwner", caller, alice)
        assert outcome(bridge.transferClaim, exit_, caller, sender=caller) == expected
    bridge.transferClaim(exit_, bob, sender=alice)
    expected = Revert("Bridge_NotClaimOwner", alice, bob)
    assert outcome(bridge.transferClaim, exit_, rival, sender=alice) == expected


def test_transfer__to_nobody__reverts(world, bridge, alice):
    expected = Revert("Bridge_ZeroOwner")
    assert outcome(bridge.transferClaim, world.exits[0], ZERO_ADDRESS, sender=alice) == expected


def test_transfer__claimed_exit__reverts(world, bridge, alice, bob):
    settle(world)
    bridge.claimExit(*world.claim(0), sender=bob)
    expected = Revert("Bridge_AlreadyClaimed", 0)
    assert outcome(bridge.transferClaim, world.exits[0], bob, sender=alice) == expected
    arguments = (world.exits[0], ZERO_ADDRESS, PRICE, LATER)
    assert outcome(bridge.offerClaim, *arguments, sender=alice) == expected


def test_transfer__another_asset__reverts(world, bridge, alice, bob):
    exit_ = world.exits[0]._replace(asset=1)
    expected = Revert("Bridge_UnknownAsset", 1)
    assert outcome(bridge.transferClaim, exit_, bob, sender=alice) == expected


@pytest.mark.parametrize(
    "invent",
    [
        lambda exit_, who: exit_._replace(recipient=who),
        lambda exit_, who: exit_._replace(recipient=who, amount=1),
        lambda exit_, who: Exit(exit_.index, 0, who, 2**128 - 1),
    ],
    ids=["same amount", "less", "most"],
)
def test_transfer__invented_exit_at_the_same_index__moves_nothing_of_the_real_one(
    world, bridge, token, alice, rival, invent
):
    """It only costs whoever claims the real one a look at the owners."""
    bridge.transferClaim(invent(world.exits[0], rival.address), rival, sender=rival)
    assert bridge.ownerOfClaim(world.exits[0]) == alice
    settle(world)
    before = token.balanceOf(alice)
    bridge.claimExit(*world.claim(0), sender=rival)
    assert token.balanceOf(alice) == before + AMOUNT


def test_transfer__removed_batch__gives_nobody_anothers_exit(
    world, rollup, bridge, token, alice, bob, rival, sequencer, proposer, challenger
):
    """Alice sells index 0; the batch goes; in the next one index 0 is Bob's."""
    bridge.transferClaim(world.exits[0], rival, sender=alice)
    chunks = [chunk(keccak(world.globals))]
    remove(rollup, challenger, world.header, rollup.genesis, chunks)
    other = World(rollup, [bob, alice])
    other.header = post(rollup, proposer, rollup.genesis, [chunk(keccak(other.globals))])
    settle(other)
    before, sold = token.balanceOf(bob), token.balanceOf(rival)
    bridge.claimExit(*other.claim(0), sender=rival)
    bridge.claimExit(*other.claim(1), sender=rival)
    assert token.balanceOf(bob) == before + AMOUNT
    assert token.balanceOf(rival) == sold


# Offers


def test_take__offer_to_anyone__swaps_money_and_claim(world, bridge, token, alice, buyer):
    exit_ = world.exits[0]
    receipt = bridge.offerClaim(exit_, ZERO_ADDRESS, PRICE, LATER, sender=alice)
    (event,) = receipt.decode_logs(bridge.ClaimOffered)
    assert (event.exitIndex, event.owner, event.buyer) == (0, alice, ZERO_ADDRESS)
    assert (event.recipient, event.amount) == (alice, AMOUNT)
    assert (event.price, event.deadline) == (PRICE, LATER)
    assert tuple(bridge.offerOf(exit_)) == (ZERO_ADDRESS, LATER, PRICE)
    seller, payer = token.balanceOf(alice), token.balanceOf(buyer)
    receipt = bridge.takeClaim(exit_, alice, PRICE, sender=buyer)
    (event,) = receipt.decode_logs(bridge.ClaimSold)
    assert (event.exitIndex, event.seller, event.buyer, event.price) == (0, alice, buyer, PRICE)
    assert receipt.decode_logs(bridge.ClaimTransferred)[0].to == buyer
    assert token.balanceOf(alice) == seller + PRICE
    assert token.balanceOf(buyer) == payer - PRICE
    assert bridge.ownerOfClaim(exit_) == buyer
    assert tuple(bridge.offerOf(exit_)) == NO_OFFER
    settle(world)
    bridge.claimExit(*world.claim(0), sender=alice)
    assert token.balanceOf(buyer) == payer - PRICE + AMOUNT


def test_take__offer_to_one__is_for_nobody_else(world, bridge, alice, bob, buyer):
    bridge.offerClaim(world.exits[0], buyer, PRICE, LATER, sender=alice)
    expected = Revert("Bridge_NotBuyer", bob)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=bob) == expected
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=buyer) is SUCCESS


def test_take__dearer_than_the_buyer_pays__reverts(world, bridge, alice, buyer):
    """The seller can raise the price before the buyer's transaction, for nothing."""
    bridge.offerClaim(world.exits[0], ZERO_ADDRESS, PRICE, LATER, sender=alice)
    bridge.offerClaim(world.exits[0], ZERO_ADDRESS, PRICE + 1, LATER, sender=alice)
    expected = Revert("Bridge_PriceTooHigh", PRICE + 1, PRICE)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=buyer) == expected
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE + 1, sender=buyer) is SUCCESS


def test_take__after_the_last_second__reverts(world, bridge, alice, buyer):
    deadline = now() + 100
    bridge.offerClaim(world.exits[0], ZERO_ADDRESS, PRICE, deadline, sender=alice)
    set_time(deadline)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=buyer) is SUCCESS
    advance(1)
    expected = Revert("Bridge_OfferExpired", deadline)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=buyer) == expected


def test_take__no_offer__reverts(world, bridge, alice, buyer):
    expected = Revert("Bridge_NoOffer", 0)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=buyer) == expected
    assert outcome(bridge.withdrawOffer, world.exits[0], sender=alice) == expected


def test_take__withdrawn_offer__reverts(world, bridge, alice, bob, buyer):
    bridge.offerClaim(world.exits[0], ZERO_ADDRESS, PRICE, LATER, sender=alice)
    expected = Revert("Bridge_NotClaimOwner", bob, alice)
    assert outcome(bridge.withdrawOffer, world.exits[0], sender=bob) == expected
    receipt = bridge.withdrawOffer(world.exits[0], sender=alice)
    (event,) = receipt.decode_logs(bridge.OfferWithdrawn)
    assert (event.exitIndex, event.owner) == (0, alice)
    expected = Revert("Bridge_NoOffer", 0)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=buyer) == expected


def test_take__offer_before_a_transfer__is_dead_even_when_the_claim_comes_back(
    world, bridge, alice, bob, buyer
):
    bridge.offerClaim(world.exits[0], ZERO_ADDRESS, PRICE, LATER, sender=alice)
    bridge.transferClaim(world.exits[0], bob, sender=alice)
    expected = Revert("Bridge_NotClaimOwner", alice, bob)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=buyer) == expected
    expected = Revert("Bridge_NoOffer", 0)
    assert outcome(bridge.takeClaim, world.exits[0], bob, PRICE, sender=buyer) == expected
    bridge.transferClaim(world.exits[0], alice, sender=bob)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=buyer) == expected


def test_take__claimed_meanwhile__takes_no_money(world, bridge, alice, bob, buyer):
    """The seller, or anyone, can have the exit paid before the buyer's transaction."""
    settle(world)
    bridge.offerClaim(world.exits[0], ZERO_ADDRESS, PRICE, LATER, sender=alice)
    bridge.claimExit(*world.claim(0), sender=bob)
    expected = Revert("Bridge_AlreadyClaimed", 0)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=buyer) == expected


def test_take__other_exit_than_offered__reverts(world, bridge, alice, buyer):
    bridge.offerClaim(world.exits[0], ZERO_ADDRESS, PRICE, LATER, sender=alice)
    expected = Revert("Bridge_NoOffer", 0)
    other = world.exits[0]._replace(amount=AMOUNT + 1)
    assert outcome(bridge.takeClaim, other, alice, PRICE, sender=buyer) == expected
    expected = Revert("Bridge_NoOffer", 3)
    assert outcome(bridge.takeClaim, world.exits[3], alice, PRICE, sender=buyer) == expected


def test_take__without_money__changes_nothing(world, bridge, alice, bob):
    bridge.offerClaim(world.exits[0], ZERO_ADDRESS, PRICE, LATER, sender=alice)
    expected = Revert("ERC20InsufficientAllowance", bridge, 0, PRICE)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=bob) == expected


def test_take__approval_of_somebody_else__is_never_used(world, bridge, alice, bob, buyer):
    """Only the caller pays: what others approved the bridge for is out of reach."""
    bridge.offerClaim(world.exits[0], buyer, PRICE, LATER, sender=alice)
    expected = Revert("Bridge_NotBuyer", alice)
    assert outcome(bridge.takeClaim, world.exits[0], alice, PRICE, sender=alice) == expected


def test_offer__free_or_over__reverts(world, bridge, alice, bob):
    arguments = (world.exits[0], ZERO_ADDRESS)
    for rest, expected in [
        ((0, LATER), Revert("Bridge_ZeroAmount")),
        ((PRICE, now() - 1), Revert("Bridge_OfferExpired", now() - 1)),
    ]:
        assert outcome(bridge.offerClaim, *arguments, *rest, sender=alice) == expected
    expected = Revert("Bridge_NotClaimOwner", bob, alice)
    assert outcome(bridge.offerClaim, *arguments, PRICE, LATER, sender=bob) == expected


@pytest.mark.parametrize("second", ["takeClaim", "claimExit"])
def test_take__reentered_by_token__pays_once(
    deploy, deployer, alice, bob, rival, sequencer, second
):
    """In the middle of the payment the claim is the buyer's already, and the offer gone."""
    rollup = deploy(deployer.deploy(project.ReentrantToken))
    rollup.inbox.bond(value=rollup.inbox.bondAmount(), sender=sequencer)
    bridge, token = rollup.bridge, rollup.token
    world = open_world(rollup, [alice], alice, sequencer)
    settle(world)
    for who in (rival, token):
        token.mint(who, 10 * PRICE, sender=alice)
    token.approve(bridge, PRICE, sender=rival)
    bridge.offerClaim(world.exits[0], ZERO_ADDRESS, PRICE, LATER, sender=alice)
    calls = {
        "takeClaim": bridge.takeClaim.encode_input(world.exits[0], alice, PRICE),
        "claimExit": bridge.claimExit.encode_input(*world.claim(0)),
    }
    token.arm(bridge, calls[second], sender=alice)
    bridge.takeClaim(world.exits[0], alice, PRICE, sender=rival)
    assert token.balanceOf(alice) == PRICE
    if second == "takeClaim":
        assert not token.reentered()
        expected = keccak(text="Bridge_NotClaimOwner(address,address)")[:4]
        assert token.result()[:4] == expected
        bridge.claimExit(*world.claim(0), sender=bob)
    assert token.balanceOf(rival) == 9 * PRICE + AMOUNT
    assert bridge.isClaimed(0)
