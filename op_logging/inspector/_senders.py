"""Who sent a call: device, session, bots, servers."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from datetime import datetime

__all__ = ["bot_of", "device_of", "is_server", "session_of", "visitor_address"]

_SESSION_SECONDS = 1_800
_SERVER = re.compile(r"[\w.+-]+/\d[\w.]*(?:\s*\([^)]*\))?")
_SYSTEMS = re.compile(r"windows|linux|mac ?os|darwin|android|iphone|x11|mozilla", re.IGNORECASE)
_BOTS = (
    (re.compile("Googlebot", re.IGNORECASE), "Googlebot", "Search bot"),
    (re.compile("bingbot", re.IGNORECASE), "BingBot", "Search bot"),
    (re.compile(r"^httpx", re.IGNORECASE), "httpx", "Security Checker"),
    (re.compile(r"bot\b|crawler|spider", re.IGNORECASE), "Generic Bot", "Crawler"),
)


def bot_of(user_agent: str) -> dict[str, str] | None:
    """Return which bot a user agent belongs to, None for others."""
    for pattern, name, kind in _BOTS:
        if pattern.search(user_agent):
            return {"name": name, "type": kind}
    return None


def is_server(user_agent: str) -> bool:
    """Tell whether a user agent is a server's: none, or a product without a system's name."""
    if not user_agent:
        return True
    return _SERVER.fullmatch(user_agent) is not None and _SYSTEMS.search(user_agent) is None


def visitor_address(*candidates: str) -> str:
    """Return the first address that may be a visitor's; private ones are ignored."""
    for candidate in candidates:
        try:
            address = ipaddress.ip_address(candidate.strip())
        except ValueError:
            continue
        if not (address.is_private or address.is_loopback or address.is_link_local):
            return str(address)
        if str(address) == "0.0.0.0":  # noqa: S104 - the server takes it for a public one
            return str(address)
    return ""


def device_of(project: str, address: str, user_agent: str | None) -> str:
    """Return the id of a device; the one of an empty user agent is empty."""
    if user_agent == "":
        return ""
    return _digest(project, address, user_agent or "none").hex()[:32]


def session_of(device_id: str, at: datetime) -> str:
    """Return the id of the session that a device has at a time."""
    if not device_id:
        return ""
    window = int(at.timestamp() // _SESSION_SECONDS)
    return base64.urlsafe_b64encode(_digest(device_id, str(window))).decode()[:22]


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).digest()
