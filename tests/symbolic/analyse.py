"""Runs Slither in its own environment over what the compiler has said, and prints its findings.

Standard input: `root` and `output`, the compiler's standard JSON with ASTs. Standard output: the
names of the contracts analysed, and the findings.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from typing import Any

from crytic_compile import CryticCompile
from crytic_compile.compilation_unit import CompilationUnit
from crytic_compile.compiler.compiler import CompilerVersion
from crytic_compile.platform import solc_standard_json
from slither import Slither
from slither.detectors import all_detectors
from slither.detectors.abstract_detector import AbstractDetector


class Compiled(solc_standard_json.SolcStandardJson):
    """A compilation that has been made already."""

    def __init__(self, output: dict[str, Any], version: str) -> None:
        super().__init__({})
        self._output = output
        self._version = version

    def compile(self, crytic_compile: CryticCompile, **_: Any) -> None:
        """Read the output."""
        unit = CompilationUnit(crytic_compile, "project")
        unit.compiler_version = CompilerVersion(
            compiler="solc", version=self._version, optimized=True
        )
        solc_standard_json.parse_standard_json_output(self._output, unit)


def main() -> None:
    """Analyse."""
    request = json.load(sys.stdin)
    os.chdir(request["root"])
    output = request["output"]
    for contracts in output["contracts"].values():
        for contract in contracts.values():
            # No detector reads bytecode, and making it takes a minute.
            none = {"object": "", "sourceMap": ""}
            contract["evm"] = {"bytecode": none, "deployedBytecode": none}
    # Slither reports to standard output too.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    slither = Slither(CryticCompile(Compiled(output, request["version"])))
    for name in dir(all_detectors):
        detector = getattr(all_detectors, name)
        if inspect.isclass(detector) and issubclass(detector, AbstractDetector):
            slither.register_detector(detector)
    findings = [finding for found in slither.run_detectors() for finding in found]
    contracts = [
        [contract.name, contract.source_mapping.filename.relative] for contract in slither.contracts
    ]
    functions = sum(len(unit.functions_top_level) for unit in slither.compilation_units)
    json.dump({"contracts": contracts, "functions": functions, "findings": findings}, answer)


if __name__ == "__main__":
    main()
