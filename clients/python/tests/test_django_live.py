"""The whole way: Django's live server, the real gateway, a page."""

import asyncio
import os
import signal
from datetime import date
from datetime import datetime
from datetime import timedelta
from datetime import timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import ThreadSensitiveContext
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import TextChoices
from django.http import HttpResponse
from django.test import LiveServerTestCase
from django.urls import include
from django.urls import path
from django.utils.translation import gettext_lazy
from shop.models import Order
from shop.rooms import OrderRoom

from high_templar import Command
from high_templar import InvalidTriggerError
from high_templar import Receipt
from high_templar import Trigger
from high_templar import UnavailableError
from high_templar.django import ANY
from high_templar.django import Room
from high_templar.django import apublish
from high_templar.django import budget
from high_templar.django import connection_alive
from high_templar.django import connection_closed
from high_templar.django import connection_opened
from high_templar.django import grants_for_user
from high_templar.django import publish
from high_templar.django.rooms import unregister
from high_templar.django.sender import publisher
from high_templar.django.testing import LiveGatewayMixin
from high_templar.django.testing import capture_published
from high_templar.django.views import BootstrapView
from high_templar.publisher import CONFIRM_SECONDS
from high_templar.transport import Deadline


@pytest.fixture
def anna(transactional_db):
    return User.objects.create_user("anna")


@pytest.fixture
def boss(transactional_db):
    return User.objects.create_user("boss", is_staff=True)


def test_those_who_may_hear_of_an_order(live_gateway, anna, boss):
    ben = User.objects.create_user("ben")
    with (
        live_gateway.connect(anna) as hers,
        live_gateway.connect(ben) as his,
        live_gateway.connect(boss) as all_of_them,
    ):
        hers.subscribe(OrderRoom(customer=anna.pk), "hers")
        his.subscribe(OrderRoom(customer=ben.pk), "his")
        all_of_them.subscribe(OrderRoom(customer=ANY), "all")
        with pytest.raises(PermissionError, match="room-not-found"):
            his.subscribe(OrderRoom(customer=anna.pk))
        with transaction.atomic():
            Order.objects.create(customer=anna.pk, note="lost")
            transaction.set_rollback(True)
        with transaction.atomic():
            order = Order.objects.create(customer=anna.pk, note="paid")
        told = {"id": order.pk, "note": "paid"}
        assert hers.next() == (told, "hers")
        assert all_of_them.next() == (told, "all")
        assert his.nothing_heard()


class Colour(TextChoices):
    RED = "red"


VALUES = [
    (UUID("6f1c1f0e-0000-4000-8000-000000000007"), "6f1c1f0e-0000-4000-8000-000000000007"),
    (Decimal("1.50"), "1.50"),
    (date(2026, 1, 31), "2026-01-31"),
    (datetime(2026, 1, 31, 12, tzinfo=timezone.utc), "2026-01-31T12:00:00Z"),
    (timedelta(hours=1), "P0DT01H00M00S"),
    (Colour.RED, "red"),
    (gettext_lazy("May"), "May"),
    ("\u00fc", "\u00fc"),
    (7, 7),
    (None, None),
]


class KeyRoom(Room, target="key"):
    key: Any


class KeyBootstrap(BootstrapView):
    """Grants rooms of its own, past `grants_for_user`."""

    def get_rooms(self, user):
        return [KeyRoom(key=value) for value, _ in VALUES]


class KeyUrls:
    def __init__(self, view):
        self.urlpatterns = [path("api/", include(([view], "high_templar")))]


@pytest.mark.parametrize("is_override", [False, True])
def test_a_room_is_the_same_json_everywhere(live_gateway, anna, settings, is_override):
    def rooms(user):
        return [KeyRoom(key=value) for value, _ in VALUES]

    if is_override:
        view = path("bootstrap/", KeyBootstrap.as_view(), name="bootstrap")
        settings.ROOT_URLCONF = KeyUrls(view)
    else:
        grants_for_user(rooms)
    try:
        page = live_gateway.connect(anna)
    finally:
        if not is_override:
            unregister(rooms)
    with page:
        for value, text in VALUES:
            assert {"target": "key", "key": text} in page.allowed_rooms
            for room in (KeyRoom(key=value), {"target": "key", "key": value}):
                page.subscribe(room, value)
                publish(room, {"key": value})
                assert page.next() == ({"key": text}, text)
                page.unsubscribe(value)
                publish(room, {"key": value})
        assert page.nothing_heard()


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_what_was_published_is_found_by_the_same_room(value, text):
    room, data = KeyRoom(key=value), {"key": value, "more": [value]}
    with capture_published() as published:
        publish(room, data)
    assert published.to(room) == published.to({"target": "key", "key": text})
    assert published.to(room) == [{"key": text, "more": [text]}]
    published.assert_published(room, data, times=1)
    published.assert_published(room, containing={"key": value}, times=1)
    published.assert_not_published(room, containing={"key": "other"})


def test_a_room_that_is_not_json(live_gateway, anna):
    with live_gateway.connect(anna) as page:
        for room in ({"target": object()}, {"target": float("nan")}, "room"):
            with pytest.raises(InvalidTriggerError, match="a room"):
                page.subscribe(room)
        with pytest.raises(InvalidTriggerError, match="a request id"):
            page.subscribe({"target": "news"}, object())
        page.subscribe({"target": "news"})


def test_anonymous_clients_are_refused(live_gateway):
    with live_gateway.connect() as page:
        assert not page.is_authorized
        with pytest.raises(PermissionError):
            page.subscribe(OrderRoom(customer=1))
        assert page.close_code() == 1000


def test_anonymous_clients_who_may_connect(live_gateway, settings):
    settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "ANONYMOUS": True}
    with live_gateway.connect() as page:
        assert page.allowed_rooms == [{"target": "news"}]


def test_hooks_reach_their_receivers(transactional_db, live_server, anna):
    from high_templar.django.testing import LiveGateway

    told = []

    def keep(sender, user, event, **_):
        told.append((event, user.pk))

    signals = (connection_opened, connection_alive, connection_closed)
    for event in signals:
        event.connect(keep)
    try:
        # The gateway has the hooks only where somebody listens.
        with LiveGateway(live_server.url) as gateway:
            with gateway.connect(anna) as page:
                page.ping()
            wait_for(lambda: len(told) == 3)
    finally:
        for event in signals:
            event.disconnect(keep)
    assert told == [("connect", anna.pk), ("ping", anna.pk), ("disconnect", anna.pk)]


def several(request):
    """Publishes often, outside of a transaction."""
    for number in range(5):
        publish(OrderRoom(customer=request.user.pk), number)
    return HttpResponse()


class SeveralUrls:
    urlpatterns = [  # noqa: RUF012
        path("api/", include("high_templar.django.urls")),
        path("several/", several),
    ]


def attempted(caplog):
    """The calls that asked the gateway and failed."""
    lines = [line for line in caplog.text.splitlines() if "not published" in line]
    return [line for line in lines if "not attempted" not in line]


class TestOutage:
    """A gateway that hangs: SIGSTOP."""

    @pytest.fixture
    def stop(self, live_gateway):
        pid = live_gateway._process.pid

        def stop():
            os.kill(pid, signal.SIGSTOP)
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)

        yield stop
        os.kill(pid, signal.SIGCONT)

    def test_requests_go_on_and_nothing_is_delivered_late(
        self, live_gateway, anna, stop, settings, caplog, client
    ):
        settings.ROOT_URLCONF = SeveralUrls()
        settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "ON_ERROR": "log", "TIMEOUT": 0.5}
        client.force_login(anna)
        with live_gateway.connect(anna) as page:
            page.subscribe(OrderRoom(customer=anna.pk))
            stop()
            for _ in range(10):
                assert client.get("/several/").status_code == 200
            # One for each of the first requests, whose time that took, then the odd probe.
            assert 3 <= len(attempted(caplog)) <= 10
            assert "the time for publishing is up" in caplog.text
            assert "circuit breaker opened" in caplog.text
            os.kill(live_gateway._process.pid, signal.SIGCONT)
            counts = publisher().counts
            publisher().timeout = 10
            wait_for(lambda: publish_again(anna) and publisher().counts.published)
            assert counts.published == 0
            # Nothing of what was reported as lost.
            assert page.next().data == "after"
            assert page.nothing_heard()

    def test_coroutines_go_on(self, live_gateway, anna, stop, settings, caplog):
        settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "ON_ERROR": "log", "TIMEOUT": 0.5}

        async def main():
            await asyncio.gather(*(apublish(OrderRoom(customer=1), n) for n in range(10)))

        stop()
        asyncio.run(main())
        assert 3 <= len(attempted(caplog)) < 10

    def test_a_gateway_that_is_away(self, anna, settings, caplog):
        settings.HIGH_TEMPLAR = {"ON_ERROR": "log", "URL": "http://127.0.0.1:1"}
        for number in range(20):
            publish(OrderRoom(customer=anna.pk), number)
        assert publisher().counts.failed == 20
        # Once in a first call whose time was up, and twice in the one that opened the circuit.
        assert publisher().counts.retried <= 3

    def test_an_address_that_swallows_leaves_time_for_another_attempt(
        self, black_hole, settings, caplog
    ):
        url = f"http://127.0.0.1:{black_hole[1]}"
        settings.HIGH_TEMPLAR = {"ON_ERROR": "log", "URL": url, "TIMEOUT": 1.0}
        publish(OrderRoom(customer=1), 1)
        assert publisher().counts.failed == 1
        assert publisher().counts.retried >= 1
        assert "cannot reach the gateway" in caplog.text


def publish_again(anna):
    publish(OrderRoom(customer=anna.pk), "after")
    return True


class Clock:
    """Stands for the time, and for a publisher that takes some of it."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def publish(self, seconds, error=None, count=1):
        """The time that a call gets which then takes so many seconds."""
        left = []

        def send(triggers, deadline):
            left.append(deadline.left)
            self.now += seconds
            return [Receipt(trigger.id, error=error) for trigger in triggers]

        budget.publish([Trigger({}, 1)] * count, 0.5, send)
        return left[0]


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def served(clock):
    """As within a request."""
    budget._begin()
    yield
    budget._end()


FAILED = UnavailableError("hangs")


class TestTimeOfARequest:
    def test_is_for_all_that_it_publishes_in_vain(self, clock, served):
        assert clock.publish(0.375, FAILED) == 0.5
        assert clock.publish(0.125, FAILED) == pytest.approx(0.125)
        assert clock.publish(0, FAILED) == pytest.approx(0)

    def test_is_for_a_slow_gateway_too(self, clock, served):
        assert clock.publish(0.3) == 0.5
        assert clock.publish(0.3) < 0.3
        assert clock.publish(0) < 0.1

    def test_what_succeeds_at_the_usual_pace_costs_nothing(self, clock, served):
        for _ in range(1_000):
            assert clock.publish(0.01) == 0.5
        clock.publish(1.0, count=5_000)
        assert clock.publish(0) == 0.5

    def test_a_wait_for_every_node_is_not_charged(self, clock, served):
        command = Command.invalidate(user=7, confirm="everywhere")
        for receipt in (Receipt(command.id), Receipt(command.id, error=FAILED)):

            def send(triggers, deadline, receipt=receipt):
                clock.now += CONFIRM_SECONDS
                return [receipt]

            budget.publish([command], 0.5, send)
            assert clock.publish(0) == 0.5

    def test_is_refilled_in_a_request_that_takes_long(self, clock, served):
        clock.publish(0.5, FAILED)
        assert clock.publish(0) == 0
        clock.now += 10
        assert clock.publish(0) == 0.5

    def test_each_request_has_its_own(self, clock, served):
        clock.publish(0.5, FAILED)
        budget._begin()
        assert clock.publish(0) == 0.5

    def test_elsewhere_each_call_has_its_own(self, clock):
        clock.publish(0.5, FAILED)
        assert clock.publish(0) == 0.5

    def test_of_an_asynchronous_request(self, clock):
        """As Django's ASGI handler makes its contexts; tasks and threads share the request's."""

        def spend():
            return clock.publish(0.25, FAILED)

        async def request():
            async with ThreadSensitiveContext():
                first = await sync_to_async(spend)()
                second = await asyncio.create_task(sync_to_async(spend)())
                return first, second

        async def main():
            return [await request(), await request()]

        assert asyncio.run(main()) == [(0.5, 0.25), (0.5, 0.25)]


def wait_for(condition):
    deadline = Deadline(20)
    while not condition():
        assert deadline.left, "it has not come"


class LiveTest(LiveGatewayMixin, LiveServerTestCase):
    def test_a_test_case(self):
        user = User.objects.create_user("anna")
        with self.gateway.connect(user) as page:
            page.subscribe(OrderRoom(customer=user.pk))
            order = Order.objects.create(customer=user.pk)
            assert page.next().data == {"id": order.pk, "note": ""}

    def test_a_gateway_that_restarts_keeps_its_address(self):
        url = self.gateway.url
        self.gateway.stop()
        self.gateway.start()
        assert self.gateway.url == url
