"""Proofs of exits and escapes as files: written by one machine, checked by another that has no L1.

A check uses the protocol's hashes and trees and nothing else. It says what the file proves, given
that L1 holds the header that it names: that last thing only L1 can say.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from deltaroll.amounts import to_money
from deltaroll.l1.commitments import compute_header_hash
from deltaroll.l1.types import Header
from deltaroll.leave.opened import GLOBALS_BYTES, OpenedState, WitnessError, open_witness
from deltaroll.protocol.constants import EXIT_DEPTH
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import encode_exit, hash_leaf
from deltaroll.protocol.tree import compute_root_from_branch
from deltaroll.protocol.types import Address, Exit

FORMAT = "deltaroll.exit.v1"
EXITS_ROOT_AT = 66


class ProofError(Exception):
    """A file is no proof, or proves something else than it says."""


class HeaderRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch header; the fields of `Header`, hashes in hexadecimal."""

    index: int
    previous: str
    post_root: str
    chunks_root: str
    chunk_count: int
    queue_start: int
    queue_end: int
    queue_hash: str
    l1_block: int
    l1_time: int
    l1_base_fee: int
    l1_blob_fee: int
    proposer: str
    data_mode: int
    parameter_hash: str


class ClaimFile(
    msgspec.Struct, frozen=True, tag="claim", tag_field="kind", forbid_unknown_fields=True
):
    """What `Bridge.claimExit` asks for."""

    format: str
    chain_id: int
    bridge: str
    inbox: str
    header: HeaderRecord
    globals: str
    index: int
    recipient: str
    amount: int
    siblings: tuple[str, ...]
    """All of them, from the leaf up."""


class EscapeFile(
    msgspec.Struct, frozen=True, tag="escape", tag_field="kind", forbid_unknown_fields=True
):
    """What `EscapeHatch.escape` asks for, and what it registers."""

    format: str
    chain_id: int
    bridge: str
    escape_hatch: str
    header: HeaderRecord
    witness: str
    account: int
    owner: str
    equity: int


ProofFile = ClaimFile | EscapeFile


@dataclass(frozen=True, slots=True)
class Finding:
    """What a file proves."""

    header_hash: bytes
    post_root: bytes
    batch: int
    text: str


def to_record(header: Header) -> HeaderRecord:
    """Return the form in which a header is written down."""
    values: list[Any] = []
    for name in HeaderRecord.__struct_fields__:
        value = getattr(header, name)
        values.append("0x" + value.hex() if isinstance(value, bytes) else value)
    return HeaderRecord(*values)


def to_header(record: HeaderRecord) -> Header:
    """Return a header as it was written down.

    Raises
    ------
    ProofError
        When a field is no hash or address.
    """
    values: list[Any] = []
    for name in HeaderRecord.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, str):
            value = from_hex(f"header.{name}", value, 20 if name == "proposer" else 32)
        values.append(Address(value) if name == "proposer" else value)
    return Header(*values)


def from_hex(name: str, value: str, length: int | None = None) -> bytes:
    """Return the bytes of a field.

    Raises
    ------
    ProofError
        When it is not hexadecimal, or of another length.
    """
    try:
        result = bytes.fromhex(value.removeprefix("0x"))
    except ValueError:
        raise ProofError(f"{name}: {value[:80]} is not hexadecimal") from None
    if length is not None and len(result) != length:
        raise ProofError(f"{name}: {len(result)} bytes instead of {length}")
    return result


def write_proof(path: Path, proof: ProofFile) -> None:
    """Write a proof, readable; replaces the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(proof), indent=2) + b"\n")
    temporary.replace(path)


def read_proof(path: Path) -> ProofFile:
    """Return the proof in a file.

    Raises
    ------
    ProofError
        When it is missing or malformed.
    """
    try:
        proof: ProofFile = msgspec.json.decode(path.read_bytes(), type=ProofFile)
    except FileNotFoundError:
        raise ProofError(f"proof: {path} does not exist") from None
    except msgspec.DecodeError as problem:
        raise ProofError(f"proof: {path}: {problem}") from problem
    if proof.format != FORMAT:
        raise ProofError(f"format: {proof.format} instead of {FORMAT}")
    return proof


def check_proof(proof: ProofFile, header_hash: bytes | None = None) -> Finding:
    """Check a proof with nothing but its own bytes, and return what it proves.

    Parameters
    ----------
    header_hash
        Of the batch, as L1 has it, from a source that is trusted.

    Raises
    ------
    ProofError
        When anything in it does not fit the rest, or the given hash.
    """
    header = to_header(proof.header)
    found = compute_header_hash(header)
    if header_hash is not None and found != header_hash:
        raise ProofError(f"header: hashes to 0x{found.hex()}, not to 0x{header_hash.hex()}")
    if isinstance(proof, ClaimFile):
        text = _check_claim(proof, header)
    else:
        text = _check_escape(proof, header)
    return Finding(found, header.post_root, header.index, text)


def _check_claim(proof: ClaimFile, header: Header) -> str:
    encoding = from_hex("globals", proof.globals, GLOBALS_BYTES)
    if keccak(encoding) != header.post_root:
        raise ProofError("globals: do not hash to the header's post root")
    root = encoding[EXITS_ROOT_AT : EXITS_ROOT_AT + 32]
    branch = [from_hex(f"siblings[{n}]", value, 32) for n, value in enumerate(proof.siblings)]
    if len(branch) != EXIT_DEPTH:
        raise ProofError(f"siblings: {len(branch)} instead of {EXIT_DEPTH}")
    if not 0 <= proof.index < 1 << EXIT_DEPTH:
        raise ProofError(f"index: {proof.index} is outside the exit tree")
    if not 0 < proof.amount < 1 << 128:
        raise ProofError(f"amount: {proof.amount} is outside 1..2^128 - 1")
    leaf = Exit(0, Address(from_hex("recipient", proof.recipient, 20)), proof.amount)
    if compute_root_from_branch(hash_leaf(encode_exit(leaf)), proof.index, branch) != root:
        raise ProofError("siblings: do not lead from this exit to the exit root")
    return (
        f"exit {proof.index} pays {to_money(proof.amount)} to {proof.recipient} in the state "
        f"after batch {header.index}"
    )


def _check_escape(proof: EscapeFile, header: Header) -> str:
    try:
        opened = open_witness(from_hex("witness", proof.witness))
    except WitnessError as problem:
        raise ProofError(f"witness: {problem}") from problem
    if opened.state_root != header.post_root:
        raise ProofError("witness: opens another state than the header's")
    account = opened.accounts.get(proof.account)
    if account is None:
        raise ProofError(f"account: the witness does not open {proof.account}")
    if "0x" + account.owner.hex() != proof.owner.lower():
        raise ProofError(f"owner: account {proof.account} belongs to 0x{account.owner.hex()}")
    equity = _compute_equity(opened, proof.account)
    if equity != proof.equity:
        raise ProofError(f"equity: {to_money(equity)} instead of {to_money(proof.equity)}")
    return (
        f"account {proof.account} of {proof.owner} has an equity of {to_money(equity)} in the "
        f"state after batch {header.index}"
    )


def _compute_equity(opened: OpenedState, account: int) -> int:
    try:
        return opened.compute_equity(account)
    except WitnessError as problem:
        raise ProofError(f"witness: {problem}") from problem
