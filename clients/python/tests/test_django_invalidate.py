"""Changes of users, groups and permissions have the gateway ask again, at commit."""

import pytest
from django.contrib.auth.models import Group
from django.contrib.auth.models import Permission
from django.contrib.auth.models import User
from django.core import serializers
from django.db import transaction
from django.http import HttpResponse
from django.urls import path
from shop.rooms import OrderRoom

from high_templar.django import ANY
from high_templar.django import publish
from high_templar.django import rights
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
