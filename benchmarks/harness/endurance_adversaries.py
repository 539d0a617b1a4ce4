"""The clients of endurance.py that do not behave.  Where the server has to say something, that is checked, too.

Each act takes a connection of its own, and what the server makes of it must be one of: a refusal, an answer that is
right, an end of the connection.  Never a success for what is malformed, and never silence for PATIENCE_S.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import wire  # type: ignore[import-not-found]
from apps.endured import MISUSES, body_of

from harness.endurance_clients import PATIENCE_S, Asked, Visitor, WrongAnswer, asking, posting

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "corpus"))
corpus = importlib.import_module("test_corpus")

#: Messages that have to be refused: octets, and how many good answers come first.
REFUSED: list[tuple[str, bytes, int]] = [
    (message.name, message.octets, len(message.answers) - 1)
    for message in map(corpus.read, corpus.FILES)
    if message.name.startswith("refused/") and message.answers[-1].startswith("REQUEST_")
]
#: How an application may end that has gone wrong: 200 where its fault is its own affair.
AFTER_MISUSE = (200, 500)
CLIENT_TLS_HELLO = bytes.fromhex("160301002a010000260303") + bytes(32) + b"\0\0\2\x13\1\1\0"


class Adversary(Visitor):
    """One act after another, each by chance."""

    def visit(self) -> None:
        act = self.chance.choices(list(ACTS), list(ACTS.values()))[0]
        self.doing = act.__name__
        small = 8192 if act in (read_slowly, do_not_read) else None
        options = {"receive_buffer_bytes": small} if small else {}
        with self.connect(**options) as client:
            try:
                act(self, client)
            except (BrokenPipeError, ConnectionResetError):
                self.tally.count("resets seen by adversaries")
        self.tally.count("acts of adversaries")
        self.tally.count(f"act: {self.doing}")

    def checked(self, client: wire.Client, asked: Asked) -> None:
        asked.check(client.read_final_response(asked.method))
        self.tally.count("checked answers")
        self.tally.count(f"checked: {self.doing}")

    def goes_on(self, client: wire.Client, response: wire.Response) -> None:
        """The next request on the connection gets its own answer, where there is a next one."""
        if response.says_close or self.done.is_set():
            return
        asked = asking("echo", self.name(), 500)
        client.send(asked.message)
        client.half_close()
        if client.has_input(PATIENCE_S) and client._receive():  # not so where the fault showed behind the answer
            self.checked(client, asked)


def refused(client: wire.Client, statuses: range | tuple[int, ...] = range(400, 600)) -> None:
    """A refusal, then the end.  Who goes on sending may get a reset instead (RFC 9112 §9.6)."""
    response = client.read_final_response()
    if response.status not in statuses:
        raise WrongAnswer(f"{response.status} for what has to be refused")
    client.assert_gone()


def end(adversary: Visitor, client: wire.Client) -> None:
    adversary.chance.choice((client.reset, client.close))()


# -- resets and cuts --------------------------------------------------------------------------------------------------


def break_off(adversary: Adversary, client: wire.Client) -> None:
    """Head or body, anywhere."""
    asked = posting(adversary.chance, adversary.name(), adversary.chance.choice((100, 100_000, 500_000)))
    client.send(asked.message[: adversary.chance.randint(0, len(asked.message) - 1)], may_break=True)
    end(adversary, client)


def half_close_within(adversary: Adversary, client: wire.Client) -> None:
    asked = posting(adversary.chance, adversary.name(), adversary.chance.choice((100, 100_000)))
    client.send(asked.message[: adversary.chance.randint(1, len(asked.message) - 1)], may_break=True)
    client.half_close()
    if answer := client.read_until_close():
        status = answer.split(b" ")[1]
        if not status.startswith(b"4"):
            raise WrongAnswer(f"{answer[:200]!r} for a request that was cut")


def reset_within_a_call(adversary: Adversary, client: wire.Client) -> None:
    kind = adversary.chance.choice(("sleep", "compute", "written"))
    client.send(asking(kind, adversary.name(), 100_000).message)
    time.sleep(adversary.chance.choice((0, 0.003, 0.02)))
    client.reset()


def reset_within_an_answer(adversary: Adversary, client: wire.Client) -> None:
    kind = adversary.chance.choice(("echo", "stream", "chunks", "written", "file"))
    client.send(asking(kind, adversary.name(), 500_000).message)
    client.read_head()
    client.read_exactly(1000)
    end(adversary, client)


def come_and_go(adversary: Adversary, client: wire.Client) -> None:
    """Many connections that say nothing."""
    clients: list[wire.Client] = []
    try:
        for _ in range(40):
            clients.append(adversary.connect())
    finally:
        for one in clients:
            end(adversary, one)


# -- who waits --------------------------------------------------------------------------------------------------------


def stall_in_the_head(adversary: Adversary, client: wire.Client) -> None:
    message = asking("echo", adversary.name(), 10).message
    client.send(message[: adversary.chance.randint(1, len(message) - 1)])
    refused(client, (408,))


def stall_in_the_body(adversary: Adversary, client: wire.Client) -> None:
    message = posting(adversary.chance, adversary.name(), 200_000).message
    client.send(message[: adversary.chance.randint(1000, len(message) - 1000)])
    refused(client, (408,))


def stay_idle(adversary: Adversary, client: wire.Client) -> None:
    asked = asking("echo", adversary.name(), 10)
    if adversary.chance.random() < 0.5:
        client.send(asked.message)
        adversary.checked(client, asked)
    client.assert_gone()  # at its deadline, or when its worker leaves


def trickle(adversary: Adversary, client: wire.Client) -> None:
    """Slowly, but in time."""
    asked = asking("echo", adversary.name(), 100)
    for at in range(0, len(asked.message), 4):
        client.send(asked.message[at : at + 4])
        time.sleep(0.03)
    adversary.checked(client, asked)


def read_slowly(adversary: Adversary, client: wire.Client) -> None:
    kind = adversary.chance.choice(("echo", "stream", "chunks", "written", "file"))
    asked = asking(kind, adversary.name(), 400_000)
    client.send(asked.message)
    response = client.read_head()
    for _ in range(10):
        client.has_input(1.0)
        client._receive()
        time.sleep(0.1)
    client._read_body(response, "GET")
    asked.check(response)
    adversary.tally.count("checked answers")


def do_not_read(adversary: Adversary, client: wire.Client) -> None:
    """Until the server has had enough; write() and the loop have to see it."""
    kind = adversary.chance.choice(("stream", "chunks", "written", "file"))
    client.send(wire.request(f"/{kind}/{adversary.name()}/2000000"))
    adversary.done.wait(adversary.chance.choice((0.5, 0.5, 14)))
    end(adversary, client)


# -- floods -----------------------------------------------------------------------------------------------------------


def flood_a_pipeline(adversary: Adversary, client: wire.Client) -> None:
    """Without reading; then, perhaps, with: what is answered comes in its order."""
    asked = [asking("echo", adversary.name(), 2_000) for _ in range(2_000)]
    sent = client.send_what_fits(b"".join(one.message for one in asked))
    adversary.done.wait(adversary.chance.choice((0.1, 1, 14)))
    if adversary.chance.random() < 0.5:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.half_close()
            for one in asked:
                sent -= len(one.message)
                if sent < 0 or not client.has_input(1.0):
                    break
                try:
                    response = client.read_response()
                except wire.WireError:  # the server had waited long enough
                    break
                one.check(response)
                adversary.tally.count("checked answers")
    end(adversary, client)


def flood_of_chunks(adversary: Adversary, client: wire.Client) -> None:
    """Overhead up to 64 KiB and the size of the data is taken; more is refused."""
    number, count = adversary.name(), adversary.chance.choice((5_000, 12_000, 60_000))
    head = wire.request(f"/post/{number}", method="POST", fields=[("Transfer-Encoding", "chunked")])
    client.send(head, may_break=True)
    for at in range(0, count, 1000):
        client.send(b"1\r\nx\r\n" * min(1000, count - at), may_break=True)
    client.send(b"0\r\n\r\n", may_break=True)
    response = client.read_final_response("POST")
    if count > 20_000:
        if response.status < 400:
            raise WrongAnswer(f"{response.status} for {count} chunks of one octet")
    elif response.status != 200 or response.get("X-Number") != number:
        raise WrongAnswer(f"{response.status} for {count} chunks of one octet")


def head_without_end(adversary: Adversary, client: wire.Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    for number in range(200):
        client.send(b"X-%d: %s\r\n" % (number, b"a" * 1000), may_break=True)
    refused(client, (431,))


def body_too_long(adversary: Adversary, client: wire.Client) -> None:
    if adversary.chance.random() < 0.5:
        client.send(wire.request("/post/0", method="POST", fields=[("Content-Length", "99999999999")]))
    else:
        client.send(wire.request("/post/0", method="POST", fields=[("Transfer-Encoding", "chunked")]))
        for _ in range(50):
            client.send(wire.chunked(b"x" * 100_000).removesuffix(b"0\r\n\r\n"), may_break=True)
    refused(client, (413,))


# -- what is malformed ------------------------------------------------------------------------------------------------


def malformed(adversary: Adversary, client: wire.Client) -> None:
    """One of the corpus; good requests that stand in front of it go to no place of this application's."""
    name, message, before = adversary.chance.choice(REFUSED)
    adversary.doing = f"malformed ({name})"
    client.send(message, adversary.chance.randint(1, 1 << 30), may_break=True)
    if not any(client.read_final_response().says_close for _ in range(before)):
        refused(client)
    adversary.doing = "malformed"


def damaged(adversary: Adversary, client: wire.Client) -> None:
    """A good request with octets changed, dropped and doubled: each octet that comes back is part of an answer."""
    message = bytearray(posting(adversary.chance, adversary.name(), 300).message)
    damage(adversary.chance, message)
    client.send(bytes(message), may_break=True)
    client.half_close()
    while client.has_input(60) and (client._received or client._receive()):
        if client.read_response("POST").says_close:
            break


def damage(chance: random.Random, message: bytearray) -> None:
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(message))
        what = chance.randrange(3)
        if what == 0:
            message[at] = chance.randrange(256)
        elif what == 1:
            del message[at : at + chance.randint(1, 20)]
        else:
            message[at:at] = message[at : at + chance.randint(1, 20)]


def speak_tls(adversary: Adversary, client: wire.Client) -> None:
    client.send(CLIENT_TLS_HELLO)
    refused(client, (400,))


# -- the application --------------------------------------------------------------------------------------------------


def misused(adversary: Adversary, client: wire.Client) -> None:
    """With a body that the application does not read, and a request behind it."""
    name = adversary.chance.choice([name for name in MISUSES if name != "takes_too_long"])
    adversary.doing = f"misused ({name})"
    body = body_of("0", adversary.chance.choice((0, 100, 100_000)))
    client.send(wire.request(f"/misuse/{name}", method="POST", body=body))
    try:
        response = client.read_final_response("POST")
    except wire.WireError:  # cut, because the head had left
        client.read_until_close()
    else:
        if response.status not in AFTER_MISUSE:
            raise WrongAnswer(f"{response.status} after {name}")
        adversary.goes_on(client, response)
    adversary.doing = "misused"


def exceed_the_timeout(adversary: Adversary, client: wire.Client) -> None:
    client.send(wire.request("/misuse/takes_too_long"))
    client.read_until_close() if adversary.chance.random() < 0.5 else end(adversary, client)


#: The acts, and how often each is chosen beside the others.
ACTS: dict[Callable[[Adversary, wire.Client], None], float] = {
    break_off: 10,
    half_close_within: 8,
    reset_within_a_call: 10,
    reset_within_an_answer: 8,
    come_and_go: 0.5,
    stall_in_the_head: 1.5,
    stall_in_the_body: 1.5,
    stay_idle: 1,
    trickle: 3,
    read_slowly: 3,
    do_not_read: 3,
    flood_a_pipeline: 1,
    flood_of_chunks: 2,
    head_without_end: 3,
    body_too_long: 2,
    malformed: 12,
    damaged: 10,
    speak_tls: 1,
    misused: 15,
    exceed_the_timeout: 0.03,
}
