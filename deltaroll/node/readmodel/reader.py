"""Answers questions about the history, on threads of its own and never for long."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Select, false, select, text
from sqlalchemy.exc import SQLAlchemyError

from deltaroll.node.readmodel import records, tables
from deltaroll.node.readmodel.database import connect
from deltaroll.node.readmodel.tables import PLACE_BITS, Batch, BatchStage, Clock, Progress
from deltaroll.node.store import StoreError

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
THREADS = 4
THREADS_OF_ONE = 2
"""That one client has at a time."""
MAX_WAITING = 256
"""Questions under way; one more is refused."""
MAX_OF_ONE = 32
"""Of one client, likewise."""
STATEMENT_SECONDS = 3.0
STEPS_BETWEEN = 20_000
"""Instructions of SQLite between two looks at the clock."""


class HistoryUnavailableError(StoreError):
    """The history cannot answer just now."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Something that is kept in an order."""

    table: Any
    record: type[Any]
    place: str = "id"
    """Column that orders it; an id's step is the record's `sequence`."""
    time: str = "clock"

    def get_columns(self) -> list[Any]:
        """Return the columns of the record, the place first."""
        names = [name for name in self.record.__struct_fields__ if name != "sequence"]
        return [getattr(self.table, name) for name in dict.fromkeys((self.place, *names))]


FILLS = Kind(tables.Fill, records.FillRecord)
TRADES = Kind(tables.Fill, records.TradeRecord)
ORDERS = Kind(tables.Order, records.OrderRecord)
ORDER_EVENTS = Kind(tables.OrderEvent, records.OrderEventRecord)
FLOWS = Kind(tables.Flow, records.FlowRecord)
BALANCES = Kind(tables.Balance, records.BalanceRecord)
LIQUIDATIONS = Kind(tables.Liquidation, records.LiquidationRecord)
AUCTIONS = Kind(tables.Auction, records.AuctionRecord)
FUNDING = Kind(tables.Funding, records.FundingRecord)
INSURANCE = Kind(tables.Insurance, records.InsuranceRecord)
REBASES = Kind(tables.Rebase, records.RebaseRecord)
RECEIPTS = Kind(tables.Receipt, records.ReceiptRecord, "sequence")
CANDLES = Kind(tables.Candle, records.CandleRecord, "start", "start")


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of a history."""

    limit: int
    cursor: int | None = None
    """Where the page before has ended."""
    since: int | None = None
    until: int | None = None
    """L1 time, both included."""
    reverted: bool = False
    """With what L1 has undone."""


@dataclass(slots=True)
class Queue:
    """The questions of one client."""

    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(THREADS_OF_ONE))
    waiting: int = 0


class Reader:
    """Reads a history; asked on an event loop, works on threads."""

    def __init__(self, url: str, seconds: float = STATEMENT_SECONDS) -> None:
        """`seconds`: a statement that takes longer is given up.

        Raises
        ------
        HistoryError
        """
        self._engine = connect(url, THREADS)
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        self._seconds = seconds
        self._executor = ThreadPoolExecutor(THREADS, "history-reader")
        self._waiting = 0
        self._queues: dict[str, Queue] = {}

    async def ask(self, question: Callable[[Connection], Result], who: str = "") -> Result:
        """Have a question answered; `who` asks has some of the threads, so that others have one.

        Raises
        ------
        HistoryUnavailableError
            When too many wait, it takes too long, or the database is gone.
        """
        queue = self._queues.setdefault(who, Queue())
        if queue.waiting >= MAX_OF_ONE or self._waiting >= MAX_WAITING:
            raise HistoryUnavailableError("history: too many questions at a time")
        queue.waiting += 1
        self._waiting += 1
        try:
            async with queue.turn:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._executor, self.answer, question)
        finally:
            self._waiting -= 1
            queue.waiting -= 1
            if not queue.waiting:
                del self._queues[who]

    def answer(self, question: Callable[[Connection], Result]) -> Result:
        """Answer a question on this thread; raises as `ask` does."""
        try:
            with self._engine.connect() as connection:
                self._limit(connection)
                try:
                    return question(connection)
                finally:
                    self._unlimit(connection)
        except SQLAlchemyError as problem:
            log.warning("history_question_failed", error=str(problem))
            raise HistoryUnavailableError("history: no answer in time") from None

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown()
        self._engine.dispose()

    def _limit(self, connection: Connection) -> None:
        if self._is_sqlite:
            end = monotonic() + self._seconds
            raw: Any = connection.connection.dbapi_connection
            raw.set_progress_handler(lambda: monotonic() > end, STEPS_BETWEEN)
        else:
            connection.execute(text(f"SET LOCAL statement_timeout = {int(self._seconds * 1_000)}"))

    def _unlimit(self, connection: Connection) -> None:
        raw: Any = connection.connection.dbapi_connection
        if self._is_sqlite and raw is not None:
            raw.set_progress_handler(None, 0)


def get_applied(connection: Connection) -> int:
    """Return up to which step the history is complete."""
    return int(connection.execute(select(Progress.sequence)).scalar_one())


def read_page(
    connection: Connection, kind: Kind, span: Span, *conditions: Any
) -> records.Page[Any]:
    """Return a page of what meets conditions, newest first.

    The cursor is the place of the last row: rows that come later do not move those of the next
    page.
    """
    place, time = getattr(kind.table, kind.place), getattr(kind.table, kind.time)
    applied = get_applied(connection)
    question: Select[Any] = select(*kind.get_columns()).where(*conditions)
    if span.cursor is not None:
        question = question.where(place < span.cursor)
    if span.since is not None:
        question = question.where(time >= span.since)
    if span.until is not None:
        question = question.where(time <= span.until)
    if not span.reverted and "reverted_by" in kind.table.__table__.columns:
        question = question.where(kind.table.reverted_by.is_(None))
        if kind.place == "id":
            question = question.where(*find_bounds(connection, place, span))
    found = connection.execute(question.order_by(place.desc()).limit(span.limit + 1)).all()
    rows = tuple(make_record(kind, row) for row in found[: span.limit])
    following = str(found[span.limit - 1][0]) if len(found) > span.limit else None
    return records.Page(rows, applied, following)


def find_bounds(connection: Connection, place: Any, span: Span) -> list[Any]:
    """Return the conditions on places that follow from those on times, so that nobody looks through
    what is newer or older. They are true of what holds; what was undone may lie elsewhere.
    """
    bounds = []
    if span.since is not None:
        first = connection.execute(
            select(Clock.first).where(Clock.clock >= span.since).order_by(Clock.clock).limit(1)
        ).scalar()
        bounds.append(false() if first is None else place >= first << PLACE_BITS)
    if span.until is not None:
        last = connection.execute(
            select(Clock.last)
            .where(Clock.clock <= span.until)
            .order_by(Clock.clock.desc())
            .limit(1)
        ).scalar()
        bounds.append(false() if last is None else place < (last + 1) << PLACE_BITS)
    return bounds


def make_record(kind: Kind, row: Any) -> Any:
    """Return the record of a row."""
    values = dict(row._mapping)
    if kind.place == "id":
        values["sequence"] = values.pop("id") >> PLACE_BITS
    for name in ("fee", "amount", "cash", "carry_long", "carry_short"):
        if name in values:
            values[name] = str(values[name])
    for name in ("positions", "moves"):
        if name in values:
            values[name] = tuple(tuple(entry) for entry in values[name])
    return kind.record(**values)


def read_batches(connection: Connection, span: Span) -> records.Page[Any]:
    """Return batches with their stages, newest first; those that were removed only if asked for.

    A cursor is a batch's index: of those with one index none is left out or told twice.
    """
    question = select(Batch)
    if span.cursor is not None:
        question = question.where(Batch.index < span.cursor)
    if span.since is not None:
        question = question.where(Batch.l1_time >= span.since)
    if span.until is not None:
        question = question.where(Batch.l1_time <= span.until)
    if not span.reverted:
        question = question.where(Batch.stage != "removed")
    indices = question.with_only_columns(Batch.index).distinct()
    chosen = connection.execute(indices.order_by(Batch.index.desc()).limit(span.limit + 1)).all()
    following = str(chosen[span.limit - 1][0]) if len(chosen) > span.limit else None
    asked = [row[0] for row in chosen[: span.limit]]
    stages: dict[str, list[records.StageRecord]] = {}
    for row in connection.execute(
        select(BatchStage.header_hash, BatchStage.stage, BatchStage.noted_at)
        .join(Batch, Batch.header_hash == BatchStage.header_hash)
        .where(Batch.index.in_(asked))
        .order_by(BatchStage.noted_at, BatchStage.stage)
    ):
        stages.setdefault(row.header_hash, []).append(records.StageRecord(row.stage, row.noted_at))
    names = [name for name in records.BatchRecord.__struct_fields__ if name != "stages"]
    rows = tuple(
        records.BatchRecord(**row._mapping, stages=tuple(stages.get(row.header_hash, ())))
        for row in connection.execute(
            question.with_only_columns(*(getattr(Batch, name) for name in names))
            .where(Batch.index.in_(asked))
            .order_by(Batch.index.desc(), Batch.header_hash)
        )
    )
    return records.Page(rows, get_applied(connection), following)
