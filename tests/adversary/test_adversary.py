"""The table of `make adversary`."""

import json
from pathlib import Path

import pytest

from tests.adversary import run
from tests.adversary.campaign import Effort, Ledger, Row


def make_ledger() -> Ledger:
    ledger = Ledger()
    ledger.count("lies", 5)
    ledger.accept("lies", "seed 3", 9)
    ledger.refuse("proofs", "seed 4", 7)
    return ledger


def test_to_rows__attempts_of_two_classes__counts_gas_and_notes() -> None:
    assert make_ledger().to_rows() == [
        Row("lies", 2, 1, 0, 9, ("seed 3",)),
        Row("proofs", 1, 0, 1, 7, ("seed 4",)),
    ]


def test_write_result__rows__list_of_the_named_keys(tmp_path: Path) -> None:
    path = tmp_path / "build" / "adversary.json"
    run.write_result(make_ledger().to_rows(), path)
    assert json.loads(path.read_text(encoding="utf-8"))[0] == {
        "class": "lies",
        "attempts": 2,
        "wrongly_accepted": 1,
        "wrongly_refused": 0,
        "worst_gas": 9,
    }


def test_is_clean__anything_wrong_or_nothing_tried__is_not() -> None:
    assert run.is_clean([Row("lies", 1, 0, 0, 0)])
    assert not run.is_clean([])
    assert not run.is_clean([Row("lies", 0, 0, 0, 0)])
    assert not run.is_clean([Row("lies", 1, 1, 0, 0)])
    assert not run.is_clean([Row("lies", 1, 0, 1, 0)])


@pytest.mark.parametrize("name", run.ATTACKS)
def test_load__every_attack__is_there(name: str) -> None:
    assert callable(run.load(name))


def test_run_attack__unknown_name__fails() -> None:
    with pytest.raises(ModuleNotFoundError):
        run.run_attack("nothing", Effort(1, 1))
