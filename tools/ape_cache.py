"""Keep Ape's own compile cache honest.

Ape compiles a source again when its own text changes, but neither when a file that it imports does
nor when a compiler setting does: after a change in a library it would go on deploying the old code.
`make compile`, `make test` and `make demo` drop what is outdated; Ape then compiles just that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from tools.compile import Artifact, Json

METADATA_HASH = re.compile(rb"(?<=\xa2\x64ipfs\x58\x22).{34}", re.DOTALL)
"""Hash over sources and settings at the end of a contract's code.

ape-solidity names only the remappings that the sources of one run use, so this hash depends on what
else had changed since the last run. The code before it does not.
"""


def strip_metadata(code: bytes) -> bytes:
    """Code with a blank metadata hash."""
    return METADATA_HASH.sub(bytes(34), code)


def is_current(entry: Json, artifact: Artifact) -> bool:
    """Whether Ape has the same contract as the fast compiler."""
    code = bytes.fromhex(entry["deploymentBytecode"].get("bytecode", "").removeprefix("0x"))
    return (
        entry["sourceId"] == artifact.source
        and strip_metadata(code) == strip_metadata(artifact.bytecode)
        and _shape(entry["abi"]) == _shape(artifact.abi)
    )


def drop_outdated(root: Path, artifacts: Mapping[str, Artifact]) -> list[str]:
    """Remove contracts that are not what the sources say from Ape's cache.

    Parameters
    ----------
    root
        The repository's folder.
    artifacts
        What the fast compiler made of the sources now.

    Returns
    -------
    list[str]
        Names of the contracts that Ape will compile again, or forget.
    """
    path = root / ".build" / "__local__.json"
    if not path.is_file():
        return []
    manifest = json.loads(path.read_text(encoding="utf-8"))
    entries: dict[str, Json] = manifest.get("contractTypes") or {}
    outdated = [
        name
        for name, entry in entries.items()
        if name not in artifacts or not is_current(entry, artifacts[name])
    ]
    # Ape looks for a source's contracts as a whole: one that is left would hide the others.
    sources = {entries[name]["sourceId"] for name in outdated}
    kept = {name: entry for name, entry in entries.items() if entry["sourceId"] not in sources}
    if outdated:
        manifest["contractTypes"] = kept
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(manifest), encoding="utf-8")
        temporary.replace(path)
    return sorted(outdated)


def _shape(items: list[Json]) -> list[tuple[str, ...]]:
    """What matters of an ABI, whoever wrote it: kinds, names and types."""
    return sorted(
        (
            item.get("name") or "",
            item["type"],
            item.get("stateMutability") or "",
            *(str(_shape(item.get(part) or [])) for part in ("inputs", "outputs", "components")),
        )
        for item in items
    )
