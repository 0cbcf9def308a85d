"""Publishes: encodes, sends, retries, and reports the outcome."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import ssl
import threading
import time
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import cast

from high_templar import capturing
from high_templar.circuit import breaker_of
from high_templar.command import Command
from high_templar.commanding import Commanding
from high_templar.delivery import Outcome
from high_templar.delivery import batches
from high_templar.errors import CircuitOpenError
from high_templar.errors import InvalidTriggerError
from high_templar.errors import PublishError
from high_templar.errors import RefusedError
from high_templar.errors import TransientError
from high_templar.errors import UnavailableError
from high_templar.errors import UnconfirmedError
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
"""Default URL of the gateway's internal listener."""

LOG_SECONDS = 1.0
"""Interval of log lines about lost publications while the circuit is open, in seconds."""

CONFIRM_SECONDS = 10.0
"""How much longer a call may take that every node is to confirm, in seconds.

Twice the gateway's ``permissions.confirm_timeout`` as it is by default.
"""

_PARTIAL = (400, 413)
"""Statuses about one of several triggers: the others can be sent."""

_BROKERS = ("amqp://", "amqps://")

_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS_MAX = 2.0

OnError = Literal["raise", "log"]


class Counts(NamedTuple):
    """Counters of a publisher since the process started."""

    published: int
    """Triggers that were published."""
    failed: int
    """Triggers that failed: raised or logged."""
    retried: int
    """Retries."""


class Publisher(Commanding[Receipt]):
    """Publishes to one gateway or broker, from any thread and also after a fork.

    ``url`` is the gateway's internal listener (``http://127.0.0.1:8002``, ``https://…``,
    ``unix:/run/high-templar.sock``) or a RabbitMQ (``amqp://…``, ``amqps://…``; needs
    ``high-templar[rabbitmq]``). Without it the variable ``HIGH_TEMPLAR_URL`` counts, else
    `DEFAULT_URL`. ``api_key`` is the gateway's ``internal.api_key``; without it the variable
    ``HIGH_TEMPLAR_API_KEY`` counts. ``ssl_context`` is for ``https://`` and ``amqps://`` with a
    private CA; without it the variable ``SSL_CERT_FILE`` may name one.

    ``timeout`` bounds a call in seconds: resolving the host name, connecting, all ``attempts`` and
    the pauses between them; with ``confirm`` it may take `CONFIRM_SECONDS` longer. A call of more
    than 1,000 triggers is several requests, each with a
    timeout of its own as long as they succeed. ``connect_timeout`` bounds resolving and connecting
    within that, over HTTP. Every trigger has an id, so that another attempt is never a second
    delivery.

    After a few failed attempts in a row a circuit breaker opens, one per process and address:
    calls fail at once with a `CircuitOpenError`, and one is let through now and then to find out
    whether the gateway is back.

    ``on_error``: ``"raise"`` raises a `PublishError`; ``"log"`` logs it as an error of the logger
    ``high_templar`` and counts it (see `counts`). An `InvalidTriggerError` is always raised.

    ``encoder`` is a `json.JSONEncoder` class for data that JSON does not know. ``transport``
    replaces what sends; ``url`` is then only a name.
    """

    def __init__(
        self,
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
        _check_seconds("timeout", timeout)
        _check_seconds("connect_timeout", connect_timeout)
        if isinstance(attempts, bool) or attempts < 1:
            raise ValueError("attempts is at least 1")
        if on_error not in ("raise", "log"):
            raise ValueError('on_error is "raise" or "log"')
        self.url = url or os.environ.get("HIGH_TEMPLAR_URL") or DEFAULT_URL
        self.timeout, self.attempts, self.on_error = timeout, attempts, on_error
        self.encoder = encoder
        key = os.environ.get("HIGH_TEMPLAR_API_KEY", "") if api_key is None else api_key
        self._transport = transport or _transport(
            self.url, key, exchange, connect_timeout, ssl_context
        )
        self._is_broker = transport is None and self.url.startswith(_BROKERS)
        self._circuit = breaker_of(self._transport.name)
        self._published = self._failed = self._retried = 0
        self._quiet = Throttle(LOG_SECONDS)
        self.after_fork()
        forget_after_fork(self)

    def _command(self, command: Command) -> Receipt:
        return self.publish_all([command])[0]

    def after_fork(self) -> None:
        """Creates a new lock: the parent's may be held by another thread."""
        self._lock = threading.Lock()

    def publish(self, rooms: Rooms, data: Any, *, id: str | None = None) -> Receipt:  # noqa: A002
        """Publishes ``data`` to the subscribers of ``rooms``.

        ``rooms`` is one room or several; ``data`` is anything that JSON can hold. A trigger with
        an ``id`` that the gateway knows is accepted and not delivered again. The receipt has the
        place in the order; where a failure was logged it is false and has the ``error``.
        """
        return self.publish_all([Trigger(rooms, data, id=id, encoder=self.encoder)])[0]

    def publish_all(
        self, triggers: Iterable[Trigger], *, deadline: Deadline | None = None
    ) -> list[Receipt]:
        """Publishes triggers in order, in as few requests as possible; returns their receipts.

        A trigger that the gateway rejects does not keep the others from being published. After a
        command that it rejects, and after another failure, those that follow are not attempted. The
        error that is raised in the end is the first one; its ``ids`` name every trigger that has
        not been published for certain.
        With a ``deadline`` that one counts in place of ``timeout``.
        """
        return self.deliver(list(triggers), deadline or Deadline(self.timeout))

    def deliver(self, waiting: Sequence[Trigger], deadline: Deadline) -> list[Receipt]:
        """Same as `publish_all`, with a deadline."""
        if self._is_broker:
            for name in ("dry_run", "confirm"):
                if any(getattr(each, name, None) for each in waiting):
                    raise InvalidTriggerError(
                        f"{name} needs the gateway's internal listener: a broker does not answer"
                    )
        if capturing.take(waiting):
            return [Receipt(trigger.id) for trigger in waiting]
        if is_confirmed(waiting):
            deadline = Deadline(deadline.left + CONFIRM_SECONDS)
        outcome = Outcome()
        for batch in batches(waiting):
            self._deliver_batch(batch, deadline, outcome)
            deadline.renew(min(self.timeout, deadline.span))
        receipts = [outcome.receipts[id(trigger)] for trigger in waiting]
        with self._lock:
            self._published += sum(map(bool, receipts))
        self._give_up(outcome.failures)
        return receipts

    def reject(self, waiting: Sequence[Trigger]) -> list[Receipt] | None:
        """Fails as `deliver` does where the circuit is open; ``None`` where that is to be asked.

        Never waits, so that it can be called on an event loop.
        """
        if capturing.is_capturing() or not self._circuit.would_reject() or not waiting:
            return None
        try:
            is_probe = self._circuit.admit()
        except CircuitOpenError as error:
            self._give_up([(error, list(waiting))])
            return [Receipt(trigger.id, error=error) for trigger in waiting]
        # Between the two questions it closed, or a probe became due.
        if is_probe:
            self._circuit.abandoned()
        return None

    def attempt(self, trigger: Trigger, seconds: float | None = None) -> Receipt:
        """Sends one trigger, once, whatever the circuit breaker says. For checks.

        Within so many seconds, or ``timeout``. Always raises what fails, and counts nothing.
        """
        try:
            return self._transport.send([trigger], Deadline(seconds or self.timeout))[0]
        except RetryAfterError as told:
            raise told.error from told

    def position(self, *, timeout: float | None = None) -> str | None:
        """The cursor of everything that has been published: the position of data read after it.

        A page that is sent it along with these data receives all that was published since, each
        publication once. ``None`` over RabbitMQ and from gateways up to 4.0. One attempt, which
        counts for nothing; always raises what fails, as a `PublishError`.
        """
        ask = getattr(self._transport, "position", None)
        cursor: str | None = ask and ask(Deadline(timeout or self.timeout))
        return cursor

    @property
    def counts(self) -> Counts:
        """Counters of this process."""
        with self._lock:
            return Counts(self._published, self._failed, self._retried)

    def close(self) -> None:
        """Closes idle connections; the publisher can still be used."""
        self._transport.close()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deliver_batch(self, batch: list[Trigger], deadline: Deadline, outcome: Outcome) -> None:
        """Sends a batch; all or nothing is the gateway's rule, so without what it rejects."""
        parts = [batch]
        while parts:
            part = parts.pop()
            if outcome.is_over:
                outcome.skip(part)
                continue
            try:
                outcome.publish(part, self._send(part, deadline))
            except RefusedError as error:
                at = error.trigger
                if len(part) == 1 or error.status not in _PARTIAL:
                    outcome.fail(error, part)
                elif at is not None and 0 <= at < len(part):
                    _without(at, part, error, parts, outcome)
                else:
                    # It did not say which one: the halves will.
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
            except PublishError as error:
                outcome.fail(error, part)

    def _send(self, batch: Sequence[Trigger], deadline: Deadline) -> list[Receipt]:
        """Sends one batch, with retries."""
        ids = [trigger.id for trigger in batch]
        if not deadline.left:
            raise UnavailableError("not attempted: the time for publishing is up", ids=ids)
        is_probe = self._circuit.admit()
        unconfirmed = False
        attempt = 1
        while True:
            error, least = self._attempt(batch, deadline, is_probe)
            if isinstance(error, list):
                return error
            unconfirmed = unconfirmed or isinstance(error, UnconfirmedError)
            # Full jitter: calls that failed together do not retry together.
            span = min(_PAUSE_SECONDS * 2**attempt, _PAUSE_SECONDS_MAX)
            pause = least + random.uniform(0, span)  # noqa: S311
            # A probe is not retried; a call that started before continues.
            is_last = attempt == self.attempts or is_probe
            if is_last or pause >= deadline.left:
                if unconfirmed and not isinstance(error, UnconfirmedError):
                    sentence = f"{error}; an earlier attempt may have been published"
                    raise UnconfirmedError(sentence, ids=ids) from error
                raise error
            time.sleep(pause)
            attempt += 1
            with self._lock:
                self._retried += 1

    def _attempt(
        self, batch: Sequence[Trigger], deadline: Deadline, is_probe: bool
    ) -> tuple[list[Receipt] | TransientError, float]:
        """One attempt, told to the circuit breaker; also the least pause before another one."""
        begun = time.monotonic()
        try:
            receipts = self._transport.send(batch, deadline)
        except RetryAfterError as told:
            # Busy, but it responds.
            self._circuit.succeeded()
            return cast(TransientError, told.error), told.seconds
        except TransientError as error:
            self._circuit.failed(error, time.monotonic() - begun)
            return error, 0.0
        except PublishError:
            self._circuit.succeeded()
            raise
        except BaseException:
            if is_probe:
                self._circuit.abandoned()
            raise
        self._circuit.succeeded()
        return receipts, 0.0

    def _give_up(self, failures: Sequence[tuple[PublishError, list[Trigger]]]) -> None:
        """Counts a failure, and raises or logs it."""
        if not failures:
            return
        lost = [trigger for _, triggers in failures for trigger in triggers]
        with self._lock:
            self._failed += len(lost)
        if self.on_error == "raise":
            error = failures[0][0]
            error.ids = tuple(trigger.id for trigger in lost)
            raise error
        for error, triggers in failures:
            error.ids = tuple(trigger.id for trigger in triggers)
            self._log(error, triggers)

    def _log(self, error: PublishError, lost: Sequence[Trigger]) -> None:
        more = ""
        if isinstance(error, CircuitOpenError):
            # The circuit breaker has logged the cause; a line for each call would hide it.
            suppressed = self._quiet.count(len(lost))
            if suppressed is None:
                return
            more = f", and {suppressed} triggers before that were not logged" if suppressed else ""
        is_unsure = isinstance(error, UnconfirmedError)
        result = "not confirmed, may have been published" if is_unsure else "not published"
        what = repr(lost[0])
        if len(lost) > 1:
            what = f"{len(lost)} triggers, the first one is {what}"
        logger.error("%s: %s; %s%s", result, error, what, more)


def is_confirmed(triggers: Iterable[Trigger]) -> bool:
    """Whether every node is to confirm a command among them."""
    return any(isinstance(each, Command) and each.confirm for each in triggers)


def _without(
    at: int,
    part: list[Trigger],
    error: RefusedError,
    parts: list[list[Trigger]],
    outcome: Outcome,
) -> None:
    """Has a part sent anew, without what the gateway rejected in it."""
    if not isinstance(part[at], Command):
        outcome.fail(error, [part.pop(at)])
        parts.append(part)
    elif at:
        # What comes after a command may rely on it; what comes before does not.
        parts += [part[at:], part[:at]]
    else:
        outcome.fail(error, part[:1])
        outcome.skip(part[1:])


class Throttle:
    """Rate limit of log lines; counts the suppressed ones."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0
        self._held = 0

    def count(self, number: int) -> int | None:
        """How many were suppressed since the last line; ``None`` if this one is suppressed.

        Without a lock: a race costs a line or a count of it, never more.
        """
        now = time.monotonic()
        if now < self._next:
            self._held += number
            return None
        held, self._held, self._next = self._held, 0, now + self._seconds
        return held


def _check_seconds(name: str, seconds: float) -> None:
    if isinstance(seconds, bool) or not 0 < seconds < math.inf:
        raise ValueError(f"{name} is a number of seconds above 0")


def _transport(
    url: str,
    api_key: str,
    exchange: str,
    connect_timeout: float,
    ssl_context: ssl.SSLContext | None,
) -> Transport:
    if url.startswith(_BROKERS):
        from high_templar.rabbitmq import RabbitMqTransport  # noqa: PLC0415 # an extra

        return RabbitMqTransport(url, exchange, ssl_context)
    return HttpTransport(url, api_key, connect_timeout=connect_timeout, ssl_context=ssl_context)
