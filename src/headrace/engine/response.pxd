# A response from `start_response` to its last octet: the body behind the head (PEP 3333; RFC 9112 §6, §7), and the
# way of both to the client.
#
# Owner: the connection for as long as the request lasts; the loop recycles one when nobody else holds it.
# Lock: the interpreter lock; where there is none, a critical section of what an application's threads may call.
# Errors: what the application did wrong is an AssertionError, TypeError or ValueError that tells its author so;
# a client that has gone is ClientDisconnected.

from libc.stdint cimport int64_t, uint64_t

from headrace.engine.csrc cimport outbox, score_row, sock_status
from headrace.engine.fields cimport HINT_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX
from headrace.engine.response_head cimport ResponseHead, response_defaults

cdef enum:
    COPIED_BYTES_MAX = 8192     # blocks up to this size are copied behind the head, larger ones sent where they lie
    WAIT_SLICE_MS = 250         # a thread that waits for its client looks up so often: at signals, at a stop
    HALF_CLOSED_MS = 500        # a client may shut its side down and still read; after so long it has gone
    # what one response may put into the outbox before it is flushed: hints, head, a copied block and its framing
    RESPONSE_ROOM_BYTES = HINT_BYTES_MAX + RESPONSE_HEAD_BYTES_MAX + COPIED_BYTES_MAX + 256


cdef class Response(ResponseHead):
    # how far it has got
    cdef bint one_block
    cdef readonly bint finished
    cdef readonly bint satisfied  # no more blocks are wanted: none may follow, or more came than was declared
    cdef bint overrun             # the application went past its Content-Length
    cdef bint shared              # duplicate() has been called
    cdef bint client_gone         # it was this response's client that ClientDisconnected speaks of
    cdef readonly int64_t body_bytes  # handed over, without framing
    cdef object held            # the block or file that the outbox points into
    cdef object suspended       # (result, iterator) or None
    cdef object home            # the LoopThread that runs this request, from its start to its close()
    cdef object context         # contextvars.Context of this request
    cdef uint64_t began_ms
    cdef score_row *row         # of the thread that calls the application, during the call; NULL: nobody looks
    cdef readonly object start_response  # the bound method, made once
    cdef readonly object early_hints
    cdef readonly object client_disconnected

    cdef void begin(self, outbox *out, int fd, const response_defaults *defaults, bint http_1_1, bint to_head,
                    bint keep_alive) noexcept
    cdef void enter_call(self, score_row *row) noexcept
    cdef void leave_call(self) noexcept
    cdef object send_now(self, object block)
    cdef int send_whole_now(self, object block) except -1
    cdef object queue_file_now(self, int descriptor, int64_t offset_bytes, int64_t length_bytes)
    cdef int finish_now(self) except -1
    cdef int send_hints(self, bytes text) except -1
    cdef int send_interim(self, const char *text, size_t len) except -1
    cdef int write(self, object data) except -1
    cdef int duplicate_now(self) except -1
    cdef int check_room(self) except -1
    cdef int queue(self, const char *at, size_t len, object owner) except -1
    cdef int check_stop(self) except -1
    cdef uint64_t ends_at_ms(self) noexcept
    cdef int queue_block(self, object block) except -1
    cdef int tell_of_overrun(self) except -1
    cdef size_t within_content_length(self, size_t len) noexcept
    cdef void queue_last_chunk(self) noexcept
    cdef int wait_until_sent(self) except -1
    cdef int check_is_on(self) except -1
    cdef sock_status wait(self, bint for_write, int timeout_ms) except *
    cdef bint ends_with_connection(self) noexcept
    cdef bint flush(self) except -1
    cdef void release(self) noexcept
    cdef void lose_client(self) noexcept
    cdef void retire(self) noexcept


cdef int tell_of_failure_to_send(sock_status status) except -1
