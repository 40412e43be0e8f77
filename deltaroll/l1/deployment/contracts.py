"""Which contracts a venue is made of, in an order in which each finds the ones it asks."""

from deltaroll.l1.deployment.parameters import DeploymentParameters
from deltaroll.l1.deployment.plan import Addresses, Part
from deltaroll.l1.deployment.units import ZERO, L1Address, Parts, Seconds
from deltaroll.l1.deployment.venue import Governance, Guardian
from deltaroll.protocol.constants import PPM
from deltaroll.protocol.leaf import hash_globals
from deltaroll.protocol.state import EMPTY_GLOBALS

TIMELOCK, GATE = "ExitWindowTimelock", "ConfigureGate"
NOBODY = Guardian(L1Address(ZERO), Parts(PPM), Parts(PPM), Seconds(1), Seconds(1))
"""A guardian's bounds have to be valid also where there is none."""
GENESIS_ROOT = hash_globals(EMPTY_GLOBALS)


def list_parts(at: Addresses, parameters: DeploymentParameters) -> tuple[Part, ...]:
    """Return all contracts with their arguments by the names in their ABI."""
    governance = parameters.governance
    return (
        Part(
            "MarginVault",
            {
                "token": parameters.token,
                "bridge": at["Bridge"],
                "escapeHatch": at["EscapeHatch"],
                "limit": {
                    "ppm": parameters.outflow_ppm,
                    "period": parameters.outflow_period,
                    "delay": parameters.outflow_delay,
                },
            },
        ),
        Part(
            "Bridge",
            {
                "vault": at["MarginVault"],
                "inbox": at["RollupInbox"],
                "governor": parameters.governor if governance is None else at[GATE],
                "cap": {
                    "initial": parameters.cap_initial,
                    "perDay": parameters.cap_per_day,
                    "start": parameters.cap_start,
                    "end": parameters.cap_end,
                },
            },
        ),
        Part(
            "RollupInbox",
            {
                "parameters": {
                    "bridge": at["Bridge"],
                    "prover": at["FraudProver"],
                    "escapeHatch": at["EscapeHatch"],
                    "sequencer": parameters.sequencer,
                    "challengeWindow": parameters.challenge_window,
                    "forcedDelay": parameters.forced_delay,
                    "proposerDelay": parameters.proposer_delay,
                    "bondAmount": parameters.bond,
                    "genesisRoot": GENESIS_ROOT,
                }
            },
        ),
        Part("OptionPricer", {}),
        Part("MarketExecutor", {}),
        Part("AccountExecutor", {}),
        Part(
            "TransitionExecutor",
            {
                "marketExecutor": at["MarketExecutor"],
                "accountExecutor": at["AccountExecutor"],
                "optionPricer": at["OptionPricer"],
            },
        ),
        Part("TransitionVerifier", {"executor": at["TransitionExecutor"]}),
        Part("SignatureVerifier", {}),
        Part(
            "FraudProver",
            {
                "inbox": at["RollupInbox"],
                "transitionVerifier": at["TransitionVerifier"],
                "signatureVerifier": at["SignatureVerifier"],
            },
        ),
        Part(
            "EscapeHatch",
            {
                "inbox": at["RollupInbox"],
                "freezeDelay": parameters.freeze_delay,
                "oracleDelay": parameters.oracle_delay,
                "claimWindow": parameters.claim_window,
            },
        ),
        *(() if governance is None else list_governance(at, governance, parameters.initial)),
    )


def list_governance(
    at: Addresses, governance: Governance, initial: tuple[bytes, ...]
) -> tuple[Part, ...]:
    """Return timelock and gate; the gate queues the venue's first markets."""
    guardian = governance.guardian or NOBODY
    return (
        Part(
            TIMELOCK,
            {
                "inbox": at["RollupInbox"],
                "minimumDelay": governance.delay,
                "proposers": governance.proposers,
            },
        ),
        Part(
            GATE,
            {
                "bridge": at["Bridge"],
                "timelock": at[TIMELOCK],
                "guardian": guardian.address,
                "bounds": {
                    "maintenanceBound": guardian.maintenance,
                    "initialBound": guardian.initial,
                    "emergencyPeriod": guardian.period,
                    "cooldown": guardian.cooldown,
                },
                "initial": initial,
            },
        ),
    )
