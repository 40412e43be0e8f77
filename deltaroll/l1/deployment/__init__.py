"""Deploys the contracts and writes down where they are."""

from collections.abc import Mapping

from ape.api import AccountAPI, ProviderAPI
from ape.contracts import ContractInstance
from ape.managers.project import ProjectManager

from deltaroll.l1.deployment.abi import Blueprint, read_blueprint
from deltaroll.l1.deployment.contracts import list_parts
from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.execution import execute_at_once
from deltaroll.l1.deployment.parameters import (
    DeploymentParameters,
    validate_decisions,
    validate_parameters,
)
from deltaroll.l1.deployment.plan import FACTORY, Addresses, Plan, make_plan
from deltaroll.l1.gateway import Contracts, Gateway
from deltaroll.l1.registry import CONTRACTS, ContractEntry, Registry
from deltaroll.l1.sending import Sender

__all__ = [
    "DeploymentError",
    "DeploymentParameters",
    "deploy",
    "load_gateway",
    "make_registry",
    "plan_venue",
    "read_blueprints",
    "validate_decisions",
    "validate_parameters",
]


def read_blueprints(project: ProjectManager) -> dict[str, Blueprint]:
    """Return what Ape has compiled of a venue's contracts."""
    blueprints = {}
    for name in (FACTORY, *CONTRACTS):
        contract = getattr(project, name).contract_type
        abi = [entry.model_dump(mode="json", by_alias=True) for entry in contract.abi]
        blueprints[name] = read_blueprint(name, abi, bytes(contract.get_deployment_bytecode()))
    return blueprints


def plan_venue(
    blueprints: Mapping[str, Blueprint],
    deployer: str,
    name: str,
    parameters: DeploymentParameters,
) -> Plan:
    """Return the plan of a venue."""
    addresses = Addresses(blueprints[FACTORY].code, deployer, name)
    return make_plan(blueprints, addresses, list_parts(addresses, parameters))


def make_registry(
    provider: ProviderAPI, plan: Plan, token: str, blocks: Mapping[str, int]
) -> Registry:
    """Return the registry of the contracts that are there, each with its block."""
    entries = {
        step.name: ContractEntry(step.address, blocks[step.name], dict(step.arguments))
        for step in plan.steps
        if step.name in blocks
    }
    return Registry(
        chain_id=provider.chain_id,
        network=provider.network_choice,
        token=token,
        block=min(blocks.values(), default=0),
        contracts=entries,
        venue=plan.venue,
        deployer=plan.deployer,
        factory=plan.factory,
    )


def deploy(
    project: ProjectManager,
    provider: ProviderAPI,
    deployer: AccountAPI,
    parameters: DeploymentParameters,
) -> Registry:
    """Deploy a venue on a development chain, all in one go.

    Raises
    ------
    DeploymentError
        Before the first transaction for a wrong parameter.
    """
    validate_parameters(provider, parameters)
    sender = Sender(provider, deployer)
    # Each a venue of its own, however many a test makes.
    name = f"development-{sender.get_nonce()}"
    plan = plan_venue(read_blueprints(project), str(deployer.address), name, parameters)
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
        token=project.MockUSDC.at(registry.token, fetch_from_explorer=False),
    )
    return Gateway(provider, contracts, registry.block)
