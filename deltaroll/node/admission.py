"""What a sequencer is asked for, and the checks at its door: a refusal there leaves no trace."""

from collections.abc import Sequence
from dataclasses import dataclass

from deltaroll.engine.matching import Execution, SelfTradePolicy
from deltaroll.node.entries import (
    PokeEntry,
)
from deltaroll.node.receipts import (
    Outcome,
)
from deltaroll.protocol.codec import (
    ACTION_NONCE_BITS,
    AGE_BITS,
    CLOCK_BITS,
    EPOCH_BITS,
    FRACTION_BITS,
    LOTS_BITS,
    NONCE_BITS,
    PRICE_BITS,
)
from deltaroll.protocol.constants import (
    ACCOUNT_DEPTH,
    MARKET_DEPTH,
    MAX_AMOUNT,
    MAX_SIGNERS,
    SLOT_DEPTH,
)
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import (
    AccountId,
    Distress,
    Fund,
    Kind,
    Mark,
    MarketId,
    Observation,
    Order,
    SetTradingKey,
    SlotId,
    Socialise,
    Surface,
    Sweep,
    Timestamp,
    Transaction,
    Transfer,
    Withdraw,
)

ADDRESS_BYTES = 20


class RejectedError(Exception):
    """A request that was refused; nothing has changed. The message names field, value and rule."""

    def __init__(self, message: str, fault: Fault | None = None) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a request."""

    sequence: int
    """Place in the log."""
    clock: Timestamp
    execution: Execution | None = None
    fault: Fault = Fault.NONE
    outcome: Outcome = Outcome.DONE


@dataclass(frozen=True, slots=True)
class Trigger:
    """When an order that is held is to be matched."""

    is_index: bool
    """The index of its underlying triggers it, else the mark of its series."""
    is_above: bool
    """At the level or above, else at the level or below."""
    level: int
    """Collateral units per lot."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an order comes with besides what is signed."""

    client_id: str = ""
    self_trade: SelfTradePolicy | None = None
    is_quote: bool = False
    """Under the account's market-maker protection."""
    replaces: int | None = None
    """Nonce of the order that must be alive in the slot."""
    trigger: Trigger | None = None


NO_TERMS = Terms()


MAX_WINDOW = 86_400
"""Seconds, of market-maker protection and dead-man switches."""


def validate_range(name: str, value: int, low: int, bits: int) -> None:
    """Check that low <= value < 2^bits.

    Raises
    ------
    RejectedError
    """
    if value < low or value >> bits != 0:
        raise RejectedError(f"{name}: {value} is outside {low}..{2**bits - 1}", Fault.OUT_OF_RANGE)


def validate_address(name: str, value: bytes) -> None:
    """Check the length of an address.

    Raises
    ------
    RejectedError
    """
    if len(value) != ADDRESS_BYTES:
        raise RejectedError(
            f"{name}: {len(value)} bytes instead of {ADDRESS_BYTES}", Fault.OUT_OF_RANGE
        )


def validate_order_fields(account_id: AccountId, slot_id: SlotId, order: Order) -> None:
    """Check that every field of an order has a place in the codec, its expiry apart.

    Raises
    ------
    RejectedError
    """
    validate_range("account", account_id, 1, ACCOUNT_DEPTH)
    validate_range("slot", slot_id, 0, SLOT_DEPTH)
    validate_range("market", order.market, 1, MARKET_DEPTH)
    validate_range("price", order.price, 1, PRICE_BITS)
    validate_range("size", order.size, 1, LOTS_BITS)
    validate_range("nonce", order.nonce, 1, NONCE_BITS)
    validate_range("epoch", order.epoch, 0, EPOCH_BITS)


def validate_action(action: Transfer | Withdraw | SetTradingKey) -> None:
    """Check that every field of an action has a place in the codec.

    Raises
    ------
    RejectedError
    """
    match action:
        case Transfer():
            validate_range("sender", action.sender, 1, ACCOUNT_DEPTH)
            validate_range("recipient", action.recipient, 0, ACCOUNT_DEPTH)
        case Withdraw():
            validate_range("account", action.account, 1, ACCOUNT_DEPTH)
            validate_address("recipient", action.recipient)
        case SetTradingKey():
            validate_range("account", action.account, 1, ACCOUNT_DEPTH)
            validate_address("key", action.key)
            validate_range("expiry", action.expiry, 0, CLOCK_BITS)
    if isinstance(action, Transfer | Withdraw) and not 0 < action.amount <= MAX_AMOUNT:
        raise RejectedError(
            f"amount: {action.amount} is outside 1..{MAX_AMOUNT}", Fault.OUT_OF_RANGE
        )
    validate_range("nonce", action.nonce, 1, ACTION_NONCE_BITS)


def validate_observations(
    market: MarketId, observations: Sequence[Observation], clock: Timestamp
) -> None:
    """Check that observations have a place in the codec: members ascending, each once.

    Raises
    ------
    RejectedError
    """
    validate_range("market", market, 1, MARKET_DEPTH)
    previous = -1
    for entry in observations:
        if not previous < entry.signer < MAX_SIGNERS:
            raise RejectedError(
                f"signer: {entry.signer} after {previous}: members ascend, below {MAX_SIGNERS}",
                Fault.UNKNOWN_SIGNER,
            )
        previous = entry.signer
        validate_range("price", entry.price, 1, PRICE_BITS)
        if entry.time > clock:
            raise RejectedError(f"time: {entry.time} is after the clock {clock}", Fault.QUORUM)
        validate_range("age", clock - entry.time, 0, AGE_BITS)


def validate_surface_fields(surface: Surface, clock: Timestamp) -> None:
    """Check that a surface has a place in the codec.

    Raises
    ------
    RejectedError
    """
    validate_range("market", surface.market, 1, MARKET_DEPTH)
    validate_range("signers", surface.signers, 1, MAX_SIGNERS)
    validate_range("ratio", surface.ratio, 1, FRACTION_BITS)
    for name in ("rate", "a", "b", "rho", "m", "sigma"):
        validate_range(f"|{name}|", abs(getattr(surface, name)), 0, FRACTION_BITS)
    if surface.time > clock:
        raise RejectedError(f"time: {surface.time} is after the clock {clock}", Fault.QUORUM)
    validate_range("age", clock - surface.time, 0, AGE_BITS)


def to_poke(entry: PokeEntry) -> Transaction:
    """Return the transaction that a poke asks for.

    Raises
    ------
    ValueError
        When its kind is not one that anybody may ask for.
    """
    match entry.kind:
        case Kind.MARK:
            return Mark(MarketId(entry.subject), entry.detail)
        case Kind.FUND:
            return Fund(MarketId(entry.subject))
        case Kind.SWEEP:
            return Sweep(AccountId(entry.subject))
        case Kind.DISTRESS:
            return Distress(AccountId(entry.subject))
        case Kind.SOCIALISE:
            return Socialise(AccountId(entry.subject))
        case _:
            raise ValueError(f"kind: nobody may ask for {entry.kind}")
