"""The L1 state machine: random histories of the whole rollup on a real chain.

An honest venue and a standby propose; a sequencer that turns bad and an open proposer lie, and
build on lies; a challenger proves; a rival proves what is not so; users deposit, force and claim;
days pass, the base fee jumps, L1 forgets blocks. After every step:

- the vault holds what was paid in less what was paid out, and at least what is owed;
- what has settled is true, and the nodes' chain is exactly the batches that were posted honestly;
- bonds, rewards and the inbox's ether are what the moves say: no honest actor has lost one;
- queue ranges of the batches on L1 join without gap or overlap, every message is served once.

At the end nobody proposes any more, and everybody leaves: exits, deposits and equity are paid to
the unit, and the vault keeps what nobody was owed.

After a removal, however much it took along, an honest batch is accepted at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, ClassVar

from ape.api import AccountAPI
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from deltaroll.l1.commitments import compress_branch, to_header_tuple
from deltaroll.node.batcher import BatcherError
from deltaroll.node.exits import ExitError, compute_branch, find_exit
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import DAY
from deltaroll.protocol.leaf import encode_globals
from deltaroll.protocol.types import Address, SeriesStatus, Timestamp
from tests.adversary.campaign import Effort, Ledger, Row
from tests.adversary.machine_actors import compute_nonsense, forge, forge_root, prove_falsely
from tests.adversary.machine_ending import leave
from tests.adversary.machine_stage import HALF, Stage, open_stage
from tests.adversary.machine_world import (
    CLAIMS,
    FALSE,
    HONEST,
    HOUR,
    LIES,
    PROPOSER_DELAY,
    REACTION,
    REORG,
    BreachError,
    Sent,
    World,
    to_claim,
)
from tests.scenarios.support import (
    ALICE,
    BOB,
    BOND,
    BTC,
    BTC_LAST,
    BTC_PERP,
    DAVE,
    ERIN,
    FRANK,
    NOBODY,
    WINDOW,
    list_series,
)

SUFFIX = "l1: long suffix"
LIFETIME = 20 * DAY
"""A history ends before the base's options expire."""
WAITS = (12, 60, 30 * 60, 3 * HOUR, PROPOSER_DELAY + 60, DAY, 3 * DAY, WINDOW + 1)
BASE_FEES = (7, 10**9, 40 * 10**9, 10**12)
seeds = st.integers(0, 2**32 - 1).map(Random)


class L1Machine(RuleBasedStateMachine):
    """Chooses the moves. Each has its own randomness, so that an example says which moves."""

    stage: ClassVar[Stage]
    ledger: ClassVar[Ledger]
    latest: ClassVar[World]
    """Of the history that was begun last."""

    def __init__(self) -> None:
        super().__init__()
        self.world = type(self).latest = World(self.stage, self.ledger)

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.world.close()

    def finish(self) -> None:
        """Take the last moves back, remove what is left to remove, post on, audit."""
        self.reorganise(Random(len(self.world.moves)))
        if self.world.first_lie is not None:
            self.challenge(Random(0))
        self.world.check()
        self.world.audit()
        if self.world.lab.follower.fraud is None:
            leave(self.world, Random(len(self.world.moves)))

    # Users

    @rule(random=seeds)
    def use_bridge(self, random: Random) -> None:
        for _ in range(random.randint(1, 3)):
            self.world.message(self.draw_message(random))

    def draw_message(self, random: Random) -> Sent:
        """Return one message, sensible or not."""
        venue = self.world.venue
        bridge, owners = venue.contracts.bridge, venue.owners
        account = random.choice([ALICE, BOB, DAVE, ERIN])
        owner = owners[random.choice([account, account, BOB])]
        amount = random.randrange(1, 10**8)
        match random.randrange(8):
            case 0 | 1:
                place = random.choice([0, account, NOBODY])
                return Sent(bridge.deposit, (owner.address, place, amount), venue.governor, amount)
            case 2 | 3:
                return Sent(bridge.forceExit, (account, amount), owner, 0)
            case 4:
                return Sent(bridge.forceClose, (account, BTC_PERP, random.randrange(3)), owner, 0)
            case 5:
                return Sent(bridge.cancelAll, (account,), owner, 0)
            case 6:
                body = random.randbytes(random.randint(1, 40))
                if random.random() < 0.7:
                    lab = self.world.lab
                    # Not Erin: what the venue does for her would depend on this one then.
                    nonce = lab.state.accounts[FRANK].nonce + 1
                    signed = lab.withdraw(random.randrange(1, 10**6), FRANK, nonce)
                    data = encode_chunk(Timestamp(lab.time), [signed.transaction])
                    body = len(data).to_bytes(2, "big") + data + b"".join(signed.signatures)
                return Sent(bridge.force, (body,), owner, 0)
            case _:
                status = random.choice(
                    [SeriesStatus.ACTIVE, SeriesStatus.INACTIVE, SeriesStatus.CLOSING]
                )
                body = list_series(BTC_LAST, BTC, status)
                return Sent(bridge.configure, (body,), venue.governor, 0)

    @precondition(lambda self: self.world.lab.state.exits or self.world.loot)
    @rule(random=seeds)
    def claim(self, random: Random) -> None:
        """Claim all that has settled, once and once more; then what has not, and loot."""
        world = self.world
        lab, bridge = world.lab, world.lab.contracts.bridge
        who = world.stage.rival
        for recipient in sorted({leaf.recipient for leaf in lab.state.exits}):
            self.claim_settled(recipient)
        header, exits = lab.head, lab.state.exits
        if exits and header.l1_time + WINDOW > world.time:
            leaf, index = exits[-1], len(exits) - 1
            branch = compute_branch(lab.follower, index, len(exits))
            encoding = encode_globals(lab.state.globals)
            early = to_claim(header, encoding, index, leaf.recipient, leaf.amount, branch)
            reasons = ("Bridge_NotSettled", "Bridge_AlreadyClaimed")
            world.expect(CLAIMS, reasons, bridge.claimExit, *early, sender=who)
        for posted, loot in random.sample(world.loot, min(2, len(world.loot))):
            leaf = loot.exit
            stolen = to_claim(
                posted, loot.globals, loot.index, leaf.recipient, leaf.amount, loot.branch
            )
            world.expect(CLAIMS, ("Bridge_NotSettled",), bridge.claimExit, *stolen, sender=who)

    def claim_settled(self, recipient: Address) -> None:
        """Claim a recipient's newest settled exit: too much, as it is, again."""
        world = self.world
        bridge, who = world.lab.contracts.bridge, world.stage.rival
        try:
            found = find_exit(world.lab.follower, recipient)
        except ExitError:
            return
        leaf = (found.index, 0, "0x" + recipient.hex(), found.amount)
        more = (*leaf[:3], found.amount + 1)
        other = (found.index ^ 1, *leaf[1:])
        arguments = compress_branch(found.branch)
        for wrong in (more, other):
            claim = (found.header, found.globals, wrong, *arguments)
            reasons = ("Bridge_WrongBranch", "Bridge_AlreadyClaimed")
            world.expect(CLAIMS, reasons, bridge.claimExit, *claim, sender=who)
        claim = (found.header, found.globals, leaf, *arguments)
        receipt = world.send(CLAIMS, bridge.claimExit, *claim, sender=who)
        world.books = world.books.pay_out(found.amount)
        world.ledger.count(CLAIMS, int(receipt["gasUsed"], 16))
        world.expect(CLAIMS, ("Bridge_AlreadyClaimed",), bridge.claimExit, *claim, sender=who)
        world.read_l1()

    # Proposers

    @rule(random=seeds)
    def work(self, random: Random) -> None:
        """The venue posts; on a lie it refuses to."""
        world = self.world
        if world.first_lie is None:
            for _ in range(random.randint(1, 3)):
                world.post_honest(random)
            if world.challenge() is not None:
                raise BreachError(FALSE, "an honest batch was removed")
        elif world.real is not None and not world.real.is_lost():
            world.real.work(random)
            try:
                world.real.post(world.venue.operator)
            except BatcherError:
                world.ledger.count(HONEST)
                world.read_l1()
            else:
                raise BreachError(HONEST, "the batcher has built on a lie")

    @precondition(lambda self: self.world.can_propose(self.world.venue.standby))
    @rule(random=seeds)
    def stand_in(self, random: Random) -> None:
        """The standby posts when it may and likes to: the venue's own log is worthless then."""
        world = self.world
        if world.first_lie is None and (world.real is None or random.random() < 0.3):
            world.post_draft(random, world.venue.standby)

    @rule(random=seeds)
    def lie(self, random: Random) -> None:
        """The sequencer, or anybody whose turn it is, posts what is not true."""
        world = self.world
        who = self.draw_proposer(random, (world.venue.operator, *world.stage.liars))
        if who is None:
            return
        if world.first_lie is None:
            thief = Address(bytes.fromhex(world.stage.rival.address[2:]))
            least, waiting = world.count_messages()
            world.post_lie(random, who, forge(world.lab, random, least, waiting, thief))
        else:
            world.post_suffix(random, who)

    @precondition(lambda self: self.world.first_lie is not None)
    @rule(random=seeds)
    def build_on_lie(self, random: Random) -> None:
        """Whoever may, careless or in league, posts on top of a lie."""
        for _ in range(random.randint(1, 4)):
            who = self.draw_proposer(random, self.world.stage.proposers)
            if who is not None:
                self.world.post_suffix(random, who)

    def draw_proposer(self, random: Random, among: Sequence[AccountAPI]) -> AccountAPI | None:
        """Return somebody whose turn it is; somebody whose turn it is not tries and fails."""
        world = self.world
        can = [who for who in among if world.can_propose(who)]
        for who in random.sample(among, 1):
            # The node's clock for calls may be a little off.
            is_edge = world.time - world.chain[-1].header.l1_time - PROPOSER_DELAY in range(-60, 60)
            if who not in can and not is_edge:
                head = world.chain[-1].header
                posted = compute_nonsense(random, world.time)
                arguments = world.compute_arguments(head.queue_end, posted)
                reasons = ("RollupInbox_NotProposer", "RollupInbox_NotBonded")
                world.expect(LIES, reasons, world.lab.inbox.submitBatch, arguments, sender=who)
        return random.choice(can) if can else None

    # Challengers

    @precondition(lambda self: self.world.first_lie is not None)
    @rule(random=seeds)
    def challenge(self, random: Random) -> None:
        """The honest challenger looks; after a removal the venue posts on."""
        if self.world.challenge() is not None:
            self.world.post_honest(random)

    @precondition(lambda self: self.world.exhibits or self.world.spent)
    @rule(random=seeds)
    def challenge_falsely(self, random: Random) -> None:
        """The rival tries to have honest batches removed."""
        world = self.world
        rival = world.stage.rival
        for _ in range(12 if world.exhibits else 0):
            exhibit, other = random.choices(world.exhibits, k=2)
            if not prove_falsely(world.lab, random, exhibit, other, rival):
                raise BreachError(FALSE, f"batch {exhibit.place.submitted.header.index} is removed")
            world.ledger.count(FALSE)
        standing = {batch.header_hash for batch in world.chain}
        for proof in random.sample(world.spent, min(1, len(world.spent))):
            # L1 may have forgotten the removal.
            if proof.header_hash not in standing:
                reasons = ("FraudProver_NotPending",)
                world.expect(FALSE, reasons, proof.method, *proof.arguments, sender=rival)
        remove = world.lab.inbox.remove
        header = random.choice(world.chain).header
        direct = (to_header_tuple(header), 6, rival)
        world.expect(FALSE, ("RollupInbox_NotProver",), remove, *direct, sender=rival)

    # L1

    @rule(random=seeds)
    def wait(self, random: Random) -> None:
        """Time passes, L1 gets dear or cheap; no lie gets old."""
        world = self.world
        seconds = random.choice(WAITS)
        if world.time + seconds > world.started + LIFETIME:
            seconds = random.randint(12, 60)
        lie = world.first_lie
        if lie is not None:
            last = lie.header.l1_time + WINDOW
            if world.time + seconds + REACTION > last:
                if random.random() < 0.5:
                    # The last second of the window; nobody could then do it again.
                    world.checkpoints.clear()
                    world.stage.request("evm_setNextBlockTimestamp", last)
                self.challenge(random)
        world.advance(seconds)
        if random.random() < 0.5:
            world.set_base_fee(random.choice(BASE_FEES))
            world.read_l1()

    @rule(random=seeds)
    def reorganise(self, random: Random) -> None:
        """L1 forgets up to an hour."""
        world = self.world
        recent = [one for one in world.checkpoints if one.time + REORG > world.time]
        if recent:
            world.reorganise(random, random.choice(recent))

    # Bonds

    @rule(random=seeds)
    def touch_bond(self, random: Random) -> None:
        """Somebody pays a bond, takes it back, or has a reward paid: when that is due, not else."""
        world = self.world
        inbox, books, now = world.lab.inbox, world.books, world.time
        who = random.choice(world.stage.proposers)
        last = books.bonds.get(who.address)
        reward = books.rewards.get(who.address)
        if reward is not None:
            challenger, until = reward
            if now > until + 60:
                before = world.stage.get_balance(challenger)
                world.send(LIES, inbox.claimReward, who, sender=world.stage.rival)
                if world.stage.get_balance(challenger) != before + HALF:
                    raise BreachError(LIES, "the reward was not paid", is_refusal=True)
                world.books = books.pay_reward(who.address)
            elif now < until - 60:
                locked = ("RollupInbox_RewardLocked",)
                world.expect(LIES, locked, inbox.claimReward, who, sender=world.stage.rival)
        elif last is None:
            world.send(HONEST, inbox.bond, sender=who, value=BOND)
            world.books = books.put_bond(who.address)
        elif now > last + WINDOW + 60 and who != world.venue.operator:
            world.send(HONEST, inbox.withdrawBond, sender=who)
            world.books = books.take_bond(who.address)
        elif now < last + WINDOW - 60:
            world.expect(LIES, ("RollupInbox_BondLocked",), inbox.withdrawBond, sender=who)
        world.read_l1()

    @invariant()
    def promises_are_kept(self) -> None:
        self.world.check()


# Removal of a long suffix


def measure_suffix(stage: Stage, length: int) -> int:
    """Return the gas of removing a lie with so many batches on top of it."""
    world = World(stage, Ledger())
    try:
        random = Random(0)
        world.post_lie(random, stage.venue.operator, forge_root(world.lab, random, 0, 0))
        for _ in range(length):
            world.post_suffix(random, stage.venue.operator)
        removal = world.challenge()
        assert removal is not None
        world.post_honest(random)
        world.check()
        return int(removal.receipt.gas_used)
    finally:
        world.close()


def compare_suffixes(ledger: Ledger, gas: dict[int, int]) -> None:
    """Note removals of suffixes of several lengths: the first is the measure of the others."""
    shortest = next(iter(gas.values()))
    for length, used in gas.items():
        if abs(used - shortest) * 20 > shortest:
            note = f"{used:,} gas with {length} batches on top, {shortest:,} with the fewest"
            ledger.accept(SUFFIX, note, used)
        else:
            ledger.count(SUFFIX, used)


# The campaign


def run_machine(
    machine: type[L1Machine], stage: Stage, ledger: Ledger, start: int, examples: int, steps: int
) -> None:
    """Run some histories and note what broke."""
    attributes = {"stage": stage, "ledger": ledger}
    seeded: Any = seed(start)(type(machine.__name__, (machine,), attributes))
    plan = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        # What broke is told by its moves; to shrink it here would take hours.
        phases=[Phase.generate],
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seeded, settings=plan)
    except BreachError as breach:
        moves = ", ".join(seeded.latest.moves)
        note = f"seed {start}: {breach.note} after {moves}"
        if breach.is_refusal:
            ledger.refuse(breach.row, note)
        else:
            ledger.accept(breach.row, note)


def play(stage: Stage, effort: Effort) -> list[Row]:
    """Run the campaign on a stage."""
    ledger = Ledger()
    for place in range(effort.scale):
        start = effort.seed * 10_000 + place
        run_machine(L1Machine, stage, ledger, start, HISTORIES, STEPS)
    lengths = SUFFIXES if effort.scale == 1 else (*SUFFIXES, 200)
    compare_suffixes(ledger, {length: measure_suffix(stage, length) for length in lengths})
    return ledger.to_rows()


HISTORIES, STEPS = 6, 40
"""Histories for each unit of scale, moves in each."""
SUFFIXES = (1, 10, 40)


def attack(effort: Effort) -> Iterable[Row]:
    """Play on a node of its own."""
    with open_stage() as stage:
        return play(stage, effort)
