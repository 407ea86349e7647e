"""From dictConfig, fileConfig, code, and the environment alone."""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
import threading
from pathlib import Path
from typing import Any

import pytest

from op_logging import (
    ConfigurationError,
    OpenPanelHandler,
)
from support.clients import CLIENT_ID, SECRET, installed
from support.scripted_server import ScriptedServer


@pytest.fixture
def credentials(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials and the server's address in the environment."""
    monkeypatch.setenv("OPENPANEL_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("OPENPANEL_CLIENT_SECRET", SECRET)
    monkeypatch.setenv("OPENPANEL_API_URL", server.url)
    monkeypatch.setenv("OPENPANEL_FLUSH_INTERVAL", "0.01")


def finish(handler: OpenPanelHandler) -> None:
    """Deliver what waits and end the client's threads."""
    assert handler.client.close(5)


def dict_config(**handler: Any) -> dict[str, Any]:
    """Return a configuration with a console and an OpenPanel handler on one logger."""
    return {
        "version": 1,
        "disable_existing_loggers": True,
        "formatters": {
            "plain": {"format": "%(levelname)s %(message)s"},
            "events": {"()": "op_logging.OpenPanelFormatter", "static_fields": {"app": "shop"}},
            "message": {"class": "op_logging.OpenPanelFormatter", "format": "%(message)s"},
        },
        "handlers": {
            "console": {"class": "logging.NullHandler", "formatter": "plain"},
            "openpanel": handler,
        },
        "loggers": {
            "configured": {
                "level": "INFO",
                "handlers": ["console", "openpanel"],
                "propagate": False,
            }
        },
    }


@pytest.mark.parametrize("how", ["class", "()"])
def test_dict_config_by_class_and_by_factory(server: ScriptedServer, how: str) -> None:
    """With options as keywords, beside another handler."""
    logging.config.dictConfig(
        dict_config(
            **{how: "op_logging.OpenPanelHandler"},
            client_id=CLIENT_ID,
            client_secret=SECRET,
            api_url=server.url,
            level="INFO",
            flush_interval=0.01,
            timeout=[1, 2],
            global_properties={"env": how},
        )
    )
    logger = logging.getLogger("configured")
    logger.info("Paid", extra={"event": "order_paid"})
    logger.debug("Not at this level", extra={"event": "debugging"})
    finish(installed(logger))
    (request,) = server.requests
    assert request.call["payload"]["properties"]["env"] == how


@pytest.mark.parametrize(
    ("formatter", "expected"),
    [("plain", {}), ("events", {"app": "shop"}), ("message", {"message": "Paid"})],
)
@pytest.mark.usefixtures("credentials")
def test_formatters_of_a_configuration(
    server: ScriptedServer, formatter: str, expected: dict[str, str]
) -> None:
    """Ours is used, with its options; an unrelated one does no harm."""
    handler = {"class": "op_logging.OpenPanelHandler", "formatter": formatter}
    logging.config.dictConfig(dict_config(**handler))
    logger = logging.getLogger("configured")
    logger.info("Paid", extra={"event": "order_paid"})
    finish(installed(logger))
    properties = server.requests[0].call["payload"]["properties"]
    del properties["__timestamp"]
    assert properties == expected


@pytest.mark.usefixtures("credentials")
def test_file_config(server: ScriptedServer, tmp_path: Path) -> None:
    """An INI file, with options as keywords."""
    path = tmp_path / "logging.ini"
    path.write_text(
        """\
[loggers]
keys = root, shop
[handlers]
keys = openpanel
[formatters]
keys = events
[logger_root]
handlers =
[logger_shop]
level = INFO
handlers = openpanel
qualname = configured.by.file
[handler_openpanel]
class = op_logging.OpenPanelHandler
formatter = events
args = ()
kwargs = {"batch_size": 1, "event_key": "analytics"}
[formatter_events]
class = op_logging.OpenPanelFormatter
format = %(levelname)s
"""
    )
    logging.config.fileConfig(path, disable_existing_loggers=False)
    logger = logging.getLogger("configured.by.file")
    logger.info("Paid", extra={"analytics": "order_paid", "event": "other"})
    finish(installed(logger))
    payload = server.requests[0].call["payload"]
    assert payload["name"] == "order_paid"
    assert payload["properties"]["levelname"] == "INFO"
    assert payload["properties"]["event"] == "other"


@pytest.mark.usefixtures("credentials")
def test_the_environment_alone(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No argument at all; keyword beats environment where there is one."""
    monkeypatch.setenv("OPENPANEL_GLOBAL_PROPERTIES", '{"env": "prod"}')
    monkeypatch.setenv("OPENPANEL_BATCH_SIZE", "7")
    handler = OpenPanelHandler()
    assert handler.config.batch_size == 7
    assert OpenPanelHandler(batch_size=8).config.batch_size == 8
    logger = logging.getLogger("configured.by.environment")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.info("Paid", extra={"event": "order_paid"})
    finish(handler)
    logger.removeHandler(handler)
    assert server.requests[0].call["payload"]["properties"]["env"] == "prod"
    assert server.requests[0].headers["openpanel-client-secret"] == SECRET


def test_a_wrong_option_raises_where_it_is_configured() -> None:
    """With option, value and what is allowed; logging is left with no half-made handler."""
    known = len(logging._handlerList)  # type: ignore[attr-defined]  # what a shutdown goes through
    with pytest.raises(ConfigurationError, match=r"batch_size=0 .* 1 or more"):
        OpenPanelHandler(batch_size=0)
    with pytest.raises(ValueError, match="openpanel"):
        logging.config.dictConfig(
            dict_config(**{"class": "op_logging.OpenPanelHandler", "flush_intervall": 1})
        )
    assert len(logging._handlerList) == known  # type: ignore[attr-defined]


def test_dict_config_twice_keeps_what_was_logged_before(server: ScriptedServer) -> None:
    """Reconfiguring loses nothing, and the new handler goes on with the same client."""
    config = dict_config(
        **{"class": "op_logging.OpenPanelHandler"},
        client_id=CLIENT_ID,
        client_secret=SECRET,
        api_url=server.url,
    )
    logging.config.dictConfig(config)
    logger = logging.getLogger("configured")
    first = installed(logger)
    logger.info("One", extra={"event": "one"})
    logging.config.dictConfig(config)
    logger.info("Two", extra={"event": "two"})
    second = installed(logger)
    assert first is not second
    assert first.client is second.client
    finish(second)
    assert sorted(server.names) == ["one", "two"]


class _Meeting(logging.Filter):
    """Made by dictConfig, which holds logging's lock meanwhile."""

    reached = threading.Event()

    def __init__(self) -> None:
        super().__init__()
        self.reached.set()


class _NeedsLock(logging.Filter):
    """Meets a diagnosis while somebody else configures logging, and needs logging's lock."""

    said = threading.Event()

    def filter(self, record: logging.LogRecord) -> bool:
        """Wait until dictConfig has the lock, then ask for it."""
        self.said.set()
        _Meeting.reached.wait(5)
        logging.getLogger(f"needed.for.{record.name}")
        return True


@pytest.mark.usefixtures("credentials")
def test_a_client_that_has_to_warn_does_not_deadlock_with_dict_config(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever holds logging's lock makes a client, while the maker of another needs that lock."""
    _Meeting.reached.clear()
    _NeedsLock.said.clear()
    monkeypatch.delenv("OPENPANEL_CLIENT_SECRET")
    nosy = _NeedsLock()
    logging.getLogger("op_logging").addFilter(nosy)
    config = dict_config(**{"class": "op_logging.OpenPanelHandler", "client_secret": SECRET})
    config["disable_existing_loggers"] = False
    config["filters"] = {"meeting": {"()": _Meeting}}
    try:
        warning = threading.Thread(target=OpenPanelHandler, daemon=True)
        warning.start()
        assert _NeedsLock.said.wait(5)
        configuring = threading.Thread(
            target=logging.config.dictConfig, args=(config,), daemon=True
        )
        configuring.start()
        for thread in (configuring, warning):
            thread.join(10)
            assert not thread.is_alive()
    finally:
        logging.getLogger("op_logging").removeFilter(nosy)
