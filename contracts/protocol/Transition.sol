// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divDown} from "./Arithmetic.sol";
import {Decoder, MAX_TABLE, decodeHeader, decodeTransaction} from "./Codec.sol";
import {
    FEE_LEVEL_SMOOTHING,
    MAX_CLOCK_LAG,
    MAX_DATA_FEE,
    WEIGHT_CHUNK_BYTES,
    WEIGHT_CHUNK_GAS,
    WEIGHT_TRANSACTION_GAS
} from "./Constants.sol";
import {Fault, isFault} from "./Fault.sol";
import {Streak, processFill} from "./Fill.sol";
import {processAction, processQueue} from "./Messages.sol";
import {State, charge, resetMeter} from "./State.sol";
import {Context, DataFee, Fill, Globals, Kind, Transaction} from "./Types.sol";

// The state transition of one chunk: the call tree is the protocol.

/// @dev What one transaction of a chunk leaves to the next.
struct Progress {
    Streak sweep;
    bool mustGoOn; // The last fill left a fill-or-kill order incomplete.
    uint256 count; // Transactions before.
}

/// @dev Return the smoothed L1 fee after a batch that paid `fee`, rounded down.
function computeFeeLevel(uint256 level, uint256 fee) pure returns (uint256) {
    // Both are below 2^64; the result lies between them.
    unchecked {
        return
            uint256(
                int256(level) + divDown(int256(fee) - int256(level), int256(FEE_LEVEL_SMOOTHING))
            );
    }
}

/// @dev Fold the previous batch's L1 fees into the fee levels.
function processBatchStart(State memory state, Context memory context) pure {
    Globals memory globals = state.globals;
    globals.baseFeeLevel = computeFeeLevel(globals.baseFeeLevel, context.previousBaseFee);
    globals.blobFeeLevel = computeFeeLevel(globals.blobFeeLevel, context.previousBlobFee);
}

/// @dev Check a chunk's clock against the state's and against L1. CLOCK_BACKWARD, CLOCK_AHEAD, CLOCK_STALE.
function validateClock(State memory state, uint256 clock, Context memory context)
    pure
    returns (Fault)
{
    if (clock < state.globals.clock) return Fault.CLOCK_BACKWARD;
    if (clock > context.l1Time) return Fault.CLOCK_AHEAD;
    // Clocks are below 2^40.
    unchecked {
        return clock + MAX_CLOCK_LAG < context.l1Time ? Fault.CLOCK_STALE : Fault.NONE;
    }
}

/// @dev Set what fills pay for their bytes on L1. OUT_OF_RANGE when it is above what L1's base fee allows.
function processDataFee(State memory state, DataFee memory change) pure returns (Fault) {
    Globals memory globals = state.globals;
    // Below 2^63; the level is below 2^64.
    unchecked {
        if (change.fee > MAX_DATA_FEE * globals.baseFeeLevel) return Fault.OUT_OF_RANGE;
    }
    globals.dataFee = change.fee;
    return Fault.NONE;
}

/// @dev Apply one transaction. FILL_OR_KILL when an incomplete order is not gone on with; what the kind's
/// process returns.
function processTransaction(
    State memory state,
    Transaction memory transaction,
    Progress memory progress,
    Context memory context
) view returns (Fault fault) {
    fault = charge(state, WEIGHT_TRANSACTION_GAS, 0);
    if (isFault(fault)) return fault;
    Kind kind = transaction.kind;
    Streak memory sweep = progress.sweep;
    uint256 count = progress.count;
    bool isFirst = count == 0;
    state.meter.transactions = count;
    unchecked {
        progress.count = count + 1;
    }
    if (kind == Kind.FILL) {
        Fill memory fill = transaction.fill;
        if (progress.mustGoOn && (fill.hasTakerOrder || !_goesOn(fill, sweep))) {
            return Fault.FILL_OR_KILL;
        }
        // False, but not a literal: the compiler would make a second copy of `processFill` for that one.
        bool isAlone = kind == Kind.QUEUE;
        (progress.mustGoOn, fault) = processFill(state, fill, sweep, isAlone);
        sweep.exists = true;
        sweep.taker = fill.taker;
        sweep.slot = fill.takerSlot;
        return fault;
    }
    if (progress.mustGoOn) return Fault.FILL_OR_KILL;
    sweep.exists = false;
    if (kind == Kind.QUEUE) {
        (, fault) = processQueue(state, context, isFirst);
        return fault;
    }
    if (kind == Kind.DATA_FEE) return processDataFee(state, transaction.dataFee);
    return processAction(state, transaction);
}

/// @dev Move the clock; the first chunk of a batch also folds in the L1 fees. CLOCK_BACKWARD, CLOCK_AHEAD,
/// CLOCK_STALE.
function processChunkStart(State memory state, uint256 clock, Context memory context)
    pure
    returns (Fault fault)
{
    fault = validateClock(state, clock, context);
    if (isFault(fault)) return fault;
    state.globals.clock = clock;
    if (context.isFirst) processBatchStart(state, context);
}

/// @dev Check that nothing is left open. FILL_OR_KILL; QUEUE_UNDERRUN when the batch's last chunk leaves
/// messages of its range.
function processChunkEnd(State memory state, Progress memory progress, Context memory context)
    pure
    returns (Fault)
{
    if (progress.mustGoOn) return Fault.FILL_OR_KILL;
    if (context.isLast && state.globals.queueIndex != context.queueEnd) {
        return Fault.QUEUE_UNDERRUN;
    }
    return Fault.NONE;
}

/// @dev Apply a chunk, decoding as it goes; the first broken rule is the fault. The state is then as the
/// transactions before the fault left it.
function processChunk(State memory state, bytes memory data, Context memory context)
    view
    returns (Fault fault)
{
    resetMeter(state);
    fault = charge(state, WEIGHT_CHUNK_GAS, WEIGHT_CHUNK_BYTES + data.length);
    if (isFault(fault)) return fault;
    (Decoder memory decoder, Fault badHeader) = decodeHeader(data, MAX_TABLE, MAX_TABLE);
    if (isFault(badHeader)) return badHeader;
    fault = processChunkStart(state, decoder.clock, context);
    if (isFault(fault)) return fault;
    Progress memory progress;
    Kind kind;
    while (true) {
        (kind, fault) = decodeTransaction(decoder);
        if (isFault(fault)) return fault;
        if (kind == Kind.END) break;
        fault = processTransaction(state, decoder.transaction, progress, context);
        if (isFault(fault)) return fault;
    }
    return processChunkEnd(state, progress, context);
}

/// @dev Whether a fill is by the taker of the one before, from the same slot.
function _goesOn(Fill memory fill, Streak memory sweep) pure returns (bool) {
    return sweep.exists && sweep.taker == fill.taker && sweep.slot == fill.takerSlot;
}
