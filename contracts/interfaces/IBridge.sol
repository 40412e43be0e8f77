// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMarginVault} from "./IMarginVault.sol";
import {Header, IRollupInbox} from "./IRollupInbox.sol";

/// @notice A withdrawal recorded in the exit tree of the L2 state.
struct Exit {
    /// Position in the exit tree; each is claimed at most once.
    uint32 index;
    /// 0: the collateral.
    uint16 asset;
    /// Who is paid.
    address recipient;
    /// Collateral units.
    uint128 amount;
}

/// @notice The most that the vault of a young deployment may hold. It grows by itself, and ends.
struct DepositCap {
    /// Collateral units, up to `start`.
    uint128 initial;
    /// Collateral units that it grows by in a day, second by second.
    uint128 perDay;
    /// From this second on it grows. Given, so that what is deployed follows from what was asked for.
    uint64 start;
    /// From this second on there is no cap; 0, like the other three: there never is one.
    uint64 end;
}

/// @notice A claim that is for sale.
struct ClaimOffer {
    /// Zero: anyone.
    address buyer;
    /// Last second; 0: there is no offer.
    uint64 deadline;
    /// Collateral units.
    uint128 price;
}

/// @title The door between L1 and L2.
/// @notice Queues deposits and forced requests for L2, pays exits of settled batches.
/// @dev Users approve the bridge. It calls nothing but the vault, the inbox, its own token's `permit` and
/// `transferFrom`, and Permit2's signature transfer; the last three always for the caller, whose money it is. So an
/// approval, a permit or a signature can never be turned against its owner.
///
/// An exit's claim has an owner: its recipient, until they transfer or sell it. A claim is the whole exit: index,
/// recipient and amount. It takes no proof to transfer one, because a record about an exit that no settled batch has
/// is worth nothing; and when batches are removed, what others come to hold at the same index is another claim. Who
/// buys one has to know that the exit is real: derive the state.
///
/// Bodies of messages are packed:
///
/// | kind | body |
/// |---|---|
/// | 1 deposit | owner (20), account (4, 0: open a new one), amount (16) |
/// | 2 forced exit | account (4), amount (16) |
/// | 3 cancel all | account (4) |
/// | 4 forced | 1 to 1,024 bytes: a transaction and its signatures |
/// | 5 configure | 1 to 1,024 bytes |
/// | 6 forced close | account (4), series (2), lots (8, 0: all) |
interface IBridge {
    /// @notice A message joined the L1 queue.
    event MessageQueued(
        uint64 indexed index,
        uint8 indexed kind,
        address indexed sender,
        uint64 time,
        bytes body,
        bytes32 queueHash
    );

    /// @notice An exit was paid to the owner of its claim, at once or, where the vault says so, later.
    event ExitClaimed(uint32 indexed exitIndex, address indexed recipient, uint128 amount);

    /// @notice The claim of an exit has another owner.
    event ClaimTransferred(
        uint32 indexed exitIndex,
        address indexed from,
        address indexed to,
        address recipient,
        uint128 amount
    );

    /// @notice The claim of an exit is for sale; replaces an earlier offer.
    event ClaimOffered(
        uint32 indexed exitIndex,
        address indexed owner,
        address indexed buyer,
        address recipient,
        uint128 amount,
        uint128 price,
        uint64 deadline
    );

    /// @notice The claim of an exit is not for sale any more.
    event OfferWithdrawn(uint32 indexed exitIndex, address indexed owner);

    /// @notice The claim of an exit was paid for; follows its transfer.
    event ClaimSold(
        uint32 indexed exitIndex, address indexed seller, address indexed buyer, uint128 price
    );

    /// @notice An account's or a claim's owner cannot be the zero address.
    error Bridge_ZeroOwner();

    /// @notice No account has the id 0.
    error Bridge_ZeroAccount();

    /// @notice Nothing to deposit, to withdraw or to pay.
    error Bridge_ZeroAmount();

    /// @notice Deposits are at most 2^96 - 1 units.
    error Bridge_AmountTooLarge(uint256 amount);

    /// @notice The vault did not gain what was sent: tokens that take a fee are refused.
    error Bridge_WrongAmountReceived(uint256 expected, uint256 received);

    /// @notice The vault would hold more than it may yet.
    error Bridge_DepositCap(uint256 cap, uint256 held);

    /// @notice A deposit cap needs a beginning and an end within two years; none at all is three zeros.
    error Bridge_InvalidCap();

    /// @notice The token takes no such permit (some have another kind), and no approval makes up for it.
    error Bridge_PermitRefused();

    /// @notice This chain has no Permit2.
    error Bridge_NoPermit2();

    /// @notice The body of a message has 1 to 1,024 bytes.
    error Bridge_BodyLength(uint256 length);

    /// @notice Only the governor may configure.
    error Bridge_NotGovernor(address caller);

    /// @notice The queue has no message of this index yet.
    error Bridge_UnknownMessage(uint64 index);

    /// @notice The header is not that of a settled batch.
    error Bridge_NotSettled(uint64 batchIndex);

    /// @notice The bytes are not the globals of the settled state.
    error Bridge_WrongGlobals();

    /// @notice Only the collateral can be claimed.
    error Bridge_UnknownAsset(uint16 asset);

    /// @notice The branch has another number of siblings than its map says.
    error Bridge_BranchLength(uint256 expected, uint256 given);

    /// @notice The branch does not lead from this exit to the exit root.
    error Bridge_WrongBranch();

    /// @notice The exit was paid before.
    error Bridge_AlreadyClaimed(uint32 exitIndex);

    /// @notice Only its owner can part with a claim.
    error Bridge_NotClaimOwner(address claimant, address owner);

    /// @notice The claim is not for sale.
    error Bridge_NoOffer(uint32 exitIndex);

    /// @notice The offer's last second is over.
    error Bridge_OfferExpired(uint64 deadline);

    /// @notice The offer is for somebody else.
    error Bridge_NotBuyer(address caller);

    /// @notice The claim costs more than the buyer would pay.
    error Bridge_PriceTooHigh(uint128 price, uint128 maxPrice);

    /// @notice Only the escape hatch may freeze.
    error Bridge_NotEscapeHatch(address caller);

    /// @notice The rollup is frozen: no message is taken any more.
    error Bridge_Frozen();

    /// @notice The vault given at construction does not answer to this bridge.
    error Bridge_WrongVault(address vault);

    /// @notice The inbox given at construction cannot be right.
    error Bridge_InvalidInbox(address inbox);

    /// @notice Pays into an account, from anyone to anyone.
    /// @param owner Owner of the account that is opened when `account` is 0.
    /// @param account Account to credit, 0 to open one.
    /// @param amount Collateral units, pulled from the caller.
    function deposit(address owner, uint32 account, uint256 amount) external;

    /// @notice `deposit` with an EIP-2612 permit instead of an approval.
    /// @dev A permit that somebody submitted first does no harm: only the allowance counts.
    /// @param owner Owner of the account that is opened when `account` is 0.
    /// @param account Account to credit, 0 to open one.
    /// @param amount Collateral units, pulled from the caller.
    /// @param deadline Last second of the permit.
    /// @param v Of the permit's signature.
    /// @param r Of the permit's signature.
    /// @param s Of the permit's signature.
    function depositWithPermit(
        address owner,
        uint32 account,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice `deposit` with a signature for Permit2, which the token is approved for, instead of an approval.
    /// @dev The caller is the signer and the bridge the spender, so it is of no use to anyone else.
    /// @param owner Owner of the account that is opened when `account` is 0.
    /// @param account Account to credit, 0 to open one.
    /// @param amount Collateral units: what was signed, and what is pulled.
    /// @param nonce Any that the signer has not used.
    /// @param deadline Last second of the signature.
    /// @param signature Of Permit2's `PermitTransferFrom`.
    function depositWithPermit2(
        address owner,
        uint32 account,
        uint256 amount,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice Asks L2, past the sequencer, to withdraw up to the account's free margin to its
    /// owner.
    /// @param account The caller's account.
    /// @param amount The most to withdraw; the largest value means all there is.
    function forceExit(uint32 account, uint128 amount) external;

    /// @notice Asks L2, past the sequencer, to close a position against the insurance fund, at the
    /// mark less a penalty.
    /// @dev Nothing happens when the fund cannot take it over, or the account would be worse off
    /// against its margin: several smaller ones may do then.
    /// @param account The caller's account.
    /// @param series Id of the series.
    /// @param lots How many to close at most; 0 means all.
    function forceClose(uint32 account, uint16 series, uint64 lots) external;

    /// @notice Kills every open order of an account.
    /// @param account The caller's account.
    function cancelAll(uint32 account) external;

    /// @notice Puts a transaction on L2 past the sequencer.
    /// @param body Transaction bytes and signatures, decoded on L2.
    function force(bytes calldata body) external;

    /// @notice Sets governed parameters.
    /// @param body Decoded on L2.
    function configure(bytes calldata body) external;

    /// @notice Takes no message any more. Exits are paid as ever.
    function freeze() external;

    /// @notice Pays an exit to the owner of its claim, whoever calls.
    /// @param header Header of any settled batch whose state holds the exit.
    /// @param globals The bytes that hash to the header's post root.
    /// @param exit The exit.
    /// @param siblingMap Bit n: the sibling at level n (from the leaf) is given; else it is an
    /// empty subtree.
    /// @param siblings The given siblings, from the leaf up.
    function claimExit(
        Header calldata header,
        bytes calldata globals,
        Exit calldata exit,
        uint32 siblingMap,
        bytes32[] calldata siblings
    ) external;

    /// @notice Gives the caller's claim to somebody else; withdraws any offer.
    /// @param exit The exit, settled or not.
    /// @param to New owner.
    function transferClaim(Exit calldata exit, address to) external;

    /// @notice Offers the caller's claim for sale, in place of any earlier offer.
    /// @param exit The exit, settled or not.
    /// @param buyer Who may take it; zero for anyone.
    /// @param price Collateral units.
    /// @param deadline Last second.
    function offerClaim(Exit calldata exit, address buyer, uint128 price, uint64 deadline) external;

    /// @notice Withdraws the caller's offer.
    /// @param exit The exit.
    function withdrawOffer(Exit calldata exit) external;

    /// @notice Buys a claim that is for sale: the price goes from the caller to the owner, the claim the other way,
    /// or neither.
    /// @dev Check first that the exit is real: nothing here does.
    /// @param exit The exit.
    /// @param owner Who offers it.
    /// @param maxPrice The most that the caller pays; approve the bridge for it.
    function takeClaim(Exit calldata exit, address owner, uint128 maxPrice) external;

    /// @notice Where the collateral is.
    function vault() external view returns (IMarginVault);

    /// @notice The collateral.
    function token() external view returns (address);

    /// @notice Which batches are settled.
    function inbox() external view returns (IRollupInbox);

    /// @notice The only sender of `configure`.
    function governor() external view returns (address);

    /// @notice The only address that may freeze.
    function escapeHatch() external view returns (address);

    /// @notice When the deposit cap begins to grow.
    function capStart() external view returns (uint64);

    /// @notice Of the deposit cap: collateral units at deployment.
    function capAtStart() external view returns (uint128);

    /// @notice Of the deposit cap: collateral units of growth in a day.
    function capPerDay() external view returns (uint128);

    /// @notice Of the deposit cap: when it ends; 0: there is none.
    function capEnd() external view returns (uint64);

    /// @notice The most that the vault may hold after a deposit now; the largest number without a cap.
    function depositCap() external view returns (uint256);

    /// @notice Whether messages are refused for ever.
    function isFrozen() external view returns (bool);

    /// @notice Messages queued so far.
    function queueCount() external view returns (uint64);

    /// @notice Commitment to every message up to and including `index`.
    function queueHash(uint64 index) external view returns (bytes32);

    /// @notice Whether an exit was paid.
    function isClaimed(uint32 exitIndex) external view returns (bool);

    /// @notice Who an exit is paid to when it is claimed; says nothing about whether it is real or was paid.
    function ownerOfClaim(Exit calldata exit) external view returns (address);

    /// @notice The offer of an exit's claim; all zero for none.
    function offerOf(Exit calldata exit) external view returns (ClaimOffer memory);
}
