// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {INSURANCE_ACCOUNT} from "./Constants.sol";
import {copyAccount} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {validateInitialMargin} from "./Margin.sol";
import {addInsurance, processRealise} from "./Realise.sol";
import {State, getAccount, processExit, setAccount, validateAccount} from "./State.sol";
import {Account, Exit, SetTradingKey, Transfer, Withdraw} from "./Types.sol";

// What an account's owner signs besides orders: transfers, withdrawals, trading keys.

/// @dev Asset id of the deployment's collateral token.
uint256 constant COLLATERAL = 0;

/// @dev Check that an action is newer than the account's last one. ACTION_NONCE.
function validateNonce(Account memory account, uint256 nonce) pure returns (Fault) {
    return nonce <= account.nonce ? Fault.ACTION_NONCE : Fault.NONE;
}

/// @dev Move cash from one account to another; the sender's margin must allow it. What is sent to the insurance
/// fund's account is the fund's. ZERO_AMOUNT, SELF_TRANSFER, UNKNOWN_ACCOUNT, ACTION_NONCE, OUT_OF_RANGE, MARGIN,
/// and what a margin check returns.
function processTransfer(State memory state, Transfer memory transfer) pure returns (Fault fault) {
    if (transfer.amount == 0) return Fault.ZERO_AMOUNT;
    if (transfer.sender == transfer.recipient) return Fault.SELF_TRANSFER;
    // Amounts are below 2^96, cash is within 2^127.
    Account memory senderAfter;
    (senderAfter, fault) = _spend(state, transfer.sender, int256(transfer.amount), transfer.nonce);
    if (isFault(fault)) return fault;
    if (transfer.recipient == INSURANCE_ACCOUNT) {
        fault = addInsurance(state, int256(transfer.amount), 0);
        if (isFault(fault)) return fault;
    } else {
        (Account memory recipient, Fault noRecipient) = getAccount(state, transfer.recipient);
        if (isFault(noRecipient)) return noRecipient;
        Account memory recipientAfter = copyAccount(recipient);
        unchecked {
            recipientAfter.cash += int256(transfer.amount);
        }
        fault = validateAccount(recipientAfter);
        if (isFault(fault)) return fault;
        setAccount(state, transfer.recipient, recipientAfter);
    }
    fault = validateInitialMargin(state, senderAfter, state.globals.clock);
    if (isFault(fault)) return fault;
    setAccount(state, transfer.sender, senderAfter);
}

/// @dev Turn cash into an exit that L1 pays once the batch has settled. ZERO_AMOUNT, BAD_RECIPIENT,
/// UNKNOWN_ACCOUNT, ACTION_NONCE, OUT_OF_RANGE, MARGIN, and what a margin check returns.
function processWithdraw(State memory state, Withdraw memory withdraw) pure returns (Fault fault) {
    if (withdraw.amount == 0) return Fault.ZERO_AMOUNT;
    if (withdraw.recipient == address(0)) return Fault.BAD_RECIPIENT;
    Account memory accountAfter;
    (accountAfter, fault) = _spend(state, withdraw.account, int256(withdraw.amount), withdraw.nonce);
    if (isFault(fault)) return fault;
    fault = validateInitialMargin(state, accountAfter, state.globals.clock);
    if (isFault(fault)) return fault;
    fault = processExit(state, Exit(COLLATERAL, withdraw.recipient, withdraw.amount));
    if (isFault(fault)) return fault;
    setAccount(state, withdraw.account, accountAfter);
}

/// @dev Name the key that may sign orders besides the owner; zero removes it. UNKNOWN_ACCOUNT, ACTION_NONCE.
function processSetTradingKey(State memory state, SetTradingKey memory change)
    pure
    returns (Fault fault)
{
    (Account memory account, Fault unknown) = getAccount(state, change.account);
    if (isFault(unknown)) return unknown;
    fault = validateNonce(account, change.nonce);
    if (isFault(fault)) return fault;
    Account memory accountAfter = copyAccount(account);
    accountAfter.tradingKey = change.key;
    accountAfter.keyExpiry = change.expiry;
    accountAfter.nonce = change.nonce;
    setAccount(state, change.account, accountAfter);
}

/// @dev The start of a transfer or a withdrawal: an account without the money that leaves it.
function _spend(State memory state, uint256 accountId, int256 amount, uint256 nonce)
    pure
    returns (Account memory accountAfter, Fault fault)
{
    (Account memory account, Fault unknown) = getAccount(state, accountId);
    if (isFault(unknown)) return (account, unknown);
    fault = validateNonce(account, nonce);
    if (isFault(fault)) return (account, fault);
    (account, fault) = processRealise(state, accountId, account);
    if (isFault(fault)) return (account, fault);
    accountAfter = copyAccount(account);
    // See above.
    unchecked {
        accountAfter.cash -= amount;
    }
    accountAfter.nonce = nonce;
    fault = validateAccount(accountAfter);
}
