"""Killed between any two of its requests to L1, and started again: every chunk is there once.

The count of requests of an undisturbed posting is taken first; then the operator is killed at each
of them in turn, before and after L1 has had it, and started again from what is on disk.
"""

from collections.abc import Callable
from typing import Any

import pytest

from deltaroll.l1.nodes import Node
from tests.faults.rig import Rig


class KilledError(BaseException):
    """The process is gone: nothing catches this."""


class Assassin:
    """A node whose client dies at a request, before or after it has reached L1."""

    def __init__(self, node: Node, at: int, after: bool) -> None:
        self.node = node
        self.left = at
        self.after = after
        self.count = 0

    def make_request(self, rpc: str, parameters: Any = None) -> Any:
        self.count += 1
        self.left -= 1
        if self.left == 0 and not self.after:
            raise KilledError
        answer = self.node.make_request(rpc, parameters)
        if self.left == 0:
            raise KilledError
        return answer


def watch(rig: Rig, at: int = -1, after: bool = False) -> Assassin:
    nodes = rig.node.gateway.nodes
    assassin = Assassin(nodes.nodes[0], at, after)
    nodes.nodes = (assassin,)
    return assassin


def post(rig: Rig) -> None:
    """A payment from the request to a batch that is deep in the chain."""
    rig.node.look()
    rig.chain.mine()
    rig.node.look()


def count_requests(rig: Rig, run: Callable[[Rig], None]) -> int:
    snapshot = rig.chain("evm_snapshot")
    rig.node.pay()
    assassin = watch(rig)
    run(rig)
    assert rig.chain("evm_revert", snapshot)
    rig.chain("anvil_dropAllTransactions")
    rig.restart()
    return assassin.count


@pytest.mark.parametrize("after", [False, True])
def test_kill__at_every_request__exactly_one_batch(rig: Rig, after: bool) -> None:
    total = count_requests(rig, post)
    assert total > 20
    rig.check()
    batches = rig.count_batches()
    for at in range(1, total + 1):
        rig.node.pay()
        watch(rig, at, after)
        with pytest.raises(KilledError):
            post(rig)
            # What is left of the requests comes with the next look.
            rig.chain.mine()
            post(rig)
        rig.restart()
        rig.turn(2)
        batches += 1
        assert rig.count_batches() == batches, at
    rig.check()
    assert rig.count_batches() == batches
