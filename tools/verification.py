"""Write what block explorers ask for to verify a deployment: standard JSON, made from the sources
on disk as `make compile` makes it, so that compiling it gives the bytecode on the chain.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.compile import ROOT, Artifact, Project, SourceTree, get_path, make_input

FOLDER = Path("build") / "verification"
INDEX = "contracts.json"
"""What the forms ask for besides."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What is to be verified."""

    address: str
    code: bytes
    """Creation code and arguments."""


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of an explorer's form."""

    address: str
    contract: str
    """Path and name, as explorers want them."""
    compiler: str
    input: str
    """File next to this one: choose "Solidity (Standard-Json-Input)"."""
    arguments: str
    """ABI encoded constructor arguments, hex without 0x."""


def get_compiler_version(project: Project) -> str:
    """Return the compiler's version as explorers list it."""
    environment = os.environ | {"PATH": get_path()}
    done = subprocess.run(
        [project.compiler, "--version"], capture_output=True, text=True, check=True, env=environment
    )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("Version: "))
    number, commit = line.removeprefix("Version: ").split("+")
    return f"v{number}+{'.'.join(commit.split('.')[:2])}"


def write_verification(
    folder: Path, artifacts: Mapping[str, Artifact], deployed: Mapping[str, Deployed]
) -> None:
    """Write an input for each contract, and one file with the rest of each form.

    Parameters
    ----------
    deployed
        By contract name; each was made from the artifact of that name.
    """
    project = Project(ROOT)
    tree = SourceTree(project)
    compiler = get_compiler_version(project)
    folder.mkdir(parents=True, exist_ok=True)
    forms = {}
    for name, entry in deployed.items():
        artifact = artifacts[name]
        file = f"{name}.json"
        content = make_input(project, tree, [artifact.source])
        (folder / file).write_text(json.dumps(content, indent=1), encoding="utf-8")
        arguments = entry.code.removeprefix(artifact.bytecode)
        forms[name] = asdict(
            Form(entry.address, f"{artifact.source}:{name}", compiler, file, arguments.hex())
        )
    (folder / INDEX).write_text(json.dumps(forms, indent=1), encoding="utf-8")
