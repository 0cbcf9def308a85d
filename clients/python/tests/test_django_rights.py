"""Commands from Django, the names of sessions, and logouts."""

import asyncio
import json
from importlib import import_module

import pytest
from django.contrib import auth
from django.contrib.auth import SESSION_KEY
from django.contrib.auth import login
from django.contrib.auth import logout
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import include
from django.urls import path
from shop.rooms import OrderRoom
from shop.settings import HAS_REST_FRAMEWORK

from high_templar import InvalidTriggerError
from high_templar import Receipt
from high_templar import UnavailableError
from high_templar.django import UncommittedDataWarning
from high_templar.django import adisconnect
from high_templar.django import ainvalidate
from high_templar.django import apermit
from high_templar.django import aunsubscribe
from high_templar.django import disconnect
from high_templar.django import invalidate
from high_templar.django import now
from high_templar.django import permit
from high_templar.django import publish
from high_templar.django import rooms_of
from high_templar.django import session_name
from high_templar.django import unsubscribe
from high_templar.django.sender import publisher
from high_templar.django.sessions import start_session
from high_templar.django.testing import capture_published
from high_templar.django.views import BootstrapView

NEWS = {"target": "news"}


@pytest.fixture
def anna(transactional_db):
    return User.objects.create_user("anna")


class Wire:
    """What leaves, as requests: of each what is said, without ids."""

    def __init__(self, monkeypatch):
        self.requests = []
        self.seen = lambda: None
        self.error = None
        monkeypatch.setattr(publisher(), "publish_all", self.take)

    def take(self, triggers, **_):
        self.seen()
        if self.error:
            raise self.error
        said = [json.loads(trigger.text()) for trigger in triggers]
        self.requests.append([{k: v for k, v in each.items() if k != "id"} for each in said])
        return [Receipt(trigger.id, position=1, matched=2) for trigger in triggers]


@pytest.fixture
def wire(monkeypatch):
    return Wire(monkeypatch)


class TestCommands:
    def test_at_commit_in_order_with_what_is_published(self, anna, wire):
        with transaction.atomic():
            publish(NEWS, 1)
            permit([NEWS], user=anna, labels=["v"], expires_in=60)
            publish(NEWS, 1)
            unsubscribe(OrderRoom(customer=7), label="staff")
            disconnect(session="s", come_back="soon", reason="moved")
            invalidate(room=OrderRoom(customer=7), within=60)
            publish(NEWS, 2)
            assert wire.requests == []
        (request,) = wire.requests
        assert [each.get("command", each.get("data")) for each in request] == [
            "permit",
            1,
            "unsubscribe",
            "disconnect",
            "invalidate",
            2,
        ]
        assert request[0] == {
            "command": "permit",
            "user": str(anna.pk),
            "allowed_rooms": [NEWS],
            "labels": ["v"],
            "expires_in": 60,
        }
        room = {"target": "order", "customer": 7}
        assert request[4] == {"command": "invalidate", "room": room, "within": 60_000}
        assert request[2]["from"] == [{"target": "order", "customer": 7}]

    def test_twice_is_twice_and_nothing_is_joined_across(self, anna, wire):
        with transaction.atomic():
            publish({"target": "a"}, 1)
            disconnect(user=7)
            publish({"target": "b"}, 1)
            disconnect(user=7)
        (request,) = wire.requests
        assert [each.get("command") for each in request] == [None, "disconnect"] * 2

    def test_a_rollback_sends_nothing(self, anna, wire):
        with transaction.atomic():
            disconnect(user=anna)
            transaction.set_rollback(True)
        with transaction.atomic():
            with transaction.atomic():
                permit([], user=anna)
                transaction.set_rollback(True)
            unsubscribe(NEWS, user=anna)
        assert [each["command"] for (each,) in wire.requests] == ["unsubscribe"]

    def test_without_a_transaction_at_once(self, anna, wire):
        disconnect(user=anna)
        assert len(wire.requests) == 1

    def test_nobody_is_nobody(self, anna, wire):
        unsaved = User(username="new")
        for nobody in (None, AnonymousUser(), unsaved):
            for call in (
                lambda user: disconnect(user=user, label="x"),
                lambda user: invalidate(user=user, session="s"),
                lambda user: unsubscribe(NEWS, user=user),
                lambda user: permit([], user=user, session="s"),
                lambda user: now.disconnect(user=user, label="x"),
            ):
                with pytest.raises(InvalidTriggerError, match="user is None"):
                    call(nobody)
        assert wire.requests == []

    def test_typed_rooms(self, anna, wire, settings):
        settings.HIGH_TEMPLAR = {"TYPED_ROOMS": True}
        with pytest.raises(TypeError, match="did you mean 'order'"):
            unsubscribe({"target": "ordr", "customer": 7}, user=anna)
        with pytest.raises(TypeError, match="fits none"):
            permit([{"declared": "by", "no": "class"}], user=anna)

    def test_from_coroutines(self, anna, wire):
        async def act():
            await adisconnect(user=anna)
            await ainvalidate(user=anna)
            await aunsubscribe(NEWS, user=anna)
            await apermit([NEWS], user=anna)

        asyncio.run(act())
        names = [each["command"] for (each,) in wire.requests]
        assert names == ["disconnect", "invalidate", "unsubscribe", "permit"]

    def test_now(self, anna, wire):
        assert now.disconnect(user=anna, dry_run=True).matched == 2
        assert now.permit(rooms_of(anna), user=anna).matched == 2
        with transaction.atomic():
            with pytest.warns(UncommittedDataWarning, match="a command at once") as caught:
                now.unsubscribe(OrderRoom(customer=7), user=anna)
            assert caught[0].filename == __file__
            assert len(wire.requests) == 3
        assert wire.requests[0][0]["dry_run"] is True

    @pytest.mark.django_db(transaction=True, databases=["default", "archive"])
    def test_a_warning_names_the_function_and_its_caller(self, wire):
        with transaction.atomic(using="archive"):
            with pytest.warns(UncommittedDataWarning, match=r"^disconnect\(\) and waits") as caught:
                disconnect(user=7)
        assert caught[0].filename == __file__

    def test_a_test_case_sees_them(self, anna):
        with capture_published() as published:
            with transaction.atomic():
                disconnect(user=anna)
                assert len(published.commands) == 1
            published.assert_nothing_published()
            assert published.commands == [
                {"command": "disconnect", "user": str(anna.pk), "come_back": "sign-in"}
            ]


class Guests(BootstrapView):
    """Admits everybody as anna."""

    def get_user(self, request=None):
        return User.objects.get(username="anna")


class OwnNames(BootstrapView):
    def get_session(self, user):
        return f"own-{user.pk}"


class NoMixin:
    def __call__(self, request):
        return HttpResponse("{}")


def urls(view):
    """Only a bootstrap view."""

    views = [path("b/", view, name="bootstrap")]
    return type("Urls", (), {"urlpatterns": [path("api/", include((views, "high_templar")))]})


def bootstrap(client, where="/api/b/", **headers):
    return client.get(where, headers=headers).json()


class TestNames:
    def test_a_session_has_one_name_and_nobody_learns_its_key(self, client, anna):
        client.force_login(anna)
        key = client.session.session_key
        answer = bootstrap(client, "/api/bootstrap/")
        assert (
            answer["session"]
            == session_name(key)
            == bootstrap(client, "/api/bootstrap/")["session"]
        )
        assert key not in json.dumps(answer)
        assert len(answer["session"]) == 64

    def test_another_session_and_another_secret_have_other_names(self, settings):
        names = {session_name("a"), session_name("b")}
        settings.SECRET_KEY = "another"
        assert len(names | {session_name("a")}) == 3

    def test_whoever_is_not_signed_in_by_the_session_has_none(self, client, anna, settings):
        settings.ROOT_URLCONF = urls(Guests.as_view())
        assert "session" not in bootstrap(client)
        client.force_login(User.objects.create_user("ben"))
        assert "session" not in bootstrap(client)
        client.force_login(anna)
        assert bootstrap(client)["session"] == session_name(client.session.session_key)

    @pytest.mark.skipif(not HAS_REST_FRAMEWORK, reason="needs Django REST framework")
    def test_a_token_is_no_session(self, client, anna):
        from rest_framework.authtoken.models import Token

        token = Token.objects.create(user=anna).key
        answer = bootstrap(client, "/api/bootstrap/", authorization=f"Token {token}")
        assert "session" not in answer

    def test_names_of_your_own(self, client, anna, settings):
        settings.ROOT_URLCONF = urls(OwnNames.as_view())
        client.force_login(anna)
        assert bootstrap(client)["session"] == f"own-{anna.pk}"


def signed_in(user):
    """A request of a user who is signed in."""
    request = RequestFactory().get("/")
    store = import_module("django.contrib.sessions.backends.db").SessionStore
    request.session = store(start_session(user).session_key)
    request.user = user
    return request


class TestLogout:
    def test_disconnects_that_sign_in_once_its_session_is_gone(self, anna, wire):
        request = signed_in(anna)
        key = request.session.session_key
        other = signed_in(anna).session.session_key
        left = []
        wire.seen = lambda: left.extend(Session.objects.values_list("pk", flat=True))
        logout(request)
        (command,) = wire.requests
        assert command == [
            {
                "command": "disconnect",
                "session": session_name(key),
                "come_back": "sign-in",
                "reason": "signed-out",
            }
        ]
        assert left == [other]
        # Once: the next user of this session is somebody else.
        login(request, anna, "django.contrib.auth.backends.ModelBackend")
        request.session.flush()
        assert len(wire.requests) == 1

    def test_at_commit(self, anna, wire):
        with transaction.atomic():
            logout(signed_in(anna))
            assert wire.requests == []
        assert len(wire.requests) == 1

    @pytest.mark.skipif(not hasattr(auth, "alogout"), reason="came with Django 5")
    def test_from_a_coroutine(self, anna, wire):
        request = signed_in(anna)
        key = request.session.session_key

        async def auser():
            return anna

        request.auser = auser
        asyncio.run(auth.alogout(request))
        assert [each["session"] for (each,) in wire.requests] == [session_name(key)]
        assert not Session.objects.exists()

    def test_under_a_secret_of_before(self, anna, wire, settings):
        request = signed_in(anna)
        before = session_name(request.session.session_key)
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "new"
        logout(request)
        assert len(wire.requests) == 2
        assert wire.requests[1][0]["session"] == before

    def test_where_everybody_may_connect_pages_come_back(self, anna, settings, monkeypatch):
        settings.HIGH_TEMPLAR = {"ANONYMOUS": True}
        wire = Wire(monkeypatch)
        logout(signed_in(anna))
        assert wire.requests[0][0]["come_back"] == "soon"

    def test_of_nobody_is_nothing(self, anna, wire):
        request = signed_in(anna)
        request.user = AnonymousUser()
        logout(request)
        request = RequestFactory().get("/")
        request.session = import_module("django.contrib.sessions.backends.db").SessionStore()
        request.user = anna
        logout(request)
        assert wire.requests == []

    @pytest.mark.parametrize("how", ["setting", "view", "no view"])
    def test_is_left_out(self, anna, wire, settings, monkeypatch, how):
        if how == "setting":
            settings.HIGH_TEMPLAR = {"DISCONNECT_ON_LOGOUT": False}
            wire = Wire(monkeypatch)
        elif how == "view":
            settings.ROOT_URLCONF = urls(NoMixin())
        else:
            settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": []})
        logout(signed_in(anna))
        assert wire.requests == []

    def test_is_done_though_the_gateway_is_away(self, anna, wire, caplog):
        wire.error = UnavailableError("cannot reach the gateway")
        request = signed_in(anna)
        logout(request)
        assert SESSION_KEY not in request.session
        assert "a logout did not disconnect" in caplog.text


def test_the_whole_way(live_gateway, anna, client):
    ben = User.objects.create_user("ben")
    client.force_login(anna)
    cookies = {"sessionid": client.session.session_key}
    with live_gateway.connect(cookies=cookies) as page:
        with live_gateway.connect(anna) as elsewhere, live_gateway.connect(ben) as other:
            elsewhere.subscribe(OrderRoom(customer=anna.pk))
            assert now.disconnect(user=anna, dry_run=True).matched == 2
            client.logout()
            assert page.close_code() == 4303
            with transaction.atomic():
                publish(OrderRoom(customer=anna.pk), "before")
                permit([NEWS], user=anna)
                publish(OrderRoom(customer=anna.pk), "after")
                disconnect(user=ben, come_back="never")
            assert elsewhere.next().data == "before"
            assert elsewhere.nothing_heard()
            assert other.close_code() == 4203
