"""What users do who leave without asking: every step from what L1 says, with nobody's help."""

from collections.abc import Iterable, Sequence
from typing import Any

from eth_abi.abi import decode

from deltaroll.l1.commitments import compress_branch
from deltaroll.node.escape import (
    FreezeCall,
    compute_claims,
    compute_escape_witness,
    compute_freeze,
    compute_open,
    compute_payouts,
    compute_refunds,
    compute_unpriced,
    find_escapable,
    split_accounts,
)
from deltaroll.node.exits import find_exit
from deltaroll.node.follower import Closing, Follower
from deltaroll.protocol.state import State
from deltaroll.protocol.types import AccountId, Address
from tests.scenarios.support import Lab, Rpc, Venue

MAX_GAS, MAX_CALLDATA = 10_000_000, 120_000
"""A proof stays below both, as a removal does."""
FIGURES: list[str] = []
"""Of this session, for its summary."""


class Leaver:
    """Somebody with an L1 account and a node's URL. Nothing is remembered between two steps."""

    def __init__(self, venue: Venue, sender: Any) -> None:
        self.venue = venue
        self.sender = sender

    @property
    def follower(self) -> Follower:
        """Everything there is to know, from the beginning of L1."""
        follower = Follower(self.venue.gateway)
        follower.poll()
        return follower

    @property
    def hatch(self) -> Any:
        return self.venue.contracts.escape_hatch

    @property
    def closing(self) -> Closing:
        closing = self.follower.closing
        assert closing is not None
        return closing

    def advance_to(self, time: int) -> None:
        """Let L1 time pass: what is sent next is at this time or later."""
        self.venue.advance(time - self.venue.gateway.get_head().time)

    def send(self, method: Any, *arguments: Any) -> Rpc:
        return self.venue.send(method, *arguments, sender=self.sender)

    def freeze(self) -> Rpc:
        """Freeze in the first second in which it is possible."""
        call = compute_freeze(self.follower)
        assert call is not None
        if self.venue.gateway.get_head().time < call.possible_from - 1:
            self.advance_to(call.possible_from - 1)
            self.expect_too_early(call)
            self.venue.provider.make_request("evm_setNextBlockTimestamp", [call.possible_from])
        return self.send(self.hatch.freeze, call.head, call.next)

    def expect_too_early(self, call: FreezeCall) -> None:
        """Try in the second before."""
        refusal = self.venue.simulate(self.hatch.freeze, call.head, call.next, sender=self.sender)
        assert refusal == "EscapeHatch_TooEarly"

    def freeze_unpriced(self) -> Rpc:
        """Freeze because nobody prices, in the first second in which it is possible."""
        call = compute_unpriced(self.follower)
        assert call is not None
        if call.possible_from > self.venue.gateway.get_head().time:
            self.advance_to(call.possible_from)
        return self.send(self.hatch.freezeUnpriced, call.series, call.settled, call.next, call.head)

    def open(self) -> None:
        """Wait for the last batch to settle and fix the final state."""
        last = self.follower.chain[-1].submitted.header
        settled = last.l1_time + self.venue.gateway.challenge_window + 1
        if settled > self.venue.gateway.get_head().time:
            self.advance_to(settled)
        call = compute_open(self.follower)
        self.send(self.hatch.open, call.last, call.globals)

    def escape(self, accounts: Iterable[AccountId]) -> list[Rpc]:
        """Prove accounts, in as few transactions as the bounds allow."""
        state = self.follower.state
        receipts = []
        for group in split_accounts(state, accounts):
            witness = compute_escape_witness(state, group)
            receipt = self.send(self.hatch.escape, witness)
            assert int(receipt["gasUsed"], 16) < MAX_GAS
            assert len(witness) + 4 + 64 + 32 < MAX_CALLDATA
            receipts.append(receipt)
        return receipts

    def close(self) -> None:
        """Wait until payment starts."""
        opened = self.closing.opened
        assert opened is not None
        self.advance_to(opened.closes_at + 1)

    def refund(self) -> int:
        """Have all deposits sent back that the final state does not include; returns their sum."""
        total = 0
        for call in compute_refunds(self.follower):
            self.send(
                self.hatch.refundDeposit,
                call.index,
                "0x" + call.sender.hex(),
                call.time,
                "0x" + call.owner.hex(),
                call.account,
                call.amount,
            )
            total += call.amount
        return total

    def claim_exit(self, recipient: Address) -> int:
        """Claim the newest exit of somebody; returns its amount."""
        found = find_exit(self.follower, recipient)
        sibling_map, siblings = compress_branch(found.branch)
        self.send(
            self.venue.contracts.bridge.claimExit,
            found.header,
            found.globals,
            (found.index, 0, "0x" + recipient.hex(), found.amount),
            sibling_map,
            siblings,
        )
        vault = self.venue.contracts.vault
        waiting = vault.delayedOf(found.index)
        if waiting.payableAt:
            # The vault has little left, so even a small exit is beyond the limiter's bound.
            self.advance_to(waiting.payableAt)
            self.send(vault.payDelayed, found.index)
        return found.amount

    def balance(self, who: Any) -> int:
        """Collateral of an address on L1."""
        address = "0x" + who.hex() if isinstance(who, bytes) else who
        return int(self.venue.contracts.token.balanceOf(address))

    def vault(self) -> int:
        """What the vault holds."""
        return self.balance(self.venue.contracts.vault.address)

    # The whole way

    def leave_all(self, *, first: Sequence[AccountId] | None = None) -> dict[AccountId, int]:
        """From the frozen rollup to the last payment; returns what everybody was paid."""
        self.open()
        return self.settle_all(first)

    def settle_all(self, first: Sequence[AccountId] | None) -> dict[AccountId, int]:
        """Have `first` (or everybody) proven in time and the others late. Everybody gets what the
        Python twin says, to the unit; the vault keeps the rest. Returns the payouts.
        """
        state = self.follower.state
        opened = self.closing.opened
        assert opened is not None
        everybody = find_escapable(state)
        in_time = everybody if first is None else list(first)
        late = [each for each in everybody if each not in in_time]
        claims = compute_claims(state, in_time)
        expected = compute_payouts(claims, opened.available)
        self.escape(in_time)
        assert {key: one.amount for key, one in self.closing.escaped.items()} == claims
        self.close()
        total = sum(claims.values())
        for account in late:
            equity = compute_claims(state, [account])[account]
            amount = min(equity, max(0, opened.available - total))
            if amount == 0:
                witness = compute_escape_witness(state, [account])
                refusal = self.venue.simulate(self.hatch.escape, witness, sender=self.sender)
                assert refusal == "EscapeHatch_NothingToRegister"
                continue
            self.escape([account])
            total += amount
            expected[account] = amount
        self.pay(state, expected)
        return expected

    def pay(self, state: State, expected: dict[AccountId, int]) -> None:
        """Claim for everybody who is registered; each owner gets what is expected."""
        before = self.vault()
        owed: dict[Address, int] = {}
        for account, amount in expected.items():
            owner = state.accounts[account].owner
            owed[owner] = owed.get(owner, 0) + amount
        had = {owner: self.balance(owner) for owner in owed}
        for account in expected:
            receipt = self.send(self.hatch.claim, account)
            (paid,) = [
                decode(["uint256"], bytes.fromhex(log["data"][2:]))[0]
                for log in receipt["logs"]
                if log["address"].lower() == self.hatch.address.lower()
            ]
            assert paid == expected[account]
        assert {owner: self.balance(owner) - had[owner] for owner in owed} == owed
        assert before - self.vault() == sum(expected.values())
        assert {key: one.amount for key, one in self.closing.paid.items()} == expected


def leaver(lab: Lab) -> Leaver:
    """Somebody who holds nothing in the rollup."""
    return Leaver(lab.venue, lab.venue.watcher)
