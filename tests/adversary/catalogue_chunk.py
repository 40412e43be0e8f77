"""An honest chunk in a batch of a deployment with the real verifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.signatures import compute_bad_signature
from deltaroll.protocol.state import State, compute_state_root, set_account
from deltaroll.protocol.types import (
    Address,
    Context,
    Timestamp,
    Transaction,
    Transfer,
)
from deltaroll.protocol.witness import encode_signature_witness
from deltaroll.sdk.signing import Signer
from tests.adversary.catalogue_rig import CHALLENGER, L1, chunk
from tests.contracts.reference import ZERO, Chunk, Header
from tests.protocol.money import make_account
from tests.protocol.strategies import Case
from tests.protocol.test_fill import INDEX, MAKER, PERP, RICH, TAKER, build, make_fill
from tests.protocol.verifiers import Outcome, run_python

MAKER_KEY, TAKER_KEY, STRANGER_KEY = (Signer(bytes([number]) * 32) for number in (41, 42, 43))


def build_state() -> State:
    """Two rich accounts whose owners can sign, no positions, an empty queue."""
    state = build()
    for account, key in ((MAKER, MAKER_KEY), (TAKER, TAKER_KEY)):
        set_account(state, account, make_account(Address(key.address), RICH))
    compute_state_root(state)
    return state


@dataclass(frozen=True, slots=True)
class Posted:
    """A chunk that was posted as a batch of its own, and what there is to say about it."""

    l1: L1
    header: Header
    chunk: Chunk
    outcome: Outcome
    signature_witness: bytes

    def proof(self) -> tuple[Any, ...]:
        """Where it is."""
        return self.l1.proof(self.header, self.l1.genesis, [self.chunk])

    def prove(self, gas: int = 1 << 30, **changes: bytes) -> str:
        """Ask for its removal; return the refusal."""
        data = changes.get("data", self.chunk.data)
        witness = changes.get("witness", self.outcome.witness)
        return self.l1.refusal(
            CHALLENGER, self.l1.prover, "prove", self.proof(), data, witness, gas=gas
        )

    def prove_signature(self, gas: int = 1 << 30, position: int = 0) -> str:
        """Ask for its removal because of a signature; return the refusal."""
        return self.l1.refusal(
            CHALLENGER,
            self.l1.prover,
            "proveSignature",
            self.proof(),
            self.chunk.data,
            self.chunk.signatures,
            position,
            self.signature_witness,
            gas=gas,
        )


def post_chunk(post_root: bytes | None = None, garble: int = 0) -> Posted:
    """Deploy around a state, post a transfer and a fill on it; without arguments all is honest.

    Parameters
    ----------
    post_root
        In place of the true one.
    garble
        Changes these bits of the first signature's last byte.
    """
    state = build_state()
    clock = state.globals.clock
    l1 = L1(genesis_root=compute_state_root(state), real=True, time=clock)
    domain = bytes(l1.send(CHALLENGER, l1.prover, "domainSeparator"))
    transfer = Transfer(MAKER, TAKER, 5, 1)
    fill = make_fill(PERP, INDEX, 3)
    assert fill.maker_order is not None
    assert fill.taker_order is not None
    transactions: list[Transaction] = [transfer, fill]
    signatures = b"".join(
        (
            MAKER_KEY.sign_action(domain, transfer),
            MAKER_KEY.sign_order(domain, MAKER, fill.maker_slot, fill.maker_order),
            TAKER_KEY.sign_order(domain, TAKER, fill.taker_slot, fill.taker_order),
        )
    )
    data = encode_chunk(clock, transactions)
    assert compute_bad_signature(state, data, signatures, domain) is None
    genesis = l1.genesis
    context = Context(
        domain, Timestamp(clock), 0, genesis.l1_base_fee, genesis.l1_blob_fee, True, True
    )
    outcome = run_python(Case(state, data, context, len(transactions), ZERO))
    signatures = signatures[:63] + bytes([signatures[63] ^ garble]) + signatures[64:]
    posted = chunk(post_root or outcome.post_root, data, signatures)
    header = l1.post(genesis, [posted])
    witness = encode_signature_witness(state, data, 0)
    return Posted(l1, header, posted, outcome, witness)
