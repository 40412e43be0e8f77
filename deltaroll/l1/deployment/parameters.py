"""What the contracts are told, checked without a chain."""

from dataclasses import dataclass
from enum import IntEnum

from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.units import parse_address
from deltaroll.l1.deployment.venue import DEPLOYER, Governance, VenueFile
from deltaroll.protocol.constants import MAX_CHUNK_GAS, PPM

PARAMETER_BITS = 64
"""Of every number that a venue decides."""
TIMES = (
    "challenge_window",
    "forced_delay",
    "proposer_delay",
    "freeze_delay",
    "oracle_delay",
    "claim_window",
    "outflow_period",
    "outflow_delay",
)
HOUR, DAY = 3_600, 86_400
EXIT_WINDOW = 30 * DAY
"""What a change of parameters leaves everybody net, as in `ExitWindowTimelock`."""
GWEI = 10**9


class Level(IntEnum):
    """How much is at stake on a chain."""

    DEVELOPMENT = 0
    TESTNET = 1
    MAINNET = 2
    """Also any chain that is not known."""


DEVELOPMENT_CHAINS = frozenset((1337, 31337))
TESTNETS = frozenset((17_000, 560_048, 11_155_111))
"""Holesky, Hoodi, Sepolia."""


@dataclass(frozen=True, slots=True)
class Floors:
    """Least values on a chain where more than a developer's time is at stake."""

    challenge_window: int
    forced_delay: int
    claim_window: int
    proof_price: int
    """Wei per gas up to which half a bond pays for the dearest proof."""
    members: int
    """Of an oracle committee."""


FLOORS = {
    Level.TESTNET: Floors(HOUR, 10 * 60, HOUR, GWEI // 100, 1),
    Level.MAINNET: Floors(7 * DAY, HOUR, 7 * DAY, 50 * GWEI, 3),
}


@dataclass(frozen=True, slots=True)
class DeploymentParameters:
    """What a venue decides once."""

    token: str
    """The collateral, an ERC-20 without fees on transfer."""
    sequencer: str
    governor: str = ""
    """Sender of `Bridge.configure` on a development chain; without meaning beside `governance`."""
    challenge_window: int = 7 * DAY
    """Seconds."""
    forced_delay: int = 12 * HOUR
    """Seconds."""
    proposer_delay: int = 12 * HOUR
    """Seconds."""
    freeze_delay: int = 7 * DAY
    """Seconds without a batch, with a message waiting, after which anyone may freeze."""
    oracle_delay: int = 14 * DAY
    """Seconds without a price of what somebody holds after which anyone may freeze."""
    claim_window: int = 30 * DAY
    """Seconds in which equity is registered before a frozen rollup pays."""
    bond: int = 10**18
    """Wei."""
    outflow_ppm: int = 200_000
    """Parts per million of the vault that may leave at once; a million: no limit."""
    outflow_period: int = DAY
    """Seconds in which that is replenished."""
    outflow_delay: int = DAY
    """Seconds that an exit beyond it waits."""
    cap_initial: int = 0
    """Most collateral units that the vault may hold at `cap_start`; all four zero: no cap."""
    cap_per_day: int = 0
    """Collateral units that the cap grows by in a day."""
    cap_start: int = 0
    """When the cap begins to grow, in seconds since 1970."""
    cap_end: int = 0
    """When it ends."""
    governance: Governance | None = None
    """The gate behind the timelock instead of a plain governor."""
    initial: tuple[bytes, ...] = ()
    """Configure bodies that the gate sends first."""


def get_level(chain_id: int) -> Level:
    """Return what is at stake on a chain."""
    if chain_id in DEVELOPMENT_CHAINS:
        return Level.DEVELOPMENT
    return Level.TESTNET if chain_id in TESTNETS else Level.MAINNET


def validate_address(name: str, value: str) -> None:
    """Check that a parameter is an address, its checksum right if it has one, and not zero.

    Raises
    ------
    DeploymentError
    """
    resolve(name, value, value)


def resolve(name: str, value: str, deployer: str) -> str:
    """Return an address of a file, `deployer` replaced.

    Raises
    ------
    DeploymentError
    """
    try:
        return parse_address(deployer if value == DEPLOYER else value)
    except ValueError as problem:
        raise DeploymentError(f"{name}: {problem}") from None


def make_parameters(
    venue: VenueFile, deployer: str, token: str, initial: tuple[bytes, ...]
) -> DeploymentParameters:
    """Return what a venue's file tells the contracts.

    Raises
    ------
    DeploymentError
        For an address that is none.
    """
    windows, cap = venue.windows, venue.deposit_cap
    return DeploymentParameters(
        token=token,
        sequencer=resolve("sequencer", venue.sequencer, deployer),
        governor=resolve("governor", venue.governor, deployer) if venue.governor else "",
        challenge_window=windows.challenge,
        forced_delay=windows.forced_inclusion,
        proposer_delay=windows.open_proposing,
        freeze_delay=windows.freeze,
        oracle_delay=windows.unpriced,
        claim_window=windows.claims,
        bond=venue.bond,
        outflow_ppm=venue.outflow.share,
        outflow_period=venue.outflow.period,
        outflow_delay=venue.outflow.delay,
        cap_initial=cap.initial if cap else 0,
        cap_per_day=cap.per_day if cap else 0,
        cap_start=cap.start if cap else 0,
        cap_end=cap.end if cap else 0,
        governance=venue.governance,
        initial=initial,
    )


def validate_decisions(parameters: DeploymentParameters) -> None:
    """Check what holds on every chain: all but the token.

    Raises
    ------
    DeploymentError
        Names field, value and rule.
    """
    validate_address("sequencer", parameters.sequencer)
    for name in (*TIMES, "bond", "outflow_ppm"):
        value = getattr(parameters, name)
        if value <= 0:
            raise DeploymentError(f"{name}: {value} is not positive")
        if value >= 1 << PARAMETER_BITS:
            raise DeploymentError(f"{name}: {value} does not fit {PARAMETER_BITS} bits")
    validate_vault(parameters)
    if parameters.freeze_delay <= parameters.proposer_delay:
        raise DeploymentError(
            f"freeze_delay: {parameters.freeze_delay} s is not longer than proposer_delay, "
            f"{parameters.proposer_delay} s"
        )
    if parameters.governance is None:
        validate_address("governor", parameters.governor)
        if parameters.initial:
            raise DeploymentError("markets: only with governance is there somebody to list them")
    else:
        validate_governance(parameters, parameters.governance)


def validate_vault(parameters: DeploymentParameters) -> None:
    """Check what `MarginVault` and `Bridge` check of limiter and deposit cap.

    Raises
    ------
    DeploymentError
    """
    for name, value, least, most in (
        ("outflow.share", parameters.outflow_ppm, PPM // 100, PPM),
        ("outflow.period", parameters.outflow_period, HOUR, 30 * DAY),
        ("outflow.delay", parameters.outflow_delay, HOUR, 7 * DAY),
    ):
        if not least <= value <= most:
            raise DeploymentError(f"{name}: {value} is outside {least}..{most}")
    start, end, initial = parameters.cap_start, parameters.cap_end, parameters.cap_initial
    if not any((start, end, initial, parameters.cap_per_day)):
        return
    if initial <= 0 or parameters.cap_per_day < 0:
        raise DeploymentError(f"deposit_cap.initial: {initial} units: nobody could deposit")
    if not 0 < end - start <= 730 * DAY:
        raise DeploymentError(
            f"deposit_cap.end: {end - start} s after its start is outside 1..{730 * DAY}"
        )


def validate_governance(parameters: DeploymentParameters, governance: Governance) -> None:
    """Check who may change parameters and when.

    Raises
    ------
    DeploymentError
    """
    least = (
        EXIT_WINDOW
        + parameters.forced_delay
        + parameters.proposer_delay
        + parameters.challenge_window
    )
    if governance.delay < least:
        raise DeploymentError(
            f"governance.delay: {governance.delay} s is less than {least} s: thirty days, forced "
            "inclusion, open proposing and the challenge window"
        )
    proposers = governance.proposers
    if not proposers or len(set(proposers)) != len(proposers):
        raise DeploymentError("governance.proposers: at least one, each named once")
    if governance.guardian is not None and governance.guardian.address in proposers:
        raise DeploymentError("governance.guardian.address: is among the proposers")


def validate_stakes(venue: VenueFile, parameters: DeploymentParameters) -> None:
    """Check what only has to hold where there is something to lose.

    Raises
    ------
    DeploymentError
        Names field, value and rule.
    """
    level = get_level(venue.chain_id)
    if level == Level.DEVELOPMENT:
        return
    floors = FLOORS[level]
    for name in ("challenge_window", "forced_delay", "claim_window"):
        value, least = getattr(parameters, name), getattr(floors, name)
        if value < least:
            raise DeploymentError(
                f"{name}: {value} s is less than {least} s, the least on chain {venue.chain_id}"
            )
    for name in ("forced_delay", "proposer_delay"):
        if getattr(parameters, name) >= parameters.challenge_window:
            raise DeploymentError(
                f"{name}: {getattr(parameters, name)} s is not shorter than challenge_window, "
                f"{parameters.challenge_window} s"
            )
    validate_bond(parameters.bond, floors.proof_price)
    if parameters.governance is None:
        raise DeploymentError(
            f"governor: a plain address on chain {venue.chain_id}; only development chains may: "
            "give governance"
        )
    if not venue.markets.series:
        raise DeploymentError("markets.series: none: a venue starts with what it trades")
    for place, committee in enumerate(venue.markets.committees):
        if len(committee.members) < floors.members:
            raise DeploymentError(
                f"markets.committees[{place}].members: {len(committee.members)} of at least "
                f"{floors.members}"
            )


def validate_bond(bond: int, price: int) -> None:
    """Check that half a bond pays for the dearest legal proof at a price of gas.

    Raises
    ------
    DeploymentError
    """
    least = 2 * MAX_CHUNK_GAS * price
    if bond < least:
        raise DeploymentError(
            f"bond: {bond} wei is less than {least} wei: half of it has to pay for a proof of "
            f"{MAX_CHUNK_GAS:,} gas at {price} wei per gas"
        )
