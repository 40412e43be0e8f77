// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @dev A provable violation of a rule; 0 means that no rule is broken. Names and numbers are those of
/// `deltaroll/protocol/fault.py`, where each is explained.
enum Fault {
    NONE,
    TRUNCATED, // The data ends inside a field.
    TRAILING_BYTES, // Bytes follow the end mark.
    NON_CANONICAL, // A second byte string for a meaning that has one already.
    UNKNOWN_KIND, // No transaction has this kind.
    BAD_INDEX, // A reference past the end of the chunk's account or market table.
    WRONG_POST_ROOT, // The posted state root does not follow from the data.
    OVERWEIGHT, // The chunk could cost more to prove than a proof may cost.
    CLOCK_BACKWARD, // The chunk's clock is before the clock of the state.
    CLOCK_AHEAD, // The chunk's clock is ahead of the L1 block of its batch.
    CLOCK_STALE, // The chunk's clock lags the L1 block of its batch by more than the bound.
    QUEUE_OVERRUN, // A message past the header's queue range is consumed.
    QUEUE_UNDERRUN, // The batch ends without having consumed its queue range.
    BAD_SIGNATURE, // A signature is not by the key that the state before the chunk names.
    SIGNATURE_COUNT, // The signature section does not have 64 bytes for each required signature.
    UNKNOWN_ACCOUNT, // No such account.
    UNKNOWN_MARKET, // No market leaf of the required type has this id.
    OUT_OF_RANGE, // A value does not fit the leaf that stores it.
    ZERO_AMOUNT, // An amount, size or price is zero.
    ACTION_NONCE, // The action's nonce is not above the account's.
    STALE_MARK, // A margin check meets a mark that is too old or that the index has moved away from.
    MARGIN, // Initial margin is not met and the shortfall does not shrink.
    HALTED, // The underlying is halted by its breaker, or was never observed.
    SELF_TRADE, // Both sides have one owner.
    ORDER_NONCE, // The order's nonce is not above the slot's.
    ORDER_EXPIRED, // The clock is past the order's expiry.
    ORDER_EPOCH, // The order was signed for another epoch of the account.
    ORDER_OVERFILL, // More than the order's size is filled.
    ORDER_MISMATCH, // The slot holds no order, or one of another market or side.
    PRICE_LIMIT, // The maker's price is worse than the taker's limit.
    PRICE_BAND, // The price is outside the band around the mark.
    TICK, // The order's price is not a multiple of the tick.
    POST_ONLY, // A post-only order takes.
    REDUCE_ONLY, // A reduce-only order would open, grow or flip a position.
    TIME_IN_FORCE, // An immediate order rests, or goes on later than its own sweep.
    FILL_OR_KILL, // A fill-or-kill order is left partly filled.
    POSITION_LIMIT, // The account would hold more positions than the limit.
    INACTIVE, // The series does not trade.
    QUORUM, // Fewer usable observations than the committee's threshold.
    UNKNOWN_SIGNER, // An observation by a member that the committee does not have.
    SELF_TRANSFER, // Both accounts of a transfer are one.
    BAD_RECIPIENT, // The recipient of a withdrawal is the zero address.
    SURFACE, // A volatility surface with negative variance, or with wings that allow arbitrage.
    NOT_DUE, // The state gives no reason for this transaction now.
    SOLVENT, // The account is not in the distress that the transaction is for.
    SHARE, // More of an account would be taken over than restores it, or nothing.
    REWARD, // The auction's reward is below the liquidator's limit.
    INSURANCE // The insurance fund cannot pay.
}

/// @dev Whether a rule is broken. A comparison with `Fault.NONE` would make the compiler check each time that
/// the number is one of the above: a tenth of a verifier's code.
function isFault(Fault fault) pure returns (bool broken) {
    assembly ("memory-safe") {
        broken := fault
    }
}
