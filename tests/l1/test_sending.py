"""Sending: one transaction at a time gets mined, whatever the base fee and the pool do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ape.exceptions import ProviderError

from deltaroll.l1.sending import BUMP, GWEI, PATIENCE, Call, Sender, SendError, to_ether, to_gwei

ADDRESS = "0x" + "11" * 20
CALL = Call("0x" + "22" * 20, b"data", 100_000)


@dataclass
class Pending:
    hash: str
    nonce: int
    limit: int
    tip: int


@dataclass
class FakeChain:
    """A node with a pool: every look at its height mines a block."""

    base_fees: Callable[[int], int] = lambda block: GWEI
    height: int = 0
    nonce: int = 0
    pool: list[Pending] = field(default_factory=list)
    mined: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: list[Pending] = field(default_factory=list)
    status: str = "0x1"
    tip: int = GWEI

    def make_request(self, method: str, parameters: list[Any]) -> Any:
        return getattr(self, method)(*parameters)

    def eth_getTransactionCount(self, address: str, block: str) -> str:  # noqa: N802
        assert (address, block) == (ADDRESS, "latest")
        return hex(self.nonce)

    def eth_getBlockByNumber(self, block: str, full: bool) -> dict[str, Any]:  # noqa: N802
        return {"baseFeePerGas": hex(self.base_fees(self.height))}

    def eth_maxPriorityFeePerGas(self) -> str:  # noqa: N802
        return hex(self.tip)

    def eth_blockNumber(self) -> str:  # noqa: N802
        self.mine()
        return hex(self.height)

    def eth_getTransactionReceipt(self, known: str) -> dict[str, Any] | None:  # noqa: N802
        return self.mined.get(known)

    def eth_sendRawTransaction(self, raw: str) -> str:  # noqa: N802
        fields = bytes.fromhex(raw[2:])
        nonce, limit, tip = (int.from_bytes(fields[at : at + 16], "big") for at in (0, 16, 32))
        new = Pending(f"0x{len(self.sent):064x}", nonce, limit, tip)
        if nonce < self.nonce:
            raise ProviderError("nonce too low")
        for old in self.pool:
            if old.nonce == nonce:
                if new.limit * 10 < old.limit * 11 or new.tip * 10 < old.tip * 11:
                    raise ProviderError("replacement transaction underpriced")
                self.pool.remove(old)
        self.pool.append(new)
        self.sent.append(new)
        return new.hash

    def mine(self) -> None:
        self.height += 1
        for waiting in list(self.pool):
            if waiting.nonce == self.nonce and waiting.limit >= self.base_fees(self.height):
                self.pool.remove(waiting)
                self.nonce += 1
                self.mined[waiting.hash] = {"status": self.status, "hash": waiting.hash}


class Wallet:
    """Signs by writing the fields one after the other."""

    address = ADDRESS

    def sign_transaction(self, transaction: Any) -> Any:
        fields = (transaction.nonce, transaction.max_fee, transaction.max_priority_fee)
        raw = b"".join(value.to_bytes(16, "big") for value in fields)
        return SimpleNamespace(serialize_transaction=lambda: raw)


def make_sender(chain: FakeChain, wallet: Any = None, **options: Any) -> Sender:
    ecosystem = SimpleNamespace(create_transaction=lambda **fields: SimpleNamespace(**fields))
    provider = SimpleNamespace(
        make_request=chain.make_request,
        network=SimpleNamespace(ecosystem=ecosystem),
        chain_id=1,
    )
    return Sender(provider, wallet or Wallet(), poll=0, **options)  # type: ignore[arg-type]


def test_send__steady_fees__is_mined_at_once():
    chain = FakeChain(nonce=7)
    receipt = make_sender(chain).send("Bridge", CALL)
    assert receipt is not None
    assert receipt["status"] == "0x1"
    assert [(sent.nonce, sent.limit, sent.tip) for sent in chain.sent] == [(7, 3 * GWEI, GWEI)]


def test_send__base_fee_rises_over_the_limit__is_replaced_until_it_is_mined():
    said: list[str] = []
    chain = FakeChain(base_fees=lambda block: GWEI if block < 1 else 40 * GWEI)
    assert make_sender(chain, report=said.append).send("Bridge", CALL) is not None
    first, second = chain.sent
    assert second.nonce == first.nonce
    assert second.limit >= 40 * GWEI
    assert second.tip * BUMP[1] >= first.tip * BUMP[0]
    assert said == [f"Bridge: not mined, sent again at {to_gwei(second.limit)} gwei"]


def test_send__base_fee_keeps_rising__every_replacement_is_taken():
    chain = FakeChain(base_fees=lambda block: GWEI * 4**block if block < 12 else GWEI)
    assert make_sender(chain).send("Bridge", CALL) is not None
    assert len(chain.sent) > 2
    assert chain.nonce == 1


def test_send__base_fee_over_what_we_pay__waits_and_never_pays_more():
    said: list[str] = []
    fees = iter([90 * GWEI, 80 * GWEI, 20 * GWEI])
    chain = FakeChain()
    chain.base_fees = lambda block: next(fees, 20 * GWEI)
    limit = 30 * GWEI
    assert make_sender(chain, max_fee=limit, report=said.append).send("Bridge", CALL) is not None
    assert len(said) == 2
    assert said[0] == "base fee 90.000 gwei is over the limit: waiting"
    assert all(sent.limit <= limit and sent.tip <= sent.limit for sent in chain.sent)


def test_send__base_fee_rises_over_what_we_pay_later__waits_with_what_is_sent():
    chain = FakeChain(base_fees=lambda block: GWEI if block < 1 or block > 20 else 90 * GWEI)
    assert make_sender(chain, max_fee=3 * GWEI).send("Bridge", CALL) is not None
    assert chain.height > 20
    assert len(chain.sent) == 1


def test_send__nonce_waits_in_the_pool__is_taken_over():
    # An earlier run's, too cheap for good.
    chain = FakeChain(base_fees=lambda block: 50 * GWEI)
    chain.pool.append(Pending("0xold", 0, 2 * GWEI, GWEI))
    assert make_sender(chain).send("Bridge", CALL) is not None
    assert "0xold" not in chain.mined


def test_send__nonce_waits_in_the_pool_dearer__is_left_to_be_mined():
    chain = FakeChain()
    chain.pool.append(Pending("0xold", 0, 500 * GWEI, 400 * GWEI))
    assert make_sender(chain).send("Bridge", CALL) is None
    assert "0xold" in chain.mined
    assert chain.sent == []


def test_send__another_of_the_account_gets_in_first__says_so():
    chain = FakeChain(base_fees=lambda block: GWEI if block < 1 else 90 * GWEI)
    sender = make_sender(chain, max_fee=4 * GWEI)

    def steal(block: int) -> int:
        if block >= PATIENCE:
            chain.nonce, chain.pool = 1, []
        return GWEI if block < 1 else 90 * GWEI

    chain.base_fees = steal
    assert sender.send("Bridge", CALL) is None


def test_send__reverted__is_an_error():
    with pytest.raises(SendError, match=r"Bridge: transaction 0x0+ reverted"):
        make_sender(FakeChain(status="0x0")).send("Bridge", CALL)


def test_send__refused__is_an_error_and_nothing_waits():
    chain = FakeChain()

    def refuse(raw: str) -> str:
        raise ProviderError("insufficient funds for gas * price + value")

    chain.eth_sendRawTransaction = refuse  # type: ignore[method-assign]
    with pytest.raises(SendError, match=r"Bridge: .*insufficient funds"):
        make_sender(chain).send("Bridge", CALL)


def test_send__base_fee_rises_while_it_is_signed__is_signed_again_at_once():
    chain = FakeChain()
    take = chain.eth_sendRawTransaction

    def refuse_cheap(raw: str) -> str:
        chain.base_fees = lambda block: 30 * GWEI
        if int.from_bytes(bytes.fromhex(raw[2:])[16:32], "big") < 30 * GWEI:
            raise ProviderError("max fee per gas less than block base fee")
        return take(raw)

    chain.eth_sendRawTransaction = refuse_cheap  # type: ignore[method-assign]
    assert make_sender(chain).send("Bridge", CALL) is not None
    assert [sent.limit for sent in chain.sent] == [61 * GWEI]


def test_send__account_declines__is_an_error():
    wallet = SimpleNamespace(address=ADDRESS, sign_transaction=lambda transaction: None)
    with pytest.raises(SendError, match=f"{ADDRESS} did not sign"):
        make_sender(FakeChain(), wallet).send("Bridge", CALL)


def test_to_ether__any_amount__has_six_places():
    assert to_ether(1_234_567_890_123_456_789) == "1.234568"
    assert to_gwei(1_500_000_000) == "1.500"
