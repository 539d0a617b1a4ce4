"""The supervisor: it owns the listeners and the processes, and never sees a client's octets, nor the application.

    supervisor --starts afresh--> template --forks--> worker, worker, ...       one template for each generation

A *generation* is what one reading of configuration and code has made.  Its template imports the application once, and
workers are forked from it when the supervisor asks: at the start, when one has died, when one has served long enough.
Where forking an imported application would be unsafe, or is not wanted (--no-preload), the template imports nothing,
and each worker imports for itself.  Workers are the template's children, which reports how they ended: that works on
every POSIX system, and without privileges (Linux alone has subreapers).

Messages, lines of JSON over socket pairs (messages.py):

    supervisor -> template   plan, fork (with one end of the worker's own channel), close, reopen, leave-terminal, quit
    template -> supervisor   loaded | unsafe(reasons) | failed(message, details); forked(pid), not-forked; exited(pid,
                             status); closed
    supervisor -> worker     retire, stop(graceful), reopen, leave-terminal
    worker -> supervisor     ready, leave(reason), failed(message, details); turning, where systemd has a watchdog

What happens when one of them dies:

    a worker        it is reported with what it was serving, and another one is forked, at first at once, then with
                    growing pauses.  When none has come up after some attempts, the server ends: see BOOT_ATTEMPTS.
    the template    its workers serve on; another template of the same generation is started.  The end of a worker's
                    channel tells of its end from then on.
    the supervisor  its channels end: each worker finishes what it has accepted and ends, then the template.

At a hand-over (reload, --max-requests, --max-rss, --max-age, a TERM to one worker) the successor says ready before the
old worker is told to retire.  Listeners are shared: what waits in the kernel's queue is accepted by whoever is there.
At the end of all, the supervisor and the templates close theirs first, so that the worker that closes the last one has
accepted all that was queued.

It has one thread, which sleeps until there is a signal, a message or the end of a time; idle, it does not wake.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from headrace.config import Config, behind
from headrace.observe.log_setup import logger, model_line
from headrace.process.application import ApplicationError
from headrace.process.bound import listeners_for
from headrace.process.folders import start_folder
from headrace.process.generation import Generation, WorkerRecord, ending
from headrace.process.hooks import Hooks, call_hook, no_hooks
from headrace.process.identity import identity_of
from headrace.process.listeners import Listener, ListenError, close_listeners
from headrace.process.logs import is_captured, reopen
from headrace.process.messages import Message
from headrace.process.pid_file import PidFile
from headrace.process.plan import EXIT_APPLICATION, Plan
from headrace.process.process_table import LEAVING, READY, STARTING, ProcessTable, exit_code, no_process, show
from headrace.process.signals import drain, ended_children, ignore, let_signals_cut_exit, unblock, wakeup_pair
from headrace.process.slots import Slots, make_slots
from headrace.process.stopping import Stop
from headrace.process.stuck import StuckWatch
from headrace.process.timing import BackOff, Timer
from headrace.process.upgrade import Siblings

#: Workers that end before they are ready, one after the other, while there is none that serves: then the server ends.
BOOT_ATTEMPTS = 5
#: A worker that has lived so long has not died at its start.
SETTLED_S = 2.0
#: Older generations whose last connections still end; a further reload waits for one of them.
LEAVING_GENERATIONS_MAX = 4

STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT")
COUNTED_SIGNALS = ("SIGTTIN", "SIGTTOU")
SIGNALS = ("SIGCHLD", *STOP_SIGNALS, *COUNTED_SIGNALS, "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH")


class Supervisor(ProcessTable):
    """One server of several processes.  ``run()`` until it ends.

    read_config: the configuration as it stands now, for a reload; raises ValueError or OSError with what is wrong.
    make_hooks: a function of a module, for the template calls it, too.  folder: where the program was started, before
    it entered config.chdir; by default the working directory.  started: called when all workers are ready for the
    first time.  pid_file: written once the listeners are bound."""

    def __init__(
        self,
        target: str,
        config: Config,
        read_config: Callable[[], Config] | None = None,
        make_hooks: Callable[[Config], Hooks] = no_hooks,
        folder: str | None = None,
        started: Callable[[], None] = lambda: None,
        pid_file: PidFile | None = None,
    ) -> None:
        super().__init__()
        self._slots = make_slots(config.workers or 1, config.threads)  # of the scoreboard, for the present generation
        self.pid = os.getpid()
        self.config = config
        self.num_workers = config.workers or 1
        self.target = target
        self._read_config = read_config or (lambda: config)
        self._make_hooks = make_hooks
        self._hooks = make_hooks(config)
        self._listeners: dict[str, Listener] = {}  # by the bind as it was written
        self._folder = folder or start_folder()
        self._folder_known_as = str(Path.cwd())
        self._started = started
        self._siblings = Siblings(self.selector, self._folder, pid_file)
        self._current: Generation | None = None
        self._next: Generation | None = None  # at a reload, until all of its workers are ready
        self._next_listeners: dict[str, Listener] = {}
        self._stuck_watch = StuckWatch(self)
        self._notifier = self._siblings.notifier
        self._numbers = 0
        self._back_off = BackOff()
        self._resting: Timer | None = None
        self._has_served = False
        self._reload_again = False
        self._paused = False  # WINCH: no workers, until HUP or TTIN
        self._stop = Stop(self, self._siblings, self._close_listeners, self._replace_missing)
        self._boot_failure: ApplicationError | None = None

    # ---- the loop ----

    def run(self) -> int:
        """The exit code.  Raises ListenError, or ApplicationError when the application cannot be had at the start."""
        inherited = self._siblings.inherit()
        self._keep_listeners(listeners_for(self.config, inherited))
        close_listeners(listener for bind, listener in inherited.items() if bind not in self._listeners)
        self._siblings.write_pid_file()
        wakeup = self._take_signals()
        try:
            self._hooks.on_starting(self)
            call_hook(self._hooks.nworkers_changed, self, self.num_workers, None)
            self._current = self._start_generation(self.config, self._listeners)
            self._stuck_watch.start(self.config)
            while not (self._stop and not self.all_workers and not self.generations):
                for key, _ in self.selector.select(self.timers.wait_s()):
                    key.data()
                self.timers.run_due()
                self._balance()
            call_hook(self._hooks.on_exit, self)
        finally:
            self._end(wakeup)
        if self._boot_failure is not None:
            raise self._boot_failure
        return 0

    def _take_signals(self) -> tuple[socket.socket, socket.socket]:
        reader, writer = wakeup_pair()
        for name in SIGNALS:
            signal.signal(getattr(signal, name), ignore)
        unblock(SIGNALS)
        self.selector.register(reader, selectors.EVENT_READ, lambda: self._hear_signals(drain(reader)))
        return reader, writer

    def _hear_signals(self, numbers: bytes) -> None:
        for number in dict.fromkeys(numbers):
            name = signal.Signals(number).name
            if name == "SIGCHLD":
                self._reap()
                continue
            logger.info("HR801 Received %s", name)
            for _ in range(numbers.count(number) if name in COUNTED_SIGNALS else 1):
                self._on_signal(name)

    def _on_signal(self, name: str) -> None:
        if name in STOP_SIGNALS:
            self.stop(graceful=name == "SIGTERM" and not self._stop)
        elif name == "SIGUSR1":
            self._reopen_logs()
        elif self._stop:
            logger.info("HR802 %s comes too late: the server is stopping", name)
        elif name == "SIGHUP":
            self.reload()
        elif name == "SIGTTIN":
            self._resize(self.num_workers + (0 if self._paused else 1))
        elif name == "SIGTTOU":
            self._resize(self.num_workers - 1)
        elif name == "SIGUSR2":
            self._upgrade()
        elif name == "SIGWINCH":
            self._pause()

    def _reap(self) -> None:
        """Templates, the younger program, and as PID 1 whatever else has lost its parent."""
        for pid, status in ended_children():
            self.reap(pid, status)
            self._siblings.reap(pid, status)

    def _end(self, wakeup: tuple[socket.socket, socket.socket]) -> None:
        """The files of the listeners go, unless another program uses them.  After a failure of ours workers are left:
        they finish what they have accepted."""
        signal.set_wakeup_fd(-1)
        status = self._boot_failure.exit_code if self._boot_failure is not None else 0
        let_signals_cut_exit([getattr(signal, name) for name in STOP_SIGNALS], status)  # hooks may have started threads
        for listener in self._all_listeners():
            if self._siblings:
                listener.give_up_file()
            listener.close()
        self._siblings.part()
        self.selector.close()
        for end in wakeup:
            end.close()

    # ---- listeners ----

    def _keep_listeners(self, keep: dict[str, Listener]) -> None:
        """Of a bind that is not among them any more, what waits is accepted by the workers that leave."""
        close_listeners(listener for bind, listener in self._listeners.items() if bind not in keep)
        self._listeners = self._siblings.listeners = keep

    def _all_listeners(self) -> list[Listener]:
        """With those of a reload that is under way."""
        return list((self._next_listeners | self._listeners).values())

    # ---- generations ----

    def _start_generation(self, config: Config, listeners: dict[str, Listener]) -> Generation:
        self._numbers += 1
        interval_s = self._notifier.watchdog_interval_s
        try:
            slots = self._slots_for(config)
        except OSError as error:
            raise no_process("The scoreboard could not be made", str(error)) from error
        plan = Plan(
            target=self.target,
            config=config,
            preload=config.preload,
            generation=self._numbers,
            supervisor_pid=self.pid,
            num_workers=config.workers or 1,
            folder=str(Path(self._folder, config.chdir or "")),
            folder_known_as=self._folder_known_as,
            search_path=tuple(sys.path),
            arguments=tuple(sys.argv),
            listeners=tuple((one.socket.fileno(), str(one.address)) for one in listeners.values()),
            make_hooks=self._make_hooks,
            scoreboard=slots.shared,
            turns_every_s=interval_s and interval_s / 2,  # so that each of our own intervals has a turn of theirs
        )
        try:
            return self.start_template(plan, slots)
        except ApplicationError:
            if slots is not self._slots:
                slots.close()
            raise

    def _slots_for(self, config: Config) -> Slots:
        workers = config.workers or 1
        return self._slots if self._slots.suits(workers, config.threads) else make_slots(workers, config.threads)

    def _keep_slots(self, slots: Slots) -> None:
        """For the templates to come.  Workers that are there keep theirs."""
        if slots is not self._slots:
            self._slots.close()
        self._slots = slots

    def on_loaded(self, template: Generation) -> None:
        if self._stop:
            self.quit(template)

    def on_template_lost(self, template: Generation, status: int) -> None:
        if self._stop or template not in (self._current, self._next):
            return
        if template.unsafe:
            reasons = ", ".join(template.unsafe)
            logger.warning("HR810 Each worker imports the application; it cannot be forked safely, for it has %s",
                           reasons)
            self._restart_template(template, preload=False)
        elif template.loaded:
            logger.error("HR811 The template of generation %d %s; another one is started",
                         template.number, ending(status))
            self.timers.after(self._back_off.failed(), partial(self._restart_template, template))
        else:
            failure = self._failure_of(template.failure, f"its process {ending(status)}")
            self._on_boot_failure(template.number, failure)

    def _restart_template(self, template: Generation, preload: bool | None = None) -> None:
        if self._stop or template not in (self._current, self._next):
            return
        plan = template.plan if preload is None else replace(template.plan, preload=preload)
        try:
            again = self.start_template(plan, template.slots)
        except ApplicationError as failure:
            self._on_shortage(template.number, failure)
            return
        if template is self._current:
            self._current = again
        else:
            self._next = again

    def _failure_of(self, message: Message | None, otherwise: str) -> ApplicationError:
        if message is None:
            return ApplicationError(f"loading {self.target} failed: {otherwise}")
        said, hint, details = (str(message.get(name, "")) for name in ("message", "hint", "details"))
        code = message.get("exit_code")
        if type(code) is not int or not 0 < code < 256:
            code = EXIT_APPLICATION
        return ApplicationError(said, hint, details, code)

    def _on_boot_failure(self, number: int, failure: ApplicationError, certain: bool = True) -> None:
        """A process of a generation does not come up.  certain: trying again would be in vain."""
        if self._next is not None and number == self._next.number:
            self._give_up_reload(failure)
            return
        serving = any(worker.state is READY for worker in self.all_workers)
        is_first = certain and not self._has_served
        if not serving and (is_first or self._back_off.failures + 1 >= BOOT_ATTEMPTS):
            self._boot_failure = failure
            self.stop(graceful=False)
            return
        show(failure)
        self._rest()

    def _on_shortage(self, number: int, failure: ApplicationError) -> None:
        """The system gives no process.  That may pass: who has served waits for it as long as it takes."""
        if self._has_served and (self._next is None or number != self._next.number):
            logger.error("HR833 %s; it is tried again", failure)
            self._rest()
        else:
            self._on_boot_failure(number, failure, certain=False)

    def _rest(self) -> None:
        """Before the next attempt."""

        def go_on() -> None:
            self._resting = None
            if self._current is not None and self._current.ended:
                self._restart_template(self._current)

        if self._resting is None:
            self._resting = self.timers.after(self._back_off.failed(), go_on)

    # ---- workers ----

    def _balance(self) -> None:
        """As many workers as there should be: called after everything that happens."""
        if self._stop:
            self._stop.go_on()
            return
        if self._next is not None:
            self._balance_next(self._next)
        current = self._current
        if current is not None and not self._paused:
            self._balance_current(current)
        if self._reload_again and self._next is None:
            if self._is_crowded():
                self.hurry(self.all_workers)
            else:
                self.reload()

    def _balance_current(self, current: Generation) -> None:
        ready = self.of(current, READY)
        worn = [worker for worker in ready if worker.reason]
        # One more while one is being replaced.  Those that still leave are bounded: clients may keep them for a while.
        leaving = self.of(current, LEAVING)
        is_replacing = bool(worn) and len(leaving) <= self.num_workers
        if worn and not is_replacing:
            self.hurry(leaving)
        missing = self.num_workers + is_replacing - len(self.of(current, STARTING, READY))
        if current.loaded and not current.ended and self._resting is None:
            self.spawn(current, missing)
        too_many = max(len(ready) - self.num_workers, 0)
        for worker in [*worn, *(one for one in ready if not one.reason)][:too_many]:
            self.retire(worker)
        if not self._has_served and len(ready) >= self.num_workers:
            self._has_served = True
            self._announce()

    def _announce(self) -> None:
        logger.info("HR102 %s", model_line(self.config.threads, self.num_workers))
        for listener in self._listeners.values():
            logger.info("HR101 Listening at: %s", listener.address.url)
        if (line := behind.told(self.config)) is not None:
            logger.info("HR114 %s", line)
        self._siblings.say_ready()
        self._notifier.ready(self._status())
        self._feed_watchdog()
        if self.config.daemon and not is_captured(self.config):
            self._leave_terminal()
        self._started()
        call_hook(self._hooks.when_ready, self)

    def _leave_terminal(self) -> None:
        """Processes that are started later have our own streams, which go nowhere then."""
        for template in self.generations:
            template.channel.send({"do": "leave-terminal"})
        for worker in self.all_workers:
            worker.tell({"do": "leave-terminal"})

    def _status(self) -> str:
        return f"{self.num_workers} workers, generation {self._current.number if self._current is not None else 0}"

    def _feed_watchdog(self) -> None:
        """For as long as this loop turns and that of some worker that serves, unless none is to serve."""
        interval_s = self._notifier.watchdog_interval_s
        if interval_s is not None:
            turning = [worker for worker in self.all_workers if worker.state is READY and worker.turned]
            if turning or self._paused or self._stop:
                self._notifier.alive()
            for worker in turning:
                worker.turned = False
            self.timers.after(interval_s, self._feed_watchdog)

    def on_ready(self, worker: WorkerRecord) -> None:
        if self._stop.draining and worker.state is STARTING:
            self._stop.tell(worker, is_ready=True)
        if self._stop or worker.state is LEAVING:
            return  # it has been told
        worker.state = READY
        worker.turned = True
        logger.info("HR803 Worker %d is ready (generation %d)", worker.pid, worker.generation)
        worker.timers.append(self.timers.after(SETTLED_S, self._back_off.succeeded))
        age_s = worker.template.plan.config.max_age
        if age_s:
            reason = f"{age_s:g} s (--max-age)"
            worker.timers.append(self.timers.after(age_s, lambda: self.replace(worker, reason)))

    def on_not_forked(self, worker: WorkerRecord, why: str) -> None:
        """HR827 has the traceback."""
        if self._stop.draining:
            self._rest()
        if not self._stop:
            self._on_shortage(worker.generation, no_process("A worker could not be forked", why))

    def on_lost(self, worker: WorkerRecord, status: int | None) -> None:
        call_hook(self._hooks.child_exit, self, worker)
        if self._stop.draining:
            self._rest()
        if self._stop or worker.state is LEAVING:
            return
        if worker.state is STARTING:
            failure = self._failure_of(worker.failure, f"a worker {ending(status)} before it was ready")
            self._on_boot_failure(worker.generation, failure, certain=exit_code(status) == EXIT_APPLICATION)
        elif time.monotonic() - worker.asked_s < SETTLED_S:
            self._rest()  # who dies again and again is replaced with pauses

    def _resize(self, number: int) -> None:
        before = self.num_workers
        self.num_workers = max(number, 1)
        self._paused = False
        if self.num_workers != before:
            logger.info("HR812 Workers: %d", self.num_workers)
            call_hook(self._hooks.nworkers_changed, self, self.num_workers, before)

    def _pause(self) -> None:
        """As gunicorn: for an upgrade, and only with --daemon.  Elsewhere it tells of a window's new size."""
        if not self.config.daemon:
            logger.info("HR818 SIGWINCH is ignored: it takes the workers away with --daemon alone")
            return
        logger.info("HR817 Workers leave; SIGHUP or SIGTTIN starts new ones")
        self._paused = True
        for worker in self.all_workers:
            if worker.state is not LEAVING:
                self.retire(worker)

    def _upgrade(self) -> None:
        if self._siblings:
            logger.warning("HR819 SIGUSR2 is ignored: another program is there already; end one of the two first")
            return
        call_hook(self._hooks.pre_exec, self)
        self._siblings.start_younger()

    # ---- reload ----

    def _is_crowded(self) -> bool:
        return len({one.generation for one in self.all_workers if one.state is LEAVING}) >= LEAVING_GENERATIONS_MAX

    def reload(self) -> None:
        """Configuration and code anew: new workers first, and the old ones leave when all of the new are ready."""
        if self._next is not None or self._is_crowded():
            logger.info("HR814 The reload waits for one that is under way")
            self._reload_again = True
            return
        self._reload_again = False
        try:
            config = self._read_config()
            hooks = self._make_hooks(config)
            self._next_listeners = listeners_for(config, self._listeners)
        except (ValueError, OSError, ListenError) as error:
            logger.error("HR815 No reload, the present generation goes on: %s", error)
            return
        self._hooks = hooks
        self._notifier.reloading()
        call_hook(self._hooks.on_reload, self)
        try:
            self._next = self._start_generation(config, self._next_listeners)
        except ApplicationError as failure:
            self._give_up_reload(failure)

    def _balance_next(self, coming: Generation) -> None:
        wanted = coming.plan.num_workers
        if coming.loaded and not coming.ended:
            self.spawn(coming, wanted - len(self.of(coming, STARTING, READY)))
        if len(self.of(coming, READY)) < wanted:
            return
        logger.info("HR813 Generation %d takes over", coming.number)
        self.config = coming.plan.config
        self._stuck_watch.start(self.config)
        self._keep_listeners(self._next_listeners)
        self._next_listeners = {}
        self._current, self._next = coming, None
        self._keep_slots(coming.slots)
        self._back_off.succeeded()
        self._resize(wanted)
        self._notifier.ready(self._status())
        self._leave_generations()

    def _leave_generations(self) -> None:
        """All but the present one go."""
        present = self._current.number if self._current is not None else 0
        for worker in self.all_workers:
            if worker.generation != present and worker.state is not LEAVING:
                self.retire(worker)
        for template in self.generations:
            if template.number != present:
                self.quit(template)

    def _give_up_reload(self, failure: ApplicationError) -> None:
        show(failure)
        logger.error("HR816 The new code does not start: the present generation goes on")
        self._notifier.ready(self._status())
        if self._next is not None and self._next.slots is not self._slots:
            self._next.slots.close()
        self._next = None
        close_listeners(one for bind, one in self._next_listeners.items() if bind not in self._listeners)
        self._next_listeners = {}
        self._leave_generations()

    # ---- stopping ----

    def stop(self, graceful: bool = True) -> None:
        """End: gracefully, or (also later on) at once."""
        self._stop.begin(graceful, self.config.drain_delay)

    def _close_listeners(self) -> None:
        for listener in self._all_listeners():
            listener.socket.close()

    def _replace_missing(self) -> None:
        current = self._current
        if current is not None and current.loaded and not current.ended and self._resting is None:
            self.spawn(current, self.num_workers - len(self.of(current, STARTING, READY, LEAVING)))

    # ---- logs ----

    def _reopen_logs(self) -> None:
        try:
            identity = identity_of(self.config)
        except ValueError:  # that user has gone; who serves is still that one
            identity = None
        reopen(self.config, identity)
        for template in self.generations:
            template.reopen_logs()
        for worker in self.all_workers:
            worker.tell({"do": "reopen"})
