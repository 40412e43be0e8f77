// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Bridge} from "../../contracts/Bridge.sol";
import {DepositCap, Exit} from "../../contracts/interfaces/IBridge.sol";
import {IMarginVault} from "../../contracts/interfaces/IMarginVault.sol";
import {Header, IRollupInbox} from "../../contracts/interfaces/IRollupInbox.sol";
import {Commitments} from "../../contracts/libraries/Commitments.sol";
import {GLOBALS_BYTES} from "../../contracts/protocol/Leaf.sol";
import {SVM, VM} from "./Prover.sol";

/// @dev An exit is paid at most once. One call of the real bridge, from any storage; every header counts as
/// settled, so this does not lean on the inbox.
contract ExitTheorems {
    Bridge private _bridge;
    uint256 private _released;
    uint256 private _paid;
    uint32 private _index;
    address private _recipient;

    // This contract is the vault and the inbox.

    function bridge() external view returns (address) {
        return msg.sender;
    }

    function token() external view returns (address) {
        return address(this);
    }

    function isSettled(Header calldata) external pure returns (bool) {
        return true;
    }

    function release(uint32 exitIndex, address to, uint128 amount) external {
        ++_released;
        _index = exitIndex;
        _recipient = to;
        _paid = amount;
    }

    /// What is marked as claimed is refused, whatever is shown. Domain: every index, header and branch map; up to
    /// two siblings.
    function check_claimed_is_refused(
        Header calldata header,
        Exit calldata exit,
        uint32 map,
        bytes32[] calldata siblings
    ) external {
        _deploy();
        VM.assume(_bridge.isClaimed(exit.index));
        bytes memory globals = SVM.createBytes(GLOBALS_BYTES, "globals");
        (bool accepted,) = address(_bridge)
            .call(abi.encodeCall(_bridge.claimExit, (header, globals, exit, map, siblings)));
        assert(!accepted);
    }

    /// A claim marks its own exit, which was not marked, and no other. Domain: indexes at the edges of words and of
    /// the tree, branches of none or two siblings; all else is free.
    function check_claim(
        Header calldata header,
        Exit memory exit,
        uint8 place,
        uint32 other,
        bytes32[2] memory siblings
    ) external {
        _deploy();
        exit.index = _edge(place);
        bool was = _bridge.isClaimed(exit.index);
        bool otherWas = _bridge.isClaimed(other);
        _claim(header, exit, place, siblings);
        assert(!was && _bridge.isClaimed(exit.index));
        assert(_bridge.isClaimed(other) == (other == exit.index || otherWas));
    }

    /// A claim pays what the exit says, once, to the owner of the claim. Domain: as above.
    function check_claim_pays(
        Header calldata header,
        Exit memory exit,
        uint8 place,
        bytes32[2] memory siblings
    ) external {
        _deploy();
        exit.index = _edge(place);
        address owner = _bridge.ownerOfClaim(exit);
        _claim(header, exit, place, siblings);
        assert(_released == 1 && _index == exit.index && _paid == exit.amount);
        // An owner without the mark of a transfer is in no real storage.
        assert(_recipient == owner || _recipient == exit.recipient);
    }

    /// A transfer is its owner's, moves its own claim alone, and marks nothing as claimed. Domain: every exit.
    function check_transfer(Exit calldata exit, address to, Exit calldata other, uint32 index)
        external
    {
        _deploy();
        bool was = _bridge.isClaimed(index);
        address owner = _bridge.ownerOfClaim(exit);
        address otherOwner = _bridge.ownerOfClaim(other);
        _bridge.transferClaim(exit, to);
        assert(owner == address(this) && _bridge.ownerOfClaim(exit) == to);
        assert(_bridge.isClaimed(index) == was);
        bool isSame = exit.index == other.index && exit.asset == other.asset
            && exit.recipient == other.recipient && exit.amount == other.amount;
        assert(isSame || _bridge.ownerOfClaim(other) == otherOwner);
    }

    /// Who gets a claim is paid for it. Domain: indexes at the edges of words and of the tree; every owner and exit.
    function check_transferred_claim(
        Header calldata header,
        Exit memory exit,
        uint8 place,
        address to
    ) external {
        _deploy();
        exit.index = _edge(place);
        _bridge.transferClaim(exit, to);
        bytes memory globals = SVM.createBytes(GLOBALS_BYTES, "globals");
        _bridge.claimExit(header, globals, exit, 0, new bytes32[](0));
        assert(_released == 1 && _recipient == to && _paid == exit.amount);
    }

    /// An exit's hash says all that is paid: to whom, how much, of what.
    function check_exit_leaf(Exit calldata a, Exit calldata b) external pure {
        VM.assume(Commitments.computeExitLeaf(a) == Commitments.computeExitLeaf(b));
        assert(a.recipient == b.recipient && a.amount == b.amount && a.asset == b.asset);
    }

    /// Planted: a claim leaves every other exit's mark, and its own, as they were.
    function check_refuted_claim(Header calldata header, Exit memory exit, uint32 other) external {
        _deploy();
        exit.index = 128;
        bool otherWas = _bridge.isClaimed(other);
        bytes memory globals = SVM.createBytes(GLOBALS_BYTES, "globals");
        _bridge.claimExit(header, globals, exit, 0, new bytes32[](0));
        assert(_bridge.isClaimed(other) == otherWas);
    }

    /// The vault's part: nobody freezes.
    function escapeHatch() external pure returns (address) {
        return address(0);
    }

    function _deploy() private {
        _bridge = new Bridge(
            IMarginVault(address(this)),
            IRollupInbox(address(this)),
            address(0),
            DepositCap(0, 0, 0, 0)
        );
        SVM.enableSymbolicStorage(address(_bridge));
    }

    function _claim(
        Header calldata header,
        Exit memory exit,
        uint8 place,
        bytes32[2] memory siblings
    ) private {
        bytes memory globals = SVM.createBytes(GLOBALS_BYTES, "globals");
        bytes32[] memory branch = new bytes32[](place & 1 == 0 ? 0 : 2);
        for (uint256 i = 0; i < branch.length; ++i) {
            branch[i] = siblings[i];
        }
        _bridge.claimExit(header, globals, exit, branch.length == 0 ? 0 : 5, branch);
    }

    function _edge(uint8 place) private pure returns (uint32) {
        if (place == 0) return 0;
        if (place == 1) return 1;
        if (place == 2) return 127;
        if (place == 3) return 128;
        if (place == 4) return 2 ** 31;
        VM.assume(place == 5);
        return 2 ** 32 - 1;
    }
}
