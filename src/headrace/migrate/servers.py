"""Command lines of the servers whose flags our own command line understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from headrace.config.command_line import gunicorn_arguments, layer_of, make_options, size_text
from headrace.config.config import ConfigError
from headrace.config.environment import other_servers_variables
from headrace.config.given import Given, Layer, Notice, merged
from headrace.config.gunicorn_file import read_gunicorn_config
from headrace.config.gunicorn_names import (
    LIFTED_BY_0,
    believe_unix_peers,
    implied_by_gunicorn,
    lift_limits,
    names_layer,
    timeout_without_limit,
)
from headrace.config.settings import SETTINGS
from headrace.migrate.plan import Plan, text_of_error
from headrace.networks import EVERYBODY

GUNICORN_FILE = "gunicorn.conf.py"

_ONE_THREAD = "one request at a time in each worker, as there; leave it out if the application is thread-safe"
_NO_PRELOAD = "each worker imports the application, as there without --preload; leave it out to share memory"

#: Their defaults where ours differ in what an application or its clients would notice.
_IMPLIED: dict[str, dict[str, tuple[object, str]]] = {
    "gunicorn": {
        "workers": (1, "as there, so that a worker that dies is replaced"),
        "threads": (1, _ONE_THREAD),
        "preload": (False, _NO_PRELOAD),
    },
    "waitress": {
        "bind": (("0.0.0.0:8080",), "where waitress listens; here 127.0.0.1:8000 is the default"),
        "threads": (4, "as there; here 8 is the default"),
    },
    "granian": {},
    "uvicorn": {},
}


def plan_for(server: str, words: Sequence[str], environment: Mapping[str, str] | None = None) -> Plan:
    """``words`` are those behind the name of the server; ``environment`` stands in front of it."""
    environment = environment or {}
    options, positional, unknown = _parsed(words)
    layer = layer_of(options, words)
    for flag in unknown:
        layer.notice(flag, "is not known here", "leave it out, or look for it in headrace --help")
    plan = Plan(server, layer, positional[-1] if positional else None, implied=dict(_IMPLIED[server]))
    for word in positional[:-1]:
        layer.notice(repr(word), "is left over", "it may belong to an option that is not known here")
    if server == "gunicorn":
        config = options.get("config")
        _take_gunicorn(plan, config if isinstance(config, str) else None, environment)
    elif server == "waitress":
        _take_every_interface(plan, options)
    elif server in ("granian", "uvicorn"):
        _take_log_config(plan)
        layer.notices += other_servers_variables(environment)
        if not options.get("alias_interface"):
            layer.notice(
                "the interface", "must be WSGI", f"without --interface wsgi {server} may have served something else"
            )
    if server != "gunicorn":
        _tell_of_everybody(plan, layer)
    return plan


def plan_for_gunicorn_file(path: str, target: str | None = None) -> Plan:
    """Of a gunicorn.conf.py alone, or with its application."""
    plan = Plan("gunicorn", target=target)
    _take_gunicorn(plan, path, {})
    return plan


def _parsed(words: Sequence[str]) -> tuple[dict[str, object], list[str], list[str]]:
    """Options, the words without a dash, and the flags that nobody knows."""
    parser = click.Command("migrate", params=[*make_options(), click.Argument(["words"], nargs=-1)])
    rest, unknown = list(words), []
    while True:
        try:
            context = parser.make_context("migrate", list(rest))
        except click.NoSuchOption as error:
            unknown.append(error.option_name)
            rest = [word for word in rest if word.partition("=")[0] != error.option_name]
            if len(rest) + len(unknown) > len(words):  # a bundle of short ones (-abc)
                raise
            continue
        return context.params, list(context.params.pop("words")), unknown


def _take_gunicorn(plan: Plan, named: str | None, environment: Mapping[str, str]) -> None:
    """Files and variables stay what they are: headrace reads them.  What differs in them is told."""
    arguments = environment.get("GUNICORN_CMD_ARGS", "")
    said: list[Layer] = []  # beneath the command line
    config = None
    if arguments.strip():
        parser = click.Command("migrate", params=[*make_options(), click.Argument(["words"], nargs=-1)])
        layer, config = gunicorn_arguments(parser, arguments)
        said.append(layer)
    if (location := named or config or (GUNICORN_FILE if Path(GUNICORN_FILE).is_file() else None)) is not None:
        said.insert(0, _read(plan, location, is_named=named is not None))
    if environment.get("WEB_CONCURRENCY", "").isdigit():
        del plan.implied["workers"]
    if said:
        plan.implied.clear()  # reading them implies these
        threads = plan.layer.implied.get("threads")
        if threads is not None and (threads.value == 1 or "threads" in merged(said).values):
            del plan.layer.implied["threads"]
    else:
        _imply_mode(plan)
    believe_unix_peers(plan.layer)
    lift_limits(plan.layer)
    _take_timeout(plan, merged(said))
    together = merged([*said, plan.layer])
    _tell_of_lifted_limits(plan, together)
    _tell_of_everybody(plan, together)
    for layer in said:
        plan.layer.problems += layer.problems
        plan.layer.notices += layer.notices


def _read(plan: Plan, location: str, is_named: bool) -> Layer:
    try:
        layer = names_layer(read_gunicorn_config(location), location)
    except ConfigError as error:
        return Layer(problems=[text_of_error(error)])
    plan.read = location
    plan.config = location if is_named and location != GUNICORN_FILE else None  # which is found without -c
    target = layer.values.get("wsgi_app")
    if plan.target is None and target is not None:
        plan.target = str(target.value)
    return layer


def _imply_mode(plan: Plan) -> None:
    """gunicorn's umask is 0."""
    binds = plan.layer.values.get("bind")
    if binds is not None and "unix:" in str(binds.value):
        mode = implied_by_gunicorn(plan.layer.values).get("unix_socket_mode")
        if mode is not None:
            plan.implied["unix_socket_mode"] = (mode.value, "as there; 660 and --unix-socket-owner let in fewer")


def _take_timeout(plan: Plan, said: Layer) -> None:
    """gunicorn has 30 s where none is given, for sync workers.  ``said``: by all but the command line."""
    together = merged([said, plan.layer])
    given = together.values.get("timeout")
    found = timeout_without_limit(together)
    if found is not None:
        if plan.layer.values.pop("timeout", None) is None and timeout_without_limit(said) is None:
            plan.layer.values["timeout"] = Given(0.0, "--timeout")  # the file alone would limit requests
        plan.layer.notices.append(found[1])
    elif given is None and timeout_without_limit(merged([Layer(values={"timeout": Given(30, "")}), together])) is None:
        plan.layer.notice("timeout", "is off here, and 30 s there", "--timeout 30 limits each request")


def _tell_of_lifted_limits(plan: Plan, together: Layer) -> None:
    for name in LIFTED_BY_0:
        given = together.values.get(name)
        if given is not None and given.value == SETTINGS[name].most:
            size = size_text(SETTINGS[name], given.value)
            plan.layer.notices.append(Notice(f"{given.spelled}: {size} is the most here; 0 is no limit there"))


def _tell_of_everybody(plan: Plan, together: Layer) -> None:
    """Of --forwarded-allow-ips '*', however it was written."""
    given = together.values.get("forwarded_allow_ips")
    if given is None or not isinstance(given.value, (str, tuple, list)):
        return
    texts = given.value.split(",") if isinstance(given.value, str) else given.value
    if EVERYBODY in [str(text).strip() for text in texts]:
        more = ", REMOTE_ADDR included, which is the peer's there" if plan.server == "gunicorn" else ""
        plan.layer.notices.append(
            Notice(
                f"{given.spelled} '*' believes what any client says of its address, scheme and host{more}",
                "name the proxy's network, unless nobody else can connect",
            )
        )


def _take_log_config(plan: Plan) -> None:
    """Their one option for several notations."""
    given = plan.layer.values.get("log_config")
    if given is None:
        return
    if plan.server == "granian" or str(given.value).endswith(".json"):
        plan.layer.values["log_config_json"] = plan.layer.values.pop("log_config")
    elif str(given.value).endswith((".yaml", ".yml")):
        del plan.layer.values["log_config"]
        plan.layer.notice("--log-config", "in YAML is not read", "write it as JSON, for --log-config-json")


def _take_every_interface(plan: Plan, options: dict[str, object]) -> None:
    """--port without --host means every interface to waitress."""
    given = plan.layer.values.get("bind")
    if given is not None and options.get("alias_port") and not options.get("alias_host"):
        binds = [str(bind) for bind in given.value] if isinstance(given.value, tuple) else []
        every = tuple(bind.replace("127.0.0.1:", "0.0.0.0:") for bind in binds)
        plan.layer.values["bind"] = type(given)(every, given.spelled)
        plan.layer.notice("--port", "alone is every interface with waitress, and so in this --bind; here 127.0.0.1")
