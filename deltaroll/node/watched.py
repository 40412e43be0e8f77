"""What every process of a node that follows L1 tells of itself."""

from deltaroll.node.alarms import Alarms
from deltaroll.node.follower import Follower
from deltaroll.node.metrics import L1Metrics, create_registry
from deltaroll.node.monitor import Monitor, ViewCheck


class Watched:
    """A process's registry, its pages and its alarms; `look` after each look at L1."""

    def __init__(self, process: str, max_view_age: float) -> None:
        self.registry = create_registry(process)
        self.l1 = L1Metrics(self.registry)
        self.alarms = Alarms(self.l1.set_alarm)
        self.monitor = Monitor(process, self.registry)
        self._view = ViewCheck(max_view_age)
        self.monitor.checks["l1"] = self._view
        self.monitor.facts["view"] = lambda: self._view.facts
        # Copied at once: whoever raises alarms is another thread than whoever asks.
        self.monitor.facts["alarms"] = lambda: sorted(
            alarm.value for alarm in tuple(self.alarms.active)
        )

    def look(self, follower: Follower) -> None:
        """Take over what a follower says that has just been polled.

        Raises
        ------
        L1Error
            When L1 does not say which blocks are safe and final.
        """
        self._view.look(follower)
        self.l1.look(follower)
