"""Signatures of a chunk: both twins want the same ones, from the same keys."""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache

import pytest
from coincurve import PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import TWAP_DAYS
from deltaroll.protocol.eip712 import compute_digest, compute_domain_separator
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.signatures import Role, compute_bad_signature, compute_requests
from deltaroll.protocol.state import (
    Meter,
    State,
    compute_state_root,
    reset_meter,
    set_account,
    set_market,
)
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Address,
    Committee,
    DataFee,
    Distress,
    Expiry,
    Fund,
    Liquidate,
    List,
    Mark,
    MarketId,
    Socialise,
    Surface,
    Sweep,
    Timestamp,
    Transaction,
    Underlying,
    UnderlyingParams,
)
from deltaroll.protocol.witness import encode_signature_witness, encode_witness
from tests.protocol.evm import Contract, RevertError


def address_of(key: PrivateKey) -> Address:
    return Address(keccak(key.public_key.format(compressed=False)[1:])[12:])


ACCOUNT, COMMITTEE, UNDERLYING, EXPIRY = AccountId(5), MarketId(2), MarketId(7), MarketId(9)
CLOCK = Timestamp(1_000)
DOMAIN = compute_domain_separator(1, Address(bytes(20)))
KEYS = sorted(
    (PrivateKey(bytes([number]) * 32) for number in range(1, 17)),
    key=address_of,
)
OWNER, TRADER = PrivateKey(b"\x21" * 32), PrivateKey(b"\x22" * 32)


def sign(key: PrivateKey, struct_hash: bytes) -> bytes:
    """r, then s with the parity of y in its top bit."""
    found = key.sign_recoverable(compute_digest(DOMAIN, struct_hash), hasher=None)
    return found[:32] + bytes([found[32] | found[64] << 7]) + found[33:64]


@cache
def verifier() -> Contract:
    return Contract("SignatureVerifier")


def build(*, has_expiry: bool = True, has_committee: bool = True, members: int = 16) -> State:
    """A state with one account, one underlying and one of its expiries."""
    state = State()
    owner, trader = address_of(OWNER), address_of(TRADER)
    account = Account(owner, trader, Timestamp(CLOCK + 1), 0, 0, 0, Timestamp(0), ())
    set_account(state, ACCOUNT, account)
    params = UnderlyingParams(*(0 for _ in fields(UnderlyingParams)))  # type: ignore[arg-type]
    params = replace(params, committee=COMMITTEE)
    zero = Timestamp(0)
    twaps = (0,) * TWAP_DAYS
    set_market(state, UNDERLYING, Underlying(params, 1, zero, 0, zero, 0, 0, 0, 0, 0, twaps))
    if has_expiry:
        surface = (1, 0, 0, 0, 0, 0, 0)
        expiry = Expiry(UNDERLYING, Timestamp(2_000), *surface, zero, 0, 0, 0, 0, zero)
        set_market(state, EXPIRY, expiry)
    if has_committee:
        signers = tuple(map(address_of, KEYS[:members]))
        set_market(state, COMMITTEE, Committee(1, signers))
    compute_state_root(state)
    reset_meter(state)
    return state


def verify(state: State, data: bytes, signatures: bytes, position: int) -> Fault:
    """What the proof says of one signature."""
    witness = encode_signature_witness(state, data, position)
    return ask(state, data, signatures, position, witness)


def ask(state: State, data: bytes, signatures: bytes, position: int, witness: bytes) -> Fault:
    """What the contract says."""
    root = compute_state_root(state)
    nobody = "0x" + "00" * 20
    place = (root, root, DOMAIN, nobody, 0, 0, 0, 0, False, False)
    return Fault(verifier().call("verifySignature", place, data, signatures, position, witness))


def judge(state: State, transactions: Sequence[Transaction], signatures: bytes) -> list[Fault]:
    """What the proof says of every signature; the node agrees about the first bad one."""
    data = encode_chunk(CLOCK, transactions)
    count = len(signatures) // 64
    faults = [verify(state, data, signatures, position) for position in range(count)]
    bad = [(fault, position) for position, fault in enumerate(faults) if fault != Fault.NONE]
    assert compute_bad_signature(state, data, signatures, DOMAIN) == (bad[0] if bad else None)
    return faults


def a_surface(signers: int) -> Surface:
    return Surface(EXPIRY, signers, 1 << 48, -5, 1, 2, -3, 4, 5, Timestamp(990))


def members(bitmap: int) -> list[int]:
    return [member for member in range(16) if bitmap >> member & 1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, (1 << 16) - 1), st.data())
def test_validate_signature__surface__by_every_member_of_the_bitmap(
    bitmap: int, draw: st.DataObject
) -> None:
    surface = a_surface(bitmap)
    requests = compute_requests(surface)
    assert [request.signer for request in requests] == members(bitmap)
    keys = [KEYS[request.signer] for request in requests]
    wrong: set[int] = set()
    if keys:
        wrong = draw.draw(st.sets(st.integers(0, len(keys) - 1), max_size=2))
    for place in wrong:
        keys[place] = KEYS[(requests[place].signer + 1) % 16]
    signatures = b"".join(
        sign(key, request.struct_hash) for key, request in zip(keys, requests, strict=True)
    )
    faults = judge(build(), (surface,), signatures)
    assert faults == [
        Fault.BAD_SIGNATURE if place in wrong else Fault.NONE for place in range(len(keys))
    ]


@pytest.mark.parametrize(
    "state",
    [build(has_expiry=False), build(has_committee=False), build(members=1)],
    ids=["expiry", "committee", "member"],
)
def test_validate_signature__surface_of_what_is_not_there__bad_signature(state: State) -> None:
    surface = a_surface(0b10)
    (request,) = compute_requests(surface)
    assert judge(state, (surface,), sign(KEYS[1], request.struct_hash)) == [Fault.BAD_SIGNATURE]


@pytest.mark.parametrize(
    ("key", "expected"),
    [(OWNER, Fault.NONE), (TRADER, Fault.NONE), (KEYS[0], Fault.BAD_SIGNATURE)],
)
def test_validate_signature__liquidation__by_the_liquidators_owner_or_key(
    key: PrivateKey, expected: Fault
) -> None:
    liquidate = Liquidate(ACCOUNT, AccountId(6), 1_000_000, 0, 1)
    (request,) = compute_requests(liquidate)
    assert (request.role, request.subject) == (Role.TRADER, ACCOUNT)
    assert judge(build(), (liquidate,), sign(key, request.struct_hash)) == [expected]


def test_validate_signatures__transactions_that_anyone_may_make__require_none() -> None:
    surface, liquidate = a_surface(0b101), Liquidate(ACCOUNT, AccountId(6), 1, 2, 3)
    transactions: tuple[Transaction, ...] = (
        Mark(UNDERLYING, 1),
        List(UNDERLYING, 3),
        surface,
        Fund(UNDERLYING),
        Sweep(ACCOUNT),
        Distress(ACCOUNT),
        liquidate,
        Socialise(ACCOUNT),
        DataFee(7),
    )
    keys = (KEYS[0], KEYS[2], OWNER)
    requests = compute_requests(surface) + compute_requests(liquidate)
    signatures = b"".join(
        sign(key, request.struct_hash) for key, request in zip(keys, requests, strict=True)
    )
    assert judge(build(), transactions, signatures) == [Fault.NONE] * 3
    data = encode_chunk(CLOCK, transactions)
    for length in (2, 4):
        section = (signatures + signatures)[: 64 * length]
        assert verify(build(), data, section, 0) == Fault.SIGNATURE_COUNT
        assert compute_bad_signature(build(), data, section, DOMAIN) == (Fault.SIGNATURE_COUNT, 0)


@pytest.mark.parametrize("section", [b"", bytes(64), bytes(128)])
def test_verify_signature__data_that_does_not_decode__proves_nothing(section: bytes) -> None:
    """It may be posted with any signatures: another proof shows what is wrong with it."""
    state = build()
    data = encode_chunk(CLOCK, (a_surface(0b1),))
    for broken in (data[:5], data[:-1], data + b"\x00"):
        with pytest.raises(RevertError) as problem:
            ask(state, broken, section, 0, encode_witness(state, Meter()))
        assert problem.value.name == "SignatureVerifier_BadData"


@pytest.mark.parametrize(
    "signature", [bytes(64), bytes(31) + b"\x05" + bytes(31) + b"\x01"], ids=["zero", "no point"]
)
def test_validate_signature__account_of_nobody__no_signature_is_good(signature: bytes) -> None:
    """What recovers no key recovers address 0, which owns the insurance fund's account."""
    state = build()
    nobody = Address(bytes(20))
    set_account(state, AccountId(0), Account(nobody, nobody, CLOCK, 0, 0, 0, Timestamp(0), ()))
    compute_state_root(state)
    reset_meter(state)
    liquidate = Liquidate(AccountId(0), ACCOUNT, 1_000_000, 0, 1)
    assert judge(state, (liquidate,), signature) == [Fault.BAD_SIGNATURE]
