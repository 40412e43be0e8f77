"""The ledger: both sides add up after anything, and what does not add up is seen."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from deltaroll.engine.ledger import compute_equity, count_open_sizes
from deltaroll.l1.types import DepositRefunded, EscapePaid, Stage
from deltaroll.node.audit import Audit, compute_audit
from deltaroll.node.follower import Closing
from deltaroll.protocol.realise import process_realise
from deltaroll.protocol.state import set_account, set_market
from deltaroll.protocol.types import (
    AccountId,
    Message,
    MessageKind,
    Position,
    Series,
    SeriesStatus,
    Timestamp,
    Withdraw,
)
from tests.node.l1 import FakeGateway, FakeL1
from tests.node.streams import make_stream
from tests.node.support import (
    CASH,
    INDEX,
    OWNERS,
    PERP,
    PRICE,
    Venue,
    encode_deposit,
    make_order,
    play,
)

ADA, BLAISE = AccountId(1), AccountId(2)


class Ledger:
    """What `compute_audit` needs of a follower, around any state."""

    def __init__(self) -> None:
        self.venue = Venue().open()
        self.l1 = FakeL1()
        self.l1.vault = len(OWNERS) * CASH
        self.follower = SimpleNamespace(
            state=self.venue.state,
            gateway=FakeGateway(self.l1),
            closing=None,
            find_reached=lambda: {Stage.SETTLED: SimpleNamespace(globals=self.venue.state.globals)},
        )

    def audit(self) -> Audit:
        return compute_audit(self.follower)  # type: ignore[arg-type]

    def trade(self, lots: int) -> None:
        self.venue.submit(ADA, 0, make_order(PRICE, lots, nonce=lots))
        self.venue.submit(BLAISE, 0, make_order(PRICE, lots, is_buy=False, nonce=lots))


@pytest.fixture
def ledger():
    return Ledger()


def test_compute_audit__deposits_only__equity_is_the_vault(ledger):
    audit = ledger.audit()
    assert audit.is_conserved
    assert audit.equity == audit.liabilities == audit.vault == len(OWNERS) * CASH


def test_compute_audit__trades_at_moving_marks__not_a_unit_is_missing(ledger):
    for turn, price in enumerate((PRICE, PRICE + 900, PRICE - 700), 1):
        ledger.venue.sequencer.set_clock(ledger.venue.sequencer.clock + 60)
        ledger.venue.observe(price, index=INDEX)
        ledger.venue.submit(ADA, 0, make_order(price // 10 * 10, 7 * turn, nonce=turn))
        sell = make_order(price // 10 * 10, 7 * turn, is_buy=False, nonce=turn)
        assert ledger.venue.submit(BLAISE, 0, sell).filled == 7 * turn
        audit = ledger.audit()
        assert audit.is_conserved
        assert audit.liabilities == audit.vault
    assert audit.fee_pool > 0


def test_compute_audit__any_long_stream__not_a_unit_is_missing(ledger):
    for operation in make_stream(random.Random(9), 400):
        play(ledger.venue, operation)
        kept = ledger.venue.state.globals
        ledger.l1.vault = kept.deposited
        assert ledger.audit().liabilities == ledger.l1.vault
    assert ledger.audit().is_conserved


def test_compute_audit__exit__is_owed_until_it_is_claimed(ledger):
    ledger.venue.act(Withdraw(ADA, OWNERS[ADA].address, 1_000, 1))
    before = ledger.audit()
    assert (before.exits, before.is_conserved) == (1_000, True)
    ledger.l1.claimed.add(0)
    ledger.l1.vault -= 1_000
    after = ledger.audit()
    assert (after.exits, after.is_conserved) == (0, True)
    assert after.liabilities == after.vault


def test_compute_audit__deposit_in_the_queue__is_owed_before_it_is_consumed(ledger):
    state = ledger.venue.state
    body = encode_deposit(OWNERS[ADA].address, 1, 500)
    message = replace(state.messages[len(state.messages) - 1], body=body)
    state.messages[state.globals.queue_index] = replace(message, kind=MessageKind.DEPOSIT)
    state.messages[state.globals.queue_index + 1] = replace(message, kind=MessageKind.FORCE_EXIT)
    assert ledger.audit().unprocessed == 500
    assert not ledger.audit().is_conserved
    ledger.l1.vault += 500
    assert ledger.audit().is_conserved


def test_compute_audit__donation__stays_in_the_vault(ledger):
    ledger.l1.vault += 12_345
    assert ledger.audit().is_conserved


def test_compute_audit__one_unit_stolen__is_seen(ledger):
    state = ledger.venue.state
    account = state.accounts[ADA]
    set_account(state, ADA, replace(account, cash=account.cash + 1))
    assert not ledger.audit().is_conserved


def test_count_open_sizes__position_out_of_nothing__is_seen(ledger):
    ledger.trade(5)
    state = ledger.venue.state
    assert count_open_sizes(state) == 0
    account = state.accounts[ADA]
    set_account(state, ADA, replace(account, positions=(Position(PERP, 6, 0),)))
    assert count_open_sizes(state) == 1
    assert not ledger.audit().is_conserved


def test_count_open_sizes__wrong_open_interest__is_seen(ledger):
    ledger.trade(5)
    state = ledger.venue.state
    series = state.markets[PERP]
    assert isinstance(series, Series)
    assert series.open_interest == 5
    set_market(state, PERP, replace(series, open_interest=4))
    assert count_open_sizes(state) == 1


def test_compute_equity__carry__is_subtracted_from_longs_and_added_to_shorts(ledger):
    ledger.trade(5)
    state = ledger.venue.state
    before = compute_equity(state)
    series = state.markets[PERP]
    assert isinstance(series, Series)
    carry_long, carry_short = series.carry_long + 11, series.carry_short + 11
    set_market(state, PERP, replace(series, carry_long=carry_long, carry_short=carry_short))
    assert compute_equity(state) == before
    set_market(state, PERP, replace(series, carry_long=carry_long, carry_short=carry_short + 1))
    assert compute_equity(state) == before + 5
    del state.accounts[BLAISE]
    held = state.accounts[ADA]
    others = sum(one.cash for one in state.accounts.values()) - held.cash
    assert compute_equity(state) == others + held.cash + 5 * (series.mark - 11)


def test_count_open_sizes__settled_series__counts_whoever_has_not_left(ledger):
    ledger.trade(5)
    state = ledger.venue.state
    series = state.markets[PERP]
    assert isinstance(series, Series)
    settled = replace(series, status=SeriesStatus.SETTLED, open_interest=10, risk=())
    set_market(state, PERP, settled)
    assert count_open_sizes(state) == 0
    before = compute_equity(state)
    after = process_realise(state, ADA, state.accounts[ADA])
    set_account(state, ADA, after)
    assert not after.positions
    assert (count_open_sizes(state), compute_equity(state)) == (0, before)
    set_market(state, PERP, settled)
    assert count_open_sizes(state) == 1


def test_compute_audit__frozen__what_was_paid_and_sent_back_is_not_owed(ledger):
    owner = OWNERS[ADA].address
    index = ledger.venue.state.globals.queue_index
    body = encode_deposit(owner, 0, 50)
    message = Message(MessageKind.DEPOSIT, owner, Timestamp(0), body)
    ledger.venue.state.messages[index] = message
    ledger.l1.vault += 50
    assert ledger.audit().unprocessed == 50
    closing = Closing(1)
    ledger.follower.closing = closing
    closing.refunded[index] = DepositRefunded(3, index, owner, 50)
    closing.paid[ADA] = EscapePaid(4, ADA, owner, CASH)
    ledger.l1.vault -= 50 + CASH
    audit = ledger.audit()
    assert (audit.unprocessed, audit.paid) == (0, CASH)
    assert audit.is_conserved
    ledger.l1.vault -= 1
    assert not ledger.audit().is_conserved
