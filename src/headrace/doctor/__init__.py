"""`headrace doctor [APPLICATION]`: what this machine and this configuration allow, as text or JSON.

It starts nothing, listens at nothing and leaves nothing behind; an APPLICATION that is named is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from headrace.config import Config
from headrace.doctor.build import examine_build
from headrace.doctor.configuration import examine_application, examine_configuration
from headrace.doctor.findings import Finding, as_json, as_text, worst_of
from headrace.doctor.machine import examine_machine

HELP = """Say what this machine and this configuration allow: limits, Python, libraries, addresses, contradictions.

\b
Options are those of the server. With an APPLICATION it is looked whether that can be loaded.
Each finding is "ok", a "note", a "warning" or an "error".
"""

EPILOG = """\b
Exit codes:
  0  the server would start; there may be notes and warnings
  1  there are errors
  2  the command line is wrong
"""


def examine(config: Config, target: str | None = None) -> Iterator[Finding]:
    """All findings, by topic.  The working directory and sys.path are as the server would have them."""
    yield from examine_build(config)
    yield from examine_machine(config)
    yield from examine_configuration(config)
    if target is not None:
        yield from examine_application(target, config)


def make_doctor(
    command_class: type[click.Command],
    parameters: Sequence[click.Parameter],
    read_config: Callable[[click.Context, dict[str, Any]], Config],
    version: str,
) -> click.Command:
    """The command, with the server's options.  read_config: from the values of these options to a Config, as the
    server reads them; it ends the command where they are wrong.  version: Headrace's."""

    def run(ctx: click.Context, target: str | None, as_json_text: bool, **options: Any) -> None:
        config = read_config(ctx, options)
        findings = list(examine(config, target))
        click.echo(as_json(findings, version) if as_json_text else as_text(findings), nl=False)
        if worst_of(findings) == "error":
            raise click.exceptions.Exit(1)

    return command_class(
        "doctor",
        callback=click.pass_context(run),
        params=[
            click.Argument(["target"], metavar="[APPLICATION]", required=False),
            click.Option(["--json", "as_json_text"], is_flag=True, help="As JSON, for programs."),
            *parameters,
        ],
        help=HELP,
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
