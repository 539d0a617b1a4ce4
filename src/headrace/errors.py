"""What goes wrong, and what is said about it.

The exceptions that cross the border between the engine and Python, and the one table that turns a refused request
into a status, a reason and the rule that it broke.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from headrace.config import Config


class HeadraceError(Exception):
    """Base of the exceptions that are Headrace's own."""


class RequestOver(HeadraceError, RuntimeError):
    """Something was done with a response that is complete, or that is not this process's to send."""


class ClientDisconnected(HeadraceError, ConnectionError):
    """The client went away before the response was complete, or before the body had come.

    Raised out of ``write()`` and out of ``wsgi.input``; an application need not catch it.
    """


class RequestTimeout(BaseException):
    """A request has taken longer than ``timeout``: raised by the server at whatever line the application was running.

    No Exception, as asyncio.CancelledError is none: ``except Exception`` around a retry, or a framework's own error
    page, must not make a request out of it that goes on.  ``finally`` and ``with`` run as ever.  It may come between
    any two lines, so what several requests share can be left half changed; that is why a supervised worker is replaced
    afterwards.
    """

    def __str__(self) -> str:
        return super().__str__() or "the request has taken longer than --timeout allows"


class Refusal(NamedTuple):
    """The answer to a request that never reaches the application.

    ``status`` and ``reason`` are sent; ``section`` is where the rule stands; ``explanation`` is the body, one
    sentence without anything that the client sent.  ``limits`` are the settings one of which was met; they are for
    the log: clients need not learn them.  ``fields`` are further field lines.
    """

    status: int
    reason: str
    section: str
    explanation: str
    limits: tuple[str, ...] = ()
    fields: str = ""

    def body(self) -> bytes:
        return f"{self.reason}: {self.explanation}\n".encode()

    def response(self, server_lines: bytes, to_head: bool) -> bytes:
        """A complete response; server_lines are the Date and Server field lines, to_head leaves out the content."""
        body = self.body()
        head = (
            f"HTTP/1.1 {self.status} {self.reason}\r\n".encode()
            + server_lines
            + f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n{self.fields}".encode()
            + b"Connection: close\r\n\r\n"
        )
        return head if to_head else head + body

    def log_text(self, config: Config) -> str:
        """For the operator: the rule, and the limits as they are set."""
        limits = "; ".join(config.said(name) for name in self.limits)
        return f"{self.status} {self.explanation} ({self.section}){': ' if limits else ''}{limits}"


#: One entry for each ``enum request_error`` of csrc/request_head.h, in its order (a test compares the names).
REFUSALS: dict[str, Refusal] = {
    "REQUEST_OK": Refusal(200, "OK", "", ""),
    # request line
    "REQUEST_LINE_MALFORMED": Refusal(
        400, "Bad Request", "RFC 9112 §3", "malformed request line, or one that does not end in CRLF"
    ),
    "REQUEST_LINE_TOO_LONG": Refusal(
        414, "URI Too Long", "RFC 9112 §3", "request line too long", ("limit_request_line",)
    ),
    "REQUEST_METHOD_INVALID": Refusal(400, "Bad Request", "RFC 9110 §9.1", "the method is not a token"),
    "REQUEST_METHOD_UNSUPPORTED": Refusal(501, "Not Implemented", "RFC 9110 §9.3.6", "CONNECT is not supported"),
    "REQUEST_TARGET_INVALID": Refusal(400, "Bad Request", "RFC 9112 §3.2", "invalid request target"),
    "REQUEST_VERSION_INVALID": Refusal(400, "Bad Request", "RFC 9112 §2.3", "malformed HTTP version"),
    "REQUEST_VERSION_UNSUPPORTED": Refusal(
        505, "HTTP Version Not Supported", "RFC 9110 §15.6.6", "only HTTP/1.0 and HTTP/1.1 are spoken here"
    ),
    # field lines
    "REQUEST_FIELD_NAME_INVALID": Refusal(
        400, "Bad Request", "RFC 9112 §5.1", "invalid field name, or white space before its colon"
    ),
    "REQUEST_FIELD_VALUE_INVALID": Refusal(
        400, "Bad Request", "RFC 9110 §5.5", "invalid octet in a field value, or a field line that does not end in CRLF"
    ),
    "REQUEST_FIELD_FOLDED": Refusal(400, "Bad Request", "RFC 9112 §5.2", "folded field line"),
    "REQUEST_FIELD_TOO_LONG": Refusal(
        431, "Request Header Fields Too Large", "RFC 6585 §5", "a field line is too long", ("limit_request_field_size",)
    ),
    "REQUEST_FIELDS_TOO_MANY": Refusal(
        431, "Request Header Fields Too Large", "RFC 6585 §5", "too many fields", ("limit_request_fields",)
    ),
    "REQUEST_HEAD_TOO_LONG": Refusal(
        431, "Request Header Fields Too Large", "RFC 6585 §5", "request head too long", ("limit_request_head",)
    ),
    # rules across fields
    "REQUEST_HOST_MISSING": Refusal(400, "Bad Request", "RFC 9112 §3.2", "Host is missing"),
    "REQUEST_HOST_REPEATED": Refusal(400, "Bad Request", "RFC 9112 §3.2", "Host is repeated"),
    "REQUEST_HOST_INVALID": Refusal(400, "Bad Request", "RFC 9112 §3.2", "Host is invalid"),
    "REQUEST_CONTENT_TYPE_REPEATED": Refusal(400, "Bad Request", "RFC 9110 §8.3", "Content-Type is repeated"),
    "REQUEST_CONNECTION_INVALID": Refusal(400, "Bad Request", "RFC 9110 §7.6.1", "Connection is not a list of tokens"),
    "REQUEST_EXPECTATION_FAILED": Refusal(
        417, "Expectation Failed", "RFC 9110 §10.1.1", "the only expectation that can be met is 100-continue"
    ),
    "REQUEST_FORWARDED_INVALID": Refusal(
        400, "Bad Request", "RFC 7239 §4", "Forwarded or X-Forwarded-* from a trusted proxy is invalid"
    ),
    # framing
    "REQUEST_CONTENT_LENGTH_INVALID": Refusal(400, "Bad Request", "RFC 9110 §8.6", "invalid Content-Length"),
    "REQUEST_CONTENT_LENGTH_REPEATED": Refusal(400, "Bad Request", "RFC 9112 §6.3", "Content-Length is repeated"),
    "REQUEST_TRANSFER_CODING_INVALID": Refusal(
        400, "Bad Request", "RFC 9112 §6.3", "Transfer-Encoding is invalid, or chunked is not its last coding"
    ),
    "REQUEST_TRANSFER_CODING_UNSUPPORTED": Refusal(
        501, "Not Implemented", "RFC 9112 §6.1", "the only transfer coding that is understood is chunked"
    ),
    "REQUEST_FRAMING_CONFLICT": Refusal(
        400, "Bad Request", "RFC 9112 §6.3", "Transfer-Encoding together with Content-Length"
    ),
    "REQUEST_TRANSFER_CODING_ON_1_0": Refusal(400, "Bad Request", "RFC 9112 §6.1", "Transfer-Encoding on HTTP/1.0"),
    "REQUEST_BODY_TOO_LONG": Refusal(
        413, "Content Too Large", "RFC 9110 §15.5.14", "the body is too long", ("limit_request_body",)
    ),
    # chunks
    "REQUEST_CHUNK_SIZE_INVALID": Refusal(400, "Bad Request", "RFC 9112 §7.1", "invalid chunk size"),
    "REQUEST_CHUNK_EXTENSION_INVALID": Refusal(400, "Bad Request", "RFC 9112 §7.1.1", "invalid chunk extension"),
    "REQUEST_CHUNK_DATA_UNTERMINATED": Refusal(400, "Bad Request", "RFC 9112 §7.1", "chunk data without CRLF"),
    "REQUEST_CHUNK_OVERHEAD_TOO_LONG": Refusal(400, "Bad Request", "RFC 9112 §7.1.1", "too much chunk overhead"),
    "REQUEST_TRAILER_INVALID": Refusal(400, "Bad Request", "RFC 9112 §7.1.2", "invalid trailer section"),
    "REQUEST_TRAILERS_TOO_LONG": Refusal(
        431,
        "Request Header Fields Too Large",
        "RFC 6585 §5",
        "trailer section too long",
        ("limit_request_fields", "limit_request_field_size", "limit_request_head"),
    ),
    # found by the loop
    "REQUEST_READ_IN_TWO_WAYS": Refusal(
        400, "Bad Request", "RFC 9112 §11.2", "another parser does not read this request as this server does"
    ),
    "REQUEST_HEAD_TIMEOUT": Refusal(
        408, "Request Timeout", "RFC 9110 §15.5.9", "the request head took too long", ("head_timeout",)
    ),
    "REQUEST_BODY_TIMEOUT": Refusal(
        408, "Request Timeout", "RFC 9110 §15.5.9", "the request body took too long", ("body_timeout", "body_min_rate")
    ),
    "REQUEST_NO_ROOM_FOR_BODY": Refusal(
        503, "Service Unavailable", "RFC 9110 §15.6.4", "no room for the request body just now", ("total_body_spool",)
    ),
    "REQUEST_QUEUED_TOO_LONG": Refusal(
        503,
        "Service Unavailable",
        "RFC 9110 §15.6.4",
        "the request has waited too long to be answered in time",
        ("queue_deadline",),
        "Retry-After: 1\r\n",
    ),
    "REQUEST_APPLICATION_FAILED": Refusal(
        500, "Internal Server Error", "RFC 9110 §15.6.1", "the application could not answer this request"
    ),
}


_BY_NUMBER = tuple(REFUSALS.values())


def refusal_of(number: int) -> Refusal:
    """The entry for a value of ``enum request_error``."""
    return _BY_NUMBER[number]
