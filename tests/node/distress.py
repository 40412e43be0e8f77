"""A venue where somebody is in distress, and an expiry to sign surfaces for."""

from dataclasses import replace

from deltaroll.node.store import Store
from deltaroll.protocol.configure import encode_configure_expiry, encode_configure_series
from deltaroll.protocol.constants import ONE
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Liquidate,
    MarketId,
    MessageKind,
    SeriesKind,
    SeriesStatus,
    Surface,
    Timestamp,
)
from deltaroll.sdk.signing import Signer
from tests.node.support import (
    DOMAIN,
    GENESIS,
    INDEX,
    MEMBERS,
    OWNERS,
    PRICE,
    Venue,
    make_order,
)

ADA, BLAISE, CARL, DANIEL, ADA_TOO = map(AccountId, range(1, 6))
LOTS = 900
"""About as many as Ada's initial margin allows."""
LOW = PRICE * 83 // 100
"""The index at which she is below maintenance margin."""
FALL = (PRICE * 83 // 100, PRICE * 70 // 100)
"""Indices on the way to where she owes money."""
EXPIRY, CALL, PUT = MarketId(20), MarketId(21), MarketId(22)
EXPIRY_TIME = compute_boundary(compute_day(GENESIS + 30 * 86_400))
STRIKE = 50_000


def open_venue(store: Store | None = None) -> Venue:
    """Ada is long, Blaise is short; there is an expiry with one strike."""
    venue = Venue(store).open()
    option = (SeriesStatus.ACTIVE, INDEX, EXPIRY, STRIKE)
    for body in (
        encode_configure_expiry(EXPIRY, INDEX, EXPIRY_TIME),
        encode_configure_series(CALL, SeriesKind.CALL, *option),
        encode_configure_series(PUT, SeriesKind.PUT, *option),
    ):
        venue.consume(MessageKind.CONFIGURE, ZERO_ADDRESS, body)
    venue.submit(BLAISE, 0, make_order(size=LOTS, is_buy=False))
    venue.submit(ADA, 0, make_order(size=LOTS))
    assert venue.state.accounts[ADA].positions[0].size == LOTS
    venue.sequencer.flush()
    return venue


def open_distressed(store: Store | None = None, indices: tuple[int, ...] = (LOW,)) -> Venue:
    """Then the index falls, and Ada's auction has begun."""
    venue = open_venue(store)
    for index in indices:
        pass_time(venue, 12)
        venue.observe(index)
    assert venue.state.accounts[ADA].distressed_at == GENESIS + 12
    venue.sequencer.flush()
    return venue


def open_insolvent(store: Store | None = None) -> Venue:
    """It falls so far that she owes money."""
    return open_distressed(store, FALL)


def pass_time(venue: Venue, seconds: int) -> None:
    venue.sequencer.set_clock(venue.sequencer.clock + seconds)


def give_insurance(venue: Venue, amount: int) -> None:
    """Money for the insurance fund that no log explains."""
    held = venue.state.globals
    venue.state.globals = replace(held, insurance=amount, insurance_peak=amount)


def make_surface(time: int, signers: int = 0b11, market: MarketId = EXPIRY) -> Surface:
    sigma, level = ONE // 10, ONE // 50
    return Surface(
        market, signers, ONE, ONE // 50, level, ONE // 10, -ONE // 4, 0, sigma, Timestamp(time)
    )


def sign_surface(surface: Surface, member: int) -> bytes:
    return MEMBERS[member].sign_surface(DOMAIN, surface)


def sign_bid(bid: Liquidate, signer: Signer | None = None) -> bytes:
    key = OWNERS[bid.account] if signer is None else signer
    return key.sign_action(DOMAIN, bid)
