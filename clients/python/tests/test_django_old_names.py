"""Names of earlier versions: they work, and name their successors."""

import pytest
from django import dispatch
from django.contrib.auth.models import User

from high_templar.django import rooms_for_user
from high_templar.django import user_offline
from high_templar.django import user_online
from high_templar.django.launch import KEY_HEADER
from high_templar.django.launch import hook_key
from high_templar.django.rooms import unregister

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def anna(client):
    client.force_login(User.objects.create_user("anna"))


def test_grants(client):
    with pytest.warns(DeprecationWarning, match="use grants_for_user") as caught:

        @rooms_for_user
        def old(user):
            return {"target": "old"}

    assert caught[0].filename == __file__
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
    assert [warning.filename for warning in caught] == [__file__]
    try:
        for event in ("connect", "ping", "disconnect"):
            headers = {KEY_HEADER: hook_key()}
            assert client.post(f"/api/hooks/{event}/", headers=headers).status_code == 204
    finally:
        old.disconnect(note)
    assert told == events
