"""Several applications side by side, told apart by path and method."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from headrace.middleware.grammar import is_token
from headrace.middleware.plain_text import answer

if TYPE_CHECKING:
    from headrace.wsgi import Application

Routed = TypeVar("Routed", bound=Callable[..., Any])

#: In the table of a path: the application for whatever method has none of its own.  No method is spelled so.
_ANY = ""

#: RFC 9110 §9.3, RFC 5789.
_KNOWN_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


class Router:
    """A WSGI application that calls the one registered for the request's path.

        router = Router()

        @router("/hello")
        def hello(environ, start_response): ...

        router.mount("/admin", admin_application)

    A registered path is matched exactly, and before any mount; "/" is the empty path, too, which a Router that is
    itself mounted gets.  Of the mounts the one with the longest prefix is called.  Nothing found: 404.

    Paths are those of PATH_INFO: percent-decoded, as UTF-8 (so "/a%2Fb" and "/a/b" are one).  Register before serving;
    any number of threads may serve.
    """

    def __init__(self) -> None:
        self._paths: dict[str, dict[str, Application]] = {}
        self._mounts: dict[str, Application] = {}
        self._longest_first: list[tuple[str, Application]] = []

    # -- registering --

    @overload
    def __call__(self, path: str, /, *, methods: Iterable[str] | None = None) -> Callable[[Routed], Routed]: ...

    @overload
    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any], /) -> Iterable[bytes]: ...

    def __call__(
        self,
        path_or_environ: Any,
        start_response: Callable[..., Any] | None = None,
        /,
        *,
        methods: Iterable[str] | None = None,
    ) -> Any:
        """With a path: a decorator that registers an application and returns it unchanged.  With environ and
        start_response: the same as `route`.

        methods: those that the application is for, such as ["GET", "POST"]; others get 405 unless another application
        is registered for them.  GET serves HEAD as well (RFC 9110 §9.3.2), and OPTIONS is answered with Allow.  Without
        them the application gets every method.  They are compared as they are, for "get" is not "GET" (RFC 9110 §9.1).

        Raises ValueError for a path without a slash in front, or one that is taken for that method, for methods that
        are none (no token, "*", a known one in lower case) or for an empty list; TypeError when what is registered
        cannot be called, or methods is one str.
        """
        if start_response is not None:
            return self.route(path_or_environ, start_response)
        path = _in_path_info(path_or_environ)
        names = [_ANY] if methods is None else _checked_methods(methods)

        def register(application: Routed) -> Routed:
            _check_callable(application)
            table = dict(self._paths.get(path, {}))
            for name in names:
                if name in table:
                    raise ValueError(f"{path_or_environ!r} is taken already{'' if name == _ANY else f' for {name}'}")
                table[name] = application
            self._paths[path] = table
            return application

        return register

    def mount(self, prefix: str, application: Application) -> None:
        """Hand on whatever is at the prefix or below it.  The prefix moves from PATH_INFO to the end of SCRIPT_NAME,
        so that the application sees its own root (PEP 3333, "environ Variables").

        prefix: "/admin", which is not a prefix of "/administration"; "/" takes what nothing else takes.
        Raises ValueError for a prefix without a slash in front, or one that is taken; TypeError when the application
        cannot be called.
        """
        path = _in_path_info(prefix).rstrip("/")
        _check_callable(application)
        if path in self._mounts:
            raise ValueError(f"something is mounted at {prefix!r} already")
        self._mounts[path] = application
        self._longest_first = sorted(self._mounts.items(), key=lambda mount: len(mount[0]), reverse=True)

    # -- serving --

    def route(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI application."""
        path = environ.get("PATH_INFO", "")
        table = self._paths.get(path or "/")
        if table is not None:
            return _serve_method(table, environ, start_response)
        for prefix, application in self._longest_first:
            # Equal, or followed by a slash.
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                if prefix:
                    # A copy: whoever stands in front still reads what was there.
                    environ = {
                        **environ,
                        "SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + prefix,
                        "PATH_INFO": path[len(prefix) :],
                    }
                return application(environ, start_response)
        return answer(environ, start_response, "404 Not Found", f"Not Found: nothing is at {_shown(environ)}")


def _serve_method(
    table: dict[str, Application], environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Call the application for the request's method, or say which methods there are (RFC 9110 §15.5.6, §9.3.7)."""
    method = environ["REQUEST_METHOD"]
    names = [method, "GET", _ANY] if method == "HEAD" else [method, _ANY]
    for name in names:
        if name in table:
            return table[name](environ, start_response)
    allowed = {*table, "OPTIONS"} | ({"HEAD"} if "GET" in table else set())
    allow = ("Allow", ", ".join(sorted(allowed)))
    if method == "OPTIONS":
        start_response("204 No Content", [allow])
        return []
    text = f"Method Not Allowed: {_shown(environ)} takes {allow[1]}, not {method}"
    return answer(environ, start_response, "405 Method Not Allowed", text, [allow])


def _shown(environ: dict[str, Any]) -> str:
    """The path for a message."""
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return repr(path.encode("latin-1", "replace").decode("utf-8", "replace"))


def _in_path_info(path: object) -> str:
    """As PATH_INFO spells it: an octet of UTF-8 in each character (PEP 3333, "Unicode Issues")."""
    if not isinstance(path, str):
        raise TypeError(f"a path is a str such as '/hello'; this is {path!r}")
    if not path.startswith("/"):
        raise ValueError(f"a path begins with a slash; this is {path!r}")
    return path.encode("utf-8").decode("latin-1")


def _checked_methods(methods: Iterable[str]) -> list[str]:
    if isinstance(methods, str):
        raise TypeError(f"methods must be a list of methods, such as [{methods!r}]; this is {methods!r}")
    names = list(methods)
    if not names:
        raise ValueError("methods is an empty list, which leaves none; without methods the application gets every one")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a method is a str such as 'GET'; this is {name!r}")
        if name == "*":
            raise ValueError("'*' is no method; without methods the application gets every one")
        if not is_token(name):
            raise ValueError(f"a method is a token such as 'GET' (RFC 9110 section 9.1); this is {name!r}")
        if name not in _KNOWN_METHODS and name.upper() in _KNOWN_METHODS:
            raise ValueError(f"methods are case-sensitive (RFC 9110 section 9.1): {name!r} is not {name.upper()!r}")
    return names


def _check_callable(application: object) -> None:
    if not callable(application):
        raise TypeError(f"a WSGI application is callable with (environ, start_response); this is {application!r}")
