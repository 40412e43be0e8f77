"""Commitments as the contracts compute them, on anything."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.l1.commitments import (
    MAX_CHUNKS,
    compress_branch,
    compute_chunk_commitment,
    compute_chunk_tree,
    compute_header_hash,
    compute_queue_hash,
    to_header_tuple,
)
from deltaroll.l1.types import Header, PostedChunk
from deltaroll.protocol.constants import EXIT_DEPTH
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.leaf import encode_exit, hash_leaf
from deltaroll.protocol.tree import MerkleTree
from deltaroll.protocol.types import Address, Exit, Message, Timestamp
from tests.protocol.evm import Contract

fast = settings(deadline=None, max_examples=60)
hashes = st.binary(min_size=32, max_size=32)
words = st.integers(0, 2**64 - 1)
addresses = st.binary(min_size=20, max_size=20).map(Address)
headers = st.builds(
    Header,
    words,
    hashes,
    hashes,
    hashes,
    st.integers(0, 2**32 - 1),
    words,
    words,
    hashes,
    words,
    words,
    words,
    words,
    addresses,
    st.integers(0, 255),
    hashes,
)
chunks = st.builds(PostedChunk, st.binary(max_size=80), st.binary(max_size=80), hashes)


@cache
def harness() -> Contract:
    return Contract("CommitmentsHarness")


@fast
@given(headers)
def test_compute_header_hash__any_header__same_as_the_contract(header):
    fields = to_header_tuple(header)
    assert harness().call("headerHash", fields) == compute_header_hash(header)
    assert harness().call("newHeaderHash", fields) == compute_header_hash(header)


@fast
@given(chunk_list=st.lists(chunks, min_size=1, max_size=40), place=st.integers(0, 39))
def test_compute_chunk_tree__any_chunks__same_as_the_contract_and_opens(chunk_list, place):
    tree = compute_chunk_tree(chunk_list)
    commitments = [compute_chunk_commitment(chunk) for chunk in chunk_list]
    assert harness().call("chunksRoot", commitments) == tree.root
    index = place % len(chunk_list)
    branch = tree.get_branch(index)
    assert harness().call("chunkBranch", commitments[index], index, branch) == tree.root


@pytest.mark.parametrize("count", [1, 2, 127, 128, 129, MAX_CHUNKS])
def test_compute_chunk_tree__every_shape__same_as_the_contract(count):
    chunk_list = [PostedChunk(b"%d" % number, b"", keccak(b"root")) for number in range(count)]
    commitments = [compute_chunk_commitment(chunk) for chunk in chunk_list]
    assert harness().call("chunksRoot", commitments) == compute_chunk_tree(chunk_list).root


@fast
@given(chunks, st.sampled_from(("data", "signatures", "post_root")))
def test_compute_chunk_commitment__any_part_changed__is_another(chunk, name):
    fields = {"data": chunk.data, "signatures": chunk.signatures, "post_root": chunk.post_root}
    fields[name] = fields[name][:-1] + bytes((fields[name][-1] ^ 1,)) if fields[name] else b"\x00"
    assert compute_chunk_commitment(PostedChunk(**fields)) != compute_chunk_commitment(chunk)


@fast
@given(
    st.lists(
        st.builds(
            Message,
            st.integers(0, 255),
            addresses,
            words.map(Timestamp),
            st.binary(max_size=200),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_compute_queue_hash__any_messages__same_as_the_contract(messages):
    ours = theirs = ZERO_HASH
    for message in messages:
        ours = compute_queue_hash(ours, message)
        theirs = harness().call(
            "queueHash",
            theirs,
            message.kind,
            "0x" + message.sender.hex(),
            message.time,
            keccak(message.body),
        )
        assert ours == theirs


@fast
@given(
    leaves=st.lists(
        st.builds(Exit, st.integers(0, 2**16 - 1), addresses, st.integers(0, 2**128 - 1)),
        min_size=1,
        max_size=70,
    ),
    place=st.integers(0, 69),
)
def test_compress_branch__any_exit_tree__the_bridge_finds_the_root(leaves, place):
    tree = MerkleTree(EXIT_DEPTH)
    tree.update({index: hash_leaf(encode_exit(leaf)) for index, leaf in enumerate(leaves)})
    index = place % len(leaves)
    leaf = leaves[index]
    sibling_map, siblings = compress_branch(tree.get_branch(index))
    shown = (index, leaf.asset, "0x" + leaf.recipient.hex(), leaf.amount)
    assert harness().call("exitsRoot", shown, sibling_map, siblings) == tree.root


@pytest.mark.parametrize("depth", [0, EXIT_DEPTH - 1, EXIT_DEPTH + 1])
def test_compress_branch__wrong_depth__is_refused(depth):
    with pytest.raises(ValueError, match=f"{depth} siblings instead of {EXIT_DEPTH}"):
        compress_branch([ZERO_HASH] * depth)
