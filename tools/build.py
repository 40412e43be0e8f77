"""Compile the contracts and say what came of it: the command behind `make compile`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable

from tools.ape_cache import fill_cache
from tools.compile import ROOT, Artifact, CompileError, compile_contracts

CODE_SIZE_LIMIT = 24_576
"""EIP-170: the longest deployed bytecode that mainnet takes."""


def print_sizes(artifacts: Iterable[Artifact]) -> None:
    """List the contracts that have code, the largest first."""
    for artifact in sorted(artifacts, key=lambda item: -len(item.deployed_bytecode)):
        size = len(artifact.deployed_bytecode)
        if size:
            note = "  over the limit" if size > CODE_SIZE_LIMIT else ""
            print(f"{size:>7,} of {CODE_SIZE_LIMIT:,} bytes  {artifact.name}{note}")


def main() -> int:
    """Compile everything and say how long it took."""
    parser = argparse.ArgumentParser(description="Compile contracts/ into build/contracts/.")
    parser.add_argument("--sizes", action="store_true", help="list the deployed sizes")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        artifacts = compile_contracts()
    except CompileError as error:
        print(error, file=sys.stderr)
        return 1
    fill_cache(ROOT, artifacts)
    if arguments.sizes:
        print_sizes(artifacts.values())
    print(f"{len(artifacts)} contracts in build/contracts ({time.monotonic() - started:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
