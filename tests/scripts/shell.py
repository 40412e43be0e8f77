"""A working environment of its own for the commands: chain, keyfile account, registry."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import requests
from eth_abi.abi import encode
from eth_account import Account as EthAccount

from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import Address
from deltaroll.sdk.signing import Signer

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

    def __init__(self, folder: Path, url: str, chain: int, network: str, **more: str) -> None:
        self.folder = folder
        self.url = url
        self.chain = chain
        self.network = f"{network}:{url}"
        data = folder / "ape"
        (data / "accounts").mkdir(parents=True)
        keyfile = EthAccount.encrypt(VENUE._key.secret, PASSPHRASE, kdf="pbkdf2", iterations=1_000)
        (data / "accounts" / f"{ALIAS}.json").write_text(json.dumps(keyfile))
        shared = Path(os.environ.get("APE_DATA_FOLDER", ROOT / ".ape")) / "packages"
        if shared.is_dir():
            (data / "packages").symlink_to(shared)
        self.environment = (
            os.environ
            | {
                "APE_DATA_FOLDER": str(data),
                f"APE_ACCOUNTS_{ALIAS}_PASSPHRASE": PASSPHRASE,
                "NO_COLOR": "1",
            }
            | more
        )

    def compute_command(self, script: str, *arguments: object, network: str = "") -> list[str]:
        """What is typed; files of its own for what is written down by default."""
        command = [str(BIN / "ape"), "run", *script.split(), "--network"]
        command += [network or self.network]
        command += map(str, arguments)
        if "--registry" not in command:
            command += ["--registry", str(self.folder / "deployments")]
        if script == "exit" and "--state" not in command:
            command += ["--state", str(self.folder / "exit.json")]
        return command

    def start(
        self, script: str, *arguments: object, network: str = "", **changes: str
    ) -> subprocess.Popen[str]:
        """Type `ape run ...`; nobody answers a question."""
        return subprocess.Popen(
            self.compute_command(script, *arguments, network=network),
            cwd=ROOT,
            env=self.environment | changes,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *arguments: object, network: str = "", **changes: str) -> Result:
        """The same, to its end."""
        with self.start(script, *arguments, network=network, **changes) as process:
            try:
                out, err = process.communicate(timeout=300)
            finally:
                process.kill()
        return Result(process.returncode, out, err)

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
        self.send_as(to_hex(VENUE.address), target, signature, *values)

    def send_as(self, sender: str, target: str, signature: str, *values: object) -> None:
        """Transact as somebody whose key anvil holds, or whom it impersonates."""
        types = signature[signature.index("(") + 1 : -1].split(",")
        data = keccak(signature.encode())[:4] + encode(types, values)
        transaction = {"from": sender, "to": target, "data": "0x" + data.hex()}
        # Answers with the receipt, once the transaction is mined.
        assert self.call("eth_sendTransactionSync", transaction)["status"] == "0x1"

    def get_time(self) -> int:
        return int(self.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    @property
    def registry(self) -> dict[str, Any]:
        content = json.loads((self.folder / "deployments" / f"{self.chain}.json").read_text())
        assert isinstance(content, dict)
        return content

    def get_address(self, name: str) -> str:
        return str(self.registry["contracts"][name]["address"])

    @property
    def domain(self) -> bytes:
        inbox = Address(bytes.fromhex(self.get_address("RollupInbox")[2:]))
        return compute_domain_separator(self.chain, inbox)


def to_hex(value: bytes) -> str:
    return "0x" + value.hex()


def iter_until(lines: Iterable[str], mark: str) -> Iterator[str]:
    """Yield lines up to the first that holds `mark`."""
    for line in lines:
        yield line
        if mark in line:
            return
    raise AssertionError(f"the chain ended without saying {mark!r}")


@contextmanager
def open_chain(log: Path, *options: str) -> Iterator[str]:
    """An anvil; yields its address."""
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [str(BIN / "anvil"), "--port", "0", *options],
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
