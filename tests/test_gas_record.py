"""The committed gas figures are the true ones."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_gas_record__measured_again__has_not_drifted():
    """On a node of its own, so that nothing that ran before can move a figure."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gas", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
