"""The demo's flow without L1: the same orders, into a real sequencer on a real store."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deltaroll.demo.actors import SignedOrder, Trader, make_key, make_orders, observe
from deltaroll.demo.prices import read_closes
from deltaroll.demo.venue import (
    FUNDING,
    INDEX,
    KEY_LIFE,
    MAKERS,
    MEMBERS,
    PERPETUAL,
    THRESHOLD,
    TRADERS,
    compute_listing,
    make_dice,
)
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Address,
    Message,
    MessageKind,
    SetTradingKey,
    Timestamp,
    Transfer,
)
from deltaroll.sdk.signing import Signer

DOMAIN = compute_domain_separator(1, Address(bytes(19) + b"\x01"))
START = 1_700_000_000
SECONDS_PER_DAY = 60


@dataclass(slots=True)
class Flow:
    """A sequencer with funded traders, and what drives it."""

    sequencer: Sequencer
    committee: list[Signer]
    owners: list[Signer]
    traders: list[Trader]


def create_flow(path: Path) -> Flow:
    """Return a listed and funded venue whose L1 messages are made here."""
    sequencer = Sequencer(Store(path, DOMAIN), DOMAIN)
    sequencer.set_clock(START)
    committee = sorted(
        (make_key(f"oracle {member}") for member in range(MEMBERS)),
        key=lambda member: member.address,
    )
    owners = [make_key(f"owner of {name}") for name in TRADERS]
    bodies = [
        (MessageKind.CONFIGURE, ZERO_ADDRESS, body)
        for body in compute_listing(THRESHOLD, [member.address for member in committee])
    ]
    bodies += [
        (
            MessageKind.DEPOSIT,
            owner.address,
            owner.address + bytes(4) + FUNDING.to_bytes(16, "big"),
        )
        for owner in owners
    ]
    for index, (kind, sender, body) in enumerate(bodies):
        sequencer.consume_message(index, Message(kind, sender, Timestamp(START), body))
    traders = []
    for index, (name, owner) in enumerate(zip(TRADERS, owners, strict=True), 1):
        key = make_key(name)
        change = SetTradingKey(AccountId(index), key.address, Timestamp(START + KEY_LIFE), 1)
        sequencer.submit_action(change, owner.sign_action(DOMAIN, change))
        traders.append(Trader(name, AccountId(index), key, DOMAIN))
    sequencer.flush()
    return Flow(sequencer, committee, owners, traders)


def iterate_days(flow: Flow, seed: int = 1) -> Iterator[list[SignedOrder]]:
    """Yield each day's signed orders, with clock, observation and marks of that day in place."""
    dice = make_dice(seed)
    closes = read_closes()
    before = closes[0].price
    sequencer = flow.sequencer
    for day, close in enumerate(closes, 1):
        sequencer.set_clock(START + day * SECONDS_PER_DAY)
        clock = sequencer.clock
        sequencer.observe(INDEX, *observe(flow.committee, DOMAIN, INDEX, close.price, clock, dice))
        drift = close.price - before
        before = close.price
        yield make_orders(flow.traders, MAKERS, PERPETUAL, close.price, drift, clock, dice)
        if day % 10 == 0:
            takers = list(zip(flow.traders, flow.owners, strict=True))[MAKERS:]
            for place, (trader, owner) in enumerate(takers):
                recipient = takers[(place + 1) % len(takers)][0].account
                transfer = Transfer(trader.account, recipient, (25 + place) * 10**6, 1 + day)
                sequencer.submit_action(transfer, owner.sign_action(DOMAIN, transfer))
        sequencer.flush()
