"""The end of a server of several processes, in this order:

    TERM with --drain-delay: the workers are told, and go on with failing health checks; who dies is replaced
    the listeners are closed by supervisor and templates, so that the last worker to close them has emptied the queue
    the workers are told (again), and answer what they have accepted
    the templates are told

INT and QUIT leave nothing out, but wait for nobody.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from headrace.process.generation import WorkerRecord
from headrace.process.process_table import LEAVING, STARTING, ProcessTable
from headrace.process.upgrade import Siblings

#: After a quick stop.
QUICK_KILL_S = 2.0
#: Before the end of --drain-delay: the supervisor and the templates close their listeners.
DRAIN_MARGIN_S = 0.5
#: For the templates to close their listeners at the end.
CLOSE_PATIENCE_S = 1.0


class Stop:
    """True once it has begun.

    close_listeners: those of the supervisor.  replace_missing: called while draining, to fork workers that are told at
    once.  draining: TERM has come, and --drain-delay is not over."""

    def __init__(
        self,
        table: ProcessTable,
        siblings: Siblings,
        close_listeners: Callable[[], None],
        replace_missing: Callable[[], None],
    ) -> None:
        self.draining = False
        self._table = table
        self._siblings = siblings
        self._close = close_listeners
        self._replace_missing = replace_missing
        self._how = ""  # "graceful" or "quick"
        self._all_told = False
        self._has_closed = False

    def __bool__(self) -> bool:
        return bool(self._how)

    def begin(self, graceful: bool, drain_s: float) -> None:
        """Gracefully, or (also later on) at once.  drain_s: --drain-delay."""
        if self._how == "quick" or (self._how and graceful):
            return
        has_begun = bool(self._how)
        self._how = "graceful" if graceful else "quick"
        if not has_begun:
            self._siblings.say_stopping()
            if graceful and drain_s and not self._siblings:
                self._begin_draining(drain_s)
            else:
                self._close_listeners()
        if not graceful:
            self.draining = False
            self._close_listeners()
            self._all_told = False
            self._tell_all()

    def go_on(self) -> None:
        """After everything that happens."""
        if self.draining:
            if not self._has_closed:
                self._replace_missing()
        elif all(template.closed_listeners for template in self._table.generations if template.loaded):
            self._tell_all()

    def tell(self, worker: WorkerRecord, is_ready: bool = False) -> None:
        graceful = self._how == "graceful"
        if worker.state is STARTING and not is_ready:
            worker.kill(signal.SIGTERM)  # it may be importing
        if graceful and self._siblings:
            self._table.retire(worker)  # another program goes on at these listeners
            return
        worker.tell({"do": "stop", "graceful": graceful})
        worker.state = LEAVING
        self._table.kill_after(worker, self._table.patience_s(worker) if graceful else QUICK_KILL_S)

    def _begin_draining(self, drain_s: float) -> None:
        self.draining = True
        for worker in self._table.all_workers:
            self.tell(worker)
        self._table.timers.after(drain_s - min(DRAIN_MARGIN_S, drain_s / 4), self._close_listeners)
        self._table.timers.after(drain_s, self._end_draining)

    def _end_draining(self) -> None:
        self.draining = False

    def _close_listeners(self) -> None:
        if self._has_closed:
            return
        self._has_closed = True
        self._close()
        for template in self._table.generations:
            template.close_listeners()
        self._table.timers.after(CLOSE_PATIENCE_S, self._tell_all)

    def _tell_all(self) -> None:
        if self._all_told:
            return
        self._all_told = True
        for worker in self._table.all_workers:
            self.tell(worker)
        for template in self._table.generations:
            self._table.quit(template, QUICK_KILL_S if self._how == "quick" else None)
