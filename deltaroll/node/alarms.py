"""What a person should look at: raised once, taken back once, never by itself the end of anything.

Whatever raises one goes on trying, so that nobody has to do more than remove the cause.
"""

from collections.abc import Callable
from enum import Enum

import structlog

log = structlog.get_logger(__name__)


class Alarm(Enum):
    """Conditions that a machine recovers from only with somebody's help, or late."""

    FUNDS_LOW = "funds_low"
    """The L1 account pays for a few more transactions only."""
    FUNDS_OUT = "funds_out"
    """It does not pay for the next one."""
    FEE_CAPPED = "fee_capped"
    """L1 asks for more than may be paid: the transaction waits."""
    POOL_RESERVED = "pool_reserved"
    """Nodes hold transactions of another type by the same account and take no others."""
    NONCE_TAKEN = "nonce_taken"
    """Somebody else sends from the same account."""
    BEHIND = "behind"
    """The view of L1 is old, lags or does not add up: nothing is done on it."""
    STALE_CHUNKS = "stale_chunks"
    """Sealed chunks can no longer be posted: they have to be sequenced again."""


class Alarms:
    """Which alarms are on; `on_change` is told of every change, for metrics."""

    def __init__(self, on_change: Callable[[Alarm, bool], None] = lambda *_: None) -> None:
        self.active: set[Alarm] = set()
        self._on_change = on_change

    def set(self, alarm: Alarm, is_on: bool, **figures: object) -> None:
        """Raise an alarm or take it back; only a change is logged."""
        if is_on == (alarm in self.active):
            return
        if is_on:
            self.active.add(alarm)
            log.error("alarm", alarm=alarm.value, **figures)
        else:
            self.active.discard(alarm)
            log.info("alarm_over", alarm=alarm.value, **figures)
        self._on_change(alarm, is_on)
