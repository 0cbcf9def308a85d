"""A small websocket client (RFC 6455) for checks and tests; pages use the JavaScript client."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import ssl
import struct
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple
from urllib.parse import quote
from urllib.parse import urlsplit

from high_templar.transport import Deadline
from high_templar.trigger import json_text
from high_templar.trigger import room_text

HEAD_BYTES_MAX = 64 << 10
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


class HandshakeError(ConnectionError):
    """The gateway did not respond with 101. ``status`` is its status, 0 for no response."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ClosedError(ConnectionError):
    """The connection ended with this close code and reason; the code is 1006 if there was none."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class Publication(NamedTuple):
    """A publication that a subscription received."""

    data: Any
    request_id: Any


class Client:
    """One connection to a gateway, as a page has it.

    ``cookies`` and ``token`` are the client's credentials. ``allowed_rooms`` is the list of rooms
    that the backend granted, ``None`` if it refused the client. ``timeout`` is the timeout of each
    call, in seconds, after which it raises `TimeoutError`. ``ssl_context`` is for ``wss://`` with a
    private CA. ``encoder`` is a `json.JSONEncoder` class for rooms with values that are not JSON,
    as for a `Publisher`. Publications that arrive during another call are kept for `next`. Raises
    `HandshakeError`.
    """

    def __init__(
        self,
        url: str,
        *,
        cookies: Mapping[str, str] | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        encoder: type[json.JSONEncoder] | None = None,
    ) -> None:
        self.timeout = timeout
        self._encoder = encoder
        self.allowed_rooms: list[dict[str, Any]] | None = None
        self._publications: list[Publication] = []
        self._buffer = b""
        self._socket = _connect(url, timeout, ssl_context)
        try:
            self._handshake(url, cookies or {}, token, headers or {})
            first = json.loads(self._text())
        except BaseException:
            self._socket.close()
            raise
        if first.get("is_authorized"):
            self.allowed_rooms = first.get("allowed_rooms", [])

    @property
    def is_authorized(self) -> bool:
        """Whether the backend admitted the client."""
        return self.allowed_rooms is not None

    def subscribe(self, room: Mapping[str, Any], request_id: Any = "") -> None:
        """Subscribes and waits for the confirmation.

        Raises `PermissionError` if the room is not permitted, and `InvalidTriggerError` if it is
        not JSON.
        """
        self._ask("subscribe", request_id, f',"room":{room_text(room, self._encoder)}')

    def unsubscribe(self, request_id: Any = "") -> None:
        """Drops the subscriptions under this id and waits for the confirmation."""
        self._ask("unsubscribe", request_id)

    def ping(self) -> None:
        """Sends a ping and waits for the pong. Publications that arrive before it are kept."""
        self._fence(Deadline(self.timeout))

    def next(self, timeout: float | None = None) -> Publication:
        """Waits for the next publication. Raises `TimeoutError` or `ClosedError`."""
        deadline = Deadline(self.timeout if timeout is None else timeout)
        while not self._publications:
            self._take(self._text(deadline))
        return self._publications.pop(0)

    def nothing_heard(self) -> bool:
        """Whether no publication has arrived.

        Sends a ping first, so that everything that the gateway sent before the pong counts. A
        publication whose `publish` has just returned may still be under way.
        """
        self.ping()
        return not self._publications

    def close_code(self) -> int:
        """Waits for the end of the connection. Publications that arrive before it are kept."""
        try:
            while True:
                self._take(self._text())
        except ClosedError as closed:
            return closed.code

    def send(self, text: str) -> None:
        """Sends one text message."""
        self._write(_TEXT, text.encode())

    def close(self) -> None:
        """Ends the connection."""
        try:
            self._write(_CLOSE, struct.pack("!H", 1000))
        except OSError:
            pass
        finally:
            self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fence(self, deadline: Deadline) -> None:
        """Sends a ping and reads until the pong."""
        self.send("ping")
        while True:
            text = self._text(deadline)
            if text == "pong":
                return
            self._take(text)

    def _ask(self, kind: str, request_id: Any, more: str = "") -> None:
        """Sends a request, with ``more`` members as JSON text, and waits for the reply."""
        if not self.is_authorized:
            raise PermissionError("the backend refused the client")
        named = json_text(request_id, self._encoder, what="a request id")
        self.send(f'{{"type":"{kind}","requestId":{named}{more}}}')
        deadline = Deadline(self.timeout)
        while True:
            reply = self._take(self._text(deadline))
            if reply is not None:
                break
        if reply.get("code") != "success":
            raise PermissionError(str(reply.get("message")))

    def _take(self, text: str) -> dict[str, Any] | None:
        """Keeps a publication; returns a reply."""
        if text == "pong":
            return None
        message: dict[str, Any] = json.loads(text)
        if message.get("type") == "publish":
            self._publications.append(Publication(message["data"], message["requestId"]))
            return None
        # Replies have no type. A message with an unknown type is from a later gateway: ignored.
        return None if "type" in message else message

    def _handshake(
        self,
        url: str,
        cookies: Mapping[str, str],
        token: str | None,
        headers: Mapping[str, str],
    ) -> None:
        parts = urlsplit(url)
        query = "&".join(filter(None, [parts.query, token and f"token={quote(token, safe='')}"]))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {parts.path or '/'}{'?' if query else ''}{query} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        if cookies:
            pairs = "; ".join(f"{name}={value}" for name, value in cookies.items())
            lines.append(f"Cookie: {pairs}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in a header")
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        head = self._head(Deadline(self.timeout))
        status, _, rest = head.partition("\r\n")
        words = status.split(" ", 2)
        if len(words) < 2 or words[1] != "101":
            number = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
            raise HandshakeError(f"{url} answered: {status}", number)
        expected = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()  # noqa: S324 # RFC 6455 §1.3
        if not any(
            name.strip().lower() == "sec-websocket-accept" and value.strip() == expected
            for name, _, value in (line.partition(":") for line in rest.split("\r\n"))
        ):
            raise HandshakeError(f"{url} is not a websocket: its Sec-WebSocket-Accept is wrong")

    def _head(self, deadline: Deadline) -> str:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise HandshakeError("the response's head is too long")
            try:
                self._read(deadline)
            except ClosedError:
                raise HandshakeError("closed before a response") from None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def _text(self, deadline: Deadline | None = None) -> str:
        """The next text message; replies to pings and closes."""
        deadline = deadline or Deadline(self.timeout)
        message = b""
        while True:
            is_last, opcode, payload = self._frame(deadline)
            if opcode == _PING:
                self._write(_PONG, payload)
            elif opcode == _CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if len(payload) > 1 else 1005
                self.close()
                raise ClosedError(code, payload[2:].decode(errors="replace"))
            elif opcode < _CLOSE:
                message += payload
                if is_last:
                    return message.decode()

    def _frame(self, deadline: Deadline) -> tuple[bool, int, bytes]:
        """Reads until the buffer contains a whole frame, and removes it."""
        while True:
            if len(self._buffer) >= 2:
                length, start = self._buffer[1] & 0x7F, 2
                if length > 125:
                    start = 4 if length == 126 else 10
                    if len(self._buffer) >= start:
                        length = int.from_bytes(self._buffer[2:start], "big")
                    else:
                        length = start
                if len(self._buffer) >= start + length:
                    first, payload = self._buffer[0], self._buffer[start : start + length]
                    self._buffer = self._buffer[start + length :]
                    return bool(first & 0x80), first & 0x0F, payload
            self._read(deadline)

    def _read(self, deadline: Deadline) -> None:
        if not deadline.left:
            raise TimeoutError("nothing arrived in time")
        self._socket.settimeout(deadline.left)
        try:
            more = self._socket.recv(64 << 10)
        except socket.timeout:  # another class before 3.10
            raise TimeoutError("nothing arrived in time") from None
        except ConnectionError:
            raise ClosedError(1006) from None
        if not more:
            raise ClosedError(1006)
        self._buffer += more

    def _write(self, opcode: int, payload: bytes) -> None:
        mask = os.urandom(4)
        length = len(payload)
        if length < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self._socket.settimeout(self.timeout)
        self._socket.sendall(head + mask + masked)


def _connect(url: str, timeout: float, tls: ssl.SSLContext | None) -> socket.socket:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"{url!r} is not a websocket address: it begins with ws:// or wss://")
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    plain = socket.create_connection((parts.hostname, port), timeout)
    if parts.scheme == "ws":
        return plain
    try:
        tls = tls or ssl.create_default_context()
        return tls.wrap_socket(plain, server_hostname=parts.hostname)
    except BaseException:
        plain.close()
        raise
