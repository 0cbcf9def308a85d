"""``manage.py ht_check``: tests every step and prints what to fix."""

from __future__ import annotations

import json
import ssl
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.core.management.base import CommandError
from django.core.management.base import CommandParser

from high_templar.django.trial import Credentials
from high_templar.django.trial import FailedError
from high_templar.django.trial import Trial


class Command(BaseCommand):
    """Bootstrap answer, gateway, websocket, publish, delivery."""

    help = (
        "Tests every step as one user: the bootstrap response, the gateway, a websocket, and "
        "the delivery of a publication; prints what to fix. Other clients receive nothing: it uses "
        "a room of its own and a session that it deletes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Takes whom to try as."""
        who = parser.add_mutually_exclusive_group()
        who.add_argument("--user", metavar="NAME", help="the user to try as [the first active one]")
        who.add_argument("--token", help="try with this token in place of a session; needs --room")
        parser.add_argument(
            "--room", metavar="JSON", help="publish to this room, to all its clients"
        )
        parser.add_argument(
            "--ca",
            metavar="FILE",
            help="a CA of your own, for https: and wss: addresses of the gateway; this site's own "
            "publications need it in the variable SSL_CERT_FILE",
        )
        parser.add_argument("--timeout", type=float, default=10.0, help="seconds for each step")

    def handle(self, *_: Any, **options: Any) -> None:
        """Goes step by step until one fails."""
        room, tls = self._room(options["room"]), self._tls(options["ca"])
        if options["token"]:
            credentials = Credentials(token=options["token"])
        else:
            credentials = Credentials(user=self._user(options["user"]))
            self.stdout.write(f"as {credentials.user}")
        trial = Trial(credentials, room, options["timeout"], tls)
        try:
            for name, step in trial.steps:
                self._step(name, step)
        finally:
            trial.close()
        self.stdout.write(self.style.SUCCESS("Everything works."))

    def _step(self, name: str, step: Any) -> None:
        try:
            found = step()
        except FailedError as failed:
            self.stdout.write(self.style.ERROR(f"FAILED  {name}: {failed}"))
            raise CommandError(failed.hint) from failed
        self.stdout.write(f"{self.style.SUCCESS('ok')}      {name}: {found}")

    def _tls(self, ca: str | None) -> ssl.SSLContext | None:
        if ca is None:
            return None
        try:
            return ssl.create_default_context(cafile=ca)
        except OSError as error:
            raise CommandError(f"--ca: cannot read certificates from {ca}: {error}") from error

    def _room(self, text: str | None) -> dict[str, Any] | None:
        if text is None:
            return None
        try:
            room = json.loads(text)
        except ValueError as error:
            raise CommandError(f"--room is not JSON: {error}") from error
        if not isinstance(room, dict):
            raise CommandError("--room must be a JSON object.")
        return room

    def _user(self, name: str | None) -> Any:
        users = get_user_model()._default_manager
        if name is None:
            user = users.filter(is_active=True).order_by("pk").first()
            if user is None:
                raise CommandError("There is no active user: create one, or use --token TOKEN.")
            return user
        field = str(get_user_model().USERNAME_FIELD)
        try:
            return users.get(**{field: name})
        except get_user_model().DoesNotExist as error:
            raise CommandError(f"There is no user with the {field} {name!r}.") from error
