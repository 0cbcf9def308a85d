"""What the gateway asks: the bootstrap view and the hooks."""

import functools
import json
from datetime import timedelta

import django
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.test import Client
from django.test import RequestFactory
from django.urls import include
from django.urls import path
from django.views import View
from shop.rooms import OrderRoom
from shop.settings import HAS_REST_FRAMEWORK

from high_templar.django import ANY
from high_templar.django import SubclassRooms
from high_templar.django import connection_alive
from high_templar.django import connection_closed
from high_templar.django import connection_opened
from high_templar.django import grants_for_user
from high_templar.django import probe
from high_templar.django.launch import KEY_HEADER
from high_templar.django.launch import hook_key
from high_templar.django.rooms import rooms_of
from high_templar.django.rooms import unregister
from high_templar.django.sessions import session_cookies
from high_templar.django.sessions import session_name
from high_templar.django.views import BootstrapMixin

pytestmark = pytest.mark.django_db
NEWS = {"target": "news"}


@pytest.fixture
def anna():
    return User.objects.create_user("anna", password="anna")


@pytest.fixture
def registered():
    """Registers functions for one test."""
    done = []

    def register(source):
        done.append(grants_for_user(source))

    yield register
    for source in done:
        unregister(source)


def bootstrap(client, **headers):
    return client.get("/api/bootstrap/", headers=headers)


class TestBootstrap:
    def test_a_session(self, client, anna):
        client.force_login(anna)
        answer = bootstrap(client)
        assert answer.status_code == 200
        assert answer.json() == {
            "session": session_name(client.session.session_key),
            "user": {"id": anna.pk},
            "allowed_rooms": [OrderRoom(customer=anna.pk), NEWS],
        }
        assert "no-store" in answer["Cache-Control"]

    def test_staff(self, client, anna):
        anna.is_staff = True
        anna.save()
        client.force_login(anna)
        assert OrderRoom(customer=ANY) in bootstrap(client).json()["allowed_rooms"]

    def test_nobody(self, client):
        assert bootstrap(client).status_code == 403

    def test_a_user_who_is_not_active_any_more(self, client, anna):
        client.force_login(anna)
        User.objects.update(is_active=False)
        assert bootstrap(client).status_code == 403

    def test_other_methods(self, client, anna):
        client.force_login(anna)
        assert client.post("/api/bootstrap/").status_code == 405

    def test_anonymous_clients_if_they_may(self, client, settings):
        settings.HIGH_TEMPLAR = {"ANONYMOUS": True}
        answer = bootstrap(client).json()
        assert answer == {"user": {"id": None}, "allowed_rooms": [NEWS]}

    @pytest.mark.skipif(not HAS_REST_FRAMEWORK, reason="needs Django REST framework")
    def test_a_token_of_rest_framework(self, client, anna):
        from rest_framework.authtoken.models import Token

        token = Token.objects.create(user=anna)
        answer = bootstrap(client, authorization=f"Token {token.key}")
        assert answer.json()["user"] == {"id": anna.pk}
        # A wrong token is not made good by a session.
        client.force_login(anna)
        answer = bootstrap(client, authorization="Token wrong")
        assert answer.status_code == 403
        assert answer.json() == {"detail": "Invalid token."}

    def test_ways_of_your_own(self, client, anna, settings):
        settings.HIGH_TEMPLAR = {"AUTHENTICATION": [f"{__name__}.by_name", "session"]}
        assert bootstrap(client, authorization="Name anna").json()["user"] == {"id": anna.pk}
        assert bootstrap(client, authorization="Name ben").status_code == 403
        assert bootstrap(client).status_code == 403

    def test_a_way_that_is_not_there(self, client, settings):
        settings.HIGH_TEMPLAR = {"AUTHENTICATION": ["shop.nothing"]}
        with pytest.raises(ImproperlyConfigured, match="AUTHENTICATION"):
            bootstrap(client)

    @pytest.mark.parametrize("credentials", ["session", "none", "token"])
    @pytest.mark.parametrize("path", ["api/bootstrap/", "own/", "async/", "wrapped/", "rest/"])
    def test_no_login_is_required(self, client, anna, settings, path, credentials):
        """`LoginRequiredMiddleware` of Django 5.1; also for views of the mixin."""
        if path == "rest/" and not HAS_REST_FRAMEWORK:
            pytest.skip("needs Django REST framework")
        settings.ROOT_URLCONF = OwnUrls()
        settings.LOGIN_URL = "/login/"
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, LOGIN_REQUIRED]
        headers = {}
        if credentials == "session":
            client.force_login(anna)
        elif credentials == "token":
            settings.HIGH_TEMPLAR = {"AUTHENTICATION": [f"{__name__}.by_name", "session"]}
            headers = {"authorization": "Name anna"}
        answer = client.get(f"/{path}", headers=headers)
        assert answer.status_code == (403 if credentials == "none" else 200)
        assert answer["Content-Type"] == "application/json"

    def test_hooks_need_no_login(self, anna, settings):
        settings.LOGIN_URL = "/login/"
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, LOGIN_REQUIRED]
        settings.HIGH_TEMPLAR = {"AUTHENTICATION": [f"{__name__}.by_name"]}
        headers = {"authorization": "Name anna"}
        assert Client().post("/api/hooks/connect/", headers=headers).status_code == 204

    @pytest.mark.parametrize("path", ["api/bootstrap/", "own/", "async/", "wrapped/", "rest/"])
    def test_no_cache_keeps_it(self, client, anna, settings, path):
        """A cache of the whole site, and users who are told apart by a header."""
        if path == "rest/" and not HAS_REST_FRAMEWORK:
            pytest.skip("needs Django REST framework")
        User.objects.create_user("ben")
        settings.ROOT_URLCONF = OwnUrls()
        settings.MIDDLEWARE = [
            "django.middleware.cache.UpdateCacheMiddleware",
            *settings.MIDDLEWARE,
            "django.middleware.cache.FetchFromCacheMiddleware",
        ]
        settings.HIGH_TEMPLAR = {"AUTHENTICATION": [f"{__name__}.by_name", "session"]}
        for name in ("anna", "ben"):
            answer = client.get(f"/{path}", headers={"authorization": f"Name {name}"})
            assert answer.json()["user"] == {"id": User.objects.get(username=name).pk}
            assert {"private", "no-store"} <= set(answer["Cache-Control"].split(", "))
            assert {"Cookie", "Authorization"} <= set(answer["Vary"].split(", "))
        refused = client.get(f"/{path}", headers={"authorization": "Name nobody"})
        assert refused.status_code == 403
        assert "no-store" in refused["Cache-Control"]

    def test_asking_does_not_renew_the_session(self, client, anna, settings):
        """Where every request does, sites sign users out that are idle; the gateway is not."""
        settings.SESSION_SAVE_EVERY_REQUEST = True
        client.force_login(anna)
        session = client.session
        session.set_expiry(600)
        session.save()
        before = Session.objects.get().expire_date
        Session.objects.update(expire_date=before - timedelta(seconds=300))
        assert bootstrap(client).status_code == 200
        headers = {KEY_HEADER: hook_key()}
        assert client.post("/api/hooks/ping/", headers=headers).status_code == 204
        assert Session.objects.get().expire_date == before - timedelta(seconds=300)

    def test_a_receiver_may_change_the_session(self, client, anna, settings):
        settings.SESSION_SAVE_EVERY_REQUEST = True
        client.force_login(anna)

        def note(request, **_):
            request.session["seen"] = 1

        connection_alive.connect(note)
        try:
            client.post("/api/hooks/ping/", headers={KEY_HEADER: hook_key()})
        finally:
            connection_alive.disconnect(note)
        assert client.session["seen"] == 1

    def test_a_view_of_your_own(self, anna):
        class Own(BootstrapMixin, View):
            def get_user(self):
                return anna

            def get_extra(self, user):
                return {"menu": [user.username]}

            def get_rooms(self, user):
                return [{"own": user.pk}]

        answer = json.loads(Own.as_view()(RequestFactory().get("/")).content)
        assert answer == {
            "menu": ["anna"],
            "user": {"id": anna.pk},
            "allowed_rooms": [{"own": anna.pk}],
        }

    def test_a_user_by_the_request(self, anna):
        """And by what `AUTHENTICATION` finds in it, which an override may ask first."""

        class Guests(BootstrapMixin, View):
            def get_user(self, request):
                known = super().get_user(request)
                return anna if known is None and "guest" in request.GET else known

            def get_rooms(self, user):
                return []

        for query, status in (("?guest", 200), ("", 403)):
            request = RequestFactory().get(f"/{query}")
            request.user = AnonymousUser()
            assert Guests.as_view()(request).status_code == status

    def test_an_override_without_the_request_may_ask_the_mixin(self, anna):
        class Old(BootstrapMixin, View):
            def get_user(self):
                return super().get_user()

        request = RequestFactory().get("/")
        request.user = anna
        answer = json.loads(Old.as_view()(request).content)
        assert answer["user"] == {"id": anna.pk}

    def test_a_class_of_rest_framework_that_reads_the_session(self, client, anna, settings):
        if not HAS_REST_FRAMEWORK:
            pytest.skip("needs Django REST framework")
        way = "rest_framework.authentication.SessionAuthentication"
        settings.HIGH_TEMPLAR = {"AUTHENTICATION": [way]}
        assert bootstrap(client).status_code == 403
        client.force_login(anna)
        assert bootstrap(client).json()["user"] == {"id": anna.pk}


class Own(BootstrapMixin, View):
    pass


def keep(view):
    """A decorator as sites have them."""

    @functools.wraps(view)
    def wrapped(request):
        return view(request)

    return wrapped


class Asynchronous(BootstrapMixin, View):
    async def get(self, request):
        return await sync_to_async(self.bootstrap)()


class OwnUrls:
    """A site with bootstrap views of its own."""

    def __init__(self):
        self.urlpatterns = [
            path("own/", Own.as_view()),
            path("async/", Asynchronous.as_view()),
            path("wrapped/", keep(Own.as_view())),
            path("api/", include("high_templar.django.urls")),
        ]
        if HAS_REST_FRAMEWORK:
            from rest_framework.views import APIView

            class Rest(BootstrapMixin, APIView):
                authentication_classes = ()

            self.urlpatterns.append(path("rest/", Rest.as_view()))

    def __hash__(self):
        return id(self)


class LoginRequired:
    """What Django's own does since 5.1, for the versions before."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_view(self, request, view, args, kwargs):
        if request.user.is_authenticated or not getattr(view, "login_required", True):
            return None
        return HttpResponseRedirect("/login/")


LOGIN_REQUIRED = (
    "django.contrib.auth.middleware.LoginRequiredMiddleware"
    if django.VERSION >= (5, 1)
    else f"{__name__}.LoginRequired"
)


def by_name(request):
    word, _, name = request.headers.get("Authorization", "").partition(" ")
    if word != "Name":
        return None
    try:
        return User.objects.get(username=name)
    except User.DoesNotExist:
        raise PermissionDenied("no such name") from None


class TestRooms:
    def test_each_once(self, anna, registered):
        registered(lambda user: [NEWS, {"b": 1, "a": 2}, {"a": 2, "b": 1}])
        assert rooms_of(anna) == [OrderRoom(customer=anna.pk), NEWS, {"a": 2, "b": 1}]

    def test_one_room_or_none(self, anna, registered):
        registered(lambda user: {"one": 1})
        registered(lambda user: None)
        assert {"one": 1} in rooms_of(anna)

    def test_the_request_for_those_who_want_it(self, anna, registered):
        registered(lambda user, request: {"path": request.path})
        registered(lambda user, other="kept": {"other": other})
        rooms = rooms_of(anna, RequestFactory().get("/there/"))
        assert {"path": "/there/"} in rooms
        assert {"other": "kept"} in rooms

    def test_asynchronous_functions(self, anna, registered):
        async def returns(user):
            return {"async": 1}

        async def yields(user, request):
            yield {"async": request.path}

        registered(returns)
        registered(yields)
        rooms = rooms_of(anna, RequestFactory().get("/x/"))
        assert {"async": 1} in rooms
        assert {"async": "/x/"} in rooms

    def test_no_rooms_are_told(self, anna, registered):
        def wrong(user):
            return ["order"]

        registered(wrong)
        with pytest.raises(ImproperlyConfigured, match=r"wrong says something that is no room"):
            rooms_of(anna)

    def test_typed_rooms(self, anna, registered, settings):
        settings.HIGH_TEMPLAR = {"TYPED_ROOMS": True}
        registered(lambda user: {"target": "order", "custmer": 1})
        with pytest.raises(TypeError, match="'custmer'"):
            rooms_of(anna)

    def test_views_of_django_binder(self, anna, registered):
        class ModelView:
            register_for_model = True
            model = None

        class Child(ModelView):
            model = User

            @classmethod
            def get_rooms_for_user(cls, user):
                return [{"child": user.pk}]

        class Hidden(Child):
            register_for_model = False

            @classmethod
            def get_rooms_for_user(cls, user):
                return [{"hidden": user.pk}]

        registered(SubclassRooms(ModelView))
        rooms = rooms_of(anna)
        assert {"child": anna.pk} in rooms
        assert {"hidden": anna.pk} not in rooms


class TestHooks:
    @pytest.fixture
    def told(self):
        told = []

        def online(sender, user, event, **_):
            told.append(("online", event, user.username))

        def offline(sender, user, event, **_):
            told.append(("offline", event, user.username))

        connection_opened.connect(online)
        connection_alive.connect(online)
        connection_closed.connect(offline)
        yield told
        connection_opened.disconnect(online)
        connection_alive.disconnect(online)
        connection_closed.disconnect(offline)

    @pytest.fixture
    def browser(self, anna):
        """A client that is checked against CSRF."""
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(anna)
        return browser

    def test_the_gateway_is_believed(self, browser, told, settings):
        settings.HIGH_TEMPLAR = {"API_KEY": "key"}
        for event in ("connect", "ping", "disconnect"):
            answer = browser.post(f"/api/hooks/{event}/", headers={KEY_HEADER: hook_key()})
            assert answer.status_code == 204
        assert told == [
            ("online", "connect", "anna"),
            ("online", "ping", "anna"),
            ("offline", "disconnect", "anna"),
        ]

    def test_each_event_has_a_signal(self, browser, anna):
        from high_templar.django import connection_alive
        from high_templar.django import connection_closed
        from high_templar.django import connection_opened
        from high_templar.django import signals

        assert signals.heard() == []
        seen = []
        receivers = []
        for name, signal in {
            "opened": connection_opened,
            "alive": connection_alive,
            "closed": connection_closed,
        }.items():

            def note(user, name=name, **_):
                seen.append((name, user.pk))

            receivers.append(note)
            signal.connect(note)
        assert signals.heard() == ["connect", "ping", "disconnect"]
        for event in ("connect", "ping", "disconnect"):
            browser.post(f"/api/hooks/{event}/", headers={KEY_HEADER: hook_key()})
        for signal in (connection_opened, connection_alive, connection_closed):
            for receiver in receivers:
                signal.disconnect(receiver)
        assert seen == [("opened", anna.pk), ("alive", anna.pk), ("closed", anna.pk)]

    def test_a_page_of_another_site_is_not(self, browser, told, settings):
        assert browser.post("/api/hooks/connect/").status_code == 403
        assert browser.post("/api/hooks/connect/", headers={KEY_HEADER: ""}).status_code == 403
        settings.HIGH_TEMPLAR = {"API_KEY": "key"}
        assert browser.post("/api/hooks/connect/", headers={KEY_HEADER: "no"}).status_code == 403
        assert told == []

    def test_without_a_key_there_is_one_of_the_secret_key(self, browser, told):
        answer = browser.post("/api/hooks/connect/", headers={KEY_HEADER: hook_key()})
        assert answer.status_code == 204

    def test_djangos_own_check_does_as_well(self, browser, told):
        token = "a" * 32
        browser.cookies["csrftoken"] = token
        answer = browser.post("/api/hooks/connect/", headers={"X-CSRFToken": token})
        assert answer.status_code == 204
        assert told == [("online", "connect", "anna")]

    def test_a_trial_is_no_page_of_a_user(self, anna, told):
        browser = Client()
        browser.cookies.load(session_cookies(anna, **{probe.SESSION_KEY: "name"}))
        for event in ("connect", "ping", "disconnect"):
            answer = browser.post(f"/api/hooks/{event}/", headers={KEY_HEADER: hook_key()})
            assert answer.status_code == 204
        assert told == []

    def test_the_publish_key_does_not_travel(self, browser, settings):
        settings.HIGH_TEMPLAR = {"API_KEY": "key"}
        assert browser.post("/api/hooks/connect/", headers={KEY_HEADER: "key"}).status_code == 403
        assert "key" not in hook_key()
        before = hook_key()
        settings.HIGH_TEMPLAR = {"API_KEY": "another"}
        assert hook_key() != before

    def test_a_password_in_front_of_the_site_proves_nothing(self, browser, told):
        """The browser sends `Basic` by itself, as it does the session's cookie."""
        headers = {"authorization": "Basic YTpi", "origin": "https://evil.example"}
        assert browser.post("/api/hooks/disconnect/", headers=headers).status_code == 403
        assert told == []

    def test_a_token_is_believed(self, anna, told, settings):
        settings.HIGH_TEMPLAR = {"AUTHENTICATION": [f"{__name__}.by_name", "session"]}
        browser = Client(enforce_csrf_checks=True)
        headers = {"authorization": "Name anna"}
        assert browser.post("/api/hooks/connect/", headers=headers).status_code == 204
        assert told == [("online", "connect", "anna")]

    def test_a_receiver_that_fails_hides_nothing_from_the_others(self, browser, anna, caplog):
        seen = []

        def fail(**_):
            raise RuntimeError("no")

        def note(user, **_):
            seen.append(user.pk)

        connection_closed.connect(fail)
        connection_closed.connect(note)
        try:
            answer = browser.post("/api/hooks/disconnect/", headers={KEY_HEADER: hook_key()})
        finally:
            connection_closed.disconnect(fail)
            connection_closed.disconnect(note)
        assert answer.status_code == 204
        assert seen == [anna.pk]
        assert "fail failed" in caplog.text

    def test_nobody(self, told, settings):
        settings.HIGH_TEMPLAR = {"API_KEY": "key"}
        answer = Client().post("/api/hooks/connect/", headers={KEY_HEADER: hook_key()})
        assert answer.status_code == 403
        assert told == []
