"""What a sequencer takes, what it refuses and how, and that a refusal changes nothing."""

from dataclasses import replace

import pytest

from deltaroll.engine.matching import OrderStatus, RejectReason
from deltaroll.node.admission import RejectedError
from deltaroll.protocol.constants import MAX_AMOUNT
from deltaroll.protocol.eip712 import compute_digest, hash_order
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.fill import compute_position_size
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.recovery import HALF_ORDER
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Address,
    Fill,
    MarketId,
    Message,
    MessageKind,
    Observation,
    Series,
    SeriesStatus,
    SetTradingKey,
    SlotId,
    TimeInForce,
    Timestamp,
    Transfer,
    Underlying,
    Withdraw,
)
from tests.node.support import (
    CASH,
    DOMAIN,
    GENESIS,
    INDEX,
    KEYS,
    MEMBERS,
    OWNERS,
    PARAMS,
    PERP,
    PRICE,
    STRANGER,
    TWIN,
    Venue,
    compute_fingerprint,
    encode_deposit,
    encode_force_exit,
    encode_forced,
    encode_status,
    make_order,
)
from tests.node.test_honesty import verify

ADA, BLAISE, CARL, DANIEL, ADA_TOO = map(AccountId, range(1, 6))
CURVE_ORDER = 2 * HALF_ORDER + 1
GOOD = make_order()


@pytest.fixture
def venue():
    return Venue().open()


class Unchanged:
    """Nothing of a block shows: not in the log, not in state, book or chunk."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue

    def __enter__(self) -> None:
        self.before = (compute_fingerprint(self.venue.sequencer), self.venue.store.next_sequence)

    def __exit__(self, *_: object) -> None:
        after = (compute_fingerprint(self.venue.sequencer), self.venue.store.next_sequence)
        assert after == self.before


def sign(order, account=ADA, slot=0, domain=DOMAIN, signer=None):
    return (signer or OWNERS[account]).sign_order(domain, account, SlotId(slot), order)


def flip_s(signature: bytes) -> bytes:
    """The other signature of the same meaning, which the protocol does not take."""
    word = int.from_bytes(signature[32:], "big")
    parity, s = word >> 255, word & ((1 << 255) - 1)
    return signature[:32] + (CURVE_ORDER - s | (1 - parity) << 255).to_bytes(32, "big")


# Orders


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"price": 0}, "price: 0 is outside 1"),
        ({"price": 2**63}, "price: 9223372036854775808 is outside"),
        ({"price": -10}, "price: -10 is outside 1"),
        ({"size": 0}, "size: 0 is outside 1"),
        ({"size": 2**31}, "size: 2147483648 is outside"),
        ({"nonce": 0}, "nonce: 0 is outside 1"),
        ({"nonce": 2**31}, "nonce: 2147483648 is outside"),
        ({"epoch": 2**31}, "epoch: 2147483648 is outside"),
        ({"expiry": GENESIS - 1}, "expiry: 1699999999 is before the clock 1700000000"),
        ({"expiry": GENESIS + 2**31}, "expiry: 2147483648 is outside"),
        ({"market": 0}, "market: 0 is outside 1"),
        ({"market": 2**16}, "market: 65536 is outside"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_submit_order__field_out_of_range__names_field_value_and_rule(venue, change, complaint):
    order = replace(GOOD, **change)
    with Unchanged(venue), pytest.raises(RejectedError, match=complaint):
        venue.sequencer.submit_order(ADA, SlotId(0), order, bytes(64))


@pytest.mark.parametrize("account", [0, 6, -1, 2**24 - 1, 2**24, 2**70])
def test_submit_order__no_such_account__is_refused(venue, account):
    with Unchanged(venue), pytest.raises(RejectedError, match=f"account: .*{account}"):
        venue.sequencer.submit_order(AccountId(account), SlotId(0), GOOD, sign(GOOD))


@pytest.mark.parametrize("slot", [-1, 2**12, 2**70])
def test_submit_order__no_such_slot__is_refused(venue, slot):
    with Unchanged(venue), pytest.raises(RejectedError, match="slot: "):
        venue.sequencer.submit_order(ADA, SlotId(slot), GOOD, sign(GOOD))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: sign(GOOD)[:-1],
        lambda: sign(GOOD) + b"\x00",
        lambda: b"",
        lambda: bytes(64),
        lambda: b"\xff" * 64,
        lambda: flip_s(sign(GOOD)),
        lambda: sign(GOOD, domain=keccak(b"another rollup")),
        lambda: sign(GOOD, account=BLAISE),
        lambda: sign(GOOD, slot=1),
        lambda: sign(replace(GOOD, price=PRICE + 10)),
        lambda: sign(GOOD, signer=STRANGER),
        lambda: sign(GOOD, signer=KEYS[ADA]),
        lambda: bytes((sign(GOOD)[0] ^ 1,)) + sign(GOOD)[1:],
    ],
    ids=[
        "short",
        "long",
        "empty",
        "zero",
        "ones",
        "high-s",
        "wrong-domain",
        "other-account",
        "other-slot",
        "other-price",
        "stranger",
        "unnamed-key",
        "one-bit",
    ],
)
def test_submit_order__bad_signature__is_refused(venue, spoil):
    with Unchanged(venue), pytest.raises(RejectedError, match="signature: ") as refusal:
        venue.sequencer.submit_order(ADA, SlotId(0), GOOD, spoil())
    assert refusal.value.fault == Fault.BAD_SIGNATURE


def test_submit_order__trading_key_removed_by_zero__junk_is_nobodys_signature(venue):
    """Zero as a key must not make what recovers to nobody a trader."""
    venue.set_key(ADA, ZERO_ADDRESS, GENESIS + 100)
    with pytest.raises(RejectedError, match="signature: it proves nothing") as refusal:
        venue.sequencer.submit_order(ADA, SlotId(0), GOOD, bytes(64))
    assert refusal.value.fault == Fault.BAD_SIGNATURE


def test_submit_order__trading_key__signs_until_its_last_second(venue):
    venue.set_key(ADA, KEYS[ADA].address, GENESIS + 10)
    venue.sequencer.set_clock(GENESIS + 10)
    assert venue.submit(ADA, 0, GOOD, KEYS[ADA]).status == OrderStatus.RESTING
    venue.sequencer.set_clock(GENESIS + 11)
    with pytest.raises(RejectedError, match="may not trade for account 1"):
        venue.submit(ADA, 1, GOOD, KEYS[ADA])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price": PRICE + 1}, Fault.TICK),
        ({"market": INDEX}, Fault.UNKNOWN_MARKET),
        ({"market": MarketId(999)}, Fault.UNKNOWN_MARKET),
        ({"epoch": 1}, Fault.ORDER_EPOCH),
        ({"size": 2**31 - 1}, Fault.MARGIN),
        ({"price": 2**63 // 10 * 10 - 10, "size": 2**31 - 1}, Fault.MARGIN),
        ({"reduce_only": True}, Fault.REDUCE_ONLY),
        ({"post_only": True, "time_in_force": TimeInForce.IOC}, Fault.TIME_IN_FORCE),
        ({"time_in_force": TimeInForce.FOK}, RejectReason.NO_LIQUIDITY),
    ],
    ids=lambda value: str(value)[:24],
)
def test_submit_order__breaks_a_rule__receipt_says_which_and_the_book_is_empty(
    venue, change, reason
):
    execution = venue.submit(ADA, 0, replace(GOOD, **change))
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, reason)
    assert execution.filled == 0
    assert venue.sequencer.engine.get_orders() == []


@pytest.mark.parametrize("nonce", [1, 2])
def test_submit_order__replayed__is_refused_even_after_a_cancel(venue, nonce):
    venue.submit(ADA, 0, make_order(nonce=2))
    venue.sequencer.cancel(ADA, SlotId(0))
    execution = venue.submit(ADA, 0, make_order(nonce=nonce))
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.ORDER_NONCE)


def test_submit_order__replayed_after_its_fill__is_refused(venue):
    venue.submit(ADA, 0, GOOD)
    venue.submit(BLAISE, 0, make_order(is_buy=False))
    execution = venue.submit(ADA, 0, GOOD)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.ORDER_NONCE)


def test_submit_order__last_second_of_its_life__fills(venue):
    venue.submit(ADA, 0, make_order(expiry=GENESIS + 5))
    venue.sequencer.set_clock(GENESIS + 5)
    taker = make_order(is_buy=False, expiry=GENESIS + 5)
    assert venue.submit(BLAISE, 0, taker).status == OrderStatus.FILLED


def test_set_clock__order_expires__leaves_the_book(venue):
    venue.submit(ADA, 0, make_order(expiry=GENESIS + 5))
    venue.sequencer.set_clock(GENESIS + 6)
    assert venue.sequencer.engine.get_orders() == []


def test_set_clock__trading_key_expires_under_a_resting_order__fills_nothing(venue):
    """What the key signed has not been posted: its first fill would be a bad signature."""
    venue.set_key(ADA, KEYS[ADA].address, GENESIS + 10)
    venue.submit(ADA, 0, make_order(size=5), KEYS[ADA])
    venue.sequencer.seal()
    venue.sequencer.set_clock(GENESIS + 11)
    execution = venue.submit(BLAISE, 0, make_order(is_buy=False))
    assert execution.filled == 0
    assert [reason for _, reason in execution.cancelled_makers] == [Fault.BAD_SIGNATURE]
    venue.sequencer.seal()
    verify(venue)


@pytest.mark.parametrize("change", ["key", "cancel", "epoch"])
def test_submit_order__maker_was_pulled__taker_rests(venue, change):
    venue.set_key(ADA, KEYS[ADA].address, GENESIS + 100)
    venue.submit(ADA, 0, make_order(size=5), KEYS[ADA])
    match change:
        case "key":
            venue.set_key(ADA, KEYS[BLAISE].address, GENESIS + 100)
        case "cancel":
            venue.sequencer.cancel_all(ADA, PERP)
        case "epoch":
            venue.consume(MessageKind.CANCEL_ALL, OWNERS[ADA].address, ADA.to_bytes(4, "big"))
    assert venue.submit(BLAISE, 0, make_order(is_buy=False)).status == OrderStatus.RESTING
    venue.sequencer.seal()
    verify(venue)


@pytest.mark.parametrize("seconds", [-5, 0])
def test_set_clock__not_later__changes_nothing(venue, seconds):
    with Unchanged(venue):
        venue.sequencer.set_clock(GENESIS + seconds)


def test_cancel_all__one_market__leaves_the_others(venue):
    venue.submit(ADA, 0, GOOD)
    venue.submit(ADA, 1, make_order(market=TWIN))
    venue.sequencer.cancel_all(ADA, PERP)
    assert [one.order.market for one in venue.sequencer.engine.get_orders()] == [TWIN]


# Actions


def make_actions():
    return [
        Transfer(ADA, BLAISE, 1_000, 1),
        Withdraw(ADA, OWNERS[ADA].address, 1_000, 1),
        SetTradingKey(ADA, KEYS[ADA].address, Timestamp(GENESIS + 9), 1),
    ]


actions = pytest.mark.parametrize("action", make_actions(), ids=lambda one: type(one).__name__)


@actions
def test_submit_action__good__is_done_once(venue, action):
    signature = OWNERS[ADA].sign_action(DOMAIN, action)
    assert venue.sequencer.submit_action(action, signature).fault == Fault.NONE
    with pytest.raises(RejectedError, match="ACTION_NONCE"):
        venue.sequencer.submit_action(action, signature)
    venue.sequencer.seal()
    verify(venue)


@actions
@pytest.mark.parametrize(
    "spoil",
    [
        lambda action: OWNERS[ADA].sign_action(DOMAIN, action)[:63],
        lambda action: flip_s(OWNERS[ADA].sign_action(DOMAIN, action)),
        lambda action: OWNERS[BLAISE].sign_action(DOMAIN, action),
        lambda action: KEYS[ADA].sign_action(DOMAIN, action),
        lambda action: OWNERS[ADA].sign_action(keccak(b"elsewhere"), action),
        lambda _: bytes(64),
    ],
    ids=["short", "high-s", "another", "trading-key", "wrong-domain", "zero"],
)
def test_submit_action__bad_signature__is_refused(venue, action, spoil):
    venue.set_key(CARL, KEYS[ADA].address, GENESIS + 100)
    with Unchanged(venue), pytest.raises(RejectedError, match="signature: ") as refusal:
        venue.sequencer.submit_action(action, spoil(action))
    assert refusal.value.fault == Fault.BAD_SIGNATURE


TRANSFER, WITHDRAW, CHANGE = make_actions()


@pytest.mark.parametrize(
    ("action", "complaint"),
    [
        (replace(TRANSFER, amount=0), "amount: 0 is outside 1"),
        (replace(TRANSFER, amount=-1), "amount: -1 is outside 1"),
        (replace(TRANSFER, amount=MAX_AMOUNT + 1), "amount: "),
        (replace(TRANSFER, nonce=0), "nonce: 0 is outside 1"),
        (replace(TRANSFER, nonce=2**63), "nonce: "),
        (replace(TRANSFER, sender=AccountId(2**24)), "sender: 16777216 is outside"),
        (replace(TRANSFER, recipient=AccountId(2**24)), "recipient: 16777216 is outside"),
        (replace(TRANSFER, recipient=AccountId(2**300)), "recipient: "),
        (replace(TRANSFER, recipient=AccountId(-1)), "recipient: -1 is outside"),
        (replace(WITHDRAW, account=AccountId(0)), "account: 0 is outside"),
        (replace(WITHDRAW, recipient=Address(bytes(19))), "recipient: 19 bytes instead of 20"),
        (replace(WITHDRAW, amount=2**96), "amount: "),
        (replace(CHANGE, key=Address(bytes(21))), "key: 21 bytes instead of 20"),
        (replace(CHANGE, expiry=Timestamp(2**40)), "expiry: 1099511627776 is outside"),
        (replace(CHANGE, expiry=Timestamp(-1)), "expiry: -1 is outside"),
        (replace(CHANGE, account=AccountId(2**70)), "account: "),
    ],
    ids=lambda value: str(value)[:60],
)
def test_submit_action__field_out_of_range__names_field_value_and_rule(venue, action, complaint):
    with Unchanged(venue), pytest.raises(RejectedError, match=complaint):
        venue.sequencer.submit_action(action, bytes(64))


@pytest.mark.parametrize(
    ("action", "fault"),
    [
        (replace(TRANSFER, recipient=ADA), Fault.SELF_TRANSFER),
        (replace(TRANSFER, recipient=AccountId(99)), Fault.UNKNOWN_ACCOUNT),
        (replace(TRANSFER, amount=CASH + 1), Fault.MARGIN),
        (replace(WITHDRAW, amount=CASH + 1), Fault.MARGIN),
        (replace(WITHDRAW, recipient=ZERO_ADDRESS), Fault.BAD_RECIPIENT),
    ],
    ids=lambda value: str(value)[:60],
)
def test_submit_action__breaks_a_rule__is_refused_by_its_name_and_moves_nothing(
    venue, action, fault
):
    before = compute_fingerprint(venue.sequencer)
    with pytest.raises(RejectedError, match=fault.name) as refusal:
        venue.act(action)
    assert refusal.value.fault == fault
    assert compute_fingerprint(venue.sequencer) == before


def test_submit_action__largest_values__are_sealed_and_honest(venue):
    """The ends of every field have a place in the codec."""
    venue.set_key(ADA, Address(b"\xff" * 20), 2**40 - 1)
    venue.act(Withdraw(BLAISE, Address(b"\xff" * 20), CASH, 2**63 - 1))
    venue.act(Transfer(CARL, DANIEL, CASH, 2**63 - 1))
    venue.sequencer.seal()
    verify(venue)


def test_submit_action__withdraws_everything__leaves_an_exit(venue):
    venue.act(replace(WITHDRAW, amount=CASH))
    assert venue.state.accounts[ADA].cash == 0
    assert venue.state.exits[-1].amount == CASH


# Observations


def observe(venue, *entries, market=INDEX, signers=MEMBERS, domain=DOMAIN):
    observations = tuple(Observation(*entry) for entry in entries)
    signatures = tuple(
        signers[one.signer % len(signers)].sign_observation(domain, market, one)
        for one in observations
    )
    return venue.sequencer.observe(market, observations, signatures)


@pytest.fixture
def later(venue):
    venue.sequencer.set_clock(GENESIS + 1_000)
    return Timestamp(GENESIS + 1_000)


def test_observe__good__moves_the_index_and_every_mark_of_it(venue, later):
    observe(venue, (0, PRICE + 30, later), (1, PRICE + 10, later), (3, PRICE + 20, later))
    leaf = venue.state.markets[INDEX]
    assert isinstance(leaf, Underlying)
    assert leaf.index == PRICE + 20
    for market in (PERP, TWIN):
        series = venue.state.markets[market]
        assert isinstance(series, Series)
        assert (series.mark, series.marked_at) == (PRICE + 20, later)
    venue.sequencer.seal()
    verify(venue)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ((1, 0), "signer: 0 after 1"),
        ((1, 1), "signer: 1 after 1"),
        ((0, 1, 1, 2), "signer: 1 after 1"),
        ((0, 16), "signer: 16 after 0"),
        ((-1, 0), "signer: -1 after -1"),
    ],
)
def test_observe__members_not_ascending__is_refused(venue, later, members, complaint):
    """The codec has a bitmap for them: it cannot say anything else."""
    entries = [(member, PRICE, later) for member in members]
    with Unchanged(venue), pytest.raises(RejectedError, match=complaint):
        observe(venue, *entries)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ((0, 0, GENESIS + 1_000), "price: 0 is outside 1"),
        ((0, 2**63, GENESIS + 1_000), "price: "),
        ((0, PRICE, GENESIS + 1_001), "time: 1700001001 is after the clock 1700001000"),
        ((0, PRICE, GENESIS + 1_000 - 2**15), "age: 32768 is outside 0"),
        ((7, PRICE, GENESIS + 1_000), "not signed by the committee member"),
    ],
)
def test_observe__entry_out_of_range__is_refused(venue, later, entry, complaint):
    with Unchanged(venue), pytest.raises(RejectedError, match=complaint):
        observe(venue, entry)


@pytest.mark.parametrize(
    "options",
    [
        {"signers": (STRANGER,)},
        {"signers": MEMBERS[1:]},
        {"domain": keccak(b"elsewhere")},
        {"market": PERP},
        {"market": MarketId(77)},
    ],
)
def test_observe__not_by_the_member__is_refused(venue, later, options):
    entries = [(0, PRICE, later), (1, PRICE, later)]
    with Unchanged(venue), pytest.raises(RejectedError, match="not signed by the committee"):
        observe(venue, *entries, **options)


@pytest.mark.parametrize("market", [0, -1, 2**16, 2**300])
def test_observe__no_such_market_id__is_refused(venue, market):
    with Unchanged(venue), pytest.raises(RejectedError, match="market: "):
        venue.sequencer.observe(market, (), ())


def test_observe__signature_missing__is_refused(venue, later):
    with Unchanged(venue), pytest.raises(RejectedError, match="signatures: 0 for 1"):
        venue.sequencer.observe(INDEX, (Observation(0, PRICE, later),), ())


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [(2, PRICE, 1_000)],
        [(0, PRICE, 1_000 - 700), (1, PRICE, 1_000)],
        [(0, PRICE * 2, 1_000), (1, PRICE, 1_000)],
        [(0, PRICE, -1), (1, PRICE, 0)],
    ],
    ids=["none", "one", "stale", "outlier", "replayed"],
)
def test_observe__too_few_usable__is_refused_and_moves_nothing(venue, later, entries):
    before = compute_fingerprint(venue.sequencer)
    with pytest.raises(RejectedError, match="QUORUM"):
        observe(venue, *((who, price, Timestamp(GENESIS + at)) for who, price, at in entries))
    assert compute_fingerprint(venue.sequencer) == before


def test_observe__jump__halts_trading_until_confirmed(venue, later):
    jump = PRICE * 3 // 2
    observe(venue, *((member, jump, later) for member in (0, 1)))
    assert venue.submit(ADA, 0, GOOD).reason == Fault.HALTED
    venue.sequencer.set_clock(later + 1)
    observe(venue, *((member, jump, Timestamp(later + 1)) for member in (0, 1)))
    assert venue.submit(ADA, 0, make_order(jump)).status == OrderStatus.RESTING


# The L1 queue


@pytest.mark.parametrize("index", [0, 11, 13, -1])
def test_consume_message__not_the_next__is_refused(venue, index):
    message = Message(MessageKind.DEPOSIT, ZERO_ADDRESS, GENESIS, b"")
    assert venue.state.globals.queue_index == 12
    with Unchanged(venue), pytest.raises(RejectedError, match="not the next one, 12"):
        venue.sequencer.consume_message(index, message)


@pytest.mark.parametrize(
    ("kind", "sender", "body"),
    [
        (0, ZERO_ADDRESS, b""),
        (200, ZERO_ADDRESS, b"\x01"),
        (MessageKind.DEPOSIT, ZERO_ADDRESS, b"short"),
        (MessageKind.DEPOSIT, ZERO_ADDRESS, encode_deposit(ZERO_ADDRESS, 1, 2**100)),
        (MessageKind.FORCE_EXIT, STRANGER.address, encode_force_exit(1, 5)),
        (MessageKind.FORCE_EXIT, OWNERS[ADA].address, encode_force_exit(2**32 - 1, 5)),
        (MessageKind.CANCEL_ALL, STRANGER.address, ADA.to_bytes(4, "big")),
        (MessageKind.FORCED, ZERO_ADDRESS, b""),
        (MessageKind.FORCED, ZERO_ADDRESS, b"\x00\x05junk!"),
        (MessageKind.CONFIGURE, ZERO_ADDRESS, b"?"),
        (MessageKind.CONFIGURE, ZERO_ADDRESS, b"\xff" * 1024),
    ],
    ids=lambda value: str(value)[:20],
)
def test_consume_message__cannot_be_honoured__is_a_counted_no_op(venue, kind, sender, body):
    before = venue.state.globals
    venue.consume(kind, sender, body)
    after = venue.state.globals
    assert (after.queue_index, after.skipped) == (before.queue_index + 1, before.skipped + 1)
    assert (after.deposited, after.withdrawn) == (before.deposited, before.withdrawn)
    venue.sequencer.seal()
    verify(venue)


def test_consume_message__force_exit_on_a_stale_mark__is_marked_and_served(venue):
    venue.submit(ADA, 0, make_order(size=5))
    venue.submit(BLAISE, 0, make_order(is_buy=False, size=5))
    venue.sequencer.set_clock(GENESIS + PARAMS.max_mark_age)
    state = venue.state
    series = state.markets[PERP]
    leaf = state.markets[INDEX]
    assert isinstance(series, Series)
    assert isinstance(leaf, Underlying)
    venue.sequencer.set_clock(GENESIS + PARAMS.max_mark_age + 1)
    venue.observe(PRICE)
    before = len(state.exits)
    venue.sequencer.set_clock(venue.sequencer.clock + 10)
    venue.consume(MessageKind.FORCE_EXIT, OWNERS[ADA].address, encode_force_exit(1, 5))
    assert len(state.exits) == before + 1
    venue.sequencer.seal()
    verify(venue)


def test_consume_message__force_exit_from_a_delisted_series__is_served(venue):
    """A series that trades no more is still marked: its holders must be able to leave."""
    venue.submit(ADA, 0, make_order(market=TWIN, size=5))
    venue.submit(BLAISE, 0, make_order(is_buy=False, market=TWIN, size=5))
    body = encode_status(TWIN, SeriesStatus.INACTIVE)
    venue.consume(MessageKind.CONFIGURE, ZERO_ADDRESS, body)
    for turn in range(1, 9):
        venue.sequencer.set_clock(GENESIS + 600 * turn)
        venue.observe(PRICE)
    venue.consume(MessageKind.FORCE_EXIT, OWNERS[ADA].address, encode_force_exit(1, 5))
    assert venue.state.exits[-1].amount == 5
    assert venue.state.globals.skipped == 0
    venue.sequencer.seal()
    verify(venue)


def test_consume_message__forced_fill__takes_the_same_lots_off_the_book(venue):
    """Two traders settle through L1 what also rests in the book: nothing fills twice."""
    maker, taker = make_order(size=5), make_order(is_buy=False, size=5)
    venue.submit(ADA, 0, maker)
    fill = Fill(PERP, ADA, BLAISE, SlotId(0), SlotId(0), True, 3, maker, taker)
    body = encode_forced(GENESIS, fill, (sign(maker), sign(taker, BLAISE)))
    venue.consume(MessageKind.FORCED, STRANGER.address, body)
    assert compute_position_size(venue.state.accounts[ADA], PERP) == 3
    assert venue.submit(CARL, 0, make_order(is_buy=False, size=5)).filled == 0
    venue.sequencer.seal()
    verify(venue)


def test_consume_message__deposit_for_a_new_owner__opens_an_account_that_may_trade(venue):
    venue.deposit(STRANGER.address, 0, CASH)
    account = AccountId(len(OWNERS) + 1)
    order = make_order(size=2)
    receipt = venue.sequencer.submit_order(
        account, SlotId(0), order, STRANGER.sign_order(DOMAIN, account, SlotId(0), order)
    )
    assert receipt.execution is not None
    assert receipt.execution.status == OrderStatus.RESTING
    assert venue.submit(BLAISE, 0, make_order(is_buy=False, size=2)).filled == 2
    venue.sequencer.seal()
    verify(venue)


def test_seal__nothing_open__seals_nothing(venue):
    venue.sequencer.seal()
    before = venue.sequencer.chunks_sealed
    with Unchanged(venue):
        venue.sequencer.seal()
    assert venue.sequencer.chunks_sealed == before


def test_submit_order__digest__is_what_the_traders_wallet_shows():
    """The signature is over the typed data and nothing else."""
    digest = compute_digest(DOMAIN, hash_order(ADA, SlotId(0), GOOD))
    assert sign(GOOD) == OWNERS[ADA].sign(digest)
