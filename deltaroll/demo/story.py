"""The demo, step by step. Each step raises when what it shows does not hold."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ape.api import ReceiptAPI

from deltaroll.demo.actors import make_orders, observe
from deltaroll.demo.prices import Close, read_closes
from deltaroll.demo.venue import INDEX, MAKERS, PERPETUAL, Venue, fund_traders
from deltaroll.l1.commitments import compress_branch
from deltaroll.l1.types import PostedChunk, Stage
from deltaroll.node.admission import RejectedError
from deltaroll.node.audit import Audit, compute_audit
from deltaroll.node.batcher import Batcher, Posting, compute_submission, select_chunks
from deltaroll.node.challenger import Removal
from deltaroll.node.exits import find_exit
from deltaroll.node.sender import Mined, Sender
from deltaroll.protocol.state import compute_state_root, set_account
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    Address,
    Timestamp,
    Transfer,
    Withdraw,
)

Say = Callable[[str], None]
SECONDS_PER_DAY = 60
"""L1 time between two closes."""
DAYS_PER_BATCH = 4
STOLEN = 1_000_000 * 10**6


class DemoError(Exception):
    """Something that the demo shows did not hold."""


@dataclass(slots=True)
class Score:
    """What is counted on the way."""

    orders: int = 0
    rejected: int = 0
    fills: int = 0
    transfers: int = 0
    postings: list[Posting] = field(default_factory=list)
    chunks: dict[int, bytes] = field(default_factory=dict)
    signature_bytes: int = 0
    removal: Removal | None = None
    slashed: int = 0
    claims: list[tuple[str, int, ReceiptAPI]] = field(default_factory=list)
    audit: Audit | None = None
    roots: dict[str, bytes] = field(default_factory=dict)

    def add_posting(self, posting: Posting | None) -> None:
        """Count a batch that will stay."""
        if posting is None:
            return
        self.postings.append(posting)
        for chunk in posting.chunks:
            self.chunks[chunk.number] = chunk.data
            self.signature_bytes += len(chunk.signatures)


def expect(holds: bool, claim: str) -> None:
    """Raise DemoError unless `claim` holds."""
    if not holds:
        raise DemoError(f"does not hold: {claim}")


def trade_day(venue: Venue, close: Close, drift: int, dice: random.Random, score: Score) -> None:
    """One close: the committee signs it, makers quote around it, takers trade."""
    venue.advance(SECONDS_PER_DAY)
    venue.sync()
    sequencer = venue.sequencer
    clock = sequencer.clock
    sequencer.observe(
        INDEX, *observe(venue.committee, sequencer.domain, INDEX, close.price, clock, dice)
    )
    orders = make_orders(venue.traders, MAKERS, PERPETUAL, close.price, drift, clock, dice)
    for signed in orders:
        receipt = sequencer.submit_order(
            signed.account, signed.slot, signed.order, signed.signature
        )
        execution = receipt.execution
        assert execution is not None
        score.orders += 1
        score.fills += len(execution.fills)
        score.rejected += execution.reason is not None and not execution.fills
    sequencer.flush()


def pay_each_other(venue: Venue, score: Score, nonce: int) -> None:
    """Every taker's owner transfers some cash to the next, signed by wallets on L2."""
    takers = list(zip(venue.traders, venue.owners, strict=True))[MAKERS:]
    for place, (trader, owner) in enumerate(takers):
        recipient = takers[(place + 1) % len(takers)][0].account
        transfer = Transfer(trader.account, recipient, (25 + place) * 10**6, nonce)
        venue.sequencer.submit_action(transfer, venue.sign_action(owner, transfer))
        score.transfers += 1
    venue.sequencer.flush()


def post(venue: Venue, batcher: Batcher, score: Score) -> Posting | None:
    """Seal and post what is waiting."""
    venue.sequencer.seal()
    venue.sequencer.flush()
    posting = batcher.post()
    score.add_posting(posting)
    return posting


def replay_markets(venue: Venue, dice: random.Random, score: Score, say: Say) -> None:
    """Trade through the storms, a batch every few days."""
    closes = read_closes()
    say(f"replaying {len(closes)} S&P 500 closes, {closes[0].day} to {closes[-1].day}")
    before = closes[0].price
    for day, close in enumerate(closes, 1):
        trade_day(venue, close, close.price - before, dice, score)
        if day % 10 == 0:
            pay_each_other(venue, score, 1 + day)
        move = (close.price - before) * 10_000 // before
        before = close.price
        if day % DAYS_PER_BATCH == 0 or day == len(closes):
            posting = post(venue, venue.batcher, score)
            assert posting is not None
            say(
                f"  {close.day}  close {close.price / 10_000:8.2f} ({move / 100:+.2f} %)  "
                f"{score.orders:5d} orders {score.fills:5d} fills  "
                f"batch {posting.header.index:2d}: {len(posting.chunks)} chunks, "
                f"{posting.receipt.gas_used:,} gas"
            )


def withdraw_normally(venue: Venue) -> tuple[Address, int]:
    """A trader signs a withdrawal on L2; returns recipient and amount."""
    trader, owner = venue.traders[0], venue.owners[0]
    recipient = Address(bytes.fromhex(owner.address[2:]))
    withdraw = Withdraw(trader.account, recipient, 12_345 * 10**6, 1_000)
    venue.sequencer.submit_action(withdraw, venue.sign_action(owner, withdraw))
    venue.sequencer.flush()
    return recipient, withdraw.amount


def force_exit(venue: Venue) -> tuple[Address, int]:
    """Another asks L1 to be let out, without a word to the sequencer; returns who and how much."""
    trader, owner = venue.traders[-1], venue.owners[-1]
    amount = 5_000 * 10**6
    venue.gateway.contracts.bridge.forceExit(trader.account, amount, sender=owner)
    return Address(bytes.fromhex(owner.address[2:])), amount


def try_to_cheat(venue: Venue) -> list[str]:
    """Send what a sequencer must refuse; returns how each was refused."""
    trader = venue.traders[MAKERS]
    clock = venue.sequencer.clock
    price = venue.sequencer.state.markets[PERPETUAL].mark // 1000 * 1000  # type: ignore[union-attr]
    good = trader.sign(trader_slot := max(trader.nonces), PERPETUAL, True, price, 1, clock)
    forged = bytearray(good.signature)
    forged[5] ^= 1
    attempts = {
        "forged signature": (good.order, bytes(forged)),
        "expired order": (replace(good.order, expiry=Timestamp(clock - 1)), good.signature),
        "zero size": (replace(good.order, size=0), good.signature),
    }
    refusals = []
    for name, (order, signature) in attempts.items():
        try:
            venue.sequencer.submit_order(trader.account, trader_slot, order, signature)
        except RejectedError as refusal:
            refusals.append(f"{name}: {refusal}")
        else:
            raise DemoError(f"accepted: {name}")
    return refusals


def post_lie(venue: Venue) -> Posting:
    """The operator posts the waiting chunks, but credits itself with a stolen balance at the
    end.
    """
    batcher = venue.batcher
    venue.sequencer.seal()
    venue.sequencer.flush()
    chunks = select_chunks(batcher.store, batcher.find_next_chunk())
    honest = batcher.compute_posted(chunks)
    state = batcher.follower.state
    head = batcher.follower.chain[-1].submitted.header
    state.begin()
    for index, chunk in enumerate(chunks):
        process_chunk(state, chunk.data, batcher.compute_context(chunk, index, chunks, head))
    thief = venue.traders[1].account
    account = state.accounts[thief]
    set_account(state, thief, replace(account, cash=account.cash + STOLEN))
    false_root = compute_state_root(state)
    state.rollback()
    last = honest[-1]
    posted = (*honest[:-1], PostedChunk(last.data, last.signatures, false_root))
    arguments = compute_submission(
        head, batcher.follower, chunks[-1].queue_end, venue.sequencer.clock + 3600, posted
    )
    receipt = venue.gateway.contracts.inbox.submitBatch(arguments, sender=venue.operator)
    mined = Mined(receipt.txn_hash, receipt.block_number, receipt.gas_used, not receipt.failed)
    return Posting(mined, head, chunks)


def remove_lie(venue: Venue, score: Score) -> None:
    """The challenger reads L1 like everybody else, and acts."""
    venue.challenger.follower.poll()
    before = venue.gateway.contracts.inbox.bondOf(venue.operator).amount
    score.removal = venue.challenger.challenge()
    expect(score.removal is not None, "the challenger found the lie")
    after = venue.gateway.contracts.inbox.bondOf(venue.operator).amount
    score.slashed = before - after
    expect(score.slashed > 0, "the liar's bond is gone")
    venue.batcher.follower.poll()
    expect(venue.batcher.follower.fraud is None, "the lie is gone from the chain")


def claim(venue: Venue, name: str, recipient: Address, amount: int) -> tuple[str, int, ReceiptAPI]:
    """Claim an exit on L1 from what a follower derived, and check that the money arrived."""
    contracts = venue.gateway.contracts
    exit_claim = find_exit(venue.follower, recipient, amount)
    sibling_map, siblings = compress_branch(exit_claim.branch)
    address = "0x" + recipient.hex()
    before = contracts.token.balanceOf(address)
    receipt = contracts.bridge.claimExit(
        exit_claim.header,
        exit_claim.globals,
        (exit_claim.index, 0, address, amount),
        sibling_map,
        siblings,
        sender=venue.watcher,
    )
    expect(contracts.token.balanceOf(address) == before + amount, f"{name}: {amount} arrived on L1")
    return name, amount, receipt


def settle(venue: Venue) -> None:
    """Wait out the challenge window on L1."""
    window = venue.gateway.contracts.inbox.challengeWindow()
    venue.advance(window + 1)
    venue.follower.poll()
    stage = venue.follower.compute_stage(venue.follower.chain[-1])
    expect(stage == Stage.SETTLED, "the last batch has settled")


def compare_roots(venue: Venue, score: Score) -> None:
    """The sequencer's own state and an independent follower's have one root."""
    venue.follower.poll()
    live = venue.sequencer.state
    derived = venue.follower.state
    # Fee levels come from L1 headers, which only a posted batch has.
    live.globals = replace(
        live.globals,
        base_fee_level=derived.globals.base_fee_level,
        blob_fee_level=derived.globals.blob_fee_level,
    )
    score.roots = {
        "sequencer": compute_state_root(live),
        "follower": venue.follower.state_root,
        "L1": venue.follower.chain[-1].submitted.header.post_root,
    }
    expect(
        len(set(score.roots.values())) == 1, "sequencer, follower and L1 agree on the state root"
    )


def run_story(venue: Venue, dice: random.Random, say: Say) -> Score:
    """Play the whole demo; returns what was counted."""
    score = Score()
    fund_traders(venue)
    say(f"{len(venue.traders)} traders deposited and named trading keys with their wallets")
    replay_markets(venue, dice, score, say)

    for refusal in try_to_cheat(venue):
        say(f"refused: {refusal}")
    normal = withdraw_normally(venue)
    say("a trader signs a withdrawal; another forces an exit through L1")
    forced = force_exit(venue)
    venue.sync()

    post_lie(venue)
    say("the operator posts those chunks with a state root in which a friend is a million richer")
    remove_lie(venue, score)
    assert score.removal is not None
    say(f"a challenger removes the batch: {score.removal.receipt.gas_used:,} gas, one transaction")

    standby = Batcher(
        venue.batcher.store, venue.batcher.follower, Sender(venue.gateway, venue.standby)
    )
    posting = post(venue, standby, score)
    expect(posting is not None, "the honest batch is posted again")
    say("a standby proposer posts the honest batch again")
    compare_roots(venue, score)

    settle(venue)
    score.claims.append(claim(venue, "normal exit", *normal))
    score.claims.append(claim(venue, "forced exit", *forced))
    score.audit = compute_audit(venue.follower)
    expect(score.audit.is_conserved, "money is conserved")
    return score
