"""What an endpoint is, and one request to it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from deltaroll.node.api.bridge import Call
from deltaroll.node.api.context import Context
from deltaroll.node.api.errors import UnauthorisedError
from deltaroll.node.api.messages import SessionFields
from deltaroll.node.sequencer import Sequencer


class NoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to say."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    context: Context
    params: Any
    body: Any
    session: SessionFields | None
    address: str
    """Of the client."""

    @property
    def sessions(self) -> dict[int, SessionFields]:
        """The session as the service wants it."""
        return {} if self.session is None else {self.session.account: self.session}

    async def call(self, function: Callable[[Sequencer], Any]) -> Any:
        """Have something done on the sequencer's thread. What is not posted changes nothing."""
        call = Call(function, asyncio.get_running_loop(), self.body is None)
        self.context.bridge.submit(call, self.address)
        return await call.future

    async def call_private(self, account: int, function: Callable[[Sequencer], Any]) -> Any:
        """The same, for who has shown a right to see an account."""
        if self.session is None:
            raise UnauthorisedError("authorization: a session is needed")
        service = self.context.service

        def run(sequencer: Sequencer) -> Any:
            service.authorise(sequencer, account, self.sessions)
            return function(sequencer)

        return await self.call(run)


Handler = Callable[[Asked], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One thing that can be asked."""

    method: str
    path: str
    summary: str
    handler: Handler
    answer: Any
    """Type of what comes back."""
    params: type[msgspec.Struct] = NoParams
    body: Any = None
    """Type of what is posted."""
    is_private: bool = False
    cost: float = 1.0
    """Tokens of the client's address; of a batch, for each item."""
