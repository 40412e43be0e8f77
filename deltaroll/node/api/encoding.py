"""JSON and MessagePack of one and the same structures."""

from enum import StrEnum
from typing import Any

import msgspec

MAX_INTEGER = (1 << 64) - 1
MIN_INTEGER = -(1 << 63)


class Format(StrEnum):
    """What a connection speaks, by the name of its subprotocol."""

    JSON = "deltaroll.v1.json"
    MSGPACK = "deltaroll.v1.msgpack"


_json = msgspec.json.Encoder()
_msgpack = msgspec.msgpack.Encoder()


def encode_json(value: Any) -> bytes:
    """Return JSON."""
    return _json.encode(value)


def encode_msgpack(value: Any) -> bytes:
    """Return MessagePack. An integer that needs more than 64 bits becomes text."""
    try:
        return _msgpack.encode(value)
    except OverflowError:
        return _msgpack.encode(_spell(msgspec.to_builtins(value)))


def encode(value: Any, form: Format) -> bytes:
    """Return a message as a connection speaks."""
    return encode_json(value) if form is Format.JSON else encode_msgpack(value)


def _spell(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spell(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_spell(entry) for entry in value]
    if type(value) is int and not MIN_INTEGER <= value <= MAX_INTEGER:
        return str(value)
    return value
