// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Fault} from "../../protocol/Fault.sol";
import "../../protocol/Leaf.sol" as Leaf;
import {
    Account,
    Committee,
    Exit,
    Expiry,
    Globals,
    Grid,
    RiskModel,
    Series,
    Slot,
    Underlying,
    UnderlyingParams
} from "../../protocol/Types.sol";

/// @title Opens leaf encodings to tests.
contract LeafHarness {
    function hash(bytes memory encoding) external pure returns (bytes32) {
        return Leaf.hashLeaf(encoding);
    }

    function encodeAccount(Account memory leaf, bytes32 slotRoot)
        external
        pure
        returns (bytes memory, Fault)
    {
        return Leaf.encodeAccount(leaf, slotRoot);
    }

    function decodeAccount(bytes memory encoding) external pure returns (Account memory, bytes32) {
        return Leaf.decodeAccount(encoding);
    }

    function encodeSlot(Slot memory leaf) external pure returns (bytes memory, Fault) {
        return Leaf.encodeSlot(leaf);
    }

    function decodeSlot(bytes memory encoding) external pure returns (Slot memory) {
        return Leaf.decodeSlot(encoding);
    }

    function encodeModel(RiskModel memory model) external pure returns (bytes memory, Fault) {
        return Leaf.encodeModel(model);
    }

    function decodeModel(bytes memory encoding) external pure returns (RiskModel memory) {
        return Leaf.decodeModel(encoding);
    }

    function encodeGrid(Grid memory leaf) external pure returns (bytes memory, Fault) {
        return Leaf.encodeGrid(leaf);
    }

    function decodeGrid(bytes memory encoding) external pure returns (Grid memory) {
        return Leaf.decodeGrid(encoding);
    }

    function encodeCommittee(Committee memory leaf) external pure returns (bytes memory, Fault) {
        return Leaf.encodeCommittee(leaf);
    }

    function decodeCommittee(bytes memory encoding) external pure returns (Committee memory) {
        return Leaf.decodeCommittee(encoding);
    }

    function encodeParams(UnderlyingParams memory params)
        external
        pure
        returns (bytes memory, Fault)
    {
        return Leaf.encodeParams(params);
    }

    function decodeParams(bytes memory encoding) external pure returns (UnderlyingParams memory) {
        return Leaf.decodeParams(encoding);
    }

    function encodeUnderlying(Underlying memory leaf) external pure returns (bytes memory, Fault) {
        return Leaf.encodeUnderlying(leaf);
    }

    function decodeUnderlying(bytes memory encoding) external pure returns (Underlying memory) {
        return Leaf.decodeUnderlying(encoding);
    }

    function encodeExpiry(Expiry memory leaf) external pure returns (bytes memory, Fault) {
        return Leaf.encodeExpiry(leaf);
    }

    function decodeExpiry(bytes memory encoding) external pure returns (Expiry memory) {
        return Leaf.decodeExpiry(encoding);
    }

    function encodeSeries(Series memory leaf) external pure returns (bytes memory, Fault) {
        return Leaf.encodeSeries(leaf);
    }

    function decodeSeries(bytes memory encoding) external pure returns (Series memory) {
        return Leaf.decodeSeries(encoding);
    }

    function encodeExit(Exit memory leaf) external pure returns (bytes memory, Fault) {
        return Leaf.encodeExit(leaf);
    }

    function encodeGlobals(Globals memory globals) external pure returns (bytes memory, Fault) {
        return Leaf.encodeGlobals(globals);
    }

    function decodeGlobals(bytes memory encoding) external pure returns (Globals memory) {
        return Leaf.decodeGlobals(encoding);
    }

    function hashGlobals(Globals memory globals) external pure returns (bytes32, Fault) {
        return Leaf.hashGlobals(globals);
    }
}
