"""The referee: see referee.pxd, and headrace.referee, whose quick way this is."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from headrace.engine.csrc cimport field_line, request_head


cdef class Referee:
    # What httptools calls.  It looks for all of them; to say that there is none is quicker than to let it miss them.
    on_body = on_chunk_complete = on_chunk_header = on_message_begin = on_message_complete = None

    def __cinit__(self):
        from headrace.referee import HttpRequestParser, judge  # not before it is wanted: it needs httptools

        self.new_parser = HttpRequestParser
        self.judge = judge

    cdef object objection_to(self, const request_head *head, const char *at, bint keep_alive):
        """Why llhttp does not stand behind our reading of the head at at[0], a str; "" when it does."""
        self.head = head
        self.at = at
        if self.agrees(keep_alive):
            return ""
        return self.judge(at[:head.next], self.reading(keep_alive))

    cdef bint agrees(self, bint keep_alive) except -1:
        """A fresh parser, which is to be done exactly with the last octet, and to have read what we have."""
        cdef const request_head *head = self.head
        self.same = True
        self.url_read = self.complete = False
        self.fields_read = 0
        parser = self.new_parser(self)
        try:
            # Only a version of 1.1 persists as long as no field says more, and to ask so is quicker than for its text
            parser.feed_data(self.at[:head.fields_at])
            if (<bint>parser.should_keep_alive() != (head.minor_version == 1)
                    or (head.minor_version == 0 and parser.get_http_version() != "1.0")):
                return False
            parser.feed_data(self.at[head.fields_at:head.next - 1])
            if self.complete or not self.same or <bint>parser.should_keep_alive() != keep_alive:
                return False
            parser.feed_data(b"\n")
        except Exception:
            return False  # judge() meets it once more
        return (self.complete and self.same and self.url_read and self.fields_read == head.field_count
                and is_text(parser.get_method(), self.at + head.method_at, head.method_len))

    cdef object reading(self, bint keep_alive):
        """Ours, as judge() wants it."""
        cdef const request_head *head = self.head
        cdef const char *at = self.at
        cdef const field_line *field
        cdef list fields = []
        cdef uint32_t i
        for i in range(head.field_count):
            field = &head.fields[i]
            fields.append(at[field.name_at:field.name_at + field.name_len])
            fields.append(at[field.value_at:field.value_at + field.value_len])
        return (at[head.method_at:head.method_at + head.method_len],
                at[head.target_at:head.target_at + head.target_len],
                "1.1" if head.minor_version else "1.0", fields, keep_alive)

    # ---- what httptools calls ----

    def on_url(self, bytes part not None):
        self.same = (self.same and not self.url_read
                     and is_text(part, self.at + self.head.target_at, self.head.target_len))
        self.url_read = True

    def on_header(self, bytes name not None, bytes value not None):
        """Values with white space behind them are not the same here: judge() allows for it."""
        cdef const field_line *field
        if self.fields_read == self.head.field_count:
            self.same = False
            return
        field = &self.head.fields[self.fields_read]
        self.fields_read += 1
        self.same = (self.same and is_text(name, self.at + field.name_at, field.name_len)
                     and is_text(value, self.at + field.value_at, field.value_len))

    def on_headers_complete(self):
        self.complete = True


cdef bint is_text(bytes octets, const char *at, size_t len) noexcept:
    return <size_t>PyBytes_GET_SIZE(octets) == len and memcmp(PyBytes_AS_STRING(octets), at, len) == 0
