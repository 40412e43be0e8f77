"""What connections have done on the sequencer's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deltaroll.node.admission import RejectedError
from deltaroll.node.api.context import Context
from deltaroll.node.api.data import IndexData, InsuranceData, LiquidationsData
from deltaroll.node.api.errors import UnknownError, count_forged
from deltaroll.node.api.messages import (
    BatchOp,
    CancelAllOp,
    CancelOp,
    DeadManOp,
    Op,
    OrderOp,
    ProtectOp,
    QueryOp,
    ResumeOp,
    SessionFields,
    SubmitOp,
    SubscribeOp,
)
from deltaroll.node.api.service import Service, compute_account_snapshot, compute_ticker
from deltaroll.node.events import Distressed
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.types import MarketId, Series, Underlying

if TYPE_CHECKING:
    from deltaroll.node.api.connection import Connection

GLOBAL_CHANNELS = frozenset({"batches", "liquidations", "insurance"})


class OpJob:
    """A request that is answered with what comes of it."""

    __slots__ = ("_connection", "_op", "_service")

    @property
    def is_reading(self) -> bool:
        """Whether it is a question."""
        return isinstance(self._op, QueryOp)

    def __init__(self, connection: Connection, service: Service, op: Op) -> None:
        self._connection = connection
        self._service = service
        self._op = op

    def run(self, sequencer: Sequencer) -> Any:
        """Do it."""
        op, service = self._op, self._service
        sessions = self._connection.sessions
        match op:
            case OrderOp():
                return service.place(sequencer, op)
            case BatchOp():
                return service.do_batch(sequencer, op, sessions)
            case CancelOp():
                return service.cancel(sequencer, op, sessions)
            case CancelAllOp():
                return service.cancel_all(sequencer, op, sessions)
            case DeadManOp():
                return service.set_dead_man(sequencer, op, sessions)
            case ProtectOp():
                return service.protect(sequencer, op, sessions)
            case ResumeOp():
                return service.resume(sequencer, op, sessions)
            case SubmitOp():
                return service.submit(sequencer, op.request)
            case QueryOp():
                return service.ask(sequencer, op.query, sessions)
            case _:
                raise RejectedError(f"op: {type(op).__name__} is not done here")

    def finish(self, result: Any) -> None:
        """Answer."""
        if isinstance(result, Exception):
            self._connection.refuse(self._op.id, result, self._op)
        else:
            if isinstance(self._op, BatchOp):
                self._connection.charge_forged(count_forged(result))
            self._connection.answer(self._op.id, result)


class AuthJob:
    """Opens a session on a connection."""

    is_reading = True

    def __init__(
        self, connection: Connection, service: Service, request_id: int, session: SessionFields
    ) -> None:
        self._connection = connection
        self._service = service
        self._id = request_id
        self._session = session

    def run(self, sequencer: Sequencer) -> Any:
        """Check it."""
        self._service.sessions.validate(sequencer, self._session)
        return {"account": self._session.account, "expiry": self._session.expiry}

    def finish(self, result: Any) -> None:
        """Note it and answer."""
        if isinstance(result, Exception):
            self._connection.refuse(self._id, result, self._session)
        else:
            self._connection.sessions[self._session.account] = self._session
            self._connection.answer(self._id, result)


class SubscribeJob:
    """Attaches a connection to a channel."""

    is_reading = True

    def __init__(self, connection: Connection, context: Context, op: SubscribeOp) -> None:
        self._connection = connection
        self._context = context
        self._op = op
        self._kind, _, subject = op.channel.partition(".")
        self._subject = int(subject) if subject else None
        if self._kind == "account" and self._subject in connection.sessions:
            # It remembers from now on, so nothing is missed between snapshot and first message.
            context.hub.get_channel(op.channel)

    def run(self, sequencer: Sequencer) -> Any:
        """Check that there is such a channel for this client; take what only the state knows."""
        kind, subject = self._kind, self._subject
        sequence = sequencer.store.next_sequence - 1
        if self._op.channel in GLOBAL_CHANNELS:
            return sequence, None
        leaf = None if subject is None else sequencer.state.markets.get(MarketId(subject))
        match kind:
            case "book" | "trades" if isinstance(leaf, Series):
                return sequence, None
            case "index" if isinstance(leaf, Underlying):
                return sequence, None
            case "ticker" if isinstance(leaf, Series) and subject is not None:
                # The last trade is the hub's to know.
                return sequence, compute_ticker(sequencer, subject, None)
            case "account" if subject is not None:
                sessions = self._connection.sessions
                self._context.service.authorise(sequencer, subject, sessions)
                return sequence, compute_account_snapshot(sequencer, subject)
        raise UnknownError(f"channel: there is no channel {self._op.channel}")

    def finish(self, result: Any) -> None:
        """Answer, then attach; not when the client has left or thought better of it."""
        connection, op = self._connection, self._op
        if isinstance(result, Exception):
            connection.forget(op.channel)
            connection.refuse(op.id, result, op)
            return
        sequence, data = result
        hub = self._context.hub
        channel = hub.get_channel(op.channel)
        connection.answer(op.id, {"channel": op.channel})
        if op.channel not in connection.subscriptions:
            return
        if data is None:
            sequence, data = hub.published, self._collect()
        if op.channel == "batches":
            sequence = hub.batch_number
        channel.attach(connection, sequence, data, op.after)

    def _collect(self) -> Any:
        """Return what the hub has of a channel."""
        hub, subject = self._context.hub, self._subject or 0
        match self._kind:
            case "book":
                return hub.get_book(subject)
            case "trades":
                return hub.get_trades(subject)
            case "index":
                return hub.indices.get(subject, IndexData(subject, 0, 0, 0))
            case "liquidations":
                return LiquidationsData(
                    tuple(Distressed(one, since) for one, since in hub.distressed.items())
                )
            case "insurance":
                return InsuranceData(str(hub.insurance))
            case _:
                return hub.get_batches()
