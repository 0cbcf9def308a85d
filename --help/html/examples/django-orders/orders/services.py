"""What can be done, each in one transaction with what it publishes."""

from django.db import transaction
from django.db.models import F
from high_templar.django import invalidate
from high_templar.django import publish

from orders.models import Branch
from orders.models import Customer
from orders.models import Message
from orders.models import Order
from orders.models import Product
from orders.models import User
from orders.rooms import ChatRoom
from orders.rooms import OrderRoom


@transaction.atomic
def place_order(branch: Branch, customer: Customer, product: Product, quantity: int) -> Order:
    """Raises `IntegrityError` if there are not so many bags: then nobody hears of the order."""
    order = Order.objects.create(
        branch=branch, customer=customer, product=product, quantity=quantity
    )
    # Published before it is certain: it waits for the commit, which may never come.
    publish_order(order)
    Product.objects.filter(pk=product.pk).update(stock=F("stock") - quantity)
    return order


@transaction.atomic
def advance_order(pk: int, user: User) -> Order:
    """The next step of an order. Raises `Order.DoesNotExist` for one that ``user`` does not see."""
    order = Order.objects.seen_by(user).select_for_update().get(pk=pk)
    if order.following is not None:
        order.status = order.following
        order.version += 1
        order.save(update_fields=["status", "version"])
        publish_order(order)
    return order


@transaction.atomic
def say(author: User, channel: str, text: str) -> Message:
    """Says something in a channel."""
    message = Message.objects.create(author=author, channel=channel, text=text)
    publish(
        ChatRoom(channel=message.channel),
        {
            "id": message.pk,
            "channel": message.channel,
            "channelName": message.get_channel_display(),
            "author": author.first_name,
            "text": message.text,
            "at": message.said_at,
        },
    )
    return message


@transaction.atomic
def appoint(user: User, role: str, branch: Branch | None = None) -> None:
    """Gives somebody another role, or none: pages that are open lose and gain their rooms at once."""
    user.role, user.branch = role, branch
    user.save(update_fields=["role", "branch"])
    # At the commit, in order with what is published: then the gateway asks for the rooms again.
    invalidate(user=user)


def publish_order(order: Order) -> None:
    """Tells those who see this order how it stands."""
    publish(
        OrderRoom(branch=order.branch_id, customer=order.customer_id),
        {
            "id": order.pk,
            "version": order.version,
            "branch": order.branch.name,
            "customer": order.customer.name,
            "product": order.product.name,
            "quantity": order.quantity,
            "status": order.status,
            "statusName": order.get_status_display(),
            "following": order.following and order.following.label,
        },
    )
