"""A state with a whole board of options, and random accounts on it, for risk in bulk."""

from dataclasses import replace
from random import Random

from deltaroll.presets import DERIBIT, PMRM_2, SPAN_16, make_params
from deltaroll.protocol.constants import DAY, EXPIRY_TIME, MAX_POSITIONS, ONE
from deltaroll.protocol.listing import create_expiry, create_series
from deltaroll.protocol.mark import process_mark
from deltaroll.protocol.state import State, reset_meter, set_account, set_market
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    Grid,
    Mark,
    MarketId,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
    UnderlyingParams,
)

GENESIS = Timestamp(20_000 * DAY + EXPIRY_TIME - 3 * 3600)
"""Three hours before an expiry time."""
COMMITTEE = MarketId(1)
GRIDS = (PMRM_2, DERIBIT, SPAN_16)
INDEX = 40_000_000
TICK = 1_000


def make_underlying(params: UnderlyingParams, index: int = INDEX) -> Underlying:
    """An underlying that has just been observed."""
    return Underlying(
        params=params,
        index=index,
        observed_at=GENESIS,
        pending_index=0,
        halted_until=Timestamp(0),
        variance=0,
        multiplier=1_000_000,
        window_sum=0,
        window_seconds=0,
        day=20_000,
        twaps=(0, 0, 0, 0),
    )


def set_expiry(
    state: State,
    market: MarketId,
    underlying: MarketId,
    days: int,
    volatility: float,
    *,
    skew: float = -0.4,
    rate: float = 0.03,
    ratio: float = 1.0,
) -> None:
    """Store an expiry whose surface has about this volatility at the money."""
    time = Timestamp(GENESIS + 3 * 3600 + days * DAY)
    variance = volatility**2 * (time - GENESIS) / (365 * DAY)
    set_market(
        state,
        market,
        replace(
            create_expiry(underlying, time),
            ratio=round(ratio * ONE),
            rate=round(rate * ONE),
            a=round(variance * 0.5 * ONE),
            b=round(variance * 2.5 * ONE),
            rho=round(skew * ONE),
            sigma=round(0.2 * ONE),
            surfaced_at=GENESIS,
        ),
    )


def build_board(
    *,
    underlyings: int = 1,
    expiries: int = 3,
    strikes: int = 5,
    perpetuals: int = 1,
    grids: tuple[Grid, ...] = (PMRM_2,),
) -> State:
    """Underlyings at 1000 * k, each with perpetuals, one of them with a premium, and options on
    several expiries; all marked.
    """
    state = State()
    state.globals = replace(state.globals, clock=GENESIS)
    for number in range(underlyings):
        base = 1_000 * (number + 1)
        grid = MarketId(base + 1)
        key = MarketId(base)
        set_market(state, grid, grids[number % len(grids)])
        set_market(state, key, make_underlying(make_params(COMMITTEE, grid, TICK)))
        premium = MarketId(base + 2)
        set_market(
            state, premium, replace(create_expiry(key, Timestamp(0)), ratio=ONE + ONE // 1000)
        )
        active = SeriesStatus.ACTIVE
        for place in range(perpetuals):
            leaf = premium if place % 2 else MarketId(0)
            perpetual = create_series(SeriesKind.PERPETUAL, active, key, leaf, 0)
            mark(state, MarketId(base + 10 + place), [perpetual])
        width = 1 + 2 * strikes
        for place in range(expiries):
            expiry = MarketId(base + 100 + place * width)
            days = (0, 1, 7, 14, 30, 60, 90, 180, 270, 365)[place % 10]
            set_expiry(state, expiry, key, days, 0.3 + 0.05 * place)
            for step in range(strikes):
                strike = INDEX * (100 + 20 * (2 * step + 1 - strikes) // strikes) // 100
                kinds = (SeriesKind.CALL, SeriesKind.PUT)
                pair = [create_series(kind, active, key, expiry, strike) for kind in kinds]
                mark(state, MarketId(expiry + 1 + 2 * step), pair)
    return state


def mark(state: State, market: MarketId, leaves: list[Series]) -> None:
    """List series under consecutive ids and mark them."""
    for offset, leaf in enumerate(leaves):
        set_market(state, MarketId(market + offset), leaf)
    reset_meter(state)
    process_mark(state, Mark(market, len(leaves)))


def find_series(state: State) -> list[MarketId]:
    """All series, ascending."""
    return sorted(market for market, leaf in state.markets.items() if isinstance(leaf, Series))


def add_account(state: State, number: int, cash: int, sizes: dict[MarketId, int]) -> AccountId:
    """Store an account whose positions have no carry behind them."""
    positions = tuple(
        Position(market, size, 0) for market, size in sorted(sizes.items()) if size != 0
    )
    owner = Address(number.to_bytes(20, "big"))
    nothing = Timestamp(0)
    account = Account(owner, ZERO_ADDRESS, nothing, 0, cash, 0, nothing, positions)
    set_account(state, AccountId(number), account)
    return AccountId(number)


def make_sizes(rng: Random, markets: list[MarketId], most: int) -> dict[MarketId, int]:
    """Up to MAX_POSITIONS random sizes, neighbours of what is held more likely than others."""
    count = rng.randint(0, min(MAX_POSITIONS, len(markets)))
    first = rng.randrange(len(markets))
    chosen = {markets[(first + step) % len(markets)] for step in range(count // 2)}
    chosen.update(rng.sample(markets, count - len(chosen)))
    return {market: rng.randint(-most, most) for market in chosen}
