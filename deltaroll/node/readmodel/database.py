"""Opens a history's database: SQLite by default, PostgreSQL by URL."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy import insert as sql_insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from deltaroll.node.readmodel.tables import VERSION, Progress, Table

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
BUSY_SECONDS = 5
PARAMETERS = 16_000
"""Of one statement, at most; both databases take 32,766."""


class HistoryError(Exception):
    """A history that cannot be used, with what can be done about it."""


class HistoryDownError(HistoryError):
    """A history that cannot be reached just now; another time it may."""


def get_default_url(store: Path) -> str:
    """Return the URL of the history beside a store."""
    return f"sqlite:///{store.with_name(store.stem + '.history.sqlite')}"


def parse_url(url: str) -> URL:
    """Return a URL with the driver that we use.

    Raises
    ------
    HistoryError
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise HistoryError("history: not a URL: sqlite:///FILE or postgresql://...") from None
    driver = DRIVERS.get(parsed.drivername.partition("+")[0])
    if driver is None:
        raise HistoryError(f"history: {parsed.drivername!r} is neither sqlite nor postgresql")
    return parsed.set(drivername=driver)


def connect(url: str, pool: int = 2) -> Engine:
    """Return an engine; nothing is opened yet.

    Raises
    ------
    HistoryError
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise HistoryError("history: SQLite needs a file: several threads look at it")
        engine = create_engine(
            parsed, pool_size=pool, connect_args={"timeout": BUSY_SECONDS}, pool_pre_ping=False
        )
        event.listen(engine, "connect", _set_up_sqlite)
        return engine
    try:
        return create_engine(
            parsed,
            pool_size=pool,
            pool_pre_ping=True,
            connect_args={"connect_timeout": BUSY_SECONDS, "application_name": "deltaroll"},
        )
    except (NoSuchModuleError, ImportError) as problem:
        raise HistoryError(f"history: no driver for PostgreSQL: {problem}") from None


def _set_up_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # What a crash of the machine takes is made again from the log.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def open_history(url: str, domain: bytes, is_new: bool = False) -> Engine:
    """Open a history, made where there is none; `is_new`: what is there goes first.

    Raises
    ------
    HistoryError
        When it is another rollup's, of another schema, or something else altogether.
    SQLAlchemyError
        When the database is not to be had.
    """
    engine = connect(url)
    try:
        with engine.begin() as connection:
            if is_new:
                Table.metadata.drop_all(connection)
            prepare(connection, domain)
    except BaseException:
        engine.dispose()
        raise
    return engine


def prepare(connection: Connection, domain: bytes) -> int:
    """Make the tables where there are none, and check whose they are; return how far they are.

    Raises
    ------
    HistoryError
    """
    tables = set(inspect(connection).get_table_names())
    if Progress.__tablename__ not in tables:
        taken = tables & set(Table.metadata.tables)
        if taken:
            raise HistoryError(f"history: the database has a table {min(taken)!r} of its own")
        # First, so that what a crash leaves of the others is known as ours; its row comes last.
        Table.metadata.create_all(connection, [Table.metadata.tables[Progress.__tablename__]])
    question = select(Progress.schema_version, Progress.domain, Progress.sequence)
    held = connection.execute(question).one_or_none()
    if held is None:
        Table.metadata.create_all(connection)
        insert(
            connection,
            Progress,
            [
                {
                    "id": 1,
                    "schema_version": VERSION,
                    "domain": "0x" + domain.hex(),
                    "sequence": -1,
                    "clock": 0,
                }
            ],
        )
        return -1
    if held.schema_version != VERSION:
        raise HistoryError(
            f"history: schema {held.schema_version}, this node writes {VERSION}: build it again, "
            "`ape run history --rebuild`"
        )
    if held.domain != "0x" + domain.hex():
        raise HistoryError("history: belongs to another rollup")
    return int(held.sequence)


def insert(connection: Connection, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows; an error when one is there already."""
    if rows:
        connection.execute(sql_insert(table), rows)


def upsert(connection: Connection, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows, or put them in the place of those that are there. All have the same columns."""
    if not rows:
        return
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = make(table)
    keys = [column.name for column in inspect(table).primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)
