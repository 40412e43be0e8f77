"""Makes proof files from what a follower derived, and sends them."""

from collections.abc import Sequence

from ape.api import AccountAPI, ReceiptAPI

from deltaroll.l1.commitments import compress_branch, to_header_tuple
from deltaroll.l1.gateway import Gateway
from deltaroll.l1.types import Stage
from deltaroll.leave.leaver import LeaveError
from deltaroll.leave.proof import (
    FORMAT,
    ClaimFile,
    EscapeFile,
    ProofFile,
    check_proof,
    from_hex,
    to_header,
    to_record,
)
from deltaroll.leave.situation import Owned, Situation
from deltaroll.node.escape import compute_escape_witness
from deltaroll.node.exits import prove_exit
from deltaroll.node.follower import Follower


def make_proof(follower: Follower, situation: Situation, accounts: Sequence[int]) -> ProofFile:
    """Return the proof of the owner's first exit that can be claimed, or else of its account in the
    newest state.

    Raises
    ------
    LeaveError
        When there is nothing to prove.
    """
    gateway = follower.gateway
    bridge = str(gateway.contracts.bridge.address)
    for found in situation.exits:
        if situation.now >= found.settles_at and not accounts:
            claim = prove_exit(follower, found.index)
            settled = follower.find_newest()[Stage.SETTLED].submitted.header
            return ClaimFile(
                format=FORMAT,
                chain_id=gateway.provider.chain_id,
                bridge=bridge,
                inbox=str(gateway.contracts.inbox.address),
                header=to_record(settled),
                globals="0x" + claim.globals.hex(),
                index=claim.index,
                recipient="0x" + claim.recipient.hex(),
                amount=claim.amount,
                siblings=tuple("0x" + sibling.hex() for sibling in claim.branch),
            )
    owned = _find_account(situation, accounts)
    return EscapeFile(
        format=FORMAT,
        chain_id=gateway.provider.chain_id,
        bridge=bridge,
        escape_hatch=str(gateway.contracts.escape_hatch.address),
        header=to_record(follower.chain[-1].submitted.header),
        witness="0x" + compute_escape_witness(follower.state, [owned.account]).hex(),
        account=owned.account,
        owner="0x" + situation.owner.hex(),
        equity=owned.equity,
    )


def _find_account(situation: Situation, accounts: Sequence[int]) -> Owned:
    for owned in situation.accounts:
        if not accounts or owned.account in accounts:
            return owned
    raise LeaveError(
        f"--export: 0x{situation.owner.hex()} has no exit that can be claimed, and no such account"
    )


def submit_proof(gateway: Gateway, sender: AccountAPI, proof: ProofFile) -> str:
    """Send a proof and return what it did.

    Raises
    ------
    ProofError
        When it does not prove what it says.
    LeaveError
        When it is of another deployment.
    """
    finding = check_proof(proof)
    contracts = gateway.contracts
    held = (proof.chain_id, proof.bridge)
    if held != (gateway.provider.chain_id, str(contracts.bridge.address)):
        raise LeaveError(f"--submit: the proof is for {held[1]} on chain {held[0]}")
    receipt: ReceiptAPI
    if isinstance(proof, EscapeFile):
        receipt = contracts.escape_hatch.escape(from_hex("witness", proof.witness), sender=sender)
    else:
        branch = [from_hex("siblings", sibling, 32) for sibling in proof.siblings]
        sibling_map, siblings = compress_branch(branch)
        receipt = contracts.bridge.claimExit(
            to_header_tuple(to_header(proof.header)),
            from_hex("globals", proof.globals),
            (proof.index, 0, proof.recipient, proof.amount),
            sibling_map,
            siblings,
            sender=sender,
        )
    return f"{finding.text}: sent, transaction {receipt.txn_hash}, {receipt.gas_used:,} gas"
