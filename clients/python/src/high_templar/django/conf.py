"""The Django setting ``HIGH_TEMPLAR``: what may stand in it and what it means."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Callable
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from typing import NamedTuple
from urllib.parse import quote

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from high_templar.publisher import DEFAULT_URL
from high_templar.publisher import OnError


class Settings(NamedTuple):
    """The setting ``HIGH_TEMPLAR``, read; the names in it are these in upper case."""

    url: str = DEFAULT_URL
    """Where to publish: the gateway's internal listener, or a RabbitMQ (``amqp://…``). Without it
    the environment's ``HIGH_TEMPLAR_URL`` counts."""

    api_key: str = ""
    """The gateway's ``internal.api_key``; needed wherever ``URL`` is beyond this machine. Without
    it the environment's ``HIGH_TEMPLAR_API_KEY`` counts."""

    public_url: str = "ws://127.0.0.1:5000/ws/"
    """Where browsers connect; ``ht_check`` does so too."""

    backend_url: str = "http://127.0.0.1:8000"
    """Where the gateway reaches this site, without the path; ``unix:`` and a path works too."""

    bootstrap: str = "high_templar:bootstrap"
    """Name of the bootstrap view's URL."""

    authentication: tuple[str, ...] = ("session", "token")
    """How a user is authenticated, in this order; see `high_templar.django.auth`."""

    anonymous: bool = False
    """Whether users who are not signed in may connect; the rooms functions get them too."""

    disconnect_on_logout: bool = True
    """Whether a logout disconnects the connections of that sign-in: those whose bootstrap response
    has its name in ``session``, as `BootstrapMixin` gives it."""

    invalidate_on_user_change: bool = True
    """Whether the gateway asks again what a user may do when the user is deleted, or saved with
    another password, ``is_active``, ``is_staff`` or ``is_superuser``."""

    invalidate_on_permission_change: bool = True
    """Whether the gateway asks again when groups or permissions of users change, or permissions of
    groups: about each of up to 1,000 users of a group, else about everybody, within a minute."""

    on_error: OnError = "log"
    """``"log"`` or ``"raise"``, when a publication fails after its transaction's commit."""

    timeout: float = 0.5
    """Seconds that one request may wait for all that it publishes, connecting, attempts and pauses
    included; outside of requests, for one call or commit. Above 1,000 publications at once, for
    each thousand that succeeds. Connecting over HTTP may take half of it, so that time is left for
    another attempt."""

    attempts: int = 3
    """How often a publication is sent at most."""

    exchange: str = "hightemplar"
    """The exchange, with RabbitMQ."""

    encoder: str = "django.core.serializers.json.DjangoJSONEncoder"
    """The `json.JSONEncoder` class for data and rooms."""

    outbox: bool = False
    """Whether what is published in a transaction is committed with it, in an outbox in the site's
    own PostgreSQL, from which the gateway takes it (``postgres.url``). Needs the app
    ``high_templar.django.postgres`` and its migration."""

    outbox_database: str = "default"
    """The alias of the database with the outbox. What waits for a commit of another one is sent
    to ``URL``."""

    outbox_schema: str = "high_templar"
    """The schema of the outbox: the gateway's ``postgres.log``."""

    typed_rooms: bool = False
    """Whether rooms must fit a `Room` class when they are published or granted. A typo in a plain
    dict then fails too; ``DEBUG`` is a good value."""

    runserver: bool = False
    """Whether ``manage.py runserver`` starts the gateway beside itself, in development."""

    gateway: Mapping[str, Any] = {}
    """More settings of the gateway, as in high-templar.toml, for ``manage.py high_templar``."""

    def __repr__(self) -> str:
        # It may stand in a page of errors: secrets do not.
        return f"<HIGH_TEMPLAR of {', '.join(self._fields)}>"

    @property
    def encoder_class(self) -> type[json.JSONEncoder]:
        """The class that ``encoder`` names."""
        found: type[json.JSONEncoder] = import_string(self.encoder)
        return found


KEYS = {name.upper(): name for name in Settings._fields}

LEGACY_KEYS = frozenset({"rabbitmq"})
"""What django-binder has in the same setting."""


def mistakes() -> list[str]:
    """What is wrong with the setting, a sentence each."""
    given = getattr(django_settings, "HIGH_TEMPLAR", {})
    if not isinstance(given, Mapping):
        return [f"HIGH_TEMPLAR is to be a dict, not {_a(type(given))}."]
    found = []
    for key, value in given.items():
        if key in KEYS:
            found += _misfit(key, value)
        elif key not in LEGACY_KEYS:
            near = difflib.get_close_matches(str(key).upper(), KEYS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else f" It knows {', '.join(KEYS)}."
            found.append(f"HIGH_TEMPLAR has no key {key!r}.{hint}")
    return found


def _misfit(key: str, value: object) -> list[str]:
    default = getattr(Settings(), KEYS[key])
    kinds: tuple[type, ...] = (type(default),)
    if isinstance(default, float):
        kinds = (int, float)
    elif isinstance(default, tuple):
        kinds = (list, tuple)
    elif isinstance(default, dict):
        kinds = (Mapping,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        # Without the value: it may be a secret, and checks are printed in logs of deployments.
        return [f"HIGH_TEMPLAR[{key!r}] is to be {_spoken(kinds[0])}, not {_a(type(value))}."]
    rule = _RULES.get(key)
    return [] if rule is None or rule[0](value) else [f"HIGH_TEMPLAR[{key!r}] {rule[1]}."]


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ON_ERROR": (lambda value: value in ("log", "raise"), "is 'log' or 'raise'"),
    "TIMEOUT": (lambda value: 0 < value < math.inf, "is a number of seconds above 0"),
    "ATTEMPTS": (lambda value: value >= 1, "is at least 1"),
    "API_KEY": (
        lambda value: value.isascii() and (not value or value.isprintable()),
        "holds characters that an HTTP header cannot hold, such as a line break or an umlaut",
    ),
    "AUTHENTICATION": (
        lambda value: all(isinstance(each, str) for each in value),
        "is a list of texts: 'session', 'token' or dotted paths",
    ),
    "OUTBOX_SCHEMA": (
        lambda value: bool(re.fullmatch(r"(?!pg_)[a-z_][a-z0-9_]{0,47}", value)),
        "is the name of a schema: up to 48 small letters, digits and underscores",
    ),
    "EXCHANGE": (bool, "is the name of an exchange, not empty"),
}
"""What else a value must be, and how that is said."""


def _a(kind: type) -> str:
    return "None" if kind is type(None) else f"of type {kind.__name__}"


def _spoken(kind: type) -> str:
    names = {str: "a text", bool: "True or False", int: "a number", list: "a list"}
    return names.get(kind, "a dict")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The setting as it stands; keys that are wrong are left out, the system checks name them."""
    given = getattr(django_settings, "HIGH_TEMPLAR", {})
    if not isinstance(given, Mapping):
        return Settings()
    known: dict[str, Any] = {
        KEYS[key]: tuple(value) if isinstance(value, list) else value
        for key, value in given.items()
        if key in KEYS and not _misfit(key, value)
    }
    if "url" not in known:
        known["url"] = _legacy_url(given) or os.environ.get("HIGH_TEMPLAR_URL") or DEFAULT_URL
    if "api_key" not in known:
        known["api_key"] = os.environ.get("HIGH_TEMPLAR_API_KEY", "")
    return Settings(**known)


def _legacy_url(given: Mapping[str, Any]) -> str:
    """The address in the settings of django-binder."""
    rabbitmq = given.get("rabbitmq")
    if isinstance(rabbitmq, Mapping):
        user, password = (quote(str(rabbitmq.get(key, "")), "") for key in ("username", "password"))
        host = str(rabbitmq.get("host", "localhost"))
        return f"amqp://{user}:{password}@{host}" + ("" if "/" in host else "/%2f")
    return str(getattr(django_settings, "HIGH_TEMPLAR_URL", None) or "")


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting in ("HIGH_TEMPLAR", "HIGH_TEMPLAR_URL"):
        settings.cache_clear()
