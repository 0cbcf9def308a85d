"""The compose file: linted, and its services started by hand with the variables that it gives them."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from support import BINARY
from support import ROOT
from support import WORK
from support import Program
from support import eventually
from support import free_port
from support import status

FILE = ROOT / "packaging/container/compose.yaml"
SITE = ROOT / "examples/django-orders"
SECRETS = {"LIVE_KEY": "key-of-the-test", "RABBITMQ_PASSWORD": "password-of-the-test"}


def interpolated(text: str, values: dict[str, str]) -> str:
    """Replaces ``${NAME:?message}`` as compose does."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise KeyError(found[1])
        return values[found[1]]

    return re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", value, text)


class ComposeTest(unittest.TestCase):
    """Runs RabbitMQ, the site and both gateways on ports of their own."""

    def setUp(self) -> None:
        """Reads the file with secrets of the test."""
        self.folder = Path(tempfile.mkdtemp(dir=WORK))
        self.addCleanup(shutil.rmtree, self.folder)
        self.file: dict[str, Any] = yaml.safe_load(interpolated(FILE.read_text(), SECRETS))
        self.services = self.file["services"]

    def test_the_file_has_no_findings(self) -> None:
        """By dclint, which also knows the schema of compose files."""
        command = [
            str(WORK / "node_modules/.bin/dclint"),
            "--max-warnings=0",
            "--config",
            str(Path(__file__).with_name("dclint.yaml")),
            str(FILE),
        ]
        found = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(found.returncode, 0, found.stdout + found.stderr)

    def test_secrets_must_be_given(self) -> None:
        """No key has a default that somebody forgets to change."""
        for name in SECRETS:
            rest = {key: value for key, value in SECRETS.items() if key != name}
            with self.assertRaises(KeyError):
                interpolated(FILE.read_text(), rest)

    def test_an_order_reaches_the_clients_of_both_gateways(self) -> None:
        """Through everything that the file starts."""
        ports = {name: free_port() for name in ("site", "gateway", "gateway-2")}
        internal = {name: free_port() for name in ("gateway", "gateway-2")}
        broker = self.rabbitmq()
        places = {
            "http://gateway:8002": f"http://127.0.0.1:{internal['gateway']}",
            "http://site:8000": f"http://127.0.0.1:{ports['site']}",
            "amqp://rabbitmq:5672/": broker,
            "/settings": str(self.folder),
            "/data": str(self.folder),
            "/run/secrets": str(self.folder),
        }

        def placed(text: str) -> str:
            for name, place in places.items():
                text = text.replace(name, place)
            return text

        def environment(service: str) -> dict[str, str]:
            given = self.services[service]["environment"]
            return {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                # As the site's image has them.
                "PYTHONPATH": str(ROOT / "clients/python/src"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
                "HIGH_TEMPLAR_BINARY": BINARY,
                # On a machine that is busy with other tests.
                "PUBLISH_TIMEOUT": "20",
                **{name: placed(value) for name, value in given.items()},
            }

        for secret in self.services["gateway"]["secrets"]:
            variable = self.file["secrets"][secret]["environment"]
            (self.folder / secret).write_text(SECRETS[variable] + "\n")

        shell, flag, command = self.services["settings"]["command"]
        subprocess.run(
            [shell, flag, placed(command)], cwd=SITE, env=environment("settings"), check=True
        )

        # What the image of the site starts.
        for arguments in (["migrate", "--verbosity=0"], ["seed"]):
            subprocess.run(
                [sys.executable, "manage.py", *arguments],
                cwd=SITE,
                env=environment("site"),
                check=True,
                stdout=subprocess.DEVNULL,
            )
        address = f"127.0.0.1:{ports['site']}"
        site = Program(
            [sys.executable, "manage.py", "runserver", "--noreload", address],
            self.folder,
            cwd=SITE,
            env=environment("site"),
        )
        self.addCleanup(site.stop)
        eventually("the site serves", lambda: status(f"http://{address}/sign-in/") is not None)

        for name in ("gateway", "gateway-2"):
            given = environment(name)
            self.assertEqual(given["HT_LISTEN"], "0.0.0.0:5000")
            given["HT_LISTEN"] = f"127.0.0.1:{ports[name]}"
            given["HT_INTERNAL__LISTEN"] = f"127.0.0.1:{internal[name]}"
            gateway = Program([BINARY, "serve"], self.folder, cwd=self.folder, env=given)
            self.addCleanup(gateway.stop)
            eventually(
                f"{name} is ready",
                lambda name=name: status(f"http://127.0.0.1:{internal[name]}/ready") == 200,
            )

        cookie = self.login(f"http://{address}")
        room = json.dumps({"target": "order", "branch": "*", "customer": "*"})
        pages = []
        for name in ("gateway", "gateway-2"):
            url = f"ws://127.0.0.1:{ports[name]}/ws/"
            arguments = [BINARY, "listen", "--url", url, "--room", room, "--cookie", cookie]
            page = Program(arguments, self.folder)
            self.addCleanup(page.stop)
            page.wait_for("listening to")
            pages.append(page)
        order = (
            "from orders.models import *; from orders.services import place_order;"
            "place_order(Branch.objects.first(), Customer.objects.first(), Product.objects.first(), 2)"
        )
        subprocess.run(
            [sys.executable, "manage.py", "shell", "-c", order],
            cwd=SITE,
            env=environment("site"),
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for page in pages:
            page.wait_for('"quantity":')

    def rabbitmq(self) -> str:
        """A RabbitMQ with the user that the file's configuration makes."""
        settings = dict(
            line.split(" = ")
            for line in self.file["configs"]["rabbitmq"]["content"].strip().splitlines()
        )
        gateway = self.services["gateway"]["environment"]
        self.assertEqual(gateway["HT_RABBITMQ__USERNAME"], settings["default_user"])
        script = str(ROOT / "tests/support/rabbitmq")
        folder = str(self.folder / "rabbitmq")
        environment = {**os.environ, "HT_RABBITMQ_OWNER": str(os.getpid())}

        def call(*arguments: str) -> str:
            command = [script, *arguments]
            done = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            return done.stdout.strip()

        url = call("start", folder)
        self.addCleanup(call, "end", folder)
        name, password = settings["default_user"], settings["default_pass"]
        call(
            "eval",
            folder,
            f'ok = rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{password}">>, <<"test">>),'
            f'ok = rabbit_auth_backend_internal:set_permissions(<<"{name}">>, <<"/">>, <<".*">>, '
            '<<".*">>, <<".*">>, <<"test">>)',
        )
        parts = urllib.parse.urlsplit(url)
        return f"amqp://127.0.0.1:{parts.port}/"

    def login(self, site: str) -> str:
        """Logs in as the manager; returns the session cookie."""
        jar = http.cookiejar.CookieJar()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        page = browser.open(f"{site}/sign-in/").read().decode()
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found, page
        form = {"username": "maya", "password": "live", "csrfmiddlewaretoken": found[1]}
        request = urllib.request.Request(
            f"{site}/sign-in/", urllib.parse.urlencode(form).encode(), {"Referer": site}
        )
        browser.open(request).read()
        [session] = [cookie for cookie in jar if cookie.name == "sessionid"]
        return f"sessionid={session.value}"


if __name__ == "__main__":
    unittest.main()
