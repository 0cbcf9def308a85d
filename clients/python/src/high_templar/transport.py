"""How triggers travel: the one thing that HTTP and RabbitMQ have in common."""

from __future__ import annotations

import os
import ssl
import time
import weakref
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import Protocol

from high_templar.errors import PublishError
from high_templar.errors import UnavailableError
from high_templar.trigger import Trigger


class Receipt(NamedTuple):
    """What became of one trigger or command; true if it was published.

    ``position`` is its place in the order of the node that took it; RabbitMQ has none.
    ``duplicate`` is true if the gateway knew the id already and delivered nothing again.
    ``error`` is set, and the receipt false, where a failure was logged instead of raised.
    ``matched`` is how many connections of that node a command was for; ``None`` for what is not a
    command, over RabbitMQ, of a duplicate, and where the node has not completed it yet.
    ``nodes`` is the same by node, where every one of them was to confirm it, and ``missing`` names
    those that have not, as far as the gateway knows them; ``confirmed`` is true if all have.
    ``cursor`` is the same place as a text that clients understand: for data that were read later it
    is the position from which to follow them. RabbitMQ and gateways up to 4.0 have none.
    """

    id: str
    position: int | None = None
    duplicate: bool = False
    error: PublishError | None = None
    matched: int | None = None
    cursor: str | None = None
    nodes: Mapping[str, int] | None = None
    missing: tuple[str, ...] = ()
    confirmed: bool = False

    def __bool__(self) -> bool:
        return self.error is None


class Deadline:
    """A point in time until which something may take."""

    __slots__ = ("_end", "span")

    def __init__(self, seconds: float) -> None:
        self.span = seconds
        """How long it was in the beginning, in seconds."""
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, never less than nothing."""
        return max(0.0, self._end - time.monotonic())

    def at_most(self, seconds: float) -> Deadline:
        """A deadline in so many seconds, but never later than this one."""
        return Deadline(min(seconds, self.left))

    def renew(self, seconds: float) -> None:
        """Moves to so many seconds from now, if that is later."""
        self._end = max(self._end, time.monotonic() + seconds)


class Transport(Protocol):
    """Sends one batch once."""

    name: str
    """The address, without secrets; publishers of the same one share a circuit breaker."""

    def send(self, triggers: Sequence[Trigger], deadline: Deadline) -> list[Receipt]:
        """Sends the triggers in their order. Raises a `PublishError`."""

    def close(self) -> None:
        """Lets go of what is open; a later `send` opens it again."""


class RetryAfterError(Exception):
    """The gateway answered with this error and, perhaps, a pause before another attempt.

    It is alive: this does not count for the circuit breaker.
    """

    def __init__(self, error: Exception, seconds: float) -> None:
        super().__init__(str(error))
        self.error = error
        self.seconds = seconds


def bad_certificate(
    name: str, error: ssl.SSLCertVerificationError, ids: Sequence[str]
) -> UnavailableError:
    """What to raise where the certificate of this address is not accepted."""
    return UnavailableError(
        f"the certificate of {name} is not accepted: {error.verify_message}; "
        "a CA of your own goes into ssl_context or the variable SSL_CERT_FILE",
        ids=ids,
    )


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
