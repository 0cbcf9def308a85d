"""Takes what is published aside, for tests: `high_templar.testing` shows it."""

from __future__ import annotations

from collections.abc import Iterable

from high_templar.trigger import Trigger

_open: list[list[Trigger]] = []


def take(triggers: Iterable[Trigger]) -> bool:
    """Takes them while a test captures; then they are not sent."""
    if not _open:
        return False
    _open[-1].extend(triggers)
    return True


def is_capturing() -> bool:
    """Whether a test captures."""
    return bool(_open)


def begin() -> list[Trigger]:
    """From now on triggers come into this list, whichever publisher they are given to."""
    captured: list[Trigger] = []
    _open.append(captured)
    return captured


def end(captured: list[Trigger]) -> None:
    """Ends what `begin` began."""
    _open[:] = [each for each in _open if each is not captured]
