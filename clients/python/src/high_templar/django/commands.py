"""Commands of the site: what is done to connections of users, when the transaction is committed."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import Model

from high_templar.command import ComeBack
from high_templar.command import Command
from high_templar.command import Selector
from high_templar.command import Span
from high_templar.commanding import Commanding
from high_templar.django.conf import settings
from high_templar.django.publishing import send_at_commit
from high_templar.django.publishing import send_now
from high_templar.django.rooms import check_typed
from high_templar.transport import Receipt
from high_templar.trigger import RoomLike
from high_templar.trigger import Rooms
from high_templar.trigger import each_room

if TYPE_CHECKING:
    from typing_extensions import Unpack


def disconnect(
    *,
    using: str | Model | None = None,
    come_back: ComeBack = "sign-in",
    reason: str | None = None,
    id: str | None = None,  # noqa: A002 # the member's name
    **selector: Unpack[Selector],
) -> None:
    """Closes connections after the commit, in order with what is published.

    ``selector`` and the rest are those of `high_templar.Publisher.disconnect`; ``user`` may be a
    user of this site. Transactions and failures are as for `publish`. To know how many connections
    were meant, use `now`.
    """
    made = Command.disconnect(
        come_back=come_back, reason=reason, id=id, encoder=_encoder(), **_plain(selector)
    )
    send_at_commit(made, using, "disconnect")


def invalidate(
    *,
    using: str | Model | None = None,
    within: Span | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> None:
    """Has the gateway ask again what users may do, after the commit.

    See `disconnect`, and `high_templar.Publisher.invalidate`.

    ::

        with transaction.atomic():
            board.members.remove(anna)
            invalidate(user=anna)
    """
    made = Command.invalidate(within=within, id=id, encoder=_encoder(), **_plain(selector))
    send_at_commit(made, using, "invalidate")


def unsubscribe(
    from_: Rooms,
    *,
    using: str | Model | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> None:
    """Ends subscriptions after the commit; see `disconnect`, and `Publisher.unsubscribe`."""
    rooms = each_room(from_)
    made = Command.unsubscribe(rooms, id=id, encoder=_encoder(), **_plain(selector))
    check_typed(rooms)
    send_at_commit(made, using, "unsubscribe")


def permit(
    allowed_rooms: Iterable[RoomLike],
    *,
    using: str | Model | None = None,
    labels: Sequence[str] = (),
    expires_in: Span | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> None:
    """Replaces what a connected user may do, after the commit; see `disconnect`.

    ::

        with transaction.atomic():
            board.members.remove(anna)
            permit(rooms_of(anna), user=anna)

    The rooms are those of this moment: call it after what changes them.
    """
    rooms = each_room(allowed_rooms)
    made = Command.permit(
        rooms,
        labels=labels,
        expires_in=expires_in,
        id=id,
        encoder=_encoder(),
        **_plain(selector),
    )
    check_typed(rooms)
    send_at_commit(made, using, "permit")


async def adisconnect(
    *,
    using: str | Model | None = None,
    come_back: ComeBack = "sign-in",
    reason: str | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> None:
    """Like `disconnect`, from a coroutine."""
    await sync_to_async(disconnect)(
        using=using, come_back=come_back, reason=reason, id=id, **selector
    )


async def ainvalidate(
    *,
    using: str | Model | None = None,
    within: Span | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> None:
    """Like `invalidate`, from a coroutine."""
    await sync_to_async(invalidate)(using=using, within=within, id=id, **selector)


async def aunsubscribe(
    from_: Rooms,
    *,
    using: str | Model | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> None:
    """Like `unsubscribe`, from a coroutine."""
    await sync_to_async(unsubscribe)(from_, using=using, id=id, **selector)


async def apermit(
    allowed_rooms: Iterable[RoomLike],
    *,
    using: str | Model | None = None,
    labels: Sequence[str] = (),
    expires_in: Span | None = None,
    id: str | None = None,  # noqa: A002
    **selector: Unpack[Selector],
) -> None:
    """Like `permit`, from a coroutine."""
    await sync_to_async(permit)(
        allowed_rooms,
        using=using,
        labels=labels,
        expires_in=expires_in,
        id=id,
        **selector,
    )


class Now(Commanding[Receipt]):
    """The commands at once, whatever transaction is open, as `publish_now` publishes.

    ::

        from high_templar.django import now

        print(now.disconnect(user=anna, dry_run=True).matched)

    They are also what can wait for every node: ``now.invalidate(user=anna, confirm="everywhere")``,
    after the commit.
    """

    @property
    def encoder(self) -> Any:  # type: ignore[override]
        """That of the setting ``HIGH_TEMPLAR``."""
        return _encoder()

    def _command(self, command: Command) -> Receipt:
        return send_now(command, "at once", "a command")

    def _meant(self, selector: Selector) -> Selector:
        return _plain(selector)


now = Now()
"""Sends commands at once."""


def _encoder() -> Any:
    return settings().encoder_class


def _plain(selector: Selector) -> Selector:
    """With the id of a user in place of the user; of nobody it is ``None``, which is refused."""
    user: Any = selector.get("user")
    if hasattr(user, "is_authenticated"):
        selector["user"] = user.pk
    return selector
