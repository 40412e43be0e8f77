"""EIP-712 digests of everything that users and oracle members sign.

Domain: name "Deltaroll", version "1", chain id, the inbox as verifying contract. The texts of the
types are what a wallet shows; https://eips.ethereum.org/EIPS/eip-712.
"""

from deltaroll.protocol.hashing import keccak
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

DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
ORDER_TYPE = (
    "Order(uint32 account,uint16 slot,uint32 nonce,uint32 epoch,uint16 market,bool isBuy,"
    "uint64 price,uint32 size,uint40 expiry,uint8 timeInForce,bool postOnly,bool reduceOnly)"
)
TRANSFER_TYPE = "Transfer(uint32 from,uint32 to,uint128 amount,uint64 nonce)"
WITHDRAW_TYPE = "Withdraw(uint32 account,address recipient,uint128 amount,uint64 nonce)"
SET_TRADING_KEY_TYPE = "SetTradingKey(uint32 account,address key,uint40 expiry,uint64 nonce)"
OBSERVATION_TYPE = "Observation(uint16 market,uint64 price,uint40 time)"
SURFACE_TYPE = (
    "Surface(uint16 market,uint64 ratio,int64 rate,int64 a,int64 b,int64 rho,int64 m,int64 sigma,"
    "uint40 time)"
)
LIQUIDATE_TYPE = "Liquidate(uint32 account,uint32 target,uint32 share,uint32 reward,uint64 nonce)"

_DOMAIN_HASH = keccak(DOMAIN_TYPE.encode())
_ORDER_HASH = keccak(ORDER_TYPE.encode())
_TRANSFER_HASH = keccak(TRANSFER_TYPE.encode())
_WITHDRAW_HASH = keccak(WITHDRAW_TYPE.encode())
_SET_TRADING_KEY_HASH = keccak(SET_TRADING_KEY_TYPE.encode())
_OBSERVATION_HASH = keccak(OBSERVATION_TYPE.encode())
_SURFACE_HASH = keccak(SURFACE_TYPE.encode())
_LIQUIDATE_HASH = keccak(LIQUIDATE_TYPE.encode())
_NAME_HASH = keccak(b"Deltaroll")
_VERSION_HASH = keccak(b"1")
_ADDRESS_PAD = bytes(12)


def compute_domain_separator(chain_id: int, inbox: Address) -> bytes:
    """Return the domain separator of a deployment."""
    return keccak(
        b"".join(
            (
                _DOMAIN_HASH,
                _NAME_HASH,
                _VERSION_HASH,
                chain_id.to_bytes(32, "big"),
                _ADDRESS_PAD,
                inbox,
            )
        )
    )


def compute_digest(domain: bytes, struct_hash: bytes) -> bytes:
    """Return what is signed: 0x1901, domain separator, struct hash."""
    return keccak(b"\x19\x01" + domain + struct_hash)


def hash_order(account: AccountId, slot: SlotId, order: Order) -> bytes:
    """Return the struct hash of an order."""
    return keccak(
        b"".join(
            (
                _ORDER_HASH,
                account.to_bytes(32, "big"),
                slot.to_bytes(32, "big"),
                order.nonce.to_bytes(32, "big"),
                order.epoch.to_bytes(32, "big"),
                order.market.to_bytes(32, "big"),
                order.is_buy.to_bytes(32, "big"),
                order.price.to_bytes(32, "big"),
                order.size.to_bytes(32, "big"),
                order.expiry.to_bytes(32, "big"),
                order.time_in_force.to_bytes(32, "big"),
                order.post_only.to_bytes(32, "big"),
                order.reduce_only.to_bytes(32, "big"),
            )
        )
    )


def hash_transfer(transfer: Transfer) -> bytes:
    """Return the struct hash of a transfer."""
    return keccak(
        b"".join(
            (
                _TRANSFER_HASH,
                transfer.sender.to_bytes(32, "big"),
                transfer.recipient.to_bytes(32, "big"),
                transfer.amount.to_bytes(32, "big"),
                transfer.nonce.to_bytes(32, "big"),
            )
        )
    )


def hash_withdraw(withdraw: Withdraw) -> bytes:
    """Return the struct hash of a withdrawal."""
    return keccak(
        b"".join(
            (
                _WITHDRAW_HASH,
                withdraw.account.to_bytes(32, "big"),
                _ADDRESS_PAD,
                withdraw.recipient,
                withdraw.amount.to_bytes(32, "big"),
                withdraw.nonce.to_bytes(32, "big"),
            )
        )
    )


def hash_set_trading_key(change: SetTradingKey) -> bytes:
    """Return the struct hash of a change of trading key."""
    return keccak(
        b"".join(
            (
                _SET_TRADING_KEY_HASH,
                change.account.to_bytes(32, "big"),
                _ADDRESS_PAD,
                change.key,
                change.expiry.to_bytes(32, "big"),
                change.nonce.to_bytes(32, "big"),
            )
        )
    )


def hash_observation(market: MarketId, observation: Observation) -> bytes:
    """Return the struct hash of a committee member's price."""
    return keccak(
        b"".join(
            (
                _OBSERVATION_HASH,
                market.to_bytes(32, "big"),
                observation.price.to_bytes(32, "big"),
                observation.time.to_bytes(32, "big"),
            )
        )
    )


def hash_surface(surface: Surface) -> bytes:
    """Return the struct hash of a volatility surface, the same for every member."""
    return keccak(
        b"".join(
            (
                _SURFACE_HASH,
                surface.market.to_bytes(32, "big"),
                surface.ratio.to_bytes(32, "big"),
                surface.rate.to_bytes(32, "big", signed=True),
                surface.a.to_bytes(32, "big", signed=True),
                surface.b.to_bytes(32, "big", signed=True),
                surface.rho.to_bytes(32, "big", signed=True),
                surface.m.to_bytes(32, "big", signed=True),
                surface.sigma.to_bytes(32, "big", signed=True),
                surface.time.to_bytes(32, "big"),
            )
        )
    )


def hash_liquidate(liquidate: Liquidate) -> bytes:
    """Return the struct hash of a liquidation."""
    return keccak(
        b"".join(
            (
                _LIQUIDATE_HASH,
                liquidate.account.to_bytes(32, "big"),
                liquidate.target.to_bytes(32, "big"),
                liquidate.share.to_bytes(32, "big"),
                liquidate.reward.to_bytes(32, "big"),
                liquidate.nonce.to_bytes(32, "big"),
            )
        )
    )
