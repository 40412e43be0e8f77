"""The import linter finds what is impure and nothing else."""

from pathlib import Path

import pytest

from tools.lint.protocol_imports import (
    check,
    check_engine_module,
    check_protocol_module,
    check_solidity,
)


def messages(source: str, file: str = "deltaroll/protocol/fill.py") -> list[str]:
    return [str(finding) for finding in check_protocol_module(file, source)]


@pytest.mark.parametrize(
    "source",
    [
        "from dataclasses import dataclass, replace",
        "from collections.abc import Sequence",
        "from deltaroll.protocol.fault import Fault",
        "from deltaroll.protocol import fault",
        "from .fault import Fault",
        "x = 7 // 2",
    ],
)
def test_protocol__pure__no_finding(source: str) -> None:
    assert messages(source) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import time", "the protocol layer may not import time"),
        ("import os.path", "the protocol layer may not import os.path"),
        ("from random import random", "the protocol layer may not import random"),
        ("from deltaroll.engine import book", "the protocol layer may not import deltaroll.engine"),
        ("from deltaroll.protocols import x", "the protocol layer may not import"),
        ("def f():\n    import logging", "the protocol layer may not import logging"),
        ("from sha3 import keccak_256", "only hashing.py may import sha3"),
        ("from coincurve import PublicKey", "only recovery.py may import coincurve"),
        ("x = 0.5", "float literal 0.5"),
        ("x = a / b", "true division"),
        ("x /= 2", "true division"),
        ("print(1)", "call of print()"),
        ("open('x')", "call of open()"),
        ("async def f(): ...", "not asynchronous"),
    ],
)
def test_protocol__impure__found(source: str, message: str) -> None:
    assert any(message in found for found in messages(source))


def test_protocol__provider_in_its_own_file__no_finding() -> None:
    assert messages("from sha3 import keccak_256", "deltaroll/protocol/hashing.py") == []


def test_protocol__finding__names_file_and_line() -> None:
    assert messages("x = 1\ny = 0.5\n") == ["deltaroll/protocol/fill.py:2: float literal 0.5"]


@pytest.mark.parametrize("module", ["ape", "ape.api", "ape_foundry", "deltaroll.node.store"])
def test_engine__module_with_ape__found(module: str) -> None:
    assert list(check_engine_module("deltaroll/engine/book.py", f"import {module}"))


def test_engine__other_module__no_finding() -> None:
    source = "import time\nimport apes\nfrom deltaroll.protocol import fill"
    assert not list(check_engine_module("deltaroll/engine/book.py", source))


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('import {Fault} from "./Fault.sol";', []),
        ('// import "solady/x.sol";\nimport {\n    A,\n    B\n} from "./Fault.sol";', []),
        ('/* import "../x.sol"; */', []),
        ('import {A} from "../Bridge.sol";', [1]),
        ('\nimport "./sub/Fault.sol";', [2]),
        ('import {\n    A\n} from "solady/src/utils/LibSort.sol";', [1]),
    ],
)
def test_solidity__imports__only_same_folder(source: str, lines: list[int]) -> None:
    assert [found.line for found in check_solidity("contracts/protocol/X.sol", source)] == lines


def test_check__repository__reads_all_three_folders(tmp_path: Path) -> None:
    for file, text in {
        "deltaroll/protocol/a.py": "import time",
        "deltaroll/engine/b.py": "import ape",
        "contracts/protocol/C.sol": 'import "../D.sol";',
        "contracts/E.sol": 'import "solady/x.sol";',
    }.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert [found.file for found in check(tmp_path)] == [
        "deltaroll/protocol/a.py",
        "deltaroll/engine/b.py",
        "contracts/protocol/C.sol",
    ]
