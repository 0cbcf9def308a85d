"""What waits for the commit of a transaction, and is sent then."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from functools import partial
from weakref import WeakKeyDictionary

from django.db import connections
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from high_templar.django.budget import at_end
from high_templar.django.sender import send
from high_templar.trigger import Trigger

logger = logging.getLogger("high_templar")


class Entry:
    """A trigger that waits for its commit; a hook of ``on_commit``."""

    def __init__(
        self, outbox: Outbox, trigger: Trigger, mergeable: bool, after_response: bool
    ) -> None:
        self.outbox = outbox
        self.trigger = trigger
        self.mergeable = mergeable
        self.after_response = after_response
        self.is_committed = False

    def __call__(self) -> None:
        """Its transaction, and the savepoint in it, are committed."""
        self.outbox.commit([self])


class Flush:
    """Sends what was committed, if it is the last of its transaction; a hook of ``on_commit``."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.is_last = True

    def __call__(self) -> None:
        """Has the turn of the last publication among the hooks."""
        if self.is_last:
            self._outbox.send()


class Outbox:
    """What one database connection is to publish at its next commit.

    Django runs the hooks of a commit in their order and, if one raises, none of those after it.
    Hence two ways to the same end. Entries and their flush are hooks, so that a savepoint takes
    its own along and hooks that were registered before a publication have run when it is sent.
    And `run_hooks`, around Django's own method, knows all that was committed before the first hook
    runs, and sends what is left when the last one has run or one has failed.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        # Weak: the outbox lives as long as its connection.
        self._connection = weakref.ref(connection)
        self._committed: list[Entry] = []
        self._running = 0
        self._failure: Exception | None = None

    def add(self, trigger: Trigger, *, mergeable: bool, after_response: bool = False) -> None:
        """Waits for the commit; without a transaction this is it.

        With ``after_response`` it also waits for the end of the request that is being served.
        """
        connection = self.connection
        entry = Entry(self, trigger, mergeable, after_response)
        if not connection.in_atomic_block:
            self.commit([entry])
            self.send()
            return
        earlier = self._last_flush()
        if earlier is None and not self._running:
            # Left by a test that ran some hooks itself, and one of them failed.
            self._committed.clear()
        for watched in _watching:
            watched.append(entry)
        flush = Flush(self)
        # A hook belongs to the savepoint in which it is registered and goes with it.
        transaction.on_commit(entry, using=connection.alias)
        transaction.on_commit(flush, using=connection.alias)
        hooks = connection.run_on_commit
        # This one must outlive its savepoint: it does the work of those before it.
        hooks[-1] = (set(), *hooks[-1][1:])
        if earlier is not None:
            earlier.is_last = False

    @property
    def connection(self) -> BaseDatabaseWrapper:
        """The connection; it is still there, because it is about to publish."""
        connection = self._connection()
        assert connection is not None  # noqa: S101 # an outbox is reached through it
        return connection

    def waiting(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of them that wait for the commit still: neither committed nor rolled back."""
        connection = self._connection()
        hooks = () if connection is None else tuple(connection.run_on_commit)
        kept = {id(hook[1]) for hook in hooks}
        return [entry for entry in entries if not entry.is_committed and id(entry) in kept]

    def commit(self, entries: Iterable[Entry]) -> None:
        """They are to be sent, in this order."""
        for entry in entries:
            if not entry.is_committed:
                entry.is_committed = True
                self._committed.append(entry)

    def send(self) -> None:
        """Sends what was committed, as one.

        While hooks run nothing is raised, so that those of others run: `run_hooks` does it.
        """
        entries, self._committed = self._committed, []
        late = [entry for entry in entries if entry.after_response]
        if late and at_end(partial(send, merge(late))):
            entries = [entry for entry in entries if not entry.after_response]
        triggers = merge(entries)
        if not triggers:
            return
        try:
            send(triggers)
        except Exception as error:
            if not self._running:
                raise
            self._failure = self._failure or error

    def run_hooks(self, connection: BaseDatabaseWrapper, run: Callable[[], None]) -> None:
        """Runs the hooks of a commit, and sends whatever they do."""
        if connection.in_atomic_block:
            # Django refuses, and nothing is committed.
            run()
            return
        hooks = [hook[1] for hook in connection.run_on_commit]
        # All of it is committed now, so a hook that publishes something newer sends these first.
        self.commit(hook for hook in hooks if isinstance(hook, Entry))
        self._running += 1
        is_done = False
        try:
            run()
            is_done = True
        finally:
            self.send()
            self._running -= 1
            if not self._running:
                failure, self._failure = self._failure, None
                if failure is not None:
                    if is_done:
                        raise failure
                    # Somebody else's exception is on its way and has precedence.
                    logger.error("not published: %s", failure)

    def _last_flush(self) -> Flush | None:
        """The last one of the transaction that is open now."""
        for hook in reversed(self.connection.run_on_commit):
            if isinstance(hook[1], Flush):
                return hook[1]
        return None


_outboxes: WeakKeyDictionary[BaseDatabaseWrapper, Outbox] = WeakKeyDictionary()


def outbox_of(connection: BaseDatabaseWrapper) -> Outbox:
    """The outbox of a connection; connections belong to one thread each."""
    outbox = _outboxes.get(connection)
    if outbox is None:
        outbox = _outboxes[connection] = Outbox(connection)
        # Of this connection alone: Django has no signal for a commit.
        run = connection.run_and_clear_commit_hooks
        connection.run_and_clear_commit_hooks = partial(  # type: ignore[method-assign]
            outbox.run_hooks, connection, run
        )
    return outbox


def outboxes() -> list[Outbox]:
    """Those of the connections of this thread."""
    found = (_outboxes.get(connection) for connection in connections.all(initialized_only=True))
    return [outbox for outbox in found if outbox is not None]


def is_manual(connection: BaseDatabaseWrapper) -> bool:
    """Whether transactions are managed by hand, as far as is known without connecting."""
    if connection.connection is None:
        return not connection.settings_dict.get("AUTOCOMMIT", True)
    return not connection.autocommit


_watching: list[list[Entry]] = []


@contextmanager
def watch() -> Iterator[list[Entry]]:
    """Notes what begins to wait for a commit meanwhile, in whatever thread. For tests."""
    watched: list[Entry] = []
    _watching.append(watched)
    try:
        yield watched
    finally:
        _watching[:] = [each for each in _watching if each is not watched]


def is_watched() -> bool:
    """Whether a test looks at what would be published."""
    return bool(_watching)


def pending(watched: Iterable[Entry]) -> list[Trigger]:
    """What of it waits still, as it would be sent now."""
    found: dict[Outbox, list[Entry]] = {}
    for entry in watched:
        found.setdefault(entry.outbox, []).append(entry)
    return [
        trigger for outbox, entries in found.items() for trigger in merge(outbox.waiting(entries))
    ]


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
