"""The position of what a page shows: the newest cursor that was known before its data were read."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from high_templar import capturing
from high_templar.errors import PublishError
from high_templar.transport import forget_after_fork

logger = logging.getLogger("high_templar")

REFRESH_SECONDS = 1.0
"""How often the gateway is asked at most."""

FAILED_SECONDS = 10.0
"""How long it is not asked after a failure."""

UNKNOWN_SECONDS = 300.0
"""How long it is not asked after it had no position: RabbitMQ, and gateways up to 4.0."""

ASK_SECONDS = 5.0
"""How long it may take to answer; nobody waits for it."""


class Positions:
    """The newest cursor that this process knows, of an answer to a publication or of the gateway.

    It may be older than the newest one there is: then clients receive something twice, and miss
    nothing.
    """

    def __init__(self) -> None:
        self._cursor: str | None = None
        self.after_fork()
        forget_after_fork(self)

    def after_fork(self) -> None:
        """Starts without a thread that asks: that of the parent process does not exist here."""
        self._lock = threading.Lock()
        self._is_asking = False
        self._due = 0.0
        self._is_failing = False

    def forget(self) -> None:
        """Knows nothing any more: the site publishes somewhere else."""
        self._cursor = None
        self._due = 0.0

    def note(self, cursor: str | None) -> None:
        """Keeps a cursor, if it is newer."""
        with self._lock:
            if cursor and _is_newer(cursor, self._cursor):
                self._cursor = cursor

    def current(self, ask: Callable[[], str | None]) -> str | None:
        """The newest cursor. Never waits: what `ask` returns counts for later requests."""
        now = time.monotonic()
        with self._lock:
            is_due = not self._is_asking and now >= self._due and not capturing.is_capturing()
            self._is_asking = self._is_asking or is_due
            cursor = self._cursor
        if is_due:
            try:
                threading.Thread(target=self._ask, args=(ask,), daemon=True).start()
            except RuntimeError:
                # No further threads, or the interpreter ends.
                self._answered(FAILED_SECONDS)
        return cursor

    def _ask(self, ask: Callable[[], str | None]) -> None:
        pause = FAILED_SECONDS
        try:
            cursor = ask()
            self.note(cursor)
            pause = REFRESH_SECONDS if cursor else UNKNOWN_SECONDS
            self._is_failing = False
        except Exception as error:
            # Once per outage. What is no `PublishError` is a wrong setting or a bug.
            if not self._is_failing:
                sentence = "the gateway does not tell its position, so pages fetch more often: %s"
                is_expected = isinstance(error, PublishError)
                logger.warning(sentence, error, exc_info=not is_expected)
            self._is_failing = True
        finally:
            self._answered(pause)

    def _answered(self, pause: float) -> None:
        with self._lock:
            self._is_asking = False
            self._due = time.monotonic() + pause


def _is_newer(cursor: str, known: str | None) -> bool:
    """Whether a cursor is newer than the one that is known; of another epoch, it is."""
    epoch, number = _parts(cursor)
    known_epoch, known_number = _parts(known or "")
    return epoch != known_epoch or number > known_number


def _parts(cursor: str) -> tuple[str, int]:
    epoch, _, rest = cursor.partition("-")
    digits = rest.partition("-")[0]
    return epoch, int(digits) if digits.isdecimal() else -1


positions = Positions()
"""Those of this process."""
