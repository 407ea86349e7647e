"""One POST in, one outcome out. Never raises, never follows a redirect, never retries.

Built on ``requests``: its rules for URLs, proxies and certificate bundles in the environment are
asked once, not for every request. Redirects are never followed: the credentials are custom
headers, which would be carried over to any host.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import requests
import requests.adapters
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.exceptions import ReadTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from . import _process
from ._answer import LONGEST_ANSWER
from ._config import ConfigurationError, OpenPanelConfig
from ._direct import DirectConnection, StaleError, Target, UnsentError
from ._encoding import dumps
from ._outcomes import Outcome, Verdict, clean_message, read_answer
from ._rendered import Built
from ._version import __version__

__all__ = ["Connection", "Transport"]

_CALLS = logging.getLogger("op_logging.calls")
SDK_NAME = "op-logging"
USER_AGENT = f"{SDK_NAME}/{__version__}"
"""The server takes ``name/1.2.3`` for another server. It must never name an operating system or a
browser, which would make every event a visitor's."""


class Transport:
    """What all connections of a client have in common. Resolved once, then only read.

    ``requests`` says where to go: its rules for URLs, for proxies, and for certificate bundles in
    the environment. Without a proxy the way there is `DirectConnection`; through one it is
    ``requests``' own adapter. With ``delivery="log"`` there is no way, and nothing is resolved.

    Args:
        config: Where to send, with which credentials and time-outs.
    """

    def __init__(self, config: OpenPanelConfig) -> None:
        self.is_log = config.delivery == "log"
        if self.is_log:
            return
        self.timeout = config.timeout
        self.secret = config.client_secret
        self.headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
            "openpanel-sdk-name": SDK_NAME,
            "openpanel-sdk-version": __version__,
            "openpanel-client-id": config.client_id or "",
        }
        if config.client_secret:
            self.headers["openpanel-client-secret"] = config.client_secret
        with requests.Session() as session:
            settings = session.merge_environment_settings(config.track_url, {}, None, None, None)
        self.proxies: Mapping[str, str] = settings["proxies"]
        self.verify: bool | str = settings["verify"] or False
        request = requests.Request("POST", config.track_url, headers=self.headers, data=b"")
        self.request = request.prepare()
        self.target = None if select_proxy(config.track_url, self.proxies) else self._target()

    def connect(self) -> Connection:
        """Return a connection of its own for one thread; it connects when it is first used."""
        if self.is_log:
            return _LoggingConnection()
        if self.target is None:
            return _AdaptersConnection(self)
        return _DirectConnection(self.target, self.secret)

    def _target(self) -> Target:
        url = urlsplit(self.request.url or "")
        is_tls = url.scheme == "https"
        return Target(
            host=(url.hostname or "").replace("%25", "%"),
            port=url.port or (443 if is_tls else 80),
            path=self.request.path_url,
            headers=self.headers,
            context=self._tls() if is_tls else None,
            timeout=self.timeout,
        )

    def _tls(self) -> ssl.SSLContext:
        """Return a context that verifies as ``requests`` does, which leaves it to urllib3."""
        context = create_urllib3_context()
        bundle = DEFAULT_CA_BUNDLE_PATH if self.verify is True else str(self.verify)
        is_folder = Path(bundle).is_dir()
        try:
            context.load_verify_locations(
                cafile=None if is_folder else bundle, capath=bundle if is_folder else None
            )
        except OSError as error:
            raise ConfigurationError(
                f"REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE={bundle!r} is not allowed: use a file, or a "
                f"folder, of certificates ({error.strerror or error})"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        return context


class Connection(Protocol):
    """One kept-alive connection. Not thread-safe: each lane has its own."""

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        longest: float = math.inf,
        *,
        careful: bool = False,
    ) -> Outcome:
        """Send one call and read its answer.

        Args:
            body: The request's body, JSON.
            headers: Headers of this call, on top of those of the client.
            longest: Seconds that the caller has left; shortens the configured time-outs.
            careful: Whether the call would be lost with its connection: then that is looked at
                first, even if it was used a moment ago.

        Returns:
            The outcome; a failure of the network is one, too.
        """

    def close(self) -> None:
        """Close the connection. It may be used again: it then connects anew."""


class _DirectConnection:
    """Straight to the server."""

    def __init__(self, target: Target, secret: str | None) -> None:
        self._connection = DirectConnection(target)
        self._secret = secret

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        longest: float = math.inf,
        *,
        careful: bool = False,
    ) -> Outcome:
        try:
            answer = self._connection.post(body, headers, longest, careful=careful)
        except UnsentError as error:
            outcome = _read_failure(error.__cause__ or error, False, self._secret)
            return outcome._replace(stale=error.stale)
        except StaleError as error:
            outcome = _read_failure(error.__cause__ or error, True, self._secret)
            return outcome._replace(stale=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is an outcome
            return _read_failure(error, True, self._secret)
        if answer.status == 200:
            return _DELIVERED
        return read_answer(answer.status, answer.headers, answer.body, self._secret)

    def close(self) -> None:
        self._connection.close()


_DELIVERED = Outcome(Verdict.DELIVERED, status=200)


class _LoggingConnection:
    """Writes each call on a logger, as the formatter writes a line, and sends nothing."""

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        longest: float = math.inf,  # noqa: ARG002 - there is nothing to wait for
        *,
        careful: bool = False,  # noqa: ARG002 - nor to lose
    ) -> Outcome:
        try:
            line = dumps(Built(json.loads(body), headers).line()) if headers else body
            _CALLS.disabled = False  # dictConfig disables every logger that it does not name
            with _process.speaking():
                _CALLS.info("%s", line.decode())
        except BaseException as error:
            if _process.concerns_application(error):
                raise
            return Outcome(Verdict.REJECTED, "log_failed", f"{type(error).__name__} was raised")
        return _DELIVERED

    def close(self) -> None:
        pass


class _AdaptersConnection:
    """Through a proxy, by the adapter of ``requests``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._adapter = requests.adapters.HTTPAdapter(
            pool_connections=1, pool_maxsize=1, max_retries=0
        )

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        longest: float = math.inf,
        *,
        careful: bool = False,  # noqa: ARG002 - urllib3 always looks
    ) -> Outcome:
        transport = self._transport
        connect, read = transport.timeout
        request = transport.request.copy()
        sending = _Body(body)
        request.body = sending  # type: ignore[assignment]  # urllib3 takes what can be read
        request.headers.update(headers)
        request.headers["Content-Length"] = str(len(body))
        try:
            response = self._adapter.send(
                request,
                stream=True,
                timeout=(max(0.01, min(connect, longest)), max(0.01, min(read, longest))),
                verify=transport.verify,
                proxies=transport.proxies,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is an outcome
            return _read_failure(error, sending.began, transport.secret)
        return _read_response(response, transport.secret)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._adapter.close()


class _Body:
    """A request's body that knows whether any of it was sent.

    urllib3 reads it after it has connected, shaken hands and sent the headers. Before that no
    server can have processed the call.
    """

    def __init__(self, body: bytes) -> None:
        self.began = False
        self._body = body

    def read(self, _size: int) -> bytes:
        self.began = True
        body, self._body = self._body, b""
        return body


def _read_response(response: requests.Response, secret: str | None) -> Outcome:
    body = b""
    with contextlib.suppress(Exception):  # the status alone has to do then
        body = response.raw.read(LONGEST_ANSWER, decode_content=False)
    headers = {name.lower(): value for name, value in response.headers.items()}
    outcome = read_answer(response.status_code, headers, body, secret)
    complete = len(body) < LONGEST_ANSWER
    if not complete or headers.get("connection", "").lower() == "close":
        with contextlib.suppress(Exception):
            response.raw.close()
    with contextlib.suppress(Exception):
        response.raw.release_conn()
    return outcome


def _read_failure(error: BaseException, was_sent: bool, secret: str | None) -> Outcome:
    """Tell a failure before anything was sent from one after which nothing is known."""
    chain = list(_causes(error))
    root = chain[-1]
    words = f"{type(root).__name__}: {root}" if str(root) else type(root).__name__
    message = clean_message(words, secret)
    if not was_sent:
        reason = "tls" if isinstance(root, ssl.SSLError) else "connect"
        return Outcome(Verdict.NOT_PROCESSED, reason, message)
    if any(isinstance(cause, (TimeoutError, ReadTimeoutError)) for cause in chain):
        return Outcome(Verdict.AMBIGUOUS, "timeout", "no answer in time")
    return Outcome(Verdict.AMBIGUOUS, "connection_lost", message)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an exception of ``requests`` down to what happened on the socket."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = [getattr(error, "reason", None), *error.args, error.__cause__]
        if not error.__suppress_context__:
            inner.append(error.__context__)
        error = next((cause for cause in inner if isinstance(cause, BaseException)), error)
