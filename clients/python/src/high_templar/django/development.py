"""Starts the gateway beside ``manage.py runserver``, with ``HIGH_TEMPLAR["RUNSERVER"]``."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence

from django.conf import settings as django_settings
from django.core.management.commands.runserver import naiveip_re

from high_templar.django import launch
from high_templar.django import occupant
from high_templar.django.conf import settings
from high_templar.gateway import guard

STOP_SECONDS = 15.0


def start_beside_runserver(arguments: Sequence[str]) -> subprocess.Popen[bytes] | None:
    """Starts the gateway if this process is a development server, and ends it with it.

    The autoreloader runs the site in a child process that comes and goes; the gateway belongs to
    its parent and stays.
    """
    is_server = arguments[1:2] == ["runserver"] and os.environ.get("RUN_MAIN") != "true"
    if not (is_server and settings().runserver and django_settings.DEBUG):
        return None
    # `manage.py`, which may set up the settings; otherwise `python -m django` or `django-admin`.
    is_script = arguments[0].endswith("manage.py")
    program = [arguments[0]] if is_script else ["-m", "django"]
    # runserver prints the system checks itself.
    options = ["--skip-checks", *_backend(arguments[2:])]
    command = [sys.executable, *program, "high_templar", *options]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603
    watch = guard(process.pid, tempfile.mkdtemp(prefix="high-templar-"))

    is_stopping = threading.Event()

    def watch_exit() -> None:
        status = process.wait()
        if not is_stopping.is_set() and status not in _STOPPED:
            print(_exited(status), file=sys.stderr, flush=True)

    # It may exit at once, such as for a port in use, and runserver goes on without it.
    threading.Thread(target=watch_exit, daemon=True).start()

    def stop() -> None:
        is_stopping.set()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        watch.communicate()

    atexit.register(stop)
    return process


_STOPPED = (0, -signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT)
"""How the gateway ends that is asked to, such as by Ctrl-C."""


def _exited(status: int) -> str:
    """The line about a gateway that exited by itself."""
    reason = occupant.reason_for(*launch.addresses(), has_exited=True)
    line = f"high-templar: the gateway beside runserver has exited (status {status})"
    if not reason:
        return f"{line}; its last line above has the reason. Fix it and restart runserver."
    return f"{line}: {reason}, stop it or choose another port, and restart runserver."


def _backend(arguments: Sequence[str]) -> list[str]:
    """Where the server is, if it was said on the command line."""
    for argument in arguments:
        found = naiveip_re.match(argument)
        if found and not argument.startswith("-"):
            host = found["addr"] or "127.0.0.1"
            host = {"0": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
            return ["--backend", f"http://{host}:{found['port']}"]
    return []
