"""EscapeHatch: who may freeze and when, what is registered, what is paid, and in which order."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from eth_utils import keccak

from deltaroll.node.escape import (
    compute_claim,
    compute_claims,
    compute_escape_witness,
    split_accounts,
)
from deltaroll.protocol.state import (
    State,
    compute_state_root,
    reset_meter,
    touch_account,
    touch_market,
)
from deltaroll.protocol.types import MarketId, SeriesStatus
from deltaroll.protocol.witness import encode_witness
from tests.adversary.catalogue_rig import (
    ALICE,
    BOB,
    CLAIM_WINDOW,
    DEPLOYER,
    FREEZE_DELAY,
    GOVERNOR,
    L1,
    NO_CAP,
    NO_LIMIT,
    NOBODY,
    ORACLE_DELAY,
    PROPOSER,
    PROPOSER_DELAY,
    RIVAL,
    SEQUENCER,
    START,
    WINDOW,
    Exits,
    Revert,
    chunk,
)
from tests.contracts.escape_rig import (
    UNDERLYING,
    Exodus,
    Holding,
    Market,
    make_state,
    open_markets,
    reprice,
    sighting,
)
from tests.contracts.reference import NO_MESSAGE
from tests.protocol.proving import encode_call
from tests.protocol.scenes import create_scene

CAROL, DAVE = "0x" + "c1" * 20, "0x" + "d1" * 20
LONG, SHORT, SETTLED, IDLE = 100, 101, 102, 103
MARKETS = {
    LONG: Market(mark=1_000, carry_long=30, carry_short=20),
    SHORT: Market(mark=500),
    SETTLED: Market(mark=70, status=SeriesStatus.SETTLED),
    IDLE: Market(mark=9, open_interest=0),
}
ACCOUNTS = {
    0: Holding(NOBODY, 777),
    1: Holding(ALICE, 1_000, ((LONG, 5, 10), (SETTLED, -2, 0))),
    2: Holding(BOB, 20_000, ((LONG, -5, 25), (SHORT, -3, 0), (SETTLED, 2, 0))),
    3: Holding(CAROL, 100, ((SHORT, 3, 0),)),
    4: Holding(DAVE, -5_000),
    5: Holding(DAVE, 0),
    6: Holding(ALICE, 40),
}
EQUITY = {
    1: 1_000 + 5 * (1_000 - (30 - 10)) - 2 * 70,
    2: 20_000 - 5 * (1_000 - (20 - 25)) - 3 * 500 + 2 * 70,
    3: 100 + 3 * 500,
    6: 40,
}
"""By hand."""
TOTAL = sum(EQUITY.values())


@cache
def population() -> State:
    """Enough for everybody."""
    return make_state(ACCOUNTS, MARKETS, backing=TOTAL)


@pytest.fixture
def exodus() -> Exodus:
    return Exodus(population())


@pytest.fixture
def opened(exodus: Exodus) -> Exodus:
    exodus.open()
    return exodus


@pytest.fixture
def paying(opened: Exodus) -> Exodus:
    """Everybody is registered and the window is over."""
    opened.escape(1, 2, 3, 6)
    opened.close()
    return opened


# Construction


@pytest.mark.parametrize(
    ("delays", "error"),
    [
        ((PROPOSER_DELAY, ORACLE_DELAY, CLAIM_WINDOW), "EscapeHatch_InvalidParameters"),
        ((365 * 86_400 + 1, ORACLE_DELAY, CLAIM_WINDOW), "EscapeHatch_InvalidParameters"),
        ((FREEZE_DELAY, 0, CLAIM_WINDOW), "EscapeHatch_InvalidParameters"),
        ((FREEZE_DELAY, 365 * 86_400 + 1, CLAIM_WINDOW), "EscapeHatch_InvalidParameters"),
        ((FREEZE_DELAY, ORACLE_DELAY, 0), "EscapeHatch_InvalidParameters"),
        ((FREEZE_DELAY, ORACLE_DELAY, 365 * 86_400 + 1), "EscapeHatch_InvalidParameters"),
        ((PROPOSER_DELAY + 1, 1, 1), ""),
        ((365 * 86_400,) * 3, ""),
    ],
)
def test_constructor__delay__is_within_bounds(delays, error):
    l1 = L1()
    # The same deployment, with another escape hatch at the predicted address.
    with l1.fork():
        places = [l1.next_address(DEPLOYER, offset) for offset in range(4)]
        vault = l1.deploy("MarginVault", l1.token.address, places[1], places[3], NO_LIMIT)
        bridge = l1.deploy("Bridge", vault.address, places[2], GOVERNOR, NO_CAP)
        parameters = list(l1.parameters)
        parameters[0], parameters[2] = bridge.address, places[3]
        inbox = l1.deploy("RollupInbox", tuple(parameters))
        if error:
            with pytest.raises(Revert, match=error):
                l1.deploy("EscapeHatch", inbox.address, *delays)
        else:
            hatch = l1.deploy("EscapeHatch", inbox.address, *delays)
            assert hatch.address == places[3]


def test_constructor__inbox_or_vault_of_another_hatch__is_refused():
    l1 = L1()
    delays = (FREEZE_DELAY, ORACLE_DELAY, CLAIM_WINDOW)
    with pytest.raises(Revert, match="EscapeHatch_WrongContract") as caught:
        l1.deploy("EscapeHatch", l1.inbox.address, *delays)
    assert caught.value.arguments == (l1.inbox.address,)

    places = [l1.next_address(DEPLOYER, offset) for offset in range(4)]
    vault = l1.deploy("MarginVault", l1.token.address, places[1], RIVAL, NO_LIMIT)
    bridge = l1.deploy("Bridge", vault.address, places[2], GOVERNOR, NO_CAP)
    parameters = list(l1.parameters)
    parameters[0], parameters[2] = bridge.address, places[3]
    inbox = l1.deploy("RollupInbox", tuple(parameters))
    with pytest.raises(Revert, match="EscapeHatch_WrongContract") as caught:
        l1.deploy("EscapeHatch", inbox.address, *delays)
    assert caught.value.arguments == (vault.address,)


def test_views__deployed__say_what_was_asked_for(exodus):
    assert exodus.ask("inbox") == exodus.inbox.address
    assert exodus.ask("bridge") == exodus.bridge.address
    assert exodus.ask("vault") == exodus.vault.address
    assert exodus.ask("freezeDelay") == FREEZE_DELAY
    assert exodus.ask("oracleDelay") == ORACLE_DELAY
    assert exodus.ask("claimWindow") == CLAIM_WINDOW
    assert exodus.ask("finalRoot") == bytes(32)
    assert exodus.ask("closesAt") == 0


@pytest.mark.parametrize("name", ["inbox", "bridge"])
def test_freeze__of_inbox_or_bridge_by_anybody_else__is_refused(exodus, name):
    contract = getattr(exodus, name)
    for sender in (DEPLOYER, SEQUENCER, GOVERNOR, RIVAL):
        assert exodus.refusal(sender, contract, "freeze").endswith("NotEscapeHatch")


def test_release_frozen__of_the_vault_by_anybody_else__is_refused(exodus):
    for sender in (DEPLOYER, SEQUENCER, GOVERNOR, RIVAL):
        error = exodus.refusal(sender, exodus.vault, "releaseFrozen", RIVAL, 1)
        assert error == "MarginVault_NotEscapeHatch"


# Freeze because nobody proposes


def freeze_outcome(exodus: Exodus, message: Any, head: Any = None, time: int = 0) -> str:
    if time:
        exodus.set_time(time)
    return exodus.refuses("freeze", tuple(head or exodus.last), tuple(message))


def test_freeze__message_older_than_the_head__counts_from_the_head(exodus):
    message = exodus.enqueue()
    exodus.pass_time(3_600)
    exodus.adopt(exodus.state, 0)
    until = exodus.last.l1_time + FREEZE_DELAY
    assert freeze_outcome(exodus, message, time=until) == "EscapeHatch_TooEarly"
    assert freeze_outcome(exodus, message, time=until + 1) == ""


def test_freeze__message_younger_than_the_head__counts_from_the_message(exodus):
    exodus.pass_time(5 * FREEZE_DELAY)
    message = exodus.enqueue()
    until = message.time + FREEZE_DELAY
    assert freeze_outcome(exodus, message) == "EscapeHatch_TooEarly"
    assert freeze_outcome(exodus, message, time=until) == "EscapeHatch_TooEarly"
    with pytest.raises(Revert) as caught:
        exodus.send(RIVAL, exodus.hatch, "freeze", tuple(exodus.last), tuple(message))
    assert caught.value.arguments == (until,)
    assert freeze_outcome(exodus, message, time=until + 1) == ""


def test_freeze__due__stops_inbox_and_bridge_for_ever(exodus):
    message = exodus.wait()
    exodus.send(RIVAL, exodus.hatch, "freeze", tuple(exodus.last), tuple(message))
    (frozen,) = exodus.events("Frozen(address,bytes32)")
    assert frozen == b""
    assert exodus.events("InboxFrozen()") == [b""]
    assert exodus.send(RIVAL, exodus.inbox, "isFrozen")
    assert exodus.send(RIVAL, exodus.bridge, "isFrozen")
    batch = exodus.batch(exodus.last, [chunk()], 1, exodus.queue_hash(0))
    assert exodus.refusal(SEQUENCER, exodus.inbox, "submitBatch", batch) == "RollupInbox_Frozen"
    for call in (
        ("deposit", ALICE, 0, 1),
        ("forceExit", 1, 1),
        ("forceClose", 1, LONG, 1),
        ("cancelAll", 1),
        ("force", b"x"),
    ):
        assert exodus.refusal(ALICE, exodus.bridge, *call) == "Bridge_Frozen"
    assert exodus.refusal(GOVERNOR, exodus.bridge, "configure", b"x") == "Bridge_Frozen"
    error = freeze_outcome(exodus, message)
    assert error == "EscapeHatch_AlreadyFrozen"


def test_freeze__no_message_waits__is_refused_however_old_the_head(exodus):
    exodus.pass_time(100 * FREEZE_DELAY)
    assert freeze_outcome(exodus, NO_MESSAGE) == "EscapeHatch_WrongMessage"
    message = exodus.enqueue()
    exodus.adopt(exodus.state, 1)
    exodus.pass_time(100 * FREEZE_DELAY)
    # It was consumed.
    assert freeze_outcome(exodus, message) == "EscapeHatch_WrongMessage"


def test_freeze__message_that_is_not_the_next__is_refused(exodus):
    first = exodus.enqueue()
    exodus.pass_time(10)
    second = exodus.enqueue(account=2)
    exodus.pass_time(2 * FREEZE_DELAY)
    assert freeze_outcome(exodus, second) == "EscapeHatch_WrongMessage"
    forged = {"kind": 1, "sender": BOB, "time": first.time - 1, "body_hash": bytes(32)}
    for field, value in forged.items():
        outcome = freeze_outcome(exodus, first._replace(**{field: value}))
        assert outcome == "EscapeHatch_WrongMessage"
    assert freeze_outcome(exodus, first) == ""


def test_freeze__header_that_is_not_the_head__is_refused(exodus):
    genesis = exodus.last
    message = exodus.enqueue()
    exodus.adopt(exodus.state, 0)
    exodus.pass_time(2 * FREEZE_DELAY)
    assert freeze_outcome(exodus, message, genesis) == "EscapeHatch_NotHead"
    older = exodus.last._replace(l1_time=0)
    assert freeze_outcome(exodus, message, older) == "EscapeHatch_NotHead"
    assert freeze_outcome(exodus, message) == ""


def test_freeze__last_batch_removed_late__others_may_propose_first(exodus):
    """A proposer waits with its own removal until the head before is old, and freezes at once."""
    genesis = exodus.last
    message = exodus.enqueue()
    exodus.pass_time(10)
    lie = exodus.post(genesis, [chunk()], 1, exodus.queue_hash(0))
    exodus.set_time(lie.l1_time + WINDOW)
    assert freeze_outcome(exodus, message, lie).startswith("EscapeHatch_")
    exodus.remove(lie, genesis)
    removed_at = exodus.time
    assert exodus.send(RIVAL, exodus.inbox, "removedAt") == removed_at
    assert freeze_outcome(exodus, message, genesis) == "EscapeHatch_TooEarly"
    until = removed_at + PROPOSER_DELAY
    assert freeze_outcome(exodus, message, genesis, until) == "EscapeHatch_TooEarly"
    with exodus.fork():
        exodus.adopt(exodus.state, 1, PROPOSER)
        assert freeze_outcome(exodus, message, genesis, until + 1) == "EscapeHatch_NotHead"
    assert freeze_outcome(exodus, message, genesis, until + 1) == ""


def test_freeze__at_genesis_with_a_deposit_waiting__gives_it_back():
    exodus = Exodus(make_state({}))
    refund = exodus.deposit(BOB, 0, 1_234)
    exodus.freeze_behind(refund)
    exodus.open()
    assert exodus.ask("available") == 0
    exodus.send(RIVAL, exodus.hatch, "refundDeposit", *refund)
    assert (exodus.balance(BOB), exodus.balance(exodus.vault)) == (1_234, 0)


# Freeze because nobody prices


class Outage(Exodus):
    """A rollup whose underlying was priced last at START, and the calls that say so."""

    def __init__(self) -> None:
        super().__init__(population())

    def call(self, series: int = LONG, **changes: Any) -> tuple[Any, ...]:
        """Arguments of `freezeUnpriced` when the head has settled."""
        shown = sighting(self.last, open_markets(self.state, series, UNDERLYING))
        fields = {"series": series, "settled": shown, "next": tuple(self.last), "head": shown}
        return tuple({**fields, **changes}.values())

    def outcome(self, *arguments: Any) -> str:
        return self.refuses("freezeUnpriced", *(arguments or self.call()))


@pytest.fixture
def outage() -> Outage:
    return Outage()


def test_freeze_unpriced__head_has_settled__after_the_delay_and_not_before(outage):
    outage.set_time(START + ORACLE_DELAY)
    assert outage.outcome() == "EscapeHatch_Priced"
    outage.set_time(START + ORACLE_DELAY + 1)
    assert outage.outcome() == ""
    outage.send(RIVAL, outage.hatch, "freezeUnpriced", *outage.call())
    assert outage.send(RIVAL, outage.inbox, "isFrozen")
    assert outage.outcome() == "EscapeHatch_AlreadyFrozen"
    outage.open()
    outage.escape(1, 2, 3, 6)
    assert outage.ask("totalClaims") == TOTAL


@pytest.mark.parametrize("series", [SETTLED, IDLE, UNDERLYING])
def test_freeze_unpriced__nothing_open_in_it__is_refused(outage, series):
    outage.set_time(START + 10 * ORACLE_DELAY)
    assert outage.outcome(*outage.call(series)) == "EscapeHatch_NothingOpen"


def test_freeze_unpriced__absent_series__is_refused(outage):
    outage.set_time(START + 10 * ORACLE_DELAY)
    assert outage.outcome(*outage.call(9_999)) == "EscapeHatch_NothingOpen"


def test_freeze_unpriced__witness_without_series_or_underlying__is_refused(outage):
    outage.set_time(START + 10 * ORACLE_DELAY)
    for markets in ((LONG,), (UNDERLYING,), ()):
        shown = sighting(outage.last, open_markets(outage.state, *markets))
        assert outage.outcome(*outage.call(settled=shown)) == "Witness_MissingMarket"


def test_freeze_unpriced__witness_of_another_state__is_refused(outage):
    outage.set_time(START + 10 * ORACLE_DELAY)
    other = reprice(outage.state, observed_at=START - 1)
    shown = sighting(outage.last, open_markets(other, LONG, UNDERLYING))
    assert outage.outcome(*outage.call(settled=shown)) == "Witness_WrongRoot"


def pending_head(outage: Outage, gap: int, **changes: Any) -> tuple[Any, State, State]:
    """The settled genesis, a batch `gap` seconds later; returns the settled header and both
    states."""
    settled, before = outage.last, outage.state
    outage.pass_time(gap)
    after = reprice(before, **changes) if changes else before
    outage.adopt(after)
    return settled, before, after


def pending_call(outage: Outage, settled: Any, before: State, **changes: Any) -> tuple[Any, ...]:
    return outage.call(settled=sighting(settled, open_markets(before, LONG, UNDERLYING)), **changes)


def test_freeze_unpriced__both_states_unpriced__freezes_though_the_head_is_pending(outage):
    settled, before, _ = pending_head(outage, ORACLE_DELAY + 1)
    assert outage.outcome(*pending_call(outage, settled, before)) == ""


def test_freeze_unpriced__settled_state_followed_too_early__is_refused(outage):
    """An old failure: the settled state was unpriced for as long as it was the last word."""
    settled, before, _ = pending_head(outage, ORACLE_DELAY)
    outage.pass_time(WINDOW)
    assert outage.stage(outage.last) == 1
    assert outage.outcome(*pending_call(outage, settled, before)) == "EscapeHatch_Priced"


def test_freeze_unpriced__head_priced_again__is_refused(outage):
    settled, before, _ = pending_head(
        outage, 2 * ORACLE_DELAY, observed_at=START + 2 * ORACLE_DELAY - 60
    )
    assert outage.outcome(*pending_call(outage, settled, before)) == "EscapeHatch_Priced"


def test_freeze_unpriced__fraudulent_head_alone__is_refused(outage):
    """A proposer lies that the price is old; the newest settled state says otherwise."""
    outage.pass_time(10 * ORACLE_DELAY)
    fresh = reprice(outage.state, observed_at=outage.time)
    settled = outage.adopt(fresh)
    outage.settle(settled)
    lie = reprice(fresh, observed_at=START)
    outage.adopt(lie)
    assert outage.outcome(*pending_call(outage, settled, fresh)) == "EscapeHatch_Priced"
    # Nor can the lie stand for itself.
    assert outage.outcome(*outage.call()) == "EscapeHatch_NotNewestSettled"


def test_freeze_unpriced__settled_state_that_is_not_the_newest__is_refused(outage):
    first, before = outage.last, outage.state
    outage.pass_time(10 * ORACLE_DELAY)
    fresh = reprice(before, observed_at=outage.time)
    second = outage.adopt(fresh)
    outage.settle(second)
    third = outage.adopt(reprice(fresh, observed_at=START))
    # `next` is settled, or does not follow.
    for following in (second, third, first):
        call = pending_call(outage, first, before, next=tuple(following))
        assert outage.outcome(*call) == "EscapeHatch_NotNewestSettled"
    # A header whose time was changed is not pending.
    forged = third._replace(previous=second.previous)
    call = pending_call(outage, first, before, next=tuple(forged))
    assert outage.outcome(*call) == "EscapeHatch_NotNewestSettled"


def test_freeze_unpriced__head_that_is_not_the_last_batch__is_refused(outage):
    settled, before, after = pending_head(outage, ORACLE_DELAY + 1)
    middle = outage.last
    outage.adopt(reprice(after, observed_at=outage.time))
    shown = sighting(middle, open_markets(after, LONG, UNDERLYING))
    call = pending_call(outage, settled, before, next=tuple(middle), head=shown)
    assert outage.outcome(*call) == "EscapeHatch_NotHead"


def test_freeze_unpriced__head_closed_the_positions__is_refused(outage):
    settled, before, _ = pending_head(outage, ORACLE_DELAY + 1)
    closed = outage.state.copy_before(0)
    leaf = closed.markets[MarketId(LONG)]
    closed.markets[MarketId(LONG)] = replace(leaf, open_interest=0)
    first = outage.last
    outage.adopt(closed)
    call = pending_call(outage, settled, before, next=tuple(first))
    assert outage.outcome(*call) == "EscapeHatch_NothingOpen"


def test_freeze_unpriced__fraudulent_head_removed_afterwards__the_state_before_is_final(outage):
    settled, before, _ = pending_head(outage, ORACLE_DELAY + 1)
    honest = outage.last
    thief = before.copy_before(0)
    account = thief.accounts[3]  # type: ignore[index]
    thief.accounts[3] = replace(account, cash=10**9)  # type: ignore[index]
    lie = outage.adopt(thief)
    arguments = pending_call(outage, settled, before, next=tuple(honest))
    outage.send(RIVAL, outage.hatch, "freezeUnpriced", *arguments)
    assert outage.refuses("open", tuple(lie), outage.globals) == "EscapeHatch_NotSettled"
    # It can still be removed, and then the honest one is the last.
    root = chunk(keccak(outage.globals))
    outage.remove(lie, honest, [root])
    assert outage.refuses("open", tuple(lie), outage.globals) == "EscapeHatch_NotHead"
    outage.last, outage.state = honest, before
    assert outage.refuses("open", tuple(honest), outage.globals) == "EscapeHatch_NotSettled"
    outage.settle(honest)
    outage.open()
    outage.escape(3)
    assert outage.claims([3]) == {3: (CAROL, EQUITY[3])}


# Open


def test_open__not_frozen__is_refused(exodus):
    outcome = exodus.refuses("open", tuple(exodus.last), exodus.globals)
    assert outcome == "EscapeHatch_NotFrozen"


def test_open__last_batch_settled__fixes_the_final_state(exodus):
    exodus.freeze()
    exodus.send(RIVAL, exodus.hatch, "open", tuple(exodus.last), exodus.globals)
    assert exodus.ask("finalRoot") == exodus.last.post_root
    assert exodus.ask("finalQueueEnd") == 0
    assert exodus.ask("available") == TOTAL
    assert exodus.ask("closesAt") == exodus.time + CLAIM_WINDOW
    outcome = exodus.refuses("open", tuple(exodus.last), exodus.globals)
    assert outcome == "EscapeHatch_AlreadyOpen"


def test_open__globals_of_another_state__are_refused(exodus):
    exodus.freeze()
    honest = exodus.globals
    for lie in (honest + b"\x00", honest[:-1], b"", honest[:-1] + bytes((honest[-1] ^ 1,))):
        outcome = exodus.refuses("open", tuple(exodus.last), lie)
        assert outcome == "EscapeHatch_WrongGlobals"


def test_open__header_that_is_not_the_last__is_refused(exodus):
    genesis = exodus.last
    exodus.adopt(exodus.state)
    exodus.freeze()
    outcome = exodus.refuses("open", tuple(genesis), exodus.globals)
    assert outcome == "EscapeHatch_NotHead"


def test_open__exits_and_deposits__are_not_for_the_accounts():
    """1,000 of exits nobody has claimed, a deposit that waits."""
    exodus = Exodus(make_state(ACCOUNTS, MARKETS, backing=TOTAL, withdrawn=1_000))
    exodus.send(ALICE, exodus.token, "mint", exodus.vault.address, 1_000)
    exodus.freeze_behind(exodus.deposit(BOB, 0, 50))
    exodus.open()
    assert exodus.ask("available") == TOTAL
    assert exodus.balance(exodus.vault) == TOTAL + 1_000 + 50


def test_open__token_lost_by_the_vault__is_not_promised():
    exodus = Exodus(population(), held=TOTAL - 5)
    exodus.open()
    assert exodus.ask("available") == TOTAL - 5


# Escape


def test_escape__before_open__is_refused(exodus):
    assert exodus.refuses("escape", exodus.witness(1)) == "EscapeHatch_NotOpen"
    exodus.freeze()
    assert exodus.refuses("escape", exodus.witness(1)) == "EscapeHatch_NotOpen"


@pytest.mark.parametrize("account", sorted(EQUITY))
def test_escape__account__registers_its_equity(opened, account):
    assert compute_claim(opened.state, opened.state.accounts[account]) == EQUITY[account]
    opened.escape(account)
    owner = ACCOUNTS[account].owner
    assert opened.claims([account]) == {account: (owner, EQUITY[account])}
    assert opened.ask("totalClaims") == EQUITY[account]
    assert opened.ask("payoutOf", account) == EQUITY[account]


def test_escape__everybody_in_one_proof__registers_those_who_have_something(opened):
    opened.escape(*ACCOUNTS)
    expected = {
        account: (ACCOUNTS[account].owner, EQUITY[account]) if account in EQUITY else (NOBODY, 0)
        for account in ACCOUNTS
    }
    assert opened.claims(ACCOUNTS) == expected
    assert opened.ask("totalClaims") == TOTAL


def test_escape__nothing_to_register__is_refused(opened):
    """The fund, a negative account, an empty one, one that does not exist."""
    for account in (0, 4, 5):
        outcome = opened.refuses("escape", opened.witness(account))
        assert outcome == "EscapeHatch_NothingToRegister"
    opened.escape(1)
    assert opened.refuses("escape", opened.witness(1)) == "EscapeHatch_NothingToRegister"


def test_escape__some_are_registered_already__the_others_get_in(opened):
    """Nobody makes a proof of many fail by proving one of them first."""
    opened.escape(2)
    opened.escape(*ACCOUNTS)
    assert opened.ask("totalClaims") == TOTAL


def test_escape__absent_account__is_passed_over(opened):
    witness = absent_witness(opened.state, 3, 7)
    opened.send(RIVAL, opened.hatch, "escape", witness)
    assert opened.claims([3, 7]) == {3: (CAROL, EQUITY[3]), 7: (NOBODY, 0)}
    lonely = absent_witness(opened.state, 7)
    assert opened.refuses("escape", lonely) == "EscapeHatch_NothingToRegister"


def absent_witness(state: State, *accounts: int) -> bytes:
    """Opens accounts that need not exist, and all series."""
    compute_state_root(state)
    reset_meter(state)
    for account in accounts:
        touch_account(state, account)  # type: ignore[arg-type]
    for market in MARKETS:
        touch_market(state, MarketId(market))
    return encode_witness(state, state.meter)


def test_escape__witness_of_another_root__is_refused(opened):
    other = opened.state.copy_before(0)
    other.globals = replace(other.globals, skipped=1)

    witness = compute_escape_witness(other, [1])  # type: ignore[list-item]
    assert opened.refuses("escape", witness) == "Witness_WrongRoot"


def test_escape__richer_account_below_the_same_root__is_refused(opened):
    honest = opened.witness(3)
    cash = (100).to_bytes(16, "big")
    assert honest.count(cash) == 1
    outcome = opened.refuses("escape", honest.replace(cash, (101).to_bytes(16, "big")))
    assert outcome == "Witness_BadSiblings"


def test_escape__series_not_opened__is_refused(opened):

    state = opened.state
    compute_state_root(state)
    reset_meter(state)
    touch_account(state, 1)  # type: ignore[arg-type]
    witness = encode_witness(state, state.meter)
    assert opened.refuses("escape", witness) == "Witness_MissingMarket"


@pytest.mark.parametrize("extra", [b"\x00", bytes(32), b"\xff" * 7])
def test_escape__trailing_bytes__are_refused(opened, extra):
    assert opened.refuses("escape", opened.witness(1, 3) + extra) == "Witness_WrongLength"


def test_escape__cut_witness__is_refused(opened):
    honest = opened.witness(1, 3)
    for size in (0, 1, 231, 240, len(honest) // 2, len(honest) - 1):
        assert opened.refuses("escape", honest[:size]).startswith("Witness_")


def test_escape__permuted_siblings__are_refused(opened):
    honest = opened.witness(3)
    end = honest.rindex(b"\x00\x10", 0, -16 * 32)
    siblings = [honest[end + 2 + 32 * n :][:32] for n in range(16)]
    swapped = honest[: end + 2] + b"".join(siblings[::-1])
    assert len(swapped) == len(honest)
    assert opened.refuses("escape", swapped) == "Witness_BadSiblings"


def test_escape__same_account_twice_in_one_witness__is_refused(opened):
    honest = opened.witness(6)
    # Globals, exits, messages; then the number of accounts, the account without slots.
    start = 231 + 2
    entry = honest[start + 2 : start + 2 + 4 + 112 + 1]
    twice = honest[:start] + b"\x00\x02" + entry + entry + honest[start + 2 + len(entry) :]
    assert opened.refuses("escape", twice) == "Witness_NotAscending"


def test_escape__equity_above_the_largest_amount__is_cut():
    most = 2**96 - 1
    state = make_state({1: Holding(BOB, 2**126), 2: Holding(CAROL, 10)}, backing=2**127)
    exodus = Exodus(state)
    exodus.open()
    exodus.escape(1, 2)
    assert exodus.claims([1, 2]) == {1: (BOB, most), 2: (CAROL, 10)}


# Late


def test_escape__late_and_solvent__gets_what_is_left():
    """The fund holds 30 besides; who comes late gets up to that, the next one nothing."""
    state = make_state({1: Holding(ALICE, 100), 2: Holding(BOB, 50), 3: Holding(CAROL, 40)})
    state.globals = replace(state.globals, deposited=180)
    exodus = Exodus(state)
    exodus.open()
    exodus.escape(1)
    exodus.close()
    exodus.escape(3)
    exodus.escape(2)
    assert exodus.claims([1, 2, 3]) == {1: (ALICE, 100), 2: (BOB, 40), 3: (CAROL, 40)}
    for account in (1, 2, 3):
        exodus.send(RIVAL, exodus.hatch, "claim", account)
    assert [exodus.balance(who) for who in (BOB, CAROL)] == [40, 40]
    assert exodus.balance(exodus.vault) == 0


def test_escape__late_and_insolvent__nothing_is_left():
    state = make_state({1: Holding(BOB, 100), 2: Holding(CAROL, 50)}, backing=99)
    exodus = Exodus(state)
    exodus.open()
    exodus.escape(1)
    exodus.close()
    outcome = exodus.refuses("escape", exodus.witness(2))
    assert outcome == "EscapeHatch_NothingToRegister"
    exodus.send(RIVAL, exodus.hatch, "claim", 1)
    assert exodus.balance(BOB) == 99


def test_escape__at_the_last_second__is_in_time():
    state = make_state({1: Holding(BOB, 100), 2: Holding(CAROL, 100)}, backing=100)
    exodus = Exodus(state)
    exodus.open()
    exodus.escape(1)
    exodus.set_time(int(exodus.ask("closesAt")))
    exodus.escape(2)
    exodus.close()
    assert [exodus.ask("payoutOf", account) for account in (1, 2)] == [50, 50]


# Claim


def test_claim__before_open_or_inside_the_window__is_refused(exodus):
    assert exodus.refuses("claim", 1) == "EscapeHatch_NotOpen"
    exodus.open()
    exodus.escape(3)
    exodus.set_time(int(exodus.ask("closesAt")))
    assert exodus.refuses("claim", 3) == "EscapeHatch_WindowOpen"
    assert exodus.refuses("claimTo", 3, BOB, sender=CAROL) == "EscapeHatch_WindowOpen"
    exodus.close()
    assert exodus.refuses("claim", 3) == ""


def test_claim__by_anybody__pays_the_owner_once(paying):
    paying.send(RIVAL, paying.hatch, "claim", 3)
    assert paying.balance(CAROL) == EQUITY[3]
    assert paying.balance(RIVAL) == 0
    for sender in (RIVAL, CAROL):
        assert paying.refuses("claim", 3, sender=sender) == "EscapeHatch_NoClaim"
    assert paying.refuses("claimTo", 3, BOB, sender=CAROL) == "EscapeHatch_NoClaim"
    outcome = paying.refuses("escape", paying.witness(3))
    assert outcome == "EscapeHatch_NothingToRegister"
    assert paying.ask("payoutOf", 3) == 0


@pytest.mark.parametrize("account", [0, 4, 5, 7, 2**32 - 1])
def test_claim__nothing_registered__is_refused(paying, account):
    assert paying.refuses("claim", account) == "EscapeHatch_NoClaim"
    outcome = paying.refuses("claimTo", account, BOB, sender=RIVAL)
    assert outcome == "EscapeHatch_NotOwner"


def test_claim_to__by_the_owner__pays_somebody_else(paying):
    outcome = paying.refuses("claimTo", 3, RIVAL, sender=RIVAL)
    assert outcome == "EscapeHatch_NotOwner"
    outcome = paying.refuses("claimTo", 3, NOBODY, sender=CAROL)
    assert outcome == "EscapeHatch_ZeroRecipient"
    paying.send(CAROL, paying.hatch, "claimTo", 3, DAVE)
    assert (paying.balance(CAROL), paying.balance(DAVE)) == (0, EQUITY[3])


def test_claim__everybody__leaves_the_vault_empty(paying):
    for account in EQUITY:
        paying.send(RIVAL, paying.hatch, "claim", account)
    assert paying.balance(paying.vault) == 0


def test_claim__insolvent__pays_the_same_part_of_each():
    state = make_state(
        {1: Holding(BOB, 1_000_003), 2: Holding(CAROL, 500_001), 3: Holding(DAVE, -700_000)}
    )
    exodus = Exodus(state)
    exodus.open()
    exodus.escape(1, 2)
    exodus.close()
    available, total = 800_004, 1_500_004
    assert exodus.ask("available") == available
    for account, equity, owner in ((2, 500_001, CAROL), (1, 1_000_003, BOB)):
        exodus.send(RIVAL, exodus.hatch, "claim", account)
        assert exodus.balance(owner) == equity * available // total
    assert exodus.balance(exodus.vault) == 1


# Tokens that misbehave


def test_claim__token_refuses_one_recipient__others_are_paid_and_the_owner_redirects():
    exodus = Exodus(population(), token="RefusingToken")
    exodus.open()
    exodus.escape(1, 2, 3, 6)
    exodus.close()
    exodus.send(RIVAL, exodus.token, "refuse", CAROL)
    assert exodus.refuses("claim", 3) == "RefusingToken_Refused"
    for account in (1, 2, 6):
        exodus.send(RIVAL, exodus.hatch, "claim", account)
    exodus.send(CAROL, exodus.hatch, "claimTo", 3, DAVE)
    assert exodus.balance(DAVE) == EQUITY[3]
    assert exodus.balance(exodus.vault) == 0


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_claim__token_fails__the_claim_stays(mode):
    exodus = Exodus(population(), token="SwitchToken")
    exodus.open()
    exodus.escape(3)
    exodus.close()
    exodus.send(RIVAL, exodus.token, "setMode", mode)
    assert exodus.refuses("claim", 3) != ""
    assert exodus.claims([3]) == {3: (CAROL, EQUITY[3])}
    exodus.send(RIVAL, exodus.token, "setMode", 0)
    exodus.send(RIVAL, exodus.hatch, "claim", 3)
    assert exodus.balance(CAROL) == EQUITY[3]


@pytest.mark.parametrize("again", ["claim", "claimTo", "escape", "refundDeposit"])
def test_claim__token_re_enters__nothing_is_paid_twice(again):

    exodus = Exodus(population(), token="ReentrantToken")
    refund = exodus.deposit(ALICE, 0, 9)
    exodus.freeze_behind(refund)
    exodus.open()
    exodus.escape(2, 3)
    exodus.close()
    before = exodus.balance(exodus.vault)
    exodus.send(RIVAL, exodus.hatch, "refundDeposit", *refund)
    arguments: dict[str, tuple[Any, ...]] = {
        "claim": (3,),
        "claimTo": (3, RIVAL),
        "escape": (exodus.witness(3),),
        "refundDeposit": refund,
    }
    payload = encode_call("EscapeHatch", again, *arguments[again])
    exodus.send(RIVAL, exodus.token, "arm", exodus.hatch.address, payload)
    exodus.send(RIVAL, exodus.hatch, "claim", 3)
    assert not exodus.send(RIVAL, exodus.token, "reentered")
    assert exodus.balance(exodus.vault) == before - 9 - EQUITY[3]


# Refunds


@pytest.fixture
def refunding() -> tuple[Exodus, dict[str, Any]]:
    """Deposits before and after the last batch."""
    exodus = Exodus(population())
    refunds = {"processed": exodus.deposit(BOB, 0, 10)}
    exodus.adopt(exodus.state, 1)
    refunds["new"] = exodus.deposit(CAROL, 0, 200)
    exodus.pass_time(5)
    refunds["known"] = exodus.deposit(CAROL, 3, 3_000)
    refunds["again"] = exodus.deposit(CAROL, 0, 200)
    exodus.freeze_behind(refunds["new"])
    return exodus, refunds


def test_refund_deposit__before_open__is_refused(refunding):
    exodus, refunds = refunding
    assert exodus.refuses("refundDeposit", *refunds["new"]) == "EscapeHatch_NotOpen"


def test_refund_deposit__unprocessed__goes_back_at_once_and_once(refunding):
    exodus, refunds = refunding
    exodus.open()
    before = exodus.balance(ALICE)
    for name in ("new", "known", "again"):
        index = refunds[name][0]
        assert not exodus.ask("isRefunded", index)
        exodus.send(RIVAL, exodus.hatch, "refundDeposit", *refunds[name])
        assert exodus.ask("isRefunded", index)
        outcome = exodus.refuses("refundDeposit", *refunds[name])
        assert outcome == "EscapeHatch_AlreadyRefunded"
    # New accounts' deposits go to their owners, the others to who paid.
    assert exodus.balance(CAROL) == 400
    assert exodus.balance(ALICE) == before + 3_000
    assert exodus.balance(exodus.vault) == TOTAL + 10


def test_refund_deposit__processed__is_refused(refunding):
    exodus, refunds = refunding
    exodus.open()
    assert exodus.refuses("refundDeposit", *refunds["processed"]) == "EscapeHatch_Processed"


@pytest.mark.parametrize("place", range(6))
def test_refund_deposit__forged__is_refused(refunding, place):
    exodus, refunds = refunding
    exodus.open()
    fields = list(refunds["new"])
    fields[place] = (2, RIVAL, fields[2] + 1, RIVAL, 3, 201)[place]
    assert exodus.refuses("refundDeposit", *fields) == "EscapeHatch_WrongMessage"


def test_refund_deposit__message_that_does_not_exist__is_refused(refunding):
    exodus, refunds = refunding
    exodus.open()
    for index in (4, 2**64 - 1):
        outcome = exodus.refuses("refundDeposit", index, *refunds["new"][1:])
        assert outcome == "Bridge_UnknownMessage"


def test_refund_deposit__another_kind_with_the_same_bytes__is_refused(exodus):
    """A forced message whose body reads like a deposit."""
    body = bytes.fromhex(BOB[2:]) + bytes(4) + (777).to_bytes(16, "big")
    exodus.send(BOB, exodus.bridge, "force", body)
    message = (4, BOB, exodus.time, keccak(body))
    arguments = (0, BOB, exodus.time, BOB, 0, 777)
    exodus.set_time(exodus.time + FREEZE_DELAY + 1)
    exodus.send(RIVAL, exodus.hatch, "freeze", tuple(exodus.last), message)
    exodus.open()
    assert exodus.refuses("refundDeposit", *arguments) == "EscapeHatch_WrongMessage"


def test_refund_deposit__more_than_a_word_of_messages__each_has_its_bit():
    exodus = Exodus(population())
    first = exodus.deposit(BOB, 0, 1)
    for _ in range(255):
        exodus.enqueue()
    last = exodus.deposit(BOB, 0, 2)
    exodus.freeze_behind(first)
    exodus.open()
    assert last[0] == 256
    exodus.send(RIVAL, exodus.hatch, "refundDeposit", *first)
    exodus.send(RIVAL, exodus.hatch, "refundDeposit", *last)
    assert exodus.balance(BOB) == 3


# Exits


def test_claim_exit__frozen__is_paid_first_and_for_ever():
    """Exits of the final state do not compete with claims, before the window closes or after."""

    l1 = L1()
    exits = Exits(l1, [BOB, CAROL]).post()
    l1.settle(exits.header)
    l1.enqueue()
    message = (3, ALICE, l1.time, keccak((1).to_bytes(4, "big")))
    l1.pass_time(FREEZE_DELAY + 1)
    l1.send(RIVAL, l1.escape_hatch, "freeze", tuple(exits.header), message)
    exits.claim(0)
    l1.pass_time(10 * CLAIM_WINDOW)
    exits.claim(1)
    assert (l1.balance(BOB), l1.balance(CAROL)) == (1_000, 1_001)


# Size


@pytest.mark.parametrize(("accounts", "disjoint"), [(24, False), (12, True)])
def test_escape__accounts_of_the_largest_size__each_group_is_below_the_bounds(accounts, disjoint):
    """64 positions each, in the same series or each in its own, no sibling that is zero."""
    series = 64 * accounts if disjoint else 64
    scene = create_scene(accounts, 64, series, disjoint=disjoint)
    compute_state_root(scene.state)
    exodus = Exodus(scene.state, held=0)
    exodus.open()
    claims = compute_claims(scene.state, scene.accounts)
    assert len(claims) == accounts
    for group in split_accounts(scene.state, scene.accounts):
        witness = exodus.witness(*group)
        exodus.send(RIVAL, exodus.hatch, "escape", witness)
        assert exodus.gas_used < 10_000_000
        assert len(witness) < 119_000
    assert exodus.ask("totalClaims") == sum(claims.values())
