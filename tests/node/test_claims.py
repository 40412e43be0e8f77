"""Claims as a follower and the contracts know them together."""

from types import SimpleNamespace

import pytest

from deltaroll.l1.types import Stage
from deltaroll.node.claims import Offer, find_claims, get_claim, quote_claim
from deltaroll.node.exits import ExitError
from deltaroll.protocol.types import MessageKind
from deltaroll.sdk.fast_exit import Terms, compute_price
from tests.node.l1 import WINDOW, FakeL1
from tests.node.support import OWNERS, encode_force_exit
from tests.node.test_follower import ADA, BLAISE, deposit, make_follower, post

AMOUNT = 4_000_000
DELAY = 86_400
TERMS = Terms(10**9, 3 * 10**9)
ZERO = "0x" + bytes(20).hex()


class Records:
    """The vault's and the bridge's side, told by hand."""

    def __init__(self, follower) -> None:
        self.owners, self.offers, self.delayed, self.transferred = {}, {}, {}, []
        self.room = 10**18
        gateway = follower.gateway
        gateway.provider = SimpleNamespace(make_request=self.answer)
        gateway.contracts.vault = SimpleNamespace(
            delayedOf=lambda index: SimpleNamespace(payableAt=self.delayed.get(index, 0)),
            outflowRoom=lambda: self.room,
            outflowDelay=lambda: DELAY,
        )
        gateway.contracts.bridge = SimpleNamespace(
            address="0x" + "bb" * 20,
            isClaimed=lambda index: index in gateway.l1.claimed,
            ownerOfClaim=lambda leaf: self.owners.get(leaf, leaf[2]),
            offerOf=lambda leaf: self.offers.get(leaf, (ZERO, 0, 0)),
        )

    def answer(self, method, parameters):
        assert method == "eth_getLogs"
        owner = parameters[0]["topics"][3]
        assert len(owner) == 66
        return [
            {"topics": ["0x", hex(index)]}
            for index, to in self.transferred
            if owner == "0x" + to.hex().zfill(64)
        ]


@pytest.fixture
def known():
    """Two exits of Ada: the first in a settled batch, the second just posted."""
    l1 = FakeL1()
    deposit(l1)
    post(l1)
    for turn in range(2):
        body = encode_force_exit(ADA, AMOUNT + turn)
        l1.enqueue(MessageKind.FORCE_EXIT, OWNERS[ADA].address, body)
        post(l1)
        if turn == 0:
            l1.mine(WINDOW + 1)
    follower, _ = make_follower(l1)
    follower.poll()
    return l1, follower, Records(follower)


def test_claim__derived_exit__says_when_it_settles(known):
    _, follower, _ = known
    claim = get_claim(follower, 1)
    recipient = "0x" + OWNERS[ADA].address.hex()
    assert claim.exit == (1, 0, recipient, AMOUNT + 1)
    assert (claim.owner, claim.stage) == (OWNERS[ADA].address, Stage.POSTED)
    header = follower.chain[claim.batch].submitted.header
    assert claim.settles_at == header.l1_time + WINDOW + 1
    assert follower.chain[claim.batch].globals.exit_count == 2
    assert follower.chain[claim.batch - 1].globals.exit_count == 1
    assert get_claim(follower, 0).stage == Stage.SETTLED
    assert claim.offer is None


def test_claim__exit_that_was_not_derived__is_refused(known):
    """Whatever L1 has recorded about it."""
    _, follower, records = known
    invented = (2, 0, "0x" + OWNERS[BLAISE].address.hex(), 10**20)
    records.offers[invented] = (ZERO, 2**40, 1)
    for index in (2, 2**32 - 1, -1):
        with pytest.raises(ExitError, match="is in no batch that was derived"):
            quote_claim(follower, index, TERMS)


def test_quote__posted_batch__counts_time_and_risk(known):
    l1, follower, _ = known
    claim, quote = quote_claim(follower, 1, TERMS)
    seconds = claim.settles_at - follower.head.time
    assert 0 < seconds <= WINDOW + 1
    assert quote == compute_price(AMOUNT + 1, seconds, TERMS, is_delayed=False, is_risky=True)
    for _ in range(9):
        l1.mine()
    follower.poll()
    claim, final = quote_claim(follower, 1, TERMS)
    assert claim.stage == Stage.FINAL
    assert final.risk == 0
    assert final.price > quote.price


def test_quote__settled_exit__costs_gas_alone(known):
    _, follower, _ = known
    _, quote = quote_claim(follower, 0, TERMS)
    assert (quote.premium, quote.risk) == (0, 0)
    assert quote.price == AMOUNT - quote.gas


def test_quote__beyond_the_vaults_bound__counts_its_delay(known):
    _, follower, records = known
    records.room = AMOUNT
    assert not get_claim(follower, 0).is_beyond_bound
    claim, quote = quote_claim(follower, 1, TERMS)
    assert claim.is_beyond_bound
    seconds = claim.settles_at - follower.head.time + DELAY
    assert quote == compute_price(AMOUNT + 1, seconds, TERMS, is_delayed=True, is_risky=True)


def test_quote__claimed_exit__is_refused(known):
    l1, follower, _ = known
    l1.claimed.add(0)
    with pytest.raises(ExitError, match="exit: 0 is claimed already"):
        quote_claim(follower, 0, TERMS)


def test_find__own_and_bought__are_listed_until_paid(known):
    l1, follower, records = known
    ada, blaise = OWNERS[ADA].address, OWNERS[BLAISE].address
    assert [claim.index for claim in find_claims(follower, ada)] == [0, 1]
    assert find_claims(follower, blaise) == []
    sold = get_claim(follower, 1).exit
    records.owners[sold] = "0x" + blaise.hex()
    # The last is of an exit that does not exist.
    records.transferred += [(1, blaise), (7, blaise)]
    records.offers[sold] = ("0x" + ada.hex(), 2**40, 5)
    assert [claim.index for claim in find_claims(follower, ada)] == [0]
    (bought,) = find_claims(follower, blaise)
    assert (bought.index, bought.offer) == (1, Offer(ada, 2**40, 5))
    l1.claimed |= {0, 1}
    records.delayed[1] = 2**33
    assert find_claims(follower, ada) == []
    (waiting,) = find_claims(follower, blaise)
    assert (waiting.is_claimed, waiting.payable_at) == (True, 2**33)


def test_claim__batch_removed__is_gone(known):
    l1, follower, _ = known
    l1.remove(follower.chain[-1].submitted.header.index)
    follower.poll()
    with pytest.raises(ExitError, match="is in no batch that was derived, of 1 exits"):
        get_claim(follower, 1)
