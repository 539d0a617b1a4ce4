"""The command `headrace`: options from the table of settings, one application, exit codes that mean something.

What it then does with the configuration is in launch.py."""

from __future__ import annotations

import difflib
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from headrace import __version__
from headrace.config import SETTINGS, Config, ConfigError
from headrace.config.command_line import make_options, sources_of
from headrace.config.resolve import Resolved, Sources
from headrace.config.settings import GROUPS
from headrace.launch import Launch, enter_folder, fail_for
from headrace.process.identity import prepare_title

HELP = """Serve a WSGI application over HTTP/1.1.

\b
APPLICATION is one of
  shop.wsgi               a module; its attribute "application", or else "app"
  shop.wsgi:site          an attribute of a module
  shop:create_app("dev")  a call that returns the application
  demo.py                 a file, also with :ATTR or :CALL

`headrace migrate COMMAND` shows the command for one of another server, `headrace doctor` what this machine and these
options allow.
"""

EPILOG = """\b
Exit codes:
  0  stopped by SIGTERM or SIGINT; what was in flight has been answered, or cut (see the log)
  1  a failure at run time: the address is in use, a log cannot be opened, ...
  2  the command line or the configuration is wrong
  3  the application could not be loaded
"""


class GroupedCommand(click.Command):
    """Shows the options under the headings of the table, and keeps the words as they were written.

    A first word of COMMANDS is not an application; a module of that name can be given as NAME:ATTR."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        if self.name == "headrace" and words[:1] and words[0] in COMMANDS:
            extra["prog_name"] = f"headrace {words[0]}"
            return COMMANDS[words[0]]().main(words[1:], *more, **extra)
        return super().main(words, *more, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[__name__] = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            shown = [one for one in self.get_params(ctx) if isinstance(one, click.Option) and not one.hidden]
            flags = [flag for option in shown for flag in option.opts]
            near = difflib.get_close_matches(error.option_name, flags)
            raise click.NoSuchOption(error.option_name, error.message, near, ctx) from None

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


def migrate() -> click.Command:
    from headrace.migrate.command import main

    return main


def doctor() -> click.Command:
    from headrace.doctor import make_doctor

    return make_doctor(GroupedCommand, make_options(), read_config, __version__)


#: First words that are commands of their own, imported when they are wanted: a server has no memory to spare for them.
COMMANDS = {"migrate": migrate, "doctor": doctor}


def sources_at_start(ctx: click.Context, options: dict[str, Any]) -> Sources:
    return sources_of(main, options, ctx.meta[__name__], os.environ, Path.cwd())


def resolve(sources: Sources) -> tuple[Resolved, Config]:
    """Raises ConfigError."""
    resolved = sources.read()
    for notice in resolved.notices:
        click.echo(f"warning: {notice.text}", err=True)
        if notice.hint:
            click.echo(f"hint: {notice.hint}", err=True)
    return resolved, resolved.config()


def read_config(ctx: click.Context, options: dict[str, Any]) -> Config:
    """For commands that look at the configuration and serve nothing.  From there on the working directory and sys.path
    are what it says."""
    options = {**options, "print_config": False, "check_config": False}
    try:
        _, config = resolve(sources_at_start(ctx, options))
    except ConfigError as error:
        fail_for(error)
    enter_folder(config)
    return config


def run(ctx: click.Context, target: str | None, print_config: bool, check_config: bool, **options: Any) -> None:
    prepare_title()
    try:
        sources = sources_at_start(ctx, options)
        resolved, config = resolve(sources)
    except ConfigError as error:
        fail_for(error)
    if print_config:
        from headrace.config.reference import print_config as config_text

        click.echo(config_text(resolved, config), nl=False)
        return
    target = target or config.wsgi_app
    if target is None:
        raise click.MissingParameter(ctx=ctx, param=ctx.command.params[0])
    launch = Launch(target, sources, resolved, config)
    if check_config:
        launch.check()
    else:
        launch.run()


main = GroupedCommand(
    "headrace",
    callback=click.pass_context(run),
    params=[
        click.Argument(["target"], metavar="APPLICATION", required=False),
        *make_options(),
    ],
    help=HELP,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
main = click.version_option(
    __version__, message=f"headrace %(version)s ({platform.python_implementation()} {platform.python_version()})"
)(main)
