"""The environment as configuration: HEADRACE_NAME for each setting, and the variables that gunicorn's defaults read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from headrace.config.given import Layer, Notice, value_of_text
from headrace.config.gunicorn_names import believe_unix_peers, setting_of_name
from headrace.config.settings import SETTINGS

PREFIX = "HEADRACE_"

#: Variables with another meaning: the file to read (resolve.py), what a build looks at, what an upgrade hands on.
OTHER_VARIABLES = ("CONFIG", "DEBUG", "SANITIZE", "LTO", "COVERAGE", "FDS", "FD_BINDS", "ELDER_FD", "ELDER_PID")

#: Variables of platforms, which gunicorn takes for its defaults as well: name -> setting, and what is made of the text.
PLATFORM_VARIABLES = {
    "PORT": ("bind", "0.0.0.0:{}"),
    "WEB_CONCURRENCY": ("workers", "{}"),
    "FORWARDED_ALLOW_IPS": ("forwarded_allow_ips", "{}"),
}


_OF_A_SERVICE = re.compile(r"(^|_)SERVICE_(HOST|PORT)|(^|_)PORT_[0-9]+_(TCP|UDP)", re.ASCII)


def is_of_a_service(name: str, text: str) -> bool:
    """Has Kubernetes set this variable, for a service of that name?"""
    return bool(_OF_A_SERVICE.search(name)) or "://" in text


def variable_of(name: str) -> str:
    """keep_alive -> HEADRACE_KEEP_ALIVE"""
    return PREFIX + name.upper()


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """HEADRACE_*.  An empty variable counts as not set, since compose files and the like cannot unset one.

    An unknown name is told, unless Kubernetes has set it: for a service called headrace it sets HEADRACE_PORT and more
    in every container."""
    layer = Layer(notices=other_servers_variables(environ))
    for variable, text in environ.items():
        name = variable.removeprefix(PREFIX)
        if name == variable or not text or name in OTHER_VARIABLES:
            continue
        setting = SETTINGS.get(name.lower()) if name.isupper() else None
        if setting is not None:
            layer.give(setting.name, value_of_text(setting, text), variable)
        elif near := difflib.get_close_matches(name.lower(), SETTINGS, n=1, cutoff=0.8):
            layer.notice(variable, "is no setting", f"did you mean {variable_of(near[0])}?")
        elif (named := setting_of_name(name.lower())) is not None:
            layer.notice(variable, "is no setting", f"did you mean {variable_of(named.name)}?")
        elif not is_of_a_service(name, text):
            layer.notice(variable, "is no setting", "see docs/settings.md, or headrace --help")
    return layer


def other_servers_variables(environ: Mapping[str, str]) -> list[Notice]:
    """uvicorn and granian read their options from the environment, too.  One notice for each of the two.

    What Kubernetes sets for a service of that name is not meant."""
    notices = []
    for server in ("uvicorn", "granian"):
        names = sorted(
            name for name, text in environ.items()
            if name.startswith(f"{server.upper()}_") and text and not is_of_a_service(name, text)
        )  # fmt: skip
        if names:
            notices.append(Notice(
                f"{', '.join(names)}: variables of {server} are not read",
                "give the options, or HEADRACE_ and the name of the setting",
            ))
    return notices


def platform_layer(environ: Mapping[str, str]) -> Layer:
    """PORT and the like: beneath everything that was written for a server."""
    layer = Layer()
    for variable, (name, form) in PLATFORM_VARIABLES.items():
        text = environ.get(variable, "")
        if not text or name not in SETTINGS:
            continue
        if name != "forwarded_allow_ips" and not (text.isascii() and text.isdigit()):
            layer.notice(variable, f"is not used: {text!r} is not a number")
            continue
        layer.give(name, value_of_text(SETTINGS[name], form.format(text)), variable)
    believe_unix_peers(layer)
    return layer
