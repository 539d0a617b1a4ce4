import mmap
from typing import NamedTuple

class InFlight(NamedTuple):
    """What one thread is serving.

    method, path: as sent, printable ASCII (other octets as ``\\xNN``), cut where they are long; without the query.
    age_s: since the application was called.  thread_id: the kernel's, as :func:`threading.get_native_id` gives it.
    waits_for_client: the application waits for a body, or for room to write.
    """

    method: str
    path: str
    age_s: float
    thread_id: int
    waits_for_client: bool

def slot_bytes(threads: int) -> int:
    """The size of a slot for so many threads."""

class Slot:
    """One worker's place on the scoreboard; the worker's loop writes it, any process may read it.

    memory: writable, ``slots * slot_bytes(threads)`` bytes; it stays exported for as long as the Slot is alive.
    Raises ValueError when it is too small or there is no such slot.
    """

    def __init__(self, memory: mmap.mmap | bytearray, slots: int, threads: int, number: int) -> None: ...
    def in_flight(self) -> list[InFlight]:
        """What the worker's threads are serving, or were when it died."""

    def requests(self) -> int:
        """Requests that were given to the application since the slot was last cleared."""

    def heartbeat(self) -> float:
        """When the worker last showed that its interpreter lock can be had: on the clock of
        :func:`time.monotonic`; 0.0: never."""

    def stuck_s(self) -> float:
        """Seconds since a worker with a request inside the application has shown a sign of life; 0.0: nothing is
        inside.  It gives one at least once a second while ``timeout`` is set, unless its interpreter lock is held."""

    def is_accepting(self) -> bool:
        """Does the worker take connections at present?"""

    def clear(self) -> None:
        """The worker is no more, and another one is to have the slot."""
