"""What is measured, and how: interleaved repetitions, each contender beside its reference.

The speed of a machine drifts by more than what is to be shown. So only figures of the same
repetition are compared: a ratio is the median of the ratios of all repetitions.
"""

from __future__ import annotations

import enum
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from .loopback import Server

__all__ = ["Bench", "Goal", "Line", "Sample", "Versus", "at_rate", "constant", "rotated"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Bench:
    """What every row is given.

    Attributes:
        short: Whether to do only as much as shows that everything works.
        plain: A server that speaks plain HTTP.
        secure: A server that speaks TLS.
    """

    short: bool
    plain: Server
    secure: Server

    def repetitions(self, full: int) -> int:
        """Return how many repetitions to make where ``full`` would be right."""
        return 1 if self.short else full

    def amount(self, full: int) -> int:
        """Return how many events, calls or rounds to take where ``full`` would be right."""
        return max(10, full // 20) if self.short else full

    def seconds(self, full: float) -> float:
        """Return for how long to go on where ``full`` seconds would be right."""
        return full / 6 if self.short else full


@dataclass(frozen=True)
class Sample:
    """What one contender reached: a figure for each repetition."""

    name: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure in the middle."""
        return median(self.values)

    @property
    def low(self) -> float:
        """The smallest figure."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest figure."""
        return max(self.values)


def constant(name: str, value: float, like: Sample) -> Sample:
    """Return something known as a sample that can stand beside a measured one."""
    return Sample(name, (value,) * len(like.values))


class Versus(enum.Enum):
    """How a figure is held against its reference."""

    RATIO = "x"
    DIFFERENCE = "more"
    NOTHING = ""
    """It stands for itself."""


@dataclass(frozen=True)
class Goal:
    """What is to be reached: at most so much, or at least."""

    limit: float
    at_least: bool = False

    def reached_by(self, figure: float) -> bool:
        """Tell whether a figure is good enough."""
        return figure >= self.limit if self.at_least else figure <= self.limit


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: What was measured.
        unit: The unit of both samples.
        ours: What op_logging reached.
        beside: What the reference reached in the same repetitions.
        versus: How they are held against each other.
        goal: What is to come of that; None: nothing, it is told only.
    """

    what: str
    unit: str
    ours: Sample
    beside: Sample | None = None
    versus: Versus = Versus.RATIO
    goal: Goal | None = None

    @property
    def compared(self) -> Sample:
        """Ours held against the reference, repetition by repetition."""
        if self.beside is None or self.versus is Versus.NOTHING:
            return self.ours
        pairs = zip(self.ours.values, self.beside.values, strict=True)
        if self.versus is Versus.DIFFERENCE:
            return Sample("difference", tuple(ours - other for ours, other in pairs))
        return Sample("ratio", tuple(ours / other if other else 0.0 for ours, other in pairs))

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        return None if self.goal is None else self.goal.reached_by(self.compared.median)


def rotated(
    contenders: Mapping[str, Callable[[], _T]], repetitions: int
) -> dict[str, Sequence[_T]]:
    """Run each contender once a repetition, each repetition beginning with the next one."""
    names = list(contenders)
    found: dict[str, list[_T]] = {name: [] for name in names}
    for repetition in range(repetitions):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()  # what the one before left behind is no cost of this one
            found[name].append(contenders[name]())
    return dict(found)


def at_rate(action: Callable[[], object], rate: float, seconds: float, burst: int = 1) -> int:
    """Do something ``rate`` times a second, ``burst`` times in a row; return how many times.

    What the machine held up is made up for, so that everybody gets to do the same.
    """
    turns = max(1, round(rate * seconds / burst))
    begin = time.perf_counter()
    for turn in range(turns):
        wait = begin + turn * burst / rate - time.perf_counter()
        if wait > 0.0:
            time.sleep(wait)
        for _ in range(burst):
            action()
    return turns * burst
