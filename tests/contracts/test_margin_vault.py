"""Nobody but the bridge moves money out."""

from ape import project

from tests.contracts.support import ZERO_ADDRESS, Revert, deployment_outcome, outcome


def test_release__by_anyone_else__reverts(vault, inbox, prover, alice, deployer, governor):
    for caller in (alice, deployer, governor, inbox, prover, vault):
        expected = Revert("MarginVault_NotBridge", caller)
        assert outcome(vault.release, caller, 0, sender=caller) == expected


def test_release__more_than_there_is__reverts(vault, bridge, alice):
    expected = Revert("ERC20InsufficientBalance", vault, 0, 1)
    assert outcome(vault.release, alice, 1, sender=bridge) == expected


def test_constructor__token_without_code__reverts(bridge, alice):
    result = deployment_outcome(project.MarginVault, alice, bridge, bridge, sender=alice)
    assert result == Revert("MarginVault_InvalidAddress", alice)


def test_constructor__zero_bridge__reverts(token, alice):
    result = deployment_outcome(project.MarginVault, token, ZERO_ADDRESS, alice, sender=alice)
    assert result == Revert("MarginVault_InvalidAddress", ZERO_ADDRESS)
