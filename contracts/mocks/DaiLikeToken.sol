// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MockToken} from "./MockToken.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title A token with the permit of DAI, which is not that of EIP-2612.
contract DaiLikeToken is MockToken {
    error DaiLikeToken_InvalidPermit();

    bytes32 public constant PERMIT_TYPEHASH = keccak256(
        "Permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed)"
    );
    // solhint-disable-next-line immutable-vars-naming
    bytes32 public immutable DOMAIN_SEPARATOR = keccak256(
        abi.encode(
            keccak256(
                "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
            ),
            keccak256("Mock"),
            keccak256("1"),
            block.chainid,
            address(this)
        )
    );

    mapping(address holder => uint256) public nonces;

    function permit(
        address holder,
        address spender,
        uint256 nonce,
        uint256 expiry,
        bool allowed,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 content = keccak256(
            abi.encode(PERMIT_TYPEHASH, holder, spender, nonce, expiry, allowed)
        );
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", DOMAIN_SEPARATOR, content));
        if (
            ECDSA.recover(digest, v, r, s) != holder || nonce != nonces[holder]++
                || (expiry != 0 && block.timestamp > expiry)
        ) revert DaiLikeToken_InvalidPermit();
        _approve(holder, spender, allowed ? type(uint256).max : 0);
    }
}
