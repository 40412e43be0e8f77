"""Options from their listing to their settlement, and what else is new, through a sequencer."""

from dataclasses import replace

import pytest

from deltaroll.engine.matching import OrderStatus
from deltaroll.node.admission import RejectedError
from deltaroll.node.audit import compute_equity
from deltaroll.node.machine import LEAST_DATA_FEE
from deltaroll.protocol.codec import decode_chunk
from deltaroll.protocol.constants import INSURANCE_ACCOUNT, ONE
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.fill import compute_position_size
from deltaroll.protocol.state import set_market
from deltaroll.protocol.types import (
    AccountId,
    DataFee,
    Distress,
    Expiry,
    Fill,
    Kind,
    Liquidate,
    List,
    Mark,
    MarketId,
    MessageKind,
    Series,
    SeriesStatus,
    SlotId,
    Surface,
    Sweep,
    Timestamp,
    Transfer,
)
from tests.node.support import (
    CASH,
    DOMAIN,
    EXPIRIES,
    GENESIS,
    INDEX,
    KEYS,
    MEMBERS,
    OPTION_PARAMS,
    OPTIONS,
    OTHER_INDEX,
    OWNERS,
    PERP,
    PLACES,
    PREMIUM,
    PREMIUM_PERP,
    PRICE,
    STRANGER,
    STRIKES,
    TICK,
    Recorder,
    Venue,
    compute_fingerprint,
    compute_option_listing,
    crash,
    encode_forced,
    make_order,
    make_surface,
    restart,
)
from tests.node.test_honesty import check_money, verify
from tests.node.test_sequencer import Unchanged

ADA, BLAISE, CARL, DANIEL, ADA_TOO = map(AccountId, range(1, 6))
CALL, PUT = OPTIONS[2:4]
"""At the money, of the first expiry."""
ALL = 2 * STRIKES


@pytest.fixture
def venue():
    return Venue().open_options()


def get_series(venue, market) -> Series:
    leaf = venue.state.markets[market]
    assert isinstance(leaf, Series)
    return leaf


def get_expiry(venue, market) -> Expiry:
    leaf = venue.state.markets[market]
    assert isinstance(leaf, Expiry)
    return leaf


def collect(venue, *kinds):
    """Transactions of some kinds since the beginning."""
    venue.sequencer.seal()
    return [
        transaction
        for chunk, _ in venue.store.sealed
        for transaction in decode_chunk(chunk.data)[1]
        if isinstance(transaction, kinds)
    ]


def look(venue, seconds, price=PRICE):
    """Time passes, and both indices are observed."""
    venue.sequencer.set_clock(venue.sequencer.clock + seconds)
    for index in (INDEX, OTHER_INDEX):
        venue.observe(price, index=index)


def trade(venue, market, lots, buyer=ADA, seller=BLAISE, nonce=1, life=3_000):
    """One buys of the other, a tick above the mark."""
    expiry = venue.sequencer.clock + life
    resting = make_order(10**6, lots, is_buy=False, market=market, nonce=nonce, expiry=expiry)
    venue.submit(seller, 9, resting)
    venue.sequencer.cancel(seller, SlotId(9))
    price = get_series(venue, market).mark // TICK * TICK + TICK
    nonce += 1
    sell = replace(resting, price=price, nonce=nonce)
    assert venue.submit(seller, 9, sell).status == OrderStatus.RESTING
    buy = replace(sell, is_buy=True)
    assert venue.submit(buyer, 9, buy).filled == lots
    return price


def settle(venue):
    """Let the first expiry pass at an index of 52,000."""
    expiry = get_expiry(venue, PLACES[0])
    for ahead in (1_800, 900, 0):
        look(venue, expiry.time - ahead - venue.sequencer.clock, 52_000)


# Listing


def test_set_clock__rule_and_price__every_expiry_is_listed_once(venue):
    assert collect(venue, List) == [List(INDEX, offset) for offset in range(EXPIRIES)]
    times = [get_expiry(venue, place).time for place in PLACES]
    assert sorted(times) == [min(times), min(times) + 86_400]
    assert min(times) > venue.sequencer.clock
    assert [get_series(venue, market).strike for market in OPTIONS[:ALL:2]] == [
        48_000,
        50_000,
        52_000,
    ]
    verify(venue)


def test_set_clock__rule_without_a_price__lists_with_the_first_tick_after_the_price():
    venue = Venue()
    venue.open()
    for body in compute_option_listing():
        venue.consume(MessageKind.CONFIGURE, OWNERS[ADA].address, body)
    assert collect(venue, List) == []
    venue.sequencer.set_clock(GENESIS + OPTION_PARAMS.max_mark_age + 1)
    assert collect(venue, List) == []
    venue.observe(PRICE)
    venue.sequencer.set_clock(venue.sequencer.clock + 1)
    assert len(collect(venue, List)) == EXPIRIES
    verify(venue)


# Surfaces


def test_surface__good__is_taken_and_names_who_signed(venue):
    venue.sequencer.set_clock(GENESIS + 60)
    surface = make_surface(venue.state, PLACES[0], GENESIS + 58, signers=0b1101)
    venue.surface(surface)
    assert get_expiry(venue, PLACES[0]).surfaced_at == GENESIS + 58
    assert surface in collect(venue, Surface)
    verify(venue)


def test_surface__options_are_held__are_marked_by_it_at_once(venue):
    trade(venue, CALL, 5)
    before = get_series(venue, CALL).mark
    untouched = get_series(venue, OPTIONS[0])
    look(venue, 10)
    venue.surface(make_surface(venue.state, PLACES[0], venue.sequencer.clock - 5, level=20))
    assert get_series(venue, CALL).mark > before
    assert get_series(venue, OPTIONS[0]) == untouched
    verify(venue)


def test_surface__premium_of_a_perpetual__moves_its_mark_and_funding_runs(venue):
    look(venue, 10)
    venue.surface(make_surface(venue.state, PREMIUM, venue.sequencer.clock, level=40))
    assert get_series(venue, PREMIUM_PERP).mark == PRICE * 1_004 // 1_000 - 1
    assert get_series(venue, PERP).mark == PRICE
    look(venue, 28_800)
    assert get_series(venue, PREMIUM_PERP).carry_long == PRICE * 4 // 1_000 - 1
    assert get_series(venue, PERP).carry_long == 0
    verify(venue)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"market": MarketId(0)}, "market: 0 is outside 1"),
        ({"market": MarketId(2**16)}, "market: 65536 is outside"),
        ({"signers": 0}, "signers: 0 is outside 1"),
        ({"signers": 2**16}, "signers: 65536 is outside"),
        ({"ratio": 0}, "ratio: 0 is outside 1"),
        ({"ratio": 2**63}, "ratio: 9223372036854775808 is outside"),
        ({"rate": -(2**63)}, r"\|rate\|: 9223372036854775808 is outside"),
        ({"a": 2**63}, r"\|a\|: "),
        ({"b": -(2**63)}, r"\|b\|: "),
        ({"rho": 2**63}, r"\|rho\|: "),
        ({"m": -(2**70)}, r"\|m\|: "),
        ({"sigma": 2**63}, r"\|sigma\|: "),
        ({"time": GENESIS + 61}, "time: 1700000061 is after the clock 1700000060"),
        ({"time": GENESIS + 60 - 2**15}, "age: 32768 is outside"),
        ({"market": PERP}, "not signed by a committee member"),
        ({"market": MarketId(999)}, "not signed by a committee member"),
        ({"signers": 0b1}, "surface: refused: QUORUM"),
        ({"time": GENESIS + 1}, "surface: refused: QUORUM"),
        ({"ratio": ONE // 5}, "surface: refused: SURFACE"),
        ({"sigma": -1}, "surface: refused: SURFACE"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_surface__malformed_or_refused__names_field_or_rule_and_changes_nothing(
    venue, change, complaint
):
    venue.sequencer.set_clock(GENESIS + 60)
    surface = replace(make_surface(venue.state, PLACES[0], GENESIS + 60), **change)
    before = dict(venue.state.markets)
    signatures = tuple(
        bytes(64) if "outside" in complaint else MEMBERS[place].sign_surface(DOMAIN, surface)
        for place in range(16)
        if surface.signers >> place & 1
    )
    with pytest.raises(RejectedError, match=complaint):
        venue.sequencer.surface(surface, signatures)
    assert venue.state.markets == before
    venue.sequencer.seal()
    verify(venue)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda good: good[:1], Fault.SIGNATURE_COUNT),
        (lambda good: (*good, good[0]), Fault.SIGNATURE_COUNT),
        (lambda good: (good[1], good[0]), Fault.BAD_SIGNATURE),
        (lambda good: (good[0], good[0]), Fault.BAD_SIGNATURE),
        (lambda good: (good[0], good[1][:63]), Fault.BAD_SIGNATURE),
        (lambda good: (good[0], bytes(64)), Fault.BAD_SIGNATURE),
    ],
)
def test_surface__bad_signatures__are_refused_at_the_door(venue, spoil, fault):
    venue.sequencer.set_clock(GENESIS + 60)
    surface = make_surface(venue.state, PLACES[0], GENESIS + 60)
    good = tuple(member.sign_surface(DOMAIN, surface) for member in MEMBERS[:2])
    with Unchanged(venue), pytest.raises(RejectedError) as refusal:
        venue.sequencer.surface(surface, spoil(good))
    assert refusal.value.fault == fault


# Orders


def test_submit_order__option_never_marked__is_marked_on_arrival(venue):
    assert get_series(venue, CALL).marked_at == 0
    order = make_order(1_000, 1, market=CALL, expiry=GENESIS + 3_000)
    assert venue.submit(ADA, 0, order).status == OrderStatus.RESTING
    assert get_series(venue, CALL).marked_at == GENESIS + 1
    assert get_series(venue, PUT).marked_at == GENESIS + 1
    assert Mark(CALL, 2) in collect(venue, Mark)
    verify(venue)


def test_submit_order__option_marked_a_moment_ago__is_not_marked_again(venue):
    for slot in range(3):
        order = make_order(1_000, 1, market=(CALL, PUT)[slot % 2], expiry=GENESIS + 3_000)
        venue.submit(ADA, slot, order)
    look(venue, 1)
    venue.submit(ADA, 3, make_order(1_000, 1, market=CALL, expiry=GENESIS + 3_000))
    assert collect(venue, Mark).count(Mark(CALL, 2)) == 1


def test_submit_order__surface_newer_than_the_price__one_mark_is_enough(venue):
    """Until the index is observed again a mark would come out the same."""
    look(venue, 10)
    venue.sequencer.set_clock(venue.sequencer.clock + 10)
    venue.surface(make_surface(venue.state, PLACES[0], venue.sequencer.clock, level=5))
    for slot in range(4):
        venue.submit(ADA, slot, make_order(1_000, 1, market=CALL, expiry=GENESIS + 3_000))
    assert collect(venue, Mark).count(Mark(CALL, 2)) == 1


def test_submit_order__no_surface__is_rejected_and_weighs_nothing(venue):
    expiry = get_expiry(venue, PLACES[0])
    set_market(venue.state, PLACES[0], replace(expiry, surfaced_at=Timestamp(0)))
    meter = venue.state.meter.gas
    execution = venue.submit(ADA, 0, make_order(1_000, 1, market=CALL, expiry=GENESIS + 3_000))
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.HALTED)
    assert venue.state.meter.gas == meter


def test_submit_order__mark_is_old__is_renewed_before_the_trade(venue):
    trade(venue, CALL, 5)
    for _ in range(2):
        look(venue, 400)
    assert get_series(venue, CALL).marked_at == GENESIS + 1
    look(venue, 400)
    # A quarter of an hour has passed, and somebody holds it.
    assert get_series(venue, CALL).marked_at == venue.sequencer.clock
    assert get_series(venue, OPTIONS[0]).marked_at == 0
    venue.submit(CARL, 0, make_order(10, 1, market=OPTIONS[0], expiry=GENESIS + 3_000))
    assert get_series(venue, OPTIONS[0]).marked_at == venue.sequencer.clock
    verify(venue)


def test_submit_order__outlives_its_option__is_rejected(venue):
    last = get_expiry(venue, PLACES[0]).time - 1
    for expiry, reason in ((last, None), (last + 1, Fault.ORDER_EXPIRED)):
        order = make_order(1_000, 1, market=CALL, expiry=expiry, nonce=expiry - last + 1)
        assert venue.submit(ADA, 0, order).reason == reason


def test_submit_order__every_series__trades_and_is_honest(venue):
    for number, market in enumerate((*OPTIONS, PREMIUM_PERP)):
        trade(
            venue, market, 3, (ADA, CARL)[number % 2], (BLAISE, DANIEL)[number % 2], 3 * number + 1
        )
    venue.sequencer.seal()
    check_money(verify(venue))


# Settlement


def test_observe__expiry_has_passed__settles_sweeps_and_lists_the_next(venue):
    call, put = trade(venue, CALL, 5), trade(venue, PUT, 4, CARL, BLAISE, 11)
    expiry = get_expiry(venue, PLACES[0])
    fees = venue.state.globals.fee_pool
    venue.submit(DANIEL, 0, make_order(10, 1, market=CALL, expiry=expiry.time - 1))
    settle(venue)
    assert get_expiry(venue, PLACES[0]).settlement == 52_000
    assert venue.state.markets[CALL].status == SeriesStatus.SETTLED
    assert collect(venue, Sweep) == [Sweep(ADA), Sweep(BLAISE), Sweep(CARL)]
    assert not any(account.positions for account in venue.state.accounts.values())
    assert [get_series(venue, market).mark for market in OPTIONS[:ALL]] == [4000, 0, 2000, 0, 0, 0]
    assert venue.state.accounts[CARL].cash < CASH - 4 * put
    gained = {account: leaf.cash - CASH for account, leaf in venue.state.accounts.items()}
    assert gained[ADA] <= 5 * (2_000 - call)
    assert sum(gained.values()) == -fees
    assert venue.sequencer.engine.get_orders() == []
    assert get_expiry(venue, PLACES[0]).time == expiry.time
    venue.sequencer.set_clock(venue.sequencer.clock + 1)
    assert get_expiry(venue, PLACES[0]).time == expiry.time + EXPIRIES * 86_400
    assert get_series(venue, CALL).status == SeriesStatus.ACTIVE
    assert get_series(venue, CALL).strike == 52_000
    check_money(verify(venue))


def test_observe__settled_in_part__the_next_look_finds_nothing_to_do(venue):
    trade(venue, CALL, 5)
    settle(venue)
    before = len(collect(venue, Sweep, Mark))
    look(venue, 1, 52_000)
    # The perpetuals, and nothing of the expiry.
    assert len(collect(venue, Sweep)) == 2
    assert all(mark.market not in OPTIONS[:ALL] for mark in collect(venue, Mark)[before - 2 :])


def test_restart__after_a_settlement__log_makes_marks_sweeps_and_listings_again(new_path):
    path = new_path()
    venue = Venue(Recorder(path)).open_options()
    trade(venue, CALL, 5)
    settle(venue)
    venue.sequencer.set_clock(venue.sequencer.clock + 1)
    venue.sequencer.flush()
    before = compute_fingerprint(venue.sequencer)
    crash(venue)
    again = restart(path)
    assert compute_fingerprint(again.sequencer) == before
    again.sequencer.seal()
    assert [again.store.get_chunk(number) for number in range(again.store.count_chunks())] != []
    crash(again)


# Messages that ask for marks


def make_forced_fill(venue, market):
    """Two who trade an option through L1 that nobody holds and nobody has marked."""
    expiry = venue.sequencer.clock + 100
    order = make_order(1_000, 2, market=market, expiry=expiry)
    other = replace(order, is_buy=False)
    fill = Fill(market, ADA, BLAISE, SlotId(3), SlotId(4), True, 2, order, other)
    signatures = (
        OWNERS[ADA].sign_order(DOMAIN, ADA, SlotId(3), order),
        OWNERS[BLAISE].sign_order(DOMAIN, BLAISE, SlotId(4), other),
    )
    return encode_forced(venue.sequencer.clock, fill, signatures)


def test_consume_message__forced_fill_of_an_option_without_a_mark__is_marked_and_served(venue):
    """The queue goes on: what a Mark can cure is for the proposer to cure."""
    assert get_series(venue, CALL).marked_at == 0
    venue.consume(MessageKind.FORCED, OWNERS[ADA].address, make_forced_fill(venue, CALL))
    assert compute_position_size(venue.state.accounts[ADA], CALL) == 2
    assert venue.state.globals.skipped == 0
    assert get_series(venue, OPTIONS[0]).marked_at == 0
    venue.sequencer.seal()
    check_money(verify(venue))


def test_consume_message__forced_fill_of_an_option_without_a_surface__is_skipped(venue):
    expiry = get_expiry(venue, PLACES[0])
    venue.sequencer.set_clock(GENESIS + OPTION_PARAMS.max_surface_age + 2)
    venue.observe(PRICE)
    assert expiry.surfaced_at + OPTION_PARAMS.max_surface_age < venue.sequencer.clock
    venue.consume(MessageKind.FORCED, OWNERS[ADA].address, make_forced_fill(venue, CALL))
    assert venue.state.globals.skipped == 1
    venue.sequencer.seal()
    verify(venue)


@pytest.mark.parametrize("lots", [0, 1])
def test_consume_message__force_close_of_what_nobody_holds__is_skipped(venue, lots):
    body = ADA.to_bytes(4, "big") + CALL.to_bytes(2, "big") + lots.to_bytes(8, "big")
    venue.consume(MessageKind.FORCE_CLOSE, OWNERS[ADA].address, body)
    assert venue.state.globals.skipped == 1
    venue.sequencer.seal()
    verify(venue)


def test_consume_message__force_close__fund_takes_it_and_sells_it_in_its_auction(venue):
    venue.act(Transfer(DANIEL, AccountId(INSURANCE_ACCOUNT), CASH // 2, 1))
    assert venue.state.globals.insurance == CASH // 2
    trade(venue, CALL, 5)
    body = ADA.to_bytes(4, "big") + CALL.to_bytes(2, "big") + bytes(8)
    venue.consume(MessageKind.FORCE_CLOSE, OWNERS[ADA].address, body)
    fund = venue.state.accounts[AccountId(INSURANCE_ACCOUNT)]
    assert compute_position_size(fund, CALL) == 5
    assert fund.distressed_at == venue.sequencer.clock
    bid = Liquidate(CARL, AccountId(INSURANCE_ACCOUNT), 10**6, 0, 1)
    venue.sequencer.liquidate(bid, OWNERS[CARL].sign_action(DOMAIN, bid))
    assert compute_position_size(venue.state.accounts[CARL], CALL) == 5
    venue.sequencer.seal()
    check_money(verify(venue))


def test_consume_message__many_marks_are_stale__all_are_renewed_first(venue):
    for number, market in enumerate((*OPTIONS, PREMIUM_PERP)):
        trade(venue, market, 1, ADA, BLAISE, 3 * number + 1)
    # Marked at the first second, observed a little later, and stale before the observation is.
    for _ in range(4):
        look(venue, 1)
    for market in OPTIONS[::2]:
        set_market(venue.state, market, replace(get_series(venue, market), marked_at=Timestamp(1)))
    amount = (10**6).to_bytes(16, "big")
    before = len(venue.state.exits)
    venue.consume(MessageKind.FORCE_EXIT, OWNERS[ADA].address, ADA.to_bytes(4, "big") + amount)
    assert len(venue.state.exits) == before + 1
    assert venue.state.globals.skipped == 0


# Auctions


def fall_into_distress(venue):
    """Ada is long as much as she may be, and the index falls."""
    price = get_series(venue, PERP).mark
    venue.submit(BLAISE, 0, make_order(price, 900, is_buy=False))
    assert venue.submit(ADA, 0, make_order(price, 900)).filled == 900
    look(venue, 12, price * 83 // 100)
    assert venue.state.accounts[ADA].distressed_at == venue.sequencer.clock


def bid_for(venue, account, target=ADA, share=10**6, reward=0, signer=None):
    bid = Liquidate(account, target, share, reward, venue.state.accounts[account].nonce + 1)
    signature = (signer or OWNERS[account]).sign_action(DOMAIN, bid)
    return venue.sequencer.liquidate(bid, signature)


def test_observe__below_maintenance_margin__auction_begins_and_ends_by_itself(venue):
    fall_into_distress(venue)
    assert collect(venue, Distress) == [Distress(ADA)]
    for price in (PRICE * 9 // 10, PRICE):
        look(venue, 12, price)
    assert venue.state.accounts[ADA].distressed_at == 0
    assert collect(venue, Distress) == [Distress(ADA)] * 2
    venue.sequencer.seal()
    verify(venue)


def test_liquidate__trading_key__takes_over_and_is_honest(venue):
    venue.set_key(CARL, KEYS[CARL].address, GENESIS + 10**5)
    fall_into_distress(venue)
    before = compute_equity(venue.state)
    bid_for(venue, CARL, share=200_000, signer=KEYS[CARL])
    assert compute_position_size(venue.state.accounts[CARL], PERP) == 180
    assert compute_position_size(venue.state.accounts[ADA], PERP) == 720
    kept = venue.state.globals
    assert compute_equity(venue.state) + kept.insurance == before
    assert len(collect(venue, Liquidate)) == 1
    check_money(verify(venue))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"account": AccountId(0)}, "account: 0 is outside 1"),
        ({"account": AccountId(2**24)}, "account: 16777216 is outside"),
        ({"target": AccountId(2**24)}, "target: 16777216 is outside"),
        ({"target": AccountId(-1)}, "target: -1 is outside 0"),
        ({"share": 0}, "share: 0 is outside 1"),
        ({"share": 2**20}, "share: 1048576 is outside"),
        ({"reward": -1}, "reward: -1 is outside 0"),
        ({"reward": 2**20}, "reward: 1048576 is outside"),
        ({"nonce": 0}, "nonce: 0 is outside 1"),
        ({"nonce": 2**63}, "nonce: "),
        ({"account": AccountId(77)}, "signature: not by a trader of account 77"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_liquidate__malformed__names_field_value_and_rule(venue, change, complaint):
    bid = replace(Liquidate(CARL, ADA, 10**6, 0, 1), **change)
    with Unchanged(venue), pytest.raises(RejectedError, match=complaint):
        venue.sequencer.liquidate(bid, bytes(64))


@pytest.mark.parametrize("signer", [STRANGER, KEYS[CARL], OWNERS[BLAISE]])
def test_liquidate__signed_by_another__is_refused(venue, signer):
    with Unchanged(venue), pytest.raises(RejectedError, match="signature: not by a trader"):
        bid_for(venue, CARL, signer=signer)


@pytest.mark.parametrize(
    ("account", "target", "fault"),
    [
        (CARL, BLAISE, Fault.SOLVENT),
        (ADA_TOO, ADA, Fault.SELF_TRADE),
        (CARL, AccountId(99), Fault.UNKNOWN_ACCOUNT),
        (CARL, AccountId(INSURANCE_ACCOUNT), Fault.UNKNOWN_ACCOUNT),
    ],
)
def test_liquidate__breaks_a_rule__is_refused_by_its_name(venue, account, target, fault):
    fall_into_distress(venue)
    before = compute_fingerprint(venue.sequencer).root
    with pytest.raises(RejectedError, match=f"liquidate: refused: {fault.name}") as refusal:
        bid_for(venue, account, target)
    assert refusal.value.fault == fault
    assert compute_fingerprint(venue.sequencer).root == before


# Pokes


@pytest.mark.parametrize(
    ("kind", "subject", "detail", "complaint"),
    [
        (Kind.MARK, 0, 1, "market: 0 is outside 1"),
        (Kind.MARK, 2**16, 1, "market: 65536 is outside"),
        (Kind.MARK, PERP, 0, "count: 0 is outside 1"),
        (Kind.MARK, PERP, 128, "count: 128 is outside"),
        (Kind.FUND, 0, 0, "market: 0 is outside 1"),
        (Kind.SWEEP, -1, 0, "account: -1 is outside 0"),
        (Kind.DISTRESS, 2**24, 0, "account: 16777216 is outside"),
        (Kind.SOCIALISE, 2**24, 0, "account: 16777216 is outside"),
        (Kind.LIST, INDEX, 0, "kind: nobody may ask for LIST"),
        (Kind.DATA_FEE, 1, 0, "kind: nobody may ask for DATA_FEE"),
        (Kind.QUEUE, 1, 0, "kind: nobody may ask for QUEUE"),
    ],
)
def test_poke__malformed_or_not_anybodys__is_refused(venue, kind, subject, detail, complaint):
    with Unchanged(venue), pytest.raises(RejectedError, match=complaint):
        venue.sequencer.poke(kind, subject, detail)


@pytest.mark.parametrize(
    ("kind", "subject", "detail", "fault"),
    [
        (Kind.MARK, INDEX, 1, Fault.UNKNOWN_MARKET),
        (Kind.FUND, CALL, 0, Fault.INACTIVE),
        (Kind.SWEEP, ADA, 0, Fault.NOT_DUE),
        (Kind.SWEEP, INSURANCE_ACCOUNT, 0, Fault.UNKNOWN_ACCOUNT),
        (Kind.DISTRESS, ADA, 0, Fault.NOT_DUE),
        (Kind.SOCIALISE, ADA, 0, Fault.SOLVENT),
        (Kind.SOCIALISE, 99, 0, Fault.UNKNOWN_ACCOUNT),
    ],
)
def test_poke__not_due__is_refused_by_its_name(venue, kind, subject, detail, fault):
    with pytest.raises(RejectedError, match=fault.name) as refusal:
        venue.sequencer.poke(kind, subject, detail)
    assert refusal.value.fault == fault
    venue.sequencer.seal()
    verify(venue)


@pytest.mark.parametrize(
    ("kind", "subject", "detail"),
    [(Kind.MARK, CALL, 2), (Kind.MARK, PERP, 2), (Kind.FUND, PERP, 0)],
)
def test_poke__due__is_done_and_honest(venue, kind, subject, detail):
    venue.sequencer.set_clock(venue.sequencer.clock + 5)
    assert venue.sequencer.poke(kind, subject, detail).fault == Fault.NONE
    venue.sequencer.seal()
    verify(venue)


# The price of data


def test_set_data_fee__level_of_l1__is_what_fills_pay(venue):
    venue.sequencer.set_data_fee(10**8)
    assert collect(venue, DataFee) == [DataFee(10**8)]
    before = venue.state.accounts[ADA].cash
    # 102 bytes at 40 gas and 10^8 wei, of 50,000 per 10^18 wei, rounded up: one unit.
    trade(venue, PERP, 1)
    assert venue.state.accounts[ADA].cash < before
    venue.sequencer.seal()
    check_money(verify(venue))


def test_set_data_fee__same_level__leaves_no_trace(venue):
    venue.sequencer.set_data_fee(10**8)
    with Unchanged(venue):
        venue.sequencer.set_data_fee(10**8)


@pytest.mark.parametrize(
    ("level", "fee"), [(1, 0), (LEAST_DATA_FEE - 1, 0), (LEAST_DATA_FEE, LEAST_DATA_FEE)]
)
def test_set_data_fee__hardly_anything__is_free(venue, level, fee):
    """So small a level may be a quarter of itself before the fee is posted, and that illegal."""
    venue.sequencer.set_data_fee(level)
    assert venue.state.globals.data_fee == fee
    assert collect(venue, DataFee) == ([DataFee(fee)] if fee else [])


def test_set_data_fee__least_fee__stays_legal_for_ten_batches_at_no_fee():
    level = LEAST_DATA_FEE
    for _ in range(10):
        level += (0 - level) // 8
    assert 4 * level >= LEAST_DATA_FEE


def test_submit_action__transfer_to_the_insurance_fund__is_the_funds(venue):
    venue.act(Transfer(ADA, AccountId(INSURANCE_ACCOUNT), 1_000, 1))
    assert venue.state.globals.insurance == 1_000
    assert AccountId(INSURANCE_ACCOUNT) not in venue.state.accounts
    venue.sequencer.seal()
    check_money(verify(venue))
