"""What can go wrong for a client, by what it can do about it."""

from typing import Any

from deltaroll.node.api.messages import Problem


class SdkError(Exception):
    """Any error of the clients."""


class RefusedError(SdkError):
    """The venue has refused a request, and nothing has changed."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.rule)
        self.problem = problem
        """As the API has it."""
        self.code: str = problem.code
        """For programs: a fault's name in lower case, `bad_<field>`, `unknown` and the like."""
        self.rule: str = problem.rule
        self.field: str = problem.field
        self.value: Any = problem.value


class UnauthorisedError(RefusedError):
    """The session is over, or the key may not trade for the account."""


class NotFoundError(RefusedError):
    """There is no such account, market, order or proof."""


class RateLimitedError(RefusedError):
    """Too much, too early: again after `retry_after` seconds."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.retry_after: float = problem.retry_after or 0.0


class UnavailableError(RefusedError):
    """The sequencer has stopped; a restart replays its log."""


class UnreachableError(SdkError):
    """The venue does not answer, or not with what its API promises."""


class OutcomeUnknownError(SdkError):
    """No answer came in time; what was sent may be done or not.

    An order goes on being followed: its `done()` tells what has become of it.
    """


class ClosedError(SdkError):
    """The client is closed."""


class NoSlotError(SdkError):
    """Every order slot that the client may use has an order that is alive."""


class SlowReaderError(SdkError):
    """Messages of a stream came faster than they were read; it has ended."""


class WrongVenueError(SdkError):
    """The node signs for another rollup than the one that was named."""


class ProofError(SdkError):
    """A proof that proves nothing, or that L1 knows nothing of."""


_BY_CODE: dict[str, type[RefusedError]] = {
    "unauthorised": UnauthorisedError,
    "rate_limited": RateLimitedError,
    "unavailable": UnavailableError,
    "unknown": NotFoundError,
    "unknown_account": NotFoundError,
    "unknown_market": NotFoundError,
    "not_found": NotFoundError,
}


def to_error(problem: Problem) -> RefusedError:
    """Return the exception of a refusal."""
    return _BY_CODE.get(problem.code, RefusedError)(problem)
