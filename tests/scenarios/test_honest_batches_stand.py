"""No honest batch can be removed (G3): the prover says no, whatever witness it is given.

Everything is asked of the real contracts by `eth_call`: a proof that would go through is a success,
every other end is a revert. A call changes nothing, so the batches still stand after each.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy, deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from ape import chain
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaroll.l1.types import BatchSubmitted
from deltaroll.node.admission import RejectedError
from deltaroll.node.batcher import Batcher
from deltaroll.node.challenger import compute_chunk_proof
from deltaroll.node.follower import (
    Follower,
    Fraud,
    compute_context,
    compute_transition_witness,
)
from deltaroll.node.intake import take_in
from deltaroll.node.sender import Sender
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.signatures import compute_chunk_requests
from deltaroll.protocol.state import Meter, State, compute_state_root
from deltaroll.protocol.transition import compute_fault
from deltaroll.protocol.types import (
    AccountId,
    Committee,
    Expiry,
    Grid,
    MarketId,
    MarketLeaf,
    Observation,
    Order,
    Position,
    Series,
    SeriesStatus,
    SetTradingKey,
    SlotId,
    TimeInForce,
    Timestamp,
    Transfer,
    Underlying,
    Withdraw,
)
from deltaroll.protocol.witness import encode_signature_witness, encode_witness
from tests.scenarios.support import (
    ALICE,
    ALICE_TOO,
    BOB,
    BTC,
    BTC_LAST,
    BTC_NEXT,
    BTC_PERP,
    CAROL,
    DAVE,
    ERIN,
    ETH,
    ETH_PERP,
    FRANK,
    MOON,
    PRICES,
    THRESHOLD,
    TICK,
    Lab,
    Venue,
    list_series,
)


def slowly(examples: int) -> settings:
    """Return settings for a property that asks a node."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
        ],
    )


NO_FAULT = "FraudProver_NoFault"
ACCOUNTS = (ALICE, BOB, CAROL, DAVE, ERIN, FRANK, ALICE_TOO)
SERIES = (BTC_PERP, BTC_NEXT, BTC_LAST, ETH_PERP)


@dataclass(frozen=True, repr=False)
class Exhibit:
    """An honest chunk of a pending batch, with what a challenger would send about it."""

    place: Fraud
    """Where it is; its fault is NONE."""
    state: State
    """Before the chunk."""
    meter: Meter
    """What the chunk touches."""

    @property
    def data(self) -> bytes:
        return self.place.chunks[self.place.chunk].data

    @property
    def signatures(self) -> bytes:
        return self.place.chunks[self.place.chunk].signatures

    @property
    def proof(self) -> tuple[Any, ...]:
        return compute_chunk_proof(self.place)


def iterate_exhibits(lab: Lab, keep_states: bool) -> Iterator[Exhibit]:
    """Yield every chunk of every batch that counts, from the genesis on; states only if they are
    kept."""
    follower = lab.follower
    state = State()
    state.messages = follower.state.messages
    for before, derived in zip(follower.chain, follower.chain[1:], strict=False):
        submitted: BatchSubmitted = derived.submitted
        for index, chunk in enumerate(derived.chunks):
            context = compute_context(submitted, before.submitted, index, lab.domain)
            witness = compute_transition_witness(state, chunk.data, context)
            meter = state.meter
            place = Fraud(
                submitted, before.submitted, derived.chunks, index, Fault.NONE, None, witness
            )
            yield Exhibit(place, deepcopy(state) if keep_states else state, meter)
            assert compute_fault(state, chunk.data, context, chunk.post_root) == Fault.NONE


def prove(lab: Lab, exhibit: Exhibit, gas: int = 0, **changes: Any) -> str | None:
    """Ask for a removal; return the refusal."""
    return lab.venue.simulate(
        lab.contracts.prover.prove,
        changes.get("proof", exhibit.proof),
        changes.get("data", exhibit.data),
        changes.get("witness", exhibit.place.witness),
        sender=lab.venue.watcher,
        gas=gas,
    )


def prove_signature(
    lab: Lab, exhibit: Exhibit, position: int, gas: int = 0, **changes: Any
) -> str | None:
    """Ask for a removal because of a signature; return the refusal."""
    witness = changes.get("witness")
    if witness is None:
        witness = encode_signature_witness(exhibit.state, exhibit.data, position)
    return lab.venue.simulate(
        lab.contracts.prover.proveSignature,
        changes.get("proof", exhibit.proof),
        changes.get("data", exhibit.data),
        changes.get("signatures", exhibit.signatures),
        position,
        witness,
        sender=lab.venue.watcher,
        gas=gas,
    )


def count_signatures(exhibit: Exhibit) -> int:
    """Return how many signatures the chunk requires."""
    return len(compute_chunk_requests(exhibit.data)[1])


# Any honest flow

Step = Callable[["Flow"], None]


class Flow:
    """A sequencer and a batcher on which steps are played; what they refuse does not happen."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.venue: Venue = lab.venue
        self.sequencer: Sequencer = lab.open_sequencer()
        self.batcher = Batcher(
            self.sequencer.store,
            Follower(lab.venue.gateway),
            Sender(lab.venue.gateway, lab.venue.operator),
        )
        self.advance(60)

    def advance(self, seconds: int) -> None:
        """Let time pass; the sequencer takes in what L1 says."""
        self.venue.advance(seconds)
        take_in(self.sequencer, self.batcher.follower)

    def order(self, account: AccountId, market: MarketId, is_buy: bool, **fields: Any) -> None:
        """Submit an order near the mark, signed by the trading key if there is a live one."""
        mark = self.sequencer.state.markets[market].mark  # type: ignore[union-attr]
        slot = SlotId(fields.pop("slot"))
        nonce = self.sequencer.engine.nonces.get((account, slot), 0) + 1
        order = Order(
            market,
            is_buy,
            (mark // TICK + fields.pop("ticks")) * TICK,
            fields.pop("size"),
            nonce,
            self.sequencer.state.accounts[account].epoch,
            Timestamp(self.sequencer.clock + fields.pop("life")),
            **fields,
        )
        has_key = account in (ALICE, BOB, DAVE)
        key = (self.venue.traders if has_key else self.venue.keys)[account]
        signature = key.sign_order(self.sequencer.domain, account, slot, order)
        self.sequencer.submit_order(account, slot, order, signature)

    def act(self, action: Transfer | Withdraw | SetTradingKey, account: AccountId) -> None:
        """Submit an action with the account's next nonce."""
        nonce = self.sequencer.state.accounts[account].nonce + 1
        signed = replace(action, nonce=nonce)
        signature = self.venue.keys[account].sign_action(self.sequencer.domain, signed)
        self.sequencer.submit_action(signed, signature)

    def observe(self, market: MarketId, prices: list[int], first: int) -> None:
        """Submit prices by members of the committee from `first` on, a block later."""
        self.advance(12)
        clock = self.sequencer.clock
        seen = tuple(Observation(first + place, price, clock) for place, price in enumerate(prices))
        signatures = tuple(
            self.venue.committee[entry.signer].sign_observation(
                self.sequencer.domain, market, entry
            )
            for entry in seen
        )
        self.sequencer.observe(market, seen, signatures)

    def finish(self) -> None:
        """Post everything; the lab's follower must agree with every chunk."""
        self.sequencer.seal()
        self.sequencer.flush()
        while self.batcher.post() is not None:
            pass
        self.lab.sync()
        assert self.lab.follower.fraud is None
        assert self.lab.state.accounts == self.sequencer.state.accounts


KINDS = (
    *("trade",) * 8,
    *("order",) * 4,
    *("transfer", "withdraw", "key", "observe", "observe", "advance", "deposit", "exit"),
    *("cancel", "force", "forced transfer", "status", "seal"),
)
accounts = st.sampled_from(ACCOUNTS)
amounts = st.one_of(st.integers(1, 10**7), st.integers(1, 2**96 - 1))


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """Return something that users, the committee, governance or L1 do."""
    kind = draw(st.sampled_from(KINDS))
    account = draw(accounts)
    if kind in ("order", "trade"):
        market, is_buy = draw(st.sampled_from(SERIES)), draw(st.booleans())
        fields: dict[str, Any] = {
            "slot": draw(st.integers(0, 3)),
            "ticks": draw(st.integers(-20, 20)),
            "size": draw(st.integers(1, 30)),
            "life": draw(st.sampled_from((3_600, 60))),
            "time_in_force": draw(st.sampled_from(TimeInForce)),
            "post_only": draw(st.integers(0, 5)) == 5,
            "reduce_only": draw(st.integers(0, 5)) == 5,
        }
        if kind == "order":
            return lambda flow: flow.order(account, market, is_buy, **fields)
        # An order in the book, and one that takes it.
        taker = draw(accounts)
        rests = {**fields, "time_in_force": TimeInForce.GTC, "reduce_only": False}
        takes = {**fields, "post_only": False, "slot": 4, "size": draw(st.integers(1, 30))}

        def trade(flow: Flow) -> None:
            flow.order(account, market, is_buy, **rests)
            flow.order(taker, market, not is_buy, **takes)

        return trade
    amount, other = draw(amounts), draw(accounts)
    if kind == "transfer":
        return lambda flow: flow.act(Transfer(account, other, amount, 0), account)
    if kind == "withdraw":
        return lambda flow: flow.act(
            Withdraw(account, flow.venue.keys[other].address, amount, 0), account
        )
    if kind == "key":
        return lambda flow: flow.act(
            SetTradingKey(
                account,
                flow.venue.traders[account].address,
                Timestamp(flow.sequencer.clock + 7_200),
                0,
            ),
            account,
        )
    if kind == "observe":
        market = draw(st.sampled_from((BTC, ETH, MOON)))
        base = PRICES.get(market, 10**6)
        move = draw(st.sampled_from((0, 1, -1, 10, -10, 40, -40, 120)))
        spread = draw(st.lists(st.integers(-4, 4), min_size=THRESHOLD - 1, max_size=4))
        prices = [base * (1_000 + move) // 1_000 + each * base // 1_000 for each in spread]
        first = draw(st.integers(0, 1))
        return lambda flow: flow.observe(market, prices, first)
    if kind == "advance":
        seconds = draw(st.sampled_from((12, 300, 3_700)))

        def advance(flow: Flow) -> None:
            flow.advance(seconds)
            for market, price in PRICES.items():
                flow.observe(market, [price] * THRESHOLD, 0)

        return advance
    if kind == "seal":
        return lambda flow: flow.sequencer.seal()
    return queue_step(kind, account, other, min(amount, 10**9), draw(st.binary(min_size=1)))


def queue_step(kind: str, account: AccountId, other: AccountId, amount: int, noise: bytes) -> Step:
    """Return a step through the L1 queue."""

    def run(flow: Flow) -> None:
        venue, bridge = flow.venue, flow.venue.contracts.bridge
        owner = venue.owners[account]
        match kind:
            case "deposit":
                venue.send(
                    bridge.deposit, venue.keys[other].address, other, amount, sender=venue.governor
                )
            case "exit":
                # Now and then somebody who does not own the account asks.
                venue.send(bridge.forceExit, account, amount, sender=venue.owners[max(account, 2)])
            case "cancel":
                venue.send(bridge.cancelAll, account, sender=owner)
            case "force":
                venue.send(bridge.force, noise, sender=owner)
            case "forced transfer":
                nonce = flow.sequencer.state.accounts[account].nonce + 1
                transfer = Transfer(account, other, amount, nonce)
                data = encode_chunk(flow.sequencer.clock, [transfer])
                signature = venue.keys[account].sign_action(flow.sequencer.domain, transfer)
                body = len(data).to_bytes(2, "big") + data + signature
                venue.send(bridge.force, body, sender=venue.watcher)
            case "status":
                statuses = (SeriesStatus.INACTIVE, SeriesStatus.ACTIVE, SeriesStatus.CLOSING)
                status = statuses[amount % 3]
                venue.send(
                    bridge.configure, list_series(BTC_LAST, BTC, status), sender=venue.governor
                )
        flow.advance(12)

    return run


@slowly(8)
@given(played=st.lists(steps(), min_size=25, max_size=40))
def test_prove__any_honest_flow__no_fault(
    venue: Venue, tmp_path_factory: pytest.TempPathFactory, played: list[Step]
) -> None:
    with chain.isolate():
        lab = Lab(venue, tmp_path_factory.mktemp("flow"))
        first = lab.head.index
        flow = Flow(lab)
        for step in played:
            with suppress(RejectedError):
                step(flow)
        flow.finish()
        for exhibit in iterate_exhibits(lab, keep_states=False):
            if exhibit.place.submitted.header.index <= first:
                continue
            assert prove(lab, exhibit) == NO_FAULT
            for position in range(0, count_signatures(exhibit), 3):
                assert prove_signature(lab, exhibit, position) == NO_FAULT
        assert lab.inbox.batchCount() == lab.head.index + 1


# Any witness


@pytest.fixture
def exhibits(lab: Lab) -> list[Exhibit]:
    """The chunks of three honest batches, which together do all there is to do."""
    venue, bridge = lab.venue, lab.contracts.bridge
    lab.post_honest(
        lab.chunk(lab.fill(), lab.fill(posts="none"), lab.transfer(), lab.withdraw(nonce=101)),
        lab.chunk(
            lab.observe(BTC, PRICES[BTC] * 101 // 100),
            lab.mark(BTC_PERP, 3),
            lab.observe(ETH, 3 * 10**6),
        ),
        lab.chunk(lab.fill(maker=CAROL, taker=DAVE), lab.fill(maker=CAROL, taker=BOB)),
    )
    for account in (ALICE, BOB):
        venue.send(bridge.forceExit, account, 10**6, sender=venue.owners[account])
    venue.send(bridge.deposit, venue.keys[FRANK].address, 0, 10**9, sender=venue.governor)
    venue.send(bridge.force, b"nonsense", sender=venue.watcher)
    venue.send(bridge.cancelAll, CAROL, sender=venue.owners[CAROL])
    lab.sync()
    key = venue.traders[ERIN].address
    lab.post_honest(
        lab.chunk(*[lab.queue()] * 5),
        lab.chunk(lab.change_key(DAVE, key), lab.transfer(nonce=102)),
    )
    lab.post_honest(lab.chunk(lab.transfer(nonce=103)), lab.chunk(lab.mark(ETH_PERP)))
    return [
        exhibit
        for exhibit in iterate_exhibits(lab, keep_states=True)
        if exhibit.place.submitted.header.index >= lab.head.index - 2
    ]


def test_prove__honest_witness__no_fault(lab: Lab, exhibits: list[Exhibit]) -> None:
    assert len(exhibits) == 7
    for exhibit in exhibits:
        assert prove(lab, exhibit) == NO_FAULT
        for position in range(count_signatures(exhibit)):
            assert prove_signature(lab, exhibit, position) == NO_FAULT


@st.composite
def garbled(draw: st.DrawFn, witness: bytes, others: list[bytes]) -> bytes:
    """Return a witness that is not the honest one."""
    at = draw(st.integers(0, len(witness) - 1))
    match draw(st.sampled_from(("flip", "cut", "extend", "replace", "other", "splice", "drop"))):
        case "flip":
            changed = bytearray(witness)
            for place in {at, draw(st.integers(0, len(witness) - 1))}:
                changed[place] ^= 1 << draw(st.integers(0, 7))
            return bytes(changed)
        case "cut":
            return witness[:at]
        case "extend":
            return witness + draw(st.binary(min_size=1, max_size=64))
        case "replace":
            return witness[:at] + draw(st.binary(min_size=1, max_size=40)) + witness[at + 8 :]
        case "other":
            return draw(st.sampled_from(others))
        case "splice":
            other = draw(st.sampled_from(others))
            return witness[:at] + other[at:]
        case _:
            return witness[:at] + witness[at + draw(st.integers(1, 200)) :]


@slowly(150)
@given(data=st.data())
def test_prove__garbled_witness__reverts(
    lab: Lab, exhibits: list[Exhibit], data: st.DataObject
) -> None:
    exhibit = data.draw(st.sampled_from(exhibits))
    others = [each.place.witness for each in exhibits if each is not exhibit]
    witness = data.draw(garbled(exhibit.place.witness, others))
    assert prove(lab, exhibit, witness=witness) is not None


@st.composite
def chosen(draw: st.DrawFn, exhibit: Exhibit) -> bytes:
    """Return a witness true to the state that opens other leaves than the chunk needs."""
    state, needed = exhibit.state, exhibit.meter
    meter = Meter()
    strangers = set(state.accounts) | {AccountId(900)}
    meter.accounts = draw(subsets(needed.accounts, strangers))
    meter.markets = draw(subsets(needed.markets, set(state.markets) | {MarketId(900)}))
    slots = needed.slots | {(account, SlotId(7)) for account in strangers}
    meter.slots = {
        (account, slot)
        for account, slot in draw(subsets(needed.slots, slots))
        if account in meter.accounts
    }
    meter.exits = max(0, needed.exits + draw(st.integers(-1, 1)))
    known = len(state.messages) - state.globals.queue_index
    meter.messages = min(known, max(0, needed.messages + draw(st.integers(-1, 1))))
    return encode_witness(state, meter)


@st.composite
def subsets(draw: st.DrawFn, needed: set[Any], known: set[Any]) -> set[Any]:
    """Return what is needed, most often with something missing or something else besides."""
    found = set(needed)
    if needed and draw(st.booleans()):
        found.discard(draw(st.sampled_from(sorted(needed))))
    if known and draw(st.booleans()):
        found.add(draw(st.sampled_from(sorted(known))))
    return found


@slowly(150)
@given(data=st.data())
def test_prove__other_leaves_of_the_same_state__reverts(
    lab: Lab, exhibits: list[Exhibit], data: st.DataObject
) -> None:
    # What is not opened must never pass for what does not exist.
    exhibit = data.draw(st.sampled_from(exhibits))
    assert prove(lab, exhibit, witness=data.draw(chosen(exhibit))) is not None


@st.composite
def forged_states(draw: st.DrawFn, exhibit: Exhibit) -> State:
    """Return the state before the chunk with one lie in something that the chunk touches."""
    state, meter = copy(exhibit.state), exhibit.meter
    held: Any
    told: Any
    accounts = sorted(meter.accounts & set(state.accounts))
    markets = sorted(meter.markets & set(state.markets))
    slots = [
        (account, slot)
        for account, slot in sorted(meter.slots)
        if slot in state.slots.get(account, {})
    ]
    kinds = {"account": accounts, "market": markets, "slot": slots, "message": [meter.messages]}
    kind = draw(
        st.sampled_from(["globals", *(name for name, found in kinds.items() if any(found))])
    )
    if kind == "globals":
        name = draw(st.sampled_from([field.name for field in fields(state.globals)]))
        state.globals = replace(state.globals, **{name: forge(getattr(state.globals, name))})
        if name == "queue_index":
            state.messages = {index + 1: message for index, message in state.messages.items()}
    elif kind == "message":
        index = state.globals.queue_index + draw(st.integers(0, meter.messages - 1))
        held = state.messages[index]
        name = draw(st.sampled_from(("kind", "sender", "time", "body")))
        told = replace(held, **{name: forge(getattr(held, name))})
        state.messages = {**state.messages, index: told}
    elif kind == "slot":
        account, slot = draw(st.sampled_from(slots))
        held = state.slots[account][slot]
        filled = replace(held, filled=held.filled + 1)
        nonce = replace(held, order=replace(held.order, nonce=held.order.nonce + 1))
        told = {**state.slots[account], slot: draw(st.sampled_from((filled, nonce)))}
        state.slots = {**state.slots, account: told}
    elif kind == "account":
        account = draw(st.sampled_from(accounts))
        owned = state.accounts[account]
        name = draw(st.sampled_from([field.name for field in fields(owned)]))
        told = replace(owned, **{name: forge(getattr(owned, name))})
        state.accounts = {**state.accounts, account: told}
    else:
        market = draw(st.sampled_from(markets))
        leaf = state.markets[market]
        told = draw(st.sampled_from([*forge_market(leaf), None]))
        state.markets = {key: value for key, value in state.markets.items() if key != market}
        if told is not None:
            state.markets[market] = told
    return state


def forge(value: Any) -> Any:
    """Return another value of the same type."""
    match value:
        case bytes():
            return value[:-1] + bytes((value[-1] ^ 1,))
        case tuple():
            return value[1:] or (Position(BTC_LAST, 1, 0),)
        case _:
            return value + 1


def forge_market(leaf: MarketLeaf) -> list[MarketLeaf]:
    """Return leaves that differ from a market's in what decides money."""
    match leaf:
        case Series():
            return [
                replace(leaf, mark=leaf.mark + 1),
                replace(leaf, marked_at=Timestamp(0)),
                replace(leaf, open_interest=leaf.open_interest + 1),
                replace(leaf, status=SeriesStatus((leaf.status + 1) % 4)),
                replace(leaf, risk=tuple(100 * entry for entry in leaf.risk)),
            ]
        case Underlying():
            return [
                replace(leaf, index=leaf.index + 1),
                replace(leaf, pending_index=1),
                replace(leaf, observed_at=Timestamp(leaf.observed_at + 86_400)),
                replace(leaf, params=replace(leaf.params, taker_fee=leaf.params.taker_fee + 1)),
            ]
        case Grid():
            return [replace(leaf, scenarios=leaf.scenarios[:-1])]
        case Expiry():
            return [
                replace(leaf, ratio=leaf.ratio + 1),
                replace(leaf, settlement=leaf.settlement + 1),
                replace(leaf, surfaced_at=Timestamp(leaf.surfaced_at + 1)),
                replace(leaf, long_discount=leaf.long_discount + 1),
            ]
        case Committee():
            return [replace(leaf, threshold=len(leaf.signers) + 1)]


@slowly(200)
@given(data=st.data())
def test_prove__witness_of_a_forged_state__reverts(
    lab: Lab, exhibits: list[Exhibit], data: st.DataObject
) -> None:
    exhibit = data.draw(st.sampled_from(exhibits))
    witness = encode_witness(data.draw(forged_states(exhibit)), exhibit.meter)
    assert witness != exhibit.place.witness
    refusal = prove(lab, exhibit, witness=witness)
    assert refusal not in (None, NO_FAULT)


KINDS_OF_SIGNATURE_LIES = ("witness", "leaves", "state", "position", "signatures", "data")


@slowly(120)
@given(data=st.data())
def test_prove_signature__garbled__reverts(
    lab: Lab, exhibits: list[Exhibit], data: st.DataObject
) -> None:
    signed = [exhibit for exhibit in exhibits if count_signatures(exhibit)]
    exhibit = data.draw(st.sampled_from(signed))
    count = count_signatures(exhibit)
    position = data.draw(st.integers(0, count - 1))
    honest = encode_signature_witness(exhibit.state, exhibit.data, position)
    other = data.draw(st.sampled_from(exhibits))
    changes: dict[str, Any] = {}
    match data.draw(st.sampled_from(KINDS_OF_SIGNATURE_LIES)):
        case "witness":
            changes["witness"] = data.draw(garbled(honest, [other.place.witness]))
        case "leaves":
            changes["witness"] = data.draw(chosen(exhibit))
        case "state":
            state = data.draw(forged_states(exhibit))
            changes["witness"] = encode_signature_witness(state, exhibit.data, position)
        case "position":
            changes["witness"] = honest
            position = data.draw(st.one_of(st.integers(0, count + 2), st.just(2**256 - 1)))
        case "signatures":
            section = bytearray(exhibit.signatures)
            section[data.draw(st.integers(0, len(section) - 1))] ^= 1
            changes["signatures"] = bytes(section)
        case _:
            changes["witness"] = honest
            changes["data"] = other.data
    assert prove_signature(lab, exhibit, position, **changes) is not None


# Any place

HEADER_FIELDS = range(15)


def set_field(values: tuple[Any, ...], place: int, change: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return a tuple with one value changed."""
    return (*values[:place], change(values[place]), *values[place + 1 :])


def alter(value: Any) -> Any:
    """Return another value of the same ABI type."""
    match value:
        case bytes():
            return keccak(value)
        case str():
            return "0x" + keccak(value.encode())[12:].hex()
        case list():
            return [keccak(value[0]), *value[1:]]
        case _:
            return value ^ 1


@pytest.mark.parametrize("place", HEADER_FIELDS)
def test_prove__header_changed__reverts(lab: Lab, exhibits: list[Exhibit], place: int) -> None:
    for exhibit in exhibits[:3]:
        for header, refusal in ((0, "FraudProver_NotPending"), (1, "FraudProver_WrongPrevious")):
            proof = set_field(exhibit.proof, header, lambda it: set_field(it, place, alter))
            assert prove(lab, exhibit, proof=proof) == refusal
            assert prove_signature(lab, exhibit, 0, proof=proof, witness=b"") == refusal


def test_prove__header_of_another_batch__reverts(lab: Lab, exhibits: list[Exhibit]) -> None:
    # | header | of |
    # |---|---|
    # | the batch's | the batch before or after it |
    # | the batch's | the genesis and the first batch, which have settled |
    # | the one before | the batch itself, or any other |
    chain_of = [derived.submitted for derived in lab.follower.chain]
    for exhibit in exhibits:
        own = exhibit.place.submitted
        for submitted in chain_of:
            if submitted != own:
                place = replace(exhibit.place, submitted=submitted)
                proof = compute_chunk_proof(place)
                assert prove(lab, exhibit, proof=proof) in (
                    "FraudProver_NotPending",
                    "FraudProver_WrongPrevious",
                )
            if submitted != exhibit.place.previous:
                proof = compute_chunk_proof(replace(exhibit.place, previous=submitted))
                assert prove(lab, exhibit, proof=proof) == "FraudProver_WrongPrevious"


def test_prove__other_chunk__reverts(lab: Lab, exhibits: list[Exhibit]) -> None:
    # | index | data | branch |
    # |---|---|---|
    # | another | own | own |
    # | own | another's | own |
    # | own | own | another's, and one field after the other changed |
    # | past the end | own | own |
    wrong = {"FraudProver_WrongChunk", "FraudProver_ChunkIndex"}
    for exhibit in exhibits:
        proof = exhibit.proof
        for index in (0, 1, 2, 3, 255, 256, 2**256 - 1):
            if index != exhibit.place.chunk:
                changed = set_field(proof, 2, lambda _, index=index: index)
                assert prove(lab, exhibit, proof=changed) in wrong
        for other in exhibits:
            if other is exhibit:
                continue
            assert prove(lab, exhibit, data=other.data) == "FraudProver_WrongChunk"
            swapped = (*proof[:3], *other.proof[3:])
            assert prove(lab, exhibit, proof=swapped) == "FraudProver_WrongChunk"
            both = prove(lab, exhibit, proof=swapped, data=other.data)
            assert both == "FraudProver_WrongChunk"
        for place in range(3, 10 if exhibit.place.chunk else 6):
            changed = set_field(proof, place, alter)
            assert prove(lab, exhibit, proof=changed) == "FraudProver_WrongChunk"


def test_prove__stale_header__reverts(lab: Lab) -> None:
    # | operator | watcher |
    # |---|---|
    # | posts a lie | sees it, keeps its proof |
    # | the lie is removed; standby posts the honest batch in its place | |
    # | | sends the old proof, and the old header with the honest data: both refused |
    honest = lab.lie(lab.transfer())
    _, good = lab.judge(honest)
    lie = replace(honest, root=b"\x01" * 32)
    _, bad = lab.judge(lie)
    lab.post(lie, bad)
    watcher = Follower(lab.venue.gateway)
    watcher.poll()
    fraud = watcher.fraud
    assert fraud is not None
    lab.remove(Fault.WRONG_POST_ROOT)
    lab.sync()
    lab.post_honest(*honest.chunks, sender=lab.venue.standby)
    (exhibit,) = list(iterate_exhibits(lab, keep_states=False))[-1:]
    assert exhibit.place.submitted.header.index == fraud.submitted.header.index
    stale = compute_chunk_proof(fraud)
    refusal = prove(lab, exhibit, proof=stale, data=fraud.chunks[0].data, witness=fraud.witness)
    assert refusal == "FraudProver_NotPending"
    mixed = set_field(exhibit.proof, 0, lambda _: stale[0])
    assert prove(lab, exhibit, proof=mixed) == "FraudProver_NotPending"
    assert prove(lab, exhibit) == NO_FAULT
    assert good


@slowly(40)
@given(data=st.data())
def test_prove__too_little_gas__reverts(
    lab: Lab, exhibits: list[Exhibit], data: st.DataObject
) -> None:
    # Running out of gas anywhere must never be read as a fault.
    exhibit = data.draw(st.sampled_from(exhibits))
    gas = data.draw(st.integers(21_000, 1_500_000))
    if count_signatures(exhibit) and data.draw(st.booleans()):
        assert prove_signature(lab, exhibit, 0, gas=gas) is not None
    else:
        assert prove(lab, exhibit, gas=gas) is not None


def test_prove__sent_all_the_same__fails_and_changes_nothing(
    lab: Lab, exhibits: list[Exhibit]
) -> None:
    # | attacker | L1 |
    # |---|---|
    # | sends a proof against an honest chunk, without simulating it | reverts; every batch stands |
    exhibit = exhibits[0]
    method = lab.contracts.prover.prove
    count = lab.inbox.batchCount()
    with pytest.raises(AssertionError, match=NO_FAULT):
        lab.venue.send(
            method, exhibit.proof, exhibit.data, exhibit.place.witness, sender=lab.venue.watcher
        )
    assert lab.inbox.batchCount() == count
    compute_state_root(lab.state)
    lab.sync()
    assert lab.follower.fraud is None
