"""Attacks through the order of things: late, twice, around a removal, in the middle of one."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from deltaroll.protocol.fault import Fault
from tests.adversary.soundness_bench import Bench
from tests.adversary.soundness_chain import (
    INBOX,
    PROVER,
    RIVAL,
    SILENCE,
    WINDOW,
    Chain,
    Place,
    Step,
    assemble,
    encode_prove,
    lie_about_root,
    spoil,
    word,
)
from tests.adversary.soundness_flow import Story, write_story
from tests.protocol.evm import artifacts
from tests.protocol.proving import BOND, CHALLENGER, SEQUENCER, encode_call

GAPS = (0, 2 * SILENCE, 0, WINDOW + 10_000)
"""Before the batches: the second comes when anyone may propose, the last when a reward is due."""
LIE = Place(1, 0)
"""Not the last chunk: what comes after the lie is honest."""


def attack_order(bench: Bench, kind: str, label: str) -> None:
    """Write a story about two proposers, and play it in every order."""
    story = write_story(bench.rng, kind, GAPS)
    attack_settled(bench, story, label)
    attack_twice(bench, story, label)
    attack_around_removal(bench, story, label)
    attack_posted_again(bench, story, label)
    attack_payment(bench, story, label)


def attack_settled(bench: Bench, story: Story, label: str) -> None:
    """A batch whose window is over stands, whatever it says; until then a lie does not."""
    name = "order: after settlement"
    honest = bench.make(story, 1)
    lying = bench.post_lie(story, Place(0, 0))
    last = story.batches[0].l1_time + WINDOW
    for late in (1, 2, 12, WINDOW, 1 << 32):
        for chain in (honest, lying):
            chain.wait_until(last + late)
            for calldata in _every_proof(chain):
                bench.attack(name, f"{label}, {late} s late", chain, calldata)
    for early in (0, 1, WINDOW // 2):
        honest.wait_until(last - early)
        for calldata in _every_proof(honest):
            bench.attack(name, f"{label}, {early} s early", honest, calldata)
        lying.wait_until(last - early)
        bench.prove(name, label, lying, lying.prove_calldata(Place(0, 0)))


def _every_proof(chain: Chain) -> list[bytes]:
    return [
        chain.prove_calldata(Place(number, index))
        for number, posted in enumerate(chain.posted[1:])
        for index in range(len(posted.chunks))
    ]


def attack_twice(bench: Bench, story: Story, label: str) -> None:
    """One lie, one removal: the batch before it stands and no second bond is lost."""
    name = "order: twice"
    lying = bench.make(story, 1)
    lying.bond(RIVAL)
    lying.post(spoil(story, LIE, lie_about_root), RIVAL)
    lying.save()
    true = lying.prove_calldata(LIE)
    script = lying.install(assemble([Step(true)] * 3))
    attempt = bench.prove(name, label, lying, b"", to=script)
    once = attempt.output == word(1) + word(0) + word(0)
    bench.require(name, f"{label}: removed twice, {attempt.output.hex()}", once)
    # In two transactions, and with the header of the batch before.
    lying.send(true)
    lying.save()
    for calldata in (true, *_every_proof(lying)):
        bench.attack(name, label, lying, calldata)


def play_lie(bench: Bench, story: Story) -> Chain:
    """Return a rollup with an honest batch, a rival's lie on it, and an honest batch on that."""
    chain = bench.make(story, 1)
    chain.bond(RIVAL)
    chain.post(spoil(story, LIE, lie_about_root), RIVAL)
    chain.post(story.batches[2])
    chain.save()
    return chain


def attack_around_removal(bench: Bench, story: Story, label: str) -> None:
    """Honest batches before and after a lie, attacked in the transaction that removes it."""
    name = "order: around a removal"
    chain = play_lie(bench, story)
    header = chain.posted[1].header
    remove = encode_call("RollupInbox", "remove", header, Fault.WRONG_POST_ROOT, CHALLENGER)
    true = Step(chain.prove_calldata(LIE))
    before, after = Step(chain.prove_calldata(Place(0, 0))), Step(chain.prove_calldata(Place(2, 0)))
    directly = Step(remove, INBOX)
    for steps in permutations((true, before, after, directly, true)):
        script = chain.install(assemble(steps))
        attempt = chain.send(b"", to=script)
        left = chain.standing()
        # The batch after the lie falls with it; its proposer keeps its bond.
        expected = replace(chain.saved, batches=chain.saved.batches - 2)
        fair = left == expected and attempt.faults == (Fault.WRONG_POST_ROOT,)
        if left == chain.saved:
            bench.ledger.refuse(name, f"{label}: true proof refused", attempt.gas)
        else:
            bench.require(name, f"{label}: {left}, {attempt.faults}", fair, attempt.gas)
        chain.restore()
    # Nothing is left to be proven, whoever comes late.
    for step in (before, after, directly):
        bench.attack(name, label, chain, step.payload, to=step.to)
    attempt = chain.send(true.payload)
    taken = chain.standing() == replace(chain.saved, batches=chain.saved.batches - 2)
    if not taken:
        bench.ledger.refuse(name, f"{label}: {attempt.refusal}", attempt.gas)
    chain.save()
    for step in (before, after, directly, true):
        bench.attack(name, label, chain, step.payload, to=step.to)


def attack_posted_again(bench: Bench, story: Story, label: str) -> None:
    """Honest batches in the place of removed ones: what was proven is proven of others."""
    name = "order: posted again"
    chain = play_lie(bench, story)
    lie, orphan = chain.posted[2:]
    stale = [chain.prove_calldata(Place(number, 0)) for number in (1, 2)]
    stale_words = [chain.prove_words(Place(number, 0)) for number in (1, 2)]
    removed = chain.send(stale[0]).succeeded
    if not removed:
        bench.ledger.refuse(name, f"{label}: true proof refused")
    chain.forget(2)
    for count in (1, 2):
        # The leftover word of the second removed batch must not count, nor when it is overwritten.
        chain.post(story.batches[count])
        chain.save()
        for calldata in (*stale, *_every_proof(chain)):
            bench.attack(name, label, chain, calldata)
        for words, posted in zip(stale_words, (lie, orphan), strict=True):
            for number, now in enumerate(chain.posted[1:]):
                own = chain.prove_words(Place(number, 0))
                chunk = now.chunks[0]
                mixed = (
                    [*words[:15], *own[15:]],
                    [*own[:15], *words[15:]],
                    [*own[:30], *words[30:]],
                    [*words[:30], *own[30:]],
                )
                for forged in mixed:
                    for item in (chunk, posted.chunks[0]):
                        calldata = encode_prove(forged, item.data, item.witness)
                        bench.attack(name, label, chain, calldata)
    # A lie in the same place is another batch and falls.
    chain.forget(2)
    again = play_lie(bench, story)
    again.send(again.prove_calldata(LIE))
    again.forget(2)
    again.post(spoil(story, Place(1, 1), lie_about_root), SEQUENCER)
    again.save()
    bench.prove(name, label, again, again.prove_calldata(Place(1, 1)))


def attack_payment(bench: Bench, story: Story, label: str) -> None:
    """In the two places where the inbox calls strangers: payment of a reward, return of a bond."""
    name = "order: during a payment"
    for lies in (False, True):
        chain = play_lie(bench, story)
        caller = chain.deploy(artifacts()["Caller"].bytecode)
        proof = chain.prove_calldata(LIE)
        won = chain.send(encode_call("Caller", "execute", PROVER, proof), to=caller)
        chain.forget(2)
        for batch in story.batches[1:3]:
            chain.post(batch)
        place = Place(3, 0)
        chain.post(spoil(story, place, lie_about_root) if lies else story.batches[3])
        bonding = encode_call("Caller", "execute", INBOX, encode_call("RollupInbox", "bond"))
        bonded = chain.send(bonding, to=caller, value=BOND)
        proof = chain.prove_calldata(place)
        # Swallows failures: a payment goes through whatever comes of the proof.
        header = chain.posted[place.batch + 1].header
        remove = encode_call("RollupInbox", "remove", header, Fault.WRONG_POST_ROOT, caller)
        script = chain.install(assemble([Step(remove, INBOX), Step(proof)]))
        told = chain.send(encode_call("Caller", "callOnReceive", script, b""), to=caller)
        if not (won.succeeded and bonded.succeeded and told.succeeded):
            bench.ledger.refuse(name, f"{label}: {won}, {bonded}, {told}")
        chain.save()
        claim = encode_call("RollupInbox", "claimReward", RIVAL)
        back = encode_call("RollupInbox", "withdrawBond")
        back = encode_call("Caller", "execute", INBOX, back)
        if lies:
            # The bond comes with all the gas there is.
            bench.prove(name, label, chain, back, to=caller)
            continue
        paid = bench.attack(name, f"{label}, reward", chain, claim, to=INBOX)
        if not paid.succeeded:
            bench.ledger.refuse(name, f"{label}: no reward, {paid.refusal}")
        returned = bench.attack(name, f"{label}, bond", chain, back, to=caller)
        if not returned.succeeded:
            bench.ledger.refuse(name, f"{label}: no bond, {returned.refusal}")
        bench.attack(name, label, chain, proof)
