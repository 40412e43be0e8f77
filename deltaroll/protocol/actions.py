"""What an account's owner signs besides orders: transfers, withdrawals, trading keys."""

from dataclasses import replace

from deltaroll.protocol.constants import INSURANCE_ACCOUNT
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.margin import validate_initial_margin
from deltaroll.protocol.realise import add_insurance, process_realise
from deltaroll.protocol.state import (
    State,
    get_account,
    process_exit,
    set_account,
    validate_account,
)
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    Exit,
    SetTradingKey,
    Transfer,
    Withdraw,
)

COLLATERAL = 0
"""Asset id of the deployment's collateral token."""


def validate_nonce(account: Account, nonce: int) -> None:
    """Check that an action is newer than the account's last one.

    Raises
    ------
    TransitionFault
        ACTION_NONCE.
    """
    if nonce <= account.nonce:
        raise TransitionFault(Fault.ACTION_NONCE)


def process_transfer(state: State, transfer: Transfer) -> None:
    """Move cash from one account to another; the sender's margin must allow it. What is sent to the
    insurance fund's account is the fund's.

    Raises
    ------
    TransitionFault
        ZERO_AMOUNT, SELF_TRANSFER, UNKNOWN_ACCOUNT, ACTION_NONCE, OUT_OF_RANGE, MARGIN, and what
        a margin check raises.
    """
    if transfer.amount == 0:
        raise TransitionFault(Fault.ZERO_AMOUNT)
    if transfer.sender == transfer.recipient:
        raise TransitionFault(Fault.SELF_TRANSFER)
    sender = get_account(state, transfer.sender)
    validate_nonce(sender, transfer.nonce)
    sender = process_realise(state, transfer.sender, sender)
    sender_after = replace(sender, cash=sender.cash - transfer.amount, nonce=transfer.nonce)
    validate_account(sender_after)
    if transfer.recipient == INSURANCE_ACCOUNT:
        add_insurance(state, transfer.amount, 0)
    else:
        recipient = get_account(state, transfer.recipient)
        recipient_after = replace(recipient, cash=recipient.cash + transfer.amount)
        validate_account(recipient_after)
        set_account(state, transfer.recipient, recipient_after)
    validate_initial_margin(state, sender_after, state.globals.clock)
    set_account(state, transfer.sender, sender_after)


def process_withdraw(state: State, withdraw: Withdraw) -> None:
    """Turn cash into an exit that L1 pays once the batch has settled.

    Raises
    ------
    TransitionFault
        ZERO_AMOUNT, BAD_RECIPIENT, UNKNOWN_ACCOUNT, ACTION_NONCE, OUT_OF_RANGE, MARGIN, and what a
        margin check raises.
    """
    if withdraw.amount == 0:
        raise TransitionFault(Fault.ZERO_AMOUNT)
    if withdraw.recipient == ZERO_ADDRESS:
        raise TransitionFault(Fault.BAD_RECIPIENT)
    account = get_account(state, withdraw.account)
    validate_nonce(account, withdraw.nonce)
    account = process_realise(state, withdraw.account, account)
    after = replace(account, cash=account.cash - withdraw.amount, nonce=withdraw.nonce)
    validate_account(after)
    validate_initial_margin(state, after, state.globals.clock)
    process_exit(state, Exit(COLLATERAL, withdraw.recipient, withdraw.amount))
    set_account(state, withdraw.account, after)


def process_set_trading_key(state: State, change: SetTradingKey) -> None:
    """Name the key that may sign orders besides the owner; zero removes it.

    Raises
    ------
    TransitionFault
        UNKNOWN_ACCOUNT, ACTION_NONCE.
    """
    account = get_account(state, change.account)
    validate_nonce(account, change.nonce)
    after = replace(account, trading_key=change.key, key_expiry=change.expiry, nonce=change.nonce)
    set_account(state, change.account, after)
