// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDeployFactory} from "./interfaces/IDeployFactory.sol";
import {CREATE3} from "solady/src/utils/CREATE3.sol";

/// @title CREATE3 for whoever calls. Guarantees: `IDeployFactory`.
contract DeployFactory is IDeployFactory {
    /// @inheritdoc IDeployFactory
    mapping(address deployed => uint256 block) public blockOf;

    /// @inheritdoc IDeployFactory
    function deploy(bytes32 salt, bytes calldata initCode) external returns (address deployed) {
        deployed = addressOf(msg.sender, salt);
        if (blockOf[deployed] != 0) revert DeployFactory_Taken(deployed);
        // Before the constructor runs: one that calls back finds its own salt taken.
        blockOf[deployed] = block.number;
        emit Deployed(msg.sender, salt, deployed);
        CREATE3.deployDeterministic(initCode, _bind(msg.sender, salt));
    }

    /// @inheritdoc IDeployFactory
    function addressOf(address deployer, bytes32 salt) public view returns (address) {
        return CREATE3.predictDeterministicAddress(_bind(deployer, salt));
    }

    function _bind(address deployer, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(deployer, salt));
    }
}
