"""The fast compiler follows imports, caches by content and survives being called twice."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tools import compile as compiler
from tools.compile import ROOT, CompileError, compile_contracts

HEAD = "// SPDX-License-Identifier: MIT\npragma solidity 0.8.37;\n"

SOURCES = {
    "Token.sol": """
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Fee} from "./lib/Fee.sol";
contract Token {
    IERC20 public asset;
    function fee(uint256 amount) external pure returns (uint256) { return Fee.compute(amount); }
}""",
    "lib/Fee.sol": """
library Fee {
    function compute(uint256 amount) internal pure returns (uint256) { return amount / 100; }
}""",
    "Alone.sol": "interface IAlone { function touch() external; } contract Alone {}",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    (tmp_path / "ape-config.yaml").symlink_to(ROOT / "ape-config.yaml")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    (tmp_path / "tools" / "solc").symlink_to(ROOT / "tools" / "solc")
    for name, text in SOURCES.items():
        write(tmp_path, name, text)
    return tmp_path


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sources handed to the compiler, in call order."""
    calls: list[str] = []
    run = compiler._run_compiler

    def record(project: compiler.Project, tree: compiler.SourceTree, entries: list[str]) -> object:
        calls.extend(entries)
        return run(project, tree, entries)

    monkeypatch.setattr(compiler, "_run_compiler", record)
    return calls


def write(root: Path, name: str, text: str) -> None:
    path = root / "contracts" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + text, encoding="utf-8")


def test_compile__first_time__every_contract(root: Path) -> None:
    artifacts = compile_contracts(root)
    assert list(artifacts) == ["Alone", "Fee", "IAlone", "Token"]
    assert artifacts["Token"].source == "contracts/Token.sol"
    assert len(artifacts["Token"].bytecode) > len(artifacts["Token"].deployed_bytecode) > 0
    assert artifacts["IAlone"].bytecode == b""
    assert {entry["name"] for entry in artifacts["IAlone"].abi} == {"touch"}


def test_compile__nothing_changed__loads_equal_artifacts(root: Path, compiled: list[str]) -> None:
    first = compile_contracts(root)
    compiled.clear()
    assert compile_contracts(root) == first
    assert compiled == []


def test_compile__import_changed__only_dependents_compiled(root: Path, compiled: list[str]) -> None:
    before = compile_contracts(root)["Token"]
    compiled.clear()
    write(root, "lib/Fee.sol", SOURCES["lib/Fee.sol"].replace("100", "200"))
    assert compile_contracts(root)["Token"].deployed_bytecode != before.deployed_bytecode
    assert sorted(compiled) == ["contracts/Token.sol", "contracts/lib/Fee.sol"]


def test_compile__contract_removed__artifact_removed(root: Path) -> None:
    compile_contracts(root)
    (root / "contracts" / "Alone.sol").unlink()
    assert list(compile_contracts(root)) == ["Fee", "Token"]
    assert not (root / "build" / "contracts" / "Alone.json").exists()


def test_compile__error__compiler_words(root: Path) -> None:
    write(root, "Bad.sol", "contract Bad { uint256 x = true; }")
    with pytest.raises(CompileError, match=r"TypeError(.|\n)*contracts/Bad\.sol:3"):
        compile_contracts(root)


def test_compile__one_name_twice__refused(root: Path) -> None:
    write(root, "Other.sol", "contract Alone {}")
    with pytest.raises(CompileError, match=r"Alone is in contracts/Alone\.sol and in"):
        compile_contracts(root)


def test_compile__library_by_address__refused(root: Path) -> None:
    write(root, "lib/Fee.sol", SOURCES["lib/Fee.sol"].replace("internal", "external"))
    with pytest.raises(CompileError, match="Token calls a library by address"):
        compile_contracts(root)


def test_compile__two_processes__same_result(root: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        first, second = pool.map(compile_contracts, [root, root])
    assert first == second
