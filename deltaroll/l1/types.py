"""What L1 says about the rollup, as frozen values."""

from dataclasses import dataclass
from enum import Enum

from deltaroll.protocol.types import AccountId, Address, Message


@dataclass(frozen=True, slots=True)
class Header:
    """A batch header, field by field as in `contracts/interfaces/IRollupInbox.sol`."""

    index: int
    previous: bytes
    post_root: bytes
    chunks_root: bytes
    chunk_count: int
    queue_start: int
    queue_end: int
    queue_hash: bytes
    l1_block: int
    l1_time: int
    l1_base_fee: int
    l1_blob_fee: int
    proposer: Address
    data_mode: int
    parameter_hash: bytes


@dataclass(frozen=True, slots=True)
class PostedChunk:
    """A chunk as it stands in calldata."""

    data: bytes
    signatures: bytes
    post_root: bytes


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block of L1 by number and hash."""

    number: int
    hash: bytes
    time: int


@dataclass(frozen=True, slots=True)
class MessageQueued:
    """A message joined the queue."""

    block: int
    index: int
    message: Message
    queue_hash: bytes


@dataclass(frozen=True, slots=True)
class BatchSubmitted:
    """A batch was posted; index 0 is the genesis."""

    block: int
    transaction: str
    header_hash: bytes
    header: Header


@dataclass(frozen=True, slots=True)
class BatchRemoved:
    """A batch and all after it were proven wrong."""

    block: int
    index: int
    header_hash: bytes
    fault: int
    challenger: Address


@dataclass(frozen=True, slots=True)
class Tally:
    """What the contracts hold after a block."""

    head_hash: bytes
    """Of the newest batch's header."""
    queue_count: int
    queue_hash: bytes
    """The accumulator after the last message, zero before the first."""
    is_frozen: bool = False


@dataclass(frozen=True, slots=True)
class InboxFrozen:
    """The rollup takes no batch and no message any more."""

    block: int


@dataclass(frozen=True, slots=True)
class EscapeOpened:
    """The final state is fixed; accounts may be proven."""

    block: int
    final_root: bytes
    batch: int
    available: int
    """What there is for the accounts, collateral units."""
    closes_at: int
    """When payment starts, seconds."""


@dataclass(frozen=True, slots=True)
class AccountEscaped:
    """An account's equity was registered."""

    block: int
    account: AccountId
    owner: Address
    amount: int
    """Collateral units."""


@dataclass(frozen=True, slots=True)
class EscapePaid:
    """A registered claim was paid."""

    block: int
    account: AccountId
    recipient: Address
    amount: int


@dataclass(frozen=True, slots=True)
class DepositRefunded:
    """A deposit that the final state does not include went back."""

    block: int
    index: int
    recipient: Address
    amount: int


L1Event = (
    MessageQueued
    | BatchSubmitted
    | BatchRemoved
    | InboxFrozen
    | EscapeOpened
    | AccountEscaped
    | EscapePaid
    | DepositRefunded
)


class Stage(Enum):
    """Finality stages, from a receipt to a claimable exit."""

    ACCEPTED = "accepted"
    """The sequencer has acknowledged it."""
    POSTED = "posted"
    """On the L1 head."""
    SAFE = "safe"
    """In L1's safe block."""
    FINAL = "final"
    """L1-finalised."""
    SETTLED = "settled"
    """The challenge window is over."""
