"""For Django's test cases: what was published, and a real gateway before the live server."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings as django_settings
from django.test import override_settings

from high_templar.django import launch
from high_templar.django.conf import settings
from high_templar.django.outbox import pending
from high_templar.django.outbox import watch
from high_templar.django.sessions import session_cookies
from high_templar.gateway import Gateway
from high_templar.testing import UNSAID
from high_templar.testing import Published
from high_templar.testing import capture
from high_templar.trigger import Trigger
from high_templar.websocket import Client

TIMEOUT_SECONDS = 10.0
"""The least ``TIMEOUT`` while a `LiveGateway` runs."""


@contextmanager
def capture_published() -> Iterator[Published]:
    """Captures what this site publishes from now on; nothing is sent.

    What waits for the commit of the transaction around a `TestCase`, which never comes, counts as
    published; what was rolled back to a savepoint does not. The hooks of ``on_commit`` need not be
    run for that. In sync and async tests.
    """
    with watch() as watched:

        def since(start: int) -> Callable[[], list[Trigger]]:
            return lambda: pending(watched[start:])

        def later() -> Callable[[], list[Trigger]]:
            return since(len(watched))

        with capture(since(0), lambda: settings().encoder_class, later) as published:
            yield published


class PublishedMixin:
    """For a `TestCase`: nothing is sent, and ``self.published`` knows what would have been.

    ::

        class OrderTest(PublishedMixin, TestCase):
            def test_paid(self):
                Order.objects.create(customer=7).pay()
                self.assert_published(OrderRoom(customer=7), {"status": "paid"})
    """

    published: Published

    # Around `setUp`, so that a class may have one of its own without a word about this one.
    def run(self, result: Any = None) -> Any:  # noqa: D102
        with capture_published() as self.published:
            return super().run(result)  # type: ignore[misc]

    def debug(self) -> None:  # noqa: D102
        with capture_published() as self.published:
            super().debug()  # type: ignore[misc]

    def assert_published(
        self,
        room: Mapping[str, Any],
        data: Any = UNSAID,
        *,
        containing: Mapping[str, Any] | None = None,
        times: int | None = None,
    ) -> None:
        """See `high_templar.testing.Published.assert_published`."""
        self.published.assert_published(room, data, containing=containing, times=times)

    def assert_not_published(
        self,
        room: Mapping[str, Any],
        data: Any = UNSAID,
        *,
        containing: Mapping[str, Any] | None = None,
    ) -> None:
        """Fails if something was published to this room, or these data."""
        self.published.assert_not_published(room, data, containing=containing)

    def assert_nothing_published(self) -> None:
        """Fails if anything was published."""
        self.published.assert_nothing_published()


class LiveGateway(Gateway):
    """A gateway whose backend is this site; publishing goes to it while it runs."""

    def __init__(self, site_url: str, variables: Mapping[str, str] | None = None) -> None:
        derived = launch.variables(settings()._replace(backend_url=site_url))
        # The ports are free ones, and a broker would be one that others listen to as well.
        for name in ("HT_LISTEN", "HT_INTERNAL__LISTEN", "HT_RABBITMQ__URL"):
            derived.pop(name, None)
        super().__init__(derived["HT_BACKEND__URL"], {**derived, **(variables or {})})
        self._override: override_settings | None = None

    def start(self) -> LiveGateway:
        """Starts it, and has this site publish to it."""
        super().start()
        given = getattr(django_settings, "HIGH_TEMPLAR", {})
        where: dict[str, Any] = {"URL": self.internal_url, "PUBLIC_URL": self.url}
        # Machines that run tests are busy.
        where["TIMEOUT"] = max(settings().timeout, TIMEOUT_SECONDS)
        self._override = override_settings(HIGH_TEMPLAR={**given, **where})
        self._override.enable()
        return self

    def stop(self) -> None:
        """Ends it; the site publishes to where it did before."""
        if self._override is not None:
            self._override.disable()
            self._override = None
        super().stop()

    def connect(self, user: Any = None, **credentials: Any) -> Client:
        """A page's connection, signed in as ``user`` if one is given.

        Its rooms may hold whatever the site publishes: ``HIGH_TEMPLAR["ENCODER"]`` writes them.
        """
        credentials.setdefault("encoder", settings().encoder_class)
        if user is not None:
            cookies = {**session_cookies(user), **credentials.pop("cookies", {})}
            return super().connect(cookies=cookies, **credentials)
        return super().connect(**credentials)


class LiveGatewayMixin:
    """For a `LiveServerTestCase`: a real gateway before it, ``self.gateway``.

    ::

        class LiveTest(LiveGatewayMixin, LiveServerTestCase):
            def test_order(self):
                with self.gateway.connect(self.user) as page:
                    page.subscribe(OrderRoom(customer=7))
                    Order.objects.create(customer=7)
                    self.assertEqual(page.next().data, {"id": 1})
    """

    live_server_url: str
    _gateway: LiveGateway | None = None

    def setUp(self) -> None:  # noqa: D102
        super().setUp()  # type: ignore[misc]
        self.gateway  # noqa: B018 # starts it

    @property
    def gateway(self) -> LiveGateway:
        """The gateway of this test; started at the latest when it is asked for."""
        if self._gateway is None:
            self._gateway = LiveGateway(self.live_server_url).start()
            self.addCleanup(self._gateway.stop)  # type: ignore[attr-defined]
        return self._gateway
