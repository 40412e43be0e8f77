"""What was decided, on disk, so that an interrupted exit goes on as it was meant.

How far it has got is not here: that is read from L1 each time. What is here is written before the
first transaction, so nothing is ever asked twice, wherever the process ends.
"""

from pathlib import Path

import msgspec

from deltaroll.leave.moves import Route
from deltaroll.leave.plan import Ask
from deltaroll.protocol.types import AccountId


class RecordError(Exception):
    """The file of an exit is damaged, or of another one."""


class AskRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wanted from one account; the fields of `Ask`."""

    account: int
    amount: int | None
    closes: bool
    nonce: int
    is_handed: bool


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An exit that was agreed to."""

    chain_id: int
    bridge: str
    owner: str
    route: Route
    queue_from: int
    """What the owner asked L1 for before this message is not part of it."""
    asks: tuple[AskRecord, ...]

    def to_asks(self) -> tuple[Ask, ...]:
        """Return what is wanted."""
        return tuple(
            Ask(AccountId(each.account), each.amount, each.closes, each.nonce, each.is_handed)
            for each in self.asks
        )


def to_records(asks: tuple[Ask, ...]) -> tuple[AskRecord, ...]:
    """Return the form in which wishes are written down."""
    return tuple(
        AskRecord(int(each.account), each.amount, each.closes, each.nonce, each.is_handed)
        for each in asks
    )


class Memory:
    """The file of one owner's exit from one rollup."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, chain_id: int, bridge: str, owner: str) -> Decision | None:
        """Return what was decided; None when nothing was.

        Raises
        ------
        RecordError
            When the file is damaged, or of another owner, rollup or chain.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            decision = msgspec.json.decode(content, type=Decision)
        except msgspec.DecodeError as problem:
            raise RecordError(f"state: {self.path}: {problem}") from problem
        held = (decision.chain_id, decision.bridge, decision.owner)
        if held != (chain_id, bridge, owner):
            raise RecordError(
                f"state: {self.path} is of {decision.owner} at {decision.bridge} on chain "
                f"{decision.chain_id}"
            )
        return decision

    def write(self, decision: Decision) -> None:
        """Replace the file in one step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(decision), indent=2) + b"\n")
        temporary.replace(self.path)

    def forget(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
