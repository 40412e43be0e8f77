// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divUp} from "./Arithmetic.sol";
import {Book, computeBooks} from "./Books.sol";
import {PPM} from "./Constants.sol";
import {getFreeMemory, setFreeMemory} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {computeLoss} from "./Scenarios.sol";
import {State} from "./State.sol";
import {Account, UnderlyingParams} from "./Types.sol";

// Portfolio margin: equity against the worst scenario of each underlying's grid.
//
// The formulas are those of PMRM_2; docs/margin.md has them as they are here. With risk vectors stored in the
// series leaves a check is a dot product: positions add up to one vector per expiry, and the few steps that
// are not linear come after.

/// @dev An account against its requirements, collateral units.
struct Margin {
    int256 equity;
    int256 maintenance;
    int256 initial;
}

/// @dev Return how much equity is missing to initial margin, 0 when none is.
function computeShortfall(Margin memory margin) pure returns (int256) {
    unchecked {
        return margin.initial > margin.equity ? margin.initial - margin.equity : int256(0);
    }
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
        unchecked {
            (int256 maintenance, int256 initial) = computeRequirement(book, computeLoss(book));
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
