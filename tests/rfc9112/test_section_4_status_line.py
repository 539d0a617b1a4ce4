"""RFC 9112 §4: the status line of our responses.  What applications may put there is tested in pep3333/."""

from __future__ import annotations

import pytest
import wire

from headrace.errors import REFUSALS


def answers(status):
    def application(environ, start_response):
        start_response(status, [("Content-Length", "0")])
        return []

    return application


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_says_http_1_1_whatever_the_request_says(serve, version):
    running = serve(answers("200 OK"))
    with running.connect() as client:
        client.send(wire.request(version=version))
        assert client.read_exactly(17) == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("status", ["200 OK", "299 Well, then", "404 Not Found", "599 \xe9", "200 A\tb", "200 "])
def test_sends_the_three_digits_and_the_reason_of_the_application(serve, status):
    response = serve(answers(status)).exchange(wire.request())
    assert f"{response.status} {response.reason}" == status


def test_every_refusal_has_a_status_a_reason_and_a_rule():
    for name, refusal in REFUSALS.items():
        if name == "REQUEST_OK":
            continue
        assert 400 <= refusal.status <= 599, name
        assert refusal.reason.isascii() and refusal.reason.isprintable() and refusal.reason, name
        assert "RFC" in refusal.section and "§" in refusal.section, name
        assert refusal.explanation.isascii() and refusal.explanation.isprintable() and refusal.explanation, name


class TestHeadRequests:
    """RFC 9110 §9.3.2: no content in an answer to HEAD, not in ours either."""

    @pytest.mark.parametrize(
        ("name", "rest"),
        [
            ("REQUEST_HOST_MISSING", b"\r\n"),
            ("REQUEST_FIELD_NAME_INVALID", b"Host : a\r\n\r\n"),
            ("REQUEST_CONTENT_LENGTH_INVALID", b"Host: a\r\nContent-Length: x\r\n\r\n"),
            ("REQUEST_EXPECTATION_FAILED", b"Host: a\r\nExpect: x\r\n\r\n"),
            ("REQUEST_CHUNK_SIZE_INVALID", b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
        ],
    )
    def test_gets_no_content_with_its_refusal(self, serve, name, rest):
        with serve(answers("200 OK")).connect() as client:
            response = client.exchange(b"HEAD / HTTP/1.1\r\n" + rest, method="HEAD")
            assert response.status == REFUSALS[name].status
            assert int(response.get("Content-Length") or 0) > 0
            client.assert_closed()

    def test_gets_no_content_when_the_application_fails(self, serve):
        def application(environ, start_response):
            raise LookupError("on purpose")

        with serve(application).connect() as client:
            response = client.exchange(wire.request(method="HEAD"), method="HEAD")
            assert response.status == 500
            client.assert_closed()
