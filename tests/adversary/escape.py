"""Escape: whatever witness is shown, nothing is registered but an owner's own equity.

The final states are those of honest trading. Each forgery of the soundness campaign is tried on the
witness of some accounts, among others with leaves and siblings of the same accounts at other times.
An attempt has gone through when a claim differs from what the Python twin says of the true state.
Beside each class stands the honest witness, which must register all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from deltaroll.node.escape import compute_claims, compute_escape_witness, touch_holdings
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.state import Meter, State, compute_state_root, reset_meter
from deltaroll.protocol.types import AccountId
from tests.adversary.campaign import Effort, Ledger, Row
from tests.adversary.catalogue_rig import ALICE, RIVAL, Revert
from tests.adversary.soundness_flow import Chunk, copy_state, write_story
from tests.adversary.soundness_witness import FORGERS, Target
from tests.contracts.escape_rig import Exodus, make_state

KINDS = ("normal", "extreme", "options")
"""Worlds of the stories, in turns."""
FORGERIES = 6
"""Of each class for each final state."""
TRIES = 3
ESCAPED = keccak(b"Escaped(uint32,address,uint96)")
Claims = dict[AccountId, tuple[bytes, int]]
"""Owner and amount by account."""


@dataclass(frozen=True)
class Scene:
    """An opened rollup, and what may be claimed of it."""

    exodus: Exodus
    state: State
    accounts: list[AccountId]
    """That the honest witness opens."""
    truth: Claims
    """Of every account there is."""

    def send(self, witness: bytes) -> Claims:
        """Show a witness; return what it registers."""
        exodus = self.exodus
        exodus.send(RIVAL, exodus.hatch, "escape", witness)
        result = exodus.evm.result
        assert result is not None
        claims: Claims = {}
        for log in result.logs:
            topics, data = log.data
            if bytes(topics[0]) == ESCAPED:
                account = AccountId(int.from_bytes(bytes(topics[1]), "big"))
                claims[account] = (bytes(topics[2])[12:], int.from_bytes(bytes(data), "big"))
        return claims


def compute_truth(state: State) -> Claims:
    """Return what each account may claim."""
    claims = compute_claims(state, state.accounts)
    return {key: (state.accounts[key].owner, amount) for key, amount in claims.items()}


def attack(effort: Effort) -> Iterable[Row]:
    """Try to register what is not one's own."""
    return survey(effort).to_rows()


def survey(effort: Effort) -> Ledger:
    """Run all forgeries on so many stories."""
    ledger = Ledger()
    exodus = Exodus(make_state({}))
    for number in range(2 * effort.scale):
        kind = KINDS[number % len(KINDS)]
        rng = Random(f"escape {effort.seed} {number}")
        story = write_story(rng, kind)
        chunks = [chunk for batch in story.batches for chunk in batch.chunks]
        final = rng.choice(chunks[len(chunks) // 2 :])
        state = copy_state(final.state)
        with exodus.fork():
            last, before = exodus.last, exodus.state
            exodus.adopt(state)
            backing = state.globals.deposited - state.globals.withdrawn
            exodus.send(ALICE, exodus.token, "mint", exodus.vault.address, backing)
            exodus.open()
            truth = compute_truth(state)
            chosen = sorted(rng.sample(sorted(truth), min(4, len(truth))))
            label = f"seed {effort.seed}, story {number} ({kind})"
            forge_all(ledger, rng, Scene(exodus, state, chosen, truth), chunks, label)
            exodus.last, exodus.state = last, before
    return ledger


def forge_all(
    ledger: Ledger, rng: Random, scene: Scene, others: Sequence[Chunk], label: str
) -> None:
    """Try every forgery, and the honest witness after it."""
    honest = compute_escape_witness(scene.state, scene.accounts)
    target = Target(honest, scene.state, compute_meter(scene), others)
    for forgery, forge in FORGERS.items():
        name = f"escape: {forgery}"
        for _ in range(FORGERIES):
            forged = honest
            for _ in range(TRIES):
                forged = forge(rng, target)
                if forged != honest:
                    break
            if forged != honest:
                try_witness(ledger, name, scene, forged, label)
        prove(ledger, name, scene, honest, label)


def compute_meter(scene: Scene) -> Meter:
    """Return what the honest witness touches."""
    state = scene.state
    compute_state_root(state)
    reset_meter(state)
    for account in scene.accounts:
        touch_holdings(state, account)
    meter = state.meter
    reset_meter(state)
    return meter


def try_witness(ledger: Ledger, name: str, scene: Scene, witness: bytes, label: str) -> None:
    """Show a forged witness: it may be refused, or register the truth."""
    exodus = scene.exodus
    with exodus.fork():
        try:
            claims = scene.send(witness)
        except Revert:
            ledger.count(name)
            return
        gas = exodus.gas_used
        wrong = {key: claim for key, claim in claims.items() if scene.truth.get(key) != claim}
        total = int(exodus.ask("totalClaims"))
        if wrong or total != sum(amount for _, amount in claims.values()):
            ledger.accept(name, f"{label}, witness {keccak(witness).hex()}: {wrong}", gas)
        else:
            ledger.count(name, gas)


def prove(ledger: Ledger, name: str, scene: Scene, honest: bytes, label: str) -> None:
    """Show the honest witness: all of it is registered."""
    exodus = scene.exodus
    expected = {key: scene.truth[key] for key in scene.accounts}
    with exodus.fork():
        try:
            claims = scene.send(honest)
        except Revert as problem:
            ledger.refuse(name, f"{label}: {problem}")
            return
        if claims == expected:
            ledger.count(name, exodus.gas_used)
        else:
            ledger.refuse(name, f"{label}: {claims} instead of {expected}")
