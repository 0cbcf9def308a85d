"""Triggers over RabbitMQ, with pika: the extra ``high-templar[rabbitmq]``."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from high_templar.errors import PublishError
from high_templar.errors import UnauthorizedError
from high_templar.errors import UnavailableError
from high_templar.errors import UnconfirmedError
from high_templar.transport import Deadline
from high_templar.transport import Receipt
from high_templar.transport import forget_after_fork
from high_templar.trigger import Trigger

try:
    import pika
    from pika import exceptions as amqp
except ImportError as missing:
    raise ImportError("amqp:// needs pika: pip install 'high-templar[rabbitmq]'") from missing

ROUTING_KEY = "*"
"""The one that gateways bind, taken literally."""

HEARTBEAT_SECONDS = 10
"""A broker that falls silent in the middle of a call is given up after about this long.

Between calls nobody here answers heartbeats, and the broker closes the connection after twice
this; the next call opens a new one. That costs some milliseconds and needs no thread, which
servers that fork or forbid threads would not keep alive.
"""

_SECONDS_MIN = 0.05
_REFUSED = 403
_NOT_FOUND = 404
_TRANSIENT = pika.spec.PERSISTENT_DELIVERY_MODE - 1


class RabbitMqTransport:
    """One connection, kept; every message is confirmed by the broker.

    Calls from several threads take turns. A message that no gateway's queue takes is an
    `UnavailableError`.
    """

    def __init__(self, url: str, exchange: str) -> None:
        self._parameters = pika.URLParameters(url)
        self._parameters.heartbeat = HEARTBEAT_SECONDS
        # Bound here: `attempts` belong to the publisher.
        self._parameters.connection_attempts = 1
        self._where = f"{self._parameters.host}:{self._parameters.port}"
        self._exchange = exchange
        self.after_fork()
        forget_after_fork(self)

    def after_fork(self) -> None:
        """Starts with no connection: that of the parent process is its own."""
        self._turn = threading.Lock()
        # Kept alive and untouched: pika would say goodbye on the socket that both share.
        self._left_alone = getattr(self, "_connection", None)
        self._connection: Any | None = None
        self._channel: Any | None = None

    def send(self, triggers: Sequence[Trigger], deadline: Deadline) -> list[Receipt]:
        """Sends each as a message of its own, in their order, each when the last is confirmed."""
        ids = [trigger.id for trigger in triggers]
        if not self._turn.acquire(timeout=deadline.left):
            raise UnavailableError("other threads are still publishing", ids=ids)
        try:
            return self._send(triggers, ids, deadline)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Closes the connection; a later `send` opens a new one."""
        with self._turn:
            self._drop()

    def _send(
        self, triggers: Sequence[Trigger], ids: Sequence[str], deadline: Deadline
    ) -> list[Receipt]:
        is_old = self._is_open()
        try:
            return self._attempt(triggers, ids, deadline)
        except UnavailableError:
            if not is_old or not deadline.left:
                raise
        # The kept connection had ended unseen. To send again is safe: the triggers have ids.
        return self._attempt(triggers, ids, deadline)

    def _attempt(
        self, triggers: Sequence[Trigger], ids: Sequence[str], deadline: Deadline
    ) -> list[Receipt]:
        is_begun = False
        try:
            channel = self._open(deadline)
            for trigger in triggers:
                if not deadline.left:
                    raise UnconfirmedError("the time is up", ids=ids)
                is_begun = True
                channel.basic_publish(
                    self._exchange,
                    ROUTING_KEY,
                    trigger.text().encode(),
                    pika.BasicProperties("application/json", delivery_mode=_TRANSIENT),
                    mandatory=True,
                )
        except (amqp.AMQPError, OSError) as error:
            self._drop()
            raise self._failure(error, is_begun, ids) from error
        except BaseException:
            # In the middle of a frame, perhaps.
            self._drop()
            raise
        return [Receipt(id) for id in ids]  # noqa: A001

    def _is_open(self) -> bool:
        return self._connection is not None and bool(self._connection.is_open)

    def _open(self, deadline: Deadline) -> Any:
        """The channel: the kept one if it still lives."""
        if self._channel is not None and self._is_open():
            # Notices what the broker said meanwhile, such as that it closed.
            self._connection.process_data_events(0)  # type: ignore[union-attr]
            if self._channel.is_open:
                return self._channel
        self._drop()
        seconds = max(deadline.left, _SECONDS_MIN)
        self._parameters.socket_timeout = seconds
        self._parameters.stack_timeout = seconds
        self._parameters.blocked_connection_timeout = seconds
        self._connection = pika.BlockingConnection(self._parameters)
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        return self._channel

    def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            # If it cannot be closed, it is as closed as it can be.
            with suppress(amqp.AMQPError, OSError):
                connection.close()

    def _failure(self, error: Exception, is_begun: bool, ids: Sequence[str]) -> PublishError:
        what = str(error) or type(error).__name__
        if isinstance(error, (amqp.ProbableAuthenticationError, amqp.ProbableAccessDeniedError)):
            return UnauthorizedError(f"RabbitMQ at {self._where} refuses: {what}", ids=ids)
        if isinstance(error, (amqp.UnroutableError, amqp.NackError)):
            nobody = f"no gateway listens at the exchange {self._exchange!r}"
            return UnavailableError(f"{nobody} of {self._where}", ids=ids)
        if isinstance(error, amqp.ChannelClosedByBroker):
            if error.reply_code == _NOT_FOUND:
                nobody = f"there is no exchange {self._exchange!r}: has a gateway ever started?"
                return UnavailableError(f"{self._where}: {nobody}", ids=ids)
            if error.reply_code == _REFUSED:
                return UnauthorizedError(f"RabbitMQ at {self._where} refuses: {what}", ids=ids)
        if is_begun:
            return UnconfirmedError(f"RabbitMQ at {self._where} did not confirm: {what}", ids=ids)
        return UnavailableError(f"cannot reach RabbitMQ at {self._where}: {what}", ids=ids)
