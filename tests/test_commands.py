"""The command line, the demo, and the examples, as a person runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from op_logging.__main__ import main
from op_logging.inspector import InspectorServer
from support.clients import CLIENT_ID, SECRET

ROOT = Path(__file__).parents[1]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program with this interpreter."""
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


def test_the_demo_shows_what_was_stored_and_what_was_refused() -> None:
    """It ends with 0, and how to go on from there."""
    found = run("-m", "op_logging", "demo")
    assert (found.returncode, found.stderr) == (0, "")
    for part in (
        "order_paid of ada",
        "basket_add of ada",
        "revenue of ada, revenue 4250",
        "total = 42.5",
        "lines.0.sku = teapot",
        "ada: Ada, ada@example.com",
        "orders = 1",
        "'search ../../etc/passwd': body/payload/name Event name contains blocked content (400)",
        "6 accepted = 5 delivered + 1 rejected {'bad_request': 1} + 0 dropped + 0 waiting",
        "OPENPANEL_CLIENT_ID",
    ):
        assert part in found.stdout
    assert "level = info" not in found.stdout


@pytest.mark.parametrize(
    ("name", "events"),
    [
        ("shop.py", ["order_paid", "revenue"]),
        ("entries.py", ["order_paid"]),
    ],
)
def test_the_examples_deliver(name: str, events: list[str]) -> None:
    """Configured by the environment, against the stand-in."""
    with InspectorServer(client_id=CLIENT_ID, client_secret=SECRET) as server:
        found = run(
            str(ROOT / "examples" / name),
            OPENPANEL_API_URL=server.url,
            OPENPANEL_CLIENT_ID=CLIENT_ID,
            OPENPANEL_CLIENT_SECRET=SECRET,
        )
        assert found.returncode == 0
        stored = server.store.events
        assert server.store.refused == []
    assert sorted(event.name for event in stored) == events
    assert {event.properties["app"] for event in stored} == {"shop"}
    assert {event.profile_id for event in stored} == {"ada"}
    assert "Not an event" in found.stderr + found.stdout


def test_the_example_of_lines_writes_one() -> None:
    """One event, one line."""
    (line,) = run(str(ROOT / "examples" / "lines.py")).stdout.splitlines()
    assert json.loads(line)["payload"]["name"] == "order_paid"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["nope"], "invalid choice"),
        (["inspect", "--port", "99999"], "is no port: use 0 to 65535"),
        (["inspect", "--port", "x"], "is no port"),
        (["inspect", "--profile-flush", "-1"], "is no time"),
        (["inspect", "--profile-flush", "soon"], "is no time"),
    ],
)
def test_wrong_arguments_end_with_2_and_a_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what is allowed."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_what_cannot_be_done_ends_with_2_and_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a traceback."""
    assert main(["inspect", "--host", "0.0.0.0"]) == 2
    found = capsys.readouterr()
    assert found.err == (
        "op-logging inspect: host '0.0.0.0' is no loopback address: "
        "use 127.0.0.1, ::1 or localhost\n"
    )


@pytest.mark.parametrize("command", ["demo", "inspect"])
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--help``."""
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "OpenPanel's server" in capsys.readouterr().out


def test_without_its_extra_the_stand_in_says_what_to_install() -> None:
    """And the package itself works without it."""
    code = """
import sys
sys.modules["uvicorn"] = None  # as if it were not installed: uninstalling it would hit other tests
import op_logging
from op_logging.__main__ import main
sys.exit(main(["demo"]))
"""
    found = run("-c", code)
    assert found.returncode == 2
    assert found.stderr == (
        'op-logging demo: the stand-in needs its extra: pip install "op-logging[inspector]"\n'
    )
