"""Options: keyword beats environment beats default, and errors that help."""

from __future__ import annotations

from typing import Any

import pytest

from op_logging import ConfigurationError, OpenPanelConfig

SECRET = "sec_0123456789abcdef"
CLIENT_ID = "9d0a7c3e-1f52-4a86-b0cd-6f1e2a3b4c5d"


def resolve(environ: dict[str, str] | None = None, /, **options: Any) -> OpenPanelConfig:
    """Resolve options without the environment of the tests."""
    return OpenPanelConfig.from_options(options, environ or {})


@pytest.mark.parametrize(
    ("name", "native", "text", "value", "default"),
    [
        ("client_id", CLIENT_ID, f" {CLIENT_ID}\n", CLIENT_ID, None),
        ("client_secret", SECRET, SECRET, SECRET, None),
        ("api_url", "http://localhost:3333/", "http://localhost:3333/track",
         "http://localhost:3333", "https://api.openpanel.dev"),
        ("enabled", False, "off", False, True),
        ("event_key", "analytics", "analytics", "analytics", "event"),
        ("marker", "_track", "_track", "_track", "_event"),
        ("global_properties", {"a": 1}, '{"a": 1}', {"a": 1}, {}),
        ("flush_interval", 0, "0", 0.0, 0.5),
        ("batch_size", 7, "7", 7, 100),
        ("max_connections", 64, "64", 64, 16),
        ("queue_size", 50, "50", 50, 10_000),
        ("overflow", "drop_oldest", "drop_oldest", "drop_oldest", "drop_newest"),
        ("max_event_bytes", 1024, "1024", 1024, 65_536),
        ("timeout", (1, 2.5), "1, 2.5", (1.0, 2.5), (5.0, 15.0)),
        ("timeout", 3, "3", (3.0, 3.0), (5.0, 15.0)),
        ("max_backoff", 10, "10", 10.0, 30.0),
        ("max_age", 60, "60", 60.0, 86_400.0),
        ("retry_ambiguous", False, "False", False, True),
        ("shutdown_timeout", 0, "0.0", 0.0, 5.0),
    ],
)  # fmt: skip
def test_each_option_from_each_source(
    name: str, native: object, text: str, value: object, default: object
) -> None:
    """Native from code and dictConfig, as a text from an INI file or the environment."""
    variable = {f"OPENPANEL_{name.upper()}": text}
    assert getattr(resolve(), name) == default
    assert getattr(resolve(**{name: native}), name) == value
    assert getattr(resolve(**{name: text}), name) == value
    assert getattr(resolve(variable), name) == value
    assert getattr(resolve(variable, **{name: native}), name) == value
    assert getattr(resolve(variable, **{name: None}), name) == value


def test_keyword_beats_environment_beats_default() -> None:
    """And an empty variable is none."""
    environ = {"OPENPANEL_BATCH_SIZE": "5", "OPENPANEL_QUEUE_SIZE": ""}
    config = resolve(environ, batch_size=9)
    assert (config.batch_size, config.queue_size) == (9, 10_000)
    assert resolve(environ).batch_size == 5


def test_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is given."""
    monkeypatch.setenv("OPENPANEL_CLIENT_ID", CLIENT_ID)
    assert OpenPanelConfig.from_options({}).client_id == CLIENT_ID


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_id", ""),
        ("client_id", 5),
        ("client_id", "a\nb"),
        ("api_url", "ftp://x.y"),
        ("api_url", "localhost:3333"),
        ("api_url", "https://"),
        ("api_url", "https://x.y/?a=1"),
        ("api_url", "https://x.y/#a"),
        ("api_url", "https://x.y/?"),
        ("api_url", "https://x.y/#"),
        ("api_url", "https://x.y/a b"),
        ("api_url", "http://x.y:99999"),
        ("api_url", "https://[::1"),
        ("enabled", "perhaps"),
        ("enabled", 1),
        ("event_key", ""),
        ("event_key", "name"),
        ("event_key", "message"),
        ("marker", 5),
        ("global_properties", "[1]"),
        ("global_properties", "{no json"),
        ("global_properties", {1: 2}),
        ("flush_interval", -1),
        ("flush_interval", float("nan")),
        ("flush_interval", float("inf")),
        ("flush_interval", "soon"),
        ("flush_interval", True),
        ("flush_interval", 10**400),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("batch_size", 10**400),
        ("max_connections", 1025),
        ("queue_size", 0),
        ("overflow", "block"),
        ("max_event_bytes", 10),
        ("timeout", 0),
        ("timeout", (1, 0)),
        ("timeout", (1, 2, 3)),
        ("timeout", "1,2,3"),
        ("timeout", {"connect": 1}),
        ("max_backoff", 0),
        ("max_age", 0),
        ("retry_ambiguous", None.__class__),
        ("shutdown_timeout", -0.1),
    ],
)
def test_a_wrong_value_names_option_value_and_what_is_allowed(name: str, value: object) -> None:
    """From a keyword and from the environment alike."""
    with pytest.raises(
        ConfigurationError, match=f"option {name}=.* is not allowed: use "
    ) as caught:
        resolve(**{name: value})
    assert isinstance(caught.value, ValueError)
    if isinstance(value, str) and value:
        variable = f"OPENPANEL_{name.upper()}"
        with pytest.raises(ConfigurationError, match=f"environment variable {variable}="):
            resolve({variable: value})


def test_an_unknown_option_names_the_close_one_and_all() -> None:
    """A typo is found where it is made."""
    with pytest.raises(ConfigurationError, match="Did you mean flush_interval") as caught:
        resolve(flush_intervall=1)
    assert "batch_size" in str(caught.value)


def test_the_constructor_checks_as_well() -> None:
    """Without looking at the environment."""
    assert OpenPanelConfig(client_id=CLIENT_ID, timeout=(1, 2)).timeout == (1.0, 2.0)
    with pytest.raises(ConfigurationError, match="batch_size"):
        OpenPanelConfig(batch_size=0)


@pytest.mark.parametrize("secret", ["line\nbreak", "naïve-" + SECRET, 5])
def test_the_secret_is_in_no_error(secret: object) -> None:
    """Not even when it is the secret that is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(client_secret=secret)
    assert "<hidden>" in str(caught.value)
    assert str(secret) not in str(caught.value)
    assert caught.value.__cause__ is None


def test_credentials_in_a_url_are_refused_and_not_shown() -> None:
    """They would be shown with the URL otherwise."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(api_url=f"https://user:{SECRET}@x.y")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("api_url", "track_url"),
    [
        ("https://x.y", "https://x.y/track"),
        ("https://x.y//", "https://x.y/track"),
        ("https://x.y/track/", "https://x.y/track"),
        ("https://x.y/api/", "https://x.y/api/track"),
        ("https://x.y/api/track", "https://x.y/api/track"),
        ("http://track", "http://track/track"),
        ("http://track:3333/track", "http://track:3333/track"),
        ("http://[::1]:3333/", "http://[::1]:3333/track"),
        ("HTTPS://x.y", "https://x.y/track"),
    ],
)
def test_where_calls_are_posted_to(api_url: str, track_url: str) -> None:
    """The server answers 404 to a doubled slash, and to another path."""
    assert resolve(api_url=api_url).track_url == track_url


class _Unspeakable:
    """Has no repr."""

    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("name", ["overflow", "api_url", "timeout", "global_properties"])
def test_a_value_without_a_repr_is_refused_like_any_other(name: str) -> None:
    """The error is about the option, not about the value's own."""
    with pytest.raises(ConfigurationError, match=f"option {name}=<_Unspeakable> is not allowed"):
        resolve(**{name: _Unspeakable()})


def test_an_integer_too_long_for_a_text_is_refused_like_any_other() -> None:
    """Python limits the digits that it writes."""
    with pytest.raises(ConfigurationError, match="option batch_size=<int> is not allowed"):
        resolve(batch_size=10**5000)


def test_a_secret_in_the_place_of_the_id_is_not_said() -> None:
    """The two are easily mixed up."""
    config = resolve(client_id=SECRET, client_secret=CLIENT_ID)
    assert SECRET not in str(config.notices())


def test_a_long_value_is_cut() -> None:
    """An error stays readable."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(overflow="x" * 10_000)
    assert len(str(caught.value)) < 300


def test_the_repr_hides_the_secret_and_properties() -> None:
    """It shows the rest."""
    shown = repr(resolve(client_secret=SECRET, global_properties={"name": "Ada"}))
    assert SECRET not in shown
    assert "Ada" not in shown
    assert "client_secret=<set>" in shown
    assert "batch_size=100" in shown


def test_global_properties_are_a_copy() -> None:
    """What happens to the original later does not matter."""
    properties = {"a": 1}
    config = resolve(global_properties=properties)
    properties["b"] = 2
    assert config.global_properties == {"a": 1}
    with pytest.raises(TypeError):
        config.global_properties["c"] = 3  # type: ignore[index]


def test_what_handlers_have_in_common_to_share_a_client() -> None:
    """Credentials and delivery, not names and properties."""
    base = resolve(client_id=CLIENT_ID)
    same = resolve(client_id=CLIENT_ID, event_key="x", marker="_y", global_properties={"a": 1})
    other = resolve(client_id=CLIENT_ID, flush_interval=1)
    assert base.delivery_key() == same.delivery_key()
    assert base.delivery_key() != other.delivery_key()
    assert len({base.delivery_key(), same.delivery_key(), other.delivery_key()}) == 2


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, ["no client id"]),
        ({"enabled": False}, []),
        ({"client_id": CLIENT_ID}, ["no client secret"]),
        ({"client_id": CLIENT_ID, "client_secret": SECRET}, []),
        ({"client_id": CLIENT_ID.upper(), "client_secret": SECRET}, ["client id"]),
        ({"client_id": "shop", "client_secret": SECRET}, ["client id"]),
        (
            {"client_id": CLIENT_ID, "client_secret": SECRET, "api_url": "http://x.y"},
            ["plain http"],
        ),
        (
            {"client_id": CLIENT_ID, "client_secret": SECRET, "api_url": "HTTP://x.y"},
            ["plain http"],
        ),
        ({"client_id": CLIENT_ID, "client_secret": SECRET, "api_url": "http://localhost:1"}, []),
        ({"client_id": CLIENT_ID, "client_secret": SECRET, "api_url": "http://127.0.0.9:1"}, []),
        ({"client_id": CLIENT_ID, "client_secret": SECRET, "api_url": "http://[::1]:1"}, []),
    ],
)
def test_what_will_not_work_as_expected_is_known(options: dict[str, Any], kinds: list[str]) -> None:
    """It is said once, by the client; the secret is in none of it."""
    notices = resolve(**options).notices()
    assert [kind for kind, _ in notices] == kinds
    assert SECRET not in str(notices)


def test_without_a_client_id_nothing_is_active() -> None:
    """Nor where it is turned off."""
    assert resolve().active is False
    assert resolve(client_id=CLIENT_ID).active is True
    assert resolve(client_id=CLIENT_ID, enabled=False).active is False
