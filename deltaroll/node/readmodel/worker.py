"""The process that writes a history: it takes frames from standard input until that ends.

A process of its own, and a polite one: rows are made while the sequencer has its interpreter to
itself.
"""

import os
import sys
from pathlib import Path
from typing import BinaryIO

from deltaroll.logs import configure_logs
from deltaroll.node.readmodel.database import HistoryDownError, HistoryError
from deltaroll.node.readmodel.frames import (
    Answer,
    Applied,
    Apply,
    NoteBatches,
    Open,
    Refused,
    Request,
    read_request,
    write_frame,
)
from deltaroll.node.readmodel.historian import Historian
from deltaroll.node.store import StoreError

NICENESS = 5


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Do what is asked for, one after the other."""
    historian: Historian | None = None
    try:
        while (request := read_request(requests)) is not None:
            if isinstance(request, Open):
                historian, answer = open_historian(request)
            else:
                assert historian is not None
                answer = handle(historian, request)
            write_frame(answers, answer)
    finally:
        if historian is not None:
            historian.close()


def open_historian(request: Open) -> tuple[Historian | None, Answer]:
    """Open a history; return it with how far it is."""
    store = None if request.store is None else Path(request.store)
    try:
        historian = Historian(request.url, bytes.fromhex(request.domain), store)
        return historian, Applied(historian.get_applied())
    except HistoryError as problem:
        return None, refuse(problem)


def handle(historian: Historian, request: Request) -> Answer:
    """Do one thing."""
    try:
        match request:
            case Apply():
                return Applied(historian.apply(request.steps))
            case NoteBatches():
                historian.note_batches(request.batches, request.first)
        return Applied(historian.get_applied())
    except (HistoryError, StoreError, OverflowError) as problem:
        return refuse(problem)


def refuse(problem: Exception) -> Refused:
    """Return why something is not done."""
    return Refused(str(problem), isinstance(problem, HistoryDownError))


if __name__ == "__main__":
    configure_logs("info")
    os.nice(NICENESS)
    serve(sys.stdin.buffer, sys.stdout.buffer)
