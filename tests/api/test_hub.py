"""What the hub tells of a log that L1 has undone in part, and of keys."""

from collections.abc import Sequence

import pytest

from deltaroll.node.api.hub import Hub, Seed
from deltaroll.node.api.limits import Limits
from deltaroll.node.events import KeyChange, Rebased, Step, Trade

PERP = 11


def make_trade(lots: int) -> Trade:
    return Trade(PERP, 100, lots, True, 1, 0, 1, "", 2, 0, 1, "")


@pytest.fixture
def hub():
    return Hub(Seed(0, 1_000, {}, {}, 0, {}), Limits(), 0)


def publish(hub: Hub, *steps: tuple[int, int, Sequence[object]]) -> None:
    hub.publish([Step(sequence, clock, tuple(events)) for sequence, clock, events in steps])


def test_publish__rebased__undone_trades_are_gone_and_accounts_are_told(hub):
    channel = hub.get_channel("account.1")
    for sequence in (1, 2, 3):
        publish(hub, (sequence, 1_000, [make_trade(sequence)]))
    publish(hub, (4, 1_000, [Rebased(2)]), (5, 1_000, [make_trade(9)]))
    assert [trade.lots for trade in hub.get_trades(PERP).trades] == [1, 9]
    assert channel.ring[-2].body.data.events == (Rebased(2),)


def test_publish__trades_done_again__the_tape_is_told_which_to_forget(hub):
    channel = hub.get_channel(f"trades.{PERP}")
    for sequence in (1, 2, 3):
        publish(hub, (sequence, 1_000, [make_trade(sequence)]))
    publish(hub, (4, 1_000, [Rebased(2), make_trade(7)]), (5, 1_000, [make_trade(9)]))
    told = [message.body.data for message in channel.ring]
    assert [data.undone_from for data in told] == [None, None, None, 2, None]
    tape: list[tuple[int, int]] = []
    for data in told:
        if data.undone_from is not None:
            tape = [trade for trade in tape if trade[0] < data.undone_from]
        tape += [(trade.sequence, trade.lots) for trade in data.trades]
    assert tape == [(1, 1), (4, 7), (5, 9)]


def test_publish__key_changes_while_time_passes__its_sessions_are_looked_at(hub):
    told: list[set[int] | None] = []
    hub.on_keys = told.append
    publish(hub, (1, 1_012, []), (2, 1_012, [KeyChange(7)]))
    assert told == [None, {7}]
