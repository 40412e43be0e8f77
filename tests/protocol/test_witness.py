"""Witnesses: the part of a state that one opens behaves as the whole does, or proves nothing."""

from copy import deepcopy
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from typing import Any

import pytest
from eth_abi import encode
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deltaroll.protocol.constants import (
    MAX_CHUNK_GAS,
    MAX_CHUNK_WITNESS,
    MAX_MESSAGE_GAS,
    MAX_MESSAGE_WITNESS,
    SLOT_DEPTH,
    TWAP_DAYS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import GLOBALS_BYTES, encode_account, encode_market, encode_slot
from deltaroll.protocol.listing import create_series
from deltaroll.protocol.state import (
    State,
    compute_state_root,
    get_account,
    get_committee,
    get_expiry,
    get_grid,
    get_message,
    get_series,
    get_slot,
    get_slot_root,
    get_underlying,
    limit_message,
    process_exit,
    reset_meter,
    set_account,
    set_market,
    set_slot,
    touch_account,
    touch_market,
    validate_account,
)
from deltaroll.protocol.tree import MerkleTree
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Address,
    Committee,
    Exit,
    Expiry,
    Grid,
    MarketId,
    MarketLeaf,
    Message,
    Order,
    Position,
    RiskModel,
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    Slot,
    SlotId,
    TimeInForce,
    Timestamp,
    Underlying,
    UnderlyingParams,
)
from deltaroll.protocol.witness import encode_witness
from tests.protocol.evm import Contract, RevertError

MESSAGE_DOMAIN = keccak(b"deltaroll.message.v1")
ACCOUNT_IDS = (0, 1, 2, 3, 6, 7, 40, (1 << 24) - 1)
SLOT_IDS = (0, 1, 7, 4095)
MARKET_IDS = (0, 1, 2, 9, 100, 101, 65_535)


class Act(IntEnum):
    """Operations of the harness, in its order."""

    TOUCH_ACCOUNT = 0
    GET_ACCOUNT = 1
    SET_ACCOUNT = 2
    GET_SLOT = 3
    SET_SLOT = 4
    TOUCH_MARKET = 5
    GET_MARKET = 6
    SET_MARKET = 7
    GET_MESSAGE = 8
    PROCESS_EXIT = 9
    BEGIN = 10
    COMMIT = 11
    ROLLBACK = 12


@dataclass(frozen=True, slots=True)
class Operation:
    """One call on the state."""

    act: Act
    id: int = 0
    slot: int = 0
    value: Any = None

    def plain(self) -> tuple[int, int, int, bytes]:
        """What the harness takes."""
        match self.value:
            case Account():
                leaf = encode_account(self.value, bytes(32))
            case Slot():
                leaf = encode_slot(self.value)
            case None:
                leaf = b""
            case _:
                leaf = encode_market(self.value)
        return (int(self.act), self.id, self.slot, leaf)


small = st.integers(0, 1000)
account_ids = st.sampled_from(ACCOUNT_IDS).map(AccountId)
slot_ids = st.sampled_from(SLOT_IDS).map(SlotId)
market_ids = st.sampled_from(MARKET_IDS).map(MarketId)
times = small.map(Timestamp)
addresses = st.integers(1, 5).map(lambda n: Address(bytes([n]) * 20))
positions = st.builds(Position, market_ids, st.integers(-9, 9), st.integers(-9, 9))
accounts = st.builds(
    Account,
    addresses,
    addresses,
    times,
    small,
    st.integers(-(1 << 127), (1 << 127) - 1),
    small,
    times,
    st.lists(positions, max_size=3).map(tuple),
)
orders = st.builds(
    Order,
    market_ids,
    st.booleans(),
    small,
    small,
    small,
    small,
    times,
    st.sampled_from(TimeInForce),
    st.booleans(),
    st.booleans(),
)
slots = st.builds(Slot, orders, small)
scenarios = st.lists(
    st.builds(Scenario, small, st.integers(-1, 3), small), min_size=1, max_size=4
).map(tuple)
models = st.builds(RiskModel, *(st.integers(-9, 9) for _ in RiskModel.__slots__))
grids = st.builds(
    lambda items, up, model: Grid(items, up % len(items), 0, model), scenarios, small, models
)
committees = st.builds(Committee, st.integers(0, 9), st.lists(addresses, max_size=3).map(tuple))
tiny = st.integers(0, 255)
params = st.builds(
    UnderlyingParams, market_ids, market_ids, *(tiny for _ in UnderlyingParams.__slots__[2:])
)
twaps = st.tuples(*(small for _ in range(TWAP_DAYS)))
underlyings = st.builds(
    Underlying, params, small, times, small, times, *(small for _ in range(5)), twaps
)
expiries = st.builds(Expiry, market_ids, *(small for _ in Expiry.__slots__[1:]))
series = st.builds(
    Series,
    st.just(SeriesKind.PERPETUAL),
    st.sampled_from(SeriesStatus),
    market_ids,
    market_ids,
    small,
    small,
    small,
    times,
    st.integers(-9, 9),
    st.integers(-9, 9),
    times,
    small,
    small,
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=5).map(tuple),
)
markets = st.one_of(grids, committees, underlyings, series, expiries)
messages = st.builds(Message, st.integers(0, 255), addresses, times, st.binary(max_size=70))


@st.composite
def states(draw: st.DrawFn) -> State:
    """A state with some accounts, markets, exits and messages."""
    state = State()
    for account_id in draw(st.sets(account_ids)):
        set_account(state, account_id, draw(accounts))
        for slot_id in draw(st.sets(slot_ids, max_size=3)):
            set_slot(state, account_id, slot_id, draw(slots))
    for market_id in draw(st.sets(market_ids)):
        set_market(state, market_id, draw(markets))
    for amount in draw(st.lists(small, max_size=3)):
        process_exit(state, Exit(0, Address(b"\x07" * 20), amount))
    first = draw(st.integers(0, 3))
    state.globals = replace(
        state.globals,
        clock=draw(times),
        queue_index=first,
        insurance=draw(small),
        fee_pool=draw(small),
    )
    for offset, message in enumerate(draw(st.lists(messages, max_size=4))):
        state.messages[first + offset] = message
    compute_state_root(state)
    reset_meter(state)
    return state


PLAIN_ACTS = tuple(act for act in Act if act < Act.BEGIN)


@st.composite
def steps(draw: st.DrawFn, act: Act) -> list[Operation]:
    """One act, led by what the rules want before it: slots and markets are touched before they are
    set, only accounts that exist have slots."""
    account, market, slot = draw(account_ids), draw(market_ids), draw(slot_ids)
    match act:
        case Act.GET_ACCOUNT:
            # A queue message may name an account that the tree has no place for.
            far = st.sampled_from((account, account, account, 1 << 24, (1 << 32) - 1))
            return [Operation(act, draw(far))]
        case Act.SET_ACCOUNT:
            excess = draw(st.sampled_from((0, 0, 0, 1 << 100, 1 << 128)))
            return [
                Operation(Act.TOUCH_ACCOUNT, account),
                Operation(act, account, excess, draw(accounts)),
            ]
        case Act.GET_SLOT:
            return [Operation(Act.TOUCH_ACCOUNT, account), Operation(act, account, slot)]
        case Act.SET_SLOT:
            return [
                Operation(Act.TOUCH_ACCOUNT, account),
                Operation(Act.GET_SLOT, account, slot),
                Operation(Act.SET_ACCOUNT, account, 0, draw(accounts)),
                Operation(act, account, slot, draw(slots)),
            ]
        case Act.TOUCH_MARKET | Act.GET_MARKET:
            return [Operation(act, market, 0, draw(markets))]
        case Act.SET_MARKET:
            leaf = draw(markets)
            return [Operation(Act.TOUCH_MARKET, market, 0, leaf), Operation(act, market, 0, leaf)]
        case Act.PROCESS_EXIT:
            return [Operation(act, draw(small), draw(st.integers(0, 3)))]
        case _:
            return [Operation(act, account)]


@st.composite
def groups(draw: st.DrawFn, depth: int = 0) -> list[Operation]:
    """Acts, and groups of acts that are kept or undone."""
    wanted: list[Operation] = []
    for _ in range(draw(st.integers(0, 4))):
        if depth < 3 and draw(st.integers(0, 3)) == 0:
            end = draw(st.sampled_from((Act.COMMIT, Act.ROLLBACK)))
            wanted += [Operation(Act.BEGIN), *draw(groups(depth + 1)), Operation(end)]
        else:
            wanted += draw(st.sampled_from(PLAIN_ACTS).flatmap(steps))
    return wanted


@st.composite
def operations(draw: st.DrawFn, state: State) -> list[Operation]:
    """Calls that keep to the rules of the state's functions; messages come in order."""
    wanted: list[Operation] = []
    message = state.globals.queue_index
    for operation in draw(groups()):
        if operation.act != Act.GET_MESSAGE:
            wanted.append(operation)
        elif message in state.messages:
            wanted.append(Operation(Act.GET_MESSAGE, message))
            message += 1
    return wanted


def operate(state: State, operation: Operation) -> None:
    """Do to the whole state what the harness does to the witness' part."""
    account, slot, market = (
        AccountId(operation.id),
        SlotId(operation.slot),
        MarketId(operation.id),
    )
    value = operation.value
    match operation.act:
        case Act.TOUCH_ACCOUNT:
            touch_account(state, account)
        case Act.GET_ACCOUNT:
            get_account(state, account)
        case Act.SET_ACCOUNT:
            after = replace(value, cash=value.cash + operation.slot)
            validate_account(after)
            set_account(state, account, after)
        case Act.GET_SLOT:
            get_slot(state, account, slot)
        case Act.SET_SLOT:
            set_slot(state, account, slot, value)
        case Act.TOUCH_MARKET:
            touch_market(state, market)
        case Act.GET_MARKET:
            get_market(state, market, value)
        case Act.SET_MARKET:
            set_market(state, market, value)
        case Act.GET_MESSAGE:
            get_message(state, operation.id)
        case Act.PROCESS_EXIT:
            recipient = Address(operation.id.to_bytes(20, "big"))
            process_exit(state, Exit(operation.slot, recipient, operation.id))
        case Act.BEGIN:
            state.begin()
        case Act.COMMIT:
            state.commit()
        case Act.ROLLBACK:
            state.rollback()


def get_market(state: State, market: MarketId, like: MarketLeaf) -> None:
    """Get a market as the type that `like` has."""
    match like:
        case Series():
            get_series(state, market)
        case Grid():
            get_grid(state, market)
        case Committee():
            get_committee(state, market)
        case Underlying():
            get_underlying(state, market)
        case Expiry():
            get_expiry(state, market)


@dataclass(frozen=True, slots=True)
class Run:
    """What operations come to on the whole state, and the witness of them."""

    before: State
    root_before: bytes
    faults: list[Fault]
    after: State
    root_after: bytes
    witness: bytes


def run(state: State, wanted: list[Operation]) -> Run:
    before = deepcopy(state)
    root_before = compute_state_root(before)
    faults = []
    for operation in wanted:
        try:
            operate(state, operation)
            faults.append(Fault.NONE)
        except TransitionFault as problem:
            faults.append(problem.fault)
    root_after = compute_state_root(state)
    witness = encode_witness(before, state.meter)
    return Run(before, root_before, faults, state, root_after, witness)


@cache
def harness() -> Contract:
    return Contract("WitnessHarness")


@st.composite
def runs(draw: st.DrawFn) -> tuple[Run, list[Operation]]:
    state = draw(states())
    wanted = draw(operations(state))
    try:
        return run(state, wanted), wanted
    except TransitionFault:
        # Rolled back to a state in which an account has slots and no leaf: rules do not allow it.
        assume(False)
        raise


@settings(max_examples=250, deadline=None)
@given(runs())
def test_compute_state_root__any_operations__as_on_the_whole_state(
    case: tuple[Run, list[Operation]],
) -> None:
    done, wanted = case
    faults, fault, root, meter = harness().call(
        "run", done.witness, done.root_before, [operation.plain() for operation in wanted]
    )
    assert [Fault(number) for number in faults] == done.faults
    assert (Fault(fault), root) == (Fault.NONE, done.root_after)
    weight = done.after.meter
    counts = (len(weight.accounts), len(weight.markets), weight.exits, weight.messages)
    assert meter[:6] == (weight.gas, weight.witness, *counts)


@pytest.mark.parametrize("gas", [0, MAX_CHUNK_GAS - MAX_MESSAGE_GAS, MAX_CHUNK_GAS])
@pytest.mark.parametrize("size", [0, MAX_CHUNK_WITNESS - MAX_MESSAGE_WITNESS, MAX_CHUNK_WITNESS])
@pytest.mark.parametrize("more", [0, 1])
def test_limit_message__weight_so_far__same_in_both_twins(gas: int, size: int, more: int) -> None:
    for weight in ((gas + more, size), (gas, size + more)):
        state = State()
        meter = state.meter
        meter.gas, meter.witness = weight
        has_room = limit_message(state)
        found, found_meter = harness().call("limit", *weight)
        assert found == has_room
        assert found_meter[:2] == weight
        assert found_meter[6:8] == (meter.max_gas, meter.max_witness)


@pytest.mark.parametrize("cash", [(1 << 127) - 2, (1 << 127) - 1, 1 << 127])
def test_validate_account__cash_at_its_edge__same_in_both_twins(cash: int) -> None:
    state = small_state()
    # A leaf holds no more than the edge: the step past it is in the operation.
    account = replace(state.accounts[AccountId(1)], cash=cash - 1)
    wanted = [Operation(Act.GET_ACCOUNT, 1), Operation(Act.SET_ACCOUNT, 1, 1, account)]
    done = run(state, wanted)
    faults, fault, root, _ = harness().call(
        "run", done.witness, done.root_before, [operation.plain() for operation in wanted]
    )
    assert [Fault(number) for number in faults] == done.faults
    assert (Fault(fault), root) == (Fault.NONE, done.root_after)
    assert done.faults[1] == (Fault.OUT_OF_RANGE if cash == 1 << 127 else Fault.NONE)


def test_compute_state_root__slot_alone_changes__leaf_of_its_account_follows() -> None:
    state = small_state()
    slot = replace(state.slots[AccountId(1)][SlotId(4)], filled=3)
    wanted = [
        Operation(Act.GET_ACCOUNT, 1),
        Operation(Act.GET_SLOT, 1, 4),
        Operation(Act.SET_SLOT, 1, 4, slot),
    ]
    done = run(state, wanted)
    plain = [operation.plain() for operation in wanted]
    _, fault, root, _ = harness().call("run", done.witness, done.root_before, plain)
    assert (Fault(fault), root) == (Fault.NONE, done.root_after)


def tree_leaf(state: State, tree: int, place: int) -> bytes:
    """The leaf hash that a state has in a tree of the harness' `Opened`."""
    if tree == 0:
        return state._account_tree.get_leaf(place)
    if tree == 1:
        return state._market_tree.get_leaf(place)
    if tree == 2:
        return state._exit_tree.get_leaf(place)
    slot_tree = state._slot_trees.get(AccountId(tree - 3), MerkleTree(SLOT_DEPTH))
    return slot_tree.get_leaf(place)


@settings(max_examples=60, deadline=None)
@given(runs())
def test_validate_witness__own_root__opens_what_the_state_holds(
    case: tuple[Run, list[Operation]],
) -> None:
    done, _ = case
    opened = harness().call("open", done.witness, done.root_before)
    meter = done.after.meter
    expected = len(meter.accounts) + len(meter.slots) + len(meter.markets) + meter.exits
    assert len(opened) == expected
    for tree, place, leaf_hash in opened:
        assert tree_leaf(done.before, tree, place) == leaf_hash


@settings(max_examples=60, deadline=None)
@given(runs(), st.binary(min_size=32, max_size=32))
def test_validate_witness__other_root__reverts(
    case: tuple[Run, list[Operation]], root: bytes
) -> None:
    done, _ = case
    with pytest.raises(RevertError, match="Witness_WrongRoot"):
        harness().call("open", done.witness, root)


@settings(max_examples=400, deadline=None)
@given(runs(), st.sampled_from(["flip", "cut", "insert", "append"]), st.data())
def test_validate_witness__damaged__proves_nothing_false(
    case: tuple[Run, list[Operation]], damage: str, draw: st.DataObject
) -> None:
    done, _ = case
    forged = bytearray(done.witness)
    at = draw.draw(st.integers(0, len(forged) - 1))
    if damage == "flip":
        forged[at] ^= 1 << draw.draw(st.integers(0, 7))
    elif damage == "cut":
        del forged[at : at + draw.draw(st.integers(1, 40))]
    elif damage == "insert":
        forged[at:at] = draw.draw(st.binary(min_size=1, max_size=40))
    else:
        forged += draw.draw(st.binary(min_size=1, max_size=40))
    assume(bytes(forged) != done.witness)
    try:
        opened = harness().call("open", bytes(forged), done.root_before)
    except RevertError:
        return
    # Messages are not the state's; and what is opened without need is true all the same.
    for tree, place, leaf_hash in opened:
        assert tree_leaf(done.before, tree, place) == leaf_hash


GRID = Grid((Scenario(1, 0, 1),), 0, 0, RiskModel(*range(22)))


def small_state() -> State:
    """Two accounts, one with a slot; one market."""
    state = State()
    owner = Address(b"\x01" * 20)
    for number in (1, 2):
        account = Account(owner, owner, Timestamp(0), 0, 100, 0, Timestamp(0), ())
        set_account(state, AccountId(number), account)
    order = Order(MarketId(5), True, 10, 3, 1, 0, Timestamp(9), TimeInForce.GTC, False, False)
    set_slot(state, AccountId(1), SlotId(4), Slot(order, 1))
    set_market(state, MarketId(5), GRID)
    compute_state_root(state)
    reset_meter(state)
    return state


def rich_run() -> Run:
    """A chunk that opens several leaves of every tree."""
    state = small_state()
    other = small_state().slots[AccountId(1)][SlotId(4)]
    for slot in (5, 9, 4095):
        set_slot(state, AccountId(1), SlotId(slot), replace(other, filled=slot))
    for market in (4, 6, 7, 900):
        set_market(state, MarketId(market), replace(GRID, scenarios=(Scenario(market, 0, 1),)))
    for amount in (1, 2, 3):
        process_exit(state, Exit(0, Address(b"\x07" * 20), amount))
    compute_state_root(state)
    reset_meter(state)
    wanted = [
        Operation(Act.GET_ACCOUNT, 1),
        Operation(Act.GET_ACCOUNT, 2),
        Operation(Act.GET_SLOT, 1, 4),
        Operation(Act.GET_SLOT, 1, 9),
        Operation(Act.TOUCH_MARKET, 5, 0, GRID),
        Operation(Act.TOUCH_MARKET, 900, 0, GRID),
        Operation(Act.PROCESS_EXIT, 8, 0),
        Operation(Act.PROCESS_EXIT, 9, 0),
    ]
    return run(state, wanted)


def test_validate_witness__any_bit_flipped__reverts() -> None:
    done = rich_run()
    assert len(harness().call("open", done.witness, done.root_before)) == 8
    for at in range(0, len(done.witness) * 8, 9):
        if at // 8 == GLOBALS_BYTES:
            # How many exits are opened: the next ones are as empty, and as many hashes may show it.
            continue
        forged = bytearray(done.witness)
        forged[at // 8] ^= 0x80 >> at % 8
        with pytest.raises(RevertError):
            harness().call("open", bytes(forged), done.root_before)


def test_decode_witness__trailing_byte__reverts() -> None:
    done = rich_run()
    for forged in (done.witness + b"\x00", done.witness[:-1]):
        with pytest.raises(RevertError, match=r"Witness_(WrongLength|BadSiblings)"):
            harness().call("open", forged, done.root_before)


def test_rollback__nested_groups__as_if_never_done() -> None:
    state = small_state()
    before = compute_state_root(state)
    account = replace(state.accounts[AccountId(1)], cash=7)
    slot = replace(state.slots[AccountId(1)][SlotId(4)], filled=2)
    grid = GRID
    wanted = [
        Operation(Act.GET_ACCOUNT, 1),
        Operation(Act.GET_SLOT, 1, 4),
        Operation(Act.GET_SLOT, 1, 5),
        Operation(Act.TOUCH_ACCOUNT, 3),
        Operation(Act.TOUCH_MARKET, 5, 0, grid),
        Operation(Act.TOUCH_MARKET, 6, 0, grid),
        Operation(Act.BEGIN),
        Operation(Act.SET_ACCOUNT, 1, 0, account),
        Operation(Act.BEGIN),
        Operation(Act.SET_ACCOUNT, 1, 1, account),
        Operation(Act.SET_ACCOUNT, 3, 0, account),
        Operation(Act.SET_SLOT, 1, 4, slot),
        Operation(Act.PROCESS_EXIT, 1, 0),
        Operation(Act.ROLLBACK),
        Operation(Act.SET_SLOT, 1, 5, slot),
        Operation(Act.SET_MARKET, 5, 0, grid),
        Operation(Act.BEGIN),
        Operation(Act.SET_MARKET, 6, 0, grid),
        Operation(Act.PROCESS_EXIT, 2, 0),
        Operation(Act.COMMIT),
        Operation(Act.ROLLBACK),
    ]
    done = run(state, wanted)
    assert done.root_after == before
    plain = [operation.plain() for operation in wanted]
    _, fault, root, _ = harness().call("run", done.witness, before, plain)
    assert (fault, root) == (Fault.NONE, before)


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (Operation(Act.GET_ACCOUNT, 3), "Witness_MissingAccount"),
        (Operation(Act.TOUCH_ACCOUNT, 1 << 24), "Witness_MissingAccount"),
        (Operation(Act.GET_SLOT, 1, 5), "Witness_MissingSlot"),
        (Operation(Act.GET_SLOT, 2, 4), "Witness_MissingSlot"),
        (Operation(Act.GET_SLOT, 9, 4), "Witness_MissingAccount"),
        (Operation(Act.TOUCH_MARKET, 6, 0, GRID), "Witness_MissingMarket"),
        (Operation(Act.SET_MARKET, 6, 0, GRID), "Witness_MissingMarket"),
        (Operation(Act.GET_MESSAGE, 0), "Witness_MissingMessage"),
        (Operation(Act.PROCESS_EXIT, 1, 0), "Witness_MissingExit"),
    ],
)
def test_get__leaf_not_opened__reverts(operation: Operation, error: str) -> None:
    wanted = [
        Operation(Act.GET_ACCOUNT, 1),
        Operation(Act.GET_SLOT, 1, 4),
        Operation(Act.GET_ACCOUNT, 2),
        Operation(Act.TOUCH_MARKET, 5, 0, GRID),
    ]
    done = run(small_state(), wanted)
    with pytest.raises(RevertError, match=error):
        harness().call("run", done.witness, done.root_before, [operation.plain()])


def test_decode_witness__leaves_out_of_order__reverts() -> None:
    done = run(small_state(), [Operation(Act.GET_ACCOUNT, 1), Operation(Act.GET_ACCOUNT, 2)])
    entry = 3 + 1 + 112 + 1
    start = GLOBALS_BYTES + 2 + 2
    one, two = (done.witness[start + i * entry : start + (i + 1) * entry] for i in range(2))
    rest = done.witness[start + 2 * entry :]
    for pair in (two + one, one + one):
        with pytest.raises(RevertError, match="Witness_NotAscending"):
            harness().call("open", done.witness[:start] + pair + rest, done.root_before)


def test_decode_witness__more_scenarios_than_a_series_has__reverts() -> None:
    # Memory is laid out for MAX_SCENARIOS before the leaf is shown to be real.
    done = run(small_state(), [Operation(Act.TOUCH_MARKET, 5, 0, GRID)])
    for tag, head, size, most in ((0x4D, 84, 8, 33), (0x52, 180, 13, 33), (0x43, 3, 20, 16)):
        leaf = bytes((tag,)) + bytes(head - 1 + size * (most + 1))
        market = b"\x00\x05" + len(leaf).to_bytes(2, "big") + leaf + b"\x00\x00"
        forged = done.witness[: GLOBALS_BYTES + 2 + 2] + b"\x00\x01" + market
        with pytest.raises(RevertError, match="Witness_BadLeaf"):
            harness().call("open", forged, done.root_before)


@pytest.mark.parametrize("place", [2, 3])
def test_decode_witness__basis_scenario_that_a_grid_has_not__reverts(place: int) -> None:
    # A transition looks it up before the leaf is shown to be real.
    done = run(small_state(), [Operation(Act.TOUCH_MARKET, 5, 0, GRID)])
    at = done.witness.index(b"\x00\x05\x00\xc1\x52") + 4 + place
    assert done.witness[at] == 0
    forged = done.witness[:at] + b"\x01" + done.witness[at + 1 :]
    with pytest.raises(RevertError, match="Witness_BadLeaf"):
        harness().call("open", forged, done.root_before)


@pytest.mark.parametrize(
    ("place", "value"), [(0, 0), (0, 0x41), (0, 0xFF), (1, 3), (1, 255), (2, 4), (2, 255)]
)
def test_decode_witness__tag_kind_or_status_that_there_is_not__reverts(
    place: int, value: int
) -> None:
    # A transition compares it before the leaf is shown to be real.
    done = run(small_state(), [Operation(Act.TOUCH_MARKET, 5, 0, GRID)])
    series = create_series(SeriesKind.PERPETUAL, SeriesStatus.ACTIVE, MarketId(1), MarketId(0), 0)
    leaf = bytearray(encode_market(series))
    leaf[place] = value
    market = b"\x00\x05" + len(leaf).to_bytes(2, "big") + bytes(leaf) + b"\x00\x00"
    forged = done.witness[: GLOBALS_BYTES + 2 + 2] + b"\x00\x01" + market
    with pytest.raises(RevertError, match="Witness_BadLeaf"):
        harness().call("open", forged, done.root_before)


def test_decode_witness__slot_past_the_tree__reverts() -> None:
    # Its place would fold onto that of slot 4.
    done = run(small_state(), [Operation(Act.GET_ACCOUNT, 1), Operation(Act.GET_SLOT, 1, 4)])
    at = done.witness.index(b"\x01\x00\x04\x01\x53") + 1
    for place in (4096 + 4, 32_768 + 4):
        forged = done.witness[:at] + place.to_bytes(2, "big") + done.witness[at + 2 :]
        with pytest.raises(RevertError, match="Witness_BadSiblings"):
            harness().call("open", forged, done.root_before)


def message_hash(message: Message) -> bytes:
    types = ("bytes32", "uint8", "address", "uint64", "bytes32")
    values = (
        MESSAGE_DOMAIN,
        message.kind,
        "0x" + message.sender.hex(),
        message.time,
        keccak(message.body),
    )
    return keccak(encode(types, values))


def chain_hashes(queue: list[Message]) -> list[bytes]:
    chain = [bytes(32)]
    for message in queue:
        chain.append(keccak(chain[-1] + message_hash(message)))
    return chain[1:]


@settings(max_examples=40, deadline=None)
@given(st.lists(messages, min_size=1, max_size=5), st.data())
def test_validate_messages__queue__only_its_own_messages_pass(
    queue: list[Message], draw: st.DataObject
) -> None:
    contract = Contract("WitnessHarness")
    for index, chain in enumerate(chain_hashes(queue)):
        contract.call("setQueueHash", index, chain)
    first = draw.draw(st.integers(0, len(queue) - 1))
    count = draw.draw(st.integers(0, len(queue) - first))
    state = small_state()
    state.globals = replace(state.globals, queue_index=first)
    state.messages = dict(enumerate(queue))
    state.meter.messages = count
    contract.call("checkMessages", encode_witness(state, state.meter))
    if count == 0:
        return
    victim = first + draw.draw(st.integers(0, count - 1))
    state.messages[victim] = draw.draw(messages)
    assume(state.messages[victim] != queue[victim])
    with pytest.raises(RevertError, match="Witness_WrongMessages"):
        contract.call("checkMessages", encode_witness(state, state.meter))


def test_validate_messages__past_the_queue__reverts() -> None:
    contract = Contract("WitnessHarness")
    state = small_state()
    message = Message(1, Address(b"\x01" * 20), Timestamp(1), b"")
    state.messages = {0: message}
    state.meter.messages = 1
    with pytest.raises(RevertError, match="Witness_WrongMessages"):
        contract.call("checkMessages", encode_witness(state, state.meter))


def test_get_slot_root__new_account__opens_empty_slots() -> None:
    state = small_state()
    owner = Address(b"\x02" * 20)
    account = Account(owner, owner, Timestamp(0), 0, 1, 0, Timestamp(0), ())
    slot = small_state().slots[AccountId(1)][SlotId(4)]
    wanted = [
        Operation(Act.TOUCH_ACCOUNT, 3),
        Operation(Act.SET_ACCOUNT, 3, 0, account),
        Operation(Act.GET_SLOT, 3, 6),
        Operation(Act.SET_SLOT, 3, 6, slot),
    ]
    done = run(state, wanted)
    assert get_slot_root(done.after, AccountId(3)) != bytes(32)
    plain = [operation.plain() for operation in wanted]
    _, fault, root, _ = harness().call("run", done.witness, done.root_before, plain)
    assert (fault, root) == (Fault.NONE, done.root_after)
