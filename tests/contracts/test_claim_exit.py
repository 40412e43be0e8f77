"""Out of the rollup: an exit is paid once, to its recipient, from a settled batch only."""

import pytest
from ape import project
from eth_utils import keccak

from deltaroll.protocol import leaf, types
from deltaroll.protocol.tree import MerkleTree
from tests.contracts.reference import (
    EXIT_DEPTH,
    ZERO,
    Exit,
    compress,
    encode_globals,
    exit_levels,
    tree_branch,
)
from tests.contracts.support import (
    CHALLENGE_WINDOW,
    GENESIS_ROOT,
    LIMIT,
    SUCCESS,
    Revert,
    Rollup,
    advance,
    chunk,
    now,
    outcome,
    post,
    remove,
    set_time,
)
from tests.contracts.test_bridge_queue import Mode

FUNDS = 10_000
AMOUNT = 1_000


class World:
    """A rollup with money in the vault and exits in a state."""

    def __init__(self, rollup: Rollup, recipients):
        self.rollup = rollup
        self.exits = [Exit(n, 0, who.address, AMOUNT + n) for n, who in enumerate(recipients)]
        self.levels = exit_levels(self.exits)
        self.globals = encode_globals(self.levels[-1][0])
        self.header = rollup.genesis

    def branch(self, index: int):
        return compress(tree_branch(self.levels, index))

    def claim(self, index: int = 0, **changes):
        """Arguments of `claimExit`."""
        fields = {"header": self.header, "globals": self.globals, "exit": self.exits[index]}
        return tuple({**fields, **self.branch(index)._asdict(), **changes}.values())


def open_world(rollup, recipients, alice, sequencer):
    world = World(rollup, recipients)
    rollup.token.mint(rollup.vault, FUNDS, sender=alice)
    world.header = post(rollup, sequencer, rollup.genesis, [chunk(keccak(world.globals))])
    return world


@pytest.fixture
def world(rollup, alice, bob, sequencer):
    """Five exits in a settled batch."""
    world = open_world(rollup, [alice, bob, bob, alice, bob], alice, sequencer)
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    return world


@pytest.fixture
def claim_exit(bridge):
    return bridge.claimExit


# What is paid


def test_claim__settled_exit__pays_recipient_whoever_calls(world, bridge, token, vault, bob, rival):
    before = token.balanceOf(bob)
    receipt = bridge.claimExit(*world.claim(4), sender=rival)
    (event,) = receipt.decode_logs(bridge.ExitClaimed)
    assert (event.exitIndex, event.recipient, event.amount) == (4, bob, AMOUNT + 4)
    assert token.balanceOf(bob) == before + AMOUNT + 4
    assert token.balanceOf(vault) == FUNDS - AMOUNT - 4
    assert bridge.isClaimed(4)
    assert not bridge.isClaimed(3)


def test_claim__every_exit__pays_each_once(world, bridge, token, vault, bob):
    for index in range(5):
        bridge.claimExit(*world.claim(index), sender=bob)
    assert token.balanceOf(vault) == FUNDS - 5 * AMOUNT - 10
    for index in range(5):
        expected = Revert("Bridge_AlreadyClaimed", index)
        assert outcome(bridge.claimExit, *world.claim(index), sender=bob) == expected


def test_claim__nullifiers__never_alias(rollup, bridge, bob, alice, sequencer):
    """Two bits of one word for each exit, also across words."""
    world = open_world(rollup, [bob] * 600, alice, sequencer)
    rollup.token.mint(rollup.vault, 600 * FUNDS, sender=alice)
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    paid = [0, 127, 128, 255, 256, 599]
    for index in paid:
        bridge.claimExit(*world.claim(index), sender=bob)
    near = [*paid, 1, 63, 126, 129, 254, 257, 510, 512, 2**32 - 1]
    assert [index for index in near if bridge.isClaimed(index)] == paid


def test_claim__again_from_a_later_batch__reverts(world, rollup, bridge, sequencer, bob):
    """The nullifier is the exit's place in the tree, not the proof nor the batch."""
    bridge.claimExit(*world.claim(1), sender=bob)
    later_globals = encode_globals(world.levels[-1][0], blob_fee_level=1)
    later = post(rollup, sequencer, world.header, [chunk(keccak(later_globals))])
    set_time(later.l1_time + CHALLENGE_WINDOW + 1)
    changes = {"header": later, "globals": later_globals}
    expected = Revert("Bridge_AlreadyClaimed", 1)
    assert outcome(bridge.claimExit, *world.claim(1, **changes), sender=bob) == expected
    assert outcome(bridge.claimExit, *world.claim(2, **changes), sender=bob) is SUCCESS


def test_claim__failed_transfer__can_be_repeated(deploy, deployer, alice, bob, sequencer):
    rollup = deploy(deployer.deploy(project.SwitchToken))
    rollup.inbox.bond(value=rollup.inbox.bondAmount(), sender=sequencer)
    world = open_world(rollup, [bob], alice, sequencer)
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    for mode, expected in [
        (Mode.PAUSED, Revert("SwitchToken_Paused")),
        (Mode.RETURN_FALSE, Revert("SafeERC20FailedOperation", rollup.token)),
    ]:
        rollup.token.setMode(mode, sender=alice)
        assert outcome(rollup.bridge.claimExit, *world.claim(), sender=bob) == expected
    rollup.token.setMode(Mode.RETURN_NOTHING, sender=alice)
    rollup.bridge.claimExit(*world.claim(), sender=bob)
    assert rollup.token.balanceOf(bob) == AMOUNT


def test_claim__reentered_by_token__pays_once(deploy, deployer, alice, bob, sequencer):
    rollup = deploy(deployer.deploy(project.ReentrantToken))
    rollup.inbox.bond(value=rollup.inbox.bondAmount(), sender=sequencer)
    world = open_world(rollup, [bob], alice, sequencer)
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    again = rollup.bridge.claimExit.encode_input(*world.claim())
    rollup.token.arm(rollup.bridge, again, sender=alice)
    rollup.bridge.claimExit(*world.claim(), sender=bob)
    assert rollup.token.balanceOf(bob) == AMOUNT
    assert not rollup.token.reentered()
    assert rollup.token.result()[:4] == keccak(text="Bridge_AlreadyClaimed(uint32)")[:4]


def test_claim__beyond_the_bound__counts_as_claimed_and_is_paid_later(
    deploy, deployer, alice, bob, sequencer
):
    rollup = deploy(deployer.deploy(project.MockUSDC), limit=LIMIT)
    rollup.inbox.bond(value=rollup.inbox.bondAmount(), sender=sequencer)
    bridge, vault, token = rollup.bridge, rollup.vault, rollup.token
    world = open_world(rollup, [bob, bob, alice], alice, sequencer)
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    bridge.claimExit(*world.claim(0), sender=alice)
    receipt = bridge.claimExit(*world.claim(1), sender=alice)
    (event,) = receipt.decode_logs(bridge.ExitClaimed)
    (delayed,) = receipt.decode_logs(vault.ReleaseDelayed)
    assert (event.exitIndex, event.recipient, event.amount) == (1, bob, AMOUNT + 1)
    assert (delayed.exitIndex, delayed.to, delayed.amount) == (1, bob, AMOUNT + 1)
    assert bridge.isClaimed(1)
    assert token.balanceOf(bob) == AMOUNT
    expected = Revert("Bridge_AlreadyClaimed", 1)
    assert outcome(bridge.claimExit, *world.claim(1), sender=bob) == expected
    advance(LIMIT[2])
    vault.payDelayed(1, sender=alice)
    assert token.balanceOf(bob) == 2 * AMOUNT + 1


def test_claim__recipient_is_the_vault__moves_nothing(rollup, alice, sequencer, token, vault):
    world = open_world(rollup, [vault], alice, sequencer)
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    rollup.bridge.claimExit(*world.claim(), sender=alice)
    assert token.balanceOf(vault) == FUNDS


def test_claim__exit_of_the_protocol__is_understood(rollup, token, alice, bob, sequencer):
    """The bytes that the state transition makes are the ones that the bridge opens."""
    recipient = types.Address(bytes.fromhex(bob.address[2:]))
    exits = [types.Exit(0, recipient, AMOUNT + n) for n in range(3)]
    tree = MerkleTree(EXIT_DEPTH)
    tree.update({n: leaf.hash_leaf(leaf.encode_exit(item)) for n, item in enumerate(exits)})
    state = types.Globals(ZERO, ZERO, tree.root, *range(1, 14))
    world = World(rollup, [bob] * 3)
    assert world.levels[-1][0] == tree.root
    world.globals = leaf.encode_globals(state)
    rollup.token.mint(rollup.vault, FUNDS, sender=alice)
    world.header = post(rollup, sequencer, rollup.genesis, [chunk(leaf.hash_globals(state))])
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    rollup.bridge.claimExit(*world.claim(2), sender=alice)
    assert token.balanceOf(bob) == AMOUNT + 2


# From which batch


def test_claim__before_settled__reverts(rollup, claim_exit, alice, sequencer):
    world = open_world(rollup, [alice], alice, sequencer)
    expected = Revert("Bridge_NotSettled", 1)
    assert outcome(claim_exit, *world.claim(), sender=alice) == expected
    set_time(world.header.l1_time + CHALLENGE_WINDOW)
    assert outcome(claim_exit, *world.claim(), sender=alice) == expected
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    assert outcome(claim_exit, *world.claim(), sender=alice) is SUCCESS


def test_claim__removed_batch__reverts(rollup, claim_exit, genesis, alice, sequencer, challenger):
    good = post(rollup, sequencer, genesis)
    world = World(rollup, [alice])
    world.header = post(rollup, sequencer, good, [chunk(keccak(world.globals))])
    remove(rollup, challenger, good, genesis)
    advance(CHALLENGE_WINDOW + 1)
    assert outcome(claim_exit, *world.claim(), sender=alice) == Revert("Bridge_NotSettled", 2)


def test_claim__removed_batch_replaced__reverts(
    rollup, claim_exit, genesis, alice, sequencer, proposer, challenger
):
    world = open_world(rollup, [alice], alice, sequencer)
    proof_chunks = [chunk(keccak(world.globals))]
    remove(rollup, challenger, world.header, genesis, chunks=proof_chunks)
    replacement = post(rollup, proposer, genesis)
    set_time(replacement.l1_time + CHALLENGE_WINDOW + 1)
    assert outcome(claim_exit, *world.claim(), sender=alice) == Revert("Bridge_NotSettled", 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"index": 0},
        {"index": 2},
        {"previous": keccak(b"other")},
        {"post_root": keccak(b"other")},
        {"l1_time": 0},
        {"proposer": "0x" + "11" * 20},
        {"data_mode": 1},
        {"parameter_hash": ZERO},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_claim__forged_header__reverts(world, claim_exit, alice, changes):
    header = world.header._replace(**changes)
    expected = Revert("Bridge_NotSettled", header.index)
    assert outcome(claim_exit, *world.claim(header=header), sender=alice) == expected


def test_claim__never_posted_header__reverts(world, claim_exit, alice):
    header = world.header._replace(index=9, post_root=keccak(world.globals), l1_time=0)
    expected = Revert("Bridge_NotSettled", 9)
    assert outcome(claim_exit, *world.claim(header=header), sender=alice) == expected


def test_claim__genesis__has_nothing_to_claim(world, claim_exit, genesis, alice):
    assert genesis.post_root == GENESIS_ROOT
    expected = Revert("Bridge_WrongGlobals")
    assert outcome(claim_exit, *world.claim(header=genesis), sender=alice) == expected


# Against which state


@pytest.mark.parametrize(
    "spoil",
    [
        lambda globals_: b"",
        lambda globals_: globals_[:-1],
        lambda globals_: globals_ + b"\x00",
        lambda globals_: globals_[:-1] + b"\x01",
        lambda globals_: globals_[:66] + keccak(b"other") + globals_[98:],
    ],
    ids=["empty", "shorter", "longer", "other-tail", "other-exits-root"],
)
def test_claim__other_globals__reverts(world, claim_exit, alice, spoil):
    arguments = world.claim(globals=spoil(world.globals))
    assert outcome(claim_exit, *arguments, sender=alice) == Revert("Bridge_WrongGlobals")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda globals_: b"\x48" + globals_[1:],
        lambda globals_: b"\x47\x01" + globals_[2:],
        lambda globals_: globals_ + b"\x00",
        lambda globals_: globals_[:-1],
    ],
    ids=["tag", "version", "longer", "shorter"],
)
def test_claim__state_of_another_shape__reverts(rollup, alice, sequencer, spoil):
    """Even when its hash is settled: bytes of another kind or version are never read as globals."""
    world = World(rollup, [alice])
    world.globals = spoil(world.globals)
    world.header = post(rollup, sequencer, rollup.genesis, [chunk(keccak(world.globals))])
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    expected = Revert("Bridge_WrongGlobals")
    assert outcome(rollup.bridge.claimExit, *world.claim(), sender=alice) == expected


# Which exit


@pytest.mark.parametrize(
    "changes",
    [
        {"index": 3},
        {"index": 5},
        {"index": 2**31 + 2},
        {"recipient": "0x" + "11" * 20},
        {"amount": AMOUNT},
        {"amount": 2**128 - 1},
    ],
    ids=str,
)
def test_claim__changed_exit__reverts(world, claim_exit, alice, changes):
    arguments = world.claim(2, exit=world.exits[2]._replace(**changes))
    assert outcome(claim_exit, *arguments, sender=alice) == Revert("Bridge_WrongBranch")


def test_claim__another_asset__reverts(world, claim_exit, alice):
    arguments = world.claim(2, exit=world.exits[2]._replace(asset=1))
    assert outcome(claim_exit, *arguments, sender=alice) == Revert("Bridge_UnknownAsset", 1)


def test_claim__branch_of_another_exit__reverts(world, claim_exit, alice):
    arguments = world.claim(0, **world.branch(1)._asdict())
    assert outcome(claim_exit, *arguments, sender=alice) == Revert("Bridge_WrongBranch")


def test_claim__empty_tree__reverts(rollup, alice, sequencer):
    """An exit root of zero opens to nothing, whatever the branch."""
    world = World(rollup, [alice])
    world.globals = encode_globals(ZERO)
    world.header = post(rollup, sequencer, rollup.genesis, [chunk(keccak(world.globals))])
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    expected = Revert("Bridge_WrongBranch")
    for sibling_map, siblings in [(0, []), (2**32 - 1, [ZERO] * 32)]:
        arguments = world.claim(sibling_map=sibling_map, siblings=siblings)
        assert outcome(rollup.bridge.claimExit, *arguments, sender=alice) == expected


@pytest.mark.parametrize("change", [-3, -1, 1, 29])
def test_claim__branch_longer_or_shorter_than_its_map__reverts(world, claim_exit, alice, change):
    sibling_map, siblings = world.branch(0)
    other = [*siblings, *[keccak(b"extra")] * 29][: len(siblings) + change]
    arguments = world.claim(0, siblings=other)
    expected = Revert("Bridge_BranchLength", sibling_map.bit_count(), len(other))
    assert outcome(claim_exit, *arguments, sender=alice) == expected


def test_claim__inner_node_as_leaf__reverts(world, claim_exit, alice):
    """A branch without its lowest sibling starts one level up, where only inner nodes are."""
    sibling_map, siblings = world.branch(0)
    for shifted in (sibling_map & ~1, sibling_map >> 1):
        arguments = world.claim(0, sibling_map=shifted, siblings=siblings[1:])
        assert shifted.bit_count() == len(siblings) - 1
        assert outcome(claim_exit, *arguments, sender=alice) == Revert("Bridge_WrongBranch")


def test_claim__extended_branch__reverts(world, claim_exit, alice):
    sibling_map, siblings = world.branch(0)
    arguments = world.claim(
        0, sibling_map=sibling_map | 1 << 31, siblings=[*siblings, keccak(b"extra")]
    )
    assert outcome(claim_exit, *arguments, sender=alice) == Revert("Bridge_WrongBranch")


def test_claim__empty_sibling_given_or_left_out__is_the_same(world, claim_exit, alice):
    """Proof bytes have no identity: the exit's index alone says whether it was paid."""
    siblings = tree_branch(world.levels, 3)
    arguments = world.claim(3, sibling_map=2**32 - 1, siblings=siblings)
    assert outcome(claim_exit, *arguments, sender=alice) is SUCCESS
    world.rollup.bridge.claimExit(*world.claim(3), sender=alice)
    expected = Revert("Bridge_AlreadyClaimed", 3)
    assert outcome(claim_exit, *arguments, sender=alice) == expected


def test_claim__more_than_the_vault_holds__reverts(rollup, vault, alice, sequencer):
    world = World(rollup, [alice])
    world.header = post(rollup, sequencer, rollup.genesis, [chunk(keccak(world.globals))])
    set_time(world.header.l1_time + CHALLENGE_WINDOW + 1)
    assert now() > world.header.l1_time
    expected = Revert("ERC20InsufficientBalance", vault, 0, AMOUNT)
    assert outcome(rollup.bridge.claimExit, *world.claim(), sender=alice) == expected
