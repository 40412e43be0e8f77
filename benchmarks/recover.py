"""The yardstick: libsecp256k1's public-key recovery and nothing else."""

import time
from collections.abc import Sequence

from coincurve import PublicKey

from benchmarks.flow import DOMAIN
from deltaroll.demo.actors import SignedOrder
from deltaroll.protocol.eip712 import compute_digest, hash_order

LOW_255 = (1 << 255) - 1


def recover_all(orders: Sequence[SignedOrder]) -> float:
    """Return CPU seconds of libsecp256k1 recovery alone for the orders' signatures."""
    prepared = []
    for signed in orders:
        tail = int.from_bytes(signed.signature[32:], "big")
        recoverable = (
            signed.signature[:32] + (tail & LOW_255).to_bytes(32, "big") + bytes((tail >> 255,))
        )
        digest = compute_digest(DOMAIN, hash_order(signed.account, signed.slot, signed.order))
        prepared.append((recoverable, digest))
    started = time.process_time()
    for recoverable, digest in prepared:
        PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    return time.process_time() - started
