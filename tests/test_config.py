"""Configuration: what is read from where, and what is said about what cannot be used."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from deltaroll.cli import (
    config_option,
    l1_options,
    metrics_option,
    omit_configured,
    once_option,
    registry_option,
)
from deltaroll.config import (
    ConfigError,
    Settings,
    get_value,
    get_variable,
    has_secret,
    hide,
    iterate_names,
    load,
)
from deltaroll.node.api.limits import Limits, make_limits
from tests.loading import load_script

EXAMPLE = Path(__file__).resolve().parents[1] / "operate" / "deltaroll.toml"


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "deltaroll.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No file of the working directory is meant."""
    monkeypatch.chdir(tmp_path)


def test_load__nothing_given__defaults():
    loaded = load({})
    assert loaded.settings == Settings()
    assert not loaded.sources


def test_load__file_and_environment__the_environment_wins(write):
    path = write('[l1]\ninterval = 2\nmax_fee = 80\n[log]\nformat = "console"\n')
    loaded = load({"DELTAROLL_L1_INTERVAL": "7.5", "HOME": "/"}, path)
    assert loaded.settings.l1.interval == 7.5
    assert loaded.settings.l1.max_fee == 80
    assert loaded.settings.log.format == "console"
    assert loaded.get_source("l1.interval") == "DELTAROLL_L1_INTERVAL"
    assert loaded.get_source("l1.max_fee") == str(path)
    assert loaded.get_source("l1.registry") == "default"


def test_load__file_named_by_the_environment__is_read(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text("[metrics]\nport = 9400\n")
    assert load({"DELTAROLL_CONFIG": str(path)}).settings.metrics.port == 9400


def test_load__file_of_the_working_directory__is_read(write):
    write("[metrics]\nport = 9401\n")
    assert load({}).settings.metrics.port == 9401


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False)]
)
def test_load__truth_in_the_environment__is_read(text, value):
    assert load({"DELTAROLL_L1_IGNORE_CLOCK": text}).settings.l1.ignore_clock is value


def test_load__nodes_in_the_environment__are_set_off_by_commas():
    loaded = load({"DELTAROLL_L1_NODES": "https://a.example/key-of-some-length, http://b "})
    assert loaded.settings.l1.nodes == ["https://a.example/key-of-some-length", "http://b"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[l1]\nintervall = 2", "l1.intervall: there is no such field; is l1.interval meant?"),
        ("[limit]\ninterval = 2", "limit: there is no such field; is limits meant?"),
        ("interval = 2", "interval: there is no such field"),
        ("l1 = 2", r"l1: 2: a section, \[l1\]"),
        ("[l1]\ninterval = 0", "l1.interval: 0: expected float >= 0.1"),
        ("[l1]\ninterval = nan", "l1.interval: nan: expected"),
        ("[l1]\ninterval = '2'", "l1.interval: '2': expected float, got str"),
        ("[l1]\nmax_fee = true", "l1.max_fee: True: expected int | null, got bool"),
        ("[l1]\nnodes = 'http://a'", "l1.nodes: 'http://a': expected array, got str"),
        ("[sequencer]\napi = 70000", "sequencer.api: 70000: expected int <= 65535"),
        ("[sequencer]\nstore = ''", "sequencer.store: '': expected str of length >= 1"),
        ("[log]\nlevel = 'loud'", "log.level: 'loud': one of debug, info, warning, error"),
        ("[log]\nformat = 'xml'", "log.format: 'xml': one of json, console"),
        ("[log\n", "not TOML"),
        (
            "[l1]\nnodes = ['https://user:hunter2@rpc.example']",
            r"l1.nodes: https://rpc.example/\*\*\*: holds a key .* as DELTAROLL_L1_NODES",
        ),
        (
            "network = 'ethereum:mainnet:https://rpc.example/v3/0123456789abcdef0123'",
            "network: .*holds a key or a password",
        ),
    ],
)
def test_load__bad_file__says_field_value_and_rule(write, text, complaint):
    path = write(text + "\n")
    with pytest.raises(ConfigError, match=complaint) as caught:
        load({}, path)
    assert str(caught.value).startswith(str(path))
    assert "hunter2" not in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("DELTAROLL_L1_INTERVALL", "2", "there is no such field; is DELTAROLL_L1_INTERVAL meant?"),
        ("DELTAROLL_L1_INTERVAL", "soon", "l1.interval: 'soon': expected float"),
        ("DELTAROLL_L1_MAX_FEE", "0", "l1.max_fee: '0': expected"),
        ("DELTAROLL_L1_IGNORE_CLOCK", "perhaps", "l1.ignore_clock: 'perhaps': expected bool"),
        ("DELTAROLL_NETWORK", "", r"network: \*\*\*: expected str of length >= 1"),
    ],
)
def test_load__bad_variable__says_field_value_and_rule(name, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load({name: text})


def test_load__file_that_is_not_there__is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load({}, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("address", "is_secret"),
    [
        ("http://127.0.0.1:8545", False),
        ("https://rpc.example/sepolia", False),
        ("ethereum:sepolia:node", False),
        ("sqlite:///data/a-file-with-a-long-name.sqlite", False),
        ("postgresql+psycopg://venue@db/history", False),
        ("postgresql+psycopg://venue:hunter2@db:5432/history", True),
        ("postgresql://db/history?user=venue&password=hunter2", True),
        ("https://rpc.example/v3/0123456789abcdef", True),
        ("https://rpc.example/?key=1", True),
        ("https://me@rpc.example", True),
        ("https://me:you@rpc.example", True),
        ("ethereum:sepolia:https://me:you@rpc.example", True),
    ],
)
def test_has_secret__addresses__keys_and_passwords_are_seen(address, is_secret):
    assert has_secret(address) is is_secret
    assert (hide(address) == address) is not is_secret


@given(st.text(alphabet="abcdef0123456789", min_size=16, max_size=40))
def test_hide__any_key__is_not_in_what_is_shown(key):
    for address in (
        f"https://x.example/v2/{key}",
        f"wss://{key}@x.example:8546/",
        f"https://x.example?k={key}",
    ):
        assert key not in hide(address)
        assert "x.example" in hide(address)


def test_get_variable__all_fields__no_two_are_the_same():
    names = list(iterate_names())
    assert len({get_variable(name) for name in names}) == len(names)


def test_make_limits__defaults__are_the_api_s_own():
    assert make_limits(Settings().limits) == Limits()


# The commands


@click.command()
@config_option("sequencer")
@registry_option
@once_option
@l1_options
@metrics_option
def command(settings: Settings, **options: object) -> None:
    click.echo(json.dumps({"level": settings.log.level, **options}, default=str))


def run(*arguments: str, **environment: str) -> dict[str, object]:
    result = CliRunner().invoke(command, arguments, env=environment)
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert isinstance(found, dict)
    return found


def test_config_option__file_environment_and_line__the_line_wins(write):
    path = write(
        "[l1]\ninterval = 2\nmax_fee = 80\nnodes = ['http://a', 'http://b']\n"
        "[metrics]\nport = 9400\n[log]\nlevel = 'error'\n"
    )
    found = run(
        *("--config", str(path), "--interval", "9"),
        DELTAROLL_L1_MAX_FEE="81",
        DELTAROLL_L1_JOURNAL="j",
    )
    assert found["interval"] == 9
    assert found["max_fee"] == 81
    assert found["journal"] == "j"
    assert found["urls"] == ["http://a", "http://b"]
    assert found["metrics_port"] == 9400
    assert found["level"] == "error"
    assert found["registry"] == "data/deployments"


def test_config_option__nothing_given__options_have_the_defaults_of_the_configuration():
    found = run()
    settings = Settings()
    for option, field in (
        ("registry", "l1.registry"),
        ("interval", "l1.interval"),
        ("max_fee", "l1.max_fee"),
        ("journal", "l1.journal"),
        ("ignores_clock", "l1.ignore_clock"),
        ("metrics_port", "metrics.port"),
        ("metrics_host", "metrics.host"),
    ):
        assert found[option] == get_value(settings, field)
    assert found["urls"] == []


@pytest.mark.parametrize(
    ("script", "process", "options"),
    [
        ("sequence", "sequencer", ("store", "receipt_key", "host", "depth")),
        ("challenge", "challenger", ("confirmations",)),
    ],
)
def test_scripts__defaults__are_those_of_the_configuration(script, process, options):
    defaults = {one.name: one.default for one in load_script(script).cli.params}
    for option in options:
        assert str(defaults[option]) == str(get_value(Settings(), f"{process}.{option}"))


def test_config_option__bad_file__one_line_and_a_failure(write):
    path = write("[l1]\ninterval = -1\n")
    result = CliRunner().invoke(command, ["--config", str(path)])
    assert result.exit_code == 1
    assert result.output == f"Error: {path}: l1.interval: -1: expected float >= 0.1\n"


def test_config_script__check__says_whether_it_is_good(write):
    script = load_script("config").cli
    path = write("[l1]\ninterval = 2\n")
    good = CliRunner().invoke(script, ["--config", str(path), "--check"])
    assert (good.exit_code, good.output) == (
        0,
        "configuration: good, 1 fields given, the others are defaults\n",
    )
    path = write("[l1]\nspeed = 2\n")
    assert CliRunner().invoke(script, ["--config", str(path), "--check"]).exit_code == 1


def test_config_script__secrets__are_hidden(write):
    secret = "https://me:hunter2@rpc.example/v3"
    result = CliRunner().invoke(
        load_script("config").cli, ["--json"], env={"DELTAROLL_L1_NODES": secret}
    )
    found = json.loads(result.output)
    assert found["l1.nodes"] == {
        "value": ["https://rpc.example/***"],
        "source": "DELTAROLL_L1_NODES",
    }
    assert "hunter2" not in result.output
    table = CliRunner().invoke(load_script("config").cli, [], env={"DELTAROLL_L1_NODES": secret})
    assert table.exit_code == 0
    assert "hunter2" not in table.output


def test_example__has_every_field_and_the_defaults():
    """What stands in the repository's example is what holds without it."""
    text = EXAMPLE.read_text()
    load({}, EXAMPLE)
    for name in iterate_names():
        assert f"{name.rpartition('.')[2]} =" in text, name


@pytest.mark.parametrize(
    ("port", "configured", "once", "left"),
    [
        (8080, 8080, True, None),
        (8080, 8080, False, 8080),
        (9090, 8080, True, 9090),
        (8080, None, True, 8080),
        (None, None, True, None),
        (None, 8080, True, None),
    ],
)
def test_omit_configured__one_look__serves_only_what_the_line_asks_for(
    port, configured, once, left
):
    assert omit_configured(port, configured, once) == left
