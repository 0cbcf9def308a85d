"""Which rooms a user may enter: functions that say so, and the convention of models."""

from __future__ import annotations

import difflib
import inspect
import json
import warnings
from collections.abc import AsyncIterable
from collections.abc import Awaitable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Callable
from typing import Optional
from typing import TypeVar

from asgiref.sync import async_to_sync
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from high_templar.django.conf import settings
from high_templar.errors import InvalidTriggerError
from high_templar.room import Room
from high_templar.trigger import RoomLike
from high_templar.trigger import Rooms
from high_templar.trigger import Trigger
from high_templar.trigger import each_room

METHOD = "get_rooms_for_user"
"""The class method of models, and of django-binder's views, that says which rooms there are."""

Source = Callable[..., Optional[Rooms]]
F = TypeVar("F", bound=Source)
T = TypeVar("T")

_sources: list[Source] = []


def grants_for_user(source: F) -> F:
    """Decorates a function that returns the rooms which a user may subscribe to.

    ::

        @grants_for_user
        def orders(user):
            yield OrderRoom(customer=ANY if user.is_staff else user.customer_id)

    It is called when a page connects, with the user, and the request if it has a second parameter.
    It returns or yields rooms, and may be ``async``. The module ``rooms`` of an installed app is
    loaded automatically. Without ``HIGH_TEMPLAR["ANONYMOUS"]`` the functions are called for
    signed-in users only.
    """
    if source not in _sources:
        _sources.append(source)
    return source


def rooms_for_user(source: F) -> F:
    """The old name of `grants_for_user`, deprecated since 4.1; it works through 4.x."""
    warnings.warn(
        "rooms_for_user is deprecated: use grants_for_user.", DeprecationWarning, stacklevel=2
    )
    return grants_for_user(source)


def unregister(source: Source) -> None:
    """Takes back what `grants_for_user` did, for tests."""
    _sources.remove(source)


def sources() -> list[Source]:
    """Every function and class method that says which rooms there are."""
    methods = (getattr(model, METHOD, None) for model in apps.get_models())
    return [*_sources, *(method for method in methods if callable(method))]


def rooms_of(user: Any, request: HttpRequest | None = None) -> list[dict[str, Any]]:
    """The rooms that a user may enter, each once, as they go to the gateway.

    Raises `ImproperlyConfigured` where a function says something that is no room.
    """
    found: dict[str, dict[str, Any]] = {}
    for source in sources():
        for room in _plain(source, _ask(source, user, request)):
            found.setdefault(json.dumps(room, sort_keys=True), room)
    return list(found.values())


def _ask(source: Source, user: Any, request: HttpRequest | None) -> Rooms | None:
    said: Any = source(user, request) if _takes_request(source) else source(user)
    if inspect.isawaitable(said):
        said = async_to_sync(_awaited)(said)
    elif inspect.isasyncgen(said):
        said = async_to_sync(_listed)(said)
    rooms: Rooms | None = said
    return rooms


async def _awaited(said: Awaitable[T]) -> T:
    return await said


async def _listed(said: AsyncIterable[T]) -> list[T]:
    return [room async for room in said]


def _takes_request(source: Source) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [p for p in inspect.signature(source).parameters.values() if p.kind in kinds]
    # A parameter with a default is the function's own, but for the one that is named for it.
    return len(known) > 1 and (known[1].name == "request" or known[1].default is known[1].empty)


def _plain(source: Source, said: Rooms | None) -> list[dict[str, Any]]:
    try:
        rooms = each_room(() if said is None else said)
        found = plain(rooms)
    except InvalidTriggerError as error:
        name = f"{source.__module__}.{getattr(source, '__qualname__', source)}"
        raise ImproperlyConfigured(f"{name} says something that is no room: {error}") from error
    check_typed(rooms)
    return found


def plain(rooms: Rooms) -> list[dict[str, Any]]:
    """Rooms, each once, as they go to the gateway; ``ENCODER`` writes what JSON does not know.

    Raises `InvalidTriggerError`.
    """
    return Trigger(rooms, None, encoder=settings().encoder_class).rooms


def check_typed(rooms: Iterable[RoomLike]) -> None:
    """With ``HIGH_TEMPLAR["TYPED_ROOMS"]``: raises `TypeError` for rooms that fit no class.

    Takes rooms as they were said, before JSON makes texts of dates and the like.
    """
    if not settings().typed_rooms:
        return
    kinds = list(_classes(Room))
    for room in rooms:
        if not isinstance(room, Room) and not any(kind.admits(room) for kind in kinds):
            raise TypeError(f"{dict(room)} fits none of the declared rooms: {_reason(room, kinds)}")


def _reason(room: RoomLike, kinds: Sequence[type[Room]]) -> str:
    """What is wrong with a room that fits no class."""
    members = dict(room)
    target = members.pop("target", None)
    for kind in kinds:
        if kind._target is not None and kind._target == target:
            try:
                kind(**members)
            except TypeError as error:
                return str(error)
    targets = {kind._target: kind.__name__ for kind in kinds if kind._target is not None}
    near = difflib.get_close_matches(str(target), targets, 1)
    if near:
        return f"there is no target {target!r}, did you mean {near[0]!r} ({targets[near[0]]})?"
    return f"there are {', '.join(sorted(kind.__name__ for kind in kinds)) or 'none'}"


def declared() -> list[type[Room]]:
    """The `Room` classes of installed apps."""
    return [kind for kind in _classes(Room) if apps.get_containing_app_config(kind.__module__)]


def _classes(kind: type[Room]) -> Iterable[type[Room]]:
    for child in kind.__subclasses__():
        yield child
        yield from _classes(child)


class SubclassRooms:
    """The convention of django-binder: ``get_rooms_for_user`` of every subclass of a view.

    ::

        grants_for_user(SubclassRooms(ModelView))

    Subclasses that are not meant for a model (``register_for_model`` is false or ``model`` is
    ``None``) are left out, as there.
    """

    def __init__(self, parent: type) -> None:
        self.parent = parent
        self.__qualname__ = f"SubclassRooms({parent.__qualname__})"

    def __call__(self, user: Any) -> Iterable[RoomLike | Mapping[str, Any]]:
        """Every room that one of the subclasses says."""
        for view in self._children(self.parent):
            method = getattr(view, METHOD, None)
            is_meant = getattr(view, "register_for_model", True)
            if is_meant and getattr(view, "model", True) is not None and callable(method):
                yield from method(user)

    def _children(self, parent: type) -> Iterable[type]:
        children: list[type] = parent.__subclasses__()
        for child in children:
            yield child
            yield from self._children(child)
