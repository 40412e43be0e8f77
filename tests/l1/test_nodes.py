"""Several nodes: one that answers is enough, and every kind of silence is one kind of error."""

import socket
from typing import Any

import pytest

from deltaroll.l1.nodes import HttpNode, L1Error, NodePool, request
from tests.faults.proxy import Proxy, RpcError, dead


class Table:
    """A node that has one answer for everything."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def make_request(self, rpc: str, parameters: Any = None) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_pool__without_nodes__is_an_error():
    with pytest.raises(ValueError, match="none"):
        NodePool([])


def test_pool__first_fails__stays_with_the_one_that_answers():
    first, second = Table(OSError("gone")), Table(7)
    pool = NodePool([first, second])
    assert [pool.request("x", []) for _ in range(3)] == [7, 7, 7]
    assert (first.asked, second.asked) == (1, 3)
    pool.turn()
    first.answer = 8
    assert pool.request("x", []) == 8


def test_pool__all_fail__says_what_the_last_one_said():
    pool = NodePool([Table(OSError("gone")), Table(L1Error("busy"))])
    with pytest.raises(L1Error, match="busy"):
        pool.request("x", [])


def test_pool__each__has_answers_and_errors_in_place():
    first, second = NodePool([Table(1), Table(OSError("gone"))]).request_each("x", [])
    assert first == 1
    assert isinstance(second, L1Error)


@pytest.fixture
def proxy():
    proxy = Proxy("http://127.0.0.1:1")
    yield proxy
    proxy.close()


def refuse(*_: Any) -> Any:
    raise RpcError("execution reverted: 0x12345678")


@pytest.mark.parametrize(("rule", "complaint"), [(dead, "x"), (refuse, "reverted: 0x12345678")])
def test_http_node__hangs_up_or_refuses__is_an_l1_error(proxy, rule, complaint):
    proxy.rule = rule
    with pytest.raises(L1Error, match=complaint):
        request(HttpNode(proxy.url), "x", [])


def test_http_node__answers__is_the_result(proxy):
    proxy.rule = lambda method, parameters, _: [method, *parameters]
    assert request(HttpNode(proxy.url), "x", [1]) == ["x", 1]
    proxy.rule = lambda *_: None
    assert request(HttpNode(proxy.url), "x", []) is None


def test_http_node__nobody_listens__is_an_l1_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(L1Error, match="x"):
        request(HttpNode(f"http://127.0.0.1:{port}", timeout=1), "x", [])
