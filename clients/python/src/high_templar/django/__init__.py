"""high-templar for Django: publish at commit, answer the gateway, test all of it.

::

    from high_templar.django import publish, rooms_for_user
"""

from __future__ import annotations

from high_templar import UncommittedDataWarning
from high_templar.django.publishing import apublish
from high_templar.django.publishing import apublish_now
from high_templar.django.publishing import publish
from high_templar.django.publishing import publish_now
from high_templar.django.rooms import SubclassRooms
from high_templar.django.rooms import rooms_for_user
from high_templar.django.signals import user_offline
from high_templar.django.signals import user_online
from high_templar.room import ANY
from high_templar.room import Room

__all__ = [
    "ANY",
    "Room",
    "SubclassRooms",
    "UncommittedDataWarning",
    "apublish",
    "apublish_now",
    "publish",
    "publish_now",
    "rooms_for_user",
    "user_offline",
    "user_online",
]
