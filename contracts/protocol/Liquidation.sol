// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {validateNonce} from "./Actions.sol";
import {divDown, divUp} from "./Arithmetic.sol";
import {
    AUCTION_END,
    AUCTION_SECONDS,
    AUCTION_START,
    INSURANCE_ACCOUNT,
    INSURANCE_SHARE,
    LIQUIDATION_BUFFER,
    MAX_POSITIONS,
    PPM,
    WEIGHT_LIQUIDATE_POSITION_GAS
} from "./Constants.sol";
import {copyAccount, copySeries} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {computeLongChange, computeOpenInterest} from "./Fill.sol";
import {computeAccrued, computeCarry} from "./Funding.sol";
import {Margin, computeMargin, computeShortfall, validateMargin} from "./Margin.sol";
import {addInsurance, processRealise} from "./Realise.sol";
import {
    INT128_BOUND,
    State,
    charge,
    chargeModule,
    getAccount,
    getSeries,
    getUnderlying,
    setAccount,
    setMarket,
    validateAccount
} from "./State.sol";
import {
    Account,
    Distress,
    Liquidate,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Socialise,
    Underlying
} from "./Types.sol";

// Accounts in trouble: an auction takes them over at their marks, for a reward that rises; past the insurance
// fund, a loss is spread over those who hold the other side.
//
// Whoever takes a share gets that part of every position, so nobody can pick the hedges out of a portfolio. The
// account pays the reward out of the same share of its equity, as far as that goes; the insurance fund pays the
// rest, and the same share of a hole. Nothing is created: what one gets, another pays, to the unit.
//
// Bounds: sizes are within 2^63, marks and indexes below 2^64, carry within 2^127, and there are 64 positions at
// most, so that equity is within 2^200 and no requirement above 2^200.

/// @dev A part of a position that changes hands.
struct Move {
    uint256 market;
    Series series;
    int256 lots; // Signed like the position.
}

/// @dev Who pays what in a liquidation, collateral units.
struct Payment {
    int256 own; // Of the account taken over; negative: it gets that much, its share of its hole.
    int256 paid; // The reward, not below 0; what is not the account's own is the insurance fund's.
    int256 share; // What of the reward goes to the insurance fund.
}

/// @dev What a liquidation reads and makes.
struct Takeover {
    bool isFund;
    Account account;
    Account target;
    Margin margin; // Of the target.
    int256 rate;
    int256 whole; // Reward for all of the target.
    Move[] moves;
    int256 value; // Of the lots moved, at the marks.
    Payment payment;
    Account accountAfter;
    Account targetAfter;
    int256[] gone; // By how much each move changes the target's long lots.
    int256[] come; // The same of the liquidator.
}

/// @dev Accrue the funding of every perpetual that an account holds. OVERWEIGHT, UNKNOWN_MARKET, OUT_OF_RANGE.
function processAccrual(State memory state, Account memory account, uint256 clock)
    pure
    returns (Fault fault)
{
    Position[] memory positions = account.positions;
    uint256 count = positions.length;
    unchecked {
        fault = charge(state, count * WEIGHT_LIQUIDATE_POSITION_GAS, 0);
        if (isFault(fault)) return fault;
        uint256 key = type(uint256).max;
        Underlying memory underlying;
        for (uint256 i; i < count; ++i) {
            uint256 market = positions[i].series;
            (Series memory series, Fault noSeries) = getSeries(state, market);
            if (isFault(noSeries)) return noSeries;
            if (series.kind != SeriesKind.PERPETUAL) continue;
            // Series of one underlying are mostly neighbours.
            if (series.underlying != key) {
                key = series.underlying;
                (underlying, fault) = getUnderlying(state, key);
                if (isFault(fault)) return fault;
            }
            Series memory accrued;
            (accrued, fault) = computeAccrued(series, underlying.params, clock);
            if (isFault(fault)) return fault;
            if (accrued.accruedAt != series.accruedAt) setMarket(state, market, accrued);
        }
    }
}

/// @dev Return an account's margin; the insurance fund's cash is in the globals. What `computeMargin` returns.
function computeAccountMargin(
    State memory state,
    uint256 accountId,
    Account memory account,
    uint256 clock
) pure returns (Margin memory, Fault) {
    if (accountId == INSURANCE_ACCOUNT) {
        account = copyAccount(account);
        account.cash = state.globals.insurance;
    }
    return computeMargin(state, account, clock);
}

/// @dev Return the reward after so many seconds of an auction, parts per million of the maintenance margin taken
/// over.
function computeRate(uint256 elapsed) pure returns (int256) {
    unchecked {
        if (elapsed > AUCTION_SECONDS) elapsed = AUCTION_SECONDS;
        return int256(AUCTION_START + (AUCTION_END - AUCTION_START) * elapsed / AUCTION_SECONDS);
    }
}

/// @dev Return the share that restores initial margin with its buffer when `reward` is paid for the whole, parts
/// per million, rounded up. All of an account without equity.
function computeLargestShare(Margin memory margin, int256 reward) pure returns (uint256) {
    int256 equity = margin.equity;
    if (equity <= 0) return PPM;
    unchecked {
        int256 goal =
            margin.initial + divUp(margin.initial * int256(LIQUIDATION_BUFFER), int256(PPM));
        if (equity >= goal) return 0;
        int256 left = goal - (reward < equity ? reward : equity);
        uint256 share = uint256(divUp((goal - equity) * int256(PPM), left));
        return share < PPM ? share : PPM;
    }
}

/// @dev Return a share of a position, its lots rounded up.
function computePart(int256 size, uint256 share) pure returns (int256) {
    unchecked {
        int256 lots = divUp((size < 0 ? -size : size) * int256(share), int256(PPM));
        return size > 0 ? lots : -lots;
    }
}

/// @dev Return a share of every position of an account. What has settled stays: only the insurance fund can still
/// hold it. OVERWEIGHT, UNKNOWN_MARKET.
function computeMoves(State memory state, Account memory account, uint256 share)
    pure
    returns (Move[] memory moves, Fault)
{
    Position[] memory positions = account.positions;
    uint256 count = positions.length;
    moves = _newMoves(count);
    uint256 moved;
    unchecked {
        for (uint256 i; i < count; ++i) {
            Position memory position = positions[i];
            (Series memory series, Fault unknown) = getSeries(state, position.series);
            if (isFault(unknown)) return (moves, unknown);
            if (series.status == SeriesStatus.SETTLED) continue;
            moves[moved++] = Move(position.series, series, computePart(position.size, share));
        }
    }
    assembly ("memory-safe") {
        mstore(moves, moved)
    }
    return (moves, Fault.NONE);
}

/// @dev Return what a ForceClose of lots brings to the insurance fund at least, rounded down. OVERWEIGHT,
/// UNKNOWN_MARKET.
function computePenalty(State memory state, Move[] memory moves)
    pure
    returns (int256 total, Fault)
{
    uint256 count = moves.length;
    unchecked {
        for (uint256 i; i < count; ++i) {
            Move memory move = moves[i];
            (Underlying memory underlying, Fault unknown) =
                getUnderlying(state, move.series.underlying);
            if (isFault(unknown)) return (total, unknown);
            uint256 notional = _abs(move.lots) * move.series.markIndex;
            total += int256(notional * underlying.params.forcePenalty / PPM);
        }
    }
    return (total, Fault.NONE);
}

/// @dev Return who pays what for a share of an account. INSURANCE when the fund cannot fill the hole.
/// @param reward For the share.
/// @param insurance What the fund has; it pays no more, and the reward shrinks to that.
/// @param isAll No position is left. Then no hole may be left behind either.
function computePayment(int256 equity, uint256 share, int256 reward, int256 insurance, bool isAll)
    pure
    returns (Payment memory payment, Fault)
{
    unchecked {
        int256 own = isAll && equity < 0 ? equity : divDown(equity * int256(share), int256(PPM));
        if (reward < own) own = reward;
        int256 paid = own + insurance;
        if (reward < paid) paid = reward;
        if (paid < 0) return (payment, Fault.INSURANCE);
        payment.own = own;
        payment.paid = paid;
        if (own > 0) payment.share = own * int256(INSURANCE_SHARE) / int256(PPM);
    }
    return (payment, Fault.NONE);
}

/// @dev Return an account after it got (`sign` 1) or gave away (-1) lots, and its cash changed by `cash`; and by
/// how much each move changed its long lots. POSITION_LIMIT, OUT_OF_RANGE.
///
/// Carry that has accrued on the positions touched is paid first.
function computeAccountMerged(Account memory account, Move[] memory moves, int256 sign, int256 cash)
    pure
    returns (Account memory accountAfter, int256[] memory longs, Fault fault)
{
    Position[] memory positions = account.positions;
    uint256 moveCount = moves.length;
    longs = new int256[](moveCount);
    unchecked {
        Position[] memory merged = _newPositions(positions.length + moveCount);
        uint256 next;
        uint256 count;
        cash += account.cash;
        for (uint256 i; i < moveCount; ++i) {
            Move memory move = moves[i];
            while (next < positions.length && positions[next].series < move.market) {
                merged[count++] = positions[next++];
            }
            int256 before = 0;
            if (next < positions.length && positions[next].series == move.market) {
                before = positions[next].size;
                cash -= before * (computeCarry(move.series, before) - positions[next++].snapshot);
            }
            int256 change = sign * move.lots;
            int256 size = before + change;
            if (size != 0) {
                merged[count++] = Position(move.market, size, computeCarry(move.series, size));
            }
            longs[i] = computeLongChange(before, change);
        }
        while (next < positions.length) merged[count++] = positions[next++];
        if (count > MAX_POSITIONS) return (accountAfter, longs, Fault.POSITION_LIMIT);
        assembly ("memory-safe") {
            mstore(merged, count)
        }
        accountAfter = copyAccount(account);
        accountAfter.cash = cash;
        accountAfter.positions = merged;
    }
    fault = validateAccount(accountAfter);
}

/// @dev Start the auction of an account below maintenance margin, or end it when the account has recovered. The
/// insurance fund's account has its own ways. UNKNOWN_ACCOUNT; NOT_DUE; what `processRealise` and a margin check
/// return.
function processDistress(State memory state, Distress memory distress) pure returns (Fault fault) {
    fault = chargeModule(state, 0);
    if (isFault(fault)) return fault;
    if (distress.account == INSURANCE_ACCOUNT) return Fault.NOT_DUE;
    (Account memory account, Margin memory margin, Fault unclear) =
        _openTroubled(state, distress.account);
    if (isFault(unclear)) return unclear;
    bool isBelow = margin.equity < margin.maintenance;
    if (isBelow == (account.distressedAt != 0)) return Fault.NOT_DUE;
    Account memory accountAfter = copyAccount(account);
    accountAfter.distressedAt = isBelow ? state.globals.clock : 0;
    setAccount(state, distress.account, accountAfter);
}

/// @dev Take over a share of an account in distress, at the marks. In this order: UNKNOWN_ACCOUNT, SELF_TRADE,
/// ACTION_NONCE; SOLVENT without an auction; what `processRealise` and a margin check return; SOLVENT at or above
/// maintenance margin, or when the fund holds nothing; REWARD, SHARE, INSURANCE, REWARD when the fund cannot pay
/// what the liquidator asks; POSITION_LIMIT, OUT_OF_RANGE; MARGIN of the target, unless its shortfall is gone or
/// has shrunk, then of the liquidator.
///
/// The positions that the insurance fund has got by ForceClose are taken over likewise, for no more than the
/// penalties that came with them: closing by force and taking over again never pays.
function processLiquidate(State memory state, Liquidate memory bid) pure returns (Fault fault) {
    fault = chargeModule(state, 0);
    if (isFault(fault)) return fault;
    Takeover memory takeover = _newTakeover();
    fault = _openTakeover(state, bid, takeover);
    if (isFault(fault)) return fault;
    (takeover.moves, fault) = computeMoves(state, takeover.target, bid.share);
    if (isFault(fault)) return fault;
    takeover.value = _computeValue(takeover.moves);
    fault = takeover.isFund ? _payByFund(state, bid, takeover) : _pay(state, bid, takeover);
    if (isFault(fault)) return fault;
    fault = _move(state, bid, takeover);
    if (isFault(fault)) return fault;
    return _closeTakeover(state, bid, takeover);
}

/// @dev Charge a loss to all who hold one side of a series, the same for every lot, rounded up. OUT_OF_RANGE.
/// @return collected What that brings in; not below `loss`.
function processSocialiseSeries(State memory state, uint256 market, bool isLong, int256 loss)
    pure
    returns (int256 collected, Fault fault)
{
    (Series memory series, Fault unknown) = getSeries(state, market);
    if (isFault(unknown)) return (0, unknown);
    // A loss is below 2^127.
    unchecked {
        int256 openInterest = int256(series.openInterest);
        int256 charged = divUp(loss, openInterest);
        Series memory seriesAfter = copySeries(series);
        if (isLong) seriesAfter.carryLong += charged;
        else seriesAfter.carryShort -= charged;
        if (seriesAfter.carryLong >= INT128_BOUND || seriesAfter.carryShort < -INT128_BOUND) {
            return (0, Fault.OUT_OF_RANGE);
        }
        setMarket(state, market, seriesAfter);
        return (charged * openInterest, Fault.NONE);
    }
}

/// @dev Fill the hole of an account that neither its equity nor the insurance fund can: the fund gives all it has,
/// and those who hold the other side of its positions pay the rest, each series by its part of the notional.
/// Whoever holds no position never pays. UNKNOWN_ACCOUNT; SOLVENT; INSURANCE when there is nobody to charge and
/// the fund is empty; OUT_OF_RANGE; what `processRealise` and a margin check return.
///
/// What the fund can fill is for Liquidate, as long as there are positions; of an account without any it fills
/// what it can. A hole of the fund itself is spread alike.
function processSocialise(State memory state, Socialise memory socialise)
    pure
    returns (Fault fault)
{
    fault = chargeModule(state, 0);
    if (isFault(fault)) return fault;
    (Account memory account, Margin memory margin, Fault unclear) =
        _openTroubled(state, socialise.account);
    if (isFault(unclear)) return unclear;
    if (margin.equity >= 0) return Fault.SOLVENT;
    bool isFund = socialise.account == INSURANCE_ACCOUNT;
    unchecked {
        int256 deficit = -margin.equity;
        if (deficit >= INT128_BOUND) return Fault.OUT_OF_RANGE;
        int256 paid = isFund ? int256(0) : state.globals.insurance;
        if (paid > deficit) paid = deficit;
        (int256[] memory weights, int256 total, Fault unknown) =
            _computeWeights(state, account.positions);
        if (isFault(unknown)) return unknown;
        if (total == 0) {
            if (paid == 0) return Fault.INSURANCE;
            deficit = paid;
        } else if (paid == deficit) {
            return Fault.SOLVENT;
        }
        int256 rest = deficit - paid;
        int256 collected;
        (collected, fault) = _spread(state, account.positions, weights, total, rest);
        if (isFault(fault)) return fault;
        Account memory accountAfter = copyAccount(account);
        if (isFund) {
            fault = addInsurance(state, collected, 0);
        } else {
            fault = addInsurance(state, collected - rest - paid, 0);
            if (isFault(fault)) return fault;
            accountAfter.cash += deficit;
            fault = validateAccount(accountAfter);
        }
        if (isFault(fault)) return fault;
        if (accountAfter.distressedAt == 0 && accountAfter.positions.length != 0) {
            accountAfter.distressedAt = state.globals.clock;
        }
        setAccount(state, socialise.account, accountAfter);
    }
}

/// @dev The start of `processDistress` and `processSocialise`: an account, realised and accrued, and its margin.
function _openTroubled(State memory state, uint256 accountId)
    pure
    returns (Account memory account, Margin memory margin, Fault fault)
{
    (account, fault) = getAccount(state, accountId);
    if (isFault(fault)) return (account, margin, fault);
    (account, fault) = processRealise(state, accountId, account);
    if (isFault(fault)) return (account, margin, fault);
    fault = processAccrual(state, account, state.globals.clock);
    if (isFault(fault)) return (account, margin, fault);
    (margin, fault) = computeAccountMargin(state, accountId, account, state.globals.clock);
}

/// @dev The start of `processLiquidate`: both accounts, the target's margin, the reward for all of it.
function _openTakeover(State memory state, Liquidate memory bid, Takeover memory takeover)
    pure
    returns (Fault fault)
{
    uint256 clock = state.globals.clock;
    bool isFund = bid.target == INSURANCE_ACCOUNT;
    takeover.isFund = isFund;
    (Account memory account, Fault noAccount) = getAccount(state, bid.account);
    if (isFault(noAccount)) return noAccount;
    (Account memory target, Fault noTarget) = getAccount(state, bid.target);
    if (isFault(noTarget)) return noTarget;
    if (account.owner == target.owner) return Fault.SELF_TRADE;
    fault = validateNonce(account, bid.nonce);
    if (isFault(fault)) return fault;
    uint256 distressedAt = target.distressedAt;
    if (distressedAt == 0) return Fault.SOLVENT;
    (takeover.account, fault) = processRealise(state, bid.account, account);
    if (isFault(fault)) return fault;
    (takeover.target, fault) = processRealise(state, bid.target, target);
    if (isFault(fault)) return fault;
    fault = processAccrual(state, takeover.target, clock);
    if (isFault(fault)) return fault;
    Margin memory margin;
    (margin, fault) = computeAccountMargin(state, bid.target, takeover.target, clock);
    if (isFault(fault)) return fault;
    takeover.margin = margin;
    if (!isFund && margin.equity >= margin.maintenance) return Fault.SOLVENT;
    unchecked {
        // An auction began in the past.
        int256 rate = computeRate(clock - distressedAt);
        takeover.rate = rate;
        if (int256(bid.reward) > rate) return Fault.REWARD;
        takeover.whole = divDown(margin.maintenance * rate, int256(PPM));
    }
    uint256 largest = isFund ? PPM : computeLargestShare(margin, takeover.whole);
    if (bid.share == 0 || bid.share > largest) return Fault.SHARE;
    return Fault.NONE;
}

/// @dev The payment for a share of an account, and the account without it.
function _pay(State memory state, Liquidate memory bid, Takeover memory takeover)
    pure
    returns (Fault fault)
{
    Position[] memory positions = takeover.target.positions;
    Move[] memory moves = takeover.moves;
    uint256 count = moves.length;
    bool isAll = true;
    unchecked {
        // Nothing has settled: moves and positions go side by side.
        for (uint256 i; i < count; ++i) {
            if (moves[i].lots != positions[i].size) {
                isAll = false;
                break;
            }
        }
        (takeover.payment, fault) = computePayment(
            takeover.margin.equity,
            bid.share,
            divDown(takeover.whole * int256(bid.share), int256(PPM)),
            state.globals.insurance,
            isAll
        );
        if (isFault(fault)) return fault;
        (takeover.targetAfter, takeover.gone, fault) =
            computeAccountMerged(takeover.target, moves, -1, takeover.value - takeover.payment.own);
    }
}

/// @dev The same of the insurance fund's account.
function _payByFund(State memory state, Liquidate memory bid, Takeover memory takeover)
    pure
    returns (Fault fault)
{
    Move[] memory moves = takeover.moves;
    if (moves.length == 0) return Fault.SOLVENT;
    unchecked {
        int256 reward = divDown(takeover.whole * int256(bid.share), int256(PPM));
        (int256 penalty, Fault unknown) = computePenalty(state, moves);
        if (isFault(unknown)) return unknown;
        if (penalty < reward) reward = penalty;
        Account memory targetAfter;
        (targetAfter, takeover.gone, fault) =
            computeAccountMerged(takeover.target, moves, -1, takeover.value);
        if (isFault(fault)) return fault;
        fault = addInsurance(state, 0, targetAfter.cash);
        if (isFault(fault)) return fault;
        targetAfter.cash = 0;
        takeover.targetAfter = targetAfter;
        (takeover.payment, fault) =
            computePayment(0, bid.share, reward, state.globals.insurance, false);
    }
}

/// @dev The middle of `processLiquidate`: the liquidator, the fund's cash, open interest.
function _move(State memory state, Liquidate memory bid, Takeover memory takeover)
    pure
    returns (Fault fault)
{
    Payment memory payment = takeover.payment;
    Move[] memory moves = takeover.moves;
    unchecked {
        int256 asked = divDown(takeover.margin.maintenance * int256(bid.reward), int256(PPM));
        if (payment.paid < divDown(asked * int256(bid.share), int256(PPM))) return Fault.REWARD;
        (takeover.accountAfter, takeover.come, fault) = computeAccountMerged(
            takeover.account, moves, 1, payment.paid - payment.share - takeover.value
        );
        if (isFault(fault)) return fault;
        takeover.accountAfter.nonce = bid.nonce;
        fault = addInsurance(state, payment.own - payment.paid + payment.share, 0);
        if (isFault(fault)) return fault;
        uint256 count = moves.length;
        for (uint256 i; i < count; ++i) {
            int256 change = takeover.gone[i] + takeover.come[i];
            if (change == 0) continue;
            Series memory seriesAfter = copySeries(moves[i].series);
            (seriesAfter.openInterest, fault) = computeOpenInterest(seriesAfter, change);
            if (isFault(fault)) return fault;
            setMarket(state, moves[i].market, seriesAfter);
        }
    }
}

/// @dev The end of `processLiquidate`: margin of both accounts.
function _closeTakeover(State memory state, Liquidate memory bid, Takeover memory takeover)
    pure
    returns (Fault fault)
{
    uint256 clock = state.globals.clock;
    Account memory targetAfter = takeover.targetAfter;
    (Margin memory margin, Fault unclear) =
        computeAccountMargin(state, bid.target, targetAfter, clock);
    if (isFault(unclear)) return unclear;
    int256 shortfall = computeShortfall(margin);
    if (shortfall != 0 && shortfall >= computeShortfall(takeover.margin)) return Fault.MARGIN;
    fault = validateMargin(state, takeover.account, takeover.accountAfter, clock);
    if (isFault(fault)) return fault;
    bool isOver = !takeover.isFund && margin.equity >= margin.maintenance;
    if (isOver || targetAfter.positions.length == 0) targetAfter.distressedAt = 0;
    setAccount(state, bid.target, targetAfter);
    setAccount(state, bid.account, takeover.accountAfter);
}

/// @dev What the lots of moves are worth at the marks.
function _computeValue(Move[] memory moves) pure returns (int256 value) {
    uint256 count = moves.length;
    unchecked {
        for (uint256 i; i < count; ++i) {
            value += moves[i].lots * int256(moves[i].series.mark);
        }
    }
}

/// @dev Of `processSocialise`: each position's notional, as far as there is somebody to charge, and the sum.
function _computeWeights(State memory state, Position[] memory positions)
    pure
    returns (int256[] memory weights, int256 total, Fault)
{
    uint256 count = positions.length;
    weights = new int256[](count);
    unchecked {
        for (uint256 i; i < count; ++i) {
            (Series memory series, Fault unknown) = getSeries(state, positions[i].series);
            if (isFault(unknown)) return (weights, total, unknown);
            if (series.status == SeriesStatus.SETTLED || series.openInterest == 0) continue;
            int256 weight = int256(_abs(positions[i].size) * series.markIndex);
            weights[i] = weight;
            total += weight;
        }
    }
    return (weights, total, Fault.NONE);
}

/// @dev Of `processSocialise`: the loss on every series, by weight.
function _spread(
    State memory state,
    Position[] memory positions,
    int256[] memory weights,
    int256 total,
    int256 rest
) pure returns (int256 collected, Fault fault) {
    uint256 count = positions.length;
    int256 left = rest;
    // Losses and weights are below 2^127.
    unchecked {
        for (uint256 i; i < count; ++i) {
            if (weights[i] == 0) continue;
            int256 loss = divUp(rest * weights[i], total);
            if (left < loss) loss = left;
            if (loss == 0) continue;
            left -= loss;
            int256 part;
            (part, fault) =
                processSocialiseSeries(state, positions[i].series, positions[i].size < 0, loss);
            if (isFault(fault)) return (0, fault);
            collected += part;
        }
    }
}

/// @dev An array of moves whose places are not filled yet.
function _newMoves(uint256 count) pure returns (Move[] memory moves) {
    assembly ("memory-safe") {
        moves := mload(0x40)
        mstore(moves, count)
        mstore(0x40, add(moves, shl(5, add(count, 1))))
    }
}

/// @dev An array of positions whose places are not filled yet.
function _newPositions(uint256 count) pure returns (Position[] memory positions) {
    assembly ("memory-safe") {
        positions := mload(0x40)
        mstore(positions, count)
        mstore(0x40, add(positions, shl(5, add(count, 1))))
    }
}

/// @dev A takeover whose members are not set yet.
function _newTakeover() pure returns (Takeover memory takeover) {
    // The compiler has made every member at length; thirteen words are enough.
    assembly ("memory-safe") {
        mstore(0x40, add(takeover, 0x1a0))
    }
}

function _abs(int256 value) pure returns (uint256) {
    unchecked {
        return uint256(value < 0 ? -value : value);
    }
}
