"""Workers that cannot help themselves: some thread holds the interpreter lock for longer than --timeout allows.

Only the scoreboard tells, which is read from outside.  SIGABRT makes faulthandler print the stacks without that lock.
"""

from __future__ import annotations

import math
import signal

from headrace.config import Config
from headrace.observe.log_setup import logger
from headrace.process.process_table import ProcessTable
from headrace.process.timing import Timer

#: Seldom, for an idle server sleeps.
LOOK_EVERY_S_LEAST = 6.0
#: After the moment at which a worker will have been silent for --timeout.
LATE_S = 0.05
#: For the stacks to be printed.
KILL_AFTER_S = 2.0


class StuckWatch:
    """A supervisor's look at the scoreboard, now and then, for as long as there is a --timeout."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        self._timer: Timer | None = None

    def start(self, config: Config) -> None:
        """From now on by this configuration; without a time-out nobody looks."""
        if self._timer is not None:
            self._timer.cancel()
        timeout_s = float(getattr(config, "timeout", 0))
        if timeout_s:
            self._look_later(timeout_s)

    def _look_later(self, timeout_s: float, soon_s: float = math.inf) -> None:
        """soon_s: when some worker, which has a call inside now, will have given no sign of life for too long."""
        every_s = max(LOOK_EVERY_S_LEAST, timeout_s / 4)
        self._timer = self._table.timers.after(min(every_s, soon_s), lambda: self._look(timeout_s))

    def _look(self, timeout_s: float) -> None:
        soon_s = math.inf
        for worker in self._table.all_workers:
            stuck_s = worker.board.stuck_s() if worker.board is not None and not worker.aborted else 0.0
            if stuck_s > timeout_s:
                logger.error("HR809 Worker %d is stuck: its interpreter lock is held for longer than --timeout",
                             worker.pid)
                worker.aborted = True
                worker.kill(signal.SIGABRT)
                self._table.kill_after(worker, KILL_AFTER_S)
            elif stuck_s:
                soon_s = min(soon_s, timeout_s - stuck_s + LATE_S)
        self._look_later(timeout_s, soon_s)
