"""Nodes of L1: one that answers is enough, and none is believed because it answers.

A node is whatever has `make_request`, an Ape provider among them. What they say is checked against
hashes where it is read (`gateway.py`); here it is only about getting an answer at all.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from ape.exceptions import ApeException
from web3 import HTTPProvider
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

REQUEST_SECONDS = 15.0
"""A node that takes longer for one answer has failed."""


class L1Error(Exception):
    """L1 gave no usable answer: unreachable, or in contradiction with itself."""


class Node(Protocol):
    """A JSON-RPC endpoint."""

    def make_request(self, rpc: str, parameters: Iterable[Any] | None = None) -> Any:
        """Return the result; any error of Ape, of web3 or of the connection when there is none."""


class HttpNode:
    """A node by its URL, without retries of its own: who asks decides when to ask again."""

    def __init__(self, url: str, timeout: float = REQUEST_SECONDS) -> None:
        self._provider = HTTPProvider(
            url, request_kwargs={"timeout": timeout}, exception_retry_configuration=None
        )

    def make_request(self, rpc: str, parameters: Iterable[Any] | None = None) -> Any:
        """Return the result of a request.

        Raises
        ------
        L1Error
            When the node answers with an error, or with something that is no answer.
        OSError
            When it cannot be reached, or is too slow.
        """
        try:
            answer = self._provider.make_request(RPCEndpoint(rpc), list(parameters or ()))
        except (ValueError, TypeError, KeyError) as problem:
            raise L1Error(f"L1: {rpc}: no JSON-RPC answer: {problem}") from problem
        if not isinstance(answer, dict) or ("error" not in answer and "result" not in answer):
            raise L1Error(f"L1: {rpc}: no JSON-RPC answer")
        if (refusal := answer.get("error")) is not None:
            text = json.dumps(refusal) if isinstance(refusal, dict) else str(refusal)
            raise L1Error(f"L1: {rpc}: {text}")
        return answer["result"]


def request(node: Node, method: str, parameters: list[Any]) -> Any:
    """Return a node's raw answer.

    Raises
    ------
    L1Error
        When it does not answer, or answers with an error.
    """
    try:
        return node.make_request(method, parameters)
    except (ApeException, Web3Exception, OSError) as problem:
        # Every error of an HTTP connection is an OSError.
        raise L1Error(f"L1: {method}: {problem}") from problem


class NodePool:
    """Several nodes of one chain; reads go to the one that answered last."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        if not nodes:
            raise ValueError("nodes: none")
        self.nodes = tuple(nodes)
        self._current = 0

    def make_request(self, rpc: str, parameters: Iterable[Any] | None = None) -> Any:
        """Return what `request` does: a pool is a node."""
        return self.request(rpc, list(parameters or ()))

    def request(self, method: str, parameters: list[Any]) -> Any:
        """Return an answer of the first node that has one.

        Raises
        ------
        L1Error
            What the last of them said, when none has.
        """
        problem: L1Error | None = None
        for place in self._order():
            try:
                answer = request(self.nodes[place], method, parameters)
            except L1Error as refusal:
                problem = refusal
            else:
                self._current = place
                return answer
        assert problem is not None
        raise problem

    def turn(self) -> None:
        """Ask the next node from now on: what this one says does not fit together."""
        self._current = (self._current + 1) % len(self.nodes)

    def request_each(self, method: str, parameters: list[Any]) -> list[Any]:
        """Return the answers of all nodes, an L1Error in the place of one that has none."""
        answers: list[Any] = []
        for node in self.nodes:
            try:
                answers.append(request(node, method, parameters))
            except L1Error as problem:
                answers.append(problem)
        return answers

    def _order(self) -> list[int]:
        count = len(self.nodes)
        return [(self._current + turn) % count for turn in range(count)]
