"""Random populations leave in random order: the contract pays what the Python twin says, to the
unit, never more than there is, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.node.escape import (
    compute_claim,
    compute_claims,
    compute_late_claim,
    compute_payout,
    split_accounts,
)
from deltaroll.protocol.state import State, compute_state_root
from deltaroll.protocol.types import AccountId, SeriesStatus
from tests.adversary.catalogue_rig import ALICE, NOBODY, RIVAL
from tests.contracts.escape_rig import Exodus, Holding, Market, make_state

OWNERS = ["0x" + f"{number:02x}" * 20 for number in range(0x10, 0x1A)]
MOST = 2**96 - 1
IDS = st.one_of(st.integers(1, 12), st.integers(1, 2**24 - 1))
SIZES = st.one_of(st.integers(-9, 9), st.integers(-(2**63), 2**63 - 1)).filter(bool)
CARRIES = st.one_of(st.just(0), st.integers(-99, 99), st.integers(-(2**60), 2**60))
MONEY = st.one_of(
    st.integers(-(10**4), 10**4), st.integers(0, 10**13), st.integers(-(2**126), 2**126)
)
MARKETS = st.builds(
    Market,
    mark=st.one_of(st.integers(0, 99), st.integers(0, 2**63 - 1)),
    carry_long=CARRIES,
    carry_short=CARRIES,
    status=st.sampled_from(SeriesStatus),
    open_interest=st.integers(0, 9),
    risk=st.sampled_from([0, 1, 33]),
)


@dataclass(frozen=True)
class Population:
    """A final state, and who proves when."""

    state: State
    groups: list[list[AccountId]]
    """In time; an account may be in several."""
    late: list[AccountId]
    exits: int
    deposit: int


@st.composite
def populations(draw: st.DrawFn) -> Population:
    ids = draw(
        st.lists(st.integers(1, 2**16 - 1).filter(lambda one: one != 10), max_size=70, unique=True)
    )
    markets = {market: draw(MARKETS) for market in ids[:4]}
    if markets:
        # The rest are like one of these: a leaf each, without a draw for every field.
        like = list(markets.values())
        markets |= {market: like[place % len(like)] for place, market in enumerate(ids[4:])}
    accounts = {0: Holding(NOBODY, draw(st.integers(0, 99)))}
    for account in draw(st.lists(IDS, min_size=1, max_size=6, unique=True)):
        held = draw(st.sampled_from([0, 0, 1, 3, 64]))
        sizes = draw(st.lists(SIZES, min_size=1, max_size=3))
        positions = tuple(
            (market, sizes[place % len(sizes)], draw(CARRIES) if place < 2 else place)
            for place, market in enumerate(sorted(markets)[:held])
        )
        accounts[account] = Holding(draw(st.sampled_from(OWNERS)), draw(MONEY), positions)
    state = make_state(accounts, markets, backing=0)
    total = sum(compute_claims(state, state.accounts).values())
    backing = draw(
        st.one_of(
            st.just(total),
            st.integers(0, max(1, total)),
            st.integers(total, total + 10**6),
            st.integers(0, 10**4),
        )
    )
    exits = draw(st.sampled_from([0, 0, 12_345]))
    state.globals = replace(state.globals, deposited=backing + exits, withdrawn=exits)
    compute_state_root(state)
    order = draw(st.permutations(sorted(accounts)))
    late = order[: draw(st.integers(0, len(order)))]
    in_time = [account for account in order if account not in late]
    cut = draw(st.integers(0, len(in_time)))
    groups = [in_time[:cut], in_time[cut:], in_time[cut // 2 :]]
    return Population(
        state,
        [[AccountId(each) for each in sorted(group)] for group in groups if group],
        [AccountId(each) for each in late],
        exits,
        draw(st.sampled_from([0, 0, 999])),
    )


@cache
def deployed() -> Exodus:
    """One deployment for all examples: each posts its state as a batch, and is undone."""
    return Exodus(make_state({}))


@contextmanager
def exodus_of(population: Population) -> Iterator[Exodus]:
    exodus = deployed()
    genesis, state = exodus.last, exodus.state
    with exodus.fork():
        exodus.adopt(population.state)
        backing = population.state.globals.deposited
        exodus.send(ALICE, exodus.token, "mint", exodus.vault.address, backing)
        yield exodus
    exodus.last, exodus.state = genesis, state


def register(exodus: Exodus, accounts: Sequence[AccountId], claims: dict[AccountId, int]) -> None:
    """Prove accounts; what they have is registered, or nothing is and the call says so."""
    state = exodus.state
    new = {
        key: amount for key, amount in compute_claims(state, accounts).items() if key not in claims
    }
    for group in split_accounts(state, accounts):
        if any(key in new for key in group):
            exodus.escape(*group)
        else:
            outcome = exodus.refuses("escape", exodus.witness(*group))
            assert outcome == "EscapeHatch_NothingToRegister"
    claims |= new


@settings(max_examples=40, deadline=None)
@given(populations())
def test_escape__any_population__is_paid_what_the_python_twin_says(population: Population):
    state = population.state
    with exodus_of(population) as exodus:
        refund = exodus.deposit(OWNERS[0], 0, population.deposit) if population.deposit else None
        if refund:
            exodus.freeze_behind(refund)
        exodus.open()
        available = int(exodus.ask("available"))
        assert available == state.globals.deposited - state.globals.withdrawn
        claims: dict[AccountId, int] = {}
        for group in population.groups:
            register(exodus, group, claims)
        total = sum(claims.values())
        assert exodus.ask("totalClaims") == total
        exodus.close()
        for account in population.late:
            holding = state.accounts[account]
            equity = compute_claim(state, holding) if any(holding.owner) else 0
            amount = compute_late_claim(equity, total, available)
            if amount == 0:
                outcome = exodus.refuses("escape", exodus.witness(account))
                assert outcome == "EscapeHatch_NothingToRegister"
                continue
            exodus.escape(account)
            claims[account] = amount
            total += amount
        payouts = {key: compute_payout(amount, total, available) for key, amount in claims.items()}
        # Pro rata: as much of everybody's equity, less than a unit off.
        for key, paid in payouts.items():
            exact = claims[key] * min(available, total)
            assert paid * total <= exact < (paid + 1) * total
        assert sum(payouts.values()) <= available
        if total >= available:
            assert available - sum(payouts.values()) < max(1, len(payouts))
        before = exodus.balance(exodus.vault)
        for key, paid in payouts.items():
            owner = "0x" + state.accounts[key].owner.hex()
            had = exodus.balance(owner)
            if paid == 0:
                continue
            exodus.send(RIVAL, exodus.hatch, "claim", key)
            assert exodus.balance(owner) - had == paid
            assert exodus.refuses("claim", key) == "EscapeHatch_NoClaim"
        if refund:
            exodus.send(RIVAL, exodus.hatch, "refundDeposit", *refund)
        left = exodus.balance(exodus.vault)
        assert before - left == sum(payouts.values()) + population.deposit
        # Unclaimed exits, and what the accounts did not need.
        assert left == population.exits + available - sum(payouts.values())
