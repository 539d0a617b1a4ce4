"""The Python interface: headrace.Server and headrace.serve."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
import requests

import headrace
from headrace.config import ConfigError
from headrace.process.listeners import ListenError

WAIT_S = 20


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


def fetch(server, path="/"):
    return requests.get(server.url + path, timeout=WAIT_S).text


class TestServer:
    def test_serves_inside_a_with_block_and_is_gone_behind_it(self):
        with headrace.Server(application, port=0) as server:
            assert server.url == f"http://127.0.0.1:{server.port}"
            assert fetch(server, "/inside") == "/inside"
        with pytest.raises(requests.ConnectionError):
            fetch(server)

    def test_port_zero_is_a_real_port_before_anything_is_started(self):
        server = headrace.Server(application, port=0)
        assert server.port > 0
        assert server.host == "127.0.0.1"
        server.stop()

    def test_accepts_when_start_returns(self):
        server = headrace.Server(application, port=0)
        server.start()
        try:
            assert fetch(server) == "/"
        finally:
            server.stop()

    def test_runs_in_the_callers_thread_until_another_stops_it(self):
        server = headrace.Server(application, port=0)
        fetched = []

        def client():
            fetched.append(fetch(server))
            server.stop()

        thread = threading.Thread(target=client)
        thread.start()
        server.run()
        thread.join(WAIT_S)
        assert fetched == ["/"]

    def test_can_be_stopped_before_it_runs_and_twice(self):
        server = headrace.Server(application, port=0)
        server.stop()
        server.stop()
        server.run()  # returns at once
        with pytest.raises(requests.ConnectionError):
            fetch(server)

    def test_can_be_stopped_while_another_thread_starts_it(self):
        for _ in range(30):
            server = headrace.Server(application, port=0)
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            server.start()
            stopping.join(WAIT_S)
            server.stop()
            with pytest.raises(requests.ConnectionError):
                fetch(server)

    def test_can_be_stopped_by_its_own_application(self):
        def stopping(environ, start_response):
            server.stop()
            return application(environ, start_response)

        server = headrace.Server(stopping, port=0)
        server.start()
        assert fetch(server, "/last") == "/last"
        server.stop()

    def test_runs_once(self):
        with headrace.Server(application, port=0) as server, pytest.raises(RuntimeError, match="has run already"):
            server.run()

    def test_listens_at_several_addresses(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with headrace.Server(application, bind=["unix:app.sock", "127.0.0.1:0"]) as server:
            assert server.url == f"unix:{tmp_path}/app.sock"
            assert requests.get(f"http://{server.host}:{server.port}/", timeout=WAIT_S).text == "/"

    def test_takes_ipv6_hosts_without_brackets(self):
        try:
            server = headrace.Server(application, host="::1", port=0)
        except ListenError:
            pytest.skip("no IPv6 here")
        assert server.url == f"http://[::1]:{server.port}"
        server.stop()

    def test_settings_are_keywords(self):
        server = headrace.Server(application, port=0, keep_alive=5)
        assert server.config.keep_alive == 5
        server.stop()

    def test_wrong_settings_are_told_all_at_once(self):
        with pytest.raises(ConfigError) as caught:
            headrace.Server(application, port=0, keepalive=5, backlog=0)
        assert caught.value.problems == (
            "keepalive: there is no such setting; did you mean keep_alive?",
            "backlog: 0 is outside the range 1 to 65535 connections",
        )

    def test_settings_of_the_command_line_alone_are_refused(self):
        with pytest.raises(ConfigError, match="chdir: is for the command headrace and its configuration"):
            headrace.Server(application, port=0, chdir="/")

    def test_a_spool_dir_where_no_file_can_be_made_is_a_wrong_setting(self, tmp_path):
        with pytest.raises(ConfigError, match=f"^spool_dir: there is no folder '{tmp_path}/missing'$"):
            headrace.Server(application, port=0, spool_dir=tmp_path / "missing")

    def test_a_relative_spool_dir_stays_where_it_was_when_the_server_was_made(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        server = headrace.Server(application, port=0, spool_dir=".")
        assert server.config.spool_dir == str(tmp_path)
        server.stop()

    def test_an_application_that_cannot_be_called_is_a_type_error(self):
        with pytest.raises(TypeError, match="this is 5"):
            headrace.Server(5, port=0)

    def test_a_port_in_use_is_told(self):
        with headrace.Server(application, port=0) as server, pytest.raises(ListenError, match="already in use"):
            headrace.Server(application, port=server.port)

    def test_signal_handlers_are_put_back(self):
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        inside = []

        def when_ready():
            inside.append(signal.getsignal(signal.SIGTERM))
            server.stop()

        server = headrace.Server(application, port=0)
        server.run(when_ready)
        assert inside[0] not in before
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


class TestServe:
    def test_says_where_it_listens_and_returns_after_sigint(self):
        program = (
            "import headrace\n"
            "def application(environ, start_response):\n"
            "    start_response('200 OK', [])\n"
            "    return [b'served']\n"
            "headrace.serve(application, port=0)\n"
            "print('returned')\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                url = process.stderr.readline().rpartition("Listening at: ")[2].strip()
                assert requests.get(url, timeout=WAIT_S).text == "served"
                process.send_signal(2)
                output, _ = process.communicate(timeout=WAIT_S)
            finally:
                process.kill()
        assert (process.returncode, output) == (0, "returned\n")
