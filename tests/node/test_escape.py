"""Leaving: what a follower makes of the closing, and the arguments of every call."""

import pytest

from deltaroll.l1.commitments import to_header_tuple
from deltaroll.l1.gateway import ContradictionError
from deltaroll.l1.types import (
    AccountEscaped,
    DepositRefunded,
    EscapeOpened,
    EscapePaid,
    InboxFrozen,
    L1Event,
    Stage,
)
from deltaroll.node.audit import compute_audit
from deltaroll.node.escape import (
    EscapeError,
    compute_claim,
    compute_claims,
    compute_escape_witness,
    compute_freeze,
    compute_late_claim,
    compute_open,
    compute_payouts,
    compute_refunds,
    compute_unpriced,
    find_escapable,
    find_unpriced,
    split_accounts,
)
from deltaroll.node.follower import Follower, compute_closing
from deltaroll.protocol.constants import MAX_CHUNK_GAS, MAX_CHUNK_WITNESS
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import encode_globals
from deltaroll.protocol.types import AccountId, MessageKind, SeriesStatus
from scripts.follow import show
from tests.contracts.escape_rig import Holding, Market, make_state
from tests.node.l1 import FREEZE_DELAY, ORACLE_DELAY, PROPOSER_DELAY, WINDOW, FakeL1, follow
from tests.node.support import CASH, OWNERS, encode_deposit
from tests.node.test_follower import ADA, BLAISE, deposit, post
from tests.protocol.scenes import create_scene

OWNER, OTHER = "0x" + "11" * 20, "0x" + "22" * 20
ROOT = b"\x07" * 32


def opened(block: int) -> EscapeOpened:
    return EscapeOpened(block, ROOT, 1, CASH, 10**9)


def escaped(block: int) -> AccountEscaped:
    return AccountEscaped(block, ADA, OWNERS[ADA].address, CASH)


def paid(block: int) -> EscapePaid:
    return EscapePaid(block, ADA, OWNERS[ADA].address, CASH)


@pytest.fixture
def l1() -> FakeL1:
    """A deposit in a batch, another that waits."""
    l1 = FakeL1()
    deposit(l1)
    post(l1)
    deposit(l1, BLAISE)
    return l1


# The closing


def test_compute_closing__events_in_order__are_put_together():
    refunded = DepositRefunded(8, 3, OWNERS[ADA].address, 5)
    events: list[L1Event] = [InboxFrozen(4), opened(5), escaped(6), paid(7), refunded]
    closing = compute_closing(events)
    assert closing is not None
    assert (closing.block, closing.opened) == (4, opened(5))
    assert closing.escaped == {ADA: escaped(6)}
    assert closing.paid == {ADA: paid(7)}
    assert closing.refunded == {3: refunded}
    assert compute_closing([]) is None


@pytest.mark.parametrize("event", [opened(5), escaped(5), paid(5)])
def test_compute_closing__before_the_freeze__is_a_contradiction(event: L1Event):
    with pytest.raises(ContradictionError, match=f"{type(event).__name__} before"):
        compute_closing([event, InboxFrozen(6)])


def test_poll__frozen_and_reorganised_away__lives_again(l1: FakeL1):
    follower = follow(l1)
    assert follower.closing is None
    l1.close(InboxFrozen)
    follower.poll()
    assert follower.closing is not None
    assert follower.closing.opened is None
    l1.close(opened, escaped)
    follower.poll()
    assert follower.closing.opened == opened(l1.head.number)
    assert set(follower.closing.escaped) == {ADA}
    l1.reorganise(2)
    follower.poll()
    assert follower.closing is None


def test_poll__fraud_on_l1__posted_lists_it_and_the_chain_does_not(l1: FakeL1):
    post(l1, spoil=True)
    follower = follow(l1)
    assert [one.header.index for one in follower.posted] == [0, 1, 2]
    assert len(follower.chain) == 2


# Freeze


def test_compute_freeze__message_waits__from_the_later_of_head_and_message(l1: FakeL1):
    follower = follow(l1)
    head, message = follower.posted[-1].header, follower.state.messages[1]
    assert message.time > head.l1_time
    call = compute_freeze(follower)
    assert call is not None
    assert call.head == to_header_tuple(head)
    assert call.next == (
        MessageKind.DEPOSIT,
        "0x" + message.sender.hex(),
        message.time,
        keccak(message.body),
    )
    assert call.possible_from == message.time + FREEZE_DELAY + 1


def test_compute_freeze__nothing_waits__is_none():
    l1 = FakeL1()
    assert compute_freeze(follow(l1)) is None
    deposit(l1)
    post(l1)
    assert compute_freeze(follow(l1)) is None


def test_compute_freeze__fraudulent_head__is_the_head(l1: FakeL1):
    post(l1, spoil=True)
    deposit(l1)
    follower = follow(l1)
    call = compute_freeze(follower)
    assert call is not None
    assert call.head == to_header_tuple(l1.batches[-1].header)


def test_compute_freeze__last_batch_removed__others_may_propose_first(l1: FakeL1):
    post(l1, spoil=True)
    l1.mine(FREEZE_DELAY)
    l1.remove(2)
    call = compute_freeze(follow(l1))
    assert call is not None
    assert call.head == to_header_tuple(l1.batches[1].header)
    assert call.possible_from == l1.head.time + PROPOSER_DELAY + 1


def test_compute_freeze__frozen__is_an_error(l1: FakeL1):
    l1.close(InboxFrozen)
    follower = follow(l1)
    for compute in (compute_freeze, compute_unpriced):
        with pytest.raises(EscapeError, match=f"frozen already, in block {l1.head.number}"):
            compute(follower)


def test_compute_unpriced__nobody_holds_anything__is_none(l1: FakeL1):
    assert compute_unpriced(follow(l1)) is None


def test_compute_unpriced__fraudulent_head__is_an_error(l1: FakeL1):
    post(l1, spoil=True)
    with pytest.raises(EscapeError, match="batch 2 is a fraud"):
        compute_unpriced(follow(l1))


def hold(follower: Follower, *markets: Market, observed_at: int) -> None:
    """Let the state hold series, as if it always had."""
    held = make_state({}, dict(enumerate(markets, 100)), observed_at=observed_at)
    follower.state.markets.update(held.markets)
    follower.state._dirty_markets.update(held.markets)


def test_compute_unpriced__head_has_settled__after_the_last_price(l1: FakeL1):
    l1.mine(2 * WINDOW)
    follower = follow(l1)
    hold(follower, Market(mark=5), observed_at=1_000)
    call = compute_unpriced(follower)
    assert call is not None
    assert (call.series, call.possible_from) == (100, 1_000 + ORACLE_DELAY + 1)
    head = to_header_tuple(follower.chain[-1].submitted.header)
    assert call.settled == call.head
    assert (call.settled[0], call.next) == (head, head)


@pytest.mark.parametrize(("late", "found"), [(0, False), (1, True)])
def test_compute_unpriced__head_is_pending__the_settled_state_was_unpriced_for_as_long(
    l1: FakeL1, late: int, found: bool
):
    l1.mine(2 * WINDOW)
    post(l1)
    follower = follow(l1)
    assert follower.find_newest()[Stage.SETTLED] is follower.chain[1]
    following = follower.chain[2].submitted.header
    hold(follower, Market(mark=5), observed_at=following.l1_time - ORACLE_DELAY - late)
    call = compute_unpriced(follower)
    assert (call is not None) is found
    if call is not None:
        assert call.next == to_header_tuple(following)
        assert call.settled[0] == to_header_tuple(follower.chain[1].submitted.header)
        assert call.head[0] == to_header_tuple(following)


def test_find_unpriced__settled_or_held_by_nobody__is_left_out():
    markets = {
        100: Market(mark=1),
        101: Market(mark=1, status=SeriesStatus.SETTLED),
        102: Market(mark=1, open_interest=0),
        103: Market(mark=1, status=SeriesStatus.INACTIVE),
    }
    state = make_state({}, markets, observed_at=77)
    assert find_unpriced(state) == {100: 77, 103: 77}


# Open and refunds


def test_compute_open__step_by_step__says_what_is_missing(l1: FakeL1):
    with pytest.raises(EscapeError, match="not frozen"):
        compute_open(follow(l1))
    l1.close(InboxFrozen)
    settled_after = l1.batches[-1].header.l1_time + WINDOW
    with pytest.raises(EscapeError, match=f"batch 1, the last one, settles after {settled_after}"):
        compute_open(follow(l1))
    with pytest.raises(EscapeError, match="not fixed yet"):
        compute_refunds(follow(l1))
    l1.mine(WINDOW)
    follower = follow(l1)
    call = compute_open(follower)
    assert call.last == to_header_tuple(l1.batches[-1].header)
    assert call.globals == encode_globals(follower.chain[-1].globals)
    l1.close(opened)
    with pytest.raises(EscapeError, match="opened already"):
        compute_open(follow(l1))


def test_compute_refunds__deposits_behind_the_final_state__go_back(l1: FakeL1):
    sender = OWNERS[ADA].address
    l1.enqueue(MessageKind.DEPOSIT, sender, encode_deposit(OWNERS[BLAISE].address, 1, 9))
    l1.enqueue(MessageKind.CANCEL_ALL, sender, bytes(4))
    l1.close(InboxFrozen)
    l1.close(opened)
    follower = follow(l1)
    new, known = compute_refunds(follower)
    assert (new.index, new.account, new.amount) == (1, 0, CASH)
    assert new.recipient == new.owner == OWNERS[BLAISE].address
    assert (known.index, known.account, known.amount) == (2, 1, 9)
    assert known.recipient == known.sender == sender
    l1.close(lambda block: DepositRefunded(block, 1, new.recipient, CASH))
    assert [call.index for call in compute_refunds(follow(l1))] == [2]


# Claims


def test_compute_claim__equity__within_zero_and_the_largest_amount():
    state = make_state(
        {
            1: Holding(OWNER, -5, ((100, 3, 0),)),
            2: Holding(OWNER, -500, ((100, 3, 0),)),
            3: Holding(OWNER, 2**126),
            4: Holding(OWNER, 0),
        },
        {100: Market(mark=10, carry_long=4, carry_short=-9)},
    )
    claims = [compute_claim(state, state.accounts[AccountId(key)]) for key in (1, 2, 3, 4)]
    assert claims == [-5 + 3 * (10 - 4), 0, 2**96 - 1, 0]
    assert find_escapable(state) == [1, 3]
    accounts = [AccountId(key) for key in (1, 2, 3, 4, 9)]
    assert set(compute_claims(state, accounts)) == {1, 3}


@pytest.mark.parametrize(
    ("available", "payouts"),
    [(200, (100, 50)), (150, (100, 50)), (149, (99, 49)), (1, (0, 0)), (0, (0, 0))],
)
def test_compute_payouts__claims_and_what_there_is__pro_rata_rounded_down(available, payouts):
    claims = {AccountId(1): 100, AccountId(2): 50}
    assert tuple(compute_payouts(claims, available).values()) == payouts


@pytest.mark.parametrize(
    ("equity", "total", "available", "claim"),
    [(10, 0, 100, 10), (10, 95, 100, 5), (10, 100, 100, 0), (10, 130, 100, 0)],
)
def test_compute_late_claim__what_is_left__is_the_most(equity, total, available, claim):
    assert compute_late_claim(equity, total, available) == claim


# Witnesses


def test_compute_escape_witness__no_such_account__is_an_error():
    with pytest.raises(EscapeError, match="no account 9"):
        compute_escape_witness(make_state({}), [AccountId(9)])
    with pytest.raises(EscapeError, match="no account 9"):
        split_accounts(make_state({}), [AccountId(9)])


def test_split_accounts__largest_accounts__each_group_fits_one_transaction():
    scene = create_scene(40, 64, 64)
    accounts = [*scene.accounts, *scene.accounts[:3]]
    groups = split_accounts(scene.state, accounts)
    assert [key for group in groups for key in group] == sorted(scene.accounts)
    assert 1 < len(groups) < len(scene.accounts)
    for group in groups:
        assert len(compute_escape_witness(scene.state, group)) <= MAX_CHUNK_WITNESS < 120_000
    assert MAX_CHUNK_GAS < 10_000_000
    with pytest.raises(EscapeError, match="40 accounts do not fit one proof"):
        compute_escape_witness(scene.state, scene.accounts)


def test_split_accounts__disjoint_holdings__each_group_fits_one_transaction():
    scene = create_scene(16, 64, 16 * 64, disjoint=True)
    groups = split_accounts(scene.state, scene.accounts)
    assert len(groups) > 4
    for group in groups:
        assert len(compute_escape_witness(scene.state, group)) <= MAX_CHUNK_WITNESS


def test_split_accounts__none__no_group():
    assert split_accounts(make_state({}), []) == []


def test_show__frozen__says_how_far_the_closing_is(l1: FakeL1, capsys: pytest.CaptureFixture[str]):
    l1.close(InboxFrozen)
    follower = follow(l1)
    show(follower, compute_audit(follower))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"FROZEN      for ever, in L1 block {l1.head.number}"
    l1.close(opened, escaped)
    follower.poll()
    show(follower, compute_audit(follower))
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split()[0] for line in lines] == ["final", "available", "claims"]
    assert lines[0].endswith(f"paid after {10**9}")
    assert lines[2].split()[1] == "1,"
