"""What a process tells whoever watches it: metrics, whether it is alive, whether it is ready.

The sequencer's API serves the same three pages; `MonitorServer` does for processes without one.
"""

import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from time import monotonic
from typing import Any

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from deltaroll.node.follower import Follower

log = structlog.get_logger(__name__)

JSON = "application/json"
IDLE_SECONDS = 10.0
"""A client that says nothing for this long is hung up on."""
MAX_CLIENTS = 16
MAX_VIEW_AGE = 60.0
"""Seconds after which a view of L1 is too old to be called ready."""

Check = Callable[[], str | None]
"""Says why a process is not ready; None when nothing is wrong. It must not wait."""
Page = tuple[int, str, bytes]
"""Status, content type and body."""


class Monitor:
    """What is to be told, collected from wherever it is known."""

    def __init__(self, process: str, registry: CollectorRegistry) -> None:
        self.process = process
        self.registry = registry
        self.checks: dict[str, Check] = {}
        """What has to be so for the process to be ready."""
        self.facts: dict[str, Callable[[], Any]] = {}
        """What the page about readiness tells besides; none of them may wait."""

    def find_reasons(self) -> dict[str, str]:
        """Return why the process is not ready: by check."""
        found = {name: check() for name, check in self.checks.items()}
        return {name: reason for name, reason in found.items() if reason is not None}

    def get_page(self, path: str) -> Page:
        """Return the page of a path."""
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self.registry)
        if path == "/health":
            body = {"alive": True, "process": self.process}
            return HTTPStatus.OK, JSON, msgspec.json.encode(body)
        if path == "/ready":
            reasons = self.find_reasons()
            facts = {name: tell() for name, tell in self.facts.items()}
            told = {"ready": not reasons, "process": self.process, "reasons": reasons, **facts}
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            return status, JSON, msgspec.json.encode(told)
        return HTTPStatus.NOT_FOUND, JSON, b'{"error":"no such page"}'


class ViewCheck:
    """Whether a follower's view of L1 is one to act upon; told after each look."""

    def __init__(self, max_age: float, elapsed: Callable[[], float] = monotonic) -> None:
        self._max_age = max_age
        self._elapsed = elapsed
        self._looked_at: float | None = None
        self._problem: str | None = "L1 has not been read yet"
        self.facts: dict[str, Any] = {}

    def look(self, follower: Follower) -> None:
        """Take over what a follower says that has just been polled."""
        self._looked_at = self._elapsed()
        self._problem = follower.behind
        if follower.closing is not None:
            self._problem = "the rollup is frozen"
        elif follower.fraud is not None:
            index = follower.fraud.submitted.header.index
            self._problem = f"batch {index} is fraudulent: {follower.fraud.fault.name}"
        if follower.head is not None and follower.chain:
            self.facts = {
                "l1_block": follower.head.number,
                "batch": follower.chain[-1].submitted.header.index,
                "state_root": "0x" + follower.chain[-1].submitted.header.post_root.hex(),
            }

    def __call__(self) -> str | None:
        """Say what is wrong."""
        if self._problem is not None or self._looked_at is None:
            return self._problem
        age = self._elapsed() - self._looked_at
        return f"L1 was last read {age:.0f} s ago" if age > self._max_age else None


class MonitorServer:
    """Serves a monitor's pages on a port of its own until it is closed."""

    def __init__(self, monitor: Monitor, port: int, host: str) -> None:
        """Listen; port 0 takes a free one. OSError when it is not to be had."""
        self._server = _Server(monitor, host, port)
        self.host = host
        self.port: int = self._server.server_address[1]
        self._accepting = Thread(
            target=self._server.serve_forever, args=(0.1,), name="monitor", daemon=True
        )
        self._accepting.start()

    def close(self) -> None:
        """Serve nobody any more."""
        self._server.shutdown()
        self._accepting.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 4 * MAX_CLIENTS

    def __init__(self, monitor: Monitor, host: str, port: int) -> None:
        self.monitor = monitor
        self._room = BoundedSemaphore(MAX_CLIENTS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take a client in, unless there are too many."""
        return self._room.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a client; then there is room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note what went wrong with one client."""
        log.info("monitor_client_failed", error=repr(sys.exception()))


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = IDLE_SECONDS
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        """Answer."""
        status, kind, body = self.server.monitor.get_page(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        """Scrapes are no news."""

    def version_string(self) -> str:
        """Name nothing."""
        return "deltaroll"
