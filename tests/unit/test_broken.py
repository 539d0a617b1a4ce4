"""The answer under --reload when no code loads (headrace.process.broken), served and asked for over sockets."""

from __future__ import annotations

import pytest

from headrace.process.application import ApplicationError, load_application
from headrace.process.broken import BrokenApplication, wants_html

DETAILS = 'Traceback (most recent call last):\n  File "<shop>.py", line 1\nKeyError: \'<script>alert("é")</script>\'\n'
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def ask(serve, accept=BROWSER, method="GET"):
    application = BrokenApplication("importing shop failed: <b>", "look & see", DETAILS)
    message = f"{method} / HTTP/1.1\r\nHost: a\r\n" + (f"Accept: {accept}\r\n" if accept else "") + "\r\n"
    return serve(application).exchange(message.encode(), method=method)


class TestPage:
    def test_is_a_500_with_the_traceback_escaped(self, serve):
        answer = ask(serve)
        assert answer.status == 500
        assert dict(answer.fields)["Content-Type"] == "text/html; charset=utf-8"
        page = answer.body.decode()
        assert "KeyError: &#x27;&lt;script&gt;alert(&quot;é&quot;)&lt;/script&gt;&#x27;" in page
        assert "importing shop failed: &lt;b&gt;" in page
        assert "look &amp; see" in page
        assert "<script" not in page
        assert "<b>" not in page

    def test_is_neither_kept_nor_may_it_run_anything(self, serve):
        fields = dict(ask(serve).fields)
        assert fields["Cache-Control"] == "no-store"
        assert fields["Content-Security-Policy"].startswith("default-src 'none'")
        assert fields["X-Content-Type-Options"] == "nosniff"

    def test_takes_text_that_is_no_unicode(self, serve):
        application = BrokenApplication("importing \udcff failed")
        message = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n"
        assert serve(application).exchange(message).body.count(rb"\udcff") == 2


class TestText:
    @pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "application/json"])
    def test_is_the_traceback_as_it_is(self, serve, accept):
        answer = ask(serve, accept)
        assert answer.status == 500
        assert dict(answer.fields)["Content-Type"] == "text/plain; charset=utf-8"
        assert dict(answer.fields)["Cache-Control"] == "no-store"
        expected = "The application cannot be loaded.\n\n" + DETAILS
        assert answer.body.decode() == expected + "error: importing shop failed: <b>\nhint: look & see\n"

    def test_head_has_no_content(self, serve):
        for accept in (BROWSER, "*/*"):
            answer = ask(serve, accept, "HEAD")
            assert (answer.status, answer.body) == (500, b"")


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML ; q=0.5", True),
        ("text/plain, text/html", True),
        ("text/plain;q=0.4, text/html;q=0.5", True),
        ("text/plain, text/html;q=0.5", False),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        ("*/*", False),
        ("", False),
        (";;,=,;q=,", False),
    ],
)
def test_html_is_for_who_names_it(accept, html):
    assert wants_html(accept) is html


def test_what_loading_raises_is_what_it_takes(tmp_path, serve):
    (tmp_path / "hr_broken_now.py").write_text("1 / 0\n")
    with pytest.raises(ApplicationError) as caught:
        load_application(str(tmp_path / "hr_broken_now.py"))
    answer = serve(BrokenApplication(str(caught.value), caught.value.hint, caught.value.details)).exchange(
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert b"ZeroDivisionError: division by zero" in answer.body
