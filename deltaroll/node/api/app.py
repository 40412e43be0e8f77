"""The ASGI application: REST routes and the WebSocket."""

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from deltaroll.node.api.context import Context
from deltaroll.node.api.websocket import WebSocketEndpoint


def create_app(context: Context, endpoint: WebSocketEndpoint) -> Starlette:
    """Return the application."""
    app = Starlette(routes=[WebSocketRoute("/v1/ws", endpoint)])
    app.state.context = context
    return app
