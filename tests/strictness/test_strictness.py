"""Each message of cases.py to our server: the answer is the one of the table, and nothing malformed is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import wire

from strictness.application import app
from strictness.asking import AFTER_PATH, Answer, ask
from strictness.case import Case, Kind
from strictness.cases import CASES
from strictness.page import rows_of
from strictness.verdicts import is_fault, verdict_of

#: Valid, and refused all the same: csrc/chunked.c says why, and README.md that it is so.
REFUSED_ON_PURPOSE = {"Valid, and rare: chunk extension ` ; a = b`"}

PAGE = Path(__file__).parents[2] / "docs" / "strictness.md"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_answered_as_the_page_says(serve, case: Case):
    running = serve(app)
    answer = ask((running.server.host, running.port), case, wire.PATIENCE_S)
    assert verdict_of(case, answer) == case.ours
    assert is_fault(case, answer) == (case.name in REFUSED_ON_PURPOSE)
    assert not answer.after_refusal
    if case.kind is Kind.MALFORMED:
        assert [environ["PATH_INFO"] for environ in running.environs] == [AFTER_PATH] * running.calls


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.skipif(not PAGE.is_file(), reason="no pages beside the tests")
def test_the_page_has_these_rows_and_our_answers():
    """If not: python benchmarks/strictness.py."""
    rows = [(case.subject, case.title, case.kind.value, case.rule, case.ours) for case in CASES]
    assert rows_of(PAGE.read_text(encoding="utf-8")) == rows


CALL = {"PATH_INFO": "/", "body": "hello", "body_bytes": 5}


class TestFaults:
    """What the page counts, by answers that a server could give."""

    def case(self, kind: Kind, **more):
        return Case("subject", "title", b"", "rule", kind, "", **more)

    def answer(self, **saw):
        return Answer(200, [CALL | saw], "open")

    def test_a_malformed_message_may_not_be_accepted(self):
        case = self.case(Kind.MALFORMED, shows="HTTP_X_A", harmless=("a b",))
        assert is_fault(case, self.answer())
        assert is_fault(case, self.answer(HTTP_X_A="a\0b"))
        assert not is_fault(case, self.answer(HTTP_X_A="a b"))
        assert not is_fault(case, Answer(400, [], "closed"))

    def test_a_bare_cr_may_have_become_a_space_and_gone_with_the_white_space_behind_the_value(self):
        (case,) = [case for case in CASES if case.name == "Field lines: CR before CR LF"]
        assert not is_fault(case, self.answer(HTTP_X_A="ab"))
        assert is_fault(case, self.answer(HTTP_X_A="ab\r"))

    def test_an_open_one_may_be_but_not_with_harm(self):
        case = self.case(Kind.OPEN, shows="HTTP_X_A", harm=("evil",))
        assert not is_fault(case, self.answer(HTTP_X_A="a"))
        assert is_fault(case, self.answer(HTTP_X_A="evil"))
        assert not is_fault(case, Answer(400, [], "closed"))

    def test_a_valid_one_must_be_and_rightly(self):
        case = self.case(Kind.VALID, expects=(("body", "hello"),))
        assert not is_fault(case, self.answer())
        assert is_fault(case, self.answer(body=""))
        assert is_fault(case, Answer(200, [CALL] * 2, "open"))
        assert is_fault(case, Answer(400, [], "closed"))
