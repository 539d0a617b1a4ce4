"""The heart: call the application, iterate what it returns, close it (PEP 3333, "The Server/Gateway Side").

Pure Python.  The engine hands in the environ and a Response; everything the application does goes through those two.
Nothing here knows of sockets or of the loop: ``Response.send`` says whether the client keeps up, and when it does not,
the iteration is put down and taken up again by :func:`resume`.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.engine.response import Response

#: A WSGI application: function, class or instance, called with environ and start_response (PEP 3333).
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def run(application: Application, environ: dict[str, Any], response: Response) -> None:
    """Answer one request: the response is complete afterwards, or suspended until the client has read.

    Raises whatever the application raised; its ``close()`` has been called by then.
    """
    result = application(environ, response.start_response)
    if type(result) is list and len(result) == 1:
        # The most frequent answer.  A list has no close(), and nothing can happen between its block and its end.
        response.send_whole(result[0])
    else:
        send_result(response, result)


def send_result(response: Response, result: Iterable[bytes]) -> None:
    """Send an iterable of any kind, and close it whatever happens."""
    try:
        if type(result) is FileWrapper and queue_file(response, result):
            blocks: Iterator[bytes] = iter((b"",))  # what is left is to wait until the file has left
        else:
            if block_count(result) == 1:
                response.expect_one_block()
            blocks = iterate(result)
    except BaseException:
        close(result)
        raise
    send_blocks(response, result, blocks)


def send_blocks(response: Response, result: Iterable[bytes], blocks: Iterator[bytes]) -> None:
    """Each block leaves before the next is asked for (PEP 3333, "Buffering and Streaming").

    When the socket is full, the iteration is suspended: ``next()`` is never called while earlier octets are unsent.
    """
    try:
        for block in blocks:
            if response.send(block):
                continue
            if response.satisfied:
                break
            response.suspend(result, blocks)
            return
        response.finish()
    except BaseException:
        close(result)
        raise
    close(result)


def resume(response: Response) -> None:
    """Take up a suspended iteration, now that the client has read all that was sent."""
    result, blocks = response.take_suspended()
    send_blocks(response, result, blocks)


def abandon(response: Response) -> None:
    """The client has gone: close what it was being sent."""
    result, _ = response.take_suspended()
    close(result)


def close(result: Iterable[bytes]) -> None:
    """PEP 3333, "Specification Details": close() must be called, if there is one, however the request ended."""
    close_method = getattr(result, "close", None)
    if close_method is not None:
        close_method()


def iterate(result: Iterable[bytes]) -> Iterator[bytes]:
    """iter(result), with the usual mistakes explained (PEP 3333, "Specification Details")."""
    if isinstance(result, (bytes, str)):
        raise TypeError(f"the application returned {result!r:.60}; it must return an iterable of bytes, such as [body]")
    try:
        return iter(result)
    except TypeError:
        if hasattr(type(result), "__iter__"):
            raise
        raise TypeError(
            f"the application returned {result!r:.60}; it must return an iterable of bytes (PEP 3333)"
        ) from None


def block_count(result: Iterable[bytes]) -> int | None:
    """How many blocks there will be, where the iterable knows (PEP 3333, "Handling the Content-Length Header")."""
    try:
        return len(result)  # type: ignore[arg-type]
    except (TypeError, AttributeError, NotImplementedError):
        return None


class FileWrapper:
    """``wsgi.file_wrapper``: a file-like object as an iterable of blocks (PEP 3333, "Optional Platform-Specific
    File Handling").

    filelike: has ``read(size) -> bytes`` and perhaps ``close()``.  block_size_bytes: how much is read at a time where
    the file cannot be sent by the kernel.
    """

    def __init__(self, filelike: Any, block_size_bytes: int = 65536) -> None:
        self.filelike = filelike
        self.block_size_bytes = block_size_bytes
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.block_size_bytes)
        if not block:
            raise StopIteration
        return block


def queue_file(response: Response, wrapper: FileWrapper) -> bool:
    """Have the kernel send a wrapped file, from its present position; False when it is not a file of that kind."""
    file_range = regular_file_range(wrapper.filelike)
    return file_range is not None and response.queue_file(*file_range)


def regular_file_range(filelike: Any) -> tuple[int, int, int] | None:
    """Descriptor, offset and length in octets of what is left to read, if reading and the descriptor say the same.

    Only the standard library's own binary files are trusted to do so: a gzip file has a ``fileno()`` as well.
    """
    file = what_is_read(filelike)
    raw = getattr(file, "raw", file)
    if type(file) not in (io.BufferedReader, io.BufferedRandom, io.FileIO) or type(raw) is not io.FileIO:
        return None
    try:
        descriptor, offset = file.fileno(), file.tell()
        status = os.fstat(descriptor)
    except (OSError, ValueError):
        return None
    # What the kernel makes up while it is read has a size that means nothing: 0 in /proc, a page in /sys (mtu: 4096).
    # It occupies no block, though.  Nor do files that are one hole, or so small that they lie in the inode: those are
    # read as well, which costs time, and a size that is believed wrongly costs the connection.
    if not stat.S_ISREG(status.st_mode) or status.st_blocks == 0 or not 0 <= offset < status.st_size:
        return None
    return descriptor, offset, status.st_size - offset


def what_is_read(filelike: Any) -> Any:
    """The file that ``read()`` reads, of something in front of one: tempfile's wrapper, or Django's File, whose
    ``read`` is the file's.  Others may give less of it, or something else."""
    file = getattr(filelike, "file", None)
    if file is None:
        return filelike
    read = getattr(filelike, "read", None)
    if read is not None and read == getattr(file, "read", None):
        return file
    from tempfile import _TemporaryFileWrapper  # here: few need it

    return file if type(filelike) is _TemporaryFileWrapper else filelike
