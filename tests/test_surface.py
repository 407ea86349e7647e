"""What the package shows: names, versions, and its promises about imports."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

import op_logging

NAMES = [
    "Alias",
    "AssignGroup",
    "ConfigurationError",
    "Decrement",
    "DeliveryStats",
    "EventFilter",
    "Group",
    "Identify",
    "Increment",
    "InvalidCallError",
    "OpenPanelClient",
    "OpenPanelConfig",
    "OpenPanelFormatter",
    "OpenPanelHandler",
    "OpenPanelProcessor",
    "Revenue",
    "Track",
    "__version__",
    "flush",
]


def test_the_public_names_are_these() -> None:
    """A new one is a decision, and a lost one breaks programs."""
    assert sorted(op_logging.__all__) == NAMES
    assert all(hasattr(op_logging, name) for name in NAMES)


def test_the_version_stands_in_one_place() -> None:
    """The metadata's is the module's."""
    assert version("op-logging") == op_logging.__version__


def test_three_packages_are_required_and_none_is_capped() -> None:
    """Everything else is an extra."""
    required = [each for each in requires("op-logging") or [] if "extra ==" not in each]
    assert sorted(each.partition(">=")[0] for each in required) == [
        "python-json-logger",
        "requests",
        "structlog",
    ]
    assert not any("<" in each or "==" in each for each in required)


def test_the_package_is_typed() -> None:
    """Type checkers look for the marker."""
    assert (Path(op_logging.__file__).parent / "py.typed").exists()


def test_importing_it_starts_no_thread_and_loads_no_extra() -> None:
    """Nor does it touch logging's configuration."""
    code = """
import logging, sys, threading
import op_logging
assert threading.active_count() == 1
assert logging.getLogger().handlers == []
assert not {"uvicorn", "hypothesis"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
