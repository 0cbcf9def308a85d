"""high-templar: the WebSocket gateway for APIs that only speak HTTP, and how to publish to it.

::

    from high_templar import publish

    publish({"target": "order", "customer": "7"}, {"id": 1, "status": "paid"})

Where it publishes to: `configure`, or the variables ``HIGH_TEMPLAR_URL`` and
``HIGH_TEMPLAR_API_KEY``. In Django use `high_templar.django.publish`, which waits for the
transaction.
"""

from __future__ import annotations

from typing import Any

from high_templar.aio import AsyncPublisher
from high_templar.errors import InvalidTriggerError
from high_templar.errors import PublishError
from high_templar.errors import RefusedError
from high_templar.errors import UnauthorizedError
from high_templar.errors import UnavailableError
from high_templar.errors import UnconfirmedError
from high_templar.publisher import Counts
from high_templar.publisher import Publisher
from high_templar.room import ANY
from high_templar.room import Room
from high_templar.transport import Receipt
from high_templar.trigger import Rooms
from high_templar.trigger import Trigger

__version__ = "4.0.0"

__all__ = [
    "ANY",
    "AsyncPublisher",
    "Counts",
    "InvalidTriggerError",
    "PublishError",
    "Publisher",
    "Receipt",
    "RefusedError",
    "Room",
    "Rooms",
    "Trigger",
    "UnauthorizedError",
    "UnavailableError",
    "UnconfirmedError",
    "apublish",
    "configure",
    "publish",
]

_default: AsyncPublisher | None = None


def configure(*arguments: Any, **options: Any) -> None:
    """Says where `publish` and `apublish` go; takes what a `Publisher` takes."""
    global _default  # noqa: PLW0603 # the one place of the module's publisher
    _default = AsyncPublisher(*arguments, **options)


def publish(rooms: Rooms, data: Any, *, id: str | None = None) -> Receipt | None:  # noqa: A002
    """Sends ``data`` to everyone who listens to one of ``rooms``; see `Publisher.publish`."""
    return _publisher().publisher.publish(rooms, data, id=id)


async def apublish(rooms: Rooms, data: Any, *, id: str | None = None) -> Receipt | None:  # noqa: A002
    """Like `publish`, without holding up the event loop; see `AsyncPublisher`."""
    return await _publisher().publish(rooms, data, id=id)


def _publisher() -> AsyncPublisher:
    global _default  # noqa: PLW0603
    # Without a lock: if two threads come first at once, one of two publishers is used once.
    made = _default
    if made is None:
        made = _default = AsyncPublisher()
    return made
