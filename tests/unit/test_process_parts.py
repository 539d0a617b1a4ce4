"""The parts of the supervisor that need no processes: timers, pauses, messages, wear, what speaks against a fork."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from functools import partial

import pytest

from headrace.config import Config
from headrace.process.descendant import Descendant, ForeignProcessError
from headrace.process.generation import Generation, WorkerRecord
from headrace.process.handover import handed_on, taken_over
from headrace.process.listeners import close_listeners, open_listeners
from headrace.process.messages import Channel, channel_pair
from headrace.process.plan import Plan
from headrace.process.preload import open_descriptors, reasons_against_fork
from headrace.process.process_table import FORKS_UNDER_WAY_MAX, ProcessTable, one_line, wait_status
from headrace.process.slots import Slots, make_slots
from headrace.process.stuck import KILL_AFTER_S, LATE_S, StuckWatch
from headrace.process.timing import COMPACT_LEAST, BackOff, Timers
from headrace.process.wear import resident_bytes, with_wear


class TestTimers:
    def test_nothing_to_wait_for_is_no_time_out(self):
        assert Timers().wait_s() is None

    def test_calls_what_is_due_in_its_order_and_nothing_else(self):
        timers, called = Timers(), []
        timers.after(0, lambda: called.append(1))
        timers.after(0, lambda: called.append(2))
        timers.after(99, lambda: called.append(3))
        timers.run_due()
        assert called == [1, 2]
        assert 90 < timers.wait_s() <= 99

    def test_a_cancelled_call_is_not_made_nor_waited_for(self):
        timers, called = Timers(), []
        timers.after(0, lambda: called.append(1)).cancel()
        timers.run_due()
        assert called == []
        assert timers.wait_s() is None

    def test_many_cancelled_ones_do_not_pile_up(self):
        timers = Timers()
        timers.after(1, lambda: None)
        for _ in range(50 * COMPACT_LEAST):
            timers.after(10**7, lambda: None).cancel()
        assert len(timers._heap) <= COMPACT_LEAST + 1


class TestBackOff:
    def test_at_once_then_doubling_up_to_a_limit_and_anew_after_a_success(self):
        back_off = BackOff(first_s=1, most_s=5)
        assert [back_off.failed() for _ in range(6)] == [0, 1, 2, 4, 5, 5]
        back_off.succeeded()
        assert back_off.failed() == 0

    def test_very_many_failures_are_no_overflow(self):
        back_off = BackOff(most_s=5)
        assert {back_off.failed() for _ in range(3000)} >= {0, 5}


@pytest.fixture
def ends():
    channel, other = channel_pair()
    yield channel, other
    channel.close()
    other.close()


class TestMessages:
    def test_what_comes_in_pieces_is_one_message(self, ends):
        channel, other = ends
        other.send(b'{"a"')
        assert channel.receive() == []
        other.send(b': 1}\n{"b": 2}\n{"c"')
        assert channel.receive() == [{"a": 1}, {"b": 2}]

    @pytest.mark.parametrize("line", [b"no json\n", b"[1]\n", b"\xff\xfe\n", b'"text"\n', b"\n", b"[" * 100000 + b"\n"])
    def test_what_is_no_message_is_passed_over(self, ends, line):
        channel, other = ends
        threading.Thread(target=other.sendall, args=(line + b'{"a": 1}\n',)).start()
        found = []
        while not found:
            found = channel.receive(wait=True)
        assert found == [{"a": 1}]

    def test_the_end_is_seen_after_the_last_message(self, ends):
        channel, other = ends
        other.send(b'{"a": 1}\n')
        other.close()
        assert channel.receive() == [{"a": 1}]
        assert channel.receive() == []
        assert channel.at_end

    def test_last_words_are_all_that_was_said_however_long(self, ends):
        channel, other = ends
        said = [{"text": "x" * 100_000}, {"b": 2}]
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        other.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in said))
        assert channel.receive_last_words() == said  # somebody else may hold the other end
        other.close()
        assert channel.receive_last_words() == []
        assert channel.at_end

    def test_last_words_of_one_who_does_not_stop_talking_end(self, ends):
        channel, other = ends
        done = threading.Event()

        def talk():
            with contextlib.suppress(OSError):
                while not done.is_set():
                    other.sendall(b'{"a": "' + b"x" * 4000 + b'"}\n')

        thread = threading.Thread(target=talk)
        thread.start()
        assert len(channel.receive_last_words()) < 10_000
        done.set()
        channel.close()
        thread.join()

    def test_sending_never_waits(self, ends):
        channel, _ = ends
        while channel.send({"text": "x" * 10000}):
            pass

    def test_sending_a_descriptor_never_waits_either(self, ends):
        channel, _ = ends
        ended = threading.Event()

        def fill():
            while channel.send({"do": "fork"}, 0):
                pass
            ended.set()

        threading.Thread(target=fill, daemon=True).start()
        assert ended.wait(10)

    def test_receiving_waits_only_if_it_is_told_to(self, ends):
        _, other = ends
        receiver = Channel(other.dup(), takes_fds=True)
        ended = threading.Event()

        def look():
            receiver.receive()
            ended.set()

        threading.Thread(target=look, daemon=True).start()
        assert ended.wait(10)
        receiver.close()

    def test_descriptors_that_nobody_wants_are_closed(self, ends):
        channel, other = ends
        reader, writer = os.pipe()
        sender = Channel(other.dup())
        sender.send({"a": 1}, writer)
        os.close(writer)
        assert channel.receive() == [{"a": 1}]
        assert os.read(reader, 1) == b"", "nobody has the other end any more"
        os.close(reader)
        sender.close()

    def test_sending_to_one_who_has_gone_says_so(self, ends):
        channel, other = ends
        other.close()
        assert not channel.send({"a": 1})

    def test_a_line_that_does_not_end_is_given_up(self, ends):
        channel, other = ends
        other.settimeout(10)

        def send():
            try:
                while True:
                    other.send(b"x" * 65536)
            except OSError:
                pass

        thread = threading.Thread(target=send)
        thread.start()
        while not channel.at_end:
            channel.receive(wait=True)
        channel.close()
        thread.join()

    def test_descriptors_come_in_their_order_and_are_not_inherited(self, ends):
        channel, other = ends
        receiver = Channel(other.dup(), takes_fds=True)
        files = [os.pipe() for _ in range(3)]
        for number, (reader, _) in enumerate(files):
            channel.send({"number": number}, reader)
        got = []
        while len(got) < 3:
            got += receiver.receive(wait=True)
        for _, writer in files:
            fd = receiver.take_fd()
            assert not os.get_inheritable(fd)
            os.write(writer, b"%d" % fd)
            assert os.read(fd, 9) == b"%d" % fd
            os.close(fd)
        for pair in files:
            for fd in pair:
                os.close(fd)
        receiver.close()


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture(params=["pidfd", "number"])
def however(request, monkeypatch):
    """With pidfd_open(2) and without."""
    if request.param == "number":
        monkeypatch.delattr(os, "pidfd_open", raising=False)


@pytest.mark.usefixtures("however")
class TestDescendant:
    def test_a_child_of_the_one_who_says_so_gets_signals(self, sleeper):
        process = Descendant(sleeper.pid, os.getpid())
        process.send(signal.SIGTERM)
        assert sleeper.wait() == -signal.SIGTERM
        process.close()

    @pytest.mark.parametrize("pid", [os.getppid(), 1])
    def test_somebody_elses_process_is_refused(self, pid):
        with pytest.raises(ForeignProcessError, match=f"process {pid} is no child of process {os.getpid()}"):
            Descendant(pid, os.getpid())

    @pytest.mark.parametrize("pid", [0, -1, -2, 2**22, 2**31, 2**70])
    def test_what_is_no_process_is_refused(self, pid):
        with pytest.raises(ProcessLookupError):
            Descendant(pid, os.getpid())

    def test_one_that_has_gone_gets_nothing_nor_does_who_has_its_number_then(self, sleeper, monkeypatch):
        process = Descendant(sleeper.pid, os.getpid())
        sleeper.kill()
        sleeper.wait()
        sent = []
        monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
        with pytest.raises(ProcessLookupError):
            process.send(signal.SIGTERM)
        assert sent == []
        process.close()

    def test_no_descriptor_is_left(self, sleeper):
        before = os.listdir("/proc/self/fd")
        with pytest.raises(ForeignProcessError):
            Descendant(os.getppid(), os.getpid())
        Descendant(sleeper.pid, os.getpid()).close()
        assert os.listdir("/proc/self/fd") == before


class TestWhatIsSaid:
    @pytest.mark.parametrize("value", [None, "0", 0.0, True, [], -1, 2**16 + 127, 2**80, 0x137F, 0xFFFF])
    def test_what_is_no_wait_status_is_unknown(self, value):
        assert wait_status(value) is None

    @pytest.mark.parametrize("value", [0, 9, 3 << 8])
    def test_a_wait_status_is_as_it_was(self, value):
        assert wait_status(value) == value

    @pytest.mark.parametrize(
        ("value", "line"), [("a\n2026  b\x1b", "a 2026 b?"), (None, "?"), (["a"], "?"), ("x" * 999, "x" * 500)]
    )
    def test_a_reason_is_one_line_of_bounded_length(self, value, line):
        assert one_line(value) == line


class SilentTemplate(Generation):
    """One that reads nothing."""

    def __init__(self):
        self.channel, self.other_end = channel_pair()
        self.pid, self.number, self.ended = os.getpid(), 1, False
        self.slots = make_slots(100, 1)


@pytest.fixture
def table():
    made = ProcessTable()
    yield made
    for worker in made.all_workers:
        worker.forget()
    made.selector.close()


@pytest.fixture
def template():
    made = SilentTemplate()
    yield made
    made.channel.close()
    made.other_end.close()
    made.slots.close()


class TestAskingForWorkers:
    def test_a_template_that_answers_nothing_is_asked_for_a_few_at_a_time(self, table, template):
        for _ in range(3):
            table.spawn(template, 1000)
            assert len(table.all_workers) == FORKS_UNDER_WAY_MAX
        for worker in table.all_workers[:5]:
            worker.pid = 1
        table.spawn(template, 1000)
        assert len(table.all_workers) == FORKS_UNDER_WAY_MAX + 5

    def test_one_that_takes_no_message_is_asked_again_later(self, table, template):
        while template.channel.send({"do": "reopen"}):
            pass
        table.spawn(template, 3)
        assert table.all_workers == []
        assert 0 < table.timers.wait_s() < 1
        template.other_end.recv(1 << 20)
        table.spawn(template, 3)
        assert len(table.all_workers) == 3


class TestAWorkerThatIsReady:
    def test_is_so_when_its_template_has_said_which_process_it_is(self, table, template, sleeper, monkeypatch):
        ready = []
        monkeypatch.setattr(table, "on_ready", lambda worker: ready.append(worker.pid))
        table.generations.append(template)
        table.selector.register(template.channel, selectors.EVENT_READ, partial(table._hear_template, template))
        table.spawn(template, 1)
        of_worker = Channel(socket.socket(fileno=socket.recv_fds(template.other_end, 4096, 1)[1][0]))
        assert of_worker.send({"event": "ready"})
        turn(table)
        assert ready == []
        told = json.dumps({"event": "forked", "age": table.all_workers[0].age, "pid": sleeper.pid}).encode() + b"\n"
        for _ in range(2):  # who is told twice has not said it twice
            template.other_end.sendall(told)
            turn(table)
            turn(table)
            assert ready == [sleeper.pid]
        of_worker.close()


def turn(table):
    for key, _ in table.selector.select(0):
        key.data()


class Silent:
    """A place on the scoreboard whose worker has a call inside, and has given no sign of life for so long."""

    def __init__(self, stuck_s):
        self.stuck = stuck_s

    def stuck_s(self):
        return self.stuck


class TestLookingForStuckWorkers:
    TIMEOUT_S = 600
    EVERY_S = 150

    @pytest.fixture
    def look(self, table, template):
        """look(*boards): the workers, and after how long they are looked at again."""

        def look(*boards):
            table.all_workers += [WorkerRecord(age, template, board=board) for age, board in enumerate(boards)]
            StuckWatch(table)._look(self.TIMEOUT_S)
            return table.all_workers, table.timers.wait_s()

        return look

    @pytest.mark.parametrize("boards", [(), (Silent(0),), (Silent(300), Silent(0), None)])
    def test_is_seldom_while_nobodys_time_is_over_before_the_next_look(self, look, boards):
        _, wait_s = look(*boards)
        assert self.EVERY_S - 60 < wait_s <= self.EVERY_S

    def test_is_right_after_the_time_of_the_one_who_has_least_left(self, look):
        workers, wait_s = look(Silent(590), Silent(500))
        assert wait_s <= 10 + LATE_S
        assert not any(worker.aborted for worker in workers)

    def test_ends_who_is_stuck_for_longer_once(self, look):
        workers, wait_s = look(Silent(601))
        assert workers[0].aborted
        assert wait_s <= KILL_AFTER_S


class TestReasonsAgainstFork:
    def test_there_are_none_without_threads_and_connections(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket():
            datagrams.connect(("127.0.0.1", 9))
            assert [one for one in reasons_against_fork(KNOWN) if "connection" in one or "listening" in one] == []

    def test_a_thread_is_named(self):
        done = threading.Event()
        thread = threading.Thread(target=done.wait, name="of-the-pool")
        thread.start()
        assert "the thread 'of-the-pool'" in reasons_against_fork(KNOWN)
        done.set()
        thread.join()

    def test_connections_are_named_by_where_they_lead(self):
        known = open_descriptors()
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as one,
        ):
            port = listener.getsockname()[1]
            found = reasons_against_fork(known)
            assert f"the listening socket 127.0.0.1:{port} (descriptor {listener.fileno()})" in found
            assert f"the connection to 127.0.0.1:{port} (descriptor {one.fileno()})" in found

    def test_what_was_open_before_does_not_count(self):
        with socket.create_server(("127.0.0.1", 0)):
            assert not [one for one in reasons_against_fork(open_descriptors()) if "listening" in one]


KNOWN = open_descriptors()


def hello(environ, start_response):
    return [b"hello"]


class TestWear:
    def test_without_a_limit_the_application_is_called_directly(self):
        assert with_wear(hello, Config(), print) is hello

    def test_is_told_once_at_the_request_that_reaches_the_number(self):
        said = []
        application = with_wear(hello, Config(max_requests=3), said.append)
        for number in range(1, 7):
            assert application({}, print) == [b"hello"]
            assert bool(said) == (number >= 3)
        assert said == ["3 requests (--max-requests)"]

    def test_jitter_adds_at_most_so_many(self):
        reached = set()
        for _ in range(100):
            said = []
            application = with_wear(hello, Config(max_requests=3, max_requests_jitter=2), said.append)
            number = 0
            while not said:
                application({}, print)
                number += 1
            reached.add(number)
        assert reached == {3, 4, 5}

    def test_memory_is_looked_at_between_requests(self):
        said = []
        application = with_wear(hello, Config(max_rss=1), said.append)
        for _ in range(20):
            application({}, print)
        assert len(said) == 1
        assert "--max-rss is 1" in said[0]

    def test_resident_memory_is_that_of_this_process(self):
        before = resident_bytes()
        with mmap.mmap(-1, 64 << 20) as block:  # new memory, whatever the allocator has left
            block.write(b"x" * len(block))
            assert resident_bytes() - before > len(block) // 2
        assert before > 1 << 20


class TestHandOver:
    def test_a_new_program_finds_listeners_by_their_binds_and_the_variables_are_gone(self, tmp_path, monkeypatch):
        binds = ["127.0.0.1:0", f"unix:{tmp_path}/a,b.sock"]
        listeners = open_listeners(binds, 5)
        channel, other = channel_pair()
        copies = [listener.socket.dup() for listener in listeners]
        environ = handed_on(dict(zip(binds, listeners)), other)
        environ["HEADRACE_FDS"] = ",".join(str(copy.detach()) for copy in copies)
        environ["HEADRACE_ELDER_FD"] = str(other.detach())
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        found, elder = taken_over()
        assert list(found) == binds
        assert found[binds[0]].address.port == listeners[0].address.port
        assert not any(name.startswith("HEADRACE_") for name in os.environ if "TEST" not in name)
        elder.send({"event": "ready"})
        assert channel.receive() == [{"event": "ready"}]
        elder.close()
        close_listeners(found.values())
        assert (tmp_path / "a,b.sock").exists()  # it is the elder's
        close_listeners(listeners)
        channel.close()

    @pytest.mark.parametrize(
        ("fds", "binds"), [("x", "[]"), ("1,2", '["a:1"]'), ("99999", '[["a:1", "a:1", false]]'), ("", "{"), ("0", "3")]
    )
    def test_variables_that_make_no_sense_are_as_none(self, monkeypatch, fds, binds):
        monkeypatch.setenv("HEADRACE_FDS", fds)
        monkeypatch.setenv("HEADRACE_FD_BINDS", binds)
        assert taken_over() == ({}, None)


class TestPlan:
    def test_is_the_same_on_the_other_side(self):
        plan = Plan(
            target="shop:app", config=Config(keep_alive=3), preload=True, generation=2, supervisor_pid=1, num_workers=3,
            folder="/srv/shop", folder_known_as="/srv/1",
            search_path=tuple(sys.path), arguments=("headrace",), listeners=((5, "[::1]:80"),),
        )  # fmt: skip
        assert Plan.from_text(plan.as_text()) == plan


class FakeBoard:
    slots, threads, fd = 2, 8, 7

    def __init__(self):
        self.cleared = []

    def slot(self, number):
        board = self

        class Slot:
            def clear(self):
                board.cleared.append(number)

        return Slot()


class TestSlots:
    def test_each_worker_has_its_own_which_is_empty_when_it_comes(self):
        board = FakeBoard()
        slots = Slots(board)
        first, second = slots.take()[0], slots.take()[0]
        assert {first, second} == {0, 1}
        assert slots.take() == (None, None)
        slots.give_back(second)
        slots.give_back(None)
        assert slots.take()[0] == second
        assert board.cleared == [first, second, second, second], "by whom it is taken, and when it is given back"

    def test_are_told_to_other_processes_by_descriptor_and_size(self):
        assert Slots(FakeBoard()).shared == (7, 2, 8)

    @pytest.mark.parametrize(
        ("workers", "threads", "suits"), [(2, 8, True), (8, 1, True), (9, 1, False), (100, 8, False), (2, 9, False)]
    )
    def test_made_for_few_workers_are_not_enough_for_many_nor_for_more_threads(self, workers, threads, suits):
        slots = make_slots(2, 8)
        assert slots.suits(workers, threads) == suits
        slots.close()

    def test_once_closed_no_descriptor_is_left_and_slots_are_still_there(self):
        slots = make_slots(2, 8)
        fd = slots.shared[0]
        _, slot = slots.take()
        slots.close()
        with pytest.raises(OSError):
            os.fstat(fd)
        assert slot.in_flight() == []


class TestSignalsAtTheExit:
    def test_one_that_comes_at_once_ends_nothing(self):
        assert exit_with("atexit.register(lambda: (os.kill(os.getpid(), 15), print('finished')))") == ("finished\n", 0)

    def test_nor_does_one_that_comes_when_python_itself_ends(self):
        """Where it would make a signal fatal that had a handler."""
        assert exit_with("signals.EXIT_PATIENCE_S = 0; os.late = Late()") == ("late\n", 0)

    def test_a_later_one_ends_it_with_the_status_that_it_would_have_had(self):
        program = "signals.EXIT_PATIENCE_S = 0; atexit.register(lambda: (os.kill(os.getpid(), 15), print('finished')))"
        assert exit_with(program, status=3) == ("", 3)


def exit_with(statements, status=0):
    """What a program has written to stdout, and the status of its exit, when the statements come before that."""
    program = f"""
import atexit, os, signal
from headrace.process import signals

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), write=os.write):
        kill(pid, 15)
        write(1, b"late\\n")

{statements}
signals.let_signals_cut_exit([signal.SIGTERM, signal.SIGINT], {status})
"""
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    return ended.stdout, ended.returncode
