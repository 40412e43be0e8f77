// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

// Public-key recovery from 64-byte compact signatures (EIP-2098), the protocol's only signature form.

uint256 constant SIGNATURE_BYTES = 64;
/// @dev Half the order of secp256k1: a higher s is a second signature for the same meaning (EIP-2).
uint256 constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

/// @dev Return the address that signed `digest`, or the zero address when the signature proves nothing.
///
/// A signature is r, then s with the parity of y in its top bit. High s, r or s out of range and points off
/// the curve all give zero. When gas runs out inside the precompile this reverts: it never gives zero.
function recoverSigner(bytes32 digest, bytes32 r, bytes32 sAndParity) pure returns (address) {
    uint256 s = uint256(sAndParity) & ((1 << 255) - 1);
    if (s > HALF_ORDER) return address(0);
    return ecrecover(digest, uint8(27 + (uint256(sAndParity) >> 255)), r, bytes32(s));
}
