"""run_with_cgi: close(), errors, and the kinds of application."""

from __future__ import annotations

import pytest
from cgi_programs import HELLO, answering

# -- close() ----------------------------------------------------------------------------------------------------------

CLOSED = """
import sys
class Result:
    def __iter__(self):
        {body}
    def close(self):
        print("closed", file=sys.stderr)
def application(environ, start_response):
    start_response("200 OK", [])
    return Result()
run_with_cgi(application)
"""


class TestClose:
    @pytest.mark.parametrize(
        ("body", "method"),
        [
            ("yield b'x'", "GET"),
            ("return iter([b'x'])", "GET"),
            ("yield b'x'", "HEAD"),
            ("raise LookupError", "GET"),
            ("yield b'x'; raise LookupError", "GET"),
            ("return 5", "GET"),
            ("yield 'text'", "GET"),
        ],
    )
    def test_is_called_once_however_the_request_ends(self, cgi, body, method):
        assert cgi(CLOSED.format(body=body), REQUEST_METHOD=method).errors.count("closed\n") == 1

    def test_is_called_when_the_client_has_gone_and_nothing_else_is_said(self, start_cgi):
        process = start_cgi(CLOSED.format(body="return iter(lambda: b'x' * 1000, 0)"))
        assert process.stdout.read(1000)
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b"closed\n"


# -- "Error Handling" -------------------------------------------------------------------------------------------------


class TestErrors:
    @pytest.mark.parametrize("raised", ["LookupError('oh')", "SystemExit('oh')", "ConnectionResetError('oh')"])
    def test_before_the_response_are_answered_with_500_and_go_to_standard_error(self, cgi, raised):
        output = cgi(f"def application(environ, start_response):\n    raise {raised}\nrun_with_cgi(application)")
        assert output.status == "500 Internal Server Error"
        assert output.get("Content-Type") == ["text/plain"]
        assert output.get("Content-Length") == [str(len(output.body))]
        assert "oh" in output.errors
        assert b"oh" not in output.body, "what went wrong is not for clients"
        assert output.code == 1

    def test_take_back_a_response_that_was_begun_but_not_sent(self, cgi):
        output = cgi(answering(headers=[("X-First", "1"), ("Content-Length", "5")], result="1 / 0"))
        assert output.status == "500 Internal Server Error"
        assert (output.get("X-First"), output.get("Content-Length")) == ([], [str(len(output.body))])
        assert "ZeroDivisionError" in output.errors

    def test_after_the_first_block_end_the_response(self, cgi):
        output = cgi(answering(result="(1 // (2 - n) and b'x' or b'y' for n in range(5))"))
        assert (output.status, output.code) == ("200 OK", 1)
        assert len(output.body) == 2
        assert "ZeroDivisionError" in output.errors

    def test_are_all_that_is_said_when_the_client_has_gone(self, start_cgi):
        process = start_cgi(
            """
            def application(environ, start_response):
                environ["wsgi.input"].read()
                raise LookupError("oh")
            run_with_cgi(application)
            """,
            CONTENT_LENGTH="1",
        )
        process.stdout.close()
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.wait(20) == 1
        errors = process.stderr.read()
        assert errors.count(b"Traceback") == 1
        assert errors.endswith(b"LookupError: oh\n")

    def test_for_head_have_no_content(self, cgi):
        output = cgi("run_with_cgi(None)", REQUEST_METHOD="HEAD")
        assert (output.status, output.body) == ("500 Internal Server Error", b"")


# -- the three kinds of application -----------------------------------------------------------------------------------


def test_a_class_is_an_application(cgi):
    program = """
    class Application:
        def __init__(self, environ, start_response):
            self.start_response = start_response
        def __iter__(self):
            self.start_response("200 OK", [])
            yield b"class"
    run_with_cgi(Application)
    """
    assert cgi(program).body == b"class"


def test_an_instance_is_an_application(cgi):
    program = """
    class Application:
        def __call__(self, environ, start_response):
            start_response("200 OK", [])
            return [b"instance"]
    run_with_cgi(Application())
    """
    assert cgi(program).body == b"instance"


def test_a_framework_is_an_application(cgi):
    pytest.importorskip("flask")
    program = """
    import flask
    app = flask.Flask(__name__)
    @app.post("/<name>")
    def hello(name):
        return f"{flask.request.form['greeting']} {name} by {flask.request.url}"
    run_with_cgi(app)
    """
    output = cgi(
        program,
        b"greeting=Hello",
        REQUEST_METHOD="POST",
        HTTP_HOST="example.org",
        CONTENT_TYPE="application/x-www-form-urlencoded",
    )
    assert output.body == b"Hello path by http://example.org/cgi-bin/program/path?a=b"


def test_nothing_compiled_is_imported(cgi):
    output = cgi(HELLO + "import sys; assert 'headrace.engine' not in sys.modules")
    assert (output.body, output.errors) == (b"hello", "")
