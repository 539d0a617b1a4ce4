"""What run.py does, in numbers that a suite can afford; and that it sees what it should."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import ours
import pytest
import run
import test_corpus
from grammar import Mutator, cases

from headrace import referee

CORPUS = Path(__file__).resolve().parent.parent / "corpus"


def report(figures):
    return "\n".join(f"{number}: {why}\n    {octets!r}" for number, octets, why in figures.disagreements[:5])


def test_ten_thousand_mutated_requests_are_read_as_llhttp_and_h11_read_them(library):
    figures = run.judge_block(library, seed=0, block=0, count=10_000, h11_every=3)
    assert not figures.disagreements, report(figures)
    assert figures.counts["accepted"] > 2_500  # or little would have been compared
    assert figures.counts["accepted, h11 asked"] > 800


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_thousand_mutated_requests_are_read_as_llhttp_and_h11_read_them(library):
    figures = run.judge_cases(library, seed=1, count=200_000, processes=2)
    assert not figures.disagreements, report(figures)
    assert figures.counts["cases read by us and llhttp"] == 200_000


def test_a_case_is_the_same_whenever_it_is_asked_for():
    first, again = (list(zip(range(100), cases(5, 7))) for _ in range(2))
    assert first == again
    assert first != list(zip(range(100), cases(5, 8)))


@pytest.mark.parametrize("difference", referee.DIFFERENCES, ids=lambda difference: difference.name)
def test_no_difference_of_the_referees_list_could_go(library, monkeypatch, difference):
    others = tuple(other for other in referee.DIFFERENCES if other is not difference)
    monkeypatch.setattr(referee, "DIFFERENCES", others)
    figures = run.judge_block(library, seed=0, block=0, count=5_000, h11_every=0)
    assert figures.disagreements
    assert all(why.startswith("the referee objects: ") for _, _, why in figures.disagreements), report(figures)


#: Faults of other parsers, put into ours.
FAULTS = {
    "any octet ends the line behind the data of a chunk": (
        "chunked.c",
        r"return c == '\n' ? go(decoder, SIZE_FIRST) : REQUEST_CHUNK_DATA_UNTERMINATED;",
        "return go(decoder, SIZE_FIRST);",
    ),
    "Content-Length beside Transfer-Encoding is not looked at": (
        "framing.c",
        "*error = REQUEST_FRAMING_CONFLICT;",
        "seen = SEEN_CODING;",
    ),
    "names may hold any octet of a value": ("char_rules.h", "(RULE_TOKEN(c) && (c) != '_')", "RULE_FIELD_VALUE(c)"),
    "chunked anywhere among the codings will do": (
        "framing.c",
        "if (codings.chunked != 1 || !codings.chunked_is_last)",
        "if (codings.chunked > 0)\n        return REQUEST_OK;\n    else",
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_ours_is_found(tmp_path, monkeypatch, fault):
    name, right, wrong = FAULTS[fault]
    spoiled = shutil.copytree(ours.CSRC, tmp_path / "csrc")
    text = (spoiled / name).read_text()
    assert right in text
    (spoiled / name).write_text(text.replace(right, wrong))
    monkeypatch.setattr(ours, "CSRC", spoiled)
    library = ours.build(tmp_path)
    assert run.judge_block(library, seed=0, block=0, count=10_000, h11_every=0).disagreements


@pytest.mark.parametrize("path", sorted((CORPUS / "accepted").glob("*.http")), ids=lambda path: path.stem)
def test_what_clients_send_is_read_alike(court, path):
    octets = test_corpus.read(path).octets
    figures = run.Figures()
    while octets:
        court.judge(octets, 0, True, figures)
        used = court.reader.read(octets, 0, by_octet=True).used
        assert used, figures
        octets = octets[used:]
    assert not figures.disagreements, report(figures)


def test_requests_that_follow_their_like_on_a_connection_are_read_alike(serve, library):
    """What the server remembers of the head before must not show: each mutated request goes between two of the request
    that it was made of, and the referee compares all that reaches the application."""
    rng = random.Random(1)
    mutate, reader = Mutator(rng).mutate, ours.Reader(library)

    def application(environ, start_response):
        environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", "0")])
        return []

    running = serve(application)
    served = 0
    for octets in cases(11, 0):
        request = reader.read(octets, 0)
        if request.stage != ours.COMPLETE or not request.keep_alive:
            continue
        octets = octets[: request.used]
        mutants = [mutate(octets, octets) for _ in range(6)]
        sent = [octets]
        for mutant in mutants:
            verdict = reader.read(mutant, 0)
            if verdict.stage == ours.COMPLETE and verdict.keep_alive:
                sent += [mutant[: verdict.used], octets]
        client = running.connect()
        client.send(b"".join(sent))
        for message in sent:
            method = "HEAD" if message.lstrip().startswith(b"HEAD ") else "GET"
            assert client.read_final_response(method).status == 200, message
        client.close()
        served += len(sent)
        if served > 3_000:
            break
    assert running.calls == served
