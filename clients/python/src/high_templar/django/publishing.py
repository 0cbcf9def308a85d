"""Publishes when the transaction is committed, in one request, and not at all if it is not."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.core.signals import request_finished
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS
from django.db import connections
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.dispatch import receiver

from high_templar.django.conf import settings
from high_templar.django.rooms import check_typed
from high_templar.publisher import Publisher
from high_templar.trigger import Rooms
from high_templar.trigger import Trigger
from high_templar.trigger import each_room


class UncommittedDataWarning(UserWarning):
    """Something is published while the data it tells of may still be rolled back."""


def publish(
    rooms: Rooms,
    data: Any,
    *,
    using: str | None = None,
    immediate: bool = False,
    id: str | None = None,  # noqa: A002 # the member's name
) -> None:
    """Sends ``data`` to everyone who listens to one of ``rooms``, after the commit.

    Within a transaction of the database ``using`` (the default one if it is not said) this waits
    for the commit; if it is rolled back, also to a savepoint, nothing is sent. What one
    transaction publishes leaves in its order in one request; where the same is said twice, the
    last time counts, and neighbours with the same data become one trigger with the rooms of both.
    Without a transaction it is sent at once, and with ``immediate=True`` always.

    ``data`` are encoded now, by ``HIGH_TEMPLAR["ENCODER"]``: what changes later is not seen, and
    what is no JSON raises `InvalidTriggerError` here. What fails when it is sent is logged as an
    error of the logger ``high_templar``, or raised with ``HIGH_TEMPLAR["ON_ERROR"] = "raise"``.

    A trigger with an ``id`` of its own is never merged.
    """
    rooms = each_room(rooms)
    trigger = Trigger(rooms, data, id=id, encoder=settings().encoder_class)
    check_typed(rooms)
    alias = DEFAULT_DB_ALIAS if using is None else using
    if immediate:
        _warn_of_leak(_open_transactions(), "with immediate=True")
        publisher().publish_all([trigger])
        return
    connection = connections[alias]
    if not connection.in_atomic_block:
        _warn_of_leak(_open_transactions(), f"and waits for {alias!r}, which has none; say using=")
    outbox_of(connection).add(trigger, mergeable=id is None)


async def apublish(rooms: Rooms, data: Any, **options: Any) -> None:
    """Like `publish`, from a coroutine; it takes the same arguments.

    Runs where Django runs the ORM for coroutines, so that it sees the same transaction.
    """
    await sync_to_async(publish)(rooms, data, **options)


@lru_cache(maxsize=1)
def publisher() -> Publisher:
    """The publisher of this site, as ``HIGH_TEMPLAR`` has it."""
    wanted = settings()
    return Publisher(
        wanted.url,
        api_key=wanted.api_key,
        timeout=wanted.timeout,
        attempts=wanted.attempts,
        on_error=wanted.on_error,
        encoder=wanted.encoder_class,
        exchange=wanted.exchange,
    )


class Entry:
    """A trigger that waits for its commit; called by it."""

    def __init__(self, outbox: Outbox, trigger: Trigger, mergeable: bool) -> None:
        self._outbox = outbox
        self.trigger = trigger
        self.mergeable = mergeable
        self.is_committed = False

    def __call__(self) -> None:
        """Its transaction, and the savepoint in it, are committed."""
        self.is_committed = True
        self._outbox.committed.append(self)


class Flush:
    """Sends what was committed, if it is the last of its transaction."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.is_last = True

    def __call__(self) -> None:
        """Every hook of the transaction before this one has run."""
        if self.is_last:
            self._outbox.send()


class Outbox:
    """What one database connection is to publish at its next commit.

    If a hook of somebody else fails, Django runs none of those after it. What of ours had its
    turn before is sent with the next publication, or when the request is finished.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self.committed: list[Entry] = []

    def add(self, trigger: Trigger, *, mergeable: bool) -> None:
        """Waits for the commit; without a transaction this is it."""
        entry, flush = Entry(self, trigger, mergeable), Flush(self)
        earlier = self._last_flush()
        # A hook belongs to the savepoint in which it is made and goes with it.
        transaction.on_commit(entry, using=self._alias)
        transaction.on_commit(flush, using=self._alias)
        hooks = connections[self._alias].run_on_commit
        if hooks and hooks[-1][1] is flush:
            # This one must outlive its savepoint: it does the work of those before it.
            hooks[-1] = (set(), *hooks[-1][1:])
            if earlier is not None:
                earlier.is_last = False

    def _last_flush(self) -> Flush | None:
        """The last one of the transaction that is open now."""
        for hook in reversed(connections[self._alias].run_on_commit):
            if isinstance(hook[1], Flush):
                return hook[1]
        return None

    def send(self) -> None:
        """Sends what was committed, as one."""
        entries, self.committed = self.committed, []
        triggers = merge(entries)
        if triggers:
            publisher().publish_all(triggers)


_outboxes: WeakKeyDictionary[BaseDatabaseWrapper, Outbox] = WeakKeyDictionary()


def outbox_of(connection: BaseDatabaseWrapper) -> Outbox:
    """The outbox of a connection; connections belong to one thread each."""
    outbox = _outboxes.get(connection)
    if outbox is None:
        outbox = _outboxes[connection] = Outbox(connection.alias)
    return outbox


def pending(aliases: Iterable[str] | None = None) -> list[Trigger]:
    """What waits for a commit in this thread, as it would be sent now. For tests."""
    found: list[Trigger] = []
    for alias in connections if aliases is None else aliases:
        hooks = [hook[1] for hook in connections[alias].run_on_commit]
        found += merge(
            [hook for hook in hooks if isinstance(hook, Entry) and not hook.is_committed]
        )
    return found


def merge(entries: Sequence[Entry]) -> list[Trigger]:
    """Says once what was said several times, without changing the order of what differs."""
    kept: list[Entry] = []
    seen: set[object] = set()
    # From the end: of two that say the same the last one tells the state of things.
    for entry in reversed(entries):
        if entry.mergeable:
            if entry.trigger.likeness in seen:
                continue
            seen.add(entry.trigger.likeness)
        kept.append(entry)
    triggers: list[Trigger] = []
    may_join = False
    for entry in reversed(kept):
        joined = triggers[-1].merged(entry.trigger) if may_join and entry.mergeable else None
        if joined is None:
            triggers.append(entry.trigger)
        else:
            triggers[-1] = joined
        may_join = entry.mergeable
    return triggers


def _open_transactions() -> list[str]:
    """The databases with a transaction of this thread, those around a test aside."""
    return [
        alias
        for alias in connections
        if any(
            not getattr(block, "_from_testcase", False)
            for block in getattr(connections[alias], "atomic_blocks", ())
        )
    ]


def _warn_of_leak(aliases: Sequence[str], how: str) -> None:
    if aliases:
        warnings.warn(
            f"publish() {how}, while a transaction on {', '.join(map(repr, aliases))} is open: "
            "clients may be told of data that is never committed or not yet visible.",
            UncommittedDataWarning,
            stacklevel=3,
        )


@receiver(request_finished)
def _send_what_was_left(**_: object) -> None:
    """Sends what is committed and was not sent, because somebody else's hook failed in between."""
    for alias in connections:
        outbox = _outboxes.get(connections[alias])
        if outbox is not None and outbox.committed:
            outbox.send()


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting in ("HIGH_TEMPLAR", "HIGH_TEMPLAR_URL") and publisher.cache_info().currsize:
        publisher().close()
        publisher.cache_clear()
