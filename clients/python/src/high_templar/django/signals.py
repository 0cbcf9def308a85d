"""Signals of the gateway's hooks.

`user_online` when a user connected and at every ping, `user_offline` when a connection ended.
Receivers get ``user``, ``request`` and ``event``: ``"connect"``, ``"ping"`` or ``"disconnect"``.
A user with two pages has two connections, and a gateway that is killed tells of no end: count by
connection only if you also forget users of whom no ping came for a while.
"""

from __future__ import annotations

from django.dispatch import Signal

user_online = Signal()
"""A user connected, or is still there."""

user_offline = Signal()
"""One of a user's connections ended."""
