"""What the parts of the API share."""

from dataclasses import dataclass
from typing import Protocol

from deltaroll.node.api.bridge import Bridge
from deltaroll.node.api.hub import Hub
from deltaroll.node.api.limits import Buckets, Limits
from deltaroll.node.api.service import Service
from deltaroll.node.metrics import ApiMetrics
from deltaroll.node.readmodel.reader import Reader


class ProofSource(Protocol):
    """Where proofs against L1 come from: a follower. Called on a thread of its own."""

    def prove_account(self, account: int) -> object:
        """Return an account's leaf with its proof; RejectedError when there is none."""

    def find_exits(self, recipient: bytes) -> object:
        """Return the newest exits of a recipient; RejectedError when L1 has not been read."""


@dataclass(frozen=True, slots=True)
class Delegation:
    """A proposer's word that a key signs receipts for it."""

    proposer: str
    """L1 address."""
    signature: str
    """Of EIP-712 `ReceiptKey`, 64 bytes in hexadecimal."""


@dataclass(slots=True)
class Context:
    """The API's parts."""

    bridge: Bridge
    hub: Hub
    service: Service
    limits: Limits
    addresses: Buckets
    """By client address."""
    metrics: ApiMetrics
    proofs: ProofSource | None = None
    delegation: Delegation | None = None
    history: Reader | None = None
