"""Carries a plan out: what is missing, in order, each step written down before the next."""

from collections.abc import Callable

from eth_abi.abi import encode

from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.plan import FACTORY, MOCK_TOKEN, PLACER, Plan, Step
from deltaroll.l1.deployment.simulation import (
    Outlook,
    call,
    estimate,
    find_block,
    forecast,
    get_code,
)
from deltaroll.l1.nodes import request
from deltaroll.l1.sending import Call, Fees, Sender, get_base_fee
from deltaroll.protocol.hashing import ZERO_HASH, keccak

MARGIN = (5, 4)
"""Gas limit over the estimate: the base fee, stored by one constructor, may have more bytes."""
TEST_TOKENS = 10**15
"""A thousand million of them."""
ATTEMPTS = 3
"""Of one step, when other transactions of the same account take its nonce."""
DEVELOPMENT_GAS = 12_000_000
"""Limit for any step on a development chain; below the cap of one transaction."""


def execute(sender: Sender, outlook: Outlook, placed: Callable[[Step, int], None]) -> None:
    """Create what a chain does not have yet, one transaction after the other.

    Parameters
    ----------
    placed
        Called with each contract and its block, also of those that were there.

    Raises
    ------
    SendError
        When a transaction is refused or reverts. What is placed stays; another run goes on there.
    DeploymentError
        When other transactions of the same account keep coming between.
    """
    plan = outlook.plan
    if not outlook.factory_there:
        _place(sender, FACTORY, plan.factory, PLACER, ZERO_HASH + plan.factory_code)
    for expected in outlook.forecasts:
        step = expected.step
        if not expected.block:
            _place(sender, step.name, step.address, plan.factory, step.calldata)
        placed(step, expected.block or find_block(sender.provider, plan, step))


def _place(sender: Sender, name: str, address: str, target: str, data: bytes) -> None:
    provider, account = sender.provider, str(sender.account.address)
    numerator, denominator = MARGIN
    for _ in range(ATTEMPTS):
        gas = estimate(provider, account, target, data, {}) * numerator // denominator
        receipt = sender.send(name, Call(target, data, gas))
        if get_code(provider, address):
            spent = "" if receipt is None else f", {int(receipt['gasUsed'], 16):,} gas"
            sender.report(f"{name:20s} {address}{spent}")
            return
    raise DeploymentError(
        f"{name}: other transactions of {account} come between: let nothing else use it"
    )


def mint_test_tokens(sender: Sender, plan: Plan) -> None:
    """Give the deployer test tokens if the plan has such a token and they have none."""
    token = plan.addresses.get(MOCK_TOKEN)
    if token is None:
        return
    holder = encode(["address"], [plan.deployer])
    data = keccak(b"balanceOf(address)")[:4] + holder
    if any(call(sender.provider, token, data)):
        return
    data = keccak(b"mint(address,uint256)")[:4] + encode(
        ["address", "uint256"], [plan.deployer, TEST_TOKENS]
    )
    gas = estimate(sender.provider, plan.deployer, token, data, {})
    sender.send("test tokens", Call(token, data, gas * MARGIN[0] // MARGIN[1]))


def execute_at_once(sender: Sender, plan: Plan) -> dict[str, int]:
    """Create a whole plan on a development chain without looking at each step; blocks by name.

    Raises
    ------
    DeploymentError
        When a contract is not there afterwards.
    """
    provider = sender.provider
    calls = [Call(plan.factory, step.calldata, DEVELOPMENT_GAS) for step in plan.steps]
    if not get_code(provider, plan.factory):
        calls.insert(0, Call(PLACER, ZERO_HASH + plan.factory_code, DEVELOPMENT_GAS))
    fees = Fees(2 * get_base_fee(provider), 0)
    nonce = sender.get_nonce()
    for place, each in enumerate(calls):
        raw = sender.sign(each, nonce + place, fees)
        # Mined when it answers (EIP-7966): a busy node takes a while, even one that mines at once.
        request(provider, "eth_sendRawTransactionSync", ["0x" + raw.hex()])
    blocks = {}
    for step in plan.steps:
        block = find_block(provider, plan, step)
        if not block:
            # The constructor's own words, if there are any.
            forecast(provider, plan)
            raise DeploymentError(f"{step.name}: not at {step.address} after its transaction")
        blocks[step.name] = block
    return blocks
