// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Fault} from "./Fault.sol";
import {
    Account,
    Committee,
    Exit,
    Globals,
    Grid,
    Order,
    Position,
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    Slot,
    TimeInForce,
    Underlying,
    UnderlyingParams
} from "./Types.sol";

// Leaf encodings: fixed-width big-endian fields behind a tag byte, one form per value.
//
// `encode` also returns OUT_OF_RANGE when a value does not fit its field; the encoding then means nothing.
// Fields are written from left to right, each with one word store: what a store writes behind its field,
// the next one overwrites, and the last one's surplus lands in slack behind the encoding. `decode` reads
// each field with one word load; how many entries a list has follows from the encoding's length, so nothing
// is read out of bounds. What the fields say is not checked: a leaf of a witness is real once the root is
// shown to be right.

uint256 constant ACCOUNT_TAG = 0x41;
uint256 constant COMMITTEE_TAG = 0x43;
uint256 constant EXIT_TAG = 0x45;
uint256 constant GLOBALS_TAG = 0x47;
uint256 constant SERIES_TAG = 0x4D;
uint256 constant GRID_TAG = 0x52;
uint256 constant SLOT_TAG = 0x53;
uint256 constant UNDERLYING_TAG = 0x55;
uint256 constant GLOBALS_VERSION = 1;

uint256 constant ACCOUNT_HEAD_BYTES = 112;
uint256 constant POSITION_BYTES = 26;
uint256 constant SLOT_BYTES = 33;
uint256 constant SCENARIO_BYTES = 9;
uint256 constant GRID_HEAD_BYTES = 2;
uint256 constant COMMITTEE_HEAD_BYTES = 3;
uint256 constant UNDERLYING_BYTES = 95;
uint256 constant SERIES_HEAD_BYTES = 61;
uint256 constant RISK_BYTES = 8;
uint256 constant EXIT_BYTES = 39;
uint256 constant GLOBALS_BYTES = 207;
uint256 constant PARAMS_BYTES = 68;

/// @dev Return a leaf's hash: hashed twice, so that its preimage is never 64 bytes long.
function hashLeaf(bytes memory encoding) pure returns (bytes32 leafHash) {
    assembly ("memory-safe") {
        mstore(0x00, keccak256(add(encoding, 0x20), mload(encoding)))
        leafHash := keccak256(0x00, 0x20)
    }
}

/// @dev Encode the leaf of an account whose order slots have the root `slotRoot`.
function encodeAccount(Account memory account, bytes32 slotRoot)
    pure
    returns (bytes memory encoding, Fault)
{
    Position[] memory positions = account.positions;
    encoding = _allocate(ACCOUNT_HEAD_BYTES + positions.length * POSITION_BYTES);
    // Bits that do not fit their fields.
    uint256 excess = positions.length >> 8;
    // The eight words of an account and the three of a position stand in the order of their fields.
    assembly ("memory-safe") {
        let to := add(encoding, 0x20)
        mstore8(to, ACCOUNT_TAG)
        mstore(add(to, 1), shl(96, mload(account)))
        mstore(add(to, 21), shl(96, mload(add(account, 0x20))))
        let value := mload(add(account, 0x40)) // keyExpiry
        excess := or(excess, shr(40, value))
        mstore(add(to, 41), shl(216, value))
        value := mload(add(account, 0x60)) // nonce
        excess := or(excess, shr(64, value))
        mstore(add(to, 46), shl(192, value))
        value := mload(add(account, 0x80)) // cash
        excess := or(excess, xor(value, signextend(15, value)))
        mstore(add(to, 54), shl(128, value))
        value := mload(add(account, 0xa0)) // epoch
        excess := or(excess, shr(32, value))
        mstore(add(to, 70), shl(224, value))
        value := mload(add(account, 0xc0)) // distressedAt
        excess := or(excess, shr(40, value))
        mstore(add(to, 74), shl(216, value))
        mstore(add(to, 79), slotRoot)
        let from := add(positions, 0x20)
        let end := add(from, shl(5, mload(positions)))
        mstore8(add(to, 111), mload(positions))
        to := add(to, ACCOUNT_HEAD_BYTES)
        for {} lt(from, end) { from := add(from, 0x20) } {
            let position := mload(from)
            let series := mload(position)
            let size := mload(add(position, 0x20))
            let snapshot := mload(add(position, 0x40))
            excess := or(excess, shr(16, series))
            excess := or(excess, xor(size, signextend(7, size)))
            excess := or(excess, xor(snapshot, signextend(15, snapshot)))
            mstore(to, shl(240, series))
            mstore(add(to, 2), shl(192, size))
            mstore(add(to, 10), shl(128, snapshot))
            to := add(to, POSITION_BYTES)
        }
    }
    return (encoding, _toFault(excess));
}

/// @dev Return the account and its slot root; the mirror of `encodeAccount`.
function decodeAccount(bytes memory encoding)
    pure
    returns (Account memory account, bytes32 slotRoot)
{
    // The account's eight words are the return variable's; its positions are laid out behind what is
    // allocated: the array, then the structs that it points to, three words each.
    assembly ("memory-safe") {
        let from := add(encoding, 0x20)
        let count := mload(encoding)
        count := mul(
            gt(count, ACCOUNT_HEAD_BYTES),
            div(sub(count, ACCOUNT_HEAD_BYTES), POSITION_BYTES)
        )
        mstore(account, shr(96, mload(add(from, 1))))
        mstore(add(account, 0x20), shr(96, mload(add(from, 21))))
        mstore(add(account, 0x40), shr(216, mload(add(from, 41))))
        mstore(add(account, 0x60), shr(192, mload(add(from, 46))))
        mstore(add(account, 0x80), signextend(15, shr(128, mload(add(from, 54)))))
        mstore(add(account, 0xa0), shr(224, mload(add(from, 70))))
        mstore(add(account, 0xc0), shr(216, mload(add(from, 74))))
        slotRoot := mload(add(from, 79))
        let positions := mload(0x40)
        mstore(add(account, 0xe0), positions)
        mstore(positions, count)
        let to := add(positions, 0x20)
        let position := add(to, shl(5, count))
        from := add(from, ACCOUNT_HEAD_BYTES)
        for { let end := position } lt(to, end) { to := add(to, 0x20) } {
            let word := mload(from)
            mstore(to, position)
            mstore(position, shr(240, word))
            mstore(add(position, 0x20), signextend(7, shr(176, word)))
            mstore(add(position, 0x40), signextend(15, shr(48, word)))
            position := add(position, 0x60)
            from := add(from, POSITION_BYTES)
        }
        mstore(0x40, position)
    }
}

/// @dev Encode the leaf of an order slot.
function encodeSlot(Slot memory slot) pure returns (bytes memory encoding, Fault) {
    Order memory order = slot.order;
    uint256 filled = slot.filled;
    // Bits that do not fit their fields.
    uint256 excess = (order.nonce >> 32) | (order.epoch >> 32) | (order.market >> 16)
        | (order.price >> 64) | (order.size >> 32) | (order.expiry >> 40) | (filled >> 32);
    uint256 flags = (order.isBuy ? 1 : 0) | (uint256(order.timeInForce) << 1)
        | (order.postOnly ? 8 : 0) | (order.reduceOnly ? 16 : 0);
    encoding = _allocate(SLOT_BYTES);
    _store(
        encoding,
        0,
        (SLOT_TAG << 248) | (order.nonce << 216) | (order.epoch << 184) | (order.market << 168)
            | (flags << 160) | (order.price << 96) | (order.size << 64) | (order.expiry << 24)
    );
    _store(encoding, 29, filled << 224);
    return (encoding, _toFault(excess));
}

/// @dev Return the slot; the mirror of `encodeSlot`.
function decodeSlot(bytes memory encoding) pure returns (Slot memory slot) {
    uint256 word = _load(encoding, 0);
    uint256 flags = uint8(word >> 160);
    Order memory order = slot.order;
    order.market = uint16(word >> 168);
    order.isBuy = flags & 1 == 1;
    order.price = uint64(word >> 96);
    order.size = uint32(word >> 64);
    order.nonce = uint32(word >> 216);
    order.epoch = uint32(word >> 184);
    order.expiry = uint40(word >> 24);
    order.timeInForce = TimeInForce((flags >> 1) & 3);
    order.postOnly = (flags >> 3) & 1 == 1;
    order.reduceOnly = (flags >> 4) & 1 == 1;
    slot.filled = uint32(_load(encoding, 29) >> 224);
}

/// @dev Encode the leaf of a risk grid.
function encodeGrid(Grid memory grid) pure returns (bytes memory encoding, Fault) {
    Scenario[] memory scenarios = grid.scenarios;
    uint256 count = scenarios.length;
    uint256 excess = count >> 8;
    encoding = _allocate(GRID_HEAD_BYTES + count * SCENARIO_BYTES);
    _store(encoding, 0, (GRID_TAG << 248) | (count << 240));
    uint256 offset = GRID_HEAD_BYTES;
    for (uint256 i; i < count; ++i) {
        Scenario memory scenario = scenarios[i];
        excess |= _excess(scenario.spotShock, 3) | _excess(scenario.volShock, 0)
        | (scenario.weight >> 32);
        _store(encoding, offset, uint256(scenario.spotShock) << 224);
        _store(encoding, offset + 4, (uint256(scenario.volShock) << 248) | (scenario.weight << 216));
        offset += SCENARIO_BYTES;
    }
    return (encoding, _toFault(excess));
}

/// @dev Return the grid; the mirror of `encodeGrid`.
function decodeGrid(bytes memory encoding) pure returns (Grid memory grid) {
    uint256 count = _count(encoding, GRID_HEAD_BYTES, SCENARIO_BYTES);
    Scenario[] memory scenarios = new Scenario[](count);
    uint256 offset = GRID_HEAD_BYTES;
    for (uint256 i; i < count; ++i) {
        uint256 word = _load(encoding, offset);
        Scenario memory scenario = scenarios[i];
        scenario.spotShock = int32(uint32(word >> 224));
        scenario.volShock = int8(uint8(word >> 216));
        scenario.weight = uint32(word >> 184);
        offset += SCENARIO_BYTES;
    }
    grid.scenarios = scenarios;
}

/// @dev Encode the leaf of an oracle committee.
function encodeCommittee(Committee memory committee) pure returns (bytes memory encoding, Fault) {
    address[] memory signers = committee.signers;
    uint256 count = signers.length;
    encoding = _allocate(COMMITTEE_HEAD_BYTES + count * 20);
    _store(encoding, 0, (COMMITTEE_TAG << 248) | (committee.threshold << 240) | (count << 232));
    for (uint256 i; i < count; ++i) {
        _store(encoding, COMMITTEE_HEAD_BYTES + i * 20, uint256(uint160(signers[i])) << 96);
    }
    return (encoding, _toFault((count >> 8) | (committee.threshold >> 8)));
}

/// @dev Return the committee; the mirror of `encodeCommittee`.
function decodeCommittee(bytes memory encoding) pure returns (Committee memory committee) {
    uint256 count = _count(encoding, COMMITTEE_HEAD_BYTES, 20);
    address[] memory signers = new address[](count);
    for (uint256 i; i < count; ++i) {
        signers[i] = address(uint160(_load(encoding, COMMITTEE_HEAD_BYTES + i * 20) >> 96));
    }
    committee.threshold = uint8(_load(encoding, 1) >> 248);
    committee.signers = signers;
}

/// @dev Encode the 68 bytes of governed parameters inside an underlying's leaf and a Configure message.
function encodeParams(UnderlyingParams memory params) pure returns (bytes memory encoding, Fault) {
    encoding = _allocate(PARAMS_BYTES);
    return (encoding, _toFault(_storeParams(encoding, 0, params)));
}

/// @dev Return the parameters; the mirror of `encodeParams`.
function decodeParams(bytes memory encoding) pure returns (UnderlyingParams memory params) {
    _loadParams(encoding, 0, params);
}

/// @dev Encode the leaf of an underlying.
function encodeUnderlying(Underlying memory underlying)
    pure
    returns (bytes memory encoding, Fault)
{
    encoding = _allocate(UNDERLYING_BYTES);
    uint256 excess = (underlying.index >> 64) | (underlying.observedAt >> 40)
        | (underlying.pendingIndex >> 64) | (underlying.haltedUntil >> 40);
    _store(encoding, 0, UNDERLYING_TAG << 248);
    excess |= _storeParams(encoding, 1, underlying.params);
    _store(encoding, 69, (underlying.index << 192) | (underlying.observedAt << 152));
    _store(encoding, 82, (underlying.pendingIndex << 192) | (underlying.haltedUntil << 152));
    return (encoding, _toFault(excess));
}

/// @dev Return the underlying; the mirror of `encodeUnderlying`.
function decodeUnderlying(bytes memory encoding) pure returns (Underlying memory underlying) {
    _loadParams(encoding, 1, underlying.params);
    uint256 word = _load(encoding, 69);
    underlying.index = word >> 192;
    underlying.observedAt = uint40(word >> 152);
    word = _load(encoding, 82);
    underlying.pendingIndex = word >> 192;
    underlying.haltedUntil = uint40(word >> 152);
}

/// @dev Encode the leaf of a series.
function encodeSeries(Series memory series) pure returns (bytes memory encoding, Fault) {
    uint256[] memory lanes = series.lanes;
    uint256 count = series.riskCount;
    // Bits that do not fit their fields. There is a lane for each entry.
    uint256 excess = (series.underlying >> 16) | (series.expiry >> 16) | (series.strike >> 64)
        | (series.mark >> 64) | (series.markIndex >> 64) | (series.markedAt >> 40)
        | _excess(series.carry, 15) | (series.openInterest >> 64) | (count >> 8)
        | (lanes.length ^ ((count + 1) >> 1));
    if (excess != 0) return (encoding, Fault.OUT_OF_RANGE);
    encoding = _allocate(SERIES_HEAD_BYTES + count * RISK_BYTES);
    _store(
        encoding,
        0,
        (SERIES_TAG << 248) | (uint256(series.kind) << 240) | (uint256(series.status) << 232)
            | (series.underlying << 216) | (series.expiry << 200) | (series.strike << 136)
            | (series.mark << 72) | (series.markIndex << 8)
    );
    _store(encoding, 31, (series.markedAt << 216) | (uint256(uint128(int128(series.carry))) << 88));
    _store(encoding, 52, (series.openInterest << 192) | (count << 184));
    // Two entries to a word, low half first. Taking the low one off leaves the high one, whatever it
    // borrowed. An odd count's last store puts a zero behind the encoding.
    assembly ("memory-safe") {
        let to := add(add(encoding, 0x20), SERIES_HEAD_BYTES)
        let from := add(lanes, 0x20)
        for { let end := add(from, shl(5, mload(lanes))) } lt(from, end) { from := add(from, 0x20) }
        {
            let word := mload(from)
            let low := signextend(15, word)
            let high := sar(128, sub(word, low))
            excess := or(excess, xor(low, signextend(7, low)))
            excess := or(excess, xor(high, signextend(7, high)))
            mstore(to, or(shl(192, low), shr(64, shl(192, high))))
            to := add(to, 0x10)
        }
    }
    return (encoding, _toFault(excess));
}

/// @dev Return the series; the mirror of `encodeSeries`.
function decodeSeries(bytes memory encoding) pure returns (Series memory series) {
    uint256 count = _count(encoding, SERIES_HEAD_BYTES, RISK_BYTES);
    uint256 word = _load(encoding, 0);
    series.kind = SeriesKind(uint8(word >> 240));
    series.status = SeriesStatus(uint8(word >> 232));
    series.underlying = uint16(word >> 216);
    series.expiry = uint16(word >> 200);
    series.strike = uint64(word >> 136);
    series.mark = uint64(word >> 72);
    series.markIndex = uint64(word >> 8);
    word = _load(encoding, 31);
    series.markedAt = word >> 216;
    series.carry = int128(uint128(word >> 88));
    series.openInterest = _load(encoding, 52) >> 192;
    series.riskCount = count;
    uint256[] memory lanes = new uint256[]((count + 1) / 2);
    // Two entries to a word, low half first; bytes behind the encoding count as zero.
    assembly ("memory-safe") {
        let from := add(add(encoding, 0x20), SERIES_HEAD_BYTES)
        let to := add(lanes, 0x20)
        let end := add(to, shl(5, shr(1, count)))
        for {} lt(to, end) { to := add(to, 0x20) } {
            let pair := mload(from)
            mstore(to, add(sar(192, pair), shl(128, signextend(7, shr(128, pair)))))
            from := add(from, 0x10)
        }
        if and(count, 1) { mstore(to, sar(192, mload(from))) }
    }
    series.lanes = lanes;
}

/// @dev Encode the leaf of an exit.
function encodeExit(Exit memory leaf) pure returns (bytes memory encoding, Fault) {
    encoding = _allocate(EXIT_BYTES);
    _store(
        encoding,
        0,
        (EXIT_TAG << 248) | (leaf.asset << 232) | (uint256(uint160(leaf.recipient)) << 72)
    );
    _store(encoding, 23, leaf.amount << 128);
    return (encoding, _toFault((leaf.asset >> 16) | (leaf.amount >> 128)));
}

/// @dev Encode the preimage of a state root.
function encodeGlobals(Globals memory globals) pure returns (bytes memory encoding, Fault) {
    encoding = _allocate(GLOBALS_BYTES);
    uint256 insurance = uint256(globals.insurance);
    uint256 excess = (globals.accountCount >> 32) | (globals.exitCount >> 32)
        | (globals.clock >> 40) | (globals.queueIndex >> 64) | (insurance >> 128)
        | (globals.feePool >> 128) | (globals.deposited >> 128) | (globals.withdrawn >> 128)
        | (globals.skipped >> 64) | (globals.baseFeeLevel >> 64) | (globals.blobFeeLevel >> 64);
    _store(encoding, 0, (GLOBALS_TAG << 248) | (GLOBALS_VERSION << 240));
    _store(encoding, 2, uint256(globals.accountsRoot));
    _store(encoding, 34, uint256(globals.marketsRoot));
    _store(encoding, 66, uint256(globals.exitsRoot));
    _store(
        encoding,
        98,
        (globals.accountCount << 224) | (globals.exitCount << 192) | (globals.clock << 152)
            | (globals.queueIndex << 88)
    );
    _store(encoding, 119, (insurance << 128) | globals.feePool);
    _store(encoding, 151, (globals.deposited << 128) | globals.withdrawn);
    _store(
        encoding,
        183,
        (globals.skipped << 192) | (globals.baseFeeLevel << 128) | (globals.blobFeeLevel << 64)
    );
    return (encoding, _toFault(excess));
}

/// @dev Return the globals; the mirror of `encodeGlobals`, whose length the caller has checked.
function decodeGlobals(bytes memory encoding) pure returns (Globals memory globals) {
    globals.accountsRoot = bytes32(_load(encoding, 2));
    globals.marketsRoot = bytes32(_load(encoding, 34));
    globals.exitsRoot = bytes32(_load(encoding, 66));
    uint256 word = _load(encoding, 98);
    globals.accountCount = word >> 224;
    globals.exitCount = uint32(word >> 192);
    globals.clock = uint40(word >> 152);
    globals.queueIndex = uint64(word >> 88);
    word = _load(encoding, 119);
    globals.insurance = int256(word >> 128);
    globals.feePool = uint128(word);
    word = _load(encoding, 151);
    globals.deposited = word >> 128;
    globals.withdrawn = uint128(word);
    word = _load(encoding, 183);
    globals.skipped = word >> 192;
    globals.baseFeeLevel = uint64(word >> 128);
    globals.blobFeeLevel = uint64(word >> 64);
}

/// @dev Return the state root.
function hashGlobals(Globals memory globals) pure returns (bytes32, Fault) {
    (bytes memory encoding, Fault fault) = encodeGlobals(globals);
    return (keccak256(encoding), fault);
}

/// @dev Allocate an encoding with a word of slack behind it. Nothing is zeroed.
function _allocate(uint256 length) pure returns (bytes memory encoding) {
    assembly ("memory-safe") {
        encoding := mload(0x40)
        mstore(encoding, length)
        mstore(0x40, add(encoding, and(add(length, 0x5f), not(0x1f))))
    }
}

/// @dev Write a word at `offset`, which is inside the encoding: its slack takes what goes past the end.
function _store(bytes memory encoding, uint256 offset, uint256 word) pure {
    assembly ("memory-safe") {
        mstore(add(add(encoding, 0x20), offset), word)
    }
}

/// @dev Read the word at `offset`, which is inside the encoding; what lies past the end is not used.
function _load(bytes memory encoding, uint256 offset) pure returns (uint256 word) {
    assembly ("memory-safe") {
        word := mload(add(add(encoding, 0x20), offset))
    }
}

/// @dev Entries of `size` bytes that follow a head.
function _count(bytes memory encoding, uint256 head, uint256 size) pure returns (uint256) {
    return encoding.length < head ? 0 : (encoding.length - head) / size;
}

/// @dev Not zero when a signed value does not fit `highestByte + 1` bytes.
function _excess(int256 value, uint256 highestByte) pure returns (uint256 excess) {
    assembly ("memory-safe") {
        excess := xor(value, signextend(highestByte, value))
    }
}

function _toFault(uint256 excess) pure returns (Fault) {
    return excess == 0 ? Fault.NONE : Fault.OUT_OF_RANGE;
}

/// @dev Write parameters at `offset`: two of two bytes, one of eight, fourteen of four. Returns bits that do
/// not fit.
function _storeParams(bytes memory encoding, uint256 offset, UnderlyingParams memory params)
    pure
    returns (uint256 excess)
{
    // The seventeen words of the struct stand in the order of the fields.
    assembly ("memory-safe") {
        let to := add(add(encoding, 0x20), offset)
        let value := mload(params)
        excess := shr(16, value)
        mstore(to, shl(240, value))
        value := mload(add(params, 0x20))
        excess := or(excess, shr(16, value))
        mstore(add(to, 2), shl(240, value))
        value := mload(add(params, 0x40))
        excess := or(excess, shr(64, value))
        mstore(add(to, 4), shl(192, value))
        to := add(to, 12)
        let from := add(params, 0x60)
        for { let end := add(params, 0x220) } lt(from, end) { from := add(from, 0x20) } {
            value := mload(from)
            excess := or(excess, shr(32, value))
            mstore(to, shl(224, value))
            to := add(to, 4)
        }
    }
}

/// @dev Read what `_storeParams` writes.
function _loadParams(bytes memory encoding, uint256 offset, UnderlyingParams memory params) pure {
    assembly ("memory-safe") {
        let from := add(add(encoding, 0x20), offset)
        mstore(params, shr(240, mload(from)))
        mstore(add(params, 0x20), shr(240, mload(add(from, 2))))
        mstore(add(params, 0x40), shr(192, mload(add(from, 4))))
        from := add(from, 12)
        let to := add(params, 0x60)
        for { let end := add(params, 0x220) } lt(to, end) { to := add(to, 0x20) } {
            mstore(to, shr(224, mload(from)))
            from := add(from, 4)
        }
    }
}
