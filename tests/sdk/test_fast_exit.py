"""The price of a claim: integers between nothing and the amount, less the longer it takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaroll.protocol.constants import MAX_AMOUNT, PPM
from deltaroll.sdk.fast_exit import (
    CLAIM_GAS,
    PAYMENT_GAS,
    PURCHASE_GAS,
    YEAR,
    Terms,
    compute_price,
)

GWEI = 10**9
UNIT = 10**6
RECORD = Path(__file__).parents[2] / "benchmarks" / "gas.json"
amounts = st.integers(0, MAX_AMOUNT)
spans = st.integers(0, 10 * YEAR)
terms_of = st.builds(
    Terms,
    base_fee=st.integers(0, 10**13),
    ether_price=st.integers(0, 10**24),
    premium=st.integers(0, 2 * PPM),
    risk=st.integers(0, 2 * PPM),
)


def test_price__typical_exit__is_the_sum_of_its_parts():
    """10,000 USDC in a week, 20 gwei, 3,000 USDC an ether, 8 % a year, 0.5 % until final."""
    terms = Terms(20 * GWEI, 3_000 * UNIT)
    quote = compute_price(10_000 * UNIT, 7 * 86_400, terms, is_delayed=False, is_risky=True)
    assert quote.gas == (PURCHASE_GAS + CLAIM_GAS) * 20 * 3_000 // 1_000
    assert quote.premium == 15_342_465
    assert quote.risk == 50 * UNIT
    assert quote.price == 10_000 * UNIT - quote.gas - quote.premium - quote.risk
    calm = compute_price(10_000 * UNIT, 7 * 86_400, terms, is_delayed=True, is_risky=False)
    assert calm.price == quote.price + quote.risk - PAYMENT_GAS * 20 * 3_000 // 1_000


@given(amounts, spans, terms_of, st.booleans(), st.booleans())
def test_price__anything__is_within_nothing_and_the_amount(
    amount, seconds, terms, is_delayed, is_risky
):
    quote = compute_price(amount, seconds, terms, is_delayed=is_delayed, is_risky=is_risky)
    assert 0 <= quote.price <= amount
    assert min(quote.gas, quote.premium, quote.risk) >= 0
    assert quote.price == max(amount - quote.gas - quote.premium - quote.risk, 0)


@given(amounts, spans, spans, terms_of, st.booleans(), st.booleans())
def test_price__longer_wait__is_never_higher(amount, some, more, terms, is_delayed, is_risky):
    options = {"is_delayed": is_delayed, "is_risky": is_risky}
    soon = compute_price(amount, some, terms, **options)
    late = compute_price(amount, some + more, terms, **options)
    assert late.price <= soon.price


@given(
    amounts,
    spans,
    terms_of,
    st.sampled_from(["base_fee", "ether_price", "premium", "risk"]),
    st.integers(0, 10**12),
)
def test_price__harder_terms__is_never_higher(amount, seconds, terms, name, more):
    harder = replace(terms, **{name: getattr(terms, name) + more})
    options = {"is_delayed": False, "is_risky": True}
    softly = compute_price(amount, seconds, terms, **options)
    assert compute_price(amount, seconds, harder, **options).price <= softly.price
    for worse in ({**options, "is_delayed": True}, {**options}):
        assert compute_price(amount, seconds, terms, **worse).price <= softly.price
    calm = compute_price(amount, seconds, terms, is_delayed=False, is_risky=False)
    assert softly.price <= calm.price


@given(amounts, spans, terms_of)
def test_price__rounding__is_against_the_buyer_by_less_than_a_unit_a_part(amount, seconds, terms):
    quote = compute_price(amount, seconds, terms, is_delayed=True, is_risky=True)
    exact = [
        (
            quote.gas,
            (PURCHASE_GAS + CLAIM_GAS + PAYMENT_GAS) * terms.base_fee * terms.ether_price,
            10**18,
        ),
        (quote.premium, amount * terms.premium * seconds, PPM * YEAR),
        (quote.risk, amount * terms.risk, PPM),
    ]
    for part, numerator, denominator in exact:
        assert part * denominator <= numerator < (part + 1) * denominator


@pytest.mark.parametrize("name", ["base_fee", "ether_price", "premium", "risk"])
def test_price__negative_terms__are_refused(name):
    terms = replace(Terms(1, 1), **{name: -1})
    with pytest.raises(ValueError, match=f"{name}: -1 is negative"):
        compute_price(1, 1, terms, is_delayed=False, is_risky=False)


def test_price__negative_amount_or_time__is_refused():
    for amount, seconds in ((-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="-1 is negative"):
            compute_price(amount, seconds, Terms(1, 1), is_delayed=False, is_risky=False)


def test_gas__as_recorded__is_covered():
    record = json.loads(RECORD.read_text())
    assert record["take_claim"] <= PURCHASE_GAS
    assert record["claim_exit_transferred"] <= CLAIM_GAS
    assert record["pay_delayed"] <= PAYMENT_GAS
