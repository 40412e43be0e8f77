"""Builds a history again from the log it follows from."""

from collections.abc import Callable, Sequence
from pathlib import Path

from deltaroll.node.events import Step
from deltaroll.node.readmodel.database import open_history
from deltaroll.node.readmodel.projector import Historian
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
    SQLAlchemyError
        When the database fails; another try may go on from there.
    """
    domain = read_domain(store)
    historian = Historian(open_history(url, domain, is_new), lambda: Store(store, domain))
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
