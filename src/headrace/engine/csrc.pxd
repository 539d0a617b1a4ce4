# The only `cdef extern` of the C library: every declaration of csrc/ that the compiled part uses.
# The headers in csrc/ are the documentation.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "request_head.h" nogil:
    cdef enum head_status:
        HEAD_PARTIAL
        HEAD_DONE
        HEAD_ERROR

    cdef enum request_error:
        REQUEST_OK
        REQUEST_TARGET_INVALID
        REQUEST_HEAD_TOO_LONG
        REQUEST_BODY_TOO_LONG
        REQUEST_HEAD_TIMEOUT
        REQUEST_BODY_TIMEOUT
        REQUEST_NO_ROOM_FOR_BODY
        REQUEST_APPLICATION_FAILED
        REQUEST_ERROR_COUNT

    cdef enum field_id:
        FIELD_OTHER
        FIELD_CONNECTION
        FIELD_CONTENT_LENGTH
        FIELD_CONTENT_TYPE
        FIELD_COOKIE
        FIELD_EXPECT
        FIELD_HOST
        FIELD_PROXY
        FIELD_TRANSFER_ENCODING
        FIELD_UNDERSCORE

    cdef struct field_line:
        uint32_t name_at
        uint32_t name_len
        uint32_t value_at
        uint32_t value_len
        uint32_t id

    cdef enum target_form:
        TARGET_ORIGIN
        TARGET_ABSOLUTE
        TARGET_ASTERISK

    cdef struct head_limits:
        uint32_t request_line_bytes_max
        uint32_t field_line_bytes_max
        uint32_t fields_max
        uint32_t head_bytes_max

    cdef struct request_head:
        uint32_t next
        uint32_t started_at
        uint32_t fields_at
        request_error error
        uint32_t method_at
        uint32_t method_len
        uint32_t target_at
        uint32_t target_len
        target_form form
        uint32_t authority_at
        uint32_t authority_len
        uint32_t path_at
        uint32_t path_len
        uint32_t query_at
        uint32_t query_len
        bint path_has_percent
        uint8_t minor_version
        bint method_is_head
        uint32_t field_count
        field_line *fields

    void request_head_reset(request_head *head, field_line *fields) noexcept
    head_status request_line_parse(request_head *head, const char *buf, size_t len,
                                   const head_limits *limits) noexcept
    head_status request_fields_parse(request_head *head, const char *buf, size_t len,
                                     const head_limits *limits) noexcept


cdef extern from "framing.h" nogil:
    cdef enum framing:
        FRAMING_NONE
        FRAMING_LENGTH
        FRAMING_CHUNKED
        FRAMING_ERROR

    bint content_length_parse(const char *at, size_t len, uint64_t *length) noexcept
    framing framing_decide(const request_head *head, const char *buf, uint64_t *length,
                           request_error *error) noexcept


cdef extern from "request_rules.h" nogil:
    cdef struct request_rules:
        bint keep_alive
        bint expect_continue
        int32_t host_field

    request_error request_rules_check(const request_head *head, const char *buf, request_rules *rules) noexcept


cdef extern from "chunked.h" nogil:
    cdef enum chunk_status:
        CHUNK_MORE
        CHUNK_DATA
        CHUNK_DONE
        CHUNK_ERROR

    cdef struct chunk_decoder:
        uint64_t data_bytes
        request_error error

    void chunk_decoder_reset(chunk_decoder *decoder) noexcept
    chunk_status chunk_decode(chunk_decoder *decoder, const char *buf, size_t len, const head_limits *limits,
                              size_t *consumed, const char **data_at, size_t *data_len) noexcept


cdef extern from "percent.h" nogil:
    cdef enum percent_status:
        PERCENT_OK
        PERCENT_MALFORMED
        PERCENT_NUL

    percent_status percent_decode(const char *at, size_t len, char *out, size_t *out_len) noexcept


cdef extern from "response_head.h" nogil:
    cdef enum head_write:
        HEAD_WRITE_OK
        HEAD_WRITE_FULL
        HEAD_WRITE_STATUS_INVALID
        HEAD_WRITE_NAME_INVALID
        HEAD_WRITE_VALUE_INVALID

    cdef enum response_field:
        RESPONSE_FIELD_OTHER
        RESPONSE_FIELD_CONTENT_LENGTH
        RESPONSE_FIELD_DATE
        RESPONSE_FIELD_SERVER
        RESPONSE_FIELD_HOP_BY_HOP

    cdef struct head_writer:
        char *at
        size_t len
        size_t cap

    response_field response_field_id(const char *name, size_t len) noexcept
    head_write response_status_write(head_writer *w, const char *status, size_t len, int *code) noexcept
    head_write response_field_write(head_writer *w, const char *name, size_t name_len,
                                    const char *value, size_t value_len) noexcept
    head_write response_content_length_write(head_writer *w, uint64_t n) noexcept
    head_write response_text_write(head_writer *w, const char *text, size_t len) noexcept
    size_t chunk_size_line_write(char *out, uint64_t size) noexcept


cdef extern from "clock.h" nogil:
    uint64_t clock_monotonic_ms() noexcept
    int64_t clock_monotonic_ns() noexcept
    int64_t clock_unix_s() noexcept


cdef extern from "http_date.h" nogil:
    enum: HTTP_DATE_BYTES
    void http_date_write(char *out, int64_t unix_seconds) noexcept


cdef extern from "buffer.h" nogil:
    cdef enum buffer_status:
        BUFFER_OK
        BUFFER_LIMIT
        BUFFER_NO_MEMORY

    cdef struct buffer:
        char *data
        size_t start
        size_t end
        size_t cap

    buffer_status buffer_reserve(buffer *buf, size_t more, size_t bytes_max) noexcept
    buffer_status buffer_append(buffer *buf, const char *at, size_t len, size_t bytes_max) noexcept
    void buffer_consume(buffer *buf, size_t len) noexcept
    void buffer_free(buffer *buf) noexcept


cdef extern from "deadlines.h" nogil:
    cdef struct deadline:
        uint64_t at_ms
        void *owner

    cdef struct deadline_queue:
        uint64_t duration_ms

    void deadline_queue_init(deadline_queue *q, uint64_t duration_ms) noexcept
    void deadline_init(deadline *d, void *owner) noexcept
    void deadline_arm(deadline_queue *q, deadline *d, uint64_t now_ms) noexcept
    void deadline_disarm(deadline *d) noexcept
    deadline *deadline_pop_expired(deadline_queue *q, uint64_t now_ms) noexcept
    uint64_t deadline_wait_ms(const deadline_queue *q, uint64_t now_ms) noexcept


cdef extern from "sock.h" nogil:
    cdef enum sock_status:
        SOCK_OK
        SOCK_AGAIN
        SOCK_EOF
        SOCK_BROKEN
        SOCK_NO_RESOURCES
        SOCK_FAILED

    cdef struct sock_peer:
        char address[46]
        uint8_t address_len
        uint16_t port

    sock_status sock_accept(int listener, int *fd, sock_peer *peer) noexcept
    sock_status sock_recv(int fd, char *buf, size_t len, size_t *got) noexcept
    void sock_shutdown_write(int fd) noexcept
    void sock_reset_on_close(int fd) noexcept
    void sock_close(int fd) noexcept
    sock_status sock_wait(int fd, bint for_write, int timeout_ms) noexcept


cdef extern from "outbox.h" nogil:
    enum: OUTBOX_TAIL_BYTES

    cdef struct outbox:
        char *bytes
        size_t start
        size_t end
        size_t cap
        bint owned
        const char *block
        size_t block_len
        char tail[16]
        uint8_t tail_start
        uint8_t tail_end
        int file_fd
        int64_t file_at
        uint64_t file_left

    void outbox_init(outbox *box) noexcept
    void outbox_borrow(outbox *box, char *scratch, size_t cap) noexcept
    void outbox_rewind(outbox *box) noexcept
    bint outbox_is_empty(const outbox *box) noexcept
    size_t outbox_pending_bytes(const outbox *box) noexcept
    sock_status outbox_flush(outbox *box, int fd) noexcept
    bint outbox_keep(outbox *box) noexcept
    bint outbox_reserve(outbox *box, size_t more, size_t bytes_max) noexcept
    void outbox_free(outbox *box) noexcept


cdef extern from "poller.h" nogil:
    enum:
        POLLER_READ
        POLLER_WRITE
        POLLER_HANGUP

    cdef enum poller_kind:
        POLLER_BEST
        POLLER_EPOLL
        POLLER_KQUEUE
        POLLER_POLL

    cdef struct poller_event:
        uint64_t tag
        uint32_t flags

    cdef struct poller:
        pass

    poller *poller_create(poller_kind kind) noexcept
    const char *poller_name(const poller *p) noexcept
    void poller_destroy(poller *p) noexcept
    int poller_add_listener(poller *p, int fd, uint64_t tag) noexcept
    int poller_add_connection(poller *p, int fd, uint64_t tag) noexcept
    int poller_arm(poller *p, int fd, uint64_t tag, uint32_t interest) noexcept
    int poller_remove(poller *p, int fd) noexcept
    int poller_wait(poller *p, poller_event *events, int max, int timeout_ms) noexcept
    void poller_wake(poller *p) noexcept
