// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {copyAccount} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {validateInitialMargin} from "./Margin.sol";
import {State, getAccount, processExit, setAccount, validateAccount} from "./State.sol";
import {Account, Exit, SetTradingKey, Transfer, Withdraw} from "./Types.sol";

// What an account's owner signs besides orders: transfers, withdrawals, trading keys.

/// @dev Asset id of the deployment's collateral token.
uint256 constant COLLATERAL = 0;

/// @dev Check that an action is newer than the account's last one. ACTION_NONCE.
function validateNonce(Account memory account, uint256 nonce) pure returns (Fault) {
    return nonce <= account.nonce ? Fault.ACTION_NONCE : Fault.NONE;
}

/// @dev Move cash from one account to another; the sender's margin must allow it. ZERO_AMOUNT,
/// SELF_TRANSFER, UNKNOWN_ACCOUNT, ACTION_NONCE, OUT_OF_RANGE, MARGIN, and what a margin check returns.
function processTransfer(State memory state, Transfer memory transfer) pure returns (Fault fault) {
    if (transfer.amount == 0) return Fault.ZERO_AMOUNT;
    if (transfer.sender == transfer.recipient) return Fault.SELF_TRANSFER;
    (Account memory sender, Fault noSender) = getAccount(state, transfer.sender);
    if (isFault(noSender)) return noSender;
    (Account memory recipient, Fault noRecipient) = getAccount(state, transfer.recipient);
    if (isFault(noRecipient)) return noRecipient;
    fault = validateNonce(sender, transfer.nonce);
    if (isFault(fault)) return fault;
    Account memory senderAfter = copyAccount(sender);
    Account memory recipientAfter = copyAccount(recipient);
    // Amounts are below 2^96, cash is within 2^127.
    senderAfter.cash -= int256(transfer.amount);
    senderAfter.nonce = transfer.nonce;
    recipientAfter.cash += int256(transfer.amount);
    fault = validateAccount(senderAfter);
    if (isFault(fault)) return fault;
    fault = validateAccount(recipientAfter);
    if (isFault(fault)) return fault;
    fault = validateInitialMargin(state, senderAfter, state.globals.clock);
    if (isFault(fault)) return fault;
    setAccount(state, transfer.sender, senderAfter);
    setAccount(state, transfer.recipient, recipientAfter);
}

/// @dev Turn cash into an exit that L1 pays once the batch has settled. ZERO_AMOUNT, BAD_RECIPIENT,
/// UNKNOWN_ACCOUNT, ACTION_NONCE, OUT_OF_RANGE, MARGIN, and what a margin check returns.
function processWithdraw(State memory state, Withdraw memory withdraw) pure returns (Fault fault) {
    if (withdraw.amount == 0) return Fault.ZERO_AMOUNT;
    if (withdraw.recipient == address(0)) return Fault.BAD_RECIPIENT;
    (Account memory account, Fault unknown) = getAccount(state, withdraw.account);
    if (isFault(unknown)) return unknown;
    fault = validateNonce(account, withdraw.nonce);
    if (isFault(fault)) return fault;
    Account memory accountAfter = copyAccount(account);
    accountAfter.cash -= int256(withdraw.amount);
    accountAfter.nonce = withdraw.nonce;
    fault = validateAccount(accountAfter);
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
