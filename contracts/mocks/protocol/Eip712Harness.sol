// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import "../../protocol/Eip712.sol" as Eip712;
import {recoverSigner} from "../../protocol/Recovery.sol";
import {
    Liquidate,
    Observation,
    Order,
    SetTradingKey,
    Surface,
    Transfer,
    Withdraw
} from "../../protocol/Types.sol";

/// @title Opens digests and public-key recovery to tests.
contract Eip712Harness {
    function domain(uint256 chainId, address inbox) external pure returns (bytes32) {
        return Eip712.computeDomainSeparator(chainId, inbox);
    }

    function digest(bytes32 separator, bytes32 structHash) external pure returns (bytes32) {
        return Eip712.computeDigest(separator, structHash);
    }

    function order(uint256 account, uint256 slot, Order memory value)
        external
        pure
        returns (bytes32)
    {
        return Eip712.hashOrder(account, slot, value);
    }

    function transfer(Transfer memory value) external pure returns (bytes32) {
        return Eip712.hashTransfer(value);
    }

    function withdraw(Withdraw memory value) external pure returns (bytes32) {
        return Eip712.hashWithdraw(value);
    }

    function setTradingKey(SetTradingKey memory value) external pure returns (bytes32) {
        return Eip712.hashSetTradingKey(value);
    }

    function observation(uint256 market, Observation memory value) external pure returns (bytes32) {
        return Eip712.hashObservation(market, value);
    }

    function surface(Surface memory value) external pure returns (bytes32) {
        return Eip712.hashSurface(value);
    }

    function liquidate(Liquidate memory value) external pure returns (bytes32) {
        return Eip712.hashLiquidate(value);
    }

    function recover(bytes32 digest_, bytes32 r, bytes32 sAndParity)
        external
        pure
        returns (address)
    {
        return recoverSigner(digest_, r, sAndParity);
    }
}
