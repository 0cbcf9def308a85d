"""high-templar: the WebSocket gateway for APIs that only speak HTTP, and how to publish to it.

::

    from high_templar import publish

    publish({"target": "order", "customer": "7"}, {"id": 1, "status": "paid"})

Where it publishes to: `configure`, or the variables ``HIGH_TEMPLAR_URL`` and
``HIGH_TEMPLAR_API_KEY``. In Django use `high_templar.django.publish`, which waits for the
transaction.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import warnings
from collections.abc import Iterable
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from typing import Any

from high_templar.aio import AsyncPublisher
from high_templar.command import ComeBack
from high_templar.command import Command
from high_templar.command import Confirm
from high_templar.command import Selector
from high_templar.command import Span
from high_templar.errors import CircuitOpenError
from high_templar.errors import InvalidTriggerError
from high_templar.errors import PublishError
from high_templar.errors import RefusedError
from high_templar.errors import TransientError
from high_templar.errors import UnauthorizedError
from high_templar.errors import UnavailableError
from high_templar.errors import UnconfirmedError
from high_templar.publisher import Counts
from high_templar.publisher import OnError
from high_templar.publisher import Publisher
from high_templar.room import ANY
from high_templar.room import Room
from high_templar.transport import Receipt
from high_templar.transport import Transport
from high_templar.trigger import RoomLike
from high_templar.trigger import Rooms
from high_templar.trigger import Trigger

if TYPE_CHECKING:
    from typing_extensions import Unpack

__version__ = "4.0.0"

__all__ = [
    "ANY",
    "AsyncPublisher",
    "CircuitOpenError",
    "ComeBack",
    "Command",
    "Counts",
    "InvalidTriggerError",
    "PublishError",
    "Publisher",
    "Receipt",
    "RefusedError",
    "Room",
    "Rooms",
    "Selector",
    "Span",
    "TransientError",
    "Trigger",
    "UnauthorizedError",
    "UnavailableError",
    "UncommittedDataWarning",
    "UnconfirmedError",
    "adisconnect",
    "ainvalidate",
    "apermit",
    "apublish",
    "aunsubscribe",
    "configure",
    "disconnect",
    "invalidate",
    "permit",
    "publish",
    "unsubscribe",
]

_default: AsyncPublisher | None = None


class UncommittedDataWarning(UserWarning):
    """Warning: a publication inside a transaction that may still be rolled back."""


def configure(
    url: str | None = None,
    *,
    api_key: str | None = None,
    timeout: float = 5.0,
    connect_timeout: float = 1.0,
    attempts: int = 3,
    on_error: OnError = "raise",
    encoder: type[json.JSONEncoder] | None = None,
    exchange: str = "hightemplar",
    ssl_context: ssl.SSLContext | None = None,
    transport: Transport | None = None,
) -> None:
    """Configures where `publish` and `apublish` send to; takes the arguments of a `Publisher`."""
    global _default  # noqa: PLW0603 # the one place of the module's publisher
    _default = AsyncPublisher(
        url,
        api_key=api_key,
        timeout=timeout,
        connect_timeout=connect_timeout,
        attempts=attempts,
        on_error=on_error,
        encoder=encoder,
        exchange=exchange,
        ssl_context=ssl_context,
        transport=transport,
    )


def publish(rooms: Rooms, data: Any, *, id: str | None = None) -> Receipt:  # noqa: A002
    """Publishes ``data`` to the subscribers of ``rooms``; see `Publisher.publish`.

    Blocks; warns on a running event loop, where `apublish` belongs.
    """
    _warn_of_loop()
    _warn_of_transaction()
    return _publisher().publisher.publish(rooms, data, id=id)


async def apublish(rooms: Rooms, data: Any, *, id: str | None = None) -> Receipt:  # noqa: A002
    """Like `publish`, without blocking the event loop; see `AsyncPublisher`."""
    return await _publisher().publish(rooms, data, id=id)


def disconnect(
    *,
    come_back: ComeBack = "sign-in",
    reason: str | None = None,
    dry_run: bool = False,
    confirm: Confirm | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> Receipt:
    """Closes connections of users; see `Publisher.disconnect`."""
    _warn_of_loop("disconnect")
    _warn_of_transaction("disconnect")
    return _publisher().publisher.disconnect(
        come_back=come_back, reason=reason, dry_run=dry_run, confirm=confirm, id=id, **selector
    )


def invalidate(
    *,
    within: Span | None = None,
    dry_run: bool = False,
    confirm: Confirm | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> Receipt:
    """Has the API asked again what users may do; see `Publisher.invalidate`."""
    _warn_of_loop("invalidate")
    _warn_of_transaction("invalidate")
    return _publisher().publisher.invalidate(
        within=within, dry_run=dry_run, confirm=confirm, id=id, **selector
    )


def unsubscribe(
    from_: Rooms,
    *,
    dry_run: bool = False,
    confirm: Confirm | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> Receipt:
    """Ends subscriptions of users; see `Publisher.unsubscribe`."""
    _warn_of_loop("unsubscribe")
    _warn_of_transaction("unsubscribe")
    return _publisher().publisher.unsubscribe(
        from_, dry_run=dry_run, confirm=confirm, id=id, **selector
    )


def permit(
    allowed_rooms: Iterable[RoomLike],
    *,
    labels: Sequence[str] = (),
    expires_in: Span | None = None,
    dry_run: bool = False,
    confirm: Confirm | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> Receipt:
    """Replaces what a connected user may do; see `Publisher.permit`."""
    _warn_of_loop("permit")
    _warn_of_transaction("permit")
    return _publisher().publisher.permit(
        allowed_rooms,
        labels=labels,
        expires_in=expires_in,
        dry_run=dry_run,
        confirm=confirm,
        id=id,
        **selector,
    )


async def adisconnect(
    *,
    come_back: ComeBack = "sign-in",
    reason: str | None = None,
    dry_run: bool = False,
    confirm: Confirm | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> Receipt:
    """Like `disconnect`, without blocking the event loop."""
    return await _publisher().disconnect(
        come_back=come_back, reason=reason, dry_run=dry_run, confirm=confirm, id=id, **selector
    )


async def ainvalidate(
    *,
    within: Span | None = None,
    dry_run: bool = False,
    confirm: Confirm | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> Receipt:
    """Like `invalidate`, without blocking the event loop."""
    return await _publisher().invalidate(
        within=within, dry_run=dry_run, confirm=confirm, id=id, **selector
    )


async def aunsubscribe(
    from_: Rooms,
    *,
    dry_run: bool = False,
    confirm: Confirm | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> Receipt:
    """Like `unsubscribe`, without blocking the event loop."""
    return await _publisher().unsubscribe(
        from_, dry_run=dry_run, confirm=confirm, id=id, **selector
    )


async def apermit(
    allowed_rooms: Iterable[RoomLike],
    *,
    labels: Sequence[str] = (),
    expires_in: Span | None = None,
    dry_run: bool = False,
    confirm: Confirm | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> Receipt:
    """Like `permit`, without blocking the event loop."""
    return await _publisher().permit(
        allowed_rooms,
        labels=labels,
        expires_in=expires_in,
        dry_run=dry_run,
        confirm=confirm,
        id=id,
        **selector,
    )


def _warn_of_loop(name: str = "publish") -> None:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        warnings.warn(
            f"high_templar.{name}() blocks the event loop: use `await a{name}(...)`.",
            RuntimeWarning,
            stacklevel=3,
        )


def _warn_of_transaction(name: str = "publish") -> None:
    """In a Django site the other function is probably meant: this one ignores transactions."""
    app = sys.modules.get("high_templar.django.publishing")
    if app is not None and app.open_transactions():
        warnings.warn(
            f"high_templar.{name}() does not wait for the commit, and a transaction is open: "
            f"use high_templar.django.{name}().",
            UncommittedDataWarning,
            stacklevel=3,
        )


def _publisher() -> AsyncPublisher:
    global _default  # noqa: PLW0603
    # Without a lock: two threads that are first at the same time create two publishers, once.
    made = _default
    if made is None:
        made = _default = AsyncPublisher()
    return made
