"""Rooms: plain JSON objects, or classes that know their keys."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import Union
from typing import get_args
from typing import get_origin
from typing import get_type_hints

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        """Stands in for the typing module's, which only type checkers need."""
        return lambda decorated: decorated


ANY: Any = "*"
"""Every value. Fits a field of any type: ``OrderRoom(customer=ANY)``."""

_UNIONS = (Union, getattr(types, "UnionType", Union))


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Room(dict[str, Any]):
    """A room whose keys are declared once, so that a typo fails where it is made.

    ::

        class OrderRoom(Room):
            customer: int

        publish(OrderRoom(customer=7), {"id": 1})   # {"target": "order", "customer": 7}
        OrderRoom(customer=ANY)                     # every customer
        OrderRoom(custmer=7)                        # TypeError
        OrderRoom(customer="7")                     # TypeError: rooms compare by type

    The member ``target`` is the class's name without ``Room``, in snake case; say
    ``class OrderRoom(Room, target="orders")`` for another one, or ``target=None`` for none. Name it
    explicitly where pages rely on it, so that renaming the class changes nothing. A field with a
    default may be left out; a ``ClassVar`` is not a field.

    A room is a dict that does not change, so `json.dumps`, ``JsonResponse`` and ``json_script``
    take it. It is equal to every mapping that is the same JSON: ``1``, ``1.0`` and ``True`` are
    three values.
    """

    _fields: ClassVar[dict[str, Any]] = {}
    _defaults: ClassVar[dict[str, Any]] = {}
    _target: ClassVar[str | None] = None
    _is_derived: ClassVar[bool] = False
    """The target follows from the class's name."""

    def __init_subclass__(cls, *, target: str | None = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._is_derived = target == ""
        cls._target = _snake(cls.__name__) if cls._is_derived else target
        names = [
            name
            for base in reversed(cls.__mro__)
            for name in _annotations(base)
            if not name.startswith("_")
        ]
        if "target" in names and cls._target is not None:
            if target:
                raise TypeError(f"{cls.__name__} says target twice: as a field and as an argument")
            cls._target, cls._is_derived = None, False
        hints = _hints(cls)
        names = [name for name in names if not _is_class_variable(hints.get(name))]
        taken = [name for name in names if hasattr(Room, name)]
        if taken:
            raise TypeError(f"{cls.__name__}: a room cannot have the key {taken[0]}, use a dict")
        cls._fields = {name: hints.get(name, Any) for name in names}
        cls._defaults = {name: getattr(cls, name) for name in names if hasattr(cls, name)}

    def __init__(self, **members: Any) -> None:
        unknown = [name for name in members if name not in self._fields]
        missing = [n for n in self._fields if n not in members and n not in self._defaults]
        if unknown or missing:
            raise TypeError(self._complaint(unknown, missing))
        whole: dict[str, Any] = {} if self._target is None else {"target": self._target}
        for name, hint in self._fields.items():
            value = members.get(name, self._defaults.get(name))
            if not (value == ANY and isinstance(value, str)) and not _fits(value, hint):
                raise TypeError(
                    f"{type(self).__name__}.{name} is to be {_spoken(hint)}, not {value!r}"
                )
            whole[name] = value
        super().__init__(whole)

    @classmethod
    def admits(cls, room: Mapping[str, Any]) -> bool:
        """Whether a plain room is one of this class."""
        members = dict(room)
        if cls._target is not None and members.pop("target", None) != cls._target:
            return False
        try:
            # A default is a member like any other once it is sent.
            return dict(cls(**members)) == dict(room)
        except TypeError:
            return False

    def _complaint(self, unknown: list[str], missing: list[str]) -> str:
        parts = []
        if unknown:
            parts.append("has no " + ", ".join(unknown))
        if missing:
            parts.append("needs " + ", ".join(missing))
        known = ", ".join(self._fields) or "none"
        return f"{type(self).__name__} {' and '.join(parts)} (its keys: {known})"

    # Not for type checkers, to whom it would mean that every attribute is there.
    if not TYPE_CHECKING:

        def __getattribute__(self, name: str) -> Any:
            if not name.startswith("_") and name in type(self)._fields:
                return self[name]
            return super().__getattribute__(name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(_FROZEN)

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError(_FROZEN)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mapping):
            return bool(_canonical(self) == _canonical(other))
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:  # type: ignore[override] # it does not change
        return hash(_canonical(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), {name: self[name] for name in self._fields})

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={self[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({inner})"


_FROZEN = "a room does not change"


def _made(kind: type[Room], members: dict[str, Any]) -> Room:
    """A room again, out of a copy or a pickle."""
    return kind(**members)


def _canonical(value: Any) -> Any:
    """Equal for what is the same JSON: the types of numbers count, the order of keys does not."""
    if isinstance(value, Mapping):
        return frozenset((key, _canonical(inner)) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return (list, *map(_canonical, value))
    # A text of a template or an enumeration is a text.
    kind = next((each for each in _PLAIN if isinstance(value, each)), type(value))
    return kind, value if value.__hash__ else repr(value)


_PLAIN = (bool, int, float, str)


def _is_class_variable(hint: object) -> bool:
    text = hint if isinstance(hint, str) else ""
    is_spelled = text.startswith(("ClassVar", "typing.ClassVar", "t.ClassVar"))
    return hint is ClassVar or get_origin(hint) is ClassVar or is_spelled


def _snake(name: str) -> str:
    """``OrderLineRoom`` is ``order_line``."""
    stem = name[: -len("Room")] if name.endswith("Room") and name != "Room" else name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem.strip("_")).lower()


def _annotations(cls: type) -> dict[str, Any]:
    """What the class itself declares, without its bases."""
    if sys.version_info >= (3, 10):
        return inspect.get_annotations(cls)
    return dict(vars(cls).get("__annotations__", {}))


def _hints(cls: type) -> dict[str, Any]:
    """The fields' types; what this Python cannot evaluate is not checked."""
    with suppress(Exception):
        return get_type_hints(cls)
    # `int | str` does not exist before 3.10: every field for itself, so that one costs the others
    # nothing.
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        space = vars(sys.modules.get(base.__module__, typing))
        for name, hint in _annotations(base).items():
            found[name] = _evaluated(hint, space)
    return found


def _evaluated(hint: object, space: dict[str, Any]) -> object:
    if not isinstance(hint, str):
        return hint
    try:
        parts = [eval(part, space) for part in hint.split("|")]  # noqa: S307 # the class's own text
        return Union[tuple(parts)]
    except Exception:
        return Any


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a field's type; unknown kinds of types fit everything."""
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    origin = get_origin(hint)
    if origin in _UNIONS:
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in get_args(hint))
    kind = origin or hint
    if not isinstance(kind, type):
        return True
    # JSON has booleans apart from numbers, and so have rooms.
    if isinstance(value, bool):
        return kind is bool or kind is object
    if kind is float:
        return isinstance(value, (int, float))
    try:
        return isinstance(value, kind)
    except TypeError:
        return True


def _spoken(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
