// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {TWAP_DAYS} from "./Constants.sol";
import {Fault} from "./Fault.sol";
import {
    Account,
    Committee,
    Exit,
    Expiry,
    Globals,
    Grid,
    Position,
    RiskModel,
    Scenario,
    Series,
    Slot,
    Underlying,
    UnderlyingParams
} from "./Types.sol";

// Leaf encodings: fixed-width big-endian fields behind a tag byte, one form per value.
//
// `encode` also returns OUT_OF_RANGE when a value does not fit its field; the encoding then means nothing.
// How many entries a list has, `decode` takes from the encoding's length, so nothing is read out of bounds.
// It does not check what the fields say: a leaf of a witness is real once the root is shown to be right.
//
// A run of fields that stand in the order of their struct is given by its format: from the left, a byte with
// the width of each field, plus 0x80 when it is signed. Fields are written from left to right, each with one
// word store: what a store writes behind its field, the next one overwrites, and the last one's surplus
// lands in slack behind the encoding. They are read likewise, each with one word load.

uint256 constant ACCOUNT_TAG = 0x41;
uint256 constant COMMITTEE_TAG = 0x43;
uint256 constant EXIT_TAG = 0x45;
uint256 constant GLOBALS_TAG = 0x47;
uint256 constant SERIES_TAG = 0x4D;
uint256 constant GRID_TAG = 0x52;
uint256 constant SLOT_TAG = 0x53;
uint256 constant UNDERLYING_TAG = 0x55;
uint256 constant EXPIRY_TAG = 0x58;
uint256 constant GLOBALS_VERSION = 2;

uint256 constant ACCOUNT_HEAD_BYTES = 112;
uint256 constant POSITION_BYTES = 26;
uint256 constant SLOT_BYTES = 33;
uint256 constant SCENARIO_BYTES = 13;
uint256 constant MODEL_BYTES = 176;
uint256 constant GRID_HEAD_BYTES = 180;
uint256 constant COMMITTEE_HEAD_BYTES = 3;
uint256 constant PARAMS_BYTES = 146;
uint256 constant UNDERLYING_BYTES = 239;
uint256 constant EXPIRY_BYTES = 106;
uint256 constant SERIES_HEAD_BYTES = 84;
uint256 constant RISK_BYTES = 8;
uint256 constant EXIT_BYTES = 39;
uint256 constant GLOBALS_BYTES = 231;

// Twenty-two numbers of a risk model.
bytes32 constant MODEL_FORMAT = hex"88888888888888888888888888888888888888888888";
// Spot shock, vol shock, weight.
bytes32 constant SCENARIO_FORMAT = hex"848108";
// Committee, grid, tick, then 27 rates and ages, of which the makers' fees are signed.
bytes32 constant PARAMS_FORMAT = hex"020208040404040404040404048404840404040404040404040404040404";
// The seven parameters behind those: market and lot of gas, rules of listing.
bytes32 constant RULES_FORMAT = hex"02080802010104";
// Index, its time, pending index, end of the halt, variance, multiplier, the window's two, day.
bytes32 constant PRICES_FORMAT = hex"080508050804100204";
bytes32 constant TWAPS_FORMAT = hex"08080808";
// Underlying, time, ratio, six of the surface, its time, settlement, two discounts, factor, their time.
bytes32 constant EXPIRY_FORMAT = hex"020508888888888888050808080805";
// Kind, status, underlying, expiry, strike, mark, its index, its time, two carries, time and rest of funding,
// open interest, risk entries.
bytes32 constant SERIES_FORMAT = hex"0101020208080805909005020801";
// Asset, recipient, amount.
bytes32 constant EXIT_FORMAT = hex"021410";
// Three roots, two counts, clock, queue index, five sums of money, skipped, fee levels,
// data fee.
bytes32 constant GLOBALS_FORMAT = hex"20202004040508101010101008080808";

// Parameters of PARAMS_FORMAT, 32 bytes each in memory, and the bytes that they are written in.
uint256 constant PARAMS_WORDS = 30 * 32;
uint256 constant PARAMS_RUN_BYTES = 120;

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
    uint256 count = positions.length;
    unchecked {
        encoding = _allocate(ACCOUNT_TAG, ACCOUNT_HEAD_BYTES + count * POSITION_BYTES);
    }
    uint256 excess = count >> 8;
    // What `_storeFields` does, without a loop over the format: accounts are most of what a proof encodes.
    assembly ("memory-safe") {
        let to := add(encoding, 0x20)
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
        mstore8(add(to, 111), count)
        to := add(to, ACCOUNT_HEAD_BYTES)
        let from := add(positions, 0x20)
        for { let end := add(from, shl(5, count)) } lt(from, end) { from := add(from, 0x20) } {
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
    uint256 count = _count(encoding, ACCOUNT_HEAD_BYTES, POSITION_BYTES);
    // Positions are laid out behind what is allocated: the array, then the structs that it points to, three
    // words each. Their 26 bytes fit one word.
    assembly ("memory-safe") {
        let from := add(encoding, 0x20)
        mstore(account, shr(96, mload(add(from, 1))))
        mstore(add(account, 0x20), shr(96, mload(add(from, 21))))
        mstore(add(account, 0x40), shr(216, mload(add(from, 41))))
        mstore(add(account, 0x60), shr(192, mload(add(from, 46))))
        mstore(add(account, 0x80), sar(128, mload(add(from, 54))))
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
            mstore(add(position, 0x20), sar(192, shl(16, word)))
            mstore(add(position, 0x40), sar(128, shl(80, word)))
            position := add(position, 0x60)
            from := add(from, POSITION_BYTES)
        }
        mstore(0x40, position)
    }
}

/// @dev Encode the leaf of an order slot.
function encodeSlot(Slot memory slot) pure returns (bytes memory encoding, Fault) {
    encoding = _allocate(SLOT_TAG, SLOT_BYTES);
    uint256 excess;
    // The ten words of an order, then what is filled; flags are read as numbers.
    assembly ("memory-safe") {
        let order := mload(slot)
        let market := mload(order)
        let price := mload(add(order, 0x40))
        let size := mload(add(order, 0x60))
        let nonce := mload(add(order, 0x80))
        let epoch := mload(add(order, 0xa0))
        let expiry := mload(add(order, 0xc0))
        let filled := mload(add(slot, 0x20))
        let flags := or(mload(add(order, 0x20)), shl(1, mload(add(order, 0xe0))))
        flags := or(flags, shl(3, mload(add(order, 0x100))))
        flags := or(flags, shl(4, mload(add(order, 0x120))))
        excess := or(shr(32, or(or(nonce, epoch), or(size, filled))), shr(64, price))
        excess := or(excess, or(shr(16, market), shr(40, expiry)))
        let word := or(or(shl(224, nonce), shl(192, epoch)), or(shl(176, market), shl(168, flags)))
        word := or(word, or(or(shl(104, price), shl(72, size)), shl(32, expiry)))
        let to := add(encoding, 0x21)
        mstore(to, or(word, filled))
    }
    return (encoding, _toFault(excess));
}

/// @dev Return the slot; the mirror of `encodeSlot`.
function decodeSlot(bytes memory encoding) pure returns (Slot memory slot) {
    // All 32 bytes behind the tag.
    assembly ("memory-safe") {
        let word := mload(add(encoding, 0x21))
        let order := mload(slot)
        let flags := shr(168, word)
        mstore(order, and(shr(176, word), 0xffff))
        mstore(add(order, 0x20), and(flags, 1))
        mstore(add(order, 0x40), and(shr(104, word), 0xffffffffffffffff))
        mstore(add(order, 0x60), and(shr(72, word), 0xffffffff))
        mstore(add(order, 0x80), shr(224, word))
        mstore(add(order, 0xa0), and(shr(192, word), 0xffffffff))
        mstore(add(order, 0xc0), and(shr(32, word), 0xffffffffff))
        mstore(add(order, 0xe0), and(shr(1, flags), 3))
        mstore(add(order, 0x100), and(shr(3, flags), 1))
        mstore(add(order, 0x120), and(shr(4, flags), 1))
        mstore(add(slot, 0x20), and(word, 0xffffffff))
    }
}

/// @dev Return the 176 bytes of a risk model, its fields in their order.
function encodeModel(RiskModel memory model) pure returns (bytes memory encoding, Fault) {
    encoding = _allocate(0, MODEL_BYTES);
    return (encoding, _toFault(_storeFields(encoding, 0, _pointer(model), MODEL_FORMAT)));
}

/// @dev Return the risk model; the mirror of `encodeModel`.
function decodeModel(bytes memory encoding) pure returns (RiskModel memory model) {
    _loadFields(encoding, 0, _pointer(model), MODEL_FORMAT);
}

/// @dev Encode the leaf of a risk grid.
function encodeGrid(Grid memory grid) pure returns (bytes memory encoding, Fault) {
    Scenario[] memory scenarios = grid.scenarios;
    uint256 count = scenarios.length;
    uint256 basisUp = grid.basisUp;
    uint256 basisDown = grid.basisDown;
    uint256 excess = (count | basisUp | basisDown) >> 8;
    // No list is so long that its bytes overflow a word. Nor is any below.
    unchecked {
        encoding = _allocate(GRID_TAG, GRID_HEAD_BYTES + count * SCENARIO_BYTES);
        _store(encoding, 1, (count << 248) | (basisUp << 240) | (basisDown << 232));
        excess |= _storeFields(encoding, 4, _pointer(grid.model), MODEL_FORMAT);
        for (uint256 i; i < count; ++i) {
            uint256 offset = GRID_HEAD_BYTES + i * SCENARIO_BYTES;
            excess |= _storeFields(encoding, offset, _pointer(scenarios[i]), SCENARIO_FORMAT);
        }
    }
    return (encoding, _toFault(excess));
}

/// @dev Return the grid; the mirror of `encodeGrid`.
function decodeGrid(bytes memory encoding) pure returns (Grid memory grid) {
    uint256 count = _count(encoding, GRID_HEAD_BYTES, SCENARIO_BYTES);
    Scenario[] memory scenarios = new Scenario[](count);
    uint256[] memory weights;
    uint256[] memory skews = new uint256[](count);
    uint256 skewCount;
    unchecked {
        weights = new uint256[](count + (count & 1));
        for (uint256 i; i < count; ++i) {
            uint256 offset = GRID_HEAD_BYTES + i * SCENARIO_BYTES;
            Scenario memory scenario = scenarios[i];
            _loadFields(encoding, offset, _pointer(scenario), SCENARIO_FORMAT);
            weights[i] = scenario.weight;
            if (scenario.volShock > 1) skews[skewCount++] = i;
        }
    }
    assembly ("memory-safe") {
        mstore(skews, skewCount)
    }
    grid.scenarios = scenarios;
    grid.weights = weights;
    grid.skews = skews;
    uint256 word = _load(encoding, 2);
    grid.basisUp = word >> 248;
    grid.basisDown = uint8(word >> 240);
    _loadFields(encoding, 4, _pointer(grid.model), MODEL_FORMAT);
}

/// @dev Encode the leaf of an oracle committee.
function encodeCommittee(Committee memory committee) pure returns (bytes memory encoding, Fault) {
    address[] memory signers = committee.signers;
    uint256 threshold = committee.threshold;
    uint256 count = signers.length;
    unchecked {
        encoding = _allocate(COMMITTEE_TAG, COMMITTEE_HEAD_BYTES + count * 20);
        _store(encoding, 1, (threshold << 248) | (count << 240));
        for (uint256 i; i < count; ++i) {
            uint256 signer = uint256(uint160(signers[i]));
            _store(encoding, COMMITTEE_HEAD_BYTES + i * 20, signer << 96);
        }
    }
    return (encoding, _toFault((count | threshold) >> 8));
}

/// @dev Return the committee; the mirror of `encodeCommittee`.
function decodeCommittee(bytes memory encoding) pure returns (Committee memory committee) {
    uint256 count = _count(encoding, COMMITTEE_HEAD_BYTES, 20);
    address[] memory signers = new address[](count);
    unchecked {
        for (uint256 i; i < count; ++i) {
            uint256 word = _load(encoding, COMMITTEE_HEAD_BYTES + i * 20);
            signers[i] = address(uint160(word >> 96));
        }
    }
    committee.threshold = _load(encoding, 1) >> 248;
    committee.signers = signers;
}

/// @dev Encode the 146 bytes of governed parameters inside an underlying's leaf and a Configure message, its
/// fields in their order.
function encodeParams(UnderlyingParams memory params) pure returns (bytes memory encoding, Fault) {
    encoding = _allocate(0, PARAMS_BYTES);
    return (encoding, _toFault(_storeParams(encoding, 0, _pointer(params))));
}

/// @dev Return the parameters; the mirror of `encodeParams`.
function decodeParams(bytes memory encoding) pure returns (UnderlyingParams memory params) {
    _loadParams(encoding, 0, _pointer(params));
}

/// @dev Encode the leaf of an underlying.
function encodeUnderlying(Underlying memory underlying)
    pure
    returns (bytes memory encoding, Fault)
{
    encoding = _allocate(UNDERLYING_TAG, UNDERLYING_BYTES);
    uint256 excess = _storeParams(encoding, 1, _pointer(underlying.params));
    // The first word of the struct points to the parameters, the last one to the prices of past boundaries.
    unchecked {
        excess |= _storeFields(encoding, 147, _pointer(underlying) + 32, PRICES_FORMAT);
    }
    excess |= _storeFields(encoding, 207, _pointer(underlying.twaps), TWAPS_FORMAT);
    return (encoding, _toFault(excess));
}

/// @dev Return the underlying; the mirror of `encodeUnderlying`.
function decodeUnderlying(bytes memory encoding) pure returns (Underlying memory underlying) {
    _loadParams(encoding, 1, _pointer(underlying.params));
    unchecked {
        _loadFields(encoding, 147, _pointer(underlying) + 32, PRICES_FORMAT);
    }
    _loadFields(encoding, 207, _pointer(underlying.twaps), TWAPS_FORMAT);
}

/// @dev Encode the leaf of an expiry.
function encodeExpiry(Expiry memory expiry) pure returns (bytes memory encoding, Fault) {
    encoding = _allocate(EXPIRY_TAG, EXPIRY_BYTES);
    return (encoding, _toFault(_storeFields(encoding, 1, _pointer(expiry), EXPIRY_FORMAT)));
}

/// @dev Return the expiry; the mirror of `encodeExpiry`.
function decodeExpiry(bytes memory encoding) pure returns (Expiry memory expiry) {
    _loadFields(encoding, 1, _pointer(expiry), EXPIRY_FORMAT);
}

/// @dev Encode the leaf of a series.
function encodeSeries(Series memory series) pure returns (bytes memory encoding, Fault) {
    uint256[] memory lanes = series.lanes;
    uint256 count = series.riskCount;
    unchecked {
        // A word of lanes for two entries; else what follows would write past the encoding.
        if (lanes.length != (count + 1) / 2) return (encoding, Fault.OUT_OF_RANGE);
        encoding = _allocate(SERIES_TAG, SERIES_HEAD_BYTES + count * RISK_BYTES);
    }
    uint256 excess = _storeFields(encoding, 1, _pointer(series), SERIES_FORMAT);
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
    _loadFields(encoding, 1, _pointer(series), SERIES_FORMAT);
    uint256 count = _count(encoding, SERIES_HEAD_BYTES, RISK_BYTES);
    uint256[] memory lanes;
    unchecked {
        lanes = new uint256[]((count + 1) / 2);
    }
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
    series.riskCount = count;
    series.lanes = lanes;
}

/// @dev Encode the leaf of an exit.
function encodeExit(Exit memory leaf) pure returns (bytes memory encoding, Fault) {
    encoding = _allocate(EXIT_TAG, EXIT_BYTES);
    return (encoding, _toFault(_storeFields(encoding, 1, _pointer(leaf), EXIT_FORMAT)));
}

/// @dev Encode the preimage of a state root.
function encodeGlobals(Globals memory globals) pure returns (bytes memory encoding, Fault) {
    encoding = _allocate(GLOBALS_TAG, GLOBALS_BYTES);
    _store(encoding, 1, GLOBALS_VERSION << 248);
    return (encoding, _toFault(_storeFields(encoding, 2, _pointer(globals), GLOBALS_FORMAT)));
}

/// @dev Return the globals; the mirror of `encodeGlobals`.
function decodeGlobals(bytes memory encoding) pure returns (Globals memory globals) {
    _loadFields(encoding, 2, _pointer(globals), GLOBALS_FORMAT);
}

/// @dev Return the state root.
function hashGlobals(Globals memory globals) pure returns (bytes32, Fault) {
    (bytes memory encoding, Fault fault) = encodeGlobals(globals);
    return (keccak256(encoding), fault);
}

/// @dev Allocate an encoding with a word of slack behind it, and write its tag. Nothing is zeroed.
function _allocate(uint256 tag, uint256 length) pure returns (bytes memory encoding) {
    assembly ("memory-safe") {
        encoding := mload(0x40)
        mstore(encoding, length)
        mstore(add(encoding, 0x20), shl(248, tag))
        mstore(0x40, add(encoding, and(add(length, 0x5f), not(0x1f))))
    }
}

/// @dev Write a run of fields at `offset` of an encoding, from the words at `from` on. Returns bits that do
/// not fit.
function _storeFields(bytes memory encoding, uint256 offset, uint256 from, bytes32 format)
    pure
    returns (uint256 excess)
{
    assembly ("memory-safe") {
        let to := add(add(encoding, 0x20), offset)
        for {} format { format := shl(8, format) } {
            let width := byte(0, format)
            let value := mload(from)
            switch gt(width, 0x7f)
            case 0 { excess := or(excess, shr(shl(3, width), value)) }
            default {
                width := sub(width, 0x80)
                excess := or(excess, xor(value, signextend(sub(width, 1), value)))
            }
            mstore(to, shl(sub(256, shl(3, width)), value))
            to := add(to, width)
            from := add(from, 0x20)
        }
    }
}

/// @dev Read a run of fields at `offset` of an encoding into the words at `to`, which are allocated.
function _loadFields(bytes memory encoding, uint256 offset, uint256 to, bytes32 format) pure {
    assembly ("memory-safe") {
        let from := add(add(encoding, 0x20), offset)
        for {} format { format := shl(8, format) } {
            let width := byte(0, format)
            let value := mload(from)
            switch gt(width, 0x7f)
            case 0 { value := shr(sub(256, shl(3, width)), value) }
            default {
                width := sub(width, 0x80)
                value := sar(sub(256, shl(3, width)), value)
            }
            mstore(to, value)
            from := add(from, width)
            to := add(to, 0x20)
        }
    }
}

/// @dev Write governed parameters, which are two runs, at `offset` of an encoding.
function _storeParams(bytes memory encoding, uint256 offset, uint256 from)
    pure
    returns (uint256 excess)
{
    unchecked {
        excess = _storeFields(encoding, offset, from, PARAMS_FORMAT);
        excess |= _storeFields(
            encoding, offset + PARAMS_RUN_BYTES, from + PARAMS_WORDS, RULES_FORMAT
        );
    }
}

/// @dev Read governed parameters into the words at `to`.
function _loadParams(bytes memory encoding, uint256 offset, uint256 to) pure {
    unchecked {
        _loadFields(encoding, offset, to, PARAMS_FORMAT);
        _loadFields(encoding, offset + PARAMS_RUN_BYTES, to + PARAMS_WORDS, RULES_FORMAT);
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
    unchecked {
        return encoding.length < head ? 0 : (encoding.length - head) / size;
    }
}

function _toFault(uint256 excess) pure returns (Fault) {
    return excess == 0 ? Fault.NONE : Fault.OUT_OF_RANGE;
}

function _pointer(RiskModel memory model) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := model
    }
}

function _pointer(Scenario memory scenario) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := scenario
    }
}

function _pointer(UnderlyingParams memory params) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := params
    }
}

function _pointer(Underlying memory underlying) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := underlying
    }
}

function _pointer(uint256[TWAP_DAYS] memory twaps) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := twaps
    }
}

function _pointer(Expiry memory expiry) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := expiry
    }
}

function _pointer(Series memory series) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := series
    }
}

function _pointer(Exit memory leaf) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := leaf
    }
}

function _pointer(Globals memory globals) pure returns (uint256 pointer) {
    assembly ("memory-safe") {
        pointer := globals
    }
}
