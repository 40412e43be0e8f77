"""Between the event loop and the sequencer's thread: requests go over in groups.

While the sequencer works on one group the next one collects, from all clients in turn: who asks for
much waits behind itself, not before others. A group is flushed once and answered afterwards, so the
cost of a commit and of waking a thread is shared; it ends when its time is up. What takes long is a
generator: it is run a slice at a time, between groups.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from types import GeneratorType
from typing import Any, Protocol

import structlog

from deltaroll.node.admission import RejectedError
from deltaroll.node.api.errors import RateLimitedError
from deltaroll.node.metrics import ApiMetrics
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.server import SequencerThread
from deltaroll.node.store import StoreError

log = structlog.get_logger(__name__)

MAX_GROUP = 256
"""Requests of one commit: few enough that nobody waits long for it."""
GROUP_SECONDS = 0.05
"""What has not begun by then goes into the next group."""
SLICE_SECONDS = 0.005
MAX_SLICED = 100
"""Long computations that may be under way."""
BUSY_SECONDS = 1.0
"""Until a client may ask for another one, where there are as many."""


class Job(Protocol):
    """Something to do on the sequencer's thread, and what to do with its result on the loop."""

    @property
    def is_reading(self) -> bool:
        """Whether it changes nothing: what goes wrong there is no reason for the sequencer to
        stop."""

    def run(self, sequencer: Sequencer) -> Any:
        """Return a result, or a generator that returns one; RejectedError to refuse."""

    def finish(self, result: Any) -> None:
        """Take the result, or the exception that came instead."""


@dataclass(slots=True)
class Asked:
    """A job, whose it is and when it came."""

    owner: object
    job: Job
    received: float
    """By `perf_counter`."""


@dataclass(slots=True)
class Round:
    """What came of one group."""

    started: float
    done: list[tuple[Asked, Any]] = field(default_factory=list)
    left: Sequence[Asked] = ()
    """What had no time."""
    goes_on: bool = False
    """There is more to do anyway."""
    committing: float = 0.0
    committed: float = 0.0


class Bridge:
    """Hands jobs over and brings results and events back."""

    def __init__(
        self,
        thread: SequencerThread,
        loop: asyncio.AbstractEventLoop,
        complete: Callable[[Sequencer], None],
        metrics: ApiMetrics,
    ) -> None:
        """Start with nothing to do.

        Parameters
        ----------
        complete
            Called on the sequencer's thread after each commit, before its answers go back.
        """
        self._thread = thread
        self._complete = complete
        self._loop = loop
        self._metrics = metrics
        self._waiting: OrderedDict[object, deque[Asked]] = OrderedDict()
        self._is_scheduled = False
        self._is_running = False
        # Of the sequencer's thread alone.
        self._sliced: deque[tuple[Asked, Generator[None, None, Any]]] = deque()

    def submit(self, job: Job, owner: object = None) -> None:
        """Hand a job over, soon; those of one owner stay in order."""
        mine = self._waiting.get(owner)
        if mine is None:
            mine = self._waiting[owner] = deque()
        mine.append(Asked(owner, job, perf_counter()))
        if not self._is_scheduled and not self._is_running:
            self._is_scheduled = True
            # What other clients have sent by now goes along.
            self._loop.call_soon(self._hand_over)

    def _take_group(self) -> list[Asked]:
        """Take one job of each owner in turn."""
        waiting = self._waiting
        group: list[Asked] = []
        while waiting and len(group) < MAX_GROUP:
            owner, mine = next(iter(waiting.items()))
            group.append(mine.popleft())
            if mine:
                waiting.move_to_end(owner)
            else:
                del waiting[owner]
        return group

    def _put_back(self, left: Sequence[Asked]) -> None:
        """Let jobs that had no time be the next ones."""
        for asked in reversed(left):
            mine = self._waiting.get(asked.owner)
            if mine is None:
                mine = self._waiting[asked.owner] = deque()
            mine.appendleft(asked)
            self._waiting.move_to_end(asked.owner, last=False)

    def _hand_over(self) -> None:
        self._is_scheduled = False
        if self._is_running:
            return
        group = self._take_group()
        self._is_running = True
        try:
            future = self._thread.start(lambda sequencer: self._run(sequencer, group))
        except StoreError as problem:
            self._take_back(group, problem, None)
            return
        future.add_done_callback(
            lambda done: self._call_loop(self._take_back, group, done.exception(), done)
        )

    def _call_loop(self, function: Any, *values: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *values)
        except RuntimeError:
            # The loop is closed: nobody waits for an answer any more.
            log.info("api_answers_dropped")

    def _run(self, sequencer: Sequencer, group: Sequence[Asked]) -> Round:
        """Return what is done and what is not."""
        round_ = Round(perf_counter())
        done = round_.done
        until = round_.started + GROUP_SECONDS
        sequencer.fire_due()
        place = 0
        for asked in group:
            if place and perf_counter() > until:
                break
            place += 1
            job = asked.job
            try:
                result = job.run(sequencer)
            except RejectedError as refusal:
                result = refusal
            except Exception as problem:
                if not job.is_reading:
                    raise
                log.error("question_failed", error=repr(problem))
                result = problem
            if isinstance(result, GeneratorType):
                if len(self._sliced) >= MAX_SLICED:
                    result = RateLimitedError("server", BUSY_SECONDS)
                else:
                    self._sliced.append((asked, result))
                    continue
            done.append((asked, result))
        if self._sliced:
            self._slice(done)
        # What answers tell may be newer than what is durable.
        round_.committing = perf_counter()
        sequencer.flush()
        round_.committed = perf_counter()
        self._complete(sequencer)
        round_.left = group[place:]
        round_.goes_on = bool(self._sliced) or sequencer.is_firing
        return round_

    def _slice(self, done: list[tuple[Asked, Any]]) -> None:
        asked, generator = self._sliced[0]
        self._sliced.rotate(-1)
        until = perf_counter() + SLICE_SECONDS
        try:
            while perf_counter() < until:
                next(generator)
            return
        except StopIteration as stop:
            result = stop.value
        except RejectedError as refusal:
            result = refusal
        except Exception as problem:  # noqa: BLE001 (only questions are long)
            log.error("question_failed", error=repr(problem))
            result = problem
        self._sliced.remove((asked, generator))
        done.append((asked, result))

    def _take_back(
        self,
        group: Sequence[Asked],
        problem: BaseException | None,
        future: Any,
    ) -> None:
        self._is_running = False
        if problem is not None:
            # A sequencer that has failed stays so: nothing is under way there any more.
            failed = [*group, *(asked for asked, _ in self._sliced)]
            failed += [asked for mine in self._waiting.values() for asked in mine]
            self._sliced.clear()
            self._waiting.clear()
            for asked in failed:
                asked.job.finish(problem)
            return
        round_: Round = future.result()
        self._put_back(round_.left)
        if self._waiting or round_.goes_on:
            # The sequencer is not to wait for the answers to be written.
            self._hand_over()
        for asked, result in round_.done:
            asked.job.finish(result)
        self._measure(round_)

    def _measure(self, round_: Round) -> None:
        now = perf_counter()
        metrics = self._metrics
        count = 0
        for asked, _ in round_.done:
            if not asked.job.is_reading:
                count += 1
                received = asked.received
                metrics.note_request(
                    round_.started - received, round_.committed - received, now - received
                )
        if count:
            metrics.note_commit(count, round_.committed - round_.committing)


class Call:
    """A job that somebody awaits."""

    def __init__(self, function: Any, loop: asyncio.AbstractEventLoop, is_reading: bool) -> None:
        self._function = function
        self.is_reading = is_reading
        self.future: asyncio.Future[Any] = loop.create_future()

    def run(self, sequencer: Sequencer) -> Any:
        """Do it."""
        return self._function(sequencer)

    def finish(self, result: Any) -> None:
        """Wake whoever waits."""
        if self.future.done():
            return
        if isinstance(result, RejectedError | StoreError):
            self.future.set_exception(result)
        elif isinstance(result, BaseException):
            self.future.set_exception(StoreError("the node has a problem of its own"))
        else:
            self.future.set_result(result)
