"""Tests of the theorems' and of the static analysis' frame, and of what they find."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.adversary import symbolic
from tests.adversary.campaign import Effort
from tools import static
from tools.compile import ROOT
from tools.prove import (
    PLANTED,
    THEOREMS,
    NotReadyError,
    Result,
    list_theorems,
    require_environment,
)

DEPLOYED = sorted(
    path.stem
    for folder in ("contracts", "contracts/governance")
    for path in (ROOT / folder).glob("*.sol")
)

PLANTED_SOURCE = """// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;
contract Planted {
    address public owner;
    function end(address payable to) external { (bool ok,) = to.call{value: 1}(""); owner = to; }
    function kill() external { selfdestruct(payable(msg.sender)); }
}
"""


def _skip_without_environment() -> None:
    try:
        require_environment()
    except NotReadyError as error:
        pytest.skip(str(error))


def test_list_theorems__all_groups__have_one_that_is_planted() -> None:
    """Every group has theorems and at least one that must be refuted."""
    theorems = list_theorems()
    assert {"ArithmeticTheorems", "TreeTheorems", "BondTheorems", "ExitTheorems"} <= set(theorems)
    assert "ConservationTheorems" in theorems
    for names in theorems.values():
        assert any(name.startswith(PLANTED) for name in names)
        assert any(not name.startswith(PLANTED) for name in names)
        assert len(set(names)) == len(names)


def test_list_theorems__every_theorem__says_what_it_proves() -> None:
    """A comment stands right before every theorem."""
    for path in Path(THEOREMS).glob("*.t.sol"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for before, line in pairwise(lines):
            if re.match(r"    function check_", line):
                assert before.startswith("    ///"), f"{path.name}: {line}"


def test_result__planted_theorem__is_fine_only_when_refuted() -> None:
    """What was not decided is never fine."""
    assert Result("C", "check_x", "proved", 0).is_fine
    assert Result("C", f"{PLANTED}x", "refuted", 0).is_fine
    for outcome in ("refuted", "timeout", "failed"):
        assert not Result("C", "check_x", outcome, 0).is_fine
    for outcome in ("proved", "timeout", "failed"):
        assert not Result("C", f"{PLANTED}x", outcome, 0).is_fine


def test_load_suppressions__committed_file__has_a_reason_for_each() -> None:
    """The file is well-formed."""
    assert static.load_suppressions().places


@pytest.mark.parametrize("reason", ["", "fine"])
def test_load_suppressions__no_reason__is_refused(tmp_path: Path, reason: str) -> None:
    """A place without words is no suppression."""
    path = tmp_path / "static.toml"
    path.write_text(f'[[finding]]\ndetector = "a"\nplace = "b"\nreason = "{reason}"\n')
    with pytest.raises(ValueError, match="no reason"):
        static.load_suppressions(path)


def test_judge__unknown_finding_and_unused_suppression__are_both_reported() -> None:
    """Neither passes in silence."""
    finding = static.Finding("timestamp", "Low", "A.b", "")
    suppressions = static.Suppressions({}, {("timestamp", "A.c"): "a reason of words"})
    unexplained, unused = static.judge([finding], suppressions)
    assert unexplained == [finding]
    assert unused == ["timestamp A.c"]


def test_analyse__planted_contract__is_found(tmp_path: Path) -> None:
    """Slither sees what it is given, and every contract that is deployed."""
    _skip_without_environment()
    path = tmp_path / "Planted.sol"
    path.write_text(PLANTED_SOURCE, encoding="utf-8")
    report = static.analyse({str(path): PLANTED_SOURCE})
    assert set(DEPLOYED) <= set(report.contracts)
    found = {(finding.detector, finding.place) for finding in report.open}
    assert {("arbitrary-send-eth", "Planted.end"), ("suicidal", "Planted.kill")} <= found


def test_attack__small_effort__finds_nothing() -> None:
    """What is quick of the whole."""
    _skip_without_environment()
    rows = {row.name: row for row in symbolic.attack(Effort(1, 1))}
    assert rows[symbolic.THEOREMS].attempts == len(list_theorems()["ArithmeticTheorems"])
    assert rows[symbolic.STATIC].attempts >= len(DEPLOYED)
    for row in rows.values():
        assert (row.wrongly_accepted, row.wrongly_refused) == (0, 0), row.notes
