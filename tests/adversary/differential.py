"""Both implementations on random chunks, and on random signatures: any difference is a hole.

Whatever one of them accepts and the other does not lets somebody post a batch that nobody can
remove, or remove one that is honest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random

from coincurve import PrivateKey

from deltaroll.protocol.eip712 import compute_digest
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.recovery import HALF_ORDER, SIGNATURE_BYTES
from deltaroll.protocol.signatures import (
    Role,
    SignatureRequest,
    compute_bad_signature,
    compute_chunk_requests,
    validate_signature,
)
from deltaroll.protocol.state import Meter, State, compute_state_root, reset_meter
from deltaroll.protocol.types import (
    AccountId,
    Committee,
    Expiry,
    MarketId,
    Timestamp,
    Underlying,
)
from deltaroll.protocol.witness import encode_signature_witness, encode_witness
from deltaroll.sdk.signing import Signer
from tests import fuzz
from tests.adversary.campaign import Effort, Ledger, Row
from tests.protocol.strategies import BY_ADDRESS, DOMAIN, SIGNERS, Case, flip_bits
from tests.protocol.verifiers import RevertError, case_rng, verifiers

TRANSACTIONS = 4_000
"""Compared at scale 1."""
SIGNED_CHUNKS = 150
"""Chunks whose signatures are tried at scale 1."""
FORGERIES = 4
"""Tries for each."""
SEEDS = 1 << 40
"""Above any seed that `make fuzz` is given by hand, so that both try other cases."""
SIGNATURES = "differential: signatures"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
OTHER_DOMAIN = b"\x5a" * 32


def attack(effort: Effort) -> Iterable[Row]:
    """Compare transitions, then signature proofs."""
    report = fuzz.run(TRANSACTIONS * effort.scale, SEEDS + effort.seed, workers=1)
    notes = tuple(map(str, report.disagreements[:5]))
    yield Row("differential: transitions", report.tally.transactions, report.disagreed, 0, 0, notes)
    yield Row(
        "differential: kind after kind", len(report.tally.pairs), report.disagreed, 0, 0, notes
    )
    ledger = Ledger()
    for number in range(SIGNED_CHUNKS * effort.scale):
        attack_signatures(SEEDS + effort.seed, number, ledger)
    yield from ledger.to_rows()


# Signatures


@dataclass(frozen=True, slots=True)
class Attempt:
    """A signature section, the position that is proven, and what must come of it."""

    name: str
    signatures: bytes
    position: int
    truth: Fault | None
    """Known by how it was made; None: what the key's rules say."""


def find_owner(state: State, request: SignatureRequest) -> Signer | None:
    """Return who may surely sign: the account's owner, or the committee's member. None when there
    is none, or nobody has the key.
    """
    if request.role not in (Role.ORACLE, Role.SURFACE):
        account = state.accounts.get(AccountId(request.subject))
        return None if account is None else BY_ADDRESS.get(account.owner)
    leaf = state.markets.get(MarketId(request.subject))
    if request.role == Role.SURFACE:
        leaf = state.markets.get(leaf.underlying) if isinstance(leaf, Expiry) else None
    committee = state.markets.get(leaf.params.committee) if isinstance(leaf, Underlying) else None
    if not isinstance(committee, Committee) or request.signer >= len(committee.signers):
        return None
    return BY_ADDRESS.get(committee.signers[request.signer])


def sign_honestly(state: State, request: SignatureRequest, rng: Random) -> bytes:
    """Sign as who may, if somebody may; a trader's key if the account has one, now and then."""
    signer = find_owner(state, request) or rng.choice(SIGNERS)
    if request.role == Role.TRADER:
        account = state.accounts.get(AccountId(request.subject))
        if account is not None and account.trading_key in BY_ADDRESS and rng.random() < 0.4:
            signer = BY_ADDRESS[account.trading_key]
    return signer.sign(compute_digest(DOMAIN, request.struct_hash))


def split(signature: bytes) -> tuple[int, int, int]:
    """Return r, s and the parity of a signature."""
    rest = int.from_bytes(signature[32:], "big")
    return int.from_bytes(signature[:32], "big"), rest & ((1 << 255) - 1), rest >> 255


def join(r: int, s: int, parity: int) -> bytes:
    """Return a signature, whatever its numbers are."""
    return r.to_bytes(32, "big") + (s | parity << 255).to_bytes(32, "big")


Forge = Callable[[Random, State, SignatureRequest, bytes], tuple[bytes, Fault | None]]
"""Makes another signature of a good one, and says what is known about it."""


def forge_nothing(
    rng: Random, state: State, request: SignatureRequest, good: bytes
) -> tuple[bytes, Fault | None]:
    """The owner's or the member's own."""
    owner = find_owner(state, request)
    if owner is None:
        return good, None
    return owner.sign(compute_digest(DOMAIN, request.struct_hash)), Fault.NONE


def forge_key(
    rng: Random, state: State, request: SignatureRequest, good: bytes
) -> tuple[bytes, Fault | None]:
    """By a key that nobody has named."""
    stranger = PrivateKey(rng.randrange(1, ORDER).to_bytes(32, "big"))
    found = stranger.sign_recoverable(compute_digest(DOMAIN, request.struct_hash), hasher=None)
    return found[:32] + bytes([found[32] | found[64] << 7]) + found[33:64], Fault.BAD_SIGNATURE


def forge_neighbour(
    rng: Random, state: State, request: SignatureRequest, good: bytes
) -> tuple[bytes, Fault | None]:
    """By a key that plays some other part."""
    return rng.choice(SIGNERS).sign(compute_digest(DOMAIN, request.struct_hash)), None


def forge_high(
    rng: Random, state: State, request: SignatureRequest, good: bytes
) -> tuple[bytes, Fault | None]:
    """The second signature of the same meaning: n - s, where that fits."""
    r, s, parity = split(good)
    if ORDER - s >= 1 << 255:
        return join(r, HALF_ORDER + 1 + rng.randrange(1 << 64), parity), Fault.BAD_SIGNATURE
    return join(r, ORDER - s, 1 - parity), Fault.BAD_SIGNATURE


def forge_parity(
    rng: Random, state: State, request: SignatureRequest, good: bytes
) -> tuple[bytes, Fault | None]:
    """By whoever the other point belongs to."""
    r, s, parity = split(good)
    return join(r, s, 1 - parity), Fault.BAD_SIGNATURE


def forge_number(
    rng: Random, state: State, request: SignatureRequest, good: bytes
) -> tuple[bytes, Fault | None]:
    """r or s at an end of its range, or outside."""
    r, s, parity = split(good)
    ends = (0, 1, HALF_ORDER, HALF_ORDER + 1, ORDER - 1, ORDER, ORDER + 1, (1 << 256) - 1)
    if rng.random() < 0.5:
        r = rng.choice((*ends, (1 << 255) + r // 2))
    else:
        s = rng.choice(ends) & ((1 << 255) - 1)
    return join(r, s, parity), Fault.BAD_SIGNATURE


def forge_zero(
    rng: Random, state: State, request: SignatureRequest, good: bytes
) -> tuple[bytes, Fault | None]:
    """No signature at all: recovery gives the zero address, which owns nothing."""
    filling = rng.choice((0, 0, 0xFF))
    return bytes((filling,)) * SIGNATURE_BYTES, Fault.BAD_SIGNATURE


def forge_domain(
    rng: Random, state: State, request: SignatureRequest, good: bytes
) -> tuple[bytes, Fault | None]:
    """Good on another chain, or for another deployment."""
    owner = find_owner(state, request) or rng.choice(SIGNERS)
    return owner.sign(compute_digest(OTHER_DOMAIN, request.struct_hash)), Fault.BAD_SIGNATURE


def forge_meaning(
    rng: Random, state: State, request: SignatureRequest, good: bytes
) -> tuple[bytes, Fault | None]:
    """For something else."""
    owner = find_owner(state, request) or rng.choice(SIGNERS)
    other = flip_bits(rng, request.struct_hash)
    return owner.sign(compute_digest(DOMAIN, other)), (
        None if other == request.struct_hash else Fault.BAD_SIGNATURE
    )


def forge_bits(
    rng: Random, state: State, request: SignatureRequest, good: bytes
) -> tuple[bytes, Fault | None]:
    """A good one with bits flipped."""
    bad = flip_bits(rng, good)
    return bad, None if bad == good else Fault.BAD_SIGNATURE


FORGES: tuple[Forge, ...] = (
    forge_nothing,
    forge_nothing,
    forge_nothing,
    forge_key,
    forge_neighbour,
    forge_high,
    forge_parity,
    forge_number,
    forge_zero,
    forge_domain,
    forge_meaning,
    forge_bits,
)


def make_attempts(
    rng: Random, state: State, requests: tuple[SignatureRequest, ...]
) -> Iterator[Attempt]:
    """Yield signature sections of a chunk, each with a position to prove."""
    honest = [sign_honestly(state, request, rng) for request in requests]
    section = b"".join(honest)
    count = len(honest)
    yield Attempt("past the end", section, count + rng.choice((0, 1, 1 << 200)), None)
    wrong = rng.choice((section[:-1], section[:-64], section + bytes(64), section + b"\x00"))
    if wrong != section:
        position = rng.randrange(count + 2)
        yield Attempt("length", wrong, position, Fault.SIGNATURE_COUNT)
    for _ in range(FORGERIES if honest else 0):
        position = rng.randrange(count)
        if count > 1 and rng.random() < 0.15:
            other = rng.choice([place for place in range(count) if place != position])
            yield Attempt("index", replace_at(honest, position, honest[other]), position, None)
            continue
        forge = rng.choice(FORGES)
        forged, truth = forge(rng, state, requests[position], honest[position])
        name = forge.__name__.removeprefix("forge_")
        yield Attempt(name, replace_at(honest, position, forged), position, truth)


def replace_at(honest: list[bytes], position: int, signature: bytes) -> bytes:
    """Return a section with one signature changed."""
    return b"".join((*honest[:position], signature, *honest[position + 1 :]))


def judge_python(
    state: State,
    clock: Timestamp,
    requests: tuple[SignatureRequest, ...],
    attempt: Attempt,
) -> Fault | None:
    """Return what Python says of the signature that is proven; None when there is none."""
    if len(attempt.signatures) != SIGNATURE_BYTES * len(requests):
        return Fault.SIGNATURE_COUNT
    if attempt.position >= len(requests):
        return None
    at = attempt.position * SIGNATURE_BYTES
    reset_meter(state)
    try:
        validate_signature(
            state,
            requests[attempt.position],
            attempt.signatures[at : at + SIGNATURE_BYTES],
            DOMAIN,
            clock,
        )
    except TransitionFault as problem:
        return problem.fault
    return Fault.NONE


def judge_solidity(case: Case, attempt: Attempt, witness: bytes) -> Fault | None:
    """Return what the contract says of it; None when it reverts, which proves nothing."""
    root = compute_state_root(case.state)
    context = replace(case.context, domain=DOMAIN)
    try:
        return verifiers().verify_signature(
            context, root, case.data, attempt.signatures, attempt.position, witness
        )
    except RevertError:
        return None


def attack_signatures(seed: int, number: int, ledger: Ledger) -> None:
    """Try signature sections of one chunk in both implementations."""
    case = fuzz.generate(seed, number)
    # Another generator than the chunk's own, so that chunks stay as they are.
    rng = case_rng(seed + SEEDS, number)
    state = case.state
    compute_state_root(state)
    try:
        clock, requests = compute_chunk_requests(case.data)
    except TransitionFault:
        # Requires nothing: another proof shows what is wrong with it.
        section = rng.randbytes(rng.choice((0, 64)))
        attempt = Attempt("data that does not decode", section, 0, None)
        witness = encode_witness(state, Meter())
        if compute_bad_signature(state, case.data, section, DOMAIN) is not None:
            ledger.accept(SIGNATURES, f"case {number}: Python judges data that does not decode")
        settle(ledger, number, attempt, None, judge_solidity(case, attempt, witness))
        return
    for attempt in make_attempts(rng, state, requests):
        expected = judge_python(state, clock, requests, attempt)
        witness = encode_signature_witness(state, case.data, attempt.position)
        settle(ledger, number, attempt, expected, judge_solidity(case, attempt, witness))
        settle_first(ledger, number, case, attempt)


def settle_first(ledger: Ledger, number: int, case: Case, attempt: Attempt) -> None:
    """Check that what the challenger would prove of a section is what the contract finds."""
    bad = compute_bad_signature(case.state, case.data, attempt.signatures, DOMAIN)
    if bad is None:
        return
    fault, position = bad
    witness = encode_signature_witness(case.state, case.data, position)
    first = replace(attempt, name=f"first of {attempt.name}", position=position, truth=fault)
    settle(ledger, number, first, fault, judge_solidity(case, first, witness))


def settle(
    ledger: Ledger, number: int, attempt: Attempt, expected: Fault | None, found: Fault | None
) -> None:
    """Count an attempt by what both say of it, and by what is known of it."""
    note = (
        f"case {number}, {attempt.name} at {attempt.position}: "
        f"Python {expected!r}, Solidity {found!r}, by construction {attempt.truth!r}"
    )
    truth = expected if attempt.truth is None else attempt.truth
    if expected == truth == found:
        ledger.count(SIGNATURES)
    elif truth == Fault.NONE:
        ledger.refuse(SIGNATURES, note)
    else:
        ledger.accept(SIGNATURES, note)
