"""Handing a signed withdrawal over: what is sent, and what a refusal means."""

import json
from typing import Any, ClassVar

import pytest

from deltaroll.leave import channels
from deltaroll.leave.channels import FileChannel, LineChannel
from deltaroll.leave.leaver import LeaveError
from deltaroll.node.liquidator import RefusedError
from deltaroll.node.requests import Answer, WithdrawRequest, decode_request, to_action
from deltaroll.protocol.types import AccountId, Withdraw
from tests.node.support import DOMAIN, OWNERS

ADA = AccountId(1)
OWNER = OWNERS[ADA]
WITHDRAW = Withdraw(ADA, OWNER.address, 5, 3)


class Wallet:
    def sign_action(self, action: Withdraw) -> bytes:
        return OWNER.sign_action(DOMAIN, action)


@pytest.fixture
def client(monkeypatch):
    """A server's answer to the next request."""

    class Client:
        asked: ClassVar[list[Any]] = []
        problem: Exception | None = None

        def __init__(self, port: int) -> None:
            assert port == 7070

        def ask(self, request: object, answer_type: type) -> Answer:
            self.asked.append(request)
            if Client.problem is not None:
                raise Client.problem
            return Answer(sequence=1, status="done")

        def close(self) -> None:
            pass

    monkeypatch.setattr(channels, "LineClient", Client)
    return Client


def test_line__taken_now_or_before__is_handed(client):
    LineChannel(7070, Wallet()).hand(WITHDRAW)
    client.problem = RefusedError("refused: ACTION_NONCE", "ACTION_NONCE")
    LineChannel(7070, Wallet()).hand(WITHDRAW)
    assert client.asked[-1] == client.asked[-2]
    request = client.asked[-1]
    assert isinstance(request, WithdrawRequest)
    assert to_action(request) == WITHDRAW
    assert request.signature == "0x" + OWNER.sign_action(DOMAIN, WITHDRAW).hex()


def test_line__refused_or_dead__says_so(client):
    client.problem = RefusedError("refused by the protocol: MARGIN", "MARGIN")
    with pytest.raises(LeaveError, match=r"the sequencer refuses the withdrawal: .*MARGIN"):
        LineChannel(7070, Wallet()).hand(WITHDRAW)
    client.problem = ConnectionRefusedError("nobody")
    with pytest.raises(LeaveError, match="the sequencer does not answer"):
        LineChannel(7070, Wallet()).hand(WITHDRAW)


def test_file__handed_twice__has_the_same_line_twice(tmp_path):
    path = tmp_path / "requests.jsonl"
    for _ in range(2):
        FileChannel(path, Wallet()).hand(WITHDRAW)
    first, second = path.read_bytes().splitlines()
    assert first == second
    assert json.loads(first)["type"] == "withdraw"
    request = decode_request(first)
    assert isinstance(request, WithdrawRequest)
    assert to_action(request) == WITHDRAW
    with pytest.raises(LeaveError, match="--requests: "):
        FileChannel(tmp_path / "no" / "folder", Wallet()).hand(WITHDRAW)
