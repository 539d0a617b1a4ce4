"""RFC 9112 §11.2: --referee.  llhttp reads each head beside our parser; what the two read differently is refused.

The judgement is tested on its own (headrace.referee.judge), and in servers, also where llhttp is made to see something
that we do not.  tests/corpus/test_corpus.py gives it all messages that there are.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import verdict
import wire

import headrace
from headrace import referee
from headrace.config import Config, ConfigError
from headrace.doctor import configuration
from headrace.referee import DIFFERENCES, Head, judge

PAGE = Path(__file__).parents[2] / "docs" / "referee.md"

HEAD = b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-Y: 1 \r\nx-y:\t2\r\n\r\n"
OURS = Head(b"GET", b"/a?b", "1.1", [b"Host", b"h", b"X-Y", b"1", b"x-y", b"2"], True)

#: For each of DIFFERENCES: a head in which it shows, and our reading.
EXAMPLES = {
    "Methods": (
        b"BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n",
        Head(b"BREW", b"/pot", "1.1", [b"Host", b"h"], True),
    ),
    "White space behind a value": (
        b"GET / HTTP/1.1\r\nHost: h\r\nX: \r\nX: 1 \t\r\n\r\n",
        Head(b"GET", b"/", "1.1", [b"Host", b"h", b"X", b"", b"X", b"1"], True),
    ),
    "Tab behind a transfer coding or connection option": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked \t\r\n\r\n",
        Head(b"POST", b"/", "1.1", [b"Host", b"h", b"Transfer-Encoding", b"chunked"], True),
    ),
    "Upgrade": (
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        Head(b"GET", b"/", "1.1", [b"Host", b"h", b"Upgrade", b"h2c", b"Connection", b"upgrade"], True),
    ),
    "Proxy-Connection": (
        b"GET / HTTP/1.1\r\nHost: h\r\nProxy-Connection: close\r\n\r\n",
        Head(b"GET", b"/", "1.1", [b"Host", b"h", b"Proxy-Connection", b"close"], True),
    ),
    "Close with keep-alive on HTTP/1.0": (
        b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
        Head(b"GET", b"/", "1.0", [b"Connection", b"keep-alive, close"], False),
    ),
}


@pytest.fixture
def default_settings():
    return {"referee": True}


def refused_count(running) -> int:
    return int(running.server._worker._loop.counts()["read_in_two_ways"])


class TestTheJudgement:
    def test_stands_behind_a_true_reading(self):
        assert judge(HEAD, OURS) == ""
        assert judge(b"\r\n" + HEAD, OURS) == ""

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"method": b"PUT"}, "method is b'PUT', llhttp read b'GET'"),
            ({"target": b"/a"}, "target is b'/a', llhttp read b'/a?b'"),
            ({"version": "1.0"}, "version is '1.0', llhttp read '1.1'"),
            ({"keep_alive": False}, "keep_alive is False, llhttp read True"),
            ({"fields": OURS.fields[:-2]}, "it has 2 fields, llhttp read 3"),
            ({"fields": [b"host", *OURS.fields[1:]]}, "field 1 has b'host', llhttp read b'Host'"),
            ({"fields": [*OURS.fields[:-1], b"3"]}, "field 3 has b'3', llhttp read b'2'"),
            ({"fields": [b"X-Y", b"1", *OURS.fields[:2], b"x-y", b"2"]}, "field 1 has b'X-Y', llhttp read b'Host'"),
        ],
        ids=lambda part: part if isinstance(part, str) else "",
    )
    def test_objects_to_any_other(self, change, why):
        assert judge(HEAD, OURS._replace(**change)) == why

    def test_objects_to_what_llhttp_refuses(self):
        assert judge(HEAD.replace(b"Host:", b"Host :"), OURS).startswith("llhttp refuses it: ")

    @pytest.mark.parametrize("behind", [b"G", b"\r\n", HEAD], ids=repr)
    def test_wants_llhttp_to_be_done_at_the_last_octet_and_not_before(self, behind):
        assert judge(HEAD + behind, OURS) != ""

    @pytest.mark.parametrize("name", [b"Connection", b"Transfer-Encoding", b"X"])
    @pytest.mark.parametrize("blanks", [b"\t" * 60_000, b" \t" * 30_000, b"\t," * 30_000], ids=["tab", "both", "comma"])
    def test_takes_time_in_proportion_to_the_head(self, name, blanks):
        """One that grew with a higher power would not end here: no other thread runs meanwhile."""
        head = b"BREW / HTTP/1.1\r\n%b:%ba\r\n\r\n" % (name, blanks)
        judge(head, Head(b"BREW", b"/", "1.1", [name, blanks.lstrip(b" \t") + b"a"], True))
        judge(head.replace(b"a\r", b"\r"), Head(b"BREW", b"/", "1.1", [name, blanks.strip(b" \t")], True))

    @pytest.mark.parametrize("cut", [1, 2, 3, 10])
    def test_wants_llhttp_to_be_done_at_the_last_octet_and_not_behind(self, cut):
        assert judge(HEAD[:-cut], OURS) != ""

    def test_wants_to_be_asked_of_keep_alive_before_the_message_ends(self):
        head = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        ours = Head(b"GET", b"/", "1.1", [b"Host", b"h", b"Connection", b"close"], False)
        assert judge(head, ours) == ""
        assert judge(head, ours._replace(keep_alive=True)) == "keep_alive is True, llhttp read False"


class TestTheDifferencesThatAreMeant:
    def test_all_have_an_example(self):
        assert [difference.name for difference in DIFFERENCES] == list(EXAMPLES)

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_are_no_objection(self, name):
        octets, ours = EXAMPLES[name]
        assert judge(octets, ours) == ""

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_are_there(self, name, monkeypatch):
        """One that a later llhttp has given up is to go from the list."""
        others = tuple(difference for difference in DIFFERENCES if difference.name != name)
        monkeypatch.setattr(referee, "DIFFERENCES", others)
        assert judge(*EXAMPLES[name]) != ""

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_excuse_nothing_else(self, name):
        octets, ours = EXAMPLES[name]
        assert judge(octets, ours._replace(target=b"/other")) != ""
        assert judge(octets, ours._replace(fields=[*ours.fields, b"X", b"y"])) != ""
        assert judge(octets, ours._replace(fields=[b"Other", *ours.fields[1:]])) != ""
        assert judge(octets, ours._replace(fields=[*ours.fields[:-1], ours.fields[-1] + b"x"])) != ""
        if name not in ("Proxy-Connection", "Close with keep-alive on HTTP/1.0"):  # there it is what llhttp reads
            assert judge(octets, ours._replace(keep_alive=not ours.keep_alive)) != ""
        assert judge(octets.replace(b"\r\n\r\n", b"\n\r\n"), ours) != ""

    def test_stand_in_the_documentation_with_their_sections_and_nothing_else_does(self):
        if not PAGE.is_file():
            pytest.skip("no documents beside the tests")
        listed = re.findall(r"^### (.+) \((RFC [^)]+)\)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        assert listed == [(difference.name, difference.section) for difference in DIFFERENCES]


class TestAServer:
    @pytest.mark.parametrize("threads", [1, 8])
    def test_answers_what_both_read_alike(self, serve, threads):
        running = serve(verdict.echo, threads=threads)
        with running.connect() as client:
            for number in range(20):
                client.send(wire.request(f"/{number}", fields=[("X", str(number // 3)), ("Y", " padded \t")]))
                assert client.read_response().status == 200
        assert refused_count(running) == 0

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_answers_the_differences_that_are_meant(self, serve, name):
        running = serve(verdict.echo)
        body = b"0\r\n\r\n" if b"chunked" in EXAMPLES[name][0] else b""
        assert running.exchange(EXAMPLES[name][0] + body).status == 200

    @pytest.mark.parametrize("seed", range(5))
    def test_has_no_objection_to_odd_connection_options(self, serve, seed):
        """Keep-alive is what environ does not show."""
        chance = random.Random(seed)
        options = [b"close", b"keep-alive", b"Close", b"KEEP-ALIVE", b"upgrade", b"te", b"closed", b"clos", b"x", b""]
        spaces = [b"", b"", b" ", b"\t", b" \t "]
        running = serve(verdict.echo, unix=True)
        for _ in range(300):
            head = b"GET / HTTP/1.%d\r\nHost: h\r\n" % chance.randrange(2)
            for _ in range(chance.randint(1, 3)):
                listed = [chance.choice(spaces) + chance.choice(options) + chance.choice(spaces) for _ in range(3)]
                head += b"Connection:" + b",".join(listed[: chance.randint(1, 3)]) + b"\r\n"
            assert running.exchange(head + b"\r\n").status == 200, head
        assert refused_count(running) == 0


@pytest.fixture
def one_eyed(monkeypatch):
    """llhttp refuses a field "X-Trap" and a target "/x-trap": what a mistake of our parser would look like."""

    class OneEyed(referee.HttpRequestParser):
        def feed_data(self, data):
            if b"X-Trap" in data or b" /x-trap " in data:
                raise referee.httptools.HttpParserError("a trap")
            super().feed_data(data)

    monkeypatch.setattr(referee, "HttpRequestParser", OneEyed)


@pytest.mark.usefixtures("one_eyed")
class TestADisagreement:
    TRAP = b"GET /trap HTTP/1.1\r\nHost: h\r\nX-Trap: \x80\x85\"\r\n\r\n"

    def test_is_refused_logged_with_the_octets_escaped_and_counted(self, serve, caplog, transport):
        running = serve(verdict.echo)
        answer = running.exchange(self.TRAP)
        assert (answer.status, answer.get("connection")) == (400, "close")
        assert running.calls == 0
        assert refused_count(running) == 1
        [told] = [record for record in caplog.records if record.getMessage().startswith("HR213 ")]
        assert told.levelname == "ERROR"
        assert "llhttp refuses it: a trap" in told.getMessage()
        assert repr(self.TRAP) in told.getMessage()
        assert told.getMessage().isascii()
        assert told.getMessage().startswith(f"HR213 a request of {'127.0.0.1:' if transport == 'tcp' else 'unix'}")
        assert running.exchange(verdict.GOOD).status == 200

    def test_ends_the_connection_behind_the_answers_before_it(self, serve):
        running = serve(verdict.echo)
        with running.connect() as client:
            client.send(verdict.GOOD + self.TRAP + verdict.GOOD, may_break=True)
            assert client.read_response().status == 200
            assert client.read_response().status == 400
            assert client.read_until_close() == b""
        assert running.calls == 1

    @pytest.mark.parametrize("threads", [1, 8])
    @pytest.mark.parametrize("where", ["field", "target"])
    def test_is_seen_however_alike_the_heads_before_it_were(self, serve, threads, where):
        """The memo of the previous head answers for octets that were judged, and for no others."""
        running = serve(verdict.echo, threads=threads)
        plain = self.TRAP.replace(b"X-Trap", b"X-Tram")
        for count, method in enumerate([b"GET", b"PUT", b"PUT", b"BREW"], 1):
            trap = self.TRAP.replace(b"GET", method)
            if where == "target":
                trap = trap.replace(b"X-Trap", b"X-Tram").replace(b"/trap", b"/x-trap")
            with running.connect() as client:
                client.send(plain.replace(b"GET", method) * 5 + trap, may_break=True)
                assert [client.read_response().status for _ in range(6)] == [200] * 5 + [400]
            assert refused_count(running) == count

    def test_is_told_once_a_minute_however_many_there_are(self, serve, caplog):
        """Each line may have 32 KiB and credentials in it, and whoever has found a difference can send more."""
        running = serve(verdict.echo)
        for _ in range(5):
            assert running.exchange(self.TRAP).status == 400
        assert refused_count(running) == 5
        [told] = [message for message in caplog.messages if message.startswith("HR213 ")]
        assert told.endswith(" (1 so far)")

    def test_shows_of_a_long_head_so_much_as_is_good_for_a_log(self, serve, caplog):
        running = serve(verdict.echo, limit_request_field_size=20_000)
        octets = self.TRAP.replace(b"X-Trap: ", b"X-Trap: " + b"a" * 12_000)
        assert running.exchange(octets).status == 400
        [told] = [record.getMessage() for record in caplog.records if "HR213" in record.getMessage()]
        assert f"({len(octets)} octets)" in told
        assert len(told) < 9000


class TestEachPartOfAHead:
    HEAD = b"GET /true HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nX-True: truth\r\n\r\n"

    @pytest.mark.parametrize(
        ("said", "heard", "why"),
        [
            (b"GET ", b"PUT ", "method is b'GET', llhttp read b'PUT'"),
            (b"/true", b"/liar", "target is b'/true', llhttp read b'/liar'"),
            (b"HTTP/1.1", b"HTTP/1.0", "version is '1.1', llhttp read '1.0'"),
            (b"X-True", b"X-Liar", "field 3 has b'X-True', llhttp read b'X-Liar'"),
            (b"truth", b"truths", "field 3 has b'truth', llhttp read b'truths'"),
            (b"truth", b"trut", "field 3 has b'truth', llhttp read b'trut'"),
            (b"X-True: truth\r\n", b"", "it has 3 fields, llhttp read 2"),
            (b"truth\r\n", b"truth\r\nX: y\r\n", "it has 3 fields, llhttp read 4"),
            (b"truth\r\n", b"truth\r\n\r\n", "llhttp is done with it before its end"),
            (b"\n", b"", "llhttp waits for more of it"),
        ],
        ids=lambda part: part.decode() if isinstance(part, bytes) else "",
    )
    def test_is_compared(self, serve, monkeypatch, caplog, said, heard, why):
        """llhttp is given something else than what was sent: b"\\n" is the last octet alone."""

        class Deceived(referee.HttpRequestParser):
            def feed_data(self, data):
                super().feed_data(heard if data == said else data if said == b"\n" else data.replace(said, heard))

        monkeypatch.setattr(referee, "HttpRequestParser", Deceived)
        assert serve(verdict.echo).exchange(self.HEAD).status == 400
        assert f": {why}; its head: " in caplog.text

    def test_is_compared_and_so_is_whether_the_connection_persists(self, serve, monkeypatch, caplog):
        class Contrary(referee.HttpRequestParser):
            fields_seen = False

            def feed_data(self, data):
                super().feed_data(data)
                self.fields_seen = b"Host:" in data

            def should_keep_alive(self):
                return super().should_keep_alive() != self.fields_seen

        monkeypatch.setattr(referee, "HttpRequestParser", Contrary)
        assert serve(verdict.echo).exchange(self.HEAD).status == 400
        assert ": keep_alive is True, llhttp read False; its head: " in caplog.text


#: An application that brings the mistake with it.
TRAPPED = """
import os
from headrace import referee

class OneEyed(referee.HttpRequestParser):
    def feed_data(self, data):
        if b"X-Trap" in data:
            raise referee.httptools.HttpParserError("a trap")
        super().feed_data(data)

referee.HttpRequestParser = OneEyed

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


class TestTheCommand:
    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("threads", [1, 4])
    def test_has_a_referee_in_each_process(self, command, tmp_path, workers, threads):
        (tmp_path / "trapped.py").write_text(TRAPPED)
        options = ["--workers", workers] if workers else []
        running = command(
            "trapped:app", "-b", "127.0.0.1:0", "--referee", "--threads", threads, *options, cwd=tmp_path
        )
        for _ in range(8):
            assert get(running, "X-Trap") == 400
            assert get(running, "X-Tram") == 200
        running.errors.wait_for("HR213 .* llhttp refuses it: a trap; its head: b'GET / HTTP/1.1")

    @pytest.mark.parametrize("source", ["variable", "file"])
    def test_takes_it_from_the_environment_and_from_a_file(self, command, tmp_path, source):
        (tmp_path / "trapped.py").write_text(TRAPPED)
        (tmp_path / "headrace.toml").write_text("referee = true\n" if source == "file" else "")
        variables = {"HEADRACE_REFEREE": "1"} if source == "variable" else {}
        running = command("trapped:app", "-b", "127.0.0.1:0", cwd=tmp_path, env=variables)
        assert get(running, "X-Trap") == 400

    @pytest.mark.parametrize("options", [[], ["--workers", "2"], ["--check-config"]], ids=" ".join)
    def test_without_httptools_does_not_start_and_names_the_extra(self, tmp_path, options):
        (tmp_path / "plain.py").write_text("def app(environ, start_response): ...\n")
        program = "import sys; sys.modules['httptools'] = None; from headrace.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, "plain:app", "-b", "127.0.0.1:0", "--referee", *options],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.endswith(
            "error: --referee: the referee needs httptools 0.8 or newer: pip install 'headrace[referee]'\n"
        )


def get(running, name: str) -> int:
    """The status of a request that has this field."""
    with running.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%b: x\r\n\r\n" % name.encode())
        return int(client.makefile("rb").read().split(b" ", 2)[1])


class TestWithoutHttptools:
    @pytest.fixture(autouse=True)
    def without(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "httptools", None)
        monkeypatch.delitem(sys.modules, "headrace.referee")

    def test_a_server_is_not_made_and_the_message_names_the_extra(self):
        with pytest.raises(ConfigError, match=r"referee: .*pip install 'headrace\[referee\]'"):
            headrace.Server(verdict.echo, port=0, referee=True)

    def test_the_doctor_says_so(self):
        [finding] = configuration.referee(Config(referee=True))
        assert (finding.level, "headrace[referee]" in finding.text) == ("error", True)
        [finding] = configuration.referee(Config())
        assert (finding.level, "off without --referee" in finding.text) == ("ok", True)

    def test_nothing_changes_for_others(self):
        with headrace.Server(verdict.echo, port=0):
            pass
