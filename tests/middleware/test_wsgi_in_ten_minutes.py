"""docs/wsgi-in-ten-minutes.md: its code runs from the top to the bottom, and what it points at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "wsgi-in-ten-minutes.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="no pages beside the tests")


def program():
    """All blocks of Python as one program, each on its own lines of the page."""
    text = PAGE.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S):
        first = text.count("\n", 0, block.start(1))
        lines[first : first + block[1].count("\n")] = block[1].splitlines()
    return "\n".join(lines)


def test_the_code_runs_and_what_it_asserts_holds():
    pytest.importorskip("urllib3")
    exec(compile(program(), PAGE, "exec"), {"__name__": "page"})


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https:)([^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


def test_every_example_of_middleware_and_gateway_is_on_the_page():
    rooms = ("from headrace.middleware import", "from headrace.gateway import")
    examples = [
        path.name
        for path in (PAGE.parents[1] / "examples").glob("*.py")
        if any(room in path.read_text(encoding="utf-8") for room in rooms)
    ]
    assert len(examples) >= 7
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in examples if f"/{name})" not in text] == []
