"""What is fuzzed for totality: any bytes become an input, and only a Fault may come of it.

Three targets. `decoder` takes bytes as a chunk's data. `transition` takes them as choices of the
generator in `tests/protocol/strategies.py`, or as a message and a chunk on one of its worlds.
`witness` takes them as a script that damages the true witness of a chunk.

`python -m tests.adversary.fuzz_targets` replays `tests/adversary/corpus` on both implementations.
With `--atheris --seconds N --target T` it looks for new entries first, led by coverage of
`deltaroll/protocol`, and keeps in `--out` what adds to it.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import log2
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from deltaroll.protocol.codec import decode_chunk, encode_chunk
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.state import compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import ZERO_ADDRESS, Context, Message, Timestamp
from tests.protocol.strategies import (
    BUILDERS,
    DOMAIN,
    OWNERS,
    WORLDS,
    Case,
    generate_case,
    world_of,
)

CORPUS = Path(__file__).resolve().parent / "corpus"
DECODER, TRANSITION, WITNESS = "decoder", "transition", "witness"
TARGETS = (DECODER, TRANSITION, WITNESS)
MAX_INPUT = {DECODER: 400, TRANSITION: 1_500, WITNESS: 60}
"""Bytes of an input; longer ones are cut. Keeps the corpus small and each run short."""
RAW = 192
"""First bytes from here on are followed by a message and a chunk, others by choices."""
RAW_HEAD = 6
CLOCK_STEPS = (0, 0, 1, 5, 30, 90, 301, 5_000)
SPARE = 300
"""Messages without meaning behind the first: more than a chunk can consume."""
BASES = 48
"""Chunks whose witnesses are damaged."""
BASE_SEED = 4
WORD = 32
PROTOCOL = "deltaroll/protocol/"
Feature = tuple[object, ...]
"""What an input reaches."""


class BytesRandom(Random):
    """A generator whose choices are bytes: who changes one byte changes one choice.

    When there are no more bytes, a generator with a fixed seed goes on: zeros for ever would keep
    `sample` from ending.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._bytes = data
        self._at = 0
        self._rest = Random(0)

    def random(self) -> float:
        """A number in [0, 1), from one byte."""
        return self.getrandbits(8) / 256

    def getrandbits(self, k: int, /) -> int:
        """The next k bits."""
        size = (k + 7) // 8
        taken = self._bytes[self._at : self._at + size]
        if len(taken) < size:
            return self._rest.getrandbits(k)
        self._at += size
        return int.from_bytes(taken, "big") & ((1 << k) - 1)


def make_case(data: bytes) -> Case:
    """Return the chunk and the state that bytes stand for."""
    if data[:1] < bytes((RAW,)):
        return generate_case(BytesRandom(data[1:]))
    return make_raw_case(data[1:])


def make_raw_case(data: bytes) -> Case:
    """World, clock, flags, one message, then the chunk behind its clock: as they come."""
    head = data[:RAW_HEAD].ljust(RAW_HEAD, b"\0")
    kind = sorted(BUILDERS)[head[0] % len(BUILDERS)]
    state = world_of(kind, head[1] % (WORLDS if kind != "big" else 3)).state
    clock = state.globals.clock + CLOCK_STEPS[head[2] % len(CLOCK_STEPS)]
    flags = head[3]
    start = state.globals.queue_index
    length = head[5]
    body = data[RAW_HEAD : RAW_HEAD + length]
    sender = (*(owner.address for owner in OWNERS), ZERO_ADDRESS, ZERO_ADDRESS)[flags & 7]
    state.messages[start] = Message(head[4], sender, Timestamp(7), body)
    for index in range(start + 1, start + SPARE):
        state.messages[index] = Message(1, ZERO_ADDRESS, Timestamp(9), bytes(40))
    chunk = clock.to_bytes(5, "big") + data[RAW_HEAD + length :]
    context = Context(
        DOMAIN,
        Timestamp(clock + (flags >> 3 & 1)),
        start + (flags >> 4 & 3),
        flags << 20,
        flags,
        bool(flags & 64),
        bool(flags & 128),
    )
    before = keccak(start.to_bytes(8, "big")) if start else bytes(32)
    return Case(state, chunk, context, 1, before)


def run_decoder(data: bytes) -> None:
    """Decode, and encode again what decodes: there is one byte string for each meaning."""
    try:
        clock, transactions = decode_chunk(data)
    except TransitionFault:
        return
    assert encode_chunk(clock, transactions) == data


def run_transition(data: bytes) -> None:
    """Apply a chunk and take it back: a fault, or a root, and the state is as before."""
    case = make_case(data)
    state = case.state
    before = compute_state_root(state)
    state.begin()
    with suppress(TransitionFault):
        process_chunk(state, case.data, case.context)
        compute_state_root(state)
    state.rollback()
    assert compute_state_root(state) == before


PYTHON: dict[str, Callable[[bytes], None]] = {
    DECODER: run_decoder,
    TRANSITION: run_transition,
}
"""Targets that atheris can see into."""


def make_base(number: int) -> Case:
    """The n-th case whose witness is damaged."""
    return generate_case(Random(BASE_SEED << 32 | number))


def damage(witness: bytes, script: bytes) -> bytes:
    """Return a witness changed by a script of five-byte steps: what, where, how."""
    for at in range(0, len(script) - 4, 5):
        what, where, how = script[at], script[at + 1 : at + 3], script[at + 3 : at + 5]
        place = int.from_bytes(where, "big") % max(1, len(witness))
        other = int.from_bytes(how, "big") % max(1, len(witness))
        head, tail = witness[:place], witness[place:]
        match what % 9:
            case 0:
                bit = 1 << (how[0] & 7)
                witness = head + bytes(byte ^ bit for byte in tail[:1]) + tail[1:]
            case 1:
                witness = head + how[:1] + tail[1:]
            case 2:
                witness = head + tail[1 + how[0] :]
            case 3:
                witness = head + how[:1] * (1 + how[1] % 64) + tail
            case 4:
                size = 1 + how[0]
                witness = head + tail[:size] + tail
            case 5:
                witness = head + witness[other : other + WORD] + tail[WORD:]
            case 6:
                one, two = tail[:WORD], tail[WORD : 2 * WORD]
                witness = head + two + one + tail[2 * WORD :]
            case 7:
                witness = head + how + tail[2:]
            case _:
                witness = head if how[0] & 1 else witness + witness[place : place + how[1]]
    return witness


# Corpus


def read_corpus(target: str, folder: Path = CORPUS) -> list[bytes]:
    """Return the entries of a target in the order of their names."""
    return [path.read_bytes() for path in sorted((folder / target).iterdir())]


def write_entry(data: bytes, folder: Path) -> None:
    """Keep an input under a name that follows from it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / keccak(data)[:6].hex()).write_bytes(data)


def mutate(rng: Random, entries: list[bytes], limit: int) -> bytes:
    """Return an entry with a few bytes changed, moved, or taken from another."""
    data = bytearray(rng.choice(entries))
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            case 2:
                del data[at : at + rng.randint(1, 8)]
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 4:
                data[at:] = rng.choice(entries)[at:]
            case _:
                source = rng.choice(entries)
                start = rng.randrange(len(source) + 1)
                part = source[start : start + rng.randint(1, 40)]
                data[at : at + len(part)] = part
    return bytes(data[:limit])


def make_seeds(target: str, count: int = 400) -> Iterator[bytes]:
    """Inputs to begin with."""
    rng = Random(f"seeds {target}")
    if target == WITNESS:
        for number in range(count):
            yield bytes((number % BASES, number & 0xFF)) + rng.randbytes(5 * rng.randint(0, 3))
        return
    for number in range(count):
        case = generate_case(Random(number))
        if target == DECODER:
            yield case.data[: MAX_INPUT[DECODER]]
            continue
        yield bytes((number % RAW,)) + rng.randbytes(rng.choice((40, 150, 400, 1_200)))
        yield from _raw_seed(case)


def _raw_seed(case: Case) -> Iterator[bytes]:
    """The bytes that stand for a case, but for its clock."""
    for kind_number, kind in enumerate(sorted(BUILDERS)):
        for number in range(WORLDS if kind != "big" else 3):
            if world_of(kind, number).state is case.state:
                message = case.state.messages.get(case.state.globals.queue_index)
                body = b"" if message is None else message.body[:255]
                message_kind = 1 if message is None else message.kind
                head = bytes((RAW, kind_number, number, 0, 0x17, message_kind, len(body)))
                yield head + body + case.data[5:]


# Search


def instrument(atheris: Any) -> int:
    """Let atheris see every branch of `deltaroll/protocol`; return how many functions it sees."""
    count = 0
    for name, module in list(sys.modules.items()):
        if not name.startswith("deltaroll.protocol"):
            continue
        for item in list(vars(module).values()):
            if inspect.isfunction(item) and item.__module__ == name:
                atheris.instrument_func(item)
                count += 1
            elif inspect.isclass(item) and item.__module__ == name:
                for method in vars(item).values():
                    if inspect.isfunction(method) and method.__module__ == name:
                        atheris.instrument_func(method)
                        count += 1
    return count


def load_atheris() -> Any:
    """Return atheris, which the project does not depend on."""
    try:
        return importlib.import_module("atheris")
    except ImportError:
        message = "atheris is not installed: pip install atheris==3.0.0 (Python 3.11, Linux)"
        raise SystemExit(message) from None


def run_atheris(target: str, flags: list[str]) -> None:
    """Hand this process to libFuzzer, which ends it."""
    atheris = load_atheris()
    print(f"{target}: {instrument(atheris)} functions of deltaroll/protocol instrumented")
    limit = MAX_INPUT[target]
    atheris.Setup(
        [sys.argv[0], *flags, f"-max_len={limit}", "-timeout=60", "-rss_limit_mb=4096"],
        PYTHON[target],
    )
    atheris.Fuzz()


def search(target: str, seconds: int, seed: int, out: Path) -> None:
    """Look for entries that add coverage, then keep as few of them in `out` as have all of it."""
    found = out / f"{target}.found"
    if target == WITNESS:
        search_witness(seconds, seed, found)
        minimise(target, found, out / target)
        return
    load_atheris()
    for data in (*make_seeds(target), *read_corpus(target)):
        write_entry(data, found)
    # What libFuzzer is told comes last: see `main`.
    command = [sys.executable, "-m", "tests.adversary.fuzz_targets", "--target", target, "--flags"]
    flags = [f"-artifact_prefix={found.parent}/crash-{target}-", f"-seed={seed}"]
    subprocess.run([*command, *flags, f"-max_total_time={seconds}", str(found)], check=False)
    minimise(target, found, out / target)


def trace_arcs(target: str, data: bytes) -> set[Feature]:
    """Run an input; return which line of the protocol came after which."""
    arcs: set[Feature] = set()

    def enter(frame: FrameType, event: str, _: object) -> Any:
        if PROTOCOL not in frame.f_code.co_filename:
            return None
        last = 0

        def step(inner: FrameType, event: str, _: object) -> Any:
            nonlocal last
            arcs.add((id(inner.f_code), last, inner.f_lineno, event))
            last = inner.f_lineno
            return step

        return step(frame, event, None)

    sys.settrace(enter)
    try:
        PYTHON[target](data)
    finally:
        sys.settrace(None)
    return arcs


def answer_features(data: bytes) -> set[Feature]:
    """What stands for coverage of the witness reader, which is Solidity.

    The answer for this chunk, and the answer with the gas that it took.
    """
    totality = importlib.import_module("tests.adversary.totality")
    found = totality.probe(WITNESS, data)
    number = data[0] % BASES if data else 0
    return {(number, found.answer), (found.answer, "gas", round(2 * log2(1 + found.gas)))}


def minimise(target: str, found: Path, kept: Path) -> None:
    """Copy the entries that reach something new, short ones first."""
    seen: set[Feature] = set()
    entries = sorted((path.read_bytes() for path in found.iterdir()), key=lambda e: (len(e), e))
    count = 0
    for data in entries:
        reached = answer_features(data) if target == WITNESS else trace_arcs(target, data)
        if not reached <= seen:
            seen |= reached
            count += 1
            write_entry(data, kept)
    print(f"{target}: {len(entries):,} found, {count:,} kept with {len(seen):,} features")


def search_witness(seconds: int, seed: int, found: Path) -> None:
    """Change entries for a while and write down those that reach something new."""
    rng = Random(seed)
    seen: set[Feature] = set()
    entries: list[bytes] = []
    queue = [*make_seeds(WITNESS), *read_corpus(WITNESS)]
    until = time.monotonic() + seconds
    attempts = 0
    while time.monotonic() < until:
        data = queue.pop() if queue else mutate(rng, entries, MAX_INPUT[WITNESS])
        attempts += 1
        reached = answer_features(data)
        if not reached <= seen:
            seen |= reached
            entries.append(data)
            write_entry(data, found)
    print(f"{WITNESS}: {attempts:,} attempts, {len(seen):,} features")


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atheris", action="store_true", help="look for new entries first")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=TARGETS, help="all of them if left out")
    parser.add_argument("--out", type=Path, default=Path("build") / "corpus")
    # What follows goes to libFuzzer as it is.
    parser.add_argument("--flags", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    targets = TARGETS if arguments.target is None else (arguments.target,)
    if arguments.flags is not None:
        run_atheris(arguments.target, arguments.flags)
    if arguments.atheris:
        for target in targets:
            search(target, arguments.seconds, arguments.seed, arguments.out)
    totality = importlib.import_module("tests.adversary.totality")
    return int(totality.replay(targets))


if __name__ == "__main__":
    sys.exit(main())
