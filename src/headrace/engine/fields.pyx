"""Status and headers as applications hand them over: see fields.pxd."""

from cpython.tuple cimport PyTuple_GET_ITEM

from headrace.engine.csrc cimport (
    HEAD_WRITE_FULL, HEAD_WRITE_NAME_INVALID, HEAD_WRITE_OK, RESPONSE_EARLY_HINTS_LINE,
    RESPONSE_EARLY_HINTS_LINE_BYTES, RESPONSE_FIELD_CONTENT_LENGTH, RESPONSE_FIELD_HOP_BY_HOP, head_write, head_writer,
    response_field, response_field_id, response_field_write, response_text_write)

cdef str HINTS = "early hints"


cdef object shortened(object value):
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


cdef object not_native(object text):
    if not isinstance(text, str):
        return TypeError(f"must be a str, not {type(text).__name__}: {shortened(text)}")
    return ValueError(f"must be latin-1 (RFC 9110 §5.5), not {shortened(text)}")


cdef object not_a_pair(object field, str where):
    what = f"{type(field).__name__} of {len(field)}" if isinstance(field, tuple) else type(field).__name__
    return TypeError(f"{where}: each header must be a tuple (name, value), not {what}: {shortened(field)} (PEP 3333)")


cdef object wrong_text(str where, object field, object error):
    return type(error)(f"{where}: name and value of a header {error} in {shortened(field)}")


cdef object wrong_field(head_write outcome, str where, object field):
    if outcome == HEAD_WRITE_FULL:
        return head_too_long(where, HINT_BYTES_MAX if where is HINTS else RESPONSE_HEAD_BYTES_MAX)
    if outcome == HEAD_WRITE_NAME_INVALID:
        return ValueError(f"{where}: the header name {shortened(field[0])} is not a token (RFC 9110 §5.1)")
    return ValueError(
        f"{where}: the value of header {shortened(field[0])} has a control character: "
        f"{shortened(field[1])} (RFC 9110 §5.5)")


cdef object head_too_long(str where, int bytes_max):
    return ValueError(f"{where}: the response head is longer than {bytes_max} bytes")


cdef bytes early_hints_text(object headers):
    """A complete 103 response (RFC 8297)."""
    cdef char[HINT_BYTES_MAX] text
    cdef head_writer writer
    cdef head_write outcome
    cdef response_field known
    cdef Py_ssize_t name_len = 0, value_len = 0
    cdef const char *name
    cdef const char *value
    writer.at = text
    writer.len = 0
    writer.cap = HINT_BYTES_MAX
    response_text_write(&writer, RESPONSE_EARLY_HINTS_LINE, RESPONSE_EARLY_HINTS_LINE_BYTES)
    for field in headers:
        check_is_pair(field, HINTS)
        try:
            name = native_text(<object>PyTuple_GET_ITEM(field, 0), &name_len)
            value = native_text(<object>PyTuple_GET_ITEM(field, 1), &value_len)
        except (TypeError, ValueError) as error:
            raise wrong_text(HINTS, field, error) from None
        known = response_field_id(name, <size_t>name_len)
        if known == RESPONSE_FIELD_HOP_BY_HOP or known == RESPONSE_FIELD_CONTENT_LENGTH:
            raise ValueError(
                f"{HINTS}: {shortened(field[0])} has no place in a 103 response (RFC 9110 §7.6.1, §8.6)")
        outcome = response_field_write(&writer, name, <size_t>name_len, value, <size_t>value_len)
        if outcome != HEAD_WRITE_OK:
            raise wrong_field(outcome, HINTS, field)
    if response_text_write(&writer, b"\r\n", 2) != HEAD_WRITE_OK:
        raise head_too_long(HINTS, HINT_BYTES_MAX)
    return text[:writer.len]
