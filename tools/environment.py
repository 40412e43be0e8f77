"""Environment defaults of every Python process that runs in the project's `.venv`.

Set-up copies this file into the virtual environment, where a `.pth` line imports it whenever the
interpreter starts. So `source .venv/bin/activate` (or `.venv/bin/ape` without it) is enough to get
the pinned compiler and L1 node. Whatever the user has set already wins. Nothing may be imported
here that costs time: it runs before every script.
"""

import os
import sys


def apply(root: str, bin_folder: str) -> None:
    """Point Ape, py-solc-x and eth-hash at what the repository pins.

    Parameters
    ----------
    root
        The repository's folder.
    bin_folder
        The virtual environment's folder of commands, where `anvil` and `node` are.
    """
    defaults = {
        # `~/.ape` is shared between projects; a clone keeps its own accounts and caches.
        "APE_DATA_FOLDER": os.path.join(root, ".ape"),
        "SOLCX_BINARY_PATH": os.path.join(root, "tools", "solc"),
        # Left to itself eth-hash takes pycryptodome, which is several times slower.
        "ETH_HASH_BACKEND": "pysha3",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    path = os.environ.get("PATH", os.defpath)
    if bin_folder not in path.split(os.pathsep):
        os.environ["PATH"] = bin_folder + os.pathsep + path


if sys.prefix != sys.base_prefix:
    apply(
        os.path.dirname(sys.prefix),
        os.path.join(sys.prefix, "bin"),
    )
