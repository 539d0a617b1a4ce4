"""The tables and the JSON of threads.py: medians over the rounds, and ratios paired by round."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from harness.contest import Versions
from harness.report import machine_line, micro, table, version_lines
from harness.turn import BARE_THREADS, Column, Entry, Figures, Scenario

Turns = list[Figures | None]  # None where a turn failed


@dataclass
class ThreadResults:
    """Everything that one run of threads.py saw."""

    settings: dict[str, Any]
    machine: dict[str, str]
    versions: Versions
    turns: dict[str, dict[str, Turns]] = field(default_factory=dict)  # by workload, then by entry
    failures: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, scenario: Scenario, entry: Entry, figures: Figures | None) -> None:
        self.turns.setdefault(scenario.name, {}).setdefault(entry.label, []).append(figures)

    def fail(self, scenario: Scenario, entry: Entry, reason: str) -> None:
        self.failures.setdefault(scenario.name, {})[entry.label] = reason


def middle(turns: Turns, key: str) -> str:
    values = [figures[key] for figures in turns if figures and key in figures]
    return micro(median(values)) if values else ""


def paired_ratio(turns: Turns, base: Turns, key: str) -> str:
    pairs = [(mine, other) for mine, other in zip(turns, base) if mine and other and key in mine and other.get(key)]
    return f"{median(mine[key] / other[key] for mine, other in pairs):.3f}" if pairs else ""


def base_of(label: str, scenario: Scenario, by_entry: dict[str, Turns]) -> Turns:
    """The turns that those of `label` are compared with."""
    server, _, threads = label.rpartition(" x")
    base = f"{BARE_THREADS} x{threads}" if scenario.floor else f"{server} x1"
    return [] if base == label else by_entry.get(base, [])


def section(scenario: Scenario, results: ThreadResults) -> list[str]:
    by_entry = results.turns[scenario.name]
    rows = []
    for label, turns in by_entry.items():
        base = base_of(label, scenario, by_entry)
        done = sum(figures is not None for figures in turns)
        cells = [middle(turns, column.key) for column in scenario.columns]
        ratios = [paired_ratio(turns, base, column.key) for column in scenario.ratios]
        rows.append([label, *cells, *ratios, str(done)])
    columns: Sequence[Column] = (*scenario.columns, *scenario.ratios)
    header = ("server x threads", *(column.heading for column in columns), "turns")
    failed = [f"- {label}: {why}" for label, why in results.failures.get(scenario.name, {}).items()]
    return ["", f"## {scenario.name}", "", scenario.about, "", *table(header, rows), *([""] if failed else []), *failed]


def markdown(results: ThreadResults, scenarios: Sequence[Scenario]) -> str:
    settings = results.settings
    awake = ", wrk's kept awake" if settings["awake"] else ""
    lines = ["# Results with threads", "", machine_line(settings["date"], results.machine)]
    lines += [
        f"{settings['rounds']} turns of {settings['seconds']} s; one process on one core, the load on another{awake}.",
        "",
        *version_lines(results.versions),
    ]
    for scenario in scenarios:
        if scenario.name in results.turns:
            lines += section(scenario, results)
    return "\n".join(lines) + "\n"


def save(results: ThreadResults, scenarios: Sequence[Scenario], stem: Path) -> None:
    """STEM.md and STEM.json; the JSON has every turn."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".md").write_text(markdown(results, scenarios))
    stem.with_suffix(".json").write_text(json.dumps(asdict(results), indent=1) + "\n")
