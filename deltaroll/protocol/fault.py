"""Why a batch is wrong. Names and numbers are those of `contracts/protocol/Fault.sol`."""

from enum import IntEnum


class Fault(IntEnum):
    """A provable violation of a rule; 0 means that no rule is broken."""

    NONE = 0
    TRUNCATED = 1
    """The data ends inside a field."""
    TRAILING_BYTES = 2
    """Bytes follow the end mark."""
    NON_CANONICAL = 3
    """A second byte string for a meaning that has one already."""
    UNKNOWN_KIND = 4
    """No transaction has this kind."""
    BAD_INDEX = 5
    """A reference past the end of the chunk's account or market table."""
    WRONG_POST_ROOT = 6
    """The posted state root does not follow from the data."""
    OVERWEIGHT = 7
    """The chunk could cost more to prove than a proof may cost."""
    CLOCK_BACKWARD = 8
    """The chunk's clock is before the clock of the state."""
    CLOCK_AHEAD = 9
    """The chunk's clock is ahead of the L1 block of its batch."""
    CLOCK_STALE = 10
    """The chunk's clock lags the L1 block of its batch by more than the bound."""
    QUEUE_OVERRUN = 11
    """A message past the header's queue range is consumed."""
    QUEUE_UNDERRUN = 12
    """The batch ends without having consumed its queue range."""
    BAD_SIGNATURE = 13
    """A signature is not by the key that the state before the chunk names."""
    SIGNATURE_COUNT = 14
    """The signature section does not have 64 bytes for each required signature."""
    UNKNOWN_ACCOUNT = 15
    """No such account."""
    UNKNOWN_MARKET = 16
    """No market leaf of the required type has this id."""
    OUT_OF_RANGE = 17
    """A value does not fit the leaf that stores it."""
    ZERO_AMOUNT = 18
    """An amount, size or price is zero."""
    ACTION_NONCE = 19
    """The action's nonce is not above the account's."""
    STALE_MARK = 20
    """A margin check meets a mark that a Mark would renew: too old, or the index has moved away."""
    MARGIN = 21
    """Initial margin is not met and the shortfall does not shrink."""
    HALTED = 22
    """The underlying has no price: its breaker has tripped or its observation is too old."""
    SELF_TRADE = 23
    """Both sides have one owner."""
    ORDER_NONCE = 24
    """The order's nonce is not above the slot's."""
    ORDER_EXPIRED = 25
    """The clock is past the order's expiry."""
    ORDER_EPOCH = 26
    """The order was signed for another epoch of the account."""
    ORDER_OVERFILL = 27
    """More than the order's size is filled."""
    ORDER_MISMATCH = 28
    """The slot holds no order, or one of another market or side."""
    PRICE_LIMIT = 29
    """The maker's price is worse than the taker's limit."""
    PRICE_BAND = 30
    """The price is outside the band around the mark."""
    TICK = 31
    """The order's price is not a multiple of the tick."""
    POST_ONLY = 32
    """A post-only order takes."""
    REDUCE_ONLY = 33
    """A reduce-only order would open, grow or flip a position."""
    TIME_IN_FORCE = 34
    """An immediate order rests, or goes on later than its own sweep."""
    FILL_OR_KILL = 35
    """A fill-or-kill order is left partly filled."""
    POSITION_LIMIT = 36
    """The account would hold more positions than the limit."""
    INACTIVE = 37
    """The series does not trade."""
    QUORUM = 38
    """Fewer usable observations than the committee's threshold."""
    UNKNOWN_SIGNER = 39
    """An observation by a member that the committee does not have."""
    SELF_TRANSFER = 40
    """Both accounts of a transfer are one."""
    BAD_RECIPIENT = 41
    """The recipient of a withdrawal is the zero address."""
    SURFACE = 42
    """A volatility surface with negative variance, or with wings that allow arbitrage."""
    NOT_DUE = 43
    """The state gives no reason for this transaction now."""
    SOLVENT = 44
    """The account is not in the distress that the transaction is for."""
    SHARE = 45
    """More of an account would be taken over than restores it, or nothing."""
    REWARD = 46
    """The auction's reward is below the liquidator's limit."""
    INSURANCE = 47
    """The insurance fund cannot pay."""


class TransitionFault(Exception):  # noqa: N818 (the protocol's own term)
    """Raised by every `validate_`, `process_`, `decode_` and `set_` that meets a broken rule."""

    __slots__ = ("fault",)

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.name)
        self.fault = fault
