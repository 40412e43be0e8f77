"""Fill Ape's compile cache from the fast compiler's artifacts.

Ape on its own compiles everything in one run on one core, which takes minutes, and what the
optimiser of `viaIR` makes of a contract depends on what else is in the run. It also compiles a
source again only when that source's own text changes: neither a changed import nor a changed
setting is noticed. So `make compile`, `make test` and `make demo` compile with `tools.compile` and
put the result where Ape looks for it. What Ape deploys is then, to the byte, what the tests execute
in process, what the gas record was measured on and what the verification input describes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from tools.compile import Artifact, Json, Project, write_whole

CACHE = Path(".build") / "__local__.json"
"""Where Ape keeps the manifest of the project itself (EIP-2678), from the repository's folder."""

METADATA_HASH = re.compile(rb"(?<=\xa2\x64ipfs\x58\x22).{34}", re.DOTALL)
"""Hash over sources and settings at the end of a contract's code.

ape-solidity names only the remappings that the sources of one run use, so this hash depends on the
compiler's input and not on what it does. The code before it does not.
"""


def strip_metadata(code: bytes) -> bytes:
    """Code with a blank metadata hash."""
    return METADATA_HASH.sub(bytes(34), code)


def make_manifest(project: Project, artifacts: Mapping[str, Artifact]) -> Json:
    """Return the manifest that Ape would keep after compiling.

    Parameters
    ----------
    project
        The project, for the text of its sources.
    artifacts
        What the fast compiler made of these sources.

    Returns
    -------
    Json
        EthPM manifest, version 3.
    """
    texts = {source: project.locate(source).read_text("utf-8") for source in project.entries()}
    return {
        "compilers": [],
        "contractTypes": {name: _make_type(artifacts[name]) for name in artifacts},
        "manifest": "ethpm/3",
        "sources": {source: {"content": text, "urls": []} for source, text in texts.items()},
    }


def fill_cache(root: Path, artifacts: Mapping[str, Artifact]) -> None:
    """Make Ape's cache say what the artifacts say.

    Parameters
    ----------
    root
        The repository's folder.
    artifacts
        What the fast compiler made of the sources now.
    """
    path = root / CACHE
    path.parent.mkdir(exist_ok=True)
    write_whole(path, json.dumps(make_manifest(Project(root), artifacts)))


def _make_type(artifact: Artifact) -> Json:
    return {
        "abi": artifact.abi,
        "contractName": artifact.name,
        "deploymentBytecode": {"bytecode": "0x" + artifact.bytecode.hex()},
        "runtimeBytecode": {"bytecode": "0x" + artifact.deployed_bytecode.hex()},
        "sourceId": artifact.source,
    }
