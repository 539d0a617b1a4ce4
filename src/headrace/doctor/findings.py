"""What `headrace doctor` has found: one sentence each, how bad it is, and what to do about it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

#: From good to bad.  A note is worth knowing; a warning costs something under load or at an end; an error keeps the
#: server from starting, or from doing what was asked for.
LEVELS = ("ok", "note", "warning", "error")
Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """topic: what was looked at, one of a small set of words.  text: what was found, with the figures.  action: what to
    do, "" where there is nothing to do."""

    topic: str
    level: Level
    text: str
    action: str = ""


def as_text(findings: Iterable[Finding]) -> str:
    """Lines for a terminal, under one heading for each topic, in the order in which these came up."""
    lines: list[str] = []
    topics: dict[str, list[Finding]] = {}
    for finding in findings:
        topics.setdefault(finding.topic, []).append(finding)
    for topic, found in topics.items():
        lines.append(f"{topic}:")
        for finding in found:
            lines.append(f"  {finding.level:<8} {finding.text}")
            if finding.action:
                lines.append(f"  {'':<8} -> {finding.action}")
    counts: Counter[str] = Counter(finding.level for found in topics.values() for finding in found)
    lines.append("")
    lines.append(", ".join(_counted(counts[level], level) for level in LEVELS))
    return "\n".join(lines) + "\n"


def as_json(findings: Iterable[Finding], version: str) -> str:
    """{"headrace": version, "worst": level, "findings": [{"topic", "level", "text", "action"}, ...]}"""
    rows = list(findings)
    report: dict[str, Any] = {
        "headrace": version,
        "worst": worst_of(rows),
        "findings": [asdict(finding) for finding in rows],
    }
    return json.dumps(report, indent=2) + "\n"


def worst_of(findings: Iterable[Finding]) -> Level:
    """The worst level among them; "ok" of none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")


def _counted(number: int, level: str) -> str:
    return f"{number} ok" if level == "ok" else f"{number} {level}{'' if number == 1 else 's'}"
