"""Who is online, as the gateway's hooks tell.

Somebody is there while a page of one of his sign-ins is connected. Who signs out is gone at once:
the gateway may still tell that the page ended, but no longer of whom. A gateway that is killed
tells of no end: whoever was not heard of for a while is gone, the next time a hook comes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.contrib.auth import user_logged_out
from django.db import transaction
from django.db.models import QuerySet
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from high_templar.django import connection_alive
from high_templar.django import connection_closed
from high_templar.django import connection_opened
from high_templar.django import publish

from orders.models import Presence
from orders.models import User
from orders.rooms import PresenceRoom

SILENCE_MAX = timedelta(seconds=100)
"""Pages ping every 30 seconds, and the gateway passes that on."""


def online_for(user: User) -> QuerySet[User]:
    """Who is there, as far as ``user`` may know; the same as the rooms say."""
    heard = Presence.objects.filter(seen_at__gt=timezone.now() - SILENCE_MAX)
    found = User.objects.filter(pk__in=heard.values("user"))
    if not user.role:
        return found.none()
    if not user.works_here:
        found = found.filter(customer=None)
    return found.select_related("branch", "customer").order_by("first_name")


@receiver([connection_opened, connection_alive])
def came(user: User, request: HttpRequest, event: str, **_: Any) -> None:
    """A page connected, or pinged."""
    forget_silent()
    with watching(user):
        presence, _created = Presence.objects.get_or_create(
            user=user,
            session_key=request.session.session_key,
            defaults={"seen_at": timezone.now()},
        )
        # Pings are of pages that are counted, but for those whose connect this site missed.
        if event == "connect" or presence.pages == 0:
            presence.pages += 1
        presence.seen_at = timezone.now()
        presence.save()


@receiver(connection_closed)
def went(user: User, request: HttpRequest, **_: Any) -> None:
    """A page was closed, or its connection lost."""
    with watching(user):
        presence = Presence.objects.filter(
            user=user, session_key=request.session.session_key
        ).first()
        if presence is None:
            return
        presence.pages -= 1
        if presence.pages:
            presence.save()
        else:
            presence.delete()


@receiver(user_logged_out)
def signed_out(user: User | None, request: HttpRequest, **_: Any) -> None:
    """A sign-in is over, whatever pages of it are still open."""
    if user is not None:
        with watching(user):
            Presence.objects.filter(session_key=request.session.session_key).delete()


def forget_silent() -> None:
    """Whoever was not heard of for too long is gone."""
    limit = timezone.now() - SILENCE_MAX
    for user in User.objects.filter(presence__seen_at__lte=limit).distinct():
        with watching(user):
            Presence.objects.filter(user=user, seen_at__lte=limit).delete()


@contextmanager
def watching(user: User) -> Iterator[None]:
    """Publishes if somebody is there after this and was not before, or the other way round."""
    with transaction.atomic():
        # One at a time, so that nobody counts what another one is about to change.
        locked = User.objects.select_for_update().get(pk=user.pk)
        was_online = locked.presence_set.exists()
        yield
        is_online = locked.presence_set.exists()
        if is_online != was_online:
            locked.presence_version += 1
            locked.save(update_fields=["presence_version"])
            tell(locked, is_online)


def tell(user: User, is_online: bool) -> None:
    """Publishes that somebody came or went."""
    publish(
        PresenceRoom(of="staff" if user.works_here else "customers"),
        {
            "id": user.pk,
            "version": user.presence_version,
            "isOnline": is_online,
            "name": user.first_name,
            "title": user.title,
        },
    )
