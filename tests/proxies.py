"""nginx and HAProxy in front of a server, each a process of its own with a configuration in a folder of the test.

    with nginx(folder, "127.0.0.1:8000") as address: ...     # the address of the proxy
    with haproxy(folder, "127.0.0.1:8000") as address: ...

Both keep connections to the server open and use them again.  Neither tries a request again that the server has taken.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import wire

WAIT_S = 4 * wire.PATIENCE_S
Address = tuple[str, int]

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream application {{ server {upstream}; keepalive 128; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_next_upstream off;
        }}
    }}
}}
"""

HAPROXY = """
global
    maxconn 4096
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    retries 0
    http-reuse safe
frontend front
    bind 127.0.0.1:{port}
    default_backend application
backend application
    server one {upstream}
"""


def program(name: str) -> str:
    """Its path; the test is skipped where it is missing."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[Address]:
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
    with _running([program("nginx"), "-c", str(configuration), "-e", str(folder / "nginx.log")], port) as address:
        yield address


@contextmanager
def haproxy(folder: Path, upstream: str) -> Iterator[Address]:
    port = free_port()
    configuration = folder / "haproxy.cfg"
    configuration.write_text(HAPROXY.format(upstream=upstream, port=port))
    with _running([program("haproxy"), "-db", "-f", str(configuration)], port) as address:
        yield address


PROXIES = {"nginx": nginx, "haproxy": haproxy}


@contextmanager
def _running(command: list[str], port: int) -> Iterator[Address]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wire.wait_until(lambda: _accepts(port) or process.poll() is not None, f"{command[0]} to listen", WAIT_S)
        assert process.poll() is None, f"{command[0]} has ended with {process.returncode}"
        yield ("127.0.0.1", port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT_S)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
