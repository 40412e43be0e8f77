"""Risk grids and parameters as data, in protocol units (parts per million)."""

from deltaroll.protocol.types import Grid, MarketId, Scenario, UnderlyingParams

UP, NONE, DOWN, LINEAR, ABSOLUTE = 1, 0, -1, 2, 3
FULL = 1_000_000

_REGULAR = [
    Scenario(180_000, UP, FULL),
    *(
        Scenario(shock, vol, FULL)
        for shock in (135_000, 90_000, 45_000, 0, -45_000, -90_000, -135_000)
        for vol in (UP, NONE, DOWN)
    ),
    Scenario(-180_000, UP, FULL),
]
_TAIL = [
    Scenario(-660_000, UP, 210_000),
    Scenario(-330_000, UP, 420_000),
    Scenario(500_000, UP, 277_200),
    Scenario(1_000_000, UP, 138_600),
    Scenario(2_000_000, UP, 69_300),
    Scenario(3_000_000, UP, 46_200),
    Scenario(4_000_000, UP, 34_650),
    Scenario(5_000_000, UP, 27_720),
]
_SKEW = [Scenario(0, LINEAR, FULL), Scenario(0, ABSOLUTE, FULL)]

PMRM_2 = Grid((*_REGULAR, *_TAIL, *_SKEW))
"""23 regular, 8 dampened tail and 2 skew scenarios of Derive's PMRM_2 (v2-core, PMRMLib_2.sol)."""


def make_params(committee: MarketId, grid: MarketId, tick: int) -> UnderlyingParams:
    """Return parameters for a liquid index, with the factors and contingencies of PMRM_2.

    A mark is stale after an hour or a 5 % move, a 10 % jump halts, fills stay within 3 % of the
    mark.
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
        maker_fee=50,
        taker_fee=300,
        risk_multiplier=1_000_000,
        max_observation_age=600,
        max_mark_age=3_600,
        halt_seconds=600,
    )
