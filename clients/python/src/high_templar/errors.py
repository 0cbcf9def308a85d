"""What can go wrong when something is published, and whose fault it is."""

from __future__ import annotations

from collections.abc import Sequence


class PublishError(Exception):
    """Something was not published, or not for certain.

    ``ids`` holds the ids of the triggers concerned: to publish them again under the same ids is
    safe, because the gateway delivers an id once. ``is_transient`` tells whether trying again
    later may help.
    """

    is_transient = False

    def __init__(self, message: str, *, ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ids: tuple[str, ...] = tuple(ids)


class InvalidTriggerError(PublishError, ValueError):
    """The rooms or the data cannot be sent: no JSON, NaN, a room that is no object.

    A mistake of the caller, found before anything was sent, and always raised.
    """


class RefusedError(PublishError):
    """The gateway says that the request is wrong (400, 413, 415): nothing of it was published.

    ``trigger`` is the place of the wrong trigger within the request and ``member`` what is wrong
    in it, such as ``rooms[0]``, where the gateway said so.
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
    """No key or a wrong one (401, 403, or the broker's refusal): see ``internal.api_key``."""


class UnavailableError(PublishError):
    """The gateway or the broker is away or busy, at every attempt: nothing was published."""

    is_transient = True


class UnconfirmedError(UnavailableError):
    """It was sent and no answer came: it may have been published.

    Publish it again under the same id if it matters; what arrived already is not delivered twice.
    """
