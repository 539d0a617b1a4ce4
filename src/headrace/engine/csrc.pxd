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
        REQUEST_FORWARDED_INVALID
        REQUEST_READ_IN_TWO_WAYS
        REQUEST_BODY_TOO_LONG
        REQUEST_HEAD_TIMEOUT
        REQUEST_BODY_TIMEOUT
        REQUEST_NO_ROOM_FOR_BODY
        REQUEST_QUEUED_TOO_LONG
        REQUEST_APPLICATION_FAILED

    cdef enum field_id:
        FIELD_COOKIE
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
    const char *request_head_variant() noexcept
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
        CHUNK_DONE
        CHUNK_ERROR

    cdef struct chunk_decoder:
        request_error error

    void chunk_decoder_reset(chunk_decoder *decoder) noexcept
    chunk_status chunk_decode(chunk_decoder *decoder, const char *buf, size_t len, const head_limits *limits,
                              size_t *consumed, const char **data_at, size_t *data_len) noexcept


cdef extern from "percent.h" nogil:
    cdef enum percent_status:
        pass

    percent_status percent_decode(const char *at, size_t len, char *out, size_t *out_len) noexcept


cdef extern from "response_head.h" nogil:
    cdef enum head_write:
        HEAD_WRITE_OK
        HEAD_WRITE_FULL
        HEAD_WRITE_STATUS_INVALID
        HEAD_WRITE_NAME_INVALID

    cdef enum response_field:
        RESPONSE_FIELD_CONTENT_LENGTH
        RESPONSE_FIELD_DATE
        RESPONSE_FIELD_SERVER
        RESPONSE_FIELD_HOP_BY_HOP

    const char *RESPONSE_SERVER_LINE
    const char *RESPONSE_CONTINUE
    const char *RESPONSE_EARLY_HINTS_LINE
    cdef enum:
        RESPONSE_SERVER_LINE_BYTES
        RESPONSE_CONTINUE_BYTES
        RESPONSE_EARLY_HINTS_LINE_BYTES

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


cdef extern from "sync.h" nogil:
    cdef struct mutex:
        pass

    cdef struct gate:
        pass

    bint mutex_init(mutex *m) noexcept
    void mutex_destroy(mutex *m) noexcept
    void mutex_lock(mutex *m) noexcept
    void mutex_unlock(mutex *m) noexcept
    bint gate_init(gate *g) noexcept
    void gate_destroy(gate *g) noexcept
    bint gate_wait(gate *g, int timeout_ms) noexcept
    void gate_open(gate *g) noexcept
    void full_fence() noexcept
    int64_t counter_add(int64_t *counter, int64_t change) noexcept
    int64_t counter_read(const int64_t *counter) noexcept


cdef extern from "roster.h" nogil:
    cdef enum seat_role:
        SEAT_RUNNING
        SEAT_LEADING
        SEAT_PARKED
        SEAT_ON_DECK

    cdef struct seat:
        gate gate

    cdef struct roster:
        seat **seats
        int count
        int cap

    cdef struct roster_glance:
        uint64_t calls
        uint64_t began_ms
        int inside

    bint roster_init(roster *r, int seats_max) noexcept
    void roster_destroy(roster *r) noexcept
    bint seat_init(seat *s) noexcept
    void seat_destroy(seat *s) noexcept
    void roster_add(roster *r, seat *s) noexcept
    bint roster_lead(roster *r, seat *s) noexcept
    void roster_stop_leading(roster *r, seat *s) noexcept
    void roster_park(roster *r, seat *s) noexcept
    bint roster_unpark(roster *r, seat *s) noexcept
    bint roster_arrive(roster *r, seat *s) noexcept
    void roster_step_back(roster *r, seat *s) noexcept
    bint roster_wake_one(roster *r) noexcept
    seat_role roster_wake(roster *r, seat *s) noexcept
    void roster_wake_all(roster *r) noexcept
    void seat_enter(seat *s, uint64_t now_ms) noexcept
    void seat_leave(seat *s) noexcept
    void seat_has_unsent(seat *s) noexcept
    bint seat_is_waiting_on_unsent(const seat *s) noexcept
    uint64_t seat_calls(const seat *s) noexcept
    bint roster_is_led(const roster *r) noexcept
    bint roster_has_on_deck(const roster *r) noexcept
    int roster_parked(const roster *r) noexcept
    roster_glance roster_look(const roster *r) noexcept


cdef extern from "clock.h" nogil:
    uint64_t clock_monotonic_ms() noexcept
    int64_t clock_monotonic_ns() noexcept
    int64_t clock_unix_s() noexcept
    int64_t clock_unix_ns() noexcept


cdef extern from "http_date.h" nogil:
    enum: HTTP_DATE_BYTES
    void http_date_write(char *out, int64_t unix_seconds) noexcept


cdef extern from "buffer.h" nogil:
    cdef enum buffer_status:
        BUFFER_OK

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
        void *owner

    cdef struct deadline_queue:
        uint64_t duration_ms

    void deadline_queue_init(deadline_queue *q, uint64_t duration_ms) noexcept
    void deadline_init(deadline *d, void *owner) noexcept
    void deadline_arm_at(deadline_queue *q, deadline *d, uint64_t at_ms) noexcept
    void deadline_disarm(deadline *d) noexcept
    bint deadline_is_armed(const deadline *d) noexcept
    deadline *deadline_pop_expired(deadline_queue *q, uint64_t now_ms) noexcept
    uint64_t deadline_earliest_ms(const deadline_queue *q) noexcept


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
    void sock_unblock(int fd) noexcept
    void sock_shutdown_write(int fd) noexcept
    void sock_reset_on_close(int fd) noexcept
    void sock_abort(int fd) noexcept
    sock_status sock_look(int fd) noexcept
    void sock_close(int fd) noexcept
    sock_status sock_send(int fd, const char *buf, size_t len, bint more, size_t *sent) noexcept
    sock_status sock_wait(int fd, bint for_write, int timeout_ms) noexcept


cdef extern from "proxy_header.h" nogil:
    enum:
        PROXY_V2_BYTES_MAX

    cdef enum proxy_header_status:
        PROXY_HEADER_MORE
        PROXY_HEADER_DONE
        PROXY_HEADER_ERROR

    cdef enum proxy_header_error:
        PROXY_OK

    cdef enum proxy_source:
        PROXY_SOURCE_CONNECTION
        PROXY_SOURCE_TCP4
        PROXY_SOURCE_TCP6
        PROXY_SOURCE_UNIX

    cdef struct proxy_header:
        size_t bytes
        proxy_source source
        sock_peer client
        sock_peer asked
        proxy_header_error error

    proxy_header_status proxy_header_read(const char *at, size_t len, proxy_header *header) noexcept


cdef extern from "outbox.h" nogil:
    cdef struct outbox:
        char *bytes
        size_t start
        size_t end
        size_t cap
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
    void outbox_free(outbox *box) noexcept


cdef extern from "poller.h" nogil:
    enum:
        POLLER_READ
        POLLER_WRITE
        POLLER_HANGUP
        POLLER_EVENTS_MAX

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


cdef extern from "scoreboard.h" nogil:
    cdef enum score_state:
        SCORE_IDLE
        SCORE_INSIDE
        SCORE_CLIENT
        SCORE_AFTER

    cdef struct score_row:
        uint64_t requests
        uint64_t entered
        uint64_t began_ms
        uint64_t since_ms
        uint64_t thread_id
        uint8_t method_bytes
        uint8_t target_bytes
        char method[14]
        char target[112]
        uint8_t cut

    cdef struct score_slot:
        uint64_t beat_ms
        uint32_t accepting

    size_t score_slot_bytes(size_t threads) noexcept
    score_slot *score_slot_at(void *board, size_t threads, size_t slot) noexcept
    score_row *score_row_at(score_slot *slot, size_t thread) noexcept
    void score_set_state(score_row *row, score_state state) noexcept
    score_state score_get_state(const score_row *row) noexcept
    void score_progress(score_row *row) noexcept
    uint64_t score_get_progress(const score_row *row) noexcept
    void score_begin_change(score_row *row) noexcept
    void score_end_change(score_row *row) noexcept
    void score_set_text(score_row *row, const char *method, size_t method_len, const char *target,
                        size_t target_len) noexcept
    void score_enter(score_row *row, bint is_new, uint64_t now_ms, uint64_t began_ms) noexcept
    void score_begin_wait(score_row *row) noexcept
    void score_end_wait(score_row *row) noexcept
    bint score_read(const score_row *row, score_row *copy) noexcept
    void score_beat(score_slot *slot, uint64_t now_ms) noexcept
    void score_set_accepting(score_slot *slot, bint accepting) noexcept
    bint score_others_accept(void *board, size_t slots, size_t threads, const score_slot *but) noexcept


cdef extern from "log_line.h" nogil:
    cdef enum log_part_kind:
        LOG_LITERAL
        LOG_TEXT
        LOG_REQUEST_LINE
        LOG_VERSION
        LOG_STATUS
        LOG_BODY_BYTES
        LOG_BODY_BYTES_OR_DASH
        LOG_LOCAL_TIME
        LOG_UTC_TIME
        LOG_SECONDS
        LOG_MILLISECONDS
        LOG_MICROSECONDS
        LOG_NANOSECONDS
        LOG_DECIMAL_SECONDS

    cdef enum log_encoding:
        LOG_WORD
        LOG_QUOTED
        LOG_JSON_STRING
        LOG_JSON_VALUE

    enum:
        LOG_METHOD
        LOG_TARGET
        LOG_PROTOCOL
        LOG_FIRST_FREE_TEXT

    cdef struct log_part:
        log_part_kind kind
        log_encoding encoding
        uint32_t text
        uint32_t literal_len
        const char *literal

    cdef struct log_text:
        const char *at
        size_t len

    cdef struct log_event:
        const log_text *texts
        int status
        int64_t body_bytes
        int64_t began_unix_ns
        int64_t duration_ns

    cdef struct log_clock:
        pass

    cdef struct log_need:
        size_t bytes_bound

    enum: LOG_VARYING_MAX

    cdef struct log_sketch:
        char *octets
        size_t len

    size_t log_line_varying(const log_part *parts, size_t count, const log_part **varying) noexcept
    void log_sketch_make(log_sketch *sketch, const log_part *parts, size_t count, const log_event *event) noexcept
    size_t log_sketch_bytes_max(const log_sketch *sketch, size_t varying_count) noexcept
    size_t log_sketch_write(char *out, const log_sketch *sketch, const log_part **varying, size_t varying_count,
                            const log_event *event, log_clock *clock) noexcept
    log_need log_line_need(const log_part *parts, size_t count, size_t text_count) noexcept
    size_t log_line_bytes_max(const log_need *need, const log_text *texts, size_t text_count) noexcept
    size_t log_line_write(char *out, const log_part *parts, size_t count, const log_event *event,
                          log_clock *clock) noexcept


cdef extern from "log_writer.h" nogil:
    cdef enum log_take:
        LOG_TAKE_LINES
        LOG_TAKE_ASKED
        LOG_TAKE_CLOSED

    cdef struct log_writer:
        pass

    cdef struct log_file:
        int fd
        size_t piece_max
        bint torn

    cdef struct log_syslog:
        int fd
        const char *unix_path
        int priority
        const char *host
        const char *tag

    bint log_writer_init(log_writer *w, size_t cap) noexcept
    void log_writer_destroy(log_writer *w) noexcept
    char *log_writer_begin(log_writer *w, size_t need) noexcept
    void log_writer_end(log_writer *w, size_t len) noexcept
    char *log_writer_begin_patiently(log_writer *w, size_t need, int timeout_ms) noexcept
    void log_writer_lose(log_writer *w, int64_t lines) noexcept
    int64_t log_writer_lost(log_writer *w) noexcept
    bint log_writer_flush(log_writer *w, int timeout_ms) noexcept
    int64_t log_writer_waiting(log_writer *w) noexcept
    void log_writer_ask(log_writer *w) noexcept
    void log_writer_close(log_writer *w) noexcept
    log_take log_writer_take(log_writer *w, int linger_ms, const char **at, size_t *len) noexcept
    void log_writer_done(log_writer *w, int64_t lost) noexcept
    int log_file_write(log_file *file, const char *at, size_t len, int64_t *lost) noexcept
    int log_syslog_write(log_syslog *syslog, const char *at, size_t len, int64_t unix_s, int64_t *lost) noexcept
