"""Run Slither over the contracts. Exit code 1 on any finding that `static.toml` has no reason for.

The compiler gets what it gets for a build, less bytecode, so Slither sees every source that is
deployed. Findings inside libraries are for their authors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.compile import ROOT, Project, SourceTree
from tools.prove import NotReadyError, require_environment

SUPPRESSIONS = Path(__file__).with_name("static.toml")
ANALYSIS = ROOT / "tests" / "symbolic" / "analyse.py"


@dataclass(frozen=True, slots=True)
class Finding:
    """What Slither says about a place."""

    detector: str
    impact: str
    place: str
    """Contract.function, Contract.variable or free function; a source where it is about that."""
    text: str


@dataclass(frozen=True, slots=True)
class Suppressions:
    """Findings that stand."""

    detectors: dict[str, str]
    """Reason of every finding of a detector."""
    places: dict[tuple[str, str], str]
    """Reason by detector and place."""


@dataclass(frozen=True, slots=True)
class Report:
    """Outcome of one analysis."""

    contracts: list[str]
    """Analysed, libraries apart."""
    functions: int
    """Free functions among what was analysed."""
    open: list[Finding]
    """Findings without a reason."""
    unused: list[str]
    """Suppressions that nothing needs."""


def load_suppressions(path: Path = SUPPRESSIONS) -> Suppressions:
    """Read the reasons; ValueError when one is missing or a place is named twice."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    places: dict[tuple[str, str], str] = {}
    for entry in content.get("finding", []):
        key = (entry["detector"], entry["place"])
        if key in places:
            raise ValueError(f"{key} is there twice")
        places[key] = entry["reason"]
    detectors = dict(content.get("detectors", {}))
    for subject, reason in [*detectors.items(), *places.items()]:
        if not isinstance(reason, str) or len(reason.split()) < MIN_WORDS:
            raise ValueError(f"{subject} has no reason")
    return Suppressions(detectors, places)


MIN_WORDS = 4
"""Fewer words are no reason."""


def judge(findings: list[Finding], suppressions: Suppressions) -> tuple[list[Finding], list[str]]:
    """Return findings without a reason, and suppressions that nothing needs."""
    used_detectors = {finding.detector for finding in findings}
    used_places = {(finding.detector, finding.place) for finding in findings}
    unexplained = [
        finding
        for finding in findings
        if finding.detector not in suppressions.detectors
        and (finding.detector, finding.place) not in suppressions.places
    ]
    unused = [name for name in suppressions.detectors if name not in used_detectors]
    unused += [" ".join(key) for key in suppressions.places if key not in used_places]
    return unexplained, unused


def analyse(extra: dict[str, str] | None = None) -> Report:
    """Compile and analyse the contracts.

    Parameters
    ----------
    extra
        More sources by path, to see that something is found. Slither reads the files too.
    """
    python = require_environment()
    project = Project(ROOT)
    answer = subprocess.run(
        [python, ANALYSIS],
        input=json.dumps(_compile(project, extra or {})),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise RuntimeError(f"Slither failed:\n{answer.stderr}")
    result = json.loads(answer.stdout)
    findings = [_read_finding(raw) for raw in result["findings"] if _is_ours(raw)]
    unexplained, unused = judge(findings, load_suppressions())
    contracts = [name for name, path in result["contracts"] if path.startswith("contracts/")]
    return Report(contracts, result["functions"], unexplained, unused)


def sources() -> list[str]:
    """Every source of the project that is deployed or can be imported."""
    return [entry for entry in Project(ROOT).entries() if not entry.startswith("contracts/mocks/")]


def _compile(project: Project, extra: dict[str, str]) -> dict[str, Any]:
    """What the analysis is given: the compiler's output, sources named by where they are."""
    closure = SourceTree(project).closure(*sources())
    contents = {
        project.locate(source).relative_to(ROOT).as_posix(): {"content": content}
        for source, content in closure.items()
    }
    contents |= {source: {"content": content} for source, content in extra.items()}
    folders = {
        prefix: folder.relative_to(ROOT).as_posix() for prefix, folder in project.libraries.items()
    }
    remappings = [f"{name}={folders[prefix]}" for name, prefix in project.remappings.items()]
    selection = {"*": {"": ["ast"], "*": ["abi"]}}
    request = {
        "language": "Solidity",
        "sources": contents,
        "settings": project.settings
        | {"remappings": sorted(remappings), "outputSelection": selection},
    }
    done = subprocess.run(
        [project.compiler],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"},
    )
    output = json.loads(done.stdout)
    errors = [entry for entry in output.get("errors", []) if entry["severity"] == "error"]
    if errors:
        raise RuntimeError("\n".join(entry["formattedMessage"] for entry in errors))
    version = project.config["solidity"]["version"]
    return {"root": str(ROOT), "output": output, "version": version}


def _is_ours(raw: dict[str, Any]) -> bool:
    """Whether a finding is about a source of the project at all."""
    paths = {element["source_mapping"]["filename_relative"] for element in raw["elements"]}
    return not paths or any(not path.startswith("node_modules/") for path in paths)


def _read_finding(raw: dict[str, Any]) -> Finding:
    """Read what Slither has printed."""
    element = raw["elements"][0] if raw["elements"] else {}
    names = [element.get("name", "")]
    while element.get("type") not in (None, "contract"):
        element = (element.get("type_specific_fields") or {}).get("parent") or {}
        if element:
            names.insert(0, element["name"])
    return Finding(raw["check"], raw["impact"], ".".join(names), raw["description"].strip())


def main() -> int:
    """Analyse, and print what is not explained."""
    try:
        report = analyse()
    except NotReadyError as error:
        print(error, file=sys.stderr)
        return 1
    for finding in report.open:
        print(f"{finding.impact} {finding.detector} at {finding.place}\n    {finding.text}")
    for unused in report.unused:
        print(f"Nothing needs the suppression of {unused}")
    print(
        f"{len(report.contracts)} contracts, {report.functions} free functions: "
        f"{len(report.open)} findings, {len(report.unused)} suppressions too many"
    )
    if not report.contracts:
        print("No contract was analysed", file=sys.stderr)
    return 1 if report.open or report.unused or not report.contracts else 0


if __name__ == "__main__":
    sys.exit(main())
