"""Accounts in trouble: an auction takes them over at their marks, for a reward that rises; past the
insurance fund, a loss is spread over those who hold the other side.

Whoever takes a share gets that part of every position, so nobody can pick the hedges out of a
portfolio. The account pays the reward out of the same share of its equity, as far as that goes; the
insurance fund pays the rest, and the same share of a hole. Nothing is created: what one gets,
another pays, to the unit.
"""

from dataclasses import dataclass, replace

from deltaroll.protocol.actions import validate_nonce
from deltaroll.protocol.arithmetic import div_down, div_up
from deltaroll.protocol.constants import (
    AUCTION_END,
    AUCTION_SECONDS,
    AUCTION_START,
    INSURANCE_ACCOUNT,
    INSURANCE_SHARE,
    LIQUIDATION_BUFFER,
    MAX_POSITIONS,
    PPM,
    WEIGHT_LIQUIDATE_POSITION_GAS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import compute_long_change, compute_open_interest
from deltaroll.protocol.funding import compute_accrued, compute_carry
from deltaroll.protocol.margin import Margin, compute_margin, compute_shortfall, validate_margin
from deltaroll.protocol.realise import add_insurance, process_realise
from deltaroll.protocol.state import (
    INT128_BOUND,
    State,
    charge,
    charge_module,
    get_account,
    get_series,
    get_underlying,
    set_account,
    set_market,
    validate_account,
)
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Distress,
    Liquidate,
    MarketId,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Socialise,
    Timestamp,
)


@dataclass(frozen=True, slots=True)
class Move:
    """A part of a position that changes hands."""

    market: MarketId
    series: Series
    lots: int
    """Signed like the position."""


@dataclass(frozen=True, slots=True)
class Payment:
    """Who pays what in a liquidation, collateral units."""

    own: int
    """Of the account taken over; negative: it gets that much, its share of its hole."""
    paid: int
    """The reward, not below 0; what is not the account's own is the insurance fund's."""
    share: int
    """What of the reward goes to the insurance fund."""


def process_accrual(state: State, account: Account, clock: Timestamp) -> None:
    """Accrue the funding of every perpetual that an account holds.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET, OUT_OF_RANGE.
    """
    charge(state, len(account.positions) * WEIGHT_LIQUIDATE_POSITION_GAS, 0)
    for position in account.positions:
        series = get_series(state, position.series)
        if series.kind != SeriesKind.PERPETUAL:
            continue
        underlying = get_underlying(state, series.underlying)
        accrued = compute_accrued(series, underlying.params, clock)
        if accrued is not series:
            set_market(state, position.series, accrued)


def compute_account_margin(
    state: State, account_id: AccountId, account: Account, clock: Timestamp
) -> Margin:
    """Return an account's margin; the insurance fund's cash is in the globals.

    Raises
    ------
    TransitionFault
        What `compute_margin` raises.
    """
    if account_id == INSURANCE_ACCOUNT:
        account = replace(account, cash=state.globals.insurance)
    return compute_margin(state, account, clock)


def compute_rate(elapsed: int) -> int:
    """Return the reward after so many seconds of an auction, parts per million of the maintenance
    margin taken over.
    """
    rise = (AUCTION_END - AUCTION_START) * min(elapsed, AUCTION_SECONDS)
    return AUCTION_START + div_down(rise, AUCTION_SECONDS)


def compute_largest_share(margin: Margin, reward: int) -> int:
    """Return the share that restores initial margin with its buffer when `reward` is paid for the
    whole, parts per million, rounded up. All of an account without equity.
    """
    if margin.equity <= 0:
        return PPM
    goal = margin.initial + div_up(margin.initial * LIQUIDATION_BUFFER, PPM)
    if margin.equity >= goal:
        return 0
    left = goal - min(reward, margin.equity)
    return min(PPM, div_up((goal - margin.equity) * PPM, left))


def compute_part(size: int, share: int) -> int:
    """Return a share of a position, its lots rounded up."""
    lots = div_up(abs(size) * share, PPM)
    return lots if size > 0 else -lots


def compute_moves(state: State, account: Account, share: int) -> tuple[Move, ...]:
    """Return a share of every position of an account. What has settled stays: only the insurance
    fund can still hold it.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET.
    """
    return tuple(
        Move(position.series, series, compute_part(position.size, share))
        for position in account.positions
        if (series := get_series(state, position.series)).status != SeriesStatus.SETTLED
    )


def compute_penalty(state: State, moves: tuple[Move, ...]) -> int:
    """Return what a ForceClose of lots brings to the insurance fund at least, rounded down.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET.
    """
    total = 0
    for move in moves:
        underlying = get_underlying(state, move.series.underlying)
        notional = abs(move.lots) * move.series.mark_index
        total += div_down(notional * underlying.params.force_penalty, PPM)
    return total


def compute_payment(equity: int, share: int, reward: int, insurance: int, is_all: bool) -> Payment:
    """Return who pays what for a share of an account.

    Parameters
    ----------
    reward
        For the share.
    insurance
        What the fund has; it pays no more, and the reward shrinks to that.
    is_all
        No position is left. Then no hole may be left behind either.

    Raises
    ------
    TransitionFault
        INSURANCE when the fund cannot fill the hole.
    """
    part = equity if is_all and equity < 0 else div_down(equity * share, PPM)
    own = min(reward, part)
    paid = min(reward, own + insurance)
    if paid < 0:
        raise TransitionFault(Fault.INSURANCE)
    return Payment(own, paid, div_down(max(0, own) * INSURANCE_SHARE, PPM))


def compute_account_merged(
    account: Account, moves: tuple[Move, ...], sign: int, cash: int
) -> tuple[Account, list[int]]:
    """Return an account after it got (`sign` 1) or gave away (-1) lots, and its cash changed by
    `cash`; and by how much each move changed its long lots.

    Carry that has accrued on the positions touched is paid first.

    Raises
    ------
    TransitionFault
        POSITION_LIMIT, OUT_OF_RANGE.
    """
    positions = account.positions
    merged: list[Position] = []
    longs: list[int] = []
    at = 0
    cash += account.cash
    for move in moves:
        while at < len(positions) and positions[at].series < move.market:
            merged.append(positions[at])
            at += 1
        before = 0
        if at < len(positions) and positions[at].series == move.market:
            before = positions[at].size
            cash -= before * (compute_carry(move.series, before) - positions[at].snapshot)
            at += 1
        change = sign * move.lots
        size = before + change
        if size != 0:
            merged.append(Position(move.market, size, compute_carry(move.series, size)))
        longs.append(compute_long_change(before, change))
    merged.extend(positions[at:])
    if len(merged) > MAX_POSITIONS:
        raise TransitionFault(Fault.POSITION_LIMIT)
    after = replace(account, cash=cash, positions=tuple(merged))
    validate_account(after)
    return after, longs


def process_distress(state: State, distress: Distress) -> None:
    """Start the auction of an account below maintenance margin, or end it when the account has
    recovered. The insurance fund's account has its own ways.

    Raises
    ------
    TransitionFault
        UNKNOWN_ACCOUNT; NOT_DUE; what `process_realise` and a margin check raise.
    """
    charge_module(state, 0)
    if distress.account == INSURANCE_ACCOUNT:
        raise TransitionFault(Fault.NOT_DUE)
    clock = state.globals.clock
    account = get_account(state, distress.account)
    account = process_realise(state, distress.account, account)
    process_accrual(state, account, clock)
    margin = compute_margin(state, account, clock)
    is_below = margin.equity < margin.maintenance
    if is_below == (account.distressed_at != 0):
        raise TransitionFault(Fault.NOT_DUE)
    distressed_at = clock if is_below else Timestamp(0)
    set_account(state, distress.account, replace(account, distressed_at=distressed_at))


def process_liquidate(state: State, bid: Liquidate) -> None:
    """Take over a share of an account in distress, at the marks.

    The positions that the insurance fund has got by ForceClose are taken over likewise, for no more
    than the penalties that came with them: closing by force and taking over again never pays.

    Raises
    ------
    TransitionFault
        In this order: UNKNOWN_ACCOUNT, SELF_TRADE, ACTION_NONCE; SOLVENT without an auction;
        what `process_realise` and a margin check raise; SOLVENT at or above maintenance margin, or
        when the fund holds nothing; REWARD, SHARE, INSURANCE, REWARD when the fund cannot pay what
        the liquidator asks; POSITION_LIMIT, OUT_OF_RANGE; MARGIN of the target, unless its
        shortfall is gone or has shrunk, then of the liquidator.
    """
    charge_module(state, 0)
    clock = state.globals.clock
    is_fund = bid.target == INSURANCE_ACCOUNT
    account = get_account(state, bid.account)
    target = get_account(state, bid.target)
    if account.owner == target.owner:
        raise TransitionFault(Fault.SELF_TRADE)
    validate_nonce(account, bid.nonce)
    if target.distressed_at == 0:
        raise TransitionFault(Fault.SOLVENT)
    account = process_realise(state, bid.account, account)
    target = process_realise(state, bid.target, target)
    process_accrual(state, target, clock)
    margin = compute_account_margin(state, bid.target, target, clock)
    if not is_fund and margin.equity >= margin.maintenance:
        raise TransitionFault(Fault.SOLVENT)

    rate = compute_rate(clock - target.distressed_at)
    if bid.reward > rate:
        raise TransitionFault(Fault.REWARD)
    whole = div_down(margin.maintenance * rate, PPM)
    largest = PPM if is_fund else compute_largest_share(margin, whole)
    if bid.share == 0 or bid.share > largest:
        raise TransitionFault(Fault.SHARE)
    moves = compute_moves(state, target, bid.share)
    if is_fund and not moves:
        raise TransitionFault(Fault.SOLVENT)
    reward = div_down(whole * bid.share, PPM)
    value = sum(move.lots * move.series.mark for move in moves)
    if is_fund:
        reward = min(reward, compute_penalty(state, moves))
        target_after, gone = compute_account_merged(target, moves, -1, value)
        add_insurance(state, 0, target_after.cash)
        target_after = replace(target_after, cash=0)
        payment = compute_payment(0, bid.share, reward, state.globals.insurance, False)
    else:
        is_all = all(
            move.lots == position.size
            for move, position in zip(moves, target.positions, strict=True)
        )
        payment = compute_payment(margin.equity, bid.share, reward, state.globals.insurance, is_all)
        target_after, gone = compute_account_merged(target, moves, -1, value - payment.own)
    least = div_down(div_down(margin.maintenance * bid.reward, PPM) * bid.share, PPM)
    if payment.paid < least:
        raise TransitionFault(Fault.REWARD)
    account_after, come = compute_account_merged(
        account, moves, 1, payment.paid - payment.share - value
    )
    account_after = replace(account_after, nonce=bid.nonce)
    add_insurance(state, payment.own - payment.paid + payment.share, 0)
    for move, went, came in zip(moves, gone, come, strict=True):
        if went + came != 0:
            open_interest = compute_open_interest(move.series, went + came)
            set_market(state, move.market, replace(move.series, open_interest=open_interest))

    margin_after = compute_account_margin(state, bid.target, target_after, clock)
    shortfall = compute_shortfall(margin_after)
    if shortfall != 0 and shortfall >= compute_shortfall(margin):
        raise TransitionFault(Fault.MARGIN)
    validate_margin(state, account, account_after, clock)
    is_over = not is_fund and margin_after.equity >= margin_after.maintenance
    if is_over or not target_after.positions:
        target_after = replace(target_after, distressed_at=Timestamp(0))
    set_account(state, bid.target, target_after)
    set_account(state, bid.account, account_after)


def process_socialise_series(state: State, market: MarketId, is_long: bool, loss: int) -> int:
    """Charge a loss to all who hold one side of a series, the same for every lot, rounded up.

    Returns
    -------
    int
        What that brings in; not below `loss`.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE.
    """
    series = get_series(state, market)
    charged = div_up(loss, series.open_interest)
    carry_long = series.carry_long + (charged if is_long else 0)
    carry_short = series.carry_short - (0 if is_long else charged)
    if carry_long >= INT128_BOUND or carry_short < -INT128_BOUND:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    set_market(state, market, replace(series, carry_long=carry_long, carry_short=carry_short))
    return charged * series.open_interest


def process_socialise(state: State, socialise: Socialise) -> None:
    """Fill the hole of an account that neither its equity nor the insurance fund can: the fund
    gives all it has, and those who hold the other side of its positions pay the rest, each series
    by its part of the notional. Whoever holds no position never pays.

    What the fund can fill is for Liquidate, as long as there are positions; of an account without
    any it fills what it can. A hole of the fund itself is spread alike.

    Raises
    ------
    TransitionFault
        UNKNOWN_ACCOUNT; SOLVENT; INSURANCE when there is nobody to charge and the fund is empty;
        OUT_OF_RANGE; what `process_realise` and a margin check raise.
    """
    charge_module(state, 0)
    clock = state.globals.clock
    is_fund = socialise.account == INSURANCE_ACCOUNT
    account = get_account(state, socialise.account)
    account = process_realise(state, socialise.account, account)
    process_accrual(state, account, clock)
    margin = compute_account_margin(state, socialise.account, account, clock)
    if margin.equity >= 0:
        raise TransitionFault(Fault.SOLVENT)
    deficit = -margin.equity
    if deficit >= INT128_BOUND:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    paid = 0 if is_fund else min(state.globals.insurance, deficit)
    weights: list[int] = []
    for position in account.positions:
        series = get_series(state, position.series)
        is_open = series.status != SeriesStatus.SETTLED and series.open_interest != 0
        weights.append(abs(position.size) * series.mark_index if is_open else 0)
    total = sum(weights)
    if total == 0:
        if paid == 0:
            raise TransitionFault(Fault.INSURANCE)
        deficit = paid
    elif paid == deficit:
        raise TransitionFault(Fault.SOLVENT)
    rest = deficit - paid
    left = rest
    collected = 0
    for position, weight in zip(account.positions, weights, strict=True):
        loss = min(left, div_up(rest * weight, total)) if weight != 0 else 0
        left -= loss
        if loss != 0:
            collected += process_socialise_series(state, position.series, position.size < 0, loss)
    if is_fund:
        add_insurance(state, collected, 0)
    else:
        add_insurance(state, collected - rest - paid, 0)
        account = replace(account, cash=account.cash + deficit)
        validate_account(account)
    if account.distressed_at == 0 and account.positions:
        account = replace(account, distressed_at=clock)
    set_account(state, socialise.account, account)
