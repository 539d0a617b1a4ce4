"""Programs from PyPI, unmodified but for wsgiref's name (alias.py): each says which engine it got.

Each runs in a process of its own, with its own client, and has to answer as it does over wsgiref.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# The engine is in the debug line of the logger; programs set up logging as they please, so it has a handler of its own.
PRELUDE = """
import alias, logging, socket, sys, threading, time, urllib.error, urllib.request
said = logging.StreamHandler(sys.stdout)
logging.getLogger("headrace").addHandler(said)
logging.getLogger("headrace").setLevel(logging.DEBUG)
logging.getLogger("headrace").disabled = False

def get(url, **more):
    with urllib.request.urlopen(url, timeout=10, **more) as answer:
        return answer.read()

def in_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread

def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

def wait_for(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
"""


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1", **more}


def run(program, *arguments, cwd=None):
    """What it printed; its end must be a good one."""
    text = PRELUDE + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", text, *map(str, arguments)],
        env=environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def engines(output):
    """Which engines it got, in order, each once."""
    return list(dict.fromkeys(re.findall(r"^HR701 engine: (\w+);", output, re.MULTILINE)))


def reasons(output):
    return re.findall(r"^HR701 engine: \w+; (.*)", output, re.MULTILINE)


def needs(*modules):
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} from PyPI")


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@needs("bottle")
class TestBottle:
    def test_run_gets_the_engine(self, free_port):
        output = run(
            """
            import bottle
            port = int(sys.argv[1])

            @bottle.route("/hello/<name>")
            def hello(name):
                return "hello " + name

            @bottle.post("/form")
            def form():
                return bottle.request.forms.getunicode("a")

            in_thread(lambda: bottle.run(host="127.0.0.1", port=port))
            wait_for(lambda: listening(port))
            assert get(f"http://127.0.0.1:{port}/hello/you") == b"hello you"
            assert get(f"http://127.0.0.1:{port}/form", data=b"a=%C3%A9") == "\\u00e9".encode()
            """,
            free_port,
        )
        assert engines(output) == ["native"]
        assert reasons(output)[0].startswith("the engine calls address_string, log_request")


@needs("prometheus_client")
class TestPrometheus:
    def test_metrics_get_the_engine(self):
        output = run(
            """
            import prometheus_client
            prometheus_client.Counter("requests_seen", "x").inc(3)
            server, thread = prometheus_client.start_wsgi_server(0, "127.0.0.1")
            body = get(f"http://127.0.0.1:{server.server_port}/metrics")
            assert b"requests_seen_total 3.0" in body, body
            assert server.engine == "native"
            server.shutdown()
            thread.join(10)
            assert not thread.is_alive()
            """
        )
        assert engines(output) == ["native"]

    @needs("trustme")
    def test_with_tls_they_get_the_standard_path(self, tmp_path):
        import trustme

        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
        certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
        output = run(
            """
            import prometheus_client, ssl
            server, thread = prometheus_client.start_wsgi_server(
                0, "127.0.0.1", certfile="cert.pem", keyfile="key.pem")
            trusting = ssl.create_default_context(cafile="ca.pem")
            body = get(f"https://127.0.0.1:{server.server_port}/metrics", context=trusting)
            assert b"python_info" in body, body
            server.shutdown()
            """,
            cwd=tmp_path,
        )
        assert engines(output) == ["standard"]
        assert reasons(output) == ["the server's socket is a ssl.SSLSocket"]


DJANGO = """
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(
    DEBUG=True, SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], USE_TZ=True,
    INSTALLED_APPS=["django.contrib.staticfiles"], STATIC_URL="/static/", LOGGING_CONFIG=None,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
urlpatterns = [path("hello/", lambda request: HttpResponse("hello " + request.GET["to"]))]
"""


@needs("django")
class TestDjango:
    def test_runservers_classes_get_the_standard_path(self, free_port):
        program = (
            DJANGO
            + """
port = sys.argv[1]
def ask():
    wait_for(lambda: listening(int(port)))
    print("body:", get(f"http://127.0.0.1:{port}/hello/?to=you").decode())
    import os, signal
    os.kill(os.getpid(), signal.SIGINT)
in_thread(ask)
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"])
"""
        )
        output = run(program, free_port)
        assert "body: hello you" in output
        assert engines(output) == ["standard"]

    def test_live_server_test_case_gets_the_standard_path(self):
        program = (
            DJANGO
            + """
django.setup()
from django.test import LiveServerTestCase
import unittest

class Live(LiveServerTestCase):
    def test_it(self):
        self.assertEqual(get(self.live_server_url + "/hello/?to=you"), b"hello you")

from django.test.runner import DiscoverRunner
runner = DiscoverRunner(verbosity=0)
runner.setup_test_environment()
old = runner.setup_databases()
result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(Live))
runner.teardown_databases(old)
sys.exit(not (result.wasSuccessful() and result.testsRun == 1))
"""
        )
        assert engines(run(program)) == ["standard"]


@needs("pyramid")
class TestPyramid:
    def test_pserve_gets_the_engine(self, tmp_path, free_port):
        (tmp_path / "site_of_test.py").write_text(
            textwrap.dedent(
                """
                from pyramid.config import Configurator
                from pyramid.response import Response

                def main(global_config, **settings):
                    config = Configurator(settings=settings)
                    config.add_route("hello", "/hello/{name}")
                    config.add_view(lambda request: Response("hello " + request.matchdict["name"]), route_name="hello")
                    return config.make_wsgi_app()
                """
            )
        )
        (tmp_path / "site.ini").write_text(
            "[app:main]\nuse = call:site_of_test:main\n"
            f"[server:main]\nuse = egg:pyramid#wsgiref\nhost = 127.0.0.1\nport = {free_port}\n"
        )
        program = """
import os, signal
sys.path.insert(0, ".")
port = int(sys.argv[1])
def ask():
    wait_for(lambda: listening(port))
    print("body:", get(f"http://127.0.0.1:{port}/hello/you").decode())
    os.kill(os.getpid(), signal.SIGINT)
in_thread(ask)
from pyramid.scripts.pserve import main
main(["pserve", "site.ini"])
"""
        output = run(program, free_port, cwd=tmp_path)
        assert "body: hello you" in output
        assert engines(output) == ["native"]


@needs("mkdocs")
class TestMkdocs:
    def test_live_reload_gets_the_engine_and_its_long_polls_a_thread_each(self, tmp_path):
        (tmp_path / "index.html").write_text("<html><body>page</body></html>")
        output = run(
            """
            from mkdocs.livereload import LiveReloadServer
            built = []
            server = LiveReloadServer(lambda: built.append(1), "127.0.0.1", 0, sys.argv[1], polling_interval=0.05)
            server.watch(sys.argv[1])
            main = in_thread(server.serve)
            wait_for(lambda: server.server_address[1] and server.serve_thread.is_alive())
            base = f"http://127.0.0.1:{server.server_port}"
            assert b"livereload" in get(base + "/")
            answers = []
            polls = [in_thread(lambda: answers.append(get(f"{base}/livereload/{server._visible_epoch}/{n}")))
                     for n in range(9)]
            assert b"page" in get(base + "/")
            time.sleep(0.2)
            assert answers == []
            with open(sys.argv[1] + "/index.html", "a") as page:
                page.write("<!-- new -->")
            for poll in polls:
                poll.join(20)
            assert len(answers) == 9 and built, (answers, built)
            server.shutdown(wait=True)
            """,
            tmp_path,
        )
        assert engines(output) == ["native"]


@needs("radicale")
class TestRadicale:
    def test_its_server_gets_the_standard_path(self, tmp_path, free_port):
        output = run(
            """
            import radicale.config, radicale.server
            port, folder = sys.argv[1:]
            configuration = radicale.config.load()
            configuration.update({
                "server": {"hosts": f"127.0.0.1:{port}"}, "auth": {"type": "none"},
                "storage": {"filesystem_folder": folder}, "rights": {"type": "owner_only"},
            }, "test", privileged=True)
            ours, theirs = socket.socketpair()
            thread = in_thread(radicale.server.serve, configuration, theirs)
            base = f"http://127.0.0.1:{port}"
            def answers():
                try:
                    return get(base + "/.web/")
                except urllib.error.HTTPError:
                    return True
                except OSError:
                    return False
            wait_for(answers)
            request = urllib.request.Request(base + "/someone/calendar/", method="MKCALENDAR")
            request.add_header("Authorization", "Basic c29tZW9uZTp4")
            with urllib.request.urlopen(request, timeout=10) as answer:
                print("status:", answer.status)
            ours.close()
            thread.join(10)
            assert not thread.is_alive()
            """,
            free_port,
            tmp_path,
        )
        assert "status: 201" in output
        assert engines(output) == ["standard"]


@needs("google_auth_oauthlib")
class TestGoogleAuthOauthlib:
    def test_the_one_request_flow_gets_the_engine(self, free_port):
        output = run(
            """
            import google_auth_oauthlib.flow as flow_module
            port = int(sys.argv[1])
            config = {"installed": {
                "client_id": "id", "client_secret": "secret", "auth_uri": "https://accounts.invalid/auth",
                "token_uri": "https://accounts.invalid/token", "redirect_uris": ["http://localhost"]}}
            flow = flow_module.InstalledAppFlow.from_client_config(config, scopes=["openid"])
            fetched = {}
            flow.fetch_token = lambda **named: fetched.update(named)
            flow_module.InstalledAppFlow.credentials = "credentials"
            class Browser:
                def open(self, url, **named):
                    import urllib.parse
                    state = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))["state"]
                    in_thread(lambda: pages.append(get(f"http://localhost:{port}/?code=abc&state={state}")))
            pages = []
            flow_module.webbrowser.get = lambda browser=None: Browser()
            assert flow.run_local_server(port=port, success_message="all done") == "credentials"
            wait_for(lambda: pages)
            assert pages == [b"all done"], pages
            assert "code=abc" in fetched["authorization_response"], fetched
            """,
            free_port,
        )
        assert engines(output) == ["native"]


@needs("dulwich")
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
class TestDulwich:
    @pytest.mark.parametrize(("logger", "engine"), [(True, "standard"), (False, "native")])
    def test_git_clones_through_it(self, tmp_path, logger, engine):
        source = tmp_path / "source"
        for command in (
            ["git", "init", "-q", str(source)],
            ["git", "-C", str(source), "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty"]
            + ["-m", "the first"],
        ):
            subprocess.run(command, check=True, timeout=20)
        (source / "big").write_bytes(os.urandom(300_000))
        git = ["git", "-C", str(source), "-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run([*git, "add", "big"], check=True, timeout=20)
        subprocess.run([*git, "commit", "-q", "-m", "the second"], check=True, timeout=20)
        output = run(
            """
            import subprocess
            from dulwich.repo import Repo
            from dulwich.server import DictBackend
            from dulwich import web
            source, copy, logger = sys.argv[1:]
            application = web.make_wsgi_chain(DictBackend({"/": Repo(source)}))
            from wsgiref.simple_server import make_server
            classes = {"server_class": web.WSGIServerLogger, "handler_class": web.WSGIRequestHandlerLogger}
            server = make_server("127.0.0.1", 0, application, **(classes if logger == "True" else {}))
            in_thread(server.serve_forever)
            url = f"http://127.0.0.1:{server.server_port}/"
            subprocess.run(["git", "clone", "-q", url, copy], check=True, timeout=30)
            server.shutdown()
            """,
            source,
            tmp_path / "copy",
            logger,
        )
        assert (tmp_path / "copy" / "big").read_bytes() == (source / "big").read_bytes()
        assert engines(output) == [engine]


@needs("webtest")
class TestWebTest:
    def test_its_lint_and_debug_application_get_the_engine(self):
        output = run(
            """
            import webtest.debugapp, webtest.lint
            from wsgiref.simple_server import make_server
            server = make_server("127.0.0.1", 0, webtest.lint.middleware(webtest.debugapp.debug_app))
            in_thread(server.serve_forever)
            body = get(f"http://127.0.0.1:{server.server_port}/?q=1")
            assert b"QUERY_STRING: " in body and b"q=1" in body, body
            server.shutdown()
            """
        )
        assert engines(output) == ["native"]


@needs("werkzeug")
class TestWerkzeug:
    def test_debugged_application_gets_the_engine(self):
        output = run(
            """
            from werkzeug.debug import DebuggedApplication
            from wsgiref.simple_server import make_server
            def fails(environ, start_response):
                raise LookupError("look here")
            server = make_server("127.0.0.1", 0, DebuggedApplication(fails, evalex=True))
            in_thread(server.serve_forever)
            try:
                get(f"http://127.0.0.1:{server.server_port}/")
            except urllib.error.HTTPError as error:
                page = error.read()
                assert error.code == 500 and b"look here" in page and b"debugger" in page, page
            else:
                raise AssertionError("no error")
            server.shutdown()
            """
        )
        assert engines(output) == ["native"]
