"""high-templar for Django: publish at commit, answer the gateway, test all of it.

::

    from high_templar.django import grants_for_user, publish
"""

from __future__ import annotations

from high_templar import UncommittedDataWarning
from high_templar.django.changes import PublishChangesMixin
from high_templar.django.changes import publish_on_save
from high_templar.django.commands import adisconnect
from high_templar.django.commands import ainvalidate
from high_templar.django.commands import apermit
from high_templar.django.commands import aunsubscribe
from high_templar.django.commands import disconnect
from high_templar.django.commands import invalidate
from high_templar.django.commands import now
from high_templar.django.commands import permit
from high_templar.django.commands import unsubscribe
from high_templar.django.publishing import apublish
from high_templar.django.publishing import apublish_now
from high_templar.django.publishing import publish
from high_templar.django.publishing import publish_now
from high_templar.django.rooms import SubclassRooms
from high_templar.django.rooms import grants_for_user
from high_templar.django.rooms import rooms_for_user
from high_templar.django.rooms import rooms_of
from high_templar.django.sessions import session_name
from high_templar.django.signals import connection_alive
from high_templar.django.signals import connection_closed
from high_templar.django.signals import connection_opened
from high_templar.django.signals import user_offline
from high_templar.django.signals import user_online
from high_templar.room import ANY
from high_templar.room import Room

__all__ = [
    "ANY",
    "PublishChangesMixin",
    "Room",
    "SubclassRooms",
    "UncommittedDataWarning",
    "adisconnect",
    "ainvalidate",
    "apermit",
    "apublish",
    "apublish_now",
    "aunsubscribe",
    "connection_alive",
    "connection_closed",
    "connection_opened",
    "disconnect",
    "grants_for_user",
    "invalidate",
    "now",
    "permit",
    "publish",
    "publish_now",
    "publish_on_save",
    "rooms_for_user",
    "rooms_of",
    "session_name",
    "unsubscribe",
    "user_offline",
    "user_online",
]
