"""Leaves and single transactions on both twins, for tests of underlyings, expiries and series."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import astuple, replace
from functools import cache
from typing import Any

from hypothesis import strategies as st

from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.constants import (
    MAX_PRICE,
    ONE,
    SETTLEMENT_WINDOW,
    TWAP_DAYS,
)
from deltaroll.protocol.expiry import compute_boundary
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.leaf import (
    EXPIRY_BYTES,
    PARAMS_BYTES,
    decode_expiry,
    decode_params,
)
from deltaroll.protocol.listing import create_expiry, create_series
from deltaroll.protocol.state import State, compute_state_root, reset_meter, set_market
from deltaroll.protocol.types import (
    Address,
    Committee,
    Expiry,
    MarketId,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
    UnderlyingParams,
)
from deltaroll.protocol.witness import encode_witness
from tests.protocol.evm import Contract

COMMITTEE, GRID, INDEX = MarketId(1), MarketId(2), MarketId(10)
MEMBERS = 5
DAY_0 = 20_000
"""A Friday in 2024."""
START = compute_boundary(DAY_0)
PRICE = 30_000_000
PARAMS = replace(
    make_params(COMMITTEE, GRID, 1),
    max_mark_age=600,
    strike_step=1_000_000,
    list_base=MarketId(100),
    list_strikes=5,
    list_expiries=3,
    list_period=7,
)
UINT64 = (1 << 64) - 1


@cache
def harness() -> Contract:
    """Pure functions of Solidity."""
    return Contract("MarketsHarness")


@cache
def process_harness() -> Contract:
    """Single transactions in Solidity."""
    return Contract("MarketProcessHarness")


def make_underlying(**changes: Any) -> Underlying:
    """An underlying that was observed at START."""
    known = Underlying(
        params=PARAMS,
        index=PRICE,
        observed_at=START,
        pending_index=0,
        halted_until=Timestamp(0),
        variance=0,
        multiplier=PARAMS.multiplier_min,
        window_sum=0,
        window_seconds=0,
        day=DAY_0 + 1,
        twaps=(0,) * TWAP_DAYS,
    )
    return replace(known, **changes)


def make_expiry(**changes: Any) -> Expiry:
    """An expiry a week after START."""
    return replace(create_expiry(INDEX, compute_boundary(DAY_0 + 7)), **changes)


def make_perpetual(**changes: Any) -> Series:
    """A perpetual marked at START without a premium."""
    series = create_series(SeriesKind.PERPETUAL, SeriesStatus.ACTIVE, INDEX, MarketId(0), 0)
    known = replace(
        series, mark=PRICE, mark_index=PRICE, marked_at=START, accrued_at=START, risk=(1, -1)
    )
    return replace(known, **changes)


def make_state(clock: int, **globals_: int) -> State:
    """A committee of five, three of whom are enough, a grid and an underlying."""
    state = State()
    state.globals = replace(state.globals, clock=Timestamp(clock), **globals_)
    signers = tuple(Address(bytes([n]) * 20) for n in range(1, MEMBERS + 1))
    set_market(state, COMMITTEE, Committee(3, signers))
    set_market(state, GRID, PMRM_2)
    set_market(state, INDEX, make_underlying())
    return state


def attempt(act: Callable[[], object]) -> Fault:
    """What a call raises."""
    try:
        act()
    except TransitionFault as fault:
        return fault.fault
    return Fault.NONE


def plain(value: Any) -> Any:
    """A transaction as ABI encoding takes it."""
    return value if isinstance(value, bytes) else astuple(value)


def run_both(
    state: State, process: Callable[[State, Any], None], function: str, transaction: Any
) -> Fault:
    """Apply a transaction in both languages, compare faults, roots and weights; return the fault.

    The state is changed when there is none.
    """
    root = compute_state_root(state)
    before = deepcopy(state)
    reset_meter(state)
    state.begin()
    fault = attempt(lambda: process(state, transaction))
    meter = state.meter
    if fault == Fault.NONE:
        state.commit()
    else:
        state.rollback()
    root_after = compute_state_root(state)
    witness = encode_witness(before, meter)
    found, found_root, found_meter, _ = process_harness().call(
        function, witness, root, plain(transaction)
    )
    assert Fault(found) == fault
    assert found_root == root_after
    if fault != Fault.OVERWEIGHT:
        assert tuple(found_meter[:2]) == (meter.gas, meter.witness)
    return fault


def unsigned(bits: int) -> st.SearchStrategy[int]:
    """Values of a field, its edges often."""
    top = (1 << bits) - 1
    return st.one_of(st.integers(0, top), st.sampled_from((0, 1, top - 1, top)))


def signed(bits: int) -> st.SearchStrategy[int]:
    """The same with a sign."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return st.one_of(st.integers(low, high), st.sampled_from((low, -1, 0, 1, high)))


any_params = st.one_of(
    st.just(PARAMS), st.binary(min_size=PARAMS_BYTES, max_size=PARAMS_BYTES).map(decode_params)
)
any_expiries = st.one_of(
    st.binary(min_size=EXPIRY_BYTES - 1, max_size=EXPIRY_BYTES - 1).map(
        lambda data: decode_expiry(b"X" + data)
    ),
)
prices = st.one_of(st.integers(1, MAX_PRICE), st.sampled_from((1, 2, PRICE, MAX_PRICE)))
near_times = st.builds(
    lambda day, offset: Timestamp(compute_boundary(DAY_0 + day) + offset),
    st.integers(-6, 6),
    st.one_of(
        st.integers(-SETTLEMENT_WINDOW - 5, SETTLEMENT_WINDOW + 5),
        st.sampled_from((-SETTLEMENT_WINDOW, -1, 0, 1)),
        st.integers(0, 86_400),
    ),
)


@st.composite
def any_underlyings(
    draw: st.DrawFn, params: st.SearchStrategy[UnderlyingParams] = any_params
) -> Underlying:
    """Any leaf that a state can hold, mostly one observed at a time near START."""
    observed_at = draw(st.one_of(near_times, unsigned(39).map(Timestamp)))
    day = (observed_at + 57_600) // 86_400
    seconds = draw(st.one_of(st.integers(0, SETTLEMENT_WINDOW), st.just(0)))
    return Underlying(
        params=draw(params),
        index=draw(st.one_of(prices, prices, st.just(0))),
        observed_at=observed_at,
        pending_index=draw(st.one_of(st.just(0), prices)),
        halted_until=draw(st.one_of(near_times, unsigned(40).map(Timestamp))),
        variance=draw(unsigned(63)),
        multiplier=draw(st.one_of(st.integers(500_000, 10_000_000), unsigned(32))),
        window_sum=seconds * draw(prices),
        window_seconds=seconds,
        day=draw(st.one_of(st.just(day), st.integers(max(0, day - 7), day + 1), unsigned(24))),
        twaps=draw(st.tuples(*(st.one_of(st.just(0), prices) for _ in range(TWAP_DAYS)))),
    )


def make_surfaced(**changes: Any) -> Expiry:
    """An expiry with a smile."""
    known = make_expiry(
        a=ONE // 500,
        b=ONE // 20,
        rho=-ONE // 5,
        m=ONE // 50,
        sigma=ONE // 10,
        surfaced_at=START,
    )
    return replace(known, **changes)
