"""Leaf encodings: fixed-width big-endian fields behind a tag byte, one form per value."""

from struct import Struct

from deltaroll.protocol.constants import TWAP_DAYS
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import (
    Account,
    Address,
    Committee,
    Exit,
    Expiry,
    Globals,
    Grid,
    MarketId,
    MarketLeaf,
    Order,
    Position,
    RiskModel,
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    Slot,
    TimeInForce,
    Timestamp,
    Underlying,
    UnderlyingParams,
)

ACCOUNT_TAG = 0x41
COMMITTEE_TAG = 0x43
EXIT_TAG = 0x45
GLOBALS_TAG = 0x47
SERIES_TAG = 0x4D
GRID_TAG = 0x52
SLOT_TAG = 0x53
UNDERLYING_TAG = 0x55
EXPIRY_TAG = 0x58
GLOBALS_VERSION = 2

ACCOUNT_HEAD_BYTES = 112
POSITION_BYTES = 26
SLOT_BYTES = 33
SCENARIO_BYTES = 13
GRID_HEAD_BYTES = 180
COMMITTEE_HEAD_BYTES = 3
PARAMS_BYTES = 146
UNDERLYING_BYTES = 239
EXPIRY_BYTES = 106
SERIES_HEAD_BYTES = 84
RISK_BYTES = 8
EXIT_BYTES = 39
GLOBALS_BYTES = 231

_PARAMS = Struct(">HHQ10IiIi14I")
_RULES = Struct(">HQQHBBI")
_MODEL = Struct(">22q")
_PARAMS_COUNT = 30


def hash_leaf(encoding: bytes) -> bytes:
    """Return a leaf's hash: hashed twice, so that its preimage is never 64 bytes long."""
    return keccak(keccak(encoding))


def _unsigned(value: int, width: int) -> bytes:
    if value < 0 or value >> width * 8 != 0:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    return value.to_bytes(width, "big")


def _signed(value: int, width: int) -> bytes:
    bound = 1 << (width * 8 - 1)
    if not -bound <= value < bound:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    return value.to_bytes(width, "big", signed=True)


def encode_account(account: Account, slot_root: bytes) -> bytes:
    """Return the leaf of an account whose order slots have the root `slot_root`."""
    parts = [
        bytes((ACCOUNT_TAG,)),
        account.owner,
        account.trading_key,
        _unsigned(account.key_expiry, 5),
        _unsigned(account.nonce, 8),
        _signed(account.cash, 16),
        _unsigned(account.epoch, 4),
        _unsigned(account.distressed_at, 5),
        slot_root,
        bytes((len(account.positions),)),
    ]
    for position in account.positions:
        parts.append(_unsigned(position.series, 2))
        parts.append(_signed(position.size, 8))
        parts.append(_signed(position.snapshot, 16))
    return b"".join(parts)


def decode_account(encoding: bytes) -> tuple[Account, bytes]:
    """Return the account and its slot root; the mirror of `encode_account`."""
    count = encoding[111]
    positions = tuple(
        Position(
            MarketId(int.from_bytes(encoding[at : at + 2], "big")),
            int.from_bytes(encoding[at + 2 : at + 10], "big", signed=True),
            int.from_bytes(encoding[at + 10 : at + 26], "big", signed=True),
        )
        for at in range(
            ACCOUNT_HEAD_BYTES, ACCOUNT_HEAD_BYTES + count * POSITION_BYTES, POSITION_BYTES
        )
    )
    account = Account(
        Address(encoding[1:21]),
        Address(encoding[21:41]),
        Timestamp(int.from_bytes(encoding[41:46], "big")),
        int.from_bytes(encoding[46:54], "big"),
        int.from_bytes(encoding[54:70], "big", signed=True),
        int.from_bytes(encoding[70:74], "big"),
        Timestamp(int.from_bytes(encoding[74:79], "big")),
        positions,
    )
    return account, encoding[79:111]


def encode_slot(slot: Slot) -> bytes:
    """Return the leaf of an order slot."""
    order = slot.order
    flags = (
        int(order.is_buy)
        | order.time_in_force << 1
        | int(order.post_only) << 3
        | int(order.reduce_only) << 4
    )
    return b"".join(
        (
            bytes((SLOT_TAG,)),
            _unsigned(order.nonce, 4),
            _unsigned(order.epoch, 4),
            _unsigned(order.market, 2),
            bytes((flags,)),
            _unsigned(order.price, 8),
            _unsigned(order.size, 4),
            _unsigned(order.expiry, 5),
            _unsigned(slot.filled, 4),
        )
    )


def decode_slot(encoding: bytes) -> Slot:
    """Return the slot; the mirror of `encode_slot`."""
    flags = encoding[11]
    order = Order(
        MarketId(int.from_bytes(encoding[9:11], "big")),
        flags & 1 == 1,
        int.from_bytes(encoding[12:20], "big"),
        int.from_bytes(encoding[20:24], "big"),
        int.from_bytes(encoding[1:5], "big"),
        int.from_bytes(encoding[5:9], "big"),
        Timestamp(int.from_bytes(encoding[24:29], "big")),
        TimeInForce(flags >> 1 & 3),
        flags >> 3 & 1 == 1,
        flags >> 4 & 1 == 1,
    )
    return Slot(order, int.from_bytes(encoding[29:33], "big"))


def encode_model(model: RiskModel) -> bytes:
    """Return the 176 bytes of a risk model, its fields in their order."""
    return _MODEL.pack(*(getattr(model, name) for name in RiskModel.__slots__))


def decode_model(encoding: bytes) -> RiskModel:
    """Return the risk model; the mirror of `encode_model`."""
    return RiskModel(*_MODEL.unpack(encoding))


def encode_grid(grid: Grid) -> bytes:
    """Return the leaf of a risk grid."""
    parts = [
        bytes((GRID_TAG, len(grid.scenarios), grid.basis_up, grid.basis_down)),
        encode_model(grid.model),
    ]
    for scenario in grid.scenarios:
        parts.append(_signed(scenario.spot_shock, 4))
        parts.append(_signed(scenario.vol_shock, 1))
        parts.append(_unsigned(scenario.weight, 8))
    return b"".join(parts)


def decode_grid(encoding: bytes) -> Grid:
    """Return the grid; the mirror of `encode_grid`."""
    return Grid(
        tuple(
            Scenario(
                int.from_bytes(encoding[at : at + 4], "big", signed=True),
                int.from_bytes(encoding[at + 4 : at + 5], "big", signed=True),
                int.from_bytes(encoding[at + 5 : at + 13], "big"),
            )
            for at in range(GRID_HEAD_BYTES, len(encoding), SCENARIO_BYTES)
        ),
        encoding[2],
        encoding[3],
        decode_model(encoding[4:GRID_HEAD_BYTES]),
    )


def encode_committee(committee: Committee) -> bytes:
    """Return the leaf of an oracle committee."""
    head = bytes((COMMITTEE_TAG, committee.threshold, len(committee.signers)))
    return head + b"".join(committee.signers)


def decode_committee(encoding: bytes) -> Committee:
    """Return the committee; the mirror of `encode_committee`."""
    return Committee(
        encoding[1],
        tuple(
            Address(encoding[at : at + 20]) for at in range(COMMITTEE_HEAD_BYTES, len(encoding), 20)
        ),
    )


def encode_params(params: UnderlyingParams) -> bytes:
    """Return the 146 bytes of governed parameters inside an underlying's leaf and a Configure
    message, its fields in their order.
    """
    values = [getattr(params, name) for name in UnderlyingParams.__slots__]
    return _PARAMS.pack(*values[:_PARAMS_COUNT]) + _RULES.pack(*values[_PARAMS_COUNT:])


def decode_params(encoding: bytes) -> UnderlyingParams:
    """Return the parameters; the mirror of `encode_params`."""
    head = _PARAMS.unpack(encoding[: _PARAMS.size])
    return UnderlyingParams(*head, *_RULES.unpack(encoding[_PARAMS.size :]))


def encode_underlying(underlying: Underlying) -> bytes:
    """Return the leaf of an underlying."""
    return b"".join(
        (
            bytes((UNDERLYING_TAG,)),
            encode_params(underlying.params),
            _unsigned(underlying.index, 8),
            _unsigned(underlying.observed_at, 5),
            _unsigned(underlying.pending_index, 8),
            _unsigned(underlying.halted_until, 5),
            _unsigned(underlying.variance, 8),
            _unsigned(underlying.multiplier, 4),
            _unsigned(underlying.window_sum, 16),
            _unsigned(underlying.window_seconds, 2),
            _unsigned(underlying.day, 4),
            *(_unsigned(twap, 8) for twap in underlying.twaps),
        )
    )


def decode_underlying(encoding: bytes) -> Underlying:
    """Return the underlying; the mirror of `encode_underlying`."""
    return Underlying(
        decode_params(encoding[1:147]),
        int.from_bytes(encoding[147:155], "big"),
        Timestamp(int.from_bytes(encoding[155:160], "big")),
        int.from_bytes(encoding[160:168], "big"),
        Timestamp(int.from_bytes(encoding[168:173], "big")),
        int.from_bytes(encoding[173:181], "big"),
        int.from_bytes(encoding[181:185], "big"),
        int.from_bytes(encoding[185:201], "big"),
        int.from_bytes(encoding[201:203], "big"),
        int.from_bytes(encoding[203:207], "big"),
        tuple(
            int.from_bytes(encoding[at : at + 8], "big")
            for at in range(207, 207 + 8 * TWAP_DAYS, 8)
        ),
    )


def encode_expiry(expiry: Expiry) -> bytes:
    """Return the leaf of an expiry."""
    return b"".join(
        (
            bytes((EXPIRY_TAG,)),
            _unsigned(expiry.underlying, 2),
            _unsigned(expiry.time, 5),
            _unsigned(expiry.ratio, 8),
            _signed(expiry.rate, 8),
            _signed(expiry.a, 8),
            _signed(expiry.b, 8),
            _signed(expiry.rho, 8),
            _signed(expiry.m, 8),
            _signed(expiry.sigma, 8),
            _unsigned(expiry.surfaced_at, 5),
            _unsigned(expiry.settlement, 8),
            _unsigned(expiry.long_discount, 8),
            _unsigned(expiry.short_discount, 8),
            _unsigned(expiry.basis_factor, 8),
            _unsigned(expiry.priced_at, 5),
        )
    )


def decode_expiry(encoding: bytes) -> Expiry:
    """Return the expiry; the mirror of `encode_expiry`."""
    return Expiry(
        MarketId(int.from_bytes(encoding[1:3], "big")),
        Timestamp(int.from_bytes(encoding[3:8], "big")),
        int.from_bytes(encoding[8:16], "big"),
        int.from_bytes(encoding[16:24], "big", signed=True),
        int.from_bytes(encoding[24:32], "big", signed=True),
        int.from_bytes(encoding[32:40], "big", signed=True),
        int.from_bytes(encoding[40:48], "big", signed=True),
        int.from_bytes(encoding[48:56], "big", signed=True),
        int.from_bytes(encoding[56:64], "big", signed=True),
        Timestamp(int.from_bytes(encoding[64:69], "big")),
        int.from_bytes(encoding[69:77], "big"),
        int.from_bytes(encoding[77:85], "big"),
        int.from_bytes(encoding[85:93], "big"),
        int.from_bytes(encoding[93:101], "big"),
        Timestamp(int.from_bytes(encoding[101:106], "big")),
    )


def encode_series(series: Series) -> bytes:
    """Return the leaf of a series."""
    parts = [
        bytes((SERIES_TAG, series.kind, series.status)),
        _unsigned(series.underlying, 2),
        _unsigned(series.expiry, 2),
        _unsigned(series.strike, 8),
        _unsigned(series.mark, 8),
        _unsigned(series.mark_index, 8),
        _unsigned(series.marked_at, 5),
        _signed(series.carry_long, 16),
        _signed(series.carry_short, 16),
        _unsigned(series.accrued_at, 5),
        _unsigned(series.funding_remainder, 2),
        _unsigned(series.open_interest, 8),
        bytes((len(series.risk),)),
    ]
    parts.extend(_signed(entry, RISK_BYTES) for entry in series.risk)
    return b"".join(parts)


def decode_series(encoding: bytes) -> Series:
    """Return the series; the mirror of `encode_series`."""
    return Series(
        SeriesKind(encoding[1]),
        SeriesStatus(encoding[2]),
        MarketId(int.from_bytes(encoding[3:5], "big")),
        MarketId(int.from_bytes(encoding[5:7], "big")),
        int.from_bytes(encoding[7:15], "big"),
        int.from_bytes(encoding[15:23], "big"),
        int.from_bytes(encoding[23:31], "big"),
        Timestamp(int.from_bytes(encoding[31:36], "big")),
        int.from_bytes(encoding[36:52], "big", signed=True),
        int.from_bytes(encoding[52:68], "big", signed=True),
        Timestamp(int.from_bytes(encoding[68:73], "big")),
        int.from_bytes(encoding[73:75], "big"),
        int.from_bytes(encoding[75:83], "big"),
        tuple(
            int.from_bytes(encoding[at : at + RISK_BYTES], "big", signed=True)
            for at in range(SERIES_HEAD_BYTES, len(encoding), RISK_BYTES)
        ),
    )


def encode_market(leaf: MarketLeaf) -> bytes:
    """Return the leaf of a market of any type."""
    match leaf:
        case Series():
            return encode_series(leaf)
        case Underlying():
            return encode_underlying(leaf)
        case Grid():
            return encode_grid(leaf)
        case Committee():
            return encode_committee(leaf)
        case Expiry():
            return encode_expiry(leaf)


def decode_market(encoding: bytes) -> MarketLeaf:
    """Return the market; the mirror of `encode_market`. ValueError for an unknown tag."""
    match encoding[0]:
        case 0x4D:
            return decode_series(encoding)
        case 0x55:
            return decode_underlying(encoding)
        case 0x52:
            return decode_grid(encoding)
        case 0x43:
            return decode_committee(encoding)
        case 0x58:
            return decode_expiry(encoding)
        case tag:
            raise ValueError(f"market leaf: unknown tag {tag:#x}")


def encode_exit(leaf: Exit) -> bytes:
    """Return the leaf of an exit."""
    return b"".join(
        (
            bytes((EXIT_TAG,)),
            _unsigned(leaf.asset, 2),
            leaf.recipient,
            _unsigned(leaf.amount, 16),
        )
    )


def encode_globals(state: Globals) -> bytes:
    """Return the preimage of a state root."""
    return b"".join(
        (
            bytes((GLOBALS_TAG, GLOBALS_VERSION)),
            state.accounts_root,
            state.markets_root,
            state.exits_root,
            _unsigned(state.account_count, 4),
            _unsigned(state.exit_count, 4),
            _unsigned(state.clock, 5),
            _unsigned(state.queue_index, 8),
            _unsigned(state.insurance, 16),
            _unsigned(state.insurance_peak, 16),
            _unsigned(state.fee_pool, 16),
            _unsigned(state.deposited, 16),
            _unsigned(state.withdrawn, 16),
            _unsigned(state.skipped, 8),
            _unsigned(state.base_fee_level, 8),
            _unsigned(state.blob_fee_level, 8),
            _unsigned(state.data_fee, 8),
        )
    )


def hash_globals(state: Globals) -> bytes:
    """Return the state root."""
    return keccak(encode_globals(state))
