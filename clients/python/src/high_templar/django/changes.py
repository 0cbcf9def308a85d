"""Publishes what is saved and deleted, to the rooms of before and after.

An object that moves from one room to another is news in both: those who listen to the old one only
are told that it is gone, without what they may no longer see.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from functools import wraps
from typing import Any
from typing import Callable
from typing import Generic
from typing import Optional
from typing import TypeVar

from django.db.models import Model
from django.db.models.signals import post_save
from django.db.models.signals import pre_delete
from django.db.models.signals import pre_save

from high_templar.django.conf import settings
from high_templar.django.publishing import publish
from high_templar.trigger import RoomLike
from high_templar.trigger import Rooms
from high_templar.trigger import Trigger
from high_templar.trigger import each_room

M = TypeVar("M", bound=Model)

_BEFORE = "_high_templar_before"


def publish_on_save(
    model: type[M],
    *,
    rooms: Callable[[M], Optional[Rooms]],  # noqa: UP045 # evaluated by Python 3.9
    data: Callable[[M], Any],
    gone: Callable[[M], Any] | None = None,
    moves: bool = True,
) -> Changes[M]:
    """Publishes every saved and deleted instance of a model, when it is committed.

    ::

        # orders/rooms.py, loaded automatically
        publish_on_save(
            Order,
            rooms=lambda order: OrderRoom(customer=order.customer_id),
            data=Order.as_json,
        )

    ``rooms`` and ``data`` are called with the instance as it was saved. Where it is deleted, or no
    longer belongs to a room, that room gets what ``gone`` returns: ``{"id": …, "deleted": true}``
    if it is left out. To find out where an object was before, each update costs a query by primary
    key; ``moves=False`` does without, for models whose objects never change their rooms.

    Django sends no signals for ``bulk_create``, ``bulk_update``, ``QuerySet.update`` and
    many-to-many relations: call the ``publish`` of what this returns beside them, with
    ``before=changes.rooms_of(order)`` from before the change if the rooms can change. Fixtures
    publish nothing, and subclasses of the model need a call of their own.
    """
    changes = Changes(rooms, data, gone or _gone)

    def before_save(instance: M, using: str, raw: bool, **_: Any) -> None:
        if moves and not raw and not instance._state.adding:
            found = model._base_manager.using(using).filter(pk=instance.pk).first()
            if found is not None:
                setattr(instance, _BEFORE, changes.rooms_of(found))

    def after_save(instance: M, using: str, raw: bool, **_: Any) -> None:
        before = instance.__dict__.pop(_BEFORE, ())
        if not raw:
            changes.publish(instance, before=before, using=using)

    def before_delete(instance: M, using: str, **_: Any) -> None:
        # Before: afterwards what the rooms depend on may be deleted as well, and the key is gone.
        changes.publish_gone(instance, using=using)

    pre_save.connect(before_save, sender=model, weak=False)
    post_save.connect(after_save, sender=model, weak=False)
    pre_delete.connect(before_delete, sender=model, weak=False)
    return changes


class Changes(Generic[M]):
    """How instances of a model are published."""

    def __init__(
        self,
        rooms: Callable[[M], Optional[Rooms]],  # noqa: UP045
        data: Callable[[M], Any],
        gone: Callable[[M], Any],
    ) -> None:
        self._rooms, self._data, self._gone = rooms, data, gone

    def rooms_of(self, instance: M) -> tuple[RoomLike, ...]:
        """The rooms of an instance as it is now."""
        rooms = self._rooms(instance)
        return () if rooms is None else each_room(rooms)

    def gone_of(self, instance: M) -> Any:
        """What rooms get to which an instance no longer belongs."""
        return self._gone(instance)

    def publish(
        self, instance: M, *, before: Iterable[RoomLike] = (), using: str | Model | None = None
    ) -> None:
        """Publishes an instance to its rooms, and that it is gone to those of ``before``."""
        rooms = self.rooms_of(instance)
        kept = {_text(room) for room in rooms}
        left = [room for room in before if _text(room) not in kept]
        alias = instance if using is None else using
        # First: who listens to all of them keeps the object.
        if left:
            publish(left, self._gone(instance), using=alias)
        if rooms:
            publish(rooms, self._data(instance), using=alias)

    def publish_gone(self, instance: M, *, using: str | Model | None = None) -> None:
        """Publishes to an instance's rooms that it is gone."""
        rooms = self.rooms_of(instance)
        if rooms:
            publish(rooms, self._gone(instance), using=instance if using is None else using)


class PublishChangesMixin:
    """For a ``ModelViewSet`` of REST framework: publishes what its requests change.

    ::

        class OrderViewSet(PublishChangesMixin, ModelViewSet):
            def get_publish_rooms(self, order):
                return OrderRoom(customer=order.customer_id)

    List it before the viewset's class. Your own ``perform_create``, ``perform_update`` and
    ``perform_destroy`` are published too. Changes that are made elsewhere, such as in the admin or
    by other actions of the viewset, are not: use `publish_on_save` for them.
    """

    def get_publish_rooms(self, instance: Any) -> Rooms | None:
        """The rooms of an instance."""
        raise NotImplementedError(f"{type(self).__name__} needs a get_publish_rooms(instance)")

    def get_publish_data(self, instance: Any) -> Any:
        """What its rooms get: the viewset's serialized data.

        Override it where the serializer shows more to the one who asks than to others.
        """
        return self.get_serializer(instance).data  # type: ignore[attr-defined]

    def get_publish_gone(self, instance: Any) -> Any:
        """What rooms get to which it no longer belongs."""
        return _gone(instance)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Around the methods that the class ends up with: one that calls `serializer.save(owner=…)`
        # itself, and not its parent's, is published as well.
        for name, publishing in _PUBLISHING.items():
            perform = getattr(cls, name, None)
            if perform is not None and not hasattr(perform, _MARK):
                setattr(cls, name, _once(publishing, perform))

    @property
    def _changes(self) -> Changes[Any]:
        return Changes(self.get_publish_rooms, self.get_publish_data, self.get_publish_gone)


Perform = Callable[[Any], None]


def _create(changes: Changes[Any], perform: Perform, serializer: Any) -> None:
    perform(serializer)
    # Without an instance nothing was saved.
    if serializer.instance is not None:
        changes.publish(serializer.instance)


def _update(changes: Changes[Any], perform: Perform, serializer: Any) -> None:
    before = changes.rooms_of(serializer.instance)
    perform(serializer)
    changes.publish(serializer.instance, before=before)


def _destroy(changes: Changes[Any], perform: Perform, instance: Any) -> None:
    rooms, data = changes.rooms_of(instance), changes.gone_of(instance)
    perform(instance)
    if rooms:
        publish(rooms, data, using=instance)


_PUBLISHING = {
    "perform_create": _create,
    "perform_update": _update,
    "perform_destroy": _destroy,
}
_MARK = "_high_templar_publishes"


def _once(publishing: Callable[..., None], perform: Callable[..., None]) -> Callable[..., None]:
    """``perform`` with its publication; within another such method, without."""

    @wraps(perform)
    def published(self: Any, subject: Any) -> None:
        if getattr(self, _MARK, False):
            perform(self, subject)
            return
        setattr(self, _MARK, True)
        try:
            publishing(self._changes, partial(perform, self), subject)
        finally:
            setattr(self, _MARK, False)

    setattr(published, _MARK, True)
    return published


def _gone(instance: Model) -> dict[str, Any]:
    return {"id": instance.pk, "deleted": True}


def _text(room: RoomLike) -> str:
    return Trigger(room, None, encoder=settings().encoder_class).text_of_rooms
