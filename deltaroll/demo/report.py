"""The summary at the end of the demo."""

from rich.console import Console
from rich.table import Table

from deltaroll.amounts import to_money
from deltaroll.demo.measure import compute_calldata_gas, measure_chunks
from deltaroll.demo.story import Score
from deltaroll.demo.venue import Venue
from deltaroll.protocol.types import Fill, Transfer


def print_summary(score: Score, venue: Venue, console: Console) -> None:
    """Print what happened and what it cost."""
    data = list(score.chunks.values())
    usage = measure_chunks(data)
    fills = usage.counts.get(Fill, 0)
    gas = sum(posting.receipt.gas_used for posting in score.postings)
    data_gas = sum(compute_calldata_gas(chunk) for chunk in data)
    removal, audit = score.removal, score.audit
    assert removal is not None
    assert audit is not None
    table = Table(title="One venue, from orders to money on L1", show_header=False)
    table.add_column("what")
    table.add_column("figure", justify="right")
    rows = [
        ("signed orders", f"{score.orders:,}"),
        ("fills", f"{fills:,}"),
        ("transfers", f"{usage.counts.get(Transfer, 0):,}"),
        ("batches that stay", f"{len(score.postings):,}"),
        ("chunks", f"{len(data):,}"),
        ("bytes per fill, signatures apart", f"{float(usage.bytes_each(Fill)):.1f}"),
        ("bytes per transfer, signatures apart", f"{float(usage.bytes_each(Transfer)):.1f}"),
        ("L1 gas per fill, signatures apart", f"{data_gas // fills:,}"),
        ("L1 gas per fill, everything included", f"{gas // fills:,}"),
        ("signature bytes posted", f"{score.signature_bytes:,}"),
        ("lying batch removed: fault", removal.fraud.fault.name),
        ("lying batch removed: gas, one transaction", f"{removal.receipt.gas_used:,}"),
        ("lying batch removed: proof bytes", f"{removal.calldata:,}"),
        ("bond slashed (ether)", f"{score.slashed / 10**18:g}"),
    ]
    rows += [(f"state root, {name}", "0x" + root.hex()) for name, root in score.roots.items()]
    rows += [
        (f"{name} claimed on L1", f"{to_money(amount)} ({receipt.gas_used:,} gas)")
        for name, amount, receipt in score.claims
    ]
    rows += [
        ("equity of all accounts", to_money(audit.equity)),
        ("fee pool", to_money(audit.fee_pool)),
        ("exits not claimed", to_money(audit.exits)),
        ("vault on L1", to_money(audit.vault)),
        ("vault less liabilities", to_money(audit.vault - audit.liabilities)),
    ]
    for what, figure in rows:
        table.add_row(what, figure)
    console.print(table)
