// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ClaimOffer, DepositCap, Exit, IBridge} from "./interfaces/IBridge.sol";
import {IMarginVault} from "./interfaces/IMarginVault.sol";
import {IPermit2} from "./interfaces/IPermit2.sol";
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
    /// A deposit cap ends by then.
    uint256 public constant MAX_CAP_TIME = 730 days;
    /// Where Permit2 is on every chain that has it.
    IPermit2 public constant PERMIT2 = IPermit2(0x000000000022D473030F116dDEE9F6B43aC78BA3);

    /// First two bytes of the globals: tag and version.
    bytes2 private constant GLOBALS_PREFIX = bytes2(uint16((GLOBALS_TAG << 8) | GLOBALS_VERSION));
    uint256 private constant EXITS_ROOT_OFFSET = 66;
    uint256 private constant HEADER_BYTES = 32 * Commitments.HEADER_WORDS;
    /// Marks of an exit: two bits, 128 exits to a word.
    uint256 private constant EXITS_PER_WORD = 128;
    uint256 private constant CLAIMED = 1;
    uint256 private constant TRANSFERRED = 2;

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
    uint64 public immutable capStart;
    /// @inheritdoc IBridge
    uint128 public immutable capAtStart;
    /// @inheritdoc IBridge
    uint128 public immutable capPerDay;
    /// @inheritdoc IBridge
    uint64 public immutable capEnd;

    /// @inheritdoc IBridge
    uint64 public queueCount;
    /// @inheritdoc IBridge
    bool public isFrozen;
    mapping(uint256 index => bytes32) private _queue;
    mapping(uint256 word => uint256 bits) private _marks;
    /// Of claims that were transferred.
    mapping(bytes32 claim => address) private _owners;
    mapping(bytes32 claim => ClaimOffer) private _offers;

    /// @param vault_ Deployed just before, for the address that this bridge gets.
    /// @param inbox_ Predicted address: the inbox is deployed next and checks it.
    /// @param governor_ Sender of `configure`; zero for nobody.
    /// @param cap All zero for none.
    constructor(
        IMarginVault vault_,
        IRollupInbox inbox_,
        address governor_,
        DepositCap memory cap
    ) {
        if (vault_.bridge() != address(this)) {
            revert Bridge_WrongVault(address(vault_));
        }
        if (address(inbox_) == address(0)) revert Bridge_InvalidInbox(address(inbox_));
        _validateCap(cap);
        vault = vault_;
        token = vault_.token();
        inbox = inbox_;
        governor = governor_;
        escapeHatch = vault_.escapeHatch();
        capAtStart = cap.initial;
        capPerDay = cap.perDay;
        capStart = cap.start;
        capEnd = cap.end;
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
        // Failure is no error by itself: the allowance may be there already, be it from this very permit.
        // solhint-disable-next-line no-empty-blocks
        try IERC20Permit(token).permit(msg.sender, address(this), amount, deadline, v, r, s) {}
        catch {
            if (IERC20(token).allowance(msg.sender, address(this)) < amount) {
                revert Bridge_PermitRefused();
            }
        }
        _deposit(owner, account, amount);
    }

    /// @inheritdoc IBridge
    function depositWithPermit2(
        address owner,
        uint32 account,
        uint256 amount,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        if (address(PERMIT2).code.length == 0) revert Bridge_NoPermit2();
        uint256 before = _queueDeposit(owner, account, amount);
        PERMIT2.permitTransferFrom(
            IPermit2.PermitTransferFrom(IPermit2.TokenPermissions(token, amount), nonce, deadline),
            IPermit2.SignatureTransferDetails(address(vault), amount),
            msg.sender,
            signature
        );
        _validateGain(before, amount);
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
        if (!_isSettled()) revert Bridge_NotSettled(header.index);
        if (exit.asset != 0) revert Bridge_UnknownAsset(exit.asset);
        uint32 index = exit.index;
        (uint256 word, uint256 place) = _locate(index);
        uint256 marks = _marks[word];
        if ((marks >> place) & CLAIMED != 0) revert Bridge_AlreadyClaimed(index);
        _validateExit(_openExitsRoot(header.postRoot, globals), exit, siblingMap, siblings);

        address to = exit.recipient;
        uint128 amount = exit.amount;
        if ((marks >> place) & TRANSFERRED != 0) to = _ownerOf(_computeKey(exit), to);
        _marks[word] = marks | (CLAIMED << place);
        emit ExitClaimed(index, to, amount);
        vault.release(index, to, amount);
    }

    /// @inheritdoc IBridge
    function transferClaim(Exit calldata exit, address to) external {
        if (to == address(0)) revert Bridge_ZeroOwner();
        bytes32 key = _validateOwner(exit, msg.sender);
        _transferClaim(key, exit, msg.sender, to);
    }

    /// @inheritdoc IBridge
    function offerClaim(Exit calldata exit, address buyer, uint128 price, uint64 deadline)
        external
    {
        if (price == 0) revert Bridge_ZeroAmount();
        if (deadline < block.timestamp) revert Bridge_OfferExpired(deadline);
        bytes32 key = _validateOwner(exit, msg.sender);
        _offers[key] = ClaimOffer(buyer, deadline, price);
        emit ClaimOffered(
            exit.index, msg.sender, buyer, exit.recipient, exit.amount, price, deadline
        );
    }

    /// @inheritdoc IBridge
    function withdrawOffer(Exit calldata exit) external {
        bytes32 key = _validateOwner(exit, msg.sender);
        if (_offers[key].deadline == 0) revert Bridge_NoOffer(exit.index);
        delete _offers[key];
        emit OfferWithdrawn(exit.index, msg.sender);
    }

    /// @inheritdoc IBridge
    function takeClaim(Exit calldata exit, address owner, uint128 maxPrice) external {
        bytes32 key = _validateOwner(exit, owner);
        ClaimOffer memory offer = _offers[key];
        if (offer.deadline == 0) revert Bridge_NoOffer(exit.index);
        if (offer.deadline < block.timestamp) revert Bridge_OfferExpired(offer.deadline);
        if (offer.buyer != address(0) && offer.buyer != msg.sender) {
            revert Bridge_NotBuyer(msg.sender);
        }
        if (offer.price > maxPrice) revert Bridge_PriceTooHigh(offer.price, maxPrice);

        _transferClaim(key, exit, owner, msg.sender);
        emit ClaimSold(exit.index, owner, msg.sender, offer.price);
        IERC20(token).safeTransferFrom(msg.sender, owner, offer.price);
    }

    /// @inheritdoc IBridge
    function queueHash(uint64 index) external view returns (bytes32) {
        if (index >= queueCount) revert Bridge_UnknownMessage(index);
        return _queue[index];
    }

    /// @inheritdoc IBridge
    function isClaimed(uint32 exitIndex) external view returns (bool) {
        (uint256 word, uint256 place) = _locate(exitIndex);
        return (_marks[word] >> place) & CLAIMED != 0;
    }

    /// @inheritdoc IBridge
    function ownerOfClaim(Exit calldata exit) external view returns (address) {
        return _ownerOf(_computeKey(exit), exit.recipient);
    }

    /// @inheritdoc IBridge
    function offerOf(Exit calldata exit) external view returns (ClaimOffer memory) {
        return _offers[_computeKey(exit)];
    }

    /// @inheritdoc IBridge
    function depositCap() public view returns (uint256) {
        // An end of zero is always over.
        if (block.timestamp >= capEnd) return type(uint256).max;
        uint256 elapsed = block.timestamp > capStart ? block.timestamp - capStart : 0;
        return capAtStart + uint256(capPerDay) * elapsed / 1 days;
    }

    function _deposit(address owner, uint32 account, uint256 amount) private {
        uint256 before = _queueDeposit(owner, account, amount);
        IERC20(token).safeTransferFrom(msg.sender, address(vault), amount);
        _validateGain(before, amount);
    }

    /// @dev The message goes first; without the money the whole call reverts.
    function _queueDeposit(address owner, uint32 account, uint256 amount)
        private
        returns (uint256 before)
    {
        if (owner == address(0)) revert Bridge_ZeroOwner();
        if (amount == 0) revert Bridge_ZeroAmount();
        if (amount > MAX_AMOUNT) revert Bridge_AmountTooLarge(amount);

        _enqueue(DEPOSIT, abi.encodePacked(owner, account, uint128(amount)));
        return IERC20(token).balanceOf(address(vault));
    }

    /// @dev Asking for the exact gain also makes a re-entering token fail: what moved inside would be
    /// counted twice.
    function _validateGain(uint256 before, uint256 amount) private view {
        uint256 held = IERC20(token).balanceOf(address(vault));
        uint256 received = held > before ? held - before : 0;
        if (received != amount) revert Bridge_WrongAmountReceived(amount, received);
        uint256 cap = depositCap();
        if (held > cap) revert Bridge_DepositCap(cap, held);
    }

    /// @dev Any offer dies with it. The mark tells the claim to look the owner up.
    function _transferClaim(bytes32 key, Exit calldata exit, address from, address to) private {
        (uint256 word, uint256 place) = _locate(exit.index);
        _marks[word] |= TRANSFERRED << place;
        _owners[key] = to;
        delete _offers[key];
        emit ClaimTransferred(exit.index, from, to, exit.recipient, exit.amount);
    }

    /// @dev Ask the inbox about the header that the call begins with, its words as they came: the inbox hashes them, so
    /// one with surplus bits is that of no batch.
    function _isSettled() private view returns (bool) {
        (bool success, bytes memory answer) = address(inbox)
            .staticcall(
                abi.encodePacked(IRollupInbox.isSettled.selector, msg.data[4:4 + HEADER_BYTES])
            );
        return success && abi.decode(answer, (bool));
    }

    /// @dev Check that somebody owns a claim that was not paid yet; return its key.
    function _validateOwner(Exit calldata exit, address claimant)
        private
        view
        returns (bytes32 key)
    {
        if (exit.asset != 0) revert Bridge_UnknownAsset(exit.asset);
        (uint256 word, uint256 place) = _locate(exit.index);
        if ((_marks[word] >> place) & CLAIMED != 0) revert Bridge_AlreadyClaimed(exit.index);
        key = _computeKey(exit);
        address owner = _ownerOf(key, exit.recipient);
        if (owner != claimant) revert Bridge_NotClaimOwner(claimant, owner);
    }

    function _ownerOf(bytes32 key, address recipient) private view returns (address owner) {
        owner = _owners[key];
        return owner == address(0) ? recipient : owner;
    }

    /// @dev The whole exit, its place with it: what another state has at that place is another claim.
    function _computeKey(Exit calldata exit) private pure returns (bytes32) {
        return keccak256(abi.encode(exit));
    }

    /// @dev Return where an exit's marks are: which word, and by how many bits shifted.
    function _locate(uint32 exitIndex) private pure returns (uint256 word, uint256 place) {
        return (exitIndex / EXITS_PER_WORD, exitIndex % EXITS_PER_WORD * 2);
    }

    /// @dev A schedule that ends, or nothing at all.
    function _validateCap(DepositCap memory cap) private pure {
        bool isNone = cap.start == 0 && cap.end == 0 && cap.initial == 0 && cap.perDay == 0;
        bool isSchedule = cap.initial != 0 && cap.start != 0 && cap.end > cap.start
            && cap.end - cap.start <= MAX_CAP_TIME;
        if (!isNone && !isSchedule) revert Bridge_InvalidCap();
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
