"""Claims of exits as they stand: whose they are, when they are paid, what they are worth now."""

from collections.abc import Iterator
from dataclasses import dataclass

from ape.exceptions import ApeException
from eth_utils.conversions import to_bytes, to_int
from web3.exceptions import Web3Exception

from deltaroll.l1.gateway import LOG_RANGE, Gateway, L1Error
from deltaroll.l1.types import Stage
from deltaroll.node.exits import ExitError
from deltaroll.node.follower import Follower
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import Address
from deltaroll.sdk.fast_exit import Quote, Terms, compute_price

TRANSFERRED_TOPIC = keccak(b"ClaimTransferred(uint32,address,address,address,uint128)")
ExitTuple = tuple[int, int, str, int]
"""As the bridge takes it: index, asset, recipient, amount."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A claim for sale."""

    buyer: Address | None
    """None: anyone."""
    deadline: int
    """Last second."""
    price: int


@dataclass(frozen=True, slots=True)
class Claim:
    """An exit that the follower derived, and what L1 says about its claim."""

    exit: ExitTuple
    owner: Address
    batch: int
    """The first that has it."""
    stage: Stage
    settles_at: int
    """First second of L1 in which it can be claimed."""
    is_claimed: bool
    payable_at: int
    """When a claimed one that the vault delays is paid; 0: nothing waits."""
    is_beyond_bound: bool
    """Whether the vault would delay it if it were claimed now."""
    offer: Offer | None

    @property
    def index(self) -> int:
        """Place among the exits."""
        return self.exit[0]

    @property
    def amount(self) -> int:
        """Collateral units."""
        return self.exit[3]


def get_claim(follower: Follower, index: int) -> Claim:
    """Return the claim of an exit, as of the follower's last poll.

    Raises
    ------
    ExitError
        When no batch that the follower derived has such an exit: a record of it on L1, a seller's
        word, even a posted batch of which the follower found fraud, are worth nothing.
    """
    exits = follower.state.exits
    if not 0 <= index < len(exits):
        raise ExitError(f"exit: {index} is in no batch that was derived, of {len(exits)} exits")
    leaf = exits[index]
    batch = next(item for item in follower.chain if item.globals.exit_count > index)
    contracts = follower.gateway.contracts
    argument = (index, leaf.asset, "0x" + leaf.recipient.hex(), leaf.amount)
    delayed = contracts.vault.delayedOf(index)
    buyer, deadline, price = contracts.bridge.offerOf(argument)
    return Claim(
        exit=argument,
        owner=Address(to_bytes(hexstr=contracts.bridge.ownerOfClaim(argument))),
        batch=batch.submitted.header.index,
        stage=follower.compute_stage(batch),
        settles_at=batch.submitted.header.l1_time + follower.gateway.challenge_window + 1,
        is_claimed=bool(contracts.bridge.isClaimed(index)),
        payable_at=int(delayed.payableAt),
        is_beyond_bound=leaf.amount > int(contracts.vault.outflowRoom()),
        offer=Offer(_to_buyer(buyer), int(deadline), int(price)) if deadline else None,
    )


def find_claims(follower: Follower, owner: Address) -> list[Claim]:
    """Return all claims of an owner that are not paid yet, in the order of their exits."""
    indexes = {index for index, leaf in enumerate(follower.state.exits) if leaf.recipient == owner}
    head = follower.head
    if head is not None:
        indexes.update(_read_transferred(follower.gateway, owner, head.number))
    # A transfer may be about an exit that was never made, or is not any more.
    known = sorted(index for index in indexes if index < len(follower.state.exits))
    claims = [get_claim(follower, index) for index in known]
    return [
        claim
        for claim in claims
        if claim.owner == owner and (not claim.is_claimed or claim.payable_at)
    ]


def quote_claim(follower: Follower, index: int, terms: Terms) -> tuple[Claim, Quote]:
    """Return a claim and what it is worth to a buyer who trusts nobody but this follower.

    It is taken to be risky until its batch is final on L1, and to wait for the vault's delay where
    the vault would delay it now.

    Raises
    ------
    ExitError
        When it was not derived, or is claimed.
    """
    claim = get_claim(follower, index)
    if claim.is_claimed:
        raise ExitError(f"exit: {index} is claimed already")
    if follower.head is None:
        raise L1Error("L1: not polled yet")
    seconds = max(claim.settles_at - follower.head.time, 0)
    if claim.is_beyond_bound:
        seconds += int(follower.gateway.contracts.vault.outflowDelay())
    quote = compute_price(
        claim.amount,
        seconds,
        terms,
        is_delayed=claim.is_beyond_bound,
        is_risky=claim.stage in (Stage.POSTED, Stage.SAFE),
    )
    return claim, quote


def _to_buyer(buyer: str) -> Address | None:
    address = Address(to_bytes(hexstr=buyer))
    return address if any(address) else None


def _read_transferred(gateway: Gateway, owner: Address, last: int) -> Iterator[int]:
    """Yield the indexes of exits whose claims came to an owner, up to an L1 block."""
    for start in range(gateway.first_block, last + 1, LOG_RANGE):
        parameters = {
            "address": gateway.contracts.bridge.address,
            "topics": [
                "0x" + TRANSFERRED_TOPIC.hex(),
                None,
                None,
                "0x" + owner.rjust(32, b"\0").hex(),
            ],
            "fromBlock": hex(start),
            "toBlock": hex(min(start + LOG_RANGE - 1, last)),
        }
        try:
            logs = gateway.provider.make_request("eth_getLogs", [parameters])
        except (ApeException, Web3Exception, OSError) as problem:
            raise L1Error(f"L1: eth_getLogs: {problem}") from problem
        for log in logs:
            topic = log["topics"][1]
            yield to_int(hexstr=topic) if isinstance(topic, str) else to_int(bytes(topic))
