"""The bench of the soundness attacks: exhibits, and the count of what comes of each attempt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from deltaroll.protocol.fault import Fault
from tests.adversary.campaign import Ledger
from tests.adversary.soundness_chain import (
    Attempt,
    Chain,
    Place,
    Words,
    encode_prove,
    lie_about_root,
    spoil,
)
from tests.adversary.soundness_flow import Batch, Chunk, Story

Make = Callable[..., Chain]
"""Deploys a rollup and plays a story on it: `Chain`, or one with a planted bug."""


@dataclass(slots=True)
class Bench:
    """Sends attempts and judges what came of them."""

    rng: Random
    ledger: Ledger = field(default_factory=Ledger)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Why attempts failed, by class: an attack that is always refused at the door is none."""
    make: Make = Chain

    def attack(self, name: str, what: str, chain: Chain, calldata: bytes, **how: Any) -> Attempt:
        """Send what must change nothing; `chain` is as it was saved, before and after."""
        attempt = chain.send(calldata, **how)
        self.refusals[name, attempt.refusal] += 1
        if attempt.succeeded and chain.standing() != chain.saved:
            self.ledger.accept(name, f"{what}: removed, {attempt.faults}", attempt.gas)
            chain.restore()
        else:
            self.ledger.count(name, attempt.gas)
        return attempt

    def prove(
        self,
        name: str,
        what: str,
        chain: Chain,
        calldata: bytes,
        fault: Fault = Fault.WRONG_POST_ROOT,
        **how: Any,
    ) -> Attempt:
        """Send what must remove the last batch of `chain`; it is put back."""
        attempt = chain.send(calldata, **how)
        if attempt.faults == (fault,) and chain.standing().batches == chain.saved.batches - 1:
            self.ledger.count(name, attempt.gas)
        else:
            reason = attempt.refusal or str(attempt.faults)
            self.ledger.refuse(name, f"{what}: true proof refused, {reason}", attempt.gas)
        chain.restore()
        return attempt

    def require(self, name: str, what: str, holds: bool, gas: int = 0) -> None:
        """Count a claim about a longer story; where it fails, the attack went through."""
        if holds:
            self.ledger.count(name, gas)
        else:
            self.ledger.accept(name, what, gas)

    def post_lie(
        self, story: Story, place: Place, lie: Callable[[Chunk], Chunk] = lie_about_root
    ) -> Chain:
        """Return a rollup that is honest up to one batch, which is the last."""
        chain = self.make(story, place.batch)
        batch: Batch = spoil(story, place, lie)
        chain.post(batch)
        chain.announce(story.later)
        chain.save()
        return chain


@dataclass(slots=True)
class Exhibit:
    """An honest chunk of a pending batch, and its twin with a lie."""

    label: str
    chain: Chain
    """On which all is honest."""
    place: Place
    twin: Chain
    """On which the chunk's root is a lie."""

    @property
    def chunk(self) -> Chunk:
        return self.chain.posted[self.place.batch + 1].chunks[self.place.chunk]

    @property
    def words(self) -> Words:
        return self.chain.prove_words(self.place)

    @property
    def twin_words(self) -> Words:
        return self.twin.prove_words(self.place)

    @property
    def others(self) -> list[Chunk]:
        """Return all chunks of the story."""
        return [chunk for posted in self.chain.posted for chunk in posted.chunks]

    def calldata(self) -> bytes:
        """Calldata that would remove the batch if it were not honest."""
        return self.chain.prove_calldata(self.place)

    def twin_calldata(self, witness: bytes | None = None) -> bytes:
        """Calldata that removes the twin."""
        chunk = self.chunk
        witness = chunk.witness if witness is None else witness
        return encode_prove(self.twin_words, chunk.data, witness)


def iterate_exhibits(bench: Bench, story: Story, label: str) -> Iterator[Exhibit]:
    """Yield every chunk of a story."""
    chain = bench.make(story)
    for number, batch in enumerate(story.batches):
        for index in range(len(batch.chunks)):
            place = Place(number, index)
            name = f"{label}, batch {number}, chunk {index}"
            yield Exhibit(name, chain, place, bench.post_lie(story, place))
