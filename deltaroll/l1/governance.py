"""The venue's governance on L1: changes behind the timelock, the guardian's emergencies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from functools import cached_property

from ape.api import AccountAPI, ReceiptAPI
from ape.contracts import ContractInstance
from ape.managers.project import ProjectManager
from eth_abi.abi import decode

from deltaroll.l1.gateway import LOG_RANGE, Gateway
from deltaroll.l1.proposals import describe_body
from deltaroll.l1.registry import Registry
from deltaroll.protocol.configure import MAX_CLOSING
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import decode_params
from deltaroll.protocol.types import MarketId

CONFIGURE_SELECTOR = keccak(b"configure(bytes)")[:4]
NO_PREDECESSOR = bytes(32)
MARGINS = (
    "maintenance_factor",
    "initial_factor",
    "perp_maintenance",
    "perp_initial",
    "option_maintenance",
    "option_initial",
)
"""The parameters that the guardian may raise, in the order of the contract's struct."""


class GovernanceError(Exception):
    """What is asked for is not possible: says what, and why."""


class OperationState(IntEnum):
    """Of the timelock's operations. An old one that nobody has executed counts as UNKNOWN."""

    UNKNOWN = 0
    WAITING = 1
    READY = 2
    DONE = 3


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation."""

    target: str
    value: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Operation:
    """A scheduled change."""

    id: bytes
    calls: tuple[Call, ...]
    predecessor: bytes
    salt: bytes
    state: OperationState
    ready_at: int
    """Unix seconds; 0 unless it waits or is ready."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """Emergencies that anyone may end now."""

    underlyings: tuple[int, ...]
    series: tuple[tuple[int, int], ...]
    """Runs of ids: the first, and how many."""


class Governance:
    """Timelock and gate of one deployment."""

    def __init__(self, project: ProjectManager, gateway: Gateway, registry: Registry) -> None:
        """Raises RegistryError for a deployment without the two contracts."""
        timelock, gate = (
            registry.get_address(name) for name in ("ExitWindowTimelock", "ConfigureGate")
        )
        self._gateway = gateway
        self.timelock: ContractInstance = project.ExitWindowTimelock.at(
            timelock, fetch_from_explorer=False
        )
        self.gate: ContractInstance = project.ConfigureGate.at(gate, fetch_from_explorer=False)

    @cached_property
    def delay(self) -> int:
        """Seconds from scheduling to execution."""
        return int(self.timelock.getMinDelay())

    @cached_property
    def forced_delay(self) -> int:
        """Seconds within which L2 consumes a message."""
        return int(self._gateway.contracts.inbox.forcedDelay())

    def read_params(self, underlying: MarketId) -> bytes:
        """Return the encoded parameters that the timelock sent last; empty: none."""
        return bytes(self.gate.paramsOf(underlying))

    def propose(self, bodies: Sequence[bytes], sender: AccountAPI) -> bytes:
        """Schedule Configure bodies as one operation; return its id.

        Raises
        ------
        GovernanceError
            When the sender may not propose.
        """
        if not self.timelock.hasRole(self.timelock.PROPOSER_ROLE(), sender):
            raise GovernanceError(f"{sender.address} may not propose: it lacks the timelock's role")
        calls = tuple(Call(str(self.gate.address), 0, encode_call(body)) for body in bodies)
        # The same change may be proposed again one day.
        salt = self._gateway.get_head().hash
        arguments = (*split_calls(calls), NO_PREDECESSOR, salt)
        self.timelock.scheduleBatch(*arguments, self.delay, sender=sender)
        return bytes(self.timelock.hashOperationBatch(*arguments))

    def list_operations(self) -> list[Operation]:
        """Return the operations that were ever scheduled, oldest first."""
        calls: dict[bytes, dict[int, Call]] = {}
        predecessors: dict[bytes, bytes] = {}
        salts: dict[bytes, bytes] = {}
        for start, stop in self._ranges():
            for log in self.timelock.CallScheduled.range(start, stop + 1):
                operation = bytes(log.id)
                call = Call(str(log.target), int(log.value), bytes(log.data))
                calls.setdefault(operation, {})[int(log.index)] = call
                predecessors[operation] = bytes(log.predecessor)
            for log in self.timelock.CallSalt.range(start, stop + 1):
                salts[bytes(log.id)] = bytes(log.salt)
        found = []
        for operation, indexed in calls.items():
            state = OperationState(int(self.timelock.getOperationState(operation)))
            is_open = state in (OperationState.WAITING, OperationState.READY)
            ready_at = int(self.timelock.getTimestamp(operation)) if is_open else 0
            ordered = tuple(call for _, call in sorted(indexed.items()))
            salt = salts.get(operation, bytes(32))
            found.append(
                Operation(operation, ordered, predecessors[operation], salt, state, ready_at)
            )
        return found

    def execute(self, operation: Operation, sender: AccountAPI) -> ReceiptAPI:
        """Execute an operation that is ready: anyone may.

        Raises
        ------
        GovernanceError
            When it is not ready.
        """
        if operation.state != OperationState.READY:
            when = f": ready from {to_utc(operation.ready_at)}" if operation.ready_at else ""
            raise GovernanceError(
                f"operation 0x{operation.id.hex()} is {operation.state.name.lower()}{when}"
            )
        arguments = (*split_calls(operation.calls), operation.predecessor, operation.salt)
        is_batch = bytes(self.timelock.hashOperationBatch(*arguments)) == operation.id
        if is_batch:
            return self.timelock.executeBatch(*arguments, sender=sender)
        (call,) = operation.calls
        single = (call.target, call.value, call.payload, operation.predecessor, operation.salt)
        return self.timelock.execute(*single, sender=sender)

    def cancel(self, operation: Operation, sender: AccountAPI) -> ReceiptAPI:
        """Cancel an operation that waits or is ready; GovernanceError when it does neither."""
        if operation.ready_at == 0:
            raise GovernanceError(
                f"operation 0x{operation.id.hex()} is {operation.state.name.lower()}"
            )
        return self.timelock.cancel(operation.id, sender=sender)

    def compute_margins(self, underlying: MarketId, factor: int) -> dict[str, int]:
        """Return an underlying's margin parameters raised to `factor` parts per million of their
        timelocked values, none above its bound.

        Raises
        ------
        GovernanceError
            When the timelock has sent no parameters for it.
        """
        encoded = self.read_params(underlying)
        if not encoded:
            raise GovernanceError(f"underlying {underlying}: the timelock has sent no parameters")
        base = decode_params(encoded)
        bounds = (int(self.gate.maintenanceBound()), int(self.gate.initialBound()))
        scale = 10**6
        return {
            name: getattr(base, name) * min(factor, bounds[place % 2]) // scale
            for place, name in enumerate(MARGINS)
        }

    def tighten(
        self, underlying: MarketId, margins: dict[str, int], sender: AccountAPI
    ) -> ReceiptAPI:
        """Raise margins of an underlying for a while; only the guardian."""
        self._require_guardian(sender)
        values = tuple(margins[name] for name in MARGINS)
        return self.gate.tighten(underlying, values, sender=sender)

    def close(self, first: int, count: int, sender: AccountAPI) -> ReceiptAPI:
        """Close series to new risk for a while; only the guardian."""
        self._require_guardian(sender)
        return self.gate.close(first, count, sender=sender)

    def find_overdue(self, now: int) -> Overdue:
        """Return the emergencies whose period is over at `now`, Unix seconds."""
        underlyings: set[int] = set()
        series: set[int] = set()
        for start, stop in self._ranges():
            for log in self.gate.Tightened.range(start, stop + 1):
                underlyings.add(int(log.underlying))
            for log in self.gate.Closed.range(start, stop + 1):
                series.update(range(log.first, log.first + log.count))
        return Overdue(
            tuple(
                market
                for market in sorted(underlyings)
                if 0 < int(self.gate.tighteningOf(market).endsAt) <= now
            ),
            tuple(
                find_runs(
                    market
                    for market in sorted(series)
                    if 0 < int(self.gate.closingOf(market).endsAt) <= now
                )
            ),
        )

    def restore(self, overdue: Overdue, sender: AccountAPI) -> list[ReceiptAPI]:
        """End emergencies that are over: anyone may."""
        receipts = [self.gate.restore(market, sender=sender) for market in overdue.underlyings]
        for first, count in overdue.series:
            receipts.append(self.gate.reopen(first, count, sender=sender))
        return receipts

    def describe(self, call: Call) -> str:
        """Return what a call does, in plain words."""
        is_configure = call.payload[:4] == CONFIGURE_SELECTOR
        if call.target.lower() == str(self.gate.address).lower() and is_configure:
            (body,) = decode(["bytes"], call.payload[4:])
            return describe_body(body, self.read_params)
        target = "the timelock" if self._is_timelock(call.target) else call.target
        return f"call {target} with {call.value} wei and 0x{call.payload.hex()}"

    def _is_timelock(self, target: str) -> bool:
        return target.lower() == str(self.timelock.address).lower()

    def _require_guardian(self, sender: AccountAPI) -> None:
        guardian = str(self.gate.guardian())
        if guardian != sender.address:
            raise GovernanceError(f"{sender.address} is not the guardian, {guardian}")

    def _ranges(self) -> list[tuple[int, int]]:
        head = self._gateway.get_head().number
        starts = range(self._gateway.first_block, head + 1, LOG_RANGE)
        return [(start, min(start + LOG_RANGE - 1, head)) for start in starts]


def encode_call(body: bytes) -> bytes:
    """Return the calldata of the gate's `configure`."""
    padding = -len(body) % 32
    words = (32).to_bytes(32, "big") + len(body).to_bytes(32, "big")
    return CONFIGURE_SELECTOR + words + body + bytes(padding)


def split_calls(calls: Sequence[Call]) -> tuple[list[str], list[int], list[bytes]]:
    """Return targets, values and payloads, as the timelock takes them."""
    return (
        [call.target for call in calls],
        [call.value for call in calls],
        [call.payload for call in calls],
    )


def find_runs(ids: Iterable[int]) -> list[tuple[int, int]]:
    """Return ascending ids as runs without gaps, none longer than one message closes."""
    runs: list[tuple[int, int]] = []
    for each in ids:
        if runs and sum(runs[-1]) == each and runs[-1][1] < MAX_CLOSING:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((each, 1))
    return runs


def to_utc(time: int) -> str:
    """Return Unix seconds as a readable date."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def to_days(seconds: int) -> str:
    """Return a duration in days and hours."""
    days, rest = divmod(seconds, 86_400)
    hours = -(-rest // 3_600)
    return (
        " ".join(
            part for part in (f"{days} d" if days else "", f"{hours} h" if hours else "") if part
        )
        or "0 h"
    )
