"""Every rule of the protocol can be enforced: one batch that breaks it, removed in one transaction.

Each case drafts a batch whose only lie is the one it is named after; the table above a group says
what was done to get there. Before it is posted, the protocol itself must find exactly that fault in
it. Then somebody who has read nothing but L1 removes it through the real contracts.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from coincurve import PrivateKey, PublicKey

from deltaroll.protocol.bits import BitWriter, encode_bits, encode_decimal, encode_number
from deltaroll.protocol.codec import (
    ACTION_NONCE_BITS,
    AMOUNT_BITS,
    CLOCK_BITS,
    EPOCH_BITS,
    EXPIRY_BITS,
    KIND_BITS,
    LOTS_BITS,
    NONCE_BITS,
    TABLE_BITS,
    encode_table,
)
from deltaroll.protocol.configure import encode_configure, encode_configure_closing
from deltaroll.protocol.constants import (
    ACCOUNT_DEPTH,
    MARKET_DEPTH,
    MAX_CLOCK_LAG,
    MAX_POSITIONS,
)
from deltaroll.protocol.eip712 import compute_digest, compute_domain_separator, hash_transfer
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import COMMITTEE_TAG, encode_committee
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.recovery import HALF_ORDER, SIGNATURE_BYTES
from deltaroll.protocol.state import State, set_account, set_market, set_slot
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Address,
    Committee,
    Fill,
    Kind,
    MarketId,
    Series,
    SeriesStatus,
    SlotId,
    Sweep,
    TimeInForce,
    Timestamp,
    Transfer,
    Underlying,
)
from deltaroll.sdk.signing import Signer
from tests.scenarios import derivative_cases
from tests.scenarios.registry import CASES, Case, case
from tests.scenarios.support import (
    ALICE,
    ALICE_TOO,
    BOB,
    BTC,
    BTC_LAST,
    BTC_NEXT,
    BTC_PERP,
    CAROL,
    CLOSED,
    COMMITTEE,
    DAVE,
    ERIN,
    ETH,
    FRANK,
    GRID,
    MOON,
    MOON_PERP,
    NOBODY,
    NOWHERE,
    PARAMS,
    PRICES,
    RICH,
    TICK,
    Chunk,
    Finding,
    Lab,
    Lie,
    Signed,
    list_series,
)

PRICE = PRICES[BTC]
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.fault.name}-{case.draft.__name__}")
def test_prove__one_fault__batch_removed(lab: Lab, case: Case) -> None:
    lie = case.draft(lab)
    last = len(lie.chunks) - 1
    by_signature = case.fault in (Fault.BAD_SIGNATURE, Fault.SIGNATURE_COUNT)
    expected = [Finding(last, case.fault, by_signature)]
    if case.also is not None:
        expected.append(Finding(last, case.also, False))
    findings, posted = lab.judge(lie)
    assert findings == expected
    lab.post(lie, posted)
    removal = lab.remove(case.fault, last)
    assert (removal.fraud.fault, removal.fraud.chunk) == (case.fault, last)
    assert (removal.fraud.position is not None) == by_signature


def test_cases__every_fault__has_one() -> None:
    assert {case.fault for case in CASES} == set(Fault) - {Fault.NONE}


def test_cases__of_derivatives__are_among_them() -> None:
    module = derivative_cases.__name__
    assert any(case.draft.__module__ == module for case in CASES)


def test_cases__names__are_unique() -> None:
    names = [case.draft.__name__ for case in CASES]
    assert sorted(names) == sorted(set(names))


def test_fault__in_solidity__same_names_and_numbers() -> None:
    source = Path("contracts/protocol/Fault.sol").read_text(encoding="utf-8")
    match = re.search(r"enum Fault \{(.*?)\}", source, re.DOTALL)
    assert match is not None
    body = re.sub(r"//.*", "", match[1])
    names = [name for name in (part.strip() for part in body.split(",")) if name]
    assert names == [fault.name for fault in Fault]
    assert [int(fault) for fault in Fault] == list(range(len(names)))


# Bits, for what the encoder refuses to write


def start(
    lab: Lab, accounts: tuple[AccountId, ...] = (), markets: tuple[MarketId, ...] = ()
) -> BitWriter:
    """Return a writer that has written a chunk's clock and tables."""
    writer = BitWriter()
    encode_bits(writer, lab.time, CLOCK_BITS)
    encode_table(writer, accounts, ACCOUNT_DEPTH)
    encode_table(writer, markets, MARKET_DEPTH)
    return writer


def finish(writer: BitWriter) -> Lie:
    """Return a batch of the one chunk that was written. What cannot be read asks for no
    signatures."""
    encode_bits(writer, Kind.END, KIND_BITS)
    return raw(writer.to_bytes())


def raw(data: bytes, signatures: bytes = b"") -> Lie:
    """Return a batch of one chunk as it is."""
    return Lie((Chunk(data, signatures),))


# TRUNCATED: the data ends inside a field
#
# | the chunk | is cut |
# |---|---|
# | any | inside its clock |
# | a transfer | inside the account table |
# | a fill | inside an order |
# | a transfer | after its last transaction: no end mark |


@case(Fault.TRUNCATED)
def truncated__inside_the_clock(lab: Lab) -> Lie:
    return raw(lab.chunk(lab.transfer()).data[:4])


@case(Fault.TRUNCATED)
def truncated__inside_a_table(lab: Lab) -> Lie:
    return raw(lab.chunk(lab.transfer()).data[:6])


@case(Fault.TRUNCATED)
def truncated__inside_an_order(lab: Lab) -> Lie:
    return raw(lab.chunk(lab.fill()).data[:24])


@case(Fault.TRUNCATED)
def truncated__no_end_mark(lab: Lab) -> Lie:
    writer = start(lab, (), (BTC_PERP,))
    for _ in range(2):
        encode_bits(writer, Kind.MARK, KIND_BITS)
        encode_number(writer, 0, 7)
    spare = len(writer) % 8
    if spare:
        # Marks of 7 bits, until they end where a byte ends.
        for _ in range((8 - spare) * 7 % 8):
            encode_bits(writer, Kind.MARK, KIND_BITS)
            encode_number(writer, 0, 7)
    assert len(writer) % 8 == 0
    return raw(writer.to_bytes())


# TRAILING_BYTES
#
# | the chunk | is followed by |
# |---|---|
# | a transfer | one zero byte |
# | a transfer | a second chunk |


@case(Fault.TRAILING_BYTES)
def trailing__one_zero_byte(lab: Lab) -> Lie:
    return raw(lab.chunk(lab.transfer()).data + b"\0")


@case(Fault.TRAILING_BYTES)
def trailing__another_chunk(lab: Lab) -> Lie:
    return raw(lab.chunk(lab.transfer()).data * 2)


# NON_CANONICAL: a second byte string for one meaning
#
# | the chunk | differs from the one form in |
# |---|---|
# | a transfer | a padding bit that is set |
# | a transfer | an account in the table that nothing names |
# | a mark | a market in the table that nothing names |
# | empty | a table length of more bits than any has |
# | a transfer | an amount of 10 * 10^0 instead of 1 * 10^1 |
# | a transfer | an amount of 0 * 10^1 |
# | a fill | a time in force that does not exist |


@case(Fault.NON_CANONICAL)
def non_canonical__padding_bit(lab: Lab) -> Lie:
    data = bytearray(lab.chunk(lab.transfer()).data)
    data[-1] |= 1
    return raw(bytes(data))


@case(Fault.NON_CANONICAL)
def non_canonical__unused_account(lab: Lab) -> Lie:
    return finish(start(lab, (ALICE,)))


@case(Fault.NON_CANONICAL)
def non_canonical__unused_market(lab: Lab) -> Lie:
    writer = start(lab, (), (BTC_PERP, BTC_NEXT))
    encode_bits(writer, Kind.MARK, KIND_BITS)
    encode_bits(writer, 0, 1)
    encode_number(writer, 0, 7)
    return finish(writer)


@case(Fault.NON_CANONICAL)
def non_canonical__length_of_a_number(lab: Lab) -> Lie:
    writer = BitWriter()
    encode_bits(writer, lab.time, CLOCK_BITS)
    encode_bits(writer, TABLE_BITS + 1, TABLE_BITS.bit_length())
    return finish(writer)


def start_transfer(lab: Lab) -> BitWriter:
    """Return a writer of a transfer up to its amount."""
    writer = start(lab, (BOB, ERIN))
    encode_bits(writer, Kind.TRANSFER, KIND_BITS)
    encode_bits(writer, 1, 1)
    encode_bits(writer, 0, 1)
    return writer


@case(Fault.NON_CANONICAL)
def non_canonical__mantissa_with_a_factor_ten(lab: Lab) -> Lie:
    writer = start_transfer(lab)
    encode_bits(writer, 0, 4)
    encode_number(writer, 10, AMOUNT_BITS)
    encode_number(writer, 100, ACTION_NONCE_BITS)
    return finish(writer)


@case(Fault.NON_CANONICAL)
def non_canonical__zero_with_an_exponent(lab: Lab) -> Lie:
    writer = start_transfer(lab)
    encode_bits(writer, 1, 4)
    encode_number(writer, 0, AMOUNT_BITS)
    encode_number(writer, 100, ACTION_NONCE_BITS)
    return finish(writer)


def start_fill(lab: Lab) -> BitWriter:
    """Return a writer of a fill up to its first order."""
    writer = start(lab, (ALICE, BOB), (BTC_PERP,))
    encode_bits(writer, Kind.FILL, KIND_BITS)
    encode_bits(writer, 0, 1)
    encode_bits(writer, 1, 1)
    for slot in (100, 101):
        encode_number(writer, slot, 12)
    encode_bits(writer, 0, 1)
    encode_number(writer, 1, LOTS_BITS)
    encode_bits(writer, 1, 1)
    encode_bits(writer, 0, 1)
    return writer


@case(Fault.NON_CANONICAL)
def non_canonical__time_in_force_3(lab: Lab) -> Lie:
    writer = start_fill(lab)
    encode_decimal(writer, PRICE, 63)
    for value, width in ((10, LOTS_BITS), (1, NONCE_BITS), (0, EPOCH_BITS), (60, EXPIRY_BITS)):
        encode_number(writer, value, width)
    encode_bits(writer, 3, 2)
    encode_bits(writer, 0, 2)
    return finish(writer)


# UNKNOWN_KIND
#
# | the chunk | its second transaction |
# |---|---|
# | a mark | has the first kind that does not exist |
# | nothing before it | has the last kind that four bits can name |


@case(Fault.UNKNOWN_KIND)
def unknown_kind__the_first(lab: Lab) -> Lie:
    writer = start(lab, (), (BTC_PERP,))
    encode_bits(writer, Kind.MARK, KIND_BITS)
    encode_number(writer, 0, 7)
    encode_bits(writer, Kind.DATA_FEE, KIND_BITS)
    encode_bits(writer, 1, KIND_BITS)
    return finish(writer)


@case(Fault.UNKNOWN_KIND)
def unknown_kind__the_last(lab: Lab) -> Lie:
    writer = start(lab)
    encode_bits(writer, Kind.DATA_FEE, KIND_BITS)
    encode_bits(writer, 15, KIND_BITS)
    return finish(writer)


# BAD_INDEX: a reference past the end of a table
#
# | the table | the reference |
# |---|---|
# | three accounts | the fourth, for a transfer |
# | no account | the first, for a withdrawal |
# | three markets | the fourth, for a mark |
# | no market | the first, for an observation |


@case(Fault.BAD_INDEX)
def bad_index__fourth_of_three_accounts(lab: Lab) -> Lie:
    writer = start(lab, (ALICE, BOB, ERIN))
    encode_bits(writer, Kind.TRANSFER, KIND_BITS)
    encode_bits(writer, 2, 2)
    encode_bits(writer, 3, 2)
    return finish(writer)


@case(Fault.BAD_INDEX)
def bad_index__no_accounts(lab: Lab) -> Lie:
    writer = start(lab)
    encode_bits(writer, Kind.WITHDRAW, KIND_BITS)
    return finish(writer)


@case(Fault.BAD_INDEX)
def bad_index__fourth_of_three_markets(lab: Lab) -> Lie:
    writer = start(lab, (), (BTC_PERP, BTC_NEXT, BTC_LAST))
    encode_bits(writer, Kind.MARK, KIND_BITS)
    encode_bits(writer, 3, 2)
    return finish(writer)


@case(Fault.BAD_INDEX)
def bad_index__no_markets(lab: Lab) -> Lie:
    writer = start(lab)
    encode_bits(writer, Kind.OBSERVE, KIND_BITS)
    return finish(writer)


# WRONG_POST_ROOT: all is well but the result
#
# | the chunk | behind its post root |
# |---|---|
# | a transfer | the recipient is a million richer |
# | a transfer | nothing has happened |
# | a transfer | nothing anybody knows |
# | a transfer | the clock has not moved |
# | a transfer | somebody else owns Erin's account |
# | a withdrawal | the exit pays ten times as much |
# | a withdrawal | there is no exit |
# | a fill | the maker's order is not used up |
# | a fill | the fee has gone |
# | a fill | the position of an account that took no part has gone |
# | a mark | the risk vector is milder |
# | an observation | the index is another |
# | a deposit | was credited twice |
# | a skipped message | was not counted as skipped |
# | the second of two | is as if the first had never been |
# | the heaviest by bytes: messages of 1,024 | Bob is a million richer |
# | the heaviest by gas: marks | Bob is a million richer |


def enrich(account: AccountId) -> Callable[[State], None]:
    """Return the twist that makes an account a million richer."""

    def twist(state: State) -> None:
        rich = state.accounts[account]
        set_account(state, account, replace(rich, cash=rich.cash + 10**12))

    return twist


def set_globals(**changes: int) -> Callable[[State], None]:
    """Return the twist that adds to fields of the globals."""

    def twist(state: State) -> None:
        values = {name: getattr(state.globals, name) + more for name, more in changes.items()}
        state.globals = replace(state.globals, **values)

    return twist


@case(Fault.WRONG_POST_ROOT)
def wrong_root__stolen_balance(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(), twist=enrich(BOB))


@case(Fault.WRONG_POST_ROOT)
def wrong_root__nothing_happened(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(), root=lab.head.post_root)


@case(Fault.WRONG_POST_ROOT)
def wrong_root__of_no_state(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(), root=b"\x01" * 32)


@case(Fault.WRONG_POST_ROOT)
def wrong_root__clock_stands_still(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(), twist=set_globals(clock=-1))


@case(Fault.WRONG_POST_ROOT)
def wrong_root__stolen_account(lab: Lab) -> Lie:
    def twist(state: State) -> None:
        thief = state.accounts[FRANK].owner
        set_account(state, ERIN, replace(state.accounts[ERIN], owner=thief))

    return lab.lie(lab.transfer(), twist=twist)


@case(Fault.WRONG_POST_ROOT)
def wrong_root__exit_pays_more(lab: Lab) -> Lie:
    def twist(state: State) -> None:
        state.exits[-1] = replace(state.exits[-1], amount=state.exits[-1].amount * 10)

    return lab.lie(lab.withdraw(), twist=twist)


@case(Fault.WRONG_POST_ROOT)
def wrong_root__no_exit(lab: Lab) -> Lie:
    return lab.lie(lab.withdraw(), twist=set_globals(exit_count=-1))


@case(Fault.WRONG_POST_ROOT)
def wrong_root__order_not_used_up(lab: Lab) -> Lie:
    def twist(state: State) -> None:
        slot = state.slots[ALICE][SlotId(100)]
        set_slot(state, ALICE, SlotId(100), replace(slot, filled=0))

    return lab.lie(lab.fill(), twist=twist)


@case(Fault.WRONG_POST_ROOT)
def wrong_root__fee_has_gone(lab: Lab) -> Lie:
    return lab.lie(lab.fill(), twist=set_globals(fee_pool=-1))


@case(Fault.WRONG_POST_ROOT)
def wrong_root__position_of_a_bystander(lab: Lab) -> Lie:
    def twist(state: State) -> None:
        bystander = state.accounts[DAVE]
        set_account(state, DAVE, replace(bystander, positions=bystander.positions[1:]))

    return lab.lie(lab.fill(), twist=twist)


@case(Fault.WRONG_POST_ROOT)
def wrong_root__mild_risk(lab: Lab) -> Lie:
    def twist(state: State) -> None:
        series = state.markets[BTC_PERP]
        assert isinstance(series, Series)
        risk = tuple(entry // 2 for entry in series.risk)
        set_market(state, BTC_PERP, replace(series, risk=risk))

    return lab.lie(lab.mark(), twist=twist)


@case(Fault.WRONG_POST_ROOT)
def wrong_root__another_index(lab: Lab) -> Lie:
    def twist(state: State) -> None:
        underlying = state.markets[BTC]
        assert isinstance(underlying, Underlying)
        set_market(state, BTC, replace(underlying, index=PRICE - 1))

    return lab.lie(lab.observe(BTC, PRICE), twist=twist)


@case(Fault.WRONG_POST_ROOT)
def wrong_root__deposit_twice(lab: Lab) -> Lie:
    bridge = lab.contracts.bridge
    lab.venue.send(
        bridge.deposit, lab.venue.owners[BOB].address, BOB, 10**12, sender=lab.venue.governor
    )
    lab.sync()
    return lab.lie(lab.queue(), twist=enrich(BOB))


@case(Fault.WRONG_POST_ROOT)
def wrong_root__skip_not_counted(lab: Lab) -> Lie:
    lab.venue.send(lab.contracts.bridge.force, b"nonsense", sender=lab.venue.watcher)
    lab.sync()
    return lab.lie(lab.queue(), twist=set_globals(skipped=-1))


@case(Fault.WRONG_POST_ROOT)
def wrong_root__second_without_the_first(lab: Lab) -> Lie:
    second = lab.lie(lab.transfer(sender=DAVE))
    _, (alone,) = lab.judge(second)
    return Lie((lab.chunk(lab.transfer()), *second.chunks), root=alone.post_root)


@case(Fault.WRONG_POST_ROOT)
def wrong_root__heaviest_by_bytes(lab: Lab) -> Lie:
    start = lab.head.queue_end
    force_messages(lab, 110, 1_024)
    honest = find_heaviest(lab, 110, lambda size: consume(lab, size, start + size))
    return replace(honest, twist=enrich(BOB))


@case(Fault.WRONG_POST_ROOT)
def wrong_root__heaviest_by_gas(lab: Lab) -> Lie:
    honest = find_heaviest(lab, 400, lambda size: lab.lie(*[lab.mark()] * size))
    return replace(honest, twist=enrich(BOB))


# OVERWEIGHT
#
# | the chunk | is too heavy in |
# |---|---|
# | 110 messages of 1,024 bytes | bytes of its witness |
# | 250 messages of one byte | gas |


def force_messages(lab: Lab, count: int, size: int) -> None:
    """Queue messages that mean nothing and will be skipped."""
    for place in range(count):
        body = bytes((place % 255 + 1,)) * size
        lab.venue.send(lab.contracts.bridge.force, body, sender=lab.venue.watcher)
    lab.sync()


def consume(lab: Lab, count: int, queue_end: int | None = None) -> Lie:
    """Return a batch of one chunk that consumes messages."""
    return lab.lie(*[lab.queue()] * count, queue_end=queue_end)


def find_heaviest(lab: Lab, limit: int, draft: Callable[[int], Lie]) -> Lie:
    """Return the honest batch of the largest size up to, not with, `limit`."""
    low = 1
    while low + 1 < limit:
        middle = (low + limit) // 2
        if lab.judge(draft(middle))[0]:
            limit = middle
        else:
            low = middle
    return draft(low)


@case(Fault.OVERWEIGHT)
def overweight__by_bytes(lab: Lab) -> Lie:
    force_messages(lab, 110, 1_024)
    return consume(lab, 110)


@case(Fault.OVERWEIGHT)
def overweight__by_gas(lab: Lab) -> Lie:
    force_messages(lab, 250, 1)
    return consume(lab, 250)


# CLOCK_BACKWARD, CLOCK_AHEAD, CLOCK_STALE
#
# | the chunk's clock | fault |
# |---|---|
# | a second before the clock of the state | BACKWARD |
# | a second before the clock of the batch's first chunk | BACKWARD |
# | zero | BACKWARD |
# | a second after the L1 block | AHEAD |
# | as late as 40 bits can say | AHEAD |
# | a second more than four hours before the L1 block | STALE |


@case(Fault.CLOCK_BACKWARD)
def clock_backward__before_the_state(lab: Lab) -> Lie:
    return Lie((lab.chunk(lab.transfer(), clock=lab.state.globals.clock - 1),))


@case(Fault.CLOCK_BACKWARD)
def clock_backward__before_the_chunk_before(lab: Lab) -> Lie:
    return Lie((lab.chunk(lab.mark()), lab.chunk(lab.transfer(), clock=lab.time - 1)))


@case(Fault.CLOCK_BACKWARD)
def clock_backward__zero(lab: Lab) -> Lie:
    return Lie((lab.chunk(lab.transfer(), clock=0),))


@case(Fault.CLOCK_AHEAD)
def clock_ahead__by_a_second(lab: Lab) -> Lie:
    return Lie((lab.chunk(lab.transfer(), clock=lab.time + 1),))


@case(Fault.CLOCK_AHEAD)
def clock_ahead__by_all_it_can(lab: Lab) -> Lie:
    return Lie((lab.chunk(lab.transfer(), clock=2**CLOCK_BITS - 1),))


@case(Fault.CLOCK_STALE)
def clock_stale__by_a_second(lab: Lab) -> Lie:
    lab.advance(MAX_CLOCK_LAG + 600)
    return Lie((lab.chunk(lab.transfer(), clock=lab.time - MAX_CLOCK_LAG - 1),))


# QUEUE_OVERRUN, QUEUE_UNDERRUN
#
# | L1 queue | the batch claims | its chunks consume | fault |
# |---|---|---|---|
# | one message | none | it | OVERRUN |
# | empty | none | one that does not exist | OVERRUN |
# | two messages | the first | both | OVERRUN |
# | one message | it | none | UNDERRUN |
# | two messages | both | one, in the first of two chunks | UNDERRUN |


def cancel_orders(lab: Lab, *accounts: AccountId) -> None:
    """Have owners kill their orders through L1."""
    for account in accounts:
        owner = lab.venue.owners[account]
        lab.venue.send(lab.contracts.bridge.cancelAll, account, sender=owner)
    lab.sync()


@case(Fault.QUEUE_OVERRUN)
def queue_overrun__message_not_claimed(lab: Lab) -> Lie:
    cancel_orders(lab, ALICE)
    return lab.lie(lab.queue(), queue_end=lab.head.queue_end)


@case(Fault.QUEUE_OVERRUN)
def queue_overrun__no_such_message(lab: Lab) -> Lie:
    return lab.lie(lab.queue())


@case(Fault.QUEUE_OVERRUN)
def queue_overrun__second_of_two(lab: Lab) -> Lie:
    cancel_orders(lab, ALICE, BOB)
    return lab.lie(lab.queue(), lab.queue(), queue_end=lab.head.queue_end + 1)


@case(Fault.QUEUE_UNDERRUN)
def queue_underrun__message_ignored(lab: Lab) -> Lie:
    cancel_orders(lab, ALICE)
    return lab.lie(lab.transfer())


@case(Fault.QUEUE_UNDERRUN)
def queue_underrun__second_of_two(lab: Lab) -> Lie:
    cancel_orders(lab, ALICE, BOB)
    return Lie((lab.chunk(lab.queue()), lab.chunk(lab.transfer())))


# BAD_SIGNATURE
#
# | the chunk | the signature |
# |---|---|
# | a fill | of the maker's order is Carol's |
# | a fill | of the taker's order is Carol's |
# | a fill | is by Carol's trading key, which has expired |
# | a fill | is by a trading key that the same chunk names |
# | a fill | is by the trading key of another account |
# | a fill | is for another slot |
# | two fills | of the last of four orders is Carol's |
# | a withdrawal | is by the trading key |
# | a transfer | is by the trading key |
# | a change of key | is by the trading key |
# | a transfer | is by the recipient |
# | a transfer | is for a smaller amount |
# | a transfer | is for another deployment |
# | a transfer | is good but for a high s, of the last account that was opened |
# | a transfer | has the other parity |
# | a transfer | is all zeros |
# | a transfer | has r past the order of the curve |
# | a transfer | has an r that no point has |
# | a withdrawal | is by anybody, for an account that does not exist |
# | an observation | of one member is by another member |
# | an observation | is of another underlying |
# | an observation | is of another price |
# | an observation | names a member that the committee does not have |
# | an observation | is of a market that is no underlying |


def sign_again(lab: Lab, signed: Signed[Any], *changed: bytes | None) -> Lie:
    """Return a batch of a transaction some of whose signatures are changed."""
    kept = zip(signed.signatures, changed, strict=True)
    return lab.lie(Signed(signed.transaction, tuple(new or old for old, new in kept)))


def sign_as(key: Signer, lab: Lab, fill: Fill, side: str) -> bytes:
    """Return somebody's signature of the maker's or the taker's order."""
    order = fill.maker_order if side == "maker" else fill.taker_order
    account = fill.maker if side == "maker" else fill.taker
    slot = fill.maker_slot if side == "maker" else fill.taker_slot
    assert order is not None
    return key.sign_order(lab.domain, account, slot, order)


@case(Fault.BAD_SIGNATURE)
def bad_signature__of_the_maker(lab: Lab) -> Lie:
    signed = lab.fill()
    forged = sign_as(lab.venue.keys[CAROL], lab, signed.transaction, "maker")
    return sign_again(lab, signed, forged, None)


@case(Fault.BAD_SIGNATURE)
def bad_signature__of_the_taker(lab: Lab) -> Lie:
    signed = lab.fill()
    forged = sign_as(lab.venue.keys[CAROL], lab, signed.transaction, "taker")
    return sign_again(lab, signed, None, forged)


@case(Fault.BAD_SIGNATURE)
def bad_signature__expired_trading_key(lab: Lab) -> Lie:
    signed = lab.fill(maker=CAROL)
    late = sign_as(lab.venue.traders[CAROL], lab, signed.transaction, "maker")
    assert lab.state.accounts[CAROL].trading_key == lab.venue.traders[CAROL].address
    return sign_again(lab, signed, late, None)


@case(Fault.BAD_SIGNATURE)
def bad_signature__key_named_in_the_same_chunk(lab: Lab) -> Lie:
    key = lab.venue.traders[ERIN]
    signed = lab.fill(maker=ERIN)
    early = sign_as(key, lab, signed.transaction, "maker")
    fill = Signed(signed.transaction, (early, signed.signatures[1]))
    return lab.lie(lab.change_key(ERIN, key.address), fill)


@case(Fault.BAD_SIGNATURE)
def bad_signature__trading_key_of_another_account(lab: Lab) -> Lie:
    signed = lab.fill()
    forged = sign_as(lab.venue.traders[BOB], lab, signed.transaction, "maker")
    return sign_again(lab, signed, forged, None)


@case(Fault.BAD_SIGNATURE)
def bad_signature__order_moved_to_another_slot(lab: Lab) -> Lie:
    signed = lab.fill()
    return lab.lie(Signed(replace(signed.transaction, maker_slot=SlotId(102)), signed.signatures))


@case(Fault.BAD_SIGNATURE)
def bad_signature__last_of_four(lab: Lab) -> Lie:
    second = lab.fill(maker=DAVE, taker=BOB, taker_slot=SlotId(103))
    forged = sign_as(lab.venue.keys[CAROL], lab, second.transaction, "taker")
    return lab.lie(lab.fill(), Signed(second.transaction, (second.signatures[0], forged)))


@case(Fault.BAD_SIGNATURE)
def bad_signature__trading_key_withdraws(lab: Lab) -> Lie:
    signed = lab.withdraw(account=ALICE)
    forged = lab.venue.traders[ALICE].sign_action(lab.domain, signed.transaction)
    return sign_again(lab, signed, forged)


@case(Fault.BAD_SIGNATURE)
def bad_signature__trading_key_transfers(lab: Lab) -> Lie:
    signed = lab.transfer(sender=ALICE)
    forged = lab.venue.traders[ALICE].sign_action(lab.domain, signed.transaction)
    return sign_again(lab, signed, forged)


@case(Fault.BAD_SIGNATURE)
def bad_signature__trading_key_names_another(lab: Lab) -> Lie:
    signed = lab.change_key(ALICE, lab.venue.traders[BOB].address)
    forged = lab.venue.traders[ALICE].sign_action(lab.domain, signed.transaction)
    return sign_again(lab, signed, forged)


@case(Fault.BAD_SIGNATURE)
def bad_signature__by_the_recipient(lab: Lab) -> Lie:
    return lab.lie(lab.act(Transfer(ERIN, BOB, 10**6, 100), signer=BOB))


@case(Fault.BAD_SIGNATURE)
def bad_signature__for_a_smaller_amount(lab: Lab) -> Lie:
    return sign_again(lab, lab.transfer(amount=10**8), lab.transfer(amount=10**6).signatures[0])


@case(Fault.BAD_SIGNATURE)
def bad_signature__for_another_deployment(lab: Lab) -> Lie:
    signed = lab.transfer()
    elsewhere = compute_domain_separator(1, Address(b"\x11" * 20))
    forged = lab.venue.keys[ERIN].sign_action(elsewhere, signed.transaction)
    return sign_again(lab, signed, forged)


Words = tuple[int, int, int]
"""Of a signature: r, s, parity."""


def change_words(signature: bytes, change: Callable[[int, int, int], Words]) -> bytes:
    """Return a signature with other r, s and parity."""
    word = int.from_bytes(signature[32:], "big")
    r, s, parity = change(
        int.from_bytes(signature[:32], "big"), word & ((1 << 255) - 1), word >> 255
    )
    return r.to_bytes(32, "big") + (s | parity << 255).to_bytes(32, "big")


def spoil(lab: Lab, change: Callable[[int, int, int], Words]) -> Lie:
    """Return a batch of a transfer whose signature is spoilt."""
    signed = lab.transfer()
    return sign_again(lab, signed, change_words(signed.signatures[0], change))


@case(Fault.BAD_SIGNATURE)
def bad_signature__high_s(lab: Lab) -> Lie:
    # Of the s above half the order, only the lowest fit beside the parity. So the key is made to
    # fit the signature: with the account's number known, d = (s * k - z) / r is its owner's.
    account = AccountId(lab.state.globals.account_count + 1)
    transfer = Transfer(account, BOB, 10**6, 1)
    digest = compute_digest(lab.domain, hash_transfer(transfer))
    point = PrivateKey(b"\x01" * 31 + b"\x02").public_key.format(compressed=False)
    r, parity = int.from_bytes(point[1:33], "big"), point[-1] & 1
    s = HALF_ORDER + 1
    k, z = int.from_bytes(b"\x01" * 31 + b"\x02", "big"), int.from_bytes(digest, "big")
    key = Signer(((s * k - z) * pow(r, -1, CURVE_ORDER) % CURVE_ORDER).to_bytes(32, "big"))
    words = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    good = PublicKey.from_signature_and_message(words + bytes((parity,)), digest, hasher=None)
    assert keccak(good.format(compressed=False)[1:])[12:] == key.address
    bridge, payer = lab.contracts.bridge, lab.venue.governor
    lab.venue.send(bridge.deposit, "0x" + key.address.hex(), 0, RICH, sender=payer)
    lab.sync()
    lab.post_honest(lab.chunk(lab.queue()))
    signature = words[:32] + (s | parity << 255).to_bytes(32, "big")
    return lab.lie(Signed(transfer, (signature,)))


@case(Fault.BAD_SIGNATURE)
def bad_signature__other_parity(lab: Lab) -> Lie:
    return spoil(lab, lambda r, s, parity: (r, s, 1 - parity))


@case(Fault.BAD_SIGNATURE)
def bad_signature__zeros(lab: Lab) -> Lie:
    return spoil(lab, lambda r, s, parity: (0, 0, 0))


@case(Fault.BAD_SIGNATURE)
def bad_signature__zero_s(lab: Lab) -> Lie:
    return spoil(lab, lambda r, s, parity: (r, 0, parity))


@case(Fault.BAD_SIGNATURE)
def bad_signature__r_past_the_order(lab: Lab) -> Lie:
    return spoil(lab, lambda r, s, parity: (CURVE_ORDER, s, parity))


@case(Fault.BAD_SIGNATURE)
def bad_signature__r_off_the_curve(lab: Lab) -> Lie:
    # x = 5 is on no point of secp256k1: 5^3 + 7 is no square.
    return spoil(lab, lambda r, s, parity: (5, s, parity))


@case(Fault.BAD_SIGNATURE, also=Fault.UNKNOWN_ACCOUNT)
def bad_signature__for_no_account(lab: Lab) -> Lie:
    return lab.lie(lab.act(Transfer(NOBODY, BOB, 10**6, 100), signer=ALICE))


@case(Fault.BAD_SIGNATURE)
def bad_signature__of_another_member(lab: Lab) -> Lie:
    signed = lab.observe(BTC, PRICE)
    return sign_again(lab, signed, None, None, signed.signatures[0])


@case(Fault.BAD_SIGNATURE)
def bad_signature__of_another_underlying(lab: Lab) -> Lie:
    return sign_again(lab, lab.observe(BTC, PRICE), *lab.observe(ETH, PRICE).signatures)


@case(Fault.BAD_SIGNATURE)
def bad_signature__of_another_price(lab: Lab) -> Lie:
    return sign_again(
        lab, lab.observe(BTC, PRICE), None, lab.observe(BTC, PRICE + 1).signatures[1], None
    )


@case(Fault.BAD_SIGNATURE, also=Fault.UNKNOWN_SIGNER)
def bad_signature__of_no_member(lab: Lab) -> Lie:
    signed = lab.observe(BTC, PRICE)
    seen = signed.transaction.observations
    seen = (*seen[:2], replace(seen[2], signer=15))
    return lab.lie(Signed(replace(signed.transaction, observations=seen), signed.signatures))


@case(Fault.BAD_SIGNATURE, also=Fault.UNKNOWN_MARKET)
def bad_signature__no_underlying(lab: Lab) -> Lie:
    return lab.lie(lab.observe(BTC_PERP, PRICE))


# SIGNATURE_COUNT
#
# | the chunk | its signatures |
# |---|---|
# | a fill | the maker's alone |
# | a fill | none |
# | a fill | and one that nobody asked for |
# | a fill | and one byte |
# | a mark | one that nobody asked for |
# | an observation | one byte short |


@case(Fault.SIGNATURE_COUNT)
def signature_count__one_missing(lab: Lab) -> Lie:
    data, signatures = lab.chunk(lab.fill())
    return raw(data, signatures[:SIGNATURE_BYTES])


@case(Fault.SIGNATURE_COUNT)
def signature_count__none(lab: Lab) -> Lie:
    return raw(lab.chunk(lab.fill()).data)


@case(Fault.SIGNATURE_COUNT)
def signature_count__one_more(lab: Lab) -> Lie:
    data, signatures = lab.chunk(lab.fill())
    return raw(data, signatures + signatures[:SIGNATURE_BYTES])


@case(Fault.SIGNATURE_COUNT)
def signature_count__one_byte_more(lab: Lab) -> Lie:
    data, signatures = lab.chunk(lab.fill())
    return raw(data, signatures + b"\0")


@case(Fault.SIGNATURE_COUNT)
def signature_count__for_a_mark(lab: Lab) -> Lie:
    return raw(lab.chunk(lab.mark()).data, bytes(SIGNATURE_BYTES))


@case(Fault.SIGNATURE_COUNT)
def signature_count__one_byte_short(lab: Lab) -> Lie:
    data, signatures = lab.chunk(lab.observe(BTC, PRICE))
    return raw(data, signatures[:-1])


# UNKNOWN_ACCOUNT
#
# | the chunk | names |
# |---|---|
# | a transfer | a recipient that was never opened |
# | a transfer | account 0 as recipient |
# | a transfer | the last id that the tree has place for |
# | a fill of resting orders | a maker that was never opened |
# | a fill of resting orders | a taker that was never opened |


@case(Fault.UNKNOWN_ACCOUNT)
def unknown_account__recipient(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(recipient=NOBODY))


@case(Fault.UNKNOWN_ACCOUNT)
def unknown_account__zero(lab: Lab) -> Lie:
    return lab.lie(lab.plain(Sweep(AccountId(0))))


@case(Fault.UNKNOWN_ACCOUNT)
def unknown_account__the_last(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(recipient=AccountId(2**ACCOUNT_DEPTH - 1)))


@case(Fault.UNKNOWN_ACCOUNT)
def unknown_account__maker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(maker=NOBODY, posts="none"))


@case(Fault.UNKNOWN_ACCOUNT)
def unknown_account__taker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(taker=NOBODY, posts="maker"))


# UNKNOWN_MARKET
#
# | the chunk | names |
# |---|---|
# | a mark | an id that holds nothing |
# | a mark | an underlying |
# | a mark | a grid |
# | a mark | a range of series with a hole in it |
# | a mark | a range past the end of the id space, from a series listed there |
# | a fill | an id that holds nothing |
# | an observation by nobody | a series |


@case(Fault.UNKNOWN_MARKET)
def unknown_market__marked(lab: Lab) -> Lie:
    return lab.lie(lab.mark(NOWHERE))


@case(Fault.UNKNOWN_MARKET)
def unknown_market__underlying_marked(lab: Lab) -> Lie:
    return lab.lie(lab.mark(BTC))


@case(Fault.UNKNOWN_MARKET)
def unknown_market__grid_marked(lab: Lab) -> Lie:
    return lab.lie(lab.mark(GRID))


@case(Fault.UNKNOWN_MARKET)
def unknown_market__hole_in_a_range(lab: Lab) -> Lie:
    return lab.lie(lab.mark(BTC_PERP, 4))


@case(Fault.UNKNOWN_MARKET)
def unknown_market__past_the_id_space(lab: Lab) -> Lie:
    last = MarketId(2**MARKET_DEPTH - 1)
    configure(lab, list_series(last, BTC))
    return lab.lie(lab.queue(), lab.mark(last, 2))


@case(Fault.UNKNOWN_MARKET)
def unknown_market__traded(lab: Lab) -> Lie:
    return lab.lie(lab.fill(market=NOWHERE))


@case(Fault.UNKNOWN_MARKET)
def unknown_market__series_observed(lab: Lab) -> Lie:
    return lab.lie(lab.observe(BTC_PERP, members=()))


def configure(lab: Lab, body: bytes) -> None:
    """Have governance queue a message."""
    lab.venue.send(lab.contracts.bridge.configure, body, sender=lab.venue.governor)
    lab.sync()


# OUT_OF_RANGE
#
# | the chunk | holds |
# |---|---|
# | a fill | a price of 65 bits, as mantissa and exponent |
# | a transfer | an amount of 97 bits, as mantissa and exponent |
# | any | an account id of 25 bits, as a difference |
# | any | a market id of 17 bits, as a difference |
# | first prices of MOON, then a mark | a loss under MOON's steep grid that needs 65 bits |


@case(Fault.OUT_OF_RANGE)
def out_of_range__price(lab: Lab) -> Lie:
    writer = start_fill(lab)
    encode_bits(writer, 15, 4)
    encode_number(writer, 2**63 // 10**15 + 1, 63)
    return finish(writer)


@case(Fault.OUT_OF_RANGE)
def out_of_range__amount(lab: Lab) -> Lie:
    writer = start_transfer(lab)
    encode_bits(writer, 15, 4)
    encode_number(writer, 2**96 // 10**15 + 1, AMOUNT_BITS)
    return finish(writer)


@case(Fault.OUT_OF_RANGE)
def out_of_range__account_id(lab: Lab) -> Lie:
    writer = BitWriter()
    encode_bits(writer, lab.time, CLOCK_BITS)
    encode_number(writer, 2, TABLE_BITS)
    encode_number(writer, 1, ACCOUNT_DEPTH)
    encode_number(writer, 2**ACCOUNT_DEPTH - 2, ACCOUNT_DEPTH)
    return finish(writer)


@case(Fault.OUT_OF_RANGE)
def out_of_range__market_id(lab: Lab) -> Lie:
    writer = BitWriter()
    encode_bits(writer, lab.time, CLOCK_BITS)
    encode_number(writer, 0, TABLE_BITS)
    encode_number(writer, 2, TABLE_BITS)
    encode_number(writer, 2**MARKET_DEPTH - 1, MARKET_DEPTH)
    encode_number(writer, 0, MARKET_DEPTH)
    return finish(writer)


@case(Fault.OUT_OF_RANGE)
def out_of_range__risk(lab: Lab) -> Lie:
    return lab.lie(lab.observe(MOON, 2**60), lab.mark(MOON_PERP))


# ZERO_AMOUNT
#
# | the chunk | of zero |
# |---|---|
# | a fill | lots |
# | a fill | the maker's price |
# | a fill | the taker's price |
# | a fill | the maker's size |
# | a fill | the taker's size |
# | a transfer | amount |
# | a withdrawal | amount |


@case(Fault.ZERO_AMOUNT)
def zero_amount__lots(lab: Lab) -> Lie:
    return lab.lie(lab.fill(lots=0))


@case(Fault.ZERO_AMOUNT)
def zero_amount__price_of_the_maker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_maker={"price": 0}))


@case(Fault.ZERO_AMOUNT)
def zero_amount__price_of_the_taker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker={"price": 0}))


@case(Fault.ZERO_AMOUNT)
def zero_amount__size_of_the_maker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_maker={"size": 0}))


@case(Fault.ZERO_AMOUNT)
def zero_amount__size_of_the_taker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker={"size": 0}))


@case(Fault.ZERO_AMOUNT)
def zero_amount__transfer(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(amount=0))


@case(Fault.ZERO_AMOUNT)
def zero_amount__withdrawal(lab: Lab) -> Lie:
    return lab.lie(lab.withdraw(amount=0))


# ACTION_NONCE
#
# | before | the chunk |
# |---|---|
# | Alice has used nonce 1 in the base | Alice transfers with nonce 1 |
# | Alice has used nonce 1 in the base | Alice withdraws with nonce 0 |
# | Erin has transferred | the same transfer again |
# | Erin has transferred with nonce 100 | Erin changes her key with nonce 100 |


@case(Fault.ACTION_NONCE)
def action_nonce__used(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(sender=ALICE, nonce=1))


@case(Fault.ACTION_NONCE)
def action_nonce__lower(lab: Lab) -> Lie:
    return lab.lie(lab.withdraw(account=ALICE, nonce=0))


@case(Fault.ACTION_NONCE)
def action_nonce__replay_in_the_next_batch(lab: Lab) -> Lie:
    transfer = lab.transfer()
    lab.post_honest(lab.chunk(transfer))
    return lab.lie(transfer)


@case(Fault.ACTION_NONCE)
def action_nonce__of_another_action(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(), lab.change_key(ERIN, lab.venue.traders[ERIN].address))


# STALE_MARK
#
# | before | the chunk |
# |---|---|
# | an hour without marks | new price of BTC, then a fill without a mark |
# | - | price 5 % up, then a fill without a mark |
# | - | price of ETH 5 % up, then a fill of BTC by holders of ETH |
# | - | price 5 % up, then Alice transfers without a mark |
# | - | price 5 % up, then Alice withdraws without a mark |
# | Alice forces an exit through L1 | price 5 % up, then her exit without a mark |


def move(lab: Lab, underlying: MarketId = BTC) -> Signed[Any]:
    """Return prices 5 % up: past the band of marks, within that of jumps."""
    return lab.observe(underlying, PRICES[underlying] * 105 // 100)


@case(Fault.STALE_MARK)
def stale_mark__too_old(lab: Lab) -> Lie:
    lab.advance(PARAMS.max_mark_age + 1)
    return lab.lie(lab.observe(BTC, PRICE), lab.fill())


@case(Fault.STALE_MARK)
def stale_mark__index_has_moved(lab: Lab) -> Lie:
    return lab.lie(move(lab), lab.fill())


@case(Fault.STALE_MARK)
def stale_mark__of_another_position(lab: Lab) -> Lie:
    return lab.lie(move(lab, ETH), lab.fill())


@case(Fault.STALE_MARK)
def stale_mark__transfer(lab: Lab) -> Lie:
    return lab.lie(move(lab), lab.transfer(sender=ALICE))


@case(Fault.STALE_MARK)
def stale_mark__withdrawal(lab: Lab) -> Lie:
    return lab.lie(move(lab), lab.withdraw(account=ALICE))


@case(Fault.STALE_MARK)
def stale_mark__forced_exit(lab: Lab) -> Lie:
    lab.venue.send(lab.contracts.bridge.forceExit, ALICE, 10**6, sender=lab.venue.owners[ALICE])
    lab.sync()
    return lab.lie(move(lab), lab.queue())


# MARGIN
#
# | before | the chunk |
# |---|---|
# | Frank has ten dollars | he makes for a lot |
# | Frank has ten dollars | he takes a lot |
# | Frank holds a lot, short of initial margin since the price fell | he buys another |
# | - | Alice transfers one unit more than is free |
# | - | Alice withdraws one unit more than is free |
# | - | Erin, without positions, transfers one unit more than she has |


@case(Fault.MARGIN)
def margin__of_the_maker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(maker=FRANK))


@case(Fault.MARGIN)
def margin__of_the_taker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(taker=FRANK))


@case(Fault.MARGIN)
def margin__shortfall_grows(lab: Lab) -> Lie:
    lower = PRICE * 98 // 100
    give = lab.transfer(amount=3_500_000, recipient=FRANK)
    lab.post_honest(lab.chunk(give, lab.fill(taker=FRANK)))
    of_both = {"price": lower}
    again = lab.fill(taker=FRANK, of_maker=of_both, of_taker=of_both)
    return lab.lie(lab.observe(BTC, lower), lab.mark(), again)


def compute_free(lab: Lab, account: AccountId) -> int:
    """Return what an account may part with."""
    margin = compute_margin(lab.state, lab.state.accounts[account], lab.time)
    return margin.equity - margin.initial


@case(Fault.MARGIN)
def margin__transfer(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(amount=compute_free(lab, ALICE) + 1, sender=ALICE))


@case(Fault.MARGIN)
def margin__withdrawal(lab: Lab) -> Lie:
    return lab.lie(lab.withdraw(amount=compute_free(lab, ALICE) + 1, account=ALICE))


@case(Fault.MARGIN)
def margin__more_cash_than_there_is(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(amount=RICH + 1))


# HALTED
#
# | before | the chunk |
# |---|---|
# | - | price 20 % up, then a fill |
# | - | price 20 % up, then a mark |
# | - | price 20 % up, then Alice transfers |
# | an hour without prices | a fill |
# | nobody ever observed MOON | a mark of its perpetual |
# | nobody ever observed MOON | a fill of its perpetual |


def jump(lab: Lab) -> Signed[Any]:
    """Return prices 20 % up: past the band of jumps."""
    return lab.observe(BTC, PRICE * 12 // 10)


@case(Fault.HALTED)
def halted__fill_after_a_jump(lab: Lab) -> Lie:
    return lab.lie(jump(lab), lab.fill())


@case(Fault.HALTED)
def halted__mark_after_a_jump(lab: Lab) -> Lie:
    return lab.lie(jump(lab), lab.mark())


@case(Fault.HALTED)
def halted__transfer_after_a_jump(lab: Lab) -> Lie:
    return lab.lie(jump(lab), lab.transfer(sender=ALICE))


@case(Fault.HALTED)
def halted__price_too_old(lab: Lab) -> Lie:
    lab.advance(PARAMS.max_mark_age + 1)
    return lab.lie(lab.fill())


@case(Fault.HALTED)
def halted__mark_of_what_was_never_observed(lab: Lab) -> Lie:
    return lab.lie(lab.mark(MOON_PERP))


@case(Fault.HALTED)
def halted__fill_of_what_was_never_observed(lab: Lab) -> Lie:
    return lab.lie(lab.fill(market=MOON_PERP))


# SELF_TRADE
#
# | maker | taker |
# |---|---|
# | Alice | Alice's second account |
# | Alice | the same account |


@case(Fault.SELF_TRADE)
def self_trade__two_accounts(lab: Lab) -> Lie:
    return lab.lie(lab.fill(taker=ALICE_TOO))


@case(Fault.SELF_TRADE)
def self_trade__one_account(lab: Lab) -> Lie:
    return lab.lie(lab.fill(taker=ALICE))


# ORDER_NONCE
#
# | before | the chunk posts |
# |---|---|
# | both orders were posted by the batch before | both again |
# | the maker's slot holds nonce 101 | the maker's with nonce 100 |
# | the taker's slot holds nonce 101 | the taker's with nonce 101 |
# | the slots were never used | the maker's with nonce 0 |


@case(Fault.ORDER_NONCE)
def order_nonce__replay_in_the_next_batch(lab: Lab) -> Lie:
    fill = lab.fill()
    lab.post_honest(lab.chunk(fill))
    return lab.lie(fill)


@case(Fault.ORDER_NONCE)
def order_nonce__lower_of_the_maker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(), lab.fill(of_maker={"nonce": 100}))


@case(Fault.ORDER_NONCE)
def order_nonce__equal_of_the_taker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(), lab.fill(of_taker={"nonce": 101}))


@case(Fault.ORDER_NONCE)
def order_nonce__zero(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_maker={"nonce": 0}))


# ORDER_EXPIRED: an order cannot be posted after its time, so it rests when it expires
#
# | first chunk | second chunk, ten seconds later |
# |---|---|
# | a fill, the maker's order lives for five seconds | goes on with both |
# | a fill, the taker's order lives for five seconds | goes on with both |


def expire(lab: Lab, **orders: dict[str, object]) -> Lie:
    """Return a batch that goes on with orders of which one has expired."""
    early = Timestamp(lab.time - 10)
    first = lab.fill(**orders)  # type: ignore[arg-type]
    return Lie((lab.chunk(first, clock=early), lab.chunk(lab.fill(posts="none"))))


@case(Fault.ORDER_EXPIRED)
def order_expired__maker(lab: Lab) -> Lie:
    return expire(lab, of_maker={"expiry": Timestamp(lab.time - 5)})


@case(Fault.ORDER_EXPIRED)
def order_expired__taker(lab: Lab) -> Lie:
    return expire(lab, of_taker={"expiry": Timestamp(lab.time - 5)})


# ORDER_EPOCH
#
# | before | the chunk |
# |---|---|
# | - | posts a maker's order of the next epoch |
# | - | posts a taker's order of the next epoch |
# | orders rest; Alice cancels all through L1 | consumes that, then goes on with her order |
# | Bob cancels all through L1 | consumes that, then posts an order he had signed before |


@case(Fault.ORDER_EPOCH)
def order_epoch__next_of_the_maker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_maker={"epoch": 1}))


@case(Fault.ORDER_EPOCH)
def order_epoch__next_of_the_taker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker={"epoch": 1}))


@case(Fault.ORDER_EPOCH)
def order_epoch__resting_order_cancelled(lab: Lab) -> Lie:
    cancel_orders(lab, ALICE)
    return lab.lie(lab.fill(), lab.queue(), lab.fill(posts="none"))


@case(Fault.ORDER_EPOCH)
def order_epoch__signed_order_cancelled(lab: Lab) -> Lie:
    cancel_orders(lab, BOB)
    return lab.lie(lab.queue(), lab.fill())


# ORDER_OVERFILL
#
# | the order | the chunk |
# |---|---|
# | the maker's, of 10 lots | fills 11 at once |
# | the taker's, of 10 lots | fills 11 at once |
# | both, of 10 lots | fills 10, then one |


@case(Fault.ORDER_OVERFILL)
def order_overfill__maker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(lots=11, of_taker={"size": 11}))


@case(Fault.ORDER_OVERFILL)
def order_overfill__taker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(lots=11, of_maker={"size": 11}))


@case(Fault.ORDER_OVERFILL)
def order_overfill__little_by_little(lab: Lab) -> Lie:
    return lab.lie(lab.fill(lots=10), lab.fill(posts="none"))


# ORDER_MISMATCH
#
# | the maker's slot holds | the chunk goes on with |
# |---|---|
# | nothing | an order in it |
# | nothing, the taker's | an order in it |
# | an order in BTC_PERP | an order in BTC_NEXT |
# | an order to sell | an order to buy |


@case(Fault.ORDER_MISMATCH)
def order_mismatch__empty_slot_of_the_maker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(posts="taker"))


@case(Fault.ORDER_MISMATCH)
def order_mismatch__empty_slot_of_the_taker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(posts="maker"))


@case(Fault.ORDER_MISMATCH)
def order_mismatch__other_market(lab: Lab) -> Lie:
    return lab.lie(lab.fill(), lab.fill(market=BTC_NEXT, posts="taker"))


@case(Fault.ORDER_MISMATCH)
def order_mismatch__other_side(lab: Lab) -> Lie:
    return lab.lie(lab.fill(), lab.fill(maker_is_buy=True, posts="taker"))


# PRICE_LIMIT
#
# | maker | taker |
# |---|---|
# | sells a tick above the mark | buys at the mark |
# | buys a tick below the mark | sells at the mark |


@case(Fault.PRICE_LIMIT)
def price_limit__of_the_buyer(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_maker={"price": PRICE + TICK}))


@case(Fault.PRICE_LIMIT)
def price_limit__of_the_seller(lab: Lab) -> Lie:
    return lab.lie(lab.fill(maker_is_buy=True, of_maker={"price": PRICE - TICK}))


# PRICE_BAND
#
# | both orders are |
# |---|
# | a tick more than 3 % above the mark |
# | a tick more than 3 % below the mark |


def price_both(lab: Lab, price: int) -> Lie:
    """Return a fill of two orders at one price."""
    return lab.lie(lab.fill(of_maker={"price": price}, of_taker={"price": price}))


@case(Fault.PRICE_BAND)
def price_band__above(lab: Lab) -> Lie:
    return price_both(lab, PRICE * 103 // 100 + TICK)


@case(Fault.PRICE_BAND)
def price_band__below(lab: Lab) -> Lie:
    return price_both(lab, PRICE * 97 // 100 - TICK)


# TICK
#
# | the order whose price is between two ticks |
# |---|
# | the maker's |
# | the taker's |


@case(Fault.TICK)
def tick__maker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_maker={"price": PRICE - 1}))


@case(Fault.TICK)
def tick__taker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker={"price": PRICE + 1}))


# POST_ONLY
#
# | a post-only order |
# |---|
# | takes when it is posted |
# | rests, then takes |


@case(Fault.POST_ONLY)
def post_only__takes(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker={"post_only": True}))


@case(Fault.POST_ONLY)
def post_only__takes_later(lab: Lab) -> Lie:
    rests = lab.fill(maker=BOB, taker=CAROL, maker_slot=SlotId(101), of_maker={"post_only": True})
    takes = lab.fill(maker=ALICE, taker=BOB, maker_is_buy=True, posts="maker")
    return lab.lie(rests, takes)


# REDUCE_ONLY: Alice is short 10 BTC_PERP, Bob long 10; neither holds BTC_LAST as Bob nor BTC_NEXT
# as Alice
#
# | the order, reduce-only or in a series that is closing | would |
# |---|---|
# | Alice's, of BTC_NEXT, as maker | open |
# | Bob's, of BTC_LAST, as taker | open |
# | Alice's, to sell, as maker | grow |
# | Bob's, to buy, as taker | grow |
# | Alice's, to buy 21, as maker | flip to 11 |
# | Bob's, to sell 11, as taker | flip to 1 |
# | Alice's, in BTC_NEXT that is closing, as maker | open |
# | Bob's, in BTC_LAST that is closing, as taker | open |

REDUCE = {"reduce_only": True}


@case(Fault.REDUCE_ONLY)
def reduce_only__maker_opens(lab: Lab) -> Lie:
    return lab.lie(lab.fill(market=BTC_NEXT, of_maker=REDUCE))


@case(Fault.REDUCE_ONLY)
def reduce_only__taker_opens(lab: Lab) -> Lie:
    return lab.lie(lab.fill(market=BTC_LAST, of_taker=REDUCE))


@case(Fault.REDUCE_ONLY)
def reduce_only__maker_grows(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_maker=REDUCE))


@case(Fault.REDUCE_ONLY)
def reduce_only__taker_grows(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker=REDUCE))


@case(Fault.REDUCE_ONLY)
def reduce_only__maker_flips(lab: Lab) -> Lie:
    of_both = {"size": 21}
    return lab.lie(
        lab.fill(lots=21, maker_is_buy=True, of_maker={**of_both, **REDUCE}, of_taker=of_both)
    )


@case(Fault.REDUCE_ONLY)
def reduce_only__taker_flips(lab: Lab) -> Lie:
    of_both = {"size": 11}
    return lab.lie(
        lab.fill(lots=11, maker_is_buy=True, of_maker=of_both, of_taker={**of_both, **REDUCE})
    )


@case(Fault.REDUCE_ONLY)
def reduce_only__series_is_closing_and_maker_opens(lab: Lab) -> Lie:
    configure(lab, encode_configure_closing(BTC_NEXT, SeriesStatus.CLOSING, 1))
    return lab.lie(lab.queue(), lab.fill(market=BTC_NEXT))


@case(Fault.REDUCE_ONLY)
def reduce_only__series_is_closing_and_taker_opens(lab: Lab) -> Lie:
    configure(lab, list_series(BTC_LAST, BTC, SeriesStatus.CLOSING))
    return lab.lie(lab.queue(), lab.fill(market=BTC_LAST))


# TIME_IN_FORCE
#
# | the chunk |
# |---|
# | an immediate order makes |
# | a fill-or-kill order makes |
# | an immediate order takes, Erin transfers, the order goes on |
# | an immediate order takes, another taker takes, the order goes on |
# | an immediate order takes; it goes on in the next chunk |

IOC, FOK = {"time_in_force": TimeInForce.IOC}, {"time_in_force": TimeInForce.FOK}


def go_on(lab: Lab) -> Signed[Any]:
    """Return a fill in which Bob's order of slot 101 goes on with a second maker."""
    return lab.fill(maker=DAVE, posts="maker")


@case(Fault.TIME_IN_FORCE)
def time_in_force__immediate_order_makes(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_maker=IOC))


@case(Fault.TIME_IN_FORCE)
def time_in_force__fill_or_kill_makes(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_maker=FOK))


@case(Fault.TIME_IN_FORCE)
def time_in_force__after_a_transfer(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker=IOC), lab.transfer(), go_on(lab))


@case(Fault.TIME_IN_FORCE)
def time_in_force__after_another_taker(lab: Lab) -> Lie:
    other = lab.fill(maker=DAVE, taker=CAROL, maker_slot=SlotId(103))
    return lab.lie(lab.fill(of_taker=IOC), other, go_on(lab))


@case(Fault.TIME_IN_FORCE)
def time_in_force__in_the_next_chunk(lab: Lab) -> Lie:
    return Lie((lab.chunk(lab.fill(of_taker=IOC)), lab.chunk(go_on(lab))))


# FILL_OR_KILL
#
# | Bob's fill-or-kill order of 10 lots gets one, then |
# |---|
# | the chunk ends |
# | Erin transfers |
# | Carol takes |
# | Bob takes with another order in the same slot |


@case(Fault.FILL_OR_KILL)
def fill_or_kill__chunk_ends(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker=FOK))


@case(Fault.FILL_OR_KILL)
def fill_or_kill__transfer(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker=FOK), lab.transfer())


@case(Fault.FILL_OR_KILL)
def fill_or_kill__other_taker(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker=FOK), lab.fill(maker=DAVE, taker=CAROL))


@case(Fault.FILL_OR_KILL)
def fill_or_kill__other_order(lab: Lab) -> Lie:
    return lab.lie(lab.fill(of_taker=FOK), lab.fill(maker=DAVE))


# POSITION_LIMIT
#
# | before | the chunk |
# |---|---|
# | governance lists 65 series; Erin trades one lot of 64 of them | she takes a 65th |


@case(Fault.POSITION_LIMIT)
def position_limit__one_more(lab: Lab) -> Lie:
    markets = [MarketId(2_000 + place) for place in range(MAX_POSITIONS + 1)]
    for market in markets:
        lab.venue.send(
            lab.contracts.bridge.configure, list_series(market, ETH), sender=lab.venue.governor
        )
    lab.sync()
    half = len(markets) // 2
    lab.post_honest(
        *(
            lab.chunk(*[lab.queue()] * len(markets[at : at + 10]))
            for at in range(0, len(markets), 10)
        ),
        lab.chunk(lab.mark(markets[0], half)),
        lab.chunk(lab.mark(markets[half], len(markets) - half)),
    )
    makers = (ALICE, BOB, CAROL, DAVE)
    price = {"price": PRICES[ETH]}
    fills = [
        lab.fill(
            maker=makers[place % 4],
            taker=ERIN,
            market=market,
            maker_slot=SlotId(200 + place),
            of_maker=price,
            of_taker=price,
        )
        for place, market in enumerate(markets)
    ]
    # Her margin is checked on every position that she has: few fills fit a chunk.
    lab.post_honest(*(lab.chunk(*fills[at : at + 8]) for at in range(0, MAX_POSITIONS, 8)))
    assert len(lab.state.accounts[ERIN].positions) == MAX_POSITIONS
    return lab.lie(fills[MAX_POSITIONS])


# INACTIVE
#
# | before | the chunk |
# |---|---|
# | CLOSED was listed and never traded | a fill in it |
# | governance stops BTC_NEXT through L1 | consumes that, then a fill in it |


@case(Fault.INACTIVE)
def inactive__never_traded(lab: Lab) -> Lie:
    return lab.lie(lab.fill(market=CLOSED))


@case(Fault.INACTIVE)
def inactive__stopped(lab: Lab) -> Lie:
    configure(lab, list_series(BTC_NEXT, BTC, SeriesStatus.INACTIVE))
    return lab.lie(lab.queue(), lab.fill(market=BTC_NEXT))


# QUORUM: three of five
#
# | the observation | of which are usable |
# |---|---|
# | by two members | two |
# | by nobody | none |
# | by three, eleven minutes old | none |
# | by three, once more in the same second | none |
# | by three, one price far off | two |
# | by three, one price zero | two |


@case(Fault.QUORUM)
def quorum__two(lab: Lab) -> Lie:
    return lab.lie(lab.observe(BTC, PRICE, members=(0, 4)))


@case(Fault.QUORUM)
def quorum__nobody(lab: Lab) -> Lie:
    return lab.lie(lab.observe(BTC, members=()))


@case(Fault.QUORUM)
def quorum__too_old(lab: Lab) -> Lie:
    lab.advance(PARAMS.max_observation_age + 600)
    return lab.lie(lab.observe(BTC, PRICE, age=PARAMS.max_observation_age + 1))


@case(Fault.QUORUM)
def quorum__replayed(lab: Lab) -> Lie:
    seen = lab.observe(BTC, PRICE)
    return lab.lie(seen, seen)


@case(Fault.QUORUM)
def quorum__outlier(lab: Lab) -> Lie:
    return lab.lie(lab.observe(BTC, PRICE, PRICE, PRICE * 102 // 100))


@case(Fault.QUORUM)
def quorum__zero_price(lab: Lab) -> Lie:
    return lab.lie(lab.observe(BTC, PRICE, PRICE, 0))


# UNKNOWN_SIGNER: a member that the committee does not have has no key, so its signature is bad too,
# but for one who left within the chunk
#
# | before | the chunk |
# |---|---|
# | governance shrinks the committee to three through L1 | consumes that; the fifth member signs |


@case(Fault.UNKNOWN_SIGNER)
def unknown_signer__left_within_the_chunk(lab: Lab) -> Lie:
    kept = tuple(member.address for member in lab.venue.committee[:3])
    body = encode_configure(COMMITTEE_TAG, COMMITTEE, encode_committee(Committee(2, kept))[1:])
    configure(lab, body)
    return lab.lie(lab.queue(), lab.observe(BTC, PRICE, members=(0, 1, 4)))


# SELF_TRANSFER, BAD_RECIPIENT
#
# | the chunk |
# |---|
# | Erin transfers to Erin's account |
# | Erin withdraws to the zero address |


@case(Fault.SELF_TRANSFER)
def self_transfer__to_oneself(lab: Lab) -> Lie:
    return lab.lie(lab.transfer(recipient=ERIN))


@case(Fault.BAD_RECIPIENT)
def bad_recipient__zero(lab: Lab) -> Lie:
    return lab.lie(lab.withdraw(recipient=ZERO_ADDRESS))
