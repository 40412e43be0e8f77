"""The documents describe what is asked and what is answered, and are themselves well formed."""

import json
import urllib.request
from urllib.error import HTTPError

import jsonschema_rs
import pytest

from deltaroll.node.api.documents import make_asyncapi, make_openapi
from deltaroll.node.api.endpoints import ENDPOINTS
from deltaroll.node.api.messages import SessionFields
from deltaroll.node.api.sessions import encode_token
from tests.api.support import ADA, BLAISE, make_session, serve, to_fields
from tests.node.support import INDEX, OPTIONS, OWNERS, PERP, PRICE, STRANGER, Venue, make_order

PATHS = [
    "/v1/status",
    "/v1/markets",
    f"/v1/markets/{PERP}",
    f"/v1/markets/{INDEX}",
    f"/v1/markets/{OPTIONS[0]}",
    f"/v1/markets/{PERP}/book?levels=1",
    f"/v1/markets/{PERP}/trades",
    f"/v1/markets/{INDEX}/index",
    "/v1/tickers",
    f"/v1/tickers?underlying={INDEX}",
    f"/v1/tickers/{OPTIONS[0]}",
    f"/v1/accounts/{ADA}",
    f"/v1/accounts/{ADA}/orders",
    f"/v1/accounts/{ADA}/margin",
    f"/v1/accounts/{ADA}/slots",
    f"/v1/owners/0x{OWNERS[ADA].address.hex()}/accounts",
    f"/v1/accounts/{ADA}/receipts/{{sequence}}",
    "/v1/distressed",
    "/v1/insurance",
    "/v1/batches?count=2",
    f"/v1/history/markets/{PERP}/trades?limit=1",
    f"/v1/history/markets/{PERP}/candles",
    f"/v1/history/markets/{PERP}/funding",
    "/v1/history/liquidations",
    "/v1/history/auctions",
    "/v1/history/insurance",
    "/v1/history/batches",
    "/v1/history/rebases",
    f"/v1/history/accounts/{ADA}/orders",
    f"/v1/history/accounts/{ADA}/orders/0/1",
    f"/v1/history/accounts/{ADA}/fills",
    f"/v1/history/accounts/{ADA}/cash",
    f"/v1/history/accounts/{ADA}/funding",
    f"/v1/history/accounts/{ADA}/transfers",
    f"/v1/history/accounts/{ADA}/balances",
    f"/v1/history/accounts/{ADA}/receipts",
]
REFUSED = [
    ("/v1/accounts/2", 401),
    ("/v1/accounts/2/slots", 401),
    ("/v1/owners/0x11/accounts", 400),
    (f"/v1/exits/0x{OWNERS[ADA].address.hex()}", 404),
    (f"/v1/accounts/{ADA}/receipts/0", 404),
    ("/v1/accounts/1/proof", 404),
    ("/v1/markets/77", 404),
    (f"/v1/markets/{INDEX}/book", 404),
    ("/v1/tickers/77", 404),
    ("/v1/markets/70000", 400),
    ("/v1/markets/abc", 400),
    ("/v1/batches?count=0", 400),
    ("/v1/batches?count=1&count=2", 400),
    ("/v1/batches?nothing=1", 400),
    (f"/v1/history/accounts/{BLAISE}/fills", 401),
    (f"/v1/history/markets/{PERP}/trades?limit=0", 400),
    ("/v1/nowhere", 404),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(Venue.open_options, folder=tmp_path_factory.mktemp("venue")) as found:
        yield found


def fetch(server, path, body=None, token=None):
    """Status and body of a request."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.api.port}{path}",
        None if body is None else json.dumps(body).encode(),
        {} if token is None else {"Authorization": token},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refusal:
        return refusal.code, json.load(refusal)


def get_token(account=ADA):
    return encode_token(SessionFields(**make_session(account)))


def validate(document, schema, value):
    """Check a value against a schema of a document."""
    whole = schema | {"components": document["components"]}
    jsonschema_rs.validator_for(whole).validate(value)


def find_operation(document, path, method):
    """The operation that serves a path."""
    parts = path.partition("?")[0].split("/")
    for template, methods in document["paths"].items():
        wanted = template.split("/")
        is_same = len(wanted) == len(parts) and all(
            one == other or one.startswith("{") for one, other in zip(wanted, parts, strict=True)
        )
        if is_same and method in methods:
            return methods[method]
    raise KeyError(path)


def test_openapi__every_answer__is_as_described(server):
    with server.connect() as client:
        receipt = client.place(ADA, 0, make_order(size=3))["sequence"]
        client.place(BLAISE, 0, make_order(is_buy=False))
    status, document = fetch(server, "/v1/openapi.json")
    assert status == 200
    assert document == json.loads(json.dumps(make_openapi()))
    assert server.projector.wait(receipt + 1, 10)
    for path in PATHS:
        found = path.format(sequence=receipt)
        status, body = fetch(server, found, token=get_token())
        assert status == 200, (found, body)
        operation = find_operation(document, found, "get")
        content = operation["responses"]["200"]["content"]["application/json"]
        validate(document, content["schema"], body)


@pytest.mark.parametrize(("path", "expected"), REFUSED)
def test_openapi__every_refusal__is_as_described(server, path, expected):
    status, body = fetch(server, path, token=get_token())
    assert status == expected, body
    document = make_openapi()
    validate(document, {"$ref": "#/components/schemas/Failed"}, body)
    if path != "/v1/nowhere":
        assert str(expected) in find_operation(document, path, "get")["responses"]


def test_rest__orders_and_switches__are_done(server):
    document = make_openapi()
    order = to_fields(ADA, 5, make_order(PRICE - 500))
    protection = {"account": ADA, "underlying": INDEX, "seconds": 5, "fills": 9}
    posts = [
        ("/v1/orders", order, 200),
        ("/v1/orders", to_fields(ADA, 6, make_order(), signer=STRANGER), 400),
        ("/v1/orders", order | {"size": 0}, 400),
        ("/v1/orders", order | {"more": 0}, 400),
        ("/v1/orders/batch", {"items": [{"op": "cancel", "account": ADA, "slot": 5}]}, 200),
        ("/v1/orders/cancel", {"account": ADA, "slot": 5}, 404),
        ("/v1/orders/cancel", {"account": BLAISE, "slot": 0}, 401),
        ("/v1/orders/cancel_all", {"account": ADA}, 200),
        ("/v1/accounts/dead_man", {"account": ADA, "seconds": 0}, 200),
        ("/v1/accounts/protection", protection, 200),
        ("/v1/accounts/resume", {"account": ADA, "underlying": INDEX}, 200),
        ("/v1/actions", {"type": "transfer"}, 400),
    ]
    for path, body, expected in posts:
        status, answer = fetch(server, path, body, get_token())
        assert status == expected, (path, answer)
        responses = find_operation(document, path, "post")["responses"]
        schema = responses[str(status)]["content"]["application/json"]["schema"]
        validate(document, schema, answer)


def test_rest__body_too_long__is_refused(server):
    status, answer = fetch(server, "/v1/orders", {"x": "y" * 70_000})
    assert (status, answer["error"]["field"]) == (413, "body")


@pytest.mark.parametrize(
    "token", ["Bearer x", "Session", "Session x", "Session !!!", "Session " + "QUJD" * 9]
)
def test_rest__token_that_is_none__is_refused(server, token):
    assert fetch(server, f"/v1/accounts/{ADA}", token=token)[0] == 400


def test_asyncapi__every_frame__is_as_described(server):
    status, document = fetch(server, "/v1/asyncapi.json")
    assert status == 200
    assert document == json.loads(json.dumps(make_asyncapi()))
    messages = document["channels"]["websocket"]["messages"]
    asked = [
        ("ping", {}),
        ("auth", make_session(ADA)),
        ("order", to_fields(ADA, 20, make_order(PRICE - 600))),
        ("order", to_fields(ADA, 20, make_order(PRICE - 600), signer=STRANGER)),
        ("batch", {"items": [{"op": "cancel", "account": ADA, "slot": 20}]}),
        ("cancel", {"account": ADA, "slot": 20}),
        ("cancel_all", {"account": ADA, "market": PERP}),
        ("dead_man", {"account": ADA, "seconds": 0}),
        ("protect", {"account": ADA, "underlying": INDEX, "seconds": 5, "fills": 9}),
        ("resume", {"account": ADA, "underlying": INDEX}),
        ("query", {"query": {"type": "margin", "account": ADA}}),
        ("query", {"query": {"type": "distressed"}}),
        ("query", {"query": {"type": "market", "market": PERP}}),
        *(
            ("subscribe", {"channel": name})
            for name in (
                f"book.{PERP}",
                f"trades.{PERP}",
                f"ticker.{PERP}",
                f"index.{INDEX}",
                f"account.{ADA}",
                "batches",
                "liquidations",
                "insurance",
            )
        ),
        ("unsubscribe", {"channel": "insurance"}),
        ("unsubscribe", {"channel": "insurance"}),
        ("order", to_fields(ADA, 21, make_order(size=2))),
        ("order", to_fields(BLAISE, 21, make_order(is_buy=False))),
    ]
    with server.connect() as client:
        for op, fields in asked:
            request = {"op": op, "id": 1, **json.loads(json.dumps(fields))}
            validate(document, messages[f"{op}.request"]["payload"], request)
            validate(document, messages[f"{op}.answer"]["payload"], client.ask(op, **fields))
        told = client.next(f"account.{ADA}"), *client.messages
        kinds = {message["channel"].partition(".")[0] for message in told}
        assert kinds >= {"book", "ticker", "account", "batches", "liquidations", "insurance"}
        for message in told:
            kind = message["channel"].partition(".")[0]
            validate(document, messages[f"{kind}.message"]["payload"], message)


def test_openapi__every_endpoint__has_a_name_of_its_own():
    names = [endpoint.handler.__name__ for endpoint in ENDPOINTS]
    assert len(set(names)) == len(names)
