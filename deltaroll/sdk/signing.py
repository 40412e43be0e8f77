"""Signatures that the rollup accepts, by any EIP-712 wallet or by a bare key.

A wallet signs the typed data and returns r, s, v; the rollup takes 64 bytes (EIP-2098).
"""

from typing import Any

from coincurve import PrivateKey

from deltaroll.protocol.eip712 import (
    LIQUIDATE_TYPE,
    OBSERVATION_TYPE,
    ORDER_TYPE,
    SET_TRADING_KEY_TYPE,
    SURFACE_TYPE,
    TRANSFER_TYPE,
    WITHDRAW_TYPE,
    compute_digest,
    hash_liquidate,
    hash_observation,
    hash_order,
    hash_set_trading_key,
    hash_surface,
    hash_transfer,
    hash_withdraw,
)
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.recovery import HALF_ORDER
from deltaroll.protocol.types import (
    AccountId,
    Address,
    Liquidate,
    MarketId,
    Observation,
    Order,
    SetTradingKey,
    SlotId,
    Surface,
    Transfer,
    Withdraw,
)

Action = Transfer | Withdraw | SetTradingKey | Liquidate
"""What an owner signs besides orders; a Liquidate may be signed by the trading key, too."""
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Signer:
    """A bare secp256k1 key, fast enough for a market maker."""

    def __init__(self, key: bytes) -> None:
        self._key = PrivateKey(key)
        public = self._key.public_key.format(compressed=False)
        self.address = Address(keccak(public[1:])[12:])

    def sign(self, digest: bytes) -> bytes:
        """Return the 64-byte signature of a digest."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return compress_signature(
            int.from_bytes(signature[:32], "big"),
            int.from_bytes(signature[32:64], "big"),
            signature[64],
        )

    def sign_order(self, domain: bytes, account: AccountId, slot: SlotId, order: Order) -> bytes:
        """Return the signature of an order."""
        return self.sign(compute_digest(domain, hash_order(account, slot, order)))

    def sign_action(self, domain: bytes, action: Action) -> bytes:
        """Return the signature of an account's action."""
        return self.sign(compute_digest(domain, hash_action(action)))

    def sign_observation(self, domain: bytes, market: MarketId, observation: Observation) -> bytes:
        """Return a committee member's signature of a price."""
        return self.sign(compute_digest(domain, hash_observation(market, observation)))

    def sign_surface(self, domain: bytes, surface: Surface) -> bytes:
        """Return a committee member's signature of a surface, whoever else signs it."""
        return self.sign(compute_digest(domain, hash_surface(surface)))


def hash_action(action: Action) -> bytes:
    """Return the struct hash of an account's action."""
    match action:
        case Transfer():
            return hash_transfer(action)
        case Withdraw():
            return hash_withdraw(action)
        case SetTradingKey():
            return hash_set_trading_key(action)
        case Liquidate():
            return hash_liquidate(action)


def compress_signature(r: int, s: int, v: int) -> bytes:
    """Return r, s, v (0, 1, 27 or 28) as 64 bytes, with a low s.

    Raises
    ------
    ValueError
        When v is none of the four.
    """
    parity = v - 27 if v >= 27 else v
    if parity not in (0, 1):
        raise ValueError(f"v: {v} is none of 0, 1, 27, 28")
    if s > HALF_ORDER:
        s = _CURVE_ORDER - s
        parity = 1 - parity
    return r.to_bytes(32, "big") + (s | parity << 255).to_bytes(32, "big")


def to_typed_data(
    chain_id: int, inbox: str, value: Order | Action, account: int = 0, slot: int = 0
) -> dict[str, Any]:
    """Return the EIP-712 document of an order (of `account` and `slot`) or an action.

    It is what `eth_signTypedData_v4`, ethers and eth-account take.
    """
    match value:
        case Order():
            name, text = "Order", ORDER_TYPE
            message: dict[str, Any] = {
                "account": account,
                "slot": slot,
                "nonce": value.nonce,
                "epoch": value.epoch,
                "market": value.market,
                "isBuy": value.is_buy,
                "price": value.price,
                "size": value.size,
                "expiry": value.expiry,
                "timeInForce": int(value.time_in_force),
                "postOnly": value.post_only,
                "reduceOnly": value.reduce_only,
            }
        case Transfer():
            name, text = "Transfer", TRANSFER_TYPE
            message = {
                "from": value.sender,
                "to": value.recipient,
                "amount": value.amount,
                "nonce": value.nonce,
            }
        case Withdraw():
            name, text = "Withdraw", WITHDRAW_TYPE
            message = {
                "account": value.account,
                "recipient": "0x" + value.recipient.hex(),
                "amount": value.amount,
                "nonce": value.nonce,
            }
        case SetTradingKey():
            name, text = "SetTradingKey", SET_TRADING_KEY_TYPE
            message = {
                "account": value.account,
                "key": "0x" + value.key.hex(),
                "expiry": value.expiry,
                "nonce": value.nonce,
            }
        case Liquidate():
            name, text = "Liquidate", LIQUIDATE_TYPE
            message = {
                "account": value.account,
                "target": value.target,
                "share": value.share,
                "reward": value.reward,
                "nonce": value.nonce,
            }
    return to_document(chain_id, inbox, name, text, message)


def to_observation_typed_data(
    chain_id: int, inbox: str, market: MarketId, observation: Observation
) -> dict[str, Any]:
    """Return the EIP-712 document of a committee member's price."""
    message = {"market": market, "price": observation.price, "time": observation.time}
    return to_document(chain_id, inbox, "Observation", OBSERVATION_TYPE, message)


def to_surface_typed_data(chain_id: int, inbox: str, surface: Surface) -> dict[str, Any]:
    """Return the EIP-712 document of a surface: the same for every committee member."""
    message = {
        "market": surface.market,
        "ratio": surface.ratio,
        "rate": surface.rate,
        "a": surface.a,
        "b": surface.b,
        "rho": surface.rho,
        "m": surface.m,
        "sigma": surface.sigma,
        "time": surface.time,
    }
    return to_document(chain_id, inbox, "Surface", SURFACE_TYPE, message)


def to_document(
    chain_id: int, inbox: str, name: str, text: str, message: dict[str, Any]
) -> dict[str, Any]:
    """Return the EIP-712 document of a message.

    Parameters
    ----------
    name
        Of the message's type.
    text
        Its encoded type, as it is hashed.
    """
    fields = text[len(name) + 1 : -1].split(",")
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            name: [{"name": field.split(" ")[1], "type": field.split(" ")[0]} for field in fields],
        },
        "primaryType": name,
        "domain": {
            "name": "Deltaroll",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": inbox,
        },
        "message": message,
    }
