"""Just enough of Solidity's syntax for the linters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

COMMENT_OR_STRING = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)
FUNCTION = re.compile(r"\bfunction\s+([A-Za-z_$][\w$]*)\s*\(([^{};]*)[{;]")
ENUM = re.compile(r"\benum\s+(\w+)\s*\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Name:
    """A declaration and where it stands."""

    name: str
    line: int


def blank_comments(source: str) -> str:
    """Replace every comment by spaces, so that offsets and lines stay what they were."""

    def blank(found: re.Match[str]) -> str:
        text = found[0]
        return re.sub(r"[^\n]", " ", text) if text.startswith("/") else text

    return COMMENT_OR_STRING.sub(blank, source)


def shared_functions(source: str) -> Iterator[Name]:
    """Functions that a file offers to others, in order; overloads count once.

    Private functions and those with a leading underscore are a file's own business.
    """
    text = blank_comments(source)
    seen: set[str] = set()
    for found in FUNCTION.finditer(text):
        name = found[1]
        if name.startswith("_") or re.search(r"\bprivate\b", found[2]) or name in seen:
            continue
        seen.add(name)
        yield Name(name, text.count("\n", 0, found.start()) + 1)


def enums(source: str) -> Iterator[tuple[Name, list[str]]]:
    """Enums of a file with their members in order."""
    text = blank_comments(source)
    for found in ENUM.finditer(text):
        members = [member.strip() for member in found[2].split(",")]
        line = text.count("\n", 0, found.start()) + 1
        yield Name(found[1], line), [member for member in members if member]
