"""Leaves: one encoding for every value, the same in both twins; a fault for what does not fit."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.protocol import constants, leaf
from deltaroll.protocol.constants import MAX_POSITIONS, MAX_SCENARIOS, MAX_SIGNERS, TWAP_DAYS
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.leaf import encode_params
from deltaroll.protocol.types import (
    Account,
    Address,
    Committee,
    Exit,
    Expiry,
    Globals,
    Grid,
    MarketId,
    MarketLeaf,
    Order,
    Position,
    RiskModel,
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    Slot,
    TimeInForce,
    Timestamp,
    Underlying,
    UnderlyingParams,
)
from tests.protocol.evm import Contract

LANE = 1 << 128
WORD = 1 << 256


def unsigned(bits: int) -> st.SearchStrategy[int]:
    top = (1 << bits) - 1
    return st.one_of(st.integers(0, top), st.sampled_from((0, 1, top - 1, top)))


def signed(bits: int) -> st.SearchStrategy[int]:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return st.one_of(st.integers(low, high), st.sampled_from((low, -1, 0, 1, high)))


def loose(bits: int) -> st.SearchStrategy[int]:
    """Values that fit, and some that just do not."""
    return st.one_of(
        unsigned(bits), unsigned(bits), st.just(1 << bits), unsigned(min(250, 2 * bits))
    )


def loose_signed(bits: int) -> st.SearchStrategy[int]:
    edge = 1 << (bits - 1)
    return st.one_of(
        signed(bits), signed(bits), st.sampled_from((edge, -edge - 1)), signed(min(250, 2 * bits))
    )


addresses = st.binary(min_size=20, max_size=20).map(Address)
roots = st.binary(min_size=32, max_size=32)
market_ids = unsigned(16).map(MarketId)
times = unsigned(40).map(Timestamp)


def accounts(
    wide: Callable[[int], st.SearchStrategy[int]] = unsigned,
    wide_signed: Callable[[int], st.SearchStrategy[int]] = signed,
) -> st.SearchStrategy[Account]:
    positions = st.builds(Position, wide(16).map(MarketId), wide_signed(64), wide_signed(128))
    return st.builds(
        Account,
        addresses,
        addresses,
        wide(40).map(Timestamp),
        wide(64),
        wide_signed(128),
        wide(32),
        wide(40).map(Timestamp),
        st.lists(positions, max_size=6).map(tuple),
    )


def slots(
    wide: Callable[[int], st.SearchStrategy[int]] = unsigned,
) -> st.SearchStrategy[Slot]:
    orders = st.builds(
        Order,
        wide(16).map(MarketId),
        st.booleans(),
        wide(64),
        wide(32),
        wide(32),
        wide(32),
        wide(40).map(Timestamp),
        st.sampled_from(TimeInForce),
        st.booleans(),
        st.booleans(),
    )
    return st.builds(Slot, orders, wide(32))


models = st.builds(RiskModel, *(signed(64) for _ in RiskModel.__slots__))


def grids(
    wide: Callable[[int], st.SearchStrategy[int]] = unsigned,
    wide_signed: Callable[[int], st.SearchStrategy[int]] = signed,
) -> st.SearchStrategy[Grid]:
    scenarios = st.builds(Scenario, wide_signed(32), wide_signed(8), wide(64))
    lists = st.lists(scenarios, max_size=MAX_SCENARIOS).map(tuple)
    return st.builds(Grid, lists, unsigned(8), unsigned(8), models)


committees = st.builds(Committee, unsigned(8), st.lists(addresses, max_size=MAX_SIGNERS).map(tuple))
PARAMS_BITS = {
    "committee": 16,
    "grid": 16,
    "tick": 64,
    "gas_market": 16,
    "gas_lot": 64,
    "strike_step": 64,
    "list_base": 16,
    "list_strikes": 8,
    "list_expiries": 8,
}
"""Of those parameters that have not 32."""
REBATES = ("maker_fee", "option_maker_fee")
params = st.builds(
    UnderlyingParams,
    *(
        (signed if name in REBATES else unsigned)(PARAMS_BITS.get(name, 32))
        for name in UnderlyingParams.__slots__
    ),
)


def underlyings(
    wide: Callable[[int], st.SearchStrategy[int]] = unsigned,
) -> st.SearchStrategy[Underlying]:
    moments = wide(40).map(Timestamp)
    twaps = st.tuples(*(wide(64) for _ in range(TWAP_DAYS)))
    more = (wide(bits) for bits in (64, 32, 128, 16, 32))
    return st.builds(Underlying, params, wide(64), moments, wide(64), moments, *more, twaps)


def expiries(
    wide: Callable[[int], st.SearchStrategy[int]] = unsigned,
    wide_signed: Callable[[int], st.SearchStrategy[int]] = signed,
) -> st.SearchStrategy[Expiry]:
    moments = wide(40).map(Timestamp)
    surface = (wide_signed(64) for _ in range(6))
    prices = (wide(64) for _ in range(4))
    market = wide(16).map(MarketId)
    return st.builds(Expiry, market, moments, wide(64), *surface, moments, *prices, moments)


def series(
    wide: Callable[[int], st.SearchStrategy[int]] = unsigned,
    wide_signed: Callable[[int], st.SearchStrategy[int]] = signed,
) -> st.SearchStrategy[Series]:
    return st.builds(
        Series,
        st.sampled_from(SeriesKind),
        st.sampled_from(SeriesStatus),
        wide(16).map(MarketId),
        wide(16).map(MarketId),
        wide(64),
        wide(64),
        wide(64),
        wide(40).map(Timestamp),
        wide_signed(128),
        wide_signed(128),
        wide(40).map(Timestamp),
        wide(16),
        wide(64),
        st.lists(wide_signed(64), max_size=MAX_SCENARIOS).map(tuple),
    )


def exits(
    wide: Callable[[int], st.SearchStrategy[int]] = unsigned,
) -> st.SearchStrategy[Exit]:
    return st.builds(Exit, wide(16), addresses, wide(128))


def all_globals(
    wide: Callable[[int], st.SearchStrategy[int]] = unsigned,
) -> st.SearchStrategy[Globals]:
    moments = wide(40).map(Timestamp)
    widths = (64, 128, 128, 128, 128, 128, 64, 64, 64, 64)
    return st.builds(
        Globals, roots, roots, roots, wide(32), wide(32), moments, *(wide(bits) for bits in widths)
    )


@cache
def harness() -> Contract:
    return Contract("LeafHarness")


def plain(value: Any) -> Any:
    """A leaf as the tuple that the ABI takes."""
    match value:
        case Series():
            fields = [getattr(value, name) for name in value.__slots__[:-1]]
            return (*fields, len(value.risk), pack_lanes(value.risk))
        case Grid():
            # Solidity keeps what margin needs of the scenarios beside them.
            weights = [scenario.weight for scenario in value.scenarios]
            skews = [i for i, scenario in enumerate(value.scenarios) if scenario.vol_shock > 1]
            fields = [plain(getattr(value, name)) for name in value.__slots__]
            return (*fields, tuple(weights + [0] * (len(weights) % 2)), tuple(skews))
        case bytes() if len(value) == 20:
            return "0x" + value.hex()
        case tuple():
            return tuple(plain(item) for item in value)
        case bool():
            return value
        case int() | bytes():
            return int(value) if isinstance(value, int) else value
    return tuple(plain(getattr(value, name)) for name in value.__slots__)


def pack_lanes(risk: tuple[int, ...]) -> tuple[int, ...]:
    padded = (*risk, 0)
    return tuple((padded[i] + padded[i + 1] * LANE) % WORD for i in range(0, len(risk), 2))


def encode_python(encode: Callable[..., bytes], *arguments: Any) -> tuple[bytes, Fault]:
    try:
        return encode(*arguments), Fault.NONE
    except TransitionFault as problem:
        return b"", problem.fault


def check(name: str, value: Any, *more: bytes) -> None:
    """Both twins encode `value` alike, or both refuse it; each decodes it from the encoding."""
    encoding, fault = encode_python(getattr(leaf, f"encode_{name}"), value, *more)
    title = name.capitalize()
    found, found_fault = harness().call(f"encode{title}", plain(value), *more)
    assert Fault(found_fault) == fault
    if fault != Fault.NONE:
        return
    assert found == encoding
    assert harness().call("hash", encoding) == leaf.hash_leaf(encoding)
    if name == "exit":
        return
    decoded = harness().call(f"decode{title}", encoding)
    assert decoded == ((plain(value), *more) if more else plain(value))
    if name != "globals":
        python = getattr(leaf, f"decode_{name}")(encoding)
        assert python == ((value, *more) if more else value)


@settings(max_examples=60, deadline=None)
@given(accounts(), roots)
def test_encode_account__any_account__same_leaf_in_both_twins(
    value: Account, slot_root: bytes
) -> None:
    check("account", value, slot_root)


@settings(max_examples=60, deadline=None)
@given(accounts(loose, loose_signed), roots)
def test_encode_account__loose_values__same_fault_in_both_twins(
    value: Account, slot_root: bytes
) -> None:
    check("account", value, slot_root)


def test_encode_account__most_positions__same_leaf_in_both_twins() -> None:
    positions = tuple(
        Position(MarketId(2 * i), (-1) ** i * (i + 1), -(1 << i)) for i in range(MAX_POSITIONS)
    )
    value = Account(
        Address(b"\xaa" * 20),
        Address(b"\xbb" * 20),
        Timestamp(1),
        2,
        -3,
        4,
        Timestamp(5),
        positions,
    )
    check("account", value, b"\xcc" * 32)


@settings(max_examples=60, deadline=None)
@given(st.one_of(slots(), slots(loose)))
def test_encode_slot__any_slot__same_leaf_or_fault_in_both_twins(value: Slot) -> None:
    check("slot", value)


@settings(max_examples=40, deadline=None)
@given(st.one_of(grids(), grids(loose, loose_signed)))
def test_encode_grid__any_grid__same_leaf_or_fault_in_both_twins(value: Grid) -> None:
    check("grid", value)


@settings(max_examples=20, deadline=None)
@given(models)
def test_encode_model__any_model__same_bytes_in_both_twins(value: RiskModel) -> None:
    check("model", value)


@settings(max_examples=20, deadline=None)
@given(models, st.integers(0, 21), st.sampled_from((1 << 63, -(1 << 63) - 1)))
def test_encode_model__loose_number__out_of_range(value: RiskModel, field: int, out: int) -> None:
    # Python refuses what does not fit when it packs; the codec and Configure never get that far.
    values = list(plain(value))
    values[field] = out
    assert harness().call("encodeModel", tuple(values))[1] == Fault.OUT_OF_RANGE
    grid = ((), 0, 0, tuple(values), (), ())
    assert harness().call("encodeGrid", grid)[1] == Fault.OUT_OF_RANGE


@pytest.mark.parametrize("place", [1, 2])
def test_encode_grid__loose_index__out_of_range(place: int) -> None:
    grid = [(), 0, 0, (0,) * 22, (), ()]
    grid[place] = 256
    assert harness().call("encodeGrid", tuple(grid))[1] == Fault.OUT_OF_RANGE


@settings(max_examples=40, deadline=None)
@given(committees)
def test_encode_committee__any_committee__same_leaf_in_both_twins(value: Committee) -> None:
    check("committee", value)


@settings(max_examples=40, deadline=None)
@given(st.one_of(underlyings(), underlyings(loose)))
def test_encode_underlying__any_underlying__same_leaf_or_fault_in_both_twins(
    value: Underlying,
) -> None:
    check("underlying", value)


@settings(max_examples=40, deadline=None)
@given(st.one_of(expiries(), expiries(loose, loose_signed)))
def test_encode_expiry__any_expiry__same_leaf_or_fault_in_both_twins(value: Expiry) -> None:
    check("expiry", value)


@settings(max_examples=60, deadline=None)
@given(params, st.sampled_from(UnderlyingParams.__slots__), unsigned(64))
def test_encode_params__any_parameters__same_bytes_or_fault(
    value: UnderlyingParams, field: str, excess: int
) -> None:
    check("params", value)
    # Python refuses what does not fit when it packs; the codec and Configure never get that far.
    values = list(plain(value))
    values[UnderlyingParams.__slots__.index(field)] += (excess + 1) << PARAMS_BITS.get(field, 32)
    assert harness().call("encodeParams", tuple(values))[1] == Fault.OUT_OF_RANGE
    assert len(encode_params(value)) == leaf.PARAMS_BYTES


@settings(max_examples=60, deadline=None)
@given(series())
def test_encode_series__any_series__same_leaf_in_both_twins(value: Series) -> None:
    check("series", value)


@settings(max_examples=60, deadline=None)
@given(series(loose, loose_signed))
def test_encode_series__loose_values__same_fault_in_both_twins(value: Series) -> None:
    # A lane has 128 bits: what does not fit it cannot be told from its neighbour's.
    if all(-(1 << 126) <= entry < 1 << 126 for entry in value.risk):
        check("series", value)


@pytest.mark.parametrize("count", [0, 1, 2, 32, MAX_SCENARIOS])
@pytest.mark.parametrize("entry", [-(1 << 63), -1, 0, (1 << 63) - 1])
def test_encode_series__borrowing_lanes__same_leaf_in_both_twins(count: int, entry: int) -> None:
    check("series", a_series(-8, (entry,) * count))


MODEL = RiskModel(*range(-11, 11))


def edges(bits: int) -> tuple[tuple[int, Fault], ...]:
    """The last signed values that fit a field, and the first that do not."""
    edge = 1 << (bits - 1)
    fit, not_fit = Fault.NONE, Fault.OUT_OF_RANGE
    return ((edge - 1, fit), (-edge, fit), (edge, not_fit), (-edge - 1, not_fit))


def a_series(carry: int, risk: tuple[int, ...]) -> Series:
    ids = (MarketId(1), MarketId(0))
    kind, status = SeriesKind.PERPETUAL, SeriesStatus.ACTIVE
    return Series(
        kind, status, *ids, 0, 5, 6, Timestamp(7), carry, ~carry, Timestamp(8), 9, 10, risk
    )


def an_account(cash: int, size: int, snapshot: int) -> Account:
    owner = Address(b"\xaa" * 20)
    positions = (Position(MarketId(1), 1, 1), Position(MarketId(2), size, snapshot))
    return Account(owner, owner, Timestamp(1), 2, cash, 4, Timestamp(5), positions)


@pytest.mark.parametrize(
    ("name", "build", "bits"),
    [
        ("series", lambda value: a_series(value, ()), 128),
        ("series", lambda value: a_series(0, (value, 1)), 64),
        ("series", lambda value: a_series(0, (1, value)), 64),
        ("series", lambda value: a_series(0, (-1, value)), 64),
        ("series", lambda value: a_series(0, (1, 1, value)), 64),
        ("grid", lambda value: Grid((Scenario(value, 0, 0),), 0, 0, MODEL), 32),
        ("grid", lambda value: Grid((Scenario(0, value, 0),), 0, 0, MODEL), 8),
        ("account", lambda value: an_account(value, 1, 1), 128),
        ("account", lambda value: an_account(1, value, 1), 64),
        ("account", lambda value: an_account(1, 1, value), 128),
    ],
)
def test_encode__signed_field_at_its_edges__fits_or_out_of_range(
    name: str, build: Callable[[int], Any], bits: int
) -> None:
    more = (bytes(32),) if name == "account" else ()
    for value, expected in edges(bits):
        leaf_value = build(value)
        assert encode_python(getattr(leaf, f"encode_{name}"), leaf_value, *more)[1] == expected
        check(name, leaf_value, *more)


SLOT = Slot(
    Order(MarketId(1), True, 2, 3, 4, 5, Timestamp(6), TimeInForce.IOC, False, True),
    7,
)
WIDTHS = [
    *(("account", name, bits) for name, bits in (("key_expiry", 40), ("nonce", 64), ("epoch", 32))),
    ("account", "distressed_at", 40),
    *(("order", name, 32) for name in ("size", "nonce", "epoch")),
    *(("order", name, bits) for name, bits in (("market", 16), ("price", 64), ("expiry", 40))),
    ("slot", "filled", 32),
]


@pytest.mark.parametrize(("name", "field", "bits"), WIDTHS)
def test_encode__unsigned_field_at_its_edge__fits_or_out_of_range(
    name: str, field: str, bits: int
) -> None:
    for value, expected in (((1 << bits) - 1, Fault.NONE), (1 << bits, Fault.OUT_OF_RANGE)):
        change: dict[str, Any] = {field: value}
        if name == "account":
            account = replace(an_account(1, 1, 1), **change)
            check("account", account, bytes(32))
            assert encode_python(leaf.encode_account, account, bytes(32))[1] == expected
            continue
        order = replace(SLOT.order, **change) if name == "order" else SLOT.order
        slot = Slot(order, value if name == "slot" else SLOT.filled)
        check("slot", slot)
        assert encode_python(leaf.encode_slot, slot)[1] == expected


@settings(max_examples=40, deadline=None)
@given(st.one_of(exits(), exits(loose)))
def test_encode_exit__any_exit__same_leaf_or_fault_in_both_twins(value: Exit) -> None:
    check("exit", value)


@settings(max_examples=60, deadline=None)
@given(st.one_of(all_globals(), all_globals(loose)))
def test_encode_globals__any_globals__same_root_or_fault_in_both_twins(value: Globals) -> None:
    check("globals", value)
    root, fault = harness().call("hashGlobals", plain(value))
    if fault == Fault.NONE:
        assert root == leaf.hash_globals(value)


def test_encode_globals__negative_pool__out_of_range() -> None:
    fields = (0, 0, Timestamp(0), 0, -1, 0, 0, 0, 0, 0, 0, 0, 0)
    value = Globals(bytes(32), bytes(32), bytes(32), *fields)
    assert encode_python(leaf.encode_globals, value)[1] == Fault.OUT_OF_RANGE
    assert harness().call("encodeGlobals", plain(value))[1] == Fault.OUT_OF_RANGE


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from(
        ("Account", "Grid", "Model", "Committee", "Params", "Underlying", "Expiry", "Globals")
    ),
)
def test_decode__random_bytes__does_not_revert(encoding: bytes, kind: str) -> None:
    # A witness is decoded before its root is checked.
    harness().call(f"decode{kind}", encoding)


def test_lengths__constants__are_those_of_the_leaves() -> None:
    assert leaf.ACCOUNT_HEAD_BYTES + MAX_POSITIONS * leaf.POSITION_BYTES == 1776
    assert leaf.GRID_HEAD_BYTES + MAX_SCENARIOS * leaf.SCENARIO_BYTES == 609
    assert constants.LANE_PAIRS == (MAX_SCENARIOS + 1) // 2


@settings(max_examples=60, deadline=None)
@given(st.one_of(grids(), committees, underlyings(), expiries(), series()))
def test_decode_market__any_leaf_of_the_tree__is_read_as_its_own_type(value: MarketLeaf) -> None:
    try:
        encoding = leaf.encode_market(value)
    except TransitionFault:
        return
    assert leaf.decode_market(encoding) == value


@pytest.mark.parametrize("tag", [0, leaf.ACCOUNT_TAG, leaf.SLOT_TAG, leaf.EXIT_TAG, 0xFF])
def test_decode_market__tag_of_no_market__value_error(tag: int) -> None:
    with pytest.raises(ValueError, match="unknown tag"):
        leaf.decode_market(bytes((tag,)) + bytes(200))
