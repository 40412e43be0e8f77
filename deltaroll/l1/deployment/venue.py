"""The file that says what a venue is: one for each network, every field by name and checked."""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.markets import Markets
from deltaroll.l1.deployment.units import (
    L1Address,
    Moment,
    Parts,
    Seconds,
    Units,
    Wei,
    decode_unit,
)
from deltaroll.protocol.constants import PPM

DEPLOYER = "deployer"
"""Stands for the account that deploys."""
TEST_TOKEN = "test"
"""Stands for a token of its own that anyone can mint."""


class Windows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times that the contracts go by."""

    challenge: Seconds
    """In which a batch can be proven wrong."""
    forced_inclusion: Seconds
    """After which a batch has to serve a message of the queue."""
    open_proposing: Seconds
    """Of silence after which anyone with a bond may propose."""
    freeze: Seconds
    """Without a batch, with a message waiting, after which anyone may freeze."""
    unpriced: Seconds
    """Without a price of what somebody holds after which anyone may freeze."""
    claims: Seconds
    """In which equity is registered before a frozen rollup pays."""


class Outflow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much may leave the vault at once; what is beyond it is paid later."""

    share: Parts = Parts(PPM // 5)
    """Of the vault; `100 %`: no limit."""
    period: Seconds = Seconds(86_400)
    """In which that is replenished."""
    delay: Seconds = Seconds(86_400)
    """That an exit beyond it waits."""


class DepositCap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much a young venue takes."""

    initial: Units
    """Up to `start`, in whole tokens."""
    start: Moment
    end: Moment
    """From here on there is no cap."""
    per_day: Units = Units(0)
    """What it grows by in between, in whole tokens."""


class Guardian(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may tighten margins or close markets for a while, and how far."""

    address: L1Address
    maintenance: Parts
    """Most that maintenance margin can be raised to, of what the timelock has set."""
    initial: Parts
    """The same of initial margin."""
    period: Seconds
    """After which an emergency is over."""
    cooldown: Seconds
    """Until the same market can have another."""


class Governance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may change parameters, and after how long."""

    proposers: tuple[L1Address, ...]
    delay: Seconds
    guardian: Guardian | None = None


class VenueFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A venue."""

    venue: str
    """Its name: addresses follow from it."""
    chain_id: int
    token: str
    """The collateral's address, or `test`."""
    sequencer: str
    """Address that posts batches, or `deployer`."""
    windows: Windows
    bond: Wei
    """Of each proposer."""
    outflow: Outflow = Outflow()
    deposit_cap: DepositCap | None = None
    governance: Governance | None = None
    governor: str | None = None
    """On development chains: a plain address instead, or `deployer`."""
    token_holder: L1Address | None = None
    """Somebody who has some of the token: its transfers are tried out as theirs."""
    markets: Markets = Markets()


class StringLoader(yaml.BaseLoader):
    """Leaves every scalar a string, since YAML would take an address for a number, and refuses a
    key that stands twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def read_venue(path: Path) -> VenueFile:
    """Return the venue in a file.

    Raises
    ------
    DeploymentError
        Names the file, and the field with its value and rule.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), StringLoader)
        return msgspec.convert(content, VenueFile, strict=False, dec_hook=decode_unit)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as problem:
        raise DeploymentError(f"{path}: {problem}") from None
