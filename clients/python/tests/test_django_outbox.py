"""Publishing from Django through the outbox of a real PostgreSQL."""

import asyncio
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connections
from django.db import transaction
from django.test import override_settings

from high_templar import PublishError
from high_templar import UncommittedDataWarning
from high_templar.binary import find_binary
from high_templar.django import apublish
from high_templar.django import durable
from high_templar.django import invalidate
from high_templar.django import publish
from high_templar.django import rights
from high_templar.django.launch import variables
from high_templar.django.postgres import schema
from high_templar.django.testing import capture_published
from high_templar.django.trial import Credentials
from high_templar.django.trial import FailedError
from high_templar.django.trial import Trial
from high_templar.gateway import Gateway

ROOT = Path(__file__).parents[3]
SERVER = ROOT / "tests/support/postgres"
ROOM = {"target": "orders"}
OUTBOX = {"ON_ERROR": "raise", "TIMEOUT": 10, "OUTBOX": True, "OUTBOX_DATABASE": "ledger"}


def server(*arguments):
    done = subprocess.run(
        [SERVER, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "HT_POSTGRES_OWNER": str(os.getpid())},
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """A server of these tests; it ends with this process, however that dies."""
    folder = tmp_path_factory.mktemp("postgres")
    url = server("start", folder)
    yield url
    server("end", folder)


@pytest.fixture(scope="module")
def ledger(postgres, django_db_setup, django_db_blocker):
    """A database of the site in it, migrated."""
    port = int(postgres.rpartition(":")[2].partition("/")[0])
    name = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "HOST": "127.0.0.1"}
    login = {"USER": "postgres", "PASSWORD": "postgres", "PORT": port}
    with django_db_blocker.unblock():
        settings = connections.configure_settings({"default": {}, "ledger": {**name, **login}})
        connections.settings["ledger"] = settings["ledger"]
        with override_settings(HIGH_TEMPLAR=OUTBOX):
            call_command("migrate", "high_templar_postgres", database="ledger", verbosity=0)
            yield connections["ledger"]
            connections["ledger"].close()
        del connections.settings["ledger"]
        del connections["ledger"]


@pytest.fixture(scope="module")
def page(ledger, backend):
    """A page that receives what a gateway takes from the outbox."""
    found = {key: value for key, value in variables().items() if key.startswith("HT_POSTGRES")}
    assert found["HT_POSTGRES__URL"].startswith("postgresql://postgres:postgres@127.0.0.1:")
    with Gateway(backend.url, found) as gateway, gateway.connect() as page:
        page.subscribe(ROOM)
        yield page


def rows(ledger):
    with ledger.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM high_templar.ht_outbox")
        return cursor.fetchone()[0]


def roll_back(data):
    with transaction.atomic(using="ledger"):
        publish(ROOM, data, using="ledger")
        transaction.set_rollback(True, using="ledger")


def test_what_is_published_is_committed_with_the_data(ledger, page):
    with transaction.atomic(using="ledger"):
        publish(ROOM, 1, using="ledger")
        roll_back(2)
        publish(ROOM, 3, using="ledger")
        publish(ROOM, 3, using="ledger")
    roll_back(4)
    publish(ROOM, 5, using="ledger")
    assert [page.next(10).data for _ in range(4)] == [1, 3, 3, 5]


def test_nothing_is_sent_before_the_commit(ledger, page):
    with transaction.atomic(using="ledger"):
        publish(ROOM, "early", using="ledger")
        assert rows(ledger) == 1, "a row of this transaction"
        with pytest.raises(TimeoutError):
            page.next(0.5)
    assert page.next(10).data == "early"


def test_coroutines_insert_through_the_same_connection(ledger, page):
    asyncio.run(apublish(ROOM, "async", using="ledger"))
    assert page.next(10).data == "async"


def test_commands_take_the_same_way(ledger, page):
    with transaction.atomic(using="ledger"):
        publish(ROOM, "before", using="ledger")
        invalidate(user=12345, using="ledger")
        publish(ROOM, "after", using="ledger")
        with ledger.cursor() as cursor:
            cursor.execute("SELECT body FROM high_templar.ht_outbox ORDER BY n")
            bodies = [body for (body,) in cursor.fetchall()]
    assert '"command":"invalidate"' in bodies[1]
    assert [page.next(10).data for _ in range(2)] == ["before", "after"]


def test_commands_of_changed_users_take_the_same_way(ledger, page):
    with transaction.atomic(using="ledger"):
        publish(ROOM, "before", using="ledger")
        # As the signals of groups and permissions do.
        rights._invalidate([12345, 12346], "ledger")
        assert rows(ledger) == 3
        publish(ROOM, "after", using="ledger")
    assert [page.next(10).data for _ in range(2)] == ["before", "after"]


def test_an_open_transaction_elsewhere_is_warned_of(ledger, page):
    with transaction.atomic(using="archive"):
        with pytest.warns(UncommittedDataWarning, match="committed at once on 'ledger'"):
            publish(ROOM, "leak", using="ledger")
    assert page.next(10).data == "leak"


def test_ht_check_goes_the_whole_way(ledger, page):
    trial = Trial(Credentials(token="anybody"), ROOM, 10)
    assert "outbox" in [name for name, _ in trial.steps]
    trial._page = page
    assert trial.deliver_outbox().startswith("received after ")
    with ledger.cursor() as cursor:
        cursor.execute("ALTER TABLE high_templar.ht_outbox RENAME TO elsewhere")
    try:
        with pytest.raises(FailedError, match="cannot insert into the outbox") as failed:
            trial.deliver_outbox()
        assert "manage.py migrate" in failed.value.hint
    finally:
        with ledger.cursor() as cursor:
            cursor.execute("ALTER TABLE high_templar.elsewhere RENAME TO ht_outbox")


def test_tests_see_what_would_be_published(ledger):
    with capture_published() as published, transaction.atomic(using="ledger"):
        publish(ROOM, 1, using="ledger")
        assert rows(ledger) == 0
        published.assert_published(ROOM, 1)


def test_other_databases_are_as_they_were(ledger, monkeypatch):
    sent = []
    monkeypatch.setattr("high_templar.django.outbox.send", sent.extend)
    with transaction.atomic():
        publish(ROOM, 1)
        assert not sent
    assert [trigger.data for trigger in sent] == [1]


def test_the_migration_goes_back_and_forth(ledger):
    call_command("migrate", "high_templar_postgres", "zero", database="ledger", verbosity=0)
    try:
        with pytest.raises(PublishError, match=r"manage\.py migrate"):
            publish(ROOM, 1, using="ledger")
    finally:
        call_command("migrate", "high_templar_postgres", database="ledger", verbosity=0)
    assert rows(ledger) == 0


@pytest.mark.django_db
def test_other_databases_are_not_migrated(ledger):
    """That of the tests was, without a word: it is no PostgreSQL."""
    applied = connections["default"].introspection.table_names()
    assert not [name for name in applied if name.startswith("ht_")]


def test_the_schema_is_the_one_of_the_gateway():
    made = subprocess.run(
        [find_binary(), "postgres", "schema"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert made == f"BEGIN;\n{schema.make()}\nCOMMIT;\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"OUTBOX": True}, ["high_templar.E025"]),
        ({"OUTBOX": True, "OUTBOX_DATABASE": "nowhere"}, ["high_templar.E024"]),
        ({"OUTBOX": True, "OUTBOX_SCHEMA": "a-b"}, ["high_templar.E001"]),
        ({"OUTBOX": 1}, ["high_templar.E001"]),
        ({"OUTBOX_DATABASE": "nowhere"}, []),
    ],
)
def test_system_checks_find_what_cannot_work(given, expected):
    with override_settings(HIGH_TEMPLAR=given):
        found = [each.id for each in run_checks() if each.id.startswith("high_templar.E")]
    assert found == expected


def test_an_app_that_is_missing_is_named(settings):
    settings.HIGH_TEMPLAR = {"OUTBOX": True}
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if each != durable.APP]
    assert "high_templar.E023" in [each.id for each in run_checks()]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"HOST": "db", "USER": "u@", "PASSWORD": "p/"}, "postgresql://u%40:p%2F@db/shop"),
        ({"HOST": "db", "PORT": 5433}, "postgresql://db:5433/shop"),
        ({"USER": "u"}, "postgresql://u@%2Fvar%2Frun%2Fpostgresql/shop"),
        (
            {"HOST": "db", "OPTIONS": {"sslmode": "verify-full", "pool": True}},
            "postgresql://db/shop?sslmode=verify-full",
        ),
    ],
)
def test_the_gateway_is_told_the_database(known, expected, monkeypatch):
    connection = SimpleNamespace(vendor="postgresql", settings_dict={"NAME": "shop", **known})
    monkeypatch.setattr(durable, "database", lambda: connection)
    assert durable.url() == expected
