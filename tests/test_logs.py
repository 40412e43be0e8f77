"""Log lines: for programs or for people, and nothing secret in them."""

import json

import pytest
import structlog

from deltaroll.logs import configure_logs, redact


@pytest.fixture(autouse=True)
def restore():
    yield
    structlog.reset_defaults()


def test_configure_logs__json__one_object_a_line(capsys):
    configure_logs("info", "sequencer")
    log = structlog.get_logger("any")
    log.debug("hidden")
    log.info("batch_posted", index=3)
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told["process"] == "sequencer"
    assert (told["event"], told["index"], told["level"]) == ("batch_posted", 3, "info")


def test_configure_logs__console__is_for_people(capsys):
    configure_logs("info", "follower", "console")
    structlog.get_logger("any").warning("l1_reorganised", block=7)
    text = capsys.readouterr().err
    assert "l1_reorganised" in text
    assert "block=7" in text
    assert not text.startswith("{")


def test_configure_logs__secrets__are_masked(capsys):
    configure_logs("info")
    structlog.get_logger("any").info(
        "failed",
        passphrase="hunter2",
        private_key="0xabc",
        error="ConnectionError: https://u:hunter2@rpc.example/v3/0123456789abcdef0 refused",
        block=3,
    )
    text = capsys.readouterr().err
    told = json.loads(text)
    assert "hunter2" not in text
    assert "0xabc" not in text
    assert "0123456789abcdef0" not in text
    assert "rpc.example" in told["error"]
    assert told["block"] == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nothing in it", "nothing in it"),
        ("see http://127.0.0.1:8080/v1", "see http://127.0.0.1:8080/v1"),
        ("at 'https://x.example/?key=1'", "at 'https://x.example/***'"),
        (
            "Max retries exceeded with url: /v3/abc (Caused",
            "Max retries exceeded with url: *** (Caused",
        ),
        ("no address: http://[::1 refused", "no address: http://*** refused"),
        ("no port: https://x:key-of-a-node/v3", "no port: https://***"),
    ],
)
def test_redact__text__only_keys_and_passwords_go(text, shown):
    assert redact(text) == shown
