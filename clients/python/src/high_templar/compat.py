"""The helpers of django-binder, for sites that change one import.

::

    from high_templar.compat import RoomController, trigger
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from typing import Callable

import high_templar
from high_templar.trigger import Rooms

mock_trigger_listeners: list[Callable[[str], Any]] = []
"""While there are listeners, `trigger` gives them its JSON text and sends nothing."""


def trigger(data: Any, rooms: Rooms) -> None:
    """Sends ``data`` to ``rooms``: the arguments stand the other way round than in `publish`.

    In a Django site with ``"high_templar.django"`` installed this is
    `high_templar.django.publish`: it waits for the commit, and what fails is logged. The settings
    of django-binder (``HIGH_TEMPLAR_URL``, or ``HIGH_TEMPLAR = {"rabbitmq": {…}}``) still say
    where to. Elsewhere it is `high_templar.publish`.
    """
    if mock_trigger_listeners:
        made = high_templar.Trigger(rooms, data, encoder=_encoder())
        text = json.dumps({"data": made.data, "rooms": made.rooms})
        for listener in mock_trigger_listeners:
            listener(text)
    elif _has_app():
        from high_templar.django import publish  # noqa: PLC0415 # needs Django

        publish(rooms, data)
    else:
        high_templar.publish(rooms, data)


class RoomController:
    """Collects ``get_rooms_for_user`` of a view's subclasses, as django-binder's does.

    The ready bootstrap view asks what `high_templar.django.grants_for_user` knows instead; say
    ``grants_for_user(SubclassRooms(ModelView))`` there.
    """

    def __init__(self) -> None:
        self._parents: list[type] = []

    def register(self, superclass: type) -> RoomController:
        """Adds the subclasses of a view, also those that are made later."""
        self._parents.append(superclass)
        return self

    def list_rooms_for_user(self, user: Any) -> list[Any]:
        """Every room that one of the subclasses says."""
        return list(self._rooms(user))

    def _rooms(self, user: Any) -> Iterator[Any]:
        from high_templar.django.rooms import SubclassRooms  # noqa: PLC0415 # needs Django

        for parent in self._parents:
            yield from SubclassRooms(parent)(user)


def _has_app() -> bool:
    try:
        from django.apps import apps  # noqa: PLC0415
    except ImportError:
        return False
    return apps.ready and apps.is_installed("high_templar.django")


def _encoder() -> Any:
    if not _has_app():
        return None
    from high_templar.django.conf import settings  # noqa: PLC0415

    return settings().encoder_class
