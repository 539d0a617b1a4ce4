"""A Balancer and its backends, each in a network namespace of its own, while backends are killed or cut off under load.

    [client] --UNIX socket--> [balancer] ==veth== [backend 0]
                                         ==veth== [backend 1]
                                         ==veth== [backend 2]

Every server is a process of the command line.  The namespaces touch nothing of the machine's own network; making them
needs iproute2 and CAP_SYS_ADMIN, without which these tests are skipped.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import textwrap
import threading

import pytest
import wire
from command import WAIT_S, Command

pytest.importorskip("urllib3")

IP = shutil.which("ip", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
PORT = 8000

BACKEND = """
    import os, time

    def application(environ, start_response):
        time.sleep(0.005)
        body = os.environ["BACKEND_NAME"].encode() + b" " + environ["PATH_INFO"].encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
"""

BALANCER = """
    from headrace.middleware import Balancer

    application = Balancer(
        [f"http://10.0.{number}.2:8000" for number in range(3)],
        connect_timeout_s=1, read_timeout_s=2, rest_s=0.1, rest_max_s=0.4, max_failures=1,
    )
"""


def ip(*arguments):
    done = subprocess.run([IP, *arguments], capture_output=True, text=True, timeout=WAIT_S)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def in_namespace(name):
    """What Python runs to become a `headrace` process in a namespace: the process id stays the same."""
    code = (
        "import os, sys; "
        f"os.execv({IP!r}, ['ip', 'netns', 'exec', {name!r}, sys.executable, '-m', 'headrace', *sys.argv[1:]])"
    )
    return ("-c", code)


@pytest.fixture(scope="module")
def namespaces():
    """The balancer's namespace and those of three backends, connected; skips where that is not permitted."""
    if IP is None:
        pytest.skip("no ip(8) on this machine: apt-get install iproute2")
    prefix = f"hr{os.getpid()}"
    names = [f"{prefix}-balancer", *(f"{prefix}-backend{number}" for number in range(3))]
    made = []
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                made.append(name)
                ip("-n", name, "link", "set", "lo", "up")
            for number, name in enumerate(names[1:]):
                ip("-n", names[0], "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
                ip("-n", names[0], "addr", "add", f"10.0.{number}.1/30", "dev", f"to{number}")
                ip("-n", name, "addr", "add", f"10.0.{number}.2/30", "dev", "eth0")
                ip("-n", names[0], "link", "set", f"to{number}", "up")
                ip("-n", name, "link", "set", "eth0", "up")
        except OSError as failure:
            pytest.skip(f"network namespaces are not permitted here: {failure}")
        yield names
    finally:
        for name in made:
            ip("netns", "del", name)


@pytest.fixture
def network(namespaces, tmp_path, monkeypatch):
    (tmp_path / "backend.py").write_text(textwrap.dedent(BACKEND))
    (tmp_path / "balancer.py").write_text(textwrap.dedent(BALANCER))
    network = Network(namespaces, tmp_path, monkeypatch)
    try:
        network.start()
        yield network
    finally:
        network.end()


class Network:
    def __init__(self, names, folder, monkeypatch):
        self.names, self.folder, self.monkeypatch = names, folder, monkeypatch
        self.path = folder / "s"
        self.backends = {}
        self.balancer = None

    def start(self):
        for number in range(3):
            self.start_backend(number)
        file, bind = self.folder / "balancer.py", f"unix:{self.path}"
        self.balancer = Command(file, "-b", bind, "--threads", 16, program=in_namespace(self.names[0]))

    def start_backend(self, number):
        self.monkeypatch.setenv("BACKEND_NAME", str(number))
        program = in_namespace(self.names[1 + number])
        file, bind = self.folder / "backend.py", f"10.0.{number}.2:{PORT}"
        self.backends[number] = Command(file, "-b", bind, program=program)

    def kill_backend(self, number):
        self.backends.pop(number).end(signal.SIGKILL)

    def cut(self, number):
        """As when a machine loses its power: what is sent there is lost, and nothing comes back."""
        ip("-n", self.names[1 + number], "link", "set", "eth0", "down")

    def mend(self, number):
        ip("-n", self.names[1 + number], "link", "set", "eth0", "up")

    def client(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(WAIT_S)
        sock.connect(str(self.path))
        client = http.client.HTTPConnection("shop.example")
        client.sock = sock
        return client

    def end(self):
        for process in filter(None, [self.balancer, *self.backends.values()]):
            process.end(signal.SIGKILL)


class Load:
    """Threads that send one GET after the other.  wrong: what was not a whole 200; answers: by backend."""

    def __init__(self, network, threads=8):
        self.network = network
        self.answers, self.wrong = {"0": 0, "1": 0, "2": 0}, []
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=[number]) for number in range(threads)]

    def run(self, number):
        client, turn = self.network.client(), 0
        while not self.stopped.is_set():
            turn += 1
            path = f"/{number}/{turn}"
            try:
                client.request("GET", path)
                answer = client.getresponse()
                said = (answer.status, answer.read().decode())
            except (OSError, http.client.HTTPException) as failure:
                said = (0, repr(failure))
                client.close()
                client = self.network.client()
            with self.lock:
                backend = said[1][:1]
                if said == (200, f"{backend} {path}"):
                    self.answers[backend] += 1
                else:
                    self.wrong.append((path, said))
        client.close()

    def wait_for_more(self, *backends, count=20):
        """Until each of them has answered so many more requests."""
        goals = {backend: self.answers[backend] + count for backend in backends}
        wire.wait_until(
            lambda: self.wrong or all(self.answers[backend] >= goal for backend, goal in goals.items()),
            f"{count} more answers of {backends}",
            WAIT_S,
        )
        assert self.wrong == []

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join(WAIT_S)


def test_killed_backends_cost_no_get(network):
    with Load(network) as load:
        load.wait_for_more("0", "1", "2")
        for number in (1, 2):
            network.kill_backend(number)
            load.wait_for_more(*{"0", "1", "2"} - {str(number)})
            network.start_backend(number)
            load.wait_for_more("0", "1", "2")
    assert load.wrong == []
    network.balancer.errors.wait_for(r"http://10\.0\.1\.2:8000: .+; left alone for 0.1 s")


def test_a_backend_that_is_cut_off_costs_no_get(network):
    with Load(network) as load:
        load.wait_for_more("0", "1", "2")
        network.cut(1)
        network.balancer.errors.wait_for(r"http://10\.0\.1\.2:8000: no (connection|answer) in time")
        load.wait_for_more("0", "2")
        network.mend(1)
        load.wait_for_more("0", "1", "2")
    assert load.wrong == []


def test_without_any_backend_left_it_says_so(network):
    for number in range(3):
        network.kill_backend(number)
    client = network.client()
    client.request("GET", "/")
    answer = client.getresponse()
    assert answer.status == 502
    assert answer.read() == b"502 Bad Gateway: The server behind this one could not be reached.\n"

    def ask_again():
        client.request("GET", "/")
        answer = client.getresponse()
        return answer.read() and answer

    refused = wire.wait_until(lambda: (answer := ask_again()).status == 503 and answer, "an answer while all rest")
    assert refused.headers["Retry-After"] == "1"
    client.close()
