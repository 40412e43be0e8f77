"""Money is conserved whatever happens: G5 and G6 after every step, the twins agreeing on each.

A Hypothesis state machine lives in one world: people trade perpetuals and options, the index
crashes by 90 %, volatility jumps, the oracle goes silent, expiries pass, accounts go under and are
liquidated or socialised. Every step is a chunk. It goes through Python and through the real
contracts, which must come to one root; then it stands, and the books are checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from deltaroll.engine.ledger import compute_equity, count_open_sizes
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import (
    DAY,
    INSURANCE_ACCOUNT,
    ONE,
    WEIGHT_CHUNK_BYTES,
    WEIGHT_CHUNK_GAS,
)
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.state import charge, compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    AccountId,
    Context,
    Distress,
    Expiry,
    Fill,
    Liquidate,
    Queue,
    SetTradingKey,
    Socialise,
    Sweep,
    Timestamp,
    Transfer,
    Underlying,
    Withdraw,
)
from tests.protocol import derivatives, strategies
from tests.protocol.strategies import DOMAIN, UNDERLYINGS, Case, Draft, World
from tests.protocol.verifiers import Tally, compare

seeds = st.integers(0, (1 << 32) - 1)
Step = Callable[[Draft], None]


def find_actors(draft: Draft) -> set[AccountId]:
    """Accounts whose owner or trader signed something in a draft, or asked L1 for something."""
    found: set[AccountId] = set()
    for transaction in draft.transactions:
        match transaction:
            case Fill():
                found.update((transaction.maker, transaction.taker))
            case Transfer():
                found.add(transaction.sender)
            case Withdraw() | SetTradingKey() | Liquidate():
                found.add(transaction.account)
            case Queue():
                # Its own request, or one of somebody else that it signed.
                found.update(draft.state.accounts)
    return found


class Venue(RuleBasedStateMachine):
    """One world, and what happens to it."""

    world: World

    @initialize(seed=seeds)
    def open(self, seed: int) -> None:
        """Start in a world with options, its people funded."""
        self.rng = Random(seed)
        self.world = strategies.build_options_world(self.rng)
        compute_state_root(self.world.state)

    def live(self, seed: int, seconds: int, *steps: Step) -> None:
        """Make a chunk of some steps, have both twins judge it, keep it."""
        world, state = self.world, self.world.state
        clock = state.globals.clock + seconds
        draft = Draft(Random(seed), world, clock, 0.0)
        # What the chunk itself will weigh, its data included.
        charge(state, WEIGHT_CHUNK_GAS, WEIGHT_CHUNK_BYTES + 8_000)
        for step in steps:
            step(draft)
        actors = find_actors(draft)
        first = state.globals.queue_index - sum(
            isinstance(transaction, Queue) for transaction in draft.transactions
        )
        end = state.globals.queue_index
        draft.finish()
        data = encode_chunk(Timestamp(clock), draft.transactions)
        context = Context(DOMAIN, Timestamp(clock), end, 0, 0, False, True)
        chain = keccak(first.to_bytes(8, "big")) if first else bytes(32)
        outcome = compare(
            Case(state, data, context, max(1, len(draft.transactions)), chain), Tally()
        )
        assert outcome.fault == Fault.NONE, outcome.fault
        before = {
            key: account.cash
            for key, account in state.accounts.items()
            if not account.positions and key not in actors
        }
        process_chunk(state, data, context)
        assert compute_state_root(state) == outcome.post_root
        for key, cash in before.items():
            assert state.accounts[key].cash >= cash, f"account {key} lost money"

    @rule(seed=seeds, seconds=st.sampled_from((0, 1, 5, 60)))
    def trade(self, seed: int, seconds: int) -> None:
        """Orders meet."""
        self.live(
            seed,
            seconds,
            strategies.step_refresh,
            *[strategies.step_fill, strategies.step_resting, strategies.step_sweep] * 2,
        )

    @rule(seed=seeds)
    def act(self, seed: int) -> None:
        """Owners move money; messages come from L1."""
        self.live(seed, 3, strategies.step_action, strategies.step_queue, strategies.step_queue)

    @rule(seed=seeds, seconds=st.sampled_from((10, 400, 7_000)))
    def maintain(self, seed: int, seconds: int) -> None:
        """Surfaces, funding, listings; sometimes after a silence of the oracle."""
        self.live(
            seed,
            seconds,
            derivatives.step_upkeep,
            derivatives.step_list,
            derivatives.step_surface,
            strategies.step_refresh,
        )

    @rule(seed=seeds, percent=st.sampled_from((10, 50, 80, 120, 200, 400)))
    def jump(self, seed: int, percent: int) -> None:
        """An index jumps, down to a tenth: it halts, is confirmed, and everything is marked."""
        rng = Random(seed)
        market = rng.choice(UNDERLYINGS)
        leaf = self.world.state.markets[market]
        assert isinstance(leaf, Underlying)
        price = max(100, min(leaf.index * percent // 100, 1 << 50))

        def observe(draft: Draft) -> None:
            draft.add(derivatives.agree(draft, market, price))

        def settle(draft: Draft) -> None:
            observe(draft)
            derivatives.mark_all(draft, market)

        self.live(seed, 2, observe)
        self.live(seed + 1, 2, settle)
        self.live(seed + 2, 30, self.call_for_help)

    def call_for_help(self, draft: Draft) -> None:
        """Every account that is in distress, is bid for; what is hopeless is socialised."""
        state = self.world.state
        held = [key for key in sorted(state.accounts) if state.accounts[key].positions]
        for key in held:
            if key != INSURANCE_ACCOUNT:
                draft.add(Distress(key))
        for target in held:
            for _ in range(2):
                draft.add(derivatives.make_liquidate(draft))
            draft.add(Socialise(target))

    @rule(seed=seeds, seconds=st.sampled_from((60, 2_000, 3_600)))
    def liquidate(self, seed: int, seconds: int) -> None:
        """Auctions go on."""
        self.live(seed, seconds, strategies.step_refresh, self.call_for_help)

    @rule(seed=seeds)
    def shock_volatility(self, seed: int) -> None:
        """A surface rises steeply."""

        def surface(draft: Draft) -> None:
            for market in derivatives.find_expiries(draft.state):
                leaf = draft.state.markets[market]
                if isinstance(leaf, Expiry) and leaf.time != 0:
                    made = derivatives.make_plausible_surface(draft.rng, market, leaf, draft.clock)
                    draft.add(replace(made, time=Timestamp(draft.clock), a=4 * ONE))
            for market in UNDERLYINGS:
                derivatives.mark_all(draft, market)

        self.live(seed, 1, strategies.step_refresh, surface)
        self.live(seed, 1, self.call_for_help)

    @rule(seed=seeds, seen=st.sampled_from((0, 1, 4)))
    def expire(self, seed: int, seen: int) -> None:
        """Time goes to the next boundary, with observations inside its window or without."""
        clock = self.world.state.globals.clock
        boundary = compute_boundary(compute_day(clock + 1))
        if boundary - clock > 8 * DAY:
            return
        for place in range(seen):
            wait = boundary - 1_700 + 400 * place - self.world.state.globals.clock
            if wait > 0:
                self.live(seed + place, wait, strategies.step_refresh)
        self.live(seed, max(1, boundary + 20 - self.world.state.globals.clock), self.settle_all)

    def settle_all(self, draft: Draft) -> None:
        """See the price after a boundary, mark what expired, sweep everybody."""
        strategies.step_refresh(draft)
        for market in UNDERLYINGS:
            derivatives.mark_all(draft, market)
        for key in sorted(draft.state.accounts):
            draft.add(Sweep(key))

    @invariant()
    def money_is_conserved(self) -> None:
        """G5: every unit that came in is somebody's, and sizes cancel out."""
        if not hasattr(self, "world"):
            return
        state = self.world.state
        held = compute_equity(state) + state.globals.insurance + state.globals.fee_pool
        assert held == state.globals.deposited - state.globals.withdrawn
        assert count_open_sizes(state) == 0
        assert state.globals.insurance >= 0
        fund = state.accounts.get(AccountId(INSURANCE_ACCOUNT))
        assert fund is None or fund.cash == 0


TestVenue = Venue.TestCase
TestVenue.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
