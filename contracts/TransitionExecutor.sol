// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MemoryImage} from "./libraries/MemoryImage.sol";
import {State} from "./protocol/State.sol";
import {processChunk} from "./protocol/Transition.sol";
import {Context} from "./protocol/Types.sol";

/// @dev What the verifier and the executor share: a chunk and what it works on.
struct Execution {
    State state;
    bytes data;
    Context context;
}

/// @title Applies a chunk to the leaves of a witness.
/// @dev Stateless, and a module of `TransitionVerifier`: called with a memory image whose root is an
/// `Execution`, it gives back the image with the state changed, and the fault as its result. Anyone
/// may call it; it proves nothing by itself.
contract TransitionExecutor {
    // The calldata is an image and has no selector.
    // solhint-disable-next-line payable-fallback, no-complex-fallback
    fallback() external {
        uint256 root = MemoryImage.receiveImage();
        Execution memory execution;
        assembly ("memory-safe") {
            execution := root
        }
        MemoryImage.returnImage(
            uint256(processChunk(execution.state, execution.data, execution.context))
        );
    }
}
