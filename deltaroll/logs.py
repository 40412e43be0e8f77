"""Structured logs on standard error: one JSON object a line, or lines for people to read."""

import logging
import re
import sys

import structlog

from deltaroll.config import hide

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
CONSOLE = "console"
HIDDEN = "***"
ADDRESS = re.compile(r"\b(?:https?|wss?)://[^\s'\"<>,)]+")
PATH = re.compile(r"(with url: )\S+")
"""As libraries write the path of an address that they could not reach."""
SECRETS = ("passphrase", "password", "private", "secret", "token", "authorization")
"""A value whose name has one of these in it is not written."""


def configure_logs(level: str, process: str | None = None, form: str = "json") -> None:
    """Write log lines of at least `level` to standard error.

    Parameters
    ----------
    process
        Which of a node's processes this is; it stands in every line.
    form
        `json` or `console`.
    """

    def name_process(
        _: object, __: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if process is not None:
            event.setdefault("process", process)
        return event

    renderer = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if form == CONSOLE
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            name_process,
            hide_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def hide_secrets(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Take values out of a line that nobody is to read there."""
    for name, value in event.items():
        if any(word in name.lower() for word in SECRETS):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = redact(value)
    return event


def redact(text: str) -> str:
    """Return a text without keys and passwords of the addresses in it."""
    return PATH.sub(rf"\1{HIDDEN}", ADDRESS.sub(lambda found: hide(found[0]), text))
