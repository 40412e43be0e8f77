"""`follow` and `challenge` with metrics, in this process: an L1 in memory, real sockets."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import structlog

from deltaroll.config import Settings
from deltaroll.l1.gateway import L1Error
from deltaroll.node.challenger import ChallengeError
from deltaroll.node.follower import ViewPolicy
from deltaroll.node.server import HOST
from deltaroll.status import fetch, parse_metrics
from tests.loading import load_script
from tests.node.l1 import UNREACHABLE, FakeGateway, FakeL1, FakeSender
from tests.node.test_follower import deposit, post

Watch = Callable[[Callable[[], None], Callable[[], None]], None]


@pytest.fixture(autouse=True)
def keep_logs():
    yield
    structlog.reset_defaults()


@pytest.fixture
def l1() -> FakeL1:
    l1 = FakeL1()
    deposit(l1)
    l1.vault = int.from_bytes(l1.queue[-1].message.body[24:40], "big")
    post(l1)
    return l1


@pytest.fixture
def gateway(l1) -> FakeGateway:
    return FakeGateway(l1)


def run(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    gateway: FakeGateway,
    watch: Watch,
    **more: Any,
) -> None:
    monkeypatch.setattr(script, "load_deployment", lambda *_: (SimpleNamespace(), gateway))
    monkeypatch.setattr(script, "watch", lambda look, once, interval, fail: watch(look, fail))
    script.cli.callback(
        provider=None,
        settings=Settings(),
        registry=Path(),
        once=False,
        interval=1.0,
        metrics_port=0,
        metrics_host=HOST,
        **more,
    )


def read(capsys: pytest.CaptureFixture[str]) -> Callable[[], dict[str, float]]:
    found = re.search(r"metrics on (http://127\.0\.0\.1:\d+)/metrics", capsys.readouterr().err)
    assert found is not None
    return lambda: (
        parse_metrics(fetch(found[1] + "/metrics")[1])
        | {"ready": json.loads(fetch(found[1] + "/ready")[1])["ready"]}
    )


def test_follow__metrics__say_what_it_sees(monkeypatch, capsys, l1, gateway):
    """A batch; then a unit is gone from the vault; then L1 is silent."""

    def watch(look: Callable[[], None], fail: Callable[[], None]) -> None:
        tell = read(capsys)
        assert not tell()["ready"]
        look()
        figures = tell()
        assert figures["deltaroll_batch{stage=posted}"] == 1
        assert figures["deltaroll_money_conserved"] == 1
        assert figures["ready"]
        l1.vault -= 1
        l1.mine()
        look()
        assert tell()["deltaroll_money_conserved"] == 0

        def interfere(_: str) -> None:
            raise UNREACHABLE

        gateway.interfere = interfere
        with pytest.raises(L1Error):
            look()
        fail()
        assert tell()["deltaroll_l1_looks_total{outcome=failed}"] == 1

    run(load_script("follow"), monkeypatch, gateway, watch)


def test_challenge__metrics__say_what_it_does(monkeypatch, capsys, l1, gateway):
    """
    | L1             | state                                        |
    |----------------|----------------------------------------------|
    | honest         | watching                                     |
    | a lie          | waiting, until it is two blocks deep         |
    | deep           | proving: here the proof is said to fail      |
    | silent         | behind                                       |
    """
    script = load_script("challenge")
    sender = FakeSender(l1)
    for name, value in {
        "open_sender": lambda *_: sender,
        "get_view_policy": lambda *_: ViewPolicy(),
        "unlock": lambda account: account,
        "load_project": lambda: None,
        "open_keeper": lambda *_: None,
    }.items():
        monkeypatch.setattr(script, name, value)

    def watch(look: Callable[[], None], fail: Callable[[], None]) -> None:
        tell = read(capsys)

        def find() -> str:
            figures = tell()
            on = [key for key, value in figures.items() if "challenger_state" in key and value]
            (state,) = re.findall(r"state=(\w+)", on[0])
            return str(state)

        assert find() == "starting"
        look()
        assert find() == "watching"
        post(l1, spoil=True)
        look()
        assert find() == "waiting"
        assert tell()["deltaroll_fraud"] == 1
        l1.mine()
        l1.mine()

        def refuse(*_: object) -> None:
            raise ChallengeError("the proof reverts")

        monkeypatch.setattr(script.Challenger, "challenge", refuse)
        with pytest.raises(ChallengeError):
            look()
        assert find() == "failed"

        def interfere(_: str) -> None:
            raise UNREACHABLE

        gateway.interfere = interfere
        with pytest.raises(L1Error):
            look()
        fail()
        assert find() == "behind"

    run(
        script,
        monkeypatch,
        gateway,
        watch,
        account=SimpleNamespace(),
        confirmations=2,
        urls=(),
        max_fee=None,
        journal=None,
        ignores_clock=False,
    )
