"""The moves of the L1 state machine, and what must hold after each.

The world knows of every batch whether it was posted honestly, because it posted it. It keeps the
books of bonds, rewards, deposits and claims by what the moves mean, and holds L1 and the nodes
against that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

from ape.api import AccountAPI
from eth_utils.address import to_checksum_address

from deltaroll.engine.ledger import compute_equity
from deltaroll.l1.commitments import compress_branch, to_header_tuple
from deltaroll.l1.types import BatchSubmitted, BlockRef, Header, MessageQueued, PostedChunk
from deltaroll.node.audit import compute_audit
from deltaroll.node.batcher import BatcherError, compute_submission
from deltaroll.node.challenger import ChallengeError, Challenger, Removal, compute_chunk_proof
from deltaroll.node.follower import Follower
from deltaroll.node.sender import Sender
from deltaroll.protocol.hashing import ZERO_HASH
from deltaroll.protocol.types import MessageKind
from tests.adversary.campaign import Ledger
from tests.adversary.machine_actors import (
    Exhibit,
    Forgery,
    Loot,
    RealVenue,
    compute_exhibits,
    compute_nonsense,
    draft,
    judge_honest,
)
from tests.adversary.machine_books import Books
from tests.adversary.machine_stage import HALF, Stage, View
from tests.scenarios.support import BLOCK_SECONDS, BOND, FOREVER, WINDOW, Lab, Rpc

HOUR = 3_600
PROPOSER_DELAY = FORCED_DELAY = 12 * HOUR
REACTION = 2 * HOUR
"""A challenger that is not dawdling has proven a lie so long before its window ends."""
REORG = HOUR
"""As far back as L1 forgets blocks."""
CHECKPOINTS = 8
BASE_FEE = 10**9
BOND_ABI, REWARD_ABI = ("uint128", "uint64"), ("address", "uint64")
EXHIBITS = 12

LIES, FALSE, HONEST = "l1: lies", "l1: false challenges", "l1: honest batches"
REORGS, CLAIMS = "l1: reorgs", "l1: claims"


class BreachError(Exception):
    """A promise that was not kept."""

    def __init__(self, row: str, note: str, *, is_refusal: bool = False) -> None:
        super().__init__(note)
        self.row = row
        self.note = note
        self.is_refusal = is_refusal


@dataclass(frozen=True)
class Checkpoint:
    """Where L1 may go back to."""

    snapshot: str
    time: int
    books: Books
    sent: int
    """Messages that had been sent."""


@dataclass(frozen=True)
class Sent:
    """A message to the queue as its sender sent it."""

    method: Any
    arguments: tuple[Any, ...]
    sender: AccountAPI
    amount: int
    """What it paid in."""


@dataclass(frozen=True)
class Spent:
    """A proof that has done its work."""

    header_hash: bytes
    method: Any
    arguments: tuple[Any, ...]


class World:
    """One history."""

    def __init__(self, stage: Stage, ledger: Ledger) -> None:
        self.stage, self.ledger, self.venue = stage, ledger, stage.venue
        self.base: str = stage.request("evm_snapshot")
        # The fee that was set in the history before would outlive its end.
        self.set_base_fee(BASE_FEE)
        folder = Path(mkdtemp(dir=stage.folder))
        self.lab = Lab(self.venue, folder)
        self.real: RealVenue | None = RealVenue(self.lab)
        self.challenger = Challenger(
            Follower(self.venue.gateway), Sender(self.venue.gateway, self.venue.watcher)
        )
        self.labels: dict[bytes, Forgery | None] = {}
        """Every batch ever posted, by the hash of its header: None for honest ones."""
        self.loot: list[tuple[Header, Loot]] = []
        self.exhibits: deque[Exhibit] = deque(maxlen=EXHIBITS)
        self.spent: list[Spent] = []
        self.sent: list[Sent] = []
        self.checkpoints: deque[Checkpoint] = deque(maxlen=CHECKPOINTS)
        self.moves: list[str] = []
        """What happened on L1, for the note of a breach."""
        self.started = self.lab.time
        self.checked: BlockRef | None = None
        contracts = self.venue.contracts
        self.books = Books(
            contracts.token.balanceOf(contracts.vault),
            {who.address: contracts.inbox.bondOf(who).lastBatchTime for who in stage.proposers},
        )
        self.chain: list[BatchSubmitted] = []
        self.queue: list[MessageQueued] = []
        self.read_to: BlockRef | None = None
        self.read_l1()
        self.labels.update({one.header_hash: None for one in self.chain})

    def set_base_fee(self, fee: int) -> None:
        """Mine a block with a base fee."""
        self.stage.request("anvil_setNextBlockBaseFeePerGas", hex(fee))
        self.stage.request("evm_mine")

    def close(self) -> None:
        """Take L1 back to where it was."""
        if self.real is not None:
            self.real.sequencer.store.close()
        assert self.stage.request("evm_revert", self.base)

    # What is the case

    @property
    def time(self) -> int:
        """Of the next block."""
        return int(self.lab.time)

    @property
    def first_lie(self) -> BatchSubmitted | None:
        """The first batch on L1 that is not honest."""
        for batch in self.chain:
            if self.labels[batch.header_hash] is not None:
                return batch
        return None

    def can_propose(self, who: AccountAPI) -> bool:
        """Whether it is this proposer's turn."""
        bonds, operator = self.books.bonds, self.venue.operator
        if who.address not in bonds:
            return False
        return (
            who == operator
            or operator.address not in bonds
            or self.time > self.chain[-1].header.l1_time + PROPOSER_DELAY
        )

    def count_messages(self) -> tuple[int, int]:
        """Return how many messages the next batch must consume, and how many it can."""
        waiting = self.queue[self.chain[-1].header.queue_end :]
        late = [
            place
            for place, event in enumerate(waiting, 1)
            if event.message.time + FORCED_DELAY < self.time
        ]
        return max(late, default=0), len(waiting)

    # Moves

    def read_l1(self) -> None:
        """Look at L1."""
        self.lab.sync()
        self.read_events(self.lab.follower.head)

    def read_events(self, head: BlockRef | None) -> None:
        """Read what L1 says up to its head, unless that is known."""
        if head != self.read_to:
            self.chain, self.queue = self.stage.read_chain()
            self.read_to = head

    def send(self, row: str, method: Any, *arguments: Any, sender: Any, value: int = 0) -> Rpc:
        """Send what must succeed."""
        try:
            return self.venue.send(method, *arguments, sender=sender, value=value)
        except AssertionError as refusal:
            note = f"{method.abis[0].name}: {refusal}"
            raise BreachError(row, note, is_refusal=True) from None

    def expect(
        self, row: str, refusals: Sequence[str], method: Any, *arguments: Any, sender: Any
    ) -> None:
        """Simulate what must be refused."""
        refusal = self.venue.simulate(method, *arguments, sender=sender)
        if refusal not in refusals:
            raise BreachError(row, f"{method.abis[0].name}: {refusal} instead of {refusals}")
        self.ledger.count(row)

    def message(self, sent: Sent) -> None:
        """Put a message into the queue."""
        self.moves.append(f"{sent.method.abis[0].name}{sent.arguments}")
        self.send(HONEST, sent.method, *sent.arguments, sender=sent.sender)
        self.sent.append(sent)
        self.books = replace(self.books, vault=self.books.vault + sent.amount)
        self.read_l1()

    def advance(self, seconds: int) -> None:
        """Let time pass."""
        self.moves.append(f"{seconds} s")
        self.venue.advance(seconds)
        self.read_l1()

    def compute_arguments(self, queue_end: int, posted: Sequence[PostedChunk]) -> tuple[Any, ...]:
        """Return the argument of `submitBatch` for a batch on top of what is on L1."""
        head = self.chain[-1].header
        return compute_submission(head, self.lab.follower, queue_end, FOREVER, posted)

    def post(
        self, row: str, who: AccountAPI, queue_end: int, posted: Sequence[PostedChunk]
    ) -> tuple[BatchSubmitted, int]:
        """Post a batch as it is; return it and its gas. The lab has not seen it yet."""
        arguments = self.compute_arguments(queue_end, posted)
        receipt = self.send(row, self.lab.inbox.submitBatch, arguments, sender=who)
        self.read_events(self.venue.gateway.get_head())
        batch = self.chain[-1]
        self.books = self.books.record_batch(who.address, batch.header.l1_time)
        return batch, int(receipt["gasUsed"], 16)

    def post_draft(self, random: Random, who: AccountAPI) -> None:
        """Post an honest batch by somebody whose turn it is."""
        honest = draft(self.lab, random, *self.count_messages())
        posted = judge_honest(self.lab, honest)
        batch, gas = self.post(HONEST, who, self.lab.compute_queue_end(honest), posted)
        self.accept_honest(random, batch, posted, gas)

    def post_real(self, random: Random, who: AccountAPI) -> None:
        """Have the real sequencer work and the real batcher post what is sealed."""
        assert self.real is not None
        self.real.work(random)
        try:
            posting = self.real.post(who)
        except BatcherError as problem:
            raise BreachError(HONEST, f"the batcher: {problem}", is_refusal=True) from problem
        if posting is None:
            self.read_l1()
            return
        self.read_events(self.venue.gateway.get_head())
        batch = self.chain[-1]
        self.books = self.books.record_batch(who.address, batch.header.l1_time)
        posted = self.venue.gateway.get_chunks(batch)
        self.accept_honest(random, batch, posted, posting.receipt.gas_used)

    def accept_honest(
        self, random: Random, batch: BatchSubmitted, posted: Sequence[PostedChunk], gas: int
    ) -> None:
        """Note an honest batch."""
        self.moves.append(f"honest batch {batch.header.index}")
        self.labels[batch.header_hash] = None
        self.exhibits.extend(compute_exhibits(self.lab, random, batch, posted, len(posted)))
        self.read_l1()
        self.ledger.count(HONEST, gas)

    def post_honest(self, random: Random) -> None:
        """Post an honest batch by whom the venue has for it."""
        operator, standby = self.venue.operator, self.venue.standby
        if operator.address not in self.books.bonds and standby.address not in self.books.bonds:
            self.send(HONEST, self.lab.inbox.bond, sender=standby, value=BOND)
            self.books = self.books.put_bond(standby.address)
            self.read_l1()
        who = operator if self.can_propose(operator) else standby
        if self.real is not None and self.real.is_lost():
            self.real.sequencer.store.close()
            self.real = None
        if self.real is not None:
            self.post_real(random, who)
        else:
            self.post_draft(random, who)

    def post_lie(self, random: Random, who: AccountAPI, forgery: Forgery) -> None:
        """Post a lie on top of the honest chain."""
        batch, _ = self.post(LIES, who, forgery.queue_end, forgery.posted)
        self.labels[batch.header_hash] = forgery
        self.moves.append(f"lie: {self.describe(batch)}")
        if forgery.loot is not None:
            self.loot.append((batch.header, forgery.loot))
        self.exhibits.extend(
            compute_exhibits(self.lab, random, batch, forgery.posted, forgery.chunk)
        )
        self.read_l1()

    def post_suffix(self, random: Random, who: AccountAPI) -> None:
        """Post on top of a lie: whatever it says, no root is right there."""
        least, waiting = self.count_messages()
        count = random.randint(least, waiting)
        end = self.chain[-1].header.queue_end + count
        posted = compute_nonsense(random, self.time)
        batch, _ = self.post(LIES, who, end, posted)
        self.labels[batch.header_hash] = Forgery("suffix", 0, end, posted)
        self.moves.append(f"suffix {batch.header.index}")
        self.read_l1()

    def challenge(self) -> Removal | None:
        """Have the honest challenger look and act; nothing else removes the first lie."""
        self.challenger.follower.poll()
        lie = self.first_lie
        try:
            removal = self.challenger.challenge()
        except ChallengeError as problem:
            raise BreachError(LIES, str(problem), is_refusal=True) from problem
        if removal is None:
            if lie is not None:
                kind = self.describe(lie)
                raise BreachError(LIES, f"{kind} was not seen")
            return None
        fraud = removal.fraud
        if lie is None or fraud.submitted != lie:
            raise BreachError(FALSE, f"honest batch {fraud.submitted.header.index} was removed")
        forgery = self.labels[lie.header_hash]
        assert forgery is not None
        if fraud.chunk != forgery.chunk:
            note = f"{forgery.kind}: chunk {fraud.chunk} proven instead of {forgery.chunk}"
            raise BreachError(FALSE, note)
        self.note_removal(removal, lie)
        self.ledger.count(LIES, removal.receipt.gas_used)
        return removal

    def note_removal(self, removal: Removal, lie: BatchSubmitted) -> None:
        """Enter a removal into the books."""
        self.moves.append(f"removal of {lie.header.index}")
        fraud = removal.fraud
        time = self.venue.gateway.get_block(removal.receipt.block).time
        proposer = find_address(self.stage.proposers, lie.header)
        self.books = self.books.slash(proposer, self.venue.watcher.address, time)
        prover, proof = self.lab.contracts.prover, compute_chunk_proof(fraud)
        chunk = fraud.chunks[fraud.chunk]
        method = prover.prove
        arguments: tuple[Any, ...] = (proof, chunk.data, fraud.witness)
        if fraud.position is not None:
            method = prover.proveSignature
            arguments = (proof, chunk.data, chunk.signatures, fraud.position, fraud.witness)
        self.spent.append(Spent(lie.header_hash, method, arguments))
        self.read_l1()

    def describe(self, batch: BatchSubmitted) -> str:
        """Return what a batch is, for a note."""
        forgery = self.labels[batch.header_hash]
        kind = "honest" if forgery is None else f"{forgery.kind} in chunk {forgery.chunk}"
        return f"batch {batch.header.index} ({kind})"

    def keep_checkpoint(self) -> None:
        """Remember L1 as it is now."""
        snapshot = self.stage.request("evm_snapshot")
        time = self.time - BLOCK_SECONDS
        self.checkpoints.append(Checkpoint(snapshot, time, self.books, len(self.sent)))

    def reorganise(self, random: Random, back_to: Checkpoint) -> None:
        """Have L1 forget what came after a checkpoint; other blocks take the place of those, with
        some of the users' messages in them, in another order."""
        time = self.time
        self.moves.append(f"reorganisation by {time - back_to.time} s")
        dropped = self.sent[back_to.sent :]
        assert self.stage.request("evm_revert", back_to.snapshot)
        while self.checkpoints and self.checkpoints.pop() != back_to:
            pass
        self.books = back_to.books
        del self.sent[back_to.sent :]
        # Slots pass whatever becomes of their blocks: L1 time does not go back.
        self.stage.request("evm_setNextBlockTimestamp", time)
        self.stage.request("evm_mine")
        self.read_l1()
        random.shuffle(dropped)
        for sent in dropped:
            if random.random() < 0.5:
                self.message(sent)
        self.compare_nodes()

    # What must hold

    def compare_nodes(self) -> None:
        """Check that a node that was there and one that starts now agree."""
        fresh = Follower(self.venue.gateway)
        fresh.poll()
        for node in (self.lab.follower, self.challenger.follower):
            node.poll()
            same = [one.submitted for one in node.chain] == [one.submitted for one in fresh.chain]
            if not same or node.state_root != fresh.state_root:
                raise BreachError(REORGS, "a node has lost its way", is_refusal=True)
        self.ledger.count(REORGS)

    def check(self) -> None:
        """Check every promise, unless L1 is as it was when they were checked last."""
        self.read_l1()
        head = self.lab.follower.head
        if head == self.checked:
            return
        self.checked = head
        self.check_chain()
        self.check_queue()
        self.check_money()
        self.check_bonds()
        self.keep_checkpoint()

    def check_chain(self) -> None:
        """What has settled is true; the nodes take what is honest and nothing else."""
        (count,) = self.stage.read(self.lab.inbox.batchCount, ("uint64",))
        if count != len(self.chain):
            raise BreachError(LIES, f"L1 has {count} batches, its events {len(self.chain)}")
        now = self.time - BLOCK_SECONDS
        lie = self.first_lie
        if lie is not None and lie.header.l1_time + WINDOW < now:
            raise BreachError(LIES, f"{self.describe(lie)} has settled")
        honest = self.chain if lie is None else self.chain[: lie.header.index]
        follower = self.lab.follower
        derived = [one.submitted for one in follower.chain]
        if derived != honest:
            refused = len(derived) < len(honest)
            note = f"derived {len(derived)} batches instead of {len(honest)}"
            raise BreachError(HONEST if refused else LIES, note, is_refusal=refused)
        found = None if follower.fraud is None else follower.fraud.submitted
        if found != lie:
            raise BreachError(LIES, "the fraud that was found is not the lie that was posted")
        if follower.state_root != honest[-1].header.post_root:
            raise BreachError(LIES, "the derived root is not the head's")

    def check_queue(self) -> None:
        """Ranges join; what the state has consumed is what the ranges say."""
        for before, after in zip(self.chain, self.chain[1:], strict=False):
            start, end = after.header.queue_start, after.header.queue_end
            expected = self.queue[end - 1].queue_hash if end else ZERO_HASH
            if (
                before.header.queue_end != start
                or end < start
                or after.header.queue_hash != expected
            ):
                raise BreachError(LIES, f"{self.describe(after)}: queue {start}..{end}")
        state, end = self.lab.state, self.lab.head.queue_end
        paid_in = sum_deposits(self.queue[:end])
        if (state.globals.queue_index, state.globals.deposited) != (end, paid_in):
            raise BreachError(LIES, f"messages before {end} were not served once each")

    def check_money(self) -> None:
        """The vault has what was paid in less what was paid out, and covers what is owed."""
        contracts, books, state = self.lab.contracts, self.books, self.lab.state
        (vault,) = self.stage.read(contracts.token.balanceOf, ("uint256",), contracts.vault.address)
        if vault != books.vault:
            raise BreachError(CLAIMS, f"vault: {vault} instead of {books.vault}")
        held = compute_equity(state) + state.globals.insurance + state.globals.fee_pool
        waiting = sum_deposits(self.queue[state.globals.queue_index :])
        owed = held + waiting + state.globals.withdrawn - books.claimed
        if vault < owed or held != state.globals.deposited - state.globals.withdrawn:
            raise BreachError(CLAIMS, f"vault: {vault} for {owed}, of which {held} on L2")

    def audit(self) -> None:
        """Have the node's own audit say the same."""
        audit = compute_audit(self.lab.follower)
        if not audit.is_conserved or audit.vault != self.books.vault:
            raise BreachError(CLAIMS, f"{audit}")

    def check_bonds(self) -> None:
        """Bonds and rewards are what the moves say, and the inbox holds just these."""
        inbox, books = self.lab.inbox, self.books
        proposers = self.stage.proposers
        bonds = self.stage.read_all(
            [View(inbox.bondOf, BOND_ABI, (who.address,)) for who in proposers]
        )
        rewards = self.stage.read_all(
            [View(inbox.rewardOf, REWARD_ABI, (who.address,)) for who in proposers]
        )
        for who, (amount, _), (challenger, until) in zip(proposers, bonds, rewards, strict=True):
            is_bonded = who.address in books.bonds
            if amount != (BOND if is_bonded else 0):
                note = f"bond of {who.address}: {amount}"
                raise BreachError(HONEST, note, is_refusal=is_bonded)
            expected = books.rewards.get(who.address)
            found = (to_checksum_address(challenger), until) if until else None
            if found != expected:
                raise BreachError(LIES, f"reward out of {who.address}: {found}, not {expected}")
        held = self.stage.get_balance(inbox.address)
        if held != BOND * len(books.bonds) + HALF * len(books.rewards) + books.burnt:
            raise BreachError(LIES, f"the inbox holds {held} wei")


def sum_deposits(queue: Sequence[MessageQueued]) -> int:
    """Return what the deposits among messages pay in."""
    return sum(
        int.from_bytes(event.message.body[24:40], "big")
        for event in queue
        if event.message.kind == MessageKind.DEPOSIT
    )


def find_address(proposers: Sequence[AccountAPI], header: Header) -> str:
    """Return a batch's proposer as L1 spells it."""
    (found,) = (
        who.address for who in proposers if bytes.fromhex(who.address[2:]) == header.proposer
    )
    return str(found)


def to_claim(
    header: Header, encoding: bytes, index: int, recipient: bytes, amount: int, branch: list[bytes]
) -> tuple[Any, ...]:
    """Return the arguments of `claimExit`."""
    leaf = (index, 0, "0x" + recipient.hex(), amount)
    return (to_header_tuple(header), encoding, leaf, *compress_branch(branch))
