"""Deposits by a signature for Permit2, the real one, at the address that it has everywhere."""

from pathlib import Path

import pytest
from ape import Contract, chain, project
from eth_account.messages import encode_typed_data
from eth_utils import keccak

from tests.contracts.support import FOREVER, SUCCESS, Revert, now, outcome

AMOUNT = 1_000 * 10**6
PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
FACTORY = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
"""Deploys by CREATE2 for anyone; on anvil as on most chains."""
SALT = bytes.fromhex("0000000000000000000000000000000000000000d3af2663da51c10215000000")
CODE = bytes.fromhex((Path(__file__).parent / "permit2.initcode").read_text())
"""What Uniswap deployed. Any other bytes would not end up at `PERMIT2`."""
TYPES = {
    "TokenPermissions": [
        {"name": "token", "type": "address"},
        {"name": "amount", "type": "uint256"},
    ],
    "PermitTransferFrom": [
        {"name": "permitted", "type": "TokenPermissions"},
        {"name": "spender", "type": "address"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
    ],
}


def selector(error: str, *arguments: int) -> bytes:
    """An error of Permit2, as it comes back."""
    return keccak(text=error)[:4] + b"".join(item.to_bytes(32, "big") for item in arguments)


@pytest.fixture
def permit2(alice):
    alice.transfer(FACTORY, 0, data=SALT + CODE)
    assert len(chain.provider.get_code(PERMIT2)) > 9_000
    return PERMIT2


@pytest.fixture
def signer(token, bob, permit2):
    """Bob has money, and Permit2 may move it where he signs for it."""
    token.mint(bob, 10 * AMOUNT, sender=bob)
    token.approve(permit2, 2**256 - 1, sender=bob)
    return bob


@pytest.fixture
def sign(token, bridge):
    def sign(owner, nonce=0, amount=AMOUNT, deadline=FOREVER, spender=None):
        domain = {"name": "Permit2", "chainId": 31337, "verifyingContract": PERMIT2}
        message = {
            "permitted": {"token": token.address, "amount": amount},
            "spender": spender or bridge.address,
            "nonce": nonce,
            "deadline": deadline,
        }
        return owner.sign_message(encode_typed_data(domain, TYPES, message)).encode_rsv()

    return sign


def test_deposit__signed__needs_no_approval_of_the_bridge(bridge, token, vault, signer, sign):
    receipt = bridge.depositWithPermit2(
        signer, 7, AMOUNT, 5, FOREVER, sign(signer, 5), sender=signer
    )
    (event,) = receipt.decode_logs(bridge.MessageQueued)
    assert (event.kind, event.sender) == (1, signer)
    assert event.body == (
        bytes.fromhex(signer.address[2:]) + (7).to_bytes(4, "big") + AMOUNT.to_bytes(16, "big")
    )
    assert token.balanceOf(vault) == AMOUNT
    assert token.allowance(signer, bridge) == 0


def test_deposit__signature_of_another__takes_nothing(bridge, signer, alice, sign):
    """Neither for oneself nor into the signer's account: the payer is the caller."""
    signature = sign(signer)
    for owner in (alice, signer):
        arguments = (owner, 0, AMOUNT, 0, FOREVER, signature)
        result = outcome(bridge.depositWithPermit2, *arguments, sender=alice)
        assert result == selector("InvalidSigner()")


def test_deposit__signature_taken_to_permit2_directly__is_no_use(bridge, signer, alice, sign):
    """The bridge is the spender that was signed."""
    permit2 = Contract(PERMIT2, abi=project.IPermit2.contract_type.abi)
    permit = ((bridge.token(), AMOUNT), 0, FOREVER)
    arguments = (permit, (alice, AMOUNT), signer, sign(signer))
    result = outcome(permit2.permitTransferFrom, *arguments, sender=alice)
    assert result == selector("InvalidSigner()")


def test_deposit__same_signature_again__reverts(bridge, signer, sign):
    arguments = (signer, 0, AMOUNT, 5, FOREVER, sign(signer, 5))
    bridge.depositWithPermit2(*arguments, sender=signer)
    result = outcome(bridge.depositWithPermit2, *arguments, sender=signer)
    assert result == selector("InvalidNonce()")
    assert bridge.queueCount() == 1


@pytest.mark.parametrize("changes", [{"amount": AMOUNT + 1}, {"nonce": 1}, {"deadline": 2**40}])
def test_deposit__other_than_signed__reverts(bridge, signer, sign, changes):
    arguments = (signer, 0, AMOUNT, 0, FOREVER, sign(signer, **changes))
    result = outcome(bridge.depositWithPermit2, *arguments, sender=signer)
    assert result == selector("InvalidSigner()")


def test_deposit__signed_for_another_spender__reverts(bridge, vault, signer, sign):
    arguments = (signer, 0, AMOUNT, 0, FOREVER, sign(signer, spender=vault.address))
    result = outcome(bridge.depositWithPermit2, *arguments, sender=signer)
    assert result == selector("InvalidSigner()")


def test_deposit__expired__reverts(bridge, signer, sign):
    deadline = now() - 1
    arguments = (signer, 0, AMOUNT, 0, deadline, sign(signer, deadline=deadline))
    result = outcome(bridge.depositWithPermit2, *arguments, sender=signer)
    assert result == selector("SignatureExpired(uint256)", deadline)


def test_deposit__zero_or_too_much__reverts(bridge, signer, sign):
    for amount, expected in [
        (0, Revert("Bridge_ZeroAmount")),
        (2**96, Revert("Bridge_AmountTooLarge", 2**96)),
    ]:
        arguments = (signer, 0, amount, 0, FOREVER, sign(signer, amount=amount))
        assert outcome(bridge.depositWithPermit2, *arguments, sender=signer) == expected


def test_deposit__token_with_fee__reverts(deploy, deployer, permit2, bob):
    rollup = deploy(deployer.deploy(project.FeeToken))
    token = rollup.token
    token.mint(bob, AMOUNT, sender=bob)
    token.approve(permit2, AMOUNT, sender=bob)
    domain = {"name": "Permit2", "chainId": 31337, "verifyingContract": PERMIT2}
    message = {"permitted": {"token": token.address, "amount": AMOUNT}}
    message |= {"spender": rollup.bridge.address, "nonce": 0, "deadline": FOREVER}
    signature = bob.sign_message(encode_typed_data(domain, TYPES, message)).encode_rsv()
    arguments = (bob, 0, AMOUNT, 0, FOREVER, signature)
    result = outcome(rollup.bridge.depositWithPermit2, *arguments, sender=bob)
    assert result == Revert("Bridge_WrongAmountReceived", AMOUNT, AMOUNT * 99 // 100)


def test_deposit__above_the_cap__reverts(deploy, token, signer, sign):
    young = deploy(token, cap=(AMOUNT, 0, now(), now() + 86_400))
    for amount, expected in [
        (AMOUNT, SUCCESS),
        (AMOUNT + 1, Revert("Bridge_DepositCap", AMOUNT, AMOUNT + 1)),
    ]:
        signature = sign(signer, amount=amount, spender=young.bridge.address)
        arguments = (signer, 0, amount, 0, FOREVER, signature)
        assert outcome(young.bridge.depositWithPermit2, *arguments, sender=signer) == expected


def test_deposit__chain_without_permit2__reverts(bridge, alice):
    arguments = (alice, 0, AMOUNT, 0, FOREVER, b"")
    expected = Revert("Bridge_NoPermit2")
    assert outcome(bridge.depositWithPermit2, *arguments, sender=alice) == expected
