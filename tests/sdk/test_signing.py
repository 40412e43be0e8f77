"""One signature, whoever makes it: a bare key, eth-account, an Ape account, ethers."""

import json
import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import ape
import pytest
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.engine.matching import OrderStatus
from deltaroll.node.admission import RejectedError
from deltaroll.protocol.eip712 import (
    compute_digest,
    compute_domain_separator,
    hash_observation,
    hash_order,
    hash_surface,
)
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.recovery import HALF_ORDER, recover_signer
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Address,
    Liquidate,
    MarketId,
    Observation,
    Order,
    SetTradingKey,
    SlotId,
    Surface,
    TimeInForce,
    Timestamp,
    Transfer,
    Withdraw,
)
from deltaroll.sdk.signing import (
    Signer,
    compress_signature,
    hash_action,
    to_observation_typed_data,
    to_surface_typed_data,
    to_typed_data,
)
from tests.node.support import CASH, DOMAIN, GENESIS, Venue, make_order

CHAIN, INBOX = 1337, "0x" + "11" * 20
CURVE_ORDER = 2 * HALF_ORDER + 1
SCRIPT = Path(__file__).with_name("sign.mjs")
ROOT = SCRIPT.parents[2]
ACCOUNT, SLOT = AccountId(6), SlotId(3)
"""The account that a deposit opens for the wallet."""

Value = Order | Transfer | Withdraw | SetTradingKey | Liquidate | Observation | Surface
Wallet = Callable[[Value], tuple[bytes, bytes]]
"""Digest and rollup signature of a value."""


@cache
def get_account() -> Any:
    """One key for all: the first Ape test account."""
    return ape.accounts.test_accounts[0]


@cache
def get_key() -> bytes:
    return bytes.fromhex(get_account().private_key[2:])


def get_address() -> Address:
    return Address(bytes.fromhex(get_account().address[2:]))


@dataclass(frozen=True)
class Deployment:
    chain: int = CHAIN
    inbox: str = INBOX


HERE = Deployment()


def write(value: Value, at: Deployment = HERE) -> dict[str, Any]:
    """The document that a wallet shows."""
    if isinstance(value, Observation):
        return to_observation_typed_data(at.chain, at.inbox, MarketId(7), value)
    if isinstance(value, Surface):
        return to_surface_typed_data(at.chain, at.inbox, value)
    return to_typed_data(at.chain, at.inbox, value, ACCOUNT, SLOT)


def hash_value(value: Value) -> bytes:
    match value:
        case Order():
            return hash_order(ACCOUNT, SLOT, value)
        case Observation():
            return hash_observation(MarketId(7), value)
        case Surface():
            return hash_surface(value)
        case _:
            return hash_action(value)


def compute_wallet_digest(document: dict[str, Any]) -> bytes:
    signable = encode_typed_data(full_message=document)
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


# Four ways to sign


def sign_bare(value: Value) -> tuple[bytes, bytes]:
    signer = Signer(get_key())
    match value:
        case Order():
            signature = signer.sign_order(DOMAIN, ACCOUNT, SLOT, value)
        case Observation():
            signature = signer.sign_observation(DOMAIN, MarketId(7), value)
        case Surface():
            signature = signer.sign_surface(DOMAIN, value)
        case _:
            signature = signer.sign_action(DOMAIN, value)
    return compute_digest(DOMAIN, hash_value(value)), signature


def sign_with_eth_account(value: Value) -> tuple[bytes, bytes]:
    signed = EthAccount.sign_message(encode_typed_data(full_message=write(value)), get_key())
    return bytes(signed.message_hash), compress_signature(signed.r, signed.s, signed.v)


def sign_with_ape(value: Value) -> tuple[bytes, bytes]:
    document = write(value)
    signed = get_account().sign_message(encode_typed_data(full_message=document))
    r, s = int.from_bytes(signed.r, "big"), int.from_bytes(signed.s, "big")
    return compute_wallet_digest(document), compress_signature(r, s, signed.v)


def to_json(value: Any) -> Any:
    """Numbers as text: a JavaScript number holds 53 bits."""
    match value:
        case bool():
            return value
        case int():
            return str(value)
        case dict():
            return {key: to_json(one) for key, one in value.items()}
        case list():
            return [to_json(one) for one in value]
        case _:
            return value


def run_ethers(documents: list[dict[str, Any]]) -> list[tuple[bytes, bytes]]:
    request = {"key": "0x" + get_key().hex(), "documents": to_json(documents)}
    environment = os.environ | {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["node", str(SCRIPT)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
        timeout=60,
    )
    signed = []
    for answer in json.loads(done.stdout):
        assert answer["address"] == get_account().address
        r, s, v = split(bytes.fromhex(answer["signature"][2:]))
        signed.append((bytes.fromhex(answer["digest"][2:]), compress_signature(r, s, v)))
    return signed


def split(signature: bytes) -> tuple[int, int, int]:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    return r, s, signature[64]


@cache
def sign_all_with_ethers() -> dict[Value, tuple[bytes, bytes]]:
    """One run of node for all values of this module."""
    values = [*VALUES, *make_random_values(60)]
    return dict(zip(values, run_ethers([write(value) for value in values]), strict=True))


def sign_with_ethers(value: Value) -> tuple[bytes, bytes]:
    return sign_all_with_ethers()[value]


ORDER = Order(
    MarketId(10),
    True,
    50_000,
    3,
    1,
    0,
    Timestamp(GENESIS + 100),
    TimeInForce.GTC,
    False,
    False,
)
HIGHEST = Order(
    MarketId(2**16 - 1),
    False,
    2**63 - 1,
    2**31 - 1,
    2**31 - 1,
    2**31 - 1,
    Timestamp(2**40 - 1),
    TimeInForce.FOK,
    True,
    True,
)
TRANSFER = Transfer(ACCOUNT, AccountId(2), 1_000, 1)
WITHDRAW = Withdraw(ACCOUNT, Address(bytes(range(20))), 1_000, 2)
CHANGE = SetTradingKey(ACCOUNT, Address(b"\x77" * 20), Timestamp(GENESIS + 100), 3)
LIQUIDATE = Liquidate(ACCOUNT, AccountId(2), 250_000, 20_000, 4)
SURFACE = Surface(
    MarketId(30), 0, 2**48, -(2**40), 2**40, 2**46, -(2**47), 2**43, 2**45, Timestamp(GENESIS)
)
VALUES: list[Value] = [
    ORDER,
    HIGHEST,
    TRANSFER,
    Transfer(AccountId(2**24 - 1), AccountId(1), 2**96 - 1, 2**63 - 1),
    WITHDRAW,
    Withdraw(ACCOUNT, Address(b"\xff" * 20), 2**96 - 1, 2**63 - 1),
    CHANGE,
    SetTradingKey(ACCOUNT, ZERO_ADDRESS, Timestamp(2**40 - 1), 2**63 - 1),
    Observation(0, 50_000, GENESIS),
    Observation(0, 2**63 - 1, Timestamp(2**40 - 1)),
    LIQUIDATE,
    Liquidate(AccountId(2**24 - 1), AccountId(0), 10**6, 10**6, 2**63 - 1),
    SURFACE,
    Surface(
        MarketId(2**16 - 1),
        0,
        2**63 - 1,
        1 - 2**63,
        2**63 - 1,
        1 - 2**63,
        2**63 - 1,
        -1,
        1,
        Timestamp(2**40 - 1),
    ),
]


def test_sign_surface__whoever_signs_with__is_the_same_document():
    alone = Signer(get_key()).sign_surface(DOMAIN, SURFACE)
    assert Signer(get_key()).sign_surface(DOMAIN, replace(SURFACE, signers=0b111)) == alone


def make_random_values(count: int) -> list[Value]:
    dice = random.Random(712)

    def roll(bits: int) -> int:
        return dice.getrandbits(dice.randint(1, bits))

    makers: list[Callable[[], Value]] = [
        lambda: Order(
            MarketId(roll(16)),
            dice.random() < 0.5,
            roll(63),
            roll(31),
            roll(31),
            roll(31),
            Timestamp(roll(40)),
            TimeInForce(dice.randrange(3)),
            dice.random() < 0.5,
            dice.random() < 0.5,
        ),
        lambda: Transfer(AccountId(roll(24)), AccountId(roll(24)), roll(96), roll(63)),
        lambda: Withdraw(AccountId(roll(24)), Address(dice.randbytes(20)), roll(96), roll(63)),
        lambda: SetTradingKey(
            AccountId(roll(24)), Address(dice.randbytes(20)), Timestamp(roll(40)), roll(63)
        ),
        lambda: Liquidate(AccountId(roll(24)), AccountId(roll(24)), roll(20), roll(20), roll(63)),
        lambda: Surface(
            MarketId(roll(16)),
            0,
            roll(63),
            *(roll(63) * dice.choice((1, -1)) for _ in range(6)),
            Timestamp(roll(40)),
        ),
    ]
    return [dice.choice(makers)() for _ in range(count)]


WALLETS: dict[str, Wallet] = {
    "bare-key": sign_bare,
    "eth-account": sign_with_eth_account,
    "ape": sign_with_ape,
    "ethers": sign_with_ethers,
}
every_wallet = pytest.mark.parametrize("wallet", WALLETS.values(), ids=list(WALLETS))


@every_wallet
@pytest.mark.parametrize("value", VALUES, ids=lambda one: type(one).__name__)
def test_sign__any_wallet__same_digest_and_a_signature_that_recovers(wallet, value):
    digest, signature = wallet(value)
    assert digest == compute_digest(DOMAIN, hash_value(value))
    assert recover_signer(digest, signature) == get_address()


@pytest.mark.parametrize("value", VALUES, ids=lambda one: type(one).__name__)
def test_sign__all_wallets__one_and_the_same_signature(value):
    """Nonces of the curve are derived from key and digest, by all of them in the same way."""
    assert len({wallet(value) for wallet in WALLETS.values()}) == 1


def test_sign__many_random_values__bare_key_and_ethers_agree():
    for value in make_random_values(60):
        assert sign_with_ethers(value) == sign_bare(value)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**256 - 1), st.binary(min_size=20, max_size=20), st.randoms())
def test_to_typed_data__any_deployment__wallets_digest_is_the_protocols(chain, inbox, dice):
    value = dice.choice([*VALUES, *make_random_values(8)])
    domain = compute_domain_separator(chain, Address(inbox))
    document = write(value, Deployment(chain, "0x" + inbox.hex()))
    assert compute_wallet_digest(document) == compute_digest(domain, hash_value(value))


@every_wallet
def test_sign__any_wallet__the_sequencer_takes_order_and_actions(wallet):
    venue = Venue().open()
    venue.deposit(get_address(), 0, CASH)
    receipt = venue.sequencer.submit_order(ACCOUNT, SLOT, ORDER, wallet(ORDER)[1])
    assert receipt.execution is not None
    assert receipt.execution.status == OrderStatus.RESTING
    for action in (TRANSFER, WITHDRAW, CHANGE):
        assert venue.sequencer.submit_action(action, wallet(action)[1]).fault == Fault.NONE
    assert venue.state.exits[-1].recipient == WITHDRAW.recipient
    assert venue.state.accounts[ACCOUNT].trading_key == CHANGE.key


@pytest.mark.parametrize(
    "elsewhere", [Deployment(chain=1), Deployment(inbox="0x" + "12" * 20)], ids=["chain", "inbox"]
)
def test_sign__for_another_deployment__is_refused(elsewhere):
    venue = Venue().open()
    venue.deposit(get_address(), 0, CASH)

    def sign(value: Value) -> bytes:
        signable = encode_typed_data(full_message=write(value, elsewhere))
        signed = EthAccount.sign_message(signable, get_key())
        return compress_signature(signed.r, signed.s, signed.v)

    with pytest.raises(RejectedError, match="signature: by 0x"):
        venue.sequencer.submit_order(ACCOUNT, SLOT, ORDER, sign(ORDER))
    for action in (TRANSFER, WITHDRAW, CHANGE):
        with pytest.raises(RejectedError, match="signature: not by the owner"):
            venue.sequencer.submit_action(action, sign(action))


# The 64-byte form


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32).filter(any))
def test_compress_signature__high_s_or_any_form_of_v__one_low_s_signature(digest, key):
    """A wallet may give the other of the two signatures; the rollup takes only one of them."""
    key = keccak(key)
    signer = Signer(key)
    expected = signer.sign(digest)
    signed = EthAccount.unsafe_sign_hash(digest, key)
    parity = signed.v - 27
    assert compress_signature(signed.r, signed.s, signed.v) == expected
    assert compress_signature(signed.r, signed.s, parity) == expected
    flipped = CURVE_ORDER - signed.s
    assert compress_signature(signed.r, flipped, 1 - parity) == expected
    assert compress_signature(signed.r, flipped, 28 - parity) == expected
    assert recover_signer(digest, expected) == signer.address
    word = int.from_bytes(expected[32:], "big")
    assert word & ((1 << 255) - 1) <= HALF_ORDER


@pytest.mark.parametrize("v", [-1, 2, 26, 29, 35, 36, 2709])
def test_compress_signature__unknown_v__is_refused(v):
    with pytest.raises(ValueError, match=f"v: {v} is none of"):
        compress_signature(1, 1, v)


def test_signer__key__address_is_the_wallets():
    assert Signer(get_key()).address == get_address()


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, bytes(33)])
def test_signer__no_key__is_refused(key):
    with pytest.raises(ValueError, match=r"."):
        Signer(key)


def test_sign_order__every_field__is_signed():
    """Changing any field of an order changes what is signed."""
    base = hash_order(ACCOUNT, SLOT, ORDER)
    changed = [
        make_order(size=4, expiry=ORDER.expiry),
        make_order(price=50_010, size=3, expiry=ORDER.expiry),
        make_order(size=3, expiry=ORDER.expiry + 1),
        make_order(size=3, expiry=ORDER.expiry, nonce=2),
        make_order(size=3, expiry=ORDER.expiry, epoch=1),
        make_order(size=3, expiry=ORDER.expiry, is_buy=False),
        make_order(size=3, expiry=ORDER.expiry, market=MarketId(11)),
        make_order(size=3, expiry=ORDER.expiry, time_in_force=TimeInForce.IOC),
        make_order(size=3, expiry=ORDER.expiry, post_only=True),
        make_order(size=3, expiry=ORDER.expiry, reduce_only=True),
    ]
    hashes = {hash_order(ACCOUNT, SLOT, order) for order in changed}
    hashes |= {
        hash_order(AccountId(7), SLOT, ORDER),
        hash_order(ACCOUNT, SlotId(4), ORDER),
    }
    assert base == hash_order(ACCOUNT, SLOT, make_order(size=3, expiry=ORDER.expiry))
    assert len(hashes) == len(changed) + 2
    assert base not in hashes
