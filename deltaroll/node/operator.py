"""What an operator's node does between two looks at L1: take in, rebase if it must, post."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from deltaroll.node.batcher import Batcher
from deltaroll.node.follower import Follower
from deltaroll.node.intake import tell
from deltaroll.node.recovery import Recovery, Report
from deltaroll.node.sequencer import Sequencer

Result = TypeVar("Result")


class Desk(Protocol):
    """Whatever lets a function work on the sequencer, on the thread that owns it."""

    def call(self, function: Callable[[Sequencer], Result]) -> Result:
        """Return the function's result."""


class Operator:
    """A sequencer's connection to L1."""

    def __init__(self, desk: Desk, batcher: Batcher, depth: int = 0, patience: int = 2) -> None:
        """`depth`: blocks on top of a queue message before it is taken in. `patience`: blocks for
        which L1 has to say that chunks cannot stand before they are undone."""
        self.desk = desk
        self.batcher = batcher
        self.depth = depth
        self.recovery = Recovery(batcher.follower, patience)
        self.sealed = 0
        """Chunks sealed since the beginning, as of the last look."""

    @property
    def follower(self) -> Follower:
        """The operator's view of L1."""
        return self.batcher.follower

    def take_in(self) -> None:
        """Look at L1 and tell the sequencer what it says."""
        self.follower.poll()
        self.desk.call(lambda sequencer: tell(sequencer, self.follower, self.depth))

    def prepare(self) -> Report | None:
        """Look at L1 and make what is sequenced ready to be posted: sealed, and sequenced again
        where it could not land. Returns what that came to.
        """
        self.take_in()
        report = self.desk.call(self._seal)
        obstacle = self.recovery.obstacle
        # On the same bytes with another message L1 would go one way and the sequencer another.
        self.batcher.blocked = None if obstacle is None else obstacle.value
        return report

    def _seal(self, sequencer: Sequencer) -> Report | None:
        sequencer.seal()
        sequencer.flush()
        report = self.recovery.check(sequencer)
        if report is not None:
            sequencer.seal()
            sequencer.flush()
        self.sealed = sequencer.chunks_sealed
        return report
