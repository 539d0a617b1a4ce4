"""The event loop: see loop.pxd for the fields and loop.pyi for the documentation.

A turn: take what is ready from the poller -> serve each ready connection once -> look at the deadlines.
"""

import logging
import signal
import socket
import sys
import threading

from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from headrace import wsgi
from headrace.engine.body cimport BodyBudget
from headrace.engine.channel cimport CLOSED, RECEIVE_BYTES, Channel, LoopBase
from headrace.engine.connection cimport Connection
from headrace.engine.csrc cimport (
    HTTP_DATE_BYTES, POLLER_BEST, POLLER_EPOLL, POLLER_HANGUP, POLLER_KQUEUE, POLLER_POLL, SOCK_AGAIN,
    SOCK_NO_RESOURCES, SOCK_OK, clock_monotonic_ms, clock_unix_s, deadline, deadline_pop_expired, deadline_queue,
    deadline_queue_init, deadline_wait_ms, http_date_write, poller_add_listener, poller_create, poller_destroy, poller_event,
    poller_name, poller_remove, poller_wait, poller_wake, sock_accept, sock_close, sock_peer, sock_status)
from headrace.engine.environ cimport EnvironTemplate, ascii
from headrace.engine.head cimport HeadReader
from headrace.engine.response cimport RESPONSE_ROOM_BYTES
from headrace.engine.sentinel cimport Sentinel

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

log = logging.getLogger("headrace")

cdef uint64_t SIGNAL_TAG = 0xFFFFFFFF
cdef uint64_t ACCEPT_PAUSE_MS = 100   # after EMFILE and the like
cdef uint64_t TRIM_MS = 2000          # idle this long, a connection gives back what only speeds it up
cdef uint64_t NEVER_MS = <uint64_t>-1
cdef uint64_t WAIT_MS_MAX = 60000
cdef int TURNS_LOCKED_MAX = 16        # turns of a busy loop before other threads get the interpreter lock
cdef uint64_t TURN_MS = 1             # never wait less: the coarse clock moves by up to 4 ms

cdef enum:
    ON_ACCEPT
    ON_READY
    ON_DEADLINE
    ON_STOP

POLLER_KINDS = {"auto": POLLER_BEST, "epoll": POLLER_EPOLL, "kqueue": POLLER_KQUEUE, "poll": POLLER_POLL}


cdef uint64_t milliseconds(object seconds) except? 0:
    return <uint64_t>(seconds * 1000)


def base_environ(listener, error_stream, multithread=False, multiprocess=False):
    """What environ says of the server (PEP 3333, "environ Variables"), the same for every request of a listener."""
    name, port = "localhost", "80"  # PEP 3333 wants both, never empty; a UNIX socket has neither
    if listener.family != getattr(socket, "AF_UNIX", None):
        host, number = listener.getsockname()[:2]
        name = socket.gethostname() if host in ("0.0.0.0", "::") else host
        if ":" in name:
            name = f"[{name}]"  # RFC 3875 §4.1.14: as in a URL
        port = str(number)
    return {
        "REQUEST_METHOD": "", "PATH_INFO": "", "QUERY_STRING": "", "RAW_URI": "", "REQUEST_URI": "",
        "SERVER_PROTOCOL": "", "REMOTE_ADDR": "", "REMOTE_PORT": "", "wsgi.input": None, "wsgi.early_hints": None,
        "SCRIPT_NAME": "", "SERVER_NAME": name, "SERVER_PORT": port, "SERVER_SOFTWARE": "headrace",
        "GATEWAY_INTERFACE": "CGI/1.1", "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
        "wsgi.errors": error_stream, "wsgi.multithread": multithread, "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False, "wsgi.file_wrapper": wsgi.FileWrapper, "wsgi.input_terminated": True,
    }


cdef class Loop(LoopBase):

    def __cinit__(self, application, listeners, config, access_log=None, error_stream=None):
        self.poller = poller_create(POLLER_KINDS[config.poller])
        if self.poller is NULL:
            raise OSError(f"the poller {config.poller!r} is not to be had on this system")
        self.edges = poller_name(self.poller) != b"poll"
        self.application = application
        self.run_request = wsgi.run
        self.resume = wsgi.resume
        self.abandon = wsgi.abandon
        self.access_log = access_log
        self.error_stream = sys.stderr if error_stream is None else error_stream
        self.ready = []
        self.ready_next = []
        self.sentinel = Sentinel()
        self.apply_settings(config)
        self.make_deadlines(config)
        self.add_listeners(listeners, config)
        self.tick()

    def __dealloc__(self):
        if self.poller is not NULL:
            poller_destroy(self.poller)
        PyMem_Free(self.connections)
        PyMem_Free(self.receive_scratch)
        PyMem_Free(self.send_scratch)

    cdef int apply_settings(self, config) except -1:
        self.heads = HeadReader(config.limit_request_line, config.limit_request_field_size,
                                config.limit_request_fields, config.limit_request_head)
        self.body_bytes_max = config.limit_request_body
        self.body_memory_bytes_max = config.request_body_memory
        self.body_bytes_per_s_min = config.body_min_rate
        self.answers_bytes_max = config.response_buffer
        self.stream_bodies = config.stream_request_body
        self.keep_alive = config.keep_alive > 0
        self.spool_folder = config.spool_dir
        self.connections_max = config.worker_connections
        self.graceful_ms = milliseconds(config.graceful_timeout)
        self.budget = BodyBudget(config.total_body_memory, config.total_body_spool)
        self.defaults.add_date = config.date_header
        self.defaults.add_server = config.server_header
        self.defaults.write_timeout_ms = <int>milliseconds(config.write_timeout)
        memcpy(self.defaults.date_line, <const char *>b"Date: ", 6)
        memcpy(self.defaults.date_line + 6 + HTTP_DATE_BYTES, <const char *>b"\r\n", 2)
        self.send_scratch_bytes = self.answers_bytes_max + RESPONSE_ROOM_BYTES
        self.receive_scratch = <char *>PyMem_Malloc(RECEIVE_BYTES)
        self.send_scratch = <char *>PyMem_Malloc(self.send_scratch_bytes)
        if self.receive_scratch is NULL or self.send_scratch is NULL:
            raise MemoryError
        return 0

    cdef int make_deadlines(self, config) except -1:
        cdef uint64_t idle_ms = milliseconds(config.keep_alive)
        cdef uint64_t trim_ms = min(TRIM_MS, idle_ms // 2)
        deadline_queue_init(&self.trim_deadlines, trim_ms)
        deadline_queue_init(&self.idle_deadlines, idle_ms - trim_ms)
        deadline_queue_init(&self.head_deadlines, milliseconds(config.head_timeout))
        deadline_queue_init(&self.body_deadlines, milliseconds(config.body_timeout))
        deadline_queue_init(&self.write_deadlines, milliseconds(config.write_timeout))
        deadline_queue_init(&self.linger_deadlines, milliseconds(config.linger_timeout))
        self.queues[0] = &self.trim_deadlines
        self.queues[1] = &self.idle_deadlines
        self.queues[2] = &self.head_deadlines
        self.queues[3] = &self.body_deadlines
        self.queues[4] = &self.write_deadlines
        self.queues[5] = &self.linger_deadlines
        return 0

    cdef int add_listeners(self, listeners, config) except -1:
        self.listeners = list(listeners)
        self.templates = []
        for listener in self.listeners:
            listener.setblocking(False)
            self.templates.append(EnvironTemplate(base_environ(listener, self.error_stream), config.limit_request_line))
        return 0

    # ---- what the worker calls ----

    def run(self):
        self.watch_listeners()
        self.watch_signals()
        try:
            while self.turn():
                pass
        finally:
            self.sentinel.stop()
            self.unwatch_signals()
            self.unwatch_listeners()
            self.cut_all()

    def stop(self, graceful=True):
        if not self.stop_asked:
            self.defaults.stop_at_ms = clock_monotonic_ms() + self.graceful_ms
        if not graceful:
            self.cut_asked = True
            self.defaults.stop_at_ms = 1  # long ago
        self.stop_asked = True
        poller_wake(self.poller)

    def poller_name(self):
        return poller_name(self.poller).decode()

    def open_connections(self):
        return self.connection_count

    # ---- one turn ----

    cdef int turn(self) except -1:
        """Wait, serve, look at the clock.  0 when the loop has stopped."""
        self.wait()
        if self.stop_asked and not self.stopping:
            self.begin_stop()
        self.serve_ready()
        self.expire()
        if self.stopping and (not self.connection_count or self.cut_asked or self.now_ms >= self.cut_at_ms):
            return 0
        return 1

    cdef int wait(self) except -1:
        cdef int count = 0, timeout_ms = 0
        if not self.ready:
            timeout_ms = self.wait_ms()
        if (timeout_ms == 0 or self.events_last > 1) and self.turns_locked < TURNS_LOCKED_MAX:
            self.turns_locked += 1
            count = poller_wait(self.poller, self.events, EVENTS_MAX, 0)
        if count == 0 and (timeout_ms != 0 or self.turns_locked == TURNS_LOCKED_MAX):
            self.turns_locked = 0
            with nogil:
                count = poller_wait(self.poller, self.events, EVENTS_MAX, timeout_ms)
        PyErr_CheckSignals()
        if count < 0:
            raise OSError("the poller failed")
        self.tick()
        self.polled_ms = self.now_ms
        self.events_last = count
        return self.take_events(count)

    cdef void tick(self) noexcept:
        """Look at the clock once a turn; the Date line changes once a second (RFC 9110 §6.6.1)."""
        cdef int64_t unix_s = clock_unix_s()
        self.now_ms = clock_monotonic_ms()
        if unix_s != self.date_s:
            self.date_s = unix_s
            http_date_write(self.defaults.date_line + 6, unix_s)

    cdef int take_events(self, int count) except -1:
        cdef int i
        cdef poller_event *event
        cdef Connection connection
        for i in range(count):
            event = &self.events[i]
            if event.tag >> 32 == 0:
                if event.tag == SIGNAL_TAG:
                    self.drain_signals()
                else:
                    self.accept(<size_t>event.tag)
                continue
            connection = self.find(<int><uint32_t>event.tag)
            if connection is None or connection.tag != event.tag:
                continue  # for a connection that has gone; its descriptor belongs to another by now
            connection.readable = True
            if event.flags & POLLER_HANGUP:
                connection.hung_up = True
            self.push_ready(connection)
        return 0

    cdef int serve_ready(self) except -1:
        """Each ready connection once; what they push meanwhile waits for the next turn."""
        cdef list ready = self.ready
        cdef Connection connection
        self.ready = self.ready_next
        self.ready_next = ready
        for item in ready:
            connection = <Connection>item
            connection.queued = False
            if connection.state != CLOSED:
                self.guarded(connection, ON_READY, NULL)
        ready.clear()
        return 0

    cdef int guarded(self, Connection connection, int what, deadline_queue *queue) except -1:
        """Nothing that happens to one connection ends the loop."""
        try:
            if what == ON_READY:
                connection.on_ready()
            elif what == ON_ACCEPT:
                connection.on_accept()
            elif what == ON_DEADLINE:
                connection.on_deadline(queue)
            else:
                connection.stop()
        except BaseException:
            log.critical("a connection failed inside the server; it is closed", exc_info=True)
            try:
                connection.close()
            except BaseException:
                log.critical("... and could not be closed as it should be", exc_info=True)
        return 0

    cdef int enter_with_unsent(self, Channel channel) except -1:
        return self.sentinel.enter(channel)

    cdef void leave_with_unsent(self) noexcept:
        self.sentinel.leave()

    cdef int push_ready(self, Channel channel) except -1:
        if not channel.queued:
            channel.queued = True
            self.ready.append(channel)
        return 0

    # ---- accepting ----

    cdef int accept(self, size_t index) except -1:
        cdef int fd = -1
        cdef int listener = self.listeners[index].fileno()
        cdef sock_peer peer
        cdef sock_status status
        for _ in range(ACCEPTS_MAX):
            if self.connection_count >= self.connections_max:
                return self.unwatch_listeners()  # the kernel's backlog holds the others
            status = sock_accept(listener, &fd, &peer)
            if status == SOCK_OK:
                self.accept_failing = False
                self.adopt_or_close(index, fd, ascii(peer.address, peer.address_len),
                                    str(peer.port) if peer.port else "")
                continue
            if status == SOCK_NO_RESOURCES:
                if not self.accept_failing:
                    log.error("out of file descriptors or memory: accepting pauses until there are some again")
                self.accept_failing = True
                self.accept_again_ms = self.now_ms + ACCEPT_PAUSE_MS
                self.unwatch_listeners()
            elif status != SOCK_AGAIN:
                log.error("accept failed on listener %d", listener)
                self.accept_again_ms = self.now_ms + ACCEPT_PAUSE_MS
                self.unwatch_listeners()
            return 0
        return 0

    cdef int adopt_or_close(self, size_t index, int fd, object address, object port) except -1:
        try:
            self.adopt(index, fd, address, port)
        except MemoryError:
            sock_close(fd)
            log.error("no memory for a new connection")
        return 0

    cdef int adopt(self, size_t index, int fd, object address, object port) except -1:
        cdef Connection connection = Connection(self, self.templates[index], fd, address, port)
        self.generation = self.generation + 1 if self.generation < 0xFFFFFFFF else 1
        connection.tag = <uint64_t>self.generation << 32 | <uint32_t>fd
        self.make_room(fd)
        Py_INCREF(connection)
        self.connections[fd] = <PyObject *>connection
        self.connection_count += 1
        return self.guarded(connection, ON_ACCEPT, NULL)

    cdef Connection find(self, int fd):
        if fd >= self.connections_cap or self.connections[fd] is NULL:
            return None
        return <Connection>self.connections[fd]

    cdef int make_room(self, int fd) except -1:
        """The table is as long as the largest descriptor asks for: the kernel gives out the lowest that is free."""
        cdef int cap = max(64, self.connections_cap)
        cdef PyObject **table
        if fd < self.connections_cap:
            return 0
        while cap <= fd:
            cap *= 2
        table = <PyObject **>PyMem_Realloc(self.connections, cap * sizeof(PyObject *))
        if table is NULL:
            raise MemoryError
        memset(table + self.connections_cap, 0, (cap - self.connections_cap) * sizeof(PyObject *))
        self.connections = table
        self.connections_cap = cap
        return 0

    cdef int forget(self, Channel channel) except -1:
        if self.find(channel.fd) is channel:
            self.connections[channel.fd] = NULL
            self.connection_count -= 1
            Py_DECREF(channel)
        if channel.registered:
            poller_remove(self.poller, channel.fd)
        if not self.accepting and not self.stopping and not self.accept_again_ms:
            self.watch_listeners()
        return 0

    cdef int watch_listeners(self) except -1:
        cdef size_t index
        if self.accepting:
            return 0
        for index in range(<size_t>len(self.listeners)):
            if poller_add_listener(self.poller, self.listeners[index].fileno(), index) < 0:
                raise OSError("the poller did not take a listener")
        self.accepting = True
        self.accept_again_ms = 0
        return 0

    cdef int unwatch_listeners(self) except -1:
        if self.accepting:
            self.accepting = False
            for listener in self.listeners:
                if listener.fileno() >= 0:
                    poller_remove(self.poller, listener.fileno())
        return 0

    # ---- deadlines ----

    cdef int expire(self) except -1:
        """By the time of the last look at the sockets: what came during a long application call is still unread."""
        cdef deadline *passed
        cdef int kind
        for kind in range(DEADLINE_KINDS):
            while True:
                passed = deadline_pop_expired(self.queues[kind], self.polled_ms)
                if passed is NULL:
                    break
                self.guarded(<Connection>passed.owner, ON_DEADLINE, self.queues[kind])
        if self.accept_again_ms and self.now_ms >= self.accept_again_ms and not self.stopping:
            self.watch_listeners()
        return 0

    cdef int wait_ms(self) noexcept:
        """How long the poller may wait: until the next deadline; -1 for ever."""
        cdef uint64_t wait = NEVER_MS
        cdef int kind
        for kind in range(DEADLINE_KINDS):
            wait = min(wait, deadline_wait_ms(self.queues[kind], self.now_ms))
        if self.accept_again_ms:
            wait = min(wait, self.until(self.accept_again_ms))
        if self.cut_at_ms:
            wait = min(wait, self.until(self.cut_at_ms))
        if self.stop_asked and not self.stopping:
            return 0
        if wait == NEVER_MS:
            return -1
        return <int>min(max(wait, TURN_MS), WAIT_MS_MAX)

    cdef uint64_t until(self, uint64_t at_ms) noexcept:
        return at_ms - self.now_ms if at_ms > self.now_ms else 0

    # ---- stopping ----

    cdef int begin_stop(self) except -1:
        """Stop accepting, close what is idle, let the rest finish."""
        cdef Connection connection
        cdef int fd
        self.stopping = True
        self.cut_at_ms = self.defaults.stop_at_ms
        if not self.cut_asked:
            for index in range(len(self.listeners)):
                self.accept(index)
        self.unwatch_listeners()
        self.accept_again_ms = 0
        for fd in range(self.connections_cap):
            connection = self.find(fd)
            if connection is not None:
                self.guarded(connection, ON_STOP, NULL)
        return 0

    cdef int cut_all(self) except -1:
        cdef Connection connection
        cdef int fd
        for fd in range(self.connections_cap):
            connection = self.find(fd)
            if connection is not None:
                connection.close()
        self.ready.clear()
        self.ready_next.clear()
        return 0

    # ---- signals ----

    cdef int watch_signals(self) except -1:
        """A signal that comes between two waits has to end the next one: Python writes it to a socket."""
        if threading.current_thread() is not threading.main_thread():
            return 0
        receiver, sender = socket.socketpair()
        receiver.setblocking(False)
        sender.setblocking(False)
        self.signal_sockets = (receiver, sender, signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False))
        if poller_add_listener(self.poller, receiver.fileno(), SIGNAL_TAG) < 0:
            raise OSError("the poller did not take the signal socket")
        return 0

    cdef int drain_signals(self) except -1:
        try:
            self.signal_sockets[0].recv(4096)
        except BlockingIOError:
            pass
        return PyErr_CheckSignals()

    cdef int unwatch_signals(self) except -1:
        if self.signal_sockets is None:
            return 0
        receiver, sender, former = self.signal_sockets
        self.signal_sockets = None
        signal.set_wakeup_fd(former)
        poller_remove(self.poller, receiver.fileno())
        receiver.close()
        sender.close()
        return 0


def object_counts():
    """Objects alive, by kind: {} but in debug builds."""
    from headrace.engine import debug
    return debug.object_counts()
