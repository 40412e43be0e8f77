"""Leaving with a key and an L1 node, on a real L1: every way, from every place on it.

| who | moves |
|---|---|
| Erin | has cash and nothing else |
| Bob | has positions; what they need as margin does not leave |
| the operator | runs the sequencer, or is dead |
| L1 | lets time pass |
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ape import project

from deltaroll.l1.discovery import DiscoveryError, discover
from deltaroll.leave.decide import Wishes, decide
from deltaroll.leave.leaver import LeaveError, Leaver, look
from deltaroll.leave.memory import Memory
from deltaroll.leave.moves import GAS_PER_POSITION, TABLE, Action, Route
from deltaroll.leave.plan import Plan, list_routes, make_plan
from deltaroll.leave.proof import ProofError, check_proof, read_proof, write_proof
from deltaroll.leave.situation import Situation
from deltaroll.leave.submission import make_proof, submit_proof
from deltaroll.leave.words import describe_holdings, describe_others
from deltaroll.node.batcher import Batcher
from deltaroll.node.follower import Follower
from deltaroll.node.intake import take_in
from deltaroll.node.sender import Sender
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import AccountId, Transfer, Withdraw
from tests.scenarios.support import (
    ALICE,
    ALICE_TOO,
    BOB,
    ERIN,
    EXPIRY,
    PRICES,
    RICH,
    WINDOW,
    Lab,
    observe_with,
    surface_with,
)

DAY = 24 * 3_600


STEPS = {
    "kill all": Action.CANCEL_ALL,
    "close the": Action.FORCE_CLOSE,
    "ask L1": Action.FORCE_EXIT,
    "claim exit": Action.CLAIM,
    "freeze the": Action.FREEZE,
    "fix the": Action.OPEN_HATCH,
    "prove account": Action.ESCAPE,
    "take what": Action.TAKE,
    "have deposit": Action.REFUND,
    "have exit": Action.PAY_DELAYED,
}
"""What the tool says it does."""


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
        if line.startswith("  done"):
            check_gas(self.said[-1], int(line.split(", ")[1].split(" ")[0].replace(",", "")))
        self.said.append(line)
        self.interrupt(line)

    def go(self) -> Plan:
        """Run the tool once."""
        return self.start().go(None)

    def get_balance(self) -> int:
        return int(self.lab.contracts.token.balanceOf(self.account))


def check_gas(step: str, gas: int) -> None:
    """What a step was said to cost is what it takes, rounded up."""
    (action,) = [action for words, action in STEPS.items() if step.startswith(words)]
    (said,) = {move.gas for move in TABLE.values() if move.action == action}
    # An escape takes more for each position.
    positions = 6 * GAS_PER_POSITION if action == Action.ESCAPE else 0
    assert said * 2 // 5 < gas <= said + positions, (step, gas)


class Operator:
    """The real sequencer with its batcher."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.sequencer: Sequencer = lab.open_sequencer()
        sender = Sender(lab.venue.gateway, lab.venue.operator)
        self.batcher = Batcher(self.sequencer.store, Follower(lab.venue.gateway), sender)

    def work(self) -> None:
        """Take in what L1 asks for and post it."""
        take_in(self.sequencer, self.batcher.follower)
        self.sequencer.seal()
        self.sequencer.flush()
        while self.batcher.post() is not None:
            pass


def price(operator: Operator) -> None:
    """Have the committee price everything again."""
    take_in(operator.sequencer, operator.batcher.follower)
    for market, index in PRICES.items():
        observe_with(operator.lab.venue, operator.sequencer, market, index)
    surface_with(operator.lab.venue, operator.sequencer, EXPIRY)


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


def test_forced__positions__free_margin_leaves_and_the_rest_after_closing(lab: Lab):
    """What positions need stays; with --close they go first, if the insurance fund takes them."""
    situation = Desk(lab, BOB, Wishes()).start().look()
    (owned,) = situation.accounts
    assert 0 < owned.free < owned.equity
    assert len(owned.holdings) == len(lab.state.accounts[BOB].positions)
    # An empty fund takes nothing over.
    assert all(holding.refusal != Fault.NONE for holding in owned.holdings)
    assert any("cannot be closed by force" in line for line in describe_holdings(situation))

    # Erin gives the fund what it needs.
    operator = Operator(lab)
    gift = lab.act(Transfer(ERIN, AccountId(0), RICH - 10**6, 1))
    take_in(operator.sequencer, operator.batcher.follower)
    operator.sequencer.submit_action(gift.transaction, gift.signatures[0])
    lab.advance(60)
    price(operator)
    operator.work()
    desk = Desk(lab, BOB, Wishes(closes=True))
    leaver = desk.start()
    plan = leaver.make_plan(leaver.look())
    closing = [holding.market for holding in leaver.look().accounts[0].holdings]
    assert [step.item.market for step in plan.steps if step.action == Action.FORCE_CLOSE] == closing
    assert plan.amount > owned.free
    before = desk.get_balance()
    desk.go()
    operator.work()
    lab.advance(WINDOW + 1)
    assert desk.go().steps == ()
    paid = desk.get_balance() - before
    assert paid > owned.free
    left = desk.start().look().accounts[0]
    assert (left.holdings, left.equity) == ((), 0)
    # The forecast was made at slightly other marks at most.
    assert abs(paid - plan.amount) < plan.amount // 100


def test_forced__killed_at_every_boundary__nothing_is_asked_twice(lab: Lab):
    """Killed before each step, and after each one was mined but before anything was noted."""
    desk, operator = Desk(lab, ERIN, Wishes(amount=25 * 10**6)), Operator(lab)
    before, queued = desk.get_balance(), lab.contracts.bridge.queueCount()

    def kill_at(mark: str) -> None:
        def interrupt(line: str) -> None:
            if mark in line:
                raise Killed

        desk.interrupt = interrupt
        with pytest.raises(Killed):
            desk.go()
        desk.interrupt = lambda _: None

    kill_at("ask L1 for a forced exit")
    assert lab.contracts.bridge.queueCount() == queued
    kill_at("done")
    assert lab.contracts.bridge.queueCount() == queued + 1
    assert list_actions(desk.go())[0] == Action.AWAIT_SERVICE
    operator.work()
    lab.advance(WINDOW + 1)
    kill_at("claim")
    kill_at("done")
    assert desk.get_balance() - before == 25 * 10**6
    assert desk.go().steps == ()
    assert lab.contracts.bridge.queueCount() == queued + 1
    assert not desk.memory.path.exists()


def test_forced__step_that_fails__says_why_and_stops(lab: Lab):
    """An owner without ether is told so; nothing is tried for ever."""
    desk = Desk(lab, ERIN, Wishes())
    queued = lab.contracts.bridge.queueCount()
    lab.venue.provider.make_request("anvil_setBalance", [desk.account.address, "0x0"])
    with pytest.raises(LeaveError, match="ask L1 for a forced exit"):
        desk.go()
    assert lab.contracts.bridge.queueCount() == queued
    lab.venue.provider.make_request("anvil_setBalance", [desk.account.address, hex(10**18)])
    assert list_actions(desk.go())[0] == Action.AWAIT_SERVICE


def test_forced__file_lost_while_it_waits__is_not_asked_again(lab: Lab):
    desk = Desk(lab, ERIN, Wishes())
    desk.go()
    desk.memory.forget()
    queued = lab.contracts.bridge.queueCount()
    assert list_actions(desk.go())[0] == Action.AWAIT_SERVICE
    assert lab.contracts.bridge.queueCount() == queued


def test_forced__halted__says_why_and_what_next(lab: Lab):
    """A request that was passed over is explained; it is not sent again while it would be again."""
    operator = Operator(lab)
    desk = Desk(lab, BOB, Wishes())
    desk.go()
    lab.advance(2 * DAY // 4)
    lab.advance(DAY)
    operator.work()
    leaver = desk.start()
    situation = leaver.look()
    (asked,) = situation.asked
    assert (asked.is_served, asked.outcome) == (True, Fault.HALTED)
    assert any(
        "passed over" in line and "no price" in line for line in describe_holdings(situation)
    )
    plan = leaver.make_plan(situation)
    assert [blocked.reason for blocked in plan.blocked] == [Fault.HALTED]
    assert list_actions(plan) == []
    # A price comes: it is asked again.
    price(operator)
    operator.work()
    assert list_actions(desk.start().make_plan(desk.start().look()))[0] == Action.FORCE_EXIT


class Line:
    """A channel to a sequencer in this process."""

    def __init__(self, lab: Lab, operator: Operator, account: AccountId) -> None:
        self.lab, self.operator, self.account = lab, operator, account
        self.handed: list[Withdraw] = []

    def hand(self, withdraw: Withdraw) -> None:
        self.handed.append(withdraw)
        signature = self.lab.venue.keys[self.account].sign_action(self.lab.domain, withdraw)
        self.operator.sequencer.submit_action(withdraw, signature)


def test_normal__sequencer_within_reach__is_the_fastest_and_takes_one_transaction(lab: Lab):
    operator = Operator(lab)
    take_in(operator.sequencer, operator.batcher.follower)
    line = Line(lab, operator, ERIN)
    desk = Desk(lab, ERIN, Wishes(amount=7 * 10**6), line)
    before, queued = desk.get_balance(), lab.contracts.bridge.queueCount()
    leaver = desk.start()
    situation = leaver.look()
    asks = leaver.decision.to_asks()
    normal, forced = (make_plan(situation, asks, route) for route in (Route.NORMAL, Route.FORCED))
    assert normal.paid_at < forced.paid_at
    assert (normal.transactions, forced.transactions) == (1, 2)
    desk.interrupt = lambda text: None
    assert list_actions(desk.go())[0] == Action.AWAIT_SERVICE
    # Started again before anything is posted: it is not handed over again.
    assert list_actions(desk.go())[0] == Action.AWAIT_SERVICE
    assert len(line.handed) == 1
    operator.work()
    lab.advance(WINDOW + 1)
    assert desk.go().steps == ()
    assert desk.get_balance() - before == 7 * 10**6
    assert lab.contracts.bridge.queueCount() == queued


def test_claims__several_exits_of_several_accounts__all_come_home(lab: Lab):
    """Alice has two accounts; three exits are claimed in one run."""
    operator = Operator(lab)
    take_in(operator.sequencer, operator.batcher.follower)
    for account, nonce in ((ALICE, 101), (ALICE_TOO, 100), (ALICE_TOO, 101)):
        signed = lab.withdraw(10**6, account, nonce)
        operator.sequencer.submit_action(signed.transaction, signed.signatures[0])
    operator.work()
    lab.advance(WINDOW + 1)
    desk = Desk(lab, ALICE, Wishes(only_claims=True))
    before = desk.get_balance()
    assert desk.go().steps == ()
    assert desk.get_balance() - before == 3 * 10**6


def test_claims__more_than_the_vault_pays_at_once__the_rest_a_day_later(lab: Lab):
    """Alice leaves with both accounts: the second payment is beyond the bound, and comes later."""
    desk, operator = Desk(lab, ALICE, Wishes()), Operator(lab)
    before, room = desk.get_balance(), lab.contracts.vault.outflowRoom()
    desk.go()
    operator.work()
    lab.advance(WINDOW + 1)
    plan = desk.go()
    assert list_actions(plan) == [Action.AWAIT_PAYMENT, Action.PAY_DELAYED]
    paid = desk.get_balance() - before
    assert 0 < paid <= room < paid + plan.amount
    assert any("held back by the vault" in line for line in describe_holdings(desk.start().look()))
    lab.advance(lab.contracts.vault.outflowDelay() + 1)
    assert desk.go().steps == ()
    assert desk.get_balance() - before == paid + plan.amount


def test_claims__sold__are_left_alone_and_claimed_by_who_bought_them(lab: Lab):
    operator, buyer = Operator(lab), Desk(lab, BOB, Wishes(only_claims=True))
    seller = Desk(lab, ERIN, Wishes(amount=10**6))
    seller.go()
    operator.work()
    (found,) = seller.start().look().exits
    leaf = (found.index, 0, seller.account.address, found.amount)
    lab.venue.send(
        lab.contracts.bridge.transferClaim, leaf, buyer.account.address, sender=seller.account
    )
    assert seller.go().steps == ()
    before = buyer.get_balance()
    lab.advance(WINDOW + 1)
    assert buyer.go().steps == ()
    assert buyer.get_balance() - before == 10**6


def test_escape__operator_dead__frozen_proven_paid(lab: Lab):
    """Erin's request is never served. She freezes the rollup, proves her account, and is paid; her
    unprocessed deposit comes back.
    """
    token, bridge = lab.contracts.token, lab.contracts.bridge
    desk = Desk(lab, ERIN, Wishes())
    owner = lab.venue.owners[ERIN]
    lab.venue.send(token.mint, owner.address, 5 * 10**6, sender=owner)
    lab.venue.send(token.approve, bridge.address, 5 * 10**6, sender=owner)
    lab.venue.send(bridge.deposit, owner.address, ERIN, 5 * 10**6, sender=owner)
    before = desk.get_balance()
    desk.go()
    terms = desk.start().look().terms
    lab.advance(terms.proposer_delay + DAY)
    leaver = desk.start()
    situation = leaver.look()
    assert not situation.is_alive
    assert list_routes(situation, False) == [Route.FORCED, Route.ESCAPE]
    escape = make_plan(situation, (), Route.ESCAPE)
    assert list_actions(escape)[:3] == [
        Action.AWAIT_FREEZE,
        Action.FREEZE,
        Action.AWAIT_FINAL,
    ]
    lines = "\n".join(describe_others(situation, [escape], False))
    assert "ape run propose" in lines
    lab.advance(terms.freeze_delay)
    plan = desk.go()
    assert desk.agreed == [Route.FORCED, Route.ESCAPE]
    assert desk.start().look().hatch.is_frozen
    assert list_actions(plan) == [Action.AWAIT_WINDOW, Action.TAKE]
    assert desk.get_balance() - before == 5 * 10**6, "the deposit is back"
    lab.advance(terms.claim_window + 2)
    assert desk.go().steps == ()
    assert desk.get_balance() - before == RICH + 5 * 10**6


def test_escape__killed_and_overtaken__goes_on_from_where_l1_is(lab: Lab):
    """Somebody else freezes, opens and proves before the owner does: that is no error."""
    desk, rival = Desk(lab, ERIN, Wishes()), Desk(lab, ALICE, Wishes(only_claims=True))
    desk.go()
    terms = desk.start().look().terms
    lab.advance(terms.freeze_delay + terms.proposer_delay)
    before = desk.get_balance()

    def overtake(line: str) -> None:
        desk.interrupt = lambda _: None
        rival.go()

    desk.interrupt = overtake
    desk.go()
    for mark in ("prove account", "done"):
        assert any(mark in line for line in desk.said)
    lab.advance(terms.claim_window + 2)
    hatch = lab.contracts.escape_hatch
    lab.venue.send(hatch.claim, ERIN, sender=lab.venue.watcher)
    assert desk.go().steps == ()
    assert desk.get_balance() - before == RICH
    assert "paid by the escape hatch" in "\n".join(describe_holdings(desk.start().look()))


def test_proofs__exported__checked_offline_and_sent_by_anybody(lab: Lab, tmp_path: Path):
    operator = Operator(lab)
    take_in(operator.sequencer, operator.batcher.follower)
    signed = lab.withdraw(10**6)
    operator.sequencer.submit_action(signed.transaction, signed.signatures[0])
    operator.work()
    lab.advance(WINDOW + 1)
    desk = Desk(lab, ERIN, Wishes())
    leaver = desk.start()
    claim = make_proof(leaver.follower, leaver.look(), ())
    escape = make_proof(leaver.follower, leaver.look(), (ERIN,))
    for proof in (claim, escape):
        write_proof(tmp_path / "proof.json", proof)
        assert read_proof(tmp_path / "proof.json") == proof
        finding = check_proof(proof)
        assert check_proof(proof, finding.header_hash) == finding
        on_l1 = bytes(lab.contracts.inbox.headerHash(finding.batch))
        assert finding.header_hash == on_l1
        with pytest.raises(ProofError, match="hashes to"):
            check_proof(proof, bytes(32))
    for changes, complaint in (
        ({"amount": claim.amount + 1}, "do not lead"),
        ({"index": claim.index + 1}, "do not lead"),
        ({"recipient": "0x" + "11" * 20}, "do not lead"),
        ({"globals": claim.globals[:-2] + "01"}, "do not hash"),
        ({"siblings": claim.siblings[1:]}, "31 instead of 32"),
        ({"format": "other"}, None),
    ):
        if complaint is not None:
            with pytest.raises(ProofError, match=complaint):
                check_proof(msgspec.structs.replace(claim, **changes))
    flipped = bytearray.fromhex(escape.witness[2:])
    flipped[300] ^= 1
    for changes, complaint in (
        ({"equity": escape.equity + 1}, "instead of"),
        ({"owner": "0x" + "11" * 20}, "belongs to"),
        ({"account": 9}, "does not open"),
        ({"witness": "0x" + flipped.hex()}, "witness: "),
        ({"witness": escape.witness[:-64]}, "witness: "),
        ({"witness": escape.witness + "00"}, "left over"),
    ):
        with pytest.raises(ProofError, match=complaint):
            check_proof(msgspec.structs.replace(escape, **changes))
    before = desk.get_balance()
    submit_proof(lab.venue.gateway, lab.venue.watcher, claim)
    assert desk.get_balance() - before == 10**6


def test_discovery__address_of_the_bridge__is_enough(lab: Lab):
    registered, contracts = lab.venue.gateway, lab.contracts
    found = discover(project, lab.venue.provider, str(contracts.bridge.address))
    assert found.domain == registered.domain
    for name in ("vault", "bridge", "inbox", "prover", "escape_hatch", "token"):
        assert getattr(found.contracts, name).address == getattr(contracts, name).address
    assert registered.first_block <= found.first_block <= registered.first_block + 10
    follower = Follower(found)
    follower.poll()
    assert follower.state_root == lab.follower.state_root
    for address, complaint in (
        (str(contracts.inbox.address), "does not answer"),
        (str(contracts.token.address), "does not answer"),
        ("0x" + "11" * 20, "has no code"),
        ("0x11", "is not an address"),
    ):
        with pytest.raises(DiscoveryError, match=complaint):
            discover(project, lab.venue.provider, address)
