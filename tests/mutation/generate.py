"""Writes every mutant of the Python protocol that mutmut knows how to make.

`python generate.py PACKAGE OUTPUT` runs in an environment of its own that has mutmut; nothing else
of the project is needed. A mutant is a whole function: its module, where it stands, the source of
the top-level function or method after the change, and the lines that differ.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libcst
from mutmut.mutation.file_mutation import create_mutations


def find_owners(module: libcst.Module) -> dict[libcst.CSTNode, str]:
    """Return the name of every top-level function, and of every method as `Class.method`."""
    owners: dict[libcst.CSTNode, str] = {}
    for node in module.body:
        if isinstance(node, libcst.FunctionDef):
            owners[node] = node.name.value
        elif isinstance(node, libcst.ClassDef):
            for member in node.body.body:
                if isinstance(member, libcst.FunctionDef):
                    owners[member] = f"{node.name.value}.{member.name.value}"
    return owners


def iterate_mutants(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the mutants of one file."""
    module, mutations, _, _ = create_mutations(str(path), path.read_text(encoding="utf-8"))
    owners = find_owners(module)
    count: dict[str, int] = {}
    for mutation in mutations:
        function = mutation.contained_by_top_level_function
        if function not in owners:
            continue
        name = owners[function]
        mutated = function.deep_replace(mutation.original_node, mutation.mutated_node)
        # Decorators stay with the function that is there.
        plain = [item.with_changes(decorators=(), leading_lines=()) for item in (function, mutated)]
        before, after = (libcst.Module(body=[item]).code for item in plain)
        if before == after:
            continue
        count[name] = count.get(name, 0) + 1
        changes = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
        yield {
            "id": f"{path.stem}.{name}#{count[name]}",
            "module": path.stem,
            "function": name,
            "source": after,
            "diff": [line for line in changes if not line.startswith(("---", "+++", "@@"))],
        }


def main() -> None:
    """Write the mutants of a package, a JSON object a line."""
    package, output = map(Path, sys.argv[1:])
    with output.open("w", encoding="utf-8") as file:
        for path in sorted(package.glob("*.py")):
            for mutant in iterate_mutants(path):
                file.write(json.dumps(mutant) + "\n")


if __name__ == "__main__":
    main()
