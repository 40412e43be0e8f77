"""Each mutant is judged in a process of its own, which a mutant may spoil as it likes."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TypeVar

KILLED, SURVIVED, BROKEN = range(3)
"""Exit codes of a mutant's process; it may also die of a signal, which is as good as killed."""
MEMORY = 4 << 30
"""Bytes that a mutant's process may ask for: a loop without end may fill a list."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def be_quiet() -> None:
    """Throw away what this process prints from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def in_child(task: Callable[[], int], seconds: int) -> int:
    """Start a task in a process of its own, which may use so many seconds. Return its id."""
    child = os.fork()
    if child:
        return child
    # Of the processor: on a busy machine more may pass, and a mutant is not killed by waiting.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        os._exit(task())
    except BaseException:  # noqa: BLE001 - nothing may go on in a copy of the parent
        os._exit(BROKEN)


def judge(
    mutants: Sequence[Item], task: Callable[[Item], int], workers: int, seconds: int
) -> Iterator[tuple[Item, int]]:
    """Yield every mutant and how its process ended: an exit code, or minus the signal."""
    running: dict[int, Item] = {}
    waiting = iter(mutants)
    while True:
        while len(running) < workers and (mutant := next(waiting, None)) is not None:
            running[in_child(lambda item=mutant: task(item), seconds)] = mutant  # type: ignore[misc]
        if not running:
            return
        child, status = os.wait()
        if child in running:
            yield running.pop(child), os.waitstatus_to_exitcode(status)


def map_in_children(items: Sequence[Item], task: Callable[[Item], Result]) -> list[Result]:
    """Return what a task makes of each item, in a process for each that shares our memory."""
    context = get_context("fork")
    pipes = []
    for item in items:
        receiver, sender = context.Pipe(duplex=False)

        def work(item: Item = item, sender: Connection = sender) -> None:
            sender.send(task(item))

        process = context.Process(target=work)
        process.start()
        sender.close()
        pipes.append((process, receiver))
    results: list[Result] = []
    for process, receiver in pipes:
        results.append(receiver.recv())
        process.join()
    return results
