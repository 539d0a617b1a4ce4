"""Which slot of the scoreboard belongs to which worker."""

from __future__ import annotations

from headrace.engine.slot import Slot
from headrace.process.scoreboard import Scoreboard

#: At a reload old and new workers are there at once, and some that still leave.
SLOTS_FOR_EACH_WORKER = 8
SLOTS_LEAST = 64

#: What another process needs to find the same memory: its descriptor, the number of slots, the threads of each.
Shared = tuple[int, int, int]


class Slots:
    """Numbers that are free."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self._free = list(range(scoreboard.slots - 1, -1, -1))

    @property
    def shared(self) -> Shared:
        board = self._scoreboard
        return board.fd, board.slots, board.threads

    def suits(self, workers: int, threads: int) -> bool:
        return _slots_for(workers) <= self._scoreboard.slots and threads <= self._scoreboard.threads

    def close(self) -> None:
        """No further process is to find this memory; slots that have been taken stay usable."""
        self._scoreboard.close()

    def take(self) -> tuple[int | None, Slot | None]:
        """A number and its slot; (None, None) when all are taken."""
        if not self._free:
            return None, None
        number = self._free.pop()
        slot = self._scoreboard.slot(number)
        slot.clear()
        return number, slot

    def give_back(self, number: int | None) -> None:
        """Its worker has gone, and must not look to others as if it still accepted."""
        if number is not None:
            self._scoreboard.slot(number).clear()
            self._free.append(number)


def make_slots(workers: int, threads: int) -> Slots:
    """For so many workers of so many threads each, on a new scoreboard.  Raises OSError when there is no memory."""
    return Slots(Scoreboard(_slots_for(workers), threads))


def _slots_for(workers: int) -> int:
    return max(SLOTS_LEAST, SLOTS_FOR_EACH_WORKER * workers)


def slot_of_worker(shared: Shared | None, number: int | None) -> Slot | None:
    """In the worker: the slot that it writes, or None."""
    if shared is None or number is None:
        return None
    fd, slots, threads = shared
    return Scoreboard(slots, threads, fd).slot(number)
