"""--proxy-protocol: headers of versions 1 and 2 written by hand, whole and cut, good and hostile.

The grammar is tested in C (c/test_proxy_header.c), HAProxy's own headers in test_behind_haproxy.py."""

from __future__ import annotations

import logging
import re
import struct
import time
from functools import partial
from pathlib import Path

import pytest
from wire import request, wait_until

from headrace.engine.proxy_errors import PROXY_ERRORS

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TCP4 = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + struct.pack("!HH", 56789, 443)
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 56789 443\r\n"


def test_every_fault_has_its_words():
    header = Path(__file__).parents[2] / "csrc" / "proxy_header.h"
    if not header.is_file():
        pytest.skip("no sources beside the tests")
    (listed,) = re.findall(r"enum proxy_header_error {(.*?)PROXY_ERROR_COUNT", header.read_text(), re.DOTALL)
    assert len(re.findall(r"^    PROXY_\w+", listed, re.MULTILINE)) == len(PROXY_ERRORS)


def v2(command, family, rest, said=None):
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest) if said is None else said) + rest


V2 = v2(0x21, 0x11, TCP4 + b"\x04\0\x02zz")
LOCAL = v2(0x20, 0, b"")


def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@pytest.fixture
def serve(serve):
    """With the PROXY protocol, and without the referee, which reads HTTP."""
    return partial(serve, referee=False, proxy_protocol=True)


def answer_to(running, octets, cut="whole"):
    """The environ of the one request behind a header; on a connection of its own."""
    with running.connect(watched=False) as client:
        client.send(octets, cut)
        assert client.read_response().status == 200
        return dict(running.environs[-1])


def counted(running):
    return running.server._worker._loop.counts()["proxy_headers_refused"]


class TestWhoTheClientIs:
    @pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
    @pytest.mark.parametrize("cut", ["whole", 1, 7])
    def test_comes_from_the_header_however_it_is_cut(self, serve, transport, header, cut):
        environ = answer_to(serve(hello), header + request("/a"), cut)
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.1", "56789")
        assert [environ["PROXY_" + key] for key in ("PROTOCOL", "ADDR", "PORT")] == ["TCP4", "198.51.100.7", "443"]
        assert environ["PATH_INFO"] == "/a"

    def test_is_told_at_every_cut_in_two(self, serve):
        running = serve(hello)
        for header in (V1, V2):
            message = header + request()
            for place in range(1, len(header) + 2):
                with running.connect(watched=False) as client:
                    client.send(message[:place])
                    client.send(message[place:])
                    assert client.read_response().status == 200
                    assert running.environs[-1]["REMOTE_ADDR"] == "192.0.2.1"

    def test_stays_for_all_requests_of_the_connection(self, serve):
        running = serve(hello)
        with running.connect(watched=False) as client:
            client.send(V1 + request() * 3)
            for _ in range(3):
                assert client.read_response().status == 200
            for target in ("/", "/", "/b"):
                assert client.exchange(request(target)).status == 200
        assert [environ["REMOTE_ADDR"] for environ in running.environs] == ["192.0.2.1"] * 6
        assert [environ["PROXY_PORT"] for environ in running.environs] == ["443"] * 6

    def test_is_ipv6(self, serve):
        environ = answer_to(serve(hello), b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n" + request())
        assert (environ["REMOTE_ADDR"], environ["PROXY_PROTOCOL"]) == ("2001:db8::1", "TCP6")

    @pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", LOCAL, v2(0x21, 0, b"x"), v2(0x21, 0x12, TCP4)], ids=repr)
    def test_is_the_connections_peer_where_the_proxy_speaks_for_nobody(self, serve, header):
        environ = answer_to(serve(hello), header + request())
        assert environ["REMOTE_ADDR"] == "127.0.0.1"
        assert "PROXY_PROTOCOL" not in environ

    def test_is_in_the_access_log(self, serve, tmp_path):
        running = serve(hello, access_logfile=str(tmp_path / "log"))
        answer_to(running, V1 + request())
        running.stop()
        assert (tmp_path / "log").read_text().startswith("192.0.2.1 ")


class TestForwardedFieldsBehindIt:
    """They come from the client that the header names, which is no proxy because it came through one."""

    FIELDS = (("X-Forwarded-For", "203.0.113.9"),)

    def test_of_a_client_are_removed(self, serve):
        environ = answer_to(serve(hello), V1 + request(fields=self.FIELDS))
        assert environ["REMOTE_ADDR"] == "192.0.2.1"
        assert "HTTP_X_FORWARDED_FOR" not in environ

    def test_of_a_client_that_is_a_trusted_proxy_are_believed(self, serve):
        environ = answer_to(serve(hello, forwarded_allow_ips="192.0.2.0/24"), V1 + request(fields=self.FIELDS))
        assert environ["REMOTE_ADDR"] == "203.0.113.9"

    def test_of_a_unix_client_of_the_proxy_are_removed(self, serve):
        header = v2(0x21, 0x31, b"/run/c".ljust(216, b"\0"))
        environ = answer_to(serve(hello), header + request(fields=self.FIELDS))
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("", "")
        assert "HTTP_X_FORWARDED_FOR" not in environ

    def test_of_the_proxy_itself_are_believed(self, serve):
        environ = answer_to(serve(hello), LOCAL + request(fields=self.FIELDS))
        assert environ["REMOTE_ADDR"] == "203.0.113.9"


class TestNetworks:
    def test_others_speak_http_alone(self, serve, transport):
        running = serve(hello, proxy_allow_from="192.0.2.0/24")
        assert answer_to(running, request())["REMOTE_ADDR"] == ("127.0.0.1" if transport == "tcp" else "")

    @pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
    def test_others_are_not_believed(self, serve, transport, header):
        running = serve(hello, proxy_allow_from="192.0.2.0/24")
        with running.connect(watched=False) as client:
            client.send(header + request(), may_break=True)
            assert client.read_response().status == 400
        assert running.environs == []

    def test_without_the_option_nobody_is(self, serve):
        running = serve(hello, proxy_protocol=False)
        with running.connect(watched=False) as client:
            client.send(V1 + request(), may_break=True)
            assert client.read_response().status == 400

    def test_unix_peers_are_in_them_by_the_word(self, serve):
        assert answer_to(serve(hello, unix=True, proxy_allow_from="unix"), V2 + request())["REMOTE_ADDR"] == "192.0.2.1"


HOSTILE = {
    "no header at all": (request(), "begins with something else"),
    "TLS": (b"\x16\x03\x01\x02\0\x01\0", "begins with something else"),
    "line feed": (b"PROXY UNKNOWN\n" + request(), "malformed line of version 1"),
    "no end": (b"PROXY TCP4 " + b"1" * 200, "longer than 107"),
    "two headers": (b"PROXY UNKNOWN \r" + V1, "malformed line of version 1"),
    "address": (b"PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n", "malformed line of version 1"),
    "version 3": (v2(0x31, 0x11, TCP4), "neither version 2"),
    "command": (v2(0x22, 0x11, TCP4), "neither version 2"),
    "family": (v2(0x21, 0x41, TCP4), "does not know"),
    "too short": (v2(0x21, 0x21, TCP4), "too short for its addresses"),
    "too long": (v2(0x21, 0x11, TCP4, 65535), "longer than 4096"),
}


class TestHostileHeaders:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_close_the_connection_without_an_answer(self, serve, transport, caplog, name):
        octets, why = HOSTILE[name]
        running = serve(hello)
        with caplog.at_level(logging.WARNING, "headrace"), running.connect(watched=False) as client:
            client.send(octets, may_break=True)
            client.assert_gone()
        assert running.environs == []
        assert counted(running) == 1
        (message,) = [record.getMessage() for record in caplog.records]
        peer = re.escape("127.0.0.1" if transport == "tcp" else "a UNIX socket")
        told = rf"HR209 a connection from {peer} is closed, for it has no PROXY header.*\(1 so far\)"
        assert re.fullmatch(told, message)
        assert why in message

    def test_that_end_at_any_octet_are_counted_and_leave_nothing(self, serve):
        running = serve(hello)
        octets = [header[:place] for header in (V1, V2) for place in range(1, len(header))]
        for beginning in octets:
            with running.connect(watched=False) as client:
                client.send(beginning)
        wait_until(lambda: counted(running) == len(octets), "all of them to be counted")
        wait_until(lambda: running.connection_count() == 0, "all of them to go")
        assert answer_to(running, V2 + request())["REMOTE_ADDR"] == "192.0.2.1"

    def test_that_never_come_are_waited_for_no_longer_than_a_head(self, serve, caplog):
        running = serve(hello, head_timeout=0.3)
        with caplog.at_level(logging.WARNING, "headrace"):
            for beginning in (b"", V1[:-1], V2[:-1]):
                with running.connect(watched=False) as client:
                    client.send(beginning)
                    client.assert_gone()
        assert counted(running) == 3
        assert "did not come in time" in caplog.text

    def test_that_drip_gain_nothing_by_dripping(self, serve, caplog):
        running = serve(hello, head_timeout=0.3)
        with caplog.at_level(logging.WARNING, "headrace"), running.connect(watched=False) as client:
            for octet in V1:
                client.send(bytes([octet]), may_break=True)
                if client.has_input(0.05):  # its end
                    break
            client.assert_gone()
        assert "did not come in time" in caplog.text

    def test_that_come_many_times_a_second_are_told_once_in_one(self, serve, caplog):
        running = serve(hello)
        with caplog.at_level(logging.WARNING, "headrace"):
            began = time.monotonic()
            for _ in range(40):
                with running.connect(watched=False) as client:
                    client.send(b"x")
                    client.assert_gone()
            took_s = time.monotonic() - began
        assert counted(running) == 40
        assert len(caplog.records) <= 1 + took_s

    def test_do_not_hold_up_a_stop(self, serve):
        running = serve(hello, graceful_timeout=20)
        with running.connect(watched=False) as client:
            wait_until(lambda: running.connection_count() == 1, "it to be accepted")
            running.stop()
            client.assert_gone()
