"""The calls and settings of django-binder."""

import json
from datetime import date

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from high_templar import compat
from high_templar.compat import RoomController
from high_templar.compat import trigger
from high_templar.django.conf import settings as kit_settings
from high_templar.testing import capture

NEWS = {"target": "news"}


@pytest.mark.django_db(transaction=True)
def test_trigger_waits_for_the_commit():
    with capture() as captured:
        with transaction.atomic():
            trigger({"id": 1}, [NEWS])
            captured.assert_nothing_published()
        captured.assert_published(NEWS, {"id": 1}, times=1)


def test_listeners_in_place_of_a_gateway():
    heard = []
    compat.mock_trigger_listeners.append(heard.append)
    try:
        trigger({"day": date(2026, 1, 2)}, [NEWS])
    finally:
        compat.mock_trigger_listeners.clear()
    assert [json.loads(text) for text in heard] == [
        {"data": {"day": "2026-01-02"}, "rooms": [NEWS]}
    ]


def test_settings_of_http(settings):
    del settings.HIGH_TEMPLAR
    settings.HIGH_TEMPLAR_URL = "http://127.0.0.1:8002"
    assert kit_settings().url == "http://127.0.0.1:8002"


def test_settings_of_rabbitmq(settings):
    login = {"username": "a/b", "password": "p@ss", "host": "broker"}
    settings.HIGH_TEMPLAR = {"rabbitmq": login}
    assert kit_settings().url == "amqp://a%2Fb:p%40ss@broker/%2f"
    settings.HIGH_TEMPLAR = {"rabbitmq": {**login, "host": "broker:5673/live"}}
    assert kit_settings().url == "amqp://a%2Fb:p%40ss@broker:5673/live"


def test_rooms_of_views():
    class ModelView:
        model = None

    class Orders(ModelView):
        model = User

        @classmethod
        def get_rooms_for_user(cls, user):
            return [{"target": "order", "customer": user}]

    controller = RoomController().register(ModelView)
    assert controller.list_rooms_for_user(7) == [{"target": "order", "customer": 7}]
