// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    Liquidate,
    Observation,
    Order,
    SetTradingKey,
    Surface,
    Transfer,
    Withdraw
} from "./Types.sol";

// EIP-712 digests of everything that users and oracle members sign.
//
// Domain: name "Deltaroll", version "1", chain id, the inbox as verifying contract. The texts of the types
// are what a wallet shows; https://eips.ethereum.org/EIPS/eip-712.

bytes32 constant DOMAIN_HASH =
    keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
bytes32 constant ORDER_HASH = keccak256(
    "Order(uint32 account,uint16 slot,uint32 nonce,uint32 epoch,uint16 market,bool isBuy,"
    "uint64 price,uint32 size,uint40 expiry,uint8 timeInForce,bool postOnly,bool reduceOnly)"
);
bytes32 constant TRANSFER_HASH =
    keccak256("Transfer(uint32 from,uint32 to,uint128 amount,uint64 nonce)");
bytes32 constant WITHDRAW_HASH =
    keccak256("Withdraw(uint32 account,address recipient,uint128 amount,uint64 nonce)");
bytes32 constant SET_TRADING_KEY_HASH =
    keccak256("SetTradingKey(uint32 account,address key,uint40 expiry,uint64 nonce)");
bytes32 constant OBSERVATION_HASH =
    keccak256("Observation(uint16 market,uint64 price,uint40 time)");
bytes32 constant SURFACE_HASH = keccak256(
    "Surface(uint16 market,uint64 ratio,int64 rate,int64 a,int64 b,int64 rho,int64 m,int64 sigma,"
    "uint40 time)"
);
bytes32 constant LIQUIDATE_HASH =
    keccak256("Liquidate(uint32 account,uint32 target,uint32 share,uint32 reward,uint64 nonce)");
bytes32 constant NAME_HASH = keccak256("Deltaroll");
bytes32 constant VERSION_HASH = keccak256("1");

/// @dev Return the domain separator of a deployment.
function computeDomainSeparator(uint256 chainId, address inbox) pure returns (bytes32) {
    return keccak256(abi.encode(DOMAIN_HASH, NAME_HASH, VERSION_HASH, chainId, inbox));
}

/// @dev Return what is signed: 0x1901, domain separator, struct hash.
function computeDigest(bytes32 domain, bytes32 structHash) pure returns (bytes32) {
    return keccak256(abi.encodePacked(hex"1901", domain, structHash));
}

/// @dev Return the struct hash of an order.
function hashOrder(uint256 account, uint256 slot, Order memory order) pure returns (bytes32) {
    return keccak256(
        abi.encode(
            ORDER_HASH,
            account,
            slot,
            order.nonce,
            order.epoch,
            order.market,
            order.isBuy,
            order.price,
            order.size,
            order.expiry,
            order.timeInForce,
            order.postOnly,
            order.reduceOnly
        )
    );
}

/// @dev Return the struct hash of a transfer.
function hashTransfer(Transfer memory transfer) pure returns (bytes32) {
    return keccak256(
        abi.encode(
            TRANSFER_HASH, transfer.sender, transfer.recipient, transfer.amount, transfer.nonce
        )
    );
}

/// @dev Return the struct hash of a withdrawal.
function hashWithdraw(Withdraw memory withdraw) pure returns (bytes32) {
    return keccak256(
        abi.encode(
            WITHDRAW_HASH, withdraw.account, withdraw.recipient, withdraw.amount, withdraw.nonce
        )
    );
}

/// @dev Return the struct hash of a change of trading key.
function hashSetTradingKey(SetTradingKey memory change) pure returns (bytes32) {
    return keccak256(
        abi.encode(SET_TRADING_KEY_HASH, change.account, change.key, change.expiry, change.nonce)
    );
}

/// @dev Return the struct hash of a committee member's price.
function hashObservation(uint256 market, Observation memory observation) pure returns (bytes32) {
    return keccak256(abi.encode(OBSERVATION_HASH, market, observation.price, observation.time));
}

/// @dev Return the struct hash of a volatility surface, the same for every member.
function hashSurface(Surface memory surface) pure returns (bytes32) {
    return keccak256(
        abi.encode(
            SURFACE_HASH,
            surface.market,
            surface.ratio,
            surface.rate,
            surface.a,
            surface.b,
            surface.rho,
            surface.m,
            surface.sigma,
            surface.time
        )
    );
}

/// @dev Return the struct hash of a liquidation.
function hashLiquidate(Liquidate memory liquidate) pure returns (bytes32) {
    return keccak256(
        abi.encode(
            LIQUIDATE_HASH,
            liquidate.account,
            liquidate.target,
            liquidate.share,
            liquidate.reward,
            liquidate.nonce
        )
    );
}
