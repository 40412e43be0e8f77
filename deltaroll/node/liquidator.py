"""The liquidator: takes over accounts in distress, by its own policy, through a sequencer's lines.

It holds nothing but a policy and a key: whatever it decides upon it has just asked for, so it may
be stopped and started at any time, and several may run. The protocol decides; a refusal is news,
not an error.
"""

import socket
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, TypeVar

import msgspec
import structlog

from deltaroll.node.queries import (
    AccountAnswer,
    AccountQuery,
    DistressedAccount,
    DistressedAnswer,
    DistressedQuery,
    PreviewAnswer,
    PreviewQuery,
    Query,
)
from deltaroll.node.requests import (
    Answer,
    DistressRequest,
    LiquidateRequest,
    Request,
    SocialiseRequest,
)
from deltaroll.node.server import HOST
from deltaroll.protocol.constants import AUCTION_START, INSURANCE_ACCOUNT, PPM
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import AccountId, Address, Liquidate
from deltaroll.sdk.signing import Signer

log = structlog.get_logger(__name__)

AnswerType = TypeVar("AnswerType", bound=msgspec.Struct)
WAIT_SECONDS = 60.0
"""For an answer."""
TOO_MUCH = (Fault.MARGIN.name, Fault.INSURANCE.name)
"""Refusals that a smaller share may get around."""
AGAIN = (Fault.ACTION_NONCE.name,)
"""Refusals that another try may get around: the account has signed something else meanwhile."""
NEVER = (Fault.SELF_TRADE.name,)
"""Refusals of an account that will be refused next time."""
TRIES = 3
"""Of one bid, when its nonce is taken."""


class LiquidatorError(Exception):
    """The liquidator cannot go on: it has no account, or not the key of it."""


class RefusedError(Exception):
    """A request was refused; `fault` names the rule where the protocol has one."""

    def __init__(self, text: str, fault: str | None) -> None:
        super().__init__(text)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Policy:
    """What a liquidator wants. Parts per million."""

    min_reward: int = AUCTION_START
    """Of the maintenance margin taken over; it waits for the auction to pay this."""
    max_share: int = PPM
    """Of an account, in one bid."""
    buffer: int = 100_000
    """Of its own initial margin, kept on top of it after a bid."""
    skipped: frozenset[int] = frozenset()
    """Accounts that it leaves alone."""


@dataclass(slots=True)
class Tally:
    """What a liquidator has seen and done."""

    looks: int = 0
    seen: set[int] = field(default_factory=set)
    """Accounts in distress."""
    pokes: int = 0
    bids: int = 0
    taken: int = 0
    refused: int = 0
    reward: int = 0
    """Collateral units, as previewed right before each bid."""


class LiquidationSigner(Protocol):
    """A key of the account that takes over: its owner's, or its trading key."""

    @property
    def address(self) -> Address:
        """Return the key's address."""

    def sign(self, bid: Liquidate) -> bytes:
        """Return the 64-byte signature of a bid."""


class KeySigner:
    """A bare key."""

    def __init__(self, signer: Signer, domain: bytes) -> None:
        self.address = signer.address
        self._signer = signer
        self._domain = domain

    def sign(self, bid: Liquidate) -> bytes:
        """Return the 64-byte signature of a bid."""
        return self._signer.sign_action(self._domain, bid)


class LineClient:
    """A connection to a sequencer's line server; a lost one is made again at the next request."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection: socket.socket | None = None
        self._lines: BinaryIO | None = None

    def ask(self, request: Request | Query, answer_type: type[AnswerType]) -> AnswerType:
        """Send a request and return its answer.

        Raises
        ------
        RefusedError
            When the answer is an error.
        OSError
            When there is no answer. Whether the request was heard is not known then.
        """
        line = self._exchange(msgspec.json.encode(request) + b"\n")
        try:
            general = msgspec.json.decode(line, type=Answer)
            if general.error is not None and general.sequence is None:
                raise RefusedError(general.error, general.fault)
            return msgspec.json.decode(line, type=answer_type)
        except msgspec.DecodeError as problem:
            self.close()
            raise ConnectionError(f"server: not a sequencer's answer: {problem}") from None

    def close(self) -> None:
        """Hang up."""
        if self._lines is not None:
            self._lines.close()
        if self._connection is not None:
            self._connection.close()
        self._connection = self._lines = None

    def _exchange(self, line: bytes) -> bytes:
        try:
            if self._connection is None or self._lines is None:
                self._connection = socket.create_connection((HOST, self.port), WAIT_SECONDS)
                self._lines = self._connection.makefile("rb")
            self._connection.sendall(line)
            answer = self._lines.readline()
        except OSError:
            self.close()
            raise
        if not answer.endswith(b"\n"):
            self.close()
            raise ConnectionError("server: hung up without an answer")
        return answer


class Liquidator:
    """Bids for one account with one key."""

    def __init__(
        self, client: LineClient, account: AccountId, signer: LiquidationSigner, policy: Policy
    ) -> None:
        self.client = client
        self.account = account
        self.signer = signer
        self.policy = policy
        self.tally = Tally()
        self._skipped = {account, *policy.skipped}

    def look(self) -> None:
        """Ask who is in distress, ask for what is due, and bid.

        Raises
        ------
        LiquidatorError
            When the key may not sign for the account.
        OSError
            When the sequencer cannot be reached: look again.
        """
        self.tally.looks += 1
        self._validate_key()
        found = self.client.ask(DistressedQuery(), DistressedAnswer)
        if self._poke_all(found):
            found = self.client.ask(DistressedQuery(), DistressedAnswer)
        for target in found.accounts:
            self.tally.seen.add(target.account)
            if self.is_wanted(target):
                self._take(target)

    def is_wanted(self, target: DistressedAccount) -> bool:
        """Return whether the policy allows to bid for an account now."""
        return (
            target.account not in self._skipped
            and target.share > 0
            and target.reward >= self.policy.min_reward
        )

    def _validate_key(self) -> None:
        try:
            held = self.client.ask(AccountQuery(self.account), AccountAnswer)
        except RefusedError as refusal:
            raise LiquidatorError(str(refusal)) from None
        address = "0x" + self.signer.address.hex()
        if address == held.owner:
            return
        if address != held.trading_key or held.key_expiry < held.clock:
            raise LiquidatorError(
                f"account: {address} is not the owner of account {self.account} and not its "
                "trading key of today"
            )

    def _poke_all(self, found: DistressedAnswer) -> bool:
        """Ask for what is due; return whether anything was done."""
        done = False
        for entry in found.accounts:
            request = compute_poke(entry, found.insurance)
            if request is None:
                continue
            kind = str(type(request).__struct_config__.tag)
            try:
                self.client.ask(request, Answer)
            except RefusedError as refusal:
                log.info("poke_refused", kind=kind, account=entry.account, error=str(refusal))
                continue
            done = True
            self.tally.pokes += 1
            log.info("poked", kind=kind, account=entry.account, equity=entry.equity)
        return done

    def _take(self, target: DistressedAccount) -> None:
        """Bid for the largest of share, half of it, a quarter ... that works out."""
        share = min(target.share, self.policy.max_share)
        while share > 0:
            try:
                preview = self._preview(target, share)
                if preview is not None:
                    self._bid(target, share, preview)
                    return
            except RefusedError as refusal:
                if refusal.fault not in TOO_MUCH:
                    self._note_refusal(target, share, refusal)
                    return
                log.debug("too_much", target=target.account, share=share, fault=refusal.fault)
            share //= 2
        self.tally.refused += 1
        log.info("nothing_possible", target=target.account, reward=target.reward)

    def _preview(self, target: DistressedAccount, share: int) -> PreviewAnswer | None:
        """Return what a bid would leave; None when it would leave too little."""
        query = PreviewQuery(self.account, target.account, share, self.policy.min_reward)
        preview = self.client.ask(query, PreviewAnswer)
        needed = preview.initial * (PPM + self.policy.buffer)
        return preview if preview.equity * PPM >= needed else None

    def _bid(self, target: DistressedAccount, share: int, preview: PreviewAnswer) -> None:
        """Sign and send a bid."""
        for left in reversed(range(TRIES)):
            nonce = self.client.ask(AccountQuery(self.account), AccountAnswer).nonce + 1
            bid = Liquidate(
                self.account,
                AccountId(target.account),
                share,
                self.policy.min_reward,
                nonce,
            )
            request = LiquidateRequest(
                bid.account,
                bid.target,
                bid.share,
                bid.reward,
                bid.nonce,
                "0x" + self.signer.sign(bid).hex(),
            )
            self.tally.bids += 1
            try:
                answer = self.client.ask(request, Answer)
            except RefusedError as refusal:
                if refusal.fault in AGAIN and left:
                    continue
                raise
            self.tally.taken += 1
            self.tally.reward += preview.reward
            log.info(
                "taken",
                target=target.account,
                share=share,
                rate=target.reward,
                reward=preview.reward,
                nonce=nonce,
                sequence=answer.sequence,
            )
            return

    def _note_refusal(self, target: DistressedAccount, share: int, refusal: RefusedError) -> None:
        self.tally.refused += 1
        if refusal.fault in NEVER:
            self._skipped.add(target.account)
        log.info("refused", target=target.account, share=share, error=str(refusal))


def compute_poke(
    entry: DistressedAccount, insurance: int
) -> DistressRequest | SocialiseRequest | None:
    """Return what is due for an account in distress, if anything: the spreading of a hole that the
    insurance fund cannot fill (without positions: any that it can fill a part of), the start of its
    auction, or the end. The fund's own auction begins and ends by itself; its own cash is part of
    its equity.
    """
    if entry.equity is None or entry.maintenance is None:
        return None
    if entry.account == INSURANCE_ACCOUNT:
        return SocialiseRequest(entry.account) if entry.equity < 0 and entry.positions else None
    if entry.equity < 0:
        is_due = insurance < -entry.equity if entry.positions else insurance > 0
        if is_due:
            return SocialiseRequest(entry.account)
    is_below = entry.equity < entry.maintenance
    if is_below == (entry.distressed_at != 0) or (is_below and not entry.positions):
        return None
    return DistressRequest(entry.account)
