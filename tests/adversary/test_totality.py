"""Totality: nothing that bytes can do is anything but a fault, a root, or a bad witness."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from deltaroll.protocol import codec, transition
from deltaroll.protocol.constants import ACCOUNT_DEPTH
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import compute_state_root
from tests.adversary import fuzz_targets, totality
from tests.adversary.campaign import Effort
from tests.adversary.fuzz_targets import (
    CORPUS,
    DECODER,
    MAX_INPUT,
    RAW,
    TARGETS,
    TRANSITION,
    WITNESS,
    BytesRandom,
    damage,
    make_case,
    read_corpus,
)
from tests.adversary.totality import attack, base_of, judge_transition, probe, witness_errors
from tests.protocol.strategies import world_of
from tests.protocol.verifiers import OTHER_ROOT, RevertError, Verifiers

MAX_CORPUS = 300_000
MAX_ENTRY = 8_000
PANIC = bytes.fromhex("4e487b71") + (0x32).to_bytes(32, "big")
each_target = pytest.mark.parametrize("target", TARGETS)


@pytest.fixture
def _planted() -> Iterator[None]:
    """What a planted bug has left in shared worlds goes."""
    yield
    world_of.cache_clear()
    base_of.cache_clear()


@cache
def answers(target: str) -> set[str]:
    """What the corpus comes to."""
    return {probe(target, data).answer for data in read_corpus(target)}


def iterate_notes(target: str) -> Iterator[str]:
    """What is wrong with each entry of the corpus, as long as somebody asks."""
    return (probe(target, data).note for data in read_corpus(target))


def test_attack__scale_one__nothing_wrong() -> None:
    rows = {row.name: row for row in attack(Effort(1, 1))}
    assert list(rows) == list(totality.NAMES.values())
    for target, name in totality.NAMES.items():
        row = rows[name]
        assert row.attempts >= len(read_corpus(target)) + totality.MUTATIONS[target]
        assert (row.wrongly_accepted, row.wrongly_refused, row.notes) == (0, 0, ())
    assert 0 < rows[totality.NAMES[TRANSITION]].worst_gas < 10_000_000


def test_iterate_inputs__one_seed__same_inputs() -> None:
    """The same effort makes the same attempts."""
    one, two, other = (
        list(totality.iterate_inputs(DECODER, Effort(1, seed))) for seed in (3, 3, 4)
    )
    assert one == two
    assert one != other


def test_corpus__files__are_few_and_small() -> None:
    paths = [path for path in CORPUS.glob("*/*") if path.is_file()]
    assert {path.parent.name for path in paths} == set(TARGETS)
    assert sum(path.stat().st_size for path in paths) <= MAX_CORPUS
    assert max(path.stat().st_size for path in paths) <= MAX_ENTRY


def test_corpus__decoder__reaches_every_fault_of_the_decoder() -> None:
    expected = {Fault.NONE, Fault.TRUNCATED, Fault.TRAILING_BYTES, Fault.NON_CANONICAL}
    expected |= {Fault.UNKNOWN_KIND, Fault.BAD_INDEX, Fault.OUT_OF_RANGE}
    assert answers(DECODER) == {fault.name for fault in expected}


def test_corpus__transition__reaches_most_faults() -> None:
    assert len(answers(TRANSITION)) > 30


def test_corpus__witness__reaches_every_refusal() -> None:
    assert answers(WITNESS) >= set(witness_errors().values())


def test_bytes_random__one_byte_changed__one_choice_changed() -> None:
    first, second = BytesRandom(bytes((1, 2, 3))), BytesRandom(bytes((1, 9, 3)))
    taken = [[rng.getrandbits(8) for _ in range(3)] for rng in (first, second)]
    assert taken == [[1, 2, 3], [1, 9, 3]]


def test_bytes_random__no_bytes_left__goes_on() -> None:
    assert len(set(BytesRandom(b"").sample(range(100), 50))) == 50


@pytest.mark.parametrize("data", [b"", b"\x00" * 40, bytes((RAW,)), bytes((RAW,)) + b"\xff" * 60])
def test_make_case__any_bytes__same_case_twice_and_the_state_left_alone(data: bytes) -> None:
    one = make_case(data)
    before = compute_state_root(one.state)
    fuzz_targets.run_transition(data)
    two = make_case(data)
    assert (one.data, one.context) == (two.data, two.context)
    assert compute_state_root(two.state) == before


def test_damage__no_script__changes_nothing() -> None:
    assert damage(b"abc", b"") == damage(b"abc", b"\x01\x02\x03\x04") == b"abc"


@pytest.mark.parametrize("what", range(9))
def test_damage__any_step__on_any_length(what: int) -> None:
    for size in (0, 1, 31, 32, 500):
        witness = bytes(range(256)) * 2
        damage(witness[:size], bytes((what, 0, 7, 1, 2)) * 3)


# A harness that could not find anything would say the same.


@pytest.mark.usefixtures("_planted")
def test_probe__python_decoder_raises__is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise IndexError

    monkeypatch.setattr(codec, "decode_number", fail)
    assert "IndexError" in probe(DECODER, bytes(20)).note


@pytest.mark.usefixtures("_planted")
def test_probe__decoder_takes_another_depth__is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "ACCOUNT_DEPTH", ACCOUNT_DEPTH + 1)
    assert any(iterate_notes(DECODER))


@pytest.mark.usefixtures("_planted")
def test_probe__transition_raises_what_is_no_fault__is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(transition, "process_data_fee", fail)
    assert any("ZeroDivisionError" in note for note in iterate_notes(TRANSITION))


@pytest.mark.usefixtures("_planted")
def test_probe__one_side_forgets_a_rule__is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def ignore(*_: object) -> None:
        return

    monkeypatch.setattr(transition, "validate_clock", ignore)
    assert any("DisagreementError" in note for note in iterate_notes(TRANSITION))


def test_judge_transition__verifier_panics__is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*_: object) -> Fault:
        raise RevertError(PANIC, "panic")

    base = base_of(0)
    monkeypatch.setattr(Verifiers, "verify_transition", panic)
    assert judge_transition(base, base.outcome.witness, OTHER_ROOT).note == "revert: panic"


def test_judge_transition__runs_out_of_gas__is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def halt(*_: object) -> Fault:
        raise RevertError(b"", "Halt")

    base = base_of(0)
    monkeypatch.setattr(Verifiers, "verify_transition", halt)
    assert judge_transition(base, base.outcome.witness, OTHER_ROOT).note == "revert: Halt"


def test_judge_transition__damaged_witness_is_believed__is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def believe(*_: object) -> Fault:
        return Fault.MARGIN

    base = base_of(14)
    assert base.outcome.fault == Fault.NONE
    monkeypatch.setattr(Verifiers, "verify_transition", believe)
    assert "MARGIN" in judge_transition(base, b"", base.outcome.post_root).note


@each_target
def test_minimise__same_entry_twice_over__keeps_one(target: str, tmp_path: Path) -> None:
    found = tmp_path / "found"
    entry = min(read_corpus(target), key=len)
    fuzz_targets.write_entry(entry, found)
    fuzz_targets.write_entry(entry, found)
    fuzz_targets.minimise(target, found, tmp_path / "kept")
    assert [path.read_bytes() for path in (tmp_path / "kept").iterdir()] == [entry]


def test_load_atheris__not_installed__says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in `sys.modules` is how Python notes that there is no such module.
    monkeypatch.setitem(fuzz_targets.sys.modules, "atheris", None)
    with pytest.raises(SystemExit, match=r"pip install atheris==3\.0\.0"):
        fuzz_targets.load_atheris()


@each_target
def test_mutate__any_entry__within_the_limit(target: str) -> None:
    rng = fuzz_targets.Random(1)
    entries = read_corpus(target)
    limit = MAX_INPUT[target]
    changed = [fuzz_targets.mutate(rng, entries, limit) for _ in range(200)]
    assert max(map(len, changed)) <= limit
    assert len(set(changed) - set(entries)) > 100
