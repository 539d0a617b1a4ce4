"""Filter: the rules of PEP 3333 and RFC 9110 for whoever changes content.  With wsgiref's validator on both sides."""

from __future__ import annotations

import sys
import threading

import pytest
import wire
from wire import request

from headrace.middleware import Filter, Transform

TEXT = ("Content-Type", "text/plain")


class Doubling(Transform):
    """Every octet twice, and a word at the end."""

    def feed(self, block):
        return bytes(octet for octet in block for _ in range(2))

    def finish(self):
        return b"!"


class Hoarding(Transform):
    """Says nothing until the end."""

    def __init__(self):
        self.blocks = []

    def feed(self, block):
        self.blocks.append(block)
        return b""

    def finish(self):
        return b"|".join(self.blocks)


def doubling(application):
    return Filter(application, lambda environ, head: Doubling())


def answers(result, *headers, status="200 OK"):
    def application(environ, start_response):
        start_response(status, [TEXT, *headers] if status[:3] not in ("204", "304") else list(headers))
        return result

    return application


class Closing:
    """An iterable of blocks that counts its close()."""

    def __init__(self, *blocks):
        self.blocks = iter(blocks)
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.blocks)

    def close(self):
        self.closed += 1


class TestContentLength:
    def test_is_that_of_the_new_content_of_a_list(self, serve):
        response = serve(doubling(answers([b"ab", b"c"], ("Content-Length", "3")))).exchange(request())
        assert (response.body, response.get("Content-Length")) == (b"aabbcc!", "7")

    def test_is_given_where_the_list_alone_shows_it(self, serve):
        response = serve(doubling(answers((b"ab", b"c")))).exchange(request())
        assert (response.body, response.get("Content-Length")) == (b"aabbcc!", "7")

    def test_is_known_when_the_first_block_is_all_that_was_declared(self, serve_between):
        response = serve_between(doubling, answers(Closing(b"abc"), ("Content-Length", "3"))).exchange(request())
        assert (response.body, response.get("Content-Length")) == (b"aabbcc!", "7")

    def test_is_removed_from_a_stream(self, serve_between):
        application = answers(Closing(b"ab", b"c"), ("content-length", "3"))
        response = serve_between(doubling, application).exchange(request())
        assert (response.body, response.framing) == (b"aabbcc!", "chunked")

    @pytest.mark.parametrize("blocks", [[], [b""], [b"", b""]])
    def test_of_no_content_is_that_of_what_the_transform_adds(self, serve_between, blocks):
        response = serve_between(doubling, answers(Closing(*blocks))).exchange(request())
        assert response.body == b"!"

    def test_of_untouched_content_stays(self, serve_between):
        application = answers(Closing(b"ab", b"c"), ("Content-Length", "3"))
        response = serve_between(lambda app: Filter(app, lambda environ, head: None), application).exchange(request())
        assert (response.body, response.framing) == (b"abc", "length")

    def test_content_that_is_shorter_breaks_off_the_connection(self, serve):
        with serve(doubling(answers(iter([b"abc"]), ("Content-Length", "5")))).connect() as client:
            client.send(request())
            client.read_head()
            assert not client.read_until_close().endswith(b"0\r\n\r\n")

    def test_a_list_that_is_shorter_is_an_error_before_anything_is_sent(self, serve):
        assert serve(doubling(answers([b"abc"], ("Content-Length", "5")))).exchange(request()).status == 500

    def test_content_that_is_longer_is_cut_off(self, serve_between):
        application = answers(Closing(b"ab", b"cd", b"ef"), ("Content-Length", "3"))
        assert serve_between(doubling, application).exchange(request()).body == b"aabbcc!"

    def test_writing_past_it_is_an_error(self, serve):
        errors = []

        def application(environ, start_response):
            write = start_response("200 OK", [TEXT, ("Content-Length", "3")])
            write(b"ab")
            try:
                write(b"cd")
            except ValueError as error:
                errors.append(str(error))
            write(b"c")
            return []

        assert serve(doubling(application)).exchange(request()).body == b"aabbcc!"
        assert errors == ["write() went past the Content-Length (PEP 3333, 'Handling the Content-Length Header')"]


class TestHead:
    def test_has_the_fields_of_get(self, serve_between):
        running = serve_between(doubling, answers([b"abc"], ("Content-Length", "3"), ("ETag", '"a"')))
        got, asked = (running.exchange(request(method=method), method=method) for method in ("GET", "HEAD"))
        names = ("Content-Length", "Content-Type", "ETag")
        assert [asked.get(name) for name in names] == [got.get(name) for name in names] == ["7", "text/plain", 'W/"a"']

    @pytest.mark.parametrize("result", [[], [b""], (), iter([])])
    def test_has_no_length_where_the_application_makes_no_content(self, serve, result):
        running = serve(doubling(answers(result, ("Content-Length", "3"), ("ETag", '"a"'))))
        response = running.exchange(request(method="HEAD"), method="HEAD")
        assert (response.status, response.get("ETag")) == (200, 'W/"a"')
        assert response.get("Content-Length") in (None, "0")

    @pytest.mark.parametrize("blocks", [(), (b"",), (b"", b"")])
    def test_has_no_last_word_of_a_transform_that_was_given_nothing(self, blocks):
        """Servers that do not drop what is sent to HEAD would send it."""
        result = doubling(answers(Closing(*blocks)))({"REQUEST_METHOD": "HEAD"}, lambda status, headers: None)
        assert b"".join(result) == b""


class TestSelect:
    @pytest.mark.parametrize("blocks", [(), (b"a",), (b"", b"a"), (b"a", b"b")])
    def test_is_called_once_for_each_head(self, serve_between, blocks):
        seen = []

        def select(environ, head):
            seen.append(head)
            return Doubling()

        serve_between(lambda app: Filter(app, select), answers(Closing(*blocks))).exchange(request())
        assert len(seen) == 1

    def test_learns_the_length_from_the_field_or_from_the_content(self, serve):
        seen = []
        select = lambda environ, head: seen.append(head.content_length)  # noqa: E731
        for result, *fields in (([b"ab", b"c"],), (iter([b"abc"]), ("Content-Length", "3")), (iter([b"abc"]),)):
            serve(Filter(answers(result, *fields), select)).exchange(request())
        assert seen == [3, 3, None]


class TestWhatIsNotTransformed:
    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_nothing(self, serve_between, status):
        response = serve_between(doubling, answers([], status=status)).exchange(request())
        assert (f"{response.status} {response.reason}", response.body) == (status, b"")

    @pytest.mark.parametrize(
        ("status", "field"),
        [
            ("206 Partial Content", ("Content-Range", "bytes 0-2/10")),
            ("416 Range Not Satisfiable", ("Content-Range", "bytes */10")),
            ("200 OK", ("Content-Encoding", "gzip")),
            ("200 OK", ("Cache-Control", "public, No-Transform")),
        ],
    )
    def test_parts_codings_and_no_transform(self, serve_between, status, field):
        application = answers([b"abc"], field, ("ETag", '"a"'), status=status)
        response = serve_between(doubling, application).exchange(request())
        assert (response.body, response.get("ETag")) == (b"abc", '"a"')

    def test_keeps_the_iterable_of_the_application(self):
        result = Closing(b"abc")
        heads = []
        application = Filter(answers(result), lambda environ, head: None)
        returned = application({"REQUEST_METHOD": "GET"}, lambda *head: heads.append(head))
        assert returned is result
        assert heads == [("200 OK", [TEXT])]

    def test_gets_its_fields_changed_all_the_same(self, serve_between):
        def select(environ, head):
            head.headers["X-Seen"] = str(head.content_length)

        response = serve_between(lambda app: Filter(app, select), answers([b"abc"], ("Content-Length", "3"))).exchange(
            request()
        )
        assert (response.body, response.get("X-Seen")) == (b"abc", "3")


class TestValidatorsAndRanges:
    def test_the_etag_becomes_weak_and_digests_go(self, serve_between):
        fields = [
            ("ETag", '"a"'),
            ("Content-MD5", "x"),
            ("Digest", "x"),
            ("Repr-Digest", "x"),
            ("Accept-Ranges", "bytes"),
        ]
        response = serve_between(doubling, answers([b"abc"], *fields)).exchange(request())
        assert response.get("ETag") == 'W/"a"'
        assert not {name for name, _ in response.fields} & {"Content-MD5", "Digest", "Repr-Digest", "Accept-Ranges"}

    def test_a_weak_etag_stays_as_it_is(self, serve_between):
        assert serve_between(doubling, answers([b""], ("ETag", 'W/"a"'))).exchange(request()).get("ETag") == 'W/"a"'

    @pytest.mark.parametrize(
        ("held", "tag"),
        [('W/"a"', 'W/"a"'), ('"a"', '"a"'), ('W/"b", W/"a"', 'W/"a"'), ('W/"a", "a"', '"a"'), ("*", '"a"')],
    )
    def test_a_304_has_the_tag_that_the_client_holds(self, serve_between, held, tag):
        running = serve_between(doubling, answers([], ("ETag", '"a"'), status="304 Not Modified"))
        assert running.exchange(request(fields=[("If-None-Match", held)])).get("ETag") == tag

    @pytest.mark.parametrize("ranges", [False, True])
    def test_ranges_reach_the_application_where_wanted(self, serve, ranges):
        def application(environ, start_response):
            start_response("200 OK", [TEXT, ("Accept-Ranges", "bytes")])
            return [str(environ.get("HTTP_RANGE")).encode()]

        running = serve(Filter(application, lambda environ, head: None, ranges=ranges))
        response = running.exchange(request(fields=[("Range", "bytes=0-1"), ("If-Range", '"a"')]))
        expected = (b"bytes=0-1", "bytes") if ranges else (b"None", None)
        assert (response.body, response.get("Accept-Ranges")) == expected


class TestStreaming:
    def test_each_block_leaves_before_the_next_is_asked_for(self, serve_between):
        go_on = threading.Event()

        def application(environ, start_response):
            start_response("200 OK", [TEXT])
            yield b"a"
            assert go_on.wait(wire.PATIENCE_S)
            yield b"b"

        with serve_between(doubling, application).connect() as client:
            client.send(request())
            client.read_head()
            assert client.read_exactly(7) == b"2\r\naa\r\n"
            go_on.set()
            assert client.read_exactly(18) == b"2\r\nbb\r\n1\r\n!\r\n0\r\n\r\n"

    def test_start_response_may_be_called_within_the_iteration(self, serve_between):
        def application(environ, start_response):
            start_response("200 OK", [TEXT, ("Content-Length", "1")])
            yield b"a"

        assert serve_between(doubling, application).exchange(request()).body == b"aa!"

    def test_a_transform_may_hold_everything_back(self, serve_between):
        running = serve_between(
            lambda app: Filter(app, lambda environ, head: Hoarding()), answers(Closing(b"a", b"", b"b"))
        )
        assert running.exchange(request()).body == b"a|b"

    def test_what_is_written_leaves_through_write(self, serve_between):
        go_on = threading.Event()

        def application(environ, start_response):
            write = start_response("200 OK", [TEXT])
            write(b"a")
            assert go_on.wait(wire.PATIENCE_S)
            write(b"b")
            return [b"c"]

        with serve_between(doubling, application).connect() as client:
            client.send(request())
            client.read_head()
            assert client.read_exactly(7) == b"2\r\naa\r\n"
            go_on.set()
            assert client.read_exactly(25) == b"2\r\nbb\r\n2\r\ncc\r\n1\r\n!\r\n0\r\n\r\n"

    def test_what_is_written_may_go_untouched(self, serve_between):
        def application(environ, start_response):
            start_response("200 OK", [TEXT])(b"a")
            return [b"b"]

        running = serve_between(lambda app: Filter(app, lambda environ, head: None), application)
        assert running.exchange(request()).body == b"ab"


class TestClose:
    @pytest.mark.parametrize("select", [lambda environ, head: Doubling(), lambda environ, head: None])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_is_called_once(self, serve_between, select, method):
        result = Closing(b"a", b"b")
        running = serve_between(lambda app: Filter(app, select), answers(result))
        running.exchange(request(method=method), method=method)
        wire.wait_until(lambda: result.closed)
        running.stop()
        assert result.closed == 1

    def test_is_called_when_the_transform_fails(self, serve):
        def fail(block):
            raise ZeroDivisionError

        result = Closing(b"a")
        running = serve(Filter(answers(result), lambda environ, head: fail))
        assert running.exchange(request()).status == 500
        running.stop()
        assert result.closed == 1

    def test_is_called_when_select_fails(self, serve):
        result = Closing(b"a")
        running = serve(Filter(answers(result), lambda environ, head: 1 // 0))
        assert running.exchange(request()).status == 500
        assert result.closed == 1

    def test_is_called_when_the_client_goes(self, serve):
        class Endless(Closing):
            def __next__(self):
                return b"a" * 65536

        result = Endless()
        with serve(doubling(answers(result))).connect() as client:
            client.send(request())
            client.read_head()
        wire.wait_until(lambda: result.closed)
        assert result.closed == 1


class TestStartResponse:
    def test_a_head_is_replaced_as_long_as_nothing_has_left(self, serve_between):
        def application(environ, start_response):
            start_response("200 OK", [TEXT, ("Content-Length", "100")])
            try:
                raise LookupError
            except LookupError:
                start_response("404 Not Found", [TEXT], sys.exc_info())
            return [b"a"]

        response = serve_between(doubling, application).exchange(request())
        assert (response.status, response.body) == (404, b"aa!")

    def test_a_head_is_replaced_within_the_iteration(self, serve_between):
        def application(environ, start_response):
            start_response("200 OK", [TEXT])
            yield b""
            try:
                raise LookupError
            except LookupError:
                start_response("404 Not Found", [TEXT], sys.exc_info())
            yield b"a"

        response = serve_between(doubling, application).exchange(request())
        assert (response.status, response.body) == (404, b"aa!")

    def test_the_error_comes_back_once_something_has_left(self, serve):
        came_back = []

        def application(environ, start_response):
            start_response("200 OK", [TEXT])
            yield b"a"
            try:
                raise LookupError("too late")
            except LookupError:
                try:
                    start_response("500 Sorry", [TEXT], sys.exc_info())
                except LookupError as error:
                    came_back.append(str(error))
                    raise

        with serve(doubling(application)).connect() as client:
            client.send(request())
            assert client.read_head().status == 200
            assert not client.read_until_close().endswith(b"0\r\n\r\n")
        assert came_back == ["too late"]

    def test_an_application_that_goes_on_after_that_goes_on_where_it_was(self, serve_between):
        def application(environ, start_response):
            start_response("200 OK", [TEXT])
            yield b"a"
            try:
                raise LookupError
            except LookupError:
                with pytest.raises(LookupError):
                    start_response("500 Sorry", [TEXT], sys.exc_info())
            yield b"b"

        select = lambda environ, head: Doubling() if head.code == 200 else None  # noqa: E731
        response = serve_between(lambda app: Filter(app, select), application).exchange(request())
        assert (response.status, response.body) == (200, b"aabb!")

    def test_a_head_is_replaced_while_the_transform_holds_everything_back(self, serve_between):
        def application(environ, start_response):
            start_response("200 OK", [TEXT])
            yield b"lost"
            try:
                raise LookupError
            except LookupError:
                start_response("500 Sorry", [TEXT], sys.exc_info())
            yield b"sorry"

        response = serve_between(lambda app: Filter(app, lambda environ, head: Hoarding()), application).exchange(
            request()
        )
        assert (response.status, response.body) == (500, b"sorry")

    def test_a_replacement_of_untouched_content_stays_untouched(self, serve_between):
        def application(environ, start_response):
            start_response("200 OK", [TEXT])
            return Late(start_response)

        class Late(Closing):
            def __init__(self, start_response):
                super().__init__(b"a")
                self.start_response = start_response

            def __next__(self):
                block = next(self.blocks)
                try:
                    raise LookupError
                except LookupError:
                    self.start_response("404 Not Found", [TEXT, ("ETag", '"a"')], sys.exc_info())
                return block

        select = lambda environ, head: None if head.code == 200 else Doubling()  # noqa: E731
        response = serve_between(lambda app: Filter(app, select), application).exchange(request())
        assert (response.status, response.body, response.get("ETag")) == (404, b"a", '"a"')

    def test_twice_without_exc_info_is_an_error(self, serve):
        def application(environ, start_response):
            start_response("200 OK", [TEXT])
            with pytest.raises(AssertionError, match="a second time without exc_info"):
                start_response("200 OK", [TEXT])
            return [b"a"]

        assert serve(doubling(application)).exchange(request()).body == b"aa!"


class TestMistakes:
    """What an application does wrong is said as the server says it, or better."""

    @pytest.fixture
    def logged(self, serve, capsys):
        def logged(application):
            running = serve(doubling(application))
            assert running.exchange(request()).status == 500
            running.stop()
            return capsys.readouterr().err

        return logged

    def test_a_body_of_str(self, logged):
        assert "the application sent 'text'; blocks are bytes (PEP 3333)" in logged(answers(["text"]))

    def test_a_stream_of_str(self, logged):
        assert "the application sent 'text'; blocks are bytes (PEP 3333)" in logged(answers(iter(["text"])))

    def test_a_status_of_bytes(self, logged):
        def application(environ, start_response):
            start_response(b"200 OK", [TEXT])
            return [b"a"]

        assert "b'200 OK'" in logged(application)

    def test_no_start_response(self, logged):
        assert "start_response" in logged(lambda environ, start_response: [b"a"])

    def test_none_is_returned(self, logged):
        assert "NoneType" in logged(answers(None))

    def test_what_cannot_be_called(self):
        with pytest.raises(TypeError, match="a WSGI application must be callable; this is None"):
            Filter(None, lambda environ, head: None)
        with pytest.raises(TypeError, match="select must be callable; this is 1"):
            Filter(answers([]), 1)
