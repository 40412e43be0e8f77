"""Soundness (G3): whatever is tried, no honest batch is removed.

Every attempt is a transaction to the real contracts, in process. An attempt has gone through when
an honest batch is gone after it, or an honest bond, whatever the call returned. Beside each class
stand honest proofs on the same path: the same chunk, in a rollup where its root or its signature
is a lie, is removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.witness import encode_signature_witness
from tests.adversary.campaign import Effort, Row
from tests.adversary.soundness_bench import Bench, Exhibit, Make, iterate_exhibits
from tests.adversary.soundness_chain import (
    FIELDS,
    HEADER_WORDS,
    INDEX,
    Chain,
    Place,
    Words,
    encode_bytes,
    encode_prove,
    selector_of,
    word,
)
from tests.adversary.soundness_flow import Story, write_heavy_story, write_long_story, write_story
from tests.adversary.soundness_order import attack_order
from tests.adversary.soundness_paths import (
    attack_bridge,
    attack_depth,
    attack_gas,
    attack_paths,
    attack_signature_gas,
    attack_with_own_prover,
)
from tests.adversary.soundness_signatures import attack_signatures
from tests.adversary.soundness_witness import FORGERS, Target

KINDS = ("normal", "trouble", "extreme", "big", "options", "empty")
"""Worlds of the stories, in turns."""
STORIES = 2
"""For each unit of scale."""
FORGERIES = 4
"""Of each class for each chunk."""

TRIES = 3
"""For one that differs: some leave a witness as it is."""


def attack(effort: Effort) -> Iterable[Row]:
    """Try to remove honest batches."""
    return survey(effort).ledger.to_rows()


def survey(effort: Effort, make: Make = Chain, stories: int = STORIES) -> Bench:
    """Run all attacks on rollups that `make` deploys, and return the bench."""
    bench = Bench(Random(effort.seed), make=make)
    for number in range(stories * effort.scale):
        kind = KINDS[number % len(KINDS)]
        label = f"seed {effort.seed}, story {number} ({kind})"
        rng = Random(f"soundness {effort.seed} {number}")
        story = write_story(rng, kind)
        bench.rng = rng
        attack_story(bench, story, label)
        attack_order(bench, kind, label)
    # Where a 64th of the gas is enough to go on with.
    bench.rng = Random(effort.seed)
    for exhibit in iterate_exhibits(bench, write_heavy_story(), "heaviest chunk"):
        attack_gas(bench, exhibit)
    for exhibit in iterate_exhibits(bench, write_long_story(), "longest chunk"):
        attack_signature_gas(bench, exhibit)
    return bench


def attack_story(bench: Bench, story: Story, label: str) -> None:
    """Attack every chunk of a story, then the story."""
    exhibits = list(iterate_exhibits(bench, story, label))
    for exhibit in exhibits:
        attack_header(bench, exhibit)
        attack_proof(bench, exhibit)
        attack_data(bench, exhibit)
        attack_layout(bench, exhibit)
        attack_witness(bench, exhibit)
        attack_signatures(bench, exhibit)
    attack_gas(bench, bench.rng.choice(exhibits))
    for exhibit in bench.rng.sample(exhibits, 2):
        attack_paths(bench, exhibit)
        attack_depth(bench, exhibit)
        attack_bridge(bench, exhibit)
        attack_with_own_prover(bench, exhibit)


# Where the chunk is


def mutate_word(rng: Random, value: bytes, others: Words) -> bytes:
    """Return another word: near it, far from it, or one that stands elsewhere."""
    number = int.from_bytes(value, "big")
    match rng.randrange(7):
        case 0:
            number ^= 1 << rng.randrange(256)
        case 1:
            number += 1
        case 2:
            number -= 1
        case 3:
            # Where a decoder that masks would see the same.
            number ^= 1 << rng.choice((255, 160, 128, 64, 32, 8))
        case 4:
            number = rng.choice((0, 1, (1 << 256) - 1, (1 << 64) - 1))
        case 5:
            return rng.choice(others)
        case _:
            return keccak(value)
    return word(number % (1 << 256))


def attack_words(
    bench: Bench, name: str, exhibit: Exhibit, places: Iterable[int], times: int
) -> None:
    """Send the honest proof with one word, or two, changed."""
    rng, chunk, words = bench.rng, exhibit.chunk, exhibit.words
    foreign = [
        exhibit.chain.prove_words(Place(number, index))
        for number, posted in enumerate(exhibit.chain.posted[1:])
        for index in range(len(posted.chunks))
    ]
    choices = list(places)
    for place in choices:
        for attempt in range(times):
            forged = list(words)
            for at in {place, *rng.sample(choices, rng.choice((0, 0, 1)))}:
                # First what stands in the same place of another chunk's proof.
                others = [other[at] for other in foreign] if attempt else [*words, *foreign[0]]
                forged[at] = mutate_word(rng, words[at], others)
            if forged != words:
                what = f"{exhibit.label}, {FIELDS[place]}"
                calldata = encode_prove(forged, chunk.data, chunk.witness)
                bench.attack(name, what, exhibit.chain, calldata)
    bench.prove(name, exhibit.label, exhibit.twin, exhibit.twin_calldata())


def attack_header(bench: Bench, exhibit: Exhibit) -> None:
    """Every field of both headers; whole headers of other batches."""
    name = "header fields"
    attack_words(bench, name, exhibit, range(2 * HEADER_WORDS), 4)
    chunk, chain = exhibit.chunk, exhibit.chain
    headers = [posted.words for posted in (*chain.posted, *exhibit.twin.posted)]
    for at in (0, HEADER_WORDS):
        for header in headers:
            words = exhibit.words
            if words[at : at + HEADER_WORDS] != header:
                words[at : at + HEADER_WORDS] = header
                calldata = encode_prove(words, chunk.data, chunk.witness)
                bench.attack(name, f"{exhibit.label}, other header", chain, calldata)


def attack_proof(bench: Bench, exhibit: Exhibit) -> None:
    """Index, hashes, roots and branches; those of another chunk."""
    name = "chunk index, roots, branches"
    rng, chunk, chain = bench.rng, exhibit.chunk, exhibit.chain
    attack_words(bench, name, exhibit, range(INDEX, len(FIELDS)), 4)
    for index in (0, 1, 2, 3, 4, 127, 128, 255, 256, 257, 1 << 32, (1 << 256) - 1):
        words = exhibit.words
        if words[INDEX] != word(index):
            words[INDEX] = word(index)
            calldata = encode_prove(words, chunk.data, chunk.witness)
            bench.attack(name, f"{exhibit.label}, index {index}", chain, calldata)
    for number, posted in enumerate(chain.posted[1:]):
        for index, other in enumerate(posted.chunks):
            place = Place(number, index)
            if place == exhibit.place:
                continue
            # The place of one chunk, the header or the content of another.
            words = exhibit.words
            foreign = chain.prove_words(place)
            at = rng.choice((INDEX, INDEX + 1, INDEX + 11, 2 * HEADER_WORDS, HEADER_WORDS))
            mixed = [*words[:at], *foreign[at:]]
            for data, witness in ((chunk.data, chunk.witness), (other.data, other.witness)):
                if mixed not in (words, foreign):
                    what = f"{exhibit.label}, from word {at} on that of {place}"
                    bench.attack(name, what, chain, encode_prove(mixed, data, witness))


def attack_data(bench: Bench, exhibit: Exhibit) -> None:
    """The data with bits flipped, cut, extended, or of another chunk or batch."""
    name = "data"
    rng, chunk, words = bench.rng, exhibit.chunk, exhibit.words
    others = [other for other in exhibit.others if other.data != chunk.data]
    for _ in range(4 * FORGERIES):
        data = bytearray(chunk.data)
        witness = chunk.witness
        match rng.randrange(6):
            case 0 | 1:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 2:
                del data[rng.randrange(len(data)) :]
            case 3:
                data += rng.choice((b"\0", bytes(32), rng.randbytes(rng.randint(1, 40))))
            case 4:
                other = rng.choice(others)
                data = bytearray(other.data)
                witness = rng.choice((witness, other.witness))
            case _:
                at = rng.randrange(len(data))
                data[at:] = rng.choice(others).data[at:]
        if data != chunk.data:
            calldata = encode_prove(words, bytes(data), witness)
            bench.attack(name, f"{exhibit.label}, data {data.hex()}", exhibit.chain, calldata)
    bench.prove(name, exhibit.label, exhibit.twin, exhibit.twin_calldata())


def attack_layout(bench: Bench, exhibit: Exhibit) -> None:
    """Calldata that no encoder writes: overlaps, far offsets, wrong lengths, too little of it."""
    name = "calldata layout"
    rng, chunk, chain = bench.rng, exhibit.chunk, exhibit.chain
    size = 32 * (len(FIELDS) + 2)
    first, second = encode_bytes(chunk.data), encode_bytes(chunk.witness)
    ends = (size, size + len(first))
    huge = (1 << 256) - 1
    spots = (
        *(0, 4, 32, size, size - 32, size + 32, size + len(first), huge, huge - 31),
        *(1 << 64, (1 << 64) - 1, 1 << 32, size + len(first) + len(second)),
    )
    for _ in range(2 * FORGERIES):
        offsets = [word(end) for end in ends]
        body = first + second
        match rng.randrange(5):
            case 0:
                offsets[rng.randrange(2)] = word(rng.choice(spots))
            case 1:
                offsets.reverse()
            case 2:
                at = rng.choice((0, len(first)))
                length = rng.choice((0, 1, huge, 1 << 64, len(chunk.data) + 32, len(body)))
                body = body[:at] + word(length) + body[at + 32 :]
            case 3:
                body = body[: rng.randrange(len(body))]
            case _:
                offsets = [word(rng.choice(spots)), word(rng.choice(spots))]
        calldata = b"".join((selector_of("prove"), *exhibit.words, *offsets, body))
        bench.attack(name, exhibit.label, chain, calldata)
    # The other way round, and with words in between: another layout of the same.
    offsets = [word(size + len(second) + 64), word(size)]
    parts = (selector_of("prove"), *exhibit.twin_words, *offsets, second, bytes(64), first)
    bench.prove(name, exhibit.label, exhibit.twin, b"".join(parts))


# What the chunk does


def attack_witness(bench: Bench, exhibit: Exhibit) -> None:
    """Every way to forge a witness."""
    chunk, words = exhibit.chunk, exhibit.words
    target = Target(chunk.witness, chunk.state, chunk.meter, exhibit.others)
    for forgery, forge in FORGERS.items():
        name = f"witness: {forgery}"
        forged = b""
        for _ in range(FORGERIES):
            for _ in range(TRIES):
                forged = forge(bench.rng, target)
                if forged != chunk.witness:
                    break
            if forged != chunk.witness:
                what = f"{exhibit.label}, witness {keccak(forged).hex()}"
                calldata = encode_prove(words, chunk.data, forged)
                bench.attack(name, what, exhibit.chain, calldata)
        # A lie is proven by a witness that holds, and by no other: never as another lie.
        bench.prove(name, exhibit.label, exhibit.twin, exhibit.twin_calldata())
        attempt = exhibit.twin.send(exhibit.twin_calldata(forged))
        fair = attempt.faults in ((), (Fault.WRONG_POST_ROOT,))
        bench.require(name, f"{exhibit.label}: another fault, {attempt.faults}", fair)
        exhibit.twin.restore()
    signature_witness = encode_signature_witness(chunk.state, chunk.data, 0)
    calldata = encode_prove(words, chunk.data, signature_witness)
    bench.attack("witness: of another chunk", exhibit.label, exhibit.chain, calldata)
