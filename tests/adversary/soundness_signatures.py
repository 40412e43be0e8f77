"""Attacks through `proveSignature`, on honest signatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.recovery import SIGNATURE_BYTES
from deltaroll.protocol.witness import encode_signature_witness
from tests.adversary.soundness_bench import Bench, Exhibit
from tests.adversary.soundness_chain import (
    SIGNATURE_HASH,
    Chain,
    Place,
    encode_prove_signature,
)
from tests.adversary.soundness_flow import Chunk
from tests.adversary.soundness_witness import FORGERS, Target
from tests.protocol.strategies import SIGNERS

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1."""
PARITY = 1 << 255
FORGERIES = 2
"""Of each class for each signature that is looked at."""
LOOKED_AT = 3
"""Signatures of a chunk."""


def sign_otherwise(rng: Random, signature: bytes) -> bytes:
    """Return a signature by a key that means nothing here."""
    return rng.choice(SIGNERS[20:]).sign(keccak(signature))


def raise_s(rng: Random, signature: bytes) -> bytes:
    """Return the other signature by the same key: s negated, parity flipped."""
    r, packed = signature[:32], int.from_bytes(signature[32:], "big")
    s, parity = packed & (PARITY - 1), packed & PARITY
    # Half of all high s do not fit beside the parity: then what is left of them.
    high = (ORDER - s) & (PARITY - 1)
    return r + (high | (parity ^ PARITY)).to_bytes(32, "big")


def flip_parity(rng: Random, signature: bytes) -> bytes:
    """Return a signature of which another key is recovered."""
    return signature[:32] + bytes((signature[32] ^ 0x80,)) + signature[33:]


def flip_bit(rng: Random, signature: bytes) -> bytes:
    """Return a signature with one bit changed."""
    at = rng.randrange(SIGNATURE_BYTES)
    return signature[:at] + bytes((signature[at] ^ 1 << rng.randrange(8),)) + signature[at + 1 :]


def blank(rng: Random, signature: bytes) -> bytes:
    """Return no signature at all."""
    return rng.choice((bytes(64), b"\xff" * 64, signature[:32] + bytes(32)))


SPOILERS: dict[str, Callable[[Random, bytes], bytes]] = {
    "other key": sign_otherwise,
    "high s": raise_s,
    "other parity": flip_parity,
    "bit": flip_bit,
    "blank": blank,
}


def spoil_at(
    rng: Random, position: int, spoil: Callable[[Random, bytes], bytes], chunk: Chunk
) -> Chunk:
    """Return the chunk with one signature spoilt."""
    at = position * SIGNATURE_BYTES
    end = at + SIGNATURE_BYTES
    section = chunk.signatures
    return replace(chunk, signatures=section[:at] + spoil(rng, section[at:end]) + section[end:])


def respell_section(rng: Random, exhibit: Exhibit) -> bytes:
    """Return a signature section that is not the chunk's."""
    section = exhibit.chunk.signatures
    parts = [section[at : at + SIGNATURE_BYTES] for at in range(0, len(section), SIGNATURE_BYTES)]
    at = rng.randrange(len(parts))
    match rng.randrange(7):
        case 0:
            parts[at] = rng.choice(list(SPOILERS.values()))(rng, parts[at])
        case 1:
            rng.shuffle(parts)
        case 2:
            del parts[at]
        case 3:
            parts.insert(at, parts[at])
        case 4:
            parts[-1] = parts[-1][: rng.randrange(SIGNATURE_BYTES)]
        case 5:
            parts.append(rng.randbytes(rng.choice((1, 63, 64, 65))))
        case _:
            return rng.choice(exhibit.others).signatures
    return b"".join(parts)


def attack_signatures(bench: Bench, exhibit: Exhibit) -> None:
    """Everything of a signature proof: section, position, witness, place."""
    rng, chunk, chain, words = bench.rng, exhibit.chunk, exhibit.chain, exhibit.words
    if not chunk.count:
        _attack_without(bench, exhibit)
        return
    for position in rng.sample(range(chunk.count), min(LOOKED_AT, chunk.count)):
        what = f"{exhibit.label}, signature {position}"
        witness = encode_signature_witness(chunk.state, chunk.data, position)
        for _ in range(FORGERIES):
            section = respell_section(rng, exhibit)
            if section == chunk.signatures:
                continue
            for hash_too in (False, True):
                forged = list(words)
                if hash_too:
                    forged[SIGNATURE_HASH] = keccak(section)
                calldata = encode_prove_signature(forged, chunk.data, section, position, witness)
                bench.attack("signature: section", f"{what}, {section.hex()}", chain, calldata)
        _attack_position(bench, exhibit, position, witness, what)
        _attack_witness(bench, exhibit, position, witness, what)
    _prove_lies(bench, exhibit)


def _attack_without(bench: Bench, exhibit: Exhibit) -> None:
    chunk = exhibit.chunk
    for witness in (chunk.witness, encode_signature_witness(chunk.state, chunk.data, 0)):
        for position in (0, 1, 1 << 255, (1 << 256) - 1):
            calldata = encode_prove_signature(exhibit.words, chunk.data, b"", position, witness)
            bench.attack("signature: position", exhibit.label, exhibit.chain, calldata)


def _attack_position(
    bench: Bench, exhibit: Exhibit, position: int, witness: bytes, what: str
) -> None:
    chunk, name = exhibit.chunk, "signature: position"
    others = {0, 1, chunk.count - 1, chunk.count, chunk.count + 1}
    # Those whose product with the length of a signature wraps.
    others |= {1 << 250, (1 << 250) + position, 1 << 255, (1 << 256) - 1, 1 << 64}
    for other in sorted(others):
        # The right witness is part of it: `position` is among the others now and then.
        calldata = encode_prove_signature(
            exhibit.words, chunk.data, chunk.signatures, other, witness
        )
        bench.attack(name, f"{what}, as {other}", exhibit.chain, calldata)


def _attack_witness(
    bench: Bench, exhibit: Exhibit, position: int, witness: bytes, what: str
) -> None:
    chunk, rng = exhibit.chunk, bench.rng
    # `encode_signature_witness` leaves in the state's meter what it opened.
    target = Target(witness, chunk.state, chunk.state.meter, exhibit.others)
    forgeries = [forge(rng, target) for forge in FORGERS.values()]
    forgeries += [chunk.witness, rng.choice(exhibit.others).witness, b""]
    for forged in forgeries:
        if forged != witness:
            calldata = encode_prove_signature(
                exhibit.words, chunk.data, chunk.signatures, position, forged
            )
            bench.attack("signature: witness", what, exhibit.chain, calldata)


def _prove_lies(bench: Bench, exhibit: Exhibit) -> None:
    """The same call on a chunk of which a signature is a lie."""
    rng, chunk, place = bench.rng, exhibit.chunk, exhibit.place
    story = exhibit.chain.story
    position = rng.randrange(chunk.count)
    name, spoiler = rng.choice(list(SPOILERS.items()))
    _prove_lie(bench, exhibit, position, name, partial(spoil_at, rng, position, spoiler))
    length = rng.choice((-64, -1, 1, 64))
    section = (chunk.signatures + bytes(64))[: len(chunk.signatures) + length]
    lie = bench.post_lie(story, place, lambda it: replace(it, signatures=section))
    _prove(bench, exhibit, lie, place, position, "length", Fault.SIGNATURE_COUNT)


def _prove_lie(
    bench: Bench, exhibit: Exhibit, position: int, name: str, lie: Callable[[Chunk], Chunk]
) -> None:
    chain = bench.post_lie(exhibit.chain.story, exhibit.place, lie)
    _prove(bench, exhibit, chain, exhibit.place, position, name, Fault.BAD_SIGNATURE)
    # The transition of such a chunk is honest.
    bench.attack("signature: section", name, chain, chain.prove_calldata(exhibit.place))


def _prove(
    bench: Bench,
    exhibit: Exhibit,
    chain: Chain,
    place: Place,
    position: int,
    name: str,
    fault: Fault,
) -> None:
    chunk = chain.posted[place.batch + 1].chunks[place.chunk]
    witness = encode_signature_witness(chunk.state, chunk.data, position)
    calldata = encode_prove_signature(
        chain.prove_words(place), chunk.data, chunk.signatures, position, witness
    )
    for row in ("section", "position", "witness"):
        what = f"{exhibit.label}, {name}"
        bench.prove(f"signature: {row}", what, chain, calldata, fault)
