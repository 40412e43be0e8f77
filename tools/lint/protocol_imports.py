"""Check that the protocol layer is pure and imports nothing but itself.

The state transition function is written twice and re-executed on L1: whatever Solidity cannot do
(read a clock, a file, a random number, a float) may not decide anything in Python either. The
matching engine lives next to it and must work without Ape. The Solidity side imports only its own
folder, so that a verifier's code is the protocol and nothing else.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.lint.report import ROOT, Finding, report
from tools.lint.solidity import blank_comments

PROTOCOL = "deltaroll.protocol"

STANDARD = frozenset(
    {
        "__future__",
        "collections.abc",
        "dataclasses",
        "enum",
        "functools",
        "struct",
        "typing",
    }
)
"""Modules of the standard library that have no state, no clock and no I/O."""

PROVIDERS = {"sha3": "hashing.py", "coincurve": "recovery.py"}
"""Third-party module -> the only file that may import it."""

FORBIDDEN_CALLS = frozenset(
    {"__import__", "breakpoint", "compile", "eval", "exec", "float", "input", "open", "print"}
)
"""Builtins that do I/O, run code from text, or make a float."""

ENGINE_FORBIDDEN = ("ape", "deltaroll.l1", "deltaroll.node", "scripts")
"""Modules that are Ape, or import it."""

SOLIDITY_IMPORT = re.compile(r"""\bimport\b[^"';]*["']([^"']+)["']""")
SAME_FOLDER = re.compile(r"\./[A-Za-z0-9_]+\.sol")


def imported_modules(node: ast.AST) -> Iterator[str]:
    """Absolute names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        # A relative import stays within the package that is being checked.
        yield (node.module or "") if not node.level else f"{PROTOCOL}.{node.module or ''}"


def check_protocol_module(file: str, source: str) -> Iterator[Finding]:
    """Findings in one Python file of the protocol layer."""
    name = file.rsplit("/", 1)[-1]
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 1)
        for module in imported_modules(node):
            owner = PROVIDERS.get(module.split(".")[0])
            if module in STANDARD or f"{module}.".startswith(f"{PROTOCOL}.") or owner == name:
                continue
            reason = f"only {owner} may" if owner else "the protocol layer may not"
            yield Finding(file, line, f"{reason} import {module}")
        match node:
            case ast.Constant(value=float() | complex() as number):
                yield Finding(file, line, f"float literal {number}")
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield Finding(file, line, "true division makes a float: use // with its rounding")
            case ast.Call(func=ast.Name(id=called)) if called in FORBIDDEN_CALLS:
                yield Finding(file, line, f"call of {called}()")
            case ast.AsyncFunctionDef() | ast.Await():
                yield Finding(file, line, "the protocol layer is not asynchronous")
            case _:
                pass


def check_engine_module(file: str, source: str) -> Iterator[Finding]:
    """Findings in one Python file of the matching engine."""
    for node in ast.walk(ast.parse(source)):
        for module in imported_modules(node):
            top = module.split(".")[0]
            named = any(f"{module}.".startswith(f"{name}.") for name in ENGINE_FORBIDDEN)
            if named or top.startswith("ape_"):
                line = getattr(node, "lineno", 1)
                yield Finding(file, line, f"the engine may not import {module}")


def check_solidity(file: str, source: str) -> Iterator[Finding]:
    """Findings in one Solidity file of the protocol layer."""
    for statement in SOLIDITY_IMPORT.finditer(blank_comments(source)):
        if not SAME_FOLDER.fullmatch(statement[1]):
            line = source.count("\n", 0, statement.start()) + 1
            yield Finding(file, line, f"the protocol layer may not import {statement[1]}")


CHECKS = (
    ("deltaroll/protocol", "*.py", check_protocol_module),
    ("deltaroll/engine", "*.py", check_engine_module),
    ("contracts/protocol", "*.sol", check_solidity),
)


def check(root: Path) -> Iterator[Finding]:
    """Findings in a whole repository."""
    for folder, pattern, check_file in CHECKS:
        for path in sorted((root / folder).rglob(pattern)):
            yield from check_file(
                path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
            )


if __name__ == "__main__":
    sys.exit(report(check(ROOT)))
