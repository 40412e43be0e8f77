"""Public-key recovery from 64-byte compact signatures (EIP-2098), the protocol's only signature
form.
"""

from coincurve import PublicKey

from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import ZERO_ADDRESS, Address

SIGNATURE_BYTES = 64
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half the order of secp256k1: a higher s is a second signature for the same meaning (EIP-2)."""


def recover_signer(digest: bytes, signature: bytes) -> Address:
    """Return the address that signed `digest`, or the zero address when `signature` proves nothing.

    `signature` is r, then s with the parity of y in its top bit. High s, r or s out of range and
    points off the curve all give zero, as the ecrecover precompile with the same checks does.
    """
    if len(signature) != SIGNATURE_BYTES:
        return ZERO_ADDRESS
    s_and_parity = int.from_bytes(signature[32:], "big")
    s = s_and_parity & ((1 << 255) - 1)
    if s > HALF_ORDER:
        return ZERO_ADDRESS
    recoverable = signature[:32] + s.to_bytes(32, "big") + bytes((s_and_parity >> 255,))
    try:
        key = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except ValueError:
        # coincurve's word for "no such point": r or s out of range, or no public key fits.
        return ZERO_ADDRESS
    return Address(keccak(key.format(compressed=False)[1:])[12:])
