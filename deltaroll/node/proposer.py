"""Proposes in the sequencer's place, when it is silent or has lost its bond.

A proposer needs nothing but L1: a follower's state is where a sequencer of its own starts from,
with a log in memory. It consumes what waits in the queue, takes whatever signed requests it is
given, and posts. When the head changes under it, it starts again from there.
"""

from collections.abc import Sequence
from enum import Enum

import structlog

from deltaroll.node.batcher import Batcher, Posting
from deltaroll.node.follower import Follower
from deltaroll.node.intake import tell
from deltaroll.node.requests import answer_line
from deltaroll.node.sender import Sender
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import MEMORY, Store

log = structlog.get_logger(__name__)


class Right(Enum):
    """Why an account may propose now, or why not."""

    SEQUENCER = "it is the sequencer"
    NO_BOND = "the sequencer has no bond"
    SILENCE = "no batch has come for too long"
    BACKLOG = "the last batch left an overdue message behind"
    NONE = "it is the sequencer's turn"
    FROZEN = "the rollup is frozen"


class Proposer:
    """One account that proposes when it may."""

    def __init__(self, follower: Follower, sender: Sender) -> None:
        self.follower = follower
        self.sender = sender
        self._sequencer: Sequencer | None = None
        self._batcher: Batcher | None = None
        self._base: bytes | None = None
        """The head that the sequencer's state follows."""
        self._lines: list[bytes] = []
        """Taken and not posted: they are taken again on another head."""

    def find_right(self) -> Right:
        """Return whether the account may propose on the head that was polled last."""
        inbox = self.follower.gateway.contracts.inbox
        if self.follower.closing is not None:
            return Right.FROZEN
        regular = str(inbox.sequencer())
        if regular == self.sender.address:
            return Right.SEQUENCER
        if int(inbox.bondOf(regular).amount) == 0:
            return Right.NO_BOND
        if inbox.hasBacklog():
            return Right.BACKLOG
        assert self.follower.head is not None
        silent = self.follower.head.time - self.follower.posted[-1].header.l1_time
        return Right.SILENCE if silent > int(inbox.proposerDelay()) else Right.NONE

    def has_work(self) -> bool:
        """Return whether a message waits that no batch has consumed."""
        return self.follower.posted[-1].header.queue_end < len(self.follower.state.messages)

    def take(self, lines: Sequence[bytes]) -> list[bytes]:
        """Take signed requests into the next batch and return the answers; the follower must have
        been polled.
        """
        sequencer = self._start()
        self._lines.extend(lines)
        return [answer_line(sequencer, line) for line in lines]

    def propose(self) -> list[Posting]:
        """Post what waits while the right lasts; nothing when there is none of either. The follower
        must have been polled.

        Raises
        ------
        BatcherError
            When the head is fraudulent: it has to be removed first.
        """
        postings: list[Posting] = []
        while self.find_right() not in (Right.NONE, Right.FROZEN):
            sequencer = self._start()
            sequencer.seal()
            sequencer.flush()
            assert self._batcher is not None
            posting = self._batcher.post()
            if posting is None:
                break
            self._base = self.follower.chain[-1].submitted.header_hash
            self._lines.clear()
            postings.append(posting)
        return postings

    def _start(self) -> Sequencer:
        """Return a sequencer on the head, told what L1 says."""
        head = self.follower.chain[-1].submitted
        if self._sequencer is None or self._base != head.header_hash:
            domain = self.follower.gateway.domain
            store = Store(MEMORY, domain)
            store.record_head(head.header_hash, head.header.index, 0)
            self._sequencer = Sequencer(store, domain, self.follower.state)
            self._batcher = Batcher(store, self.follower, self.sender)
            self._base = head.header_hash
            tell(self._sequencer, self.follower)
            for line in self._lines:
                log.info("request_taken_again", answer=answer_line(self._sequencer, line).decode())
        tell(self._sequencer, self.follower)
        return self._sequencer
