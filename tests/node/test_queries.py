"""Questions change nothing and are answered by the protocol's own functions."""

import json
from dataclasses import replace
from typing import Any

import pytest

from deltaroll.node.requests import answer_line
from deltaroll.protocol.constants import AUCTION_END, AUCTION_START, INSURANCE_ACCOUNT, ONE, PPM
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.liquidation import compute_largest_share, compute_rate
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.types import Account, AccountId, Liquidate, Position
from tests.node.distress import (
    ADA,
    ADA_TOO,
    BLAISE,
    CALL,
    CARL,
    DANIEL,
    EXPIRY,
    LOTS,
    give_insurance,
    open_distressed,
    open_insolvent,
    open_venue,
    pass_time,
    sign_bid,
)
from tests.node.support import (
    CASH,
    COMMITTEE,
    GRID,
    INDEX,
    MEMBERS,
    OWNERS,
    PERP,
    PRICE,
    TICK,
    Venue,
    compute_fingerprint,
    make_order,
    measure,
)
from tests.node.test_requests import write_surface


@pytest.fixture(scope="module")
def calm() -> Venue:
    """For questions only."""
    return open_venue()


@pytest.fixture(scope="module")
def distressed() -> Venue:
    """Likewise."""
    return open_distressed()


def ask(venue: Venue, kind: str, **fields: Any) -> dict[str, Any]:
    answer = json.loads(answer_line(venue.sequencer, json.dumps({"type": kind, **fields})))
    assert isinstance(answer, dict)
    return answer


QUESTIONS: list[tuple[str, dict[str, int]]] = [
    ("margin", {"account": ADA}),
    ("distressed", {}),
    ("account", {"account": ADA}),
    ("market", {"market": PERP}),
    ("preview", {"account": CARL, "target": ADA, "share": 1_000}),
    ("preview", {"account": ADA_TOO, "target": ADA, "share": 1_000}),
]


@pytest.mark.parametrize(("kind", "fields"), QUESTIONS)
def test_answer_query__any__changes_nothing(distressed, kind, fields):
    state = distressed.state
    meter = (state.meter.gas, state.meter.witness, set(state.meter.accounts))
    before = (compute_fingerprint(distressed.sequencer), distressed.store.next_sequence)
    first = ask(distressed, kind, **fields)
    assert ask(distressed, kind, **fields) == first
    assert (compute_fingerprint(distressed.sequencer), distressed.store.next_sequence) == before
    assert (state.meter.gas, state.meter.witness, set(state.meter.accounts)) == meter


@pytest.mark.parametrize(
    ("kind", "fields", "error"),
    [
        ("margin", {"account": 77}, "account: no account 77"),
        ("margin", {"account": 2**24}, "account: 16777216 is outside 0..16777215"),
        ("margin", {"account": -1}, "`int` >= 0 - at `$.account`"),
        ("margin", {}, "missing required field `account`"),
        ("margin", {"account": 1, "market": 2}, "unknown field `market`"),
        ("distressed", {"account": 1}, "unknown field `account`"),
        ("account", {"account": INSURANCE_ACCOUNT}, "account: no account 0"),
        ("account", {"account": "1"}, "Expected `int`, got `str` - at `$.account`"),
        ("market", {"market": 999}, "market: no market 999"),
        ("market", {"market": 2**16}, "market: 65536 is outside 0..65535"),
        ("preview", {"account": 3, "target": 77, "share": 1}, "target: no account 77"),
        ("preview", {"account": 3, "target": 1, "share": 0}, "share: 0 is outside 1.."),
        ("preview", {"account": 3, "target": 1, "share": 2**20}, "share: 1048576 is outside"),
        (
            "preview",
            {"account": 3, "target": 1, "share": 1, "reward": 2**20},
            "reward: 1048576 is outside",
        ),
        ("preview", {"account": 3, "target": 1, "share": 1}, "liquidate: refused: SOLVENT"),
    ],
)
def test_answer_query__bad_question__names_field_value_and_rule(calm, kind, fields, error):
    answer = ask(calm, kind, **fields)
    assert set(answer) <= {"error", "fault"}
    assert error in answer["error"]


def test_margin__account_with_a_position__is_the_protocols(calm):
    margin = measure(
        calm.state,
        None,
        lambda: compute_margin(calm.state, calm.state.accounts[ADA], calm.sequencer.clock),
    )
    answer = ask(calm, "margin", account=ADA)
    assert (answer["equity"], answer["maintenance"], answer["initial"]) == (
        margin.equity,
        margin.maintenance,
        margin.initial,
    )
    assert 0 < answer["maintenance"] < answer["initial"] <= answer["equity"]
    assert answer["clock"] == calm.sequencer.clock


def test_margin__perpetuals__terms_add_up_and_the_worst_scenario_is_named(calm):
    answer = ask(calm, "margin", account=ADA)
    (book,) = answer["books"]
    assert (book["underlying"], book["perpetual_lots"], book["naked_lots"]) == (INDEX, LOTS, 0)
    # A long perpetual loses most when the price falls by 18 %: -66 % counts 0.21, less.
    binding = book["binding"]
    assert (binding["spot_shock"], binding["weight"]) == (-180_000, ONE)
    assert book["scenarios"][binding["number"]] == min(book["scenarios"]) == -book["loss"]
    assert book["loss"] == LOTS * PRICE * 18 // 100
    assert len(book["scenarios"]) == len(calm.state.markets[GRID].scenarios)
    check_terms(answer)


def test_margin__naked_option__is_explained_by_every_term():
    venue = open_venue()
    answer_line(venue.sequencer, json.dumps(write_surface()))
    ask(venue, "mark", market=CALL, count=2)
    price = venue.state.markets[CALL].mark // TICK * TICK
    venue.submit(CARL, 0, make_order(price, 3, market=CALL))
    venue.submit(DANIEL, 0, make_order(price, 3, market=CALL, is_buy=False))
    answer = ask(venue, "margin", account=DANIEL)
    (book,) = answer["books"]
    assert (book["perpetual_lots"], book["naked_lots"]) == (0, 3)
    assert book["binding"]["spot_shock"] > 0
    assert book["basis"] < 0
    assert book["of_naked_options"]["initial"] > book["of_naked_options"]["maintenance"] > 0
    assert book["of_perpetuals"] == {"maintenance": 0, "initial": 0}
    check_terms(answer)
    long = ask(venue, "margin", account=CARL)
    assert long["books"][0]["naked_lots"] == 0
    check_terms(long)


def check_terms(answer: dict[str, Any]) -> None:
    """Every unit of a requirement has its reason."""
    for kind in ("maintenance", "initial"):
        terms = [
            book[name][kind]
            for book in answer["books"]
            for name in ("of_loss", "of_perpetuals", "of_naked_options")
        ]
        assert sum(terms) == answer[kind]


def test_margin__no_positions__is_cash(calm):
    answer = ask(calm, "margin", account=CARL)
    assert (answer["equity"], answer["maintenance"], answer["initial"]) == (CASH, 0, 0)
    assert answer["books"] == []


def test_margin__no_fresh_mark__says_so():
    venue = open_venue()
    pass_time(venue, 100_000)
    answer = ask(venue, "margin", account=ADA)
    assert answer == {"error": "account: no margin of 1 now: HALTED", "fault": "HALTED"}


def test_distressed__nobody__is_empty(calm):
    answer = ask(calm, "distressed")
    assert answer == {"clock": calm.sequencer.clock, "insurance": 0, "accounts": []}


@pytest.mark.parametrize("seconds", [0, 1, 60, 3_000])
def test_distressed__auction_runs__has_the_reward_and_share_of_now(seconds):
    venue = open_distressed()
    began = venue.sequencer.clock
    pass_time(venue, seconds)
    (entry,) = ask(venue, "distressed")["accounts"]
    margin = measure(
        venue.state,
        None,
        lambda: compute_margin(venue.state, venue.state.accounts[ADA], venue.sequencer.clock),
    )
    rate = compute_rate(seconds)
    assert entry == {
        "account": ADA,
        "distressed_at": began,
        "positions": 1,
        "equity": margin.equity,
        "maintenance": margin.maintenance,
        "initial": margin.initial,
        "reward": rate,
        "share": compute_largest_share(margin, margin.maintenance * rate // PPM),
    }
    assert AUCTION_START <= rate < AUCTION_END
    assert 0 < entry["share"] <= PPM


@pytest.mark.parametrize("excess", [0, 1])
def test_distressed__largest_share__is_taken_and_no_more(excess):
    venue = open_distressed()
    (entry,) = ask(venue, "distressed")["accounts"]
    answer = ask(venue, "preview", account=CARL, target=ADA, share=entry["share"] + excess)
    assert answer.get("fault") == ("SHARE" if excess else None)


def test_distressed__not_begun__has_no_reward(monkeypatch):
    monkeypatch.setattr("deltaroll.node.machine.iterate_distress", lambda state: ())
    venue = open_venue()
    pass_time(venue, 12)
    venue.observe(PRICE * 83 // 100)
    (entry,) = ask(venue, "distressed")["accounts"]
    assert (entry["account"], entry["distressed_at"]) == (ADA, 0)
    assert "reward" not in entry
    assert "share" not in entry
    assert entry["equity"] < entry["maintenance"]


def test_distressed__no_fresh_mark__has_the_fault():
    venue = open_distressed()
    pass_time(venue, 100_000)
    (entry,) = ask(venue, "distressed")["accounts"]
    assert entry["fault"] == "HALTED"
    assert not {"equity", "reward", "share"} & set(entry)


def test_distressed__insolvent__may_be_taken_whole():
    (entry,) = ask(open_insolvent(), "distressed")["accounts"]
    assert entry["equity"] < 0
    assert entry["share"] == PPM


def test_distressed__debt_without_positions__is_listed():
    venue = open_venue()
    venue.state.accounts[CARL] = replace(venue.state.accounts[CARL], cash=-5)
    (entry,) = ask(venue, "distressed")["accounts"]
    assert (entry["account"], entry["positions"], entry["equity"]) == (CARL, 0, -5)


def test_distressed__fund_holds_positions__is_listed_with_its_cash():
    venue = open_distressed()
    give_insurance(venue, 777)
    account = replace(
        venue.state.accounts[CARL],
        owner=b"\0" * 20,
        cash=0,
        distressed_at=venue.sequencer.clock,
        positions=(Position(PERP, 1, 0),),
    )
    venue.state.accounts[AccountId(INSURANCE_ACCOUNT)] = account
    fund, ada = ask(venue, "distressed")["accounts"]
    mark = venue.state.markets[PERP].mark
    assert (fund["account"], fund["equity"], fund["share"]) == (0, 777 + mark, PPM)
    assert ada["account"] == ADA


def test_account__leaf__is_shown_whole(calm):
    account = calm.state.accounts[ADA]
    assert isinstance(account, Account)
    assert ask(calm, "account", account=ADA) == {
        "clock": calm.sequencer.clock,
        "account": ADA,
        "owner": "0x" + OWNERS[ADA].address.hex(),
        "trading_key": "0x" + "00" * 20,
        "key_expiry": 0,
        "nonce": 0,
        "cash": account.cash,
        "epoch": 0,
        "distressed_at": 0,
        "positions": [{"series": PERP, "size": LOTS, "snapshot": 0}],
    }


def test_account__short_position__is_negative(calm):
    (position,) = ask(calm, "account", account=BLAISE)["positions"]
    assert position["size"] == -LOTS


@pytest.mark.parametrize(
    ("market", "leaf", "name", "value"),
    [
        (PERP, "series", "open_interest", LOTS),
        (INDEX, "underlying", "index", PRICE),
        (GRID, "grid", "basis_up", None),
        (COMMITTEE, "committee", "signers", ["0x" + one.address.hex() for one in MEMBERS]),
        (EXPIRY, "expiry", "surfaced_at", 0),
    ],
)
def test_market__leaf_of_any_type__is_shown_whole(calm, market, leaf, name, value):
    answer = ask(calm, "market", market=market)
    assert (answer["market"], answer["leaf"]) == (market, leaf)
    held = calm.state.markets[market]
    assert set(answer["fields"]) == set(held.__slots__)
    assert answer["fields"][name] == (getattr(held, name) if value is None else value)


def test_market__nested_parameters__are_named(calm):
    params = ask(calm, "market", market=INDEX)["fields"]["params"]
    assert (params["committee"], params["grid"]) == (COMMITTEE, GRID)


@pytest.mark.parametrize("share", [1, 1_000, 250_000])
def test_preview__possible__is_what_then_happens(share):
    venue = open_distressed()
    pass_time(venue, 120)
    preview = ask(venue, "preview", account=CARL, target=ADA, share=share)
    before = ask(venue, "margin", account=CARL)
    bid = Liquidate(CARL, ADA, share, 0, 1)
    venue.sequencer.liquidate(bid, sign_bid(bid))
    after = ask(venue, "margin", account=CARL)
    assert {name: after[name] for name in ("equity", "maintenance", "initial")} == {
        name: preview[name] for name in ("equity", "maintenance", "initial")
    }
    assert preview["reward"] == after["equity"] - before["equity"]
    assert preview["reward"] > 0 or share == 1


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"account": ADA_TOO}, Fault.SELF_TRADE),
        ({"account": ADA}, Fault.SELF_TRADE),
        ({"share": PPM}, Fault.SHARE),
        ({"reward": AUCTION_START + 1}, Fault.REWARD),
        ({"target": BLAISE}, Fault.SOLVENT),
    ],
)
def test_preview__impossible__names_the_rule(distressed, fields, fault):
    asked = {"account": CARL, "target": ADA, "share": 1_000} | fields
    answer = ask(distressed, "preview", **asked)
    assert answer == {"error": f"liquidate: refused: {fault.name}", "fault": fault.name}
