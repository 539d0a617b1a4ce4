"""What every test can use.

Fixtures

    serve(app, unix=False, referee=True, **settings) -> Running
        A headrace.Server for the application in a thread of its own: on a free port of 127.0.0.1, or with unix=True on
        a UNIX socket in a folder of its own.  `settings` are those of headrace.Server.  May be called several times in
        one test; all servers are stopped when the test ends.  See `Running` for what it returns.
        referee=False: the heads are not compared with llhttp's reading (see referee.py); for a test whose UNIX socket
        is also used by clients that are not of wire.py.
    command(*arguments, binds=1, cwd=None) -> Command
        A `headrace` process of its own, once it listens: see command.py.  Those still running when the test ends are
        stopped, and must end with 0.
    has_interpreter_lock: False on a free-threaded CPython.
    prompt_release: settings for servers whose tests ask for room or files again right after they were given back.
    accepts(message) -> Accepted, refuses(message, error)
        One message against the echo application, with one verdict however it arrives: see verdict.py.
    transport -> "tcp" or "unix"
        A test that takes it runs twice, and `serve` uses that kind of socket.

Checks that every test passes without asking for them

    After each test nothing was logged by "headrace" as CRITICAL (that is a fault of ours, not of an application).
    In debug builds (HEADRACE_DEBUG=1) no connection, response, body or spool is alive that was not before, and no
    connection made a move that the state table forbids.

Options

    --poller=poll (or HEADRACE_TEST_POLLER=poll): servers use this poller unless the test says otherwise.
    --threads=4 (or HEADRACE_TEST_THREADS=4): the same for the number of threads; without it the server's default.
    --churn=SECONDS, --churn-seed=NUMBER: how long each test of adversity/test_churn.py takes, and what is random in it.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for wire.py and its like; importlib mode adds nothing
pytest.register_assert_rewrite("verdict")

import referee as referee_module  # noqa: E402
import verdict  # noqa: E402
import wire  # noqa: E402
from command import Command  # noqa: E402

import headrace  # noqa: E402
from headrace.engine import debug  # noqa: E402

Application = Callable[..., Iterable[bytes]]

_POLLERS = ("auto", "epoll", "kqueue", "poll")
_failed = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def has_interpreter_lock() -> bool:
    """False on a free-threaded CPython: there the server's threads go on while a test looks at what they have done."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


@pytest.fixture(scope="session")
def prompt_release(has_interpreter_lock: bool) -> dict[str, int]:
    """Settings of a server that gives back what it held (room for bodies, temporary files) before it serves the next.

    Without an interpreter lock each object belongs to the thread that made it (biased reference counts), and one that
    another thread lets go of ends some time later, when its own thread next runs.  So there: one thread for all.
    """
    return {} if has_interpreter_lock else {"threads": 1}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--poller",
        choices=_POLLERS,
        default=os.environ.get("HEADRACE_TEST_POLLER", "auto"),
        help="the poller of every server that the tests start",
    )
    threads = os.environ.get("HEADRACE_TEST_THREADS")
    parser.addoption(
        "--threads",
        type=int,
        default=int(threads) if threads else None,
        help="the threads of every server that the tests start (default: the server's)",
    )
    parser.addoption(
        "--referee",
        action="store_true",
        default=os.environ.get("HEADRACE_TEST_REFEREE") == "1",
        help="every server that the tests start has llhttp read each head beside it",
    )
    parser.addoption("--churn", type=float, default=0.7, metavar="SECONDS", help="of each test of test_churn.py")
    parser.addoption("--churn-seed", type=int, default=1, metavar="NUMBER", help="its first round's seed")



def settings_of_this_run(config: pytest.Config) -> dict[str, Any]:
    """What the options above ask of every server."""
    settings = {"poller": config.getoption("poller"), "threads": config.getoption("threads")}
    settings["referee"] = config.getoption("referee") or None
    return {name: value for name, value in settings.items() if value is not None}


def pytest_configure() -> None:
    # Shells ignore SIGINT for what runs in the background, nohup(1) SIGHUP; programs of ours would inherit that.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
    for name in ("POLLER", "THREADS", "REFEREE"):
        os.environ.pop(f"HEADRACE_TEST_{name}", None)  # the options have them, and servers would tell of these


def pytest_collection_finish(session: pytest.Session) -> None:
    if debug.is_debug_build():
        gc.freeze()  # each test collects garbage; without what was there before, that takes no time


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


class Running:
    """A server that runs until the test ends.

    server: the headrace.Server.  address: (host, port), or the path of its UNIX socket; port: 0 for the latter.
    environs: of each call of the application, in order, a copy of what is str in it: `running.environs == []` says
    that the application was never called.
    """

    def __init__(self, application: Application, folder: Path | None, settings: dict[str, Any]) -> None:
        self.environs: list[dict[str, str]] = []
        self.as_sent: list[dict[str, str]] = []
        self.clients: list[wire.Client] = []
        self.witnesses: list[referee_module.Witness] = []
        self.folder = folder
        self._application = application
        if folder is None:
            self.server = headrace.Server(self._witnessed, host="127.0.0.1", port=0, **settings)
            self.address: wire.Address = (self.server.host, self.server.port)
        else:
            self.address = str(folder / "s")
            self.server = headrace.Server(self._witnessed, bind=f"unix:{self.address}", **settings)
        self.port = self.server.port
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="headrace", daemon=True)
        self.thread.start()

    def _witnessed(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen = {key: value for key, value in environ.items() if isinstance(value, str)}
        self.environs.append(seen)
        # What the head itself said: the server may have believed its X-Forwarded-For.
        self.as_sent.append(seen | environ.get("headrace.forwarded", {}))
        return self._application(environ, start_response)

    def _run(self) -> None:
        try:
            self.server.run()
        except BaseException as failure:
            self.failure = failure

    @property
    def calls(self) -> int:
        """How often the application was called."""
        return len(self.environs)

    @property
    def targets(self) -> list[str]:
        """The request target of each call."""
        return [environ["RAW_URI"] for environ in self.environs]

    def connect(self, **options: Any) -> wire.Client:
        """A client, closed when the test ends.  options: of wire.Client."""
        client = wire.Client(self.address, on_connect=lambda made: self.witnesses.append(made.witness), **options)
        self.clients.append(client)
        return client

    def exchange(self, message: bytes, cut: str | int = "whole", *, method: str = "GET") -> wire.Response:
        """One request on a connection of its own."""
        with self.connect() as client:
            return client.exchange(message, cut, method=method)

    def connection_count(self) -> int:
        """Connections that the server has open."""
        return int(self.server._worker._loop.open_connections())

    def ask_to_stop(self, graceful: bool = True) -> None:
        """Tell the server to stop, and do not wait for it; `running.thread.join(timeout)` does."""
        self.server._worker.stop(graceful)

    def stop(self, graceful: bool = True, timeout: float = wire.PATIENCE_S) -> None:
        """Stop the server and wait for its end; a failure of its thread is raised here."""
        self.ask_to_stop(graceful)
        self.thread.join(timeout)
        if self.thread.is_alive():
            raise AssertionError(f"the server did not stop within {timeout:g} s")
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def shut_down(self) -> None:
        try:
            self.stop(graceful=False)
        finally:
            for client in self.clients:
                client.close()
            del self.server  # which refers back to us; so that everything of it is gone at once
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(params=["tcp", "unix"])
def transport(request: pytest.FixtureRequest) -> str:
    """Runs the test over TCP and over a UNIX socket: `serve` takes note of it by itself."""
    return str(request.param)


@pytest.fixture
def default_settings() -> dict[str, Any]:
    """Settings of every server in a folder whose conftest.py says so."""
    return {}


@pytest.fixture
def serve(request: pytest.FixtureRequest, default_settings: dict[str, Any]) -> Iterator[Callable[..., Running]]:
    """See the top of this file."""
    unix_by_default = "transport" in request.fixturenames and request.getfixturevalue("transport") == "unix"
    started: list[tuple[Running, bool]] = []

    def start(application: Application, unix: bool | None = None, referee: bool = True, **settings: Any) -> Running:
        unix = unix_by_default if unix is None else unix
        settings = {**settings_of_this_run(request.config), **default_settings, **settings}
        folder = Path(tempfile.mkdtemp(prefix="hr-")) if unix else None  # short: a UNIX socket's path is limited
        running = Running(application, folder, settings)
        started.append((running, referee))
        return running

    yield start
    complaints = shut_down_all(started)
    if complaints:
        pytest.fail("the referee disagrees:\n" + "\n".join(complaints), pytrace=False)


def shut_down_all(started: list[tuple[Running, bool]]) -> list[str]:
    """Stop the servers; what the referee has to say of those that it watched."""
    complaints = []
    while started:
        running, referee = started.pop()
        running.shut_down()
        if referee:
            complaints += referee_module.disagreements(running.as_sent, running.witnesses)
    return complaints


@pytest.fixture
def command() -> Iterator[Callable[..., Command]]:
    """See the top of this file."""
    started: list[Command] = []

    def start(*arguments: object, **options: object) -> Command:
        started.append(Command(*arguments, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    running = [process for process in started if process.process.poll() is None]
    assert [process.end() for process in running] == [0] * len(running)


@pytest.fixture
def judge(serve: Callable[..., Running]) -> verdict.Judge:
    return verdict.Judge(serve(verdict.echo, unix=True), serve(verdict.echo))


@pytest.fixture
def accepts(judge: verdict.Judge) -> Callable[[bytes], verdict.Accepted]:
    return judge.accepts


@pytest.fixture
def refuses(judge: verdict.Judge) -> Callable[[bytes, str], None]:
    return judge.refuses


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.with_traceback: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.CRITICAL:
            self.messages.append(logging.Formatter("%(message)s").format(record))
        if record.exc_info:
            self.with_traceback.append(record)


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """See "Checks" at the top of this file."""
    records = _Records()
    logger = logging.getLogger("headrace")
    logger.addHandler(records)
    before = debug.object_counts()
    yield
    logger.removeHandler(records)
    for record in records.with_traceback:  # which pytest keeps, with all frames
        record.exc_info = None
    if records.messages:
        pytest.fail("the server found a fault of its own:\n" + "\n".join(records.messages), pytrace=False)
    if request.node.stash.get(_failed, False):
        return  # the traceback of a failed test keeps things alive
    # Without interpreter lock an object ends when the thread that made it next runs, or has ended.
    until = time.monotonic() + wire.PATIENCE_S
    while (left := left_since(before)) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    if left:
        pytest.fail(f"objects were left behind: {left}", pytrace=False)


def left_since(before: dict[str, int]) -> dict[str, int]:
    """Objects by kind; {} in builds that do not count."""
    counts = debug.object_counts()
    return {kind: number - before.get(kind, 0) for kind, number in counts.items() if number > before.get(kind, 0)}
