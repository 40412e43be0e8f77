// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MemoryImage} from "./protocol/MemoryImage.sol";
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
/// may call it; it proves nothing by itself. What it has no room for is in three more modules.
contract TransitionExecutor {
    /// @notice Runs markets and governance, and opens forced transactions.
    address public immutable marketExecutor;
    /// @notice Runs liquidations.
    address public immutable accountExecutor;
    /// @notice Prices options.
    address public immutable optionPricer;

    /// @notice There is no contract at the address of a module.
    error TransitionExecutor_InvalidModule(address module);

    /// @param marketExecutor_ A `MarketExecutor`.
    /// @param accountExecutor_ An `AccountExecutor`.
    /// @param optionPricer_ An `OptionPricer`.
    constructor(address marketExecutor_, address accountExecutor_, address optionPricer_) {
        _requireCode(marketExecutor_);
        _requireCode(accountExecutor_);
        _requireCode(optionPricer_);
        marketExecutor = marketExecutor_;
        accountExecutor = accountExecutor_;
        optionPricer = optionPricer_;
    }

    // The calldata is an image and has no selector: it starts with an address in memory, which is
    // small, so no function above has a selector that it could be taken for.
    // solhint-disable-next-line payable-fallback, no-complex-fallback
    fallback() external {
        uint256 root = MemoryImage.receiveImage();
        Execution memory execution;
        assembly ("memory-safe") {
            execution := root
        }
        execution.state.marketExecutor = marketExecutor;
        execution.state.accountExecutor = accountExecutor;
        execution.state.optionPricer = optionPricer;
        MemoryImage.returnImage(
            uint256(processChunk(execution.state, execution.data, execution.context))
        );
    }

    function _requireCode(address module) private view {
        if (module.code.length == 0) revert TransitionExecutor_InvalidModule(module);
    }
}
