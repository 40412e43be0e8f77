"""Sessions: who may see and cancel an account's orders, shown by one EIP-712 signature."""

import base64
import binascii
from collections import OrderedDict

import msgspec

from deltaroll.node.admission import RejectedError
from deltaroll.node.api.messages import SessionFields
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.eip712 import compute_digest
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.recovery import recover_signer
from deltaroll.protocol.signatures import Role, validate_account_signer
from deltaroll.protocol.types import ZERO_ADDRESS, AccountId, Address

SESSION_TYPE = "Session(uint32 account,address key,uint40 expiry,uint64 nonce)"
_SESSION_HASH = keccak(SESSION_TYPE.encode())
MAX_LIFE = 7 * 86_400
"""Seconds that a session may last."""
MAX_KNOWN = 10_000
SCHEME = "Session "


def hash_session(account: int, key: bytes, expiry: int, nonce: int) -> bytes:
    """Return the struct hash of a session."""
    return keccak(
        b"".join(
            (
                _SESSION_HASH,
                account.to_bytes(32, "big"),
                bytes(12) + key,
                expiry.to_bytes(32, "big"),
                nonce.to_bytes(32, "big"),
            )
        )
    )


def encode_token(session: SessionFields) -> str:
    """Return the value of an Authorization header."""
    return SCHEME + base64.urlsafe_b64encode(msgspec.json.encode(session)).decode()


def decode_token(header: str) -> SessionFields:
    """Return the session of an Authorization header.

    Raises
    ------
    RejectedError
    """
    if not header.startswith(SCHEME):
        raise RejectedError(f"authorization: not of the form '{SCHEME}<token>'")
    try:
        text = base64.urlsafe_b64decode(header[len(SCHEME) :].encode())
        return msgspec.json.decode(text, type=SessionFields)
    except (binascii.Error, UnicodeError, ValueError, msgspec.DecodeError, RecursionError):
        raise RejectedError("authorization: the token is no session") from None


class Sessions:
    """Checks sessions against the live state; runs on the sequencer's thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[SessionFields, None] = OrderedDict()

    def validate(self, sequencer: Sequencer, session: SessionFields) -> None:
        """Check a session as of now: its key may have lost its right since it was signed.

        Raises
        ------
        RejectedError
        """
        clock = sequencer.clock
        if session.expiry < clock:
            raise RejectedError(f"expiry: {session.expiry} is before the clock {clock}")
        if session.expiry > clock + MAX_LIFE:
            raise RejectedError(f"expiry: {session.expiry} is more than {MAX_LIFE} s ahead")
        account = sequencer.state.accounts.get(AccountId(session.account))
        if account is None:
            raise RejectedError(f"account: no account {session.account}", Fault.UNKNOWN_ACCOUNT)
        key = Address(bytes.fromhex(session.key[2:]))
        if key == ZERO_ADDRESS:
            raise RejectedError("key: nobody signs for the zero address", Fault.BAD_SIGNATURE)
        try:
            validate_account_signer(account, Role.TRADER, key, clock)
        except TransitionFault as problem:
            raise RejectedError(
                f"key: {session.key} may not trade for account {session.account}", problem.fault
            ) from None
        if session in self._known:
            return
        digest = compute_digest(
            sequencer.domain,
            hash_session(session.account, key, session.expiry, session.nonce),
        )
        if recover_signer(digest, bytes.fromhex(session.signature[2:])) != key:
            raise RejectedError(f"signature: not by {session.key}", Fault.BAD_SIGNATURE)
        self._known[session] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
