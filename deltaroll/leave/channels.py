"""How a signed withdrawal reaches the sequencer: over its line server, or as a line in a file."""

from pathlib import Path
from typing import Protocol

import msgspec

from deltaroll.leave.leaver import LeaveError
from deltaroll.node.liquidator import LineClient, RefusedError
from deltaroll.node.requests import Answer, WithdrawRequest
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import Withdraw


class ActionSigner(Protocol):
    """Who signs withdrawals."""

    def sign_action(self, action: Withdraw) -> bytes:
        """Return the 64-byte signature."""


def to_request(withdraw: Withdraw, signature: bytes) -> WithdrawRequest:
    """Return the request line of a signed withdrawal."""
    return WithdrawRequest(
        account=withdraw.account,
        recipient="0x" + withdraw.recipient.hex(),
        amount=withdraw.amount,
        nonce=withdraw.nonce,
        signature="0x" + signature.hex(),
    )


class LineChannel:
    """The sequencer's line server."""

    def __init__(self, port: int, signer: ActionSigner) -> None:
        self._client = LineClient(port)
        self._signer = signer

    def hand(self, withdraw: Withdraw) -> None:
        """Sign and send; a withdrawal of the same nonce that was taken before is no error, for it
        was this one.

        Raises
        ------
        LeaveError
            When it is refused, or nobody answers.
        """
        request = to_request(withdraw, self._signer.sign_action(withdraw))
        try:
            self._client.ask(request, Answer)
        except RefusedError as problem:
            if problem.fault != Fault.ACTION_NONCE.name:
                raise LeaveError(f"the sequencer refuses the withdrawal: {problem}") from problem
        except OSError as problem:
            raise LeaveError(f"the sequencer does not answer: {problem}") from problem
        finally:
            self._client.close()


class FileChannel:
    """A file of request lines, for somebody else to hand over."""

    def __init__(self, path: Path, signer: ActionSigner) -> None:
        self.path = path
        self._signer = signer

    def hand(self, withdraw: Withdraw) -> None:
        """Sign and append.

        Raises
        ------
        LeaveError
            When the file cannot be written.
        """
        line = msgspec.json.encode(to_request(withdraw, self._signer.sign_action(withdraw)))
        try:
            with self.path.open("ab") as lines:
                lines.write(line + b"\n")
        except OSError as problem:
            raise LeaveError(f"--requests: {self.path}: {problem.strerror}") from problem
