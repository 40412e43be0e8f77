"""What tests, demo and benchmarks use: a venue in one call, and its contracts ready to call."""

from ape.api import AccountAPI, ProviderAPI
from ape.contracts import ContractInstance
from ape.managers.project import ProjectManager

from deltaroll.l1.deployment.assembly import make_registry, read_blueprints
from deltaroll.l1.deployment.contracts import list_parts
from deltaroll.l1.deployment.execution import execute_at_once
from deltaroll.l1.deployment.parameters import DeploymentParameters, validate_decisions
from deltaroll.l1.deployment.plan import FACTORY, Addresses, make_plan
from deltaroll.l1.deployment.preflight import validate_token_code
from deltaroll.l1.gateway import Contracts, Gateway
from deltaroll.l1.registry import CONTRACTS, Registry
from deltaroll.l1.sending import Sender


def deploy(
    project: ProjectManager,
    provider: ProviderAPI,
    deployer: AccountAPI,
    parameters: DeploymentParameters,
) -> Registry:
    """Deploy a venue on a development chain, all in one go. Each call makes another venue.

    Raises
    ------
    DeploymentError
        Before the first transaction for a wrong parameter.
    """
    validate_decisions(parameters)
    validate_token_code(provider, parameters.token)
    sender = Sender(provider, deployer)
    blueprints = read_blueprints(project)
    name = f"development-{sender.get_nonce()}"
    addresses = Addresses(blueprints[FACTORY].code, str(deployer.address), name)
    plan = make_plan(blueprints, addresses, list_parts(addresses, parameters))
    blocks = execute_at_once(sender, plan)
    return make_registry(provider, plan, parameters.token, blocks)


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
