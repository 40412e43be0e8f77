"""What only the chain can tell, asked before the first transaction."""

from ape.api import ProviderAPI
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.parameters import (
    DeploymentParameters,
    Level,
    get_level,
    validate_address,
)
from deltaroll.l1.deployment.simulation import Overrides, call, get_code
from deltaroll.l1.deployment.venue import VenueFile
from deltaroll.l1.gateway import L1Error
from deltaroll.l1.sending import get_base_fee, to_ether, to_gwei
from deltaroll.protocol.constants import MAX_CHUNK_GAS
from deltaroll.protocol.hashing import keccak

DECIMALS = 6
"""Of every collateral: the tools read and print amounts with six."""
DELEGATED = b"\xef\x01\x00"
"""What the code of a plain account begins with that has lent itself code."""
PROBE = "TokenProbe"


def validate_token_code(provider: ProviderAPI, token: str) -> None:
    """Check that a token is a contract.

    Raises
    ------
    DeploymentError
    """
    validate_address("token", token)
    code = get_code(provider, token)
    if not code or code.startswith(DELEGATED):
        raise DeploymentError(f"token: {token} has no code on this chain")


def read_token(provider: ProviderAPI, token: str, signature: str) -> bytes:
    """Return what a getter of a token answers.

    Raises
    ------
    DeploymentError
        When it does not.
    """
    try:
        return call(provider, token, keccak(signature.encode())[:4])
    except L1Error as problem:
        raise DeploymentError(f"token: {token} has no {signature}: {problem}") from problem


def describe_token(provider: ProviderAPI, token: str) -> str:
    """Return a token's symbol, its decimals checked.

    Raises
    ------
    DeploymentError
        When it has none, or not six decimals.
    """
    validate_token_code(provider, token)
    try:
        (decimals,) = decode(["uint256"], read_token(provider, token, "decimals()"))
        (symbol,) = decode(["string"], read_token(provider, token, "symbol()"))
        decode(["uint256"], read_token(provider, token, "totalSupply()"))
    except (DecodingError, OverflowError, UnicodeDecodeError) as problem:
        raise DeploymentError(f"token: {token} is no ERC-20: {problem}") from problem
    if decimals != DECIMALS:
        raise DeploymentError(f"token: {token} has {decimals} decimals; {DECIMALS} are needed")
    return str(symbol)


def try_transfer(provider: ProviderAPI, token: str, holder: str, probe: bytes) -> bool:
    """Move a holder's tokens in a simulation; False when they have none.

    Parameters
    ----------
    probe
        Code of TokenProbe, which runs in the holder's place.

    Raises
    ------
    DeploymentError
        When another amount arrives than was sent.
    """
    data = keccak(b"balanceOf(address)")[:4] + encode(["address"], [holder])
    (held,) = decode(["uint256"], call(provider, token, data))
    if not held:
        return False
    overrides: Overrides = {holder: {"code": "0x" + probe.hex()}}
    data = keccak(b"probe(address,uint256)")[:4] + encode(["address", "uint256"], [token, held])
    try:
        spent, arrived = decode(["uint256", "uint256"], call(provider, holder, data, overrides))
    except L1Error as problem:
        raise DeploymentError(f"token: {token} cannot be moved by {holder}: {problem}") from problem
    if (spent, arrived) != (held, held):
        raise DeploymentError(
            f"token: {token}: of {held} sent by {holder}, {spent} left and {arrived} arrived; "
            "what takes a fee or rebases cannot be collateral"
        )
    return True


def validate_chain(
    provider: ProviderAPI, venue: VenueFile, parameters: DeploymentParameters
) -> None:
    """Check everything else that needs the chain.

    Raises
    ------
    DeploymentError
        Names field, value and rule.
    """
    if provider.chain_id != venue.chain_id:
        raise DeploymentError(
            f"chain_id: the file says {venue.chain_id}, connected to {provider.chain_id}"
        )
    if get_code(provider, parameters.sequencer):
        raise DeploymentError(
            f"sequencer: {parameters.sequencer} has code; only an account without can propose"
        )
    if get_level(venue.chain_id) == Level.MAINNET and parameters.governance is not None:
        for place, proposer in enumerate(parameters.governance.proposers):
            if not get_code(provider, proposer):
                raise DeploymentError(
                    f"governance.proposers[{place}]: {proposer} is a bare key; a multisig is needed"
                )


def describe_bond(provider: ProviderAPI, bond: int) -> str:
    """Return what half a bond pays for at the head's base fee. No rule: fees come and go, and a
    deployment has to be able to go on while they are high.
    """
    base = get_base_fee(provider)
    cost = MAX_CHUNK_GAS * base
    verdict = "pays for" if bond // 2 >= cost else "DOES NOT PAY for"
    return (
        f"bond: half of it, {to_ether(bond // 2)} ether, {verdict} the dearest proof, "
        f"{to_ether(cost)} ether at the base fee of {to_gwei(base)} gwei"
    )
