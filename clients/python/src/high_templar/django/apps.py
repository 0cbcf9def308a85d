"""The Django app."""

from __future__ import annotations

import sys

from django.apps import AppConfig
from django.apps import apps
from django.utils.module_loading import autodiscover_modules


class HighTemplarConfig(AppConfig):
    """``"high_templar.django"`` in ``INSTALLED_APPS``."""

    name = "high_templar.django"
    label = "high_templar"
    verbose_name = "high-templar"

    def ready(self) -> None:
        """Finds the ``rooms`` modules of all apps, registers the checks, follows users' rights."""
        from high_templar.django import checks  # noqa: F401, PLC0415 # registers itself

        if apps.is_installed("django.contrib.auth"):
            from high_templar.django import logout  # noqa: PLC0415 # needs the app
            from high_templar.django import rights  # noqa: PLC0415

            logout.connect()
            rights.connect()

        autodiscover_modules("rooms")
        if sys.argv[1:2] == ["runserver"]:
            from high_templar.django.development import start_beside_runserver  # noqa: PLC0415

            start_beside_runserver(sys.argv)
