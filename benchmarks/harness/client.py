"""A blocking HTTP/1.1 client that believes nothing, and the check of one workload's answers."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from harness.process import HOST
from harness.workloads import Workload

PATIENCE_S = 10.0


class CheckFailed(Exception):
    """A server's answer is not what the workload asks for."""


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]  # names in lower case; repeated ones joined by line feeds
    body: bytes
    keeps_alive: bool


class Client:
    """One connection."""

    def __init__(self, port: int, patience_s: float = PATIENCE_S) -> None:
        self.socket = socket.create_connection((HOST, port), patience_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Answer:
        """Reads one answer; raises CheckFailed on anything that is not one."""
        try:
            version, status = self._status_line()
            fields = self._fields()
            body, until_close = self._body(fields)
        except OSError as error:
            raise CheckFailed(f"no whole answer: {error}") from error
        wish = fields.get("connection", "").lower()
        alive = wish == "keep-alive" if version == b"HTTP/1.0" else wish != "close"
        return Answer(status, fields, body, alive and not until_close)

    def at_end(self) -> bool:
        try:
            return self.stream.read(1) == b""
        except OSError:
            return False

    def _line(self) -> bytes:
        line = self.stream.readline(65536)
        if not line.endswith(b"\r\n"):
            raise CheckFailed(f"a line cut short: {line!r}")
        return line[:-2]

    def _status_line(self) -> tuple[bytes, int]:
        version, _, rest = self._line().partition(b" ")
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or not rest[:3].isdigit():
            raise CheckFailed(f"not a status line: {version + b' ' + rest!r}")
        return version, int(rest[:3])

    def _fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            name, value = name.lower(), value.strip()
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        return fields

    def _exactly(self, size: int) -> bytes:
        data = self.stream.read(size)
        if len(data) != size:
            raise CheckFailed(f"{len(data)} bytes where {size} were announced")
        return data

    def _body(self, fields: dict[str, str]) -> tuple[bytes, bool]:
        """The body, and whether only the end of the connection ended it."""
        if fields.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks(), False
        if "content-length" in fields:
            return self._exactly(int(fields["content-length"])), False
        return self.stream.read(), True

    def _chunks(self) -> bytes:
        blocks = []
        while size := int(self._line().partition(b";")[0], 16):
            blocks.append(self._exactly(size))
            if self._line():
                raise CheckFailed("no CRLF behind a chunk")
        if self._line():
            raise CheckFailed("a trailer that nobody asked for")
        return b"".join(blocks)


def check_answer(answer: Answer, workload: Workload) -> None:
    if answer.status != 200:
        raise CheckFailed(f"status {answer.status}")
    if answer.body != workload.body:
        raise CheckFailed(f"another body, {len(answer.body)} bytes: {answer.body[:60]!r}")
    for name, value in workload.fields.items():
        if value not in answer.fields.get(name, "").split("\n"):
            raise CheckFailed(f"field {name}: {answer.fields.get(name)!r} instead of {value!r}")


def check(port: int, workload: Workload) -> None:
    """Asks twice, on one connection where it is kept, and compares every byte; raises CheckFailed."""
    try:
        with Client(port) as client:
            for _ in range(2):
                client.send(workload.request)
                answers = [client.answer() for _ in range(workload.answers)]
                for answer in answers:
                    check_answer(answer, workload)
                if workload.closes or not answers[-1].keeps_alive:
                    break
            if workload.closes and not client.at_end():
                raise CheckFailed("the connection stays open after Connection: close")
    except OSError as error:
        raise CheckFailed(f"connection failed: {error}") from error
