"""Compress: what is compressed, for whom, and that it can be read again.  With wsgiref's validator on both sides."""

from __future__ import annotations

import gzip
import importlib
import sys
import threading
import zlib

import brotli
import pytest
import wire
import zstandard
from wire import request

from headrace.middleware import Compress
from headrace.middleware.compress import MEMBERS_MAX, choose_coding

TEXT = b"the same words again and again, " * 100


def decoded(coding, octets):
    if coding == "gzip":
        return gzip.decompress(octets)
    if coding == "br":
        return brotli.decompress(octets)
    return zstandard.ZstdDecompressor().decompressobj().decompress(octets)


def reader(coding):
    """A function from octets as they come to the text as far as it can be read."""
    if coding == "gzip":
        return zlib.decompressobj(31).decompress
    if coding == "br":
        return brotli.Decompressor().process
    return zstandard.ZstdDecompressor().decompressobj().decompress


def page(*headers, body=TEXT, status="200 OK", media_type="text/html; charset=utf-8"):
    def application(environ, start_response):
        content = [("Content-Type", media_type)] if media_type else []
        start_response(status, [*content, *headers])
        return [body] if body is not None else []

    return application


def ask(running, accept="gzip", *fields, method="GET"):
    accepted = [] if accept is None else [("Accept-Encoding", accept)]
    return running.exchange(request(fields=[*accepted, *fields], method=method), method=method)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
class TestEachCoding:
    def test_a_page_arrives_smaller_and_whole(self, serve_between, coding):
        response = ask(serve_between(Compress, page(("Content-Length", str(len(TEXT))))), coding)
        assert response.get("Content-Encoding") == coding
        assert int(response.get("Content-Length")) == len(response.body) < len(TEXT) / 10
        assert decoded(coding, response.body) == TEXT

    def test_every_block_of_a_stream_can_be_read_when_it_comes(self, serve_between, coding):
        go_on = threading.Semaphore(0)
        blocks = [b"one", b"", b"two" * 1000, b"three"]

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            for block in blocks:
                yield block
                assert go_on.acquire(timeout=wire.PATIENCE_S)

        read = reader(coding)
        with serve_between(Compress, application).connect() as client:
            client.send(request(fields=[("Accept-Encoding", coding)]))
            assert client.read_head().get("Content-Encoding") == coding
            for block in blocks:
                text = b""
                while len(text) < len(block):
                    size = int(client._read_line(), 16)
                    text += read(client.read_exactly(size))
                    client.read_exactly(2)
                assert text == block
                go_on.release()

    def test_a_large_file_from_the_file_wrapper_arrives_whole(self, serve, coding, tmp_path):
        path = tmp_path / "words"
        path.write_bytes(TEXT * 100)

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(path.stat().st_size))])
            return environ["wsgi.file_wrapper"](path.open("rb"))

        running = serve(Compress(application))
        assert decoded(coding, ask(running, coding).body) == TEXT * 100
        response = ask(running, "identity")
        assert (response.body, response.get("Vary")) == (TEXT * 100, "Accept-Encoding")

    def test_its_level_is_minded(self, coding):
        application = page(body=b"".join(b"%d words, " % (number * number) for number in range(2000)))
        sizes = []
        for level in (1, 9 if coding != "zstd" else 19):
            (body,) = Compress(application, levels={coding: level})(
                {"REQUEST_METHOD": "GET", "HTTP_ACCEPT_ENCODING": coding}, lambda status, headers: None
            )
            sizes.append(len(body))
        assert sizes[1] < sizes[0]


class TestAcceptEncoding:
    """RFC 9110 §12.5.3."""

    @pytest.mark.parametrize(
        ("value", "coding"),
        [
            (None, None),
            ("", None),
            ("gzip", "gzip"),
            ("GZip", "gzip"),
            ("x-gzip", "gzip"),
            ("deflate, compress", None),
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, deflate, br", "br"),
            ("gzip;q=1.0, br;q=0.9", "gzip"),
            ("gzip ; q=0.5,br\t;\tQ=0.501", "br"),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("*", "zstd"),
            ("zstd;q=0, *", "br"),
            ("*;q=0, gzip", "gzip"),
            ("*;q=0", None),
            ("gzip;q=0.5, identity", None),
            ("gzip;q=0.5, identity;q=0.5", "gzip"),
            ("gzip;q=0.5, *;q=0.6", "zstd"),
            ("identity", None),
            (", gzip,,", "gzip"),
            ("gzip, gzip;q=0", "gzip"),
        ],
    )
    def test_the_highest_weight_wins_and_then_our_order(self, value, coding):
        assert choose_coding(value, ("zstd", "br", "gzip")).coding == coding

    @pytest.mark.parametrize(
        "value", ["gzip;q=2", "gzip;q=0.1234", "gzip;q=", "gzip;q=-1", "gzip;level=9", "gz ip", '"gzip"']
    )
    def test_a_member_against_the_grammar_is_passed_over(self, value):
        assert choose_coding(value, ("gzip",)).coding is None
        assert choose_coding(f"{value}, br", ("gzip", "br")).coding == "br"

    def test_a_hundred_members_are_looked_at(self):
        assert choose_coding("x, " * (MEMBERS_MAX - 1) + "gzip", ("gzip",)).coding == "gzip"
        assert choose_coding("x, " * MEMBERS_MAX + "gzip", ("gzip",)).coding is None

    @pytest.mark.parametrize(
        ("value", "refuses"),
        [
            (None, False),
            ("", False),
            ("gzip", False),
            ("identity;q=0", True),
            ("*;q=0", True),
            ("*;q=0, identity;q=0.1", False),
            ("gzip, *;q=0", True),
            ("identity;q=0.0, *", True),
        ],
    )
    def test_identity_is_acceptable_unless_excluded(self, value, refuses):
        assert choose_coding(value, ("gzip",)).refuses_identity is refuses

    def test_who_refuses_identity_gets_everything_compressed(self, serve_between):
        running = serve_between(Compress, page(body=b"tiny", media_type="image/png"))
        response = ask(running, "gzip, identity;q=0")
        assert (gzip.decompress(response.body), response.get("Vary")) == (b"tiny", "Accept-Encoding")

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_who_refuses_all_there_is_gets_406(self, serve_between, method):
        response = ask(serve_between(lambda app: Compress(app, codings=["br", "gzip"]), page()), "*;q=0", method=method)
        assert (response.status, response.get("Vary")) == (406, "Accept-Encoding")
        assert method == "HEAD" or response.body == b"Not Acceptable: this server has the content codings br, gzip\n"

    def test_who_accepts_what_only_the_application_has_gets_that(self, serve_between):
        running = serve_between(lambda app: Compress(app, codings=["gzip"]), page(("Content-Encoding", "br")))
        for accept in ("br, identity;q=0", "gzip;q=0, identity;q=0, *"):
            response = ask(running, accept)
            assert (response.status, response.get("Content-Encoding"), response.body) == (200, "br", TEXT)

    def test_who_refuses_all_there_is_still_has_a_post_done(self, serve_between):
        response = ask(serve_between(Compress, page()), "*;q=0", ("Content-Length", "0"), method="POST")
        assert (response.status, response.body) == (200, TEXT)


class TestWhatStaysAsItIs:
    @pytest.mark.parametrize(
        "application",
        [
            page(("Content-Encoding", "br")),
            page(("Cache-Control", "private, no-transform")),
            page(media_type="image/png"),
            page(media_type="application/octet-stream"),
            page(("Content-Length", "499"), body=TEXT[:499]),
            page(("Content-Range", "bytes 0-3199/9999"), status="206 Partial Content"),
            page(body=None, media_type=None, status="204 No Content"),
        ],
        ids=["coded", "no-transform", "picture", "binary", "small", "part", "empty"],
    )
    def test_content_that_is_not_for_it(self, serve_between, application):
        running = serve_between(Compress, application)
        compressed, plain = ask(running), ask(running, None)
        compressed.fields = [field for field in compressed.fields if field[0] != "Date"]
        plain.fields = [field for field in plain.fields if field[0] != "Date"]
        assert compressed == plain

    def test_what_the_client_wants_untransformed(self, serve_between):
        assert ask(serve_between(Compress, page()), "gzip", ("Cache-Control", "no-transform")).body == TEXT

    def test_what_the_client_takes_in_no_coding(self, serve_between):
        response = ask(serve_between(Compress, page(("ETag", '"a"'), ("Accept-Ranges", "bytes"))), "identity")
        assert (response.body, response.get("ETag"), response.get("Accept-Ranges")) == (TEXT, '"a"', "bytes")

    @pytest.mark.parametrize(
        "media_type",
        [
            "text/css",
            "application/json",
            "application/problem+json",
            "image/svg+xml",
            "TEXT/HTML ;charset=x",
            "font/ttf",
        ],
    )
    def test_text_in_any_form_does_not(self, serve_between, media_type):
        assert ask(serve_between(Compress, page(media_type=media_type))).get("Content-Encoding") == "gzip"

    def test_a_part_reaches_the_client_with_its_range(self, serve_between):
        def application(environ, start_response):
            assert environ["HTTP_RANGE"] == "bytes=0-1"
            start_response("206 Partial Content", [("Content-Type", "text/plain"), ("Content-Range", "bytes 0-1/3200")])
            return [TEXT[:2]]

        response = ask(serve_between(Compress, application), "gzip", ("Range", "bytes=0-1"))
        assert (response.status, response.body, response.get("Vary")) == (206, TEXT[:2], "Accept-Encoding")


class TestFields:
    @pytest.mark.parametrize(
        ("vary", "after"),
        [
            ([], "Accept-Encoding"),
            (["Cookie"], "Cookie, Accept-Encoding"),
            (["Cookie", "Accept"], "Cookie, Accept, Accept-Encoding"),
            (["accept-encoding, Cookie"], "accept-encoding, Cookie"),
            (["*"], "*"),
        ],
    )
    @pytest.mark.parametrize("accept", ["gzip", "identity", None])
    def test_vary_names_accept_encoding_once(self, serve_between, vary, after, accept):
        running = serve_between(Compress, page(*(("Vary", value) for value in vary)))
        assert ask(running, accept).get("Vary") == after

    def test_vary_is_not_given_where_nothing_depends_on_it(self, serve_between):
        assert ask(serve_between(Compress, page(media_type="image/png"))).get("Vary") is None

    def test_the_etag_is_weak_and_ranges_are_not_offered(self, serve_between):
        response = ask(serve_between(Compress, page(("ETag", '"a"'), ("Accept-Ranges", "bytes"))))
        assert (response.get("ETag"), response.get("Accept-Ranges")) == ('W/"a"', None)

    def test_the_weak_etag_is_good_for_a_304(self, serve_between):
        def application(environ, start_response):
            # As frameworks do it: If-None-Match compares weakly (RFC 9110 §13.1.2).
            if environ.get("HTTP_IF_NONE_MATCH", "").removeprefix("W/") == '"a"':
                start_response("304 Not Modified", [("ETag", '"a"')])
                return []
            return page(("ETag", '"a"'))(environ, start_response)

        running = serve_between(Compress, application)
        for accept, tag in (("gzip", 'W/"a"'), ("identity", '"a"')):
            assert ask(running, accept).get("ETag") == tag
            response = ask(running, accept, ("If-None-Match", tag))
            assert (response.status, response.get("ETag"), response.get("Vary")) == (304, tag, "Accept-Encoding")

    def test_head_is_that_of_get(self, serve_between):
        running = serve_between(Compress, page(("ETag", '"a"'), ("Content-Length", "3200")))
        got, asked = ask(running), ask(running, method="HEAD")
        assert asked.get("Content-Encoding") == "gzip"
        assert [f for f in asked.fields if f[0] != "Date"] == [f for f in got.fields if f[0] != "Date"]

    def test_head_without_content_has_no_length_of_other_content(self, serve_between):
        running = serve_between(Compress, page(("Content-Length", "3200"), body=b""))
        response = ask(running, method="HEAD")
        assert (response.get("Content-Encoding"), response.get("Content-Length") == "3200") == ("gzip", False)


class TestSettings:
    def test_codings_are_those_named_in_their_order(self, serve_between):
        running = serve_between(lambda app: Compress(app, codings=["gzip", "br"]), page())
        assert ask(running, "zstd, br, gzip").get("Content-Encoding") == "gzip"
        assert ask(running, "zstd").get("Content-Encoding") is None

    def test_small_and_media_types_are_what_is_said(self, serve_between):
        running = serve_between(
            lambda app: Compress(app, size_min_bytes=2, media_types=["a/*"]), page(body=b"ab", media_type="a/b")
        )
        assert gzip.decompress(ask(running).body) == b"ab"

    def test_no_media_types_are_none(self, serve_between):
        assert ask(serve_between(lambda app: Compress(app, media_types=[]), page())).body == TEXT

    def test_without_the_packages_gzip_is_left(self, monkeypatch):
        if sys.version_info >= (3, 14):
            pytest.skip("zstd is in the standard library")

        def nothing(name):
            raise ImportError(f"No module named {name!r}")

        monkeypatch.setattr(importlib, "import_module", nothing)
        assert Compress(page())._codings == ("gzip",)
        with pytest.raises(ImportError, match="'br' needs a package: pip install 'headrace.compress"):
            Compress(page(), codings=["br"])

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"codings": ["deflate"]}, "'deflate' is none of the codings zstd, br, gzip"),
            ({"levels": {"lzma": 1}}, "'lzma' is none of the codings"),
            ({"levels": {"gzip": 0}}, "gzip has the levels 1 to 9; this is 0"),
            ({"levels": {"zstd": 20}}, "zstd has the levels 1 to 19; this is 20"),
        ],
    )
    def test_wrong_ones_are_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            Compress(page(), **settings)
