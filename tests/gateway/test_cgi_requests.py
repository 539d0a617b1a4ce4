"""run_with_cgi: what the application is given of the request (PEP 3333 over RFC 3875 §4)."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from cgi_programs import ENVIRON, HELLO, REQUEST

# -- "environ Variables" ----------------------------------------------------------------------------------------------


class TestEnviron:
    def test_has_the_variables_of_the_request_and_of_wsgi(self, cgi):
        environ = json.loads(cgi(ENVIRON, HTTP_X_SPECIAL="1").body)
        expected = {
            **REQUEST,
            "HTTP_X_SPECIAL": "1",
            "wsgi.version": [1, 0],
            "wsgi.url_scheme": "http",
            "wsgi.multithread": False,
            "wsgi.multiprocess": True,
            "wsgi.run_once": True,
            "wsgi.input_terminated": True,
        }
        assert {key: environ.get(key) for key in expected} == expected
        assert {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper"} <= set(environ)

    @pytest.mark.parametrize(("value", "scheme"), [("on", "https"), ("1", "https"), ("", "http"), ("off", "http")])
    def test_tells_https_by_its_variable(self, cgi, value, scheme):
        assert json.loads(cgi(ENVIRON, HTTPS=value).body)["wsgi.url_scheme"] == scheme

    @pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
    @pytest.mark.parametrize("octets", ["/é".encode(), "/é".encode("latin-1"), bytes(range(1, 256))])
    def test_gives_each_octet_as_one_character_in_every_locale(self, cgi, locale, octets):
        for utf8_mode in ("0", "1"):
            environ = json.loads(cgi(ENVIRON, PATH_INFO=octets, LC_ALL=locale, PYTHONUTF8=utf8_mode).body)
            assert environ["PATH_INFO"].encode("latin-1") == octets

    @pytest.mark.parametrize("name", ["CONTENT_LENGTH", "CONTENT_TYPE"])
    def test_leaves_out_what_is_empty_for_a_request_without_body(self, cgi, name):
        assert name not in json.loads(cgi(ENVIRON, **{name: ""}).body)

    @pytest.mark.parametrize(
        "name", ["HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_PROXY"]
    )
    def test_leaves_out_fields_that_mislead(self, cgi, name):
        assert name not in json.loads(cgi(ENVIRON, **{name: "1"}).body)

    def test_has_a_path_even_at_the_root(self, cgi):
        environ = json.loads(cgi(ENVIRON, SCRIPT_NAME="", PATH_INFO="").body)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/")

    def test_adds_what_a_server_may_leave_unset(self):
        program = "from headrace.gateway import run_with_cgi" + ENVIRON
        given = {"REQUEST_METHOD": "GET", "SERVER_NAME": "", "SERVER_PORT": ""}
        result = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, timeout=20)
        environ = json.loads(result.stdout.partition(b"\r\n\r\n")[2])
        expected = {
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.0",
        }
        assert {key: environ.get(key) for key in expected} == expected

    def test_has_the_port_of_its_scheme_where_the_server_says_none(self, cgi):
        assert json.loads(cgi(ENVIRON, HTTPS="on", SERVER_PORT="").body)["SERVER_PORT"] == "443"
        assert json.loads(cgi(ENVIRON, HTTPS="on", SERVER_PORT="8443").body)["SERVER_PORT"] == "8443"

    def test_that_is_no_request_is_explained(self, cgi):
        output = cgi(HELLO, REQUEST_METHOD="")
        assert output.lines == []
        assert "RuntimeError: REQUEST_METHOD is not in the environment (RFC 3875 §4.1.12)" in output.errors
        assert "hint: for a try without one, REQUEST_METHOD=GET" in output.errors
        assert output.code == 1

    def test_passes_the_validator_as_the_whole_exchange_does(self, cgi):
        output = cgi(
            """
            from headrace.validate import validator
            def application(environ, start_response):
                body = environ["wsgi.input"].read(100) + environ["wsgi.input"].read(1)
                environ["wsgi.errors"].write("a line\\n")
                environ["wsgi.errors"].flush()
                start_response("200 OK", [("Content-Type", "text/plain")])(b"by write\\n")
                return iter([body, b""])
            run_with_cgi(validator(application))
            """,
            b"the body",
            REQUEST_METHOD="POST",
            HTTP_CONTENT_TYPE="text/plain",
            PATH_INFO="",
        )
        assert (output.status, output.body, output.errors) == ("200 OK", b"by write\nthe body", "a line\n")


# -- "Input and Error Streams" ----------------------------------------------------------------------------------------


class TestInput:
    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("read()", b"one\ntwo\nthree"),
            ("read(5)", b"one\nt"),
            ("read(1000)", b"one\ntwo\nthree"),
            ("readline()", b"one\n"),
            ("readline(2)", b"on"),
            ("readlines()", [b"one\n", b"two\n", b"three"]),
            ("__iter__()", [b"one\n", b"two\n", b"three"]),
        ],
    )
    def test_has_the_methods_of_pep_3333(self, cgi, expression, expected):
        program = f"""
        def application(environ, start_response):
            start_response("200 OK", [])
            found = environ["wsgi.input"].{expression}
            return [repr(found if isinstance(found, bytes) else list(found)).encode()]
        run_with_cgi(application)
        """
        assert cgi(program, b"one\ntwo\nthree").body == repr(expected).encode()

    def test_ends_with_the_content_length_though_standard_input_does_not(self, start_cgi):
        process = start_cgi(
            """
            def application(environ, start_response):
                start_response("200 OK", [])
                return [environ["wsgi.input"].read() + b"|" + environ["wsgi.input"].read()]
            run_with_cgi(application)
            """,
            CONTENT_LENGTH="5",
        )
        process.stdin.write(b"12345678")
        process.stdin.flush()  # and stays open
        assert process.wait(20) == 0
        assert process.stdout.read().endswith(b"\r\n\r\n12345|")

    def test_is_given_as_it_comes(self, start_cgi):
        process = start_cgi(
            """
            def application(environ, start_response):
                write = start_response("200 OK", [])
                for line in environ["wsgi.input"]:
                    write(line)
                return []
            run_with_cgi(application)
            """,
            CONTENT_LENGTH="8",
        )
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            while process.stdout.readline() != line:
                assert process.poll() is None
        assert process.wait(20) == 0

    def test_is_large_and_exact(self, cgi):
        content = bytes(range(256)) * 4096
        program = """
        import hashlib
        def application(environ, start_response):
            start_response("200 OK", [])
            return [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]
        run_with_cgi(application)
        """
        assert cgi(program, content).body == hashlib.sha256(content).hexdigest().encode()

    def test_that_is_cut_short_never_passes_for_the_whole(self, cgi):
        output = cgi(
            """
            import sys
            def application(environ, start_response):
                try:
                    environ["wsgi.input"].read()
                except OSError as error:
                    print(error, file=sys.stderr)
                    raise
                start_response("200 OK", [])
                return [b"whole"]
            run_with_cgi(application)
            """,
            b"123",
            CONTENT_LENGTH="5",
        )
        assert b"whole" not in output.body
        assert output.errors == "the request body has ended 2 bytes before its Content-Length\n"

    @pytest.mark.parametrize("length", ["-1", "5 5", "+5", "1" * 100, "x"])
    def test_with_a_length_that_is_no_number_is_refused(self, cgi, length):
        output = cgi(HELLO, CONTENT_LENGTH=length)
        assert output.lines[0] == "Status: 400 Bad Request"
        assert output.body == b"Bad Request: invalid Content-Length\n"
        assert output.errors.startswith(f"Content-Length must be a decimal number, not '{length[:70]}")
        assert (output.errors.count("\n"), output.code) == (1, 0)

    def test_with_such_a_length_gets_no_content_for_head(self, cgi):
        output = cgi(HELLO, CONTENT_LENGTH="x", REQUEST_METHOD="HEAD")
        assert (output.lines[0], output.body, output.code) == ("Status: 400 Bad Request", b"", 0)


class TestStandardStreams:
    def test_keep_what_is_printed_out_of_the_response(self, cgi):
        output = cgi(
            """
            import os, sys
            def application(environ, start_response):
                print("print")
                os.write(1, b"a C library\\n")
                os.system("echo a child")
                print("errors", file=environ["wsgi.errors"])
                start_response("200 OK", [])
                print("print again")
                return [b"body"]
            run_with_cgi(application)
            """
        )
        assert output.body == b"body"
        assert sorted(output.errors.splitlines()) == ["a C library", "a child", "errors", "print", "print again"]

    def test_a_child_that_lives_on_does_not_hold_the_response(self, start_cgi):
        process = start_cgi(
            """
            import subprocess
            def application(environ, start_response):
                child = subprocess.Popen(["sleep", "60"])
                start_response("200 OK", [])
                return [b"%d" % child.pid]
            run_with_cgi(application)
            """,
            PATH="/usr/bin:/bin",
        )
        pid = int(process.stdout.read().partition(b"\r\n\r\n")[2])
        try:
            assert process.wait(20) == 0
        finally:
            subprocess.run(["kill", str(pid)], check=True)

    def test_are_as_they_were_afterwards(self, cgi):
        assert cgi(HELLO + "print(' and print', end='', flush=True)").body == b"hello and print"
