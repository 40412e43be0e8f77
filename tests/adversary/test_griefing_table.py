"""The griefing tables of docs/security.md follow from the gas record and the constants."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.gas import RECORD
from benchmarks.griefing import (
    BLOCK_GAS,
    DEFAULTS,
    FORCED_PER_BATCH,
    NEW_WORD_GAS,
    PAGE,
    compute_floor,
    format_tables,
    list_attacks,
    replace_tables,
)
from tests.adversary.catalogue_rig import L1, RIVAL, VERDICT_FRAUD, Revert
from tests.protocol.proving import encode_call

FIGURES: dict[str, int] = json.loads(RECORD.read_text(encoding="utf-8"))
ROOT = Path(__file__).parents[2]


def test_page__against_the_record__has_not_drifted() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert replace_tables(page, format_tables(FIGURES)) == page, (
        "run `python -m benchmarks.griefing --write`"
    )


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_page__with_another_figure__differs_where_it_is_used(name: str) -> None:
    """Every figure that the code names moves the page, so none is written by hand."""
    source = (ROOT / "benchmarks" / "griefing.py").read_text(encoding="utf-8")
    changed = format_tables({**FIGURES, name: FIGURES[name] * 2})
    assert (changed != format_tables(FIGURES)) == (f'"{name}"' in source)


def test_replace_tables__page_without_marks__is_refused() -> None:
    with pytest.raises(ValueError, match="each once"):
        replace_tables("nothing", format_tables(FIGURES))


def test_constants__of_the_contracts__are_those_of_the_table() -> None:
    source = (ROOT / "contracts" / "RollupInbox.sol").read_text(encoding="utf-8")
    assert "FORCED_PER_BATCH = MAX_CHUNKS" in source
    assert "MAX_CHUNKS = 2 ** CHUNK_DEPTH" in source
    assert "uint256 amount = bondAmount / 2" in source
    assert FORCED_PER_BATCH == 256


def test_message__one_of_many_in_a_transaction__takes_a_word_at_least() -> None:
    """The cheapest way to make messages costs more than the table reckons with."""
    l1 = L1()
    caller = l1.deploy("Caller")
    message = encode_call("Bridge", "cancelAll", 1)
    gas = []
    for count in (1, FORCED_PER_BATCH + 1):
        l1.send(RIVAL, caller, "repeat", l1.bridge.address, message, count)
        gas.append(l1.gas_used)
    each = (gas[1] - gas[0]) / FORCED_PER_BATCH
    assert NEW_WORD_GAS < each < FIGURES["cancel_all"]
    # Whoever comes second with a proof is told so at once.
    bad = l1.post(l1.genesis, queue_end=258, queue_hash=l1.queue_hash(257))
    proof = l1.proof(bad, l1.genesis)
    l1.remove(bad, l1.genesis)
    call = encode_call("FraudProver", "prove", proof, b"data", VERDICT_FRAUD)
    with pytest.raises(Revert, match="NotPending"):
        l1.send_raw(RIVAL, l1.prover, call, gas=compute_floor(len(call)))


def test_attacks__that_lie__lose_more_than_anybody_else() -> None:
    attacks = {attack.name: attack for attack in list_attacks(FIGURES)}
    lies = [attack for name, attack in attacks.items() if name.startswith("post ")]
    assert len(lies) == 4
    assert all(attack.attacker_bond >= DEFAULTS.bond // 2 for attack in lies)
    assert all(attack.defender_loss == 0 for attack in lies)
    flood = attacks[f"fill a batch with {FORCED_PER_BATCH} messages"]
    assert flood.attacker_gas > flood.defender_gas
    # Nothing costs a defender more than the attacker unless a bond is lost or a reward is gained.
    for attack in attacks.values():
        if attack.attacker_bond == 0 < attack.attacker_gas:
            assert attack.defender_gas < attack.attacker_gas, attack.name


def test_compute_floor__of_a_full_batch__fits_a_block() -> None:
    assert compute_floor(0) == 21_000
    assert compute_floor(110_000) == 4_421_000 < BLOCK_GAS


def test_page__every_test_that_it_names__exists() -> None:
    """Also files of tests, and links to other pages."""
    page = PAGE.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:tests|benchmarks)/[\w./]+)`", page):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\(([\w./]+)(?:#[\w-]+)?\)", page):
        assert (PAGE.parent / link).exists(), link
