"""From what a user wishes to what is written down and done."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deltaroll.l1.gateway import Gateway
from deltaroll.leave.leaver import LeaveError
from deltaroll.leave.memory import Decision, to_records
from deltaroll.leave.moves import Route
from deltaroll.leave.plan import Ask
from deltaroll.leave.situation import Owned, Situation
from deltaroll.protocol.types import AccountId


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user asks for."""

    amount: int | None = None
    """Collateral units over all accounts; None: all that is free."""
    accounts: tuple[int, ...] = ()
    """Empty: all."""
    closes: bool = False
    only_claims: bool = False
    """Only bring home what is on its way."""
    route: Route | None = None
    """None: the fastest that is open."""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing in particular is wished for."""
        return self == Wishes()


def decide(
    situation: Situation, wishes: Wishes, routes: Sequence[Route], gateway: Gateway, queue: int
) -> Decision:
    """Return what is done about wishes.

    Parameters
    ----------
    routes
        Those that are open, the fastest first.
    queue
        Messages in the L1 queue now.

    Raises
    ------
    LeaveError
        When an account is not the owner's, the route is not open, or there is not as much.
    """
    if wishes.route is not None and wishes.route not in routes:
        open_now = ", ".join(route.value for route in routes)
        raise LeaveError(f"--route: {wishes.route.value} is not open now, only {open_now}")
    route = wishes.route or routes[0]
    asks = () if wishes.only_claims else tuple(_share(situation, wishes))
    # What waits already is part of it, so that it is not asked for again once it is served.
    waiting = [each.index for each in situation.asked if not each.is_served]
    return Decision(
        gateway.provider.chain_id,
        str(gateway.contracts.bridge.address),
        "0x" + situation.owner.hex(),
        route,
        min([queue, *waiting]),
        to_records(asks),
    )


def check_same(decision: Decision, wishes: Wishes, path: Path) -> None:
    """Check that wishes, if there are any, are those of the exit that is under way.

    Raises
    ------
    LeaveError
    """
    asks = decision.to_asks()
    amounts = [ask.amount for ask in asks]
    same = (
        (
            wishes.amount is None
            or (None not in amounts and wishes.amount == sum(filter(None, amounts)))
        )
        and (not wishes.accounts or set(wishes.accounts) >= {ask.account for ask in asks})
        and (not wishes.closes or all(ask.closes for ask in asks))
        and (wishes.route is None or wishes.route == decision.route)
    )
    if not same:
        raise LeaveError(
            f"another exit is under way: run this without wishes to go on with it, or remove {path}"
        )


def _share(situation: Situation, wishes: Wishes) -> list[Ask]:
    """Return what is taken from each account: from the first ones first."""
    chosen = [_find(situation, account) for account in wishes.accounts] or list(situation.accounts)
    asks = []
    left = wishes.amount
    for owned in chosen:
        most = owned.closed if wishes.closes else owned.free
        if left is not None:
            if left == 0:
                break
            taken = min(left, most)
            left -= taken
            if taken == 0:
                continue
            asks.append(Ask(owned.account, taken, wishes.closes, owned.nonce + 1))
        elif owned.equity > 0:
            asks.append(Ask(owned.account, None, wishes.closes, owned.nonce + 1))
    if left and not situation.hatch.is_frozen:
        raise LeaveError(
            f"--amount: {wishes.amount} units are {left} more than are free: what positions need "
            "as margin stays, unless they are closed first (--close)"
        )
    return asks


def _find(situation: Situation, account: int) -> Owned:
    owned = situation.find_account(AccountId(account))
    if owned is None:
        raise LeaveError(f"--from: account {account} is not of 0x{situation.owner.hex()}")
    return owned
