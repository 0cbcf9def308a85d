"""``manage.py high_templar``: the gateway for this site."""

from __future__ import annotations

import json
import os
import re
from argparse import REMAINDER
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand
from django.core.management.base import CommandError
from django.core.management.base import CommandParser
from django.urls import NoReverseMatch

from high_templar.binary import BinaryNotFoundError
from high_templar.binary import execute
from high_templar.django import launch
from high_templar.django.conf import settings

_DERIVED_FROM = "HIGH_TEMPLAR_DERIVED_FROM"
"""Has the gateway say at SIGHUP that it cannot read this file again."""

_HIDDEN = "(not shown)"
_SECRET = re.compile("key|token|secret|password|auth|cookie", re.IGNORECASE)


class Command(BaseCommand):
    """Becomes the gateway, with settings that follow from Django's."""

    help = (
        "Starts the gateway with settings that follow from Django's (HIGH_TEMPLAR, ALLOWED_HOSTS, "
        "URLs). Variables HT_... of the environment win over them, and they over high-templar.toml."
    )
    # The gateway asks this site, which may be about to start as well.
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Takes a command of the gateway's own, such as ``check``."""
        parser.add_argument(
            "--backend", metavar="URL", help="where this site is served [HIGH_TEMPLAR BACKEND_URL]"
        )
        parser.add_argument(
            "--print", action="store_true", help="print the settings, without secrets, and end"
        )
        parser.add_argument(
            "--secrets", action="store_true", help="with --print: the secrets, too, for a file"
        )
        parser.add_argument(
            "arguments", nargs=REMAINDER, help="the gateway's command and its options [serve]"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Prints the settings, or goes on as the gateway."""
        wanted = settings()
        if options["backend"]:
            wanted = wanted._replace(backend_url=options["backend"])
        try:
            derived = launch.variables(wanted)
        except NoReverseMatch as error:
            raise CommandError(
                f"There is no URL named {wanted.bootstrap!r}: add "
                'path("api/", include("high_templar.django.urls")) to your urls.py.'
            ) from error
        except BinaryNotFoundError as error:
            raise CommandError(str(error)) from error
        if "HT_ORIGINS" in os.environ:
            # Another name of the same.
            derived.pop("HT_ORIGINS__ALLOW", None)
        environment = {**derived, **os.environ, _DERIVED_FROM: "settings.py"}
        if options["print"]:
            for name in sorted(derived):
                value = environment[name]
                self.stdout.write(f"{name}={value if options['secrets'] else shown(name, value)}")
            return
        arguments = options["arguments"] or ["serve"]
        if arguments[0] == "serve":
            self.stderr.write(
                "settings.py has been read: restart this command after a change to it. "
                "SIGHUP reads the gateway's own files again, such as high-templar.toml."
            )
        execute(arguments, environment)


def shown(name: str, value: str) -> str:
    """A setting without what is secret in it."""
    if name == "HT_BACKEND__HEADERS":
        with suppress(ValueError, AttributeError):
            headers = json.loads(value).items()
            return json.dumps({header: _source(header, source) for header, source in headers})
        return _HIDDEN
    if "@" in value:
        return re.sub(r"//[^/@]*@", f"//{_HIDDEN}@", value)
    return _HIDDEN if name == "HT_INTERNAL__API_KEY" or _SECRET.search(name) else value


def _source(header: str, source: Any) -> Any:
    """Where a header comes from; a fixed value only if it looks like no secret."""
    if isinstance(source, dict) and "fixed" in source and _SECRET.search(header):
        return {**source, "fixed": _HIDDEN}
    return source
