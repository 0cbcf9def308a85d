"""For tests: what was published, without a gateway; and a real gateway.

::

    with capture() as published:
        publish({"target": "order"}, {"id": 1})
    published.assert_published({"target": "order"}, {"id": 1})

`high_templar.django.testing` has mixins for Django's test cases; with pytest the fixture
``published`` is available without an import.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any
from typing import NamedTuple

from high_templar import capturing
from high_templar.command import Command
from high_templar.gateway import Gateway
from high_templar.gateway import GatewayFailedError
from high_templar.trigger import Rooms
from high_templar.trigger import Trigger
from high_templar.websocket import Client
from high_templar.websocket import ClosedError
from high_templar.websocket import HandshakeError
from high_templar.websocket import Publication

__all__ = [
    "Client",
    "ClosedError",
    "Gateway",
    "GatewayFailedError",
    "HandshakeError",
    "Publication",
    "Published",
    "Sent",
    "capture",
]

UNSAID: Any = object()
"""Any data."""


class Sent(NamedTuple):
    """One trigger, as a client would see its parts."""

    rooms: list[dict[str, Any]]
    data: Any
    id: str


Pending = Callable[[], list[Trigger]]
"""What waits for a commit, as it would be sent now."""


class Published:
    """What was published. Equal is what is equal as JSON: 1 and 1.0 and True are three values."""

    def __init__(
        self,
        captured: list[Trigger],
        pending: Pending,
        encoder: Callable[[], type[json.JSONEncoder] | None],
        later: Callable[[], Pending],
    ) -> None:
        self._captured, self._pending, self._encoder = captured, pending, encoder
        self._later = later
        self._start = 0

    @property
    def sent(self) -> list[Sent]:
        """Every trigger in its order, those last that wait for a commit around the test."""
        triggers = [each for each in self._all() if not isinstance(each, Command)]
        return [Sent(t.rooms, t.data, t.id) for t in triggers]

    @property
    def commands(self) -> list[dict[str, Any]]:
        """The members of every command in its order, without ids; a command is no publication.

        ::

            log_out(anna)
            assert published.commands == [
                {"command": "disconnect", "user": "7", "come_back": "sign-in"}
            ]
        """
        return [each.members for each in self._all() if isinstance(each, Command)]

    def to(self, room: Mapping[str, Any]) -> list[Any]:
        """The data that went to exactly this room, in their order."""
        wanted = _canonical(self._plain(room).rooms[0])
        return [
            each.data for each in self.sent if wanted in [_canonical(room) for room in each.rooms]
        ]

    def assert_published(
        self,
        room: Mapping[str, Any],
        data: Any = UNSAID,
        *,
        containing: Mapping[str, Any] | None = None,
        times: int | None = None,
    ) -> None:
        """Fails unless something was published to exactly this room.

        With ``data``, exactly these; with ``containing``, data that have at least these members,
        at any depth; with ``times``, exactly so often.
        """
        found = self.to(room)
        what = ""
        if data is not UNSAID:
            wanted = _canonical(self._plain({}, data).data)
            found = [each for each in found if _canonical(each) == wanted]
            what = f" with {data!r}"
        if containing is not None:
            part = self._plain({}, containing).data
            found = [each for each in found if _contains(each, part)]
            what += f" containing {dict(containing)!r}"
        if (len(found) != times) if times is not None else not found:
            often = "" if times is None else f" {times} times, but {len(found)} times"
            raise AssertionError(f"not published to {dict(room)!r}{what}{often}.\n{self._story()}")

    def assert_not_published(
        self,
        room: Mapping[str, Any],
        data: Any = UNSAID,
        *,
        containing: Mapping[str, Any] | None = None,
    ) -> None:
        """Fails if something was published to this room, or these data."""
        self.assert_published(room, data, containing=containing, times=0)

    def assert_nothing_published(self) -> None:
        """Fails if anything was published."""
        if self.sent:
            raise AssertionError(f"something was published.\n{self._story()}")

    def clear(self) -> None:
        """Forgets what was published so far, also what waits for a commit."""
        self._start, self._pending = len(self._captured), self._later()

    def mark(self) -> Published:
        """Only what is published from now on; this one goes on with all of it.

        ::

            order = place_order()
            paying = published.mark()
            order.pay()
            paying.assert_published(OrderRoom(customer=7), {"status": "paid"}, times=1)
        """
        marked = Published(self._captured, self._pending, self._encoder, self._later)
        marked.clear()
        return marked

    def _all(self) -> list[Trigger]:
        return [*self._captured[self._start :], *self._pending()]

    def _plain(self, rooms: Rooms, data: Any = None) -> Trigger:
        return Trigger(rooms, data, encoder=self._encoder())

    def _story(self) -> str:
        lines = [f"  {json.dumps(each.data)} to {each.rooms}" for each in self.sent]
        return "\n".join(["Published was:", *(lines or ["  nothing"])])


@contextmanager
def capture(
    pending: Pending = list,
    encoder: Callable[[], type[json.JSONEncoder] | None] = lambda: None,
    later: Callable[[], Pending] = lambda: list,
) -> Iterator[Published]:
    """Takes what is published aside, whichever publisher it is given to; nothing is sent.

    ``pending`` returns what waits for a commit, and ``later`` a function that returns what begins
    to wait from now on.
    """
    captured = capturing.begin()
    try:
        yield Published(captured, pending, encoder, later)
    finally:
        capturing.end(captured)


def _contains(value: Any, part: Any) -> bool:
    """Whether ``value`` has at least what ``part`` has, as JSON."""
    if isinstance(part, dict):
        return isinstance(value, dict) and all(
            key in value and _contains(value[key], inner) for key, inner in part.items()
        )
    return _canonical(value) == _canonical(part)


def _canonical(value: Any) -> str:
    """Equal texts for what is the same JSON."""
    return json.dumps(value, sort_keys=True)
