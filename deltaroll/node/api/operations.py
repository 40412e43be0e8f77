"""Pages for whoever runs the node, beside `/v1`: metrics, whether it is alive, whether it is ready.

Metrics are for this machine: a proxy that lets clients in passes `/v1` on and nothing else.
"""

import ipaddress

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deltaroll.node.api.context import Context
from deltaroll.node.api.errors import RateLimitedError, get_status, to_problem
from deltaroll.node.api.rest import charge, get_address, make_refusal
from deltaroll.node.monitor import Monitor


def make_operations_routes(monitor: Monitor) -> list[Route]:
    """Return the routes of a monitor's pages."""

    async def serve(request: Request) -> Response:
        context: Context = request.app.state.context
        path = request.url.path
        is_near = is_local(get_address(request))
        try:
            if not is_near:
                charge(context, request, 1.0)
        except RateLimitedError as refusal:
            problem = to_problem(refusal)
            return make_refusal(problem, get_status(problem))
        if path == "/metrics" and not is_near:
            return Response(status_code=403)
        status, kind, body = monitor.get_page(path)
        return Response(body, status, media_type=kind)

    return [Route(path, serve, methods=["GET"]) for path in ("/metrics", "/health", "/ready")]


def is_local(address: str) -> bool:
    """Return whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        # A socket of this machine's own.
        return address == "local"
