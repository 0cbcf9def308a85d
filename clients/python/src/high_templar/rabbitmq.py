"""Triggers over RabbitMQ, with pika: the extra ``high-templar[rabbitmq]``."""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from high_templar.errors import PublishError
from high_templar.errors import TransientError
from high_templar.errors import UnauthorizedError
from high_templar.errors import UnavailableError
from high_templar.errors import UnconfirmedError
from high_templar.transport import Deadline
from high_templar.transport import Receipt
from high_templar.transport import RetryAfterError
from high_templar.transport import bad_certificate
from high_templar.transport import forget_after_fork
from high_templar.trigger import Trigger

try:
    import pika
    from pika import exceptions as amqp
except ImportError as missing:
    raise ImportError("amqp:// needs pika: pip install 'high-templar[rabbitmq]'") from missing

ROUTING_KEY = "*"
"""The routing key that gateways bind, literally."""

HEARTBEAT_SECONDS = 30
"""Heartbeat: the broker closes a connection without data for twice this."""

IDLE_SECONDS_MAX = 45
"""A connection that was idle for longer is not used again.

Between calls nobody here answers heartbeats: that would take a thread, which servers that fork or
forbid threads would not keep alive. A new connection costs some milliseconds.
"""

_CLOSE_SECONDS = 0.5
_ABORT_SECONDS = 0.1
_SECONDS_MIN = 0.05
_REFUSED = 403
_NOT_FOUND = 404
_TRANSIENT = 1

_of_parents: list[Any] = []
"""Connections of parent processes, kept so that nothing here touches what they share."""


class RabbitMqTransport:
    """One persistent connection; every message is confirmed by the broker.

    Calls from several threads take turns. A message that no gateway's queue takes is an
    `UnavailableError`.
    """

    def __init__(self, url: str, exchange: str, ssl_context: ssl.SSLContext | None = None) -> None:
        self._parameters = pika.URLParameters(url)
        if ssl_context is not None and self._parameters.ssl_options is not None:
            self._parameters.ssl_options = pika.SSLOptions(ssl_context, self._parameters.host)
        self._parameters.heartbeat = HEARTBEAT_SECONDS
        # Bound here: `attempts` belong to the publisher.
        self._parameters.connection_attempts = 1
        self._where = f"{self._parameters.host}:{self._parameters.port}"
        self.name = f"RabbitMQ at {self._where}"
        self._exchange = exchange
        self._link: _Link | None = None
        self.after_fork()
        forget_after_fork(self)

    def after_fork(self) -> None:
        """Starts with no connection: that of the parent process is its own."""
        self._lock = threading.Lock()
        if self._link is not None:
            _of_parents.append(self._link)
            self._link = None

    def send(self, triggers: Sequence[Trigger], deadline: Deadline) -> list[Receipt]:
        """Sends each as a separate message, in order, and waits for all confirmations."""
        ids = [trigger.id for trigger in triggers]
        if not self._lock.acquire(timeout=deadline.left):
            raise UnavailableError("other threads are still publishing", ids=ids)
        try:
            is_old = self._link is not None
            try:
                self._attempt(triggers, ids, deadline)
            except TransientError as error:
                if not is_old or not deadline.left:
                    raise
                # The persistent connection had ended. Sending again is safe: triggers have ids.
                self._again(error, triggers, ids, deadline)
        finally:
            self._lock.release()
        return [Receipt(id) for id in ids]  # noqa: A001

    def close(self) -> None:
        """Closes the connection; a later `send` opens a new one."""
        with self._lock:
            self._drop()

    def _again(
        self,
        first: TransientError,
        triggers: Sequence[Trigger],
        ids: Sequence[str],
        deadline: Deadline,
    ) -> None:
        try:
            self._attempt(triggers, ids, deadline)
        except UnavailableError as error:
            if not isinstance(first, UnconfirmedError):
                raise
            sentence = f"{error}; an earlier attempt may have been published"
            raise UnconfirmedError(sentence, ids=ids) from error

    def _attempt(self, triggers: Sequence[Trigger], ids: Sequence[str], deadline: Deadline) -> None:
        is_begun = False
        try:
            if self._link is not None and not self._link.is_usable():
                self._drop(deadline.left / 2)
            if self._link is None:
                self._link = _Link(self._parameters)
                self._link.open(deadline)
            is_begun = True
            self._link.publish(self._exchange, triggers, deadline)
        except _NobodyError:
            nobody = f"no gateway listens at the exchange {self._exchange!r} of {self._where}"
            raise RetryAfterError(UnavailableError(nobody, ids=ids), 0.0) from None
        except _BrokenError as error:
            # Closing takes no longer than the caller has.
            self._drop(deadline.left)
            failure = self._failure(error.cause, is_begun, ids)
            if getattr(error.cause, "reply_code", 0) == _NOT_FOUND:
                raise RetryAfterError(failure, 0.0) from error.cause
            raise failure from error.cause
        except BaseException:
            # In the middle of a frame, perhaps.
            self._drop(deadline.left)
            raise

    def _drop(self, seconds: float = math.inf) -> None:
        """Closes the connection within so many seconds, and never many."""
        link, self._link = self._link, None
        if link is not None:
            link.close(min(seconds, _CLOSE_SECONDS))

    def _failure(self, error: BaseException, is_begun: bool, ids: Sequence[str]) -> PublishError:
        what = str(error) or type(error).__name__
        code = getattr(error, "reply_code", 0)
        if code == _NOT_FOUND:
            nobody = f"there is no exchange {self._exchange!r}: has a gateway ever started?"
            return UnavailableError(f"{self._where}: {nobody}", ids=ids)
        refusals = (amqp.ProbableAuthenticationError, amqp.ProbableAccessDeniedError)
        if code == _REFUSED or isinstance(error, refusals):
            return UnauthorizedError(f"RabbitMQ at {self._where} refuses: {what}", ids=ids)
        if isinstance(error, ssl.SSLCertVerificationError):
            return bad_certificate(f"RabbitMQ at {self._where}", error, ids)
        if is_begun:
            return UnconfirmedError(f"RabbitMQ at {self._where} did not confirm: {what}", ids=ids)
        return UnavailableError(f"cannot reach RabbitMQ at {self._where}: {what}", ids=ids)


class _NobodyError(Exception):
    """No queue is bound, or the broker rejected the message."""


class _BrokenError(Exception):
    """The connection cannot be used any more; ``cause`` says why."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Link:
    """A connection with its channel, which moves only while somebody here waits for something.

    pika's own blocking connection is driven the same way, but knows no deadline.
    """

    def __init__(self, parameters: Any) -> None:
        self._parameters = parameters
        self._channel: Any = None
        self._broken: BaseException | None = None
        self._is_ready = self._is_closed = False
        self._unconfirmed: set[int] = set()
        self._unwanted = False
        self._sent = 0
        self._used = time.monotonic()

    def open(self, deadline: Deadline) -> None:
        """Connects, opens a channel and asks for confirmations."""
        seconds = max(deadline.left, _SECONDS_MIN)
        self._parameters.socket_timeout = self._parameters.stack_timeout = seconds
        self._connection = pika.SelectConnection(
            self._parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_open_error_callback=self._ended,
            on_close_callback=self._ended,
        )
        self._run(lambda: self._is_ready, deadline)

    def publish(self, exchange: str, triggers: Sequence[Trigger], deadline: Deadline) -> None:
        """Sends all and waits for the confirmation of each."""
        self._unwanted = False
        for trigger in triggers:
            if self._broken is not None:
                break
            self._sent += 1
            self._unconfirmed.add(self._sent)
            self._channel.basic_publish(
                exchange,
                ROUTING_KEY,
                trigger.message().encode(),
                pika.BasicProperties("application/json", delivery_mode=_TRANSIENT),
                mandatory=True,
            )
        self._run(lambda: not self._unconfirmed, deadline)
        self._used = time.monotonic()
        if self._unwanted:
            raise _NobodyError

    def is_usable(self) -> bool:
        """Whether it is worth another try; takes note of what the broker said meanwhile."""
        if self._broken is not None or time.monotonic() - self._used > IDLE_SECONDS_MAX:
            return False
        with suppress(_BrokenError):
            self._turn(0)
        return self._broken is None

    def close(self, seconds: float) -> None:
        """Closes the connection within so many seconds, or else lets go of the socket."""
        with suppress(Exception):
            self._connection.close()
            self._await_end(seconds)
        with suppress(Exception):
            if not self._is_closed:
                # A broker that does not answer. There is no public name for this.
                self._connection._transport.abort()
                # Only pika itself has to take note.
                self._await_end(_ABORT_SECONDS)
        with suppress(Exception):
            self._connection.ioloop.close()

    def _await_end(self, seconds: float) -> None:
        deadline = Deadline(seconds)
        while not self._is_closed and deadline.left:
            self._turn(deadline.left)

    def _run(self, is_done: Callable[[], bool], deadline: Deadline) -> None:
        """Moves until it is done. Raises `_BrokenError`, also when the time is up."""
        while not is_done() and self._broken is None:
            if not deadline.left:
                self._broken = TimeoutError("the time is up")
                break
            self._turn(deadline.left)
        if self._broken is not None:
            raise _BrokenError(_root(self._broken))

    def _turn(self, seconds: float) -> None:
        """Moves until something happened that matters, or for so long."""
        loop = self._connection.ioloop
        timer = loop.call_later(seconds, loop.stop)
        try:
            loop.start()
        finally:
            loop.remove_timeout(timer)

    def _wake(self) -> None:
        self._connection.ioloop.stop()

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=self._ready)

    def _ready(self, _: Any) -> None:
        self._is_ready = True
        self._wake()

    def _returned(self, *_: Any) -> None:
        self._unwanted = True

    def _confirmed(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        if frame.method.multiple:
            self._unconfirmed = {each for each in self._unconfirmed if each > tag}
        else:
            self._unconfirmed.discard(tag)
        if isinstance(frame.method, pika.spec.Basic.Nack):
            self._unwanted = True
        if not self._unconfirmed:
            self._wake()

    def _channel_closed(self, _: Any, reason: BaseException) -> None:
        self._broken = self._broken or reason
        self._wake()

    def _ended(self, _: Any, reason: BaseException) -> None:
        self._broken = self._broken or reason
        self._is_closed = True
        self._wake()


def _root(error: BaseException) -> BaseException:
    """What went wrong, out of what pika wraps around it."""
    while True:
        inner = getattr(error, "exception", None) or next(
            iter(getattr(error, "exceptions", ())), None
        )
        inner = inner or next(
            (each for each in error.args if isinstance(each, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            return error
        error = inner
