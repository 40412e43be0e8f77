"""The client for programs without an event loop: the asynchronous one on a thread of its own.

There is one implementation of what is hard, reconnects, slots, the end of every order; here are
its words without `await`. Any number of threads may use a client at once.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any, Self, TypeVar

from deltaroll.node.api.data import (
    AccountData,
    AccountSnapshot,
    BatchesData,
    BookData,
    ExitData,
    IndexData,
    MarketInfo,
    OpenOrder,
    Ticker,
    TradesData,
    VenueStatus,
)
from deltaroll.node.api.messages import Accepted, ChannelMessage, ReceiptBody
from deltaroll.node.events import OrderState
from deltaroll.node.queries import MarginAnswer
from deltaroll.sdk.aio import AsyncClient
from deltaroll.sdk.book import Book, BookView
from deltaroll.sdk.channels import Stream
from deltaroll.sdk.drafts import Draft
from deltaroll.sdk.errors import ClosedError, OutcomeUnknownError, RefusedError
from deltaroll.sdk.orders import Order, Terms
from deltaroll.sdk.rollup import Rollup
from deltaroll.sdk.units import Money

if TYPE_CHECKING:
    from deltaroll.sdk.proofs import Proven

Result = TypeVar("Result")


class Runner:
    """An event loop on a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="deltaroll client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result], seconds: float | None = None) -> Result:
        """Run a coroutine there and return its result.

        Raises
        ------
        OutcomeUnknownError
            When it takes longer than `seconds`.
        ClosedError
            When the loop has ended.
        """
        if not self._thread.is_alive():
            work.close()
            raise ClosedError("the client is closed")
        future: Future[Result] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise OutcomeUnknownError(f"not done within {seconds} s") from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class PlacedOrder:
    """An order that is followed to its end."""

    def __init__(self, runner: Runner, order: Order) -> None:
        self.order = order
        """The asynchronous one, with everything that is known of it."""
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self.order)

    @property
    def terms(self) -> Terms:
        """What it says for good."""
        return self.order.terms

    @property
    def state(self) -> OrderState | None:
        """Where it is."""
        return self.order.state

    @property
    def filled(self) -> int:
        """Lots that have traded."""
        return self.order.filled

    @property
    def reason(self) -> str:
        """Why it was cancelled, rejected or reverted."""
        return self.order.reason

    @property
    def accepted(self) -> Accepted | None:
        """The venue's first answer, its receipt checked."""
        return self.order.accepted

    def done(self, seconds: float | None = None) -> OrderState:
        """Wait for the end; OutcomeUnknownError when it has not come within `seconds`."""
        return self._runner.run(self.order.done(), seconds)

    def cancel(self) -> OrderState:
        """Cancel it, and return how it ended."""
        return self._runner.run(self.order.cancel())


class FollowedBook:
    """A series' book, kept up to date behind the program's back."""

    def __init__(self, runner: Runner, book: Book) -> None:
        self._runner = runner
        self._book = book

    @property
    def view(self) -> BookView:
        """The book as it is now; waits while it is being made up again."""
        return self._runner.run(self._book.wait())

    def wait(self, after: int, seconds: float | None = None) -> BookView:
        """Return the book once it is newer than a sequence number."""
        return self._runner.run(self._book.wait(after), seconds)

    def close(self) -> None:
        """Follow it no more."""
        self._runner.run(_call(self._book.close))


class MessageStream(Iterator[ChannelMessage]):
    """A channel's messages, one after the other: `for message in stream`."""

    def __init__(self, runner: Runner, stream: Stream) -> None:
        self._runner = runner
        self._stream = stream

    def __next__(self) -> ChannelMessage:
        """Return the next message; raises like `Stream`."""
        return self.next()

    def next(self, seconds: float | None = None) -> ChannelMessage:
        """The same; OutcomeUnknownError when none comes within `seconds`."""
        message = self._runner.run(_step(self._stream), seconds)
        if message is None:
            raise StopIteration
        return message

    def close(self) -> None:
        """Unsubscribe."""
        self._runner.run(_call(self._stream.close))


class Client:
    """A trader's connection to a venue: `with Client(url, rollup, key) as client`.

    Takes what `AsyncClient` takes, and raises what it raises.
    """

    def __init__(self, url: str, rollup: Rollup, key: object, **options: Any) -> None:
        self._runner = Runner()
        try:
            self.client: AsyncClient = self._runner.run(_make(url, rollup, key, options))
        except BaseException:
            self._runner.close()
            raise
        self._run = self._runner.run

    def __enter__(self) -> Self:
        """Open."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def open(self) -> None:
        """Connect, and find the account and what it has."""
        try:
            self._run(self.client.open())
        except BaseException:
            self._runner.close()
            raise

    def close(self) -> None:
        """Hang up. Orders stay as they are at the venue."""
        try:
            self._run(self.client.close())
        finally:
            self._runner.close()

    @property
    def account(self) -> int | None:
        """Number of the account; None: there is none yet."""
        return self.client.account

    @property
    def clock(self) -> int:
        """L1 time as the venue had it when it was last heard of."""
        return self.client.clock

    @property
    def leaf(self) -> AccountData:
        """Cash, positions, epoch and nonce, as the account's channel told them last."""
        return self.client.leaf

    @property
    def orders(self) -> list[PlacedOrder]:
        """Orders that are alive."""
        return [PlacedOrder(self._runner, order) for order in self._run(_call(self._collect))]

    def get_status(self) -> VenueStatus:
        """Return where the venue is."""
        return self._run(self.client.get_status())

    def get_markets(self) -> list[MarketInfo]:
        """Return all market leaves."""
        return self._run(self.client.get_markets())

    def get_market(self, market: int) -> MarketInfo:
        """Return one leaf."""
        return self._run(self.client.get_market(market))

    def get_book(self, market: int, levels: int = 100) -> BookData:
        """Return a book as it is now; `book` follows it."""
        return self._run(self.client.get_book(market, levels))

    def get_trades(self, market: int) -> TradesData:
        """Return a series' latest trades."""
        return self._run(self.client.get_trades(market))

    def ping(self) -> int:
        """Return the venue's clock."""
        return self._run(self.client.ping())

    def find_accounts(self, owner: str) -> tuple[int, ...]:
        """Return the numbers of the accounts of an L1 address."""
        return self._run(self.client.find_accounts(owner))

    def get_orders(self) -> list[OpenOrder]:
        """Return the orders that the venue has of the account."""
        return self._run(self.client.get_orders())

    def get_receipt(self, sequence: int) -> ReceiptBody:
        """Return a stored receipt of the account."""
        return self._run(self.client.get_receipt(sequence))

    def get_tickers(self, underlying: int | None = None) -> list[Ticker]:
        """Return all series at a glance, with prices and Greeks."""
        return self._run(self.client.get_tickers(underlying))

    def get_ticker(self, market: int) -> Ticker:
        """Return one series at a glance."""
        return self._run(self.client.get_ticker(market))

    def get_index(self, underlying: int) -> IndexData:
        """Return an underlying's price."""
        return self._run(self.client.get_index(underlying))

    def get_batches(self, count: int = 50) -> BatchesData:
        """Return the newest batches on L1 and how final they are, as the node says."""
        return self._run(self.client.get_batches(count))

    def submit(self, request: dict[str, Any]) -> Accepted:
        """Hand in what needs no session and is signed already."""
        return self._run(self.client.submit(request))

    def stream(self, channel: str) -> MessageStream:
        """Follow a channel of docs/trade/api.md, across reconnects."""
        return MessageStream(self._runner, self._run(self.client.stream(channel)))

    def book(self, market: int) -> FollowedBook:
        """Follow a series' book."""
        return FollowedBook(self._runner, self._run(self.client.book(market)))

    def wait_for_account(self, interval: float = 1.0) -> int:
        """Wait until a first deposit has come over from L1; return the account's number."""
        return self._run(self.client.wait_for_account(interval))

    def get_account(self) -> AccountSnapshot:
        """Return the account with its orders, switches and margin."""
        return self._run(self.client.get_account())

    def get_margin(self) -> MarginAnswer:
        """Return equity and requirements, with the scenario that binds."""
        return self._run(self.client.get_margin())

    def prove_account(self, number: int | None = None) -> "Proven":
        """Return an account as a batch on L1 has it, checked against L1; `Proven.newest` says
        whether there is a newer one."""
        wanted = self.account if number is None else number
        if wanted is None:
            raise ValueError("account: none of this key is known")
        return self._run(self.client.prove_account(wanted))

    def get_exits(self, recipient: str | None = None) -> tuple[ExitData, ...]:
        """Return the newest withdrawals to an L1 address; None: the key's."""
        return self._run(self.client.get_exits(recipient or self.client.address))

    def buy(self, market: int, price: Money, size: int, **wishes: Any) -> PlacedOrder:
        """Place a buy order; `wishes` are the other fields of `Draft`."""
        return self.place(Draft(market, True, price, size, **wishes))

    def sell(self, market: int, price: Money, size: int, **wishes: Any) -> PlacedOrder:
        """Place a sell order, likewise."""
        return self.place(Draft(market, False, price, size, **wishes))

    def place(self, draft: Draft) -> PlacedOrder:
        """Place an order and wait for the first answer."""
        return PlacedOrder(self._runner, self._run(self.client.place(draft)))

    def place_all(self, drafts: Iterable[Draft]) -> list[PlacedOrder | RefusedError]:
        """Place up to fifty orders in one message; each is placed, or refused, on its own."""
        placed = self._run(self.client.place_all(drafts))
        return [PlacedOrder(self._runner, one) if isinstance(one, Order) else one for one in placed]

    def replace(
        self, order: PlacedOrder, price: Money | None = None, size: int | None = None, **wishes: Any
    ) -> PlacedOrder:
        """Put another order in the place of one that is alive, in one step of the log."""
        fresh = self._run(self.client.replace(order.order, price, size, **wishes))
        return PlacedOrder(self._runner, fresh)

    def cancel(self, order: PlacedOrder) -> OrderState:
        """Cancel an order and return how it ended."""
        return order.cancel()

    def protect(self, underlying: int, seconds: int, lots: int = 0, fills: int = 0) -> Accepted:
        """Set market-maker protection for the quotes on an underlying; 0 seconds: none."""
        return self._run(self.client.protect(underlying, seconds, lots, fills))

    def resume(self, underlying: int) -> Accepted:
        """Quote again after protection has tripped."""
        return self._run(self.client.resume(underlying))

    @contextmanager
    def dead_man(self, seconds: int) -> Iterator[None]:
        """Send heartbeats for as long as a block lasts: `with client.dead_man(60)`."""
        block = self.client.dead_man(seconds)
        self._run(block.__aenter__())
        try:
            yield
        except BaseException as problem:
            self._run(block.__aexit__(type(problem), problem, problem.__traceback__))
            raise
        self._run(block.__aexit__(None, None, None))

    def cancel_all(self, market: int | None = None) -> Accepted:
        """Cancel all orders of the account, in one series or everywhere."""
        return self._run(self.client.cancel_all(market))

    def heartbeat(self, seconds: int) -> Accepted:
        """Have everything cancelled unless this is called again in time; 0: never."""
        return self._run(self.client.heartbeat(seconds))

    def transfer(self, recipient: int, amount: Money) -> Accepted:
        """Pay another account."""
        return self._run(self.client.transfer(recipient, amount))

    def withdraw(self, amount: Money, recipient: str | None = None) -> Accepted:
        """Pay out to an L1 address; None: the key's."""
        return self._run(self.client.withdraw(amount, recipient))

    def set_trading_key(self, key: str, expiry: int) -> Accepted:
        """Let another key trade for the account until a time; the zero address: none."""
        return self._run(self.client.set_trading_key(key, expiry))

    def _collect(self) -> list[Order]:
        return self.client.orders


async def _make(url: str, rollup: Rollup, key: object, options: dict[str, Any]) -> AsyncClient:
    return AsyncClient(url, rollup, key, **options)


async def _step(stream: Stream) -> ChannelMessage | None:
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return None


async def _call(function: Any) -> Any:
    return function()
