"""Messages of the L1 queue: deposits, forced requests, governance. Consumed in order, none skipped.

What cannot be honoured is consumed as a counted no-op and leaves no other trace. Two faults are not
no-ops: OVERWEIGHT, unless the chunk was empty before, and STALE_MARK, because the proposer could
have marked first and must not shield anyone behind a stale mark.
"""

from dataclasses import replace

from deltaroll.protocol.actions import (
    COLLATERAL,
    process_set_trading_key,
    process_transfer,
    process_withdraw,
)
from deltaroll.protocol.arithmetic import div_up
from deltaroll.protocol.bits import decode_bits
from deltaroll.protocol.codec import KIND_BITS, decode_end, decode_header, decode_transaction
from deltaroll.protocol.configure import process_configure
from deltaroll.protocol.constants import (
    ACCOUNT_DEPTH,
    INSURANCE_ACCOUNT,
    MAX_AMOUNT,
    PPM,
    WEIGHT_FORCED_GAS,
    WEIGHT_SIGNATURE_GAS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import (
    compute_account_after,
    compute_long_change,
    compute_open_interest,
    compute_position_size,
    open_series,
    process_fill,
)
from deltaroll.protocol.funding import process_fund
from deltaroll.protocol.liquidation import process_distress, process_liquidate, process_socialise
from deltaroll.protocol.listing import process_list
from deltaroll.protocol.margin import compute_margin, validate_initial_margin, validate_margin
from deltaroll.protocol.mark import process_mark
from deltaroll.protocol.observe import process_observe
from deltaroll.protocol.realise import add_insurance, process_realise, process_sweep
from deltaroll.protocol.recovery import SIGNATURE_BYTES
from deltaroll.protocol.signatures import compute_requests, validate_signature
from deltaroll.protocol.state import (
    UINT32_BOUND,
    UINT128_BOUND,
    State,
    charge,
    charge_module,
    get_account,
    get_message,
    limit_message,
    process_exit,
    set_account,
    set_market,
    touch_account,
    unlimit_message,
    validate_account,
)
from deltaroll.protocol.surface import process_surface
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    Context,
    DataFee,
    Distress,
    Exit,
    Fill,
    Fund,
    Kind,
    Liquidate,
    List,
    Mark,
    MarketId,
    Message,
    MessageKind,
    Observe,
    Queue,
    SetTradingKey,
    Socialise,
    Surface,
    Sweep,
    Timestamp,
    Transaction,
    Transfer,
    Withdraw,
)

DEPOSIT_BYTES = 40
FORCE_EXIT_BYTES = 20
FORCE_CLOSE_BYTES = 14
CANCEL_ALL_BYTES = 4
MAX_ACCOUNTS = (1 << ACCOUNT_DEPTH) - 1
FORCED_ACCOUNTS = 2
FORCED_MARKETS = 1
"""What one transaction can name. A longer table could not be used up; it is not even read, because
every message is small and has to be cheap to prove.
"""


def validate_length(body: bytes, length: int) -> None:
    """Check a body of fixed length.

    Raises
    ------
    TransitionFault
        NON_CANONICAL.
    """
    if len(body) != length:
        raise TransitionFault(Fault.NON_CANONICAL)


def get_owned_account(state: State, account_id: AccountId, sender: Address) -> Account:
    """Return an account that belongs to the L1 sender of a message.

    Raises
    ------
    TransitionFault
        UNKNOWN_ACCOUNT; BAD_SIGNATURE when it is somebody else's, or the insurance fund's.
    """
    account = get_account(state, account_id)
    if account.owner != sender or account_id == INSURANCE_ACCOUNT:
        raise TransitionFault(Fault.BAD_SIGNATURE)
    return account


def process_deposit(state: State, body: bytes) -> None:
    """Credit a deposit: owner (20), account (4), amount (16).

    An account that exists is credited whoever owns it; else a new one is opened for the owner. When
    the tree is full the money goes back to the owner as an exit, so a deposit is never lost.

    Raises
    ------
    TransitionFault
        NON_CANONICAL; OUT_OF_RANGE and ZERO_AMOUNT for what the bridge refuses in the first place.
    """
    validate_length(body, DEPOSIT_BYTES)
    owner = Address(body[:20])
    account_id = AccountId(int.from_bytes(body[20:24], "big"))
    amount = int.from_bytes(body[24:40], "big")
    deposited = state.globals.deposited + amount
    if amount == 0:
        raise TransitionFault(Fault.ZERO_AMOUNT)
    if amount > MAX_AMOUNT or deposited >= UINT128_BOUND:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    count = state.globals.account_count
    if account_id == 0 or account_id > count:
        if count >= MAX_ACCOUNTS:
            process_exit(state, Exit(COLLATERAL, owner, amount))
            state.globals = replace(state.globals, deposited=deposited)
            return
        account_id = AccountId(count + 1)
        touch_account(state, account_id)
        after = Account(owner, ZERO_ADDRESS, Timestamp(0), 0, amount, 0, Timestamp(0), ())
        state.globals = replace(state.globals, account_count=count + 1, deposited=deposited)
    else:
        account = get_account(state, account_id)
        after = replace(account, cash=account.cash + amount)
        validate_account(after)
        state.globals = replace(state.globals, deposited=deposited)
    set_account(state, account_id, after)


def process_force_exit(state: State, sender: Address, body: bytes) -> None:
    """Withdraw up to an account's free margin to its owner: account (4), amount (16).

    Raises
    ------
    TransitionFault
        OVERWEIGHT, NON_CANONICAL, UNKNOWN_ACCOUNT, BAD_SIGNATURE, ZERO_AMOUNT, MARGIN when nothing
        is free, HALTED, STALE_MARK.
    """
    charge_module(state, 0)
    validate_length(body, FORCE_EXIT_BYTES)
    account_id = AccountId(int.from_bytes(body[:4], "big"))
    requested = int.from_bytes(body[4:20], "big")
    account = get_owned_account(state, account_id, sender)
    if requested == 0:
        raise TransitionFault(Fault.ZERO_AMOUNT)
    account = process_realise(state, account_id, account)
    margin = compute_margin(state, account, state.globals.clock)
    amount = min(requested, margin.equity - margin.initial, MAX_AMOUNT)
    if amount <= 0:
        raise TransitionFault(Fault.MARGIN)
    after = replace(account, cash=account.cash - amount)
    validate_account(after)
    process_exit(state, Exit(COLLATERAL, account.owner, amount))
    set_account(state, account_id, after)


def process_force_close(state: State, sender: Address, body: bytes) -> None:
    """Close a position, or a part of it, against the insurance fund at the mark, less a penalty
    that the fund keeps: account (4), series (2), lots (8; 0: all).

    The fund's account is opened when it has none yet. It must meet initial margin with the fund's
    cash, and its auction begins with what it takes over first.

    Raises
    ------
    TransitionFault
        NON_CANONICAL, UNKNOWN_ACCOUNT, BAD_SIGNATURE; what `open_series` raises; ZERO_AMOUNT when
        there is no such position; POSITION_LIMIT, INSURANCE, OUT_OF_RANGE; MARGIN of the account,
        then of the fund, and what a margin check raises.
    """
    charge_module(state, 0)
    validate_length(body, FORCE_CLOSE_BYTES)
    account_id = AccountId(int.from_bytes(body[:4], "big"))
    market = MarketId(int.from_bytes(body[4:6], "big"))
    requested = int.from_bytes(body[6:14], "big")
    clock = state.globals.clock
    account = get_owned_account(state, account_id, sender)
    series, underlying, _ = open_series(state, market, clock)
    account = process_realise(state, account_id, account)
    size = compute_position_size(account, market)
    lots = min(abs(size), requested or abs(size))
    if lots == 0:
        raise TransitionFault(Fault.ZERO_AMOUNT)
    fund_id = AccountId(INSURANCE_ACCOUNT)
    fund = touch_account(state, fund_id)
    if fund is None:
        fund = Account(ZERO_ADDRESS, ZERO_ADDRESS, Timestamp(0), 0, 0, 0, Timestamp(0), ())
    fund = process_realise(state, fund_id, fund)
    moved = lots if size > 0 else -lots
    value = moved * series.mark
    penalty = div_up(lots * series.mark_index * underlying.params.force_penalty, PPM)
    after = compute_account_after(account, market, -moved, value - penalty, series, False)
    fund_after = compute_account_after(fund, market, moved, -value, series, False)
    open_interest = compute_open_interest(
        series,
        compute_long_change(size, -moved)
        + compute_long_change(compute_position_size(fund, market), moved),
    )
    set_market(state, market, replace(series, open_interest=open_interest))
    add_insurance(state, penalty, fund_after.cash)
    begun = (fund_after.distressed_at or clock) if fund_after.positions else Timestamp(0)
    fund_after = replace(fund_after, distressed_at=begun)
    validate_margin(state, account, after, clock)
    validate_initial_margin(state, replace(fund_after, cash=state.globals.insurance), clock)
    set_account(state, account_id, after)
    set_account(state, fund_id, replace(fund_after, cash=0))


def process_cancel_all(state: State, sender: Address, body: bytes) -> None:
    """Kill every order that an account has signed so far: account (4).

    Raises
    ------
    TransitionFault
        NON_CANONICAL, UNKNOWN_ACCOUNT, BAD_SIGNATURE, OUT_OF_RANGE after 2^31 epochs.
    """
    validate_length(body, CANCEL_ALL_BYTES)
    account_id = AccountId(int.from_bytes(body, "big"))
    account = get_owned_account(state, account_id, sender)
    if account.epoch + 1 >= UINT32_BOUND // 2:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    set_account(state, account_id, replace(account, epoch=account.epoch + 1))


def decode_forced(body: bytes) -> tuple[Timestamp, Transaction, bytes]:
    """Return clock, transaction and signatures of a Forced body.

    Body: length of the data (2), the data in the form of a chunk with one transaction, the
    signatures. The clock inside is only what expiries and ages are measured from.

    Raises
    ------
    TransitionFault
        Any of the decoder's; UNKNOWN_KIND for a queue transaction, and for one that only the
        proposer may make; NON_CANONICAL for none or a second.
    """
    if len(body) < 2:
        raise TransitionFault(Fault.TRUNCATED)
    length = int.from_bytes(body[:2], "big")
    if len(body) < 2 + length:
        raise TransitionFault(Fault.TRUNCATED)
    decoder = decode_header(body[2 : 2 + length], FORCED_ACCOUNTS, FORCED_MARKETS)
    transaction = decode_transaction(decoder)
    if transaction is None:
        raise TransitionFault(Fault.NON_CANONICAL)
    if isinstance(transaction, (Queue, DataFee)):
        raise TransitionFault(Fault.UNKNOWN_KIND)
    # A second one is not even read.
    if decode_bits(decoder.reader, KIND_BITS) != Kind.END:
        raise TransitionFault(Fault.NON_CANONICAL)
    decode_end(decoder)
    return decoder.clock, transaction, body[2 + length :]


def validate_forced(
    state: State, transaction: Transaction, signatures: bytes, context: Context
) -> None:
    """Check a forced transaction's signatures against the state as it is now.

    Raises
    ------
    TransitionFault
        SIGNATURE_COUNT, BAD_SIGNATURE, OVERWEIGHT.
    """
    requests = compute_requests(transaction)
    if len(signatures) != SIGNATURE_BYTES * len(requests):
        raise TransitionFault(Fault.SIGNATURE_COUNT)
    charge(state, len(requests) * WEIGHT_SIGNATURE_GAS, 0)
    for position, request in enumerate(requests):
        signature = signatures[position * SIGNATURE_BYTES : (position + 1) * SIGNATURE_BYTES]
        validate_signature(state, request, signature, context.domain, state.globals.clock)


def process_action(state: State, transaction: Transaction) -> None:
    """Apply a transaction that depends on nothing but the state: any but the queue's, fills, and
    what only the proposer may set.

    Raises
    ------
    TransitionFault
        What the kind's process raises.
    """
    match transaction:
        case Transfer():
            process_transfer(state, transaction)
        case Withdraw():
            process_withdraw(state, transaction)
        case SetTradingKey():
            process_set_trading_key(state, transaction)
        case Observe():
            process_observe(state, transaction)
        case Mark():
            process_mark(state, transaction)
        case Surface():
            process_surface(state, transaction)
        case List():
            process_list(state, transaction)
        case Fund():
            process_fund(state, transaction)
        case Sweep():
            process_sweep(state, transaction)
        case Distress():
            process_distress(state, transaction)
        case Liquidate():
            process_liquidate(state, transaction)
        case Socialise():
            process_socialise(state, transaction)


def process_forced(state: State, body: bytes, context: Context) -> None:
    """Run any signed transaction, its signatures checked here against the state as it is now.

    Raises
    ------
    TransitionFault
        What `decode_forced`, `validate_forced` and the transaction's process raise.
    """
    charge_module(state, WEIGHT_FORCED_GAS)
    _, transaction, signatures = decode_forced(body)
    validate_forced(state, transaction, signatures, context)
    if isinstance(transaction, Fill):
        process_fill(state, transaction, None, True)
    else:
        process_action(state, transaction)


def process_message(state: State, message: Message, context: Context) -> None:
    """Do what a message asks for.

    Raises
    ------
    TransitionFault
        What the six processes above raise; UNKNOWN_KIND.
    """
    match message.kind:
        case MessageKind.DEPOSIT:
            process_deposit(state, message.body)
        case MessageKind.FORCE_EXIT:
            process_force_exit(state, message.sender, message.body)
        case MessageKind.CANCEL_ALL:
            process_cancel_all(state, message.sender, message.body)
        case MessageKind.FORCED:
            process_forced(state, message.body, context)
        case MessageKind.CONFIGURE:
            process_configure(state, message.body)
        case MessageKind.FORCE_CLOSE:
            process_force_close(state, message.sender, message.body)
        case _:
            raise TransitionFault(Fault.UNKNOWN_KIND)


def process_queue(state: State, context: Context, is_first: bool) -> Fault:
    """Consume the next message of the queue.

    Parameters
    ----------
    is_first
        The chunk holds nothing before it. What it weighs is then held to MAX_MESSAGE_GAS and
        MAX_MESSAGE_WITNESS, and a message that is heavier is a no-op: no chunk could honour it, and
        the queue has to go on. A chunk that is full for another reason is a fault as ever.

    Returns
    -------
    Fault
        Why the message was a no-op; NONE when it was honoured.

    Raises
    ------
    TransitionFault
        QUEUE_OVERRUN past the header's range; OVERWEIGHT, STALE_MARK.
    """
    index = state.globals.queue_index
    if index >= context.queue_end:
        raise TransitionFault(Fault.QUEUE_OVERRUN)
    is_limited = is_first and limit_message(state)
    message = get_message(state, index)
    outcome = Fault.NONE
    state.begin()
    try:
        process_message(state, message, context)
    except TransitionFault as problem:
        state.rollback()
        outcome = problem.fault
    else:
        state.commit()
    unlimit_message(state)
    if outcome == Fault.STALE_MARK:
        raise TransitionFault(outcome)
    if outcome == Fault.OVERWEIGHT and not is_limited:
        raise TransitionFault(outcome)
    skipped = state.globals.skipped + (outcome != Fault.NONE)
    state.globals = replace(state.globals, queue_index=index + 1, skipped=skipped)
    return outcome
