// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Places contracts at addresses that their own code and arguments do not change.
/// @notice An address follows from this factory's, the caller's and a salt. So contracts that name
/// each other can be given each other's addresses before any of them exists, and a deployment that
/// stopped half-way goes on at the same addresses.
/// @dev Nobody else can take a caller's address: the caller is part of the salt. Nothing here holds
/// money, has an owner or can be changed.
interface IDeployFactory {
    /// @notice A contract came to life.
    /// @param deployer Whose address it is.
    /// @param salt What the deployer named it by.
    /// @param deployed Where it is.
    event Deployed(address indexed deployer, bytes32 indexed salt, address indexed deployed);

    /// @notice The caller has used this salt.
    error DeployFactory_Taken(address deployed);

    /// @notice Creates a contract. Reverts with Solady's `DeploymentFailed()` when its constructor
    /// reverts or leaves no code behind; the salt can then be used again.
    /// @param salt Names the contract among the caller's.
    /// @param initCode Creation code, followed by the constructor's arguments.
    /// @return deployed `addressOf(msg.sender, salt)`.
    function deploy(bytes32 salt, bytes calldata initCode) external returns (address deployed);

    /// @notice Where `deploy` puts a contract.
    function addressOf(address deployer, bytes32 salt) external view returns (address);

    /// @notice L1 block in which `deploy` put it there; zero if it did not.
    /// @dev What a lost registry is made again from, without an archive node.
    function blockOf(address deployed) external view returns (uint256);
}
