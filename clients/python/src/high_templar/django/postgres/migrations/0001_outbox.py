"""Makes the log and the outbox, in the database that has them."""

from __future__ import annotations

from django.db import migrations

from high_templar.django.postgres.schema import MakeSchema


class Migration(migrations.Migration):
    """Nothing happens in other databases, nor where that one is no PostgreSQL."""

    dependencies = []  # noqa: RUF012 # Django's own form
    operations = [MakeSchema()]  # noqa: RUF012
