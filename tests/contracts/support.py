"""What contract tests need besides Ape: errors by name, a deployed rollup, batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from ape import chain, project
from ape.api import AccountAPI, ReceiptAPI
from ape.contracts import ContractInstance
from eth_abi import decode
from eth_utils import function_abi_to_4byte_selector, keccak

from tests.contracts.reference import (
    HEADER_TYPE,
    NO_BRANCH,
    NO_MESSAGE,
    ZERO,
    Chunk,
    Header,
    Message,
    chunk_levels,
    tree_branch,
)

ZERO_ADDRESS = "0x" + "00" * 20
ETHER = 10**18
BOND = 10 * ETHER
CHALLENGE_WINDOW = 7 * 86_400
FORCED_DELAY = 12 * 3_600
PROPOSER_DELAY = 12 * 3_600
FREEZE_DELAY = 7 * 86_400
ORACLE_DELAY = 14 * 86_400
CLAIM_WINDOW = 30 * 86_400
FORCED_PER_BATCH = 256
LIMIT = (200_000, 86_400, 86_400)
"""Outflow: parts per million of the vault, period and delay in seconds."""
NO_LIMIT = (1_000_000, 86_400, 86_400)
NO_CAP = (0, 0, 0, 0)
GENESIS_ROOT = keccak(text="genesis")
ROOT = keccak(text="some state")
FOREVER = 2**64 - 1

BATCH_SUBMITTED = keccak(text=f"BatchSubmitted(uint64,bytes32,{HEADER_TYPE})")


# Errors


@dataclass(frozen=True)
class Revert:
    """A custom error and its arguments."""

    name: str
    arguments: tuple[Any, ...] = ()

    def __init__(self, name: str, *arguments: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", tuple(map(_plain, arguments)))


SUCCESS = None
CONTRACTS = (
    "MarginVault",
    "Bridge",
    "RollupInbox",
    "FraudProver",
    "EscapeHatch",
    "ConfigureGate",
    "ExitWindowTimelock",
    "Caller",
    "MockUSDC",
    "MockVerifier",
    "OddToken",
    "SwitchToken",
)
"""Where errors come from."""


def outcome(method: Any, *arguments: Any, sender: Any, value: int = 0, gas: int = 0) -> Any:
    """Simulate a call: `SUCCESS`, a `Revert`, or bare revert data. A hundred times faster than a
    transaction that `ape.reverts` expects to fail."""
    return _simulate(
        {
            "from": _address(sender),
            "to": method.contract.address,
            "data": method.encode_input(*arguments).hex(),
            "value": hex(value),
            "gas": hex(gas or 30_000_000),
        }
    )


def deployment_outcome(contract: Any, *arguments: Any, sender: Any) -> Any:
    """Simulate a deployment at the sender's next address."""
    code = contract(*arguments).data
    return _simulate({"from": _address(sender), "data": "0x" + bytes(code).hex()})


def _simulate(transaction: dict[str, Any]) -> Any:
    response = chain.provider.web3.provider.make_request("eth_call", [transaction, "latest"])
    if "error" not in response:
        return SUCCESS
    data = bytes.fromhex(response["error"].get("data", "0x")[2:])
    error = _errors().get(data[:4])
    if error is None:
        return data
    types = [_type(entry) for entry in error["inputs"]]
    return Revert(error["name"], *decode(types, data[4:]))


@cache
def _errors() -> dict[bytes, dict[str, Any]]:
    found: dict[bytes, dict[str, Any]] = {}
    for name in CONTRACTS:
        for error in project.get_contract(name).contract_type.errors:
            abi = error.model_dump(mode="json", by_alias=True)
            found[function_abi_to_4byte_selector({**abi, "type": "function"})] = abi
    return found


def _type(entry: dict[str, Any]) -> str:
    if not entry["type"].startswith("tuple"):
        return str(entry["type"])
    return "(" + ",".join(map(_type, entry["components"])) + ")" + entry["type"][5:]


def _address(who: Any) -> str:
    return str(getattr(who, "address", who))


def _plain(value: Any) -> Any:
    if hasattr(value, "address"):
        value = value.address
    if isinstance(value, str) and value.startswith("0x"):
        return value.lower()
    return bytes(value) if isinstance(value, (bytes, bytearray)) else value


# Time


def now() -> int:
    return int(chain.blocks.head.timestamp)


def advance(seconds: int) -> None:
    """Mine a block `seconds` after the last one."""
    chain.provider.web3.provider.make_request("evm_increaseTime", [hex(seconds)])
    set_time(now() + seconds)


def set_time(timestamp: int) -> None:
    """Mine a block at `timestamp`."""
    provider = chain.provider.web3.provider
    provider.make_request("evm_setNextBlockTimestamp", [hex(timestamp)])
    provider.make_request("evm_mine", [])


@contextmanager
def isolated() -> Iterator[None]:
    """Undo what the block does to the chain. Unlike Ape's `chain.isolate()`, which swallows
    whatever the block raises, failed assertions among it."""
    snapshot = chain.snapshot()
    try:
        yield
    finally:
        chain.restore(snapshot)


# A deployed rollup


@dataclass(frozen=True)
class Rollup:
    token: ContractInstance
    vault: ContractInstance
    bridge: ContractInstance
    inbox: ContractInstance
    verifier: ContractInstance
    prover: ContractInstance
    escape_hatch: ContractInstance
    genesis: Header


def create_address(deployer: str, nonce: int) -> str:
    """Where a deployer's next contracts go."""
    import rlp
    from eth_utils import to_canonical_address, to_checksum_address

    return to_checksum_address(keccak(rlp.encode([to_canonical_address(deployer), nonce]))[12:])


def deploy_rollup(
    deployer: AccountAPI,
    token: ContractInstance,
    sequencer: AccountAPI,
    governor: AccountAPI,
    limit: tuple[int, int, int] = NO_LIMIT,
    cap: tuple[int, int, int, int] = NO_CAP,
) -> Rollup:
    """Deploy the five contracts, each of which names the ones around it."""
    verifier = deployer.deploy(project.MockVerifier)
    nonce = deployer.nonce
    bridge_at, inbox_at, prover_at, hatch_at = (
        create_address(deployer.address, nonce + n) for n in (1, 2, 3, 4)
    )
    vault = deployer.deploy(project.MarginVault, token, bridge_at, hatch_at, limit)
    bridge = deployer.deploy(project.Bridge, vault, inbox_at, governor, cap)
    inbox = deployer.deploy(project.RollupInbox, parameters(bridge, prover_at, hatch_at, sequencer))
    prover = deployer.deploy(project.FraudProver, inbox, verifier, verifier)
    hatch = deployer.deploy(project.EscapeHatch, inbox, FREEZE_DELAY, ORACLE_DELAY, CLAIM_WINDOW)
    return Rollup(token, vault, bridge, inbox, verifier, prover, hatch, last_header(inbox))


def parameters(
    bridge: Any, prover: Any, escape_hatch: Any, sequencer: Any, /, **changes: Any
) -> tuple[Any, ...]:
    """Constructor argument of the inbox."""
    fields = {
        "bridge": bridge,
        "prover": prover,
        "escape_hatch": escape_hatch,
        "sequencer": sequencer,
        "challenge_window": CHALLENGE_WINDOW,
        "forced_delay": FORCED_DELAY,
        "proposer_delay": PROPOSER_DELAY,
        "bond_amount": BOND,
        "genesis_root": GENESIS_ROOT,
    }
    return tuple({**fields, **changes}.values())


# Batches


def chunk(post_root: bytes = ROOT, data: bytes = b"data", signatures: bytes = b"signed") -> Chunk:
    return Chunk(data, signatures, post_root)


def batch(
    previous: Header,
    chunks: Sequence[Chunk] | None = None,
    *,
    queue_end: int | None = None,
    queue_hash: bytes | None = None,
    deadline: int = FOREVER,
    next_message: Message = NO_MESSAGE,
) -> tuple[Any, ...]:
    """Argument of `submitBatch`."""
    return (
        previous,
        previous.queue_end if queue_end is None else queue_end,
        previous.queue_hash if queue_hash is None else queue_hash,
        deadline,
        next_message,
        [chunk()] if chunks is None else list(chunks),
    )


def post(
    rollup: Rollup, sender: AccountAPI, previous: Header, *arguments: Any, **options: Any
) -> Header:
    """Post a batch, return its header."""
    rollup.inbox.submitBatch(batch(previous, *arguments, **options), sender=sender)
    return last_header(rollup.inbox)


def last_header(inbox: ContractInstance) -> Header:
    """The header that was posted last."""
    logs = chain.provider.web3.eth.get_logs(
        {"address": inbox.address, "topics": [BATCH_SUBMITTED], "fromBlock": 0}
    )
    (fields,) = decode([HEADER_TYPE], bytes(logs[-1]["data"]))
    return Header(*fields)


def chunk_proof(
    header: Header, previous: Header, chunks: Sequence[Chunk], index: int, **changes: Any
) -> tuple[Any, ...]:
    """Argument of `prove` and `proveSignature`."""
    levels = chunk_levels([chunk.commitment for chunk in chunks])
    prior = chunks[index - 1] if index else Chunk(b"", b"", ZERO)
    fields = {
        "header": header,
        "previous": previous,
        "index": index,
        "signature_hash": keccak(chunks[index].signatures),
        "post_root": chunks[index].post_root,
        "branch": tree_branch(levels, index),
        "prior_data_hash": keccak(prior.data),
        "prior_signature_hash": keccak(prior.signatures),
        "prior_post_root": prior.post_root,
        "prior_branch": tree_branch(levels, index - 1) if index else NO_BRANCH,
    }
    return tuple({**fields, **changes}.values())


# Witnesses that MockVerifier obeys

HONEST = b"\x00" + bytes(32)
REVERT = b"\x01"
BURN_GAS = b"\x02"
SHOW_CONTEXT = b"\x03"


def verdict(fault: int) -> bytes:
    return b"\x00" + fault.to_bytes(32, "big")


def remove(
    rollup: Rollup,
    challenger: AccountAPI,
    header: Header,
    previous: Header,
    chunks: Sequence[Chunk] = (chunk(),),
    fault: int = 6,
) -> ReceiptAPI:
    """Prove the first chunk of a batch wrong."""
    arguments = (chunk_proof(header, previous, chunks, 0), chunks[0].data, verdict(fault))
    return rollup.prover.prove(*arguments, sender=challenger)
