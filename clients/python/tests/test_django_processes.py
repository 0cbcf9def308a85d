"""Sites in processes of their own: other settings, and the workers of a server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from high_templar import circuit
from high_templar.django import publish
from high_templar.django.conf import settings as kit_settings
from high_templar.django.sender import publisher

TESTS = Path(__file__).parent
NEWS = {"target": "news"}


class TestEnvironment:
    """Where the setting names no address, the environment counts, as without Django."""

    @pytest.fixture(autouse=True)
    def variables(self, gateway, monkeypatch, settings):
        monkeypatch.setenv("HIGH_TEMPLAR_URL", gateway.internal_url)
        monkeypatch.setenv("HIGH_TEMPLAR_API_KEY", "key")
        settings.HIGH_TEMPLAR = {"ON_ERROR": "raise", "TIMEOUT": 10}

    def test_publishes_where_the_variables_say(self, gateway):
        with gateway.connect() as page:
            page.subscribe(NEWS)
            publish(NEWS, {"id": 1})
            assert page.next().data == {"id": 1}
        assert publisher().counts.published == 1

    def test_the_setting_counts_for_more(self, settings):
        settings.HIGH_TEMPLAR = {"URL": "http://127.0.0.1:1", "API_KEY": "other"}
        assert kit_settings().url == "http://127.0.0.1:1"
        assert kit_settings().api_key == "other"

    def test_so_do_the_settings_of_django_binder(self, settings):
        settings.HIGH_TEMPLAR_URL = "http://127.0.0.1:1"
        assert kit_settings().url == "http://127.0.0.1:1"
        del settings.HIGH_TEMPLAR_URL
        settings.HIGH_TEMPLAR = {"rabbitmq": {"username": "a", "password": "b", "host": "c"}}
        assert kit_settings().url == "amqp://a:b@c/%2f"


DATABASELESS = """
import asyncio, json, sys
import django
from django.conf import settings

settings.configure(
    DATABASES=json.loads(sys.argv[1]),
    INSTALLED_APPS=["high_templar.django"],
    HIGH_TEMPLAR={"URL": sys.argv[2], "API_KEY": "key", "ON_ERROR": "raise", "TIMEOUT": 20},
)
django.setup()
from high_templar.django import apublish, publish, publish_now

publish({"target": "news"}, "at once")
publish_now({"target": "news"}, "now")
asyncio.run(apublish({"target": "news"}, "from a coroutine"))
"""


@pytest.mark.parametrize(
    "databases",
    [
        {},
        # One that cannot be reached.
        {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere/db.sqlite3"}},
    ],
    ids=["none", "away"],
)
def test_publishing_without_a_database(gateway, databases):
    with gateway.connect() as page:
        page.subscribe(NEWS)
        ran = subprocess.run(
            [sys.executable, "-c", DATABASELESS, json.dumps(databases), gateway.internal_url],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert [page.next().data for _ in range(3)] == ["at once", "now", "from a coroutine"]


SITE = """
from shop.settings import *

HIGH_TEMPLAR = {{"URL": "http://127.0.0.1:{port}", "TIMEOUT": {timeout}}}
ROOT_URLCONF = "site_that_publishes"
"""

APPLICATION = """
import os
import time

from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from high_templar.django import publish


def several(request):
    begun = time.monotonic()
    for number in range(5):
        publish({"target": "news"}, number)
    return JsonResponse({"worker": os.getpid(), "seconds": time.monotonic() - begun})


urlpatterns = [path("", several)]
application = get_wsgi_application()
"""

REQUESTS = 60
TIMEOUT = 1.0
WORKERS = 2


class Gunicorn:
    """A real server of a site that publishes to this port."""

    def __init__(self, folder, port, *options):
        (folder / "settings_that_publish.py").write_text(SITE.format(port=port, timeout=TIMEOUT))
        (folder / "site_that_publishes.py").write_text(APPLICATION)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "site_that_publishes"),
                *("--bind", f"fd://{self._socket.fileno()}", "--workers", str(WORKERS)),
                "--no-control-socket",
                *options,
            ],
            cwd=folder,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "settings_that_publish",
                "PYTHONPATH": os.pathsep.join([str(folder), str(TESTS), *sys.path]),
            },
            pass_fds=[self._socket.fileno()],
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        self._socket.close()

    def ask(self, _=None):
        with urllib.request.urlopen(self.url, timeout=60) as response:
            return json.load(response)


@pytest.mark.parametrize(("options", "threads"), [([], 1), (["--threads", "4"], 4)])
def test_workers_lose_little_time_to_a_gateway_that_hangs(tmp_path, options, threads):
    """What the README promises of an outage, with several processes."""
    pytest.importorskip("gunicorn")
    # The kernel takes connections, and nobody ever reads.
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:
        with Gunicorn(tmp_path, silent.getsockname()[1], *options) as server:
            begun = time.monotonic()
            with ThreadPoolExecutor(WORKERS * threads) as browsers:
                answers = list(browsers.map(server.ask, range(REQUESTS)))
            took = time.monotonic() - begun
    # A request waits for all of its publications together no longer than TIMEOUT.
    assert max(answer["seconds"] for answer in answers) < 2 * TIMEOUT
    # Each process finds out for itself: by three attempts, and those that its other threads have
    # begun meanwhile. Then it asks once in a while.
    probes = 1 + took / (0.8 * circuit.PAUSE_SECONDS_MAX)
    slow = Counter(answer["worker"] for answer in answers if answer["seconds"] > TIMEOUT / 2)
    assert sum(slow.values()) >= circuit.FAILURES_MAX
    assert max(slow.values()) <= circuit.FAILURES_MAX + threads - 1 + probes
