"""What a node says is checked: receipts against the key that signs them, leaves against L1."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest
from eth_abi.abi import encode
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data

from deltaroll.l1.commitments import HEADER_ABI, compute_header_hash, to_header_tuple
from deltaroll.l1.nodes import L1Error
from deltaroll.l1.types import Header, Stage
from deltaroll.node.api.data import AccountProof
from deltaroll.node.receipts import make_receipt_key
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.leaf import encode_account, encode_globals
from deltaroll.protocol.state import compute_state_root, get_slot_root
from deltaroll.protocol.types import Address
from deltaroll.sdk.aio import AsyncClient
from deltaroll.sdk.errors import ProofError, WrongVenueError
from deltaroll.sdk.proofs import L1Reader, verify_account
from deltaroll.sdk.receipts import ReceiptError, to_receipt_key_document
from deltaroll.sdk.wallets import ApeWallet, KeyWallet, to_wallet
from tests.api.support import ADA, RECEIPT_KEY, serve
from tests.node.support import CASH, OWNERS, PERP, PRICE, Venue, make_signer
from tests.sdk.support import QUICK, ROLLUP, make_client

PROPOSER = make_signer("proposer")
OTHER_KEY = make_receipt_key(keccak(b"another key"))


@pytest.fixture(scope="module")
def server():
    with serve() as found:
        yield found


# Receipts


def test_receipt__key_is_pinned__another_signer_is_refused(server):
    async def work():
        wrong = "0x" + OTHER_KEY.address.hex()
        async with make_client(server, ADA, receipt_key=wrong) as client:
            with pytest.raises(ReceiptError, match="signed by 0x"):
                await client.buy(PERP, PRICE, 1)
            # It was taken all the same, so it is followed, and can be taken back.
            (order,) = client.orders
            with pytest.raises(ReceiptError, match="signed by 0x"):
                await order.cancel()
        right = "0x" + RECEIPT_KEY.address.hex()
        async with make_client(server, ADA, receipt_key=right) as client:
            order = await client.buy(PERP, PRICE, 1)
            await order.cancel()
            assert order.accepted.receipt is not None

    asyncio.run(work())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sequence": 5}, "it says"),
        ({"clock": 5}, "it says"),
        ({"filled": 1}, "it says"),
        ({"status": "filled"}, "it says"),
        ({"receipt": None}, "the answer has none"),
        ({"receipt": {"filled": 1}}, "signed by"),
        ({"receipt": {"sequence": 1}}, "signed by"),
        ({"receipt": {"outcome": 3}}, "signed by"),
        ({"receipt": {"subject": "0x" + "11" * 32}}, "subject is"),
        ({"receipt": {"branch": ["0x" + "11" * 32]}}, "signed by"),
        ({"receipt": {"signature": "0x" + "11" * 64}}, "signed by"),
    ],
)
def test_receipt__tampered_with__is_refused(server, change, why):
    async def work():
        async with make_client(server, ADA) as client:
            order = await client.buy(PERP, PRICE, 1)
            await order.cancel()
            good = msgspec.to_builtins(order.accepted)
            client.check_receipt(ADA, order.accepted, order.subject)
            part = change.get("receipt")
            if part is not None:
                good["receipt"] |= part
            answer = msgspec.convert(good | change if part is None else good, type(order.accepted))
            with pytest.raises(ReceiptError, match=why):
                client.check_receipt(ADA, answer, order.subject)

    asyncio.run(work())


class FakeInbox:
    """An L1 node that knows one inbox: its batches, and who has a bond."""

    def __init__(self, header: Header | None = None, bonds: dict[bytes, int] | None = None) -> None:
        self.headers = {} if header is None else {header.index: header}
        self.bonds = bonds or {}
        self.hashes = {index: compute_header_hash(header) for index, header in self.headers.items()}
        self.numbers = {"latest": 12_000, "safe": 11_000, "finalized": 10_000}
        self.posted = 9_000
        self.stage = 1

    def make_request(self, rpc, parameters):
        match rpc:
            case "eth_getBlockByNumber":
                number = self.numbers.get(parameters[0])
                return None if number is None else {"number": hex(number)}
            case "eth_call":
                data = bytes.fromhex(parameters[0]["data"][2:])
                return "0x" + self.call(data[:4], data[4:]).hex()
            case "eth_getLogs":
                (wanted,) = parameters
                if not int(wanted["fromBlock"], 16) <= self.posted <= int(wanted["toBlock"], 16):
                    return []
                return [
                    {
                        "data": "0x" + encode([HEADER_ABI], [to_header_tuple(header)]).hex(),
                        "blockNumber": hex(self.posted),
                    }
                    for index, header in self.headers.items()
                ]
        raise L1Error(rpc)

    def call(self, selector, data):
        if selector == keccak(b"headerHash(uint64)")[:4]:
            return self.hashes.get(int.from_bytes(data, "big"), ZERO_HASH)
        if selector == keccak(b"bondOf(address)")[:4]:
            return self.bonds.get(data[12:], 0).to_bytes(32, "big") + bytes(32)
        if selector == keccak(b"batchCount()")[:4]:
            return (max(self.headers) + 1).to_bytes(32, "big")
        return self.stage.to_bytes(32, "big")


def name_key(key: Address, signer=PROPOSER) -> dict[str, str]:
    document = to_receipt_key_document(ROLLUP.chain_id, ROLLUP.inbox, key)
    message = SimpleNamespace(digest=hash_document(document))
    return {
        "proposer": "0x" + PROPOSER.address.hex(),
        "proposer_signature": "0x" + KeyWallet(signer).sign_message(message).hex(),
    }


def hash_document(document):
    message = encode_typed_data(full_message=document)
    return keccak(b"\x19" + message.version + message.header + message.body)


@pytest.mark.parametrize(
    ("named", "bonds", "why"),
    [
        (name_key(RECEIPT_KEY.address), {PROPOSER.address: 1}, None),
        (name_key(RECEIPT_KEY.address), {}, "has no bond on L1"),
        (name_key(OTHER_KEY.address), {PROPOSER.address: 1}, "no proposer has named it"),
        (
            name_key(RECEIPT_KEY.address, make_signer("x")),
            {PROPOSER.address: 1},
            "no proposer has named it",
        ),
        (
            {"proposer": None, "proposer_signature": None},
            {PROPOSER.address: 1},
            "no proposer has named it",
        ),
        ({"receipt_key": None}, {PROPOSER.address: 1}, "receipt_key: the node names none"),
    ],
)
def test_receipt_key__who_names_it__has_to_be_bonded(server, named, bonds, why):
    async def work():
        client = make_client(server, ADA, l1=FakeInbox(bonds=bonds))
        ask = client.get_status

        async def get_status():
            return msgspec.structs.replace(await ask(), **named)

        client.get_status = get_status
        if why is None:
            async with client:
                assert client.receipt_key == RECEIPT_KEY.address
            return
        with pytest.raises(WrongVenueError, match=why):
            await client.open()

    asyncio.run(work())


# Proofs


def make_header(root: bytes, index: int = 7) -> Header:
    filler = b"\x22" * 32
    return Header(
        index, filler, root, filler, 1, 2, 3, filler, 9, 10, 11, 12, PROPOSER.address, 0, filler
    )


def make_proof(number: int) -> tuple[AccountProof, Header]:
    """What an honest node says of an account, and what L1 has."""
    state = Venue().open().state
    root = compute_state_root(state)
    header = make_header(root)
    leaf = state.accounts.get(number)
    encoded = b"" if leaf is None else encode_account(leaf, get_slot_root(state, number))
    proof = AccountProof(
        number,
        header.index,
        "0x" + compute_header_hash(header).hex(),
        "0x" + root.hex(),
        "0x" + encode_globals(state.globals).hex(),
        "0x" + encoded.hex(),
        ["0x" + sibling.hex() for sibling in state.get_account_branch(number)],
    )
    return proof, header


PROOF, HEADER = make_proof(1)


def flip(text: str, place: int) -> str:
    data = bytearray.fromhex(text[2:])
    data[place % len(data)] ^= 1
    return "0x" + data.hex()


def test_proof__honest__is_the_account():
    account = verify_account(PROOF, 1, HEADER)
    assert (account.owner, account.cash) == (OWNERS[ADA].address, CASH)
    absent, header = make_proof(77)
    assert verify_account(absent, 77, header) is None


@pytest.mark.parametrize("place", range(0, 200, 23))
@pytest.mark.parametrize("field", ["leaf", "globals", "branch"])
def test_proof__one_bit_off__is_refused(field, place):
    value = getattr(PROOF, field)
    if field == "branch":
        wrong = list(value)
        wrong[place % len(wrong)] = flip(wrong[place % len(wrong)], place)
    else:
        wrong = flip(value, place)
    with pytest.raises(ProofError):
        verify_account(msgspec.structs.replace(PROOF, **{field: wrong}), 1, HEADER)


@pytest.mark.parametrize(
    ("change", "number", "why"),
    [
        ({}, 2, "it is not that of account 2"),
        ({"leaf": "0x"}, 1, "it is not that of account 1"),
        ({"leaf": "zz"}, 1, "does not start with 0x"),
        ({"globals": "0xzz"}, 1, "proof: "),
        ({"batch": 8}, 1, "batch: 8, not 7"),
        ({"branch": []}, 1, "branch: not 24 hashes"),
        ({"branch": ["0x11"] * 24}, 1, "branch: not 24 hashes"),
    ],
)
def test_proof__of_something_else__is_refused(change, number, why):
    with pytest.raises(ProofError, match=why):
        verify_account(msgspec.structs.replace(PROOF, **change), number, HEADER)


def test_header__that_l1_has__is_found_with_its_stage():
    """Blocks are asked for 5,000 at a time, from the newest back."""
    node = FakeInbox(HEADER)
    reader = L1Reader(node, replace(ROLLUP, first_block=100))
    assert reader.find_header(7) == (HEADER, 9_000)
    for numbers, stage, expected in (
        ({}, 2, Stage.SETTLED),
        ({}, 1, Stage.FINAL),
        ({"finalized": 8_000}, 1, Stage.SAFE),
        ({"finalized": 8_000, "safe": 8_000}, 1, Stage.POSTED),
        ({"finalized": None, "safe": None}, 1, Stage.POSTED),
    ):
        node.numbers |= {"safe": 11_000, "finalized": 10_000} | numbers
        node.stage = stage
        assert reader.get_stage(HEADER, 9_000) is expected


def test_header__that_l1_does_not_have__is_an_error():
    reader = L1Reader(FakeInbox(HEADER), ROLLUP)
    with pytest.raises(ProofError, match="batch 8: L1 has none"):
        reader.find_header(8)
    lying = FakeInbox(HEADER)
    lying.hashes[7] = b"\x33" * 32
    with pytest.raises(ProofError, match="no event that has it"):
        L1Reader(lying, ROLLUP).find_header(7)


def test_prove_account__node_tells_another_state_than_l1__is_refused(server):
    """
    | node says                     | L1 has             | outcome           |
    | the account of batch 7        | batch 7            | the account, final |
    | the same, a unit richer       | batch 7            | refused           |
    | a state of its own, coherent  | another batch 7    | refused           |
    | the account of batch 7        | batches 7 and 9    | the account, and that there is a 9 |
    """

    async def prove(proof: AccountProof, header: Header, *later: Header):
        async with make_client(server, ADA) as client:
            inbox = client._l1 = FakeInbox(header)
            inbox.headers |= {one.index: one for one in later}
            rest = client._rest

            async def get(path, kind, *_, **__):
                assert (path, kind) == ("accounts/1/proof", AccountProof)
                return proof

            client._rest = SimpleNamespace(get=get)
            try:
                return await client.prove_account(1)
            finally:
                client._rest = rest

    proven = asyncio.run(prove(PROOF, HEADER))
    assert (proven.account.cash, proven.stage) == (CASH, Stage.FINAL)
    assert proven.newest == proven.header.index == 7
    old = asyncio.run(prove(PROOF, HEADER, make_header(b"\x44" * 32, 9)))
    assert (old.account, old.header.index, old.newest) == (proven.account, 7, 9)
    richer = msgspec.structs.replace(PROOF, leaf=flip(PROOF.leaf, 69))
    with pytest.raises(ProofError, match="leaf: it is not that of account 1"):
        asyncio.run(prove(richer, HEADER))
    with pytest.raises(ProofError, match="globals: their hash is not the state root"):
        asyncio.run(prove(PROOF, make_header(b"\x44" * 32)))


# Wallets


def test_wallet__of_any_kind__signs_the_same_documents(server):
    secret = OWNERS[ADA]._key.secret
    local = EthAccount.from_key(secret)

    class ApeLike:
        """What an Ape account does when it is asked to sign."""

        address = local.address

        def sign_message(self, message):
            signed = local.sign_message(message)
            return SimpleNamespace(
                r=signed.r.to_bytes(32, "big"), s=signed.s.to_bytes(32, "big"), v=signed.v
            )

    wallets = [to_wallet(key) for key in (secret, secret.hex(), "0x" + secret.hex(), local)]
    wallets += [to_wallet(OWNERS[ADA]), to_wallet(ApeLike())]
    assert {wallet.address for wallet in wallets} == {OWNERS[ADA].address}
    assert isinstance(wallets[-1], ApeWallet)

    async def work():
        for wallet in wallets:
            async with AsyncClient(
                server.url, ROLLUP, wallet, account=ADA, patience=QUICK
            ) as client:
                order = await client.buy(PERP, PRICE, 1)
                await order.cancel()

    asyncio.run(work())


@pytest.mark.parametrize("key", [None, 5, object()])
def test_wallet__that_cannot_sign__is_refused(key):
    with pytest.raises(TypeError, match=r"key: .* cannot sign"):
        to_wallet(key)
