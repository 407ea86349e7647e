"""Every block of code in the README runs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from sybil import Document, Sybil
from sybil.example import Example
from sybil.parsers.markdown import PythonCodeBlockParser

from op_logging.inspector import InspectorServer
from support.clients import CLIENT_ID, SECRET

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[InspectorServer]:
    """A stand-in that the README's code finds through the environment."""
    with InspectorServer() as server:
        monkeypatch.setenv("OPENPANEL_API_URL", server.url)
        monkeypatch.setenv("OPENPANEL_CLIENT_ID", CLIENT_ID)
        monkeypatch.setenv("OPENPANEL_CLIENT_SECRET", SECRET)
        # The stand-in writes profiles at once: nobody has to wait for it.
        monkeypatch.setenv("OPENPANEL_COUNTER_INTERVAL", "0.1")
        yield server
        structlog.reset_defaults()


def examples() -> list[Example]:
    """Return the README's Python blocks."""
    sybil = Sybil(parsers=[PythonCodeBlockParser()])
    document: Document = sybil.parse(README)
    return list(document.examples())


@pytest.mark.usefixtures("capsys")
def test_the_readmes_code_runs_and_its_events_arrive(stand_in: InspectorServer) -> None:
    """From top to bottom, as one program."""
    import op_logging  # noqa: PLC0415 - the handlers must not exist before the environment does

    blocks = examples()
    assert len(blocks) == 6
    for block in blocks:
        block.evaluate()
    for handler in [*logging.getLogger().handlers, *logging.getLogger("shop").handlers]:
        handler.flush()
    logging.getLogger("shop").handlers.clear()
    assert op_logging.flush(10)
    stored = {event.name for event in stand_in.store.events}
    assert {"order_paid", "page_view", "revenue", "raw"} <= stored
    assert {call.message for call in stand_in.store.refused} == {"Alias is not supported"}
    profile = stand_in.store.profiles["u1"]
    assert (profile.first_name, profile.properties["visits"]) == ("Ada", "1")
    assert stand_in.store.assignments == {"u1": ("g1",)}


def test_every_block_is_run_somewhere() -> None:
    """Python here; the two commands by the script that CI runs."""
    text = README.read_text()
    kinds = [kind for kind, _ in BLOCKS.findall(text)]
    assert set(kinds) == {"python", "sh"}
    assert kinds.count("sh") == 2
    for marker in ("demo-command", "test-command"):
        block = text.split(f"<!-- {marker} -->\n", 1)[1]
        assert block.startswith("```sh\npython3 -m venv")


def test_the_first_screen_shows_six_lines_of_code() -> None:
    """And what it is."""
    kind, code = BLOCKS.findall(README.read_text())[0]
    assert kind == "python"
    assert len(code.strip().splitlines()) <= 6
