"""Gas of what the contracts do with accounts of 64 options, in process."""

from dataclasses import replace

from benchmarks import margin, pricing
from tests.protocol.evm import Contract
from tests.protocol.heavy import fill_new_pairs, liquidate
from tests.protocol.scenes import Scene, create_scene, measure, near_ruin

POSITIONS = 64
EXPIRIES = 4


def build_scene() -> Scene:
    """Return two accounts that hold the same 64 options of four expiries."""
    return create_scene(2, POSITIONS, POSITIONS, adjacent=True, expiries=EXPIRIES)


def measure_fill() -> int:
    """Return the gas of a fraud proof of one fill between both."""
    scene = build_scene()
    proof, _, _ = measure(scene, [next(fill_new_pairs(scene))])
    return proof.gas


def measure_liquidation(is_fresh: bool) -> int:
    """Return the gas of a fraud proof of one Liquidate of the second by the first, which holds
    nothing (`is_fresh`) or as much.
    """
    scene = build_scene()
    if is_fresh:
        first = scene.accounts[0]
        scene.state.accounts[first] = replace(scene.state.accounts[first], positions=())
        scene.state._dirty_accounts.add(first)
    scene = near_ruin(scene)
    proof, _, _ = measure(scene, [next(liquidate(scene))])
    return proof.gas


def measure_gas() -> dict[str, int]:
    """Return all figures. The proofs are whole transactions, calldata and removal included; the
    others are execution gas.
    """
    harness = Contract("Black76Harness")
    figures = margin.measure_gas()
    figures["black76_price"] = pricing.measure_price_gas(
        lambda forward, strike, deviation: harness.call("pair", forward, strike, deviation)
    )
    figures["fraud_proof_fill_64_positions"] = measure_fill()
    figures["fraud_proof_liquidate_64_positions"] = measure_liquidation(True)
    figures["fraud_proof_liquidate_64_by_64_positions"] = measure_liquidation(False)
    return figures


if __name__ == "__main__":
    for name, value in measure_gas().items():
        print(f"{name:45s} {value:>12,}")
