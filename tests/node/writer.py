"""A sequencer that acknowledges on standard output until it is killed."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog

from deltaroll.node.store import Store
from tests.node.streams import make_stream
from tests.node.support import DOMAIN, Venue, play

SEED = 3
GROUP = 4
"""Operations to a flush."""


def write(venue: Venue, seed: int) -> Iterator[int]:
    """Play a long stream; yield how long the durable log is after each flush."""
    venue.open()
    for turn, operation in enumerate(make_stream(random.Random(seed), 20_000)):
        play(venue, operation)
        if turn % GROUP == 0:
            venue.sequencer.flush()
            yield venue.store.next_sequence


def main() -> None:
    """Write to the store named on the command line."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for durable in write(Venue(Store(Path(sys.argv[1]), DOMAIN)), SEED):
        print(durable, flush=True)


if __name__ == "__main__":
    main()
