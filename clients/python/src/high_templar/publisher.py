"""Publishes: encodes, sends, tries again, and tells what became of it."""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import cast

from high_templar import capturing
from high_templar.errors import PublishError
from high_templar.errors import UnavailableError
from high_templar.http import HttpTransport
from high_templar.transport import Deadline
from high_templar.transport import Receipt
from high_templar.transport import RetryAfterError
from high_templar.transport import Transport
from high_templar.transport import forget_after_fork
from high_templar.trigger import Rooms
from high_templar.trigger import Trigger

logger = logging.getLogger("high_templar")

DEFAULT_URL = "http://127.0.0.1:8002"
"""The gateway's internal listener, where nothing else is said."""

BATCH_TRIGGERS = 1_000
"""Most triggers in one request; the gateway's own bound is ``limits.triggers_per_request``."""

BATCH_CHARS = 4 << 20
"""Most characters in one request of several triggers, well below ``limits.trigger_bytes``."""

_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS_MAX = 2.0

OnError = Literal["raise", "log"]


class Counts(NamedTuple):
    """What a publisher did since the process began."""

    published: int
    """Triggers that have their place in the order."""
    failed: int
    """Triggers given up: raised or logged."""
    retried: int
    """Attempts beyond the first ones."""


class Publisher:
    """Publishes to one gateway or broker, from any thread and also after a fork.

    ``url`` is the gateway's internal listener (``http://127.0.0.1:8002``, ``https://…``,
    ``unix:/run/high-templar.sock``) or a RabbitMQ (``amqp://…``, ``amqps://…``; needs
    ``high-templar[rabbitmq]``). Without it the variable ``HIGH_TEMPLAR_URL`` counts, else
    `DEFAULT_URL`. ``api_key`` is the gateway's ``internal.api_key``; without it the variable
    ``HIGH_TEMPLAR_API_KEY`` counts.

    ``timeout`` is for a whole call, all ``attempts`` and the pauses between them included, in
    seconds. Every trigger has an id, so that another attempt is never a second delivery.

    ``on_error``: ``"raise"`` raises a `PublishError`; ``"log"`` logs it as an error of the logger
    ``high_templar`` and counts it (see `counts`). An `InvalidTriggerError` is always raised.

    ``encoder`` is a `json.JSONEncoder` class for data that JSON does not know.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 5.0,
        attempts: int = 3,
        on_error: OnError = "raise",
        encoder: type[json.JSONEncoder] | None = None,
        exchange: str = "hightemplar",
    ) -> None:
        if timeout <= 0 or attempts < 1:
            raise ValueError("timeout is more than 0 seconds, and attempts at least 1")
        if on_error not in ("raise", "log"):
            raise ValueError('on_error is "raise" or "log"')
        self.url = url or os.environ.get("HIGH_TEMPLAR_URL") or DEFAULT_URL
        self.timeout, self.attempts, self.on_error = timeout, attempts, on_error
        self.encoder = encoder
        key = os.environ.get("HIGH_TEMPLAR_API_KEY", "") if api_key is None else api_key
        self._transport = _transport(self.url, key, exchange)
        self._published = self._failed = self._retried = 0
        self.after_fork()
        forget_after_fork(self)

    def after_fork(self) -> None:
        """Takes a lock of its own: the parent's may have been held by another thread."""
        self._lock = threading.Lock()

    def publish(self, rooms: Rooms, data: Any, *, id: str | None = None) -> Receipt | None:  # noqa: A002
        """Sends ``data`` to everyone who listens to one of ``rooms``.

        ``rooms`` is one room or several; ``data`` is anything that JSON can hold. A trigger with
        an ``id`` that the gateway knows is accepted and not delivered again. Gives back where it
        stands in the order, or ``None`` where the failure was logged.
        """
        receipts = self.publish_all([Trigger(rooms, data, id=id, encoder=self.encoder)])
        return receipts[0] if receipts else None

    def publish_all(self, triggers: Iterable[Trigger]) -> list[Receipt]:
        """Sends triggers in their order, as few requests as possible.

        If one of several requests fails, those before it have been published; the error's ``ids``
        name the triggers that have not. Gives back what has its place.
        """
        return self.deliver(list(triggers), Deadline(self.timeout))

    def deliver(self, waiting: Sequence[Trigger], deadline: Deadline) -> list[Receipt]:
        """What `publish_all` does, until a deadline that began earlier."""
        if capturing.take(waiting):
            return [Receipt(trigger.id) for trigger in waiting]
        receipts: list[Receipt] = []
        for batch in _batches(waiting):
            try:
                placed = self._send(batch, deadline)
            except PublishError as error:
                self._give_up(error, waiting[len(receipts) :])
                break
            receipts += placed
            with self._lock:
                self._published += len(placed)
        return receipts

    def attempt(self, trigger: Trigger) -> Receipt:
        """Sends one trigger, always raises what fails, and counts neither. For checks."""
        return self._send([trigger], Deadline(self.timeout))[0]

    @property
    def counts(self) -> Counts:
        """What it did so far, in this process."""
        with self._lock:
            return Counts(self._published, self._failed, self._retried)

    def close(self) -> None:
        """Closes connections that nobody uses; the publisher can be used again afterwards."""
        self._transport.close()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, batch: Sequence[Trigger], deadline: Deadline) -> list[Receipt]:
        """Sends one batch, as often as it takes and may."""
        attempt = 1
        while True:
            least = 0.0
            try:
                return self._transport.send(batch, deadline)
            except RetryAfterError as told:
                error, least = cast(UnavailableError, told.error), told.seconds
            except UnavailableError as caught:
                error = caught
            # Full jitter: those who failed together do not come back together.
            span = min(_PAUSE_SECONDS * 2**attempt, _PAUSE_SECONDS_MAX)
            pause = least + random.uniform(0, span)  # noqa: S311
            if attempt == self.attempts or pause >= deadline.left:
                raise error
            time.sleep(pause)
            attempt += 1
            with self._lock:
                self._retried += 1

    def _give_up(self, error: PublishError, lost: Sequence[Trigger]) -> None:
        error.ids = tuple(trigger.id for trigger in lost)
        with self._lock:
            self._failed += len(lost)
        if self.on_error == "raise":
            raise error
        logger.error("not published: %s; %d triggers, first %r", error, len(lost), lost[0])


def _transport(url: str, api_key: str, exchange: str) -> Transport:
    if url.startswith(("amqp://", "amqps://")):
        from high_templar.rabbitmq import RabbitMqTransport  # noqa: PLC0415 # an extra

        return RabbitMqTransport(url, exchange)
    return HttpTransport(url, api_key)


def _batches(triggers: Iterable[Trigger]) -> Iterable[list[Trigger]]:
    batch: list[Trigger] = []
    size = 0
    for trigger in triggers:
        length = len(trigger.text())
        if batch and (len(batch) == BATCH_TRIGGERS or size + length > BATCH_CHARS):
            yield batch
            batch, size = [], 0
        batch.append(trigger)
        size += length
    if batch:
        yield batch
