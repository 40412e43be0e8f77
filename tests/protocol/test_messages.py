"""Messages from L1 that single tests are about; the rest is in random chunks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deltaroll.protocol.actions import COLLATERAL
from deltaroll.protocol.bits import BitWriter, encode_bits, encode_number
from deltaroll.protocol.codec import CLOCK_BITS, TABLE_BITS, encode_chunk
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.messages import MAX_ACCOUNTS, decode_forced, process_cancel_all
from deltaroll.protocol.state import set_account
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    DataFee,
    Exit,
    Mark,
    MarketId,
    MessageKind,
    Queue,
    Timestamp,
    Transaction,
)
from tests.protocol.money import owner_of
from tests.protocol.scenes import START, context_of, create_scene, materialise
from tests.protocol.strategies import Case
from tests.protocol.test_force_close import HOLDER, make_state
from tests.protocol.verifiers import Tally, compare


def test_process_cancel_all__body_of_an_account__raises_its_epoch_by_one() -> None:
    state = make_state()
    epoch = state.accounts[HOLDER].epoch
    process_cancel_all(state, owner_of(HOLDER), HOLDER.to_bytes(4, "big"))
    assert state.accounts[HOLDER].epoch == epoch + 1


@pytest.mark.parametrize("width", [0, 3, 5, 8])
def test_process_cancel_all__body_of_another_length__is_not_canonical(width: int) -> None:
    """The number in it may be an account's all the same."""
    state = make_state()
    body = HOLDER.to_bytes(width, "big") if width else b""
    before = state.accounts[HOLDER]
    with pytest.raises(TransitionFault) as caught:
        process_cancel_all(state, owner_of(HOLDER), body)
    assert caught.value.fault == Fault.NON_CANONICAL
    assert state.accounts[HOLDER] == before


def test_process_cancel_all__last_epoch__out_of_range() -> None:
    state = make_state()
    body = HOLDER.to_bytes(4, "big")
    account = replace(state.accounts[HOLDER], epoch=(1 << 31) - 1)
    set_account(state, HOLDER, account)
    with pytest.raises(TransitionFault) as caught:
        process_cancel_all(state, owner_of(HOLDER), body)
    assert caught.value.fault == Fault.OUT_OF_RANGE
    assert state.accounts[HOLDER] == account
    set_account(state, HOLDER, replace(account, epoch=(1 << 31) - 2))
    process_cancel_all(state, owner_of(HOLDER), body)
    assert state.accounts[HOLDER].epoch == (1 << 31) - 1


# Deposits


@pytest.mark.parametrize(
    ("account", "credited"),
    [(0, None), (MAX_ACCOUNTS + 1, None), (3, 3)],
)
def test_process_deposit__tree_is_full__a_new_owner_gets_the_money_back(
    account: int, credited: int | None
) -> None:
    """As an exit, at once; an account that exists is credited as ever."""
    scene = create_scene(4, 0, 1)
    state = scene.state
    # Of the others only the count is known.
    state.globals = replace(state.globals, account_count=MAX_ACCOUNTS)
    target = scene.accounts[credited] if credited is not None else AccountId(account)
    owner, amount = owner_of(3), 123_456
    body = bytes(owner) + target.to_bytes(4, "big") + amount.to_bytes(16, "big")
    transactions = materialise(scene, iter([(MessageKind.DEPOSIT, ZERO_ADDRESS, body)]))
    data = encode_chunk(Timestamp(START), transactions)
    context = context_of(state, state.globals.queue_index + 1)
    assert compare(Case(state, data, context, 1, keccak(b"queue")), Tally()).fault == Fault.NONE
    before, exits = state.globals, len(state.exits)
    cash = state.accounts[target].cash if credited is not None else 0
    process_chunk(state, data, context)
    after = state.globals
    assert after.deposited == before.deposited + amount
    assert (after.skipped, after.account_count) == (before.skipped, MAX_ACCOUNTS)
    if credited is None:
        assert state.exits[exits:] == [Exit(COLLATERAL, owner, amount)]
        assert after.withdrawn == before.withdrawn + amount
        assert target not in state.accounts
    else:
        assert state.exits[exits:] == []
        assert state.accounts[target].cash == cash + amount


# Bodies of forced transactions


def pack(data: bytes, length: int | None = None) -> bytes:
    """A Forced body, of a length that may be another than that of the data."""
    return (len(data) if length is None else length).to_bytes(2, "big") + data


def chunk(*transactions: Transaction) -> bytes:
    """Transactions at START."""
    return encode_chunk(Timestamp(START), transactions)


def begin(accounts: int, markets: int) -> bytes:
    """A chunk that ends where the ids of its longer table would begin."""
    writer = BitWriter()
    encode_bits(writer, START, CLOCK_BITS)
    encode_number(writer, accounts, TABLE_BITS)
    if accounts == 0:
        encode_number(writer, markets, TABLE_BITS)
    return writer.to_bytes()


MARK = Mark(MarketId(5), 1)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", Fault.TRUNCATED),
        (b"\x00", Fault.TRUNCATED),
        (pack(b""), Fault.TRUNCATED),
        (pack(chunk(MARK), len(chunk(MARK)) + 1), Fault.TRUNCATED),
        (pack(chunk()), Fault.NON_CANONICAL),
        (pack(chunk(Queue())), Fault.UNKNOWN_KIND),
        (pack(chunk(DataFee(1))), Fault.UNKNOWN_KIND),
        (pack(chunk(MARK, MARK)), Fault.NON_CANONICAL),
        # A table that no transaction could use up is not even read.
        (pack(begin(2, 0)), Fault.TRUNCATED),
        (pack(begin(3, 0)), Fault.NON_CANONICAL),
        (pack(begin(0, 1)), Fault.TRUNCATED),
        (pack(begin(0, 2)), Fault.NON_CANONICAL),
    ],
)
def test_decode_forced__not_one_transaction_of_a_user__its_fault(body: bytes, fault: Fault) -> None:
    with pytest.raises(TransitionFault) as caught:
        decode_forced(body)
    assert caught.value.fault == fault


def test_decode_forced__one_transaction__is_returned_with_what_is_behind_it() -> None:
    found = decode_forced(pack(chunk(MARK)) + b"signatures")
    assert found == (START, MARK, b"signatures")
