"""Compiles the Solidity protocol with all its mutants, or loads it from `build/mutation`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutation import schemata
from tests.mutation.schemata import Mutant
from tools.compile import ROOT, Project, SourceTree

ENTRIES = (
    "TransitionVerifier",
    "TransitionExecutor",
    "MarketExecutor",
    "AccountExecutor",
    "OptionPricer",
    "SignatureVerifier",
)
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


@dataclass(frozen=True, slots=True)
class Build:
    """The contracts' creation code, and the mutants in them."""

    codes: dict[str, bytes]
    mutants: list[Mutant]


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


def compile_entry(project: Project, sources: Mapping[str, str], name: str) -> bytes:
    """Return the creation code of a contract."""
    entry = f"contracts/{name}.sol"
    selection = {entry: {name: ["evm.bytecode.object"]}}
    response = run_compiler(project, sources, {"outputSelection": selection})
    return bytes.fromhex(response["contracts"][entry][name]["evm"]["bytecode"]["object"])


def build(folder: Path, workers: int) -> Build:
    """Return the contracts with their mutants."""
    project = Project(ROOT)
    entries = [f"contracts/{name}.sol" for name in ENTRIES]
    sources = SourceTree(project).closure(*entries)
    response = run_compiler(project, sources, {"outputSelection": {"*": {"": ["ast"]}}})
    trees = {name: item["ast"] for name, item in response["sources"].items()}
    mutated = [
        name for name in sources if name.startswith("contracts/protocol/") or name in entries
    ]
    rewritten, mutants = schemata.rewrite(sources, trees, mutated)
    key = json.dumps([rewritten, OPTIMIZER, project.settings], sort_keys=True)
    cached = folder / f"schemata-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not cached.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for outdated in folder.glob("schemata-*.json"):
            outdated.unlink()
        with ThreadPoolExecutor(workers) as pool:
            codes = pool.map(lambda name: compile_entry(project, rewritten, name), ENTRIES)
            saved = {name: code.hex() for name, code in zip(ENTRIES, codes, strict=True)}
        temporary = cached.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(saved), encoding="utf-8")
        temporary.replace(cached)
    saved = json.loads(cached.read_text(encoding="utf-8"))
    return Build({name: bytes.fromhex(code) for name, code in saved.items()}, mutants)
