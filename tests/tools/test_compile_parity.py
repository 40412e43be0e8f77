"""What the in-process tests run is what Ape deploys."""

import re

from ape import project

from tools.compile import compile_contracts

METADATA_HASH = re.compile(rb"(?<=\xa2\x64ipfs\x58\x22).{34}", re.DOTALL)
"""Hash over sources and settings at the end of a contract's code.

ape-solidity names only the remappings that the sources of one run use, so this hash depends on what
else had changed since the last run. The code before it does not.
"""


def strip_metadata(code: bytes) -> bytes:
    return METADATA_HASH.sub(bytes(34), code)


def test_compile__every_contract__same_code_as_ape() -> None:
    project.load_contracts()
    artifacts = compile_contracts()
    assert artifacts
    for name, artifact in artifacts.items():
        if artifact.bytecode:
            contract = project.get_contract(name).contract_type
            assert contract.source_id == artifact.source
            assert contract.deployment_bytecode is not None
            code = bytes.fromhex(str(contract.deployment_bytecode.bytecode).removeprefix("0x"))
            assert strip_metadata(code) == strip_metadata(artifact.bytecode), name
