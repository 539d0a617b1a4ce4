"""From what was written on the command line to a callable: "shop.wsgi:application", "shop:create_app()", "demo.py"."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.errors import HeadraceError
from headrace.wsgi import Application

#: Tried in this order when no attribute is named.
DEFAULT_ATTRIBUTES = ("application", "app")
DEFAULT_FACTORIES = ("create_app", "make_app")


class ApplicationError(HeadraceError):
    """The application cannot be had.  ``hint`` says what to do; ``details`` is the traceback, down from the user's
    first frame, when the user's own code failed; ``exit_code`` is the command's."""

    def __init__(self, message: str, hint: str = "", details: str = "", exit_code: int = 3) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.hint = hint
        self.details = details


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed MODULE[:ATTR] or PATH.py[:ATTR].  ``arguments`` is None when ATTR is not called."""

    text: str
    module: str  # dotted name, or the path of a file
    attribute: str | None
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    @property
    def is_file(self) -> bool:
        return self.module.endswith(".py")


def load_application(text: str, factory: bool = False) -> Application:
    """Import and return the application.  Raises ApplicationError."""
    target = parse_target(text)
    module = _import_file(target) if target.is_file else _import_module(target, target.module)
    found = _find_attribute(module, target, factory)
    arguments = ((), {}) if factory and target.arguments is None else target.arguments
    if arguments is not None:
        found = _call_factory(found, arguments, target)
    _check_callable(found, target, was_called=arguments is not None)
    return found  # type: ignore[no-any-return]  # checked just now


# -- What was written -------------------------------------------------------------------------------------------------


def parse_target(text: str) -> Target:
    """Raises ApplicationError when it is not a target."""
    module, attribute = _split(text)
    if not module:
        raise ApplicationError(f"{text!r} names no module", "write MODULE:ATTR, for example shop.wsgi:application")
    if not module.endswith(".py") and not all(part.isidentifier() for part in module.split(".")):
        hint = f"a file is named with its ending: {module}.py" if "/" in module else "write MODULE:ATTR"
        raise ApplicationError(f"{module!r} is not the name of a module", hint)
    if attribute is None:
        return Target(text, module, None)
    try:
        expression = ast.parse(attribute, mode="eval").body
    except SyntaxError:
        raise _not_an_attribute(attribute) from None
    if isinstance(expression, ast.Call):
        return Target(text, module, _dotted_name(expression.func, attribute), _literal_arguments(expression, attribute))
    return Target(text, module, _dotted_name(expression, attribute))


def _split(text: str) -> tuple[str, str | None]:
    """At the first colon that can end a module's name: file names may hold colons, arguments surely do."""
    at = text.find(".py:")
    at = at + 3 if at >= 0 else (-1 if text.endswith(".py") else text.find(":"))
    return (text, None) if at < 0 else (text[:at], text[at + 1 :])


def _dotted_name(node: ast.expr, attribute: str) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted_name(node.value, attribute)}.{node.attr}"
    raise _not_an_attribute(attribute)


def _literal_arguments(call: ast.Call, attribute: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        positional = tuple(ast.literal_eval(argument) for argument in call.args)
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    except ValueError:
        raise ApplicationError(
            f"the arguments of {attribute!r} are not literals", "only strings, numbers, lists and the like can be given"
        ) from None
    if len(named) != len(call.keywords):  # **kwargs
        raise _not_an_attribute(attribute)
    return positional, named


def _not_an_attribute(attribute: str) -> ApplicationError:
    return ApplicationError(
        f"{attribute!r} is neither the name of an attribute nor a call of one",
        "write MODULE:ATTR or MODULE:FACTORY()",
    )


# -- Importing --------------------------------------------------------------------------------------------------------


def _import_module(target: Target, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if _is_the_one_asked_for(error, name):
            raise _no_such_module(error.name or name) from None
        raise _failed(target, "importing", error) from None
    except (Exception, SystemExit) as error:
        raise _failed(target, "importing", error) from None


def _is_the_one_asked_for(error: ModuleNotFoundError, name: str) -> bool:
    """Is the module that was named missing, or one that it imports?"""
    missing = error.name or ""
    asked = name == missing or name.startswith(missing + ".")
    return asked and not _user_frames(traceback.extract_tb(error.__traceback__))


def _no_such_module(missing: str) -> ApplicationError:
    hint = f"the working directory is {Path.cwd()}; --chdir and --pythonpath name others"
    parent, _, child = missing.rpartition(".")
    if parent and parent in sys.modules:
        folder = getattr(sys.modules[parent], "__path__", None)
        if folder is None:
            hint = f"{parent} is a module and not a package; did you mean {parent}:{child}?"
        else:
            hint = f"looked in the package {parent} ({', '.join(folder)})"
    return ApplicationError(f"there is no module named {missing!r}", hint)


def _import_file(target: Target) -> ModuleType:
    """As `python FILE` would see it, its folder first on the search path; a file in a package by its full name."""
    path = Path(target.module).absolute()
    if not path.is_file():
        reason = "is not a file" if path.exists() else "does not exist"
        raise ApplicationError(f"{target.module} {reason}", f"the working directory is {Path.cwd()}")
    names = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    name = ".".join(names)
    if not all(part.isidentifier() for part in names):
        raise ApplicationError(f"{target.module} cannot be imported: {name!r} is not the name of a module")
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    module = _import_module(target, name)
    if not _is_from(module, path):
        raise ApplicationError(
            f"{target.module} cannot be imported: the name {name!r} belongs to {getattr(module, '__file__', 'Python')}",
            "give the file another name",
        )
    return module


def _is_from(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    try:
        return file is not None and Path(file).samefile(path)
    except OSError:
        return False


# -- Finding and calling ----------------------------------------------------------------------------------------------


def _find_attribute(module: ModuleType, target: Target, factory: bool) -> Any:
    if target.attribute is None:
        defaults = DEFAULT_FACTORIES if factory else DEFAULT_ATTRIBUTES
        for name in defaults:
            if hasattr(module, name):
                return getattr(module, name)
        raise _no_default_attribute(module, target, defaults)
    found: Any = module
    for name in target.attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            near = difflib.get_close_matches(name, dir(found), n=1)
            owner = f"module {module.__name__!r}" if found is module else repr(found)
            raise ApplicationError(
                f"{owner} has no attribute {name!r}", f"did you mean {near[0]!r}?" if near else ""
            ) from None
    return found


def _no_default_attribute(module: ModuleType, target: Target, tried: tuple[str, ...]) -> ApplicationError:
    hint = f"name the attribute: {target.module}:ATTR"
    for name in DEFAULT_FACTORIES:
        if callable(getattr(module, name, None)):
            hint = f"it has a factory: {target.module}:{name}()"
    return ApplicationError(f"module {module.__name__!r} has neither {tried[0]!r} nor {tried[1]!r}", hint)


def _call_factory(found: Any, arguments: tuple[tuple[Any, ...], dict[str, Any]], target: Target) -> Any:
    if not callable(found):
        raise ApplicationError(f"{target.text} is not a factory: {found!r} cannot be called")
    positional, named = arguments
    try:
        return found(*positional, **named)
    except (Exception, SystemExit) as error:
        raise _failed(target, "calling the factory of", error) from None


def _check_callable(found: Any, target: Target, was_called: bool) -> None:
    what = f"what {target.text} returned" if was_called else target.text
    if not callable(found):
        hint = "name one of its attributes" if isinstance(found, ModuleType) else ""
        raise ApplicationError(f"{what} is not callable: {found!r}", hint)
    if inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(getattr(found, "__call__", None)):  # noqa: B004
        raise ApplicationError(f"{what} is an ASGI application", "Headrace serves WSGI; an adapter can be put between")
    if not _takes_two_arguments(found):
        hint = "" if was_called else f"if it is a factory, call it: {target.module}:{target.attribute or '...'}()"
        raise ApplicationError(
            f"{what} does not take the two arguments (environ, start_response) of PEP 3333: {found!r}", hint
        )


def _takes_two_arguments(application: Application) -> bool:
    """A wrapper may declare another signature than it has (functools.wraps), so only its own counts."""
    try:
        inspect.signature(application, follow_wrapped=False).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        return True  # compiled, tells nothing
    return True


# -- When the user's code fails ---------------------------------------------------------------------------------------

_OUR_FOLDER = str(Path(__file__).parent.parent) + os.sep


def _user_frames(stack: traceback.StackSummary) -> list[traceback.FrameSummary]:
    """Without the frames of importlib and our own, in which nobody's mistake is to be found."""
    return [
        frame
        for frame in stack
        if not frame.filename.startswith((_OUR_FOLDER, "<frozen importlib")) and frame.filename != importlib.__file__
    ]


def _failed(target: Target, doing: str, error: BaseException) -> ApplicationError:
    report = traceback.TracebackException.from_exception(error)
    seen: traceback.TracebackException | None = report
    while seen is not None:
        seen.stack = traceback.StackSummary.from_list(_user_frames(seen.stack))
        seen = seen.__cause__ or seen.__context__
    last = "".join(report.format_exception_only()).strip().splitlines()[-1]
    reason = unreadable_python() if isinstance(error, (ImportError, OSError)) else ""
    hint = f"user {os.geteuid()} {reason}" if reason else ""
    return ApplicationError(f"{doing} {target.text} failed: {last}", hint, details="".join(report.format()))


def unreadable_python() -> str:
    """Why nothing can be imported that is not loaded yet, as the part behind a user's name; "" where it can be read.

    Mostly after a change of the user, where Python is in a folder of the one of before."""
    for path in (getattr(os, "__file__", None), sys.prefix):
        if path and not os.access(path, os.R_OK):
            return f"cannot read Python's own files ({path}); let Python and its packages be where it can"
    return ""
