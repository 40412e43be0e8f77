"""Check that the Python and the Solidity protocol are twins, file by file.

`fill.py` and `Fill.sol` hold the same functions under the same names, in each language's case and
in the same order; an enum that both declare has the same members with the same numbers. A reader
holds the two side by side, and so does whoever changes one. Exceptions stand in `twins.toml`, each
with its reason; one that no longer applies is an error too.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.lint import solidity
from tools.lint.report import ROOT, Finding, report
from tools.lint.solidity import Name

PYTHON_FOLDER = "deltaroll/protocol"
SOLIDITY_FOLDER = "contracts/protocol"
ALLOWED = "tools/lint/twins.toml"


def camel_case(name: str) -> str:
    """`get_account` -> `getAccount`."""
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def pascal_case(name: str) -> str:
    """`order_slots` -> `OrderSlots`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def python_functions(source: str) -> list[Name]:
    """Functions that a module offers to others, in order."""
    return [
        Name(node.name, node.lineno)
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def python_enums(source: str) -> dict[str, list[tuple[str, int]]]:
    """Members and numbers of every `IntEnum` of a module."""
    return {
        node.name: [
            (target.id, value)
            for statement in node.body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
            and isinstance(statement.value, ast.Constant)
            and isinstance(value := statement.value.value, int)
        ]
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "IntEnum" for base in node.bases)
    }


@dataclass
class Exceptions:
    """The exceptions of `twins.toml`, and which of them were needed."""

    reasons: Mapping[str, str]
    used: set[str] = field(default_factory=set)

    def allow(self, key: str) -> bool:
        """Whether a file, or a `file:function`, may be without a twin."""
        self.used.add(key)
        return key in self.reasons

    def findings(self) -> Iterator[Finding]:
        """Exceptions that are not needed, or do not say why they are."""
        for key, reason in self.reasons.items():
            if key not in self.used:
                yield Finding(ALLOWED, 1, f"{key} has its twin, or is gone: remove the exception")
            elif not reason.strip():
                yield Finding(ALLOWED, 1, f"{key} has no reason")


def check(root: Path) -> Iterator[Finding]:
    """Findings in a whole repository."""
    path = root / ALLOWED
    allowed = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    exceptions = Exceptions({**allowed.get("files", {}), **allowed.get("functions", {})})
    # Until one side is there at all, every file of the other would be an error.
    if any((root / SOLIDITY_FOLDER).glob("*.sol")):
        yield from check_files(root, exceptions)
        yield from exceptions.findings()


def check_files(root: Path, exceptions: Exceptions) -> Iterator[Finding]:
    """Pair the files of both folders and compare each pair."""
    modules = {
        pascal_case(path.stem): path
        for path in sorted((root / PYTHON_FOLDER).glob("*.py"))
        if path.stem != "__init__"
    }
    contracts = {path.stem: path for path in sorted((root / SOLIDITY_FOLDER).glob("*.sol"))}
    for name in sorted(modules.keys() | contracts.keys()):
        module, contract = modules.get(name), contracts.get(name)
        if module and contract:
            yield from check_pair(
                (module.relative_to(root).as_posix(), module.read_text(encoding="utf-8")),
                (contract.relative_to(root).as_posix(), contract.read_text(encoding="utf-8")),
                exceptions,
            )
        elif single := module or contract:
            file = single.relative_to(root).as_posix()
            if not exceptions.allow(file):
                yield Finding(file, 1, f"no twin; write it or give the reason in {ALLOWED}")


def check_pair(
    python: tuple[str, str], contract: tuple[str, str], exceptions: Exceptions
) -> Iterator[Finding]:
    """Compare the functions and enums of one pair, each side given as its path and its text."""
    (python_file, python_source), (solidity_file, solidity_source) = python, contract
    left = [Name(camel_case(f.name), f.line) for f in python_functions(python_source)]
    right = list(solidity.shared_functions(solidity_source))
    yield from _missing(python_file, left, right, solidity_file, exceptions)
    yield from _missing(solidity_file, right, left, python_file, exceptions)
    yield from _order(python_file, left, solidity_file, right)
    yield from _enums(python_source, solidity_file, solidity_source)


def _missing(
    file: str, here: list[Name], there: list[Name], other: str, exceptions: Exceptions
) -> Iterator[Finding]:
    """Functions of one file that the other lacks."""
    names = {function.name for function in there}
    for function in here:
        if function.name not in names and not exceptions.allow(f"{file}:{function.name}"):
            yield Finding(file, function.line, f"{function.name} is not in {other}")


def _order(
    python_file: str, left: list[Name], solidity_file: str, right: list[Name]
) -> Iterator[Finding]:
    """First function that both files have in another order."""
    common = {function.name for function in left} & {function.name for function in right}
    for here, there in zip(
        (function for function in left if function.name in common),
        (function for function in right if function.name in common),
        strict=True,
    ):
        if here.name != there.name:
            expected = f"expected {here.name} here, the order of {python_file}:{here.line}"
            yield Finding(solidity_file, there.line, f"{there.name}: {expected}")
            return


def _enums(python_source: str, solidity_file: str, solidity_source: str) -> Iterator[Finding]:
    """Enums of both files whose members or numbers differ."""
    python = python_enums(python_source)
    for enum, members in solidity.enums(solidity_source):
        here = [(name.replace("_", "").lower(), value) for name, value in python.get(enum.name, [])]
        there = [(name.replace("_", "").lower(), value) for value, name in enumerate(members)]
        for ours, theirs in zip(here, there, strict=False):
            if ours != theirs:
                message = f"{enum.name}: {theirs[0]} = {theirs[1]}, in Python {ours[0]} = {ours[1]}"
                yield Finding(solidity_file, enum.line, message)
                return
        if here and len(here) != len(there):
            counts = f"{len(there)} members, {len(here)} in Python"
            yield Finding(solidity_file, enum.line, f"{enum.name} has {counts}")


if __name__ == "__main__":
    sys.exit(report(check(ROOT)))
