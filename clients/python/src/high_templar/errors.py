"""Errors of publishing, by whose fault it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from high_templar.trigger import Trigger


class PublishError(Exception):
    """A publication failed, or its outcome is unknown.

    ``ids`` holds the ids of the triggers concerned: publishing them again under the same ids is
    safe, because the gateway delivers an id once. ``is_transient`` is true if a later attempt may
    succeed. ``refused`` is the trigger that the gateway rejected, where it named one.
    """

    is_transient = False

    def __init__(self, message: str, *, ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ids: tuple[str, ...] = tuple(ids)
        self.refused: Trigger | None = None


class InvalidTriggerError(PublishError, ValueError):
    """The rooms, the data or the id cannot be sent: not JSON, NaN, a room that is not an object.

    A mistake of the caller, found before anything is sent, and always raised.
    """


class RefusedError(PublishError):
    """The gateway rejected the request (400, 413, 415): nothing of it was published.

    ``trigger`` is the index of the rejected trigger within the request and ``member`` what is
    wrong in it, such as ``rooms[0]``, where the gateway reported them.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        trigger: int | None = None,
        member: str | None = None,
        ids: Sequence[str] = (),
    ) -> None:
        super().__init__(message, ids=ids)
        self.status = status
        self.trigger = trigger
        self.member = member


class UnauthorizedError(PublishError):
    """A missing or wrong key (401, 403, or the broker's refusal): see ``internal.api_key``."""


class TransientError(PublishError):
    """The gateway or the broker is unreachable, busy or unresponsive; a retry may succeed."""

    is_transient = True


class UnavailableError(TransientError):
    """The gateway or the broker was unreachable or busy at every attempt: nothing was published.

    A request that failed like this was never sent as a whole, so it is not delivered later either.
    """


class CircuitOpenError(UnavailableError):
    """Not attempted: the circuit breaker is open after consecutive failures."""


class UnconfirmedError(TransientError):
    """At least one attempt was sent without a response: it may have been published.

    Publish it again under the same id if it matters; what was delivered is not delivered twice.
    """
