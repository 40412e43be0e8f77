"""Configure: what governance may list and set, as bytes of an L1 message.

Body: type tag of the leaf, market id (2 bytes), then the fields of that type. A body that breaks a
rule is a no-op, so governance can never stop the queue.
"""

from dataclasses import replace

from deltaroll.protocol.constants import (
    MAX_SCENARIOS,
    MAX_SIGNERS,
    PPM,
    WEIGHT_CONFIGURE_WORD_GAS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.leaf import (
    COMMITTEE_TAG,
    GRID_TAG,
    SCENARIO_BYTES,
    SERIES_TAG,
    UNDERLYING_TAG,
    decode_committee,
    decode_grid,
    decode_params,
)
from deltaroll.protocol.state import (
    State,
    charge,
    get_committee,
    get_grid,
    get_underlying,
    set_market,
    touch_market,
)
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Committee,
    Grid,
    MarketId,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
    UnderlyingParams,
)

HEAD_BYTES = 3
PARAMS_BYTES = 68
SERIES_BODY_BYTES = 4
MAX_BAND = PPM
"""Bands are at most 100 %."""
MAX_FEE = 10_000
"""Fees are at most 1 % of notional."""
MAX_FACTOR = 100 * PPM
"""Margin factors, contingencies and risk multipliers are at most 100."""
MAX_AGE = 7 * 24 * 3600
"""Ages and halts are at most a week."""


def validate_params(params: UnderlyingParams) -> None:
    """Check governed parameters against the bounds that are fixed at deployment.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE.
    """
    bands = (params.jump_band, params.move_band, params.fill_band, params.outlier_band)
    factors = (
        params.maintenance_factor,
        params.initial_factor,
        params.perp_maintenance,
        params.perp_initial,
        params.risk_multiplier,
    )
    ages = (params.max_observation_age, params.max_mark_age, params.halt_seconds)
    if (
        params.tick == 0
        or any(band > MAX_BAND for band in bands)
        or any(factor > MAX_FACTOR for factor in factors)
        or any(age > MAX_AGE for age in ages)
        or params.maker_fee > MAX_FEE
        or params.taker_fee > MAX_FEE
        or params.initial_factor < params.maintenance_factor
    ):
        raise TransitionFault(Fault.OUT_OF_RANGE)


def process_configure_committee(state: State, market: MarketId, body: bytes) -> None:
    """Set an oracle committee: threshold (1), count (1), addresses strictly ascending.

    Raises
    ------
    TransitionFault
        NON_CANONICAL for a wrong length or order, OUT_OF_RANGE for a threshold no committee can
        meet, UNKNOWN_MARKET when the id holds another type.
    """
    if len(body) < 2 or len(body) != 2 + 20 * body[1]:
        raise TransitionFault(Fault.NON_CANONICAL)
    committee: Committee = decode_committee(bytes((COMMITTEE_TAG,)) + body)
    signers = committee.signers
    if not 1 <= committee.threshold <= len(signers) <= MAX_SIGNERS:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    previous = ZERO_ADDRESS
    for signer in signers:
        if signer <= previous:
            raise TransitionFault(Fault.NON_CANONICAL)
        previous = signer
    if touch_market(state, market) is not None:
        get_committee(state, market)
    set_market(state, market, committee)


def process_configure_grid(state: State, market: MarketId, body: bytes) -> None:
    """Add a risk grid: count (1), then its scenarios. Grids never change: marks depend on them.

    Raises
    ------
    TransitionFault
        NON_CANONICAL for a wrong length, OUT_OF_RANGE for a shock below -100 %, a weight above 100
        % or no scenario, UNKNOWN_MARKET when the id is taken.
    """
    if len(body) < 1 or len(body) != 1 + SCENARIO_BYTES * body[0]:
        raise TransitionFault(Fault.NON_CANONICAL)
    grid: Grid = decode_grid(bytes((GRID_TAG,)) + body)
    if not 1 <= len(grid.scenarios) <= MAX_SCENARIOS:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    for scenario in grid.scenarios:
        if scenario.spot_shock < -PPM or scenario.weight > PPM:
            raise TransitionFault(Fault.OUT_OF_RANGE)
    if touch_market(state, market) is not None:
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    set_market(state, market, grid)


def process_configure_underlying(state: State, market: MarketId, body: bytes) -> None:
    """List an underlying or change its parameters; prices and halts stay, the grid stays.

    Raises
    ------
    TransitionFault
        NON_CANONICAL for a wrong length, OUT_OF_RANGE, UNKNOWN_MARKET when committee or grid is
        missing or the id holds another type.
    """
    if len(body) != PARAMS_BYTES:
        raise TransitionFault(Fault.NON_CANONICAL)
    params = decode_params(body)
    validate_params(params)
    get_committee(state, params.committee)
    get_grid(state, params.grid)
    if touch_market(state, market) is None:
        set_market(state, market, Underlying(params, 0, Timestamp(0), 0, Timestamp(0)))
        return
    underlying = get_underlying(state, market)
    if underlying.params.grid != params.grid:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    set_market(state, market, replace(underlying, params=params))


def process_configure_series(state: State, market: MarketId, body: bytes) -> None:
    """List a perpetual or change whether it trades: kind (1), status (1), underlying (2).

    Raises
    ------
    TransitionFault
        NON_CANONICAL for a wrong length, OUT_OF_RANGE for an unknown kind or status, UNKNOWN_MARKET
        when the underlying is missing, differs, or the id holds another type.
    """
    if len(body) != SERIES_BODY_BYTES:
        raise TransitionFault(Fault.NON_CANONICAL)
    if body[0] > SeriesKind.PERPETUAL or body[1] > SeriesStatus.ACTIVE:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    kind = SeriesKind(body[0])
    status = SeriesStatus(body[1])
    underlying = MarketId(int.from_bytes(body[2:4], "big"))
    get_underlying(state, underlying)
    leaf = touch_market(state, market)
    if leaf is None:
        series = Series(kind, status, underlying, MarketId(0), 0, 0, 0, Timestamp(0), 0, 0, ())
        set_market(state, market, series)
        return
    if not isinstance(leaf, Series) or leaf.underlying != underlying or leaf.kind != kind:
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    set_market(state, market, replace(leaf, status=status))


def process_configure(state: State, body: bytes) -> None:
    """Apply a Configure message.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, TRUNCATED, UNKNOWN_KIND, and what the four processes above raise.
    """
    # A new leaf is as long as its body: touching the empty place did not pay for it.
    charge(state, (len(body) + 31) // 32 * WEIGHT_CONFIGURE_WORD_GAS, 0)
    if len(body) < HEAD_BYTES:
        raise TransitionFault(Fault.TRUNCATED)
    market = MarketId(int.from_bytes(body[1:3], "big"))
    fields = body[HEAD_BYTES:]
    match body[0]:
        case 0x43:
            process_configure_committee(state, market, fields)
        case 0x52:
            process_configure_grid(state, market, fields)
        case 0x55:
            process_configure_underlying(state, market, fields)
        case 0x4D:
            process_configure_series(state, market, fields)
        case _:
            raise TransitionFault(Fault.UNKNOWN_KIND)


def encode_configure(tag: int, market: MarketId, fields: bytes) -> bytes:
    """Return a Configure body."""
    return bytes((tag,)) + market.to_bytes(2, "big") + fields


def encode_configure_series(
    market: MarketId, kind: SeriesKind, status: SeriesStatus, underlying: MarketId
) -> bytes:
    """Return the Configure body that lists a series or changes its status."""
    fields = bytes((kind, status)) + underlying.to_bytes(2, "big")
    return encode_configure(SERIES_TAG, market, fields)


def encode_configure_params(market: MarketId, encoded_params: bytes) -> bytes:
    """Return the Configure body that lists an underlying or changes its parameters."""
    return encode_configure(UNDERLYING_TAG, market, encoded_params)
