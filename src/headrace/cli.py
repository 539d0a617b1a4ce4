"""The command `headrace`: options from the table of settings, one application, exit codes that mean something."""

from __future__ import annotations

import gc
import os
import platform
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from headrace import __version__
from headrace.config import SETTINGS, Config, ConfigError, Setting
from headrace.config.config import from_text
from headrace.config.settings import GROUPS
from headrace.observe.log_setup import logger, set_up_logging
from headrace.process.application import ApplicationError, load_application
from headrace.process.listeners import ListenError, close_listeners, open_listeners

EXIT_RUNTIME = 1
EXIT_USAGE = 2
EXIT_APPLICATION = 3

HELP = """Serve a WSGI application over HTTP/1.1.

\b
APPLICATION is one of
  shop.wsgi               a module; its attribute "application", or else "app"
  shop.wsgi:site          an attribute of a module
  shop:create_app("dev")  a call that returns the application
  demo.py                 a file, also with :ATTR or :CALL
"""

EPILOG = """\b
Exit codes:
  0  stopped by SIGTERM or SIGINT; what was in flight has been answered
  1  a failure at run time: the address is in use, a log cannot be opened, ...
  2  the command line is wrong
  3  the application could not be loaded
"""


class GroupedCommand(click.Command):
    """Shows the options under the headings of the table, and remembers which spelling of a flag was used."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[__name__] = [arg.partition("=")[0] for arg in args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        general: list[tuple[str, str]] = []
        rows: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is None:
                continue
            setting = SETTINGS.get(parameter.name or "")
            (rows[setting.group] if setting else general).append(record)
        for group in GROUPS:
            with formatter.section(group):
                formatter.write_dl(rows[group])
        with formatter.section("General"):
            formatter.write_dl(general)


def make_option(setting: Setting) -> click.Option:
    """Values stay text here: the table checks them, all at once, in Config."""
    names = [*setting.flags, setting.name]
    if setting.kind == "switch":
        return click.Option(names, is_flag=True, default=False, help=setting.help)
    default = " ".join(setting.default) if setting.kind == "texts" else setting.default
    metavar = {"texts": "ADDRESS", "choice": "NAME", "seconds": "SECONDS"}.get(setting.kind, "")
    if setting.kind == "integer":
        metavar = "BYTES" if setting.unit == "bytes" else "NUMBER"
    text = setting.help
    if setting.choices:
        text += f" One of {', '.join(setting.choices)}."
    if default is not None:
        text += f"  [default: {size_text(setting, default)}]"
    return click.Option(names, multiple=setting.kind == "texts", metavar=metavar or "PATH", help=text)


def size_text(setting: Setting, value: object) -> str:
    """1073741824 is "1g", as it can be written."""
    if setting.unit == "bytes" and isinstance(value, int):
        for power, letter in ((30, "g"), (20, "m"), (10, "k")):
            if value and value % (1 << power) == 0:
                return f"{value >> power}{letter}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def given_values(options: dict[str, Any]) -> dict[str, object]:
    """What the user has set, as Config wants it."""
    values: dict[str, object] = {}
    for name, option in options.items():
        setting = SETTINGS[name]
        if setting.kind == "switch":
            if option:
                values[name] = not setting.default
        elif setting.kind == "texts":
            if option:
                values[name] = option
        elif option is not None:
            values[name] = from_text(setting, option)
    return values


def spelled_as(words: list[str]) -> dict[str, str]:
    """The flag that was used for each setting; -b8000 counts as -b."""
    spelled = {}
    for setting in SETTINGS.values():
        used = [flag for flag in setting.flags if flag in words]
        spelled[setting.name] = used[0] if used else setting.flags[-1 if len(setting.flags[0]) == 2 else 0]
    return spelled


def fail(exit_code: int, message: str, hint: str = "", details: str = "") -> NoReturn:
    if details:
        click.echo(details, err=True, nl=False)
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    raise click.exceptions.Exit(exit_code)


def run(ctx: click.Context, target: str, **options: Any) -> None:
    try:
        config = Config.from_values(given_values(options), spelled_as(ctx.meta[__name__]))
    except ConfigError as error:
        *first, last = error.problems
        for problem in first:
            click.echo(f"error: {problem}", err=True)
        fail(EXIT_USAGE, last)
    enter_folder(config)
    try:
        set_up_logging(config.error_logfile, config.log_level)
    except OSError as error:
        fail(EXIT_RUNTIME, f"cannot open the error log {config.error_logfile!r}: {reason(error)}")
    try:
        application = load_application(target, config.factory)
    except ApplicationError as error:
        fail(EXIT_APPLICATION, str(error), error.hint, error.details)
    serve(application, config)


def enter_folder(config: Config) -> None:
    """--chdir and --pythonpath; the working directory comes first on the search path, as with `python FILE`."""
    if config.chdir is not None:
        try:
            os.chdir(config.chdir)
        except OSError as error:
            fail(EXIT_USAGE, f"--chdir: cannot change to {config.chdir!r}: {reason(error)}")
    folders = [folder for folder in (config.pythonpath or "").split(",") if folder]
    for folder in map(str, [Path.cwd(), *(Path(folder).absolute() for folder in folders)]):
        if folder not in sys.path[:1]:
            sys.path.insert(0, folder)


def serve(application: Any, config: Config) -> None:
    try:
        # here: --help works without the compiled part
        from headrace.process.worker import Worker, announce, raise_descriptor_limit
    except ImportError as error:
        fail(EXIT_RUNTIME, str(error))
    # What is loaded now lives as long as the process; the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    try:
        listeners = open_listeners(config.bind, config.backlog)
    except ListenError as error:
        fail(EXIT_RUNTIME, str(error), error.hint)
    try:
        raise_descriptor_limit(config.worker_connections)
        worker = Worker(application, listeners, config)
    except OSError as error:
        close_listeners(listeners)
        name = f" {error.filename!r}" if error.filename else ""
        fail(EXIT_RUNTIME, f"cannot start{name}: {reason(error)}")
    try:
        worker.run(when_ready=lambda: announce(listeners))
    except Exception:
        logger.exception("The server has failed")
        raise click.exceptions.Exit(EXIT_RUNTIME) from None


def reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


main = GroupedCommand(
    "headrace",
    callback=click.pass_context(run),
    params=[
        click.Argument(["target"], metavar="APPLICATION"),
        *(make_option(setting) for setting in SETTINGS.values()),
    ],
    help=HELP,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
main = click.version_option(
    __version__, message=f"headrace %(version)s ({platform.python_implementation()} {platform.python_version()})"
)(main)
