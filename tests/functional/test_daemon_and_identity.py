"""Daemon, pid file, user, umask, title and environment, as a `headrace` process has them from its start to its end."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest
from command import WAIT_S
from wire import wait_until

SITE = """
import os
print("printed at import", flush=True)
os.write(2, b"written at import\\n")
uid_at_import = os.geteuid()

def application(environ, start_response):
    start_response("200 OK", [])
    name = environ["PATH_INFO"][1:]
    return [str(eval(name)).encode()]
"""

NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


def others_may_enter(folder):
    return all(one.stat().st_mode & stat.S_IXOTH for one in [folder, *folder.parents])


#: With all that it needs later: the user that it becomes may not be able to read this Python's folder.
PRELOADED = (
    "-c",
    "import encodings.ascii, traceback, linecache, tokenize, headrace.process.worker; "
    "from headrace.cli import main; main()",
)


@pytest.fixture
def folder():
    """That other users can read, and whose path is short enough for UNIX sockets."""
    path = Path(tempfile.mkdtemp(prefix="hr-"))
    path.chmod(0o755)
    (path / "hr_site.py").write_text(SITE)
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Daemons:
    """Servers that went to the background; ended with the test, by the pids in their pid files."""

    def __init__(self, folder):
        self.folder = folder

    def start(self, *arguments, bind="unix:s"):
        fixed = [sys.executable, "-m", "headrace", "-D", "-b", bind, "--pid", "pid"]
        return subprocess.run([*fixed, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=WAIT_S)

    def pid(self):
        return int((self.folder / "pid").read_text())

    def get(self, expression):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(WAIT_S)
            sock.connect(str(self.folder / "s"))
            connection = HTTPConnection("localhost", timeout=WAIT_S)
            connection.sock = sock
            connection.request("GET", "/" + quote(expression))
            return connection.getresponse().read().decode()

    def stop(self, number=signal.SIGTERM):
        os.kill(self.pid(), number)
        wait_until(lambda: not (self.folder / "pid").exists(), "the pid file's end", WAIT_S)


@pytest.fixture
def daemons(folder):
    made = Daemons(folder)
    yield made
    if (folder / "pid").exists():
        made.stop()


class TestDaemon:
    def test_serves_once_the_command_has_ended_with_0(self, daemons):
        started = daemons.start("hr_site")
        assert started.returncode == 0
        assert daemons.get("os.getpid()") == str(daemons.pid())

    def test_is_in_a_session_of_its_own_which_it_does_not_lead_and_has_no_terminal(self, daemons):
        daemons.start("hr_site")
        assert int(daemons.get("os.getsid(0)")) not in (daemons.pid(), os.getsid(0))
        assert [daemons.get(f"os.readlink('/proc/self/fd/{number}')") for number in range(3)] == ["/dev/null"] * 3

    def test_keeps_the_working_directory(self, daemons):
        daemons.start("hr_site")
        assert daemons.get("os.getcwd()") == str(daemons.folder.resolve())

    def test_says_what_it_says_until_it_serves(self, daemons):
        started = daemons.start("hr_site")
        assert started.stdout == "printed at import\n"
        assert "written at import\n" in started.stderr
        assert "Listening at: unix:" in started.stderr

    @pytest.mark.parametrize("workers", [[], ["--workers", "2"], ["--workers", "2", "--no-preload"]], ids=len)
    def test_leaves_no_pipe_open_to_who_started_it(self, daemons, workers):
        """subprocess.run() in start() waits for the end of both streams."""
        written = daemons.start("hr_site", "--error-logfile", "log", *workers).stderr
        assert set(written.splitlines()) == {"written at import"}
        assert "Listening at: unix:" in (daemons.folder / "log").read_text()
        assert [daemons.get(f"os.readlink('/proc/self/fd/{number}')") for number in range(3)] == ["/dev/null"] * 3

    @pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=len)
    def test_has_no_stdout_for_an_access_log(self, daemons, workers):
        started = daemons.start("hr_site", "--access-logfile", "-", "--error-logfile", "log", *workers)
        assert "warning: --access-logfile -: a daemon has no stdout" in started.stderr
        assert daemons.get("1 + 1") == "2"

    def test_workers_that_come_later_print_nowhere_either(self, daemons):
        daemons.start("hr_site", "--error-logfile", "log", "--workers", "1")
        first = daemons.get("os.getpid()")
        os.kill(int(first), signal.SIGKILL)
        assert daemons.get("os.getpid()") != first
        assert [daemons.get(f"os.readlink('/proc/self/fd/{number}')") for number in range(3)] == ["/dev/null"] * 3

    def test_captures_the_output_of_workers_too(self, daemons):
        daemons.start("hr_site", "--error-logfile", "log", "--capture-output", "--workers", "1")
        assert daemons.get("os.readlink('/proc/self/fd/1')") == str((daemons.folder / "log").resolve())

    def test_captures_output_in_the_error_log(self, daemons):
        started = daemons.start("hr_site", "--error-logfile", "log", "--capture-output")
        assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
        daemons.get("print('printed later')")
        daemons.get("os.system('echo by a subprocess')")
        lines = (daemons.folder / "log").read_text().splitlines()
        assert {"printed at import", "written at import", "printed later", "by a subprocess"} < set(lines)

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["hr_missing"], 3, "there is no module named 'hr_missing'"),
            (["hr_site", "-b", "unix:missing/s"], 1, "cannot listen on unix:missing/s"),
            (["hr_site", "--error-logfile", "missing/log"], 1, "cannot open the error log"),
            (["hr_site", "--access-logfile", "missing/log"], 1, "cannot open the access log"),
            (["hr_site", "--umask", "9"], 2, "-m: '9' is not a number in octal"),
            (["hr_site", "--user", "hr-missing"], 2, "--user: there is no user 'hr-missing'"),
        ],
    )
    def test_that_does_not_start_is_told_with_its_exit_code(self, daemons, arguments, code, message):
        started = daemons.start(*arguments)
        assert started.returncode == code
        assert message.replace("-m:", "--umask:") in started.stderr
        assert not (daemons.folder / "pid").exists()
        assert not (daemons.folder / "s").exists()

    def test_that_dies_without_a_word_is_exit_code_1(self, daemons):
        (daemons.folder / "hr_dying.py").write_text("import os; os._exit(0)")
        assert daemons.start("hr_dying").returncode == 1
        (daemons.folder / "pid").unlink(missing_ok=True)

    def test_ends_where_the_command_was_ended_before_it_served(self, daemons):
        (daemons.folder / "hr_slow.py").write_text(
            "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n" + SITE
        )
        arguments = ["-D", "-b", "unix:s", "--pid", "pid", "--error-logfile", "log", "hr_slow"]
        parent = subprocess.Popen([sys.executable, "-m", "headrace", *arguments], cwd=daemons.folder)
        wait_until((daemons.folder / "log").exists, "the log", WAIT_S)
        parent.kill()
        parent.wait()
        (daemons.folder / "go").touch()
        log, told = daemons.folder / "log", "ParentGone: the process that started this one has gone"
        wait_until(lambda: told in log.read_text(), "its end", WAIT_S)
        wait_until(lambda: not (daemons.folder / "pid").exists(), "the pid file's end", WAIT_S)
        assert not (daemons.folder / "s").exists()


class TestUpgradeOfADaemon:
    """USR2: the new program is the old one's child, and the pids that are told are those of programs that run."""

    @pytest.fixture
    def upgraded(self, daemons):
        """Daemons with two programs; .old and .new: their pids; .log()"""
        daemons.start("hr_site", "--workers", "1", "--error-logfile", "log")
        daemons.log = lambda: (daemons.folder / "log").read_text()
        daemons.old = daemons.pid()
        os.kill(daemons.old, signal.SIGUSR2)
        wait_until(lambda: "HR822 " in daemons.log(), "the new program", WAIT_S)
        daemons.new = int((daemons.folder / "pid.2").read_text())
        yield daemons
        if (daemons.folder / "pid.2").exists():
            os.kill(daemons.new, signal.SIGKILL)

    def test_tells_of_the_process_that_runs(self, upgraded):
        assert re.findall(r"The new program is starting as process (\d+)", upgraded.log()) == [str(upgraded.new)]
        assert upgraded.pid() == upgraded.old
        assert "has ended" not in upgraded.log()

    def test_when_the_old_one_ends_the_new_one_has_its_pid_file_and_its_socket(self, upgraded):
        os.kill(upgraded.old, signal.SIGTERM)
        wait_until(lambda: not (upgraded.folder / "pid.2").exists(), "the new name", WAIT_S)
        assert upgraded.pid() == upgraded.new
        wait_until(lambda: not is_running(upgraded.old), "its end", WAIT_S)
        assert upgraded.get("1+1") == "2"

    def test_when_the_new_one_ends_the_old_one_goes_on(self, upgraded):
        os.kill(upgraded.new, signal.SIGTERM)
        wait_until(lambda: "HR834 The new program has ended with exit code 0" in upgraded.log(), "its end", WAIT_S)
        assert not (upgraded.folder / "pid.2").exists()
        assert upgraded.get("1+1") == "2"
        assert "HR823" not in upgraded.log()


class TestPidFile:
    def test_is_there_while_it_serves(self, command, folder):
        process = command("hr_site", "-b", "unix:s", "--pid", "pid", cwd=folder)
        assert (folder / "pid").read_text() == f"{process.process.pid}\n"
        assert process.end() == 0
        assert not (folder / "pid").exists()

    def test_of_a_server_that_runs_is_refused_with_exit_code_1(self, daemons):
        daemons.start("hr_site")
        second = daemons.start("hr_site", bind="unix:t")
        assert second.returncode == 1
        assert f"a server is running already: the pid file '{daemons.folder}/pid' has its pid" in second.stderr
        assert not (daemons.folder / "t").exists()
        assert daemons.get("os.getpid()") == str(daemons.pid())

    def test_of_a_server_that_was_killed_is_replaced(self, daemons):
        daemons.start("hr_site")
        first = daemons.pid()
        os.kill(first, signal.SIGKILL)

        def second():
            assert daemons.start("hr_site").returncode == 0
            return daemons.pid()

        wait_until(lambda: not is_running(first), "its end", WAIT_S)
        assert second() != first


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestIdentity:
    pytestmark = as_root

    def test_is_the_users_from_the_applications_import_on(self, command, folder):
        process = command("hr_site", "-b", "127.0.0.1:0", "-u", "nobody", cwd=folder, program=PRELOADED)
        assert process.get("/uid_at_import") == str(NOBODY.pw_uid)
        assert process.get("/[*os.getresuid(),*os.getresgid(),*os.getgroups()]") == str(
            [NOBODY.pw_uid] * 3 + [NOBODY.pw_gid] * 4
        )

    @pytest.mark.parametrize("processes", [[], ["--workers", "1"]], ids=["alone", "supervised"])
    def test_owns_logs_and_socket(self, processes, folder):
        logs = ("--access-logfile", "access.log", "--error-logfile", "error.log")
        identity = ("-u", "nobody", "-g", "daemon", "-m", "007")
        arguments = [*PRELOADED, "hr_site", "-b", "unix:s", *identity, *logs, *processes]
        process = subprocess.Popen([sys.executable, *arguments], cwd=folder, stderr=subprocess.DEVNULL)
        try:
            log = folder / "error.log"
            wait_until(lambda: log.exists() and "Listening at" in log.read_text(), "the log", WAIT_S)
            for name, mode in (("access.log", 0o660), ("error.log", 0o660), ("s", 0o770)):
                status = (folder / name).stat()
                assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (NOBODY.pw_uid, mode), name
        finally:
            process.terminate()
            assert process.wait(WAIT_S) == 0

    def test_writes_to_logs_that_were_rotated_in_a_folder_of_roots(self, command, folder):
        """The supervisor, which is still root, makes the files, and the workers open them."""
        arguments = ["hr_site", "-b", "127.0.0.1:0", "-u", "nobody", "--workers", "1", "--access-logfile", "access.log"]
        process = command(*arguments, cwd=folder)
        assert process.get("/uid_at_import") == str(NOBODY.pw_uid)
        log = folder / "access.log"
        wait_until(lambda: "/uid_at_import" in log.read_text(), "the line", WAIT_S)
        log.rename(folder / "access.log.1")
        process.process.send_signal(signal.SIGUSR1)
        process.errors.wait_for("HR109 ", 3)
        process.get("/1+1")
        wait_until(lambda: "/1+1" in log.read_text(), "the line in the next file", WAIT_S)
        assert log.owner() == "nobody"

    def test_need_not_be_able_to_read_what_the_configuration_reads(self, command, folder):
        """It has hooks, and so is run again by each template: before that becomes somebody else."""
        (folder / "secret").write_text("HR_SECRET=s3")
        (folder / "secret").chmod(0o600)
        conf = folder / "gunicorn.conf.py"
        conf.write_text("raw_env = [open('secret').read()]\ndef post_fork(server, worker): pass\n")
        conf.chmod(0o600)
        process = command("hr_site", "-b", "127.0.0.1:0", "-u", "nobody", cwd=folder)
        assert process.get("/[uid_at_import,os.environ['HR_SECRET']]") == f"[{NOBODY.pw_uid}, 's3']"
        assert process.end() == 0

    @pytest.mark.parametrize("words", [["--check-config"], ["doctor"]])
    def test_is_who_a_look_beforehand_imports_the_application_as(self, words, folder):
        (folder / "secret").write_text("")
        (folder / "secret").chmod(0o600)
        (folder / "hr_reads.py").write_text("open('secret').close()\ndef app(environ, start_response): ...\n")

        def look(*more):
            command = [sys.executable, "-m", "headrace", *words, *more, "hr_reads", "-b", "127.0.0.1:0"]
            return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=WAIT_S, check=False)

        assert look().returncode == 0
        looked = look("-u", "nobody")
        assert looked.returncode == (3 if words == ["--check-config"] else 1)
        assert "importing hr_reads failed: PermissionError: [Errno 13] Permission denied: 'secret'" in (
            looked.stderr + looked.stdout
        )
        (folder / "secret").chmod(0o644)
        assert look("-u", "nobody").returncode == 0

    @pytest.mark.skipif(others_may_enter(Path(os.__file__).resolve().parent), reason="others can read this Python")
    def test_that_cannot_read_python_itself_is_named_when_an_import_fails(self, folder):
        (folder / "hr_imports.py").write_text("import wave\ndef app(environ, start_response): ...\n")
        arguments = [*PRELOADED, "hr_imports", "-b", "127.0.0.1:0", "-u", "nobody"]
        ended = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=WAIT_S)
        assert ended.returncode == 3
        assert f"hint: user {NOBODY.pw_uid} cannot read Python's own files (" in ended.stderr

    def test_that_cannot_be_had_serves_nobody(self, folder):
        become = "import os; os.setgroups([54322]); os.setgid(54322); os.setuid(54321)"
        program = PRELOADED[1].replace("main()", f"exec({become!r}); main()")
        folder.chmod(0o777)
        arguments = ["hr_site", "-b", "unix:s", "-u", "54323", "-g", "54322"]
        ended = subprocess.run([sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True)
        assert ended.returncode == 1
        assert "error: cannot become user 54323, group 54322: operation not permitted" in ended.stderr
        assert "hint: that takes root" in ended.stderr
        assert "printed at import" not in ended.stdout
        assert "Listening" not in ended.stderr

    def test_that_may_not_write_to_the_spool_dir_is_told(self, folder):
        (folder / "spool").mkdir(mode=0o700)
        arguments = [*PRELOADED, "hr_site", "-b", "unix:s", "-u", "nobody", "--spool-dir", "spool"]
        ended = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
        assert ended.returncode == 2
        assert re.search(r"error: --spool-dir: no file can be made in '.*/spool': permission denied", ended.stderr)


class TestEnvironmentAndTitle:
    def test_env_is_there_when_the_application_is_imported(self, command, folder):
        (folder / "hr_env.py").write_text("import os\nseen = os.environ['HR_A']\n" + SITE)
        process = command("hr_env", "-b", "127.0.0.1:0", "-e", "HR_A=1=2", "--env", "HR_B=", cwd=folder)
        assert process.get("/[seen,os.environ['HR_B']]") == "['1=2', '']"

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    def test_title_has_the_name(self, command, folder):
        pytest.importorskip("setproctitle")
        process = command("hr_site", "-b", "127.0.0.1:0", "--name", "shop", cwd=folder)
        shown = Path(f"/proc/{process.process.pid}/cmdline").read_bytes().rstrip(b"\0")
        assert shown == b"headrace: server [shop]"

    def test_umask_is_the_applications_too(self, command, folder):
        process = command("hr_site", "-b", "127.0.0.1:0", "--umask", "0o027", cwd=folder)
        assert process.get("/oct(os.umask(0))") == "0o27"
