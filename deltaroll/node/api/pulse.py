"""What the API does by the clock: tickers, margins, sessions that end."""

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

from deltaroll.node.admission import RejectedError
from deltaroll.node.api.channels import Channel, Message
from deltaroll.node.api.connection import Connection
from deltaroll.node.api.context import Context
from deltaroll.node.api.data import AccountDelta, Ticker
from deltaroll.node.api.errors import to_problem
from deltaroll.node.api.messages import ChannelMessage, MessageKind
from deltaroll.node.api.service import compute_margin, compute_ticker
from deltaroll.node.metrics import VenueMetrics
from deltaroll.node.queries import MarginAnswer
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.survey import MarginHealth, collect_kinds, iterate_health
from deltaroll.protocol.types import SeriesKind

SURVEY_SECONDS = 10.0
"""Between two looks at all accounts' margin."""
SURVEY_SHARE = 0.02
"""Of the sequencer's time that they may take."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look at everything has found."""

    health: MarginHealth
    kinds: dict[int, SeriesKind]


class Pulse:
    """Sends what is computed now and then, not with every step."""

    def __init__(self, context: Context, connections: set[Connection], venue: VenueMetrics) -> None:
        self._context = context
        self._venue = venue
        self._survey_due = 0.0
        self._connections = connections
        self._is_busy: set[str] = set()
        self._marked: set[int] = set()
        context.hub.on_keys = self.check_sessions

    async def run(self) -> None:
        """Go on until cancelled."""
        limits = self._context.limits
        beats = max(1, round(limits.margin_seconds / limits.ticker_seconds))
        beat = 0
        while True:
            await asyncio.sleep(limits.ticker_seconds)
            beat += 1
            self._send_tickers()
            if beat % beats == 0:
                self._send_margins()
                self._context.hub.drop_idle()
                self._measure()
                self._survey()

    def _measure(self) -> None:
        """Count who is connected."""
        metrics = self._context.metrics
        metrics.sessions.set(len(self._connections))
        metrics.subscriptions.set(sum(len(one.subscriptions) for one in self._connections))
        metrics.authenticated.set(sum(len(one.sessions) for one in self._connections))

    def _survey(self) -> None:
        """See how all accounts stand, a slice at a time."""
        if "survey" not in self._is_busy and monotonic() >= self._survey_due:
            self._is_busy.add("survey")
            self._context.bridge.submit(SurveyJob(self._end_survey))

    def _end_survey(self, survey: Survey | None, seconds: float) -> None:
        self._is_busy.discard("survey")
        self._survey_due = monotonic() + max(SURVEY_SECONDS, seconds / SURVEY_SHARE)
        if survey is not None:
            self._venue.margin.set(survey.health)
            self._venue.kinds = survey.kinds

    def _send_tickers(self) -> None:
        hub = self._context.hub
        changed, hub.changed_markets = hub.changed_markets, set()
        self._marked |= changed
        if not changed or "tickers" in self._is_busy:
            hub.changed_markets |= changed
            return
        wanted = [market for market, _ in hub.iterate_listened("ticker.") if market in changed]
        if wanted:
            self._is_busy.add("tickers")
            self._context.bridge.submit(TickerJob(self._context, wanted, self._is_busy))

    def _send_margins(self) -> None:
        hub = self._context.hub
        moved, self._marked = self._marked, set()
        changed, hub.changed_accounts = hub.changed_accounts, set()
        if "margins" in self._is_busy:
            hub.changed_accounts |= changed
            self._marked |= moved
            return
        wanted = [
            account
            for account, channel in hub.iterate_listened("account.")
            if moved or account in changed
        ]
        if wanted:
            self._is_busy.add("margins")
            self._context.bridge.submit(MarginJob(self._context, wanted, self._is_busy))

    def check_sessions(self, accounts: set[int] | None) -> None:
        """Have sessions checked again, of some accounts or of all."""
        for connection in tuple(self._connections):
            for account, session in tuple(connection.sessions.items()):
                is_over = session.expiry < self._context.hub.clock
                if is_over or (accounts is not None and account in accounts):
                    self._context.bridge.submit(SessionJob(connection, self._context, account))


class TickerJob:
    """Computes tickers, one after the other."""

    is_reading = True

    def __init__(self, context: Context, markets: list[int], busy: set[str]) -> None:
        self._context = context
        self._markets = markets
        self._busy = busy
        self._last = {
            market: (recent[-1].price, recent[-1].lots)
            for market in markets
            if (recent := context.hub.trades.get(market))
        }

    def run(self, sequencer: Sequencer) -> Any:
        """Return a generator."""
        return self._iterate(sequencer)

    def _iterate(self, sequencer: Sequencer) -> Any:
        found: list[Ticker] = []
        for market in self._markets:
            found.append(compute_ticker(sequencer, market, self._last.get(market)))
            yield
        return found

    def finish(self, result: Any) -> None:
        """Send them."""
        self._busy.discard("tickers")
        if isinstance(result, Exception):
            return
        hub = self._context.hub
        for ticker in result:
            channel = hub.find_channel(f"ticker.{ticker.market}")
            if channel is not None:
                channel.publish(hub.published, ticker, 1)


class MarginJob:
    """Computes margins, one after the other."""

    is_reading = True

    def __init__(self, context: Context, accounts: list[int], busy: set[str]) -> None:
        self._context = context
        self._accounts = accounts
        self._busy = busy

    def run(self, sequencer: Sequencer) -> Any:
        """Return a generator."""
        return self._iterate(sequencer)

    def _iterate(self, sequencer: Sequencer) -> Any:
        found: list[tuple[int, MarginAnswer | None]] = []
        for account in self._accounts:
            found.append((account, compute_margin(sequencer, account)))
            yield
        return found

    def finish(self, result: Any) -> None:
        """Send them."""
        self._busy.discard("margins")
        if isinstance(result, Exception):
            return
        for account, margin in result:
            channel = self._context.hub.find_channel(f"account.{account}")
            if channel is not None and margin is not None:
                send_margin(channel, margin)


class SurveyJob:
    """Looks at every account's margin."""

    is_reading = True

    def __init__(self, on_end: Callable[[Survey | None, float], None]) -> None:
        """`on_end` gets what was found, None if nothing, and the seconds of work."""
        self._on_end = on_end
        self._seconds = 0.0

    def run(self, sequencer: Sequencer) -> Any:
        """Return a generator that looks at them."""
        return self._iterate(sequencer)

    def _iterate(self, sequencer: Sequencer) -> Generator[None, None, Survey]:
        accounts = iterate_health(sequencer.state)
        while True:
            started = perf_counter()
            try:
                next(accounts)
            except StopIteration as stop:
                return Survey(stop.value, collect_kinds(sequencer.state))
            finally:
                self._seconds += perf_counter() - started
            yield

    def finish(self, result: Any) -> None:
        """Hand it over."""
        self._on_end(result if isinstance(result, Survey) else None, self._seconds)


class SessionJob:
    """Checks a session again."""

    is_reading = True

    def __init__(self, connection: Connection, context: Context, account: int) -> None:
        self._connection = connection
        self._context = context
        self._account = account

    def run(self, sequencer: Sequencer) -> Any:
        """Return nothing; RejectedError when the session is over."""
        self._context.service.authorise(sequencer, self._account, self._connection.sessions)

    def finish(self, result: Any) -> None:
        """End the session and its channel."""
        if isinstance(result, RejectedError):
            self._connection.sessions.pop(self._account, None)
            name = f"account.{self._account}"
            if name in self._connection.subscriptions:
                self._connection.end_subscription(name, to_problem(result))


def send_margin(channel: Channel, margin: MarginAnswer) -> None:
    """Send an account's margin beside its numbered messages."""
    data = AccountDelta(margin=margin)
    body = ChannelMessage(channel.name, MessageKind.MARGIN, channel.last, channel.last, data)
    message = Message(body)
    for subscriber in tuple(channel.subscribers):
        subscriber.push_latest(channel.name, message.encode(subscriber.form))
