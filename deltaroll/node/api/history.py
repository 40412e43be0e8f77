"""REST: the history. Pages by cursor, newest first, within a range of L1 time."""

from dataclasses import replace
from typing import Annotated, Any

import msgspec

from deltaroll.node.admission import RejectedError
from deltaroll.node.api.endpoint import Asked, Endpoint, Handler
from deltaroll.node.api.errors import UnknownError
from deltaroll.node.api.messages import Account, Limit, Market, Slot, Time
from deltaroll.node.events import FlowKind
from deltaroll.node.readmodel import records, tables
from deltaroll.node.readmodel.candles import WIDTHS
from deltaroll.node.readmodel.reader import (
    AUCTIONS,
    BALANCES,
    CANDLES,
    FILLS,
    FLOWS,
    FUNDING,
    INSURANCE,
    LIQUIDATIONS,
    ORDER_EVENTS,
    ORDERS,
    REBASES,
    RECEIPTS,
    TRADES,
    Kind,
    Reader,
    Span,
    read_batches,
    read_page,
)

COST = 5.0
MOVED = (FlowKind.DEPOSIT, FlowKind.WITHDRAWAL, FlowKind.TRANSFER)
PageSize = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
Place = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1, description="`next` of the page before")]
Flag = Annotated[int, msgspec.Meta(ge=0, le=1)]


class SpanParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which part, newest first."""

    limit: PageSize = 100
    cursor: Place | None = None
    since: Time | None = None
    """L1 time; both ends are included."""
    until: Time | None = None
    reverted: Flag = 0
    """1: with what L1 has undone."""

    def get_span(self) -> Span:
        """Return the part."""
        return Span(self.limit, self.cursor, self.since, self.until, self.reverted == 1)


class MarketSpanParams(SpanParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of which market, and which part."""

    market: Market


class CandleParams(MarketSpanParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of which market, how wide, and which part."""

    seconds: Annotated[int, msgspec.Meta(ge=60, le=86_400, description="60, 3600 or 86400")] = 60


class AccountSpanParams(SpanParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of which account, and which part."""

    account: Account


class AccountMarketSpanParams(
    AccountSpanParams, frozen=True, forbid_unknown_fields=True, kw_only=True
):
    """The same, of one market alone if it is named."""

    market: Market | None = None


class OrderSpanParams(AccountSpanParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of which order: slot and nonce name an account's order for good."""

    slot: Slot
    nonce: Limit


def get_reader(asked: Asked) -> Reader:
    """Return the history; UnknownError when the node keeps none."""
    reader = asked.context.history
    if reader is None:
        raise UnknownError("history: this node keeps none")
    return reader


async def ask(asked: Asked, kind: Kind, *conditions: Any) -> Any:
    """Return a page."""
    span = asked.params.get_span()
    return await get_reader(asked).ask(
        lambda connection: read_page(connection, kind, span, *conditions), asked.address
    )


async def ask_private(asked: Asked, kind: Kind, *conditions: Any) -> Any:
    """Return a page of an account's history, to whoever may see it."""
    account = asked.params.account
    await asked.call_private(account, lambda _: None)
    return await ask(asked, kind, kind.table.account == account, *conditions)


def in_market(asked: Asked, kind: Kind) -> list[Any]:
    """Return the condition that a request has on markets."""
    market = asked.params.market
    return [] if market is None else [kind.table.market == market]


async def get_past_trades(asked: Asked) -> Any:
    """Return a market's trades."""
    fill = tables.Fill
    return await ask(asked, TRADES, fill.market == asked.params.market, fill.is_maker.is_(False))


async def get_candles(asked: Asked) -> Any:
    """Return a market's candles."""
    seconds = asked.params.seconds
    if seconds not in WIDTHS:
        raise RejectedError(f"seconds: {seconds} is none of {', '.join(map(str, WIDTHS))}")
    candle = tables.Candle
    return await ask(asked, CANDLES, candle.market == asked.params.market, candle.width == seconds)


async def get_funding_rates(asked: Asked) -> Any:
    """Return a perpetual's funding."""
    return await ask(asked, FUNDING, tables.Funding.market == asked.params.market)


async def get_liquidations(asked: Asked) -> Any:
    """Return take-overs."""
    return await ask(asked, LIQUIDATIONS)


async def get_auctions(asked: Asked) -> Any:
    """Return when auctions have begun and ended."""
    return await ask(asked, AUCTIONS)


async def get_past_insurance(asked: Asked) -> Any:
    """Return what the insurance fund has held."""
    return await ask(asked, INSURANCE)


async def get_rebases(asked: Asked) -> Any:
    """Return what L1 has undone."""
    return await ask(asked, REBASES)


async def get_past_batches(asked: Asked) -> Any:
    """Return batches and when they came to their stages."""
    span = asked.params.get_span()
    return await get_reader(asked).ask(
        lambda connection: read_batches(connection, span), asked.address
    )


async def get_past_orders(asked: Asked) -> Any:
    """Return an account's orders and their ends."""
    return await ask_private(asked, ORDERS, *in_market(asked, ORDERS))


async def get_order_events(asked: Asked) -> Any:
    """Return the life of an order."""
    event = tables.OrderEvent
    return await ask_private(
        asked,
        ORDER_EVENTS,
        event.slot == asked.params.slot,
        event.nonce == asked.params.nonce,
    )


async def get_fills(asked: Asked) -> Any:
    """Return an account's fills."""
    return await ask_private(asked, FILLS, *in_market(asked, FILLS))


async def get_cash_flows(asked: Asked) -> Any:
    """Return all that has changed an account's cash, fills apart."""
    return await ask_private(asked, FLOWS)


async def get_funding_payments(asked: Asked) -> Any:
    """Return an account's funding."""
    return await ask_private(asked, FLOWS, tables.Flow.kind == FlowKind.FUNDING.value)


async def get_transfers(asked: Asked) -> Any:
    """Return what has come in and gone out of an account."""
    return await ask_private(asked, FLOWS, tables.Flow.kind.in_([kind.value for kind in MOVED]))


async def get_balances(asked: Asked) -> Any:
    """Return an account's cash and positions over time."""
    return await ask_private(asked, BALANCES)


async def get_receipts(asked: Asked) -> Any:
    """Return where an account's receipts stand."""
    return await ask_private(asked, RECEIPTS)


def make_public(
    path: str, summary: str, handler: Handler, record: Any, params: type[SpanParams] = SpanParams
) -> Endpoint:
    """Return an endpoint for everybody."""
    return Endpoint(
        "GET", "/v1/history/" + path, summary, handler, records.Page[record], params, cost=COST
    )


def make_private(
    path: str,
    summary: str,
    handler: Handler,
    record: Any,
    params: type[SpanParams] = AccountSpanParams,
) -> Endpoint:
    """Return an endpoint for who may see an account."""
    public = make_public("accounts/{account}/" + path, summary, handler, record, params)
    return replace(public, is_private=True)


HISTORY_ENDPOINTS = (
    make_public(
        "markets/{market}/trades",
        "A series' trades",
        get_past_trades,
        records.TradeRecord,
        MarketSpanParams,
    ),
    make_public(
        "markets/{market}/candles",
        "A series' candles of a minute, an hour or a day",
        get_candles,
        records.CandleRecord,
        CandleParams,
    ),
    make_public(
        "markets/{market}/funding",
        "A perpetual's funding rates",
        get_funding_rates,
        records.FundingRecord,
        MarketSpanParams,
    ),
    make_public(
        "liquidations",
        "Take-overs of accounts in distress",
        get_liquidations,
        records.LiquidationRecord,
    ),
    make_public(
        "auctions",
        "Auctions, when they have begun and ended",
        get_auctions,
        records.AuctionRecord,
    ),
    make_public(
        "insurance", "The insurance fund over time", get_past_insurance, records.InsuranceRecord
    ),
    make_public(
        "batches",
        "Batches on L1, and when they came to each stage",
        get_past_batches,
        records.BatchRecord,
    ),
    make_public("rebases", "What L1 has undone", get_rebases, records.RebaseRecord),
    make_private(
        "orders",
        "An account's orders and their ends",
        get_past_orders,
        records.OrderRecord,
        AccountMarketSpanParams,
    ),
    make_private(
        "orders/{slot}/{nonce}",
        "The life of an order",
        get_order_events,
        records.OrderEventRecord,
        OrderSpanParams,
    ),
    make_private(
        "fills",
        "An account's fills, with fees",
        get_fills,
        records.FillRecord,
        AccountMarketSpanParams,
    ),
    make_private(
        "cash",
        "All that has changed an account's cash, fills apart",
        get_cash_flows,
        records.FlowRecord,
    ),
    make_private(
        "funding",
        "Funding that an account has paid or received",
        get_funding_payments,
        records.FlowRecord,
    ),
    make_private(
        "transfers",
        "Deposits, withdrawals and transfers of an account",
        get_transfers,
        records.FlowRecord,
    ),
    make_private(
        "balances",
        "An account's cash and positions over time",
        get_balances,
        records.BalanceRecord,
    ),
    make_private(
        "receipts",
        "Where an account's receipts stand in the log",
        get_receipts,
        records.ReceiptRecord,
    ),
)
