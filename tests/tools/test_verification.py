"""Verification input: compiling it, and nothing else, gives what is on the chain."""

import json
import os
import subprocess
from typing import Any

import pytest
from eth_abi import encode
from pyrevm import EVM

from deltaroll.l1.deployment.plan import FACTORY
from tests.l1.venues import make_address
from tests.protocol.evm import artifacts
from tools.compile import ROOT, Project, get_path
from tools.verification import INDEX, Deployed, get_compiler_version, write_verification

TOKEN, DEPLOYER = make_address("token"), make_address("deployer")
VAULT_ARGUMENTS = encode(
    ["address", "address", "address", "(uint32,uint64,uint64)"],
    [TOKEN, make_address("bridge"), make_address("escape hatch"), (200_000, 86_400, 86_400)],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verification") / "1"
    known = artifacts()
    write_verification(
        folder,
        known,
        {
            FACTORY: Deployed("0xfac", known[FACTORY].bytecode),
            "MarginVault": Deployed("0xacc", known["MarginVault"].bytecode + VAULT_ARGUMENTS),
        },
    )
    return folder


def compile_input(content: dict[str, Any], contract: str) -> dict[str, Any]:
    """What the pinned compiler makes of an input, as an explorer would ask it."""
    content["settings"]["outputSelection"] = {"*": {"*": ["evm"]}}
    source, name = contract.split(":")
    done = subprocess.run(
        [Project(ROOT).compiler],
        input=json.dumps(content),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": get_path()},
    )
    compiled: dict[str, Any] = json.loads(done.stdout)["contracts"][source][name]["evm"]
    return compiled


def mask(code: bytes, references: dict[str, list[dict[str, int]]]) -> bytes:
    """Code with its immutables blank."""
    masked = bytearray(code)
    for places in references.values():
        for place in places:
            masked[place["start"] : place["start"] + place["length"]] = bytes(place["length"])
    return bytes(masked)


@pytest.mark.parametrize("name", [FACTORY, "MarginVault"])
def test_write_verification__compiled__is_the_code_on_the_chain(folder, name):
    form = json.loads((folder / INDEX).read_text())[name]
    content = json.loads((folder / form["input"]).read_text())
    compiled = compile_input(content, form["contract"])
    creation = bytes.fromhex(compiled["bytecode"]["object"])
    # Metadata hash and all.
    assert creation == artifacts()[name].bytecode

    evm = EVM()
    if name == "MarginVault":
        token = evm.deploy(DEPLOYER, artifacts()["MockUSDC"].bytecode)
        arguments = bytes(12) + bytes.fromhex(token[2:]) + bytes.fromhex(form["arguments"])[32:]
    else:
        arguments = bytes.fromhex(form["arguments"])
    address = evm.deploy(DEPLOYER, creation + arguments)
    references = compiled["deployedBytecode"]["immutableReferences"]
    runtime = bytes.fromhex(compiled["deployedBytecode"]["object"])
    # pyrevm pads code.
    on_chain = bytes(evm.get_code(address))[: len(runtime)]
    assert bool(references) == (name == "MarginVault") == (on_chain != runtime)
    assert mask(on_chain, references) == mask(runtime, references)


def test_write_verification__form__has_what_an_explorer_asks_for(folder):
    forms = json.loads((folder / INDEX).read_text())
    assert forms[FACTORY]["arguments"] == ""
    assert forms["MarginVault"] == {
        "address": "0xacc",
        "arguments": VAULT_ARGUMENTS.hex(),
        "compiler": get_compiler_version(Project(ROOT)),
        "contract": "contracts/MarginVault.sol:MarginVault",
        "input": "MarginVault.json",
    }
    assert forms[FACTORY]["compiler"].startswith("v0.8.37+commit.")


def test_write_verification__input__holds_every_source_and_no_path_of_this_machine(folder):
    text = (folder / "MarginVault.json").read_text()
    assert str(ROOT) not in text
    assert set(json.loads(text)["sources"]) >= {
        "contracts/MarginVault.sol",
        "contracts/interfaces/IMarginVault.sol",
        "contracts/.cache/openzeppelin/5.7.0/token/ERC20/IERC20.sol",
    }
