"""Captures publications for tests; `high_templar.testing` provides them."""

from __future__ import annotations

from collections.abc import Iterable

from high_templar.trigger import Trigger

_open: list[list[Trigger]] = []


def take(triggers: Iterable[Trigger]) -> bool:
    """Receives triggers while a test captures; they are not sent then."""
    if not _open:
        return False
    _open[-1].extend(triggers)
    return True


def is_capturing() -> bool:
    """Whether a test captures publications."""
    return bool(_open)


def begin() -> list[Trigger]:
    """Captures triggers of all publishers in this list."""
    captured: list[Trigger] = []
    _open.append(captured)
    return captured


def end(captured: list[Trigger]) -> None:
    """Ends the capture that `begin` started."""
    _open[:] = [each for each in _open if each is not captured]
