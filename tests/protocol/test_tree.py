"""Merkle trees: one root from many leaves, and no other way to it."""

from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.tree import (
    MerkleTree,
    compute_root_from_branch,
    compute_root_from_multiproof,
    hash_pair,
)
from tests.protocol.evm import Contract, RevertError

DEPTH = 5
LAST = (1 << DEPTH) - 1
hashes = st.one_of(st.just(ZERO_HASH), st.integers(1, 1 << 64).map(lambda n: keccak(b"%d" % n)))
leaves = st.dictionaries(st.integers(0, LAST), hashes, min_size=1, max_size=12)
places = st.sets(st.integers(0, LAST), min_size=1, max_size=12).map(sorted)


@cache
def trees() -> Contract:
    return Contract("TreeHarness")


def word(data: bytes) -> int:
    return int.from_bytes(data, "big")


def solidity_roots(
    indices: list[int],
    before: list[bytes],
    after: list[bytes],
    siblings: list[bytes],
    depth: int = DEPTH,
) -> tuple[bytes, bytes]:
    level = [
        value
        for index, old, new in zip(indices, before, after, strict=True)
        for value in (index, word(old), word(new))
    ]
    stream = len(siblings).to_bytes(2, "big") + b"".join(siblings)
    first, second = trees().call("multiproof", level, stream, depth)
    return first, second


def build(values: dict[int, bytes], depth: int = DEPTH) -> MerkleTree:
    tree = MerkleTree(depth)
    tree.update(values)
    return tree


@settings(max_examples=60, deadline=None)
@given(hashes, hashes)
def test_hash_pair__any_nodes__same_in_both_twins(left: bytes, right: bytes) -> None:
    assert trees().call("pair", left, right) == hash_pair(left, right)


@settings(max_examples=60, deadline=None)
@given(leaves, st.integers(0, LAST))
def test_compute_root_from_branch__leaf_of_tree__root(values: dict[int, bytes], index: int) -> None:
    tree = build(values)
    leaf, branch = tree.get_leaf(index), tree.get_branch(index)
    assert compute_root_from_branch(leaf, index, branch) == tree.root
    assert trees().call("branch", leaf, index, branch) == tree.root


@settings(max_examples=150, deadline=None)
@given(leaves, places, st.data())
def test_compute_root_from_multiproof__changed_leaves__roots_before_and_after(
    values: dict[int, bytes], indices: list[int], draw: st.DataObject
) -> None:
    tree = build(values)
    before = [tree.get_leaf(index) for index in indices]
    siblings = tree.get_multiproof(indices)
    root = tree.root
    after = [draw.draw(st.one_of(st.just(leaf), hashes)) for leaf in before]
    tree.update(dict(zip(indices, after, strict=True)))
    assert compute_root_from_multiproof(indices, before, siblings, DEPTH) == root
    assert compute_root_from_multiproof(indices, after, siblings, DEPTH) == tree.root
    assert solidity_roots(indices, before, after, siblings) == (root, tree.root)


@settings(max_examples=150, deadline=None)
@given(leaves, places, st.sampled_from(["missing", "extra", "swapped", "changed"]), st.data())
def test_compute_root_from_multiproof__forged_siblings__no_proof_of_the_root(
    values: dict[int, bytes], indices: list[int], forgery: str, draw: st.DataObject
) -> None:
    tree = build(values)
    before = [tree.get_leaf(index) for index in indices]
    siblings = tree.get_multiproof(indices)
    forged = list(siblings)
    if forgery == "extra":
        forged.insert(draw.draw(st.integers(0, len(forged))), draw.draw(hashes))
    else:
        assume(forged)
        at = draw.draw(st.integers(0, len(forged) - 1))
        if forgery == "missing":
            del forged[at]
        elif forgery == "swapped":
            other = draw.draw(st.integers(0, len(forged) - 1))
            forged[at], forged[other] = forged[other], forged[at]
        else:
            forged[at] = draw.draw(hashes)
    assume(forged != siblings)
    if len(forged) != len(siblings):
        with pytest.raises(ValueError, match="sibling"):
            compute_root_from_multiproof(indices, before, forged, DEPTH)
        with pytest.raises(RevertError, match="Witness_BadSiblings"):
            solidity_roots(indices, before, before, forged)
        return
    claimed = compute_root_from_multiproof(indices, before, forged, DEPTH)
    assert claimed != tree.root
    assert solidity_roots(indices, before, before, forged) == (claimed, claimed)


@settings(max_examples=60, deadline=None)
@given(leaves, places, st.data())
def test_compute_root_from_multiproof__false_leaf__other_root(
    values: dict[int, bytes], indices: list[int], draw: st.DataObject
) -> None:
    tree = build(values)
    before = [tree.get_leaf(index) for index in indices]
    forged = list(before)
    at = draw.draw(st.integers(0, len(indices) - 1))
    forged[at] = draw.draw(hashes)
    assume(forged != before)
    roots = solidity_roots(indices, forged, before, tree.get_multiproof(indices))
    assert roots[0] != tree.root
    assert roots[1] == tree.root


@pytest.mark.parametrize("index", [1 << DEPTH, (1 << DEPTH) + 3, 1 << 255])
def test_compute_root_from_multiproof__place_past_the_tree__reverts(index: int) -> None:
    tree = build({3: keccak(b"3")})
    with pytest.raises(RevertError, match="Witness_BadSiblings"):
        solidity_roots([index], [keccak(b"3")], [keccak(b"3")], tree.get_multiproof([3]))


def test_compute_root_from_multiproof__full_and_deep_trees__right_roots() -> None:
    values = {index: keccak(b"%d" % index) for index in range(LAST + 1)}
    tree = build(values)
    everything = list(values)
    assert tree.get_multiproof(everything) == []
    assert solidity_roots(everything, list(values.values()), list(values.values()), []) == (
        tree.root,
        tree.root,
    )
    deep = build({(1 << 32) - 1: keccak(b"last"), 0: keccak(b"first")}, 32)
    ends = [0, (1 << 32) - 1]
    old = [deep.get_leaf(index) for index in ends]
    proof = deep.get_multiproof(ends)
    assert solidity_roots(ends, old, [ZERO_HASH] * 2, proof, 32) == (deep.root, ZERO_HASH)


def test_update__leaf_removed__root_as_if_never_there() -> None:
    tree = build({1: keccak(b"1")})
    alone = tree.root
    tree.update({9: keccak(b"9")})
    assert tree.update({9: ZERO_HASH}) == alone
    assert tree.update({1: ZERO_HASH}) == ZERO_HASH
