"""The outbox in the site's own PostgreSQL: what is published is committed with the data."""

from __future__ import annotations

from urllib.parse import quote
from urllib.parse import urlencode

from django.db import ProgrammingError
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from high_templar.django.conf import settings
from high_templar.errors import PublishError
from high_templar.trigger import Trigger

APP = "high_templar.django.postgres"
"""The app whose migration makes the outbox."""

MIGRATE = f"Is {APP!r} in INSTALLED_APPS, and was `manage.py migrate` run?"
"""What to do where it is missing."""


def is_for(connection: BaseDatabaseWrapper) -> bool:
    """Whether what waits for a commit of this connection is inserted into the outbox."""
    wanted = settings()
    return (
        wanted.outbox
        and connection.alias == wanted.outbox_database
        and connection.vendor == "postgresql"
    )


def insert(connection: BaseDatabaseWrapper, trigger: Trigger) -> None:
    """Inserts it; it is published exactly if this is committed. Raises `PublishError`."""
    table = f'"{settings().outbox_schema}".ht_outbox'
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"INSERT INTO {table} (body) VALUES (%s)", [trigger.text()])  # noqa: S608
        except ProgrammingError as error:
            raise PublishError(f"cannot insert into the outbox: {error} {MIGRATE}") from error


def database() -> BaseDatabaseWrapper:
    """The connection to the database with the outbox."""
    return connections[settings().outbox_database]


def url() -> str:
    """The address of that database for the gateway; empty if it is no PostgreSQL."""
    connection = database()
    if connection.vendor != "postgresql":
        return ""
    known = connection.settings_dict
    login = quote(str(known.get("USER") or ""), "")
    if known.get("PASSWORD"):
        login += ":" + quote(str(known["PASSWORD"]), "")
    host, port = str(known.get("HOST") or ""), str(known.get("PORT") or "")
    # A unix socket is a folder; libpq has one where nothing is said.
    host = quote(host, "[]:") if host else quote("/var/run/postgresql", "")
    where = f"{login}@{host}" if login else host
    where += f":{port}" if port else ""
    found = f"postgresql://{where}/{quote(str(known.get('NAME') or ''), '')}"
    options = known.get("OPTIONS") or {}
    kept = {key: options[key] for key in ("sslmode", "sslrootcert") if options.get(key)}
    return found + (f"?{urlencode(kept)}" if kept else "")
