"""Opens an escape's witness without L1: the accounts and series in it, and the state they are of.

Reads what `deltaroll.protocol.witness.encode_witness` writes, as far as an escape needs it: no
queue message, no exit, no order slot.
"""

from dataclasses import dataclass

from deltaroll.protocol.books import compute_equity_of
from deltaroll.protocol.constants import ACCOUNT_DEPTH, MARKET_DEPTH
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.leaf import (
    ACCOUNT_HEAD_BYTES,
    POSITION_BYTES,
    decode_account,
    decode_market,
    encode_account,
    encode_globals,
    encode_market,
    hash_leaf,
)
from deltaroll.protocol.state import EMPTY_GLOBALS
from deltaroll.protocol.tree import compute_root_from_multiproof
from deltaroll.protocol.types import Account, MarketLeaf, Series
from deltaroll.protocol.witness import EMPTY_ACCOUNT

GLOBALS_BYTES = len(encode_globals(EMPTY_GLOBALS))
ACCOUNTS_ROOT_AT, MARKETS_ROOT_AT = 2, 34
HASH_BYTES = 32


class WitnessError(Exception):
    """The bytes are no witness of an escape."""


@dataclass(frozen=True, slots=True)
class OpenedState:
    """What a witness shows."""

    state_root: bytes
    accounts: dict[int, Account]
    markets: dict[int, MarketLeaf]

    def compute_equity(self, account_id: int) -> int:
        """Return an account's equity at the marks of the state, collateral units.

        Raises
        ------
        WitnessError
            When a series that it holds is not opened.
        """
        account = self.accounts[account_id]
        equity = account.cash
        for position in account.positions:
            series = self.markets.get(position.series)
            if not isinstance(series, Series):
                raise WitnessError(f"series {position.series} is not opened")
            equity += compute_equity_of(position.size, position.snapshot, series)
        return equity


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise WitnessError(f"ends after {len(self.data)} bytes, {self.at + count} are needed")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def siblings(self) -> list[bytes]:
        return [self.take(HASH_BYTES) for _ in range(self.number(2))]


def open_witness(witness: bytes) -> OpenedState:
    """Return what an escape's witness shows, every root in it checked.

    Raises
    ------
    WitnessError
        When it is cut short, is of something else, or does not fit its own roots.
    """
    reader = _Reader(witness)
    encoding = reader.take(GLOBALS_BYTES)
    if reader.number(1) or reader.number(1):
        raise WitnessError("opens exits or messages: this is no escape's")
    accounts, account_leaves = _read_accounts(reader)
    _check_root(reader, "accounts", encoding, ACCOUNTS_ROOT_AT, account_leaves, ACCOUNT_DEPTH)
    markets, market_leaves = _read_markets(reader)
    _check_root(reader, "markets", encoding, MARKETS_ROOT_AT, market_leaves, MARKET_DEPTH)
    if reader.at != len(witness):
        raise WitnessError(f"{len(witness) - reader.at} bytes are left over")
    return OpenedState(keccak(encoding), accounts, markets)


def _read_accounts(reader: _Reader) -> tuple[dict[int, Account], dict[int, bytes]]:
    accounts: dict[int, Account] = {}
    leaves: dict[int, bytes] = {}
    for _ in range(reader.number(2)):
        key, count = reader.number(3), reader.number(1)
        if count == EMPTY_ACCOUNT:
            leaves[key] = ZERO_HASH
        else:
            encoding = reader.take(ACCOUNT_HEAD_BYTES + count * POSITION_BYTES)
            if encoding[ACCOUNT_HEAD_BYTES - 1] != count:
                raise WitnessError(f"account {key}: another number of positions than said")
            account, slot_root = decode_account(encoding)
            if encode_account(account, slot_root) != encoding:
                raise WitnessError(f"account {key}: no account's leaf")
            accounts[key] = account
            leaves[key] = hash_leaf(encoding)
        if reader.number(1):
            raise WitnessError(f"account {key}: opens order slots: this is no escape's")
    return accounts, leaves


def _read_markets(reader: _Reader) -> tuple[dict[int, MarketLeaf], dict[int, bytes]]:
    markets: dict[int, MarketLeaf] = {}
    leaves: dict[int, bytes] = {}
    for _ in range(reader.number(2)):
        key, length = reader.number(2), reader.number(2)
        encoding = reader.take(length)
        leaves[key] = hash_leaf(encoding) if encoding else ZERO_HASH
        if not encoding:
            continue
        try:
            leaf = decode_market(encoding)
        except (ValueError, IndexError) as problem:
            raise WitnessError(f"market {key}: {problem}") from problem
        if encode_market(leaf) != encoding:
            raise WitnessError(f"market {key}: no market's leaf")
        markets[key] = leaf
    return markets, leaves


def _check_root(
    reader: _Reader, name: str, encoding: bytes, at: int, leaves: dict[int, bytes], depth: int
) -> None:
    if not leaves:
        return
    keys = list(leaves)
    if keys != sorted(keys) or keys[-1] >= 1 << depth:
        raise WitnessError(f"{name}: ids do not ascend within the tree")
    siblings = reader.siblings()
    try:
        root = compute_root_from_multiproof(keys, list(leaves.values()), siblings, depth)
    except ValueError as problem:
        raise WitnessError(f"{name}: {problem}") from problem
    if root != encoding[at : at + HASH_BYTES]:
        raise WitnessError(f"{name}: do not lead to the root in the globals")
