"""The access line that is written without a handler is the one that http.server writes."""

from __future__ import annotations

import re

from headrace.dropin.access_line import StandardLine
from headrace.simple_server import WSGIRequestHandler


def test_no_character_of_a_request_line_makes_another_line_of_it(capsys):
    """The parser lets none of them through; the line does not rely on that."""
    handler = object.__new__(WSGIRequestHandler)
    handler.client_address = ("127.0.0.1", 1)
    for number in range(256):
        handler.requestline = f"GET /{chr(number)} HTTP/1.0"
        handler.log_request("200", 5)
        theirs = capsys.readouterr().err
        StandardLine().write("127.0.0.1", handler.requestline, "200", 5)
        ours = capsys.readouterr().err
        assert re.sub(r"\[[^]]*\]", "[]", ours) == re.sub(r"\[[^]]*\]", "[]", theirs)
