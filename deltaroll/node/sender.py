"""Sends one account's L1 transactions: several on their way, each exactly as often as L1 allows.

Every nonce is written down before anything is signed for it, and every signed transaction before
a node sees it. What became of them is never concluded from an answer to a submission: it is read
off L1, as the account's transaction count at the hash of a block. So an end at any line, a lost
answer, a dropped transaction and a reorganisation are all the same thing: what L1 has not counted
is still to be sent.

Nothing here waits. `tick` is called after each look at L1 and does what is due.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, TypeVar

import structlog
from ape.api import AccountAPI
from ape.exceptions import ApeException
from eth_utils.conversions import to_bytes

from deltaroll.l1.gateway import Gateway, L1Error, MissingBlockError
from deltaroll.l1.sending import BUMP, MIN_TIP, PATIENCE, TOO_CHEAP, Fees, SendError, to_gwei
from deltaroll.l1.types import BlockRef
from deltaroll.node.alarms import Alarm, Alarms
from deltaroll.node.journal import Attempt, Call, Intent, Journal
from deltaroll.protocol.hashing import keccak

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

MAX_BUMPS = 8
"""Rises in one go while a node says that what it has is dearer."""
GAS_MARGIN = (6, 5)
"""What is allowed over the estimate: storage that others touch in between."""
CONFIRMATIONS = 64
"""Blocks after which a used nonce is forgotten."""
SHORTEST_WAIT, LONGEST_WAIT = 0.02, 1.0
"""Seconds between two looks at something that is about to be mined."""
CANCEL = "cancel"
REPLACED = "replaced"
"""What is logged of an attempt that L1 took though another was in its place."""
CANCEL_GAS = 21_000
MEMORY = ":memory:"

KNOWN = ("already known", "already imported", "known transaction")
DEARER = ("underpriced", "replacement transaction", "could not replace", *TOO_CHEAP)
COUNTED = ("nonce too low",)
BROKE = ("insufficient funds", "insufficient balance", "exceeds the balance")
RESERVED = ("already reserved",)


class RefusedError(L1Error):
    """L1 would revert the transaction as of now: it was not sent."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """What the node says, the name of the contract's error in it when it has one."""


class PendingError(L1Error):
    """A transaction is on its way and not mined yet."""


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction of ours on L1."""

    hash: str
    block: int
    gas_used: int
    succeeded: bool
    content: bytes = b""
    """Of the call that it carries: not the newest one's, where an earlier attempt was faster.
    Empty when the transaction is not a sender's."""
    gas_price: int = 0
    """Wei per gas that were paid."""


@dataclass(frozen=True, slots=True)
class SendPolicy:
    """What may be paid."""

    max_fee: int | None = None
    """Wei per gas that are never exceeded; above it a transaction waits."""
    reserve: int = 10
    """Transactions that the balance should always pay for."""


class Sender:
    """An account's nonces. Nobody else may send from it; if somebody does, nothing breaks."""

    def __init__(
        self,
        gateway: Gateway,
        account: AccountAPI,
        path: Path | str = MEMORY,
        policy: SendPolicy | None = None,
        alarms: Alarms | None = None,
    ) -> None:
        """`path` of the journal; without one nothing is known after a restart."""
        self.gateway = gateway
        self.account = account
        self.address = str(account.address)
        self.policy = policy or SendPolicy()
        self.alarms = alarms or Alarms()
        chain = gateway.provider.chain_id.to_bytes(8, "big")
        self._nothing = Call(self.address, b"", CANCEL_GAS)
        self._journal = Journal(path, chain + to_bytes(hexstr=self.address))
        self._intents = self._journal.load()
        self._sent_in: dict[int, int] = {}
        """L1 block in which this process last sent or raised each."""
        self._unreported: set[int] = set()
        self._nonce = 0
        self._block = 0
        self._base_fee = 0
        self.cost = 0
        """Wei that the last thing sent may cost."""
        self.balance: int | None = None
        """Wei that the account has, as of the last tick."""
        self.bumps = 0
        """Transactions replaced by dearer ones since the start."""

    # What is on its way

    @property
    def open(self) -> list[Intent]:
        """Intents whose nonce L1 has not counted, by nonce."""
        return [intent for intent in self._intents if intent.mined_in is None]

    def find_open(self, kind: str) -> Intent | None:
        """Return what of a sort is on its way."""
        return next((intent for intent in self.open if intent.kind == kind), None)

    def find_mined(self, intent: Intent) -> Mined | None:
        """Return which transaction of an intent is on the chain, None while no node shows one.

        For people and figures: what has happened on L1 is read off L1's state, not off this.
        """
        for attempt in intent.attempts:
            receipt = self._ask("eth_getTransactionReceipt", attempt.hash)
            if not isinstance(receipt, dict):
                continue
            try:
                block = int(receipt["blockNumber"], 16)
                on_chain = self.gateway.get_block(block).hash == to_bytes(
                    hexstr=receipt["blockHash"]
                )
                mined = Mined(
                    attempt.hash,
                    block,
                    int(receipt["gasUsed"], 16),
                    int(receipt["status"], 16) == 1,
                    attempt.content,
                    int(receipt.get("effectiveGasPrice", "0x0"), 16),
                )
            except (KeyError, TypeError, ValueError, MissingBlockError):
                # Of another branch, or no receipt at all.
                continue
            if on_chain:
                return mined
        return None

    # Sending

    def estimate(self, target: str, data: bytes, value: int = 0) -> int:
        """Return the gas to allow for a call, as L1 is now.

        Raises
        ------
        RefusedError
            When it would revert.
        L1Error
            When no node answers.
        """
        call = {
            "from": self.address,
            "to": target,
            "data": "0x" + data.hex(),
            "value": hex(value),
        }
        try:
            answer = int(self.gateway.nodes.request("eth_estimateGas", [call, "latest"]), 16)
        except L1Error as problem:
            text = str(problem)
            if "revert" in text.lower():
                reason = self.gateway.explain(text)
                raise RefusedError(f"L1 would refuse it: {reason}", reason) from problem
            raise
        except (TypeError, ValueError) as problem:
            raise L1Error("L1: eth_estimateGas: no number") from problem
        return answer * GAS_MARGIN[0] // GAS_MARGIN[1]

    def submit(self, kind: str, key: bytes, call: Call) -> Intent | None:
        """Send a call with the next nonce, or in place of what of its sort is on its way.

        `tick` must have been called for this look at L1. Returns None when the account cannot pay.

        Raises
        ------
        SendError
            When the account does not sign.
        """
        if not self._can_pay(kind, call):
            return None
        intent = self.find_open(kind)
        if intent is None:
            intent = self.find_open(CANCEL)
        if intent is not None:
            self._journal.change(intent, kind, key, call)
            self._sent_in[intent.number] = self._block
            self._raise_fees(intent)
            return intent
        nonce = max([self._nonce, *(each.nonce + 1 for each in self.open)])
        intent = self._journal.add(nonce, kind, key, call)
        self._intents.append(intent)
        self._sent_in[intent.number] = self._block
        self._sign_and_send(intent, self._compute_fees())
        return intent

    def cancel(self, intent: Intent) -> None:
        """Put nothing in the place of what is on its way: it would be paid for in vain."""
        log.info("transaction_cancelled", kind=intent.kind, nonce=intent.nonce)
        self._journal.change(intent, CANCEL, b"", self._nothing)
        self._raise_fees(intent)

    def tick(self, head: BlockRef) -> None:
        """Do what is due at a head: see what L1 has counted, send again what it has lost, raise the
        fees of what waits.

        Raises
        ------
        L1Error
            When no node answers.
        SendError
            When the account does not sign.
        """
        where = {"blockHash": "0x" + head.hash.hex()}
        self._nonce = self._ask_number("eth_getTransactionCount", self.address, where)
        self._base_fee = self._read_base_fee(head)
        self._block = head.number
        self._check_funds(where)
        for intent in list(self._intents):
            self._count(intent, head)
        self._fill_gaps()
        for intent in self.open:
            self._push(intent, head)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    # What a tick does

    def _count(self, intent: Intent, head: BlockRef) -> None:
        is_used = intent.nonce < self._nonce
        if is_used and intent.mined_in is None:
            self._journal.mark(intent, head.number)
            self._unreported.add(intent.number)
        elif not is_used and intent.mined_in is not None:
            log.warning("transaction_reorganised", kind=intent.kind, nonce=intent.nonce)
            self._journal.mark(intent, None)
            self._sent_in.pop(intent.number, None)
        elif intent.mined_in is not None and head.number - intent.mined_in > CONFIRMATIONS:
            self._journal.forget(intent)
            self._intents.remove(intent)
        if intent.mined_in is not None and intent.number in self._unreported:
            self._report(intent, head.number - intent.mined_in)

    def _report(self, intent: Intent, blocks: int) -> None:
        """Say which transaction has used a nonce; for some blocks a node may not know it yet."""
        mined = self.find_mined(intent)
        if mined is None and blocks < PATIENCE:
            return
        self._unreported.discard(intent.number)
        self.alarms.set(Alarm.NONCE_TAKEN, mined is None, nonce=intent.nonce, kind=intent.kind)
        if mined is not None:
            log.info(
                "transaction_mined" if mined.succeeded else "transaction_reverted",
                kind=intent.kind if is_as_written(intent, mined) else REPLACED,
                nonce=intent.nonce,
                hash=mined.hash,
                gas=mined.gas_used,
            )

    def _fill_gaps(self) -> None:
        """Have something at every nonce below those that wait: they would wait for ever."""
        waiting = {intent.nonce for intent in self.open}
        for nonce in range(self._nonce, max(waiting, default=0)):
            if nonce not in waiting:
                log.warning("nonce_gap", nonce=nonce)
                intent = self._journal.add(nonce, CANCEL, b"", self._nothing)
                self._intents.append(intent)
                self._sign_and_send(intent, self._compute_fees())
        self._intents.sort(key=lambda intent: intent.nonce)

    def _push(self, intent: Intent, head: BlockRef) -> None:
        sent_in = self._sent_in.get(intent.number)
        if not intent.attempts or sent_in is None:
            # Written down, and then the process ended or L1 took it back.
            self._sent_in[intent.number] = head.number
            if self._is_in_vain(intent):
                self.cancel(intent)
            elif intent.attempts and intent.attempts[-1].content == intent.call.content:
                self._broadcast(intent)
            else:
                self._raise_fees(intent)
        elif head.number >= sent_in + PATIENCE:
            self._sent_in[intent.number] = head.number
            self._raise_fees(intent)
        elif self._ask("eth_getTransactionByHash", intent.attempts[-1].hash) is None:
            log.warning("transaction_dropped", kind=intent.kind, nonce=intent.nonce)
            self._broadcast(intent)

    def _is_in_vain(self, intent: Intent) -> bool:
        """Return whether L1 would refuse what was sent once and may be sent again."""
        try:
            self.estimate(intent.call.target, intent.call.data, intent.call.value)
        except RefusedError:
            return True
        return False

    def _sign_and_send(self, intent: Intent, fees: Fees) -> None:
        self.bumps += bool(intent.attempts)
        self._journal.add_attempt(intent, self._sign(intent, fees))
        self._broadcast(intent)

    def _raise_fees(self, intent: Intent) -> None:
        """Replace what waits by something dearer."""
        fresh = self._compute_fees()
        if not intent.attempts:
            self._sign_and_send(intent, fresh)
            return
        last = intent.attempts[-1].fees
        fees = Fees(max(fresh.limit, _bump(last.limit)), max(fresh.tip, _bump(last.tip)))
        ceiling = self.policy.max_fee
        is_capped = ceiling is not None and fees.limit > ceiling
        self.alarms.set(Alarm.FEE_CAPPED, is_capped, kind=intent.kind, gwei=to_gwei(fees.limit))
        if is_capped:
            # What is there goes on waiting; new content cannot take its place yet.
            if intent.attempts[-1].content == intent.call.content:
                self._broadcast(intent)
            return
        log.info(
            "transaction_replaced",
            kind=intent.kind,
            nonce=intent.nonce,
            gwei=to_gwei(fees.limit),
            tip=to_gwei(fees.tip),
        )
        self._sign_and_send(intent, fees)

    def _broadcast(self, intent: Intent) -> None:
        """Hand the newest transaction of an intent to every node."""
        for _ in range(MAX_BUMPS):
            raw = "0x" + intent.attempts[-1].raw.hex()
            answers = self.gateway.nodes.request_each("eth_sendRawTransaction", [raw])
            refusals = [str(one).lower() for one in answers if isinstance(one, L1Error)]
            accepted = len(refusals) < len(answers) or _says(refusals, KNOWN)
            self.alarms.set(Alarm.POOL_RESERVED, not accepted and _says(refusals, RESERVED))
            if not accepted and _says(refusals, BROKE):
                self.alarms.set(Alarm.FUNDS_OUT, True, account=self.address)
            if accepted or not _says(refusals, DEARER) or not self._raise_again(intent):
                break
        if not accepted:
            # Whatever the reason: the next tick looks at what L1 has counted and tries again.
            log.warning(
                "transaction_not_taken",
                kind=intent.kind,
                nonce=intent.nonce,
                answer=refusals[0],
                is_counted=_says(refusals, COUNTED),
            )

    def _raise_again(self, intent: Intent) -> bool:
        """Sign a dearer transaction than the one that a node found too cheap; False at the cap."""
        last = intent.attempts[-1].fees
        fees = Fees(_bump(last.limit), _bump(last.tip))
        if self.policy.max_fee is not None and fees.limit > self.policy.max_fee:
            self.alarms.set(Alarm.FEE_CAPPED, True, kind=intent.kind, gwei=to_gwei(fees.limit))
            return False
        self.bumps += 1
        self._journal.add_attempt(intent, self._sign(intent, fees))
        return True

    def _sign(self, intent: Intent, fees: Fees) -> Attempt:
        provider = self.gateway.provider
        transaction = provider.network.ecosystem.create_transaction(
            type=2,
            chainId=provider.chain_id,
            to=intent.call.target,
            data=intent.call.data,
            nonce=intent.nonce,
            gas=intent.call.gas,
            max_fee=fees.limit,
            max_priority_fee=fees.tip,
            value=intent.call.value,
        )
        transaction.sender = self.account.address
        try:
            signed = self.account.sign_transaction(transaction)
        except ApeException as problem:
            raise SendError(f"{self.address}: {problem}") from problem
        if signed is None:
            raise SendError(f"{self.address} did not sign")
        raw = bytes(signed.serialize_transaction())
        return Attempt("0x" + keccak(raw).hex(), raw, intent.call.content, fees)

    # Money

    def _compute_fees(self) -> Fees:
        """Return what a new transaction offers: room for the base fee to double."""
        try:
            tip = max(self._ask_number("eth_maxPriorityFeePerGas"), MIN_TIP)
        except L1Error:
            tip = MIN_TIP
        limit = 2 * self._base_fee + tip
        ceiling = self.policy.max_fee
        if ceiling is not None:
            limit = min(limit, ceiling)
        return Fees(limit, min(tip, limit))

    def _can_pay(self, kind: str, call: Call) -> bool:
        """Return whether the account pays for a call and what stays on its way beside it; the alarm
        says no."""
        fees = self._compute_fees()
        self.cost = call.gas * fees.limit + call.value
        waiting = sum(
            each.call.gas * each.attempts[-1].fees.limit + each.call.value
            for each in self.open
            if each.attempts and each.kind not in (kind, CANCEL)
        )
        balance = self._ask_number("eth_getBalance", self.address, "latest")
        is_broke = balance < self.cost + waiting
        self.alarms.set(
            Alarm.FUNDS_OUT, is_broke, account=self.address, wei=balance, needed=self.cost
        )
        return not is_broke

    def _check_funds(self, where: dict[str, str]) -> None:
        self.balance = balance = self._ask_number("eth_getBalance", self.address, where)
        needed = self.cost * self.policy.reserve
        self.alarms.set(
            Alarm.FUNDS_LOW, balance < needed, account=self.address, wei=balance, wanted=needed
        )
        if balance >= self.cost:
            self.alarms.set(Alarm.FUNDS_OUT, False, account=self.address, wei=balance)

    def _read_base_fee(self, head: BlockRef) -> int:
        answer = self._ask("eth_getBlockByHash", "0x" + head.hash.hex(), False)
        try:
            return int(answer["baseFeePerGas"], 16)
        except (KeyError, TypeError, ValueError) as problem:
            raise L1Error(f"L1: no base fee in block {head.number}") from problem

    # Asking

    def _ask(self, method: str, *parameters: object) -> Any:
        return self.gateway.nodes.request(method, list(parameters))

    def _ask_number(self, method: str, *parameters: object) -> int:
        answer = self._ask(method, *parameters)
        try:
            return int(answer, 16)
        except (TypeError, ValueError) as problem:
            raise L1Error(f"L1: {method}: no number: {answer!r}") from problem


def is_as_written(intent: Intent, mined: Mined) -> bool:
    """Return whether L1 took what an intent is for now, not an earlier attempt at its nonce."""
    return mined.content == intent.call.content


def wait_for(what: str, look: Callable[[], Result | None], patience: float) -> Result:
    """Return what `look` finds, looking again and again, less and less often.

    Raises
    ------
    PendingError
        When that is nothing for `patience` seconds. What was sent stays on its way.
    """
    pause = Event()
    end = monotonic() + patience
    seconds = SHORTEST_WAIT
    while True:
        result = look()
        if result is not None:
            return result
        if monotonic() >= end:
            raise PendingError(f"L1: {what} is not mined after {patience:.0f} s: it is on its way")
        pause.wait(seconds)
        seconds = min(2 * seconds, LONGEST_WAIT)


def _bump(fee: int) -> int:
    numerator, denominator = BUMP
    return fee * numerator // denominator + 1


def _says(refusals: Iterable[str], texts: Iterable[str]) -> bool:
    return any(text in refusal for refusal in refusals for text in texts)
