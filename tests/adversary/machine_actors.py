"""Who plays in the L1 state machine: an honest venue, its standby, a liar, a prover of nonsense."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from ape.api import AccountAPI

from deltaroll.l1.types import BatchSubmitted, PostedChunk
from deltaroll.node.admission import RejectedError
from deltaroll.node.batcher import CLOCK_BYTES, Batcher, BatcherError, Posting
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
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.leaf import encode_globals
from deltaroll.protocol.recovery import SIGNATURE_BYTES
from deltaroll.protocol.state import State, compute_state_root, process_exit
from deltaroll.protocol.transition import compute_fault
from deltaroll.protocol.types import AccountId, Address, Exit, Message, SlotId, Transfer, Withdraw
from deltaroll.protocol.witness import encode_signature_witness
from tests.scenarios.support import (
    ALICE,
    BLOCK_SECONDS,
    BOB,
    BTC,
    BTC_PERP,
    CALL,
    DAVE,
    ERIN,
    ETH,
    ETH_PERP,
    PRICES,
    Lab,
    Lie,
    Signed,
    observe_with,
    order_with,
)

TRADERS = (ALICE, BOB, DAVE)
MESSAGES_PER_CHUNK = 3
LOOT = 10**11
"""What a thief's exit asks for: far less than the vault holds, so it would be paid."""


class Actions:
    """Erin's, inside one batch."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.nonce = lab.state.accounts[ERIN].nonce

    def act(self, random: Random) -> Signed[Any]:
        """Return a transfer or a withdrawal of a little."""
        self.nonce += 1
        amount = random.randrange(1, 10**6)
        if random.random() < 0.5:
            return self.lab.transfer(amount, nonce=self.nonce)
        return self.lab.withdraw(amount, nonce=self.nonce)


def draft(lab: Lab, random: Random, least: int, most: int) -> Lie:
    """Return an honest batch that consumes between `least` and `most` messages of the queue."""
    actions = Actions(lab)
    chunks: list[list[Signed[Any]]] = []
    count = random.randint(least, most)
    if count != 0 or random.random() < 0.3:
        chunks.append(refresh(lab))
    if chunks and random.random() < 0.5:
        maker, taker = random.sample(TRADERS, 2)
        chunks.append([fill(lab, maker, taker, random.random() < 0.5)])
    chunks.extend(
        [lab.queue()] * min(MESSAGES_PER_CHUNK, count - start)
        for start in range(0, count, MESSAGES_PER_CHUNK)
    )
    chunks.extend(
        [actions.act(random) for _ in range(random.randint(1, 3))]
        for _ in range(random.randint(0 if chunks else 1, 3))
    )
    end = lab.state.globals.queue_index + count
    return Lie(tuple(lab.chunk(*signed) for signed in chunks), queue_end=end)


def fill(lab: Lab, maker: AccountId, taker: AccountId, maker_is_buy: bool) -> Signed[Any]:
    """Return a fill of a lot at the mark, whoever has cancelled all orders before."""
    epochs = [{"epoch": lab.state.accounts[account].epoch} for account in (maker, taker)]
    return lab.fill(maker, taker, maker_is_buy=maker_is_buy, of_maker=epochs[0], of_taker=epochs[1])


def refresh(lab: Lab) -> list[Signed[Any]]:
    """Return new prices and marks of all that somebody holds."""
    return [
        lab.observe(BTC, PRICES[BTC]),
        lab.observe(ETH, PRICES[ETH]),
        lab.mark(BTC_PERP, 3),
        lab.mark(ETH_PERP),
        lab.surface(),
        lab.mark(CALL, 2),
    ]


# Lies


@dataclass(frozen=True)
class Loot:
    """A claim that pays as soon as its batch has settled."""

    globals: bytes
    index: int
    exit: Exit
    branch: list[bytes]


@dataclass(frozen=True)
class Forgery:
    """A batch whose chunk `chunk` is wrong and all before it are right."""

    kind: str
    chunk: int
    queue_end: int
    posted: tuple[PostedChunk, ...]
    loot: Loot | None = None


def forge(lab: Lab, random: Random, least: int, waiting: int, thief: Address) -> Forgery:
    """Return a batch that would be honest but for one thing.

    Parameters
    ----------
    least
        Messages that the batch has to say it consumes.
    waiting
        Messages that it can consume.
    """
    kinds = ["root", "loot", "garbled", "signature", "clock", "replay"]
    if waiting:
        kinds += ["skip", "skip"]
    if waiting > least:
        kinds += ["short", "short"]
    kind = random.choice(kinds)
    if kind == "skip":
        return forge_skip(lab, random, least, waiting)
    if kind == "short":
        return forge_short(lab, random, least, waiting)
    if kind == "root":
        return forge_root(lab, random, least, waiting)
    honest = draft(lab, random, least, waiting)
    if kind == "loot":
        return forge_loot(lab, honest, thief)
    posted = judge_honest(lab, honest)
    chunk = random.randrange(len(posted))
    if kind == "signature":
        chunk = random.choice([place for place, one in enumerate(posted) if one.signatures])
    wrong = twist(lab, random, kind, posted[chunk])
    changed = (*posted[:chunk], wrong, *posted[chunk + 1 :])
    return Forgery(kind, chunk, lab.compute_queue_end(honest), changed)


def judge_honest(lab: Lab, honest: Lie) -> list[PostedChunk]:
    """Return the chunks of a batch without a fault, with their roots."""
    findings, posted = lab.judge(honest)
    assert not findings, findings
    return posted


def twist(lab: Lab, random: Random, kind: str, chunk: PostedChunk) -> PostedChunk:
    """Return a chunk that cannot be right where this one is."""
    clock = int.from_bytes(chunk.data[:CLOCK_BYTES], "big")
    match kind:
        case "garbled":
            return replace(chunk, data=garble(random, chunk.data))
        case "signature":
            return replace(chunk, signatures=garble(random, chunk.signatures))
        case "clock":
            late = lab.time + random.randint(1, MAX_CLOCK_LAG)
            clock = random.choice([late, clock - MAX_CLOCK_LAG - 1])
            return replace(
                chunk, data=clock.to_bytes(CLOCK_BYTES, "big") + chunk.data[CLOCK_BYTES:]
            )
        case _:
            # Of another batch than the last one: its clock has passed.
            return random.choice([old for one in lab.follower.chain[1:-1] for old in one.chunks])


def garble(random: Random, data: bytes) -> bytes:
    """Return other bytes."""
    place = random.randrange(len(data))
    match random.randrange(4):
        case 0:
            return (
                data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]
            )
        case 1:
            return data[:-1] or b"\x00\x00"
        case 2:
            return data + random.randbytes(1)
        case _:
            return random.randbytes(len(data) + 1)


def forge_root(lab: Lab, random: Random, least: int, waiting: int) -> Forgery:
    """Return a batch with a root that no state has."""
    honest = draft(lab, random, least, waiting)
    posted = judge_honest(lab, honest)
    chunk = random.randrange(len(posted))
    posted[chunk] = replace(posted[chunk], post_root=random.randbytes(32))
    return Forgery("root", chunk, lab.compute_queue_end(honest), tuple(posted))


def forge_skip(lab: Lab, random: Random, least: int, waiting: int) -> Forgery:
    """Return a batch that says it consumes a message more than it does."""
    honest = draft(lab, random, max(least - 1, 0), waiting - 1)
    posted = judge_honest(lab, honest)
    return Forgery("skip", len(posted) - 1, lab.compute_queue_end(honest) + 1, tuple(posted))


def forge_short(lab: Lab, random: Random, least: int, waiting: int) -> Forgery:
    """Return a batch that consumes a message more than it says."""
    honest = draft(lab, random, least + 1, waiting)
    posted = judge_honest(lab, honest)
    end = lab.compute_queue_end(honest) - 1
    findings, _ = lab.judge(replace(honest, queue_end=end))
    return Forgery("short", findings[0].chunk, end, tuple(posted))


def forge_loot(lab: Lab, honest: Lie, thief: Address) -> Forgery:
    """Return a batch in whose state a thief has an exit."""
    found: list[Loot] = []

    def steal(state: State) -> None:
        index = len(state.exits)
        leaf = Exit(0, thief, LOOT)
        process_exit(state, leaf)
        compute_state_root(state)
        found.append(Loot(encode_globals(state.globals), index, leaf, state.get_exit_branch(index)))

    _, posted = lab.judge(replace(honest, twist=steal))
    end = lab.compute_queue_end(honest)
    return Forgery("loot", len(posted) - 1, end, tuple(posted), found[0])


def compute_nonsense(random: Random, clock: int) -> tuple[PostedChunk, ...]:
    """Return one chunk that means nothing."""
    data = clock.to_bytes(CLOCK_BYTES, "big") + random.randbytes(random.randrange(200))
    return (PostedChunk(data, random.randbytes(SIGNATURE_BYTES), random.randbytes(32)),)


# False proofs


@dataclass(frozen=True)
class Exhibit:
    """An honest chunk, with what there is to say against it: nothing."""

    place: Fraud
    """Where it is; its fault is NONE."""
    signature_witness: bytes
    """Of the signature at `place.position`; empty when the chunk has none."""


def compute_exhibits(
    lab: Lab,
    random: Random,
    submitted: BatchSubmitted,
    posted: Sequence[PostedChunk],
    count: int,
) -> list[Exhibit]:
    """Return the first `count` chunks of a batch, all honest, on top of the lab's state."""
    previous = lab.follower.chain[-1].submitted
    state = lab.state
    exhibits = []
    state.begin()
    for index, chunk in enumerate(posted[:count]):
        context = compute_context(submitted, previous, index, lab.domain)
        witness = compute_transition_witness(state, chunk.data, context)
        signatures = len(chunk.signatures) // SIGNATURE_BYTES
        position = random.randrange(signatures) if signatures else None
        other = b""
        if position is not None:
            compute_state_root(state)
            other = encode_signature_witness(state, chunk.data, position)
        place = Fraud(submitted, previous, tuple(posted), index, Fault.NONE, position, witness)
        exhibits.append(Exhibit(place, other))
        fault = compute_fault(state, chunk.data, context, chunk.post_root)
        assert fault == Fault.NONE, fault
    state.rollback()
    return exhibits


def prove_falsely(lab: Lab, random: Random, exhibit: Exhibit, other: Exhibit, who: Any) -> str:
    """Try to have an honest chunk's batch removed; return the refusal, empty when there is none.

    Parameters
    ----------
    other
        Where wrong data come from.
    """
    prover = lab.contracts.prover
    place = exhibit.place
    chunk = place.chunks[place.chunk]
    proof = list(compute_chunk_proof(place))
    data, witness = chunk.data, place.witness
    by_signature = bool(exhibit.signature_witness) and random.random() < 0.4
    if by_signature:
        witness = exhibit.signature_witness
    gas = 0
    match random.randrange(9):
        case 0 | 1:
            pass
        case 2 | 3:
            witness = garble(random, witness)
        case 4:
            witness = other.place.witness
        case 5:
            data = other.place.chunks[other.place.chunk].data
        case 6:
            # Where the chunk is: other header, place, hashes, branches.
            field = random.randrange(len(proof))
            proof[field] = compute_chunk_proof(other.place)[field]
        case 7:
            proof[random.choice([3, 4, 6, 7, 8])] = random.randbytes(32)
        case _:
            gas = random.randrange(100_000, 3_000_000)
    if by_signature:
        position = random.choice([place.position, 0, random.randrange(2**16)])
        arguments = (tuple(proof), data, chunk.signatures, position, witness)
        refusal = lab.venue.simulate(prover.proveSignature, *arguments, sender=who, gas=gas)
    else:
        refusal = lab.venue.simulate(prover.prove, tuple(proof), data, witness, sender=who, gas=gas)
    return refusal or ""


# The honest venue


class RealVenue:
    """The base's sequencer and batcher, started again."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.sequencer: Sequencer = lab.open_sequencer()
        self.follower = Follower(lab.venue.gateway)
        self.taken: list[Message] = []
        """Messages that the log has consumed."""

    def work(self, random: Random) -> None:
        """Look at L1, serve traders for a while, seal."""
        sequencer, venue = self.sequencer, self.lab.venue
        take_in(sequencer, self.follower)
        end = sequencer.state.globals.queue_index
        self.taken = [self.follower.state.messages[place] for place in range(end)]
        for underlying, price in PRICES.items():
            with suppress(RejectedError):
                observe_with(venue, sequencer, underlying, price)
        for _ in range(random.randint(1, 4)):
            with suppress(RejectedError):
                self.serve(random)
        sequencer.seal()
        sequencer.flush()

    def serve(self, random: Random) -> None:
        """Take one request."""
        sequencer, venue = self.sequencer, self.lab.venue
        if random.random() < 0.5:
            maker, taker = random.sample(TRADERS, 2)
            slot = SlotId(random.randrange(200, 220))
            for account, is_buy in ((maker, True), (taker, False)):
                price = PRICES[BTC]
                order_with(venue, sequencer, account, slot, BTC_PERP, is_buy, price, 1)
            return
        nonce = sequencer.state.accounts[ERIN].nonce + 1
        key = venue.keys[ERIN]
        amount = random.randrange(1, 10**6)
        action: Transfer | Withdraw = Transfer(ERIN, BOB, amount, nonce)
        if random.random() < 0.6:
            action = Withdraw(ERIN, key.address, amount, nonce)
        sequencer.submit_action(action, key.sign_action(sequencer.domain, action))

    def post(self, account: AccountAPI) -> Posting | None:
        """Post what is sealed from an account."""
        return Batcher(
            self.sequencer.store, self.follower, Sender(self.lab.venue.gateway, account)
        ).post()

    def is_lost(self) -> bool:
        """Whether it would have to be rebased: somebody else has posted, L1 has reorganised a
        message away that the log has consumed, or a chunk has become too old.
        """
        self.follower.poll()
        messages = self.follower.state.messages
        if any(messages.get(place) != message for place, message in enumerate(self.taken)):
            return True
        try:
            sender = Sender(self.lab.venue.gateway, self.lab.venue.operator)
            number = Batcher(self.sequencer.store, self.follower, sender).find_next_chunk()
        except BatcherError:
            return True
        chunk = self.sequencer.store.get_chunk(number)
        if chunk is None:
            return False
        clock = int.from_bytes(chunk.data[:CLOCK_BYTES], "big")
        assert self.follower.head is not None
        return clock + MAX_CLOCK_LAG <= self.follower.head.time + BLOCK_SECONDS
