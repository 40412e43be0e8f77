"""The tables of the history.

Most rows are of one event of one step: `id` is the step's place in the log and the event's place in
the step, so it never changes, orders everything, and makes doing something twice an error instead
of a second row. What L1 undoes stays, marked with the step that says so.

Prices and amounts are collateral units, sizes lots, times seconds since 1970 on L1's clock.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    Index,
    Integer,
    Numeric,
    String,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

VERSION = 1
"""Of this schema. Another one is refused: there is nothing to migrate that cannot be built again,
and a rebuild is tested where a migration of every older form would not be."""
PLACE_BITS = 22
"""Of an id, for the place within a step."""
AMOUNT_DIGITS = 40


class Amount(TypeDecorator[int]):
    """A whole number of up to 128 bits: NUMERIC where the database computes with it exactly, else
    text (SQLite's NUMERIC is a float beyond 63 bits)."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric(AMOUNT_DIGITS, 0))
        return dialect.type_descriptor(String(AMOUNT_DIGITS + 1))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Return what the database takes."""
        if value is None or dialect.name == "postgresql":
            return value
        return str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """Return the number."""
        return None if value is None else int(value)


Big = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits; as a primary key of SQLite the row's own number."""


class Table(DeclarativeBase):
    """A table of the history."""

    type_annotation_map = {int: Big, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Progress(Table):
    """How far the history is; one row, written with the rows that it stands for."""

    __tablename__ = "progress"
    id: Mapped[int] = mapped_column(primary_key=True)
    schema_version: Mapped[int]
    domain: Mapped[str] = mapped_column(String(66))
    """Of the rollup."""
    sequence: Mapped[int]
    """Of the last step that is in; -1: none."""
    clock: Mapped[int]
    """Of that step."""


class Clock(Table):
    """Which steps were taken at a time; what L1 has undone included."""

    __tablename__ = "clocks"
    clock: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first: Mapped[int]
    last: Mapped[int]


class Noted(Table):
    """A row of one event."""

    __abstract__ = True
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    clock: Mapped[int]
    reverted_by: Mapped[int | None]
    """Step that says that this does not hold; None: it does."""


class Fill(Noted):
    """One side of a trade."""

    __tablename__ = "fills"
    account: Mapped[int]
    slot: Mapped[int]
    nonce: Mapped[int]
    client_id: Mapped[str] = mapped_column(String(36))
    market: Mapped[int]
    is_buy: Mapped[bool]
    is_maker: Mapped[bool]
    price: Mapped[int]
    lots: Mapped[int]
    fee: Mapped[int] = mapped_column(Amount)
    __table_args__ = (
        Index("fills_account", "account", "id"),
        Index("fills_market", "market", "is_maker", "id"),
    )


class OrderColumns:
    """What there is to say of an order."""

    client_id: Mapped[str] = mapped_column(String(36))
    market: Mapped[int]
    is_buy: Mapped[bool]
    price: Mapped[int]
    size: Mapped[int]
    remaining: Mapped[int]
    state: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str]


class OrderEvent(OrderColumns, Noted):
    """An order has come to a state."""

    __tablename__ = "order_events"
    account: Mapped[int]
    slot: Mapped[int]
    nonce: Mapped[int]
    __table_args__ = (Index("order_events_order", "account", "slot", "nonce", "id"),)


class Order(OrderColumns, Table):
    """An order, as its events have left it."""

    __tablename__ = "orders"
    account: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    nonce: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[int]
    """Of its first event."""
    clock: Mapped[int]
    updated_id: Mapped[int]
    updated_at: Mapped[int]
    __table_args__ = (Index("orders_account", "account", "id"),)


class Flow(Noted):
    """An account's cash has changed by something other than a fill."""

    __tablename__ = "cash_flows"
    account: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    amount: Mapped[int] = mapped_column(Amount)
    market: Mapped[int]
    lots: Mapped[int]
    counterparty: Mapped[int]
    __table_args__ = (
        Index("cash_flows_account", "account", "id"),
        Index("cash_flows_account_kind", "account", "kind", "id"),
    )


class Balance(Noted):
    """An account's leaf after a step that has touched it."""

    __tablename__ = "balances"
    account: Mapped[int]
    cash: Mapped[int] = mapped_column(Amount)
    positions: Mapped[list[Any]]
    """(Series, signed lots)."""
    __table_args__ = (Index("balances_account", "account", "id"),)


class Liquidation(Noted):
    """A share of an account in distress was taken over."""

    __tablename__ = "liquidations"
    account: Mapped[int]
    liquidator: Mapped[int]
    share: Mapped[int]
    moves: Mapped[list[Any]]
    """(Series, signed lots, mark)."""


class Auction(Noted):
    """An account's auction has begun or ended."""

    __tablename__ = "auctions"
    account: Mapped[int]
    distressed_at: Mapped[int]
    """0: it has ended."""


class Funding(Noted):
    """The funding of a perpetual goes on at another rate, or has accrued."""

    __tablename__ = "funding"
    market: Mapped[int]
    mark: Mapped[int]
    index: Mapped[int]
    premium: Mapped[int]
    carry_long: Mapped[int] = mapped_column(Amount)
    carry_short: Mapped[int] = mapped_column(Amount)
    __table_args__ = (Index("funding_market", "market", "id"),)


class Insurance(Noted):
    """The insurance fund's cash has changed."""

    __tablename__ = "insurance"
    amount: Mapped[int] = mapped_column(Amount)


class Rebase(Table):
    """L1 has undone steps."""

    __tablename__ = "rebases"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    clock: Mapped[int]
    first: Mapped[int]
    """The first step that is undone."""


class Receipt(Table):
    """Where an account's receipts stand in the log. They prove what was promised, also of what L1
    has undone."""

    __tablename__ = "receipts"
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    clock: Mapped[int]
    account: Mapped[int]
    subject: Mapped[str] = mapped_column(String(66))
    outcome: Mapped[int]
    filled: Mapped[int]
    reason: Mapped[int]
    __table_args__ = (Index("receipts_account", "account", "sequence"),)


class Candle(Table):
    """What has traded in a market within a time."""

    __tablename__ = "candles"
    market: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    width: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Seconds."""
    start: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    open: Mapped[int]
    high: Mapped[int]
    low: Mapped[int]
    close: Mapped[int]
    lots: Mapped[int]
    trades: Mapped[int]


class Batch(Table):
    """A batch on L1, and how final it is as far as is known."""

    __tablename__ = "batches"
    header_hash: Mapped[str] = mapped_column(String(66), primary_key=True)
    index: Mapped[int] = mapped_column(index=True)
    stage: Mapped[str] = mapped_column(String(16))
    """posted, safe, final, settled; or removed."""
    chunks: Mapped[int]
    block: Mapped[int]
    l1_time: Mapped[int]


class BatchStage(Table):
    """When this node has last seen a batch come to a stage; its own clock."""

    __tablename__ = "batch_stages"
    header_hash: Mapped[str] = mapped_column(String(66), primary_key=True)
    stage: Mapped[str] = mapped_column(String(16), primary_key=True)
    noted_at: Mapped[int]


NOTED: tuple[type[Noted], ...] = (
    Fill,
    OrderEvent,
    Flow,
    Balance,
    Liquidation,
    Auction,
    Funding,
    Insurance,
)
"""What a rebase reverts."""
