"""A room that only ``manage.py ht_check`` may enter, so that its test disturbs nobody."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

SESSION_KEY = "_high_templar_probe"


def room(name: str) -> dict[str, Any]:
    """The room of one probe."""
    return {"target": "high_templar_probe", "probe": name}


def rooms(request: HttpRequest) -> list[dict[str, Any]]:
    """The probe's room, if the client's session was made by a probe."""
    session = getattr(request, "session", None)
    name = session.get(SESSION_KEY) if session is not None else None
    return [room(name)] if isinstance(name, str) else []
