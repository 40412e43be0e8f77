"""`sequence --listen` and `liquidate`, in this process: an L1 in memory, real sockets."""

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import ape
import click
import pytest
import structlog
from click.testing import CliRunner
from eth_account.messages import encode_typed_data

from deltaroll.config import Settings
from deltaroll.node.follower import ViewPolicy
from deltaroll.node.readmodel.database import get_default_url
from deltaroll.node.readmodel.reader import FLOWS, Reader, Span, read_batches, read_page
from deltaroll.node.server import HOST, LineServer, SequencerThread
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import hash_leaf
from deltaroll.protocol.tree import compute_root_from_branch
from deltaroll.protocol.types import ZERO_ADDRESS, AccountId, Address, MessageKind, Transfer
from deltaroll.sdk.receipts import recover_proposer
from deltaroll.status import parse_metrics
from tests.api.support import Client, check_receipt
from tests.loading import load_script
from tests.node.distress import ADA, open_distressed
from tests.node.l1 import FakeGateway, FakeInbox, FakeL1, FakeSender, follow
from tests.node.support import (
    CASH,
    DOMAIN,
    OWNERS,
    Venue,
    compute_listing,
    encode_deposit,
    make_signer,
    restart,
)

OPERATOR = make_signer("operator")
CHAIN, INBOX = 1337, "0x" + "11" * 20
"""Of DOMAIN."""


@pytest.fixture(autouse=True)
def keep_logs():
    yield
    structlog.reset_defaults()


@pytest.fixture
def sequence() -> ModuleType:
    return load_script("sequence")


@pytest.fixture
def liquidate() -> ModuleType:
    return load_script("liquidate")


class BondedInbox(FakeInbox):
    def bondOf(self, _: object) -> SimpleNamespace:  # noqa: N802 (the contract's name)
        return SimpleNamespace(amount=1)


def ask(port: int, request: dict[str, Any]) -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(connection.makefile("rb").readline())
    assert isinstance(answer, dict)
    return answer


def write_transfer(nonce: int) -> dict[str, Any]:
    transfer = Transfer(AccountId(1), AccountId(2), 5, nonce)
    signature = "0x" + OWNERS[AccountId(1)].sign_action(DOMAIN, transfer).hex()
    fields = {"sender": 1, "recipient": 2, "amount": 5, "nonce": nonce}
    return {"type": "transfer", **fields, "signature": signature}


@pytest.fixture
def l1() -> FakeL1:
    l1 = FakeL1()
    for body in compute_listing():
        l1.enqueue(MessageKind.CONFIGURE, ZERO_ADDRESS, body)
    for owner in list(OWNERS.values())[:2]:
        l1.enqueue(MessageKind.DEPOSIT, owner.address, encode_deposit(owner.address, 0, CASH))
    return l1


@pytest.fixture
def gateway(l1) -> FakeGateway:
    gateway = FakeGateway(l1)
    gateway.contracts.inbox = BondedInbox(l1)
    gateway.contracts.inbox.address = INBOX
    gateway.provider = SimpleNamespace(chain_id=CHAIN)
    gateway.sender = FakeSender(l1)  # type: ignore[attr-defined]
    return gateway


def run_sequence(
    sequence: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    gateway: FakeGateway,
    path: Path,
    watch: Callable[[Callable[[], None]], None],
    port: int | None = 0,
    api_port: int | None = None,
    metrics_port: int | None = None,
) -> None:
    monkeypatch.setattr(sequence, "load_deployment", lambda *_: (None, gateway))
    monkeypatch.setattr(sequence, "watch", lambda look, *_: watch(look))
    account = SimpleNamespace(address="0x" + OPERATOR.address.hex())
    monkeypatch.setattr(
        sequence,
        "sign_typed_data",
        lambda _, document: OPERATOR.sign(hash_document(document)),
    )
    monkeypatch.setattr(sequence, "get_view_policy", lambda *_: ViewPolicy())
    monkeypatch.setattr(sequence, "open_sender", lambda *_: gateway.sender)
    sequence.cli.callback(
        provider=None,
        account=account,
        settings=Settings(),
        registry=path.parent,
        once=False,
        interval=1.0,
        metrics_port=metrics_port,
        metrics_host=HOST,
        store=path,
        requests=None,
        port=port,
        api_port=api_port,
        host=HOST,
        receipt_key=path.parent / "receipt.key",
        history_url=None,
        depth=0,
        urls=(),
        max_fee=None,
        journal=None,
        ignores_clock=False,
    )


def hash_document(document: dict[str, Any]) -> bytes:
    """What a wallet signs."""
    message = encode_typed_data(full_message=document)
    return keccak(b"\x19" + message.version + message.header + message.body)


def read_port(capsys: pytest.CaptureFixture[str]) -> int:
    found = re.search(r"listening on 127\.0\.0\.1:(\d+)", capsys.readouterr().err)
    assert found is not None
    return int(found[1])


def test_sequence__listen__answers_and_posts(sequence, monkeypatch, capsys, tmp_path, l1, gateway):
    ports: list[int] = []

    def watch(look: Callable[[], None]) -> None:
        ports.append(read_port(capsys))
        assert ask(ports[0], write_transfer(1))["status"] == "done"
        look()
        assert follow(l1).state.accounts[AccountId(1)].cash == CASH - 5
        assert ask(ports[0], write_transfer(2))["status"] == "done"
        look()
        assert follow(l1).state.accounts[AccountId(1)].cash == CASH - 10

    run_sequence(sequence, monkeypatch, gateway, tmp_path / "data" / "log.sqlite", watch)
    with pytest.raises(OSError, match="refused"):
        ask(ports[0], write_transfer(3))
    venue = restart(tmp_path / "data" / "log.sqlite")
    assert venue.state.accounts[AccountId(1)].nonce == 2
    assert follow(l1).fraud is None


def read_metrics(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return parse_metrics(answer.read())


@pytest.mark.parametrize("has_api", [False, True])
def test_sequence__metrics__say_what_is_traded_and_posted(
    sequence, monkeypatch, capsys, tmp_path, l1, gateway, has_api
):
    """
    | who  | does                      | seen                                               |
    |------|---------------------------|----------------------------------------------------|
    | node | starts                    | not ready: the view of L1 is not taken over yet    |
    | node | looks, posts              | ready; a batch, its gas, its distance to finality  |
    | L1   | takes the listing         | nothing waits in the queue                         |
    """

    def watch(look: Callable[[], None]) -> None:
        said = capsys.readouterr().err
        found = re.search(r"metrics on (http://127\.0\.0\.1:\d+)/metrics", said)
        assert found is not None
        urls = [found[1]]
        if has_api:
            api = re.search(r"api on (http://127\.0\.0\.1:\d+)/v1", said)
            assert api is not None
            urls.append(api[1])
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(urls[0] + "/ready", timeout=10)
        look()
        for url in urls:
            figures = read_metrics(url + "/metrics")
            assert figures["deltaroll_batches_posted_total"] == 1
            assert figures["deltaroll_batch{stage=posted}"] == 0
            assert figures["deltaroll_unposted_chunks"] == 0
            assert figures["deltaroll_alarm{alarm=behind}"] == 0
            assert figures["deltaroll_log_sequence"] > 0 or not has_api
            assert figures["deltaroll_log_bytes"] > 0
        look()
        figures = read_metrics(urls[0] + "/metrics")
        assert figures["deltaroll_batch{stage=posted}"] == 1
        assert figures["deltaroll_queue_messages"] == 0
        with urllib.request.urlopen(urls[0] + "/ready", timeout=10) as answer:
            told = json.load(answer)
        assert told["ready"] is True
        assert told["view"]["state_root"] == "0x" + follow(l1).state_root.hex()

    path = tmp_path / "data" / "log.sqlite"
    api_port = 0 if has_api else None
    run_sequence(sequence, monkeypatch, gateway, path, watch, None, api_port, metrics_port=0)


def test_sequence__api__serves_orders_proofs_and_batches(
    sequence, monkeypatch, capsys, tmp_path, l1, gateway
):
    """
    | who    | does                          | outcome                                   |
    | client | watches batches, transfers    | receipt by the key in the file            |
    | node   | posts                         | the batch is told; the leaf proves itself |
    """
    path = tmp_path / "data" / "log.sqlite"

    def fetch(port: int, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return json.load(answer)

    def watch(look: Callable[[], None]) -> None:
        found = re.search(r"api on http://127\.0\.0\.1:(\d+)/v1", capsys.readouterr().err)
        assert found is not None
        port = int(found[1])
        with Client(port) as client:
            known = client.subscribe("batches")["data"]["batches"]
            assert [batch["index"] for batch in known] == []
            done = client.do("submit", request=write_transfer(1))
            status = fetch(port, "/v1/status")
            key = status["receipt_key"]
            named = bytes.fromhex(status["proposer_signature"][2:])
            proposer = recover_proposer(DOMAIN, Address(bytes.fromhex(key[2:])), named)
            assert proposer == OPERATOR.address
            assert status["proposer"] == "0x" + proposer.hex()
            check_receipt(done["receipt"], bytes.fromhex(done["receipt"]["subject"][2:]), key)
            look()
            look()
            told = client.next("batches")["data"]["batches"]
            told += client.next("batches")["data"]["batches"]
            assert {batch["index"] for batch in told} >= {0, 1}
            proof = fetch(port, "/v1/accounts/1/proof")
            account = follow(l1).state.accounts[AccountId(1)]
            assert account.cash == CASH - 5
            check_proof(proof, follow(l1).state_root)
            assert fetch(port, "/v1/accounts/77/proof")["leaf"] == "0x"

    run_sequence(sequence, monkeypatch, gateway, path, watch, port=None, api_port=0)
    reader = Reader(get_default_url(path))
    written = reader.answer(lambda connection: read_page(connection, FLOWS, Span(2)))
    assert [(row.account, row.kind, row.amount) for row in written.rows] == [
        (2, "transfer", "5"),
        (1, "transfer", "-5"),
    ]
    batches = reader.answer(lambda connection: read_batches(connection, Span(9)))
    assert [batch.index for batch in batches.rows] == list(range(len(batches.rows)))[::-1]
    assert len(batches.rows) >= 2
    reader.close()
    assert (path.parent / "receipt.key").stat().st_mode & 0o777 == 0o600


def check_proof(proof: dict[str, Any], root: bytes) -> None:
    """From the answer alone up to the root that L1 has."""

    def read(name: str) -> bytes:
        return bytes.fromhex(proof[name][2:])

    branch = [bytes.fromhex(sibling[2:]) for sibling in proof["branch"]]
    node = compute_root_from_branch(hash_leaf(read("leaf")), proof["account"], branch)
    assert read("globals")[2:34] == node
    assert keccak(read("globals")) == root == read("state_root")


def test_sequence__l1_takes_its_time__lines_are_answered_meanwhile(
    sequence, monkeypatch, capsys, tmp_path, gateway
):
    """Neither a look at L1 nor a batch that waits to be mined keeps a client waiting."""
    asked: list[str] = []

    def watch(look: Callable[[], None]) -> None:
        port = read_port(capsys)

        def ask_now(where: str) -> None:
            assert ask(port, {"type": "account", "account": 1})["cash"] == CASH
            asked.append(where)

        gateway.interfere = ask_now
        gateway.sender.before_return = lambda: ask_now("submit")
        look()
        gateway.interfere = lambda _: None

    run_sequence(sequence, monkeypatch, gateway, tmp_path / "log.sqlite", watch)
    assert {"head", "events", "submit"} <= set(asked)


@pytest.mark.parametrize(("port", "api_port", "option"), [(0, None, "listen"), (None, 0, "api")])
def test_sequence__server_with_once__is_an_error_before_anything(sequence, port, api_port, option):
    with pytest.raises(click.UsageError, match=f"--{option}"):
        sequence.cli.callback(
            provider=None,
            account=None,
            settings=Settings(),
            metrics_port=None,
            metrics_host=HOST,
            registry=None,
            once=True,
            interval=1.0,
            store=None,
            requests=None,
            port=port,
            api_port=api_port,
            host=HOST,
            receipt_key=None,
            history_url=None,
            depth=0,
            urls=(),
            max_fee=None,
            journal=None,
            ignores_clock=False,
        )


def test_sequence__port_taken__is_one_line_and_leaves_nothing_open(
    sequence, monkeypatch, tmp_path, gateway
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(click.ClickException, match=f"--listen: port {port}: Address already"):
            run_sequence(
                sequence,
                monkeypatch,
                gateway,
                tmp_path / "log.sqlite",
                lambda look: None,
                port=port,
            )
    # The first messages were taken in and are durable.
    assert restart(tmp_path / "log.sqlite").state.globals.account_count == 2


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_sequence__no_port__is_refused(sequence, port):
    result = CliRunner().invoke(sequence.cli, ["--account", "TEST::1", "--listen", port])
    assert result.exit_code == 2
    assert "--listen" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Missing option '--connect'"),
        (["--connect", "0"], "'--connect': 0 is not in the range 1<=x<=65535"),
        (["--connect", "70000"], "'--connect': 70000 is not in the range"),
        (["--connect", "5"], "Missing option '--for'"),
        (["--connect", "5", "--for", "0"], "'--for': 0 is not in the range 1<=x<=16777215"),
        (["--connect", "5", "--for", "1", "--min-reward", "1000001"], "'--min-reward': 1000001"),
        (["--connect", "5", "--for", "1", "--max-share", "0"], "'--max-share': 0 is not in"),
        (["--connect", "5", "--for", "1", "--buffer", "-1"], "'--buffer': -1 is not in"),
        (["--connect", "5", "--for", "1", "--skip", "-1"], "'--skip': -1 is not in"),
        (["--connect", "5", "--for", "1", "--log", "loud"], "'--log': 'loud' is not one of"),
        (["--connect", "5", "--for", "1", "--account", "nobody"], "'nobody' not found"),
    ],
)
def test_liquidate__bad_option__is_named(liquidate, arguments, complaint):
    # Without an account Ape asks for one, for ever.
    account = [] if "--account" in arguments else ["--account", "TEST::1"]
    result = CliRunner().invoke(liquidate.cli, [*account, *arguments])
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.split())


class Desk:
    """A distressed venue behind a port; account 6 is of Ape's test account 1."""

    def __init__(self) -> None:
        self.wallet = ape.accounts.test_accounts[1]
        venues: list[Venue] = []

        def open_sequencer() -> Any:
            venue = open_distressed()
            venue.deposit(Address(bytes.fromhex(self.wallet.address[2:])), 0, CASH)
            venues.append(venue)
            return venue.sequencer

        self.thread = SequencerThread(open_sequencer)
        self.server = LineServer(self.thread, 0)
        self.venue = venues[0]

    def close(self) -> None:
        self.server.close()
        self.thread.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def run_liquidate(
    liquidate: ModuleType, monkeypatch: pytest.MonkeyPatch, desk: Desk, **changes: Any
) -> None:
    inbox = SimpleNamespace(address=INBOX)
    gateway = SimpleNamespace(
        provider=SimpleNamespace(chain_id=CHAIN), contracts=SimpleNamespace(inbox=inbox)
    )
    monkeypatch.setattr(liquidate, "load_deployment", lambda *_: (None, gateway))
    monkeypatch.setattr(liquidate, "watch", lambda look, once, interval: look())
    options = {
        "provider": None,
        "account": desk.wallet,
        "registry": None,
        "once": True,
        "interval": 1.0,
        "port": desk.server.port,
        "rollup_account": 6,
        "min_reward": 20_000,
        "max_share": 100_000,
        "buffer": 100_000,
        "skip": (),
        "level": "info",
    }
    liquidate.cli.callback(**options | changes)


def test_liquidate__once__takes_over_and_sums_up(liquidate, monkeypatch, capsys, desk):
    run_liquidate(liquidate, monkeypatch, desk)
    said = capsys.readouterr()
    assert re.fullmatch(
        r"looks 1, accounts in distress 1, pokes 0, bids 1, taken 1, refused 0, "
        r"reward 0\.\d*[1-9]\d*\n",
        said.out,
    )
    assert json.loads(said.err.splitlines()[-1])["event"] == "taken"
    assert desk.venue.state.accounts[AccountId(6)].positions[0].size == 90


def test_liquidate__skipped__leaves_it(liquidate, monkeypatch, capsys, desk):
    run_liquidate(liquidate, monkeypatch, desk, skip=(ADA,))
    assert "accounts in distress 1, pokes 0, bids 0, taken 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("account", "complaint"),
    [(1, "is not the owner of account 1"), (77, "account: no account 77")],
)
def test_liquidate__not_its_account__is_one_line(
    liquidate, monkeypatch, capsys, desk, account, complaint
):
    with pytest.raises(click.ClickException, match=complaint):
        run_liquidate(liquidate, monkeypatch, desk, rollup_account=account)
    assert capsys.readouterr().out.startswith("looks 1, ")


def test_liquidate__nobody_listens__is_one_line(liquidate, monkeypatch, desk):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(click.ClickException, match=f"--connect: port {port}: .*refused"):
        run_liquidate(liquidate, monkeypatch, desk, port=port)
