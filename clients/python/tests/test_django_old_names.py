"""Names of earlier versions: they work, warn once for each use, and name their successors.

They stay through 4.x.
"""

import asyncio
import warnings

import pytest
from django import dispatch
from django.contrib.auth.models import User

import high_templar.django
from high_templar.django import apublish
from high_templar.django import publish
from high_templar.django import rooms_for_user
from high_templar.django import user_offline
from high_templar.django import user_online
from high_templar.django.launch import KEY_HEADER
from high_templar.django.launch import hook_key
from high_templar.django.rooms import unregister

NEWS = {"target": "news"}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def anna(client):
    client.force_login(User.objects.create_user("anna"))


def places(caught):
    """Where code is that is to be changed, once for each warning."""
    assert all(warning.category is DeprecationWarning for warning in caught)
    return [warning.filename for warning in caught]


@pytest.mark.parametrize("name", ["rooms_for_user", "user_offline", "user_online"])
def test_they_stay_through_4_x(name):
    assert not high_templar.__version__.startswith("5."), "they may go: remove them and this file"
    assert name in high_templar.django.__all__


def test_publishing_at_once(published):
    with pytest.warns(DeprecationWarning, match=r"publish\(.*use publish_now\(\)") as caught:
        assert publish(NEWS, 1, immediate=True) is None
    assert places(caught) == [__file__]
    published.assert_published(NEWS, 1, times=1)


@pytest.mark.django_db(transaction=True)
def test_publishing_at_once_from_a_coroutine(published):
    async def main():
        await apublish(NEWS, 1, immediate=True)

    with pytest.warns(DeprecationWarning, match=r"apublish\(.*use apublish_now\(\)") as caught:
        asyncio.run(main())
    assert places(caught) == [__file__]
    published.assert_published(NEWS, 1, times=1)


def test_a_place_is_named_once(published):
    with warnings.catch_warnings(record=True) as caught:
        # As in a site that shows these warnings.
        warnings.simplefilter("default")
        for number in range(3):
            publish(NEWS, number, immediate=True)
    assert places(caught) == [__file__]


def test_grants(client):
    with pytest.warns(DeprecationWarning, match="use grants_for_user") as caught:

        @rooms_for_user
        def old(user):
            return {"target": "old"}

    assert places(caught) == [__file__]
    try:
        assert {"target": "old"} in client.get("/api/bootstrap/").json()["allowed_rooms"]
    finally:
        unregister(old)


@pytest.mark.parametrize(
    ("old", "successor", "events"),
    [
        (user_online, "connection_opened and connection_alive", ["connect", "ping"]),
        (user_offline, "connection_closed", ["disconnect"]),
    ],
)
@pytest.mark.parametrize("is_decorated", [True, False])
def test_signals(client, old, successor, events, is_decorated):
    told = []

    def note(event, **_):
        told.append(event)

    connect = dispatch.receiver(old) if is_decorated else old.connect
    with pytest.warns(DeprecationWarning, match=f"connect to {successor}") as caught:
        connect(note)
    # Where it is connected, and once: not at every event.
    assert places(caught) == [__file__]
    try:
        for event in ("connect", "ping", "disconnect"):
            headers = {KEY_HEADER: hook_key()}
            assert client.post(f"/api/hooks/{event}/", headers=headers).status_code == 204
    finally:
        old.disconnect(note)
    assert told == events
