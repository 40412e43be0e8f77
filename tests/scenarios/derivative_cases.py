"""Batches that break a rule of options, funding, expiries, auctions: see `test_every_fault`."""

from __future__ import annotations

from dataclasses import replace

from deltaroll.protocol.bits import BitWriter, encode_bits
from deltaroll.protocol.codec import CLOCK_BITS, KIND_BITS, TABLE_BITS
from deltaroll.protocol.constants import AUCTION_SECONDS, MAX_DATA_FEE, ONE
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import (
    DataFee,
    Distress,
    Fund,
    Kind,
    List,
    SlotId,
    Socialise,
    Sweep,
    Timestamp,
    Underlying,
)
from tests.scenarios.registry import case
from tests.scenarios.support import (
    ALICE,
    BOB,
    BTC,
    BTC_NEXT,
    BTC_PERP,
    CALL,
    DAVE,
    ERIN,
    ETH,
    EXPIRY,
    GINA,
    LISTED,
    MOON,
    NOBODY,
    NOWHERE,
    OPTION_PRICE,
    PARAMS,
    PUT,
    Chunk,
    Lab,
    Lie,
)

OF_CALL = {"price": OPTION_PRICE}

# SURFACE: what no arbitrage-free surface says
#
# | the surface |
# |---|
# | variance below zero at its minimum |
# | wings steeper than Lee's bound |
# | correlation of one |
# | a forward four times the index and more |


@case(Fault.SURFACE)
def surface__negative_variance(lab: Lab) -> Lie:
    return lab.lie(lab.surface(a=-ONE))


@case(Fault.SURFACE)
def surface__steep_wings(lab: Lab) -> Lie:
    return lab.lie(lab.surface(b=2 * ONE + 1))


@case(Fault.SURFACE)
def surface__full_correlation(lab: Lab) -> Lie:
    return lab.lie(lab.surface(rho=ONE))


@case(Fault.SURFACE)
def surface__far_forward(lab: Lab) -> Lie:
    return lab.lie(lab.surface(ratio=4 * ONE + 1))


# NOT_DUE
#
# | the chunk |
# |---|
# | lists an expiry further ahead than the rule goes |
# | lists for an underlying without a rule |
# | lists the same expiry twice |
# | sweeps an account with nothing settled |
# | calls a healthy account distressed |


@case(Fault.NOT_DUE)
def not_due__too_far_ahead(lab: Lab) -> Lie:
    return lab.lie(lab.plain(List(ETH, LISTED.list_expiries)))


@case(Fault.NOT_DUE)
def not_due__no_rule(lab: Lab) -> Lie:
    return lab.lie(lab.plain(List(BTC, 0)))


@case(Fault.NOT_DUE)
def not_due__listed_twice(lab: Lab) -> Lie:
    return lab.lie(lab.plain(List(ETH, 1)), lab.plain(List(ETH, 1)))


@case(Fault.NOT_DUE)
def not_due__nothing_settled(lab: Lab) -> Lie:
    return lab.lie(lab.plain(Sweep(ALICE)))


@case(Fault.NOT_DUE)
def not_due__healthy(lab: Lab) -> Lie:
    return lab.lie(lab.plain(Distress(ALICE)))


# SOLVENT, SHARE, REWARD, INSURANCE: Gina is long all that she can carry
#
# | before | the chunk |
# |---|---|
# | nothing | Erin takes from Gina, who is well |
# | nothing | Erin takes from Gina, who is well; the loss of Alice, who has none, is socialised |
# | BTC falls 8 %, Gina is distressed | Erin takes more than restores her |
# | | Erin takes nothing |
# | | Erin asks for more than the auction gives yet |
# | BTC falls by a quarter in three steps, Gina owes | Erin takes over; the fund is empty |


@case(Fault.SOLVENT)
def solvent__liquidated(lab: Lab) -> Lie:
    return lab.lie(lab.liquidate())


@case(Fault.SOLVENT)
def solvent__socialised(lab: Lab) -> Lie:
    return lab.lie(lab.plain(Socialise(ALICE)))


@case(Fault.SHARE)
def share__too_much(lab: Lab) -> Lie:
    return lab.lie(*lab.fall(92), lab.plain(Distress(GINA)), lab.liquidate())


@case(Fault.SHARE)
def share__nothing(lab: Lab) -> Lie:
    return lab.lie(*lab.fall(92), lab.plain(Distress(GINA)), lab.liquidate(share=0))


@case(Fault.REWARD)
def reward__too_early(lab: Lab) -> Lie:
    bid = lab.liquidate(share=1_000, reward=900_000)
    return lab.lie(*lab.fall(92), lab.plain(Distress(GINA)), bid)


@case(Fault.INSURANCE)
def insurance__empty(lab: Lab) -> Lie:
    return lab.lie(*lab.fall(91, 91, 91), lab.plain(Distress(GINA)), lab.liquidate())


# SELF_TRADE, ACTION_NONCE, UNKNOWN_ACCOUNT, MARGIN of auctions
#
# | the chunk |
# |---|
# | Gina takes over herself |
# | Erin takes twice with one nonce |
# | somebody takes from an account that does not exist |
# | the account of nobody is swept, socialised, called distressed |


@case(Fault.SELF_TRADE)
def self_trade__liquidates_oneself(lab: Lab) -> Lie:
    bid = lab.liquidate(account=GINA, nonce=200)
    return lab.lie(*lab.fall(92), lab.plain(Distress(GINA)), bid)


@case(Fault.ACTION_NONCE)
def action_nonce__bid_twice(lab: Lab) -> Lie:
    bid = lab.liquidate(share=1_000)
    return lab.lie(*lab.fall(92), lab.plain(Distress(GINA)), bid, bid)


@case(Fault.UNKNOWN_ACCOUNT)
def unknown_account__liquidated(lab: Lab) -> Lie:
    return lab.lie(lab.liquidate(target=NOBODY))


@case(Fault.UNKNOWN_ACCOUNT)
def unknown_account__swept(lab: Lab) -> Lie:
    return lab.lie(lab.plain(Sweep(NOBODY)))


@case(Fault.UNKNOWN_ACCOUNT)
def unknown_account__distressed(lab: Lab) -> Lie:
    return lab.lie(lab.plain(Distress(NOBODY)))


@case(Fault.UNKNOWN_ACCOUNT)
def unknown_account__socialised(lab: Lab) -> Lie:
    return lab.lie(lab.plain(Socialise(NOBODY)))


# Fills of options
#
# | before | the chunk |
# |---|---|
# | nothing | an order that outlives the option |
# | the options have expired | a fill in them |
# | the surface is too old | a fill in them |
# | nothing | a price further from the mark than the band, of the index |
# | nothing | Frank, who has ten dollars, sells a call |


@case(Fault.ORDER_EXPIRED)
def order_expired__outlives_its_option(lab: Lab) -> Lie:
    late = {**OF_CALL, "expiry": Timestamp(lab.time + 90 * 86_400)}
    return lab.lie(lab.fill(market=CALL, of_maker=late, of_taker=OF_CALL))


@case(Fault.HALTED)
def halted__old_surface(lab: Lab) -> Lie:
    lab.advance(PARAMS.max_surface_age + 60)
    return lab.lie(
        lab.observe(BTC, 60_000_000),
        lab.fill(market=CALL, of_maker=OF_CALL, of_taker=OF_CALL),
    )


@case(Fault.HALTED)
def halted__mark_without_surface(lab: Lab) -> Lie:
    lab.advance(PARAMS.max_surface_age + 60)
    return lab.lie(lab.observe(BTC, 60_000_000), lab.mark(CALL, 2))


@case(Fault.PRICE_BAND)
def price_band__of_an_option(lab: Lab) -> Lie:
    far = {"price": OPTION_PRICE * 2}
    return lab.lie(lab.fill(market=CALL, of_maker=far, of_taker=far))


# Oracles and listings
#
# | the chunk |
# |---|
# | a surface by two of five |
# | a surface as old as the one before |
# | a surface of something that is no expiry |
# | a surface by a member that there is not: no key is its |
# | funding of an option |
# | funding of nothing |
# | a listing where there is no price |
# | a listing of nothing |


@case(Fault.QUORUM)
def quorum__surface_by_two(lab: Lab) -> Lie:
    return lab.lie(lab.surface(members=2))


@case(Fault.QUORUM)
def quorum__surface_replayed(lab: Lab) -> Lie:
    seen = lab.surface()
    return lab.lie(seen, seen)


@case(Fault.BAD_SIGNATURE, also=Fault.UNKNOWN_MARKET)
def bad_signature__surface_of_no_expiry(lab: Lab) -> Lie:
    return lab.lie(lab.surface(BTC_PERP))


@case(Fault.BAD_SIGNATURE)
def bad_signature__changed_surface(lab: Lab) -> Lie:
    signed = lab.surface()
    return lab.lie(replace_transaction(signed, rate=1))


@case(Fault.BAD_SIGNATURE)
def bad_signature__bid_by_another(lab: Lab) -> Lie:
    bid = lab.liquidate(share=1_000, signer=BOB)
    return lab.lie(*lab.fall(92), lab.plain(Distress(GINA)), bid)


@case(Fault.INACTIVE)
def inactive__funding_of_an_option(lab: Lab) -> Lie:
    return lab.lie(lab.plain(Fund(CALL)))


@case(Fault.UNKNOWN_MARKET)
def unknown_market__funded(lab: Lab) -> Lie:
    return lab.lie(lab.plain(Fund(NOWHERE)))


@case(Fault.UNKNOWN_MARKET)
def unknown_market__listed(lab: Lab) -> Lie:
    return lab.lie(lab.plain(List(NOWHERE, 0)))


@case(Fault.NOT_DUE)
def not_due__never_observed(lab: Lab) -> Lie:
    return lab.lie(lab.plain(List(MOON, 0)))


# DataFee
#
# | the chunk |
# |---|
# | sets more than four times the base fee level |
# | sets a fee of a kind to come |


@case(Fault.OUT_OF_RANGE)
def out_of_range__data_fee(lab: Lab) -> Lie:
    level = lab.state.globals.base_fee_level
    return lab.lie(lab.plain(DataFee(MAX_DATA_FEE * (level + 10**12))))


@case(Fault.UNKNOWN_KIND)
def unknown_kind__kept_for_later(lab: Lab) -> Lie:
    writer = BitWriter()
    encode_bits(writer, lab.time, CLOCK_BITS)
    encode_bits(writer, 0, TABLE_BITS.bit_length())
    encode_bits(writer, 0, TABLE_BITS.bit_length())
    encode_bits(writer, Kind.DATA_FEE, KIND_BITS)
    encode_bits(writer, 1, KIND_BITS)
    return Lie((Chunk(writer.to_bytes(), b""),))


# WRONG_POST_ROOT of everything that is new: the root says that it never happened
#
# | the chunk |
# |---|
# | a surface, and the marks from it |
# | a listing |
# | funding |
# | distress, and a part of Gina taken over |
# | the loss of Gina, who owes, socialised |


def forget(lab: Lab, *signed: object) -> Lie:
    """Return a batch whose root is that of the state before."""
    return lab.lie(*signed, root=lab.head.post_root)


@case(Fault.WRONG_POST_ROOT)
def wrong_post_root__marks_of_options(lab: Lab) -> Lie:
    return forget(lab, lab.surface(a=ONE // 30), lab.mark(CALL, 2))


@case(Fault.WRONG_POST_ROOT)
def wrong_post_root__put_alone(lab: Lab) -> Lie:
    return forget(lab, lab.surface(a=ONE // 30), lab.mark(PUT))


@case(Fault.WRONG_POST_ROOT)
def wrong_post_root__listing(lab: Lab) -> Lie:
    return forget(lab, lab.plain(List(ETH, 1)))


@case(Fault.WRONG_POST_ROOT)
def wrong_post_root__funding(lab: Lab) -> Lie:
    return forget(lab, lab.plain(Fund(BTC_NEXT)))


@case(Fault.WRONG_POST_ROOT)
def wrong_post_root__fill_of_an_option(lab: Lab) -> Lie:
    return forget(
        lab, lab.fill(maker=DAVE, taker=ERIN, market=CALL, of_maker=OF_CALL, of_taker=OF_CALL)
    )


@case(Fault.WRONG_POST_ROOT)
def wrong_post_root__liquidation(lab: Lab) -> Lie:
    return forget(lab, *lab.fall(92), lab.plain(Distress(GINA)), lab.liquidate(share=100_000))


@case(Fault.WRONG_POST_ROOT)
def wrong_post_root__socialised(lab: Lab) -> Lie:
    return forget(lab, *lab.fall(91, 91, 91), lab.plain(Socialise(GINA)))


@case(Fault.WRONG_POST_ROOT)
def wrong_post_root__force_close(lab: Lab) -> Lie:
    venue = lab.venue
    venue.send(venue.contracts.bridge.forceClose, BOB, CALL, 1, sender=venue.owners[BOB])
    lab.sync()
    return forget(lab, lab.queue())


@case(Fault.WRONG_POST_ROOT)
def wrong_post_root__settlement(lab: Lab) -> Lie:
    expire(lab)
    return forget(lab, lab.observe(BTC, 61_000_000), lab.mark(CALL, 2), lab.plain(Sweep(ALICE)))


@case(Fault.INACTIVE)
def inactive__expired(lab: Lab) -> Lie:
    expire(lab)
    seen = lab.observe(BTC, 61_000_000)
    fill = lab.fill(market=CALL, maker_slot=SlotId(7), of_maker=OF_CALL, of_taker=OF_CALL)
    return lab.lie(seen, fill)


@case(Fault.STALE_MARK)
def stale_mark__may_settle(lab: Lab) -> Lie:
    expire(lab)
    nonce = lab.state.accounts[ALICE].nonce + 100
    return lab.lie(
        lab.observe(BTC, 61_000_000),
        *(lab.mark(each) for each in (BTC_PERP, BTC_NEXT)),
        lab.withdraw(account=ALICE, nonce=nonce),
    )


def expire(lab: Lab) -> None:
    """Let time pass until the base's options have expired."""
    leaf = lab.state.markets[EXPIRY]
    index = lab.state.markets[BTC]
    assert isinstance(index, Underlying)
    time: int = leaf.time  # type: ignore[union-attr]
    lab.advance(time - lab.time + AUCTION_SECONDS)


def replace_transaction(signed, **changes):  # type: ignore[no-untyped-def]
    """Change a signed transaction and keep its signatures."""
    return signed._replace(transaction=replace(signed.transaction, **changes))
