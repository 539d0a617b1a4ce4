"""What the pages say of the settings: README.md has the one table of limits, and SECURITY.md what they add up to."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from headrace.config import SETTINGS
from headrace.config.reference import page
from headrace.middleware import Balancer, Compress, Filter, ForwardedHeaders
from headrace.middleware.compress import MEDIA_TYPES

FOLDER = Path(__file__).parents[2]
PAGES = sorted(FOLDER.glob("*.md"))
pytestmark = pytest.mark.skipif(not (FOLDER / "README.md").is_file(), reason="no pages beside the tests")

LIMITS = {name: setting for name, setting in SETTINGS.items() if setting.least is not None}
ROW = re.compile(
    r"^\| `(\w+)` \| ([\d,.]+) ?(bytes/s\b|bytes\b|KiB\b|MiB\b|GiB\b|s\b)?([^|]*)\|([^|]*)\|$", re.MULTILINE
)
FACTORS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
UNITS = {"seconds": "s", "bytes": "bytes", "bytes a second": "bytes/s"}


def rows():
    return ROW.findall((FOLDER / "README.md").read_text(encoding="utf-8"))


def text_of(page):
    return " ".join((FOLDER / page).read_text(encoding="utf-8").split())


class TestTableOfLimits:
    def test_has_a_row_for_each_setting_with_a_range_and_no_other(self):
        assert sorted(name for name, *_ in rows()) == sorted(LIMITS)

    @pytest.mark.parametrize("name", LIMITS)
    def test_says_the_default_with_its_unit(self, name):
        (number, unit), *more = [(row[1], row[2]) for row in rows() if row[0] == name]
        assert not more
        assert float(number.replace(",", "")) * FACTORS.get(unit, 1) == LIMITS[name].default
        assert ("bytes" if unit in FACTORS else unit) == UNITS.get(LIMITS[name].unit, "")

    @pytest.mark.parametrize("name", LIMITS)
    def test_says_the_status_that_help_says(self, name):
        (outcome,) = [row[4] for row in rows() if row[0] == name]
        status = r"\b[45]\d\d\b"
        assert set(re.findall(status, LIMITS[name].help)) <= set(re.findall(status, outcome))

    @pytest.mark.parametrize("page", [page.name for page in PAGES if page.name != "README.md"])
    def test_is_in_no_other_page(self, page):
        named = re.findall(r"^\| `(\w+)` \|", (FOLDER / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert not set(named) & set(LIMITS)


def test_the_sums_in_security_md_are_those_of_the_defaults():
    kib = {name: row.default / 1024 for name, row in LIMITS.items() if row.unit == "bytes"}
    text = text_of("SECURITY.md")
    for said in (
        f"| `limit_request_head` + 128 KiB | {kib['limit_request_head'] + 128:g} KiB |",
        f"| {kib['response_buffer'] + 80.25:g} KiB |",
        f"up to `request_body_memory` ({kib['request_body_memory']:g} KiB)",
        f"| {kib['total_body_memory'] / 1024:g} MiB ({kib['total_body_memory'] / 512:g} MiB) |",
        f"| `total_body_spool`; then 503 | {kib['total_body_spool'] / (1 << 20):g} GiB |",
        f"for {LIMITS['worker_connections'].default:,} of them",
        f"two buffers of together {64 + kib['response_buffer'] + 80:g} KiB",
    ):
        assert said in text, said


def test_settings_md_is_what_the_table_makes_of_it():
    assert (FOLDER / "docs" / "settings.md").read_text(encoding="utf-8") == page(), (
        "stale: python -m headrace.config.reference > docs/settings.md"
    )


@pytest.mark.parametrize("middleware", [Filter, Compress, ForwardedHeaders, Balancer])
def test_middleware_md_has_each_argument_with_its_default(middleware):
    text = (FOLDER / "docs" / "middleware.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {middleware.__name__}\n")[2].partition("\n## ")[0]
    said = re.findall(r"^\| `(\*, )?(\w+)` \| (?:`(.*?)`)? *\|", section, re.MULTILINE)
    taken = inspect.signature(middleware).parameters.values()
    assert said == [
        ("*, " if one.kind is one.KEYWORD_ONLY else "", one.name, shown_default(one.default)) for one in taken
    ]


def shown_default(value):
    if value is inspect.Parameter.empty:
        return ""
    return "MEDIA_TYPES" if value is MEDIA_TYPES else repr(value).replace("'", '"')
