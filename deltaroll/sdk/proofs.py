"""Checks what a node says of an account against L1, which it cannot change.

The way is: leaf, by its siblings, to the accounts root; that stands in the globals, whose hash is
the state root; that stands in a batch's header, whose hash L1 holds.
"""

from dataclasses import dataclass

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from deltaroll.l1.commitments import (
    BATCH_SUBMITTED_TOPIC,
    HEADER_ABI,
    compute_header_hash,
    to_header,
    to_header_tuple,
)
from deltaroll.l1.nodes import L1Error, Node, request
from deltaroll.l1.types import Header, Stage
from deltaroll.node.api.data import AccountProof
from deltaroll.protocol.constants import ACCOUNT_DEPTH
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.leaf import decode_account, encode_account, hash_leaf
from deltaroll.protocol.tree import compute_root_from_branch
from deltaroll.protocol.types import Account
from deltaroll.sdk.errors import ProofError
from deltaroll.sdk.rollup import Rollup

LOG_RANGE = 5_000
"""Blocks asked for at once: many nodes refuse more."""
ROOT_AT = slice(2, 34)
"""Where `globals` have the accounts root."""
WORD = 32
HASH_TEXT = 66
"""Characters of a hash in hexadecimal."""
_HEADER_HASH = keccak(b"headerHash(uint64)")[:4]
_BOND_OF = keccak(b"bondOf(address)")[:4]
_BATCH_COUNT = keccak(b"batchCount()")[:4]
_STAGE_OF = keccak(f"stageOf({HEADER_ABI})".encode())[:4]
SETTLED = 2
"""`IRollupInbox.Stage`."""


@dataclass(frozen=True, slots=True)
class Proven:
    """An account as L1 commits to it."""

    number: int
    account: Account | None
    """None: there is no such account."""
    header: Header
    """Of the batch after which it is so."""
    stage: Stage
    """How final L1 is about that batch."""
    newest: int
    """Number of L1's last batch. The node chooses which batch it proves: where this is above the
    header's index, more may have happened since."""


class L1Reader:
    """Reads a rollup's inbox through any L1 node: an Ape provider, an `HttpNode`."""

    def __init__(self, node: Node, rollup: Rollup) -> None:
        self._node = node
        self._rollup = rollup

    def get_bond(self, proposer: bytes) -> int:
        """Return a proposer's bond in wei; L1Error when L1 does not answer."""
        return int.from_bytes(self._call(_BOND_OF + bytes(12) + proposer)[:WORD], "big")

    def get_newest(self) -> int:
        """Return the number of the last batch; L1Error when L1 does not answer."""
        return int.from_bytes(self._call(_BATCH_COUNT)[:WORD], "big") - 1

    def find_header(self, index: int) -> tuple[Header, int]:
        """Return the header of a batch, and the block in which it was posted.

        Raises
        ------
        ProofError
            When L1 has no such batch now.
        L1Error
            When it does not answer.
        """
        held = self._call(_HEADER_HASH + index.to_bytes(WORD, "big"))
        if held == ZERO_HASH:
            raise ProofError(f"batch {index}: L1 has none")
        last = self._get_number("latest")
        while last >= self._rollup.first_block:
            first = max(self._rollup.first_block, last - LOG_RANGE + 1)
            wanted = {
                "address": self._rollup.inbox,
                "fromBlock": hex(first),
                "toBlock": hex(last),
                "topics": [_to_text(BATCH_SUBMITTED_TOPIC), None, _to_text(held)],
            }
            logs = request(self._node, "eth_getLogs", [wanted])
            for log in reversed(logs):
                header = read_header(_to_bytes(log["data"]))
                if compute_header_hash(header) == held and header.index == index:
                    return header, _to_int(log["blockNumber"])
            last = first - 1
        raise ProofError(f"batch {index}: L1 has its hash, and no event that has it")

    def get_stage(self, header: Header, block: int) -> Stage:
        """Return how final a batch is that was posted in a block; L1Error when L1 does not
        answer."""
        data = _STAGE_OF + encode([HEADER_ABI], [to_header_tuple(header)])
        if int.from_bytes(self._call(data), "big") == SETTLED:
            return Stage.SETTLED
        for tag, stage in (("finalized", Stage.FINAL), ("safe", Stage.SAFE)):
            try:
                if block <= self._get_number(tag):
                    return stage
            except L1Error:
                # A node that knows no such block.
                continue
        return Stage.POSTED

    def _call(self, data: bytes) -> bytes:
        call = {"to": self._rollup.inbox, "data": _to_text(data)}
        answer = _to_bytes(request(self._node, "eth_call", [call, "latest"]))
        if len(answer) < WORD:
            raise ProofError(f"L1: there is no inbox at {self._rollup.inbox}")
        return answer

    def _get_number(self, tag: str) -> int:
        block = request(self._node, "eth_getBlockByNumber", [tag, False])
        if not block:
            raise L1Error(f"L1: no {tag} block")
        return _to_int(block["number"])


def read_header(data: bytes) -> Header:
    """Return the header of a BatchSubmitted event; ProofError when it is none."""
    try:
        (fields,) = decode([HEADER_ABI], data)
    except DecodingError as problem:
        raise ProofError(f"header: {problem}") from None
    return to_header(fields)


def verify_account(proof: AccountProof, number: int, header: Header) -> Account | None:
    """Return the account that a proof shows; None when it shows that there is none.

    Parameters
    ----------
    number
        The account that was asked for.
    header
        Of the batch that the proof is about, as L1 commits to it.

    Raises
    ------
    ProofError
        When any part of it is not what the header commits to.
    """
    try:
        leaf = _from_text("leaf", proof.leaf)
        encoded = _from_text("globals", proof.globals)
        branch = [_from_text("branch", sibling) for sibling in proof.branch]
    except ValueError as problem:
        raise ProofError(f"proof: {problem}") from None
    if len(branch) != ACCOUNT_DEPTH or any(len(text) != HASH_TEXT for text in proof.branch):
        raise ProofError(f"branch: not {ACCOUNT_DEPTH} hashes")
    if proof.batch != header.index:
        raise ProofError(f"batch: {proof.batch}, not {header.index}")
    if keccak(encoded) != header.post_root:
        raise ProofError("globals: their hash is not the state root that L1 has")
    node = hash_leaf(leaf) if leaf else ZERO_HASH
    root = compute_root_from_branch(node, number, branch)
    if root != encoded[ROOT_AT]:
        raise ProofError(f"leaf: it is not that of account {number} in this state")
    if not leaf:
        return None
    account, slot_root = decode_account(leaf)
    if encode_account(account, slot_root) != leaf:
        raise ProofError("leaf: it is no account")
    return account


def _to_text(value: bytes) -> str:
    return "0x" + value.hex()


def _from_text(name: str, text: str) -> bytes:
    if not text.startswith("0x"):
        raise ValueError(f"{name}: {text[:20]!r} does not start with 0x")
    return bytes.fromhex(text[2:])


def _to_bytes(value: object) -> bytes:
    return bytes.fromhex(value[2:]) if isinstance(value, str) else bytes(value)  # type: ignore[call-overload]


def _to_int(value: object) -> int:
    return value if isinstance(value, int) else int(str(value), 16)
