// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Fault} from "./Fault.sol";
import {MemoryImage} from "./MemoryImage.sol";
import {State} from "./State.sol";
import {Mark, Transaction} from "./Types.sol";

// The state transition is longer than one contract may be (EIP-170). What `TransitionExecutor` has no room for
// it asks of two others here: it hands all of its memory over and takes it back (see `MemoryImage`).

/// @dev What is asked for: of `MarketExecutor` up to FORCED, of `AccountExecutor` from there on.
enum Task {
    MARKET_ACTION, // Run a transaction.
    MARK, // Run the rest of one.
    CONFIGURE, // Run the message of that kind.
    FORCED, // Decode a forced transaction and check its signatures; it is run by who asks.
    ACCOUNT_ACTION, // Run a transaction.
    FORCE_EXIT, // Run the message of that kind. So does the next one.
    FORCE_CLOSE
}

/// @dev A request: what has no meaning for a task is zero. It stays valid for one call.
struct Handover {
    State state;
    Task task;
    uint256 subject; // A transaction, or what is left of a Mark: where it is in memory. FORCED sets it.
    address sender; // Of the message.
    bytes body; // Likewise.
    bytes32 domain; // EIP-712 domain separator.
}

/// @dev Ask for what has no message. What its process returns.
function handOver(State memory state, Task task, uint256 subject) view returns (Fault) {
    bytes memory none;
    return handOver(Handover(state, task, subject, address(0), none, 0));
}

/// @dev Ask. What the process returns.
function handOver(Handover memory handover) view returns (Fault) {
    State memory state = handover.state;
    address module = handover.task > Task.FORCED ? state.accountExecutor : state.marketExecutor;
    uint256 root;
    assembly ("memory-safe") {
        root := handover
    }
    return Fault(MemoryImage.callModule(module, root));
}

/// @dev Return the request at `pointer`.
function toHandover(uint256 pointer) pure returns (Handover memory handover) {
    // The place that the compiler has made for one is not needed. Nor is it below.
    assembly ("memory-safe") {
        mstore(0x40, handover)
        handover := pointer
    }
}

/// @dev Return the transaction at `pointer`.
function toTransaction(uint256 pointer) pure returns (Transaction memory transaction) {
    assembly ("memory-safe") {
        mstore(0x40, transaction)
        transaction := pointer
    }
}

/// @dev Return the Mark at `pointer`.
function toMark(uint256 pointer) pure returns (Mark memory mark) {
    assembly ("memory-safe") {
        mstore(0x40, mark)
        mark := pointer
    }
}

/// @dev Return where a transaction is.
function pointerTo(Transaction memory transaction) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := transaction
    }
}

/// @dev Return where a Mark is.
function pointerTo(Mark memory mark) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := mark
    }
}
