"""The margin engine against Derive's published PMRM_2 cases, and what it costs in the EVM.

`python -m benchmarks.margin` prints both.

A case becomes a state: an underlying with the case's grid and factors, a leaf for each of its
expiries, a call and a put for each strike, and an account. Marks, risk vectors, discounts, losses
and requirements then are the protocol's own functions'. What the protocol does not have is added
outside, in fractions, and stands in `Extras`: several collaterals, oracle confidence, and a quote
currency that loses its peg.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from eth_abi import decode, encode

from deltaroll.presets import (
    ABSOLUTE,
    DOWN,
    LINEAR,
    NONE,
    PMRM_2,
    UP,
    make_params,
    to_q48,
)
from deltaroll.protocol.books import Book, compute_books
from deltaroll.protocol.constants import MAX_SCENARIOS, PPM, SETTLEMENT_WINDOW, TWAP_DAYS
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.fixed import compute_sqrt, multiply_down
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import encode_account, encode_market
from deltaroll.protocol.listing import create_series
from deltaroll.protocol.margin import Margin, compute_requirement
from deltaroll.protocol.mark import process_mark
from deltaroll.protocol.risk import (
    Quote,
    compute_board,
    compute_discounts,
    compute_log_moneyness,
    compute_pair_risk,
    compute_perpetual_risk,
    compute_years,
)
from deltaroll.protocol.scenarios import compute_loss, compute_scenarios
from deltaroll.protocol.state import State, get_lanes, reset_meter, set_market
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    Expiry,
    Grid,
    Mark,
    MarketId,
    Position,
    RiskModel,
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
)
from tools.compile import Artifact, compile_contracts

CASES = Path(__file__).resolve().parents[2] / "shared" / "vectors" / "pmrm2" / "cases"
"""Published cases, unchanged; the folder may be absent."""
LOTS = 10**12
"""Lots in one unit of the underlying."""
UNITS = 10**9
"""Price units per lot in one dollar; so money is counted in dollars / (LOTS * UNITS)."""
TOLERANCE = Fraction(4, 10**9)
"""Of gross notional."""
NOW = Timestamp(1_700_000_000)
GRID, UNDERLYING, PERPETUAL = MarketId(1), MarketId(2), MarketId(3)
EXPIRIES, OPTIONS = 100, 1_000
"""First ids of expiry leaves and of options."""
VOL_SHOCKS = {"Up": UP, "None": NONE, "Down": DOWN, "LINEAR": LINEAR, "ABS": ABSOLUTE}

CALLER = "0x" + "11" * 20
GAS = 1 << 30

Json = dict[str, Any]


class UnsupportedError(Exception):
    """A case that the protocol has no form for; says why."""


@dataclass(frozen=True, slots=True)
class Extras:
    """Terms of PMRM_2 that the protocol does not have, dollars and fractions."""

    collateral: Fraction
    """Value of all collateral but cash."""
    haircuts: tuple[Fraction, Fraction]
    """Contingencies on collateral, maintenance and what initial margin adds; not above 0."""
    oracle: Fraction
    """Contingency for low oracle confidence, initial margin only; not above 0."""
    peg: Fraction
    """Added to the initial loss factor."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the protocol makes of a case, dollars."""

    scenarios: tuple[Fraction, ...]
    """Profit and loss, in the case's order."""
    basis: Fraction
    maintenance: Fraction
    """Balance over maintenance margin."""
    initial: Fraction


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a case is off, in parts of what is allowed: up to 1 matches."""

    name: str
    scenarios: tuple[Fraction, ...] = ()
    basis: Fraction = Fraction(0)
    maintenance: Fraction = Fraction(0)
    initial: Fraction = Fraction(0)
    reason: str = ""
    """Why there is no figure, if so."""

    @property
    def has_scenarios(self) -> bool:
        """Whether every scenario's profit and loss matches."""
        return not self.reason and max(self.scenarios, default=Fraction(0)) <= 1

    @property
    def has_margins(self) -> bool:
        """Whether maintenance and initial margin match."""
        return not self.reason and max(self.maintenance, self.initial) <= 1


@dataclass(slots=True)
class Scene:
    """A case as a state."""

    state: State
    account: Account
    collateral: list[tuple[int, Quote]] = field(default_factory=list)
    """Lots and quotes of collateral that moves with the index."""


def read_case(path: Path) -> Json:
    """Return a case with its numbers exact, in whichever way they are written."""

    def convert(value: Any) -> Any:
        match value:
            case dict():
                return {name: convert(entry) for name, entry in value.items()}
            case list():
                return [convert(entry) for entry in value]
            case str():
                try:
                    return Fraction(value)
                except ValueError:
                    return value
        return value

    case: Json = convert(json.loads(path.read_text(encoding="utf-8"), parse_float=Fraction))
    return case


def to_units(value: Fraction | int) -> int:
    """Return a price in price units, rounded to nearest."""
    return round(value * UNITS)


def to_lots(value: Fraction | int) -> int:
    """Return an amount in lots, rounded to nearest."""
    return round(value * LOTS)


def to_ppm(value: Fraction) -> int:
    """Return a fraction in parts per million.

    Raises
    ------
    UnsupportedError
        When it is not a whole number of them.
    """
    ppm = round(value * PPM)
    if abs(value * PPM - ppm) > Fraction(1, 10**8):
        raise UnsupportedError(f"{float(value)} is not in parts per million")
    return ppm


def get_collateral_value(scenario: Json, collateral: Json) -> Fraction:
    """Return what a collateral is worth in the quote currency."""
    return Fraction(collateral["Amount"] * collateral["Price"]) / Fraction(scenario["StablePrice"])


def build_model(parameters: Json) -> RiskModel:
    """Return a case's risk model."""
    skew, vol, margin = parameters["SkewShock"], parameters["VolShock"], parameters["Margin"]
    basis = parameters["BasisContingency"]
    return RiskModel(
        *map(
            to_q48,
            (
                vol["VOLRANGEUP"],
                vol["VOLRANGEDOWN"],
                vol["SHORTTERMPOWER"],
                vol["LONGTERMPOWER"],
                vol["DTE_FLOOR"],
                vol["MIN_VOL_EVAL_SHOCKED"],
                skew["LINEAR_SCALE_CAP"],
                skew["LINEAR_CBASE"],
                skew["ABS_SCALE_CAP"],
                skew["ABS_CBASE"],
                skew["MIN_K_STAR"],
                skew["MIN_WIDTH_SCALE"],
                skew["VOL_PARAM_STATIC"],
                skew["VOL_PARAM_SCALE"],
                margin["BASE_STATIC_DISCOUNT"],
                margin["LONG_RATE_MULTSCALE"],
                margin["LONG_RATE_ADDSCALE"],
                margin["BASE_STATIC_DISCOUNT_NEG"],
                margin["SHORT_RATE_MULTSCALE"],
                margin["SHORT_RATE_ADDSCALE"],
                basis["BASIS_CONT_ADD_FACTOR"],
                basis["BASIS_CONT_MULT_FACTOR"],
            ),
        )
    )


def build_grid(parameters: Json) -> Grid:
    """Return a case's grid. Basis scenarios that it does not have are added with weight 0."""
    scenarios = [
        Scenario(
            to_ppm(entry["SpotShock"] - 1),
            VOL_SHOCKS[entry["VolShockDirection"]],
            to_q48(entry["DampeningFactor"]),
        )
        for entry in parameters["Scenarios"]
    ]
    places = []
    for name in ("SCENARIO_SPOT_UP", "SCENARIO_SPOT_DOWN"):
        shock = to_ppm(parameters["BasisContingency"][name] - 1)
        shocks = [(scenario.spot_shock, scenario.vol_shock) for scenario in scenarios]
        if (shock, NONE) not in shocks:
            scenarios.append(Scenario(shock, NONE, 0))
            shocks.append((shock, NONE))
        places.append(shocks.index((shock, NONE)))
    if len(scenarios) > MAX_SCENARIOS:
        raise UnsupportedError(f"{len(scenarios)} scenarios")
    return Grid(tuple(scenarios), places[0], places[1], build_model(parameters))


def build_underlying(scenario: Json, parameters: Json) -> Underlying:
    """Return an underlying with a case's index, factors and contingencies."""
    margin, other = parameters["Margin"], parameters["OtherContingency"]
    params = replace(
        make_params(MarketId(0), GRID, 1),
        maintenance_factor=to_ppm(margin["MM_LOSS_FACTOR"]),
        initial_factor=to_ppm(margin["IM_LOSS_FACTOR"]),
        perp_maintenance=to_ppm(other["MM_PERP_PERCENT"]),
        perp_initial=to_ppm(other["IM_PERP_PERCENT"]),
        option_maintenance=to_ppm(other["MM_OPTION_PERCENT"]),
        option_initial=to_ppm(other["IM_OPTION_PERCENT"]),
    )
    return Underlying(
        params=params,
        index=to_units(scenario["SpotPrice"]),
        observed_at=NOW,
        pending_index=0,
        halted_until=Timestamp(0),
        variance=0,
        multiplier=PPM,
        window_sum=0,
        window_seconds=0,
        day=0,
        twaps=(0,) * 4,
    )


def build_series(
    kind: SeriesKind, expiry: MarketId, strike: int, index: int, quote: Quote
) -> Series:
    """Return a freshly marked series."""
    return Series(
        kind=kind,
        status=SeriesStatus.ACTIVE,
        underlying=UNDERLYING,
        expiry=expiry,
        strike=strike,
        mark=quote.mark,
        mark_index=index,
        marked_at=NOW,
        carry_long=0,
        carry_short=0,
        accrued_at=NOW,
        funding_remainder=0,
        open_interest=0,
        risk=quote.risk,
    )


def build_options(state: State, scenario: Json, grid: Grid, index: int) -> Iterator[Position]:
    """Add the leaves of a case's expiries and options to a state; yield the account's positions.

    A case names each option's volatility, so that stands in for the surface. The expiry leaf's time
    is later than it should be where the case's has passed: the account would not be marked any
    more.
    """
    feeds = {feed["FeedExpiry"]: feed for feed in scenario["OptionFeeds"]}
    amounts: dict[tuple[int, int], dict[SeriesKind, Fraction]] = {}
    vols: dict[tuple[int, int, SeriesKind], Fraction] = {}
    for option in scenario["Options"]:
        kind = SeriesKind.CALL if option["IsCall"] else SeriesKind.PUT
        time, strike = option["Expiry"], to_units(option["Strike"])
        if vols.setdefault((time, strike, kind), option["MarkVol"]) != option["MarkVol"]:
            raise UnsupportedError("one option at two volatilities")
        of_strike = amounts.setdefault((time, strike), {})
        of_strike[kind] = of_strike.get(kind, Fraction(0)) + option["Amount"]
    expiries: dict[int, MarketId] = {}
    for place, key in enumerate(sorted(amounts)):
        time, strike = key
        feed = feeds[time]
        remaining = max(0, time)
        forward = to_units(feed["Forward"])
        fixed = forward * max(0, SETTLEMENT_WINDOW - remaining) // SETTLEMENT_WINDOW
        rate = to_q48(feed["Rate"])
        if time not in expiries:
            expiries[time] = MarketId(EXPIRIES + len(expiries))
            leaf = Expiry(
                UNDERLYING,
                Timestamp(NOW + max(1, remaining)),
                0,
                rate,
                *(0,) * 5,
                NOW,
                0,
                *compute_discounts(remaining, rate, grid.model),
                NOW,
            )
            set_market(state, expiries[time], leaf)
        board = compute_board(fixed, forward - fixed, remaining, rate, grid.model)
        root = compute_sqrt(compute_years(remaining) << 48)
        log_moneyness = compute_log_moneyness(board, strike)
        for kind, amount in sorted(amounts[key].items()):
            deviation = multiply_down(to_q48(vols[time, strike, kind]), root)
            quotes = compute_pair_risk(board, grid.scenarios, strike, log_moneyness, deviation)
            quote = quotes[kind - SeriesKind.CALL]
            series = MarketId(OPTIONS + 2 * place + (kind - SeriesKind.CALL))
            set_market(state, series, build_series(kind, expiries[time], strike, index, quote))
            if size := to_lots(amount):
                yield Position(series, size, 0)


def build_scene(case: Json) -> Scene:
    """Return a case as a state with one account.

    Raises
    ------
    UnsupportedError
        When the protocol has no form for it.
    """
    scenario, parameters = case["Scenario"], case["Parameters"]
    state = State()
    grid = build_grid(parameters)
    underlying = build_underlying(scenario, parameters)
    set_market(state, GRID, grid)
    set_market(state, UNDERLYING, underlying)
    # Profit and loss of perpetuals is part of the cash: they are opened at the mark.
    cash = scenario["Cash"] + scenario["UnrealisedPerpPNL"] + scenario["UnrealisedFunding"]
    owned = round(cash * LOTS * UNITS)
    positions = []
    if size := to_lots(scenario["NumPerps"]):
        mark = to_units(scenario["PerpPrice"])
        quote = Quote(mark, compute_perpetual_risk(mark, grid))
        series = build_series(SeriesKind.PERPETUAL, MarketId(0), 0, underlying.index, quote)
        set_market(state, PERPETUAL, series)
        positions.append(Position(PERPETUAL, size, 0))
        owned -= size * mark
    positions.extend(build_options(state, scenario, grid, underlying.index))
    scene = Scene(
        state,
        Account(
            owner=ZERO_ADDRESS,
            trading_key=ZERO_ADDRESS,
            key_expiry=Timestamp(0),
            nonce=0,
            cash=owned,
            epoch=0,
            distressed_at=Timestamp(0),
            positions=tuple(positions),
        ),
    )
    for collateral in scenario["Collaterals"]:
        if collateral["IsRiskCancelling"]:
            mark = to_units(collateral["Price"] / Fraction(scenario["StablePrice"]))
            quote = Quote(mark, compute_perpetual_risk(mark, grid))
            scene.collateral.append((to_lots(collateral["Amount"]), quote))
    return scene


def compute_extras(scenario: Json, parameters: Json) -> Extras:
    """Return the terms of a case that the protocol does not have."""
    other = parameters["OtherContingency"]
    values = [
        (collateral, get_collateral_value(scenario, collateral))
        for collateral in scenario["Collaterals"]
    ]
    spot, spot_confidence = scenario["SpotPrice"], scenario["SpotConfidence"]
    weak: list[tuple[Fraction, Fraction]] = [
        (min(collateral["Confidence"], spot_confidence), value) for collateral, value in values
    ]
    perp_confidence = [scenario["PerpConfidence"]] if scenario["NumPerps"] else []
    weak.append((min(spot_confidence, *perp_confidence, 1), abs(scenario["NumPerps"]) * spot))
    for feed in scenario["OptionFeeds"]:
        confidence = min(
            spot_confidence,
            *perp_confidence,
            feed["ForwardConfidence"],
            feed["RateConfidence"],
            *(
                [feed["OptionVolConfidences"]]
                if not isinstance(feed["OptionVolConfidences"], list)
                else feed["OptionVolConfidences"]
            ),
        )
        lots = sum(
            abs(option["Amount"])
            for option in scenario["Options"]
            if option["Expiry"] == feed["FeedExpiry"]
        )
        weak.append((confidence, lots * spot))
    threshold, margin = other["CONF_THRESHOLD"], other["CONF_MARGIN"]
    return Extras(
        collateral=sum((value for _, value in values), Fraction(0)),
        haircuts=(
            -sum((value * entry["MMHaircut"] for entry, value in values), Fraction(0)),
            -sum((value * entry["IMHaircut"] for entry, value in values), Fraction(0)),
        ),
        oracle=-sum(
            (
                (1 - confidence) * margin * notional
                for confidence, notional in weak
                if confidence < threshold
            ),
            Fraction(0),
        ),
        peg=max(
            Fraction(0),
            (other["PEG_LOSS_THRESHOLD"] - scenario["StablePrice"]) * other["PEG_LOSS_FACTOR"],
        ),
    )


def compute_case(case: Json) -> Outcome:
    """Return what the protocol makes of a case.

    Raises
    ------
    UnsupportedError
        When it has no form for it.
    """
    scene = build_scene(case)
    extras = compute_extras(case["Scenario"], case["Parameters"])
    equity, books = compute_books(scene.state, scene.account, NOW)
    underlying = scene.state.markets[UNDERLYING]
    assert isinstance(underlying, Underlying)
    book = books[0] if books else Book(UNDERLYING, underlying)
    for place, (lots, quote) in enumerate(scene.collateral):
        series = build_series(SeriesKind.PERPETUAL, MarketId(0), 0, underlying.index, quote)
        # Moves like a perpetual, but no contingency on perpetuals counts it.
        book.lanes += lots * get_lanes(scene.state, MarketId(OPTIONS - 1 - place), series)
    loss = compute_loss(book)
    maintenance, initial = compute_requirement(book, loss)
    scenarios, basis = compute_scenarios(book)
    dollar = LOTS * UNITS
    balance = Fraction(equity, dollar) + extras.collateral
    count = len(case["Parameters"]["Scenarios"])
    return Outcome(
        scenarios=tuple(Fraction(value, dollar) for value in scenarios[:count]),
        basis=Fraction(basis, dollar),
        maintenance=balance - Fraction(maintenance, dollar) + extras.haircuts[0],
        initial=balance
        - Fraction(initial, dollar)
        - extras.peg * Fraction(loss, dollar)
        + sum(extras.haircuts)
        + extras.oracle,
    )


def compute_gross(scenario: Json) -> Fraction:
    """Return the notional that a case's tolerance is a part of."""
    forwards = {feed["FeedExpiry"]: feed["Forward"] for feed in scenario["OptionFeeds"]}
    gross = sum(
        (abs(option["Amount"]) * forwards[option["Expiry"]] for option in scenario["Options"]),
        Fraction(0),
    )
    if gross == 0:
        gross = abs(scenario["NumPerps"]) * Fraction(scenario["PerpPrice"]) + sum(
            (get_collateral_value(scenario, entry) for entry in scenario["Collaterals"]),
            Fraction(0),
        )
    return Fraction(gross)


def compare_case(path: Path) -> Comparison:
    """Run one case and compare it with what is published."""
    name = path.stem
    case = read_case(path)
    try:
        outcome = compute_case(case)
    except UnsupportedError as problem:
        return Comparison(name, reason=str(problem))
    result = case["Result"]
    published = [
        row[-1] for family in ("reg_losses", "tail_losses", "skew_losses") for row in result[family]
    ]
    if len(published) != len(outcome.scenarios):
        return Comparison(name, reason=f"{len(published)} scenarios published")
    allowed = compute_gross(case["Scenario"]) * TOLERANCE + Fraction(1, UNITS)
    return Comparison(
        name=name,
        scenarios=tuple(
            abs(ours - theirs) / allowed
            for ours, theirs in zip(outcome.scenarios, published, strict=True)
        ),
        basis=abs(outcome.basis - result["ForwardContingency"]) / allowed,
        maintenance=abs(outcome.maintenance - result["MM"]) / allowed,
        initial=abs(outcome.initial - result["IM"]) / allowed,
    )


def compare_cases() -> list[Comparison]:
    """Run every case there is, in the order of their numbers."""
    paths = sorted(CASES.glob("*.json"), key=lambda path: int(path.stem.split("_")[1]))
    return [compare_case(path) for path in paths]


def margin_cases_matched() -> float:
    """Return the part of the cases in which every scenario, maintenance and initial margin match;
    0 when there are no cases.
    """
    comparisons = compare_cases()
    matched = sum(item.has_scenarios and item.has_margins for item in comparisons)
    return matched / len(comparisons) if comparisons else 0.0


class MarginMachine:
    """`OptionPricer` and `MarginHarness` in one EVM. Without pyrevm there is none: ImportError."""

    def __init__(self, evm: Any = None, artifacts: Mapping[str, Artifact] | None = None) -> None:
        # Only some interpreters and machines have a wheel.
        from pyrevm import EVM

        artifacts = compile_contracts() if artifacts is None else artifacts
        self._evm = EVM() if evm is None else evm
        self._harness = artifacts["MarginHarness"]
        self.pricer: str = self._evm.deploy(CALLER, artifacts["OptionPricer"].bytecode)
        arguments = encode(["address"], [self.pricer])
        self._address: str = self._evm.deploy(CALLER, self._harness.bytecode + arguments)

    def price(self, words: Sequence[int]) -> list[int]:
        """Send a request to the pricer; words are signed or unsigned."""
        request = b"".join((word % (1 << 256)).to_bytes(32, "big") for word in words)
        response = self._evm.message_call(CALLER, self.pricer, calldata=request, gas=GAS)
        return [int.from_bytes(response[at : at + 32], "big") for at in range(0, len(response), 32)]

    def mark(self, state: State, mark: Mark) -> tuple[Fault, list[bytes], int, int]:
        """Return the fault, the leaves afterwards by id, execution gas and the weight charged."""
        markets = to_markets(state, range(mark.market, mark.market + mark.count + 1))
        fault, leaves, gas, weight = self._call("mark", markets, mark.market, mark.count)
        known = zip(markets[0], leaves, strict=True)
        return Fault(fault), [leaf for id_, leaf in known if id_ in state.markets], gas, weight

    def margin(self, state: State, account: Account) -> tuple[Fault, Margin, int, int]:
        """Return fault and margin, the execution gas of a second check, and the weight charged."""
        fault, margin, gas, weight = self._call(
            "margin", to_markets(state), encode_account(account, bytes(32))
        )
        return Fault(fault), Margin(*margin), gas, weight

    def scenarios(self, state: State, account: Account) -> list[tuple[list[int], int]]:
        """Return what `compute_scenarios` does, for every book of an account."""
        totals, bases = self._call(
            "scenarios", to_markets(state), encode_account(account, bytes(32))
        )
        return [(list(total), basis) for total, basis in zip(totals, bases, strict=True)]

    def validate(self, state: State, before: Account, after: Account) -> tuple[Fault, Fault]:
        """Return what `validate_margin` and `validate_initial_margin` fault with."""
        encodings = [encode_account(account, bytes(32)) for account in (before, after)]
        first, second = self._call("validate", to_markets(state), *encodings)
        return Fault(first), Fault(second)

    def _call(self, name: str, *arguments: object) -> Any:
        entry = next(entry for entry in self._harness.abi if entry.get("name") == name)
        inputs, outputs = (list(map(to_type, entry[key])) for key in ("inputs", "outputs"))
        selector = keccak(f"{name}({','.join(inputs)})".encode())[:4]
        data = selector + encode(inputs, arguments)
        return decode(
            outputs, self._evm.message_call(CALLER, self._address, calldata=data, gas=GAS)
        )


def to_type(parameter: Json) -> str:
    """Return the ABI type of a parameter, tuples spelt out."""
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(map(to_type, parameter["components"])) + ")" + kind[len("tuple") :]


def to_markets(state: State, others: Iterable[int] = ()) -> tuple[list[MarketId], list[bytes], int]:
    """Return a state's market leaves, and ids without one, as the harness takes them."""
    ids = sorted({*state.markets, *map(MarketId, others)})
    leaves = [
        encode_market(state.markets[market]) if market in state.markets else b"" for market in ids
    ]
    return ids, leaves, state.globals.clock


def build_markets(grid: Grid, expiries: int, strikes: int) -> State:
    """Return a state with a perpetual and options around an index of 60,000 dollars, none of them
    marked: expiries from 100 on, each before its calls and puts.
    """
    state = State()
    state.globals = replace(state.globals, clock=Timestamp(NOW + 10))
    index = 60_000 * 10**3
    params = make_params(MarketId(0), GRID, 1)
    underlying = Underlying(
        params=params,
        index=index,
        observed_at=NOW,
        pending_index=0,
        halted_until=Timestamp(0),
        variance=0,
        multiplier=PPM,
        window_sum=0,
        window_seconds=0,
        day=compute_day(NOW),
        twaps=(0,) * TWAP_DAYS,
    )
    set_market(state, GRID, grid)
    set_market(state, UNDERLYING, underlying)
    set_market(
        state,
        PERPETUAL,
        create_series(SeriesKind.PERPETUAL, SeriesStatus.ACTIVE, UNDERLYING, MarketId(0), 0),
    )
    for place, days in enumerate((1, 7, 35, 200, 2, 14, 90, 400)[:expiries]):
        leaf = market = MarketId(EXPIRIES + place * (1 + 2 * strikes))
        expiry = Expiry(
            underlying=UNDERLYING,
            time=compute_boundary(compute_day(NOW) + days),
            ratio=to_q48("1.01"),
            rate=to_q48("0.05"),
            a=to_q48("0.01"),
            b=to_q48("0.1"),
            rho=to_q48("-0.3"),
            m=to_q48("0.01"),
            sigma=to_q48("0.1"),
            surfaced_at=Timestamp(NOW - 5),
            settlement=0,
            long_discount=0,
            short_discount=0,
            basis_factor=0,
            priced_at=Timestamp(0),
        )
        set_market(state, market, expiry)
        for number in range(strikes):
            strike = index * (80 + 40 * number // strikes) // 100
            for kind in (SeriesKind.CALL, SeriesKind.PUT):
                market = MarketId(market + 1)
                series = create_series(kind, SeriesStatus.ACTIVE, UNDERLYING, leaf, strike)
                set_market(state, market, series)
    return state


def mark_all(state: State) -> None:
    """Mark every series of a state."""
    series = [market for market, leaf in state.markets.items() if isinstance(leaf, Series)]
    for market in sorted(series):
        reset_meter(state)
        process_mark(state, Mark(market, 1))
    reset_meter(state)


def build_holder(state: State, per_expiry: int) -> Account:
    """Return an account with so many neighbouring options of every expiry, long and short."""
    positions: list[Position] = []
    for market, leaf in sorted(state.markets.items()):
        if isinstance(leaf, Expiry):
            positions.extend(
                Position(MarketId(market + place), (-3, 2, 1, -1)[place % 4] * 10**6, 0)
                for place in range(1, per_expiry + 1)
            )
    return Account(
        owner=ZERO_ADDRESS,
        trading_key=ZERO_ADDRESS,
        key_expiry=Timestamp(0),
        nonce=0,
        cash=10**15,
        epoch=0,
        distressed_at=Timestamp(0),
        positions=tuple(positions),
    )


def measure_gas() -> dict[str, int]:
    """Return execution gas: marking a strike's call and put under 33 scenarios, and a margin check
    of 16 and of 64 options, their leaves open already: of one expiry, as in the tests whose gas
    Derive publishes, and of four.
    """
    machine = MarginMachine()
    state = build_markets(PMRM_2, 4, 8)
    fault, _, pair, _ = machine.mark(state, Mark(MarketId(EXPIRIES + 1), 2))
    if fault != Fault.NONE:
        raise RuntimeError(f"mark: {fault.name}")
    figures = {"mark_strike_pair": pair}
    for expiries, suffix in ((1, ""), (4, "_4_expiries")):
        state = build_markets(PMRM_2, expiries, 32 // expiries)
        mark_all(state)
        for count in (16, 64):
            account = build_holder(state, count // expiries)
            fault, _, gas, _ = machine.margin(state, account)
            if fault != Fault.NONE:
                raise RuntimeError(f"margin: {fault.name}")
            figures[f"margin_{count}_positions{suffix}"] = gas
    return figures


def show_cases() -> None:
    """Print a line for each case: the largest deviation of each kind, in parts of the tolerance."""
    comparisons = compare_cases()
    for item in comparisons:
        if item.reason:
            print(f"{item.name}: {item.reason}")
            continue
        print(
            f"{item.name}: scenarios {float(max(item.scenarios)):.2e},"
            f" basis {float(item.basis):.2e}, maintenance {float(item.maintenance):.2e},"
            f" initial {float(item.initial):.2e}"
        )
    scenarios = sum(item.has_scenarios for item in comparisons)
    margins = sum(item.has_margins for item in comparisons)
    print(f"{len(comparisons)} cases: scenarios {scenarios}, margins {margins}")


if __name__ == "__main__":
    show_cases()
    for name, gas in measure_gas().items():
        print(f"{name}: {gas:,} gas")
