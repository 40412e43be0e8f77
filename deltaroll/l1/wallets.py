"""Signatures of Ape's accounts in the form that the rollup takes."""

from collections.abc import Mapping
from typing import Any

from ape.api import AccountAPI
from eth_account.messages import encode_typed_data

from deltaroll.sdk.signing import compress_signature


def sign_typed_data(account: AccountAPI, document: Mapping[str, Any]) -> bytes:
    """Return the 64-byte signature of an EIP-712 document.

    Raises
    ------
    ValueError
        When the account declines to sign.
    """
    signature = account.sign_message(encode_typed_data(full_message=dict(document)))
    if signature is None:
        raise ValueError(f"account {account.address} did not sign")
    return compress_signature(
        int.from_bytes(signature.r, "big"), int.from_bytes(signature.s, "big"), signature.v
    )
