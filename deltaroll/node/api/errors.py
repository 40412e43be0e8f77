"""Refusals as clients see them."""

import math
from collections.abc import Sequence
from typing import Any

from deltaroll.node.admission import RejectedError
from deltaroll.node.api.messages import ItemAnswer, Problem
from deltaroll.node.store import StoreError

MAX_SHOWN = 80
"""Characters of a value that are repeated to the client."""


class RateLimitedError(RejectedError):
    """Too much, too early."""

    def __init__(self, who: str, retry_after: float) -> None:
        super().__init__(f"{who}: too many requests; again in {retry_after:.3f} s")
        self.retry_after = retry_after


class UnauthorisedError(RejectedError):
    """Private, and nobody has shown a right to it."""


class UnknownError(RejectedError):
    """There is no such thing."""


def to_problem(error: Exception, request: object = None) -> Problem:
    """Return what a client is told."""
    if isinstance(error, RateLimitedError):
        return Problem(
            "rate_limited", str(error), retry_after=math.ceil(error.retry_after * 1e3) / 1e3
        )
    if not isinstance(error, RejectedError):
        known = isinstance(error, StoreError)
        return Problem("unavailable", str(error) if known else "the node has a problem of its own")
    field, separator, _ = str(error).partition(": ")
    field = field if separator else ""
    value: Any = getattr(request, field, None) if field.isidentifier() else None
    if not isinstance(value, str | int | bool):
        value = None
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        value = value[:MAX_SHOWN]
    return Problem(get_code(error, field), str(error), field, value)


def count_forged(answers: Sequence[ItemAnswer]) -> int:
    """Return how many items of a batch were badly signed."""
    return sum(
        answer.error is not None and answer.error.code == "bad_signature" for answer in answers
    )


def get_code(error: RejectedError, field: str) -> str:
    """Return a refusal's word for programs."""
    if isinstance(error, UnauthorisedError):
        return "unauthorised"
    if isinstance(error, UnknownError):
        return "unknown"
    if error.fault is not None:
        return error.fault.name.lower()
    return f"bad_{field}" if field.isidentifier() else "bad_request"


def get_status(problem: Problem) -> int:
    """Return the HTTP status of a refusal."""
    match problem.code:
        case "rate_limited":
            return 429
        case "unauthorised":
            return 401
        case "unknown" | "unknown_account" | "unknown_market":
            return 404
        case "unavailable":
            return 503
        case _:
            return 400
