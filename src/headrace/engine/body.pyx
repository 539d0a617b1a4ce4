"""Request bodies: see body.pxd for the fields and body.pyi for the documentation."""

import os
import tempfile

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcpy

from headrace.engine.csrc cimport (
    BUFFER_OK, CHUNK_DONE, CHUNK_ERROR, CHUNK_MORE, REQUEST_BODY_TOO_LONG, REQUEST_NO_ROOM_FOR_BODY, buffer_append,
    buffer_free, chunk_decode, chunk_status, counter_add)
from headrace.engine.debug cimport COUNT_BODY, COUNT_SPOOL, count_object

cdef extern from "<unistd.h>" nogil:
    ssize_t posix_write "write"(int fd, const void *buf, size_t n)
    ssize_t posix_pread "pread"(int fd, void *buf, size_t n, int64_t at)
    int posix_close "close"(int fd)

cdef Py_ssize_t BLOCK_BYTES = 65536  # how much is pulled at once when lines are read

cdef enum:
    # Small chunks of one receive are put together up to here before they are kept: a write(2) for each chunk of 6
    # octets took 90 ms for a megabyte, with the interpreter lock held.  On the stack, for the time of one call.
    GATHERED_BYTES = 16384


cdef class BodyBudget:

    def __init__(self, int64_t memory_bytes_max, int64_t spool_bytes_max):
        self.memory_bytes_max = memory_bytes_max
        self.spool_bytes_max = spool_bytes_max

    cdef bint take_memory(self, int64_t more) noexcept:
        return take(&self.memory_bytes, more, self.memory_bytes_max)

    cdef bint take_spool(self, int64_t more) noexcept:
        return take(&self.spool_bytes, more, self.spool_bytes_max)

    cdef void give_back(self, int64_t memory, int64_t spool) noexcept:
        counter_add(&self.memory_bytes, -memory)
        counter_add(&self.spool_bytes, -spool)


cdef bint take(int64_t *total, int64_t more, int64_t most) noexcept:
    if counter_add(total, more) <= most:
        return True
    counter_add(total, -more)
    return False


cdef class BodySource:

    cdef bytes pull(self, size_t bytes_max):
        return b""

    cdef bint is_complete(self) noexcept:
        return True


def open_spool(folder):
    """A file without a name in `folder` (None: where tempfile puts its files), or anonymous memory; the descriptor.

    Anonymous memory is for read-only systems where nobody has named a folder; it counts against the same total as
    files do.  OSError: no file can be made in the folder that was named, or there is no such memory here.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return os.dup(file.fileno())
    except OSError:
        if folder is not None or not hasattr(os, "memfd_create"):
            raise
        return os.memfd_create("headrace-body", os.MFD_CLOEXEC)


def spool_place(folder):
    """Where open_spool() makes its files, for the log."""
    try:
        return folder or tempfile.gettempdir()
    except OSError:  # there is no such folder
        return "memory"


cdef class Spool(BodySource):

    def __cinit__(self, folder, BodyBudget budget not None):
        self.fd = -1
        self.budget = budget
        self.fd = open_spool(folder)
        count_object(COUNT_SPOOL, 1)

    def __dealloc__(self):
        if self.fd >= 0:
            posix_close(self.fd)
            count_object(COUNT_SPOOL, -1)
        if self.budget is not None:
            self.budget.give_back(0, self.written_bytes)

    cdef bint write(self, const char *at, size_t len) except -1:
        """Append; False when the total for spooled bodies is used up.  OSError, when the disk is full for one."""
        cdef ssize_t n
        if not self.budget.take_spool(<int64_t>len):
            return False
        self.written_bytes += <int64_t>len
        while len > 0:
            n = posix_write(self.fd, at, len)
            if n < 0:
                if errno == EINTR:
                    continue
                raise OSError(errno, os.strerror(errno))
            at += n
            len -= <size_t>n
        return True

    cdef bytes pull(self, size_t bytes_max):
        cdef int64_t left = self.written_bytes - self.read_at
        cdef ssize_t n
        cdef bytes block
        if left == 0:
            return b""
        if <int64_t>bytes_max > left:
            bytes_max = <size_t>left
        block = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>bytes_max)
        n = posix_pread(self.fd, PyBytes_AS_STRING(block), bytes_max, self.read_at)
        while n < 0 and errno == EINTR:
            n = posix_pread(self.fd, PyBytes_AS_STRING(block), bytes_max, self.read_at)
        if n < 0:
            raise OSError(errno, os.strerror(errno))
        if n == 0:
            raise OSError("the temporary file of a request body has become shorter")
        self.read_at += n
        return block if n == <ssize_t>bytes_max else block[:n]


cdef Py_ssize_t size_argument(object size, str name) except? -2:
    """None and negative numbers mean everything, as in io.BufferedIOBase.read."""
    if size is None:
        return -1
    try:
        return size
    except TypeError:
        raise TypeError(f"wsgi.input.{name}: the size must be an int or None, not {size!r}") from None


@cython.freelist(8)
cdef class RequestBody:

    def __cinit__(self):
        self.block = b""
        count_object(COUNT_BODY, 1)

    def __dealloc__(self):
        count_object(COUNT_BODY, -1)
        if self.budget is not None:
            self.budget.give_back(self.leased_bytes, 0)

    cdef void hold(self, bytes block) noexcept:
        self.block = block
        self.at = 0

    cdef bint refill(self) except -1:
        """Get the next block when the present one is used up; False at the end of the body."""
        cdef BodySource source
        cdef bytes block
        while self.at >= PyBytes_GET_SIZE(self.block):
            source = self.source  # held: another thread may close() while this one waits in it
            if source is None:
                return False
            block = source.pull(BLOCK_BYTES)
            if block is None:
                continue
            if self.at < PyBytes_GET_SIZE(self.block):
                block = self.block[self.at:] + block  # which another thread has got meanwhile
            self.hold(block)
            if PyBytes_GET_SIZE(block) == 0:
                self.source = None
                return False
        return True

    cdef bytes take(self, Py_ssize_t size):
        """At most size octets of the present block."""
        cdef Py_ssize_t left = PyBytes_GET_SIZE(self.block) - self.at
        cdef bytes part
        if size >= left:
            size = left
            if self.at == 0:
                part = self.block
                self.hold(b"")
                return part
        part = PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.block) + self.at, size)
        self.at += size
        return part

    def read(self, size=-1, /):
        with cython.critical_section(self):
            return self.read_now(size)

    cdef object read_now(self, object size):
        cdef Py_ssize_t left = size_argument(size, "read")
        cdef list parts
        if self.source is None:
            return self.take(left if left >= 0 else PyBytes_GET_SIZE(self.block))
        parts = []
        while left != 0 and self.refill():
            part = self.take(left if left >= 0 else PyBytes_GET_SIZE(self.block))
            if left > 0:
                left -= PyBytes_GET_SIZE(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readline(self, size=-1, /):
        with cython.critical_section(self):
            return self.readline_now(size)

    cdef object readline_now(self, object size):
        cdef Py_ssize_t left = size_argument(size, "readline")
        cdef list parts = []
        cdef bint found = False
        cdef bytes part
        while left != 0 and not found and self.refill():
            part = self.take_line(left, &found)
            if left > 0:
                left -= PyBytes_GET_SIZE(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    cdef bytes take_line(self, Py_ssize_t size, bint *found):
        """The present block up to and with its first LF, at most size octets; *found tells whether LF is there."""
        cdef const char *start = PyBytes_AS_STRING(self.block) + self.at
        cdef Py_ssize_t left = PyBytes_GET_SIZE(self.block) - self.at
        cdef const char *newline
        if 0 <= size < left:
            left = size
        newline = <const char *>memchr(start, 10, <size_t>left)
        if newline is not NULL:
            found[0] = True
            left = newline - start + 1
        return self.take(left)

    def readlines(self, hint=-1, /):
        with cython.critical_section(self):
            return self.readlines_now(hint)

    cdef object readlines_now(self, object hint):
        cdef Py_ssize_t bytes_wanted = size_argument(hint, "readlines")
        cdef Py_ssize_t got = 0
        cdef list lines = []
        while True:
            line = self.readline_now(-1)
            if not line:
                return lines
            lines.append(line)
            got += len(line)
            if 0 < bytes_wanted <= got:
                return lines

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def close(self):
        """An application may close its input; what was not read is dropped."""
        with cython.critical_section(self):
            self.hold(b"")
            self.source = None


cdef class BodyReceiver:

    def __dealloc__(self):
        buffer_free(&self.memory)
        if self.budget is not None:
            self.budget.give_back(self.leased_bytes, 0)

    cdef body_status feed(self, const char *at, size_t len, size_t *used) except *:
        """Take what belongs to the body from at[0..len)."""
        if self.chunked:
            return self.feed_chunks(at, len, used)
        used[0] = len if <int64_t>len < self.left_bytes else <size_t>self.left_bytes
        self.left_bytes -= <int64_t>used[0]
        if not self.store(at, used[0]):
            return BODY_REFUSED
        return BODY_MORE if self.left_bytes else BODY_COMPLETE

    cdef body_status feed_chunks(self, const char *at, size_t len, size_t *used) except *:
        """Nothing stays gathered when it returns, and all that came before an error has been kept, or refused, first:
        so the verdict is the same however the octets are cut."""
        cdef char gathered[GATHERED_BYTES]
        cdef size_t gathered_len = 0, consumed, data_len
        cdef chunk_status status
        cdef const char *data
        used[0] = 0
        while True:
            consumed = 0
            data_len = 0
            data = NULL
            status = chunk_decode(&self.decoder, at + used[0], len - used[0], self.limits, &consumed, &data, &data_len)
            used[0] += consumed
            if data_len and self.has_room_to_gather(gathered_len + data_len):
                memcpy(gathered + gathered_len, data, data_len)
                gathered_len += data_len
                continue
            if gathered_len and not self.store(gathered, gathered_len):
                return BODY_REFUSED
            gathered_len = 0
            if status == CHUNK_ERROR:
                self.error = self.decoder.error
                return BODY_REFUSED
            if data_len and not self.store(data, data_len):
                return BODY_REFUSED
            if status == CHUNK_DONE:
                return BODY_COMPLETE
            if status == CHUNK_MORE:
                return BODY_MORE

    cdef bint has_room_to_gather(self, size_t len) noexcept:
        """Not beyond the body's limit: what passes that has to be told from what came before it."""
        return len <= GATHERED_BYTES and <int64_t>len <= self.bytes_max - self.got_bytes

    cdef bint store(self, const char *at, size_t len) except -1:
        """Keep decoded octets; False: there is no room for them, and error says which limit was met."""
        self.got_bytes += <int64_t>len
        if self.got_bytes > self.bytes_max:
            self.error = REQUEST_BODY_TOO_LONG
            return False
        if self.spool is None:
            if self.got_bytes <= self.memory_bytes_max and self.budget.take_memory(<int64_t>len):
                self.leased_bytes += <int64_t>len
                if buffer_append(&self.memory, at, len, <size_t>self.memory_bytes_max) == BUFFER_OK:
                    return True
            if not self.start_spool():
                return False
        return self.write_to_spool(at, len)

    cdef bint write_to_spool(self, const char *at, size_t len) except -1:
        try:
            if self.spool.write(at, len):
                return True
        except OSError as error:
            self.failure = error
        self.error = REQUEST_NO_ROOM_FOR_BODY
        return False

    cdef bint start_spool(self) except -1:
        """Move what is in memory to a temporary file."""
        try:
            self.spool = Spool(self.spool_folder, self.budget)
        except OSError as error:
            self.failure = error
            self.error = REQUEST_NO_ROOM_FOR_BODY
            return False
        if self.memory.end and not self.write_to_spool(self.memory.data, self.memory.end):
            return False
        buffer_free(&self.memory)
        self.budget.give_back(self.leased_bytes, 0)
        self.leased_bytes = 0
        return True

    cdef RequestBody finish(self):
        """The whole body, as the application gets it."""
        cdef RequestBody body = RequestBody()
        if self.spool is not None:
            body.source = self.spool
            return body
        if self.memory.end:
            body.hold(PyBytes_FromStringAndSize(self.memory.data, <Py_ssize_t>self.memory.end))
            buffer_free(&self.memory)
        body.budget = self.budget
        body.leased_bytes = self.leased_bytes
        self.leased_bytes = 0
        return body


cdef RequestBody whole_body(const char *at, size_t len, int64_t memory_bytes_max, BodyBudget budget):
    """A body that came in one piece with its head; None: there is no room in memory, and a BodyReceiver sees to it."""
    cdef RequestBody body
    if <int64_t>len > memory_bytes_max or not budget.take_memory(<int64_t>len):
        return None
    body = RequestBody()
    body.budget = budget
    body.leased_bytes = <int64_t>len
    body.hold(PyBytes_FromStringAndSize(at, <Py_ssize_t>len))
    return body
