"""The answer of a backend, read as strictly as a gateway must that hands it on (RFC 9112).

http.client takes the end of the connection for the end of a head, and 103 for the answer; it splits a field at a bare
CR, passes over lines that are no fields, and gives chunk sizes to int().  So head and chunks are read here, each octet
checked and everything bounded, and http.client gets a head that leaves it nothing to guess.
"""

from __future__ import annotations

import http.client
import io
import re

#: Of the answer's head and the informational ones before it, and of a trailer section.  Half of what Headrace sends as
#: a head, so that it has room for what is added here and there (nginx 4 or 8 KiB, HAProxy and Node.js 16 KiB).
HEAD_BYTES_MAX = 32 * 1024

#: Of a chunk's size with its extensions, as for requests.
CHUNK_LINE_BYTES_MAX = 4096

#: Of the extensions of all chunks, beyond the octets of the content.
EXTENSION_BYTES_FREE = 64 * 1024

_LINE = rb"[^\x00-\x08\x0a-\x1f\x7f]*"
#: RFC 9112 §4.  The blank before an empty reason is often missing.
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: " + _LINE + rb")?")
#: RFC 9112 §5: no blank before the colon, no folded lines.
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):(" + _LINE + rb")")
#: RFC 9112 §7.1.  The content of extensions is dropped.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})([ \t]*;" + _LINE + rb")?")


class BadAnswer(http.client.HTTPException):
    """The answer is cut short, or breaks RFC 9112.  str: what is wrong, with the octets."""


class StrictResponse(http.client.HTTPResponse):
    """An answer whose head leaves no doubt how long it is (RFC 9112 §6.3), and that can be handed on as it is."""

    def begin(self) -> None:
        """Read the head; informational ones are passed over.

        Raises http.client.RemoteDisconnected when the connection has ended without an octet, and BadAnswer.
        """
        reader = self.fp
        head = read_head(reader)
        self.fp = io.BufferedReader(io.BytesIO(head))
        try:
            super().begin()
        finally:
            self.fp = reader
        lengths, codings = self.msg.get_all("Content-Length", []), self.msg.get_all("Transfer-Encoding", [])
        complaint = self._complaint(lengths, codings)
        if complaint:
            raise BadAnswer(complaint)
        if codings:
            self.chunked = False
            if self.length is None:  # it is 0 for HEAD, 204 and 304: chunked or not, they end here (RFC 9112 §6.3)
                self.fp = ChunkReader(reader)  # type: ignore[assignment]
        if self.status == 204 and (codings or lengths not in ([], ["0"])):
            self.will_close = True  # RFC 9112 §6.1, RFC 9110 §8.6: it has neither, and who knows what comes now

    def _complaint(self, lengths: list[str], codings: list[str]) -> str | None:
        if self.status == 101:
            return "it switched protocols, which nobody asked for"
        if codings and (lengths or self.version < 11):
            return "it has a Transfer-Encoding beside a Content-Length, or on HTTP/1.0"
        if [coding.lower() for coding in codings] not in ([], ["chunked"]):
            return f"its Transfer-Encoding is {', '.join(codings)!r:.60}"
        if len(lengths) > 1 or not all(re.fullmatch("[0-9]{1,18}", length) for length in lengths):
            return f"its Content-Length is {', '.join(lengths)!r:.60}"
        return None


# -- the head ---------------------------------------------------------------------------------------------------------


def read_head(reader: io.BufferedReader) -> bytes:
    """The head of the final answer, checked, with CRLF behind each line and no blanks around the values.

    Raises http.client.RemoteDisconnected when there is no octet, BadAnswer, and OSError of the connection.
    """
    if not reader.peek(1):
        raise http.client.RemoteDisconnected("Remote end closed connection without response")
    lines = LineReader(reader, HEAD_BYTES_MAX, "its head")
    try:
        while True:
            head = checked_head(lines)
            if not head.startswith(b"1", len("HTTP/1.1 ")) or head.startswith(b"101", len("HTTP/1.1 ")):
                return head
    except ConnectionError as failure:  # not the same as a connection that was closed while idle: it had begun
        raise BadAnswer(f"it broke off within its head ({failure})") from failure


def checked_head(lines: LineReader) -> bytes:
    """The next head.  Raises BadAnswer."""
    line = lines.next_line()
    if not _STATUS_LINE.fullmatch(line):
        raise BadAnswer(f"its status line is {line!r:.80}")
    head = [line]
    while line := lines.next_line():
        name, value = checked_field_line(line)
        head.append(name + b": " + value)
    return b"".join(line + b"\r\n" for line in [*head, b""])


def checked_field_line(line: bytes) -> tuple[bytes, bytes]:
    """Name and value.  Raises BadAnswer, also for a CR (RFC 9112 §2.2: it is no line end) and a folded line (§5.2)."""
    match = _FIELD_LINE.fullmatch(line)
    if match is None:
        raise BadAnswer(f"it has a field line {line!r:.80}")
    return match[1], match[2].strip(b" \t")


class LineReader:
    """Lines of an answer, up to a number of octets in all.  what: for messages, where these lines are."""

    def __init__(self, reader: io.BufferedReader, bytes_max: int, what: str) -> None:
        self._reader = reader
        self._bytes_max = bytes_max
        self._left_bytes = bytes_max
        self._what = what

    def next_line(self, *, lone_lf: bool = True) -> bytes:
        """Without its end, which is CRLF; lone_lf: or LF alone (RFC 9112 §2.2).

        Raises BadAnswer when the connection ends before the line does (RFC 9112 §8).
        """
        line = self._reader.readline(self._left_bytes + 1)
        self._left_bytes -= len(line)
        if self._left_bytes < 0:
            raise BadAnswer(f"{self._what} is longer than {self._bytes_max} bytes")
        if not line.endswith(b"\n"):
            raise BadAnswer(f"it ended within {self._what}")
        if line.endswith(b"\r\n"):
            return line[:-2]
        if not lone_lf:
            raise BadAnswer(f"{self._what} has a line that ends without CR: {line!r:.80}")
        return line[:-1]


# -- the chunks -------------------------------------------------------------------------------------------------------


class ChunkReader(io.BufferedIOBase):
    """The content of a chunked answer (RFC 9112 §7.1); trailers are read and dropped.

    Takes the place of the connection's reader in http.client, which then knows nothing of chunks: all that it calls
    is read1(), flush() and close().
    """

    def __init__(self, reader: io.BufferedReader) -> None:
        self._reader = reader
        self._left_bytes = 0  # of this chunk
        self._has_begun = False
        self._has_ended = False
        self._extension_bytes_left = EXTENSION_BYTES_FREE

    def read1(self, size: int = -1, /) -> bytes:
        """Octets of one chunk, at most ``size``; b"" at the end.  Raises BadAnswer."""
        if not self._left_bytes and not self._has_ended:
            self._next_chunk()
        if self._has_ended:
            return b""
        block = self._reader.read1(self._left_bytes if size < 0 else min(size, self._left_bytes))
        if not block and size:
            raise BadAnswer(f"it ended {self._left_bytes} bytes before the end of a chunk")
        self._left_bytes -= len(block)
        return block

    def close(self) -> None:
        """Close the connection's reader."""
        try:
            super().close()
        finally:
            self._reader.close()

    def _next_chunk(self) -> None:
        if self._has_begun:
            self._take_line_end()
        self._has_begun = True
        line = LineReader(self._reader, CHUNK_LINE_BYTES_MAX, "a chunk's size").next_line(lone_lf=False)
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise BadAnswer(f"a chunk's size is {line!r:.80}")
        self._left_bytes = int(match[1], 16)
        self._extension_bytes_left += self._left_bytes - len(match[2] or b"")
        if self._extension_bytes_left < 0:
            raise BadAnswer("it has more octets of chunk extensions than of content")
        if not self._left_bytes:
            self._take_trailers()
            self._has_ended = True

    def _take_line_end(self) -> None:
        found = self._reader.read(2)
        if found != b"\r\n":
            raise BadAnswer(f"behind a chunk there is {found!r}" if len(found) == 2 else "it ended within a chunk")

    def _take_trailers(self) -> None:
        lines = LineReader(self._reader, HEAD_BYTES_MAX, "its trailer section")
        while line := lines.next_line(lone_lf=False):
            checked_field_line(line)
