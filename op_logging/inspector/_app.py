"""The stand-in's answers: an ASGI application with the server's order of checks.

Body, schema, credentials, bot, duplicate, then the call itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ._answers import Answer, ReceivedCall, body_error, error, name_of, respond, words_of
from ._body import BodyError, read_body
from ._schema import errors_of
from ._senders import bot_of, device_of, is_server, session_of, visitor_address
from ._store import Store, StoredEvent
from ._values import event_time, flatten, text_of

__all__ = ["Inspector"]

_UUID_V4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_MOST_HEADERS = 16 * 1024
_MOST_BODY = 500 * 1024 * 1024
_DUPLICATE_SECONDS = 0.1
_OLD_SECONDS = 15 * 60
_LONGEST_DEVICE = 64
_READ_BY_SERVER = frozenset(
    {
        "__timestamp", "__deviceId", "__ip", "__revenue", "__identify", "__bot", "__bot_reasons",
        "__path", "__referrer", "__title", "__query", "__os", "__osVersion", "__browser",
        "__browserVersion", "__device", "__brand", "__model",
    }
)  # fmt: skip


@dataclass
class _Sender:
    """What the headers and the payload tell of who sent a call."""

    project: str
    address: str
    user_agent: str | None
    has_secret: bool
    device_id: str = ""


class Inspector:
    """Answers and stores as OpenPanel's server does.

    Thread-safe. The ASGI application is `app`.

    Args:
        client_id: Accept this client only; None: any well-formed id.
        client_secret: That client's secret. A client without one may send no revenue.
        profile_flush: Seconds between two writes of the profiles; the real server has 10.
        blocked_ips: Addresses that the project refuses.
        blocked_profiles: Profile ids that the project refuses.
        on_call: Called with each `ReceivedCall` after its answer is decided.

    Attributes:
        store: What is kept.

    Raises:
        ValueError: If a secret is given without its client's id.
    """

    def __init__(
        self,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        profile_flush: float = 0.0,
        blocked_ips: Collection[str] = (),
        blocked_profiles: Collection[str] = (),
        on_call: Callable[[ReceivedCall], None] | None = None,
    ) -> None:
        if client_secret is not None and client_id is None:
            raise ValueError("a client secret needs the id of its client: give --client-id, too")
        self.store = Store(profile_flush)
        self._client_id = client_id
        self._client_secret = client_secret
        self._blocked_ips = frozenset(blocked_ips)
        self._blocked_profiles = frozenset(blocked_profiles)
        self.on_call = on_call
        self._last: dict[bytes, float] = {}

    async def app(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Serve one request: the ASGI interface."""
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body") or len(body) > _MOST_BODY:
                break
        path = scope["path"]
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > _MOST_HEADERS:
            answer = error(431, "Exceeded maximum allowed HTTP header size")
        elif len(body) > _MOST_BODY:
            answer = error(413, "Request body is too large")
        else:
            query = scope.get("query_string", b"").decode("latin-1")
            answer = self.answer(scope["method"], path, headers, bytes(body), query)
        await respond(send, answer, scope["method"])

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, query: str = ""
    ) -> Answer:
        """Answer one request.

        Args:
            method: The HTTP method.
            path: The path, without the query.
            headers: Lower-case names.
            body: The body.
            query: The query, without the question mark.
        """
        if method == "OPTIONS":
            return Answer(204)
        if path in {"/track", "/track/"} and method == "POST":
            return self._track(headers, body)
        if path == "/track/device-id" and method == "GET":
            sender = self._sender(headers, {})
            words = "No session exists for this device id"
            return Answer(200, {"deviceId": sender.device_id, "sessionId": "", "message": words})
        if method not in {"GET", "HEAD"}:
            try:
                read_body(headers.get("content-type"), body)
            except BodyError as broken:
                return body_error(broken)
        url = f"{path}?{query}" if query else path
        words = f"Route {method}:{url} not found"
        return Answer(404, {"message": words, "error": "Not Found", "statusCode": 404})

    def _track(self, headers: Mapping[str, str], data: bytes) -> Answer:
        try:
            body = read_body(headers.get("content-type"), data)
        except BodyError as broken:
            answer = body_error(broken)
            self._note(headers, None, answer)
            return answer
        errors = errors_of(body)
        if errors:
            answer = Answer(400, {"status": 400, "error": "Error", "message": ", ".join(errors)})
            self._note(headers, body, answer)
            return answer
        sender = self._sender(headers, body)
        refusal = self._admit(sender, headers, body) or self._duplicate(sender, headers, data)
        if refusal is not None:
            self._note(headers, body, refusal)
            return refusal
        answer, event, dropped = self._take(sender, headers, body)
        self._note(headers, body, answer, event, dropped)
        return answer

    def _sender(self, headers: Mapping[str, str], body: dict[str, Any]) -> _Sender:
        payload = body.get("payload")
        properties = payload.get("properties") if isinstance(payload, dict) else None
        given = properties if isinstance(properties, dict) and body["type"] == "track" else {}
        address = visitor_address(
            headers.get("openpanel-client-ip", ""), headers.get("x-client-ip", "")
        )
        if given.get("__ip") is not None:
            address = text_of(given["__ip"])
        project = headers.get("openpanel-client-id") or body.get("clientId") or ""
        secret = headers.get("openpanel-client-secret") or body.get("clientSecret")
        sender = _Sender(str(project), address, headers.get("user-agent"), bool(secret))
        sender.device_id = device_of(sender.project, address, sender.user_agent)
        device = given.get("__deviceId")
        if isinstance(device, str) and 0 < len(device) <= _LONGEST_DEVICE:
            sender.device_id = device
        return sender

    def _admit(
        self, sender: _Sender, headers: Mapping[str, str], body: dict[str, Any]
    ) -> Answer | None:
        """Check the credentials, the project's filters, and for bots; None: come in."""
        words = self._refusal(sender, headers, body)
        if words is not None:
            return Answer(401, f"Ingestion: {words}")
        if not sender.has_secret:
            bot = bot_of(sender.user_agent or "")
            if bot is not None:
                return Answer(202, {"bot": bot})
        return None

    def _refusal(
        self, sender: _Sender, headers: Mapping[str, str], body: dict[str, Any]
    ) -> str | None:
        if not sender.project:
            return "Missing client id"
        if _UUID_V4.fullmatch(sender.project) is None:
            return "Client ID must be a valid UUIDv4"
        if self._client_id is not None:
            if sender.project != self._client_id:
                return "Invalid client id"
            secret = headers.get("openpanel-client-secret") or body.get("clientSecret")
            if self._client_secret is not None and secret != self._client_secret:
                return "Invalid cors or secret"
        payload = body["payload"]
        if sender.address and sender.address in self._blocked_ips:
            return "IP address is blocked by project filter"
        if text_of(payload.get("profileId")) in self._blocked_profiles:
            return "Profile id is blocked by project filter"
        properties = payload.get("properties") or {}
        is_revenue = body["type"] == "track" and properties.get("__revenue") is not None
        if is_revenue and not sender.has_secret:
            return "Revenue tracking is not allowed without a client secret"
        return None

    def _duplicate(self, sender: _Sender, headers: Mapping[str, str], data: bytes) -> Answer | None:
        """Recognise a body that came a moment ago; the server does so only with an origin."""
        if "origin" not in headers or not sender.address:
            return None
        key = hashlib.sha256(f"{sender.address}\0{headers['origin']}\0".encode() + data).digest()
        now = time.monotonic()
        self._last = {
            known: at for known, at in self._last.items() if now - at < _DUPLICATE_SECONDS
        }
        if key in self._last:
            return Answer(200, "Duplicate event")
        self._last[key] = now
        return None

    def _take(
        self, sender: _Sender, headers: Mapping[str, str], body: dict[str, Any]
    ) -> tuple[Answer, StoredEvent | None, tuple[str, ...]]:
        """Do what a call asks for."""
        kind, payload = body["type"], body["payload"]
        profile_id = text_of(payload.get("profileId"))
        dropped: tuple[str, ...] = ()
        if kind == "alias":
            words = {"status": 400, "error": "Bad Request", "message": "Alias is not supported"}
            return Answer(400, words), None, ()
        if kind in {"increment", "decrement"}:
            refusal = self._count(kind, profile_id, payload)
            if refusal is not None:
                return refusal, None, ()
        elif kind == "identify":
            dropped = self.store.identify(profile_id, payload)
        elif kind == "group":
            self.store.keep_group(payload)
        elif kind == "assign_group":
            self.store.assign(profile_id, payload["groupIds"])
        elif kind == "track":
            event = self._event(sender, headers, payload)
            self.store.keep_event(event)
            session = session_of(sender.device_id, event.created_at)
            return Answer(200, _ids(sender, session)), event, event.dropped
        session = session_of(sender.device_id, _now())
        return Answer(200, _ids(sender, session)), None, dropped

    def _count(self, kind: str, profile_id: str, payload: dict[str, Any]) -> Answer | None:
        value = payload.get("value", 1)
        signed = value if kind == "increment" else -value
        why = self.store.count(profile_id, payload["property"], signed)
        if why == "unknown":
            return Answer(404, {"status": 404, "message": "Profile not found"})
        if why is not None:
            return Answer(400, {"status": 400, "message": "Property value is not a number"})
        return None

    def _event(
        self, sender: _Sender, headers: Mapping[str, str], payload: dict[str, Any]
    ) -> StoredEvent:
        given = payload.get("properties") or {}
        identity = given.get("__identify")
        profile_id = text_of(payload.get("profileId"))
        if isinstance(identity, dict) and text_of(identity.get("profileId")):
            profile_id = text_of(identity["profileId"])
            if len(identity) > 1:
                self.store.identify(profile_id, identity)
        own = {key: value for key, value in given.items() if key not in _READ_BY_SERVER}
        properties, dropped = flatten(own)
        now = _now()
        created_at = event_time(given.get("__timestamp"), now)
        is_old = (now - created_at).total_seconds() > _OLD_SECONDS
        server = is_server(sender.user_agent or "")
        revenue = given.get("__revenue")
        return StoredEvent(
            name=payload["name"],
            profile_id=profile_id,
            groups=tuple(payload.get("groups") or ()),
            properties=properties,
            dropped=dropped,
            created_at=created_at,
            device_id=sender.device_id,
            session_id="" if is_old else session_of(sender.device_id, created_at),
            ip=sender.address,
            user_agent=sender.user_agent or "",
            sdk_name=headers.get("openpanel-sdk-name", ""),
            sdk_version=headers.get("openpanel-sdk-version", ""),
            revenue=None if revenue is None else int(revenue),
            from_server=server,
        )

    def _note(
        self,
        headers: Mapping[str, str],
        body: Any,
        answer: Answer,
        event: StoredEvent | None = None,
        dropped: tuple[str, ...] = (),
    ) -> None:
        call = body if isinstance(body, dict) else {}
        payload = call.get("payload")
        kind = call.get("type")
        received = ReceivedCall(
            type=kind if isinstance(kind, str) else "",
            name=name_of(kind, payload),
            payload=payload,
            headers={name: v for name, v in headers.items() if name != "openpanel-client-secret"},
            status=answer.status,
            message="" if answer.status == 200 else words_of(answer),
            received_at=_now(),
            event=event,
            dropped=dropped,
        )
        self.store.keep_call(received)
        if self.on_call is not None:
            with contextlib.suppress(Exception):  # who looks on must not change the answer
                self.on_call(received)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _ids(sender: _Sender, session_id: str) -> dict[str, str]:
    return {"deviceId": sender.device_id, "sessionId": session_id}
