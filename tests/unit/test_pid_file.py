"""The pid file (headrace.process.pid_file), against real files and real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from headrace.process.pid_file import PidFile, PidFileError

#: CPython 3.12 and newer warn of a fork in a process with threads; those that another test has left are no matter.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "server.pid"


@pytest.fixture
def other():
    """A process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.stdin.close()
    process.wait()


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestWriting:
    def test_puts_one_line_with_our_pid_that_all_may_read(self, path):
        umask = os.umask(0o077)
        try:
            PidFile(str(path)).write()
        finally:
            os.umask(umask)
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o777 == 0o644

    def test_leaves_nothing_else_in_the_folder(self, path):
        PidFile(str(path)).write()
        assert os.listdir(path.parent) == ["server.pid"]

    def test_in_a_folder_that_is_not_there_is_an_error(self, tmp_path):
        with pytest.raises(PidFileError, match="missing/server.pid': no such file or directory"):
            PidFile(str(tmp_path / "missing" / "server.pid")).write()

    def test_stays_where_it_is_when_the_working_directory_changes(self, path, monkeypatch):
        monkeypatch.chdir(path.parent)
        pid_file = PidFile("server.pid")
        pid_file.write()
        monkeypatch.chdir("/")
        pid_file.remove()
        assert not path.exists()

    def test_on_a_file_system_without_hard_links_works_as_well(self, path, monkeypatch):
        def link(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
        PidFile(str(path)).write()
        assert path.read_text() == f"{os.getpid()}\n"
        assert os.listdir(path.parent) == ["server.pid"]


class TestAFileThatIsThere:
    def test_of_a_live_process_is_refused_and_kept(self, path, other):
        path.write_text(f"{other.pid}\n")
        with pytest.raises(PidFileError, match=f"a server is running already: .* {other.pid}$") as caught:
            PidFile(str(path)).write()
        assert "--pid" in caught.value.hint
        assert path.read_text() == f"{other.pid}\n"
        assert os.listdir(path.parent) == ["server.pid"]

    @pytest.mark.parametrize("content", ["", "\n", "4194305\n", "9999999999\n"])
    def test_of_no_process_is_replaced(self, path, content):
        path.write_text(content)
        PidFile(str(path)).write()
        assert path.read_text() == f"{os.getpid()}\n"

    def test_of_a_process_that_has_ended_is_replaced(self, path):
        path.write_text(f"{dead_pid()}\n")
        PidFile(str(path)).write()
        assert path.read_text() == f"{os.getpid()}\n"

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    def test_of_a_zombie_is_replaced(self, path):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        path.write_text(f"{child}\n")
        PidFile(str(path)).write()
        os.waitpid(child, 0)
        assert path.read_text() == f"{os.getpid()}\n"

    def test_with_our_own_pid_is_replaced_for_in_a_container_pids_repeat(self, path):
        path.write_text(f"{os.getpid()}\n")
        PidFile(str(path)).write()
        assert path.read_text() == f"{os.getpid()}\n"

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    def test_that_is_older_than_the_process_with_its_pid_is_replaced(self, path, other):
        path.write_text(f"{other.pid}\n")
        long_ago = time.time() - 3600
        os.utime(path, (long_ago, long_ago))
        PidFile(str(path)).write()
        assert path.read_text() == f"{os.getpid()}\n"

    @pytest.mark.parametrize("content", ["not a pid\n", "-1\n", "0\n", "1 2\n", "1" * 100])
    def test_that_holds_no_pid_is_refused_and_kept(self, path, content):
        path.write_text(content)
        with pytest.raises(PidFileError, match="holds no pid"):
            PidFile(str(path)).write()
        assert path.read_text() == content

    def test_that_is_a_symbolic_link_is_refused_and_kept(self, path, tmp_path):
        (tmp_path / "target").write_text("1\n")
        path.symlink_to("target")
        with pytest.raises(PidFileError, match="symbolic link"):
            PidFile(str(path)).write()
        assert path.is_symlink()

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
    def test_that_is_no_file_is_refused_and_kept(self, path, make):
        make(path)
        with pytest.raises(PidFileError):
            PidFile(str(path)).write()
        assert path.exists()

    def test_is_replaced_by_one_of_many_that_try_at_once(self, path):
        path.write_text(f"{dead_pid()}\n")
        program = (
            "import sys; from headrace.process.pid_file import PidFile, PidFileError\n"
            "sys.stdin.readline()\n"
            "try: PidFile(sys.argv[1]).write()\n"
            "except PidFileError: print('refused', flush=True)\n"
            "else: print('written', flush=True)\n"
            "sys.stdin.readline()"
        )
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started = [subprocess.Popen([sys.executable, "-c", program, str(path)], **pipes) for _ in range(6)]
        for process in started:
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.stdout.readline() for process in started]
        (writer,) = [process.pid for process, word in zip(started, said) if word == "written\n"]
        assert path.read_text() == f"{writer}\n"
        for process in started:
            process.communicate()


class TestRemoving:
    def test_takes_it_away(self, path):
        pid_file = PidFile(str(path))
        pid_file.write()
        pid_file.remove()
        pid_file.remove()
        assert os.listdir(path.parent) == []

    @pytest.mark.parametrize("content", ["1\n", "", "something else"])
    def test_leaves_what_is_not_ours(self, path, content):
        pid_file = PidFile(str(path))
        pid_file.write()
        path.write_text(content)
        pid_file.remove()
        assert path.read_text() == content

    def test_without_writing_leaves_what_is_there(self, path):
        path.write_text(f"{os.getpid()}\n")
        PidFile(str(path)).remove()
        assert path.exists()

    def test_in_a_forked_child_leaves_its_parents(self, path):
        pid_file = PidFile(str(path))
        pid_file.write()
        child = os.fork()
        if not child:
            pid_file.remove()
            os._exit(0)
        os.waitpid(child, 0)
        assert path.exists()

    def test_stands_beside_an_older_servers_until_that_has_gone(self, path):
        path.write_text("1\n")
        pid_file = PidFile(str(path))
        pid_file.write(suffix=".2")
        assert (path.read_text(), (path.parent / "server.pid.2").read_text()) == ("1\n", f"{os.getpid()}\n")
        path.unlink()
        pid_file.take_name()
        assert path.read_text() == f"{os.getpid()}\n"
        pid_file.remove()
        assert os.listdir(path.parent) == []
