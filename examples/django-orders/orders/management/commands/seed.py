"""``manage.py seed``: three users, two branches, two customers and a few orders."""

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from orders.models import Branch
from orders.models import Channel
from orders.models import Customer
from orders.models import Message
from orders.models import Order
from orders.models import Product
from orders.models import Role
from orders.models import Status
from orders.models import User

PASSWORD = "live"


class Command(BaseCommand):
    """Fills an empty database; one with users stays as it is."""

    help = "Fills an empty database with the users and orders of the example."

    @transaction.atomic
    def handle(self, *_: Any, **__: Any) -> None:
        """Fills it, or not."""
        if not User.objects.exists():
            fill()


def fill() -> None:
    """Users, places, coffees, orders and a first word."""
    harbour, hill = (Branch.objects.create(name=name) for name in ("Harbour", "Hill"))
    lune, nord = (Customer.objects.create(name=name) for name in ("Café Lune", "Bistro Nord"))
    house, decaf, single = (
        Product.objects.create(name=name, stock=500)
        for name in ("House blend", "Decaf", "Yirgacheffe")
    )
    maya = add_user("maya", "Maya", role=Role.MANAGER)
    carl = add_user("carl", "Carl", role=Role.CLERK, branch=harbour)
    add_user("cleo", "Cleo", role=Role.CUSTOMER, customer=lune)
    for branch, customer, product, quantity, status in (
        (harbour, lune, house, 10, Status.DELIVERED),
        (harbour, nord, decaf, 2, Status.DELIVERED),
        (hill, nord, single, 6, Status.SENT),
        (hill, lune, decaf, 4, Status.PACKED),
        (harbour, nord, house, 20, Status.PACKED),
    ):
        Order.objects.create(
            branch=branch, customer=customer, product=product, quantity=quantity, status=status
        )
    Message.objects.create(channel=Channel.EVERYBODY, author=maya, text="Good morning!")
    Message.objects.create(channel=Channel.STAFF, author=carl, text="The van leaves at ten.")


def add_user(username: str, first_name: str, **members: Any) -> User:
    """A user with the example's password."""
    return User.objects.create_user(
        username, password=PASSWORD, first_name=first_name, **members
    )
