"""Reading an HTTP answer: quickly where it is plain, with ``http.client``'s own parser elsewhere.

The quick way knows one form only: a complete 200 of HTTP/1.1 with one ``content-length``, neither
chunked nor folded. Whatever else comes (1xx, chunked, no length, huge or folded headers, an end in
the middle) goes byte for byte through ``http.client``. Tests let both read the same bytes.
"""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["LONGEST_ANSWER", "Answer", "read_answer"]

LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer's body that are read at most. A longer one ends its connection."""
_MOST_BYTES = 16 * LONGEST_ANSWER
"""What is received of an answer at most, all its heads included."""
_MOST_INTERIM_ANSWERS = 10
_NO_HEADERS: Mapping[str, str] = {}
_LINES = (
    rb"(?:(?![CcTt](?i:ontent-length|ransfer-encoding):)"
    rb"[!#-9A-Z^-z|~]+:[\t -~\x80-\xff]*\r\n){0,40}"
)
_PLAIN = re.compile(
    rb"HTTP/1\.1 200(?: [\t -~]*)?\r\n"
    + _LINES
    + rb"(?i:content-length):[ \t]*([0-9]{1,5})[ \t]*\r\n"
    + _LINES
    + rb"\r\n"
)
_CLOSES = re.compile(rb"\r\nconnection:[^\r]*close", re.IGNORECASE)


class Answer(NamedTuple):
    """An answer as it was read. Immutable.

    Attributes:
        status: The HTTP status.
        headers: Its headers, by lower-case name.
        body: Its body, as far as it was read.
        reusable: Whether the connection may be used for another request.
    """

    status: int
    headers: Mapping[str, str] = _NO_HEADERS
    body: bytes = b""
    reusable: bool = False


_PLAIN_ANSWER = Answer(200, reusable=True)
_LAST_PLAIN_ANSWER = Answer(200)


def read_answer(receive: Callable[[], bytes]) -> Answer:
    """Read one answer.

    Args:
        receive: Returns what came next, nothing at the end of the stream; may raise OSError.

    Returns:
        The answer. Of a plain 200 neither headers nor body are kept: they say nothing more.

    Raises:
        OSError: From ``receive``, before status and headers were there.
        http.client.HTTPException: If it is no HTTP, or ends within status or headers.
    """
    data = receive()
    plain = _PLAIN.match(data)
    if plain is not None:
        whole = plain.end() + int(plain[1])
        with contextlib.suppress(OSError):  # the status is there: `_parse` lets it do
            while len(data) < whole <= LONGEST_ANSWER and (more := receive()):
                data += more
        if len(data) == whole:
            return _LAST_PLAIN_ANSWER if _CLOSES.search(data, 0, plain.end()) else _PLAIN_ANSWER
    return _parse(data, receive)


def _parse(data: bytes, receive: Callable[[], bytes]) -> Answer:
    """Let ``http.client`` read an answer that begins with ``data``."""
    stream = _Stream(data, receive)
    for _ in range(_MOST_INTERIM_ANSWERS):
        response = http.client.HTTPResponse(stream, method="POST")  # type: ignore[arg-type]  # asks for no more
        response.begin()
        if not 100 < response.status < 200 or response.status == 101:
            break
    body, complete = b"", False
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        body = response.read(LONGEST_ANSWER)  # without it the status alone has to do
        # A response is "closed", too, where its body never began or was garbled.
        complete = response.isclosed() and not response.will_close
    headers = {name.lower(): value for name, value in response.getheaders()}
    is_last = response.status >= 200 and not stream.data and not stream.ended
    return Answer(response.status, headers, body, complete and is_last)


class _Stream:
    """What was received, and what is to come, as the socket and the file ``http.client`` wants.

    Attributes:
        data: What was received and not read yet.
        ended: Whether its end was seen.
    """

    def __init__(self, data: bytes, receive: Callable[[], bytes]) -> None:
        self.data = data
        self.ended = not data
        self._received = len(data)
        self._receive = receive

    def makefile(self, _mode: str) -> _Stream:
        """Return the file to read from."""
        return self

    def readline(self, limit: int) -> bytes:
        """Read up to the end of the line."""
        while b"\n" not in self.data and len(self.data) < limit and self._fill():
            pass
        end = self.data.find(b"\n") + 1
        return self._take(min(end or limit, limit))

    def read(self, size: int) -> bytes:
        """Read so many bytes, or up to the end of the stream."""
        while len(self.data) < size and self._fill():
            pass
        return self._take(size)

    def readinto(self, buffer: memoryview) -> int:
        """Read as many bytes as fit, or up to the end of the stream."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        """Stay open: another answer may follow an interim one."""

    flush = close

    def _fill(self) -> bool:
        more = self._receive()
        self.data += more
        self.ended = not more
        self._received += len(more)
        if self._received > _MOST_BYTES:  # one interim answer after the other, say
            raise http.client.HTTPException("the answer does not end")
        return not self.ended

    def _take(self, size: int) -> bytes:
        taken, self.data = self.data[:size], self.data[size:]
        return taken
