"""Compiles the Solidity protocol with mutants in it, or loads it from `build/mutation`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutation import schemata
from tests.mutation.schemata import Mutant
from tools.compile import ROOT, Project, SourceTree

CONTRACTS = (
    "TransitionVerifier",
    "TransitionExecutor",
    "MarketExecutor",
    "AccountExecutor",
    "OptionPricer",
    "SignatureVerifier",
)
HARNESSES = (
    "Black76Harness",
    "CodecHarness",
    "Eip712Harness",
    "ForceHarness",
    "LeafHarness",
    "MarginHarness",
    "MarketProcessHarness",
    "MarketsHarness",
    "MoneyHarness",
    "TreeHarness",
    "TroubleHarness",
    "WitnessHarness",
)
"""What opens the protocol to the unit tests."""
DEPLOYED = {name: f"contracts/{name}.sol" for name in CONTRACTS}
ENTRIES = DEPLOYED | {name: f"contracts/mocks/protocol/{name}.sol" for name in HARNESSES}
OPTIMIZER = {
    "enabled": True,
    "runs": 200,
    "details": {
        "yul": True,
        "inliner": False,
        "cse": False,
        "constantOptimizer": False,
        "deduplicate": False,
        "orderLiterals": False,
        "peephole": True,
        "jumpdestRemover": True,
        # No optimisation: all that is needed is that variables may move to memory.
        "yulDetails": {"stackAllocation": True, "optimizerSteps": "u:"},
    },
}


def run_compiler(project: Project, sources: Mapping[str, str], settings: dict[str, Any]) -> Any:
    """Return what the compiler says."""
    request = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": project.settings | {"optimizer": OPTIMIZER} | settings,
    }
    done = subprocess.run(
        [project.compiler],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    response = json.loads(done.stdout)
    errors = [item for item in response.get("errors", []) if item["severity"] == "error"]
    assert not errors, "\n".join(item["formattedMessage"] for item in errors[:20])
    return response


def compile_entry(
    project: Project, tree: SourceTree, sources: Mapping[str, str], name: str, folder: Path
) -> bytes:
    """Return the creation code of a contract, compiled or as it was kept."""
    entry = ENTRIES[name]
    needed = {source: sources[source] for source in (*tree.closure(entry), schemata.HELPERS)}
    key = json.dumps([needed, OPTIMIZER, project.settings], sort_keys=True)
    kept = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.hex"
    if not kept.is_file():
        for outdated in folder.glob(f"{name}-*.hex"):
            outdated.unlink()
        selection = {entry: {name: ["evm.bytecode.object"]}}
        response = run_compiler(project, needed, {"outputSelection": selection})
        temporary = kept.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(
            response["contracts"][entry][name]["evm"]["bytecode"]["object"], encoding="ascii"
        )
        temporary.replace(kept)
    return bytes.fromhex(kept.read_text(encoding="ascii"))


def find_reached(trees: Mapping[str, Any], roots: Collection[str]) -> set[str]:
    """Return the functions that a call of the contracts can come to, as `File.function`.

    The others serve tests and tools, and nothing that is deployed has them; or they run once, when
    a contract is deployed, which no call does.
    """
    functions: dict[int, tuple[str, Any]] = {}
    pending = []
    for source, tree in trees.items():
        name = source.rpartition("/")[2].removesuffix(".sol")
        for node in schemata.iterate(tree):
            if node["nodeType"] == "FunctionDefinition":
                functions[node["id"]] = f"{name}.{node['name'] or node['kind']}", node
                is_called = node["visibility"] in ("external", "public")
                if source in roots and is_called and node["kind"] != "constructor":
                    pending.append(node["id"])
    reached: set[int] = set(pending)
    while pending:
        _, function = functions[pending.pop()]
        for node in schemata.iterate(function):
            called = node.get("referencedDeclaration")
            if called in functions and called not in reached:
                reached.add(called)
                pending.append(called)
    return {functions[number][0] for number in reached}


@dataclass(frozen=True)
class Program:
    """The protocol, and everything that may be changed in it."""

    project: Project
    tree: SourceTree
    sources: dict[str, str]
    trees: dict[str, Any]
    mutated: list[str]
    """Names of the sources that mutants are made of."""
    mutants: list[Mutant]
    """Those that a call of a deployed contract comes to."""
    folder: Path
    """Where what is compiled is kept."""

    def compile(
        self, names: Sequence[str], mutants: Iterable[Mutant], workers: int
    ) -> dict[str, bytes]:
        """Return the creation code of contracts that hold some mutants."""
        wanted = frozenset(mutant.key for mutant in mutants)
        rewritten, _ = schemata.rewrite(self.sources, self.trees, self.mutated, wanted)

        def compile_one(name: str) -> bytes:
            return compile_entry(self.project, self.tree, rewritten, name, self.folder)

        with ThreadPoolExecutor(workers) as pool:
            return dict(zip(names, pool.map(compile_one, names), strict=True))


def read_program(folder: Path) -> Program:
    """Return the protocol with the harnesses that its unit tests go through."""
    folder.mkdir(parents=True, exist_ok=True)
    project = Project(ROOT)
    tree = SourceTree(project)
    sources = tree.closure(*ENTRIES.values())
    response = run_compiler(project, sources, {"outputSelection": {"*": {"": ["ast"]}}})
    trees = {name: item["ast"] for name, item in response["sources"].items()}
    own = set(DEPLOYED.values())
    mutated = [name for name in sources if name.startswith("contracts/protocol/") or name in own]
    _, mutants = schemata.rewrite(sources, trees, mutated, ())
    reached = find_reached(trees, own)
    mutants = [mutant for mutant in mutants if mutant.key.partition(":")[0] in reached]
    return Program(project, tree, sources, trees, mutated, mutants, folder)
