"""Triggers over HTTP: ``POST /trigger/`` on the gateway's internal listener."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from urllib.parse import urlsplit

from high_templar.errors import PublishError
from high_templar.errors import RefusedError
from high_templar.errors import UnauthorizedError
from high_templar.errors import UnavailableError
from high_templar.errors import UnconfirmedError
from high_templar.transport import Deadline
from high_templar.transport import Receipt
from high_templar.transport import RetryAfterError
from high_templar.transport import forget_after_fork
from high_templar.trigger import Trigger

IDLE_MAX = 8
"""Connections kept open while nobody uses them."""

ANSWER_BYTES_MAX = 4 << 20
"""Longest answer that is read."""

_SECONDS_MIN = 0.001


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connects to the socket's path."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


class Address:
    """Where the internal listener is: ``http://``, ``https://`` or ``unix:`` and a path."""

    def __init__(self, url: str) -> None:
        # Without user and password, if somebody wrote them: this goes into messages.
        self.url = url if "@" not in url else re.sub(r"//[^/]*@", "//", url)
        self._tls: ssl.SSLContext | None = None
        if url.startswith("unix:"):
            self._host, self._port, self.prefix = "", None, "/"
            self._unix = url[len("unix:") :]
            if self._unix.startswith("//"):
                self._unix = self._unix[2:]
            if not self._unix:
                raise ValueError("unix: is to be followed by a path")
            return
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"{url!r} is no address of a gateway: it begins with http://, https:// or unix:"
            )
        self._unix = ""
        self._host, self._port = parts.hostname, parts.port
        self.prefix = parts.path.rstrip("/") + "/"
        if parts.scheme == "https":
            self._tls = ssl.create_default_context()

    def connection(self) -> http.client.HTTPConnection:
        """A new connection that is not connected yet."""
        if self._unix:
            return UnixConnection(self._unix)
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port)


class _Request(NamedTuple):
    method: str
    path: str
    body: bytes = b""
    ids: Sequence[str] = ()


class HttpTransport:
    """Keeps connections open and sends over them, from any thread.

    ``api_key`` is the gateway's ``internal.api_key``.
    """

    def __init__(self, url: str, api_key: str = "") -> None:
        self.address = Address(url)
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()):
                # http.client would quote it in its own complaint.
                raise ValueError("api_key holds characters that a header cannot hold")
            self._headers["Authorization"] = f"Bearer {api_key}"
        self.after_fork()
        forget_after_fork(self)

    def after_fork(self) -> None:
        """Starts with no connection: those of the parent process are its own."""
        inherited = getattr(self, "_idle", [])
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        for connection in inherited:
            # The parent's socket stays open: only this process lets go of it.
            connection.close()

    def __del__(self) -> None:
        for connection in getattr(self, "_idle", []):
            connection.close()

    def close(self) -> None:
        """Closes what is idle; a later `send` opens a new connection."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def send(self, triggers: Sequence[Trigger], deadline: Deadline) -> list[Receipt]:
        """Sends them as one request, all or nothing."""
        texts = [trigger.text() for trigger in triggers]
        body = texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"
        ids = [trigger.id for trigger in triggers]
        request = _Request("POST", "trigger/", body.encode(), ids)
        status, headers, answer = self._exchange(request, deadline)
        if status == 200:
            return _receipts(answer, ids)
        error = _error(status, answer, ids)
        pause = headers.get("Retry-After", "") if isinstance(error, UnavailableError) else ""
        if pause.isdigit():
            raise RetryAfterError(error, float(pause))
        raise error

    def get(self, path: str, deadline: Deadline) -> tuple[int, bytes]:
        """Status and body of another address of the internal listener, such as ``ready``."""
        status, _, answer = self._exchange(_Request("GET", path), deadline)
        return status, answer

    def _exchange(
        self, request: _Request, deadline: Deadline
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self._take()
        if connection is not None:
            try:
                return self._talk(connection, request, deadline)
            except UnavailableError:
                # It may have been closed while it was idle, and the others with it. To send
                # again is safe: the triggers have ids.
                self.close()
                if not deadline.left:
                    raise
        return self._talk(self.address.connection(), request, deadline)

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _talk(
        self,
        connection: http.client.HTTPConnection,
        request: _Request,
        deadline: Deadline,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request over one connection, which is kept if it may be used again."""
        is_sent = False
        try:
            _set_timeout(connection, deadline)
            if connection.sock is None:
                connection.connect()
                _no_delay(connection.sock)
                _set_timeout(connection, deadline)
            path = self.address.prefix + request.path
            connection.request(request.method, path, request.body or None, self._headers)
            is_sent = True
            _set_timeout(connection, deadline)
            response = connection.getresponse()
            answer = response.read(ANSWER_BYTES_MAX + 1)
            if len(answer) > ANSWER_BYTES_MAX:
                raise http.client.HTTPException("the answer is too long")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _failure(self.address.url, error, is_sent, request.ids) from error
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._keep(connection)
        return response.status, response.headers, answer


def _set_timeout(connection: http.client.HTTPConnection, deadline: Deadline) -> None:
    seconds = max(deadline.left, _SECONDS_MIN)
    connection.timeout = seconds
    if connection.sock is not None:
        connection.sock.settimeout(seconds)


def _no_delay(sock: socket.socket | None) -> None:
    if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _failure(url: str, error: Exception, is_sent: bool, ids: Sequence[str]) -> UnavailableError:
    what = str(error) or type(error).__name__
    if is_sent:
        return UnconfirmedError(f"{url} did not answer: {what}", ids=ids)
    return UnavailableError(f"cannot reach the gateway at {url}: {what}", ids=ids)


def _receipts(answer: bytes, ids: Sequence[str]) -> list[Receipt]:
    try:
        places = json.loads(answer)
        if len(ids) == 1 and isinstance(places, dict):
            places = [places]
        return [
            Receipt(id, place["position"], place.get("duplicate", False))
            for id, place in zip(ids, places)  # noqa: A001 # strict is of 3.10
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise UnconfirmedError(
            "200, but not with the answer of a gateway: is the address right?", ids=ids
        ) from error


def _error(status: int, answer: bytes, ids: Sequence[str]) -> PublishError:
    """What a status other than 200 means."""
    said: dict[str, Any] = {}
    try:
        parsed = json.loads(answer)
        said = parsed if isinstance(parsed, dict) else {}
    except ValueError:
        pass
    sentence = f"{said.get('error') or 'no reason given'} ({status})"
    if status in (401, 403):
        return UnauthorizedError(sentence, ids=ids)
    if status == 504:
        return UnconfirmedError(sentence, ids=ids)
    if status in (408, 429) or status >= 500:
        return UnavailableError(sentence, ids=ids)
    return RefusedError(
        sentence, status=status, trigger=said.get("trigger"), member=said.get("member"), ids=ids
    )
