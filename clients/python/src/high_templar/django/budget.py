"""The request that is being served: the time for its publications, and what follows it.

The setting ``TIMEOUT`` bounds the publications of one request, however many calls and transactions
they come from; elsewhere, in commands and tasks, it bounds each call.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from asgiref.sync import SyncToAsync
from django.core.signals import request_finished
from django.core.signals import request_started
from django.dispatch import receiver

from high_templar.publisher import CONFIRM_SECONDS
from high_templar.publisher import is_confirmed
from high_templar.transport import Deadline
from high_templar.transport import Receipt
from high_templar.trigger import Trigger

logger = logging.getLogger("high_templar")

LATE_SECONDS = 5.0
"""The longest wait for the end of a request: one that streams may take hours."""

REFILL = 0.1
"""Seconds that a request gets back in a second, so that one that streams for hours may publish."""

GRACE = 0.1
"""The part of the timeout that a hundred triggers may take without being charged."""


class _Spent:
    """Seconds that a request has waited in vain, or for a slow gateway."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._at = time.monotonic()
        self.late: list[_Late] = []

    def seconds(self) -> float:
        """What is spent by now."""
        now = time.monotonic()
        self._seconds = max(0.0, self._seconds - REFILL * (now - self._at))
        self._at = now
        return self._seconds

    def add(self, seconds: float) -> None:
        """Charges seconds that have just passed."""
        self._seconds += max(0.0, seconds)
        self._at = time.monotonic()


class _Late:
    """What is done once, at the end of a request, or after some seconds if that does not come."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._turn = threading.Lock()
        self._timer = threading.Timer(LATE_SECONDS, self)
        self._timer.daemon = True
        self._timer.start()

    def __call__(self) -> None:
        """Does it, for the first who calls."""
        if not self._turn.acquire(blocking=False):
            return
        self._timer.cancel()
        try:
            self._act()
        except Exception:
            # The response is sent: nobody could be told.
            logger.exception("not published at the end of a request")


class _Thread(threading.local):
    """The request that this thread serves."""

    spent: _Spent | None = None


_thread = _Thread()
_contexts: weakref.WeakKeyDictionary[Any, _Spent] = weakref.WeakKeyDictionary()


def publish(
    triggers: Sequence[Trigger],
    timeout: float,
    send: Callable[[Sequence[Trigger], Deadline], list[Receipt]],
) -> list[Receipt]:
    """Sends triggers within what is left to the request that is being served, if there is one.

    What succeeds at the usual pace costs nothing, so that a request may publish much.
    """
    spent = _of_request()
    if spent is None:
        return send(triggers, Deadline(timeout))
    deadline = Deadline(max(0.0, timeout - spent.seconds()))
    begun = time.monotonic()
    free = 0.0
    try:
        receipts = send(triggers, deadline)
        if all(receipts):
            free = GRACE * timeout * (1 + len(triggers) / 100)
        if is_confirmed(triggers):
            # Who waits for every node has asked for it.
            free += CONFIRM_SECONDS
    finally:
        spent.add(time.monotonic() - begun - free)
    return receipts


def at_end(act: Callable[[], object]) -> bool:
    """Has this done once the response is sent; false where no request is being served."""
    spent = _of_request()
    if spent is None:
        return False
    spent.late.append(_Late(act))
    return True


def _of_request() -> _Spent | None:
    # Django's ASGI handler makes a context for each request; tasks and threads inherit it.
    variable = getattr(SyncToAsync, "thread_sensitive_context", None)
    context = variable.get(None) if variable is not None else None
    if context is None:
        return _thread.spent
    return _contexts.setdefault(context, _Spent())


@receiver(request_started)
def _begin(**_: object) -> None:
    _thread.spent = _Spent()


@receiver(request_finished)
def _end(**_: object) -> None:
    spent = _of_request()
    if spent is not None:
        late, spent.late = spent.late, []
        for each in late:
            each()
    _thread.spent = None
