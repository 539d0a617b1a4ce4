"""Rounds in, medians and paired ratios out, as markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from harness.load import Round
from harness.servers import SERVERS


@dataclass
class Results:
    """Everything that one run of run.py saw.  rounds[workload][server][turn] is None where a turn failed."""

    settings: dict[str, Any]
    machine: dict[str, str]
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    rounds: dict[str, dict[str, list[Round | None]]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, workload: str, server: str, measured: Round | None) -> None:
        self.rounds.setdefault(workload, {}).setdefault(server, []).append(measured)

    def fail(self, workload: str, server: str, reason: str) -> None:
        self.failures.setdefault(workload, {})[server] = reason


def all_cpu(measured: Round) -> float:
    return measured.cpu_us


def user_cpu(measured: Round) -> float:
    return measured.user_us


def paired_ratio(
    mine: Sequence[Round | None], others: Sequence[Round | None], figure: Callable[[Round], float]
) -> float | None:
    """The middle of mine/other over the turns that both have; noise common to one turn falls out."""
    ratios = [figure(a) / figure(b) for a, b in zip(mine, others) if a and b and figure(b)]
    return median(ratios) if ratios else None


def micro(value: float) -> str:
    """Three significant figures, thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def share(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def row(server: str, turns: Sequence[Round | None], base: Sequence[Round | None]) -> list[str] | None:
    done = [turn for turn in turns if turn]
    if not done:
        return None
    own = turns is base
    return [
        server,
        micro(median(turn.cpu_us for turn in done)),
        micro(median(turn.user_us for turn in done)),
        micro(median(turn.system_us for turn in done)),
        "" if own else share(paired_ratio(base, turns, all_cpu)),
        "" if own else share(paired_ratio(base, turns, user_cpu)),
        f"{median(turn.requests_per_s for turn in done):,.0f}",
        f"{median(turn.p99_ms for turn in done):.2f}",
        f"{median(turn.busy for turn in done) * 100:.0f} %",
        str(len(done)),
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A markdown table, numbers to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]


def workload_section(results: Results, workload: str, against: str) -> list[str]:
    by_server = results.rounds.get(workload, {})
    base = by_server.get(against, [])
    rows = [made for server, turns in by_server.items() if (made := row(server, turns, base))]
    rows.sort(key=lambda cells: float(cells[1].replace(",", "")))
    ratios = (f"{against} / it", "user / its user")
    header = ("server", "CPU us", "user", "system", *ratios, "requests/s", "p99 ms", "busy", "turns")
    lines = ["", f"### {workload}", "", *table(header, rows)]
    failed = results.failures.get(workload, {})
    return lines + ([""] if failed else []) + [f"- {server}: {reason}" for server, reason in failed.items()]


def summary(results: Results) -> list[str]:
    """All workloads at a glance: CPU microseconds per request."""
    workloads = list(results.rounds)
    servers = list(dict.fromkeys(server for by_server in results.rounds.values() for server in by_server))
    rows = []
    for server in servers:
        cells = [server]
        for workload in workloads:
            done = [turn.cpu_us for turn in results.rounds[workload].get(server, []) if turn]
            cells.append(micro(median(done)) if done else "")
        rows.append(cells)
    return table(("server", *workloads), rows)


def machine_line(date: str, machine: dict[str, str]) -> str:
    congestion = machine["tcp_congestion_control"]
    return f"{date}; {machine['processor']}; {machine['system']}; TCP congestion control {congestion}."


def version_lines(versions: dict[str, dict[str, str]]) -> list[str]:
    lines = []
    for server, found in versions.items():
        version = found.get(SERVERS[server].package, "")
        note = SERVERS[server].note
        lines.append(
            f"- {' '.join(filter(None, (server, version)))} on CPython {found['python']}"
            + (f": {note}" if note else "")
        )
    return lines


def heading(results: Results) -> list[str]:
    settings = results.settings
    awake = ", whose core is kept awake" if settings["awake"] else ""
    return [
        machine_line(settings["date"], results.machine),
        f"{settings['rounds']} turns of {settings['seconds']} s, {settings['connections']} connections, "
        f"one process and one thread on one core, wrk on another{awake}.",
        "",
        *version_lines(results.versions),
    ]


def markdown(results: Results, against: str) -> str:
    lines = ["# Results", "", *heading(results), ""]
    lines += ["## CPU microseconds per request, medians", "", *summary(results)]
    lines += ["", "## Each workload"]
    for workload in results.rounds:
        lines += workload_section(results, workload, against)
    return "\n".join(lines) + "\n"


def save(results: Results, against: str, stem: Path) -> None:
    """STEM.md and STEM.json; the JSON has every turn."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".md").write_text(markdown(results, against))
    stem.with_suffix(".json").write_text(json.dumps(asdict(results), indent=1) + "\n")
