"""Publishes when the transaction is committed, in one request, and not at all if it is not."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS
from django.db import connections
from django.db.models import Model

from high_templar import UncommittedDataWarning
from high_templar.django import durable
from high_templar.django.conf import settings
from high_templar.django.outbox import is_manual
from high_templar.django.outbox import is_watched
from high_templar.django.outbox import outbox_of
from high_templar.django.outbox import outboxes
from high_templar.django.rooms import check_typed
from high_templar.django.sender import send
from high_templar.transport import Receipt
from high_templar.trigger import Rooms
from high_templar.trigger import Trigger
from high_templar.trigger import each_room


def publish(
    rooms: Rooms,
    data: Any,
    *,
    using: str | Model | None = None,
    id: str | None = None,  # noqa: A002 # the member's name
    immediate: bool = False,
) -> None:
    """Sends ``data`` to everyone who listens to one of ``rooms``, after the commit.

    Within a transaction of the database ``using`` (an alias, or a model instance whose database is
    meant; the default one if it is left out) this waits for the commit; if it is rolled back, also
    to a savepoint, nothing is sent. What one transaction publishes is sent in its order in one
    request; where the same is published twice the last time counts, and neighbours with the same
    data become one trigger with the rooms of both. Hooks of ``on_commit`` that fail do not keep it
    from being sent. Without a transaction it is sent at once, and no database is needed.

    With ``HIGH_TEMPLAR["OUTBOX"]`` it is a row of the outbox, inserted now with the data of the
    transaction: it is published exactly if that commits, also if this process or the gateway ends
    at once. Each call is a trigger of its own then, and a failure is raised.

    ``data`` are encoded now, by ``HIGH_TEMPLAR["ENCODER"]``: what changes later is not seen, and
    what is not JSON raises `InvalidTriggerError` here. What fails when it is sent is logged as an
    error of the logger ``high_templar``, or raised with ``HIGH_TEMPLAR["ON_ERROR"] = "raise"``.

    A trigger with an ``id`` of its own is never merged. ``immediate`` is the old name of
    `publish_now`, deprecated since 4.1; it works through 4.x.
    """
    if immediate:
        _warn_of_old_name("publish")
        _publish_now(rooms, data, id, "with immediate=True")
        return
    send_at_commit(_trigger(rooms, data, id), using, "publish", mergeable=id is None)


def send_at_commit(
    trigger: Trigger, using: str | Model | None, name: str, *, mergeable: bool = False
) -> None:
    """Sends a trigger or a command after the commit, for the function of this name."""
    connection = connections[_alias(using)]
    if durable.is_for(connection) and not is_watched():
        if not connection.in_atomic_block and not is_manual(connection):
            how = f"and is committed at once on {connection.alias!r}; say using="
            _warn_of_leak(open_transactions(), how, f"{name}()", stacklevel=4)
        durable.insert(connection, trigger)
        return
    if not connection.in_atomic_block:
        alias, name = connection.alias, f"{name}()"
        how = f"and waits for {alias!r}, which has none; say using="
        _warn_of_leak(open_transactions(), how, name, stacklevel=4)
        if is_manual(connection):
            how = "does not wait for a commit() by hand: call it after that"
            _warn_of_leak([alias], how, name, stacklevel=4)
    outbox_of(connection).add(trigger, mergeable=mergeable)


def send_now(trigger: Trigger, how: str, name: str) -> Receipt:
    """Sends a trigger or a command whatever transaction is open; warns of one."""
    _warn_of_leak(open_transactions(), how, name, stacklevel=5)
    # What is committed already is older.
    for outbox in outboxes():
        outbox.send()
    return send([trigger])[0]


def publish_now(rooms: Rooms, data: Any, *, id: str | None = None) -> Receipt:  # noqa: A002
    """Sends ``data`` to everyone who listens to one of ``rooms``, whatever transaction is open.

    For what does not depend on data that may be rolled back; warns within a transaction with an
    `UncommittedDataWarning`. The receipt is false and has the ``error`` where a failure was logged.
    """
    return _publish_now(rooms, data, id, "at once")


async def apublish(
    rooms: Rooms,
    data: Any,
    *,
    using: str | Model | None = None,
    id: str | None = None,  # noqa: A002
    immediate: bool = False,
) -> None:
    """Like `publish`, from a coroutine.

    Runs where Django runs the ORM for coroutines, so that it sees the same transaction.
    """
    if immediate:
        # Here: in the other thread nothing knows who called.
        _warn_of_old_name("apublish")
        await sync_to_async(_publish_now)(rooms, data, id, "with immediate=True")
        return
    await sync_to_async(publish)(rooms, data, using=using, id=id)


async def apublish_now(rooms: Rooms, data: Any, *, id: str | None = None) -> Receipt:  # noqa: A002
    """Like `publish_now`, from a coroutine."""
    return await sync_to_async(publish_now)(rooms, data, id=id)


def _trigger(rooms: Rooms, data: Any, id: str | None) -> Trigger:  # noqa: A002
    rooms = each_room(rooms)
    trigger = Trigger(rooms, data, id=id, encoder=settings().encoder_class)
    check_typed(rooms)
    return trigger


def _publish_now(rooms: Rooms, data: Any, id: str | None, how: str) -> Receipt:  # noqa: A002
    return send_now(_trigger(rooms, data, id), how, "publish()")


def _warn_of_old_name(name: str) -> None:
    warnings.warn(
        f"{name}(immediate=True) is deprecated: use {name}_now().", DeprecationWarning, stacklevel=3
    )


def _alias(using: str | Model | None) -> str:
    if using is None:
        return DEFAULT_DB_ALIAS
    if isinstance(using, str):
        return using
    return using._state.db or DEFAULT_DB_ALIAS


def open_transactions() -> list[str]:
    """The databases with a transaction of this thread, those around a test aside."""
    return [
        connection.alias
        for connection in connections.all(initialized_only=True)
        if any(
            not getattr(block, "_from_testcase", False)
            for block in getattr(connection, "atomic_blocks", ())
        )
    ]


def _warn_of_leak(aliases: Sequence[str], how: str, name: str, stacklevel: int) -> None:
    if aliases:
        warnings.warn(
            f"{name} {how}, while a transaction on {', '.join(map(repr, aliases))} is open: "
            "clients may be told of data that is never committed or not yet visible.",
            UncommittedDataWarning,
            stacklevel=stacklevel,
        )
