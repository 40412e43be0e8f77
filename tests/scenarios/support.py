"""What scenarios need: named actors on a real L1, an honest base state, lies and their removal.

The base is made by the real sequencer and batcher. A `Lab` is what one test plays with: it drafts
chunks, honest or not, says what the protocol thinks of them, and posts them as they are.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import copyfile
from typing import Any, Generic, NamedTuple, TypeVar

from ape.api import AccountAPI, ProviderAPI
from ape.contracts import ContractInstance
from ape.managers.project import ProjectManager

from deltaroll.l1.deployment import DeploymentParameters, deploy, load_gateway
from deltaroll.l1.gateway import Contracts, Gateway
from deltaroll.l1.types import Header, PostedChunk
from deltaroll.node.batcher import Batcher, compute_submission
from deltaroll.node.challenger import Challenger, Removal
from deltaroll.node.follower import Follower
from deltaroll.node.intake import take_in
from deltaroll.node.sender import Sender
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.configure import (
    encode_configure,
    encode_configure_expiry,
    encode_configure_params,
    encode_configure_series,
)
from deltaroll.protocol.constants import DAY, ONE
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import (
    COMMITTEE_TAG,
    GRID_TAG,
    encode_committee,
    encode_grid,
    encode_params,
)
from deltaroll.protocol.signatures import compute_bad_signature
from deltaroll.protocol.state import State, compute_state_root
from deltaroll.protocol.transition import compute_fault, process_chunk
from deltaroll.protocol.types import (
    AccountId,
    Address,
    Committee,
    Context,
    Fill,
    Grid,
    Liquidate,
    Mark,
    MarketId,
    Observation,
    Observe,
    Order,
    Queue,
    Scenario,
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

# Markets

COMMITTEE, GRID, STEEP_GRID = MarketId(1), MarketId(2), MarketId(3)
BTC, ETH, MOON = MarketId(4), MarketId(5), MarketId(6)
"""Underlyings. Nobody has ever observed MOON, and its grid is so steep that it can overflow."""
BTC_PERP, BTC_NEXT, BTC_LAST = MarketId(16), MarketId(17), MarketId(18)
ETH_PERP, CLOSED, MOON_PERP = MarketId(20), MarketId(24), MarketId(28)
"""Perpetuals. CLOSED, on BTC, does not trade."""
EXPIRY, CALL, PUT = MarketId(30), MarketId(31), MarketId(32)
"""Options on BTC at the money, which expire weeks after the base."""
ETH_LISTING = MarketId(100)
"""From here on List puts the expiries of ETH."""
NOWHERE = MarketId(999)
PRICES = {BTC: 60_000_000, ETH: 3_000_000}
"""Index of each underlying in the base, per lot."""
TICK = 1_000
OPTION_PRICE = 5_000_000
"""Of the base's call: near its mark."""
THRESHOLD, MEMBERS = 3, 5
PARAMS = replace(make_params(COMMITTEE, GRID, TICK), move_band=20_000)
"""A 10 % jump halts, a 2 % move or an hour makes a mark stale, fills stay within 3 % of it."""
STEEP = Grid((Scenario(2_000_000_000, 0, ONE),), 0, 0, PMRM_2.model)
LISTED = replace(
    PARAMS,
    strike_step=100_000,
    list_base=ETH_LISTING,
    list_strikes=2,
    list_expiries=2,
    list_period=7,
)
"""Of ETH."""
LIFE = 30 * DAY
"""How long the base's options live at least."""

# Accounts, in the order in which they are opened

ALICE, BOB, CAROL, DAVE = AccountId(1), AccountId(2), AccountId(3), AccountId(4)
"""Rich traders with positions. Carol's trading key has expired."""
ERIN = AccountId(5)
"""Cash and nothing else."""
FRANK = AccountId(6)
"""Ten dollars: less than the initial margin of one lot."""
GINA = AccountId(8)
"""Long all that her seven hundred dollars can carry."""
ALICE_TOO = AccountId(7)
"""A second account of Alice."""
NOBODY = AccountId(1_000)
MAKER_SLOT, TAKER_SLOT = SlotId(100), SlotId(101)
"""Of orders that a draft does not place itself."""
NAMES = ("Alice", "Bob", "Carol", "Dave", "Erin", "Frank")
RICH, POOR, TIGHT = 100_000 * 10**6, 10 * 10**6, 700 * 10**6
KEY_LIFE, SHORT_LIFE = 30 * 24 * 3600, 60

BLOCK_SECONDS = 12
FOREVER = 2**64 - 1
BOND = 10**18
WINDOW = 7 * 24 * 3600
MAX_GAS, MAX_CALLDATA = 10_000_000, 120_000
"""A removal stays below both."""

REMOVALS: list[Removal] = []
"""All of this session, for its summary."""

Rpc = dict[str, Any]


class Chunk(NamedTuple):
    """A chunk without a post root."""

    data: bytes
    signatures: bytes


T = TypeVar("T", bound=Transaction)
A = TypeVar("A", Transfer, Withdraw, SetTradingKey)


class Signed(NamedTuple, Generic[T]):
    """A transaction with its signatures."""

    transaction: T
    signatures: tuple[bytes, ...] = ()


class Finding(NamedTuple):
    """What the protocol says is wrong with a chunk."""

    chunk: int
    fault: Fault
    by_signature: bool


@dataclass(frozen=True)
class Lie:
    """A batch to be posted, and how it deceives."""

    chunks: tuple[Chunk, ...]
    queue_end: int | None = None
    """None: what the chunks consume."""
    twist: Callable[[State], None] | None = None
    """Changes the state behind the last chunk's post root."""
    root: bytes | None = None
    """In place of the last chunk's post root."""


@dataclass(frozen=True)
class Venue:
    """A deployment with its honest base: three batches, the genesis included."""

    provider: ProviderAPI
    gateway: Gateway
    governor: AccountAPI
    operator: AccountAPI
    standby: AccountAPI
    watcher: AccountAPI
    owners: dict[AccountId, AccountAPI]
    keys: dict[AccountId, Signer]
    """What the owners sign with."""
    traders: dict[AccountId, Signer]
    """Trading keys."""
    committee: list[Signer]
    store: Path
    """Of the sequencer that made the base."""

    @property
    def contracts(self) -> Contracts:
        return self.gateway.contracts

    def send(self, method: Any, *arguments: Any, sender: Any, value: int = 0) -> Rpc:
        """Send a transaction that must succeed, without what Ape asks the node around it."""
        call = encode_call(method, *arguments, sender=sender, value=value)
        receipt: Rpc = self.provider.make_request("eth_sendTransactionSync", [call])
        assert int(receipt["status"], 16) == 1, self.simulate(
            method, *arguments, sender=sender, value=value
        )
        return receipt

    def simulate(
        self, method: Any, *arguments: Any, sender: Any, value: int = 0, gas: int = 0
    ) -> str | None:
        """Return the name of the error that a call ends in, None when it succeeds."""
        call = encode_call(method, *arguments, sender=sender, value=value, gas=gas)
        answer = self.provider.web3.provider.make_request("eth_call", [call, "latest"])
        problem = answer.get("error")
        if problem is None:
            return None
        data = problem.get("data") or "0x"
        return self.errors.get(data[:10], data[:10] if data != "0x" else str(problem["message"]))

    @property
    def errors(self) -> dict[str, str]:
        """Names of custom errors by selector."""
        if not _errors:
            contracts = self.contracts
            for contract in (
                contracts.bridge,
                contracts.inbox,
                contracts.prover,
                contracts.escape_hatch,
            ):
                for error in contract.contract_type.errors:
                    _errors["0x" + keccak(error.selector.encode())[:4].hex()] = error.name
        return _errors

    def advance(self, seconds: int) -> None:
        """Let L1 time pass."""
        time = self.gateway.get_head().time + seconds
        self.provider.make_request("evm_setNextBlockTimestamp", [time])
        self.provider.make_request("evm_mine", [])


_errors: dict[str, str] = {}


def encode_call(method: Any, *arguments: Any, sender: Any, value: int = 0, gas: int = 0) -> Rpc:
    """Return the JSON of a call."""
    return {
        "from": str(getattr(sender, "address", sender)),
        "to": method.contract.address,
        "data": "0x" + bytes(method.encode_input(*arguments)).hex(),
        "value": hex(value),
        "gas": hex(gas or 30_000_000),
    }


# The base


def create_venue(
    project: ProjectManager, provider: ProviderAPI, accounts: Sequence[Any], store: Path
) -> Venue:
    """Deploy, list, fund and trade; settle the first batch, refresh the marks in a second."""
    governor, operator, standby, watcher, *others = accounts
    token = governor.deploy(project.MockUSDC)
    registry = deploy(
        project,
        provider,
        governor,
        DeploymentParameters(
            token=token.address,
            sequencer=operator.address,
            governor=governor.address,
            challenge_window=WINDOW,
            bond=BOND,
        ),
    )
    ids = [AccountId(place) for place in range(1, len(NAMES) + 1)]
    owners = dict(zip(ids, others, strict=False))
    owners[ALICE_TOO] = owners[ALICE]
    owners[GINA] = others[len(NAMES)]
    venue = Venue(
        provider=provider,
        gateway=load_gateway(project, provider, registry),
        governor=governor,
        operator=operator,
        standby=standby,
        watcher=watcher,
        owners=owners,
        keys={key: Signer(bytes.fromhex(owner.private_key[2:])) for key, owner in owners.items()},
        traders={key: Signer(keccak(f"trading key {key}".encode())) for key in owners},
        committee=sorted(
            (Signer(keccak(f"oracle {member}".encode())) for member in range(MEMBERS)),
            key=lambda member: member.address,
        ),
        store=store,
    )
    for proposer in (operator, standby):
        venue.send(venue.contracts.inbox.bond, sender=proposer, value=BOND)
    list_markets(venue)
    fund(venue)
    trade(venue)
    return venue


def list_markets(venue: Venue) -> None:
    """Queue what governance lists."""
    signers = tuple(member.address for member in venue.committee)
    steep = replace(PARAMS, grid=STEEP_GRID)
    series = (
        (BTC_PERP, BTC),
        (BTC_NEXT, BTC),
        (BTC_LAST, BTC),
        (ETH_PERP, ETH),
        (MOON_PERP, MOON),
    )
    bodies = [
        encode_configure(
            COMMITTEE_TAG, COMMITTEE, encode_committee(Committee(THRESHOLD, signers))[1:]
        ),
        encode_configure(GRID_TAG, GRID, encode_grid(PMRM_2)[1:]),
        encode_configure(GRID_TAG, STEEP_GRID, encode_grid(STEEP)[1:]),
        encode_configure_params(BTC, encode_params(PARAMS)),
        encode_configure_params(ETH, encode_params(LISTED)),
        encode_configure_params(MOON, encode_params(steep)),
        *(list_series(market, underlying) for market, underlying in series),
        list_series(CLOSED, BTC, SeriesStatus.INACTIVE),
        encode_configure_expiry(EXPIRY, BTC, compute_expiry_time(venue)),
        *(
            encode_configure_series(market, kind, SeriesStatus.ACTIVE, BTC, EXPIRY, PRICES[BTC])
            for market, kind in ((CALL, SeriesKind.CALL), (PUT, SeriesKind.PUT))
        ),
    ]
    for body in bodies:
        venue.send(venue.contracts.bridge.configure, body, sender=venue.governor)


def compute_expiry_time(venue: Venue) -> Timestamp:
    """Return when the base's options expire."""
    return compute_boundary(compute_day(venue.gateway.get_head().time + LIFE))


def list_series(
    market: MarketId, underlying: MarketId, status: SeriesStatus = SeriesStatus.ACTIVE
) -> bytes:
    """Return the Configure body of a perpetual."""
    return encode_configure_series(market, SeriesKind.PERPETUAL, status, underlying)


def fund(venue: Venue) -> None:
    """Deposit for everybody, in the order of the account ids."""
    contracts = venue.contracts
    payer = venue.governor
    venue.send(contracts.token.mint, payer.address, 10**18, sender=payer)
    venue.send(contracts.token.approve, contracts.bridge.address, 10**18, sender=payer)
    for account, owner in sorted(venue.owners.items()):
        amount = {FRANK: POOR, GINA: TIGHT}.get(account, RICH)
        venue.send(contracts.bridge.deposit, owner.address, 0, amount, sender=payer)


def trade(venue: Venue) -> None:
    """Open positions with the real sequencer and post them with the real batcher."""
    store = Store(venue.store, venue.gateway.domain)
    sequencer = Sequencer(store, venue.gateway.domain)
    batcher = Batcher(store, Follower(venue.gateway), Sender(venue.gateway, venue.operator))
    take_in(sequencer, batcher.follower)
    for account in (ALICE, BOB, CAROL, DAVE):
        life = SHORT_LIFE if account == CAROL else KEY_LIFE
        key = venue.traders[account].address
        change = SetTradingKey(account, key, Timestamp(sequencer.clock + life), 1)
        signature = venue.keys[account].sign_action(sequencer.domain, change)
        sequencer.submit_action(change, signature)
    for underlying, price in PRICES.items():
        observe_with(venue, sequencer, underlying, price)
    for place, (market, seller, buyer, lots) in enumerate(
        (
            (BTC_PERP, ALICE, BOB, 10),
            (BTC_NEXT, BOB, CAROL, 5),
            (BTC_LAST, DAVE, ALICE, 3),
            (ETH_PERP, DAVE, CAROL, 50),
            (ETH_PERP, BOB, ALICE, 20),
            (BTC_PERP, DAVE, ALICE_TOO, 2),
            (BTC_PERP, DAVE, GINA, 50),
        )
    ):
        price = PRICES[ETH if market == ETH_PERP else BTC]
        for account, is_buy in ((seller, False), (buyer, True)):
            order_with(venue, sequencer, account, SlotId(place), market, is_buy, price, lots)
    post_all(sequencer, batcher)
    venue.advance(WINDOW + 1)
    take_in(sequencer, batcher.follower)
    for underlying, price in PRICES.items():
        observe_with(venue, sequencer, underlying, price)
    post_all(sequencer, batcher)
    surface_with(venue, sequencer, EXPIRY)
    for account, is_buy in ((ALICE, False), (BOB, True)):
        order_with(venue, sequencer, account, SlotId(60), CALL, is_buy, OPTION_PRICE, 4)
    post_all(sequencer, batcher)
    store.close()


def make_surface(market: MarketId, time: Timestamp, members: int = THRESHOLD) -> Surface:
    """Return a flat surface of some 60 % volatility by the first members of the committee."""
    return Surface(market, (1 << members) - 1, ONE, 0, ONE // 40, ONE // 50, 0, 0, ONE // 5, time)


def sign_surface(venue: Venue, surface: Surface) -> tuple[bytes, ...]:
    """Have the members sign whose bits are set."""
    return tuple(
        member.sign_surface(venue.gateway.domain, surface)
        for place, member in enumerate(venue.committee)
        if surface.signers >> place & 1
    )


def surface_with(venue: Venue, sequencer: Sequencer, market: MarketId) -> None:
    """Give an expiry its surface through a sequencer."""
    surface = make_surface(market, sequencer.clock)
    sequencer.surface(surface, sign_surface(venue, surface))


def observe_with(
    venue: Venue, sequencer: Sequencer, market: MarketId, price: int, members: int = THRESHOLD
) -> None:
    """Have the first members of the committee sign one price for a sequencer."""
    seen = tuple(Observation(member, price, sequencer.clock) for member in range(members))
    sequencer.observe(
        market,
        seen,
        tuple(
            venue.committee[entry.signer].sign_observation(sequencer.domain, market, entry)
            for entry in seen
        ),
    )


def order_with(
    venue: Venue,
    sequencer: Sequencer,
    account: AccountId,
    slot: SlotId,
    market: MarketId,
    is_buy: bool,
    price: int,
    lots: int,
) -> None:
    """Submit an owner's order to a sequencer."""
    nonce = sequencer.engine.nonces.get((account, slot), 0) + 1
    expiry = Timestamp(sequencer.clock + 3_600)
    order = Order(market, is_buy, price, lots, nonce, 0, expiry, TimeInForce.GTC, False, False)
    signature = venue.keys[account].sign_order(sequencer.domain, account, slot, order)
    sequencer.submit_order(account, slot, order, signature)


def post_all(sequencer: Sequencer, batcher: Batcher) -> None:
    """Seal and post what is waiting."""
    sequencer.seal()
    sequencer.flush()
    assert batcher.post() is not None


# The lab


@dataclass
class Lab:
    """One test's view of a venue: a follower of its own, and drafts of chunks."""

    venue: Venue
    folder: Path
    follower: Follower = field(init=False)
    time: Timestamp = field(init=False)
    """L1 time of the next batch, and the clock of the chunks in it."""
    _nonces: dict[tuple[AccountId, SlotId], int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.follower = Follower(self.venue.gateway)
        self.sync()

    @property
    def state(self) -> State:
        """The newest honest state."""
        return self.follower.state

    @property
    def contracts(self) -> Contracts:
        return self.venue.contracts

    @property
    def inbox(self) -> ContractInstance:
        return self.venue.contracts.inbox

    @property
    def domain(self) -> bytes:
        return self.venue.gateway.domain

    @property
    def head(self) -> Header:
        """Header of the newest honest batch."""
        return self.follower.chain[-1].submitted.header

    def sync(self) -> None:
        """Read L1."""
        self.time = Timestamp(self.follower.poll().time + BLOCK_SECONDS)

    def advance(self, seconds: int) -> None:
        """Let L1 time pass; the next batch is that much later."""
        self.venue.advance(seconds)
        self.sync()

    def open_sequencer(self) -> Sequencer:
        """Return a real sequencer that has replayed the base from a copy of its log."""
        path = self.folder / "sequencer.sqlite"
        copyfile(self.venue.store, path)
        return Sequencer(Store(path, self.domain), self.domain)

    # Drafts

    def order(
        self, account: AccountId, slot: SlotId, market: MarketId, is_buy: bool, **changes: Any
    ) -> Order:
        """Return an order at the mark with the slot's next nonce."""
        price = PRICES[ETH if market == ETH_PERP else BTC]
        nonce = self._nonces.get((account, slot), 100) + 1
        self._nonces[account, slot] = nonce
        order = Order(
            market,
            is_buy,
            price,
            10,
            nonce,
            0,
            Timestamp(self.time + 3_600),
            TimeInForce.GTC,
            False,
            False,
        )
        return replace(order, **changes)

    def sign_order(self, account: AccountId, slot: SlotId, order: Order) -> bytes:
        """Return the owner's signature."""
        return self.venue.keys[account].sign_order(self.domain, account, slot, order)

    def fill(
        self,
        maker: AccountId = ALICE,
        taker: AccountId = BOB,
        market: MarketId = BTC_PERP,
        lots: int = 1,
        maker_is_buy: bool = False,
        maker_slot: SlotId = MAKER_SLOT,
        taker_slot: SlotId = TAKER_SLOT,
        of_maker: dict[str, Any] | None = None,
        of_taker: dict[str, Any] | None = None,
        posts: str = "both",
    ) -> Signed[Fill]:
        """Return a fill of two orders at the mark.

        Parameters
        ----------
        of_maker, of_taker
            What differs in an order from `order`.
        posts
            Which orders are posted here: "both", "maker", "taker" or "none". The others rest.
        """
        orders: list[Order | None] = [None, None]
        signatures: list[bytes] = []
        sides = (
            ("maker", maker, maker_slot, maker_is_buy, of_maker),
            ("taker", taker, taker_slot, not maker_is_buy, of_taker),
        )
        for place, (side, account, slot, is_buy, changes) in enumerate(sides):
            if posts in ("both", side):
                order = self.order(account, slot, market, is_buy, **(changes or {}))
                orders[place] = order
                signatures.append(self.sign_order(account, slot, order))
        fill = Fill(
            market, maker, taker, maker_slot, taker_slot, maker_is_buy, lots, orders[0], orders[1]
        )
        return Signed(fill, tuple(signatures))

    def act(self, action: A, signer: AccountId | None = None) -> Signed[A]:
        """Return an action signed by its owner, or by somebody else's."""
        subject = action.sender if isinstance(action, Transfer) else action.account
        key = self.venue.keys[subject if signer is None else signer]
        return Signed(action, (key.sign_action(self.domain, action),))

    def transfer(
        self,
        amount: int = 10**6,
        sender: AccountId = ERIN,
        recipient: AccountId = BOB,
        nonce: int = 100,
    ) -> Signed[Transfer]:
        """Return a signed transfer."""
        return self.act(Transfer(sender, recipient, amount, nonce))

    def withdraw(
        self, amount: int = 10**6, account: AccountId = ERIN, nonce: int = 100, **changes: Any
    ) -> Signed[Withdraw]:
        """Return a signed withdrawal to the owner."""
        recipient = self.venue.keys[account].address
        return self.act(replace(Withdraw(account, recipient, amount, nonce), **changes))

    def change_key(
        self, account: AccountId, key: Address, life: int = 3_600
    ) -> Signed[SetTradingKey]:
        """Return a signed change of trading key."""
        return self.act(SetTradingKey(account, key, Timestamp(self.time + life), 100))

    def observe(
        self,
        market: MarketId = BTC,
        *prices: int,
        members: Sequence[int] = tuple(range(THRESHOLD)),
        age: int = 0,
    ) -> Signed[Observe]:
        """Return prices, one for all or one each, signed by members of the committee."""
        each = prices if len(prices) > 1 else prices * len(members)
        seen = tuple(
            Observation(member, price, Timestamp(self.time - age))
            for member, price in zip(members, each, strict=True)
        )
        signatures = tuple(
            self.venue.committee[entry.signer].sign_observation(self.domain, market, entry)
            for entry in seen
        )
        return Signed(Observe(market, seen), signatures)

    def surface(
        self, market: MarketId = EXPIRY, members: int = THRESHOLD, age: int = 0, **changes: int
    ) -> Signed[Surface]:
        """Return a surface signed by the first members of the committee."""
        surface = make_surface(market, Timestamp(self.time - age), members)
        surface = replace(surface, **changes)  # type: ignore[arg-type]
        return Signed(surface, sign_surface(self.venue, surface))

    def liquidate(
        self,
        target: AccountId = GINA,
        account: AccountId = ERIN,
        share: int = 1_000_000,
        reward: int = 0,
        nonce: int = 100,
        signer: AccountId | None = None,
    ) -> Signed[Liquidate]:
        """Return a signed bid for a share of an account."""
        bid = Liquidate(account, target, share, reward, nonce)
        key = self.venue.keys[account if signer is None else signer]
        return Signed(bid, (key.sign_action(self.domain, bid),))

    def plain(self, transaction: T) -> Signed[T]:
        """Return a transaction that nobody signs."""
        return Signed(transaction)

    def fall(self, *percents: int, market: MarketId = BTC) -> list[Signed[Any]]:
        """Return observations that move an index to percents of its price one after the other, a
        second apart, and the marks of its perpetuals and options."""
        leaf = self.state.markets[market]
        assert isinstance(leaf, Underlying)
        price = leaf.index
        moves: list[Signed[Any]] = []
        for place, percent in enumerate(percents):
            price = price * percent // 100
            moves.append(self.observe(market, price, age=len(percents) - 1 - place))
        perpetuals = (BTC_PERP, BTC_NEXT, BTC_LAST) if market == BTC else (ETH_PERP,)
        moves.extend(self.mark(each) for each in perpetuals)
        if market == BTC:
            moves.append(self.mark(CALL, 2))
        return moves

    def mark(self, market: MarketId = BTC_PERP, count: int = 1) -> Signed[Mark]:
        """Return a mark."""
        return Signed(Mark(market, count))

    def queue(self) -> Signed[Queue]:
        """Return the consumption of a message."""
        return Signed(Queue())

    def chunk(self, *signed: Signed[Any], clock: int | None = None) -> Chunk:
        """Return a chunk of transactions."""
        at = self.time if clock is None else Timestamp(clock)
        data = encode_chunk(at, [each.transaction for each in signed])
        return Chunk(data, b"".join(b"".join(each.signatures) for each in signed))

    def lie(self, *signed: Signed[Any], **how: Any) -> Lie:
        """Return a batch of one chunk."""
        return Lie((self.chunk(*signed),), **how)

    # Verdicts and postings

    def judge(self, lie: Lie) -> tuple[list[Finding], list[PostedChunk]]:
        """Return what is wrong with each chunk, and the chunks with their post roots.

        A root is that of the state up to the chunk's fault, if it has one.
        """
        state = self.state
        head = self.head
        findings: list[Finding] = []
        posted: list[PostedChunk] = []
        last = len(lie.chunks) - 1
        state.begin()
        for index, (data, signatures) in enumerate(lie.chunks):
            context = Context(
                domain=self.domain,
                l1_time=self.time,
                queue_end=self.compute_queue_end(lie),
                previous_base_fee=head.l1_base_fee,
                previous_blob_fee=head.l1_blob_fee,
                is_first=index == 0,
                is_last=index == last,
            )
            bad = compute_bad_signature(state, data, signatures, self.domain)
            if bad is not None:
                findings.append(Finding(index, bad[0], True))
            state.begin()
            with suppress(TransitionFault):
                process_chunk(state, data, context)
            if index == last and lie.twist is not None:
                lie.twist(state)
            root = compute_state_root(state)
            if index == last and lie.root is not None:
                root = lie.root
            state.rollback()
            fault = compute_fault(state, data, context, root)
            if fault != Fault.NONE:
                findings.append(Finding(index, fault, False))
            posted.append(PostedChunk(data, signatures, root))
        state.rollback()
        return findings, posted

    def compute_queue_end(self, lie: Lie) -> int:
        """Return the end of a batch's queue range: what is said, or what its chunks consume."""
        if lie.queue_end is not None:
            return lie.queue_end
        return len(self.state.messages)

    def post(self, lie: Lie, posted: Sequence[PostedChunk], sender: Any = None) -> Rpc:
        """Post a batch as it is, straight to the inbox, at the time that `judge` reckoned with."""
        arguments = compute_submission(
            self.head, self.follower, self.compute_queue_end(lie), FOREVER, posted
        )
        self.venue.provider.make_request("evm_setNextBlockTimestamp", [self.time])
        return self.venue.send(
            self.inbox.submitBatch, arguments, sender=sender or self.venue.operator
        )

    def post_honest(
        self, *chunks: Chunk, queue_end: int | None = None, sender: Any = None
    ) -> Header:
        """Post a batch without a fault and move on to the state after it."""
        lie = Lie(chunks, queue_end)
        findings, posted = self.judge(lie)
        assert not findings
        self.post(lie, posted, sender)
        self.sync()
        assert self.follower.fraud is None
        return self.head

    def watch(self, account: AccountAPI | None = None) -> Challenger:
        """Return a challenger that knows nothing yet."""
        sender = Sender(self.venue.gateway, account or self.venue.watcher)
        return Challenger(Follower(self.venue.gateway), sender)

    def challenge(self) -> Removal | None:
        """Have somebody who knows nothing but L1 look at it, and act."""
        watcher = self.watch()
        watcher.follower.poll()
        removal = watcher.challenge()
        if removal is not None:
            REMOVALS.append(removal)
        return removal

    def remove(self, fault: Fault, chunk: int = 0, proposer: Any = None) -> Removal:
        """Have the head's fraud removed in one transaction, and check all that follows from it."""
        inbox, prover = self.inbox, self.contracts.prover
        proposer = proposer or self.venue.operator
        before = self.head
        removal = self.challenge()
        assert removal is not None
        batch = removal.fraud.submitted
        receipt = self.venue.provider.get_receipt(removal.receipt.hash)
        (removed,) = receipt.decode_logs(inbox.BatchRemoved)
        (proven,) = receipt.decode_logs(prover.FraudProven)
        (slashed,) = receipt.decode_logs(inbox.BondSlashed)
        assert (Fault(removed.fault), Fault(proven.fault)) == (fault, fault)
        assert (removed.index, removed.headerHash) == (before.index + 1, batch.header_hash)
        assert (proven.headerHash, proven.chunkIndex) == (batch.header_hash, chunk)
        assert slashed.proposer == proposer.address
        assert slashed.reward + slashed.burnt == BOND
        for event in (removed, proven, slashed):
            assert event.challenger == self.venue.watcher.address
        assert inbox.batchCount() == before.index + 1
        assert inbox.bondOf(proposer).amount == 0
        assert removal.receipt.gas_used < MAX_GAS
        assert removal.calldata < MAX_CALLDATA
        self.follower.poll()
        assert self.follower.fraud is None
        assert self.head == before
        assert self.follower.state_root == before.post_root
        return removal
