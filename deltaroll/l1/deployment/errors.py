"""What goes wrong with a deployment."""


class DeploymentError(Exception):
    """A parameter is wrong, a chain is not as it has to be, or a contract is not as planned."""
