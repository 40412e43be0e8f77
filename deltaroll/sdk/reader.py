"""A client that only reads: what is public, and what L1 can be held against."""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import msgspec

from deltaroll.node.api.data import (
    AccountProof,
    BatchesData,
    BookData,
    ExitData,
    IndexData,
    MarketInfo,
    OwnedAccounts,
    Ticker,
    TradesData,
    VenueStatus,
)
from deltaroll.node.api.messages import (
    Accepted,
)
from deltaroll.node.api.service import STATUSES
from deltaroll.node.receipts import Outcome
from deltaroll.protocol.types import (
    Address,
)
from deltaroll.sdk.book import Book
from deltaroll.sdk.channels import Channels, Stream
from deltaroll.sdk.errors import (
    ClosedError,
    WrongVenueError,
)
from deltaroll.sdk.link import Keeping, Link, Patience
from deltaroll.sdk.receipts import ReceiptError, recover_proposer, verify_receipt
from deltaroll.sdk.rest import Rest
from deltaroll.sdk.rollup import Rollup

if TYPE_CHECKING:
    from deltaroll.l1.nodes import Node
    from deltaroll.sdk.proofs import L1Reader, Proven


class Reader:
    """A connection to a venue that anybody may have: `async with Reader(url, rollup) as reader`.

    All methods belong to the event loop that it was opened on; any number of tasks may use it at
    once.
    """

    def __init__(
        self,
        url: str,
        rollup: Rollup,
        *,
        l1: "Node | str | None" = None,
        receipt_key: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Prepare; `open` connects.

        Parameters
        ----------
        url
            Of the node's API, without `/v1`: `http://127.0.0.1:8080`.
        rollup
            What everything is signed for.
        l1
            An L1 node, by URL or as an Ape provider. With it the key that signs receipts has to be
            named by a proposer who has a bond, and accounts can be proven.
        receipt_key
            Address that signs receipts, where it is known otherwise. Without this and `l1` the one
            that the node names is believed, for as long as the client lives.
        patience
            How long to wait for what.
        """
        self.rollup = rollup
        self.receipt_key: bytes | None = None
        """Address that receipts have to be signed by; None: the node signs none."""
        self.patience = Patience() if patience is None else patience
        self._url = url.rstrip("/")
        self._l1 = l1
        self._pinned = None if receipt_key is None else bytes.fromhex(receipt_key[2:])
        self._clock = 0
        self._heard_at = 0.0
        self._http: aiohttp.ClientSession | None = None
        self._rest: Rest
        self._link: Link
        self._channels: Channels

    async def __aenter__(self) -> Self:
        """Open."""
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def open(self) -> None:
        """Connect.

        Raises
        ------
        UnreachableError
            When the node does not answer in time.
        WrongVenueError
            When it signs for another rollup, or nobody on L1 answers for its receipts.
        """
        self._http = aiohttp.ClientSession()
        self._rest = Rest(self._http, self._url, self.patience)
        self._link = Link(
            self._http,
            "ws" + self._url.removeprefix("http") + "/v1/ws",
            self._on_open,
            lambda frame: self._channels.take(frame),
            lambda: self._channels.suspend(),
            self.patience,
        )
        self._channels = Channels(self._link)
        try:
            await self._check_venue(await self.get_status())
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Hang up."""
        if self._http is None or self._http.closed:
            return
        await self._link.close()
        self._channels.close(ClosedError("the client is closed"))
        await self._http.close()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now; without one, requests wait."""
        return self._link.is_open

    @property
    def clock(self) -> int:
        """L1 time as the venue had it when it was last heard of, seconds since 1970."""
        return self._clock

    async def get_status(self) -> VenueStatus:
        """Return where the venue is."""
        status = await self._rest.get("status", VenueStatus)
        self._hear(status.clock)
        return status

    async def get_markets(self) -> list[MarketInfo]:
        """Return all market leaves."""
        return await self._rest.get("markets", list[MarketInfo])

    async def get_market(self, market: int) -> MarketInfo:
        """Return one leaf, its fields as docs/protocol.md names them."""
        return await self._rest.get(f"markets/{market}", MarketInfo)

    async def get_tickers(self, underlying: int | None = None) -> list[Ticker]:
        """Return all series at a glance, with prices and Greeks."""
        return await self._rest.get("tickers", list[Ticker], underlying=underlying)

    async def get_ticker(self, market: int) -> Ticker:
        """Return one series at a glance."""
        return await self._rest.get(f"tickers/{market}", Ticker)

    async def get_book(self, market: int, levels: int = 100) -> BookData:
        """Return a book as it is now; `book` follows it."""
        return await self._rest.get(f"markets/{market}/book", BookData, levels=levels)

    async def get_trades(self, market: int) -> TradesData:
        """Return a series' latest trades."""
        return await self._rest.get(f"markets/{market}/trades", TradesData)

    async def get_index(self, underlying: int) -> IndexData:
        """Return an underlying's price."""
        return await self._rest.get(f"markets/{underlying}/index", IndexData)

    async def get_batches(self, count: int = 50) -> BatchesData:
        """Return the newest batches on L1 and how final they are, as the node says."""
        return await self._rest.get("batches", BatchesData, count=count)

    async def ping(self) -> int:
        """Return the venue's clock."""
        answer = msgspec.json.decode(await self._link.ask("ping", {}), type=dict[str, int])
        self._hear(answer["clock"])
        return self._clock

    async def submit(self, request: dict[str, Any]) -> Accepted:
        """Hand in what needs no session and is signed already: prices, a surface, an action.

        It is sent once; OutcomeUnknownError when the connection is lost before the answer.
        """
        raw = await self._link.ask("submit", {"request": request}, Keeping.ONCE)
        return msgspec.json.decode(raw, type=Accepted)

    async def stream(self, channel: str) -> Stream:
        """Follow a channel of docs/trade/api.md, across reconnects.

        Its first message is a snapshot. After a gap that the node cannot fill the next one says
        `resync` or `snapshot` and holds everything.
        """
        return await Stream(self._channels, channel).open()

    async def book(self, market: int) -> Book:
        """Follow a series' book; it can be read when this returns."""
        return await Book(self._channels, market).open()

    async def find_accounts(self, owner: str) -> tuple[int, ...]:
        """Return the numbers of the accounts of an L1 address."""
        return (await self._rest.get(f"owners/{owner}/accounts", OwnedAccounts)).accounts

    async def prove_account(self, number: int) -> "Proven":
        """Return an account as a batch on L1 has it, checked against L1: the newest one, if the
        node is up to date; `Proven.newest` says.

        Raises
        ------
        ProofError
            When what the node says is not what L1 commits to.
        L1Error
            When L1 does not answer.
        ValueError
            When the client was given no L1 node.
        """
        from deltaroll.sdk.proofs import Proven, verify_account

        reader = self._get_reader()
        proof = await self._rest.get(f"accounts/{number}/proof", AccountProof)
        header, block = await asyncio.to_thread(reader.find_header, proof.batch)
        account = verify_account(proof, number, header)
        stage = await asyncio.to_thread(reader.get_stage, header, block)
        newest = await asyncio.to_thread(reader.get_newest)
        return Proven(number, account, header, stage, newest)

    async def get_exits(self, recipient: str) -> tuple[ExitData, ...]:
        """Return the newest withdrawals to an L1 address, with what `Bridge.claimExit` takes for
        those that have settled."""
        return await self._rest.get(f"exits/{recipient}", tuple[ExitData, ...])

    # Within

    async def _start(self) -> None:
        """Do what comes before the client can be used."""
        await self._link.open()

    async def _on_open(self) -> None:
        """Begin a connection."""
        answer = await self._link.ask("ping", {}, Keeping.HERE)
        self._hear(msgspec.json.decode(answer, type=dict[str, int])["clock"])
        await self._channels.resume()

    async def _check_venue(self, status: VenueStatus) -> None:
        domain = "0x" + self.rollup.domain.hex()
        if status.domain != domain:
            raise WrongVenueError(f"domain: the node signs for {status.domain}, not {domain}")
        if self._pinned is not None:
            self.receipt_key = self._pinned
        elif status.receipt_key is not None:
            self.receipt_key = bytes.fromhex(status.receipt_key[2:])
            if self._l1 is not None:
                await self._check_proposer(status, self.receipt_key)
        elif self._l1 is not None:
            # Who wants L1 to answer for receipts does not want to go without them.
            raise WrongVenueError("receipt_key: the node names none")

    async def _check_proposer(self, status: VenueStatus, key: bytes) -> None:
        signature = bytes.fromhex((status.proposer_signature or "0x")[2:])
        proposer = recover_proposer(self.rollup.domain, Address(key), signature)
        if status.proposer is None or proposer.hex() != status.proposer[2:].lower():
            raise WrongVenueError("receipt_key: no proposer has named it")
        if not await asyncio.to_thread(self._get_reader().get_bond, proposer):
            raise WrongVenueError(f"proposer: {status.proposer} has no bond on L1")

    def _hear(self, clock: int) -> None:
        self._clock = max(self._clock, clock)
        self._heard_at = monotonic()

    def check_receipt(self, account: int, accepted: Accepted, subject: bytes | None) -> None:
        """Check that the sequencer has signed what it answers.

        Raises
        ------
        ReceiptError
        """
        if self.receipt_key is None or subject is None:
            return
        body = accepted.receipt
        if body is None:
            raise ReceiptError("receipt: the answer has none")
        receipt = verify_receipt(
            self.rollup.domain, self.receipt_key, subject, msgspec.to_builtins(body)
        )
        told = (account, accepted.sequence, accepted.clock, accepted.status, accepted.filled)
        signed = (
            receipt.account,
            receipt.sequence,
            receipt.clock,
            STATUSES[Outcome(receipt.outcome)],
            receipt.filled,
        )
        if told != signed:
            raise ReceiptError(f"receipt: it says {signed}, the answer {told}")

    def _get_reader(self) -> "L1Reader":
        if self._l1 is None:
            raise ValueError("l1: the client was given no L1 node")
        # What reads L1 takes long to import; who only trades does without.
        from deltaroll.l1.nodes import HttpNode
        from deltaroll.sdk.proofs import L1Reader

        node = HttpNode(self._l1) if isinstance(self._l1, str) else self._l1
        return L1Reader(node, self.rollup)
