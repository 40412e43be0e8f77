"""Incidents of other systems, tried against commitments and the bridge: cases by the numbers of
docs/security.md. Those of disputes and of the protocol are in the two modules beside this one.
"""

import re
from pathlib import Path

import pytest
from eth_utils import keccak

from tests.adversary import test_catalogue_disputes as disputes
from tests.adversary import test_catalogue_protocol as protocol
from tests.adversary.catalogue_opcodes import iterate_opcodes
from tests.adversary.catalogue_rig import (
    ALICE,
    BOB,
    BOND,
    CHALLENGER,
    DEPLOYER,
    GENESIS_ROOT,
    GOVERNOR,
    L1,
    NO_LIMIT,
    NOBODY,
    PROPOSER,
    RIVAL,
    ROOT,
    SEQUENCER,
    VERDICT_FRAUD,
    WINDOW,
    At,
    Exits,
    Revert,
    change,
    chunk,
)
from tests.contracts.reference import ZERO, chunk_levels, compress, encode_globals, tree_branch
from tests.protocol.evm import artifacts
from tests.protocol.proving import encode_call

CASES = range(1, 29)
DEPLOYED = (
    "MarginVault",
    "Bridge",
    "RollupInbox",
    "FraudProver",
    "TransitionVerifier",
    "TransitionExecutor",
    "MarketExecutor",
    "AccountExecutor",
    "OptionPricer",
    "SignatureVerifier",
)
"""Everything that a venue deploys, the token apart."""
AMOUNT = 10**9


@pytest.fixture
def l1() -> L1:
    return L1()


@pytest.fixture
def world(l1: L1) -> Exits:
    """Five exits in a settled batch."""
    return Exits(l1, [ALICE, BOB, BOB, ALICE, BOB]).settled()


def test_catalogue__n1_to_n28__each_has_a_test_and_a_line() -> None:
    names = [*globals(), *vars(disputes), *vars(protocol)]
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    for number in CASES:
        tests = {name for name in names if name.startswith(f"test_n{number:02d}_")}
        assert tests, f"no test of N{number}"
        (line,) = [row for row in page.splitlines() if row.startswith(f"| N{number} |")]
        named = set(re.findall(r"`(test_n\w+)`", line))
        assert named == tests, f"docs/security.md and the tests of N{number} differ"


# Proofs and trees


def test_n01_claim__root_zero_or_never_posted__refused(l1: L1, world: Exits) -> None:
    """Nomad took every message once the zero root counted as confirmed."""
    assert world.refusal() == ""
    empty = world.header._replace(post_root=ZERO, index=0, l1_time=0)
    ahead = world.header._replace(index=2, l1_time=0)
    far = world.header._replace(index=2**64 - 1)
    genesis = l1.genesis._replace(post_root=keccak(world.globals))
    for header in (empty, ahead, far, genesis):
        assert l1.stage(header) == 0
        assert world.refusal(header=header) == "Bridge_NotSettled"
    assert world.refusal(header=l1.genesis) == "Bridge_WrongGlobals"
    # A tree that is empty opens to nothing, whichever way an empty branch is written.
    globals_ = encode_globals(ZERO)
    header = l1.post(world.header, [chunk(keccak(globals_))])
    l1.settle(header)
    for sibling_map, siblings in ((0, []), (2**32 - 1, [ZERO] * 32)):
        refusal = world.refusal(
            header=header, globals=globals_, sibling_map=sibling_map, siblings=siblings
        )
        assert refusal == "Bridge_WrongBranch"


def test_n01_prove_and_post__root_zero_or_never_posted__refused(l1: L1) -> None:
    header = l1.post(l1.genesis)
    for forged in (header._replace(post_root=ZERO), header._replace(index=2), l1.genesis):
        proof = l1.proof(forged, l1.genesis)
        refusal = l1.refusal(CHALLENGER, l1.prover, "prove", proof, b"data", VERDICT_FRAUD)
        assert refusal == "FraudProver_NotPending"
    zero = l1.batch(header, [chunk(ZERO)])
    assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", zero) == "RollupInbox_ZeroPostRoot"
    for index in (2, 2**64 - 1):
        assert l1.send(ALICE, l1.inbox, "headerHash", index) == ZERO
    with pytest.raises(Revert, match="RollupInbox_InvalidParameters"):
        L1(genesis_root=ZERO)
    # A word that storage still holds of a removed batch is as good as never posted.
    l1.remove(header, l1.genesis)
    assert l1.send(ALICE, l1.inbox, "headerHash", 1) == ZERO
    l1.settle(header)
    assert l1.stage(header) == 0


def test_n02_hashes__any_field_or_child_changed__another_root(l1: L1, world: Exits) -> None:
    """BNB's tree left the right child out of the hash when the left one was set."""
    assert world.refusal(2) == ""
    for name, value in world.header._asdict().items():
        header = world.header._replace(**{name: change(value)})
        assert header.hash != world.header.hash
        assert world.refusal(2, header=header) == "Bridge_NotSettled", name
    for name, value in world.exits[2]._asdict().items():
        refusal = world.refusal(2, exit=world.exits[2]._replace(**{name: change(value)}))
        assert refusal in ("Bridge_WrongBranch", "Bridge_UnknownAsset"), name
    for place in range(2, len(world.globals)):
        spoilt = bytearray(world.globals)
        spoilt[place] ^= 1
        assert world.refusal(2, globals=bytes(spoilt)) == "Bridge_WrongGlobals"
    # Exit 1 is a right child, exit 2 a left one: a sibling counts on either side.
    for index in (1, 2):
        sibling_map, siblings = compress(tree_branch(world.levels, index))
        for place in range(len(siblings)):
            changed = [*siblings[:place], keccak(siblings[place]), *siblings[place + 1 :]]
            assert world.refusal(index, siblings=changed) == "Bridge_WrongBranch"
        # Left and right are not exchangeable, and an empty place is not a wildcard.
        assert world.refusal(index, exit=world.exits[index]._replace(index=index ^ 1)) != ""
        for level in range(32):
            if not sibling_map >> level & 1:
                below = (sibling_map & ((1 << level) - 1)).bit_count()
                changed = [*siblings[:below], ROOT, *siblings[below:]]
                refusal = world.refusal(
                    index, sibling_map=sibling_map | 1 << level, siblings=changed
                )
                assert refusal == "Bridge_WrongBranch"


def test_n03_claim__every_encoding_of_one_exit__pays_once(l1: L1, world: Exits) -> None:
    """Polygon's bridge took 223 encodings of one burn for 223 burns."""
    full = tree_branch(world.levels, 3)
    encodings = [compress(full), (2**32 - 1, full)]
    given = compress(full).sibling_map
    for level in range(32):
        # An empty sibling may be written out, anywhere.
        mask = given | 1 << level
        encodings.append((mask, [node for n, node in enumerate(full) if mask >> n & 1]))
    for sibling_map, siblings in encodings:
        assert world.refusal(3, sibling_map=sibling_map, siblings=siblings) == ""
    before = l1.balance(l1.vault)
    world.claim(3)
    for sibling_map, siblings in encodings:
        refusal = world.refusal(3, sibling_map=sibling_map, siblings=siblings)
        assert refusal == "Bridge_AlreadyClaimed"
    assert l1.balance(l1.vault) == before - world.exits[3].amount


def test_n03_claim__surplus_bits_in_a_word__refused(l1: L1, world: Exits) -> None:
    """Bits that the ABI would cut off make another index, or another header, of nothing."""
    calldata = encode_call("Bridge", "claimExit", *world.arguments(3))
    accepted = []
    for place in range(4, len(calldata), 32):
        word = bytearray(calldata)
        word[place] ^= 0x80
        with l1.fork():
            try:
                l1.send_raw(RIVAL, l1.bridge, bytes(word))
            except Revert:
                continue
            accepted.append(place)
    # Only padding behind the globals may hold anything: it is no part of them.
    padding = len(world.globals) % 32
    assert all(calldata[place : place + 32] != bytes(32) for place in accepted) or padding
    assert accepted == []
    l1.send_raw(RIVAL, l1.bridge, calldata + b"\x01" * 64)
    assert world.refusal(3) == "Bridge_AlreadyClaimed"


def test_n04_claim__inner_node_shortened_extended_or_empty_branch__refused(
    world: Exits,
) -> None:
    sibling_map, siblings = compress(tree_branch(world.levels, 0))
    branches = {
        "shortened from below": (sibling_map >> 1, siblings[1:]),
        "lowest level left out": (sibling_map & ~1, siblings[1:]),
        "shortened from above": (sibling_map & 3, siblings[:-1]),
        "extended": (sibling_map | 1 << 31, [*siblings, ROOT]),
        "empty": (0, []),
        "itself as its sibling": (sibling_map, [world.exits[0].leaf, *siblings[1:]]),
    }
    for name, (mask, nodes) in branches.items():
        assert world.refusal(0, sibling_map=mask, siblings=nodes) == "Bridge_WrongBranch", name
    for count in range(6):
        if count != len(siblings):
            nodes = [ROOT] * count
            assert world.refusal(0, siblings=nodes) == "Bridge_BranchLength"
    # A leaf's outer preimage has 32 bytes and an inner node's 64, so no exit encodes as a node.
    left, right = world.levels[0][0], world.levels[0][1]
    assert keccak(left + right) == world.levels[1][0] != world.exits[0].leaf


def test_n04_prove__inner_node_as_chunk__refused(l1: L1) -> None:
    chunks = [chunk(keccak(bytes([n])), bytes([n + 1]) * 8) for n in range(5)]
    header = l1.post(l1.genesis, chunks)
    levels = chunk_levels([item.commitment for item in chunks])
    own = l1.proof(header, l1.genesis, chunks, 0)
    assert l1.refusal(CHALLENGER, l1.prover, "prove", own, chunks[0].data, VERDICT_FRAUD) == ""
    node = levels[0][0] + levels[0][1]
    shorter = [*tree_branch(levels, 0)[1:], ZERO]
    for index, branch in ((0, shorter), (1, shorter), (0, [ZERO] * 8)):
        proof = l1.proof(header, l1.genesis, chunks, 0, branch=branch)
        proof = (*proof[:2], index, *proof[3:])
        refusal = l1.refusal(CHALLENGER, l1.prover, "prove", proof, node, VERDICT_FRAUD)
        assert refusal == "FraudProver_WrongChunk"


def test_n05_bytes__trailing_missing_or_of_another_key__refused(l1: L1, world: Exits) -> None:
    for globals_ in (world.globals + b"\x00", world.globals[:-1], b"", world.globals * 2):
        assert world.refusal(globals=globals_) == "Bridge_WrongGlobals"
    for index in (1, 3, 4, 5, 256, 2**31):
        wrong_key = world.exits[2]._replace(index=index)
        assert world.refusal(2, exit=wrong_key) == "Bridge_WrongBranch"
    header = l1.post(world.header)
    proof = l1.proof(header, world.header)
    for data in (b"data\x00", b"dat", b"", b"\x00data"):
        refusal = l1.refusal(CHALLENGER, l1.prover, "prove", proof, data, VERDICT_FRAUD)
        assert refusal == "FraudProver_WrongChunk"


# The bridge


def test_n06_contracts__proxy_initialiser_or_self_destruct__do_not_exist() -> None:
    """Arbitrum's inbox could be initialised a second time. Here code and constructor are all."""
    forbidden = {0xF2: "CALLCODE", 0xF4: "DELEGATECALL", 0xFF: "SELFDESTRUCT"}
    forbidden |= {0xF0: "CREATE", 0xF5: "CREATE2"}
    # PUSH1 ff, PUSH0, DELEGATECALL, STOP, a constant.
    assert set(iterate_opcodes(bytes.fromhex("60ff5ff400ff"))) == {0x60, 0x5F, 0xF4, 0x00}
    for name in DEPLOYED:
        found = set(iterate_opcodes(artifacts()[name].deployed_bytecode)) & forbidden.keys()
        # The inbox forces a reward onto an address that refuses ether by a contract that lives for
        # one instruction.
        found -= {0xF0} if name == "RollupInbox" else set()
        assert not found, (name, [forbidden[code] for code in found])
        entries = [entry for entry in artifacts()[name].abi if entry["type"] == "function"]
        # An exit's claim has an owner, no contract has.
        names = " ".join({entry["name"] for entry in entries} - {"ownerOfClaim"}).lower()
        for word in ("init", "upgrade", "owner", "migrate", "pause", "rescue", "implementation"):
            assert word not in names, (name, word)


def test_n07_claim__re_entered_by_the_token__pays_once() -> None:
    l1 = L1("ReentrantToken")
    world = Exits(l1, [BOB, BOB]).settled()
    for index in (0, 1):
        again = encode_call("Bridge", "claimExit", *world.arguments(index))
        with l1.fork():
            l1.send(ALICE, l1.token, "arm", l1.bridge.address, again)
            world.claim(0)
            paid = world.exits[0].amount + (index and world.exits[1].amount)
            assert l1.balance(BOB) == paid
            # Another exit may be claimed in the middle of the first, the same one may not.
            assert l1.send(ALICE, l1.token, "reentered") == bool(index)
            assert world.refusal(0) == "Bridge_AlreadyClaimed"


def test_n07_claim__same_exit_twice_or_changed__refused(l1: L1, world: Exits) -> None:
    world.claim(1)
    assert world.refusal(1) == "Bridge_AlreadyClaimed"
    exit_ = world.exits[2]
    for changed in (
        exit_._replace(amount=exit_.amount + 1),
        exit_._replace(amount=2**128 - 1),
        exit_._replace(recipient=RIVAL),
    ):
        assert world.refusal(2, exit=changed) == "Bridge_WrongBranch"
    # Paid once for all batches, and for all gas.
    later = l1.post(world.header, world.chunks)
    l1.settle(later)
    assert world.refusal(1, header=later) == "Bridge_AlreadyClaimed"
    arguments = world.arguments(2, header=later)
    for gas in range(60_000, 160_000, 1_000):
        with l1.fork():
            before = l1.balance(l1.vault)
            try:
                l1.send(RIVAL, l1.bridge, "claimExit", *arguments, gas=gas)
            except Revert:
                assert l1.balance(l1.vault) == before
                assert not l1.send(RIVAL, l1.bridge, "isClaimed", 2)
            else:
                assert l1.balance(l1.vault) == before - exit_.amount


def test_n07_ether__re_entered_by_who_is_paid__paid_once(l1: L1) -> None:
    caller = l1.deploy("Caller")
    bond = encode_call("RollupInbox", "bond")
    l1.send(DEPLOYER, caller, "execute", l1.inbox.address, bond, value=BOND)
    withdraw = encode_call("RollupInbox", "withdrawBond")
    l1.send(DEPLOYER, caller, "callOnReceive", l1.inbox.address, withdraw)
    before = l1.evm.get_balance(l1.inbox.address)
    with pytest.raises(Revert, match="Caller_Failed"):
        l1.send(DEPLOYER, caller, "execute", l1.inbox.address, withdraw)
    assert l1.evm.get_balance(l1.inbox.address) == before


def test_n08_claim__to_our_own_contracts__moves_no_money_of_others(l1: L1) -> None:
    """A portal that makes any call it is asked to must not hold approvals. This one makes none."""
    own = [item.address for item in (*l1.contracts, l1.token)]
    world = Exits(l1, own).settled()
    for index, who in enumerate(own):
        before, vault = l1.balance(who), l1.balance(l1.vault)
        world.claim(index)
        gained = 0 if who == l1.vault.address else world.exits[index].amount
        assert l1.balance(who) == before + gained
        assert l1.balance(l1.vault) == vault - gained
    for holder in own:
        for spender in (*own, ALICE, RIVAL, SEQUENCER, GOVERNOR):
            assert l1.send(ALICE, l1.token, "allowance", holder, spender) == 0
    # What lies in a contract that is not the vault is nobody's: no function moves it.
    stuck = l1.balance(l1.bridge)
    assert stuck == world.exits[1].amount
    pull = l1.refusal(RIVAL, l1.bridge, "deposit", RIVAL, 0, stuck)
    assert pull == "ERC20InsufficientAllowance"
    for caller in (RIVAL, GOVERNOR, SEQUENCER):
        refusal = l1.refusal(caller, l1.vault, "release", 0, RIVAL, 1)
        assert refusal == "MarginVault_NotBridge"


def test_n09_proof__third_party_or_repeated__moves_no_timer(l1: L1) -> None:
    """Optimism's withdrawals could be proven again by anyone, which reset their timer."""
    bad = l1.post(l1.genesis)
    l1.remove(bad, l1.genesis)
    held = l1.send(ALICE, l1.inbox, "rewardOf", SEQUENCER)
    l1.pass_time(1_000)
    proof = l1.proof(bad, l1.genesis)
    refusal = l1.refusal(RIVAL, l1.prover, "prove", proof, b"data", VERDICT_FRAUD)
    assert refusal == "FraudProver_NotPending"
    world = Exits(l1, [BOB]).post(sender=PROPOSER)
    l1.pass_time(WINDOW)
    assert world.refusal() == "Bridge_NotSettled"
    # An exit has no state before it is paid: tries in vain delay nothing.
    l1.settle(world.header)
    assert world.refusal() == ""
    assert l1.send(ALICE, l1.inbox, "rewardOf", SEQUENCER) == held
    # Nor can a root that was removed be claimed from, by anybody.
    assert world.refusal(header=bad) == "Bridge_NotSettled"


def test_n11_deposit__of_a_reorganised_block__is_not_served(l1: L1) -> None:
    with l1.fork():
        l1.send(ALICE, l1.bridge, "deposit", ALICE, 0, AMOUNT)
        seen = l1.queue_hash(0)
        orphaned = l1.batch(l1.genesis, queue_end=1, queue_hash=seen)
        assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", orphaned) == ""
    # The deposit is gone.
    assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", orphaned) == "RollupInbox_QueueRange"
    # Another message has taken its index: a smaller deposit, another owner, or a later second.
    for owner, amount, wait in ((ALICE, 1, 0), (BOB, AMOUNT, 0), (ALICE, AMOUNT, 1)):
        with l1.fork():
            l1.pass_time(wait)
            l1.send(ALICE, l1.bridge, "deposit", owner, 0, amount)
            refusal = l1.refusal(SEQUENCER, l1.inbox, "submitBatch", orphaned)
            assert refusal == "RollupInbox_QueueMismatch"
    # The same message at the same time is the same deposit.
    l1.send(ALICE, l1.bridge, "deposit", ALICE, 0, AMOUNT)
    assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", orphaned) == ""


NORMAL, PAUSED, REVERT_SILENTLY, RETURN_FALSE, RETURN_NOTHING, PRETEND = range(6)


def test_n13_token__with_fee__deposit_refused() -> None:
    l1 = L1("FeeToken")
    refusal = l1.refusal(ALICE, l1.bridge, "deposit", ALICE, 0, AMOUNT)
    assert refusal == "Bridge_WrongAmountReceived"
    assert l1.refusal(ALICE, l1.bridge, "deposit", ALICE, 0, 99) == ""  # a fee of nothing


@pytest.mark.parametrize(
    ("mode", "deposit", "claim"),
    [
        (NORMAL, "", ""),
        (RETURN_NOTHING, "", ""),
        (PAUSED, "SwitchToken_Paused", "SwitchToken_Paused"),
        (REVERT_SILENTLY, "revert ", "revert "),
        (RETURN_FALSE, "SafeERC20FailedOperation", "SafeERC20FailedOperation"),
        (PRETEND, "Bridge_WrongAmountReceived", ""),
    ],
)
def test_n13_token__nonstandard__neither_credits_nor_forgets(
    mode: int, deposit: str, claim: str
) -> None:
    """A transfer that only pretends is what a vault cannot see on the way out: the token is
    trusted there."""
    l1 = L1("SwitchToken")
    world = Exits(l1, [BOB]).settled()
    l1.send(ALICE, l1.token, "setMode", mode)
    assert l1.refusal(ALICE, l1.bridge, "deposit", ALICE, 0, AMOUNT) == deposit
    assert l1.send(ALICE, l1.bridge, "queueCount") == 0
    assert world.refusal() == claim
    if claim:
        l1.send(ALICE, l1.token, "setMode", NORMAL)
        world.claim()
        assert l1.balance(BOB) == world.exits[0].amount


def test_n13_token__without_code__cannot_be_deployed_around(l1: L1) -> None:
    with pytest.raises(Revert, match="MarginVault_InvalidAddress"):
        l1.deploy("MarginVault", BOB, l1.bridge.address, l1.escape_hatch.address, NO_LIMIT)


def test_rig__genesis__is_that_of_the_real_inbox(l1: L1) -> None:
    assert l1.genesis.post_root == GENESIS_ROOT
    assert l1.genesis.proposer == NOBODY
    assert l1.send(ALICE, l1.inbox, "headHeaderHash") == l1.genesis.hash
    assert At("Bridge", l1.send(ALICE, l1.inbox, "bridge")) == l1.bridge
