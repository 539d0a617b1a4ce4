"""--reload: a thread that calls a function with the paths that have changed.

It belongs into the process that has loaded the application, for it watches the modules that are loaded there:

    reloader = Reloader(lambda paths: os.kill(supervisor_pid, signal.SIGHUP), WatchList(...), config.reload_engine)
    reloader.start()      # after the application was loaded, or could not be
    reloader.stop()       # not needed when the process ends: a daemon thread

What has changed is found by comparing snapshots (watch_list.py).  The engine says only when to take the next one:
"inotify" when the kernel reports something (the library watchfiles, `headrace[reload]`; FSEvents on macOS) and every
three seconds, "poll" once a second.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from headrace.process.watch_list import Snapshot, WatchList, changed

logger = logging.getLogger("headrace")

ENGINES = ("auto", "poll", "inotify")

POLL_S = 1.0
#: A tool that writes many files (a checkout, a formatter) is done when nothing has changed for so long, ...
SETTLE_S = 0.1
#: ... or after so many such times.
SETTLE_ROUNDS_MAX = 50
#: How often the inotify engine looks by itself: something may have changed before its watch began, or got lost.
REFRESH_MS = 3000
DEBOUNCE_MS = 50


def engine_for(wanted: str) -> str:
    """ "inotify" or "poll".  Raises ValueError, with what to do, when the one that is wanted is not there."""
    there = find_spec("watchfiles") is not None
    if wanted == "inotify" and not there:
        raise ValueError("'inotify' needs the library watchfiles: pip install 'headrace[reload]'")
    return "poll" if wanted == "poll" or not there else "inotify"


class Reloader:
    """on_change gets the changed paths, sorted, in the reloader's thread; it is called again for the next change, so
    that new code that does not load can be mended.  What it raises is logged, and the watch goes on."""

    def __init__(self, on_change: Callable[[list[str]], None], watch_list: WatchList, engine: str = "auto") -> None:
        self.engine = engine_for(engine)
        self._on_change = on_change
        self._list = watch_list
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-reload", daemon=True)
        self._seen = Snapshot()

    def start(self) -> None:
        """What changes after this has returned is noticed.  Once only."""
        self._seen = self._list.snapshot()
        self._thread.start()

    def stop(self) -> None:
        """From any thread but its own; it waits until no call of on_change is under way."""
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        for _ in self._occasions():
            try:
                self._look()
            except Exception:
                logger.exception("HR911 --reload: the change could not be told")

    def _look(self) -> None:
        before, now = self._seen, self._list.snapshot()
        if changed(before, now):
            now = self._settled(now)
        self._seen = now
        paths = changed(before, now)
        if paths and not self._ended.is_set():
            self._on_change(paths)

    def _settled(self, now: Snapshot) -> Snapshot:
        for _ in range(SETTLE_ROUNDS_MAX):
            if self._ended.wait(SETTLE_S):
                break
            last, now = now, self._list.snapshot()
            if now.files == last.files:
                break
        return now

    # -- Engines ------------------------------------------------------------------------------------------------

    def _occasions(self) -> Iterator[None]:
        """Yields when it is time to look; ends when the reloader is stopped."""
        if self.engine == "inotify":
            try:
                yield from self._reports()
            except Exception as error:  # no more watches (fs.inotify.max_user_watches), a library too old, ...
                logger.warning("HR912 --reload: the files are polled, for they cannot be watched: %s", error)
        while not self._ended.wait(POLL_S):
            yield

    def _reports(self) -> Iterator[None]:
        while not self._ended.is_set():
            folders, modules = self._list.folders(), len(sys.modules)
            try:
                for changes in self._watch(folders):
                    yield  # after REFRESH_MS as well: watchfiles loses what comes while it clears its list
                    if (changes or len(sys.modules) != modules) and self._list.folders() != folders:
                        break
                    modules = len(sys.modules)
            except FileNotFoundError:
                self._ended.wait(SETTLE_S)  # a folder went away in between

    def _watch(self, folders: set[str]) -> Iterator[object]:
        import watchfiles

        return watchfiles.watch(
            *folders,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=DEBOUNCE_MS,
            stop_event=self._ended,
            rust_timeout=REFRESH_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
        )
