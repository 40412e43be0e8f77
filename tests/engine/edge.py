"""A venue whose traders always stand within a few lots of their initial margin.

A sequencer takes their orders and everything that goes on around them: prices, surfaces, funding,
expiries, auctions, messages from L1. Every chunk that it seals is applied at once to a second
state, which has nothing else, and both must be the same to the last bit. Signatures are left out:
what is at stake is that no trade that was accepted can fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

import structlog

from deltaroll.engine.ledger import compute_equity, count_open_sizes
from deltaroll.engine.matching import OrderStatus
from deltaroll.engine.orders import RestingOrder
from deltaroll.node.admission import Receipt
from deltaroll.node.entries import (
    CancelAllEntry,
    CancelEntry,
    ClockEntry,
    DataFeeEntry,
    Entry,
    LiquidateEntry,
    MessageEntry,
    ObserveEntry,
    PokeEntry,
    SurfaceEntry,
    to_action_entry,
    to_order_entry,
)
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import SealedChunk, Store
from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.codec import decode_chunk, encode_chunk
from deltaroll.protocol.configure import (
    encode_configure,
    encode_configure_expiry,
    encode_configure_params,
    encode_configure_series,
)
from deltaroll.protocol.constants import (
    FILL_BYTES,
    INSURANCE_ACCOUNT,
    ONE,
    ORDER_BYTES,
    SETTLEMENT_WINDOW,
    YEAR,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import (
    compute_account_after,
    compute_data_fee,
    compute_fees,
    open_series,
    process_fill,
)
from deltaroll.protocol.leaf import (
    COMMITTEE_TAG,
    GRID_TAG,
    encode_committee,
    encode_grid,
    encode_params,
)
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.realise import process_realise
from deltaroll.protocol.state import Meter, State, compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Address,
    Committee,
    Context,
    Expiry,
    Fill,
    Kind,
    MarketId,
    MessageKind,
    Order,
    Series,
    SeriesKind,
    SeriesStatus,
    SlotId,
    TimeInForce,
    Timestamp,
    Transfer,
    Underlying,
    Withdraw,
)

DOMAIN = bytes(32)
GENESIS = Timestamp(1_700_000_000)
COMMITTEE, GRID = MarketId(1), MarketId(2)
BITCOIN, ETHER = MarketId(3), MarketId(4)
PRICES = {BITCOIN: 50_000, ETHER: 3_000}
PERPETUALS = {MarketId(10): BITCOIN, MarketId(11): BITCOIN, MarketId(12): ETHER}
PREMIUMS = {MarketId(90): BITCOIN, MarketId(92): ETHER}
"""Expiry leaves of the perpetuals with the ids after them."""
BASES = {BITCOIN: MarketId(100), ETHER: MarketId(200)}
STRIKES, EXPIRIES = 3, 2
STEPS = {BITCOIN: 1_500, ETHER: 100}
TICK = 10
BANK = AccountId(1)
"""Lends to the traders, and takes what they hold too much."""
TRADERS = tuple(AccountId(number) for number in range(2, 14))
OWNERS = {account: 2 + (account - 2) % 10 for account in TRADERS} | {BANK: 1}
"""Two owners have two accounts."""
RICH = 10**15
SLOTS = 6
SIGNATURE = bytes(64)
SECONDS = (1, 1, 12, 12, 60, 240)
FEES_OF_L1 = 10**9
HALTED = frozenset({Fault.HALTED, Fault.STALE_MARK, Fault.INACTIVE, Fault.PRICE_BAND})
"""Of a market, not of anybody's margin."""


def make_market_params(underlying: MarketId, dice: Random) -> bytes:
    """Parameters under which everything moves: multipliers, fees both ways, data that costs."""
    params = make_params(COMMITTEE, GRID, TICK)
    return encode_params(
        replace(
            params,
            jump_band=150_000,
            fill_band=dice.choice((30_000, 60_000)),
            maker_fee=dice.choice((-150, 50)),
            option_maker_fee=dice.choice((-100, 100)),
            funding_cap=dice.choice((2_000, 20_000)),
            multiplier_step=300_000,
            vol_reference=dice.choice((200_000, 1_000_000)),
            gas_market=ETHER,
            gas_lot=10**16,
            strike_step=STEPS[underlying],
            list_base=BASES[underlying],
            list_strikes=STRIKES,
            list_expiries=EXPIRIES,
            list_period=1,
            max_mark_age=1_800,
            max_surface_age=5_400,
        )
    )


class DisagreementError(AssertionError):
    """A chunk that was sealed does not stand."""


class Tape(Store):
    """A store that keeps nothing and hands each chunk on."""

    def __init__(self, on_seal: Callable[[SealedChunk], None]) -> None:
        self.next_sequence = 0
        self._on_seal = on_seal

    def append(self, entry: bytes) -> int:
        self.next_sequence += 1
        return self.next_sequence - 1

    def seal(self, chunk: SealedChunk) -> None:
        self._on_seal(chunk)

    def flush(self) -> None:
        pass

    def repair(self) -> None:
        return None

    def iterate_entries(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        return iter(())

    def iterate_rebases(self) -> Iterator[tuple[int, bytes]]:
        return iter(())

    def count_chunks(self) -> int:
        return 0


@dataclass(slots=True)
class Tally:
    """What has happened."""

    orders: int = 0
    chunks: int = 0
    transactions: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Why orders ended, and why makers had to go: those with `maker ` before them."""
    fills: Counter[str] = field(default_factory=Counter)
    """By kind of series, as makers and takers were told."""
    edges: Counter[str] = field(default_factory=Counter)
    """Orders whose account would have this much over initial margin by its own side."""
    events: Counter[str] = field(default_factory=Counter)

    def merge(self, other: Tally) -> None:
        """Add what happened elsewhere."""
        self.orders += other.orders
        self.chunks += other.chunks
        for name in ("transactions", "statuses", "reasons", "fills", "edges", "events"):
            getattr(self, name).update(getattr(other, name))


class Follower:
    """A state that knows only the chunks."""

    def __init__(self) -> None:
        self.state = State()

    def follow(self, live: State, chunk: SealedChunk) -> None:
        """Apply a chunk and compare."""
        self.state.messages = live.messages
        clock, _ = decode_chunk(chunk.data)
        context = Context(
            domain=DOMAIN,
            l1_time=clock,
            queue_end=chunk.queue_end,
            previous_base_fee=FEES_OF_L1,
            previous_blob_fee=1,
            is_first=chunk.number % 5 == 0,
            is_last=chunk.number % 5 == 4,
        )
        try:
            process_chunk(self.state, chunk.data, context)
        except TransitionFault as problem:
            raise DisagreementError(f"chunk {chunk.number}: {problem.fault.name}") from problem
        for name in ("accounts", "markets", "exits"):
            if getattr(self.state, name) != getattr(live, name):
                raise DisagreementError(f"chunk {chunk.number}: {name} differ")
        if strip_slots(self.state) != strip_slots(live):
            raise DisagreementError(f"chunk {chunk.number}: slots differ")
        if strip_globals(self.state) != strip_globals(live):
            raise DisagreementError(f"chunk {chunk.number}: globals differ")


def strip_slots(state: State) -> dict[AccountId, object]:
    """Slots of the accounts that have any: what was undone may leave an empty table."""
    return {account: slots for account, slots in state.slots.items() if slots}


def strip_globals(state: State) -> object:
    """Globals without roots, which are computed at the end, and what only posted headers say."""
    return replace(
        state.globals,
        accounts_root=b"",
        markets_root=b"",
        exits_root=b"",
        base_fee_level=0,
        blob_fee_level=0,
    )


class EdgeVenue:
    """A sequencer, its follower, and a dice for all that reaches it."""

    def __init__(self, seed: str) -> None:
        self.dice = Random(seed)
        self.tally = Tally()
        self.follower = Follower()
        self.reported: list[tuple[int, int, int, int]] = []
        """Maker, taker, price, lots of every fill that somebody was told of."""
        self.posted: list[tuple[int, int, int]] = []
        self.fashion: list[MarketId] = []
        self.sequencer = Sequencer(Tape(self._on_seal), DOMAIN)
        self.state = self.sequencer.state
        self._open()

    def _on_seal(self, chunk: SealedChunk) -> None:
        self.follower.follow(self.state, chunk)
        self.tally.chunks += 1
        for transaction in decode_chunk(chunk.data)[1]:
            self.tally.transactions[type(transaction).__name__] += 1
            if isinstance(transaction, Fill):
                self.posted.append((transaction.maker, transaction.taker, transaction.lots))

    def run(self, orders: int) -> None:
        """Live until so many orders have been submitted; then compare the roots, and count."""
        dice = self.dice
        while self.tally.orders < orders:
            # Now and then so many in one second that they fill chunks to the brim.
            for _ in range(400 if dice.random() < 0.03 else dice.randint(8, 40)):
                self.submit()
            self.look(dice.choice(SECONDS))
            if dice.random() < 0.06:
                self.pass_hours()
            if dice.random() < 0.06:
                self.crash()
            if dice.random() < 0.15:
                dice.choice((self.send_message, self.poke, self.cancel, self.charge, self.pay))()
        self.finish()

    def finish(self) -> None:
        """Seal what is left, and compare what can only be compared at the end."""
        self.sequencer.seal()
        mine, other = self.state, self.follower.state
        # Time may have passed since the last chunk.
        mine.globals = replace(
            mine.globals,
            clock=other.globals.clock,
            base_fee_level=other.globals.base_fee_level,
            blob_fee_level=other.globals.blob_fee_level,
        )
        if compute_state_root(mine) != compute_state_root(other):
            raise DisagreementError("the roots differ")
        if [(maker, taker, lots) for maker, taker, _, lots in self.reported] != self.posted:
            raise DisagreementError("what was reported is not what is posted")
        kept = mine.globals
        held = compute_equity(mine) + kept.insurance + kept.fee_pool
        if held != kept.deposited - kept.withdrawn or count_open_sizes(mine):
            raise DisagreementError("the ledger does not add up")

    # Everything around

    def process(self, entry: Entry) -> Receipt:
        return self.sequencer._process(entry)

    def consume(self, kind: int, sender: Address, body: bytes) -> Receipt:
        index = self.state.globals.queue_index
        return self.process(MessageEntry(index, kind, sender, self.sequencer.clock, body))

    def _open(self) -> None:
        self.process(ClockEntry(GENESIS))
        committee = Committee(1, (make_address(99),))
        bodies = [
            encode_configure(COMMITTEE_TAG, COMMITTEE, encode_committee(committee)[1:]),
            encode_configure(GRID_TAG, GRID, encode_grid(PMRM_2)[1:]),
        ]
        for underlying in (ETHER, BITCOIN):
            params = make_market_params(underlying, self.dice)
            bodies.append(encode_configure_params(underlying, params))
        active = SeriesStatus.ACTIVE
        for market, underlying in PERPETUALS.items():
            kind = SeriesKind.PERPETUAL
            bodies.append(encode_configure_series(market, kind, active, underlying))
        for leaf, underlying in PREMIUMS.items():
            market = MarketId(leaf + 1)
            bodies.append(encode_configure_expiry(leaf, underlying, Timestamp(0)))
            bodies.append(
                encode_configure_series(market, SeriesKind.PERPETUAL, active, underlying, leaf)
            )
        for body in bodies:
            self.consume(MessageKind.CONFIGURE, ZERO_ADDRESS, body)
        for account in (BANK, *TRADERS):
            amount = RICH if account == BANK else 50_000
            owner = make_address(OWNERS[account])
            self.consume(MessageKind.DEPOSIT, owner, owner + bytes(4) + amount.to_bytes(16, "big"))
        if self.state.globals.skipped:
            raise DisagreementError("the venue does not open")
        self.process(DataFeeEntry(10**8))
        self.look(1, 0)
        self.look(1, 0)
        for underlying in PRICES:
            self.fit(underlying)

    def look(self, seconds: int, spread: int = 2_000) -> None:
        """Time passes; prices move by parts per million, where the oracle has something to say.
        Funding that nobody has accrued yet is what orders meet otherwise."""
        self.process(ClockEntry(self.sequencer.clock + seconds))
        self.engine_is_consistent()
        for underlying in PRICES:
            if spread and seconds < 300 and self.dice.random() < 0.5:
                continue
            self.observe(underlying, self.dice.randint(-spread, spread))
            if self.dice.random() < 0.1:
                self.fit(underlying)

    def observe(self, underlying: MarketId, move: int) -> None:
        leaf = self.get_underlying(underlying)
        index = leaf.index or PRICES[underlying]
        price = max(index // 2, index + index * move // 10**6)
        if leaf.index:
            # Not too far from where it began, or the strikes are too far away.
            low, high = PRICES[underlying] * 6 // 10, PRICES[underlying] * 16 // 10
            price = max(low, min(price, high))
        clock = self.sequencer.clock
        self.process(ObserveEntry(underlying, [0], [price], [clock], [SIGNATURE]))

    def fit(self, underlying: MarketId) -> None:
        """Surfaces for all expiries of an underlying."""
        dice = self.dice
        for market, leaf in sorted(self.state.markets.items()):
            if not isinstance(leaf, Expiry) or leaf.underlying != underlying or leaf.settlement:
                continue
            clock = self.sequencer.clock
            ratio = ONE + dice.randint(-150, 150) * ONE // 10_000
            if leaf.time == 0:
                numbers = (0,) * 6
            elif leaf.time <= clock:
                continue
            else:
                variance = max(1, leaf.time - clock) * ONE // YEAR * dice.randint(30, 140) // 100
                numbers = (
                    dice.randint(-ONE // 50, ONE // 10),
                    variance * dice.randint(1, 9) // 10,
                    variance // 2,
                    dice.randint(-ONE // 2, ONE // 2),
                    dice.randint(-ONE // 20, ONE // 20),
                    dice.randint(ONE // 20, ONE // 2),
                )
            self.process(SurfaceEntry(market, 1, ratio, *numbers, clock, [SIGNATURE]))

    def pass_hours(self) -> None:
        """Hours pass, in steps that keep marks alive, or up to the next expiry and beyond it."""
        dice = self.dice
        left = [
            leaf.time - self.sequencer.clock
            for leaf in self.state.markets.values()
            if isinstance(leaf, Expiry) and leaf.time > self.sequencer.clock
        ]
        if left and dice.random() < 0.5:
            # Into the window, then a little before or after the boundary.
            seconds = max(1, min(left) - SETTLEMENT_WINDOW + dice.randint(0, 900))
            steps = [seconds, dice.randint(60, 800), dice.randint(60, 800), dice.randint(60, 800)]
        else:
            steps = [dice.choice((900, 1_700, 3_600)) for _ in range(dice.randint(1, 4))]
        for seconds in steps:
            self.look(seconds, dice.choice((0, 4_000, 15_000)))
            for underlying in PRICES:
                self.fit(underlying)
            for _ in range(dice.randint(0, 6)):
                self.submit()
        self.tally.events["hours"] += 1

    def crash(self) -> None:
        """A move that not everybody survives, and those who take over."""
        dice = self.dice
        underlying = dice.choice(tuple(PRICES))
        fall = dice.choice((-140_000, -100_000, -60_000, 60_000, 100_000, 140_000))
        for _ in range(dice.choice((1, 2, 2, 3))):
            self.process(ClockEntry(self.sequencer.clock + dice.choice((1, 12))))
            self.observe(underlying, fall)
            for _ in range(dice.randint(0, 10)):
                self.submit()
        self.fit(underlying)
        for _ in range(dice.randint(1, 3)):
            for account in sorted(self.state.accounts):
                if self.state.accounts[account].distressed_at:
                    self.tally.events["distress"] += 1
                    self.take_over(account)
            self.look(dice.choice((12, 600, 1_200)))

    def take_over(self, target: AccountId) -> None:
        """Bids for less and less of an account, until one is taken."""
        dice = self.dice
        account = dice.choice((BANK, BANK, *TRADERS))
        for share in (10**6, 500_000, dice.randint(1, 300_000), 20_000):
            nonce = self.state.accounts[account].nonce + 1
            entry = LiquidateEntry(account, target, share, 0, nonce, SIGNATURE)
            fault = self.process(entry).fault
            self.tally.events[f"liquidate {fault.name}"] += 1
            if fault == Fault.INSURANCE:
                socialised = self.process(PokeEntry(Kind.SOCIALISE, target, 0)).fault
                self.tally.events[f"socialise {socialised.name}"] += 1
            if fault == Fault.NONE:
                break

    def send_message(self) -> None:
        """Something from L1 about an account, most of all what it holds."""
        dice = self.dice
        account = dice.choice(TRADERS)
        held = self.state.accounts[account].positions
        owner = make_address(OWNERS[account])
        head = account.to_bytes(4, "big")
        match dice.randrange(6):
            case 0:
                body = owner + head + dice.randint(1, 10_000).to_bytes(16, "big")
                self.consume(MessageKind.DEPOSIT, owner, body)
            case 1:
                amount = dice.choice((1, 1_000, 10**9))
                self.consume(MessageKind.FORCE_EXIT, owner, head + amount.to_bytes(16, "big"))
            case 2:
                self.consume(MessageKind.CANCEL_ALL, owner, head)
            case 3 if held:
                market = dice.choice(held).series.to_bytes(2, "big")
                lots = dice.choice((0, 1, 3)).to_bytes(8, "big")
                self.consume(MessageKind.FORCE_CLOSE, owner, head + market + lots)
            case 4:
                market, underlying = dice.choice(tuple(PERPETUALS.items()))
                statuses = (SeriesStatus.ACTIVE, SeriesStatus.INACTIVE, SeriesStatus.CLOSING)
                for one in (dice.choice(statuses), SeriesStatus.ACTIVE):
                    body = encode_configure_series(market, SeriesKind.PERPETUAL, one, underlying)
                    self.consume(MessageKind.CONFIGURE, ZERO_ADDRESS, body)
                    self.submit()
            case _:
                self.force_fill(account)

    def force_fill(self, account: AccountId) -> None:
        """A trade of a resting order through L1, unsigned and so skipped, or an option's by two."""
        market = self.choose_market()
        order = self.make_order(account, SlotId(0), market, True, TICK * 3, 1, TimeInForce.GTC)
        fill = Fill(market, account, BANK, SlotId(0), SlotId(0), True, 1, order, order)
        data = encode_chunk(self.sequencer.clock, (fill,))
        body = len(data).to_bytes(2, "big") + data + SIGNATURE * 2
        self.consume(MessageKind.FORCED, make_address(OWNERS[account]), body)

    def poke(self) -> None:
        dice = self.dice
        account = dice.choice((*TRADERS, INSURANCE_ACCOUNT))
        market = self.choose_market()
        entry = dice.choice(
            (
                PokeEntry(Kind.MARK, market, dice.choice((1, 2, 6))),
                PokeEntry(Kind.FUND, market, 0),
                PokeEntry(Kind.SWEEP, account, 0),
                PokeEntry(Kind.DISTRESS, account, 0),
                PokeEntry(Kind.SOCIALISE, account, 0),
            )
        )
        self.process(entry)

    def cancel(self) -> None:
        account = self.dice.choice(TRADERS)
        if self.dice.random() < 0.5:
            self.process(CancelEntry(account, self.dice.randrange(SLOTS)))
        else:
            self.process(CancelAllEntry(account, self.dice.choice((0, self.choose_market()))))

    def charge(self) -> None:
        self.process(DataFeeEntry(self.dice.choice((0, 10**7, 10**8))))

    def pay(self) -> None:
        """Money for the insurance fund, or out of the rollup."""
        dice = self.dice
        if dice.random() < 0.5:
            self.transfer(BANK, AccountId(INSURANCE_ACCOUNT), dice.randint(1, 20_000))
        else:
            account = dice.choice(TRADERS)
            nonce = self.state.accounts[account].nonce + 1
            free = max(1, self.compute_free(account) + dice.randint(-1, 1))
            withdraw = Withdraw(account, make_address(7), free, nonce)
            self.process(to_action_entry(withdraw, SIGNATURE))

    # Orders

    def submit(self) -> None:
        """One order of a trader, whose cash has mostly been brought to the edge before."""
        dice = self.dice
        state = self.state
        account = dice.choice(TRADERS)
        market = self.choose_market()
        series = state.markets.get(market)
        is_buy = dice.random() < 0.5
        lots = dice.choice((1, 1, 2, 3, 5, 8, 20))
        center = self.compute_center(series)
        eager = dice.choice((0, 0, 0, 1, 1, 2, -1, -1, -2, -4, 40)) * (1 if is_buy else -1)
        price = max(1, center // TICK + eager) * TICK
        slot = SlotId(dice.randrange(SLOTS))
        kinds = (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)
        kind = dice.choices(kinds, (8, 1, 1))[0]
        order = self.make_order(account, slot, market, is_buy, price, lots, kind)
        if isinstance(series, Series) and series.status != SeriesStatus.SETTLED:
            self.approach(account, order)
        owner = state.accounts[account].owner
        receipt = self.process(to_order_entry(account, slot, order, SIGNATURE, owner))
        execution = receipt.execution
        if execution is None:
            raise DisagreementError("an order without an outcome")
        tally = self.tally
        tally.orders += 1
        tally.statuses[execution.status.value] += 1
        if execution.reason == Fault.OVERWEIGHT and kind == TimeInForce.GTC:
            raise DisagreementError("an order finds no chunk that has room for it")
        if execution.reason is not None:
            tally.reasons[str(getattr(execution.reason, "name", execution.reason))] += 1
        for _, reason in execution.cancelled_makers:
            tally.reasons["maker " + str(getattr(reason, "name", reason))] += 1
        if execution.fills:
            leaf = state.markets[market]
            if not isinstance(leaf, Series):
                raise DisagreementError(f"traded in {market}")
            tally.fills[leaf.kind.name] += len(execution.fills)
            if execution.filled != sum(report.lots for report in execution.fills):
                raise DisagreementError("lots do not add up")
        self.reported += [
            (report.maker, account, report.price, report.lots) for report in execution.fills
        ]
        rests = execution.status in (OrderStatus.RESTING, OrderStatus.PARTIALLY_FILLED)
        if rests and dice.random() < 0.2:
            resting = self.sequencer.engine.find(account, slot)
            if resting is None:
                raise DisagreementError("an order that rests is not in the book")
            self.would_settle(resting)

    def make_order(
        self,
        account: AccountId,
        slot: SlotId,
        market: MarketId,
        is_buy: bool,
        price: int,
        lots: int,
        time_in_force: TimeInForce,
    ) -> Order:
        dice = self.dice
        life = dice.choice((20, 300, 4_000))
        series = self.state.markets.get(market)
        expiry = self.state.markets.get(series.expiry) if isinstance(series, Series) else None
        last = self.sequencer.clock + life
        if isinstance(expiry, Expiry) and expiry.time and dice.random() < 0.98:
            last = max(self.sequencer.clock, min(last, expiry.time - 1))
        return Order(
            market,
            is_buy,
            price,
            lots,
            self.sequencer.engine.nonces.get((account, slot), 0) + dice.choice((1, 1, 7)),
            self.state.accounts[account].epoch,
            Timestamp(last),
            time_in_force,
            time_in_force == TimeInForce.GTC and dice.random() < 0.05,
            dice.random() < 0.04,
        )

    def approach(self, account: AccountId, order: Order) -> None:
        """Bring an account's cash to where its own side of a trade just passes, or just does not,
        or to a few lots from there."""
        dice = self.dice
        way = dice.random()
        if way < 0.25:
            return
        over = self.compute_over(account, order)
        if over is None:
            return
        if way < 0.8:
            wanted = dice.choice((-2, -1, -1, 0, 0, 1))
        else:
            wanted = dice.randint(-3, 12) * max(1, order.price // 10)
        self.tally.edges[str(wanted) if abs(wanted) < 3 else "lots"] += 1
        if over > wanted:
            self.transfer(account, BANK, over - wanted)
        elif over < wanted:
            self.transfer(BANK, account, wanted - over)

    def compute_over(self, account_id: AccountId, order: Order) -> int | None:
        """Equity over initial margin after the order has traded at the price that the book offers,
        or its own; None when nothing trades."""
        bid, ask = self.sequencer.engine.best(order.market)
        best = ask if order.is_buy else bid
        price = order.price
        is_taker = best is not None and (best <= price if order.is_buy else best >= price)
        if is_taker and best is not None:
            price = best

        def compute() -> int:
            state = self.state
            clock = state.globals.clock
            series, underlying, _ = open_series(state, order.market, clock)
            account = process_realise(state, account_id, state.accounts[account_id])
            maker_fee, taker_fee = compute_fees(series, underlying, price, order.size)
            size = ORDER_BYTES + (FILL_BYTES if is_taker else 0)
            fee = taker_fee if is_taker else maker_fee
            fee += compute_data_fee(state, underlying.params, size)
            lots = order.size if order.is_buy else -order.size
            after = compute_account_after(
                account, order.market, lots, -lots * price - fee, series, False
            )
            margin = compute_margin(state, after, clock)
            return margin.equity - margin.initial

        return self.measure(compute)

    def compute_free(self, account: AccountId) -> int:
        def compute() -> int:
            margin = compute_margin(
                self.state, self.state.accounts[account], self.state.globals.clock
            )
            return margin.equity - margin.initial

        return self.measure(compute) or 0

    def measure(self, compute: Callable[[], int]) -> int | None:
        """Compute something and leave no trace of it."""
        state = self.state
        meter, state.meter = state.meter, Meter()
        state.begin()
        try:
            return compute()
        except TransitionFault:
            return None
        finally:
            state.rollback()
            state.meter = meter

    def would_settle(self, resting: RestingOrder) -> None:
        """Whoever may rest may be filled, all of it and at once."""
        order = resting.order
        taker = replace(order, is_buy=not order.is_buy, size=resting.remaining, reduce_only=False)
        taker = replace(taker, nonce=2**31 - 1, epoch=0, post_only=False)
        fill = Fill(
            order.market,
            resting.account,
            BANK,
            resting.slot,
            SlotId(4_000),
            order.is_buy,
            resting.remaining,
            None if resting.posted else order,
            taker,
        )
        faults: list[Fault] = []

        def compute() -> int:
            try:
                process_fill(self.state, fill, None, True)
            except TransitionFault as problem:
                faults.append(problem.fault)
                if problem.fault == Fault.REDUCE_ONLY:
                    # A reduce-only order rests with more than it can reduce.
                    return 0
                if problem.fault not in HALTED:
                    raise DisagreementError(f"rests and fails: {problem.fault.name}") from problem
            return 0

        self.measure(compute)
        self.tally.events["rests, and would settle"] += not faults

    def choose_market(self) -> MarketId:
        """One of a few that are in fashion, so that orders meet."""
        dice = self.dice
        if not self.fashion or dice.random() < 0.02:
            self.fashion = [self.choose_any_market() for _ in range(4)]
        return dice.choice(self.fashion) if dice.random() < 0.9 else self.choose_any_market()

    def choose_any_market(self) -> MarketId:
        """A perpetual, or an option that is listed."""
        dice = self.dice
        if dice.random() < 0.45:
            leaves = [MarketId(leaf + 1) for leaf in PREMIUMS]
            return dice.choice((*PERPETUALS, *leaves))
        base = BASES[dice.choice((BITCOIN, BITCOIN, ETHER))]
        place = base + dice.randrange(EXPIRIES) * (1 + 2 * STRIKES)
        return MarketId(place + 1 + dice.randrange(2 * STRIKES))

    def compute_center(self, series: object) -> int:
        if not isinstance(series, Series):
            return PRICES[BITCOIN]
        return series.mark

    def transfer(self, sender: AccountId, recipient: AccountId, amount: int) -> Fault:
        nonce = self.state.accounts[sender].nonce + 1
        transfer = Transfer(sender, recipient, amount, nonce)
        return self.process(to_action_entry(transfer, SIGNATURE)).fault

    def get_underlying(self, market: MarketId) -> Underlying:
        leaf = self.state.markets[market]
        if not isinstance(leaf, Underlying):
            raise DisagreementError(f"no underlying {market}")
        return leaf

    def engine_is_consistent(self) -> None:
        """No book is crossed."""
        for market in self.state.markets:
            bid, ask = self.sequencer.engine.best(market)
            if bid is not None and ask is not None and bid >= ask:
                raise DisagreementError(f"the book of {market} is crossed")


def make_address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


def run_venue(seed: int, number: int, orders: int) -> Tally:
    """Run one venue; DisagreementError says which one it was."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[_say_nothing])
    name = f"{seed}-{number}"
    venue = EdgeVenue(name)
    try:
        venue.run(orders)
    except Exception as problem:
        at = f"venue {name} of {orders} orders, after {venue.tally.orders}"
        raise DisagreementError(f"{at}: {problem!r}") from problem
    return venue.tally


def _say_nothing(*_: object) -> str:
    return ""
