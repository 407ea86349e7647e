"""The second half of formatting: in the sender's thread, a captured event becomes a call.

The only place where the wire's names and headers are put together. Knows no record and no
client. Facts about the server are the API guide's, or of the open-source server run as of August
2026. Nothing here, nor anywhere in the sender's threads, may import anything, a codec included: a
fork in the middle of an import leaves the child with half a module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ._encoding import (
    dumps,
    header_text,
    iso_timestamp,
    profile_key,
    render_properties,
)
from ._rendered import RenderedCall, UnsendableError

__all__ = ["SPECIAL_FIELDS", "Built", "FrozenCall", "OddValue", "build", "to_rendered"]

SPECIAL_FIELDS = frozenset({"profile_id", "groups", "properties", "ip", "user_agent", "device_id"})
"""Extras that are not simply properties."""
_BARRIERS = frozenset({"identify", "alias", "group", "assign_group"})
_COUNTERS = frozenset({"increment", "decrement"})
_WITH_PROPERTIES = frozenset({"track", "identify", "group"})
_LONGEST_LABEL = 100


@dataclass(frozen=True)
class FrozenCall:
    """A call object, frozen.

    Attributes:
        type: The wire's name of its type.
        payload: Its payload, JSON-ready; its properties are not yet rendered.
        is_event: Whether it is a track call, to which common properties are added.
    """

    type: str
    payload: dict[str, object]
    is_event: bool


@dataclass(frozen=True)
class OddValue:
    """Stands for a value that cannot be what its extra says, such as an object as an id.

    Attributes:
        kind: The name of its type.
    """

    kind: str


@dataclass
class Built:
    """A call as data.

    Attributes:
        call: ``{"type": …, "payload": …}``, JSON-ready.
        headers: The headers of this call alone, lower-case names.
        profile: What its order is kept by.
        notes: What was left out and why, free of values.
    """

    call: dict[str, object]
    headers: dict[str, str]
    profile: str | None = None
    notes: list[str] = field(default_factory=list)


def build(
    event: object, fields: Mapping[str, object], common: Mapping[str, object], created: float
) -> Built:
    """Put a call together.

    Args:
        event: The name of a track call, a `FrozenCall`, or a raw call.
        fields: The extras, special ones among them.
        common: Properties of every track call.
        created: When it was logged, in seconds since the epoch.

    Raises:
        UnsendableError: If no call can be made of it.
    """
    built = Built({}, {})
    _add_headers(built, fields)
    if isinstance(event, str):
        if not event:
            raise UnsendableError("invalid", "the event's name is empty")
        frozen = FrozenCall("track", {"name": event}, is_event=True)
        _build_call(built, frozen, fields, common, created)
    elif isinstance(event, FrozenCall):
        _build_call(built, event, fields, common, created)
    else:
        _build_raw(built, event, created)
    return built


def to_rendered(built: Built, created: float, source: str) -> RenderedCall:
    """Turn a call into bytes, with what delivery has to know of it."""
    kind = str(built.call["type"])
    payload = _mapping(built.call["payload"])
    properties = payload.get("properties")
    is_revenue = kind == "track" and isinstance(properties, dict) and "__revenue" in properties
    return RenderedCall(
        type=kind,
        label=_label(kind, payload),
        body=dumps(built.call),
        headers=built.headers,
        profile=built.profile,
        barrier=kind in _BARRIERS,
        at_most_once=is_revenue or kind in _COUNTERS,
        counter=kind in _COUNTERS,
        created=created,
        source=source,
        notes=tuple(built.notes),
    )


def _build_call(
    built: Built,
    frozen: FrozenCall,
    fields: Mapping[str, object],
    common: Mapping[str, object],
    created: float,
) -> None:
    payload = dict(frozen.payload)
    if frozen.type in _WITH_PROPERTIES:
        properties = dict(common) if frozen.is_event else {}
        properties.update(_extras(built, fields))
        properties.update(_mapping(payload.get("properties")))
        if frozen.is_event:
            properties.setdefault("__timestamp", iso_timestamp(created))
        if properties or "properties" in payload:
            payload["properties"] = render_properties(properties)
    given = _profile(built, fields)
    if "profileId" not in payload and given is not None and _takes_profile(frozen):
        payload["profileId"] = given
    if frozen.is_event and "groups" not in payload and fields.get("groups") is not None:
        groups = _groups(built, fields["groups"])
        if groups:
            payload["groups"] = groups
    built.call = {"type": frozen.type, "payload": payload}
    built.profile = _order_key(frozen.type, payload, given)


def _takes_profile(frozen: FrozenCall) -> bool:
    return frozen.is_event or frozen.type == "assign_group"


def _build_raw(built: Built, event: object, created: float) -> None:
    """Send a raw call as it is, but make its values fit and give a track call its time."""
    raw = _mapping(event)
    kind, payload = raw.get("type"), raw.get("payload")
    if not isinstance(kind, str) or not isinstance(payload, dict):
        raise UnsendableError("invalid", "a raw call needs a text as type and a dict as payload")
    payload = dict(payload)
    properties = payload.get("properties")
    if kind in _WITH_PROPERTIES and isinstance(properties, dict):
        payload["properties"] = render_properties(properties)
    if kind == "track" and ("properties" not in payload or isinstance(properties, dict)):
        stamped = dict(_mapping(payload.get("properties")))
        stamped.setdefault("__timestamp", iso_timestamp(created))
        payload["properties"] = stamped
    built.call = {**raw, "payload": payload}
    built.profile = _order_key(kind, payload, None)


def _extras(built: Built, fields: Mapping[str, object]) -> dict[str, object]:
    """Return the extras that are properties."""
    properties = {key: value for key, value in fields.items() if key not in SPECIAL_FIELDS}
    nested = fields.get("properties")
    if isinstance(nested, Mapping):
        properties.update(nested)
    elif nested is not None:
        built.notes.append(f"properties must be a mapping, not {type(nested).__name__}: left out")
    device_id = fields.get("device_id")
    if isinstance(device_id, (str, int)) and not isinstance(device_id, bool):
        properties["__deviceId"] = str(device_id)
    elif device_id is not None:
        built.notes.append(f"device_id must be a text, not {_kind(device_id)}: left out")
    return properties


def _profile(built: Built, fields: Mapping[str, object]) -> str | int | float | None:
    value = fields.get("profile_id")
    if value is None:
        return None
    profile = None if isinstance(value, OddValue) else profile_key(value)
    if profile is None:
        built.notes.append(
            f"profile_id must be a non-empty text or a number, not {_kind(value)}: left out"
        )
    return profile


def _groups(built: Built, value: object) -> list[str]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list):
        built.notes.append(f"groups must be a list of texts, not {_kind(value)}: left out")
        return []
    groups = [group for group in items if isinstance(group, str) and group]
    if len(groups) < len(items):
        built.notes.append("groups must be non-empty texts: what is none was left out")
    return groups


def _add_headers(built: Built, fields: Mapping[str, object]) -> None:
    for name, header in (("ip", "x-client-ip"), ("user_agent", "user-agent")):
        value = fields.get(name)
        if value is None or value == "":
            continue
        text = header_text(value)
        if text is None and isinstance(value, str):
            built.notes.append(f"{name} has nothing that a header may hold: left out")
        elif text is None:
            built.notes.append(f"{name} must be a text, not {_kind(value)}: left out")
        else:
            built.headers[header] = text


def _order_key(kind: str, payload: Mapping[str, object], given: str | float | None) -> str | None:
    """Return what the order of a call is kept by: its profile, for a group else the group."""
    profile = payload.get("profileId", given)
    if isinstance(profile, (str, int, float)) and profile != "":
        return f"profile {profile}"
    group = payload.get("id")
    return f"group {group}" if kind == "group" and isinstance(group, str) else None


def _label(kind: str, payload: Mapping[str, object]) -> str:
    """Name a call in messages without personal data: event, counter and group type only."""
    key = {"track": "name", "increment": "property", "decrement": "property", "group": "type"}
    name = payload.get(key.get(kind, ""))
    if not isinstance(name, str):
        return kind[:_LONGEST_LABEL]
    shown = "".join(char if char.isprintable() else "?" for char in name)
    return f"{kind} {shown}"[:_LONGEST_LABEL]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _kind(value: object) -> str:
    if value == "":
        return "an empty text"
    return f"a value of type {value.kind if isinstance(value, OddValue) else type(value).__name__}"
