"""One lie: fill a chunk before it, post it behind honest chunks, remove it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from deltaroll.l1.commitments import compute_queue_hash
from deltaroll.l1.types import PostedChunk
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import MAX_CHUNK_GAS
from deltaroll.protocol.eip712 import compute_digest
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.recovery import SIGNATURE_BYTES
from deltaroll.protocol.signatures import compute_bad_signature, compute_requests
from deltaroll.protocol.state import Meter, compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Context,
    DataFee,
    Message,
    Queue,
    Timestamp,
    Transaction,
    Withdraw,
)
from deltaroll.protocol.witness import encode_signature_witness, encode_witness
from tests.adversary.completeness_arena import Arena
from tests.adversary.completeness_court import MAX_PROOF_GAS, Court, Evidence
from tests.adversary.completeness_lies import Lie
from tests.protocol.proving import DOMAIN, Proof
from tests.protocol.scenes import MAX_DATA, Step
from tests.protocol.strategies import SIGNERS, sign_all

MAX_SIGNATURES = 32_768
"""Bytes of a chunk's signature section that the inbox takes."""
MAX_COUNT = 255
"""A witness counts messages and exits in one byte."""
SMALLEST = DataFee(0)
"""What fills a chunk when nothing larger fits any more."""
SMALLEST_GAS = 10_030
"""What it weighs, with its bytes."""
MOST_SMALLEST = MAX_CHUNK_GAS // SMALLEST_GAS
PROBE = 6
"""Transactions of a filler that tell about how many fit."""
BY_SIGNATURE = (Fault.BAD_SIGNATURE, Fault.SIGNATURE_COUNT)
OF_AN_HONEST_CHUNK = (
    Fault.CLOCK_BACKWARD,
    Fault.CLOCK_AHEAD,
    Fault.CLOCK_STALE,
    Fault.OVERWEIGHT,
    Fault.WRONG_POST_ROOT,
    *BY_SIGNATURE,
)
"""How full a chunk with such a fault may be is told by the chunk without it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a lie."""

    proof: Proof
    gas: int
    """Weight of the chunk by the meter, up to its fault."""
    count: int
    """Transactions of the chunk."""


@dataclass(slots=True)
class Trial:
    """A lie in an arena, whose state has been changed for it."""

    arena: Arena
    fault: Fault
    lie: Lie
    filler: Sequence[Step]
    weight: int = 0
    """Gas of the chunk that was tried last, by the meter."""

    def context(self, transactions: Sequence[Transaction], is_honest: bool, place: int) -> Context:
        """Where the chunk stands; an honest one has nothing of the lie's."""
        state = self.arena.state
        consumed = sum(isinstance(item, Queue) for item in transactions)
        claimed = 0 if is_honest else self.lie.queue
        lag = 0 if is_honest else self.lie.lag
        return Context(
            DOMAIN,
            Timestamp(state.globals.clock + lag),
            state.globals.queue_index + consumed + claimed,
            0,
            0,
            place == 0,
            True,
        )

    def encode(self, transactions: Sequence[Transaction], is_honest: bool) -> bytes:
        """Return the chunk's data."""
        clock = self.arena.state.globals.clock
        if is_honest:
            return encode_chunk(clock, transactions)
        return self.lie.spoil(encode_chunk(Timestamp(clock + self.lie.clock), transactions))

    def find_fault(self, transactions: Sequence[Transaction], is_honest: bool) -> Fault:
        """Return a chunk's fault, NONE also when no inbox takes it."""
        state = self.arena.state
        data = self.encode(transactions, is_honest)
        context = self.context(transactions, is_honest, 1)
        state.begin()
        try:
            process_chunk(state, data, context)
        except TransitionFault as problem:
            return problem.fault
        finally:
            self.weight = state.meter.gas
            state.rollback()
        return Fault.NONE

    def compose(self, count: int, smallest: int, steps: Sequence[Step]) -> list[Transaction]:
        """Return filler, then what is smallest, then the last steps."""
        state = self.arena.state
        index = state.globals.queue_index
        transactions: list[Transaction] = []
        for step in (*self.filler[:count], *(SMALLEST,) * smallest, *steps):
            if isinstance(step, tuple):
                kind, sender, body = step
                state.messages[index] = Message(kind, sender, state.globals.clock, body)
                index += 1
                transactions.append(Queue())
            else:
                transactions.append(step)
        return transactions

    def fits(self, count: int, smallest: int, steps: Sequence[Step]) -> bool:
        """Whether a chunk that is filled so far can be posted, and lies at its last transaction
        and not before.
        """
        wanted = Fault.NONE if self.fault in OF_AN_HONEST_CHUNK or not steps else self.fault
        try:
            transactions = self.compose(count, smallest, steps)
            if not fits_inbox(self.encode(transactions, True), transactions):
                return False
        except ValueError:
            return False
        found = self.find_fault(transactions, wanted == Fault.NONE)
        assert found in (wanted, Fault.OVERWEIGHT), (self.fault, found)
        return found == wanted

    def fill(self) -> list[Transaction]:
        """Return the fullest chunk that breaks the rule with its last transaction.

        Whatever stands before that is honest, and with one transaction more before it the chunk
        would be too heavy or too long.
        """
        steps = self.lie.steps
        if not self.fits(0, 0, steps):
            # Too heavy by itself, as it should be: then what is before it fits as if alone.
            assert self.fault == Fault.OVERWEIGHT
            steps = ()
            assert self.fits(0, 0, steps)
        alone = self.weight

        def leap(count: int) -> int:
            """How much more of the filler fits, going by what it has weighed so far."""
            unit = max(1, (self.weight - alone) // count)
            return (MAX_CHUNK_GAS - self.weight) // unit

        def leap_smallest(_: int) -> int:
            """How many of the smallest there is room for."""
            return (MAX_CHUNK_GAS - self.weight) // SMALLEST_GAS

        count = find_last(lambda n: self.fits(n, 0, steps), len(self.filler), PROBE, leap)
        assert self.fits(count, 0, steps)
        smallest = find_last(
            lambda m: self.fits(count, m, steps), MOST_SMALLEST, leap_smallest(0), leap_smallest
        )
        assert self.fits(count, smallest, ())
        if self.fault == Fault.OVERWEIGHT and steps:
            smallest += 1
        return self.compose(count, smallest, self.lie.steps)

    def run(self, transactions: list[Transaction], before: int) -> Result:
        """Post the chunk behind so many honest ones, and remove it.

        Raises
        ------
        StandsError
            It cannot be removed.
        """
        state = self.arena.state
        before = 0 if self.lie.is_first else before
        data = self.encode(transactions, False)
        context = self.context(transactions, False, before)
        pre_root = compute_state_root(state)
        fault, post_root, meter = self.apply(data, context)
        if self.fault == Fault.WRONG_POST_ROOT:
            left = transactions[:-1]
            _, former, _ = self.apply(self.encode(left, False), self.context(left, False, before))
            assert former != post_root
            post_root = former
        section, position = self.sign(transactions, data)
        if self.fault in BY_SIGNATURE:
            assert fault == Fault.NONE
            assert compute_bad_signature(state, data, section, DOMAIN) == (self.fault, position)
            witness = encode_signature_witness(state, data, position)
        else:
            expected = Fault.NONE if self.fault == Fault.WRONG_POST_ROOT else self.fault
            assert fault == expected, (self.fault, fault)
            witness = encode_witness(state, meter)
        queue = self.publish(context.queue_end)
        court = Court(pre_root, context.l1_time, queue)
        honest = PostedChunk(encode_chunk(state.globals.clock, ()), b"", pre_root)
        chunks = [honest] * before + [PostedChunk(data, section, post_root)]
        court.post(chunks, context.queue_end, queue[context.queue_end - 1])
        evidence = Evidence(witness, position if self.fault in BY_SIGNATURE else None)
        return Result(court.remove(evidence, MAX_PROOF_GAS), meter.gas, len(transactions))

    def apply(self, data: bytes, context: Context) -> tuple[Fault, bytes, Meter]:
        """Return a chunk's fault, the root of the state as it is left there, and its weight."""
        state = self.arena.state
        fault = Fault.NONE
        state.begin()
        try:
            process_chunk(state, data, context)
        except TransitionFault as problem:
            fault = problem.fault
        meter = state.meter
        root = compute_state_root(state)
        state.rollback()
        compute_state_root(state)
        return fault, root, meter

    def sign(self, transactions: Sequence[Transaction], data: bytes) -> tuple[bytes, int]:
        """Return the signature section, and the position of a signature that is wrong: the last."""
        rng = Random(7)
        state = self.arena.state
        signatures = [
            signature
            for item in transactions
            for signature in sign_all(state, item, rng, 0.0, DOMAIN)
        ]
        position = max(0, len(signatures) - 1)
        if self.fault == Fault.BAD_SIGNATURE:
            request = compute_requests(transactions[-1])[-1]
            stranger = SIGNERS[20]
            signatures[-1] = stranger.sign(compute_digest(DOMAIN, request.struct_hash))
        section = b"".join(signatures)
        if self.fault != Fault.SIGNATURE_COUNT:
            return section, position
        if self.lie.is_short or len(section) == MAX_SIGNATURES:
            return section[:-SIGNATURE_BYTES], 0
        return section.ljust(MAX_SIGNATURES, b"\xff"), 0

    def publish(self, end: int) -> dict[int, bytes]:
        """Return the queue's hashes up to what the header claims."""
        state = self.arena.state
        first = state.globals.queue_index
        chain = keccak(b"queue")
        queue = {first - 1: chain}
        for index in range(first, end):
            known = state.messages.setdefault(
                index, Message(9, ZERO_ADDRESS, Timestamp(state.globals.clock), b"\xff")
            )
            chain = compute_queue_hash(chain, known)
            queue[index] = chain
        return queue


def fits_inbox(data: bytes, transactions: Sequence[Transaction]) -> bool:
    """Whether a chunk can be posted with all its signatures, and a witness can count what it
    consumes.
    """
    counted = sum(isinstance(item, Queue | Withdraw) for item in transactions)
    signatures = sum(len(compute_requests(item)) for item in transactions)
    return (
        len(data) <= MAX_DATA
        and counted <= MAX_COUNT
        and signatures * SIGNATURE_BYTES <= MAX_SIGNATURES
    )


def find_last(
    holds: Callable[[int], bool], most: int, first: int, leap: Callable[[int], int]
) -> int:
    """Return the largest number up to `most` for which something holds that holds for 0, and that
    once lost stays lost.

    Parameters
    ----------
    first
        The first number to try.
    leap
        From a number for which it has just held, how much further it should hold.
    """
    low, high, step = 0, most + 1, first
    while high - low > 1:
        at = low + max(1, min(step, high - low - 1))
        if holds(at):
            low, step = at, leap(at)
        else:
            high, step = at, (at - low) // 2
    return low
