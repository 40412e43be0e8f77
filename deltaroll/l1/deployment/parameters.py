"""What a venue decides once, checked before anything is sent."""

from dataclasses import dataclass

from ape.api import ProviderAPI

from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.units import parse_address

PARAMETER_BITS = 64
"""Of every number that a venue decides."""


@dataclass(frozen=True, slots=True)
class DeploymentParameters:
    """What the contracts are told."""

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
    bond: int = 10**18
    """Wei."""


def validate_address(name: str, value: str) -> None:
    """Check that a parameter is an address, its checksum right if it has one, and not zero.

    Raises
    ------
    DeploymentError
    """
    try:
        parse_address(value)
    except ValueError as problem:
        raise DeploymentError(f"{name}: {problem}") from None


def validate_decisions(parameters: DeploymentParameters) -> None:
    """Check the parameters that do not depend on a chain: all but the token.

    Raises
    ------
    DeploymentError
        Names field, value and rule.
    """
    for name in ("sequencer", "governor"):
        validate_address(name, getattr(parameters, name))
    for name in ("challenge_window", "forced_delay", "proposer_delay", "bond"):
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
