"""Incidents of other systems, tried against both twins of the protocol and the real verifiers:
cases by the numbers of docs/security.md.
"""

from dataclasses import replace
from functools import cache
from random import Random

import pytest
from coincurve import PublicKey

from deltaroll.protocol.bits import BitWriter, encode_bits, encode_decimal, encode_number
from deltaroll.protocol.codec import (
    AGE_BITS,
    CLOCK_BITS,
    KIND_BITS,
    PRICE_BITS,
    decode_chunk,
    encode_chunk,
    encode_table,
)
from deltaroll.protocol.constants import (
    ACCOUNT_DEPTH,
    MARKET_DEPTH,
    MAX_AMOUNT,
    MAX_CHUNK_GAS,
    MAX_SIGNERS,
)
from deltaroll.protocol.eip712 import (
    compute_digest,
    compute_domain_separator,
    hash_observation,
    hash_transfer,
)
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.observe import process_observe
from deltaroll.protocol.recovery import HALF_ORDER
from deltaroll.protocol.signatures import compute_bad_signature
from deltaroll.protocol.state import State, compute_state_root, set_account, set_market
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Address,
    Committee,
    Context,
    Kind,
    Mark,
    MarketId,
    Message,
    MessageKind,
    Observation,
    Observe,
    Position,
    Queue,
    Series,
    Sweep,
    Timestamp,
    Transfer,
    Underlying,
    Withdraw,
)
from deltaroll.protocol.witness import encode_signature_witness
from deltaroll.sdk.signing import Signer
from tests.adversary.catalogue_chunk import MAKER_KEY, STRANGER_KEY, Posted, build_state, post_chunk
from tests.contracts.reference import ZERO
from tests.protocol import markets, money
from tests.protocol.strategies import Case, generate_case
from tests.protocol.test_fill import MAKER, PERP, TAKER, make_fill
from tests.protocol.verifiers import (
    Outcome,
    RevertError,
    Tally,
    case_rng,
    compare,
    verifiers,
)

DOMAIN = compute_domain_separator(1, Address(b"\x11" * 20))
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
TRANSFER = Transfer(MAKER, TAKER, 5, 1)


def judge(state: State, data: bytes, **changes: object) -> Outcome:
    """Run a chunk through both twins, which must agree."""
    clock = int.from_bytes(data[:5], "big")
    context = Context(DOMAIN, Timestamp(clock), len(state.messages), 0, 0, True, True)
    case = Case(state, data, replace(context, **changes), 1, ZERO)  # type: ignore[arg-type]
    return compare(case, Tally())


@cache
def honest() -> Posted:
    """Posted once for all tests: no test may change it."""
    return post_chunk()


# Bytes


def test_n05_chunk_and_witness__trailing_or_missing_bytes__never_pass() -> None:
    state = build_state()
    data = encode_chunk(state.globals.clock, [TRANSFER])
    assert judge(state, data).fault == Fault.NONE
    for tail in (b"\x00", b"\xff", bytes(32)):
        assert judge(state, data + tail).fault == Fault.TRAILING_BYTES
    for length in range(len(data)):
        outcome = judge(state, data[:length])
        assert outcome.fault in (Fault.TRUNCATED, Fault.CLOCK_STALE, Fault.CLOCK_BACKWARD)
    posted = honest()
    assert posted.prove() == "FraudProver_NoFault"
    witness = posted.outcome.witness
    for spoilt in (witness + b"\x00", witness + bytes(32), witness[:-1], witness[:-32], b""):
        assert posted.prove(witness=spoilt) not in ("", "FraudProver_NoFault")


# Money


def test_n10_transactions__at_random_in_troubled_worlds__conserve_money() -> None:
    """A contract that destroyed itself in Optimism's first version doubled its balance."""
    kinds = set()
    for seed in range(12):
        rng = Random(seed)
        state = money.build_world(rng)
        total = money.compute_total(state)
        for _ in range(12):
            transaction = rng.choice(money.MAKERS)(rng, state)
            fault, _ = money.run_both(state, transaction)
            if fault == Fault.NONE:
                kinds.add(type(transaction).__name__)
            assert money.compute_total(state) == total, transaction
            money.check_books(state)
    assert {"Fill", "Transfer", "Withdraw"} <= kinds


def test_n10_account__paying_or_trading_with_itself__gains_nothing() -> None:
    state = build_state()
    clock = state.globals.clock
    itself = Transfer(MAKER, MAKER, 5, 1)
    assert judge(state, encode_chunk(clock, [itself])).fault == Fault.SELF_TRANSFER
    fill = replace(make_fill(PERP, 10**6, 3), taker=MAKER)
    assert judge(state, encode_chunk(clock, [fill])).fault == Fault.SELF_TRADE
    cash = state.accounts[MAKER].cash
    recipient = Address(b"\x05" * 20)
    for amount, fault in ((cash, Fault.NONE), (cash + 1, Fault.MARGIN)):
        data = encode_chunk(clock, [Withdraw(MAKER, recipient, amount, 1)])
        assert judge(state, data).fault == fault
    twice = [Withdraw(MAKER, recipient, cash, nonce) for nonce in (1, 2)]
    assert judge(state, encode_chunk(clock, twice)).fault == Fault.MARGIN
    again = [Withdraw(MAKER, recipient, 1, 1)] * 2
    assert judge(state, encode_chunk(clock, again)).fault == Fault.ACTION_NONCE


def test_n11_message__other_than_the_queue_has__proves_nothing() -> None:
    """A deposit of a block that is gone is no argument, neither for a state nor against it."""
    state = build_state()
    owner = Address(b"\x07" * 20)
    body = owner + bytes(4) + (9).to_bytes(16, "big")
    state.messages[0] = Message(MessageKind.DEPOSIT, owner, Timestamp(9), body)
    data = encode_chunk(state.globals.clock, [Queue()])
    outcome = judge(state, data)
    assert outcome.fault == Fault.NONE
    context = Context(DOMAIN, state.globals.clock, 1, 0, 0, True, True)

    def verify() -> Fault:
        return verifiers().verify_transition(
            context, outcome.pre_root, outcome.post_root, data, outcome.witness
        )

    assert verify() == Fault.NONE
    verifiers().set_queue_hash(0, keccak(b"the queue after a reorganisation"))
    with pytest.raises(RevertError):
        verify()


# Signatures


def judge_signature(state: State, data: bytes, signatures: bytes, domain: bytes = DOMAIN) -> Fault:
    """What both twins say of a chunk's first signature."""
    context = Context(domain, Timestamp(0), 0, 0, 0, True, True)
    found = verifiers().verify_signature(
        context,
        compute_state_root(state),
        data,
        signatures,
        0,
        encode_signature_witness(state, data, 0),
    )
    bad = compute_bad_signature(state, data, signatures, domain)
    assert found == (Fault.NONE if bad is None else bad[0])
    return found


def test_n12_signature__of_another_chain_contract_or_version__is_bad() -> None:
    state = build_state()
    data = encode_chunk(state.globals.clock, [TRANSFER])
    good = MAKER_KEY.sign_action(DOMAIN, TRANSFER)
    assert judge_signature(state, data, good) == Fault.NONE
    kind = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    version_2 = keccak(
        keccak(kind)
        + keccak(b"Deltaroll")
        + keccak(b"2")
        + (1).to_bytes(32, "big")
        + bytes(12)
        + b"\x11" * 20
    )
    for domain in (
        compute_domain_separator(2, Address(b"\x11" * 20)),
        compute_domain_separator(1, Address(b"\x12" * 20)),
        version_2,
        bytes(32),
    ):
        signature = MAKER_KEY.sign_action(domain, TRANSFER)
        assert judge_signature(state, data, signature) == Fault.BAD_SIGNATURE
        # After a fork of the chain the same signature is no good over there.
        assert judge_signature(state, data, good, domain) == Fault.BAD_SIGNATURE
    raw = MAKER_KEY.sign(hash_transfer(TRANSFER))
    assert judge_signature(state, data, raw) == Fault.BAD_SIGNATURE
    stranger = STRANGER_KEY.sign_action(DOMAIN, TRANSFER)
    assert judge_signature(state, data, stranger) == Fault.BAD_SIGNATURE


def test_n12_signature__high_s_or_another_length__is_bad() -> None:
    state = build_state()
    data = encode_chunk(state.globals.clock, [TRANSFER])
    good = MAKER_KEY.sign_action(DOMAIN, TRANSFER)
    s = int.from_bytes(good[32:], "big") & ((1 << 255) - 1)
    mirrored = CURVE_ORDER - s
    for value in (mirrored, mirrored ^ 1 << 255, HALF_ORDER + 1, (HALF_ORDER + 1) | 1 << 255, 0):
        signature = good[:32] + (value % (1 << 256)).to_bytes(32, "big")
        assert judge_signature(state, data, signature) == Fault.BAD_SIGNATURE
    flipped = good[:32] + bytes([good[32] ^ 0x80]) + good[33:]
    assert judge_signature(state, data, flipped) == Fault.BAD_SIGNATURE
    for r in (0, CURVE_ORDER, 2**256 - 1):
        signature = r.to_bytes(32, "big") + good[32:]
        assert judge_signature(state, data, signature) == Fault.BAD_SIGNATURE
    for section in (b"", good[:63], good + b"\x1b", good + good):
        assert judge_signature(state, data, section) == Fault.SIGNATURE_COUNT


def test_n12_signature__high_s_by_a_key_that_fits__is_bad() -> None:
    """Any r and s are somebody's signature: here that somebody owns the account."""
    data = encode_chunk(build_state().globals.clock, [TRANSFER])
    digest = compute_digest(DOMAIN, hash_transfer(TRANSFER))
    r = MAKER_KEY.sign_action(DOMAIN, TRANSFER)[:32]
    for s, fault in (
        (HALF_ORDER - 1, Fault.NONE),
        (HALF_ORDER, Fault.NONE),
        (HALF_ORDER + 1, Fault.BAD_SIGNATURE),
        ((1 << 255) - 1, Fault.BAD_SIGNATURE),
    ):
        for parity in (0, 1):
            recoverable = r + s.to_bytes(32, "big") + bytes([parity])
            key = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
            owner = Address(keccak(key.format(compressed=False)[1:])[12:])
            state = build_state()
            set_account(state, MAKER, replace(state.accounts[MAKER], owner=owner))
            signature = r + (parity << 255 | s).to_bytes(32, "big")
            assert judge_signature(state, data, signature) == fault


def test_n12_signature__that_recovers_nobody__is_not_the_zero_address() -> None:
    """Neither for an owner, nor for a trading key or a committee's seat that is not there."""
    nothing = [bytes(64), b"\xff" * 64, bytes(31) + b"\x05" + bytes(31) + b"\x01"]
    state = build_state()
    clock = state.globals.clock
    fill = make_fill(PERP, 10**6, 3)
    assert state.accounts[MAKER].trading_key == ZERO_ADDRESS
    live = replace(state.accounts[MAKER], key_expiry=Timestamp(2**39))
    ownerless = replace(live, owner=ZERO_ADDRESS)
    seatless = Committee(1, (ZERO_ADDRESS,))
    observe = Observe(money.INDEXES[0], (Observation(0, 10**6, clock),))
    for account in (live, ownerless):
        set_account(state, MAKER, account)
        set_market(state, MarketId(1), seatless)
        for transaction, count in ((TRANSFER, 1), (fill, 2), (observe, 1)):
            data = encode_chunk(clock, [transaction])
            for signature in nothing:
                fault = judge_signature(state, data, signature * count)
                assert fault == Fault.BAD_SIGNATURE, transaction


# Numbers


def test_n14_kinds__outside_their_enumeration__mean_nothing() -> None:
    state = build_state()
    clock = state.globals.clock
    assert [int(kind) for kind in Kind] == list(range(1 << KIND_BITS))
    body = b"\x07" * 20 + bytes(4) + (9).to_bytes(16, "big")
    data = encode_chunk(clock, [Queue()])
    roots = {}
    for kind in (1, 0, 7, 127, 129, 255):
        state.messages[0] = Message(kind, Address(b"\x07" * 20), Timestamp(9), body)
        tally = Tally()
        case = Case(state, data, Context(DOMAIN, clock, 1, 0, 0, True, True), 1, ZERO)
        outcome = compare(case, tally)
        assert outcome.fault == Fault.NONE
        assert list(tally.skipped) == ([] if kind == 1 else [Fault.UNKNOWN_KIND])
        roots[kind] = outcome.post_root
    # All no-ops are one, and not a deposit.
    assert len({root for kind, root in roots.items() if kind != 1}) == 1
    assert roots[1] not in {root for kind, root in roots.items() if kind != 1}


def test_n14_market__read_as_a_leaf_of_another_type__is_unknown() -> None:
    state = build_state()
    clock = state.globals.clock
    for market in (money.GRID, money.INDEXES[0], money.EXPIRIES[0], MarketId(65_535)):
        fill = make_fill(market, 10**6, 3)
        assert judge(state, encode_chunk(clock, [fill])).fault == Fault.UNKNOWN_MARKET
        if market != money.INDEXES[0]:
            observe = Observe(market, (Observation(0, 1, clock),))
            data = encode_chunk(clock, [observe])
            assert judge(state, data).fault == Fault.UNKNOWN_MARKET


def test_n15_chunk__clock_or_queue_at_the_end_of_its_type__is_a_fault() -> None:
    """Else one batch at the end of time would leave no room for a later one."""
    state = build_state()
    clock = state.globals.clock
    for late in (clock + 1, 2**40 - 1):
        data = encode_chunk(Timestamp(late), [TRANSFER])
        assert judge(state, data, l1_time=clock).fault == Fault.CLOCK_AHEAD
    data = encode_chunk(clock, [TRANSFER])
    for end in (1, 2**63, 2**64 - 1):
        assert judge(state, data, queue_end=end).fault == Fault.QUEUE_UNDERRUN
    assert judge(state, encode_chunk(clock, [Queue()])).fault == Fault.QUEUE_OVERRUN
    # The last nonce ends an account's own actions and nobody else's.
    last = Transfer(MAKER, TAKER, 5, 2**63 - 1)
    other = Transfer(TAKER, MAKER, 5, 1)
    assert judge(state, encode_chunk(clock, [last, other])).fault == Fault.NONE
    assert judge(state, encode_chunk(clock, [last, TRANSFER])).fault == Fault.ACTION_NONCE
    with pytest.raises(ValueError, match=r".*"):
        encode_chunk(clock, [Transfer(MAKER, TAKER, MAX_AMOUNT + 1, 1)])


# Proofs


def test_n18_proof__of_an_honest_chunk_at_any_gas__is_never_fraud() -> None:
    """Out of gas inside a precompile or a module must not look like a result."""
    posted = honest()
    for prove in (posted.prove, posted.prove_signature):
        assert prove() == "FraudProver_NoFault"
        enough = 3_000_000
        while prove(enough) == "FraudProver_NoFault":
            enough = enough * 3 // 4
        top = enough * 4 // 3
        refusals = [prove(gas) for gas in range(21_000, top, top // 150)]
        # Finely where the last calls are made: ecrecover, the modules, the removal.
        refusals += [prove(gas) for gas in range(enough, top, max(1, (top - enough) // 250))]
        assert "" not in refusals
    assert posted.l1.stage(posted.header) == 1


def test_n18_proof__of_a_lie_with_enough_gas__removes_it() -> None:
    """What was starved above does work."""
    assert post_chunk(post_root=keccak(b"lie")).prove() == ""
    assert post_chunk(garble=1).prove_signature() == ""


def test_n20_verifier__on_random_chunks__means_what_the_node_means() -> None:
    """Differences between a verifier and its node are the usual hole: see also `make fuzz`."""
    tally = Tally()
    for number in range(150):
        compare(generate_case(case_rng(20, number)), tally)
    assert tally.cases == 150
    assert tally.faults[Fault.NONE] > 20
    assert len(tally.faults) > 8


def test_n24_witness__of_another_state_or_chunk__proves_nothing() -> None:
    posted = honest()
    state = build_state()
    set_account(state, MAKER, replace(state.accounts[MAKER], cash=1))
    other = judge(state, encode_chunk(state.globals.clock, [Sweep(MAKER)])).witness
    assert posted.prove(witness=other) not in ("", "FraudProver_NoFault")
    lie = post_chunk(post_root=keccak(b"lie"))
    assert lie.prove(witness=other) not in ("", "FraudProver_NoFault")
    assert lie.prove(data=posted.chunk.data + b"\x00") == "FraudProver_WrongChunk"


def test_n26_chunk__largest_of_the_shortest_transactions__is_cheap_to_judge() -> None:
    """Nothing is compressed, so nothing inflates: work is bounded by weight, not by what the bytes
    could name."""
    state = build_state()
    clock = state.globals.clock
    for repeated, fault in (
        (Mark(PERP, 1), Fault.OVERWEIGHT),
        (Queue(), Fault.QUEUE_OVERRUN),
        (Sweep(MAKER), Fault.NOT_DUE),
        (Mark(PERP, 128), Fault.UNKNOWN_MARKET),
    ):
        count = 1
        while len(encode_chunk(clock, [repeated] * count * 2)) <= 16_384:
            count *= 2
        data = encode_chunk(clock, [repeated] * count)
        assert len(decode_chunk(data)[1]) == count <= 8 * 16_384 // KIND_BITS
        assert judge(state, data).fault == fault
        assert verifiers().gas_used < 10_000_000


def test_n27_messages__of_noise_as_long_as_they_get__are_cheap_no_ops() -> None:
    state = build_state()
    clock = state.globals.clock
    rng = Random(27)
    data = encode_chunk(clock, [Queue()])
    quiet = set()
    for kind in MessageKind:
        for body in (rng.randbytes(1_024), bytes(1_024), b"\xff" * 1_024, b"\x00"):
            state.messages[0] = Message(kind, Address(b"\x07" * 20), Timestamp(9), body)
            outcome = judge(state, data)
            assert outcome.fault == Fault.NONE
            assert outcome.gas < MAX_CHUNK_GAS // 4
            quiet.add(outcome.post_root)
    assert len(quiet) == 1


# Oracles

PRICE, START, INDEX = markets.PRICE, markets.START, markets.INDEX


def observe(*seen: tuple[int, int, int], now: int = START + 100) -> tuple[Fault, Underlying]:
    """Let members 0, 1, ... observe (member, price, time); both twins agree on what happens."""
    state = markets.make_state(now)
    entries = tuple(Observation(member, price, Timestamp(time)) for member, price, time in seen)
    fault = markets.run_both(state, process_observe, "runObserve", Observe(INDEX, entries))
    leaf = state.markets[INDEX]
    assert isinstance(leaf, Underlying)
    return fault, leaf


def three(price: int = PRICE + 7, time: int = START + 100) -> list[tuple[int, int, int]]:
    """A quorum."""
    return [(member, price, time) for member in range(3)]


def test_n28_oracle__stale_future_replayed_or_zero__is_not_counted() -> None:
    assert observe(*three())[1].index == PRICE + 7
    age = markets.PARAMS.max_observation_age
    late = START + age + 100
    for price, time, now in (
        (PRICE, START + 99, late),
        (PRICE, START + 101, START + 100),
        (PRICE, 2**40 - 1, START + 100),
        (PRICE, START, START + 100),
        (PRICE, START - 1, START + 100),
        (0, START + 100, START + 100),
    ):
        for spoilt in range(3):
            entries = three(time=now)
            entries[spoilt] = (spoilt, price, time)
            fault, leaf = observe(*entries, now=now)
            assert (fault, leaf.index) == (Fault.QUORUM, PRICE)


def test_n28_oracle__single_source__is_no_quorum() -> None:
    for members in range(3):
        assert observe(*three()[:members])[0] == Fault.QUORUM


def test_n28_oracle__any_bitmap_of_members__names_each_once() -> None:
    """No member can speak twice in one observation: there is no way to write it."""
    for bitmap in range(1 << 5):
        writer = BitWriter()
        encode_bits(writer, START, CLOCK_BITS)
        encode_table(writer, (), ACCOUNT_DEPTH)
        encode_table(writer, (INDEX,), MARKET_DEPTH)
        encode_bits(writer, Kind.OBSERVE, KIND_BITS)
        encode_bits(writer, bitmap, MAX_SIGNERS)
        for _ in range(bitmap.bit_count()):
            encode_decimal(writer, PRICE, PRICE_BITS)
            encode_number(writer, 3, AGE_BITS)
        encode_bits(writer, Kind.END, KIND_BITS)
        (found,) = decode_chunk(writer.to_bytes())[1]
        assert isinstance(found, Observe)
        signers = [entry.signer for entry in found.observations]
        assert len(set(signers)) == len(signers) == bitmap.bit_count()


def test_n28_oracle__outliers__neither_count_nor_move_the_median() -> None:
    """Mango's index was the median of three thin venues. Here a minority has no say."""
    far = PRICE * 2
    honest_prices = [(member, PRICE + member, START + 100) for member in range(3)]
    fault, leaf = observe(*honest_prices, (3, far, START + 100), (4, far, START + 100))
    assert (fault, leaf.index, leaf.pending_index) == (Fault.NONE, PRICE + 1, 0)
    # Two honest ones and a liar are no quorum, whatever the liar says.
    for lie in (far, 1, PRICE // 2, 2**63 - 1):
        fault, leaf = observe(*honest_prices[:2], (2, lie, START + 100))
        assert (fault, leaf.index) == (Fault.QUORUM, PRICE)
    # Inside the band a minority of two among five stays between honest prices.
    near = PRICE + PRICE * markets.PARAMS.outlier_band // 10**6 // 2
    fault, leaf = observe(*honest_prices, (3, near, START + 100), (4, near, START + 100))
    assert (fault, leaf.index) == (Fault.NONE, PRICE + 2)


def test_n28_oracle__jump_of_a_whole_committee__halts_before_it_counts() -> None:
    jump = PRICE + PRICE * markets.PARAMS.jump_band // 10**6 + 10
    fault, leaf = observe(*three(price=jump))
    assert (fault, leaf.index, leaf.pending_index) == (Fault.NONE, PRICE, jump)


def test_n28_oracle__price_signed_for_another_market__is_bad() -> None:
    state = build_state()
    clock = state.globals.clock
    member = Signer(b"\x55" * 32)
    set_market(state, MarketId(1), Committee(1, (Address(member.address),)))
    seen = Observation(0, 10**6, clock)
    for market in (money.INDEXES[0], money.INDEXES[1], MarketId(0)):
        signature = member.sign_observation(DOMAIN, market, seen)
        assert signature == member.sign(compute_digest(DOMAIN, hash_observation(market, seen)))
        data = encode_chunk(clock, [Observe(money.INDEXES[0], (seen,))])
        good = market == money.INDEXES[0]
        assert judge_signature(state, data, signature) == (
            Fault.NONE if good else Fault.BAD_SIGNATURE
        )
    # Nor for another time or price, and it is an input: whoever posts it wrong has posted a lie.
    signature = member.sign_observation(DOMAIN, money.INDEXES[0], seen)
    for other in (replace(seen, price=10**6 + 1), replace(seen, time=Timestamp(clock - 1))):
        data = encode_chunk(clock, [Observe(money.INDEXES[0], (other,))])
        assert judge_signature(state, data, signature) == Fault.BAD_SIGNATURE


def test_n28_oracle__member_that_does_not_exist__is_a_fault() -> None:
    assert observe(*three(), (markets.MEMBERS, PRICE, START + 100))[0] == Fault.UNKNOWN_SIGNER


def test_n28_profit__unrealised__can_be_withdrawn_down_to_initial_margin() -> None:
    """As at Mango: a profit at the mark is equity. What bounds it is the mark, not a cap."""
    state = build_state()
    clock = state.globals.clock
    lots, profit = 100, 10**9
    series = state.markets[PERP]
    assert isinstance(series, Series)
    set_market(state, PERP, replace(series, open_interest=lots))
    for account, size in ((MAKER, lots), (TAKER, -lots)):
        # Bought at the mark less the profit.
        cash = 10**9 - size * series.mark + (profit if size > 0 else -profit)
        known = replace(state.accounts[account], cash=cash, positions=(Position(PERP, size, 0),))
        set_account(state, account, known)
    compute_state_root(state)
    margin = money.margin_of(state, MAKER)
    assert margin.equity == 2 * 10**9
    free = margin.equity - margin.initial
    assert free > 10**9
    for amount, fault in ((free, Fault.NONE), (free + 1, Fault.MARGIN)):
        data = encode_chunk(clock, [Withdraw(MAKER, Address(b"\x05" * 20), amount, 1)])
        assert judge(state, data).fault == fault
