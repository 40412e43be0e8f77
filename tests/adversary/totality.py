"""Totality: whatever bytes come, a fault, a root or a refusal comes out, on both sides the same.

The corpus of `fuzz_targets` goes through Python and through Solidity, and so do random changes of
its entries. Wrongly accepted is: an exception that is no Fault, a revert that does not say that the
witness is bad, any disagreement, a damaged witness that is believed and proves something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from deltaroll.protocol.codec import decode_chunk, encode_chunk
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.signatures import compute_bad_signature
from deltaroll.protocol.state import Meter
from deltaroll.protocol.witness import encode_signature_witness, encode_witness
from tests.adversary.campaign import Effort, Ledger, Row
from tests.adversary.fuzz_targets import (
    BASES,
    DECODER,
    MAX_INPUT,
    TARGETS,
    TRANSITION,
    WITNESS,
    damage,
    make_base,
    make_case,
    mutate,
    read_corpus,
)
from tests.protocol.evm import artifacts, type_of
from tests.protocol.strategies import Case, sign_all, world_of
from tests.protocol.test_codec import decode_python, decode_solidity
from tests.protocol.test_transition_forgeries import FORGERS, meter_of
from tests.protocol.verifiers import (
    OTHER_ROOT,
    Outcome,
    RevertError,
    Tally,
    compare,
    hash_message,
    run_python,
    verifiers,
)

NAMES = {
    DECODER: "totality: decoder",
    TRANSITION: "totality: transition",
    WITNESS: "totality: witness reader",
}
MUTATIONS = {DECODER: 3_000, TRANSITION: 800, WITNESS: 4_000}
"""Changed entries at scale 1."""


QUEUE_ERROR = "MockQueue_UnknownMessage"
"""`Bridge_UnknownMessage` on L1."""
MALICE = 0.5
"""Share of wrong keys, times five."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What an input came to."""

    note: str = ""
    """What is wrong; empty when nothing is."""
    answer: str = ""
    gas: int = 0


@cache
def witness_errors() -> dict[bytes, str]:
    """Errors that say that a witness is bad, by selector: the reader's, and the queue's own when
    a witness names messages that the queue does not have.
    """
    errors = {}
    for artifact in artifacts().values():
        for entry in artifact.abi:
            if entry["type"] == "error" and entry["name"].startswith(("Witness_", QUEUE_ERROR)):
                types = ",".join(type_of(item) for item in entry["inputs"])
                signature = f"{entry['name']}({types})"
                errors[keccak(signature.encode())[:4]] = entry["name"]
    return errors


def probe_decoder(data: bytes) -> Probe:
    """Both decoders read the same up to the same fault; what decodes is its own encoding."""
    expected = decode_python(data)
    found = decode_solidity(data)
    if found != expected:
        return Probe(f"Python {expected[0]!r}, Solidity {found[0]!r}")
    if expected[0] == Fault.NONE and encode_chunk(*decode_chunk(data)) != data:
        return Probe("a second encoding of one meaning")
    return Probe(answer=expected[0].name)


def probe_transition(data: bytes) -> Probe:
    """Both implementations come to the same fault or root."""
    outcome = compare(make_case(data), Tally())
    return Probe(answer=outcome.fault.name, gas=verifiers().gas_used)


@dataclass(frozen=True, slots=True)
class Signed:
    """A proof about one signature, which is good or is not."""

    signatures: bytes
    position: int
    witness: bytes
    fault: Fault


@dataclass(frozen=True, slots=True)
class Base:
    """A chunk whose true witness is damaged."""

    case: Case
    outcome: Outcome
    witnesses: tuple[bytes, ...]
    """The true one, then some that open more or fewer leaves."""
    queue: tuple[tuple[int, bytes], ...]
    """What the queue holds around the messages that the chunk consumes."""
    signed: Signed | None
    """Also a proof of one of its signatures, where it needs any."""


@cache
def base_of(number: int) -> Base:
    """The n-th chunk; later ones on the same world leave it as it is."""
    case = make_base(number)
    outcome = run_python(case)
    state = case.state
    first, count = state.globals.queue_index, state.meter.messages
    chain = case.queue_before
    queue = [(first - 1, chain)] if first and count else []
    if count:
        for index in range(first, first + count):
            chain = keccak(chain + hash_message(state.messages[index]))
        queue.append((first + count - 1, chain))
    rng = Random(number)
    witnesses = (outcome.witness, *forge_witnesses(case, rng))
    return Base(case, outcome, witnesses, tuple(queue), sign_base(case, rng))


def forge_witnesses(case: Case, rng: Random) -> Iterator[bytes]:
    """Well made witnesses of more or fewer leaves than the chunk touches."""
    for forger in (*FORGERS, drop_exits):
        meter = meter_of(case)
        forger(rng, meter)
        yield encode_witness(case.state, meter)


def drop_exits(_: Random, meter: Meter) -> None:
    """Leave out the places of new exits."""
    meter.exits = 0


def sign_base(case: Case, rng: Random) -> Signed | None:
    """Sign a chunk, not always with the right keys; None when it needs no signature."""
    try:
        _, transactions = decode_chunk(case.data)
    except TransitionFault:
        return None
    found = [
        signature
        for transaction in transactions
        for signature in sign_all(case.state, transaction, rng, MALICE)
    ]
    if not found:
        return None
    signatures = b"".join(found)
    position = rng.randrange(len(found))
    bad = compute_bad_signature(case.state, case.data, signatures, case.context.domain)
    if bad is not None:
        position = bad[1]
    witness = encode_signature_witness(case.state, case.data, position)
    return Signed(signatures, position, witness, Fault.NONE if bad is None else bad[0])


def probe_witness(data: bytes) -> Probe:
    """A damaged witness is refused as such, or changes nothing."""
    head = data[:2].ljust(2, b"\0")
    base = base_of(head[0] % BASES)
    if head[1] & 2 and base.signed is not None:
        return judge_signature(base, base.signed, damage(base.signed.witness, data[2:]))
    witness = damage(base.witnesses[(head[1] >> 2) % len(base.witnesses)], data[2:])
    return judge_transition(base, witness, OTHER_ROOT if head[1] & 1 else base.outcome.post_root)


def judge_transition(base: Base, witness: bytes, root: bytes) -> Probe:
    """Prove a chunk with a witness when `root` was posted."""
    outcome = base.outcome
    expected = outcome.fault
    if expected == Fault.NONE and root != outcome.post_root:
        expected = Fault.WRONG_POST_ROOT
    for index, chain in base.queue:
        verifiers().set_queue_hash(index, chain)
    return judge_proof(
        expected,
        lambda: verifiers().verify_transition(
            base.case.context, outcome.pre_root, root, base.case.data, witness
        ),
    )


def judge_signature(base: Base, signed: Signed, witness: bytes) -> Probe:
    """Prove one of a chunk's signatures with a witness."""
    return judge_proof(
        signed.fault,
        lambda: verifiers().verify_signature(
            base.case.context,
            base.outcome.pre_root,
            base.case.data,
            signed.signatures,
            signed.position,
            witness,
        ),
    )


def judge_proof(expected: Fault, verify: Callable[[], Fault]) -> Probe:
    """A proof says what the true witness says, or that its own witness is bad."""
    try:
        found = verify()
    except RevertError as problem:
        name = witness_errors().get(problem.data[:4], "")
        gas = int(str(problem).partition("gas_used: ")[2].partition(",")[0] or 0)
        return Probe("" if name else f"revert: {problem}", name, gas)
    note = "" if found == expected else f"true witness {expected!r}, damaged {found!r}"
    return Probe(note, found.name, verifiers().gas_used)


PROBES: dict[str, Callable[[bytes], Probe]] = {
    DECODER: probe_decoder,
    TRANSITION: probe_transition,
    WITNESS: probe_witness,
}


def probe(target: str, data: bytes) -> Probe:
    """Probe an input; whatever is raised is a note, for nothing may be."""
    try:
        return PROBES[target](data)
    except Exception as problem:  # noqa: BLE001 (that none comes is the claim)
        # What was going on is not undone in the worlds that inputs share.
        world_of.cache_clear()
        base_of.cache_clear()
        return Probe(f"{type(problem).__name__}: {problem}")


def iterate_inputs(target: str, effort: Effort) -> Iterator[bytes]:
    """The corpus, then as many changed entries as the effort is worth."""
    entries = read_corpus(target)
    yield from entries
    rng = Random(f"totality {target} {effort.seed}")
    for _ in range(MUTATIONS[target] * effort.scale):
        yield mutate(rng, entries, MAX_INPUT[target])


def attack(effort: Effort) -> Iterable[Row]:
    """Run the corpus and changes of it through both implementations."""
    ledger = Ledger()
    for target in TARGETS:
        name = NAMES[target]
        for data in iterate_inputs(target, effort):
            found = probe(target, data)
            # What a refused proof cost is the attacker's own affair.
            gas = 0 if found.answer.startswith("Witness_") else found.gas
            if found.note:
                ledger.accept(name, f"{found.note}, input {data.hex()}", gas)
            else:
                ledger.count(name, gas)
    for number, found in iterate_honest():
        if found.note or found.answer not in Fault.__members__:
            ledger.refuse(NAMES[WITNESS], f"true witness of base {number}: {found}", found.gas)
        else:
            ledger.count(NAMES[WITNESS], found.gas)
    return ledger.to_rows()


def iterate_honest() -> Iterator[tuple[int, Probe]]:
    """The proofs with their true witnesses."""
    for number in range(BASES):
        base = base_of(number)
        yield number, judge_transition(base, base.outcome.witness, base.outcome.post_root)
        yield number, judge_transition(base, base.outcome.witness, OTHER_ROOT)
        if base.signed is not None:
            yield number, judge_signature(base, base.signed, base.signed.witness)


def replay(targets: Iterable[str]) -> bool:
    """Probe the corpus, print what came of it; whether anything is wrong."""
    is_wrong = False
    for target in targets:
        entries = read_corpus(target)
        answers: Counter[str] = Counter()
        for data in entries:
            found = probe(target, data)
            answers[found.answer or "wrong"] += 1
            if found.note:
                is_wrong = True
                print(f"{target} {data.hex()}: {found.note}")
        total = sum(map(len, entries))
        print(f"{target}: {len(entries)} entries, {total:,} bytes, {len(answers)} answers")
        print("  " + ", ".join(f"{name} {count}" for name, count in answers.most_common()))
    return is_wrong
