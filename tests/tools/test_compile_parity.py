"""What the in-process tests run is what Ape deploys."""

from ape import project

from tools.ape_cache import strip_metadata
from tools.compile import compile_contracts


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
            ours = strip_metadata(artifact.bytecode)
            assert strip_metadata(code) == ours, f"{name}: run make compile"
