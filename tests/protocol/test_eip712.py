"""What users sign: digests as wallets compute them, signers as ecrecover finds them."""

from functools import cache
from typing import Any

import pytest
from coincurve import PrivateKey
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.protocol.eip712 import (
    LIQUIDATE_TYPE,
    OBSERVATION_TYPE,
    ORDER_TYPE,
    SET_TRADING_KEY_TYPE,
    SURFACE_TYPE,
    TRANSFER_TYPE,
    WITHDRAW_TYPE,
    compute_digest,
    compute_domain_separator,
    hash_liquidate,
    hash_observation,
    hash_order,
    hash_set_trading_key,
    hash_surface,
    hash_transfer,
    hash_withdraw,
)
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
from tests.protocol.evm import Contract

ORDER = 2 * HALF_ORDER + 1
"""Of secp256k1."""
INBOX = Address(bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3"))
CHAIN = 31_337
DOMAIN = compute_domain_separator(CHAIN, INBOX)

account_ids = st.integers(0, (1 << 24) - 1).map(AccountId)
addresses = st.binary(min_size=20, max_size=20).map(Address)
uint31 = st.integers(0, (1 << 31) - 1)
times = st.integers(0, (1 << 40) - 1).map(Timestamp)
words = st.binary(min_size=32, max_size=32)


@cache
def harness() -> Contract:
    return Contract("Eip712Harness")


def wallet_digest(type_text: str, *values: Any) -> bytes:
    """The digest that a wallet shows and signs, by an independent implementation."""
    name, _, fields = type_text.rstrip(")").partition("(")
    entries = [
        dict(zip(("type", "name"), field.split(" "), strict=True)) for field in fields.split(",")
    ]
    message = {entry["name"]: value for entry, value in zip(entries, values, strict=True)}
    domain = {
        "name": "Deltaroll",
        "version": "1",
        "chainId": CHAIN,
        "verifyingContract": "0x" + INBOX.hex(),
    }
    signable = encode_typed_data(domain, {name: entries}, message)
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


def check(wallet: bytes, struct_hash: bytes, solidity_hash: bytes) -> None:
    assert compute_digest(DOMAIN, struct_hash) == wallet
    assert solidity_hash == struct_hash
    assert harness().call("digest", DOMAIN, solidity_hash) == wallet


@settings(max_examples=30, deadline=None)
@given(st.integers(0, (1 << 256) - 1), addresses)
def test_compute_domain_separator__any_deployment__same_in_both_twins(
    chain_id: int, inbox: Address
) -> None:
    assert harness().call("domain", chain_id, inbox) == compute_domain_separator(chain_id, inbox)


@settings(max_examples=40, deadline=None)
@given(
    account_ids,
    st.integers(0, 4095).map(SlotId),
    st.builds(
        Order,
        st.integers(0, (1 << 16) - 1).map(MarketId),
        st.booleans(),
        st.integers(0, (1 << 63) - 1),
        uint31,
        uint31,
        uint31,
        times,
        st.sampled_from(TimeInForce),
        st.booleans(),
        st.booleans(),
    ),
)
def test_hash_order__any_order__wallet_digest(
    account: AccountId, slot: SlotId, order: Order
) -> None:
    values = (
        order.nonce,
        order.epoch,
        order.market,
        order.is_buy,
        order.price,
        order.size,
        order.expiry,
        int(order.time_in_force),
        order.post_only,
        order.reduce_only,
    )
    wallet = wallet_digest(ORDER_TYPE, account, slot, *values)
    fields = (order.market, order.is_buy, order.price, order.size, order.nonce, order.epoch)
    plain = (*fields, order.expiry, int(order.time_in_force), order.post_only, order.reduce_only)
    check(wallet, hash_order(account, slot, order), harness().call("order", account, slot, plain))


@settings(max_examples=30, deadline=None)
@given(account_ids, account_ids, st.integers(0, (1 << 96) - 1), st.integers(0, (1 << 63) - 1))
def test_hash_transfer__any_transfer__wallet_digest(
    sender: AccountId, recipient: AccountId, amount: int, nonce: int
) -> None:
    plain = (sender, recipient, amount, nonce)
    wallet = wallet_digest(TRANSFER_TYPE, *plain)
    check(wallet, hash_transfer(Transfer(*plain)), harness().call("transfer", plain))


@settings(max_examples=30, deadline=None)
@given(account_ids, addresses, st.integers(0, (1 << 96) - 1), st.integers(0, (1 << 63) - 1))
def test_hash_withdraw__any_withdrawal__wallet_digest(
    account: AccountId, recipient: Address, amount: int, nonce: int
) -> None:
    plain = (account, recipient, amount, nonce)
    wallet = wallet_digest(WITHDRAW_TYPE, *plain)
    check(wallet, hash_withdraw(Withdraw(*plain)), harness().call("withdraw", plain))


@settings(max_examples=30, deadline=None)
@given(account_ids, addresses, times, st.integers(0, (1 << 63) - 1))
def test_hash_set_trading_key__any_change__wallet_digest(
    account: AccountId, key: Address, expiry: Timestamp, nonce: int
) -> None:
    plain = (account, key, expiry, nonce)
    wallet = wallet_digest(SET_TRADING_KEY_TYPE, *plain)
    check(
        wallet, hash_set_trading_key(SetTradingKey(*plain)), harness().call("setTradingKey", plain)
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, (1 << 16) - 1), st.integers(0, 15), st.integers(0, (1 << 63) - 1), times)
def test_hash_observation__any_price__wallet_digest(
    market: int, signer: int, price: int, time: Timestamp
) -> None:
    wallet = wallet_digest(OBSERVATION_TYPE, market, price, time)
    struct_hash = hash_observation(MarketId(market), Observation(signer, price, time))
    check(wallet, struct_hash, harness().call("observation", market, (signer, price, time)))


fractions = st.integers(-(1 << 63) + 1, (1 << 63) - 1)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, (1 << 16) - 1).map(MarketId),
    st.integers(0, (1 << 16) - 1),
    st.integers(0, (1 << 63) - 1),
    st.tuples(*(fractions for _ in range(6))),
    times,
)
def test_hash_surface__any_surface__wallet_digest_that_no_bitmap_changes(
    market: MarketId, signers: int, ratio: int, numbers: tuple[int, ...], time: Timestamp
) -> None:
    wallet = wallet_digest(SURFACE_TYPE, market, ratio, *numbers, time)
    struct_hash = hash_surface(Surface(market, signers, ratio, *numbers, time))
    plain = (market, signers, ratio, *numbers, time)
    check(wallet, struct_hash, harness().call("surface", plain))


@settings(max_examples=30, deadline=None)
@given(
    account_ids,
    account_ids,
    st.integers(0, (1 << 20) - 1),
    st.integers(0, (1 << 20) - 1),
    st.integers(0, (1 << 63) - 1),
)
def test_hash_liquidate__any_liquidation__wallet_digest(
    account: AccountId, target: AccountId, share: int, reward: int, nonce: int
) -> None:
    plain = (account, target, share, reward, nonce)
    wallet = wallet_digest(LIQUIDATE_TYPE, *plain)
    check(wallet, hash_liquidate(Liquidate(*plain)), harness().call("liquidate", plain))


def recover_both(digest: bytes, signature: bytes) -> Address:
    """The signer, on which both twins agree."""
    found = recover_signer(digest, signature)
    assert harness().call("recover", digest, signature[:32], signature[32:]) == "0x" + found.hex()
    return found


def sign(key: bytes, digest: bytes) -> tuple[int, int, int]:
    """r, s below half the order, parity."""
    signature = PrivateKey(key).sign_recoverable(digest, hasher=None)
    return (
        int.from_bytes(signature[:32], "big"),
        int.from_bytes(signature[32:64], "big"),
        signature[64],
    )


def compact(r: int, s: int, parity: int) -> bytes:
    return r.to_bytes(32, "big") + (s | parity << 255).to_bytes(32, "big")


keys = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32, "big"))


@settings(max_examples=40, deadline=None)
@given(keys, words)
def test_recover_signer__good_signature__signer(key: bytes, digest: bytes) -> None:
    r, s, parity = sign(key, digest)
    expected = bytes.fromhex(EthAccount.from_key(key).address[2:])
    assert recover_both(digest, compact(r, s, parity)) == expected


@settings(max_examples=40, deadline=None)
@given(keys, words, words)
def test_recover_signer__other_parity_or_digest__somebody_else(
    key: bytes, digest: bytes, other: bytes
) -> None:
    r, s, parity = sign(key, digest)
    signer = recover_both(digest, compact(r, s, parity))
    assert recover_both(digest, compact(r, s, 1 - parity)) != signer
    assert (recover_both(other, compact(r, s, parity)) == signer) == (other == digest)


@settings(max_examples=20, deadline=None)
@given(keys, words)
def test_recover_signer__other_half_of_s__not_the_signer(key: bytes, digest: bytes) -> None:
    # The form with a high s, which ecrecover itself would take: its top bit reads as a parity. The
    # few high values that leave the bit free are among the edges below.
    r, s, parity = sign(key, digest)
    signer = recover_both(digest, compact(r, s, parity))
    malleated = r.to_bytes(32, "big") + (ORDER - s).to_bytes(32, "big")
    assert recover_both(digest, malleated) != signer


@pytest.mark.parametrize("parity", [0, 1])
@pytest.mark.parametrize(
    ("r", "s"),
    [
        (0, 1),
        (1, 0),
        (0, 0),
        (ORDER, 1),
        (ORDER - 1, 1),
        (2**256 - 1, 1),
        (5, 1),
        (1, HALF_ORDER),
        (1, HALF_ORDER + 1),
        (1, 2**255 - 1),
    ],
)
def test_recover_signer__edges__both_twins_agree(r: int, s: int, parity: int) -> None:
    found = recover_both(keccak(b"digest"), compact(r, s, parity))
    if r == 0 or s == 0 or r >= ORDER or s > HALF_ORDER:
        assert found == ZERO_ADDRESS


@settings(max_examples=150, deadline=None)
@given(words, words, words)
def test_recover_signer__random_bytes__both_twins_agree(
    digest: bytes, first: bytes, second: bytes
) -> None:
    recover_both(digest, first + second)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_recover_signer__wrong_length__nobody(length: int) -> None:
    assert recover_signer(keccak(b""), bytes(length)) == ZERO_ADDRESS
