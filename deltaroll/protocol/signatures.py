"""Signatures: which ones a chunk must carry, in which order, and by whom.

A chunk's signatures stand in their own section, 64 bytes each, in the order in which the
transactions require them. The state before the chunk decides whose key is right: a change of key
takes effect with the next chunk. A transition takes them as good; a bad one has its own proof.
"""

from dataclasses import dataclass
from enum import IntEnum

from deltaroll.protocol.codec import decode_header, iterate_transactions
from deltaroll.protocol.constants import MAX_SIGNERS
from deltaroll.protocol.eip712 import (
    compute_digest,
    hash_liquidate,
    hash_observation,
    hash_order,
    hash_set_trading_key,
    hash_surface,
    hash_transfer,
    hash_withdraw,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.recovery import SIGNATURE_BYTES, recover_signer
from deltaroll.protocol.state import State, reset_meter, touch_account, touch_market
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    Committee,
    Expiry,
    Fill,
    Liquidate,
    MarketId,
    Observe,
    SetTradingKey,
    Surface,
    Timestamp,
    Transaction,
    Transfer,
    Underlying,
    Withdraw,
)


class Role(IntEnum):
    """Who may sign."""

    OWNER = 0
    """The account's owner."""
    TRADER = 1
    """The account's owner, or its trading key while that lives."""
    ORACLE = 2
    """A member of the underlying's committee."""
    SURFACE = 3
    """A member of the committee of the expiry's underlying."""


@dataclass(frozen=True, slots=True)
class SignatureRequest:
    """One signature that a transaction requires."""

    role: Role
    subject: int
    """Account id; the underlying's market id for ORACLE, the expiry's for SURFACE."""
    signer: int
    """Index in the committee for ORACLE and SURFACE, else 0."""
    struct_hash: bytes


def compute_requests(transaction: Transaction) -> tuple[SignatureRequest, ...]:
    """Return the signatures that a transaction requires: maker before taker, oracle members
    ascending.
    """
    match transaction:
        case Fill():
            requests = []
            if (order := transaction.maker_order) is not None:
                struct_hash = hash_order(transaction.maker, transaction.maker_slot, order)
                requests.append(SignatureRequest(Role.TRADER, transaction.maker, 0, struct_hash))
            if (order := transaction.taker_order) is not None:
                struct_hash = hash_order(transaction.taker, transaction.taker_slot, order)
                requests.append(SignatureRequest(Role.TRADER, transaction.taker, 0, struct_hash))
            return tuple(requests)
        case Transfer():
            struct_hash = hash_transfer(transaction)
            return (SignatureRequest(Role.OWNER, transaction.sender, 0, struct_hash),)
        case Withdraw():
            struct_hash = hash_withdraw(transaction)
            return (SignatureRequest(Role.OWNER, transaction.account, 0, struct_hash),)
        case SetTradingKey():
            struct_hash = hash_set_trading_key(transaction)
            return (SignatureRequest(Role.OWNER, transaction.account, 0, struct_hash),)
        case Observe():
            return tuple(
                SignatureRequest(
                    Role.ORACLE,
                    transaction.market,
                    entry.signer,
                    hash_observation(transaction.market, entry),
                )
                for entry in transaction.observations
            )
        case Surface():
            struct_hash = hash_surface(transaction)
            return tuple(
                SignatureRequest(Role.SURFACE, transaction.market, signer, struct_hash)
                for signer in range(MAX_SIGNERS)
                if transaction.signers >> signer & 1
            )
        case Liquidate():
            struct_hash = hash_liquidate(transaction)
            return (SignatureRequest(Role.TRADER, transaction.account, 0, struct_hash),)
        case _:
            return ()


def validate_account_signer(account: Account, role: Role, signer: bytes, clock: Timestamp) -> None:
    """Check that `signer` may sign for an account in `role`.

    Raises
    ------
    TransitionFault
        BAD_SIGNATURE.
    """
    if signer == account.owner:
        return
    if role == Role.TRADER and signer == account.trading_key and clock <= account.key_expiry:
        return
    raise TransitionFault(Fault.BAD_SIGNATURE)


def validate_oracle_signer(committee: Committee, index: int, signer: bytes) -> None:
    """Check that `signer` is the committee's member at `index`.

    Raises
    ------
    TransitionFault
        BAD_SIGNATURE.
    """
    if index >= len(committee.signers) or committee.signers[index] != signer:
        raise TransitionFault(Fault.BAD_SIGNATURE)


def validate_signature(
    state: State, request: SignatureRequest, signature: bytes, domain: bytes, clock: Timestamp
) -> None:
    """Check one signature against the keys in `state`.

    Raises
    ------
    TransitionFault
        BAD_SIGNATURE, also when account, expiry, underlying or committee do not exist; OVERWEIGHT.
    """
    signer = recover_signer(compute_digest(domain, request.struct_hash), signature)
    if signer == ZERO_ADDRESS:
        raise TransitionFault(Fault.BAD_SIGNATURE)
    if request.role in (Role.ORACLE, Role.SURFACE):
        subject = MarketId(request.subject)
        if request.role == Role.SURFACE:
            expiry = touch_market(state, subject)
            if not isinstance(expiry, Expiry):
                raise TransitionFault(Fault.BAD_SIGNATURE)
            subject = expiry.underlying
        underlying = touch_market(state, subject)
        if not isinstance(underlying, Underlying):
            raise TransitionFault(Fault.BAD_SIGNATURE)
        committee = touch_market(state, underlying.params.committee)
        if not isinstance(committee, Committee):
            raise TransitionFault(Fault.BAD_SIGNATURE)
        validate_oracle_signer(committee, request.signer, signer)
        return
    account = touch_account(state, request.subject)  # type: ignore[arg-type]
    if account is None:
        raise TransitionFault(Fault.BAD_SIGNATURE)
    validate_account_signer(account, request.role, signer, clock)


def compute_chunk_requests(data: bytes) -> tuple[Timestamp, tuple[SignatureRequest, ...]]:
    """Return the clock of a chunk and all signatures that it requires.

    Raises
    ------
    TransitionFault
        Any of the decoder's.
    """
    decoder = decode_header(data)
    requests: list[SignatureRequest] = []
    for transaction in iterate_transactions(decoder):
        requests.extend(compute_requests(transaction))
    return decoder.clock, tuple(requests)


def compute_bad_signature(
    state: State, data: bytes, signatures: bytes, domain: bytes
) -> tuple[Fault, int] | None:
    """Return what is wrong with a chunk's signature section, and at which position; None when
    nothing.

    `state` is the one before the chunk. The whole section's length is judged before any signature.
    Data that does not decode requires nothing here: the transition proof shows its fault.
    """
    try:
        clock, requests = compute_chunk_requests(data)
    except TransitionFault:
        return None
    if len(signatures) != SIGNATURE_BYTES * len(requests):
        return Fault.SIGNATURE_COUNT, 0
    for position, request in enumerate(requests):
        signature = signatures[position * SIGNATURE_BYTES : (position + 1) * SIGNATURE_BYTES]
        # Each signature is proven alone: what one touches does not weigh on the next.
        reset_meter(state)
        try:
            validate_signature(state, request, signature, domain, clock)
        except TransitionFault:
            return Fault.BAD_SIGNATURE, position
    return None
