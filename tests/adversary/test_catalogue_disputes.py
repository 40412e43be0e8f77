"""Incidents of other systems, tried against proposing, proving and bonds: cases by the numbers of
docs/security.md.
"""

import pytest
from eth_abi import encode
from eth_utils import keccak

from tests.adversary.catalogue_opcodes import iterate_opcodes
from tests.adversary.catalogue_rig import (
    ALICE,
    BOB,
    BOND,
    CHALLENGER,
    FORCED_DELAY,
    GOVERNOR,
    L1,
    NO_CAP,
    PROPOSER,
    PROPOSER_DELAY,
    RIVAL,
    ROOT,
    SEQUENCER,
    VERDICT_FRAUD,
    WINDOW,
    Exits,
    Revert,
    change,
    chunk,
    verdict,
)
from tests.contracts.reference import ZERO
from tests.protocol.evm import artifacts
from tests.protocol.proving import encode_call

AMOUNT = 10**9


@pytest.fixture
def l1() -> L1:
    return L1()


@pytest.fixture
def world(l1: L1) -> Exits:
    """Five exits in a settled batch."""
    return Exits(l1, [ALICE, BOB, BOB, ALICE, BOB]).settled()


def test_n14_verdict__wider_than_its_type__is_no_fault(l1: L1) -> None:
    """A game type was cut to eight bits on the way: 256 became 0."""
    header = l1.post(l1.genesis)
    proof = l1.proof(header, l1.genesis)
    for word in (256, 256 + 6, 2**8 * 6, 2**255 + 6, 48, 255, 2**256 - 1):
        witness = verdict(word)
        refusal = l1.refusal(CHALLENGER, l1.prover, "prove", proof, b"data", witness)
        assert refusal == "FraudProver_InvalidVerdict", word
    for fault in (1, 47):
        refusal = l1.refusal(CHALLENGER, l1.prover, "prove", proof, b"data", verdict(fault))
        assert refusal == ""
    for answer in (b"", b"\x06", bytes(31) + b"\x06" + bytes(32)):
        refusal = l1.refusal(CHALLENGER, l1.prover, "prove", proof, b"data", b"\x00" + answer)
        assert refusal == "FraudProver_InvalidVerdict"
    for place in (256, 2**32, 2**64, 2**255):
        aliased = (*proof[:2], place, *proof[3:])
        refusal = l1.refusal(CHALLENGER, l1.prover, "prove", aliased, b"data", VERDICT_FRAUD)
        assert refusal == "FraudProver_ChunkIndex"


def test_n14_arguments__wider_than_their_type__revert(l1: L1, world: Exits) -> None:
    selector = encode_call("Bridge", "forceClose", 1, 1, 1)[:4]
    assert l1.send_raw(ALICE, l1.bridge, selector + encode(["uint256"] * 3, [1, 1, 1])) == b""
    for values in ((2**32 + 1, 1, 1), (1, 2**16 + 1, 1), (1, 1, 2**64 + 1), (2**255, 1, 1)):
        with pytest.raises(Revert):
            l1.send_raw(ALICE, l1.bridge, selector + encode(["uint256"] * 3, values))
    for amount in (2**96, 2**128, 2**128 + AMOUNT, 2**256 - 1):
        refusal = l1.refusal(ALICE, l1.bridge, "deposit", ALICE, 0, amount)
        assert refusal == "Bridge_AmountTooLarge"
    unknown = world.exits[0]._replace(asset=2**16 - 1)
    assert world.refusal(exit=unknown) == "Bridge_UnknownAsset"


def test_n15_batch__numbers_at_the_end_of_their_type__block_nothing(l1: L1) -> None:
    """A dispute at the largest block number left no room for the next."""
    top = 2**64 - 1
    l1.enqueue()
    for end in (2, top):
        batch = l1.batch(l1.genesis, queue_end=end, queue_hash=l1.queue_hash(0))
        refusal = l1.refusal(SEQUENCER, l1.inbox, "submitBatch", batch)
        assert refusal == "RollupInbox_QueueRange"
    for field in ("index", "l1_time", "queue_end", "l1_block"):
        forged = l1.genesis._replace(**{field: top})
        batch = l1.batch(forged, queue_end=0, queue_hash=ZERO)
        refusal = l1.refusal(SEQUENCER, l1.inbox, "submitBatch", batch)
        assert refusal == "RollupInbox_StaleHead", field
    # What the proposer may choose freely, it chooses for its own transaction only.
    head = l1.post(l1.genesis, queue_end=1, queue_hash=l1.queue_hash(0), deadline=top)
    assert (head.index, head.l1_time, head.l1_block) == (1, l1.time, l1.number)
    l1.enqueue()
    assert l1.post(head, queue_end=2, queue_hash=l1.queue_hash(1)).index == 2


def test_n16_reward__proof_through_a_contract__goes_to_the_sender(l1: L1) -> None:
    """A bond was credited to tx.origin, so whoever relayed a proof took it."""
    caller = l1.deploy("Caller")
    bad = l1.post(l1.genesis)
    call = encode_call("FraudProver", "prove", l1.proof(bad, l1.genesis), b"data", VERDICT_FRAUD)
    l1.send(RIVAL, caller, "execute", l1.prover.address, call)
    challenger, until = l1.send(ALICE, l1.inbox, "rewardOf", SEQUENCER)
    assert challenger == caller.address
    l1.set_time(until + 1)
    rival = l1.evm.get_balance(RIVAL)
    l1.send(ALICE, l1.inbox, "claimReward", SEQUENCER)
    assert l1.evm.get_balance(caller.address) == BOND // 2
    assert l1.evm.get_balance(RIVAL) == rival
    # A bond is the sender's as well; the origin says only that a batch is no inner call.
    payload = encode_call("RollupInbox", "bond")
    l1.send(RIVAL, caller, "execute", l1.inbox.address, payload, value=BOND)
    assert l1.send(ALICE, l1.inbox, "bondOf", caller.address)[0] == BOND
    assert l1.send(ALICE, l1.inbox, "bondOf", RIVAL)[0] == 0


def test_n17_challenge__reorganisation_swaps_the_batch__misses(l1: L1) -> None:
    with l1.fork():
        lie = l1.post(l1.genesis, [chunk(keccak(b"lie"))])
        proof = l1.proof(lie, l1.genesis, [chunk(keccak(b"lie"))])
        assert l1.refusal(CHALLENGER, l1.prover, "prove", proof, b"data", VERDICT_FRAUD) == ""
    # In the chain that stays, an honest batch has the index of the lie.
    honest = l1.post(l1.genesis)
    assert (honest.index, honest.previous) == (lie.index, lie.previous)
    refusal = l1.refusal(CHALLENGER, l1.prover, "prove", proof, b"data", VERDICT_FRAUD)
    assert refusal == "FraudProver_NotPending"
    assert l1.stage(honest) == 1
    # The very same lie, a block later, is another batch with another proof.
    l1.remove(honest, l1.genesis)
    assert l1.post(l1.genesis, [chunk(keccak(b"lie"))], sender=PROPOSER).hash != lie.hash


def test_n18_proof__starved_of_gas__is_never_a_verdict(l1: L1) -> None:
    """The outer call keeps a 64th of the gas: enough to go on, so the inner failure must count."""
    header = l1.post(l1.genesis)
    proof = l1.proof(header, l1.genesis)
    burn, honest = b"\x02", verdict(0)
    for gas in (*range(30_000, 200_000, 2_000), 1_000_000, 15_000_000):
        for witness in (burn, honest):
            refusal = l1.refusal(CHALLENGER, l1.prover, "prove", proof, b"data", witness, gas=gas)
            assert refusal not in ("", "FraudProver_InvalidVerdict")
    assert l1.stage(header) == 1
    assert l1.refusal(CHALLENGER, l1.prover, "prove", proof, b"data", VERDICT_FRAUD) == ""


def test_n19_actions__after_the_end_or_in_between__refused(l1: L1) -> None:
    first = l1.post(l1.genesis)
    l1.pass_time(3_600)
    second = l1.post(first)
    proof = l1.proof(second, first)
    # A friend proves the later lie to lock the bond away: the earlier lie's challenger gets it.
    l1.remove(second, first, sender=RIVAL)
    _, until = l1.send(ALICE, l1.inbox, "rewardOf", SEQUENCER)
    for refusal, function in (
        ("RollupInbox_NotBonded", "withdrawBond"),
        ("RollupInbox_RewardOpen", "bond"),
    ):
        value = BOND if function == "bond" else 0
        assert l1.refusal(SEQUENCER, l1.inbox, function, value=value) == refusal
    assert l1.refusal(RIVAL, l1.inbox, "claimReward", SEQUENCER) == "RollupInbox_RewardLocked"
    l1.remove(first, l1.genesis)
    assert l1.send(ALICE, l1.inbox, "rewardOf", SEQUENCER) == (CHALLENGER, until)
    again = l1.refusal(RIVAL, l1.prover, "prove", proof, b"data", VERDICT_FRAUD)
    assert again == "FraudProver_NotPending"
    l1.set_time(until + 1)
    l1.send(RIVAL, l1.inbox, "claimReward", SEQUENCER)
    assert l1.refusal(RIVAL, l1.inbox, "claimReward", SEQUENCER) == "RollupInbox_NoReward"
    # Settled is the end.
    settled = l1.post(l1.genesis, sender=PROPOSER)
    proof = l1.proof(settled, l1.genesis)
    l1.set_time(settled.l1_time + WINDOW)
    assert l1.refusal(RIVAL, l1.prover, "prove", proof, b"data", VERDICT_FRAUD) == ""
    l1.settle(settled)
    late = l1.refusal(RIVAL, l1.prover, "prove", proof, b"data", VERDICT_FRAUD)
    assert late == "FraudProver_NotPending"


def test_n19_deployment__second_one_at_the_same_place__impossible(l1: L1) -> None:
    for name, arguments in (
        ("Bridge", (l1.vault.address, l1.inbox.address, GOVERNOR, NO_CAP)),
        ("RollupInbox", (l1.parameters,)),
        ("FraudProver", (l1.inbox.address, *(item.address for item in l1.verifiers))),
    ):
        with pytest.raises(Revert, match=r"Wrong(Vault|Bridge|Inbox)"):
            l1.deploy(name, *arguments, sender=RIVAL)


def test_n21_window__of_a_removed_rival__is_not_inherited(l1: L1) -> None:
    lie = l1.post(l1.genesis, [chunk(keccak(b"lie"))])
    l1.set_time(lie.l1_time + WINDOW)
    l1.remove(lie, l1.genesis, [chunk(keccak(b"lie"))])
    late = l1.post(l1.genesis, sender=PROPOSER)
    assert late.l1_time == lie.l1_time + WINDOW
    l1.set_time(late.l1_time + WINDOW)
    assert l1.stage(late) == 1
    assert l1.refusal(PROPOSER, l1.inbox, "withdrawBond") == "RollupInbox_BondLocked"
    l1.settle(late)
    assert l1.stage(late) == 2


def test_n21_bonds__any_order_of_events__are_all_there(l1: L1) -> None:
    """Bonds in, bonds out: what the inbox holds covers every bond and reward at any time."""
    lie = l1.post(l1.genesis)
    l1.pass_time(PROPOSER_DELAY + 1)
    other_lie = l1.post(lie, sender=PROPOSER)
    l1.remove(other_lie, lie)
    l1.remove(lie, l1.genesis, sender=RIVAL)
    assert l1.evm.get_balance(l1.inbox.address) == 2 * BOND
    l1.pass_time(WINDOW + 1)
    for proposer in (SEQUENCER, PROPOSER):
        l1.send(ALICE, l1.inbox, "claimReward", proposer)
        l1.send(proposer, l1.inbox, "bond", value=BOND)
    # Two halves are burnt, two new bonds are in.
    assert l1.evm.get_balance(l1.inbox.address) == 3 * BOND
    for proposer in (SEQUENCER, PROPOSER):
        l1.send(proposer, l1.inbox, "withdrawBond")
    assert l1.evm.get_balance(l1.inbox.address) == BOND


def test_n21_removal__of_a_long_suffix__costs_the_same(l1: L1) -> None:
    """No loop over batches, so no array to shrink and no gas to run out of."""
    costs = []
    for length in (1, 60):
        with l1.fork():
            headers = [l1.genesis]
            for _ in range(length):
                headers.append(l1.post(headers[-1]))
            l1.remove(headers[1], l1.genesis)
            costs.append(l1.gas_used)
            assert [l1.stage(header) for header in headers[1:]] == [0] * length
            assert l1.post(l1.genesis, sender=PROPOSER).index == 1
    assert abs(costs[0] - costs[1]) < 1_000, costs


def test_n22_proof__copied_and_sent_first__still_removes(l1: L1) -> None:
    bad = l1.post(l1.genesis)
    proof = l1.proof(bad, l1.genesis)
    l1.send(RIVAL, l1.prover, "prove", proof, b"data", VERDICT_FRAUD)
    assert l1.stage(bad) == 0
    # The honest challenger loses the reward, not the removal, and is told before the verifier
    # runs: a witness that burns all gas would show that it was called.
    with pytest.raises(Revert, match="FraudProver_NotPending"):
        l1.send(CHALLENGER, l1.prover, "prove", proof, b"data", b"\x02", gas=120_000)


def test_n22_claim_and_permit__sent_first_by_another__do_the_same(l1: L1, world: Exits) -> None:
    world.claim(1, sender=RIVAL)
    assert l1.balance(BOB) == world.exits[1].amount
    assert l1.balance(RIVAL) == 0
    # A permit that fails, be it used already, leaves the allowance to decide.
    arguments = (ALICE, 0, AMOUNT, 2**256 - 1, 27, ROOT, ROOT)
    assert l1.refusal(ALICE, l1.bridge, "depositWithPermit", *arguments) == ""


def test_n22_batch__raced_by_another_batch__lands_once(l1: L1) -> None:
    batch = l1.batch(l1.genesis)
    l1.pass_time(PROPOSER_DELAY + 1)
    l1.send(PROPOSER, l1.inbox, "submitBatch", batch)
    head = l1.last_header()
    assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", batch) == "RollupInbox_StaleHead"
    assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", l1.batch(head)) == ""


def test_n22_batch__raced_by_messages__stands(l1: L1) -> None:
    """One that consumes all there was when it was signed cannot show what came later."""
    l1.enqueue()
    waiting = l1.enqueue(account=2)
    part = l1.batch(l1.genesis, queue_end=1, queue_hash=l1.queue_hash(0), following=waiting)
    whole = l1.batch(l1.genesis, queue_end=2, queue_hash=l1.queue_hash(1))
    for _ in range(3):
        l1.enqueue(RIVAL)
        for batch in (part, whole):
            assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", batch) == ""


def test_n22_batch__head_as_old_as_a_message_may_be__has_to_show_it(l1: L1) -> None:
    """What spares a batch from showing a message must not spare it from serving one."""
    head = l1.post(l1.genesis)
    l1.pass_time(1)
    late = l1.enqueue()
    bare = l1.batch(head)
    shown = l1.batch(head, following=late)
    l1.set_time(head.l1_time + FORCED_DELAY)
    assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", bare) == ""
    l1.pass_time(1)
    assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", bare) == "RollupInbox_WrongMessage"
    assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", shown) == ""
    l1.pass_time(1)
    overdue = l1.refusal(SEQUENCER, l1.inbox, "submitBatch", shown)
    assert overdue == "RollupInbox_ForcedInclusion"
    # After a removal the head is older, so more has to be shown, never less.
    taken = l1.batch(head, queue_end=1, queue_hash=l1.queue_hash(0))
    l1.send(SEQUENCER, l1.inbox, "submitBatch", taken)
    l1.remove(l1.last_header(), head)
    assert l1.refusal(PROPOSER, l1.inbox, "submitBatch", bare) == "RollupInbox_WrongMessage"


def test_n23_configuration__after_a_batch__is_the_one_in_its_header(l1: L1) -> None:
    header = l1.post(l1.genesis)
    assert header.parameter_hash == l1.send(ALICE, l1.inbox, "parameterHash")
    proof = l1.proof(header, l1.genesis)
    asked = []
    for _ in range(2):
        with pytest.raises(Revert, match="MockVerifier_Asked") as raised:
            l1.send(CHALLENGER, l1.prover, "prove", proof, b"data", b"\x03")
        asked.append(raised.value.arguments)
        # What governance says next is a message that this batch does not reach.
        l1.send(GOVERNOR, l1.bridge, "configure", b"\x01" * 100)
    assert asked[0] == asked[1]
    forged = l1.proof(header._replace(parameter_hash=ROOT), l1.genesis)
    refusal = l1.refusal(CHALLENGER, l1.prover, "prove", forged, b"data", VERDICT_FRAUD)
    assert refusal == "FraudProver_NotPending"
    # A deployment that differs in anything has another hash.
    hashes = {header.parameter_hash, L1(genesis_root=ROOT).genesis.parameter_hash}
    assert len(hashes) == 2
    for name in ("FraudProver", "RollupInbox", "MarginVault"):
        writes = {
            entry["name"]
            for entry in artifacts()[name].abi
            if entry["type"] == "function" and entry["stateMutability"] in ("nonpayable", "payable")
        }
        assert not [function for function in writes if function.startswith(("set", "update"))]


def test_n24_proof__any_part_not_of_the_posted_batch__refused(l1: L1) -> None:
    """Kroma's verifier judged inputs that were not tied to what had been posted."""
    chunks = [chunk(keccak(bytes([n])), bytes([n + 1]) * 8, bytes([n]) * 64) for n in range(5)]
    previous = l1.post(l1.genesis)
    header = l1.post(previous, chunks)
    proof = l1.proof(header, previous, chunks, 2)
    data = chunks[2].data
    assert l1.refusal(CHALLENGER, l1.prover, "prove", proof, data, VERDICT_FRAUD) == ""
    for place in (0, 1):
        for field, value in enumerate(proof[place]):
            forged = (*proof[place][:field], change(value), *proof[place][field + 1 :])
            parts = (*proof[:place], forged, *proof[place + 1 :])
            refusal = l1.refusal(CHALLENGER, l1.prover, "prove", parts, data, VERDICT_FRAUD)
            expected = ("FraudProver_NotPending", "FraudProver_WrongPrevious")[place]
            assert refusal == expected
    for place in range(2, 10):
        value = proof[place]
        levels = range(8) if isinstance(value, list) else ()
        spoilt = [[*value[:n], keccak(value[n]), *value[n + 1 :]] for n in levels]
        for part in spoilt or [change(value)]:
            parts = (*proof[:place], part, *proof[place + 1 :])
            refusal = l1.refusal(CHALLENGER, l1.prover, "prove", parts, data, VERDICT_FRAUD)
            assert refusal == "FraudProver_WrongChunk"
    for item in (*chunks[:2], *chunks[3:]):
        refusal = l1.refusal(CHALLENGER, l1.prover, "prove", proof, item.data, VERDICT_FRAUD)
        assert refusal == "FraudProver_WrongChunk"
    for signatures in (b"", chunks[1].signatures, chunks[2].signatures + b"\x00"):
        refusal = l1.refusal(
            CHALLENGER, l1.prover, "proveSignature", proof, data, signatures, 0, VERDICT_FRAUD
        )
        assert refusal == "FraudProver_WrongSignatures"


def test_n25_verifier__of_a_batch__is_never_replaced(l1: L1) -> None:
    """Kroma's verifier had fallen behind the format that it judged. Here no verifier is ever
    another one, and the version of the protocol is part of what every header commits to."""
    entries = [entry for entry in artifacts()["FraudProver"].abi if entry["type"] == "function"]
    writes = {entry["name"] for entry in entries if entry["stateMutability"] != "view"}
    assert writes == {"prove", "proveSignature"}
    transition = l1.send(ALICE, l1.prover, "transitionVerifier")
    assert transition == l1.verifiers[0].address
    for name in ("TransitionVerifier", "SignatureVerifier"):
        functions = [entry for entry in artifacts()[name].abi if entry["type"] == "function"]
        assert {entry["stateMutability"] for entry in functions} <= {"view", "pure"}
        # Nothing stored, so nothing can be switched.
        assert 0x55 not in set(iterate_opcodes(artifacts()[name].deployed_bytecode))
    assert 0x55 not in set(iterate_opcodes(artifacts()["FraudProver"].deployed_bytecode))


def test_n27_queue__flooded__neither_stops_nor_hides_anything(l1: L1) -> None:
    caller = l1.deploy("Caller")
    flood = encode_call("Bridge", "cancelAll", 1)
    mine = l1.enqueue(ALICE, 7)
    l1.send(RIVAL, caller, "repeat", l1.bridge.address, flood, 600)
    spam = mine._replace(sender=caller.address, body_hash=keccak((1).to_bytes(4, "big")))
    hashes = {end: l1.queue_hash(end - 1) for end in (255, 256, 512, 601)}
    l1.pass_time(FORCED_DELAY + 1)

    def options(end: int) -> dict[str, object]:
        return {"queue_end": end, "queue_hash": hashes[end], "following": spam}

    # What came first is served first: at most 600 strangers' messages are no excuse.
    short = l1.batch(l1.genesis, **options(255))
    assert l1.refusal(SEQUENCER, l1.inbox, "submitBatch", short) == "RollupInbox_ForcedInclusion"
    head = l1.post(l1.genesis, **options(256))
    cost = l1.gas_used
    assert l1.send(ALICE, l1.inbox, "hasBacklog")
    # Anybody goes on now; the flood is gone after three batches, each as cheap as the first.
    head = l1.post(head, sender=PROPOSER, **options(512))
    assert abs(l1.gas_used - cost) < 3_000
    head = l1.post(head, sender=PROPOSER, queue_end=601, queue_hash=hashes[601])
    assert not l1.send(ALICE, l1.inbox, "hasBacklog")
    assert head.queue_end == 601


def test_n27_deposit__by_a_whale__locks_nobody_out(l1: L1) -> None:
    largest = 2**96 - 1
    l1.send(RIVAL, l1.token, "mint", RIVAL, 3 * largest)
    l1.send(RIVAL, l1.token, "approve", l1.bridge.address, 3 * largest)
    for _ in range(3):
        l1.send(RIVAL, l1.bridge, "deposit", RIVAL, 0, largest)
    assert l1.refusal(ALICE, l1.bridge, "deposit", ALICE, 0, AMOUNT) == ""
