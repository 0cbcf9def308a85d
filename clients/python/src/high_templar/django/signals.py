"""Signals of the gateway's hooks.

`connection_opened` when a page connected, `connection_alive` at its pings, `connection_closed`
when the connection ended. Receivers get ``user``, ``request`` and ``event``: ``"connect"``,
``"ping"`` or ``"disconnect"``; one that fails is logged. The gateway calls the hooks that have
receivers.

A user with two pages has two connections, which receivers cannot tell apart yet: a
`connection_closed` does not say which of them ended. A gateway that is killed reports no end: also
forget users of whom no ping came for a while.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from django.dispatch import Signal


class _OldSignal(Signal):
    """A signal under an old name: who connects to it is told the new one."""

    def __init__(self, name: str, successor: str) -> None:
        super().__init__()
        self._sentence = f"{name} is deprecated: connect to {successor}."

    def connect(self, *args: Any, **options: Any) -> None:
        """Connects a receiver, with a `DeprecationWarning`."""
        # The decorator `receiver` stands between.
        is_decorated = sys._getframe(1).f_globals.get("__name__") == Signal.__module__
        warnings.warn(self._sentence, DeprecationWarning, stacklevel=3 if is_decorated else 2)
        super().connect(*args, **options)


connection_opened = Signal()
"""A page of a user connected."""

connection_alive = Signal()
"""A page of a user pinged."""

connection_closed = Signal()
"""One of a user's connections ended."""

user_online = _OldSignal("user_online", "connection_opened and connection_alive")
"""The old name of `connection_opened` and `connection_alive` together, deprecated since 4.1.

It works through 4.x.
"""

user_offline = _OldSignal("user_offline", "connection_closed")
"""The old name of `connection_closed`, deprecated since 4.1; it works through 4.x."""

BY_EVENT = {
    "connect": (connection_opened, user_online),
    "ping": (connection_alive, user_online),
    "disconnect": (connection_closed, user_offline),
}
"""What is sent for each hook."""


def heard() -> list[str]:
    """The events that have receivers."""
    return [
        event
        for event, signals in BY_EVENT.items()
        if any(signal.has_listeners() for signal in signals)
    ]
