"""JSON lines: what is understood, what is refused with a word about why, and nothing else."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.node.admission import RejectedError
from deltaroll.node.requests import answer_line, decode_request, handle_request
from deltaroll.protocol.types import (
    AccountId,
    Expiry,
    Liquidate,
    Observation,
    Series,
    SetTradingKey,
    SlotId,
    TimeInForce,
    Timestamp,
    Transfer,
    Withdraw,
)
from tests.node.distress import (
    CALL,
    EXPIRY,
    give_insurance,
    make_surface,
    open_distressed,
    open_insolvent,
    open_venue,
    pass_time,
    sign_bid,
    sign_surface,
)
from tests.node.support import (
    CASH,
    DOMAIN,
    GENESIS,
    INDEX,
    KEYS,
    MEMBERS,
    OWNERS,
    PERP,
    PRICE,
    Recorder,
    Venue,
    compute_fingerprint,
    crash,
    make_order,
    restart,
)

ADA, BLAISE, CARL = AccountId(1), AccountId(2), AccountId(3)
SIGNED = ("rate", "a", "b", "rho", "m", "sigma")
"""Fields that may be negative."""


def to_hex(value: bytes) -> str:
    return "0x" + value.hex()


def write_order(account: AccountId, nonce: int = 1, **changes: Any) -> dict[str, Any]:
    order = make_order(nonce=nonce, **changes)
    return {
        "type": "order",
        "account": account,
        "slot": 0,
        "market": order.market,
        "is_buy": order.is_buy,
        "price": order.price,
        "size": order.size,
        "nonce": order.nonce,
        "expiry": order.expiry,
        "time_in_force": int(order.time_in_force),
        "post_only": order.post_only,
        "reduce_only": order.reduce_only,
        "signature": to_hex(OWNERS[account].sign_order(DOMAIN, account, SlotId(0), order)),
    }


def sign_action(action: Transfer | Withdraw | SetTradingKey) -> str:
    return to_hex(OWNERS[ADA].sign_action(DOMAIN, action))


def write_transfer(amount: int = 7, nonce: int = 1) -> dict[str, Any]:
    signature = sign_action(Transfer(ADA, BLAISE, amount, nonce))
    fields = {"sender": ADA, "recipient": BLAISE, "amount": amount, "nonce": nonce}
    return {"type": "transfer", **fields, "signature": signature}


def write_withdraw() -> dict[str, Any]:
    recipient = OWNERS[ADA].address
    return {
        "type": "withdraw",
        "account": ADA,
        "recipient": to_hex(recipient),
        "amount": 9,
        "nonce": 1,
        "signature": sign_action(Withdraw(ADA, recipient, 9, 1)),
    }


def write_key() -> dict[str, Any]:
    change = SetTradingKey(ADA, KEYS[ADA].address, Timestamp(GENESIS + 5), 1)
    return {
        "type": "trading_key",
        "account": ADA,
        "key": to_hex(change.key),
        "expiry": change.expiry,
        "nonce": 1,
        "signature": sign_action(change),
    }


def write_observe(time: int = GENESIS + 1) -> dict[str, Any]:
    prices = []
    for member in (0, 1):
        seen = Observation(member, PRICE, Timestamp(time))
        signature = to_hex(MEMBERS[member].sign_observation(DOMAIN, INDEX, seen))
        prices.append({"signer": member, "price": PRICE, "time": time, "signature": signature})
    return {"type": "observe", "market": INDEX, "prices": prices}


def write_surface(time: int = GENESIS, **changes: Any) -> dict[str, Any]:
    surface = replace(make_surface(time), **changes)
    return {
        "type": "surface",
        "market": surface.market,
        "ratio": surface.ratio,
        "rate": surface.rate,
        "a": surface.a,
        "b": surface.b,
        "rho": surface.rho,
        "m": surface.m,
        "sigma": surface.sigma,
        "time": time,
        "signatures": [
            {"signer": member, "signature": to_hex(sign_surface(surface, member))}
            for member in (0, 1)
        ],
    }


def write_liquidate(share: int = 1_000, nonce: int = 1, reward: int = 5) -> dict[str, Any]:
    bid = Liquidate(CARL, ADA, share, reward, nonce)
    fields = {"account": CARL, "target": ADA, "share": share, "reward": reward, "nonce": nonce}
    return {"type": "liquidate", **fields, "signature": to_hex(sign_bid(bid))}


ALL = [write_order(ADA), write_transfer(), write_withdraw(), write_key(), write_observe()]
every_kind = pytest.mark.parametrize("request_", ALL, ids=lambda one: one["type"])
MORE: list[dict[str, Any]] = [
    write_surface(),
    write_liquidate(),
    {"type": "mark", "market": PERP, "count": 1},
    {"type": "fund", "market": PERP},
    {"type": "sweep", "account": ADA},
    {"type": "distress", "account": ADA},
    {"type": "socialise", "account": ADA},
]
really_every_kind = pytest.mark.parametrize("request_", ALL + MORE, ids=lambda one: one["type"])


@pytest.fixture
def venue():
    venue = Venue().open()
    venue.sequencer.set_clock(GENESIS + 1)
    venue.sequencer.flush()
    return venue


def ask(venue: Venue, request: Any) -> dict[str, Any]:
    line = request if isinstance(request, str | bytes) else json.dumps(request)
    answer = json.loads(answer_line(venue.sequencer, line))
    assert isinstance(answer, dict)
    return answer


def test_answer_line__order__says_where_it_is_in_the_log_and_how_it_ended(venue):
    first = ask(venue, write_order(ADA, size=5))
    assert first == {"sequence": venue.store.next_sequence - 1, "status": "resting"}
    second = ask(venue, write_order(BLAISE, size=2, is_buy=False))
    assert second == {"sequence": first["sequence"] + 1, "status": "filled", "filled": 2}
    third = ask(venue, write_order(BLAISE, 2, size=9, is_buy=False, time_in_force=TimeInForce.IOC))
    assert third["status"] == "cancelled"
    assert (third["filled"], third["error"]) == (3, "NO_LIQUIDITY")


def test_answer_line__order_that_breaks_a_rule__names_it(venue):
    answer = ask(venue, write_order(ADA, price=PRICE + 1))
    assert (answer["status"], answer["error"]) == ("rejected", "TICK")


@every_kind
def test_answer_line__every_kind__is_done_and_durable(new_path, request_):
    path = new_path()
    venue = Venue(Recorder(path)).open()
    venue.sequencer.set_clock(GENESIS + 1)
    before = venue.store.next_sequence
    answer = ask(venue, request_)
    assert answer.get("error") is None
    assert answer["sequence"] == before
    fingerprint = compute_fingerprint(venue.sequencer)
    crash(venue)
    assert compute_fingerprint(restart(path).sequencer) == fingerprint


@really_every_kind
def test_decode_request__field_missing_unknown_or_of_a_wrong_type__is_refused(request_):
    needed = set(request_) - {"time_in_force", "post_only", "reduce_only", "type", "count"}
    for name in needed:
        lacking = {key: value for key, value in request_.items() if key != name}
        with pytest.raises(RejectedError, match=f"request: .*{name}"):
            decode_request(json.dumps(lacking))
        negative = None if name in SIGNED else -1
        for wrong in (None, negative, 1.5, "x", [7], {"a": 1}, True if name != "is_buy" else 3):
            with pytest.raises(RejectedError, match=r"request: "):
                decode_request(json.dumps(request_ | {name: wrong}))
    with pytest.raises(RejectedError, match="unknown field `surprise`"):
        decode_request(json.dumps(request_ | {"surprise": 1}))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "null",
        "7",
        "[]",
        "{}",
        '{"type": "order"}',
        '{"type": "gift"}',
        json.dumps(ALL[0])[:-2],
        json.dumps(ALL[0]) * 2,
        b"\xff\xfe{}",
        b'{"type": "\xc3\x28"}',
        '{"type": "transfer", "sender": ' + "9" * 5_000 + "}",
        '{"type": "transfer", "sender": 1e400}',
        "[" * 100_000,
        '{"type":' * 100_000,
        '{"type": "order", "x": ' + "[" * 100_000,
        '{"type": "\ud800"}',
    ],
    ids=lambda line: repr(line)[:30],
)
def test_answer_line__malformed__is_an_error_and_changes_nothing(venue, line):
    before = (compute_fingerprint(venue.sequencer), venue.store.next_sequence)
    answer = ask(venue, line)
    assert set(answer) == {"error"}
    assert answer["error"].startswith("request: ")
    assert (compute_fingerprint(venue.sequencer), venue.store.next_sequence) == before


@really_every_kind
@pytest.mark.parametrize("value", [0, 2**31, 2**64, 2**100, 10**4_000])
def test_answer_line__number_too_large__is_an_error_and_changes_nothing(venue, request_, value):
    before = (compute_fingerprint(venue.sequencer), venue.store.next_sequence)
    for name, old in request_.items():
        if type(old) is int and not (name in ("slot", "time_in_force") and value == 0):
            answer = ask(venue, request_ | {name: value})
            assert answer["error"]
    if request_["type"] == "observe":
        for name in ("signer", "price", "time"):
            prices = [request_["prices"][0], request_["prices"][1] | {name: value}]
            assert ask(venue, request_ | {"prices": prices})["error"]
    assert compute_fingerprint(venue.sequencer) == before[0]


@pytest.mark.parametrize(
    "signature", ["", "0x", "0x1", "12", "0x" + "0" * 126, "0x" + "g" * 128, "0X" + "0" * 128]
)
@pytest.mark.parametrize("request_", ALL + MORE[:2], ids=lambda one: one["type"])
def test_answer_line__bad_hex_or_length__is_an_error(venue, request_, signature):
    if request_["type"] == "observe":
        broken = request_ | {"prices": [request_["prices"][0] | {"signature": signature}]}
    elif request_["type"] == "surface":
        broken = request_ | {"signatures": [{"signer": 0, "signature": signature}]}
    else:
        broken = request_ | {"signature": signature}
    assert ask(venue, broken)["error"]


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (write_transfer(CASH + 1), "MARGIN"),
        (write_transfer() | {"amount": 8}, "signature: not by the owner of account 1"),
        (write_observe(GENESIS + 2), "time: 1700000002 is after the clock 1700000001"),
        (write_order(ADA) | {"account": 77}, "account: no account 77"),
        (write_order(ADA) | {"market": PERP + 1}, "signature: by 0x"),
    ],
)
def test_answer_line__refused__says_why(venue, request_, complaint):
    assert complaint in ask(venue, request_)["error"]


def test_handle_request__order__has_every_field_that_was_signed(venue):
    """Each field of the line reaches the order: a changed one spoils the signature."""
    request = write_order(ADA)
    for name in ("post_only", "reduce_only"):
        with pytest.raises(RejectedError, match="signature"):
            handle_request(venue.sequencer, decode_request(json.dumps(request | {name: True})))
    for name in ("price", "size", "nonce", "expiry", "slot"):
        changed = json.dumps(request | {name: request[name] + 1})
        with pytest.raises(RejectedError, match="signature"):
            handle_request(venue.sequencer, decode_request(changed))


def test_answer_line__surface__is_stored_as_signed():
    venue = open_venue()
    request = write_surface(GENESIS, a=-1_000, m=-7)
    assert ask(venue, request)["status"] == "done"
    expiry = venue.state.markets[EXPIRY]
    assert isinstance(expiry, Expiry)
    for name in ("ratio", *SIGNED):
        assert getattr(expiry, name) == request[name]
    assert expiry.surfaced_at == GENESIS


@pytest.mark.parametrize("name", ["ratio", "time", *SIGNED])
def test_answer_line__surface_not_as_signed__is_refused(name):
    venue = open_venue()
    pass_time(venue, 12)
    request = write_surface()
    answer = ask(venue, request | {name: request[name] + 1})
    assert answer["error"] == "surface: not signed by a committee member"


@pytest.mark.parametrize(
    ("signers", "error"),
    [
        ([0], "surface: refused: QUORUM"),
        ([1, 0], "signer: 0 after 1: members ascend, below 16"),
        ([1, 1], "signer: 1 after 1: members ascend, below 16"),
        ([0, 16], "signer: 16 after 0: members ascend, below 16"),
        ([], "signers: 0 is outside 1.."),
    ],
)
def test_answer_line__surface_by_other_members__says_why(signers, error):
    venue = open_venue()
    surface = make_surface(GENESIS, sum(1 << one for one in set(signers)))
    signatures = [
        {"signer": one, "signature": to_hex(sign_surface(surface, one % 4))} for one in signers
    ]
    answer = ask(venue, write_surface() | {"signatures": signatures})
    assert error in answer["error"]


def test_answer_line__liquidate__takes_over(new_path):
    path = new_path()
    venue = open_distressed(Recorder(path))
    before = venue.store.next_sequence
    assert ask(venue, write_liquidate()) == {"sequence": before, "status": "done"}
    assert venue.state.accounts[CARL].positions[0].size > 0
    fingerprint = compute_fingerprint(venue.sequencer)
    crash(venue)
    assert compute_fingerprint(restart(path).sequencer) == fingerprint


@pytest.mark.parametrize(
    ("request_", "error", "fault"),
    [
        (write_liquidate(1_000_000), "liquidate: refused: SHARE", "SHARE"),
        (write_liquidate(reward=20_001), "liquidate: refused: REWARD", "REWARD"),
        (
            write_liquidate() | {"share": 999},
            "signature: not by a trader of account 3",
            "BAD_SIGNATURE",
        ),
        (
            write_liquidate() | {"share": 1 << 20},
            "share: 1048576 is outside 1..1048575",
            "OUT_OF_RANGE",
        ),
        (
            write_liquidate() | {"signature": "0x00"},
            "signature: 1 bytes instead of 64",
            "BAD_SIGNATURE",
        ),
    ],
)
def test_answer_line__liquidate_refused__names_the_rule(request_, error, fault):
    assert ask(open_distressed(), request_) == {"error": error, "fault": fault}


def test_answer_line__fund__accrues_once_a_clock():
    venue = open_venue()
    pass_time(venue, 60)
    assert ask(venue, {"type": "fund", "market": PERP})["status"] == "done"
    series = venue.state.markets[PERP]
    assert isinstance(series, Series)
    assert series.accrued_at == venue.sequencer.clock
    again = ask(venue, {"type": "fund", "market": PERP})
    assert again == {"error": f"market: funding of {PERP} is up to date", "fault": "NOT_DUE"}


def test_answer_line__mark__renews_an_option_once():
    venue = open_venue()
    ask(venue, write_surface())
    assert ask(venue, {"type": "mark", "market": CALL, "count": 2})["status"] == "done"
    series = venue.state.markets[CALL]
    assert isinstance(series, Series)
    assert series.mark > 0
    again = ask(venue, {"type": "mark", "market": CALL})
    assert again == {"error": f"market: no mark is due from {CALL} on", "fault": "NOT_DUE"}


def test_answer_line__socialise__spreads_what_the_fund_cannot_pay():
    venue = open_insolvent()
    give_insurance(venue, 1_000)
    assert ask(venue, {"type": "socialise", "account": ADA})["status"] == "done"
    (entry,) = ask(venue, {"type": "distressed"})["accounts"]
    assert entry["equity"] == 0


def test_answer_line__distress__starts_an_auction(monkeypatch):
    monkeypatch.setattr("deltaroll.node.machine.iterate_distress", lambda state: ())
    venue = open_venue()
    pass_time(venue, 12)
    venue.observe(PRICE * 83 // 100)
    assert ask(venue, {"type": "distress", "account": ADA})["status"] == "done"
    assert venue.state.accounts[ADA].distressed_at == venue.sequencer.clock


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"type": "mark", "market": PERP}, f"market: no mark is due from {PERP} on"),
        ({"type": "mark", "market": CALL}, "mark: refused: HALTED"),
        ({"type": "mark", "market": PERP, "count": 0}, "count: 0 is outside 1..127"),
        ({"type": "mark", "market": PERP, "count": 128}, "count: 128 is outside 1..127"),
        ({"type": "mark", "market": 2**16}, "market: 65536 is outside 1..65535"),
        ({"type": "mark", "market": EXPIRY}, f"market: no series {EXPIRY}"),
        ({"type": "fund", "market": EXPIRY}, f"market: no series {EXPIRY}"),
        ({"type": "fund", "market": CALL}, "fund: refused: INACTIVE"),
        ({"type": "sweep", "account": ADA}, "sweep: refused: NOT_DUE"),
        ({"type": "sweep", "account": 0}, "sweep: refused: UNKNOWN_ACCOUNT"),
        ({"type": "sweep", "account": 2**24}, "account: 16777216 is outside 0..16777215"),
        ({"type": "distress", "account": ADA}, "distress: refused: NOT_DUE"),
        ({"type": "distress", "account": 77}, "distress: refused: UNKNOWN_ACCOUNT"),
        ({"type": "socialise", "account": ADA}, "socialise: refused: SOLVENT"),
    ],
)
def test_answer_line__poke_without_reason__leaves_no_trace(request_, error):
    """Nobody signs it: a log that grew with it would be anybody's to fill."""
    venue = open_venue()
    before = (compute_fingerprint(venue.sequencer), venue.store.next_sequence)
    assert ask(venue, request_)["error"] == error
    assert (compute_fingerprint(venue.sequencer), venue.store.next_sequence) == before


@settings(deadline=None, max_examples=150)
@given(line=st.binary(max_size=80) | st.text(max_size=80))
def test_answer_line__any_line__is_answered(line):
    assert "error" in ask(FUZZED, line)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(deadline=None, max_examples=150)
@given(
    request_=st.sampled_from(ALL + MORE),
    changes=st.dictionaries(st.integers(0, 11), values, min_size=1, max_size=3),
)
def test_answer_line__any_field_changed__is_answered_and_never_sealed_wrong(request_, changes):
    """Nothing that comes in this way can stop the sequencer, now or when it seals."""
    names = list(request_)
    ask(FUZZED, request_ | {names[place % len(names)]: one for place, one in changes.items()})
    FUZZED.sequencer.seal()


FUZZED = Venue().open()
