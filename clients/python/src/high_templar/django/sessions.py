"""The names of sessions, and sessions made without signing in, for tests and checks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings as django_settings
from django.utils.crypto import salted_hmac

_SALT = "high_templar.session"


def session_name(session_key: str) -> str:
    """The name by which the gateway knows a session: an HMAC, from which nobody gets the key.

    ::

        disconnect(session=session_name(request.session.session_key))
    """
    return session_names(session_key)[0]


def session_names(session_key: str) -> list[str]:
    """The names of a session under every ``SECRET_KEY`` that is accepted, that of now first."""
    secrets = [django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS]
    return [
        salted_hmac(_SALT, session_key, secret, algorithm="sha256").hexdigest()
        for secret in secrets
    ]


def start_session(user: Any, **members: Any) -> Any:
    """A new session of this user, as after signing in, saved; ``members`` lie in it."""
    from django.contrib.auth import BACKEND_SESSION_KEY  # noqa: PLC0415 # need the app
    from django.contrib.auth import HASH_SESSION_KEY  # noqa: PLC0415
    from django.contrib.auth import SESSION_KEY  # noqa: PLC0415

    session = import_module(django_settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = user._meta.pk.value_to_string(user)
    session[BACKEND_SESSION_KEY] = django_settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.update(members)
    session.save()
    return session


def session_cookies(user: Any, **members: Any) -> dict[str, str]:
    """The cookies of a new session of this user."""
    return {django_settings.SESSION_COOKIE_NAME: start_session(user, **members).session_key}
