"""Reading a node: its answers as values, its silence as one kind of error."""

from types import SimpleNamespace
from typing import Any

import pytest
from ape.exceptions import APINotImplementedError, ProviderError
from eth_abi.abi import encode
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ReadTimeout
from web3.exceptions import Web3RPCError

from deltaroll.l1.commitments import (
    compute_chunk_tree,
    compute_header_hash,
    compute_queue_hash,
    to_header_tuple,
)
from deltaroll.l1.gateway import (
    BATCH_INPUT_ABI,
    BATCH_REMOVED_TOPIC,
    INBOX_FROZEN_TOPIC,
    LOG_RANGE,
    SUBMIT_BATCH_SELECTOR,
    ContradictionError,
    Gateway,
    L1Error,
    MissingBlockError,
    _decode_log,
)
from deltaroll.l1.types import (
    AccountEscaped,
    BatchRemoved,
    BatchSubmitted,
    BlockRef,
    DepositRefunded,
    EscapeOpened,
    EscapePaid,
    InboxFrozen,
    MessageQueued,
    PostedChunk,
    Tally,
)
from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.types import AccountId, Address, MessageKind
from tests.l1.inbox import DEPLOYER, TRANSACTION, Inbox

INBOX = "0x" + "Ab" * 20
BRIDGE = "0x" + "cD" * 20
HATCH = "0x" + "eF" * 20
CHUNKS = (PostedChunk(b"data", b"", b"\x01" * 32), PostedChunk(b"more", bytes(64), b"\x02" * 32))


class FakeProvider:
    """A node that answers from a table."""

    chain_id = 5

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, list[Any]]] = []

    def make_request(self, method: str, parameters: list[Any]) -> Any:
        self.asked.append((method, parameters))
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        return answer(parameters) if callable(answer) else answer


@pytest.fixture
def provider():
    return FakeProvider()


@pytest.fixture
def gateway(provider):
    contracts = SimpleNamespace(
        inbox=SimpleNamespace(address=INBOX, challengeWindow=lambda: 77),
        bridge=SimpleNamespace(address=BRIDGE),
        escape_hatch=SimpleNamespace(address=HATCH),
    )
    return Gateway(provider, contracts, 10)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def inbox():
    return Inbox()


def test_init__any_deployment__domain_is_of_its_chain_and_inbox(gateway):
    assert gateway.domain == compute_domain_separator(5, Address(b"\xab" * 20))
    assert gateway.challenge_window == 77


def test_get_block__known__is_read(gateway, provider):
    answer = {"number": "0x10", "hash": "0x" + "07" * 32, "timestamp": "0x20"}
    provider.answers["eth_getBlockByNumber"] = answer
    assert gateway.get_block(16) == BlockRef(16, b"\x07" * 32, 32)
    gateway.get_block("safe")
    gateway.get_head()
    assert [parameters[0] for _, parameters in provider.asked] == ["0x10", "safe", "latest"]


def test_get_block__unknown__is_missing(gateway, provider):
    provider.answers["eth_getBlockByNumber"] = None
    with pytest.raises(MissingBlockError, match="no block 7"):
        gateway.get_block(7)


@pytest.mark.parametrize(
    "problem",
    [
        ProviderError("out of order"),
        APINotImplementedError("no such method"),
        Web3RPCError("limit exceeded"),
        RequestsConnectionError("refused"),
        ReadTimeout("slow"),
        ConnectionResetError("reset"),
        TimeoutError("slow"),
    ],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize(
    ("method", "ask"),
    [
        ("eth_getBlockByNumber", lambda gateway: gateway.get_block(1)),
        ("eth_getBlockByNumber", lambda gateway: gateway.get_head()),
        ("eth_getLogs", lambda gateway: gateway.get_events(1, 2)),
        (
            "eth_getTransactionByHash",
            lambda gateway: gateway.get_chunks(SimpleNamespace(transaction="0x1")),
        ),
    ],
)
def test_requests__no_usable_answer__is_an_l1_error_and_not_a_missing_block(
    gateway, provider, problem, method, ask
):
    provider.answers[method] = problem
    with pytest.raises(L1Error, match=method) as caught:
        ask(gateway)
    assert not isinstance(caught.value, MissingBlockError | ContradictionError)


@pytest.mark.parametrize("tag", ["safe", "finalized"])
@pytest.mark.parametrize("text", ["safe block not found", "Unknown block", "tag not supported"])
def test_get_block__tag_that_the_node_has_not__is_missing(gateway, provider, tag, text):
    provider.answers["eth_getBlockByNumber"] = ProviderError(text)
    with pytest.raises(MissingBlockError, match=f"no {tag} block"):
        gateway.get_block(tag)


@pytest.mark.parametrize("answer", [{}, {"number": "x"}, 7, {"number": None}])
def test_get_block__answer_of_another_form__is_an_l1_error(gateway, provider, answer):
    provider.answers["eth_getBlockByNumber"] = answer
    with pytest.raises(L1Error, match="another form"):
        gateway.get_head()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(False, False), ({"currentBlock": "0x1"}, True), (ProviderError("no such method"), False)],
)
def test_is_syncing__any_node__what_it_says(gateway, provider, answer, expected):
    provider.answers["eth_syncing"] = answer
    assert gateway.is_syncing() == expected


def test_get_tally__any_block__is_asked_for_by_its_hash(gateway, provider):
    words = {"headHeaderHash()": b"\x05" * 32, "queueCount()": (3).to_bytes(32, "big")}
    words["queueHash(uint64)"] = b"\x06" * 32
    words["isFrozen()"] = bytes(32)
    by_selector = {keccak(name.encode())[:4].hex(): word for name, word in words.items()}
    provider.answers["eth_call"] = lambda parameters: (
        "0x" + by_selector[parameters[0]["data"][2:10]].hex()
    )
    tally = gateway.get_tally(BlockRef(9, b"\x09" * 32, 1))
    assert tally == Tally(b"\x05" * 32, 3, b"\x06" * 32)
    places = {repr(parameters[1]) for _, parameters in provider.asked}
    assert places == {repr({"blockHash": "0x" + "09" * 32, "requireCanonical": True})}


def test_count_witnesses__several_nodes__those_with_that_very_block(gateway):
    answers: list[Any] = [{"hash": "0x" + "09" * 32}, {"hash": "0x" + "08" * 32}, None]
    gateway.nodes.request_each = lambda *_: [*answers, L1Error("gone")]
    assert gateway.count_witnesses(BlockRef(9, b"\x09" * 32, 1)) == 1


def test_get_events__long_range__is_asked_for_piece_by_piece(gateway, provider):
    provider.answers["eth_getLogs"] = []
    assert gateway.get_events(10, 10 + 2 * LOG_RANGE) == []
    ranges = [
        (int(one[0]["fromBlock"], 16), int(one[0]["toBlock"], 16)) for _, one in provider.asked
    ]
    assert ranges == [
        (10, 9 + LOG_RANGE),
        (10 + LOG_RANGE, 9 + 2 * LOG_RANGE),
        (10 + 2 * LOG_RANGE, 10 + 2 * LOG_RANGE),
    ]
    assert provider.asked[0][1][0]["address"] == [
        INBOX.lower(),
        BRIDGE.lower(),
        HATCH.lower(),
    ]


def test_get_events__empty_range__asks_nothing(gateway, provider):
    assert gateway.get_events(11, 10) == []
    assert provider.asked == []


def make_log(address: str, topics: list[bytes], data: bytes) -> dict[str, Any]:
    return {
        "address": address,
        "topics": ["0x" + topic.hex() for topic in topics],
        "data": "0x" + data.hex(),
        "blockNumber": "0x5",
        "transactionHash": "0x" + TRANSACTION.hex(),
    }


def test_decode_log__removal__is_read():
    topics = [BATCH_REMOVED_TOPIC, (3).to_bytes(32, "big"), b"\x08" * 32, bytes(12) + b"\x09" * 20]
    log = make_log(INBOX, topics, encode(["uint8"], [6]))
    removed = BatchRemoved(5, 3, b"\x08" * 32, 6, Address(b"\x09" * 20))
    assert _decode_log(log, BRIDGE.lower(), HATCH.lower()) == removed


OPENED = keccak(b"Opened(bytes32,uint64,uint128,uint256)")
ESCAPED = keccak(b"Escaped(uint32,address,uint96)")
PAID = keccak(b"EscapePaid(uint32,address,uint256)")
REFUNDED = keccak(b"DepositRefunded(uint64,address,uint128)")
SEVEN, WHO = (7).to_bytes(32, "big"), bytes(12) + b"\x09" * 20
AMOUNT = encode(["uint256"], [2**96 - 1])


@pytest.mark.parametrize(
    ("log", "event"),
    [
        (make_log(INBOX, [INBOX_FROZEN_TOPIC], b""), InboxFrozen(5)),
        (
            make_log(
                HATCH,
                [OPENED, b"\x08" * 32],
                encode(["uint64", "uint128", "uint256"], [3, 10**12, 10**9]),
            ),
            EscapeOpened(5, b"\x08" * 32, 3, 10**12, 10**9),
        ),
        (
            make_log(HATCH, [ESCAPED, SEVEN, WHO], AMOUNT),
            AccountEscaped(5, AccountId(7), Address(WHO[12:]), 2**96 - 1),
        ),
        (
            make_log(HATCH, [PAID, SEVEN, WHO], AMOUNT),
            EscapePaid(5, AccountId(7), Address(WHO[12:]), 2**96 - 1),
        ),
        (
            make_log(HATCH, [REFUNDED, SEVEN, WHO], AMOUNT),
            DepositRefunded(5, 7, Address(WHO[12:]), 2**96 - 1),
        ),
    ],
)
def test_decode_log__closing__is_read(log, event):
    assert _decode_log(log, BRIDGE.lower(), HATCH.lower()) == event


@pytest.mark.parametrize(
    "log",
    [
        make_log(BRIDGE, [BATCH_REMOVED_TOPIC, b"", b"", b""], b""),
        make_log(INBOX, [keccak(b"Bonded(address,uint256)")], b""),
        make_log(BRIDGE, [keccak(b"ExitClaimed(uint32,address,uint128)")], b""),
        make_log(HATCH, [keccak(b"Frozen(address,bytes32)"), b"", b""], b""),
        make_log(HATCH, [INBOX_FROZEN_TOPIC], b""),
    ],
)
def test_decode_log__other_event_or_other_contract__is_none_of_ours(log):
    assert _decode_log(log, BRIDGE.lower(), HATCH.lower()) is None


def test_decode_log__real_contracts__header_and_queue_hashes_are_ours(inbox):
    """Events of the compiled contracts, hashed again in Python."""
    with inbox.undone():
        assert compute_header_hash(inbox.genesis.header) == inbox.genesis.header_hash
        previous = ZERO_HASH
        deposit = ("deposit(address,uint32,uint256)", ("address", DEPLOYER), ("uint32", 0))
        sent = [
            (*deposit, ("uint256", 123)),
            ("forceExit(uint32,uint128)", ("uint32", 1), ("uint128", 5)),
            ("cancelAll(uint32)", ("uint32", 9)),
            ("force(bytes)", ("bytes", b"any bytes")),
            ("configure(bytes)", ("bytes", b"\xff" * 1024)),
            ("forceClose(uint32,uint16,uint64)", ("uint32", 1), ("uint16", 2), ("uint64", 3)),
        ]
        for index, (signature, *arguments) in enumerate(sent):
            (event,) = inbox.send(inbox.bridge, signature, *arguments)
            assert isinstance(event, MessageQueued)
            assert event.index == index
            assert event.message.kind == MessageKind(index + 1)
            assert "0x" + event.message.sender.hex() == DEPLOYER
            previous = compute_queue_hash(previous, event.message)
            assert event.queue_hash == previous


@pytest.fixture
def batch(inbox):
    """A posted batch with its calldata."""
    head = to_header_tuple(inbox.genesis.header)
    rows = [(one.data, one.signatures, one.post_root) for one in CHUNKS]
    following = (0, "0x" + bytes(20).hex(), 0, ZERO_HASH)
    arguments = (head, 0, ZERO_HASH, 2**64 - 1, following, rows)
    calldata = SUBMIT_BATCH_SELECTOR + encode([BATCH_INPUT_ABI], [arguments])
    with inbox.undone():
        (event,) = inbox.transact(inbox.inbox, calldata)
    return event, calldata


def test_get_chunks__posted_batch__header_commits_to_it(gateway, provider, batch):
    submitted, calldata = batch
    assert isinstance(submitted, BatchSubmitted)
    assert compute_header_hash(submitted.header) == submitted.header_hash
    assert submitted.header.chunks_root == compute_chunk_tree(CHUNKS).root
    provider.answers["eth_getTransactionByHash"] = {"input": "0x" + calldata.hex()}
    assert gateway.get_chunks(submitted) == CHUNKS
    assert provider.asked == [("eth_getTransactionByHash", ["0x" + TRANSACTION.hex()])]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda _: None, "no transaction"),
        (lambda calldata: {"input": "0x" + calldata[:3].hex()}, "posts no batch"),
        (lambda calldata: {"input": "0x00" + calldata[1:].hex()}, "posts no batch"),
        (lambda calldata: {"input": "0x" + calldata[:-64].hex()}, "does not match its header"),
        (lambda calldata: {"input": "0x" + calldata[:4].hex()}, "does not match its header"),
    ],
)
def test_get_chunks__not_what_was_posted__is_a_contradiction(
    gateway, provider, batch, spoil, complaint
):
    submitted, calldata = batch
    provider.answers["eth_getTransactionByHash"] = spoil(calldata)
    with pytest.raises(ContradictionError, match=complaint):
        gateway.get_chunks(submitted)
