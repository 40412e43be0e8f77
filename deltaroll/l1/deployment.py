"""Deploys the contracts and writes down where they are."""

from collections.abc import Sequence
from dataclasses import dataclass

from ape.api import AccountAPI, ProviderAPI
from ape.contracts import ContractContainer, ContractInstance
from ape.managers.project import ProjectManager
from eth_utils.address import is_checksum_address, is_hex_address

from deltaroll.l1.gateway import Contracts, Gateway
from deltaroll.l1.registry import CONTRACTS, ContractEntry, Registry
from deltaroll.protocol.leaf import hash_globals
from deltaroll.protocol.state import EMPTY_GLOBALS

ZERO = "0x" + bytes(20).hex()
PARAMETER_BITS = 64
"""Of every number that a venue decides."""
TIMES = (
    "challenge_window",
    "forced_delay",
    "proposer_delay",
    "freeze_delay",
    "oracle_delay",
    "claim_window",
    "outflow_period",
    "outflow_delay",
)


class DeploymentError(Exception):
    """A parameter of a deployment is wrong, or a contract is not where it was predicted."""


@dataclass(frozen=True, slots=True)
class DeploymentParameters:
    """What a venue decides once."""

    token: str
    """The collateral, an ERC-20 without fees on transfer."""
    sequencer: str
    governor: str
    challenge_window: int = 7 * 24 * 3600
    """Seconds."""
    forced_delay: int = 12 * 3600
    """Seconds."""
    proposer_delay: int = 12 * 3600
    """Seconds."""
    freeze_delay: int = 7 * 24 * 3600
    """Seconds without a batch, with a message waiting, after which anyone may freeze."""
    oracle_delay: int = 14 * 24 * 3600
    """Seconds without a price of what somebody holds after which anyone may freeze."""
    claim_window: int = 30 * 24 * 3600
    """Seconds in which equity is registered before a frozen rollup pays."""
    bond: int = 10**18
    """Wei."""
    outflow_ppm: int = 200_000
    """Parts per million of the vault that may leave at once; a million: no limit."""
    outflow_period: int = 24 * 3600
    """Seconds in which that is replenished."""
    outflow_delay: int = 24 * 3600
    """Seconds that an exit beyond it waits."""
    cap_initial: int = 0
    """Most collateral units that the vault may hold at first; all three zero: no cap."""
    cap_per_day: int = 0
    """Collateral units that the cap grows by in a day."""
    cap_end: int = 0
    """When the cap ends, in seconds since 1970."""


def validate_address(name: str, value: str) -> None:
    """Check that a parameter is an address, its checksum right if it has one, and not zero.

    Raises
    ------
    DeploymentError
    """
    is_plain = is_hex_address(value) and value.startswith("0x") and value == value.lower()
    if not is_plain and not is_checksum_address(value):
        raise DeploymentError(f"{name}: {value} is not an address")
    if value == ZERO:
        raise DeploymentError(f"{name}: the zero address")


def validate_decisions(parameters: DeploymentParameters) -> None:
    """Check the parameters that do not depend on a chain: all but the token.

    Raises
    ------
    DeploymentError
        Names field, value and rule.
    """
    for name in ("sequencer", "governor"):
        validate_address(name, getattr(parameters, name))
    for name in (*TIMES, "bond", "outflow_ppm"):
        value = getattr(parameters, name)
        if value <= 0:
            raise DeploymentError(f"{name}: {value} is not positive")
        if value >= 1 << PARAMETER_BITS:
            raise DeploymentError(f"{name}: {value} does not fit {PARAMETER_BITS} bits")


def validate_parameters(provider: ProviderAPI, parameters: DeploymentParameters) -> None:
    """Check all parameters before the first transaction.

    Raises
    ------
    DeploymentError
        Names field, value and rule.
    """
    validate_decisions(parameters)
    validate_address("token", parameters.token)
    if not provider.get_code(parameters.token):
        raise DeploymentError(f"token: {parameters.token} has no code on this chain")


def deploy(
    project: ProjectManager,
    provider: ProviderAPI,
    deployer: AccountAPI,
    parameters: DeploymentParameters,
) -> Registry:
    """Deploy all contracts, in an order in which each checks the ones before it.

    Addresses that a constructor needs before they exist are predicted from the deployer's nonce;
    the contract that gets one checks that it is itself.

    Raises
    ------
    DeploymentError
        Before the first transaction for a wrong parameter.
    """
    validate_parameters(provider, parameters)
    nonce = deployer.nonce
    bridge = str(deployer.get_deployment_address(nonce + 1))
    inbox = str(deployer.get_deployment_address(nonce + 2))
    prover = str(deployer.get_deployment_address(nonce + 9))
    escape_hatch = str(deployer.get_deployment_address(nonce + 10))
    entries: dict[str, ContractEntry] = {}

    def create(name: str, *arguments: object) -> str:
        container: ContractContainer = getattr(project, name)
        instance = deployer.deploy(container, *arguments)
        abi = container.contract_type.constructor.inputs
        named = {
            (entry.name or str(place)): _to_json(value)
            for place, (entry, value) in enumerate(zip(abi, arguments, strict=True))
        }
        entries[name] = ContractEntry(instance.address, instance.creation_metadata.block, named)
        return str(instance.address)

    limit = (parameters.outflow_ppm, parameters.outflow_period, parameters.outflow_delay)
    cap = (parameters.cap_initial, parameters.cap_per_day, parameters.cap_end)
    vault = create("MarginVault", parameters.token, bridge, escape_hatch, limit)
    _expect("Bridge", bridge, create("Bridge", vault, inbox, parameters.governor, cap))
    configuration = (
        bridge,
        prover,
        escape_hatch,
        parameters.sequencer,
        parameters.challenge_window,
        parameters.forced_delay,
        parameters.proposer_delay,
        parameters.bond,
        hash_globals(EMPTY_GLOBALS),
    )
    _expect("RollupInbox", inbox, create("RollupInbox", configuration))
    option_pricer = create("OptionPricer")
    market_executor = create("MarketExecutor")
    account_executor = create("AccountExecutor")
    executor = create("TransitionExecutor", market_executor, account_executor, option_pricer)
    transition_verifier = create("TransitionVerifier", executor)
    signature_verifier = create("SignatureVerifier")
    _expect(
        "FraudProver",
        prover,
        create("FraudProver", inbox, transition_verifier, signature_verifier),
    )
    _expect(
        "EscapeHatch",
        escape_hatch,
        create(
            "EscapeHatch",
            inbox,
            parameters.freeze_delay,
            parameters.oracle_delay,
            parameters.claim_window,
        ),
    )
    return Registry(
        chain_id=provider.chain_id,
        network=provider.network_choice,
        token=parameters.token,
        block=entries["MarginVault"].block,
        contracts=entries,
    )


def load_gateway(project: ProjectManager, provider: ProviderAPI, registry: Registry) -> Gateway:
    """Return a gateway to a registered deployment."""
    found: dict[str, ContractInstance] = {
        name: getattr(project, name).at(registry.get_address(name), fetch_from_explorer=False)
        for name in CONTRACTS
    }
    contracts = Contracts(
        vault=found["MarginVault"],
        bridge=found["Bridge"],
        inbox=found["RollupInbox"],
        prover=found["FraudProver"],
        escape_hatch=found["EscapeHatch"],
        token=project.MockUSDC.at(registry.token, fetch_from_explorer=False),
    )
    return Gateway(provider, contracts, registry.block)


def _expect(name: str, predicted: str, actual: str) -> None:
    if predicted != actual:
        raise DeploymentError(f"{name}: deployed at {actual} instead of {predicted}")


def _to_json(value: object) -> object:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_to_json(entry) for entry in value]
    return value
