"""One venue on a real L1 for all scenarios; Ape's isolation takes every test back to its base."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ape import networks, project

from tests.scenarios.leaving import FIGURES
from tests.scenarios.support import REMOVALS, Lab, Venue, create_venue


@pytest.fixture(scope="session")
def venue(accounts: Sequence[Any], tmp_path_factory: pytest.TempPathFactory) -> Venue:
    store = tmp_path_factory.mktemp("base") / "sequencer.sqlite"
    return create_venue(project, networks.provider, accounts, store)


@pytest.fixture
def lab(venue: Venue, tmp_path: Path) -> Lab:
    return Lab(venue, tmp_path)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REMOVALS:
        gas, by_gas = max((removal.receipt.gas_used, removal.fraud.fault) for removal in REMOVALS)
        size, by_size = max((removal.calldata, removal.fraud.fault) for removal in REMOVALS)
        terminalreporter.write_line(
            f"scenarios: {len(REMOVALS)} lies removed, at most {gas:,} gas ({by_gas.name}) and "
            f"{size:,} bytes of calldata ({by_size.name})"
        )
    for figure in FIGURES:
        terminalreporter.write_line(f"scenarios: {figure}")
