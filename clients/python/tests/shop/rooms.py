"""Who may hear of what."""

from high_templar.django import ANY
from high_templar.django import Room
from high_templar.django import grants_for_user


class OrderRoom(Room):
    customer: int


@grants_for_user
def orders(user):
    if user.is_anonymous:
        return
    yield OrderRoom(customer=ANY if user.is_staff else user.pk)


class ProjectRoom(Room):
    project: int


@grants_for_user
def projects(user):
    # Here, as the models of the shop publish orders themselves and import this module.
    from shop.models import Project

    for project in Project.objects.filter(members=user.pk):
        yield ProjectRoom(project=project.pk)
