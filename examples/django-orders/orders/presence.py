"""Who is online, as the gateway's hooks tell.

Somebody is there from the first page that connects to the last that ends. A gateway that is killed
tells of no end: whoever was not heard of for a while counts as gone, the next time a hook comes.
"""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.dispatch import receiver
from django.utils import timezone

from high_templar.django import publish
from high_templar.django import user_offline
from high_templar.django import user_online
from orders.models import Presence
from orders.models import User
from orders.rooms import PresenceRoom

SILENCE_MAX = timedelta(seconds=100)
"""Pages ping every 30 seconds, and the gateway passes that on."""


def online_for(user: User) -> QuerySet[Presence]:
    """Who is there, as far as ``user`` may know; the same as the rooms say."""
    found = Presence.objects.filter(pages__gt=0, seen_at__gt=timezone.now() - SILENCE_MAX)
    if not user.works_here:
        found = found.filter(user__customer=None)
    return found.select_related("user__branch", "user__customer").order_by("user__first_name")


@receiver(user_online)
@transaction.atomic
def came(user: User, event: str, **_: Any) -> None:
    """A page connected, or pinged."""
    forget_silent()
    presence = presence_of(user)
    presence.seen_at = timezone.now()
    # A ping of somebody who was forgotten, or whose connect this site missed.
    if event == "connect" or presence.pages == 0:
        presence.pages += 1
        if presence.pages == 1:
            tell(presence)
    presence.save()


@receiver(user_offline)
@transaction.atomic
def went(user: User, **_: Any) -> None:
    """A page was closed, or its connection lost."""
    presence = presence_of(user)
    if presence.pages:
        presence.pages -= 1
        if presence.pages == 0:
            tell(presence)
        presence.save()


def forget_silent() -> None:
    """Whoever was not heard of for too long is gone."""
    silent = Presence.objects.select_for_update().filter(
        pages__gt=0, seen_at__lte=timezone.now() - SILENCE_MAX
    )
    for presence in silent:
        presence.pages = 0
        tell(presence)
        presence.save()


def presence_of(user: User) -> Presence:
    """The row of somebody, held until the transaction ends."""
    Presence.objects.get_or_create(user=user, defaults={"seen_at": timezone.now()})
    return Presence.objects.select_for_update().get(user=user)


def tell(presence: Presence) -> None:
    """Publishes that somebody came or went."""
    presence.version += 1
    user = presence.user
    publish(
        PresenceRoom(of="staff" if user.works_here else "customers"),
        {
            "id": user.pk,
            "version": presence.version,
            "isOnline": presence.pages > 0,
            "name": user.first_name,
            "title": user.title,
        },
    )
