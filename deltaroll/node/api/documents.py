"""The OpenAPI and AsyncAPI documents, made from the types that requests and answers are decoded
into and encoded from.
"""

import inspect
from functools import cache
from typing import Any, get_args

import msgspec

from deltaroll.node.api.data import (
    AccountDelta,
    AccountSnapshot,
    BatchesData,
    BookData,
    IndexData,
    InsuranceData,
    LiquidationsData,
    Ticker,
    TradesData,
)
from deltaroll.node.api.encoding import Format
from deltaroll.node.api.endpoint import Endpoint
from deltaroll.node.api.endpoints import ENDPOINTS
from deltaroll.node.api.messages import (
    Accepted,
    Answer,
    ChannelMessage,
    Failed,
    ItemAnswer,
    Op,
    Problem,
)
from deltaroll.node.api.sessions import SESSION_TYPE
from deltaroll.node.queries import (
    AccountAnswer,
    DistressedAnswer,
    MarginAnswer,
    MarketAnswer,
    PreviewAnswer,
)

VERSION = "1.0.0"
SCHEMAS = "#/components/schemas/"
CHANNELS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "book.{market}": ("Price levels of a series", (BookData,)),
    "trades.{market}": ("Trades of a series", (TradesData,)),
    "ticker.{market}": ("A series at a glance, the latest only", (Ticker,)),
    "index.{market}": ("An underlying's price", (IndexData,)),
    "account.{account}": (
        "An account's orders, fills, positions and margin; needs a session",
        (AccountSnapshot, AccountDelta, Problem),
    ),
    "batches": ("Batches on L1 and how final they are", (BatchesData,)),
    "liquidations": ("Auctions and take-overs", (LiquidationsData,)),
    "insurance": ("The insurance fund", (InsuranceData,)),
}
"""Channel -> what it is about, and what its messages carry."""
RESULTS: dict[str, tuple[Any, ...]] = {
    "batch": (list[ItemAnswer],),
    "query": (MarginAnswer, DistressedAnswer, AccountAnswer, MarketAnswer, PreviewAnswer),
    "auth": (dict[str, int],),
    "subscribe": (dict[str, str],),
    "unsubscribe": (dict[str, str],),
    "ping": (dict[str, int],),
}
"""Operation -> what its result may be; of all others: Accepted."""
REFUSALS = {
    "400": "Something is wrong with the request; nothing has changed.",
    "401": "A session is needed, or it is over.",
    "404": "There is no such thing.",
    "429": "Too much, too early: Retry-After says when.",
    "503": "The sequencer has stopped.",
}


@cache
def _collect() -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    types: list[Any] = [Failed, Answer, ChannelMessage, *get_args(Op)]
    for endpoint in ENDPOINTS:
        types += [endpoint.answer, endpoint.params]
        if endpoint.body is not None:
            types.append(endpoint.body)
    for _, data in CHANNELS.values():
        types += data
    for results in RESULTS.values():
        types += results
    types += [Accepted, Problem]
    unique = list(dict.fromkeys(types))
    schemas, components = msgspec.json.schema_components(unique, ref_template=SCHEMAS + "{name}")
    return dict(zip(unique, schemas, strict=True)), components


def get_schema(kind: Any) -> dict[str, Any]:
    """Return the schema of a type that a document knows."""
    return _collect()[0][kind]


def get_components() -> dict[str, Any]:
    """Return all named schemas."""
    return _collect()[1]


def make_openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _make_operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Deltaroll",
            "version": VERSION,
            "description": "Prices and amounts are collateral units, sizes lots, times seconds.",
        },
        "paths": paths,
        "components": {
            "schemas": get_components(),
            "securitySchemes": {
                "session": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "'Session ' and, in URL-safe base64, the JSON of a signed "
                    f"`SessionFields`; EIP-712 type {SESSION_TYPE}",
                }
            },
        },
    }


def _make_operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.handler.__name__,
        "summary": endpoint.summary,
        "parameters": _make_parameters(endpoint),
        "responses": {
            "200": _make_response("The answer", get_schema(endpoint.answer)),
            **{
                status: _make_response(text, get_schema(Failed))
                for status, text in REFUSALS.items()
                if status != "401" or endpoint.is_private or endpoint.body is not None
            },
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": get_schema(endpoint.body)}},
        }
        operation["responses"]["413"] = _make_response("Too long", get_schema(Failed))
    if endpoint.is_private:
        operation["security"] = [{"session": []}]
    return operation


def _make_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    reference = get_schema(endpoint.params)["$ref"].removeprefix(SCHEMAS)
    schema = get_components()[reference]
    required = schema.get("required", [])
    found = []
    for name, described in schema["properties"].items():
        in_path = "{" + name + "}" in endpoint.path
        if "anyOf" in described:
            # A parameter that is not given is null here; as text it is only ever a number.
            (described,) = (one for one in described["anyOf"] if one.get("type") != "null")
        found.append(
            {
                "name": name,
                "in": "path" if in_path else "query",
                "required": in_path or name in required,
                "schema": described,
            }
        )
    return found


def _make_response(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def make_asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document."""
    messages: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for op in get_args(Op):
        name = op.__struct_config__.tag
        messages[f"{name}.request"] = {
            "title": name,
            "summary": inspect.getdoc(op),
            "payload": get_schema(op),
        }
        messages[f"{name}.answer"] = {
            "title": f"{name}: answer",
            "payload": make_answer_schema(name),
        }
        operations[name] = {
            "action": "receive",
            "channel": {"$ref": "#/channels/websocket"},
            "messages": [{"$ref": f"#/channels/websocket/messages/{name}.request"}],
            "reply": {
                "channel": {"$ref": "#/channels/websocket"},
                "messages": [{"$ref": f"#/channels/websocket/messages/{name}.answer"}],
            },
        }
    for name, (summary, _) in CHANNELS.items():
        key = name.partition(".")[0]
        messages[f"{key}.message"] = {
            "title": name,
            "summary": summary,
            "payload": make_message_schema(name),
        }
        operations[f"{key}.publish"] = {
            "action": "send",
            "summary": f"Channel {name}: {summary}",
            "channel": {"$ref": "#/channels/websocket"},
            "messages": [{"$ref": f"#/channels/websocket/messages/{key}.message"}],
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Deltaroll",
            "version": VERSION,
            "description": "One WebSocket. Every frame is one message, as text in JSON or binary "
            f"in MessagePack, by subprotocol: {' or '.join(Format)}; without one: JSON.",
        },
        "channels": {"websocket": {"address": "/v1/ws", "messages": messages}},
        "operations": operations,
        "components": {"schemas": get_components()},
    }


def make_answer_schema(op: str) -> dict[str, Any]:
    """Return the schema of an operation's answer."""
    results = [get_schema(kind) for kind in RESULTS.get(op, (Accepted,))]
    return {
        "oneOf": [
            {
                "type": "object",
                "properties": {"id": {"type": "integer"}, "result": {"anyOf": results}},
                "required": ["id", "result"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"id": {"type": "integer"}, "error": get_schema(Problem)},
                "required": ["id", "error"],
                "additionalProperties": False,
            },
        ]
    }


def make_message_schema(channel: str) -> dict[str, Any]:
    """Return the schema of a channel's messages."""
    reference = get_schema(ChannelMessage)["$ref"].removeprefix(SCHEMAS)
    schema = dict(get_components()[reference])
    data = [get_schema(kind) for kind in CHANNELS[channel][1]]
    schema["properties"] = schema["properties"] | {"data": {"anyOf": data}}
    return schema
