"""Risk grids and parameters as data, in protocol units: parts per million, fractions in Q48."""

from dataclasses import replace
from fractions import Fraction

from deltaroll.protocol.constants import ONE, PPM
from deltaroll.protocol.types import Grid, MarketId, RiskModel, Scenario, UnderlyingParams

UP, NONE, DOWN, LINEAR, ABSOLUTE = 1, 0, -1, 2, 3


def to_q48(value: str | int | Fraction) -> int:
    """Return a decimal number in Q48, rounded to nearest."""
    return round(Fraction(value) * ONE)


def make_scenario(spot_shock: str | int, vol_shock: int, weight: str | int = 1) -> Scenario:
    """Return a scenario from decimal fractions."""
    return Scenario(int(Fraction(spot_shock) * PPM), vol_shock, to_q48(weight))


def find_scenario(scenarios: tuple[Scenario, ...], spot_shock: str) -> int:
    """Return the place of a scenario that moves the price only."""
    return scenarios.index(make_scenario(spot_shock, NONE))


PMRM_2_MODEL = RiskModel(
    vol_up=to_q48("0.5"),
    vol_down=to_q48("0.3"),
    short_power=to_q48("0.3"),
    long_power=to_q48("0.13"),
    day_floor=to_q48(1),
    min_vol=to_q48("0.4"),
    linear_cap=to_q48("0.25"),
    linear_base=to_q48("-0.1"),
    absolute_cap=to_q48("0.25"),
    absolute_base=to_q48("-0.1"),
    min_width=to_q48("0.01"),
    width_scale=to_q48(4),
    width_static=to_q48("0.6"),
    width_slope=to_q48(0),
    long_base=to_q48("0.95"),
    long_rate_scale=to_q48(1),
    long_rate_add=to_q48("0.08"),
    short_base=to_q48("1.04"),
    short_rate_scale=to_q48("0.5"),
    short_rate_add=to_q48("0.08"),
    basis_add=to_q48("0.5"),
    basis_scale=to_q48(2),
)
_PMRM_2_SCENARIOS = (
    make_scenario("0.18", UP),
    *(
        make_scenario(shock, vol)
        for shock in ("0.135", "0.09", "0.045", "0", "-0.045", "-0.09", "-0.135")
        for vol in (UP, NONE, DOWN)
    ),
    make_scenario("-0.18", UP),
    make_scenario("-0.66", UP, "0.21"),
    make_scenario("-0.33", UP, "0.42"),
    make_scenario("0.5", UP, "0.2772"),
    make_scenario("1", UP, "0.1386"),
    make_scenario("2", UP, "0.0693"),
    make_scenario("3", UP, "0.0462"),
    make_scenario("4", UP, "0.03465"),
    make_scenario("5", UP, "0.02772"),
    make_scenario(0, LINEAR),
    make_scenario(0, ABSOLUTE),
)
PMRM_2 = Grid(
    scenarios=_PMRM_2_SCENARIOS,
    basis_up=find_scenario(_PMRM_2_SCENARIOS, "0.045"),
    basis_down=find_scenario(_PMRM_2_SCENARIOS, "-0.045"),
    model=PMRM_2_MODEL,
)
"""23 regular, 8 dampened tail and 2 skew scenarios of PMRM_2 (Derive, v2-core, PMRMLib_2.sol), with
the static discounts and rate terms of its test vectors.
"""

_PLAIN_MODEL = replace(
    PMRM_2_MODEL,
    linear_cap=0,
    linear_base=0,
    absolute_cap=0,
    absolute_base=0,
    long_base=ONE,
    long_rate_scale=0,
    long_rate_add=0,
    short_base=ONE,
    short_rate_scale=0,
    short_rate_add=0,
    basis_add=0,
    basis_scale=0,
)
"""Options at their shocked value: no skews, no static discount, no basis contingency."""

_DERIBIT_SCENARIOS = (
    *(
        make_scenario(shock, vol)
        for shock in ("0.16", "0.12", "0.08", "0.04", "0", "-0.04", "-0.08", "-0.12", "-0.16")
        for vol in ((UP, DOWN) if shock in ("0.16", "-0.16") else (UP, NONE, DOWN))
    ),
    make_scenario("-0.66", UP, "0.18"),
    make_scenario("-0.33", UP, "0.36"),
    make_scenario("0.5", UP, "0.24"),
    make_scenario("1", UP, "0.12"),
    make_scenario("2", UP, "0.06"),
    make_scenario("3", UP, "0.04"),
    make_scenario("4", UP, "0.03"),
    make_scenario("5", UP, "0.024"),
)
DERIBIT = Grid(
    scenarios=_DERIBIT_SCENARIOS,
    basis_up=find_scenario(_DERIBIT_SCENARIOS, "0.04"),
    basis_down=find_scenario(_DERIBIT_SCENARIOS, "-0.04"),
    model=replace(
        _PLAIN_MODEL, vol_up=to_q48("0.5"), vol_down=to_q48("0.25"), min_vol=to_q48("0.5")
    ),
)
"""Like Deribit's portfolio margin: 16 % either way in nine steps, volatility up, unchanged and down
(but for the outermost unchanged: 33 is all there is room for), and its eight extreme moves, damped
so that a linear position loses 12 % of notional at most.
"""

_SPAN_RANGE = Fraction("0.15")
_SPAN_SCENARIOS = (
    *(
        make_scenario(str(_SPAN_RANGE * thirds / 3), vol)
        for thirds in (0, 1, -1, 2, -2, 3, -3)
        for vol in (UP, DOWN)
    ),
    make_scenario(str(2 * _SPAN_RANGE), NONE, "0.35"),
    make_scenario(str(-2 * _SPAN_RANGE), NONE, "0.35"),
)
SPAN_16 = Grid(
    scenarios=_SPAN_SCENARIOS,
    basis_up=14,
    basis_down=15,
    model=replace(
        _PLAIN_MODEL,
        vol_up=to_q48("0.25"),
        vol_down=to_q48("0.25"),
        short_power=0,
        long_power=0,
        min_vol=0,
    ),
)
"""The 16 scenarios of SPAN with a price scan range of 15 % and a volatility scan range of a quarter
of the volatility itself at every expiry; extreme moves of two ranges count 35 %.
"""


def make_params(committee: MarketId, grid: MarketId, tick: int) -> UnderlyingParams:
    """Return parameters for a liquid index, with the factors and contingencies of PMRM_2.

    A mark or a surface is stale after an hour, a mark also after a 5 % move; a 10 % jump halts;
    fills stay within 3 % of the mark. Options pay 3 basis points of notional, up to an eighth of
    the premium. Nothing is listed automatically, and L1 data is free.
    """
    return UnderlyingParams(
        committee=committee,
        grid=grid,
        tick=tick,
        jump_band=100_000,
        move_band=50_000,
        fill_band=30_000,
        outlier_band=10_000,
        maintenance_factor=800_000,
        initial_factor=1_000_000,
        perp_maintenance=30_000,
        perp_initial=10_000,
        option_maintenance=3_000,
        option_initial=2_000,
        maker_fee=50,
        taker_fee=300,
        option_maker_fee=100,
        option_taker_fee=300,
        option_fee_cap=125_000,
        funding_cap=10_000,
        multiplier_min=1_000_000,
        multiplier_max=2_000_000,
        multiplier_step=100_000,
        vol_reference=1_000_000,
        vol_slope=500_000,
        insurance_slope=500_000,
        force_penalty=10_000,
        max_observation_age=600,
        max_mark_age=3_600,
        max_surface_age=3_600,
        halt_seconds=600,
        gas_market=MarketId(0),
        gas_lot=0,
        strike_step=0,
        list_base=MarketId(0),
        list_strikes=0,
        list_expiries=0,
        list_period=0,
    )
