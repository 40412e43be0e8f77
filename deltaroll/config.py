"""The configuration of a node's processes: one file, one set of types, one place that reads them.

A value comes from the command line, else from the environment, else from the file, else it is the
default. The file is TOML; `DELTAROLL_L1_INTERVAL` in the environment is `interval` of its section
`[l1]`. Whatever is not known is refused, and every error names the field, the value and the rule.

Secrets stand in no file: passphrases are Ape's to take from the environment, and an address of an
L1 node that has a password or a key in it is taken from the environment only.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

PREFIX = "DELTAROLL_"
FILE_VARIABLE = "DELTAROLL_CONFIG"
DEFAULT_FILE = Path("deltaroll.toml")
LONGEST_PART = 16
"""Characters of one part of an address's path from which on it is taken for a key."""
HIDDEN = "***"
MAX_SHOWN = 80
"""Characters of a value that are repeated in an error."""

Port = Annotated[int, Meta(ge=0, le=65_535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(ge=0.1, le=86_400)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
Blocks = Annotated[int, Meta(ge=0, le=10_000)]
Gwei = Annotated[int, Meta(ge=1, le=1_000_000)]
Text = Annotated[str, Meta(min_length=1, max_length=4_096)]


class ConfigError(Exception):
    """A configuration that cannot be used; the message names the field, the value and the rule."""


class LogFormat(StrEnum):
    """How log lines are written."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least of what is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogSettings(msgspec.Struct, frozen=True):
    """What is logged to standard error."""

    level: LogLevel | None = None
    """By default `info`, of a follower `warning`."""
    format: LogFormat = LogFormat.JSON


class L1Settings(msgspec.Struct, frozen=True):
    """How L1 is read and what is paid there."""

    registry: Text = "data/deployments"
    """Folder of registry files, one per chain."""
    nodes: list[Text] = []
    """URLs of more L1 nodes."""
    interval: Seconds = 4.0
    """Seconds between two looks at L1."""
    max_fee: Gwei | None = None
    """Gwei per gas that are never exceeded."""
    journal: Text | None = None
    """File of what the account has sent; by default in `data/`, on a local chain in memory."""
    ignore_clock: bool = False
    """Act on L1 whatever this machine's clock says."""
    keep_batches: Count = 256
    """Batches that can be undone in memory; a reorganisation of more is derived from the start."""


class SequencerSettings(msgspec.Struct, frozen=True):
    """The sequencer and its batcher."""

    account: Text | None = None
    """Ape's alias of the account that posts."""
    store: Text = "data/sequencer.sqlite"
    """The durable log."""
    receipt_key: Text = "data/receipt.key"
    """File of the key that signs receipts."""
    listen: Port | None = None
    """Port of the line server, on this machine; 0 takes a free one."""
    api: Port | None = None
    """Port of REST and WebSocket; 0 takes a free one."""
    host: Text = "127.0.0.1"
    """Address that the API listens on."""
    depth: Blocks = 0
    """Blocks on top of a queue message before it is taken in."""
    history: Text | None = None
    """URL of the database in which history is kept for questions, `sqlite:///FILE` or
    `postgresql://...`, or `none`; by default SQLite beside the log when there is an API."""


class ChallengerSettings(msgspec.Struct, frozen=True):
    """The challenger."""

    account: Text | None = None
    """Ape's alias of the account that proves."""
    confirmations: Blocks = 2
    """Blocks on top of a fraudulent batch before it is acted upon."""


class LimitSettings(msgspec.Struct, frozen=True):
    """What one client of the API may ask for. An order takes one token, a cancellation a tenth."""

    account_burst: Positive = 2_000.0
    account_rate: Positive = 200.0
    """Tokens a second."""
    address_burst: Positive = 4_000.0
    address_rate: Positive = 1_000.0
    connections: Count = 1_000
    connections_per_address: Count = 100
    subscriptions: Count = 500
    """Of one connection."""
    in_flight: Count = 1_000
    """Requests of one connection that are not answered yet."""


class MetricsSettings(msgspec.Struct, frozen=True):
    """Metrics, health and readiness on a port of their own."""

    port: Port | None = None
    """0 takes a free one; none: only the API serves them."""
    host: Text = "127.0.0.1"
    max_view_age: Seconds = 60.0
    """Seconds after which a view of L1 is too old to be called ready."""


class Settings(msgspec.Struct, frozen=True):
    """Everything."""

    network: Text | None = None
    """Ape's choice of the network: `ethereum:sepolia:node`, or with a URL in place of `node`."""
    log: LogSettings = LogSettings()
    l1: L1Settings = L1Settings()
    sequencer: SequencerSettings = SequencerSettings()
    challenger: ChallengerSettings = ChallengerSettings()
    limits: LimitSettings = LimitSettings()
    metrics: MetricsSettings = MetricsSettings()


URL_FIELDS = frozenset({"network", "l1.nodes", "sequencer.history"})
"""Fields that may hold an address with a key in it."""
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.*")
WEB = ("http", "https", "ws", "wss")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where each of its values comes from."""

    settings: Settings
    sources: Mapping[str, str]
    """By field (`l1.interval`); what is not here is a default."""

    def iterate(self) -> Iterator[tuple[str, Any, str]]:
        """Yield every field with its value, secrets hidden, and its source."""
        for name in iterate_names():
            yield name, show(name, get_value(self.settings, name)), self.get_source(name)

    def get_source(self, name: str) -> str:
        """Return where a value comes from."""
        return self.sources.get(name, "default")


def get_sections() -> dict[str, type[msgspec.Struct]]:
    """Return the sections of the file by name."""
    return {
        field.name: field.type
        for field in msgspec.structs.fields(Settings)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
    }


def iterate_names() -> Iterator[str]:
    """Yield the names of all fields in the order of the file."""
    sections = get_sections()
    for field in msgspec.structs.fields(Settings):
        if field.name in sections:
            for inner in msgspec.structs.fields(sections[field.name]):
                yield f"{field.name}.{inner.name}"
        else:
            yield field.name


def get_type(name: str) -> Any:
    """Return a field's type."""
    section, _, inner = name.rpartition(".")
    kind = get_sections()[section] if section else Settings
    (found,) = (one for one in msgspec.structs.fields(kind) if one.name == inner)
    return found.type


def get_value(settings: Settings, name: str) -> Any:
    """Return a field's value."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def get_variable(name: str) -> str:
    """Return the environment variable of a field."""
    return PREFIX + name.replace(".", "_").upper()


def load(environment: Mapping[str, str], path: Path | None = None) -> Loaded:
    """Read the configuration.

    Parameters
    ----------
    path
        Of the file; None: the one that the environment names, else `deltaroll.toml` of the working
        directory where there is one.

    Raises
    ------
    ConfigError
    """
    found = find_file(environment, path)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if found is not None:
        for name, value in iterate_file(read_file(found), str(found)):
            values[name] = convert(name, value, str(found), is_text=False)
            sources[name] = str(found)
    for name, text in iterate_environment(environment):
        values[name] = convert(name, split(name, text), get_variable(name), is_text=True)
        sources[name] = get_variable(name)
    return Loaded(build(values), sources)


def find_file(environment: Mapping[str, str], path: Path | None) -> Path | None:
    """Return which file to read, None for none."""
    named = environment.get(FILE_VARIABLE)
    if path is None and named:
        path = Path(named)
    if path is None:
        return DEFAULT_FILE if DEFAULT_FILE.is_file() else None
    return path


def read_file(path: Path) -> dict[str, Any]:
    """Return what a file says.

    Raises
    ------
    ConfigError
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeError) as problem:
        raise ConfigError(f"{path}: not TOML: {problem}") from None


def iterate_file(content: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a file.

    Raises
    ------
    ConfigError
        When there is one that is not known.
    """
    known, sections = set(iterate_names()), get_sections()
    for key, value in content.items():
        if key not in sections:
            yield check_known(key, known | set(sections), where), value
            continue
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {key}: {shorten(value)}: a section, [{key}]")
        for inner, entry in value.items():
            yield check_known(f"{key}.{inner}", known, where), entry


def iterate_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the fields that the environment sets.

    Raises
    ------
    ConfigError
        When there is a variable of ours that is not known.
    """
    names = {get_variable(name): name for name in iterate_names()}
    for variable, text in environment.items():
        if variable.startswith(PREFIX) and variable != FILE_VARIABLE:
            yield names[check_known(variable, set(names), "environment")], text


def check_known(name: str, known: set[str], where: str) -> str:
    """Return a name that is known.

    Raises
    ------
    ConfigError
    """
    if name in known:
        return name
    close = get_close_matches(name, known, 1)
    hint = f"; is {close[0]} meant?" if close else ""
    raise ConfigError(f"{where}: {name}: there is no such field{hint}")


def split(name: str, text: str) -> Any:
    """Return a variable's text; where the field is a list, its parts, set off by commas."""
    if get_origin(get_type(name)) is not list:
        return text
    return [part.strip() for part in text.split(",") if part.strip()]


def convert(name: str, value: Any, where: str, is_text: bool) -> Any:
    """Return a value as its field takes it.

    Raises
    ------
    ConfigError
    """
    is_shown = not is_text or name not in URL_FIELDS
    try:
        converted = msgspec.convert(value, get_type(name), strict=not is_text)
    except msgspec.ValidationError as problem:
        rule = spell_rule(name, str(problem))
        raise ConfigError(
            f"{where}: {name}: {shorten(value) if is_shown else HIDDEN}: {rule}"
        ) from None
    if not is_text and name in URL_FIELDS:
        for one in converted if isinstance(converted, list) else [converted]:
            if has_secret(one):
                raise ConfigError(
                    f"{where}: {name}: {hide(one)}: holds a key or a password; "
                    f"give it in the environment as {get_variable(name)}"
                )
    return converted


def spell_rule(name: str, problem: str) -> str:
    """Return what a field takes, in words."""
    rule = re.sub(r" - at `\$.*`$", "", problem).replace("`", "")
    if rule.startswith("Invalid enum value"):
        kind = get_type(name)
        options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        (found,) = (one for one in options if isinstance(one, type) and issubclass(one, StrEnum))
        return f"one of {', '.join(found)}"
    return rule[:1].lower() + rule[1:]


def build(values: Mapping[str, Any]) -> Settings:
    """Return the settings of some fields; the others are defaults."""
    parts: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for section, kind in get_sections().items():
        start = section + "."
        inner = {
            name.removeprefix(start): value
            for name, value in values.items()
            if name.startswith(start)
        }
        parts[section] = kind(**inner)
    return Settings(**parts)


def has_secret(address: str) -> bool:
    """Return whether an address looks as if it lets whoever knows it do something."""
    found = ADDRESS.search(address)
    if found is None:
        return False
    try:
        url = urlsplit(found[0])
        _ = url.port
    except ValueError:
        # Whatever it is, it is nothing to show.
        return True
    if url.scheme not in WEB:
        return bool(url.password or "password" in url.query)
    is_long = any(len(part) >= LONGEST_PART for part in url.path.split("/"))
    return bool(url.username or url.password or url.query or is_long)


def hide(address: str) -> str:
    """Return an address without what may be secret in it."""
    found = ADDRESS.search(address)
    if found is None or not has_secret(address):
        return address
    before = address[: found.start()]
    try:
        url = urlsplit(found[0])
        port = f":{url.port}" if url.port else ""
    except ValueError:
        return f"{before}{found[0].partition('://')[0]}://{HIDDEN}"
    return f"{before}{url.scheme}://{url.hostname or ''}{port}/{HIDDEN}"


def show(name: str, value: Any) -> Any:
    """Return a value for people to look at."""
    if name in URL_FIELDS and value:
        return [hide(one) for one in value] if isinstance(value, list) else hide(value)
    return value.value if isinstance(value, StrEnum) else value


def shorten(value: Any) -> str:
    """Return a value as an error repeats it."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
