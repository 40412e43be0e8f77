"""The catalogue of incidents as one class of attacks: its tests, run in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from tests.adversary.campaign import Effort, Ledger, Row

ROOT = Path(__file__).parents[2]
CLASS = "catalogue N1 to N28"
TESTS = (
    "tests/adversary/test_catalogue.py",
    "tests/adversary/test_catalogue_disputes.py",
    "tests/adversary/test_catalogue_protocol.py",
)


def attack(effort: Effort) -> Iterable[Row]:
    """Run every case once, whatever the effort: an attempt is a test, and one that fails is an
    attack that went through.

    Raises
    ------
    RuntimeError
        When the tests could not be run.
    """
    del effort
    ledger = Ledger()
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        arguments = ["-q", "-p", "no:ape_test", "-k", "test_n", f"--junitxml={report}"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *TESTS, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1):
            raise RuntimeError(done.stdout + done.stderr)
        for case in ElementTree.parse(report).iter("testcase"):
            if case.find("failure") is None and case.find("error") is None:
                ledger.count(CLASS)
            else:
                ledger.accept(CLASS, case.get("name", ""))
    return ledger.to_rows()
