"""Measures what the package costs on this machine, each figure beside its reference.

From the repository's root, with the ``dev`` extra installed::

    python -m tests.benchmarks                  the whole table, in less than three minutes
    python -m tests.benchmarks --short          a little of everything, in seconds: does it work?
    python -m tests.benchmarks --only cpu       one row; may be given more than once
    python -m tests.benchmarks --json FILE      everything that was measured, as JSON
    python -m tests.benchmarks --chart FILE     a chart of processor time and throughput, as SVG

A figure is the median of the repetitions, with their range. Whoever is compared takes turns with
its reference, and only figures of one repetition are held against each other, since a machine's
speed drifts. A goal that is missed is shown and is no failure: the status is 1 only where something
raised, or where an event was not delivered.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from .chart import CHARTED, chart
from .loopback import serving
from .measure import Bench, Line
from .report import HEAD, as_json, goals, machine, part
from .rows import ROWS, title

_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows that are asked for; return the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    names = given.only or list(ROWS)
    if given.chart and not set(names) & set(CHARTED):
        parser.error(f"--chart shows {' and '.join(CHARTED)}, and neither is to be run")
    _clean_environment()
    began = time.perf_counter()
    print(machine())
    print(HEAD)
    rows = _run(names, short=given.short)
    print(f"\n{_summary(rows)}, {time.perf_counter() - began:.0f} s")
    found = {name: lines for name, lines in rows.items() if lines is not None}
    if given.json:
        given.json.write_text(json.dumps(as_json(found), indent=1) + "\n")
    if given.chart:
        given.chart.write_text(chart(found))
    return 0 if len(found) == len(rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure what the package costs, beside references.",
        epilog="\n".join(["rows:", *(f"  {name:<11} {title(name)}" for name in ROWS)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--short", action="store_true", help="only see that everything works")
    parser.add_argument("--only", metavar="ROW", action="append", choices=list(ROWS))
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what was measured")
    parser.add_argument("--chart", metavar="FILE", type=Path, help="write a chart, as SVG")
    return parser


def _clean_environment() -> None:
    """Take the options and proxies of whoever runs this out of the environment."""
    for name in list(os.environ):
        if name.startswith("OPENPANEL_") or name.lower() in _PROXIES:
            del os.environ[name]


def _run(names: Sequence[str], *, short: bool) -> dict[str, list[Line] | None]:
    """Run rows and print them one by one; None for a row that failed."""
    found: dict[str, list[Line] | None] = {}
    with serving() as (plain, secure):
        bench = Bench(short, plain, secure)
        for name in names:
            began = time.perf_counter()
            try:
                lines = ROWS[name](bench)
                print(part(name, title(name), lines, time.perf_counter() - began), flush=True)
                found[name] = lines
            except Exception:  # noqa: BLE001 - one row must not cost the others
                print(f"\n{name}: {title(name)}\n  FAILED", flush=True)
                traceback.print_exc()
                found[name] = None
    return found


def _summary(rows: dict[str, list[Line] | None]) -> str:
    failed = [name for name, lines in rows.items() if lines is None]
    words = goals([line for lines in rows.values() for line in lines or ()])
    return words + (f", FAILED: {', '.join(failed)}" if failed else "")


if __name__ == "__main__":
    sys.exit(main())
