// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Hands a contract's working memory to another contract and takes it back.
/// @notice The state transition is longer than one contract may be (EIP-170). A verifier builds its
/// objects in memory, a stateless module works on them in place: both keep them at the same
/// addresses, so nothing is encoded, and a pointer means the same on both sides.
/// @dev An image is all of memory from START to the free memory pointer, behind one word: the root
/// on the way there, a result on the way back. Below START each contract has the compiler's own
/// words, which differ between contracts and never travel. Neither side may point there.
///
/// A module that runs out of gas or reverts makes the caller revert: nothing is ever read from a
/// call that failed.
library MemoryImage {
    /// Above what the compiler reserves in any of the contracts; checked at run time.
    uint256 internal constant START = 0x1000;
    /// Where the word before the image stands.
    uint256 internal constant HEAD = 0xfe0;

    /// @notice The compiler reserves more memory than the image leaves to it, or something was
    /// allocated before the image.
    error MemoryImage_Reserved(uint256 used);

    /// @notice The module gave back less than it was given.
    error MemoryImage_Truncated();

    /// @notice Starts an image: objects allocated from here on are in it.
    function begin() internal pure {
        _requireRoom();
        assembly ("memory-safe") {
            mstore(0x40, START)
        }
    }

    /// @notice Lets a module work on the image; objects stay where they are, new ones come behind.
    /// @param module A contract that starts with `receiveImage` and ends with `returnImage`.
    /// @param root Address of the object that leads to all the others.
    /// @return result The module's word.
    function callModule(address module, uint256 root) internal view returns (uint256 result) {
        bool isTruncated;
        // Writes to HEAD, which `begin` keeps free, and to the image, which is ours.
        assembly ("memory-safe") {
            let length := sub(mload(0x40), HEAD)
            mstore(HEAD, root)
            if iszero(staticcall(gas(), module, HEAD, length, 0, 0)) {
                returndatacopy(START, 0, returndatasize())
                revert(START, returndatasize())
            }
            isTruncated := lt(returndatasize(), length)
            returndatacopy(HEAD, 0, returndatasize())
            mstore(0x40, and(add(add(HEAD, returndatasize()), 0x1f), not(0x1f)))
            result := mload(HEAD)
        }
        if (isTruncated) revert MemoryImage_Truncated();
    }

    /// @notice Takes the image that a module was called with.
    /// @return root Address of the object that leads to all the others.
    function receiveImage() internal pure returns (uint256 root) {
        _requireRoom();
        assembly ("memory-safe") {
            calldatacopy(HEAD, 0, calldatasize())
            root := mload(HEAD)
            mstore(0x40, and(add(add(HEAD, calldatasize()), 0x1f), not(0x1f)))
        }
    }

    /// @notice Ends the call, giving the image back.
    function returnImage(uint256 result) internal pure {
        assembly ("memory-safe") {
            mstore(HEAD, result)
            return(HEAD, sub(mload(0x40), HEAD))
        }
    }

    function _requireRoom() private pure {
        uint256 used;
        assembly ("memory-safe") {
            used := mload(0x40)
        }
        if (used > HEAD) revert MemoryImage_Reserved(used);
    }
}
