"""A venue without L1: keys, hand-made queue messages, streams of what users may send."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deltaroll.engine.matching import Execution
from deltaroll.node.admission import Receipt, RejectedError
from deltaroll.node.builder import OpenChunk
from deltaroll.node.events import Listener
from deltaroll.node.log import Log
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.snapshots import Snapshots
from deltaroll.node.store import MEMORY, SealedChunk, Store
from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.configure import (
    encode_configure,
    encode_configure_expiry,
    encode_configure_params,
    encode_configure_series,
)
from deltaroll.protocol.constants import FILL_BYTES, ONE, ORDER_BYTES, YEAR
from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.fill import (
    compute_account_after,
    compute_data_fee,
    compute_fees,
    open_series,
)
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import (
    COMMITTEE_TAG,
    GRID_TAG,
    encode_committee,
    encode_grid,
    encode_params,
)
from deltaroll.protocol.margin import compute_margin, compute_shortfall
from deltaroll.protocol.realise import process_realise
from deltaroll.protocol.state import Meter, State, compute_state_root
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    Committee,
    Expiry,
    Kind,
    Liquidate,
    MarketId,
    Message,
    MessageKind,
    Observation,
    Order,
    Series,
    SeriesKind,
    SeriesStatus,
    SetTradingKey,
    SlotId,
    Surface,
    TimeInForce,
    Timestamp,
    Transaction,
    Transfer,
    Underlying,
    Withdraw,
)
from deltaroll.sdk.signing import Signer

DOMAIN = compute_domain_separator(1337, Address(b"\x11" * 20))
GENESIS = Timestamp(1_700_000_000)
COMMITTEE, GRID, INDEX, OTHER_INDEX = MarketId(1), MarketId(2), MarketId(3), MarketId(4)
PERP, TWIN, OTHER = MarketId(10), MarketId(11), MarketId(12)
PERPS = {PERP: INDEX, TWIN: INDEX, OTHER: OTHER_INDEX}
PREMIUM, PREMIUM_PERP = MarketId(90), MarketId(91)
"""A perpetual on `INDEX` with an expiry leaf of its own."""
LIST_BASE, STRIKES, EXPIRIES = MarketId(100), 3, 2
PLACES = tuple(MarketId(LIST_BASE + place * (1 + 2 * STRIKES)) for place in range(EXPIRIES))
"""Expiry leaves; a day apart, each with its options on `INDEX` after it."""
OPTIONS = tuple(MarketId(place + 1 + offset) for place in PLACES for offset in range(2 * STRIKES))
STRIKE_STEP = 2_000
TICK = 10
PRICE = 50_000
CASH = 10_000_000
PARAMS = replace(
    make_params(COMMITTEE, GRID, TICK), jump_band=200_000, outlier_band=20_000, halt_seconds=300
)


OPTION_PARAMS = replace(
    PARAMS,
    maker_fee=-100,
    option_maker_fee=-100,
    gas_market=INDEX,
    gas_lot=10**18,
    strike_step=STRIKE_STEP,
    list_base=LIST_BASE,
    list_strikes=STRIKES,
    list_expiries=EXPIRIES,
    list_period=1,
)


def make_signer(name: str) -> Signer:
    return Signer(keccak(b"deltaroll test key: " + name.encode()))


OWNERS = {
    AccountId(account): make_signer(name)
    for account, name in enumerate(("ada", "blaise", "carl", "daniel", "ada"), 1)
}
"""Two accounts have one owner."""
ACCOUNTS = tuple(OWNERS)
KEYS = {account: make_signer(f"key of {account}") for account in ACCOUNTS}
STRANGER = make_signer("stranger")
MEMBERS = tuple(
    sorted((make_signer(f"oracle {member}") for member in range(4)), key=lambda one: one.address)
)
THRESHOLD = 2


def compute_listing() -> list[bytes]:
    """Bodies of the Configure messages of the whole venue."""
    committee = Committee(THRESHOLD, tuple(member.address for member in MEMBERS))
    return [
        encode_configure(COMMITTEE_TAG, COMMITTEE, encode_committee(committee)[1:]),
        encode_configure(GRID_TAG, GRID, encode_grid(PMRM_2)[1:]),
        *(encode_configure_params(index, encode_params(PARAMS)) for index in (INDEX, OTHER_INDEX)),
        *(encode_status(market, SeriesStatus.ACTIVE) for market in PERPS),
    ]


def compute_option_listing() -> list[bytes]:
    """What makes `INDEX` list options by itself, and a perpetual whose premium is signed."""
    return [
        encode_configure_params(INDEX, encode_params(OPTION_PARAMS)),
        encode_configure_expiry(PREMIUM, INDEX, Timestamp(0)),
        encode_configure_series(
            PREMIUM_PERP, SeriesKind.PERPETUAL, SeriesStatus.ACTIVE, INDEX, PREMIUM
        ),
    ]


def encode_status(market: MarketId, status: SeriesStatus) -> bytes:
    return encode_configure_series(market, SeriesKind.PERPETUAL, status, PERPS[market])


def encode_deposit(owner: Address, account: int, amount: int) -> bytes:
    return owner + account.to_bytes(4, "big") + amount.to_bytes(16, "big")


def encode_force_exit(account: int, amount: int) -> bytes:
    return account.to_bytes(4, "big") + amount.to_bytes(16, "big")


def encode_force_close(account: int, market: int, lots: int) -> bytes:
    return account.to_bytes(4, "big") + market.to_bytes(2, "big") + lots.to_bytes(8, "big")


def encode_forced(
    clock: int, transaction: Transaction, signatures: tuple[bytes, ...] = ()
) -> bytes:
    data = encode_chunk(Timestamp(clock), (transaction,))
    return len(data).to_bytes(2, "big") + data + b"".join(signatures)


def make_order(
    price: int = PRICE,
    size: int = 1,
    *,
    is_buy: bool = True,
    market: MarketId = PERP,
    nonce: int = 1,
    epoch: int = 0,
    expiry: int = GENESIS + 10**6,
    time_in_force: TimeInForce = TimeInForce.GTC,
    post_only: bool = False,
    reduce_only: bool = False,
) -> Order:
    return Order(
        market,
        is_buy,
        price,
        size,
        nonce,
        epoch,
        Timestamp(expiry),
        time_in_force,
        post_only,
        reduce_only,
    )


class Recorder(Store):
    """A store that also notes the live state at each seal, fee levels apart: its batch's end."""

    def __init__(self, path: Path | str = MEMORY, domain: bytes = DOMAIN) -> None:
        super().__init__(path, domain)
        self.sealed: list[tuple[SealedChunk, bytes]] = []
        self.state: State | None = None

    def seal(self, chunk: SealedChunk) -> None:
        super().seal(chunk)
        if self.state is not None:
            self.sealed.append((chunk, strip_fee_levels(self.state)))


class Venue:
    """A sequencer and short words for what reaches it."""

    def __init__(
        self,
        store: Log | None = None,
        domain: bytes = DOMAIN,
        snapshots: Snapshots | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.store = Recorder() if store is None else store
        self.sequencer = Sequencer(self.store, domain, listener=listener, snapshots=snapshots)
        if isinstance(self.store, Recorder):
            self.store.state = self.sequencer.state
        self.domain = domain

    @property
    def state(self) -> State:
        return self.sequencer.state

    def open(self, cash: int = CASH, price: int = PRICE) -> "Venue":
        """List, fund and mark everything."""
        self.sequencer.set_clock(GENESIS)
        for body in compute_listing():
            self.consume(MessageKind.CONFIGURE, ZERO_ADDRESS, body)
        for owner in OWNERS.values():
            self.deposit(owner.address, 0, cash)
        for index in (INDEX, OTHER_INDEX):
            self.observe(price, index=index)
        self.sequencer.flush()
        return self

    def open_options(self, cash: int = CASH, price: int = PRICE) -> "Venue":
        """The same, and two expiries of options with surfaces."""
        self.open(cash, price)
        for body in compute_option_listing():
            self.consume(MessageKind.CONFIGURE, ZERO_ADDRESS, body)
        self.sequencer.set_clock(GENESIS + 1)
        for index in (INDEX, OTHER_INDEX):
            self.observe(price, index=index)
        for market in (PREMIUM, *PLACES):
            self.surface(make_surface(self.state, market, self.sequencer.clock))
        self.sequencer.flush()
        return self

    def surface(self, surface: Surface) -> Receipt:
        signatures = tuple(
            member.sign_surface(self.domain, surface)
            for place, member in enumerate(MEMBERS)
            if surface.signers >> place & 1
        )
        return self.sequencer.surface(surface, signatures)

    def consume(self, kind: int, sender: Address, body: bytes) -> Receipt:
        index = self.state.globals.queue_index
        return self.sequencer.consume_message(
            index, Message(kind, sender, self.sequencer.clock, body)
        )

    def deposit(self, owner: Address, account: int, amount: int) -> Receipt:
        return self.consume(MessageKind.DEPOSIT, owner, encode_deposit(owner, account, amount))

    def observe(
        self,
        price: int,
        age: int = 0,
        index: MarketId = INDEX,
        members: Sequence[int] = (0, 1, 2),
    ) -> Receipt:
        time = Timestamp(self.sequencer.clock - age)
        observations = tuple(Observation(member, price, time) for member in members)
        signatures = tuple(
            MEMBERS[entry.signer].sign_observation(self.domain, index, entry)
            for entry in observations
        )
        return self.sequencer.observe(index, observations, signatures)

    def submit(
        self, account: AccountId, slot: int, order: Order, signer: Signer | None = None
    ) -> Execution:
        key = OWNERS[account] if signer is None else signer
        signature = key.sign_order(self.domain, account, SlotId(slot), order)
        receipt = self.sequencer.submit_order(account, SlotId(slot), order, signature)
        assert receipt.execution is not None
        return receipt.execution

    def act(
        self, action: Transfer | Withdraw | SetTradingKey, signer: Signer | None = None
    ) -> Receipt:
        key = OWNERS[get_actor(action)] if signer is None else signer
        return self.sequencer.submit_action(action, key.sign_action(self.domain, action))

    def set_key(self, account: AccountId, key: Address, expiry: int) -> Receipt:
        nonce = self.state.accounts[account].nonce + 1
        return self.act(SetTradingKey(account, key, Timestamp(expiry), nonce))


def make_surface(
    state: State,
    market: MarketId,
    time: int,
    signers: int = 0b11,
    level: int = 0,
) -> Surface:
    """Sixty percent of volatility, give or take `level` percent; a premium of `level` basis
    points."""
    leaf = state.markets.get(market)
    when = Timestamp(time)
    ratio = ONE + level * ONE // 10_000
    if not isinstance(leaf, Expiry) or leaf.time == 0:
        return Surface(market, signers, ratio, 0, 0, 0, 0, 0, 0, when)
    years = max(1, leaf.time - time) * ONE // YEAR
    variance = years * (60 + level) ** 2 // 10_000
    return Surface(
        market,
        signers,
        ratio,
        ONE // 20,
        variance * 3 // 4,
        variance,
        -ONE // 5,
        0,
        ONE // 4,
        when,
    )


def get_actor(action: Transfer | Withdraw | SetTradingKey) -> AccountId:
    return action.sender if isinstance(action, Transfer) else action.account


def compute_free(state: State, account: Account, clock: Timestamp) -> int:
    """Free margin, computed off the books; 0 when marks do not allow a check."""
    return measure(
        state, 0, lambda: (margin := compute_margin(state, account, clock)).equity - margin.initial
    )


def find_edge(
    state: State, account_id: AccountId, market: MarketId, is_buy: bool, price: int
) -> int:
    """Most lots that an account's margin allows it to take at `price`; 0 for none."""
    clock = state.globals.clock

    def is_allowed(lots: int) -> bool:
        series, underlying, _ = open_series(state, market, clock)
        account = process_realise(state, account_id, state.accounts[account_id])
        _, fee = compute_fees(series, underlying, price, lots)
        fee += compute_data_fee(state, underlying.params, FILL_BYTES + ORDER_BYTES)
        notional = price * lots
        after = compute_account_after(
            account,
            market,
            lots if is_buy else -lots,
            (-notional if is_buy else notional) - fee,
            series,
            False,
        )
        return compute_shortfall(compute_margin(state, after, clock)) == 0

    low, high = 0, 1 << 16
    while low < high:
        middle = (low + high + 1) // 2
        if measure(state, False, lambda lots=middle: is_allowed(lots)):  # type: ignore[misc]
            low = middle
        else:
            high = middle - 1
    return low


def measure(state: State, otherwise: Any, compute: Callable[[], Any]) -> Any:
    """Compute something on another meter, so that the open chunk does not weigh more, and undo what
    it does."""
    meter = state.meter
    state.meter = Meter()
    state.begin()
    try:
        return compute()
    except TransitionFault:
        return otherwise
    finally:
        state.rollback()
        state.meter = meter


@dataclass(frozen=True)
class Fingerprint:
    """Everything that a restart must give back."""

    root: bytes
    clock: Timestamp
    chunks: int
    book: tuple[tuple[object, ...], ...]
    nonces: frozenset[tuple[object, int]]
    open_chunk: tuple[object, ...]


def compute_fingerprint(sequencer: Sequencer) -> Fingerprint:
    opened: OpenChunk | None = sequencer._builder._open
    return Fingerprint(
        root=compute_state_root(sequencer.state),
        clock=sequencer.clock,
        chunks=sequencer.chunks_sealed,
        book=tuple(
            (
                resting.sequence,
                resting.account,
                resting.slot,
                resting.order,
                resting.signature,
                resting.signer,
                resting.remaining,
                resting.posted,
            )
            for resting in sequencer.engine.get_orders()
        ),
        nonces=frozenset(sequencer.engine.nonces.items()),
        open_chunk=()
        if opened is None or not opened.transactions
        else (opened.clock, tuple(opened.transactions), tuple(opened.signatures)),
    )


def find_center(state: State, market: MarketId) -> int:
    """The index of a perpetual, the mark of an option; any price where there is neither."""
    series = state.markets.get(market)
    if not isinstance(series, Series):
        return PRICE
    underlying = state.markets[series.underlying]
    assert isinstance(underlying, Underlying)
    return underlying.index if series.kind == SeriesKind.PERPETUAL else series.mark


# What may reach a sequencer. An operation is data; what it means follows from the sequencer's
# state, so the same operations on the same state do the same.


@dataclass(frozen=True)
class Submit:
    account: AccountId
    slot: int = 0
    is_buy: bool = True
    market: MarketId = PERP
    ticks: int = 0
    """Limit, ticks from the index."""
    size: int = 1
    is_edge: bool = False
    """`size` counts from the most that margin allows."""
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = False
    signer: str = "owner"
    life: int = 3_600
    nonce: int = 1
    """Beyond the last one of the slot."""

    def play(self, venue: Venue) -> Receipt:
        state = venue.state
        clock = venue.sequencer.clock
        account = state.accounts[self.account]
        price = max(TICK, find_center(state, self.market) // TICK * TICK + self.ticks * TICK)
        size = self.size
        if self.is_edge:
            edge = find_edge(state, self.account, self.market, self.is_buy, price)
            size = max(0, size + edge)
        last = venue.sequencer.engine.nonces.get((self.account, SlotId(self.slot)), 0)
        order = make_order(
            price,
            size,
            is_buy=self.is_buy,
            market=self.market,
            nonce=last + self.nonce,
            epoch=account.epoch,
            expiry=clock + self.life,
            time_in_force=self.time_in_force,
            post_only=self.post_only,
            reduce_only=self.reduce_only,
        )
        signers = {"owner": OWNERS[self.account], "key": KEYS[self.account], "stranger": STRANGER}
        signature = signers[self.signer].sign_order(
            venue.domain, self.account, SlotId(self.slot), order
        )
        return venue.sequencer.submit_order(self.account, SlotId(self.slot), order, signature)


@dataclass(frozen=True)
class Cancel:
    account: AccountId
    slot: int | None
    """None: all of them."""

    def play(self, venue: Venue) -> Receipt:
        if self.slot is None:
            return venue.sequencer.cancel_all(self.account)
        return venue.sequencer.cancel(self.account, SlotId(self.slot))


@dataclass(frozen=True)
class Pay:
    sender: AccountId
    recipient: AccountId
    amount: int
    is_edge: bool = False
    """`amount` counts from free margin."""
    leaves: bool = False
    """To L1 instead."""

    def play(self, venue: Venue) -> Receipt:
        state = venue.state
        account = state.accounts[self.sender]
        amount = self.amount
        if self.is_edge:
            amount = max(0, amount + compute_free(state, account, venue.sequencer.clock))
        nonce = account.nonce + 1
        if self.leaves:
            recipient = OWNERS[self.recipient].address
            return venue.act(Withdraw(self.sender, recipient, amount, nonce))
        return venue.act(Transfer(self.sender, self.recipient, amount, nonce))


@dataclass(frozen=True)
class ChangeKey:
    account: AccountId
    is_set: bool
    life: int

    def play(self, venue: Venue) -> Receipt:
        key = KEYS[self.account].address if self.is_set else ZERO_ADDRESS
        return venue.set_key(self.account, key, venue.sequencer.clock + self.life)


@dataclass(frozen=True)
class See:
    """An observation, the price by parts per million of the last one."""

    index: MarketId
    move: int
    age: int
    members: tuple[int, ...]

    def play(self, venue: Venue) -> Receipt:
        leaf = venue.state.markets[self.index]
        assert isinstance(leaf, Underlying)
        price = max(1, leaf.index + leaf.index * self.move // 1_000_000)
        return venue.observe(price, self.age, self.index, self.members)


@dataclass(frozen=True)
class Tick:
    seconds: int

    def play(self, venue: Venue) -> None:
        venue.sequencer.set_clock(venue.sequencer.clock + self.seconds)


@dataclass(frozen=True)
class Seal:
    def play(self, venue: Venue) -> None:
        venue.sequencer.seal()


@dataclass(frozen=True)
class FromL1:
    """A queue message about an account."""

    kind: MessageKind
    account: AccountId
    amount: int

    def play(self, venue: Venue) -> Receipt:
        owner = OWNERS[self.account].address
        match self.kind:
            case MessageKind.DEPOSIT:
                return venue.deposit(owner, self.account, self.amount)
            case MessageKind.FORCE_EXIT:
                body = encode_force_exit(self.account, self.amount)
            case MessageKind.CANCEL_ALL:
                body = self.account.to_bytes(4, "big")
            case MessageKind.CONFIGURE:
                statuses = (SeriesStatus.INACTIVE, SeriesStatus.ACTIVE, SeriesStatus.CLOSING)
                status = statuses[self.amount % 3]
                return venue.consume(self.kind, ZERO_ADDRESS, encode_status(TWIN, status))
            case MessageKind.FORCE_CLOSE:
                held = venue.state.accounts[self.account].positions
                market = held[self.amount % len(held)].series if held else PERP
                body = encode_force_close(self.account, market, self.amount)
            case MessageKind.FORCED:
                body = encode_forced(*self.compute_forced(venue))
        return venue.consume(self.kind, owner, body)

    def compute_forced(self, venue: Venue) -> tuple[int, Transaction, tuple[bytes, ...]]:
        """A change of key: what may pull the rug from under orders."""
        account = venue.state.accounts[self.account]
        clock = venue.sequencer.clock
        key = KEYS[self.account].address if self.amount % 2 else ZERO_ADDRESS
        change = SetTradingKey(self.account, key, Timestamp(clock + self.amount), account.nonce + 1)
        signature = OWNERS[self.account].sign_action(venue.domain, change)
        return clock, change, (signature,)


@dataclass(frozen=True)
class SeeSurface:
    """A surface of an expiry or of a premium."""

    market: MarketId
    level: int
    age: int = 0
    signers: int = 0b11

    def play(self, venue: Venue) -> Receipt:
        time = venue.sequencer.clock - self.age
        return venue.surface(make_surface(venue.state, self.market, time, self.signers, self.level))


@dataclass(frozen=True)
class Bid:
    """A bid for an account in distress."""

    account: AccountId
    target: int
    share: int
    reward: int = 0

    def play(self, venue: Venue) -> Receipt:
        nonce = venue.state.accounts[self.account].nonce + 1
        bid = Liquidate(self.account, AccountId(self.target), self.share, self.reward, nonce)
        signature = OWNERS[self.account].sign_action(venue.domain, bid)
        return venue.sequencer.liquidate(bid, signature)


@dataclass(frozen=True)
class Ask:
    """A poke."""

    kind: Kind
    subject: int
    detail: int = 0

    def play(self, venue: Venue) -> Receipt:
        return venue.sequencer.poke(self.kind, self.subject, self.detail)


@dataclass(frozen=True)
class Charge:
    """The price of data on L1, where it is told."""

    level: int

    def play(self, venue: Venue) -> None:
        venue.sequencer.set_data_fee(self.level)


Operation = (
    Submit | Cancel | Pay | ChangeKey | See | Tick | Seal | FromL1 | SeeSurface | Bid | Ask | Charge
)


def play(venue: Venue, operation: Operation) -> Receipt | None:
    """Let an operation reach the sequencer; None when it was refused at the door."""
    try:
        return operation.play(venue)
    except RejectedError:
        return None


def restart(path: Path, domain: bytes = DOMAIN, snapshots: Snapshots | None = None) -> Venue:
    """What a new process sees of a store."""
    return Venue(Recorder(path, domain), domain, snapshots)


def crash(venue: Venue) -> None:
    """Lose the process: nothing is flushed."""
    venue.store._connection.close()


def strip_fee_levels(state: State) -> bytes:
    """State root without what only posted headers say."""
    compute_state_root(state)
    kept = state.globals
    state.globals = replace(kept, base_fee_level=0, blob_fee_level=0)
    root = compute_state_root(state)
    state.globals = kept
    return root
