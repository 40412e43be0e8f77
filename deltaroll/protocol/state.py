"""The state: leaves, their trees, an undo journal, and the meter that keeps every chunk provable.

`get_` notes each leaf that a chunk touches: that set is the chunk's witness, and its size is what
the meter charges. Leaves are immutable values; `set_` replaces them. The Solidity twin works on the
leaves of a witness instead of the whole state, under the same names.
"""

from dataclasses import replace

from deltaroll.protocol.constants import (
    ACCOUNT_DEPTH,
    EXIT_DEPTH,
    LANE_BITS,
    MARKET_DEPTH,
    MAX_CHUNK_GAS,
    MAX_CHUNK_WITNESS,
    MAX_MESSAGE_GAS,
    MAX_MESSAGE_WITNESS,
    SLOT_DEPTH,
    WEIGHT_ACCOUNT_GAS,
    WEIGHT_BYTE_GAS,
    WEIGHT_EXIT_GAS,
    WEIGHT_HASH_GAS,
    WEIGHT_HOLDER_BYTES,
    WEIGHT_MARKET_GAS,
    WEIGHT_MARKET_WORD_GAS,
    WEIGHT_MESSAGE_GAS,
    WEIGHT_MODULE_GAS,
    WEIGHT_MODULE_TRANSACTION_GAS,
    WEIGHT_POSITION_GAS,
    WEIGHT_SLOT_GAS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import ZERO_HASH
from deltaroll.protocol.leaf import (
    ACCOUNT_HEAD_BYTES,
    COMMITTEE_HEAD_BYTES,
    EXPIRY_BYTES,
    GRID_HEAD_BYTES,
    POSITION_BYTES,
    RISK_BYTES,
    SCENARIO_BYTES,
    SERIES_HEAD_BYTES,
    SLOT_BYTES,
    UNDERLYING_BYTES,
    encode_account,
    encode_exit,
    encode_market,
    encode_slot,
    hash_globals,
    hash_leaf,
)
from deltaroll.protocol.tree import MerkleTree
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Committee,
    Exit,
    Expiry,
    Globals,
    Grid,
    MarketId,
    MarketLeaf,
    Message,
    Series,
    Slot,
    SlotId,
    Timestamp,
    Underlying,
)

INT64_BOUND = 1 << 63
INT128_BOUND = 1 << 127
MESSAGE_HEAD_BYTES = 31
"""Kind, sender, time and body length of a message in a witness."""
UINT32_BOUND = 1 << 32
UINT64_BOUND = 1 << 64
UINT128_BOUND = 1 << 128

EMPTY_GLOBALS = Globals(
    accounts_root=ZERO_HASH,
    markets_root=ZERO_HASH,
    exits_root=ZERO_HASH,
    account_count=0,
    exit_count=0,
    clock=Timestamp(0),
    queue_index=0,
    insurance=0,
    insurance_peak=0,
    fee_pool=0,
    deposited=0,
    withdrawn=0,
    skipped=0,
    base_fee_level=0,
    blob_fee_level=0,
    data_fee=0,
)
"""The genesis state."""


_Undo = tuple[dict[int, object], int, object, AccountId | None]
"""A map, a key, what it held before (None: nothing), and the account when the map holds its
slots.
"""


class Meter:
    """Weight of the chunk so far: gas and bytes that its proof may need at most."""

    __slots__ = (
        "accounts",
        "exits",
        "gas",
        "markets",
        "max_gas",
        "max_witness",
        "messages",
        "slots",
        "slots_of",
        "transactions",
        "witness",
    )

    def __init__(self) -> None:
        self.gas = 0
        self.witness = 0
        self.transactions = 0
        """Of the chunk, before the current one."""
        self.max_gas = MAX_CHUNK_GAS
        self.max_witness = MAX_CHUNK_WITNESS
        self.accounts: set[AccountId] = set()
        self.markets: set[MarketId] = set()
        self.slots: set[tuple[AccountId, SlotId]] = set()
        self.slots_of: dict[AccountId, int] = {}
        self.exits = 0
        self.messages = 0


class State:
    """The whole rollup state, with an undo journal.

    `messages` is the part of the L1 queue that the caller has seen, by index; not state, but an
    input. `globals` has roots as of the last `compute_state_root`; everything else in it is
    current.
    """

    __slots__ = (
        "_account_tree",
        "_dirty_accounts",
        "_dirty_exits",
        "_dirty_markets",
        "_dirty_slots",
        "_exit_tree",
        "_journal",
        "_lanes",
        "_market_tree",
        "_marks",
        "_slot_trees",
        "accounts",
        "exits",
        "globals",
        "markets",
        "messages",
        "meter",
        "slots",
    )

    def __init__(self) -> None:
        self.globals = EMPTY_GLOBALS
        self.accounts: dict[AccountId, Account] = {}
        self.slots: dict[AccountId, dict[SlotId, Slot]] = {}
        self.markets: dict[MarketId, MarketLeaf] = {}
        self.exits: list[Exit] = []
        self.messages: dict[int, Message] = {}
        self.meter = Meter()
        self._lanes: dict[MarketId, tuple[tuple[int, ...], int]] = {}
        self._journal: list[_Undo] = []
        self._marks: list[tuple[int, Globals]] = []
        self._account_tree = MerkleTree(ACCOUNT_DEPTH)
        self._market_tree = MerkleTree(MARKET_DEPTH)
        self._exit_tree = MerkleTree(EXIT_DEPTH)
        self._slot_trees: dict[AccountId, MerkleTree] = {}
        self._dirty_accounts: set[AccountId] = set()
        self._dirty_markets: set[MarketId] = set()
        self._dirty_slots: set[tuple[AccountId, SlotId]] = set()
        self._dirty_exits: set[int] = set()

    def begin(self) -> None:
        """Start a group of changes that `rollback` can undo; groups nest."""
        self._marks.append((len(self._journal), self.globals))

    def commit(self) -> None:
        """Keep the changes since the last `begin`."""
        self._marks.pop()
        if not self._marks:
            self._journal.clear()

    def forget(self, groups: int) -> None:
        """Keep the changes of the oldest open groups: they can be undone no more."""
        mark = self._marks[groups][0] if groups < len(self._marks) else len(self._journal)
        del self._journal[:mark]
        self._marks = [(start - mark, kept) for start, kept in self._marks[groups:]]

    def note_changes(self, accounts: set[AccountId], markets: set[MarketId]) -> None:
        """Add the ids of the leaves written since the last `begin`."""
        leaves = self.accounts
        for table, key, _, slots_of in self._journal[self._marks[-1][0] :]:
            if table is leaves:
                accounts.add(AccountId(key))
            elif slots_of is None:
                markets.add(MarketId(key))

    def get_accounts_before(self) -> "dict[AccountId, Account | None]":
        """Return the accounts written since the last `begin`, as they were then."""
        leaves = self.accounts
        found: dict[AccountId, Account | None] = {}
        for table, key, before, _ in self._journal[self._marks[-1][0] :]:
            if table is leaves:
                assert before is None or isinstance(before, Account)
                found.setdefault(AccountId(key), before)
        return found

    def get_account_branch(self, index: int) -> list[bytes]:
        """Return the siblings of an account from the bottom up, as of the last root computed."""
        return self._account_tree.get_branch(index)

    def get_exit_branch(self, index: int) -> list[bytes]:
        """Return the siblings of an exit from the bottom up, as of the last root computed."""
        return self._exit_tree.get_branch(index)

    def rollback(self) -> None:
        """Undo the changes since the last `begin`."""
        mark, self.globals = self._marks.pop()
        while len(self._journal) > mark:
            table, key, before, slots_of = self._journal.pop()
            if before is None:
                del table[key]
            else:
                table[key] = before
            # A root may have been computed inside the group: what it hashed is stale now.
            if slots_of is not None:
                self._dirty_slots.add((slots_of, SlotId(key)))
            elif table is self.accounts:
                self._dirty_accounts.add(AccountId(key))
            else:
                self._dirty_markets.add(MarketId(key))
        self._dirty_exits.update(range(self.globals.exit_count, len(self.exits)))
        del self.exits[self.globals.exit_count :]

    def copy_before(self, groups: int) -> "State":
        """Return the state as it was before the last `groups` open groups of changes, on its own.

        The copy has no journal, and hashes everything with its first `compute_state_root`.
        """
        copy = State()
        copy.accounts = dict(self.accounts)
        copy.slots = {account: dict(slots) for account, slots in self.slots.items()}
        copy.markets = dict(self.markets)
        copy.messages = self.messages
        copy.globals = self.globals
        mark = len(self._journal)
        if groups:
            mark, copy.globals = self._marks[-groups]
        for table, key, before, slots_of in reversed(self._journal[mark:]):
            if slots_of is not None:
                mirror: dict[int, object] = copy.slots[slots_of]  # type: ignore[assignment]
            elif table is self.accounts:
                mirror = copy.accounts  # type: ignore[assignment]
            else:
                mirror = copy.markets  # type: ignore[assignment]
            if before is None:
                del mirror[key]
            else:
                mirror[key] = before
        copy.exits = self.exits[: copy.globals.exit_count]
        copy._dirty_accounts.update(copy.accounts)
        copy._dirty_markets.update(copy.markets)
        copy._dirty_exits.update(range(len(copy.exits)))
        copy._dirty_slots.update(
            (account, slot) for account, slots in copy.slots.items() for slot in slots
        )
        return copy

    def _write(
        self, table: dict[int, object], key: int, value: object, slots_of: AccountId | None = None
    ) -> None:
        if self._marks:
            self._journal.append((table, key, table.get(key), slots_of))
        table[key] = value


def reset_meter(state: State) -> None:
    """Start a chunk: nothing touched, nothing weighed."""
    state.meter = Meter()


def charge(state: State, gas: int, witness: int) -> None:
    """Add to the chunk's weight; every witness byte also costs calldata gas.

    Raises
    ------
    TransitionFault
        OVERWEIGHT when the chunk could no longer be proven within the bounds.
    """
    meter = state.meter
    meter.gas += gas + witness * WEIGHT_BYTE_GAS
    meter.witness += witness
    if meter.gas > meter.max_gas or meter.witness > meter.max_witness:
        raise TransitionFault(Fault.OVERWEIGHT)


def charge_module(state: State, gas: int) -> None:
    """Charge for `gas` and for handing the chunk's memory to another contract. Every transaction
    before leaves something in it.

    Raises
    ------
    TransitionFault
        OVERWEIGHT.
    """
    before = state.meter.transactions * WEIGHT_MODULE_TRANSACTION_GAS
    charge(state, WEIGHT_MODULE_GAS + before + gas, 0)


def limit_message(state: State) -> bool:
    """Hold what comes to the weight of one message, until `unlimit_message`.

    Returns
    -------
    bool
        Whether the chunk has room for such a message; where its data is too long for that, the
        chunk's own limits stay.
    """
    meter = state.meter
    max_gas = meter.gas + MAX_MESSAGE_GAS
    max_witness = meter.witness + MAX_MESSAGE_WITNESS
    if max_gas > MAX_CHUNK_GAS or max_witness > MAX_CHUNK_WITNESS:
        return False
    meter.max_gas = max_gas
    meter.max_witness = max_witness
    return True


def unlimit_message(state: State) -> None:
    """Hold what comes to the weight of a chunk again."""
    state.meter.max_gas = MAX_CHUNK_GAS
    state.meter.max_witness = MAX_CHUNK_WITNESS


def charge_leaf(state: State, gas: int, size: int, depth: int, ordinal: int) -> None:
    """Charge the `ordinal`-th distinct leaf (from 1) of a tree: its bytes and its new siblings.

    The k-th leaf of a multiproof adds at most depth - floor(log2 k) siblings, because the shallow
    levels are shared by then.
    """
    siblings = depth - (ordinal.bit_length() - 1)
    charge(
        state,
        gas + siblings * WEIGHT_HASH_GAS,
        size + siblings * 32 + WEIGHT_HOLDER_BYTES,
    )


def touch_account(state: State, account_id: AccountId) -> Account | None:
    """Return an account's leaf or None, and note that the chunk needs it."""
    account = state.accounts.get(account_id)
    meter = state.meter
    if account_id not in meter.accounts:
        meter.accounts.add(account_id)
        count = 0 if account is None else len(account.positions)
        charge_leaf(
            state,
            WEIGHT_ACCOUNT_GAS + count * WEIGHT_POSITION_GAS,
            ACCOUNT_HEAD_BYTES + count * POSITION_BYTES,
            ACCOUNT_DEPTH,
            len(meter.accounts),
        )
    return account


def get_account(state: State, account_id: AccountId) -> Account:
    """Return an account.

    Raises
    ------
    TransitionFault
        OVERWEIGHT; UNKNOWN_ACCOUNT, also for an id that the tree has no place for (a queue message
        may name one): no witness could open it.
    """
    if account_id >> ACCOUNT_DEPTH != 0:
        raise TransitionFault(Fault.UNKNOWN_ACCOUNT)
    account = touch_account(state, account_id)
    if account is None:
        raise TransitionFault(Fault.UNKNOWN_ACCOUNT)
    return account


def validate_account(account: Account) -> None:
    """Check that every field fits the leaf.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE.
    """
    if not -INT128_BOUND <= account.cash < INT128_BOUND or account.epoch >= UINT32_BOUND:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    for position in account.positions:
        if not -INT64_BOUND <= position.size < INT64_BOUND:
            raise TransitionFault(Fault.OUT_OF_RANGE)


def set_account(state: State, account_id: AccountId, account: Account) -> None:
    """Store an account that `validate_account` has passed."""
    state._write(state.accounts, account_id, account)  # type: ignore[arg-type]
    state._dirty_accounts.add(account_id)


def get_slot(state: State, account_id: AccountId, slot_id: SlotId) -> Slot | None:
    """Return an order slot or None when it was never used; its account is touched already."""
    meter = state.meter
    key = (account_id, slot_id)
    if key not in meter.slots:
        meter.slots.add(key)
        ordinal = meter.slots_of.get(account_id, 0) + 1
        meter.slots_of[account_id] = ordinal
        charge_leaf(state, WEIGHT_SLOT_GAS, SLOT_BYTES, SLOT_DEPTH, ordinal)
    slots = state.slots.get(account_id)
    return None if slots is None else slots.get(slot_id)


def set_slot(state: State, account_id: AccountId, slot_id: SlotId, slot: Slot) -> None:
    """Store an order slot."""
    slots = state.slots.setdefault(account_id, {})
    state._write(slots, slot_id, slot, account_id)  # type: ignore[arg-type]
    state._dirty_slots.add((account_id, slot_id))


def get_market_size(leaf: MarketLeaf | None) -> int:
    """Return the length of a market leaf's encoding, 0 when there is none."""
    match leaf:
        case Series():
            return SERIES_HEAD_BYTES + len(leaf.risk) * RISK_BYTES
        case Underlying():
            return UNDERLYING_BYTES
        case Grid():
            return GRID_HEAD_BYTES + len(leaf.scenarios) * SCENARIO_BYTES
        case Committee():
            return COMMITTEE_HEAD_BYTES + len(leaf.signers) * 20
        case Expiry():
            return EXPIRY_BYTES
        case None:
            return 0


def touch_market(state: State, market_id: MarketId) -> MarketLeaf | None:
    """Return a market leaf of any type or None, and note that the chunk needs it."""
    leaf = state.markets.get(market_id)
    meter = state.meter
    if market_id not in meter.markets:
        meter.markets.add(market_id)
        size = get_market_size(leaf)
        charge_leaf(
            state,
            WEIGHT_MARKET_GAS + (size + 31) // 32 * WEIGHT_MARKET_WORD_GAS,
            size,
            MARKET_DEPTH,
            len(meter.markets),
        )
    return leaf


def get_series(state: State, market_id: MarketId) -> Series:
    """Return a series.

    Raises
    ------
    TransitionFault
        OVERWEIGHT; UNKNOWN_MARKET when the leaf is absent or of another type. So do the four
        below.
    """
    leaf = touch_market(state, market_id)
    if not isinstance(leaf, Series):
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    return leaf


def get_underlying(state: State, market_id: MarketId) -> Underlying:
    """Return an underlying."""
    leaf = touch_market(state, market_id)
    if not isinstance(leaf, Underlying):
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    return leaf


def get_grid(state: State, market_id: MarketId) -> Grid:
    """Return a risk grid."""
    leaf = touch_market(state, market_id)
    if not isinstance(leaf, Grid):
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    return leaf


def get_committee(state: State, market_id: MarketId) -> Committee:
    """Return an oracle committee."""
    leaf = touch_market(state, market_id)
    if not isinstance(leaf, Committee):
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    return leaf


def get_expiry(state: State, market_id: MarketId) -> Expiry:
    """Return an expiry."""
    leaf = touch_market(state, market_id)
    if not isinstance(leaf, Expiry):
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    return leaf


def set_market(state: State, market_id: MarketId, leaf: MarketLeaf) -> None:
    """Store a market leaf."""
    state._write(state.markets, market_id, leaf)  # type: ignore[arg-type]
    state._dirty_markets.add(market_id)


def get_message(state: State, index: int) -> Message:
    """Return a queue message and charge for its place in the witness. KeyError when not seen on L1
    yet.
    """
    message = state.messages[index]
    state.meter.messages += 1
    charge(state, WEIGHT_MESSAGE_GAS, MESSAGE_HEAD_BYTES + len(message.body))
    return message


def get_lanes(state: State, market_id: MarketId, series: Series) -> int:
    """Return the series' risk vector as one integer, scenario i at bit LANE_BITS * i.

    A sum of signed lanes: multiplying by a size and adding vectors works on all scenarios at once.
    """
    cached = state._lanes.get(market_id)
    if cached is not None and cached[0] is series.risk:
        return cached[1]
    lanes = sum(entry << LANE_BITS * index for index, entry in enumerate(series.risk))
    state._lanes[market_id] = (series.risk, lanes)
    return lanes


def process_exit(state: State, leaf: Exit) -> None:
    """Append an exit leaf and count its amount as withdrawn.

    Raises
    ------
    TransitionFault
        OVERWEIGHT; OUT_OF_RANGE when the exit tree is full.
    """
    count = state.globals.exit_count
    if count + 1 >= UINT32_BOUND:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    state.meter.exits += 1
    charge_leaf(state, WEIGHT_EXIT_GAS, 0, EXIT_DEPTH, state.meter.exits)
    state.exits.append(leaf)
    state._dirty_exits.add(count)
    state.globals = replace(
        state.globals,
        exit_count=count + 1,
        withdrawn=state.globals.withdrawn + leaf.amount,
    )


def compute_state_root(state: State) -> bytes:
    """Fold all changes into the trees, refresh the roots in `globals`, return the state root."""
    for account_id, slot_id in state._dirty_slots:
        tree = state._slot_trees.setdefault(account_id, MerkleTree(SLOT_DEPTH))
        slot = state.slots[account_id].get(slot_id)
        tree.update({slot_id: ZERO_HASH if slot is None else hash_leaf(encode_slot(slot))})
        state._dirty_accounts.add(account_id)
    accounts_root = state._account_tree.update(
        {
            account_id: ZERO_HASH
            if (account := state.accounts.get(account_id)) is None
            else hash_leaf(encode_account(account, get_slot_root(state, account_id)))
            for account_id in state._dirty_accounts
        }
    )
    markets_root = state._market_tree.update(
        {
            market_id: ZERO_HASH
            if (leaf := state.markets.get(market_id)) is None
            else hash_leaf(encode_market(leaf))
            for market_id in state._dirty_markets
        }
    )
    exits_root = state._exit_tree.update(
        {
            index: hash_leaf(encode_exit(state.exits[index]))
            if index < len(state.exits)
            else ZERO_HASH
            for index in state._dirty_exits
        }
    )
    state._dirty_slots.clear()
    state._dirty_accounts.clear()
    state._dirty_markets.clear()
    state._dirty_exits.clear()
    state.globals = replace(
        state.globals,
        accounts_root=accounts_root,
        markets_root=markets_root,
        exits_root=exits_root,
    )
    return hash_globals(state.globals)


def get_slot_root(state: State, account_id: AccountId) -> bytes:
    """Return the root of an account's order slots as of the last `compute_state_root`."""
    tree = state._slot_trees.get(account_id)
    return ZERO_HASH if tree is None else tree.root
