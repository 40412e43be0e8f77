"""The program with all mutants: none on, one on, and what a call has met."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pyrevm import EVM

from tests.mutation import schemata
from tests.mutation.schemata import COVER, MARK, Mutant
from tests.mutation.schemata_build import find_reached, run_compiler
from tests.protocol.evm import CALLER
from tools.compile import ROOT, Project

SOURCE = "contracts/protocol/Sample.sol"
SAMPLE = Path(__file__).with_name("Sample.sol")


@cache
def deployed(wanted: frozenset[str] | None = None) -> tuple[EVM, str, list[Mutant]]:
    project = Project(ROOT)
    sources = {SOURCE: SAMPLE.read_text(encoding="utf-8")}
    parsed = run_compiler(project, sources, {"outputSelection": {"*": {"": ["ast"]}}})
    trees = {SOURCE: parsed["sources"][SOURCE]["ast"]}
    rewritten, mutants = schemata.rewrite(sources, trees, [SOURCE], wanted)
    selection = {SOURCE: {"Sample": ["evm.bytecode.object"]}}
    made = run_compiler(project, rewritten, {"outputSelection": selection})
    code = made["contracts"][SOURCE]["Sample"]["evm"]["bytecode"]["object"]
    evm = EVM()
    evm.set_balance(CALLER, 1 << 200)
    return evm, evm.deploy(CALLER, bytes.fromhex(code)), mutants


def call(word: int, number: int, wanted: frozenset[str] | None = None) -> bytes:
    """What the sample returns while a mutant is on; nothing when it reverts."""
    evm, address, _ = deployed() if wanted is None else deployed(wanted)
    data = word.to_bytes(32, "big")
    try:
        found: bytes = evm.message_call(
            CALLER, address, calldata=data, gas=1_000_000, gas_price=number
        )
    except RuntimeError:
        return b""
    return found


WORDS = (0, 1, 4, 5, 6, 9, 10, 11, 200)


def test_rewrite__no_mutant_on__original_behaviour() -> None:
    found = [int.from_bytes(call(word, 0), "big") for word in WORDS]
    assert found == [compute(word) for word in WORDS]


def compute(word: int) -> int:
    """The sample in Python."""
    total = word + 7
    if word > 4 and word != 9:
        total = total * 3
    total |= 256 if word < 10 else 0
    for _ in range(3):
        total += 2
    return (total + 5) >> 1


def test_rewrite__one_mutant_on__some_outcome_is_another() -> None:
    _, _, mutants = deployed()
    for mutant in mutants:
        is_noticed = any(call(word, mutant.number) != call(word, 0) for word in WORDS)
        assert is_noticed, mutant.key


def test_rewrite__every_mutant__has_a_name_of_its_own() -> None:
    _, _, mutants = deployed()
    assert len({mutant.key for mutant in mutants}) == len(mutants) > 30


def test_rewrite__price_of_coverage__touches_what_is_met() -> None:
    evm, _, mutants = deployed()

    def met(word: int) -> set[int]:
        place = evm.snapshot()
        call(word, COVER)
        found = {int(name, 16) - MARK for name in evm.journal_state}
        evm.revert(place)
        return found & {mutant.number for mutant in mutants}

    branch = {mutant.number for mutant in mutants if "* -> /" in mutant.key}
    assert branch <= met(5)
    assert not branch & met(4)


def test_rewrite__some_mutants_wanted__those_and_no_others() -> None:
    _, _, mutants = deployed()
    wanted = frozenset(mutant.key for mutant in mutants[::3])
    for mutant in mutants:
        # A condition's two mutants come together.
        is_there = mutant.key in wanted or "| condition " in mutant.key
        number = mutant.number if mutant.key in wanted else 0
        for word in WORDS:
            expected = {call(word, number), call(word, mutant.number if is_there else 0)}
            assert call(word, mutant.number, wanted) in expected, mutant.key


DEPLOYED = """
contract Sample {
    constructor() { _check(); }
    fallback() external { _use(); }
    function _check() private {}
    function _use() private { help(); }
    function _leave() private { rest(); }
}
function help() {}
function rest() {}
"""


def test_find_reached__contract__what_its_calls_come_to() -> None:
    """A constructor has run before any mutant is on."""
    settings = {"outputSelection": {"*": {"": ["ast"]}}}
    parsed = run_compiler(Project(ROOT), {SOURCE: DEPLOYED}, settings)
    trees = {SOURCE: parsed["sources"][SOURCE]["ast"]}
    assert find_reached(trees, {SOURCE}) == {"Sample.fallback", "Sample._use", "Sample.help"}
