"""The replay: prices come in, everything is marked, the weak are liquidated, the rest trade.

A day has up to four prices: open, the two extremes (the low first on a day that rises) and close.
Volatility moves from one close to the next in proportion. Everybody trades at the close. Fridays at
the expiry time options settle by the average of half an hour before it, in which the last price
holds.
"""

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from deltaroll.engine.revaluation import compute_valuation, create_sheet
from deltaroll.history.data import UNIT, Asset, Day, Regime
from deltaroll.history.exchange import Exchange, Terms, create_exchange
from deltaroll.history.population import (
    ACTIONS,
    CAPITAL,
    Agent,
    Desk,
    balance_makers,
    create_population,
    refill,
)
from deltaroll.presets import PMRM_2
from deltaroll.protocol.constants import (
    DAY,
    INSURANCE_ACCOUNT,
    ONE,
    PPM,
    SETTLEMENT_WINDOW,
)
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.liquidation import compute_largest_share, compute_rate
from deltaroll.protocol.margin import Margin
from deltaroll.protocol.state import compute_state_root
from deltaroll.protocol.types import AccountId, Distress, Liquidate, Socialise

LEAST_MOVE = Fraction(1, 200)
"""An open or an extreme closer to the last price is left out."""
BID_SECONDS = 300
"""A liquidator lets an auction run for so long before each bid."""
ROUNDS = 10
"""Bids for one account at one price: less than an hour, in which marks stay fresh."""
WINDOW_STEP = 300
ENDOWMENT = CAPITAL // 2
"""What the insurance fund starts with, given by a maker."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The end of a day."""

    date: datetime.date
    index: int
    volatility: int
    """Q48."""
    multiplier: int
    insurance: int
    liquidated: int
    """Maintenance margin taken over on that day."""
    socialised: int
    """Loss spread on that day."""
    lost: int
    """Sum of what accounts lost on that day, those that gained left out."""


@dataclass(slots=True)
class Score:
    """What a regime came to. Money in collateral units."""

    regime: Regime
    agents: list[Agent] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    trades: int = 0
    turned_down: int = 0
    volume: int = 0
    fees: int = 0
    funding: int = 0
    distressed: int = 0
    """Auctions begun."""
    liquidations: int = 0
    """Bids that were accepted."""
    liquidated: int = 0
    """Maintenance margin that they took over."""
    rewards: int = 0
    """Paid to liquidators."""
    endowment: int = 0
    insurance_paid: int = 0
    """Out of the fund, for holes and rewards."""
    insurance_earned: int = 0
    """Its share of what solvent accounts paid."""
    insurance_lowest: int = 0
    socialised: int = 0
    """Losses spread over holders of the other side."""
    socialisations: int = 0
    halts: int = 0
    """Times that the breaker tripped."""
    multiplier: int = PPM
    """The highest."""
    steps: int = 0
    """After each of which the books were checked."""
    profits: dict[str, int] = field(default_factory=dict)
    """By kind of strategy: equity and withdrawals less deposits."""
    counts: dict[str, int] = field(default_factory=dict)
    """Transactions by kind."""
    root: bytes = b""
    """The state root at the end: the same in every run."""
    refused: dict[str, int] = field(default_factory=dict)
    """Transactions refused, by kind and fault."""

    @property
    def worst(self) -> Sample:
        """The day on which accounts lost most."""
        return max(self.samples, key=lambda sample: sample.lost)


@dataclass(frozen=True, slots=True)
class Point:
    """A price at a time."""

    time: int
    price: int
    """Per lot, collateral units."""
    volatility: Fraction
    is_close: bool


def to_lot_price(price: Fraction, asset: Asset) -> int:
    """Return a price in dollars as collateral units per lot."""
    return int(price * asset.lot * UNIT)


def to_seconds(date: datetime.date) -> int:
    """Return midnight UTC of a day in Unix time."""
    return (date - datetime.date(1970, 1, 1)).days * DAY


def make_points(day: Day, before: Fraction, asset: Asset) -> Iterator[Point]:
    """Yield a day's prices; `before` is the volatility of the last close."""
    rises = day.close >= day.open
    extremes = (day.low, day.high) if rises else (day.high, day.low)
    start = to_seconds(day.date)
    prices = (day.open, *extremes, day.close)
    for step, (hour, price) in enumerate(zip(asset.hours, prices, strict=True), 1):
        volatility = before + (day.volatility - before) * step / 4
        yield Point(start + hour, to_lot_price(price, asset), volatility, step == 4)


class Replay:
    """One regime on one venue."""

    def __init__(self, regime: Regime, *, is_strict: bool = False) -> None:
        """Open the venue on the day before the first, fund everybody, endow the insurance fund."""
        asset = regime.asset
        first = regime.days[0]
        terms = Terms(
            grid=PMRM_2,
            strike_step=int(asset.strike_step * asset.lot * UNIT),
            correlation=round(asset.correlation * ONE),
            curvature=round(asset.curvature * ONE),
            thinness=regime.thinness,
        )
        self.price = to_lot_price(first.open, asset)
        clock = to_seconds(first.date) - DAY + asset.hours[3]
        self.exchange: Exchange = create_exchange(terms, clock, self.price)
        self.exchange.is_strict = is_strict
        self.score = Score(regime)
        self.score.agents = create_population(self.exchange)
        makers = [agent for agent in self.score.agents if agent.kind == "market makers"]
        self.desk = Desk(self.exchange, makers)
        self.liquidators = [agent for agent in self.score.agents if agent.kind == "liquidators"]
        self.exchange.endow(makers[0].account, ENDOWMENT)
        makers[0].withdrawn += ENDOWMENT
        self.score.endowment = self.score.insurance_lowest = ENDOWMENT
        self._equity: dict[AccountId, int] = {}
        self._moved: dict[AccountId, int] = {}
        self._liquidated = 0
        self._socialised = 0

    def run(self, tell: Callable[[Day], None] | None = None) -> Score:
        """Replay all days; `tell` hears of each."""
        volatility = self.score.regime.days[0].volatility
        for number, day in enumerate(self.score.regime.days):
            self.run_day(number, day, volatility)
            volatility = day.volatility
            if tell is not None:
                tell(day)
        return self.finish()

    def run_day(self, number: int, day: Day, before: Fraction) -> None:
        """Replay a day."""
        exchange, desk = self.exchange, self.desk
        exchange.premium = round(day.funding * ONE)
        desk.day, desk.weekday = number, day.date.weekday()
        self._liquidated = self._socialised = 0
        for point in make_points(day, before, self.score.regime.asset):
            boundary = compute_boundary(compute_day(exchange.clock + 1))
            while boundary <= point.time:
                self.settle(boundary)
                boundary = compute_boundary(compute_day(boundary + 1))
            move = abs(Fraction(point.price, self.price) - 1)
            if move < LEAST_MOVE and not point.is_close:
                continue
            exchange.volatility = round(point.volatility * ONE)
            self.observe(point.time, point.price)
            exchange.mark()
            self.liquidate_all()
            if point.is_close:
                self.trade()
                self.sample(day)
            self.check()

    def observe(self, time: int, price: int) -> None:
        """Report a price; one that trips the breaker again half a minute later, which confirms
        it.
        """
        self.exchange.set_clock(time)
        if self.exchange.observe(price):
            self.score.halts += 1
            self.exchange.set_clock(time + 30)
            if self.exchange.observe(price):
                raise ValueError("a confirmed price is still halted")
        self.price = price
        multiplier = self.exchange.underlying.multiplier
        self.score.multiplier = max(self.score.multiplier, multiplier)

    def settle(self, boundary: int) -> None:
        """Go through an expiry time: hold the price through the window, settle, list anew."""
        due = [self.exchange.get_expiry(market).time for market in self.exchange.find_expiries()]
        if boundary not in due:
            return
        for time in range(boundary - SETTLEMENT_WINDOW, boundary, WINDOW_STEP):
            self.observe(time, self.price)
        self.observe(boundary + 5, self.price)
        self.exchange.settle()
        self.check()

    def liquidate_all(self) -> None:
        """Begin and end auctions as the protocol allows, and let liquidators bid."""
        exchange, state = self.exchange, self.exchange.state
        valuation = compute_valuation(state, create_sheet(state))
        if valuation.faults:
            raise ValueError("an account cannot be valued after everything was marked")
        margins = {
            account: valuation.get_margin(row) for row, account in enumerate(valuation.accounts)
        }
        for account_id, margin in margins.items():
            if margin is None or account_id == INSURANCE_ACCOUNT:
                continue
            is_below = margin.equity < margin.maintenance
            was_below = state.accounts[account_id].distressed_at != 0
            if is_below != was_below:
                exchange.must(Distress(account_id))
                self.score.distressed += is_below
        waiting = [
            account_id
            for account_id, account in sorted(state.accounts.items())
            if account.distressed_at != 0
        ]
        for _ in range(ROUNDS):
            if not waiting:
                break
            exchange.set_clock(exchange.clock + BID_SECONDS)
            waiting = [account_id for account_id in waiting if not self.liquidate(account_id)]

    def find_margin(self, account_id: AccountId) -> Margin:
        """Return an account's margin, by the same product of matrices."""
        state = self.exchange.state
        margin = compute_valuation(state, create_sheet(state, (account_id,))).get_margin(0)
        if margin is None:
            raise ValueError("an account cannot be valued")
        return margin

    def liquidate(self, target: AccountId) -> bool:
        """Bid for what the auction allows, half of it where a liquidator cannot carry that; return
        whether the auction is over.
        """
        exchange, state = self.exchange, self.exchange.state
        account = state.accounts[target]
        margin = self.find_margin(target)
        if margin.equity >= margin.maintenance:
            if account.distressed_at != 0:
                exchange.must(Distress(target))
            return True
        if margin.equity < 0 and -margin.equity > state.globals.insurance:
            self.socialise(target, -margin.equity)
            margin = self.find_margin(target)
        if not account.positions:
            if margin.equity < 0 and state.globals.insurance:
                self.socialise(target, -margin.equity)
            return True
        reward = margin.maintenance * compute_rate(exchange.clock - account.distressed_at) // PPM
        share = compute_largest_share(margin, reward)
        while share:
            for liquidator in self.liquidators:
                if liquidator.account != target and self.bid(liquidator, target, share, margin):
                    return state.accounts[target].distressed_at == 0
            share //= 2
        return False

    def bid(self, liquidator: Agent, target: AccountId, share: int, margin: Margin) -> bool:
        """Take over a share; return whether that was accepted."""
        exchange, state = self.exchange, self.exchange.state
        score = self.score
        before = state.globals.insurance
        account = state.accounts[liquidator.account]
        equity = exchange.compute_equity(account)
        fault = exchange.apply(Liquidate(liquidator.account, target, share, 0, account.nonce + 1))
        if fault != Fault.NONE:
            return False
        part = margin.maintenance * share // PPM
        score.liquidations += 1
        score.liquidated += part
        self._liquidated += part
        score.rewards += exchange.compute_equity(state.accounts[liquidator.account]) - equity
        self.note_insurance(before)
        return True

    def socialise(self, target: AccountId, deficit: int) -> None:
        """Spread what the insurance fund cannot fill."""
        before = self.exchange.state.globals.insurance
        has_positions = bool(self.exchange.state.accounts[target].positions)
        self.exchange.must(Socialise(target))
        self.score.socialisations += 1
        if has_positions:
            self.score.socialised += deficit - before
            self._socialised += deficit - before
        self.note_insurance(before)

    def note_insurance(self, before: int) -> None:
        """Count what the insurance fund has paid or earned."""
        score, now = self.score, self.exchange.state.globals.insurance
        score.insurance_paid += max(0, before - now)
        score.insurance_earned += max(0, now - before)
        score.insurance_lowest = min(score.insurance_lowest, now)

    def trade(self) -> None:
        """Let everybody act on the close."""
        for agent in self.score.agents:
            if self.exchange.state.accounts[agent.account].distressed_at == 0:
                ACTIONS[agent.kind](self.desk, agent)
        balance_makers(self.desk)

    def sample(self, day: Day) -> None:
        """Note how the day ended; refill and empty accounts after that."""
        exchange, state = self.exchange, self.exchange.state
        lost = 0
        for agent in self.score.agents:
            equity = self.desk.get_equity(agent)
            lost += max(0, self._equity.get(agent.account, equity) - equity)
            refill(self.desk, agent)
            self._equity[agent.account] = self.desk.get_equity(agent)
        self.score.samples.append(
            Sample(
                date=day.date,
                index=self.price,
                volatility=exchange.volatility,
                multiplier=exchange.underlying.multiplier,
                insurance=state.globals.insurance,
                liquidated=self._liquidated,
                socialised=self._socialised,
                lost=lost,
            )
        )

    def check(self) -> None:
        """Check the books."""
        self.exchange.check()
        self.score.steps += 1

    def finish(self) -> Score:
        """Return the score."""
        score, exchange, desk = self.score, self.exchange, self.desk
        score.trades, score.volume = desk.trades, desk.volume
        score.turned_down = desk.turned_down
        score.fees = exchange.state.globals.fee_pool
        score.funding = exchange.funding_paid
        score.root = compute_state_root(exchange.state)
        score.counts = dict(sorted(exchange.counts.items()))
        score.refused = dict(sorted(exchange.refused.items()))
        for agent in score.agents:
            result = desk.get_equity(agent) + agent.withdrawn - agent.deposited
            score.profits[agent.kind] = score.profits.get(agent.kind, 0) + result
        return score


def replay(
    regime: Regime, tell: Callable[[Day], None] | None = None, *, is_strict: bool = False
) -> Score:
    """Replay a regime; LedgerError when money or lots are made or lost on the way."""
    return Replay(regime, is_strict=is_strict).run(tell)
