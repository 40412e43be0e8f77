"""A venue without L1 and without signatures: the protocol's state, and who drives it.

Every transaction goes through `process_transaction`, each as a chunk of its own, so none may weigh
more than a proof can carry. After every step the books are checked to the unit.
"""

from collections import Counter
from dataclasses import dataclass, field, replace

from deltaroll.engine.ledger import compute_equity, compute_equity_at_marks, find_open_sizes
from deltaroll.node.upkeep import has_settled
from deltaroll.presets import make_params
from deltaroll.protocol.configure import (
    encode_configure_committee,
    encode_configure_expiry,
    encode_configure_grid,
    encode_configure_series,
    encode_configure_underlying,
)
from deltaroll.protocol.constants import (
    INSURANCE_ACCOUNT,
    ONE,
    WEIGHT_CHUNK_BYTES,
    WEIGHT_CHUNK_GAS,
    YEAR,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fixed import compute_exp, compute_sqrt, multiply_down
from deltaroll.protocol.state import State, charge, reset_meter
from deltaroll.protocol.transition import Progress, process_chunk_start, process_transaction
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    Committee,
    Context,
    Expiry,
    Fill,
    Fund,
    Grid,
    List,
    Mark,
    MarketId,
    Message,
    MessageKind,
    Observation,
    Observe,
    Order,
    Queue,
    Series,
    SeriesKind,
    SeriesStatus,
    SlotId,
    Surface,
    Sweep,
    TimeInForce,
    Timestamp,
    Transaction,
    Transfer,
    Underlying,
    UnderlyingParams,
)

COMMITTEE, GRID, UNDERLYING, PREMIUM, PERPETUAL = (MarketId(number) for number in range(1, 6))
LIST_BASE = MarketId(100)
MEMBERS = tuple(Address(bytes(19) + bytes((number,))) for number in (1, 2, 3))
SIGNERS = (1 << len(MEMBERS)) - 1
TICK = 1_000
SLOTS = 16
"""Order slots that an account uses in turn."""
WEEK = 7
STRIKES = 11
EXPIRIES = 5
"""Fridays listed ahead. With this many strikes, two of them and the perpetual fit an account."""


class LedgerError(Exception):
    """Money or lots were made or lost."""


@dataclass(slots=True)
class Terms:
    """What a venue is opened with."""

    grid: Grid
    strike_step: int
    """Per lot, collateral units."""
    correlation: int
    """Q48, like the next."""
    curvature: int
    rate: int = ONE // 50
    """A year."""
    thinness: int = 1


@dataclass(slots=True)
class Exchange:
    """The state, and counts of what was done to it."""

    state: State
    terms: Terms
    counts: Counter[str] = field(default_factory=Counter)
    """Transactions accepted, by kind."""
    refused: Counter[str] = field(default_factory=Counter)
    """Transactions refused, by kind and fault."""
    funding_paid: int = 0
    """By whichever side pays, all told."""
    volatility: int = ONE // 5
    """What surfaces are made of, Q48."""
    premium: int = 0
    """Of the perpetual over the index, Q48."""
    is_strict: bool = False
    """Check the books after every transaction, not every step."""
    orders: int = 0

    @property
    def clock(self) -> Timestamp:
        """The clock of the state."""
        return self.state.globals.clock

    @property
    def underlying(self) -> Underlying:
        """The underlying's leaf."""
        leaf = self.state.markets[UNDERLYING]
        assert isinstance(leaf, Underlying)
        return leaf

    def get_series(self, market: MarketId) -> Series:
        """Return a series that is known to be there."""
        leaf = self.state.markets[market]
        assert isinstance(leaf, Series)
        return leaf

    def get_expiry(self, market: MarketId) -> Expiry:
        """Return an expiry that is known to be there."""
        leaf = self.state.markets[market]
        assert isinstance(leaf, Expiry)
        return leaf

    def get_context(self) -> Context:
        """Return the context of a chunk: L1 is where the clock is."""
        return Context(bytes(32), self.clock, len(self.state.messages), 0, 0, False, False)

    def set_clock(self, clock: int) -> None:
        """Start a chunk, and accrue funding up to its clock."""
        context = replace(self.get_context(), l1_time=Timestamp(clock))
        process_chunk_start(self.state, Timestamp(clock), context)
        before = self.get_series(PERPETUAL)
        if self.apply(Fund(PERPETUAL)) == Fault.NONE:
            after = self.get_series(PERPETUAL)
            step = abs(after.carry_long - before.carry_long)
            self.funding_paid += step * before.open_interest

    def apply(self, transaction: Transaction) -> Fault:
        """Process a transaction; a refused one leaves the state as it was."""
        state = self.state
        name = type(transaction).__name__
        reset_meter(state)
        state.begin()
        try:
            charge(state, WEIGHT_CHUNK_GAS, WEIGHT_CHUNK_BYTES)
            process_transaction(state, transaction, Progress(), self.get_context())
        except TransitionFault as problem:
            state.rollback()
            self.refused[f"{name} {problem.fault.name}"] += 1
            return problem.fault
        state.commit()
        self.counts[name] += 1
        if self.is_strict:
            self.check()
        return Fault.NONE

    def must(self, transaction: Transaction) -> None:
        """Process a transaction that nothing speaks against."""
        fault = self.apply(transaction)
        if fault != Fault.NONE:
            raise TransitionFault(fault)

    def send(self, kind: MessageKind, sender: Address, body: bytes) -> None:
        """Consume a message of the L1 queue; it has to be honoured."""
        state = self.state
        skipped = state.globals.skipped
        state.messages[len(state.messages)] = Message(kind, sender, self.clock, body)
        self.must(Queue())
        if state.globals.skipped != skipped:
            raise ValueError(f"message of kind {kind.name} was not honoured")

    def deposit(self, owner: Address, account: AccountId | None, amount: int) -> AccountId:
        """Credit a deposit; open an account when none is named."""
        number = 0 if account is None else account
        body = owner + number.to_bytes(4, "big") + amount.to_bytes(16, "big")
        self.send(MessageKind.DEPOSIT, owner, body)
        return AccountId(self.state.globals.account_count) if account is None else account

    def endow(self, account: AccountId, amount: int) -> None:
        """Give cash of an account to the insurance fund."""
        nonce = self.state.accounts[account].nonce + 1
        self.must(Transfer(account, AccountId(INSURANCE_ACCOUNT), amount, nonce))

    def observe(self, price: int) -> bool:
        """Report a price; return whether the breaker has tripped."""
        observations = tuple(
            Observation(signer, price, self.clock) for signer in range(len(MEMBERS))
        )
        self.must(Observe(UNDERLYING, observations))
        return self.underlying.pending_index != 0

    def find_expiries(self, *, alive: bool = True) -> list[MarketId]:
        """Return the expiries of options, soonest first, alive ones or those to settle."""
        found = [
            (leaf.time, market)
            for market, leaf in self.state.markets.items()
            if isinstance(leaf, Expiry)
            and leaf.time != 0
            and leaf.settlement == 0
            and (leaf.time > self.clock) == alive
        ]
        return [market for _, market in sorted(found)]

    def get_options(self, expiry: MarketId) -> range:
        """Return the series of a listed expiry."""
        return range(expiry + 1, expiry + 1 + 2 * STRIKES)

    def mark(self) -> None:
        """Sign surfaces for all that lives, and mark it."""
        self.must(self.make_premium())
        self.must(Mark(PERPETUAL, 1))
        for market in self.find_expiries():
            self.must(self.make_surface(market))
            options = self.get_options(market)
            self.must(Mark(MarketId(options.start), len(options)))

    def make_premium(self) -> Surface:
        """Return the perpetual's premium."""
        ratio = ONE + self.premium
        return Surface(PREMIUM, SIGNERS, ratio, 0, 0, 0, 0, 0, 0, self.clock)

    def make_surface(self, market: MarketId) -> Surface:
        """Return the surface of an expiry: the same volatility at the money for all of them.

        With total variance t at the money, lean c and curvature h, SVI has the form
        t/2 (1 + c k h/sqrt(t) + sqrt((k h/sqrt(t) + c)^2 + 1 - c^2)).
        """
        terms = self.terms
        years = (self.get_expiry(market).time - self.clock) * ONE // YEAR
        variance = multiply_down(multiply_down(self.volatility, self.volatility), years)
        root = compute_sqrt(variance << 48)
        rest = ONE - multiply_down(terms.correlation, terms.correlation)
        width = max(1, (root << 48) // terms.curvature)
        return Surface(
            market=market,
            signers=SIGNERS,
            ratio=compute_exp(multiply_down(terms.rate, years)),
            rate=terms.rate,
            a=multiply_down(variance, rest) // 2,
            b=multiply_down(terms.curvature, root) // 2,
            rho=terms.correlation,
            m=-multiply_down(terms.correlation, width),
            sigma=max(1, multiply_down(compute_sqrt(rest << 48), width)),
            time=self.clock,
        )

    def settle(self) -> None:
        """Settle what has expired, turn it into cash, and list what is next."""
        for market in self.find_expiries(alive=False):
            options = self.get_options(market)
            self.must(Mark(MarketId(options.start), len(options)))
        for account_id, account in sorted(self.state.accounts.items()):
            if has_settled(self.state, account):
                self.must(Sweep(account_id))
        for offset in range(EXPIRIES):
            # Most are listed already.
            self.apply(List(UNDERLYING, offset))
            self.refused.pop("List NOT_DUE", None)

    def trade(
        self, maker: AccountId, taker: AccountId, market: MarketId, lots: int, price: int
    ) -> Fault:
        """Fill two new orders; the taker buys `lots`, or sells when they are negative."""
        self.orders += 1
        slot = SlotId(self.orders % SLOTS)
        order = Order(
            market=market,
            is_buy=lots < 0,
            price=price,
            size=abs(lots),
            nonce=self.orders,
            epoch=0,
            expiry=Timestamp(self.clock + 1),
            time_in_force=TimeInForce.GTC,
            post_only=False,
            reduce_only=False,
        )
        opposite = replace(order, is_buy=lots > 0, time_in_force=TimeInForce.IOC)
        return self.apply(
            Fill(market, maker, taker, slot, slot, lots < 0, abs(lots), order, opposite)
        )

    def compute_equity(self, account: Account) -> int:
        """Return an account's equity at the marks, whatever their age."""
        return compute_equity_at_marks(self.state, account)

    def check(self) -> None:
        """Check that not a unit and not a lot was made or lost (G5).

        Raises
        ------
        LedgerError
            When anything was.
        """
        state = self.state
        held = compute_equity(state) + state.globals.insurance + state.globals.fee_pool
        due = state.globals.deposited - state.globals.withdrawn
        if held != due:
            raise LedgerError(f"{held} units are held and {due} are due at {self.clock}")
        for market in find_open_sizes(state):
            raise LedgerError(f"lots of series {market} do not add up at {self.clock}")


def make_venue_params(terms: Terms) -> UnderlyingParams:
    """Return the parameters of the presets, with weekly listings and requirements made thin."""
    params = make_params(COMMITTEE, GRID, TICK)
    return replace(
        params,
        maintenance_factor=params.maintenance_factor // terms.thinness,
        initial_factor=params.initial_factor // terms.thinness,
        perp_maintenance=params.perp_maintenance // terms.thinness,
        perp_initial=params.perp_initial // terms.thinness,
        option_maintenance=params.option_maintenance // terms.thinness,
        option_initial=params.option_initial // terms.thinness,
        strike_step=terms.strike_step,
        list_base=LIST_BASE,
        list_strikes=STRIKES,
        list_expiries=EXPIRIES,
        list_period=WEEK,
    )


def create_exchange(terms: Terms, clock: int, price: int) -> Exchange:
    """Return a venue that has just been opened, observed at `price`."""
    exchange = Exchange(State(), terms)
    state = exchange.state
    state.globals = replace(state.globals, clock=Timestamp(clock))
    for body in (
        encode_configure_committee(COMMITTEE, Committee(len(MEMBERS) - 1, MEMBERS)),
        encode_configure_grid(GRID, terms.grid),
        encode_configure_underlying(UNDERLYING, make_venue_params(terms)),
        encode_configure_expiry(PREMIUM, UNDERLYING, Timestamp(0)),
        encode_configure_series(
            PERPETUAL, SeriesKind.PERPETUAL, SeriesStatus.ACTIVE, UNDERLYING, PREMIUM
        ),
    ):
        exchange.send(MessageKind.CONFIGURE, ZERO_ADDRESS, body)
    exchange.observe(price)
    exchange.settle()
    return exchange
