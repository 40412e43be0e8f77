// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Book, computeBooks} from "../../protocol/Books.sol";
import {MAX_SCENARIOS} from "../../protocol/Constants.sol";
import {Fault, isFault} from "../../protocol/Fault.sol";
import {
    EXPIRY_TAG,
    GRID_TAG,
    UNDERLYING_TAG,
    decodeAccount,
    decodeExpiry,
    decodeGrid,
    decodeSeries,
    decodeUnderlying,
    encodeExpiry,
    encodeGrid,
    encodeSeries,
    encodeUnderlying
} from "../../protocol/Leaf.sol";
import {
    Margin,
    computeMargin,
    validateInitialMargin,
    validateMargin
} from "../../protocol/Margin.sol";
import {processMarkRange} from "../../protocol/Mark.sol";
import {computeScenarios} from "../../protocol/Scenarios.sol";
import {
    MarketEntry,
    MarketType,
    State,
    resetMeter,
    toExpiry,
    toGrid,
    toSeries,
    toUnderlying
} from "../../protocol/State.sol";
import {Account, Expiry, Grid, Mark, Series, Underlying} from "../../protocol/Types.sol";

/// @title Opens marks and margin to tests, on market leaves given as encodings.
contract MarginHarness {
    /// @notice Market leaves, ascending by id; an empty encoding is no leaf.
    struct Markets {
        uint256[] ids;
        bytes[] leaves;
        uint256 clock;
    }

    address private immutable _pricer;

    constructor(address pricer) {
        _pricer = pricer;
    }

    /// @return fault What `processMarkRange` returns.
    /// @return leaves The leaves afterwards.
    /// @return gasUsed What it took, the decoding of leaves apart.
    /// @return weight What it charged.
    function mark(Markets memory markets, uint256 market, uint256 count)
        external
        view
        returns (Fault fault, bytes[] memory leaves, uint256 gasUsed, uint256 weight)
    {
        State memory state = _open(markets);
        uint256 before = gasleft();
        fault = processMarkRange(state, Mark(market, count));
        gasUsed = before - gasleft();
        weight = state.meter.gas;
        leaves = _close(state);
    }

    /// @return fault What `computeMargin` returns.
    /// @return margin Likewise.
    /// @return gasUsed What it took the second time, when no leaf is new.
    /// @return weight What it charged the first time.
    function margin(Markets memory markets, bytes memory account)
        external
        view
        returns (Fault, Margin memory, uint256 gasUsed, uint256 weight)
    {
        State memory state = _open(markets);
        (Account memory holder,) = decodeAccount(account);
        (Margin memory result, Fault fault) = computeMargin(state, holder, markets.clock);
        weight = state.meter.gas;
        if (!isFault(fault)) {
            uint256 before = gasleft();
            computeMargin(state, holder, markets.clock);
            gasUsed = before - gasleft();
        }
        return (fault, result, gasUsed, weight);
    }

    /// @return totals What `computeScenarios` returns for each of the account's books.
    /// @return bases Likewise.
    function scenarios(Markets memory markets, bytes memory account)
        external
        view
        returns (int256[][] memory totals, int256[] memory bases)
    {
        State memory state = _open(markets);
        (Account memory holder,) = decodeAccount(account);
        (, Book[] memory books, Fault fault) = computeBooks(state, holder, markets.clock);
        if (isFault(fault)) return (totals, bases);
        totals = new int256[][](books.length);
        bases = new int256[](books.length);
        for (uint256 i; i < books.length; ++i) {
            int256[] memory entries;
            uint256 count = MAX_SCENARIOS;
            (entries, bases[i]) = computeScenarios(books[i]);
            // Without the upper half of the last word, which is no scenario's.
            assembly ("memory-safe") {
                mstore(entries, count)
            }
            totals[i] = entries;
        }
    }

    /// @return What `validateMargin` returns.
    /// @return What `validateInitialMargin` returns for the account afterwards.
    function validate(Markets memory markets, bytes memory account, bytes memory accountAfter)
        external
        view
        returns (Fault, Fault)
    {
        State memory state = _open(markets);
        (Account memory before,) = decodeAccount(account);
        (Account memory afterwards,) = decodeAccount(accountAfter);
        return (
            validateMargin(state, before, afterwards, markets.clock),
            validateInitialMargin(state, afterwards, markets.clock)
        );
    }

    function _open(Markets memory markets) private view returns (State memory state) {
        resetMeter(state);
        state.globals.clock = markets.clock;
        state.optionPricer = _pricer;
        uint256 count = markets.ids.length;
        state.markets = new MarketEntry[](count);
        for (uint256 i; i < count; ++i) {
            MarketEntry memory entry = state.markets[i];
            entry.id = markets.ids[i];
            entry.size = markets.leaves[i].length;
            if (entry.size != 0) _decode(entry, markets.leaves[i]);
        }
    }

    function _decode(MarketEntry memory entry, bytes memory encoding) private pure {
        uint256 tag = uint8(encoding[0]);
        uint256 pointer;
        if (tag == GRID_TAG) {
            Grid memory grid = decodeGrid(encoding);
            entry.marketType = MarketType.GRID;
            assembly ("memory-safe") {
                pointer := grid
            }
        } else if (tag == UNDERLYING_TAG) {
            Underlying memory underlying = decodeUnderlying(encoding);
            entry.marketType = MarketType.UNDERLYING;
            assembly ("memory-safe") {
                pointer := underlying
            }
        } else if (tag == EXPIRY_TAG) {
            Expiry memory expiry = decodeExpiry(encoding);
            entry.marketType = MarketType.EXPIRY;
            assembly ("memory-safe") {
                pointer := expiry
            }
        } else {
            Series memory series = decodeSeries(encoding);
            entry.marketType = MarketType.SERIES;
            assembly ("memory-safe") {
                pointer := series
            }
        }
        entry.leaf = pointer;
    }

    function _close(State memory state) private pure returns (bytes[] memory leaves) {
        leaves = new bytes[](state.markets.length);
        for (uint256 i; i < leaves.length; ++i) {
            MarketEntry memory entry = state.markets[i];
            uint256 leaf = entry.leaf;
            if (entry.marketType == MarketType.GRID) (leaves[i],) = encodeGrid(toGrid(leaf));
            if (entry.marketType == MarketType.UNDERLYING) {
                (leaves[i],) = encodeUnderlying(toUnderlying(leaf));
            }
            if (entry.marketType == MarketType.EXPIRY) (leaves[i],) = encodeExpiry(toExpiry(leaf));
            if (entry.marketType == MarketType.SERIES) (leaves[i],) = encodeSeries(toSeries(leaf));
        }
    }
}
