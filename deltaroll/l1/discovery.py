"""Finds a whole deployment from the address of its bridge: nobody has to be asked where things are.

Each contract names the ones around it and was built to check that they answer. What is checked here
again is that they do answer to each other: an address with a typing error is no deployment, and one
that somebody put in our way is at least a whole one.
"""

from typing import Any

from ape.api import ProviderAPI
from ape.contracts import ContractInstance
from ape.exceptions import ApeException
from ape.managers.project import ProjectManager
from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address
from web3.exceptions import Web3Exception

from deltaroll.l1.commitments import BATCH_SUBMITTED_TOPIC
from deltaroll.l1.gateway import MESSAGE_QUEUED_TOPIC, Contracts, Gateway
from deltaroll.protocol.hashing import ZERO_HASH

ANSWERS = (ApeException, Web3Exception, OSError, ValueError)
"""What a call ends in when there is no contract, another one, or no node."""


class DiscoveryError(Exception):
    """There is no deployment behind an address."""


def discover(
    project: ProjectManager, provider: ProviderAPI, bridge: str, first_block: int | None = None
) -> Gateway:
    """Return a gateway to the deployment that a bridge belongs to.

    Parameters
    ----------
    first_block
        A block before the deployment, to read events from; found when it is left out.

    Raises
    ------
    DiscoveryError
        When the address is no bridge, or the contracts do not answer to each other.
    """
    address = _to_address("bridge", bridge)
    _expect_code(provider, "bridge", address)
    found = _at(project, "Bridge", address)
    vault = _at(project, "MarginVault", _ask(found, "Bridge", "vault"))
    inbox = _at(project, "RollupInbox", _ask(found, "Bridge", "inbox"))
    hatch = _at(project, "EscapeHatch", _ask(found, "Bridge", "escapeHatch"))
    prover = _at(project, "FraudProver", _ask(inbox, "RollupInbox", "prover"))
    for name, contract, question, expected in (
        ("MarginVault", vault, "bridge", address),
        ("RollupInbox", inbox, "bridge", address),
        ("FraudProver", prover, "inbox", inbox.address),
        ("EscapeHatch", hatch, "inbox", inbox.address),
    ):
        _expect_code(provider, name, contract.address)
        answer = _ask(contract, name, question)
        if answer != expected:
            raise DiscoveryError(
                f"{name}: {contract.address} belongs to {answer}, not to {expected}"
            )
    contracts = Contracts(
        vault=vault,
        bridge=found,
        inbox=inbox,
        prover=prover,
        escape_hatch=hatch,
        token=_at(project, "MockUSDC", _ask(found, "Bridge", "token")),
    )
    if first_block is None:
        first_block = find_first_block(provider, address, inbox.address)
    return Gateway(provider, contracts, first_block)


def find_first_block(provider: ProviderAPI, bridge: str, inbox: str) -> int:
    """Return a block from which on no event of a deployment is missed: the one that the bridge was
    created in, or on a node that has no old states the one of its first event.

    Raises
    ------
    DiscoveryError
        When the node can say neither.
    """
    try:
        return _find_creation(provider, bridge)
    except ANSWERS:
        pass
    blocks = []
    for address, topic in ((bridge, MESSAGE_QUEUED_TOPIC), (inbox, BATCH_SUBMITTED_TOPIC)):
        question = {
            "address": address,
            "topics": ["0x" + topic.hex(), "0x" + ZERO_HASH.hex()],
            "fromBlock": "0x0",
            "toBlock": "latest",
        }
        try:
            logs: list[Any] = provider.make_request("eth_getLogs", [question])
        except ANSWERS as problem:
            raise DiscoveryError(
                f"first block: the node has neither old states nor a search over all blocks "
                f"({problem}): give it with --first-block"
            ) from problem
        blocks += [int(str(log["blockNumber"]), 16) for log in logs]
    if not blocks:
        raise DiscoveryError(f"inbox: {inbox} has posted no genesis")
    return min(blocks)


def _find_creation(provider: ProviderAPI, address: str) -> int:
    """Return the first block in whose state an address has code, by halving."""
    low, high = 0, int(str(provider.make_request("eth_blockNumber", [])), 16)
    while low < high:
        middle = (low + high) // 2
        if _has_code(provider, address, hex(middle)):
            high = middle
        else:
            low = middle + 1
    return low


def _has_code(provider: ProviderAPI, address: str, block: str) -> bool:
    code = provider.make_request("eth_getCode", [address, block])
    return code not in (None, "", "0x")


def _to_address(name: str, value: str) -> str:
    is_plain = is_hex_address(value) and value.startswith("0x") and value == value.lower()
    if not is_plain and not is_checksum_address(value):
        raise DiscoveryError(f"{name}: {value} is not an address")
    return str(to_checksum_address(value))


def _expect_code(provider: ProviderAPI, name: str, address: str) -> None:
    try:
        has_code = _has_code(provider, address, "latest")
    except ANSWERS as problem:
        raise DiscoveryError(f"{name}: {address}: {problem}") from problem
    if not has_code:
        raise DiscoveryError(f"{name}: {address} has no code on chain {provider.chain_id}")


def _at(project: ProjectManager, name: str, address: str) -> ContractInstance:
    instance: ContractInstance = getattr(project, name).at(address, fetch_from_explorer=False)
    return instance


def _ask(contract: ContractInstance, name: str, question: str) -> str:
    try:
        return str(getattr(contract, question)())
    except ANSWERS as problem:
        raise DiscoveryError(
            f"{name}: {contract.address} does not answer {question}(): no contract of ours"
        ) from problem
