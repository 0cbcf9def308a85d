"""How long a request may wait for its publications, all of them together.

The setting ``TIMEOUT`` bounds the publications of one request, however many calls and transactions
they come from; elsewhere, in commands and tasks, it bounds each call.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import SyncToAsync
from django.core.signals import request_finished
from django.core.signals import request_started
from django.dispatch import receiver

from high_templar.transport import Deadline


class _Spent:
    """Seconds that a request has waited so far."""

    seconds = 0.0


class _Thread(threading.local):
    """The request that this thread serves."""

    spent: _Spent | None = None


_thread = _Thread()
_contexts: weakref.WeakKeyDictionary[Any, _Spent] = weakref.WeakKeyDictionary()


@contextmanager
def spending(timeout: float) -> Iterator[Deadline]:
    """A deadline for one call of the request that is being served, or of none."""
    spent = _of_request()
    if spent is None:
        yield Deadline(timeout)
        return
    begun = time.monotonic()
    try:
        yield Deadline(max(0.0, timeout - spent.seconds))
    finally:
        spent.seconds += time.monotonic() - begun


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
    _thread.spent = None
