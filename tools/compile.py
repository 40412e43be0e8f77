"""Compile the contracts without starting Ape, for tests that run them in process.

Reads the compiler's settings and the dependencies from `ape-config.yaml`, names every source as
ape-solidity names it, and so yields the bytecode that `ape compile` yields. Results are cached by
content under `build/contracts`: a source is compiled again only if it, a file it imports, or the
settings have changed.

    artifacts = compile_contracts()
    artifacts["MarginVault"].bytecode
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent

CACHE_FORMAT = 2
"""Part of every cache key: raise it when what is stored changes."""

IMPORT = re.compile(r"""(?:^|;)\s*import\s+(?:[^"';]*?\sfrom\s+)?["']([^"']+)["']""", re.MULTILINE)

CODE = re.compile(r"^(?:abstract\s+)?(?:contract|library)\s", re.MULTILINE)

OUTPUTS = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]

Json = dict[str, Any]


class CompileError(Exception):
    """The compiler's own words about a source that does not compile."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract."""

    name: str
    """Contract's name, unique in the project."""
    source: str
    """Path of its file from the repository's folder."""
    abi: list[Json]
    """Functions, events and errors."""
    bytecode: bytes
    """Code that deploys it, without constructor arguments. Empty for an interface."""
    deployed_bytecode: bytes
    """Code at its address. Immutables are zero."""

    def to_json(self) -> Json:
        """Form in `build/contracts/<name>.json`."""
        return {
            "name": self.name,
            "source": self.source,
            "abi": self.abi,
            "bytecode": "0x" + self.bytecode.hex(),
            "deployedBytecode": "0x" + self.deployed_bytecode.hex(),
        }

    @classmethod
    def from_json(cls, value: Json) -> Artifact:
        """Read what `to_json` wrote."""
        return cls(
            name=value["name"],
            source=value["source"],
            abi=value["abi"],
            bytecode=bytes.fromhex(value["bytecode"][2:]),
            deployed_bytecode=bytes.fromhex(value["deployedBytecode"][2:]),
        )


@dataclass(frozen=True)
class Project:
    """What `ape-config.yaml` says about compiling, and the sources on disk."""

    root: Path

    @cached_property
    def config(self) -> Json:
        """Parsed `ape-config.yaml`."""
        loaded: Json = yaml.safe_load((self.root / "ape-config.yaml").read_text(encoding="utf-8"))
        return loaded

    @cached_property
    def compiler(self) -> Path:
        """Program that takes standard JSON on stdin."""
        return self.root / "tools" / "solc" / f"solc-v{self.config['solidity']['version']}"

    @cached_property
    def libraries(self) -> dict[str, Path]:
        """Folder of each npm dependency, by the prefix that ape-solidity gives its sources."""
        return {
            f"contracts/.cache/{entry['name']}/{entry['version']}": (
                self.root / "node_modules" / entry["npm"]
            )
            for entry in self.config["dependencies"]
        }

    @cached_property
    def remappings(self) -> dict[str, str]:
        """Import prefix -> source prefix. A dependency without a remapping goes by its name."""
        solidity = self.config["solidity"]
        given = dict(pair.split("=") for pair in solidity.get("import_remapping", []))
        import_name = {name: prefix for prefix, name in given.items()}
        return {
            import_name.get(entry["name"], entry["name"]): prefix
            for entry, prefix in zip(self.config["dependencies"], self.libraries, strict=True)
        }

    @cached_property
    def settings(self) -> Json:
        """Standard JSON settings, without the output selection."""
        solidity = self.config["solidity"]
        return {
            "evmVersion": solidity["evm_version"],
            "optimizer": {
                "enabled": solidity["optimize"],
                "runs": solidity["optimization_runs"],
            },
            "remappings": sorted(f"{key}={value}" for key, value in self.remappings.items()),
            "viaIR": solidity["via_ir"],
        }

    def entries(self) -> list[str]:
        """Every source of the project itself."""
        folder = self.root / "contracts"
        paths = (path.relative_to(self.root) for path in folder.rglob("*.sol"))
        return sorted(path.as_posix() for path in paths if ".cache" not in path.parts)

    def locate(self, source: str) -> Path:
        """File that holds a source."""
        for prefix, folder in self.libraries.items():
            if source.startswith(prefix + "/"):
                return folder / source.removeprefix(prefix + "/")
        return self.root / source

    def resolve(self, importer: str, target: str) -> str:
        """Source that an import statement names."""
        if target.startswith("."):
            return posixpath.normpath(posixpath.join(posixpath.dirname(importer), target))
        for prefix, replacement in self.remappings.items():
            if target.startswith(prefix + "/"):
                return replacement + target.removeprefix(prefix)
        return target


class SourceTree:
    """Contents of the sources and what each of them pulls in."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._contents: dict[str, str | None] = {}
        self._imports: dict[str, list[str]] = {}

    def read(self, source: str) -> str | None:
        """Text of a source; None if there is no such file (the compiler will say so)."""
        if source not in self._contents:
            path = self._project.locate(source)
            self._contents[source] = path.read_text(encoding="utf-8") if path.is_file() else None
        return self._contents[source]

    def imports(self, source: str) -> list[str]:
        """Sources that a source imports itself."""
        if source not in self._imports:
            targets = IMPORT.findall(self.read(source) or "")
            self._imports[source] = [self._project.resolve(source, target) for target in targets]
        return self._imports[source]

    def closure(self, *entries: str) -> dict[str, str]:
        """Contents of the entries and of everything they import, in a fixed order."""
        pending, found = list(entries), set(entries)
        while pending:
            new = set(self.imports(pending.pop())) - found
            found |= new
            pending += new
        contents = ((source, self.read(source)) for source in sorted(found))
        return {source: content for source, content in contents if content is not None}

    def key(self, entry: str) -> str:
        """Hash of all that the compiled form of a source depends on."""
        project = self._project
        compiler = project.compiler.read_text(encoding="utf-8")
        parts = [CACHE_FORMAT, compiler, project.settings, self.closure(entry)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Cache:
    """Artifacts on disk, with the key each source was compiled under."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index_path = folder / ".index.json"
        self._index: dict[str, Json] = {}
        if self._index_path.is_file():
            self._index = json.loads(self._index_path.read_text(encoding="utf-8"))

    def sources(self) -> set[str]:
        """Sources that the folder has artifacts of."""
        return set(self._index)

    def load(self, source: str, key: str) -> list[Artifact] | None:
        """Artifacts of a source, or None if they are missing or out of date."""
        entry = self._index.get(source)
        paths = [self._folder / f"{name}.json" for name in entry["names"]] if entry else []
        if entry is None or entry["key"] != key or not all(path.is_file() for path in paths):
            return None
        return [Artifact.from_json(json.loads(path.read_text(encoding="utf-8"))) for path in paths]

    def store(self, keys: Mapping[str, str], artifacts: Mapping[str, Artifact]) -> None:
        """Write all artifacts, then the index; drop the files of contracts that are gone."""
        names: dict[str, list[str]] = {source: [] for source in keys}
        for artifact in artifacts.values():
            names[artifact.source].append(artifact.name)
            text = json.dumps(artifact.to_json(), indent=1)
            write_whole(self._folder / f"{artifact.name}.json", text)
        index = {source: {"key": keys[source], "names": names[source]} for source in keys}
        write_whole(self._index_path, json.dumps(index, indent=1))
        for path in self._folder.glob("[!.]*.json"):
            if path.stem not in artifacts:
                path.unlink()


def compile_contracts(root: Path = ROOT) -> dict[str, Artifact]:
    """Compile every contract of the project, or load it from the cache.

    Safe to call from several processes at once: the first compiles, the others wait and load.

    Parameters
    ----------
    root
        Folder with `ape-config.yaml`, `contracts` and `node_modules`.

    Returns
    -------
    dict[str, Artifact]
        Artifacts by contract name.

    Raises
    ------
    CompileError
        A source does not compile, two contracts share a name, or one needs linking.
    """
    folder = root / "build" / "contracts"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock"):
        project = Project(root)
        tree = SourceTree(project)
        keys = {entry: tree.key(entry) for entry in project.entries()}
        cache = Cache(folder)
        cached = {entry: cache.load(entry, key) for entry, key in keys.items()}
        stale = [entry for entry, artifacts in cached.items() if artifacts is None]
        compiled = _compile(project, tree, stale)
        artifacts = _by_name(
            artifact
            for entry in keys
            for artifact in (compiled[entry] if entry in compiled else cached[entry] or [])
        )
        if stale or cache.sources() != set(keys):
            cache.store(keys, artifacts)
    return artifacts


def _compile(project: Project, tree: SourceTree, entries: list[str]) -> dict[str, list[Artifact]]:
    """Compile some sources, on all cores."""
    # One run for each source with code, though a start costs half a second: bytecode depends on
    # what else is in the run, and must depend neither on what was stale nor on the cores.
    by_size = sorted(entries, key=lambda entry: len(tree.read(entry) or ""), reverse=True)
    groups = [[entry] for entry in by_size if CODE.search(tree.read(entry) or "")]
    groups.append([entry for entry in by_size if [entry] not in groups])
    results: dict[str, list[Artifact]] = {entry: [] for entry in entries}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for artifacts in pool.map(lambda group: _run_compiler(project, tree, group), groups):
            for artifact in artifacts:
                results[artifact.source].append(artifact)
    return results


def make_input(project: Project, tree: SourceTree, entries: list[str]) -> Json:
    """Return the standard JSON input that some sources are compiled from."""
    sources = tree.closure(*entries)
    return {
        "language": "Solidity",
        "sources": {source: {"content": content} for source, content in sources.items()},
        "settings": project.settings
        | {"outputSelection": {entry: {"*": OUTPUTS} for entry in entries}},
    }


def _run_compiler(project: Project, tree: SourceTree, entries: list[str]) -> list[Artifact]:
    """Compile some sources in one run of the compiler."""
    if not entries:
        return []
    request = make_input(project, tree, entries)
    done = subprocess.run(
        [project.compiler],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": get_path()},
    )
    if done.returncode:
        raise CompileError(f"{project.compiler.name} failed:\n{done.stderr}")
    response = json.loads(done.stdout)
    messages = response.get("errors", [])
    errors = [message for message in messages if message["severity"] == "error"]
    if errors:
        raise CompileError("\n".join(message["formattedMessage"] for message in errors))
    for message in messages:
        # Warnings about the libraries are for their authors.
        if message.get("sourceLocation", {}).get("file") in entries:
            print(message["formattedMessage"], file=sys.stderr)
    return [
        _read_output(entry, name, output)
        for entry in entries
        for name, output in response.get("contracts", {}).get(entry, {}).items()
    ]


def _read_output(source: str, name: str, output: Json) -> Artifact:
    """Artifact from what the compiler says about one contract."""
    code = {kind: output["evm"][kind]["object"] for kind in ("bytecode", "deployedBytecode")}
    if any("__$" in text for text in code.values()):
        # Ape leaves such a contract out with no more than a warning.
        raise CompileError(f"{source}: {name} calls a library by address; make it internal")
    return Artifact(
        name=name,
        source=source,
        abi=output["abi"],
        bytecode=bytes.fromhex(code["bytecode"]),
        deployed_bytecode=bytes.fromhex(code["deployedBytecode"]),
    )


def _by_name(artifacts: Iterator[Artifact]) -> dict[str, Artifact]:
    """Artifacts by name; a name stands for one contract only, as in Ape."""
    named: dict[str, Artifact] = {}
    for artifact in artifacts:
        other = named.setdefault(artifact.name, artifact)
        if other is not artifact:
            raise CompileError(f"{artifact.name} is in {other.source} and in {artifact.source}")
    return dict(sorted(named.items()))


def get_path() -> str:
    """PATH that starts with the virtual environment's `node`, also if it is not activated."""
    return os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)])


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step: a reader never sees half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; the system drops it when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
