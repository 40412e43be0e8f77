"""How every history may end: nobody proposes any more, and everybody leaves with what is theirs."""

from __future__ import annotations

from random import Random

from deltaroll.node.escape import FreezeCall, find_escapable
from deltaroll.node.exits import ExitError
from deltaroll.node.follower import Follower
from tests.adversary.machine_world import BreachError, Sent, World, sum_deposits
from tests.scenarios.leaving import Leaver
from tests.scenarios.support import BOB

ENDINGS = "l1: endings"


class Witness(Leaver):
    """A stranger who has followed the history."""

    def __init__(self, world: World) -> None:
        super().__init__(world.venue, world.stage.rival)
        self.world = world

    @property
    def follower(self) -> Follower:
        self.world.lab.sync()
        return self.world.lab.follower

    def expect_too_early(self, call: FreezeCall) -> None:
        """The node's clock for calls may be a little off."""


def leave(world: World, random: Random) -> None:
    """Freeze; some prove in time, some late; all that is owed is paid, and nothing more.

    Nothing that is not true may be the last word on L1.

    Raises
    ------
    BreachError
        When somebody gets another amount than the Python twin says, or the vault does not hold
        exactly what nobody was owed.
    """
    who = world.venue.owners[BOB]
    world.message(Sent(world.lab.contracts.bridge.cancelAll, (BOB,), who, 0))
    someone = Witness(world)
    try:
        end_history(world, random, someone)
    except AssertionError as problem:
        raise BreachError(ENDINGS, f"leaving: {problem}") from problem
    world.ledger.count(ENDINGS)


def end_history(world: World, random: Random, someone: Witness) -> None:
    """Go the whole way."""
    someone.freeze()
    someone.open()
    state = someone.follower.state
    opened = someone.closing.opened
    assert opened is not None
    assert opened.final_root == world.chain[-1].header.post_root
    assert opened.available == state.globals.deposited - state.globals.withdrawn
    before = someone.vault()
    assert before == world.books.vault
    everybody = find_escapable(state)
    in_time = [account for account in everybody if random.random() < 0.7]
    payouts = someone.settle_all(in_time)
    assert set(payouts) <= set(everybody)
    refunded = someone.refund()
    assert refunded == sum_deposits(world.queue[state.globals.queue_index :])
    exits = 0
    for recipient in sorted({leaf.recipient for leaf in state.exits}):
        exits += claim_exits(someone, recipient)
    assert exits == state.globals.withdrawn - world.books.claimed
    assert sum(payouts.values()) <= opened.available
    assert someone.vault() == before - sum(payouts.values()) - refunded - exits
    assert someone.vault() == opened.available - sum(payouts.values())


def claim_exits(someone: Witness, recipient: bytes) -> int:
    """Claim all exits of somebody; return their sum."""
    total = 0
    while True:
        try:
            total += someone.claim_exit(recipient)  # type: ignore[arg-type]
        except ExitError:
            return total
