"""Reading answers: the quick way and ``http.client`` make the same of the same bytes."""

from __future__ import annotations

import http.client
import io
import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from op_logging._answer import LONGEST_ANSWER, Answer, _parse, read_answer

Parts = list[bytes]
Receive = Callable[[], bytes]
ENDS: list[type[OSError] | None] = [None, TimeoutError, ConnectionResetError]
"""What comes after the last byte: the end of the stream, silence, a reset."""
CHUNK = 64 * 1024
"""As many bytes as one look at the socket brings at most."""


def receiver(parts: Parts, end: type[OSError] | None = None) -> Receive:
    """Return what brings the parts one after the other, and then the end, again and again."""
    left = iter(part for part in parts if part)

    def receive() -> bytes:
        part = next(left, b"")
        if not part and end is not None:
            raise end
        return part

    return receive


def found(read: Callable[[Receive], Answer], receive: Receive) -> Answer | str:
    """Return an answer as it was read, or that it raised what it may raise."""
    try:
        return read(receive)
    except (OSError, http.client.HTTPException):
        return "raised"


def by_http_client(receive: Receive) -> Answer:
    """Read an answer without the quick way."""
    return _parse(receive(), receive)


def assert_same(parts: Parts, end: type[OSError] | None) -> None:
    """Check that both ways make the same of an answer."""
    quick = found(read_answer, receiver(parts, end))
    thorough = found(by_http_client, receiver(parts, end))
    if isinstance(quick, str) or isinstance(thorough, str):
        assert quick == thorough
        return
    assert quick.status == thorough.status
    assert thorough.reusable or not quick.reusable
    if quick.status != 200:
        assert quick == thorough


def split(data: bytes, places: list[int]) -> Parts:
    """Cut bytes at some places, and where they are too many for one look at the socket."""
    ends = sorted({*(place % (len(data) + 1) for place in places), *range(0, len(data), CHUNK)})
    bounds = itertools.zip_longest(ends, ends[1:], fillvalue=len(data))
    return [data[begin:end] for begin, end in bounds]


def plain(length: int = 2, *headers: str, body: bytes = b"{}") -> bytes:
    """Return a plain 200."""
    lines = ["HTTP/1.1 200 OK", *headers, f"content-length: {length}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


STATUS_LINES = [
    "HTTP/1.1 200 OK", "HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1  200 OK", "HTTP/1.1 200 \xe4",
    "HTTP/1.1\t200 OK", "http/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/0.9 200 OK", "HTTP/2 200 OK",
    "HTTP/1.12 200 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 099 OK", "HTTP/1.1 2 00", "HTTP/1.1 200\0",
    "HTTP/1.1 202 Accepted", "HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 100 Continue", "HTTP/1.1 101 Switching", "HTTP/1.1 103 Early Hints",
    "HTTP/1.1 302 Found", "HTTP/1.1 400 Bad", "HTTP/1.1 500 Error", "220 ready", "", " ",
]  # fmt: skip
LENGTHS = [
    "0", "2", "1", "3", " 2 ", "\t2", "02", "00002", "000002", "+2", "-2", "2_0", "0x2", "2,2",
    "2, 2", "2 2", "2;", "", "two", "\xb2", "2\x00", "65535", "65536", "99999", "9" * 30,
    "9" * 5000,
]  # fmt: skip
HEADERS = [
    "date: Mon, 24 Nov 2025 16:00:00 GMT", "Content-Type: application/json", "x:", "x: ", ":x",
    "Connection: keep-alive", "connection: close", "CONNECTION: Close", "connection:\tx, close",
    "connection : close", "connection: closed", "x-connection: close", "x: connection: close",
    "Keep-Alive: timeout=1", "Transfer-Encoding: chunked", "transfer-encoding: CHUNKED",
    "transfer-encoding: gzip, chunked", "transfer-encoding : chunked", "tRansfer-encoding: x",
    "x: transfer-encoding: chunked", "x: content-length: 9", "x-content-length: 9",
    "content-length : 9", "Content-Length\t: 9", "content_length: 9", "content-lengths: 9",
    " content-length: 9", "\tfolded", " folded", "x: folded\r\n content-length: 9",
    "x: folded\r\n\tmore", "connection:\r\n close", "content-length:\r\n 2", "no colon at all",
    "From me: content-length: 9", "From: me", "x: a\ncontent-length: 9", "x: a\rcontent-length: 9",
    "x: a\x0bcontent-length: 9", "x: a\x0ccontent-length: 9", "x: a\x1ccontent-length: 9",
    "x: a\x85content-length: 9", "x: \x00", "x: \x7f", "x: \xff\xfe", "x\x00: y", "x\xe4: y",
    "x y: z", "(x): y", "{x}: y", '"x": y', "x: " + "y" * 3000, "x: " + "y" * 70_000, "\r", "\n",
]  # fmt: skip


@st.composite
def lengths(draw: st.DrawFn, body: bytes) -> str:
    """Choose a header for the length: mostly the right one."""
    name = draw(st.sampled_from(["content-length", "Content-Length", "CONTENT-LENGTH"]))
    right = st.just(f"{len(body)}")
    value = draw(right | right | right | st.sampled_from(LENGTHS))
    return f"{name}:{draw(st.sampled_from([' ', '', '  ', chr(9)]))}{value}"


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Build an answer, right or wrong."""
    body = draw(st.sampled_from([b"{}", b"", b"Duplicate event", b"5\r\nhello\r\n0\r\n\r\n"]))
    headers = draw(st.lists(st.sampled_from(HEADERS), max_size=4))
    headers += draw(st.lists(st.just("a: b"), max_size=1)) * draw(st.sampled_from([0, 1, 41, 101]))
    headers += [draw(lengths(body)) for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2])))]
    status = draw(st.just(STATUS_LINES[0]) | st.sampled_from(STATUS_LINES))
    end = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n"]))
    lines = [status, *draw(st.permutations(headers)), "", ""]
    interim = draw(st.sampled_from([b"", b"", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n"]))
    return interim * draw(st.sampled_from([1, 1, 9, 12])) + end.join(lines).encode("latin-1") + body


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Build an answer of which some bytes are wrong, missing or too many."""
    data = draw(answers())
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        gone = draw(st.integers(0, 3))
        data = data[:place] + draw(st.binary(max_size=3)) + data[place + gone :]
    if draw(st.booleans()):
        data = data[: draw(st.integers(0, len(data)))]
    return data + draw(st.sampled_from([b"", b"", b"x", b"\r\n", plain()]))


places = st.lists(st.integers(0, 400), max_size=6)


@settings(max_examples=600)
@given(answers() | spoilt(), places, st.sampled_from(ENDS))
@example(plain(5, body=b""), [], None)
@example(plain(5, body=b""), [], TimeoutError)
@example(plain(5, body=b"ab"), [], ConnectionResetError)
@example(plain(2, "connection: x", "connection: close"), [], None)
@example(b"HTTP/1.1 103 Early\r\n\r\n" * 10, [], None)
def test_both_ways_make_the_same_of_an_answer(
    data: bytes, cuts: list[int], end: type[OSError] | None
) -> None:
    """However it is written and spoilt, in whatever pieces it comes, however it ends."""
    assert_same(split(data, cuts), end)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=40), max_size=5), st.sampled_from(ENDS), st.booleans())
def test_both_ways_make_the_same_of_any_bytes(
    parts: Parts, end: type[OSError] | None, begun: bool
) -> None:
    """What is no HTTP raises, both ways; nothing else is ever raised."""
    assert_same([b"HTTP/1.1 200 OK\r\n", *parts] if begun else parts, end)


class _Socket:
    """A socket of which ``http.client`` makes its own file."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)
        self.file.close = lambda: None  # type: ignore[method-assign]  # others read on

    def makefile(self, _mode: str) -> io.BytesIO:
        """Return the file."""
        return self.file


def by_a_file(data: bytes) -> Answer:
    """Read an answer as a program does that knows ``http.client`` alone."""
    for _ in range(10):
        source = _Socket(data)
        response = http.client.HTTPResponse(source, method="POST")  # type: ignore[arg-type]  # asks for no more
        response.begin()
        data = source.file.read() if 100 < response.status < 200 else data
        if not 100 < response.status < 200 or response.status == 101:
            break
    return Answer(response.status)


@settings(max_examples=300)
@given(answers() | spoilt(), places)
def test_an_answer_means_what_http_client_alone_says(data: bytes, cuts: list[int]) -> None:
    """The stream that it is given reads as a file does."""

    def whole(_receive: Receive) -> Answer:
        return by_a_file(data)

    mine = found(read_answer, receiver(split(data, cuts)))
    its = found(whole, receiver([]))
    assert getattr(mine, "status", mine) == getattr(its, "status", its)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
WHOLE = [
    (200, plain(body=b""), b"{}"),
    (200, plain(0, body=b""), b""),
    (200, plain(2, "Connection: keep-alive", "Keep-Alive: timeout=72", body=b""), b"{}"),
    (200, plain(2, "x: folded\r\n  line", body=b""), b"{}"),
    (200, plain(20_000, body=b""), b"x" * 20_000),
    (200, b"HTTP/1.1 100 Continue\r\n\r\n" + plain(body=b""), b"{}"),
    (200, b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 9 + plain(body=b""), b"{}"),
    (200, OK + CHUNKED + b"\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    (204, b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    (400, b"HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\n", b"no"),
    (503, b"HTTP/1.1 503 Busy\r\n" + CHUNKED + b"\r\n", b"1;x=y\r\nz\r\n0\r\na: b\r\n\r\n"),
]


@pytest.mark.parametrize(("status", "head", "body"), WHOLE)
def test_a_whole_answer_leaves_the_connection_to_the_next(
    status: int, head: bytes, body: bytes
) -> None:
    """In whatever pieces it comes; two of them are two answers."""
    data = head + body
    single = [data[at : at + 1] for at in range(len(data))]
    for pieces in ([data], [data[:1], data[1:]], [data[:-1], data[-1:]], [head, body], single):
        receive = receiver(pieces * 2, TimeoutError)
        for _ in range(2):
            answer = read_answer(receive)
            assert (answer.status, answer.reusable) == (status, True)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("status", "head", "body"), WHOLE)
def test_an_answer_that_is_cut_off_ends_its_connection(
    status: int, head: bytes, body: bytes, end: type[OSError] | None
) -> None:
    """Wherever it is cut. Its status counts as soon as the head is there."""
    data = head + body
    for length in range(0, len(data), max(1, len(data) // 300)):
        answer = found(read_answer, receiver([data[:length]], end))
        assert isinstance(answer, str) or not answer.reusable, length
        if length >= len(head):
            assert isinstance(answer, Answer), length
            assert answer.status == status, length


NOT_FOR_THE_NEXT = [
    plain(2, "connection: close"),
    plain(2, "Connection: keep-alive, Close"),
    plain() + b"x",
    plain() + plain(),
    b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10,
    b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n",
    b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n-2\r\n",
    b"HTTP/1.1 400 Bad\r\ncontent-length: %d\r\n\r\n" % (LONGEST_ANSWER + 1) + b"x" * 65_537,
]


@pytest.mark.parametrize("data", NOT_FOR_THE_NEXT)
def test_after_some_answers_a_connection_is_not_used_again(data: bytes) -> None:
    """What comes next on it would be taken for the answer to another call."""
    assert not read_answer(receiver(split(data, []), TimeoutError)).reusable


def test_an_answer_is_not_read_beyond_what_it_may_say() -> None:
    """Neither an endless body nor an endless line is kept, or waited for."""
    head = b"HTTP/1.1 400 Bad\r\n"
    for begin, part in (
        (head + b"content-length: 104857600\r\n\r\n", b"x" * CHUNK),
        (head + b"transfer-encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n" % (60_000, b"x" * 60_000)),
        (head + b"\r\n", b"x" * CHUNK),
        (head + b"x: ", b"x" * CHUNK),
        (head, b"x: y\r\n" * 1000),
        (b"", b"x" * CHUNK),
    ):
        taken = itertools.count(1)
        parts = itertools.chain([begin], itertools.repeat(part))

        def receive(taken: Iterator[int] = taken, parts: Iterator[bytes] = parts) -> bytes:
            assert next(taken) <= 5
            return next(parts) or next(parts)

        answer = found(read_answer, receive)
        assert isinstance(answer, str) or (answer.status, answer.reusable) == (400, False)
        assert isinstance(answer, str) or len(answer.body) <= LONGEST_ANSWER
