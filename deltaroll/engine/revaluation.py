"""Margin of all accounts at once: one integer matrix product, to the unit what the protocol says.

An account under a scenario is a row of sizes times a column of the risk matrix, so all accounts
under all scenarios are sizes (accounts x series) times risk (series x scenarios). What follows is
not linear, and done per expiry: the product has one block for each.

Exactness. Three devices keep floating point and machine words exact; nothing is rounded anywhere.

1. Products run on float64 matrix multiplication. It is exact when no partial sum leaves the
   integers that float64 holds, +-2^53, in whatever order it adds. A partial sum of size * entry
   over a row is at most (sum of |size| over the row) * max |entry|. Where that bound is above 2^53,
   entries are cut into limbs of `width` bits, entry = sum of limb_j * 2^(width * j), low limbs
   unsigned and the highest signed, so that rows * 2^width <= 2^53; the limbs' products are integers
   in float64, and are added as 64-bit words. These wrap, but the end result is below `RANGE`, so it
   is right whatever wrapped on the way.
2. A quotient floor(p / d) whose product p leaves 64 bits is guessed in float64; the guess is
   corrected by p - guess * d, calculated in wrapping words. For a quotient below 2^61 the guess is
   off by less than 2^10, so the true remainder is below 2^10 * d and has survived the wrapping.
3. The worst scenario is found in float64 first, with a bound on what rounding may have done. Only
   the scenarios that can be the worst by that bound are then calculated in integers.

Accounts whose numbers are too large for this, and those that hold anything out of the ordinary (a
stale mark, a strike listed twice), go to the protocol itself, one by one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deltaroll.protocol.constants import ONE, PPM
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fresh import validate_fresh
from deltaroll.protocol.margin import Margin, compute_margin
from deltaroll.protocol.scenarios import SKEW
from deltaroll.protocol.state import Meter, State
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Expiry,
    Grid,
    MarketId,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying,
)

Words: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

RANGE = 1 << 58
"""No sum of |size * value| of an account may reach it here."""
EXACT = 1 << 53
"""Integers up to here are exact in float64."""
MAX_GROSS = 1 << 44
"""Lots, long and short added up, of an account here: limbs of nine bits are left."""
MAX_FACTOR = 4 * ONE
"""Discounts and basis factors here are below it: four times a number in `RANGE` is below 2^60."""
ROWS = 1024
"""Accounts that are finished at a time: their numbers stay in the processor's cache."""


@dataclass(slots=True)
class Block:
    """Series next to each other in the sheet that margin adds up: the options of one expiry, or the
    perpetuals of one underlying, or all that has settled.
    """

    key: MarketId
    """Expiry, or underlying of perpetuals, or 0."""
    start: int
    stop: int
    pairs: int = 0
    """Strikes whose call and put stand side by side at the block's beginning."""


@dataclass(slots=True)
class Group:
    """The blocks of an underlying."""

    key: MarketId
    perpetuals: Block
    expiries: list[Block]


@dataclass(frozen=True, slots=True)
class Valuation:
    """Margin of every account of a sheet, in its order. Collateral units."""

    accounts: tuple[AccountId, ...]
    equity: Words
    maintenance: Words
    initial: Words
    margins: dict[int, Margin]
    """By row: what the protocol calculated instead; the arrays hold 0 there."""
    faults: dict[int, Fault]
    """By row: why an account has no margin now."""

    def get_margin(self, row: int) -> Margin | None:
        """Return the margin of a row, None when it has none."""
        if row in self.faults:
            return None
        if row in self.margins:
            return self.margins[row]
        return Margin(int(self.equity[row]), int(self.maintenance[row]), int(self.initial[row]))

    def find_below_maintenance(self) -> list[AccountId]:
        """Return the accounts whose equity is below maintenance margin."""
        rows = set(np.flatnonzero(self.equity < self.maintenance).tolist())
        for row, margin in self.margins.items():
            if margin.equity < margin.maintenance:
                rows.add(row)
        return [self.accounts[row] for row in sorted(rows - self.faults.keys())]


@dataclass(slots=True)
class Sheet:
    """Accounts' positions as a matrix, and the series as its columns.

    It is good as long as no series is listed, settles or changes its expiry; `set_account` follows
    a trade.
    """

    accounts: tuple[AccountId, ...]
    series: tuple[MarketId, ...]
    groups: list[Group]
    settled: Block
    irregular: frozenset[int]
    """Columns whose strike is listed in another way than call, then put, under the next id."""
    rows: dict[AccountId, int] = field(default_factory=dict)
    columns: dict[MarketId, int] = field(default_factory=dict)
    sizes: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """Lots; 0 in all of a row that is `wide`."""
    base: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    """Cash, and size times snapshot of every position."""
    wide: set[int] = field(default_factory=set)
    """Rows whose sizes, cash or snapshots are too large for here."""
    gross: dict[MarketId, Floats] = field(default_factory=dict)
    """Lots of every row, long and short added up, by block."""
    naked: dict[MarketId, Floats] = field(default_factory=dict)
    """Lots of options of every row, short and not covered at their strike, by expiry."""

    def get_blocks(self) -> list[Block]:
        """Return all blocks; they cover all columns."""
        blocks = [self.settled]
        for group in self.groups:
            blocks += [group.perpetuals, *group.expiries]
        return blocks

    def set_account(self, account_id: AccountId, account: Account) -> None:
        """Follow a change of an account; KeyError when its row or a series has no place."""
        row = self.rows[account_id]
        cash = account.cash
        gross = 0
        values = self.sizes[row]
        values[:] = 0
        self.wide.discard(row)
        bound = abs(cash)
        for position in account.positions:
            gross += abs(position.size)
            cash += position.size * position.snapshot
            bound += abs(position.size * position.snapshot)
            if gross < MAX_GROSS:
                values[self.columns[position.series]] = position.size
        if gross >= MAX_GROSS or bound >= RANGE:
            values[:] = 0
            cash = 0
            self.wide.add(row)
        self.base[row] = cash
        for block in self.get_blocks():
            held = values[block.start : block.stop]
            self.gross[block.key][row] = np.abs(held).sum()
        for group in self.groups:
            for block in group.expiries:
                held = values[block.start : block.stop]
                self.naked[block.key][row] = compute_naked_lots(held, block.pairs)


def find_columns(state: State) -> tuple[list[MarketId], list[Group], Block, frozenset[int]]:
    """Return all series in the order of a sheet's columns, its blocks, and irregular columns."""
    perpetuals: dict[MarketId, list[MarketId]] = {}
    options: dict[MarketId, dict[MarketId, list[MarketId]]] = {}
    settled: list[MarketId] = []
    strikes: dict[tuple[MarketId, int], list[MarketId]] = {}
    for market in sorted(state.markets):
        series = state.markets[market]
        if not isinstance(series, Series):
            continue
        if series.status == SeriesStatus.SETTLED:
            settled.append(market)
        elif series.kind == SeriesKind.PERPETUAL:
            perpetuals.setdefault(series.underlying, []).append(market)
        else:
            chains = options.setdefault(series.underlying, {})
            chains.setdefault(series.expiry, []).append(market)
            strikes.setdefault((series.expiry, series.strike), []).append(market)
    order: list[MarketId] = list(settled)
    groups: list[Group] = []
    strange: set[MarketId] = set()
    for underlying in sorted(perpetuals.keys() | options.keys()):
        linear = perpetuals.get(underlying, [])
        group = Group(underlying, Block(underlying, len(order), len(order) + len(linear)), [])
        order += linear
        for expiry, chain in sorted(options.get(underlying, {}).items()):
            paired: list[MarketId] = []
            single: list[MarketId] = []
            for market in chain:
                series = state.markets[market]
                assert isinstance(series, Series)
                listed = strikes[expiry, series.strike]
                kinds = [get_kind(state, other) for other in listed]
                if kinds == [SeriesKind.CALL, SeriesKind.PUT] and listed[1] == listed[0] + 1:
                    paired.append(market)
                else:
                    single.append(market)
                    if len(listed) > 1:
                        strange.add(market)
            block = Block(expiry, len(order), len(order) + len(chain), len(paired) // 2)
            order += paired + single
            group.expiries.append(block)
        groups.append(group)
    places = {market: column for column, market in enumerate(order)}
    irregular = frozenset(places[market] for market in strange)
    return order, groups, Block(MarketId(0), 0, len(settled)), irregular


def get_kind(state: State, market: MarketId) -> SeriesKind:
    """Return the kind of a series that is known to be there."""
    series = state.markets[market]
    assert isinstance(series, Series)
    return series.kind


def compute_naked_lots(sizes: Floats, pairs: int) -> float:
    """Return how many lots of an expiry's row are short and not covered at their strike."""
    paired = sizes[: 2 * pairs]
    net = paired[::2] + paired[1::2]
    return -float(np.minimum(net, 0).sum() + np.minimum(sizes[2 * pairs :], 0).sum())


def create_sheet(state: State, accounts: Iterable[AccountId] | None = None) -> Sheet:
    """Return the sheet of a state, of all its accounts or the given ones."""
    ids = tuple(sorted(state.accounts) if accounts is None else accounts)
    order, groups, settled, irregular = find_columns(state)
    sheet = Sheet(ids, tuple(order), groups, settled, irregular)
    sheet.rows = {account: row for row, account in enumerate(ids)}
    sheet.columns = {market: column for column, market in enumerate(order)}
    sheet.sizes = np.zeros((len(ids), len(order)))
    sheet.base = np.zeros(len(ids), np.int64)
    sheet.gross = {block.key: np.zeros(len(ids)) for block in sheet.get_blocks()}
    sheet.naked = {block.key: np.zeros(len(ids)) for group in groups for block in group.expiries}
    for account in ids:
        sheet.set_account(account, state.accounts[account])
    return sheet


def multiply_48(left: Words, right: Words) -> Words:
    """Return floor(left * right / 2^48) for a quotient below 2^61."""
    return shift_48(left, right, np.zeros(1, np.int64))


def shift_48(left: Words, right: Words, extra: Words) -> Words:
    """Return floor((left * right + extra) / 2^48) for a quotient below 2^61."""
    guess = left.astype(np.float64) * right.astype(np.float64)
    guess *= 2.0**-48
    quotient = guess.astype(np.int64)
    rest = left * right + extra - (quotient << 48)
    return quotient + (rest >> 48)


def divide_up(values: Words, factor: int, divisor: int) -> Words:
    """Return ceil(values * factor / divisor) for values >= 0 and a quotient below 2^61; the divisor
    is at most 2^40.
    """
    quotient = (values.astype(np.float64) * (factor / divisor)).astype(np.int64)
    rest = values * np.full(1, factor, np.int64) - quotient * np.full(1, divisor, np.int64)
    return quotient - (-rest // divisor)


def split(values: Words, width: int, count: int) -> list[Floats]:
    """Return limbs of `width` bits, lowest first; the highest has the sign."""
    limbs = []
    for index in range(count):
        limb = values >> width * index
        if index < count - 1:
            limb = limb & (1 << width) - 1
        limbs.append(limb.astype(np.float64))
    return limbs


class Product:
    """Sizes times a fixed matrix of integers below `RANGE`, exact. Transposed: a column of the
    result is an account.
    """

    __slots__ = ("_limbs", "_width", "is_word")

    def __init__(self, entries: Words, gross: float) -> None:
        """Prepare for rows with at most `gross` lots."""
        most = max(1, int(np.abs(entries).max(initial=0)))
        bits = max(0, int(gross)).bit_length()
        self._width = 53 - bits
        # |entry| < 2^bit_length, and the highest limb is as signed as the entry.
        count = 1 if int(gross) * most <= EXACT else -(-most.bit_length() // self._width)
        self._limbs = split(np.ascontiguousarray(entries.T), self._width, count)
        self.is_word = count > 1
        """Whether results may be above what float64 holds."""

    def multiply(self, sizes: Floats, out: Floats) -> Words | None:
        """Write the product, rounded to float64, into `out`; return it in words when that may have
        rounded.
        """
        np.matmul(self._limbs[0], sizes.T, out=out)
        if not self.is_word:
            return None
        words = out.astype(np.int64)
        for index, limb in enumerate(self._limbs[1:], 1):
            words += (limb @ sizes.T).astype(np.int64) << self._width * index
        out[:] = words
        return words


def multiply_exactly(sizes: Floats, entries: Words) -> Words:
    """Return sizes times a matrix of integers, sums below `RANGE`; transposed like `Product`."""
    gross = float(np.abs(sizes).sum(axis=1).max(initial=0))
    product = Product(entries, gross)
    out = np.empty((entries.shape[1], len(sizes)))
    words = product.multiply(sizes, out)
    return out.astype(np.int64) if words is None else words


@dataclass(slots=True)
class Column:
    """A series as the revaluation needs it."""

    series: Series
    is_regular: bool
    """Fresh, and with numbers that fit."""


@dataclass(slots=True)
class Chain:
    """An expiry's block with its numbers."""

    block: Block
    values: Words
    """Series x (scenarios, mark): the value of a lot after each scenario, and at the mark."""
    product: Product
    long_discount: int
    short_discount: int
    basis_factor: int
    bound: int
    """|Entry of `values`| is at most this."""


def is_small(value: int) -> bool:
    """Return whether a price or an entry is one that fits here."""
    return -RANGE < value < RANGE


class Revaluation:
    """The margin of all accounts of a sheet at the marks that the state has now."""

    def __init__(self, state: State, sheet: Sheet) -> None:
        self._state = state
        self._sheet = sheet
        self._clock = state.globals.clock
        self._columns = self._read_columns()
        irregular = [column for column, entry in enumerate(self._columns) if not entry.is_regular]
        count = len(sheet.accounts)
        self._special = np.zeros(count, np.bool_)
        if irregular:
            self._special |= (sheet.sizes[:, irregular] != 0).any(axis=1)
        self._special[list(sheet.wide)] = True
        self._bound = np.abs(sheet.base).astype(np.float64)
        self._equity = sheet.base.copy()
        self._maintenance = np.zeros(count, np.int64)
        self._initial = np.zeros(count, np.int64)

    def run(self) -> Valuation:
        """Return the margin of every account."""
        sheet = self._sheet
        self._add_equity(sheet.settled)
        self._add_carries()
        finishers = []
        for group in sheet.groups:
            self._add_equity(group.perpetuals)
            grid = self._get_grid(self._get_underlying(group.key))
            risks = self._read_risk(group, grid)
            finishers.append(Finisher(group, grid, self._prepare(group, grid), risks))
        for group in sheet.groups:
            self._bound_requirement(group)
        for finisher in finishers:
            self._revalue(finisher)
        return self._finish()

    def _read_columns(self) -> list[Column]:
        """Look at every series: is its mark fresh, does all about it fit?"""
        state = self._state
        columns = []
        regular = {group.key for group in self._sheet.groups if self._has_regular_grid(group)}
        for column, market in enumerate(self._sheet.series):
            series = state.markets[market]
            assert isinstance(series, Series)
            is_regular = (
                column not in self._sheet.irregular
                # What has settled since the sheet was made is not in its block.
                and (series.status == SeriesStatus.SETTLED) == (column < self._sheet.settled.stop)
                and (series.underlying in regular or series.status == SeriesStatus.SETTLED)
                and self._is_regular(series)
            )
            columns.append(Column(series, is_regular))
        return columns

    def _has_regular_grid(self, group: Group) -> bool:
        underlying = self._state.markets.get(group.key)
        if not isinstance(underlying, Underlying) or not is_small(underlying.index):
            return False
        grid = self._get_grid(underlying)
        return grid is not None and all(scenario.weight <= ONE for scenario in grid.scenarios)

    def _is_regular(self, series: Series) -> bool:
        if not (
            is_small(series.mark)
            and is_small(series.carry_long)
            and is_small(series.carry_short)
            and (not series.risk or (is_small(min(series.risk)) and is_small(max(series.risk))))
        ):
            return False
        if series.status == SeriesStatus.SETTLED:
            return True
        underlying = self._get_underlying(series.underlying)
        grid = self._get_grid(underlying)
        expiry = self._state.markets.get(series.expiry) if series.expiry else None
        if series.kind != SeriesKind.PERPETUAL and (
            not isinstance(expiry, Expiry)
            or grid is None
            or len(series.risk) != len(grid.scenarios)
            or max(expiry.long_discount, expiry.short_discount, expiry.basis_factor) >= MAX_FACTOR
        ):
            return False
        of_option = expiry if isinstance(expiry, Expiry) else None
        try:
            validate_fresh(series, underlying, of_option, self._clock)
        except TransitionFault:
            return False
        return True

    def _get_underlying(self, key: MarketId) -> Underlying:
        leaf = self._state.markets[key]
        assert isinstance(leaf, Underlying)
        return leaf

    def _get_grid(self, underlying: Underlying) -> Grid | None:
        leaf = self._state.markets.get(underlying.params.grid)
        return leaf if isinstance(leaf, Grid) else None

    def _get_regular(self, block: Block) -> list[Series | None]:
        """Return a block's series, None in place of an irregular one: no row used here holds it."""
        columns = self._columns[block.start : block.stop]
        return [column.series if column.is_regular else None for column in columns]

    def _prepare(self, group: Group, grid: Grid | None) -> list[Chain]:
        """Return an underlying's expiries with their numbers."""
        chains = []
        for block in group.expiries:
            expiry = self._state.markets[block.key]
            assert isinstance(expiry, Expiry)
            width = 0 if grid is None else len(grid.scenarios)
            none = (0,) * (width + 1)
            # The mark is in the last column, and added to all of the others below.
            values = np.array(
                [
                    none if series is None else (*series.risk, series.mark)
                    for series in self._get_regular(block)
                ],
                np.int64,
            ).reshape(block.stop - block.start, width + 1)
            values[:, :-1] += values[:, -1:]
            bound = int(np.abs(values).max(initial=0))
            gross = self._sheet.gross[block.key]
            self._bound += gross * (2.0 * bound)
            chains.append(
                Chain(
                    block,
                    values,
                    Product(values, self._find_most(block, bound)),
                    expiry.long_discount,
                    expiry.short_discount,
                    expiry.basis_factor,
                    bound,
                )
            )
        return chains

    def _find_most(self, block: Block, bound: int) -> float:
        """Return the most lots of a block in any row that fits; others are special from here on."""
        gross = self._sheet.gross[block.key]
        self._special |= gross * float(bound) >= RANGE
        return float(gross[~self._special].max(initial=0))

    def _add_equity(self, block: Block) -> None:
        """Add the value at the marks of what is not in a chain."""
        marks = np.array(
            [0 if series is None else series.mark for series in self._get_regular(block)], np.int64
        )
        if not len(marks):
            return
        bound = int(np.abs(marks).max())
        self._bound += self._sheet.gross[block.key] * float(bound)
        self._find_most(block, bound)
        rows = np.flatnonzero(~self._special)
        sizes = self._sheet.sizes[rows, block.start : block.stop]
        self._equity[rows] += multiply_exactly(sizes, marks[:, None])[0]

    def _add_carries(self) -> None:
        """Take off what carry indexes say since the beginning; snapshots are in the base."""
        held = [
            (column, entry.series)
            for column, entry in enumerate(self._columns)
            if entry.is_regular and (entry.series.carry_long or entry.series.carry_short)
        ]
        if not held:
            return
        places = [column for column, _ in held]
        long = np.array([series.carry_long for _, series in held], np.int64)
        short = np.array([series.carry_short for _, series in held], np.int64)
        sizes = self._sheet.sizes[:, places]
        bound = np.abs(sizes) @ np.maximum(np.abs(long), np.abs(short)).astype(np.float64)
        self._bound += bound
        self._special |= bound >= RANGE
        rows = np.flatnonzero(~self._special)
        sizes = sizes[rows]
        self._equity[rows] -= multiply_exactly(np.maximum(sizes, 0), long[:, None])[0]
        self._equity[rows] -= multiply_exactly(np.minimum(sizes, 0), short[:, None])[0]

    def _bound_requirement(self, group: Group) -> None:
        """Leave to the protocol the rows whose requirement might not fit."""
        underlying = self._get_underlying(group.key)
        params = underlying.params
        scale = underlying.multiplier * max(params.maintenance_factor, params.initial_factor)
        lots = self._sheet.gross[group.perpetuals.key].copy()
        for block in group.expiries:
            lots += self._sheet.gross[block.key]
        rates = max(
            params.perp_maintenance + params.perp_initial,
            params.option_maintenance + params.option_initial,
        )
        self._special |= self._bound * max(1.0, scale / PPM**2) >= RANGE
        self._special |= lots * float(underlying.index) * max(1.0, rates / PPM) >= RANGE
        if scale >= 1 << 62:
            self._special[:] = True

    def _revalue(self, finisher: "Finisher") -> None:
        """Add the requirement of an underlying's holdings, and the value of its options."""
        sheet = self._sheet
        group = finisher.group
        underlying = self._get_underlying(group.key)
        lots = sheet.gross[group.perpetuals.key].copy()
        naked = np.zeros(len(lots))
        for block in group.expiries:
            lots += sheet.gross[block.key]
            naked += sheet.naked[block.key]
        is_used = ~self._special & (lots != 0)
        # Where almost every row is used, views of all cost less than copies.
        is_all = not self._special.any() and np.count_nonzero(is_used) * 4 >= 3 * len(lots)
        rows = np.arange(len(lots)) if is_all else np.flatnonzero(is_used)
        perpetual = sheet.gross[group.perpetuals.key].astype(np.int64) * underlying.index
        uncovered = naked.astype(np.int64) * underlying.index
        params = underlying.params
        for first in range(0, len(rows), ROWS):
            part = slice(first, first + ROWS) if is_all else rows[first : first + ROWS]
            loss, value = finisher.finish(sheet.sizes[part], self._bound[part])
            self._equity[part] += value
            for target, factor, of_perpetual, of_option in (
                (
                    self._maintenance,
                    params.maintenance_factor,
                    params.perp_maintenance,
                    params.option_maintenance,
                ),
                (
                    self._initial,
                    params.initial_factor,
                    params.perp_maintenance + params.perp_initial,
                    params.option_maintenance + params.option_initial,
                ),
            ):
                target[part] += (
                    divide_up(loss, underlying.multiplier * factor, PPM * PPM)
                    + divide_up(perpetual[part], of_perpetual, PPM)
                    + divide_up(uncovered[part], of_option, PPM)
                )

    def _read_risk(self, group: Group, grid: Grid | None) -> Words:
        """Return the risk vectors of an underlying's perpetuals, as wide as its grid."""
        width = 0 if grid is None else len(grid.scenarios)
        rows = []
        for place, series in enumerate(self._get_regular(group.perpetuals)):
            risk = () if series is None else series.risk
            if len(risk) > width:
                # Marked under a wider grid: every entry counts there, so the protocol does it.
                column = group.perpetuals.start + place
                self._special |= self._sheet.sizes[:, column] != 0
                risk = ()
            rows.append((*risk, *(0,) * (width - len(risk))))
        risks = np.array(rows, np.int64).reshape(len(rows), width)
        bound = int(np.abs(risks).max(initial=0))
        gross = self._sheet.gross[group.perpetuals.key]
        self._bound += gross * float(bound)
        self._find_most(group.perpetuals, bound)
        return risks

    def _finish(self) -> Valuation:
        """Let the protocol do the rows that are left."""
        state = self._state
        margins: dict[int, Margin] = {}
        faults: dict[int, Fault] = {}
        meter = state.meter
        try:
            for row in np.flatnonzero(self._special).tolist():
                self._equity[row] = self._maintenance[row] = self._initial[row] = 0
                state.meter = Meter()
                account = state.accounts[self._sheet.accounts[row]]
                try:
                    margins[row] = compute_margin(state, account, self._clock)
                except TransitionFault as problem:
                    faults[row] = problem.fault
        finally:
            state.meter = meter
        return Valuation(
            self._sheet.accounts,
            self._equity,
            self._maintenance,
            self._initial,
            margins,
            faults,
        )


class Finisher:
    """What comes after the product, for one underlying."""

    def __init__(
        self, group: Group, grid: Grid | None, chains: Sequence[Chain], risks: Words
    ) -> None:
        scenarios = () if grid is None else grid.scenarios
        self.group = group
        self._chains = chains
        self._risks = risks
        self._width = len(scenarios)
        self._up = 0 if grid is None else grid.basis_up
        self._down = 0 if grid is None else grid.basis_down
        self._weights = np.array([scenario.weight for scenario in scenarios], np.int64)
        self._is_skew = np.array([scenario.vol_shock >= SKEW for scenario in scenarios], np.bool_)
        self._skews = np.flatnonzero(self._is_skew)
        self._scale = self._weights.astype(np.float64) / ONE

    def finish(self, sizes: Floats, bound: Floats) -> tuple[Words, Words]:
        """Return, of rows of sizes, the worst loss and the value of the options.

        In here a column is an account and a row a scenario, so that what is done to one scenario is
        done to consecutive numbers.
        """
        count = len(sizes)
        linear = self.group.perpetuals
        perpetual_sizes = sizes[:, linear.start : linear.stop]
        lanes = np.zeros((self._width, count), np.int64)
        if linear.stop > linear.start:
            lanes = multiply_exactly(perpetual_sizes, self._risks)
        if not self._chains:
            return -lanes.min(axis=0, initial=0), np.zeros(count, np.int64)
        products: list[tuple[Floats, Words | None]] = []
        total = np.zeros((self._width, count))
        skewed = np.zeros((len(self._skews), count))
        value = np.zeros(count, np.int64)
        basis = np.zeros(count, np.int64)
        low = np.empty((self._width, count))
        high = np.empty((self._width, count))
        for chain in self._chains:
            out = np.empty((self._width + 1, count))
            words = chain.product.multiply(sizes[:, chain.block.start : chain.block.stop], out)
            products.append((out, words))
            after = out[:-1]
            # after * long_discount where it is not negative, after * short_discount where it is.
            np.minimum(after, 0, out=low)
            low *= (chain.short_discount - chain.long_discount) / ONE
            np.multiply(after, chain.long_discount / ONE, out=high)
            high += low
            total += high
            mark = get_words(out, words, self._width)
            value += mark
            if len(self._skews):
                skewed -= np.abs(high[self._skews] - mark)
            up = get_words(out, words, self._up) - mark
            down = get_words(out, words, self._down) - mark
            worst = np.minimum(np.minimum(up, down), 0)
            basis += multiply_48(worst, np.full(1, chain.basis_factor, np.int64))
        total -= value
        if len(self._skews):
            total[self._skews] = skewed
        total *= self._scale[:, None]
        total += lanes
        worst = self._find_worst(total, bound, products, lanes)
        return -np.minimum(worst, basis), value

    def _find_worst(
        self,
        total: Floats,
        bound: Floats,
        products: Sequence[tuple[Floats, Words | None]],
        lanes: Words,
    ) -> Words:
        """Return the least total of each account in integers, and 0 where none is below 0."""
        # `bound` is at least the sum over expiries of |after| + |value|, and |lanes|. Each of these
        # is scaled by less than 4 and goes through less than 16 operations, each of which loses
        # 2^-53 of what is there, and through one sum more for every expiry. On the other side the
        # integers lose less than one unit for every expiry.
        expiries = len(self._chains)
        doubt = bound * (16.0 * (16 + expiries) * 2.0**-53) + (expiries + 1)
        least = total.min(axis=0)
        # An account that cannot go below 0 is left at 0, which is what an empty scenario gives.
        is_candidate = total <= np.minimum(least + 2 * doubt, doubt)
        scenarios, accounts = np.nonzero(is_candidate)
        exact = lanes[scenarios, accounts]
        weights = self._weights[scenarios]
        is_skew = self._is_skew[scenarios]
        for chain, (out, words) in zip(self._chains, products, strict=True):
            source = out if words is None else words
            after = source[scenarios, accounts].astype(np.int64)
            mark = source[self._width, accounts].astype(np.int64)
            exact += compute_terms(after, mark, chain, weights, is_skew)
        worst = np.zeros(total.shape[1], np.int64)
        np.minimum.at(worst, accounts, exact)
        return worst


def get_words(out: Floats, words: Words | None, row: int) -> Words:
    """Return a row of a product as words."""
    chosen: Words = out[row].astype(np.int64) if words is None else words[row]
    return chosen


def compute_terms(
    after: Words, value: Words, chain: Chain, weights: Words, is_skew: Flags
) -> Words:
    """Return floor((after * discount - value * 2^48) * weight / 2^96), as
    `margin.compute_term` does.

    With after * discount = high * 2^48 + low this is floor((h * weight + l) / 2^48), where
    h = high - value and l = floor(low * weight / 2^48).
    """
    discounts = np.where(after >= 0, chain.long_discount, chain.short_discount)
    high = multiply_48(after, discounts)
    low = after * discounts & ONE - 1
    terms = shift_48(high - value, weights, multiply_48(low, weights))
    terms[is_skew] = -np.abs(terms[is_skew])
    return terms


def compute_valuation(state: State, sheet: Sheet) -> Valuation:
    """Return the margin of every account of a sheet at the marks that the state has now."""
    return Revaluation(state, sheet).run()
