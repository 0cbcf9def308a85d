"""Which user a request belongs to.

``HIGH_TEMPLAR["AUTHENTICATION"]`` lists the ways, asked in their order, the session last:

- ``"session"``: Django's own session, as the middleware found it;
- ``"token"``: ``Authorization: Token …`` of Django REST framework's ``authtoken``, if that is
  installed. The gateway makes this header from the token that a client connects with;
- the dotted path of a function ``(request) -> user or None``;
- the dotted path of a class with ``authenticate(request)`` as Django REST framework has them.

A way that finds nothing of its own gives back ``None``, and the next is asked. One that finds
something wrong, such as a token that has expired, raises `PermissionDenied` or REST framework's
``AuthenticationFailed``: the client is refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from typing import Callable
from typing import Optional

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.exceptions import PermissionDenied
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.module_loading import import_string

from high_templar.django.conf import settings

DJANGOS_USER = "_high_templar_user"
"""Attribute of a request: the user that the middleware found."""

Way = Callable[[HttpRequest], Optional[Any]]


def authenticate(request: HttpRequest) -> Any | None:
    """The user behind a request, or ``None``. Raises `PermissionDenied` for wrong credentials."""
    return identify(request)[0]


def identify(request: HttpRequest) -> tuple[Any | None, bool]:
    """The user behind a request, and whether the session is how they are known.

    A browser sends a session's cookie by itself, also with requests of another site's pages.
    """
    # REST framework's views have a request of their own around Django's.
    request = getattr(request, "_request", request)
    for way in _ways(settings().authentication):
        user = way(request)
        if user is not None:
            return (user if getattr(user, "is_active", True) else None), way is session
    return None, False


def check_ways(names: tuple[str, ...]) -> None:
    """Raises `ImproperlyConfigured` for a way that is not there."""
    _ways(names)


def session(request: HttpRequest) -> Any | None:
    """The user of Django's session."""
    user = getattr(request, DJANGOS_USER, None) or getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else None


def token(request: HttpRequest) -> Any | None:
    """The user of ``Authorization: Token …``, by REST framework's ``authtoken``."""
    if not apps.is_installed("rest_framework.authtoken"):
        return None
    return _by_class(import_string("rest_framework.authentication.TokenAuthentication"))(request)


def _by_class(kind: Any) -> Way:
    """Asks a class of REST framework's kind."""

    def way(request: HttpRequest) -> Any | None:
        from rest_framework.exceptions import APIException  # noqa: PLC0415 # only where it is used
        from rest_framework.request import Request  # noqa: PLC0415

        try:
            found = kind().authenticate(Request(request))
        except APIException as error:
            raise PermissionDenied(str(error.detail)) from error
        return None if found is None else found[0]

    return way


@lru_cache(maxsize=4)
def _ways(names: tuple[str, ...]) -> tuple[Way, ...]:
    # A token was given on purpose; the cookie of a session travels by itself.
    ordered = sorted(names, key=lambda name: name == "session")
    return tuple(_way(name) for name in ordered)


def _way(name: str) -> Way:
    if name == "session":
        return session
    if name == "token":
        return token
    try:
        found = import_string(name)
    except ImportError as error:
        raise ImproperlyConfigured(f"HIGH_TEMPLAR['AUTHENTICATION']: {error}") from error
    if isinstance(found, type):
        return _by_class(found)
    way: Way = found
    return way


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting == "HIGH_TEMPLAR":
        _ways.cache_clear()
