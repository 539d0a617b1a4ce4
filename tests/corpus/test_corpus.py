r"""Messages as files, each with one verdict however it arrives.

accepted/*.http come from real clients or show what is legal; refused/*.http are attacks and accidents.  A file is a
header of lines that start with "# ", then the octets:

    # words: what this is
    # answers: 200 REQUEST_HOST_MISSING     one for each answer: a status, or last the name of an error
    # request: GET /path                    one for each request that reaches the application, as sent
    # field: HTTP_HOST example.com          of the last of these: a key of its environ, and the value
    # body: abc                             of the last of these
    # closes: yes                           the server closes after the last answer, although it is no error

The ends of lines do not count; \r, \n, \t, \\ and \xHH stand for octets, in the header as well.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import verdict
import wire

from headrace.errors import REFUSALS

FOLDER = Path(__file__).parent
FILES = sorted([*FOLDER.glob("accepted/*.http"), *FOLDER.glob("refused/*.http")])

_ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|([rnt\\]))|([ -\[\]-~])")


def octets(text: str) -> bytes:
    """The escapes of this corpus, and nothing else that is not printable ASCII."""
    parts = []
    at = 0
    while at < len(text):
        match = _ESCAPE.match(text, at)
        if match is None:
            raise ValueError(f"not in the notation of the corpus: {text[at : at + 20]!r}")
        high, letter, plain = match.groups()
        parts.append(bytes.fromhex(high) if high else _ESCAPES[letter] if letter else plain.encode())
        at = match.end()
    return b"".join(parts)


@dataclass
class Message:
    name: str
    octets: bytes
    answers: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    closes: bool = False


def read(path: Path) -> Message:
    lines = path.read_text("ascii").split("\n")
    count = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    message = Message(f"{path.parent.name}/{path.stem}", octets("".join(lines[count:])))
    for line in lines[1:count]:
        key, _, value = line.removeprefix("# ").partition(": ")
        if key == "answers":
            message.answers = value.split()
        elif key == "request":
            message.requests.append(value)
        elif key == "field":
            name, _, expected = value.partition(" ")
            message.fields[name] = octets(expected).decode("latin-1")
        elif key == "body":
            message.body = octets(value)
        elif key == "closes":
            message.closes = value == "yes"
        else:
            raise ValueError(f"{path}: nothing is known of {key!r}")
    assert message.answers, path
    return message


def feed(running, message: Message, cut: str | int) -> None:
    calls = running.calls
    last_is_refusal = message.answers[-1] in REFUSALS
    with running.connect() as client:
        client.send(message.octets, cut, may_break=True)
        response = None
        for answer in message.answers:
            response = client.read_final_response()
            if answer in REFUSALS:
                verdict.assert_refusal(response, REFUSALS[answer])
            else:
                assert response.status == int(answer)
        assert response is not None
        if message.body is not None:
            assert response.body == message.body
        if last_is_refusal or message.closes:
            assert response.says_close
            client.assert_closed()
        else:
            client.assert_open(verdict.GOOD)
            running.environs.pop()
            message_calls = len(message.requests)
            assert running.calls == calls + message_calls
    seen = running.environs[calls:]
    assert len(seen) == len(message.answers) - last_is_refusal
    if message.requests:
        assert [f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}" for environ in seen] == message.requests
    for name, value in message.fields.items():
        assert seen[-1][name] == value


#: Who sends more when the answer to his "Connection: close" has come may find a reset instead of it (RFC 9112 §9.6).
GOES_ON_AFTER_CLOSE = {"pipeline-close-in-the-middle"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_gets_its_verdict_however_it_arrives(judge, path):
    message = read(path)
    if path.stem in GOES_ON_AFTER_CLOSE:
        feed(judge.over_unix, message, "whole")
        feed(judge.over_tcp, message, "whole")
        return
    for cut in (*wire.CUTS, 3):
        feed(judge.over_unix, message, cut)
    for cut in ("whole", 4):
        feed(judge.over_tcp, message, cut)


def test_the_corpus_was_found():
    assert len(FILES) > 80


# -- the same messages, damaged ---------------------------------------------------------------------------------------

#: What differs between parsers: white space, line ends, signs, separators, high octets.
INTERESTING = [
    *(bytes([c]) for c in b'\0\t\n\v\f\r !"#%&()*+,-./0159:;<=>?@AZ[\\]^_`az{|}~\x7f\x80\x85\xa0\xff'),
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\n ",
    b"chunked",
    b"close",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n0\r\n\r\n",
]


def damage(message: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(message) + 1)
        end = min(len(message), at + chance.choice([0, 0, 1, 1, 2, 5]))
        message = message[:at] + chance.choice([*INTERESTING, b"", b""]) + message[end:]
    return message


def outcome(running, message: bytes, cut: str | int) -> tuple[object, ...]:
    """All that came back and all that the application saw, up to the end of what the client sends."""
    calls = running.calls
    with running.connect() as client:
        client.send(message, cut, may_break=True)
        client.half_close()
        answer = client.read_until_close()
    environs = [
        {key: value for key, value in environ.items() if key not in verdict.OF_THE_CONNECTION}
        for environ in running.environs[calls:]
    ]
    answer = re.sub(rb"\r\nDate: [^\r]*", b"", answer)
    answer = answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")  # which depends on how much has come
    return answer, environs


@pytest.mark.parametrize("seed", range(20))
def test_damaged_messages_have_one_reading_and_the_referee_agrees(serve, seed):
    """Invariant: how a message is cut changes nothing, the server survives, and what reaches the application is what
    llhttp reads, too (which `serve` checks)."""
    chance = random.Random(seed)
    running = serve(verdict.echo, unix=True)
    for _ in range(20):
        message = damage(read(chance.choice(FILES)).octets + verdict.GOOD, chance)
        whole = outcome(running, message, "whole")
        for cut in ("octets", seed):
            assert outcome(running, message, cut) == whole, message
    assert running.exchange(verdict.GOOD).status == 200


class TestReferee:
    """--referee compares what environ does not show, too: keep-alive, and fields that are dropped."""

    @pytest.fixture
    def default_settings(self):
        return {"referee": True}

    @staticmethod
    def objections(running) -> int:
        return running.server._worker._loop.counts()["read_in_two_ways"]

    def test_has_no_objection_to_any_message(self, serve):
        running = serve(verdict.echo, unix=True)
        for path in FILES:
            outcome(running, read(path).octets, "whole")
            assert self.objections(running) == 0, path

    @pytest.mark.parametrize("seed", range(100, 105))
    def test_has_no_objection_to_damaged_ones(self, serve, seed):
        chance = random.Random(seed)
        running = serve(verdict.echo, unix=True)
        for _ in range(100):
            message = damage(read(chance.choice(FILES)).octets, chance)
            outcome(running, message, "whole")
            assert self.objections(running) == 0, message


@pytest.mark.parametrize("seed", range(20))
def test_what_came_before_on_the_connection_changes_no_reading(serve, seed):
    """Invariant: a message is answered behind a similar one, whose head the connection remembers, as it is alone."""
    chance = random.Random(seed)
    running = serve(verdict.echo, unix=True)
    similar = [message for path in FILES if (message := read(path)).answers == ["200"] and not message.closes]
    for _ in range(20):
        first = chance.choice(similar).octets
        message = damage(first, chance) if chance.random() < 0.7 else respelled(first, chance)
        message += verdict.GOOD
        answer_first, environs_first = outcome(running, first, "whole")
        answer, environs = outcome(running, message, "whole")
        for cut in ("whole", seed):
            behind = outcome(running, first * 2 + message, cut)
            assert behind == (answer_first * 2 + answer, environs_first * 2 + environs), (first, message)


def respelled(message: bytes, chance: random.Random) -> bytes:
    """Another value, of another length, for one of its fields; or another target."""
    lines = message.split(b"\r\n")
    number = chance.randrange(message.partition(b"\r\n\r\n")[0].count(b"\r\n") + 1)
    if number == 0:
        method, _, version = lines[0].split(b" ")
        lines[0] = b" ".join(
            (method, b"/" + b"a" * chance.randrange(20) + chance.choice([b"", b"?q", b"%41"]), version)
        )
    else:
        name = lines[number].partition(b":")[0]
        if name.lower() not in (b"content-length", b"transfer-encoding"):
            lines[number] = (
                name + b":" + b" " * chance.randrange(3) + b"v" * chance.randrange(20) + b" " * chance.randrange(2)
            )
    return b"\r\n".join(lines)
