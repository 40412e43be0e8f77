"""Ape's cache keeps what is current and loses what is not."""

import json
from pathlib import Path

from tools.ape_cache import drop_outdated
from tools.compile import Artifact, Json

METADATA = bytes.fromhex("a264697066735822")


def artifact(name: str, code: bytes, source: str = "contracts/A.sol") -> Artifact:
    return Artifact(name=name, source=source, abi=[], bytecode=code, deployed_bytecode=b"")


def entry(name: str, code: bytes, source: str = "contracts/A.sol", abi: object = ()) -> Json:
    deployment = {"bytecode": "0x" + code.hex()}
    return {"contractName": name, "sourceId": source, "abi": abi, "deploymentBytecode": deployment}


def write_cache(root: Path, *entries: Json) -> None:
    path = root / ".build" / "__local__.json"
    path.parent.mkdir()
    types = {item["contractName"]: item for item in entries}
    path.write_text(json.dumps({"contractTypes": types, "sources": {}}), encoding="utf-8")


def cached(root: Path) -> set[str]:
    text = (root / ".build" / "__local__.json").read_text(encoding="utf-8")
    return set(json.loads(text)["contractTypes"])


def test_drop__no_cache__nothing(tmp_path: Path) -> None:
    assert drop_outdated(tmp_path, {"A": artifact("A", b"\x01")}) == []


def test_drop__same_code_but_metadata__kept(tmp_path: Path) -> None:
    write_cache(tmp_path, entry("A", b"\x60" + METADATA + bytes(34) + b"\x64"))
    ours = artifact("A", b"\x60" + METADATA + bytes([7]) * 34 + b"\x64")
    assert drop_outdated(tmp_path, {"A": ours}) == []
    assert cached(tmp_path) == {"A"}


def test_drop__other_code__dropped_with_its_whole_source(tmp_path: Path) -> None:
    write_cache(
        tmp_path,
        entry("A", b"\x01"),
        entry("Beside", b"\x02"),
        entry("Other", b"\x03", "contracts/O.sol"),
    )
    ours = {
        "A": artifact("A", b"\xff"),
        "Beside": artifact("Beside", b"\x02"),
        "Other": artifact("Other", b"\x03", "contracts/O.sol"),
    }
    assert drop_outdated(tmp_path, ours) == ["A"]
    assert cached(tmp_path) == {"Other"}


def test_drop__interface_with_other_abi__dropped(tmp_path: Path) -> None:
    function = {"type": "function", "name": "f", "stateMutability": "view"}
    write_cache(tmp_path, entry("A", b"", abi=[function | {"inputs": [{"type": "int256"}]}]))
    ours = Artifact("A", "contracts/A.sol", [function | {"inputs": [{"type": "uint8"}]}], b"", b"")
    assert drop_outdated(tmp_path, {"A": ours}) == ["A"]


def test_drop__contract_gone__forgotten(tmp_path: Path) -> None:
    write_cache(tmp_path, entry("Gone", b"\x01"))
    assert drop_outdated(tmp_path, {}) == ["Gone"]
    assert cached(tmp_path) == set()
