"""The registry file: comes back as written, and says what is wrong with it."""

import json

import pytest

from deltaroll.l1.registry import (
    CONTRACTS,
    ContractEntry,
    Registry,
    RegistryError,
    get_registry_path,
    read_registry,
    write_registry,
)


def make_registry() -> Registry:
    entries = {
        name: ContractEntry(f"0x{place:040x}", 5 + place, {"bond": 10**18, "token": "0x1"})
        for place, name in enumerate(CONTRACTS, 1)
    }
    return Registry(
        1337, "ethereum:local:foundry", "0x" + "22" * 20, 5, entries, "venue", "0x3", "0x4"
    )


@pytest.fixture
def path(tmp_path):
    return get_registry_path(tmp_path / "deep" / "folder", 1337)


@pytest.fixture
def content(path):
    write_registry(path, make_registry())
    return json.loads(path.read_text())


def test_write_registry__new_folder__comes_back(path):
    write_registry(path, make_registry())
    assert read_registry(path, 1337) == make_registry()
    assert path.name == "1337.json"


def test_write_registry__again__same_bytes_and_nothing_else_in_the_folder(path, content):
    before = path.read_bytes()
    write_registry(path, make_registry())
    assert path.read_bytes() == before
    assert before.endswith(b"}\n")
    assert [entry.name for entry in path.parent.iterdir()] == ["1337.json"]


def test_write_registry__order__is_sorted(content):
    assert list(content) == sorted(content)
    assert list(content["contracts"]) == sorted(CONTRACTS)


def test_read_registry__missing__says_deploy_first(path):
    with pytest.raises(RegistryError, match=r"1337\.json does not exist: deploy first"):
        read_registry(path, 1337)


def test_read_registry__a_folder__says_deploy_first(path):
    path.mkdir(parents=True)
    with pytest.raises(RegistryError, match="does not exist"):
        read_registry(path, 1337)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"chain_id": 1337', '"chain_id": "1337"'),
        lambda text: text.replace('"block"', '"blok"'),
        lambda text: "\udcff" + text,
    ],
    ids=["empty", "half", "list", "type", "field", "bytes"],
)
def test_read_registry__malformed__names_the_file(path, content, spoil):
    path.write_bytes(spoil(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(RegistryError, match=r"1337\.json: "):
        read_registry(path, 1337)


@pytest.mark.parametrize("name", CONTRACTS)
def test_read_registry__contract_missing__names_it(path, content, name):
    del content["contracts"][name]
    path.write_text(json.dumps(content))
    with pytest.raises(RegistryError, match=f"contracts missing: {name}"):
        read_registry(path, 1337)


def test_read_registry__other_chain__names_both(path, content):
    with pytest.raises(RegistryError, match="is of chain 1337, connected to 1"):
        read_registry(path, 1)


def test_get_address__unknown_contract__is_an_error():
    registry = make_registry()
    assert registry.get_address("Bridge") == registry.contracts["Bridge"].address
    with pytest.raises(RegistryError, match="no contract Teleporter"):
        registry.get_address("Teleporter")
