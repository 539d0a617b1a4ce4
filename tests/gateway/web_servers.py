"""Real web servers that start CGI programs: nginx with fcgiwrap, and lighttpd, as Debian packages them.

    site = WEB_SERVERS["lighttpd"](folder, program)     # program: Python source, without its first line
    answer = site.request("POST", "/path?a=b", b"body", {"X-Field": "1"})
    answer.status, answer.reason, answer.headers, answer.body
    site.wait_for_log("pattern")                        # its error log, where standard error of the program goes
    site.stop()

Each gets a folder for all of its files, and a free port of 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import ClassVar, NamedTuple

import wire

#: Starting a web server, and a Python for each request, takes longer than an answer.
WAIT_S = 4 * wire.PATIENCE_S

SCRIPT_NAME = "/cgi-bin/program"


class Answer(NamedTuple):
    status: int
    reason: str
    headers: Message
    body: bytes


class Site:
    """A web server with one CGI program.  programs: what has to be installed, on `path`."""

    programs: ClassVar[tuple[str, ...]]
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        (folder / "cgi-bin").mkdir()
        script = folder / "cgi-bin" / "program"
        script.write_text(f"#!{sys.executable}\n{program}", encoding="utf-8")
        script.chmod(0o755)
        (folder / "log").touch()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self.start()
            wire.wait_until(self._answers, f"{self!r} to listen", WAIT_S)
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        raise NotImplementedError

    def run(self, *command: object) -> None:
        """Start a process of this web server; it ends with stop()."""
        # The sanitizers' run-time libraries, when the tests are run with them, are not for these.
        environ = {**{name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}, "PATH": self.path}
        with (self.folder / "log").open("ab") as log:
            words = [str(word) for word in command]
            self._processes.append(
                subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, start_new_session=True
                )
            )

    def _answers(self) -> bool:
        for process in self._processes:
            assert process.poll() is None, f"{process.args} ended with {process.returncode}:\n{self.log}"
        try:
            socket.create_connection(("127.0.0.1", self.port), WAIT_S).close()
        except ConnectionRefusedError:
            return False
        return True

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="backslashreplace")

    def wait_for_log(self, pattern: str) -> None:
        """AssertionError with the whole log when it does not come."""
        try:
            wire.wait_until(lambda: re.search(pattern, self.log), pattern, WAIT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log:\n{self.log}") from None

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)

    def request(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """target: behind the program's name.  An IncompleteRead carries what came of a body that is cut short."""
        connection = self.connect()
        try:
            connection.request(method, SCRIPT_NAME + target, body, dict(headers or {}))
            with connection.getresponse() as response:
                return Answer(response.status, response.reason, response.headers, response.read())
        finally:
            connection.close()

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has left: a worker, a CGI program


class NginxWithFcgiwrap(Site):
    """nginx, which speaks FastCGI, and fcgiwrap, which starts the program for it."""

    programs = ("nginx", "fcgiwrap")

    def start(self) -> None:
        # Without -f, which sends standard error through nginx: nginx drops what comes after the end of the response.
        self.run("fcgiwrap", "-s", f"unix:{self.folder}/fcgi")
        wire.wait_until((self.folder / "fcgi").exists, "fcgiwrap's socket", WAIT_S)
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = self.folder / "nginx.conf"
        configuration.write_text(f"""
            daemon off;
            {"user root;" if os.getuid() == 0 else ""}
            worker_processes 1;
            pid {self.folder}/pid;
            error_log {self.folder}/log;
            events {{ worker_connections 64; }}
            http {{
                access_log off;
                {temporary}
                server {{
                    listen 127.0.0.1:{self.port};
                    location ~ ^{SCRIPT_NAME}(/|$) {{
                        fastcgi_split_path_info ^({SCRIPT_NAME})(.*)$;
                        fastcgi_param SCRIPT_FILENAME {self.folder}$fastcgi_script_name;
                        fastcgi_param SCRIPT_NAME $fastcgi_script_name;
                        fastcgi_param PATH_INFO $fastcgi_path_info;
                        fastcgi_param QUERY_STRING $query_string;
                        fastcgi_param REQUEST_METHOD $request_method;
                        fastcgi_param CONTENT_TYPE $content_type;
                        fastcgi_param CONTENT_LENGTH $content_length;
                        fastcgi_param REQUEST_URI $request_uri;
                        fastcgi_param SERVER_PROTOCOL $server_protocol;
                        fastcgi_param SERVER_SOFTWARE nginx/$nginx_version;
                        fastcgi_param SERVER_NAME $server_name;
                        fastcgi_param SERVER_PORT $server_port;
                        fastcgi_param REMOTE_ADDR $remote_addr;
                        fastcgi_param GATEWAY_INTERFACE CGI/1.1;
                        fastcgi_param HTTPS $https if_not_empty;
                        fastcgi_param NO_BUFFERING "";
                        fastcgi_buffering off;
                        fastcgi_pass unix:{self.folder}/fcgi;
                    }}
                }}
            }}
        """)
        self.run("nginx", "-e", self.folder / "log", "-p", self.folder, "-c", configuration)


class Lighttpd(Site):
    """lighttpd, which starts the program itself."""

    programs = ("lighttpd",)

    def start(self) -> None:
        configuration = self.folder / "lighttpd.conf"
        configuration.write_text(f"""
            server.modules = ("mod_cgi")
            server.document-root = "{self.folder}"
            server.bind = "127.0.0.1"
            server.port = {self.port}
            server.upload-dirs = ("{self.folder}")
            server.errorlog = "{self.folder}/log"
            server.breakagelog = "{self.folder}/log"
            server.stream-response-body = 1
            server.max-keep-alive-idle = 1
            $HTTP["url"] =~ "^/cgi-bin/" {{ cgi.assign = ("" => "") }}
        """)
        self.run("lighttpd", "-D", "-f", configuration)


WEB_SERVERS: dict[str, type[Site]] = {"nginx with fcgiwrap": NginxWithFcgiwrap, "lighttpd": Lighttpd}
