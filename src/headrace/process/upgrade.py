"""USR2: another program beside this one, on the same listeners, until one of the two is told to end.

The elder has started the younger, which says ready over the socket pair between them.  The end of that pair tells the
one that is left that it is alone: the files of UNIX sockets are its own then.

To systemd one of the two is the service, its main process: the younger as soon as it is ready, the elder again when the
younger is told to end.  Who is the service names the other one, and then says no more; systemd would not listen to it.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from headrace.observe.log_setup import logger
from headrace.process.generation import ending
from headrace.process.handover import elder_pid, handed_on, taken_over
from headrace.process.listeners import Listener
from headrace.process.messages import Channel, channel_pair
from headrace.process.pid_file import PidFile
from headrace.process.systemd import Notifier


def own_command() -> list[str]:
    """As this program was started, with the same interpreter and its flags."""
    return [sys.executable, *sys.orig_argv[1:]]


class Younger:
    """The program that we have started."""

    def __init__(self, listeners: Mapping[str, Listener], folder: str, is_watched: bool) -> None:
        """is_watched: systemd's watchdog watches us, and it in our place later.  Raises OSError when it cannot be
        started."""
        self.channel, other_end = channel_pair()
        self.ready = False
        with other_end:
            environ = os.environ | handed_on(listeners, other_end)
            if is_watched:
                environ["WATCHDOG_PID"] = str(os.getpid())
            fds = [other_end.fileno(), *(listener.socket.fileno() for listener in listeners.values())]
            try:
                self._process = subprocess.Popen(own_command(), env=environ, pass_fds=fds, cwd=folder)
            except OSError:
                self.channel.close()
                raise
        self.pid = self._process.pid

    def end(self, status: int) -> None:
        """It has been waited for; or nobody will, for we end before it."""
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.channel.close()


class Siblings:
    """The program that has started this one, and the one that it has started: at most one of the two is there."""

    def __init__(self, selector: selectors.BaseSelector, folder: str, pid_file: PidFile | None = None) -> None:
        self.listeners: Mapping[str, Listener] = {}
        self.notifier = Notifier(elder=elder_pid())
        self._selector = selector
        self._folder = folder
        self._pid_file = pid_file
        self._elder: Channel | None = None
        self._elder_pid = elder_pid()
        self._younger: Younger | None = None

    def __bool__(self) -> bool:
        return self._elder is not None or self._younger is not None

    def inherit(self) -> dict[str, Listener]:
        """The listeners that the elder has handed on, by bind."""
        inherited, self._elder = taken_over()
        if self._elder is not None:
            self._selector.register(self._elder, selectors.EVENT_READ, self._hear_elder)
        return inherited

    def write_pid_file(self) -> None:
        """As gunicorn has it: NAME.2 while the elder has NAME.  Raises PidFileError."""
        if self._pid_file is not None:
            self._pid_file.write(suffix=".2" if self._elder is not None else "")

    def say_ready(self) -> None:
        if self._elder is not None:
            self._elder.send({"event": "ready"})

    def say_stopping(self) -> None:
        """To systemd: the service stops, or this program alone, and the other one is the service."""
        other, pid = self._elder, self._elder_pid
        if self._younger is not None:
            other, pid = self._younger.channel, self._younger.pid
        if other is None or pid is None:
            self.notifier.stopping("answering what is in flight")
        else:
            self._give_way(other, pid)

    def _give_way(self, other: Channel, pid: int) -> None:
        if self.notifier.give_way(pid):
            other.send({"event": "take-over"})

    def start_younger(self) -> None:
        try:
            younger = Younger(self.listeners, self._folder, self.notifier.watchdog_interval_s is not None)
        except OSError as error:
            logger.error("HR820 The new program cannot be started: %s", error)
            return
        logger.info("HR821 The new program is starting as process %d", younger.pid)
        self._younger = younger
        self._selector.register(younger.channel, selectors.EVENT_READ, self._hear_younger)

    def reap(self, pid: int, status: int) -> None:
        younger = self._younger
        if younger is None or younger.pid != pid:
            return
        self._younger = None
        tell = logger.info if younger.ready and status == 0 else logger.error
        tell("HR834 The new program %s; this one goes on", ending(status))
        self.notifier.take_over()
        with suppress(KeyError, ValueError):
            self._selector.unregister(younger.channel)
        younger.end(status)

    def part(self) -> None:
        """This program ends."""
        if self._pid_file is not None:
            self._pid_file.remove()
        if self._younger is not None:
            self._younger.end(0)
            self._younger = None

    def _hear_younger(self) -> None:
        younger = self._younger
        if younger is None:
            return
        for message in younger.channel.receive():
            if message.get("event") == "ready":
                younger.ready = True
                logger.info("HR822 The new program is ready; end the old one, or the new one, process %d", younger.pid)
                self._give_way(younger.channel, younger.pid)
            elif message.get("event") == "take-over":
                self.notifier.take_over()
        if younger.channel.at_end:
            self._selector.unregister(younger.channel)

    def _hear_elder(self) -> None:
        elder = self._elder
        if elder is None:
            return
        if any(message.get("event") == "take-over" for message in elder.receive()):
            self.notifier.take_over()
        if elder.at_end:
            logger.info("HR823 The program before this one has ended")
            self.notifier.take_over()
            self._selector.unregister(elder)
            elder.close()
            self._elder = None
            if self._pid_file is not None:
                self._pid_file.take_name()
            for listener in self.listeners.values():
                listener.take_file()
