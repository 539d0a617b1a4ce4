"""docs/strictness.md of what the servers have answered; and what it says of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from strictness.asking import Answer
from strictness.case import REFUSED, Case, Kind
from strictness.cases import BEYOND_RFC_3986, CASES
from strictness.verdicts import is_fault, verdict_of

OURS = "headrace"
SILENT = "malformed, not cut short by the client: neither run nor answered with a status"

HEAD = """\
# What is refused, and by whom

<!-- made by benchmarks/strictness.py -->

{malformed} malformed messages, {open} that the RFCs leave to who receives them, and {valid} that are valid and rare:
the answers of Headrace and of other WSGI servers, each asked over a real socket. [The totals](#totals) come last.

## How to read it

Each message is the first on its connection. Framing is wrong in most of them, so what a server makes of one is told by
an application that answers with what it saw once it has read the whole body; a server that calls it and then lets it
find an error in the body has refused. When the answer is there, a further good request follows on the same connection.

| in a cell | is |
| --- | --- |
| `400` | refused with this status, and the connection closed |
| `400, open` | refused, and the further request was answered: right only if no octet of the message can be left |
| `400, waits` | refused, and then the further request was neither answered nor the connection closed |
| `200, open` | the application was called and has answered; the further request was answered, too |
| `200, closed` | the application was called and has answered; the connection was closed behind it |
| 200 `a` | and this is what it saw of what the row is about: the path, the query, a field, the body |
| `200, read wrongly` | a valid message whose meaning did not reach the application |
| `called, closed` | the application was called, but what came was no response: it had no status line |
| `and 1 more` | the application was called once more, for octets of the same message |
| `500` | refused as well, be it by an error of the server's own: counted as a refusal, but for `valid` |
| `closed` | no answer, and the connection closed: right where the client has ended it |
| `waits` | nothing within {patience_s:g} s: the server takes the message for incomplete, or hangs |
| `hangs`, `dies` | from then on no other client was answered; the process has ended |
| **bold** | a fault: a malformed message was accepted, an open one read harmfully, a valid one not answered rightly |

`malformed` breaks the grammar of the RFC or a MUST. `open` is what the section lets a recipient refuse or take: taking
it is no fault, unless it is taken for something else (a field with an underscore for the one with a dash), or a part of
it for another request. `valid` must be answered; without these rows who refuses everything would win. What of `open`
Headrace refuses is listed in [README.md](../README.md#where-it-leaves-the-letter-or-takes-a-side).

**One kind of broken grammar is `open` here**: visible ASCII octets in a target that RFC 3986 wants percent-encoded, and
a `%` without two hexadecimal digits behind it ([their table](#target-octets-beyond-rfc-3986)). That they are refused is
a SHOULD of RFC 9112 §3.2, no length depends on them, and browsers send some of them so, as the WHATWG URL standard has
it. For the browsers' sake Headrace takes `|`, `[`, `]` and `^` in a path, and these, `` ` ``, `{{`, `}}`, `\\` and a
bare `%` in a query; the others it refuses. So its "0 malformed accepted" does not mean that it takes nothing that
breaks a grammar: of the {beyond} rows of that table it takes {beyond_ours}. The totals count them for each server.

Caveats: the choice of messages is ours, and so is the reading of the RFCs. Each server ran with the settings of
[benchmarks](../benchmarks/README.md); some have stricter or laxer ones. Werkzeug's is meant for development, and gevent
says that its own is not for the open Internet. Where a body ends early or breaks off at an error, some servers let the
application read what came before and no more, and close afterwards (`200, closed`): next to `CONTENT_LENGTH` it could
notice, with chunks it cannot. Not every accepted message is an attack by itself: what makes it one is another server in
front that reads it in another way.

{date}, Linux, CPython {python}:
{versions}.

To check Headrace's own column, in seconds and without the other servers (in the environment that Headrace is installed
in, from its checkout; it says which rows differ, and writes no page):

```sh
python benchmarks/strictness.py --servers headrace
```

The tests do so, too, with every run (tests/strictness). To make this page again, in its place, with the other servers:

```sh
python benchmarks/run.py --setup benchmarks/.venvs
python benchmarks/strictness.py --venvs benchmarks/.venvs
```

With fewer servers than are named here, or with `--output FILE`, this page stays as it is.
"""


@dataclass(frozen=True)
class Asked:
    """One server.  answers: one for each of CASES, in their order."""

    name: str
    version: str
    answers: Sequence[Answer]

    def faults(self, kind: Kind) -> int:
        return sum(is_fault(case, answer) for case, answer in self.pairs(kind))

    def pairs(self, kind: Kind) -> list[tuple[Case, Answer]]:
        return [(case, answer) for case, answer in zip(CASES, self.answers, strict=True) if case.kind is kind]


def count(kind: Kind) -> int:
    return sum(case.kind is kind for case in CASES)


def row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def cell(case: Case, answer: Answer) -> str:
    verdict = verdict_of(case, answer)
    return f"**{verdict}**" if is_fault(case, answer) or answer.end in ("hangs", "dies") else verdict


def table(subject: str, servers: Sequence[Asked]) -> str:
    lines = row(["message", "kind", "rule", *[server.name for server in servers]])
    lines += row(["---"] * (3 + len(servers)))
    for number, case in enumerate(CASES):
        if case.subject == subject:
            cells = [cell(case, server.answers[number]) for server in servers]
            lines += row([case.title, case.kind.value, case.rule, *cells])
    return f"\n## {subject}\n\n{lines}"


def totals(servers: Sequence[Asked]) -> str:
    rows: list[tuple[str, list[int]]] = [
        (f"malformed, accepted (of {count(Kind.MALFORMED)})", [server.faults(Kind.MALFORMED) for server in servers]),
        *[accepted_of(subject, servers) for subject in dict.fromkeys(case.subject for case in CASES)],
        (f"open, read in a harmful way (of {count(Kind.OPEN)})", [server.faults(Kind.OPEN) for server in servers]),
        (f"open, target octets beyond RFC 3986 taken (of {beyond()})", [taken_beyond(server) for server in servers]),
        (f"valid, not answered rightly (of {count(Kind.VALID)})", [server.faults(Kind.VALID) for server in servers]),
        ("octets of one message run as another request", [second_calls(server) for server in servers]),
        ("a request in one piece with a refused message, run", [runs_behind(server) for server in servers]),
        (SILENT, [silences(server) for server in servers]),
    ]
    lines = row(["", *[server.name for server in servers]]) + row(["---", *["---:"] * len(servers)])
    return f"\n## Totals\n\n{lines}" + "".join(row([title, *map(str, numbers)]) for title, numbers in rows if title)


def accepted_of(subject: str, servers: Sequence[Asked]) -> tuple[str, list[int]]:
    """A row of the totals; no title where the subject has nothing malformed."""
    pairs = [[pair for pair in server.pairs(Kind.MALFORMED) if pair[0].subject == subject] for server in servers]
    title = f"... {subject} ({len(pairs[0])})" if pairs[0] else ""
    return title, [sum(is_fault(case, answer) for case, answer in found) for found in pairs]


def beyond() -> int:
    return sum(case.subject == BEYOND_RFC_3986 for case in CASES)


def taken_beyond(server: Asked) -> int:
    return sum(answer.accepted for case, answer in server.pairs(Kind.OPEN) if case.subject == BEYOND_RFC_3986)


def second_calls(server: Asked) -> int:
    return sum(len(answer.calls) > 1 for answer in server.answers)


def runs_behind(server: Asked) -> int:
    return sum(answer.after_refusal for answer in server.answers)


def silences(server: Asked) -> int:
    """Of messages that are not cut short by their sender."""
    pairs = [answer for case, answer in server.pairs(Kind.MALFORMED) if not case.half_close]
    return sum(not answer.accepted and answer.status is None for answer in pairs)


def page(servers: Sequence[Asked], date: str, python: str, patience_s: float) -> str:
    head = HEAD.format(
        malformed=count(Kind.MALFORMED),
        open=count(Kind.OPEN),
        valid=count(Kind.VALID),
        beyond=beyond(),
        beyond_ours=sum(case.subject == BEYOND_RFC_3986 and case.ours != REFUSED for case in CASES),
        patience_s=patience_s,
        date=date,
        python=python,
        versions=", ".join(f"{server.name} {server.version}" for server in servers),
    )
    subjects = dict.fromkeys(case.subject for case in CASES)
    return head + "".join(table(subject, servers) for subject in subjects) + totals(servers)


_ROW = re.compile(r"^\| ((?:[^|\\]|\\.)*) \| (malformed|open|valid) \| ([^|]*) \| ((?:[^|\\]|\\.)*?) \|", re.MULTILINE)


def rows_of(text: str) -> list[tuple[str, str, str, str, str]]:
    """Of each row of a page: subject, title, kind, rule, and our cell."""
    rows = []
    for part in text.split("\n## ")[1:]:
        subject = part.partition("\n")[0]
        rows += [(subject, *(group.replace("\\|", "|").strip("*") for group in found)) for found in _ROW.findall(part)]
    return rows  # type: ignore[return-value]
