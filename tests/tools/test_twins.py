"""The twin linter sees a missing, a moved and a renumbered declaration."""

from pathlib import Path

import pytest

from tools.lint.twins import Exceptions, camel_case, check, check_pair, pascal_case

PYTHON = '''
from enum import IntEnum

class Fault(IntEnum):
    NONE = 0
    """No fault."""
    BAD_INDEX = 1

def process_fill(state): ...

def compute_fee(lots): ...

def _helper(): ...
'''

SOLIDITY = """
enum Fault { None, BadIndex }

library Fill {
    // function commented(uint256 a) internal {}
    function processFill(State memory state) internal pure returns (Fault) { return Fault.None; }

    function computeFee(
        int256 lots
    ) internal pure returns (int256) { return lots; }

    function computeFee(int128 lots) internal pure returns (int256) { return lots; }

    function _helper() private pure {}

    function hidden() private pure {}
}
"""


def findings(python: str, solidity: str, reasons: dict[str, str] | None = None) -> list[str]:
    exceptions = Exceptions(reasons or {})
    pair = check_pair(("fill.py", python), ("Fill.sol", solidity), exceptions)
    return [str(finding) for finding in [*pair, *exceptions.findings()]]


@pytest.mark.parametrize(
    ("name", "camel", "pascal"),
    [("fill", "fill", "Fill"), ("get_order_slot", "getOrderSlot", "GetOrderSlot")],
)
def test_case__snake__converted(name: str, camel: str, pascal: str) -> None:
    assert (camel_case(name), pascal_case(name)) == (camel, pascal)


def test_pair__twins__no_finding() -> None:
    assert findings(PYTHON, SOLIDITY) == []


def test_pair__function_only_in_python__found() -> None:
    assert findings(PYTHON + "def extra_one(): ...\n", SOLIDITY) == [
        "fill.py:14: extraOne is not in Fill.sol"
    ]


def test_pair__function_only_in_solidity__found() -> None:
    source = SOLIDITY + "function extraOne() pure {}\n"
    assert findings(PYTHON, source) == ["Fill.sol:18: extraOne is not in fill.py"]


def test_pair__exception__allowed_and_checked() -> None:
    reasons = {"fill.py:extraOne": "encoding for signers only"}
    assert findings(PYTHON + "def extra_one(): ...\n", SOLIDITY, reasons) == []
    assert "remove the exception" in findings(PYTHON, SOLIDITY, reasons)[0]


def test_pair__exception_without_reason__found() -> None:
    found = findings(PYTHON + "def extra_one(): ...\n", SOLIDITY, {"fill.py:extraOne": " "})
    assert "has no reason" in found[0]


def test_pair__other_order__found_where_it_starts() -> None:
    moved = "def compute_fee(lots): ...\ndef process_fill(state): ...\n"
    assert findings(moved, SOLIDITY) == [
        "Fill.sol:6: processFill: expected computeFee here, the order of fill.py:1"
    ]


@pytest.mark.parametrize("members", ["None, Other", "BadIndex, None", "None", "None, BadIndex, C"])
def test_pair__enum_differs__found(members: str) -> None:
    found = findings(PYTHON, SOLIDITY.replace("None, BadIndex", members))
    assert len(found) == 1
    assert found[0].startswith("Fill.sol:2: Fault")


def test_check__file_without_twin__found_unless_excepted(tmp_path: Path) -> None:
    for file in ("deltaroll/protocol/order_book.py", "contracts/protocol/Fill.sol"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("", encoding="utf-8")
    assert [found.file for found in check(tmp_path)] == [
        "contracts/protocol/Fill.sol",
        "deltaroll/protocol/order_book.py",
    ]
    allowed = tmp_path / "tools/lint/twins.toml"
    allowed.parent.mkdir(parents=True)
    allowed.write_text(
        '[files]\n"contracts/protocol/Fill.sol" = "a reason"\n'
        '"deltaroll/protocol/order_book.py" = "a reason"\n',
        encoding="utf-8",
    )
    assert list(check(tmp_path)) == []
