"""The gate: the timelock configures, a guardian tightens for a while, everybody can end that."""

from dataclasses import dataclass, field, replace

import pytest
from ape import project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaroll.protocol.configure import (
    encode_configure,
    encode_configure_closing,
    encode_configure_expiry,
    encode_configure_series,
    encode_configure_underlying,
)
from deltaroll.protocol.leaf import UNDERLYING_TAG, decode_params, encode_params
from deltaroll.protocol.types import MarketId, SeriesKind, SeriesStatus, Timestamp
from tests.contracts.governance import (
    BASE,
    COOLDOWN,
    DAY,
    INDEX,
    LEAST,
    MARGINS,
    PARAMS,
    PERIOD,
    PERP,
    Bounds,
    deploy_governed,
    encode_status,
    encode_tightened,
    list_start,
    raise_margins,
    read_messages,
)
from tests.contracts.support import (
    SUCCESS,
    ZERO_ADDRESS,
    Revert,
    advance,
    create_address,
    deploy_rollup,
    deployment_outcome,
    isolated,
    now,
    outcome,
    set_time,
)

FREE = (0, 0)
ACTIVE, CLOSING = SeriesStatus.ACTIVE, SeriesStatus.CLOSING


@pytest.fixture(scope="session")
def guardian(accounts):
    return accounts[8]


@pytest.fixture(scope="session")
def governed(deployer, rival, rollup, sequencer, governor, guardian):
    return deploy_governed(deployer, rival, rollup.token, sequencer, governor, guardian)


@pytest.fixture(scope="session")
def owner(governed, accounts):
    """The timelock's address as a sender: what it decides is `test_timelock.py`'s business."""
    provider = accounts[0].provider
    address = governed.timelock.address
    provider.set_balance(address, 10**20)
    return accounts.impersonate_account(address)


@pytest.fixture
def gate(governed):
    return governed.gate


@pytest.fixture
def bridge(governed):
    return governed.bridge


def emergency(record) -> tuple[int, int]:
    return record.endsAt, record.freeAt


# Construction


def test_constructor__initial_bodies__are_the_first_messages_of_the_queue(governed, gate, bridge):
    assert read_messages(bridge) == list_start()
    assert gate.paramsOf(INDEX) == BASE
    assert not gate.isClosedByTimelock(PERP)
    assert bridge.governor() == gate


def test_constructor__getters__say_what_was_given(governed, gate, guardian):
    bounds = Bounds()
    assert gate.bridge() == governed.bridge
    assert gate.timelock() == governed.timelock
    assert gate.guardian() == guardian
    assert gate.maintenanceBound() == bounds.maintenance
    assert gate.initialBound() == bounds.initial
    assert gate.emergencyPeriod() == bounds.period
    assert gate.cooldown() == bounds.cooldown


def test_constructor__series_that_starts_closing__is_closed_by_the_timelock(
    deployer, rival, rollup, sequencer, governor, guardian
):
    bodies = [*list_start()[:-1], encode_status(CLOSING)]
    governed = deploy_governed(
        deployer, rival, rollup.token, sequencer, governor, guardian, initial=bodies
    )
    assert governed.gate.isClosedByTimelock(PERP)


def construct(governed, founder, guardian, bounds=(), initial=(), bridge=None, timelock=None):
    arguments = (
        bridge or governed.bridge,
        timelock or governed.timelock,
        guardian,
        tuple(bounds) or (10**6, 10**6, 1, 1),
        list(initial),
    )
    return deployment_outcome(project.ConfigureGate, *arguments, sender=founder)


def test_constructor__bridge_with_another_governor__reverts(governed, alice, guardian):
    expected = Revert("ConfigureGate_WrongBridge", governed.bridge)
    assert construct(governed, alice, guardian) == expected


@pytest.fixture(scope="session")
def unborn(deployer, rollup, sequencer, accounts, governor):
    """A rollup that waits for the gate that accounts[9] deploys next, and a timelock for it."""
    founder = accounts[9]
    gate_at = create_address(founder.address, founder.nonce)
    made = deploy_rollup(deployer, rollup.token, sequencer, gate_at)
    timelock = deployer.deploy(project.ExitWindowTimelock, made.inbox, LEAST, [governor])
    return made, timelock, founder


def test_constructor__timelock_of_another_inbox__reverts(governed, unborn, guardian):
    made, _, founder = unborn
    expected = Revert("ConfigureGate_WrongTimelock", governed.timelock)
    assert construct(governed, founder, guardian, bridge=made.bridge) == expected


@pytest.mark.parametrize(
    ("bounds", "is_allowed"),
    [
        ((10**6, 10**6, 1, 1), True),
        ((2 * 10**6, 2 * 10**6, 14 * DAY, 365 * DAY), True),
        ((10**6 - 1, 10**6, 1, 1), False),
        ((10**6, 10**6 - 1, 1, 1), False),
        ((2 * 10**6 + 1, 10**6, 1, 1), False),
        ((10**6, 2 * 10**6 + 1, 1, 1), False),
        ((10**6, 10**6, 0, 1), False),
        ((10**6, 10**6, 1, 0), False),
        ((10**6, 10**6, 14 * DAY + 1, 365 * DAY), False),
        ((10**6, 10**6, 8 * DAY, 8 * DAY - 1), False),
        ((10**6, 10**6, 8 * DAY, 8 * DAY), True),
        ((10**6, 10**6, 1, 365 * DAY + 1), False),
    ],
)
def test_constructor__bounds__are_bounded_themselves(
    governed, unborn, guardian, bounds, is_allowed
):
    made, timelock, founder = unborn
    result = construct(
        governed, founder, guardian, bounds, list_start(), bridge=made.bridge, timelock=timelock
    )
    assert result == (SUCCESS if is_allowed else Revert("ConfigureGate_InvalidBounds"))


# configure


@pytest.mark.parametrize("who", ["governor", "guardian", "deployer", "sequencer", "alice"])
def test_configure__by_anyone_else__reverts(gate, request, who):
    caller = request.getfixturevalue(who)
    assert outcome(gate.configure, encode_status(ACTIVE), sender=caller) == Revert(
        "ConfigureGate_NotTimelock", caller
    )


def test_bridge__by_anyone_but_the_gate__reverts(bridge, governed, governor, guardian):
    for caller in (governor, guardian, governed.timelock):
        assert outcome(bridge.configure, encode_status(ACTIVE), sender=caller) == Revert(
            "Bridge_NotGovernor", caller
        )


@pytest.mark.parametrize(
    "body",
    [
        encode_configure_underlying(INDEX, replace(PARAMS, maker_fee=60)),
        encode_configure_underlying(MarketId(65_535), PARAMS),
        encode_configure_expiry(MarketId(9), INDEX, Timestamp(0)),
        encode_status(CLOSING),
        *list_start(),
    ],
)
def test_configure__by_the_timelock__is_queued_as_it_is(gate, bridge, owner, body):
    gate.configure(body, sender=owner)
    assert read_messages(bridge)[-1] == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x55\x00",
        encode_configure_closing(PERP, CLOSING, 1),
        encode_configure_closing(PERP, ACTIVE, 1),
        encode_configure(UNDERLYING_TAG, INDEX, BASE[:-1]),
        encode_configure(UNDERLYING_TAG, INDEX, BASE + b"\x00"),
        encode_status(ACTIVE)[:-1],
        encode_status(ACTIVE) + b"\x00",
    ],
)
def test_configure__what_the_rollup_would_skip__reverts(gate, owner, body):
    assert outcome(gate.configure, body, sender=owner) == Revert("ConfigureGate_InvalidBody")


@pytest.mark.parametrize(
    "changes",
    [
        {"maintenance_factor": 1_000_001},
        {"tick": 0},
        {"taker_fee": 10_001},
        {"max_mark_age": 604_801},
    ],
)
def test_configure__params_out_of_the_protocols_bounds__reverts(gate, owner, changes):
    body = encode_configure_underlying(INDEX, replace(PARAMS, **changes))
    assert outcome(gate.configure, body, sender=owner) == Revert(
        "ConfigureGate_InvalidParams", INDEX
    )


# tighten and restore


def test_tighten__by_anyone_else__reverts(gate, governor, alice, governed):
    for caller in (governor, alice, governed.timelock):
        assert outcome(gate.tighten, INDEX, raise_margins(), sender=caller) == Revert(
            "ConfigureGate_NotGuardian", caller
        )


def test_tighten__within_the_bounds__changes_margins_and_nothing_else(gate, bridge, guardian):
    changes = {
        "maintenance_factor": 960_000,
        "initial_factor": 1_500_000,
        "perp_maintenance": 36_000,
        "perp_initial": 15_000,
        "option_maintenance": 3_600,
        "option_initial": 3_000,
    }
    receipt = gate.tighten(INDEX, raise_margins(**changes), sender=guardian)
    assert read_messages(bridge)[-1] == encode_tightened(**changes)
    assert emergency(gate.tighteningOf(INDEX)) == (receipt.timestamp + PERIOD, 0)
    assert gate.paramsOf(INDEX) == BASE
    (event,) = receipt.decode_logs(gate.Tightened)
    assert (event.underlying, event.endsAt) == (INDEX, receipt.timestamp + PERIOD)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("maintenance_factor", 960_000),
        ("initial_factor", 1_500_000),
        ("perp_maintenance", 36_000),
        ("perp_initial", 15_000),
        ("option_maintenance", 3_600),
        ("option_initial", 3_000),
    ],
)
def test_tighten__each_margin__is_held_between_base_and_bound(gate, guardian, name, most):
    base = getattr(PARAMS, name)
    for value, is_allowed in ((base - 1, False), (base, True), (most, True), (most + 1, False)):
        result = outcome(gate.tighten, INDEX, raise_margins(**{name: value}), sender=guardian)
        bound = 1_500_000 if "initial" in name else 1_200_000
        expected = Revert("ConfigureGate_OutOfBounds", value, base, bound)
        assert result == (SUCCESS if is_allowed else expected)


def test_tighten__unknown_underlying__reverts(gate, guardian):
    for market in (0, PERP, 65_535):
        assert outcome(gate.tighten, market, raise_margins(), sender=guardian) == Revert(
            "ConfigureGate_UnknownUnderlying", market
        )


def test_tighten__result_the_rollup_would_skip__reverts(
    deployer, rival, rollup, sequencer, governor, guardian
):
    """Maintenance may be raised further than initial margin here, and must not pass it."""
    params = replace(PARAMS, maintenance_factor=900_000, initial_factor=900_000)
    governed = deploy_governed(
        deployer,
        rival,
        rollup.token,
        sequencer,
        governor,
        guardian,
        Bounds(1_500_000, 1_000_000),
        [*list_start()[:2], encode_configure_underlying(INDEX, params)],
    )
    margins = [getattr(replace(params, maintenance_factor=1_000_000), name) for name in MARGINS]
    assert outcome(governed.gate.tighten, INDEX, margins, sender=guardian) == Revert(
        "ConfigureGate_InvalidParams", INDEX
    )


def test_tighten__again_before_the_cooldown_is_over__reverts(gate, guardian, alice):
    margins = raise_margins(initial_factor=1_200_000)
    gate.tighten(INDEX, margins, sender=guardian)
    ends_at = gate.tighteningOf(INDEX).endsAt
    again = Revert("ConfigureGate_Emergency", INDEX, ends_at)
    assert outcome(gate.tighten, INDEX, margins, sender=guardian) == again
    set_time(ends_at + 100 * DAY)
    # Nobody has ended it: the cooldown has not even begun.
    assert outcome(gate.tighten, INDEX, margins, sender=guardian) == again
    gate.restore(INDEX, sender=alice)
    free_at = now() + COOLDOWN
    assert emergency(gate.tighteningOf(INDEX)) == (0, free_at)
    set_time(free_at - 1)
    assert outcome(gate.tighten, INDEX, margins, sender=guardian) == Revert(
        "ConfigureGate_Cooldown", INDEX, free_at
    )
    set_time(free_at)
    assert outcome(gate.tighten, INDEX, margins, sender=guardian) is SUCCESS


def test_restore__by_anyone__from_the_end_of_the_period_on(gate, bridge, guardian, alice):
    gate.tighten(INDEX, raise_margins(initial_factor=1_200_000), sender=guardian)
    ends_at = gate.tighteningOf(INDEX).endsAt
    set_time(ends_at - 1)
    assert outcome(gate.restore, INDEX, sender=alice) == Revert(
        "ConfigureGate_NotOver", INDEX, ends_at
    )
    set_time(ends_at)
    receipt = gate.restore(INDEX, sender=alice)
    assert read_messages(bridge)[-1] == list_start()[2]
    (event,) = receipt.decode_logs(gate.Restored)
    assert (event.underlying, event.freeAt) == (INDEX, receipt.timestamp + COOLDOWN)


def test_restore__by_the_guardian__early_and_the_cooldown_begins(gate, guardian):
    gate.tighten(INDEX, raise_margins(initial_factor=1_200_000), sender=guardian)
    gate.restore(INDEX, sender=guardian)
    assert emergency(gate.tighteningOf(INDEX)) == (0, now() + COOLDOWN)


def test_restore__no_emergency__reverts_and_queues_nothing(gate, guardian, alice):
    """Nobody can fill the queue with restorations."""
    for caller in (guardian, alice):
        assert outcome(gate.restore, INDEX, sender=caller) == Revert(
            "ConfigureGate_NoEmergency", INDEX
        )
    gate.tighten(INDEX, raise_margins(), sender=guardian)
    gate.restore(INDEX, sender=guardian)
    assert outcome(gate.restore, INDEX, sender=guardian) == Revert(
        "ConfigureGate_NoEmergency", INDEX
    )


def test_configure__under_an_emergency__ends_it_first_and_wins(gate, bridge, guardian, owner):
    """The old parameters go first: were the new ones skipped on L2, the margins would stay up."""
    gate.tighten(INDEX, raise_margins(initial_factor=1_200_000), sender=guardian)
    body = encode_configure_underlying(INDEX, replace(PARAMS, maker_fee=60))
    gate.configure(body, sender=owner)
    assert read_messages(bridge)[-2:] == [list_start()[2], body]
    assert emergency(gate.tighteningOf(INDEX)) == (0, now() + COOLDOWN)
    assert gate.paramsOf(INDEX) == body[3:]
    assert outcome(gate.restore, INDEX, sender=guardian) == Revert(
        "ConfigureGate_NoEmergency", INDEX
    )


def test_configure__another_underlying__leaves_an_emergency_alone(gate, bridge, guardian, owner):
    gate.tighten(INDEX, raise_margins(initial_factor=1_200_000), sender=guardian)
    count = bridge.queueCount()
    gate.configure(encode_configure_underlying(MarketId(30), PARAMS), sender=owner)
    assert bridge.queueCount() == count + 1
    assert gate.tighteningOf(INDEX).endsAt != 0


# close and reopen


def test_close__by_anyone_else__reverts(gate, governor, alice, governed):
    for caller in (governor, alice, governed.timelock):
        assert outcome(gate.close, PERP, 1, sender=caller) == Revert(
            "ConfigureGate_NotGuardian", caller
        )


@pytest.mark.parametrize(("first", "count"), [(PERP, 1), (0, 64), (65_535, 1), (65_472, 64)])
def test_close__range__is_one_message(gate, bridge, guardian, first, count):
    receipt = gate.close(first, count, sender=guardian)
    assert read_messages(bridge)[-1] == encode_configure_closing(first, CLOSING, count)
    ends_at = receipt.timestamp + PERIOD
    assert emergency(gate.closingOf(first)) == (ends_at, 0)
    assert emergency(gate.closingOf(first + count - 1)) == (ends_at, 0)
    if first:
        assert emergency(gate.closingOf(first - 1)) == FREE
    (event,) = receipt.decode_logs(gate.Closed)
    assert (event.first, event.count, event.endsAt) == (first, count, ends_at)


@pytest.mark.parametrize(("first", "count"), [(PERP, 0), (PERP, 65), (65_535, 2), (65_473, 64)])
def test_close__no_such_range__reverts(gate, guardian, first, count):
    expected = Revert("ConfigureGate_InvalidRange", first, count)
    assert outcome(gate.close, first, count, sender=guardian) == expected
    assert outcome(gate.reopen, first, count, sender=guardian) == expected


def test_close__one_of_the_range_is_not_free__reverts(gate, guardian):
    gate.close(12, 1, sender=guardian)
    ends_at = gate.closingOf(12).endsAt
    assert outcome(gate.close, 10, 4, sender=guardian) == Revert(
        "ConfigureGate_Emergency", 12, ends_at
    )
    gate.reopen(12, 1, sender=guardian)
    assert outcome(gate.close, 10, 4, sender=guardian) == Revert(
        "ConfigureGate_Cooldown", 12, now() + COOLDOWN
    )


def test_reopen__by_anyone__from_the_end_of_the_period_on(gate, bridge, guardian, alice):
    gate.close(10, 3, sender=guardian)
    ends_at = gate.closingOf(10).endsAt
    set_time(ends_at - 1)
    assert outcome(gate.reopen, 10, 3, sender=alice) == Revert("ConfigureGate_NotOver", 10, ends_at)
    set_time(ends_at)
    # Any part of it will do.
    receipt = gate.reopen(11, 2, sender=alice)
    assert read_messages(bridge)[-1] == encode_configure_closing(MarketId(11), ACTIVE, 2)
    free_at = receipt.timestamp + COOLDOWN
    assert emergency(gate.closingOf(11)) == emergency(gate.closingOf(12)) == (0, free_at)
    assert emergency(gate.closingOf(10)) == (ends_at, 0)
    (event,) = receipt.decode_logs(gate.Reopened)
    assert (event.first, event.count, event.freeAt) == (11, 2, free_at)


def test_reopen__one_that_the_guardian_has_not_closed__reverts(gate, guardian):
    """Else anyone could open what the timelock has closed."""
    gate.close(10, 2, sender=guardian)
    for first, count in ((9, 2), (11, 2), (9, 4)):
        missing = 9 if first == 9 else 12
        assert outcome(gate.reopen, first, count, sender=guardian) == Revert(
            "ConfigureGate_NoEmergency", missing
        )


def test_close__closed_by_the_timelock__reverts(gate, guardian, owner):
    gate.configure(encode_status(CLOSING), sender=owner)
    assert outcome(gate.close, PERP - 1, 3, sender=guardian) == Revert(
        "ConfigureGate_ClosedByTimelock", PERP
    )
    gate.configure(encode_status(ACTIVE), sender=owner)
    assert outcome(gate.close, PERP - 1, 3, sender=guardian) is SUCCESS


def test_configure__status_of_a_series_that_the_guardian_has_closed__wins(
    gate, bridge, guardian, owner
):
    gate.close(PERP, 2, sender=guardian)
    body = encode_status(CLOSING)
    gate.configure(body, sender=owner)
    assert read_messages(bridge)[-2:] == [encode_configure_closing(PERP, ACTIVE, 1), body]
    assert emergency(gate.closingOf(PERP)) == (0, now() + COOLDOWN)
    assert gate.closingOf(PERP + 1).endsAt != 0
    advance(PERIOD)
    assert outcome(gate.reopen, PERP, 1, sender=guardian) == Revert(
        "ConfigureGate_NoEmergency", PERP
    )


def test_guardian__nobody__can_do_nothing(deployer, rival, rollup, sequencer, governor):
    governed = deploy_governed(deployer, rival, rollup.token, sequencer, governor)
    assert governed.gate.guardian() == ZERO_ADDRESS
    for caller in (deployer, governor):
        assert outcome(governed.gate.close, PERP, 1, sender=caller) == Revert(
            "ConfigureGate_NotGuardian", caller
        )


def test_close__largest_range__costs_what_a_block_holds(gate, guardian):
    assert gate.close(100, 64, sender=guardian).gas_used < 2_000_000


# Whatever the guardian does


@dataclass
class Rollup:
    """What L2 has after the messages so far: parameters, and the status of two series."""

    params: dict[int, bytes] = field(default_factory=dict)
    status: dict[int, int] = field(default_factory=dict)

    def apply(self, body: bytes) -> None:
        market = int.from_bytes(body[1:3], "big")
        if body[0] == UNDERLYING_TAG:
            self.params[market] = body[3:]
        elif body[0] == 0x4D:
            self.status[market] = body[4]
        elif body[0] == 0x50:
            status, count = body[3:]
            before = {CLOSING: ACTIVE, ACTIVE: CLOSING}[SeriesStatus(status)]
            for each in range(market, market + count):
                if self.status.get(each) == before:
                    self.status[each] = status


factors = st.integers(900_000, 1_600_000)
moves = st.one_of(
    st.tuples(st.just("tighten"), st.lists(factors, min_size=6, max_size=6)),
    st.tuples(st.just("tighten"), st.just([1_200_000, 1_500_000] * 3)),
    st.tuples(st.just("restore"), st.booleans()),
    st.tuples(st.just("close"), st.integers(1, 2)),
    st.tuples(st.just("reopen"), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from((1, DAY, PERIOD - 1, PERIOD, COOLDOWN))),
    st.tuples(st.just("configure"), st.integers(0, 10)),
    st.tuples(st.just("status"), st.sampled_from((ACTIVE, CLOSING, SeriesStatus.INACTIVE))),
)


@given(st.lists(moves, min_size=2, max_size=12))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_gate__any_sequence__stays_within_the_bounds_and_ends_in_time(
    governed, guardian, owner, alice, script
):
    """Margins on L2 are always the timelock's, or within the bounds above them and never past the
    period without anyone being able to end it; a series that the timelock has closed or stopped
    never trades again by what the guardian does."""
    gate, bridge = governed.gate, governed.bridge
    with isolated():
        begun: dict[str, int] = {}
        for kind, value in script:
            time = now()
            if kind == "tighten":
                base = decode_params(bytes(gate.paramsOf(INDEX)))
                margins = [
                    getattr(base, name) * factor // 10**6
                    for name, factor in zip(MARGINS, value, strict=True)
                ]
                if outcome(gate.tighten, INDEX, margins, sender=guardian) is SUCCESS:
                    gate.tighten(INDEX, margins, sender=guardian)
                    assert time >= begun.get("free", 0)
                    begun["tighten"] = now()
            elif kind == "close":
                if outcome(gate.close, PERP, value, sender=guardian) is SUCCESS:
                    gate.close(PERP, value, sender=guardian)
                    begun["close"] = now()
            elif kind in ("restore", "reopen"):
                method = gate.restore if kind == "restore" else gate.reopen
                arguments = (INDEX,) if kind == "restore" else (PERP, 1)
                caller = guardian if value else alice
                if outcome(method, *arguments, sender=caller) is SUCCESS:
                    method(*arguments, sender=caller)
                    if kind == "restore":
                        begun["free"] = now() + COOLDOWN
            elif kind == "wait":
                advance(value)
            elif kind == "configure":
                params = replace(PARAMS, initial_factor=1_000_000 + 10_000 * value)
                gate.configure(encode_configure_underlying(INDEX, params), sender=owner)
            else:
                body = encode_configure_series(PERP, SeriesKind.PERPETUAL, value, INDEX)
                gate.configure(body, sender=owner)
            check(gate, bridge, alice, begun)


def check(gate, bridge, alice, begun) -> None:
    rollup = Rollup()
    timelocked = {PERP: int(ACTIVE)}
    for body in read_messages(bridge):
        rollup.apply(body)
        if body[0] == 0x4D:
            timelocked[PERP] = body[4]
    base = bytes(gate.paramsOf(INDEX))
    record = gate.tighteningOf(INDEX)
    given, known = decode_params(rollup.params[INDEX]), decode_params(base)
    if record.endsAt == 0:
        assert rollup.params[INDEX] == base
    else:
        assert record.endsAt == begun["tighten"] + PERIOD
        for place, name in enumerate(MARGINS):
            bound = (1_200_000, 1_500_000)[place % 2]
            value, least = getattr(given, name), getattr(known, name)
            assert least <= value
            assert value * 10**6 <= least * bound
        margins = {name: getattr(known, name) for name in MARGINS}
        assert encode_params(replace(given, **margins)) == base
        if now() >= record.endsAt:
            assert outcome(gate.restore, INDEX, sender=alice) is SUCCESS
    record = gate.closingOf(PERP)
    if record.endsAt == 0 or timelocked[PERP] != ACTIVE:
        assert rollup.status[PERP] == timelocked[PERP]
    else:
        assert rollup.status[PERP] == CLOSING
        assert record.endsAt == begun["close"] + PERIOD
        if now() >= record.endsAt:
            assert outcome(gate.reopen, PERP, 1, sender=alice) is SUCCESS
