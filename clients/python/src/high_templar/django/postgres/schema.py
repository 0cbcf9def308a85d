"""The schema of log and outbox: the same SQL as ``high-templar postgres schema`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db.migrations.operations import RunSQL

from high_templar.django.conf import settings

SQL = Path(__file__).with_name("schema.sql")


def make() -> str:
    """Makes what is not there yet."""
    name = settings().outbox_schema
    text = SQL.read_text(encoding="utf-8")
    return text.replace("{schema}", f'"{name}"').replace("{channel}", name)


def drop() -> str:
    """Drops log and outbox, with what is in them."""
    return f'DROP SCHEMA IF EXISTS "{settings().outbox_schema}" CASCADE'


class MakeSchema(RunSQL):
    """Makes the schema in ``HIGH_TEMPLAR["OUTBOX_DATABASE"]``, if that is a PostgreSQL."""

    def __init__(self) -> None:
        # Read when it runs: the setting may have another name for the schema.
        super().__init__("", "")

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """How a squashed migration writes it."""
        return self.__class__.__qualname__, [], {}

    def describe(self) -> str:
        """What ``migrate --plan`` shows."""
        return "Make the log and the outbox of high-templar"

    def database_forwards(self, app_label: str, schema_editor: Any, *_: Any) -> None:
        """Applies the schema."""
        if _is_meant(schema_editor.connection):
            schema_editor.execute(make(), params=None)

    def database_backwards(self, app_label: str, schema_editor: Any, *_: Any) -> None:
        """Drops it."""
        if _is_meant(schema_editor.connection):
            schema_editor.execute(drop(), params=None)


def _is_meant(connection: Any) -> bool:
    is_postgres = connection.vendor == "postgresql"
    return bool(is_postgres and connection.alias == settings().outbox_database)
