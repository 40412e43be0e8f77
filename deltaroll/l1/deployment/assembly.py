"""From a venue's file, or a developer's parameters, to a plan; from a plan to its registry."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ape.api import ProviderAPI
from ape.managers.project import ProjectManager

from deltaroll.l1.deployment.abi import Blueprint, read_blueprint
from deltaroll.l1.deployment.contracts import list_parts
from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.markets import list_bodies, try_bodies
from deltaroll.l1.deployment.parameters import (
    DeploymentParameters,
    Level,
    get_level,
    make_parameters,
    validate_decisions,
    validate_stakes,
)
from deltaroll.l1.deployment.plan import (
    FACTORY,
    MOCK_TOKEN,
    Addresses,
    Part,
    Plan,
    Step,
    get_blueprint,
    make_plan,
)
from deltaroll.l1.deployment.preflight import (
    PROBE,
    describe_bond,
    describe_token,
    try_transfer,
    validate_chain,
)
from deltaroll.l1.deployment.simulation import run_constructor
from deltaroll.l1.deployment.venue import TEST_TOKEN, VenueFile
from deltaroll.l1.registry import CONTRACTS, ContractEntry, Registry


@dataclass(frozen=True, slots=True)
class Prepared:
    """A venue that may be deployed."""

    plan: Plan
    parameters: DeploymentParameters
    notes: tuple[str, ...]
    """What is worth knowing before it is."""


def prepare(
    provider: ProviderAPI, venue: VenueFile, blueprints: Mapping[str, Blueprint], deployer: str
) -> Prepared:
    """Check a venue in every way that needs no transaction, and plan it.

    Raises
    ------
    DeploymentError
        Names field, value and rule.
    L1Error
        When the node does not answer.
    """
    addresses = Addresses(get_blueprint(blueprints, FACTORY).code, deployer, venue.venue)
    is_test = venue.token == TEST_TOKEN
    if is_test and get_level(venue.chain_id) == Level.MAINNET:
        raise DeploymentError(f"token: a test token on chain {venue.chain_id}: anyone can mint it")
    bodies = list_bodies(venue.markets)
    parameters = make_parameters(
        venue,
        deployer,
        addresses[MOCK_TOKEN] if is_test else venue.token,
        tuple(body for _, body in bodies),
    )
    validate_decisions(parameters)
    validate_stakes(venue, parameters)
    validate_chain(provider, venue, parameters)
    try_bodies(bodies, int(provider.get_block("latest").timestamp))
    notes = [describe_bond(provider, parameters.bond)]
    if not is_test:
        notes.append(inspect_token(provider, venue, blueprints, deployer))
    token = (Part(MOCK_TOKEN, {}),) if is_test else ()
    plan = make_plan(blueprints, addresses, (*token, *list_parts(addresses, parameters)))
    return Prepared(plan, parameters, tuple(notes))


def inspect_token(
    provider: ProviderAPI, venue: VenueFile, blueprints: Mapping[str, Blueprint], deployer: str
) -> str:
    """Check a collateral and return what is known about it; raises like `prepare`."""
    symbol = describe_token(provider, venue.token)
    holder = venue.token_holder or deployer
    probe = run_constructor(provider, PROBE, holder, get_blueprint(blueprints, PROBE).code, {})
    if try_transfer(provider, venue.token, holder, probe):
        return f"token: {symbol}, moves exactly what is sent"
    return (
        f"token: {symbol}; transfers were not tried: {holder} holds none (`token_holder` names "
        "somebody who does)"
    )


def read_blueprints(project: ProjectManager) -> dict[str, Blueprint]:
    """Return what Ape has compiled of a venue's contracts."""
    blueprints = {}
    for name in (FACTORY, *CONTRACTS):
        contract = getattr(project, name).contract_type
        abi = [entry.model_dump(mode="json", by_alias=True) for entry in contract.abi]
        blueprints[name] = read_blueprint(name, abi, bytes(contract.get_deployment_bytecode()))
    return blueprints


def validate_registry(steps: Iterable[Step], registry: Registry) -> None:
    """Check that contracts which are there were made with what the plan says, going by what an
    earlier run wrote down: some of it, like the holders of roles, does not show in code.

    Raises
    ------
    DeploymentError
    """
    for step in steps:
        entry = registry.contracts.get(step.name)
        if entry is None or entry.address != step.address:
            continue
        for name, value in step.arguments.items():
            if entry.arguments.get(name) != value:
                raise DeploymentError(
                    f"{step.name}: deployed with {name} = {entry.arguments.get(name)}; the file "
                    f"now says {value}: take another `venue`"
                )


def make_registry(
    provider: ProviderAPI, plan: Plan, token: str, blocks: Mapping[str, int]
) -> Registry:
    """Return the registry of the contracts that are there, each with its block."""
    entries = {
        step.name: ContractEntry(step.address, blocks[step.name], step.arguments)
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
