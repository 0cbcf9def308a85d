"""Fixtures for pytest, there as soon as the package is installed.

``published``: what the test publishes; nothing is sent. ``live_gateway``: a real gateway before
the live server of pytest-django, with which a page can be opened as any user.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any

import pytest

if TYPE_CHECKING:
    from high_templar.django.testing import LiveGateway
    from high_templar.testing import Published


@pytest.fixture
def published() -> Iterator[Published]:
    """What the test publishes, with or without Django; see `high_templar.testing.Published`."""
    # Imported late, as below: a project without Django has this plugin too.
    if _has_django():
        from high_templar.django.testing import capture_published  # noqa: PLC0415

        with capture_published() as captured:
            yield captured
    else:
        from high_templar.testing import capture  # noqa: PLC0415

        with capture() as captured:
            yield captured


@pytest.fixture
def live_gateway(live_server: Any) -> Iterator[LiveGateway]:
    """A gateway before the live server; see `high_templar.django.testing.LiveGateway`."""
    from high_templar.django.testing import LiveGateway  # noqa: PLC0415

    with LiveGateway(live_server.url) as gateway:
        yield gateway


def _has_django() -> bool:
    try:
        from django.apps import apps  # noqa: PLC0415
    except ImportError:
        return False
    return apps.ready
