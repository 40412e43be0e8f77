"""docs/governance.md leaves out no privileged call."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "governance.md").read_text()
REFUSAL = re.compile(r"error (\w+_Not\w+)\(address caller\)")
"""How a contract refuses a caller, by the project's naming of errors."""
TOP_LEVEL = "RollupInbox_NotTopLevel"
"""Not a privilege: whoever posts a batch does it in a transaction of its own."""
REFUSALS = {
    name
    for path in sorted((ROOT / "contracts" / "interfaces").glob("*.sol"))
    for name in REFUSAL.findall(path.read_text())
} - {TOP_LEVEL}


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_page__refusal_of_a_caller__is_listed(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_contracts__comparison_of_the_caller__refuses_by_such_an_error() -> None:
    """Else the test above would not see it."""
    known = {"RollupInbox.sol": 1, "ConfigureGate.sol": 1}
    # Who proposes out of turn, and who ends an emergency early, is a condition among others.
    for path in sorted((ROOT / "contracts").rglob("*.sol")):
        if {"mocks", "protocol", ".cache"} & set(path.parts):
            continue
        text = path.read_text()
        compared = len(re.findall(r"msg\.sender [!=]= (?!tx\.origin)", text))
        refused = len(re.findall(r"revert \w+_Not\w+\(msg\.sender\)", text))
        assert compared <= refused + known.get(path.name, 0), path.name


def test_refusals__of_today__are_found() -> None:
    assert {"Bridge_NotGovernor", "ConfigureGate_NotGuardian", "MarginVault_NotBridge"} <= REFUSALS
