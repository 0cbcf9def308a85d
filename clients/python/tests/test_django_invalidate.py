"""Changes of users, groups and permissions have the gateway ask again, at commit."""

import json
import threading
import time

import pytest
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.models import Group
from django.contrib.auth.models import Permission
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core import serializers
from django.db import connection
from django.db import transaction
from django.http import HttpResponse
from django.urls import include
from django.urls import path
from shop.rooms import OrderRoom

from high_templar import Receipt
from high_templar.django import ANY
from high_templar.django import budget
from high_templar.django import publish
from high_templar.django import rights
from high_templar.django.sender import publisher
from high_templar.django.testing import capture_published


@pytest.fixture
def anna(transactional_db):
    return User.objects.create_user("anna", password="old")


@pytest.fixture
def ben(transactional_db):
    return User.objects.create_user("ben")


@pytest.fixture
def editors(transactional_db):
    return Group.objects.create(name="editors")


@pytest.fixture
def may(transactional_db):
    return Permission.objects.get(codename="change_group")


def about(*users):
    return [{"command": "invalidate", "user": str(user.pk)} for user in users]


def commands_of(change):
    """The commands of a change."""
    with capture_published() as published:
        change()
        return published.commands


def changed(user, **members):
    for name, value in members.items():
        setattr(user, name, value)
    user.save()


class TestUsers:
    def test_a_password(self, anna):
        def reset():
            anna.set_password("new")
            anna.save()

        def close():
            anna.set_unusable_password()
            anna.save(update_fields=["password"])

        assert commands_of(reset) == about(anna)
        assert commands_of(close) == about(anna)
        # What is in the database already is no change.
        assert commands_of(anna.save) == []

    def test_a_better_hash_ends_other_sessions_too(self, anna, settings):
        settings.PASSWORD_HASHERS = [
            "django.contrib.auth.hashers.PBKDF2PasswordHasher",
            *settings.PASSWORD_HASHERS,
        ]
        assert commands_of(lambda: anna.check_password("old")) == about(anna)

    @pytest.mark.parametrize("field", ["is_active", "is_staff", "is_superuser"])
    def test_what_a_user_is(self, anna, field):
        again = User.objects.get(pk=anna.pk)
        assert commands_of(lambda: changed(again, **{field: not getattr(anna, field)})) == about(
            anna
        )

    def test_what_is_no_right(self, anna):
        assert commands_of(lambda: changed(anna, first_name="Ann")) == []
        anna.is_staff = True
        assert commands_of(lambda: anna.save(update_fields=["first_name"])) == []
        # Not saved until now.
        assert commands_of(anna.save) == about(anna)

    def test_a_new_user(self, transactional_db):
        assert commands_of(lambda: User.objects.create_user("new", is_staff=True)) == []

    def test_a_field_that_was_not_loaded(self, anna):
        deferred = User.objects.only("first_name").get(pk=anna.pk)
        assert commands_of(lambda: changed(deferred, first_name="Ann")) == []
        assert commands_of(lambda: changed(deferred, is_active=False)) == about(anna)

    def test_a_deleted_user(self, anna, ben):
        assert commands_of(User.objects.filter(pk=ben.pk).delete) == about(ben)
        expected = about(anna)
        assert commands_of(anna.delete) == expected

    def test_fixtures(self, anna):
        text = serializers.serialize("json", [anna]).replace(
            '"is_staff": false', '"is_staff": true'
        )

        def load():
            for each in serializers.deserialize("json", text):
                each.save()

        assert commands_of(load) == []

    def test_at_commit_or_not_at_all(self, anna):
        with capture_published() as published:
            with transaction.atomic():
                changed(anna, is_staff=True)
                transaction.set_rollback(True)
            assert published.commands == []
            with transaction.atomic():
                changed(anna, is_active=False)
            assert published.commands == about(anna)

    @pytest.mark.django_db(transaction=True, databases=["default", "archive"])
    def test_a_transaction_elsewhere_is_not_its_own(self, anna):
        with transaction.atomic(using="archive"):
            assert commands_of(lambda: changed(anna, is_staff=True)) == about(anna)


class TestPermissions:
    def test_groups_of_a_user(self, anna, ben, editors):
        assert commands_of(lambda: anna.groups.add(editors)) == about(anna)
        # Nothing new.
        assert commands_of(lambda: editors.user_set.add(anna)) == []
        assert commands_of(lambda: editors.user_set.add(anna, ben)) == about(ben)
        assert commands_of(lambda: anna.groups.remove(editors)) == about(anna)
        assert commands_of(lambda: anna.groups.set([editors])) == about(anna)
        assert commands_of(anna.groups.clear) == about(anna)
        assert commands_of(editors.user_set.clear) == about(ben)

    def test_permissions_of_a_user(self, anna, ben, may):
        assert commands_of(lambda: anna.user_permissions.add(may)) == about(anna)
        assert commands_of(lambda: may.user_set.add(ben)) == about(ben)
        assert commands_of(anna.user_permissions.clear) == about(anna)
        assert commands_of(may.user_set.clear) == about(ben)

    def test_permissions_of_a_group(self, anna, ben, editors, may):
        commands_of(lambda: editors.user_set.add(anna, ben))
        assert commands_of(lambda: editors.permissions.add(may)) == about(anna, ben)
        assert commands_of(editors.permissions.clear) == about(anna, ben)
        assert commands_of(lambda: may.group_set.add(editors)) == about(anna, ben)
        assert commands_of(may.group_set.clear) == about(anna, ben)

    def test_a_group_of_nobody(self, anna, editors, may):
        assert commands_of(lambda: editors.permissions.add(may)) == []
        assert commands_of(editors.delete) == []

    def test_a_deleted_group(self, anna, ben, editors):
        commands_of(lambda: editors.user_set.add(anna))
        assert commands_of(editors.delete) == about(anna)

    def test_of_too_many_users_everybody_is_asked_about(self, anna, ben, editors, may, monkeypatch):
        commands_of(lambda: editors.user_set.add(anna, ben))
        monkeypatch.setattr(rights, "USERS_MAX", 1)
        everyone = [{"command": "invalidate", "everyone": True, "within": 60_000}]
        assert commands_of(lambda: editors.permissions.add(may)) == everyone
        assert commands_of(editors.user_set.clear) == everyone


@pytest.mark.parametrize("which", ["USER", "PERMISSION"])
def test_each_is_a_setting(anna, editors, settings, which):
    settings.HIGH_TEMPLAR = {f"INVALIDATE_ON_{which}_CHANGE": False}
    of_user = commands_of(lambda: changed(anna, is_staff=True))
    of_permission = commands_of(lambda: anna.groups.add(editors))
    assert (of_user, of_permission) == (([], about(anna)) if which == "USER" else (about(anna), []))


class Urls:
    """A site that answers the gateway by a view of its own."""

    urlpatterns = (path("b/", lambda request: HttpResponse("{}"), name="bootstrap"),)


@pytest.mark.parametrize("bootstrap", ["bootstrap", "missing"])
def test_a_view_of_another_kind_may_name_users_otherwise(anna, editors, settings, bootstrap):
    settings.ROOT_URLCONF, settings.HIGH_TEMPLAR = Urls, {"BOOTSTRAP": bootstrap}
    assert commands_of(lambda: anna.groups.add(editors)) == []


def test_the_whole_way(live_gateway, transactional_db):
    boss = User.objects.create_user("boss", password="old", is_staff=True)
    news = {"target": "news"}
    with live_gateway.connect(boss) as page, live_gateway.connect(boss) as other:
        for each in (page, other):
            each.subscribe(OrderRoom(customer=ANY), "orders")
            each.subscribe(news, "news")
        with transaction.atomic():
            publish(OrderRoom(customer=1), "before")
            changed(boss, is_staff=False)
            publish(OrderRoom(customer=1), "after")
            publish(news, "news")
        for each in (page, other):
            assert [each.next().data, each.next().data] == ["before", "news"]
            with pytest.raises(PermissionError, match="room-not-found"):
                each.subscribe(OrderRoom(customer=ANY))
        # Sessions end with the password that they were made with.
        boss.set_password("new")
        boss.save()
        assert [page.close_code(), other.close_code()] == [4002, 4002]


def change_password(user):
    user.set_password("new")
    user.save()


def change_own_password(request):
    """As a form does that is sent without loading a page."""
    change_password(request.user)
    update_session_auth_hash(request, request.user)
    publish(OrderRoom(customer=request.user.pk), "changed")
    if "groups" in request.GET:
        request.user.groups.clear()
    return HttpResponse("done")


class MoreUrls:
    """The URLs of the site, and those of these tests."""

    def __init__(self, *more):
        self.urlpatterns = [*more, path("", include("shop.urls"))]


class TestOwnPassword:
    @pytest.fixture
    def sent(self, monkeypatch, settings):
        """What leaves, each with the sessions in the database at that time."""
        settings.ROOT_URLCONF = MoreUrls(path("password/", change_own_password))
        sent = []

        def take(triggers, **_):
            sessions = set(Session.objects.values_list("pk", flat=True))
            if threading.current_thread() is not threading.main_thread():
                # That of the timer. Django itself closes no connection to a database in memory.
                connection.connection.close()
            for each in triggers:
                members = json.loads(each.text())
                sent.append((members.get("command", members.get("data")), sessions))
            return [Receipt(each.id) for each in triggers]

        monkeypatch.setattr(publisher(), "publish_all", take)
        return sent

    @pytest.mark.parametrize("atomic", [True, False])
    def test_is_told_when_the_new_session_is_saved(
        self, anna, client, sent, settings, monkeypatch, atomic
    ):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic)
        client.force_login(anna)
        before = client.session.session_key
        assert client.get("/password/").content == b"done"
        after = client.session.session_key
        assert before != after
        assert [said for said, _ in sent] == ["changed", "invalidate"]
        assert sent[1][1] == {after}

    def test_other_changes_do_not_wait(self, anna, client, sent, editors):
        anna.groups.add(editors)
        client.force_login(anna)
        sent.clear()
        client.get("/password/?groups")
        assert [said for said, _ in sent] == ["changed", "invalidate", "invalidate"]
        assert len(sent[1][1] & sent[2][1]) <= 1

    def test_a_request_that_does_not_end_delays_it_for_some_seconds(
        self, anna, sent, monkeypatch, settings
    ):
        monkeypatch.setattr(budget, "LATE_SECONDS", 0.05)
        budget._begin()
        try:
            change_password(anna)
            for _ in range(500):
                if sent:
                    break
                time.sleep(0.01)
            assert [said for said, _ in sent] == ["invalidate"]
        finally:
            budget._end()
        assert len(sent) == 1, "once"


def test_a_page_survives_that_its_user_changes_the_own_password(
    live_gateway, anna, client, settings
):
    settings.ROOT_URLCONF = MoreUrls(path("password/", change_own_password))
    client.force_login(anna)
    with live_gateway.connect(cookies={"sessionid": client.session.session_key}) as page:
        page.subscribe(OrderRoom(customer=anna.pk))
        assert client.get("/password/").content == b"done"
        assert page.next().data == "changed"
        # Its session is gone: it comes back with the one that the response brought.
        assert page.close_code() == 4002
    with live_gateway.connect(cookies={"sessionid": client.session.session_key}) as page:
        page.subscribe(OrderRoom(customer=anna.pk))
