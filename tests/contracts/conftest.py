"""Named actors and one deployment for all contract tests."""

import pytest
from ape import project

from tests.contracts.support import BOND, Rollup, create_address, deploy_rollup

FUNDS = 1_000_000 * 10**6


@pytest.fixture(scope="session")
def deployer(accounts):
    return accounts[0]


@pytest.fixture(scope="session")
def sequencer(accounts):
    return accounts[1]


@pytest.fixture(scope="session")
def proposer(accounts):
    """Somebody with a bond who is not the sequencer."""
    return accounts[2]


@pytest.fixture(scope="session")
def challenger(accounts):
    return accounts[3]


@pytest.fixture(scope="session")
def rival(accounts):
    """A second challenger, maybe in league with the proposer."""
    return accounts[4]


@pytest.fixture(scope="session")
def governor(accounts):
    return accounts[5]


@pytest.fixture(scope="session")
def alice(accounts):
    return accounts[6]


@pytest.fixture(scope="session")
def bob(accounts):
    return accounts[7]


@pytest.fixture(scope="session")
def deploy(deployer, sequencer, governor):
    """Deploy a rollup around a token."""

    def deploy(token, **options) -> Rollup:
        return deploy_rollup(deployer, token, sequencer, governor, **options)

    return deploy


@pytest.fixture(scope="session")
def create_at():
    """Where an account's contract goes, `offset` transactions from now."""

    def create_at(account, offset: int = 0) -> str:
        return create_address(account.address, account.nonce + offset)

    return create_at


@pytest.fixture(scope="session")
def rollup(deploy, deployer, sequencer, proposer, alice):
    """A rollup with two bonded proposers; Alice has collateral and approved the bridge."""
    rollup = deploy(deployer.deploy(project.MockUSDC))
    rollup.inbox.bond(value=BOND, sender=sequencer)
    rollup.inbox.bond(value=BOND, sender=proposer)
    rollup.token.mint(alice, FUNDS, sender=alice)
    rollup.token.approve(rollup.bridge, FUNDS, sender=alice)
    return rollup


@pytest.fixture
def token(rollup):
    return rollup.token


@pytest.fixture
def vault(rollup):
    return rollup.vault


@pytest.fixture
def bridge(rollup):
    return rollup.bridge


@pytest.fixture
def inbox(rollup):
    return rollup.inbox


@pytest.fixture
def prover(rollup):
    return rollup.prover


@pytest.fixture
def genesis(rollup):
    return rollup.genesis
