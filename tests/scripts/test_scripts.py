"""The commands as a user types them, against one chain: a deployment's life from start to claim."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deltaroll.protocol.types import AccountId, Observation, SlotId, Timestamp, Transfer
from tests.l1.venues import DEPLOYMENTS
from tests.node.support import INDEX, MEMBERS, PERP, PRICE, compute_listing, make_order
from tests.scripts.shell import ALIAS, CHAIN, TRADER, VENUE, WINDOW, Result, Shell, to_hex

BUYER, SELLER = AccountId(1), AccountId(2)
CASH = 500_000 * 10**6
DEPOSIT = "deposit(address,uint32,uint256)"
SIZE = 4


def write_venue(shell: Shell, governor: str = "deployer") -> Path:
    """The repository's local venue, but for its governance: the deployer lists what it likes."""
    text = (DEPLOYMENTS / "local.yaml").read_text()
    path = shell.folder / f"{governor}.yaml"
    path.write_text(text[: text.index("governance:")] + f"governor: {governor}\n")
    return path


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
    venue = ("--venue", write_venue(shell), "--poll", "0.05")
    deployed = shell.succeed("deploy", *account, *venue)
    assert shell.registry["chain_id"] == CHAIN
    for entry in shell.registry["contracts"].values():
        assert entry["address"] in deployed.out
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
    leaving = ("exit", *account, "--yes")
    forced = shell.succeed(*leaving, "--amount", "10.25", "--from", BUYER)
    assert "ask L1 for a forced exit of up to 10.250000 from account 1 ..." in forced.out
    assert "Run this again after" in forced.out
    again = shell.succeed("sequence", *account, *store, "--once")
    assert "batch 2: 1 chunks" in again.err
    sell_claim(shell)
    check_bad_input(shell)

    # A window later the money is there.
    shell.call("evm_increaseTime", WINDOW + 1)
    shell.call("evm_mine")
    claimed = shell.succeed(*leaving)
    assert "claim exit 0 ..." in claimed.out
    assert "Everything that was asked for is paid." in claimed.out
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
    venue = ("--venue", write_venue(shell, governor="me"))
    cases: list[tuple[str, tuple[object, ...], str]] = [
        ("exit", (*account, "--amount", "5"), "another exit is under way"),
        ("status", nowhere, "does not exist: deploy first"),
        ("claims offer", (*account, "--exit", 7, "--price", 1), "is in no batch that was derived"),
        ("claims take", (*account, "--exit", 0, "--max-price", 1), "exit: 0 is not for sale"),
        ("deposit", (*account, "--amount", "9999999999999"), "is more than"),
        ("deposit", ("--account", "nobody", "--amount", "1"), "nobody"),
        ("deploy", (*account, *venue, *nowhere), "governor: me is not an address"),
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
