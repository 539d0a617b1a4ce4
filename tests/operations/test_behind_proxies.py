"""HAProxy and nginx, as Debian packages them, in front of a server: who does the application think its client is?"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from functools import partial
from http.client import HTTPConnection

import pytest
import wire

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
WAIT_S = 4 * wire.PATIENCE_S

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy", path=PATH) is None, reason="haproxy is not installed")
needs_nginx = pytest.mark.skipif(shutil.which("nginx", path=PATH) is None, reason="nginx is not installed")


def echo(environ, start_response):
    body = json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def serve(serve):
    return partial(serve, echo, referee=False)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def run(tmp_path):
    """run(port, command...): a proxy, once it listens at this port; it ends with the test."""
    processes = []

    def run(port, *command):
        # The sanitizers' run-time libraries, when the tests are run with them, are not for these.
        environ = {**{name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}, "PATH": PATH}
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ
            )
        processes.append(process)

        def listens():
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), WAIT_S).close()
            except ConnectionRefusedError:
                return False
            return True

        wire.wait_until(listens, f"{command[0]} to listen", WAIT_S)

    yield run
    for process in processes:
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def haproxy(tmp_path, run):
    """haproxy(running, server_options, mode="tcp", more=""): in front of this server; its port."""

    def haproxy(running, server_options, mode="tcp", more=""):
        port = free_port()
        where = running.address if isinstance(running.address, str) else "127.0.0.1:{1}".format(*running.address)
        (tmp_path / "haproxy.cfg").write_text(f"""
defaults
    mode {mode}
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend front
    bind 127.0.0.1:{port}
    default_backend back
backend back
    {more}
    server one {where} {server_options}
""")
        run(port, "haproxy", "-db", "-f", tmp_path / "haproxy.cfg")
        return port

    return haproxy


@pytest.fixture
def nginx(tmp_path, run):
    """nginx(running, fields): in front of this server, with connections that it keeps; its port."""

    def nginx(running, fields):
        port = free_port()
        where = (
            f"unix:{running.address}" if isinstance(running.address, str) else "127.0.0.1:{1}".format(*running.address)
        )
        temporary = "".join(
            f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (tmp_path / "nginx.conf").write_text(f"""
daemon off;
master_process off;
pid {tmp_path}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    {temporary}
    upstream back {{ server {where}; keepalive 1; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://back;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {fields}
        }}
    }}
}}
""")
        run(port, "nginx", "-c", tmp_path / "nginx.conf", "-e", "stderr")
        return port

    return nginx


def ask(port, source="127.0.0.1", fields=(), times=1):
    """The environs of so many requests on one connection from this address; the address's port."""
    connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_S, source_address=(source, 0))
    try:
        connection.connect()
        source_port = connection.sock.getsockname()[1]
        environs = []
        for _ in range(times):
            connection.request("GET", "/a", headers=dict(fields))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            environs.append(json.loads(answer.read()))
        return environs, str(source_port)
    finally:
        connection.close()


@needs_haproxy
class TestHaproxy:
    @pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"])
    def test_its_proxy_headers_are_read(self, serve, haproxy, version, transport):
        port = haproxy(serve(proxy_protocol=True), version)
        for source in ("127.0.0.1", "127.0.0.5"):
            environs, source_port = ask(port, source, times=3)
            for environ in environs:
                assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (source, source_port)
                assert (environ["PROXY_ADDR"], environ["PROXY_PORT"]) == ("127.0.0.1", str(port))

    @pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
    def test_its_own_checks_are_answered(self, serve, haproxy, version):
        running = serve(proxy_protocol=True)
        haproxy(
            running, f"{version} check check-{version.replace('-v2', '')} inter 100ms", more="option httpchk GET /up"
        )
        wire.wait_until(lambda: "/up" in running.targets, "a check")
        assert running.server._worker._loop.counts()["proxy_headers_refused"] == 0

    def test_without_its_header_is_refused(self, serve, haproxy):
        running = serve(proxy_protocol=True)
        port = haproxy(running, "")
        with pytest.raises(ConnectionError):
            ask(port)
        assert running.calls == 0

    def test_its_forwarded_for_is_believed_and_a_clients_own_is_not(self, serve, haproxy):
        more = "option forwardfor\n    http-request set-header X-Forwarded-Proto https"
        port = haproxy(serve(forwarded_allow_ips="127.0.0.1"), "", "http", more)
        spoofed = {"X-Forwarded-For": "203.0.113.1", "X-Forwarded-Proto": "gopher"}
        for source in ("127.0.0.5", "127.0.0.6"):
            (environ,), _ = ask(port, source, spoofed)
            assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (source, "https")


FOR_AND_PROTO = """
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto https;
"""


@needs_nginx
class TestNginx:
    def test_tells_many_clients_apart_on_one_connection(self, serve, nginx, transport):
        running = serve(forwarded_allow_ips="127.0.0.1,unix")
        port = nginx(running, FOR_AND_PROTO)
        for round_number in range(4):
            for source in ("127.0.0.5", "127.0.0.6", "127.0.0.5", "127.0.0.123"):
                spoofed = {"X-Forwarded-For": f"203.0.113.{round_number % 2}"} if round_number else {}
                environs, _ = ask(port, source, spoofed, times=2)
                for environ in environs:
                    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (source, "https")
        assert running.connection_count() <= 2  # it has kept its connection

    def test_sets_host_and_prefix_where_these_are_named(self, serve, nginx):
        fields = (
            FOR_AND_PROTO + "proxy_set_header X-Forwarded-Host $http_host;proxy_set_header X-Forwarded-Prefix /shop;"
        )
        named = "X-Forwarded-For,X-Forwarded-Proto,X-Forwarded-Host,X-Forwarded-Prefix"
        port = nginx(serve(forwarded_fields=named), fields)
        (environ,), _ = ask(port, fields={"Host": "shop.example", "X-Forwarded-Prefix": "/evil"})
        assert (environ["HTTP_HOST"], environ["SERVER_PORT"]) == ("shop.example", "443")
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/a")

    def test_that_is_not_trusted_is_the_client_and_its_fields_go(self, serve, nginx):
        (environ,), _ = ask(nginx(serve(forwarded_allow_ips="10.0.0.0/8"), FOR_AND_PROTO), "127.0.0.5")
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "http")
        assert [key for key in environ if "FORWARDED" in key] == []

    def test_speaks_proxy_protocol_in_its_stream_module_alone_so_plain_http_is_refused(self, serve, nginx):
        port = nginx(serve(proxy_protocol=True), "")
        connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        connection.request("GET", "/")
        assert connection.getresponse().status == 502
        connection.close()
