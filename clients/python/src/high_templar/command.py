"""Commands: what is done to connections of users, in one order with what is published."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal
from typing import TypedDict
from typing import Union
from uuid import UUID

from high_templar.errors import InvalidTriggerError
from high_templar.trigger import REPR_CHARS_MAX
from high_templar.trigger import RoomLike
from high_templar.trigger import Rooms
from high_templar.trigger import Trigger
from high_templar.trigger import each_room
from high_templar.trigger import json_text
from high_templar.trigger import room_text

if TYPE_CHECKING:
    from typing_extensions import Unpack

ComeBack = Literal["soon", "later", "sign-in", "never"]
"""What a client does after it was disconnected: reconnect, or not before the user signed in."""

Confirm = Literal["everywhere"]
"""Which nodes have carried a command out when the call returns: all of them."""

Span = Union[float, timedelta]
"""A span of time: seconds, or a `datetime.timedelta`."""

_COME_BACK = ("soon", "later", "sign-in", "never")
_REASON = re.compile("[a-z-]{1,32}")
_FOR_ONE = ("user", "session", "connection")
_FOR_NOBODY = '"rooms":[],"data":null'
_VALUES_MAX = 1_000
_WITHIN_SECONDS_MAX = 3_600


class Selector(TypedDict, total=False):
    """The connections that a command is for: those for which every member holds.

    At least one member is required, and ``None`` is no value: a command must never be for more
    connections than was meant.
    """

    user: str | int | UUID
    """The id of a user, as ``user.id`` of the bootstrap response; 7 and ``"7"`` are one user."""

    session: str
    """The name of a sign-in, as ``session`` of the bootstrap response."""

    connection: str | UUID
    """The id of a connection."""

    label: str | Sequence[str]
    """One of ``labels`` of the bootstrap response, or several of which any is meant."""

    room: RoomLike
    """A room that the grants of a client permit; ``"*"`` is any value."""

    everyone: bool
    """``True`` for all connections, in place of the other members."""


class Command(Trigger):
    """A command that is ready to be sent, alone or among triggers: `Publisher.publish_all`.

    Made by `disconnect`, `invalidate`, `unsubscribe` and `permit`. Raises `InvalidTriggerError` for
    what no gateway accepts, before anything is sent.
    """

    __slots__ = ("_members", "confirm", "dry_run")

    def __init__(
        self,
        name: str,
        selector: Mapping[str, Any],
        members: Mapping[str, str],
        *,
        dry_run: bool = False,
        confirm: Confirm | None = None,
        id: str | None = None,  # noqa: A002 # the member's name
        encoder: type[json.JSONEncoder] | None = None,
    ) -> None:
        super().__init__((), None, id=id)
        self.dry_run = dry_run
        """Whether it only counts the connections that are meant."""
        self._members = {"command": json.dumps(name), **_selected(selector, encoder), **members}
        self.confirm = confirm
        """Which nodes are to confirm it; ``None`` for the one that takes it."""
        if dry_run:
            self._members["dry_run"] = "true"
        if confirm is not None:
            if confirm != "everywhere":
                raise InvalidTriggerError(f'confirm is "everywhere", not {confirm!r}')
            if dry_run:
                raise InvalidTriggerError("dry_run counts at one node: leave confirm out")
            self._members["confirm"] = json.dumps(confirm)

    @classmethod
    def disconnect(
        cls,
        *,
        come_back: ComeBack = "sign-in",
        reason: str | None = None,
        dry_run: bool = False,
        confirm: Confirm | None = None,
        id: str | None = None,  # noqa: A002
        encoder: type[json.JSONEncoder] | None = None,
        **selector: Unpack[Selector],
    ) -> Command:
        """Closes connections; see `Publisher.disconnect`."""
        if come_back not in _COME_BACK:
            words = ", ".join(map(repr, _COME_BACK))
            raise InvalidTriggerError(f"come_back is one of {words}, not {come_back!r}")
        members = {"come_back": json.dumps(come_back)}
        if reason is not None:
            if not isinstance(reason, str) or not _REASON.fullmatch(reason):
                sentence = "reason is a word of 1 to 32 letters, a to z, and hyphens"
                raise InvalidTriggerError(f"{sentence}, not {reason!r}")
            members["reason"] = json.dumps(reason)
        return cls(
            "disconnect",
            selector,
            members,
            dry_run=dry_run,
            confirm=confirm,
            id=id,
            encoder=encoder,
        )

    @classmethod
    def invalidate(
        cls,
        *,
        within: Span | None = None,
        dry_run: bool = False,
        confirm: Confirm | None = None,
        id: str | None = None,  # noqa: A002
        encoder: type[json.JSONEncoder] | None = None,
        **selector: Unpack[Selector],
    ) -> Command:
        """Has the API asked again what users may do; see `Publisher.invalidate`."""
        members = {}
        if within is not None:
            seconds = _seconds("within", within)
            if seconds > _WITHIN_SECONDS_MAX:
                raise InvalidTriggerError(f"within is at most an hour, not {within!r}")
            members["within"] = json.dumps(math.ceil(seconds * 1000))
        return cls(
            "invalidate",
            selector,
            members,
            dry_run=dry_run,
            confirm=confirm,
            id=id,
            encoder=encoder,
        )

    @classmethod
    def unsubscribe(
        cls,
        from_: Rooms,
        *,
        dry_run: bool = False,
        confirm: Confirm | None = None,
        id: str | None = None,  # noqa: A002
        encoder: type[json.JSONEncoder] | None = None,
        **selector: Unpack[Selector],
    ) -> Command:
        """Ends subscriptions; see `Publisher.unsubscribe`."""
        rooms = _rooms_text(from_, encoder)
        if rooms == "[]":
            raise InvalidTriggerError("from_ is a room, or several, not none")
        members = {"from": rooms}
        return cls(
            "unsubscribe",
            selector,
            members,
            dry_run=dry_run,
            confirm=confirm,
            id=id,
            encoder=encoder,
        )

    @classmethod
    def permit(
        cls,
        allowed_rooms: Iterable[RoomLike],
        *,
        labels: Sequence[str] = (),
        expires_in: Span | None = None,
        dry_run: bool = False,
        confirm: Confirm | None = None,
        id: str | None = None,  # noqa: A002
        encoder: type[json.JSONEncoder] | None = None,
        **selector: Unpack[Selector],
    ) -> Command:
        """Replaces what users may do; see `Publisher.permit`."""
        for name in selector:
            if name not in _FOR_ONE:
                raise InvalidTriggerError(
                    f"permit is for one user, session or connection, not for a {name}: "
                    "send one for each user"
                )
        members = {"allowed_rooms": _rooms_text(allowed_rooms, encoder)}
        if labels:
            members["labels"] = json_text(_texts("labels", labels), encoder, what="labels")
        if expires_in is not None:
            seconds = _seconds("expires_in", expires_in)
            if not seconds:
                raise InvalidTriggerError("expires_in is longer than nothing, or left out")
            members["expires_in"] = json.dumps(seconds)
        return cls(
            "permit", selector, members, dry_run=dry_run, confirm=confirm, id=id, encoder=encoder
        )

    @property
    def members(self) -> dict[str, Any]:
        """Its members, as they arrive; without the id."""
        return {name: json.loads(text) for name, text in self._members.items()}

    def text(self) -> str:
        """The command as the gateway wants it."""
        return f"{{{self._body()}}}"

    def message(self) -> str:
        """The command as a broker carries it: to a reader without commands a trigger to nobody."""
        return f"{{{self._body()},{_FOR_NOBODY}}}"

    def merged(self, later: Trigger) -> None:
        """Never: what comes before it and after it are different times."""

    def is_like(self, other: Trigger) -> bool:
        """Whether both are the same command."""
        return isinstance(other, Command) and self._members == other._members

    @property
    def likeness(self) -> tuple[frozenset[str], str]:
        """Equal for equal commands only."""
        return frozenset(), json.dumps(self._members, sort_keys=True)

    def _body(self) -> str:
        members = {**self._members, "id": json.dumps(self.id)}
        return ",".join(f'"{name}":{text}' for name, text in members.items())

    def __repr__(self) -> str:
        # In ASCII, so that a log has it in one line.
        said = ", ".join(f"{name}: {value!a}" for name, value in self.members.items())
        if len(said) > REPR_CHARS_MAX:
            said = said[:REPR_CHARS_MAX] + "..."
        return f"<Command {self.id!a}, {said}>"


def _selected(
    selector: Mapping[str, Any], encoder: type[json.JSONEncoder] | None
) -> dict[str, str]:
    """The members that select connections. Raises `InvalidTriggerError`, and `TypeError`."""
    known = Selector.__annotations__
    for name, value in selector.items():
        if name not in known:
            raise TypeError(f"unexpected keyword argument {name!r}: it knows {', '.join(known)}")
        if value is None:
            raise InvalidTriggerError(
                f"{name} is None, which is nobody: a command for nobody is not sent"
            )
    if not selector:
        raise InvalidTriggerError(
            "no connection is selected: give user, session, connection, label or room, "
            "or everyone=True"
        )
    if "everyone" in selector:
        if selector["everyone"] is not True:
            raise InvalidTriggerError("everyone is True, or is left out")
        if len(selector) > 1:
            raise InvalidTriggerError("everyone selects all connections: leave the others out")
    return {name: _value(name, value, encoder) for name, value in selector.items()}


def _value(name: str, value: Any, encoder: type[json.JSONEncoder] | None) -> str:
    if name == "everyone":
        return "true"
    if name == "room":
        return room_text(value, encoder)
    if name == "label":
        labels = [value] if isinstance(value, str) else value
        return json_text(_texts("label", labels), encoder, what="label")
    if isinstance(value, bool) or not isinstance(value, (str, int, UUID)):
        raise InvalidTriggerError(f"{name} is a text, not {value!r}")
    if name != "user" and isinstance(value, int):
        raise InvalidTriggerError(f"{name} is a text, not {value!r}")
    return json_text(_text(name, str(value)), encoder, what=name)


def _texts(name: str, values: Any) -> list[str]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidTriggerError(f"{name} are texts, not {values!r}")
    texts = [_text(name, value) for value in values]
    if not 0 < len(texts) <= _VALUES_MAX:
        raise InvalidTriggerError(f"{name}: 1 to {_VALUES_MAX} texts, not {len(texts)}")
    return texts


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidTriggerError(f"{name} is a text, not {value!r}")
    return value


def _seconds(name: str, span: Any) -> float:
    """A span in seconds. Raises `InvalidTriggerError`."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds < math.inf:
        raise InvalidTriggerError(f"{name} is a number of seconds or a timedelta, not {span!r}")
    return int(seconds) if seconds == int(seconds) else seconds


def _rooms_text(rooms: Rooms, encoder: type[json.JSONEncoder] | None) -> str:
    return f"[{','.join(room_text(room, encoder) for room in each_room(rooms))}]"
