"""The shared vectors of `tests/vectors`: Python and Solidity read the same files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from deltaroll.protocol import transition
from deltaroll.protocol.codec import decode_chunk
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import State, compute_state_root
from deltaroll.protocol.transition import compute_fault
from deltaroll.protocol.types import MessageKind, Transaction
from tests.protocol.strategies import generate_case
from tests.protocol.verifiers import OTHER_ROOT, case_rng, run_python, verifiers
from tests.vectors.format import Vector, judge_case, read_vector, write_vector

FOLDER = Path(__file__).resolve().parents[1] / "vectors"
FOLDERS = sorted(path.parent for path in FOLDER.glob("*/*/pre.json"))
BY_SIGNATURE_PROOF = {Fault.BAD_SIGNATURE, Fault.SIGNATURE_COUNT}
MAX_BYTES = 1_500_000
every_vector = pytest.mark.parametrize(
    "folder", FOLDERS, ids=lambda folder: str(folder.relative_to(FOLDER))
)


@every_vector
def test_compute_fault__vector__python_agrees(folder: Path) -> None:
    vector = read_vector(folder)
    state = vector.case.state
    before = compute_state_root(state)
    found = compute_fault(state, vector.case.data, vector.case.context, vector.posted_root)
    assert found == vector.fault
    expected = vector.post if vector.fault == Fault.NONE else before
    assert compute_state_root(state) == expected


@every_vector
def test_verify_transition__vector__solidity_agrees(folder: Path) -> None:
    vector = read_vector(folder)
    assert verify(vector, vector.posted_root) == vector.fault
    if vector.post is not None:
        # A verifier that says yes to all would pass the line above.
        assert verify(vector, OTHER_ROOT) == Fault.WRONG_POST_ROOT


def verify(vector: Vector, posted_root: bytes) -> Fault:
    """What the verifier says; the witness is all that it does not read from the files."""
    outcome = run_python(vector.case)
    return verifiers().verify_transition(
        vector.case.context,
        outcome.pre_root,
        posted_root,
        vector.case.data,
        outcome.witness,
    )


@cache
def vectors() -> dict[str, Vector]:
    """All of them, by name."""
    return {str(folder.relative_to(FOLDER)): read_vector(folder) for folder in FOLDERS}


def test_vectors__all_of_them__reach_every_fault_of_a_transition() -> None:
    reached = {vector.fault for vector in vectors().values()}
    assert reached == set(Fault) - BY_SIGNATURE_PROOF


def list_kinds(vector: Vector) -> Iterator[type]:
    """Kinds of transactions of a vector."""
    yield from map(type, decode_chunk(vector.case.data)[1])


def test_vectors__valid_ones__hold_every_kind_of_transaction_and_message() -> None:
    valid = {name: vector for name, vector in vectors().items() if vector.post is not None}
    found = {kind for vector in valid.values() for kind in list_kinds(vector)}
    assert found == set(Transaction.__args__)  # type: ignore[attr-defined]
    for kind in MessageKind:
        for end in ("honoured", "skipped"):
            assert f"messages/{kind.name.lower()}_{end}" in valid


def test_vectors__whole_folder__stays_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*/*/*")) <= MAX_BYTES


@pytest.mark.parametrize("number", range(40))
def test_write_vector__any_case__read_back_with_the_same_verdict(
    number: int, tmp_path: Path
) -> None:
    """Leaving out what a chunk does not touch changes the roots and nothing else."""
    case = generate_case(case_rng(8, number))
    before = compute_state_root(case.state)
    _, fault, meter = judge_case(case)
    written = write_vector(case, tmp_path / "made" / "here")
    assert compute_state_root(case.state) == before
    vector = read_vector(tmp_path / "made" / "here")
    post, found, touched = judge_case(vector.case)
    assert (found, post) == (vector.fault, vector.post) == (written.fault, written.post)
    assert found == fault
    assert (touched.gas, touched.witness) == (meter.gas, meter.witness)


def test_write_vector__read_vector__same_files(tmp_path: Path) -> None:
    folder = FOLDER / "transactions" / "fill"
    vector = read_vector(folder)
    write_vector(vector.case, tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_write_vector__python_raises_what_is_no_fault__leaves_the_fault_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(state: State, root: bytes) -> None:
        raise ZeroDivisionError

    vector = read_vector(FOLDER / "transactions" / "transfer")
    monkeypatch.setattr(transition, "process_action", fail)
    write_vector(vector.case, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chunk.hex",
        "context.json",
        "pre.json",
    ]
    with pytest.raises(FileNotFoundError):
        read_vector(tmp_path)


def test_read_vector__leaf_changed__is_refused(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "transactions" / "transfer", tmp_path, dirs_exist_ok=True)
    path = tmp_path / "pre.json"
    owner = next(iter(read_vector(tmp_path).case.state.accounts.values())).owner
    path.write_text(path.read_text().replace(owner.hex(), "77" * 20))
    with pytest.raises(ValueError, match="roots"):
        read_vector(tmp_path)


def test_compute_fault__rule_left_out__a_vector_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vector that no mistake could break would be worth nothing."""

    def ignore(*_: object) -> None:
        return

    monkeypatch.setattr(transition, "process_data_fee", ignore)
    vector = read_vector(FOLDER / "transactions" / "data_fee")
    case = vector.case
    found = compute_fault(case.state, case.data, case.context, vector.posted_root)
    assert found == Fault.WRONG_POST_ROOT


def test_process_chunk__vector_without_post__raises_its_fault() -> None:
    vector = vectors()["faults/margin"]
    vector.case.state.begin()
    with pytest.raises(TransitionFault) as problem:
        transition.process_chunk(vector.case.state, vector.case.data, vector.case.context)
    vector.case.state.rollback()
    assert problem.value.fault == Fault.MARGIN
