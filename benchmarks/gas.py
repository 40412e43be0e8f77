"""Gas of everything that users, batchers and challengers pay for, to the unit.

`python -m benchmarks.gas` measures on a local node and writes `benchmarks/gas.json`; with `--check`
it writes nothing and fails when a figure differs from the committed one.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from ape import networks
from ape.api import ProviderAPI
from ape.logging import LogLevel, logger

from benchmarks import proofs
from benchmarks.scene import PAIRS, POSITIONS, SERIES, Scene, create_scene
from deltaroll.demo.measure import compute_calldata_gas
from deltaroll.l1.commitments import compress_branch
from deltaroll.logs import configure_logs
from deltaroll.node.batcher import Batcher
from deltaroll.node.challenger import Challenger
from deltaroll.node.exits import find_exit
from deltaroll.node.follower import Follower
from deltaroll.node.sender import Sender
from deltaroll.protocol.types import Address, Withdraw

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
}
"""A measured figure above its bar fails, whatever the record says."""
Figures = dict[str, int]


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


def measure_claim(scene: Scene, figures: Figures) -> None:
    """Claim the first exit of its nullifier word, for a recipient without a balance: the worst."""
    venue = scene.venue
    recipient: Address = scene.traders[0].key.address
    venue.advance(int(venue.gateway.contracts.inbox.challengeWindow()) + 1)
    venue.follower.poll()
    found = find_exit(venue.follower, recipient)
    sibling_map, siblings = compress_branch(found.branch)
    receipt = venue.gateway.contracts.bridge.claimExit(
        found.header,
        found.globals,
        (found.index, 0, "0x" + recipient.hex(), found.amount),
        sibling_map,
        siblings,
        sender=venue.watcher,
    )
    figures["claim_exit"] = receipt.gas_used


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
    figures: Figures = proofs.measure_gas()
    scene = create_scene(provider, folder)
    try:
        measure_users(scene, figures)
        measure_batch(scene, figures)
        measure_claim(scene, figures)
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
