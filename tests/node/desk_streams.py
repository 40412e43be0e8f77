"""Random use of the order desk, and a listener that checks every step of what comes of it."""

import random
from dataclasses import dataclass, field

from deltaroll.engine.matching import SelfTradePolicy
from deltaroll.node.admission import RejectedError, Terms, Trigger
from deltaroll.node.events import BookChange, OrderState, OrderUpdate, Step, Trade
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.types import AccountId, MarketId, SlotId, TimeInForce
from tests.node.support import (
    ACCOUNTS,
    INDEX,
    OTHER_INDEX,
    OWNERS,
    PERPS,
    PRICE,
    TICK,
    Venue,
    compute_fingerprint,
    make_order,
)

ENDS = {OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED}
ALIVE = {OrderState.RESTING, OrderState.PARTIALLY_FILLED}
NEXT = {
    None: {OrderState.HELD, *ALIVE, *ENDS},
    OrderState.HELD: {OrderState.TRIGGERED, OrderState.CANCELLED, OrderState.EXPIRED},
    OrderState.TRIGGERED: {*ALIVE, *ENDS},
    OrderState.RESTING: {OrderState.PARTIALLY_FILLED, *ENDS},
    OrderState.PARTIALLY_FILLED: {OrderState.PARTIALLY_FILLED, *ENDS},
}
"""What may follow in an order's life."""


@dataclass
class Auditor:
    """Follows the steps and knows nothing else."""

    steps: list[Step] = field(default_factory=list)
    orders: dict[tuple[int, int, int], OrderUpdate] = field(default_factory=dict)
    books: dict[tuple[int, bool], dict[int, int]] = field(default_factory=dict)

    def __call__(self, steps: list[Step]) -> None:
        for step in steps:
            assert not self.steps or step.sequence > self.steps[-1].sequence
            self.steps.append(step)
            traded: dict[tuple[int, int, int], int] = {}
            for event in step.events:
                match event:
                    case OrderUpdate():
                        self.follow(event, traded)
                    case Trade():
                        for key in get_keys(event):
                            traded[key] = traded.get(key, 0) + event.lots
                    case BookChange():
                        self.change(event)

    def follow(self, event: OrderUpdate, traded: dict[tuple[int, int, int], int]) -> None:
        key = event.account, event.slot, event.nonce
        before = self.orders.get(key)
        if event.state == OrderState.REJECTED and before is not None:
            # A nonce that is used already: the order that has it is another one.
            if before.state not in (OrderState.HELD, OrderState.TRIGGERED):
                return
            if before.state == OrderState.HELD:
                return
        if before is not None and before.state in ENDS:
            # Likewise, after the other one's end; a rejected one may be tried again.
            assert before.state == OrderState.REJECTED, (before, event)
            before = None
        assert event.state in NEXT[None if before is None else before.state], (before, event)
        left = event.size if before is None else before.remaining
        lots = traded.pop(key, 0)
        assert event.remaining == left - lots, (before, event)
        assert (event.state == OrderState.FILLED) == (event.remaining == 0)
        self.orders[key] = event

    def change(self, event: BookChange) -> None:
        for is_bid, levels in ((True, event.bids), (False, event.asks)):
            side = self.books.setdefault((event.market, is_bid), {})
            for price, lots in levels:
                if lots:
                    side[price] = lots
                else:
                    side.pop(price, None)
        bids = self.books[event.market, True]
        asks = self.books[event.market, False]
        assert not bids or not asks or max(bids) < min(asks)

    def check(self, sequencer: Sequencer) -> None:
        """What was told is what is there."""
        alive = {
            (resting.account, resting.slot, resting.order.nonce): resting.remaining
            for resting in sequencer.engine.get_orders()
        }
        told = {
            key: update.remaining for key, update in self.orders.items() if update.state in ALIVE
        }
        assert told == alive
        held = {
            (held.entry.order.account, held.entry.order.slot, held.entry.order.nonce)
            for held in sequencer.desk.triggers.get_all()
        }
        waiting = {key for key, update in self.orders.items() if update.state == OrderState.HELD}
        assert waiting == held
        for market in sequencer.engine.get_markets():
            depth = sequencer.engine.depth(market, 1_000)
            for is_bid, levels in ((True, depth.bids), (False, depth.asks)):
                there = {level.price: level.lots for level in levels}
                assert self.books.get((market, is_bid), {}) == there


def get_keys(trade: Trade) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    return (
        (trade.maker, trade.maker_slot, trade.maker_nonce),
        (trade.taker, trade.taker_slot, trade.taker_nonce),
    )


def play(venue: Venue, dice: random.Random) -> None:
    """Let something reach the desk; what is refused at the door leaves no trace."""
    sequencer = venue.sequencer
    account = dice.choice(ACCOUNTS)
    slot = SlotId(dice.randrange(4))
    underlying = dice.choice((INDEX, OTHER_INDEX))
    try:
        match dice.choices(range(9), (70, 4, 3, 2, 4, 6, 4, 6, 1))[0]:
            case 0:
                submit(venue, dice, account, slot)
            case 1:
                sequencer.cancel(account, slot)
            case 2:
                sequencer.cancel_named(account, str(dice.randrange(20)))
            case 3:
                sequencer.cancel_all(account, dice.choice((None, *PERPS)))
            case 4:
                sequencer.set_dead_man(account, dice.choice((0, 2, 9)))
            case 5:
                lots, fills = dice.choice(((5, 0), (0, 1), (8, 2)))
                sequencer.protect(account, underlying, dice.choice((0, 5, 60, 60)), lots, fills)
            case 6:
                sequencer.resume(account, underlying)
            case 7:
                sequencer.set_clock(sequencer.clock + dice.choice((1, 3, 12)))
                for index in (INDEX, OTHER_INDEX):
                    venue.observe(PRICE + dice.randint(-60, 60), index=index)
            case _:
                epoch_of = account.to_bytes(4, "big")
                venue.consume(3, OWNERS[account].address, epoch_of)
    except RejectedError:
        pass


def submit(venue: Venue, dice: random.Random, account: AccountId, slot: SlotId) -> None:
    sequencer = venue.sequencer
    market = dice.choice(tuple(PERPS))
    last = sequencer.engine.nonces.get((account, slot), 0)
    kind = dice.choice((*[TimeInForce.GTC] * 4, TimeInForce.IOC, TimeInForce.FOK))
    order = make_order(
        PRICE + dice.randint(-6, 6) * TICK,
        dice.randint(1, 12),
        is_buy=dice.random() < 0.5,
        market=market,
        nonce=max(1, last + dice.choice((1, 1, 1, 2, 0))),
        epoch=sequencer.state.accounts[account].epoch,
        expiry=sequencer.clock + dice.choice((2, 60, 3_600)),
        time_in_force=kind,
        post_only=kind == TimeInForce.GTC and dice.random() < 0.1,
        reduce_only=dice.random() < 0.1,
    )
    terms = Terms(
        str(dice.randrange(20)) if dice.random() < 0.3 else "",
        dice.choice((None, *SelfTradePolicy)),
        dice.random() < 0.4,
        dice.choice((None, None, None, last)),
        make_trigger(dice, market) if dice.random() < 0.2 else None,
    )
    signature = OWNERS[account].sign_order(venue.domain, account, slot, order)
    sequencer.submit_order(account, slot, order, signature, terms)


def make_trigger(dice: random.Random, market: MarketId) -> Trigger:
    return Trigger(dice.random() < 0.5, dice.random() < 0.5, PRICE + dice.randint(-80, 80))


def compute_desk(sequencer: Sequencer) -> tuple[object, ...]:
    """Everything that a restart must give back, the desk's own included."""
    desk = sequencer.desk
    return (
        compute_fingerprint(sequencer),
        [(resting.client_id, resting.is_quote) for resting in sequencer.engine.get_orders()],
        desk.ids.get_all(),
        desk.triggers.get_all(),
        desk.dead_men.get_all(),
        desk.protections.get_all(),
    )
