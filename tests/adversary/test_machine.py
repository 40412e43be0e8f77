"""The L1 state machine finds nothing, and would find what there was to find."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from deltaroll.node.follower import Follower
from deltaroll.protocol.types import Address
from tests.adversary.campaign import Effort, Ledger
from tests.adversary.machine import (
    SUFFIX,
    L1Machine,
    compare_suffixes,
    play,
    run_machine,
)
from tests.adversary.machine_actors import (
    LOOT,
    Exhibit,
    draft,
    forge_loot,
    forge_root,
    prove_falsely,
)
from tests.adversary.machine_ending import ENDINGS
from tests.adversary.machine_stage import Stage, open_stage
from tests.adversary.machine_world import (
    CLAIMS,
    FALSE,
    HONEST,
    LIES,
    REORGS,
    BreachError,
    World,
    to_claim,
)
from tests.scenarios.support import WINDOW


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with open_stage() as stage:
        yield stage


@pytest.fixture
def world(stage: Stage) -> Iterator[World]:
    world = World(stage, Ledger())
    yield world
    world.close()


def test_play__scale_1__nothing_wrong(stage: Stage) -> None:
    rows = {row.name: row for row in play(stage, Effort(1, 1))}
    assert set(rows) == {LIES, FALSE, HONEST, REORGS, CLAIMS, SUFFIX, ENDINGS}
    for row in rows.values():
        assert (row.wrongly_accepted, row.wrongly_refused, row.notes) == (0, 0, ())
        assert row.attempts > 0


# What it would find


class Gullible(L1Machine):
    """Lies are held to be honest batches."""

    def __init__(self) -> None:
        super().__init__()
        world = self.world
        post = world.post_lie

        def believe(*arguments: object) -> None:
            post(*arguments)  # type: ignore[arg-type]
            world.labels[world.chain[-1].header_hash] = None

        world.post_lie = believe  # type: ignore[assignment,method-assign]


def test_run_machine__lie_taken_for_honest__noted(stage: Stage) -> None:
    ledger = Ledger()
    run_machine(Gullible, stage, ledger, 7, 30, 40)
    (found,) = [one for one in ledger.to_rows() if one.name == HONEST]
    assert (found.wrongly_accepted, found.wrongly_refused) == (0, 1)
    (note,) = found.notes
    assert "seed 7" in note
    assert "lie: batch" in note


def test_check__honest_batch_taken_for_a_lie__breach(world: World) -> None:
    # As when the nodes take a lie for honest.
    forgery = forge_root(world.lab, Random(0), 0, 0)
    world.post_draft(Random(0), world.venue.operator)
    world.labels[world.chain[-1].header_hash] = forgery
    with pytest.raises(BreachError, match="derived") as caught:
        world.check()
    assert (caught.value.row, caught.value.is_refusal) == (LIES, False)
    with pytest.raises(BreachError, match="was not seen"):
        world.challenge()


def test_claim__loot_of_a_settled_lie__paid(world: World) -> None:
    # The claims that the machine sees refused fail for nothing but the challenger.
    thief = Address(bytes.fromhex(world.stage.rival.address[2:]))
    honest = draft(world.lab, Random(0), 0, 0)
    world.post_lie(Random(0), world.venue.operator, forge_loot(world.lab, honest, thief))
    ((header, loot),) = world.loot
    arguments = to_claim(header, loot.globals, loot.index, thief, LOOT, loot.branch)
    claim = world.lab.contracts.bridge.claimExit
    rival = world.stage.rival
    assert world.venue.simulate(claim, *arguments, sender=rival) == "Bridge_NotSettled"
    world.advance(WINDOW + 1)
    world.send(CLAIMS, claim, *arguments, sender=rival)
    with pytest.raises(BreachError, match="has settled"):
        world.check()
    with pytest.raises(BreachError, match="vault"):
        world.check_money()


def test_prove_falsely__true_proof__goes_through(world: World) -> None:
    world.post_lie(Random(0), world.venue.operator, forge_root(world.lab, Random(0), 0, 0))
    watcher = Follower(world.venue.gateway)
    watcher.poll()
    assert watcher.fraud is not None
    exhibit = Exhibit(watcher.fraud, b"")
    rival = world.stage.rival
    results = [prove_falsely(world.lab, Random(n), exhibit, exhibit, rival) for n in range(10)]
    assert "" in results
    assert set(results) != {""}


def test_check__books_differ__breach(world: World) -> None:
    world.check()
    books = world.books
    operator = world.venue.operator.address
    for wrong in (
        replace(books, vault=books.vault - 1),
        replace(books, claimed=-1),
        replace(books, burnt=1),
        books.take_bond(operator),
        books.slash(operator, operator, 0),
    ):
        world.books, world.checked = wrong, None
        with pytest.raises(BreachError):
            world.check()
    world.books, world.checked = books, None
    world.check()


def test_compare_suffixes__gas_grows__noted() -> None:
    ledger = Ledger()
    compare_suffixes(ledger, {1: 200_000, 10: 209_000, 40: 211_000})
    (row,) = ledger.to_rows()
    assert (row.attempts, row.wrongly_accepted, row.worst_gas) == (3, 1, 211_000)
