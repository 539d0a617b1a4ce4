"""Post-processing of responses, with the rules of PEP 3333 and RFC 9110 that such middleware has to keep.

    def select(environ, head):
        return bytes.upper if head.media_type == "text/plain" else None

    application = Filter(application, select)

The order of events.  The application's head is held back until what it returned, its first block or its first write()
shows how long the content is.  Then `select` sees the head once, may change its fields, and says how the content is
transformed; the head is passed on, and behind it each block as it comes.  Content that is not transformed is not
touched: the server gets the application's own iterable, so that wsgi.file_wrapper keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.headers import Headers

from headrace.middleware.grammar import list_members
from headrace.wsgi import close

if TYPE_CHECKING:
    from headrace.wsgi import Application

#: Responses with these statuses have no content (RFC 9110 §15), or only a part of the representation (206).
_UNCHANGED_CODES = frozenset([204, 205, 206, 304])

#: They describe content octet for octet, and are wrong for any other (RFC 9530, RFC 3230, RFC 2616 §14.15).
_DIGESTS = ("Content-Digest", "Repr-Digest", "Digest", "Content-MD5")


class Transform:
    """What happens to the content of one response.  Subclasses keep their state in the object.

    Each method returns bytes to send, b"" for none.  The blocks' borders mean nothing: a word may lie across two.
    """

    def feed(self, block: bytes) -> bytes:
        """The next octets of the content, never none."""
        return block

    def flush(self) -> bytes:
        """Called behind each block of a stream: what was held back and can be sent by now.  Whatever stays behind
        arrives late at a client that waits for it."""
        return b""

    def finish(self) -> bytes:
        """The content is complete."""
        return b""


class _Function(Transform):
    def __init__(self, function: Callable[[bytes], bytes]) -> None:
        self._function = function

    def feed(self, block: bytes) -> bytes:
        return self._function(block)


class ResponseHead:
    """Status and fields of a response, for `select` to look at and to change.

    status: "200 OK".  headers: a wsgiref.headers.Headers.  content_length: octets of the application's content, from
    its Content-Length or because all of it is there; None when nobody knows yet.  is_fixed: the content is beyond
    change already (is sent by the application's own iterable).
    """

    def __init__(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = status
        self.headers = Headers(headers.copy() if type(headers) is list else headers)
        self.content_length = self.declared_length
        self.is_fixed = False

    @property
    def code(self) -> int:
        """200; 0 where the status is none, which the server will say."""
        digits = self.status[:3] if isinstance(self.status, str) else ""
        return int(digits) if digits.isascii() and digits.isdecimal() else 0

    @property
    def declared_length(self) -> int | None:
        """The Content-Length field in octets, or None."""
        value = self.headers.get("Content-Length") or ""
        return int(value) if value.isascii() and value.isdecimal() else None

    @property
    def media_type(self) -> str:
        """ "text/html", in lower case and without parameters; "" if there is none."""
        return (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()

    @property
    def is_encoded(self) -> bool:
        """The content has been through a content coding (RFC 9110 §8.4)."""
        return any(coding not in ("", "identity") for coding in list_members(self.headers.get_all("Content-Encoding")))

    @property
    def forbids_transform(self) -> bool:
        """Cache-Control: no-transform (RFC 9111 §5.2.2.6)."""
        return "no-transform" in list_members(self.headers.get_all("Cache-Control"))

    @property
    def is_transformable(self) -> bool:
        """Whether there is content that a transform would be applied to: not for 204, 205 and 304, parts (206,
        Content-Range), encoded content and Cache-Control: no-transform."""
        return not (
            self.is_fixed
            or self.code < 200
            or self.code in _UNCHANGED_CODES
            or "Content-Range" in self.headers
            or self.is_encoded
            or self.forbids_transform
        )

    def add_vary(self, name: str) -> None:
        """Say that the response depends on this field of the request (RFC 9110 §12.5.5)."""
        values = self.headers.get_all("Vary")
        named = list_members(values)
        if "*" not in named and name.lower() not in named:
            self.headers["Vary"] = ", ".join([*filter(None, values), name])

    def weaken_etag(self) -> None:
        """The same tag would otherwise stand for other octets, too (RFC 9110 §8.8.1)."""
        tag = self.headers.get("ETag")
        if tag is not None and tag.startswith('"'):
            self.headers["ETag"] = f"W/{tag}"


#: What `select` returns: how to transform, or None for not at all.  A function gets each block, and keeps nothing.
Selected = Transform | Callable[[bytes], bytes] | None
Select = Callable[[dict[str, Any], ResponseHead], Selected]


class Filter:
    """A WSGI application that transforms what another one answers.

    - Content-Length is that of the new content where all of it is known before the head leaves (a list or tuple, one
      block of the declared length); else the field is removed, and the server delimits the content in its own way.
    - ETag becomes weak, digests and Accept-Ranges go.
    - Each block is transformed and sent before the application is asked for the next (PEP 3333, "Middleware Handling
      of Block Boundaries"); what comes through write() leaves through write().
    - HEAD gets the head that GET would get, but for the length where the application does not make the content.
    - close() of what the application returned is called once, however the request ends.
    - start_response with exc_info replaces a head as long as no octet has left.
    - Content that is shorter than its Content-Length is an error, so that the server can break off, and the client
      does not take a part for the whole; what is longer is cut off.
    """

    def __init__(self, application: Application, select: Select, *, ranges: bool = False) -> None:
        """select(environ, head) is called for each response, also for those that have nothing to transform
        (`head.is_transformable`): what it returns then is ignored.

        ranges: whether requests for ranges reach the application; its partial answers are not transformed.  By
        default Range is hidden, and everybody gets the whole (RFC 9110 §14.2: a server may ignore it).

        Raises TypeError when one of the two is not callable.
        """
        for value, what in ((application, "a WSGI application"), (select, "select")):
            if not callable(value):
                raise TypeError(f"{what} must be callable; this is {value!r}")
        self._application = application
        self._select = select
        self._ranges = ranges

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = _Response(self._select, environ, start_response, self._ranges)
        if not self._ranges and "HTTP_RANGE" in environ:
            environ = {key: value for key, value in environ.items() if key not in ("HTTP_RANGE", "HTTP_IF_RANGE")}
        result = self._application(environ, response.start_response)
        try:
            return response.begin(result)
        except BaseException:
            close(result)
            raise


class _Response:
    """One response on its way: start_response() and write() of the application, and what becomes of its blocks."""

    def __init__(
        self, select: Select, environ: dict[str, Any], start_response: Callable[..., Any], ranges: bool
    ) -> None:
        self._select = select
        self._environ = environ
        self._outer_start_response = start_response
        self._ranges = ranges
        self._outer_write: Callable[[bytes], object]  # once the head has been passed on
        self._is_head = environ.get("REQUEST_METHOD") == "HEAD"
        self._head: ResponseHead | None = None
        self._is_chosen = False  # `select` has seen the head, which it may do once
        self._passed_on = False  # the head
        self._is_fixed = False  # the server has the application's own iterable
        self._transform: Transform | None = None
        self._left: int | None = None  # octets until the declared length
        self._has_fed = False
        self._is_finished = False

    # -- the application's side --

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., None]:
        try:
            if self._head is not None and exc_info is None:
                raise AssertionError("start_response was called a second time without exc_info (PEP 3333)")
            head = ResponseHead(status, headers)
            if self._passed_on:
                self._replace(head, exc_info)
            self._head, self._is_chosen = head, self._passed_on
        finally:
            exc_info = None  # no circle through the traceback (PEP 3333, "The start_response() Callable")
        return self.write

    def _replace(self, head: ResponseHead, exc_info: Any) -> None:
        """The server takes the new head, or raises exc_info because the first one has left: then an application that
        goes on all the same goes on with what it began."""
        before = self._transform, self._left, self._has_fed, self._is_finished
        try:
            self._is_chosen = False
            self._choose(head)
            self._pass_on(head, None, exc_info)
        except BaseException:
            self._transform, self._left, self._has_fed, self._is_finished = before
            raise
        finally:
            exc_info = None

    def write(self, block: bytes) -> None:
        """PEP 3333, "The write() Callable": what is written leaves before this returns."""
        if self._passed_on and self._left is not None and len(block) > self._left:
            raise ValueError("write() went past the Content-Length (PEP 3333, 'Handling the Content-Length Header')")
        if block and (block := self.give(block)):
            self._outer_write(block)

    # -- the server's side --

    def begin(self, result: Iterable[bytes]) -> Iterable[bytes]:
        """What to return to the server for what the application returned."""
        head = self._head
        if head is None:
            return _Blocks(self, result)  # start_response is called within the iteration
        if not self._passed_on:
            # Nothing can come between the blocks of these two, and they have no close().
            is_whole = type(result) in (list, tuple) and all(type(block) is bytes for block in result)
            body = b"".join(result) if is_whole else b""
            self._choose(head, len(body) if is_whole else None)
            if is_whole and self._transform is not None:
                return [self._give_whole(head, body)]
        if self._transform is not None:
            return _Blocks(self, result)
        self._is_fixed = True
        if not self._passed_on:
            self._pass_on(head)
        return result

    def give(self, block: bytes) -> bytes:
        """What to send for a block; the head is passed on before the first."""
        if self._head is None:
            return block  # the server will say what is missing
        if self._passed_on:
            return self._transformed(block)
        self._choose(self._head)
        block = self._transformed(block)
        self._pass_on(self._head, len(block) if self._is_finished else None)
        return block

    def end(self) -> bytes:
        """What to send behind the last block."""
        if self._head is None:
            return b""
        if not self._passed_on:
            self._choose(self._head, 0)
            return self._give_whole(self._head, b"")
        return b"" if self._transform is None else self._finished(self._transform)

    # -- the transform --

    def _choose(self, head: ResponseHead, size: int | None = None) -> None:
        """Have `select` look at the head.  size: octets of content, where all of it is there."""
        if self._is_chosen:
            return
        self._is_chosen = True
        head.is_fixed = self._is_fixed
        # To HEAD an application need not say anything: no content means nothing then.
        if head.content_length is None and (size or not self._is_head):
            head.content_length = size
        if not self._ranges:
            del head.headers["Accept-Ranges"]
        may_change = head.is_transformable  # before `select` names a coding
        selected = self._select(self._environ, head)
        self._transform, self._left, self._has_fed, self._is_finished = None, None, False, False
        if selected is not None and may_change:
            self._transform = selected if isinstance(selected, Transform) else _Function(selected)
            self._left = head.declared_length
            head.weaken_etag()
            for name in (*_DIGESTS, "Accept-Ranges"):
                del head.headers[name]
        elif head.code == 304:
            self._repeat_etag(head)

    def _repeat_etag(self, head: ResponseHead) -> None:
        """A 304 has the tag of the representation that the client holds (RFC 9110 §15.4.5): the weak one if we gave
        it that.  The application knows the strong one only, and compares weakly (RFC 9110 §13.1.2)."""
        held = [tag.strip() for tag in self._environ.get("HTTP_IF_NONE_MATCH", "").split(",")]
        tag = head.headers.get("ETag")
        if tag not in held and f"W/{tag}" in held:
            head.weaken_etag()

    def _give_whole(self, head: ResponseHead, body: bytes) -> bytes:
        """All of the content at once."""
        if self._transform is None or (self._is_head and not body):
            self._pass_on(head)
            return body
        new = self._fed(self._transform, body) + self._finished(self._transform)
        self._pass_on(head, len(new) if self._is_finished else None)
        return new

    def _transformed(self, block: bytes) -> bytes:
        """One block of a stream."""
        if self._transform is None:
            return block
        if type(block) is not bytes:
            raise TypeError(f"the application sent {block!r:.60}; blocks are bytes (PEP 3333)")
        new = self._fed(self._transform, block)
        if not block or self._is_finished:
            return new
        return new + (self._finished(self._transform) if self._left == 0 else self._transform.flush())

    def _fed(self, transform: Transform, block: bytes) -> bytes:
        """No more than was declared is taken (PEP 3333, "Handling the Content-Length Header")."""
        if self._left is not None:
            block = block[: self._left]
            self._left -= len(block)
        if not block:
            return b""
        self._has_fed = True
        return transform.feed(block)

    def _finished(self, transform: Transform) -> bytes:
        """What comes at the end, which is now."""
        if self._is_finished or (self._is_head and (self._left or not self._has_fed)):
            return b""
        if self._left:
            raise ValueError(
                f"the application sent {self._left} bytes less than its Content-Length "
                "(PEP 3333, 'Handling the Content-Length Header')"
            )
        self._is_finished = True
        return transform.finish()

    def _pass_on(self, head: ResponseHead, content_length: int | None = None, exc_info: Any = None) -> None:
        """content_length: of the transformed content, in octets, if it is known."""
        if self._transform is not None:
            del head.headers["Content-Length"]
            if content_length is not None:
                head.headers["Content-Length"] = str(content_length)
        self._passed_on = True
        try:
            if exc_info is None:
                self._outer_write = self._outer_start_response(head.status, head.headers.items())
            else:
                self._outer_write = self._outer_start_response(head.status, head.headers.items(), exc_info)
        finally:
            exc_info = None


class _Blocks:
    """The iterable that the server gets: one block for each of the application's, and perhaps one more."""

    def __init__(self, response: _Response, result: Iterable[bytes]) -> None:
        self._response = response
        self._result: Iterable[bytes] | None = result
        self._blocks: Iterator[bytes] | None = iter(result)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._blocks is None:
            raise StopIteration
        for block in self._blocks:
            return self._response.give(block)
        self._blocks = None
        if block := self._response.end():
            return block
        raise StopIteration

    def close(self) -> None:
        self._blocks = None
        if self._result is not None:
            result, self._result = self._result, None
            close(result)
