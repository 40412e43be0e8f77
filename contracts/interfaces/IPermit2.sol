// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title What the bridge uses of Uniswap's Permit2: its signature transfer.
interface IPermit2 {
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    /// @notice Moves tokens as their owner signed it for the caller.
    /// @param permit What was signed, but for the spender, who is the caller.
    /// @param details Recipient and amount.
    /// @param owner Who signed.
    /// @param signature Of 64 or 65 bytes, or what the contract at `owner` takes for one.
    function permitTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata details,
        address owner,
        bytes calldata signature
    ) external;
}
