"""Into the queue: deposits and forced requests, and every token that could spoil them."""

from enum import IntEnum

import pytest
from ape import project
from eth_abi.packed import encode_packed
from eth_account.messages import encode_typed_data
from eth_utils import keccak

from tests.contracts.reference import ZERO, Message
from tests.contracts.support import (
    FOREVER,
    LIMIT,
    NO_CAP,
    SUCCESS,
    ZERO_ADDRESS,
    Revert,
    deployment_outcome,
    now,
    outcome,
)

AMOUNT = 1_000 * 10**6
LARGEST = 2**96 - 1


class Mode(IntEnum):
    """Of `SwitchToken`."""

    NORMAL = 0
    PAUSED = 1
    REVERT_SILENTLY = 2
    RETURN_FALSE = 3
    RETURN_NOTHING = 4
    PRETEND_TRANSFER = 5


@pytest.fixture
def switch_rollup(deploy, deployer, alice):
    rollup = deploy(deployer.deploy(project.SwitchToken))
    rollup.token.mint(alice, AMOUNT, sender=alice)
    rollup.token.approve(rollup.bridge, AMOUNT, sender=alice)
    return rollup


@pytest.fixture
def sign_permit(token, bridge):
    """Arguments v, r, s of a permit of `AMOUNT` for the bridge."""

    def sign_permit(owner, deadline=FOREVER):
        message = {"owner": owner.address, "spender": bridge.address, "value": AMOUNT}
        message |= {"nonce": token.nonces(owner), "deadline": deadline}
        domain = {"name": "USD Coin", "version": "1", "chainId": 31337}
        domain |= {"verifyingContract": token.address}
        fields = {"owner": "address", "spender": "address", "value": "uint256"}
        fields |= {"nonce": "uint256", "deadline": "uint256"}
        types = {"Permit": [{"name": name, "type": kind} for name, kind in fields.items()]}
        signed = owner.sign_message(encode_typed_data(domain, types, message))
        return signed.v, signed.r, signed.s

    return sign_permit


# deposit


def test_deposit__new_account__moves_money_and_queues_message(bridge, vault, token, alice, bob):
    before = token.balanceOf(alice)
    receipt = bridge.deposit(bob, 0, AMOUNT, sender=alice)
    body = encode_packed(["address", "uint32", "uint128"], [bob.address, 0, AMOUNT])
    message = Message(1, alice.address, receipt.timestamp, keccak(body))
    (event,) = receipt.decode_logs(bridge.MessageQueued)
    assert (event.index, event.kind, event.sender) == (0, 1, alice)
    assert (event.time, event.body) == (receipt.timestamp, body)
    assert event.queueHash == bridge.queueHash(0) == message.extend(ZERO)
    assert bridge.queueCount() == 1
    assert token.balanceOf(alice) == before - AMOUNT
    assert token.balanceOf(vault) == AMOUNT
    assert token.balanceOf(bridge) == 0


def test_deposit__into_account_of_another__is_accepted(bridge, alice, bob):
    receipt = bridge.deposit(bob, 2**32 - 1, 1, sender=alice)
    (event,) = receipt.decode_logs(bridge.MessageQueued)
    assert event.body == bytes.fromhex(bob.address[2:]) + b"\xff" * 4 + (1).to_bytes(16, "big")


def test_deposit__zero_owner__reverts(bridge, alice):
    expected = Revert("Bridge_ZeroOwner")
    assert outcome(bridge.deposit, ZERO_ADDRESS, 1, AMOUNT, sender=alice) == expected


def test_deposit__zero_amount__reverts(bridge, alice):
    assert outcome(bridge.deposit, alice, 0, 0, sender=alice) == Revert("Bridge_ZeroAmount")


def test_deposit__largest_amount__is_accepted(bridge, token, alice):
    token.mint(alice, LARGEST + 1, sender=alice)
    token.approve(bridge, LARGEST + 1, sender=alice)
    assert outcome(bridge.deposit, alice, 0, LARGEST, sender=alice) is SUCCESS
    expected = Revert("Bridge_AmountTooLarge", LARGEST + 1)
    assert outcome(bridge.deposit, alice, 0, LARGEST + 1, sender=alice) == expected


def test_deposit__without_approval__reverts(bridge, bob):
    expected = Revert("ERC20InsufficientAllowance", bridge, 0, AMOUNT)
    assert outcome(bridge.deposit, bob, 0, AMOUNT, sender=bob) == expected


def test_deposit__approval_of_somebody_else__is_never_used(bridge, token, vault, alice, bob):
    token.approve(vault, AMOUNT, sender=alice)
    result = outcome(bridge.deposit, alice, 0, AMOUNT, sender=bob)
    assert result == Revert("ERC20InsufficientAllowance", bridge, 0, AMOUNT)


def test_deposit__token_with_fee__reverts(deploy, deployer, alice):
    rollup = deploy(deployer.deploy(project.FeeToken))
    rollup.token.mint(alice, AMOUNT, sender=alice)
    rollup.token.approve(rollup.bridge, AMOUNT, sender=alice)
    result = outcome(rollup.bridge.deposit, alice, 0, AMOUNT, sender=alice)
    assert result == Revert("Bridge_WrongAmountReceived", AMOUNT, AMOUNT * 99 // 100)


def test_deposit__token_of_rounded_shares__reverts(deploy, deployer, alice):
    """One that rebases loses a unit on the way; one that does not yet is trusted not to later."""
    rollup = deploy(deployer.deploy(project.OddToken, 18))
    rollup.token.mint(alice, AMOUNT, sender=alice)
    rollup.token.approve(rollup.bridge, AMOUNT, sender=alice)
    rollup.token.shorten(sender=alice)
    result = outcome(rollup.bridge.deposit, alice, 0, AMOUNT, sender=alice)
    assert result == Revert("Bridge_WrongAmountReceived", AMOUNT, AMOUNT - 1)


def test_deposit__token_without_return_value__is_accepted(switch_rollup, alice):
    switch_rollup.token.setMode(Mode.RETURN_NOTHING, sender=alice)
    switch_rollup.bridge.deposit(alice, 0, AMOUNT, sender=alice)
    assert switch_rollup.token.balanceOf(switch_rollup.vault) == AMOUNT
    assert switch_rollup.bridge.queueCount() == 1


@pytest.mark.parametrize(
    ("mode", "error", "arguments"),
    [
        (Mode.PAUSED, "SwitchToken_Paused", []),
        (Mode.RETURN_FALSE, "SafeERC20FailedOperation", ["token"]),
        (Mode.PRETEND_TRANSFER, "Bridge_WrongAmountReceived", [AMOUNT, 0]),
    ],
)
def test_deposit__bad_transfer__reverts(switch_rollup, alice, mode, error, arguments):
    token = switch_rollup.token
    token.setMode(mode, sender=alice)
    expected = Revert(error, *[token if item == "token" else item for item in arguments])
    assert outcome(switch_rollup.bridge.deposit, alice, 0, AMOUNT, sender=alice) == expected


def test_deposit__silently_reverting_token__reverts(switch_rollup, alice):
    switch_rollup.token.setMode(Mode.REVERT_SILENTLY, sender=alice)
    assert outcome(switch_rollup.bridge.deposit, alice, 0, AMOUNT, sender=alice) == b""


def test_deposit__reentered_by_token__reverts(deploy, deployer, alice):
    """The nested deposit would be paid once and counted twice."""
    rollup = deploy(deployer.deploy(project.ReentrantToken))
    token = rollup.token
    token.mint(alice, AMOUNT, sender=alice)
    token.mint(token, AMOUNT, sender=alice)
    token.approve(rollup.bridge, AMOUNT, sender=alice)
    again = rollup.bridge.deposit.encode_input(alice, 0, AMOUNT)
    token.arm(rollup.bridge, again, sender=alice)
    result = outcome(rollup.bridge.deposit, alice, 0, AMOUNT, sender=alice)
    assert result == Revert("Bridge_WrongAmountReceived", AMOUNT, 2 * AMOUNT)


def test_transfer__past_the_bridge__queues_nothing(bridge, vault, token, deployer, alice):
    """Neither the collateral nor another token becomes a deposit by just being sent."""
    other = deployer.deploy(project.MockUSDC)
    other.mint(vault, AMOUNT, sender=alice)
    token.transfer(vault, AMOUNT, sender=alice)
    assert bridge.queueCount() == 0


# depositWithPermit


def test_deposit_with_permit__good_permit__needs_no_approval(bridge, token, bob, sign_permit):
    token.mint(bob, AMOUNT, sender=bob)
    bridge.depositWithPermit(bob, 0, AMOUNT, FOREVER, *sign_permit(bob), sender=bob)
    assert bridge.queueCount() == 1
    assert token.allowance(bob, bridge) == 0


def test_deposit_with_permit__front_run__still_deposits(bridge, token, alice, bob, sign_permit):
    token.mint(bob, AMOUNT, sender=bob)
    permit = sign_permit(bob)
    token.permit(bob, bridge, AMOUNT, FOREVER, *permit, sender=alice)
    bridge.depositWithPermit(bob, 0, AMOUNT, FOREVER, *permit, sender=bob)
    assert bridge.queueCount() == 1


def test_deposit_with_permit__permit_of_another__takes_nothing(bridge, token, bob, sign_permit):
    token.mint(bob, AMOUNT, sender=bob)
    arguments = (bob, 0, AMOUNT, FOREVER, *sign_permit(bob))
    result = outcome(bridge.depositWithPermit, *arguments, sender=token)
    assert result == Revert("Bridge_PermitRefused")


def test_deposit_with_permit__expired__reverts(bridge, token, bob, sign_permit):
    token.mint(bob, AMOUNT, sender=bob)
    deadline = now() - 1
    arguments = (bob, 0, AMOUNT, deadline, *sign_permit(bob, deadline))
    result = outcome(bridge.depositWithPermit, *arguments, sender=bob)
    assert result == Revert("Bridge_PermitRefused")


def test_deposit_with_permit__token_without_permit__uses_approval(switch_rollup, alice):
    arguments = (alice, 0, AMOUNT, FOREVER, 27, b"\x11" * 32, b"\x22" * 32)
    bridge = switch_rollup.bridge
    assert outcome(bridge.depositWithPermit, *arguments, sender=alice) is SUCCESS
    switch_rollup.token.approve(bridge, AMOUNT - 1, sender=alice)
    expected = Revert("Bridge_PermitRefused")
    assert outcome(bridge.depositWithPermit, *arguments, sender=alice) == expected


def test_deposit_with_permit__token_like_dai__is_told_so(deploy, deployer, alice):
    """Its own kind of permit works before a plain deposit; the bridge's kind does not."""
    rollup = deploy(deployer.deploy(project.DaiLikeToken))
    token, bridge = rollup.token, rollup.bridge
    token.mint(alice, AMOUNT, sender=alice)
    message = {"holder": alice.address, "spender": bridge.address, "nonce": 0}
    message |= {"expiry": 0, "allowed": True}
    domain = {"name": "Mock", "version": "1", "chainId": 31337}
    domain |= {"verifyingContract": token.address}
    fields = {"holder": "address", "spender": "address", "nonce": "uint256"}
    fields |= {"expiry": "uint256", "allowed": "bool"}
    types = {"Permit": [{"name": name, "type": kind} for name, kind in fields.items()]}
    signed = alice.sign_message(encode_typed_data(domain, types, message))
    arguments = (alice, 0, AMOUNT, 0, signed.v, signed.r, signed.s)
    expected = Revert("Bridge_PermitRefused")
    assert outcome(bridge.depositWithPermit, *arguments, sender=alice) == expected
    permit = (alice, bridge, 0, 0, True, signed.v, signed.r, signed.s)
    token.permit(*permit, sender=deployer)
    assert outcome(bridge.depositWithPermit, *arguments, sender=alice) is SUCCESS
    bridge.deposit(alice, 0, AMOUNT, sender=alice)
    assert bridge.queueCount() == 1


# Forced requests


def test_requests__of_every_kind__form_one_chain(bridge, alice, governor):
    receipts = [
        bridge.forceExit(7, 2**128 - 1, sender=alice),
        bridge.cancelAll(7, sender=alice),
        bridge.force(b"\x01" * 1024, sender=alice),
        bridge.configure(b"\x02", sender=governor),
        bridge.forceClose(7, 258, 2**64 - 2, sender=alice),
    ]
    bodies = [
        b"\x00\x00\x00\x07" + b"\xff" * 16,
        b"\x00\x00\x00\x07",
        b"\x01" * 1024,
        b"\x02",
        b"\x00\x00\x00\x07\x01\x02" + b"\xff" * 7 + b"\xfe",
    ]
    senders = [alice, alice, alice, governor, alice]
    expected = ZERO
    for index, (receipt, body, sender) in enumerate(zip(receipts, bodies, senders, strict=True)):
        (event,) = receipt.decode_logs(bridge.MessageQueued)
        message = Message(index + 2, sender.address, receipt.timestamp, keccak(body))
        expected = message.extend(expected)
        assert (event.index, event.kind, event.sender) == (index, index + 2, sender)
        assert event.body == body
        assert event.queueHash == bridge.queueHash(index) == expected
    assert bridge.queueCount() == 5


@pytest.mark.parametrize("account", [1, 2**32 - 1])
def test_requests__any_account_id__are_left_to_l2_to_judge(bridge, bob, account):
    assert outcome(bridge.forceExit, account, 1, sender=bob) is SUCCESS
    assert outcome(bridge.forceClose, account, 0, 0, sender=bob) is SUCCESS
    assert outcome(bridge.cancelAll, account, sender=bob) is SUCCESS


def test_force_exit__zero_account__reverts(bridge, alice):
    assert outcome(bridge.forceExit, 0, 1, sender=alice) == Revert("Bridge_ZeroAccount")


def test_force_exit__zero_amount__reverts(bridge, alice):
    assert outcome(bridge.forceExit, 1, 0, sender=alice) == Revert("Bridge_ZeroAmount")


def test_force_close__zero_account__reverts(bridge, alice):
    assert outcome(bridge.forceClose, 0, 5, 1, sender=alice) == Revert("Bridge_ZeroAccount")


def test_cancel_all__zero_account__reverts(bridge, alice):
    assert outcome(bridge.cancelAll, 0, sender=alice) == Revert("Bridge_ZeroAccount")


@pytest.mark.parametrize(("length", "accepted"), [(0, 0), (1, 1), (1024, 1), (1025, 0)])
def test_body__length__is_bounded(bridge, alice, governor, length, accepted):
    expected = SUCCESS if accepted else Revert("Bridge_BodyLength", length)
    assert outcome(bridge.force, bytes(length), sender=alice) == expected
    assert outcome(bridge.configure, bytes(length), sender=governor) == expected


def test_configure__not_governor__reverts(bridge, alice, deployer, sequencer):
    for caller in (alice, deployer, sequencer):
        expected = Revert("Bridge_NotGovernor", caller)
        assert outcome(bridge.configure, b"x", sender=caller) == expected


def test_queue_hash__unknown_message__reverts(bridge, alice):
    assert outcome(bridge.queueHash, 0, sender=alice) == Revert("Bridge_UnknownMessage", 0)
    bridge.cancelAll(1, sender=alice)
    assert outcome(bridge.queueHash, 1, sender=alice) == Revert("Bridge_UnknownMessage", 1)


# Construction


def test_constructor__vault_of_another_bridge__reverts(vault, inbox, governor, alice):
    result = deployment_outcome(project.Bridge, vault, inbox, governor, NO_CAP, sender=alice)
    assert result == Revert("Bridge_WrongVault", vault)


def test_constructor__zero_inbox__reverts(token, governor, deployer, create_at):
    vault = deployer.deploy(project.MarginVault, token, create_at(deployer, 1), deployer, LIMIT)
    result = deployment_outcome(
        project.Bridge, vault, ZERO_ADDRESS, governor, NO_CAP, sender=deployer
    )
    assert result == Revert("Bridge_InvalidInbox", ZERO_ADDRESS)
