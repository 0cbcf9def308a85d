"""A circuit breaker per process and address: fail fast while the gateway does not respond.

After a few failed attempts in a row the circuit opens: calls fail at once instead of each waiting
for a timeout. After a pause one call, the probe, is let through; its outcome closes the circuit or
keeps it open.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import weakref
from collections.abc import Callable

from high_templar.errors import CircuitOpenError
from high_templar.errors import TransientError
from high_templar.transport import forget_after_fork

logger = logging.getLogger("high_templar")

FAILURES_MAX = 3
"""Consecutive failed attempts that open the circuit."""

PAUSE_SECONDS = 0.5
"""Minimum interval between two probes."""

PAUSE_SECONDS_MAX = 5.0
"""Maximum interval between two probes."""

PAUSE_FACTOR = 10
"""The interval is the duration of the failed attempt times this, within the limits above."""

PROBE_SECONDS_MAX = 30.0
"""Timeout of a probe whose caller vanished, such as a killed greenlet."""


class CircuitBreaker:
    """Counts consecutive failed attempts at one address. Safe for threads and across forks."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self.after_fork()
        forget_after_fork(self)

    def after_fork(self) -> None:
        """Starts closed with a new lock: the parent's may be held."""
        self._lock = threading.Lock()
        self._failures = 0
        self._opened = self._probe_at = 0.0
        self._probing_since: float | None = None
        self._rejected = 0
        self._cause = ""

    @property
    def is_open(self) -> bool:
        """Whether calls are rejected, apart from the probe."""
        return self._failures >= FAILURES_MAX

    def would_reject(self) -> bool:
        """Whether a call now would be rejected; changes nothing."""
        with self._lock:
            return self.is_open and not self._may_probe(self._clock())

    def admit(self) -> bool:
        """Admits a call; true if it is the probe, which ends with `succeeded` or `failed`.

        Raises `CircuitOpenError` while the circuit is open and no probe is due.
        """
        with self._lock:
            if not self.is_open:
                return False
            now = self._clock()
            if not self._may_probe(now):
                self._rejected += 1
                raise CircuitOpenError(
                    f"not attempted, the circuit breaker is open after {self._failures} failures "
                    f"in a row; the last one: {self._cause}"
                )
            self._probing_since = now
            return True

    def succeeded(self) -> None:
        """The gateway responded, with any status."""
        with self._lock:
            was_open, since, rejected = self.is_open, self._opened, self._rejected
            self._failures = self._rejected = 0
            self._probing_since = None
            seconds = self._clock() - since
        if was_open:
            logger.warning(
                "circuit breaker closed: %s answers again after %.1f s; %d calls failed fast",
                self._name,
                seconds,
                rejected,
            )

    def failed(self, error: TransientError, seconds: float) -> None:
        """An attempt of this duration got no response."""
        with self._lock:
            was_open = self.is_open
            self._failures += 1
            self._probing_since = None
            self._cause = str(error)
            now = self._clock()
            pause = min(max(PAUSE_SECONDS, PAUSE_FACTOR * seconds), PAUSE_SECONDS_MAX)
            # With jitter: the processes of a site should not probe together.
            self._probe_at = now + pause * random.uniform(0.8, 1.2)  # noqa: S311
            opens = self.is_open and not was_open
            if opens:
                self._opened = now
        if opens:
            logger.warning(
                "circuit breaker opened: %d attempts in a row failed, the last one: %s; "
                "publications fail fast, and one is attempted every %.1f s. "
                "Is the gateway running, and reachable from here?",
                FAILURES_MAX,
                error,
                pause,
            )

    def abandoned(self) -> None:
        """The probe ended without an outcome; the next call may probe."""
        with self._lock:
            self._probing_since = None

    def _may_probe(self, now: float) -> bool:
        since = self._probing_since
        if since is not None:
            return now - since > PROBE_SECONDS_MAX
        return now >= self._probe_at


_breakers: weakref.WeakValueDictionary[str, CircuitBreaker] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def breaker_of(address: str) -> CircuitBreaker:
    """The circuit breaker of this process for an address, shared by all publishers."""
    with _lock:
        breaker = _breakers.get(address)
        if breaker is None:
            breaker = _breakers[address] = CircuitBreaker(address)
        return breaker
