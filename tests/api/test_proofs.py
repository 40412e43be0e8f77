"""Proofs that the API serves are those of the follower's state, whatever was asked before."""

from types import SimpleNamespace

import pytest

from deltaroll.l1.commitments import compress_branch
from deltaroll.l1.nodes import L1Error
from deltaroll.l1.types import Stage
from deltaroll.node.api.errors import RateLimitedError, UnknownError
from deltaroll.node.api.proofs import EXACT, RECENT_EXITS, FollowerView, spell_field
from deltaroll.node.exits import compute_branch
from deltaroll.protocol.types import Exit
from tests.node.support import OWNERS, Venue
from tests.sdk.test_trust import make_header

ADA, BLAISE = (OWNERS[account].address for account in (1, 2))


class Follower:
    """A follower that has derived exits; `settled` of them are past their window."""

    def __init__(self, exits: list[Exit], settled: int) -> None:
        self.state = SimpleNamespace(exits=exits)
        self.chain = [object()]
        self.settled = settled
        self.globals = Venue().open().state.globals

    def find_newest(self):
        header = make_header(b"\x01" * 32)
        fields = {name: getattr(self.globals, name) for name in self.globals.__slots__}
        settled = type(self.globals)(**(fields | {"exit_count": self.settled}))
        return {
            Stage.SETTLED: SimpleNamespace(
                globals=settled, submitted=SimpleNamespace(header=header)
            )
        }


def make_exits(count: int, offset: int = 0) -> list[Exit]:
    return [Exit(0, (ADA, BLAISE)[place % 2], place + offset) for place in range(count)]


def check(view: FollowerView, follower: Follower) -> None:
    for recipient in (ADA, BLAISE):
        for found in view.find_exits(recipient):
            assert (found.proof is not None) == (found.index < follower.settled)
            if found.proof is not None:
                branch = compute_branch(follower, found.index, follower.settled)
                places, siblings = compress_branch(branch)
                assert found.proof.sibling_map == places
                assert found.proof.siblings == ["0x" + sibling.hex() for sibling in siblings]


def test_exits__more_settle_and_l1_takes_some_back__are_proven_in_what_has_settled():
    follower = Follower(make_exits(9), 0)
    view = FollowerView(follower)
    for settled in (0, 3, 4, 9, 5):
        follower.settled = settled
        check(view, follower)
    # Other exits in the place of those before, and more of them.
    follower.state.exits = make_exits(12, offset=100)
    follower.settled = 12
    check(view, follower)


def test_exits__many__are_the_newest():
    follower = Follower(make_exits(2 * RECENT_EXITS + 10), 0)
    found = FollowerView(follower).find_exits(ADA)
    assert [exit_.index for exit_ in found] == list(range(48, 48 - 2 * RECENT_EXITS, -2))
    assert FollowerView(follower).find_exits(b"\x05" * 20) == ()


def test_exits__l1_not_read_or_silent__is_a_refusal():
    follower = Follower([], 0)
    follower.chain = []
    with pytest.raises(UnknownError, match="L1 has not been read yet"):
        FollowerView(follower).find_exits(ADA)
    follower.chain = [object()]

    def find_newest():
        raise L1Error("silent")

    follower.find_newest = find_newest
    view = FollowerView(follower)
    with pytest.raises(RateLimitedError):
        view.find_exits(ADA)
    assert not view.lock.locked()


@pytest.mark.parametrize(
    ("value", "plain"),
    [(5, 5), (EXACT - 1, EXACT - 1), (EXACT, str(EXACT)), (b"\x01", "0x01"), ("0xab", "0xab")],
)
def test_header_field__as_json_has_it(value, plain):
    assert spell_field(value) == plain
