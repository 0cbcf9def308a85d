"""What is sent: rooms and data, as JSON text with an id."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Union

from high_templar.errors import InvalidTriggerError

RoomLike = Mapping[str, Any]
"""A room: a JSON object, or a `high_templar.Room`."""

Rooms = Union[RoomLike, Iterable[RoomLike]]
"""One room, or several of them."""

ID_BYTES_MAX = 256
"""Longest id in UTF-8; the gateway's own bound."""

REPR_CHARS_MAX = 300
"""Most characters of rooms in a trigger's ``repr``."""


class Trigger:
    """Rooms and data that are ready to be sent.

    ``id`` names it, so that it is delivered once however often it is sent; without one it gets a
    random one; an id has at most 256 bytes. ``encoder`` is a `json.JSONEncoder` class for what JSON
    does not know. Raises `InvalidTriggerError` for what is not JSON, such as NaN and infinity.
    """

    __slots__ = ("_data", "_rooms", "id")

    def __init__(
        self,
        rooms: Rooms,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 # the member's name
        encoder: type[json.JSONEncoder] | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex if id is None else _checked(str(id))
        # Each room once, by its text: the same room may come under two orders of its keys.
        self._rooms = tuple(dict.fromkeys(room_text(room, encoder) for room in each_room(rooms)))
        self._data = json_text(data, encoder)

    @property
    def rooms(self) -> list[dict[str, Any]]:
        """The rooms, as they arrive."""
        return [json.loads(room) for room in self._rooms]

    @property
    def data(self) -> Any:
        """The data, as they arrive."""
        return json.loads(self._data)

    def merged(self, later: Trigger) -> Trigger | None:
        """Both as one, under the id of ``later``; ``None`` if their data differ."""
        if self._data != later._data:
            return None
        one = object.__new__(Trigger)
        one.id = later.id
        one._data = later._data
        one._rooms = tuple(dict.fromkeys((*self._rooms, *later._rooms)))
        return one

    def is_like(self, other: Trigger) -> bool:
        """Whether both say the same to the same rooms."""
        return self._data == other._data and set(self._rooms) == set(other._rooms)

    @property
    def likeness(self) -> tuple[frozenset[str], str]:
        """Equal for triggers that say the same to the same rooms."""
        return frozenset(self._rooms), self._data

    @property
    def text_of_rooms(self) -> str:
        """The rooms as JSON text; equal for equal rooms."""
        return f"[{','.join(self._rooms)}]"

    def text(self) -> str:
        """The trigger as the gateway wants it."""
        return f'{{"rooms":{self.text_of_rooms},"data":{self._data},"id":{json.dumps(self.id)}}}'

    def message(self) -> str:
        """The trigger as a broker carries it."""
        return self.text()

    def __repr__(self) -> str:
        # The data may be confidential and long. In ASCII, so that a log has it in one line.
        rooms = ", ".join(json.dumps(room) for room in self.rooms) or "no room"
        if len(rooms) > REPR_CHARS_MAX:
            rooms = rooms[:REPR_CHARS_MAX] + "..."
        return f"<Trigger {self.id!a} to {rooms}>"


def each_room(rooms: Rooms) -> tuple[RoomLike, ...]:
    """The rooms that are meant; each may still be none. Raises `InvalidTriggerError`."""
    if isinstance(rooms, Mapping):
        return (rooms,)
    if isinstance(rooms, (str, bytes)):
        raise InvalidTriggerError(f"a room is a JSON object, not {rooms!r}")
    try:
        return tuple(rooms)
    except TypeError:
        raise InvalidTriggerError(f"rooms are JSON objects, not {rooms!r}") from None


def _checked(id: str) -> str:  # noqa: A002 # the member's name
    """An id that the gateway accepts. Raises `InvalidTriggerError`."""
    try:
        length = len(id.encode())
    except UnicodeEncodeError as error:
        raise InvalidTriggerError("an id cannot be written as UTF-8") from error
    if not 0 < length <= ID_BYTES_MAX:
        raise InvalidTriggerError(f"an id has 1 to {ID_BYTES_MAX} bytes, not {length}")
    return id


def room_text(room: RoomLike, encoder: type[json.JSONEncoder] | None) -> str:
    """A room as JSON text, with sorted keys, so that equal rooms have equal texts.

    Raises `InvalidTriggerError`.
    """
    if not isinstance(room, Mapping):
        raise InvalidTriggerError(f"a room is a JSON object, not {room!r}")
    return json_text(dict(room), encoder, what="a room", sort_keys=True)


def json_text(
    value: Any,
    encoder: type[json.JSONEncoder] | None,
    *,
    what: str = "data",
    sort_keys: bool = False,
) -> str:
    """A value as JSON text. Raises `InvalidTriggerError`."""
    try:
        text = json.dumps(
            value,
            cls=_plain(encoder),
            allow_nan=False,
            ensure_ascii=False,
            separators=(",", ":"),
            sort_keys=sort_keys,
        )
        # Half of a surrogate pair has no UTF-8.
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTriggerError(f"{what} cannot be written as JSON: {error}") from error
    return text


_KINDS: dict[type[json.JSONEncoder], type[json.JSONEncoder]] = {}


def _plain(encoder: type[json.JSONEncoder] | None) -> type[json.JSONEncoder]:
    """An encoder that knows rooms and other mappings, and else what ``encoder`` knows."""
    base = encoder or json.JSONEncoder
    kind = _KINDS.get(base)
    if kind is None:

        class Encoder(base):  # type: ignore[misc, valid-type]
            def default(self, o: Any) -> Any:
                return dict(o) if isinstance(o, Mapping) else super().default(o)

        kind = _KINDS[base] = Encoder
    return kind
