"""PEP 3333, "Other HTTP Features", "HTTP 1.1 Expect/Continue": what belongs to the server alone."""

from __future__ import annotations

import email.utils
import time
import wsgiref.util

import pytest
from wire import request


def answering(*headers, status="200 OK"):
    def application(environ, start_response):
        start_response(status, list(headers))
        return [b"body"]

    return application


# -- hop-by-hop fields ------------------------------------------------------------------------------------------------

HOP_BY_HOP = [
    "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer",
    "Trailers", "Transfer-Encoding", "Upgrade",
]  # fmt: skip


@pytest.mark.parametrize("name", HOP_BY_HOP)
@pytest.mark.parametrize("spell", [str.title, str.lower, str.upper], ids=["Title", "lower", "UPPER"])
def test_the_application_must_not_set_hop_by_hop_fields(error_of, name, spell):
    message = error_of(answering(("X-One", "1"), (spell(name), "close")))
    assert message.startswith(f"ValueError: start_response: {spell(name)!r} is a hop-by-hop field")
    assert "Other HTTP Features" in message


def test_the_list_of_hop_by_hop_fields_has_all_that_wsgiref_knows():
    for name in ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers", "upgrade"):
        assert wsgiref.util.is_hop_by_hop(name)
        assert name in map(str.lower, HOP_BY_HOP)


@pytest.mark.parametrize(
    "name",
    ["Connectio", "Connections", "T", "TF", "Date-X", "Dat", "Upgrad", "Content-Lengt", "Content-Lengthy", "Via"],
)
def test_names_that_only_look_like_them_are_the_applications(serve, name):
    assert serve(answering((name, "1"))).exchange(request()).get(name) == "1"


# -- Date and Server --------------------------------------------------------------------------------------------------


def test_date_and_server_are_added(serve):
    before = int(time.time())
    answer = serve(answering()).exchange(request())
    date = email.utils.parsedate_to_datetime(answer.get("Date")).timestamp()
    assert before - 1 <= date <= time.time() + 1
    assert answer.get("Server") == "headrace"


@pytest.mark.parametrize("name", ["Date", "date", "DATE", "Server", "server"])
def test_the_applications_own_date_or_server_is_kept_and_no_second_is_added(serve, name):
    value = "Sun, 06 Nov 1994 08:49:37 GMT"
    answer = serve(answering((name, value))).exchange(request())
    assert answer.get(name) == value
    assert len(answer.get_all("Date")) == len(answer.get_all("Server")) == 1


@pytest.mark.parametrize(("date", "server"), [(False, True), (True, False), (False, False)])
@pytest.mark.parametrize("method", ["GET", "BREW?"])
def test_date_and_server_can_be_turned_off(serve, date, server, method):
    """Also in answers of the server's own: "BREW?" is no method."""
    answer = serve(answering(), date_header=date, server_header=server).exchange(request(method=method))
    assert answer.status == (200 if method == "GET" else 400)
    assert (answer.get("Date") is not None, answer.get("Server") is not None) == (date, server)


def test_the_date_goes_on(serve, monkeypatch):
    """An idle server wakes up with the time of now, and not that of its last request."""
    running = serve(answering())
    client = running.connect()
    first = email.utils.parsedate_to_datetime(client.exchange(request()).get("Date")).timestamp()
    until = time.monotonic() + 5
    while time.time() < first + 1.05:
        assert time.monotonic() < until
        time.sleep(0.05)
    second = email.utils.parsedate_to_datetime(client.exchange(request()).get("Date")).timestamp()
    assert 1 <= second - first <= 3


# -- methods, versions, persistence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "TRACE", "PATCH", "BREW", "get", "M-SEARCH"])
def test_any_method_reaches_the_application(serve, method):
    running = serve(answering())
    assert running.exchange(request(method=method)).body == b"body"
    assert running.environs[0]["REQUEST_METHOD"] == method


def test_head_in_lower_case_is_another_method_and_has_a_body(serve):
    assert serve(answering()).exchange(request(method="head")).body == b"body"


@pytest.mark.parametrize(
    ("version", "field", "persists"),
    [
        ("1.1", None, True),
        ("1.1", "keep-alive", True),
        ("1.1", "close", False),
        ("1.1", "Close", False),
        ("1.1", "x, close", False),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
        ("1.0", "Keep-Alive", True),
        ("1.0", "close", False),
    ],
)
def test_the_connection_persists_as_the_client_wishes(serve, version, field, persists):
    fields = [] if field is None else [("Connection", field)]
    client = serve(answering()).connect()
    answer = client.exchange(request(version=version, fields=fields))
    assert answer.says_close is not persists
    if persists:
        client.assert_open()
    else:
        client.assert_closed()


def test_nothing_persists_when_keep_alive_is_off(serve):
    client = serve(answering(), keep_alive=0).connect()
    assert client.exchange(request()).says_close
    client.assert_closed()


def test_a_client_that_waits_for_continue_is_told_before_the_application_is_called(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    running = serve(application)
    client = running.connect()
    client.send(request(method="PUT", fields=[("Expect", "100-continue"), ("Content-Length", "4")]))
    assert client.read_response().status == 100
    assert running.calls == 0
    client.send(b"body")
    assert client.read_response().body == b"body"
    assert running.environs[0]["HTTP_EXPECT"] == "100-continue"


def test_the_application_cannot_send_interim_responses_as_final_ones(error_of):
    for status in ("100 Continue", "101 Switching Protocols", "102 Processing", "103 Early Hints", "199 X"):
        assert "from 200 on" in error_of(answering(status=status))


def test_upgrade_is_ignored(serve):
    fields = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    client = serve(answering()).connect()
    answer = client.exchange(request(fields=fields))
    assert (answer.status, answer.get("Upgrade")) == (200, None)
    client.assert_open()
