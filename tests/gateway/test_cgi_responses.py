"""run_with_cgi: what becomes of the response (PEP 3333 over RFC 3875 §6)."""

from __future__ import annotations

import time

import pytest
from cgi_programs import HELLO, answering

# -- "The start_response() Callable" ----------------------------------------------------------------------------------


class TestStartResponse:
    def test_gives_the_status_line_of_cgi_first_and_the_fields_in_order(self, cgi):
        headers = [("X-One", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("x-one", "\xe9\t")]
        output = cgi(answering("404 Not Found", headers, "iter([b'x'])"))
        assert output.lines == [
            "Status: 404 Not Found",
            "X-One: 1",
            "Set-Cookie: a=1",
            "Set-Cookie: b=2",
            "x-one: \xe9\t",
        ]

    def test_a_second_call_without_exc_info_is_an_error(self, cgi):
        output = cgi(
            """
            def application(environ, start_response):
                start_response("200 OK", [])
                start_response("200 OK", [])
                return []
            run_with_cgi(application)
            """
        )
        assert output.status == "500 Internal Server Error"
        assert "AssertionError: start_response was called a second time without exc_info (PEP 3333)" in output.errors

    WITH_EXC_INFO = """
    import sys
    def application(environ, start_response):
        write = start_response("200 OK", [("X-First", "1"), ("Content-Length", "100")])
        write({block!r})
        try:
            raise LookupError("what went wrong")
        except LookupError:
            start_response("503 Service Unavailable", [("X-Second", "1")], sys.exc_info())
        return [b"sorry"]
    run_with_cgi(application)
    """

    def test_with_exc_info_the_head_is_replaced_while_nothing_has_been_sent(self, cgi):
        output = cgi(self.WITH_EXC_INFO.format(block=b""))
        assert output.lines == ["Status: 503 Service Unavailable", "X-Second: 1", "Content-Length: 5"]
        assert (output.body, output.code) == (b"sorry", 0)

    def test_with_exc_info_the_exception_is_raised_again_once_something_has_been_sent(self, cgi):
        output = cgi(self.WITH_EXC_INFO.format(block=b"partial"))
        assert (output.status, output.body, output.code) == ("200 OK", b"partial", 1)
        assert "LookupError: what went wrong" in output.errors
        assert "in application" in output.errors, "the traceback is that of the application"

    @pytest.mark.parametrize(
        ("status", "headers", "message"),
        [
            (b"200 OK", [], "TypeError: start_response: the status must be a str, not bytes: b'200 OK'"),
            ("200", [], "ValueError: start_response: the status must be like '200 OK', not '200'"),
            ("200 OK\r\nX: 1", [], "the status must be like '200 OK', not '200 OK\\r\\nX: 1'"),
            ("103 Early", [], "the status must be like '200 OK', not '103 Early'"),
            ("٢٠٠ OK", [], "the status must be like '200 OK'"),
            ("200 OK", [["a", "b"]], "each header must be a tuple (name, value) of str, not ['a', 'b']"),
            ("200 OK", [("a", 1)], "each header must be a tuple (name, value) of str, not ('a', 1)"),
            ("200 OK", [("a", b"b")], "each header must be a tuple (name, value) of str, not ('a', b'b')"),
            ("200 OK", [("a:", "b")], "the header name 'a:' is not a token"),
            ("200 OK", [("", "b")], "the header name '' is not a token"),
            ("200 OK", [("a", "b\r\nc: d")], "the value of header 'a' must be latin-1 without control characters"),
            ("200 OK", [("a", "€")], "the value of header 'a' must be latin-1 without control characters, not '€'"),
            ("200 OK", [("Connection", "close")], "'Connection' is a hop-by-hop field"),
            ("200 OK", [("status", "200 OK")], "Status is not a header here"),
            ("200 OK", [("Content-Length", "-5")], "Content-Length must be a decimal number, not '-5'"),
            ("200 OK", [("Content-Length", "5"), ("content-length", "5")], "Content-Length is given twice"),
        ],
    )
    def test_what_http_or_pep_3333_do_not_allow_is_explained_and_not_sent(self, cgi, status, headers, message):
        output = cgi(answering(status, headers), PYTHONIOENCODING="utf-8")
        assert output.status == "500 Internal Server Error"
        assert output.body == b"Internal Server Error: the application could not answer this request\n"
        assert message in output.errors
        assert output.code == 1

    def test_headers_that_are_no_list_are_explained(self, cgi):
        program = "run_with_cgi(lambda environ, start_response: start_response('200 OK', ()))"
        assert "TypeError: start_response: the headers must be a list, not tuple: ()" in cgi(program).errors

    def test_that_is_never_called_is_explained(self, cgi):
        output = cgi("run_with_cgi(lambda environ, start_response: [])")
        assert output.status == "500 Internal Server Error"
        assert "AssertionError: the application returned without calling start_response (PEP 3333)" in output.errors

    def test_that_is_called_after_the_first_block_is_explained(self, cgi):
        output = cgi("run_with_cgi(lambda environ, start_response: [b'body'])")
        assert output.status == "500 Internal Server Error"
        assert "AssertionError: the application sent a body before it called start_response" in output.errors


# -- "Handling the Content-Length Header", "Buffering and Streaming" --------------------------------------------------


class TestContent:
    @pytest.mark.parametrize(
        ("result", "length", "body"),
        [
            ("[b'12345']", ["5"], b"12345"),
            ("(b'12345',)", ["5"], b"12345"),
            ("[b'12', b'345']", [], b"12345"),
            ("iter([b'12345'])", [], b"12345"),
            ("[b'', b'12345', b'']", [], b"12345"),
            ("[]", ["0"], b""),
            ("[b'']", ["0"], b""),
            ("iter([])", ["0"], b""),
        ],
    )
    def test_has_its_length_where_it_is_known(self, cgi, result, length, body):
        output = cgi(answering(result=result))
        assert (output.get("Content-Length"), output.body, output.errors) == (length, body, "")

    def test_beyond_the_declared_length_is_cut_off_and_an_error(self, cgi):
        output = cgi(answering(headers=[("Content-Length", "5")], result="iter([b'123', b'4567', b'never'])"))
        assert (output.body, output.code) == (b"12345", 1)
        assert "ValueError: the application sent more than its Content-Length of 5 bytes" in output.errors

    def test_beyond_the_length_that_a_wrong_len_promised_is_cut_off_and_an_error(self, cgi):
        program = "class Liar(list):\n    def __len__(self):\n        return 1\n" + HELLO
        output = cgi(program.replace('[b"hello"]', 'Liar([b"12345", b"67"])'))
        assert (output.get("Content-Length"), output.body, output.code) == (["5"], b"12345", 1)

    def test_arrives_whole_when_signals_interrupt_the_writing(self, start_cgi):
        process = start_cgi(
            """
            import signal
            def application(environ, start_response):
                signal.signal(signal.SIGALRM, lambda number, frame: None)
                signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
                start_response("200 OK", [])
                return [bytes(range(250)) * 20_000]
            run_with_cgi(application)
            """
        )
        received = b""
        while block := process.stdout.read1(40_000):  # less than a pipe holds, so that the writer waits
            received += block
            time.sleep(0.001)
        assert received.partition(b"\r\n\r\n")[2] == bytes(range(250)) * 20_000

    def test_that_is_shorter_than_declared_is_an_error(self, cgi):
        output = cgi(answering(headers=[("Content-Length", "5")], result="[b'123']"))
        assert (output.get("Content-Length"), output.body, output.code) == (["5"], b"123", 1)
        assert "ValueError: the application sent 3 of the 5 bytes of its Content-Length" in output.errors

    @pytest.mark.parametrize(
        ("method", "status", "headers", "length"),
        [
            ("HEAD", "200 OK", [], ["5"]),
            ("HEAD", "200 OK", [("Content-Length", "77")], ["77"]),
            ("GET", "204 No Content", [], []),
            ("GET", "204 No Content", [("Content-Length", "5")], []),
            ("GET", "205 Reset Content", [("Content-Length", "5")], []),
            ("GET", "304 Not Modified", [], []),
            ("GET", "304 Not Modified", [("Content-Length", "5")], ["5"]),
        ],
    )
    @pytest.mark.parametrize("result", ["[b'12345']", "[]"])
    def test_is_not_sent_where_there_may_be_none(self, cgi, method, status, headers, length, result):
        output = cgi(answering(status, headers, result), REQUEST_METHOD=method)
        expected = [] if length == ["5"] and result == "[]" and not headers else length
        assert (output.status, output.get("Content-Length"), output.body) == (status, expected, b"")
        assert (output.errors, output.code) == ("", 0)

    def test_without_end_is_not_iterated_for_head(self, cgi):
        program = answering(result="(b'x' for _ in iter(int, 1))")
        assert cgi(program, REQUEST_METHOD="HEAD").status == "200 OK"

    @pytest.mark.parametrize("result", ["'text'", "b'octets'", "[u'text']", "[1]", "[bytearray(b'x')]", "5", "None"])
    def test_that_is_no_iterable_of_bytes_is_explained(self, cgi, result):
        output = cgi(answering(result=result))
        assert output.status == "500 Internal Server Error"
        assert "TypeError: the application" in output.errors
        assert "bytes" in output.errors

    @pytest.mark.parametrize("way", ["write", "iterate"])
    def test_leaves_block_by_block(self, start_cgi, way):
        """Each block is on its way before the next is asked for."""
        program = """
        def application(environ, start_response):
            write = start_response("200 OK", [])
            def blocks():
                for block in (b"one\\n", b"two\\n"):
                    yield block
                    assert environ["wsgi.input"].readline() == block
            if %r == "iterate":
                return blocks()
            for block in blocks():
                write(block)
            return []
        run_with_cgi(application)
        """
        process = start_cgi(program % way, CONTENT_LENGTH="8")
        for line in (b"one\n", b"two\n"):
            while process.stdout.readline() != line:
                assert process.poll() is None
            process.stdin.write(line)
            process.stdin.flush()
        assert process.wait(20) == 0

    def test_by_write_comes_before_what_is_iterated(self, cgi):
        program = """
        def application(environ, start_response):
            write = start_response("200 OK", [])
            write(b"first ")
            write(b"")
            return [b"second"]
        run_with_cgi(application)
        """
        output = cgi(program)
        assert (output.lines, output.body) == (["Status: 200 OK"], b"first second")

    def test_from_a_file_wrapper_is_the_files_and_the_file_is_closed(self, cgi, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"content " * 100_000)
        program = f"""
        import sys
        def application(environ, start_response):
            global file
            file = open({str(path)!r}, "rb")
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"](file)
        run_with_cgi(application)
        assert file.closed
        """
        output = cgi(program)
        assert (output.body, output.code) == (path.read_bytes(), 0)
