"""Leaving with a key and an L1 node, on a real L1: every way, from every place on it.

| who | moves |
|---|---|
| Erin | has cash and nothing else |
| Bob | has positions; what they need as margin does not leave |
| the operator | runs the sequencer, or is dead |
| L1 | lets time pass |
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deltaroll.leave.decide import Wishes, decide
from deltaroll.leave.leaver import Leaver, look
from deltaroll.leave.memory import Memory
from deltaroll.leave.moves import Action, Place, Route
from deltaroll.leave.plan import Plan, list_routes
from deltaroll.leave.situation import Situation
from deltaroll.node.batcher import Batcher
from deltaroll.node.follower import Follower
from deltaroll.node.intake import take_in
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.types import AccountId, Address, Withdraw
from tests.scenarios.support import (
    ALICE,
    ALICE_TOO,
    BOB,
    ERIN,
    PRICES,
    RICH,
    WINDOW,
    Lab,
    observe_with,
    post_all,
)

DAY = 24 * 3_600


class Killed(BaseException):
    """The process ends here and now."""


class Desk:
    """One user's machine: a file, and the tool started again and again."""

    def __init__(self, lab: Lab, account: AccountId, wishes: Wishes, channel: Any = None) -> None:
        self.lab = lab
        self.account = lab.venue.owners[account]
        self.owner = lab.venue.keys[account].address
        self.wishes = wishes
        self.channel = channel
        self.memory = Memory(lab.folder / f"exit-{account}.json")
        self.said: list[str] = []
        self.agreed: list[Route] = []
        self.interrupt: Callable[[str], None] = lambda _: None

    def start(self) -> Leaver:
        """Start the tool as the script does."""
        gateway = self.lab.venue.gateway
        follower = Follower(gateway)
        bridge, owner = str(gateway.contracts.bridge.address), "0x" + self.owner.hex()
        decision = self.memory.read(gateway.provider.chain_id, bridge, owner)
        since = decision.queue_from if decision else 2**64
        situation = look(follower, self.owner, since)
        if decision is None:
            routes = list_routes(situation, self.channel is not None)
            count = len(follower.state.messages)
            decision = decide(situation, self.wishes, routes, gateway, count)
        leaver: Leaver

        def agree(plan: Plan, _: Situation) -> None:
            self.agreed.append(plan.route)
            self.memory.write(leaver.decision)

        leaver = Leaver(
            follower, self.account, self.memory, decision, self.channel, self.say, agree
        )
        return leaver

    def say(self, line: str) -> None:
        self.said.append(line)
        self.interrupt(line)

    def go(self) -> Plan:
        """Run the tool once."""
        return self.start().go(None)

    def get_balance(self) -> int:
        return int(self.lab.contracts.token.balanceOf(self.account))


class Operator:
    """The real sequencer with its batcher."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.sequencer: Sequencer = lab.open_sequencer()
        self.batcher = Batcher(self.sequencer.store, Follower(lab.venue.gateway), lab.venue.operator)

    def work(self) -> None:
        """Take in what L1 asks for and post it."""
        take_in(self.sequencer, self.batcher.follower)
        self.sequencer.seal()
        self.sequencer.flush()
        while self.batcher.post() is not None:
            pass


def list_actions(plan: Plan) -> list[Action]:
    return [step.action for step in plan.steps]


def test_forced__cash_only__asked_served_settled_claimed(lab: Lab):
    desk, operator = Desk(lab, ERIN, Wishes()), Operator(lab)
    before = desk.get_balance()
    plan = desk.start().make_plan(desk.start().look())
    assert list_actions(plan) == [
        Action.FORCE_EXIT,
        Action.AWAIT_SERVICE,
        Action.AWAIT_SETTLEMENT,
        Action.CLAIM,
    ]
    assert (plan.amount, plan.transactions) == (RICH, 2)
    terms = desk.start().look().terms
    left = plan.paid_at - desk.start().look().now
    assert left == terms.forced_delay + terms.challenge_window + 1

    plan = desk.go()
    assert list_actions(plan) == [
        Action.AWAIT_SERVICE,
        Action.AWAIT_SETTLEMENT,
        Action.CLAIM,
    ]
    assert desk.agreed == [Route.FORCED]
    operator.work()
    assert list_actions(desk.go()) == [Action.AWAIT_SETTLEMENT, Action.CLAIM]
    lab.advance(WINDOW)
    assert list_actions(desk.go()) == [Action.AWAIT_SETTLEMENT, Action.CLAIM]
    lab.advance(2)
    assert desk.go().steps == ()
    assert desk.get_balance() - before == RICH
    assert not desk.memory.path.exists()
    # Nothing is left to do.
    assert desk.go().steps == ()
