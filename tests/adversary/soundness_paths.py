"""Attacks through the amount of gas, the depth of calls, and the way a call takes."""

from __future__ import annotations

from collections.abc import Iterator

from eth_abi import encode

from deltaroll.protocol.fault import Fault
from deltaroll.protocol.witness import encode_signature_witness
from tests.adversary.soundness_bench import Bench, Exhibit
from tests.adversary.soundness_chain import (
    BRIDGE,
    CALLCODE,
    CAP,
    DELEGATECALL,
    INBOX,
    MODULES,
    PROVER,
    RIVAL,
    SIGNATURE,
    STATICCALL,
    TRANSITION,
    BridgedChain,
    Chain,
    Step,
    assemble,
    assemble_dive,
    encode_prove_signature,
    lie_about_root,
    spoil,
    word,
)
from tests.protocol.evm import artifacts
from tests.protocol.proving import (
    CHALLENGER,
    DEPLOYER,
    DOMAIN,
    SEQUENCER,
    encode_call,
)
from tests.protocol.verifiers import CONTEXT_TYPE
from tests.protocol.verifiers import SIGNATURE as VERIFY_SIGNATURE
from tests.protocol.verifiers import TRANSITION as VERIFY_TRANSITION

LIMITS = 16
"""Gas limits over the whole range, and as many just below what the call needs."""
FINE_STEP = 61
"""Gas between limits near the end, where precompiles are called."""
ENDLESS = 1 << 62
"""Gas enough to go down as deep as calls can."""
DEPTHS = (0, 1, 500, 1_000, *range(1_012, 1_026))
"""The machine stops at 1024: a call too many fails without want of gas."""
NOBODY = "0x" + "00" * 20


def spread_limits(bench: Bench, calldata: bytes, needed: int) -> Iterator[int]:
    """Yield gas limits below what a call needs, and at it; a transaction may have all of them."""
    zeros = calldata.count(0)
    least = 21_000 + 16 * len(calldata) - 12 * zeros
    for number in range(LIMITS):
        yield least + max(0, needed - least) * number // LIMITS + bench.rng.randrange(1_000)
    start = bench.rng.randrange(FINE_STEP)
    for number in range(LIMITS):
        yield max(least, needed - start - FINE_STEP * number)
    for percent in (0, 1, 2, 5, 20, 100):
        yield needed + needed * percent // 100


def attack_gas(bench: Bench, exhibit: Exhibit) -> None:
    """Too little gas in all places: of the transaction, of a call inside it, of the verifier."""
    chain, twin, what = exhibit.chain, exhibit.twin, exhibit.label
    calldata, true = exhibit.calldata(), exhibit.twin_calldata()
    needed = max(chain.send(calldata).gas, twin.send(true).gas)
    twin.restore()
    starve(bench, "gas: limit", what, chain, calldata, needed)
    starve_lie(bench, "gas: limit", what, twin, true, needed)
    bench.prove("gas: limit", what, twin, true, gas=min(CAP, 2 * needed))
    for gas in spread_limits(bench, calldata, needed):
        script = chain.install(assemble([Step(calldata, gas=gas), Step(calldata, gas=gas)]))
        bench.attack("gas: 63/64", f"{what}, {gas} forwarded", chain, b"", to=script)
    script = chain.install(assemble([Step(calldata)]))
    starve(bench, "gas: 63/64", what, chain, b"", needed * 65 // 64, to=script)
    # Whoever was starved once sends more.
    script = twin.install(assemble([Step(true, gas=needed // 2), Step(true)]))
    bench.prove("gas: 63/64", what, twin, b"", to=script)
    attack_signature_gas(bench, exhibit)
    attack_verifier_gas(bench, exhibit)


def starve(
    bench: Bench, name: str, what: str, chain: Chain, calldata: bytes, needed: int, **how: str
) -> None:
    """Send an honest chunk's proof with every amount of gas."""
    for gas in spread_limits(bench, calldata, needed):
        bench.attack(name, f"{what}, {gas} gas", chain, calldata, gas=gas, **how)


def starve_lie(
    bench: Bench, name: str, what: str, twin: Chain, calldata: bytes, needed: int
) -> None:
    """Send a true proof with every amount of gas: it fails, or finds just that lie."""
    for gas in spread_limits(bench, calldata, needed):
        attempt = twin.send(calldata, gas=gas)
        fair = attempt.faults in ((), (Fault.WRONG_POST_ROOT,))
        bench.require(name, f"{what}, {gas} gas: {attempt.faults}", fair, attempt.gas)
        if attempt.succeeded:
            twin.restore()


def attack_signature_gas(bench: Bench, exhibit: Exhibit) -> None:
    """Too little gas for the precompile that recovers a key must not make a signature bad."""
    chunk, chain = exhibit.chunk, exhibit.chain
    if not chunk.count:
        return
    position = bench.rng.randrange(chunk.count)
    witness = encode_signature_witness(chunk.state, chunk.data, position)
    calldata = encode_prove_signature(
        exhibit.words, chunk.data, chunk.signatures, position, witness
    )
    needed = chain.send(calldata).gas
    starve(bench, "gas: signature", exhibit.label, chain, calldata, needed)


def encode_context(exhibit: Exhibit, l1_time: int | None = None) -> tuple[object, ...]:
    """Return what the prover would tell a verifier, in ABI order."""
    posted = exhibit.chain.posted[exhibit.place.batch + 1]
    previous = exhibit.chain.posted[exhibit.place.batch]
    index = exhibit.place.chunk
    pre_root = posted.chunks[index - 1].post_root if index else previous.words[2]
    return (
        pre_root,
        exhibit.chunk.post_root,
        DOMAIN,
        BRIDGE,
        posted.header[9] if l1_time is None else l1_time,
        posted.header[6],
        previous.header[10],
        previous.header[11],
        index == 0,
        index == len(posted.chunks) - 1,
    )


def encode_verify(exhibit: Exhibit, l1_time: int | None = None) -> bytes:
    """Calldata of `verifyTransition`."""
    chunk = exhibit.chunk
    values = [encode_context(exhibit, l1_time), chunk.data, chunk.witness]
    return VERIFY_TRANSITION + encode([CONTEXT_TYPE, "bytes", "bytes"], values)


def attack_verifier_gas(bench: Bench, exhibit: Exhibit) -> None:
    """A verifier without gas, asked directly: it says nothing, or that the chunk is honest."""
    chain, chunk = exhibit.chain, exhibit.chunk
    calls = [(TRANSITION, encode_verify(exhibit))]
    if chunk.count:
        position = bench.rng.randrange(chunk.count)
        witness = encode_signature_witness(chunk.state, chunk.data, position)
        types = [CONTEXT_TYPE, "bytes", "bytes", "uint256", "bytes"]
        context = encode_context(exhibit)
        values = [context, chunk.data, chunk.signatures, position, witness]
        calls.append((SIGNATURE, VERIFY_SIGNATURE + encode(types, values)))
    for to, calldata in calls:
        answer = chain.send(calldata, to=to)
        honest = answer.succeeded and answer.output == word(Fault.NONE)
        bench.require("gas: verifier", f"{exhibit.label}: {answer}", honest, answer.gas)
        needed = answer.gas
        for gas in spread_limits(bench, calldata, needed):
            answer = chain.send(calldata, to=to, gas=gas)
            fair = not answer.succeeded or answer.output == word(Fault.NONE)
            what = f"{exhibit.label}, {gas} gas: {answer.output.hex()}"
            bench.require("gas: verifier", what, fair, answer.gas)


def attack_depth(bench: Bench, exhibit: Exhibit) -> None:
    """Calls that fail because there are too many above them."""
    name, chain, twin = "call depth", exhibit.chain, exhibit.twin
    payloads = [exhibit.calldata()]
    chunk = exhibit.chunk
    if chunk.count:
        witness = encode_signature_witness(chunk.state, chunk.data, 0)
        payloads.append(
            encode_prove_signature(exhibit.words, chunk.data, chunk.signatures, 0, witness)
        )
    for payload in payloads:
        dive = chain.install(assemble_dive(chain.install(assemble([Step(payload)]))))
        for depth in DEPTHS:
            what = f"{exhibit.label}, {depth} calls above"
            bench.attack(name, what, chain, word(depth), to=dive, gas=ENDLESS)
    script = twin.install(assemble([Step(exhibit.twin_calldata())]))
    dive = twin.install(assemble_dive(script))
    for depth in (0, 1, 1_000):
        bench.prove(name, exhibit.label, twin, word(depth), to=dive, gas=ENDLESS)


def attack_paths(bench: Bench, exhibit: Exhibit) -> None:
    """Calls that no challenger makes, and from where no challenger calls."""
    chain, twin, what = exhibit.chain, exhibit.twin, exhibit.label
    header = chain.posted[exhibit.place.batch + 1].header
    remove = encode_call("RollupInbox", "remove", header, Fault.WRONG_POST_ROOT, CHALLENGER)
    name = "path: through a contract"
    for kind in (STATICCALL, DELEGATECALL, CALLCODE, None):
        for payload in (exhibit.calldata(), remove):
            for to in (PROVER, INBOX):
                step = Step(payload, to) if kind is None else Step(payload, to, kind=kind)
                script = chain.install(assemble([step, Step(exhibit.calldata()), step]))
                bench.attack(name, f"{what}, kind {kind}", chain, b"", to=script)
    script = twin.install(assemble([Step(exhibit.twin_calldata())]))
    bench.prove(name, what, twin, b"", to=script)

    name = "path: inbox directly"
    for sender in (CHALLENGER, SEQUENCER, DEPLOYER, RIVAL, NOBODY):
        for fault in (Fault.NONE, Fault.WRONG_POST_ROOT, Fault.BAD_SIGNATURE, 255):
            forged = encode_call("RollupInbox", "remove", header, fault, sender)
            bench.attack(name, f"{what}, by {sender}", chain, forged, to=INBOX, sender=sender)
    bench.prove(name, what, twin, exhibit.twin_calldata(), sender=SEQUENCER)

    name = "path: verifiers directly"
    for l1_time in (0, 1, (1 << 64) - 1):
        lie = encode_verify(exhibit, l1_time)
        answer = bench.attack(name, what, chain, lie, to=TRANSITION)
        # The verifier agrees that this would be a fault; nobody asked it on the prover's behalf.
        found = answer.output in (word(Fault.CLOCK_AHEAD), word(Fault.CLOCK_STALE))
        if not found:
            bench.ledger.refuse(name, f"{what}: no fault of clock, {answer.output.hex()}")
        script = chain.install(assemble([Step(lie, TRANSITION), Step(exhibit.calldata())]))
        bench.attack(name, what, chain, b"", to=script)
    bench.prove(name, what, twin, exhibit.twin_calldata())

    name = "path: modules directly"
    for module in MODULES:
        noise = bench.rng.randbytes(bench.rng.choice((0, 4, 32, 1_000)))
        for payload in (exhibit.calldata(), remove, word(0x1000) + noise):
            bench.attack(name, what, chain, payload, to=module)
            script = chain.install(assemble([Step(payload, module), Step(remove, INBOX)]))
            bench.attack(name, what, chain, b"", to=script)
    bench.prove(name, what, twin, exhibit.twin_calldata())


def attack_bridge(bench: Bench, exhibit: Exhibit) -> None:
    """Calls from the bridge's own address, which the contracts know."""
    name, what = "path: from the bridge", exhibit.label
    chain = BridgedChain(exhibit.chain.story)
    header = chain.posted[exhibit.place.batch + 1].header
    remove = encode_call("RollupInbox", "remove", header, Fault.WRONG_POST_ROOT, CHALLENGER)
    honest = chain.prove_calldata(exhibit.place)
    for to, payload in ((INBOX, remove), (PROVER, honest), (INBOX, honest), (PROVER, remove)):
        calldata = BridgedChain.encode_forward(to, payload)
        bench.attack(name, what, chain, calldata, to=BRIDGE)
    twin = BridgedChain(exhibit.chain.story, exhibit.place.batch)
    twin.post(spoil(twin.story, exhibit.place, lie_about_root))
    twin.save()
    true = BridgedChain.encode_forward(PROVER, twin.prove_calldata(exhibit.place))
    bench.prove(name, what, twin, true, to=BRIDGE)


def attack_with_own_prover(bench: Bench, exhibit: Exhibit) -> None:
    """A prover of the attacker's own, with verifiers that find whatever they are told to."""
    name, chain = "path: inbox directly", exhibit.chain
    mock = chain.deploy(artifacts()["MockVerifier"].bytecode)
    code = artifacts()["FraudProver"].bytecode + encode(["address"] * 3, [INBOX, mock, mock])
    bench.require(name, f"{exhibit.label}: deployed", bool(mock) and chain.deploy(code) == "")
