"""Parameters of a deployment are judged before the first transaction."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from deltaroll.l1.deployment import (
    ZERO,
    DeploymentError,
    DeploymentParameters,
    deploy,
    validate_parameters,
)

TOKEN = "0x" + "11" * 20
GOOD = DeploymentParameters(TOKEN, "0x" + "22" * 20, "0x" + "33" * 20)


class FakeProvider:
    def get_code(self, address: str) -> bytes:
        return b"\x60" if address == TOKEN else b""


def test_validate_parameters__good__is_taken():
    validate_parameters(FakeProvider(), GOOD)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"token": "0x" + "12" * 20}, "token: 0x1212.* has no code on this chain"),
        ({"token": "0x12"}, "token: 0x12 is not an address"),
        ({"token": ""}, "token:  is not an address"),
        ({"token": ZERO}, "token: the zero address"),
        ({"sequencer": "me"}, "sequencer: me is not an address"),
        ({"governor": ZERO}, "governor: the zero address"),
        ({"governor": "0x" + "22" * 19 + "aB"}, "governor: 0x2222.*aB is not an address"),
        ({"governor": "22" * 20}, "governor: 2222.* is not an address"),
        ({"challenge_window": 0}, "challenge_window: 0 is not positive"),
        ({"forced_delay": -1}, "forced_delay: -1 is not positive"),
        ({"proposer_delay": 2**64}, "proposer_delay: 18446744073709551616 does not fit 64 bits"),
        ({"bond": 0}, "bond: 0 is not positive"),
        ({"bond": 2**128}, "bond: .* does not fit 64 bits"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_deploy__wrong_parameter__names_it_and_sends_nothing(change, complaint):
    with pytest.raises(DeploymentError, match=complaint):
        deploy(
            SimpleNamespace(),  # type: ignore[arg-type]
            FakeProvider(),  # type: ignore[arg-type]
            SimpleNamespace(),  # type: ignore[arg-type]
            replace(GOOD, **change),
        )
