"""Builds a history again from the log it follows from."""

from pathlib import Path

from deltaroll.node.readmodel.historian import Historian
from deltaroll.node.store import read_domain


def rebuild(store: Path, url: str, is_new: bool = True) -> int:
    """Write what a log tells into a history; return the last step that is in, -1 for an empty log.

    Nothing else may write the history meanwhile. A log that is replayed from its beginning does not
    tell what its rebases have undone: rows that a history had of it are gone then.

    Parameters
    ----------
    is_new
        Begin with nothing; else only what is missing is added.

    Raises
    ------
    HistoryError, HistoryDownError, StoreError
    """
    historian = Historian(url, read_domain(store), store, is_new)
    try:
        return historian.catch_up()
    finally:
        historian.close()
