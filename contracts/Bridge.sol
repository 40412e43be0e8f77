// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Exit, IBridge} from "./interfaces/IBridge.sol";
import {IMarginVault} from "./interfaces/IMarginVault.sol";
import {Header, IRollupInbox} from "./interfaces/IRollupInbox.sol";
import {Commitments} from "./libraries/Commitments.sol";
import {MAX_AMOUNT} from "./protocol/Constants.sol";
import {GLOBALS_BYTES, GLOBALS_TAG, GLOBALS_VERSION} from "./protocol/Leaf.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {LibBit} from "solady/src/utils/LibBit.sol";

/// @title The door between L1 and L2. Guarantees and message bodies: `IBridge`.
contract Bridge is IBridge {
    using SafeERC20 for IERC20;

    /// Kinds of queue messages.
    uint8 public constant DEPOSIT = 1;
    uint8 public constant FORCE_EXIT = 2;
    uint8 public constant CANCEL_ALL = 3;
    uint8 public constant FORCED = 4;
    uint8 public constant CONFIGURE = 5;
    uint8 public constant FORCE_CLOSE = 6;
    /// Longest body of a message.
    uint256 public constant MAX_BODY = 1024;

    /// First two bytes of the globals: tag and version.
    bytes2 private constant GLOBALS_PREFIX = bytes2(uint16((GLOBALS_TAG << 8) | GLOBALS_VERSION));
    uint256 private constant EXITS_ROOT_OFFSET = 66;

    /// @inheritdoc IBridge
    IMarginVault public immutable vault;
    /// @inheritdoc IBridge
    address public immutable token;
    /// @inheritdoc IBridge
    IRollupInbox public immutable inbox;
    /// @inheritdoc IBridge
    address public immutable governor;
    /// @inheritdoc IBridge
    address public immutable escapeHatch;

    /// @inheritdoc IBridge
    uint64 public queueCount;
    /// @inheritdoc IBridge
    bool public isFrozen;
    mapping(uint256 index => bytes32) private _queue;
    /// 256 exits to a word.
    mapping(uint256 word => uint256 bits) private _claimed;

    /// @param vault_ Deployed just before, for the address that this bridge gets.
    /// @param inbox_ Predicted address: the inbox is deployed next and checks it.
    /// @param governor_ Sender of `configure`; zero for nobody.
    constructor(IMarginVault vault_, IRollupInbox inbox_, address governor_) {
        if (vault_.bridge() != address(this)) revert Bridge_WrongVault(address(vault_));
        if (address(inbox_) == address(0)) revert Bridge_InvalidInbox(address(inbox_));
        vault = vault_;
        token = vault_.token();
        inbox = inbox_;
        governor = governor_;
        escapeHatch = vault_.escapeHatch();
    }

    /// @inheritdoc IBridge
    function deposit(address owner, uint32 account, uint256 amount) external {
        _deposit(owner, account, amount);
    }

    /// @inheritdoc IBridge
    function depositWithPermit(
        address owner,
        uint32 account,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        // Failure is not an error: the allowance may be there already, be it from this very permit.
        // solhint-disable no-empty-blocks
        try IERC20Permit(token).permit(msg.sender, address(this), amount, deadline, v, r, s) {}
            catch {}
        // solhint-enable no-empty-blocks
        _deposit(owner, account, amount);
    }

    /// @inheritdoc IBridge
    function forceExit(uint32 account, uint128 amount) external {
        if (account == 0) revert Bridge_ZeroAccount();
        if (amount == 0) revert Bridge_ZeroAmount();
        _enqueue(FORCE_EXIT, abi.encodePacked(account, amount));
    }

    /// @inheritdoc IBridge
    function forceClose(uint32 account, uint16 series, uint64 lots) external {
        if (account == 0) revert Bridge_ZeroAccount();
        _enqueue(FORCE_CLOSE, abi.encodePacked(account, series, lots));
    }

    /// @inheritdoc IBridge
    function cancelAll(uint32 account) external {
        if (account == 0) revert Bridge_ZeroAccount();
        _enqueue(CANCEL_ALL, abi.encodePacked(account));
    }

    /// @inheritdoc IBridge
    function force(bytes calldata body) external {
        _validateBody(body);
        _enqueue(FORCED, body);
    }

    /// @inheritdoc IBridge
    function configure(bytes calldata body) external {
        if (msg.sender != governor) revert Bridge_NotGovernor(msg.sender);
        _validateBody(body);
        _enqueue(CONFIGURE, body);
    }

    /// @inheritdoc IBridge
    function freeze() external {
        if (msg.sender != escapeHatch) revert Bridge_NotEscapeHatch(msg.sender);
        isFrozen = true;
    }

    /// @inheritdoc IBridge
    function claimExit(
        Header calldata header,
        bytes calldata globals,
        Exit calldata exit,
        uint32 siblingMap,
        bytes32[] calldata siblings
    ) external {
        if (!inbox.isSettled(header)) revert Bridge_NotSettled(header.index);
        if (exit.asset != 0) revert Bridge_UnknownAsset(exit.asset);
        uint256 claimed = _claimed[exit.index / 256];
        uint256 bit = 1 << (exit.index % 256);
        if (claimed & bit != 0) revert Bridge_AlreadyClaimed(exit.index);
        _validateExit(_openExitsRoot(header.postRoot, globals), exit, siblingMap, siblings);

        _claimed[exit.index / 256] = claimed | bit;
        emit ExitClaimed(exit.index, exit.recipient, exit.amount);
        vault.release(exit.recipient, exit.amount);
    }

    /// @inheritdoc IBridge
    function queueHash(uint64 index) external view returns (bytes32) {
        if (index >= queueCount) revert Bridge_UnknownMessage(index);
        return _queue[index];
    }

    /// @inheritdoc IBridge
    function isClaimed(uint32 exitIndex) external view returns (bool) {
        return (_claimed[exitIndex / 256] >> (exitIndex % 256)) & 1 == 1;
    }

    /// @dev The message goes first; without the money the whole call reverts. Asking for the exact
    /// gain also makes a re-entering token fail: what moved inside would be counted twice.
    function _deposit(address owner, uint32 account, uint256 amount) private {
        if (owner == address(0)) revert Bridge_ZeroOwner();
        if (amount == 0) revert Bridge_ZeroAmount();
        if (amount > MAX_AMOUNT) revert Bridge_AmountTooLarge(amount);

        _enqueue(DEPOSIT, abi.encodePacked(owner, account, uint128(amount)));

        uint256 before = IERC20(token).balanceOf(address(vault));
        IERC20(token).safeTransferFrom(msg.sender, address(vault), amount);
        uint256 held = IERC20(token).balanceOf(address(vault));
        uint256 received = held > before ? held - before : 0;
        if (received != amount) revert Bridge_WrongAmountReceived(amount, received);
    }

    function _enqueue(uint8 kind, bytes memory body) private {
        if (isFrozen) revert Bridge_Frozen();
        uint64 index = queueCount;
        bytes32 previous = index == 0 ? bytes32(0) : _queue[index - 1];
        bytes32 message = Commitments.computeMessageHash(
            kind, msg.sender, uint64(block.timestamp), keccak256(body)
        );
        bytes32 current = Commitments.computeQueueHash(previous, message);

        _queue[index] = current;
        queueCount = index + 1;
        emit MessageQueued(index, kind, msg.sender, uint64(block.timestamp), body, current);
    }

    function _validateBody(bytes calldata body) private pure {
        if (body.length == 0 || body.length > MAX_BODY) revert Bridge_BodyLength(body.length);
    }

    function _openExitsRoot(bytes32 stateRoot, bytes calldata globals)
        private
        pure
        returns (bytes32)
    {
        if (
            globals.length != GLOBALS_BYTES || bytes2(globals) != GLOBALS_PREFIX
                || keccak256(globals) != stateRoot
        ) revert Bridge_WrongGlobals();
        return bytes32(globals[EXITS_ROOT_OFFSET:EXITS_ROOT_OFFSET + 32]);
    }

    /// @dev 32 index bits and 32 levels: one path for one index, so the index names the exit.
    function _validateExit(
        bytes32 exitsRoot,
        Exit calldata exit,
        uint32 siblingMap,
        bytes32[] calldata siblings
    ) private pure {
        uint256 expected = LibBit.popCount(siblingMap);
        if (siblings.length != expected) revert Bridge_BranchLength(expected, siblings.length);
        bytes32 leaf = Commitments.computeExitLeaf(exit);
        if (Commitments.computeExitBranch(leaf, exit.index, siblingMap, siblings) != exitsRoot) {
            revert Bridge_WrongBranch();
        }
    }
}
