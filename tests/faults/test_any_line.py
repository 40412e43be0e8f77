"""Killed between any two of its requests to L1, and started again: every chunk is there once.

The requests of an undisturbed posting are noted first; then the operator is killed before each of
them in turn, and after each that L1 acts upon, and started again from what is on disk.
"""

from typing import Any

import pytest

from deltaroll.l1.nodes import Node
from tests.faults.proxy import SEND
from tests.faults.rig import Rig


class KilledError(BaseException):
    """The process is gone: nothing catches this."""


class Assassin:
    """A node whose client dies at its `at`-th request, before or after L1 has had it."""

    def __init__(self, node: Node, at: int = -1, after: bool = False) -> None:
        self.node = node
        self.at = at
        self.after = after
        self.asked: list[str] = []

    def make_request(self, rpc: str, parameters: Any = None) -> Any:
        self.asked.append(rpc)
        is_last = len(self.asked) == self.at
        if is_last and not self.after:
            raise KilledError
        answer = self.node.make_request(rpc, parameters)
        if is_last:
            raise KilledError
        return answer


def watch(rig: Rig, at: int = -1, after: bool = False) -> Assassin:
    nodes = rig.node.gateway.nodes
    assassin = Assassin(nodes.nodes[0], at, after)
    nodes.nodes = (assassin,)
    return assassin


def post(rig: Rig) -> None:
    """From what is sealed to a batch that the operator knows of."""
    for _ in range(4):
        rig.node.look()
        rig.chain.mine()


def find_points(rig: Rig) -> list[tuple[int, bool]]:
    """Return where a posting can end: the number of a request, and whether L1 has had it."""
    snapshot = rig.chain("evm_snapshot")
    rig.node.pay()
    assassin = watch(rig)
    rig.node.look()
    rig.chain.mine()
    rig.node.look()
    assert rig.chain("evm_revert", snapshot)
    rig.restart()
    rig.check()
    asked = list(enumerate(assassin.asked, 1))
    return [(at, False) for at, _ in asked] + [(at, True) for at, rpc in asked if rpc == SEND]


def test_kill__at_every_request__exactly_one_batch(rig: Rig) -> None:
    rig.proxy.url = rig.chain.url
    rig.restart()
    points = find_points(rig)
    assert len(points) > 20
    assert sum(after for _, after in points) == 1
    batches = rig.count_batches()
    for batch, (at, after) in enumerate(points, batches + 1):
        rig.node.pay()
        watch(rig, at, after)
        with pytest.raises(KilledError):
            post(rig)
        rig.restart()
        rig.turn(2)
        assert rig.count_batches() == batch, (at, after)
    rig.check()
    assert rig.count_batches() == batches + len(points)
