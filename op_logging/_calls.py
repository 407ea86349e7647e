"""The calls that the API knows, as objects: checked where they are built, not where they are sent.

What is checked is what the server (run as of August 2026) is known to refuse in any case; for the
rest the server is the judge. Wire names stand in `Call.payload` only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "Alias",
    "AssignGroup",
    "Call",
    "Decrement",
    "Group",
    "Identify",
    "Increment",
    "InvalidCallError",
    "Revenue",
    "Track",
]

_LONGEST_NAME = 80
_LARGEST = 2**53
_RESERVED_NAMES = frozenset({"session_start", "session_end"})


class InvalidCallError(ValueError):
    """A call that cannot be right. Names the class, the field and what is allowed."""


class Call:
    """What all calls have in common. Not built by itself.

    Immutable, so safe to share between threads; picklable.

    Attributes:
        wire_type: The API's name of the call.
        barrier: Whether the order of a profile's other calls around it is kept.
    """

    __slots__ = ()
    wire_type: ClassVar[str]
    barrier: ClassVar[bool] = False
    _shown: ClassVar[frozenset[str]] = frozenset()

    def payload(self) -> dict[str, Any]:
        """Return the wire's payload: the API's names, absent fields left out."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Show which fields are set, but no personal data: other handlers print extras."""
        parts = []
        for name in self.__dataclass_fields__:  # type: ignore[attr-defined]
            value = getattr(self, name)
            if value is None:
                continue
            if name in self._shown:
                parts.append(f"{name}={value!r}")
            elif isinstance(value, Mapping):
                parts.append(f"{name}=<{len(value)} keys>")
            else:
                parts.append(f"{name}=<set>")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, repr=False, slots=True)
class Track(Call):
    """Something happened.

    Args:
        name: The event's name, at most 80 UTF-16 units, one line.
        properties: What is to be known of it; any values.
        profile_id: Whose event it is.
        groups: The ids of the groups that it concerns.

    Raises:
        InvalidCallError: If a field is not allowed.
    """

    name: str
    properties: Mapping[str, Any] | None = None
    profile_id: str | int | float | None = None
    groups: Iterable[str] | None = None

    wire_type = "track"
    _shown = frozenset({"name"})

    def __post_init__(self) -> None:
        _check_name(self)
        _check_properties(self)
        _check_profile(self, "profile_id", optional=True)
        if self.groups is not None:
            object.__setattr__(self, "groups", _ids(self, "groups", self.groups))

    def payload(self) -> dict[str, Any]:
        """Return the wire's payload."""
        return _present(
            name=self.name,
            properties=_copy(self.properties),
            profileId=self.profile_id,
            groups=None if self.groups is None else list(self.groups),
        )


@dataclass(frozen=True, repr=False, slots=True)
class Identify(Call):
    """A profile and what is known of it.

    Args:
        profile_id: The profile's id.
        first_name: The first name.
        last_name: The last name.
        email: A valid address; the server refuses others.
        avatar: The URL of a picture.
        properties: What else is known; any values.

    Raises:
        InvalidCallError: If a field is not allowed.
    """

    profile_id: str | int | float
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    avatar: str | None = None
    properties: Mapping[str, Any] | None = None

    wire_type = "identify"
    barrier = True

    def __post_init__(self) -> None:
        _check_profile(self, "profile_id")
        for name in ("first_name", "last_name", "email", "avatar"):
            _check_text(self, name, optional=True, empty=name not in {"email", "avatar"})
        if self.email is not None and not _looks_like_email(self.email):
            raise _wrong(self, "email", self.email, "an address such as ada@example.com")
        _check_properties(self)

    def payload(self) -> dict[str, Any]:
        """Return the wire's payload."""
        return _present(
            profileId=self.profile_id,
            firstName=self.first_name,
            lastName=self.last_name,
            email=self.email,
            avatar=self.avatar,
            properties=_copy(self.properties),
        )


@dataclass(frozen=True, repr=False, slots=True)
class Alias(Call):
    """Another id of a profile. The guide has it; the server of August 2026 refuses it.

    Args:
        profile_id: The profile's id.
        alias: Its other id.

    Raises:
        InvalidCallError: If a field is not allowed.
    """

    profile_id: str | int | float
    alias: str | int | float

    wire_type = "alias"
    barrier = True

    def __post_init__(self) -> None:
        _check_profile(self, "profile_id")
        _check_profile(self, "alias")

    def payload(self) -> dict[str, Any]:
        """Return the wire's payload."""
        return {"profileId": self.profile_id, "alias": self.alias}


@dataclass(frozen=True, repr=False, slots=True)
class Increment(Call):
    """Raise a number among a profile's properties.

    Args:
        profile_id: The profile's id. The server must know the profile.
        property: The property; dots reach into nested ones.
        value: By how much: more than 0, and at most 2^53, beyond which the server loses digits.

    Raises:
        InvalidCallError: If a field is not allowed.
    """

    profile_id: str | int | float
    property: str
    value: int | float = 1

    wire_type = "increment"
    _shown = frozenset({"property", "value"})

    def __post_init__(self) -> None:
        _check_profile(self, "profile_id")
        _check_text(self, "property")
        if not _is_number(self.value) or not 0 < self.value <= _LARGEST:
            raise _wrong(self, "value", self.value, "a number above 0, and at most 2^53")

    def payload(self) -> dict[str, Any]:
        """Return the wire's payload."""
        return {"profileId": self.profile_id, "property": self.property, "value": self.value}


@dataclass(frozen=True, repr=False, slots=True)
class Decrement(Increment):
    """Lower a number among a profile's properties. Fields as of `Increment`."""

    wire_type = "decrement"


@dataclass(frozen=True, repr=False, slots=True)
class Group(Call):
    """A group, such as a company, and what is known of it.

    Args:
        id: The group's id.
        type: What kind of group it is, such as ``company``.
        name: What it is called.
        properties: What else is known; any values.

    Raises:
        InvalidCallError: If a field is not allowed.
    """

    id: str
    type: str
    name: str
    properties: Mapping[str, Any] | None = None

    wire_type = "group"
    barrier = True
    _shown = frozenset({"type"})

    def __post_init__(self) -> None:
        for name in ("id", "type", "name"):
            _check_text(self, name)
        _check_properties(self)

    def payload(self) -> dict[str, Any]:
        """Return the wire's payload."""
        return _present(
            id=self.id, type=self.type, name=self.name, properties=_copy(self.properties)
        )


@dataclass(frozen=True, repr=False, slots=True)
class AssignGroup(Call):
    """A profile belongs to groups.

    Args:
        group_ids: The ids of the groups, at least one.
        profile_id: The profile's id; default: the ``profile_id`` that the record has.

    Raises:
        InvalidCallError: If a field is not allowed.
    """

    group_ids: Iterable[str]
    profile_id: str | int | float | None = None

    wire_type = "assign_group"
    barrier = True

    def __post_init__(self) -> None:
        ids = _ids(self, "group_ids", self.group_ids)
        if not ids:
            raise _wrong(self, "group_ids", self.group_ids, "at least one group id")
        object.__setattr__(self, "group_ids", ids)
        _check_profile(self, "profile_id", optional=True)

    def payload(self) -> dict[str, Any]:
        """Return the wire's payload."""
        return _present(groupIds=list(self.group_ids), profileId=self.profile_id)


@dataclass(frozen=True, repr=False, slots=True)
class Revenue(Call):
    """Money came in: a track call named ``revenue``. It needs the client secret.

    Args:
        amount: An integer in the currency's minor unit, such as cents; from 0 to 2^53.
        profile_id: Whose it is.
        device_id: The visitor's device, at most 64 characters.
        properties: What else is to be known of it; any values.

    Raises:
        InvalidCallError: If a field is not allowed.
    """

    amount: int
    profile_id: str | int | float | None = None
    device_id: str | None = None
    properties: Mapping[str, Any] | None = None

    wire_type = "track"

    def __post_init__(self) -> None:
        amount = self.amount
        if not isinstance(amount, int) or isinstance(amount, bool) or not 0 <= amount <= _LARGEST:
            allowed = "an integer in the currency's minor unit, from 0 to 2^53"
            raise _wrong(self, "amount", amount, allowed)
        _check_profile(self, "profile_id", optional=True)
        _check_text(self, "device_id", optional=True)
        _check_properties(self)

    def payload(self) -> dict[str, Any]:
        """Return the wire's payload."""
        own = _present(__revenue=self.amount, __deviceId=self.device_id)
        return _present(
            name="revenue",
            properties={**(self.properties or {}), **own},
            profileId=self.profile_id,
        )


def _wrong(call: Call, field: str, value: object, allowed: str) -> InvalidCallError:
    found = "an empty one" if value == "" else f"a value of type {type(value).__name__}"
    if field in _NUMBERS and (isinstance(value, float) or _is_number(value)):
        found += f" ({value!r})"
    return InvalidCallError(f"{type(call).__name__}: {field} must be {allowed}, not {found}")


_NUMBERS = frozenset({"value", "amount"})


def _check_name(call: Track) -> None:
    _check_text(call, "name")
    units = len(call.name.encode("utf-16-le", "surrogatepass")) // 2
    if units > _LONGEST_NAME or "\n" in call.name or "\r" in call.name:
        raise InvalidCallError(
            f"Track: name must be one line of at most {_LONGEST_NAME} UTF-16 units, not {units}"
        )
    if call.name in _RESERVED_NAMES:
        raise InvalidCallError(f"Track: the name {call.name} is the server's own")


def _check_text(call: Call, field: str, *, optional: bool = False, empty: bool = False) -> None:
    value = getattr(call, field)
    if value is None and optional:
        return
    if not isinstance(value, str) or not (value or empty):
        raise _wrong(call, field, value, "a text" if empty else "a non-empty text")


def _check_profile(call: Call, field: str, *, optional: bool = False) -> None:
    value = getattr(call, field)
    if value is None and optional:
        return
    if isinstance(value, str) and value:
        return
    if _is_number(value):
        return
    raise _wrong(call, field, value, "a non-empty text or a finite number")


def _check_properties(call: Call) -> None:
    value = getattr(call, "properties", None)
    if value is not None and not isinstance(value, Mapping):
        raise _wrong(call, "properties", value, "a mapping")


def _ids(call: Call, field: str, value: object) -> tuple[str, ...]:
    allowed = "a list of non-empty texts"
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong(call, field, value, allowed)
    ids = tuple(value)
    for item in ids:
        if not isinstance(item, str) or not item:
            raise _wrong(call, field, item, allowed)
    return ids


def _is_number(value: object) -> bool:
    """Whether it is a finite number. A longer integer may have no text: Python limits digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max


def _looks_like_email(text: str) -> bool:
    local, at, host = text.partition("@")
    return bool(local and at and host) and "@" not in host and not any(map(str.isspace, text))


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _copy(properties: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if properties is None else dict(properties)
