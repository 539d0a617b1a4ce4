"""The supervisor's side of a template and its workers: starting them, talking to them, saying how they ended."""

from __future__ import annotations

import enum
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.observe.log_setup import logger
from headrace.process.descendant import Descendant, ForeignProcessError
from headrace.process.messages import Channel, Message, channel_pair
from headrace.process.plan import Plan
from headrace.process.slots import Slots
from headrace.process.timing import Timer

_TEMPLATE = "import sys; sys.path.append(sys.argv.pop()); from headrace.process.template import main; main()"


class Generation:
    """One template process.  A generation whose template has crashed goes on with another one of the same number."""

    def __init__(self, plan: Plan, slots: Slots) -> None:
        """slots: of the scoreboard that the plan names.  OSError: the system gives no process."""
        self.plan = plan
        self.slots = slots
        self.number = plan.generation
        self.loaded = False
        self.ended = False
        self.closed_listeners = False
        self.failure: Message | None = None  # what it said of an application that does not import
        self.unsafe: list[str] = []
        self.exit_patience_s: float | None = None  # once it has been told to end, or has said that it will
        self.channel, other_end = channel_pair()
        try:
            self._process = _start_template(plan, other_end)
        except OSError:
            self.channel.close()
            raise
        self.pid = self._process.pid
        self.channel.send_all({"do": "plan", "plan": plan.as_text()})

    def fork(self, worker: WorkerRecord, channel_end: socket.socket, num_workers: int) -> bool:
        """Ask for a worker, whose end of its channel this is.  False: it takes no message, now or ever."""
        message = {"do": "fork", "age": worker.age, "slot": worker.slot, "num_workers": num_workers}
        return self.channel.send(message, channel_end.fileno())

    def close_listeners(self) -> None:
        """One that is still importing ends instead: nothing is lost with it."""
        if self.loaded:
            self.channel.send({"do": "close"})
        else:
            self.kill()

    def reopen_logs(self) -> None:
        if self.loaded:
            self.channel.send({"do": "reopen"})

    def quit(self) -> None:
        """It ends when its workers have; one that is still importing ends at once, for nothing is lost with it."""
        if self.loaded:
            self.channel.send({"do": "quit"})
        else:
            self.kill()

    def kill(self) -> None:
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)  # our child, not yet waited for: the number is still its own

    def end(self, status: int) -> None:
        """It has been waited for."""
        self.ended = True
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.channel.close()


def _start_template(plan: Plan, other_end: socket.socket) -> subprocess.Popen[bytes]:
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    folder = str(Path(__file__).parents[2])
    fds = [other_end.fileno(), *(fd for fd, _ in plan.listeners)]
    if plan.scoreboard is not None:
        fds.append(plan.scoreboard[0])
    with other_end:
        command = [sys.executable, *flags, "-c", _TEMPLATE, str(other_end.fileno()), folder]
        return subprocess.Popen(command, pass_fds=fds)


class WorkerState(enum.Enum):
    """In this order; a worker may leave before it was ready."""

    STARTING = enum.auto()
    READY = enum.auto()
    LEAVING = enum.auto()  # has been asked to go


@dataclass(eq=False)
class WorkerRecord:
    """A worker as its supervisor sees it.  age: its number since the start.  ``reason``: why it wants a successor."""

    age: int
    template: Generation
    slot: int | None = None  # of the template's slots
    board: Any = None  # what stands there
    ppid: int = field(default_factory=os.getpid)
    pid: int = 0
    process: Descendant | None = None  # once the kernel has confirmed that it is what its template says
    state: WorkerState = WorkerState.STARTING
    alive: bool = True
    aborted: bool = False
    turned: bool = False  # its loop, since this was last looked at; told only where somebody wants to know
    channel: Channel | None = None
    failure: Message | None = None
    reason: str = ""
    asked_s: float = field(default_factory=time.monotonic)
    timers: list[Timer] = field(default_factory=list)
    may_hurry: bool = False  # leaving, and its idle connections may go when there is want of room
    was_killed: bool = False  # by us

    @property
    def generation(self) -> int:
        return self.template.number

    def tell(self, message: Message) -> None:
        if self.channel is not None:
            self.channel.send(message)

    def is_forked(self, pid: object) -> None:
        """Its template says that this is its process.  Signals are sent to it if the kernel says so, too."""
        if type(pid) is not int or self.process is not None:
            return
        try:
            if not self.template.ended:  # else nobody knows any more whose child it was
                self.process = Descendant(pid, self.template.pid)
        except ProcessLookupError:
            pass  # it has ended; its template will say how
        except ForeignProcessError as error:
            logger.error("HR832 The template of generation %d names a process that is not its own, which is left alone:"
                         " %s", self.generation, error)
            return
        self.pid = pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send(number)
                self.was_killed = self.was_killed or number == signal.SIGKILL

    @property
    def is_heard_of(self) -> bool:
        """Will its end be noticed, should its template say no more?  By that of its channel, if that is still to
        come."""
        return self.process is not None and self.channel is not None and not self.channel.at_end

    def forget(self) -> None:
        self.alive = False
        if self.process is not None:
            self.process.close()
            self.process = None
        for timer in self.timers:
            timer.cancel()
        if self.channel is not None:
            self.channel.close()


def ending(status: int | None, was_killed: bool = False) -> str:
    """How a process has ended, for the log.  was_killed: by us, so that there is nothing to guess."""
    if status is None:
        return "has ended, its parent before it"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"has ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (by somebody, or by the kernel for want of memory)" if -code == signal.SIGKILL and not was_killed else ""
    return f"was killed by {name}{hint}"


def tell_end(worker: WorkerRecord, status: int | None) -> None:
    """To the log: what was expected in a word, what was not with what its threads were serving."""
    if not worker.pid:
        return  # nobody has said that there is such a process
    if worker.state is WorkerState.LEAVING and status in (0, signal.SIGTERM, None):
        logger.info("HR804 Worker %d has left", worker.pid)
        return
    logger.error("HR805 Worker %d %s", worker.pid, ending(status, worker.was_killed))
    for line in in_flight(worker):
        logger.error("HR806 Worker %d was serving %s", worker.pid, line)


def in_flight(worker: WorkerRecord) -> list[str]:
    """What its threads were serving, read from its slot of the scoreboard."""
    records = worker.board.in_flight() if worker.board is not None else ()
    return [f"{one.method} {one.path} for {one.age_s:.3f} s on thread {one.thread_id}" for one in records]
