"""Signals of the gateway's hooks.

`connection_opened` when a page connected, `connection_alive` at its pings, `connection_closed`
when the connection ended. Receivers get ``user``, ``request`` and ``event``: ``"connect"``,
``"ping"`` or ``"disconnect"``; one that fails is logged. The gateway calls the hooks that have
receivers.

A user with two pages has two connections, and a gateway that is killed reports no end: also forget
users of whom no ping came for a while.
"""

from __future__ import annotations

from django.dispatch import Signal

connection_opened = Signal()
"""A page of a user connected."""

connection_alive = Signal()
"""A page of a user pinged."""

connection_closed = Signal()
"""One of a user's connections ended."""

user_online = Signal()
"""The old name of `connection_opened` and `connection_alive` together, deprecated since 4.1."""

user_offline = Signal()
"""The old name of `connection_closed`, deprecated since 4.1."""

BY_EVENT = {
    "connect": (connection_opened, user_online),
    "ping": (connection_alive, user_online),
    "disconnect": (connection_closed, user_offline),
}
"""What is sent for each hook."""


def heard() -> list[str]:
    """The events that somebody listens to."""
    return [
        event
        for event, signals in BY_EVENT.items()
        if any(signal.has_listeners() for signal in signals)
    ]
