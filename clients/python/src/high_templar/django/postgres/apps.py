"""The app that makes the outbox."""

from __future__ import annotations

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    """``"high_templar.django.postgres"`` in ``INSTALLED_APPS``: its migration makes the outbox."""

    name = "high_templar.django.postgres"
    label = "high_templar_postgres"
    verbose_name = "high-templar: outbox"
