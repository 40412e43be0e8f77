// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {processConfigure} from "./protocol/Configure.sol";
import {Fault, isFault} from "./protocol/Fault.sol";
import {processFund} from "./protocol/Funding.sol";
import {
    Handover,
    Task,
    pointerTo,
    toHandover,
    toMark,
    toTransaction
} from "./protocol/Handover.sol";
import {processList} from "./protocol/Listing.sol";
import {processMarkRange} from "./protocol/Mark.sol";
import {MemoryImage} from "./protocol/MemoryImage.sol";
import {decodeForced, validateForced} from "./protocol/Messages.sol";
import {State} from "./protocol/State.sol";
import {processSurface} from "./protocol/Surface.sol";
import {Kind, Transaction} from "./protocol/Types.sol";

/// @title What `TransitionExecutor` has no room for and no account's margin is needed for.
/// @dev Stateless, and a module of `TransitionExecutor`: called with a memory image whose root is a
/// `Handover`, it gives back the image with the state changed, and the fault as its result. Anyone
/// may call it; it proves nothing by itself.
contract MarketExecutor {
    // The calldata is an image and has no selector.
    // solhint-disable-next-line payable-fallback, no-complex-fallback
    fallback() external {
        Handover memory handover = toHandover(MemoryImage.receiveImage());
        MemoryImage.returnImage(uint256(_execute(handover)));
    }

    function _execute(Handover memory handover) private view returns (Fault fault) {
        State memory state = handover.state;
        Task task = handover.task;
        if (task == Task.MARK) return processMarkRange(state, toMark(handover.subject));
        if (task == Task.CONFIGURE) return processConfigure(state, handover.body);
        if (task == Task.MARKET_ACTION) {
            return _processAction(state, toTransaction(handover.subject));
        }
        (, Transaction memory transaction, uint256 signatures, Fault badBody) =
            decodeForced(handover.body);
        if (isFault(badBody)) return badBody;
        handover.subject = pointerTo(transaction);
        return validateForced(state, transaction, handover.body, signatures, handover.domain);
    }

    /// @dev The part of `processAction` in `protocol/Messages.sol` that is about markets.
    function _processAction(State memory state, Transaction memory transaction)
        private
        pure
        returns (Fault)
    {
        Kind kind = transaction.kind;
        if (kind == Kind.SURFACE) return processSurface(state, transaction.surface);
        if (kind == Kind.LIST) return processList(state, transaction.list);
        return processFund(state, transaction.fund);
    }
}
