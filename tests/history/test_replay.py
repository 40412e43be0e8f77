"""A few weeks of real history through the protocol, the books checked after every transaction."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from deltaroll.history import __main__ as command
from deltaroll.history.data import (
    SP500,
    Regime,
    cut,
    make_regimes,
    parse_rows,
    read_facts,
    read_sp500,
    thin,
)
from deltaroll.history.exchange import PERPETUAL, LedgerError
from deltaroll.history.population import CAPITAL
from deltaroll.history.replay import ENDOWMENT, Replay, make_points, replay
from deltaroll.history.report import make_plot, make_profit_table, make_table
from deltaroll.protocol.constants import INSURANCE_ACCOUNT, PPM
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.state import reset_meter, set_account, set_market
from deltaroll.protocol.types import AccountId

SHARED = Path(__file__).parents[3] / "shared" / "data"
CRASHES = (("2015-08-17", "2015-09-04"), ("2018-01-26", "2018-02-14"))


def make_regime(window: tuple[str, str] = CRASHES[1], thinness: int = 1) -> Regime:
    regime = cut("storm", SP500, read_sp500(), *window)
    return regime if thinness == 1 else thin(regime, thinness)


@pytest.mark.parametrize("window", CRASHES)
def test_replay__crash__holds_without_the_insurance_fund(window: tuple[str, str]):
    score = replay(make_regime(window), is_strict=True)
    assert score.liquidations >= 2
    assert score.trades > 100
    assert score.insurance_paid == score.socialised == 0
    assert score.insurance_lowest == score.endowment == ENDOWMENT
    assert score.refused == {}
    for kind in ("Sweep", "List", "Fund", "Liquidate", "Distress", "Surface", "Mark", "Transfer"):
        assert score.counts[kind] > 0


def test_replay__a_twelfth_of_the_margin__insurance_then_everybody_pays():
    score = replay(make_regime(thinness=12), is_strict=True)
    assert score.insurance_paid > 0
    assert score.insurance_lowest == 0
    assert score.socialised > 0
    assert score.counts["Socialise"] == score.socialisations > 0


@pytest.mark.parametrize("thinness", [1, 12])
def test_replay__profits__are_what_fees_and_insurance_leave(thinness: int):
    score = replay(make_regime(thinness=thinness))
    insurance = score.insurance_earned - score.insurance_paid
    assert sum(score.profits.values()) == -score.fees - insurance


def test_replay__twice__comes_to_the_same_root():
    regime = make_regime()
    assert replay(regime).root == replay(regime).root != bytes(32)


@pytest.mark.parametrize("thinness", [1, 8])
def test_replay__every_step__margins_in_bulk_are_the_protocols(
    thinness: int, monkeypatch: pytest.MonkeyPatch
):
    machine = Replay(make_regime(thinness=thinness))
    state = machine.exchange.state
    checked = 0

    def check() -> None:
        nonlocal checked
        for account_id, account in state.accounts.items():
            reset_meter(state)
            expected = compute_margin(state, account, state.globals.clock)
            assert machine.find_margin(account_id) == expected
            checked += 1

    monkeypatch.setattr(machine, "trade", lambda original=machine.trade: (check(), original()))
    machine.run()
    assert checked > 400


def test_check__a_unit_too_many__is_noticed():
    machine = Replay(make_regime())
    machine.check()
    state = machine.exchange.state
    account = state.accounts[AccountId(1)]
    set_account(state, AccountId(1), replace(account, cash=account.cash + 1))
    with pytest.raises(LedgerError):
        machine.check()


def test_check__a_lot_too_many__is_noticed():
    machine = Replay(make_regime())
    state = machine.exchange.state
    series = machine.exchange.get_series(PERPETUAL)
    set_market(state, PERPETUAL, replace(series, open_interest=series.open_interest + 1))
    with pytest.raises(LedgerError):
        machine.check()


def test_replay__insurance_fund__is_no_strategy():
    """Nobody trades as the fund, and its endowment is a maker's."""
    machine = Replay(make_regime())
    assert INSURANCE_ACCOUNT not in {agent.account for agent in machine.score.agents}
    assert machine.exchange.state.globals.insurance == ENDOWMENT
    machine.run()
    deposited = sum(agent.deposited for agent in machine.score.agents)
    assert machine.exchange.state.globals.deposited == deposited
    assert all(agent.capital >= CAPITAL for agent in machine.score.agents)


def test_make_points__a_day_that_falls__has_its_high_first():
    falling = next(day for day in read_sp500() if day.close < day.open)
    prices = [point.price for point in make_points(falling, falling.volatility, SP500)]
    assert prices[1] == max(prices)
    assert prices[2] == min(prices)
    assert [point.is_close for point in make_points(falling, falling.volatility, SP500)] == [
        False,
        False,
        False,
        True,
    ]


def test_facts__prices_and_volatilities__are_of_the_same_days():
    prices, volatilities = read_facts("sp500.csv"), read_facts("vix.csv")
    assert [row["date"] for row in prices] == [row["date"] for row in volatilities]
    assert len(prices) == 503
    for day in read_sp500():
        assert day.low <= min(day.open, day.close) <= max(day.open, day.close) <= day.high


def test_facts__closes__are_those_of_the_demo():
    demo = Path(command.__file__).parents[1] / "demo" / "facts" / "sp500.csv"
    closes = {row["date"]: row["close"] for row in parse_rows(demo.read_text().splitlines())}
    assert all(closes[row["date"]] == row["close"] for row in read_facts("sp500.csv"))


def test_report__two_regimes__plots_are_xml_and_tables_have_columns():
    scores = [replay(make_regime(window)) for window in CRASHES]
    for score in scores:
        root = ElementTree.fromstring(make_plot(score))
        assert root.tag.endswith("svg")
        assert len(list(root)) > 20
    assert len(make_table(scores).columns) == len(make_profit_table(scores).columns) == 3
    assert scores[0].worst.date.isoformat() == "2015-08-24"
    assert scores[0].multiplier >= PPM


def test_command__short_regimes_without_coins__prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(command, "make_regimes", lambda _: [make_regime()])
    arguments = ["--data", str(tmp_path / "none"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == 0, result.output
    assert "no BTC and no ETH" in result.output
    assert "no option chains" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "history.json",
        "storm.svg",
    ]


def test_command__books_that_do_not_add_up__fails(monkeypatch: pytest.MonkeyPatch):
    def fail(_: Regime) -> None:
        raise LedgerError("a unit is missing")

    monkeypatch.setattr(command, "make_regimes", lambda _: [make_regime()])
    monkeypatch.setattr(command, "replay", fail)
    result = CliRunner().invoke(command.main, [])
    assert result.exit_code == 1
    assert "a unit is missing" in result.output


def test_make_regimes__without_coins__are_the_index_alone(tmp_path: Path):
    assert {regime.asset.name for regime in make_regimes(tmp_path / "none")} == {"S&P 500"}


@pytest.mark.skipif(not (SHARED / "history").is_dir(), reason="needs ../shared/data/history")
@pytest.mark.parametrize("name", ["BTC", "ETH"])
def test_replay__first_fortnight_of_a_coin__halts_and_holds(name: str):
    regimes = [regime for regime in make_regimes(SHARED / "history") if regime.asset.name == name]
    score = replay(replace(regimes[0], days=regimes[0].days[:14]), is_strict=True)
    assert score.halts > 0
    assert score.multiplier > PPM
    assert score.liquidations > 0
    assert score.socialised == 0
