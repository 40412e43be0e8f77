"""Chunk data: clock, account table, market table, transactions, end mark.

Bit-packed and canonical. Accounts and markets are named by their place in a table at the head of
the chunk, so a busy account costs a few bits per mention. Tables are strictly ascending and every
entry is used. Prices and amounts are exact decimals. Nothing needs the state to be decoded, so a
signature can be checked on its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

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
from deltaroll.protocol.constants import ACCOUNT_DEPTH, MARKET_DEPTH, MAX_SIGNERS, SLOT_DEPTH
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

CLOCK_BITS = 40
KIND_BITS = 4
TABLE_BITS = 8
MAX_TABLE = (1 << TABLE_BITS) - 1
"""At most 255 accounts and 255 markets a chunk."""
LOTS_BITS = 31
PRICE_BITS = 63
AMOUNT_BITS = 96
NONCE_BITS = 31
EPOCH_BITS = 31
EXPIRY_BITS = 31
ACTION_NONCE_BITS = 63
ADDRESS_BITS = 160
AGE_BITS = 15
COUNT_BITS = 7
"""Series of one Mark beyond the first: at most 127 more."""
FRACTION_BITS = 63
"""Absolute value of a Q48 number."""
OFFSET_BITS = 8
SHARE_BITS = 20
"""Parts per million."""


@dataclass(slots=True)
class Decoder:
    """A chunk being read."""

    reader: BitReader
    clock: Timestamp
    accounts: tuple[AccountId, ...] = ()
    markets: tuple[MarketId, ...] = ()
    used_accounts: set[int] = field(default_factory=set)
    used_markets: set[int] = field(default_factory=set)


def decode_table(reader: BitReader, width: int, most: int) -> tuple[int, ...]:
    """Read a strictly ascending table: length, first id, then differences less one.

    Raises
    ------
    TransitionFault
        TRUNCATED; NON_CANONICAL, also for more than `most` entries; OUT_OF_RANGE when an id needs
        more than `width` bits.
    """
    count = decode_number(reader, TABLE_BITS)
    if count > most:
        raise TransitionFault(Fault.NON_CANONICAL)
    ids: list[int] = []
    value = -1
    for _ in range(count):
        value += decode_number(reader, width) + 1
        if value >> width != 0:
            raise TransitionFault(Fault.OUT_OF_RANGE)
        ids.append(value)
    return tuple(ids)


def decode_header(
    data: bytes, most_accounts: int = MAX_TABLE, most_markets: int = MAX_TABLE
) -> Decoder:
    """Read the clock and both tables, which may be held to fewer entries than the codec allows."""
    reader = BitReader(data)
    decoder = Decoder(reader, Timestamp(decode_bits(reader, CLOCK_BITS)))
    accounts = decode_table(reader, ACCOUNT_DEPTH, most_accounts)
    markets = decode_table(reader, MARKET_DEPTH, most_markets)
    decoder.accounts = tuple(AccountId(i) for i in accounts)
    decoder.markets = tuple(MarketId(i) for i in markets)
    return decoder


def decode_index(reader: BitReader, size: int) -> int:
    """Read a reference into a table of `size` entries.

    Raises
    ------
    TransitionFault
        TRUNCATED; BAD_INDEX when there is no such entry.
    """
    index = decode_bits(reader, (size - 1).bit_length() if size else 0)
    if index >= size:
        raise TransitionFault(Fault.BAD_INDEX)
    return index


def decode_account(decoder: Decoder) -> AccountId:
    """Read an account reference."""
    index = decode_index(decoder.reader, len(decoder.accounts))
    decoder.used_accounts.add(index)
    return decoder.accounts[index]


def decode_market(decoder: Decoder) -> MarketId:
    """Read a market reference."""
    index = decode_index(decoder.reader, len(decoder.markets))
    decoder.used_markets.add(index)
    return decoder.markets[index]


def decode_order(decoder: Decoder, market: MarketId, is_buy: bool) -> Order:
    """Read the fields of an order that the fill itself does not say.

    Raises
    ------
    TransitionFault
        TRUNCATED, NON_CANONICAL (also for time in force 3), OUT_OF_RANGE.
    """
    reader = decoder.reader
    price = decode_decimal(reader, PRICE_BITS)
    size = decode_number(reader, LOTS_BITS)
    nonce = decode_number(reader, NONCE_BITS)
    epoch = decode_number(reader, EPOCH_BITS)
    expiry = Timestamp(decoder.clock + decode_number(reader, EXPIRY_BITS))
    if expiry >> CLOCK_BITS != 0:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    time_in_force = decode_bits(reader, 2)
    if time_in_force > TimeInForce.FOK:
        raise TransitionFault(Fault.NON_CANONICAL)
    post_only = decode_bits(reader, 1) == 1
    reduce_only = decode_bits(reader, 1) == 1
    return Order(
        market,
        is_buy,
        price,
        size,
        nonce,
        epoch,
        expiry,
        TimeInForce(time_in_force),
        post_only,
        reduce_only,
    )


def decode_fill(decoder: Decoder) -> Fill:
    """Read a fill: market, accounts, slots, side, lots, then each order that is posted here."""
    reader = decoder.reader
    market = decode_market(decoder)
    maker = decode_account(decoder)
    taker = decode_account(decoder)
    maker_slot = SlotId(decode_number(reader, SLOT_DEPTH))
    taker_slot = SlotId(decode_number(reader, SLOT_DEPTH))
    maker_is_buy = decode_bits(reader, 1) == 1
    lots = decode_number(reader, LOTS_BITS)
    has_maker_order = decode_bits(reader, 1) == 1
    has_taker_order = decode_bits(reader, 1) == 1
    maker_order = decode_order(decoder, market, maker_is_buy) if has_maker_order else None
    taker_order = decode_order(decoder, market, not maker_is_buy) if has_taker_order else None
    return Fill(
        market, maker, taker, maker_slot, taker_slot, maker_is_buy, lots, maker_order, taker_order
    )


def decode_transfer(decoder: Decoder) -> Transfer:
    """Read a transfer: sender, recipient, amount, nonce."""
    sender = decode_account(decoder)
    recipient = decode_account(decoder)
    amount = decode_decimal(decoder.reader, AMOUNT_BITS)
    nonce = decode_number(decoder.reader, ACTION_NONCE_BITS)
    return Transfer(sender, recipient, amount, nonce)


def decode_withdraw(decoder: Decoder) -> Withdraw:
    """Read a withdrawal: account, recipient, amount, nonce."""
    account = decode_account(decoder)
    recipient = Address(decode_bits(decoder.reader, ADDRESS_BITS).to_bytes(20, "big"))
    amount = decode_decimal(decoder.reader, AMOUNT_BITS)
    nonce = decode_number(decoder.reader, ACTION_NONCE_BITS)
    return Withdraw(account, recipient, amount, nonce)


def decode_set_trading_key(decoder: Decoder) -> SetTradingKey:
    """Read a change of key: account, key, absolute expiry, nonce."""
    account = decode_account(decoder)
    key = Address(decode_bits(decoder.reader, ADDRESS_BITS).to_bytes(20, "big"))
    expiry = Timestamp(decode_bits(decoder.reader, CLOCK_BITS))
    nonce = decode_number(decoder.reader, ACTION_NONCE_BITS)
    return SetTradingKey(account, key, expiry, nonce)


def decode_observe(decoder: Decoder) -> Observe:
    """Read observations: market, bitmap of members, then price and age of each.

    An age is seconds before the chunk's clock, so that a price from the future has no encoding; one
    older than the clock itself is NON_CANONICAL.
    """
    reader = decoder.reader
    market = decode_market(decoder)
    bitmap = decode_bits(reader, MAX_SIGNERS)
    observations: list[Observation] = []
    for signer in range(MAX_SIGNERS):
        if bitmap >> signer & 1 == 0:
            continue
        price = decode_decimal(reader, PRICE_BITS)
        age = decode_number(reader, AGE_BITS)
        if age > decoder.clock:
            raise TransitionFault(Fault.NON_CANONICAL)
        observations.append(Observation(signer, price, Timestamp(decoder.clock - age)))
    return Observe(market, tuple(observations))


def decode_mark(decoder: Decoder) -> Mark:
    """Read a mark: first series, number of further ones."""
    market = decode_market(decoder)
    return Mark(market, decode_number(decoder.reader, COUNT_BITS) + 1)


def decode_signed(reader: BitReader, width: int) -> int:
    """Read a sign bit, then an absolute value below 2^width.

    Raises
    ------
    TransitionFault
        TRUNCATED; NON_CANONICAL, also for a negative zero.
    """
    is_negative = decode_bits(reader, 1) == 1
    value = decode_number(reader, width)
    if is_negative and value == 0:
        raise TransitionFault(Fault.NON_CANONICAL)
    return -value if is_negative else value


def decode_surface(decoder: Decoder) -> Surface:
    """Read a surface: expiry, bitmap of members, forward ratio, rate, five parameters, age.

    An age is seconds before the chunk's clock; one older than the clock itself is NON_CANONICAL.
    """
    reader = decoder.reader
    market = decode_market(decoder)
    signers = decode_bits(reader, MAX_SIGNERS)
    ratio = decode_number(reader, FRACTION_BITS)
    rate = decode_signed(reader, FRACTION_BITS)
    a = decode_signed(reader, FRACTION_BITS)
    b = decode_signed(reader, FRACTION_BITS)
    rho = decode_signed(reader, FRACTION_BITS)
    m = decode_signed(reader, FRACTION_BITS)
    sigma = decode_signed(reader, FRACTION_BITS)
    age = decode_number(reader, AGE_BITS)
    if age > decoder.clock:
        raise TransitionFault(Fault.NON_CANONICAL)
    time = Timestamp(decoder.clock - age)
    return Surface(market, signers, ratio, rate, a, b, rho, m, sigma, time)


def decode_list(decoder: Decoder) -> List:
    """Read a listing: underlying, how many expiries ahead."""
    market = decode_market(decoder)
    return List(market, decode_number(decoder.reader, OFFSET_BITS))


def decode_liquidate(decoder: Decoder) -> Liquidate:
    """Read a liquidation: liquidator, target, share, least reward, nonce."""
    account = decode_account(decoder)
    target = decode_account(decoder)
    share = decode_number(decoder.reader, SHARE_BITS)
    reward = decode_number(decoder.reader, SHARE_BITS)
    nonce = decode_number(decoder.reader, ACTION_NONCE_BITS)
    return Liquidate(account, target, share, reward, nonce)


def decode_data_fee(decoder: Decoder) -> DataFee:
    """Read a price of data: four zero bits, the fee.

    Raises
    ------
    TransitionFault
        TRUNCATED, NON_CANONICAL; UNKNOWN_KIND for other bits: they are kept for kinds to come.
    """
    if decode_bits(decoder.reader, KIND_BITS) != 0:
        raise TransitionFault(Fault.UNKNOWN_KIND)
    return DataFee(decode_number(decoder.reader, FRACTION_BITS))


def decode_end(decoder: Decoder) -> None:
    """Check what follows the end mark: zero padding and nothing else, every table entry used.

    Raises
    ------
    TransitionFault
        TRAILING_BYTES; NON_CANONICAL for padding that is not zero or an unused table entry.
    """
    reader = decoder.reader
    if reader.remaining >= 8:
        raise TransitionFault(Fault.TRAILING_BYTES)
    if decode_bits(reader, reader.remaining) != 0:
        raise TransitionFault(Fault.NON_CANONICAL)
    if len(decoder.used_accounts) != len(decoder.accounts):
        raise TransitionFault(Fault.NON_CANONICAL)
    if len(decoder.used_markets) != len(decoder.markets):
        raise TransitionFault(Fault.NON_CANONICAL)


def decode_transaction(decoder: Decoder) -> Transaction | None:
    """Read the next transaction; None at the end mark, whose padding is then checked too.

    Raises
    ------
    TransitionFault
        Any of the decoder's; UNKNOWN_KIND.
    """
    kind = decode_bits(decoder.reader, KIND_BITS)
    match kind:
        case Kind.END:
            decode_end(decoder)
            return None
        case Kind.QUEUE:
            return Queue()
        case Kind.FILL:
            return decode_fill(decoder)
        case Kind.TRANSFER:
            return decode_transfer(decoder)
        case Kind.WITHDRAW:
            return decode_withdraw(decoder)
        case Kind.SET_TRADING_KEY:
            return decode_set_trading_key(decoder)
        case Kind.OBSERVE:
            return decode_observe(decoder)
        case Kind.MARK:
            return decode_mark(decoder)
        case Kind.SURFACE:
            return decode_surface(decoder)
        case Kind.LIST:
            return decode_list(decoder)
        case Kind.FUND:
            return Fund(decode_market(decoder))
        case Kind.SWEEP:
            return Sweep(decode_account(decoder))
        case Kind.DISTRESS:
            return Distress(decode_account(decoder))
        case Kind.LIQUIDATE:
            return decode_liquidate(decoder)
        case Kind.SOCIALISE:
            return Socialise(decode_account(decoder))
        case Kind.DATA_FEE:
            return decode_data_fee(decoder)
        case _:
            raise TransitionFault(Fault.UNKNOWN_KIND)


def decode_chunk(data: bytes) -> tuple[Timestamp, tuple[Transaction, ...]]:
    """Read a whole chunk: its clock and its transactions."""
    decoder = decode_header(data)
    return decoder.clock, tuple(iterate_transactions(decoder))


def iterate_transactions(decoder: Decoder) -> Iterator[Transaction]:
    """Yield transactions up to the end mark."""
    while (transaction := decode_transaction(decoder)) is not None:
        yield transaction


def encode_table(writer: BitWriter, ids: Sequence[int], width: int) -> None:
    """Append what `decode_table` reads; `ids` strictly ascending."""
    encode_number(writer, len(ids), TABLE_BITS)
    previous = -1
    for value in ids:
        encode_number(writer, value - previous - 1, width)
        previous = value


def compute_tables(
    transactions: Sequence[Transaction],
) -> tuple[list[AccountId], list[MarketId]]:
    """Return the accounts and markets that transactions name, ascending."""
    accounts: set[AccountId] = set()
    markets: set[MarketId] = set()
    for transaction in transactions:
        match transaction:
            case Fill():
                accounts.update((transaction.maker, transaction.taker))
                markets.add(transaction.market)
            case Transfer():
                accounts.update((transaction.sender, transaction.recipient))
            case Withdraw() | SetTradingKey() | Sweep() | Distress() | Socialise():
                accounts.add(transaction.account)
            case Liquidate():
                accounts.update((transaction.account, transaction.target))
            case Observe() | Mark() | Surface() | List() | Fund():
                markets.add(transaction.market)
            case Queue() | DataFee():
                pass
    return sorted(accounts), sorted(markets)


def encode_order(writer: BitWriter, order: Order, clock: Timestamp) -> None:
    """Append what `decode_order` reads; ValueError when the order has expired."""
    encode_decimal(writer, order.price, PRICE_BITS)
    encode_number(writer, order.size, LOTS_BITS)
    encode_number(writer, order.nonce, NONCE_BITS)
    encode_number(writer, order.epoch, EPOCH_BITS)
    encode_number(writer, order.expiry - clock, EXPIRY_BITS)
    encode_bits(writer, order.time_in_force, 2)
    encode_bits(writer, order.post_only, 1)
    encode_bits(writer, order.reduce_only, 1)


def encode_signed(writer: BitWriter, value: int, width: int) -> None:
    """Append what `decode_signed` reads; ValueError when it does not fit."""
    encode_bits(writer, value < 0, 1)
    encode_number(writer, abs(value), width)


def encode_chunk(clock: Timestamp, transactions: Sequence[Transaction]) -> bytes:
    """Return the one byte string that means `transactions` at `clock`.

    Raises
    ------
    ValueError
        When a value does not fit its field, or an order or observation lies on the wrong side of
        `clock`.
    """
    accounts, markets = compute_tables(transactions)
    account_index = {account: index for index, account in enumerate(accounts)}
    market_index = {market: index for index, market in enumerate(markets)}
    account_bits = (len(accounts) - 1).bit_length() if accounts else 0
    market_bits = (len(markets) - 1).bit_length() if markets else 0
    writer = BitWriter()
    encode_bits(writer, clock, CLOCK_BITS)
    encode_table(writer, accounts, ACCOUNT_DEPTH)
    encode_table(writer, markets, MARKET_DEPTH)

    def put_account(account: AccountId) -> None:
        encode_bits(writer, account_index[account], account_bits)

    def put_market(market: MarketId) -> None:
        encode_bits(writer, market_index[market], market_bits)

    for transaction in transactions:
        match transaction:
            case Queue():
                encode_bits(writer, Kind.QUEUE, KIND_BITS)
            case Fill():
                encode_bits(writer, Kind.FILL, KIND_BITS)
                put_market(transaction.market)
                put_account(transaction.maker)
                put_account(transaction.taker)
                encode_number(writer, transaction.maker_slot, SLOT_DEPTH)
                encode_number(writer, transaction.taker_slot, SLOT_DEPTH)
                encode_bits(writer, transaction.maker_is_buy, 1)
                encode_number(writer, transaction.lots, LOTS_BITS)
                encode_bits(writer, transaction.maker_order is not None, 1)
                encode_bits(writer, transaction.taker_order is not None, 1)
                for order in (transaction.maker_order, transaction.taker_order):
                    if order is not None:
                        encode_order(writer, order, clock)
            case Transfer():
                encode_bits(writer, Kind.TRANSFER, KIND_BITS)
                put_account(transaction.sender)
                put_account(transaction.recipient)
                encode_decimal(writer, transaction.amount, AMOUNT_BITS)
                encode_number(writer, transaction.nonce, ACTION_NONCE_BITS)
            case Withdraw():
                encode_bits(writer, Kind.WITHDRAW, KIND_BITS)
                put_account(transaction.account)
                encode_bits(writer, int.from_bytes(transaction.recipient, "big"), ADDRESS_BITS)
                encode_decimal(writer, transaction.amount, AMOUNT_BITS)
                encode_number(writer, transaction.nonce, ACTION_NONCE_BITS)
            case SetTradingKey():
                encode_bits(writer, Kind.SET_TRADING_KEY, KIND_BITS)
                put_account(transaction.account)
                encode_bits(writer, int.from_bytes(transaction.key, "big"), ADDRESS_BITS)
                encode_bits(writer, transaction.expiry, CLOCK_BITS)
                encode_number(writer, transaction.nonce, ACTION_NONCE_BITS)
            case Observe():
                encode_bits(writer, Kind.OBSERVE, KIND_BITS)
                put_market(transaction.market)
                bitmap = sum(1 << entry.signer for entry in transaction.observations)
                encode_bits(writer, bitmap, MAX_SIGNERS)
                for entry in transaction.observations:
                    encode_decimal(writer, entry.price, PRICE_BITS)
                    encode_number(writer, clock - entry.time, AGE_BITS)
            case Mark():
                encode_bits(writer, Kind.MARK, KIND_BITS)
                put_market(transaction.market)
                encode_number(writer, transaction.count - 1, COUNT_BITS)
            case Surface():
                encode_bits(writer, Kind.SURFACE, KIND_BITS)
                put_market(transaction.market)
                encode_bits(writer, transaction.signers, MAX_SIGNERS)
                encode_number(writer, transaction.ratio, FRACTION_BITS)
                for fraction in (
                    transaction.rate,
                    transaction.a,
                    transaction.b,
                    transaction.rho,
                    transaction.m,
                    transaction.sigma,
                ):
                    encode_signed(writer, fraction, FRACTION_BITS)
                encode_number(writer, clock - transaction.time, AGE_BITS)
            case List():
                encode_bits(writer, Kind.LIST, KIND_BITS)
                put_market(transaction.market)
                encode_number(writer, transaction.offset, OFFSET_BITS)
            case Fund():
                encode_bits(writer, Kind.FUND, KIND_BITS)
                put_market(transaction.market)
            case Sweep():
                encode_bits(writer, Kind.SWEEP, KIND_BITS)
                put_account(transaction.account)
            case Distress():
                encode_bits(writer, Kind.DISTRESS, KIND_BITS)
                put_account(transaction.account)
            case Liquidate():
                encode_bits(writer, Kind.LIQUIDATE, KIND_BITS)
                put_account(transaction.account)
                put_account(transaction.target)
                encode_number(writer, transaction.share, SHARE_BITS)
                encode_number(writer, transaction.reward, SHARE_BITS)
                encode_number(writer, transaction.nonce, ACTION_NONCE_BITS)
            case Socialise():
                encode_bits(writer, Kind.SOCIALISE, KIND_BITS)
                put_account(transaction.account)
            case DataFee():
                encode_bits(writer, Kind.DATA_FEE, KIND_BITS)
                encode_bits(writer, 0, KIND_BITS)
                encode_number(writer, transaction.fee, FRACTION_BITS)
    encode_bits(writer, Kind.END, KIND_BITS)
    return writer.to_bytes()
