"""The asynchronous client. Programs without a loop use `deltaroll.sdk.client.Client`."""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from deltaroll.node.api.data import (
    AccountData,
    AccountSnapshot,
    OpenOrder,
    SlotData,
)
from deltaroll.node.api.messages import (
    MAX_BATCH,
    Accepted,
    ChannelMessage,
    ItemAnswer,
    ReceiptBody,
    SessionFields,
)
from deltaroll.node.api.service import STATUSES, TIMES_IN_FORCE
from deltaroll.node.api.sessions import encode_token
from deltaroll.node.events import OrderState
from deltaroll.node.queries import AccountAnswer, MarginAnswer, to_plain
from deltaroll.node.receipts import Outcome, hash_cancel, hash_cancel_all
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import (
    AccountId,
    Address,
    MarketId,
    SetTradingKey,
    Timestamp,
    Transfer,
    Withdraw,
)
from deltaroll.protocol.types import Order as SignedOrder
from deltaroll.sdk.drafts import Draft, TimeInForceName
from deltaroll.sdk.errors import (
    ClosedError,
    OutcomeUnknownError,
    RefusedError,
    SdkError,
    UnauthorisedError,
    to_error,
)
from deltaroll.sdk.link import PASSING, Keeping, Patience
from deltaroll.sdk.orders import Order, Orders, Terms
from deltaroll.sdk.reader import Reader
from deltaroll.sdk.receipts import ReceiptError
from deltaroll.sdk.rollup import Rollup
from deltaroll.sdk.slots import ALL, Slots
from deltaroll.sdk.units import Money, to_units
from deltaroll.sdk.wallets import (
    Message,
    Wallet,
    make_action_message,
    make_order_message,
    make_session_message,
    to_wallet,
)

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from deltaroll.l1.nodes import Node

SESSION_SECONDS = 6 * 86_400
"""Of L1 time that a session is asked for; the node grants seven days."""
SESSION_SPARE = 3_600
"""A session that ends sooner is not used for a new connection."""
USED_NONCE = Fault.ACTION_NONCE.name.lower()
CLOCK_AGE = 60.0
"""Seconds after which the venue is asked for its clock before an order is signed by it."""
TOLD_SECONDS = 2.0
"""For a message that has been sent already."""
ActionMaker = Callable[[int], Transfer | Withdraw | SetTradingKey]
"""Makes an action with a nonce."""


class AsyncClient(Reader):
    """A trader's connection to a venue: `async with AsyncClient(url, rollup, key) as client`.

    Everything that `Reader` does, and an account's orders and money.
    """

    def __init__(
        self,
        url: str,
        rollup: Rollup,
        key: object,
        *,
        account: int | None = None,
        slots: Iterable[int] = ALL,
        l1: "Node | str | None" = None,
        receipt_key: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Prepare; `open` connects.

        Parameters
        ----------
        key
            The owner's or the delegated trading key: whatever `to_wallet` takes.
        account
            Number of the account; None: the only one that the key's address owns.
        slots
            Order slots to use. Two clients of one account need disjoint ones.
        url, rollup, l1, receipt_key, patience
            As `Reader` has them.
        """
        super().__init__(url, rollup, l1=l1, receipt_key=receipt_key, patience=patience)
        self.wallet: Wallet = to_wallet(key)
        self.account = account
        self._slots = Slots(slots)
        self._session: SessionFields | None = None
        self._is_trading = False
        self._acting = asyncio.Lock()
        self._settling: asyncio.Task[None] | None = None
        self._action_nonce = 0
        self._prefix = secrets.token_hex(5)
        self._named = 0
        self._orders = Orders(self, self._slots, self._on_doubt)

    async def close(self) -> None:
        """Hang up. Orders stay as they are at the venue."""
        if self._settling is not None:
            self._settling.cancel()
        await super().close()
        self._orders.close(ClosedError("the client is closed"))

    async def _start(self) -> None:
        """Find the account and what it has.

        Raises
        ------
        UnauthorisedError
            When the key may not trade for the account.
        """
        if self.account is None:
            owned = await self.find_accounts(self.address)
            if len(owned) == 1:
                self.account = owned[0]
        await super()._start()
        if self.account is not None:
            await self._begin_trading(self.account)

    @property
    def address(self) -> str:
        """The key's address."""
        return "0x" + self.wallet.address.hex()

    # The account

    async def wait_for_account(self, interval: float = 1.0) -> int:
        """Wait until a first deposit of the key's address has come over from L1; return the
        account's number. From then on the client trades for it."""
        while self.account is None:
            owned = await self.find_accounts(self.address)
            if owned:
                self.account = owned[0]
            else:
                # Deposits are L1's: the node tells nobody of those that are still to come.
                await asyncio.sleep(interval)
        if not self._is_trading:
            await self._authenticate()
            await self._begin_trading(self.account)
        return self.account

    @property
    def leaf(self) -> AccountData:
        """Cash, positions, epoch and nonce, as the account's channel told them last."""
        if self._orders.leaf is None:
            raise ValueError("account: the client trades for none")
        return self._orders.leaf

    @property
    def orders(self) -> list[Order]:
        """Orders that are alive, also of earlier runs and of other clients."""
        return self._orders.alive

    async def get_account(self) -> AccountSnapshot:
        """Return the account with its orders, switches and margin."""
        number = self._get_account()
        return await self._rest.get(f"accounts/{number}", AccountSnapshot, self._get_token())

    async def get_orders(self) -> list[OpenOrder]:
        """Return the orders that the venue has of the account."""
        number = self._get_account()
        return await self._rest.get(f"accounts/{number}/orders", list[OpenOrder], self._get_token())

    async def get_margin(self) -> MarginAnswer:
        """Return equity and requirements, with the scenario that binds."""
        number = self._get_account()
        return await self._rest.get(f"accounts/{number}/margin", MarginAnswer, self._get_token())

    async def get_receipt(self, sequence: int) -> ReceiptBody:
        """Return a stored receipt of the account; checked when it is to mean something."""
        path = f"accounts/{self._get_account()}/receipts/{sequence}"
        return await self._rest.get(path, ReceiptBody, self._get_token())

    # Orders

    async def buy(self, market: int, price: Money, size: int, **wishes: Any) -> Order:
        """Place a buy order; `wishes` are the other fields of `Draft`. Returns and raises like
        `place`."""
        return await self.place(Draft(market, True, price, size, **wishes))

    async def sell(self, market: int, price: Money, size: int, **wishes: Any) -> Order:
        """Place a sell order, likewise."""
        return await self.place(Draft(market, False, price, size, **wishes))

    async def place(self, draft: Draft) -> Order:
        """Place an order and wait for the first answer: held, resting, filled, rejected ...

        A lost connection does no harm: the same order under the same client id is the same order,
        and is sent until there is an answer.

        Raises
        ------
        RefusedError
            When the venue refuses it; nothing has happened.
        OutcomeUnknownError
            When there is no answer in time. The order is followed still: see `orders`.
        ReceiptError
            When the answer is not what the sequencer has signed. Likewise.
        NoSlotError
            When all slots are in use.
        """
        order, fields = await self._prepare(draft, *self._slots.take())
        return await self._send(order, fields)

    async def replace(
        self,
        order: Order,
        price: Money | None = None,
        size: int | None = None,
        **wishes: Any,
    ) -> Order:
        """Put another order in the place of one that is alive, in one step of the log.

        The new one has its own size: fills of the old one do not count. When the old one has gone
        meanwhile the new one is refused. Returns and raises like `place`; ValueError when the slot
        is another client's.
        """
        old = order.terms
        given: dict[str, Any] = {
            "post_only": old.post_only,
            "reduce_only": old.reduce_only,
            "is_quote": old.is_quote,
        }
        draft = Draft(
            old.market,
            old.is_buy,
            old.price if price is None else price,
            old.size if size is None else size,
            **(given | wishes),
        )
        nonce = self._slots.renew(old.slot)
        fresh, fields = await self._prepare(draft, old.slot, nonce)
        fields["replaces"] = old.nonce
        return await self._send(fresh, fields)

    async def place_all(self, drafts: Iterable[Draft]) -> list[Order | RefusedError]:
        """Place up to fifty orders in one message; each is placed, or refused, on its own.

        Raises
        ------
        ValueError
            When there are none, or too many.
        OutcomeUnknownError, ReceiptError, NoSlotError
            Likewise.
        """
        wanted = list(drafts)
        if not 1 <= len(wanted) <= MAX_BATCH:
            raise ValueError(f"drafts: {len(wanted)}, not 1..{MAX_BATCH}")
        orders: list[Order] = []
        items: list[dict[str, Any]] = []
        try:
            for draft in wanted:
                order, fields = await self._prepare(draft, *self._slots.take())
                orders.append(order)
                items.append({"op": "order", **fields})
        except BaseException as problem:
            for order in orders:
                self._orders.refuse(order, ClosedError(f"not sent: {problem!r}"))
            raise
        pending = self._link.send("batch", {"items": items})
        for order in orders:
            order.pending = pending
        problems: list[ReceiptError] = []
        pending.future.add_done_callback(partial(self._on_answers, orders, problems))
        raw = await self._link.wait(pending)
        if problems:
            raise problems[0]
        answers = msgspec.json.decode(raw, type=list[ItemAnswer])
        return [
            order if answer.error is None else to_error(answer.error)
            for order, answer in zip(orders, answers, strict=True)
        ]

    async def cancel(self, order: Order) -> OrderState:
        """Cancel an order and return how it ended: it may have been filled before.

        Raises
        ------
        RefusedError
            When the order itself was refused, or may not be cancelled with this key.
        OutcomeUnknownError
        ReceiptError
        """
        if not order.is_done:
            terms = order.terms
            by_slot = {"account": self._get_account(), "slot": terms.slot}
            by_name = {"account": self._get_account(), "client_id": terms.client_id}
            subject = hash_cancel(self._get_account(), terms.slot, terms.nonce)
            try:
                await self._do("cancel", by_name if terms.client_id else by_slot, subject)
            except RefusedError as problem:
                if problem.code not in ("unknown", "bad_client_id"):
                    raise
                alive = {(open_.slot, open_.nonce) for open_ in await self.get_orders()}
                if order.key in alive:
                    # The venue has forgotten its name, not the order.
                    await self._do("cancel", by_slot, subject)
        try:
            return await asyncio.wait_for(order.done(), self.patience.answer)
        except TimeoutError:
            raise OutcomeUnknownError(f"cancel: nothing was told of {order}") from None

    async def cancel_all(self, market: int | None = None) -> Accepted:
        """Cancel all orders of the account, in one series or everywhere; also those of other
        clients."""
        account = self._get_account()
        fields = {"account": account, "market": market}
        return await self._do("cancel_all", fields, hash_cancel_all(account, market or 0))

    async def heartbeat(self, seconds: int) -> Accepted:
        """Have everything cancelled unless this is called again within so many seconds of L1 time;
        0: never."""
        return await self._do("dead_man", {"account": self._get_account(), "seconds": seconds})

    @asynccontextmanager
    async def dead_man(self, seconds: int) -> AsyncIterator[None]:
        """Send heartbeats for as long as a block lasts: `async with client.dead_man(60)`.

        When the program dies, or loses the venue, its orders go. The switch is off after a block
        that ends by itself; after one that an exception ends it stays on, since nobody steers the
        orders any more.

        Raises
        ------
        ValueError
            When `seconds` is below 1.
        """
        if seconds < 1:
            raise ValueError(f"seconds: {seconds} is below 1")
        await self.heartbeat(seconds)
        beating = asyncio.create_task(self._beat(seconds))
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating
        with suppress(SdkError):
            await self.heartbeat(0)

    async def protect(
        self, underlying: int, seconds: int, lots: int = 0, fills: int = 0
    ) -> Accepted:
        """Set market-maker protection for the quotes on an underlying; 0 seconds: none."""
        fields = {"underlying": underlying, "seconds": seconds, "lots": lots, "fills": fills}
        return await self._do("protect", {"account": self._get_account(), **fields})

    async def resume(self, underlying: int) -> Accepted:
        """Quote again after protection has tripped."""
        return await self._do("resume", {"account": self._get_account(), "underlying": underlying})

    # Money and keys; the owner's alone

    async def transfer(self, recipient: int, amount: Money) -> Accepted:
        """Pay another account.

        Raises
        ------
        RefusedError
        OutcomeUnknownError
            When the connection was lost and nothing shows whether it was done. It is never done
            twice.
        """
        sender, units = AccountId(self._get_account()), to_units("amount", amount)
        return await self._act(
            lambda nonce: Transfer(sender, AccountId(recipient), units, nonce), "transfer"
        )

    async def withdraw(self, amount: Money, recipient: str | None = None) -> Accepted:
        """Pay out to an L1 address (None: the key's); L1 pays once the batch has settled. Raises
        like `transfer`."""
        account, units = AccountId(self._get_account()), to_units("amount", amount)
        address = (
            self.wallet.address
            if recipient is None
            else Address(bytes.fromhex(recipient.removeprefix("0x")))
        )
        return await self._act(lambda nonce: Withdraw(account, address, units, nonce), "withdraw")

    async def set_trading_key(self, key: str, expiry: int) -> Accepted:
        """Let another key trade for the account until a time; the zero address: none. Raises like
        `transfer`."""
        account = AccountId(self._get_account())
        address = Address(bytes.fromhex(key.removeprefix("0x")))
        return await self._act(
            lambda nonce: SetTradingKey(account, address, Timestamp(expiry), nonce), "trading_key"
        )

    # Within

    async def _on_open(self) -> None:
        answer = await self._link.ask("ping", {}, Keeping.HERE)
        self._hear(msgspec.json.decode(answer, type=dict[str, int])["clock"])
        if self.account is not None:
            await self._authenticate()
        await self._channels.resume()

    async def _authenticate(self) -> None:
        """Open a session on the connection; a new one when the old one does not do any more."""
        session = self._session
        if session is not None and session.expiry > self._clock + SESSION_SPARE:
            with suppress(UnauthorisedError, RefusedError):
                await self._link.ask("auth", msgspec.to_builtins(session), Keeping.HERE)
                return
        session = await self._make_session()
        try:
            await self._link.ask("auth", msgspec.to_builtins(session), Keeping.HERE)
        except PASSING:
            raise
        except RefusedError as problem:
            raise UnauthorisedError(problem.problem) from None
        self._session = session

    async def _make_session(self) -> SessionFields:
        account, wallet = self._get_account(), self.wallet
        expiry, nonce = self._clock + SESSION_SECONDS, secrets.randbits(62)
        message = make_session_message(self.rollup, account, wallet.address, expiry, nonce)
        signature = await self._sign(message)
        key = "0x" + wallet.address.hex()
        return SessionFields(account, key, expiry, nonce, "0x" + signature.hex())

    async def _begin_trading(self, account: int) -> None:
        for slot in await self._load_slots():
            self._slots.note(slot.slot, slot.nonce)
        await self._channels.listen(f"account.{account}", self._take_account)
        self._is_trading = True

    async def _load_slots(self) -> tuple[SlotData, ...]:
        path = f"accounts/{self._get_account()}/slots"
        return await self._rest.get(path, tuple[SlotData, ...], self._get_token())

    def _take_account(self, message: ChannelMessage | SdkError) -> None:
        if isinstance(message, SdkError):
            self._orders.close(message)
        else:
            self._orders.take(message)

    async def _prepare(self, draft: Draft, slot: int, nonce: int) -> tuple[Order, dict[str, Any]]:
        """Sign an order for a slot that is taken already; give it back when that fails."""
        try:
            account = self._get_account()
            expiry = draft.expiry
            if expiry is None:
                if monotonic() > self._heard_at + CLOCK_AGE:
                    await self.ping()
                expiry = self._clock + draft.life
            signed = SignedOrder(
                MarketId(draft.market),
                draft.is_buy,
                to_units("price", draft.price),
                draft.size,
                nonce,
                self.leaf.epoch,
                Timestamp(expiry),
                TIMES_IN_FORCE[TimeInForceName(draft.time_in_force)],
                draft.post_only,
                draft.reduce_only,
            )
            message = make_order_message(self.rollup, account, slot, signed)
            signature = await self._sign(message)
        except BaseException:
            self._slots.release(slot)
            raise
        terms = Terms(
            slot,
            nonce,
            self._make_id() if draft.client_id is None else draft.client_id,
            draft.market,
            draft.is_buy,
            signed.price,
            draft.size,
            expiry,
            draft.post_only,
            draft.reduce_only,
            draft.is_quote,
        )
        order = Order(self, terms, message.subject)
        self._orders.add(order)
        fields: dict[str, Any] = {
            "account": account,
            "slot": slot,
            "market": draft.market,
            "is_buy": draft.is_buy,
            "price": signed.price,
            "size": draft.size,
            "nonce": nonce,
            "expiry": expiry,
            "signature": "0x" + signature.hex(),
            "epoch": signed.epoch,
            "time_in_force": draft.time_in_force,
            "post_only": draft.post_only,
            "reduce_only": draft.reduce_only,
            "kind": draft.kind,
            "client_id": terms.client_id,
            "self_trade": draft.self_trade,
            "is_quote": draft.is_quote,
            "trigger": draft.trigger,
        }
        return order, fields

    async def _send(self, order: Order, fields: dict[str, Any]) -> Order:
        try:
            pending = order.pending = self._link.send("order", fields)
        except SdkError as problem:
            self._orders.refuse(order, problem)
            raise
        problems: list[ReceiptError] = []
        pending.future.add_done_callback(partial(self._on_answer, order, problems))
        await self._link.wait(pending)
        if problems:
            raise problems[0]
        return order

    def _on_answer(
        self, order: Order, problems: list[ReceiptError], future: "asyncio.Future[msgspec.Raw]"
    ) -> None:
        """Take the answer to an order, whoever waits for it still."""
        problem = future.exception()
        if isinstance(problem, RefusedError):
            self._orders.refuse(order, problem)
        elif isinstance(problem, SdkError):
            order._end(problem)
        elif problem is None:
            self._take_answer(order, msgspec.json.decode(future.result(), type=Accepted), problems)

    def _on_answers(
        self,
        orders: list[Order],
        problems: list[ReceiptError],
        future: "asyncio.Future[msgspec.Raw]",
    ) -> None:
        """Take the answers to a batch."""
        problem = future.exception()
        if isinstance(problem, SdkError):
            for order in orders:
                self._on_answer(order, problems, future)
        elif problem is None:
            answers = msgspec.json.decode(future.result(), type=list[ItemAnswer])
            for order, answer in zip(orders, answers, strict=True):
                if answer.error is not None:
                    self._orders.refuse(order, to_error(answer.error))
                elif answer.result is not None:
                    self._take_answer(order, answer.result, problems)

    def _take_answer(self, order: Order, accepted: Accepted, problems: list[ReceiptError]) -> None:
        try:
            self.check_receipt(self._get_account(), accepted, order.subject)
        except ReceiptError as problem:
            log.error("%r: %s", order, problem)
            problems.append(problem)
        self._orders.answer(order, accepted)

    async def _do(self, op: str, fields: dict[str, Any], subject: bytes | None = None) -> Accepted:
        """Do what needs a session; with a new one when the old one is over."""
        try:
            raw = await self._link.ask(op, fields)
        except UnauthorisedError:
            # Another connection begins with another session.
            self._session = None
            self._link.drop()
            raw = await self._link.ask(op, fields)
        accepted = msgspec.json.decode(raw, type=Accepted)
        self.check_receipt(self._get_account(), accepted, subject)
        return accepted

    async def _act(self, make: ActionMaker, kind: str) -> Accepted:
        """Have an action done exactly once: one at a time, each with its own nonce."""
        async with self._acting:
            self._action_nonce = max(self._action_nonce, self.leaf.nonce) + 1
            nonce = self._action_nonce
            action = make(nonce)
            message = make_action_message(self.rollup, action)
            request = to_request(kind, action, await self._sign(message))
            lost: OutcomeUnknownError | None = None
            while True:
                try:
                    raw = await self._link.ask("submit", {"request": request}, Keeping.ONCE)
                except OutcomeUnknownError as problem:
                    lost = problem
                    found = await self._find_action(nonce, message.subject, problem)
                    if found is not None:
                        return found
                except RefusedError as problem:
                    if lost is not None and problem.code == USED_NONCE:
                        # What was lost has come through after all.
                        found = await self._find_action(nonce, message.subject, lost)
                        if found is not None:
                            return found
                    # The nonce is as good as new.
                    self._action_nonce = nonce - 1
                    raise
                else:
                    accepted = msgspec.json.decode(raw, type=Accepted)
                    self.check_receipt(self._get_account(), accepted, message.subject)
                    return accepted

    async def _find_action(
        self, nonce: int, subject: bytes, problem: OutcomeUnknownError
    ) -> Accepted | None:
        """Return the answer to an action that got lost; None when it was not done."""
        query = {"query": {"type": "account", "account": self._get_account()}}
        raw = await self._link.ask("query", query)
        if msgspec.json.decode(raw, type=AccountAnswer).nonce < nonce:
            return None
        try:
            told = self._orders.wait_for_action(nonce)
            sequence = await asyncio.wait_for(told, TOLD_SECONDS)
        except TimeoutError:
            raise problem from None
        body = await self.get_receipt(sequence)
        if body.subject != "0x" + subject.hex():
            raise problem
        accepted = Accepted(
            body.sequence, body.clock, STATUSES[Outcome(body.outcome)], receipt=body
        )
        self.check_receipt(self._get_account(), accepted, subject)
        return accepted

    def _on_doubt(self) -> None:
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        """Find out how orders have ended that nobody has told of."""
        failures = 0
        while self._orders.missing:
            try:
                slots = await self._load_slots()
            except SdkError as problem:
                log.info("slots: %r", problem)
                failures += 1
                await asyncio.sleep(self.patience.compute_delay(failures, random.random()))
                continue
            self._orders.settle({slot.slot: slot for slot in slots})

    async def _beat(self, seconds: int) -> None:
        while True:
            await asyncio.sleep(seconds / 3)
            try:
                await self.heartbeat(seconds)
            except SdkError as problem:
                log.warning("heartbeat: %r", problem)

    async def _sign(self, message: Message) -> bytes:
        wallet = self.wallet
        if wallet.is_slow:
            return await asyncio.to_thread(wallet.sign_message, message)
        return wallet.sign_message(message)

    def _make_id(self) -> str:
        self._named += 1
        return f"{self._prefix}-{self._named}"

    def _get_account(self) -> int:
        if self.account is None:
            raise ValueError("account: none of this key is known; say which, or deposit first")
        return self.account

    def _get_token(self) -> str:
        if self._session is None:
            raise ValueError("key: the client was given none")
        return encode_token(self._session)


def to_request(kind: str, action: Transfer | Withdraw | SetTradingKey, signature: bytes) -> Any:
    """Return an action as it is sent."""
    return {"type": kind, **to_plain(action), "signature": "0x" + signature.hex()}
