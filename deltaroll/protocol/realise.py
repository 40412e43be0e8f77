"""Settled positions turn into cash when their account is next touched, or when anyone sweeps it.

Also the insurance fund: its cash stands in the globals, and its account holds positions only.
"""

from dataclasses import replace

from deltaroll.protocol.books import compute_equity_of
from deltaroll.protocol.constants import (
    INSURANCE_ACCOUNT,
    WEIGHT_REALISE_GAS,
    WEIGHT_REALISE_POSITION_GAS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import (
    UINT128_BOUND,
    State,
    charge,
    charge_module,
    get_account,
    get_series,
    set_account,
    set_market,
    validate_account,
)
from deltaroll.protocol.types import Account, AccountId, Position, SeriesStatus, Sweep


def add_insurance(state: State, gained: int, swapped: int) -> None:
    """Change the cash of the insurance fund.

    Parameters
    ----------
    gained
        What the fund has earned, or paid for good when negative.
    swapped
        What it has received for positions, or paid for them when negative. The peak moves along:
        the fund is no poorer and no richer for it, and nobody can make it look so.

    Raises
    ------
    TransitionFault
        INSURANCE when the fund cannot pay; OUT_OF_RANGE.
    """
    insurance = state.globals.insurance + gained + swapped
    if insurance < 0:
        raise TransitionFault(Fault.INSURANCE)
    peak = max(insurance, state.globals.insurance_peak + swapped)
    if peak >= UINT128_BOUND:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    state.globals = replace(state.globals, insurance=insurance, insurance_peak=peak)


def process_realise(state: State, account_id: AccountId, account: Account) -> Account:
    """Return an account whose settled positions are cash; itself when none is settled. The caller
    stores it.

    The insurance fund's cash is changed at once. When the fund cannot pay for a loss of its own it
    keeps what has settled, until somebody adds to it.

    Raises
    ------
    TransitionFault
        OVERWEIGHT; UNKNOWN_MARKET when a series held is gone; OUT_OF_RANGE.
    """
    charge(state, len(account.positions) * WEIGHT_REALISE_POSITION_GAS, 0)
    cash = 0
    kept: list[Position] = []
    for position in account.positions:
        series = get_series(state, position.series)
        if series.status == SeriesStatus.SETTLED:
            cash += compute_equity_of(position.size, position.snapshot, series)
        else:
            kept.append(position)
    if len(kept) == len(account.positions):
        return account
    charge(state, (len(account.positions) - len(kept)) * WEIGHT_REALISE_GAS, 0)
    if account_id == INSURANCE_ACCOUNT:
        if state.globals.insurance + cash < 0:
            return account
        add_insurance(state, 0, cash)
        cash = 0
    for position in account.positions:
        series = get_series(state, position.series)
        if series.status == SeriesStatus.SETTLED:
            # Counts the lots of either side since the series has settled.
            left = max(0, series.open_interest - abs(position.size))
            set_market(state, position.series, replace(series, open_interest=left))
    after = replace(account, cash=account.cash + cash, positions=tuple(kept))
    validate_account(after)
    return after


def process_sweep(state: State, sweep: Sweep) -> None:
    """Turn an account's settled positions into cash.

    Raises
    ------
    TransitionFault
        UNKNOWN_ACCOUNT; NOT_DUE when there are none; what `process_realise` raises.
    """
    charge_module(state, 0)
    account = get_account(state, sweep.account)
    after = process_realise(state, sweep.account, account)
    if after is account:
        raise TransitionFault(Fault.NOT_DUE)
    set_account(state, sweep.account, after)
