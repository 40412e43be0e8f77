"""The REST half of the API: questions, each answered with its type."""

from typing import Any, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec

from deltaroll.node.api.messages import Failed
from deltaroll.sdk.errors import UnreachableError, to_error

Kind = TypeVar("Kind")
HTTP_ERROR = 400


class Rest:
    """Asks one node."""

    def __init__(self, session: aiohttp.ClientSession, url: str, seconds: float) -> None:
        """`url` is the node's, without `/v1`; `seconds` the longest wait for an answer."""
        self._session = session
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=seconds)

    async def get(
        self, path: str, kind: type[Kind], token: str | None = None, **params: Any
    ) -> Kind:
        """Return what is at a path.

        Raises
        ------
        RefusedError
        UnreachableError
            When there is no answer, or one of another form.
        """
        given = {name: value for name, value in params.items() if value is not None}
        url = f"{self._url}/v1/{path}" + (f"?{urlencode(given)}" if given else "")
        headers = {} if token is None else {"Authorization": token}
        try:
            async with self._session.get(url, headers=headers, timeout=self._timeout) as answer:
                body = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            raise UnreachableError(f"{url}: {problem!r}") from problem
        try:
            if status >= HTTP_ERROR:
                raise to_error(msgspec.json.decode(body, type=Failed).error)
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as problem:
            raise UnreachableError(f"{url}: {status}, of another form: {problem}") from None
