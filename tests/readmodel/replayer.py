"""Replays a log into a history, some steps at a time: a process to be killed."""

import sys
from pathlib import Path

from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from tests.node.support import DOMAIN
from tests.readmodel.support import Steps, open_historian

if __name__ == "__main__":
    steps = Steps()
    Sequencer(Store(Path(sys.argv[1]), DOMAIN), DOMAIN, listener=steps)
    historian = open_historian(sys.argv[2])
    left = [step for step in steps.all if step.sequence > historian.get_applied()]
    print("ready", flush=True)
    for start in range(0, len(left), 3):
        historian.apply(left[start : start + 3])
        print(left[start].sequence, flush=True)
