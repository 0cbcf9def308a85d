"""The publisher for asyncio."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from typing import Callable
from typing import TypeVar

from high_templar.command import Command
from high_templar.commanding import Commanding
from high_templar.publisher import Counts
from high_templar.publisher import OnError
from high_templar.publisher import Publisher
from high_templar.transport import Deadline
from high_templar.transport import Receipt
from high_templar.transport import Transport
from high_templar.transport import forget_after_fork
from high_templar.trigger import Rooms
from high_templar.trigger import Trigger

T = TypeVar("T")

THREADS = 8
"""Concurrent requests; further ones wait."""


class AsyncPublisher(Commanding[Awaitable[Receipt]]):
    """A `Publisher` whose calls are awaited; it takes the same arguments.

    The requests run on a few threads of its own, so that a slow gateway blocks neither the event
    loop nor its default executor. It can be used from any loop. A cancelled call stops waiting; its
    trigger may still be published.
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
        self.publisher = Publisher(
            url,
            api_key=api_key,
            timeout=timeout,
            connect_timeout=connect_timeout,
            attempts=attempts,
            on_error=on_error,
            encoder=encoder,
            exchange=exchange,
            ssl_context=ssl_context,
            transport=transport,
        )
        self.encoder = encoder
        self.after_fork()
        forget_after_fork(self)

    def after_fork(self) -> None:
        """Starts without threads: those of the parent process do not exist here."""
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    async def publish(
        self,
        rooms: Rooms,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002
    ) -> Receipt:
        """Publishes ``data`` to the subscribers of ``rooms``; see `Publisher.publish`."""
        # Encoded now: the data may change while the request waits.
        trigger = Trigger(rooms, data, id=id, encoder=self.publisher.encoder)
        return (await self.publish_all([trigger]))[0]

    async def _command(self, command: Command) -> Receipt:
        return (await self.publish_all([command]))[0]

    async def publish_all(self, triggers: Iterable[Trigger]) -> list[Receipt]:
        """Publishes triggers in order; see `Publisher.publish_all`."""
        waiting = list(triggers)
        # Before the queue of calls that wait for their timeouts.
        rejected = self.publisher.reject(waiting)
        if rejected is not None:
            return rejected
        # The wait for a thread counts.
        deadline = Deadline(self.publisher.timeout)
        return await self._run(partial(self.publisher.deliver, waiting, deadline))

    async def position(self, *, timeout: float | None = None) -> str | None:
        """The cursor of everything that has been published; see `Publisher.position`."""
        return await self._run(partial(self.publisher.position, timeout=timeout))

    @property
    def counts(self) -> Counts:
        """Counters of this process."""
        return self.publisher.counts

    async def close(self) -> None:
        """Waits for requests in progress and closes connections."""
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.get_running_loop().run_in_executor(None, threads.shutdown)
        self.publisher.close()

    async def __aenter__(self) -> AsyncPublisher:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, work: Callable[[], T]) -> T:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(THREADS, "high-templar")
            done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        return await done
