// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    ACCOUNT_DEPTH,
    EXIT_DEPTH,
    MARKET_DEPTH,
    MAX_CHUNK_GAS,
    MAX_CHUNK_WITNESS,
    MAX_MESSAGE_GAS,
    MAX_MESSAGE_WITNESS,
    SLOT_DEPTH,
    WEIGHT_ACCOUNT_GAS,
    WEIGHT_BYTE_GAS,
    WEIGHT_EXIT_GAS,
    WEIGHT_HASH_GAS,
    WEIGHT_HOLDER_BYTES,
    WEIGHT_MARKET_GAS,
    WEIGHT_MARKET_WORD_GAS,
    WEIGHT_MESSAGE_GAS,
    WEIGHT_MODULE_GAS,
    WEIGHT_MODULE_TRANSACTION_GAS,
    WEIGHT_POSITION_GAS,
    WEIGHT_SLOT_GAS
} from "./Constants.sol";
import {Fault, isFault} from "./Fault.sol";
import {ACCOUNT_HEAD_BYTES, POSITION_BYTES, SLOT_BYTES} from "./Leaf.sol";
import {
    Account,
    Committee,
    Exit,
    Expiry,
    Globals,
    Grid,
    Message,
    Position,
    Series,
    Slot,
    Underlying
} from "./Types.sol";

// The leaves of a witness, an undo journal, and the meter that keeps every chunk provable.
//
// `get` notes each leaf that a chunk touches and charges for it; `set` replaces leaves, which are immutable
// values: nothing may write to a struct that a `get` returned, except for `state.globals`. A leaf that the
// chunk needs and the witness does not open is a bad witness: a revert, never a fault.
//
// About memory: the compiler gives every struct that a function returns a zeroed copy before the function
// starts. Where a function returns a struct that exists already, it hands that copy back, by setting the
// free memory pointer to where the copy begins; nothing else can have been allocated yet.

int256 constant INT64_BOUND = 1 << 63;
int256 constant INT128_BOUND = 1 << 127;
/// @dev Kind, sender, time and body length of a message in a witness.
uint256 constant MESSAGE_HEAD_BYTES = 31;
uint256 constant UINT32_BOUND = 1 << 32;
uint256 constant UINT64_BOUND = 1 << 64;
uint256 constant UINT128_BOUND = 1 << 128;

/// @dev The witness does not open an account that the chunk touches.
error Witness_MissingAccount(uint256 account);
/// @dev The witness does not open an order slot that the chunk touches.
error Witness_MissingSlot(uint256 slot);
/// @dev The witness does not open a market that the chunk touches.
error Witness_MissingMarket(uint256 market);
/// @dev The witness does not hold a message that the chunk consumes.
error Witness_MissingMessage(uint256 index);
/// @dev The witness opens fewer exit leaves than the chunk appends.
error Witness_MissingExit(uint256 exit);

/// @dev Weight of the chunk so far: gas and bytes that its proof may need at most, and leaves touched.
struct Meter {
    uint256 gas;
    uint256 witness;
    uint256 accounts;
    uint256 markets;
    uint256 exits;
    uint256 messages;
    uint256 maxGas;
    uint256 maxWitness;
    uint256 transactions; // Of the chunk, before the current one.
}

/// @dev An order slot that the witness opens. All entries begin alike: id, whether or as what it exists, leaf,
/// whether it is touched. Functions below read those words, and some more, by their offset, because the
/// compiler allocates and clears a struct for every one that it returns.
struct SlotEntry {
    uint256 id;
    bool exists;
    Slot slot; // Only when it exists.
    bool isTouched;
    uint256 original; // The slot as the witness has it: where it is in memory, 0 for none.
    bytes32 leafHash; // Of the original.
}

/// @dev An account that the witness opens.
struct AccountEntry {
    uint256 id;
    bool exists;
    Account account; // Only when it exists.
    bool isTouched;
    uint256 original; // The account as the witness has it: where it is in memory, 0 for none.
    bytes32 leafHash; // Of the original.
    bytes32 slotRoot; // Of the original.
    uint256 slotsTouched;
    uint256 siblings; // Of the slot tree: where they are in calldata.
    SlotEntry[] slots; // Ascending by id.
}

/// @dev What a market leaf is.
enum MarketType {
    NONE,
    GRID,
    COMMITTEE,
    UNDERLYING,
    SERIES,
    EXPIRY
}

/// @dev A market that the witness opens.
struct MarketEntry {
    uint256 id;
    MarketType marketType;
    uint256 leaf; // A Grid, Committee, Underlying, Series or Expiry: where it is in memory.
    bool isTouched;
    uint256 original; // The leaf as the witness has it: where it is in memory, 0 for none.
    bytes32 leafHash; // Of the original.
    uint256 size; // Of the original, encoded.
}

/// @dev The part of the rollup's state that a witness opens. Roots in `globals` are those before the chunk.
struct State {
    Globals globals;
    Meter meter;
    AccountEntry[] accounts; // Ascending by id.
    MarketEntry[] markets; // Ascending by id.
    Exit[] exits; // Appended by this chunk; as many places as the witness opens.
    uint256 firstExit; // The place of `exits[0]` in the exit tree.
    Message[] messages; // From the L1 queue, in order.
    uint256 firstMessage; // The queue index of `messages[0]`.
    uint256 journal; // The latest change inside a group: where it is in memory, 0 for none.
    uint256 groups; // Groups that have begun and not ended.
    bytes32 rootBefore; // The state root that the globals of the witness hash to.
    uint256 accountSiblings; // Of the account tree: where they are in calldata. So are the two below.
    uint256 marketSiblings;
    uint256 exitSiblings;
    bool isChanged; // Whether the roots after the chunk are asked for, not only those before it.
    address marketExecutor; // Where the rest of the transition's code is; not part of any leaf.
    address accountExecutor; // Likewise.
    address optionPricer; // Likewise.
}

/// @dev What `rollback` goes back to.
struct Checkpoint {
    uint256 journal;
    Globals globals;
}

/// @dev Start a group of changes that `rollback` can undo; groups nest. Ends with `commit` or `rollback`.
function begin(State memory state) pure returns (Checkpoint memory checkpoint) {
    unchecked {
        ++state.groups;
    }
    checkpoint.journal = state.journal;
    Globals memory from = state.globals;
    Globals memory to = checkpoint.globals;
    // Sixteen words each; both are allocated.
    assembly ("memory-safe") {
        mcopy(to, from, 0x200)
    }
}

/// @dev Keep the changes since the last `begin`.
function commit(State memory state) pure {
    // Every group has begun.
    unchecked {
        if (--state.groups == 0) state.journal = 0;
    }
}

/// @dev Undo the changes since the last `begin`, which returned `checkpoint`.
function rollback(State memory state, Checkpoint memory checkpoint) pure {
    unchecked {
        --state.groups;
    }
    state.globals = checkpoint.globals;
    uint256 change = state.journal;
    uint256 end = checkpoint.journal;
    // A change is four words: the change before it, an entry, and two words that `_write` found there.
    assembly ("memory-safe") {
        for {} iszero(eq(change, end)) { change := mload(change) } {
            mcopy(add(mload(add(change, 0x20)), 0x20), add(change, 0x40), 0x40)
        }
    }
    state.journal = end;
}

/// @dev Start a chunk: nothing weighed. A witness is decoded for one chunk, so nothing is touched either.
function resetMeter(State memory state) pure {
    state.meter = Meter(0, 0, 0, 0, 0, 0, MAX_CHUNK_GAS, MAX_CHUNK_WITNESS, 0);
}

/// @dev Add to the chunk's weight; every witness byte also costs calldata gas. OVERWEIGHT when the chunk
/// could no longer be proven within the bounds.
function charge(State memory state, uint256 gasUnits, uint256 witness) pure returns (Fault) {
    Meter memory meter = state.meter;
    // Callers add lengths and weights, all of them far below 2^64.
    unchecked {
        meter.gas += gasUnits + witness * WEIGHT_BYTE_GAS;
        meter.witness += witness;
    }
    // Leaving early keeps the compiler from copying this to wherever it is called: code has a size limit.
    if (meter.gas > meter.maxGas || meter.witness > meter.maxWitness) return Fault.OVERWEIGHT;
    return Fault.NONE;
}

/// @dev Charge for `gasUnits` and for handing the chunk's memory to another contract. Every transaction before
/// leaves something in it. OVERWEIGHT.
function chargeModule(State memory state, uint256 gasUnits) pure returns (Fault) {
    // A chunk has fewer than 2^32 transactions.
    unchecked {
        uint256 before = state.meter.transactions * WEIGHT_MODULE_TRANSACTION_GAS;
        return charge(state, WEIGHT_MODULE_GAS + before + gasUnits, 0);
    }
}

/// @dev Hold what comes to the weight of one message, until `unlimitMessage`. Returns whether the chunk has room
/// for such a message; where its data is too long for that, the chunk's own limits stay.
function limitMessage(State memory state) pure returns (bool) {
    Meter memory meter = state.meter;
    uint256 maxGas;
    uint256 maxWitness;
    // What the meter counts has not passed the chunk's limits.
    unchecked {
        maxGas = meter.gas + MAX_MESSAGE_GAS;
        maxWitness = meter.witness + MAX_MESSAGE_WITNESS;
    }
    if (maxGas > MAX_CHUNK_GAS || maxWitness > MAX_CHUNK_WITNESS) return false;
    meter.maxGas = maxGas;
    meter.maxWitness = maxWitness;
    return true;
}

/// @dev Hold what comes to the weight of a chunk again.
function unlimitMessage(State memory state) pure {
    state.meter.maxGas = MAX_CHUNK_GAS;
    state.meter.maxWitness = MAX_CHUNK_WITNESS;
}

/// @dev Charge the `ordinal`-th distinct leaf (from 1) of a tree: its bytes and its new siblings.
///
/// The k-th leaf of a multiproof adds at most depth - floor(log2 k) siblings, because the shallow levels
/// are shared by then. No tree has 2^depth leaves touched: the meter overflows long before.
function chargeLeaf(
    State memory state,
    uint256 gasUnits,
    uint256 size,
    uint256 depth,
    uint256 ordinal
) pure returns (Fault) {
    uint256 siblings = depth;
    unchecked {
        while (ordinal > 1) {
            ordinal >>= 1;
            --siblings;
        }
        return charge(
            state, gasUnits + siblings * WEIGHT_HASH_GAS, size + siblings * 32 + WEIGHT_HOLDER_BYTES
        );
    }
}

/// @dev Return an account's entry, and note that the chunk needs it. `exists` says whether there is one.
function touchAccount(State memory state, uint256 accountId)
    pure
    returns (AccountEntry memory entry, Fault fault)
{
    assembly ("memory-safe") {
        mstore(0x40, entry)
    }
    uint256 found;
    (found, fault) = _touchAccount(state, accountId);
    assembly ("memory-safe") {
        entry := found
    }
}

/// @dev Return an account. OVERWEIGHT; UNKNOWN_ACCOUNT, also for an id that the tree has no place for.
function getAccount(State memory state, uint256 accountId)
    pure
    returns (Account memory account, Fault fault)
{
    assembly ("memory-safe") {
        mstore(0x40, account)
    }
    if (accountId >> ACCOUNT_DEPTH != 0) return (account, Fault.UNKNOWN_ACCOUNT);
    uint256 entry;
    bool exists;
    (entry, fault) = _touchAccount(state, accountId);
    assembly ("memory-safe") {
        exists := mload(add(entry, 0x20))
        account := mload(add(entry, 0x40))
    }
    if (!exists && !isFault(fault)) fault = Fault.UNKNOWN_ACCOUNT;
}

/// @dev Check that every field fits the leaf. OUT_OF_RANGE.
function validateAccount(Account memory account) pure returns (Fault) {
    if (
        account.cash < -INT128_BOUND || account.cash >= INT128_BOUND
            || account.epoch >= UINT32_BOUND
    ) {
        return Fault.OUT_OF_RANGE;
    }
    Position[] memory positions = account.positions;
    uint256 count = positions.length;
    for (uint256 i; i < count; ++i) {
        int256 size = positions[i].size;
        if (size < -INT64_BOUND || size >= INT64_BOUND) return Fault.OUT_OF_RANGE;
    }
    return Fault.NONE;
}

/// @dev Store an account that `validateAccount` has passed.
function setAccount(State memory state, uint256 accountId, Account memory account) pure {
    uint256 leaf;
    assembly ("memory-safe") {
        leaf := account
    }
    _write(state, _findAccount(state, accountId), 1, leaf);
}

/// @dev Return an order slot, and whether it was ever used; its account is touched already.
function getSlot(State memory state, uint256 accountId, uint256 slotId)
    pure
    returns (Slot memory slot, bool exists, Fault fault)
{
    assembly ("memory-safe") {
        mstore(0x40, slot)
    }
    (uint256 account, uint256 entry) = _findSlot(state, accountId, slotId);
    if (_touch(entry)) {
        uint256 ordinal;
        assembly ("memory-safe") {
            ordinal := add(mload(add(account, 0xe0)), 1)
            mstore(add(account, 0xe0), ordinal)
        }
        fault = chargeLeaf(state, WEIGHT_SLOT_GAS, SLOT_BYTES, SLOT_DEPTH, ordinal);
    }
    assembly ("memory-safe") {
        exists := mload(add(entry, 0x20))
        slot := mload(add(entry, 0x40))
    }
}

/// @dev Store an order slot.
function setSlot(State memory state, uint256 accountId, uint256 slotId, Slot memory slot) pure {
    (, uint256 entry) = _findSlot(state, accountId, slotId);
    uint256 leaf;
    assembly ("memory-safe") {
        leaf := slot
    }
    _write(state, entry, 1, leaf);
}

/// @dev Return the length of a market leaf's encoding, 0 when there is none: that of the witness, because it
/// is asked for only before the leaf changes.
function getMarketSize(uint256 entry) pure returns (uint256 size) {
    assembly ("memory-safe") {
        size := mload(add(entry, 0xc0))
    }
}

/// @dev Return a market's entry, and note that the chunk needs it. Its type is NONE when there is no leaf.
function touchMarket(State memory state, uint256 marketId)
    pure
    returns (MarketEntry memory entry, Fault fault)
{
    assembly ("memory-safe") {
        mstore(0x40, entry)
    }
    uint256 found;
    (found, fault) = _touchMarket(state, marketId);
    assembly ("memory-safe") {
        entry := found
    }
}

/// @dev Return a series. OVERWEIGHT; UNKNOWN_MARKET when the leaf is absent or of another type. So do the
/// four below.
function getSeries(State memory state, uint256 marketId)
    pure
    returns (Series memory series, Fault fault)
{
    uint256 leaf;
    (leaf, fault) = getLeaf(state, marketId, MarketType.SERIES);
    assembly ("memory-safe") {
        mstore(0x40, series)
        series := leaf
    }
}

/// @dev Return an underlying.
function getUnderlying(State memory state, uint256 marketId)
    pure
    returns (Underlying memory underlying, Fault fault)
{
    uint256 leaf;
    (leaf, fault) = getLeaf(state, marketId, MarketType.UNDERLYING);
    assembly ("memory-safe") {
        mstore(0x40, underlying)
        underlying := leaf
    }
}

/// @dev Return a risk grid.
function getGrid(State memory state, uint256 marketId)
    pure
    returns (Grid memory grid, Fault fault)
{
    uint256 leaf;
    (leaf, fault) = getLeaf(state, marketId, MarketType.GRID);
    assembly ("memory-safe") {
        mstore(0x40, grid)
        grid := leaf
    }
}

/// @dev Return an oracle committee.
function getCommittee(State memory state, uint256 marketId)
    pure
    returns (Committee memory committee, Fault fault)
{
    uint256 leaf;
    (leaf, fault) = getLeaf(state, marketId, MarketType.COMMITTEE);
    assembly ("memory-safe") {
        mstore(0x40, committee)
        committee := leaf
    }
}

/// @dev Return an expiry.
function getExpiry(State memory state, uint256 marketId)
    pure
    returns (Expiry memory expiry, Fault fault)
{
    uint256 leaf;
    (leaf, fault) = getLeaf(state, marketId, MarketType.EXPIRY);
    assembly ("memory-safe") {
        mstore(0x40, expiry)
        expiry := leaf
    }
}

/// @dev Store a market leaf.
function setMarket(State memory state, uint256 marketId, Series memory series) pure {
    uint256 leaf;
    assembly ("memory-safe") {
        leaf := series
    }
    _setMarket(state, marketId, MarketType.SERIES, leaf);
}

/// @dev Store a market leaf.
function setMarket(State memory state, uint256 marketId, Underlying memory underlying) pure {
    uint256 leaf;
    assembly ("memory-safe") {
        leaf := underlying
    }
    _setMarket(state, marketId, MarketType.UNDERLYING, leaf);
}

/// @dev Store a market leaf.
function setMarket(State memory state, uint256 marketId, Grid memory grid) pure {
    uint256 leaf;
    assembly ("memory-safe") {
        leaf := grid
    }
    _setMarket(state, marketId, MarketType.GRID, leaf);
}

/// @dev Store a market leaf.
function setMarket(State memory state, uint256 marketId, Committee memory committee) pure {
    uint256 leaf;
    assembly ("memory-safe") {
        leaf := committee
    }
    _setMarket(state, marketId, MarketType.COMMITTEE, leaf);
}

/// @dev Store a market leaf.
function setMarket(State memory state, uint256 marketId, Expiry memory expiry) pure {
    uint256 leaf;
    assembly ("memory-safe") {
        leaf := expiry
    }
    _setMarket(state, marketId, MarketType.EXPIRY, leaf);
}

/// @dev Return a queue message and charge for its place in the witness. OVERWEIGHT.
function getMessage(State memory state, uint256 index)
    pure
    returns (Message memory message, Fault fault)
{
    assembly ("memory-safe") {
        mstore(0x40, message)
    }
    // The queue index never goes below `firstMessage`, and a body is no longer than a witness.
    unchecked {
        uint256 place = index - state.firstMessage;
        if (place >= state.messages.length) revert Witness_MissingMessage(index);
        message = state.messages[place];
        ++state.meter.messages;
        fault = charge(state, WEIGHT_MESSAGE_GAS, MESSAGE_HEAD_BYTES + message.body.length);
    }
}

/// @dev Return the series' risk vector, scenarios 2i and 2i+1 in the low and high half of word i.
function getLanes(Series memory series) pure returns (uint256[] memory) {
    return series.lanes;
}

/// @dev Append an exit leaf and count its amount as withdrawn. OVERWEIGHT; OUT_OF_RANGE when the exit tree
/// is full.
function processExit(State memory state, Exit memory leaf) pure returns (Fault) {
    Globals memory globals = state.globals;
    uint256 count = globals.exitCount;
    // Counts have 32 bits, amounts and their sum not much more than 128.
    unchecked {
        if (count + 1 >= UINT32_BOUND) return Fault.OUT_OF_RANGE;
        Fault fault = chargeLeaf(state, WEIGHT_EXIT_GAS, 0, EXIT_DEPTH, ++state.meter.exits);
        if (isFault(fault)) return fault;
        uint256 place = count - state.firstExit;
        if (place >= state.exits.length) revert Witness_MissingExit(count);
        state.exits[place] = leaf;
        globals.exitCount = count + 1;
        globals.withdrawn += leaf.amount;
    }
    return Fault.NONE;
}

/// @dev Store two words after an entry's id: whether or as what it exists, and where its leaf is.
function _write(State memory state, uint256 entry, uint256 presence, uint256 leaf) pure {
    if (state.groups != 0) {
        uint256 change = state.journal;
        assembly ("memory-safe") {
            let next := mload(0x40)
            mstore(0x40, add(next, 0x80))
            mstore(next, change)
            mstore(add(next, 0x20), entry)
            mcopy(add(next, 0x40), add(entry, 0x20), 0x40)
            change := next
        }
        state.journal = change;
    }
    assembly ("memory-safe") {
        mstore(add(entry, 0x20), presence)
        mstore(add(entry, 0x40), leaf)
    }
}

/// @dev Note that an entry of any kind is touched; returns whether it was not.
function _touch(uint256 entry) pure returns (bool isNew) {
    assembly ("memory-safe") {
        let isTouched := add(entry, 0x60)
        isNew := iszero(mload(isTouched))
        mstore(isTouched, 1)
    }
}

/// @dev Find an account's entry, and note that the chunk needs it.
function _touchAccount(State memory state, uint256 accountId)
    pure
    returns (uint256 entry, Fault fault)
{
    entry = _findAccount(state, accountId);
    if (_touch(entry)) {
        uint256 count = 0;
        // The positions are the account's eighth word.
        assembly ("memory-safe") {
            if mload(add(entry, 0x20)) {
                count := mload(mload(add(mload(add(entry, 0x40)), 0xe0)))
            }
        }
        unchecked {
            fault = chargeLeaf(
                state,
                WEIGHT_ACCOUNT_GAS + count * WEIGHT_POSITION_GAS,
                ACCOUNT_HEAD_BYTES + count * POSITION_BYTES,
                ACCOUNT_DEPTH,
                ++state.meter.accounts
            );
        }
    }
}

/// @dev Find a market's entry, and note that the chunk needs it.
function _touchMarket(State memory state, uint256 marketId)
    pure
    returns (uint256 entry, Fault fault)
{
    entry = _findMarket(state, marketId);
    if (_touch(entry)) {
        uint256 size = getMarketSize(entry);
        unchecked {
            fault = chargeLeaf(
                state,
                WEIGHT_MARKET_GAS + (size + 31) / 32 * WEIGHT_MARKET_WORD_GAS,
                size,
                MARKET_DEPTH,
                ++state.meter.markets
            );
        }
    }
}

/// @dev Find an entry by its first word in an array of pointers that ascend by it; 0 when there is none.
function _find(uint256 array, uint256 id) pure returns (uint256 entry) {
    // Reads only inside the array. Series that trade together have consecutive ids: if all are consecutive
    // from this one to the last, its place is known. Else halve the part that may hold it until one is left.
    assembly ("memory-safe") {
        let count := mload(array)
        if count {
            let base := add(array, 0x20)
            let last := add(array, shl(5, count))
            let behind := sub(mload(mload(last)), id)
            if lt(behind, count) { entry := mload(sub(last, shl(5, behind))) }
            if iszero(and(lt(behind, count), eq(mload(entry), id))) {
                for {} gt(count, 1) {} {
                    let half := shr(1, count)
                    let middle := add(base, shl(5, half))
                    if iszero(gt(mload(mload(middle)), id)) { base := middle }
                    count := sub(count, half)
                }
                entry := mload(base)
                entry := mul(entry, eq(mload(entry), id))
            }
        }
    }
}

function _findAccount(State memory state, uint256 accountId) pure returns (uint256 entry) {
    entry = _find(_pointer(state.accounts), accountId);
    if (entry == 0) revert Witness_MissingAccount(accountId);
}

function _findMarket(State memory state, uint256 marketId) pure returns (uint256 entry) {
    entry = _find(_pointer(state.markets), marketId);
    if (entry == 0) revert Witness_MissingMarket(marketId);
}

/// @dev Find an order slot that the witness opens, and its account.
function _findSlot(State memory state, uint256 accountId, uint256 slotId)
    pure
    returns (uint256 account, uint256 entry)
{
    account = _findAccount(state, accountId);
    uint256 slots;
    assembly ("memory-safe") {
        slots := mload(add(account, 0x120))
    }
    entry = _find(slots, slotId);
    if (entry == 0) revert Witness_MissingSlot(slotId);
}

/// @dev Return where a market leaf of a type is in memory, and note that the chunk needs it. OVERWEIGHT;
/// UNKNOWN_MARKET when there is none of this type.
function getLeaf(State memory state, uint256 marketId, MarketType marketType)
    pure
    returns (uint256 leaf, Fault fault)
{
    uint256 entry;
    (entry, fault) = _touchMarket(state, marketId);
    uint256 found;
    assembly ("memory-safe") {
        found := mload(add(entry, 0x20))
        leaf := mload(add(entry, 0x40))
    }
    if (found != uint256(marketType) && !isFault(fault)) fault = Fault.UNKNOWN_MARKET;
}

function _setMarket(State memory state, uint256 marketId, MarketType marketType, uint256 leaf)
    pure {
    _write(state, _findMarket(state, marketId), uint256(marketType), leaf);
}

function _pointer(AccountEntry[] memory array) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := array
    }
}

function _pointer(MarketEntry[] memory array) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := array
    }
}

/// @dev Return the leaf of a market's entry that is a series. The four below do so for other types.
function toSeries(uint256 pointer) pure returns (Series memory leaf) {
    assembly ("memory-safe") {
        mstore(0x40, leaf)
        leaf := pointer
    }
}

function toUnderlying(uint256 pointer) pure returns (Underlying memory leaf) {
    assembly ("memory-safe") {
        mstore(0x40, leaf)
        leaf := pointer
    }
}

function toGrid(uint256 pointer) pure returns (Grid memory leaf) {
    assembly ("memory-safe") {
        mstore(0x40, leaf)
        leaf := pointer
    }
}

function toCommittee(uint256 pointer) pure returns (Committee memory leaf) {
    assembly ("memory-safe") {
        mstore(0x40, leaf)
        leaf := pointer
    }
}

function toExpiry(uint256 pointer) pure returns (Expiry memory leaf) {
    assembly ("memory-safe") {
        mstore(0x40, leaf)
        leaf := pointer
    }
}
