"""What a transaction did to accounts, split into what it was. That it always adds up is for
`tests/readmodel/test_streams.py`."""

from dataclasses import replace

import pytest

from deltaroll.node.events import CashFlow, FlowKind, Trade
from deltaroll.protocol.state import State, set_account
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    MessageKind,
    TimeInForce,
    Timestamp,
    Transfer,
)
from tests.node.support import OWNERS, PARAMS, PRICE, Recorder, Venue, make_order

ADA, BLAISE, ADA_TOO = AccountId(1), AccountId(2), AccountId(5)
EMPTY = Account(ZERO_ADDRESS, ZERO_ADDRESS, Timestamp(0), 0, 0, 0, Timestamp(0), ())
PPM = 10**6


class Told:
    def __init__(self) -> None:
        self.events: list[object] = []

    def __call__(self, steps) -> None:
        self.events += [event for step in steps for event in step.events]

    def find(self, kind: type) -> list[object]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def venue(told):
    venue = Venue(Recorder()).open()
    venue.sequencer.listen(told)
    return venue


def test_get_accounts_before__written_twice_and_in_nested_groups__as_they_were_at_the_begin():
    state = State()
    set_account(state, ADA, EMPTY)
    state.begin()
    assert state.get_accounts_before() == {}
    set_account(state, ADA, replace(EMPTY, cash=1))
    state.begin()
    set_account(state, ADA, replace(EMPTY, cash=2))
    set_account(state, BLAISE, replace(EMPTY, cash=3))
    assert state.get_accounts_before() == {ADA: replace(EMPTY, cash=1), BLAISE: None}
    state.commit()
    assert state.get_accounts_before() == {ADA: EMPTY, BLAISE: None}


def test_fill__both_sides__have_paid_their_fees(venue, told):
    venue.submit(ADA, 0, make_order(PRICE, 3))
    venue.submit(BLAISE, 0, make_order(PRICE, 3, is_buy=False))
    venue.sequencer.flush()
    (trade,) = told.find(Trade)
    assert trade.taker_fee == -(-3 * PRICE * PARAMS.taker_fee // PPM)
    assert trade.maker_fee == -(-3 * PRICE * PARAMS.maker_fee // PPM)
    assert told.find(CashFlow) == []


def test_fill_or_kill__rolled_back_in_the_middle__leaves_no_fill(venue, told):
    """It meets an order of its owner after three of four lots."""
    venue.submit(BLAISE, 0, make_order(PRICE, 3))
    venue.submit(ADA, 0, make_order(PRICE, 1))
    killed = make_order(PRICE, 4, is_buy=False, time_in_force=TimeInForce.FOK)
    assert venue.submit(ADA_TOO, 0, killed).filled == 0
    venue.sequencer.flush()
    assert told.find(Trade) == []
    venue.submit(ADA_TOO, 0, replace(killed, size=3))
    venue.sequencer.flush()
    assert [trade.lots for trade in told.find(Trade)] == [3]


def test_transfer_and_deposit__what_came_and_went__is_told_of_each_account(venue, told):
    venue.act(Transfer(ADA, BLAISE, 7, 1))
    venue.act(Transfer(ADA, AccountId(0), 2, 2))
    venue.deposit(OWNERS[ADA].address, ADA, 5)
    venue.sequencer.flush()
    assert told.find(CashFlow) == [
        CashFlow(ADA, FlowKind.TRANSFER, -7, counterparty=BLAISE),
        CashFlow(BLAISE, FlowKind.TRANSFER, 7, counterparty=ADA),
        CashFlow(ADA, FlowKind.TRANSFER, -2, counterparty=0),
        CashFlow(ADA, FlowKind.DEPOSIT, 5),
    ]


def test_message__that_could_not_be_honoured__tells_of_nothing(venue, told):
    for kind in (MessageKind.FORCED, MessageKind.FORCE_CLOSE, MessageKind.DEPOSIT, 77):
        venue.consume(kind, OWNERS[ADA].address, b"\x00")
    venue.sequencer.flush()
    assert told.find(CashFlow) == told.find(Trade) == []
