"""The benchmarks still run: a little of each, without a look at the times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from benchmarks.rows import ROWS

ROOT = Path(__file__).parents[1]


def test_the_short_form_runs_every_row(tmp_path: Path) -> None:
    """Nothing raises, everything is delivered, and the figures and the chart are written."""
    files = ["--json", str(tmp_path / "figures.json"), "--chart", str(tmp_path / "chart.svg")]
    found = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--short", *files],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=ROOT,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")
    for name in ROWS:
        assert f"\n{name}: " in found.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {name for name, lines in figures["rows"].items() if lines} == set(ROWS)
    chart = ET.parse(tmp_path / "chart.svg")  # noqa: S314 - it is our own
    assert chart.getroot().tag.endswith("svg")
