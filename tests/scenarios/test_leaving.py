"""Leaving without asking, on a real L1 whose time is moved: who is dead, and how the others get
their money. Each scenario ends with the vault's balance explained to the unit.
"""

from contextlib import suppress
from dataclasses import replace

import pytest

from deltaroll.engine.ledger import compute_equity_at_marks
from deltaroll.l1.types import Stage
from deltaroll.node.escape import (
    EscapeError,
    compute_claim,
    compute_claims,
    compute_escape_witness,
    compute_freeze,
    compute_open,
    compute_sighting,
    compute_unpriced,
    find_escapable,
)
from deltaroll.node.follower import Follower
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import State, set_account
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import AccountId, Context
from tests.scenarios.leaving import Leaver, leaver
from tests.scenarios.support import (
    ALICE,
    ALICE_TOO,
    BOB,
    BTC_PERP,
    CAROL,
    DAVE,
    ERIN,
    FRANK,
    GINA,
    WINDOW,
    Lab,
    Lie,
)

DAY = 24 * 3_600
FREEZE_DELAY, ORACLE_DELAY, FORCED_DELAY = 7 * DAY, 14 * DAY, 12 * 3_600
EVERYBODY = (ALICE, BOB, CAROL, DAVE, ERIN, FRANK, ALICE_TOO, GINA)


def steal(state: State) -> None:
    """Make Frank a million richer."""
    thief = state.accounts[FRANK]
    set_account(state, FRANK, replace(thief, cash=thief.cash + 10**12))


def held_for_all(state: State) -> int:
    """What a state holds for its accounts, the fund and the fees."""
    return state.globals.deposited - state.globals.withdrawn


# | Scenario            | Moves                                                                    |
# |---------------------|--------------------------------------------------------------------------|
# | Operator dead       | Erin withdraws, it settles; Erin wants the rest, Dave deposits; nobody   |
# |                     | proposes; a stranger freezes at the first second that is possible        |
# |                     | and proves everybody; all are paid, the deposit goes back, the old exit  |
# |                     | is claimed                                                               |


def test_leave__operator_dead__exits_deposits_and_everybodys_equity_are_paid(lab: Lab):
    venue = lab.venue
    someone = leaver(lab)
    erin = venue.keys[ERIN].address
    lab.post_honest(lab.chunk(lab.withdraw(25 * 10**6)))
    venue.send(lab.contracts.bridge.forceExit, ERIN, 10**12, sender=venue.owners[ERIN])
    payer = venue.governor
    venue.send(
        lab.contracts.bridge.deposit, venue.owners[DAVE].address, DAVE, 7_000_001, sender=payer
    )
    had = someone.balance(payer.address)
    someone.freeze()
    assert someone.closing.opened is None
    with pytest.raises(EscapeError, match="frozen already"):
        compute_freeze(someone.follower)
    refusal = venue.simulate(lab.contracts.bridge.forceExit, ERIN, 1, sender=venue.owners[ERIN])
    assert refusal == "Bridge_Frozen"
    payouts = someone.leave_all()
    state = someone.follower.state
    assert set(payouts) == set(EVERYBODY)
    # Nobody is in debt, so everybody gets all of it.
    assert payouts == {key: compute_claim(state, state.accounts[key]) for key in payouts}
    assert someone.refund() == 7_000_001
    assert someone.refund() == 0
    assert someone.balance(payer.address) - had == 7_000_001
    before = someone.balance(erin)
    assert someone.claim_exit(erin) == 25 * 10**6
    assert someone.balance(erin) - before == 25 * 10**6
    # What the fund and the fees hold, and what rounding has left.
    assert someone.vault() == held_for_all(state) - sum(payouts.values())
    assert someone.vault() >= state.globals.fee_pool + state.globals.insurance > 0


# | Scenario            | Moves                                                                    |
# |---------------------|--------------------------------------------------------------------------|
# | Operator censors    | The operator serves everybody but Erin; her message is 12 hours old:     |
# | one user            | a batch without it is refused, one that lies about it is removed, one    |
# |                     | with it pays her when it settles                                         |


def test_leave__operator_censors_one_user__no_batch_without_her_exit(lab: Lab):
    venue = lab.venue
    someone = leaver(lab)
    erin = venue.keys[ERIN].address
    equity = lab.state.accounts[ERIN].cash
    venue.send(lab.contracts.bridge.forceExit, ERIN, equity, sender=venue.owners[ERIN])
    lab.sync()
    without = Lie((lab.chunk(lab.withdraw(1, account=FRANK)),), queue_end=lab.head.queue_end)
    findings, posted = lab.judge(without)
    assert not findings
    lab.post(without, posted)
    lab.sync()
    lab.advance(FORCED_DELAY + 1)
    again = lab.chunk(lab.withdraw(1, account=FRANK, nonce=101))
    without = Lie((again,), queue_end=lab.head.queue_end)
    findings, posted = lab.judge(without)
    assert not findings
    with pytest.raises(AssertionError, match="RollupInbox_ForcedInclusion"):
        lab.post(without, posted)
    lab.sync()
    lab.post_honest(lab.chunk(lab.queue()))
    venue.advance(WINDOW + 1)
    before = someone.balance(erin)
    assert someone.claim_exit(erin) == equity
    assert someone.balance(erin) - before == equity


# | Scenario            | Moves                                                                    |
# |---------------------|--------------------------------------------------------------------------|
# | Operator slashed    | The operator steals for Frank and loses its bond; the standby proposes   |
# |                     | at once, with Erin's forced exit; it settles and she claims              |


def test_leave__operator_slashed__somebody_else_proposes_at_once(lab: Lab):
    venue = lab.venue
    someone = leaver(lab)
    erin = venue.keys[ERIN].address
    lie = lab.lie(lab.withdraw(1, account=FRANK), twist=steal)
    lab.post(lie, lab.judge(lie)[1])
    lab.remove(Fault.WRONG_POST_ROOT)
    venue.send(lab.contracts.bridge.forceExit, ERIN, 5 * 10**6, sender=venue.owners[ERIN])
    lab.sync()
    lab.post_honest(lab.chunk(lab.queue()), sender=venue.standby)
    venue.advance(WINDOW + 1)
    before = someone.balance(erin)
    assert someone.claim_exit(erin) == 5 * 10**6
    assert someone.balance(erin) - before == 5 * 10**6


# | Scenario            | Moves                                                                    |
# |---------------------|--------------------------------------------------------------------------|
# | Everyone dead but   | Carol, long and short in two underlyings, sends a message to have        |
# | one user            | something that waits, freezes, opens, proves herself, and is paid all    |
# |                     | of her equity though nobody else ever comes                              |


def test_leave__everyone_dead_but_one_user__she_gets_all_of_hers(lab: Lab):
    venue = lab.venue
    carol = Leaver(venue, venue.owners[CAROL])
    with pytest.raises(EscapeError, match="not frozen"):
        compute_open(carol.follower)
    assert compute_freeze(carol.follower) is None
    carol.send(lab.contracts.bridge.cancelAll, CAROL)
    carol.freeze()
    carol.open()
    with pytest.raises(EscapeError, match="opened already"):
        compute_open(carol.follower)
    state = carol.follower.state
    carol.escape([CAROL])
    carol.close()
    equity = compute_claim(state, state.accounts[CAROL])
    assert len(state.accounts[CAROL].positions) == 2
    carol.pay(state, {CAROL: equity})
    assert carol.vault() == held_for_all(state) - equity


# | Scenario            | Moves                                                                    |
# |---------------------|--------------------------------------------------------------------------|
# | Oracle dead         | The operator posts every day, the committee is silent; Gina cannot trade |
# |                     | or force her way out; 14 days without a price have settled: she freezes, |
# |                     | and all leave at the last marks                                          |


def test_leave__oracle_dead__position_holders_leave_at_the_last_marks(lab: Lab):
    venue = lab.venue
    gina = Leaver(venue, venue.owners[GINA])
    observed = min(
        lab.state.markets[market].observed_at  # type: ignore[union-attr]
        for market in (4, 5)  # type: ignore[comparison-overlap]
    )
    venue.send(lab.contracts.bridge.forceClose, GINA, BTC_PERP, 0, sender=venue.owners[GINA])
    nonce = 100
    skipped = lab.state.globals.skipped
    lab.advance(DAY)
    lab.post_honest(lab.chunk(lab.queue()))
    # Consumed, and not honoured: there is no price to close at.
    assert lab.state.globals.skipped == skipped + 1
    assert compute_unpriced(gina.follower) is None or (
        compute_unpriced(gina.follower).possible_from > lab.time  # type: ignore[union-attr]
    )
    while lab.time < observed + ORACLE_DELAY + WINDOW + 2 * DAY:
        lab.advance(DAY)
        nonce += 1
        lab.post_honest(lab.chunk(lab.withdraw(1, account=FRANK, nonce=nonce)))
    marks = {
        market: leaf.mark for market, leaf in lab.state.markets.items() if hasattr(leaf, "mark")
    }
    head = lab.follower.find_newest()[Stage.SETTLED]
    assert head is not lab.follower.chain[-1]
    gina.freeze_unpriced()
    payouts = gina.leave_all()
    state = gina.follower.state
    assert marks == {key: leaf.mark for key, leaf in state.markets.items() if hasattr(leaf, "mark")}
    assert payouts == {key: compute_claim(state, state.accounts[key]) for key in EVERYBODY}
    exits = sum(leaf.amount for leaf in state.exits)
    assert gina.vault() == held_for_all(state) - sum(payouts.values()) + exits


# | Scenario            | Moves                                                                    |
# |---------------------|--------------------------------------------------------------------------|
# | Half the users gone | Four of eight prove in time, the others months later: every one of them  |
# |                     | still gets all of it, because what was theirs was left                   |


def test_leave__half_the_users_gone__whoever_comes_later_is_paid_too(lab: Lab):
    someone = leaver(lab)
    someone.send(lab.contracts.bridge.cancelAll, ERIN)
    someone.freeze()
    payouts = someone.leave_all(first=[ALICE, CAROL, FRANK, GINA])
    state = someone.follower.state
    assert payouts == {key: compute_claim(state, state.accounts[key]) for key in EVERYBODY}
    assert someone.vault() == held_for_all(state) - sum(payouts.values())


# | Scenario            | Moves                                                                    |
# |---------------------|--------------------------------------------------------------------------|
# | Insolvent           | The price halves in minutes, Gina owes more than the fund holds, and     |
# |                     | the operator dies before anybody liquidates her: all others get the same |
# |                     | part of their equity, rounded down, and nothing but dust is left. Who    |
# |                     | comes late finds nothing                                                 |


@pytest.mark.parametrize("late", [(), (FRANK,)], ids=["all in time", "one late"])
def test_leave__insolvent__everybody_gets_the_same_part(lab: Lab, late: tuple[AccountId, ...]):
    someone = leaver(lab)
    lab.post_honest(lab.chunk(*lab.fall(*(93,) * 12)))
    someone.send(lab.contracts.bridge.cancelAll, ERIN)
    someone.freeze()
    state = someone.follower.state
    assert compute_equity_at_marks(state, state.accounts[GINA]) < 0
    creditors = [key for key in find_escapable(state) if key not in late]
    payouts = someone.leave_all(first=creditors)
    total = sum(compute_claims(state, creditors).values())
    available = held_for_all(state)
    assert total > available
    assert set(payouts) == set(creditors)
    for key, paid in payouts.items():
        assert paid == compute_claim(state, state.accounts[key]) * available // total
    assert 0 <= someone.vault() < len(payouts)


# | Scenario            | Moves                                                                    |
# |---------------------|--------------------------------------------------------------------------|
# | Freeze in the       | Nobody prices and nobody posts for 15 days; then the operator posts, and |
# | middle of a         | a thief on top of it; somebody who looks at nothing else freezes; the    |
# | challenge           | fraud is still removed, the honest batch before it is final              |


def test_leave__freeze_in_the_middle_of_a_challenge__the_fraud_is_not_final(lab: Lab):
    venue = lab.venue
    someone = leaver(lab)
    lab.advance(ORACLE_DELAY + DAY)
    lab.post_honest(lab.chunk(lab.withdraw(10**6)))
    honest = someone.follower
    settled = honest.find_newest()[Stage.SETTLED]
    call = compute_unpriced(honest)
    assert call is not None
    lie = lab.lie(lab.withdraw(1, account=FRANK, nonce=101), twist=steal)
    # What the lie says of the world, for whoever believes it.
    believed = lab.state.copy_before(0)
    lab.post(lie, lab.judge(lie)[1])
    fooled = Follower(venue.gateway)
    fooled.poll()
    assert fooled.fraud is not None
    with pytest.raises(EscapeError, match="is a fraud"):
        compute_unpriced(fooled)
    head = replace(fooled.chain[-1], submitted=fooled.fraud.submitted)
    sight = compute_lie(lab, believed, lie, head, call.series)
    following = call.head[0]
    someone.send(someone.hatch.freezeUnpriced, call.series, call.settled, following, sight)
    assert someone.closing.opened is None
    assert settled.submitted.header.index < head.submitted.header.index - 1
    with pytest.raises(EscapeError, match="is a fraud"):
        compute_open(someone.follower)
    lab.remove(Fault.WRONG_POST_ROOT)
    with pytest.raises(EscapeError, match="settles after"):
        compute_open(someone.follower)
    payouts = someone.leave_all()
    state = someone.follower.state
    assert payouts[FRANK] == 10 * 10**6
    assert payouts == {key: compute_claim(state, state.accounts[key]) for key in EVERYBODY}
    assert someone.claim_exit(venue.keys[ERIN].address) == 10**6
    assert someone.vault() == held_for_all(state) - sum(payouts.values())


def compute_lie(lab: Lab, state: State, lie: Lie, head: object, series: object) -> object:
    """Return the sighting of a fraudulent batch."""
    before = lab.head
    context = Context(
        domain=lab.domain,
        l1_time=lab.time,
        queue_end=before.queue_end,
        previous_base_fee=before.l1_base_fee,
        previous_blob_fee=before.l1_blob_fee,
        is_first=True,
        is_last=True,
    )
    with suppress(TransitionFault):
        process_chunk(state, lie.chunks[0].data, context)
    assert lie.twist is not None
    lie.twist(state)
    return compute_sighting(head, state, series)  # type: ignore[arg-type]


# | Scenario            | Moves                                                                    |
# |---------------------|--------------------------------------------------------------------------|
# | Late joiner         | A year after the window somebody who was never there starts from an RPC  |
# |                     | alone, finds the final state, proves the last account and is paid        |


def test_leave__late_joiner_with_l1_data_only__is_paid(lab: Lab):
    venue = lab.venue
    someone = leaver(lab)
    someone.send(lab.contracts.bridge.cancelAll, ERIN)
    someone.freeze()
    someone.open()
    others = [key for key in EVERYBODY if key != DAVE]
    someone.escape(others)
    venue.advance(400 * DAY)
    dave = Leaver(venue, venue.owners[DAVE])
    follower = dave.follower
    closing = follower.closing
    assert closing is not None
    assert closing.opened is not None
    assert closing.opened.final_root == follower.state_root
    assert set(closing.escaped) == set(others)
    equity = compute_claim(follower.state, follower.state.accounts[DAVE])
    dave.escape([DAVE])
    dave.pay(follower.state, {DAVE: equity})
    # Twice is refused.
    witness = compute_escape_witness(follower.state, [DAVE])
    refusal = venue.simulate(dave.hatch.escape, witness, sender=dave.sender)
    assert refusal == "EscapeHatch_NothingToRegister"
