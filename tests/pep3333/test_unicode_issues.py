"""PEP 3333, "A Note On String Types" and "Unicode Issues"."""

from __future__ import annotations

import pytest
from wire import request

OBS_TEXT = "".join(map(chr, range(0x80, 0x100)))


@pytest.mark.parametrize("value", [OBS_TEXT, "é", "Grüße", "\xa0inside\xa0", "日本".encode().decode("latin-1")])
def test_header_values_go_through_octet_by_octet_in_both_directions(serve, value):
    def application(environ, start_response):
        assert environ["HTTP_X"] == value
        start_response("200 OK", [("X", environ["HTTP_X"])])
        return []

    assert serve(application).exchange(request(fields=[("X", value)])).get("X") == value


def test_the_reason_goes_out_octet_by_octet(serve):
    def application(environ, start_response):
        start_response("200 " + OBS_TEXT, [])
        return []

    assert serve(application).exchange(request()).reason == OBS_TEXT


@pytest.mark.parametrize("octet", range(0x80, 0x100, 7))
def test_a_path_octet_becomes_the_character_of_the_same_number(serve, octet):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode("latin-1")]

    assert serve(application).exchange(request(f"/%{octet:02x}")).body == b"/" + bytes([octet])


def test_utf_8_of_a_path_is_got_back_as_frameworks_do_it(serve):
    def application(environ, start_response):
        text = environ["PATH_INFO"].encode("latin-1").decode("utf-8")
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [text.encode()]

    assert serve(application).exchange(request("/%e6%97%a5%E6%9C%AC/%F0%9F%8C%8A")).body.decode() == "/日本/🌊"


@pytest.mark.parametrize("text", ["€", "日本", "a\u0100", "\ud800", "🌊"])
@pytest.mark.parametrize("where", ["status", "name", "value"])
def test_what_is_not_latin_1_cannot_be_a_native_string(error_of, text, where):
    def application(environ, start_response):
        status = "200 " + text if where == "status" else "200 OK"
        start_response(status, [("X" + text if where == "name" else "X", text if where == "value" else "")])
        return []

    message = error_of(application)
    assert message.startswith("ValueError: start_response: ")
    assert "latin-1" in message


@pytest.mark.parametrize("text", ["", "text", "é", "€"])
def test_a_body_of_text_is_refused_even_when_it_is_ascii_or_empty(error_of, text):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [text]

    message = error_of(application)
    assert message.startswith("TypeError: the application's blocks must be bytes, not str")


@pytest.mark.parametrize(
    "block",
    [bytearray(b"octets"), memoryview(b"octets"), memoryview(b"-octets-")[1:-1], memoryview(bytearray(b"octets"))],
    ids=["bytearray", "memoryview", "slice", "memoryview of bytearray"],
)
def test_other_objects_that_hold_octets_are_taken(serve, block):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [block]

    assert serve(application).exchange(request()).body == b"octets"


def test_subclasses_of_bytes_are_taken(serve):
    class Octets(bytes):
        pass

    def application(environ, start_response):
        start_response("200 OK", [])
        return [Octets(b"octets")]

    assert serve(application).exchange(request()).body == b"octets"


def test_an_object_whose_octets_are_not_in_one_place_is_refused(error_of):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [memoryview(b"o-c-t-e-t-s")[::2]]

    assert error_of(application).startswith("TypeError: the application's blocks must be bytes, not memoryview")
