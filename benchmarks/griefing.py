"""What attacks cost who makes them and who bears them, from the committed gas record.

`python -m benchmarks.griefing` prints the tables of `docs/security.md`, `--write` puts them there.
Nothing is measured here: gas comes from `benchmarks/gas.json`, all else from the constants that the
contracts and the protocol go by.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gas import RECORD
from deltaroll.l1.deployment import DeploymentParameters
from deltaroll.node.batcher import CHUNK_OVERHEAD, MAX_BATCH_BYTES
from deltaroll.protocol.constants import (
    ACCOUNT_DEPTH,
    AUCTION_START,
    CHUNK_DEPTH,
    DATA_GAS,
    INSURANCE_SHARE,
    MAX_CHUNK_GAS,
    PPM,
)

PAGE = Path(__file__).parents[1] / "docs" / "security.md"
BEGIN, END = "<!-- griefing: begin -->", "<!-- griefing: end -->"
DEFAULTS = DeploymentParameters(token="", sequencer="", governor="")
ETHER, GWEI = 10**18, 10**9
TRANSACTION_GAS = 21_000
NEW_WORD_GAS = 22_100
"""A word of storage that was zero: what every message takes, whoever makes many of them."""
COLD_READ_GAS = 2_100
"""A word of storage that the transaction had not touched."""
FORCED_PER_BATCH = 2**CHUNK_DEPTH
"""Overdue messages that a batch can be asked for."""
BLOCK_SECONDS, BLOCK_GAS = 12, 60_000_000
"""Of Ethereum."""
FULL_BLOCK_RISE = 1.125
"""What a full block multiplies the base fee by."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to be a nuisance."""

    name: str
    attacker_gas: int
    attacker_bond: int
    """Wei that are lost for good."""
    defender_gas: int
    defender_loss: int
    """Wei that an honest actor has lost or fails to get."""
    result: str


def compute_floor(size: int) -> int:
    """Return the most that a transaction of so many bytes costs by its calldata alone."""
    return TRANSACTION_GAS + DATA_GAS * size


def list_attacks(figures: Mapping[str, int]) -> Iterator[Attack]:
    """Yield all attacks."""
    yield from list_lies(figures)
    yield from list_proofs(figures)
    yield from list_floods(figures)
    yield from list_others(figures)


def list_lies(figures: Mapping[str, int]) -> Iterator[Attack]:
    """Yield attacks that put up a bond."""
    bond = DEFAULTS.bond
    proof = figures["fraud_proof_16_fills_4_positions"]
    post = figures["submit_batch_overhead"]
    again = compute_floor(MAX_BATCH_BYTES)
    yield Attack(
        "post a wrong root, or break a rule",
        post,
        bond,
        proof,
        0,
        "removed in one transaction; half of the bond pays for it, half is burnt. The proof is "
        "that of 16 fills between accounts of 4 positions",
    )
    yield Attack(
        "post the chunk that is dearest to prove",
        post,
        bond,
        MAX_CHUNK_GAS,
        0,
        "the same: a chunk that could cost more is a fault in itself",
    )
    yield Attack(
        "post a bad signature",
        post,
        bond,
        figures["prove_signature"],
        0,
        "the same, by the cheaper proof",
    )
    yield Attack(
        "post a lie and prove it oneself",
        post + proof,
        bond - bond // 2,
        again,
        0,
        "half of the bond is burnt. Each honest batch on top of the lie is posted again, which "
        "costs no more than this",
    )
    yield Attack(
        "delay exits by a lie below them",
        post,
        bond,
        proof + again,
        0,
        "their window starts again: the delay is the time until the lie is removed, and each one "
        "takes a bond",
    )


def list_proofs(figures: Mapping[str, int]) -> Iterator[Attack]:
    """Yield attacks on who proves."""
    proof = figures["fraud_proof_16_fills_4_positions"]
    blocks = DEFAULTS.challenge_window // BLOCK_SECONDS
    hour = FULL_BLOCK_RISE ** (3_600 // BLOCK_SECONDS)
    yield Attack("send a false proof", proof, 0, 0, 0, "reverts; nothing happens")
    yield Attack(
        "copy a proof and send it first",
        proof,
        0,
        compute_floor(figures["fraud_proof_16_fills_4_positions_bytes"]),
        DEFAULTS.bond // 2,
        "the lie is removed all the same; the reward is the copier's, and the first challenger "
        "pays at most this for a call that ends before the verifier",
    )
    yield Attack(
        "keep a challenger out by the price of gas",
        blocks * BLOCK_GAS,
        0,
        0,
        0,
        f"takes all of {blocks:,} blocks in a row, and every full block raises the price by an "
        f"eighth: by a factor of {hour:.0e} an hour",
    )


def list_floods(figures: Mapping[str, int]) -> Iterator[Attack]:
    """Yield attacks through the queue."""
    post = figures["submit_batch_overhead"]
    accounts = 2**ACCOUNT_DEPTH - 1
    yield Attack(
        f"fill a batch with {FORCED_PER_BATCH} messages",
        TRANSACTION_GAS + FORCED_PER_BATCH * NEW_WORD_GAS,
        0,
        post + FORCED_PER_BATCH * CHUNK_OVERHEAD * DATA_GAS,
        0,
        "at least, in one transaction of a contract, a new word of storage each; the defender pays "
        "at most this, as if each message took a chunk of its own. First come, first served, and "
        "what is left over opens proposing to anyone with a bond",
    )
    yield Attack(
        "race a batch with a message",
        figures["cancel_all"],
        0,
        0,
        0,
        "the batch stands: what came after its head need not be shown while the head is younger "
        "than a message may be. With an older head, one that leaves a message and shows it stands",
    )
    yield Attack(
        "open an account of dust",
        figures["deposit_erc20"],
        0,
        0,
        0,
        f"all {accounts:,} of them take {accounts * NEW_WORD_GAS:,} gas at the very least; what is "
        "deposited into a full tree comes back as an exit",
    )


def list_others(figures: Mapping[str, int]) -> Iterator[Attack]:
    """Yield attacks that take nothing on L1, or give."""
    yield Attack(
        "leave out a withdrawal (the sequencer)",
        0,
        0,
        figures["force_request"],
        0,
        f"a forced request: after {DEFAULTS.forced_delay // 3_600} hours every batch must serve it",
    )
    yield Attack(
        "claim exits of others",
        figures["claim_exit"],
        0,
        0,
        0,
        "a present: the owner is paid",
    )
    yield Attack(
        "record a transfer of an exit that does not exist",
        figures["transfer_claim"],
        0,
        COLD_READ_GAS,
        0,
        "the owner of the real exit at that index is paid all the same, for one look more",
    )
    yield Attack(
        "delay exits by filling the vault's bucket",
        figures["claim_exit"],
        0,
        figures["pay_delayed"],
        0,
        f"takes exits of {DEFAULTS.outflow_ppm // 10_000} % of the vault of one's own a day; what "
        f"comes then is paid {DEFAULTS.outflow_delay // 3_600} hours later by a second "
        "transaction, and never later than that",
    )
    yield Attack(
        "liquidate oneself",
        0,
        0,
        0,
        0,
        f"on L2. {INSURANCE_SHARE * 100 // PPM} % of what a solvent account pays goes to the "
        f"insurance fund, and it pays {AUCTION_START * 100 // PPM} % of maintenance margin at "
        "least; an insolvent one costs the fund what [limits](limits.md) says",
    )
    yield Attack(
        "halt an oracle",
        0,
        0,
        0,
        0,
        "nobody outside a committee can. Its threshold can, for nothing, by silence or by a jump "
        "([limits](limits.md))",
    )


def format_ether(wei: int) -> str:
    """Return an amount of ether, nothing as a dash."""
    return f"{wei / ETHER:g} ETH" if wei else "-"


def format_gas(gas: int) -> str:
    """Return a figure, nothing as a dash."""
    return f"{gas:,}" if gas else "-"


def format_attacks(attacks: Iterable[Attack]) -> Iterator[str]:
    """Yield the lines of the table of attacks."""
    yield "| attack | attacker: gas | attacker: bond | defender: gas | defender: loss | comes to |"
    yield "|---|---:|---:|---:|---:|---|"
    for one in attacks:
        cells = (
            one.name,
            format_gas(one.attacker_gas),
            format_ether(one.attacker_bond),
            format_gas(one.defender_gas),
            format_ether(one.defender_loss),
            one.result,
        )
        yield f"| {' | '.join(cells)} |"


def format_rewards(figures: Mapping[str, int]) -> Iterator[str]:
    """Yield the lines of the table of what a reward covers."""
    reward = DEFAULTS.bond // 2
    yield "| proof | gas | reward | covers it up to |"
    yield "|---|---:|---:|---:|"
    proofs = {
        "bad signature": figures["prove_signature"],
        "fill between accounts of 64 positions": figures["fraud_proof_fill_64_positions"],
        "16 fills, accounts of 4 positions": figures["fraud_proof_16_fills_4_positions"],
        "liquidation of 64 by 64 positions": figures["fraud_proof_liquidate_64_by_64_positions"],
        "dearest legal chunk": MAX_CHUNK_GAS,
    }
    for name, gas in proofs.items():
        price = f"{reward // gas // GWEI:,} gwei"
        yield f"| {name} | {gas:,} | {format_ether(reward)} | {price} |"


def format_tables(figures: Mapping[str, int]) -> str:
    """Return what stands between the marks of the page."""
    lines = [*format_attacks(list_attacks(figures)), "", *format_rewards(figures)]
    return "\n".join(lines)


def replace_tables(page: str, tables: str) -> str:
    """Return the page with these tables.

    Raises
    ------
    ValueError
        When the page does not have both marks once.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"{PAGE.name} needs {BEGIN} and {END}, each once")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main() -> int:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write them into docs/security.md")
    arguments = parser.parse_args()
    tables = format_tables(json.loads(RECORD.read_text(encoding="utf-8")))
    if not arguments.write:
        print(tables)
        return 0
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replace_tables(page, tables), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
