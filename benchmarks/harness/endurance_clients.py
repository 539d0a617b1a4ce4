"""The clients of endurance.py that behave: each request carries a number, and each answer is checked for it.

What they find goes to a Tally: a wrong answer is one that is whole and not what was asked for; a failure is an answer
that did not come.  A failure is explained only where somebody has killed a worker since the connection was made.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import wire  # type: ignore[import-not-found]
from apps.endured import body_of, digest_of

#: For anything to come: longer than any deadline of the server, so that who stops without an answer is a failure.
PATIENCE_S = 60.0
#: A request that is sent later than this after the answer before it goes to a connection of its own: the server may be
#: about to close the old one.  Below --keep-alive of endurance.py.
IDLE_S_MAX = 8.0
#: HALF_CLOSED_MS of engine/response.pxd, less the time between their clock and ours.
HALF_CLOSED_S = 0.45
#: How late this program must have been for a failure at the same time to be its own.
TURN_S, HELD_UP_S = 0.1, 0.5

Address = tuple[str, int] | str


class GivenUp(Exception):
    """408: what was sent did not come in time."""


class WrongAnswer(Exception):
    """Whole, and not the answer to what was asked."""


class Tally:
    """What all clients have seen.  Any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.failures: list[str] = []
        self.kills_s: list[float] = []
        self.held_up_s: list[float] = []

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def watch_the_clock(self) -> None:
        """In a thread of its own, for as long as there is a run: when did nothing of this program run?"""
        while True:
            before_s = time.monotonic()
            time.sleep(TURN_S)
            if time.monotonic() - before_s > TURN_S + HELD_UP_S:
                with self._lock:
                    self.held_up_s.append(time.monotonic())

    def _was_held_up(self, connected_s: float) -> bool:
        """Then the server may have given up a client whose next octet did not come, or that did not read."""
        return any(held_up_s >= connected_s for held_up_s in self.held_up_s)

    def killed(self) -> None:
        with self._lock:
            self.kills_s.append(time.monotonic())

    def note_wrong(self, what: str) -> None:
        with self._lock:
            self.wrong.append(f"{time.strftime('%H:%M:%S')} {what}")

    def note_failure(self, what: str, connected_s: float) -> None:
        """connected_s: when it began to connect (time.monotonic())."""
        with self._lock:
            if any(kill_s >= connected_s for kill_s in self.kills_s):
                self.counts["cut by a kill"] += 1
            elif self._was_held_up(connected_s):
                self.counts["while this program was held up"] += 1
            else:
                self.failures.append(f"{time.strftime('%H:%M:%S')} {what}")


class Visitor:
    """One client in a thread of its own: a visit is one connection.  `rate`: its requests or acts each second."""

    def __init__(self, addresses: list[Address], number: int, seed: int, rate: float, tally: Tally) -> None:
        self.chance = random.Random(seed * 1000 + number)
        self.number = number
        self.rate = rate
        self.tally = tally
        self.done = threading.Event()
        self.doing = ""
        self.connected_s = 0.0
        self._addresses = addresses
        self._sent = 0
        self._thread = threading.Thread(target=self._run, name=f"{type(self).__name__}-{number}", daemon=True)
        self._next_s = time.monotonic() + self.chance.random() / rate

    def start(self) -> None:
        self._thread.start()

    def join(self) -> bool:
        """False when it does not end."""
        self._thread.join(3 * PATIENCE_S)
        return not self._thread.is_alive()

    def pause(self) -> None:
        """Until the next one is due.  Who is behind does not catch up: a busy machine gets less load."""
        now_s = time.monotonic()
        self._next_s = max(self._next_s + self.chance.expovariate(self.rate), now_s - 1)
        self.done.wait(max(0.0, self._next_s - now_s))

    def connect(self, **options: int) -> wire.Client:
        self.connected_s = time.monotonic()
        return wire.Client(self.chance.choice(self._addresses), timeout=PATIENCE_S, watched=False, **options)

    def name(self) -> str:
        self._sent += 1
        return f"{self.number}-{self._sent}"

    def visit(self) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        while not self.done.is_set():
            try:
                self.visit()
            except WrongAnswer as failure:
                self.tally.note_wrong(f"{self.doing}: {failure}")
            except (OSError, wire.WireError, GivenUp) as failure:
                self.tally.note_failure(f"{self.doing}: {failure!r}"[:500], self.connected_s)
            except Exception as failure:  # a fault of this program's; the run must not pass for it
                self.tally.note_failure(f"{self.doing}: this program failed: {failure!r}", time.monotonic())
            self.pause()


class Asked:
    """A request with its number, and the answer that belongs to it."""

    def __init__(self, message: bytes, number: str, body: bytes, method: str = "GET") -> None:
        self.message = message
        self.number = number
        self.body = body
        self.method = method

    def check(self, response: wire.Response) -> None:
        if response.status == 408:
            raise GivenUp(f"408 for {self.number}: {response.body[:200]!r}")
        if response.status != 200:
            raise WrongAnswer(f"{response.status} for {self.number}: {response.body[:200]!r}")
        if response.get("X-Number") != self.number:
            raise WrongAnswer(f"{self.number} got the answer to {response.get('X-Number')}")
        if response.body != (b"" if self.method == "HEAD" else self.body):
            raise WrongAnswer(f"{self.number}: {len(response.body)} octets that are not the {len(self.body)} expected")


def asking(kind: str, number: str, size: int, method: str = "GET") -> Asked:
    return Asked(wire.request(f"/{kind}/{number}/{size}", method=method), number, body_of(number, size), method)


def posting(chance: random.Random, number: str, size: int, expect: bool = False) -> Asked:
    """With a length or in chunks of all sizes."""
    body = body_of(number, size)
    fields = [("Expect", "100-continue")] if expect else []
    if chance.random() < 0.5:
        message = wire.request(f"/post/{number}", method="POST", fields=fields, body=body)
    else:
        cuts = sorted(chance.choices(range(size + 1), k=chance.choice((0, 1, 5, 200))))
        blocks = [body[start:end] for start, end in zip([0, *cuts], [*cuts, size], strict=True)]
        head = wire.request(f"/post/{number}", method="POST", fields=[*fields, ("Transfer-Encoding", "chunked")])
        message = head + wire.chunked(*blocks)
    return Asked(message, number, digest_of(body), "POST")


class GoodClient(Visitor):
    """Half of them keep their connection, half have one for each request."""

    def visit(self) -> None:
        ways: list[Callable[[wire.Client], None]] = [self.kept, self.pipelined]
        if self.number % 2:
            ways = [self.one, self.one, self.half_closed, self.expectant]
        way = self.chance.choice(ways)
        self.doing = way.__name__
        with self.connect() as client:
            way(client)

    def ask(self) -> Asked:
        kind = self.chance.choice(
            ("echo", "echo", "echo", "post", "post", "sleep", "compute", "stream", "chunks", "written", "file")
        )
        number = self.name()
        if kind == "post":
            size = self.chance.choice((1, 300, 5_000, 20_000, 100_000, 300_000))
            return posting(self.chance, number, size)
        size = self.chance.choice((1, 100, 3_000, 50_000, 200_000))
        return asking(kind, number, size, self.chance.choice(("GET",) * 9 + ("HEAD",)))

    def hear(self, client: wire.Client, asked: Asked) -> wire.Response:
        response = client.read_final_response(asked.method)
        asked.check(response)
        self.tally.count("checked answers")
        self.tally.count(f"checked: {self.doing}")
        return response

    def send(self, client: wire.Client, message: bytes) -> None:
        client.send(message, self.chance.randint(1, 1 << 30) if self.chance.random() < 0.3 else "whole")

    def one(self, client: wire.Client) -> None:
        asked = self.ask()
        self.send(client, asked.message)
        self.hear(client, asked)

    def kept(self, client: wire.Client) -> None:
        for _ in range(self.chance.randint(2, 200)):
            asked = self.ask()
            self.send(client, asked.message)
            if self.hear(client, asked).says_close or self.done.is_set():
                return
            answered_s = time.monotonic()
            self.pause()
            if time.monotonic() - answered_s > IDLE_S_MAX:
                self.tally.count("late: connection given up")
                return

    def pipelined(self, client: wire.Client) -> None:
        """What stands behind an answer with Connection: close gets none, and is to be asked again (RFC 9112 §9.3.2)."""
        batch = [self.ask() for _ in range(self.chance.randint(2, 8))]
        sender = threading.Thread(
            target=client.send, args=(b"".join(asked.message for asked in batch),), kwargs={"may_break": True}
        )
        sender.start()  # answers have to be read meanwhile
        try:
            for place, asked in enumerate(batch):
                if self.hear(client, asked).says_close:
                    self.tally.count("to be asked again behind a close", len(batch) - place - 1)
                    break
        finally:
            client.sock.settimeout(PATIENCE_S)
            sender.join(PATIENCE_S)
            for _ in batch[1:]:
                self.pause()

    def half_closed(self, client: wire.Client) -> None:
        """Not served where its request has waited for HALF_CLOSED_S: SIGSTOP does that, and a busy machine."""
        asked = self.ask()
        sent_s = time.monotonic()
        client.send(asked.message)
        client.half_close()
        client.has_input(PATIENCE_S)
        if time.monotonic() - sent_s >= HALF_CLOSED_S and not client._receive():
            self.tally.count("half-closed and taken for gone")
            return
        self.hear(client, asked)
        client.assert_closed()

    def expectant(self, client: wire.Client) -> None:
        asked = posting(self.chance, self.name(), self.chance.choice((10, 100_000)), expect=True)
        head, _, body = asked.message.partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        interim = client.read_response("POST")
        if interim.status != 100:
            raise WrongAnswer(f"{interim.status} instead of 100 for {asked.number}")
        client.send(body)
        self.hear(client, asked)
