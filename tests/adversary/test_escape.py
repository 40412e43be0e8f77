"""No forged witness registers what is not its owner's; and the bench would notice."""

from collections import Counter

import pytest

from tests.adversary import escape
from tests.adversary.campaign import Effort, Ledger
from tests.adversary.catalogue_rig import ALICE, Revert
from tests.adversary.soundness_witness import FORGERS
from tests.contracts.escape_rig import Exodus, Holding, make_state

EFFORT = Effort(1, 20_261)


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Why witnesses were refused."""
    found: Counter[str] = Counter()
    honest = escape.Scene.send

    def send(scene: escape.Scene, witness: bytes) -> escape.Claims:
        try:
            return honest(scene, witness)
        except Revert as problem:
            found[problem.name] += 1
            raise

    monkeypatch.setattr(escape.Scene, "send", send)
    return found


def test_attack__forged_witnesses__register_nothing_wrong(refusals: Counter[str]):
    rows = list(escape.attack(EFFORT))
    assert {row.name for row in rows} == {f"escape: {forgery}" for forgery in FORGERS}
    assert {row.name: row.notes for row in rows if row.notes} == {}
    assert all(row.attempts >= 2 for row in rows)
    assert any(row.worst_gas for row in rows)
    # Forgeries fail where they should: not all at the same check.
    assert {"Witness_WrongRoot", "Witness_BadSiblings", "Witness_WrongLength"} <= set(refusals)


def make_scene() -> escape.Scene:
    state = make_state({1: Holding(ALICE, 100), 2: Holding(ALICE, 50)})
    exodus = Exodus(state)
    exodus.open()
    return escape.Scene(exodus, state, [1, 2], escape.compute_truth(state))  # type: ignore[list-item]


@pytest.mark.parametrize("change", [(ALICE, 101), ("0x" + "99" * 20, 100)])
def test_try_witness__claim_that_is_not_true__goes_through(change: tuple[str, int]):
    """What the contract says is held against what Python says."""
    scene = make_scene()
    owner, amount = change
    scene.truth[1] = (bytes.fromhex(owner[2:]), amount)  # type: ignore[index]
    ledger = Ledger()
    escape.try_witness(ledger, "planted", scene, scene.exodus.witness(1, 2), "here")
    escape.prove(ledger, "planted", scene, scene.exodus.witness(1, 2), "here")
    (row,) = ledger.to_rows()
    assert (row.attempts, row.wrongly_accepted, row.wrongly_refused) == (2, 1, 1)


def test_prove__honest_witness_refused__is_noticed():
    scene = make_scene()
    scene.exodus.escape(1, 2)
    ledger = Ledger()
    escape.prove(ledger, "twice", scene, scene.exodus.witness(1, 2), "here")
    (row,) = ledger.to_rows()
    assert row.wrongly_refused == 1
