"""The gateway as a child process of tests."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from high_templar import PublishError
from high_templar.gateway import Gateway
from high_templar.http import HttpTransport
from high_templar.transport import Deadline

SCRIPT = """
import sys
from high_templar.gateway import Gateway
gateway = Gateway("http://127.0.0.1:1/").start()
print(gateway._process.pid, gateway._folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "variables",
    [
        {"HT_LOG__LEVEL": "warn"},
        {"HT_LOG__LEVEL": "error"},
        {"HT_LOG__LEVEL": "debug"},
        {"HT_LOG__FORMAT": "json"},
    ],
)
def test_whatever_it_is_to_log(backend, variables):
    with Gateway(backend.url, variables) as gateway:
        assert gateway.internal_url.rpartition(":")[2].isdigit()
        with gateway.connect() as page:
            assert page.is_authorized


def test_it_ends_with_a_process_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid, folder = parent.stdout.readline().split()
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = Deadline(20)
    while os.path.exists(f"/proc/{pid}/exe") or os.path.exists(folder):
        assert deadline.left, "the gateway is still there"


SETTINGS = """
from shop.settings import *
DEBUG = True
HIGH_TEMPLAR = {{
    "RUNSERVER": True,
    "URL": "http://127.0.0.1:{internal}",
    "PUBLIC_URL": "ws://127.0.0.1:{public}/ws/",
}}
"""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


@pytest.mark.parametrize("options", [["--noreload"], []])
def test_runserver_starts_it(tmp_path, options):
    site, internal, public = free_ports(3)
    (tmp_path / "development.py").write_text(SETTINGS.format(internal=internal, public=public))
    # The gateway refuses variables that it does not know, such as those of these tests.
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HT_")},
        "DJANGO_SETTINGS_MODULE": "development",
        "SHOP_DATABASE": str(tmp_path / "shop.sqlite3"),
        "PYTHONPATH": os.pathsep.join(
            [str(tmp_path), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        ),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "django", "runserver", f"127.0.0.1:{site}", *options],
        env=variables,
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = Deadline(60)
    transport = HttpTransport(f"http://127.0.0.1:{internal}")
    try:
        while not is_ready(transport):
            assert deadline.left, "the gateway does not come up"
            assert server.poll() is None
            time.sleep(0.05)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    while is_ready(transport):
        assert deadline.left, "the gateway is still there"
        time.sleep(0.05)


def is_ready(transport):
    try:
        return transport.get("ready", Deadline(5))[0] == 200
    except PublishError:
        return False
