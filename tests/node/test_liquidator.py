"""The liquidator against a real sequencer over a real socket: what it takes, and what it leaves."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import structlog

from deltaroll.node import server as server_module
from deltaroll.node.liquidator import (
    KeySigner,
    LineClient,
    Liquidator,
    LiquidatorError,
    Policy,
    compute_poke,
)
from deltaroll.node.queries import AccountAnswer, AccountQuery, DistressedAccount
from deltaroll.node.requests import DistressRequest, SocialiseRequest
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.server import LineServer, SequencerThread
from deltaroll.protocol.constants import AUCTION_SECONDS, AUCTION_START, PPM
from deltaroll.protocol.margin import Margin, compute_margin
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Liquidate,
    Timestamp,
    Transfer,
)
from deltaroll.sdk.signing import Signer
from tests.node.distress import (
    ADA,
    ADA_TOO,
    BLAISE,
    CARL,
    DANIEL,
    give_insurance,
    open_distressed,
    open_insolvent,
    open_venue,
    pass_time,
)
from tests.node.support import (
    CASH,
    DOMAIN,
    GENESIS,
    KEYS,
    OWNERS,
    PERP,
    PRICE,
    STRANGER,
    Venue,
    make_order,
    measure,
)


@dataclass
class Stage:
    """A venue behind a port. The venue itself is touched on the sequencer's thread only."""

    venue: Venue
    thread: SequencerThread
    server: LineServer
    client: LineClient
    lines: list[dict[str, Any]]
    """Every request that reached the sequencer."""

    def make_bot(
        self, account: AccountId = CARL, signer: Signer | None = None, **policy: Any
    ) -> Liquidator:
        key = KeySigner(signer or OWNERS[account], DOMAIN)
        return Liquidator(self.client, account, key, Policy(**policy))

    def get_account(self, account: AccountId) -> Account:
        return self.venue.state.accounts[account]

    def get_margin(self, account: AccountId) -> Margin:
        def compute(sequencer: Sequencer) -> Margin:
            leaf = sequencer.state.accounts[account]
            margin = measure(
                sequencer.state,
                None,
                lambda: compute_margin(sequencer.state, leaf, sequencer.clock),
            )
            assert isinstance(margin, Margin)
            return margin

        return self.thread.call(compute)

    def find(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["type"] == kind]

    def pass_time(self, seconds: int) -> None:
        self.thread.call(lambda _: pass_time(self.venue, seconds))


@pytest.fixture
def stage(monkeypatch) -> Iterator[Callable[[Callable[[], Venue]], Stage]]:
    """Opens a stage; once a test."""
    opened: list[Stage] = []
    lines: list[dict[str, Any]] = []
    answer_line = server_module.answer_line

    def note(sequencer: Sequencer, line: bytes) -> bytes:
        lines.append(json.loads(line))
        return answer_line(sequencer, line)

    monkeypatch.setattr(server_module, "answer_line", note)

    def open_stage(open_on_thread: Callable[[], Venue]) -> Stage:
        venues: list[Venue] = []

        def open_sequencer() -> Sequencer:
            venues.append(open_on_thread())
            return venues[0].sequencer

        thread = SequencerThread(open_sequencer)
        server = LineServer(thread, 0)
        opened.append(Stage(venues[0], thread, server, LineClient(server.port), lines))
        return opened[0]

    yield open_stage
    for one in opened:
        one.client.close()
        one.server.close()
        one.thread.close()


def test_look__account_in_distress__is_taken_over_until_it_is_safe(stage):
    venue = stage(open_distressed)
    before = venue.get_margin(CARL)
    bot = venue.make_bot()
    for _ in range(6):
        venue.pass_time(60)
        bot.look()
    assert venue.get_account(ADA).distressed_at == 0
    ada, carl = venue.get_margin(ADA), venue.get_margin(CARL)
    assert ada.equity >= ada.maintenance
    assert carl.equity * PPM >= carl.initial * (PPM + bot.policy.buffer)
    assert carl.equity - before.equity == bot.tally.reward > 0
    assert bot.tally.taken == venue.get_account(CARL).nonce >= 1
    assert bot.tally.seen == {ADA}
    assert bot.tally.looks == 6


def test_look__nobody_in_distress__does_nothing(stage):
    venue = stage(open_venue)
    bot = venue.make_bot()
    bot.look()
    assert (bot.tally.bids, bot.tally.pokes, bot.tally.seen) == (0, 0, set())
    assert [line["type"] for line in venue.lines] == ["account", "distressed"]


def test_look__reward_too_low__waits_for_the_auction(stage):
    venue = stage(open_distressed)
    bot = venue.make_bot(min_reward=AUCTION_START + 50_000)
    bot.look()
    assert not venue.find("preview")
    assert not venue.find("liquidate")
    venue.pass_time(AUCTION_SECONDS // 10)
    bot.look()
    assert bot.tally.taken == 1
    (bid,) = venue.find("liquidate")
    assert bid["reward"] == bot.policy.min_reward


def test_look__largest_share__is_never_exceeded(stage):
    venue = stage(open_distressed)
    bot = venue.make_bot(max_share=100_000)
    bot.look()
    bot.look()
    bids = venue.find("liquidate")
    assert [bid["share"] for bid in bids] == [100_000, 100_000]
    assert [bid["nonce"] for bid in bids] == [1, 2]


@pytest.mark.parametrize("buffer", [0, 100_000, 1_000_000, 10_000_000])
def test_look__own_margin_too_small__takes_a_smaller_share(stage, buffer):
    venue = stage(lambda: hold_back(open_distressed(), CARL, 2_000_000))
    bot = venue.make_bot(buffer=buffer)
    bot.look()
    (bid,) = venue.find("liquidate")
    shares = [line["share"] for line in venue.find("preview")]
    assert shares[-1] == bid["share"]
    assert all(later == earlier // 2 for earlier, later in pairwise(shares))
    assert len(shares) > 1
    carl = venue.get_margin(CARL)
    assert carl.equity * PPM >= carl.initial * (PPM + buffer)
    # Twice as much would have been too much: it takes at least half of what it may.
    assert carl.equity * PPM < 3 * carl.initial * (PPM + buffer)


def test_look__hedged_by_what_it_takes__takes_all_it_may(stage):
    """Daniel is short already: what he takes over makes his margin smaller."""

    def open_with_short() -> Venue:
        venue = open_venue()
        venue.submit(CARL, 0, make_order(size=800))
        venue.submit(DANIEL, 0, make_order(size=800, is_buy=False))
        pass_time(venue, 12)
        venue.observe(PRICE * 83 // 100)
        return venue

    venue = stage(open_with_short)
    before = venue.get_margin(DANIEL)
    venue.make_bot(DANIEL, skipped=frozenset([CARL])).look()
    assert [line["target"] for line in venue.find("preview")] == [ADA]
    assert venue.get_margin(DANIEL).initial < before.initial


def test_look__nothing_possible__leaves_no_bid(stage):
    venue = stage(lambda: hold_back(open_distressed(), CARL, 5))
    bot = venue.make_bot()
    bot.look()
    assert not venue.find("liquidate")
    assert (bot.tally.bids, bot.tally.refused) == (0, 1)
    assert venue.find("preview")[-1]["share"] == 1


@pytest.mark.parametrize("skipped", [frozenset([ADA]), frozenset([ADA, 99])])
def test_look__skipped_account__is_left_alone(stage, skipped):
    venue = stage(open_distressed)
    bot = venue.make_bot(skipped=skipped)
    bot.look()
    assert not venue.find("preview")
    assert bot.tally.seen == {ADA}


def test_look__itself_in_distress__is_left_alone(stage):
    venue = stage(open_distressed)
    venue.make_bot(ADA).look()
    assert not venue.find("preview")


def test_look__target_of_the_same_owner__is_tried_once(stage):
    venue = stage(open_distressed)
    bot = venue.make_bot(ADA_TOO)
    bot.look()
    bot.look()
    assert len(venue.find("preview")) == 1
    assert not venue.find("liquidate")
    assert bot.tally.refused == 1


def test_look__signs_with_trading_key__is_taken(stage):
    def open_with_key() -> Venue:
        venue = open_distressed()
        venue.set_key(CARL, KEYS[CARL].address, GENESIS + 10_000)
        return venue

    venue = stage(open_with_key)
    bot = venue.make_bot(signer=KEYS[CARL], max_share=1_000)
    bot.look()
    assert bot.tally.taken == 1
    assert venue.find("liquidate")[0]["nonce"] == 2
    venue.pass_time(20_000)
    with pytest.raises(LiquidatorError, match="not its trading key"):
        bot.look()


def test_look__key_of_somebody_else__is_an_error_before_anything(stage):
    venue = stage(open_distressed)
    with pytest.raises(LiquidatorError, match="is not the owner of account 3"):
        venue.make_bot(signer=STRANGER).look()
    assert [line["type"] for line in venue.lines] == ["account"]


def test_look__no_such_account__is_an_error(stage):
    venue = stage(open_distressed)
    with pytest.raises(LiquidatorError, match="account: no account 77"):
        venue.make_bot(AccountId(77), STRANGER).look()


def test_look__nonce_taken_meanwhile__signs_again(stage):
    """Between the question for the nonce and the bid the owner has moved money."""
    venue = stage(open_distressed)
    bot = venue.make_bot(max_share=1_000)
    sign = bot.signer.sign
    signed: list[Liquidate] = []

    def sign_late(bid: Liquidate) -> bytes:
        signed.append(bid)
        if len(signed) == 1:
            venue.thread.call(lambda _: venue.venue.act(Transfer(CARL, DANIEL, 1, bid.nonce)))
        return sign(bid)

    bot.signer.sign = sign_late  # type: ignore[method-assign]
    bot.look()
    assert [bid.nonce for bid in signed] == [1, 2]
    assert (bot.tally.bids, bot.tally.taken, bot.tally.refused) == (2, 1, 0)


def test_look__margin_gone_between_preview_and_bid__halves_the_share(stage):
    venue = stage(open_distressed)
    bot = venue.make_bot(buffer=0)
    sign = bot.signer.sign
    signed: list[Liquidate] = []

    def sign_late(bid: Liquidate) -> bytes:
        signed.append(bid)
        if len(signed) == 1:
            free = CASH - 3_000_000
            venue.thread.call(lambda _: venue.venue.act(Transfer(CARL, DANIEL, free, bid.nonce)))
        return sign(replace(bid, nonce=bid.nonce))

    bot.signer.sign = sign_late  # type: ignore[method-assign]
    bot.look()
    assert bot.tally.taken == 1
    assert signed[-1].share < signed[0].share
    carl = venue.get_margin(CARL)
    assert carl.equity >= carl.initial


def test_look__taken_by_another_meanwhile__is_a_refusal_and_no_error(stage):
    venue = stage(open_distressed)
    bot, other = venue.make_bot(), venue.make_bot(DANIEL)
    other.client = LineClient(venue.server.port)
    sign = bot.signer.sign

    def sign_late(bid: Liquidate) -> bytes:
        other.look()
        return sign(bid)

    bot.signer.sign = sign_late  # type: ignore[method-assign]
    bot.look()
    other.client.close()
    assert other.tally.taken == 1
    assert (bot.tally.bids, bot.tally.taken, bot.tally.refused) == (1, 0, 1)


def test_look__auction_not_begun__begins_it_and_bids(stage, monkeypatch):
    monkeypatch.setattr("deltaroll.node.machine.iterate_distress", lambda state: ())

    def open_unnoticed() -> Venue:
        venue = open_venue()
        pass_time(venue, 12)
        venue.observe(PRICE * 83 // 100)
        return venue

    venue = stage(open_unnoticed)
    bot = venue.make_bot()
    bot.look()
    assert venue.find("distress") == [{"type": "distress", "account": ADA}]
    assert (bot.tally.pokes, bot.tally.taken) == (1, 1)


def test_look__recovered__ends_the_auction(stage, monkeypatch):
    monkeypatch.setattr("deltaroll.node.machine.iterate_distress", lambda state: ())
    venue = stage(lambda: recover(distress_by_hand(open_venue())))
    bot = venue.make_bot()
    bot.look()
    assert venue.get_account(ADA).distressed_at == 0
    assert (bot.tally.pokes, bot.tally.bids) == (1, 0)


@pytest.mark.parametrize("min_reward", [0, AUCTION_START])
def test_look__hole_that_the_fund_cannot_fill__is_spread_then_taken_over(stage, min_reward):
    """For nothing, if the bot wants that: after it nobody is left who could pay a reward."""
    venue = stage(open_insolvent)
    venue.thread.call(lambda _: give_insurance(venue.venue, 1_000_000))
    hole = -venue.get_margin(ADA).equity
    blaise = venue.get_margin(BLAISE)
    assert hole > 1_000_000
    bot = venue.make_bot(min_reward=min_reward)
    bot.look()
    assert venue.find("socialise") == [{"type": "socialise", "account": ADA}]
    assert blaise.equity - venue.get_margin(BLAISE).equity >= hole - 1_000_000
    assert venue.get_margin(ADA).equity >= 0
    assert bot.tally.pokes == 1
    assert (bot.tally.taken, bot.tally.refused) == ((0, 1) if min_reward else (1, 0))


def test_look__hole_that_the_fund_can_fill__is_taken_over_with_its_reward(stage):
    venue = stage(open_insolvent)
    venue.thread.call(lambda _: give_insurance(venue.venue, 50_000_000))
    bot = venue.make_bot()
    for _ in range(20):
        bot.look()
    assert not venue.find("socialise")
    assert bot.tally.reward > 0
    assert venue.venue.state.globals.insurance < 50_000_000
    assert bot.tally.taken > 0


def test_look__many_looks_at_an_insolvent_account__end_with_nobody_in_distress(stage):
    venue = stage(open_insolvent)
    bots = [venue.make_bot(account, min_reward=0) for account in (CARL, DANIEL)]
    for _ in range(40):
        venue.pass_time(20)
        for bot in bots:
            bot.look()
        if not venue.get_account(ADA).positions:
            break
    assert venue.get_account(ADA).positions == ()
    assert venue.get_account(ADA).distressed_at == 0
    held = [venue.get_account(one).positions for one in (CARL, DANIEL)]
    assert sum(position.size for positions in held for position in positions) == 900
    assert {position.series for positions in held for position in positions} == {PERP}


def entry(
    equity: int | None, maintenance: int = 100, since: int = 1, held: int = 2, account: int = 7
):
    return DistressedAccount(account, since, held, equity, maintenance, 200)


@pytest.mark.parametrize(
    ("found", "insurance", "poke"),
    [
        (entry(50), 0, None),
        (entry(99, since=0), 0, DistressRequest(7)),
        (entry(100), 0, DistressRequest(7)),
        (entry(0), 0, None),
        (entry(-1), 0, SocialiseRequest(7)),
        (entry(-1, since=0), 0, SocialiseRequest(7)),
        (entry(-10), 9, SocialiseRequest(7)),
        (entry(-10), 10, None),
        (entry(-10, since=0), 10, DistressRequest(7)),
        (entry(-10, 0, held=0), 0, None),
        (entry(-10, 0, since=0, held=0), 0, None),
        (entry(-10, 0, held=0), 1, SocialiseRequest(7)),
        (entry(None), 0, None),
        (entry(-10, account=0), 99, SocialiseRequest(0)),
        (entry(-10, account=0, held=0), 0, None),
        (entry(50, account=0), 0, None),
        (entry(500, account=0), 0, None),
    ],
)
def test_compute_poke__any_entry__is_what_is_due(found, insurance, poke):
    assert compute_poke(found, insurance) == poke


def test_line_client__server_restarted__connects_again(stage):
    venue = stage(open_distressed)
    client = LineClient(venue.server.port)
    assert client.ask(AccountQuery(1), AccountAnswer).account == 1
    venue.server.close()
    with pytest.raises(OSError, match=r"hung up|reset|Broken"):
        client.ask(AccountQuery(1), AccountAnswer)
    with pytest.raises(ConnectionRefusedError):
        client.ask(AccountQuery(1), AccountAnswer)
    venue.server = LineServer(venue.thread, venue.server.port)
    again = LineServer(venue.thread, 0)
    assert client.ask(AccountQuery(1), AccountAnswer).account == 1
    client.close()
    again.close()
    venue.server.close()


@pytest.mark.parametrize("answer", [b"no json", b'{"clock": 1}', b"[]", b""])
def test_line_client__not_a_sequencer__is_an_error(stage, monkeypatch, answer):
    venue = stage(open_distressed)
    monkeypatch.setattr(server_module, "answer_line", lambda *_: answer)
    with pytest.raises(OSError, match="server: not a sequencer's answer"):
        venue.client.ask(AccountQuery(1), AccountAnswer)


def test_look__logs__are_one_event_per_decision(stage):
    with structlog.testing.capture_logs() as logs:
        venue = stage(open_distressed)
        venue.make_bot(max_share=1_000).look()
    (taken,) = [line for line in logs if line["event"] == "taken"]
    assert (taken["target"], taken["share"], taken["nonce"]) == (ADA, 1_000, 1)
    assert taken["reward"] > 0


def hold_back(venue: Venue, account: AccountId, cash: int) -> Venue:
    """Move all but `cash` of an account's money away."""
    amount = venue.state.accounts[account].cash - cash
    nonce = venue.state.accounts[account].nonce + 1
    venue.act(Transfer(account, DANIEL, amount, nonce))
    return venue


def distress_by_hand(venue: Venue) -> Venue:
    account = venue.state.accounts[ADA]
    venue.state.accounts[ADA] = replace(account, distressed_at=Timestamp(GENESIS))
    return venue


def recover(venue: Venue) -> Venue:
    venue.act(Transfer(BLAISE, ADA, 100, 1))
    return venue
