"""The differential campaign: it agrees, it remembers, and it finds what is planted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from deltaroll.protocol import actions, codec, messages, signatures, transition
from deltaroll.protocol.codec import Decoder, decode_chunk
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import State, set_account
from deltaroll.protocol.types import Context, DataFee, Transaction, Transfer, Withdraw
from tests import fuzz
from tests.adversary import differential
from tests.adversary.campaign import Effort, Ledger
from tests.protocol.verifiers import PAIRS, Tally, compare
from tests.shrink import leave_out
from tests.vectors.format import read_vector

SEED = 81
SMALL = 900
"""Transactions of a campaign that is compared with itself."""


def figures(report: fuzz.Report) -> dict[str, object]:
    """What two campaigns over the same cases must have alike."""
    return {**report.to_json(), "seconds": 0}


@pytest.fixture(scope="module")
def whole() -> fuzz.Report:
    """A campaign that nobody has interrupted."""
    return fuzz.run(SMALL, SEED, workers=1)


def test_attack__scale_one__nothing_differs() -> None:
    rows = {row.name: row for row in differential.attack(Effort(1, 1))}
    assert [(row.wrongly_accepted, row.wrongly_refused) for row in rows.values()] == [(0, 0)] * 3
    assert not any(row.notes for row in rows.values())
    assert rows["differential: transitions"].attempts >= differential.TRANSACTIONS
    assert rows["differential: kind after kind"].attempts > len(PAIRS) * 9 // 10
    assert rows["differential: signatures"].attempts > 3 * differential.SIGNED_CHUNKS


# Reproducible, resumable


def test_run__two_workers__same_figures_as_one(whole: fuzz.Report) -> None:
    assert figures(fuzz.run(SMALL, SEED, workers=2)) == figures(whole)


def test_run__interrupted_after_every_group__same_figures_as_uninterrupted(
    whole: fuzz.Report, tmp_path: Path
) -> None:
    checkpoint = fuzz.Checkpoint(tmp_path / "1.json", "same code")
    sessions = 0
    while (report := checkpoint.read()).tally.transactions < SMALL:
        # Asked before and after a group.
        answers = iter((False, True))
        fuzz.run(
            SMALL,
            SEED,
            1,
            report=report,
            save=checkpoint.write,
            is_stopped=answers.__next__,
        )
        sessions += 1
    assert sessions == whole.next_group > 2
    assert figures(checkpoint.read()) == figures(whole)


def test_checkpoint__other_code__starts_over(whole: fuzz.Report, tmp_path: Path) -> None:
    fuzz.Checkpoint(tmp_path / "1.json", "one code").write(whole)
    assert fuzz.Checkpoint(tmp_path / "1.json", "one code").read() == whole
    assert fuzz.Checkpoint(tmp_path / "1.json", "other code").read() == fuzz.Report()


def test_main__terminated__says_how_to_go_on_and_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--n", "100000000", "--workers", "2"]
    command += ["--seed", str(SEED), "--folder", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        written = tmp_path / f"{SEED}.json"
        while not written.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"make fuzz N=100000000 SEED={SEED}" in errors.decode()
    report = fuzz.Checkpoint(written, fuzz.compute_fingerprint()).read()
    assert figures(report) == figures(fuzz.run(report.tally.transactions, SEED, workers=1))


# Planted differences


def plant_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python lose a unit in every larger transfer."""
    process_transfer = actions.process_transfer

    def planted(state: State, transfer: Transfer) -> None:
        process_transfer(state, transfer)
        if transfer.amount > 1_000:
            account = state.accounts[transfer.recipient]
            set_account(state, transfer.recipient, replace(account, cash=account.cash - 1))

    monkeypatch.setattr(messages, "process_transfer", planted)


def plant_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python forget the second of a withdrawal and a price of data, whatever stands between."""
    process_transaction = transition.process_transaction
    withdrawn: set[int] = set()
    chunks: list[transition.Progress] = []

    def planted(
        state: State, transaction: Transaction, progress: transition.Progress, context: Context
    ) -> None:
        if not chunks or chunks[-1] is not progress:
            chunks.append(progress)
            withdrawn.clear()
        process_transaction(state, transaction, progress, context)
        if isinstance(transaction, Withdraw):
            withdrawn.add(transaction.account)
        if isinstance(transaction, DataFee) and withdrawn:
            state.globals = replace(state.globals, data_fee=state.globals.data_fee + 1)

    monkeypatch.setattr(transition, "process_transaction", planted)


@pytest.mark.parametrize(
    ("plant", "kinds"),
    [(plant_transfer, (Transfer,)), (plant_pair, (Withdraw, DataFee))],
    ids=["one transaction", "a pair"],
)
def test_run__planted_difference__is_found_made_small_and_written(
    plant: Callable[[pytest.MonkeyPatch], None],
    kinds: tuple[type, ...],
    tmp_path: Path,
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        plant(monkeypatch)
        report = fuzz.run(1, SEED, 1, folder=tmp_path)
        assert report.disagreed
        finding = report.disagreements[0]
        assert finding.vector == str(tmp_path / f"{SEED}-{finding.case}")
    vector = read_vector(Path(finding.vector))
    _, transactions = decode_chunk(vector.case.data)
    assert tuple(map(type, transactions)) == kinds
    assert len(vector.case.state.accounts) <= 2
    assert not vector.case.state.slots
    assert not vector.case.state.markets
    # The fault is planted in Python, so the chunk itself is fine.
    assert compare(vector.case, Tally()).fault == Fault.NONE
    assert fuzz.run_case(SEED, finding.case, Tally()) is None


def test_run__planted_difference_in_the_decoder__is_made_a_few_bytes(tmp_path: Path) -> None:
    decode_transaction = codec.decode_transaction

    def planted(decoder: Decoder) -> Transaction | None:
        try:
            return decode_transaction(decoder)
        except TransitionFault as problem:
            if problem.fault == Fault.TRUNCATED:
                raise TransitionFault(Fault.BAD_INDEX) from problem
            raise

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(transition, "decode_transaction", planted)
        report = fuzz.run(1, SEED, 1, folder=tmp_path)
        vector = read_vector(Path(report.disagreements[0].vector))
        assert vector.fault == Fault.BAD_INDEX
    # A header, and the beginning of a transaction.
    assert len(vector.case.data) <= 8
    assert compare(vector.case, Tally()).fault == Fault.TRUNCATED


def test_run__rule_that_fails_without_a_fault__is_found(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:

        def broken(state: State, transfer: Transfer) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(messages, "process_transfer", broken)
        report = fuzz.run(1, SEED, 1, folder=tmp_path)
    labels = {finding.label for finding in report.disagreements}
    assert labels <= {"Python raises ZeroDivisionError", "generator raises ZeroDivisionError"}
    assert labels
    fuzz.forget_worlds()


def test_attack_signatures__rule_loosened__is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def loosened(*_: object) -> None:
        return None

    monkeypatch.setattr(signatures, "validate_account_signer", loosened)
    assert count_signatures()[0] > 0


def test_attack_signatures__rule_tightened__is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def tightened(*_: object) -> None:
        raise TransitionFault(Fault.BAD_SIGNATURE)

    monkeypatch.setattr(signatures, "validate_oracle_signer", tightened)
    assert count_signatures()[1] > 0


def test_attack_signatures__as_it_is__every_verdict_is_reached() -> None:
    ledger = Ledger()
    verdicts: set[Fault | None] = set()
    settle = differential.settle

    def noted(*arguments: Any) -> None:
        verdicts.add(arguments[-1])
        settle(*arguments)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(differential, "settle", noted)
        for number in range(30):
            differential.attack_signatures(SEED, number, ledger)
    assert verdicts == {Fault.NONE, Fault.BAD_SIGNATURE, Fault.SIGNATURE_COUNT, None}


def count_signatures() -> tuple[int, int]:
    """Wrongly accepted and wrongly refused signatures of a few chunks."""
    ledger = Ledger()
    for number in range(30):
        differential.attack_signatures(SEED, number, ledger)
    (row,) = ledger.to_rows()
    return row.wrongly_accepted, row.wrongly_refused


@pytest.mark.parametrize("seed", range(20))
def test_leave_out__needed_items__stay_alone(seed: int) -> None:
    rng = Random(seed)
    needed = {rng.randrange(40) for _ in range(rng.randrange(4))}
    assert set(leave_out(tuple(range(40)), lambda rest: needed <= set(rest))) == needed
