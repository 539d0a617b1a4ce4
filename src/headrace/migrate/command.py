"""The command `headrace migrate`: which server is meant, and printing."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from headrace.config.config import ConfigError
from headrace.migrate.plan import Plan, text_of_error
from headrace.migrate.servers import plan_for, plan_for_gunicorn_file
from headrace.migrate.uwsgi import plan_for_uwsgi

EXIT_NOT_ALL = 1
EXIT_USAGE = 2

HELP = """Show the headrace command for one of another server, and what differs.

\b
COMMAND is one of
  gunicorn -w 4 -k gthread shop.wsgi      the words as they are, or all of them in quotes
  waitress-serve --listen=*:8080 shop:app
  granian --interface wsgi shop:app
  uwsgi --ini uwsgi.ini, or uwsgi.ini     an ini file is read
  gunicorn.conf.py [shop.wsgi]            is run, as gunicorn does

Nothing is written, and no server is started.
"""

EPILOG = """\b
Exit codes:
  0  the command does the same, with the differences that are listed
  1  there is something that Headrace cannot have
  2  this is no command of a server that is known here
"""

#: The name of a program -> the server.
SERVERS = {
    "gunicorn": "gunicorn",
    "uvicorn": "uvicorn",
    "granian": "granian",
    "waitress-serve": "waitress",
    "waitress": "waitress",
    "uwsgi": "uwsgi",
}

#: What is different whatever was set.
IN_GENERAL = {
    "gunicorn": (
        "idle connections are kept for 75 s where --keep-alive says nothing else, there for 2 s or not at all",
        "clients have deadlines: --head-timeout, --body-timeout, --write-timeout",
        "a request body has a limit: --limit-request-body 1g",
        "a request target with octets that are no ASCII is refused: 400",
    ),
    "uwsgi": (
        "HTTP is all that is spoken, to clients and to proxies alike",
        "idle connections are kept for 75 s where --keep-alive says nothing else",
        "signals are gunicorn's: HUP reloads, TERM stops in order, INT and QUIT at once",
    ),
    "waitress": ("a slow client does not hold a thread on the way in or out, as there",),
    "granian": ("a slow client does not hold a thread; HTTP/2 is the proxy's business",),
    "uvicorn": ("WSGI only: an ASGI application needs an ASGI server",),
}

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.ASCII | re.DOTALL)


class NotAServer(Exception):
    """None of the words is the name of a server that is known here."""


def plan_of(words: Sequence[str]) -> Plan:
    """From the words of a command line, or one word that is all of it, or a file.  Raises NotAServer, ConfigError and
    OSError."""
    if len(words) == 1 and re.search(r"\s", words[0]):
        words = shlex.split(words[0])
    if len(words) == 1 and words[0].endswith(".ini"):
        return plan_for_uwsgi(words)
    if len(words) in (1, 2) and (words[0].endswith(".py") or words[0].startswith("python:")):
        return plan_for_gunicorn_file(*words)
    environment: dict[str, str] = {}
    for place, word in enumerate(words):
        server = SERVERS.get(Path(word).name)
        if server is not None:
            rest = words[place + 1 :]
            plan = plan_for_uwsgi(rest) if server == "uwsgi" else plan_for(server, rest, environment)
            plan.environment = environment
            return plan
        if _ASSIGNMENT.fullmatch(word):
            name, _, value = word.partition("=")
            environment[name] = value
    raise NotAServer(f"there is no server that is known here in: {shlex.join(words)}")


def report(plan: Plan) -> str:
    """The command, then what cannot be had, what differs, and what differs whatever was set."""
    lines = [plan.command()]
    if plan.target is None:
        lines += ["", "APPLICATION is missing: name it in its place, as MODULE:ATTR or FILE.py"]
    if plan.read is not None:
        lines += ["", f"{plan.read} has been read for this, and headrace reads it as well; it stays what it is"]
    problems = plan.problems()
    if problems:
        lines += ["", "What it cannot have:", *(f"- {problem}" for problem in problems)]
    notices = plan.notices()
    if notices:
        lines += ["", "What differs:", *(f"- {notice.text}" for notice in notices if not notice.hint)]
        for notice in notices:
            lines += [f"- {notice.text}", f"  hint: {notice.hint}"] if notice.hint else []
    lines += ["", f"Other than {plan.server}, always:", *(f"- {line}" for line in IN_GENERAL[plan.server])]
    return "\n".join(lines) + "\n"


def run(words: tuple[str, ...]) -> None:
    """Print the plan for these words.  Raises click's Exit with the code of what could not be had."""
    try:
        plan = plan_of(words)
    except (NotAServer, ValueError, click.UsageError) as error:
        message = text_of_error(error) if isinstance(error, ConfigError) else str(error)
        click.echo(f"error: {message}", err=True)
        click.echo(f"hint: known are {', '.join(SERVERS)}, a gunicorn.conf.py and a uwsgi.ini", err=True)
        raise click.exceptions.Exit(EXIT_USAGE) from None
    except OSError as error:
        click.echo(f"error: {error.filename}: {os.strerror(error.errno or 0).lower()}", err=True)
        raise click.exceptions.Exit(EXIT_USAGE) from None
    click.echo(report(plan), nl=False)
    if plan.problems():
        raise click.exceptions.Exit(EXIT_NOT_ALL)


main = click.Command(
    "migrate",
    callback=run,
    params=[click.Argument(["words"], metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)],
    help=HELP,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "max_content_width": 110,
    },
)
