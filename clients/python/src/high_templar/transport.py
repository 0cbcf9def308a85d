"""How triggers travel: the one thing that HTTP and RabbitMQ have in common."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import Protocol

from high_templar.trigger import Trigger


class Receipt(NamedTuple):
    """A trigger has its place in the order.

    ``position`` is that place on the node that took it; RabbitMQ knows none. ``duplicate`` says
    that the gateway knew the id already and delivered nothing again.
    """

    id: str
    position: int | None = None
    duplicate: bool = False


class Deadline:
    """A point in time until which something may take."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, never less than nothing."""
        return max(0.0, self._end - time.monotonic())


class Transport(Protocol):
    """Sends one batch once."""

    def send(self, triggers: Sequence[Trigger], deadline: Deadline) -> list[Receipt]:
        """Sends the triggers in their order. Raises a `PublishError`."""

    def close(self) -> None:
        """Lets go of what is open; a later `send` opens it again."""


class RetryAfterError(Exception):
    """An attempt failed with this error, and the gateway named a pause, in seconds."""

    def __init__(self, error: Exception, seconds: float) -> None:
        super().__init__(str(error))
        self.error = error
        self.seconds = seconds


_forgetful: weakref.WeakSet[Any] = weakref.WeakSet()


def forget_after_fork(thing: Any) -> None:
    """Has ``thing.after_fork()`` called in every child process.

    Sockets and locks of the parent must not be used there.
    """
    _forgetful.add(thing)


def _after_fork() -> None:
    for thing in list(_forgetful):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
