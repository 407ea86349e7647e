"""A chart for a README: processor time of an event, and throughput over connections.

Plain SVG without a background, in colours for light and for dark pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from .cpu import WAYS
from .measure import Line, Sample
from .throughput import ANSWER_TIME, CONNECTIONS

__all__ = ["CHARTED", "chart"]

CHARTED = ("cpu", "throughput")
"""The rows that the chart shows."""

_WIDTH, _HEIGHT = 840, 300
_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
text { fill: #57606a; }
text.title { fill: #24292f; font-weight: 600; }
text.ours { fill: #0969da; font-weight: 600; }
rect.ours, circle.ours { fill: #0969da; }
rect.other, circle.other { fill: #afb8c1; }
polyline { fill: none; stroke-width: 2; stroke: #afb8c1; }
polyline.ours { stroke: #0969da; }
polyline.limit { stroke: #8c959f; stroke-width: 1.5; stroke-dasharray: 2 4; }
line { stroke: #8c959f; stroke-opacity: 0.35; }
@media (prefers-color-scheme: dark) {
  text { fill: #8d96a0; }
  text.title { fill: #e6edf3; }
  text.ours { fill: #4493f8; }
  rect.ours, circle.ours { fill: #4493f8; }
  rect.other, circle.other { fill: #626c77; }
  polyline { stroke: #626c77; }
  polyline.ours { stroke: #4493f8; }
}
"""

_TOP = 24.0
_BARS_LEFT, _BARS_FROM, _BARS_TO = 12.0, 178.0, 340.0
_BAR, _STEP = 20.0, 28.0
_LEFT, _RIGHT, _CEILING, _FLOOR = 484.0, 816.0, 52.0, 252.0
"""The edges of the plot of the throughput."""


def chart(rows: Mapping[str, Sequence[Line]]) -> str:
    """Return the chart of what was measured in the rows ``cpu`` and ``throughput``.

    Raises:
        ValueError: If neither has figures.
    """
    shapes: list[str] = []
    if rows.get("cpu"):
        shapes += _bars(rows["cpu"])
    if rows.get("throughput"):
        shapes += _curves(rows["throughput"])
    if not shapes:
        raise ValueError("the chart shows the rows cpu and throughput, and neither has figures")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-labelledby="about">'
    )
    about = "Processor time of a delivered event, and events per second over connections"
    return "\n".join(
        [
            head,
            f'<title id="about">{about}</title>',
            f"<style>{_STYLE}</style>",
            *shapes,
            "</svg>\n",
        ]
    )


def _bars(lines: Sequence[Line]) -> Iterator[str]:
    """Draw the processor time of an event, ours first, and then what it was measured beside."""
    yield _text(_BARS_LEFT, _TOP, "Processor time per delivered event, µs", "title")
    groups: list[tuple[str, list[Sample]]] = []
    for how in WAYS:
        found = [line for line in lines if line.what == f"{how}, burst"]
        beside = [line.beside for line in found if line.beside is not None]
        groups.append((how, [found[0].ours, *beside]))
    longest = max(sample.median for _, samples in groups for sample in samples)
    y = _TOP + 28.0
    for how, samples in groups:
        yield _text(_BARS_LEFT, y + 15.0, how)
        for sample in samples:
            kind = "ours" if sample is samples[0] else "other"
            width = (_BARS_TO - _BARS_FROM) * max(0.01, sample.median / longest)
            yield _text(_BARS_FROM - 8.0, y + 15.0, sample.name.partition(".post")[0], kind, "end")
            yield (
                f'<rect class="{kind}" x="{_BARS_FROM:g}" y="{y:g}" width="{width:.1f}" '
                f'height="{_BAR:g}" rx="2"/>'
            )
            yield _text(_BARS_FROM + width + 6.0, y + 15.0, f"{sample.median:,.0f}", kind)
            y += _STEP
        y += _STEP / 2


def _curves(lines: Sequence[Line]) -> Iterator[str]:
    """Draw the events a second over the connections, and the most that there can be."""
    title = f"Events per second, answers in {ANSWER_TIME * 1e3:g} ms"
    yield _text(_LEFT - 44.0, _TOP, title, "title")
    yield from _axes()
    measured = [line for line in lines if line.beside is not None and "threads" in line.beside.name]
    pairs = [(int(line.what.partition(",")[0]), line) for line in measured]
    ours = [_place(each, line.ours.median) for each, line in pairs]
    others = [_place(each, line.beside.median) for each, line in pairs if line.beside is not None]
    limit = [_place(each, each / ANSWER_TIME) for each in (0, CONNECTIONS[-1])]
    for kind, points in (("limit", limit), ("other", others), ("ours", ours)):
        shown = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline class="{kind}" points="{shown}"/>'
        for x, y in () if kind == "limit" else points:
            yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    words = (
        ("ours", "op_logging"),
        ("other", "threads with requests"),
        ("limit", "the most there can be"),
    )
    for number, (kind, name) in enumerate(words):
        y = _CEILING + 10.0 + 20.0 * number
        yield f'<polyline class="{kind}" points="{_LEFT + 12:g},{y:g} {_LEFT + 36:g},{y:g}"/>'
        yield _text(_LEFT + 44.0, y + 4.5, name, kind)


def _axes() -> Iterator[str]:
    for figure in range(0, round(CONNECTIONS[-1] / ANSWER_TIME) + 1, 500):
        _, y = _place(0, figure)
        yield f'<line x1="{_LEFT:g}" x2="{_RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(_LEFT - 8.0, y + 4.5, f"{figure:,}", anchor="end")
    for connections in CONNECTIONS:
        x, _ = _place(connections, 0)
        yield _text(x, _FLOOR + 20.0, str(connections), anchor="middle")
    yield _text((_LEFT + _RIGHT) / 2, _FLOOR + 40.0, "connections", anchor="middle")


def _place(connections: float, figure: float) -> tuple[float, float]:
    """Return where a point of the throughput is drawn."""
    most = CONNECTIONS[-1]
    x = _LEFT + (_RIGHT - _LEFT) * connections / most
    return x, _FLOOR - (_FLOOR - _CEILING) * figure * ANSWER_TIME / most


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'
