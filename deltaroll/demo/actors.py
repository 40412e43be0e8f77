"""The people of the demo: an oracle committee, quoting traders and taking traders.

All randomness comes from one seeded generator, so a run can be repeated.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from deltaroll.demo.prices import TICK
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import (
    AccountId,
    MarketId,
    Observation,
    Order,
    SlotId,
    TimeInForce,
    Timestamp,
)
from deltaroll.sdk.signing import Signer

ORDER_LIFE = 3_600
"""Seconds until a demo order expires."""
ROUNDS_PER_DAY = 4
LEVELS = 4
SPREAD_PPM = 300
"""Distance of a maker's first quote from the index, parts per million."""
STEP_PPM = 250


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """An order with everything that the sequencer asks for."""

    account: AccountId
    slot: SlotId
    order: Order
    signature: bytes


@dataclass(slots=True)
class Trader:
    """An account with the key that trades for it."""

    name: str
    account: AccountId
    key: Signer
    domain: bytes
    nonces: dict[SlotId, int] = field(default_factory=dict)

    def sign(
        self,
        slot: SlotId,
        market: MarketId,
        is_buy: bool,
        price: int,
        size: int,
        clock: Timestamp,
        time_in_force: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
    ) -> SignedOrder:
        """Return a signed order with the slot's next nonce."""
        nonce = self.nonces.get(slot, 0) + 1
        self.nonces[slot] = nonce
        order = Order(
            market,
            is_buy,
            price,
            size,
            nonce,
            0,
            Timestamp(clock + ORDER_LIFE),
            time_in_force,
            post_only,
            False,
        )
        signature = self.key.sign_order(self.domain, self.account, slot, order)
        return SignedOrder(self.account, slot, order, signature)


def make_key(name: str) -> Signer:
    """Return a demo key: derived from its name, worthless outside a local chain."""
    return Signer(keccak(b"deltaroll demo key: " + name.encode()))


def to_tick(price: int) -> int:
    """Return the nearest multiple of the tick below."""
    return price // TICK * TICK


def quote(trader: Trader, market: MarketId, price: int, clock: Timestamp) -> Iterator[SignedOrder]:
    """Yield a maker's ladder around the index; each order replaces the one in its slot."""
    for level in range(LEVELS):
        away = price * (SPREAD_PPM + level * STEP_PPM) // 1_000_000
        size = 12 + 4 * level
        for is_buy in (True, False):
            slot = SlotId(level * 2 + int(is_buy))
            limit = to_tick(price - away) if is_buy else to_tick(price + away) + TICK
            yield trader.sign(slot, market, is_buy, limit, size, clock)


def take(
    trader: Trader, market: MarketId, price: int, drift: int, clock: Timestamp, dice: random.Random
) -> SignedOrder:
    """Return a taker's order: with the day's move more often than against it."""
    with_move = dice.randrange(100) < 62
    is_buy = with_move == (drift >= 0)
    reach = price * dice.choice((400, 700, 1_200)) // 1_000_000
    limit = to_tick(price + reach) if is_buy else to_tick(price - reach)
    kind = dice.choice((TimeInForce.IOC, TimeInForce.IOC, TimeInForce.GTC, TimeInForce.FOK))
    slot = SlotId(dice.randrange(4))
    return trader.sign(slot, market, is_buy, limit, dice.randint(1, 24), clock, kind)


def observe(
    committee: list[Signer],
    domain: bytes,
    market: MarketId,
    price: int,
    clock: Timestamp,
    dice: random.Random,
) -> tuple[tuple[Observation, ...], tuple[bytes, ...]]:
    """Return what each committee member saw and signed: the close, a few units apart."""
    observations = tuple(
        Observation(index, price + dice.randint(-200, 200), clock)
        for index in range(len(committee))
    )
    signatures = tuple(
        member.sign_observation(domain, market, observation)
        for member, observation in zip(committee, observations, strict=True)
    )
    return observations, signatures


def make_orders(
    traders: list[Trader],
    makers: int,
    market: MarketId,
    price: int,
    drift: int,
    clock: Timestamp,
    dice: random.Random,
) -> list[SignedOrder]:
    """Return one day's orders: the first `makers` traders quote, the others take in rounds."""
    orders = [order for maker in traders[:makers] for order in quote(maker, market, price, clock)]
    for _ in range(ROUNDS_PER_DAY):
        orders.extend(take(taker, market, price, drift, clock, dice) for taker in traders[makers:])
    return orders
