"""Goes a way out, one step at a time.

After every step L1 is looked at again and the plan is made again. So whatever has happened
meanwhile (a step done by somebody else, a crash, a batch removed, a frozen rollup) is no special
case.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, Protocol

from ape.api import AccountAPI, ReceiptAPI
from ape.exceptions import ApeException
from eth_utils.conversions import to_bytes

from deltaroll.l1.gateway import L1Error
from deltaroll.leave.arguments import (
    make_claim,
    make_escape,
    make_freeze,
    make_open,
    make_refund,
)
from deltaroll.leave.forecast import MAX_EXIT
from deltaroll.leave.memory import Decision, Memory, to_records
from deltaroll.leave.moves import Action, Route
from deltaroll.leave.observe import observe, read_terms
from deltaroll.leave.plan import Ask, Plan, Step, list_routes, make_plan
from deltaroll.leave.situation import Situation
from deltaroll.leave.words import describe_step
from deltaroll.node.follower import Follower
from deltaroll.protocol.types import AccountId, Address, Withdraw

POOL_SECONDS = 120.0
"""How long a transaction of the owner's that waits in the pool is waited for."""
POOL_LOOK = 1.0


class LeaveError(Exception):
    """A step could not be done; what is done stays done."""


class Channel(Protocol):
    """How a signed withdrawal reaches the sequencer."""

    def hand(self, withdraw: Withdraw) -> None:
        """Sign and hand over; what the sequencer has already is no error.

        Raises
        ------
        LeaveError
            When it is refused.
        """


@dataclass(slots=True)
class Leaver:
    """One owner's exit from one rollup."""

    follower: Follower
    account: AccountAPI
    memory: Memory
    decision: Decision
    channel: Channel | None
    say: Callable[[str], None]
    agree: Callable[[Plan, Situation], None]
    """Asked whenever the way changes; raises what stops it."""
    agreed: Route | None = None

    def look(self) -> Situation:
        """Return where everything is now."""
        return look(self.follower, self.owner, self.decision.queue_from)

    @property
    def owner(self) -> Address:
        """Whose money leaves."""
        return Address(to_bytes(hexstr=self.account.address))

    def make_plan(self, situation: Situation) -> Plan:
        """Return the plan of the way that was chosen, or of the one that is left."""
        routes = list_routes(situation, self.channel is not None)
        route = self.decision.route if self.decision.route in routes else routes[0]
        return make_plan(situation, self.decision.to_asks(), route)

    def go(self, wait: float | None) -> Plan:
        """Do all that can be done and return what is left of the plan.

        Parameters
        ----------
        wait
            Seconds between two looks at L1 until everything is paid; None does not wait.

        Raises
        ------
        LeaveError
            When a step fails.
        """
        pause = Event()
        while True:
            situation = self.look()
            plan = self.make_plan(situation)
            step = plan.find_ready(situation.now)
            if step is not None:
                if plan.route != self.agreed:
                    self.agree(plan, situation)
                    self.agreed = plan.route
                self.await_pool()
                self.do(step)
                continue
            if not plan.steps:
                self.memory.forget()
                return plan
            if wait is None:
                return plan
            pause.wait(wait)

    def do(self, step: Step) -> None:
        """Do one step. One that somebody else has done meanwhile is no error.

        Raises
        ------
        LeaveError
            When it fails and is still to be done.
        """
        self.say(f"{describe_step(step)} ...")
        try:
            receipt = self._perform(step)
        except ApeException as problem:
            situation = self.look()
            again = self.make_plan(situation).find_ready(situation.now)
            if again is not None and again.is_same(step):
                raise LeaveError(f"{describe_step(step)}: {problem}") from problem
            return
        if receipt is not None:
            self.say(f"  done: transaction {receipt.txn_hash}, {receipt.gas_used:,} gas")

    def await_pool(self) -> None:
        """Wait until no transaction of the owner is under way: what it does is not on L1 yet.

        Raises
        ------
        LeaveError
            When one waits for too long.
        """
        pause = Event()
        waited = 0.0
        while (count := self._count("pending")) > (mined := self._count("latest")):
            if waited >= POOL_SECONDS:
                raise LeaveError(
                    f"{count - mined} transactions of {self.account.address} wait in the pool, the "
                    f"first with nonce {mined}: replace it or wait, then run this again"
                )
            pause.wait(POOL_LOOK)
            waited += POOL_LOOK

    def _count(self, block: str) -> int:
        provider = self.follower.gateway.provider
        try:
            answer = provider.make_request(
                "eth_getTransactionCount", [str(self.account.address), block]
            )
        except ApeException as problem:
            raise L1Error(f"L1: eth_getTransactionCount: {problem}") from problem
        return int(str(answer), 16)

    def _perform(self, step: Step) -> ReceiptAPI | None:
        item = step.item
        contracts = self.follower.gateway.contracts
        bridge, hatch = contracts.bridge, contracts.escape_hatch
        match step.action:
            case Action.CANCEL_ALL:
                return self._send(bridge.cancelAll, item.account)
            case Action.FORCE_CLOSE:
                return self._send(bridge.forceClose, item.account, item.market, 0)
            case Action.FORCE_EXIT:
                return self._send(bridge.forceExit, item.account, item.asks or MAX_EXIT)
            case Action.SIGN:
                self._hand(item.account, item.asks)
                return None
            case Action.CLAIM:
                return self._send(bridge.claimExit, *make_claim(self.follower, item.index))
            case Action.PAY_DELAYED:
                return self._send(contracts.vault.payDelayed, item.index)
            case Action.FREEZE:
                assert self.follower.head is not None
                name, arguments = make_freeze(self.follower, self.follower.head.time)
                return self._send(getattr(hatch, name), *arguments)
            case Action.OPEN_HATCH:
                return self._send(hatch.open, *make_open(self.follower))
            case Action.ESCAPE:
                return self._send(hatch.escape, make_escape(self.follower, item.account))
            case Action.TAKE:
                return self._send(hatch.claim, item.account)
            case Action.REFUND:
                return self._send(hatch.refundDeposit, *make_refund(self.follower, item.index))
            case _:
                raise LeaveError(f"{step.action.value}: not a step that anybody takes")

    def _send(self, method: Any, *arguments: Any) -> ReceiptAPI:
        receipt: ReceiptAPI = method(*arguments, sender=self.account)
        return receipt

    def _hand(self, account: AccountId, amount: int) -> None:
        if self.channel is None:
            raise LeaveError("the sequencer: nobody has said how to reach it")
        asks = []
        for ask in self.decision.to_asks():
            if ask.account != account:
                asks.append(ask)
                continue
            # The amount is fixed by the first signature: the same line can be handed twice.
            fixed = replace(ask, amount=ask.amount if ask.is_handed else amount)
            self.channel.hand(Withdraw(account, self.owner, amount, ask.nonce))
            asks.append(replace(fixed, is_handed=True))
        self.decision = replace_asks(self.decision, tuple(asks))
        self.memory.write(self.decision)


def look(follower: Follower, owner: Address, since: int) -> Situation:
    """Return where everything of an owner is now."""
    follower.poll()
    return observe(follower, read_terms(follower.gateway), owner, since)


def replace_asks(decision: Decision, asks: tuple[Ask, ...]) -> Decision:
    """Return a decision with other wishes."""
    return Decision(
        decision.chain_id,
        decision.bridge,
        decision.owner,
        decision.route,
        decision.queue_from,
        to_records(asks),
    )
