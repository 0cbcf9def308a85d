"""The whole way: Django's live server, the real gateway, a page."""

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import LiveServerTestCase
from shop.models import Order
from shop.rooms import OrderRoom

from high_templar.django import ANY
from high_templar.django import user_offline
from high_templar.django import user_online
from high_templar.django.testing import LiveGatewayMixin
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


def test_strangers_are_refused(live_gateway):
    with live_gateway.connect() as page:
        assert not page.is_authorized
        with pytest.raises(PermissionError):
            page.subscribe(OrderRoom(customer=1))
        assert page.close_code() == 1000


def test_strangers_who_may_enter(live_gateway, settings):
    settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "ANONYMOUS": True}
    with live_gateway.connect() as page:
        assert page.allowed_rooms == [{"target": "news"}]


def test_hooks_reach_their_receivers(transactional_db, live_server, anna):
    from high_templar.django.testing import LiveGateway

    told = []

    def keep(sender, user, event, **_):
        told.append((event, user.pk))

    user_online.connect(keep)
    user_offline.connect(keep)
    try:
        # The gateway has the hooks only where somebody listens.
        with LiveGateway(live_server.url) as gateway:
            with gateway.connect(anna) as page:
                page.ping()
            wait_for(lambda: len(told) == 3)
    finally:
        user_online.disconnect(keep)
        user_offline.disconnect(keep)
    assert told == [("connect", anna.pk), ("ping", anna.pk), ("disconnect", anna.pk)]


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

    def test_a_page_comes_back_to_the_same_address(self):
        url = self.gateway.url
        self.gateway.stop()
        self.gateway.start()
        assert self.gateway.url == url
