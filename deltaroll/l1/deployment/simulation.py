"""Runs constructors without sending anything, by calls with state overrides.

A contract's creation code, put at the address that the contract will have and called there, does
what the constructor will do and returns the code that will be there, immutables filled in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ape.api import ProviderAPI
from eth_abi.abi import decode, encode
from eth_utils.conversions import to_bytes

from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.plan import (
    BLOCK_OF_SELECTOR,
    FACTORY,
    PLACER,
    PLACER_RUNTIME,
    Plan,
    Step,
)
from deltaroll.l1.nodes import L1Error, request
from deltaroll.l1.sending import get_base_fee, get_tip, to_ether
from deltaroll.protocol.hashing import ZERO_HASH

PLACER_HELP = (
    f"the deterministic deployment proxy is not at {PLACER} on this chain; place it first: "
    "https://github.com/Arachnid/deterministic-deployment-proxy has the one transaction that does"
)
MAX_TRANSACTION_GAS = 1 << 24
"""EIP-7825."""

Overrides = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a step will leave, or has left, on the chain."""

    step: Step
    runtime: bytes
    """Code that the constructor returns."""
    block: int
    """Where the contract came to life; 0: it is not there yet."""
    gas: int
    """Estimate of what is still to be paid; 0 when it is there."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """A plan against a chain's state."""

    plan: Plan
    factory_there: bool
    factory_gas: int
    forecasts: tuple[Forecast, ...]

    @property
    def gas(self) -> int:
        """All that is still to be paid."""
        return self.factory_gas + sum(forecast.gas for forecast in self.forecasts)

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to do."""
        return self.factory_there and all(forecast.block for forecast in self.forecasts)


def get_code(provider: ProviderAPI, address: str) -> bytes:
    """Return the code at an address on the head."""
    return to_bytes(hexstr=request(provider, "eth_getCode", [address, "latest"]))


def call(
    provider: ProviderAPI,
    target: str,
    data: bytes,
    overrides: Overrides | None = None,
    time: int | None = None,
) -> bytes:
    """Return what a call on the head gives back; `time`: as if in a block of then."""
    parameters: list[Any] = [{"to": target, "data": "0x" + data.hex()}, "latest"]
    if overrides:
        parameters.append(overrides)
    if time is not None:
        parameters.append({"time": hex(time)})
    return to_bytes(hexstr=request(provider, "eth_call", parameters))


def forecast(provider: ProviderAPI, plan: Plan) -> Outlook:
    """Compare a plan with the chain and run every constructor, the missing ones on top of the
    others.

    Raises
    ------
    DeploymentError
        When a constructor reverts, a contract at one of the addresses is not what the plan says,
        or the chain has no deterministic deployment proxy.
    L1Error
        When the node does not answer or takes no state overrides.
    """
    if get_code(provider, PLACER) != PLACER_RUNTIME:
        raise DeploymentError(PLACER_HELP)
    factory = run_constructor(provider, FACTORY, plan.factory, plan.factory_code, {})
    there = get_code(provider, plan.factory)
    _expect(FACTORY, plan.factory, factory, there)
    overrides: Overrides = {} if there else {plan.factory: {"code": "0x" + factory.hex()}}
    factory_gas = (
        0 if there else estimate(provider, plan.deployer, PLACER, ZERO_HASH + plan.factory_code, {})
    )
    forecasts = []
    for step in plan.steps:
        code = get_code(provider, step.address)
        block = find_block(provider, plan, step) if code else 0
        time = get_time(provider, block) if block else None
        runtime = run_constructor(provider, step.name, step.address, step.code, overrides, time)
        _expect(step.name, step.address, runtime, code)
        gas = 0
        if not code:
            gas = estimate(provider, plan.deployer, plan.factory, step.calldata, overrides)
            if gas > MAX_TRANSACTION_GAS:
                raise DeploymentError(
                    f"{step.name}: creating it takes {gas:,} gas; no transaction may take more "
                    f"than {MAX_TRANSACTION_GAS:,}"
                )
            overrides = overrides | {step.address: {"code": "0x" + runtime.hex()}}
        forecasts.append(Forecast(step, runtime, block, gas))
    return Outlook(plan, bool(there), factory_gas, tuple(forecasts))


def compute_cost(outlook: Outlook, base_fee: int, tip: int) -> int:
    """Return the wei that a plan still takes at a price of gas."""
    return outlook.gas * (base_fee + tip)


def validate_funds(provider: ProviderAPI, outlook: Outlook, max_fee: int | None) -> None:
    """Check that the deployer can pay for everything at twice the base fee, or at the most that it
    is going to pay.

    Raises
    ------
    DeploymentError
    """
    base, tip = get_base_fee(provider), get_tip(provider)
    price = 2 * base if max_fee is None else min(2 * base, max(max_fee - tip, 0))
    cost = compute_cost(outlook, price, tip)
    deployer = outlook.plan.deployer
    held = int(request(provider, "eth_getBalance", [deployer, "latest"]), 16)
    if held < cost:
        raise DeploymentError(
            f"deployer: {deployer} has {to_ether(held)} ether; up to {to_ether(cost)} are needed"
        )


def run_constructor(
    provider: ProviderAPI,
    name: str,
    address: str,
    code: bytes,
    overrides: Mapping[str, Any],
    time: int | None = None,
) -> bytes:
    """Return the code that a constructor leaves at its address; `time`: of the block in which it
    did. What was in the future then may be past by now.

    Raises
    ------
    DeploymentError
        When it reverts.
    """
    # An empty state: a constructor that has run already left storage behind.
    placed = {address: {"code": "0x" + code.hex(), "state": {}}}
    try:
        return call(provider, address, b"", {**overrides, **placed}, time)
    except L1Error as problem:
        raise DeploymentError(f"{name}: its constructor would fail: {problem}") from problem


def estimate(
    provider: ProviderAPI, sender: str, target: str, data: bytes, overrides: Overrides
) -> int:
    """Return the gas of a transaction on top of what is not there yet."""
    transaction = {"from": sender, "to": target, "data": "0x" + data.hex()}
    parameters: list[Any] = [transaction, "latest"]
    if overrides:
        parameters.append(overrides)
    return int(request(provider, "eth_estimateGas", parameters), 16)


def find_block(provider: ProviderAPI, plan: Plan, step: Step) -> int:
    """Return the block in which the factory created a contract."""
    data = BLOCK_OF_SELECTOR + encode(["address"], [step.address])
    (block,) = decode(["uint256"], call(provider, plan.factory, data))
    return int(block)


def get_time(provider: ProviderAPI, block: int) -> int:
    """Return a block's time, Unix seconds."""
    return int(request(provider, "eth_getBlockByNumber", [hex(block), False])["timestamp"], 16)


def find_first_block(provider: ProviderAPI, plan: Plan) -> int:
    """Return the block of a deployment's first contract.

    Raises
    ------
    DeploymentError
        When there is none.
    """
    is_there = get_code(provider, plan.factory)
    blocks = [find_block(provider, plan, step) for step in plan.steps] if is_there else []
    found = [block for block in blocks if block]
    if not found:
        raise DeploymentError(
            f"venue: nothing of {plan.venue} as deployed by {plan.deployer} is on this chain"
        )
    return min(found)


def _expect(name: str, address: str, expected: bytes, actual: bytes) -> None:
    if actual and actual != expected:
        raise DeploymentError(
            f"{name}: {address} has other code than this plan: a venue's name stands for one "
            "version of the contracts and one set of parameters; take another `venue`"
        )
