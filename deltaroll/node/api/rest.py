"""Serves the table of endpoints over HTTP."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from deltaroll.node.admission import RejectedError
from deltaroll.node.api.context import Context
from deltaroll.node.api.encoding import encode_json
from deltaroll.node.api.endpoint import Asked, Endpoint
from deltaroll.node.api.endpoints import ENDPOINTS
from deltaroll.node.api.errors import (
    RateLimitedError,
    UnauthorisedError,
    count_forged,
    get_status,
    to_problem,
)
from deltaroll.node.api.messages import BatchFields, Failed, Problem, SessionFields
from deltaroll.node.api.sessions import decode_token
from deltaroll.node.metrics import Outcome, Protocol, to_outcome
from deltaroll.node.store import StoreError

log = structlog.get_logger(__name__)

JSON = "application/json"
PARAMETER = re.compile(r"\s*[0-9]+\s*|0x[0-9a-fA-F]{40}")
BODY_SECONDS = 10.0
"""A body that takes longer is refused."""


class TooLargeError(RejectedError):
    """A body that is longer than any that means something."""


def make_routes() -> list[Route]:
    """Return the routes of all endpoints."""
    return [
        Route(endpoint.path, make_handler(endpoint), methods=[endpoint.method])
        for endpoint in ENDPOINTS
    ]


def make_handler(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """Return what serves an endpoint."""

    async def handle(request: Request) -> Response:
        context: Context = request.app.state.context
        body: Any = None
        try:
            charge(context, request, endpoint.cost)
            params = read_params(endpoint, request)
            session = read_session(request)
            if endpoint.is_private and session is None:
                raise UnauthorisedError("authorization: a session is needed")
            if endpoint.body is not None:
                body = await read_body(endpoint, request, context.limits.message_bytes)
                if isinstance(body, BatchFields):
                    charge(context, request, float(len(body.items)))
            asked = Asked(context, params, body, session, get_address(request))
            result = await endpoint.handler(asked)
            if isinstance(body, BatchFields):
                cost = count_forged(result) * context.limits.refused_cost
                context.addresses.charge(asked.address, cost)
        except (RejectedError, StoreError) as refusal:
            problem = to_problem(refusal, body)
            if problem.code == "bad_signature":
                context.addresses.charge(get_address(request), context.limits.refused_cost)
            status = 413 if isinstance(refusal, TooLargeError) else get_status(problem)
            context.metrics.count(Protocol.REST, to_outcome(status))
            return make_refusal(problem, status)
        except Exception:
            context.metrics.count(Protocol.REST, Outcome.UNAVAILABLE)
            raise
        context.metrics.count(Protocol.REST, Outcome.OK)
        return Response(encode_json(result), media_type=JSON)

    return handle


def charge(context: Context, request: Request, cost: float) -> None:
    """Take tokens of the client's address; RateLimitedError when there are none."""
    wait = context.addresses.take(get_address(request), cost)
    if wait:
        raise RateLimitedError("address", wait)


def get_address(request: Request) -> str:
    """Return where a request comes from."""
    return "local" if request.client is None else request.client.host


def read_params(endpoint: Endpoint, request: Request) -> msgspec.Struct:
    """Return path and query as the endpoint takes them; RejectedError when they are not."""
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise RejectedError(f"{name}: given twice")
        given[name] = value
    for name, value in request.path_params.items():
        if name in given:
            raise RejectedError(f"{name}: given twice")
        given[name] = value
    if any(not PARAMETER.fullmatch(value) for value in given.values()):
        raise RejectedError("query: every parameter is a whole number, or an address")
    try:
        return msgspec.convert(given, endpoint.params, strict=False)
    except msgspec.ValidationError as problem:
        raise RejectedError(f"query: {problem}") from None


def read_session(request: Request) -> SessionFields | None:
    """Return the session that a request shows."""
    header = request.headers.get("authorization")
    return None if header is None else decode_token(header)


async def read_body(endpoint: Endpoint, request: Request, most: int) -> Any:
    """Return what was posted; RejectedError when it is not what the endpoint takes."""
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                received += part
                if len(received) > most:
                    raise TooLargeError(f"body: more than {most} bytes")
    except TimeoutError:
        raise RejectedError(f"body: not complete within {BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise RejectedError("body: the client is gone") from None
    try:
        return msgspec.json.decode(bytes(received), type=endpoint.body)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as problem:
        raise RejectedError(f"body: {problem}") from None


def make_refusal(problem: Problem, status: int) -> Response:
    """Return the answer that says what is wrong."""
    headers = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    if status == 401:
        headers["WWW-Authenticate"] = "Session"
    return Response(encode_json(Failed(problem)), status, headers, JSON)


async def handle_http_error(request: Request, error: Exception) -> Response:
    """Answer what no route takes, in the form of every other refusal."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "bad_request")
    response = make_refusal(Problem(code, f"path: {request.method} is not served here"), status)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response
