"""Deploys the contracts and writes down where they are."""

from deltaroll.l1.deployment.development import deploy, load_gateway
from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.parameters import DeploymentParameters

__all__ = ["DeploymentError", "DeploymentParameters", "deploy", "load_gateway"]
