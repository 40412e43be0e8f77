"""The REST half of the API: questions, each answered with its type."""

import asyncio
import random
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec

from deltaroll.node.api.messages import Failed
from deltaroll.sdk.errors import UnreachableError, to_error
from deltaroll.sdk.link import Patience

Kind = TypeVar("Kind")
HTTP_ERROR = 400


class Rest:
    """Asks one node. A question that a connection was lost over is asked again."""

    def __init__(self, session: aiohttp.ClientSession, url: str, patience: Patience) -> None:
        """`url` is the node's, without `/v1`."""
        self._session = session
        self._url = url
        self._patience = patience

    async def get(
        self, path: str, kind: type[Kind], token: str | None = None, **params: Any
    ) -> Kind:
        """Return what is at a path.

        Raises
        ------
        RefusedError
        UnreachableError
            When there is no answer in time, or one of another form.
        """
        given = {name: value for name, value in params.items() if value is not None}
        url = f"{self._url}/v1/{path}" + (f"?{urlencode(given)}" if given else "")
        headers = {} if token is None else {"Authorization": token}
        deadline = monotonic() + self._patience.answer
        failures = 0
        while True:
            left = max(0.001, deadline - monotonic())
            try:
                status, body = await self._fetch(url, headers, left)
                break
            except (aiohttp.ClientError, OSError, TimeoutError) as problem:
                delay = self._patience.compute_delay(failures, random.random())
                failures += 1
                if monotonic() + delay >= deadline:
                    raise UnreachableError(f"{url}: {problem!r}") from problem
                await asyncio.sleep(delay)
        try:
            if status >= HTTP_ERROR:
                raise to_error(msgspec.json.decode(body, type=Failed).error)
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as problem:
            raise UnreachableError(f"{url}: {status}, of another form: {problem}") from None

    async def _fetch(self, url: str, headers: dict[str, str], seconds: float) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self._session.get(url, headers=headers, timeout=timeout) as answer:
            return answer.status, await answer.read()
