// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    LANE_PAIRS,
    MAX_GROUPS,
    WEIGHT_MARGIN_EXPIRY_GAS,
    WEIGHT_MARGIN_GAS,
    WEIGHT_MARGIN_GROUP_GAS,
    WEIGHT_MARGIN_POSITION_GAS
} from "./Constants.sol";
import {Fault, isFault} from "./Fault.sol";
import {isFresh, validateAlive, validateObserved} from "./Fresh.sol";
import {computeCarry} from "./Funding.sol";
import {MarketEntry, MarketType, State, UINT64_BOUND, charge, getLeaf} from "./State.sol";
import {
    Account,
    Expiry,
    Grid,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying
} from "./Types.sol";

// What an account holds, per underlying and expiry: positions add up to one risk vector for each.
//
// Nothing here overflows, so nothing here is checked: marks are below 2^64, sizes and risk entries within 2^63,
// all sizes added up below 2^64, carry within 2^127, and there are 64 positions at most.

/// @dev The options that an account holds of one expiry. The sum of size times risk vector, packed as in a series,
/// stands behind the last member: what it is of (two words), LANE_PAIRS, and so many words.
struct Chain {
    uint256 longDiscount; // The expiry's.
    uint256 shortDiscount;
    uint256 key;
    Expiry expiry;
    int256 value; // At the marks.
    uint256[] lanes; // That sum.
}

/// @dev What an account holds on one underlying. The sum stands behind the last member, as in a chain.
struct Book {
    uint256 key;
    Underlying underlying;
    Grid grid; // Only when there are chains.
    uint256 perpetualLots; // Long and short added up.
    uint256 nakedLots; // Of options, short and not covered at the same strike.
    uint256[] lanes; // Sum of size times risk vector over perpetuals, packed and weighted.
    Chain[] chains; // With room for a 0 behind them.
}

uint256 constant CHAINS_BYTES = 0x840; // Room for one chain per position, their number, and a 0.

/// @dev The unsettled positions of an account, pairs of a sum, and how far a walk over them has come. Keys are none's
/// until there is something.
struct Walk {
    uint256 clock;
    uint256 from; // Where pairs begin that belong to no sum yet.
    uint256 to; // Where they end.
    uint256 groups; // Books and chains.
    uint256 book; // The latest book: where it is in memory.
    uint256 bookKey;
    uint256 chain; // The latest chain: where it is in memory.
    uint256 chainKey;
    uint256 call; // The call whose put may be the next option: where its pair is.
}

/// @dev How far a search for the series that an account holds has come.
struct Search {
    uint256 place; // Where the next position stands, and where they end.
    uint256 end;
    uint256 next; // Where the next series stands among the opened markets, if it is the neighbour.
    uint256 marketsEnd;
    uint256 to; // Where the next pair goes.
    int256 equity; // What positions add to it.
    uint256 gross; // Lots, long and short added up.
}

/// @dev Return what a position adds to equity: size * (mark - carry since it was touched).
function computeEquityOf(int256 size, int256 snapshot, Series memory series) pure returns (int256) {
    unchecked {
        return size * (int256(series.mark) - (computeCarry(series, size) - snapshot));
    }
}

/// @dev Check that an account's positions may be spread over one more underlying or expiry. POSITION_LIMIT.
function validateGroups(uint256 groups) pure returns (Fault) {
    return groups >= MAX_GROUPS ? Fault.POSITION_LIMIT : Fault.NONE;
}

/// @dev Return an account's equity and what it holds, per underlying in the order of its positions; sums are not
/// added up yet. What `computeMargin` returns.
function computeBooks(State memory state, Account memory account, uint256 clock)
    pure
    returns (int256 equity, Book[] memory books, Fault fault)
{
    uint256 count = account.positions.length;
    unchecked {
        fault = charge(state, WEIGHT_MARGIN_GAS + count * WEIGHT_MARGIN_POSITION_GAS, 0);
    }
    if (isFault(fault)) return (equity, books, fault);
    Walk memory walk;
    walk.clock = clock;
    walk.bookKey = type(uint256).max;
    (books, walk.from) = _allocate(count);
    (equity, walk.to, fault) = _findAll(state, account.positions, walk.from);
    if (isFault(fault)) return (equity, books, fault);
    equity += account.cash;
    while (walk.from < walk.to) {
        fault = _select(state, books, walk);
        if (isFault(fault)) return (equity, books, fault);
        if (walk.chain == 0) _addPerpetual(walk);
        else _addOptions(walk);
    }
}

/// @dev Find the series of all positions, add up equity, and write the pairs of those that are not settled from
/// `to` on. OVERWEIGHT; UNKNOWN_MARKET; OUT_OF_RANGE for 2^64 lots or more, long and short added up.
function _findAll(State memory state, Position[] memory positions, uint256 to)
    pure
    returns (int256, uint256, Fault fault)
{
    MarketEntry[] memory markets = state.markets;
    uint256 first;
    Search memory search;
    assembly ("memory-safe") {
        first := add(markets, 0x20)
        mstore(search, add(positions, 0x20))
        mstore(add(search, 0x20), add(add(positions, 0x20), shl(5, mload(positions))))
        mstore(add(search, 0x60), add(first, shl(5, mload(markets))))
    }
    search.next = first;
    search.to = to;
    _findTouched(search);
    while (search.place < search.end) {
        Position memory position = positions[0];
        uint256 place = search.place;
        assembly ("memory-safe") {
            position := mload(place)
        }
        (, fault) = getLeaf(state, position.series, MarketType.SERIES);
        if (isFault(fault)) return (0, 0, fault);
        _findTouched(search);
        // It is not behind the last one, so it is before.
        if (search.place == place) search.next = first;
    }
    // Entries are int64: with this bound no sum of size * entry leaves its lane.
    if (search.gross >= UINT64_BOUND) fault = Fault.OUT_OF_RANGE;
    return (search.equity, search.to, fault);
}

/// @dev Go on with a search up to the first series that the chunk has not touched yet. Positions ascend by series,
/// as the opened markets do by id, so most series are the neighbour of the last.
function _findTouched(Search memory search) pure {
    uint256 seriesType = uint256(MarketType.SERIES);
    uint256 settled = uint256(SeriesStatus.SETTLED);
    assembly ("memory-safe") {
        // If all ids from here to there are opened, its place is known. Else halve the part that may hold it until one
        // is left.
        function _find(next, end, id) -> found {
            found := add(next, shl(5, sub(id, mload(mload(next)))))
            if and(lt(found, end), lt(next, found)) {
                if eq(mload(mload(found)), id) { leave }
            }
            found := next
            for { let count := shr(5, sub(end, found)) } gt(count, 1) {} {
                let half := shr(1, count)
                let middle := add(found, shl(5, half))
                if iszero(gt(mload(mload(middle)), id)) { found := middle }
                count := sub(count, half)
            }
        }
        let place := mload(search)
        let end := mload(add(search, 0x20))
        let next := mload(add(search, 0x40))
        let to := mload(add(search, 0x80))
        let equity := mload(add(search, 0xa0))
        let gross := mload(add(search, 0xc0))
        for {} lt(place, end) {} {
            let position := mload(place)
            let id := mload(position)
            if iszero(lt(next, mload(add(search, 0x60)))) { break }
            let entry := mload(next)
            if xor(mload(entry), id) {
                next := _find(next, mload(add(search, 0x60)), id)
                entry := mload(next)
            }
            // An entry is its id, type, leaf and whether it is touched, in this order.
            let other := or(xor(mload(entry), id), xor(mload(add(entry, 0x20)), seriesType))
            if or(other, iszero(mload(add(entry, 0x60)))) { break }
            let series := mload(add(entry, 0x40))
            let size := mload(add(position, 0x20))
            // As `computeEquityOf` has it.
            let carry := mload(add(series, add(0x100, shl(5, slt(size, 1)))))
            carry := sub(carry, mload(add(position, 0x40)))
            equity := add(equity, mul(size, sub(mload(add(series, 0xa0)), carry)))
            let sign := sar(255, size)
            gross := add(gross, sub(xor(size, sign), sign))
            if xor(mload(add(series, 0x20)), settled) {
                mstore(to, series)
                mstore(add(to, 0x20), size)
                to := add(to, 0x60)
            }
            next := add(next, 0x20)
            place := add(place, 0x20)
        }
        mstore(search, place)
        mstore(add(search, 0x40), next)
        mstore(add(search, 0x80), to)
        mstore(add(search, 0xa0), equity)
        mstore(add(search, 0xc0), gross)
    }
}

/// @dev Go on with what the next series belongs to: find its book and, for an option, its chain, or append them;
/// for a perpetual the chain is 0. Check that its mark may be relied upon.
function _select(State memory state, Book[] memory books, Walk memory walk)
    pure
    returns (Fault fault)
{
    uint256 series = walk.from;
    uint256 underlying;
    // Of a series, kind, underlying and expiry are words 1, 3 and 4, the mark's index and time are 7 and 8.
    assembly ("memory-safe") {
        series := mload(series)
        underlying := mload(add(series, 0x40))
    }
    if (underlying != walk.bookKey) {
        fault = _selectBook(state, books, walk, underlying);
        if (isFault(fault)) return fault;
    }
    uint256 kind;
    uint256 expiry;
    uint256 markIndex;
    uint256 markedAt;
    assembly ("memory-safe") {
        kind := mload(series)
        expiry := mload(add(series, 0x60))
        markIndex := mload(add(series, 0xc0))
        markedAt := mload(add(series, 0xe0))
    }
    if (kind == uint256(SeriesKind.PERPETUAL)) {
        walk.chain = 0;
        walk.chainKey = type(uint256).max;
    } else if (expiry != walk.chainKey) {
        fault = _selectChain(state, books, walk, expiry);
        if (isFault(fault)) return fault;
    }
    // Starting from a book costs less than from an empty one.
    Book memory book = books[0];
    uint256 latest = walk.book;
    assembly ("memory-safe") {
        book := latest
    }
    return isFresh(markIndex, markedAt, book.underlying, walk.clock) ? Fault.NONE : Fault.STALE_MARK;
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
    uint256 found = _findLast(array, 0, key);
    walk.bookKey = key;
    walk.chainKey = type(uint256).max;
    if (found == 0) {
        fault = _addGroup(state, walk, WEIGHT_MARGIN_GROUP_GAS);
        if (isFault(fault)) return fault;
        uint256 underlying;
        (underlying, fault) = getLeaf(state, key, MarketType.UNDERLYING);
        if (isFault(fault)) return fault;
        found = _newBook(key, underlying);
        _append(array, found);
        fault = validateObserved(books[books.length - 1].underlying, walk.clock);
    }
    walk.book = found;
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
    }
    Chain[] memory chains = book.chains;
    assembly ("memory-safe") {
        array := chains
    }
    uint256 found = _findLast(array, 0x40, key);
    walk.chainKey = key;
    if (found == 0) {
        fault = _addGroup(state, walk, WEIGHT_MARGIN_EXPIRY_GAS);
        if (isFault(fault)) return fault;
        uint256 leaf;
        if (chains.length == 0) {
            (leaf, fault) = getLeaf(state, book.underlying.params.grid, MarketType.GRID);
            if (isFault(fault)) return fault;
            assembly ("memory-safe") {
                mstore(add(book, 0x40), leaf)
            }
        }
        (leaf, fault) = getLeaf(state, key, MarketType.EXPIRY);
        if (isFault(fault)) return fault;
        found = _newChain(key, leaf);
        _append(array, found);
        fault = validateAlive(chains[chains.length - 1].expiry, book.underlying, walk.clock);
    }
    walk.chain = found;
}

/// @dev Add the next pair, a perpetual's, to its book.
function _addPerpetual(Walk memory walk) pure {
    uint256 from = walk.from;
    uint256 book = walk.book;
    // Lots of perpetuals are a book's fourth word, lanes its sixth.
    assembly ("memory-safe") {
        let size := mload(add(from, 0x20))
        let sign := sar(255, size)
        let lots := add(book, 0x60)
        mstore(lots, add(mload(lots), sub(xor(size, sign), sign)))
        let lanes := mload(add(book, 0xa0))
        mstore(add(from, 0x40), mload(sub(lanes, 0x40)))
        mstore(sub(lanes, 0x40), from)
        mstore(sub(lanes, 0x20), add(mload(sub(lanes, 0x20)), 1))
    }
    unchecked {
        walk.from = from + 0x60;
    }
}

/// @dev Add the next pairs to their chain, as far as they are options of its expiry that were marked together with
/// the first.
///
/// A long call covers a short put of the same strike and the other way round: one is worth something when the
/// other costs. So a strike's naked lots are max(0, -(call + put)): a put of the last call counts that in place
/// of what the call alone was.
function _addOptions(Walk memory walk) pure {
    assembly ("memory-safe") {
        // Leaving from within the loop keeps the compiler from merging this with what surrounds it: all it needs is
        // at hand then.
        function _countAlike(pair, end, former, last) -> to, latest, call_, lots, value {
            // Of a series, kind, expiry, strike and mark are words 1, 4, 5 and 6, the mark's index and time are 7
            // and 8.
            let series := mload(pair)
            let expiry := mload(add(series, 0x60))
            let markIndex := mload(add(series, 0xc0))
            let markedAt := mload(add(series, 0xe0))
            to := pair
            latest := former
            call_ := last
            for {} lt(to, end) {} {
                series := mload(to)
                let kind := mload(series)
                let other := or(xor(mload(add(series, 0x60)), expiry), iszero(kind))
                other := or(other, xor(mload(add(series, 0xc0)), markIndex))
                if or(other, xor(mload(add(series, 0xe0)), markedAt)) { leave }
                let size := mload(add(to, 0x20))
                mstore(add(to, 0x40), latest)
                latest := to
                value := add(value, mul(mload(add(series, 0xa0)), size))
                let naked := mul(slt(size, 0), size)
                switch eq(kind, 1)
                case 1 { call_ := to }
                default {
                    if call_ {
                        kind := mload(call_)
                        other := xor(mload(add(series, 0x80)), mload(add(kind, 0x80)))
                        if iszero(or(other, xor(expiry, mload(add(kind, 0x60))))) {
                            other := mload(add(call_, 0x20))
                            size := add(size, other)
                            naked := sub(mul(slt(size, 0), size), mul(slt(other, 0), other))
                        }
                        call_ := 0
                    }
                }
                lots := sub(lots, naked)
                to := add(to, 0x60)
            }
        }
        let from := mload(add(walk, 0x20))
        let chain := mload(add(walk, 0xc0))
        // Naked lots are a book's fifth word; value and lanes are a chain's fifth and sixth.
        let lanes := mload(add(chain, 0xa0))
        let to, latest, call_, lots, value :=
            _countAlike(
                from,
                mload(add(walk, 0x40)),
                mload(sub(lanes, 0x40)),
                mload(add(walk, 0x100))
            )
        mstore(add(walk, 0x20), to)
        mstore(add(walk, 0x100), call_)
        mstore(sub(lanes, 0x40), latest)
        mstore(sub(lanes, 0x20), add(mload(sub(lanes, 0x20)), div(sub(to, from), 0x60)))
        let place := add(mload(add(walk, 0x80)), 0x80)
        mstore(place, add(mload(place), lots))
        place := add(chain, 0x80)
        mstore(place, add(mload(place), value))
    }
}

/// @dev Return the last member with `key` at `offset` in an array of pointers; 0 when there is none. Series of one
/// underlying, and of one expiry, are mostly neighbours.
function _findLast(uint256 array, uint256 offset, uint256 key) pure returns (uint256 found) {
    assembly ("memory-safe") {
        let place := add(array, shl(5, mload(array)))
        for {} gt(place, array) { place := sub(place, 0x20) } {
            let member := mload(place)
            if eq(mload(add(member, offset)), key) {
                found := member
                break
            }
        }
    }
}

/// @dev Append a pointer to an array that has room for it.
function _append(uint256 array, uint256 pointer) pure {
    assembly ("memory-safe") {
        let count := add(mload(array), 1)
        mstore(array, count)
        mstore(add(array, shl(5, count)), pointer)
    }
}

/// @dev Allocate a book without positions; its grid comes with its first chain. Returns where it is in memory.
function _newBook(uint256 key, uint256 underlying) pure returns (uint256 book) {
    uint256 pairs = LANE_PAIRS;
    assembly ("memory-safe") {
        book := mload(0x40)
        mstore(add(book, 0xe0), 0)
        mstore(add(book, 0x100), 0)
        let lanes := add(book, 0x120)
        // An array of chains that is empty and has room for one per position.
        let chains := add(add(lanes, 0x20), shl(5, pairs))
        mstore(0x40, add(chains, CHAINS_BYTES))
        mstore(book, key)
        mstore(add(book, 0x20), underlying)
        mstore(add(book, 0x60), 0)
        mstore(add(book, 0x80), 0)
        mstore(add(book, 0xa0), lanes)
        mstore(add(book, 0xc0), chains)
        mstore(lanes, pairs)
        // What is behind calldata counts as zero.
        calldatacopy(add(lanes, 0x20), calldatasize(), shl(5, pairs))
        mstore(chains, 0)
    }
}

/// @dev Allocate a chain without positions. Returns where it is in memory.
function _newChain(uint256 key, uint256 expiry) pure returns (uint256 chain) {
    uint256 pairs = LANE_PAIRS;
    assembly ("memory-safe") {
        chain := mload(0x40)
        mstore(add(chain, 0xc0), 0)
        mstore(add(chain, 0xe0), 0)
        let lanes := add(chain, 0x100)
        mstore(0x40, add(add(lanes, 0x20), shl(5, pairs)))
        // Discounts are an expiry's twelfth and thirteenth word.
        mcopy(chain, add(expiry, 0x160), 0x40)
        mstore(add(chain, 0x40), key)
        mstore(add(chain, 0x60), expiry)
        mstore(add(chain, 0x80), 0)
        mstore(add(chain, 0xa0), lanes)
        mstore(lanes, pairs)
        calldatacopy(add(lanes, 0x20), calldatasize(), shl(5, pairs))
    }
}

/// @dev Allocate an array of books that is empty and has room for `count`, and room for as many pairs.
function _allocate(uint256 count) pure returns (Book[] memory books, uint256 pairs) {
    assembly ("memory-safe") {
        books := mload(0x40)
        mstore(books, 0)
        pairs := add(books, shl(5, add(count, 1)))
        mstore(0x40, add(pairs, mul(count, 0x60)))
    }
}
