"""What an L1 account is about to send, written down before it is sent.

Whoever starts again after any kind of end finds every transaction that may be on L1 or on its way
there, and asks L1 which of them is.
"""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from deltaroll.l1.sending import Fees
from deltaroll.protocol.hashing import keccak

SCHEMA = """
CREATE TABLE IF NOT EXISTS account (owner BLOB PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS intents (
    number INTEGER PRIMARY KEY AUTOINCREMENT, nonce INTEGER NOT NULL, kind TEXT NOT NULL,
    key BLOB NOT NULL, target TEXT NOT NULL, data BLOB NOT NULL, gas INTEGER NOT NULL,
    value TEXT NOT NULL, mined_in INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS attempts (
    intent INTEGER NOT NULL, hash TEXT PRIMARY KEY, raw BLOB NOT NULL, content BLOB NOT NULL,
    fee_limit TEXT NOT NULL, tip TEXT NOT NULL) STRICT;
"""


class JournalError(Exception):
    """The journal on disk is not one, or belongs to another account."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent."""

    target: str
    data: bytes = field(repr=False)
    gas: int
    """Most that it may use."""
    value: int = 0
    """Wei."""

    @property
    def content(self) -> bytes:
        """What tells it from other calls."""
        return keccak(f"{self.target} {self.gas} {self.value} ".encode() + self.data)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction."""

    hash: str
    raw: bytes = field(repr=False)
    content: bytes = field(repr=False)
    """Of the call that it carries."""
    fees: Fees


@dataclass(slots=True)
class Intent:
    """One nonce of the account and what it is for."""

    number: int
    nonce: int
    kind: str
    """What sort of thing is done, "batch" for example; at most one of a sort is on its way."""
    key: bytes
    """Which one of its sort."""
    call: Call
    attempts: list[Attempt] = field(default_factory=list)
    """All that were ever signed for this nonce, other contents included: any may be mined."""
    mined_in: int | None = None
    """L1 block at which the nonce was found to be used."""


class Journal:
    """The intents of one account on one chain that L1 may still decide upon."""

    def __init__(self, path: Path | str, owner: bytes) -> None:
        """Open or create; JournalError when the file is none, or another account's."""
        self._connection = sqlite3.connect(str(path), isolation_level=None)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(SCHEMA)
            row = self._connection.execute("SELECT owner FROM account").fetchone()
        except sqlite3.DatabaseError as problem:
            self._connection.close()
            raise JournalError(f"journal: {path}: {problem}") from problem
        if row is None:
            self._connection.execute("INSERT INTO account VALUES (?)", (owner,))
        elif row[0] != owner:
            self._connection.close()
            raise JournalError(f"journal: {path} belongs to another account or chain")

    def load(self) -> list[Intent]:
        """Return what was written down, by nonce."""
        intents = {
            number: Intent(
                number, nonce, kind, key, Call(target, data, gas, int(value)), mined_in=mined_in
            )
            for number, nonce, kind, key, target, data, gas, value, mined_in in (
                self._connection.execute("SELECT * FROM intents ORDER BY nonce")
            )
        }
        for number, name, raw, content, limit, tip in self._connection.execute(
            "SELECT * FROM attempts ORDER BY rowid"
        ):
            fees = Fees(int(limit), int(tip))
            intents[number].attempts.append(Attempt(name, raw, content, fees))
        return list(intents.values())

    def add(self, nonce: int, kind: str, key: bytes, call: Call) -> Intent:
        """Write down that a nonce will be used; returns the intent."""
        number = self._connection.execute(
            "INSERT INTO intents (nonce, kind, key, target, data, gas, value)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (nonce, kind, key, call.target, call.data, call.gas, str(call.value)),
        ).lastrowid
        assert number is not None
        return Intent(number, nonce, kind, key, call)

    def change(self, intent: Intent, kind: str, key: bytes, call: Call) -> None:
        """Write down that a nonce will be used for something else."""
        self._connection.execute(
            "UPDATE intents SET kind = ?, key = ?, target = ?, data = ?, gas = ?, value = ?"
            " WHERE number = ?",
            (kind, key, call.target, call.data, call.gas, str(call.value), intent.number),
        )
        intent.kind, intent.key, intent.call = kind, key, call

    def add_attempt(self, intent: Intent, attempt: Attempt) -> None:
        """Write down a signed transaction, before any node sees it."""
        self._connection.execute(
            "INSERT OR IGNORE INTO attempts VALUES (?, ?, ?, ?, ?, ?)",
            (
                intent.number,
                attempt.hash,
                attempt.raw,
                attempt.content,
                str(attempt.fees.limit),
                str(attempt.fees.tip),
            ),
        )
        intent.attempts.append(attempt)

    def mark(self, intent: Intent, mined_in: int | None) -> None:
        """Write down in which block a nonce was found used; None when it is open again."""
        self._connection.execute(
            "UPDATE intents SET mined_in = ? WHERE number = ?", (mined_in, intent.number)
        )
        intent.mined_in = mined_in

    def forget(self, intent: Intent) -> None:
        """Drop an intent that L1 will not change its mind about."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("DELETE FROM attempts WHERE intent = ?", (intent.number,))
        self._connection.execute("DELETE FROM intents WHERE number = ?", (intent.number,))
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
