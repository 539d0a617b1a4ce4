"""The open connections of a loop, by descriptor: see connection_table.pxd."""

from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from headrace.engine.channel cimport Channel

cdef int LENGTH_MIN = 64


cdef class ConnectionTable:

    def __dealloc__(self):
        PyMem_Free(self.entries)

    cdef Channel at(self, int fd):
        if fd >= self.length or self.entries[fd] is NULL:
            return None
        return <Channel>self.entries[fd]

    cdef Channel tagged(self, uint64_t tag):
        """None: the connection that this tag was given to has gone; its descriptor may belong to another by now."""
        cdef Channel channel = self.at(<int><uint32_t>tag)
        return channel if channel is not None and channel.tag == tag else None

    cdef bint add(self, Channel channel) noexcept:
        """Gives the connection its tag.  False: no memory."""
        if not self.make_room(channel.fd):
            return False
        self.generation = self.generation + 1 if self.generation < 0xFFFFFFFF else 1
        channel.tag = <uint64_t>self.generation << 32 | <uint32_t>channel.fd
        Py_INCREF(channel)
        self.entries[channel.fd] = <PyObject *>channel
        self.count += 1
        return True

    cdef bint remove(self, Channel channel) noexcept:
        """True: it was here, and the table's reference is the caller's now, to be dropped when he has no lock."""
        if channel.fd < 0 or self.at(channel.fd) is not channel:
            return False
        self.entries[channel.fd] = NULL
        self.count -= 1
        return True

    cdef bint make_room(self, int fd) noexcept:
        cdef int length = max(LENGTH_MIN, self.length)
        cdef PyObject **entries
        if fd < self.length:
            return True
        while length <= fd:
            length *= 2
        entries = <PyObject **>PyMem_Realloc(self.entries, length * sizeof(PyObject *))
        if entries is NULL:
            return False
        memset(entries + self.length, 0, (length - self.length) * sizeof(PyObject *))
        self.entries = entries
        self.length = length
        return True
