"""pre_request and post_request around an application: pure Python, and only where a hook wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from headrace.integrations.gunicorn_objects import GunicornRequest, GunicornResponse
from headrace.wsgi import Application, FileWrapper

Begin = Callable[[GunicornRequest], None]
End = Callable[[GunicornRequest, dict[str, Any], GunicornResponse], None]


def with_request_hooks(application: Application, begin: Begin, end: End) -> Application:
    """The application between the two.  ``begin`` runs before the call, and what it raises is the answer (500); ``end``
    once, when the iterable is closed or the call has failed."""

    def hooked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        req = GunicornRequest(environ)
        resp = GunicornResponse(req)
        begin(req)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
            write = start_response(status, headers) if exc_info is None else start_response(status, headers, exc_info)
            resp.started(status, headers)

            def count(block: bytes) -> Any:
                resp.sent += len(block)
                return write(block)

            return count

        try:
            result = application(environ, start)
        except BaseException:
            end(req, environ, resp)
            raise
        return _closing(result, resp, lambda: end(req, environ, resp))

    return hooked


def _closing(result: Iterable[bytes], resp: GunicornResponse, at_end: Callable[[], None]) -> Iterable[bytes]:
    """The iterable with something to do when it is closed.

    One of wsgi.file_wrapper stays itself, for the kernel sends only such; one that knows how many blocks it has still
    says so, for Content-Length depends on it (PEP 3333, "Handling the Content-Length Header")."""
    if type(result) is FileWrapper:
        close_file = getattr(result, "close", None)

        def close() -> None:
            try:
                if close_file is not None:
                    close_file()
            finally:
                at_end()

        result.close = close
        return result
    return SizedBlocks(result, resp, at_end) if hasattr(result, "__len__") else Blocks(result, resp, at_end)


class Blocks:
    """The application's iterable; close() closes it, and then calls at_end."""

    def __init__(self, result: Iterable[bytes], resp: GunicornResponse, at_end: Callable[[], None]) -> None:
        self._result = result
        self._resp = resp
        self._at_end: Callable[[], None] | None = at_end

    def __iter__(self) -> Iterator[bytes]:
        for block in self._result:
            self._resp.headers_sent = True
            self._resp.sent += len(block)
            yield block

    def close(self) -> None:
        at_end, self._at_end = self._at_end, None
        if at_end is None:
            return
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()
        finally:
            at_end()


class SizedBlocks(Blocks):
    """Of an iterable that knows its length."""

    def __len__(self) -> int:
        return len(self._result)  # type: ignore[arg-type]  # made for such only
