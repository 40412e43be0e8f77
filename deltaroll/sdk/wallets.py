"""Who signs for a trader: a bare key, an eth-account, an Ape account, or anything of your own.

It may be the account's owner or its delegated trading key: the client does not mind, the rollup
knows both. Withdrawals, transfers and changes of key are the owner's alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from deltaroll.node.api.sessions import SESSION_TYPE, hash_session
from deltaroll.protocol.eip712 import compute_digest, hash_order
from deltaroll.protocol.types import AccountId, Address, Order, SlotId
from deltaroll.sdk.rollup import Rollup
from deltaroll.sdk.signing import Action, Signer, hash_action, to_document, to_typed_data

if TYPE_CHECKING:
    from ape.api import AccountAPI


@dataclass(frozen=True, slots=True)
class Message:
    """Something to sign, in both forms that wallets take."""

    subject: bytes
    """EIP-712 struct hash; a receipt names it."""
    digest: bytes
    make_document: Callable[[], dict[str, Any]]
    """For wallets that show what they sign: the typed data of `eth_signTypedData_v4`."""


@runtime_checkable
class Wallet(Protocol):
    """Signs for one address."""

    @property
    def address(self) -> Address:
        """Whose signature it gives."""

    @property
    def is_slow(self) -> bool:
        """Whether it asks a person or a device: the client then waits on a thread of its own."""

    def sign_message(self, message: Message) -> bytes:
        """Return the 64-byte signature (EIP-2098); ValueError when it declines."""


class KeyWallet:
    """A secp256k1 key in memory."""

    is_slow = False

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.address = signer.address

    def sign_message(self, message: Message) -> bytes:
        """Return the signature."""
        return self._signer.sign(message.digest)


class ApeWallet:
    """An Ape account: a keyfile, a test account, a hardware wallet."""

    is_slow = True

    def __init__(self, account: "AccountAPI") -> None:
        self._account = account
        self._lock = Lock()
        self.address = Address(bytes.fromhex(str(account.address)[2:]))

    def sign_message(self, message: Message) -> bytes:
        """Return the signature; ValueError when the account declines."""
        from deltaroll.l1.wallets import sign_typed_data

        # It may ask a person: one question at a time.
        with self._lock:
            return sign_typed_data(self._account, message.make_document())


def to_wallet(key: object) -> Wallet:
    """Return the wallet of a key (hexadecimal text or 32 bytes), a `Signer`, an eth-account
    `LocalAccount`, an Ape account; a `Wallet` as it is.

    Raises
    ------
    TypeError
        When it is none of them.
    ValueError
        When the key is no key.
    """
    if isinstance(key, Wallet):
        return key
    if isinstance(key, str):
        return KeyWallet(Signer(bytes.fromhex(key.removeprefix("0x"))))
    if isinstance(key, bytes):
        return KeyWallet(Signer(key))
    if isinstance(key, Signer):
        return KeyWallet(key)
    if isinstance(secret := getattr(key, "key", None), bytes):
        # eth-account's LocalAccount: its key at hand signs many times as fast as it does.
        return KeyWallet(Signer(bytes(secret)))
    if hasattr(key, "sign_message") and hasattr(key, "address"):
        return ApeWallet(key)
    raise TypeError(f"key: {type(key).__name__} cannot sign")


def make_order_message(rollup: Rollup, account: int, slot: int, order: Order) -> Message:
    """Return an order to be signed."""
    subject = hash_order(AccountId(account), SlotId(slot), order)
    return Message(
        subject,
        compute_digest(rollup.domain, subject),
        lambda: to_typed_data(rollup.chain_id, rollup.inbox, order, account, slot),
    )


def make_action_message(rollup: Rollup, action: Action) -> Message:
    """Return a transfer, a withdrawal, a change of key or a bid to be signed."""
    subject = hash_action(action)
    return Message(
        subject,
        compute_digest(rollup.domain, subject),
        lambda: to_typed_data(rollup.chain_id, rollup.inbox, action),
    )


def make_session_message(
    rollup: Rollup, account: int, key: bytes, expiry: int, nonce: int
) -> Message:
    """Return a session to be signed."""
    fields = {"account": account, "key": "0x" + key.hex(), "expiry": expiry, "nonce": nonce}
    subject = hash_session(account, key, expiry, nonce)
    return Message(
        subject,
        compute_digest(rollup.domain, subject),
        lambda: to_document(rollup.chain_id, rollup.inbox, "Session", SESSION_TYPE, fields),
    )
