"""Prove the theorems of `tests/symbolic` with halmos, in an environment of their own.

`python -m tools.prove` makes `.venv-prove` from `requirements-prove.lock` when it is not there, and
prints a line for each theorem. Exit code 1 unless every theorem is proved and every planted one,
`check_refuted_...`, is refuted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.compile import ROOT, Project

ENVIRONMENT = ROOT / ".venv-prove"
LOCK = ROOT / "requirements-prove.lock"
THEOREMS = ROOT / "tests" / "symbolic"
STAGE = ROOT / "build" / "symbolic"

QUERY_SECONDS = 30
"""For one question to the solver."""
GROUP_SECONDS = 420
"""For all theorems of a contract."""
LOOPS = 64
"""Most rounds of a loop; a theorem that needs more is not proved."""

PROVED, REFUTED, TIMED_OUT = 0, 1, 2
"""Exit codes of a theorem; any other says that it could not be tried."""
WORDS = {PROVED: "proved", REFUTED: "refuted", TIMED_OUT: "timeout"}

CONTRACT = re.compile(r"^contract (\w+Theorems)\b", re.MULTILINE)
THEOREM = re.compile(r"^    function (check_\w+)\(", re.MULTILINE)
PLANTED = "check_refuted_"


class NotReadyError(Exception):
    """The prover's environment is not there."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one theorem."""

    contract: str
    name: str
    outcome: str
    seconds: float

    @property
    def is_fine(self) -> bool:
        """Whether it is what it should be."""
        return self.outcome == ("refuted" if self.name.startswith(PLANTED) else "proved")


def list_theorems() -> dict[str, list[str]]:
    """Names of theorems by contract, as the sources have them."""
    theorems = {}
    for path in sorted(THEOREMS.glob("*.t.sol")):
        text = path.read_text(encoding="utf-8")
        (contract,) = CONTRACT.findall(text)
        theorems[contract] = THEOREM.findall(text)
    return theorems


def require_environment() -> Path:
    """Python of the prover's environment; NotReadyError unless it was made from this lock."""
    stamp = ENVIRONMENT / "lock"
    wanted = LOCK.read_text(encoding="utf-8")
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        raise NotReadyError(f"{ENVIRONMENT.name} is not set up: run `make prove`")
    return ENVIRONMENT / "bin" / "python"


def make_environment() -> Path:
    """Make the environment unless it is there."""
    try:
        return require_environment()
    except NotReadyError:
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
    python = ENVIRONMENT / "bin" / "python"
    options = ["--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *options, "-r", LOCK], check=True)
    (ENVIRONMENT / "lock").write_text(LOCK.read_text(encoding="utf-8"), encoding="utf-8")
    return python


def prove(contracts: list[str] | None = None) -> Iterator[Result]:
    """Try theorems, contract by contract.

    Parameters
    ----------
    contracts
        Only these; all when None.
    """
    python = require_environment()
    _stage()
    for contract, names in list_theorems().items():
        if contracts is None or contract in contracts:
            yield from _prove_contract(python, contract, names)


def _prove_contract(python: Path, contract: str, names: list[str]) -> Iterator[Result]:
    """Try the theorems of one contract."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "results.json"
        options = {
            "--root": STAGE,
            "--match-contract": f"^{contract}$",
            "--loop": LOOPS,
            "--solver-timeout-assertion": f"{QUERY_SECONDS}s",
            "--solver-threads": 1,
            "--json-output": output,
        }
        words = [str(word) for option in options.items() for word in option]
        binaries = [ENVIRONMENT / "bin", Path(sys.prefix) / "bin", os.environ["PATH"]]
        environment = os.environ | {
            "PATH": os.pathsep.join(map(str, binaries)),
            "TMPDIR": folder,
        }
        command: list[str | Path] = [python, THEOREMS / "prover.py", "--no-status", *words]
        said = ""
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                env=environment,
                timeout=GROUP_SECONDS,
            )
            said = done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            pass
        tried = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    found = {
        entry["name"].split("(")[0]: entry
        for entries in tried.get("test_results", {}).values()
        for entry in entries
    }
    seconds = time.monotonic() - started
    if not found and said:
        print(said, file=sys.stderr)
    for name in names:
        entry = found.get(name)
        if entry is None:
            yield Result(contract, name, "failed" if said else "timeout", seconds)
            continue
        outcome = WORDS.get(entry["exitcode"], "failed")
        if outcome == "proved" and entry["num_bounded_loops"]:
            outcome = "failed"
        yield Result(contract, name, outcome, entry["time"][0])


def _stage() -> None:
    """Lay out a project that forge can build: the contracts, the theorems and our settings."""
    project = Project(ROOT)
    (STAGE / "tests").mkdir(parents=True, exist_ok=True)
    links = {
        STAGE / "contracts": ROOT / "contracts",
        STAGE / "node_modules": ROOT / "node_modules",
        STAGE / "tests" / "symbolic": THEOREMS,
        STAGE / project.compiler.name: project.compiler,
    }
    for link, target in links.items():
        if link.is_symlink():
            link.unlink()
        link.symlink_to(target)
    folders = {prefix: folder.relative_to(ROOT) for prefix, folder in project.libraries.items()}
    remappings = [f"{name}/={folders[prefix]}/" for name, prefix in project.remappings.items()]
    settings = project.settings
    values = {
        "src": "tests/symbolic",
        "test": "tests/symbolic",
        "out": "out",
        "libs": [],
        "solc": str(STAGE / project.compiler.name),
        "evm_version": settings["evmVersion"],
        "optimizer": settings["optimizer"]["enabled"],
        "optimizer_runs": settings["optimizer"]["runs"],
        "via_ir": settings["viaIR"],
        "offline": True,
        "ast": True,
        "remappings": sorted(remappings),
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    text = "\n".join(["[profile.default]", *lines, "[lint]", "lint_on_build = false", ""])
    (STAGE / "foundry.toml").write_text(text, encoding="utf-8")


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contracts", nargs="*", help=", ".join(list_theorems()))
    arguments = parser.parse_args()
    make_environment()
    is_fine = True
    for result in prove(arguments.contracts or None):
        is_fine &= result.is_fine
        mark = "" if result.is_fine else "  <- WRONG"
        print(f"{result.outcome:8} {result.seconds:6.1f} s  {result.contract}.{result.name}{mark}")
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
