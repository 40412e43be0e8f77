"""What is rejected before matching, with nothing changed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from deltaroll.engine.matching import OrderStatus
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import set_account, set_market
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    MarketId,
    Position,
    Series,
    SeriesStatus,
    SlotId,
    TimeInForce,
    Timestamp,
)
from tests.engine.support import (
    ALICE,
    BOB,
    BTC,
    ETH,
    GENESIS,
    GRID,
    UNDERLYING,
    Venue,
    make_address,
)

KEY = make_address(0x7E)


def close_market(venue: Venue) -> None:
    leaf = venue.state.markets[BTC]
    assert isinstance(leaf, Series)
    set_market(venue.state, BTC, replace(leaf, status=SeriesStatus.INACTIVE))


def age_mark(venue: Venue) -> None:
    leaf = venue.state.markets[BTC]
    assert isinstance(leaf, Series)
    set_market(venue.state, BTC, replace(leaf, marked_at=Timestamp(0)))


@pytest.mark.parametrize(
    ("prepare", "changes", "fault"),
    [
        (None, {"market": MarketId(999)}, Fault.UNKNOWN_MARKET),
        (None, {"market": GRID}, Fault.UNKNOWN_MARKET),
        (close_market, {}, Fault.INACTIVE),
        (lambda venue: venue.halt(UNDERLYING), {}, Fault.HALTED),
        (age_mark, {}, Fault.STALE_MARK),
        (lambda venue: venue.move_index(UNDERLYING, 1_011), {}, Fault.STALE_MARK),
        (None, {"account": AccountId(77)}, Fault.UNKNOWN_ACCOUNT),
        (None, {"expiry": Timestamp(GENESIS - 1)}, Fault.ORDER_EXPIRED),
        (None, {"epoch": 1}, Fault.ORDER_EPOCH),
        (None, {"signer": make_address(0xB0)}, Fault.BAD_SIGNATURE),
        (None, {"slot": 4096}, Fault.OUT_OF_RANGE),
        (None, {"slot": -1}, Fault.OUT_OF_RANGE),
        (None, {"price": 10 * 2**63}, Fault.OUT_OF_RANGE),
        (None, {"price": -10}, Fault.OUT_OF_RANGE),
        (None, {"size": 2**31}, Fault.OUT_OF_RANGE),
        (None, {"size": -1}, Fault.OUT_OF_RANGE),
        (None, {"nonce": 2**31}, Fault.OUT_OF_RANGE),
        (None, {"expiry": Timestamp(GENESIS + 2**31)}, Fault.OUT_OF_RANGE),
        (None, {"price": 0}, Fault.ZERO_AMOUNT),
        (None, {"size": 0}, Fault.ZERO_AMOUNT),
        (None, {"price": 1_001}, Fault.TICK),
        (None, {"nonce": 0}, Fault.ORDER_NONCE),
        (None, {"post_only": True, "time_in_force": TimeInForce.IOC}, Fault.TIME_IN_FORCE),
        (None, {"post_only": True, "time_in_force": TimeInForce.FOK}, Fault.TIME_IN_FORCE),
        (None, {"reduce_only": True}, Fault.REDUCE_ONLY),
        (lambda venue: venue.hold(ALICE, 5), {"reduce_only": True}, Fault.REDUCE_ONLY),
        (lambda venue: venue.set_cash(ALICE, 0), {}, Fault.MARGIN),
    ],
)
def test_submit__broken_rule__rejected_and_nothing_changed(
    prepare: Callable[[Venue], None] | None, changes: dict[str, object], fault: Fault
) -> None:
    venue = Venue()
    if prepare is not None:
        prepare(venue)
    accounts, meter = dict(venue.state.accounts), venue.state.meter
    weight = meter.gas, meter.witness
    fields = {"account": ALICE, "slot": 1, "is_buy": True, "price": 1_000, "size": 10, **changes}
    execution = venue.submit(**fields)  # type: ignore[arg-type]
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, fault)
    assert execution.filled == 0
    assert execution.fills == ()
    assert execution.cancelled_makers == ()
    assert venue.state.accounts == accounts
    assert venue.state.meter is meter
    assert (meter.gas, meter.witness) == weight
    assert len(venue.engine) == 0
    assert venue.engine.best(BTC) == (None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"expiry": GENESIS},
        {"expiry": Timestamp(GENESIS + 2**31 - 1)},
        {"slot": 4095},
        {"size": 2**31 - 1},
        {"nonce": 2**31 - 1},
        {"price": 10},
    ],
)
def test_submit__at_the_edge_of_a_rule__rests(changes: dict[str, object]) -> None:
    venue = Venue(cash={ALICE: 10**20})
    fields = {"account": ALICE, "slot": 1, "is_buy": True, "price": 1_000, "size": 10, **changes}
    assert venue.submit(**fields).status == OrderStatus.RESTING  # type: ignore[arg-type]


def test_submit__trading_key_alive__rests() -> None:
    venue = Venue()
    venue.set_key(ALICE, KEY, GENESIS)
    assert venue.rest(ALICE, 1, True, 1_000, 1, signer=KEY).signer == KEY


def test_submit__trading_key_expired__bad_signature() -> None:
    venue = Venue()
    venue.set_key(ALICE, KEY, Timestamp(GENESIS - 1))
    assert venue.submit(ALICE, 1, True, 1_000, 1, signer=KEY).reason == Fault.BAD_SIGNATURE


def test_submit__zero_key_that_never_expires__bad_signature() -> None:
    venue = Venue()
    venue.set_key(ALICE, ZERO_ADDRESS, Timestamp(2**40 - 1))
    execution = venue.submit(ALICE, 1, True, 1_000, 1, signer=ZERO_ADDRESS)
    assert execution.reason == Fault.BAD_SIGNATURE


def test_submit__nonce_of_a_cancelled_order__order_nonce() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, True, 1_000, 1, nonce=7)
    venue.engine.cancel(ALICE, SlotId(1))
    assert venue.submit(ALICE, 1, True, 1_000, 1, nonce=7).reason == Fault.ORDER_NONCE
    venue.rest(ALICE, 1, True, 1_000, 1, nonce=8)


def test_submit__nonce_of_a_rejected_order__may_be_used() -> None:
    venue = Venue()
    assert venue.submit(ALICE, 1, True, 1_001, 1, nonce=7).reason == Fault.TICK
    venue.rest(ALICE, 1, True, 1_000, 1, nonce=7)


def test_submit__nonce_of_a_filled_order__order_nonce() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, True, 1_000, 1, nonce=7)
    venue.submit(BOB, 1, False, 1_000, 1)
    venue.engine.nonces.clear()
    assert venue.submit(ALICE, 1, True, 1_000, 1, nonce=7).reason == Fault.ORDER_NONCE


def test_submit__price_outside_band__rests() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, True, 500, 1)
    venue.rest(BOB, 1, False, 2_000, 1)


def test_submit__resting_margin__counts_the_full_fill_and_its_fee() -> None:
    # 100 lots bought at the mark: 120 % of the worst loss of 160 a lot, 3 % of 1,000, 10 of fees.
    needed = 100 * (192 + 30) + 10
    short = Venue(cash={ALICE: needed - 1})
    assert short.submit(ALICE, 1, True, 1_000, 100).reason == Fault.MARGIN
    enough = Venue(cash={ALICE: needed})
    enough.rest(ALICE, 1, True, 1_000, 100)


def test_submit__smaller_shortfall__rests() -> None:
    venue = Venue(cash={ALICE: 0})
    venue.hold(ALICE, 100)
    venue.set_cash(ALICE, -90_000)
    venue.rest(ALICE, 1, False, 1_000, 60)
    assert venue.submit(ALICE, 2, True, 1_000, 1).reason == Fault.MARGIN


def test_submit__reduce_only_larger_than_position__margin_of_what_it_can_reduce() -> None:
    venue = Venue(cash={ALICE: 0})
    venue.hold(ALICE, 5)
    assert venue.rest(ALICE, 1, False, 1_000, 10**9, reduce_only=True).remaining == 10**9


def test_submit__sixty_fifth_position__position_limit() -> None:
    venue = Venue()
    holder = venue.state.accounts[ALICE]
    leaf = venue.state.markets[ETH]
    positions = tuple(Position(MarketId(1_000 + n), 1, 0) for n in range(64))
    for entry in positions:
        set_market(venue.state, entry.series, leaf)
    set_account(venue.state, ALICE, replace(holder, positions=positions))
    assert venue.submit(ALICE, 1, True, 1_000, 1).reason == Fault.POSITION_LIMIT


def test_submit__holding_a_stale_series__stale_mark() -> None:
    venue = Venue()
    venue.hold(ALICE, 1, ETH)
    leaf = venue.state.markets[ETH]
    assert isinstance(leaf, Series)
    set_market(venue.state, ETH, replace(leaf, marked_at=Timestamp(0)))
    assert venue.submit(ALICE, 1, True, 1_000, 1).reason == Fault.STALE_MARK
