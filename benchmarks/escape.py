"""Gas of leaving a frozen rollup, in process: whole transactions, calldata included."""

from dataclasses import replace
from typing import Any

from deltaroll.node.escape import compute_escape_witness, split_accounts
from deltaroll.protocol.funding import compute_carry
from deltaroll.protocol.state import State, compute_state_root, get_series, set_account
from deltaroll.protocol.types import Account, AccountId, MarketId, Position, Series
from tests.adversary.catalogue_rig import CLAIM_WINDOW, FREEZE_DELAY, RIVAL, At, encode_call
from tests.contracts.escape_rig import Exodus
from tests.protocol.proving import FLOOR_TOKEN
from tests.protocol.scenes import create_scene

SERIES = 64
"""Listed, of which the accounts hold some."""
CROWD = 1_000
CROWD_POSITIONS = 4
CASH = 10**9
DEPOSIT = 10**9
OWNER = "0x" + "0c" * 20
EXACT = {16: AccountId(501), 64: AccountId(502), 0: AccountId(503)}
"""Accounts of so many positions in the middle of the crowd."""


def create_crowd() -> State:
    """Return a state with a thousand accounts of four positions, and one of each size."""
    scene = create_scene(0, 0, SERIES)
    state = scene.state
    held = [(market, get_series(state, market)) for market in sorted(scene.series)]
    for number in range(1, CROWD + 1):
        account_id = AccountId(number)
        count = next((count for count, key in EXACT.items() if key == account_id), CROWD_POSITIONS)
        first = 0 if count > CROWD_POSITIONS else number % (SERIES - CROWD_POSITIONS)
        set_account(state, account_id, make_account(number, held[first : first + count]))
    state.globals = replace(state.globals, deposited=CROWD * CASH, withdrawn=0, account_count=CROWD)
    compute_state_root(state)
    return state


def make_account(number: int, held: list[tuple[MarketId, Series]]) -> Account:
    """Return an account with positions that are worth nothing, in fields as long as they get."""
    owner = bytes.fromhex(OWNER[2:]) if number in EXACT.values() else number.to_bytes(20, "big")
    positions = tuple(
        Position(market, size, compute_carry(series, size) - series.mark)
        for market, series in held
        for size in (123_456_789 if market % 2 else -987_654_321,)
    )
    return Account(owner, owner, 1_900_000_000, 1 << 40, CASH, 1, 0, positions)  # type: ignore[arg-type]


class Meter:
    """Sends transactions and says what each costs by the rules of Prague."""

    def __init__(self, exodus: Exodus) -> None:
        self.exodus = exodus

    def send(self, function: str, *arguments: Any, to: At | None = None) -> int:
        """Call the escape hatch; return the gas."""
        exodus = self.exodus
        target = to or exodus.hatch
        calldata = encode_call(target.name, function, *arguments)
        exodus.send_raw(RIVAL, target, calldata)
        floor = 21_000 + FLOOR_TOKEN * (4 * len(calldata) - 3 * calldata.count(0))
        return max(exodus.gas_used, floor)


def measure_gas() -> dict[str, int]:
    """Return all figures. Storage is as a user finds it: nothing of it was touched before."""
    figures: dict[str, int] = {}
    exodus = Exodus(create_crowd())
    meter = Meter(exodus)
    refund = exodus.deposit(OWNER, 0, DEPOSIT)
    exodus.pass_time(FREEZE_DELAY + 1)
    figures["freeze"] = meter.send("freeze", tuple(exodus.last), exodus.message_of(refund))
    figures["open_escape"] = meter.send("open", tuple(exodus.last), exodus.globals)
    with exodus.fork():
        figures["refund_deposit"] = meter.send("refundDeposit", *refund)
    for name, count in (
        ("escape_16_positions", 16),
        ("escape_64_positions", 64),
        ("register_claim", 0),
    ):
        # The total is not zero any more once somebody was first.
        with exodus.fork():
            exodus.escape(1)
            figures[name] = meter.send("escape", exodus.witness(EXACT[count]))
    total = 0
    for group in split_accounts(exodus.state, exodus.state.accounts):
        total += meter.send("escape", compute_escape_witness(exodus.state, group))
    figures["escape_per_account_in_batch"] = total // CROWD
    exodus.pass_time(CLAIM_WINDOW + 1)
    figures["claim_escape"] = meter.send("claim", EXACT[16])
    return figures


if __name__ == "__main__":
    for name, value in measure_gas().items():
        print(f"{name:45s} {value:>12,}")
