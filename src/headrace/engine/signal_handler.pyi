from collections.abc import Callable
from types import FrameType

class SignalHandler:
    """For signal.signal(): calls handler(number, frame), and it runs to its end.

    A call that --timeout interrupts while it blocks in C has its RequestTimeout pending.  A signal that then ends the
    wait has its handler called first, at whose first line Python would raise that exception: the signal would be lost.
    So it is put off until the handler has returned.  What the handler raises comes in its place.
    """

    def __init__(self, handler: Callable[[int, FrameType | None], object]) -> None: ...
    def __call__(self, number: int, frame: FrameType | None, /) -> None: ...
