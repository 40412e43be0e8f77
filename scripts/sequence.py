"""Runs the sequencer and its batcher: requests in, answers out, batches to L1."""

from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option

from deltaroll.cli import (
    config_option,
    get_view_policy,
    l1_options,
    load_deployment,
    metrics_option,
    omit_configured,
    once_option,
    open_sender,
    plain_errors,
    registry_option,
    serve_monitor,
    unlock,
    watch,
)
from deltaroll.config import Settings
from deltaroll.l1.gateway import Gateway
from deltaroll.l1.wallets import sign_typed_data
from deltaroll.logs import configure_logs
from deltaroll.node.api.context import Delegation
from deltaroll.node.api.limits import make_limits
from deltaroll.node.api.proofs import RECENT, FollowerView
from deltaroll.node.api.server import ApiServer
from deltaroll.node.batcher import Batcher, Posting
from deltaroll.node.follower import Follower
from deltaroll.node.metrics import (
    DiskMetrics,
    HistoryMetrics,
    PostingMetrics,
    SenderMetrics,
    VenueMetrics,
)
from deltaroll.node.monitor import Monitor
from deltaroll.node.operator import Operator
from deltaroll.node.readmodel.database import get_default_url
from deltaroll.node.readmodel.projector import Projector
from deltaroll.node.readmodel.reader import Reader
from deltaroll.node.readmodel.remote import RemoteHistorian
from deltaroll.node.receipts import ReceiptKey, load_receipt_key
from deltaroll.node.sender import PendingError
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.server import HOST, LineServer, SequencerThread
from deltaroll.node.snapshots import Snapshots
from deltaroll.node.store import Store
from deltaroll.node.survey import collect_kinds
from deltaroll.node.watched import Watched
from deltaroll.sdk.receipts import to_receipt_key_document


def listen(thread: SequencerThread, port: int) -> LineServer:
    """Serve lines on a port; a plain error when it is taken."""
    try:
        server = LineServer(thread, port)
    except OSError as problem:
        raise click.ClickException(f"--listen: port {port}: {problem.strerror}") from None
    click.echo(f"listening on {HOST}:{server.port}", err=True)
    return server


def listen_for(venue: VenueMetrics, sequencer: Sequencer) -> None:
    """Have metrics get what the sequencer does."""
    venue.kinds = collect_kinds(sequencer.state)
    sequencer.listen(venue.take)


def name_receipt_key(account: AccountAPI, gateway: Gateway, key: ReceiptKey) -> Delegation:
    """Have the proposer say which key signs receipts for it."""
    document = to_receipt_key_document(
        gateway.provider.chain_id, str(gateway.contracts.inbox.address), key.address
    )
    return Delegation(str(account.address), "0x" + sign_typed_data(account, document).hex())


def serve_api(
    thread: SequencerThread,
    port: int,
    host: str,
    view: FollowerView,
    delegation: Delegation,
    monitor: Monitor,
    settings: Settings,
    history: Reader | None = None,
) -> ApiServer:
    """Serve REST and WebSocket clients; a plain error when the address is not to be had."""
    limits = make_limits(settings.limits)
    try:
        api = ApiServer(thread, port, host, limits, view, delegation, history, monitor)
    except OSError as problem:
        raise click.ClickException(f"--api: {host}:{port}: {problem.strerror}") from None
    click.echo(f"api on http://{host}:{api.port}/v1", err=True)
    return api


def open_history(
    url: str | None, is_served: bool, store: Path, domain: bytes
) -> tuple[Projector, Reader] | tuple[None, None]:
    """Open the history that an option names: what writes it and what reads it."""
    if url == "none" or (url is None and not is_served):
        return None, None
    chosen = get_default_url(store) if url is None else url
    spill = store.with_suffix(".history.spill")
    projector = Projector(lambda: RemoteHistorian(chosen, domain, store), spill)
    return projector, Reader(chosen)


def open_log(path: Path, domain: bytes, history: Projector | None) -> tuple[Store, int]:
    """Open the log; return it with the first entry that the history has not heard of."""
    log = Store(path, domain)
    # A damaged end goes first: the history is asked about what is left.
    log.repair()
    return log, 0 if history is None else history.find_first(log.next_sequence)


@click.command(cls=ConnectedProviderCommand)
@config_option("sequencer")
@account_option()
@registry_option
@once_option
@l1_options
@metrics_option
@click.option(
    "--depth",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Blocks on top of a queue message before it is taken in.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("data") / "sequencer.sqlite",
    show_default=True,
    help="The durable log.",
)
@click.option(
    "--requests",
    type=click.File("rb"),
    help="Requests, one JSON object a line; - for standard input. Answers go to standard output.",
)
@click.option(
    "--listen",
    "port",
    type=click.IntRange(0, 2**16 - 1),
    help=f"Serve requests on this port of {HOST}; 0 takes a free one and says which.",
)
@click.option(
    "--api",
    "api_port",
    type=click.IntRange(0, 2**16 - 1),
    help="Serve REST and WebSocket clients on this port; 0 takes a free one and says which.",
)
@click.option(
    "--host",
    default=HOST,
    show_default=True,
    help="Address that --api listens on; any other than this machine's own wants TLS before it.",
)
@click.option(
    "--receipt-key",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("data") / "receipt.key",
    show_default=True,
    help="File of the key that signs receipts; made where there is none.",
)
@click.option(
    "--history",
    "history_url",
    help="Where history is kept for questions: sqlite:///FILE or postgresql://...; none: nowhere.  "
    "[default: SQLite beside the store, with --api]",
)
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    settings: Settings,
    registry: Path,
    once: bool,
    interval: float,
    store: Path,
    requests: BinaryIO | None,
    port: int | None,
    api_port: int | None,
    host: str,
    receipt_key: Path,
    history_url: str | None,
    depth: int,
    urls: tuple[str, ...],
    max_fee: int | None,
    journal: Path | None,
    ignores_clock: bool,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    """Sequence requests, serve the L1 queue, post batches."""
    port = omit_configured(port, settings.sequencer.listen, once)
    api_port = omit_configured(api_port, settings.sequencer.api, once)
    metrics_port = omit_configured(metrics_port, settings.metrics.port, once)
    if once and (port is not None or api_port is not None):
        option = "--listen" if api_port is None else "--api"
        raise click.UsageError(f"{option}: with --once nobody would be served")
    configure_logs(settings.log.level or "info", "sequencer", settings.log.format)
    _, gateway = load_deployment(provider, registry, urls)
    inbox = gateway.contracts.inbox
    unlock(account)
    if inbox.bondOf(account).amount == 0:
        inbox.bond(sender=account, value=inbox.bondAmount())
    store.parent.mkdir(parents=True, exist_ok=True)
    watched = Watched("sequencer", settings.metrics.max_view_age)
    follower = Follower(
        gateway,
        get_view_policy(provider, ignores_clock),
        alarms=watched.alarms,
        keep=settings.l1.keep_batches,
    )
    with ExitStack() as stack:
        key = None if api_port is None else load_receipt_key(receipt_key)
        snapshots = Snapshots(store.with_suffix(".snapshots"))
        projector, reader = open_history(history_url, api_port is not None, store, gateway.domain)
        if projector is not None and reader is not None:
            stack.callback(projector.close)
            stack.callback(reader.close)

        def open_sequencer() -> Sequencer:
            log, first = open_log(store, gateway.domain, projector)
            return Sequencer(
                log,
                gateway.domain,
                receipt_key=key,
                listener=None if projector is None else projector.listen,
                snapshots=snapshots,
                listen_from=first,
            )

        thread = SequencerThread(open_sequencer)
        stack.callback(thread.close)
        # The batcher has a view of its own of the same file: while L1 takes its time, lines are
        # answered.
        posted = Store(store, gateway.domain)
        stack.callback(posted.close)
        sender = open_sender(gateway, account, journal, max_fee, watched.alarms)
        stack.callback(sender.close)
        batcher = Batcher(posted, follower, sender)

        operator = Operator(thread, batcher, depth)
        view = FollowerView(follower)
        api: ApiServer | None = None

        DiskMetrics(watched.registry, store)
        if projector is not None:
            HistoryMetrics(watched.registry, projector)
        posting, of_sender = PostingMetrics(watched.registry), SenderMetrics(watched.registry)
        watched.monitor.checks["log"] = lambda: thread.problem

        def post_one() -> Posting | None:
            started = monotonic()
            try:
                found = batcher.post() if once else batcher.post(interval)
            except PendingError:
                if once:
                    raise
                return None
            finally:
                of_sender.look(sender)
            if found is not None:
                posting.note_batch(found.receipt, monotonic() - started)
            return found

        def note_chunks() -> None:
            if batcher.posted is not None:
                posting.note_chunks(operator.sealed, batcher.posted)

        def look() -> None:
            with view.lock, posting.seal.time():
                report = operator.prepare()
            watched.look(follower)
            note_chunks()
            since = None if projector is None else projector.first_unsettled
            batches, first = view.get_batches(since)
            if projector is not None:
                projector.note_batches(batches, first)
            if api is not None:
                recent = batches[-RECENT:]
                api.publish_batches(recent, first + len(batches) - len(recent))
            if follower.closing is not None:
                raise click.ClickException("the rollup is frozen: no batch is taken any more")
            if report is not None:
                posting.note_rebase(len(report.reverted))
                click.echo(
                    f"{report.obstacle.value}: sequenced {report.entries} entries again from "
                    f"chunk {report.chunk}, {len(report.reverted)} came out otherwise",
                    err=True,
                )
            if follower.fraud is not None:
                index = follower.fraud.submitted.header.index
                click.echo(f"batch {index} is fraudulent: waiting for its removal", err=True)
                return
            with view.lock:
                while (found := post_one()) is not None:
                    click.echo(
                        f"batch {found.header.index}: {len(found.chunks)} chunks, "
                        f"{found.receipt.gas_used} gas",
                        err=True,
                    )
                    note_chunks()
            note_chunks()

        operator.take_in()
        if port is not None:
            stack.callback(listen(thread, port).close)
        if api_port is not None and key is not None:
            delegation = name_receipt_key(account, gateway, key)
            api = serve_api(
                thread, api_port, host, view, delegation, watched.monitor, settings, reader
            )
            stack.callback(api.close)
        if metrics_port is not None:
            if api is None:
                venue = VenueMetrics(watched.registry)
                thread.call(lambda sequencer: listen_for(venue, sequencer))
            stack.callback(serve_monitor(watched.monitor, metrics_port, metrics_host).close)
        for line in requests or ():
            if line.strip():
                click.echo(thread.answer(line).decode())
        watch(look, once, interval, watched.l1.note_failure)
