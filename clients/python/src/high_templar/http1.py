"""A small HTTP/1.1 client connection on which every wait ends at a deadline.

`http.client` applies its timeout to each read, so that an answer that drips holds a caller for
ever, and cannot wait for ``100 Continue`` (RFC 9110, section 10.1.1).
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import threading
from collections.abc import Callable
from email.message import Message
from typing import Any
from typing import NamedTuple

from high_templar.transport import Deadline
from high_templar.transport import forget_after_fork

HEAD_BYTES_MAX = 64 << 10
"""Longest head of an answer."""

CONTINUE_SECONDS_MAX = 1.0
"""Most time to wait for ``100 Continue`` before the peer is asked whether it reacts at all."""

CONTINUE_SHARE = 0.25
"""The part of what is left until the deadline that this may take."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |$)")
_CONTINUE, _FIRST_FINAL = 100, 200
_WITHOUT_BODY = (204, 304)
_RECEIVE_BYTES = 64 << 10


class MalformedError(OSError):
    """The peer does not speak HTTP/1.1."""


class Response(NamedTuple):
    """An answer, read to its end."""

    status: int
    headers: Message
    body: bytes
    is_sent: bool = True
    """Whether the whole request had left before."""
    ignored_expect: bool = False
    """Whether the peer, or a proxy before it, waited for the body and did not ask for it."""


class Endpoint(NamedTuple):
    """Where to connect: a host and port, with or without TLS, or the path of a unix socket."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    unix: str = ""

    @property
    def authority(self) -> str:
        """What the ``Host`` header says."""
        if self.unix:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Connection:
    """One connection; after an error it is closed and of no further use."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._is_version_1_0 = False
        self.is_sent = False
        """Whether the whole request has left: from then on it may be processed, now or later."""
        self.is_reusable = False
        """Whether another request may follow."""

    def connect(self, deadline: Deadline, seconds: float) -> None:
        """Connects, within at most so many seconds for all addresses of the host together."""
        deadline = deadline.at_most(seconds)
        if self._endpoint.unix:
            self._socket = self._connected(socket.AF_UNIX, self._endpoint.unix, deadline.left)
            return
        found = resolve(self._endpoint.host, self._endpoint.port, deadline)
        for index, (family, _, _, _, address) in enumerate(found):
            try:
                # An address that swallows everything leaves time for the others.
                share = deadline.left / (len(found) - index)
                self._socket = self._connected(family, address, share)
                break
            except OSError:
                if index == len(found) - 1:
                    raise
        assert self._socket is not None  # noqa: S101 # there is at least one address
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._endpoint.tls:
            self._socket.settimeout(_some(deadline))
            self._socket = self._endpoint.tls.wrap_socket(
                self._socket, server_hostname=self._endpoint.host
            )

    @property
    def is_connected(self) -> bool:
        """Whether there is a socket."""
        return self._socket is not None

    def close(self) -> None:
        """Lets go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __del__(self) -> None:
        if getattr(self, "_socket", None) is not None:
            self.close()

    def exchange(
        self,
        head: bytes,
        body: bytes,
        deadline: Deadline,
        body_bytes_max: int,
        is_alive: Callable[[Deadline], bool] | None = None,
    ) -> Response:
        """Sends a request and reads its answer.

        With ``is_alive`` the head says ``Expect: 100-continue`` and the body follows only once the
        peer asked for it: a peer that hangs never has the whole request, and cannot process it
        when it wakes up. If it does not ask for a while, ``is_alive`` tells a peer that ignores the
        expectation, as some proxies do, from one that hangs: the first is sent the body. Raises
        `OSError`.
        """
        self.is_sent = self.is_reusable = False
        waits = False
        if is_alive is None:
            self._send(head + body, deadline)
        else:
            self._send(head, deadline)
            waits = self._is_silent(deadline) and is_alive(deadline)
            if not waits:
                status, headers = self._head(deadline)
                while status < _FIRST_FINAL and status != _CONTINUE:
                    status, headers = self._head(deadline)
                if status != _CONTINUE:
                    # A final answer in place of 100: the body stays here, the connection is spent.
                    content = self._body(status, headers, deadline, body_bytes_max)
                    return Response(status, headers, content, False)
            self._send(body, deadline)
        self.is_sent = True
        status, headers = self._head(deadline)
        while status < _FIRST_FINAL:
            # The peer was slow, and knows what is expected.
            waits = waits and status != _CONTINUE
            status, headers = self._head(deadline)
        content = self._body(status, headers, deadline, body_bytes_max)
        self.is_reusable = not self._buffer and self._keeps_alive(status, headers)
        return Response(status, headers, content, True, waits)

    @staticmethod
    def _connected(family: int, address: object, seconds: float) -> socket.socket:
        if not seconds:
            raise TimeoutError("timed out")
        sock = socket.socket(family)
        try:
            sock.settimeout(seconds)
            sock.connect(address)  # type: ignore[arg-type]
        except BaseException:
            sock.close()
            raise
        return sock

    def _send(self, data: bytes, deadline: Deadline) -> None:
        assert self._socket is not None  # noqa: S101 # the caller connected
        self._socket.settimeout(_some(deadline))
        # The timeout of `sendall` is for all of it.
        self._socket.sendall(data)

    def _receive(self, deadline: Deadline) -> bool:
        """Waits for more; false at the end of the stream."""
        assert self._socket is not None  # noqa: S101
        self._socket.settimeout(_some(deadline))
        data = self._socket.recv(_RECEIVE_BYTES)
        self._buffer += data
        return bool(data)

    def _is_silent(self, deadline: Deadline) -> bool:
        """Whether nothing comes for a while, not even the end of the stream."""
        patience = min(CONTINUE_SECONDS_MAX, CONTINUE_SHARE * deadline.left)
        try:
            if not self._buffer:
                self._receive(deadline.at_most(patience))
        except (TimeoutError, socket.timeout):  # two classes before Python 3.10
            return True
        return False

    def _until(self, end: bytes, deadline: Deadline, most: int) -> bytes:
        while True:
            at = self._buffer.find(end)
            if at >= 0:
                found = bytes(self._buffer[: at + len(end)])
                del self._buffer[: len(found)]
                return found
            if len(self._buffer) > most:
                raise MalformedError("the answer is too long")
            if not self._receive(deadline):
                raise ConnectionError("the connection was closed before the answer was complete")

    def _exactly(self, count: int, deadline: Deadline) -> bytes:
        while len(self._buffer) < count:
            if not self._receive(deadline):
                raise ConnectionError("the connection was closed before the answer was complete")
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    def _head(self, deadline: Deadline) -> tuple[int, Message]:
        line = self._until(b"\n", deadline, HEAD_BYTES_MAX).rstrip()
        matched = _STATUS.match(line)
        if not matched:
            raise MalformedError("the answer is not HTTP/1.1")
        self._is_version_1_0 = line.startswith(b"HTTP/1.0")
        lines = []
        size = 0
        while True:
            header = self._until(b"\n", deadline, HEAD_BYTES_MAX)
            lines.append(header)
            size += len(header)
            if size > HEAD_BYTES_MAX:
                raise MalformedError("the head of the answer is too long")
            if header in (b"\r\n", b"\n"):
                break
        try:
            headers = http.client.parse_headers(io.BytesIO(b"".join(lines)))
        except http.client.HTTPException as error:
            raise MalformedError(str(error) or type(error).__name__) from error
        return int(matched[1]), headers

    def _body(self, status: int, headers: Message, deadline: Deadline, most: int) -> bytes:
        if status in _WITHOUT_BODY:
            return b""
        if "chunked" in str(headers.get("Transfer-Encoding", "")).lower():
            return self._chunks(deadline, most)
        length = str(headers.get("Content-Length", ""))
        if length.isdigit():
            if int(length) > most:
                raise MalformedError("the answer is too long")
            return self._exactly(int(length), deadline)
        while self._receive(deadline):
            if len(self._buffer) > most:
                raise MalformedError("the answer is too long")
        return bytes(self._buffer)

    def _chunks(self, deadline: Deadline, most: int) -> bytes:
        content = bytearray()
        while True:
            line = self._until(b"\n", deadline, HEAD_BYTES_MAX)
            try:
                size = int(line.split(b";")[0].strip(), 16)
            except ValueError:
                raise MalformedError("the answer has a malformed chunk") from None
            if size < 0 or len(content) + size > most:
                raise MalformedError("the answer is too long")
            if not size:
                break
            content += self._exactly(size, deadline)
            self._until(b"\n", deadline, HEAD_BYTES_MAX)
        while self._until(b"\n", deadline, HEAD_BYTES_MAX) not in (b"\r\n", b"\n"):
            pass
        return bytes(content)

    def _keeps_alive(self, status: int, headers: Message) -> bool:
        tokens = str(headers.get("Connection", "")).lower()
        framed = "Content-Length" in headers or "Transfer-Encoding" in headers
        persists = "keep-alive" in tokens if self._is_version_1_0 else "close" not in tokens
        return persists and (framed or status in _WITHOUT_BODY)


class _Resolution:
    """One question to the system's resolver, under way in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        self.is_done = threading.Event()
        self.found: list[Any] = []
        self.error: OSError | None = None
        self._question = host, port

    def run(self) -> None:
        try:
            self.found = socket.getaddrinfo(*self._question, 0, socket.SOCK_STREAM)
        except OSError as error:
            self.error = error
        except UnicodeError as error:
            self.error = OSError(str(error))
        finally:
            with _resolutions.lock:
                _resolutions.pending.pop(self._question, None)
            self.is_done.set()


class _Resolutions:
    """What is being resolved: one thread for each name, however many wait for it."""

    def __init__(self) -> None:
        self.after_fork()
        forget_after_fork(self)

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        self.pending: dict[tuple[str, int], _Resolution] = {}


_resolutions = _Resolutions()


def resolve(host: str, port: int, deadline: Deadline) -> list[Any]:
    """The addresses of a host, as `socket.getaddrinfo` returns them, until a deadline.

    The system's resolver knows no deadline of ours: a name server that is silent holds a caller for
    many seconds.
    """
    try:
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    with _resolutions.lock:
        resolution = _resolutions.pending.get((host, port))
        if resolution is None:
            resolution = _resolutions.pending[host, port] = _Resolution(host, port)
            threading.Thread(target=resolution.run, name="high-templar-dns", daemon=True).start()
    if not resolution.is_done.wait(_some(deadline)):
        raise TimeoutError("resolving the host name timed out")
    if resolution.error is not None:
        raise resolution.error
    return resolution.found


def _some(deadline: Deadline) -> float:
    """What is left; raises `TimeoutError` in place of nothing."""
    left = deadline.left
    if not left:
        raise TimeoutError("timed out")
    return left
