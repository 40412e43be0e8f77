"""Which contracts a venue is made of, in an order in which each finds the ones it asks."""

from deltaroll.l1.deployment.parameters import DeploymentParameters
from deltaroll.l1.deployment.plan import Addresses, Part
from deltaroll.protocol.leaf import hash_globals
from deltaroll.protocol.state import EMPTY_GLOBALS

GENESIS_ROOT = hash_globals(EMPTY_GLOBALS)


def list_parts(at: Addresses, parameters: DeploymentParameters) -> tuple[Part, ...]:
    """Return all contracts with their arguments by the names in their ABI."""
    return (
        Part("MarginVault", {"token": parameters.token, "bridge": at["Bridge"]}),
        Part(
            "Bridge",
            {
                "vault": at["MarginVault"],
                "inbox": at["RollupInbox"],
                "governor": parameters.governor,
            },
        ),
        Part(
            "RollupInbox",
            {
                "parameters": {
                    "bridge": at["Bridge"],
                    "prover": at["FraudProver"],
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
    )
