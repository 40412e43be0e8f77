"""Names that accounts give to their orders. The same order under the same name is one order."""

import re
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from msgspec.structs import replace

from deltaroll.engine.matching import Execution
from deltaroll.node.entries import HoldEntry, OrderEntry, encode_entry
from deltaroll.protocol.types import AccountId, Timestamp

MAX_REMEMBERED = 4_096
"""Names that are remembered of each account. An older one is forgotten; its order can still not be
matched twice, since the nonce of its slot is used."""
CLIENT_ID = re.compile(r"[A-Za-z0-9._:\-]{1,36}")


@dataclass(frozen=True, slots=True)
class Named:
    """An order that has a name."""

    content: bytes
    """A hash of everything but the signature."""
    sequence: int
    clock: Timestamp
    slot: int
    nonce: int
    execution: Execution | None
    """What became of it at once; None: it was held."""


def compute_content(entry: OrderEntry | HoldEntry) -> bytes:
    """Return a hash of what an entry asks for. The same may be signed in more than one way."""
    if isinstance(entry, HoldEntry):
        entry = replace(entry, order=replace(entry.order, signature=b"", signer=b""))
    else:
        entry = replace(entry, signature=b"", signer=b"")
    return blake2b(encode_entry(entry), digest_size=16).digest()


class ClientIds:
    """The latest names of each account."""

    def __init__(self) -> None:
        self._named: dict[AccountId, OrderedDict[str, Named]] = {}

    def find(self, account: AccountId, client_id: str) -> Named | None:
        """Return what an account has named so."""
        names = self._named.get(account)
        return None if names is None else names.get(client_id)

    def add(
        self,
        sequence: int,
        clock: Timestamp,
        entry: OrderEntry | HoldEntry,
        execution: Execution | None,
    ) -> None:
        """Remember the name of an order, if it has one."""
        order = entry.order if isinstance(entry, HoldEntry) else entry
        if not order.client_id:
            return
        outcome = execution and Execution(
            execution.status, execution.filled, (), execution.reason, ()
        )
        names = self._named.setdefault(AccountId(order.account), OrderedDict())
        content = compute_content(entry)
        names[order.client_id] = Named(content, sequence, clock, order.slot, order.nonce, outcome)
        if len(names) > MAX_REMEMBERED:
            names.popitem(last=False)

    def restore(self, account: AccountId, client_id: str, named: Named) -> None:
        """Remember a name of a snapshot; those of an account oldest first."""
        self._named.setdefault(account, OrderedDict())[client_id] = named

    def get_all(self) -> dict[AccountId, dict[str, Named]]:
        """Return everything remembered, oldest first."""
        return {account: dict(names) for account, names in self._named.items()}
