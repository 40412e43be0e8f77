"""Ends emergencies that are over.

A guardian's emergency is over in name when its period is; in force it stays until somebody sends
the transaction that brings back what the timelock has set. Anybody may, so whoever watches a rollup
does.
"""

import structlog
from ape.api import AccountAPI, ReceiptAPI
from ape.managers.project import ProjectManager

from deltaroll.l1.gateway import Gateway
from deltaroll.l1.governance import Governance
from deltaroll.l1.registry import Registry

log = structlog.get_logger(__name__)

LOOK_SECONDS = 600
"""Between two looks, by L1's clock: each reads the gate's events from the beginning."""
GATE = "ConfigureGate"


class Keeper:
    """Restores what the timelock has set, with one L1 account."""

    def __init__(self, gateway: Gateway, governance: Governance, account: AccountAPI) -> None:
        self._gateway = gateway
        self._governance = governance
        self._account = account
        self._looked_at = 0

    def look(self) -> list[ReceiptAPI]:
        """End every emergency whose period is over; does nothing when it has looked a moment ago.

        Raises
        ------
        L1Error
            When L1 cannot be read.
        """
        now = self._gateway.get_head().time
        if now < self._looked_at + LOOK_SECONDS:
            return []
        overdue = self._governance.find_overdue(now)
        receipts = self._governance.restore(overdue, self._account)
        self._looked_at = now
        if receipts:
            log.info(
                "emergency_ended",
                underlyings=list(overdue.underlyings),
                series=[list(run) for run in overdue.series],
            )
        return receipts


def open_keeper(
    project: ProjectManager, gateway: Gateway, registry: Registry, account: AccountAPI
) -> Keeper | None:
    """Return a keeper; None for a deployment without a gate, which has no emergencies."""
    if GATE not in registry.contracts:
        return None
    return Keeper(gateway, Governance(project, gateway, registry), account)
