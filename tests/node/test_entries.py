"""Every entry of the log comes back as it was, and means what it meant."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.engine.matching import SelfTradePolicy
from deltaroll.node.admission import to_poke
from deltaroll.node.entries import (
    CancelAllEntry,
    CancelEntry,
    ClockEntry,
    DataFeeEntry,
    DeadManEntry,
    Entry,
    FireEntry,
    HoldEntry,
    LiquidateEntry,
    MessageEntry,
    ObserveEntry,
    PokeEntry,
    ProtectEntry,
    ResumeEntry,
    SealEntry,
    SurfaceEntry,
    decode_entry,
    encode_entry,
    to_action,
    to_action_entry,
    to_message,
    to_observations,
    to_order_entry,
)
from deltaroll.protocol.constants import MAX_AMOUNT, MAX_SIGNERS
from deltaroll.protocol.types import (
    Distress,
    Fund,
    Kind,
    Liquidate,
    Mark,
    Message,
    Observation,
    Order,
    SetTradingKey,
    Socialise,
    Surface,
    Sweep,
    TimeInForce,
    Transfer,
    Withdraw,
)

accounts = st.integers(1, 2**24 - 1)
slots = st.integers(0, 2**12 - 1)
markets = st.integers(1, 2**16 - 1)
prices = st.integers(1, 2**63 - 1)
words = st.integers(0, 2**31 - 1)
times = st.integers(0, 2**40 - 1)
nonces = st.integers(1, 2**63 - 1)
amounts = st.integers(1, MAX_AMOUNT)
addresses = st.binary(min_size=20, max_size=20)
signatures = st.binary(min_size=64, max_size=64)
orders = st.builds(
    Order,
    markets,
    st.booleans(),
    prices,
    words,
    words,
    words,
    times,
    st.sampled_from(TimeInForce),
    st.booleans(),
    st.booleans(),
)
actions = st.one_of(
    st.builds(Transfer, accounts, accounts, amounts, nonces),
    st.builds(Withdraw, accounts, addresses, amounts, nonces),
    st.builds(SetTradingKey, accounts, addresses, times, nonces),
)
observations = st.lists(
    st.builds(Observation, st.integers(0, MAX_SIGNERS - 1), prices, times), max_size=MAX_SIGNERS
).map(tuple)
messages = st.builds(Message, st.integers(0, 255), addresses, times, st.binary(max_size=1024))
fractions = st.integers(-(2**63) + 1, 2**63 - 1)
shares = st.integers(0, 2**20 - 1)
surfaces = st.builds(
    SurfaceEntry,
    markets,
    st.integers(1, 2**MAX_SIGNERS - 1),
    st.integers(1, 2**63 - 1),
    *[fractions] * 6,
    times,
    st.lists(signatures, max_size=MAX_SIGNERS),
)
bids = st.builds(
    LiquidateEntry, accounts, accounts | st.just(0), shares, shares, nonces, signatures
)
POKES = (Kind.MARK, Kind.FUND, Kind.SWEEP, Kind.DISTRESS, Kind.SOCIALISE)
pokes = st.builds(PokeEntry, st.sampled_from(POKES), st.integers(0, 2**24 - 1), st.integers(1, 127))
fees = st.builds(DataFeeEntry, st.integers(0, 2**64 - 1))
named = st.builds(
    to_order_entry,
    accounts,
    slots,
    orders,
    signatures,
    addresses,
    st.text(max_size=36),
    st.sampled_from(("", *SelfTradePolicy)),
    st.booleans(),
)
entries: st.SearchStrategy[Entry] = st.one_of(
    named,
    st.builds(HoldEntry, named, st.booleans(), st.booleans(), prices),
    st.builds(FireEntry, accounts, slots),
    st.builds(DeadManEntry, accounts, words),
    st.builds(ProtectEntry, accounts, markets, words, words, words),
    st.builds(ResumeEntry, accounts, markets),
    surfaces,
    bids,
    pokes,
    fees,
    st.builds(to_order_entry, accounts, slots, orders, signatures, addresses),
    st.builds(CancelEntry, accounts, slots),
    st.builds(CancelAllEntry, accounts, markets),
    st.builds(to_action_entry, actions, signatures),
    st.builds(ClockEntry, times),
    st.just(SealEntry()),
)
fast = settings(deadline=None, max_examples=200)


@fast
@given(entry=entries)
def test_encode_entry__any_entry__comes_back(entry):
    assert decode_entry(encode_entry(entry)) == entry


def test_decode_entry__order_of_an_older_log__has_no_terms():
    """Logs from before there were client ids and the like go on being read."""
    whole = to_order_entry(1, 2, Order(3, True, 4, 5, 6, 7, 8, 0, False, True), bytes(64), b"s")
    fields = msgspec.msgpack.decode(encode_entry(whole))
    assert decode_entry(msgspec.msgpack.encode(fields[:-3])) == whole


@fast
@given(accounts, slots, orders, signatures, addresses)
def test_to_order_entry__any_order__comes_back(account, slot, order, signature, signer):
    entry = decode_entry(encode_entry(to_order_entry(account, slot, order, signature, signer)))
    assert entry.to_order() == order
    assert (entry.account, entry.slot) == (account, slot)
    assert (entry.signature, entry.signer) == (signature, signer)
    assert isinstance(entry.to_order().time_in_force, TimeInForce)


@fast
@given(actions, signatures)
def test_to_action_entry__any_action__comes_back(action, signature):
    entry = decode_entry(encode_entry(to_action_entry(action, signature)))
    assert to_action(entry) == action
    assert entry.signature == signature


@fast
@given(markets, observations)
def test_to_observations__any__come_back(market, seen):
    entry = ObserveEntry(
        market,
        [one.signer for one in seen],
        [one.price for one in seen],
        [one.time for one in seen],
        [bytes(64)] * len(seen),
    )
    back = decode_entry(encode_entry(entry))
    assert back == entry
    assert to_observations(back) == seen


@fast
@given(surfaces)
def test_to_surface__any_surface__comes_back(entry):
    back = decode_entry(encode_entry(entry))
    assert back == entry
    assert back.to_surface() == Surface(
        entry.market,
        entry.signers,
        entry.ratio,
        entry.rate,
        entry.a,
        entry.b,
        entry.rho,
        entry.m,
        entry.sigma,
        entry.time,
    )
    assert back.signatures == entry.signatures


@fast
@given(bids)
def test_to_liquidate__any_bid__comes_back(entry):
    back = decode_entry(encode_entry(entry))
    assert back == entry
    bid = Liquidate(entry.account, entry.target, entry.share, entry.reward, entry.nonce)
    assert (back.to_liquidate(), back.signature) == (bid, entry.signature)


@fast
@given(pokes)
def test_to_poke__any_poke__names_what_it_asks_for(entry):
    back = decode_entry(encode_entry(entry))
    assert back == entry
    expected = {
        Kind.MARK: Mark(entry.subject, entry.detail),
        Kind.FUND: Fund(entry.subject),
        Kind.SWEEP: Sweep(entry.subject),
        Kind.DISTRESS: Distress(entry.subject),
        Kind.SOCIALISE: Socialise(entry.subject),
    }
    assert to_poke(back) == expected[entry.kind]


@pytest.mark.parametrize("kind", [*sorted(set(Kind) - set(POKES)), 16, -1])
def test_to_poke__what_nobody_may_ask_for__is_no_transaction(kind):
    with pytest.raises(ValueError, match=f"kind: nobody may ask for {int(kind)}"):
        to_poke(PokeEntry(int(kind), 1, 1))


@fast
@given(messages, words)
def test_to_message__any_message__comes_back(message, index):
    entry = MessageEntry(index, message.kind, message.sender, message.time, message.body)
    assert to_message(decode_entry(encode_entry(entry))) == message


@settings(deadline=None, max_examples=100)
@given(entry=entries, cut=st.integers(1, 200))
def test_decode_entry__truncated__is_refused(entry, cut):
    encoding = encode_entry(entry)
    with pytest.raises(msgspec.DecodeError):
        decode_entry(encoding[: -min(cut, len(encoding))])


def test_decode_entry__tag_that_is_no_text__is_refused():
    with pytest.raises(msgspec.DecodeError):
        decode_entry(b"\x91\xa2\x00\x80")


@settings(deadline=None, max_examples=100)
@given(junk=st.binary(max_size=60))
def test_decode_entry__junk__is_an_entry_or_refused(junk):
    try:
        entry = decode_entry(junk)
    except msgspec.DecodeError:
        return
    assert decode_entry(encode_entry(entry)) == entry
