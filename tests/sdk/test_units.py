"""Money that a trader writes is taken exactly, or not at all."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaroll.sdk.drafts import Draft
from deltaroll.sdk.units import to_units


@given(st.integers(-(10**24), 10**24))
def test_to_units__any_number_of_units__comes_back(units):
    text = f"{'-' if units < 0 else ''}{abs(units) // 10**6}.{abs(units) % 10**6:06d}"
    assert to_units("price", text) == to_units("price", Decimal(text)) == units
    assert to_units("price", units) == units


@pytest.mark.parametrize("value", ["0.0000001", "12.34567891", Decimal("1e-7"), Decimal(1) / 3])
def test_to_units__finer_than_a_unit__is_refused(value):
    with pytest.raises(ValueError, match=r"price: .* is finer than a unit, 1e-6"):
        to_units("price", value)


@pytest.mark.parametrize("value", [1.5, True, None, b"1"])
def test_to_units__no_exact_number__is_refused(value):
    with pytest.raises(TypeError, match=r"price: .* is no int, text or Decimal"):
        to_units("price", value)


@pytest.mark.parametrize(
    ("value", "why"), [("x", "no number"), ("NaN", "not finite"), ("inf", "not finite")]
)
def test_to_units__no_number__is_refused(value, why):
    with pytest.raises(ValueError, match=f"price: .* is {why}"):
        to_units("price", value)


@pytest.mark.parametrize(
    ("change", "error", "why"),
    [
        ({"price": 0}, ValueError, "price: 0 is not above 0"),
        ({"price": 0.1}, TypeError, "price: 0.1 is no int"),
        ({"size": 0}, ValueError, "size: 0 is not above 0"),
        ({"size": 1.0}, TypeError, "size: 1.0 is no whole number"),
        ({"time_in_force": "day"}, ValueError, "time_in_force: day is none of gtc, gtd, ioc, fok"),
        ({"kind": "iceberg"}, ValueError, "kind: iceberg is none of limit, market"),
    ],
)
def test_draft__that_no_venue_takes__is_refused(change, error, why):
    fields = {"market": 1, "is_buy": True, "price": 5, "size": 1}
    with pytest.raises(error, match=why):
        Draft(**(fields | change))
