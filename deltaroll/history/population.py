"""Who trades: strategies with capital of their own, and the makers that quote them model prices.

A strategy looks at the day's close and brings its account to what it wants to hold. It takes; a
maker fills at the mark and half a spread. What the margin does not allow is tried again with half
the lots.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from deltaroll.engine.greeks import Sensitivities, compute_account_greeks
from deltaroll.history.exchange import (
    LIST_BASE,
    PERPETUAL,
    STRIKES,
    TICK,
    UNDERLYING,
    Exchange,
)
from deltaroll.protocol.constants import DAY, ONE, PPM, YEAR
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import compute_position_size
from deltaroll.protocol.fixed import compute_sqrt, multiply_down
from deltaroll.protocol.margin import Margin, compute_margin
from deltaroll.protocol.state import reset_meter
from deltaroll.protocol.types import (
    AccountId,
    Address,
    MarketId,
    Series,
    SeriesKind,
    SeriesStatus,
    Withdraw,
)

CAPITAL = 100_000 * 10**6
"""Of a strategy's account, collateral units."""
MAKER_CAPITAL = 40 * CAPITAL
LIQUIDATOR_CAPITAL = 20 * CAPITAL
MAKERS = 4
PERPETUAL_SPREAD = 200
"""Half of it, parts per million of the index."""
OPTION_SPREAD = 15_000
"""Half of it, parts per million of the mark; and as much of the index as the perpetual's."""
FRIDAY = 4
TRIES = 6
"""Halvings of an order that the margin does not allow."""
RETURN_DAYS = 10
"""After a ruin, days until the same strategy starts again with new money."""


@dataclass(slots=True)
class Agent:
    """An account and what its owner does with it."""

    kind: str
    account: AccountId
    owner: Address
    capital: int
    scale: int = 0
    """What the strategy makes of it: leverage, or the part of capital put at risk, in percent."""
    deposited: int = 0
    withdrawn: int = 0
    ruined_on: int | None = None
    """Day on which little was left."""
    ruins: int = 0


@dataclass(slots=True)
class Desk:
    """What agents trade through."""

    exchange: Exchange
    makers: list[Agent]
    day: int = 0
    weekday: int = 0
    trades: int = 0
    volume: int = 0
    """Notional at the index, collateral units."""
    turned_down: int = 0
    """Orders of which nothing was filled."""
    trend: int = 0
    """The day's move, parts per million."""
    _dice: Random = field(default_factory=lambda: Random(1))

    @property
    def index(self) -> int:
        """The price of a lot of the underlying."""
        return self.exchange.underlying.index

    def get_size(self, agent: Agent, market: MarketId) -> int:
        """Return the lots that an agent holds."""
        return compute_position_size(self.exchange.state.accounts[agent.account], market)

    def get_equity(self, agent: Agent) -> int:
        """Return an agent's equity."""
        return self.exchange.compute_equity(self.exchange.state.accounts[agent.account])

    def get_margin(self, agent: Agent) -> Margin | None:
        """Return an agent's margin, None while a mark is stale."""
        state = self.exchange.state
        reset_meter(state)
        try:
            return compute_margin(state, state.accounts[agent.account], state.globals.clock)
        except TransitionFault:
            return None

    def find_makers(self, market: MarketId, agent: Agent) -> list[Agent]:
        """Return who quotes a series: one maker for all options of an expiry, any for perpetuals;
        never the agent itself.
        """
        series = self.exchange.get_series(market)
        if series.kind == SeriesKind.PERPETUAL:
            first = self._dice.randrange(len(self.makers))
            order = self.makers[first:] + self.makers[:first]
        else:
            place = (series.expiry - LIST_BASE) // (1 + 2 * STRIKES)
            order = [self.makers[place % len(self.makers)]]
        return [maker for maker in order if maker is not agent]

    def compute_price(self, series: Series, is_buy: bool) -> int:
        """Return a maker's price: the mark and half a spread, on the side of a whole tick that
        suits the maker.
        """
        half = self.index * PERPETUAL_SPREAD // PPM
        if series.kind != SeriesKind.PERPETUAL:
            half += series.mark * OPTION_SPREAD // PPM
        if is_buy:
            return -(-(series.mark + half) // TICK) * TICK
        return max(TICK, (series.mark - half) // TICK * TICK)

    def trade(self, agent: Agent, market: MarketId, lots: int) -> int:
        """Buy lots, or sell them when negative; return what was traded, signed alike."""
        series = self.exchange.get_series(market)
        if lots == 0 or series.status != SeriesStatus.ACTIVE:
            return 0
        price = self.compute_price(series, lots > 0)
        wanted = lots
        for _ in range(TRIES):
            for maker in self.find_makers(market, agent):
                fault = self.exchange.trade(maker.account, agent.account, market, wanted, price)
                if fault == Fault.NONE:
                    self.trades += 1
                    self.volume += abs(wanted) * self.index
                    return wanted
            wanted = int(wanted / 2)
            if wanted == 0:
                break
        self.turned_down += 1
        return 0

    def bring_to(self, agent: Agent, market: MarketId, size: int, slack: int = 5) -> None:
        """Trade to a size, unless it is held to within `slack` percent already."""
        held = self.get_size(agent, market)
        if abs(size - held) * 100 > abs(size) * slack:
            self.trade(agent, market, size - held)

    def find_expiry(self, days: int) -> MarketId | None:
        """Return the first expiry at least so many days away, None when none is listed."""
        clock = self.exchange.clock
        for market in self.exchange.find_expiries():
            if self.exchange.get_expiry(market).time >= clock + days * DAY:
                return market
        return None

    def find_option(self, expiry: MarketId, kind: SeriesKind, strike: int) -> MarketId:
        """Return the option of an expiry whose strike is nearest."""
        markets = [
            MarketId(market)
            for market in self.exchange.get_options(expiry)
            if self.exchange.get_series(MarketId(market)).kind == kind
        ]
        return min(
            markets, key=lambda market: abs(self.exchange.get_series(market).strike - strike)
        )

    def find_deviation(self, expiry: MarketId) -> int:
        """Return one standard deviation of the index up to an expiry, in collateral units."""
        left = self.exchange.get_expiry(expiry).time - self.exchange.clock
        root = compute_sqrt((left * ONE // YEAR) << 48)
        return multiply_down(self.index, multiply_down(self.exchange.volatility, root))

    def has_options(self, agent: Agent) -> bool:
        """Return whether an agent holds options that live."""
        account = self.exchange.state.accounts[agent.account]
        return any(
            self.exchange.get_series(position.series).kind != SeriesKind.PERPETUAL
            for position in account.positions
        )

    def compute_delta(self, agent: Agent, sensitivities: Sensitivities) -> int:
        """Return an agent's delta in lots, rounded to nearest."""
        account = self.exchange.state.accounts[agent.account]
        greeks = compute_account_greeks(sensitivities, account).get(UNDERLYING)
        return 0 if greeks is None else (greeks.delta + ONE // 2) >> 48


def trade_lots(desk: Desk, agent: Agent, percent: int) -> int:
    """Return the lots whose notional is that part of an agent's equity; 0 without equity."""
    return max(0, desk.get_equity(agent)) * percent // 100 // desk.index


def act_covered_call(desk: Desk, agent: Agent) -> None:
    """Hold the underlying, `scale` percent of equity; on Fridays sell calls on it, a few percent
    above.
    """
    lots = trade_lots(desk, agent, agent.scale)
    desk.bring_to(agent, PERPETUAL, lots, 10)
    expiry = desk.find_expiry(21)
    if desk.weekday == FRIDAY and expiry is not None and not desk.has_options(agent):
        call = desk.find_option(expiry, SeriesKind.CALL, desk.index + desk.find_deviation(expiry))
        desk.trade(agent, call, -desk.get_size(agent, PERPETUAL))


def act_strangle(desk: Desk, agent: Agent) -> None:
    """On Fridays sell a put and a call, a standard deviation away, until initial margin is `scale`
    percent of equity.
    """
    expiry = desk.find_expiry(10)
    margin = desk.get_margin(agent)
    if desk.weekday != FRIDAY or expiry is None or margin is None or margin.equity <= 0:
        return
    free = margin.equity * agent.scale // 100 - margin.initial
    lots = free * 6 // desk.index
    width = desk.find_deviation(expiry)
    if lots <= 0:
        return
    put = desk.find_option(expiry, SeriesKind.PUT, desk.index - width)
    call = desk.find_option(expiry, SeriesKind.CALL, desk.index + width)
    desk.trade(agent, call, desk.trade(agent, put, -lots))


def act_put_buyer(desk: Desk, agent: Agent) -> None:
    """On Fridays, when there are none left, buy puts 5 % below for `scale` percent of equity."""
    expiry = desk.find_expiry(25)
    if desk.weekday != FRIDAY or expiry is None or desk.has_options(agent):
        return
    put = desk.find_option(expiry, SeriesKind.PUT, desk.index * 95 // 100)
    mark = max(TICK, desk.exchange.get_series(put).mark)
    desk.trade(agent, put, max(0, desk.get_equity(agent)) * agent.scale // 100 // mark)


def act_trend(desk: Desk, agent: Agent) -> None:
    """Hold the perpetual at `scale` percent of equity, short when negative; add on gains, never cut
    on losses.
    """
    lots = trade_lots(desk, agent, abs(agent.scale))
    held = desk.get_size(agent, PERPETUAL)
    if lots > abs(held) * 11 // 10:
        desk.trade(agent, PERPETUAL, (lots if agent.scale > 0 else -lots) - held)


def act_hedger(desk: Desk, agent: Agent) -> None:
    """Hold straddles of `scale` percent of equity, sold when negative, and keep delta near zero
    with the perpetual, every day.
    """
    expiry = desk.find_expiry(14)
    if desk.weekday == FRIDAY and expiry is not None and not desk.has_options(agent):
        lots = trade_lots(desk, agent, abs(agent.scale)) * (1 if agent.scale > 0 else -1)
        put = desk.find_option(expiry, SeriesKind.PUT, desk.index)
        call = desk.find_option(expiry, SeriesKind.CALL, desk.index)
        desk.trade(agent, call, desk.trade(agent, put, lots))
    hedge(desk, agent, Sensitivities(desk.exchange.state))


def hedge(desk: Desk, agent: Agent, sensitivities: Sensitivities) -> None:
    """Trade the perpetual against an agent's delta, unless that is below 2 % of equity."""
    delta = desk.compute_delta(agent, sensitivities)
    if abs(delta) * desk.index * 50 > max(0, desk.get_equity(agent)):
        desk.trade(agent, PERPETUAL, -delta)


def act_basis(desk: Desk, agent: Agent) -> None:
    """Short the perpetual against a synthetic long, `scale` percent of equity: what is left is the
    funding.
    """
    expiry = desk.find_expiry(21)
    if expiry is not None and not desk.has_options(agent):
        lots = trade_lots(desk, agent, agent.scale)
        call = desk.find_option(expiry, SeriesKind.CALL, desk.index)
        put = desk.find_option(expiry, SeriesKind.PUT, desk.index)
        lots = desk.trade(agent, call, lots)
        sold = desk.trade(agent, put, -lots)
        desk.bring_to(agent, PERPETUAL, sold, 0)


def act_liquidator(desk: Desk, agent: Agent) -> None:
    """Trade out of what was taken over."""
    for position in desk.exchange.state.accounts[agent.account].positions:
        desk.trade(agent, position.series, -position.size)


def act_maker(desk: Desk, agent: Agent) -> None:
    """Nothing of its own: makers share their delta at the end of the day."""


ACTIONS: dict[str, Callable[[Desk, Agent], None]] = {
    "covered calls": act_covered_call,
    "short strangles": act_strangle,
    "put buyers": act_put_buyer,
    "perp longs": act_trend,
    "perp shorts": act_trend,
    "delta hedgers": act_hedger,
    "basis": act_basis,
    "liquidators": act_liquidator,
    "market makers": act_maker,
}
SCALES: dict[str, tuple[int, ...]] = {
    "covered calls": (50, 80, 100, 150),
    "short strangles": (25, 40, 55, 70, 85, 95),
    "put buyers": (1, 1, 2, 3),
    "perp longs": (100, 200, 300, 350, 400, 430),
    "perp shorts": (-100, -200, -300, -400),
    "delta hedgers": (-100, -50, 50, 100),
    "basis": (100, 150, 200),
    "liquidators": (0, 0),
    "market makers": (0,) * MAKERS,
}
"""Percent of equity, by kind; an account each."""
LEVERED = frozenset({"perp longs", "perp shorts", "short strangles", "delta hedgers"})
"""Kinds whose scale grows where margin is thin."""


def balance_makers(desk: Desk) -> None:
    """Let makers trade the perpetual among each other until they share their delta evenly."""
    sensitivities = Sensitivities(desk.exchange.state)
    deltas = [desk.compute_delta(maker, sensitivities) for maker in desk.makers]
    mean = sum(deltas) // len(deltas)
    for _ in range(len(deltas)):
        high = max(range(len(deltas)), key=lambda place: deltas[place])
        low = min(range(len(deltas)), key=lambda place: deltas[place])
        lots = min(deltas[high] - mean, mean - deltas[low])
        if lots * desk.index * 50 < desk.makers[high].capital // 10:
            break
        price = desk.exchange.get_series(PERPETUAL).mark // TICK * TICK
        buyer, seller = desk.makers[low].account, desk.makers[high].account
        if desk.exchange.trade(seller, buyer, PERPETUAL, lots, price) != Fault.NONE:
            break
        desk.trades += 1
        desk.volume += lots * desk.index
        deltas[high] -= lots
        deltas[low] += lots


def refill(desk: Desk, agent: Agent) -> None:
    """Bring new money some days after a ruin, and take out what has become twice the capital."""
    exchange = desk.exchange
    equity = desk.get_equity(agent)
    account = exchange.state.accounts[agent.account]
    if equity * 5 < agent.capital and not account.positions:
        if agent.ruined_on is None:
            agent.ruined_on = desk.day
            agent.ruins += 1
        elif desk.day >= agent.ruined_on + RETURN_DAYS:
            amount = agent.capital - max(0, equity)
            exchange.deposit(agent.owner, agent.account, amount)
            agent.deposited += amount
            agent.ruined_on = None
    elif equity > 2 * agent.capital and desk.weekday == FRIDAY:
        amount = equity - 2 * agent.capital
        withdrawal = Withdraw(agent.account, agent.owner, amount, account.nonce + 1)
        if exchange.apply(withdrawal) == Fault.NONE:
            agent.withdrawn += amount


def create_population(exchange: Exchange) -> list[Agent]:
    """Open and fund an account for every strategy, maker and liquidator."""
    agents: list[Agent] = []
    for kind, scales in SCALES.items():
        for scale in scales:
            number = len(agents) + 1
            owner = Address(number.to_bytes(20, "big"))
            capital = {"market makers": MAKER_CAPITAL, "liquidators": LIQUIDATOR_CAPITAL}.get(
                kind, CAPITAL
            )
            account = exchange.deposit(owner, None, capital)
            agent = Agent(kind, account, owner, capital, scale, deposited=capital)
            if kind in LEVERED:
                agent.scale *= exchange.terms.thinness
            agents.append(agent)
    return agents
