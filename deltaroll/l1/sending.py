"""One transaction at a time, and no other before it is mined, whatever the base fee does.

A transaction that waits is replaced by itself with a higher fee. Nothing is remembered between
runs: a nonce that another run left waiting in the pool is simply taken over.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Event
from typing import Any

from ape.api import AccountAPI, ProviderAPI
from ape.exceptions import ApeException

from deltaroll.l1.nodes import L1Error, request

GWEI, ETHER = 10**9, 10**18
BUMP = (9, 8)
"""Least rise of both fees for a replacement: nodes ask for a tenth at least."""
PATIENCE = 3
"""Blocks without a transaction before it is replaced."""
MIN_TIP = 10**8
"""Wei per gas, where a node suggests less."""
POOL_HAS = ("underpriced", "already known", "already imported")
"""What nodes say to a transaction that would have to replace a dearer one, or is there already."""
TOO_CHEAP = ("less than block base fee", "lower than the block base fee")
"""What some say to one that could not be in the next block; others keep it."""
TOO_LATE = ("nonce too low",)
"""What they say when another with this nonce has been mined."""


class SendError(Exception):
    """A transaction was not signed, not taken, or reverted."""


@dataclass(frozen=True, slots=True)
class Fees:
    """Wei per gas."""

    limit: int
    tip: int


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be sent."""

    target: str
    data: bytes
    gas: int


def get_base_fee(provider: ProviderAPI) -> int:
    """Return the base fee of the head, wei per gas."""
    return int(request(provider, "eth_getBlockByNumber", ["latest", False])["baseFeePerGas"], 16)


def get_tip(provider: ProviderAPI) -> int:
    """Return the priority fee that the node suggests, wei per gas."""
    return max(int(request(provider, "eth_maxPriorityFeePerGas", []), 16), MIN_TIP)


@dataclass(slots=True)
class Sender:
    """Sends an account's transactions."""

    provider: ProviderAPI
    account: AccountAPI
    max_fee: int | None = None
    """Wei per gas that are never exceeded: above it, it waits."""
    poll: float = 2.0
    """Seconds between two looks at L1."""
    report: Callable[[str], None] = lambda _: None
    _pause: Event = field(default_factory=Event)

    def get_nonce(self) -> int:
        """Return the number of the account's transactions on the head."""
        answer = request(
            self.provider, "eth_getTransactionCount", [str(self.account.address), "latest"]
        )
        return int(answer, 16)

    def sign(self, call: Call, nonce: int, fees: Fees) -> bytes:
        """Return a signed transaction.

        Raises
        ------
        SendError
            When the account declines.
        """
        transaction = self.provider.network.ecosystem.create_transaction(
            type=2,
            chainId=self.provider.chain_id,
            to=call.target,
            data=call.data,
            nonce=nonce,
            gas=call.gas,
            max_fee=fees.limit,
            max_priority_fee=fees.tip,
            value=0,
        )
        transaction.sender = self.account.address
        try:
            signed = self.account.sign_transaction(transaction)
        except ApeException as problem:
            raise SendError(f"{self.account.address}: {problem}") from problem
        if signed is None:
            raise SendError(f"{self.account.address} did not sign")
        return bytes(signed.serialize_transaction())

    def send(self, name: str, call: Call) -> dict[str, Any] | None:
        """Send a transaction and return its receipt once it is mined; None when another transaction
        of the account took its nonce.

        Raises
        ------
        SendError
            When the account declines, the node refuses it, or it reverts.
        L1Error
            When the node does not answer.
        """
        nonce = self.get_nonce()
        hashes: list[str] = []
        fees = self._await_fees()
        while not self._submit(name, call, nonce, fees, hashes):
            self._pause.wait(self.poll)
            fees = self._await_fees()
        sent_in = self._get_block()
        while True:
            # In this order: what is mined between the two is found by the next look.
            is_taken = self.get_nonce() > nonce
            for known in hashes:
                receipt = request(self.provider, "eth_getTransactionReceipt", [known])
                if receipt is not None:
                    return _judge(name, known, receipt)
            if is_taken:
                return None
            block = self._get_block()
            if block >= sent_in + PATIENCE:
                sent_in = block
                higher = self._raise(fees)
                if higher is not None:
                    fees = higher
                    self.report(f"{name}: not mined, sent again at {to_gwei(fees.limit)} gwei")
                    self._submit(name, call, nonce, fees, hashes)
            self._pause.wait(self.poll)

    def _submit(self, name: str, call: Call, nonce: int, fees: Fees, hashes: list[str]) -> bool:
        """Hand a transaction to the node; False when the base fee has risen over its limit since.
        Where the node has another with this nonce, dearer or mined, that one is waited for.
        """
        raw = self.sign(call, nonce, fees)
        try:
            answer = request(self.provider, "eth_sendRawTransaction", ["0x" + raw.hex()])
        except L1Error as problem:
            said = str(problem).lower()
            if any(text in said for text in TOO_CHEAP):
                return False
            if not any(text in said for text in POOL_HAS + TOO_LATE):
                raise SendError(f"{name}: {problem}") from problem
            return True
        hashes.append(str(answer))
        return True

    def _await_fees(self) -> Fees:
        """Return what to pay; wait while the base fee alone is above the most we pay."""
        while True:
            base, tip = get_base_fee(self.provider), get_tip(self.provider)
            if self.max_fee is None:
                return Fees(2 * base + tip, tip)
            if base < self.max_fee:
                limit = min(2 * base + tip, self.max_fee)
                return Fees(limit, min(tip, limit))
            self.report(f"base fee {to_gwei(base)} gwei is over the limit: waiting")
            self._pause.wait(self.poll)

    def _raise(self, fees: Fees) -> Fees | None:
        """Return fees that may replace others; None when that is more than we pay."""
        numerator, denominator = BUMP
        base, tip = get_base_fee(self.provider), get_tip(self.provider)
        tip = max(tip, fees.tip * numerator // denominator + 1)
        limit = max(2 * base + tip, fees.limit * numerator // denominator + 1)
        return None if self.max_fee is not None and limit > self.max_fee else Fees(limit, tip)

    def _get_block(self) -> int:
        return int(request(self.provider, "eth_blockNumber", []), 16)


def to_gwei(wei: int) -> str:
    """Return wei per gas, readable."""
    return f"{Decimal(wei) / GWEI:.3f}"


def to_ether(wei: int) -> str:
    """Return wei, readable."""
    return f"{Decimal(wei) / ETHER:.6f}"


def _judge(name: str, known: str, receipt: dict[str, Any]) -> dict[str, Any]:
    if int(receipt["status"], 16) != 1:
        raise SendError(f"{name}: transaction {known} reverted")
    return receipt
