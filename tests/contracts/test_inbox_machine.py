"""The inbox against a model, over random histories, in process.

Every call's outcome is predicted, errors by name. After every step:

- the inbox holds exactly the bonds, the open rewards and what was burnt;
- a pending batch is covered by its proposer's bond or by the reward that came out of it;
- an open reward outlasts every pending batch of the slashed proposer;
- contract and model agree on the head, the count, the backlog, every bond and every reward.

In the end the honest proposer, of whom no batch was ever proven wrong, gets its bond back.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from eth_abi import decode, encode
from eth_utils import function_abi_to_4byte_selector, keccak, to_checksum_address
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.contracts.reference import HEADER_TYPE, NO_MESSAGE, ZERO, Header, Message
from tests.contracts.support import (
    BATCH_SUBMITTED,
    BOND,
    CHALLENGE_WINDOW,
    FORCED_DELAY,
    FORCED_PER_BATCH,
    LIMIT,
    NO_CAP,
    PROPOSER_DELAY,
    ZERO_ADDRESS,
    batch,
    create_address,
    parameters,
)
from tools.compile import compile_contracts

pyrevm = pytest.importorskip("pyrevm")

HALF = BOND // 2
GAS = 1 << 28
BODY = (1).to_bytes(4, "big")


def actor(name: str) -> str:
    return to_checksum_address(keccak(text=name)[12:])


DEPLOYER, PROVER, USER = actor("deployer"), actor("prover"), actor("user")
SEQUENCER, HONEST, MALLORY = actor("sequencer"), actor("honest"), actor("mallory")
PROPOSERS = st.sampled_from([SEQUENCER, HONEST, MALLORY])
CHALLENGERS = st.sampled_from([actor("challenger"), actor("rival"), MALLORY])


class Contracts:
    """The deployed contracts: calls by name, outcomes by the name of the error."""

    def __init__(self, time: int) -> None:
        self.evm = pyrevm.EVM()
        self.errors: dict[bytes, str] = {}
        self.set_time(time)
        bridge, inbox = create_address(DEPLOYER, 2), create_address(DEPLOYER, 3)
        token = self._deploy("MockUSDC")
        vault = self._deploy("MarginVault", token, bridge, PROVER, LIMIT)
        self.bridge = self._deploy("Bridge", vault, inbox, DEPLOYER, NO_CAP)
        self.inbox = self._deploy("RollupInbox", parameters(bridge, PROVER, PROVER, SEQUENCER))
        assert (self.bridge, self.inbox) == (bridge, inbox)
        self.genesis = self.last_header()

    def set_time(self, time: int) -> None:
        environment = pyrevm.BlockEnv(timestamp=time, number=time // 12, excess_blob_gas=0)
        self.evm.set_block_env(environment)

    def last_header(self) -> Header:
        (log,) = self.evm.result.logs
        topics, data = log.data
        assert bytes(topics[0]) == BATCH_SUBMITTED
        (fields,) = decode([HEADER_TYPE], bytes(data))
        return Header(*fields)

    def send(self, sender: str, name: str, *arguments: Any, value: int = 0) -> str | None:
        """Call a function of the inbox: None, or the name of the error."""
        self.evm.set_balance(sender, 1 << 100)
        try:
            self._call(sender, self.inbox, "RollupInbox", name, arguments, value)
        except RuntimeError as error:
            output = str(error).partition("output: 0x")[2]
            return self.errors[bytes.fromhex(output[:8])]
        return None

    def read(self, name: str, *arguments: Any) -> Any:
        (value,) = self._call(USER, self.inbox, "RollupInbox", name, arguments)
        return value

    def enqueue(self) -> None:
        self._call(USER, self.bridge, "Bridge", "cancelAll", (1,))

    def _deploy(self, name: str, *arguments: Any) -> str:
        artifact = artifacts()[name]
        constructors = [entry for entry in artifact.abi if entry["type"] == "constructor"]
        inputs = constructors[0]["inputs"] if constructors else []
        for entry in artifact.abi:
            if entry["type"] == "error":
                selector = function_abi_to_4byte_selector({**entry, "type": "function"})
                self.errors[selector] = entry["name"]
        code = artifact.bytecode + encode([_type(item) for item in inputs], arguments)
        return str(to_checksum_address(self.evm.deploy(DEPLOYER, code)))

    def _call(
        self, sender: str, to: str, contract: str, name: str, arguments: Any, value: int = 0
    ) -> Any:
        selector, inputs, outputs = _function(contract, name)
        data = selector + encode(inputs, arguments)
        output = self.evm.message_call(sender, to, calldata=data, value=value, gas=GAS)
        return decode(outputs, output)


artifacts = cache(compile_contracts)


@cache
def _function(contract: str, name: str) -> tuple[bytes, list[str], list[str]]:
    (entry,) = [entry for entry in artifacts()[contract].abi if entry.get("name") == name]
    inputs, outputs = ([_type(item) for item in entry[key]] for key in ("inputs", "outputs"))
    return function_abi_to_4byte_selector(entry), inputs, outputs


def _type(entry: dict[str, Any]) -> str:
    kind = str(entry["type"])
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(map(_type, entry["components"])) + ")" + kind[len("tuple") :]


@dataclass
class Model:
    """What the inbox should know."""

    headers: list[Header]
    backlog: bool = False
    bonds: dict[str, int] = field(default_factory=dict)
    """Time of the last batch by bonded proposer."""
    rewards: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Challenger and time by slashed proposer."""
    burnt: int = 0
    messages: list[Message] = field(default_factory=list)
    queue_hashes: list[bytes] = field(default_factory=list)

    def pending(self, time: int) -> list[Header]:
        return [h for h in self.headers[1:] if time <= h.l1_time + CHALLENGE_WINDOW]

    def queue_hash(self, end: int) -> bytes:
        return self.queue_hashes[end - 1] if end else ZERO


class InboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.time = 1_800_000_000
        self.contracts = Contracts(self.time)
        self.model = Model([self.contracts.genesis])
        self.removed: list[Header] = []

    @rule(who=PROPOSERS, amount=st.sampled_from([BOND, BOND, BOND, BOND - 1]))
    def bond(self, who: str, amount: int) -> None:
        expected = None
        if amount != BOND:
            expected = "RollupInbox_WrongBond"
        elif who in self.model.bonds:
            expected = "RollupInbox_AlreadyBonded"
        elif who in self.model.rewards:
            expected = "RollupInbox_RewardOpen"
        else:
            self.model.bonds[who] = 0
        assert self.contracts.send(who, "bond", value=amount) == expected

    @rule(who=PROPOSERS)
    def withdraw_bond(self, who: str) -> None:
        expected = None
        if who not in self.model.bonds:
            expected = "RollupInbox_NotBonded"
        elif self.time <= self.model.bonds[who] + CHALLENGE_WINDOW:
            expected = "RollupInbox_BondLocked"
        else:
            del self.model.bonds[who]
        assert self.contracts.send(who, "withdrawBond") == expected

    @rule(who=PROPOSERS, take=st.sampled_from([0, 1, FORCED_PER_BATCH, 10**6, 10**6]))
    def submit(self, who: str, take: int) -> None:
        model, head = self.model, self.model.headers[-1]
        end = min(head.queue_end + take, len(model.messages))
        left = model.messages[end] if end < len(model.messages) else NO_MESSAGE
        late = left != NO_MESSAGE and self.time > left.time + FORCED_DELAY
        turn = (
            who == SEQUENCER
            or model.backlog
            or SEQUENCER not in model.bonds
            or self.time > head.l1_time + PROPOSER_DELAY
        )
        expected = None
        if who not in model.bonds:
            expected = "RollupInbox_NotBonded"
        elif not turn:
            expected = "RollupInbox_NotProposer"
        elif late and end - head.queue_end < FORCED_PER_BATCH:
            expected = "RollupInbox_ForcedInclusion"
        arguments = batch(head, queue_end=end, queue_hash=model.queue_hash(end), next_message=left)
        assert self.contracts.send(who, "submitBatch", arguments) == expected
        if expected is None:
            header = self.contracts.last_header()
            assert header.previous == head.hash
            model.headers.append(header)
            model.backlog = late
            model.bonds[who] = self.time

    @precondition(lambda self: len(self.model.headers) > 1)
    @rule(data=st.data(), challenger=CHALLENGERS)
    def remove(self, data: st.DataObject, challenger: str) -> None:
        """Anybody's batch may turn out bad, except for the honest proposer's."""
        model = self.model
        choices = [h for h in model.headers if h.proposer != HONEST.lower()]
        header = data.draw(st.sampled_from(choices))
        expected = None if header in model.pending(self.time) else "RollupInbox_NotPending"
        assert self.contracts.send(PROVER, "remove", header, 6, challenger) == expected
        if expected is None:
            self.removed += model.headers[header.index :]
            del model.headers[header.index :]
            model.backlog = False
            proposer = to_checksum_address(header.proposer)
            if proposer in model.bonds:
                del model.bonds[proposer]
                model.burnt += BOND - HALF
                model.rewards[proposer] = (challenger, self.time + CHALLENGE_WINDOW)
            else:
                model.rewards[proposer] = (challenger, model.rewards[proposer][1])

    @precondition(lambda self: self.removed)
    @rule(data=st.data())
    def remove_again(self, data: st.DataObject) -> None:
        header = data.draw(st.sampled_from(self.removed))
        result = self.contracts.send(PROVER, "remove", header, 6, MALLORY)
        assert result == "RollupInbox_NotPending"

    @rule(proposer=PROPOSERS)
    def claim_reward(self, proposer: str) -> None:
        challenger, until = self.model.rewards.get(proposer, (MALLORY, 0))
        expected = None
        if proposer not in self.model.rewards:
            expected = "RollupInbox_NoReward"
        elif self.time <= until:
            expected = "RollupInbox_RewardLocked"
        else:
            del self.model.rewards[proposer]
        before = self.contracts.evm.get_balance(challenger)
        assert self.contracts.send(USER, "claimReward", proposer) == expected
        paid = self.contracts.evm.get_balance(challenger) - before
        assert paid == (HALF if expected is None else 0)

    @rule(count=st.sampled_from([1, 1, 2, FORCED_PER_BATCH + 1]))
    def enqueue(self, count: int) -> None:
        for _ in range(count):
            self.contracts.enqueue()
            message = Message(3, USER, self.time, keccak(BODY))
            previous = self.model.queue_hash(len(self.model.messages))
            self.model.queue_hashes.append(message.extend(previous))
            self.model.messages.append(message)

    @rule(
        seconds=st.sampled_from([0, 12, PROPOSER_DELAY, PROPOSER_DELAY + 1, CHALLENGE_WINDOW // 2])
        | st.just(CHALLENGE_WINDOW)
    )
    def wait(self, seconds: int) -> None:
        self.time += seconds
        self.contracts.set_time(self.time)

    @invariant()
    def ether_is_conserved(self) -> None:
        model = self.model
        expected = BOND * len(model.bonds) + HALF * len(model.rewards) + model.burnt
        assert self.contracts.evm.get_balance(self.contracts.inbox) == expected

    @invariant()
    def pending_batches_are_covered(self) -> None:
        for header in self.model.pending(self.time):
            proposer = to_checksum_address(header.proposer)
            deadline = header.l1_time + CHALLENGE_WINDOW
            if proposer in self.model.bonds:
                assert self.model.bonds[proposer] + CHALLENGE_WINDOW >= deadline
            else:
                assert self.model.rewards[proposer][1] >= deadline

    @invariant()
    def contract_agrees(self) -> None:
        model, contracts = self.model, self.contracts
        assert contracts.read("batchCount") == len(model.headers)
        assert contracts.read("headHeaderHash") == model.headers[-1].hash
        assert contracts.read("hasBacklog") == model.backlog
        assert contracts.read("isPending", model.headers[-1]) == (
            model.headers[-1] in model.pending(self.time)
        )

        for who in (SEQUENCER, HONEST, MALLORY):
            bond = (BOND, model.bonds[who]) if who in model.bonds else (0, 0)
            assert contracts.read("bondOf", who) == bond
            challenger, until = contracts.read("rewardOf", who)
            reward = (to_checksum_address(challenger), until)
            assert reward == model.rewards.get(who, (ZERO_ADDRESS, 0))

    def teardown(self) -> None:
        self.wait(CHALLENGE_WINDOW + 1)
        if HONEST in self.model.bonds:
            assert self.contracts.send(HONEST, "withdrawBond") is None


TestInboxMachine = InboxMachine.TestCase
TestInboxMachine.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
