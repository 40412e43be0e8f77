// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {COLLATERAL, processSetTradingKey, processTransfer, processWithdraw} from "./Actions.sol";
import {divUp} from "./Arithmetic.sol";
import {decodeBits} from "./Bits.sol";
import {Decoder, KIND_BITS, decodeEnd, decodeHeader, decodeTransaction} from "./Codec.sol";
import {
    ACCOUNT_DEPTH,
    INSURANCE_ACCOUNT,
    MAX_AMOUNT,
    PPM,
    WEIGHT_FORCED_GAS,
    WEIGHT_SIGNATURE_GAS
} from "./Constants.sol";
import {copyAccount, copySeries, copySlice, getFreeMemory, setFreeMemory} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {
    Streak,
    computeAccountAfter,
    computeLongChange,
    computeOpenInterest,
    computePositionSize,
    openSeries,
    processFill
} from "./Fill.sol";
import {Handover, Task, handOver, pointerTo, toTransaction} from "./Handover.sol";
import {Margin, computeMargin, validateInitialMargin, validateMargin} from "./Margin.sol";
import {processMark} from "./Mark.sol";
import {processObserve} from "./Observe.sol";
import {addInsurance, processRealise} from "./Realise.sol";
import {SIGNATURE_BYTES} from "./Recovery.sol";
import {SignatureRequest, computeRequests, validateSignature} from "./Signatures.sol";
import {
    AccountEntry,
    Checkpoint,
    State,
    UINT128_BOUND,
    UINT32_BOUND,
    begin,
    charge,
    chargeModule,
    commit,
    getAccount,
    getMessage,
    limitMessage,
    processExit,
    rollback,
    setAccount,
    setMarket,
    touchAccount,
    unlimitMessage,
    validateAccount
} from "./State.sol";
import {
    Account,
    Context,
    Exit,
    Kind,
    MESSAGE_CANCEL_ALL,
    MESSAGE_CONFIGURE,
    MESSAGE_DEPOSIT,
    MESSAGE_FORCED,
    MESSAGE_FORCE_CLOSE,
    MESSAGE_FORCE_EXIT,
    Message,
    Position,
    Series,
    Transaction,
    Underlying
} from "./Types.sol";

// Messages of the L1 queue: deposits, forced requests, governance. Consumed in order, none skipped.
//
// What cannot be honoured is consumed as a counted no-op and leaves no other trace. Two faults are not
// no-ops: OVERWEIGHT, unless the chunk was empty before, and STALE_MARK, because the proposer could have marked
// first and must not shield anyone behind a stale mark.

uint256 constant DEPOSIT_BYTES = 40;
uint256 constant FORCE_EXIT_BYTES = 20;
uint256 constant FORCE_CLOSE_BYTES = 14;
uint256 constant CANCEL_ALL_BYTES = 4;
uint256 constant MAX_ACCOUNTS = (1 << ACCOUNT_DEPTH) - 1;
/// @dev What one transaction can name. A longer table could not be used up; it is not even read, because
/// every message is small and has to be cheap to prove.
uint256 constant FORCED_ACCOUNTS = 2;
uint256 constant FORCED_MARKETS = 1;

/// @dev What a ForceClose reads and makes.
struct Closing {
    Account account;
    Series series;
    int256 moved; // Lots that the fund gets, signed.
    int256 value; // Of them at the mark.
    int256 penalty;
    Account accountAfter;
    Account fundAfter;
}

/// @dev Check a body of fixed length. NON_CANONICAL.
function validateLength(bytes memory body, uint256 length) pure returns (Fault) {
    return body.length != length ? Fault.NON_CANONICAL : Fault.NONE;
}

/// @dev Return an account that belongs to the L1 sender of a message. UNKNOWN_ACCOUNT; BAD_SIGNATURE when it
/// is somebody else's, or the insurance fund's.
function getOwnedAccount(State memory state, uint256 accountId, address sender)
    pure
    returns (Account memory account, Fault fault)
{
    // The place that the compiler has made for `account` is not needed.
    assembly ("memory-safe") {
        mstore(0x40, account)
    }
    (account, fault) = getAccount(state, accountId);
    if (!isFault(fault) && (account.owner != sender || accountId == INSURANCE_ACCOUNT)) {
        fault = Fault.BAD_SIGNATURE;
    }
}

/// @dev Credit a deposit: owner (20), account (4), amount (16). NON_CANONICAL; OUT_OF_RANGE and ZERO_AMOUNT
/// for what the bridge refuses in the first place.
///
/// An account that exists is credited whoever owns it; else a new one is opened for the owner. When the tree
/// is full the money goes back to the owner as an exit, so a deposit is never lost.
function processDeposit(State memory state, bytes memory body) pure returns (Fault fault) {
    fault = validateLength(body, DEPOSIT_BYTES);
    if (isFault(fault)) return fault;
    address owner = address(uint160(_number(body, 0, 20)));
    uint256 accountId = _number(body, 20, 4);
    uint256 amount = _number(body, 24, 16);
    uint256 deposited = state.globals.deposited;
    // Both are below 2^128.
    unchecked {
        deposited += amount;
    }
    if (amount == 0) return Fault.ZERO_AMOUNT;
    if (amount > MAX_AMOUNT || deposited >= UINT128_BOUND) return Fault.OUT_OF_RANGE;
    uint256 count = state.globals.accountCount;
    if (accountId == 0 || accountId > count) {
        if (count >= MAX_ACCOUNTS) {
            fault = processExit(state, Exit(COLLATERAL, owner, amount));
            if (isFault(fault)) return fault;
            state.globals.deposited = deposited;
            return Fault.NONE;
        }
        unchecked {
            accountId = count + 1;
        }
        (, fault) = touchAccount(state, accountId);
        if (isFault(fault)) return fault;
        state.globals.accountCount = accountId;
        state.globals.deposited = deposited;
        Account memory opened =
            Account(owner, address(0), 0, 0, int256(amount), 0, 0, new Position[](0));
        setAccount(state, accountId, opened);
        return Fault.NONE;
    }
    (Account memory account, Fault unknown) = getAccount(state, accountId);
    if (isFault(unknown)) return unknown;
    Account memory accountAfter = copyAccount(account);
    // Amounts are below 2^96, cash is within 2^127.
    unchecked {
        accountAfter.cash += int256(amount);
    }
    fault = validateAccount(accountAfter);
    if (isFault(fault)) return fault;
    state.globals.deposited = deposited;
    setAccount(state, accountId, accountAfter);
}

/// @dev Withdraw up to an account's free margin to its owner: account (4), amount (16). NON_CANONICAL,
/// UNKNOWN_ACCOUNT, BAD_SIGNATURE, ZERO_AMOUNT, MARGIN when nothing is free, HALTED, STALE_MARK, OVERWEIGHT.
function processForceExit(State memory state, address sender, bytes memory body)
    pure
    returns (Fault fault)
{
    fault = chargeModule(state, 0);
    if (isFault(fault)) return fault;
    fault = validateLength(body, FORCE_EXIT_BYTES);
    if (isFault(fault)) return fault;
    uint256 accountId = _number(body, 0, 4);
    uint256 amount = _number(body, 4, 16);
    (Account memory account, Fault notOwned) = getOwnedAccount(state, accountId, sender);
    if (isFault(notOwned)) return notOwned;
    if (amount == 0) return Fault.ZERO_AMOUNT;
    Fault unclear;
    (account, unclear) = processRealise(state, accountId, account);
    if (isFault(unclear)) return unclear;
    Margin memory margin;
    (margin, unclear) = computeMargin(state, account, state.globals.clock);
    if (isFault(unclear)) return unclear;
    int256 available = margin.equity - margin.initial;
    if (available <= 0) return Fault.MARGIN;
    if (amount > uint256(available)) amount = uint256(available);
    if (amount > MAX_AMOUNT) amount = MAX_AMOUNT;
    Account memory accountAfter = copyAccount(account);
    accountAfter.cash -= int256(amount);
    fault = validateAccount(accountAfter);
    if (isFault(fault)) return fault;
    fault = processExit(state, Exit(COLLATERAL, account.owner, amount));
    if (isFault(fault)) return fault;
    setAccount(state, accountId, accountAfter);
}

/// @dev Close a position, or a part of it, against the insurance fund at the mark, less a penalty that the fund
/// keeps: account (4), series (2), lots (8; 0: all). NON_CANONICAL, UNKNOWN_ACCOUNT, BAD_SIGNATURE; what
/// `openSeries` returns; ZERO_AMOUNT when there is no such position; POSITION_LIMIT, INSURANCE, OUT_OF_RANGE;
/// MARGIN of the account, then of the fund, and what a margin check returns.
///
/// The fund's account is opened when it has none yet. It must meet initial margin with the fund's cash, and its
/// auction begins with what it takes over first.
function processForceClose(State memory state, address sender, bytes memory body)
    pure
    returns (Fault fault)
{
    fault = chargeModule(state, 0);
    if (isFault(fault)) return fault;
    fault = validateLength(body, FORCE_CLOSE_BYTES);
    if (isFault(fault)) return fault;
    Closing memory closing;
    (closing.account, fault) = getOwnedAccount(state, _number(body, 0, 4), sender);
    if (isFault(fault)) return fault;
    uint256 market = _number(body, 4, 2);
    Underlying memory underlying;
    (closing.series, underlying,, fault) = openSeries(state, market, state.globals.clock);
    if (isFault(fault)) return fault;
    (closing.account, fault) = processRealise(state, _number(body, 0, 4), closing.account);
    if (isFault(fault)) return fault;
    int256 size = computePositionSize(closing.account, market);
    // Sizes are within 2^63, marks and indexes below 2^64, the penalty's rate is below 2^32.
    unchecked {
        uint256 lots = uint256(size < 0 ? -size : size);
        uint256 requested = _number(body, 6, 8);
        if (requested != 0 && requested < lots) lots = requested;
        if (lots == 0) return Fault.ZERO_AMOUNT;
        closing.moved = size > 0 ? int256(lots) : -int256(lots);
        closing.value = closing.moved * int256(closing.series.mark);
        closing.penalty = divUp(
            int256(lots * closing.series.markIndex * underlying.params.forcePenalty), int256(PPM)
        );
    }
    fault = _closeAccounts(state, market, closing);
    if (isFault(fault)) return fault;
    fault = validateMargin(state, closing.account, closing.accountAfter, state.globals.clock);
    if (isFault(fault)) return fault;
    closing.fundAfter.cash = state.globals.insurance;
    fault = validateInitialMargin(state, closing.fundAfter, state.globals.clock);
    if (isFault(fault)) return fault;
    closing.fundAfter.cash = 0;
    setAccount(state, _number(body, 0, 4), closing.accountAfter);
    setAccount(state, INSURANCE_ACCOUNT, closing.fundAfter);
}

/// @dev Kill every order that an account has signed so far: account (4). NON_CANONICAL, UNKNOWN_ACCOUNT,
/// BAD_SIGNATURE, OUT_OF_RANGE after 2^31 epochs.
function processCancelAll(State memory state, address sender, bytes memory body)
    pure
    returns (Fault fault)
{
    fault = validateLength(body, CANCEL_ALL_BYTES);
    if (isFault(fault)) return fault;
    uint256 accountId = _number(body, 0, 4);
    (Account memory account, Fault notOwned) = getOwnedAccount(state, accountId, sender);
    if (isFault(notOwned)) return notOwned;
    Account memory accountAfter = copyAccount(account);
    // Epochs are below 2^32.
    unchecked {
        if (++accountAfter.epoch >= UINT32_BOUND / 2) return Fault.OUT_OF_RANGE;
    }
    setAccount(state, accountId, accountAfter);
}

/// @dev Return clock, transaction and the place of the signatures of a Forced body. Any of the decoder's
/// faults; UNKNOWN_KIND for what only a chunk may hold; NON_CANONICAL for none or a second.
///
/// Body: length of the data (2), the data in the form of a chunk with one transaction, the signatures. The
/// clock inside is only what expiries and ages are measured from.
function decodeForced(bytes memory body)
    pure
    returns (uint256 clock, Transaction memory transaction, uint256 signatures, Fault fault)
{
    // The place that the compiler has made for `transaction` is not needed.
    assembly ("memory-safe") {
        mstore(0x40, transaction)
    }
    if (body.length < 2) return (0, transaction, 0, Fault.TRUNCATED);
    signatures = 2 + _number(body, 0, 2);
    if (body.length < signatures) return (0, transaction, 0, Fault.TRUNCATED);
    (Decoder memory decoder, Fault badHeader) =
        decodeHeader(copySlice(body, 2, signatures - 2), FORCED_ACCOUNTS, FORCED_MARKETS);
    if (isFault(badHeader)) return (0, transaction, 0, badHeader);
    clock = decoder.clock;
    transaction = decoder.transaction;
    Kind kind;
    (kind, fault) = decodeTransaction(decoder);
    if (isFault(fault)) return (clock, transaction, 0, fault);
    if (kind == Kind.END) return (clock, transaction, 0, Fault.NON_CANONICAL);
    if (kind == Kind.QUEUE || kind == Kind.DATA_FEE) {
        return (clock, transaction, 0, Fault.UNKNOWN_KIND);
    }
    // A second one is not even read.
    uint256 end = decodeBits(decoder.reader, KIND_BITS);
    if (!isFault(decoder.reader.fault)) {
        if (end != uint256(Kind.END)) return (clock, transaction, 0, Fault.NON_CANONICAL);
        decodeEnd(decoder);
    }
    fault = decoder.reader.fault;
}

/// @dev Check a forced transaction's signatures, which begin at `signatures` in its body, against the state as
/// it is now. SIGNATURE_COUNT, BAD_SIGNATURE, OVERWEIGHT.
function validateForced(
    State memory state,
    Transaction memory transaction,
    bytes memory body,
    uint256 signatures,
    bytes32 domain
) pure returns (Fault fault) {
    SignatureRequest[] memory requests = computeRequests(transaction);
    uint256 count = requests.length;
    // Lengths and counts are small.
    unchecked {
        if (body.length - signatures != SIGNATURE_BYTES * count) return Fault.SIGNATURE_COUNT;
        fault = charge(state, count * WEIGHT_SIGNATURE_GAS, 0);
        if (isFault(fault)) return fault;
        for (uint256 i; i < count; ++i) {
            fault = validateSignature(
                state,
                requests[i],
                bytes32(_number(body, signatures, 32)),
                bytes32(_number(body, signatures + 32, 32)),
                domain,
                state.globals.clock
            );
            if (isFault(fault)) return fault;
            signatures += SIGNATURE_BYTES;
        }
    }
}

/// @dev Apply a transaction that is neither a fill nor for a chunk alone. What the kind's process returns.
///
/// Other contracts have the processes of all kinds that are not named here.
function processAction(State memory state, Transaction memory transaction) view returns (Fault) {
    Kind kind = transaction.kind;
    if (kind == Kind.TRANSFER) return processTransfer(state, transaction.transfer);
    if (kind == Kind.WITHDRAW) return processWithdraw(state, transaction.withdraw);
    if (kind == Kind.SET_TRADING_KEY) {
        return processSetTradingKey(state, transaction.setTradingKey);
    }
    if (kind == Kind.OBSERVE) return processObserve(state, transaction.observe);
    if (kind == Kind.MARK) return processMark(state, transaction.mark);
    bool isMarket = kind == Kind.SURFACE || kind == Kind.LIST || kind == Kind.FUND;
    Task task = isMarket ? Task.MARKET_ACTION : Task.ACCOUNT_ACTION;
    return handOver(state, task, pointerTo(transaction));
}

/// @dev Run any signed transaction, its signatures checked here against the state as it is now. What
/// `decodeForced`, `validateForced` and the transaction's process return.
///
/// `MarketExecutor` calls the first two.
function processForced(State memory state, bytes memory body, Context memory context)
    view
    returns (Fault fault)
{
    fault = chargeModule(state, WEIGHT_FORCED_GAS);
    if (isFault(fault)) return fault;
    Handover memory handover = Handover(state, Task.FORCED, 0, address(0), body, context.domain);
    fault = handOver(handover);
    if (isFault(fault)) return fault;
    Transaction memory transaction = toTransaction(handover.subject);
    if (transaction.kind == Kind.FILL) {
        // True, but not a literal: see `processTransaction`.
        bool isAlone = handover.task == Task.FORCED;
        (, fault) = processFill(state, transaction.fill, Streak(false, 0, 0), isAlone);
        return fault;
    }
    return processAction(state, transaction);
}

/// @dev Do what a message asks for. What the six processes above return; UNKNOWN_KIND.
///
/// Other contracts have the processes of those that are handed over.
function processMessage(State memory state, Message memory message, Context memory context)
    view
    returns (Fault)
{
    uint256 kind = message.kind;
    bytes memory body = message.body;
    if (kind == MESSAGE_DEPOSIT) return processDeposit(state, body);
    if (kind == MESSAGE_CANCEL_ALL) return processCancelAll(state, message.sender, body);
    if (kind == MESSAGE_FORCED) return processForced(state, body, context);
    Task task;
    if (kind == MESSAGE_FORCE_EXIT) task = Task.FORCE_EXIT;
    else if (kind == MESSAGE_FORCE_CLOSE) task = Task.FORCE_CLOSE;
    else if (kind == MESSAGE_CONFIGURE) task = Task.CONFIGURE;
    else return Fault.UNKNOWN_KIND;
    return handOver(Handover(state, task, 0, message.sender, body, 0));
}

/// @dev Consume the next message of the queue.
/// @param isFirst The chunk holds nothing before it. What it weighs is then held to MAX_MESSAGE_GAS and
/// MAX_MESSAGE_WITNESS, and a message that is heavier is a no-op: no chunk could honour it, and the queue has
/// to go on. A chunk that is full for another reason is a fault as ever.
/// @return outcome Why the message was a no-op; NONE when it was honoured.
/// @return fault QUEUE_OVERRUN past the header's range; OVERWEIGHT, STALE_MARK.
function processQueue(State memory state, Context memory context, bool isFirst)
    view
    returns (Fault outcome, Fault fault)
{
    uint256 index = state.globals.queueIndex;
    if (index >= context.queueEnd) return (Fault.NONE, Fault.QUEUE_OVERRUN);
    bool isLimited = isFirst && limitMessage(state);
    (Message memory message, Fault overweight) = getMessage(state, index);
    if (isFault(overweight)) return (Fault.NONE, overweight);
    Checkpoint memory checkpoint = begin(state);
    uint256 free = getFreeMemory();
    outcome = processMessage(state, message, context);
    if (isFault(outcome)) {
        // Nothing points any more to what the message has made: else a chunk of messages that mean nothing
        // would use up memory, whose price grows with the square.
        rollback(state, checkpoint);
        setFreeMemory(free);
    } else {
        commit(state);
    }
    unlimitMessage(state);
    if (outcome == Fault.STALE_MARK) return (Fault.NONE, outcome);
    if (outcome == Fault.OVERWEIGHT && !isLimited) return (Fault.NONE, outcome);
    // Both count messages.
    unchecked {
        if (isFault(outcome)) ++state.globals.skipped;
        state.globals.queueIndex = index + 1;
    }
}

/// @dev The middle of `processForceClose`: both accounts after, the series' open interest and the fund's cash.
function _closeAccounts(State memory state, uint256 market, Closing memory closing)
    pure
    returns (Fault fault)
{
    (AccountEntry memory entry, Fault overweight) = touchAccount(state, INSURANCE_ACCOUNT);
    if (isFault(overweight)) return overweight;
    Account memory fund;
    if (entry.exists) fund = entry.account;
    (fund, fault) = processRealise(state, INSURANCE_ACCOUNT, fund);
    if (isFault(fault)) return fault;
    int256 moved = closing.moved;
    Account memory account = closing.account;
    Series memory series = closing.series;
    // See above.
    unchecked {
        (closing.accountAfter, fault) = computeAccountAfter(
            account, market, -moved, closing.value - closing.penalty, series, false
        );
        if (isFault(fault)) return fault;
        Account memory fundAfter;
        (fundAfter, fault) = computeAccountAfter(fund, market, moved, -closing.value, series, false);
        if (isFault(fault)) return fault;
        Series memory seriesAfter = copySeries(series);
        (seriesAfter.openInterest, fault) = computeOpenInterest(
            series,
            computeLongChange(computePositionSize(account, market), -moved)
                + computeLongChange(computePositionSize(fund, market), moved)
        );
        if (isFault(fault)) return fault;
        setMarket(state, market, seriesAfter);
        fault = addInsurance(state, closing.penalty, fundAfter.cash);
        if (isFault(fault)) return fault;
        if (fundAfter.positions.length == 0) fundAfter.distressedAt = 0;
        else if (fundAfter.distressedAt == 0) fundAfter.distressedAt = state.globals.clock;
        closing.fundAfter = fundAfter;
    }
}

/// @dev Read `width` bytes at `offset` as an unsigned integer; the caller has checked that they are there.
function _number(bytes memory body, uint256 offset, uint256 width) pure returns (uint256 value) {
    assembly ("memory-safe") {
        value := shr(sub(256, shl(3, width)), mload(add(add(body, 0x20), offset)))
    }
}
