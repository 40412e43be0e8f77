// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divUp, isWithinBand} from "./Arithmetic.sol";
import {
    LANE_PAIRS,
    MAX_GROUPS,
    MAX_SCENARIOS,
    PPM,
    WEIGHT_MARGIN_EXPIRY_GAS,
    WEIGHT_MARGIN_GAS,
    WEIGHT_MARGIN_GROUP_GAS,
    WEIGHT_MARGIN_POSITION_GAS
} from "./Constants.sol";
import {getFreeMemory, setFreeMemory} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {computeCarry} from "./Funding.sol";
import {
    MarketEntry,
    MarketType,
    State,
    UINT64_BOUND,
    charge,
    getExpiry,
    getGrid,
    getLanes,
    getSeries,
    getUnderlying
} from "./State.sol";
import {
    Account,
    Expiry,
    Grid,
    Position,
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying,
    UnderlyingParams,
    hasStatus,
    isKind
} from "./Types.sol";

// Portfolio margin: equity against the worst scenario of each underlying's grid.
//
// The formulas are those of PMRM_2; docs/margin.md has them as they are here. With risk vectors stored in the
// series leaves a check is a dot product: positions add up to one vector per expiry, and the few steps that
// are not linear come after.
//
// Nothing here overflows, so nothing here is checked: marks, discounts and weights are below 2^64, sizes and
// risk entries within 2^63, all sizes added up below 2^64, carry within 2^127, rates below 2^32, and there are
// 64 positions at most.

uint256 constant CHAINS_BYTES = 0x820; // Room for one chain per position, and their number.

/// @dev An account against its requirements, collateral units.
struct Margin {
    int256 equity;
    int256 maintenance;
    int256 initial;
}

/// @dev The options that an account holds of one expiry.
struct Chain {
    uint256 key;
    Expiry expiry;
    int256 value; // At the marks.
    uint256[] lanes; // Sum of size times risk vector, packed as in a series.
}

/// @dev What an account holds on one underlying.
struct Book {
    uint256 key;
    Underlying underlying;
    Grid grid; // Only when there are chains.
    uint256 perpetualLots; // Long and short added up.
    uint256 nakedLots; // Of options, short and not covered at the same strike.
    uint256[] lanes; // Sum of size times risk vector over perpetuals, packed and weighted.
    Chain[] chains;
}

/// @dev A walk over an account's positions: how far it has come, and what positions next to each other share,
/// at hand. Pointers are 0 and keys are none's until there is something.
struct Walk {
    uint256 clock;
    uint256 gross; // Lots, long and short added up.
    uint256 next; // Where the next series stands among the opened markets, if it is the neighbour.
    uint256 call; // The call whose put may be the next option: where it is in memory.
    int256 callSize;
    uint256 book; // The latest book: where it is in memory.
    uint256 bookKey;
    uint256 index; // Of its underlying. So are the two below.
    uint256 oldest; // When a mark may be from, at least.
    uint256 moveBand;
    uint256 chain; // The latest chain: where it is in memory.
    uint256 chainKey;
    uint256 markIndex; // What the latest mark that is known to be fresh was computed from, and when.
    uint256 markedAt;
    uint256 groups; // Books and chains.
}

/// @dev Return how much equity is missing to initial margin, 0 when none is.
function computeShortfall(Margin memory margin) pure returns (int256) {
    unchecked {
        return margin.initial > margin.equity ? margin.initial - margin.equity : int256(0);
    }
}

/// @dev Check that an underlying has a price to mark from. HALTED when the breaker has tripped or the last
/// observation is too old (or there was none).
function validateObserved(Underlying memory underlying, uint256 clock) pure returns (Fault) {
    unchecked {
        if (
            underlying.pendingIndex != 0 || underlying.index == 0
                || clock > underlying.observedAt + underlying.params.maxMarkAge
        ) return Fault.HALTED;
    }
    return Fault.NONE;
}

/// @dev Check that an expiry has a volatility surface to mark options from. HALTED when it is too old or there
/// was none.
function validateSurfaced(Expiry memory expiry, Underlying memory underlying, uint256 clock)
    pure
    returns (Fault)
{
    unchecked {
        if (expiry.surfacedAt == 0 || clock > expiry.surfacedAt + underlying.params.maxSurfaceAge) {
            return Fault.HALTED;
        }
    }
    return Fault.NONE;
}

/// @dev Check that a mark may be relied upon; what has settled always may be. `expiry` is looked at for options
/// only. HALTED when no mark could be fresh: the breaker has tripped, the observation or the surface is too
/// old, or the option has expired and no observation is from after that; STALE_MARK when a Mark would help:
/// the mark is too old, the index has moved past the band, or the option can settle.
function validateFresh(
    Series memory series,
    Underlying memory underlying,
    Expiry memory expiry,
    uint256 clock
) pure returns (Fault) {
    if (hasStatus(series, SeriesStatus.SETTLED)) return Fault.NONE;
    Fault fault = validateObserved(underlying, clock);
    if (isFault(fault)) return fault;
    if (!isKind(series, SeriesKind.PERPETUAL)) {
        fault = _validateAlive(expiry, underlying, clock);
        if (isFault(fault)) return fault;
    }
    UnderlyingParams memory params = underlying.params;
    return _isFresh(series, underlying.index, _oldest(params, clock), params.moveBand)
        ? Fault.NONE
        : Fault.STALE_MARK;
}

/// @dev Return the expiry of a series, and whether there is one: there is none for a perpetual without a
/// premium. OVERWEIGHT, UNKNOWN_MARKET.
function getExpiryOf(State memory state, Series memory series)
    pure
    returns (Expiry memory expiry, bool exists, Fault fault)
{
    exists = series.expiry != 0;
    if (exists) (expiry, fault) = getExpiry(state, series.expiry);
}

/// @dev Return what a position adds to equity: size * (mark - carry since it was touched).
function computeEquityOf(int256 size, int256 snapshot, Series memory series) pure returns (int256) {
    unchecked {
        return size * (int256(series.mark) - (computeCarry(series, size) - snapshot));
    }
}

/// @dev Return how many lots of a strike are short and not covered, given both signed sizes.
///
/// A long call covers a short put and the other way round: one is worth something when the other costs.
function computeNaked(int256 call, int256 put) pure returns (uint256) {
    unchecked {
        int256 short = -(call + put);
        return short > 0 ? uint256(short) : 0;
    }
}

/// @dev Return the MAX_SCENARIOS entries of packed lanes.
function computeLanes(uint256[] memory lanes) pure returns (int256[] memory entries) {
    // One more, for the upper half of the last word.
    entries = new int256[](MAX_SCENARIOS + 1);
    assembly ("memory-safe") {
        mstore(entries, MAX_SCENARIOS)
        let to := add(entries, 0x20)
        let from := add(lanes, 0x20)
        for { let end := add(from, shl(5, mload(lanes))) } lt(from, end) {
            from := add(from, 0x20)
            to := add(to, 0x40)
        } {
            // A word is low + 2^128 * high, both signed.
            let word := mload(from)
            let low := signextend(15, word)
            mstore(to, low)
            mstore(add(to, 0x20), sar(128, sub(word, low)))
        }
    }
}

/// @dev Return the largest loss over the scenarios of packed lanes, as a non-negative number.
function computeWorst(uint256[] memory lanes) pure returns (int256 worst) {
    assembly ("memory-safe") {
        let place := add(lanes, 0x20)
        for { let end := add(place, shl(5, mload(lanes))) } lt(place, end) {
            place := add(place, 0x20)
        } {
            let word := mload(place)
            let low := signextend(15, word)
            let high := sar(128, sub(word, low))
            if slt(low, worst) { worst := low }
            if slt(high, worst) { worst := high }
        }
        worst := sub(0, worst)
    }
}

/// @dev Add what the options of an expiry add to the profit and loss of every scenario, rounded down: their
/// value after it, statically discounted, less their value at the marks, weighted. A skew counts as a loss
/// either way. Changes `totals`, and returns it.
///
/// `weights` are those of the scenarios, their number made even by a 0; `skews` are the places of skews.
function computeTerms(
    int256[] memory totals,
    Chain memory chain,
    uint256[] memory weights,
    uint256[] memory skews
) pure returns (int256[] memory) {
    uint256[] memory lanes = chain.lanes;
    Expiry memory expiry = chain.expiry;
    int256 value = chain.value;
    // Below 2^128 * 2^64 * 2^53: weights are at most 1.
    assembly ("memory-safe") {
        // The short discount stands behind the long one: a sign bit moved to where 32 is selects it.
        let discounts := add(expiry, 0x160)
        let base := shl(48, value)
        let from := lanes
        let to := add(totals, 0x20)
        let weight := add(weights, 0x20)
        for { let end := add(weight, shl(5, mload(weights))) } lt(weight, end) {} {
            from := add(from, 0x20)
            // A word is low + 2^128 * high, both signed.
            let word := mload(from)
            let term := signextend(15, word)
            word := add(sar(128, sub(word, term)), value)
            term := add(term, value)
            term := sub(mul(term, mload(add(discounts, and(shr(250, term), 0x20)))), base)
            mstore(to, add(mload(to), sar(96, mul(term, mload(weight)))))
            weight := add(weight, 0x20)
            to := add(to, 0x20)
            term := sub(mul(word, mload(add(discounts, and(shr(250, word), 0x20)))), base)
            mstore(to, add(mload(to), sar(96, mul(term, mload(weight)))))
            weight := add(weight, 0x20)
            to := add(to, 0x20)
        }
        // A gain in a skew counts twice as a loss, now that it has been added once.
        let skew := add(skews, 0x20)
        for { let end := add(skew, shl(5, mload(skews))) } lt(skew, end) { skew := add(skew, 0x20) }
        {
            let place := mload(skew)
            let word := mload(add(lanes, shl(5, add(shr(1, place), 1))))
            let term := signextend(15, word)
            if and(place, 1) { term := sar(128, sub(word, term)) }
            term := add(term, value)
            term := sub(mul(term, mload(add(discounts, and(shr(250, term), 0x20)))), base)
            place := shl(5, add(place, 1))
            term := sar(96, mul(term, mload(add(weights, place))))
            if sgt(term, 0) {
                to := add(totals, place)
                mstore(to, sub(mload(to), shl(1, term)))
            }
        }
    }
    return totals;
}

/// @dev Return what a higher or a lower forward of one expiry alone takes, rounded down and not above 0: the
/// loss in the worse of the two basis scenarios, neither weighted nor discounted, times the expiry's basis
/// factor.
function computeBasis(Chain memory chain, Grid memory grid) pure returns (int256) {
    int256 up = _getLane(chain.lanes, grid.basisUp);
    int256 down = _getLane(chain.lanes, grid.basisDown);
    unchecked {
        int256 worst = up < down ? up : down;
        return worst < 0 ? (worst * int256(chain.expiry.basisFactor)) >> 48 : int256(0);
    }
}

/// @dev Return the profit and loss of a book under every scenario, all MAX_SCENARIOS of them, and the basis
/// contingency, as a number not above 0.
function computeScenarios(Book memory book) pure returns (int256[] memory totals, int256 basis) {
    totals = computeLanes(book.lanes);
    Chain[] memory chains = book.chains;
    uint256 count = chains.length;
    if (count == 0) return (totals, basis);
    Grid memory grid = book.grid;
    (uint256[] memory weights, uint256[] memory skews) = _sort(grid.scenarios);
    for (uint256 i; i < count; ++i) {
        Chain memory chain = chains[i];
        totals = computeTerms(totals, chain, weights, skews);
        unchecked {
            basis += computeBasis(chain, grid);
        }
    }
}

/// @dev Return the worst of a book's scenarios and its basis contingency, as a non-negative number.
function computeLoss(Book memory book) pure returns (int256) {
    if (book.chains.length == 0) return computeWorst(book.lanes);
    (int256[] memory totals, int256 worst) = computeScenarios(book);
    assembly ("memory-safe") {
        let place := add(totals, 0x20)
        for { let end := add(place, shl(5, mload(totals))) } lt(place, end) {
            place := add(place, 0x20)
        } {
            // The lesser of both; a branch would cost more.
            let total := xor(mload(place), worst)
            worst := xor(worst, mul(total, slt(xor(total, worst), worst)))
        }
        worst := sub(0, worst)
    }
    return worst;
}

/// @dev Return maintenance and initial margin of a book whose worst loss is given, each part rounded up: factor
/// times multiplier times loss, and the contingencies on perpetuals and naked options.
function computeRequirement(Book memory book, int256 loss)
    pure
    returns (int256 maintenance, int256 initial)
{
    UnderlyingParams memory params = book.underlying.params;
    unchecked {
        int256 scaled = loss * int256(book.underlying.multiplier);
        maintenance = divUp(scaled * int256(params.maintenanceFactor), int256(PPM * PPM));
        initial = divUp(scaled * int256(params.initialFactor), int256(PPM * PPM));
        if (book.perpetualLots != 0) {
            uint256 notional = book.perpetualLots * book.underlying.index;
            maintenance += divUp(int256(notional * params.perpMaintenance), int256(PPM));
            initial += divUp(
                int256(notional * (params.perpMaintenance + params.perpInitial)), int256(PPM)
            );
        }
        if (book.nakedLots != 0) {
            uint256 notional = book.nakedLots * book.underlying.index;
            maintenance += divUp(int256(notional * params.optionMaintenance), int256(PPM));
            initial += divUp(
                int256(notional * (params.optionMaintenance + params.optionInitial)), int256(PPM)
            );
        }
    }
}

/// @dev Check that an account's positions may be spread over one more underlying or expiry. POSITION_LIMIT.
function validateGroups(uint256 groups) pure returns (Fault) {
    return groups >= MAX_GROUPS ? Fault.POSITION_LIMIT : Fault.NONE;
}

/// @dev Return an account's equity and what it holds, per underlying in the order of its positions. What
/// `computeMargin` returns.
function computeBooks(State memory state, Account memory account, uint256 clock)
    pure
    returns (int256 equity, Book[] memory books, Fault fault)
{
    Position[] memory positions = account.positions;
    uint256 count = positions.length;
    unchecked {
        fault = charge(state, WEIGHT_MARGIN_GAS + count * WEIGHT_MARGIN_POSITION_GAS, 0);
    }
    if (isFault(fault)) return (equity, books, fault);
    books = _newBooks(count);
    equity = account.cash;
    Walk memory walk;
    walk.clock = clock;
    walk.next = _first(state.markets);
    walk.bookKey = type(uint256).max;
    walk.chainKey = type(uint256).max;
    Position memory position;
    Series memory series;
    for (uint256 i; i < count;) {
        uint256 leaf;
        unchecked {
            ++i;
        }
        assembly ("memory-safe") {
            position := mload(add(positions, shl(5, i)))
        }
        int256 size = position.size;
        unchecked {
            // Entries are int64: with this bound no sum of size * entry leaves its lane.
            walk.gross += _abs(size);
        }
        if (walk.gross >= UINT64_BOUND) return (equity, books, Fault.OUT_OF_RANGE);
        (leaf, walk.next, fault) = _findSeries(state, position.series, walk.next);
        if (isFault(fault)) return (equity, books, fault);
        assembly ("memory-safe") {
            series := leaf
        }
        unchecked {
            equity += computeEquityOf(size, position.snapshot, series);
        }
        if (hasStatus(series, SeriesStatus.SETTLED)) continue;
        fault = _addPosition(state, books, walk, series, size);
        if (isFault(fault)) return (equity, books, fault);
    }
}

/// @dev Return an account's equity and requirements at current marks. OVERWEIGHT; HALTED, STALE_MARK when a
/// mark it depends on cannot be relied upon; UNKNOWN_MARKET when a series held is gone; OUT_OF_RANGE for 2^64
/// lots or more, long and short added up.
function computeMargin(State memory state, Account memory account, uint256 clock)
    pure
    returns (Margin memory margin, Fault fault)
{
    // Whatever is allocated from here on is given back at the end.
    uint256 free = getFreeMemory();
    Book[] memory books;
    (margin.equity, books, fault) = computeBooks(state, account, clock);
    if (isFault(fault)) return (margin, fault);
    uint256 count = books.length;
    for (uint256 i; i < count; ++i) {
        Book memory book = books[i];
        (int256 maintenance, int256 initial) = computeRequirement(book, computeLoss(book));
        unchecked {
            margin.maintenance += maintenance;
            margin.initial += initial;
        }
    }
    setFreeMemory(free);
}

/// @dev Check that money that leaves an account leaves initial margin met. MARGIN, and what `computeMargin`
/// returns.
function validateInitialMargin(State memory state, Account memory afterwards, uint256 clock)
    pure
    returns (Fault)
{
    (Margin memory margin, Fault fault) = computeMargin(state, afterwards, clock);
    if (isFault(fault)) return fault;
    return computeShortfall(margin) != 0 ? Fault.MARGIN : Fault.NONE;
}

/// @dev Check that a change leaves initial margin met, or a strictly smaller shortfall than before and no equity
/// below 0 that has fallen: nobody loses what others would have to pay. MARGIN, and what `computeMargin`
/// returns.
function validateMargin(
    State memory state,
    Account memory before,
    Account memory afterwards,
    uint256 clock
) pure returns (Fault) {
    (Margin memory margin, Fault fault) = computeMargin(state, afterwards, clock);
    if (isFault(fault)) return fault;
    int256 shortfall = computeShortfall(margin);
    if (shortfall == 0) return Fault.NONE;
    Margin memory former;
    (former, fault) = computeMargin(state, before, clock);
    if (isFault(fault)) return fault;
    if (shortfall >= computeShortfall(former)) return Fault.MARGIN;
    return margin.equity < 0 && margin.equity < former.equity ? Fault.MARGIN : Fault.NONE;
}

/// @dev Return the weights of scenarios, their number made even by a 0, and the places of those that are skews.
function _sort(Scenario[] memory scenarios)
    pure
    returns (uint256[] memory weights, uint256[] memory skews)
{
    assembly ("memory-safe") {
        let count := mload(scenarios)
        let bytesOfWeights := shl(6, shr(1, add(count, 1)))
        weights := mload(0x40)
        skews := add(add(weights, 0x20), bytesOfWeights)
        mstore(skews, 0)
        // After an odd number of them.
        mstore(sub(skews, 0x20), 0)
        mstore(weights, shr(5, bytesOfWeights))
        let free := add(skews, 0x20)
        let place := add(weights, 0x20)
        let offset := sub(scenarios, weights)
        for { let end := add(place, shl(5, count)) } lt(place, end) { place := add(place, 0x20) } {
            // Vol shock and weight are a scenario's second and third word.
            let scenario := mload(add(place, offset))
            mstore(place, mload(add(scenario, 0x40)))
            if sgt(mload(add(scenario, 0x20)), 1) {
                mstore(free, sub(shr(5, sub(place, weights)), 1))
                free := add(free, 0x20)
            }
        }
        mstore(skews, sub(shr(5, sub(free, skews)), 1))
        mstore(0x40, free)
    }
}

/// @dev Return one entry of packed lanes.
function _getLane(uint256[] memory lanes, uint256 place) pure returns (int256 entry) {
    uint256 word = lanes[place / 2];
    assembly ("memory-safe") {
        entry := signextend(15, word)
        if and(place, 1) { entry := sar(128, sub(word, entry)) }
    }
}

/// @dev The part of `validateFresh` that depends on the expiry.
function _validateAlive(Expiry memory expiry, Underlying memory underlying, uint256 clock)
    pure
    returns (Fault)
{
    if (clock >= expiry.time) {
        return underlying.observedAt >= expiry.time ? Fault.STALE_MARK : Fault.HALTED;
    }
    return validateSurfaced(expiry, underlying, clock);
}

/// @dev The part of `validateFresh` that depends on the series, given when a mark may be from, at least.
function _isFresh(Series memory series, uint256 index, uint256 oldest, uint256 moveBand)
    pure
    returns (bool)
{
    return series.markedAt >= oldest && isWithinBand(index, series.markIndex, moveBand);
}

/// @dev Return when a mark may be from, at least.
function _oldest(UnderlyingParams memory params, uint256 clock) pure returns (uint256) {
    unchecked {
        return clock > params.maxMarkAge ? clock - params.maxMarkAge : 0;
    }
}

/// @dev Add a position to the book of its underlying, and check that its mark may be relied upon.
function _addPosition(
    State memory state,
    Book[] memory books,
    Walk memory walk,
    Series memory series,
    int256 size
) pure returns (Fault fault) {
    if (series.underlying != walk.bookKey) {
        fault = _selectBook(state, books, walk, series.underlying);
        if (isFault(fault)) return fault;
    }
    uint256 total;
    if (isKind(series, SeriesKind.PERPETUAL)) {
        // Lots are a book's fourth word, lanes its sixth.
        uint256 book = walk.book;
        uint256 lots = _abs(size);
        assembly ("memory-safe") {
            mstore(add(book, 0x60), add(mload(add(book, 0x60)), lots))
            total := mload(add(book, 0xa0))
        }
    } else {
        if (series.expiry != walk.chainKey) {
            fault = _selectChain(state, books, walk, series.expiry);
            if (isFault(fault)) return fault;
        }
        _addNaked(walk, series, size);
        // Value is a chain's third word, lanes its fourth.
        uint256 chain = walk.chain;
        uint256 mark = series.mark;
        assembly ("memory-safe") {
            mstore(add(chain, 0x40), add(mload(add(chain, 0x40)), mul(mark, size)))
            total := mload(add(chain, 0x60))
        }
    }
    // Series are mostly marked together.
    if (series.markIndex != walk.markIndex || series.markedAt != walk.markedAt) {
        if (!_isFresh(series, walk.index, walk.oldest, walk.moveBand)) return Fault.STALE_MARK;
        walk.markIndex = series.markIndex;
        walk.markedAt = series.markedAt;
    }
    _accumulate(total, getLanes(series), size);
}

/// @dev Count what is naked of an option's strike: for a put of the last call, in place of what the call alone
/// was.
function _addNaked(Walk memory walk, Series memory series, int256 size) pure {
    int256 callSize = _takeCall(walk, series, size);
    uint256 book = walk.book;
    uint256 lots;
    unchecked {
        lots = computeNaked(callSize, size) - computeNaked(callSize, 0);
    }
    // Naked lots are a book's fifth word.
    assembly ("memory-safe") {
        mstore(add(book, 0x80), add(mload(add(book, 0x80)), lots))
    }
}

/// @dev Return the size of the last call when an option is its put, else 0; a call is the last one from now on.
function _takeCall(Walk memory walk, Series memory series, int256 size)
    pure
    returns (int256 callSize)
{
    // Expiry and strike are a series' fourth and fifth word, the call and its size a walk's.
    assembly ("memory-safe") {
        let last := add(walk, 0x60)
        let former := mload(last)
        switch mload(series)
        case 1 {
            mstore(last, series)
            mstore(add(walk, 0x80), size)
        }
        default {
            if former {
                let isPut := eq(mload(add(series, 0x60)), mload(add(former, 0x60)))
                isPut := and(isPut, eq(mload(add(series, 0x80)), mload(add(former, 0x80))))
                callSize := mul(isPut, mload(add(walk, 0x80)))
            }
            mstore(last, 0)
        }
    }
}

/// @dev Charge for another book or chain, and count it.
function _addGroup(State memory state, Walk memory walk, uint256 gasUnits)
    pure
    returns (Fault fault)
{
    fault = charge(state, gasUnits, 0);
    if (isFault(fault)) return fault;
    fault = validateGroups(walk.groups);
    unchecked {
        ++walk.groups;
    }
}

/// @dev Go on with another underlying: find its book, or append one.
function _selectBook(State memory state, Book[] memory books, Walk memory walk, uint256 key)
    pure
    returns (Fault fault)
{
    uint256 array;
    assembly ("memory-safe") {
        array := books
    }
    uint256 place = _findLast(array, key);
    if (place == 0) {
        fault = _addGroup(state, walk, WEIGHT_MARGIN_GROUP_GAS);
        if (isFault(fault)) return fault;
        (Underlying memory added, Fault unknown) = getUnderlying(state, key);
        if (isFault(unknown)) return unknown;
        fault = validateObserved(added, walk.clock);
        if (isFault(fault)) return fault;
        place = _append(array, _newBook(key, added));
    }
    unchecked {
        Book memory book = books[place - 1];
        assembly ("memory-safe") {
            mstore(add(walk, 0xa0), book)
        }
        Underlying memory underlying = book.underlying;
        walk.bookKey = key;
        walk.index = underlying.index;
        walk.oldest = _oldest(underlying.params, walk.clock);
        walk.moveBand = underlying.params.moveBand;
        walk.markIndex = type(uint256).max;
    }
    walk.chainKey = type(uint256).max;
}

/// @dev Go on with another expiry: find its chain in the latest book, or append one.
function _selectChain(State memory state, Book[] memory books, Walk memory walk, uint256 key)
    pure
    returns (Fault fault)
{
    Book memory book = books[0];
    uint256 array = walk.book;
    assembly ("memory-safe") {
        book := array
        array := mload(add(book, 0xc0))
    }
    uint256 place = _findLast(array, key);
    if (place == 0) {
        fault = _addGroup(state, walk, WEIGHT_MARGIN_EXPIRY_GAS);
        if (isFault(fault)) return fault;
        if (book.chains.length == 0) {
            (book.grid, fault) = getGrid(state, book.underlying.params.grid);
            if (isFault(fault)) return fault;
        }
        (Expiry memory expiry, Fault unknown) = getExpiry(state, key);
        if (isFault(unknown)) return unknown;
        fault = _validateAlive(expiry, book.underlying, walk.clock);
        if (isFault(fault)) return fault;
        Chain memory added = Chain(key, expiry, 0, new uint256[](LANE_PAIRS));
        uint256 pointer;
        assembly ("memory-safe") {
            pointer := added
        }
        place = _append(array, pointer);
    }
    walk.chainKey = key;
    assembly ("memory-safe") {
        mstore(add(walk, 0x140), mload(add(array, shl(5, place))))
    }
}

/// @dev `getSeries` with a shortcut: what is touched already, and stands at `next` among the opened markets or
/// behind it, needs no search of all of them and no charge. Positions ascend by id, as the markets do. Returns
/// where the series is in memory, and where its successor's entry stands.
function _findSeries(State memory state, uint256 marketId, uint256 next)
    pure
    returns (uint256 leaf, uint256, Fault fault)
{
    MarketEntry[] memory markets = state.markets;
    uint256 wanted = uint256(MarketType.SERIES);
    assembly ("memory-safe") {
        let count := shr(5, sub(add(add(markets, 0x20), shl(5, mload(markets))), next))
        if count {
            let entry := mload(next)
            if iszero(eq(mload(entry), marketId)) {
                // Halves the part that may hold the id until one entry is left.
                for {} gt(count, 1) {} {
                    let half := shr(1, count)
                    let middle := add(next, shl(5, half))
                    if iszero(gt(mload(mload(middle)), marketId)) { next := middle }
                    count := sub(count, half)
                }
                entry := mload(next)
            }
            // An entry is its id, type, leaf and whether it is touched, in this order.
            let isReady := and(eq(mload(add(entry, 0x20)), wanted), mload(add(entry, 0x60)))
            if and(isReady, eq(mload(entry), marketId)) { leaf := mload(add(entry, 0x40)) }
        }
    }
    // Where the entry stands is known by now, unless there is none: then this reverts.
    if (leaf == 0) {
        Series memory series;
        (series, fault) = getSeries(state, marketId);
        assembly ("memory-safe") {
            leaf := series
        }
    }
    unchecked {
        return (leaf, next + 0x20, fault);
    }
}

/// @dev Return where the first entry of an array stands.
function _first(MarketEntry[] memory markets) pure returns (uint256 place) {
    assembly ("memory-safe") {
        place := add(markets, 0x20)
    }
}

/// @dev Return the place of the last member whose first word is `key`, counted from 1, in an array of pointers;
/// 0 when there is none. Series of one underlying, and of one expiry, are mostly neighbours.
function _findLast(uint256 array, uint256 key) pure returns (uint256 place) {
    assembly ("memory-safe") {
        let entry := add(array, shl(5, mload(array)))
        for {} gt(entry, array) { entry := sub(entry, 0x20) } {
            if eq(mload(mload(entry)), key) {
                place := shr(5, sub(entry, array))
                break
            }
        }
    }
}

/// @dev Append a pointer to an array that has room for it; return its place, counted from 1.
function _append(uint256 array, uint256 pointer) pure returns (uint256 place) {
    assembly ("memory-safe") {
        place := add(mload(array), 1)
        mstore(array, place)
        mstore(add(array, shl(5, place)), pointer)
    }
}

/// @dev Add `size` times a series' lanes to the sum of lanes at `total`. Products and sums wrap, word by word; a
/// final lane fits.
function _accumulate(uint256 total, uint256[] memory lanes, int256 size) pure {
    assembly ("memory-safe") {
        let count := mload(lanes)
        // The addresses run from the first word on; eight words at a time, then one.
        for {} gt(count, 7) { count := sub(count, 8) } {
            total := add(total, 0x20)
            lanes := add(lanes, 0x20)
            mstore(total, add(mload(total), mul(mload(lanes), size)))
            total := add(total, 0x20)
            lanes := add(lanes, 0x20)
            mstore(total, add(mload(total), mul(mload(lanes), size)))
            total := add(total, 0x20)
            lanes := add(lanes, 0x20)
            mstore(total, add(mload(total), mul(mload(lanes), size)))
            total := add(total, 0x20)
            lanes := add(lanes, 0x20)
            mstore(total, add(mload(total), mul(mload(lanes), size)))
            total := add(total, 0x20)
            lanes := add(lanes, 0x20)
            mstore(total, add(mload(total), mul(mload(lanes), size)))
            total := add(total, 0x20)
            lanes := add(lanes, 0x20)
            mstore(total, add(mload(total), mul(mload(lanes), size)))
            total := add(total, 0x20)
            lanes := add(lanes, 0x20)
            mstore(total, add(mload(total), mul(mload(lanes), size)))
            total := add(total, 0x20)
            lanes := add(lanes, 0x20)
            mstore(total, add(mload(total), mul(mload(lanes), size)))
        }
        for {} count { count := sub(count, 1) } {
            total := add(total, 0x20)
            lanes := add(lanes, 0x20)
            mstore(total, add(mload(total), mul(mload(lanes), size)))
        }
    }
}

/// @dev Return how many lots a signed size is.
function _abs(int256 size) pure returns (uint256) {
    unchecked {
        return uint256(size < 0 ? -size : size);
    }
}

/// @dev Allocate a book without positions; its grid comes with its first chain. Returns where it is in memory.
function _newBook(uint256 key, Underlying memory underlying) pure returns (uint256 book) {
    uint256[] memory lanes = new uint256[](LANE_PAIRS);
    assembly ("memory-safe") {
        // An array of chains that is empty and has room for one per position.
        let chains := mload(0x40)
        book := add(chains, CHAINS_BYTES)
        mstore(0x40, add(book, 0xe0))
        mstore(chains, 0)
        mstore(book, key)
        mstore(add(book, 0x20), underlying)
        mstore(add(book, 0x60), 0)
        mstore(add(book, 0x80), 0)
        mstore(add(book, 0xa0), lanes)
        mstore(add(book, 0xc0), chains)
    }
}

/// @dev An array of books that is empty and has room for `count`.
function _newBooks(uint256 count) pure returns (Book[] memory books) {
    assembly ("memory-safe") {
        books := mload(0x40)
        mstore(books, 0)
        mstore(0x40, add(books, shl(5, add(count, 1))))
    }
}
