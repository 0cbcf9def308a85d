"""Tests every step from the bootstrap view to the delivery of a publication."""

from __future__ import annotations

import json
import ssl
import time
import uuid
from collections.abc import Mapping
from typing import Any
from typing import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from django.db import DatabaseError
from django.test import Client as DjangoClient
from django.urls import NoReverseMatch
from django.urls import reverse

from high_templar.command import Command
from high_templar.django import durable
from high_templar.django import hints
from high_templar.django import launch
from high_templar.django import probe
from high_templar.django import routes
from high_templar.django.conf import settings
from high_templar.django.sender import publisher
from high_templar.django.sessions import session_names
from high_templar.django.sessions import start_session
from high_templar.django.views import is_bootstrap_view
from high_templar.errors import PublishError
from high_templar.errors import UnauthorizedError
from high_templar.http import HttpTransport
from high_templar.transport import Deadline
from high_templar.transport import RetryAfterError
from high_templar.trigger import Trigger
from high_templar.websocket import Client
from high_templar.websocket import ClosedError
from high_templar.websocket import HandshakeError


class FailedError(Exception):
    """A step failed; ``hint`` says what to do."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


class Credentials(NamedTuple):
    """As whom to try: a user's session, or a token."""

    user: Any = None
    token: str | None = None


class Trial:
    """The steps; each returns what it found, or raises `FailedError`.

    The probe's session is deleted by `close`.
    """

    def __init__(
        self,
        credentials: Credentials,
        room: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._credentials, self._room, self._timeout = credentials, room, timeout
        self._name = uuid.uuid4().hex
        self._session: Any = None
        self._has_probe = False
        self._sign_in: str | None = None
        self._page: Client | None = None
        if credentials.user is not None:
            self._session = start_session(credentials.user, **{probe.SESSION_KEY: self._name})

    @property
    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """The steps in their order, with what each tests."""
        return [
            ("bootstrap answer", self._blaming(self.bootstrap)),
            ("without credentials", self._blaming(self.anonymous)),
            ("gateway, internal", self.internal),
            ("gateway, public", self.connect),
            ("gateway, without credentials", self.connect_anonymous),
            ("subscribe", self.subscribe),
            ("delivery", self.deliver),
            *([("outbox", self.deliver_outbox)] if settings().outbox else []),
            ("sign-in", self.find),
        ]

    def _blaming(self, step: Callable[[], str]) -> Callable[[], str]:
        """A step that names another view which answers in place of the bootstrap view."""

        def blaming() -> str:
            try:
                return step()
            except FailedError as failed:
                path = _path()
                other = routes.other_view(settings().bootstrap, path)
                if other is None or is_bootstrap_view(other):
                    raise
                raise FailedError(str(failed), routes.other_view_hint(other, path)) from failed

        return blaming

    def close(self) -> None:
        """Closes the connection and deletes the session."""
        if self._page is not None:
            self._page.close()
        if self._session is not None:
            self._session.delete()

    def bootstrap(self) -> str:
        """Asks the bootstrap view, within this process."""
        path = _path()
        answer = self._ask(path, self._cookies(), self._credentials.token)
        if answer.status_code != 200:
            what = f"{path} answers {answer.status_code}{hints.excerpt(answer.content)}"
            raise FailedError(what, hints.status(answer))
        if "no-store" not in answer.get("Cache-Control", ""):
            raise FailedError(
                f"{path} may be cached: its answer lacks Cache-Control: no-store",
                "A cache may answer one user with the rooms of another. Use BootstrapMixin, or "
                "decorate the view with django.views.decorators.cache.never_cache.",
            )
        try:
            said = json.loads(answer.content)
            rooms = said.get("allowed_rooms", [])
        except (ValueError, AttributeError):
            raise FailedError(
                f"{path} answers no JSON object{hints.excerpt(answer.content)}",
                'The answer is {"allowed_rooms": [...]}.',
            ) from None
        shown = [room for room in rooms if room != probe.room(self._name)]
        self._has_probe = len(shown) < len(rooms)
        if self._room is None and len(shown) == len(rooms):
            raise FailedError(
                "no probe room is granted, and a test message to another room may reach clients",
                "Name a room for the test message: --room JSON. With a session, a view that uses "
                "BootstrapMixin grants a room for this.",
            )
        names = ", ".join([*map(json.dumps, shown[:5]), *(["..."] if len(shown) > 5 else [])])
        self._sign_in = said.get("session")
        return hints.count(shown) + (f": {names}" if shown else "") + self._logout()

    def _logout(self) -> str:
        """Whether a logout finds the connections of its sign-in."""
        if self._session is None:
            return ""
        name = self._sign_in
        if name is None:
            return "; no session: a logout does not disconnect (see BootstrapMixin.get_session)"
        if name not in session_names(self._session.session_key):
            return "; session has a name of its own: a logout does not disconnect by itself"
        return "; session is named: a logout disconnects"

    def anonymous(self) -> str:
        """Asks as a client without credentials: whose session ended, for instance."""
        path = _path()
        answer = self._ask(path, {}, None)
        status = answer.status_code
        if status in hints.REDIRECTS:
            raise FailedError(
                f"{path} redirects a client without credentials to {answer['Location']} ({status})",
                "A middleware requires a login. If it is your own, let it pass "
                f"{path}: the view itself answers 403. If it is LoginRequiredMiddleware, use "
                "BootstrapMixin or mark the view with login_not_required. With a redirect, pages "
                "retry for ever.",
            )
        if status in hints.REFUSALS:
            return f"{status}, refused"
        if status != 200:
            text = hints.excerpt(answer.content)
            raise FailedError(
                f"{path} answers a client without credentials {status}{text}",
                "The view is to answer 401 or 403 for a client that it does not know. "
                "The site's log has the error.",
            )
        return "200, accepted"

    def _ask(self, path: str, cookies: Mapping[str, str], token: str | None) -> Any:
        """Asks within this process, as the gateway does over HTTP."""
        client = DjangoClient(raise_request_exception=False)
        for name, value in cookies.items():
            client.cookies[name] = value
        wanted = settings()
        headers = {
            "Host": urlsplit(wanted.backend_url).hostname or "localhost",
            "Accept": "application/json",
        }
        for name, source in launch.headers_of(wanted).items():
            if "fixed" in source:
                headers[name] = source["fixed"]
        if token:
            headers["Authorization"] = f"Token {token}"
        return client.get(path, secure=wanted.backend_url.startswith("https://"), headers=headers)

    def internal(self) -> str:
        """Asks the gateway whether it is ready."""
        url = settings().url
        if url.startswith(("amqp://", "amqps://")):
            return "not asked: publications go over RabbitMQ"
        transport = HttpTransport(
            url, settings().api_key, connect_timeout=self._timeout, ssl_context=self._tls
        )
        try:
            status, body = transport.get("ready", Deadline(self._timeout))
            if status == 200:
                # No trigger at all: it only needs the key.
                transport.send([], Deadline(self._timeout))
        except UnauthorizedError as error:
            raise FailedError(str(error), hints.port(transport) or hints.KEY) from error
        except RetryAfterError as told:
            raise FailedError(str(told.error), "See the gateway's log.") from told
        except PublishError as error:
            hint = hints.certificate(error) or hints.port(transport) or hints.START
            raise FailedError(str(error), hint) from error
        finally:
            transport.close()
        if status == 503:
            what = f"{transport.name}: /ready answers 503{hints.excerpt(body)}"
            raise FailedError(what, "The gateway is not ready: the response lists the reasons.")
        if status != 200:
            raise FailedError(
                f"{transport.name}: /ready answers {status}{hints.excerpt(body)}",
                hints.port(transport) or "This is not the internal listener of a gateway.",
            )
        return f"{hints.bare(url)} is ready" + (
            " and accepts the API key" if settings().api_key else ""
        )

    def connect(self) -> str:
        """Connects as a page does, past whatever proxy there is."""
        url, origin = settings().public_url, _origin()
        try:
            self._page = self._open(self._cookies(), self._credentials.token)
        except HandshakeError as error:
            by_status = {
                403: f"The gateway refuses pages of {origin}: see its setting origins.",
                404: "The path is not passed on to the gateway, which serves /ws/.",
                502: "The proxy does not reach the gateway.",
            }
            hint = by_status.get(error.status, "The proxy must pass on Upgrade and Connection.")
            raise FailedError(str(error), hint) from error
        except (OSError, ValueError) as error:
            hint = "Is the gateway up, and HIGH_TEMPLAR['PUBLIC_URL'] right?"
            raise FailedError(f"{url}: {error}", hints.certificate(error) or hint) from error
        if not self._page.is_authorized:
            raise self._refused()
        granted = self._page.allowed_rooms or []
        if self._has_probe and probe.room(self._name) not in granted:
            raise FailedError(
                f"{url} accepts the connection, but without the rooms that this site grants",
                f"Is it the gateway of another site? This one is at {settings().backend_url}; see "
                "the gateway's backend.url.",
            )
        return f"{url} accepts the connection, with {hints.count(granted)}"

    def connect_anonymous(self) -> str:
        """Connects without credentials; the site decides whether that is refused."""
        with self._open({}, None) as page:
            if page.is_authorized:
                return "accepted"
            try:
                code = page.close_code()
            except TimeoutError:
                code = 1006
        if code == 1013:
            raise FailedError(
                "the gateway gets no usable answer for a client without credentials (1013)",
                "Such pages retry for ever. A proxy between gateway and site may redirect to a "
                "login page; the gateway's log has the response.",
            )
        return f"refused ({code})"

    def _open(self, cookies: Mapping[str, str], token: str | None) -> Client:
        return Client(
            settings().public_url,
            cookies=cookies,
            token=token,
            headers={"Origin": _origin()},
            timeout=self._timeout,
            ssl_context=self._tls,
        )

    def _refused(self) -> FailedError:
        assert self._page is not None  # noqa: S101
        try:
            code = self._page.close_code()
        except TimeoutError:
            code = 1006
        if code == 1013:
            return FailedError(
                "the gateway gets no usable answer from this site (1013)",
                f"Is the site up, and does the gateway reach it at {settings().backend_url}? "
                "The gateway's log says what it got.",
            )
        return FailedError(
            f"the site refuses the gateway's call ({code}), but not this command's",
            f"Does {settings().backend_url} serve this site, with the same database and "
            "SECRET_KEY? A redirect to https://, a wrong Host or a login page are the usual "
            "causes; the gateway's log says which.",
        )

    def subscribe(self) -> str:
        """Subscribes to the probe's room, or the one that was named."""
        assert self._page is not None  # noqa: S101
        self._room = self._room or probe.room(self._name)
        try:
            self._page.subscribe(self._room)
        except (PermissionError, ClosedError, TimeoutError) as error:
            raise FailedError(
                f"{json.dumps(self._room)}: {error}",
                "Name a room that the user is granted: --room.",
            ) from error
        return json.dumps(self._room)

    def deliver(self) -> str:
        """Publishes and waits until the page receives it."""
        assert self._page is not None and self._room is not None  # noqa: PT018, S101
        start = time.monotonic()
        trigger = Trigger(self._room, {"high_templar_probe": self._name})
        sender = publisher()
        try:
            sender.attempt(trigger, self._timeout)
        except UnauthorizedError as error:
            raise FailedError(str(error), hints.KEY) from error
        except PublishError as error:
            hint = hints.certificate(error) or "See the gateway's log."
            raise FailedError(str(error), hint) from error
        try:
            self._receive(trigger)
        except (TimeoutError, ClosedError) as error:
            raise FailedError(
                f"published, but not received: {error}",
                f"Do HIGH_TEMPLAR['URL'] ({hints.bare(settings().url)}) and PUBLIC_URL "
                f"({settings().public_url}) lead to the same gateway, or to gateways with one "
                "RabbitMQ?",
            ) from error
        return f"received after {(time.monotonic() - start) * 1000:.0f} ms"

    def deliver_outbox(self) -> str:
        """Publishes through the outbox and waits until the page receives it."""
        assert self._room is not None  # noqa: S101
        start = time.monotonic()
        trigger = Trigger(self._room, {"high_templar_outbox": self._name})
        try:
            durable.insert(durable.database(), trigger)
        except (PublishError, DatabaseError) as error:
            raise FailedError(str(error), durable.MIGRATE) from error
        try:
            self._receive(trigger)
        except (TimeoutError, ClosedError) as error:
            raise FailedError(
                f"inserted into the outbox, but not received: {error}",
                "Is the gateway's postgres.url the database "
                f"{settings().outbox_database!r}, and postgres.log "
                f"{settings().outbox_schema!r}? See also the gateway's log.",
            ) from error
        return f"received after {(time.monotonic() - start) * 1000:.0f} ms"

    def _receive(self, trigger: Trigger) -> None:
        """Waits until the page receives it. Raises `TimeoutError` or `ClosedError`."""
        assert self._page is not None  # noqa: S101
        deadline = Deadline(self._timeout)
        while self._page.next(deadline.left).data != trigger.data:
            pass

    def find(self) -> str:
        """Asks the gateway for the connections of the sign-in, as a command selects them."""
        if not self._sign_in:
            return "not asked: the bootstrap response names none"
        if settings().url.startswith(("amqp://", "amqps://")):
            return "not asked: commands go over RabbitMQ"
        command = Command.disconnect(session=self._sign_in, dry_run=True)
        try:
            matched = publisher().attempt(command, self._timeout).matched
        except UnauthorizedError as error:
            raise FailedError(str(error), hints.KEY) from error
        except PublishError as error:
            raise FailedError(
                f"cannot count connections: {error}",
                "The gateway must know commands (4.1), and its internal.keys must permit them.",
            ) from error
        if matched:
            return "a command with its session finds the connection"
        return "a command finds no connection at this node; the page may be at another one"

    def _cookies(self) -> dict[str, str]:
        if self._session is None:
            return {}
        from django.conf import settings as django_settings  # noqa: PLC0415

        return {django_settings.SESSION_COOKIE_NAME: self._session.session_key}


def _path() -> str:
    """Where the bootstrap view is."""
    try:
        return reverse(settings().bootstrap)
    except NoReverseMatch:
        raise FailedError(
            f"there is no URL named {settings().bootstrap!r}",
            'Add path("api/", include("high_templar.django.urls")) to your urls.py.',
        ) from None


def _origin() -> str:
    """The page that connects."""
    parts = urlsplit(settings().public_url)
    scheme = "https" if parts.scheme == "wss" else "http"
    return f"{scheme}://{launch.allowed_host(parts.hostname or '')}"
