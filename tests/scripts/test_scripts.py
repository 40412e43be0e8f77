"""The commands as a user types them, against one chain: a deployment's life from start to claim."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
from eth_abi.abi import encode
from eth_account import Account as EthAccount

from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import AccountId, Address, Observation, SlotId, Timestamp, Transfer
from deltaroll.sdk.signing import Signer
from tests.node.support import INDEX, MEMBERS, PERP, PRICE, compute_listing, make_order

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CHAIN = 1337
WINDOW = 7 * 24 * 3_600
ALIAS, PASSPHRASE = "venue", "correct horse"
EthAccount.enable_unaudited_hdwallet_features()
PHRASE = "test test test test test test test test test test test junk"
"""Of anvil's accounts, and of Ape's test accounts."""
VENUE, TRADER = (
    Signer(bytes(EthAccount.from_mnemonic(PHRASE, account_path=f"m/44'/60'/0'/0/{place}").key))
    for place in (7, 1)
)
"""The venue's key is in a keyfile; the trader is Ape's test account 1."""
BUYER, SELLER = AccountId(1), AccountId(2)
CASH = 500_000 * 10**6
DEPOSIT = "deposit(address,uint32,uint256)"
SIZE = 4


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def find(self, label: str) -> str:
        """What a line of output says after its label."""
        (line,) = [line for line in self.out.splitlines() if line.startswith(label)]
        return line.removeprefix(label).strip()


class Shell:
    """A working environment of its own: chain, accounts, registry."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        data = folder / "ape"
        (data / "accounts").mkdir(parents=True)
        keyfile = EthAccount.encrypt(VENUE._key.secret, PASSPHRASE, kdf="pbkdf2", iterations=1_000)
        (data / "accounts" / f"{ALIAS}.json").write_text(json.dumps(keyfile))
        shared = Path(os.environ.get("APE_DATA_FOLDER", ROOT / ".ape")) / "packages"
        if shared.is_dir():
            (data / "packages").symlink_to(shared)
        self.environment = os.environ | {
            "APE_DATA_FOLDER": str(data),
            f"APE_ACCOUNTS_{ALIAS}_PASSPHRASE": PASSPHRASE,
            "NO_COLOR": "1",
        }

    def run(self, script: str, *arguments: object, network: str = "", **changes: str) -> Result:
        """Type `ape run ...`; nobody answers a question."""
        command = [str(BIN / "ape"), "run", *script.split(), "--network"]
        command += [network or f"ethereum:local:{self.url}", *map(str, arguments)]
        if "--registry" not in command:
            command += ["--registry", str(self.folder / "deployments")]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | changes,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def succeed(self, script: str, *arguments: object) -> Result:
        result = self.run(script, *arguments)
        assert result.code == 0, result
        return result

    def call(self, method: str, *parameters: object) -> Any:
        """Ask the chain."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = requests.post(self.url, json=request, timeout=30).json()
        assert "error" not in answer, answer
        return answer["result"]

    def send(self, target: str, signature: str, *values: object) -> None:
        """Transact as the venue; anvil holds the key too."""
        types = signature[signature.index("(") + 1 : -1].split(",")
        data = keccak(signature.encode())[:4] + encode(types, values)
        transaction = {"from": to_hex(VENUE.address), "to": target, "data": "0x" + data.hex()}
        # Answers with the receipt, once the transaction is mined.
        assert self.call("eth_sendTransactionSync", transaction)["status"] == "0x1"

    def get_time(self) -> int:
        return int(self.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    @property
    def registry(self) -> dict[str, Any]:
        content = json.loads((self.folder / "deployments" / f"{CHAIN}.json").read_text())
        assert isinstance(content, dict)
        return content

    def get_address(self, name: str) -> str:
        return str(self.registry["contracts"][name]["address"])

    @property
    def domain(self) -> bytes:
        inbox = Address(bytes.fromhex(self.get_address("RollupInbox")[2:]))
        return compute_domain_separator(CHAIN, inbox)


def to_hex(value: bytes) -> str:
    return "0x" + value.hex()


def iter_until(lines: Iterable[str], mark: str) -> Iterator[str]:
    """Yield lines up to the first that holds `mark`."""
    for line in lines:
        yield line
        if mark in line:
            return
    raise AssertionError(f"the chain ended without saying {mark!r}")


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    """A chain for this module alone."""
    log = tmp_path_factory.mktemp("chain") / "anvil.log"
    arguments = ["--port", "0", "--chain-id", str(CHAIN), "--accounts", "20"]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [str(BIN / "anvil"), *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            # The last line of its greeting names the port; it prints little after that.
            said = "".join(iter_until(process.stdout, "Listening on"))
            address = said.rsplit("Listening on ", 1)[1].strip()
            reader = Thread(target=process.stdout.read, daemon=True)
            reader.start()
            yield f"http://{address}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def shell(tmp_path_factory, url) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"), url)


def write_requests(shell: Shell) -> Path:
    """An observation, two orders that cross, a payment; and lines that are none of that."""
    now, domain = shell.get_time(), shell.domain
    prices = []
    for member in (0, 1):
        seen = Observation(member, PRICE, Timestamp(now))
        signature = to_hex(MEMBERS[member].sign_observation(domain, INDEX, seen))
        prices.append({"signer": member, "price": PRICE, "time": now, "signature": signature})
    lines: list[Any] = [{"type": "observe", "market": INDEX, "prices": prices}]
    for account, signer, is_buy in ((BUYER, VENUE, True), (SELLER, TRADER, False)):
        order = make_order(PRICE, SIZE, is_buy=is_buy, expiry=now + 3_600)
        fields = {"price": order.price, "size": SIZE, "is_buy": is_buy, "nonce": 1, "slot": 0}
        signature = to_hex(signer.sign_order(domain, account, SlotId(0), order))
        fields |= {"market": PERP, "account": account, "expiry": order.expiry}
        lines.append({"type": "order", **fields, "signature": signature})
    transfer = Transfer(SELLER, BUYER, 1_000, 1)
    payment = {"sender": SELLER, "recipient": BUYER, "amount": 1_000, "nonce": 1}
    signature = to_hex(TRADER.sign_action(domain, transfer))
    lines.append({"type": "transfer", **payment, "signature": signature})
    lines.append({"type": "transfer", **payment, "signature": signature})
    path = shell.folder / "requests.jsonl"
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    path.write_bytes(text + b"\xff not a request\n\n")
    return path


def check_conserved(result: Result, batch: int, settled: int) -> str:
    """A follower's answer; returns the state root."""
    assert result.find("batch  ") == str(batch)
    assert result.find("settled") == f"up to batch {settled}"
    assert result.find("conserved") == "yes"
    assert result.find("vault") == result.find("liabilities")
    root = result.find("state root")
    assert len(root) == 66
    return root


def test_scripts__life_of_a_deployment__deploy_to_claim(shell):
    # Deploy: nothing is there before, a registry afterwards.
    account = ("--account", ALIAS)
    deployed = shell.succeed("deploy", *account)
    assert shell.registry["chain_id"] == CHAIN
    for name, entry in shell.registry["contracts"].items():
        assert entry["address"] in deployed.find(name)
        assert shell.call("eth_getCode", entry["address"], "latest") != "0x"
    assert shell.registry["contracts"]["RollupInbox"]["arguments"]["parameters"]

    # The governor lists a market; two people pay in.
    bridge, token = shell.get_address("Bridge"), shell.registry["token"]
    for body in compute_listing():
        shell.send(bridge, "configure(bytes)", body)
    paid = shell.succeed("deposit", *account, "--amount", "250000.50")
    assert "deposited 250,000.500000: message 7" in paid.out
    shell.send(token, "approve(address,uint256)", bridge, CASH)
    shell.send(bridge, DEPOSIT, to_hex(TRADER.address), 0, CASH)

    # Trade, post, follow, challenge.
    store = ("--store", shell.folder / "sequencer.sqlite")
    requests_file = write_requests(shell)
    sequenced = shell.succeed("sequence", *account, *store, "--once", "--requests", requests_file)
    answers = [json.loads(line) for line in sequenced.out.splitlines() if line.startswith("{")]
    assert [answer.get("status") for answer in answers[:4]] == ["done", "resting", "filled", "done"]
    assert answers[2]["filled"] == SIZE
    assert "ACTION_NONCE" in answers[4]["error"]
    assert answers[5]["error"].startswith("request: ")
    assert "batch 1: " in sequenced.err
    with ThreadPoolExecutor(2) as pool:
        following = pool.submit(shell.succeed, "follow", "--once")
        challenging = pool.submit(shell.succeed, "challenge", "--account", "TEST::2", "--once")
    first_root = check_conserved(following.result(), batch=1, settled=0)
    assert challenging.result().out.strip().endswith("batch 1: no fraud")

    # Leave by force; it cannot be claimed before it has settled.
    forced = shell.succeed("exit", *account, "--amount", "10.25", "--from", BUYER)
    assert "forced exit of up to 10.250000 queued" in forced.out
    assert "within 12 hours" in forced.out
    again = shell.succeed("sequence", *account, *store, "--once")
    assert "batch 2: 1 chunks" in again.err
    sell_claim(shell)
    check_bad_input(shell)

    # A window later the money is there.
    shell.call("evm_increaseTime", WINDOW + 1)
    shell.call("evm_mine")
    claimed = shell.succeed("exit", *account)
    assert "claimed 10.250000" in claimed.out
    with ThreadPoolExecutor(2) as pool:
        following = pool.submit(shell.succeed, "follow", "--once")
        showing = pool.submit(shell.succeed, "status")
    assert check_conserved(following.result(), batch=2, settled=2) != first_root
    status = showing.result()
    assert status.find("batches") == "2"
    assert status.find("queue") == f"{len(compute_listing()) + 3} messages"
    assert status.find("bond") == "1 ether"
    assert status.find("vault") == "749,990.250000"


def sell_claim(shell: Shell) -> None:
    """Before it has settled the exit is quoted and sold; the buyer gives it back."""
    exit_, buyer = ("--exit", 0), ("--account", "TEST::1")
    with ThreadPoolExecutor(2) as pool:
        listing = pool.submit(shell.succeed, "claims list", "--account", ALIAS)
        terms = ("--ether-price", 1_000, "--base-fee", 10**9, "--risk", 0)
        quoting = pool.submit(shell.succeed, "claims quote", *exit_, *terms)
    listed, quoted = listing.result(), quoting.result()
    assert "exit 0: 10.250000, " in listed.out
    assert "settles " in listed.out
    assert "1 claims, 10.250000" in listed.out
    assert quoted.find("gas") == "0.235000"
    assert 9 < float(quoted.find("price")) < 10.25 - 0.235
    trader = to_hex(TRADER.address)
    shell.send(shell.registry["token"], "mint(address,uint256)", trader, 10**7)
    offer = (*exit_, "--price", "9.75", "--to", trader)
    offered = shell.succeed("claims offer", "--account", ALIAS, *offer)
    assert "exit 0 offered for 9.750000" in offered.out
    taken = shell.succeed("claims take", *buyer, *exit_, "--max-price", "9.80")
    assert "exit 0 of 10.250000 bought for 9.750000" in taken.out
    venue = to_hex(VENUE.address)
    given = shell.succeed("claims transfer", *buyer, *exit_, "--to", venue)
    assert f"exit 0 of 10.250000 is of {venue} now" in given.out


def check_bad_input(shell: Shell) -> None:
    """Each wrong command ends in one clear line and changes nothing."""
    account = ("--account", ALIAS)
    nowhere = ("--registry", shell.folder / "nowhere")
    cases: list[tuple[str, tuple[object, ...], str]] = [
        ("exit", account, "not settled yet: the newest settled batch is 0"),
        ("status", nowhere, "does not exist: deploy first"),
        ("claims offer", (*account, "--exit", 7, "--price", 1), "is in no batch that was derived"),
        ("claims take", (*account, "--exit", 0, "--max-price", 1), "exit: 0 is not for sale"),
        ("deposit", (*account, "--amount", "9999999999999"), "is more than"),
        ("deposit", ("--account", "nobody", "--amount", "1"), "nobody"),
        ("deploy", (*account, "--governor", "me", *nowhere), "governor: me is not an address"),
    ]
    block = shell.call("eth_blockNumber")
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda case: shell.run(case[0], *case[1]), cases))
    for (script, arguments, complaint), result in zip(cases, results, strict=True):
        said = (script, arguments, result)
        assert result.code not in (0, None), said
        assert complaint in " ".join((result.out + result.err).split()), said
        assert "Traceback" not in result.err, said
    assert shell.call("eth_blockNumber") == block
    assert not (shell.folder / "nowhere").exists()
