"""The commitment library against a plain Python reference, on random input."""

import pytest
from ape import project
from eth_utils import keccak, to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.reference import (
    ZERO,
    Chunk,
    Exit,
    Header,
    Message,
    chunk_levels,
    compress,
    exit_levels,
    tree_branch,
)

fast = settings(deadline=None, max_examples=60)
hashes = st.binary(min_size=32, max_size=32)
words = st.integers(0, 2**64 - 1)
addresses = st.binary(min_size=20, max_size=20).map(to_checksum_address)


@pytest.fixture(scope="session")
def harness(deployer):
    return deployer.deploy(project.CommitmentsHarness)


@fast
@given(
    header=st.builds(
        Header,
        index=words,
        previous=hashes,
        post_root=hashes,
        chunks_root=hashes,
        chunk_count=st.integers(0, 2**32 - 1),
        queue_start=words,
        queue_end=words,
        queue_hash=hashes,
        l1_block=words,
        l1_time=words,
        l1_base_fee=words,
        l1_blob_fee=words,
        proposer=addresses,
        data_mode=st.integers(0, 255),
        parameter_hash=hashes,
    )
)
def test_header_hash__any_header__matches(harness, header):
    assert harness.headerHash(header) == harness.newHeaderHash(header) == header.hash


@fast
@given(
    previous=hashes,
    message=st.builds(Message, st.integers(0, 255), addresses, words, hashes),
)
def test_queue_hash__any_message__matches(harness, previous, message):
    assert harness.queueHash(previous, *message) == message.extend(previous)


@fast
@given(
    seeds=st.lists(st.binary(max_size=8), min_size=1, max_size=256, unique=True),
    position=st.integers(0, 255),
)
def test_chunks_root__any_list__matches_and_opens(harness, seeds, position):
    chunks = [Chunk(seed, seed[::-1], keccak(seed)) for seed in seeds]
    commitments = [chunk.commitment for chunk in chunks]
    levels = chunk_levels(commitments)
    root = levels[-1][0]
    assert harness.chunksRoot(commitments) == root
    index = position % len(chunks)
    branch = tree_branch(levels, index)
    assert harness.chunkBranch(commitments[index], index, branch) == root
    assert harness.chunkBranch(commitments[index], (index + 1) % 256, branch) != root


@pytest.mark.parametrize("count", [1, 2, 3, 4, 127, 128, 129, 255, 256])
def test_chunks_root__every_shape__matches(harness, count):
    commitments = [keccak(bytes([n])) for n in range(count)]
    assert harness.chunksRoot(commitments) == chunk_levels(commitments)[-1][0]


exits = st.builds(
    Exit,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**16 - 1),
    addresses,
    st.integers(0, 2**128 - 1),
)


@fast
@given(
    tree=st.lists(exits, min_size=1, max_size=40, unique_by=lambda item: item.index),
    position=st.integers(0, 39),
)
def test_exits_root__any_tree__opens_every_exit(harness, tree, position):
    levels = exit_levels(tree)
    claimed = tree[position % len(tree)]
    branch = tree_branch(levels, claimed.index)
    assert harness.exitsRoot(claimed, *compress(branch)) == levels[-1][0]
    assert harness.exitsRoot(claimed, 2**32 - 1, branch) == levels[-1][0]


@fast
@given(claimed=exits, count=st.integers(1, 100))
def test_exits_root__any_other_exit__leads_elsewhere(harness, claimed, count):
    """In a dense tree, as append-only trees are."""
    position = claimed.index % count
    tree = [claimed._replace(index=n, amount=claimed.amount ^ n ^ position) for n in range(count)]
    claimed = tree[position]
    levels = exit_levels(tree)
    branch = compress(tree_branch(levels, position))
    assert harness.exitsRoot(claimed, *branch) == levels[-1][0]
    for changed in (
        claimed._replace(index=claimed.index ^ 1),
        claimed._replace(index=claimed.index ^ 1 << 31),
        claimed._replace(asset=claimed.asset ^ 1),
        claimed._replace(amount=claimed.amount ^ 1),
    ):
        assert harness.exitsRoot(changed, *branch) != levels[-1][0]


def test_exits_root__empty_tree__has_no_preimage(harness):
    nothing = Exit(0, 0, to_checksum_address(bytes(20)), 0)
    assert harness.exitsRoot(nothing, 0, []) != ZERO
