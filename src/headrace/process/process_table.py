"""A supervisor's processes: what they say, and that they have ended.  What follows from it is supervisor.py's business.

One thread; nothing here waits.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from headrace.observe.log_setup import logger
from headrace.process.application import ApplicationError
from headrace.process.generation import Generation, WorkerRecord, WorkerState, tell_end
from headrace.process.messages import Message, channel_pair
from headrace.process.plan import EXIT_RUNTIME, Plan
from headrace.process.slots import Slots
from headrace.process.timing import Timers

STARTING, READY, LEAVING = WorkerState.STARTING, WorkerState.READY, WorkerState.LEAVING

#: More than what workers have to end by themselves; then they are killed.
KILL_MARGIN_S = 3.0
#: For a template that cannot be used to end; another one, or the end of all, waits for it.
TEMPLATE_EXIT_S = 2.0
#: How often it is looked whether a worker that leaves is held by its calls.
LEAVING_LOOK_S = 5.0
#: Workers that a template has been asked for and has not answered about: their messages fit into any socket's buffer.
FORKS_UNDER_WAY_MAX = 32
#: To a template that did not take the message.
FORK_AGAIN_S = 0.1
#: Characters of a reason that a process gives, in the log.
SAID_MAX = 500


class ProcessTable:
    """Templates and workers, and the selector and the timers that tell of them."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.num_workers = 1
        self.selector = selectors.DefaultSelector()
        self.generations: list[Generation] = []
        self.all_workers: list[WorkerRecord] = []
        self._ages = 0

    @property
    def workers(self) -> dict[int, WorkerRecord]:
        """By process number."""
        return {worker.pid: worker for worker in self.all_workers if worker.pid}

    def of(self, template: Generation | None, *states: WorkerState) -> list[WorkerRecord]:
        """The workers of a generation, whichever template they come from."""
        number = template.number if template is not None else 0
        return [one for one in self.all_workers if one.generation == number and one.state in states]

    # ---- what follows ----

    def on_loaded(self, template: Generation) -> None:
        raise NotImplementedError

    def on_template_lost(self, template: Generation, status: int) -> None:
        raise NotImplementedError

    def on_not_forked(self, worker: WorkerRecord, why: str) -> None:
        raise NotImplementedError

    def on_ready(self, worker: WorkerRecord) -> None:
        raise NotImplementedError

    def on_lost(self, worker: WorkerRecord, status: int | None) -> None:
        raise NotImplementedError

    # ---- templates ----

    def start_template(self, plan: Plan, slots: Slots) -> Generation:
        """Raises ApplicationError when the system gives no process."""
        try:
            template = Generation(plan, slots)
        except OSError as error:
            raise no_process("The process that forks workers could not be started", str(error)) from error
        self.generations.append(template)
        self.selector.register(template.channel, selectors.EVENT_READ, partial(self._hear_template, template))
        return template

    def _hear_template(self, template: Generation) -> None:
        for message in template.channel.receive():
            self._on_template_message(template, message)
        if template.channel.at_end:
            self.unwatch(template)

    def _on_template_message(self, template: Generation, message: Message) -> None:
        event = message.get("event")
        if event == "loaded":
            template.loaded = True
            self.on_loaded(template)
        elif event == "unsafe":
            reasons = message.get("reasons")
            template.unsafe = [one_line(reason) for reason in reasons] if isinstance(reasons, list) else []
            self._limit_exit(template, TEMPLATE_EXIT_S)
        elif event == "failed":
            template.failure = message
            self._limit_exit(template, TEMPLATE_EXIT_S)
        elif event == "closed":
            template.closed_listeners = True
        elif event == "forked":
            for worker in self._with(template, age=message.get("age")):
                worker.is_forked(message.get("pid"))
                self._watch(worker)
                if worker.state is LEAVING:
                    worker.kill(signal.SIGTERM)  # it was told to go before anybody knew where to send this
        elif event == "not-forked":
            for worker in self._with(template, age=message.get("age")):
                self._drop(worker)
                worker.template.slots.give_back(worker.slot)
                self.on_not_forked(worker, one_line(message.get("why")))
        elif event == "exited":
            for worker in self._with(template, pid=message.get("pid")):
                self.lose(worker, wait_status(message.get("status")))

    def quit(self, template: Generation, patience_s: float | None = None) -> None:
        """It ends when its workers have, and may then take so long; by default what an orderly end may take."""
        template.quit()
        orderly_s = template.plan.config.graceful_timeout + KILL_MARGIN_S
        self._limit_exit(template, orderly_s if patience_s is None else patience_s)

    def _limit_exit(self, template: Generation, patience_s: float) -> None:
        """The application's threads, and what it has given to atexit, may keep the process for ever."""
        template.exit_patience_s = patience_s
        if not any(worker.template is template for worker in self.all_workers):
            self.timers.after(patience_s, lambda: kill_overdue_template(template, patience_s))

    def _with(self, template: Generation, **values: Any) -> list[WorkerRecord]:
        ((name, value),) = values.items()
        return [one for one in self.all_workers if one.template is template and getattr(one, name) == value]

    def unwatch(self, process: Generation | WorkerRecord) -> None:
        with suppress(KeyError, ValueError):  # not there, or its channel is closed
            self.selector.unregister(process.channel)  # type: ignore[arg-type]

    def reap(self, pid: int, status: int) -> None:
        """A child of this process has ended.  As PID 1 workers may have become that, when their template has ended."""
        for template in [one for one in self.generations if one.pid == pid]:
            template.ended = True
            for message in template.channel.receive_last_words():
                self._on_template_message(template, message)
            self.unwatch(template)
            template.end(status)
            self.generations.remove(template)
            for worker in [one for one in self.all_workers if one.template is template and not one.is_heard_of]:
                worker.kill()
                self.lose(worker, None)
            self.on_template_lost(template, status)
        for worker in [one for one in self.all_workers if one.pid == pid]:
            self.lose(worker, status)

    # ---- workers ----

    def spawn(self, template: Generation, count: int) -> None:
        """So many workers, or fewer: the others when the template has answered for these."""
        under_way = len(self._with(template, pid=0))
        for _ in range(min(count, FORKS_UNDER_WAY_MAX - under_way)):
            if not self._spawn_one(template):
                # Its messages pile up, or it has ended and is about to be waited for.
                self.timers.after(FORK_AGAIN_S, lambda: None)
                return

    def _spawn_one(self, template: Generation) -> bool:
        self._ages += 1
        worker = WorkerRecord(self._ages, template)
        worker.slot, worker.board = template.slots.take()
        worker.ppid = template.pid
        try:
            worker.channel, other_end = channel_pair()
        except OSError as error:
            template.slots.give_back(worker.slot)
            self.on_not_forked(worker, str(error))
            return False
        with other_end:
            asked = template.fork(worker, other_end, self.num_workers)
        if not asked:
            template.slots.give_back(worker.slot)
            worker.forget()
            return False
        self.all_workers.append(worker)
        return True

    def _watch(self, worker: WorkerRecord) -> None:
        """Only now, for it may have said that it is ready before its template said which process it is."""
        if worker.channel is not None:
            with suppress(KeyError):  # it is told a second time
                self.selector.register(worker.channel, selectors.EVENT_READ, partial(self._hear_worker, worker))

    def _hear_worker(self, worker: WorkerRecord) -> None:
        channel = worker.channel
        if channel is None:
            return
        for message in channel.receive():
            self._on_worker_message(worker, message)
        if channel.at_end and worker.alive:
            self.unwatch(worker)
            if worker.template.ended:  # nobody else will say how it ended
                worker.kill()
                self.lose(worker, None)

    def _on_worker_message(self, worker: WorkerRecord, message: Message) -> None:
        event = message.get("event")
        if event == "ready" and worker.state is not READY:
            self.on_ready(worker)
        elif event == "leave":
            self.replace(worker, one_line(message.get("reason")))
        elif event == "turning":
            worker.turned = True
        elif event == "failed":
            worker.failure = message

    def replace(self, worker: WorkerRecord, reason: str) -> None:
        """It leaves when its successor is ready."""
        if worker.state is READY and not worker.reason:
            logger.info("HR807 Worker %d is to be replaced: %s", worker.pid, reason)
            worker.reason = reason

    def retire(self, worker: WorkerRecord) -> None:
        """At a hand-over: idle connections live on there, and calls have graceful_timeout (Loop.retire())."""
        config = worker.template.plan.config
        worker.state = LEAVING
        worker.tell({"do": "retire"})
        worker.timers.append(self.timers.after(config.graceful_timeout, lambda: setattr(worker, "may_hurry", True)))
        calls_s = config.graceful_timeout + KILL_MARGIN_S
        all_s = calls_s + max(config.keep_alive, config.head_timeout)
        since_s = time.monotonic()

        def look() -> None:
            """Calls that hold all threads keep the worker from ending them itself, or it has none left."""
            had_s = time.monotonic() - since_s
            if had_s >= all_s or is_held(worker, calls_s):
                kill_overdue(worker, round(had_s, 1))
            else:
                worker.timers.append(self.timers.after(min(LEAVING_LOOK_S, all_s - had_s), look))

        worker.timers.append(self.timers.after(calls_s, look))

    def hurry(self, workers: Iterable[WorkerRecord]) -> None:
        """Others wait for room: what is idle in workers that leave has had graceful_timeout, and goes."""
        for worker in workers:
            if worker.may_hurry:
                worker.may_hurry = False
                worker.tell({"do": "stop", "graceful": True})

    def patience_s(self, worker: WorkerRecord) -> float:
        """What an orderly end may take."""
        config = worker.template.plan.config
        return float(config.graceful_timeout + getattr(config, "drain_delay", 0) + KILL_MARGIN_S)

    def kill_after(self, worker: WorkerRecord, seconds: float) -> None:
        worker.timers.append(self.timers.after(seconds, lambda: kill_overdue(worker, seconds)))

    def lose(self, worker: WorkerRecord, status: int | None) -> None:
        """It has ended, however."""
        if worker not in self.all_workers:
            return
        if worker.channel is not None and not worker.channel.at_end:
            for message in worker.channel.receive_last_words():
                self._on_worker_message(worker, message)
        self._drop(worker)
        tell_end(worker, status)
        worker.template.slots.give_back(worker.slot)
        self.on_lost(worker, status)

    def _drop(self, worker: WorkerRecord) -> None:
        self.unwatch(worker)
        self.all_workers.remove(worker)
        worker.forget()
        if worker.template.exit_patience_s is not None:
            self._limit_exit(worker.template, worker.template.exit_patience_s)


def kill_overdue(worker: WorkerRecord, seconds: float) -> None:
    if worker.process is None:
        # Its template has not said which process it is, and does not do what it is told either.
        kill_overdue_template(worker.template, seconds)
        return
    logger.error("HR808 Worker %d has not ended in %g s and is killed", worker.pid, seconds)
    worker.kill()


def kill_overdue_template(template: Generation, seconds: float) -> None:
    if not template.ended:
        logger.warning("HR835 The template of generation %d has not ended in %g s and is killed",
                       template.number, seconds)
        template.kill()


def is_held(worker: WorkerRecord, seconds: float) -> bool:
    """Has each of its threads been inside a call for so long?"""
    ages_s: list[float] = [call.age_s for call in worker.board.in_flight()] if worker.board is not None else []
    return sum(age_s >= seconds for age_s in ages_s) >= worker.template.plan.config.threads


def wait_status(value: object) -> int | None:
    """As waitpid(2) gives it, from a message; None for anything else."""
    if type(value) is int:
        with suppress(ValueError, OverflowError):
            os.waitstatus_to_exitcode(value)
            return value
    return None


def one_line(value: object) -> str:
    """Of a message, for the log."""
    text = " ".join(value[:SAID_MAX].split()) if isinstance(value, str) else "?"
    return "".join(char if char.isprintable() else "?" for char in text)


def exit_code(status: int | None) -> int:
    """-1: unknown."""
    return -1 if status is None else os.waitstatus_to_exitcode(status)


def no_process(what: str, why: str) -> ApplicationError:
    hint = "look at the limits of processes, descriptors and memory"
    return ApplicationError(f"{what}: {why}", hint, exit_code=EXIT_RUNTIME)


def show(failure: ApplicationError) -> None:
    """To the log, with its traceback."""
    logger.error("HR829 %s%s", failure, f"\n{failure.details.rstrip()}" if failure.details else "")
