"""Doing what a start does as the user that it becomes: in a child process, for there is no way back."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from headrace.process.application import unreadable_python
from headrace.process.identity import Identity

#: Of a child that has ended otherwise than by itself, as a shell has it: 128 and the signal.
_BY_SIGNAL = 128


def can_become(identity: Identity) -> bool:
    """By root's rights, or because it is that already."""
    return os.geteuid() == 0 or identity.is_present()


def in_child(work: Callable[[], object]) -> int:
    """The exit code of a child process that does the work.  click's Exit has its own, another exception has 1 and a
    traceback.  Nothing that a program has registered for its end is done there."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        except click.exceptions.Exit as error:
            code = error.exit_code
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _BY_SIGNAL - code


def answer_of_child(work: Callable[[], Any]) -> tuple[int, Any]:
    """The child's exit code, and what the work has returned, by way of JSON; None when it has ended without.

    A file and no pipe: nobody waits for room, or for what the application has forked."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:

        def answer() -> None:
            json.dump(work(), file)
            file.flush()

        code = in_child(answer)
        file.seek(0)
        text = file.read()
    return code, json.loads(text) if text else None


def told_of_user(identity: Identity) -> str:
    """In the child, after the change: a sentence if the user cannot read Python itself; "" if it can."""
    reason = unreadable_python()
    return f"user {identity.name or identity.uid} {reason}" if reason else ""
