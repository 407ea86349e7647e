"""From the bytes of a request to the value that the schema sees, with the errors of the parser."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ._values import integer

__all__ = ["BodyError", "read_body"]

_EMPTY = "Body cannot be empty when content-type is set to 'application/json'"
_NO_JSON = "Body is not valid JSON but content-type is set to 'application/json'"
_SIZE = "Request body size did not match Content-Length"
_DEEPEST = 4_500
"""Between the nesting that the server takes (4,000) and the one that it fails at (5,000)."""
_SHALLOW = 300
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


@dataclass
class BodyError(Exception):
    """A body that cannot be read: the status and the words; ``None``: the server fails at it."""

    status: int
    message: str | None
    closes: bool = False


def read_body(content_type: str | None, data: bytes) -> Any:
    """Return what the schema is asked about: JSON, a text for ``text/plain``, or None.

    Raises:
        BodyError: If the server answers without asking the schema.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if not kind:
        if data:
            raise BodyError(415, "Unsupported Media Type")
        return None
    if kind not in {"application/json", "text/plain"}:
        raise BodyError(415, "Unsupported Media Type")
    if not data and kind == "application/json":
        raise BodyError(400, _EMPTY)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise BodyError(400, _SIZE, closes=True) from None
    return text if kind == "text/plain" else _read_json(text.removeprefix("\ufeff"))


def _read_json(text: str) -> Any:
    if text.count("{") + text.count("[") > _SHALLOW:
        text = _without_depths(text)
    try:
        return json.loads(
            text, parse_constant=_refuse, parse_int=integer, object_pairs_hook=_object
        )
    except (ValueError, RecursionError):
        raise BodyError(400, _NO_JSON, closes=True) from None


def _refuse(_constant: str) -> None:
    raise ValueError


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    constructor = found.get("constructor")
    if "__proto__" in found or (isinstance(constructor, dict) and "prototype" in constructor):
        raise ValueError
    return found


def _without_depths(text: str) -> str:
    """Replace what is nested deeper than Python's parser goes by null."""
    kept: list[str] = []
    depth = start = 0
    for token in _TOKENS.finditer(text):
        if token[0] in "{[":
            depth += 1
            if depth > _DEEPEST:
                raise BodyError(500, None)
            if depth == _SHALLOW:
                kept.append(text[start : token.start()])
        elif token[0] in "}]":
            if depth == _SHALLOW:
                kept.append("null")
                start = token.end()
            depth -= 1
    return "".join([*kept, text[start:]]) if depth == 0 else text
