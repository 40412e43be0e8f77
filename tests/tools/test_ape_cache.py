"""Ape deploys what the fast compiler made, and compiles nothing again."""

import json
from pathlib import Path

import pytest
from ape import compilers, project

from tools.ape_cache import fill_cache, strip_metadata
from tools.compile import ROOT, Artifact, Json, Project, compile_contracts

SETTINGS = """
solidity: {version: 0.8.37, evm_version: cancun, optimize: true, via_ir: true}
dependencies: []
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ape-config.yaml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "A.sol").write_text("contract A {}\n", encoding="utf-8")
    return tmp_path


def read(root: Path) -> Json:
    text = (root / ".build" / "__local__.json").read_text(encoding="utf-8")
    loaded: Json = json.loads(text)
    return loaded


def make_artifact(name: str) -> Artifact:
    return Artifact(name, "contracts/A.sol", [], b"\x01\x02", b"\x02")


def test_fill__no_cache__holds_sources_and_code(root: Path) -> None:
    fill_cache(root, {"A": make_artifact("A")})
    manifest = read(root)
    assert manifest["sources"]["contracts/A.sol"]["content"] == "contract A {}\n"
    assert manifest["contractTypes"]["A"]["deploymentBytecode"] == {"bytecode": "0x0102"}
    assert manifest["contractTypes"]["A"]["runtimeBytecode"] == {"bytecode": "0x02"}


def test_fill__contract_gone__forgotten(root: Path) -> None:
    fill_cache(root, {"A": make_artifact("A"), "Gone": make_artifact("Gone")})
    fill_cache(root, {"A": make_artifact("A")})
    assert set(read(root)["contractTypes"]) == {"A"}


def test_ape__every_contract__has_the_code_of_the_fast_compiler() -> None:
    artifacts = compile_contracts()
    assert artifacts
    for name, artifact in artifacts.items():
        contract = project.get_contract(name).contract_type
        assert contract.source_id == artifact.source
        bytecode = contract.deployment_bytecode
        code = str(bytecode.bytecode) if bytecode and bytecode.bytecode else "0x"
        assert code.removeprefix("0x") == artifact.bytecode.hex(), f"{name}: run make compile"


def test_ape__compiler_asked_for_one_source__makes_the_same_code() -> None:
    """Both name sources, remappings and settings alike."""
    artifact = compile_contracts()["MarginVault"]
    # In a copy: Ape removes its cache before it writes a new one, and others are reading it.
    with project.isolate_in_tempdir() as copy:
        made = {item.name: item for item in compilers.compile(copy.path / artifact.source, copy)}
    code = bytes.fromhex(str(made["MarginVault"].deployment_bytecode.bytecode).removeprefix("0x"))
    assert strip_metadata(code) == strip_metadata(artifact.bytecode)


def test_project__sources__are_those_that_ape_compiles() -> None:
    ours = set(Project(ROOT).entries())
    assert {source for source in project.sources if source.endswith(".sol")} == ours
