"""The ways out, as a table: where money is, what moves it on, and where it is then.

Nothing is remembered about how far a way has been gone: where money is can be read from L1 at any
time, so a way that was interrupted is gone on with from wherever it was left.
"""

from dataclasses import dataclass
from enum import Enum


class Route(Enum):
    """The three ways out."""

    NORMAL = "normal"
    """A withdrawal that the sequencer takes."""
    FORCED = "forced"
    """A request through L1 that the sequencer must serve, or whoever proposes in its place."""
    ESCAPE = "escape"
    """The end of the rollup: everybody takes its equity out by proof."""


class Place(Enum):
    """Where money is on its way out."""

    LISTED = "orders could still fill"
    HELD = "tied up in a position"
    UNSIGNED = "in the account, to be withdrawn by a signature"
    UNASKED = "in the account, to be withdrawn by force"
    SIGNED = "withdrawal handed to the sequencer"
    QUEUED = "forced exit waits in the L1 queue"
    POSTED = "exit in a batch"
    SETTLED = "exit in a settled batch"
    DELAYED = "payment held back by the vault"
    PAYABLE = "delayed payment due"
    STUCK = "in the account of a rollup that nobody serves"
    FREEZABLE = "in the account of a rollup that may be frozen"
    FROZEN = "in the account of a frozen rollup"
    FINAL = "in the account of a frozen rollup whose last batch has settled"
    OPEN = "to be proven to the escape hatch"
    REGISTERED = "registered with the escape hatch"
    DUE = "registered, and payment has started"
    UNPROCESSED = "deposit that the final state does not include"
    ASKED = "asked for; what comes after it in the queue goes on"
    PAID = "paid"


class Action(Enum):
    """What is done, or waited for."""

    CANCEL_ALL = "kill open orders"
    FORCE_CLOSE = "close a position"
    FORCE_EXIT = "ask L1 for a forced exit"
    SIGN = "sign a withdrawal and hand it to the sequencer"
    AWAIT_SERVICE = "a batch serves it"
    AWAIT_SETTLEMENT = "the batch's challenge window passes"
    CLAIM = "claim the exit"
    AWAIT_PAYMENT = "the vault's delay passes"
    PAY_DELAYED = "have the delayed payment paid"
    AWAIT_FREEZE = "silence lasts until anyone may freeze the rollup"
    FREEZE = "freeze the rollup for ever"
    AWAIT_FINAL = "the last batch's challenge window passes"
    OPEN_HATCH = "fix the final state"
    ESCAPE = "prove the account to the escape hatch"
    AWAIT_WINDOW = "the time for proofs passes"
    TAKE = "take what was registered"
    REFUND = "have the deposit paid back"


@dataclass(frozen=True, slots=True)
class Move:
    """One step of a way out."""

    action: Action
    then: Place
    gas: int = 0
    """Of the transaction; 0 for what is waited for or only signed."""


TABLE: dict[Place, Move] = {
    Place.LISTED: Move(Action.CANCEL_ALL, Place.ASKED, 56_000),
    Place.HELD: Move(Action.FORCE_CLOSE, Place.ASKED, 56_000),
    Place.UNSIGNED: Move(Action.SIGN, Place.SIGNED),
    Place.UNASKED: Move(Action.FORCE_EXIT, Place.QUEUED, 56_000),
    Place.SIGNED: Move(Action.AWAIT_SERVICE, Place.POSTED),
    Place.QUEUED: Move(Action.AWAIT_SERVICE, Place.POSTED),
    Place.POSTED: Move(Action.AWAIT_SETTLEMENT, Place.SETTLED),
    Place.SETTLED: Move(Action.CLAIM, Place.PAID, 115_000),
    Place.DELAYED: Move(Action.AWAIT_PAYMENT, Place.PAYABLE),
    Place.PAYABLE: Move(Action.PAY_DELAYED, Place.PAID, 75_000),
    Place.STUCK: Move(Action.AWAIT_FREEZE, Place.FREEZABLE),
    Place.FREEZABLE: Move(Action.FREEZE, Place.FROZEN, 130_000),
    Place.FROZEN: Move(Action.AWAIT_FINAL, Place.FINAL),
    Place.FINAL: Move(Action.OPEN_HATCH, Place.OPEN, 150_000),
    Place.OPEN: Move(Action.ESCAPE, Place.REGISTERED, 120_000),
    Place.REGISTERED: Move(Action.AWAIT_WINDOW, Place.DUE),
    Place.DUE: Move(Action.TAKE, Place.PAID, 80_000),
    Place.UNPROCESSED: Move(Action.REFUND, Place.PAID, 110_000),
}
"""Gas is about what it takes, rounded up; `benchmarks/gas.json` has what is measured."""
GAS_PER_POSITION = 20_000
"""An escape's proof opens every series that the account holds."""
ENDS = frozenset({Place.ASKED, Place.PAID})
SHARED = frozenset({Action.AWAIT_FREEZE, Action.FREEZE, Action.AWAIT_FINAL, Action.OPEN_HATCH})
"""What is done once for everybody; anybody may do it."""
