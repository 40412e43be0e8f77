"""For every rule about the form of a chunk, chunks that break just that one: data, clock, queue,
weight, root, signatures.
"""

from __future__ import annotations

from deltaroll.protocol.codec import KIND_BITS, decode_header
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.listing import create_series
from deltaroll.protocol.state import set_market
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    DataFee,
    Expiry,
    Kind,
    Mark,
    MarketId,
    SeriesKind,
    SeriesStatus,
)
from tests.adversary.completeness_arena import SPARE, SURFACED, Arena
from tests.adversary.completeness_lies import (
    Lie,
    breaks,
    change_surface,
    list_new,
    make_fill,
    make_liquidate,
    make_transfer,
    make_withdraw,
    plain,
    set_equity,
)
from tests.protocol.scenes import PRICE

NOTHING = DataFee(0)
"""The last of a chunk whose data is spoilt behind it."""
NOTHING_BITS = "1111" + "0000" + "000000"
END_BITS = "0000"
MESSAGE = (9, ZERO_ADDRESS, b"\xff" * 1024)


def to_bits(data: bytes) -> str:
    """Return data as a string of bits."""
    return f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}"


def to_data(bits: str) -> bytes:
    """Return the data of a string of bits, padded with zeros."""
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def split_nothing(data: bytes) -> str:
    """Return what stands before the last transaction, which is `NOTHING`: its kind has the last
    bits that are set.
    """
    bits = to_bits(data).rstrip("0")
    assert bits.endswith("1" * KIND_BITS)
    return bits[:-KIND_BITS]


# Data


def cut(data: bytes) -> bytes:
    """Cut the end mark off, and what stands in its byte."""
    return data[:-1]


@breaks(Fault.TRUNCATED)
def data_is_cut(arena: Arena) -> Lie:
    return Lie((make_withdraw(arena), NOTHING) if arena.is_large else (NOTHING,), cut)


def lengthen(data: bytes) -> bytes:
    """Add a byte behind the end."""
    return data + b"\0"


@breaks(Fault.TRAILING_BYTES)
def data_goes_on(arena: Arena) -> Lie:
    return Lie((make_withdraw(arena), NOTHING) if arena.is_large else (NOTHING,), lengthen)


def set_padding(data: bytes) -> bytes:
    """Set the last bit behind the end mark; where there is none, after one transaction more."""
    bits = split_nothing(data) + NOTHING_BITS
    if (len(bits) + len(END_BITS)) % 8 == 0:
        bits += NOTHING_BITS
    bits += END_BITS
    return to_data(bits + "0" * (-len(bits) % 8 - 1) + "1")


@breaks(Fault.NON_CANONICAL)
def padding_is_not_zero(arena: Arena) -> Lie:
    return Lie((make_withdraw(arena), NOTHING) if arena.is_large else (NOTHING,), set_padding)


def change_market(data: bytes) -> bytes:
    """Let the last transaction, a Mark of one series, name the series before its own."""
    bits = to_bits(data)
    count = len(decode_header(data).markets)
    width = (count - 1).bit_length()
    kind = f"{Kind.MARK:0{KIND_BITS}b}"
    last = kind + f"{count - 1:0{width}b}" + "000" + END_BITS
    at = bits.rindex(last)
    assert not bits[at + len(last) :].strip("0")
    changed = kind + f"{count - 2:0{width}b}" + "000" + END_BITS
    return to_data(bits[:at] + changed)


@breaks(Fault.NON_CANONICAL)
def table_names_what_nothing_uses(arena: Arena) -> Lie:
    """The last market of the table; the one before it is marked instead, which does no harm."""
    first, second = list_new(arena, 2)
    return Lie((Mark(first, 1), Mark(second, 1)), change_market)


def name_a_kind_to_come(data: bytes) -> bytes:
    """Write bits after the last kind that are kept for later."""
    return to_data(split_nothing(data) + "1111" + "0001" + "000000" + END_BITS)


@breaks(Fault.UNKNOWN_KIND)
def kind_is_not_known(arena: Arena) -> Lie:
    steps = (make_withdraw(arena), NOTHING) if arena.is_large else (NOTHING,)
    return Lie(steps, name_a_kind_to_come)


def refer_past_no_accounts(data: bytes) -> bytes:
    """Sweep the first account of an empty table."""
    assert not decode_header(data).accounts
    return to_data(split_nothing(data) + f"{Kind.SWEEP:0{KIND_BITS}b}" + END_BITS)


@breaks(Fault.BAD_INDEX, is_alone=True)
def reference_into_an_empty_table(arena: Arena) -> Lie:
    return Lie((NOTHING,), refer_past_no_accounts)


def refer_past_the_markets(data: bytes) -> bytes:
    """Fund the market after the last of the table."""
    count = len(decode_header(data).markets)
    width = (count - 1).bit_length()
    assert 0 < count < 1 << width
    kind = f"{Kind.FUND:0{KIND_BITS}b}"
    return to_data(split_nothing(data) + kind + f"{count:0{width}b}" + END_BITS)


@breaks(Fault.BAD_INDEX, is_for_large=True)
def reference_past_the_table(arena: Arena) -> Lie:
    """Of five markets or, with those that a filler names, six or seven: bits can say eight."""
    markets = list_new(arena, 5)
    marks = tuple(Mark(market, 1) for market in markets)
    return Lie((make_withdraw(arena), *marks, NOTHING), refer_past_the_markets)


# Clock


@breaks(Fault.CLOCK_BACKWARD)
def clock_goes_back(arena: Arena) -> Lie:
    return Lie((make_withdraw(arena),), clock=-1)


@breaks(Fault.CLOCK_AHEAD)
def clock_is_ahead(arena: Arena) -> Lie:
    return Lie((make_withdraw(arena),), clock=1)


@breaks(Fault.CLOCK_STALE)
def clock_lags(arena: Arena) -> Lie:
    """Chunks before it would lag as well."""
    return Lie((make_withdraw(arena),), lag=MAX_CLOCK_LAG + 1, is_first=True)


# Queue


@breaks(Fault.QUEUE_OVERRUN)
def consumes_what_is_not_claimed(arena: Arena) -> Lie:
    steps = (make_withdraw(arena), MESSAGE) if arena.is_large else (MESSAGE,)
    return Lie(steps, queue=-1)


@breaks(Fault.QUEUE_UNDERRUN)
def leaves_what_is_claimed(arena: Arena) -> Lie:
    return Lie((make_withdraw(arena),), queue=1)


# Weight


@breaks(Fault.OVERWEIGHT)
def marks_more_than_a_chunk_holds(arena: Arena) -> Lie:
    """One transaction that no chunk has room for."""
    expiry = arena.state.markets[SURFACED]
    assert isinstance(expiry, Expiry)
    for place in range(128):
        leaf = create_series(
            SeriesKind(1 + place % 2),
            SeriesStatus.ACTIVE,
            expiry.underlying,
            SURFACED,
            PRICE + place // 2,
        )
        set_market(arena.state, MarketId(SPARE + place), leaf)
    return plain(Mark(SPARE, 128))


@breaks(Fault.OVERWEIGHT, is_for_large=True)
def consumes_more_than_a_chunk_holds(arena: Arena) -> Lie:
    """The longest message, where there is no room for it."""
    return plain(make_withdraw(arena), MESSAGE)


@breaks(Fault.OVERWEIGHT, is_for_large=True)
def fills_more_than_a_chunk_holds(arena: Arena) -> Lie:
    """What its second margin weighs is too much."""
    return plain(make_fill(arena))


# Root: that before the last transaction


@breaks(Fault.WRONG_POST_ROOT)
def transfer_has_not_happened(arena: Arena) -> Lie:
    return plain(make_transfer(arena))


@breaks(Fault.WRONG_POST_ROOT)
def fill_has_not_happened(arena: Arena) -> Lie:
    return plain(make_fill(arena))


@breaks(Fault.WRONG_POST_ROOT)
def exit_has_not_happened(arena: Arena) -> Lie:
    return plain(make_withdraw(arena))


@breaks(Fault.WRONG_POST_ROOT)
def liquidation_has_not_happened(arena: Arena) -> Lie:
    set_equity(arena, lambda margin: 1, 40_000, 1 << 120)
    return plain(make_liquidate(arena))


# Signatures: of the last transaction


@breaks(Fault.BAD_SIGNATURE)
def transfer_is_signed_by_another(arena: Arena) -> Lie:
    return plain(make_transfer(arena))


@breaks(Fault.BAD_SIGNATURE)
def order_is_signed_by_another(arena: Arena) -> Lie:
    return plain(make_fill(arena))


@breaks(Fault.BAD_SIGNATURE)
def surface_is_signed_by_another(arena: Arena) -> Lie:
    """Expiry, underlying and committee name the key."""
    return change_surface(arena)


@breaks(Fault.SIGNATURE_COUNT)
def signature_is_missing(arena: Arena) -> Lie:
    return Lie((make_transfer(arena),), is_short=True)


@breaks(Fault.SIGNATURE_COUNT)
def signatures_are_too_many(arena: Arena) -> Lie:
    return plain(make_fill(arena))
