"""Venue files: what is wrong with one is said by field, value and rule, without any chain."""

import pytest

from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.markets import list_bodies, try_bodies
from deltaroll.l1.deployment.parameters import (
    make_parameters,
    validate_decisions,
    validate_stakes,
)
from deltaroll.l1.deployment.units import (
    PARTS,
    SECONDS,
    WEI,
    parse_quantity,
)
from deltaroll.l1.deployment.venue import VenueFile, read_venue
from tests.l1.venues import DEPLOYMENTS, fill_in, make_address

NOW = 1_800_000_000
DEPLOYER = make_address("DEPLOYER")


def read(tmp_path, name: str = "sepolia", **changes: str) -> VenueFile:
    """Read a file of the repository with some of its text changed."""
    text = (DEPLOYMENTS / f"{name}.yaml").read_text()
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "venue.yaml"
    path.write_text(fill_in(text))
    return read_venue(path)


def judge(venue: VenueFile) -> None:
    """Everything that is checked without a chain."""
    bodies = list_bodies(venue.markets)
    initial = tuple(body for _, body in bodies)
    parameters = make_parameters(venue, DEPLOYER, make_address("token"), initial)
    validate_decisions(parameters)
    validate_stakes(venue, parameters)
    try_bodies(bodies, NOW)


@pytest.mark.parametrize("path", sorted(DEPLOYMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_read_venue__file_of_the_repository__passes_every_check(tmp_path, path):
    judge(read(tmp_path, path.stem))


@pytest.mark.parametrize("name", ["sepolia", "mainnet"])
def test_read_venue__places_left_open__are_named(name):
    with pytest.raises(DeploymentError, match=r"PROPOSER|HOLDER"):
        read_venue(DEPLOYMENTS / f"{name}.yaml")


def test_read_venue__sepolia__means_what_it_says(tmp_path):
    venue = read(tmp_path)
    assert venue.windows.challenge == 7 * 86_400
    assert venue.bond == 5 * 10**17
    assert venue.governance is not None
    assert venue.governance.delay == 38 * 86_400
    assert venue.governance.guardian is not None
    assert venue.governance.guardian.maintenance == 1_500_000
    assert venue.markets.committees[0].members == tuple(
        make_address(f"ORACLE_{place}") for place in (1, 2, 3)
    )


def test_read_venue__no_file__is_an_error(tmp_path):
    with pytest.raises(DeploymentError, match=r"nowhere\.yaml"):
        read_venue(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("venue:", "venu:", "unknown field `venu`"),
        ("  challenge: 7 days\n", "", r"missing required field `challenge` - at `\$\.windows`"),
        ("claims: 30 days", "claims: 30 days\n  clams: 1 day", "unknown field `clams`"),
        ("bond: 0.5 ether", "bond: 0.5 ether\nbond: 5 ether", "'bond' stands twice"),
        ("challenge: 7 days", "challenge: 7", "'7' has no unit of: s, second"),
        ("challenge: 7 days", "challenge: a week", "'a week' is not a quantity"),
        ("challenge: 7 days", "challenge: 0.000001 s", "not a whole number of the smallest unit"),
        ("bond: 0.5 ether", "bond: 0.5 eth", "'0.5 eth' has no unit of: wei, gwei, ether"),
        ("bond: 0.5 ether", "bond: [1]", r"\['1'\] is not a quantity - at `\$\.bond`"),
        ("maintenance: 150 %", "maintenance: 1.5", "'1.5' has no unit of: ppm, %"),
        ("chain_id: 11155111", "chain_id: sepolia", "Expected `int`, got `str`"),
        ("[PROPOSER]", "[me]", r"me is not an address - at `\$\.governance\.proposers"),
        ("[PROPOSER]", f'["0x{"0" * 40}"]', "the zero address"),
        ("[PROPOSER]", f'["{make_address("x")[:-1]}"]', "is not an address"),
        ("[PROPOSER]", f'["0x{make_address("x")[2:].upper()}"]', "is not an address"),
        ("PMRM_2", "PMRM_3", "Invalid enum value 'PMRM_3'"),
        ("kind: perpetual", "kind: future", "Invalid enum value 'future'"),
        ("id: 4,", "id: four,", "Expected `int`, got `str`"),
        ("venue: deltaroll", "venue: [deltaroll", "expected ',' or ']'"),
    ],
)
def test_read_venue__malformed__names_field_and_rule(tmp_path, old, new, complaint):
    with pytest.raises(DeploymentError, match=complaint):
        read(tmp_path, change=(old, new))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("sequencer: deployer", "sequencer: me", "sequencer: me is not an address"),
        ("challenge: 7 days", "challenge: 0 days", "challenge_window: 0 is not positive"),
        ("claims: 30 days", "claims: -1 day", "claim_window: -86400 is not positive"),
        ("challenge: 7 days", "challenge: 59 minutes", "challenge_window: 3540 s is less than"),
        ("challenge: 7 days", "challenge: 11 hours", "forced_delay: 43200 s is not shorter than"),
        ("open_proposing: 12 hours", "open_proposing: 7 days", "freeze_delay: 604800 s is not"),
        ("bond: 0.5 ether", "bond: 0 ether", "bond: 0 is not positive"),
        ("bond: 0.5 ether", "bond: 20 ether", "bond: .* does not fit 64 bits"),
        ("bond: 0.5 ether", "bond: 1 gwei", "bond: 1000000000 wei is less than .* for a proof"),
        ("delay: 38 days", "delay: 37 days", "governance.delay: 3196800 s is less than 3283200 s"),
        ("[PROPOSER]", "[]", "governance.proposers: at least one"),
        ("[PROPOSER]", "[PROPOSER, PROPOSER]", "governance.proposers: .* named once"),
        ("address: GUARDIAN", "address: PROPOSER", "guardian.address: is among the proposers"),
        ("threshold: 2", "threshold: 1", r"committees\[0\].threshold: 1 of 3; more than half"),
        ("threshold: 2", "threshold: 4", r"committees\[0\].threshold: 4 of 3"),
        (
            "ORACLE_2, ORACLE_3",
            "ORACLE_2, ORACLE_2",
            r"committees\[0\].members: one is named twice",
        ),
        ("[ORACLE_1, ORACLE_2, ORACLE_3]", "[]", r"committees\[0\].members: 0 of them"),
        ("{id: 2,", "{id: 65536,", r"grids\[0\].id: 65536 is not in 1 to 65535"),
        ("{id: 2,", "{id: 0,", r"grids\[0\].id: 0 is not in 1 to 65535"),
        ("{id: 2,", "{id: 1,", r"grids\[0\]: the rollup would skip it: UNKNOWN_MARKET"),
        ("grid: 2,", "grid: 7,", r"underlyings\[0\]: the rollup would skip it: UNKNOWN_MARKET"),
        ("tick: 10000", "tick: 0", r"underlyings\[0\]: the rollup would skip it: OUT_OF_RANGE"),
        ("tick: 10000", "tick: -1", r"underlyings\[0\]: a number does not fit"),
        (
            "tick: 10000",
            "tick: 10000, params: {taker_fees: 1 ppm}",
            r"underlyings\[0\].params: no parameter taker_fees",
        ),
        (
            "tick: 10000",
            "tick: 10000, params: {taker_fee: 2 %}",
            r"underlyings\[0\]: the rollup would skip it: OUT_OF_RANGE",
        ),
        ("underlying: 3, kind", "underlying: 2, kind", r"series\[0\]: the rollup would skip it"),
        ("kind: perpetual", "kind: perpetual, expiry: 9", r"series\[0\]: the rollup would skip it"),
        ("kind: perpetual", "kind: perpetual, strike: -5", r"series\[0\]: a number does not fit"),
        ("    - {id: 4, underlying: 3, kind: perpetual}", "    []", "markets.series: none"),
    ],
)
def test_judge__senseless__names_field_value_and_rule(tmp_path, old, new, complaint):
    with pytest.raises(DeploymentError, match=complaint):
        judge(read(tmp_path, change=(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "challenge: 7 days",
            "challenge: 6 days",
            "challenge_window: 518400 s is less than 604800",
        ),
        ("bond: 1 ether", "bond: 0.89 ether", "bond: .* at 50000000000 wei per gas"),
        (
            "threshold: 3, members: [ORACLE_1, ORACLE_2, ORACLE_3, ORACLE_4, ORACLE_5]",
            "threshold: 2, members: [ORACLE_1, ORACLE_2]",
            r"committees\[0\].members: 2 of at least 3",
        ),
    ],
)
def test_judge__mainnet__asks_for_more(tmp_path, old, new, complaint):
    with pytest.raises(DeploymentError, match=complaint):
        judge(read(tmp_path, "mainnet", change=(old, new)))


@pytest.mark.parametrize("chain", ["1", "8453", "11155111"])
def test_judge__plain_governor__only_on_a_development_chain(tmp_path, chain):
    old = (DEPLOYMENTS / "sepolia.yaml").read_text()
    start, end = old.index("governance:"), old.index("markets:")
    swap = (old[start:end], "governor: deployer\n\n")
    venue = read(tmp_path, swap=swap, bond=("bond: 0.5", "bond: 1"), chain=("11155111", chain))
    with pytest.raises(DeploymentError, match="markets: only with governance"):
        judge(venue)
    parameters = make_parameters(venue, DEPLOYER, make_address("token"), ())
    with pytest.raises(DeploymentError, match=f"governor: a plain address on chain {chain}"):
        validate_stakes(venue, parameters)


def test_judge__option_on_an_expiry__is_listed(tmp_path):
    expiry = (NOW // 86_400 + 30) * 86_400 + 8 * 3_600
    lines = (
        f"  expiries:\n    - {{id: 10, underlying: 3, time: {expiry}}}\n"
        "  series:\n"
        "    - {id: 11, underlying: 3, kind: call, expiry: 10, strike: 20_000_000}\n"
        "    - {id: 12, underlying: 3, kind: put, expiry: 10, strike: 20000000}\n"
    )
    judge(read(tmp_path, change=("  series:\n", lines)))


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("7 days", SECONDS, 604_800),
        ("7d", SECONDS, 604_800),
        ("0.5 hours", SECONDS, 1_800),
        (" 90 s ", SECONDS, 90),
        ("0.1 ether", WEI, 10**17),
        ("123456789.123456789 ether", WEI, 123_456_789_123_456_789 * 10**9),
        ("1_000 gwei", WEI, 10**12),
        ("0.03 %", PARTS, 300),
        ("-5 ppm", PARTS, -5),
    ],
)
def test_parse_quantity__with_a_unit__is_exact(text, units, value):
    assert parse_quantity(text, units) == value


@pytest.mark.parametrize(
    "text", ["", "1", "1 1 s", "s", "1.s", "1e3 s", "٣ s", "0x10 s", "nan s", "1.5.2 s"]
)
def test_parse_quantity__anything_else__is_refused(text):
    with pytest.raises(ValueError, match=r"is not a quantity|has no unit"):
        parse_quantity(text, SECONDS)
