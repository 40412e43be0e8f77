"""The codec: one byte string for every meaning, and the same meaning in both twins."""

from functools import cache
from typing import Any

import pytest
from eth_abi import decode
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deltaroll.protocol.bits import (
    BitReader,
    BitWriter,
    decode_bits,
    decode_decimal,
    decode_number,
    encode_bits,
    encode_decimal,
    encode_number,
)
from deltaroll.protocol.codec import (
    decode_chunk,
    decode_header,
    encode_chunk,
    iterate_transactions,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.types import (
    AccountId,
    Address,
    DataFee,
    Distress,
    Fill,
    Fund,
    Kind,
    Liquidate,
    List,
    Mark,
    MarketId,
    Observation,
    Observe,
    Order,
    Queue,
    SetTradingKey,
    SlotId,
    Socialise,
    Surface,
    Sweep,
    TimeInForce,
    Timestamp,
    Transaction,
    Transfer,
    Withdraw,
)
from tests.protocol.evm import Contract

PLAIN_ORDER = "(uint256,bool,uint256,uint256,uint256,uint256,uint256,uint8,bool,bool)"
TYPES = {
    Kind.QUEUE: (),
    Kind.FILL: ("(uint256[7],bytes,bytes)",),
    Kind.TRANSFER: ("(uint256,uint256,uint256,uint256)",),
    Kind.WITHDRAW: ("(uint256,address,uint256,uint256)",),
    Kind.SET_TRADING_KEY: ("(uint256,address,uint256,uint256)",),
    Kind.OBSERVE: ("(uint256,(uint256,uint256,uint256)[])",),
    Kind.MARK: ("(uint256,uint256)",),
    Kind.SURFACE: ("(uint256,uint256,uint256,int256,int256,int256,int256,int256,int256,uint256)",),
    Kind.LIST: ("(uint256,uint256)",),
    Kind.FUND: ("(uint256)",),
    Kind.SWEEP: ("(uint256)",),
    Kind.DISTRESS: ("(uint256)",),
    Kind.LIQUIDATE: ("(uint256,uint256,uint256,uint256,uint256)",),
    Kind.SOCIALISE: ("(uint256)",),
    Kind.DATA_FEE: ("(uint256)",),
}
KINDS: dict[type[Transaction], Kind] = {
    Surface: Kind.SURFACE,
    List: Kind.LIST,
    Fund: Kind.FUND,
    Sweep: Kind.SWEEP,
    Distress: Kind.DISTRESS,
    Liquidate: Kind.LIQUIDATE,
    Socialise: Kind.SOCIALISE,
    DataFee: Kind.DATA_FEE,
}
MAX_CLOCK = (1 << 40) - 1

accounts = st.integers(0, (1 << 24) - 1).map(AccountId)
markets = st.integers(0, (1 << 16) - 1).map(MarketId)
slots = st.integers(0, (1 << 12) - 1).map(SlotId)
addresses = st.binary(min_size=20, max_size=20).map(Address)
lots = st.integers(0, (1 << 31) - 1)
nonces = st.integers(0, (1 << 63) - 1)
fractions = st.integers(-(1 << 63) + 1, (1 << 63) - 1)
shares = st.integers(0, (1 << 20) - 1)


def decimals(bits: int) -> st.SearchStrategy[int]:
    """Amounts, round ones more often than not."""
    top = (1 << bits) - 1
    round_ones = st.builds(
        lambda mantissa, exponent: min(top, mantissa * 10**exponent),
        st.integers(0, 99_999),
        st.integers(0, 25),
    )
    return st.one_of(round_ones, st.integers(0, top))


@st.composite
def orders(draw: st.DrawFn, market: MarketId, is_buy: bool, clock: int) -> Order:
    return Order(
        market,
        is_buy,
        draw(decimals(63)),
        draw(lots),
        draw(lots),
        draw(lots),
        Timestamp(min(MAX_CLOCK, clock + draw(lots))),
        draw(st.sampled_from(TimeInForce)),
        draw(st.booleans()),
        draw(st.booleans()),
    )


@st.composite
def fills(draw: st.DrawFn, clock: int) -> Fill:
    market = draw(markets)
    maker_is_buy = draw(st.booleans())
    return Fill(
        market,
        draw(accounts),
        draw(accounts),
        draw(slots),
        draw(slots),
        maker_is_buy,
        draw(lots),
        draw(st.none() | orders(market, maker_is_buy, clock)),
        draw(st.none() | orders(market, not maker_is_buy, clock)),
    )


@st.composite
def observes(draw: st.DrawFn, clock: int) -> Observe:
    signers = draw(st.sets(st.integers(0, 15)))
    return Observe(
        draw(markets),
        tuple(
            Observation(
                signer,
                draw(decimals(63)),
                Timestamp(clock - draw(st.integers(0, min(clock, (1 << 15) - 1)))),
            )
            for signer in sorted(signers)
        ),
    )


def surfaces(clock: int) -> st.SearchStrategy[Surface]:
    times = st.integers(max(0, clock - (1 << 15) + 1), clock).map(Timestamp)
    signers = st.integers(0, (1 << 16) - 1)
    return st.builds(Surface, markets, signers, nonces, *(fractions for _ in range(6)), times)


@st.composite
def chunks(draw: st.DrawFn) -> tuple[Timestamp, tuple[Transaction, ...]]:
    clock = draw(st.integers(0, MAX_CLOCK))
    transaction = st.one_of(
        st.just(Queue()),
        fills(clock),
        st.builds(Transfer, accounts, accounts, decimals(96), nonces),
        st.builds(Withdraw, accounts, addresses, decimals(96), nonces),
        st.builds(
            SetTradingKey, accounts, addresses, st.integers(0, MAX_CLOCK).map(Timestamp), nonces
        ),
        observes(clock),
        st.builds(Mark, markets, st.integers(1, 128)),
        surfaces(clock),
        st.builds(List, markets, st.integers(0, 255)),
        st.builds(Fund, markets),
        st.builds(Sweep, accounts),
        st.builds(Distress, accounts),
        st.builds(Liquidate, accounts, accounts, shares, shares, nonces),
        st.builds(Socialise, accounts),
        st.builds(DataFee, nonces),
    )
    return Timestamp(clock), tuple(draw(st.lists(transaction, max_size=12)))


@cache
def codec() -> Contract:
    return Contract("CodecHarness")


def plain_order(order: Order | None) -> tuple[Any, ...] | None:
    if order is None:
        return None
    return (
        order.market,
        order.is_buy,
        order.price,
        order.size,
        order.nonce,
        order.epoch,
        order.expiry,
        int(order.time_in_force),
        order.post_only,
        order.reduce_only,
    )


def plain(transaction: Transaction) -> tuple[Any, ...]:
    """A transaction as plain values, led by its kind."""
    match transaction:
        case Queue():
            return (Kind.QUEUE,)
        case Fill():
            return (
                Kind.FILL,
                transaction.market,
                transaction.maker,
                transaction.taker,
                transaction.maker_slot,
                transaction.taker_slot,
                int(transaction.maker_is_buy),
                transaction.lots,
                plain_order(transaction.maker_order),
                plain_order(transaction.taker_order),
            )
        case Transfer():
            return (
                Kind.TRANSFER,
                transaction.sender,
                transaction.recipient,
                transaction.amount,
                transaction.nonce,
            )
        case Withdraw():
            return (
                Kind.WITHDRAW,
                transaction.account,
                "0x" + transaction.recipient.hex(),
                transaction.amount,
                transaction.nonce,
            )
        case SetTradingKey():
            return (
                Kind.SET_TRADING_KEY,
                transaction.account,
                "0x" + transaction.key.hex(),
                transaction.expiry,
                transaction.nonce,
            )
        case Observe():
            entries = tuple((e.signer, e.price, e.time) for e in transaction.observations)
            return (Kind.OBSERVE, transaction.market, entries)
        case Mark():
            return (Kind.MARK, transaction.market, transaction.count)
        case _:
            values = (getattr(transaction, name) for name in transaction.__slots__)
            return (KINDS[type(transaction)], *values)


def decode_solidity(data: bytes) -> tuple[Fault, int, list[tuple[Any, ...]]]:
    fault, clock, encoded = codec().call("decode", data)
    transactions: list[tuple[Any, ...]] = []
    for entry in encoded:
        kind = Kind(entry[31])
        (_, *fields) = decode(("uint8", *TYPES[kind]), entry)
        if kind == Kind.FILL:
            numbers, maker, taker = fields[0]
            posted = [
                decode((PLAIN_ORDER,), order)[0] if order else None for order in (maker, taker)
            ]
            transactions.append((kind, *numbers, *posted))
        else:
            transactions.append((kind, *(fields[0] if fields else ())))
    return Fault(fault), clock, transactions


def decode_python(data: bytes) -> tuple[Fault, int, list[tuple[Any, ...]]]:
    clock = 0
    transactions: list[tuple[Any, ...]] = []
    try:
        decoder = decode_header(data)
        clock = decoder.clock
        # One by one: those before the fault stay.
        transactions.extend(map(plain, iterate_transactions(decoder)))
    except TransitionFault as problem:
        return problem.fault, clock, transactions
    return Fault.NONE, clock, transactions


@settings(max_examples=150, deadline=None)
@given(chunks())
def test_decode__encoded_chunk__same_transactions_in_both_twins(
    chunk: tuple[Timestamp, tuple[Transaction, ...]],
) -> None:
    clock, transactions = chunk
    data = encode_chunk(clock, transactions)
    assert decode_chunk(data) == chunk
    assert decode_solidity(data) == (Fault.NONE, clock, [plain(entry) for entry in transactions])


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=120))
@example(b"")
def test_decode__random_bytes__same_prefix_and_fault_in_both_twins(data: bytes) -> None:
    assert decode_solidity(data) == decode_python(data)


@settings(max_examples=400, deadline=None)
@given(chunks(), st.data())
def test_decode__damaged_chunk__same_prefix_and_fault_in_both_twins(
    chunk: tuple[Timestamp, tuple[Transaction, ...]], draw: st.DataObject
) -> None:
    data = bytearray(encode_chunk(*chunk))
    for _ in range(draw.draw(st.integers(0, 3))):
        bit = draw.draw(st.integers(0, len(data) * 8 - 1))
        data[bit // 8] ^= 0x80 >> bit % 8
    damaged = bytes(data[: draw.draw(st.integers(len(data) - 3, len(data)))])
    damaged += draw.draw(st.binary(max_size=2))
    assert decode_solidity(damaged) == decode_python(damaged)


@settings(max_examples=500, deadline=None)
@given(chunks(), st.integers(min_value=0))
def test_decode__bytes_that_decode__are_the_encoding_of_what_they_mean(
    chunk: tuple[Timestamp, tuple[Transaction, ...]], flip: int
) -> None:
    data = bytearray(encode_chunk(*chunk))
    bit = flip % (len(data) * 8)
    data[bit // 8] ^= 0x80 >> bit % 8
    try:
        clock, transactions = decode_chunk(bytes(data))
    except TransitionFault:
        return
    assert encode_chunk(clock, transactions) == bytes(data)


def header(clock: int = 1000) -> BitWriter:
    """A chunk that names account 1 and market 0."""
    writer = BitWriter()
    encode_bits(writer, clock, 40)
    for first, width in ((1, 24), (0, 16)):
        encode_number(writer, 1, 8)
        encode_number(writer, first, width)
    return writer


def test_decode_table__gap_past_the_width__out_of_range() -> None:
    writer = BitWriter()
    encode_bits(writer, 0, 40)
    encode_number(writer, 2, 8)
    encode_number(writer, (1 << 24) - 1, 24)
    encode_number(writer, 0, 24)
    data = writer.to_bytes()
    assert decode_python(data)[0] == Fault.OUT_OF_RANGE
    assert decode_solidity(data)[0] == Fault.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ((), Fault.NON_CANONICAL),
        ((Kind.TRANSFER,), Fault.NON_CANONICAL),
        ((Kind.MARK,), Fault.NON_CANONICAL),
        ((Kind.TRANSFER, Kind.MARK), Fault.NONE),
    ],
)
def test_decode_end__table_entry_without_use__non_canonical(
    kind: tuple[Kind, ...], expected: Fault
) -> None:
    writer = header()
    for each in kind:
        # One entry in each table: a reference to it takes no bits.
        encode_bits(writer, each, 4)
        if each == Kind.TRANSFER:
            encode_decimal(writer, 1, 96)
            encode_number(writer, 1, 63)
        else:
            encode_number(writer, 0, 7)
    encode_bits(writer, Kind.END, 4)
    data = writer.to_bytes()
    assert decode_python(data)[0] == expected
    assert decode_solidity(data)[0] == expected


@pytest.mark.parametrize("value", [-1, -10, 1 << 63, 10**19])
def test_encode_decimal__beyond_its_width__is_an_error_and_writes_nothing(value: int) -> None:
    """Without its zeros 10^19 would fit, and nobody could read it."""
    writer = header()
    before = len(writer)
    with pytest.raises(ValueError, match=f"^{value} does not fit 63 bits$"):
        encode_decimal(writer, value, 63)
    assert len(writer) == before


def test_decode_account__empty_table__bad_index() -> None:
    writer = BitWriter()
    encode_bits(writer, 0, 40)
    encode_bits(writer, 0, 8)
    encode_bits(writer, Kind.TRANSFER, 4)
    data = writer.to_bytes() + bytes(20)
    assert decode_python(data)[0] == Fault.BAD_INDEX
    assert decode_solidity(data)[0] == Fault.BAD_INDEX


@pytest.mark.parametrize("time_in_force", [2, 3])
@pytest.mark.parametrize("clock", [1000, MAX_CLOCK - 3])
@pytest.mark.parametrize("life", [3, 4])
def test_decode_order__edges__same_in_both_twins(time_in_force: int, clock: int, life: int) -> None:
    writer = header(clock)
    encode_bits(writer, Kind.FILL, 4)
    encode_number(writer, 7, 12)
    encode_number(writer, 8, 12)
    encode_bits(writer, 1, 1)
    encode_number(writer, 5, 31)
    encode_bits(writer, 0b10, 2)
    encode_decimal(writer, 1_000_000, 63)
    for value in (9, 1, 0, life):
        encode_number(writer, value, 31)
    encode_bits(writer, time_in_force, 2)
    encode_bits(writer, 0, 2)
    encode_bits(writer, Kind.END, 4)
    data = writer.to_bytes()
    # What is wrong first decides: an expiry that no leaf holds comes before the time in force.
    expected = Fault.NONE
    if clock + life > MAX_CLOCK:
        expected = Fault.OUT_OF_RANGE
    elif time_in_force == 3:
        expected = Fault.NON_CANONICAL
    assert decode_python(data)[0] == expected
    assert decode_solidity(data) == decode_python(data)


@pytest.mark.parametrize("magnitude", [0, 1, (1 << 63) - 1])
@pytest.mark.parametrize("is_negative", [0, 1])
def test_decode_signed__negative_zero__non_canonical(is_negative: int, magnitude: int) -> None:
    writer = BitWriter()
    encode_bits(writer, 1000, 40)
    encode_number(writer, 0, 8)
    encode_number(writer, 1, 8)
    encode_number(writer, 0, 16)
    encode_bits(writer, Kind.SURFACE, 4)
    encode_bits(writer, 0b101, 16)
    encode_number(writer, 7, 63)
    for _ in range(6):
        encode_bits(writer, is_negative, 1)
        encode_number(writer, magnitude, 63)
    encode_number(writer, 3, 15)
    encode_bits(writer, Kind.END, 4)
    data = writer.to_bytes()
    expected = Fault.NON_CANONICAL if is_negative and not magnitude else Fault.NONE
    fault, clock, found = decode_solidity(data)
    assert (fault, clock, found) == decode_python(data)
    assert fault == expected
    if fault == Fault.NONE:
        value = -magnitude if is_negative else magnitude
        assert found == [(Kind.SURFACE, 0, 0b101, 7, *(6 * (value,)), 997)]


@pytest.mark.parametrize("amount", [(1 << 96) - 1, 1 << 96, (1 << 96) + 1, (1 << 97) - 1])
@pytest.mark.parametrize("kind", [Kind.TRANSFER, Kind.WITHDRAW])
def test_decode_amount__more_than_its_width__out_of_range(kind: Kind, amount: int) -> None:
    writer = BitWriter()
    encode_bits(writer, 1000, 40)
    accounts = 2 if kind == Kind.TRANSFER else 1
    encode_number(writer, accounts, 8)
    for _ in range(accounts):
        encode_number(writer, 0, 24)
    encode_number(writer, 0, 8)
    encode_bits(writer, kind, 4)
    if kind == Kind.TRANSFER:
        encode_bits(writer, 0b01, 2)
    else:
        encode_bits(writer, 7, 160)
    encode_bits(writer, 0, 4)
    encode_number(writer, amount, 97)
    encode_number(writer, 1, 63)
    encode_bits(writer, Kind.END, 4)
    data = writer.to_bytes()
    assert decode_solidity(data) == decode_python(data)
    assert (decode_python(data)[0] == Fault.NONE) == (amount < 1 << 96)


def test_decode_surface__older_than_the_clock__non_canonical() -> None:
    surface = Surface(MarketId(3), 1, 1, 1, 1, 1, 1, 1, 1, Timestamp(0))
    data = encode_chunk(Timestamp(5), (surface,))
    assert decode_solidity(data)[0] == Fault.NONE
    earlier = (4).to_bytes(5, "big") + data[5:]
    assert decode_python(earlier)[0] == Fault.NON_CANONICAL
    assert decode_solidity(earlier)[0] == Fault.NON_CANONICAL


def test_decode_observe__several_in_one_chunk__each_has_its_own() -> None:
    # The Solidity twin keeps one place in memory for all of them.
    observes = tuple(
        Observe(
            MarketId(3),
            tuple(Observation(signer, 10 + count, Timestamp(99)) for signer in range(count)),
        )
        for count in (0, 16, 0, 2, 5)
    )
    data = encode_chunk(Timestamp(100), observes)
    assert decode_solidity(data) == (Fault.NONE, 100, [plain(entry) for entry in observes])


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=40),
    st.integers(0, 30),
    st.sampled_from(
        [(0, width) for width in (0, 1, 4, 40, 160, 241, 248)]
        + [(form, width) for form in (1, 2) for width in (4, 7, 8, 15, 16, 24, 31, 32, 63, 64, 96)]
    ),
)
def test_decode_bits__any_field__same_value_position_and_fault_in_both_twins(
    data: bytes, skip: int, field: tuple[int, int]
) -> None:
    form, width = field
    reader = BitReader(data)
    start = value = 0
    fault = Fault.NONE
    try:
        decode_bits(reader, skip)
        start = reader.position
        value = (decode_bits, decode_number, decode_decimal)[form](reader, width)
    except TransitionFault as problem:
        fault = problem.fault
    found = codec().call("read", data, skip, form, width)
    if fault == Fault.NONE:
        assert found == (Fault.NONE, value, reader.position - start)
    else:
        assert found[0] == fault


@pytest.mark.parametrize("value", [-1, -(1 << 12), 1 << 12, 1 << 40])
def test_encode_number__out_of_its_width__value_error(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_number(BitWriter(), value, 12)
