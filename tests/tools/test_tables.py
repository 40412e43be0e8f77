"""The tables in the repository are those that the generator writes."""

from tools.tables import ROOT, write_sources


def test_write_sources__committed_tables__are_what_it_writes():
    for path, text in write_sources().items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"{path}: run tools.tables"
