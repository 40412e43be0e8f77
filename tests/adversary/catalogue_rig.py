"""All L1 contracts in one EVM, in process: where the attacks of the catalogue are tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import rlp
from eth_abi import decode, encode
from eth_utils import keccak
from pyrevm import EVM, BlockEnv

from tests.contracts.reference import (
    HEADER_TYPE,
    NO_BRANCH,
    NO_MESSAGE,
    ZERO,
    Chunk,
    Exit,
    Header,
    Message,
    chunk_levels,
    compress,
    encode_globals,
    exit_levels,
    tree_branch,
)
from tests.protocol.evm import artifacts, type_of
from tests.protocol.proving import encode_call

BOND = 10**19
WINDOW = 7 * 86_400
FORCED_DELAY = PROPOSER_DELAY = 12 * 3_600
LIMIT, NO_LIMIT, NO_CAP = (200_000, 86_400, 86_400), (1_000_000, 86_400, 86_400), (0, 0, 0, 0)
FREEZE_DELAY, ORACLE_DELAY, CLAIM_WINDOW = 7 * 86_400, 14 * 86_400, 30 * 86_400
GENESIS_ROOT = keccak(text="genesis")
ROOT = keccak(text="some state")
CHAIN_ID = 1
START = 1_900_000_000
GAS = 1 << 30
FUNDS = 10**12
FOREVER = 2**64 - 1
NOBODY = "0x" + "00" * 20


def actor(number: int) -> str:
    """Address of somebody with ether and without code."""
    return "0x" + f"{number:02x}" * 20


DEPLOYER, SEQUENCER, PROPOSER, CHALLENGER, RIVAL, GOVERNOR, ALICE, BOB = map(
    actor, range(0xA1, 0xA9)
)
ACTORS = (DEPLOYER, SEQUENCER, PROPOSER, CHALLENGER, RIVAL, GOVERNOR, ALICE, BOB)


class Revert(Exception):  # noqa: N818 (what it is called everywhere)
    """A call reverted with a custom error, or with data that name none."""

    def __init__(self, name: str, arguments: tuple[Any, ...], data: bytes) -> None:
        super().__init__(f"{name or data.hex()}{arguments}")
        self.name = name
        self.arguments = arguments
        self.data = data


@cache
def known_errors() -> dict[bytes, tuple[str, list[str]]]:
    """Every custom error of the project by its selector."""
    found = {}
    for artifact in artifacts().values():
        for entry in artifact.abi:
            if entry["type"] == "error":
                types = [type_of(item) for item in entry["inputs"]]
                selector = keccak(text=f"{entry['name']}({','.join(types)})")[:4]
                found[selector] = (entry["name"], types)
    return found


@dataclass(frozen=True, slots=True)
class At:
    """A contract at an address."""

    name: str
    address: str


class Chain:
    """An L1 of one EVM whose clock is set by hand."""

    def __init__(self, time: int = START) -> None:
        self.evm = EVM()
        self.number = 1_000
        self.gas_used = 0
        """Of the last call."""
        self.set_time(time)
        for account in ACTORS:
            self.evm.set_balance(account, 10**24)

    def set_time(self, time: int) -> None:
        """Let the next transaction be in a block at this time."""
        self.time = time
        self.number += 1
        self.evm.set_block_env(BlockEnv(number=self.number, timestamp=time))

    def pass_time(self, seconds: int) -> None:
        """Let time pass."""
        self.set_time(self.time + seconds)

    @contextmanager
    def fork(self) -> Iterator[None]:
        """Undo what the block does: a branch of L1 that is reorganised away."""
        checkpoint, time = self.evm.snapshot(), self.time
        try:
            yield
        finally:
            self.evm.revert(checkpoint)
            self.set_time(time)

    def next_address(self, sender: str, offset: int = 0) -> str:
        """Where a sender's contract goes, so many of its transactions from now."""
        nonce = self.evm.basic(sender).nonce + offset
        return "0x" + keccak(rlp.encode([bytes.fromhex(sender[2:]), nonce]))[12:].hex()

    def deploy(self, name: str, *arguments: Any, sender: str = DEPLOYER) -> At:
        """Deploy a contract of the project."""
        artifact = artifacts()[name]
        types = [
            type_of(item)
            for entry in artifact.abi
            if entry["type"] == "constructor"
            for item in entry["inputs"]
        ]
        code = artifact.bytecode + encode(types, arguments)
        with reverting():
            return At(name, self.evm.deploy(sender, code, gas=GAS))

    def send(
        self,
        sender: str,
        to: At,
        function: str,
        *arguments: Any,
        value: int = 0,
        gas: int = GAS,
    ) -> Any:
        """Send a transaction; return what the function returns, or raise `Revert`."""
        calldata = encode_call(to.name, function, *arguments)
        output = self.send_raw(sender, to, calldata, value, gas)
        (entry,) = [
            entry
            for entry in artifacts()[to.name].abi
            if entry["type"] == "function" and entry["name"] == function
        ]
        values = decode([type_of(item) for item in entry["outputs"]], output)
        return values[0] if len(values) == 1 else values

    def send_raw(
        self, sender: str, to: At, calldata: bytes, value: int = 0, gas: int = GAS
    ) -> bytes:
        """Send bytes."""
        with reverting():
            output = self.evm.message_call(sender, to.address, calldata, value=value, gas=gas)
        result = self.evm.result
        self.gas_used = 0 if result is None else result.gas_used
        return bytes(output)

    def refusal(self, sender: str, to: At, function: str, *arguments: Any, **options: Any) -> str:
        """Try a call and undo it; return the name of the error, "" when it went through."""
        with self.fork():
            try:
                self.send(sender, to, function, *arguments, **options)
            except Revert as problem:
                return problem.name or f"revert {problem.data.hex()}"
        return ""

    def events(self, topic: str) -> list[bytes]:
        """Data of the events of the last transaction that have this signature."""
        result = self.evm.result
        assert result is not None
        wanted = keccak(text=topic)
        return [bytes(log.data[1]) for log in result.logs if bytes(log.data[0][0]) == wanted]


@contextmanager
def reverting() -> Iterator[None]:
    """Turn what pyrevm raises into `Revert`."""
    try:
        yield
    except RuntimeError as problem:
        _, found, rest = str(problem).partition("output: 0x")
        data = bytes.fromhex(rest.partition(" ")[0]) if found else b""
        name, types = known_errors().get(data[:4], ("", []))
        raise Revert(name, tuple(decode(types, data[4:])) if name else (), data) from problem


# A deployment

VERDICT_FRAUD = b"\x00" + (6).to_bytes(32, "big")
"""A witness that makes the mock verifier say WRONG_POST_ROOT."""


def verdict(fault: int) -> bytes:
    """A witness that makes the mock verifier return a word."""
    return b"\x00" + fault.to_bytes(32, "big")


def chunk(post_root: bytes = ROOT, data: bytes = b"data", signatures: bytes = b"signed") -> Chunk:
    """A chunk that says nothing."""
    return Chunk(data, signatures, post_root)


def change(value: Any) -> Any:
    """Return another value of the same ABI type."""
    match value:
        case bytes():
            return keccak(value)
        case str():
            return "0x" + keccak(text=value)[12:].hex()
        case _:
            return value ^ 1


class L1(Chain):
    """The vault, the bridge, the inbox and the prover around a token; verifiers do as the witness
    says, unless the real ones are asked for."""

    def __init__(
        self,
        token: str = "MockUSDC",
        genesis_root: bytes = GENESIS_ROOT,
        real: bool = False,
        time: int = START,
        limit: tuple[int, int, int] = NO_LIMIT,
    ) -> None:
        super().__init__(time)
        self.token = self.deploy(token)
        if real:
            pricer, markets, accounts = (
                self.deploy(name).address
                for name in ("OptionPricer", "MarketExecutor", "AccountExecutor")
            )
            executor = self.deploy("TransitionExecutor", markets, accounts, pricer)
            transition = self.deploy("TransitionVerifier", executor.address)
            signature = self.deploy("SignatureVerifier")
        else:
            transition = signature = self.deploy("MockVerifier")
        self.verifiers = (transition, signature)
        places = [self.next_address(DEPLOYER, offset) for offset in (1, 2, 3, 4)]
        self.vault = self.deploy("MarginVault", self.token.address, places[0], places[3], limit)
        self.bridge = self.deploy("Bridge", self.vault.address, places[1], GOVERNOR, NO_CAP)
        self.parameters = (
            self.bridge.address,
            places[2],
            places[3],
            SEQUENCER,
            WINDOW,
            FORCED_DELAY,
            PROPOSER_DELAY,
            BOND,
            genesis_root,
        )
        self.inbox = self.deploy("RollupInbox", self.parameters)
        self.genesis = self.last_header()
        self.prover = self.deploy(
            "FraudProver", self.inbox.address, transition.address, signature.address
        )
        self.escape_hatch = self.deploy(
            "EscapeHatch", self.inbox.address, FREEZE_DELAY, ORACLE_DELAY, CLAIM_WINDOW
        )
        for account in (SEQUENCER, PROPOSER):
            self.send(account, self.inbox, "bond", value=BOND)
        self.send(ALICE, self.token, "mint", ALICE, FUNDS)
        self.send(ALICE, self.token, "approve", self.bridge.address, FUNDS)

    @property
    def contracts(self) -> tuple[At, ...]:
        """Everything of ours that users and proposers talk to."""
        return (self.vault, self.bridge, self.inbox, self.prover, self.escape_hatch)

    def balance(self, who: str | At) -> int:
        """Collateral of an address."""
        address = who if isinstance(who, str) else who.address
        return int(self.send(DEPLOYER, self.token, "balanceOf", address))

    def last_header(self) -> Header:
        """The header that the last transaction made."""
        (data,) = self.events(f"BatchSubmitted(uint64,bytes32,{HEADER_TYPE})")
        (fields,) = decode([HEADER_TYPE], data)
        return Header(*fields)

    # The queue

    def enqueue(self, sender: str = ALICE, account: int = 1) -> Message:
        """Queue a message."""
        self.send(sender, self.bridge, "cancelAll", account)
        return Message(3, sender, self.time, keccak(account.to_bytes(4, "big")))

    def queue_hash(self, index: int) -> bytes:
        """What the bridge commits to."""
        return bytes(self.send(DEPLOYER, self.bridge, "queueHash", index))

    # Batches

    def batch(
        self,
        previous: Header,
        chunks: Sequence[Chunk] | None = None,
        queue_end: int | None = None,
        queue_hash: bytes | None = None,
        deadline: int = FOREVER,
        following: Message = NO_MESSAGE,
    ) -> tuple[Any, ...]:
        """Argument of `submitBatch`."""
        return (
            tuple(previous),
            previous.queue_end if queue_end is None else queue_end,
            previous.queue_hash if queue_hash is None else queue_hash,
            deadline,
            tuple(following),
            [tuple(item) for item in (chunks or [chunk()])],
        )

    def post(self, previous: Header, *arguments: Any, sender: str = SEQUENCER, **o: Any) -> Header:
        """Post a batch, return its header."""
        self.send(sender, self.inbox, "submitBatch", self.batch(previous, *arguments, **o))
        return self.last_header()

    def proof(
        self,
        header: Header,
        previous: Header,
        chunks: Sequence[Chunk] | None = None,
        index: int = 0,
        **changes: Any,
    ) -> tuple[Any, ...]:
        """Where a chunk is."""
        chunks = chunks or [chunk()]
        levels = chunk_levels([item.commitment for item in chunks])
        prior = chunks[index - 1] if index else Chunk(b"", b"", ZERO)
        fields = {
            "header": tuple(header),
            "previous": tuple(previous),
            "index": index,
            "signature_hash": keccak(chunks[index].signatures),
            "post_root": chunks[index].post_root,
            "branch": tree_branch(levels, index),
            "prior_data_hash": keccak(prior.data),
            "prior_signature_hash": keccak(prior.signatures),
            "prior_post_root": prior.post_root,
            "prior_branch": tree_branch(levels, index - 1) if index else NO_BRANCH,
        }
        return tuple({**fields, **changes}.values())

    def remove(
        self,
        header: Header,
        previous: Header,
        chunks: Sequence[Chunk] | None = None,
        sender: str = CHALLENGER,
    ) -> None:
        """Have the first chunk of a batch proven wrong by a verifier that says so."""
        chunks = chunks or [chunk()]
        proof = self.proof(header, previous, chunks)
        self.send(sender, self.prover, "prove", proof, chunks[0].data, VERDICT_FRAUD)

    def stage(self, header: Header) -> int:
        """0 unknown, 1 pending, 2 settled."""
        return int(self.send(DEPLOYER, self.inbox, "stageOf", tuple(header)))

    def settle(self, header: Header) -> None:
        """Let a batch leave its challenge window."""
        self.set_time(header.l1_time + WINDOW + 1)


class Exits:
    """Exits in a batch, with what it takes to claim them."""

    def __init__(self, l1: L1, recipients: Sequence[str], amount: int = 1_000) -> None:
        self.l1 = l1
        self.exits = [Exit(n, 0, who, amount + n) for n, who in enumerate(recipients)]
        self.levels = exit_levels(self.exits)
        self.globals = encode_globals(self.levels[-1][0])
        self.chunks = [chunk(keccak(self.globals))]
        self.header = l1.genesis

    def post(self, sender: str = SEQUENCER) -> Exits:
        """Post the batch and give the vault money."""
        self.l1.send(ALICE, self.l1.token, "mint", self.l1.vault.address, 10_000)
        self.header = self.l1.post(self.l1.genesis, self.chunks, sender=sender)
        return self

    def settled(self) -> Exits:
        """Post it and let it settle."""
        self.post()
        self.l1.settle(self.header)
        return self

    def arguments(self, index: int = 0, **changes: Any) -> tuple[Any, ...]:
        """Arguments of `claimExit`."""
        branch = compress(tree_branch(self.levels, index))
        fields = {
            "header": self.header,
            "globals": self.globals,
            "exit": self.exits[index],
            **branch._asdict(),
        }
        fields.update(changes)
        return tuple(
            tuple(value) if name in ("header", "exit") else value for name, value in fields.items()
        )

    def claim(self, index: int = 0, sender: str = RIVAL, **changes: Any) -> None:
        """Claim for good."""
        self.l1.send(sender, self.l1.bridge, "claimExit", *self.arguments(index, **changes))

    def refusal(self, index: int = 0, **changes: Any) -> str:
        """Why a claim fails; "" when it would be paid."""
        return self.l1.refusal(
            RIVAL, self.l1.bridge, "claimExit", *self.arguments(index, **changes)
        )
