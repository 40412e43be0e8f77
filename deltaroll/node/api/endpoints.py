"""REST: one table of what can be asked. Routes and the OpenAPI document both come from it."""

import asyncio
from collections.abc import Generator
from typing import Annotated, Any

import msgspec

from deltaroll.node.api.data import (
    AccountProof,
    AccountSnapshot,
    BatchesData,
    BookData,
    ExitData,
    IndexData,
    InsuranceData,
    MarketInfo,
    OpenOrder,
    OwnedAccounts,
    SlotData,
    Ticker,
    TradesData,
    VenueStatus,
)
from deltaroll.node.api.endpoint import Asked, Endpoint
from deltaroll.node.api.errors import UnknownError
from deltaroll.node.api.history import HISTORY_ENDPOINTS
from deltaroll.node.api.messages import (
    Accepted,
    Account,
    AnyAccount,
    BatchFields,
    CancelAllFields,
    CancelFields,
    DeadManFields,
    ItemAnswer,
    Market,
    OrderFields,
    ProtectFields,
    ReceiptBody,
    ResumeFields,
    Submission,
)
from deltaroll.node.api.service import (
    collect_orders,
    compute_account_snapshot,
    compute_ticker,
    find_owned,
    iterate_distressed,
    iterate_slots,
    to_receipt_body,
)
from deltaroll.node.queries import (
    DistressedAnswer,
    MarginAnswer,
    MarginQuery,
    compute_margin_answer,
    to_plain,
)
from deltaroll.node.requests import HexAddress
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.types import AccountId, MarketId, Series, Underlying

Levels = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
Count = Annotated[int, msgspec.Meta(ge=1, le=50)]
Sequence = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class MarketParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which market."""

    market: Market


class BookParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which market, and how much of its book."""

    market: Market
    levels: Levels = 100


class AccountParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which account."""

    account: Account


class ProofParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which account; 0 is the insurance fund's."""

    account: AnyAccount


class ReceiptParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which account's receipt, by its place in the log."""

    account: Account
    sequence: Sequence


class OwnerParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose accounts."""

    owner: HexAddress


class RecipientParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose exits."""

    recipient: HexAddress


class BatchesParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many, newest first."""

    count: Count = 50


class UnderlyingParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of which underlying; all by default."""

    underlying: Market | None = None


async def get_status(asked: Asked) -> VenueStatus:
    """Say where the venue is."""
    hub = asked.context.hub
    delegation = asked.context.delegation

    def run(sequencer: Sequencer) -> VenueStatus:
        key = sequencer.receipt_key
        newest: dict[str, int] = {}
        for index, batch in sorted(hub.batches.items()):
            newest[batch.stage] = index
        return VenueStatus(
            sequencer.clock,
            sequencer.store.next_sequence - 1,
            "0x" + sequencer.domain.hex(),
            None if key is None else "0x" + key.address.hex(),
            None if delegation is None else delegation.proposer,
            None if delegation is None else delegation.signature,
            sequencer.chunks_sealed,
            newest,
        )

    status: VenueStatus = await asked.call(run)
    return status


def collect_markets(sequencer: Sequencer) -> Generator[None, None, list[MarketInfo]]:
    """Return all market leaves, some at a time."""
    found = []
    for number, market in enumerate(sorted(sequencer.state.markets)):
        leaf = sequencer.state.markets.get(market)
        if leaf is not None:
            found.append(MarketInfo(market, type(leaf).__name__.lower(), to_plain(leaf)))
        if number % 4 == 3:
            yield
    return found


async def get_markets(asked: Asked) -> Any:
    """List everything that the rollup has in its market tree."""
    return await asked.call(collect_markets)


async def get_market(asked: Asked) -> Any:
    """Return one leaf."""
    market = asked.params.market

    def run(sequencer: Sequencer) -> MarketInfo:
        leaf = sequencer.state.markets.get(MarketId(market))
        if leaf is None:
            raise UnknownError(f"market: no market {market}")
        return MarketInfo(market, type(leaf).__name__.lower(), to_plain(leaf))

    return await asked.call(run)


async def require(asked: Asked, kind: type) -> None:
    """Check that a market is of a kind; UnknownError if not."""
    market = asked.params.market
    if not await asked.call(
        lambda sequencer: isinstance(sequencer.state.markets.get(market), kind)
    ):
        raise UnknownError(f"market: no {kind.__name__.lower()} {market}")


async def get_book(asked: Asked) -> Any:
    """Return a book."""
    await require(asked, Series)
    return asked.context.hub.get_book(asked.params.market, asked.params.levels)


async def get_trades(asked: Asked) -> Any:
    """Return the latest trades."""
    await require(asked, Series)
    return asked.context.hub.get_trades(asked.params.market)


async def get_index(asked: Asked) -> Any:
    """Return an underlying's price."""
    await require(asked, Underlying)
    market = asked.params.market
    return asked.context.hub.indices.get(market, IndexData(market, 0, 0, 0))


def find_last(asked: Asked, market: int) -> tuple[int, int] | None:
    """Return price and lots of a market's last trade."""
    recent = asked.context.hub.trades.get(market)
    return (recent[-1].price, recent[-1].lots) if recent else None


async def get_tickers(asked: Asked) -> Any:
    """Return all series at a glance."""
    underlying = asked.params.underlying

    def run(sequencer: Sequencer) -> Generator[None, None, list[Ticker]]:
        found = []
        for market in sorted(sequencer.state.markets):
            leaf = sequencer.state.markets.get(market)
            if isinstance(leaf, Series) and underlying in (None, leaf.underlying):
                found.append(compute_ticker(sequencer, market, find_last(asked, market)))
                yield
        return found

    return await asked.call(run)


async def get_ticker(asked: Asked) -> Any:
    """Return one series at a glance."""
    market = asked.params.market
    last = find_last(asked, market)
    return await asked.call(lambda sequencer: compute_ticker(sequencer, market, last))


async def get_account(asked: Asked) -> Any:
    """Return an account and its orders."""
    account = asked.params.account
    return await asked.call_private(
        account, lambda sequencer: compute_account_snapshot(sequencer, account)
    )


async def get_orders(asked: Asked) -> Any:
    """Return an account's orders."""
    account = AccountId(asked.params.account)
    return await asked.call_private(account, lambda sequencer: collect_orders(sequencer, account))


async def get_margin(asked: Asked) -> Any:
    """Return an account's margin and why it is what it is."""
    query = MarginQuery(asked.params.account)
    return await asked.call_private(
        query.account, lambda sequencer: compute_margin_answer(sequencer.state, query)
    )


async def get_receipt(asked: Asked) -> Any:
    """Return a stored receipt."""
    account, sequence = asked.params.account, asked.params.sequence

    def run(sequencer: Sequencer) -> ReceiptBody:
        receipt = sequencer.find_receipt(sequence)
        if receipt is None or receipt.account != account:
            raise UnknownError(f"sequence: account {account} has no receipt {sequence}")
        return to_receipt_body(receipt)

    return await asked.call_private(account, run)


async def get_proof(asked: Asked) -> Any:
    """Prove an account's leaf against the newest batch on L1."""
    proofs = asked.context.proofs
    if proofs is None:
        raise UnknownError("proof: this node follows no L1")
    return await asyncio.to_thread(proofs.prove_account, asked.params.account)


async def get_slots(asked: Asked) -> Any:
    """Return an account's order slots."""
    account = AccountId(asked.params.account)
    return await asked.call_private(account, lambda sequencer: iterate_slots(sequencer, account))


async def get_owned(asked: Asked) -> Any:
    """Return an owner's accounts."""
    owner = bytes.fromhex(asked.params.owner[2:])
    return await asked.call(lambda sequencer: find_owned(sequencer, owner))


async def get_exits(asked: Asked) -> Any:
    """Return an address' withdrawals."""
    proofs = asked.context.proofs
    if proofs is None:
        raise UnknownError("proof: this node follows no L1")
    recipient = bytes.fromhex(asked.params.recipient[2:])
    return await asyncio.to_thread(proofs.find_exits, recipient)


async def get_distressed(asked: Asked) -> Any:
    """Return the accounts in distress."""
    return await asked.call(iterate_distressed)


async def get_insurance(asked: Asked) -> InsuranceData:
    """Return what the insurance fund holds."""
    return InsuranceData(str(asked.context.hub.insurance))


async def get_batches(asked: Asked) -> Any:
    """Return batches and how final they are."""
    return asked.context.hub.get_batches(asked.params.count)


async def post_order(asked: Asked) -> Any:
    """Place an order."""
    service = asked.context.service
    return await asked.call(lambda sequencer: service.place(sequencer, asked.body))


async def post_batch(asked: Asked) -> Any:
    """Place and cancel orders."""
    service = asked.context.service
    return await asked.call(
        lambda sequencer: service.do_batch(sequencer, asked.body, asked.sessions)
    )


async def post_cancel(asked: Asked) -> Any:
    """Cancel an order."""
    service = asked.context.service
    return await asked.call(lambda sequencer: service.cancel(sequencer, asked.body, asked.sessions))


async def post_cancel_all(asked: Asked) -> Any:
    """Cancel orders."""
    service = asked.context.service
    return await asked.call(
        lambda sequencer: service.cancel_all(sequencer, asked.body, asked.sessions)
    )


async def post_dead_man(asked: Asked) -> Any:
    """Send a heartbeat."""
    service = asked.context.service
    return await asked.call(
        lambda sequencer: service.set_dead_man(sequencer, asked.body, asked.sessions)
    )


async def post_protection(asked: Asked) -> Any:
    """Set protection."""
    service = asked.context.service
    return await asked.call(
        lambda sequencer: service.protect(sequencer, asked.body, asked.sessions)
    )


async def post_resume(asked: Asked) -> Any:
    """Quote again."""
    service = asked.context.service
    return await asked.call(lambda sequencer: service.resume(sequencer, asked.body, asked.sessions))


async def post_action(asked: Asked) -> Any:
    """Do what else is signed."""
    service = asked.context.service
    return await asked.call(lambda sequencer: service.submit(sequencer, asked.body))


ENDPOINTS = (
    Endpoint(
        "GET", "/v1/status", "Where the venue is, and who signs receipts", get_status, VenueStatus
    ),
    Endpoint("GET", "/v1/markets", "All market leaves", get_markets, list[MarketInfo], cost=50.0),
    Endpoint(
        "GET", "/v1/markets/{market}", "One market leaf", get_market, MarketInfo, MarketParams
    ),
    Endpoint("GET", "/v1/markets/{market}/book", "A series' book", get_book, BookData, BookParams),
    Endpoint(
        "GET",
        "/v1/markets/{market}/trades",
        "A series' latest trades",
        get_trades,
        TradesData,
        MarketParams,
    ),
    Endpoint(
        "GET",
        "/v1/markets/{market}/index",
        "An underlying's price",
        get_index,
        IndexData,
        MarketParams,
    ),
    Endpoint(
        "GET",
        "/v1/tickers",
        "All series with prices and Greeks",
        get_tickers,
        list[Ticker],
        UnderlyingParams,
        cost=50.0,
    ),
    Endpoint(
        "GET",
        "/v1/tickers/{market}",
        "One series with prices and Greeks",
        get_ticker,
        Ticker,
        MarketParams,
    ),
    Endpoint(
        "GET",
        "/v1/accounts/{account}",
        "An account, its orders, its switches, its margin",
        get_account,
        AccountSnapshot,
        AccountParams,
        is_private=True,
        cost=5.0,
    ),
    Endpoint(
        "GET",
        "/v1/accounts/{account}/orders",
        "An account's orders that are alive",
        get_orders,
        list[OpenOrder],
        AccountParams,
        is_private=True,
        cost=5.0,
    ),
    Endpoint(
        "GET",
        "/v1/accounts/{account}/margin",
        "An account's margin, with the scenario that binds",
        get_margin,
        MarginAnswer,
        AccountParams,
        is_private=True,
        cost=5.0,
    ),
    Endpoint(
        "GET",
        "/v1/accounts/{account}/receipts/{sequence}",
        "A stored receipt",
        get_receipt,
        ReceiptBody,
        ReceiptParams,
        is_private=True,
    ),
    Endpoint(
        "GET",
        "/v1/accounts/{account}/proof",
        "An account's leaf, proven against the newest batch on L1",
        get_proof,
        AccountProof,
        ProofParams,
        cost=10.0,
    ),
    Endpoint(
        "GET",
        "/v1/accounts/{account}/slots",
        "Order slots that an account has used, with their last nonces",
        get_slots,
        tuple[SlotData, ...],
        AccountParams,
        is_private=True,
        cost=5.0,
    ),
    Endpoint(
        "GET",
        "/v1/owners/{owner}/accounts",
        "The accounts of an L1 address",
        get_owned,
        OwnedAccounts,
        OwnerParams,
        cost=50.0,
    ),
    Endpoint(
        "GET",
        "/v1/exits/{recipient}",
        "The newest withdrawals to an L1 address, with what L1 asks for to pay them",
        get_exits,
        tuple[ExitData, ...],
        RecipientParams,
        cost=50.0,
    ),
    Endpoint(
        "GET",
        "/v1/distressed",
        "Accounts in distress",
        get_distressed,
        DistressedAnswer,
        cost=50.0,
    ),
    Endpoint("GET", "/v1/insurance", "The insurance fund", get_insurance, InsuranceData),
    Endpoint(
        "GET",
        "/v1/batches",
        "Batches on L1 and how final they are",
        get_batches,
        BatchesData,
        BatchesParams,
    ),
    Endpoint("POST", "/v1/orders", "Place an order", post_order, Accepted, body=OrderFields),
    Endpoint(
        "POST",
        "/v1/orders/batch",
        "Place and cancel up to fifty orders, each answered on its own",
        post_batch,
        list[ItemAnswer],
        body=BatchFields,
    ),
    Endpoint(
        "POST",
        "/v1/orders/cancel",
        "Cancel an order by slot or client id",
        post_cancel,
        Accepted,
        body=CancelFields,
        is_private=True,
        cost=0.1,
    ),
    Endpoint(
        "POST",
        "/v1/orders/cancel_all",
        "Cancel all orders, or those of one series",
        post_cancel_all,
        Accepted,
        body=CancelAllFields,
        is_private=True,
        cost=0.1,
    ),
    Endpoint(
        "POST",
        "/v1/accounts/dead_man",
        "Send a heartbeat",
        post_dead_man,
        Accepted,
        body=DeadManFields,
        is_private=True,
        cost=0.1,
    ),
    Endpoint(
        "POST",
        "/v1/accounts/protection",
        "Set market-maker protection",
        post_protection,
        Accepted,
        body=ProtectFields,
        is_private=True,
    ),
    Endpoint(
        "POST",
        "/v1/accounts/resume",
        "Quote again after protection has tripped",
        post_resume,
        Accepted,
        body=ResumeFields,
        is_private=True,
    ),
    Endpoint(
        "POST",
        "/v1/actions",
        "Transfer, withdraw, change a key, bid, observe: whatever else is signed",
        post_action,
        Accepted,
        body=Submission,
    ),
    *HISTORY_ENDPOINTS,
)
