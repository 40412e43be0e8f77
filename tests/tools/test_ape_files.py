"""Ape sees all of our contracts, also with its copies of the packages among them."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEN = 500
"""Files that `ape.managers.project.SourceManager` looks at."""


def count_files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*.*"))


def test_contracts__with_the_copies_of_packages__are_few_enough_for_ape():
    packages = ROOT / "node_modules"
    copied = count_files(packages / "@openzeppelin" / "contracts")
    copied += count_files(packages / "solady" / "src")
    own = sum(
        path.is_file() for path in (ROOT / "contracts").rglob("*.*") if ".cache" not in path.parts
    )
    assert own + copied < SEEN


def test_contracts__packages_that_ape_copies__are_the_ones_counted():
    names = set(json.loads((ROOT / "package.json").read_text())["dependencies"])
    config = (ROOT / "ape-config.yaml").read_text()
    assert {name for name in names if f"npm: {name}" in config or f'npm: "{name}"' in config} == {
        "@openzeppelin/contracts",
        "solady",
    }
