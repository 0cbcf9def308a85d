"""Publishes what is saved and deleted, to the rooms of before and after.

An object that moves from one room to another is news in both: those who listen to the old one only
are told that it is gone, without what they may no longer see.
"""

from __future__ import annotations

from collections.abc import Iterable
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

    Django sends no signals for ``bulk_create``, ``QuerySet.update`` and many-to-many relations:
    call the ``publish`` of what this returns beside them. Fixtures publish nothing, and subclasses
    of the model need a call of their own.
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

    List it before the viewset's class. Changes that are made elsewhere, such as in the admin, are
    not published: use `publish_on_save` for them.
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

    def perform_create(self, serializer: Any) -> None:  # noqa: D102
        super().perform_create(serializer)  # type: ignore[misc]
        self._changes.publish(serializer.instance)

    def perform_update(self, serializer: Any) -> None:  # noqa: D102
        before = self._changes.rooms_of(serializer.instance)
        super().perform_update(serializer)  # type: ignore[misc]
        self._changes.publish(serializer.instance, before=before)

    def perform_destroy(self, instance: Any) -> None:  # noqa: D102
        rooms, data = self._changes.rooms_of(instance), self.get_publish_gone(instance)
        super().perform_destroy(instance)  # type: ignore[misc]
        if rooms:
            publish(rooms, data, using=instance)

    @property
    def _changes(self) -> Changes[Any]:
        return Changes(self.get_publish_rooms, self.get_publish_data, self.get_publish_gone)


def _gone(instance: Model) -> dict[str, Any]:
    return {"id": instance.pk, "deleted": True}


def _text(room: RoomLike) -> str:
    return Trigger(room, None, encoder=settings().encoder_class).text_of_rooms
