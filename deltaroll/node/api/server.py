"""The API server: uvicorn on a thread of its own, in the process of the sequencer."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any

import structlog
import uvicorn

from deltaroll.node.api.app import create_app
from deltaroll.node.api.bridge import Bridge
from deltaroll.node.api.context import Context, Delegation, ProofSource
from deltaroll.node.api.data import BatchData
from deltaroll.node.api.hub import Hub, Seed, compute_seed
from deltaroll.node.api.limits import Buckets, Limits
from deltaroll.node.api.pulse import Pulse
from deltaroll.node.api.service import Service
from deltaroll.node.api.transport import make_protocols
from deltaroll.node.api.websocket import WebSocketEndpoint
from deltaroll.node.events import Step
from deltaroll.node.metrics import ApiMetrics, VenueMetrics, create_registry
from deltaroll.node.monitor import Monitor
from deltaroll.node.readmodel.reader import Reader
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.server import HOST, SequencerThread
from deltaroll.node.survey import collect_kinds

log = structlog.get_logger(__name__)

BACKLOG = 512
SHUTDOWN_SECONDS = 5


class ApiServer:
    """Serves REST and WebSocket clients until it is closed."""

    def __init__(
        self,
        thread: SequencerThread,
        port: int = 0,
        host: str = HOST,
        limits: Limits | None = None,
        proofs: ProofSource | None = None,
        delegation: Delegation | None = None,
        monitor: Monitor | None = None,
        history: Reader | None = None,
    ) -> None:
        """Listen on a port; 0 takes a free one. OSError when it is not to be had.

        Parameters
        ----------
        monitor
            What `/metrics`, `/health` and `/ready` tell beyond what the API itself knows.
        """
        self.monitor = monitor or Monitor("sequencer", create_registry("sequencer"))
        self.monitor.checks["log"] = lambda: thread.problem
        self._metrics = ApiMetrics(self.monitor.registry)
        self._venue = VenueMetrics(self.monitor.registry)
        self._thread = thread
        self._limits = Limits() if limits is None else limits
        self._proofs = proofs
        self._delegation = delegation
        self._history = history
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Connections inherit it. Left alone it grows to megabytes for a client that is slow.
            send_buffer = self._limits.send_buffer
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hub: Hub | None = None
        self._ready = Event()
        self._runner = Thread(target=self._run, name="api")
        self._runner.start()
        self._ready.wait()
        if self._server is None:
            self._runner.join()
            raise OSError("api: did not start")

    def publish_batches(self, batches: Sequence[BatchData], first: int) -> None:
        """Tell clients of the batches on L1 from number `first` on."""
        if self._loop is not None and self._hub is not None:
            self._loop.call_soon_threadsafe(self._hub.publish_batches, tuple(batches), first)

    def close(self) -> None:
        """Hang up on everybody and end the thread."""
        if self._server is not None:
            self._server.should_exit = True
        self._runner.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=get_loop_factory()) as runner:
                runner.run(self._serve())
        finally:
            self._socket.close()
            self._ready.set()

    async def _serve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        steps: list[Sequence[Step]] = []

        def listen(fresh: Sequence[Step]) -> None:
            with suppress(RuntimeError):
                # A loop that is closed has nobody to tell.
                loop.call_soon_threadsafe(publish, fresh)

        def publish(fresh: Sequence[Step]) -> None:
            if self._hub is None:
                steps.append(fresh)
            else:
                self._hub.publish(fresh)
                self._venue.take(fresh)

        def start(sequencer: Sequencer) -> Seed:
            sequencer.listen(listen)
            self._venue.kinds = collect_kinds(sequencer.state)
            return compute_seed(sequencer)

        seed = await asyncio.wrap_future(self._thread.start(start))
        hub = self._hub = Hub(seed, self._limits, int(time.time()))
        self._venue.insurance.set(seed.insurance)
        self._venue.sequence.set(seed.sequence)
        self._venue.clock.set(seed.clock)
        for fresh in steps:
            hub.publish(fresh)
            self._venue.take(fresh)
        service = Service(self._limits)
        context = Context(
            Bridge(self._thread, loop, service.complete, self._metrics),
            hub,
            service,
            self._limits,
            Buckets(self._limits.address),
            self._metrics,
            self._proofs,
            self._delegation,
            self._history,
        )
        endpoint = WebSocketEndpoint()
        pulse = asyncio.create_task(Pulse(context, endpoint.connections, self._venue).run())
        config = make_config(create_app(context, endpoint, self.monitor), self._limits)
        server = self._server = _Server(config, self._ready.set)
        try:
            await server.serve(sockets=[self._socket])
        finally:
            pulse.cancel()


class _Server(uvicorn.Server):
    """Uvicorn's server, that says when it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self._on_ready()


def get_loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops: uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def make_config(app: Any, limits: Limits) -> uvicorn.Config:
    """Return how uvicorn serves the application."""
    http, websocket = make_protocols(limits)
    return uvicorn.Config(
        app,
        http=http,
        ws=websocket,
        ws_max_size=limits.message_bytes,
        ws_ping_interval=limits.ping_interval,
        ws_ping_timeout=limits.ping_timeout,
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_config=None,
        # Whoever sends junk is not to fill our logs.
        log_level="error",
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
