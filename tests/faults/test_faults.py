"""What has gone wrong on real L1s: each fault happens on a real node, and nobody lends a hand.

F1 to F15 are named after failures of other rollups: docs/operate/l1.md lists them with what this
one does. `Rig.check` at the end of each means: within some blocks L1 holds every chunk once and in
order, the state is the sequencer's, and the operator has paid for nothing that reverted.
"""

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deltaroll.l1.commitments import compress_branch
from deltaroll.l1.gateway import L1Error
from deltaroll.node.alarms import Alarm
from deltaroll.node.batcher import StaleChunksError
from deltaroll.node.exits import find_exit
from deltaroll.node.follower import Follower, LaggingError, ViewPolicy
from deltaroll.node.journal import Call
from deltaroll.node.recovery import Obstacle
from deltaroll.node.sender import CANCEL_GAS, SendPolicy
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from deltaroll.protocol.types import AccountId, Transfer, Withdraw
from tests.faults.proxy import (
    COUNT,
    RECEIPT,
    SEND,
    Forward,
    Hold,
    Lag,
    Proxy,
    Upstream,
    answer_with,
    dead,
    honest,
    refuse,
    swallow,
    to,
)
from tests.faults.rig import (
    ADA,
    BLAISE,
    CASH,
    ETHER,
    HOUR,
    PROPOSER_DELAY,
    WINDOW,
    Chain,
    Rig,
)
from tests.node.support import OWNERS


def deposit(rig: Rig, account: AccountId, amount: int) -> None:
    bridge = rig.base.contracts.bridge
    owner = "0x" + OWNERS[account].address.hex()
    data = bytes(bridge.deposit.encode_input(owner, account, amount))
    rig.chain.send(rig.base.governor, bridge, data)


def pay_and_post(rig: Rig, times: int = 1) -> None:
    for _ in range(times):
        rig.node.pay()
        rig.turn()


# F1


def test_f1__window_expired_while_down__nothing_is_wasted_and_recovers(rig: Rig):
    # | hour | operator | L1 |
    # |---|---|---|
    # | 0 | seals chunks, then is down | |
    # | 4 | starts again: nothing that could not land is sent | |
    # | 4 | sequences them again at a later time, posts | holds all |
    rig.node.trade()
    rig.turn()
    rig.node.trade(2)
    rig.node.venue.sequencer.seal()
    rig.node.venue.sequencer.flush()
    sent = rig.count_sent()
    rig.chain.mine(1, MAX_CLOCK_LAG)
    rig.restart()
    rig.node.look()
    (report,) = rig.node.reports
    assert (report.obstacle, report.reverted) == (Obstacle.STALE_CHUNK, ())
    rig.check()
    assert rig.count_sent() == sent + 1


def test_f1__batch_waits_in_the_pool_until_it_expires__is_taken_back_and_recovers(rig: Rig):
    """L1 mines, but not ours; when it could, our transaction would only cost money."""
    rig.node.trade()
    rig.node.look()
    assert rig.node.sender.find_open("batch") is not None
    rig.chain("anvil_dropAllTransactions")
    rig.proxy.rule = swallow()
    rig.turn(3, MAX_CLOCK_LAG // 2)
    assert any(isinstance(one, StaleChunksError) for one in rig.node.problems) or rig.node.reports
    rig.proxy.rule = honest
    rig.check()


# F2


def test_f2__deep_reorganisation_and_restart__everything_is_posted_again(rig: Rig):
    with rig.chain.branch():
        pay_and_post(rig, 5)
        rig.turn(2)
        rig.chain.mine(20)
        assert rig.count_batches() > 5
        rig.restart()
        rig.node.look()
    assert rig.count_batches() == 1
    rig.check()
    assert rig.node.reports == []


def test_f2__reorganisation_of_a_consumed_deposit__recovers_and_says_what_does_not_stand(rig: Rig):
    # | L1 | Blaise |
    # |---|---|
    # | his deposit | |
    # | | pays Ada all that he has, in a batch |
    # | both are reorganised away | |
    # | | the payment is reported as reverted; everything else stands |
    with rig.chain.branch():
        deposit(rig, BLAISE, CASH)
        rig.turn()
        venue = rig.node.venue
        rig.node.pay(7)
        nonce = venue.state.accounts[BLAISE].nonce + 1
        venue.act(Transfer(BLAISE, ADA, 2 * CASH, nonce))
        rig.turn(3)
    rig.check()
    (report,) = rig.node.reports
    assert report.obstacle == Obstacle.LOST_MESSAGE
    assert ["MARGIN" in one.reason for one in report.reverted] == [True]
    assert rig.node.venue.state.accounts[BLAISE].cash == CASH + 7


# F3


def test_f3__outage_of_two_hours__recovers_at_once_with_few_requests(rig: Rig):
    pay_and_post(rig, 3)
    rig.proxy.rule = dead
    for _ in range(10):
        rig.node.pay()
        rig.turn(1, HOUR // 5)
    assert all(isinstance(one, L1Error) for one in rig.node.problems)
    assert Alarm.BEHIND in rig.node.sender.alarms.active
    rig.proxy.rule = honest
    rig.proxy.asked.clear()
    rig.node.look()
    assert len(rig.proxy.asked) < 60
    assert Alarm.BEHIND not in rig.node.sender.alarms.active
    rig.check(2)


def test_f3__one_of_two_nodes_dies__other_one_carries_on(rig: Rig):
    rig.node.kill()
    second = Proxy(rig.chain.url)
    try:
        rig.node = rig.start(urls=[rig.proxy.url, second.url])
        pay_and_post(rig)
        rig.proxy.rule = dead
        batches = rig.count_batches()
        pay_and_post(rig, 4)
        assert rig.count_batches() >= batches + 3
        assert rig.node.problems == []
        rig.proxy.rule, second.rule = honest, dead
        rig.check()
    finally:
        second.close()


# F4


def test_f4__every_request_to_another_node_some_behind__never_wrong_and_recovers(rig: Rig):
    lagging = Lag(Upstream(rig.chain.url), 2)
    dice = random.Random(4)
    rig.proxy.rule = lambda *request: dice.choice([honest, honest, lagging])(*request)
    challenger = rig.open_challenger()
    for _ in range(12):
        rig.node.pay()
        rig.turn()
        try:
            challenger.follower.poll()
            assert challenger.step() is None
        except L1Error:
            pass
    assert rig.node.reports == []
    rig.proxy.rule = honest
    rig.check()
    assert rig.count_sent(rig.base.watcher) == 0


def test_f4__receipts_that_lie__nothing_is_believed(rig: Rig):
    rig.proxy.rule = answer_with(
        lambda _: {
            "blockNumber": hex(1),
            "blockHash": "0x" + "11" * 32,
            "gasUsed": "0x1",
            "status": "0x0",
        },
        RECEIPT,
    )
    pay_and_post(rig, 5)
    rig.proxy.rule = honest
    rig.check()


# F5


def test_f5__transactions_swallowed__are_sent_again(rig: Rig):
    rig.proxy.rule = swallow()
    pay_and_post(rig, 2)
    assert rig.node.sender.find_open("batch") is not None
    rig.proxy.rule = honest
    # At once, not when it has waited for too long.
    rig.check(2)


def test_f5__transactions_late_twice_and_in_the_wrong_order__count_once(rig: Rig):
    hold = Hold()
    rig.proxy.rule = hold
    batches = rig.count_batches()
    pay_and_post(rig, 4)
    assert len(hold.held) >= 2
    rig.proxy.rule = honest
    hold.release()
    rig.chain.mine()
    hold.release()
    rig.check()
    assert rig.count_batches() == batches + 2


# F6


@pytest.mark.parametrize("by", [-1, 5])
def test_f6__node_gets_the_nonce_wrong__gap_is_closed(rig: Rig, by: int):
    rig.proxy.rule = answer_with(lambda value: hex(max(0, int(value, 16) + by)), COUNT)
    pay_and_post(rig, 2)
    rig.proxy.rule = honest
    rig.check()


def test_f6__somebody_uses_a_nonce__goes_on_with_the_next(rig: Rig):
    rig.proxy.rule = swallow()
    pay_and_post(rig)
    rig.chain.send(rig.base.operator, rig.base.standby, b"", 1)
    rig.proxy.rule = honest
    rig.turn(4)
    assert Alarm.NONCE_TAKEN in rig.node.sender.alarms.active
    rig.check()


# F7


def test_f7__fees_rise_tenfold__every_replacement_is_taken(rig: Rig):
    rig.node.pay()
    rig.node.look()
    answers: list[str] = []

    def watch(method, _, forward):
        answer = forward()
        if method == SEND:
            answers.append(answer)
        return answer

    rig.proxy.rule = watch
    for _ in range(12):
        # What waits does not pay for such a block.
        base_fee = int(rig.chain.head["baseFeePerGas"], 16)
        rig.chain("anvil_setNextBlockBaseFeePerGas", hex(max(base_fee, 30 * ETHER // 10**9)))
        rig.turn()
        if rig.node.sender.find_open("batch") is None:
            break
    assert answers
    assert rig.node.sender.find_open("batch") is None
    rig.check()


def test_f7__restart_with_a_stuck_transaction__is_known_and_raised(rig: Rig):
    rig.node.pay()
    rig.node.look()
    stuck = rig.node.sender.find_open("batch")
    assert stuck is not None
    rig.restart()
    found = rig.node.sender.find_open("batch")
    assert found is not None
    assert (found.nonce, found.key, found.attempts) == (stuck.nonce, stuck.key, stuck.attempts)
    for _ in range(6):
        rig.chain("anvil_setNextBlockBaseFeePerGas", hex(10**10))
        rig.turn()
    assert rig.node.sender.open == []
    rig.check()


def test_f7__pool_holds_a_dearer_transaction_that_nobody_remembers__is_outbid(rig: Rig):
    """The journal was lost, the transaction was not."""
    call = {
        "from": str(rig.base.operator.address),
        "to": str(rig.base.standby.address),
        "maxFeePerGas": hex(20 * 10**9),
        "maxPriorityFeePerGas": hex(10**9),
    }
    lost = rig.chain("eth_sendTransaction", call)
    rig.node.pay()
    for _ in range(4):
        rig.node.look()
    rig.check()
    assert rig.chain(RECEIPT, lost) is None


def test_f7__fee_cap__waits_with_an_alarm_until_l1_is_cheaper(rig: Rig):
    rig.node.kill()
    rig.send_policy = SendPolicy(max_fee=4 * 10**9)
    rig.node = rig.start()
    rig.node.pay()
    for _ in range(9):
        rig.chain("anvil_setNextBlockBaseFeePerGas", hex(10**10))
        rig.turn()
    assert Alarm.FEE_CAPPED in rig.node.sender.alarms.active
    rig.chain("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    rig.chain.mine()
    rig.check()


# F8


def test_f8__address_reserved_by_blob_transactions__waits_with_an_alarm(rig: Rig):
    rig.proxy.rule = refuse("address already reserved", SEND)
    pay_and_post(rig, 3)
    assert Alarm.POOL_RESERVED in rig.node.sender.alarms.active
    rig.proxy.rule = honest
    rig.check()
    assert Alarm.POOL_RESERVED not in rig.node.sender.alarms.active


# F9


def copy_log(rig: Rig, name: str) -> Path:
    """Copy the operator's log, as it is on disk, to another machine."""
    folder = rig.folder / name
    folder.mkdir()
    path = str(rig.folder / "operator" / "store.sqlite")
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("VACUUM INTO ?", (str(folder / "store.sqlite"),))
    return folder


@pytest.mark.parametrize("same_content", [True, False])
def test_f9__two_posters_with_one_key__every_chunk_counts_once(rig: Rig, same_content: bool):
    rig.node.pay(1)
    rig.node.operator.prepare()
    twin = rig.start(copy_log(rig, "twin"))
    if not same_content:
        rig.node.pay(2)
    batches = rig.count_batches()
    rig.node.look()
    twin.look()
    rig.chain.mine()
    twin.look()
    rig.node.look()
    twin.kill()
    rig.check()
    assert rig.count_batches() <= batches + 2


def test_f9__restart_after_every_posting__posts_nothing_twice(rig: Rig):
    for _ in range(3):
        rig.node.pay()
        rig.turn()
        rig.restart()
        rig.turn()
        rig.restart()
    batches = rig.count_batches()
    rig.check()
    rig.restart()
    rig.turn(2)
    assert rig.count_batches() in (batches, batches + 1)


def test_f9__somebody_else_posts_after_a_silence__operator_goes_on_from_it(rig: Rig):
    # | hour | operator | standby |
    # |---|---|---|
    # | 0 | seals a payment, is down | |
    # | 13 | | posts what it has: a payment of its own |
    # | 13 | is back: its log goes on from that, the payment's nonce is used | |
    standby = rig.start(copy_log(rig, "standby"), rig.base.standby)
    rig.node.pay(1)
    rig.node.venue.sequencer.seal()
    rig.node.venue.sequencer.flush()
    rig.chain.mine(1, PROPOSER_DELAY + HOUR)
    standby.look()
    standby.pay(2)
    standby.look()
    rig.chain.mine()
    assert rig.count_batches() == 2
    standby.kill()
    rig.turn(3)
    assert rig.node.reports[0].obstacle == Obstacle.FOREIGN_BATCH
    assert ["NONCE" in one.reason for one in rig.node.reports[0].reverted] == [True]
    rig.node.pay(4)
    rig.check()
    assert rig.node.venue.state.accounts[BLAISE].cash == CASH + 2 + 4


# F10


def test_f10__out_of_funds__alarm_then_posts_by_itself_when_funded(rig: Rig):
    address = str(rig.base.operator.address)
    rig.chain("anvil_setBalance", address, hex(10**12))
    rig.proxy.asked.clear()
    sent = rig.count_sent()
    for _ in range(3):
        rig.node.trade()
        rig.turn()
    assert Alarm.FUNDS_OUT in rig.node.sender.alarms.active
    assert rig.count_sent() == sent
    assert SEND not in rig.proxy.asked
    rig.chain("anvil_setBalance", address, hex(ETHER))
    rig.check()
    assert rig.node.sender.alarms.active == set()


def test_f10__funds_for_a_few_batches__alarm_in_time(rig: Rig):
    pay_and_post(rig)
    rig.chain("anvil_setBalance", str(rig.base.operator.address), hex(rig.node.sender.cost * 5))
    pay_and_post(rig)
    assert Alarm.FUNDS_LOW in rig.node.sender.alarms.active
    rig.check()


# F11


def test_f11__backlog_of_hundreds_of_chunks__is_worked_off_in_order(rig: Rig):
    rig.proxy.rule = dead
    for _ in range(300):
        rig.node.pay(1)
        rig.node.venue.sequencer.seal()
    rig.node.venue.sequencer.flush()
    rig.proxy.rule = honest
    batches = rig.count_batches()
    rig.check()
    assert rig.count_batches() == batches + 2


# F12


def test_f12__nodes_that_keep_back_lag_and_sync__challenger_never_sends(rig: Rig):
    pay_and_post(rig, 2)
    bridge = str(rig.base.contracts.bridge.address).lower()
    rules = [
        answer_with(lambda logs: [one for one in logs if one["address"] != bridge], "eth_getLogs"),
        answer_with(lambda logs: logs[:-1], "eth_getLogs"),
        answer_with(lambda logs: logs + logs[-1:], "eth_getLogs"),
        answer_with(lambda _: {"currentBlock": "0x1", "highestBlock": "0x99"}, "eth_syncing"),
        answer_with(lambda _: None, "eth_getTransactionByHash"),
        refuse("missing trie node", "eth_call"),
        refuse("query returned more than 10000 results", "eth_getLogs"),
        Lag(Upstream(rig.chain.url), 3),
    ]
    for rule in rules:
        challenger = rig.open_challenger()
        rig.proxy.rule = rule
        for _ in range(3):
            try:
                challenger.follower.poll()
                assert challenger.step() is None
            except L1Error:
                pass
            assert challenger.follower.fraud is None
        rig.proxy.rule = honest
        challenger.follower.poll()
        assert challenger.step() is None
        assert len(challenger.follower.chain) - 1 == rig.count_batches()
        assert len(challenger.follower.queue) == len(rig.node.follower.queue)
    assert rig.count_sent(rig.base.watcher) == 0


def test_f12__head_is_old__challenger_and_batcher_wait(rig: Rig):
    rig.node.pay()
    now = rig.chain.time + 500
    gateway = rig.open_gateway()
    follower = Follower(gateway, ViewPolicy(max_age=120), now=lambda: now)
    challenger = rig.open_challenger()
    challenger.follower = follower
    rig.node.operator.batcher.follower = follower
    rig.turn()
    assert "s old" in str(rig.node.problems[-1])
    with pytest.raises(L1Error, match="s old"):
        challenger.step()
    now = rig.chain.time
    rig.check()


def test_f12__two_heads_by_turns__only_what_is_true_on_both_is_done(rig: Rig):
    """A load balancer over two nodes, one of which is on a branch of its own for a while."""
    other = Chain(rig.base.provider.chain_id)
    try:
        assert other("anvil_loadState", rig.base.state)
        other("evm_mine")
        other.mine(4, 7)
        rig.chain.mine(3)
        dice = random.Random(1)
        rules = [honest, to(Upstream(other.url))]
        rig.proxy.rule = lambda *request: dice.choice(rules)(*request)
        challenger = rig.open_challenger(confirmations=2)
        for _ in range(12):
            rig.node.pay()
            rig.turn()
            other.mine()
            try:
                challenger.follower.poll()
                assert challenger.step() is None
            except L1Error:
                pass
        rig.proxy.rule = honest
        rig.check()
        assert rig.count_sent(rig.base.watcher) == 0
    finally:
        other.close()


def test_f12__node_falls_behind_what_was_seen__view_does_not_go_back(rig: Rig):
    rig.view_policy = ViewPolicy(lag_patience=60)
    rig.restart()
    pay_and_post(rig, 3)
    batches = len(rig.node.follower.chain)
    rig.proxy.rule = Lag(Upstream(rig.chain.url), 3)
    rig.node.look()
    assert isinstance(rig.node.problems[-1], LaggingError)
    assert len(rig.node.follower.chain) == batches
    rig.proxy.rule = honest
    rig.check()


# F13


def test_f13__lie_in_a_block_of_extreme_fees__is_removed_once(rig: Rig):
    # | L1 | operator's key | challengers |
    # |---|---|---|
    # | a block of 300,000 gwei | posts a false root | |
    # | | | three of one key prove it: that is one transaction, and none reverts |
    # | | is out; the standby posts the honest chunks | |
    rig.node.trade()
    rig.node.operator.prepare()
    rig.chain("anvil_setNextBlockBaseFeePerGas", hex(300_000 * 10**9))
    rig.post_lie()
    lie = rig.count_batches()
    watchers = [rig.open_challenger() for _ in range(3)]
    for watcher in watchers:
        watcher.follower.poll()
        assert watcher.follower.fraud is not None
        watcher.step()
    rig.chain.mine(2)
    for watcher in watchers:
        watcher.follower.poll()
        assert watcher.follower.fraud is None
        assert watcher.step() is None
    rig.chain.mine()
    assert rig.count_batches() == lie - 1
    assert rig.count_reverted(rig.base.watcher) == 0
    rig.node.kill()
    rig.node = rig.start(copy_log(rig, "standby"), rig.base.standby)
    rig.check()


def test_f13__lie_is_reorganised_away_with_its_proof_under_way__nothing_reverts(rig: Rig):
    challenger = rig.open_challenger()
    rig.node.trade()
    rig.node.operator.prepare()
    with rig.chain.branch():
        rig.post_lie()
        challenger.follower.poll()
        assert challenger.step() is not None
    challenger.follower.poll()
    assert challenger.follower.fraud is None
    assert challenger.step() is None
    rig.check()
    assert rig.count_reverted(rig.base.watcher) == 0


def test_f13__somebody_else_is_faster__own_proof_is_taken_back(rig: Rig):
    rig.node.trade()
    rig.node.operator.prepare()
    rig.post_lie()
    challenger, faster = rig.open_challenger(), rig.open_challenger(account=rig.base.standby)
    rig.proxy.rule = swallow()
    challenger.follower.poll()
    assert challenger.step() is not None
    rig.proxy.rule = honest
    faster.follower.poll()
    assert faster.step() is not None
    rig.chain.mine()
    for _ in range(3):
        challenger.follower.poll()
        assert challenger.step() is None
        rig.chain.mine()
    assert challenger.sender.open == []
    assert rig.count_reverted(rig.base.watcher) == 0


# F14


def test_f14__batch_of_a_withdrawal_is_reorganised_away__user_does_nothing_and_is_paid(rig: Rig):
    venue = rig.node.venue
    with rig.chain.branch():
        nonce = venue.state.accounts[ADA].nonce + 1
        venue.act(Withdraw(ADA, OWNERS[ADA].address, 1_000_000, nonce))
        rig.turn(3)
        assert rig.count_batches() == 2
    rig.check()
    assert rig.node.reports == []
    rig.chain.mine(1, WINDOW + 1)
    reader = rig.read()
    claim = find_exit(reader, OWNERS[ADA].address)
    recipient = "0x" + OWNERS[ADA].address.hex()
    arguments = (
        claim.header,
        claim.globals,
        (claim.index, 0, recipient, claim.amount),
        *compress_branch(claim.branch),
    )
    bridge, token = rig.base.contracts.bridge, rig.base.contracts.token
    rig.chain.send(rig.base.watcher, bridge, bytes(bridge.claimExit.encode_input(*arguments)))
    call = {
        "to": str(token.address),
        "data": "0x" + bytes(token.balanceOf.encode_input(recipient)).hex(),
    }
    assert int(rig.chain("eth_call", call, "latest"), 16) == 1_000_000


# F15


def test_f15__mined_batch_is_reorganised_away_and_forgotten__is_sent_again(rig: Rig):
    with rig.chain.branch():
        pay_and_post(rig)
        rig.node.look()
        assert rig.count_batches() == 2
        assert rig.node.sender.open == []
    assert rig.count_batches() == 1
    rig.check()


def mine_around(rig: Rig) -> list[str]:
    """Have L1 mine what is in its pool just before it gets the next transaction, and each after
    that at once; returns what was sent."""
    sent: list[str] = []

    def rule(method: str, _: list[Any], forward: Forward) -> Any:
        if method != SEND:
            return forward()
        sent.append(method)
        if len(sent) == 1:
            rig.chain.mine()
        try:
            return forward()
        finally:
            if len(sent) > 1:
                rig.chain.mine()

    rig.proxy.rule = rule
    return sent


def test_f15__cancellation_is_faster_than_what_replaces_it__batch_is_sent_with_the_next_nonce(
    rig: Rig,
):
    # | operator | L1 |
    # |---|---|
    # | sends a batch, takes it back | has the cancellation in its pool |
    # | posts: a batch in the place of the cancellation | mines the cancellation just before |
    # | sees which of them counts, sends the batch anew | mines it |
    rig.node.pay()
    rig.node.look()
    batch = rig.node.sender.find_open("batch")
    assert batch is not None
    rig.node.sender.cancel(batch)
    sent = mine_around(rig)
    posting = rig.node.batcher.post()
    assert posting is not None
    assert (posting.header.index, len(sent)) == (2, 2)
    assert posting.receipt.gas_used > CANCEL_GAS
    rig.proxy.rule = honest
    rig.check()


def test_f15__cancellation_is_faster_than_a_proof__lie_is_removed_with_the_next_nonce(rig: Rig):
    """A nonce that was used is no removal."""
    rig.node.trade()
    rig.node.operator.prepare()
    rig.post_lie()
    challenger = rig.open_challenger()
    challenger.follower.poll()
    proof = challenger.step()
    assert proof is not None
    challenger.sender.cancel(proof)
    sent = mine_around(rig)
    removal = challenger.challenge()
    assert removal is not None
    assert (len(sent), removal.receipt.gas_used > CANCEL_GAS) == (2, True)
    rig.proxy.rule = honest
    assert rig.read().fraud is None
    assert rig.count_reverted(rig.base.watcher) == 0


def test_f15__mined_proof_is_reorganised_away__is_sent_again(rig: Rig):
    rig.node.trade()
    rig.node.operator.prepare()
    rig.post_lie()
    challenger = rig.open_challenger()
    with rig.chain.branch():
        challenger.follower.poll()
        assert challenger.step() is not None
        rig.chain.mine()
        challenger.follower.poll()
        assert challenger.step() is None
    for _ in range(3):
        challenger.follower.poll()
        challenger.step()
        rig.chain.mine()
    assert rig.count_batches() == 1
    assert rig.count_reverted(rig.base.watcher) == 0


def test_f15__several_on_their_way__one_stuck_does_not_lose_the_others(rig: Rig):
    """A batch and something else of the same account, the first of them swallowed for a while."""
    rig.proxy.rule = swallow()
    rig.node.pay()
    rig.node.look()
    rig.proxy.rule = honest
    target = str(rig.base.standby.address)
    rig.node.sender.submit("gift", b"", Call(target, b"", 21_000, 7))
    assert len(rig.node.sender.open) == 2
    before = int(rig.chain("eth_getBalance", target, "latest"), 16)
    rig.check()
    assert int(rig.chain("eth_getBalance", target, "latest"), 16) == before + 7


def test_f15__mined_payment_is_reorganised_away__is_sent_again(rig: Rig):
    """Nothing else remembers it: no chain of batches asks for it again."""
    target = str(rig.base.standby.address)
    before = int(rig.chain("eth_getBalance", target, "latest"), 16)
    with rig.chain.branch():
        rig.node.sender.submit("gift", b"", Call(target, b"", 21_000, 7))
        rig.turn(3)
        assert rig.node.sender.open == []
    rig.turn(3)
    assert int(rig.chain("eth_getBalance", target, "latest"), 16) == before + 7
