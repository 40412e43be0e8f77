"""Gas of everything that users, batchers and challengers pay for, to the unit.

`python -m benchmarks.gas` measures on a local node and writes `benchmarks/gas.json`; with `--check`
it writes nothing and fails when a figure differs from the committed one.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ape import accounts, networks
from ape.api import AccountAPI, ProviderAPI
from ape.logging import LogLevel, logger
from eth_utils.address import to_checksum_address

from benchmarks import escape, proofs
from benchmarks.scene import PAIRS, POSITIONS, SERIES, Scene, create_scene
from deltaroll.demo.measure import compute_calldata_gas
from deltaroll.l1.commitments import compress_branch
from deltaroll.logs import configure_logs
from deltaroll.node.batcher import Batcher
from deltaroll.node.challenger import Challenger
from deltaroll.node.claims import get_claim
from deltaroll.node.exits import prove_exit
from deltaroll.node.follower import Follower
from deltaroll.node.sender import Sender
from deltaroll.protocol.types import Withdraw

RECORD = Path(__file__).parent / "gas.json"
BARS = {
    "deposit_erc20": 95_000,
    "claim_exit": 110_000,
    "force_request": 90_000,
    "submit_batch_overhead": 120_000,
    "fraud_proof_16_fills_4_positions": 3_000_000,
    "fraud_proof_16_fills_4_positions_bytes": 60_000,
    "black76_price": 3_000,
    "mark_strike_pair": 200_000,
    "margin_16_positions": 60_000,
    "margin_64_positions": 220_000,
    "margin_64_positions_4_expiries": 220_000,
    "fraud_proof_fill_64_positions": 2_000_000,
    "fraud_proof_liquidate_64_positions": 3_000_000,
    "escape_16_positions": 400_000,
    "escape_64_positions": 1_500_000,
    "escape_per_account_in_batch": 60_000,
    "register_claim": 110_000,
    "claim_escape": 110_000,
    "freeze": 110_000,
    "refund_deposit": 110_000,
}
"""A measured figure above its bar fails, whatever the record says."""
Figures = dict[str, int]
ZERO_ADDRESS = "0x" + bytes(20).hex()


def measure_users(scene: Scene, figures: Figures) -> None:
    """Deposit, forced requests, exit claim: as a user with a cold account pays them."""
    venue = scene.venue
    contracts = venue.gateway.contracts
    payer = venue.owners[0]
    figures["deposit_erc20"] = contracts.bridge.deposit(payer, 5, 10**9, sender=payer).gas_used
    figures["force_request"] = contracts.bridge.forceExit(5, 10**9, sender=payer).gas_used
    figures["force_close"] = contracts.bridge.forceClose(5, SERIES[0], 1, sender=payer).gas_used
    figures["cancel_all"] = contracts.bridge.cancelAll(5, sender=payer).gas_used
    trader = scene.traders[0]
    venue.sync()
    withdraw = Withdraw(trader.account, trader.key.address, 123_456_789, 1)
    venue.sequencer.submit_action(
        withdraw, trader.key.sign_action(venue.sequencer.domain, withdraw)
    )
    scene.post()


@contextmanager
def undone(provider: ProviderAPI) -> Iterator[None]:
    """Undo what is measured, so that the next figure is of a cold start again."""
    snapshot = provider.make_request("evm_snapshot", [])
    yield
    provider.make_request("evm_revert", [snapshot])


def impersonate(provider: ProviderAPI, address: str) -> AccountAPI:
    """Return an account that this project has no L1 key of, with ether."""
    provider.make_request("anvil_setBalance", [address, hex(10**18)])
    return accounts.test_accounts.impersonate_account(to_checksum_address(address))


def claim(scene: Scene, index: int) -> int:
    """Return the gas of claiming a settled exit."""
    found = prove_exit(scene.venue.follower, index)
    receipt = scene.venue.gateway.contracts.bridge.claimExit(
        found.header,
        found.globals,
        (found.index, 0, "0x" + found.recipient.hex(), found.amount),
        *compress_branch(found.branch),
        sender=scene.venue.watcher,
    )
    return int(receipt.gas_used)


def measure_claims(scene: Scene, figures: Figures) -> None:
    """Claim, transfer and sell the first exit of its nullifier word, each time for somebody without
    a balance: the worst. A delayed release is paid likewise."""
    venue = scene.venue
    contracts, provider = venue.gateway.contracts, venue.provider
    bridge, vault, token = contracts.bridge, contracts.vault, contracts.token
    venue.advance(int(contracts.inbox.challengeWindow()) + 1)
    venue.follower.poll()
    exit_ = get_claim(venue.follower, 0).exit
    owner = impersonate(provider, exit_[2])
    buyer = venue.standby

    with undone(provider):
        figures["transfer_claim"] = bridge.transferClaim(exit_, buyer, sender=owner).gas_used
        figures["claim_exit_transferred"] = claim(scene, 0)
    with undone(provider):
        token.mint(buyer, exit_[3], sender=venue.deployer)
        token.approve(bridge, exit_[3], sender=buyer)
        bridge.offerClaim(exit_, ZERO_ADDRESS, exit_[3] // 2, 2**63, sender=owner)
        figures["take_claim"] = bridge.takeClaim(exit_, owner, exit_[3], sender=buyer).gas_used
    with undone(provider):
        room = vault.outflowRoom()
        vault.release(7, owner, room + 1, sender=impersonate(provider, bridge.address))
        venue.advance(int(vault.outflowDelay()))
        figures["pay_delayed"] = vault.payDelayed(7, sender=venue.watcher).gas_used
    figures["claim_exit"] = claim(scene, 0)


def measure_batch(scene: Scene, figures: Figures) -> None:
    """What a batch costs beyond the calldata of its chunks' data and signatures."""
    scene.mark()
    scene.trade(scene.traders[0], scene.traders[1], SERIES[0], 9, 1)
    scene.seal()
    posting = scene.venue.batcher.post()
    assert posting is not None
    payload = sum(
        compute_calldata_gas(chunk.data) + compute_calldata_gas(chunk.signatures)
        for chunk in posting.chunks
    )
    figures["submit_batch_overhead"] = posting.receipt.gas_used - payload


def measure_proof(scene: Scene, name: str, flip_signature: bool, figures: Figures) -> None:
    """A chunk of 16 fills between 32 accounts of 4 positions, posted wrong and removed."""
    scene.mark()
    scene.seal()
    scene.venue.sequencer.set_clock(scene.venue.sequencer.clock + 1)
    for pair in range(PAIRS):
        series = SERIES[(pair + pair % POSITIONS) % len(SERIES)]
        maker, taker = scene.traders[2 * pair], scene.traders[2 * pair + 1]
        scene.trade(maker, taker, series, 5 + flip_signature, 1)
    scene.venue.advance(12)
    scene.post_wrong(flip_signature)
    challenger = Challenger(
        Follower(scene.venue.gateway), Sender(scene.venue.gateway, scene.venue.watcher)
    )
    challenger.follower.poll()
    removal = challenger.challenge()
    assert removal is not None
    figures[name] = removal.receipt.gas_used
    figures[name + "_bytes"] = removal.calldata
    follower = scene.venue.batcher.follower
    follower.poll()
    sender = Sender(scene.venue.gateway, scene.venue.standby)
    Batcher(scene.venue.batcher.store, follower, sender).post()


def measure(provider: ProviderAPI, folder: Path) -> Figures:
    """Return all figures."""
    figures: Figures = proofs.measure_gas() | escape.measure_gas()
    scene = create_scene(provider, folder)
    try:
        measure_users(scene, figures)
        measure_batch(scene, figures)
        measure_claims(scene, figures)
        measure_proof(scene, "fraud_proof_16_fills_4_positions", False, figures)
        rebond(scene)
        measure_proof(scene, "prove_signature", True, figures)
    finally:
        scene.venue.sequencer.store.close()
    return figures


def rebond(scene: Scene) -> None:
    """Wait until the slashed proposer may bond again, and do it."""
    inbox = scene.venue.gateway.contracts.inbox
    venue = scene.venue
    venue.advance(int(inbox.challengeWindow()) + 1)
    inbox.claimReward(venue.operator, sender=venue.watcher)
    inbox.bond(sender=venue.operator, value=inbox.bondAmount())


def compare(figures: Figures, recorded: Figures) -> list[str]:
    """Return what is wrong with the figures, one line each."""
    problems = [
        f"{name}: {figures[name]:,} is above the bar {bar:,}"
        for name, bar in BARS.items()
        if figures[name] > bar
    ]
    problems += [
        f"{name}: measured {figures.get(name)}, recorded {recorded.get(name)}"
        for name in sorted(figures.keys() | recorded.keys())
        if figures.get(name) != recorded.get(name)
    ]
    return problems


def measure_on_local_node() -> Figures:
    """Start a node of its own and measure on it."""
    logger.set_level(LogLevel.ERROR)
    configure_logs("error")
    with (
        TemporaryDirectory() as folder,
        networks.parse_network_choice("ethereum:local:foundry") as provider,
    ):
        return measure(provider, Path(folder))


def main() -> int:
    """Measure, print, then write or check the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a figure has drifted")
    arguments = parser.parse_args()
    figures = measure_on_local_node()
    recorded: Figures = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    for name, value in sorted(figures.items()):
        bar = f"  bar {BARS[name]:,}" if name in BARS else ""
        print(f"{name:45s} {value:>12,}{bar}")
    if arguments.check:
        problems = compare(figures, recorded)
        for problem in problems:
            print(problem, file=sys.stderr)
        return 1 if problems else 0
    RECORD.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    changed = [name for name in figures if figures[name] != recorded.get(name)]
    print(f"written to benchmarks/gas.json; changed: {', '.join(changed) or 'nothing'}")
    over = [name for name, bar in BARS.items() if figures[name] > bar]
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
