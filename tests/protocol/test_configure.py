"""Configure: what governance may set, and the bounds that it may not leave."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.presets import DERIBIT, PMRM_2, SPAN_16, make_params
from deltaroll.protocol.configure import (
    CLOSING_TAG,
    MAX_TERM,
    encode_configure,
    encode_configure_closing,
    encode_configure_committee,
    encode_configure_expiry,
    encode_configure_grid,
    encode_configure_params,
    encode_configure_series,
    encode_configure_underlying,
    process_configure,
    validate_model,
    validate_params,
    validate_rebate,
    validate_rule,
    validate_scenario,
)
from deltaroll.protocol.constants import (
    DAY,
    MAX_PRICE,
    ONE,
    PPM,
    TWAP_DAYS,
)
from deltaroll.protocol.expiry import compute_boundary
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.leaf import (
    EXPIRY_TAG,
    GRID_TAG,
    PARAMS_BYTES,
    SERIES_TAG,
    UNDERLYING_TAG,
    decode_model,
    decode_params,
    encode_grid,
    encode_model,
    encode_params,
)
from deltaroll.protocol.listing import create_expiry, create_series
from deltaroll.protocol.state import State, set_market
from deltaroll.protocol.types import (
    Address,
    Committee,
    MarketId,
    RiskModel,
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
    UnderlyingParams,
)
from tests.protocol.markets import (
    COMMITTEE,
    DAY_0,
    GRID,
    INDEX,
    PARAMS,
    PRICE,
    START,
    attempt,
    harness,
    make_expiry,
    make_state,
    make_underlying,
    plain,
    run_both,
    signed,
    unsigned,
)

PERPETUAL, CALL, PUT = SeriesKind
INACTIVE, ACTIVE, SETTLED, CLOSING = SeriesStatus
FREE, EXPIRY, PREMIUM = MarketId(40), MarketId(30), MarketId(25)
MODEL = PMRM_2.model
MAX = 64 * ONE
LISTING = make_params(COMMITTEE, GRID, 1)


def configure(state: State, body: bytes) -> Fault:
    """Apply a body on both twins."""
    return run_both(state, process_configure, "runConfigure", body)


def make_scene() -> State:
    """A state with an expiry, a premium, and a call of the expiry."""
    state = make_state(START)
    set_market(state, EXPIRY, make_expiry())
    set_market(state, PREMIUM, create_expiry(INDEX, Timestamp(0)))
    call = create_series(CALL, ACTIVE, INDEX, EXPIRY, PRICE)
    set_market(state, MarketId(EXPIRY + 1), replace(call, mark=77, open_interest=3))
    set_market(state, MarketId(11), make_underlying())
    return state


def find_params_fault(params: UnderlyingParams) -> Fault:
    """What validation says of parameters, on both twins."""
    fault = attempt(lambda: validate_params(params))
    assert harness().call("checkParams", encode_params(params))[0] == fault
    return fault


def find_model_fault(model: RiskModel) -> Fault:
    """What validation says of a risk model, on both twins."""
    fault = attempt(lambda: validate_model(model))
    assert harness().call("checkModel", encode_model(model)) == fault
    return fault


def change(**changes: Any) -> UnderlyingParams:
    """Sound parameters but for some."""
    return replace(PARAMS, **changes)


@pytest.mark.parametrize("grid", [PMRM_2, DERIBIT, SPAN_16])
def test_configure_grid__every_preset__is_set(grid: Any) -> None:
    state = make_state(START)
    assert configure(state, encode_configure_grid(FREE, grid)) == Fault.NONE
    assert state.markets[FREE] == grid


def test_configure_grid__id_taken__unknown_market() -> None:
    for market in (GRID, INDEX):
        fault = configure(make_state(START), encode_configure_grid(market, PMRM_2))
        assert fault == Fault.UNKNOWN_MARKET


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"basis_up": 33}, Fault.OUT_OF_RANGE),
        ({"basis_down": 33}, Fault.OUT_OF_RANGE),
        ({"basis_down": 255}, Fault.OUT_OF_RANGE),
        ({"basis_up": 32, "basis_down": 32}, Fault.NONE),
        ({"scenarios": ()}, Fault.OUT_OF_RANGE),
        ({"scenarios": PMRM_2.scenarios * 2}, Fault.OUT_OF_RANGE),
        ({"scenarios": (Scenario(0, 4, ONE), *PMRM_2.scenarios[1:])}, Fault.OUT_OF_RANGE),
        ({"model": replace(MODEL, min_width=0)}, Fault.OUT_OF_RANGE),
    ],
)
def test_configure_grid__each_case__has_its_fault(changes: dict[str, Any], fault: Fault) -> None:
    body = encode_configure_grid(FREE, replace(PMRM_2, **changes))
    assert configure(make_state(START), body) == fault


@pytest.mark.parametrize("length", [0, 1, 3, 178, 179, 180, 179 + 13 * 33 - 1, 179 + 13 * 33 + 1])
def test_configure_grid__wrong_length__non_canonical(length: int) -> None:
    encoding = (encode_grid(PMRM_2) + b"\x01")[1 : 1 + length]
    body = encode_configure(GRID_TAG, FREE, encoding)
    assert configure(make_state(START), body) == Fault.NON_CANONICAL


@pytest.mark.parametrize(
    ("scenario", "fault"),
    [
        (Scenario(-PPM, -1, ONE), Fault.NONE),
        (Scenario(-PPM - 1, 0, ONE), Fault.OUT_OF_RANGE),
        (Scenario((1 << 31) - 1, 1, 0), Fault.NONE),
        (Scenario(0, -2, ONE), Fault.OUT_OF_RANGE),
        (Scenario(0, 4, ONE), Fault.OUT_OF_RANGE),
        (Scenario(0, 2, ONE), Fault.NONE),
        (Scenario(0, 3, ONE), Fault.NONE),
        (Scenario(1, 2, ONE), Fault.OUT_OF_RANGE),
        (Scenario(-1, 3, ONE), Fault.OUT_OF_RANGE),
        (Scenario(0, 0, ONE + 1), Fault.OUT_OF_RANGE),
    ],
)
def test_scenario__each_case__has_its_fault(scenario: Scenario, fault: Fault) -> None:
    assert attempt(lambda: validate_scenario(scenario)) == fault
    assert harness().call("checkScenario", plain(scenario)) == fault


@given(signed(32), signed(8), st.one_of(unsigned(64), st.integers(0, ONE + 1)))
def test_twins__scenario__are_one(spot: int, shock: int, weight: int) -> None:
    scenario = Scenario(spot, shock, weight)
    found = harness().call("checkScenario", plain(scenario))
    assert found == attempt(lambda: validate_scenario(scenario))


NOT_NEGATIVE = (
    "vol_up",
    "vol_down",
    "short_power",
    "long_power",
    "min_vol",
    "long_base",
    "short_base",
    "basis_add",
    "basis_scale",
)


@pytest.mark.parametrize("name", RiskModel.__slots__)
def test_model__each_field_past_its_bounds__out_of_range(name: str) -> None:
    low = {"day_floor": ONE // 24, "min_width": 1} | dict.fromkeys(NOT_NEGATIVE, 0)
    high = {"short_power": 2 * ONE, "long_power": 2 * ONE}
    for value, fault in (
        (high.get(name, MAX), Fault.NONE),
        (high.get(name, MAX) + 1, Fault.OUT_OF_RANGE),
        (low.get(name, -MAX), Fault.NONE),
        (low.get(name, -MAX) - 1, Fault.OUT_OF_RANGE),
        (-(1 << 63), Fault.OUT_OF_RANGE),
        ((1 << 63) - 1, Fault.OUT_OF_RANGE),
    ):
        model = replace(MODEL, **{name: value})
        assert find_model_fault(model) == fault


@given(st.binary(min_size=176, max_size=176), st.integers(0, 8))
def test_twins__model__are_one(data: bytes, shift: int) -> None:
    model = decode_model(data)
    model = RiskModel(*(getattr(model, name) >> 7 + shift for name in RiskModel.__slots__))
    found = harness().call("checkModel", encode_model(model))
    assert found == find_model_fault(model)


@pytest.mark.parametrize(
    ("maker", "taker", "fault"),
    [
        (50, 300, Fault.NONE),
        (10_000, 10_000, Fault.NONE),
        (10_001, 10_000, Fault.OUT_OF_RANGE),
        (0, 10_001, Fault.OUT_OF_RANGE),
        (-300, 300, Fault.NONE),
        (-301, 300, Fault.OUT_OF_RANGE),
        (-1, 0, Fault.OUT_OF_RANGE),
    ],
)
def test_rebate__each_case__is_paid_by_the_other_side(maker: int, taker: int, fault: Fault) -> None:
    assert attempt(lambda: validate_rebate(maker, taker)) == fault
    assert harness().call("checkRebate", maker, taker) == fault
    assert find_params_fault(change(maker_fee=maker, taker_fee=taker)) == fault
    params = change(option_maker_fee=maker, option_taker_fee=taker)
    assert find_params_fault(params) == fault


@given(signed(32), unsigned(32))
def test_twins__rebate__are_one(maker: int, taker: int) -> None:
    found = harness().call("checkRebate", maker, taker)
    assert found == attempt(lambda: validate_rebate(maker, taker))


BOUNDS = [
    *((name, 0, PPM) for name in ("jump_band", "move_band", "fill_band", "outlier_band")),
    ("option_fee_cap", 0, PPM),
    ("funding_cap", 0, PPM),
    ("maintenance_factor", 0, PARAMS.initial_factor),
    ("initial_factor", PARAMS.maintenance_factor, 100 * PPM),
    ("perp_maintenance", 0, 100 * PPM),
    ("perp_initial", 0, 100 * PPM),
    ("option_maintenance", 0, 100 * PPM),
    ("option_initial", 0, 100 * PPM),
    ("vol_reference", 0, 100 * PPM),
    ("vol_slope", 0, 100 * PPM),
    ("insurance_slope", 0, 100 * PPM),
    ("multiplier_min", PPM // 2, PARAMS.multiplier_max),
    ("multiplier_max", PARAMS.multiplier_min, 10 * PPM),
    ("multiplier_step", 3_600, 10 * PPM),
    ("force_penalty", 0, 200_000),
    ("max_observation_age", 0, 604_800),
    ("max_mark_age", 0, 604_800),
    ("max_surface_age", 0, 604_800),
    ("halt_seconds", 0, 604_800),
    ("strike_step", 1, MAX_PRICE),
    ("list_strikes", 1, 16),
    ("list_expiries", 1, 16),
    ("list_period", 1, 366),
]


@pytest.mark.parametrize(("name", "low", "high"), BOUNDS)
def test_params__each_field_past_its_bounds__out_of_range(name: str, low: int, high: int) -> None:
    cases = [(low, Fault.NONE), (high, Fault.NONE), (high + 1, Fault.OUT_OF_RANGE)]
    if low > 0:
        cases.append((low - 1, Fault.OUT_OF_RANGE))
    for value, fault in cases:
        params = change(**{name: value})
        assert find_params_fault(params) == fault


def test_params__no_tick__out_of_range() -> None:
    assert find_params_fault(change(tick=1)) == Fault.NONE
    assert find_params_fault(change(tick=(1 << 64) - 1)) == Fault.NONE
    assert find_params_fault(change(tick=0)) == Fault.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"multiplier_step": 0}, Fault.NONE),
        ({"list_base": 0, "list_strikes": 99, "list_period": 0}, Fault.NONE),
        ({"list_base": 65_536 - 33}, Fault.NONE),
        ({"list_base": 65_536 - 32}, Fault.OUT_OF_RANGE),
        ({"gas_market": 10, "gas_lot": 0}, Fault.OUT_OF_RANGE),
        ({"gas_market": 10, "gas_lot": 1}, Fault.NONE),
        ({"multiplier_min": 3 * PPM}, Fault.OUT_OF_RANGE),
        ({"maintenance_factor": 100 * PPM, "initial_factor": 100 * PPM}, Fault.NONE),
    ],
)
def test_params__each_case__has_its_fault(changes: dict[str, int], fault: Fault) -> None:
    params = change(**changes)
    assert find_params_fault(params) == fault


def test_params__presets__are_sound() -> None:
    validate_params(LISTING)


@st.composite
def any_params(draw: st.DrawFn) -> UnderlyingParams:
    """Sound parameters but for a few, and arbitrary ones."""
    wild = decode_params(draw(st.binary(min_size=PARAMS_BYTES, max_size=PARAMS_BYTES)))
    names = draw(st.sets(st.sampled_from(UnderlyingParams.__slots__[2:]), max_size=3))
    small = {name: getattr(wild, name) >> draw(st.integers(0, 32)) for name in names}
    return draw(st.sampled_from((wild, change(**small))))


@given(any_params())
@settings(max_examples=300)
def test_twins__params__are_one(params: UnderlyingParams) -> None:
    found = harness().call("checkParams", encode_params(params))
    assert found[0] == find_params_fault(params)
    assert found[1] == attempt(lambda: validate_rule(params))


def test_configure_underlying__new__begins_without_a_price() -> None:
    state = make_state(START)
    params = change(multiplier_min=1_200_000)
    assert configure(state, encode_configure_underlying(FREE, params)) == Fault.NONE
    leaf = state.markets[FREE]
    assert isinstance(leaf, Underlying)
    zeros = [
        getattr(leaf, field.name)
        for field in fields(leaf)
        if field.name not in ("params", "multiplier", "twaps")
    ]
    assert not any(zeros)
    assert (leaf.params, leaf.multiplier, leaf.twaps) == (params, 1_200_000, (0,) * TWAP_DAYS)


def test_configure_underlying__again__changes_parameters_alone() -> None:
    state = make_state(START)
    before = make_underlying(
        pending_index=5, variance=ONE, window_sum=9, window_seconds=3, twaps=(1, 2, 3, 4)
    )
    set_market(state, INDEX, before)
    params = change(tick=5, multiplier_min=2_000_000)
    assert configure(state, encode_configure_underlying(INDEX, params)) == Fault.NONE
    assert state.markets[INDEX] == replace(before, params=params)


@pytest.mark.parametrize(
    ("market", "changes", "fault"),
    [
        (FREE, {"committee": 9}, Fault.UNKNOWN_MARKET),
        (FREE, {"grid": COMMITTEE}, Fault.UNKNOWN_MARKET),
        (FREE, {"gas_market": 9, "gas_lot": 1}, Fault.UNKNOWN_MARKET),
        (FREE, {"gas_market": GRID, "gas_lot": 1}, Fault.UNKNOWN_MARKET),
        (FREE, {"gas_market": INDEX, "gas_lot": 1}, Fault.NONE),
        (FREE, {"gas_market": FREE, "gas_lot": 1}, Fault.NONE),
        (INDEX, {"gas_market": INDEX, "gas_lot": 1}, Fault.NONE),
        (INDEX, {"grid": 3}, Fault.OUT_OF_RANGE),
        (GRID, {}, Fault.UNKNOWN_MARKET),
        (EXPIRY, {}, Fault.UNKNOWN_MARKET),
        (FREE, {"tick": 0}, Fault.OUT_OF_RANGE),
    ],
)
def test_configure_underlying__each_case__has_its_fault(
    market: MarketId, changes: dict[str, int], fault: Fault
) -> None:
    state = make_scene()
    set_market(state, MarketId(3), SPAN_16)
    assert configure(state, encode_configure_underlying(market, change(**changes))) == fault


@pytest.mark.parametrize(
    ("market", "underlying", "time", "fault"),
    [
        (FREE, INDEX, 0, Fault.NONE),
        (FREE, INDEX, compute_boundary(DAY_0 + 1), Fault.NONE),
        (FREE, INDEX, START + MAX_TERM, Fault.NONE),
        (FREE, INDEX, START + MAX_TERM + DAY, Fault.OUT_OF_RANGE),
        (FREE, INDEX, START, Fault.OUT_OF_RANGE),
        (FREE, INDEX, compute_boundary(0), Fault.OUT_OF_RANGE),
        (FREE, INDEX, START + DAY + 1, Fault.OUT_OF_RANGE),
        (MarketId(0), INDEX, 0, Fault.OUT_OF_RANGE),
        (FREE, GRID, 0, Fault.UNKNOWN_MARKET),
        (FREE, MarketId(99), 0, Fault.UNKNOWN_MARKET),
        (FREE, MarketId(INDEX + 256), 0, Fault.UNKNOWN_MARKET),
        (EXPIRY, INDEX, START + DAY, Fault.UNKNOWN_MARKET),
        (INDEX, INDEX, START + DAY, Fault.UNKNOWN_MARKET),
    ],
)
def test_configure_expiry__each_case__has_its_fault(
    market: MarketId, underlying: MarketId, time: int, fault: Fault
) -> None:
    state = make_scene()
    body = encode_configure_expiry(market, underlying, Timestamp(time))
    assert configure(state, body) == fault
    if fault == Fault.NONE:
        assert state.markets[market] == create_expiry(underlying, Timestamp(time))


@pytest.mark.parametrize(
    ("market", "terms", "fault"),
    [
        (FREE, (PERPETUAL, ACTIVE, INDEX), Fault.NONE),
        (FREE, (PERPETUAL, INACTIVE, INDEX, PREMIUM), Fault.NONE),
        (FREE, (PERPETUAL, CLOSING, INDEX, PREMIUM), Fault.NONE),
        (FREE, (PERPETUAL, ACTIVE, INDEX, EXPIRY), Fault.UNKNOWN_MARKET),
        (FREE, (PERPETUAL, ACTIVE, MarketId(11), PREMIUM), Fault.UNKNOWN_MARKET),
        (FREE, (PERPETUAL, ACTIVE, INDEX, MarketId(99)), Fault.UNKNOWN_MARKET),
        (FREE, (PERPETUAL, ACTIVE, INDEX, MarketId(0), 1), Fault.OUT_OF_RANGE),
        (FREE, (PERPETUAL, SETTLED, INDEX), Fault.OUT_OF_RANGE),
        (FREE, (PERPETUAL, ACTIVE, GRID), Fault.UNKNOWN_MARKET),
        (INDEX, (PERPETUAL, ACTIVE, INDEX), Fault.UNKNOWN_MARKET),
        (EXPIRY + 3, (CALL, ACTIVE, INDEX, EXPIRY, 5), Fault.NONE),
        (EXPIRY + 3, (CALL, ACTIVE, INDEX, EXPIRY, MAX_PRICE), Fault.NONE),
        (EXPIRY + 3, (CALL, ACTIVE, INDEX, EXPIRY, MAX_PRICE + 1), Fault.OUT_OF_RANGE),
        (EXPIRY + 3, (CALL, ACTIVE, INDEX, EXPIRY, 0), Fault.OUT_OF_RANGE),
        (EXPIRY + 3, (PUT, ACTIVE, INDEX, EXPIRY, 5), Fault.OUT_OF_RANGE),
        (EXPIRY + 4, (CALL, ACTIVE, INDEX, EXPIRY, 5), Fault.OUT_OF_RANGE),
        (EXPIRY + 2, (PUT, ACTIVE, INDEX, EXPIRY, PRICE), Fault.NONE),
        (EXPIRY + 2, (PUT, ACTIVE, INDEX, EXPIRY, PRICE + 1), Fault.UNKNOWN_MARKET),
        (EXPIRY + 4, (PUT, ACTIVE, INDEX, EXPIRY, PRICE), Fault.UNKNOWN_MARKET),
        (EXPIRY + 31, (CALL, ACTIVE, INDEX, EXPIRY, 5), Fault.NONE),
        (EXPIRY + 33, (CALL, ACTIVE, INDEX, EXPIRY, 5), Fault.OUT_OF_RANGE),
        (EXPIRY - 1, (CALL, ACTIVE, INDEX, EXPIRY, 5), Fault.OUT_OF_RANGE),
        (PREMIUM + 1, (CALL, ACTIVE, INDEX, PREMIUM, 5), Fault.UNKNOWN_MARKET),
        (FREE, (CALL, ACTIVE, INDEX, MarketId(0), 5), Fault.UNKNOWN_MARKET),
        (EXPIRY + 3, (CALL, ACTIVE, MarketId(11), EXPIRY, 5), Fault.UNKNOWN_MARKET),
        (EXPIRY + 1, (CALL, INACTIVE, INDEX, EXPIRY, PRICE), Fault.NONE),
        (EXPIRY + 1, (CALL, CLOSING, INDEX, EXPIRY, PRICE), Fault.NONE),
        (EXPIRY + 1, (CALL, SETTLED, INDEX, EXPIRY, PRICE), Fault.OUT_OF_RANGE),
        (EXPIRY + 1, (CALL, INACTIVE, INDEX, EXPIRY, 5), Fault.UNKNOWN_MARKET),
        (EXPIRY + 1, (PUT, INACTIVE, INDEX, EXPIRY, PRICE), Fault.UNKNOWN_MARKET),
        (EXPIRY + 1, (CALL, INACTIVE, INDEX, PREMIUM, PRICE), Fault.UNKNOWN_MARKET),
        (EXPIRY + 1, (CALL, INACTIVE, MarketId(11), EXPIRY, PRICE), Fault.UNKNOWN_MARKET),
    ],
)
def test_configure_series__each_case__has_its_fault(
    market: int, terms: tuple[Any, ...], fault: Fault
) -> None:
    state = make_scene()
    before = state.markets.get(MarketId(market))
    assert configure(state, encode_configure_series(MarketId(market), *terms)) == fault
    if fault == Fault.NONE:
        kind, status, underlying, expiry, strike = (*terms, MarketId(0), 0)[:5]
        made = create_series(kind, status, underlying, expiry, strike)
        if isinstance(before, Series):
            made = replace(before, status=status)
        assert state.markets[MarketId(market)] == made


@pytest.mark.parametrize("status", [INACTIVE, ACTIVE, CLOSING])
def test_configure_series__settled__inactive(status: SeriesStatus) -> None:
    state = make_scene()
    settled = create_series(CALL, SETTLED, INDEX, EXPIRY, PRICE)
    set_market(state, MarketId(EXPIRY + 1), settled)
    body = encode_configure_series(MarketId(EXPIRY + 1), CALL, status, INDEX, EXPIRY, PRICE)
    assert configure(state, body) == Fault.INACTIVE


@pytest.mark.parametrize("changes", [{"settlement": 1}, {"time": START}])
def test_configure_series__expiry_over__inactive(changes: dict[str, int]) -> None:
    state = make_scene()
    set_market(state, EXPIRY, make_expiry(**changes))
    body = encode_configure_series(MarketId(EXPIRY + 3), CALL, ACTIVE, INDEX, EXPIRY, PRICE)
    assert configure(state, body) == Fault.INACTIVE


def test_configure_series__unknown_status__out_of_range() -> None:
    fields = bytes((PERPETUAL, 4)) + INDEX.to_bytes(2, "big") + bytes(10)
    body = encode_configure(SERIES_TAG, FREE, fields)
    assert configure(make_state(START), body) == Fault.OUT_OF_RANGE


STATUSES = (ACTIVE, CLOSING, INACTIVE, SETTLED, ACTIVE)


def make_row() -> State:
    """A state with a series of each status from FREE on, then none, then no series."""
    state = make_state(START)
    for offset, status in enumerate(STATUSES):
        series = create_series(PERPETUAL, status, INDEX, MarketId(0), 0)
        set_market(state, MarketId(FREE + offset), series)
    set_market(state, MarketId(FREE + 6), create_expiry(INDEX, Timestamp(0)))
    return state


def read_row(state: State) -> list[object]:
    leaves = [state.markets.get(MarketId(FREE + offset)) for offset in range(8)]
    return [leaf.status if isinstance(leaf, Series) else leaf for leaf in leaves]


@pytest.mark.parametrize(
    ("status", "row"),
    [
        (CLOSING, (CLOSING, CLOSING, INACTIVE, SETTLED, CLOSING)),
        (ACTIVE, (ACTIVE, ACTIVE, INACTIVE, SETTLED, ACTIVE)),
    ],
)
def test_configure_closing__row_of_all_kinds__only_what_trades_changes(
    status: SeriesStatus, row: tuple[SeriesStatus, ...]
) -> None:
    state = make_row()
    rest = read_row(state)[5:]
    assert configure(state, encode_configure_closing(FREE, status, 8)) == Fault.NONE
    assert read_row(state) == [*row, *rest]


def test_configure_closing__range__its_ends_are_exact() -> None:
    state = make_row()
    last = MarketId(FREE + 4)
    assert configure(state, encode_configure_closing(FREE, CLOSING, 4)) == Fault.NONE
    assert read_row(state)[4] == ACTIVE
    assert configure(state, encode_configure_closing(last, CLOSING, 1)) == Fault.NONE
    assert read_row(state)[:5] == [CLOSING, CLOSING, INACTIVE, SETTLED, CLOSING]


@pytest.mark.parametrize(
    ("market", "fields", "fault"),
    [
        (FREE, bytes((CLOSING, 0)), Fault.OUT_OF_RANGE),
        (FREE, bytes((CLOSING, 64)), Fault.NONE),
        (FREE, bytes((CLOSING, 65)), Fault.OUT_OF_RANGE),
        (MarketId(65_535), bytes((CLOSING, 1)), Fault.NONE),
        (MarketId(65_535), bytes((CLOSING, 2)), Fault.OUT_OF_RANGE),
        (FREE, bytes((INACTIVE, 1)), Fault.OUT_OF_RANGE),
        (FREE, bytes((SETTLED, 1)), Fault.OUT_OF_RANGE),
        (FREE, bytes((4, 1)), Fault.OUT_OF_RANGE),
        (FREE, bytes((CLOSING,)), Fault.NON_CANONICAL),
        (FREE, bytes((CLOSING, 1, 0)), Fault.NON_CANONICAL),
    ],
)
def test_configure_closing__each_case__has_its_fault(
    market: MarketId, fields: bytes, fault: Fault
) -> None:
    state = make_row()
    before = read_row(state)
    assert configure(state, encode_configure(CLOSING_TAG, market, fields)) == fault
    assert (read_row(state) == before) == (fault != Fault.NONE or market != FREE)


@pytest.mark.parametrize("tag", [UNDERLYING_TAG, EXPIRY_TAG, SERIES_TAG])
def test_configure__wrong_length__non_canonical(tag: int) -> None:
    for length in (0, 6, 8, 13, 15, PARAMS_BYTES - 1, PARAMS_BYTES + 1):
        body = encode_configure(tag, FREE, bytes(length))
        assert configure(make_state(START), body) == Fault.NON_CANONICAL


def test_configure__no_such_thing__is_refused() -> None:
    assert configure(make_state(START), encode_configure(0x41, FREE, b"")) == Fault.UNKNOWN_KIND
    assert configure(make_state(START), b"\x52\x00") == Fault.TRUNCATED
    assert configure(make_state(START), b"") == Fault.TRUNCATED


def test_configure_committee__new_and_again__is_set() -> None:
    state = make_state(START)
    committee = Committee(2, tuple(Address(bytes([n]) * 20) for n in (3, 4, 9)))
    for market in (FREE, COMMITTEE):
        assert configure(state, encode_configure_committee(market, committee)) == Fault.NONE
        assert state.markets[market] == committee


@pytest.mark.parametrize(
    ("threshold", "signers", "fault"),
    [
        (1, (3,), Fault.NONE),
        (1, (3, 4), Fault.NONE),
        (2, (3, 4), Fault.NONE),
        (0, (3, 4), Fault.OUT_OF_RANGE),
        (3, (3, 4), Fault.OUT_OF_RANGE),
        (0, (), Fault.OUT_OF_RANGE),
        (1, (4, 3), Fault.NON_CANONICAL),
        (1, (3, 3), Fault.NON_CANONICAL),
        (1, (0, 3), Fault.NON_CANONICAL),
    ],
)
def test_configure_committee__each_case__has_its_fault(
    threshold: int, signers: tuple[int, ...], fault: Fault
) -> None:
    committee = Committee(threshold, tuple(Address(bytes([n]) * 20) for n in signers))
    assert configure(make_state(START), encode_configure_committee(FREE, committee)) == fault


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies of any kind, mostly of the right length."""
    market = draw(st.sampled_from((0, 1, 2, 10, 25, *range(29, 66), 40, 41)))
    market = MarketId(market)
    match draw(st.integers(0, 5)):
        case 5:
            status = draw(st.sampled_from(SeriesStatus))
            return encode_configure_closing(market, status, draw(st.integers(0, 70)))
        case 0:
            return encode_configure_params(market, encode_params(draw(any_params())))
        case 1:
            time = draw(st.sampled_from((0, START, START + DAY, START + 7 * DAY, 5)))
            return encode_configure_expiry(market, INDEX, Timestamp(time))
        case 2 | 3:
            return encode_configure_series(
                market,
                draw(st.sampled_from(SeriesKind)),
                draw(st.sampled_from(SeriesStatus)),
                draw(st.sampled_from((INDEX, INDEX, MarketId(11)))),
                draw(st.sampled_from((EXPIRY, EXPIRY, PREMIUM, MarketId(0)))),
                draw(st.sampled_from((0, PRICE, PRICE, 1 << 63))),
            )
        case _:
            tag = draw(st.sampled_from((0x43, 0x4D, 0x50, 0x52, 0x55, 0x58, 0)))
            return encode_configure(tag, market, draw(st.binary(max_size=200)))


@given(st.lists(bodies(), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_twins__process_configure__are_one(messages: list[bytes]) -> None:
    state = make_scene()
    for body in messages:
        configure(state, body)
