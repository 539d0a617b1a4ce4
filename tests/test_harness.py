"""The tools of these tests can fail: the strict client, the referee and the checks of conftest.py."""

from __future__ import annotations

import os
import socket
import sys
import threading

import pytest
import referee
import verdict
import wire

pytest_plugins = ["pytester"]


class TestClient:
    """Against a peer that says one thing and closes."""

    @staticmethod
    def read(octets: bytes, method: str = "GET") -> wire.Response:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=say, args=(listener, octets))
            thread.start()
            try:
                with wire.Client(listener.getsockname(), timeout=2) as client:
                    return client.read_response(method)
            finally:
                thread.join()

    def test_reads_each_framing(self):
        assert self.read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").body == b"hi"
        assert self.read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD").body == b""
        assert self.read(b"HTTP/1.1 200 \r\n\r\nhi").framing == "close"
        response = self.read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n")
        assert (response.body, response.chunk_sizes) == (b"hi!", [2, 1])

    @pytest.mark.parametrize(
        "octets",
        [
            b"HTTP/1.1 200\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\n\n",
            b"HTTP/1.1 200 O\x01K\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b \r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh",
            b"HTTP/1.1 200 OK\r\nContent-Length: 02\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
            b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nDate: today\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n02\r\nhi\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
        ],
        ids=repr,
    )
    def test_accepts_nothing_that_is_not_well_formed(self, octets):
        with pytest.raises(wire.WireError):
            self.read(octets)

    @pytest.mark.parametrize("cut", [*wire.CUTS, 3, 4, 5])
    def test_cuts_lose_nothing(self, cut):
        message = wire.request("/a", method="POST", body=b"one\ntwo\rthree\r\n")
        pieces = wire.cut_up(message, cut)
        assert b"".join(pieces) == message
        assert all(pieces)
        assert len(pieces) > 1 or cut == "whole"


def say(listener: socket.socket, octets: bytes) -> None:
    peer, _ = listener.accept()
    with peer:
        peer.sendall(octets)


class TestReferee:
    ENVIRON = {  # noqa: RUF012
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/a?b",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "h",
        "HTTP_X_Y": "1,2",
        "REMOTE_PORT": "7",
        "PATH_INFO": "/a",
    }
    HEAD = b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-Y: 1 \r\nX_Y: 3\r\nx-y:\t2\r\n\r\n"

    @staticmethod
    def verdict_of(environ: dict[str, str], octets: bytes) -> list[str]:
        witness = referee.Witness(7)
        witness.take(octets)
        return referee.disagreements([environ], [witness])

    def test_agrees_with_a_true_reading(self):
        assert self.verdict_of(self.ENVIRON, self.HEAD) == []
        assert self.verdict_of(self.ENVIRON, b"\r\n" + self.HEAD + b"trailing") == []

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("REQUEST_METHOD", "get"),
            ("RAW_URI", "/a"),
            ("SERVER_PROTOCOL", "HTTP/1.0"),
            ("HTTP_HOST", "i"),
            ("HTTP_X_Y", "1,2,3"),
            ("HTTP_NEW", ""),
            ("CONTENT_LENGTH", "0"),
            ("CONTENT_TYPE", ""),
        ],
    )
    def test_disagrees_with_any_other(self, key, value):
        assert self.verdict_of({**self.ENVIRON, key: value}, self.HEAD) != []

    def test_disagrees_when_a_field_is_missing(self):
        environ = {key: value for key, value in self.ENVIRON.items() if key != "HTTP_X_Y"}
        assert self.verdict_of(environ, self.HEAD) != []

    @pytest.mark.parametrize(
        "head", [b"", HEAD[:-2], HEAD.replace(b"Y: ", b"Y : "), HEAD.replace(b"\r", b"")], ids=repr
    )
    def test_disagrees_when_llhttp_refuses_the_head_or_has_none(self, head):
        assert self.verdict_of(self.ENVIRON, head) != []

    def test_cuts_the_stream_where_llhttp_does(self):
        witness = referee.Witness()
        messages = [
            wire.request("/1", method="POST", body=b"GET / HTTP/1.1\r\n\r\n"),
            wire.request("/2", method="BREW", fields=[("Transfer-Encoding", "chunked")])
            + wire.chunked(b"\r\n\r\n", b"a\nb", trailer=b"Content-Length: 4\r\n"),
            wire.request("/3", fields=[("Upgrade", "x"), ("Connection", "upgrade")], body=b"hello"),
            wire.request("/4", fields=[("Transfer-Encoding", "chunked\t")], body=wire.chunked(b"x")),
            wire.request("/5"),
        ]
        for piece in wire.cut_up(b"".join(messages), 1):
            witness.take(piece)
        assert [head and head.target for head in witness.heads] == [b"/1", b"/2", b"/3", b"/4", b"/5"]

    def test_sees_what_goes_through_serve(self, serve):
        running = serve(verdict.echo)
        with running.connect() as client:
            client.exchange(verdict.GOOD)
            client.witness.heads[0] = None
            assert referee.disagreements(running.as_sent, running.witnesses) != []
            running.as_sent.clear()


class TestChecks:
    @pytest.fixture
    def suite(self, pytester, request):
        pytester.makeconftest((request.path.parent / "conftest.py").read_text())
        pytester.syspathinsert(request.path.parent)
        return pytester

    def test_a_fault_of_the_server_fails_the_test(self, suite, monkeypatch):
        """In a process of its own: the same check watches this test."""
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        suite.makepyfile("import logging\ndef test(): logging.getLogger('headrace').critical('a fault')")
        suite.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1, errors=1)

    def test_an_error_of_the_application_does_not(self, suite):
        suite.makepyfile("import logging\ndef test(): logging.getLogger('headrace').error('the application failed')")
        suite.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)

    def test_an_object_left_behind_fails_the_test_in_debug_builds(self, suite, monkeypatch):
        from headrace.engine import debug

        monkeypatch.setattr(debug, "object_counts", iter([{"Spool": 0}, {"Spool": 1}, {"Spool": 1}]).__next__)
        suite.makepyfile("def test(): pass")
        suite.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1, errors=1)
