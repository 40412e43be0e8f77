"""Honest batches: random legal flow as a sequencer posts it, several chunks a batch, signed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random

from pyrevm import fake_exponential

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from deltaroll.protocol.eip712 import compute_digest
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.recovery import SIGNATURE_BYTES, recover_signer
from deltaroll.protocol.signatures import (
    Role,
    SignatureRequest,
    compute_bad_signature,
    compute_chunk_requests,
)
from deltaroll.protocol.state import Meter, State, compute_state_root, reset_meter
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.tree import MerkleTree
from deltaroll.protocol.types import (
    AccountId,
    Committee,
    Context,
    DataFee,
    Expiry,
    Fund,
    List,
    Mark,
    MarketId,
    Message,
    MessageKind,
    Observe,
    Surface,
    Timestamp,
    Transaction,
    Underlying,
)
from deltaroll.protocol.witness import encode_witness
from tests.protocol import strategies
from tests.protocol.heavy import fill_new_pairs, transfer
from tests.protocol.proving import DOMAIN
from tests.protocol.scenes import Scene, count_legal, create_scene, materialise
from tests.protocol.strategies import BY_ADDRESS, SIGNERS, START, Draft, World, step_refresh
from tests.protocol.verifiers import hash_message

GENESIS_QUEUE = keccak(b"queue")
"""Stands for the messages that the state before the first batch has consumed."""
BLOB_FRACTION = 3_338_477
"""How slowly the blob fee follows the excess (EIP-4844)."""
MANY = 1 << 40
"""End of a queue range that is not known yet."""
MARKET_FLOW = (DataFee, Fund, List, Mark, Observe, Surface)
"""Transactions that touch no accounts."""
SIGNED = 512
"""Signatures that the inbox takes in one chunk."""
MOST_STEPS = 60
TRIES = 60
"""Drafts for one chunk: some break a rule that only a whole chunk can break."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """An honest chunk, and all that an attacker knows about it."""

    data: bytes
    signatures: bytes
    post_root: bytes
    state: State
    """Before the chunk."""
    meter: Meter
    """What it touches."""
    witness: bytes
    count: int
    """Signatures that it carries."""


@dataclass(frozen=True, slots=True)
class Batch:
    """An honest batch before it is posted."""

    chunks: tuple[Chunk, ...]
    l1_time: int
    excess: int
    """Blob gas in excess at its L1 block, which makes the blob fee. The base fee is 0: in process,
    blocks have none.
    """
    queue_end: int
    queue_hash: bytes
    hashes: dict[int, bytes]
    """What the queue grew by before the batch."""


@dataclass(slots=True)
class Story:
    """A genesis, and honest batches on it."""

    genesis_root: bytes
    genesis_time: int
    genesis_queue: dict[int, bytes]
    batches: list[Batch] = field(default_factory=list)
    later: dict[int, bytes] = field(default_factory=dict)
    """What the queue grew by after the last batch."""
    messages: Mapping[int, Message] = field(default_factory=dict)
    """All of the queue that anyone knows."""


class Author:
    """Writes a story: every chunk follows from the one before."""

    def __init__(self, rng: Random, state: State) -> None:
        self.rng = rng
        self.state = state
        self.clock = int(state.globals.clock)
        index = state.globals.queue_index
        self.chain = GENESIS_QUEUE if index else ZERO_HASH
        queue = {index - 1: self.chain} if index else {}
        self.story = Story(compute_state_root(state), self.clock, queue)
        self._blob_fee = 1
        self._l1_time = 0

    def add_batch(self, drafts: list[Callable[[int], bytes]]) -> None:
        """Add a batch of chunks; a draft is asked again until its chunk is legal."""
        rng, state = self.rng, self.state
        start = state.globals.queue_index
        l1_time = max(self._l1_time, self.clock + rng.choice((0, 1, 12, 3_600)))
        self._l1_time = l1_time
        chunks: list[Chunk] = []
        # Contexts of all but the last chunk say "not the last"; where the range ends decides
        # nothing before the end.
        for number, draft in enumerate(drafts):
            is_first = number == 0
            context = Context(DOMAIN, Timestamp(l1_time), MANY, 0, self._blob_fee, is_first, False)
            for _ in range(TRIES):
                chunk = self._try(draft(l1_time), context)
                if chunk is not None:
                    break
            else:
                empty = encode_chunk(Timestamp(max(l1_time - MAX_CLOCK_LAG, self._now)), [])
                chunk = self._try(empty, context)
            assert chunk is not None
            chunks.append(chunk)
        hashes = {}
        end = state.globals.queue_index
        for index in range(start, end):
            self.chain = keccak(self.chain + hash_message(state.messages[index]))
            hashes[index] = self.chain
        excess = rng.choice((0, 10**7, 10**8))
        self._blob_fee = fake_exponential(1, excess, BLOB_FRACTION)
        batch = Batch(tuple(chunks), l1_time, excess, end, self.chain, hashes)
        self.story.batches.append(batch)
        self.clock = max(int(state.globals.clock), l1_time - 3_600) + rng.choice((0, 12, 60))

    def finish(self) -> Story:
        """Let some messages wait in the queue, and return the story."""
        state = self.state
        first = state.globals.queue_index
        for index in range(first, first + 3):
            state.messages[index] = Message(
                MessageKind.DEPOSIT, SIGNERS[index % 6].address, Timestamp(self.clock), bytes(40)
            )
            self.chain = keccak(self.chain + hash_message(state.messages[index]))
            self.story.later[index] = self.chain
        self.story.messages = state.messages
        for batch in self.story.batches:
            for chunk in batch.chunks:
                # Everybody knows the whole queue.
                chunk.state.messages = state.messages
        return self.story

    @property
    def _now(self) -> int:
        return int(self.state.globals.clock)

    def _try(self, data: bytes, context: Context) -> Chunk | None:
        state = self.state
        before = copy_state(state)
        signatures = sign_chunk(self.rng, state, data)
        if compute_bad_signature(state, data, signatures, DOMAIN) is not None:
            return None
        state.begin()
        try:
            process_chunk(state, data, context)
            root = compute_state_root(state)
        except TransitionFault:
            state.rollback()
            compute_state_root(state)
            return None
        state.commit()
        meter = state.meter
        witness = encode_witness(before, meter)
        count = len(signatures) // SIGNATURE_BYTES
        return Chunk(data, signatures, root, before, meter, witness, count)


def draft_chunk(author: Author, world: World, wanted: int) -> Callable[[int], bytes]:
    """Random legal flow with so many transactions beside those of `MARKET_FLOW`, if they come."""

    def draft(l1_time: int) -> bytes:
        rng, state = author.rng, author.state
        start = state.globals.queue_index
        clock = min(l1_time, int(state.globals.clock) + rng.choice((0, 0, 1, 5, 60)))
        clock = max(clock, int(state.globals.clock), l1_time - MAX_CLOCK_LAG)
        draft = Draft(rng, world, clock, 0.0)
        if rng.random() < 0.6:
            step_refresh(draft)
        for _ in range(MOST_STEPS):
            draft.grow()
            if sum(not isinstance(item, MARKET_FLOW) for item in draft.transactions) >= wanted:
                break
        end = state.globals.queue_index
        draft.finish()
        # Drafts sign what they force for another rollup.
        for index in range(start, end):
            message = replace(state.messages[index], time=Timestamp(l1_time))
            if message.kind == MessageKind.FORCED:
                message = replace(message, body=sign_forced(message.body))
            state.messages[index] = message
        return encode_chunk(Timestamp(clock), draft.transactions)

    return draft


def copy_state(state: State) -> State:
    """Return a state that changes on its own; leaves are immutable and shared, as are messages."""
    twin = copy(state)
    twin.accounts, twin.markets = dict(state.accounts), dict(state.markets)
    twin.slots = {account: dict(slots) for account, slots in state.slots.items()}
    twin.exits = list(state.exits)
    twin._lanes = dict(state._lanes)
    twin._journal, twin._marks = list(state._journal), list(state._marks)
    twin._account_tree = copy_tree(state._account_tree)
    twin._market_tree = copy_tree(state._market_tree)
    twin._exit_tree = copy_tree(state._exit_tree)
    twin._slot_trees = {key: copy_tree(tree) for key, tree in state._slot_trees.items()}
    twin._dirty_accounts = set(state._dirty_accounts)
    twin._dirty_markets = set(state._dirty_markets)
    twin._dirty_slots = set(state._dirty_slots)
    twin._dirty_exits = set(state._dirty_exits)
    reset_meter(twin)
    return twin


def copy_tree(tree: MerkleTree) -> MerkleTree:
    """Return a tree that changes on its own."""
    twin = MerkleTree(tree.depth)
    twin._levels = [dict(level) for level in tree._levels]
    return twin


def sign_forced(body: bytes) -> bytes:
    """Sign a forced transaction for this rollup, by whoever signed it for the drafts'."""
    size = int.from_bytes(body[:2], "big")
    data, signatures = body[2 : 2 + size], body[2 + size :]
    try:
        _, requests = compute_chunk_requests(data)
    except TransitionFault:
        return body
    parts = [body[: 2 + size]]
    for position, request in enumerate(requests):
        signature = signatures[position * SIGNATURE_BYTES : (position + 1) * SIGNATURE_BYTES]
        digest = compute_digest(strategies.DOMAIN, request.struct_hash)
        signer = BY_ADDRESS.get(recover_signer(digest, signature))
        if signer is None:
            return body
        parts.append(signer.sign(compute_digest(DOMAIN, request.struct_hash)))
    return b"".join(parts)


def sign_chunk(rng: Random, state: State, data: bytes) -> bytes:
    """Sign a chunk with the keys that the state before it names."""
    clock, requests = compute_chunk_requests(data)
    return b"".join(sign(rng, state, clock, request) for request in requests)


def sign(rng: Random, state: State, clock: int, request: SignatureRequest) -> bytes:
    """Give one signature; a wrong one when nobody here has the key."""
    signer = SIGNERS[-1]
    if request.role in (Role.ORACLE, Role.SURFACE):
        leaf = state.markets.get(MarketId(request.subject))
        if isinstance(leaf, Expiry):
            leaf = state.markets.get(leaf.underlying)
        if isinstance(leaf, Underlying):
            committee = state.markets.get(leaf.params.committee)
            if isinstance(committee, Committee) and request.signer < len(committee.signers):
                signer = BY_ADDRESS.get(committee.signers[request.signer], signer)
    else:
        account = state.accounts.get(AccountId(request.subject))
        if account is not None:
            signer = BY_ADDRESS.get(account.owner, signer)
            is_live = clock <= account.key_expiry and request.role == Role.TRADER
            if is_live and rng.random() < 0.5:
                signer = BY_ADDRESS.get(account.trading_key, signer)
    return signer.sign(compute_digest(DOMAIN, request.struct_hash))


def write_story(rng: Random, kind: str, gaps: Sequence[int] = (0, 0, 0), chunks: int = 3) -> Story:
    """Honest batches on a world of one kind; `gaps` are seconds of silence before each."""
    world = strategies.BUILDERS[kind](rng)
    compute_state_root(world.state)
    reset_meter(world.state)
    author = Author(rng, world.state)
    for gap in gaps:
        author.clock += gap
        drafts = [draft_chunk(author, world, rng.choice((2, 6, 12))) for _ in range(chunks)]
        author.add_batch(drafts)
    return author.finish()


def write_heavy_story() -> Story:
    """One batch of one chunk: as many fills between ever new accounts as are legal."""
    fills = create_scene(254, 1, 8)
    return _write_scene(fills, materialise(fills, fill_new_pairs(fills)))


def write_long_story() -> Story:
    """One batch of one chunk: as many transfers as signatures fit."""
    transfers = create_scene(2)
    return _write_scene(transfers, materialise(transfers, islice(transfer(transfers), SIGNED)))


def _write_scene(scene: Scene, transactions: list[Transaction]) -> Story:
    author = Author(Random(0), scene.state)
    data = encode_chunk(START, transactions[: count_legal(scene, transactions)])
    author.add_batch([lambda _: data])
    return author.finish()
