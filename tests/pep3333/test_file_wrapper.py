"""PEP 3333, "Optional Platform-Specific File Handling"."""

from __future__ import annotations

import gzip
import io
import os
import random
import sys
import tempfile
import threading

import pytest
from wire import PATIENCE_S, request, wait_until, wait_until_still

from headrace import wsgi

CONTENT = random.Random(1).randbytes(300_000)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def reads(monkeypatch):
    """Sizes of the blocks that went through Python; [] says that the kernel has sent the file."""
    sizes = []
    next_block = wsgi.FileWrapper.__next__

    def recording(self):
        block = next_block(self)
        sizes.append(len(block))
        return block

    monkeypatch.setattr(wsgi.FileWrapper, "__next__", recording)
    return sizes


def sending(make, *headers, status="200 OK", wrap=lambda wrapper: wrapper):
    """An application that wraps what make() gives."""

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/other":
            start_response("200 OK", [])
            return [b"other"]
        start_response(status, list(headers))
        return wrap(environ["wsgi.file_wrapper"](make()))

    return application


# -- what the kernel sends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 1, 4096, 299_999, 300_000])
@pytest.mark.parametrize("buffering", [-1, 0, 1 << 20], ids=["buffered", "raw", "large buffer"])
def test_a_real_file_is_sent_by_the_kernel_from_its_current_offset(serve, path, reads, offset, buffering):
    def opened():
        file = path.open("rb", buffering=buffering)
        file.seek(offset)
        return file

    client = serve(sending(opened)).connect()
    answer = client.exchange(request())
    assert answer.body == CONTENT[offset:]
    assert answer.get("Content-Length") == str(len(CONTENT) - offset)
    assert reads == []
    client.assert_open(request("/other"))


@pytest.mark.parametrize("size", [1, 100, 8192, 70_000])
def test_what_was_read_before_is_not_sent_again(serve, path, reads, size):
    """The file object has read further than the application has: its offset counts, not the descriptor's."""

    def opened():
        file = path.open("rb")
        assert file.read(size) == CONTENT[:size]
        return file

    assert serve(sending(opened)).exchange(request()).body == CONTENT[size:]
    assert reads == []


@pytest.mark.parametrize("how", ["TemporaryFile", "NamedTemporaryFile", "w+b", "r+b", "os.fdopen"])
def test_temporary_files_and_files_that_were_just_written_are_sent_by_the_kernel(serve, path, reads, how):
    def opened():
        if how == "os.fdopen":
            return os.fdopen(os.open(path, os.O_RDONLY), "rb")
        if how == "r+b":
            return path.open("r+b")
        file = path.open("w+b") if how == "w+b" else getattr(tempfile, how)()
        file.write(CONTENT)
        file.seek(0)
        return file

    assert serve(sending(opened)).exchange(request()).body == CONTENT
    assert reads == []


def test_what_was_written_and_not_flushed_is_sent_as_well(serve, path):
    def opened():
        file = path.open("r+b")
        file.seek(0, os.SEEK_END)
        file.write(b"more")
        file.seek(-8, os.SEEK_CUR)
        return file

    assert serve(sending(opened)).exchange(request()).body == CONTENT[-4:] + b"more"


@pytest.mark.parametrize("size", [0, 1])
def test_tiny_files_are_sent(serve, path, size):
    path.write_bytes(CONTENT[:size])
    client = serve(sending(lambda: path.open("rb"))).connect()
    for _ in range(2):
        answer = client.exchange(request())
        assert (answer.body, answer.get("Content-Length")) == (CONTENT[:size], str(size))


def test_an_offset_behind_the_end_is_an_empty_body(serve, path):
    def opened():
        file = path.open("rb")
        file.seek(1_000_000)
        return file

    assert serve(sending(opened)).exchange(request()).body == b""


@pytest.mark.parametrize("transport", ["unix"], indirect=True)
def test_files_are_sent_over_unix_sockets_too(serve, path, reads, transport):
    assert serve(sending(lambda: path.open("rb"))).exchange(request()).body == CONTENT
    assert reads == []


# -- what is read by Python -------------------------------------------------------------------------------------------


class Readable:
    """The least that PEP 3333 asks for."""

    def __init__(self, content=CONTENT):
        self._file = io.BytesIO(content)

    def read(self, size):
        return self._file.read(size)


class Lying(Readable):
    """Has a descriptor whose octets are others."""

    def fileno(self):
        return sys.__stderr__.fileno()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: io.BytesIO(CONTENT),
        lambda path: Readable(),
        lambda path: Lying(),
        lambda path: zipped(path),
        lambda path: io.BufferedReader(zipped(path)),
        lambda path: io.BufferedReader(io.BytesIO(CONTENT)),
        lambda path: spooled_in_memory(),
    ],
    ids=["BytesIO", "read only", "lying", "gzip", "buffered gzip", "buffered BytesIO", "SpooledTemporaryFile"],
)
def test_other_files_are_read_in_blocks(serve, path, reads, make):
    client = serve(sending(lambda: make(path))).connect()
    answer = client.exchange(request())
    assert (answer.body, answer.framing) == (CONTENT, "chunked")
    assert sum(reads) == len(CONTENT)
    client.assert_open(request("/other"))


def zipped(path):
    path.with_suffix(".gz").write_bytes(gzip.compress(CONTENT))
    return gzip.open(path.with_suffix(".gz"))


def spooled_in_memory():
    file = tempfile.SpooledTemporaryFile(max_size=1 << 20)
    file.write(CONTENT)
    file.seek(0)
    return file


def test_a_spooled_temporary_file_that_has_rolled_over_is_sent(serve):
    def rolled():
        file = tempfile.SpooledTemporaryFile(max_size=10)
        file.write(CONTENT)
        file.seek(5)
        return file

    assert serve(sending(rolled)).exchange(request()).body == CONTENT[5:]


def test_a_pipe_is_read_in_blocks(serve, reads):
    def piped():
        reader, writer = os.pipe()
        os.write(writer, b"from a pipe")
        os.close(writer)
        return os.fdopen(reader, "rb")

    assert serve(sending(piped)).exchange(request()).body == b"from a pipe"
    assert reads == [11]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc")
def test_a_file_whose_size_is_said_to_be_zero_is_read(serve):
    """Those of /proc and some of /sys are regular files of 0 octets, and have content."""
    answer = serve(sending(lambda: open("/proc/self/status", "rb"))).exchange(request())
    assert answer.body.startswith(b"Name:\t")


SYSFS = "/sys/kernel/mm/transparent_hugepage/enabled"


@pytest.mark.skipif(not os.path.exists(SYSFS), reason=f"no {SYSFS}")
def test_a_file_of_sysfs_is_read_to_its_true_end(serve, reads):
    """It says that it has 4096 octets, and has some 20."""
    with open(SYSFS, "rb") as file:
        content = file.read()
    assert len(content) < os.stat(SYSFS).st_size
    client = serve(sending(lambda: open(SYSFS, "rb"))).connect()
    assert client.exchange(request()).body == content
    assert reads == [len(content)]
    client.assert_open(request("/other"))


def test_a_file_that_is_one_hole_has_its_whole_length(serve, tmp_path):
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(100_000)
    assert serve(sending(lambda: open(tmp_path / "hole", "rb"))).exchange(request()).body == bytes(100_000)


@pytest.mark.parametrize("block_size", [1000, 100_000, None])
def test_the_block_size_is_that_of_the_application(serve, reads, block_size):
    def application(environ, start_response):
        start_response("200 OK", [])
        arguments = () if block_size is None else (block_size,)
        return environ["wsgi.file_wrapper"](io.BytesIO(CONTENT), *arguments)

    assert serve(application).exchange(request()).body == CONTENT
    assert max(reads) == (block_size or 65536)


def test_a_wrapper_inside_another_iterable_is_read_in_blocks(serve, path, reads):
    def upper(wrapper):
        try:
            for block in wrapper:
                yield block.upper()
        finally:
            wrapper.close()

    assert serve(sending(lambda: path.open("rb"), wrap=upper)).exchange(request()).body == CONTENT.upper()
    assert sum(reads) == len(CONTENT)


def test_a_wrapper_behind_written_octets_is_read_in_blocks(serve, path, reads):
    def application(environ, start_response):
        start_response("200 OK", [])(b"before ")
        return environ["wsgi.file_wrapper"](path.open("rb"))

    assert serve(application).exchange(request()).body == b"before " + CONTENT
    assert sum(reads) == len(CONTENT)


def test_the_wrapper_is_an_iterator_with_a_close_only_where_the_file_has_one(environ_of):
    wrapper_class = environ_of()["wsgi.file_wrapper"]
    file = io.BytesIO(b"abc")
    wrapper = wrapper_class(file, 2)
    assert iter(wrapper) is wrapper
    assert list(wrapper) == [b"ab", b"c"]
    wrapper.close()
    assert file.closed
    assert not hasattr(wrapper_class(Readable()), "close")


# -- length, HEAD, and answers without a body -------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 299_999])
def test_a_declared_length_that_is_shorter_than_the_file_is_observed_and_told(serve, path, length, caplog):
    client = serve(sending(lambda: path.open("rb"), ("Content-Length", str(length)))).connect()
    assert client.exchange(request()).body == CONTENT[:length]
    client.assert_open(request("/other"))
    assert f"sent more than its Content-Length of {length} bytes" in caplog.text


def test_a_declared_length_that_is_longer_than_the_file_closes_the_connection(serve, path, caplog):
    client = serve(sending(lambda: path.open("rb"), ("Content-Length", "300001"))).connect()
    client.send(request())
    assert client.read_until_close().partition(b"\r\n\r\n")[2] == CONTENT
    assert "sent 300000 of the 300001 bytes" in caplog.text


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_answer_to_head_has_the_length_of_the_file(serve, path, reads, version):
    client = serve(sending(lambda: path.open("rb"))).connect()
    message = request(method="HEAD", version=version, fields=[("Connection", "keep-alive")])
    for _ in range(2):
        assert client.exchange(message, method="HEAD").get("Content-Length") == "300000"
    assert reads == []


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_file_is_not_sent_where_there_is_no_body(serve, path, status):
    client = serve(sending(lambda: path.open("rb"), status=status)).connect()
    assert client.exchange(request()).get("Content-Length") is None
    client.assert_open(request("/other"))


def test_an_old_client_gets_the_length_as_well(serve, path):
    answer = serve(sending(lambda: path.open("rb"))).exchange(request(version="1.0"))
    assert (answer.body, answer.framing) == (CONTENT, "length")


@pytest.mark.parametrize("make", [lambda path: path.open("rb"), lambda path: io.BytesIO(b"x")], ids=["file", "BytesIO"])
def test_start_response_must_have_been_called_for_a_file_too(error_of, path, make):
    message = error_of(lambda environ, start_response: environ["wsgi.file_wrapper"](make(path)))
    assert message.startswith("AssertionError")


def test_start_response_may_still_be_replaced_before_the_file_is_returned(serve, path):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        start_response("206 Partial Content", [], (ValueError, ValueError(), None))
        return environ["wsgi.file_wrapper"](path.open("rb"))

    answer = serve(application).exchange(request())
    assert (answer.status, answer.body) == (206, CONTENT)


def test_pipelined_files_and_lists_come_in_their_order(serve, path):
    client = serve(sending(lambda: path.open("rb"))).connect()
    client.send((request("/file") + request("/other")) * 5)
    for _ in range(5):
        assert client.read_response().body == CONTENT
        assert client.read_response().body == b"other"


# -- close() ----------------------------------------------------------------------------------------------------------


class Counting:
    """As Django's File: `file` is the real one, and its read() this one's."""

    def __init__(self, path):
        self.file = open(path, "rb")
        self.read = self.file.read
        self.closed = 0

    def close(self):
        self.closed += 1
        self.file.close()


@pytest.fixture
def large(tmp_path):
    """Larger than the socket buffers of both sides; hardly a disk block, but one: see regular_file_range."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(bytes(4096))
        file.truncate(32 << 20)
    return path


def test_the_file_is_closed_once_when_it_has_been_sent(serve, path, reads):
    file = Counting(path)
    client = serve(sending(lambda: file)).connect()
    assert client.exchange(request()).body == CONTENT
    client.assert_open(request("/other"))
    assert file.closed == 1
    assert reads == []


def test_the_file_is_closed_once_after_a_client_that_was_slow(slow, large, reads):
    file = Counting(large)
    waiting = slow(sending(lambda: file))
    assert file.closed == 0
    assert waiting.client.read_response().body == bytes(32 << 20)
    wait_until(lambda: file.closed, "close()")
    waiting.let_the_server_work()
    assert file.closed == 1
    assert reads == []


def test_the_file_is_closed_once_when_the_client_goes_while_it_is_sent(slow, large):
    file = Counting(large)
    waiting = slow(sending(lambda: file))
    waiting.client.reset()
    wait_until(lambda: file.closed, "close()")
    waiting.let_the_server_work()
    assert file.closed == 1


def test_the_file_is_closed_once_when_the_client_does_not_read_in_time(slow, large):
    file = Counting(large)
    waiting = slow(sending(lambda: file), write_timeout=0.1)
    wait_until(lambda: file.closed, "close()")
    waiting.let_the_server_work()
    assert file.closed == 1


def test_the_file_is_closed_once_when_the_client_has_gone_before_it_is_sent(serve, path):
    entered, gone = threading.Event(), threading.Event()
    file = Counting(path)

    def make():
        entered.set()
        assert gone.wait(PATIENCE_S)
        return file

    running = serve(sending(make))
    client = running.connect()
    client.send(request())
    assert entered.wait(PATIENCE_S)
    client.reset()
    gone.set()
    assert running.exchange(request("/other")).body == b"other"
    wait_until(lambda: file.closed, "close()")
    assert file.closed == 1


def test_the_file_is_closed_once_when_the_server_stops_at_once(slow, large):
    file = Counting(large)
    waiting = slow(sending(lambda: file))
    waiting.running.stop(graceful=False)
    assert file.closed == 1


def test_no_descriptor_is_left_open(serve, path, large):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc")
    running = serve(sending(lambda: path.open("rb")))
    running.exchange(request())
    wait_until(lambda: running.connection_count() == 0)
    before = wait_until_still(lambda: len(os.listdir("/proc/self/fd")))
    for _ in range(20):
        running.exchange(request())
    wait_until(lambda: running.connection_count() == 0)
    assert wait_until_still(lambda: len(os.listdir("/proc/self/fd"))) == before


@pytest.mark.parametrize("close", [None, 5], ids=["None", "a number"])
def test_a_file_without_a_close_that_can_be_called_is_sent(serve, capsys, close):
    class Odd(Readable):
        pass

    Odd.close = close
    assert serve(sending(Odd)).exchange(request()).body == CONTENT


# -- files that change, or cannot be read -----------------------------------------------------------------------------


def test_a_file_that_grows_while_it_is_sent_is_sent_in_the_length_that_was_said(slow, large):
    waiting = slow(sending(lambda: large.open("rb")))
    with large.open("ab") as file:
        file.write(b"more")
    assert waiting.client.read_response().body == bytes(32 << 20)
    waiting.client.assert_open(request("/other"))


def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(slow, large, caplog):
    file = Counting(large)
    waiting = slow(sending(lambda: file))
    os.truncate(large, 1000)
    head, _, body = waiting.client.read_until_close().partition(b"\r\n\r\n")
    assert b"Content-Length: 33554432" in head
    assert len(body) < 32 << 20
    wait_until(lambda: file.closed, "close()")
    assert file.closed == 1
    assert "a file became shorter while it was sent" in caplog.text


def test_a_file_that_cannot_be_read_is_the_applications_error(error_of):
    class Broken(Readable):
        def read(self, size):
            raise OSError(5, "on purpose")

    assert error_of(sending(Broken)) == "OSError: [Errno 5] on purpose"


def test_a_closed_file_is_the_applications_error(error_of, path):
    def closed():
        file = path.open("rb")
        file.close()
        return file

    assert error_of(sending(closed)).startswith("ValueError")


def test_a_file_opened_for_writing_only_is_the_applications_error(error_of, tmp_path):
    assert error_of(sending(lambda: (tmp_path / "new").open("wb"))) == "io.UnsupportedOperation: read"


def test_a_text_file_is_the_applications_error(error_of, tmp_path):
    path = tmp_path / "text"
    path.write_text("text")
    assert error_of(sending(path.open)).startswith("TypeError: the application's blocks must be bytes, not str")


def test_a_folder_or_nothing_is_the_applications_error(error_of):
    assert error_of(sending(lambda: None)).startswith("AttributeError")


class Part:
    """Reads a part of the file that it has as `file`."""

    def __init__(self, file, size):
        self.file, self.left = file, size

    def read(self, size):
        block = self.file.read(min(size, self.left))
        self.left -= len(block)
        return block

    def close(self):
        self.file.close()


def test_an_object_that_reads_less_than_its_file_is_read(serve, path):
    client = serve(sending(lambda: Part(open(path, "rb"), 5))).connect()
    assert client.exchange(request()).body == CONTENT[:5]


def test_the_wrapper_of_a_named_temporary_file_is_not_read(serve, reads):
    def named():
        file = tempfile.NamedTemporaryFile()
        file.write(CONTENT)
        file.seek(0)
        return file

    assert serve(sending(named)).connect().exchange(request()).body == CONTENT
    assert reads == []
