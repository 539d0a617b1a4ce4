"""Listening sockets (headrace.process.listeners), with real sockets."""

from __future__ import annotations

import os
import socket
import stat
import sys

import pytest

from headrace.config import Config
from headrace.process.listeners import ListenError, Options, close_listeners, open_listeners, options_of


@pytest.fixture
def listen():
    """Open listeners that are closed when the test ends."""
    opened = []

    def opener(*binds, backlog=16, **options):
        listeners = open_listeners(binds, Options(backlog, **options))
        opened.extend(listeners)
        return listeners

    yield opener
    close_listeners(opened)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory whose path is short enough for a UNIX socket."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def connect_to(listener):
    if listener.address.is_unix:
        client = socket.socket(socket.AF_UNIX)
        client.connect(listener.address.path)
        return client
    return socket.create_connection((listener.address.host, listener.address.port), timeout=5)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


class TestTcp:
    def test_port_zero_becomes_a_real_port(self, listen):
        (listener,) = listen("127.0.0.1:0")
        assert listener.address.port > 0
        assert listener.address.url == f"http://127.0.0.1:{listener.address.port}"
        connect_to(listener).close()

    def test_a_name_is_resolved(self, listen):
        (listener,) = listen("localhost:0")
        assert listener.socket.family == socket.AF_INET
        assert listener.address.host == "localhost"

    def test_accepted_sockets_inherit_nodelay(self, listen):
        (listener,) = listen("127.0.0.1:0")
        with connect_to(listener) as client:
            client.sendall(b"x")  # or TCP_DEFER_ACCEPT keeps the connection back for a second
            accepted, _ = listener.socket.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def test_the_port_can_be_bound_again_at_once(self, listen):
        (first,) = listen("127.0.0.1:0")
        with connect_to(first) as client:
            client.sendall(b"x")
            first.socket.accept()[0].close()  # our side closes first and goes to TIME_WAIT
        first.close()
        (second,) = listen(f"127.0.0.1:{first.address.port}")
        assert second.address.port == first.address.port

    def test_an_address_in_use_is_told_with_its_name(self, listen):
        (first,) = listen("127.0.0.1:0")
        with pytest.raises(
            ListenError, match=f"cannot listen on 127.0.0.1:{first.address.port}: address already in use"
        ):
            listen(f"127.0.0.1:{first.address.port}")

    def test_an_address_of_another_machine_is_told_so(self, listen):
        with pytest.raises(ListenError, match="cannot listen on 192.0.2.1:0") as caught:
            listen("192.0.2.1:0")
        assert "no interface of this machine" in caught.value.hint

    def test_a_name_that_does_not_resolve_is_told_so(self, listen):
        with pytest.raises(ListenError, match=r"'no-such-host\.invalid' does not resolve"):
            listen("no-such-host.invalid:80")

    def test_a_name_that_cannot_be_one_is_told_so(self, listen):
        with pytest.raises(ListenError, match="does not resolve"):
            listen("a" * 70 + ".example:80")

    def test_all_or_none_are_opened(self, listen):
        (first,) = listen("127.0.0.1:0")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        with pytest.raises(ListenError):
            open_listeners([f"127.0.0.1:{free}", f"127.0.0.1:{first.address.port}"], 16)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free), timeout=5)

    @needs_ipv6
    def test_ipv6_is_bound_and_written_with_brackets(self, listen):
        (listener,) = listen("[::1]:0")
        assert listener.address.url == f"http://[::1]:{listener.address.port}"
        connect_to(listener).close()

    @needs_ipv6
    def test_all_of_ipv6_hears_ipv4_too(self, listen):
        (listener,) = listen("[::]:0")
        socket.create_connection(("127.0.0.1", listener.address.port), timeout=5).close()

    @needs_ipv6
    def test_ipv4_and_ipv6_can_share_a_port(self, listen):
        (first,) = listen("0.0.0.0:0")
        port = first.address.port
        first.close()
        assert [listener.address.port for listener in listen(f"0.0.0.0:{port}", f"[::]:{port}")] == [port, port]


class TestUnix:
    def test_is_made_and_removed(self, listen, folder):
        (listener,) = listen("unix:app.sock")
        assert stat.S_ISSOCK((folder / "app.sock").stat().st_mode)
        assert listener.address.url == f"unix:{folder}/app.sock"
        connect_to(listener).close()
        listener.close()
        assert not (folder / "app.sock").exists()

    def test_is_removed_after_a_chdir_too(self, listen, folder, monkeypatch):
        (listener,) = listen("unix:app.sock")
        monkeypatch.chdir("/")
        listener.close()
        assert not (folder / "app.sock").exists()

    def test_closing_twice_does_no_harm(self, listen, folder):
        (listener,) = listen("unix:app.sock")
        listener.close()
        (folder / "app.sock").write_text("somebody else's")
        listener.close()
        assert (folder / "app.sock").exists()

    def test_a_stale_file_is_replaced(self, listen, folder):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind("app.sock")
            dead.listen()
        (listener,) = listen("unix:app.sock")
        connect_to(listener).close()

    def test_a_live_server_is_left_alone(self, listen, folder):
        (first,) = listen("unix:app.sock")
        with pytest.raises(ListenError, match=r"cannot listen on unix:app\.sock: address already in use"):
            listen("unix:app.sock")
        connect_to(first).close()

    def test_a_live_server_with_a_full_backlog_is_left_alone(self, listen, folder):
        (first,) = listen("unix:app.sock", backlog=1)
        waiting = []
        try:
            for _ in range(8):
                client = socket.socket(socket.AF_UNIX)
                waiting.append(client)
                client.setblocking(False)
                try:
                    client.connect("app.sock")
                except BlockingIOError:
                    break
            else:
                pytest.fail("the backlog did not fill")
            with pytest.raises(ListenError, match="address already in use"):
                listen("unix:app.sock")
        finally:
            for client in waiting:
                client.close()

    def test_a_file_that_is_no_socket_is_left_alone(self, listen, folder):
        (folder / "app.sock").write_text("precious")
        with pytest.raises(ListenError, match="the file exists and is not a socket"):
            listen("unix:app.sock")
        assert (folder / "app.sock").read_text() == "precious"

    def test_a_link_to_a_socket_is_left_alone(self, listen, folder):
        listen("unix:real.sock")
        (folder / "app.sock").symlink_to("real.sock")
        with pytest.raises(ListenError, match="is not a socket"):
            listen("unix:app.sock")

    def test_a_missing_folder_is_named(self, listen, folder):
        with pytest.raises(ListenError, match="no such file or directory") as caught:
            listen("unix:missing/app.sock")
        assert caught.value.hint == "the folder missing does not exist"

    def test_a_successors_file_is_not_removed(self, listen, folder):
        (first,) = listen("unix:app.sock")
        (folder / "app.sock").unlink()
        (second,) = listen("unix:app.sock")
        first.close()
        connect_to(second).close()

    def test_a_forked_child_removes_nothing(self, listen, folder):
        (listener,) = listen("unix:app.sock")
        child = os.fork()
        if child == 0:
            listener.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        connect_to(listener).close()


class TestPermissions:
    def test_of_unix_sockets_are_the_ones_asked_for(self, listen, folder):
        for mode in (0o600, 0o666):
            listen(f"unix:{mode:o}.sock", unix_mode=mode)
            assert stat.S_IMODE((folder / f"{mode:o}.sock").stat().st_mode) == mode

    def test_of_unix_sockets_are_what_the_umask_leaves(self, listen, folder):
        before = os.umask(0o027)
        try:
            listen("unix:app.sock")
        finally:
            os.umask(before)
        assert stat.S_IMODE((folder / "app.sock").stat().st_mode) == 0o750

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_owner_and_group_are_set(self, listen, folder):
        listen("unix:app.sock", unix_owner=(-1, 12345))
        listen("unix:other.sock", unix_owner=(23456, -1))
        assert ((folder / "app.sock").stat().st_gid, (folder / "other.sock").stat().st_uid) == (12345, 23456)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root gives files away")
    def test_that_cannot_be_set_leave_no_socket(self, listen, folder):
        with pytest.raises(ListenError, match="its owner or mode cannot be set"):
            listen("unix:app.sock", unix_owner=(0, 0))
        assert not (folder / "app.sock").exists()

    @pytest.mark.parametrize(
        ("text", "ids"), [("0", (0, -1)), ("root", (0, -1)), ("root:0", (0, 0)), (":7", (-1, 7)), ("7:", (7, -1))]
    )
    def test_owners_are_names_or_numbers(self, text, ids):
        assert options_of(Config(unix_socket_owner=text)).unix_owner == ids

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another")
    def test_belong_to_whom_root_becomes_unless_their_owner_is_named(self):
        assert options_of(Config(user="54321", group="54322")).unix_owner == (54321, 54322)
        assert options_of(Config(user="54321", group="54322", unix_socket_owner=":7")).unix_owner == (-1, 7)
        with pytest.raises(ListenError, match="--user: there is no user 'nobody-of-that-name'"):
            options_of(Config(user="nobody-of-that-name"))

    @pytest.mark.parametrize("text", ["no-such-user", ":no-such-group", ":", "", "-1", "4294967295"])
    def test_owners_that_are_none_are_told_so(self, text):
        with pytest.raises(ListenError, match="--unix-socket-owner: "):
            options_of(Config(unix_socket_owner=text))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has the abstract namespace")
class TestAbstract:
    def test_is_no_file_and_ends_with_its_socket(self, listen, folder):
        name = f"@headrace-{os.getpid()}"
        (listener,) = listen(f"unix:{name}")
        assert listener.address.url == f"unix:{name}"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("\0" + name[1:])
        assert list(folder.iterdir()) == []
        with pytest.raises(ListenError, match=f"cannot listen on unix:{name}: address already in use"):
            listen(f"unix:{name}")
        listener.close()
        listen(f"unix:{name}")


class TestInherited:
    @pytest.fixture
    def made(self):
        """made(family, kind, listening): the descriptor of such a socket, which somebody else has made."""

        def made(family=socket.AF_INET, kind=socket.SOCK_STREAM, listening=True, address=("127.0.0.1", 0)):
            sock = socket.socket(family, kind)
            sock.bind(address)
            if listening:
                sock.listen(16)
            return sock.detach()

        return made

    def test_by_number_is_listened_on_as_it_is(self, listen, made):
        fd = made()
        os.set_inheritable(fd, True)
        (listener,) = listen(f"fd://{fd}")
        assert listener.socket.fileno() == fd
        assert listener.address.port > 0
        assert not os.get_inheritable(fd)
        connect_to(listener).close()

    def test_unix_sockets_keep_their_file(self, listen, made, folder):
        (listener,) = listen(f"fd://{made(socket.AF_UNIX, address='app.sock')}")
        assert listener.address.url == "unix:app.sock"
        listener.close()
        assert (folder / "app.sock").exists()

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"listening": False}, "does not listen"),
            ({"kind": socket.SOCK_DGRAM, "listening": False}, "is no stream socket"),
        ],
    )
    def test_sockets_that_cannot_be_accepted_on_are_refused_and_left_open(self, listen, made, options, why):
        fd = made(**options)
        with pytest.raises(ListenError, match=f"cannot listen on fd://{fd}: descriptor {fd} {why}"):
            listen(f"fd://{fd}")
        os.close(fd)

    def test_what_is_no_socket_is_refused(self, listen, folder):
        fd = os.open(folder, os.O_RDONLY)
        with pytest.raises(ListenError, match="is no socket"):
            listen(f"fd://{fd}")
        os.close(fd)
        with pytest.raises(ListenError, match="bad file descriptor"):
            listen(f"fd://{fd}")

    @pytest.mark.parametrize("fd", [0, 1, 2])
    def test_standard_streams_are_refused(self, listen, fd):
        with pytest.raises(ListenError, match="is standard input, output or error"):
            listen(f"fd://{fd}")

    def test_one_descriptor_is_listened_on_once(self, listen, made):
        fd = made()
        with pytest.raises(ListenError, match="listened on already"):
            open_listeners([f"fd://{fd}", f"fd://0{fd}"], 16)

    def test_systemd_without_sockets_of_its_is_told_so(self, listen, monkeypatch):
        monkeypatch.delenv("LISTEN_PID", raising=False)
        with pytest.raises(ListenError, match="cannot listen on systemd:web: systemd has passed no such socket"):
            listen("systemd:web")


class TestReusePort:
    def test_lets_two_listen_at_one_port(self, listen):
        (first,) = listen("127.0.0.1:0", reuse_port=True)
        (second,) = listen(f"127.0.0.1:{first.address.port}", reuse_port=True)
        assert second.address == first.address

    def test_is_not_there_unless_asked_for(self, listen):
        (first,) = listen("127.0.0.1:0", reuse_port=True)
        with pytest.raises(ListenError, match="address already in use"):
            listen(f"127.0.0.1:{first.address.port}")
