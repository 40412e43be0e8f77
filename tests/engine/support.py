"""A small real state, an executor that keeps the protocol's chunk rules, a venue to trade on."""

from copy import deepcopy
from dataclasses import dataclass, field, replace

from deltaroll.engine.matching import (
    Execution,
    MatchingEngine,
    OrderStatus,
    RestingOrder,
    SelfTradePolicy,
)
from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import (
    DAY,
    ONE,
    TWAP_DAYS,
    WEIGHT_CHUNK_BYTES,
    WEIGHT_CHUNK_GAS,
)
from deltaroll.protocol.eip712 import hash_order
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import compute_position_size
from deltaroll.protocol.listing import create_expiry, create_series
from deltaroll.protocol.mark import process_mark
from deltaroll.protocol.signatures import compute_requests
from deltaroll.protocol.state import (
    Meter,
    State,
    charge,
    reset_meter,
    set_account,
    set_market,
)
from deltaroll.protocol.transition import (
    Progress,
    process_chunk,
    process_chunk_end,
    process_transaction,
)
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    Context,
    Fill,
    Mark,
    MarketId,
    Message,
    MessageKind,
    Order,
    Position,
    Queue,
    Series,
    SeriesKind,
    SeriesStatus,
    SlotId,
    TimeInForce,
    Timestamp,
    Transaction,
    Underlying,
    UnderlyingParams,
)

GENESIS = Timestamp(1_700_000_000)
FOREVER = Timestamp(GENESIS + 10**6)
INDEX = 1_000
TICK = 10
GRID = MarketId(1)
COMMITTEE = MarketId(2)
UNDERLYING = MarketId(3)
OTHER_UNDERLYING = MarketId(4)
BTC = MarketId(100)
"""A perpetual on `UNDERLYING`."""
BTC_TWIN = MarketId(101)
"""Another one."""
ETH = MarketId(102)
"""A perpetual on `OTHER_UNDERLYING`."""
MARKETS = (BTC, BTC_TWIN, ETH)
PREMIUM = MarketId(90)
"""The expiry leaf of `PREMIUM_PERP`: what lies above the index there."""
PREMIUM_PERP = MarketId(91)
EXPIRY, LATER = MarketId(200), MarketId(300)
"""Options of `UNDERLYING`, see `list_options`: calls at odd distances, puts after them."""
EXPIRIES = {
    EXPIRY: compute_boundary(compute_day(GENESIS + 5 * DAY)),
    LATER: compute_boundary(compute_day(GENESIS + 90 * DAY)),
}
STRIKES = (INDEX - 100, INDEX, INDEX + 100)
CALL, PUT = MarketId(EXPIRY + 3), MarketId(EXPIRY + 4)
"""At the money, of the first expiry."""
OPTIONS = tuple(
    MarketId(expiry + 1 + place) for expiry in EXPIRIES for place in range(2 * len(STRIKES))
)

ALICE = AccountId(1)
BOB = AccountId(2)
CAROL = AccountId(3)
ALICE_TOO = AccountId(4)
"""A second account of Alice."""
OWNERS = {ALICE: 0xA1, BOB: 0xB0, CAROL: 0xCA, ALICE_TOO: 0xA1}
RICH = 10**12

MAX_FILL_BYTES = 100
"""Bound of a fill's encoding, charged as it comes; `process_chunk` charges all data at once."""

PARAMS = replace(
    make_params(COMMITTEE, GRID, TICK),
    move_band=10_000,
    fill_band=100_000,
    maintenance_factor=1_000_000,
    initial_factor=1_200_000,
    perp_maintenance=20_000,
    perp_initial=10_000,
    maker_fee=100,
    taker_fee=500,
    max_mark_age=10**5,
    max_surface_age=10**5,
)


def make_address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


def make_series(underlying: MarketId, index: int = INDEX) -> Series:
    risk = tuple(index * shock // 100 for shock in range(-16, 17))
    return Series(
        kind=SeriesKind.PERPETUAL,
        status=SeriesStatus.ACTIVE,
        underlying=underlying,
        expiry=MarketId(0),
        strike=0,
        mark=index,
        mark_index=index,
        marked_at=GENESIS,
        carry_long=0,
        carry_short=0,
        accrued_at=GENESIS,
        funding_remainder=0,
        open_interest=0,
        risk=risk,
    )


def make_underlying(params: UnderlyingParams, index: int) -> Underlying:
    return Underlying(
        params=params,
        index=index,
        observed_at=GENESIS,
        pending_index=0,
        halted_until=Timestamp(0),
        variance=0,
        multiplier=params.multiplier_min,
        window_sum=0,
        window_seconds=0,
        day=compute_day(GENESIS + 1),
        twaps=(0,) * TWAP_DAYS,
    )


def build_state(
    cash: dict[AccountId, int] | None = None,
    owners: dict[AccountId, int] = OWNERS,
    params: UnderlyingParams = PARAMS,
    index: int = INDEX,
) -> State:
    """Two underlyings, three perpetuals, rich accounts."""
    state = State()
    set_market(state, GRID, PMRM_2)
    for market in (UNDERLYING, OTHER_UNDERLYING):
        set_market(state, market, make_underlying(params, index))
    for market in (BTC, BTC_TWIN):
        set_market(state, market, make_series(UNDERLYING, index))
    set_market(state, ETH, make_series(OTHER_UNDERLYING, index))
    for account, owner in owners.items():
        money = RICH if cash is None else cash.get(account, RICH)
        set_account(
            state,
            account,
            Account(
                make_address(owner),
                ZERO_ADDRESS,
                Timestamp(0),
                0,
                money,
                0,
                Timestamp(0),
                (),
            ),
        )
    state.globals = replace(state.globals, clock=GENESIS, account_count=len(owners))
    return state


def list_options(state: State) -> None:
    """Two expiries of three strikes on `UNDERLYING`, and a perpetual with a premium; all that there
    is marked by the grid."""
    for market in MARKETS:
        mark(state, market, 1)
    perpetual = create_expiry(UNDERLYING, Timestamp(0))
    set_market(state, PREMIUM, replace(perpetual, ratio=ONE * 101 // 100))
    series = create_series(SeriesKind.PERPETUAL, SeriesStatus.ACTIVE, UNDERLYING, PREMIUM, strike=0)
    set_market(state, PREMIUM_PERP, series)
    mark(state, PREMIUM_PERP, 1)
    for market, time in EXPIRIES.items():
        volatile = replace(
            create_expiry(UNDERLYING, time),
            rate=ONE // 20,
            a=ONE // 300,
            b=ONE // 50,
            rho=-ONE // 4,
            sigma=ONE // 10,
            surfaced_at=GENESIS,
        )
        set_market(state, market, volatile)
        for place, strike in enumerate(STRIKES):
            for kind in (SeriesKind.CALL, SeriesKind.PUT):
                option = create_series(kind, SeriesStatus.ACTIVE, UNDERLYING, market, strike)
                set_market(state, MarketId(market + 2 * place + kind), option)
        mark(state, MarketId(market + 1), 2 * len(STRIKES))


def mark(state: State, market: MarketId, count: int) -> None:
    """Mark series apart from any chunk."""
    meter, state.meter = state.meter, Meter()
    process_mark(state, Mark(market, count))
    state.meter = meter


def sign(account: AccountId, slot: SlotId, order: Order) -> bytes:
    """Return bytes that only this order has; the executor compares them."""
    if min(slot, order.price, order.size) < 0:
        return b""
    return hash_order(account, slot, order) * 2


@dataclass(slots=True)
class Chunk:
    """Transactions of one chunk."""

    clock: Timestamp
    transactions: list[Transaction] = field(default_factory=list)


class ChunkExecutor:
    """Runs the protocol as a sequencer does; `capacity` fills are all that a chunk holds."""

    def __init__(self, state: State, capacity: int | None = None) -> None:
        self.state = state
        self.capacity = capacity
        self.seconds_per_chunk = 0
        self.chunks: list[Chunk] = []
        self.calls: list[str] = []
        self.tried = 0
        self._progress = Progress()
        self._group: tuple[int, Progress, Meter] | None = None
        self._open()

    def execute(self, transaction: Transaction, signatures: tuple[bytes, ...]) -> None:
        requests = compute_requests(transaction)
        assert signatures == tuple(request.struct_hash * 2 for request in requests)
        self.tried += 1
        chunk = self.chunks[-1]
        if self.capacity is not None and len(chunk.transactions) >= self.capacity:
            raise TransitionFault(Fault.OVERWEIGHT)
        progress = replace(self._progress)
        meter = deepcopy(self.state.meter)
        self.state.begin()
        try:
            charge(self.state, 0, MAX_FILL_BYTES)
            process_transaction(self.state, transaction, self._progress, self.context())
        except TransitionFault:
            self.state.rollback()
            self.state.meter = meter
            self._progress = progress
            raise
        self.state.commit()
        chunk.transactions.append(transaction)

    def cut(self) -> None:
        assert self._group is None
        self.calls.append("cut")
        process_chunk_end(self.state, self._progress, self.context())
        self.advance(self.seconds_per_chunk)

    def begin(self) -> None:
        assert self._group is None
        self.calls.append("begin")
        self.state.begin()
        transactions = self.chunks[-1].transactions
        self._group = (len(transactions), replace(self._progress), deepcopy(self.state.meter))

    def commit(self) -> None:
        self.calls.append("commit")
        self.state.commit()
        self._group = None

    def rollback(self) -> None:
        self.calls.append("rollback")
        assert self._group is not None
        count, self._progress, self.state.meter = self._group
        self._group = None
        self.state.rollback()
        del self.chunks[-1].transactions[count:]

    def advance(self, seconds: int) -> None:
        """Start a chunk some seconds later."""
        clock = Timestamp(self.state.globals.clock + seconds)
        self.state.globals = replace(self.state.globals, clock=clock)
        self._open()

    def raise_epoch(self, account: AccountId) -> None:
        """Consume a CancelAll message from L1."""
        state = self.state
        owner = state.accounts[account].owner
        body = account.to_bytes(4, "big")
        state.messages[state.globals.queue_index] = Message(
            MessageKind.CANCEL_ALL, owner, state.globals.clock, body
        )
        self.advance(0)
        self.execute(Queue(), ())
        self.advance(0)

    def context(self) -> Context:
        return Context(
            domain=bytes(32),
            l1_time=self.state.globals.clock,
            queue_end=1 << 31,
            previous_base_fee=0,
            previous_blob_fee=0,
            is_first=False,
            is_last=False,
        )

    def get_fills(self) -> list[Fill]:
        return [
            transaction
            for chunk in self.chunks
            for transaction in chunk.transactions
            if isinstance(transaction, Fill)
        ]

    def replay(self, genesis: State) -> None:
        """Run everything again as a follower does, from bytes, and compare what comes out."""
        genesis.messages = self.state.messages
        for chunk in self.chunks:
            context = replace(self.context(), l1_time=chunk.clock)
            process_chunk(genesis, encode_chunk(chunk.clock, chunk.transactions), context)
        assert genesis.accounts == self.state.accounts
        # A fill that was undone may leave an account's empty table of slots.
        slots = {account: slots for account, slots in self.state.slots.items() if slots}
        assert genesis.slots == slots
        assert genesis.markets == self.state.markets
        assert genesis.globals == self.state.globals

    def _open(self) -> None:
        reset_meter(self.state)
        charge(self.state, WEIGHT_CHUNK_GAS, WEIGHT_CHUNK_BYTES)
        self._progress = Progress()
        self.chunks.append(Chunk(self.state.globals.clock))


class Venue:
    """An engine over an executor over a state, and short words for orders."""

    def __init__(
        self,
        cash: dict[AccountId, int] | None = None,
        self_trade: SelfTradePolicy = SelfTradePolicy.CANCEL_MAKER,
        capacity: int | None = None,
        params: UnderlyingParams = PARAMS,
        options: bool = False,
    ) -> None:
        self.state = build_state(cash, params=params)
        if options:
            list_options(self.state)
        self.executor = ChunkExecutor(self.state, capacity)
        self.engine = MatchingEngine(self.executor, self_trade)
        self.sequence = 0

    def submit(
        self,
        account: AccountId,
        slot: int,
        is_buy: bool,
        price: int,
        size: int,
        *,
        signer: Address | None = None,
        market: MarketId = BTC,
        nonce: int | None = None,
        epoch: int | None = None,
        expiry: Timestamp = FOREVER,
        time_in_force: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
    ) -> Execution:
        self.sequence += 1
        holder = self.state.accounts.get(account)
        owner = ZERO_ADDRESS if holder is None else holder.owner
        order = Order(
            market=market,
            is_buy=is_buy,
            price=price,
            size=size,
            nonce=self.sequence if nonce is None else nonce,
            epoch=(holder.epoch if holder else 0) if epoch is None else epoch,
            expiry=expiry,
            time_in_force=time_in_force,
            post_only=post_only,
            reduce_only=reduce_only,
        )
        signature = sign(account, SlotId(slot), order)
        return self.engine.submit(
            account,
            SlotId(slot),
            order,
            signature,
            owner if signer is None else signer,
            self.sequence,
        )

    def rest(
        self, account: AccountId, slot: int, is_buy: bool, price: int, size: int, **more: object
    ) -> RestingOrder:
        """Submit an order that must rest untouched."""
        execution = self.submit(account, slot, is_buy, price, size, **more)  # type: ignore[arg-type]
        assert execution.status == OrderStatus.RESTING, execution
        resting = self.engine.find(account, SlotId(slot))
        assert resting is not None
        return resting

    def hold(self, account: AccountId, size: int, market: MarketId = BTC) -> None:
        """Give an account a position out of nowhere."""
        holder = self.state.accounts[account]
        kept = tuple(entry for entry in holder.positions if entry.series != market)
        positions = (*kept, Position(market, size, 0)) if size else kept
        ordered = tuple(sorted(positions, key=lambda entry: entry.series))
        set_account(self.state, account, replace(holder, positions=ordered))

    def set_cash(self, account: AccountId, cash: int) -> None:
        set_account(self.state, account, replace(self.state.accounts[account], cash=cash))

    def set_key(self, account: AccountId, key: Address, expiry: Timestamp) -> None:
        holder = self.state.accounts[account]
        set_account(self.state, account, replace(holder, trading_key=key, key_expiry=expiry))

    def halt(self, market: MarketId) -> None:
        """Trip the breaker of an underlying."""
        leaf = self.state.markets[market]
        assert isinstance(leaf, Underlying)
        set_market(self.state, market, replace(leaf, pending_index=1))

    def move_index(self, market: MarketId, index: int) -> None:
        """Move an underlying's index without new marks."""
        leaf = self.state.markets[market]
        assert isinstance(leaf, Underlying)
        set_market(self.state, market, replace(leaf, index=index))

    def remark(self, market: MarketId, mark: int) -> None:
        """Mark a series elsewhere, its index as it is."""
        leaf = self.state.markets[market]
        assert isinstance(leaf, Series)
        set_market(self.state, market, replace(leaf, mark=mark))

    def size_of(self, account: AccountId, market: MarketId = BTC) -> int:
        return compute_position_size(self.state.accounts[account], market)


def lots_of(execution: Execution) -> list[tuple[int, int]]:
    """Price and lots of each fill."""
    return [(report.price, report.lots) for report in execution.fills]


def reasons_of(execution: Execution) -> list[tuple[AccountId, object]]:
    """Account and reason of each maker that had to go."""
    return [(maker.account, reason) for maker, reason in execution.cancelled_makers]
