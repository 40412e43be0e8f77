"""The ASGI application: REST routes, the two documents and the WebSocket."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from deltaroll.node.api.context import Context
from deltaroll.node.api.documents import make_asyncapi, make_openapi
from deltaroll.node.api.encoding import encode_json
from deltaroll.node.api.operations import make_operations_routes
from deltaroll.node.api.rest import JSON, handle_http_error, make_routes
from deltaroll.node.api.websocket import WebSocketEndpoint
from deltaroll.node.monitor import Monitor


def create_app(context: Context, endpoint: WebSocketEndpoint, monitor: Monitor) -> Starlette:
    """Return the application."""
    documents = {
        "/v1/openapi.json": encode_json(make_openapi()),
        "/v1/asyncapi.json": encode_json(make_asyncapi()),
    }

    async def serve_document(request: Request) -> Response:
        return Response(documents[request.url.path], media_type=JSON)

    app = Starlette(
        routes=[
            *make_routes(),
            *(Route(path, serve_document, methods=["GET"]) for path in documents),
            *make_operations_routes(monitor),
            WebSocketRoute("/v1/ws", endpoint),
        ],
        exception_handlers={HTTPException: handle_http_error},
    )
    app.state.context = context
    return app
