"""Call objects: checked where they are built."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from op_logging import (
    Alias,
    AssignGroup,
    Decrement,
    Group,
    Identify,
    Increment,
    InvalidCallError,
    Revenue,
    Track,
)

WRONG: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any], str]] = [
    (Track, ("",), {}, "name"),
    (Track, (None,), {}, "name"),
    (Track, ("x" * 81,), {}, "80 UTF-16 units, not 81"),
    (Track, ("😀" * 41,), {}, "80 UTF-16 units, not 82"),
    (Track, ("a\nb",), {}, "one line"),
    (Track, ("session_start",), {}, "server's own"),
    (Track, ("x", ["a"]), {}, "properties must be a mapping"),
    (Track, ("x",), {"profile_id": ""}, "profile_id"),
    (Track, ("x",), {"profile_id": True}, "profile_id"),
    (Track, ("x",), {"profile_id": math.nan}, "profile_id"),
    (Track, ("x",), {"profile_id": 10**5000}, "profile_id"),
    (Track, ("x",), {"groups": "g1"}, "groups must be a list"),
    (Track, ("x",), {"groups": ["g1", ""]}, "groups"),
    (Track, ("x",), {"groups": 5}, "groups"),
    (Identify, (None,), {}, "profile_id"),
    (Identify, ("",), {}, "profile_id"),
    (Identify, ("u1",), {"email": "nope"}, "email must be an address"),
    (Identify, ("u1",), {"email": "a b@c.de"}, "email"),
    (Identify, ("u1",), {"email": "a@b@c.de"}, "email"),
    (Identify, ("u1",), {"first_name": 5}, "first_name"),
    (Identify, ("u1",), {"avatar": ""}, "avatar"),
    (Alias, ("u1", ""), {}, "alias"),
    (Alias, ("", "u2"), {}, "profile_id"),
    (Increment, ("u1", ""), {}, "property"),
    (Increment, ("u1", "n", 0), {}, "value must be a number above 0"),
    (Increment, ("u1", "n", -1), {}, "value"),
    (Increment, ("u1", "n", True), {}, "value"),
    (Increment, ("u1", "n", math.inf), {}, "value"),
    (Increment, ("u1", "n", "1"), {}, "value"),
    (Increment, ("u1", "n", 10**5000), {}, "value"),
    (Decrement, ("u1", "n", math.nan), {}, "Decrement: value"),
    (Group, ("", "company", "Acme"), {}, "id"),
    (Group, ("g1", "", "Acme"), {}, "type"),
    (Group, ("g1", "company", None), {}, "name"),
    (AssignGroup, ([],), {}, "at least one"),
    (AssignGroup, ("g1",), {}, "group_ids"),
    (AssignGroup, ([1],), {}, "group_ids"),
    (Revenue, (-1,), {}, "amount must be an integer"),
    (Revenue, (-(10**5000),), {}, "amount"),
    (Revenue, (1.5,), {}, "minor unit"),
    (Revenue, (2**53 + 2,), {}, "2\\^53"),
    (Increment, ("u1", "n", 2**53 + 2), {}, "2\\^53"),
    (Revenue, (True,), {}, "amount"),
    (Revenue, (1,), {"device_id": ""}, "device_id"),
]


@pytest.mark.parametrize(("kind", "arguments", "keywords", "words"), WRONG)
def test_a_wrong_call_raises_where_it_is_built(
    kind: Callable[..., object], arguments: tuple[Any, ...], keywords: dict[str, Any], words: str
) -> None:
    """It names the class, the field and what is allowed."""
    with pytest.raises(InvalidCallError, match=words) as caught:
        kind(*arguments, **keywords)
    assert str(caught.value).startswith(f"{kind.__name__}: ")
    assert isinstance(caught.value, ValueError)


def test_an_empty_text_is_called_so() -> None:
    """Its type is not what is wrong with it."""
    with pytest.raises(InvalidCallError, match="name must be a non-empty text, not an empty one"):
        Track("")


def test_errors_do_not_show_personal_data() -> None:
    """An error ends in logs, too."""
    with pytest.raises(InvalidCallError) as caught:
        Identify("u1", email="bob.example.org")
    assert "bob" not in str(caught.value)


CALLS = [
    Track("seen", {"a": 1}, profile_id="ada", groups=["g1"]),
    Identify("ada", first_name="Ada", email="ada@example.com", properties={"plan": "pro"}),
    Alias("ada", "lovelace"),
    Increment("ada", "visits"),
    Decrement("ada", "visits", 2),
    Group("acme", "company", "Acme Ltd"),
    AssignGroup(["acme"], "ada"),
    Revenue(4250, "ada", properties={"plan": "pro"}),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_repr_shows_no_personal_data(call: object) -> None:
    """Other handlers print extras."""
    shown = repr(call)
    assert shown.startswith(type(call).__name__)
    for personal in ("ada", "Ada", "lovelace", "acme", "Acme", "pro", "4250"):
        assert personal not in shown.replace("property", "").replace("properties", "").replace(
            "profile", ""
        )


def test_a_repr_names_what_is_not_personal() -> None:
    """Enough to recognise the call in a log."""
    assert repr(CALLS[0]) == (
        "Track(name='seen', properties=<1 keys>, profile_id=<set>, groups=<set>)"
    )
    assert repr(CALLS[4]) == "Decrement(profile_id=<set>, property='visits', value=2)"


@pytest.mark.parametrize("call", CALLS)
def test_calls_are_values(call: Any) -> None:
    """Immutable, comparable, and fit for pickle and copy, as queues and processes need it."""
    assert pickle.loads(pickle.dumps(call)) == call  # noqa: S301 - made here
    assert copy.deepcopy(call) == call
    assert not hasattr(call, "__dict__")
    with pytest.raises(AttributeError):
        setattr(call, dataclasses.fields(call)[0].name, "other")


def test_lists_are_copied_where_the_call_is_built() -> None:
    """What happens to them later does not matter."""
    groups = ["g1"]
    call = AssignGroup(groups)
    groups.append("g2")
    assert call.group_ids == ("g1",)
