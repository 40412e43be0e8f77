"""Mixed load: everything that traders, oracles and people on L1 do, all at once.

| who | does |
|---|---|
| oracle | a price of both indices whenever the clock moves, surfaces of every expiry |
| makers | quote perpetuals and options under protection, replace, pull, resume |
| takers | orders of every kind, cancellations by slot, name, series and all |
| treasurer | transfers, withdrawals, trading keys |
| people on L1 | deposits, forced exits, closes and transfers |
| watchers | every channel, leaving and resuming; REST |
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any

from deltaroll.node.api.messages import TimeInForceName
from deltaroll.protocol.state import State
from deltaroll.protocol.types import (
    AccountId,
    Expiry,
    MarketId,
    Observation,
    Order,
    SetTradingKey,
    SlotId,
    TimeInForce,
    Timestamp,
    Transfer,
    Withdraw,
)
from deltaroll.sdk.signing import Action, Signer
from deltaroll.status import fetch
from tests.node.support import (
    INDEX,
    MEMBERS,
    OPTIONS,
    OTHER_INDEX,
    PERPS,
    PLACES,
    PREMIUM,
    PREMIUM_PERP,
    PRICE,
    TICK,
    encode_forced,
    make_order,
    make_signer,
    make_surface,
)
from tests.scripts.shell import TRADER, Shell, to_hex
from tests.soak.client import Client
from tests.soak.verdict import Traffic

MAKERS, TAKERS = 4, 6
LEAVER = MAKERS + TAKERS + 1
"""An account for what L1 forces."""
ACCOUNTS = tuple(AccountId(place) for place in range(1, LEAVER + 1))
CASH = 2_000_000_000
SIGNERS = {account: make_signer(f"soak {account}") for account in ACCOUNTS}
KINDS = (
    *("gtc", "gtd", "ioc", "fok", "post_only", "reduce_only", "market", "stop", "take_profit"),
    *("replace", "quote", "batch", "cancel", "cancel_named", "cancel_series", "cancel_all"),
    *("dead_man", "protect", "resume", "transfer", "withdraw", "trading_key", "observe", "surface"),
    *("subscribe", "resubscribe", "query", "rest", "deposit", "force_exit", "force_close", "force"),
)
"""Each of these has to have gone through."""
LIFE = 3_600
FORCES = {TimeInForceName.IOC: TimeInForce.IOC, TimeInForceName.FOK: TimeInForce.FOK}
PAYER = to_hex(TRADER.address)
"""Of deposits: an account of the L1 node's own, that nobody else sends from."""


class Load:
    """All of them. Ends when told to."""

    def __init__(self, shell: Shell, port: int, seed: int) -> None:
        self.traffic = Traffic()
        self.clock = shell.get_time()
        self._shell = shell
        self._port = port
        self._dice = random.Random(seed)
        self._domain = shell.domain
        self._stop = asyncio.Event()
        self._marks: dict[int, int] = {}
        self._prices = {INDEX: PRICE, OTHER_INDEX: PRICE}
        self._slots: dict[tuple[int, int], int] = {}
        self._actions: dict[int, int] = {}
        self._expiries: dict[int, Expiry] = {}

    async def run(self, seconds: float) -> None:
        """Go on for so long."""
        people: list[Callable[[], Awaitable[None]]] = [
            self._be_oracle,
            self._be_on_l1,
            self._be_treasurer,
            self._be_reader,
            self._watch,
            *(lambda account=account: self._be_maker(account) for account in ACCOUNTS[:MAKERS]),
            *(lambda account=account: self._be_taker(account) for account in ACCOUNTS[MAKERS:-1]),
        ]
        tasks = [asyncio.create_task(self._survive(one)) for one in people]
        await asyncio.sleep(seconds)
        self._stop.set()
        await asyncio.gather(*tasks)

    async def _survive(self, person: Callable[[], Awaitable[None]]) -> None:
        try:
            await person()
        except Exception as problem:  # noqa: BLE001 (whatever it is, the run has failed)
            self.traffic.broken.append(f"a client failed: {problem!r}")

    async def _pause(self, seconds: float) -> bool:
        """Wait; return whether there is more to do."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds * self._dice.uniform(0.7, 1.3))
        except TimeoutError:
            return True
        return False

    # Oracle

    async def _be_oracle(self) -> None:
        client = await Client.open(self._port, self._domain, self.traffic)
        seconds = 0
        told = 0
        while True:
            pong = await client.ask("ping")
            self.clock = max(self.clock, pong["result"]["clock"])
            # No price is newer than another of the same second: a second one would be refused.
            moving = self._prices if self.clock > told else {}
            told = self.clock
            for index, price in list(moving.items()):
                moved = price + self._dice.randint(-40, 40)
                self._prices[index] = max(PRICE * 3 // 4, min(PRICE * 5 // 4, moved))
                await self._observe(client, index)
            if seconds % 20 == 0:
                await self._read_expiries()
                for market in (PREMIUM, *PLACES):
                    await self._surface(client, market)
            seconds += 1
            if not await self._pause(1.0):
                break
        await client.close()

    async def _observe(self, client: Client, index: MarketId) -> None:
        now = Timestamp(self.clock)
        prices = []
        for member in range(3):
            seen = Observation(member, self._prices[index] + self._dice.randint(-3, 3), now)
            signature = to_hex(MEMBERS[member].sign_observation(self._domain, index, seen))
            prices.append(
                {"signer": member, "price": seen.price, "time": now, "signature": signature}
            )
        request = {"type": "observe", "market": index, "prices": prices}
        await client.do("observe", "submit", request=request)

    async def _surface(self, client: Client, market: MarketId) -> None:
        state = State()
        if market in self._expiries:
            state.markets[market] = self._expiries[market]
        elif market != PREMIUM:
            return
        surface = make_surface(state, market, self.clock, level=self._dice.randint(-3, 3))
        signatures = [
            {"signer": place, "signature": to_hex(member.sign_surface(self._domain, surface))}
            for place, member in enumerate(MEMBERS[:2])
        ]
        names = ("market", "ratio", "rate", "a", "b", "rho", "m", "sigma", "time")
        fields = {name: getattr(surface, name) for name in names}
        request = {"type": "surface", **fields, "signatures": signatures}
        await client.do("surface", "submit", request=request)

    async def _read_expiries(self) -> None:
        for market in await self._get("/v1/markets") or ():
            fields = market["fields"]
            if market["leaf"] == "expiry" and fields["time"]:
                number = MarketId(market["market"])
                self._expiries[number] = Expiry(**{**fields, "time": Timestamp(fields["time"])})

    # Traders

    async def _be_maker(self, account: AccountId) -> None:
        client = await self._enter(account)
        for underlying in (INDEX, OTHER_INDEX):
            limits = {"underlying": underlying, "seconds": 5, "lots": 400, "fills": 60}
            await client.do("protect", "protect", account=account, **limits)
        turn = 0
        perpetuals = self._dice.sample(sorted(PERPS), len(PERPS))
        markets = cycle((*perpetuals, PREMIUM_PERP, *OPTIONS[:6]))
        while await self._pause(0.2):
            turn += 1
            if turn % 10 == 1:
                await client.do("dead_man", "dead_man", account=account, seconds=60)
            if turn % 60 == 0:
                await client.do("cancel_all", "cancel_all", account=account)
            market = next(markets)
            mark = self._marks.get(market)
            if mark is None:
                continue
            items = [self._make_quote(account, market, mark, side) for side in range(4)]
            answers = await client.do("batch", "batch", items=items)
            await self._note_quotes(client, account, answers)
        await client.close()

    def _make_quote(
        self, account: AccountId, market: MarketId, mark: int, side: int
    ) -> dict[str, Any]:
        is_buy = side % 2 == 0
        away = TICK * self._dice.randint(1, 4) * (1 + side // 2)
        price = max(TICK, (mark // TICK * TICK) + (-away if is_buy else away + TICK))
        slot = market * 4 % 4_000 + side
        fields = self._sign(
            account, slot, market, is_buy=is_buy, price=price, size=self._dice.randint(1, 12)
        )
        return {"op": "order", **fields, "is_quote": True}

    async def _note_quotes(self, client: Client, account: AccountId, answers: Any) -> None:
        for answer in answers or ():
            error = answer.get("error")
            if error is not None:
                self.traffic.refuse(error["code"])
            elif answer["result"]["status"] == "rejected":
                reason = answer["result"]["reason"].lower()
                self.traffic.refuse(reason)
            else:
                self.traffic.count("quote")
        if self._dice.random() < 0.1:
            underlying = self._dice.choice((INDEX, OTHER_INDEX))
            await client.do("resume", "resume", account=account, underlying=underlying)

    async def _be_taker(self, account: AccountId) -> None:
        client = await self._enter(account)
        moves = (self._take, self._take, self._take, self._rest, self._hold, self._replace)
        moves += (self._cancel, self._cancel_named)
        while await self._pause(0.15):
            market = self._dice.choice((*PERPS, PREMIUM_PERP, *OPTIONS[:6]))
            mark = self._marks.get(market)
            if mark is not None:
                await self._dice.choice(moves)(client, account, market, mark)
            if self._dice.random() < 0.01:
                await client.do("cancel_series", "cancel_all", account=account, market=market)
        await client.close()

    async def _take(self, client: Client, account: AccountId, market: MarketId, mark: int) -> None:
        kind = self._dice.choice(("ioc", "ioc", "fok", "market", "reduce_only"))
        is_buy = self._dice.random() < 0.5
        reach = TICK * self._dice.randint(1, 8)
        price = max(TICK, mark // TICK * TICK + (reach if is_buy else -reach))
        force = TimeInForceName.FOK if kind == "fok" else TimeInForceName.IOC
        more = {"kind": "market"} if kind == "market" else {}
        fields = self._sign(
            account,
            self._dice.randrange(0, 8),
            market,
            is_buy=is_buy,
            price=price,
            size=self._dice.randint(1, 6),
            force=force,
            reduce_only=kind == "reduce_only",
        )
        await client.do(kind, "order", **fields, **more)

    async def _rest(self, client: Client, account: AccountId, market: MarketId, mark: int) -> None:
        kind = self._dice.choice(("gtc", "gtd", "post_only"))
        is_buy = self._dice.random() < 0.5
        away = TICK * self._dice.randint(2, 20)
        price = max(TICK, mark // TICK * TICK + (-away if is_buy else away))
        force = TimeInForceName.GTD if kind == "gtd" else TimeInForceName.GTC
        fields = self._sign(
            account,
            self._dice.randrange(8, 24),
            market,
            is_buy=is_buy,
            price=price,
            size=self._dice.randint(1, 6),
            force=force,
            post_only=kind == "post_only",
            life=self._dice.choice((30, 120, LIFE)),
        )
        name = f"{account}-{fields['slot']}-{fields['nonce']}"
        await client.do(kind, "order", **fields, client_id=name)

    async def _hold(self, client: Client, account: AccountId, market: MarketId, mark: int) -> None:
        kind = self._dice.choice(("stop", "take_profit"))
        is_buy = self._dice.random() < 0.5
        rises = (kind == "stop") == is_buy
        away = TICK * self._dice.randint(1, 10)
        level = max(TICK, mark + (away if rises else -away))
        price = max(TICK, mark // TICK * TICK + (TICK * 20 if is_buy else -TICK * 20))
        slot = self._dice.randrange(24, 40)
        fields = self._sign(account, slot, market, is_buy=is_buy, price=price, size=1, life=600)
        trigger = {"kind": kind, "level": level}
        await client.do(kind, "order", **fields, trigger=trigger)

    async def _replace(
        self, client: Client, account: AccountId, market: MarketId, mark: int
    ) -> None:
        slot, price = 60, max(TICK, mark // TICK * TICK - 30 * TICK)
        first = self._sign(account, slot, market, is_buy=True, price=price, size=2)
        if await client.do("gtc", "order", **first) is None:
            return
        second = self._sign(account, slot, market, is_buy=True, price=price, size=3)
        await client.do("replace", "order", **second, replaces=first["nonce"])

    async def _cancel(
        self, client: Client, account: AccountId, market: MarketId, mark: int
    ) -> None:
        slot = self._dice.randrange(8, 24)
        await client.do("cancel", "cancel", account=account, slot=slot)

    async def _cancel_named(
        self, client: Client, account: AccountId, market: MarketId, mark: int
    ) -> None:
        slot = self._dice.randrange(8, 24)
        name = f"{account}-{slot}-{self._slots.get((account, slot), 0)}"
        await client.do("cancel_named", "cancel", account=account, client_id=name)

    async def _be_treasurer(self) -> None:
        client = await Client.open(self._port, self._domain, self.traffic)
        while await self._pause(2.0):
            sender = self._dice.choice(ACCOUNTS[:-1])
            recipient = self._dice.choice([one for one in ACCOUNTS[:-1] if one != sender])
            nonce = self._actions.get(sender, 0) + 1
            self._actions[sender] = nonce
            name = self._dice.choice(("transfer", "withdraw", "trading_key"))
            action: Action
            owner = SIGNERS[sender].address
            if name == "transfer":
                action = Transfer(sender, recipient, self._dice.randint(1, 10_000), nonce)
                fields: dict[str, Any] = {"sender": sender, "recipient": recipient}
                fields |= {"amount": action.amount}
            elif name == "withdraw":
                action = Withdraw(sender, owner, self._dice.randint(1, 10_000), nonce)
                fields = {"account": sender, "recipient": to_hex(owner), "amount": action.amount}
            else:
                action = SetTradingKey(sender, owner, Timestamp(self.clock + LIFE), nonce)
                fields = {"account": sender, "key": to_hex(owner), "expiry": action.expiry}
            signature = to_hex(SIGNERS[sender].sign_action(self._domain, action))
            request = {"type": name, **fields, "nonce": nonce, "signature": signature}
            await client.do(name, "submit", request=request)
        await client.close()

    # People on L1

    async def _be_on_l1(self) -> None:
        owner = to_hex(SIGNERS[ACCOUNTS[-1]].address)
        nonce = 0
        while await self._pause(4.0):
            account = self._dice.choice(ACCOUNTS[:-1])
            amount = self._dice.randint(1_000, 100_000)
            deposit = ("deposit(address,uint32,uint256)", to_hex(SIGNERS[account].address))
            await self._send("deposit", PAYER, *deposit, int(account), amount)
            await self._send(
                "force_exit", owner, "forceExit(uint32,uint128)", LEAVER, self._dice.randint(1, 99)
            )
            close = ("forceClose(uint32,uint16,uint64)", LEAVER, self._dice.choice(list(PERPS)), 1)
            await self._send("force_close", owner, *close)
            nonce += 1
            transfer = Transfer(AccountId(LEAVER), ACCOUNTS[0], 5, nonce)
            signature = SIGNERS[AccountId(LEAVER)].sign_action(self._domain, transfer)
            body = encode_forced(self.clock, transfer, (signature,))
            await self._send("force", owner, "force(bytes)", body)

    async def _send(self, kind: str, sender: str, signature: str, *values: object) -> None:
        """Transact with the bridge from a node's account."""
        target = self._shell.get_address("Bridge")
        await asyncio.to_thread(self._shell.send_as, sender, target, signature, *values)
        self.traffic.count(kind)

    # Watchers

    async def _watch(self) -> None:
        client = await self._enter(ACCOUNTS[0])
        channels = [f"{kind}.{one}" for kind in ("book", "trades", "ticker") for one in PERPS]
        channels += [f"index.{INDEX}", "batches", "liquidations", "insurance"]
        channels += [f"account.{ACCOUNTS[0]}"]
        for channel in channels:
            await client.do("subscribe", "subscribe", channel=channel)
        while await self._pause(5.0):
            channel = f"book.{self._dice.choice(sorted(PERPS))}"
            await client.do("unsubscribe", "unsubscribe", channel=channel)
            await self._pause(1.0)
            after = client.books.forget(channel)
            await client.do("resubscribe", "subscribe", channel=channel, after=after)
            margin = {"type": "margin", "account": ACCOUNTS[0]}
            await client.do("query", "query", query=margin)
        await client.close()

    async def _be_reader(self) -> None:
        paths = cycle(
            (
                "/v1/status",
                f"/v1/markets/{INDEX}/index",
                *(f"/v1/markets/{one}/book" for one in PERPS),
                *(f"/v1/markets/{one}/trades" for one in PERPS),
                f"/v1/accounts/{ACCOUNTS[0]}/proof",
                "/v1/distressed",
                "/v1/insurance",
                "/v1/batches",
                "/v1/history/batches",
                "/v1/history/insurance",
                "/v1/history/liquidations",
                "/metrics",
                "/ready",
                "/health",
            )
        )
        turn = 0
        while await self._pause(0.3):
            if turn % 3 == 0:
                for ticker in await self._get("/v1/tickers") or ():
                    self._marks[ticker["market"]] = ticker["mark"]
            else:
                await self._get(next(paths))
            turn += 1

    async def _get(self, path: str) -> Any:
        """Return a page's JSON, None when it is no such page or none of ours to see."""
        status, body = await asyncio.to_thread(fetch, f"http://127.0.0.1:{self._port}{path}")
        if status == 200:
            self.traffic.count("rest")
            return json.loads(body) if path.startswith("/v1") else body
        self.traffic.refuse("unavailable" if status >= 500 else f"http_{status}")
        return None

    # All

    async def _enter(self, account: AccountId) -> Client:
        client = await Client.open(self._port, self._domain, self.traffic)
        await client.login(account, SIGNERS[account], self.clock)
        return client

    def _sign(
        self,
        account: AccountId,
        slot: int,
        market: MarketId,
        *,
        is_buy: bool,
        price: int,
        size: int,
        force: TimeInForceName = TimeInForceName.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
        life: int = LIFE,
    ) -> dict[str, Any]:
        nonce = self._slots.get((account, slot), 0) + 1
        self._slots[account, slot] = nonce
        order: Order = make_order(
            price,
            size,
            is_buy=is_buy,
            market=market,
            nonce=nonce,
            expiry=self.clock + life,
            time_in_force=FORCES.get(force, TimeInForce.GTC),
            post_only=post_only,
            reduce_only=reduce_only,
        )
        signer: Signer = SIGNERS[account]
        signature = signer.sign_order(self._domain, account, SlotId(slot), order)
        return {
            "account": account,
            "slot": slot,
            "market": market,
            "is_buy": is_buy,
            "price": price,
            "size": size,
            "nonce": nonce,
            "expiry": order.expiry,
            "time_in_force": force.value,
            "post_only": post_only,
            "reduce_only": reduce_only,
            "signature": to_hex(signature),
        }
