"""What is saved and deleted is published, to the rooms of before and after."""

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from django.test import RequestFactory
from shop.models import Project
from shop.models import Task
from shop.rooms import ProjectRoom
from shop.settings import HAS_REST_FRAMEWORK
from shop.signals import tasks

from high_templar.django import PublishChangesMixin
from high_templar.django.rooms import rooms_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def here():
    return Project.objects.create(name="here")


@pytest.fixture
def there():
    return Project.objects.create(name="there")


@pytest.fixture
def task(here):
    return Task.objects.create(project=here, title="new")


def told(published):
    return [(sent.rooms, sent.data) for sent in published.sent]


def of(project):
    return [ProjectRoom(project=project.pk)]


def test_saved_and_deleted(task, here, published):
    task.title = "changed"
    task.save()
    number = task.pk
    task.delete()
    assert told(published) == [
        (of(here), {"id": number, "title": "changed"}),
        (of(here), {"id": number, "deleted": True}),
    ]


def test_one_that_moves_is_gone_from_its_old_room(task, here, there, published):
    task.project = there
    task.title = "not for those here"
    task.save()
    assert told(published) == [
        (of(here), {"id": task.pk, "deleted": True}),
        (of(there), {"id": task.pk, "title": "not for those here"}),
    ]


def test_from_a_stale_instance(task, here, there, published):
    """Where it was is what the database says, not what was read once."""
    Task.objects.filter(pk=task.pk).update(project=there)
    task.save()
    assert told(published)[0] == (of(there), {"id": task.pk, "deleted": True})


def test_what_depends_on_the_deleted_is_deleted_too(task, here, published):
    here.delete()
    assert [sent.data["deleted"] for sent in published.sent] == [True]


def test_what_is_rolled_back_is_not_published(task, published):
    with transaction.atomic():
        task.save()
        transaction.set_rollback(True)
    published.assert_nothing_published()


def test_by_hand(task, here, published):
    Task.objects.update(title="all")
    for changed in Task.objects.all():
        tasks.publish(changed)
    assert told(published) == [(of(here), {"id": task.pk, "title": "all"})]


def test_fixtures_publish_nothing(task, tmp_path, published):
    path = tmp_path / "tasks.json"
    call_command("dumpdata", "shop", output=str(path), verbosity=0)
    call_command("loaddata", str(path), verbosity=0)
    published.assert_nothing_published()


def test_rooms_by_a_query_of_memberships(here, there):
    anna = User.objects.create_user("anna")
    here.members.add(anna)
    assert ProjectRoom(project=here.pk) in rooms_of(anna)
    assert ProjectRoom(project=there.pk) not in rooms_of(anna)


@pytest.mark.skipif(not HAS_REST_FRAMEWORK, reason="needs Django REST framework")
class TestViewSet:
    @pytest.fixture
    def view(self, monkeypatch):
        from rest_framework.serializers import ModelSerializer
        from rest_framework.viewsets import ModelViewSet

        class Serializer(ModelSerializer):
            class Meta:
                model = Project
                fields = ("id", "name")

        class View(PublishChangesMixin, ModelViewSet):
            authentication_classes = permission_classes = ()
            queryset = Project.objects.all()
            serializer_class = Serializer

            def get_publish_rooms(self, project):
                return {"name": project.name}

        return View

    def call(self, view, method, data=None, **kwargs):
        actions = {"post": "create", "patch": "partial_update", "delete": "destroy"}
        request = getattr(RequestFactory(), method)("/", data, content_type="application/json")
        answer = view.as_view(actions)(request, **kwargs)
        assert answer.status_code < 300

    @pytest.fixture
    def own(self, view):
        """A viewset whose methods save by themselves, one of them in a mixin of its own."""

        class Creates:
            def perform_create(self, serializer):
                serializer.save(name=serializer.validated_data["name"] + "!")

        class Own(Creates, view):
            def perform_update(self, serializer):
                serializer.save(name=serializer.validated_data["name"] + "!")

            def perform_destroy(self, instance):
                instance.delete()

        return Own

    @pytest.fixture
    def parents(self, view):
        """A viewset whose methods call those of their parents."""

        class Parents(view):
            def perform_create(self, serializer):
                super().perform_create(serializer)
                serializer.save(name="a!")

            def perform_update(self, serializer):
                super().perform_update(serializer)
                serializer.save(name="b!")

            def perform_destroy(self, instance):
                super().perform_destroy(instance)

        return Parents

    @pytest.mark.parametrize("which", ["own", "parents"])
    def test_own_methods_are_published_once(self, which, request, published):
        view = request.getfixturevalue(which)
        self.call(view, "post", {"name": "a"})
        project = Project.objects.get()
        self.call(view, "patch", {"name": "b"}, pk=project.pk)
        self.call(view, "delete", pk=project.pk)
        assert told(published) == [
            ([{"name": "a!"}], {"id": project.pk, "name": "a!"}),
            ([{"name": "a!"}], {"id": project.pk, "deleted": True}),
            ([{"name": "b!"}], {"id": project.pk, "name": "b!"}),
            ([{"name": "b!"}], {"id": project.pk, "deleted": True}),
        ]

    def test_own_method_that_saves_nothing(self, view, published):
        class Later(view):
            def perform_create(self, serializer):
                """Leaves it to a task queue."""

        self.call(Later, "post", {"name": "a"})
        published.assert_nothing_published()

    def test_what_its_requests_change(self, view, published):
        self.call(view, "post", {"name": "a"})
        project = Project.objects.get()
        self.call(view, "patch", {"name": "b"}, pk=project.pk)
        self.call(view, "delete", pk=project.pk)
        assert told(published) == [
            ([{"name": "a"}], {"id": project.pk, "name": "a"}),
            ([{"name": "a"}], {"id": project.pk, "deleted": True}),
            ([{"name": "b"}], {"id": project.pk, "name": "b"}),
            ([{"name": "b"}], {"id": project.pk, "deleted": True}),
        ]
