"""What a forced request would come to if it were served now.

The node asks its own copy of the protocol, on the derived state at the time of the L1 head, after
the marks that a proposer would renew first. Nothing is left of it afterwards.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from deltaroll.engine.aside import set_aside
from deltaroll.engine.ledger import compute_equity_at_marks
from deltaroll.leave.outcomes import make_context
from deltaroll.node.upkeep import iterate_marks
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.messages import process_action, process_message
from deltaroll.protocol.state import State, reset_meter
from deltaroll.protocol.types import (
    AccountId,
    Address,
    MarketId,
    Message,
    MessageKind,
    Timestamp,
    Underlying,
)

MAX_EXIT = (1 << 128) - 1
"""Asks for all that is free."""


def encode_force_exit(account: AccountId, amount: int) -> bytes:
    """Return the body of a forced exit, as the bridge packs it."""
    return account.to_bytes(4, "big") + amount.to_bytes(16, "big")


def encode_force_close(account: AccountId, market: MarketId, lots: int = 0) -> bytes:
    """Return the body of a forced close; 0 lots mean all."""
    return account.to_bytes(4, "big") + market.to_bytes(2, "big") + lots.to_bytes(8, "big")


def forecast_exit(
    state: State, owner: Address, account: AccountId, closing: Iterable[MarketId], now: Timestamp
) -> tuple[int, Fault, dict[MarketId, tuple[Fault, int]]]:
    """Return what a forced exit of everything would pay after positions are closed by force, why it
    would be passed over, and of each close the same and the equity that it costs.
    """
    closes: dict[MarketId, tuple[Fault, int]] = {}
    with set_aside(state):
        _renew(state, now)
        for market in closing:
            before = _get_equity(state, account)
            body = encode_force_close(account, market)
            refusal = _serve(state, MessageKind.FORCE_CLOSE, owner, body, now)
            closes[market] = (refusal, before - _get_equity(state, account))
        withdrawn = state.globals.withdrawn
        body = encode_force_exit(account, MAX_EXIT)
        refusal = _serve(state, MessageKind.FORCE_EXIT, owner, body, now)
        return state.globals.withdrawn - withdrawn, refusal, closes


def _renew(state: State, now: Timestamp) -> None:
    """Move the clock and mark what can be marked, as who serves the queue does."""
    state.globals = replace(state.globals, clock=max(now, state.globals.clock))
    for market in sorted(state.markets):
        if isinstance(state.markets[market], Underlying):
            for mark in iterate_marks(state, market):
                reset_meter(state)
                with suppress(TransitionFault):
                    process_action(state, mark)


def _get_equity(state: State, account: AccountId) -> int:
    return compute_equity_at_marks(state, state.accounts[account])


def _serve(state: State, kind: MessageKind, sender: Address, body: bytes, now: Timestamp) -> Fault:
    reset_meter(state)
    state.begin()
    try:
        process_message(state, Message(kind, sender, now, body), make_context(b"", now))
    except TransitionFault as problem:
        state.rollback()
        return problem.fault
    state.commit()
    return Fault.NONE
