"""A change of what users may do has the gateway ask again: new passwords, groups, permissions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models.signals import m2m_changed
from django.db.models.signals import post_delete
from django.db.models.signals import post_init
from django.db.models.signals import post_save
from django.db.models.signals import pre_delete

from high_templar.command import Command
from high_templar.django import durable
from high_templar.django.conf import settings
from high_templar.django.outbox import is_watched
from high_templar.django.outbox import outbox_of
from high_templar.django.views import serves_bootstrap

USERS_MAX = 1_000
"""Users of one change who are asked about one by one; beyond, everybody is."""

EVERYONE_WITHIN = 60
"""Seconds over which the gateway then spreads its calls."""

FIELDS = ("password", "is_active", "is_staff", "is_superuser")
"""What a user may do depends on these fields, as far as the site's model has them.

Sessions end with the password that they were made with."""

_LOADED = "_high_templar_loaded"


def connect() -> None:
    """From now on changes of users, groups and permissions invalidate."""
    user = get_user_model()
    for model in apps.get_models():
        if issubclass(model, user):
            name = model._meta.label
            post_init.connect(_loaded, model, dispatch_uid=f"high_templar.loaded.{name}")
            post_save.connect(_saved, model, dispatch_uid=f"high_templar.saved.{name}")
            post_delete.connect(_deleted, model, dispatch_uid=f"high_templar.deleted.{name}")
    for field in ("groups", "user_permissions"):
        through = _through(user, field)
        if through is not None:
            uid = f"high_templar.{field}"
            m2m_changed.connect(_user_relation_changed, through, dispatch_uid=uid)
    group = _group()
    if group is not None:
        pre_delete.connect(_group_deleted, group, dispatch_uid="high_templar.group")
        through = _through(group, "permissions")
        m2m_changed.connect(_group_permissions_changed, through, dispatch_uid="high_templar.group")


def _loaded(*, instance: Any, **_: object) -> None:
    """Keeps what a user may do by the database, to find what a save changes."""
    instance.__dict__[_LOADED] = _values(instance)


def _saved(
    *, instance: Any, created: bool, raw: bool, using: str, update_fields: Any, **_: object
) -> None:
    before, now = instance.__dict__.get(_LOADED, {}), _values(instance)
    if update_fields is not None:
        # The others are not in the database.
        now = {**before, **{name: now[name] for name in now if name in update_fields}}
    instance.__dict__[_LOADED] = now
    changed = {name for name in now if name not in before or now[name] != before[name]}
    if changed and not created and not raw and settings().invalidate_on_user_change:
        # A new password takes no right, but the sessions made with the old one. Whoever changes
        # the own password has a new session with the response, and no page is to be refused for
        # having the old one still.
        _invalidate([instance.pk], using, after_response=changed == {"password"})


def _deleted(*, instance: Any, using: str, **_: object) -> None:
    if settings().invalidate_on_user_change:
        _invalidate([instance.pk], using)


def _user_relation_changed(
    *, action: str, instance: Any, reverse: bool, pk_set: Any, using: str, **_: object
) -> None:
    """Groups or permissions of users."""
    if action not in _CHANGES or not settings().invalidate_on_permission_change:
        return
    if not reverse:
        _invalidate([instance.pk], using)
    elif action == "pre_clear":
        # Afterwards nobody knows who they were.
        _invalidate(_users_of(instance, using), using)
    elif pk_set:
        _invalidate(pk_set, using)


def _group_permissions_changed(
    *, action: str, instance: Any, reverse: bool, pk_set: Any, using: str, **_: object
) -> None:
    """Permissions of groups."""
    if action not in _CHANGES or not settings().invalidate_on_permission_change:
        return
    if not reverse:
        groups: Any = [instance.pk]
    elif action == "pre_clear":
        groups = list(instance.group_set.using(using).values_list("pk", flat=True))
    else:
        groups = pk_set
    if groups:
        users = get_user_model()._base_manager.using(using).filter(groups__in=groups)
        _invalidate(_some(users), using)


def _group_deleted(*, instance: Any, using: str, **_: object) -> None:
    if settings().invalidate_on_permission_change:
        _invalidate(_users_of(instance, using), using)


_CHANGES = ("post_add", "post_remove", "pre_clear")
"""Of the actions of ``m2m_changed``, those at which what changes is known."""


def _users_of(instance: Any, using: str) -> list[Any]:
    """The users who have this group or permission."""
    name = "user_permissions" if instance._meta.model_name == "permission" else "groups"
    users = get_user_model()._base_manager.using(using).filter(**{name: instance.pk})
    return _some(users)


def _some(users: Any) -> list[Any]:
    """Their ids, and no more than it takes to know that they are too many."""
    return list(users.order_by("pk").values_list("pk", flat=True).distinct()[: USERS_MAX + 1])


def _invalidate(users: Iterable[Any], using: str, *, after_response: bool = False) -> None:
    users = list(users)
    if not users or not serves_bootstrap():
        return
    if len(users) > USERS_MAX:
        commands = [Command.invalidate(everyone=True, within=EVERYONE_WITHIN)]
    else:
        commands = [Command.invalidate(user=str(user)) for user in users]
    connection = connections[using]
    # After the response nothing is committed with it any more.
    is_durable = durable.is_for(connection) and not is_watched() and not after_response
    for command in commands:
        if is_durable:
            durable.insert(connection, command)
        else:
            outbox_of(connection).add(command, mergeable=False, after_response=after_response)


def _values(instance: Any) -> dict[str, Any]:
    """Those of the fields that are loaded."""
    return {name: instance.__dict__[name] for name in FIELDS if name in instance.__dict__}


def _through(model: Any, field: str) -> Any:
    """The model of a many-to-many field; ``None`` if the site's model has no such field."""
    return getattr(getattr(model, field, None), "through", None)


def _group() -> Any:
    """The model of groups, if users have it."""
    from django.contrib.auth.models import Group  # noqa: PLC0415 # needs the app

    field = getattr(get_user_model(), "groups", None)
    return Group if field is not None and field.rel.model is Group else None
