"""The commands of every publisher."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Generic
from typing import TypeVar

from high_templar.command import ComeBack
from high_templar.command import Command
from high_templar.command import Confirm
from high_templar.command import Selector
from high_templar.command import Span
from high_templar.trigger import RoomLike
from high_templar.trigger import Rooms

if TYPE_CHECKING:
    from typing_extensions import Unpack

R = TypeVar("R")


class Commanding(Generic[R]):
    """What sends commands; ``R`` is what becomes of one."""

    encoder: type[json.JSONEncoder] | None

    def _command(self, command: Command) -> R:
        raise NotImplementedError

    def _meant(self, selector: Selector) -> Selector:
        """The selector as it is sent."""
        return selector

    def disconnect(
        self,
        *,
        come_back: ComeBack = "sign-in",
        reason: str | None = None,
        dry_run: bool = False,
        confirm: Confirm | None = None,
        id: str | None = None,  # noqa: A002
        **selector: Unpack[Selector],
    ) -> R:
        """Closes the connections that ``selector`` means, in order with what is published.

        ``selector`` is one or more of ``user``, ``session``, ``connection``, ``label`` and
        ``room``, or ``everyone=True``: see `high_templar.command.Selector`. ``come_back`` is what
        clients do then: reconnect ``"soon"`` or ``"later"``, not before the user signed in again
        (``"sign-in"``), or ``"never"``. ``reason`` is a word for the close frame.

        ``matched`` of the receipt is how many connections of the node were meant. With ``dry_run``
        that is all that happens. With ``confirm="everywhere"`` this waits until every node has
        carried it out; the receipt then has ``nodes``, and ``missing`` for those that have not
        within the gateway's ``permissions.confirm_timeout``: send it again with the same ``id`` to
        wait further. Over RabbitMQ there is no count, no ``dry_run`` and no ``confirm``.
        """
        command = Command.disconnect(
            come_back=come_back,
            reason=reason,
            dry_run=dry_run,
            confirm=confirm,
            id=id,
            encoder=self.encoder,
            **self._meant(selector),
        )
        return self._command(command)

    def invalidate(
        self,
        *,
        within: Span | None = None,
        dry_run: bool = False,
        confirm: Confirm | None = None,
        id: str | None = None,  # noqa: A002
        **selector: Unpack[Selector],
    ) -> R:
        """Has the API asked again what the connections that ``selector`` means may do.

        Commit the change first. The connections stay open: subscriptions to rooms that the new
        response lacks end, and nothing that is published after this reaches them, not even while
        the gateway asks; in the other rooms nothing is lost. ``within`` (seconds, at most an hour,
        or a `datetime.timedelta`) spreads the calls over that time, for changes that touch many and
        are not urgent: each connection keeps what it may do until its turn. See `disconnect` for
        the rest.
        """
        command = Command.invalidate(
            within=within,
            dry_run=dry_run,
            confirm=confirm,
            id=id,
            encoder=self.encoder,
            **self._meant(selector),
        )
        return self._command(command)

    def unsubscribe(
        self,
        from_: Rooms,
        *,
        dry_run: bool = False,
        confirm: Confirm | None = None,
        id: str | None = None,  # noqa: A002
        **selector: Unpack[Selector],
    ) -> R:
        """Ends subscriptions of the connections that ``selector`` means; see `disconnect`.

        Those to rooms that one in ``from_`` equals, or covers with ``"*"``. The clients keep the
        right to subscribe again: to take that away, use `invalidate` or `permit`.
        """
        encoder, meant = self.encoder, self._meant(selector)
        command = Command.unsubscribe(
            from_, dry_run=dry_run, confirm=confirm, id=id, encoder=encoder, **meant
        )
        return self._command(command)

    def permit(
        self,
        allowed_rooms: Iterable[RoomLike],
        *,
        labels: Sequence[str] = (),
        expires_in: Span | None = None,
        dry_run: bool = False,
        confirm: Confirm | None = None,
        id: str | None = None,  # noqa: A002
        **selector: Unpack[Selector],
    ) -> R:
        """Replaces what a connected user may do, as a new bootstrap response would.

        ``selector`` is one or more of ``user``, ``session`` and ``connection``. Subscriptions to
        rooms that are no longer allowed end, and nothing that is published after this reaches them.
        ``labels`` are replaced as well, by none if none are given. After ``expires_in`` (seconds or
        a `datetime.timedelta`) the gateway asks the API; left out, what is permitted does not
        expire. See `disconnect` for the rest.
        """
        command = Command.permit(
            allowed_rooms,
            labels=labels,
            expires_in=expires_in,
            dry_run=dry_run,
            confirm=confirm,
            id=id,
            encoder=self.encoder,
            **self._meant(selector),
        )
        return self._command(command)
