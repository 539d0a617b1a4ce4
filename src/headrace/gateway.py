"""The gateway of the introductions to WSGI, complete: any application as a CGI program (PEP 3333, RFC 3875).

A web server starts the program for each request.  The request is in the environment and on standard input; the response
goes to standard output, and everything else to standard error, which web servers keep in their error log.

    from headrace.gateway import run_with_cgi

    if __name__ == "__main__":
        run_with_cgi(application)

Nothing compiled is imported, and little else: the program starts anew for each request.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any
from wsgiref.util import guess_scheme, is_hop_by_hop

from headrace.errors import REFUSALS, ClientDisconnected
from headrace.wsgi import Application, FileWrapper, block_count, close, iterate

__all__ = ["run_with_cgi"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType]

#: Never empty for the application (PEP 3333, "environ Variables"), whatever the web server sets: nginx, for example,
#: leaves SERVER_NAME empty without a `server_name`, and SERVER_PORT for a UNIX socket.
NEVER_EMPTY = {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.0"}

#: Fields that are not handed on: two have variables of their own, without HTTP_ (RFC 3875 §4.1.18); the body comes
#: without its transfer coding; and HTTP_PROXY is what many HTTP clients take for their configuration (httpoxy).
LEFT_OUT = ("HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_PROXY")

STATUS = re.compile(r"[2-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*")  # RFC 9112 §4
FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.1
FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 §5.5
LENGTH = re.compile(r"[0-9]{1,18}")  # RFC 9110 §8.6


def run_with_cgi(application: Application) -> None:
    """Answer the one request of this process.

    Returns when the response has been written, or when the client has gone.  A CONTENT_LENGTH that is no number is
    answered with 400, and the application is not called.

    Raises SystemExit with status 1 when the application has failed, or has broken a rule of PEP 3333 (a block of str,
    more or less than its Content-Length): the traceback is on standard error, and the client has got a 500 response
    if nothing had been sent before.  Raises RuntimeError when the process was not started by a web server.
    """
    with standard_output() as output:
        response = Response(output, to_head=os.environ.get("REQUEST_METHOD") == "HEAD")
        try:
            environ = environ_of_request()
        except BadLength as mistake:
            print(mistake, file=sys.stderr)
            with contextlib.suppress(ClientDisconnected):
                response.refuse()
            return
        try:
            run(application, environ, response)
        except ClientDisconnected:
            return
        except BaseException:
            traceback.print_exc()  # first: a web server may end this process as soon as it has the response
            with contextlib.suppress(ClientDisconnected):
                response.fail()
            raise SystemExit(1) from None


def run(application: Application, environ: dict[str, Any], response: Response) -> None:
    """PEP 3333, "The Server/Gateway Side": call, iterate, close, whatever happens."""
    result = application(environ, response.start_response)
    try:
        response.has_one_block = block_count(result) == 1
        for block in iterate(result):
            response.write(block)
            if response.is_satisfied:
                break
        response.finish()
    finally:
        close(result)


# -- the request ------------------------------------------------------------------------------------------------------


class BadLength(ValueError):
    """CONTENT_LENGTH is no number of octets.  str: which, for the log."""


def environ_of_request() -> dict[str, Any]:
    """The environment of the process, and the variables of PEP 3333, "environ Variables".

    Raises BadLength; RuntimeError when the process was not started by a web server.
    """
    if not os.environ.get("REQUEST_METHOD"):
        raise RuntimeError(
            "REQUEST_METHOD is not in the environment (RFC 3875 §4.1.12): a web server starts this program, as CGI\n"
            "hint: for a try without one, REQUEST_METHOD=GET PATH_INFO=/ python program.py"
        )
    environ: dict[str, Any] = {native(name): native(value) for name, value in os.environ.items()}
    for name in LEFT_OUT:
        environ.pop(name, None)
    for name in ("CONTENT_LENGTH", "CONTENT_TYPE"):
        if environ.get(name) == "":
            del environ[name]  # may be empty or absent; int(environ.get("CONTENT_LENGTH", 0)) wants it absent
    for name in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"):
        environ.setdefault(name, "")
    if environ["SCRIPT_NAME"] + environ["PATH_INFO"] == "":
        environ["PATH_INFO"] = "/"  # a URL's path has at least that
    environ["wsgi.version"] = (1, 0)
    environ["wsgi.url_scheme"] = guess_scheme(environ)
    if environ["wsgi.url_scheme"] == "https":
        environ["SERVER_PORT"] = environ.get("SERVER_PORT") or "443"
    for name, value in NEVER_EMPTY.items():
        environ[name] = environ.get(name) or value
    try:
        length_bytes = content_length(environ.get("CONTENT_LENGTH", "0"))
    except ValueError as mistake:
        raise BadLength(str(mistake)) from None
    environ["wsgi.input"] = io.BufferedReader(RequestBody(length_bytes))
    environ["wsgi.input_terminated"] = True
    environ["wsgi.errors"] = sys.stderr
    environ["wsgi.multithread"] = False
    environ["wsgi.multiprocess"] = True  # the web server may start us once more for the next request
    environ["wsgi.run_once"] = True
    environ["wsgi.file_wrapper"] = FileWrapper
    return environ


def native(text: str) -> str:
    """Each octet as one character (PEP 3333, "Unicode Issues"); Python has decoded the environment by its locale."""
    return os.fsencode(text).decode("latin-1")


def content_length(text: str) -> int:
    """Octets.  Raises ValueError for anything but decimal digits."""
    if not LENGTH.fullmatch(text):
        raise ValueError(f"Content-Length must be a decimal number, not {text!r:.80} (RFC 9110 §8.6)")
    return int(text)


class RequestBody(io.RawIOBase):
    """Standard input, which a program must not read beyond CONTENT_LENGTH (RFC 3875 §4.2): reading ends there.

    Raises ClientDisconnected when it ends before, so that a part of a body never passes for the whole.
    """

    def __init__(self, length_bytes: int) -> None:
        self.left_bytes = length_bytes

    def readable(self) -> bool:
        """It is (io.RawIOBase)."""
        return True

    def readinto(self, buffer: Any) -> int:
        """One read(2) into the buffer: octets, 0 at the end.  Raises ClientDisconnected."""
        if self.left_bytes == 0:
            return 0
        count = os.readv(0, [memoryview(buffer)[: self.left_bytes]])
        if count == 0:
            raise ClientDisconnected(f"the request body has ended {self.left_bytes} bytes before its Content-Length")
        self.left_bytes -= count
        return count


# -- the response -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def standard_output() -> Iterator[int]:
    """A descriptor for the response alone.

    Meanwhile standard output is standard error: nothing that the application or a library prints gets into the
    response, and a child process that lives on does not hold it open.
    """
    sys.stdout.flush()
    descriptor = os.dup(1)
    try:
        os.dup2(2, 1)
        yield descriptor
    finally:
        sys.stdout.flush()
        os.dup2(descriptor, 1)
        os.close(descriptor)


class Response:
    """start_response, write() and what a server adds.  The head leaves with the first block that is not empty."""

    def __init__(self, output: int, to_head: bool) -> None:
        self.output = output
        self.to_head = to_head
        self.has_one_block = False
        #: Status line and fields, without the empty line; None before start_response.
        self.head: bytes | None = None
        self.head_is_sent = False
        self.may_have_length = True
        self.has_content = True
        self.length_bytes: int | None = None
        self.sent_bytes = 0
        #: There is no use for further blocks: a response without content must not iterate for ever.
        self.is_satisfied = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable"."""
        if exc_info is not None:
            try:
                if self.head_is_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the traceback
        elif self.head is not None:
            raise AssertionError("start_response was called a second time without exc_info (PEP 3333)")
        check(status, headers)
        self.may_have_length = status[:3] not in ("204", "205", "304")
        self.has_content = self.may_have_length and not self.to_head
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        if len(lengths) > 1:
            raise ValueError("start_response: Content-Length is given twice (RFC 9110 §8.6)")
        self.length_bytes = content_length(lengths[0]) if lengths else None
        if lengths and status[:3] in ("204", "205"):  # RFC 9110 §8.6, §15.3.6
            headers = [field for field in headers if field[0].lower() != "content-length"]
        lines = [f"Status: {status}", *(f"{name}: {value}" for name, value in headers)]  # RFC 3875 §6.3.3
        self.head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        return self.write

    def write(self, block: bytes) -> None:
        """Send a block, and do not return before it has been sent (PEP 3333, "Buffering and Streaming")."""
        if not isinstance(block, bytes):
            raise TypeError(f"the application's blocks must be bytes, not {type(block).__name__}: {block!r:.80}")
        if self.head is None:
            raise AssertionError("the application sent a body before it called start_response (PEP 3333)")
        if not block:
            return
        self.send_head(len(block) if self.has_one_block else None)
        if not self.has_content:
            self.is_satisfied = True
            return
        left_bytes = len(block) if self.length_bytes is None else self.length_bytes - self.sent_bytes
        self.sent_bytes += min(len(block), left_bytes)
        self.send(block[:left_bytes])
        if len(block) > left_bytes:
            raise ValueError(f"the application sent more than its Content-Length of {self.length_bytes} bytes")

    def finish(self) -> None:
        """The application has no more blocks."""
        if self.head is None:
            raise AssertionError("the application returned without calling start_response (PEP 3333)")
        self.send_head(None if self.to_head else 0)
        if self.has_content and self.length_bytes is not None and self.sent_bytes < self.length_bytes:
            raise ValueError(
                f"the application sent {self.sent_bytes} of the {self.length_bytes} bytes of its Content-Length"
            )

    def send_head(self, length_bytes: int | None) -> None:
        """Once.  length_bytes: of the whole content, where it is known and the application has not said it."""
        if self.head is None or self.head_is_sent:
            return
        self.head_is_sent = True
        if length_bytes is not None and self.length_bytes is None and self.may_have_length:
            self.length_bytes = length_bytes
            self.head += b"Content-Length: %d\r\n" % length_bytes
        self.send(self.head + b"\r\n")

    def fail(self) -> None:
        """Say that there will be no answer, if nothing has been said yet."""
        if not self.head_is_sent:
            self.has_one_block = True
            self.start_response("500 Internal Server Error", [("Content-Type", "text/plain")], sys.exc_info())  # type: ignore[arg-type]
            self.write(b"Internal Server Error: the application could not answer this request\n")

    def refuse(self) -> None:
        """Say what is wrong with the request's length; nothing has been said yet."""
        refusal = REFUSALS["REQUEST_CONTENT_LENGTH_INVALID"]
        self.has_one_block = True
        self.start_response(f"{refusal.status} {refusal.reason}", [("Content-Type", "text/plain; charset=utf-8")])
        self.write(refusal.body())

    def send(self, octets: bytes) -> None:
        """All of them.  Raises ClientDisconnected when the web server has stopped reading."""
        left = memoryview(octets)
        try:
            while left:
                left = left[os.write(self.output, left) :]
        except BrokenPipeError:
            raise ClientDisconnected("the client has gone") from None


def check(status: str, headers: list[tuple[str, str]]) -> None:
    """Raises TypeError or ValueError, with the value, for what PEP 3333 or HTTP do not allow in a response's head."""
    if not isinstance(status, str):
        raise TypeError(f"start_response: the status must be a str, not {type(status).__name__}: {status!r:.80}")
    if not STATUS.fullmatch(status):
        raise ValueError(f"start_response: the status must be like '200 OK', not {status!r:.80} (RFC 9112 §4)")
    if not isinstance(headers, list):
        raise TypeError(f"start_response: the headers must be a list, not {type(headers).__name__}: {headers!r:.80}")
    for field in headers:
        check_field(field)


def check_field(field: tuple[str, str]) -> None:
    """Raises TypeError or ValueError, with the value."""
    if not isinstance(field, tuple) or len(field) != 2 or not all(isinstance(part, str) for part in field):
        raise TypeError(f"start_response: each header must be a tuple (name, value) of str, not {field!r:.80}")
    name, value = field
    if not FIELD_NAME.fullmatch(name):
        raise ValueError(f"start_response: the header name {name!r:.80} is not a token (RFC 9110 §5.1)")
    if not FIELD_VALUE.fullmatch(value):
        raise ValueError(
            f"start_response: the value of header {name!r:.80} must be latin-1 without control characters, "
            f"not {value!r:.80} (RFC 9110 §5.5)"
        )
    if is_hop_by_hop(name):
        raise ValueError(f"start_response: {name!r} is a hop-by-hop field, which only the server may set (PEP 3333)")
    if name.lower() == "status":
        raise ValueError("start_response: Status is not a header here; it is the status line of CGI (RFC 3875 §6.3.3)")
