"""What a sequencer must refuse: a clear answer, and nothing has changed.

Every case is one line of JSON as a client sends it, good but for one thing, to the real sequencer
on the real base. What never gets past admission leaves no trace in the log either; what only the
book or the protocol can judge is in the log, so that a replay comes to the same refusal.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import pytest

from deltaroll.engine.orders import Depth
from deltaroll.node.intake import take_in
from deltaroll.node.requests import answer_line
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.recovery import HALF_ORDER
from deltaroll.protocol.state import compute_state_root
from deltaroll.protocol.types import (
    AccountId,
    Address,
    MarketId,
    Order,
    SlotId,
    TimeInForce,
    Timestamp,
    Transfer,
    Withdraw,
)
from tests.scenarios.support import (
    ALICE,
    BOB,
    BTC,
    BTC_PERP,
    CLOSED,
    ERIN,
    FRANK,
    MOON_PERP,
    NOBODY,
    NOWHERE,
    PRICES,
    TICK,
    Lab,
    Venue,
    order_with,
)

PRICE = PRICES[BTC]
SLOT = SlotId(50)
Fields = dict[str, Any]


class Snapshot(NamedTuple):
    """All that a refusal must leave alone."""

    root: bytes
    depth: Depth
    orders: int
    nonces: dict[Any, int]
    chunks: int


class Desk:
    """A sequencer with an order in its book and an open chunk, and a client that writes to it."""

    def __init__(self, lab: Lab) -> None:
        self.venue: Venue = lab.venue
        self.sequencer: Sequencer = lab.open_sequencer()
        take_in(self.sequencer, lab.follower)
        order_with(self.venue, self.sequencer, ALICE, SlotId(60), BTC_PERP, False, PRICE + TICK, 5)
        # The first transaction of a chunk moves the clock of the state, whatever becomes of the
        # next one.
        assert self.send(self.transfer(nonce=7)).get("error") is None

    @property
    def domain(self) -> bytes:
        return self.sequencer.domain

    def send(self, request: Fields | bytes) -> Fields:
        """Send one line and return the answer."""
        line = request if isinstance(request, bytes) else msgspec.json.encode(request)
        answer: Fields = msgspec.json.decode(answer_line(self.sequencer, line))
        return answer

    def look(self) -> Snapshot:
        """Return what there is now."""
        engine = self.sequencer.engine
        return Snapshot(
            compute_state_root(self.sequencer.state),
            engine.depth(BTC_PERP, 10),
            len(engine),
            dict(engine.nonces),
            self.sequencer.chunks_sealed,
        )

    def order(
        self, account: AccountId = BOB, domain: bytes | None = None, **changes: Any
    ) -> Fields:
        """Return a good order, signed after `changes` were made to it: it would fill three lots."""
        order = Order(
            BTC_PERP,
            True,
            PRICE + TICK,
            3,
            1,
            0,
            Timestamp(self.sequencer.clock + 600),
            TimeInForce.GTC,
            False,
            False,
        )
        slot = changes.pop("slot", SLOT)
        order = replace(order, **changes)
        key = self.venue.keys.get(account, self.venue.keys[BOB])
        try:
            signature = key.sign_order(domain or self.domain, account, slot, order)
        except OverflowError:
            # There is nothing to sign: the number fits no EIP-712 word.
            signature = bytes(64)
        return {
            "type": "order",
            "account": account,
            "slot": slot,
            "market": order.market,
            "is_buy": order.is_buy,
            "price": order.price,
            "size": order.size,
            "nonce": order.nonce,
            "expiry": order.expiry,
            "epoch": order.epoch,
            "signature": "0x" + signature.hex(),
        }

    def transfer(self, signer: AccountId = ERIN, **changes: Any) -> Fields:
        """Return a good transfer of one dollar, signed after `changes` were made to it."""
        transfer = replace(Transfer(ERIN, BOB, 10**6, 1_000), **changes)
        signature = self.venue.keys[signer].sign_action(self.domain, transfer)
        return {
            "type": "transfer",
            "sender": transfer.sender,
            "recipient": transfer.recipient,
            "amount": transfer.amount,
            "nonce": transfer.nonce,
            "signature": "0x" + signature.hex(),
        }

    def withdraw(self, **changes: Any) -> Fields:
        """Return a good withdrawal of one dollar."""
        owner = self.venue.keys[ERIN].address
        withdraw = replace(Withdraw(ERIN, owner, 10**6, 1_000), **changes)
        signature = self.venue.keys[ERIN].sign_action(self.domain, withdraw)
        return {
            "type": "withdraw",
            "account": withdraw.account,
            "recipient": "0x" + withdraw.recipient.hex(),
            "amount": withdraw.amount,
            "nonce": withdraw.nonce,
            "signature": "0x" + signature.hex(),
        }


@pytest.fixture
def desk(lab: Lab) -> Desk:
    return Desk(lab)


Draft = Callable[[Desk], Fields | bytes]


def changed(request: Fields, **fields: Any) -> Fields:
    """Return a request changed after it was signed; None leaves a field out."""
    return {name: value for name, value in {**request, **fields}.items() if value is not None}


def with_high_s(request: Fields) -> Fields:
    """Return a request whose s is half the order of the curve and one."""
    words = request["signature"][2:66] + f"{HALF_ORDER + 1:064x}"
    return changed(request, signature="0x" + words)


ELSEWHERE = compute_domain_separator(1, Address(b"\x11" * 20))

AT_ADMISSION: dict[str, tuple[Draft, str]] = {
    # Malformed or truncated
    "no JSON": (lambda desk: b"buy!", r"request: JSON is malformed"),
    "empty line": (lambda desk: b"", r"request: Input data was truncated"),
    "truncated": (
        lambda desk: msgspec.json.encode(desk.order())[:-9],
        r"request: Input data was truncated",
    ),
    "no price": (
        lambda desk: changed(desk.order(), price=None),
        r"request: .*missing required field `price`",
    ),
    "a field too many": (
        lambda desk: changed(desk.order(), leverage=20),
        r"request: .*unknown field `leverage`",
    ),
    "price as text": (
        lambda desk: changed(desk.order(), price="60"),
        r"request: Expected `int`, got `str` - at `\$.price`",
    ),
    "unknown type": (
        lambda desk: changed(desk.order(), type="borrow"),
        r"request: Invalid value 'borrow' - at `\$.type`",
    ),
    "signature no hex": (
        lambda desk: changed(desk.order(), signature="0xzz"),
        r"request: Expected `str` matching regex .* at `\$.signature`",
    ),
    # Signatures
    "wrong domain": (
        lambda desk: desk.order(domain=ELSEWHERE),
        r"signature: by 0x[0-9a-f]{40}, which may not trade for account 2",
    ),
    "another's signature": (
        lambda desk: changed(desk.order(), signature=desk.order(ALICE)["signature"]),
        r"signature: by 0x[0-9a-f]{40}, which may not trade for account 2",
    ),
    "changed after signing": (
        lambda desk: changed(desk.order(), size=4),
        r"signature: by 0x[0-9a-f]{40}, which may not trade for account 2",
    ),
    "high s": (
        lambda desk: with_high_s(desk.order()),
        r"signature: it proves nothing",
    ),
    "signature of 65 bytes": (
        lambda desk: changed(desk.order(), signature=desk.order()["signature"] + "1b"),
        r"signature: 65 bytes instead of 64",
    ),
    "signature of 63 bytes": (
        lambda desk: changed(desk.order(), signature=desk.order()["signature"][:-2]),
        r"signature: 63 bytes instead of 64",
    ),
    "no signature": (
        lambda desk: changed(desk.order(), signature="0x"),
        r"signature: 0 bytes instead of 64",
    ),
    # Expired; unknown account
    "expired": (
        lambda desk: desk.order(expiry=Timestamp(desk.sequencer.clock - 1)),
        r"expiry: \d+ is before the clock \d+",
    ),
    "unknown account": (lambda desk: desk.order(NOBODY), r"account: no account 1000"),
    "account 0": (lambda desk: desk.order(AccountId(0)), r"account: 0 is outside 1\.\.16777215"),
    # Zero, overflow, off the lot
    "price zero": (
        lambda desk: desk.order(price=0),
        r"price: 0 is outside 1\.\.9223372036854775807",
    ),
    "size zero": (lambda desk: desk.order(size=0), r"size: 0 is outside 1\.\.2147483647"),
    "half a lot": (
        lambda desk: changed(desk.order(), size=1.5),
        r"request: Expected `int`, got `float` - at `\$.size`",
    ),
    "negative size": (
        lambda desk: changed(desk.order(), size=-3),
        r"request: Expected `int` >= 0 - at `\$.size`",
    ),
    "price of 64 bits": (
        lambda desk: desk.order(price=2**63),
        r"price: 9223372036854775808 is outside 1\.\.9223372036854775807",
    ),
    "price of 300 bits": (
        lambda desk: desk.order(price=2**299),
        r"(price: \d+ is outside|request: Integer value out of range - at `\$.price`)",
    ),
    "size of 32 bits": (
        lambda desk: desk.order(size=2**31),
        r"size: 2147483648 is outside 1\.\.2147483647",
    ),
    "nonce of 32 bits": (
        lambda desk: desk.order(nonce=2**31),
        r"nonce: 2147483648 is outside 1\.\.2147483647",
    ),
    "slot of 13 bits": (
        lambda desk: desk.order(slot=SlotId(4_096)),
        r"slot: 4096 is outside 0\.\.4095",
    ),
    "series of 17 bits": (
        lambda desk: desk.order(market=MarketId(65_536)),
        r"market: 65536 is outside 1\.\.65535",
    ),
    "transfer of nothing": (
        lambda desk: desk.transfer(amount=0),
        r"amount: 0 is outside 1\.\.79228162514264337593543950335",
    ),
    "transfer of 97 bits": (
        lambda desk: desk.transfer(amount=2**96),
        r"amount: 79228162514264337593543950336 is outside 1\.\.",
    ),
    "transfer by another": (
        lambda desk: desk.transfer(signer=ALICE),
        r"signature: not by the owner of account 5",
    ),
    "withdrawal by a short signature": (
        lambda desk: changed(desk.withdraw(), signature="0x00"),
        r"signature: 1 bytes instead of 64",
    ),
    "withdrawal to 19 bytes": (
        lambda desk: changed(desk.withdraw(), recipient="0x" + "11" * 19),
        r"request: Expected `str` matching regex .* at `\$.recipient`",
    ),
}
"""What is refused before it reaches the log."""


@pytest.mark.parametrize("name", AT_ADMISSION)
def test_answer_line__bad_at_admission__refused_without_a_trace(desk: Desk, name: str) -> None:
    draft, complaint = AT_ADMISSION[name]
    request = draft(desk)
    before, sequence = desk.look(), desk.sequencer.store.next_sequence
    error = desk.send(request).get("error")
    assert error is not None
    assert re.search(complaint, error), error
    assert desk.look() == before
    assert desk.sequencer.store.next_sequence == sequence
    # The desk still works.
    assert desk.send(desk.order())["filled"] == 3


AFTER_ADMISSION: dict[str, tuple[Draft, str]] = {
    "unknown series": (lambda desk: desk.order(market=NOWHERE), "UNKNOWN_MARKET"),
    "underlying as series": (lambda desk: desk.order(market=BTC), "UNKNOWN_MARKET"),
    "series that does not trade": (lambda desk: desk.order(market=CLOSED), "INACTIVE"),
    "series never marked": (lambda desk: desk.order(market=MOON_PERP), "HALTED"),
    "price off the tick": (lambda desk: desk.order(price=PRICE + TICK + 1), "TICK"),
    "another epoch": (lambda desk: desk.order(epoch=1), "ORDER_EPOCH"),
    "insufficient margin to take": (lambda desk: desk.order(FRANK), "MARGIN"),
    "insufficient margin to rest": (lambda desk: desk.order(FRANK, price=PRICE - TICK), "MARGIN"),
    "transfer of more than there is": (
        lambda desk: desk.transfer(amount=2**60),
        "Transfer: refused by the protocol: MARGIN",
    ),
    "transfer to nobody": (
        lambda desk: desk.transfer(recipient=NOBODY),
        "Transfer: refused by the protocol: UNKNOWN_ACCOUNT",
    ),
    "transfer to oneself": (
        lambda desk: desk.transfer(recipient=ERIN),
        "Transfer: refused by the protocol: SELF_TRANSFER",
    ),
    "transfer replayed": (
        lambda desk: desk.transfer(nonce=7),
        "Transfer: refused by the protocol: ACTION_NONCE",
    ),
    "withdrawal of more than there is": (
        lambda desk: desk.withdraw(amount=2**60),
        "Withdraw: refused by the protocol: MARGIN",
    ),
    "withdrawal to the zero address": (
        lambda desk: desk.withdraw(recipient=Address(bytes(20))),
        "Withdraw: refused by the protocol: BAD_RECIPIENT",
    ),
}
"""What is well formed and well signed, but against a rule."""


@pytest.mark.parametrize("name", AFTER_ADMISSION)
def test_answer_line__against_a_rule__refused_by_its_name(desk: Desk, name: str) -> None:
    draft, complaint = AFTER_ADMISSION[name]
    request = draft(desk)
    before = desk.look()
    answer = desk.send(request)
    assert answer.get("error") == complaint
    assert answer.get("filled", 0) == 0
    assert desk.look() == before
    assert desk.send(desk.order())["filled"] == 3


def test_answer_line__order_replayed__refused(desk: Desk) -> None:
    # | Bob | then |
    # |---|---|
    # | buys three lots | sends the same line again |
    order = desk.order()
    assert desk.send(order)["filled"] == 3
    before = desk.look()
    assert desk.send(order)["error"] == "ORDER_NONCE"
    assert desk.look() == before
