"""What the node and the process that writes its history say to each other: JSON with its length in
front, because amounts have up to 128 bits.
"""

from typing import IO

import msgspec

from deltaroll.node.api.data import BatchData
from deltaroll.node.events import Step

LENGTH_BYTES = 8


class Open(msgspec.Struct, frozen=True, tag="open"):
    """Which history; the first frame. Not on a command line, where anybody reads a password."""

    url: str
    domain: str
    """In hexadecimal."""
    store: str | None


class Apply(msgspec.Struct, frozen=True, tag="apply"):
    """Steps to be written."""

    steps: list[Step]


class NoteBatches(msgspec.Struct, frozen=True, tag="batches"):
    """What L1 says about batches from `first` on."""

    batches: list[BatchData]
    first: int


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """Done; the last step that is in."""

    sequence: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Not done, and why."""

    problem: str
    is_down: bool
    """Another time it may go."""


Request = Open | Apply | NoteBatches
Answer = Applied | Refused
_encoder = msgspec.json.Encoder()
_requests = msgspec.json.Decoder(Request)
_answers = msgspec.json.Decoder(Answer)


def write_frame(stream: IO[bytes], frame: Request | Answer) -> None:
    """Write a frame."""
    body = _encoder.encode(frame)
    stream.write(len(body).to_bytes(LENGTH_BYTES, "big") + body)
    stream.flush()


def read_body(stream: IO[bytes]) -> bytes | None:
    """Return a frame's bytes, None when the other side is gone."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    body = stream.read(length)
    return body if len(body) == length else None


def read_request(stream: IO[bytes]) -> Request | None:
    """Return the next request, None when there will be none."""
    body = read_body(stream)
    return None if body is None else _requests.decode(body)


def read_answer(stream: IO[bytes]) -> Answer | None:
    """Return the next answer, None when there will be none."""
    body = read_body(stream)
    return None if body is None else _answers.decode(body)
