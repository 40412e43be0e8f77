"""Every legal chunk can be proven: what the meter says is an upper bound of what a proof takes.

Each scenario repeats a transaction that is dear for its weight until the meter refuses the next.
The chunk that is just legal and the one that is just too heavy are both posted to the real
contracts and removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.configure import MAX_CLOSING
from deltaroll.protocol.constants import (
    MAX_CHUNK_GAS,
    MAX_CHUNK_WITNESS,
    MAX_MESSAGE_GAS,
    MAX_MESSAGE_WITNESS,
    WEIGHT_BYTE_GAS,
    WEIGHT_CHUNK_BYTES,
    WEIGHT_CHUNK_GAS,
    WEIGHT_TRANSACTION_GAS,
)
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.signatures import compute_chunk_requests
from deltaroll.protocol.state import (
    compute_state_root,
)
from deltaroll.protocol.types import (
    Queue,
    Timestamp,
    Withdraw,
)
from deltaroll.protocol.witness import encode_signature_witness
from tests.protocol.heavy import (
    cancel_all,
    configure_closing,
    configure_closing_everywhere,
    configure_committee,
    configure_expiry,
    configure_grid,
    configure_long,
    configure_params,
    data_fee,
    deposit,
    deposit_new,
    distress,
    distress_after_transfers,
    empty_messages,
    fill_new_pairs,
    fill_new_series,
    fill_new_slots,
    fill_resting,
    force_close,
    force_exit,
    forced_failing_fill,
    forced_fill,
    forced_heaviest_mark,
    forced_liquidate,
    forced_marks,
    forced_observe,
    forced_surface,
    forced_tables,
    forced_transfer,
    forced_twice,
    fund,
    fund_after_accounts,
    fund_after_closings,
    fund_after_deposits,
    fund_after_marks,
    fund_after_transfers,
    fund_all,
    liquidate,
    list_all,
    mark,
    mark_again,
    mark_pair_after_accounts,
    mark_pair_again,
    mark_pairs,
    mark_run,
    noise,
    observe,
    set_trading_key,
    socialise,
    surface,
    sweep,
    transfer,
    transfer_pairs,
    transfer_then_fill,
    withdraw,
)
from tests.protocol.scenes import (
    Scene,
    Step,
    context_of,
    count_legal,
    create_scene,
    fits_inbox,
    materialise,
    measure,
    near_ruin,
    ruin,
    without_fund,
)
from tests.protocol.strategies import (
    START,
)
from tests.protocol.verifiers import verifiers

MAX_PROOF_GAS = 10_000_000
MAX_PROOF_BYTES = 120_000
MAX_SIGNATURES = 32_768
"""Bytes of a chunk's signature section that the inbox takes."""
SCENARIOS: dict[str, tuple[Callable[[Scene], Iterator[Step]], Callable[[], Scene]]] = {
    "fill, 1 position": (fill_new_pairs, lambda: create_scene(254, 1, 8)),
    "fill, 4 positions": (fill_new_pairs, lambda: create_scene(128, 4, 32, underlyings=3)),
    "fill, 64 positions": (fill_new_pairs, lambda: create_scene(20, 64, 64)),
    "fill, 64 disjoint positions": (
        fill_new_pairs,
        lambda: create_scene(4, 63, 252, underlyings=3, disjoint=True),
    ),
    "fill, resting": (fill_resting, lambda: create_scene(2, 0, 1)),
    "fill, resting, 48 underlyings": (
        fill_resting,
        lambda: create_scene(2, 64, 64, underlyings=48),
    ),
    "fill, resting, 16 underlyings": (
        fill_resting,
        lambda: create_scene(2, 16, 16, underlyings=16),
    ),
    "fill, resting, 64 positions": (fill_resting, lambda: create_scene(2, 64, 64)),
    "fill, new slots": (fill_new_slots, lambda: create_scene(2, 0, 1)),
    "fill, new series": (fill_new_series, lambda: create_scene(2, 0, 64, underlyings=3)),
    "transfer": (transfer, lambda: create_scene(2)),
    "transfer, 64 positions": (transfer, lambda: create_scene(2, 64, 64, underlyings=3)),
    "transfer, new pairs": (transfer_pairs, lambda: create_scene(254)),
    "transfer, new pairs, 64 positions": (transfer_pairs, lambda: create_scene(60, 64, 64)),
    "transfer, then fill": (transfer_then_fill, lambda: create_scene(120, 0, 1)),
    "transfer, 64 positions, then fill": (
        transfer_then_fill,
        lambda: create_scene(14, 64, 64),
    ),
    "withdraw": (withdraw, lambda: create_scene(1)),
    "set trading key": (set_trading_key, lambda: create_scene(1, 64, 64)),
    "observe": (observe, lambda: create_scene()),
    "mark": (mark, lambda: create_scene(0, 0, 250, marked=False)),
    "mark, one series": (mark_again, lambda: create_scene(0, 0, 1)),
    "deposit": (deposit, lambda: create_scene(1, 64, 64)),
    "deposit, new account": (deposit_new, lambda: create_scene(1)),
    "force exit": (force_exit, lambda: create_scene(1)),
    "force exit, 64 positions": (force_exit, lambda: create_scene(1, 64, 64, underlyings=3)),
    "cancel all": (cancel_all, lambda: create_scene(1, 64, 64)),
    "forced fill": (forced_fill, lambda: create_scene(2, 0, 1)),
    "forced transfer": (forced_transfer, lambda: create_scene(2)),
    "forced observe": (forced_observe, lambda: create_scene()),
    "forced tables": (forced_tables, lambda: create_scene()),
    "forced, two transactions": (forced_twice, lambda: create_scene()),
    "forced mark": (
        forced_marks,
        lambda: create_scene(0, 0, 160, marked=False, adjacent=True),
    ),
    "forced mark, heaviest": (
        forced_heaviest_mark,
        lambda: create_scene(0, 0, 128, underlyings=30, marked=False, adjacent=True),
    ),
    "forced fill, refused": (forced_failing_fill, lambda: ruin(create_scene(2, 4, 8))),
    "forced fill, refused, 64 positions": (
        forced_failing_fill,
        lambda: ruin(create_scene(2, 64, 64, underlyings=3)),
    ),
    "configure committee": (configure_committee, lambda: create_scene()),
    "configure grid": (configure_grid, lambda: create_scene()),
    "configure closing": (
        configure_closing,
        lambda: create_scene(0, 0, MAX_CLOSING, adjacent=True, expiries=4),
    ),
    "fund, after closings": (
        fund_after_closings,
        lambda: create_scene(0, 0, MAX_CLOSING, adjacent=True),
    ),
    "configure closing, perpetuals": (
        configure_closing_everywhere,
        lambda: create_scene(0, 0, 256, adjacent=True),
    ),
    "configure, too long": (configure_long, lambda: create_scene()),
    "noise": (noise, lambda: create_scene()),
    "mark options": (
        mark_pairs,
        lambda: create_scene(0, 0, 200, marked=False, adjacent=True, expiries=1),
    ),
    "mark options, 30 expiries": (
        mark_pairs,
        lambda: create_scene(0, 0, 120, marked=False, adjacent=True, expiries=30, underlyings=10),
    ),
    "mark options, runs": (
        mark_run,
        lambda: create_scene(0, 0, 200, marked=False, adjacent=True, expiries=1),
    ),
    "mark options, one strike": (
        mark_pair_again,
        lambda: create_scene(0, 0, 2, adjacent=True, expiries=1),
    ),
    "mark options, one strike, after accounts": (
        mark_pair_after_accounts,
        lambda: create_scene(26, 63, 64, adjacent=True, expiries=4),
    ),
    "fill, 64 options": (
        fill_new_pairs,
        lambda: create_scene(20, 64, 64, adjacent=True, expiries=4),
    ),
    "fill, resting, 63 options, 4 expiries": (
        fill_resting,
        lambda: create_scene(2, 63, 64, adjacent=True, expiries=4),
    ),
    "fill, resting, 64 options, 32 expiries": (
        fill_resting,
        lambda: create_scene(2, 64, 64, adjacent=True, expiries=32, underlyings=16),
    ),
    "fund": (fund, lambda: create_scene(0, 0, 1)),
    "fund, all": (fund_all, lambda: create_scene(0, 0, 60)),
    "fund, after 250 accounts": (fund_after_accounts, lambda: create_scene(250, 0, 1)),
    "fund, after accounts": (fund_after_accounts, lambda: create_scene(40, 64, 64)),
    "fund, after deposits": (fund_after_deposits, lambda: create_scene(36, 64, 64)),
    "fund, after fewer deposits": (fund_after_deposits, lambda: create_scene(26, 64, 64)),
    "fund, after some deposits": (fund_after_deposits, lambda: create_scene(16, 64, 64)),
    "surface": (surface, lambda: create_scene(expiries=1)),
    "forced surface": (forced_surface, lambda: create_scene(expiries=1)),
    "list": (list_all, lambda: create_scene(underlyings=3)),
    "sweep": (
        sweep,
        lambda: create_scene(20, 64, 64, adjacent=True, expiries=4, settled=True),
    ),
    "sweep, disjoint": (
        sweep,
        lambda: create_scene(3, 64, 192, adjacent=True, expiries=4, settled=True, disjoint=True),
    ),
    "distress": (
        distress,
        lambda: create_scene(20, 64, 64, adjacent=True, expiries=4),
    ),
    "liquidate, 64 options": (
        liquidate,
        lambda: near_ruin(create_scene(6, 64, 64, adjacent=True, expiries=4)),
    ),
    "liquidate, 64 options, 32 expiries": (
        liquidate,
        lambda: near_ruin(create_scene(4, 64, 64, adjacent=True, expiries=32, underlyings=16)),
    ),
    "liquidate, 64 positions, 48 underlyings": (
        liquidate,
        lambda: near_ruin(create_scene(2, 64, 64, underlyings=48)),
    ),
    "liquidate, 64 options, 47 groups": (
        liquidate,
        lambda: near_ruin(create_scene(2, 64, 64, expiries=31, underlyings=16)),
    ),
    "liquidate, 64 perpetuals": (liquidate, lambda: near_ruin(create_scene(4, 64, 64))),
    "liquidate, 1 position": (liquidate, lambda: near_ruin(create_scene(20, 1, 2))),
    "forced liquidate": (
        forced_liquidate,
        lambda: near_ruin(create_scene(4, 16, 16, adjacent=True, expiries=2)),
    ),
    "socialise": (
        socialise,
        lambda: without_fund(
            near_ruin(create_scene(6, 64, 64, adjacent=True, expiries=4), -(10**24))
        ),
    ),
    "force close": (force_close, lambda: create_scene(1, 64, 64, adjacent=True, expiries=4)),
    "configure underlying": (configure_params, lambda: create_scene()),
    "configure expiry": (configure_expiry, lambda: create_scene()),
    "distress, after transfers": (distress_after_transfers, lambda: create_scene(8)),
    "fund, after transfers": (fund_after_transfers, lambda: create_scene(2, 0, 1)),
    "fund, after marks": (fund_after_marks, lambda: create_scene(2, 0, 1)),
    "data fee": (data_fee, lambda: create_scene()),
    "empty messages": (empty_messages, lambda: create_scene()),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_charge__heaviest_chunk_of_a_kind__bounds_its_proof(name: str) -> None:
    steps, create = SCENARIOS[name]
    scene = create()
    transactions = materialise(scene, steps(scene))
    count = count_legal(scene, transactions)
    assert count
    legal = transactions[:count]
    # A witness counts messages and exits in one byte.
    assert sum(isinstance(item, Queue | Withdraw) for item in legal) < 256
    proof, gas, size = measure(scene, legal)
    print(f"{name}: {count} transactions, {proof.gas:,} of {gas:,} gas, {proof.size:,} bytes")
    assert gas <= MAX_CHUNK_GAS
    assert size <= MAX_CHUNK_WITNESS
    assert proof.gas <= gas
    assert proof.size <= size
    refused = transactions[: count + 1]
    if len(refused) > count and fits_inbox(refused):
        # The chunk that is too heavy can be proven as well, else nobody could say so.
        proof, gas, size = measure(scene, refused)
        assert proof.fault == Fault.OVERWEIGHT
        assert proof.gas <= MAX_PROOF_GAS
        assert proof.size <= MAX_PROOF_BYTES


@pytest.mark.parametrize("name", SCENARIOS)
def test_charge__heaviest_chunk_of_a_kind__its_signatures_can_be_judged(name: str) -> None:
    """All of a chunk is decoded to find one signature, or to count them."""
    steps, create = SCENARIOS[name]
    scene = create()
    transactions = materialise(scene, steps(scene))
    legal = transactions[: count_legal(scene, transactions)]
    data = encode_chunk(Timestamp(START), legal)
    count = len(compute_chunk_requests(data)[1])
    section = b"\xff" * min(MAX_SIGNATURES, 64 * max(1, count))
    position = max(0, count - 1)
    fault = verifiers().verify_signature(
        context_of(scene.state, 0),
        compute_state_root(scene.state),
        data,
        section,
        position,
        encode_signature_witness(scene.state, data, position),
    )
    is_long = len(section) == 64 * count
    assert fault == (Fault.BAD_SIGNATURE if is_long else Fault.SIGNATURE_COUNT)
    print(f"{name}: {count} signatures, {verifiers().gas_used:,} gas")
    assert verifiers().gas_used + WEIGHT_CHUNK_GAS <= MAX_PROOF_GAS


def test_charge__empty_chunk__bounds_its_proof() -> None:
    proof, gas, size = measure(create_scene(), [])
    print(f"empty: {proof.gas:,} of {gas:,} gas, {proof.size:,} of {size:,} bytes")
    assert proof.gas <= gas
    assert proof.size <= size


def test_constants__heaviest_message__fits_alone_and_only_alone() -> None:
    """Else it would be up to the proposer whether a heavy message is honoured."""
    # The shortest chunk with a Queue transaction; what it weighs before the message does.
    data = len(encode_chunk(Timestamp(START), [Queue()]))
    size = WEIGHT_CHUNK_BYTES + data
    gas = WEIGHT_CHUNK_GAS + size * WEIGHT_BYTE_GAS + WEIGHT_TRANSACTION_GAS
    assert gas + MAX_MESSAGE_GAS <= MAX_CHUNK_GAS
    assert size + MAX_MESSAGE_WITNESS <= MAX_CHUNK_WITNESS
    assert gas + MAX_MESSAGE_GAS + WEIGHT_TRANSACTION_GAS > MAX_CHUNK_GAS
