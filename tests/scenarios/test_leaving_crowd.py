"""A thousand accounts leave at once."""

from deltaroll.node.batcher import Batcher
from deltaroll.node.escape import compute_claims, find_escapable
from deltaroll.node.follower import Follower
from deltaroll.node.intake import take_in
from deltaroll.node.sender import Sender
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import AccountId, Order, SlotId, TimeInForce, Timestamp
from deltaroll.sdk.signing import Signer
from tests.scenarios.leaving import FIGURES, leaver
from tests.scenarios.support import BTC_PERP, ETH, ETH_PERP, PRICES, Lab, observe_with

CROWD = 1_000
TRADERS = 200
"""Of them hold a position in each of two perpetuals."""
FUNDING = 1_000 * 10**6
BAR = 40_000
"""Gas per account, proof and calldata included."""


def trade(lab: Lab, sequencer: Sequencer, keys: dict[AccountId, Signer]) -> None:
    """Let the first accounts of the crowd trade in pairs."""
    accounts = sorted(keys)[:TRADERS]
    for slot, market in enumerate((BTC_PERP, ETH_PERP)):
        price = PRICES[ETH] if market == ETH_PERP else lab.state.markets[market].mark  # type: ignore[union-attr]
        for maker, taker in zip(accounts[::2], accounts[1::2], strict=True):
            for account, is_buy in ((maker, maker % 4 == 1), (taker, maker % 4 != 1)):
                order = Order(
                    market,
                    is_buy,
                    price,
                    1,
                    1,
                    0,
                    Timestamp(sequencer.clock + 3_600),
                    TimeInForce.GTC,
                    False,
                    False,
                )
                place = SlotId(slot)
                signature = keys[account].sign_order(lab.domain, account, place, order)
                sequencer.submit_order(account, place, order, signature)


# | Moves                                                                                          |
# |------------------------------------------------------------------------------------------------|
# | A thousand users deposit, two hundred of them trade; the operator posts it all and disappears; |
# | a stranger freezes and proves everybody in as few transactions as the bounds allow; some of  |
# | the claims are paid, one by one, and the rest is exactly what is left                          |


def test_leave__a_thousand_accounts__gas_per_account(lab: Lab) -> None:
    venue = lab.venue
    first = lab.state.globals.account_count + 1
    signers = [Signer(keccak(f"crowd {number}".encode())) for number in range(CROWD)]
    keys = {AccountId(first + place): signer for place, signer in enumerate(signers)}
    for signer in signers:
        owner = "0x" + signer.address.hex()
        venue.send(lab.contracts.bridge.deposit, owner, 0, FUNDING, sender=venue.governor)
    sequencer = lab.open_sequencer()
    sender = Sender(venue.gateway, venue.operator)
    batcher = Batcher(sequencer.store, Follower(venue.gateway), sender)
    take_in(sequencer, batcher.follower)
    for underlying, price in PRICES.items():
        observe_with(venue, sequencer, underlying, price)
    trade(lab, sequencer, keys)
    sequencer.seal()
    sequencer.flush()
    while batcher.post() is not None:
        pass
    sequencer.store.close()
    someone = leaver(lab)
    someone.send(lab.contracts.bridge.cancelAll, first)
    someone.freeze()
    someone.open()
    state = someone.follower.state
    everybody = find_escapable(state)
    claims = compute_claims(state, everybody)
    assert sum(key in claims for key in keys) == CROWD
    assert sum(len(state.accounts[key].positions) for key in keys) == 2 * TRADERS
    receipts = someone.escape(everybody)
    gas = [int(receipt["gasUsed"], 16) for receipt in receipts]
    each = sum(gas) // len(everybody)
    FIGURES.append(f"{len(everybody):,} accounts escaped in {len(gas)} proofs, {each:,} gas each")
    assert sum(gas) < BAR * len(everybody)
    hatch = lab.contracts.escape_hatch
    assert hatch.totalClaims() == sum(claims.values()) <= hatch.available()
    someone.close()
    paid = {key: claims[key] for key in everybody[::50]}
    before = someone.vault()
    someone.pay(state, paid)
    assert before - someone.vault() == sum(paid.values())
    assert someone.vault() >= sum(claims.values()) - sum(paid.values())
