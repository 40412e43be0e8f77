"""Deriving from L1: whatever L1 does, the same as somebody who starts now would derive."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaroll.l1.gateway import ContradictionError, L1Error
from deltaroll.l1.types import BatchRemoved, BatchSubmitted, L1Event, MessageQueued, Stage
from deltaroll.node.exits import ExitError, find_exit
from deltaroll.node.follower import Follower, compute_chain, compute_queue
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.leaf import encode_exit, hash_leaf
from deltaroll.protocol.state import compute_state_root
from deltaroll.protocol.tree import compute_root_from_branch
from deltaroll.protocol.types import (
    AccountId,
    Exit,
    MessageKind,
    Queue,
    Transaction,
    Transfer,
)
from tests.node.l1 import (
    PROPOSER,
    SLOT,
    UNREACHABLE,
    WINDOW,
    FakeGateway,
    FakeL1,
    follow,
    make_chunk,
)
from tests.node.support import (
    CASH,
    DOMAIN,
    OWNERS,
    encode_deposit,
    encode_force_exit,
)

ADA, BLAISE = AccountId(1), AccountId(2)


def deposit(l1: FakeL1, account: AccountId = ADA, amount: int = CASH) -> None:
    body = encode_deposit(OWNERS[account].address, 0, amount)
    l1.enqueue(MessageKind.DEPOSIT, OWNERS[account].address, body)


def post(l1: FakeL1, spoil: bool = False, payment: int = 0, is_forged: bool = False) -> None:
    """Post a batch that consumes the queue and maybe pays."""
    ahead = follow(l1)
    waiting = len(l1.queue) - l1.batches[-1].header.queue_end
    transactions: list[Transaction] = [Queue()] * waiting
    signatures = b""
    account = ahead.state.accounts.get(ADA)
    if payment and account is not None and BLAISE in ahead.state.accounts:
        transfer = Transfer(ADA, BLAISE, payment, account.nonce + 1)
        signer = OWNERS[BLAISE if is_forged else ADA]
        transactions.insert(0, transfer)
        signatures = signer.sign_action(DOMAIN, transfer)
    l1.submit([make_chunk(l1, transactions, signatures, spoil)], len(l1.queue))


def make_follower(l1: FakeL1, keep: int | None = None) -> tuple[Follower, FakeGateway]:
    gateway = FakeGateway(l1)
    return Follower(gateway, keep=keep), gateway  # type: ignore[arg-type]


def spread(follower: Follower) -> list[object]:
    """A chain, with the chunks that are no longer in memory."""
    return [replace(one, chunks=tuple(one.chunks)) for one in follower.chain]


def check(follower: Follower, l1: FakeL1) -> None:
    """The follower is what a new one would be."""
    fresh = follow(l1)
    assert [one.submitted for one in follower.chain] == [one.submitted for one in fresh.chain]
    assert spread(follower) == spread(fresh)
    assert follower.state_root == fresh.state_root
    assert follower.state.accounts == fresh.state.accounts
    assert follower.state.exits == fresh.state.exits
    assert follower.state.messages == fresh.state.messages
    assert follower.queue_hashes == fresh.queue_hashes
    assert follower.fraud == fresh.fraud
    assert follower.head == l1.head
    if follower.fraud is None:
        assert follower.state_root == l1.batches[-1].header.post_root


# Lists of events


def make_batch(index: int, salt: int = 0) -> BatchSubmitted:
    l1 = FakeL1()
    header = replace(l1.batches[0].header, index=index, l1_block=salt)
    return BatchSubmitted(index, f"0x{index}", keccak(b"%d %d" % (index, salt)), header)


def make_removal(batch: BatchSubmitted) -> BatchRemoved:
    return BatchRemoved(99, batch.header.index, batch.header_hash, 6, PROPOSER)


G, A, B, C = (make_batch(index) for index in range(4))
A2, B2 = make_batch(1, 7), make_batch(2, 7)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], []),
        ([G], [G]),
        ([G, A, B], [G, A, B]),
        ([G, A, B, make_removal(B)], [G, A]),
        ([G, A, B, make_removal(A)], [G]),
        ([G, A, B, C, make_removal(A), A2, B2], [G, A2, B2]),
        ([G, A, make_removal(A), A, make_removal(A), A], [G, A]),
        ([G, A, make_removal(A), A2, make_removal(A2)], [G]),
    ],
)
def test_compute_chain__submissions_and_removals__what_is_left_counts(
    events: list[L1Event], expected: list[BatchSubmitted]
):
    assert compute_chain(events) == expected


@pytest.mark.parametrize(
    "events",
    [
        [A],
        [G, G],
        [G, B],
        [G, A, A],
        [G, A, C],
        [make_removal(A)],
        [G, make_removal(G)],
        [G, make_removal(A)],
        [G, A, make_removal(A2)],
        [G, A, make_removal(B)],
        [G, A, make_removal(A), B],
        [G, A, make_removal(A), make_removal(A)],
    ],
)
def test_compute_chain__contradiction__is_an_error(events: list[L1Event]):
    with pytest.raises(ContradictionError):
        compute_chain(events)


@pytest.fixture
def queue():
    l1 = FakeL1()
    for account in OWNERS:
        deposit(l1, account)
    return l1.queue


@pytest.mark.parametrize("known", [0, 2, 5])
def test_compute_queue__in_order__is_the_queue(queue, known):
    assert compute_queue([G, *queue], queue[:known]) == queue


@pytest.mark.parametrize(
    "spoil",
    [
        lambda queue: queue[1:],
        lambda queue: [*queue[:2], *queue[3:]],
        lambda queue: [queue[1], queue[0], *queue[2:]],
        lambda queue: [*queue, queue[-1]],
        lambda queue: [replace(queue[0], queue_hash=ZERO_HASH), *queue[1:]],
        lambda queue: [*queue[:-1], replace(queue[-1], message=queue[0].message)],
        lambda queue: [replace(queue[0], message=queue[1].message), *queue[1:]],
    ],
)
@pytest.mark.parametrize("known", [0, 5])
def test_compute_queue__contradiction__is_an_error(
    queue, known, spoil: Callable[[list[MessageQueued]], list[L1Event]]
):
    with pytest.raises(ContradictionError):
        compute_queue(spoil(queue), queue[:known])


# Following

steps = st.one_of(
    st.tuples(st.just("mine"), st.integers(1, 3)),
    st.tuples(st.just("deposit"), st.integers(1, 2)),
    st.tuples(st.just("post"), st.integers(0, 3)),
    st.tuples(st.just("post"), st.integers(0, 3)),
    st.tuples(st.just("spoil"), st.integers(0, 1)),
    st.tuples(st.just("remove"), st.integers(0, 5)),
    st.tuples(st.just("reorganise"), st.integers(1, 12)),
    st.tuples(st.just("forget"), st.integers(1, 12)),
)


def step(l1: FakeL1, what: str, much: int) -> None:
    match what:
        case "mine":
            for _ in range(much):
                l1.mine()
        case "deposit":
            deposit(l1, AccountId(much))
        case "post":
            post(l1, payment=much)
        case "spoil":
            post(l1, spoil=much == 0, payment=1, is_forged=True)
        case "remove":
            if 0 < much < len(l1.batches):
                l1.remove(much)
        case "reorganise":
            l1.reorganise(much)
        case "forget":
            l1.forget(much)


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(
    moves=st.lists(st.tuples(steps, st.booleans()), min_size=4, max_size=18),
    keep=st.sampled_from((None, 0, 1, 2)),
)
def test_poll__any_history__same_as_starting_now(moves, keep):
    """Batches, lies, removals and reorganisations of any depth, in any order, whatever is kept."""
    l1 = FakeL1()
    follower, _ = make_follower(l1, keep)
    for (what, much), is_polled in moves:
        step(l1, what, much)
        if is_polled:
            follower.poll()
            check(follower, l1)
    follower.poll()
    check(follower, l1)


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=st.lists(steps, min_size=2, max_size=8),
    during=st.lists(steps, min_size=1, max_size=2),
    after=st.lists(steps, max_size=3),
    at=st.integers(0, 8),
    fails=st.booleans(),
)
def test_poll__l1_moves_or_fails_meanwhile__error_or_right_and_recovers(
    before, during, after, at, fails
):
    """At any request of a poll L1 is replaced or silent; the next poll knows it all."""
    l1 = FakeL1()
    follower, gateway = make_follower(l1)
    for place, (what, much) in enumerate(before):
        step(l1, what, much)
        if place % 3 == 0:
            follower.poll()
    countdown = [at]

    def interfere(_: str) -> None:
        countdown[0] -= 1
        if countdown[0] == -1:
            gateway.interfere = lambda _: None
            if fails:
                raise UNREACHABLE
            for what, much in during:
                step(l1, what, much)

    gateway.interfere = interfere
    try:
        head = follower.poll()
    except L1Error:
        pass
    else:
        assert follower.head == head
    gateway.interfere = lambda _: None
    for what, much in after:
        step(l1, what, much)
    follower.poll()
    check(follower, l1)


@pytest.mark.parametrize("request_kind", ["head", "block", "events", "tally", "chunks"])
def test_poll__l1_silent__raises_and_forgets_nothing(request_kind):
    l1 = FakeL1()
    deposit(l1)
    post(l1)
    follower, gateway = make_follower(l1)
    follower.poll()
    root = follower.state_root
    deposit(l1)
    post(l1)

    def fail(kind: str) -> None:
        if kind == request_kind:
            raise UNREACHABLE

    gateway.interfere = fail
    for _ in range(3):
        with pytest.raises(L1Error, match="nobody answers"):
            follower.poll()
    assert follower.state_root == root
    gateway.interfere = lambda _: None
    follower.poll()
    check(follower, l1)


@pytest.mark.parametrize("depth", [1, 2, 5, 40])
def test_poll__head_replaced_while_read__raises_then_recovers(depth):
    l1 = FakeL1()
    for _ in range(3):
        deposit(l1)
        post(l1)
    follower, gateway = make_follower(l1)

    def replace_head(kind: str) -> None:
        if kind == "events":
            gateway.interfere = lambda _: None
            l1.reorganise(depth)
            deposit(l1)

    gateway.interfere = replace_head
    with pytest.raises(L1Error, match="replaced while it was read"):
        follower.poll()
    follower.poll()
    check(follower, l1)


@pytest.mark.parametrize("depth", [1, 3, 40])
def test_poll__other_branch_is_shorter__raises_then_recovers(depth):
    """The head that was read is gone and nothing is in its place."""
    l1 = FakeL1()
    deposit(l1)
    post(l1)
    l1.mine()
    follower, gateway = make_follower(l1)
    reads: list[str] = []

    def shorten(kind: str) -> None:
        if kind == "tally" and "events" in reads:
            gateway.interfere = lambda _: None
            l1.forget(depth)
        reads.append(kind)

    gateway.interfere = shorten
    with pytest.raises(L1Error, match="replaced while it was read"):
        follower.poll()
    follower.poll()
    check(follower, l1)


def test_poll__contradictory_events__raises_until_they_are_read_right():
    l1 = FakeL1()
    deposit(l1)
    post(l1)
    follower, gateway = make_follower(l1)
    honest = gateway.get_events
    gateway.get_events = lambda first, last: honest(first, last) * 2  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(ContradictionError):
            follower.poll()
    gateway.get_events = honest  # type: ignore[method-assign]
    follower.poll()
    check(follower, l1)


@pytest.mark.parametrize(
    "lie",
    [
        lambda batch: replace(batch, header=replace(batch.header, post_root=ZERO_HASH)),
        lambda batch: replace(batch, header_hash=ZERO_HASH),
        lambda batch: replace(batch, transaction="0xnone"),
    ],
    ids=["header", "hash", "transaction"],
)
def test_poll__batch_event_that_cannot_be__raises_until_it_is_read_right(lie):
    l1 = FakeL1()
    deposit(l1)
    post(l1)
    follower, gateway = make_follower(l1)
    honest = gateway.get_events

    def lying(first: int, last: int) -> list[L1Event]:
        return [
            lie(event) if isinstance(event, BatchSubmitted) and event.header.index == 1 else event
            for event in honest(first, last)
        ]

    gateway.get_events = lying  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(ContradictionError):
            follower.poll()
    gateway.get_events = honest  # type: ignore[method-assign]
    follower.poll()
    check(follower, l1)


def test_poll__queue_message_kept_back__raises_and_sees_no_fraud():
    """Without its messages an honest batch looks like fraud: that view must not be acted on."""
    l1 = FakeL1()
    deposit(l1)
    post(l1)
    follower, gateway = make_follower(l1)
    honest = gateway.get_events

    def lying(first: int, last: int) -> list[L1Event]:
        return [event for event in honest(first, last) if isinstance(event, BatchSubmitted)]

    gateway.get_events = lying  # type: ignore[method-assign]
    with pytest.raises(ContradictionError, match="queue does not match the bridge"):
        follower.poll()
    assert follower.fraud is None
    gateway.get_events = honest  # type: ignore[method-assign]
    follower.poll()
    check(follower, l1)


@pytest.mark.parametrize(
    ("options", "fault", "position"),
    [
        ({"spoil": True}, Fault.WRONG_POST_ROOT, None),
        ({"payment": 5, "is_forged": True}, Fault.BAD_SIGNATURE, 0),
        ({"payment": 2 * CASH}, Fault.MARGIN, None),
    ],
)
def test_poll__fraud__is_found_stops_the_state_and_goes_with_its_removal(options, fault, position):
    l1 = FakeL1()
    deposit(l1, ADA)
    deposit(l1, BLAISE)
    post(l1)
    follower, _ = make_follower(l1)
    follower.poll()
    root = follower.state_root
    post(l1, **options)
    follower.poll()
    assert follower.fraud is not None
    assert (follower.fraud.fault, follower.fraud.position) == (fault, position)
    assert follower.fraud.submitted == l1.batches[-1]
    assert follower.fraud.witness
    assert follower.state_root == root
    l1.submit([make_chunk(l1, [])], l1.batches[-1].header.queue_end)
    follower.poll()
    assert follower.fraud.submitted == l1.batches[2]
    assert follower.state_root == root
    l1.remove(2)
    follower.poll()
    assert follower.fraud is None
    assert follower.state_root == root
    post(l1, payment=3)
    follower.poll()
    check(follower, l1)


def test_poll__fraud_reorganised_away__is_forgotten():
    l1 = FakeL1()
    deposit(l1)
    post(l1, spoil=True)
    follower, _ = make_follower(l1)
    follower.poll()
    assert follower.fraud is not None
    l1.reorganise(1)
    follower.poll()
    assert follower.fraud is None
    check(follower, l1)


# Stages and exits


def test_compute_stage__before_the_first_poll__is_an_error():
    follower, _ = make_follower(FakeL1())
    with pytest.raises(L1Error, match="not polled yet"):
        follower.find_newest()


def test_find_newest__batches_of_all_ages__each_stage_has_its_newest():
    l1 = FakeL1()
    for _ in range(3):
        deposit(l1)
        post(l1)
        l1.mine(WINDOW)
    l1.mine()
    for _ in range(5):
        deposit(l1)
        post(l1)
    follower, _ = make_follower(l1)
    follower.poll()
    newest = {stage: one.submitted.header.index for stage, one in follower.find_newest().items()}
    assert newest == {Stage.SETTLED: 3, Stage.FINAL: 4, Stage.SAFE: 6, Stage.POSTED: 8}
    for derived in follower.chain:
        assert follower.compute_stage(derived) in newest
    assert {
        one: batch.submitted.header.index for one, batch in follower.find_reached().items()
    } == (newest)


def test_find_reached__stages_that_no_batch_is_in__are_reached_by_what_is_beyond():
    l1 = FakeL1()
    deposit(l1)
    post(l1)
    follower, _ = make_follower(l1)
    follower.poll()
    found = {one: batch.submitted.header.index for one, batch in follower.find_reached().items()}
    assert found == {Stage.POSTED: 1, Stage.SAFE: 0, Stage.FINAL: 0, Stage.SETTLED: 0}
    l1.mine(WINDOW + 1)
    follower.poll()
    found = {one: batch.submitted.header.index for one, batch in follower.find_reached().items()}
    assert found == dict.fromkeys(found, 1)


# What is kept


def test_poll__old_batches__are_let_go_of_and_read_again_when_wanted():
    l1 = FakeL1()
    follower, gateway = make_follower(l1, keep=2)
    for _ in range(6):
        deposit(l1)
        post(l1)
        follower.poll()
    asked: list[str] = []
    gateway.interfere = asked.append
    assert [len(one.chunks) for one in follower.chain] == [0, 1, 1, 1, 1, 1, 1]
    assert all(one.chunks[0] for one in follower.chain[5:])
    assert asked == []
    assert [chunk.post_root for chunk in follower.chain[4].chunks] == [
        follower.chain[4].submitted.header.post_root
    ]
    assert asked == ["chunks"]
    assert len(follower.state._marks) == 2


@pytest.mark.parametrize(("depth", "is_anew"), [(2, False), (4, False), (5, True), (9, True)])
def test_poll__reorganisation__is_derived_anew_only_when_it_is_deeper_than_what_is_kept(
    depth, is_anew
):
    """Each batch with its deposit is two blocks."""
    l1 = FakeL1()
    follower, _ = make_follower(l1, keep=2)
    for _ in range(6):
        deposit(l1)
        post(l1)
        follower.poll()
    state = follower.state
    l1.reorganise(depth)
    deposit(l1)
    post(l1)
    follower.poll()
    assert (follower.state is not state) is is_anew
    check(follower, l1)


def test_compute_stage__last_second_of_the_window__is_not_settled():
    l1 = FakeL1()
    deposit(l1)
    post(l1)
    follower, _ = make_follower(l1)
    l1.mine(WINDOW)
    follower.poll()
    assert follower.compute_stage(follower.chain[-1]) != Stage.SETTLED
    l1.mine(1)
    follower.poll()
    assert follower.compute_stage(follower.chain[-1]) == Stage.SETTLED


def test_compute_stage__genesis_of_a_young_chain__is_settled():
    follower, _ = make_follower(FakeL1())
    follower.poll()
    assert follower.compute_stage(follower.chain[0]) == Stage.SETTLED


@pytest.fixture
def with_exits():
    """Three exits in three batches, one window apart; the last has not settled."""
    l1 = FakeL1()
    deposit(l1)
    post(l1)
    for turn in range(3):
        l1.enqueue(MessageKind.FORCE_EXIT, OWNERS[ADA].address, encode_force_exit(ADA, 10 + turn))
        post(l1)
        l1.mine(WINDOW + 1 if turn < 2 else SLOT)
    follower, _ = make_follower(l1)
    follower.poll()
    return l1, follower


def check_claim(follower: Follower, amount: int) -> None:
    claim = find_exit(follower, OWNERS[ADA].address)
    assert claim.amount == amount
    leaf = hash_leaf(encode_exit(Exit(0, claim.recipient, claim.amount)))
    assert compute_root_from_branch(leaf, claim.index, claim.branch) == claim.globals[66:98]
    assert keccak(claim.globals) == claim.header[2]
    index = claim.header[0]
    assert isinstance(index, int)
    assert follower.compute_stage(follower.chain[index]) == Stage.SETTLED


def test_find_exit__newer_batches_not_settled__is_proven_in_the_newest_settled_one(with_exits):
    """An active rollup always has a batch inside its window: nobody may have to wait for it."""
    l1, follower = with_exits
    check_claim(follower, 11)
    l1.claimed.add(1)
    check_claim(follower, 10)
    l1.claimed.add(0)
    with pytest.raises(ExitError, match=r"1 for 0x.* not settled yet: .* is 3"):
        find_exit(follower, OWNERS[ADA].address)
    l1.mine(WINDOW)
    follower.poll()
    check_claim(follower, 12)
    l1.claimed.add(2)
    with pytest.raises(ExitError, match="none unclaimed"):
        find_exit(follower, OWNERS[ADA].address)


def test_find_exit__other_recipient_or_amount__is_none(with_exits):
    _, follower = with_exits
    with pytest.raises(ExitError, match="none unclaimed"):
        find_exit(follower, OWNERS[BLAISE].address)
    with pytest.raises(ExitError, match="none unclaimed"):
        find_exit(follower, OWNERS[ADA].address, 99)
    assert find_exit(follower, OWNERS[ADA].address, 10).index == 0


def test_state_root__after_a_poll__is_that_of_the_newest_batch(with_exits):
    _, follower = with_exits
    assert compute_state_root(follower.state) == follower.chain[-1].submitted.header.post_root
