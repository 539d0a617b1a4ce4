"""An Answer in the words of docs/strictness.md."""

from __future__ import annotations

from strictness.asking import Answer
from strictness.case import Case, Kind, as_code, shown


def seen(case: Case, answer: Answer) -> str | None:
    """What the first call saw of what the case is about."""
    return answer.calls[0].get(case.shows) if answer.calls else None


def is_fault(case: Case, answer: Answer) -> bool:
    """A malformed message was accepted, an open one read harmfully, or a valid one not answered rightly."""
    value = seen(case, answer)
    if case.kind is Kind.MALFORMED:
        return answer.accepted and not (value is not None and value in case.harmless)
    if case.kind is Kind.OPEN:
        return len(answer.calls) > 1 or (value is not None and value in case.harm)
    return not answer.accepted or not is_right(case, answer)


def is_right(case: Case, answer: Answer) -> bool:
    """Of a valid message: the application was called once, and saw it."""
    return len(answer.calls) == 1 and all(answer.calls[0].get(key) == value for key, value in case.expects)


def verdict_of(case: Case, answer: Answer) -> str:
    """In a few words; the page says how to read them."""
    if not answer.accepted:
        if answer.status is None:
            return answer.end
        return f"{answer.status}" if answer.end == "closed" else f"{answer.status}, {answer.end}"
    words = str(answer.status) if answer.status is not None else "called"
    value = seen(case, answer)
    if value is not None:
        words += f" {as_code(shown(value))}" if value else " (empty)"
    if len(answer.calls) > 1:
        words += f" and {len(answer.calls) - 1} more"
    if case.kind is Kind.VALID and not is_right(case, answer):
        words += ", read wrongly"
    return f"{words}, {answer.end}"
