"""Resolve the dependencies again and write both lock files.

The locks name no registry: whoever installs uses the one that their machine is set up for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
UV = "uv==0.13.9"

CPUS = {"amd64": "x64", "arm64": "arm64"}
"""Processor in a Foundry package's name -> in npm's words."""


def lock_python() -> None:
    """Write `requirements.lock`: one resolution for every platform, with hashes."""
    with TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        binaries = Path(folder) / "bin"
        subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", UV], check=True)
        options = "--extra dev --universal --python-version 3.11 --generate-hashes"
        output = "--no-header --no-emit-index-url --quiet --output-file requirements.lock"
        subprocess.run(
            [binaries / "uv", "pip", "compile", "pyproject.toml", *f"{options} {output}".split()],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def lock_node() -> None:
    """Write `package-lock.json`, with the native programs of every platform.

    npm leaves an optional package out of the lock where its registry does not serve it, and then
    refuses to install from that lock. A registry mirror may carry one platform only, so the other
    platforms' packages are entered here, by version and without a hash.
    """
    npm = Path(sys.prefix) / "bin" / "npm"
    subprocess.run(
        [npm, "install", "--package-lock-only", "--ignore-scripts"], cwd=ROOT, check=True
    )
    path = ROOT / "package-lock.json"
    lock = json.loads(path.read_text(encoding="utf-8"))
    packages = lock["packages"]
    for name, version in packages[""]["optionalDependencies"].items():
        tool, system, machine = name.removeprefix("@foundry-rs/").split("-")
        entry = {
            "version": version,
            "cpu": [CPUS[machine]],
            "license": "MIT OR Apache-2.0",
            "optional": True,
            "os": [system],
            "bin": {tool: f"bin/{tool}"},
        }
        packages.setdefault(f"node_modules/{name}", entry)
    lock["packages"] = dict(sorted(packages.items()))
    path.write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    lock_python()
    lock_node()
