"""Which rooms there are, and who may enter which."""

from collections.abc import Iterator

from high_templar.django import ANY
from high_templar.django import Room
from high_templar.django import grants_for_user

from orders.models import Channel
from orders.models import Role
from orders.models import User


class OrderRoom(Room):
    """``{"target": "order", "branch": 1, "customer": 7}``."""

    branch: int
    customer: int


class ChatRoom(Room):
    """``{"target": "chat", "channel": "staff"}``."""

    channel: str


class PresenceRoom(Room):
    """``{"target": "presence", "of": "customers"}``."""

    of: str


@grants_for_user
def orders(user: User) -> Iterator[OrderRoom]:
    """All orders, those of one's branch, or one's own: as `OrderQuerySet.seen_by`."""
    if user.role == Role.MANAGER:
        yield OrderRoom(branch=ANY, customer=ANY)
    elif user.role == Role.CLERK:
        yield OrderRoom(branch=user.branch_id, customer=ANY)
    elif user.role == Role.CUSTOMER:
        yield OrderRoom(branch=ANY, customer=user.customer_id)


@grants_for_user
def chat(user: User) -> Iterator[ChatRoom]:
    """Every channel, or the one for everybody."""
    if user.role:
        yield ChatRoom(channel=ANY if user.works_here else str(Channel.EVERYBODY))


@grants_for_user
def presence(user: User) -> Iterator[PresenceRoom]:
    """Customers see who of the house is there, not each other."""
    if user.role:
        yield PresenceRoom(of=ANY if user.works_here else "staff")
