"""Writes steps into a history: each transaction holds the rows of whole steps and the number of the
last one, so a step is in exactly once, whenever process or database die.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time

import msgspec
import structlog
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from deltaroll.node.api.data import BatchData
from deltaroll.node.events import Rebased, Step
from deltaroll.node.readmodel.database import (
    HistoryDownError,
    HistoryError,
    open_history,
    upsert,
)
from deltaroll.node.readmodel.tables import Batch, BatchStage, Progress, Receipt
from deltaroll.node.readmodel.writer import Writer, write_receipts
from deltaroll.node.receipts import decode_receipt
from deltaroll.node.store import Store
from deltaroll.node.telling import tell_steps

log = structlog.get_logger(__name__)


class MissingStepsError(HistoryError):
    """Steps that come do not follow those that are written."""


class Historian:
    """A history and what writes it, on one thread."""

    def __init__(
        self, url: str, domain: bytes, store: Path | None = None, is_new: bool = False
    ) -> None:
        """Open a history, made where there is none.

        Parameters
        ----------
        store
            Where receipts are read; None: there are none.
        is_new
            What the history holds goes first.

        Raises
        ------
        HistoryError, HistoryDownError
        """
        with plain_errors():
            self.engine = open_history(url, domain, is_new)
        self._domain = domain
        self._path = store
        self._store: Store | None = None
        self._writer = Writer()

    def get_applied(self) -> int:
        """Return the last step that is in; -1 when there is none."""
        with plain_errors(), self.engine.begin() as connection:
            return int(connection.execute(select(Progress.sequence)).scalar_one())

    def apply(self, steps: Sequence[Step]) -> int:
        """Write the steps that are not in yet; return the last one that is. Those between, which
        nobody has told, are taken from the log.

        Raises
        ------
        HistoryError, HistoryDownError
            Nothing is in then; or everything, when only the answer was lost.
        """
        try:
            return self._apply(steps)
        except MissingStepsError:
            if self._path is None:
                raise
        self.catch_up()
        return self._apply(steps)

    def catch_up(self) -> int:
        """Write what the log tells and is not in yet; return the last step that is in.

        Raises
        ------
        HistoryError, HistoryDownError, StoreError
        """
        first = self.get_applied() + 1
        log.info("history_catches_up", first=first)

        def listen(steps: Sequence[Step]) -> None:
            self._apply(steps)

        # A log that was opened a while ago does not know how long it has become.
        self._close_store()
        tell_steps(self._open_store(), self._domain, listen, first)
        return self.get_applied()

    def _apply(self, steps: Sequence[Step]) -> int:
        try:
            with plain_errors(), self.engine.begin() as connection:
                applied = int(
                    connection.execute(select(Progress.sequence).with_for_update()).scalar_one()
                )
                fresh = [step for step in steps if step.sequence > applied]
                if fresh:
                    check_next(applied, fresh[0])
                    self._writer.write(connection, fresh)
                    applied = fresh[-1].sequence
                    self._write_receipts(connection, applied)
        except BaseException:
            self._writer.forget()
            raise
        return applied

    def note_batches(self, batches: Sequence[BatchData], first: int) -> None:
        """Write what L1 says about batches from number `first` on: those that are not there any
        more are removed.

        Raises
        ------
        HistoryError, HistoryDownError
        """
        with plain_errors(), self.engine.begin() as connection:
            known = {
                row.header_hash: dict(row._mapping)
                for row in connection.execute(select(Batch.__table__).where(Batch.index >= first))
            }
            rows = {batch.header_hash: msgspec.structs.asdict(batch) for batch in batches}
            for header_hash, row in known.items():
                rows.setdefault(header_hash, row | {"stage": "removed"})
            changed = [row for row in rows.values() if known.get(row["header_hash"]) != row]
            upsert(connection, Batch, changed)
            now = int(time())
            upsert(
                connection,
                BatchStage,
                [
                    {"header_hash": row["header_hash"], "stage": row["stage"], "noted_at": now}
                    for row in changed
                ],
            )

    def close(self) -> None:
        """Let go of the database."""
        self._close_store()
        self.engine.dispose()

    def abort(self) -> None:
        """Nothing can be hurried here."""

    def _open_store(self) -> Store:
        if self._store is None:
            if self._path is None:
                raise HistoryError("history: no log to read")
            self._store = Store(self._path, self._domain)
        return self._store

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _write_receipts(self, connection: Connection, applied: int) -> None:
        if self._path is None:
            return
        latest = connection.execute(select(func.max(Receipt.sequence))).scalar()
        first = 0 if latest is None else latest + 1
        receipts = self._open_store().iterate_receipts(first, applied + 1)
        write_receipts(connection, [decode_receipt(receipt) for receipt in receipts])


def check_next(applied: int, step: Step) -> None:
    """Check that nothing is missing between what is written and a step: it is the next one, or
    undoes whatever may lie between.

    Raises
    ------
    MissingStepsError
    """
    undone = [event.first for event in step.events if isinstance(event, Rebased)]
    if step.sequence != applied + 1 and not any(first <= applied + 1 for first in undone):
        raise MissingStepsError(
            f"history: steps {applied + 1} to {step.sequence - 1} are missing: "
            "`ape run history --catch-up`"
        )


@contextmanager
def plain_errors() -> Iterator[None]:
    """Tell what waiting helps against from what it does not."""
    try:
        yield
    except (IntegrityError, DataError) as problem:
        raise HistoryError(
            f"history: somebody else writes there, or what is there is not ours: {problem}"
        ) from problem
    except SQLAlchemyError as problem:
        raise HistoryDownError(f"history: {problem}") from problem
