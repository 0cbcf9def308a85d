"""Triggers over HTTP: ``POST /trigger/`` on the gateway's internal listener."""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from urllib.parse import urlsplit

from high_templar.errors import PublishError
from high_templar.errors import RefusedError
from high_templar.errors import TransientError
from high_templar.errors import UnauthorizedError
from high_templar.errors import UnavailableError
from high_templar.errors import UnconfirmedError
from high_templar.http1 import Connection
from high_templar.http1 import Endpoint
from high_templar.http1 import Response
from high_templar.transport import Deadline
from high_templar.transport import Receipt
from high_templar.transport import RetryAfterError
from high_templar.transport import bad_certificate
from high_templar.transport import forget_after_fork
from high_templar.trigger import Trigger

IDLE_MAX = 8
"""Connections kept open while nobody uses them."""

ANSWER_BYTES_MAX = 4 << 20
"""Longest answer that is read."""

PLAIN_SECONDS = 300.0
"""How long the body goes along unasked after a peer did not know ``Expect: 100-continue``.

Not for ever: a gateway that was only slow once is to be asked first again.
"""

_EXPECTATION_FAILED = 417
_SERVER_ERROR = 500


class Address:
    """Where the internal listener is: ``http://``, ``https://`` or ``unix:`` and a path.

    A path that ends in ``/trigger/`` is understood, as old publishers wrote it. Messages never
    quote the address as it was given: it may hold a password.
    """

    def __init__(self, url: str, ssl_context: ssl.SSLContext | None = None) -> None:
        if url.startswith("unix:"):
            path = url[len("unix:") :]
            path = path[2:] if path.startswith("//") else path
            path = re.sub(r"/+(trigger/+)?$", "", path)
            if not path:
                raise ValueError("unix: is to be followed by the path of a socket")
            self.endpoint = Endpoint("", 0, None, path)
            self.prefix, self.url = "/", f"unix:{path}"
            return
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("the port of the address is not a number up to 65535") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError(_what_is_wrong(parts.scheme))
        if parts.query or parts.fragment:
            raise ValueError("the address has a '?' or '#' part: leave it out")
        tls = None
        if parts.scheme == "https":
            tls = ssl_context or ssl.create_default_context()
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            raise ValueError("the host of the address is not a host name") from None
        self.endpoint = Endpoint(host, port or (443 if tls else 80), tls)
        path = re.sub("/+", "/", parts.path)
        path = re.sub("(^|/)trigger/?$", "", path).rstrip("/")
        self.prefix = path + "/"
        if not (self.prefix.isascii() and self.prefix.isprintable() and " " not in self.prefix):
            raise ValueError("the path of the address holds characters that a URL cannot hold")
        # Without user and password, if somebody wrote them: this goes into messages.
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"


def _what_is_wrong(scheme: str) -> str:
    sentence = "not the address of a gateway's internal listener, such as http://127.0.0.1:8002: "
    if scheme in ("ws", "wss"):
        return sentence + f"{scheme}:// is where browsers connect"
    if scheme.startswith(("amqp", "rabbitmq")):
        return sentence + "a RabbitMQ begins with amqp:// or amqps://"
    return sentence + "it begins with http://, https:// or unix:"


class _Request(NamedTuple):
    method: str
    path: str
    body: bytes = b""
    ids: Sequence[str] = ()


class HttpTransport:
    """Keeps connections open and sends over them, from any thread.

    ``api_key`` is the gateway's ``internal.api_key``. ``connect_timeout`` bounds connecting, in
    seconds: resolving a name, and all of its addresses together.
    """

    def __init__(
        self,
        url: str,
        api_key: str = "",
        *,
        connect_timeout: float = 1.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.address = Address(url, ssl_context)
        self.name = self.address.url
        self._connect_timeout = connect_timeout
        self._plain_until = 0.0
        self._head = f"Host: {self.address.endpoint.authority}\r\nAccept: application/json\r\n"
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()):
                raise ValueError("api_key holds characters that a header cannot hold")
            self._head += f"Authorization: Bearer {api_key}\r\n"
        self.after_fork()
        forget_after_fork(self)

    def after_fork(self) -> None:
        """Starts with no connection: those of the parent process are its own."""
        inherited = getattr(self, "_idle", [])
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
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
        response = self._exchange(_Request("POST", "trigger/", body.encode(), ids), deadline)
        # 202: a command has its place, and is not carried out completely yet.
        if response.status in (200, 202):
            return _receipts(response.body, ids)
        error = _error(self.address.url, response, ids)
        pause = str(response.headers.get("Retry-After", ""))
        if isinstance(error, TransientError) and (pause.isdigit() or _is_of_gateway(response)):
            raise RetryAfterError(error, float(pause) if pause.isdigit() else 0.0)
        raise error

    def get(self, path: str, deadline: Deadline) -> tuple[int, bytes]:
        """Status and body of another path of the internal listener, such as ``ready``."""
        response = self._exchange(_Request("GET", path), deadline)
        return response.status, response.body

    def position(self, deadline: Deadline) -> str | None:
        """The cursor of everything so far; ``None`` if the gateway is too old to say."""
        response = self._exchange(_Request("GET", "position"), deadline)
        if response.status in (404, 405):
            return None
        cursor = _said(response).get("cursor")
        if isinstance(cursor, str):
            return cursor
        if response.status == 200:
            raise UnavailableError(f"{self.address.url} is not a gateway: is the address right?")
        raise _error(self.address.url, response, ())

    def is_gateway(self, deadline: Deadline) -> bool:
        """Whether what answers at this address says that it is a gateway's internal listener."""
        headers = self._exchange(_Request("GET", "live"), deadline).headers
        product = str(headers.get("Server", ""))
        # A proxy before it may put its own name there.
        return product.startswith("high-templar/") or "High-Templar-Listen" in headers

    def _exchange(self, request: _Request, deadline: Deadline) -> Response:
        unconfirmed: UnconfirmedError | None = None
        connection = self._take()
        if connection is not None:
            try:
                return self._talk(connection, request, deadline)
            except TransientError as error:
                # It may have been closed while it was idle, and the others with it. To send
                # again is safe: the triggers have ids.
                self.close()
                if not deadline.left:
                    raise
                unconfirmed = error if isinstance(error, UnconfirmedError) else None
        try:
            return self._talk(Connection(self.address.endpoint), request, deadline)
        except UnavailableError as error:
            if unconfirmed is None:
                raise
            raise _still_unconfirmed(error, request.ids) from error

    def _take(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _talk(self, connection: Connection, request: _Request, deadline: Deadline) -> Response:
        """One request over one connection, which is kept if it may be used again."""
        expects = bool(request.body) and time.monotonic() >= self._plain_until
        try:
            if not connection.is_connected:
                connection.connect(deadline, self._connect_timeout)
            head = self._head_of(request, expects)
            response = connection.exchange(
                head,
                request.body,
                deadline,
                ANSWER_BYTES_MAX,
                self._is_alive if expects else None,
            )
        except OSError as error:
            failure = _failure(self.address.url, error, connection, request.ids)
            connection.close()
            raise failure from error
        except BaseException:
            connection.close()
            raise
        if connection.is_reusable:
            self._keep(connection)
        else:
            connection.close()
        is_refused = expects and response.status == _EXPECTATION_FAILED
        if is_refused or response.ignored_expect:
            # Something in between does not know it (RFC 9110, section 10.1.1): the next request
            # need not wait as this one did.
            self._plain_until = time.monotonic() + PLAIN_SECONDS
        if is_refused:
            return self._talk(Connection(self.address.endpoint), request, deadline)
        return response

    def _is_alive(self, deadline: Deadline) -> bool:
        """Whether a request without a body is answered at this address."""
        probe = Connection(self.address.endpoint)
        # What follows needs time as well.
        deadline = deadline.at_most(deadline.left / 2)
        try:
            probe.connect(deadline, self._connect_timeout)
            head = self._head_of(_Request("GET", "live"), expects=False)
            return probe.exchange(head, b"", deadline, ANSWER_BYTES_MAX).status < _SERVER_ERROR
        except OSError:
            return False
        finally:
            probe.close()

    def _head_of(self, request: _Request, expects: bool) -> bytes:
        head = f"{request.method} {self.address.prefix}{request.path} HTTP/1.1\r\n{self._head}"
        if request.body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(request.body)}\r\n"
        if expects:
            # A gateway that hangs never has the body, and so delivers nothing late that was
            # reported as not published.
            head += "Expect: 100-continue\r\n"
        return f"{head}\r\n".encode("ascii")


def _failure(
    url: str, error: Exception, connection: Connection, ids: Sequence[str]
) -> TransientError:
    what = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return bad_certificate(url, error, ids)
    if isinstance(error, ssl.SSLError) and not connection.is_sent:
        return UnavailableError(f"{url}: {what}; does that port speak TLS?", ids=ids)
    if connection.is_sent:
        return UnconfirmedError(f"{url} did not answer: {what}", ids=ids)
    if connection.is_connected:
        return UnavailableError(f"{url} does not react, so nothing was sent: {what}", ids=ids)
    return UnavailableError(f"cannot reach the gateway at {url}: {what}", ids=ids)


def _still_unconfirmed(error: PublishError, ids: Sequence[str]) -> UnconfirmedError:
    """The last error, where an attempt before it may have been processed."""
    return UnconfirmedError(f"{error}; an earlier attempt may have been published", ids=ids)


def _receipts(answer: bytes, ids: Sequence[str]) -> list[Receipt]:
    try:
        places = json.loads(answer)
        if len(ids) == 1 and isinstance(places, dict):
            places = [places]
        if not isinstance(places, list) or len(places) != len(ids):
            raise ValueError("as many places as triggers")
        return [
            Receipt(
                id,
                place["position"],
                place.get("duplicate", False),
                matched=place.get("matched"),
                cursor=place.get("cursor"),
                nodes=place.get("nodes"),
                missing=tuple(place.get("missing", ())),
                confirmed=place.get("done", False),
            )
            for id, place in zip(ids, places)  # noqa: A001 # strict is of 3.10
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise UnconfirmedError(
            "success, but not with the answer of a gateway: is the address right?", ids=ids
        ) from error


def _said(response: Response) -> dict[str, Any]:
    """The members of the gateway's own answer; a proxy's has none."""
    try:
        parsed = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _is_of_gateway(response: Response) -> bool:
    return isinstance(_said(response).get("error"), str)


def _error(url: str, response: Response, ids: Sequence[str]) -> PublishError:
    """What a status other than 200 means."""
    status, said = response.status, _said(response)
    reason = said["error"] if _is_of_gateway(response) else ""
    sentence = f"{reason or 'no reason given'} ({status})"
    if status in (401, 403):
        return UnauthorizedError(sentence, ids=ids)
    if response.is_sent and (status == 504 or (status >= 500 and not reason)):
        # Without the gateway's own answer a proxy gave it, behind which the gateway may have
        # taken the request.
        return UnconfirmedError(f"{url}: {sentence}", ids=ids)
    if status in (408, 429) or status >= 500:
        return UnavailableError(sentence, ids=ids)
    if status in (404, 405) and not reason:
        sentence = (
            f"{url} is not the internal listener of a gateway ({status}): "
            "name its internal.listen, such as http://127.0.0.1:8002"
        )
    return RefusedError(
        sentence,
        status=status,
        trigger=_index(said.get("trigger")),
        member=said.get("member"),
        ids=ids,
    )


def _index(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
