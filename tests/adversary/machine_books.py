"""What L1's contracts should hold, by the moves that were made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.adversary.machine_stage import HALF
from tests.scenarios.support import BOND, WINDOW


@dataclass(frozen=True)
class Books:
    """What L1's contracts should hold."""

    vault: int
    bonds: dict[str, int]
    """Time of the last batch by bonded proposer."""
    claimed: int = 0
    rewards: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Challenger and time by slashed proposer."""
    burnt: int = 0

    def pay_out(self, amount: int) -> Books:
        """An exit was claimed."""
        return replace(self, vault=self.vault - amount, claimed=self.claimed + amount)

    def put_bond(self, proposer: str) -> Books:
        """A proposer has paid its bond."""
        return replace(self, bonds={**self.bonds, proposer: 0})

    def take_bond(self, proposer: str) -> Books:
        """A bond went back, or is lost."""
        return replace(self, bonds={who: at for who, at in self.bonds.items() if who != proposer})

    def record_batch(self, proposer: str, time: int) -> Books:
        """A proposer has posted."""
        return replace(self, bonds={**self.bonds, proposer: time})

    def slash(self, proposer: str, challenger: str, time: int) -> Books:
        """A proposer's batch was removed."""
        until = time + WINDOW if proposer in self.bonds else self.rewards[proposer][1]
        burnt = self.burnt + (BOND - HALF if proposer in self.bonds else 0)
        rewards = {**self.rewards, proposer: (challenger, until)}
        return replace(self.take_bond(proposer), rewards=rewards, burnt=burnt)

    def pay_reward(self, proposer: str) -> Books:
        """A reward was paid."""
        kept = {who: reward for who, reward in self.rewards.items() if who != proposer}
        return replace(self, rewards=kept)
