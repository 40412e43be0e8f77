"""A PostgreSQL of our own, where Debian's or another package has brought one: a cluster in a
temporary folder, on a socket in it, that nobody else knows of."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine, text

PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin")
_numbers = count(1)


def find_binaries() -> Path | None:
    """The folder of the newest server's programs."""
    on_path = shutil.which("initdb")
    found = [] if on_path is None else [Path(on_path).parent]
    for place in PLACES:
        found += sorted(Path("/").glob(place))
    for folder in reversed(found):
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    return None


def find_user() -> str | None:
    """Who runs the server: it refuses to run as root. None: whoever we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    return None


class Cluster:
    """A server that runs."""

    def __init__(self, binaries: Path, folder: Path, user: str | None) -> None:
        self._binaries = binaries
        self._data = folder / "data"
        self._folder = folder
        self._user = user
        self._run("initdb", "-D", self._data, "-U", "deltaroll", "-A", "trust", "--no-sync")
        self.start()

    def start(self) -> None:
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB"
        log = self._folder / "log"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def create(self) -> str:
        """The URL of an empty database."""
        name = f"history_{next(_numbers)}"
        engine = create_engine(self.get_url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.get_url(name)

    def get_url(self, name: str) -> str:
        return f"postgresql+psycopg://deltaroll@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._binaries / program), *map(str, arguments)]
        done = subprocess.run(
            command,
            user=self._user,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program == "initdb" else subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout)


@contextmanager
def run_cluster(binaries: Path) -> Iterator[Cluster]:
    """A cluster, gone afterwards."""
    # Of a short name: a socket's path has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="dr-pg-"))
    user = find_user()
    try:
        if user is not None:
            shutil.chown(folder, user)
        cluster = Cluster(binaries, folder, user)
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)
