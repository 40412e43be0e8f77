// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    ACCOUNT_DEPTH,
    EXIT_DEPTH,
    MARKET_DEPTH,
    MAX_POSITIONS,
    MAX_SCENARIOS,
    MAX_SIGNERS,
    SLOT_DEPTH
} from "./Constants.sol";
import {Fault, isFault} from "./Fault.sol";
import {
    ACCOUNT_HEAD_BYTES,
    COMMITTEE_TAG,
    EXPIRY_TAG,
    GLOBALS_BYTES,
    GRID_TAG,
    POSITION_BYTES,
    SERIES_TAG,
    SLOT_BYTES,
    UNDERLYING_TAG,
    decodeAccount,
    decodeCommittee,
    decodeExpiry,
    decodeGlobals,
    decodeGrid,
    decodeSeries,
    decodeSlot,
    decodeUnderlying,
    encodeAccount,
    encodeCommittee,
    encodeExit,
    encodeExpiry,
    encodeGrid,
    encodeSeries,
    encodeSlot,
    encodeUnderlying,
    hashGlobals,
    hashLeaf
} from "./Leaf.sol";
import {
    AccountEntry,
    MarketEntry,
    MarketType,
    SlotEntry,
    State,
    toCommittee,
    toExpiry,
    toGrid,
    toSeries,
    toUnderlying
} from "./State.sol";
import {Multiproof, Witness_BadSiblings, computeRootFromMultiproof} from "./Tree.sol";
import {
    Account,
    Committee,
    Exit,
    Expiry,
    Grid,
    Message,
    Series,
    SeriesKind,
    SeriesStatus,
    Slot,
    TimeInForce,
    Underlying
} from "./Types.sol";

// Witnesses: the leaves that a chunk touches, with the siblings that lead to the root before it.
//
// `decodeWitness` believes what it reads. Whatever is computed from it proves nothing until
// `validateWitness` or `computeStateRoot` has shown that it leads to the root before the chunk, and
// `validateMessages` that its messages are the queue's. A witness that does not hold reverts.
//
// Decoding reads calldata at a cursor that only moves forward. Past the end of calldata it reads zeros, and
// a witness that does not end where it should reverts at last, so nothing in between looks at the end.

/// @dev In place of the number of positions.
uint256 constant EMPTY_ACCOUNT = 0xff;
/// @dev Room for the longest leaf, an account with MAX_POSITIONS, and a word that is read past its end.
uint256 constant BUFFER_BYTES = 2048;
/// @dev Longer than any market leaf.
uint256 constant MAX_MARKET_BYTES = 1024;
/// @dev Prefix of what the bridge hashes a message as.
bytes32 constant MESSAGE_DOMAIN = keccak256("deltaroll.message.v1");

/// @dev The witness ends before or after what it should hold.
error Witness_WrongLength();
/// @dev Leaves are not in strictly ascending order.
error Witness_NotAscending(uint256 id);
/// @dev A leaf is longer than any leaf is, or of a type that does not exist.
error Witness_BadLeaf(uint256 id);
/// @dev The witness is of another state.
error Witness_WrongRoot();
/// @dev The messages are not those of the L1 queue.
error Witness_WrongMessages();

/// @dev Where the L1 queue's hash chain is kept.
interface IMessageQueue {
    /// @dev Hash of messages 0 .. index.
    function queueHash(uint64 index) external view returns (bytes32);
}

/// @dev Move past a counted stream of sibling hashes.
function skipSiblings(uint256 cursor) pure returns (uint256) {
    unchecked {
        return cursor + 2 + (_word(cursor) >> 240) * 32;
    }
}

/// @dev Read a queue message: kind, sender, time, length of the body, body.
function decodeMessage(uint256 cursor) pure returns (Message memory message, uint256) {
    unchecked {
        uint256 word = _word(cursor);
        message.kind = word >> 248;
        message.sender = address(uint160(word >> 88));
        message.time = _word(cursor + 21) >> 192;
        uint256 length = _word(cursor + 29) >> 240;
        bytes memory body = new bytes(length);
        assembly ("memory-safe") {
            calldatacopy(add(body, 0x20), add(cursor, 31), length)
        }
        message.body = body;
        return (message, cursor + 31 + length);
    }
}

/// @dev Return the hash that the bridge chains for a message.
function hashMessage(Message memory message) pure returns (bytes32) {
    return keccak256(
        abi.encode(
            MESSAGE_DOMAIN, message.kind, message.sender, message.time, keccak256(message.body)
        )
    );
}

/// @dev Read an opened order slot: id, whether it exists, its leaf.
function decodeSlotEntry(bytes memory buffer, uint256 cursor)
    pure
    returns (SlotEntry memory entry, uint256)
{
    unchecked {
        // The slot that the compiler has put behind the entry's six words is not needed: see `State.sol`.
        assembly ("memory-safe") {
            mstore(0x40, add(entry, 0xc0))
            mstore(add(entry, 0x40), 0)
        }
        uint256 word = _word(cursor);
        cursor += 3;
        entry.id = word >> 240;
        uint256 presence = uint8(word >> 232);
        if (presence == 0) return (entry, cursor);
        // Time in force 3, likewise: it stands in two bits of the twelfth byte.
        if (presence != 1 || (_word(cursor + 11) >> 249) & 3 > uint8(type(TimeInForce).max)) {
            revert Witness_BadLeaf(entry.id);
        }
        _read(buffer, cursor, SLOT_BYTES);
        Slot memory slot = decodeSlot(buffer);
        uint256 original;
        assembly ("memory-safe") {
            original := slot
        }
        entry.exists = true;
        entry.slot = slot;
        entry.original = original;
        entry.leafHash = hashLeaf(buffer);
        return (entry, cursor + SLOT_BYTES);
    }
}

/// @dev Read an opened account with its opened order slots and their siblings.
function decodeAccountEntry(bytes memory buffer, uint256 cursor)
    pure
    returns (AccountEntry memory entry, uint256)
{
    unchecked {
        // The same, behind ten words.
        assembly ("memory-safe") {
            mstore(0x40, add(entry, 0x140))
            mstore(add(entry, 0x40), 0)
        }
        uint256 word = _word(cursor);
        uint256 id = word >> 232;
        uint256 positions = uint8(word >> 224);
        cursor += 4;
        entry.id = id;
        if (positions != EMPTY_ACCOUNT) {
            if (positions > MAX_POSITIONS) revert Witness_BadLeaf(id);
            uint256 length = ACCOUNT_HEAD_BYTES + positions * POSITION_BYTES;
            _read(buffer, cursor, length);
            cursor += length;
            (Account memory account, bytes32 slotRoot) = decodeAccount(buffer);
            uint256 original;
            assembly ("memory-safe") {
                original := account
            }
            entry.exists = true;
            entry.account = account;
            entry.original = original;
            entry.leafHash = hashLeaf(buffer);
            entry.slotRoot = slotRoot;
        }
        uint256 count = _word(cursor) >> 248;
        ++cursor;
        if (count == 0) return (entry, cursor);
        uint256 slots = _allocateArray(count);
        uint256 next = 0;
        for (uint256 i; i < count; ++i) {
            (SlotEntry memory slot, uint256 moved) = decodeSlotEntry(buffer, cursor);
            cursor = moved;
            if (slot.id < next) revert Witness_NotAscending(slot.id);
            next = slot.id + 1;
            assembly ("memory-safe") {
                mstore(add(add(slots, 0x20), shl(5, i)), slot)
            }
        }
        SlotEntry[] memory array;
        assembly ("memory-safe") {
            array := slots
        }
        entry.slots = array;
        entry.siblings = cursor;
        return (entry, skipSiblings(cursor));
    }
}

/// @dev Read an opened market: id, length of its leaf (0: none), leaf.
function decodeMarketEntry(bytes memory buffer, uint256 cursor)
    pure
    returns (MarketEntry memory entry, uint256)
{
    unchecked {
        uint256 word = _word(cursor);
        uint256 id = word >> 240;
        uint256 length = uint16(word >> 224);
        cursor += 4;
        entry.id = id;
        if (length == 0) return (entry, cursor);
        if (length > MAX_MARKET_BYTES) revert Witness_BadLeaf(id);
        _read(buffer, cursor, length);
        entry.leafHash = hashLeaf(buffer);
        uint256 tag = uint8(word >> 216);
        uint256 leaf;
        uint256 entries = 0;
        if (tag == SERIES_TAG) {
            Series memory series = decodeSeries(buffer);
            assembly ("memory-safe") {
                leaf := series
            }
            entry.marketType = MarketType.SERIES;
            entries = series.riskCount;
            // Comparing what is no kind or no status would stop the verifier.
            if (
                uint8(word >> 208) > uint8(type(SeriesKind).max)
                    || uint8(word >> 200) > uint8(type(SeriesStatus).max)
            ) revert Witness_BadLeaf(id);
        } else if (tag == UNDERLYING_TAG) {
            Underlying memory underlying = decodeUnderlying(buffer);
            assembly ("memory-safe") {
                leaf := underlying
            }
            entry.marketType = MarketType.UNDERLYING;
        } else if (tag == GRID_TAG) {
            Grid memory grid = decodeGrid(buffer);
            assembly ("memory-safe") {
                leaf := grid
            }
            entry.marketType = MarketType.GRID;
            entries = grid.scenarios.length;
            // Transitions look these up without asking.
            if (grid.basisUp >= entries || grid.basisDown >= entries) revert Witness_BadLeaf(id);
        } else if (tag == COMMITTEE_TAG) {
            Committee memory committee = decodeCommittee(buffer);
            assembly ("memory-safe") {
                leaf := committee
            }
            entry.marketType = MarketType.COMMITTEE;
            entries = committee.signers.length;
        } else if (tag == EXPIRY_TAG) {
            Expiry memory expiry = decodeExpiry(buffer);
            assembly ("memory-safe") {
                leaf := expiry
            }
            entry.marketType = MarketType.EXPIRY;
        } else {
            revert Witness_BadLeaf(id);
        }
        // The transition writes into arrays of this many places before the leaf is shown to be real.
        if (entries > (tag == COMMITTEE_TAG ? MAX_SIGNERS : MAX_SCENARIOS)) {
            revert Witness_BadLeaf(id);
        }
        entry.leaf = leaf;
        entry.original = leaf;
        entry.size = length;
        return (entry, cursor + length);
    }
}

/// @dev Read the witness of a chunk.
function decodeWitness(bytes calldata witness) pure returns (State memory state) {
    unchecked {
        uint256 cursor;
        bytes memory buffer = new bytes(BUFFER_BYTES);
        assembly ("memory-safe") {
            cursor := witness.offset
        }
        _read(buffer, cursor, GLOBALS_BYTES);
        cursor += GLOBALS_BYTES;
        state.rootBefore = keccak256(buffer);
        state.globals = decodeGlobals(buffer);
        state.firstExit = state.globals.exitCount;
        state.firstMessage = state.globals.queueIndex;
        uint256 exits = _word(cursor) >> 248;
        cursor = _decodeMessages(state, cursor + 1);
        cursor = _decodeAccounts(state, buffer, cursor);
        cursor = _decodeMarkets(state, buffer, cursor);
        if (exits != 0) {
            state.exits = new Exit[](exits);
            state.exitSiblings = cursor;
            cursor = skipSiblings(cursor);
        }
        uint256 end;
        assembly ("memory-safe") {
            end := add(witness.offset, witness.length)
        }
        if (cursor != end) revert Witness_WrongLength();
    }
}

/// @dev Check the messages of a witness against the hash chain of the L1 queue.
function validateMessages(State memory state, IMessageQueue queue) view {
    Message[] memory messages = state.messages;
    uint256 count = messages.length;
    if (count == 0) return;
    unchecked {
        uint256 first = state.firstMessage;
        bytes32 chain = _queueHash(queue, first);
        for (uint256 i; i < count; ++i) {
            bytes32 messageHash = hashMessage(messages[i]);
            // Scratch space holds the two words.
            assembly ("memory-safe") {
                mstore(0x00, chain)
                mstore(0x20, messageHash)
                chain := keccak256(0x00, 0x40)
            }
        }
        if (chain != _queueHash(queue, first + count)) revert Witness_WrongMessages();
    }
}

/// @dev Check that the leaves of a witness are those of the state with the root `rootBefore`.
function validateWitness(State memory state, bytes32 rootBefore) pure {
    _computeRoots(state, rootBefore);
}

/// @dev Check the same, and return the state root after the chunk's changes. OUT_OF_RANGE when a value does
/// not fit its leaf.
///
/// One pass over the trees for both. Afterwards the roots in `state.globals` are the new ones, so it can be
/// called only once.
function computeStateRoot(State memory state, bytes32 rootBefore)
    pure
    returns (bytes32 root, Fault fault)
{
    state.isChanged = true;
    fault = _computeRoots(state, rootBefore);
    if (!isFault(fault)) (root, fault) = hashGlobals(state.globals);
}

/// @dev Return an account's root of order slots after the chunk's changes, which the witness must lead to
/// before them.
function getSlotRoot(State memory state, AccountEntry memory entry) pure returns (bytes32, Fault) {
    unchecked {
        SlotEntry[] memory slots = entry.slots;
        uint256 count = slots.length;
        if (count == 0) return (entry.slotRoot, Fault.NONE);
        uint256[] memory level = new uint256[](3 * count);
        Fault fault = Fault.NONE;
        for (uint256 i; i < count; ++i) {
            SlotEntry memory slot = slots[i];
            bytes32 leafHash = slot.leafHash;
            if (state.isChanged && _hasChanged(slot)) {
                (bytes memory encoding, Fault problem) = encodeSlot(slot.slot);
                if (isFault(problem)) fault = problem;
                leafHash = hashLeaf(encoding);
            }
            _setNode(level, i, slot.id, slot.leafHash, leafHash);
        }
        (bytes32 before, bytes32 afterwards) =
            computeRootFromMultiproof(Multiproof(level, entry.siblings, SLOT_DEPTH));
        if (before != entry.slotRoot) revert Witness_BadSiblings();
        return (afterwards, fault);
    }
}

/// @dev Hash of the queue's first `count` messages. A count is eight bytes in the globals; what a wrapped one
/// may find, no chain of hashes leads to.
function _queueHash(IMessageQueue queue, uint256 count) view returns (bytes32) {
    unchecked {
        return count == 0 ? bytes32(0) : queue.queueHash(uint64(count - 1));
    }
}

function _decodeMessages(State memory state, uint256 cursor) pure returns (uint256) {
    unchecked {
        uint256 count = _word(cursor) >> 248;
        ++cursor;
        Message[] memory messages = new Message[](count);
        for (uint256 i; i < count; ++i) {
            (messages[i], cursor) = decodeMessage(cursor);
        }
        state.messages = messages;
        return cursor;
    }
}

function _decodeAccounts(State memory state, bytes memory buffer, uint256 cursor)
    pure
    returns (uint256)
{
    unchecked {
        uint256 count = _word(cursor) >> 240;
        cursor += 2;
        if (count == 0) return cursor;
        uint256 accounts = _allocateArray(count);
        uint256 next = 0;
        for (uint256 i; i < count; ++i) {
            (AccountEntry memory entry, uint256 moved) = decodeAccountEntry(buffer, cursor);
            cursor = moved;
            if (entry.id < next) revert Witness_NotAscending(entry.id);
            next = entry.id + 1;
            assembly ("memory-safe") {
                mstore(add(add(accounts, 0x20), shl(5, i)), entry)
            }
        }
        AccountEntry[] memory array;
        assembly ("memory-safe") {
            array := accounts
        }
        state.accounts = array;
        state.accountSiblings = cursor;
        return skipSiblings(cursor);
    }
}

function _decodeMarkets(State memory state, bytes memory buffer, uint256 cursor)
    pure
    returns (uint256)
{
    unchecked {
        uint256 count = _word(cursor) >> 240;
        cursor += 2;
        if (count == 0) return cursor;
        uint256 markets = _allocateArray(count);
        uint256 next = 0;
        for (uint256 i; i < count; ++i) {
            (MarketEntry memory entry, uint256 moved) = decodeMarketEntry(buffer, cursor);
            cursor = moved;
            if (entry.id < next) revert Witness_NotAscending(entry.id);
            next = entry.id + 1;
            assembly ("memory-safe") {
                mstore(add(add(markets, 0x20), shl(5, i)), entry)
            }
        }
        MarketEntry[] memory array;
        assembly ("memory-safe") {
            array := markets
        }
        state.markets = array;
        state.marketSiblings = cursor;
        return skipSiblings(cursor);
    }
}

/// @dev Fold the opened leaves into the roots before, which must be those of the witness, and if `isChanged`
/// into the roots after. A fault is noted and folding goes on: the roots before are checked in any case.
function _computeRoots(State memory state, bytes32 rootBefore) pure returns (Fault fault) {
    if (state.rootBefore != rootBefore) revert Witness_WrongRoot();
    if (state.accounts.length != 0) {
        (bytes32 before, bytes32 afterwards, Fault problem) = _computeAccountsRoot(state);
        if (before != state.globals.accountsRoot) revert Witness_BadSiblings();
        state.globals.accountsRoot = afterwards;
        fault = problem;
    }
    if (state.markets.length != 0) {
        (bytes32 before, bytes32 afterwards, Fault problem) = _computeMarketsRoot(state);
        if (before != state.globals.marketsRoot) revert Witness_BadSiblings();
        state.globals.marketsRoot = afterwards;
        if (isFault(problem)) fault = problem;
    }
    if (state.exits.length != 0) {
        (bytes32 before, bytes32 afterwards, Fault problem) = _computeExitsRoot(state);
        if (before != state.globals.exitsRoot) revert Witness_BadSiblings();
        state.globals.exitsRoot = afterwards;
        if (isFault(problem)) fault = problem;
    }
}

function _computeAccountsRoot(State memory state)
    pure
    returns (bytes32 before, bytes32 afterwards, Fault fault)
{
    unchecked {
        AccountEntry[] memory accounts = state.accounts;
        uint256 count = accounts.length;
        uint256[] memory level = new uint256[](3 * count);
        for (uint256 i; i < count; ++i) {
            AccountEntry memory entry = accounts[i];
            (bytes32 slotRoot, Fault problem) = getSlotRoot(state, entry);
            if (isFault(problem)) fault = problem;
            bytes32 leafHash = entry.leafHash;
            if (
                state.isChanged && entry.exists
                    && (slotRoot != entry.slotRoot || _hasChanged(entry))
            ) {
                bytes memory encoding;
                (encoding, problem) = encodeAccount(entry.account, slotRoot);
                if (isFault(problem)) fault = problem;
                leafHash = hashLeaf(encoding);
            }
            _setNode(level, i, entry.id, entry.leafHash, leafHash);
        }
        (before, afterwards) =
            computeRootFromMultiproof(Multiproof(level, state.accountSiblings, ACCOUNT_DEPTH));
    }
}

function _computeMarketsRoot(State memory state)
    pure
    returns (bytes32 before, bytes32 afterwards, Fault fault)
{
    unchecked {
        MarketEntry[] memory markets = state.markets;
        uint256 count = markets.length;
        uint256[] memory level = new uint256[](3 * count);
        for (uint256 i; i < count; ++i) {
            MarketEntry memory entry = markets[i];
            bytes32 leafHash = entry.leafHash;
            if (state.isChanged && entry.leaf != entry.original) {
                (bytes memory encoding, Fault problem) = _encodeMarket(entry);
                if (isFault(problem)) fault = problem;
                leafHash = hashLeaf(encoding);
            }
            _setNode(level, i, entry.id, entry.leafHash, leafHash);
        }
        (before, afterwards) =
            computeRootFromMultiproof(Multiproof(level, state.marketSiblings, MARKET_DEPTH));
    }
}

function _computeExitsRoot(State memory state)
    pure
    returns (bytes32 before, bytes32 afterwards, Fault fault)
{
    unchecked {
        Exit[] memory exits = state.exits;
        uint256 count = exits.length;
        uint256 appended = state.isChanged ? state.globals.exitCount - state.firstExit : 0;
        uint256[] memory level = new uint256[](3 * count);
        for (uint256 i; i < count; ++i) {
            bytes32 leafHash = 0;
            if (i < appended) {
                (bytes memory encoding, Fault problem) = encodeExit(exits[i]);
                if (isFault(problem)) fault = problem;
                leafHash = hashLeaf(encoding);
            }
            _setNode(level, i, state.firstExit + i, 0, leafHash);
        }
        (before, afterwards) =
            computeRootFromMultiproof(Multiproof(level, state.exitSiblings, EXIT_DEPTH));
    }
}

function _encodeMarket(MarketEntry memory entry) pure returns (bytes memory, Fault) {
    uint256 leaf = entry.leaf;
    MarketType marketType = entry.marketType;
    if (marketType == MarketType.SERIES) return encodeSeries(toSeries(leaf));
    if (marketType == MarketType.UNDERLYING) return encodeUnderlying(toUnderlying(leaf));
    if (marketType == MarketType.GRID) return encodeGrid(toGrid(leaf));
    if (marketType == MarketType.COMMITTEE) return encodeCommittee(toCommittee(leaf));
    return encodeExpiry(toExpiry(leaf));
}

/// @dev Whether another leaf stands in place of the witness' own: leaves are never written to.
function _hasChanged(SlotEntry memory entry) pure returns (bool changed) {
    assembly ("memory-safe") {
        changed := iszero(eq(mload(add(entry, 0x40)), mload(add(entry, 0x80))))
    }
}

function _hasChanged(AccountEntry memory entry) pure returns (bool changed) {
    assembly ("memory-safe") {
        changed := iszero(eq(mload(add(entry, 0x40)), mload(add(entry, 0x80))))
    }
}

/// @dev Write leaf `i` of a multiproof: its place, its hash before and after.
function _setNode(
    uint256[] memory level,
    uint256 i,
    uint256 index,
    bytes32 before,
    bytes32 afterwards
) pure {
    // The caller has made three words for each leaf.
    assembly ("memory-safe") {
        let to := add(add(level, 0x20), mul(i, 0x60))
        mstore(to, index)
        mstore(add(to, 0x20), before)
        mstore(add(to, 0x40), afterwards)
    }
}

/// @dev Copy `length` bytes of calldata into the buffer, which has room for them.
function _read(bytes memory buffer, uint256 cursor, uint256 length) pure {
    assembly ("memory-safe") {
        mstore(buffer, length)
        calldatacopy(add(buffer, 0x20), cursor, length)
    }
}

function _word(uint256 cursor) pure returns (uint256 word) {
    assembly ("memory-safe") {
        word := calldataload(cursor)
    }
}

/// @dev Allocate an array of `count` pointers, which the caller sets one by one.
function _allocateArray(uint256 count) pure returns (uint256 array) {
    assembly ("memory-safe") {
        array := mload(0x40)
        mstore(array, count)
        mstore(0x40, add(array, add(0x20, shl(5, count))))
    }
}
