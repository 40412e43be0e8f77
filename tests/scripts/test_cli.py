"""What the scripts share: amounts in and out, errors in one line, waiting."""

import signal
from types import SimpleNamespace

import click
import pytest
from ape.exceptions import ContractLogicError
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.amounts import to_money
from deltaroll.cli import MONEY, WalletSigner, compute_delay, plain_errors, unlock, watch
from deltaroll.l1.deployment import DeploymentError
from deltaroll.l1.gateway import L1Error
from deltaroll.l1.registry import RegistryError
from deltaroll.node.batcher import BatcherError
from deltaroll.node.challenger import ChallengeError
from deltaroll.node.exits import ExitError
from deltaroll.node.liquidator import LiquidatorError
from deltaroll.node.store import StoreError
from deltaroll.protocol.constants import MAX_AMOUNT
from deltaroll.protocol.types import AccountId, Liquidate


@settings(deadline=None, max_examples=200)
@given(st.integers(1, MAX_AMOUNT // 10**6 * 10**6))
def test_money__any_amount__comes_back_from_what_is_shown(units):
    assert MONEY.convert(to_money(units).replace(",", ""), None, None) == units


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("1", 10**6),
        ("250.50", 250_500_000),
        ("0.000001", 1),
        (".5", 500_000),
        ("1e3", 10**9),
        ("00012.10", 12_100_000),
        (str(MAX_AMOUNT // 10**6), MAX_AMOUNT // 10**6 * 10**6),
    ],
)
def test_money__amount__is_whole_units(text, units):
    assert MONEY.convert(text, None, None) == units


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a number"),
        ("ten", "not a number"),
        ("1,000", "not a number"),
        ("0x10", "not a number"),
        ("0", "not a positive amount"),
        ("-1", "not a positive amount"),
        ("nan", "not a positive amount"),
        ("inf", "not a positive amount"),
        ("0.0000001", "more than 6 decimal places"),
        ("1234567890123456789012345.6789012345", "more than 6 decimal places"),
        ("1e-999999999", "more than 6 decimal places"),
        (str(MAX_AMOUNT // 10**6 + 1), "more than can be moved at once"),
        ("1e999999", "more than can be moved at once"),
    ],
)
def test_money__no_amount__says_why(text, complaint):
    with pytest.raises(click.UsageError, match=complaint):
        MONEY.convert(text, None, None)


@pytest.mark.parametrize(
    ("units", "text"),
    [(0, "0.000000"), (1, "0.000001"), (-1, "-0.000001"), (1_234_567_890_123, "1,234,567.890123")],
)
def test_to_money__any_sign__is_readable(units, text):
    assert to_money(units) == text


@pytest.mark.parametrize(
    "kind",
    [
        L1Error,
        BatcherError,
        ChallengeError,
        DeploymentError,
        ExitError,
        LiquidatorError,
        RegistryError,
        StoreError,
    ],
)
def test_plain_errors__known_error__is_one_line_and_a_failure(kind):
    @click.command()
    @plain_errors()
    def command() -> None:
        raise kind("what is wrong")

    result = CliRunner().invoke(command)
    assert result.exit_code == 1
    assert result.output == "Error: what is wrong\n"


def test_plain_errors__bug__is_not_hidden():
    with pytest.raises(ZeroDivisionError), plain_errors():
        _ = 1 // 0


@pytest.fixture
def signals():
    kept = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name, handler in kept.items():
        signal.signal(name, handler)


def test_compute_delay__failures_in_a_row__later_and_later_up_to_a_minute():
    assert compute_delay(4.0, 0, 0.3) == 4.0
    assert [compute_delay(4.0, failures, 1.0) for failures in (1, 2, 3)] == [8.0, 16.0, 32.0]
    assert compute_delay(4.0, 10**6, 1.0) == 60.0
    assert compute_delay(4.0, 10**6, 0.0) == 30.0
    assert compute_delay(90.0, 3, 1.0) == 90.0


def test_watch__once__looks_once(signals):
    looks = []
    watch(lambda: looks.append(1), once=True, interval=9)
    assert looks == [1]


@pytest.mark.parametrize("problem", [L1Error("gone"), ChallengeError("odd"), OSError("refused")])
def test_watch__once_and_it_fails__raises(signals, problem):
    def look() -> None:
        raise problem

    with pytest.raises(type(problem)):
        watch(look, once=True, interval=9)


@pytest.mark.parametrize(
    "problem",
    [L1Error("gone"), ChallengeError("odd"), ContractLogicError("StaleHead"), OSError("x")],
)
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_watch__fails_now_and_then__goes_on_until_told_to_stop(signals, capsys, problem, stop):
    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 2:
            raise problem
        if len(looks) == 4:
            signal.raise_signal(stop)

    watch(look, once=False, interval=0.01)
    assert len(looks) == 4
    assert str(problem) in capsys.readouterr().err


@pytest.mark.parametrize(
    "problem", [BatcherError("not ours"), StoreError("damaged"), LiquidatorError("not its key")]
)
def test_watch__cannot_get_better__ends(signals, problem):
    def look() -> None:
        raise problem

    with pytest.raises(type(problem)):
        watch(look, once=False, interval=0.01)


def test_unlock__account_without_a_keyfile__is_left_alone():
    account = SimpleNamespace()
    assert unlock(account) is account  # type: ignore[arg-type, comparison-overlap]


def test_sign__account_declines__is_an_error():
    account = SimpleNamespace(address="0x" + "22" * 20, sign_message=lambda _: None)
    inbox = SimpleNamespace(address="0x" + "11" * 20)
    gateway = SimpleNamespace(
        provider=SimpleNamespace(chain_id=1), contracts=SimpleNamespace(inbox=inbox)
    )
    signer = WalletSigner(account, gateway)  # type: ignore[arg-type]
    assert signer.address == b"\x22" * 20
    with pytest.raises(LiquidatorError, match="did not sign"):
        signer.sign(Liquidate(AccountId(1), AccountId(2), 3, 4, 5))
