"""A logout disconnects the connections of that sign-in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.signals import user_logged_out

from high_templar.command import ComeBack
from high_templar.django.commands import disconnect
from high_templar.django.conf import settings
from high_templar.django.sessions import session_names
from high_templar.django.views import serves_bootstrap

logger = logging.getLogger("high_templar")


def connect() -> None:
    """From now on a logout disconnects."""
    user_logged_out.connect(_logged_out, dispatch_uid="high_templar.logout")


def _logged_out(*, request: Any, user: Any, **_: object) -> None:
    session = getattr(request, "session", None)
    key = getattr(session, "session_key", None)
    if user is None or not key or not settings().disconnect_on_logout or not serves_bootstrap():
        return
    # Django sends the signal first and deletes the session then: a page that connects in between
    # would stay.
    _after(session, ("flush", "aflush"), partial(_disconnect, key))


def _disconnect(key: str) -> None:
    """Disconnects what a session, which is deleted by now, was named in the bootstrap response."""
    # Where everybody may connect, the page goes on as nobody's at once.
    come_back: ComeBack = "soon" if settings().anonymous else "sign-in"
    try:
        for name in session_names(key):
            disconnect(session=name, come_back=come_back, reason="signed-out")
    except Exception:
        # The logout itself is done, whatever ON_ERROR says.
        logger.exception("a logout did not disconnect the user's connections")


def _after(session: Any, methods: tuple[str, ...], act: Callable[[], None]) -> None:
    """Has this session act once, after the first of these methods is done."""
    originals = {name: getattr(session, name) for name in methods if hasattr(session, name)}

    def restore() -> None:
        for name in originals:
            session.__dict__.pop(name, None)

    def flush() -> None:
        restore()
        originals["flush"]()
        act()

    async def aflush() -> None:
        restore()
        await originals["aflush"]()
        await sync_to_async(act)()

    session.flush = flush
    if "aflush" in originals:
        session.aflush = aflush
