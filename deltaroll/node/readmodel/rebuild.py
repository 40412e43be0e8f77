"""Builds a history again from the log it follows from."""

from collections.abc import Callable, Sequence
from pathlib import Path

from deltaroll.node.events import Step
from deltaroll.node.readmodel.historian import Historian
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store, read_domain


def rebuild(
    store: Path, url: str, is_new: bool = True, on_progress: Callable[[int], None] | None = None
) -> int:
    """Replay a log into a history; return the last step that is in, -1 for an empty log.

    Nothing else may write the history meanwhile. What the log's rebases have undone is not
    replayed: rows that a history had of it are gone after a rebuild.

    Parameters
    ----------
    is_new
        Begin with nothing; else only what is missing is added.
    on_progress
        Told of each last step that is written.

    Raises
    ------
    HistoryError, StoreError
    """
    domain = read_domain(store)
    historian = Historian(url, domain, store, is_new)
    log = Store(store, domain)

    def listen(steps: Sequence[Step]) -> None:
        applied = historian.apply(steps)
        if on_progress is not None:
            on_progress(applied)

    try:
        Sequencer(log, domain, listener=listen)
        return historian.get_applied()
    finally:
        historian.close()
        log.close()
