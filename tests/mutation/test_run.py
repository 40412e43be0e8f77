"""What a run makes of who survives, and the list of those that may."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.mutation import run
from tests.mutation.python_mutants import generate
from tests.mutation.run import PYTHON, SIDES, Choice, read_explained, read_open, tell, write_results

PLANTED = [("bits", "a"), ("bits", "b"), ("leaf", "c"), ("leaf", "d"), ("leaf", "e")]


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A has a reason to survive, d is open."""
    monkeypatch.setattr(run, "read_explained", lambda side: frozenset("ax"))
    monkeypatch.setattr(run, "read_open", lambda side: frozenset("d"))


def test_tell__survivors_of_every_sort__are_told_apart() -> None:
    result = tell(PYTHON, PLANTED, [("bits", "a"), ("leaf", "c"), ("leaf", "d")], True)
    assert (result.planted["bits"], result.planted["leaf"]) == (2, 3)
    assert (result.explained.total(), result.open.total()) == (1, 1)
    assert (result.new, result.noticed) == (["c"], [])
    assert result.describe() == (
        "5 mutants, 2 killed (40.0 % of all), 1 equivalent (50.0 % of the others killed), "
        "1 open, 1 not listed"
    )


@pytest.mark.parametrize(("asked_all", "noticed"), [(True, ["a"]), (False, [])])
def test_tell__mutant_with_a_reason_is_killed__reason_is_wrong(
    asked_all: bool, noticed: list[str]
) -> None:
    """Where the unit tests were not asked about it, nothing is said."""
    assert tell(PYTHON, PLANTED, [("leaf", "d")], asked_all).noticed == noticed


def test_choice__sample_that_is_kept__takes_no_reason_on_trust() -> None:
    assert Choice().skip(PYTHON) == frozenset()
    assert Choice(count=5, is_sampled=True).skip(PYTHON) == frozenset("ax")


def test_survivors__python__are_mutants_that_there_are() -> None:
    keys = {mutant.key for mutant in generate()}
    assert read_explained(PYTHON) <= keys
    assert read_open(PYTHON) <= keys


def test_survivors__both_sides__none_is_open() -> None:
    assert not any(read_open(side) for side in SIDES)


def test_write_results__one_side_was_run__the_other_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "results.toml"
    path.write_text('[python]\ntotal = "old"\nbits = [1, 0, 0]\n[solidity]\ntotal = "kept"\n')
    monkeypatch.setattr(run, "RESULTS", path)
    result = tell(PYTHON, PLANTED, [("bits", "a"), ("leaf", "d")], True)
    write_results([result])
    found = tomllib.loads(path.read_text())
    assert found["python"] == {"total": result.describe(), "bits": [2, 1, 0], "leaf": [3, 0, 1]}
    assert found["solidity"] == {"total": "kept"}
