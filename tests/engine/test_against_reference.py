"""The engine against the reference, step by step; at the end a follower replays every chunk."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from deltaroll.engine.matching import MatchingEngine, RestingOrder, SelfTradePolicy
from deltaroll.protocol.fill import compute_position_size
from deltaroll.protocol.types import AccountId, MarketId, Order, SlotId, TimeInForce, Timestamp
from tests.engine.reference import Entry, Reference
from tests.engine.support import (
    GENESIS,
    MARKETS,
    OWNERS,
    ChunkExecutor,
    build_state,
    sign,
)

ACCOUNTS = st.sampled_from(sorted(OWNERS))
SLOTS = st.integers(0, 3).map(SlotId)
FEW_MARKETS = st.sampled_from((*MARKETS[:1] * 3, MARKETS[1]))
SIZES = st.integers(1, 9)
NEAR = st.integers(98, 102).map(lambda step: step * 10)
FAR = st.integers(85, 115).map(lambda step: step * 10)
EXPIRIES = st.sampled_from((10**5, 10**5, 10**5, 1, 2, 4))


class EngineAgainstReference(RuleBasedStateMachine):
    """Orders of four accounts and three owners in two markets."""

    def __init__(self) -> None:
        super().__init__()
        self.executor = ChunkExecutor(build_state())
        self.state = self.executor.state
        self.sequence = 0
        self.sizes: dict[tuple[AccountId, SlotId, int], int] = {}
        """Lots of every order that was ever accepted, by account, slot and nonce."""
        self.traded: dict[tuple[AccountId, SlotId, int], int] = {}

    @initialize(policy=st.sampled_from(SelfTradePolicy))
    def choose_policy(self, policy: SelfTradePolicy) -> None:
        self.engine = MatchingEngine(self.executor, policy)
        self.reference = Reference(policy, GENESIS)

    @rule(
        account=ACCOUNTS,
        slot=SLOTS,
        market=FEW_MARKETS,
        is_buy=st.booleans(),
        price=NEAR,
        size=SIZES,
        lifetime=EXPIRIES,
    )
    def quote(
        self,
        account: AccountId,
        slot: SlotId,
        market: MarketId,
        is_buy: bool,
        price: int,
        size: int,
        lifetime: int,
    ) -> None:
        away = price - 20 if is_buy else price + 20
        self.submit(
            account, slot, market, is_buy, away, size, TimeInForce.GTC, False, False, lifetime
        )

    @rule(
        account=ACCOUNTS,
        slot=SLOTS,
        market=FEW_MARKETS,
        is_buy=st.booleans(),
        price=st.one_of(NEAR, NEAR, NEAR, FAR),
        size=SIZES,
        time_in_force=st.sampled_from(TimeInForce),
        post_only=st.sampled_from((False, False, False, True)),
        reduce_only=st.sampled_from((False, False, False, True)),
        lifetime=EXPIRIES,
    )
    def take(
        self,
        account: AccountId,
        slot: SlotId,
        market: MarketId,
        is_buy: bool,
        price: int,
        size: int,
        time_in_force: TimeInForce,
        post_only: bool,
        reduce_only: bool,
        lifetime: int,
    ) -> None:
        self.submit(
            account,
            slot,
            market,
            is_buy,
            price,
            size,
            time_in_force,
            post_only,
            reduce_only,
            lifetime,
        )

    def submit(
        self,
        account: AccountId,
        slot: SlotId,
        market: MarketId,
        is_buy: bool,
        price: int,
        size: int,
        time_in_force: TimeInForce,
        post_only: bool,
        reduce_only: bool,
        lifetime: int,
    ) -> None:
        self.sequence += 1
        holder = self.state.accounts[account]
        order = Order(
            market,
            is_buy,
            price,
            size,
            self.sequence,
            holder.epoch,
            Timestamp(self.reference.clock + lifetime),
            time_in_force,
            post_only and time_in_force == TimeInForce.GTC,
            reduce_only,
        )
        if time_in_force != TimeInForce.GTC:
            # The reference knows no full chunks.
            self.executor.advance(0)
        makers = {(entry.account, entry.slot): entry.order for entry in self.reference.entries}
        expected = self.reference.submit(Entry(account, slot, order, size, self.sequence))
        got = self.engine.submit(
            account, slot, order, sign(account, slot, order), holder.owner, self.sequence
        )
        assert (got.status, got.reason) == (expected.status, expected.reason)
        assert [
            (report.maker, report.maker_slot, report.price, report.lots) for report in got.fills
        ] == expected.fills
        assert [
            (maker.account, maker.slot, reason) for maker, reason in got.cancelled_makers
        ] == expected.cancelled
        assert got.filled == sum(report.lots for report in got.fills)
        self.sizes[account, slot, order.nonce] = size
        for report in got.fills:
            nonce = makers[report.maker, report.maker_slot].nonce
            for key in (
                (report.maker, report.maker_slot, nonce),
                (account, slot, order.nonce),
            ):
                self.traded[key] = self.traded.get(key, 0) + report.lots

    @rule(account=ACCOUNTS, slot=SLOTS)
    def cancel(self, account: AccountId, slot: SlotId) -> None:
        self.compare(self.reference.drop(account, slot), self.engine.cancel(account, slot))

    @rule(
        event=st.sampled_from(("cancel all", "time", "time", "time", "epoch", "restart")),
        account=ACCOUNTS,
        market=st.sampled_from((None, *MARKETS)),
        seconds=st.integers(1, 3),
        is_swept=st.booleans(),
    )
    def disturb(
        self,
        event: str,
        account: AccountId,
        market: MarketId | None,
        seconds: int,
        is_swept: bool,
    ) -> None:
        """What happens now and then; `is_swept`: the engine is told of it at once."""
        reference = self.reference
        match event:
            case "cancel all":
                expected = [
                    entry
                    for entry in reference.entries
                    if entry.account == account and market in (None, entry.order.market)
                ]
                self.compare_all(expected, self.engine.cancel_all(account, market))
            case "time":
                self.executor.advance(seconds)
                clock = reference.clock = self.state.globals.clock
                if is_swept:
                    expected = [entry for entry in reference.entries if entry.order.expiry < clock]
                    self.compare_all(expected, self.engine.expire(clock))
            case "epoch":
                self.executor.raise_epoch(account)
                reference.epochs[account] = self.state.accounts[account].epoch
                if is_swept:
                    expected = [
                        entry
                        for entry in reference.entries
                        if entry.account == account and reference.is_dead(entry)
                    ]
                    self.compare_all(expected, self.engine.drop_stale(account))
            case "restart":
                other = MatchingEngine(self.executor, reference.policy)
                for resting in self.engine.get_orders():
                    other.restore(resting)
                self.engine = other

    @invariant()
    def orders_agree(self) -> None:
        got = self.engine.get_orders()
        assert len(got) == len(self.reference.entries) == len(self.engine)
        for entry, resting in zip(self.reference.entries, got, strict=True):
            self.compare(entry, resting)

    @invariant()
    def books_agree(self) -> None:
        for market in MARKETS:
            depth = self.engine.depth(market, 99)
            for is_buy, levels in ((True, depth.bids), (False, depth.asks)):
                lots: dict[int, int] = {}
                for entry in self.reference.entries:
                    if (entry.order.market, entry.order.is_buy) == (market, is_buy):
                        price = entry.order.price
                        lots[price] = lots.get(price, 0) + entry.remaining
                assert [(level.price, level.lots) for level in levels] == sorted(
                    lots.items(), reverse=is_buy
                )
            bid, ask = self.engine.best(market)
            assert bid is None or ask is None or bid < ask

    @invariant()
    def lots_are_conserved(self) -> None:
        for resting in self.engine.get_orders():
            key = (resting.account, resting.slot, resting.order.nonce)
            assert self.traded.get(key, 0) + resting.remaining == self.sizes[key]
            slot = self.state.slots.get(resting.account, {}).get(resting.slot)
            is_posted = slot is not None and slot.order.nonce == resting.order.nonce
            assert resting.posted == is_posted
        for (account, number, nonce), lots in self.traded.items():
            slot = self.state.slots[account][number]
            assert slot.order.nonce > nonce or slot.filled == lots
        for market in MARKETS:
            sizes = [
                compute_position_size(self.state.accounts[account], market) for account in OWNERS
            ]
            assert sum(sizes) == 0
            for account, size in zip(OWNERS, sizes, strict=True):
                assert size == self.reference.positions.get((account, market), 0)

    def teardown(self) -> None:
        self.executor.replay(build_state())

    def compare(self, entry: Entry | None, resting: RestingOrder | None) -> None:
        assert (entry is None) == (resting is None)
        if entry is not None and resting is not None:
            assert (entry.account, entry.slot, entry.order, entry.remaining) == (
                resting.account,
                resting.slot,
                resting.order,
                resting.remaining,
            )

    def compare_all(self, entries: list[Entry], found: list[RestingOrder]) -> None:
        ordered = sorted(found, key=lambda resting: resting.sequence)
        assert len(entries) == len(ordered)
        for entry, resting in zip(entries, ordered, strict=True):
            self.compare(entry, resting)
            self.reference.drop(entry.account, entry.slot)


TestEngineAgainstReference: Any = EngineAgainstReference.TestCase
TestEngineAgainstReference.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None
)
