"""Write the tables of `docs/trade/api.md` anew, from the code that serves the API.

`python -m tools.api_tables` replaces what stands between the markers.
"""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from deltaroll.engine.matching import RejectReason
from deltaroll.node.api.documents import CHANNELS
from deltaroll.node.api.endpoints import ENDPOINTS
from deltaroll.node.api.limits import Limits
from deltaroll.node.api.messages import Op
from deltaroll.node.receipts import REJECT_REASONS, Outcome

PAGE = Path(__file__).resolve().parent.parent / "docs" / "trade" / "api.md"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def make_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines: list[tuple[str, ...]] = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(row) + " |\n" for row in lines)


def make_tables() -> dict[str, str]:
    """Return every table of the page, by name."""
    limits = Limits()
    endpoints = [
        (
            f"`{endpoint.method} {endpoint.path}`",
            endpoint.summary,
            "yes" if endpoint.is_private else "",
            f"{endpoint.cost:g}",
        )
        for endpoint in ENDPOINTS
    ]
    operations = [
        (f"`{op.__struct_config__.tag}`", (inspect.getdoc(op) or "").replace("\n", " "))
        for op in get_args(Op)
    ]
    channels = [(f"`{name}`", summary) for name, (summary, _) in CHANNELS.items()]
    outcomes = [(str(int(outcome)), f"`{outcome.name.lower()}`") for outcome in Outcome]
    reasons = [(str(REJECT_REASONS[reason]), f"`{reason.value}`") for reason in RejectReason]
    rates = [
        ("an account", f"{limits.account.burst:g}", f"{limits.account.per_second:g}"),
        ("an address", f"{limits.address.burst:g}", f"{limits.address.per_second:g}"),
    ]
    return {
        "endpoints": make_table(("request", "what", "session", "cost"), endpoints),
        "operations": make_table(("op", "what"), operations),
        "channels": make_table(("channel", "what"), channels),
        "outcomes": make_table(("number", "status"), outcomes),
        "reasons": make_table(("number", "reason"), reasons),
        "rates": make_table(("of", "burst, tokens", "tokens a second"), rates),
    }


def fill(page: str) -> str:
    """Return a page with its tables as they are now."""
    tables = make_tables()
    return MARKED.sub(lambda found: found[1] + tables[found[2]] + found[3], page)


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
