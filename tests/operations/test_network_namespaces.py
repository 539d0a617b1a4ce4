"""Hosts of their own, as network namespaces with links between them: real addresses, and a cable that is pulled.

    client ---- proxy ---- server       client at 10.1.0.1, proxy at 10.1.0.2; proxy at 10.2.0.2, server at 10.2.0.3
       \\____________________/          client at 10.3.0.1, server at 10.3.0.3; the same with fd00:N::

The server runs in this process, with listening sockets that were made in its host.  Takes root and iproute2.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import shutil
import socket
import struct
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import pytest
import wire
from wire import request

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
WAIT_S = 4 * wire.PATIENCE_S
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, IFF_RUNNING = 0x8913, 0x40
LIBC = ctypes.CDLL(None, use_errno=True)

pytestmark = [
    pytest.mark.skipif(not hasattr(LIBC, "setns"), reason="network namespaces are Linux's"),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root"),
    pytest.mark.skipif(shutil.which("ip", path=PATH) is None, reason="ip (iproute2) is not installed"),
]
needs_haproxy = pytest.mark.skipif(shutil.which("haproxy", path=PATH) is None, reason="haproxy is not installed")


class Addresses(NamedTuple):
    """One family's.  behind, outside: the server's, on the proxy's link and on the client's."""

    client: str
    proxy: str
    proxy_behind: str
    behind: str
    client_outside: str
    outside: str


FOUR = Addresses("10.1.0.1", "10.1.0.2", "10.2.0.2", "10.2.0.3", "10.3.0.1", "10.3.0.3")
SIX = Addresses("fd00:1::1", "fd00:1::2", "fd00:2::2", "fd00:2::3", "fd00:3::1", "fd00:3::3")
HAS_IPV6 = socket.has_dualstack_ipv6()
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 here")
FAMILIES = pytest.mark.parametrize(
    "family", [pytest.param(FOUR, id="ipv4"), pytest.param(SIX, id="ipv6", marks=needs_ipv6)]
)
PORT = 8000
LINKS = [("client", "proxy", 1), ("proxy", "server", 2), ("client", "server", 3)]
ENDS = {"client": 1, "proxy": 2, "server": 3}


def ip(*words, batch=None):
    """Raises CalledProcessError."""
    # The sanitizers' run-time libraries, when the tests are run with them, are not for this.
    environ = {**{name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}, "PATH": PATH}
    subprocess.run(["ip", *words], input=batch, env=environ, check=True, capture_output=True, text=True)


class Network:
    """client, proxy, server: the names of the namespaces."""

    def __init__(self):
        mark = secrets.token_hex(4)
        self.client, self.proxy, self.server = (f"headrace-{mark}-{host}" for host in ENDS)
        self.names = dict(zip(ENDS, (self.client, self.proxy, self.server), strict=True))

    def begin(self):
        for name in self.names.values():
            ip("netns", "add", name)
        for one, other, _ in LINKS:
            ip("-n", self.names[one], "link", "add", f"to-{other}", "type", "veth",
               "peer", "name", f"to-{one}", "netns", self.names[other])  # fmt: skip
        for host, name in self.names.items():
            lines = ["link set lo up"]
            for one, other, number in LINKS:
                if host in (one, other):
                    link = f"to-{other if host == one else one}"
                    lines += [f"addr add 10.{number}.0.{ENDS[host]}/24 dev {link}", f"link set {link} up"]
                    if HAS_IPV6:
                        lines.append(f"addr add fd00:{number}::{ENDS[host]}/64 dev {link} nodad")
            ip("-n", name, "-batch", "-", batch="\n".join(lines) + "\n")
        for one, other, _ in LINKS:
            for end, link in ((one, f"to-{other}"), (other, f"to-{one}")):
                wire.wait_until(partial(self.is_running, end, link), f"{end}'s link", WAIT_S)

    def is_running(self, host, link):
        """It drops packets until the kernel has noticed that the other end is up."""
        with inside(self.names[host]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh14x", link.encode(), 0))
        return struct.unpack_from("16xh", answer)[0] & IFF_RUNNING

    def end(self):
        for name in self.names.values():
            if os.path.exists(f"/run/netns/{name}"):
                ip("netns", "del", name)  # its links go with it

    def pull_cable(self):
        """Of the client's link to the server: nothing arrives any more, and nobody is told."""
        ip("-n", self.client, "link", "set", "to-server", "down")


@pytest.fixture
def network():
    made = Network()
    try:
        made.begin()
    except subprocess.CalledProcessError as error:
        made.end()
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    yield made
    made.end()


@contextmanager
def inside(name):
    """This thread is in that host, for what it makes: a socket stays there, and so does a process that is started."""
    with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{name}") as there:
        enter(there)
        try:
            yield
        finally:
            enter(before)


def enter(namespace):
    if LIBC.setns(namespace.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@pytest.fixture
def serve(serve, network):
    """serve(application, addresses, **settings): in the server's host, at this port of these addresses."""

    def start(application, addresses, **settings):
        binds = [f"[{one}]:{PORT}" if ":" in one else f"{one}:{PORT}" for one in addresses]
        with inside(network.server):
            return serve(application, bind=binds, referee=False, **settings)

    return start


@pytest.fixture
def connect():
    """connect(host, address, port=PORT): a client there."""
    made = []

    def connect(host, address, port=PORT):
        with inside(host):
            made.append(wire.Client((address, port), timeout=WAIT_S, watched=False))
        return made[-1]

    yield connect
    for client in made:
        client.close()


HAPROXY = """
defaults
    timeout connect 60s
    timeout client 60s
    timeout server 60s
listen forwarded-for
    mode http
    bind {proxy}:81
    option forwardfor
    server one {behind}
listen forwarded
    mode http
    bind {proxy}:82
    http-request set-header Forwarded 'for="{open}%[src]{close}"'
    server one {behind}
listen proxy-protocol
    mode tcp
    bind {proxy}:83
    server one {behind} send-proxy-v2
"""
FORWARDED_FOR, FORWARDED, PROXY_PROTOCOL = 81, 82, 83


@pytest.fixture
def haproxy(network, tmp_path):
    """haproxy(family): in the proxy's host, in front of the server."""
    started = []

    def start(family):
        is_six = ":" in family.proxy
        values = {"open": "[" if is_six else "", "close": "]" if is_six else ""}
        text = HAPROXY.format(proxy=family.proxy, behind=f"{family.behind}:{PORT}", **values)
        (tmp_path / "haproxy.cfg").write_text(text)
        environ = {**{name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}, "PATH": PATH}
        with inside(network.proxy), (tmp_path / "log").open("w") as log:
            command = ["haproxy", "-db", "-f", tmp_path / "haproxy.cfg"]
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environ))
        wire.wait_until(partial(listens, family.proxy), "haproxy to listen", WAIT_S)

    def listens(address):
        assert started[-1].poll() is None, (tmp_path / "log").read_text()
        try:
            with inside(network.client):
                socket.create_connection((address, PROXY_PROTOCOL - 1), WAIT_S).close()
        except ConnectionRefusedError:
            return False
        return True

    yield start
    for process in started:
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


SPOOFED = [("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-Proto", "https"), ("Forwarded", "for=203.0.113.1")]


@pytest.fixture
def environ_of(connect):
    """environ_of(running, host, address, port=PORT): what is str in the environ of a request with fields that a client
    has made up."""

    def environ_of(running, host, address, port=PORT):
        response = connect(host, address, port).exchange(request(fields=SPOOFED))
        assert response.status == 200, response
        return running.environs[-1]

    return environ_of


@FAMILIES
class TestWhoTheClientIs:
    @needs_haproxy
    @pytest.mark.parametrize(("port", "fields"), [(FORWARDED_FOR, "x-forwarded-for"), (FORWARDED, "forwarded")])
    def test_is_what_a_trusted_proxy_says(self, network, serve, haproxy, environ_of, family, port, fields):
        allowed = f"{family.proxy_behind}/{128 if ':' in family.proxy_behind else 32}"
        running = serve(application, [family.behind], forwarded_allow_ips=allowed, forwarded_fields=fields)
        haproxy(family)
        assert environ_of(running, network.client, family.proxy, port)["REMOTE_ADDR"] == family.client

    @needs_haproxy
    def test_is_the_proxy_where_that_is_not_trusted(self, network, serve, haproxy, environ_of, family):
        """Another address of its own network is."""
        running = serve(application, [family.behind], forwarded_allow_ips=family.client)
        haproxy(family)
        environ = environ_of(running, network.client, family.proxy, FORWARDED_FOR)
        assert environ["REMOTE_ADDR"] == family.proxy_behind
        assert not [name for name in environ if "FORWARDED" in name]

    def test_is_the_connections_peer_for_one_who_comes_past_the_proxy(self, network, serve, environ_of, family):
        running = serve(application, [family.behind, family.outside], forwarded_allow_ips=family.proxy_behind)
        environ = environ_of(running, network.client, family.outside)
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (family.client_outside, "http")
        assert not [name for name in environ if "FORWARDED" in name]

    @needs_haproxy
    def test_is_what_the_proxy_protocol_says_from_its_network_alone(
        self, network, serve, haproxy, connect, environ_of, family
    ):
        allowed = "10.2.0.0/24,fd00:2::/64"
        running = serve(
            application, [family.behind, family.outside], proxy_protocol=True, proxy_allow_from=allowed,
            forwarded_allow_ips="",
        )  # fmt: skip
        haproxy(family)
        environ = environ_of(running, network.client, family.proxy, PROXY_PROTOCOL)
        assert (environ["REMOTE_ADDR"], environ["PROXY_ADDR"]) == (family.client, family.proxy)
        assert environ_of(running, network.client, family.outside)["REMOTE_ADDR"] == family.client_outside
        calls = running.calls
        header = f"PROXY TCP{6 if ':' in family.client else 4} {family.proxy} {family.behind} 1 2\r\n".encode()
        client = connect(network.client, family.outside)
        client.send(header + request(), may_break=True)
        assert client.read_response().status == 400
        assert running.calls == calls


@FAMILIES
class TestBinds:
    def test_to_one_address_are_not_reached_at_another(self, network, serve, connect, environ_of, family):
        running = serve(application, [family.behind])
        with pytest.raises(ConnectionRefusedError):
            connect(network.client, family.outside)
        assert environ_of(running, network.proxy, family.behind)["REMOTE_ADDR"] == family.proxy_behind

    def test_to_all_addresses_are_reached_at_each(self, network, serve, environ_of, family):
        running = serve(application, ["0.0.0.0" if family is FOUR else "::"])
        assert environ_of(running, network.client, family.outside)["REMOTE_ADDR"] == family.client_outside
        assert environ_of(running, network.proxy, family.behind)["REMOTE_ADDR"] == family.proxy_behind


@needs_ipv6
class TestASocketForBothFamilies:
    def test_knows_ipv4_peers_by_their_ipv4_addresses(self, network, serve, environ_of):
        running = serve(application, ["::"], forwarded_allow_ips=FOUR.proxy_behind)
        assert environ_of(running, network.proxy, FOUR.behind)["REMOTE_ADDR"] == "203.0.113.1"
        assert environ_of(running, network.client, FOUR.outside)["REMOTE_ADDR"] == FOUR.client_outside


class Endless:
    """Blocks until somebody closes it."""

    def __init__(self):
        self.is_closed = False

    def __iter__(self):
        while True:
            yield b"x" * 65536

    def close(self):
        self.is_closed = True


class TestAClientWhoseCableIsPulled:
    """With one thread: whoever held it would keep the other host from being served."""

    LIMIT_S = 1.0

    @pytest.fixture
    def vanishes(self, network, serve, connect):
        """vanishes(setting, message, until, application=...): a client sends this, its cable is pulled when until(it)
        says so, and its connection is gone after what the setting says, and no sooner."""

        def vanishes(setting, message, until, application=application):
            running = serve(application, [FOUR.behind, FOUR.outside], threads=1, **{setting: self.LIMIT_S})
            client = connect(network.client, FOUR.outside)
            since_s = time.monotonic()
            client.send(message)
            until(client)
            network.pull_cable()
            other = connect(network.proxy, FOUR.behind)
            assert other.exchange(request("/quick", fields=[("Connection", "close")])).status == 200
            other.assert_closed()
            wire.wait_until(lambda: running.connection_count() == 0, "the end of the connection", WAIT_S)
            assert time.monotonic() - since_s > 0.9 * self.LIMIT_S

        return vanishes

    def test_while_it_is_idle(self, vanishes):
        vanishes("keep_alive", request(), lambda client: client.read_response())

    def test_in_the_middle_of_a_head(self, vanishes):
        vanishes("head_timeout", request()[:-2], lambda client: None)

    def test_in_the_middle_of_a_body(self, vanishes):
        message = request(method="POST", body=b"1234", fields=[("Expect", "100-continue")])
        vanishes("body_timeout", message[:-2], lambda client: client.read_response())

    def test_in_the_middle_of_an_answer_which_is_closed(self, vanishes):
        answer = Endless()

        def endless(environ, start_response):
            if environ["PATH_INFO"] == "/quick":
                return application(environ, start_response)
            start_response("200 OK", [])
            return answer

        vanishes("write_timeout", request(), lambda client: client.read_head(), endless)
        assert answer.is_closed
