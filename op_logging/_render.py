"""The second half of formatting: in the sender's thread, a captured event becomes a call.

The only place where the wire's names and headers are put together. Knows no record and no
client. Facts about the server are the API guide's, or of the open-source server run as of August
2026. Nothing here, nor anywhere in the sender's threads, may import anything, a codec included: a
fork in the middle of an import leaves the child with half a module.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from ._encoding import (
    TAKEN_FOR_JSON,
    dumps,
    header_text,
    is_allowed,
    iso_timestamp,
    plain,
    profile_key,
    property_value,
    render_properties,
)
from ._redaction import Redaction
from ._rendered import (
    NO_HEADERS,
    Built,
    Counts,
    Data,
    Rare,
    RenderedCall,
    UnsendableError,
    created_of,
    kind_of,
    place_of,
)

__all__ = ["SPECIAL_FIELDS", "FrozenCall", "OddValue", "build", "checked", "name_of", "to_rendered"]

SPECIAL_FIELDS = frozenset({"profile_id", "groups", "properties", "ip", "user_agent", "device_id"})
"""Extras that are not simply properties."""
_WITH_PROPERTIES = frozenset({"track", "identify", "group"})
_NOTHING: Mapping[str, Any] = {}
_NOT_JSON = frozenset({UUID, Decimal})
_POLLUTING = frozenset({"constructor", "__proto__"})


class FrozenCall(NamedTuple):
    """A call object, frozen.

    Attributes:
        type: The wire's name of its type.
        payload: Its payload, JSON-ready; its properties are not yet rendered.
        is_event: Whether it is a track call, to which common properties are added.
    """

    type: str
    payload: Mapping[str, Any]
    is_event: bool


class OddValue(NamedTuple):
    """Stands for a value that cannot be what its extra says, such as an object as an id.

    Attributes:
        kind: The name of its type.
    """

    kind: str


def build(
    event: object,
    fields: Iterable[tuple[str, Any]],
    common: Mapping[str, Any],
    created: float,
    redaction: Redaction | None = None,
) -> Built:
    """Put a call together.

    Args:
        event: The name of a track call, a `FrozenCall`, or a raw call.
        fields: The extras, special ones among them.
        common: Properties of every track call, JSON-ready.
        created: When it was logged, in seconds since the epoch.
        redaction: Which properties to hide.

    Raises:
        UnsendableError: If no call can be made of it.
    """
    extras: dict[str, Any] = {}
    special: dict[str, Any] = {}
    for key, value in fields:
        if key in SPECIAL_FIELDS:
            special[key] = plain(value) if type(value) in _NOT_JSON else value
        elif type(value) is str and value.isascii() and not value.startswith(TAKEN_FOR_JSON):
            extras[key] = value  # what most are; the same as below, for less
        else:
            found = property_value(value)
            if key not in _POLLUTING or is_allowed(key, found):
                extras[key] = found
    notes: list[str] = []
    if isinstance(event, str):
        if not event:
            raise UnsendableError("invalid", "the event's name is empty")
        call = _event_call("track", {"name": event}, extras, special, common, created, notes)
    elif isinstance(event, FrozenCall) and event.is_event:
        call = _event_call(event.type, event.payload, extras, special, common, created, notes)
    elif isinstance(event, FrozenCall):
        call = _other_call(event.type, event.payload, extras, special, notes)
    else:
        call = _raw_call(event, created)
    if redaction is not None:
        redaction.apply(call["payload"])
    headers = _headers(special, notes) if "ip" in special or "user_agent" in special else NO_HEADERS
    return Built(call, headers, tuple(notes), special.get("profile_id"))


def name_of(event: object) -> str:
    """Return what an event is called: a track call's name, another call's type."""
    if isinstance(event, str):
        return event
    kind: object = None
    payload: object = None
    if isinstance(event, FrozenCall):
        kind, payload = event.type, event.payload
    elif isinstance(event, dict):
        kind, payload = event.get("type"), event.get("payload")
    name = payload.get("name") if kind == "track" and isinstance(payload, Mapping) else kind
    return str(name)


def checked(line: object) -> Built:
    """Return the call that a hook handed back, as it stands on a line of the formatter.

    Raises:
        UnsendableError: If it is no call.
    """
    found = plain(line) if isinstance(line, Mapping) else None
    if not isinstance(found, dict):
        raise UnsendableError("hook_failed", f"it returned no call but {type(line).__name__}")
    headers = found.pop("headers", None)
    try:
        call = _raw_call(found, None)
    except UnsendableError as error:
        raise UnsendableError("hook_failed", f"it returned no call: {error}") from error
    own = {
        name: text
        for name, value in (headers.items() if isinstance(headers, dict) else ())
        if name in {"x-client-ip", "user-agent"} and (text := header_text(value)) is not None
    }
    return Built(call, own or NO_HEADERS)


def to_rendered(built: Built, data: Data, generation: int) -> RenderedCall:
    """Turn a call into bytes, with what delivery has to know of it."""
    call, headers, _, given = built
    kind = kind_of(call)
    key = _order_key(kind.type, call["payload"], given)
    rare = None
    if headers or kind.barrier or kind.counter:
        counts = _counts(call, key) if kind.counter else None
        rare = Rare(headers, counts, key if kind.barrier or counts else None)
    return RenderedCall(
        kind,
        dumps(call),
        created_of(data),
        place_of(data),
        profile=None if key is None else hash(key),  # smaller, while many calls wait
        rare=rare,
        generation=generation,
    )


def _event_call(
    kind: str,
    given: Mapping[str, Any],
    extras: dict[str, Any],
    special: Mapping[str, Any],
    common: Mapping[str, Any],
    created: float,
    notes: list[str],
) -> dict[str, Any]:
    """Put a track call together: global properties, then extras, then the call's own."""
    payload = dict(given)
    properties = {**common, **extras} if common else extras
    if special:
        _add_special(properties, special, notes)
    own = payload.get("properties")
    if own:
        properties.update(render_properties(own))
    if "__timestamp" not in properties:
        properties["__timestamp"] = iso_timestamp(created)
    payload["properties"] = properties
    if special:
        if "profileId" not in payload:
            _add_profile(payload, special, notes)
        if "groups" not in payload and special.get("groups") is not None:
            groups = _groups(special["groups"], notes)
            if groups:
                payload["groups"] = groups
    return {"type": kind, "payload": payload}


def _other_call(
    kind: str,
    given: Mapping[str, Any],
    extras: dict[str, Any],
    special: Mapping[str, Any],
    notes: list[str],
) -> dict[str, Any]:
    """Put a call together that is no event: extras become properties where it has any."""
    payload = dict(given)
    if kind in _WITH_PROPERTIES:
        _add_special(extras, special, notes)
        own = payload.get("properties")
        extras.update(render_properties(own) if own else _NOTHING)
        if extras or own is not None:
            payload["properties"] = extras
    if kind == "assign_group" and "profileId" not in payload:
        _add_profile(payload, special, notes)
    return {"type": kind, "payload": payload}


def _raw_call(event: object, created: float | None) -> dict[str, Any]:
    """Take a raw call as it is, but make its values fit and give a track call its time."""
    raw = event if isinstance(event, dict) else {}
    kind, payload = raw.get("type"), raw.get("payload")
    if not isinstance(kind, str) or not isinstance(payload, dict):
        raise UnsendableError("invalid", "a raw call needs a text as type and a dict as payload")
    payload = dict(payload)
    properties = payload.get("properties")
    if kind in _WITH_PROPERTIES and isinstance(properties, dict):
        payload["properties"] = render_properties(properties)
    if kind == "track" and ("properties" not in payload or isinstance(properties, dict)):
        stamped = dict(payload.get("properties") or _NOTHING)
        if created is not None:
            stamped.setdefault("__timestamp", iso_timestamp(created))
        payload["properties"] = stamped
    return {**raw, "payload": payload}


def _add_special(properties: dict[str, Any], special: Mapping[str, Any], notes: list[str]) -> None:
    """Add those special extras that are properties after all."""
    nested = special.get("properties")
    if isinstance(nested, Mapping):
        properties.update(render_properties(nested))
    elif nested is not None:
        notes.append(f"properties must be a mapping, not {_kind(nested)}: left out")
    device_id = special.get("device_id")
    if isinstance(device_id, (str, int)) and not isinstance(device_id, bool):
        properties["__deviceId"] = str(plain(device_id))
    elif device_id is not None:
        notes.append(f"device_id must be a text, not {_kind(device_id)}: left out")


def _add_profile(payload: dict[str, Any], special: Mapping[str, Any], notes: list[str]) -> None:
    value = special.get("profile_id")
    if value is None:
        return
    profile = None if isinstance(value, OddValue) else profile_key(value)
    if profile is None:
        text = f"profile_id must be a non-empty text or a number, not {_kind(value)}: left out"
        notes.append(text)
    else:
        payload["profileId"] = profile


def _groups(value: object, notes: list[str]) -> list[str]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list):
        notes.append(f"groups must be a list of texts, not {_kind(value)}: left out")
        return []
    groups = [group for group in items if isinstance(group, str) and group]
    if len(groups) < len(items):
        notes.append("groups must be non-empty texts: what is none was left out")
    return groups


def _headers(special: Mapping[str, Any], notes: list[str]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for name, header in (("ip", "x-client-ip"), ("user_agent", "user-agent")):
        value = special.get(name)
        if value is None or value == "":
            continue
        text = header_text(value)
        if text is not None:
            headers[header] = text
        elif isinstance(value, str):
            notes.append(f"{name} has nothing that a header may hold: left out")
        else:
            notes.append(f"{name} must be a text, not {_kind(value)}: left out")
    return headers or NO_HEADERS


def _order_key(kind: str, payload: Mapping[str, Any], given: object) -> str | None:
    """Return what the order of a call is kept by: its profile, for a group else the group."""
    profile = payload.get("profileId", given)
    if isinstance(profile, float) and profile.is_integer():
        profile = int(profile)  # the server knows no difference
    if isinstance(profile, (str, int, float)) and profile != "":
        return f"profile {profile}"
    group = payload.get("id")
    return f"group {group}" if kind == "group" and isinstance(group, str) else None


def _counts(call: Mapping[str, Any], profile: str | None) -> Counts | None:
    """Return what a counter counts; None where it is none that the server would take."""
    payload = call["payload"]
    name, value = payload.get("property"), payload.get("value", 1)
    if profile is None or not isinstance(name, str) or not name or isinstance(value, bool):
        return None
    if not isinstance(value, (int, float)) or not 0 < value < math.inf:
        return None
    if not payload.keys() <= {"profileId", "property", "value"} or call.keys() != {
        "type",
        "payload",
    }:
        return None
    amount = value if call["type"] == "increment" else -value
    return Counts(profile, payload["profileId"], name, amount)


def _kind(value: object) -> str:
    if value == "":
        return "an empty text"
    return f"a value of type {value.kind if isinstance(value, OddValue) else type(value).__name__}"
