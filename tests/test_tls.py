"""TLS: whom it trusts, that it fails closed, and connections that stay or end while idle."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from op_logging import ConfigurationError, OpenPanelConfig, Revenue, Track
from op_logging._outcomes import Outcome, Verdict
from op_logging._transport import Transport
from support.clients import CLIENT_ID, SECRET, client_of
from support.misbehaving import Parting, Play
from support.scripted_server import OK, Request, ScriptedServer, http
from support.waiting import wait_until
from support.what_happens import CALLS, IDS, QUICK, Call, assert_goes_another_way, goes_on


class TlsServer(ScriptedServer):
    """The scripted server behind TLS."""

    def __init__(
        self, authority: trustme.CA, name: str = "localhost", *, asks_again: bool = False
    ) -> None:
        super().__init__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        if asks_again:
            authority.configure_trust(context)
            context.verify_mode = ssl.CERT_OPTIONAL
            context.post_handshake_auth = True
        self._listener = context.wrap_socket(
            self._listener, server_side=True, do_handshake_on_connect=False
        )  # the thread that serves a connection shakes hands, when it first reads
        self.url = f"https://localhost:{self.port}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of the tests' own."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its certificate in a bundle that the environment names."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    return path


def post(url: str) -> Outcome:
    """Send one call on a connection of its own."""
    given = {"client_id": CLIENT_ID, "client_secret": SECRET, "timeout": (2, 2), "api_url": url}
    connection = Transport(OpenPanelConfig.from_options(given, {})).connect()
    try:
        return connection.post(b'{"type":"track","payload":{"name":"event"}}', {})
    finally:
        connection.close()


@pytest.mark.usefixtures("bundle")
def test_tls_with_the_environments_bundle(authority: trustme.CA) -> None:
    """As for any program that uses requests."""
    with TlsServer(authority) as server, client_of(server.url) as client:
        client.submit(Track("over TLS"))
        assert client.flush(5)
        assert server.names == ["over TLS"]


def hash_of_subject(certificate: bytes) -> str:
    """Return the name under which OpenSSL looks for a certificate in a folder."""
    subject = x509.load_pem_x509_certificate(certificate).subject
    plain = [x509.NameAttribute(part.oid, str(part.value).lower()) for part in subject]
    found = x509.Name(plain).public_bytes()
    begin = 2 if found[1] < 128 else 3
    return hashlib.sha1(found[begin:], usedforsecurity=False).digest()[3::-1].hex()


@pytest.mark.parametrize("trusted", [True, False])
def test_the_environments_bundle_may_be_a_folder_of_certificates(
    authority: trustme.CA, tmp_path: Path, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each under the hash of its subject. Who is not in it is not trusted."""
    certificate = (authority if trusted else trustme.CA()).cert_pem.bytes()
    (tmp_path / f"{hash_of_subject(certificate)}.0").write_bytes(certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with TlsServer(authority) as server:
        outcome = post(server.url)
        assert len(server.requests) == int(trusted)
    assert outcome.verdict is (Verdict.DELIVERED if trusted else Verdict.NOT_PROCESSED)


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_fails_closed(
    authority: trustme.CA, bundle: Path, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong host name, or an authority that nobody knows: nothing is sent, nothing is lost."""
    if not trusted:
        trustme.CA().cert_pem.write_to_path(str(bundle))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    name = "elsewhere.example" if trusted else "localhost"
    with TlsServer(authority, name) as server:
        outcome = post(server.url)
        assert server.requests == []
    assert (outcome.verdict, outcome.reason) == (Verdict.NOT_PROCESSED, "tls")
    assert "certificate verify failed" in outcome.message


def test_without_a_bundle_the_usual_authorities_are_trusted_and_no_other(
    authority: trustme.CA, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything waits, revenue, too, and neither credentials nor calls were sent or said."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with TlsServer(authority) as server, client_of(server.url, **QUICK) as client:
        client.submit(Revenue(100))
        wait_until(lambda: client.stats().retried >= 3)
        stats = client.stats()
        assert (stats.accepted, stats.queued + stats.in_flight) == (1, 1)
        assert "certificate verify failed" in str(stats.last_error)
        assert SECRET not in str(stats)
        assert server.requests == []
    assert "certificate verify failed" in caplog.text
    assert SECRET not in caplog.text


def test_a_handshake_that_fails_was_never_sent() -> None:
    """Also where it is no certificate's fault: the server speaks no TLS, or hangs up."""
    answers = [b"this is no TLS\r\n\r\n", b""]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                connection.recv(4096)
                connection.sendall(answer)
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        outcomes = [post(url) for _ in answers]
        thread.join(5)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.NOT_PROCESSED] * 2


class AskAgain(Play):
    """An answer, and then a question of TLS's own on the idle connection.

    Attributes:
        asked: Set when it was asked.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()

    def play(self, connection: socket.socket, over: threading.Event) -> bool:
        """Answer, and ask for the client's certificate once more."""
        assert isinstance(connection, ssl.SSLSocket)
        connection.sendall(OK)
        over.wait(0.05)
        connection.verify_client_post_handshake()
        connection.do_handshake()
        self.asked.set()
        return True


@pytest.mark.usefixtures("bundle")
def test_what_tls_says_on_an_idle_connection_does_not_end_it(authority: trustme.CA) -> None:
    """Tickets, new keys and questions are no data: the connection is used again."""
    answer = AskAgain()
    with TlsServer(authority, asks_again=True) as server:
        server.script = lambda request: answer if request.number == 1 else OK
        with client_of(server.url, **QUICK) as client:
            client.submit(Track("first"))
            assert client.flush(10)
            assert answer.asked.wait(10)
            server.wait_until_idle()
            client.submit(Revenue(100))
            assert client.flush(10)
            assert (client.stats().delivered, client.stats().retried) == (2, 0)
            goes_on(client, server)
            assert server.connections == 1


@pytest.mark.usefixtures("bundle")
def test_an_idle_tls_connection_is_kept(authority: trustme.CA) -> None:
    """TLS 1.3 sends its session tickets when it likes."""
    with TlsServer(authority) as server, client_of(server.url, **QUICK) as client:
        for _ in range(4):
            client.submit(Track("event"))
            assert client.flush(10)
            server.wait_until_idle()
        assert (len(server.requests), server.connections) == (4, 1)


def says_goodbye(connection: socket.socket) -> None:
    """Close as TLS wants it."""
    assert isinstance(connection, ssl.SSLSocket)
    connection.settimeout(0.2)
    with contextlib.suppress(OSError):
        connection.unwrap()


class Leave(Parting):
    """An answer, after which TLS is ended in some way when an event is set."""

    def __init__(
        self, when: threading.Event, goodbye: Callable[[socket.socket], None], *, resets: bool
    ) -> None:
        super().__init__(OK, when, resets=resets)
        self._goodbye = goodbye

    def play(self, connection: socket.socket, over: threading.Event) -> bool:
        """Answer, wait, and say goodbye, or not."""
        super().play(connection, over)
        self._goodbye(connection)
        return False


@pytest.mark.usefixtures("bundle")
@pytest.mark.parametrize("goodbye", [says_goodbye, lambda _connection: None])
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_a_tls_connection_that_ended_while_idle_costs_nothing(
    authority: trustme.CA, call: Call, resets: bool, goodbye: Callable[[socket.socket], None]
) -> None:
    """With a goodbye, without one, or with a reset: it is seen before the call is written."""
    leave = threading.Event()

    def script(request: Request) -> bytes | Parting:
        return Leave(leave, goodbye, resets=resets) if request.number == 1 else OK

    with TlsServer(authority) as server, client_of(server.url, **QUICK) as client:
        server.script = script
        client.submit(Track("first"))
        assert client.flush(10)
        leave.set()
        wait_until(lambda: server.ended == 1)
        server.wait_until_idle()
        assert_goes_another_way(call, client, server)


@pytest.mark.usefixtures("bundle")
def test_answers_over_tls_mean_what_they_mean_without(authority: trustme.CA) -> None:
    """Also one that is longer than what TLS hands over at a time."""
    answers = {
        1: http(503, "x" * 50_000),
        2: http(200, "x" * 50_000),
        3: http(400, "x" * 300_000),
        4: OK,
    }
    with TlsServer(authority) as server, client_of(server.url, **QUICK) as client:
        server.script = lambda request: answers[request.number]
        for _ in range(3):
            client.submit(Track("event"))
            assert client.flush(10)
        stats = client.stats()
        assert (stats.delivered, stats.rejected, stats.retried) == (2, 1, 1)
        assert server.connections == 2


@contextlib.contextmanager
def deaf_address(port: int) -> Iterator[str]:
    """Give an address on which nobody answers: its listener's queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.2", port))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.2", port))
        yield "127.0.0.2"


@pytest.mark.usefixtures("bundle")
def test_a_host_whose_first_address_is_deaf_is_reached_by_the_next(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hand-shake has a time of its own. Only the host's name is made up: there is no DNS."""
    with TlsServer(authority) as server, deaf_address(server.port) as deaf:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, server.port))
            for address in (deaf, "127.0.0.1")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        given = {"client_id": CLIENT_ID, "client_secret": SECRET, "api_url": server.url}
        config = OpenPanelConfig.from_options({**given, "timeout": (0.5, 2)}, {})
        connection = Transport(config).connect()
        outcome = connection.post(b'{"type":"track","payload":{"name":"event"}}', {})
        connection.close()
    assert outcome.verdict is Verdict.DELIVERED


def test_a_handshake_that_takes_too_long_is_named_so() -> None:
    """And not after the way in which TLS asks for more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        given = {"client_id": CLIENT_ID, "client_secret": SECRET, "api_url": url}
        config = OpenPanelConfig.from_options({**given, "timeout": (0.2, 2)}, {})
        connection = Transport(config).connect()
        outcome = connection.post(b"{}", {})
        connection.close()
    assert (outcome.verdict, outcome.reason) == (Verdict.NOT_PROCESSED, "connect")
    assert "Timeout" in outcome.message


def test_a_bundle_that_does_not_exist_is_a_wrong_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is named where the client is made, not where an event is lost."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigurationError, match="REQUESTS_CA_BUNDLE"):
        Transport(OpenPanelConfig(client_id=CLIENT_ID, client_secret=SECRET))
