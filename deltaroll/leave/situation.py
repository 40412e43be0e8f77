"""What a leaving owner has to know, as frozen values: all that a plan is made from."""

from dataclasses import dataclass

from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import AccountId, Address, MarketId, MessageKind, Timestamp

NEVER = Timestamp(0)
"""No time."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a deployment promises for ever. Seconds, and wei for the bond."""

    challenge_window: int
    forced_delay: int
    proposer_delay: int
    freeze_delay: int
    claim_window: int
    bond: int
    outflow_delay: int


@dataclass(frozen=True, slots=True)
class Holding:
    """A position, and what closing it by force would come to now."""

    market: MarketId
    size: int
    """Signed lots."""
    refusal: Fault
    """Why a forced close would be passed over; NONE when it would not."""
    cost: int
    """Equity that a forced close takes, collateral units: the penalty."""


@dataclass(frozen=True, slots=True)
class Owned:
    """An account of the owner, in the newest state that L1 gives. Collateral units."""

    account: AccountId
    nonce: int
    """Of its last signed action."""
    cash: int
    equity: int
    """At the marks of the state, whatever their age: what an escape would register."""
    free: int
    """What a forced exit would pay now; 0 when it would be passed over."""
    refusal: Fault
    """Why it would be passed over; NONE when it would not."""
    closed: int
    """What it would pay after all positions have been closed by force."""
    has_orders: bool
    """Orders that L1 knows of could still fill."""
    holdings: tuple[Holding, ...] = ()
    claim: int = 0
    """Registered with the escape hatch and not paid."""
    is_registered: bool = False
    """The escape hatch knows the account: its claim may be paid already."""
    payout: int = 0
    """What the claim pays, as of now."""


@dataclass(frozen=True, slots=True)
class OpenExit:
    """An exit that L1 has not paid and whose claim is the owner's."""

    index: int
    amount: int
    batch: int
    """The batch that made it."""
    settles_at: Timestamp
    """It can be claimed from this second on."""


@dataclass(frozen=True, slots=True)
class Delayed:
    """A payment that the vault holds back."""

    index: int
    """Of the exit that it is for."""
    amount: int
    due_at: Timestamp
    """It can be paid from this second on."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A message of the owner in the L1 queue, and what became of it."""

    index: int
    kind: MessageKind
    account: AccountId
    amount: int
    """Of a forced exit or a deposit."""
    market: MarketId
    """Of a forced close."""
    time: Timestamp
    is_served: bool
    outcome: Fault = Fault.NONE
    """Why it was passed over; NONE when it was honoured, or is not served yet."""
    exit_index: int | None = None
    """The exit that it made."""
    is_refunded: bool = False
    """A deposit that the escape hatch has paid back."""


@dataclass(frozen=True, slots=True)
class Hatch:
    """How far the end of the rollup is."""

    is_frozen: bool = False
    can_freeze: bool = False
    """Somebody may freeze it in this second."""
    freezable_at: Timestamp | None = None
    """From when on somebody may, if it goes on like this; None when nothing points to it."""
    final_at: Timestamp = NEVER
    """The last batch is settled after this second."""
    is_open: bool = False
    closes_at: Timestamp = NEVER
    """Payment starts after this second."""


@dataclass(frozen=True, slots=True)
class Situation:
    """L1 and the state derived from it, as one owner sees it."""

    owner: Address
    now: Timestamp
    """Of the L1 head."""
    base_fee: int
    """Wei per gas."""
    terms: Terms
    head_time: Timestamp
    """Of the newest batch."""
    interval: int
    """Seconds between the last batches."""
    has_sequencer: bool
    """The regular proposer has its bond in place."""
    waiting_since: Timestamp | None
    """Time of the oldest message that no batch has consumed."""
    has_fraud: bool
    """The newest batch on L1 is fraudulent: somebody has to remove it first."""
    outflow_room: int
    """The largest exit that the vault would pay at once now; what is larger waits for a while."""
    hatch: Hatch
    accounts: tuple[Owned, ...] = ()
    exits: tuple[OpenExit, ...] = ()
    delayed: tuple[Delayed, ...] = ()
    asked: tuple[Asked, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether the sequencer can be expected to serve what it is given."""
        if self.hatch.is_frozen or not self.has_sequencer:
            return False
        silent = self.now > self.head_time + self.terms.proposer_delay
        return not (silent and self.waiting_since is not None)

    def find_account(self, account: AccountId) -> Owned | None:
        """Return an account of the owner."""
        return next((each for each in self.accounts if each.account == account), None)
