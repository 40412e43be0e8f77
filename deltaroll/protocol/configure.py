"""Configure: what governance may list and set, as bytes of an L1 message.

Body: type tag of the leaf, market id (2 bytes), then the fields of that type. A body that breaks a
rule is a no-op, so governance can never stop the queue.
"""

from dataclasses import replace

from deltaroll.protocol.constants import (
    DAY,
    MARKET_DEPTH,
    MAX_PRICE,
    MAX_SCENARIOS,
    MAX_SIGNERS,
    MULTIPLIER_PERIOD,
    ONE,
    PPM,
    TWAP_DAYS,
    WEIGHT_CONFIGURE_WORD_GAS,
)
from deltaroll.protocol.expiry import is_boundary
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.leaf import (
    COMMITTEE_TAG,
    EXPIRY_TAG,
    GRID_HEAD_BYTES,
    GRID_TAG,
    PARAMS_BYTES,
    SCENARIO_BYTES,
    SERIES_TAG,
    UNDERLYING_TAG,
    decode_committee,
    decode_grid,
    decode_params,
    encode_committee,
    encode_grid,
    encode_params,
)
from deltaroll.protocol.listing import MAX_STRIKES, create_expiry, create_series
from deltaroll.protocol.state import (
    State,
    charge,
    charge_module,
    get_committee,
    get_expiry,
    get_grid,
    get_series,
    get_underlying,
    set_market,
    touch_market,
)
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Committee,
    Grid,
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

HEAD_BYTES = 3
EXPIRY_BODY_BYTES = 7
SERIES_BODY_BYTES = 14
CLOSING_BODY_BYTES = 2
CLOSING_TAG = 0x50
"""Of bodies that no leaf is made from."""
MAX_CLOSING = 64
"""Series that one body closes."""
MAX_BAND = PPM
"""Bands, caps on funding and caps on option fees are at most 100 %."""
MAX_FEE = 10_000
"""Fees are at most 1 % of notional."""
MAX_FACTOR = 100 * PPM
"""Margin factors, contingencies and slopes are at most 100."""
MIN_MULTIPLIER = PPM // 2
MAX_MULTIPLIER = 10 * PPM
"""Risk multipliers, and their steps, are at most 10."""
MAX_PENALTY = 200_000
"""A ForceClose costs at most 20 % of notional."""
MAX_AGE = 7 * 24 * 3600
"""Ages and halts are at most a week."""
MAX_PERIOD = 366
"""Days between listed expiries."""
MAX_EXPIRIES = 16
"""Listed at once."""
MAX_TERM = 16 * MAX_PERIOD * DAY
"""Seconds to an expiry that governance lists."""
MAX_MODEL = 64 * ONE
"""Of all fields of a risk model."""
MAX_POWER = 2 * ONE
MIN_DAYS = ONE // 24


def validate_rebate(maker_fee: int, taker_fee: int) -> None:
    """Check a pair of fees: neither is above the maximum, and a rebate is paid by the other side.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE.
    """
    if maker_fee > MAX_FEE or taker_fee > MAX_FEE or maker_fee < -taker_fee:
        raise TransitionFault(Fault.OUT_OF_RANGE)


def validate_rule(params: UnderlyingParams) -> None:
    """Check the rule by which expiries are listed, if there is one: its ids are all in the tree.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE.
    """
    if params.list_base == 0:
        return
    end = params.list_base + params.list_expiries * (1 + 2 * params.list_strikes)
    if (
        not 1 <= params.strike_step <= MAX_PRICE
        or not 1 <= params.list_strikes <= MAX_STRIKES
        or not 1 <= params.list_expiries <= MAX_EXPIRIES
        or not 1 <= params.list_period <= MAX_PERIOD
        or end > 1 << MARKET_DEPTH
    ):
        raise TransitionFault(Fault.OUT_OF_RANGE)


def validate_params(params: UnderlyingParams) -> None:
    """Check governed parameters against the bounds that are fixed at deployment.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE.
    """
    bands = (
        params.jump_band,
        params.move_band,
        params.fill_band,
        params.outlier_band,
        params.option_fee_cap,
        params.funding_cap,
    )
    factors = (
        params.maintenance_factor,
        params.initial_factor,
        params.perp_maintenance,
        params.perp_initial,
        params.option_maintenance,
        params.option_initial,
        params.vol_reference,
        params.vol_slope,
        params.insurance_slope,
    )
    ages = (
        params.max_observation_age,
        params.max_mark_age,
        params.max_surface_age,
        params.halt_seconds,
    )
    step = params.multiplier_step
    if (
        params.tick == 0
        or any(band > MAX_BAND for band in bands)
        or any(factor > MAX_FACTOR for factor in factors)
        or any(age > MAX_AGE for age in ages)
        or params.initial_factor < params.maintenance_factor
        or not MIN_MULTIPLIER <= params.multiplier_min <= params.multiplier_max <= MAX_MULTIPLIER
        # A smaller step would be rounded to nothing by observations a second apart.
        or (step != 0 and not MULTIPLIER_PERIOD <= step <= MAX_MULTIPLIER)
        or params.force_penalty > MAX_PENALTY
        or (params.gas_market != 0 and params.gas_lot == 0)
    ):
        raise TransitionFault(Fault.OUT_OF_RANGE)
    validate_rebate(params.maker_fee, params.taker_fee)
    validate_rebate(params.option_maker_fee, params.option_taker_fee)
    validate_rule(params)


def validate_scenario(scenario: Scenario) -> None:
    """Check one point of a grid: a price never falls below 0, and a skew moves no price.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE.
    """
    shock = scenario.vol_shock
    if (
        scenario.spot_shock < -PPM
        or not -1 <= shock <= 3
        or scenario.weight > ONE
        or (shock >= 2 and scenario.spot_shock != 0)
    ):
        raise TransitionFault(Fault.OUT_OF_RANGE)


def validate_model(model: RiskModel) -> None:
    """Check that a risk model's numbers are as large as pricing can take them.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE.
    """
    if (
        any(not -MAX_MODEL <= getattr(model, name) <= MAX_MODEL for name in RiskModel.__slots__)
        or model.vol_up < 0
        or model.vol_down < 0
        or not 0 <= model.short_power <= MAX_POWER
        or not 0 <= model.long_power <= MAX_POWER
        or model.day_floor < MIN_DAYS
        or model.min_vol < 0
        or model.min_width <= 0
        or model.long_base < 0
        or model.short_base < 0
        or model.basis_add < 0
        or model.basis_scale < 0
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
    """Add a risk grid: count (1), basis scenarios (1 each), model, then its scenarios. Grids never
    change: marks depend on them.

    Raises
    ------
    TransitionFault
        NON_CANONICAL for a wrong length, OUT_OF_RANGE for no scenario or one that cannot be, a
        basis scenario that is not there, or a model out of its bounds; UNKNOWN_MARKET when the id
        is taken.
    """
    head = GRID_HEAD_BYTES - 1
    if len(body) < head or len(body) != head + SCENARIO_BYTES * body[0]:
        raise TransitionFault(Fault.NON_CANONICAL)
    # Before anything is decoded, whose cost would grow with the count.
    count = body[0]
    if not 1 <= count <= MAX_SCENARIOS or body[1] >= count or body[2] >= count:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    grid: Grid = decode_grid(bytes((GRID_TAG,)) + body)
    validate_model(grid.model)
    for scenario in grid.scenarios:
        validate_scenario(scenario)
    if touch_market(state, market) is not None:
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    set_market(state, market, grid)


def process_configure_underlying(state: State, market: MarketId, body: bytes) -> None:
    """List an underlying or change its parameters; prices and halts stay, the grid stays. The
    multiplier meets new bounds with the next observation.

    Raises
    ------
    TransitionFault
        NON_CANONICAL for a wrong length, OUT_OF_RANGE, UNKNOWN_MARKET when committee, grid or gas
        market is missing or the id holds another type.
    """
    if len(body) != PARAMS_BYTES:
        raise TransitionFault(Fault.NON_CANONICAL)
    params = decode_params(body)
    validate_params(params)
    get_committee(state, params.committee)
    get_grid(state, params.grid)
    # An underlying may price its own data.
    if params.gas_market not in (0, market):
        get_underlying(state, params.gas_market)
    if touch_market(state, market) is None:
        underlying = Underlying(
            params=params,
            index=0,
            observed_at=Timestamp(0),
            pending_index=0,
            halted_until=Timestamp(0),
            variance=0,
            multiplier=params.multiplier_min,
            window_sum=0,
            window_seconds=0,
            day=0,
            twaps=(0,) * TWAP_DAYS,
        )
        set_market(state, market, underlying)
        return
    underlying = get_underlying(state, market)
    if underlying.params.grid != params.grid:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    set_market(state, market, replace(underlying, params=params))


def process_configure_expiry(state: State, market: MarketId, body: bytes) -> None:
    """List an expiry: underlying (2), time (5). With time 0 it holds the premium of perpetuals.

    Raises
    ------
    TransitionFault
        NON_CANONICAL for a wrong length; OUT_OF_RANGE for a time that is past, too far away or not
        a day's expiry time, and for id 0, which means none; UNKNOWN_MARKET when the underlying is
        missing or the id is taken.
    """
    if len(body) != EXPIRY_BODY_BYTES:
        raise TransitionFault(Fault.NON_CANONICAL)
    underlying = MarketId(int.from_bytes(body[0:2], "big"))
    time = Timestamp(int.from_bytes(body[2:7], "big"))
    clock = state.globals.clock
    if market == 0 or (time != 0 and not (is_boundary(time) and clock < time <= clock + MAX_TERM)):
        raise TransitionFault(Fault.OUT_OF_RANGE)
    get_underlying(state, underlying)
    if touch_market(state, market) is not None:
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    set_market(state, market, create_expiry(underlying, time))


def validate_option(
    state: State, market: MarketId, kind: SeriesKind, expiry: MarketId, strike: int
) -> None:
    """Check where an option is listed: a call an odd number of ids after its expiry, a put of the
    same strike right after it, none of them further away than listing looks for them.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE; UNKNOWN_MARKET when a put's call is missing.
    """
    distance = market - expiry
    if not 1 <= distance <= 2 * MAX_STRIKES or distance % 2 == kind - 1:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    if kind == SeriesKind.PUT:
        call = get_series(state, MarketId(market - 1))
        if call.kind != SeriesKind.CALL or call.expiry != expiry or call.strike != strike:
            raise TransitionFault(Fault.UNKNOWN_MARKET)


def validate_terms(
    state: State,
    market: MarketId,
    kind: SeriesKind,
    underlying: MarketId,
    expiry: MarketId,
    strike: int,
) -> None:
    """Check what a new series settles to.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE for a strike that does not belong to the kind, or an option in the wrong place;
        UNKNOWN_MARKET when the expiry is missing, another underlying's, or not one for the kind;
        INACTIVE when it has passed.
    """
    is_perpetual = kind == SeriesKind.PERPETUAL
    if is_perpetual != (strike == 0) or strike > MAX_PRICE:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    if is_perpetual and expiry == 0:
        return
    leaf = get_expiry(state, expiry)
    if leaf.underlying != underlying or is_perpetual != (leaf.time == 0):
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    if is_perpetual:
        return
    if leaf.settlement != 0 or state.globals.clock >= leaf.time:
        raise TransitionFault(Fault.INACTIVE)
    validate_option(state, market, kind, expiry, strike)


def process_configure_series(state: State, market: MarketId, body: bytes) -> None:
    """List a series or change whether it trades: kind (1), status (1), underlying (2), expiry (2),
    strike (8). All but the status stays as it was listed.

    Raises
    ------
    TransitionFault
        NON_CANONICAL for a wrong length; OUT_OF_RANGE for an unknown kind or status, or SETTLED;
        UNKNOWN_MARKET when the underlying is missing, the id holds another type or the terms
        differ; INACTIVE when the series has settled; what `validate_terms` raises for a new one.
    """
    if len(body) != SERIES_BODY_BYTES:
        raise TransitionFault(Fault.NON_CANONICAL)
    if (
        body[0] > SeriesKind.PUT
        or body[1] > SeriesStatus.CLOSING
        or body[1] == SeriesStatus.SETTLED
    ):
        raise TransitionFault(Fault.OUT_OF_RANGE)
    kind = SeriesKind(body[0])
    status = SeriesStatus(body[1])
    underlying = MarketId(int.from_bytes(body[2:4], "big"))
    expiry = MarketId(int.from_bytes(body[4:6], "big"))
    strike = int.from_bytes(body[6:14], "big")
    get_underlying(state, underlying)
    leaf = touch_market(state, market)
    if leaf is None:
        validate_terms(state, market, kind, underlying, expiry, strike)
        set_market(state, market, create_series(kind, status, underlying, expiry, strike))
        return
    if (
        not isinstance(leaf, Series)
        or leaf.kind != kind
        or leaf.underlying != underlying
        or leaf.expiry != expiry
        or leaf.strike != strike
    ):
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    if leaf.status == SeriesStatus.SETTLED:
        raise TransitionFault(Fault.INACTIVE)
    set_market(state, market, replace(leaf, status=status))


def process_configure_closing(state: State, market: MarketId, body: bytes) -> None:
    """Close `count` series with consecutive ids to new risk, or open them again: status (1), count
    (1). CLOSING goes to those that are ACTIVE, ACTIVE to those that are CLOSING, and everything
    else stays as it is, so nothing is listed, and nothing that was stopped for another reason
    trades.

    Raises
    ------
    TransitionFault
        NON_CANONICAL for a wrong length; OUT_OF_RANGE for another status, for no series or too
        many, and past the last id; OVERWEIGHT.
    """
    if len(body) != CLOSING_BODY_BYTES:
        raise TransitionFault(Fault.NON_CANONICAL)
    status, count = body
    if (
        status not in (SeriesStatus.CLOSING, SeriesStatus.ACTIVE)
        or not 1 <= count <= MAX_CLOSING
        or market + count > 1 << MARKET_DEPTH
    ):
        raise TransitionFault(Fault.OUT_OF_RANGE)
    after = SeriesStatus(status)
    before = SeriesStatus.CLOSING if after == SeriesStatus.ACTIVE else SeriesStatus.ACTIVE
    charge(state, count * WEIGHT_CONFIGURE_WORD_GAS, 0)
    for place in range(market, market + count):
        series = touch_market(state, MarketId(place))
        if isinstance(series, Series) and series.status == before:
            set_market(state, MarketId(place), replace(series, status=after))


def process_configure(state: State, body: bytes) -> None:
    """Apply a Configure message.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, TRUNCATED, UNKNOWN_KIND, and what the six processes above raise.
    """
    # A new leaf is about as long as its body: touching the empty place did not pay for it.
    words = (len(body) + 31) // 32
    charge_module(state, words * WEIGHT_CONFIGURE_WORD_GAS)
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
        case 0x58:
            process_configure_expiry(state, market, fields)
        case 0x4D:
            process_configure_series(state, market, fields)
        case 0x50:
            process_configure_closing(state, market, fields)
        case _:
            raise TransitionFault(Fault.UNKNOWN_KIND)


def encode_configure(tag: int, market: MarketId, fields: bytes) -> bytes:
    """Return a Configure body."""
    return bytes((tag,)) + market.to_bytes(2, "big") + fields


def encode_configure_committee(market: MarketId, committee: Committee) -> bytes:
    """Return the Configure body that sets an oracle committee."""
    return encode_configure(COMMITTEE_TAG, market, encode_committee(committee)[1:])


def encode_configure_grid(market: MarketId, grid: Grid) -> bytes:
    """Return the Configure body that adds a risk grid."""
    return encode_configure(GRID_TAG, market, encode_grid(grid)[1:])


def encode_configure_underlying(market: MarketId, params: UnderlyingParams) -> bytes:
    """Return the Configure body that lists an underlying or changes its parameters."""
    return encode_configure_params(market, encode_params(params))


def encode_configure_params(market: MarketId, encoded_params: bytes) -> bytes:
    """Return the same, of parameters that are encoded already."""
    return encode_configure(UNDERLYING_TAG, market, encoded_params)


def encode_configure_expiry(market: MarketId, underlying: MarketId, time: Timestamp) -> bytes:
    """Return the Configure body that lists an expiry."""
    fields = underlying.to_bytes(2, "big") + time.to_bytes(5, "big")
    return encode_configure(EXPIRY_TAG, market, fields)


def encode_configure_series(
    market: MarketId,
    kind: SeriesKind,
    status: SeriesStatus,
    underlying: MarketId,
    expiry: MarketId = MarketId(0),  # noqa: B008
    strike: int = 0,
) -> bytes:
    """Return the Configure body that lists a series or changes its status."""
    fields = bytes((kind, status)) + underlying.to_bytes(2, "big") + expiry.to_bytes(2, "big")
    return encode_configure(SERIES_TAG, market, fields + strike.to_bytes(8, "big"))


def encode_configure_closing(market: MarketId, status: SeriesStatus, count: int) -> bytes:
    """Return the Configure body that closes series to new risk, or opens them again."""
    return encode_configure(CLOSING_TAG, market, bytes((status, count)))
