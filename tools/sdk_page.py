"""Write the reference in `docs/trade/sdk.md` anew, from the clients' own docstrings.

`python -m tools.sdk_page` replaces what stands between the markers.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from deltaroll.sdk import aio, book, channels, client, drafts, errors, link, orders, reader, rollup
from tools.api_tables import make_table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "trade" / "sdk.md"
MARKED = re.compile(r"(<!-- reference: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MODULES: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (aio, book, channels, client, drafts, errors, link, orders, reader, rollup)
}


def get_text(value: Any) -> str:
    """Return the first paragraph of a docstring, on one line."""
    paragraph = (inspect.getdoc(value) or "").partition("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", "\\|")


def describe_call(name: str, function: Any) -> str:
    """Return how something is called: names and defaults, no types."""
    parts = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        text = parameter.name
        if parameter.kind is parameter.VAR_KEYWORD:
            text = f"**{text}"
        elif parameter.default is not parameter.empty:
            text += f"={parameter.default!r}"
        parts.append(text)
    word = "await " if inspect.iscoroutinefunction(function) else ""
    return f"`{word}{name}({', '.join(parts)})`"


def iterate_members(kind: type) -> Iterator[tuple[str, str]]:
    """Yield what a class has of its own that is public, with what it is."""
    for name, value in vars(kind).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            yield f"`{name}`", get_text(value)
        elif inspect.isfunction(value):
            yield describe_call(name, value), get_text(value)


def iterate_fields(kind: Any) -> Iterator[tuple[str, str]]:
    """Yield a dataclass' fields, with the text under each."""
    source = inspect.getsource(kind)
    for field in fields(kind):
        pattern = rf'\n    {field.name}: [^\n]*\n    """(.*?)"""'
        found = re.search(pattern, source, re.DOTALL)
        yield f"`{field.name}`", "" if found is None else " ".join(found[1].split())


def make_reference(path: str) -> str:
    """Return the table of a class, or of a module's exceptions."""
    name, _, member = path.partition(".")
    module = MODULES[name]
    if not member:
        kinds = [
            kind
            for kind in vars(module).values()
            if inspect.isclass(kind) and kind.__module__ == module.__name__
        ]
        rows = [(f"`{kind.__name__}`", get_text(kind)) for kind in kinds]
        return make_table(("exception", "what"), rows)
    kind: Any = getattr(module, member)
    described = f"{get_text(kind)}\n\n"
    rows = list(iterate_fields(kind)) if is_dataclass(kind) else []
    rows += iterate_members(kind)
    return described + make_table(("name", "what"), rows)


def fill(page: str) -> str:
    """Return a page with its reference as it is now."""
    return MARKED.sub(lambda found: found[1] + make_reference(found[2]) + found[3], page)


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
