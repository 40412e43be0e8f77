"""One venue on a real L1 for all scenarios; Ape's isolation takes every test back to its base."""

import pytest
from ape import networks, project

from tests.scenarios.support import Lab, Venue, create_venue


@pytest.fixture(scope="session")
def venue(accounts, tmp_path_factory) -> Venue:
    store = tmp_path_factory.mktemp("base") / "sequencer.sqlite"
    return create_venue(project, networks.provider, accounts, store)


@pytest.fixture
def lab(venue, tmp_path) -> Lab:
    return Lab(venue, tmp_path)
