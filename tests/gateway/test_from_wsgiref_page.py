"""docs/from-wsgiref.md: what it says of the modules and of CGI is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from wsgiref.headers import Headers

import pytest

FOLDER = Path(__file__).parents[2]
PAGE = FOLDER / "docs" / "from-wsgiref.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="no pages beside the tests")


def text():
    return PAGE.read_text(encoding="utf-8")


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)


def test_every_module_of_wsgiref_is_in_the_table():
    import wsgiref

    theirs = {path.stem for path in Path(wsgiref.__file__).parent.glob("*.py")} - {"__init__"}
    ours = set(re.findall(r"^\| `headrace\.(\w+)` \|", text(), re.MULTILINE))
    assert ours == theirs | {"types"}


def test_every_link_leads_somewhere():
    targets = re.findall(r"\]\(([^)#]+)", text())
    assert len(targets) >= 5
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []


def test_every_anchor_is_a_heading_of_the_readme():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    titles = re.findall("^#+ (.*)", readme, re.MULTILINE)
    headings = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    anchors = set(re.findall(r"README\.md#([\w-]+)", text()))
    assert anchors
    assert anchors <= headings


def test_the_sed_command_rewrites_imports_and_nothing_longer(tmp_path):
    (command,) = re.findall(r"^sed .*$", text(), re.MULTILINE)
    program = tmp_path / "program.py"
    program.write_text("import wsgiref.util\nfrom wsgiref import headers\nmy_wsgiref = wsgirefs = 1\n")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert program.read_text() == "import headrace.util\nfrom headrace import headers\nmy_wsgiref = wsgirefs = 1\n"


def test_the_alias_gives_a_library_headrace():
    library = (
        f"import sys; sys.path.insert(0, {str(FOLDER / 'tests' / 'dropin')!r}); import alias\n"  # which is the page's
        "from wsgiref.simple_server import make_server, WSGIServer\n"
        "import wsgiref.handlers, wsgiref.util, wsgiref.headers, wsgiref.validate\n"
        "assert make_server.__module__.startswith('headrace'), make_server.__module__\n"
        "assert wsgiref.util.__name__ == 'wsgiref.util'\n"
    )
    result = run(library)
    assert (result.stderr, result.returncode) == ("", 0)


# -- the table of CGI: the column of CGIHandler; test_cgi_*.py have the other -----------------------------------------

CGI_HANDLER = "from headrace.handlers import CGIHandler\nimport os, sys\n{application}\nCGIHandler().run(application)\n"

REQUEST = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/a", "SERVER_PROTOCOL": "HTTP/1.1", "CONTENT_LENGTH": ""}


def with_cgi_handler(body, **variables):
    lines = ["def application(environ, start_response):", *(f"    {line}" for line in body)]
    program = CGI_HANDLER.format(application="\n".join(lines))
    environ = {**REQUEST, **variables}
    return subprocess.run(
        [sys.executable, "-c", program], env=environ, input=b"12345678", capture_output=True, timeout=20
    )


class TestCgiHandlerDiffersAsThePageSays:
    def test_in_environ(self):
        names = ["HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_PROXY", "CONTENT_LENGTH", "SERVER_NAME"]
        body = ["start_response('200 OK', [])", f"return [repr([environ.get(n) for n in {names}]).encode()]"]
        result = with_cgi_handler(body, HTTP_CONTENT_TYPE="a", HTTP_CONTENT_LENGTH="5", HTTP_PROXY="c")
        assert result.stdout.endswith(b"\r\n\r\n['a', '5', 'c', '', None]")

    def test_in_input_that_goes_on_behind_the_body(self):
        body = ["start_response('200 OK', [])", "return [environ['wsgi.input'].read()]"]
        assert with_cgi_handler(body, CONTENT_LENGTH="5").stdout.endswith(b"12345678")

    def test_in_what_is_printed(self):
        body = ["os.write(1, b'printed ')", "start_response('200 OK', [])", "return [b'body']"]
        assert with_cgi_handler(body).stdout.startswith(b"printed Status: 200 OK")

    def test_in_a_content_length_that_is_wrong(self):
        body = ["start_response('200 OK', [('Content-Length', '1')])", "return [b'body']"]
        assert with_cgi_handler(body).stdout.endswith(b"body")

    def test_in_the_exit_status(self):
        result = with_cgi_handler(["raise LookupError"])
        assert (result.stdout[:11], result.returncode) == (b"Status: 500", 0)
        assert b"LookupError" in result.stderr

    def test_in_line_ends_in_a_header(self):
        body = ["start_response('200 OK', [('A', 'b\\r\\nC: d')])", "return []"]
        try:
            Headers([("A", "b\r\nC: d")])
        except ValueError:
            pytest.skip("the wsgiref.headers of this Python refuses control characters")
        assert b"\r\nC: d\r\n" in with_cgi_handler(body).stdout
