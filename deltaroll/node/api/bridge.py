"""Between the event loop and the sequencer's thread: requests go over in groups.

While the sequencer works on one group the next one collects, from all clients in turn: who asks for
much waits behind itself, not before others. A group is flushed once and answered afterwards, so the
cost of a commit and of waking a thread is shared; it ends when its time is up. What takes long is a
generator: it is run a slice at a time, between groups.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Sequence
from time import perf_counter
from types import GeneratorType
from typing import Any, Protocol

import structlog

from deltaroll.node.admission import RejectedError
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


Done = list[tuple[Job, Any]]


class Bridge:
    """Hands jobs over and brings results and events back."""

    def __init__(
        self,
        thread: SequencerThread,
        loop: asyncio.AbstractEventLoop,
        complete: Callable[[Sequencer], None],
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
        self._waiting: OrderedDict[object, deque[Job]] = OrderedDict()
        self._is_scheduled = False
        self._is_running = False
        # Of the sequencer's thread alone.
        self._sliced: deque[tuple[Job, Generator[None, None, Any]]] = deque()

    def submit(self, job: Job, owner: object = None) -> None:
        """Hand a job over, soon; those of one owner stay in order."""
        mine = self._waiting.get(owner)
        if mine is None:
            mine = self._waiting[owner] = deque()
        mine.append(job)
        if not self._is_scheduled and not self._is_running:
            self._is_scheduled = True
            # What other clients have sent by now goes along.
            self._loop.call_soon(self._hand_over)

    def _take_group(self) -> list[tuple[object, Job]]:
        """Take one job of each owner in turn."""
        waiting = self._waiting
        group: list[tuple[object, Job]] = []
        while waiting and len(group) < MAX_GROUP:
            owner, mine = next(iter(waiting.items()))
            group.append((owner, mine.popleft()))
            if mine:
                waiting.move_to_end(owner)
            else:
                del waiting[owner]
        return group

    def _put_back(self, left: Sequence[tuple[object, Job]]) -> None:
        """Let jobs that had no time be the next ones."""
        for owner, job in reversed(left):
            mine = self._waiting.get(owner)
            if mine is None:
                mine = self._waiting[owner] = deque()
            mine.appendleft(job)
            self._waiting.move_to_end(owner, last=False)

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

    def _run(
        self, sequencer: Sequencer, group: Sequence[tuple[object, Job]]
    ) -> tuple[Done, Sequence[tuple[object, Job]], bool]:
        """Return what is done, what had no time, and whether there is more to do anyway."""
        done: Done = []
        until = perf_counter() + GROUP_SECONDS
        sequencer.fire_due()
        place = 0
        for _, job in group:
            if place and perf_counter() > until:
                break
            place += 1
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
                    result = StoreError("server: too many long questions are under way")
                else:
                    self._sliced.append((job, result))
                    continue
            done.append((job, result))
        if self._sliced:
            self._slice(done)
        # What answers tell may be newer than what is durable.
        sequencer.flush()
        self._complete(sequencer)
        return done, group[place:], bool(self._sliced) or sequencer.is_firing

    def _slice(self, done: Done) -> None:
        job, generator = self._sliced[0]
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
        self._sliced.remove((job, generator))
        done.append((job, result))

    def _take_back(
        self,
        group: Sequence[tuple[object, Job]],
        problem: BaseException | None,
        future: Any,
    ) -> None:
        self._is_running = False
        if problem is not None:
            # A sequencer that has failed stays so: nothing is under way there any more.
            failed = [job for _, job in group]
            failed += [job for job, _ in self._sliced]
            failed += [job for mine in self._waiting.values() for job in mine]
            self._sliced.clear()
            self._waiting.clear()
            for job in failed:
                job.finish(problem)
            return
        done, left, goes_on = future.result()
        self._put_back(left)
        if self._waiting or goes_on:
            # The sequencer is not to wait for the answers to be written.
            self._hand_over()
        for job, result in done:
            job.finish(result)


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
