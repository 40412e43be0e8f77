"""Holds a deployment against its plan: what the chain says, and nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ape.api import ProviderAPI
from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from eth_utils.conversions import to_bytes

from deltaroll.l1.commitments import compute_header_hash, compute_queue_hash
from deltaroll.l1.deployment.abi import get_name, get_type
from deltaroll.l1.deployment.contracts import GATE, GENESIS_ROOT, TIMELOCK
from deltaroll.l1.deployment.parameters import DeploymentParameters
from deltaroll.l1.deployment.plan import FACTORY, Plan, Step, to_json
from deltaroll.l1.deployment.simulation import (
    call,
    find_block,
    get_code,
    get_time,
    run_constructor,
)
from deltaroll.l1.gateway import get_events, get_logs
from deltaroll.l1.types import BatchSubmitted, L1Event, MessageQueued
from deltaroll.protocol.constants import PROTOCOL_VERSION
from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.types import Address

PARAMETERS_DOMAIN = keccak(b"deltaroll.parameters.v1")
ROLE_GRANTED = keccak(b"RoleGranted(bytes32,address,address)")
ROLE_REVOKED = keccak(b"RoleRevoked(bytes32,address,address)")
ADMIN_ROLE = ZERO_HASH
PROPOSER_ROLE, EXECUTOR_ROLE, CANCELLER_ROLE = (
    keccak(name) for name in (b"PROPOSER_ROLE", b"EXECUTOR_ROLE", b"CANCELLER_ROLE")
)
ROLES = {
    ADMIN_ROLE: "admin",
    PROPOSER_ROLE: "proposer",
    EXECUTOR_ROLE: "executor",
    CANCELLER_ROLE: "canceller",
}
ANYONE = "0x" + bytes(20).hex()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    expected: str
    actual: str

    @property
    def is_good(self) -> bool:
        """Whether the chain says what it should."""
        return self.expected == self.actual


def check(
    provider: ProviderAPI, plan: Plan, parameters: DeploymentParameters, first_block: int
) -> list[Finding]:
    """Compare everything that a deployment decides with the chain.

    Parameters
    ----------
    first_block
        Not after the first contract's.

    Raises
    ------
    DeploymentError
        When a constructor cannot be run again.
    L1Error
        When the node does not answer.
    """
    findings = list(check_code(provider, plan))
    if not all(finding.is_good for finding in findings):
        # Nothing else says anything then.
        return findings
    steps = {step.name: step for step in plan.steps}
    last = int(provider.get_block("latest").number or 0)
    at = plan.addresses
    events = get_events(
        provider, at["RollupInbox"], at["Bridge"], at["EscapeHatch"], first_block, last
    )
    return [
        *findings,
        *(finding for step in plan.steps for finding in check_arguments(provider, step)),
        *check_names(provider, steps),
        *check_genesis(provider, steps, events),
        *check_queue(provider, steps, events, parameters),
        *check_roles(provider, steps, parameters, first_block, last),
    ]


def check_code(provider: ProviderAPI, plan: Plan) -> Iterator[Finding]:
    """Compare code, immutables included: with what the constructors return when they are run."""
    expected = run_constructor(provider, FACTORY, plan.factory, plan.factory_code, {})
    yield _compare_code(provider, FACTORY, plan.factory, expected)
    for step in plan.steps:
        if not get_code(provider, step.address):
            yield Finding(f"{step.name} code", "something", "nothing")
            continue
        time = get_time(provider, find_block(provider, plan, step))
        expected = run_constructor(provider, step.name, step.address, step.code, {}, time)
        yield _compare_code(provider, step.name, step.address, expected)


def check_arguments(provider: ProviderAPI, step: Step) -> Iterator[Finding]:
    """Ask for every constructor argument that has a getter of the same name."""
    getters = {entry["name"]: entry for entry in step.blueprint.getters}
    for name, entry, value in iter_arguments(step.blueprint.inputs, step.values):
        if name in getters and len(getters[name]["outputs"]) == 1:
            actual = read(provider, step, name)
            yield _compare(f"{step.name}.{name}", to_json(entry, value), actual)


def iter_arguments(
    inputs: Sequence[Mapping[str, Any]], values: Sequence[Any]
) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Yield arguments with their names and ABI entries, fields of structs one by one."""
    for entry, value in zip(inputs, values, strict=True):
        if entry["type"] == "tuple":
            yield from iter_arguments(entry["components"], value)
        else:
            yield get_name(entry), entry, value


def check_names(provider: ProviderAPI, steps: Mapping[str, Step]) -> Iterator[Finding]:
    """Compare what contracts derive from each other."""
    vault, inbox = steps["MarginVault"], steps["RollupInbox"]
    bridge, prover, hatch = steps["Bridge"], steps["FraudProver"], steps["EscapeHatch"]
    token = next(
        value
        for name, _, value in iter_arguments(vault.blueprint.inputs, vault.values)
        if name == "token"
    )
    address = Address(to_bytes(hexstr=inbox.address))
    (entry,), (values,) = inbox.blueprint.inputs, inbox.values
    parameter_hash = keccak(
        encode(
            ["bytes32", "uint256", "address", "address", get_type(entry), "uint256"],
            [
                PARAMETERS_DOMAIN,
                provider.chain_id,
                inbox.address,
                vault.address,
                values,
                PROTOCOL_VERSION,
            ],
        )
    )
    domain = compute_domain_separator(provider.chain_id, address)
    for step, name, expected in (
        (bridge, "token", token),
        (bridge, "escapeHatch", hatch.address),
        (inbox, "parameterHash", "0x" + parameter_hash.hex()),
        (prover, "bridge", bridge.address),
        (prover, "domainSeparator", "0x" + domain.hex()),
        (hatch, "bridge", bridge.address),
        (hatch, "vault", vault.address),
    ):
        yield _compare(f"{step.name}.{name}", expected, read(provider, step, name))


def check_genesis(
    provider: ProviderAPI, steps: Mapping[str, Step], events: Sequence[L1Event]
) -> Iterator[Finding]:
    """Compare the first header with the empty rollup's state and the hash that the inbox keeps."""
    inbox = steps["RollupInbox"]
    first = next((event for event in events if isinstance(event, BatchSubmitted)), None)
    if first is None:
        yield Finding("genesis", "a header", "none")
        return
    yield _compare("genesis state root", GENESIS_ROOT.hex(), first.header.post_root.hex())
    data = keccak(b"headerHash(uint64)")[:4] + encode(["uint64"], [0])
    stored = call(provider, inbox.address, data)
    yield _compare("genesis header", compute_header_hash(first.header).hex(), stored.hex())


def check_queue(
    provider: ProviderAPI,
    steps: Mapping[str, Step],
    events: Sequence[L1Event],
    parameters: DeploymentParameters,
) -> Iterator[Finding]:
    """Compare what the gate sent first with the venue's markets, and the queue with its hash."""
    messages = [event for event in events if isinstance(event, MessageQueued)]
    current = ZERO_HASH
    for event in messages:
        current = compute_queue_hash(current, event.message)
    if messages:
        data = keccak(b"queueHash(uint64)")[:4] + encode(["uint64"], [len(messages) - 1])
        stored = call(provider, steps["Bridge"].address, data)
        yield _compare(f"queue of {len(messages)} messages", current.hex(), stored.hex())
    if GATE not in steps:
        return
    gate = to_bytes(hexstr=steps[GATE].address)
    sent = [event.message.body for event in messages if event.message.sender == gate]
    for place, body in enumerate(parameters.initial):
        actual = sent[place].hex() if place < len(sent) else "nothing"
        yield Finding(f"initial message {place}", body.hex(), actual)


def check_roles(
    provider: ProviderAPI,
    steps: Mapping[str, Step],
    parameters: DeploymentParameters,
    first: int,
    last: int,
) -> Iterator[Finding]:
    """Compare the holders of every role of the timelock, none left out, with the intended ones."""
    if TIMELOCK not in steps or parameters.governance is None:
        return
    timelock = steps[TIMELOCK]
    holders: dict[bytes, set[str]] = {role: set() for role in ROLES}
    for log in get_logs(provider, (timelock.address,), first, last):
        topics = [_to_bytes(topic) for topic in log["topics"]]
        if topics[0] in (ROLE_GRANTED, ROLE_REVOKED):
            held = holders.setdefault(topics[1], set())
            holder = to_checksum_address(topics[2][12:])
            if topics[0] == ROLE_GRANTED:
                held.add(holder)
            else:
                held.discard(holder)
    proposers = {str(proposer) for proposer in parameters.governance.proposers}
    expected = {
        ADMIN_ROLE: {timelock.address},
        PROPOSER_ROLE: proposers,
        EXECUTOR_ROLE: {ANYONE},
        CANCELLER_ROLE: proposers,
    }
    for role, held in holders.items():
        name = ROLES.get(role, role.hex())
        yield _compare(
            f"timelock {name}", ", ".join(sorted(expected.get(role, ()))), ", ".join(sorted(held))
        )
    delay = read(provider, timelock, "getMinDelay")
    yield _compare("timelock delay", int(parameters.governance.delay), delay)


def read(provider: ProviderAPI, step: Step, name: str) -> Any:
    """Return what a getter of a contract answers, as a JSON value."""
    (entry,) = (entry for entry in step.blueprint.getters if entry["name"] == name)
    (output,) = entry["outputs"]
    answer = call(provider, step.address, keccak(f"{name}()".encode())[:4])
    (value,) = decode([get_type(output)], answer)
    return to_json(output, value)


def _compare(what: str, expected: Any, actual: Any) -> Finding:
    return Finding(what, str(expected).lower(), str(actual).lower())


def _compare_code(provider: ProviderAPI, name: str, address: str, expected: bytes) -> Finding:
    actual = get_code(provider, address)
    return Finding(f"{name} code", keccak(expected).hex(), keccak(actual).hex())


def _to_bytes(value: Any) -> bytes:
    return to_bytes(hexstr=value) if isinstance(value, str) else bytes(value)
