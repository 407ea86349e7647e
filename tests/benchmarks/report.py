"""The figures as a table for people, and as JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import op_logging

from .measure import Goal, Line, Sample, Versus

__all__ = ["HEAD", "as_json", "goals", "machine", "part"]

_WIDTHS = (38, 24, 49, 20, 9)
_WORDS = {None: "", True: "yes", False: "NO"}


def machine() -> str:
    """Return what the figures hold for."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"op_logging {op_logging.__version__}, {platform.python_implementation()} "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} processors{load}"
    )


def part(name: str, title: str, lines: Sequence[Line], seconds: float) -> str:
    """Return a row's part of the table, and how long it took."""
    return "\n".join(
        [f"\n{name}: {title} ({seconds:.0f} s)", *(_aligned(_cells(line)) for line in lines)]
    )


def goals(lines: Sequence[Line]) -> str:
    """Return how many goals were reached."""
    found = [line.reached for line in lines if line.reached is not None]
    return f"{sum(found)} of {len(found)} goals reached"


def as_json(rows: Mapping[str, Sequence[Line]]) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "machine": machine(),
        "rows": {name: [_line(line) for line in lines] for name, lines in rows.items()},
    }


def _aligned(cells: Sequence[str]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False)]
    return "  " + " ".join([*padded, *cells[len(_WIDTHS) :]]).rstrip()


HEAD = _aligned(["", "op_logging", "beside it", "compared", "goal", "reached"])


def _cells(line: Line) -> list[str]:
    beside = "" if line.beside is None else f"{line.beside.name} {_range(line.beside)}"
    compared = ""
    if line.beside is not None and line.versus is not Versus.NOTHING:
        unit = "x" if line.versus is Versus.RATIO else ""
        compared = _range(line.compared, unit)
    goal = "" if line.goal is None else _goal(line.goal, line.versus)
    what = f"{line.what}, {line.unit}"
    return [what, _range(line.ours), beside, compared, goal, _WORDS[line.reached]]


def _range(sample: Sample, unit: str = "") -> str:
    if sample.low == sample.high:
        return f"{_number(sample.median)}{unit}"
    ends = f"[{_number(sample.low)}-{_number(sample.high)}]"
    return f"{_number(sample.median)}{unit} {ends}"


def _goal(goal: Goal, versus: Versus) -> str:
    sign = ">=" if goal.at_least else "<="
    return f"{sign} {goal.limit:,g}{'x' if versus is Versus.RATIO else ''}"


def _number(figure: float) -> str:
    if figure == int(figure):
        return f"{figure:,.0f}"
    decimals = 0 if abs(figure) >= 100 else 1 if abs(figure) >= 10 else 2
    return f"{figure:,.{decimals}f}"


def _line(line: Line) -> dict[str, Any]:
    return {
        "what": line.what,
        "unit": line.unit,
        "ours": _sample(line.ours),
        "beside": None if line.beside is None else _sample(line.beside),
        "versus": line.versus.name.lower(),
        "compared": _sample(line.compared),
        "goal": None
        if line.goal is None
        else {"limit": line.goal.limit, "at_least": line.goal.at_least},
        "reached": line.reached,
    }


def _sample(sample: Sample) -> dict[str, Any]:
    return {"name": sample.name, "median": sample.median, "values": list(sample.values)}
