"""Who may hear of what."""

from high_templar.django import ANY
from high_templar.django import Room
from high_templar.django import rooms_for_user


class OrderRoom(Room):
    customer: int


@rooms_for_user
def orders(user):
    if user.is_anonymous:
        return
    yield OrderRoom(customer=ANY if user.is_staff else user.pk)
