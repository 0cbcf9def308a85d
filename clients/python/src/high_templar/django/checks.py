"""System checks: the usual mistakes, before the first client meets them."""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Iterator
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage
from django.core.checks import Error
from django.core.checks import Tags
from django.core.checks import Warning as Caution
from django.core.checks import register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.urls import NoReverseMatch
from django.urls import reverse
from django.utils.module_loading import import_string

from high_templar.django import durable
from high_templar.django import launch
from high_templar.django import routes
from high_templar.django import signals
from high_templar.django.auth import check_ways
from high_templar.django.conf import mistakes
from high_templar.django.conf import settings
from high_templar.django.occupant import is_loopback
from high_templar.django.rooms import declared
from high_templar.django.views import is_bootstrap_view
from high_templar.http import Address
from high_templar.room import Room

SESSION_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH_MIDDLEWARE = "django.contrib.auth.middleware.AuthenticationMiddleware"


@register(Tags.compatibility)
def check(**_: Any) -> list[CheckMessage]:
    """Everything that is wrong with ``HIGH_TEMPLAR`` and what stands around it."""
    wrong: list[CheckMessage] = [Error(what, id="high_templar.E001") for what in mistakes()]
    if wrong:
        # What follows would be about defaults.
        return wrong
    return [
        *_names(),
        *_gateway(),
        *_bootstrap(),
        *_addresses(),
        *_sessions(),
        *_hooks(),
        *_transactions(),
        *_outbox(),
        *_rooms(),
    ]


def _gateway() -> Iterator[CheckMessage]:
    """``GATEWAY`` has keys that the gateway knows."""
    table = settings().gateway
    if not table:
        return
    try:
        known = launch.known_variables()
    except (OSError, subprocess.SubprocessError):
        # The gateway is somewhere else; it refuses them itself.
        return
    for path in launch.keys(table):
        variable = "HT_" + "__".join(path).upper()
        is_known = variable in known or variable.removesuffix("_FILE") in known
        # `origins` may be a list in place of its section.
        if is_known or f"{variable}__ALLOW" in known:
            continue
        near = difflib.get_close_matches(variable, known, 1, 0.7)
        hint = None
        if near:
            hint = f"Did you mean {_spelled(near[0][3:].lower().split('__'))}?"
        yield Error(
            f"{_spelled(path)} is not a setting of the gateway.", hint=hint, id="high_templar.E018"
        )


def _spelled(path: Sequence[str]) -> str:
    """A key of ``GATEWAY`` as it is written in settings.py."""
    return "HIGH_TEMPLAR['GATEWAY']" + "".join(f"[{each!r}]" for each in path)


def _names() -> Iterator[CheckMessage]:
    """What is named is there."""
    try:
        import_string(settings().encoder)
    except ImportError as error:
        yield Error(f"HIGH_TEMPLAR['ENCODER']: {error}", id="high_templar.E002")
    try:
        check_ways(settings().authentication)
    except ImproperlyConfigured as error:
        yield Error(str(error), id="high_templar.E003")
    url = settings().url
    if url.startswith(("amqp://", "amqps://")):
        if find_spec("pika") is None:
            yield Error(
                "HIGH_TEMPLAR['URL'] is a RabbitMQ, and pika is not installed.",
                hint="pip install 'high-templar[rabbitmq]'",
                id="high_templar.E017",
            )
    else:
        try:
            Address(url)
        except ValueError as error:
            yield Error(f"HIGH_TEMPLAR['URL']: {error}", id="high_templar.E004")


def _bootstrap() -> Iterator[CheckMessage]:
    """The gateway finds the bootstrap view and gets an answer, not a redirect."""
    name = settings().bootstrap
    try:
        path = reverse(name)
    except NoReverseMatch:
        yield Error(
            f"There is no URL named {name!r}, which the gateway is to call for every client.",
            hint='Add path("api/", include("high_templar.django.urls")) to your urls.py, or name '
            "your own view in HIGH_TEMPLAR['BOOTSTRAP'].",
            id="high_templar.E005",
        )
        return
    if not path.endswith("/") and django_settings.APPEND_SLASH:
        yield Caution(
            f"The bootstrap view is at {path}, without a slash at its end: a gateway that is "
            f"configured for {path}/ is answered 404.",
            hint="Let the path end in a slash, or set backend.bootstrap to it exactly.",
            id="high_templar.W006",
        )
    middleware = [str(each).rpartition(".")[2] for each in django_settings.MIDDLEWARE]
    other = routes.other_view(name, path)
    if other is not None and not is_bootstrap_view(other):
        yield Caution(
            f"The gateway's call of {path} does not reach the view of the URL {name!r}.",
            hint=routes.other_view_hint(other, path),
            id="high_templar.W022",
        )
    elif "LoginRequiredMiddleware" in middleware and _requires_login(path):
        yield Caution(
            f"LoginRequiredMiddleware redirects the gateway's call of {path} to the login page for "
            "clients without a session, those with a token included.",
            hint="Use BootstrapMixin, or decorate the view with login_not_required and answer 403.",
            id="high_templar.W019",
        )
    is_plain = not settings().backend_url.startswith("https://")
    exempt = [re.compile(each) for each in django_settings.SECURE_REDIRECT_EXEMPT]
    if (
        django_settings.SECURE_SSL_REDIRECT
        and is_plain
        and not django_settings.SECURE_PROXY_SSL_HEADER
        and not any(pattern.search(path.lstrip("/")) for pattern in exempt)
    ):
        yield Caution(
            f"SECURE_SSL_REDIRECT redirects the gateway's call of {settings().backend_url}{path} "
            "to https://, and every client is refused.",
            hint=f"Add {'^' + path.lstrip('/')!r} to SECURE_REDIRECT_EXEMPT.",
            id="high_templar.W007",
        )


def _requires_login(path: str) -> bool:
    """Whether the view says nothing of being for everybody."""
    view = routes.view_at(path)
    return view is not None and bool(getattr(view, "login_required", True))


def _addresses() -> Iterator[CheckMessage]:
    """What can publish is not open to others."""
    wanted = settings()
    parts = urlsplit(wanted.url)
    if parts.scheme in ("http", "https") and not wanted.api_key and not is_loopback(parts.hostname):
        yield Error(
            f"HIGH_TEMPLAR['URL'] is at {parts.hostname}, beyond this machine, without an API_KEY: "
            "every program that reaches that address can publish.",
            hint="Set HIGH_TEMPLAR['API_KEY'] and the gateway's internal.api_key to the same key.",
            id="high_templar.E008",
        )
    public = urlsplit(wanted.public_url)
    if public.scheme not in ("ws", "wss") or not public.hostname:
        yield Error(
            f"HIGH_TEMPLAR['PUBLIC_URL'] is {wanted.public_url!r}, which is no websocket address.",
            hint="It looks like wss://www.example.com/ws/.",
            id="high_templar.E009",
        )
    elif public.scheme == "ws" and django_settings.SECURE_SSL_REDIRECT:
        yield Caution(
            "Pages over https:// may not open HIGH_TEMPLAR['PUBLIC_URL'], which begins with ws://.",
            hint="Have your proxy pass wss:// on to the gateway and name that address.",
            id="high_templar.W010",
        )


def _sessions() -> Iterator[CheckMessage]:
    """The cookie of a session reaches the gateway, and what it says is read."""
    if "session" not in settings().authentication:
        return
    for middleware in (SESSION_MIDDLEWARE, AUTH_MIDDLEWARE):
        name = middleware.rpartition(".")[2]
        if not any(str(each).endswith(name) for each in django_settings.MIDDLEWARE):
            yield Caution(
                f"Users are known by their session, but MIDDLEWARE has no {name}: all are refused.",
                hint=f"Add {middleware!r}, or take 'session' out of "
                "HIGH_TEMPLAR['AUTHENTICATION'].",
                id="high_templar.W011",
            )
    public = urlsplit(settings().public_url)
    path, domain = django_settings.SESSION_COOKIE_PATH, django_settings.SESSION_COOKIE_DOMAIN
    if not (public.path or "/").startswith(path):
        yield Caution(
            f"SESSION_COOKIE_PATH is {path!r}: browsers do not send the session to {public.path}.",
            hint="Serve the gateway below that path, or let SESSION_COOKIE_PATH be '/'.",
            id="high_templar.W012",
        )
    host = public.hostname or ""
    if domain and not is_loopback(host):
        stem = str(domain).lstrip(".")
        if host != stem and not host.endswith("." + stem):
            yield Caution(
                f"SESSION_COOKIE_DOMAIN is {domain!r}: browsers do not send the session to {host}.",
                hint="Serve site and gateway below one domain.",
                id="high_templar.W013",
            )
    same_site = django_settings.SESSION_COOKIE_SAMESITE
    if same_site == "None" and not django_settings.SESSION_COOKIE_SECURE:
        yield Caution(
            "SESSION_COOKIE_SAMESITE is 'None' without SESSION_COOKIE_SECURE: browsers drop the "
            "session's cookie.",
            hint="'Lax' is enough where site and gateway have one domain.",
            id="high_templar.W014",
        )


def _hooks() -> Iterator[CheckMessage]:
    """The hooks of somebody who listens are there."""
    if not signals.heard():
        return
    try:
        reverse("high_templar:connect")
    except NoReverseMatch:
        yield Caution(
            "Signals of connections have receivers, but there is no hook for the gateway to call.",
            hint='Add path("api/", include("high_templar.django.urls")) to your urls.py.',
            id="high_templar.W015",
        )


def _transactions() -> Iterator[CheckMessage]:
    """A request does not fail for a gateway that is away."""
    databases = django_settings.DATABASES.values()
    is_atomic = any(database.get("ATOMIC_REQUESTS") for database in databases)
    if is_atomic and settings().on_error == "raise":
        yield Caution(
            "With ATOMIC_REQUESTS and HIGH_TEMPLAR['ON_ERROR'] = 'raise', a gateway that is away "
            "turns every request that publishes into a 500, although its data are saved.",
            hint="Let ON_ERROR be 'log'.",
            id="high_templar.W016",
        )


def _outbox() -> Iterator[CheckMessage]:
    """The outbox is where a migration makes it."""
    if not settings().outbox:
        return
    if not apps.is_installed(durable.APP):
        yield Error(
            "HIGH_TEMPLAR['OUTBOX'] is on, and nothing makes the outbox.",
            hint=f"Add {durable.APP!r} to INSTALLED_APPS, and run `manage.py migrate`.",
            id="high_templar.E023",
        )
    alias = settings().outbox_database
    if alias not in connections.databases:
        yield Error(
            f"HIGH_TEMPLAR['OUTBOX_DATABASE'] is {alias!r}, which DATABASES does not have.",
            id="high_templar.E024",
        )
    elif durable.database().vendor != "postgresql":
        yield Error(
            f"HIGH_TEMPLAR['OUTBOX'] is on, and the database {alias!r} is no PostgreSQL.",
            hint="Name one in HIGH_TEMPLAR['OUTBOX_DATABASE'], or let OUTBOX be False.",
            id="high_templar.E025",
        )


def _rooms() -> Iterator[CheckMessage]:
    """The declared rooms are different ones, and their targets are what one would expect."""
    seen: dict[tuple[str, frozenset[str]], type[Room]] = {}
    for kind in declared():
        target = kind._target
        if target is None:
            continue
        name = _path_of(kind)
        other = seen.setdefault((target, frozenset(kind._fields)), kind)
        if _path_of(other) != name:
            yield Caution(
                f"{_path_of(other)} and {name} are the same room to the gateway: both have the "
                f"target {target!r} and the same keys. Who is granted one hears the other, too.",
                hint=f'Name another one: class {kind.__name__}(Room, target="...").',
                id="high_templar.W020",
            )
        if kind._is_derived and re.search("[A-Z]{2}", kind.__name__):
            yield Caution(
                f"{name} has the target {target!r}: words in capitals are not told apart.",
                hint=f'Name it: class {kind.__name__}(Room, target="{target}") keeps it.',
                id="high_templar.W021",
            )


def _path_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
