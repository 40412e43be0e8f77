"""The timelock: whoever dislikes a change has 30 days to leave, whatever is decided."""

import pytest
from ape import project
from eth_utils import keccak

from deltaroll.protocol.types import SeriesStatus
from tests.contracts.governance import (
    DAY,
    GRACE,
    LEAST,
    NET,
    NO_PREDECESSOR,
    SALT,
    deploy_governed,
    encode_status,
    read_messages,
    schedule,
)
from tests.contracts.support import (
    CHALLENGE_WINDOW,
    FORCED_DELAY,
    PROPOSER_DELAY,
    SUCCESS,
    ZERO_ADDRESS,
    Revert,
    advance,
    deployment_outcome,
    now,
    outcome,
    set_time,
)

ADMIN, PROPOSER, EXECUTOR, CANCELLER = (
    bytes(32),
    *(keccak(text=f"{name}_ROLE") for name in ("PROPOSER", "EXECUTOR", "CANCELLER")),
)
UNSET, WAITING, READY, DONE = range(4)
BODY = encode_status(SeriesStatus.CLOSING)


@pytest.fixture(scope="session")
def governed(deployer, rival, rollup, sequencer, governor):
    return deploy_governed(deployer, rival, rollup.token, sequencer, governor)


@pytest.fixture
def timelock(governed):
    return governed.timelock


def find_id(timelock, call) -> bytes:
    return bytes(timelock.hashOperation(*call))


# Construction


def test_constructor__least_delay__is_thirty_days_after_the_longest_exit(governed, timelock):
    assert LEAST == NET + FORCED_DELAY + PROPOSER_DELAY + CHALLENGE_WINDOW
    assert timelock.minimumDelay() == timelock.getMinDelay() == LEAST
    assert timelock.inbox() == governed.rollup.inbox
    assert timelock.EXIT_WINDOW() == NET
    assert timelock.GRACE_PERIOD() == GRACE


def test_constructor__one_second_less__reverts(governed, deployer, governor):
    arguments = (governed.rollup.inbox, LEAST - 1, [governor])
    assert deployment_outcome(project.ExitWindowTimelock, *arguments, sender=deployer) == Revert(
        "ExitWindowTimelock_DelayTooShort", LEAST - 1, LEAST
    )


def test_constructor__no_proposer__reverts(governed, deployer):
    arguments = (governed.rollup.inbox, LEAST, [])
    assert deployment_outcome(project.ExitWindowTimelock, *arguments, sender=deployer) == Revert(
        "ExitWindowTimelock_NoProposer"
    )


def test_constructor__roles__nobody_is_admin_but_the_timelock(
    timelock, deployer, rival, governor, alice
):
    assert timelock.hasRole(ADMIN, timelock)
    for who in (deployer, rival, governor, alice, ZERO_ADDRESS):
        assert not timelock.hasRole(ADMIN, who)
        assert timelock.hasRole(PROPOSER, who) == (who == governor)
        assert timelock.hasRole(CANCELLER, who) == (who == governor)
    assert timelock.hasRole(EXECUTOR, ZERO_ADDRESS)


# Scheduling and executing


def test_schedule__by_anyone_else__reverts(governed, timelock, alice):
    data = governed.gate.configure.encode_input(BODY)
    call = (governed.gate, 0, data, NO_PREDECESSOR, SALT, LEAST)
    assert outcome(timelock.schedule, *call, sender=alice) == Revert(
        "AccessControlUnauthorizedAccount", alice, PROPOSER
    )


def test_schedule__shorter_than_the_delay__reverts(governed, timelock, governor):
    data = governed.gate.configure.encode_input(BODY)
    call = (governed.gate, 0, data, NO_PREDECESSOR, SALT)
    expected = Revert("TimelockInsufficientDelay", LEAST - 1, LEAST)
    assert outcome(timelock.schedule, *call, LEAST - 1, sender=governor) == expected
    batch = ([governed.gate], [0], [data], NO_PREDECESSOR, SALT)
    assert outcome(timelock.scheduleBatch, *batch, LEAST - 1, sender=governor) == expected


def test_execute__around_its_time__only_from_the_second_on_and_by_anyone(
    governed, timelock, governor, alice
):
    call = schedule(governed, governor, BODY)
    ready_at = timelock.getTimestamp(find_id(timelock, call))
    assert ready_at == now() + LEAST
    # A simulation sees the head's time.
    set_time(ready_at - 1)
    assert outcome(timelock.execute, *call, sender=alice).name == "TimelockUnexpectedOperationState"
    set_time(ready_at)
    assert outcome(timelock.execute, *call, sender=alice) is SUCCESS
    timelock.execute(*call, sender=alice)
    assert read_messages(governed.bridge)[-1] == BODY
    assert timelock.getOperationState(find_id(timelock, call)) == DONE


@pytest.mark.parametrize(("late", "state"), [(0, READY), (1, UNSET), (365 * DAY, UNSET)])
def test_execute__ready_for_long__is_gone_after_the_grace_period(
    governed, timelock, governor, alice, late, state
):
    """No stock of old operations that could be executed years later without notice."""
    call = schedule(governed, governor, BODY)
    identity = find_id(timelock, call)
    set_time(timelock.getTimestamp(identity) + GRACE + late)
    assert timelock.getOperationState(identity) == state
    executed = outcome(timelock.execute, *call, sender=alice)
    assert (executed is SUCCESS) == (state == READY)
    # It may be scheduled again, with the whole delay.
    again = outcome(timelock.schedule, *call, LEAST, sender=governor)
    assert (again is SUCCESS) == (state == UNSET)
    assert outcome(timelock.schedule, *call, LEAST - 1, sender=governor) is not SUCCESS


def test_cancel__by_a_proposer__nothing_is_executed(governed, timelock, governor, alice):
    call = schedule(governed, governor, BODY)
    identity = find_id(timelock, call)
    assert outcome(timelock.cancel, identity, sender=alice) == Revert(
        "AccessControlUnauthorizedAccount", alice, CANCELLER
    )
    timelock.cancel(identity, sender=governor)
    advance(LEAST + 1)
    assert outcome(timelock.execute, *call, sender=alice) is not SUCCESS


# What could shorten the delay


@pytest.mark.parametrize("who", ["governor", "deployer", "alice"])
def test_update_delay__not_through_the_timelock__reverts(timelock, request, who):
    caller = request.getfixturevalue(who)
    assert outcome(timelock.updateDelay, LEAST, sender=caller) == Revert(
        "TimelockUnauthorizedCaller", caller
    )


@pytest.mark.parametrize(
    ("delay", "is_allowed"), [(0, False), (LEAST - 1, False), (LEAST, True), (2 * LEAST, True)]
)
def test_update_delay__through_the_timelock__never_below_the_floor(
    timelock, governor, alice, delay, is_allowed
):
    data = timelock.updateDelay.encode_input(delay)
    call = (timelock, 0, data, NO_PREDECESSOR, SALT)
    timelock.schedule(*call, LEAST, sender=governor)
    advance(LEAST + 1)
    if is_allowed:
        timelock.execute(*call, sender=alice)
        assert timelock.getMinDelay() == delay
    else:
        assert outcome(timelock.execute, *call, sender=alice) == Revert(
            "ExitWindowTimelock_DelayTooShort", delay, LEAST
        )
        assert timelock.getMinDelay() == LEAST


def test_update_delay__raised_and_lowered_again__down_to_the_floor_only(timelock, governor, alice):
    delay = LEAST
    for target, is_allowed in ((LEAST + DAY, True), (LEAST - 1, False), (LEAST, True)):
        call = (timelock, 0, timelock.updateDelay.encode_input(target), NO_PREDECESSOR, SALT)
        timelock.schedule(*call, delay, sender=governor)
        advance(delay + 1)
        assert (outcome(timelock.execute, *call, sender=alice) is SUCCESS) == is_allowed
        if is_allowed:
            timelock.execute(*call, sender=alice)
            delay = target
    assert timelock.getMinDelay() == LEAST


def test_grant_role__by_anyone__only_the_timelock_grants(timelock, governor, deployer, alice):
    for role in (ADMIN, PROPOSER, EXECUTOR, CANCELLER):
        for caller in (governor, deployer, alice):
            assert outcome(timelock.grantRole, role, alice, sender=caller) == Revert(
                "AccessControlUnauthorizedAccount", caller, ADMIN
            )


def test_grant_role__admin_by_a_change__still_waits_like_everybody(
    governed, timelock, governor, alice
):
    """Even an admin only names proposers, and a proposer schedules with the whole delay."""
    call = (timelock, 0, timelock.grantRole.encode_input(ADMIN, alice), NO_PREDECESSOR, SALT)
    timelock.schedule(*call, LEAST, sender=governor)
    advance(LEAST + 1)
    timelock.execute(*call, sender=alice)
    timelock.grantRole(PROPOSER, alice, sender=alice)
    data = governed.gate.configure.encode_input(BODY)
    call = (governed.gate, 0, data, NO_PREDECESSOR, SALT)
    assert outcome(timelock.schedule, *call, LEAST - 1, sender=alice) == Revert(
        "TimelockInsufficientDelay", LEAST - 1, LEAST
    )
    assert outcome(timelock.updateDelay, 0, sender=alice).name in {
        "TimelockUnauthorizedCaller",
        "ExitWindowTimelock_DelayTooShort",
    }
