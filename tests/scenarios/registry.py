"""The batches with one fault, by whoever drafts them."""

from collections.abc import Callable
from dataclasses import dataclass

from deltaroll.protocol.fault import Fault
from tests.scenarios.support import Lab, Lie

Draft = Callable[[Lab], Lie]


@dataclass(frozen=True)
class Case:
    """A batch with one fault."""

    fault: Fault
    draft: Draft
    also: Fault | None
    """What else is wrong with the chunk, where a fault cannot stand alone. It is proven second."""


CASES: list[Case] = []


def case(fault: Fault, also: Fault | None = None) -> Callable[[Draft], Draft]:
    """Register the draft of a batch with a fault in its last chunk."""

    def register(draft: Draft) -> Draft:
        CASES.append(Case(fault, draft, also))
        return draft

    return register
