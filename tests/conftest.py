"""Which tests run beside each other.

A worker of pytest-xdist has one chain, Ape's, and the tests of a folder build their deployments on
it once. Two folders at once would build on each other's: a venue moves the clock of the chain by
days, and a rollup that somebody else has deployed before is then a dead one. So all tests of such a
folder run on one worker, one after the other; other modules go where there is room.
"""

import pytest
from hypothesis import settings

# How long an example takes is the machine's business: speed is measured in benchmarks/.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

TOGETHER = ("contracts", "faults", "l1", "leave", "node", "scenarios")
"""Folders whose tests share deployments on Ape's chain."""

FIRST = ("adversary/test_machine", "faults", "scripts", "scenarios", "adversary", "contracts")
"""What plays with the time of whole chains gets a fresh one; then what takes longest starts first,
so that no worker is left with it at the end."""


def get_group(item: pytest.Item) -> str:
    """Return the name of what an item runs together with."""
    path = item.path.relative_to(item.config.rootpath / "tests")
    return path.parts[0] if path.parts[0] in TOGETHER else path.as_posix()


def get_rank(group: str) -> int:
    """Return the place of a group in the order of `FIRST`."""
    places = (place for place, name in enumerate(FIRST) if group.startswith(name))
    return next(places, len(FIRST))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group for `--dist loadgroup`; the order matters only when there are several workers."""
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        item.add_marker(pytest.mark.xdist_group(get_group(item)))
    items.sort(key=lambda item: get_rank(get_group(item)))
